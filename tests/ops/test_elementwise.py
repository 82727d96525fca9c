"""Elementwise operators: broadcasts of any shape, scalars that do not promote, tails, dropout."""

import inspect
import operator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import special

import minigrad as mg
from tests.records import RECORDS
from tests.records.draw import normal, ones, randn, tied, uniform
from tests.tools.compare import cotangent, examples, leaf, leaf_of, same, seeds, shapes, sum_back


def elementwise(inputs):
    """List the elementwise operators of one or two inputs."""
    records = {name: record.elementwise for name, record in RECORDS.items() if record.elementwise}
    return [name for name, e in records.items() if len(inspect.signature(e.gradients).parameters) == 1 + inputs]


# Shapes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", elementwise(2))
@given(drawn=hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, min_side=0, max_side=4), seed=seeds)
def test_binary_operators_broadcast(name, drawn, seed):
    plain, (draw, gradients) = RECORDS[name].definition, RECORDS[name].elementwise
    rng = np.random.default_rng(seed)
    a, b = (leaf(draw(rng, shape)) for shape in drawn.input_shapes)
    out = getattr(mg, name)(a, b)
    same(out, plain(a.data, b.data))
    g = cotangent(out, rng)
    for x, dx, d in zip((a, b), mg.grad(out, [a, b], g), gradients(g, a.data, b.data), strict=True):
        same(dx, sum_back(np.broadcast_to(d, out.shape), x.shape))
    both = getattr(mg, name)(a, a)  # one leaf in both places gets the sum of both gradients
    same(both, plain(a.data, a.data))
    g = cotangent(both, rng)
    same(mg.grad(both, a, g)[0], sum(gradients(g, a.data, a.data)))


@pytest.mark.parametrize("name", elementwise(2))
@given(drawn=hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, min_side=0, max_side=2), seed=seeds)
@examples(0.15)
def test_binary_operators_by_differences(name, drawn, seed):
    rng = np.random.default_rng(seed)
    arrays = [uniform(rng, shape) for shape in drawn.input_shapes]
    if RECORDS[name].kinks and not RECORDS[name].analytic:
        arrays[1] = arrays[1].round(2) + 0.005  # away from every tie with a rounded number
        arrays[0] = arrays[0].round(2)
    mg.gradcheck(getattr(mg, name), arrays)


@pytest.mark.parametrize("name", elementwise(1))
@given(shape=shapes(), seed=seeds)
@examples(0.3)
def test_unary_operators(name, shape, seed):
    plain, (draw, gradients) = RECORDS[name].definition, RECORDS[name].elementwise
    rng = np.random.default_rng(seed)
    x = leaf(draw(rng, shape))
    out = getattr(mg, name)(x)
    same(out, plain(x.data))
    g = cotangent(out, rng)
    (expected,) = gradients(g, x.data)
    same(mg.grad(out, x, g)[0], expected)


@given(drawn=hnp.mutually_broadcastable_shapes(num_shapes=3, max_dims=4, min_side=0, max_side=4), seed=seeds)
def test_where_broadcasts_with_its_condition(drawn, seed):
    rng = np.random.default_rng(seed)
    condition = np.asarray(rng.random(drawn.input_shapes[0]) < 0.5)
    a, b = (leaf(normal(rng, shape)) for shape in drawn.input_shapes[1:])
    out = mg.where(condition, a, b)
    same(out, np.where(condition, a.data, b.data), rtol=0, atol=0)
    g = cotangent(out, rng)
    da, db = mg.grad(out, [a, b], g)
    same(da, sum_back(np.where(condition, g, 0.0), a.shape))
    same(db, sum_back(np.where(condition, 0.0, g), b.shape))


