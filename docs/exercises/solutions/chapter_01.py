"""Solutions of chapter 1: a derivative, three ways."""

import numpy as np


def derivative_by_hand(x):
    """Multiply along the path u = x ** 2, v = 1 + exp(u), y = log v: the derivative is 2x * exp(u) * 1 / v.

    exp(u) / (1 + exp(u)) overflows for large u. Divide both terms by exp(u): 1 / (1 + exp(-u)) does not overflow.
    """
    return 2 * x / (1 + np.exp(-(x**2)))


def fourth_order_difference(f, x, h):
    """Return 4/3 of the central difference with step h minus 1/3 of the one with step 2h.

    The h ** 2 term of the second is four times that of the first, so these terms cancel.
    """
    near = (f(x + h) - f(x - h)) / (2 * h)
    far = (f(x + 2 * h) - f(x - 2 * h)) / (4 * h)
    return (4 * near - far) / 3


def complex_step_gradient(f, x):
    """Take a complex step for one entry after the other."""
    gradient = np.zeros(x.shape)
    for entry in np.ndindex(x.shape):
        moved = x.astype(complex)
        moved[entry] += 1e-30j
        gradient[entry] = f(moved).imag / 1e-30
    return gradient
