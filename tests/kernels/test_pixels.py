"""Passes over pixels: rows long enough, blocks small enough, and every pixel in exactly one."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import minigrad as mg
from minigrad.kernels import blocks, norm, pixels
from tests.records.draw import ones


@pytest.mark.parametrize("shape", [(3, 5), (40, 30, 31, 16), (64, 1024), (8, 4096), (6, 1), (7, 1500), (0, 0)])
def test_rows_are_long_enough_and_blocks_fit_the_cache(shape):
    x = np.arange(np.prod(shape), dtype="float32").reshape(shape)
    rows, c = pixels.Pixels(x), shape[-1]
    assert rows.count * c == x.size
    width = rows.repeat * c
    assert rows.count % rows.repeat == 0
    assert rows.repeat == 1 or width < 2 * blocks.ROW_LENGTH
    assert not c or not rows.count or width >= blocks.ROW_LENGTH or rows.count % (2 * rows.repeat) == 1 * rows.repeat
    lengths = [s.stop - s.start for s in rows.blocks]
    assert sum(lengths) == rows.count // rows.repeat
    row = max(width * 4, 1)
    assert max(lengths) * row <= max(blocks.BLOCK_BYTES, row)
    assert len(lengths) == 1 or (2 * max(lengths) + 1) * row > blocks.BLOCK_BYTES


def test_rounding_of_the_means_of_columns_is_corrected():
    """The mean of each channel is that of float64 to the last digit of float32, although its blocks are float32."""
    x = (np.random.default_rng(0).standard_normal((4, 40, 40, 96)) + 1e4).astype("float32")
    rows = pixels.Pixels(x)
    assert len(rows.blocks) > 1
    mean, _ = norm.statistics(rows, x)
    exact = x.mean((0, 1, 2), dtype="float64")
    assert np.abs(mean - exact).max() <= 0.51 * np.spacing(np.float32(1e4))


def test_rounding_of_the_means_of_columns_does_not_reach_the_variance():
    """Half of the columns of a pass have a mean that is rounded down to one neighbour, half up to the other."""
    low = np.float32(1e4)
    high = np.arange(4)[:, None] < np.where(np.arange(blocks.ROW_LENGTH) % 2, 3, 1)  # a quarter, or three quarters
    x = np.where(high, np.nextafter(low, np.float32(2e4)), low).reshape(-1, 1)
    assert pixels.Pixels(x).repeat == blocks.ROW_LENGTH
    mean, var = ones(1, dtype="float32"), ones(1, dtype="float32")
    mg.batch_norm(x, mean, mean, mean.copy(), var, training=True, momentum=1.0)
    assert_allclose(var, x.astype("float64").var(0, ddof=1), rtol=1e-5)
