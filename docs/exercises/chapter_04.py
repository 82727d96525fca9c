"""Exercises of chapter 4: matrices."""

import numpy as np


def matmul_rule(g, a, b):
    """Return (da, db), the gradients of a (..., i, p) and b (..., p, j), from g, the gradient of a @ b.

    Leading axes broadcast: for example, if a is (5, 1, i, p) and b is (7, p, j), then g is (5, 7, i, j). da has the
    shape of a, and db has the shape of b.
    """
    raise NotImplementedError


def bilinear_rule(g, x, w, z):
    """Return (dx, dw, dz) for y[n] = sum over i and j of x[n, i] * w[i, j] * z[n, j].

    g (n,) is the gradient of y; x is (n, i), w is (i, j), z is (n, j).
    """
    raise NotImplementedError


def solve_rule(g, a, b):
    """Return (da, db) for x = np.linalg.solve(a, b); a is (i, i), b is (i,), and g (i,) is the gradient of x."""
    raise NotImplementedError
