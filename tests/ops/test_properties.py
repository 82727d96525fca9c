"""Shapes and settings beyond the tables, drawn by Hypothesis: broadcasts, residues, axes, indices, views, dtypes.

Every gradient is compared with one that was written in NumPy alone, from the definition: sums over what was
stretched, loops over windows, np.add.at. Cotangents are random, with both signs.
"""

import itertools
import math
import operator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose

import minigrad as mg
from minigrad import ops
from tests.samples import SAMPLES, conv2d_by_loops, conv_transpose2d_by_loops, pool_by_loops

seeds = st.integers(0, 2**32 - 1)


def examples(share):
    """Draw so many times the profile's number of examples."""
    return settings(max_examples=max(1, round(share * settings.default.max_examples)))


def same(ours, expected, rtol=1e-11, atol=1e-11, what=""):
    ours = ours.data if isinstance(ours, mg.Tensor) else np.asarray(ours)
    expected = expected.data if isinstance(expected, mg.Tensor) else np.asarray(expected)
    assert_allclose(ours, expected, rtol=rtol, atol=atol, equal_nan=False, strict=True, err_msg=what)


def leaf(array):
    return mg.Tensor(np.asarray(array), requires_grad=True)


def draw_cotangent(out, rng):
    return rng.standard_normal(out.shape).astype(out.dtype)


def shapes(max_dims=4, max_side=4, min_dims=0):
    """Draw shapes with sizes 0 and 1 among them."""
    return hnp.array_shapes(min_dims=min_dims, max_dims=max_dims, min_side=0, max_side=max_side)


# Elementwise ---------------------------------------------------------------------------------


def normal(rng, shape):
    return np.asarray(rng.standard_normal(shape))


def positive(rng, shape):
    return np.asarray(rng.uniform(0.5, 2.0, shape))


def tied(rng, shape):
    """Draw from few values, so that many are equal."""
    return np.asarray(rng.integers(-2, 3, shape) / 2)


#: Name: NumPy's function, how to draw, and the partial derivatives.
BINARY = {
    "add": (np.add, normal, lambda g, a, b: (g, g)),
    "sub": (np.subtract, normal, lambda g, a, b: (g, -g)),
    "mul": (np.multiply, normal, lambda g, a, b: (g * b, g * a)),
    "div": (np.divide, positive, lambda g, a, b: (g / b, -g * a / b**2)),
    "pow": (np.power, positive, lambda g, a, b: (g * b * a ** (b - 1), g * a**b * np.log(a))),
    "maximum": (np.maximum, tied, lambda g, a, b: (g * (a >= b), g * (a < b))),
    "minimum": (np.minimum, tied, lambda g, a, b: (g * (a <= b), g * (a > b))),
}

UNARY = {
    "neg": (np.negative, normal, lambda g, x: -g),
    "exp": (np.exp, normal, lambda g, x: g * np.exp(x)),
    "log": (np.log, positive, lambda g, x: g / x),
    "sqrt": (np.sqrt, positive, lambda g, x: g / np.sqrt(4 * x)),
    "tanh": (np.tanh, normal, lambda g, x: g / np.cosh(x) ** 2),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), normal, lambda g, x: g / (2 + np.exp(x) + np.exp(-x))),
    "relu": (lambda x: np.where(x > 0, x, 0.0), tied, lambda g, x: np.where(x > 0, g, 0.0)),
    "abs": (np.abs, tied, lambda g, x: g * np.sign(x)),
}


def sum_back(d, shape):
    """Sum a gradient over what broadcasting from `shape` made or stretched."""
    d = d.sum(axis=tuple(range(d.ndim - len(shape))))
    for axis, n in enumerate(shape):
        if n == 1:
            d = d.sum(axis=axis, keepdims=True)
    return np.asarray(d)


@pytest.mark.parametrize("name", BINARY)
@given(drawn=hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, min_side=0, max_side=4), seed=seeds)
def test_binary_operators_broadcast(name, drawn, seed):
    plain, draw, partials = BINARY[name]
    rng = np.random.default_rng(seed)
    a, b = (leaf(draw(rng, shape)) for shape in drawn.input_shapes)
    out = getattr(mg, name)(a, b)
    same(out, plain(a.data, b.data))
    g = draw_cotangent(out, rng)
    for x, dx, d in zip((a, b), mg.grad(out, [a, b], g), partials(g, a.data, b.data), strict=True):
        same(dx, sum_back(np.broadcast_to(d, out.shape), x.shape))
    one = plain(a.data, a.data)
    both = getattr(mg, name)(a, a)  # one leaf in both places gets the sum of both gradients
    same(both, one)
    g = draw_cotangent(both, rng)
    same(mg.grad(both, a, g)[0], sum(partials(g, a.data, a.data)))


