"""Sums over any axes: equal to NumPy's, and with a rounding error that hardly grows with the number of elements."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

import minigrad as mg
from minigrad import device
from minigrad.device import add_up
from minigrad.kernels import blocks
from minigrad.kernels.pixels import Pixels
from tests.tools.compare import leaf, threads_restored

TENTH = np.float32(0.1)
EPS = np.finfo("float32").eps


def most_additions(n):
    """Return T of add_up's docstring: each number passes through at most so many additions."""
    return 64 + 5 * math.log2(n)


def assert_accurate(ours, x, axis, more=0, keepdims=False):
    """Compare with float64: within the stated bound, and within 1e-6 of the sum of absolute values."""
    expected, size = (a.sum(axis, dtype="float64", keepdims=keepdims) for a in (x, np.abs(x)))
    terms = most_additions(x.size / expected.size) + more
    assert_allclose(ours, expected.astype("float32"), rtol=0, atol=min(terms * EPS / 2, 1e-6) * size.max(), strict=True)


class Depth:
    """A number that counts through how many additions it has passed."""

    def __init__(self, depth=0):
        self.depth = depth

    def __add__(self, other):
        return Depth(1 + max(self.depth, other.depth))


@pytest.mark.parametrize(
    "shape", [(65, 2), (255, 3), (1025, 1, 2), (4095, 2), (65, 66, 2), (40, 41, 42, 2), (30001, 2)]
)
def test_each_number_passes_through_few_additions(shape):
    """Object arrays are never added in pairs, so a first axis is reduced by minigrad's own cuts."""
    x = np.array([Depth() for _ in range(math.prod(shape))]).reshape(shape)
    axes = tuple(range(len(shape) - 1))
    sums = add_up(x, axes)
    assert sums.shape == shape[-1:]
    assert max(s.depth for s in sums) <= most_additions(math.prod(shape[:-1]))


def cases(rng, shape):
    """Return arrays of `shape` that lie in memory in every way: in either order, cut out, reversed, stretched."""
    x = rng.integers(-9, 9, shape).astype("float32")
    wide = rng.integers(-9, 9, [n + 2 for n in shape]).astype("float32")
    cut = tuple(slice(1, -1) for _ in shape)
    stretched = np.broadcast_to(x[..., :1], shape)
    return x, np.asfortranarray(x), wide[cut], wide.T[cut].T, x[::-1], np.flip(x), stretched, stretched.T.copy().T


@pytest.mark.parametrize(("terms", "row"), [(16, 1024), (4, 8), (2, 1), (3, 7)])
@pytest.mark.parametrize("shape", [(211,), (50, 3), (3, 70), (9, 10, 4), (3, 1, 41, 5), (67, 1, 2)])
def test_whole_numbers_are_summed_exactly(shape, terms, row, monkeypatch):
    """However axes are cut, each element is added once: sums of small whole numbers have no rounding."""
    monkeypatch.setattr(device, "GROUP", terms)
    monkeypatch.setattr(device, "ROW", row)
    axes = [None, 0, -1, tuple(range(len(shape))), tuple(range(len(shape)))[::-2], tuple(range(1, len(shape))), ()]
    for x in cases(np.random.default_rng([terms, *shape]), shape):
        for dtype in ("float32", "float64", "complex64", "int8", "uint8", "uint16", "uint32", "bool"):
            for axis in axes:
                for keepdims in (False, True):
                    ours, given = add_up(x.astype(dtype, order="K"), axis, keepdims), x.astype(dtype)
                    assert_allclose(ours, given.sum(axis=axis, keepdims=keepdims), rtol=0, strict=True)


LAYOUTS = {
    "rows": ((100_003, 3), lambda x: x, 0),
    "one column of many": ((100_003, 8), lambda x: x[:, 2:3], 0),
    "few columns of many, all": ((100_003, 8), lambda x: x[:, 2:5], None),
    "every second": ((200_006,), lambda x: x[::2], None),
    "reversed": ((100_003, 2), lambda x: x[::-1], 0),
    "stretched": ((100_003, 1), lambda x: np.broadcast_to(x, (100_003, 4)), 0),
    "pixels": ((1, 317, 316, 3), lambda x: x, (0, 1, 2)),
    "an axis in the middle": ((2, 50_001, 4), lambda x: x, 1),
    "columns of the transpose": ((3, 100_003), lambda x: x.T, 1),
    "all of a slice of the transpose": ((8, 100_003), lambda x: x.T[:, 1:4], (0, 1)),
    "first and last": ((50_001, 2, 3), lambda x: x, (0, 2)),
    "few rows": ((100, 40), lambda x: x, 0),
}


