"""Every operator, from its samples: value, gradients of both orders, dtype, aliasing, threads, the double."""

import inspect

import numpy as np
import pytest
from numpy.testing import assert_allclose

import minigrad as mg
from minigrad import ops
from minigrad.checks.operators import CHECKS
from minigrad.kernels import blas, products
from tests.samples import ANALYTIC, LINEAR, SAMPLES, conv2d_by_loops, every_sample
from tests.tools.strict import StrictArray, count_syncs, strict

exact = {"equal_nan": False, "strict": True}


def cotangent(out, seed=0):
    """Draw a random cotangent, with both signs: ones would let wrong rules pass."""
    return np.random.default_rng(seed).standard_normal(out.shape).astype(out.dtype)


def leaves(sample, dtype="float64"):
    return [mg.Tensor(x.astype(dtype), requires_grad=True) for x in sample.inputs]


def test_every_operator_has_samples():
    assert sorted(SAMPLES) == sorted(ops.__all__)


@pytest.mark.parametrize(("name", "sample"), every_sample())
def test_value(name, sample):
    inputs = [x.copy() for x in sample.inputs]
    value = np.asarray(sample.apply(getattr(mg, name), inputs))  # an operator applied to arrays gives an array
    assert_allclose(value, sample.plain(*sample.inputs, **sample.settings), rtol=1e-12, atol=1e-13, **exact)
    recorded = sample.apply(getattr(mg, name), leaves(sample))
    assert_allclose(recorded.data, value, rtol=0, atol=0, **exact)


@pytest.mark.parametrize(("name", "sample"), every_sample())
@pytest.mark.parametrize("check", CHECKS)
def test_check(check, name, sample):
    """Both orders, Taylor remainder, dtype, aliasing, determinism, twin: see minigrad/checks/operators.py."""
    CHECKS[check](sample.function(name), sample.inputs)


@pytest.mark.parametrize(("name", "sample"), [p for p in every_sample() if p.values[0] in ANALYTIC])
def test_complex_step(name, sample):
    """Derivatives of analytic operators, to machine precision."""
    mg.complex_step_check(sample.function(name), sample.inputs)


@pytest.mark.parametrize(
    ("name", "sample"), [p for p in every_sample() if p.values[0] in LINEAR and p.values[1].linear]
)
def test_adjoint(name, sample):
    """Linear operators: <f(x), y> = <x, f'(y)>, in all arguments together, or in each while the other is held."""
    f = sample.function(name)
    if LINEAR[name] == "jointly":
        mg.adjoint_check(f, sample.inputs)
    else:
        a, b = sample.inputs
        mg.adjoint_check(lambda x: f(x, b), [a])
        mg.adjoint_check(lambda x: f(a, x), [b])


@pytest.mark.parametrize(("name", "sample"), every_sample())
def test_views_and_strides_do_not_matter(name, sample):
    """Non-contiguous inputs, negative strides and a Fortran-ordered cotangent give the same as plain ones."""
    odd = []
    for x in sample.inputs:
        wide = np.repeat(x[::-1] if x.ndim else x, 2, axis=-1) if x.ndim else x
        odd.append(wide[::-1, ..., ::2] if x.ndim > 1 else wide[::-2][: x.size] if x.ndim else wide)
    for x, y in zip(sample.inputs, odd, strict=True):
        np.testing.assert_array_equal(x, y)
    plain, viewed = leaves(sample), [mg.Tensor(x, requires_grad=True) for x in odd]
    out, same = (sample.apply(getattr(mg, name), tensors) for tensors in (plain, viewed))
    assert_allclose(same.data, out.data, rtol=1e-12, atol=1e-13, **exact)
    g = cotangent(out)
    for a, b in zip(mg.grad(out, plain, g), mg.grad(same, viewed, np.array(g, order="F")), strict=True):
        assert_allclose(b.data, a.data, rtol=1e-12, atol=1e-13, **exact)