@pytest.mark.parametrize("name", BINARY)
@given(drawn=hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, min_side=0, max_side=2), seed=seeds)
@examples(0.15)
def test_binary_operators_by_differences(name, drawn, seed):
    rng = np.random.default_rng(seed)
    arrays = [positive(rng, shape) for shape in drawn.input_shapes]
    if name in ("maximum", "minimum"):
        arrays[1] = arrays[1].round(2) + 0.005  # away from every tie with a rounded number
        arrays[0] = arrays[0].round(2)
    mg.gradcheck(getattr(mg, name), arrays)


@given(drawn=hnp.mutually_broadcastable_shapes(num_shapes=3, max_dims=4, min_side=0, max_side=4), seed=seeds)
def test_where_broadcasts_with_its_condition(drawn, seed):
    rng = np.random.default_rng(seed)
    condition = np.asarray(rng.random(drawn.input_shapes[0]) < 0.5)
    a, b = (leaf(normal(rng, shape)) for shape in drawn.input_shapes[1:])
    out = mg.where(condition, a, b)
    same(out, np.where(condition, a.data, b.data), rtol=0, atol=0)
    g = draw_cotangent(out, rng)
    da, db = mg.grad(out, [a, b], g)
    same(da, sum_back(np.where(condition, g, 0.0), a.shape))
    same(db, sum_back(np.where(condition, 0.0, g), b.shape))


@pytest.mark.parametrize("name", UNARY)
@given(shape=shapes(), seed=seeds)
@examples(0.3)
def test_unary_operators(name, shape, seed):
    plain, draw, derivative = UNARY[name]
    rng = np.random.default_rng(seed)
    x = leaf(draw(rng, shape))
    out = getattr(mg, name)(x)
    same(out, plain(x.data))
    g = draw_cotangent(out, rng)
    same(mg.grad(out, x, g)[0], derivative(g, x.data))


@given(shape=shapes(), seed=seeds, low=st.sampled_from([None, -1.0, -0.5, 0.0]), high=st.sampled_from([None, 0.5, 1.0]))
def test_clip(shape, seed, low, high):
    rng = np.random.default_rng(seed)
    x = leaf(tied(rng, shape))
    if low is None and high is None:
        with pytest.raises(ValueError, match="clip: expected a_min, a_max or both"):
            mg.clip(x, low, high)
        return
    out = mg.clip(x, low, high)
    bounds = (-np.inf if low is None else low, np.inf if high is None else high)
    same(out, np.clip(x.data, *bounds))
    g = draw_cotangent(out, rng)
    same(mg.grad(out, x, g)[0], g * ((x.data >= bounds[0]) & (x.data <= bounds[1])))


# float32 stays float32 -----------------------------------------------------------------------

SCALARS = [2, 0.5, True, np.float64(0.75), np.float32(0.1), np.float16(0.5), np.int64(3), np.uint8(2), np.bool_(True)]

OPERATORS = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "**": operator.pow,
    **{name: getattr(mg, name) for name in BINARY},
}


