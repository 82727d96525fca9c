"""Checks of chapter 3."""

import numpy as np

import minigrad as mg

SHAPES = [((3,), (4, 3)), ((4, 1), (4, 3)), ((1, 3), (4, 3)), ((), (2, 3)), ((8, 1, 6, 1), (8, 7, 6, 5))]
SHAPES += [((7, 1, 5), (8, 7, 6, 5)), ((1, 1), (1, 1)), ((1, 3), (1, 3)), ((2, 1), (5, 2, 1)), ((0, 1), (0, 3))]


def check_unbroadcast(work):
    rng = np.random.default_rng(0)
    for shape, stretched in SHAPES:
        g, x = rng.standard_normal(stretched), rng.standard_normal(shape)
        got = work.unbroadcast(g, shape)
        case = f"from {stretched} to {shape}"
        assert np.shape(got) == shape, f"{case}: got shape {np.shape(got)}"
        left, right = np.sum(np.broadcast_to(x, stretched) * g), np.sum(x * got)
        assert np.isclose(left, right), f"{case}: the result is not the sum over the stretched axes"
    g = rng.standard_normal((2, 3))
    assert work.unbroadcast(g, (2, 3)) is g, "if the shapes are equal, return g itself"


def check_pairwise_rule(work):
    rng = np.random.default_rng(0)
    a, b, g = rng.standard_normal((4, 3)), rng.standard_normal((5, 3)), rng.standard_normal((4, 5))
    x, y = mg.Tensor(a, requires_grad=True), mg.Tensor(b, requires_grad=True)
    difference = mg.expand_dims(x, 1) - mg.expand_dims(y, 0)
    expected = mg.grad((difference**2).sum(2), [x, y], g)
    got = work.pairwise_rule(g, a, b)
    for name, like, right, mine in zip(("da", "db"), (a, b), expected, got, strict=True):
        assert np.shape(mine) == like.shape, f"{name} has shape {np.shape(mine)}, expected {like.shape}"
        worst = np.abs(mine - right.data).max()
        assert worst < 1e-12, f"{name}: the error is {worst:.2g}; check the sign, the factor and the index of the sum"


def check_centre_rule(work):
    rng = np.random.default_rng(0)
    x, g = rng.standard_normal((4, 3)), rng.standard_normal((4, 3))
    tensor = mg.Tensor(x, requires_grad=True)
    (expected,) = mg.grad(tensor - tensor.mean(axis=1, keepdims=True), tensor, g)
    got = work.centre_rule(g, x)
    assert np.shape(got) == x.shape, f"expected shape {x.shape}, got {np.shape(got)}"
    assert not np.allclose(got, g), "this is the direct path only; add the path through the mean"
    worst = np.abs(got - expected.data).max()
    assert worst < 1e-12, f"the error is {worst:.2g}; each entry of a row contributes 1 / c to its mean"
