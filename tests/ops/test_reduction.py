"""Reductions: drawn shapes and axes, integers, and logsumexp of extremes, with SciPy as an oracle."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import special

import minigrad as mg
from tests.records import RECORDS
from tests.records.draw import randn, tied
from tests.records.sizes import Sizes
from tests.tools.compare import cotangent, leaf, same, seeds, shapes
from tests.tools.extremes import AXES, ROWS


@st.composite
def reductions(draw):
    """Draw a shape with axes of size 0 and 1, and some of its axes: None, an int, or a tuple in any order and sign."""
    shape = draw(shapes(max_dims=6))
    axes = draw(st.permutations(range(len(shape))))[: draw(st.integers(0, len(shape)))]
    axes = [a - len(shape) if draw(st.booleans()) else a for a in axes]
    options = [st.none(), st.just(tuple(axes))] + ([st.just(axes[0])] if axes else [])
    return shape, draw(st.one_of(options)), draw(st.booleans())


@pytest.mark.parametrize("name", [name for name, record in RECORDS.items() if record.reduction])
@given(case=reductions(), seed=seeds)
def test_reductions(name, case, seed):
    shape, axis, keepdims = case
    draw, slope, of_nothing = RECORDS[name].reduction
    axes = tuple(range(len(shape))) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    axes = tuple(a % len(shape) for a in axes)
    rng = np.random.default_rng(seed)
    x = leaf(draw(rng, shape))
    if math.prod(shape[a] for a in axes) == 0 and not of_nothing:
        with pytest.raises(ValueError, match=f"^{name}: nothing to reduce: shape .* along axis"):
            getattr(mg, name)(x, axis, keepdims)
        return
    out = getattr(mg, name)(x, axis, keepdims)
    same(out, RECORDS[name].definition(x.data, axes, keepdims=keepdims))
    g = cotangent(out, rng)
    restored = g.reshape([1 if i in axes else n for i, n in enumerate(shape)])
    same(mg.grad(out, x, g)[0], restored * slope(x.data, axes))


@pytest.mark.parametrize("name", ["max", "min"])
@given(seed=seeds)
def test_ties_over_many_axes_go_to_the_first_in_c_order(name, seed):
    """In whatever order the axes are named."""
    s = Sizes(seed)
    shape = s.shape(4, 6, elements=200)
    axes = tuple(s.shuffled(range(len(shape)))[: s.integer(3, len(shape))])
    x = leaf(tied(s.rng, shape))
    out = getattr(mg, name)(x, axes, keepdims=True)
    g = cotangent(out, s.rng)
    same(mg.grad(out, x, g)[0], g * RECORDS[name].reduction.slope(x.data, axes), rtol=0, atol=0)


@pytest.mark.parametrize("name", [name for name, record in RECORDS.items() if record.reduction])
def test_all_axes_are_reduced_by_default_and_the_first_setting_is_the_axis(name):
    a = randn(2, 3)
    assert np.shape(getattr(mg, name)(a)) == ()
    assert getattr(mg, name)(a, 0).shape == (3,)


def test_the_mean_of_a_numpy_scalar_is_that_number():
    assert mg.mean(np.float64(3.0)) == 3.0


def test_smallest_and_largest_of_integers():
    assert mg.min(np.array([0, 1, 7], np.uint8)) == 0
    assert mg.min(mg.Tensor(np.array([-128, 1], np.int8))).item() == -128
    assert mg.max(np.array([False, True]))


@pytest.mark.parametrize("kind", ["bool", "int8", "uint8", "int16", "uint32", "int64", "float32"])
@pytest.mark.parametrize("name", ["sum", "mean", "var", "max", "min"])
def test_arrays_of_every_dtype_give_what_numpy_gives(name, kind):
    """In value and dtype: sums of small integers and of booleans do not overflow. Where it gives floats: a refusal."""
    x = (np.arange(600).reshape(2, 300) % 127 + 1).astype(kind)
    for axis in (None, 0, 1):
        expected = RECORDS[name].definition(x, axis=axis)
        if x.dtype.kind != np.asarray(expected).dtype.kind == "f":
            with pytest.raises(TypeError, match=rf"^{name}: gives float64 for {kind}; convert the integers first"):
                getattr(mg, name)(x, axis)
            continue
        exact = {"rtol": 1e-6} if np.asarray(expected).dtype.kind == "f" else {"rtol": 0, "atol": 0}
        same(getattr(mg, name)(x, axis), expected, **exact)


#: The losses and reductions of n numbers to one, in float64.
OF_MANY = {
    "sum": np.sum,
    "mean": np.mean,
    "var": np.var,
    "logsumexp": special.logsumexp,
    "mse_loss": lambda x: np.mean((x - 0.5) ** 2),
    "cross_entropy": lambda x: -special.log_softmax(np.stack([x, 0 * x], 1), 1)[:, 0].mean(),
}


@pytest.mark.parametrize("name", OF_MANY)
def test_float32_keeps_its_digits_over_many_numbers(name):
    """Numbers that are added one by one lose four of them: of 2 ** 19 of about 1, each is rounded to the sum's last."""
    x = np.random.default_rng(0).uniform(0.5, 1.5, 1 << 19).astype("float32")
    arguments = {
        "mse_loss": (x, np.full_like(x, 0.5)),
        "cross_entropy": (np.stack([x, 0 * x], 1), np.zeros(x.size, "uint8")),
    }
    expected = np.float32(OF_MANY[name](x.astype("float64")))
    for wrap in (lambda a: a, lambda a: mg.Tensor(a) if a.dtype.kind == "f" else a):
        same(getattr(mg, name)(*map(wrap, arguments.get(name, (x,)))), expected, rtol=1e-6, atol=0)