@pytest.mark.parametrize(("name", "sample"), every_sample())
def test_the_strict_double_gives_the_same(name, sample):
    """The same code on a foreign array: nothing is mixed with NumPy, nothing is brought to the host."""
    on_host = leaves(sample)
    out = sample.apply(getattr(mg, name), on_host)
    g = cotangent(out)
    expected = [out, *mg.grad(out, on_host, g)]
    away = [mg.Tensor(strict.asarray(x), requires_grad=True) for x in sample.inputs]
    with count_syncs() as syncs:
        result = sample.apply(getattr(mg, name), away)
        gradients = mg.grad(result, away, strict.asarray(g))
    assert syncs.count == 0
    for theirs, ours in zip([result, *gradients], expected, strict=True):
        assert type(theirs.data) is StrictArray
        assert_allclose(theirs.numpy(), ours.data, rtol=1e-12, atol=1e-13, **exact)


FUSED = {
    "conv2d": ops.conv._conv2d,
    "max_pool2d": ops.pool._max_pool2d,
    "batch_norm": ops.norm._batch_norm,
    "cross_entropy": ops.loss._cross_entropy,
}


def test_every_operator_with_a_twin_is_compared_with_it():
    twins = {
        id(f.operator)
        for module in (ops.elementwise, ops.shape, ops.reduction, ops.matmul, ops.conv, ops.pool, ops.norm, ops.loss)
        for f in vars(module).values()
        if inspect.isfunction(f) and hasattr(f, "operator") and f.operator.plain is not None
    }
    assert twins == {id(f.operator) for f in FUSED.values()}


@pytest.mark.parametrize(("name", "sample"), [p for p in every_sample() if p.values[0] in FUSED])
def test_the_twin_defines_the_fused_operator(name, sample, monkeypatch):
    """Value and gradients of the fast path are those of its definition."""
    inputs = leaves(sample)
    out = sample.apply(getattr(mg, name), inputs)
    g = cotangent(out)
    gradients = mg.grad(out, inputs, g)
    operator = FUSED[name].operator

    def by_definition(*args, **settings):
        args, settings = operator.bind(args, settings)
        return operator.plain(*args, **{k: v for k, v in settings.items() if k in operator.plain_asks})

    module = inspect.getmodule(operator.forward)
    monkeypatch.setattr(module, f"_{name}", by_definition)
    defined = sample.apply(getattr(mg, name), inputs)
    assert_allclose(out.data, defined.data, rtol=1e-12, atol=1e-13, **exact)
    for fast, plain in zip(gradients, mg.grad(defined, inputs, g), strict=True):
        assert_allclose(fast.data, plain.data, rtol=1e-11, atol=1e-12, **exact)


LARGE = {
    "conv2d 3x3": (lambda x, w: mg.conv2d(x, w, padding=1), (40, 18, 17, 8), (3, 3, 8, 16)),
    "conv2d 3x3 stride 2": (lambda x, w: mg.conv2d(x, w, padding=1, stride=2), (40, 33, 32, 8), (3, 3, 8, 16)),
    "conv2d rows of large images": (lambda x, w: mg.conv2d(x, w, padding=1), (2, 150, 140, 4), (3, 3, 4, 8)),
    "conv2d 1x1": (lambda x, w: mg.conv2d(x, w), (40, 18, 17, 16), (1, 1, 16, 32)),
    "max_pool2d": (lambda x, w: mg.max_pool2d(x, 3, stride=2, padding=1) * w, (40, 33, 32, 16), (16,)),
    "batch_norm": (
        lambda x, w: mg.batch_norm(x, w, w, np.zeros(16, "f"), np.ones(16, "f"), training=True),
        (40, 30, 31, 16),
        (16,),
    ),
    "matmul": (lambda a, b: a @ b, (1300, 300), (300, 210)),
    "linear": (lambda x, w: mg.linear(x, w), (20, 65, 300), (300, 210)),
}


@pytest.mark.parametrize("case", LARGE)
def test_bit_equal_for_every_number_of_threads(case):
    """Large enough for many blocks, so that threads do share the work."""
    f, *shapes = LARGE[case]
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape).astype("float32") for shape in shapes]
    before, results = mg.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 4, 1):
            mg.set_num_threads(threads)
            inputs = [mg.Tensor(a, requires_grad=True) for a in arrays]
            out = f(*inputs)
            results.append([out, *mg.grad(out, inputs, cotangent(out))])
    finally:
        mg.set_num_threads(before)
    for result in results[1:]:
        for a, b in zip(results[0], result, strict=True):
            np.testing.assert_array_equal(a.data, b.data)


