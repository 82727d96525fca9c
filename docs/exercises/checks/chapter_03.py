"""Checks of chapter 3."""

import numpy as np

import minigrad as mg

SHAPES = [((3,), (4, 3)), ((4, 1), (4, 3)), ((1, 3), (4, 3)), ((), (2, 3)), ((8, 1, 6, 1), (8, 7, 6, 5))]
SHAPES += [((7, 1, 5), (8, 7, 6, 5)), ((1, 1), (1, 1)), ((1, 3), (1, 3)), ((2, 1), (5, 2, 1)), ((0, 1), (0, 3))]


def check_unbroadcast(work):
    """Broadcasting copies numbers in two ways: it adds axes in front, and it stretches axes of size 1. The gradient of
    a number is the sum over its copies. Axes of the first kind disappear in the sum; axes of the second kind remain,
    with size 1.
    """
    rng = np.random.default_rng(0)
    for shape, stretched in SHAPES:
        g, x = rng.standard_normal(stretched), rng.standard_normal(shape)
        got = work.unbroadcast(g, shape)
        case = f"from {stretched} to {shape}"
        assert np.shape(got) == shape, f"{case}: got shape {np.shape(got)}"
        left, right = np.sum(np.broadcast_to(x, stretched) * g), np.sum(x * got)
        assert np.isclose(left, right), (
            f"{case}: for a random x, expected <stretched x, g> = <x, result>, got {left:.6g} and {right:.6g}"
        )
    g = rng.standard_normal((2, 3))
    assert work.unbroadcast(g, (2, 3)) is g, "from (2, 3) to (2, 3): expected g itself, got another array"


def check_pairwise_rule(work):
    """The derivative of d[i, j] by a[i, k] is 2 (a[i, k] - b[j, k]). Multiply it by g[i, j], and sum over the index
    that a does not have. What changes for b?
    """
    rng = np.random.default_rng(0)
    a, b, g = rng.standard_normal((4, 3)), rng.standard_normal((5, 3)), rng.standard_normal((4, 5))
    x, y = mg.Tensor(a, requires_grad=True), mg.Tensor(b, requires_grad=True)
    difference = mg.expand_dims(x, 1) - mg.expand_dims(y, 0)
    expected = mg.grad((difference**2).sum(2), [x, y], g)
    got = work.pairwise_rule(g, a, b)
    for name, like, right, mine in zip(("da", "db"), (a, b), expected, got, strict=True):
        assert np.shape(mine) == like.shape, f"{name} has shape {np.shape(mine)}, expected {like.shape}"
        worst = np.abs(mine - right.data).max()
        assert worst < 1e-12, (
            f"{name}: the largest error is {worst:.2g}, among entries up to {np.abs(right.data).max():.2g}"
        )


def check_centre_rule(work):
    """x[i, j] reaches y along two paths: directly, and through the mean of its row, which is subtracted from every y of
    the row. Each entry of a row contributes 1 / c to the mean.
    """
    rng = np.random.default_rng(0)
    x, g = rng.standard_normal((4, 3)), rng.standard_normal((4, 3))
    tensor = mg.Tensor(x, requires_grad=True)
    (expected,) = mg.grad(tensor - tensor.mean(axis=1, keepdims=True), tensor, g)
    got = work.centre_rule(g, x)
    assert np.shape(got) == x.shape, f"expected shape {x.shape}, got {np.shape(got)}"
    worst = np.abs(got - expected.data).max()
    assert worst < 1e-12, f"expected the first row {expected.data[0]}, got {got[0]}; the largest error is {worst:.2g}"
