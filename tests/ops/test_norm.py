"""Batch normalisation: drawn shapes, statistics, several blocks, and evaluation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose

import minigrad as mg
from minigrad import ops
from minigrad.kernels import norm, pixels
from tests.records.draw import normal, ones, randn, uniform
from tests.tools.compare import cotangent, leaf, same, seeds


@given(
    shape=hnp.array_shapes(min_dims=2, max_dims=4, min_side=1, max_side=6),
    training=st.booleans(),
    seed=seeds,
    eps=st.sampled_from([1e-5, 1e-2]),
)
def test_batch_norm_is_its_definition(shape, training, seed, eps):
    """For every number of pixels: the fast path takes several as one row where that number divides."""
    rng, c = np.random.default_rng(seed), shape[-1]
    if math.prod(shape) < 3 * c:
        training = False  # of two values, the result is plus and minus one, and the gradient all rounding
    inputs = [leaf(normal(rng, s)) for s in (shape, (c,), (c,))]
    mean, var = normal(rng, c), uniform(rng, c)
    before = mean.copy(), var.copy()
    out = mg.batch_norm(*inputs, mean, var, training=training, momentum=0.3, eps=eps)
    defined = ops.norm.batch_norm_twin(*inputs, *before, training, eps)
    same(out, defined, rtol=1e-10, atol=1e-10)
    x = inputs[0].data.reshape(-1, c)
    if training:
        same(mean, 0.7 * before[0] + 0.3 * x.mean(0))
        same(var, 0.7 * before[1] + 0.3 * x.var(0, ddof=1))
    else:
        same(mean, before[0], rtol=0, atol=0)
        same(var, before[1], rtol=0, atol=0)
    g = cotangent(out, rng)
    for i, (d, e) in enumerate(zip(mg.grad(out, inputs, g), mg.grad(defined, inputs, g), strict=True)):
        same(d, e, rtol=1e-9, atol=1e-9 * max(1.0, np.abs(e.data).max()), what=f"gradient of input {i}")


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("shape", [(2, 3, 1, 2, 4), (3, 1, 2, 2, 2, 3), (2, 1, 2, 1, 2, 2, 3)], ids=len)
def test_all_axes_but_the_last_are_pixels_however_many_there_are(shape, training):
    """Value, statistics and gradients of both kinds are those of the features (pixels, c)."""
    c, results = shape[-1], []
    for axes in (shape, (-1, c)):
        inputs = [leaf(x) for x in (randn(*shape).reshape(axes), randn(c, seed=1), randn(c, seed=2))]
        mean, var = randn(c, seed=3), ones(c)
        out = mg.batch_norm(*inputs, mean, var, training=training)
        g = randn(*shape, seed=4).reshape(axes)
        results.append([out.data, mean, var])
        for create_graph in (False, True):
            gradients = mg.grad(out, inputs, g, create_graph=create_graph, retain_graph=True)
            results[-1] += [d.data for d in gradients]
    for ours, expected in zip(*results, strict=True):
        same(ours, expected.reshape(ours.shape), rtol=1e-9, atol=1e-9)


# Statistics -----------------------------------------------------------------------------------


def test_running_statistics_move_by_momentum_from_their_old_values():
    """And by how much: from zeros, what is left of the old ones would not show."""
    x = randn(5, 4, 3)
    for momentum in (0.1, 0.75):
        mean, var = randn(3, seed=1), randn(3, seed=2) ** 2
        expected_mean = (1 - momentum) * mean + momentum * x.mean((0, 1))
        expected_var = (1 - momentum) * var + momentum * x.var((0, 1), ddof=1)
        given = {} if momentum == 0.1 else {"momentum": momentum}  # 0.1 is the default
        mg.batch_norm(x, np.ones(3), np.zeros(3), mean, var, training=True, **given)
        assert_allclose(mean, expected_mean, rtol=1e-12)
        assert_allclose(var, expected_var, rtol=1e-12)


def test_a_momentum_of_0_keeps_the_statistics_and_one_of_1_replaces_them():
    for x in (randn(5, 4, 3), randn(5, 4, 3) + 1j * randn(5, 4, 3, seed=1)):
        for momentum in (0.0, 0, 1.0, 1):
            mean, var = np.full(3, 7.0, x.dtype), np.full(3, 9.0, x.dtype)
            settings = {"training": True, "momentum": momentum}
            mg.batch_norm(x, ones(3, dtype=x.dtype), np.zeros(3, x.dtype), mean, var, **settings)
            mu = x.mean((0, 1))
            assert_allclose(mean, mu if momentum else 7.0 + 0 * mu, rtol=1e-12)
            assert_allclose(var, ((x - mu) ** 2).sum((0, 1)) / 19 if momentum else 9.0 + 0 * mu, rtol=1e-12)


def test_the_variance_of_values_whose_mean_is_no_float32():
    """All values are one of two neighbours in float32, so their mean cannot be written down in float32."""
    low = np.float32(1e4)
    x = np.where(np.arange(400) % 4 == 0, np.nextafter(low, np.float32(2e4)), low).reshape(100, 4)[:, [0, 1]]
    x = np.concatenate([x, x[::-1, ::-1]]).astype("float32")
    mean, var = ones(2, dtype="float32"), ones(2, dtype="float32")
    mg.batch_norm(x, mean, mean, mean.copy(), var, training=True, momentum=1.0)
    assert_allclose(var, x.astype("float64").var(0, ddof=1), rtol=1e-5)


def test_statistics_and_gradients_of_several_blocks_are_those_of_the_whole():
    x, gamma = randn(33, 30, 31, 16) + np.arange(33.0).reshape(-1, 1, 1, 1), randn(16, seed=1)
    g = randn(*x.shape, seed=2) + x
    assert len(pixels.Pixels(x).blocks) > 2
    leaves = [mg.Tensor(a, requires_grad=True) for a in (x, gamma, np.zeros(16))]
    statistics = np.zeros(16), np.zeros(16)
    out = mg.batch_norm(*leaves, *statistics, training=True, momentum=1.0)
    axes = (0, 1, 2)
    assert_allclose(statistics[0], x.mean(axes), rtol=1e-12)
    assert_allclose(statistics[1], x.var(axes, ddof=1), rtol=1e-12)
    inv_std = 1 / np.sqrt(x.var(axes) + 1e-5)
    normed = (x - x.mean(axes)) * inv_std
    expected = gamma * inv_std * (g - g.mean(axes) - normed * (g * normed).mean(axes))
    for d, d_expected in zip(mg.grad(out, leaves, g), [expected, (g * normed).sum(axes), g.sum(axes)], strict=True):
        assert_allclose(d.data, d_expected, rtol=1e-9, atol=1e-8)


def test_eps_is_1e_5_by_default():
    x = np.array([[1.0], [3.0]])
    normed = mg.batch_norm(x, ones(1), np.zeros(1), np.zeros(1), ones(1), training=True)
    assert_allclose(normed, (x - 2) / np.sqrt(1 + 1e-5), rtol=1e-12)


# Evaluation -----------------------------------------------------------------------------------


def test_in_evaluation_the_gradient_of_x_alone_needs_no_sums(monkeypatch):
    monkeypatch.setattr(norm, "gradient_sums", None)  # calling it would fail
    x = mg.Tensor(randn(4, 3), requires_grad=True)
    out = mg.batch_norm(x, np.ones(3), np.zeros(3), np.zeros(3), np.ones(3), training=False, eps=3.0)
    g = randn(4, 3, seed=1)
    assert_allclose(mg.grad(out, x, g)[0].data, g / 2, rtol=1e-12)


def test_the_gradient_uses_the_statistics_of_the_forward():
    """Also where the statistics have moved between forward and backward, in both orders."""
    x, mean, var = mg.Tensor(randn(4, 3), requires_grad=True), randn(3, seed=1), np.full(3, 3.0)
    out = mg.batch_norm(x, np.ones(3), np.zeros(3), mean, var, training=False, eps=1.0)
    mean[...], var[...] = 100.0, 100.0
    g = randn(4, 3, seed=2)
    for create_graph in (False, True):
        (dx,) = mg.grad(out, x, g, retain_graph=True, create_graph=create_graph)
        assert_allclose(dx.data, g / 2, rtol=1e-12)
