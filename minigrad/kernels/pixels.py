"""Walks over the pixels of images, channel by channel.

Batch norm, and the gradient of a bias, add things up over all pixels, or scale and shift every pixel, for each channel
separately. Each walk goes over blocks of pixels that stay in cache.

Next: :mod:`minigrad.kernels.norm`.
"""

from __future__ import annotations

import math

from minigrad.device import namespace, on_host
from minigrad.kernels import blocks
from minigrad.kernels.threads import run
from minigrad.typing import Array

#: A row of this many numbers is long enough for its ends not to matter.
WIDTH = 1024


class Pixels:
    """How to walk over the pixels of (..., c): blocks of rows of a matrix that is wide enough.

    With few channels, adding a vector to each row of (m, c) spends its time on the ends of rows. So
    `repeat` pixels are taken as one row, (m / repeat, repeat c), and vectors are repeated as often.
    """

    def __init__(self, x: Array) -> None:
        self.channels = x.shape[-1]
        self.count = math.prod(x.shape[:-1])
        self.repeat = 1
        while self.repeat * self.channels < WIDTH and self.count and self.count % (2 * self.repeat) == 0:
            self.repeat *= 2
        rows = self.count // self.repeat
        row_bytes = self.repeat * self.channels * x.itemsize
        self.blocks = blocks.spans(rows, blocks.BLOCK_BYTES // row_bytes) if on_host(x) else (slice(0, rows),)

    def rows(self, x: Array) -> Array:
        """View (..., c) as the wide matrix."""
        return namespace(x).ascontiguousarray(x).reshape(self.count // self.repeat, self.repeat * self.channels)

    def wide(self, vector: Array) -> Array:
        """Repeat a vector (c,) to the width of a row."""
        return namespace(vector).tile(vector, self.repeat)

    def ones(self, like: Array) -> Array:
        """Ones for the longest block: a product with them is the fastest sum over its rows."""
        return namespace(like).ones(self.blocks[0].stop, dtype=like.dtype)

    def fold(self, sums: Array) -> Array:
        """Add up sums over rows (blocks, width), in order, to (c,)."""
        return sums.sum(axis=0).reshape(self.repeat, self.channels).sum(axis=0)

    def sum(self, x: Array) -> Array:
        """Sum (..., c) over its pixels."""
        xp = namespace(x)
        rows, ones = self.rows(x), self.ones(x)
        sums = xp.empty((len(self.blocks), rows.shape[1]), dtype=x.dtype)

        def block(i: int) -> None:
            part = rows[self.blocks[i]]
            xp.matmul(ones[: len(part)], part, out=sums[i])

        run(block, len(self.blocks))
        return self.fold(sums)

    def affine(self, x: Array, scale: Array, shift: Array | None, y: Array = None, scale_y: Array = None) -> Array:
        """Return ``x * scale + shift (+ y * scale_y)``, in one walk."""
        xp = namespace(x)
        rows, out = self.rows(x), xp.empty(x.shape, dtype=x.dtype)
        target = out.reshape(rows.shape)
        others, scale = None if y is None else self.rows(y), self.wide(scale)
        shift, scale_y = (None if v is None else self.wide(v) for v in (shift, scale_y))

        def block(i: int) -> None:
            part = target[self.blocks[i]]
            xp.multiply(rows[self.blocks[i]], scale, out=part)
            if shift is not None:
                part += shift
            if others is not None:
                product = blocks.scratch("product", part.shape, part)
                part += xp.multiply(others[self.blocks[i]], scale_y, out=product)

        run(block, len(self.blocks))
        return out