@given(shape=shapes(), seed=seeds, low=st.sampled_from([None, -1.0, -0.5, 0.0]), high=st.sampled_from([None, 0.5, 1.0]))
def test_clip_to_any_bounds(shape, seed, low, high):
    rng = np.random.default_rng(seed)
    x = leaf(tied(rng, shape))
    if low is None and high is None:
        with pytest.raises(ValueError, match="clip: expected a_min, a_max or both"):
            mg.clip(x, low, high)
        return
    out = mg.clip(x, low, high)
    bounds = (-np.inf if low is None else low, np.inf if high is None else high)
    same(out, np.clip(x.data, *bounds))
    g = cotangent(out, rng)
    same(mg.grad(out, x, g)[0], g * ((x.data >= bounds[0]) & (x.data <= bounds[1])))


@pytest.mark.parametrize("kind", [float, np.float64])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bound", [0.1, 0.7])  # float32 rounds one up and the other down
def test_a_bound_is_rounded_as_the_numbers_beside_it_are(bound, dtype, kind):
    """A tie is one in the dtype of the Tensor: each slope is that at the bound."""
    x, number = leaf(np.array([bound], dtype)), kind(bound)
    slopes = {
        1.0: [mg.clip(x, number), mg.clip(x, None, number), mg.clip(x, number, number)],
        0.0: [mg.maximum(number, x), mg.minimum(number, x)],
    }
    slopes[1.0] += [mg.maximum(x, number), mg.minimum(x, number)]
    for slope, outs in slopes.items():
        for out in outs:
            same(out, x.data, rtol=0, atol=0)
            same(mg.grad(out, x)[0], np.array([slope], dtype), rtol=0, atol=0)


def test_no_gradient_where_the_derivative_is_zero_even_if_the_cotangent_is_infinite():
    """The derivative of sqrt is infinite at 0, where relu, maximum and clip pass nothing on."""
    for f in (mg.relu, lambda x: mg.maximum(x, 0.0), lambda x: mg.clip(x, 0.0, 9.0)):
        x = leaf_of(-1.0, 4.0)
        with np.errstate(divide="ignore"):
            (dx,) = mg.grad(mg.sqrt(f(x)).sum(), x)
        np.testing.assert_array_equal(dx.data, [0.0, 0.25])


# float32 stays float32 ------------------------------------------------------------------------


SCALARS = [2, 0.5, True, np.float64(0.75), np.float32(0.1), np.float16(0.5), np.int64(3), np.uint8(2), np.bool_(True)]
SCALARS.append(np.longdouble(0.75))


