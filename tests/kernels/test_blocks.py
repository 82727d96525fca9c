"""Blocks: slices that cover everything once and evenly, and functions of elements in blocks."""

import numpy as np
import pytest

from minigrad.kernels import blocks
from tests.tools.strict import strict


@pytest.mark.parametrize("total", [0, 1, 7, 10, 100])
@pytest.mark.parametrize("size", [0, 1, 3, 10, 1000])
def test_spans_cover_everything_once_and_evenly(total, size):
    spans = blocks.spans(total, size)
    assert [i for s in spans for i in range(total)[s]] == list(range(total))
    lengths = {s.stop - s.start for s in spans}
    assert max(lengths) - min(lengths) <= 1
    assert max(lengths) <= max(size, 1)


@pytest.mark.parametrize("total", [0, 1, 7, 10, 100])
@pytest.mark.parametrize("count", [1, 2, 3, 10, 13])
def test_split_covers_everything_once_and_evenly(total, count):
    parts = blocks.split(total, count)
    assert [i for s in parts for i in range(total)[s]] == list(range(total))
    lengths = [s.stop - s.start for s in parts]
    assert len(lengths) == count
    assert max(lengths) - min(lengths) <= 1


def test_blocks_of_rows_fit_into_block_bytes_on_the_host_and_are_one_block_on_a_device():
    x = np.empty(0)
    row_bytes = blocks.BLOCK_BYTES // 10
    assert blocks.row_blocks(x, 25, row_bytes) == (slice(0, 9), slice(9, 17), slice(17, 25))
    assert blocks.row_blocks(x, 3, 10 * blocks.BLOCK_BYTES) == (slice(0, 1), slice(1, 2), slice(2, 3))
    assert blocks.row_blocks(x, 25, 0) == (slice(0, 25),)
    assert blocks.row_blocks(strict.asarray(x), 25, row_bytes) == (slice(0, 25),)


def test_elementwise_cuts_only_large_contiguous_arrays_of_one_shape_and_dtype(monkeypatch):
    """Others are one call: each of these differs in one thing."""
    counts, run = [], blocks.run
    monkeypatch.setattr(blocks, "run", lambda task, count: (counts.append(count), run(task, count))[1])
    size = 2 * blocks.BLOCK_BYTES // 8
    a = np.arange(size, dtype="float64").reshape(-1, 64)
    calls = []

    def add(x, y, out=None):
        calls.append(x.shape)
        return np.add(x, y, out=out)

    for x, y in [
        (a[1:], a[1:]),
        (a, a[0]),
        (a, a.astype("float32")),
        (a, np.asfortranarray(a)),
        (np.asfortranarray(a), np.asfortranarray(a)),
    ]:
        np.testing.assert_array_equal(blocks.elementwise(add, x, y), x + y, strict=True)
        assert calls == [x.shape]
        calls.clear()
    there = strict.asarray(a)
    assert (blocks.elementwise(lambda x, y: x + y, there, there) == there + there).all()
    assert counts == []
    np.testing.assert_array_equal(blocks.elementwise(add, a, a + 1), 2 * a + 1, strict=True)
    assert calls == [(size // 2,)] * 2
    assert counts == [2]