@pytest.mark.parametrize("case", ["conv2d rows of large images", "conv2d 3x3", "conv2d 3x3 stride 2"])
def test_blocks_meet_without_a_seam(case):
    """Where one block ends and the next begins, the result is that of the definition."""
    f, *shapes = LARGE[case]
    rng = np.random.default_rng(1)
    x, w = (mg.Tensor(rng.standard_normal(shape), requires_grad=True) for shape in shapes)
    out = f(x, w)
    settings = {"stride": (2, 2) if "stride" in case else (1, 1), "padding": (1, 1), "dilation": (1, 1)}
    defined = ops.conv.conv2d_definition(x, w, None, **settings)
    assert_allclose(out.data, defined.data, rtol=1e-11, atol=1e-12, **exact)
    g = cotangent(out)
    for fast, plain in zip(mg.grad(out, [x, w], g), mg.grad(defined, [x, w], g), strict=True):
        assert_allclose(fast.data, plain.data, rtol=1e-10, atol=1e-9, **exact)


#: Images, a kernel and settings, of which OpenBLAS's small kernels take pieces, and leave rows for a last product.
NARROW = {
    "3x3": ((20, 20, 17, 16), (3, 3, 16, 16), {"padding": (1, 1)}),
    "3x3 in pairs": ((20, 20, 16, 8), (3, 3, 8, 9), {"padding": (1, 1)}),
    "3x3 stride 2": ((30, 33, 32, 16), (3, 3, 16, 24), {"padding": (1, 1), "stride": (2, 2)}),
    "rows of large images": ((2, 150, 141, 9), (3, 3, 9, 10), {"padding": (2, 2), "dilation": (2, 2)}),
    "one image": ((1, 31, 29, 32), (3, 3, 32, 16), {"padding": (1, 1)}),
    "1x1": ((9, 18, 17, 64), (1, 1, 64, 40), {}),
    "1x1 stride 2": ((19, 37, 18, 40), (1, 1, 40, 64), {"stride": (2, 2)}),
}


def convolved(case, small_kernels, monkeypatch, dtype="float64"):
    """Return the value and the gradients of a case, what they are of, and how many rows each product left over."""
    left, piece = [], products._piece

    def noted(a, n, least):
        rows = piece(a, n, least)
        left.append(rows and len(a) % rows)
        return rows

    monkeypatch.setattr(blas.blas, "has_small_kernels", small_kernels)
    monkeypatch.setattr(products, "_piece", noted)
    *shapes, settings = NARROW[case]
    settings = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1)} | settings
    rng = np.random.default_rng(0)
    x, w, b = inputs = [
        mg.Tensor(rng.standard_normal(s).astype(dtype), requires_grad=True) for s in (*shapes, shapes[1][3:])
    ]
    out = mg.conv2d(x, w, b, **settings)
    g = cotangent(out)
    results = [out, *mg.grad(out, inputs, g)]
    monkeypatch.setattr(products, "_piece", piece)
    return results, inputs, settings, g, left


@pytest.mark.parametrize("case", NARROW)
def test_a_convolution_by_small_kernels_is_its_definition(case, monkeypatch):
    """Forward and both gradients, each of which is made of pieces and what they leave over."""
    results, inputs, settings, g, left = convolved(case, True, monkeypatch)
    assert len(left) >= 3
    assert max(left) > 0
    monkeypatch.setattr(blas.blas, "has_small_kernels", False)
    defined = ops.conv.conv2d_definition(*inputs, **settings)
    for fast, plain in zip(results, [defined, *mg.grad(defined, inputs, g)], strict=True):
        assert_allclose(fast.data, plain.data, rtol=1e-10, atol=1e-9, **exact)


