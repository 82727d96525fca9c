"""Exercises of chapter 7: what is a net?"""

import numpy as np


def merged(w1, b1, w2, b2):
    """Return the weights and the bias of one layer that computes ``(x @ w1 + b1) @ w2 + b2`` for every x.

    w1 is (c_in, c), b1 is (c,), w2 is (c, c_out), b2 is (c_out,).
    """
    raise NotImplementedError


def interpolating_net(positions, values):
    """Return v, b and c of the net ``y(x) = sum over k of v[k] * relu(x - b[k]) + c``.

    Its graph must pass through the points (positions[k], values[k]), with straight lines between them. `positions` is
    an increasing array of at least two numbers. Left of the first position, y is constant. v and b are arrays with one
    number for each straight line, c is a float.
    """
    raise NotImplementedError


def convolution_matrix(w, size):
    """Return the matrix with which ``x @ matrix`` is the convolution of a row of pixels x with the kernel w.

    x has shape (size,), and w has shape (k,), with k at most `size`. There is no padding, and the stride is 1. So
    output pixel q is the sum of ``x[q + j] * w[j]`` over j, and the matrix has the shape (size, size - k + 1).
    """
    raise NotImplementedError
