"""Matrix products of drawn shapes; gradients by einsum."""

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigrad as mg
from minigrad.kernels import products
from tests.records.draw import normal
from tests.tools.compare import cotangent, examples, leaf, same, seeds, shapes, sum_back
from tests.tools.reach import count_calls


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
    g = cotangent(out, rng)
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
    g = cotangent(out, rng)
    dw = (x.data[..., :, None] * g[..., None, :]).reshape(-1, *w.shape).sum(axis=0) if x.size and g.size else 0 * w.data
    expected = [g @ w.data.T, dw, sum_back(g, (c,))]
    for d, e in zip(mg.grad(out, inputs, g), expected, strict=False):
        same(d, e)


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((40, 1, 8), (8, 6)),
        ((5, 8, 2, 8), (8, 6)),
        ((40, 3, 8), (8,)),
        ((6, 8), (40, 8, 1)),
        ((6, 8), (5, 8, 8, 3)),
    ],
)
def test_one_matrix_and_a_stack_make_no_stack_of_gradients(monkeypatch, a, b, create_graph):
    """Each matrix of the stack would make a gradient of the one matrix: 40 times its size."""
    sizes, multiply = [], products.matmul

    def noted(a, b, out=None):
        product = multiply(a, b, out)
        sizes.append(product.size)
        return product

    monkeypatch.setattr(products, "matmul", noted)
    rng = np.random.default_rng(0)
    a, b = leaf(normal(rng, a)), leaf(normal(rng, b))
    out = mg.matmul(a, b)
    mg.grad(out, [a, b], cotangent(out, rng), create_graph=create_graph)
    assert len(sizes) >= 3
    assert max(sizes) <= max(a.size, b.size, out.size)


def test_a_stack_of_nothing():
    for a, b in (((2, 3, 0), (0, 4)), ((2, 0, 3), (3, 4)), ((0, 2, 3), (3,)), ((3, 0), (2, 0, 4)), ((2, 0), (5, 0, 1))):
        x, w = leaf(np.ones(a)), leaf(np.ones(b))
        out = mg.matmul(x, w)
        same(out, np.matmul(x.data, w.data))
        for d, like in zip(mg.grad(out, [x, w], np.ones(out.shape)), (x, w), strict=True):
            same(d, np.zeros(like.shape))


def test_a_stack_that_the_tape_stores_cannot_be_written_into():
    """The tape would store a view of it, if the rows of the stack were taken by another operator."""
    x, w = mg.Tensor(np.ones((2, 3, 4))), leaf(np.ones((4, 2)))
    out = x @ w
    with pytest.raises(RuntimeError, match="cannot be written into"):
        x[0] = 5.0
    same(mg.grad(out, w, np.ones(out.shape))[0], np.full((4, 2), 6.0))


@pytest.mark.parametrize(
    ("m", "n", "k", "narrow"), [(4, 1, 4, True), (5, 2, 4, True), (3, 2, 7, True), (4, 2, 4, False), (3, 5, 2, False)]
)
def test_of_two_ways_to_the_gradient_of_one_matrix_the_one_with_smaller_arrays_is_taken(m, n, k, narrow, monkeypatch):
    """The stack and its cotangent have n (k + m) numbers for each product, the products of both m k."""
    sums = count_calls(monkeypatch, sys.modules[mg.matmul.__module__], "_sum_of_products")
    a, b = leaf(np.ones((m, k))), np.arange(3.0 * k * n).reshape(3, k, n)
    out = mg.matmul(a, b)
    g = cotangent(out)
    same(mg.grad(out, a, g)[0], np.einsum("smn,skn->mk", g, b))
    assert len(sums) == narrow