# logsumexp ------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("keepdims", [False, True])
def test_logsumexp_of_extremes(axis, keepdims):
    x = mg.Tensor(ROWS, requires_grad=True)
    out = mg.logsumexp(x, axis, keepdims)
    same(out, special.logsumexp(ROWS, axis=axis, keepdims=keepdims), rtol=1e-14, atol=0)
    g = cotangent(out)
    total = special.logsumexp(ROWS, axis=axis, keepdims=True)
    same(mg.grad(out, x, g)[0], g.reshape(total.shape) * np.exp(ROWS - total), rtol=1e-11, atol=0)


def test_logsumexp_in_float32():
    """Where float32 would overflow at 89, too."""
    rows = (ROWS[[0, 1, 4, 7]] / 7).astype("float32")
    same(mg.logsumexp(mg.Tensor(rows), axis=1), special.logsumexp(rows, axis=1), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "row", [[-np.inf, 0.0, 1.0], [np.inf, 0.0, 1.0], [-np.inf, -np.inf], [np.inf, -np.inf]], ids=str
)
def test_logsumexp_of_infinities(row):
    """Masked elements are minus infinity: they add nothing, and a row of them has the sum 0."""
    row = np.array(row)
    same(mg.logsumexp(mg.Tensor(row)), special.logsumexp(row), rtol=1e-14, atol=0)


def test_logsumexp_of_large_numbers_does_not_overflow():
    x = np.array([1000.0, 999.0, -1000.0])
    assert_allclose(mg.logsumexp(x), 1000 + np.log1p(np.exp(-1.0)), rtol=1e-12)


def test_logsumexp_of_minus_infinities_has_no_gradient():
    x = leaf(np.array([-np.inf, -np.inf]))
    np.testing.assert_array_equal(mg.grad(mg.logsumexp(x), x)[0].data, [0.0, 0.0])


# Products --------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [[2.0, 0.0, 3.0], [0.0, 2.0, 0.0], [0.0, 0.0, 0.0, 5.0], [0.0], [2.0, 3.0]])
def test_the_gradient_of_a_product_is_that_of_the_others_also_at_zeros(values):
    """Both orders; a formula that divides by the element has NaN, or 0."""
    x = leaf(np.array(values))
    out = mg.prod(x)
    assert out.item() == np.prod(values)
    (dx,) = mg.grad(out, x, create_graph=True)
    others = [np.prod(np.delete(values, i)) for i in range(len(values))]
    same(dx, np.array(others), rtol=0, atol=0)
    pairs = [
        [0.0 if i == j else np.prod(np.delete(values, [i, j])) for i in range(len(values))] for j in range(len(values))
    ]
    for i, row in enumerate(pairs):
        if len(values) > 1:
            same(mg.grad(dx[i], x, retain_graph=True)[0], np.array(row), rtol=0, atol=0)


def test_the_product_of_a_thousand_numbers_has_the_digits_of_a_balanced_tree():
    x = np.random.default_rng(0).uniform(0.99, 1.01, 1001).astype("float32")
    exact = np.prod(x.astype("float64"))
    assert abs(mg.prod(x) / exact - 1) < 11 * np.finfo("float32").eps


def test_a_sum_of_the_first_elements_flattens_by_default():
    x = leaf(np.array([[1.0, 2.0], [3.0, 4.0]]))
    out = mg.cumsum(x)
    same(out, np.array([1.0, 3.0, 6.0, 10.0]), rtol=0, atol=0)
    same(
        mg.grad(out, x, np.array([1.0, 10.0, 100.0, 1000.0]))[0],
        np.array([[1111.0, 1110.0], [1100.0, 1000.0]]),
        rtol=0,
        atol=0,
    )


@pytest.mark.parametrize("name", ["max", "min"])
def test_the_place_of_an_extreme_among_more_numbers_than_float32_can_count(name):
    """Beyond 2**24, only every second whole number is one of float32."""
    x = np.zeros(2**24 + 6, "float32")
    x[-5] = 1.0 if name == "max" else -1.0
    tensor = leaf(x)
    (d,) = mg.grad(getattr(mg, name)(tensor), tensor)
    assert d.data[-5] == 1.0
    assert d.data.sum() == 1.0


@pytest.mark.parametrize("exponent", [-60, -20, 20, 60])
@pytest.mark.parametrize(("name", "degree"), [("sum", 1), ("mean", 1), ("max", 1), ("min", 1), ("var", 2), ("std", 1)])
def test_numbers_times_a_power_of_two(name, degree, exponent):
    """Nothing is rounded, so none is too small or too large to be what it is. Slopes are of one degree less."""
    x, factor = randn(5, 4).astype("float32"), np.float32(2.0**exponent)
    results = []
    for tensor in (leaf(x), leaf(x * factor)):
        out = getattr(mg, name)(tensor, axis=0)
        results.append([out.data, *(d.data for d in mg.grad(out, tensor, cotangent(out)))])
    for i, (plain, scaled) in enumerate(zip(*results, strict=True)):
        np.testing.assert_array_equal(scaled, plain * factor ** (degree - i), strict=True)