@pytest.mark.parametrize("small_kernels", [False, True])
@pytest.mark.parametrize("case", NARROW)
def test_bit_equal_for_every_number_of_threads_by_small_kernels(case, small_kernels, monkeypatch):
    """And without them: what the pieces are does not depend on who multiplies them."""
    before, results = mg.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            mg.set_num_threads(threads)
            results.append(convolved(case, small_kernels, monkeypatch, "float32")[0])
    finally:
        mg.set_num_threads(before)
    for result in results[1:]:
        for a, b in zip(results[0], result, strict=True):
            np.testing.assert_array_equal(a.data, b.data)


@pytest.mark.parametrize(
    ("shape", "kernel", "settings", "groups"),
    [
        ((2, 4, 6, 3), (3, 3, 3, 5), {}, (2, 2)),  # pixels of x have 3 numbers, those of g have 5
        ((2, 4, 6, 3), (2, 3, 3, 40), {}, (2, 1)),  # with 40, a window's row is long
        ((2, 4, 6, 40), (3, 3, 40, 3), {}, (1, 2)),
        ((2, 4, 7, 3), (3, 3, 3, 5), {}, (1, 1)),  # an odd width has no pairs
        ((2, 4, 6, 3), (3, 1, 3, 5), {}, (1, 1)),  # windows that do not overlap have nothing to share
        ((2, 4, 6, 3), (3, 3, 3, 5), {"dilation": (1, 2)}, (1, 1)),
        ((2, 4, 6, 3), (3, 3, 3, 5), {"stride": (1, 2)}, (1, 1)),
        ((2, 9, 6, 3), (3, 3, 3, 5), {"stride": (2, 1), "dilation": (2, 1)}, (2, 1)),
    ],
)
def test_pixels_made_in_pairs_are_the_same_pixels(monkeypatch, shape, kernel, settings, groups):
    """The fast path takes two neighbours at once where that pays, forward and backward, and gives the definition."""
    taken = []
    choose = ops.conv._group
    monkeypatch.setattr(ops.conv, "_group", lambda *a: (taken.append(choose(*a)), taken[-1])[1])
    rng = np.random.default_rng(0)
    x, w, b = (mg.Tensor(rng.standard_normal(s), requires_grad=True) for s in (shape, kernel, kernel[3:]))
    settings = {"stride": (1, 1), "padding": (kernel[0] // 2, kernel[1] // 2), "dilation": (1, 1)} | settings
    if settings["dilation"][1] == 2:
        settings["padding"] = (1, 2)
    out, defined = mg.conv2d(x, w, b, **settings), ops.conv.conv2d_definition(x, w, b, **settings)
    assert_allclose(out.data, defined.data, rtol=1e-12, atol=1e-12)
    g = rng.standard_normal(out.shape)
    for d, d_defined in zip(mg.grad(out, [x, w, b], g), mg.grad(defined, [x, w, b], g), strict=True):
        assert_allclose(d.data, d_defined.data, rtol=1e-12, atol=1e-12)
    assert tuple((*taken, 1))[:2] == groups


def test_the_loops_of_the_samples_are_a_convolution():
    """The oracle of conv2d, on a case small enough to do by hand."""
    x = np.arange(4.0).reshape(1, 2, 2, 1)
    w = np.array([1.0, 10.0]).reshape(1, 2, 1, 1)
    assert_allclose(conv2d_by_loops(x, w).ravel(), [10.0, 32.0])


# Conventions -----------------------------------------------------------------------------------


def gradient(f, *values):
    x = mg.Tensor(np.array(values), requires_grad=True)
    return mg.grad(f(x).sum(), x)[0].data.tolist()


def test_kinks():
    """What the docstrings say of points without a derivative."""
    a, b = (mg.Tensor(np.array([1.0, 2.0]), requires_grad=True) for _ in range(2))
    assert gradient(mg.relu, -1.0, 0.0, 2.0) == [0.0, 0.0, 1.0]
    assert gradient(mg.abs, -1.0, 0.0, 2.0) == [-1.0, 0.0, 1.0]
    assert gradient(lambda x: mg.clip(x, 0.0, 1.0), -1.0, 0.0, 0.5, 1.0, 2.0) == [0.0, 1.0, 1.0, 1.0, 0.0]
    for f in (mg.maximum, mg.minimum):
        da, db = mg.grad(f(a, b).sum(), [a, b])  # a tie is the first argument's
        assert (da.data.tolist(), db.data.tolist()) == ([1.0, 1.0], [0.0, 0.0])
    assert gradient(mg.max, 1.0, 3.0, 3.0) == [0.0, 1.0, 0.0]
    assert gradient(mg.min, 1.0, 1.0, 3.0) == [1.0, 0.0, 0.0]
    x = mg.Tensor(np.ones((2, 2, 2)), requires_grad=True)
    (dx,) = mg.grad(x.max(axis=(0, 2)).sum(), x)  # the first in C order
    assert dx.data.tolist() == [[[1.0, 0.0], [1.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]]
    ones = mg.Tensor(np.ones((1, 2, 2, 1)), requires_grad=True)
    assert mg.grad(mg.max_pool2d(ones, 2).sum(), ones)[0].data.ravel().tolist() == [1.0, 0.0, 0.0, 0.0]
    assert mg.max_pool2d(-ones, 3, stride=1, padding=1).data.max() == -1.0  # the border never wins


def test_no_gradient_where_the_derivative_is_zero_even_if_the_cotangent_is_infinite():
    with np.errstate(divide="ignore"):
        assert gradient(lambda x: mg.sqrt(mg.relu(x)), -1.0, 4.0) == [0.0, 0.25]
        assert gradient(lambda x: mg.sqrt(mg.maximum(x, 0.0)), -1.0, 4.0) == [0.0, 0.25]
        assert gradient(lambda x: mg.sqrt(mg.clip(x, 0.0, 9.0)), -1.0, 4.0) == [0.0, 0.25]


def test_pow_at_zero():
    assert gradient(lambda x: x**2, 0.0, -3.0) == [0.0, -6.0]
    assert gradient(lambda x: x**0, 0.0, 2.0) == [0.0, 0.0]
    assert gradient(lambda x: mg.pow(x, np.array([0.0, 1.0, 2.0])), 0.0, 0.0, 0.0) == [0.0, 1.0, 0.0]
    assert gradient(lambda x: 0**x, 1.0, 2.0) == [0.0, 0.0]


def test_smallest_and_largest_of_integers():
    assert mg.min(np.array([0, 1, 7], np.uint8)) == 0
    assert mg.min(mg.Tensor(np.array([-128, 1], np.int8))).item() == -128
    assert mg.max(np.array([False, True]))


def test_a_batch_of_no_large_images():
    x = mg.Tensor(np.zeros((0, 300, 300, 16), "float32"), requires_grad=True)
    w = mg.Tensor(np.ones((3, 3, 16, 4), "float32"), requires_grad=True)
    out = mg.conv2d(x, w, padding=1)
    dx, dw = mg.grad(out.sum(), [x, w])
    assert (out.shape, dx.shape, abs(dw.data).max()) == ((0, 300, 300, 4), x.shape, 0.0)


def test_the_gradient_of_a_bias_keeps_its_digits_in_float32():
    x = mg.Tensor(np.ones((64, 32, 32, 1), "float32"))
    b = mg.Tensor(np.zeros(2, "float32"), requires_grad=True)
    out = mg.conv2d(x, np.ones((1, 1, 1, 2), "float32"), b)
    (db,) = mg.grad(out, b, np.full(out.shape, 0.1, "float32"))
    assert_allclose(db.data, 64 * 32 * 32 * np.float64(np.float32(0.1)), rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_masking_by_bits_is_where(dtype):
    rng = np.random.default_rng(0)
    a = rng.standard_normal((50, 40)).astype(dtype)
    a[:5] = [[np.inf], [-np.inf], [np.nan], [-0.0], [np.finfo(dtype).tiny / 4]]
    mask = rng.random(a.shape) < 0.5
    for array, condition in [(a, mask), (a.T, mask.T), (a[::-2, ::3], mask[::-2, ::3]), (a[:0], mask[:0])]:
        masked = mg.where(condition, array, 0.0)
        np.testing.assert_array_equal(masked, np.where(condition, array, np.array(0.0, dtype)), strict=True)
        assert not np.shares_memory(masked, array)
    assert np.signbit(mg.where(mask, a, -0.0)[~mask]).all()
