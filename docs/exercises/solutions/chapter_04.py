"""Solutions of chapter 4: matrices."""

import numpy as np


def matmul_rule(g, a, b):
    """Apply the rule of a single product, then sum over the leading axes that were added or stretched."""

    def sum_back(d, shape):
        d = d.sum(axis=tuple(range(d.ndim - len(shape))))
        return d.sum(axis=tuple(axis for axis, size in enumerate(shape) if size == 1), keepdims=True)

    return sum_back(g @ b.swapaxes(-1, -2), a.shape), sum_back(a.swapaxes(-1, -2) @ g, b.shape)


def bilinear_rule(g, x, w, z):
    """Multiply the other factors, and sum over the indices that the argument does not have."""
    dx = g[:, None] * (z @ w.T)  # the sum over j
    dw = (g[:, None] * x).T @ z  # the sum over n
    dz = g[:, None] * (x @ w)  # the sum over i
    return dx, dw, dz


def solve_rule(g, a, b):
    """Differentiate A x = b: dA x + A dx = db, so dx = inv(A) (db - dA x).

    <g, inv(A) db> = <inv(A)' g, db>, so the gradient of b is db = inv(A)' g. The gradient of A is computed from this
    db: in row i and column j it is -db[i] x[j].
    """
    db = np.linalg.solve(a.T, g)
    return -np.outer(db, np.linalg.solve(a, b)), db