@pytest.mark.parametrize("scalar", SCALARS, ids=lambda s: f"{type(s).__name__}-{s}")
@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("shape", [(3,), ()], ids=["vector", "0-d"])
def test_scalars_do_not_promote(name, scalar, shape):
    """Both sides, value and gradient of both orders; what is computed is what it would be in float64, rounded."""
    f, number = OPERATORS[name], scalar.item() if isinstance(scalar, np.generic) else scalar
    values = np.random.default_rng(1).uniform(1.1, 1.9, shape)
    for g in (f, lambda a, b: f(b, a)):
        x, y = leaf(values.astype("float32")), leaf(values.astype("float32").astype("float64"))
        out, expected = g(x, scalar), g(y, float(number))
        same(out, expected.data.astype("float32"), rtol=1e-6, atol=1e-6)
        c = np.asarray(np.random.default_rng(2).standard_normal(shape), "float32")
        (dx,), (dy,) = (mg.grad(z, w, c.astype(z.dtype), create_graph=True) for z, w in ((out, x), (expected, y)))
        same(dx, dy.data.astype("float32"), rtol=1e-5, atol=1e-6)
        (ddx,), (ddy,) = (mg.grad(z * w, w, c.astype(z.dtype)) for z, w in ((dx, x), (dy, y)))
        same(ddx, ddy.data.astype("float32"), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scalar", SCALARS, ids=lambda s: f"{type(s).__name__}-{s}")
def test_scalars_in_where_do_not_promote(scalar):
    x = leaf(np.array([0.5, -1.0, 2.0], "float32"))
    c = np.array([0.25, -2.0, 3.0], "float32")
    condition = np.array([True, False, True])
    for out, d in ((mg.where(condition, x, scalar), c * condition), (mg.where(condition, scalar, x), c * ~condition)):
        assert out.dtype == np.float32
        same(mg.grad(out, x, c)[0], d)


#: Settings that are numbers, given as NumPy scalars of another dtype than the Tensor's.
NUMBERS = {
    "clip": lambda x, kind: mg.clip(x, kind(0), kind(1)),
    "clip below": lambda x, kind: mg.clip(x, a_min=kind(0)),
    "clip above": lambda x, kind: mg.clip(x, a_max=kind(1)),
    "pad": lambda x, kind: mg.pad(x, [(1, 1), (0, 2)], kind(1)),
    "dropout": lambda x, kind: mg.dropout(x, kind(0.5), rng=np.random.default_rng(0), training=True),
    "batch_norm": lambda x, kind: _normalised(x, kind, training=True),
    "batch_norm in evaluation": lambda x, kind: _normalised(x, kind, training=False),
}


def _normalised(x, kind, training):
    c = x.shape[-1]
    gamma, beta = (mg.Tensor(np.full(c, v, "float32"), requires_grad=True) for v in (1.5, -0.5))
    mean, var = np.zeros(c, "float32"), np.ones(c, "float32")
    out = mg.batch_norm(x, gamma, beta, mean, var, training=training, momentum=kind(0.5), eps=kind(0.25))
    for d in mg.grad(out, [gamma, beta], np.array(out.data), retain_graph=True):
        assert d.dtype == np.float32
    assert mean.dtype == var.dtype == np.float32
    return out


@pytest.mark.parametrize("kind", [float, np.float64, np.float32, np.float16], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("case", NUMBERS)
def test_settings_do_not_promote(case, kind):
    values = np.random.default_rng(0).standard_normal((4, 3)).astype("float32")
    x, y = leaf(values), leaf(values)
    out, expected = NUMBERS[case](x, kind), NUMBERS[case](y, float)
    same(out, expected)
    g = draw_cotangent(out, np.random.default_rng(1))
    same(mg.grad(out, x, g)[0], mg.grad(expected, y, g)[0])


# Convolution ---------------------------------------------------------------------------------


@st.composite
def convolutions(draw):
    """Draw shapes and settings; height and width have their own, and all residues occur."""
    n, groups = draw(st.integers(0, 2)), draw(st.integers(1, 3))
    c, o = draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))
    sides = []
    for _ in range(2):
        k, s, d = draw(st.integers(1, 4)), draw(st.integers(1, 4)), draw(st.integers(1, 3))
        p = draw(st.integers(0, 4))
        least = max(0, d * (k - 1) + 1 - 2 * p)
        sides.append((draw(st.integers(least, least + s + 2)), k, s, p, d))
    size, kernel, stride, padding, dilation = zip(*sides, strict=True)
    settings = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return (n, *size, c * groups), (*kernel, c, o), draw(st.booleans()), settings


def definition_of_conv2d(x, w, b, stride, padding, dilation, groups=1):
    """Cut into groups by slicing, each by the plain twin."""
    c, o = w.shape[2], w.shape[3] // groups
    parts = [
        ops.conv.conv2d_definition(
            x[..., i * c : (i + 1) * c],
            w[..., i * o : (i + 1) * o],
            None if b is None else b[i * o : (i + 1) * o],
            stride,
            padding,
            dilation,
        )
        for i in range(groups)
    ]
    return parts[0] if groups == 1 else mg.concatenate(parts, axis=3)


def check_conv2d(x_shape, w_shape, bias, settings, seed=0):
    """Compare value and all gradients with the definition."""
    rng = np.random.default_rng(seed)
    inputs = [leaf(normal(rng, x_shape)), leaf(normal(rng, w_shape))]
    inputs += [leaf(normal(rng, w_shape[3:]))] if bias else []
    out = mg.conv2d(*inputs, **settings)
    defined = definition_of_conv2d(*inputs, *([] if bias else [None]), **settings)
    same(out, defined)
    g = draw_cotangent(out, rng)
    fast = mg.grad(out, inputs, g)
    for i, (d, e) in enumerate(zip(fast, mg.grad(defined, inputs, g), strict=True)):
        same(d, e, what=f"gradient of input {i}")
    for i, x in enumerate(inputs):  # each alone: a gradient that nobody wants is not computed, by other code
        same(mg.grad(mg.conv2d(*inputs, **settings), x, g)[0], fast[i], what=f"gradient of input {i} alone")
        alone = [x if j == i else y.detach() for j, y in enumerate(inputs)]
        same(mg.grad(mg.conv2d(*alone, **settings), x, g)[0], fast[i], what=f"gradient of the only leaf, {i}")
    return [x.data for x in inputs[:2]]


