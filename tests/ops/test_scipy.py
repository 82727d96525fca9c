"""SciPy as an independent oracle: correlation for conv2d, its special functions for what must not overflow."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import signal, special

import minigrad as mg


def random(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def same(ours, theirs, rtol=1e-12, atol=1e-12):
    ours = ours.data if isinstance(ours, mg.Tensor) else np.asarray(ours)
    assert_allclose(ours, np.asarray(theirs), rtol=rtol, atol=atol, equal_nan=False, strict=True)


# Convolution ---------------------------------------------------------------------------------


def correlate(x, w, mode):
    """Correlate images (n, h, w, c) with (kh, kw, c, o), channel by channel."""
    channels = range(x.shape[3])
    return np.stack(
        [
            np.stack(
                [
                    sum(signal.correlate(image[..., c], w[..., c, o], mode, method="direct") for c in channels)
                    for o in range(w.shape[3])
                ],
                axis=-1,
            )
            for image in x
        ]
    )


#: Sizes of image and kernel: even and odd, height and width different.
SIZES = [
    ((2, 5, 4, 3), (3, 3, 3, 2)),
    ((1, 4, 7, 1), (2, 3, 1, 1)),
    ((2, 3, 5, 2), (3, 1, 2, 4)),
    ((1, 6, 5, 2), (1, 4, 2, 3)),
    ((1, 3, 3, 2), (3, 3, 2, 1)),
    ((3, 2, 4, 2), (1, 1, 2, 2)),
    ((1, 33, 29, 2), (5, 4, 2, 3)),
]


@pytest.mark.parametrize(("x", "w"), SIZES)
def test_conv2d_is_a_correlation(x, w):
    x, w = random(*x), random(*w, seed=1)
    kh, kw = w.shape[:2]
    same(mg.conv2d(x, w), correlate(x, w, "valid"))
    same(mg.conv2d(x, w, padding=(kh - 1, kw - 1)), correlate(x, w, "full"))
    if kh % 2 == kw % 2 == 1:  # an even kernel has no middle
        same(mg.conv2d(x, w, padding=(kh // 2, kw // 2)), correlate(x, w, "same"))


@pytest.mark.parametrize(("x", "w"), SIZES)
def test_gradients_of_conv2d_are_correlations(x, w):
    """In x: g with the flipped kernel, full. In w: x with g, valid."""
    x, w = mg.Tensor(random(*x), requires_grad=True), mg.Tensor(random(*w, seed=1), requires_grad=True)
    out = mg.conv2d(x, w)
    g = random(*out.shape, seed=2)
    dx, dw = mg.grad(out, [x, w], g)
    same(dx, correlate(g, w.data[::-1, ::-1].transpose(0, 1, 3, 2), "full"))
    expected = correlate(x.data.transpose(3, 1, 2, 0), g.transpose(1, 2, 0, 3), "valid")  # the batch is summed over
    same(dw, expected.transpose(1, 2, 0, 3), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("x", "w"), SIZES)
def test_conv_transpose2d_is_a_convolution(x, w):
    """With stride 1: the full convolution, whose kernel is flipped where that of a correlation is not."""
    x, w = random(*x), random(*w, seed=1)
    same(mg.conv_transpose2d(x, w), correlate(x, w[::-1, ::-1], "full"))


def test_conv2d_keeps_dtype_as_scipy_does():
    x, w = (random(*shape).astype("float32") for shape in SIZES[0])
    same(mg.conv2d(x, w), correlate(x, w, "valid"), rtol=1e-4, atol=1e-5)


# Special functions ---------------------------------------------------------------------------

#: Rows with extremes: both tails, equal elements, differences at which a term is lost.
ROWS = np.array(
    [
        [0.0, 0.0, 0.0, 0.0],
        [1e4, -1e4, 0.0, 1.0],
        [-1e4, -1e4, -1e4 + 1.0, -1e4 - 700.0],
        [1e4, 1e4 + 1.0, 1e4 - 30.0, 1e4 - 650.0],
        [700.0, 709.0, 710.0, 720.0],
        [-745.0, -740.0, -750.0, -700.0],
        [1e-300, -1e-300, 1e-17, 0.0],
        [3.0, -2.0, 0.5, 1.0],
    ]
)

AXES = [0, 1, -1, (0, 1), None]


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("keepdims", [False, True])
def test_logsumexp(axis, keepdims):
    x = mg.Tensor(ROWS, requires_grad=True)
    out = mg.logsumexp(x, axis, keepdims)
    same(out, special.logsumexp(ROWS, axis=axis, keepdims=keepdims), rtol=1e-14, atol=0)
    g = random(*out.shape)
    total = special.logsumexp(ROWS, axis=axis, keepdims=True)
    same(mg.grad(out, x, g)[0], g.reshape(total.shape) * np.exp(ROWS - total), rtol=1e-11, atol=0)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_softmax(axis):
    x = mg.Tensor(ROWS, requires_grad=True)
    out, expected = mg.softmax(x, axis), special.softmax(ROWS, axis=axis)
    same(out, expected, rtol=1e-13, atol=0)  # relative, in the tails, too
    g = random(*ROWS.shape)
    mean = (g * expected).sum(axis, keepdims=True)
    same(mg.grad(out, x, g)[0], expected * (g - mean), rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_log_softmax(axis):
    x = mg.Tensor(ROWS, requires_grad=True)
    out = mg.log_softmax(x, axis)
    same(out, special.log_softmax(ROWS, axis=axis), rtol=1e-14, atol=1e-15)
    g = random(*ROWS.shape)
    expected = g - special.softmax(ROWS, axis=axis) * g.sum(axis, keepdims=True)
    same(mg.grad(out, x, g)[0], expected, rtol=1e-12, atol=1e-15)


def test_cross_entropy():
    labels = np.random.default_rng(0).integers(4, size=len(ROWS))
    x = mg.Tensor(ROWS, requires_grad=True)
    picked = special.log_softmax(ROWS, axis=1)[np.arange(len(ROWS)), labels]
    out = mg.cross_entropy(x, labels)
    same(out, -picked.mean(), rtol=1e-14, atol=0)
    expected = (special.softmax(ROWS, axis=1) - np.eye(4)[labels]) / len(ROWS)
    same(mg.grad(out, x, np.array(-2.5))[0], -2.5 * expected, rtol=1e-12, atol=1e-16)


POINTS = np.array([0.0, 1e-300, 1e-9, 0.5, 3.0, 17.0, 36.0, 37.0, 40.0, 100.0, 650.0, 700.0])


def test_sigmoid():
    """The lower tail has all its digits, and so has the derivative in both."""
    points = np.concatenate([-POINTS[::-1], POINTS])
    x = mg.Tensor(points, requires_grad=True)
    out = mg.sigmoid(x)
    same(out, special.expit(points), rtol=1e-14, atol=0)
    g = random(points.size)
    same(mg.grad(out, x, g)[0], g * special.expit(points) * special.expit(-points), rtol=1e-13, atol=0)


def test_sigmoid_far_out():
    points = np.array([-1e4, -1e300, 1e4, 1e300, np.inf, -np.inf])
    x = mg.Tensor(points, requires_grad=True)
    out = mg.sigmoid(x)
    same(out, special.expit(points), rtol=0, atol=0)
    same(mg.grad(out, x, random(6))[0], np.zeros(6), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["logsumexp", "softmax", "log_softmax"])
def test_float32(name):
    """Where float32 would overflow at 89, too."""
    rows = (ROWS[[0, 1, 4, 7]] / 7).astype("float32")
    ours = getattr(mg, name)(mg.Tensor(rows), axis=1)
    same(ours, getattr(special, name)(rows, axis=1), rtol=1e-6, atol=1e-6)


def test_float32_sigmoid():
    points = np.array([-85.0, -20.0, -1.0, 0.0, 1.0, 20.0, 100.0], "float32")
    same(mg.sigmoid(mg.Tensor(points)), special.expit(points.astype(float)).astype("float32"), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    "row", [[-np.inf, 0.0, 1.0], [np.inf, 0.0, 1.0], [-np.inf, -np.inf], [np.inf, -np.inf]], ids=str
)
def test_logsumexp_of_infinities(row):
    """Masked elements are minus infinity: they add nothing, and a row of them has the sum 0."""
    row = np.array(row)
    same(mg.logsumexp(mg.Tensor(row)), special.logsumexp(row), rtol=1e-14, atol=0)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_with_masked_elements(name):
    row = np.array([-np.inf, 0.0, 1.0, -np.inf])
    same(getattr(mg, name)(mg.Tensor(row)), getattr(special, name)(row), rtol=1e-14, atol=0)
