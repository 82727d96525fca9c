"""The passes of batch norm over the pixels: statistics of each channel, and the two sums of its gradient.

Definitions: mean and variance over all axes but the last; ``g.sum()`` and ``(g * (x - mean)).sum()`` over these axes.

Next: :mod:`minigrad.kernels.masks`.
"""

from __future__ import annotations

import numpy as np

from minigrad.device import namespace
from minigrad.kernels.blocks import scratch
from minigrad.kernels.pixels import Pixels
from minigrad.kernels.threads import run
from minigrad.typing import Array


def statistics(pixels: Pixels, x: Array) -> tuple[Array, Array]:
    """Return mean and (biased) variance of each channel, in one walk.

    Each column of each block gives its own mean and its squared deviations from that. Those of a channel follow without
    cancellation (Chan et al., 1979): M2 = sum M2_b + sum m_b (mean_b - mean) ** 2. What rounding took from a
    column's mean shows in the sum of its deviations, and is put right; these few numbers are combined in float64.
    """
    xp = namespace(x)
    rows, blocks, ones = pixels.rows(x), pixels.blocks, pixels.ones(x)
    sums = xp.empty((3, len(blocks), rows.shape[1]), dtype=x.dtype)  # means, left of the means, squares

    def block(i: int) -> None:
        part = rows[blocks[i]]
        mean, left, squares, one = sums[0, i], sums[1, i], sums[2, i], ones[: len(part)]
        xp.matmul(one, part, out=mean)
        mean /= len(part)
        deviation = xp.subtract(part, mean, out=scratch("product", part.shape, part))
        xp.matmul(one, deviation, out=left)
        xp.matmul(one, xp.multiply(deviation, deviation, out=deviation), out=squares)

    run(block, len(blocks))
    lengths = xp.asarray(np.array([[block.stop - block.start] for block in blocks]))  # rows, of each block: (blocks, 1)
    means, left, squares = sums.astype(np.complex128 if x.dtype.kind == "c" else np.float64)  # (blocks, width) each
    left /= lengths
    means += left
    squares -= lengths * left * left
    mean = pixels.fold(lengths * means) / pixels.count
    off = means - pixels.wide(mean)
    var = pixels.fold(squares + lengths * off * off) / pixels.count
    return mean.astype(x.dtype), var.astype(x.dtype)


def gradient_sums(pixels: Pixels, g: Array, x: Array, mean: Array) -> tuple[Array, Array]:
    """Return the sums over pixels of g, and of g times the deviation of x from its mean."""
    xp = namespace(x)
    rows, cotangents, centre = pixels.rows(x), pixels.rows(g), pixels.wide(mean)
    blocks, ones = pixels.blocks, pixels.ones(x)
    sums = xp.empty((2, len(blocks), rows.shape[1]), dtype=x.dtype)

    def block(i: int) -> None:
        part, g_part = rows[blocks[i]], cotangents[blocks[i]]
        one = ones[: len(part)]
        product = xp.subtract(part, centre, out=scratch("product", part.shape, part))
        xp.matmul(one, g_part, out=sums[0, i])
        xp.matmul(one, xp.multiply(product, g_part, out=product), out=sums[1, i])

    run(block, len(blocks))
    return pixels.fold(sums[0]), pixels.fold(sums[1])