OPERATORS = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "**": operator.pow,
    **{name: getattr(mg, name) for name in elementwise(2)},
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
        if f in map(
            vars(mg).get, elementwise(2)
        ):  # not Python's operators: of two of NumPy's numbers, NumPy's are called
            same(np.asarray(g(x.data, scalar)), expected.data.astype("float32"), rtol=1e-6, atol=1e-6)
        c = np.asarray(np.random.default_rng(2).standard_normal(shape), "float32")
        (dx,), (dy,) = (mg.grad(z, w, c.astype(z.dtype), create_graph=True) for z, w in ((out, x), (expected, y)))
        same(dx, dy.data.astype("float32"), rtol=1e-5, atol=1e-6)
        (ddx,), (ddy,) = (mg.grad(z * w, w, c.astype(z.dtype)) for z, w in ((dx, x), (dy, y)))
        same(ddx, ddy.data.astype("float32"), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", OPERATORS)
def test_a_number_keeps_all_its_digits_in_float64(name):
    """Of the number and of the array, on both sides: what it would be with an array of that number."""
    values, number = np.random.default_rng(1).uniform(1.1, 1.9, 3), 1.1 + 2.0**-40
    for g in (OPERATORS[name], lambda a, b: OPERATORS[name](b, a)):
        results = []
        for other in (number, np.float64(number), np.full(3, number)):
            x = leaf(values)
            out = g(x, other)
            results.append([out, *mg.grad(out, x, randn(3))])
        for result in results[:2]:
            for a, b in zip(result, results[2], strict=True):
                same(a, b, rtol=1e-15, atol=0)


@pytest.mark.parametrize("scalar", SCALARS, ids=lambda s: f"{type(s).__name__}-{s}")
def test_scalars_in_where_do_not_promote(scalar):
    x = leaf(np.array([0.5, -1.0, 2.0], "float32"))
    c = np.array([0.25, -2.0, 3.0], "float32")
    condition = np.array([True, False, True])
    for out, d in ((mg.where(condition, x, scalar), c * condition), (mg.where(condition, scalar, x), c * ~condition)):
        assert out.dtype == np.float32
        same(mg.grad(out, x, c)[0], d)


# Sigmoid in its tails -------------------------------------------------------------------------


POINTS = np.array([0.0, 1e-300, 1e-9, 0.5, 3.0, 17.0, 36.0, 37.0, 40.0, 100.0, 650.0, 700.0])


def test_sigmoid_has_all_its_digits_in_both_tails():
    """The lower tail has all its digits, and so has the derivative in both."""
    points = np.concatenate([-POINTS[::-1], POINTS])
    x = mg.Tensor(points, requires_grad=True)
    out = mg.sigmoid(x)
    same(out, special.expit(points), rtol=1e-14, atol=0)
    g = randn(points.size)
    same(mg.grad(out, x, g)[0], g * special.expit(points) * special.expit(-points), rtol=1e-13, atol=0)


def test_sigmoid_far_out_is_0_or_1():
    points = np.array([-1e4, -1e300, 1e4, 1e300, np.inf, -np.inf])
    x = mg.Tensor(points, requires_grad=True)
    out = mg.sigmoid(x)
    same(out, special.expit(points), rtol=0, atol=0)
    same(mg.grad(out, x, randn(6))[0], np.zeros(6), rtol=0, atol=0)


def test_sigmoid_in_float32():
    points = np.array([-85.0, -20.0, -1.0, 0.0, 1.0, 20.0, 100.0], "float32")
    same(mg.sigmoid(mg.Tensor(points)), special.expit(points.astype(float)).astype("float32"), rtol=1e-6, atol=0)


# Dropout --------------------------------------------------------------------------------------


def test_dropout_that_drops_nothing_gives_its_input_and_draws_nothing():
    x, rng = leaf_of(1.0, 2.0), np.random.default_rng(0)
    before = rng.bit_generator.state
    assert mg.dropout(x, 0.0, rng=rng, training=True) is x
    assert mg.dropout(x, 0.5, rng=rng, training=False) is x
    assert rng.bit_generator.state == before


def test_dropout_drops_its_share_and_keeps_the_mean():
    x = mg.Tensor(np.ones(100_000), requires_grad=True)
    y = mg.dropout(x, 0.2, rng=np.random.default_rng(0), training=True)
    assert set(np.unique(y.data)) == {0.0, 1.25}
    assert abs((y.data == 0).mean() - 0.2) < 0.01


def test_dropout_keeps_an_element_whose_draw_is_p():
    """Draws are below 1 and not below 0: at least p with probability 1 - p."""
    seed = int(np.random.default_rng(7).integers(2**63))
    draws = np.random.default_rng(seed).random(9, dtype=np.float32)
    p = float(draws[4])
    kept = mg.dropout(ones(9), p, rng=np.random.default_rng(7), training=True)
    np.testing.assert_array_equal(kept > 0, draws >= p)


def test_dropout_drops_others_at_every_call():
    """One generator, call after call; equal generators in equal states drop the same."""
    first, again = ([], [])
    for masks in (first, again):
        rng = np.random.default_rng(3)
        rng.random(5)  # what was drawn before counts, too
        masks += [mg.dropout(ones(100), rng=rng, training=True) for _ in range(6)]
    np.testing.assert_array_equal(again, first)
    first.append(mg.dropout(ones(100), rng=np.random.default_rng(3), training=True))
    assert len({mask.tobytes() for mask in first}) == len(first)


def test_dropout_drops_half_by_default():
    half = mg.dropout(ones(10_000), rng=np.random.default_rng(0), training=True)
    assert set(half) == {0.0, 2.0}
    assert abs((half == 0).mean() - 0.5) < 0.02
