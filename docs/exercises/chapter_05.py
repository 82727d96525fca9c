"""Exercises of chapter 5: gradients of gradients."""

import numpy as np

import minigrad as mg


def nth_derivative(f, x, n):
    """Return the n-th derivative of f at the float x, as a float; n = 0 is f(x).

    f takes a Tensor of shape (1,), float64, to a Tensor of that shape.
    """
    raise NotImplementedError


def hessian(f, x):
    """Return the Hessian of f at the array x of shape (n,), float64: an array of shape (n, n).

    f takes a Tensor of shape (n,) to a Tensor with one element, and is called only once.
    """
    raise NotImplementedError


def penalty_gradient(f, x):
    """Return the gradient of the sum of the squares of f's gradient, at the array x of any shape, float64: an array.

    f takes a Tensor of the shape of x to a Tensor with one element.
    """
    raise NotImplementedError
