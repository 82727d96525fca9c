"""Exercises of chapter 6: proving a gradient."""

import numpy as np


def taylor_order(f, gradient, x, v, h=1e-4):
    """Return the order of the remainder |f(x + h v) - f(x) - h <gradient, v>|, computed from its values at h and h / 2.

    f takes an array and returns a number. The arrays x, v and gradient have the same shape. If `gradient` is the
    gradient of f at x, the order is near 2.
    """
    raise NotImplementedError


def adjoint_gap(forward, rule, x_shape, y_shape, rng):
    """Return |<forward(x), y> - <x, rule(y)>| / (|forward(x)| |y|) for random x and y; |y| is the length of y.

    forward is a linear map from arrays of x_shape to arrays of y_shape. rule should be its transpose. Draw x and y with
    rng.standard_normal, so that they have both signs.
    """
    raise NotImplementedError


def mended_rule(g, x, eps=1e-5):
    """Return the gradient of x for y = x * r, where r = 1 / sqrt(mean(x ** 2 over the last axis) + eps).

    g is the gradient of y; g and x have the shape (n, c). This version has two mistakes:

        r = 1 / np.sqrt((x**2).mean(axis=-1, keepdims=True) + eps)
        return g * r - x * r * (g * x).mean()
    """
    raise NotImplementedError
