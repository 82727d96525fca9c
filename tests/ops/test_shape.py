"""Operators that put elements elsewhere: drawn shapes and indices; gradients go where the elements came from."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose

import minigrad as mg
from minigrad import ops
from tests.records.draw import normal, randn
from tests.tools.compare import cotangent, examples, leaf, same, seeds, shapes
from tests.tools.reach import count_calls
from tests.tools.strict import count_syncs, strict


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
    g = cotangent(out, rng)
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


# Indices --------------------------------------------------------------------------------------


def _getitem(index):
    return lambda xp, x: x[index] if xp is np else mg.getitem(x, index)


@given(shape=shapes(max_dims=6), data=st.data(), seed=seeds)
@examples(0.75)
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
@examples(0.75)
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


@given(shape=shapes(max_dims=6), data=st.data(), seed=seeds)
def test_getitem_with_booleans(shape, data, seed):
    rng = np.random.default_rng(seed)
    axes = data.draw(st.integers(0, len(shape)))
    mask = np.asarray(rng.random(shape[:axes]) < 0.5)
    check_places(_getitem(mask), [normal(rng, shape)], rng)


@pytest.mark.parametrize(
    ("index", "twice"),
    [
        *[(index, False) for index in (1, np.int64(1), slice(1, 3), None, ..., (0, slice(None), 1), (None, ..., 0))],
        *[(index, False) for index in (np.arange(4) % 2 == 0, (slice(None), np.arange(3) > 0), randn(4, 3, 2) > 0)],
        *[(index, True) for index in (np.array([0, 2, 0]), [0, 2, 0], (slice(None), [1, 1]), ([0, 0], ..., [1, 1]))],
        *[(np.array([0, 2, 0], kind), True) for kind in "bBhHiIlL"],
        *[(index, True) for index in ((slice(None), slice(None), [1, 1]), (None, None, 0, None, [1, 1]))],
        *[(index, True) for index in ((0, np.array([1, 1])), (np.array([[1], [1]]), 0), (True, [0, 0]))],
    ],
)
def test_gradients_are_added_one_by_one_only_if_an_index_may_repeat(index, twice, monkeypatch):
    """Adding is right for every index, and a hundred times slower than assigning."""
    calls = count_calls(monkeypatch, ops.shape, "scatter_add")
    x = mg.Tensor(randn(4, 3, 2), requires_grad=True)
    out = x[index]
    g = randn(*out.shape)
    expected = np.zeros(x.shape)
    np.add.at(expected, index, g)
    assert_allclose(mg.grad(out, x, g)[0].data, expected, rtol=1e-12, atol=1e-15)
    assert bool(calls) == twice


def test_host_arrays_in_an_index_are_brought_to_the_device():
    data = randn(4, 3)
    for index in (np.array([0, 2, 0]), (slice(None), np.array([1, 1])), (np.array([0, 1]), 2), (np.arange(4) > 1, 0)):
        x = mg.Tensor(strict.asarray(data), requires_grad=True)
        out = x[index]
        np.testing.assert_array_equal(out.numpy(), data[index])
        expected = np.zeros(data.shape)
        np.add.at(expected, index, 1.0)
        np.testing.assert_array_equal(mg.grad(out.sum(), x)[0].numpy(), expected)


# The others -----------------------------------------------------------------------------------


@given(shape=shapes(max_dims=6), data=st.data(), seed=seeds)
def test_transpose(shape, data, seed):
    rng = np.random.default_rng(seed)
    axes = data.draw(st.none() | st.permutations(range(len(shape))))
    if axes is not None:
        axes = tuple(a - len(shape) if data.draw(st.booleans()) else a for a in axes)
    check_places(lambda xp, x: xp.transpose(x, axes), [normal(rng, shape)], rng)


@given(shape=shapes(max_dims=6), data=st.data(), seed=seeds)
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


@given(shape=shapes(max_dims=5, min_dims=1, max_side=3), data=st.data(), seed=seeds)
def test_concatenate_and_stack(shape, data, seed):
    rng = np.random.default_rng(seed)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    sizes = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=20))
    parts = []
    for size in sizes:
        part = list(shape)
        part[axis] = size
        parts.append(normal(rng, part))
    check_places(lambda xp, *arrays: xp.concatenate(list(arrays), axis), parts, rng)
    axis = data.draw(st.integers(-len(shape) - 1, len(shape)))
    check_places(lambda xp, *arrays: xp.stack(list(arrays), axis), [normal(rng, shape) for _ in sizes], rng)


@given(shape=shapes(max_dims=6), data=st.data(), seed=seeds)
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


@pytest.mark.parametrize("constant", [0, 2, -1.5, np.nan, np.inf, -np.inf, -0.0, 1e300])
def test_the_border_may_be_any_number(constant):
    out = mg.pad(np.array([1.0, 2.0]), [(1, 2)], constant)
    np.testing.assert_array_equal(out, [constant, 1.0, 2.0, constant, constant], strict=True)
    assert (np.signbit(out[[0, -1]]) == np.signbit(constant)).all()


def test_defaults_are_those_of_numpy():
    a, b = randn(2, 3), randn(2, 3, seed=1)
    np.testing.assert_array_equal(mg.stack([a, b]), np.stack([a, b]))
    np.testing.assert_array_equal(mg.concatenate([a, b]), np.concatenate([a, b]))
    np.testing.assert_array_equal(mg.pad(a, [(1, 0), (0, 1)]), np.pad(a, [(1, 0), (0, 1)]))
    np.testing.assert_array_equal(mg.flip(a), np.flip(a))
    np.testing.assert_array_equal(mg.transpose(a), np.transpose(a))


# Nothing to do --------------------------------------------------------------------------------

#: Calls that give what they are given: the result is an array of its own all the same.
SETTINGS_THAT_DO_NOTHING = {
    "concatenate": lambda x: mg.concatenate([x]),
    "concatenate-with-nothing": lambda x: mg.concatenate([x, x[:0]]),
    "stack": lambda x: mg.stack([x])[0],
    "pad": lambda x: mg.pad(x, [(0, 0)] * 4),
    "getitem-of-integers": lambda x: x[np.arange(x.shape[0])],
    "getitem-of-booleans": lambda x: x[np.ones(x.shape, bool)].reshape(x.shape),
    "sum": lambda x: mg.sum(x, ()),
    "mean": lambda x: mg.mean(x, ()),
    "max": lambda x: mg.max(x, ()),
    "min-of-ones": lambda x: mg.min(mg.expand_dims(x, 0), 0),
    "logsumexp": lambda x: mg.logsumexp(x, ()),
    "clip": lambda x: mg.clip(x, -99.0, 99.0),
    "maximum": lambda x: mg.maximum(x, -99.0),
    "minimum": lambda x: mg.minimum(99.0, x),
    "where": lambda x: mg.where(np.ones(x.shape, bool), x, 0.0),
    "where-all": lambda x: mg.where(True, x, 1.0),
    "relu": lambda x: mg.relu(x),
    "abs": lambda x: mg.abs(x),
    "add": lambda x: mg.add(x, 0.0),
    "mul": lambda x: mg.mul(1.0, x),
    "div": lambda x: mg.div(x, 1.0),
    "pow": lambda x: mg.pow(x, 1),
    "max_pool2d": lambda x: mg.max_pool2d(x, 1),
    "avg_pool2d": lambda x: mg.avg_pool2d(x, 1),
    "matmul": lambda x: mg.matmul(x, np.eye(2)),
    "conv2d": lambda x: mg.conv2d(x, np.eye(2).reshape(1, 1, 2, 2)),
    "conv_transpose2d": lambda x: mg.conv_transpose2d(x, np.eye(2).reshape(1, 1, 2, 2)),
}


@pytest.mark.parametrize("name", SETTINGS_THAT_DO_NOTHING)
def test_a_result_that_equals_its_argument_is_an_array_of_its_own(name):
    """Whoever writes into it does not change the argument; only indices of slices, reshape and the like are views."""
    x = np.random.default_rng(0).uniform(0.5, 2.0, (2, 3, 4, 2))
    for tensor in (x, mg.Tensor(x), mg.Tensor(x, requires_grad=True)):
        out = SETTINGS_THAT_DO_NOTHING[name](tensor)
        data = out.data if isinstance(out, mg.Tensor) else out
        same(data, x, rtol=1e-14, atol=0)
        assert not np.shares_memory(data, x)
        assert data.flags.writeable


def test_windows_are_read_only():
    """They overlap in memory: a write into one would change others, and the image."""
    images = np.zeros((1, 3, 3, 1))
    for x in (images, mg.Tensor(images)):
        seen = ops.shape.im2col(x, (2, 2), (1, 1), (1, 1))
        with pytest.raises(ValueError, match="read-only"):
            (seen.data if isinstance(seen, mg.Tensor) else seen)[...] = 1


def test_embedding_does_not_wait_for_indices_on_a_device():
    """To look at them would take a wait; the indices of the host are looked at for free."""
    table, indices = np.arange(6.0).reshape(3, 2), np.array([2, 0, 2])
    w = mg.Tensor(strict.asarray(table), requires_grad=True)
    for rows in (strict.asarray(indices), mg.Tensor(strict.asarray(indices)), indices):
        with count_syncs() as syncs:
            out = mg.embedding(rows, w)
            (dw,) = mg.grad(out.sum(), w)
        assert syncs.count == 0
        same(strict.asnumpy(out.data), table[indices], rtol=0, atol=0)
        same(strict.asnumpy(dw.data), np.array([[1.0, 1.0], [0.0, 0.0], [2.0, 2.0]]), rtol=0, atol=0)