@given(case=convolutions(), seed=seeds)
@examples(1.5)
def test_conv2d_is_its_definition(case, seed):
    check_conv2d(*case, seed=seed)


@given(case=convolutions(), seed=seeds)
@examples(0.3)
def test_conv2d_by_loops(case, seed):
    x_shape, w_shape, _, settings = case
    rng = np.random.default_rng(seed)
    x, w = normal(rng, x_shape), normal(rng, w_shape)
    same(mg.conv2d(x, w, **settings), conv2d_by_loops(x, w, **settings))


@given(case=convolutions(), seed=seeds)
@examples(0.3)
def test_adjoint_of_conv2d(case, seed):
    x_shape, w_shape, _, settings = case
    rng = np.random.default_rng(seed)
    x, w = normal(rng, x_shape), normal(rng, w_shape)
    mg.adjoint_check(lambda x: mg.conv2d(x, w, **settings), [x], rng=rng)
    mg.adjoint_check(lambda w: mg.conv2d(x, w, **settings), [w], rng=rng)


@pytest.mark.parametrize("kernel", [(1, 1), (2, 3)])
@pytest.mark.parametrize("channels", [(0, 2), (2, 0)], ids=["none in", "none out"])
def test_conv2d_without_channels_says_so(kernel, channels):
    x, w = np.zeros((2, 3, 4, channels[0])), np.zeros((*kernel, *channels))
    with pytest.raises(ValueError, match=r"^conv2d: expected at least one channel in and out, got w \("):
        mg.conv2d(x, w)


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("s", [1, 2, 3])
def test_conv2d_in_every_residue(k, s):
    """Not drawn but listed, along the height; the width goes through them in another order."""
    cases = [
        (least + extra, p, d)
        for p, d in itertools.product(range(k + 2), (1, 2, 3))
        for least in [max(1, d * (k - 1) + 1 - 2 * p)]
        for extra in range(s + 1)
    ]
    for i, (h, p, d) in enumerate(cases):
        wd, q, e = cases[(7 * i + 3) % len(cases)]
        along_width = 1 + (s + i) % 3
        check_conv2d(
            (1 + i % 2, h, wd, 1 + i % 3),
            (k, k, 1 + i % 3, 2),
            i % 2 == 1,
            {"stride": (s, along_width), "padding": (p, q), "dilation": (d, e)},
            seed=i,
        )


