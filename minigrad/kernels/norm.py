"""Passes of batch normalisation over the pixels: the statistics of each channel, and the two sums of its gradient.

Definitions, over all axes but the last: ``x.mean(axes)`` and ``x.var(axes)``; ``g.sum(axes)`` and
``(g * (x - mean)).sum(axes)``.

Next: :mod:`minigrad.kernels.masks`.
"""

from __future__ import annotations

import numpy as np

from minigrad.device import namespace
from minigrad.kernels.pixels import Pixels
from minigrad.kernels.threads import run
from minigrad.typing import Array


def statistics(pixels: Pixels, x: Array) -> tuple[Array, Array]:
    """Return the mean and the (biased) variance of each channel of x (..., c), in one pass.

    For each column of each block b of m_b rows, compute the mean and the sum of squared deviations from it, M2_b. The
    sum of squares over a channel follows without cancellation (Chan et al., 1979):
    M2 = sum M2_b + sum m_b (mean_b - mean) ** 2. The deviations from an exact mean would add up to 0; their actual
    sum is used to correct the rounding error of the mean. These few numbers are combined in float64.
    """
    xp = namespace(x)
    rows, blocks, add = pixels.rows(x), pixels.blocks, pixels.add_rows
    sums = xp.empty((3, len(blocks), rows.shape[1]), dtype=x.dtype)  # means, sums of deviations, of their squares

    def block(i: int) -> None:
        part = rows[blocks[i]]
        mean, residual, squares = sums[0, i], sums[1, i], sums[2, i]
        add(part, mean)
        mean /= len(part)
        deviation = part - mean
        add(deviation, residual)
        add(xp.multiply(deviation, deviation, out=deviation), squares)

    run(block, len(blocks))
    lengths = xp.asarray(np.array([[block.stop - block.start] for block in blocks]))  # (blocks, 1)
    means, residuals, squares = sums.astype(np.complex128 if x.dtype.kind == "c" else np.float64)  # (blocks, row) each
    residuals /= lengths
    means += residuals
    squares -= lengths * residuals * residuals
    mean = pixels.per_channel(lengths * means) / pixels.count
    off = means - pixels.repeated(mean)
    var = pixels.per_channel(squares + lengths * off * off) / pixels.count
    return mean.astype(x.dtype), var.astype(x.dtype)


def gradient_sums(pixels: Pixels, g: Array, x: Array, mean: Array) -> tuple[Array, Array]:
    """Return the sums over pixels of g, and of g times the deviation of x from its mean."""
    xp = namespace(x)
    x_rows, g_rows, means = pixels.rows(x), pixels.rows(g), pixels.repeated(mean)
    blocks, add = pixels.blocks, pixels.add_rows
    sums = xp.empty((2, len(blocks), x_rows.shape[1]), dtype=x.dtype)

    def block(i: int) -> None:
        part = g_rows[blocks[i]]
        product = x_rows[blocks[i]] - means
        add(part, sums[0, i])
        add(xp.multiply(product, part, out=product), sums[1, i])

    run(block, len(blocks))
    return pixels.per_channel(sums[0]), pixels.per_channel(sums[1])
