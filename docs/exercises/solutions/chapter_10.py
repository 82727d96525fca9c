"""Solutions of chapter 10: fewer multiplications."""

from fractions import Fraction

import numpy as np

from minigrad.device import windows


def three_outputs(x, w):
    """Take the points 0, 1, -1 and infinity, for a polynomial of three coefficients times one of two.

    By hand: if x[0] were x[2] and x[3] were x[1], the middle output and each of its neighbours would be the two outputs
    of a signal of period two. Their sum is ``plus`` doubled, and their difference ``minus`` doubled.
    """
    plus = (x[1] + x[2]) * ((w[0] + w[1]) / 2)
    minus = (x[1] - x[2]) * ((w[0] - w[1]) / 2)
    first = (x[0] - x[2]) * w[0]
    last = (x[3] - x[1]) * w[1]
    return [first + plus - minus, plus + minus, plus - minus + last]


def exact_matrices(points, outputs, taps):
    """Evaluate at the points with A and G; the rows of B' are the polynomials that are 0 at all other points.

    Such a polynomial is the product of t - q over the other points q, divided by its value at its own point. At
    infinity the value is the leading coefficient, which is 1 for the product over all points.
    """

    def evaluate(n):
        return np.array([[p**i for i in range(n)] for p in points] + [[Fraction(i == n - 1) for i in range(n)]])

    rows = []
    for p in [*points, None]:
        row, value = np.array([Fraction(1)]), Fraction(1)
        for q in points:
            if q != p:
                row = np.append(Fraction(0), row) - q * np.append(row, Fraction(0))
                value *= 1 if p is None else p - q
        rows.append(np.append(row, [Fraction(0)] * (p is not None)) / value)
    return evaluate(outputs).T, evaluate(taps), np.array(rows)


def gradients_by_tiles(g, x, w, matrices):
    """Multiply the transformed cotangent with the weights for dx, and with the transformed tiles of x for dw."""
    at, gt, bt = matrices
    (m, t), (n, h, wd, c), o = at.shape, x.shape, g.shape[3]
    rows, columns = h // m, wd // m
    gpad = np.pad(g, ((0, 0), (2, 2), (2, 2), (0, 0)))
    tiles = windows(gpad, (t, t), (m, m), (1, 1))  # (n, rows, columns, t, t, o)
    v = np.einsum("ia,jb,nyxabo->ijnyxo", bt, bt, tiles).reshape(t, t, -1, o)

    u = np.einsum("ia,jb,abco->ijoc", gt, gt, w[::-1, ::-1])
    products = (v @ u).reshape(t, t, n, rows, columns, c)
    dx = np.einsum("ai,bj,ijnyxc->nyaxbc", at, at, products).reshape(x.shape)

    inner = np.einsum("ai,bj,nyaxbc->ijcnyx", at, at, x.reshape(n, rows, m, columns, m, c)).reshape(t, t, c, -1)
    dw = np.einsum("ia,jb,ijco->abco", gt, gt, inner @ v)
    return dx, dw[::-1, ::-1]
