"""Checks of chapter 4."""

import numpy as np

import minigrad as mg


def check_matmul_rule(work):
    """For two matrices, da = g @ b.T and db = a.T @ g. With leading axes, swap the last two axes only. A leading axis
    that was added or stretched is summed, as in chapter 3.
    """
    rng = np.random.default_rng(0)
    shapes = [((4, 3), (3, 5)), ((6, 4, 3), (3, 5)), ((4, 3), (6, 3, 5)), ((5, 1, 4, 3), (7, 3, 2)), ((1, 3), (3, 1))]
    for a_shape, b_shape in shapes:
        a, b = rng.standard_normal(a_shape), rng.standard_normal(b_shape)
        g = rng.standard_normal((a @ b).shape)
        x, y = mg.Tensor(a, requires_grad=True), mg.Tensor(b, requires_grad=True)
        got = work.matmul_rule(g, a, b)
        for name, mine, right in zip(("da", "db"), got, mg.grad(x @ y, [x, y], g), strict=True):
            case = f"{name} of {a_shape} @ {b_shape}"
            assert np.shape(mine) == right.shape, f"{case} has shape {np.shape(mine)}, expected {right.shape}"
            worst = np.abs(mine - right.data).max()
            assert worst < 1e-12, (
                f"{case}: the largest error is {worst:.2g}, among entries up to {np.abs(right.data).max():.2g}"
            )


def check_bilinear_rule(work):
    """y is a sum of products of three numbers. The gradient of one factor is g times the other two, summed over the
    indices that this factor does not have.
    """
    rng = np.random.default_rng(0)
    g, x, w, z = (rng.standard_normal(shape) for shape in ((6,), (6, 3), (3, 4), (6, 4)))
    leaves = [mg.Tensor(value, requires_grad=True) for value in (x, w, z)]
    expected = mg.grad((leaves[0] @ leaves[1] * leaves[2]).sum(1), leaves, g)
    for name, mine, right in zip(("dx", "dw", "dz"), work.bilinear_rule(g, x, w, z), expected, strict=True):
        assert np.shape(mine) == right.shape, f"{name} has shape {np.shape(mine)}, expected {right.shape}"
        worst = np.abs(mine - right.data).max()
        assert worst < 1e-12, (
            f"{name}: the largest error is {worst:.2g}, among entries up to {np.abs(right.data).max():.2g}"
        )


def check_solve_rule(work):
    """Differentiate a @ x = b: da @ x + a @ dx = db. The map from db to dx is the inverse of a, so the rule for b needs
    its transpose: another call of np.linalg.solve. The rule for a needs the result of the rule for b, and x.
    """
    rng = np.random.default_rng(0)
    a, b, g = rng.standard_normal((4, 4)) + 3 * np.eye(4), rng.standard_normal(4), rng.standard_normal(4)
    got = work.solve_rule(g, a, b)
    for name, mine, like in zip(("da", "db"), got, (a, b), strict=True):
        assert np.shape(mine) == like.shape, f"{name} has shape {np.shape(mine)}, expected {like.shape}"
        for entry in np.ndindex(like.shape):
            change = np.zeros(like.shape, complex)
            change[entry] = 1e-30j
            moved = np.linalg.solve(a + change, b) if name == "da" else np.linalg.solve(a, b + change)
            right = g @ moved.imag / 1e-30
            assert np.isclose(mine[entry], right), f"{name}{list(entry)}: expected {right:.6f}, got {mine[entry]:.6f}"
