"""Exercises of chapter 1: a derivative, three ways."""

import numpy as np


def derivative_by_hand(x):
    """Return the derivative of log(1 + exp(x ** 2)) at x, a float.

    The result must be finite and right for every x from -1000 to 1000.
    """
    raise NotImplementedError


def fourth_order_difference(f, x, h):
    """Return the derivative of f at x, computed from the values of f at x - 2h, x - h, x + h and x + 2h.

    The error must be of order h ** 4.
    """
    raise NotImplementedError


def complex_step_gradient(f, x):
    """Return the gradient of f at x by complex steps.

    x is an array of floats, of any shape. f takes an array of this shape, real or complex, and returns one number. The
    gradient has the shape of x. The array x must not be changed.
    """
    raise NotImplementedError