@pytest.mark.parametrize("equal", [True, False], ids=["equal", "drawn"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_error_bound(layout, equal):
    """A sum of equal numbers is the worst: all roundings go the same way."""
    shape, view, axis = LAYOUTS[layout]
    x = np.full(shape, TENTH) if equal else np.random.default_rng(0).standard_normal(shape).astype("float32")
    for keepdims in (False, True):
        assert_accurate(add_up(view(x), axis, keepdims), view(x), axis, keepdims=keepdims)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_error_bound_of_complex_numbers(layout):
    """Of each part."""
    shape, view, axis = LAYOUTS[layout]
    x = np.full(shape, TENTH)
    total = add_up(view(x.astype("complex64") * (1 - 1j)), axis)
    assert total.dtype == np.complex64
    assert_accurate(total.real, view(x), axis)
    assert_accurate(-total.imag, view(x), axis)


@pytest.mark.slow
@pytest.mark.parametrize("equal", [True, False], ids=["equal", "drawn"])
@pytest.mark.parametrize("columns", [1, 3])
def test_error_bound_at_ten_million_numbers(columns, equal):
    n = 10_000_019
    shape = (n, columns)
    x = np.full(shape, TENTH) if equal else np.random.default_rng(0).standard_normal(shape).astype("float32")
    assert_accurate(add_up(x, 0), x, 0)
    assert_accurate(add_up(x[:, ::-1]), x, None)
    assert_accurate(Pixels(x).sum(x), x, 0, more=256)
    if equal:
        for ours, expected in [(mg.mean(x, 0), TENTH), (mg.softmax(x, 0).sum(0, dtype="float64"), 1.0)]:
            assert_allclose(ours, np.full(columns, expected), rtol=1e-6)
        assert_allclose(mg.var(x, 0), np.zeros(columns), atol=1e-12)


def drawn(n, c=3):
    """Draw numbers around 1, whose sums over the first axis would lose three digits if they were added one by one."""
    return (1 + np.random.default_rng([n, c]).random((n, c))).astype("float32")


REDUCTIONS = {
    "sum": (lambda x: mg.sum(x, 0), lambda x: x.sum(0)),
    "mean": (lambda x: mg.mean(x, 0), lambda x: x.mean(0)),
    "var": (lambda x: mg.var(x, 0), lambda x: x.var(0)),
    "softmax": (lambda x: mg.softmax(x, 0), lambda x: np.exp(x) / np.exp(x).sum(0)),
    "exp of log_softmax": (
        lambda x: np.exp(mg.log_softmax(x - 10, 0) + 12),
        lambda x: np.exp(x + 12) / np.exp(x).sum(0),
    ),
    "exp of logsumexp": (lambda x: np.exp(mg.logsumexp(x - 14, 0)), lambda x: np.exp(x - 14).sum(0)),
    "global_avg_pool2d": (
        lambda x: mg.global_avg_pool2d(x.reshape(1, -1, 449, 3)),
        lambda x: x.reshape(1, -1, 449, 3).mean((1, 2)),
    ),
    "batch_norm, odd number of pixels": (
        lambda x: mg.batch_norm(x, np.ones(3, "f"), np.zeros(3, "f"), *np.ones((2, 3), "f"), training=True, eps=1e-9),
        lambda x: (x - x.mean(0)) / x.std(0),
    ),
}


@pytest.mark.parametrize("name", REDUCTIONS)
def test_operators_over_a_first_axis(name):
    x = drawn(449 * 449)
    ours, expected = REDUCTIONS[name]
    y = ours(x)
    assert y.dtype == np.float32
    assert_allclose(y, expected(x.astype("float64")), rtol=2e-6, atol=2e-6)


GRADIENTS = {
    "linear's bias": lambda x, b: mg.linear(x, np.zeros((3, 3), x.dtype), b),
    "conv2d's bias": lambda x, b: mg.conv2d(mg.reshape(x, (1, 449, 449, 3)), np.zeros((1, 1, 3, 3), x.dtype), b),
    "conv_transpose2d's bias": lambda x, b: mg.conv_transpose2d(
        mg.reshape(x, (1, 449, 449, 3)), np.zeros((1, 1, 3, 3), x.dtype), b
    ),
    "a summand": lambda x, b: x + b,
    "broadcast_to": lambda x, b: mg.broadcast_to(b, x.shape),
    "batch_norm's shift": lambda x, b: mg.batch_norm(
        x, np.ones(3, x.dtype), b, *np.ones((2, 3), x.dtype), training=True
    ),
    "batch_norm's scale": lambda x, b: mg.batch_norm(x, b, b, *np.ones((2, 3), x.dtype), training=False),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_of_what_was_broadcast_over_many_rows(name):
    x, b = drawn(449 * 449), leaf(np.ones(3, "float32"))
    y = GRADIENTS[name](x, b)
    g = drawn(449 * 449, 3)[::-1].reshape(y.shape)
    wide = leaf(np.ones(3))
    expected = mg.grad(GRADIENTS[name](x.astype("float64"), wide), wide, g.astype("float64"))[0]
    assert_allclose(mg.grad(y, b, g)[0].data, expected.data, rtol=1e-6)


def test_the_number_of_threads_changes_no_bit(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1 << 14)
    x, results = drawn(449 * 449), []
    with threads_restored():
        for threads in (1, 2, 5, 33):
            mg.set_num_threads(threads)
            results.append([add_up(x, 0), Pixels(x).sum(x), mg.mean(x, 0), mg.var(x, 0)])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert_allclose(a, b, rtol=0, strict=True)