@given(
    sides=st.tuples(*[st.tuples(*[st.integers(1, 4)] * 3)] * 2),
    crops=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    channels=st.tuples(st.integers(0, 2), st.integers(1, 3), st.integers(1, 3)),
    seed=seeds,
)
def test_conv_transpose2d(sides, crops, channels, seed):
    """By loops, and as the gradient of conv2d, whose channels are swapped."""
    rng = np.random.default_rng(seed)
    (size, kernel, stride), (n, c, o) = zip(*sides, strict=True), channels
    whole = [s * (m - 1) + k for m, k, s in sides]
    padding = tuple(min(p, (m - 1) // 2) for p, m in zip(crops, whole, strict=True))
    x, w = leaf(normal(rng, (n, *size, c))), leaf(normal(rng, (*kernel, c, o)))
    out = mg.conv_transpose2d(x, w, stride=stride, padding=padding)
    same(out, conv_transpose2d_by_loops(x.data, w.data, stride=stride, padding=padding))
    g = draw_cotangent(out, rng)
    dx, dw = mg.grad(out, [x, w], g)
    image, swapped = leaf(g), leaf(w.data.transpose(0, 1, 3, 2))
    seen = mg.conv2d(image, swapped, stride=stride, padding=padding)
    same(dx, seen)
    same(dw, mg.grad(seen, swapped, x.data)[0].data.transpose(0, 1, 3, 2))


# Pooling -------------------------------------------------------------------------------------


@st.composite
def poolings(draw):
    sides = []
    for _ in range(2):
        k, s = draw(st.integers(1, 4)), draw(st.integers(1, 4))
        p = draw(st.integers(0, k - 1))
        least = max(0, k - 2 * p)
        sides.append((draw(st.integers(least, least + s + 2)), k, s, p))
    size, kernel, stride, padding = zip(*sides, strict=True)
    settings = {"kernel": kernel, "stride": stride, "padding": padding}
    return (draw(st.integers(0, 2)), *size, draw(st.integers(1, 3))), settings


def pool_gradient_by_loops(x, g, kernel, stride, padding, largest):
    """Send each gradient to the first largest pixel of its window, or in equal parts to all of them."""
    (kh, kw), (sh, sw), (ph, pw) = kernel, stride, padding
    border = [(0, 0), (ph, ph), (pw, pw), (0, 0)]
    bordered = np.pad(x, border, constant_values=-np.inf)
    d = np.zeros(bordered.shape)
    for n, y, z, c in np.ndindex(g.shape):
        window = (n, slice(y * sh, y * sh + kh), slice(z * sw, z * sw + kw), c)
        if largest:
            first = np.zeros(kh * kw)
            first[bordered[window].argmax()] = 1.0
            d[window] += g[n, y, z, c] * first.reshape(kh, kw)
        else:
            d[window] += g[n, y, z, c] / (kh * kw)
    return d[:, ph : ph + x.shape[1], pw : pw + x.shape[2]]


@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d"])
@given(case=poolings(), seed=seeds, ties=st.booleans())
def test_pooling_by_loops(name, case, seed, ties):
    shape, settings = case
    rng, largest = np.random.default_rng(seed), name == "max_pool2d"
    x = leaf((tied if ties else normal)(rng, shape))
    out = getattr(mg, name)(x, **settings)
    same(out, pool_by_loops(x.data, **settings, largest=largest))
    g = draw_cotangent(out, rng)
    (dx,) = mg.grad(out, x, g)
    same(dx, pool_gradient_by_loops(x.data, g, **settings, largest=largest))
    if largest:
        defined = ops.pool.max_pool2d_definition(x, **settings)
        same(out, defined, rtol=0, atol=0)
        same(dx, mg.grad(defined, x, g)[0])
    else:
        mg.adjoint_check(lambda x: mg.avg_pool2d(x, **settings), [x.data], rng=rng)


@given(shape=st.tuples(st.integers(0, 3), *[st.integers(1, 4)] * 3), seed=seeds)
@examples(0.2)
def test_global_avg_pool2d(shape, seed):
    rng = np.random.default_rng(seed)
    x = leaf(normal(rng, shape))
    out = mg.global_avg_pool2d(x)
    same(out, x.data.mean((1, 2)))
    g = draw_cotangent(out, rng)
    same(mg.grad(out, x, g)[0], np.broadcast_to(g[:, None, None] / (shape[1] * shape[2]), shape))


# Normalisation, losses -----------------------------------------------------------------------


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
    mean, var = normal(rng, c), positive(rng, c)
    before = mean.copy(), var.copy()
    out = mg.batch_norm(*inputs, mean, var, training=training, momentum=0.3, eps=eps)
    defined = ops.norm.batch_norm_definition(*inputs, *before, training, eps)
    same(out, defined, rtol=1e-10, atol=1e-10)
    x = inputs[0].data.reshape(-1, c)
    if training:
        same(mean, 0.7 * before[0] + 0.3 * x.mean(0))
        same(var, 0.7 * before[1] + 0.3 * x.var(0, ddof=1))
    else:
        same(mean, before[0], rtol=0, atol=0)
        same(var, before[1], rtol=0, atol=0)
    g = draw_cotangent(out, rng)
    for i, (d, e) in enumerate(zip(mg.grad(out, inputs, g), mg.grad(defined, inputs, g), strict=True)):
        same(d, e, rtol=1e-9, atol=1e-9 * max(1.0, np.abs(e.data).max()), what=f"gradient of input {i}")


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
        g = draw_cotangent(out, rng)
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
    g = draw_cotangent(out, rng)
    same(mg.grad(out, x, g)[0], g * (p - np.eye(classes)[labels]) / n)


# Reductions ----------------------------------------------------------------------------------


@st.composite
def reductions(draw):
    """Draw a shape with axes of size 0 and 1, and some of its axes: None, an int, or a tuple in any order and sign."""
    shape = draw(shapes())
    axes = draw(st.lists(st.sampled_from(range(len(shape))), unique=True)) if shape else []
    axes = [a - len(shape) if draw(st.booleans()) else a for a in axes]
    options = [st.none(), st.just(tuple(axes))] + ([st.just(axes[0])] if axes else [])
    return shape, draw(st.one_of(options)), draw(st.booleans())


def first_extreme(x, axes, largest):
    """Mark the first largest (smallest) element over `axes` in C order, by looking at one after the other."""
    best = {}
    for place in np.ndindex(x.shape):
        result = tuple(0 if i in axes else n for i, n in enumerate(place))
        if result not in best or (x[place] > x[best[result]] if largest else x[place] < x[best[result]]):
            best[result] = place
    mark = np.zeros(x.shape)
    for place in best.values():
        mark[place] = 1.0
    return mark


@pytest.mark.parametrize("name", ["sum", "mean", "var", "max", "min", "logsumexp"])
@given(case=reductions(), seed=seeds)
@examples(1)
def test_reductions(name, case, seed):
    shape, axis, keepdims = case
    rng = np.random.default_rng(seed)
    axes = tuple(range(len(shape))) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    axes = tuple(a % len(shape) for a in axes)
    count = math.prod(shape[a] for a in axes)
    x = leaf((tied if name in ("max", "min") else normal)(rng, shape))
    if count == 0 and name != "sum":
        with pytest.raises(ValueError, match=f"^{name}: nothing to reduce: shape .* along axis"):
            getattr(mg, name)(x, axis, keepdims)
        return
    out = getattr(mg, name)(x, axis, keepdims)
    plain = (lambda x, axes, keepdims: np.log(np.exp(x).sum(axes, keepdims=keepdims))) if name == "logsumexp" else None
    same(out, (plain or getattr(np, name))(x.data, axes, keepdims=keepdims))
    g = draw_cotangent(out, rng)
    restored = g.reshape([1 if i in axes else n for i, n in enumerate(shape)])
    slope = {
        "sum": lambda x: np.ones(shape),
        "mean": lambda x: np.ones(shape) / count,
        "var": lambda x: 2 * (x - x.mean(axes, keepdims=True)) / count,
        "max": lambda x: first_extreme(x, axes, largest=True),
        "min": lambda x: first_extreme(x, axes, largest=False),
        "logsumexp": lambda x: np.exp(x) / np.exp(x).sum(axes, keepdims=True),
    }[name](x.data)
    same(mg.grad(out, x, g)[0], restored * slope)


# Elements put elsewhere ----------------------------------------------------------------------


def check_places(f, arrays, rng):
    """Check an operator whose every result element is one argument element, or a constant.

    NumPy is given the places of the elements instead of the elements (and -1 for a constant), and so says where each
    came from: there its gradient goes, and is added up where one was used several times.
    """
    ends = np.cumsum([a.size for a in arrays])
    places = [np.arange(end - a.size, end).reshape(a.shape) for a, end in zip(arrays, ends, strict=True)]
    origin = np.asarray(f(np, *places))
    inputs = [leaf(a) for a in arrays]
    out = f(mg, *inputs)
    everything = np.concatenate([*(a.ravel() for a in arrays), [-1.0]])
    same(out, everything[origin], rtol=0, atol=0)
    g = draw_cotangent(out, rng)
    total = np.zeros(everything.size)
    np.add.at(total, origin, g)
    for d, place in zip(mg.grad(out, inputs, g), places, strict=True):
        same(d, total[place])
    # linear, so the second order is the operator itself, in the cotangent
    c = leaf(g)
    weights = [rng.standard_normal(a.shape) for a in arrays]
    firsts = mg.grad(f(mg, *inputs), inputs, c, create_graph=True)
    everything = np.concatenate([*(w.ravel() for w in weights), [0.0]])
    same(mg.grad(firsts, c, weights)[0], everything[origin])


def _getitem(index):
    return lambda xp, x: x[index] if xp is np else mg.getitem(x, index)


@given(shape=shapes(), data=st.data(), seed=seeds)
@examples(1.5)
def test_getitem_with_basic_indices(shape, data, seed):
    rng = np.random.default_rng(seed)
    index = data.draw(hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True))
    check_places(_getitem(index), [normal(rng, shape)], rng)


@st.composite
def fancy_indices(draw, shape):
    """Draw an index that mixes integer arrays (which repeat, and broadcast) with slices and integers."""
    arrays = draw(hnp.mutually_broadcastable_shapes(num_shapes=len(shape), max_dims=2, min_side=0, max_side=3))
    index = []
    for n, drawn in zip(shape, arrays.input_shapes, strict=True):
        kind = draw(st.sampled_from(["array", "list", "array", "slice", "int"]))
        if kind == "slice":
            index.append(draw(st.slices(n)))
        elif kind == "int":
            index.append(draw(st.integers(-n, n - 1)))
        else:
            array = draw(hnp.arrays(np.int64, drawn, elements=st.integers(-n, n - 1)))
            index.append(array.tolist() if kind == "list" and array.ndim and array.size else array)
    return tuple(index[: draw(st.integers(1, len(index)))])


@given(shape=hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4), data=st.data(), seed=seeds)
@examples(1.5)
def test_getitem_with_integer_arrays(shape, data, seed):
    rng = np.random.default_rng(seed)
    check_places(_getitem(data.draw(fancy_indices(shape))), [normal(rng, shape)], rng)


