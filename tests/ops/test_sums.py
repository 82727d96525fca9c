"""Sums of many numbers in float32 and float16: of every operator that adds up, along every axis."""

import numpy as np
import pytest

import minigrad as mg
from minigrad.device import GROUP, add_up
from minigrad.kernels.pixels import Pixels
from tests.tools.compare import leaf, threads_restored

TENTH = np.float32(0.1)

#: Functions of numbers 0.1, (n, 3), and what they give in float64.
OF_TENTHS = {
    "sum": (lambda x: mg.sum(x, 0), lambda x, n: n * x),
    "mean": (lambda x: mg.mean(x, 0), lambda x, n: x),
    "mean-of-both": (lambda x: mg.mean(x, (0, 1)), lambda x, n: x),
    "var": (lambda x: mg.var(mg.concatenate([x, -x]), 0), lambda x, n: x * x),
    "logsumexp": (lambda x: mg.exp(mg.logsumexp(x, 0) - np.log(np.float32(len(x)))), lambda x, n: np.exp(x)),
    "softmax": (lambda x: mg.softmax(x, 0)[0] * float(len(x)), lambda x, n: 1.0),
    "log_softmax": (lambda x: mg.exp(mg.log_softmax(x, 0)[0]) * float(len(x)), lambda x, n: 1.0),
    "global_avg_pool2d": (lambda x: mg.global_avg_pool2d(x.reshape(1, -1, 8, 3)), lambda x, n: x),
    "pixels": (lambda x: Pixels(x).sum(x), lambda x, n: n * x),
}


@pytest.mark.parametrize("n", [4096, 10**6, pytest.param(10**7, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", OF_TENTHS)
def test_many_equal_numbers_keep_their_digits(name, n):
    """Added one after the other, 4,096 lose 4e-5, a million 1e-2. (exp and log of large numbers lose some, too.)"""
    function, expected = OF_TENTHS[name]
    ours = function(np.full((n, 3), TENTH))
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, expected(np.float64(TENTH), n), rtol=2e-5 if "log" in name else 2e-6)


@pytest.mark.parametrize("n", [2**20, pytest.param(10**7, marks=pytest.mark.slow)])
@pytest.mark.parametrize("shape", [lambda n: (n, 2), lambda n: (2, n // 8, 4, 2), lambda n: (n // 2, 4)])
def test_the_error_is_within_the_bound(n, shape):
    """16 units in the last place of the sum of sizes for each power of 32 in the number of summands."""
    x = np.random.default_rng(n).standard_normal(shape(n)).astype("float32")
    axes = tuple(range(x.ndim - 1))
    wide = x.astype("float64")
    units = 16 * np.ceil(np.log(n) / np.log(GROUP)) * np.finfo("float32").eps * np.abs(wide).sum(axes)
    assert (np.abs(add_up(x, axes) - wide.sum(axes)) <= units / 16).all()  # errors of both signs cancel


@pytest.mark.parametrize("n", [1, 31, 32, 33, 1023, 1024, 1025, 1057])
@pytest.mark.parametrize("axis", [0, 1, 2, -1, (0, 1), (1, 2), (0, 2), (0, 1, 2), None, ()])
@pytest.mark.parametrize("keepdims", [False, True])
def test_every_number_is_added_once(n, axis, keepdims):
    for shape in ((n, 3, 4), (3, n, 4), (3, 4, n)):
        x = np.random.default_rng(n).standard_normal(shape)
        for array in (x, x.transpose(2, 0, 1), x[::-1, ::2]):
            expected = np.asarray(array.sum(axis=axis, keepdims=keepdims))
            ours = add_up(array, axis, keepdims)
            np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-12)
            assert np.shape(ours) == expected.shape
            assert not np.shares_memory(ours, array)


def test_the_gradient_of_the_bias_of_a_large_image():
    """One number for each of 512 x 512 pixels: 26,149.6 where the additions are made one after the other."""
    b = leaf(np.zeros(3, "float32"))
    out = mg.linear(np.zeros((1, 512, 512, 2), "float32"), np.zeros((2, 3), "float32"), b)
    (db,) = mg.grad(out, b, np.full(out.shape, TENTH))
    np.testing.assert_allclose(db.data, 512 * 512 * np.float64(TENTH), rtol=2e-6)


def test_equal_to_the_bit_on_every_number_of_threads():
    x = np.random.default_rng(0).standard_normal((2, 300, 400, 3)).astype("float32")
    results = []
    with threads_restored():
        for threads in (1, 2, 3, 7):
            mg.set_num_threads(threads)
            results.append([mg.sum(x, (0, 1, 2)), mg.mean(x, (1, 2)), Pixels(x).sum(x)])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("shape", [(70_000,), (70_000, 2), (2, 300, 300, 1)])
def test_float16_is_added_and_divided_in_float32(shape):
    """70,000 is no float16."""
    ones = leaf(np.ones(shape, "float16"))
    mean = mg.mean(ones)
    assert mean.dtype == np.float16
    assert mean.item() == 1
    assert mg.var(ones).item() == 0
    (d,) = mg.grad(mg.mean(ones, 0), ones, np.ones(shape[1:], "float16"))
    np.testing.assert_array_equal(d.data, np.full(shape, np.float16(1 / shape[0])))


def test_the_mean_of_an_image_of_float16():
    assert mg.global_avg_pool2d(mg.Tensor(np.ones((1, 64, 64, 1), "float16"))).item() == 1
