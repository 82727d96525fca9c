"""Exercises of chapter 5: gradients of gradients."""

import numpy as np

import minigrad as mg


def nth_derivative(f, x, n):
    """Return the n-th derivative of f at the float x, as a float; for n = 0 this is f(x).

    f takes a Tensor of shape (1,) and dtype float64, and returns a Tensor of the same shape.
    """
    raise NotImplementedError


def hessian(f, x):
    """Return the Hessian of f at x, an array of shape (n, n); x is a float64 array of shape (n,).

    f takes a Tensor of shape (n,) and returns a Tensor with one element. Call f only once.
    """
    raise NotImplementedError


def penalty_gradient(f, x):
    """Return the gradient, at x, of the sum of squares of f's gradient; x is a float64 array of any shape.

    f takes a Tensor of the shape of x and returns a Tensor with one element. The result is an array of the shape of x.
    """
    raise NotImplementedError
