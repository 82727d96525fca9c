"""Exercises of chapter 0: what you need to know."""

import numpy as np


def taylor_polynomial(derivatives, h):
    """Return the value of a Taylor polynomial at x + h.

    `derivatives` is a list of floats: f(x), f'(x), f''(x), and so on; it has at least one. h is a float or an array of
    floats of any shape; the result has its shape.
    """
    raise NotImplementedError


def jacobian(f, x):
    """Return the Jacobian of f at x, computed by central differences with a step of 1e-5 in each input.

    x is an array (inputs,) of floats, and f returns an array (results,). The Jacobian has the shape (results, inputs).
    The array x must not be changed.
    """
    raise NotImplementedError


def weighted_sum(weights, means, variances):
    """Return the mean and the variance of y = the sum of weights[k] * x[k] over k.

    The x[k] are independent random numbers with these means and variances. All arguments are arrays (k,); the results
    are two floats.
    """
    raise NotImplementedError