@pytest.mark.parametrize(
    "index",
    [
        [0, 0, 2],
        ([0, 0, 2],),
        (slice(None), (1, 1, 0)),  # NumPy takes a tuple within a tuple as an integer array, too
        ((0, 0, 2),),
        (slice(None), range(2)),
        np.array([[0, 0], [2, -1]]),
        (np.array([0, 0]), None, [1, 1]),
        ([[0], [0]], slice(None, None, -1), [1, 1]),
        np.array([1, 1], "uint8"),
        (np.int64(1), [0, 0]),
        (True, [0, 0]),
        (np.array([True, False, True]), [1, 1]),
        [True, False, True],
        np.array([[True, False], [False, False], [True, True]]),
        (Ellipsis, np.array([True, False, True, True])),
        np.array(True),
        False,
    ],
    ids=repr,
)
def test_getitem_with_everything_that_numpy_takes(index):
    rng = np.random.default_rng(0)
    check_places(_getitem(index), [normal(rng, (3, 2, 4))], rng)


@given(shape=shapes(), data=st.data(), seed=seeds)
def test_getitem_with_booleans(shape, data, seed):
    rng = np.random.default_rng(seed)
    axes = data.draw(st.integers(0, len(shape)))
    mask = np.asarray(rng.random(shape[:axes]) < 0.5)
    check_places(_getitem(mask), [normal(rng, shape)], rng)


