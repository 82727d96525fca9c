"""Passes over the pixels of images, channel by channel, in blocks of pixels that stay in cache.

Definitions, for x (..., c): ``x.sum(axes)`` over all axes but the last, and ``x * scale + shift + y * scale_y``.

Next: :mod:`minigrad.kernels.norm`.
"""

from __future__ import annotations

import math

from minigrad.device import add_up, namespace
from minigrad.kernels import blocks
from minigrad.kernels.threads import run
from minigrad.typing import Array

#: The most rows that a product with ones adds: to the rounding error, this number comes on top of add_up's T.
MAX_ROWS = 256


class Pixels:
    """Images (..., c) as a pass reads them: a matrix with several pixels in each row, in blocks of rows.

    NumPy has an overhead for each row of a matrix. With few channels, adding a vector to each row of (m, c) takes
    more time for the overhead than for the additions. So the matrix is (m / repeat, repeat c), and the vector is
    repeated.

    Parameters
    ----------
    x : array of shape (..., c)

    Attributes
    ----------
    count : int
        The number of pixels.
    repeat : int
        The number of pixels in a row.
    blocks : tuple of slices
        Slices of the rows.
    """

    def __init__(self, x: Array) -> None:
        self.channels = x.shape[-1]
        self.count = math.prod(x.shape[:-1])
        self.repeat = 1
        while self.repeat * self.channels < blocks.ROW_LENGTH and self.count and self.count % (2 * self.repeat) == 0:
            self.repeat *= 2
        self.blocks = blocks.row_blocks(x, self.count // self.repeat, self.repeat * self.channels * x.itemsize)
        self.ones = namespace(x).ones(MAX_ROWS, dtype=x.dtype)

    def rows(self, x: Array) -> Array:
        """Return x (..., c) as the matrix, without a copy if it is contiguous."""
        contiguous: Array = namespace(x).ascontiguousarray(x)
        return contiguous.reshape(self.count // self.repeat, self.repeat * self.channels)

    def repeated(self, vector: Array) -> Array:
        """Return a vector (c,), repeated to the length of a row."""
        return namespace(vector).tile(vector, self.repeat)

    def add_rows(self, part: Array, out: Array) -> None:
        """Write the sum over the rows of a block into `out` (repeat c,).

        The product with ones is the fastest sum, but it adds one row after the other: so it is taken for few rows only.
        """
        if len(part) > MAX_ROWS:
            out[...] = add_up(part, 0)
        else:
            namespace(part).matmul(self.ones[: len(part)], part, out=out)

    def per_channel(self, sums: Array) -> Array:
        """Return the total for each channel, (c,), of the sums of all blocks (blocks, repeat c), added in order."""
        return add_up(add_up(sums, 0).reshape(self.repeat, self.channels), 0)

    def sum(self, x: Array) -> Array:
        """Return the sum of x (..., c) over its pixels."""
        rows = self.rows(x)
        sums = namespace(x).empty((len(self.blocks), rows.shape[1]), dtype=x.dtype)
        run(lambda i: self.add_rows(rows[self.blocks[i]], sums[i]), len(self.blocks))
        return self.per_channel(sums)

    def affine(
        self, x: Array, scale: Array, shift: Array | None, y: Array | None = None, scale_y: Array | None = None
    ) -> Array:
        """Return ``x * scale + shift``, plus ``y * scale_y`` if there is a y, in one pass."""
        xp = namespace(x)
        x_rows, out = self.rows(x), xp.empty(x.shape, dtype=x.dtype)
        y_rows, out_rows = None if y is None else self.rows(y), out.reshape(x_rows.shape)
        factors, shifts, y_factors = (None if v is None else self.repeated(v) for v in (scale, shift, scale_y))

        def block(i: int) -> None:
            rows = self.blocks[i]
            part = xp.multiply(x_rows[rows], factors, out=out_rows[rows])
            if shifts is not None:
                part += shifts
            if y_rows is not None:
                part += y_rows[rows] * y_factors

        run(block, len(self.blocks))
        return out
