"""Broadcasting and its way back, against the definition: one number at a time."""

from itertools import product

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import minigrad as mg
from minigrad.autograd.broadcasting import broadcast_to, copy, sum_to
from tests.tools.compare import examples, leaf, same, seeds


def stretched(index, shape):
    """Return the index that an element of the broadcast array comes from: axes are aligned at the right."""
    return tuple(0 if n == 1 else i for i, n in zip(index[len(index) - len(shape) :], shape, strict=True))


def sum_by_hand(g, shape):
    """Add every element of `g` to the element of an array of `shape` that it was broadcast from."""
    total = np.zeros(shape, g.dtype)
    for index in np.ndindex(g.shape):
        total[stretched(index, shape)] += g[index]
    return total


@st.composite
def pairs(draw):
    """Draw a shape of up to six axes, and one from which it is broadcast: some axes are 1, some are missing."""
    shape = draw(st.lists(st.sampled_from([0, 1, 2, 3]), max_size=6).filter(lambda sizes: np.prod(sizes) <= 200))
    smaller = [draw(st.sampled_from([n, 1])) for n in shape]
    return tuple(shape), tuple(smaller[draw(st.integers(0, len(smaller))) :])


@examples(1.0)
@given(pairs(), seeds)
@example(((2, 3, 1, 2, 3, 2), (2, 1, 1, 2, 1, 1)), 0)
@example(((2, 2, 2, 2, 2, 2), ()), 0)
@example(((2, 0, 3), (1, 1)), 0)
def test_each_is_the_adjoint_of_the_other_in_every_order(shapes, seed):
    """Values and gradients of both, twice differentiated, against sums over single elements."""
    shape, smaller = shapes
    rng = np.random.default_rng(seed)
    x, g = leaf(rng.standard_normal(smaller)), leaf(rng.standard_normal(shape))
    wide = np.array([x.data[stretched(i, smaller)] for i in np.ndindex(shape)]).reshape(shape)
    narrow = sum_by_hand(g.data, smaller)
    same(broadcast_to(x.data, shape), wide)
    same(sum_to(g.data, smaller), narrow)
    # the gradients are linear in where they start from, and their gradients lead back
    (dx,) = mg.grad(broadcast_to(x, shape), x, g, create_graph=True)
    same(dx, narrow)
    same(mg.grad(dx, g, x)[0], wide)
    (dg,) = mg.grad(sum_to(g, smaller), g, x, create_graph=True)
    same(dg, wide)
    same(mg.grad(dg, x, g)[0], narrow)


def is_sum_of(ours, p, q, shape):
    """Compare with the sum of p * q in float64: n rounded terms err by at most n eps times the sum of their sizes."""
    terms = p.astype("float64") * q.astype("float64")
    bound = np.finfo(ours.dtype).eps * (terms.size + 1) * sum_by_hand(abs(terms), shape)
    assert (ours.shape, ours.dtype) == (shape, p.dtype)
    assert np.all(abs(ours.data - sum_by_hand(terms, shape)) <= bound)


@examples(1.0)
@given(pairs(), seeds, st.booleans())
@example(((2, 2, 1, 3, 2, 2), (2, 1, 1, 3, 1, 2)), 0, False)
@example(((2, 2, 2, 2, 2, 2), (2,)), 0, True)
def test_the_gradients_of_a_product_are_summed_back(shapes, seed, swap):
    """Of both factors, together and alone, and their derivatives, in both dtypes."""
    rng = np.random.default_rng(seed)
    for dtype in ("float64", "float32"):
        a, b = (leaf(rng.standard_normal(shape).astype(dtype)) for shape in (shapes[::-1] if swap else shapes))
        g = rng.standard_normal((a.data * b.data).shape).astype(dtype)
        for da, db in ([*mg.grad(a * b, [a, b], g)], [mg.grad(a * b, x, g)[0] for x in (a, b)]):
            is_sum_of(da, g, b.data, a.shape)
            is_sum_of(db, g, a.data, b.shape)
        da, db = mg.grad(a * b, [a, b], g, create_graph=True)
        is_sum_of(mg.grad(da, b, a.data)[0], g, a.data, b.shape)
        is_sum_of(mg.grad(db, a, b.data)[0], g, b.data, a.shape)


def test_one_tensor_stretched_in_two_ways():
    """The outer product of a row with itself: its two gradients are summed over different axes."""
    for shape, create_graph in product([(1, 3), (3, 1), (1, 1)], [False, True]):
        x, g = leaf(np.arange(1.0, 1 + np.prod(shape)).reshape(shape)), np.arange(9.0).reshape(3, 3)
        g = g if max(shape) > 1 else g[:1, :1] + 5.0
        (dx,) = mg.grad(x * x.T, x, g, create_graph=create_graph)
        same(dx, ((g + g.T) @ x.data.ravel()).reshape(shape))


@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_a_copy_has_memory_of_its_own(shape):
    x = leaf(np.ones(shape))
    y = copy(x)
    assert not np.shares_memory(x.data, y.data) or x.size == 0
    assert copy(x.data) is not x.data
    same(mg.grad(y, x, np.full(shape, 3.0))[0], np.full(shape, 3.0))


@pytest.mark.parametrize("of", [(), (1,), (3,), (2, 3), (2, 1)])
@pytest.mark.parametrize("shape", [(2, 3), (1, 2, 3), (2, 2, 3)])
def test_what_is_stretched_is_a_view_that_cannot_be_written_into(of, shape):
    """Also where there is nothing to stretch: a write would reach the argument."""
    x = np.ones(of)
    for y in (mg.broadcast_to(x, shape), mg.broadcast_to(mg.Tensor(x), shape).data):
        assert np.shares_memory(x, y)
        assert not y.flags.writeable
    assert x.flags.writeable
