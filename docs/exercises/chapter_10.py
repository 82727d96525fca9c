"""Exercises of chapter 10: fewer multiplications."""

import numpy as np

from minigrad.device import windows


def three_outputs(x, w):
    """Return the three outputs ``x[i] * w[0] + x[i + 1] * w[1]``, i = 0, 1, 2, with only four products.

    x has four pixels, w has two weights. A product is a pixel, or a sum of pixels, times a weight, or a sum of weights.
    Additions, subtractions and factors that are plain numbers, such as ``w[0] / 2``, do not count. Return a list.
    """
    raise NotImplementedError


def exact_matrices(points, outputs, taps):
    """Return (At, G, Bt), three arrays of Fractions, with which ``At @ ((G @ w) * (Bt @ x))`` is a convolution.

    w has `taps` weights, x has ``outputs + taps - 1`` pixels, and the result has `outputs` numbers. The `points` are
    ``outputs + taps - 2`` different Fractions; the last point is infinity. The arrays have the dtype object. The
    result must be exact: ``np.linalg.inv`` rounds. (Which polynomial is 1 at one point, and 0 at the others?)
    """
    raise NotImplementedError


def gradients_by_tiles(g, x, w, matrices):
    """Return dx and dw of a convolution of x (n, h, w, c) with w (3, 3, c, o) without padding, at stride 1.

    The cotangent g has the shape (n, h - 2, w - 2, o), and `matrices` is (At, G, Bt) for tiles of m outputs; height and
    width of x are multiples of m, for any m. Call ``windows`` once, and transform each tile of g once.
    """
    raise NotImplementedError
