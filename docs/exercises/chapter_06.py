"""Exercises of chapter 6: proving a gradient."""

import numpy as np


def taylor_order(f, gradient, x, v, h=1e-4):
    """Return the order of the remainder |f(x + h v) - f(x) - h <gradient, v>|, from its values at h and h / 2.

    f takes an array of the shape of x, v and gradient to a number. If gradient is that of f at x, the order is near 2.
    """
    raise NotImplementedError


def adjoint_gap(forward, rule, x_shape, y_shape, rng):
    """Return |<forward(x), y> - <x, rule(y)>| / (|forward(x)| |y|) for random x and y; |y| is the length of y.

    forward is linear, from arrays of x_shape to arrays of y_shape, and rule claims to be its transpose. Draw x and y
    with rng.standard_normal, so that they have both signs.
    """
    raise NotImplementedError


def mended_rule(g, x, eps=1e-5):
    """Return the gradient of x for y = x * r, where r = 1 / sqrt(mean(x ** 2 over the last axis) + eps).

    g, the gradient of y, and x have the shape (n, c). Someone wrote this, with two mistakes:

        r = 1 / np.sqrt((x**2).mean(axis=-1, keepdims=True) + eps)
        return g * r - x * r * (g * x).mean()
    """
    raise NotImplementedError
