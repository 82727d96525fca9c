"""Softmax and the losses: drawn shapes, and extremes, with SciPy as an oracle."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose
from scipy import special

import minigrad as mg
from tests.records.draw import normal, randn
from tests.tools.compare import cotangent, examples, leaf, same, seeds
from tests.tools.extremes import ROWS
from tests.tools.strict import count_syncs, strict


@given(shape=hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4), data=st.data(), seed=seeds)
def test_softmax_and_its_logarithm(shape, data, seed):
    rng = np.random.default_rng(seed)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    x = leaf(5 * normal(rng, shape))
    for name in ("softmax", "log_softmax"):
        if shape[axis] == 0:
            with pytest.raises(ValueError, match=f"^{name}: "):
                getattr(mg, name)(x, axis)
            continue
        e = np.exp(x.data)
        p = e / e.sum(axis, keepdims=True)
        out = getattr(mg, name)(x, axis)
        g = cotangent(out, rng)
        same(out, p if name == "softmax" else np.log(p))
        expected = p * (g - (g * p).sum(axis, keepdims=True))
        if name == "log_softmax":
            expected = g - p * g.sum(axis, keepdims=True)
        same(mg.grad(out, x, g)[0], expected)


@given(n=st.integers(1, 5), classes=st.integers(1, 5), seed=seeds, kind=st.sampled_from(["int64", "uint8", "int32"]))
@examples(0.3)
def test_cross_entropy(n, classes, seed, kind):
    rng = np.random.default_rng(seed)
    x, labels = leaf(3 * normal(rng, (n, classes))), rng.integers(classes, size=n).astype(kind)
    p = np.exp(x.data) / np.exp(x.data).sum(1, keepdims=True)
    out = mg.cross_entropy(x, labels)
    same(out, -np.log(p[np.arange(n), labels]).mean())
    g = cotangent(out, rng)
    same(mg.grad(out, x, g)[0], g * (p - np.eye(classes)[labels]) / n)


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "uint16", "int64", "uint64"])
def test_labels_whose_dtype_just_holds_or_does_not_hold_the_number_of_classes(kind):
    """The last class is taken where its label fits, and the number of classes may be beyond the dtype."""
    for classes in (127, 128, 129, 255, 256, 257, 65_535, 65_536, 65_537):
        last = min(classes - 1, np.iinfo(kind).max)
        labels = np.array([0, last, last - 1], kind)
        logits = randn(3, classes)
        expected = -special.log_softmax(logits, 1)[np.arange(3), [0, last, last - 1]].mean()
        same(mg.cross_entropy(logits, labels), expected)
        if classes <= np.iinfo(kind).max:
            with pytest.raises(ValueError, match=f"labels go from 0 to {classes}, but there are {classes} classes"):
                mg.cross_entropy(logits, np.array([0, classes, 1], kind))


def test_softmax_is_along_the_last_axis_by_default():
    cube = randn(2, 3, 4)
    assert_allclose(mg.softmax(cube), np.exp(cube) / np.exp(cube).sum(-1, keepdims=True))
    assert_allclose(mg.log_softmax(cube), np.log(mg.softmax(cube)))


def test_labels_on_a_device_are_not_waited_for():
    logits, labels = mg.Tensor(strict.asarray(randn(3, 4)), requires_grad=True), strict.asarray(np.array([0, 3, 1]))
    with count_syncs() as syncs:
        mg.cross_entropy(logits, labels).backward()
    assert syncs.count == 0


# Extremes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_softmax_of_extremes(axis):
    x = mg.Tensor(ROWS, requires_grad=True)
    out, expected = mg.softmax(x, axis), special.softmax(ROWS, axis=axis)
    same(out, expected, rtol=1e-13, atol=0)  # relative, in the tails, too
    g = randn(*ROWS.shape)
    mean = (g * expected).sum(axis, keepdims=True)
    same(mg.grad(out, x, g)[0], expected * (g - mean), rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_log_softmax_of_extremes(axis):
    x = mg.Tensor(ROWS, requires_grad=True)
    out = mg.log_softmax(x, axis)
    same(out, special.log_softmax(ROWS, axis=axis), rtol=1e-14, atol=1e-15)
    g = randn(*ROWS.shape)
    expected = g - special.softmax(ROWS, axis=axis) * g.sum(axis, keepdims=True)
    same(mg.grad(out, x, g)[0], expected, rtol=1e-12, atol=1e-15)


def test_cross_entropy_of_extremes():
    labels = np.random.default_rng(0).integers(4, size=len(ROWS))
    x = mg.Tensor(ROWS, requires_grad=True)
    picked = special.log_softmax(ROWS, axis=1)[np.arange(len(ROWS)), labels]
    out = mg.cross_entropy(x, labels)
    same(out, -picked.mean(), rtol=1e-14, atol=0)
    expected = (special.softmax(ROWS, axis=1) - np.eye(4)[labels]) / len(ROWS)
    same(mg.grad(out, x, np.array(-2.5))[0], -2.5 * expected, rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_in_float32(name):
    """Where float32 would overflow at 89, too."""
    rows = (ROWS[[0, 1, 4, 7]] / 7).astype("float32")
    ours = getattr(mg, name)(mg.Tensor(rows), axis=1)
    same(ours, getattr(special, name)(rows, axis=1), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_with_masked_elements(name):
    row = np.array([-np.inf, 0.0, 1.0, -np.inf])
    same(getattr(mg, name)(mg.Tensor(row)), getattr(special, name)(row), rtol=1e-14, atol=0)


def test_softmax_of_large_logits_does_not_overflow():
    x = np.array([1000.0, 999.0, -1000.0])
    shares = np.exp([0.0, -1.0, -np.inf]) / (1 + np.exp(-1.0))
    assert_allclose(mg.softmax(x), shares, rtol=1e-12)
    assert_allclose(mg.log_softmax(x), x - 1000 - np.log1p(np.exp(-1.0)), rtol=1e-12)


@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-14), ("float32", 2e-6)])
def test_binary_cross_entropy_keeps_the_digits_of_a_small_loss(dtype, rtol):
    """exp(-x) for a right answer of logit x; log(sigmoid(x)) and softplus(x) - x would be 0. The gradient, too."""
    points = np.array([20.0, 40.0, 80.0])
    for sign, target in ((1, 1), (-1, 0)):
        for logit in points:
            x = leaf(np.array([sign * logit], dtype))
            loss = mg.binary_cross_entropy(x, np.array([target]))
            same(loss, np.array(np.log1p(np.exp(-logit)), dtype), rtol=rtol, atol=0)
            same(mg.grad(loss, x)[0], np.array([-sign * special.expit(-logit)], dtype), rtol=rtol, atol=0)


def test_binary_cross_entropy_of_wrong_answers_is_their_logit():
    x = leaf(np.array([-1e4, 1e4]))
    loss = mg.binary_cross_entropy(x, np.array([True, False]))
    assert loss.item() == 1e4
    same(mg.grad(loss, x)[0], np.array([-0.5, 0.5]), rtol=0, atol=0)


def test_label_smoothing_is_cross_entropy_with_a_share_of_each_target_on_all_classes():
    x, labels = leaf(randn(4, 3)), np.array([0, 2, 1, 1])
    plain, mixed = mg.cross_entropy(x, labels), mg.cross_entropy(x, labels, label_smoothing=0.3)
    same(mixed, (0.7 * plain - 0.3 * mg.mean(mg.log_softmax(x))).data, rtol=1e-14, atol=0)
    same(mg.nll_loss(mg.log_softmax(x), labels), plain.data, rtol=1e-14, atol=0)


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_class_that_is_masked_by_minus_infinity_gets_no_gradient(create_graph):
    x = leaf(np.array([[0.0, -np.inf, 1.0]]))
    (dx,) = mg.grad(mg.cross_entropy(x, [0]), x, create_graph=create_graph)
    p = special.expit(1.0)
    same(dx, np.array([[-p, 0.0, p]]), rtol=1e-14, atol=0)