@given(shape=shapes(), data=st.data(), seed=seeds)
def test_transpose(shape, data, seed):
    rng = np.random.default_rng(seed)
    axes = data.draw(st.none() | st.permutations(range(len(shape))))
    if axes is not None:
        axes = tuple(a - len(shape) if data.draw(st.booleans()) else a for a in axes)
    check_places(lambda xp, x: xp.transpose(x, axes), [normal(rng, shape)], rng)


@given(shape=shapes(), data=st.data(), seed=seeds)
def test_reshape(shape, data, seed):
    rng, size = np.random.default_rng(seed), math.prod(shape)
    after = list(data.draw(st.permutations(shape)))
    if len(after) > 1 and data.draw(st.booleans()):
        after[:2] = [after[0] * after[1]]
    if data.draw(st.booleans()):
        after.insert(data.draw(st.integers(0, len(after))), 1)
    if size and after and data.draw(st.booleans()):
        after[data.draw(st.integers(0, len(after) - 1))] = -1
    check_places(lambda xp, x: xp.reshape(x, tuple(after)), [normal(rng, shape)], rng)


@given(shape=shapes(min_dims=1), data=st.data(), seed=seeds)
def test_concatenate_and_stack(shape, data, seed):
    rng = np.random.default_rng(seed)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    sizes = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=4))
    parts = []
    for size in sizes:
        part = list(shape)
        part[axis] = size
        parts.append(normal(rng, part))
    check_places(lambda xp, *arrays: xp.concatenate(list(arrays), axis), parts, rng)
    axis = data.draw(st.integers(-len(shape) - 1, len(shape)))
    check_places(lambda xp, *arrays: xp.stack(list(arrays), axis), [normal(rng, shape) for _ in sizes], rng)


@given(shape=shapes(), data=st.data(), seed=seeds)
def test_pad_flip_squeeze_expand_broadcast(shape, data, seed):
    rng, n = np.random.default_rng(seed), len(shape)
    x = normal(rng, shape)
    widths = [(data.draw(st.integers(0, 2)), data.draw(st.integers(0, 2))) for _ in shape]
    if n:  # without axes, NumPy takes no widths
        check_places(lambda xp, x: xp.pad(x, widths, constant_values=-1), [x], rng)

    axes = tuple(data.draw(st.lists(st.integers(-n, n - 1), unique_by=lambda a: a % n))) if n else ()
    for axis in (None, axes, *axes[:1]):
        check_places(lambda xp, x, axis=axis: xp.flip(x, axis), [x], rng)

    axis = data.draw(st.integers(-n - 1, n))
    check_places(lambda xp, x: xp.expand_dims(x, axis), [x], rng)

    ones = tuple(a for a in axes if shape[a] == 1)
    check_places(lambda xp, x: xp.squeeze(x, ones), [x], rng)

    larger = data.draw(hnp.broadcastable_shapes(shape, min_dims=n, max_dims=n + 2, min_side=0, max_side=3))
    larger = np.broadcast_shapes(shape, larger)
    check_places(lambda xp, x: xp.broadcast_to(x, larger), [x], rng)


# Products of matrices ------------------------------------------------------------------------


