"""Solutions of chapter 1: a derivative, three ways."""

import numpy as np


def derivative_by_hand(x):
    """Multiply along the path: u = x ** 2, v = 1 + exp(u), y = log v gives 2x * exp(u) * 1 / v.

    exp(u) / (1 + exp(u)) overflows; divided through by exp(u), it is 1 / (1 + exp(-u)), which does not.
    """
    return 2 * x / (1 + np.exp(-(x**2)))


def fourth_order_difference(f, x, h):
    """Take four thirds of the difference with h, less a third of the one with 2h: their h ** 2 terms are 1 to 4."""
    near = (f(x + h) - f(x - h)) / (2 * h)
    far = (f(x + 2 * h) - f(x - 2 * h)) / (4 * h)
    return (4 * near - far) / 3


def complex_step_gradient(f, x):
    """Step along i, one entry after the other."""
    gradient = np.zeros(x.shape)
    for entry in np.ndindex(x.shape):
        moved = x.astype(complex)
        moved[entry] += 1e-30j
        gradient[entry] = f(moved).imag / 1e-30
    return gradient