@given(
    drawn=hnp.mutually_broadcastable_shapes(signature=np.matmul.signature, max_dims=3, min_side=0, max_side=4),
    seed=seeds,
)
@examples(1.5)
def test_matmul(drawn, seed):
    """Stacks that broadcast, vectors on either side; gradients by einsum."""
    rng = np.random.default_rng(seed)
    a, b = (leaf(normal(rng, shape)) for shape in drawn.input_shapes)
    out = mg.matmul(a, b)
    same(out, np.matmul(a.data, b.data))
    g = draw_cotangent(out, rng)
    rows = a.data[None] if a.ndim == 1 else a.data
    columns = b.data[:, None] if b.ndim == 1 else b.data
    full = (*np.broadcast_shapes(rows.shape[:-2], columns.shape[:-2]), rows.shape[-2], columns.shape[-1])
    da, db = mg.grad(out, [a, b], g)
    g = g.reshape(full)
    same(da, sum_back(np.einsum("...mn,...kn->...mk", g, columns), rows.shape).reshape(a.shape))
    same(db, sum_back(np.einsum("...mk,...mn->...kn", rows, g), columns.shape).reshape(b.shape))
    same(mg.grad(a @ b, [a], g.reshape(out.shape))[0], da)
    same(a.data @ b, out)  # an array on the left of a Tensor


@given(shape=shapes(min_dims=1, max_dims=3), c=st.integers(0, 4), bias=st.booleans(), seed=seeds)
@examples(0.4)
def test_linear(shape, c, bias, seed):
    rng = np.random.default_rng(seed)
    x, w, b = leaf(normal(rng, shape)), leaf(normal(rng, (shape[-1], c))), leaf(normal(rng, c))
    inputs = [x, w, b] if bias else [x, w]
    out = mg.linear(*inputs)
    same(out, x.data @ w.data + (b.data if bias else 0.0))
    g = draw_cotangent(out, rng)
    dw = (x.data[..., :, None] * g[..., None, :]).reshape(-1, *w.shape).sum(axis=0) if x.size and g.size else 0 * w.data
    expected = [g @ w.data.T, dw, sum_back(g, (c,))]
    for d, e in zip(mg.grad(out, inputs, g), expected, strict=False):
        same(d, e)


# Views ---------------------------------------------------------------------------------------


def laid_out(x, draw):
    """Lay an array out otherwise in memory: axes in any order, backwards, with gaps, off the start, read-only."""
    if not x.ndim:
        return np.frombuffer(b"abcd" + x.tobytes(), x.dtype, offset=4).reshape(())  # not aligned
    order = draw(st.permutations(range(x.ndim)))
    steps = [draw(st.sampled_from([1, -1, 2, -2])) for _ in range(x.ndim)]
    memory = np.full([abs(s) * n + 1 for s, n in zip(steps, np.transpose(x, order).shape, strict=True)], np.nan)
    memory = memory.astype(x.dtype)
    view = memory[tuple(slice(1, None) for _ in steps)][tuple(slice(None, None, s) for s in steps)]
    view = view.transpose(np.argsort(order))
    view[...] = x
    if draw(st.booleans()):
        view.setflags(write=False)
    return view


@pytest.mark.parametrize("name", SAMPLES)
@given(data=st.data(), seed=seeds)
@examples(0.12)
def test_layout_in_memory_does_not_matter(name, data, seed):
    """The gaps hold NaN: whoever reads beside the view shows it."""
    rng = np.random.default_rng(seed)
    sample = data.draw(st.sampled_from(SAMPLES[name]))
    plain = [leaf(np.array(x)) for x in sample.inputs]
    odd = [leaf(laid_out(x.data, data.draw)) for x in plain]
    out, other = (sample.apply(getattr(mg, name), inputs) for inputs in (plain, odd))
    same(other, out, rtol=1e-12, atol=1e-13)
    g = draw_cotangent(out, rng)
    odd_g = laid_out(g, data.draw)
    for i, (d, e) in enumerate(zip(mg.grad(other, odd, odd_g), mg.grad(out, plain, g), strict=True)):
        same(d, e, rtol=1e-12, atol=1e-12, what=f"gradient of input {i}")
    for x, y in zip(odd, sample.inputs, strict=True):
        np.testing.assert_array_equal(x.data, y)
    np.testing.assert_array_equal(odd_g, g)


@pytest.mark.parametrize("name", SAMPLES)
def test_inputs_that_repeat_one_element_in_memory(name):
    """Strides of 0, as broadcast_to makes them: inputs, and the cotangent that sum gives."""
    for sample in SAMPLES[name]:
        if name in ("max", "min", "max_pool2d", "maximum", "minimum"):
            constants = [x for x in sample.inputs]  # here all elements would tie
        else:
            constants = [np.broadcast_to(x.ravel()[0], x.shape) if x.size else x for x in sample.inputs]
        plain, odd = [leaf(np.array(x)) for x in constants], [leaf(np.asarray(x)) for x in constants]
        out, other = (sample.apply(getattr(mg, name), inputs) for inputs in (plain, odd))
        same(other, out, rtol=1e-12, atol=1e-12)
        g = np.broadcast_to(np.array(-1.7), out.shape)
        for d, e in zip(mg.grad(other, odd, g), mg.grad(out, plain, g.copy()), strict=True):
            same(d, e, rtol=1e-9, atol=1e-9)
