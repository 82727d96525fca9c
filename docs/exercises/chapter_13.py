"""Exercises of chapter 13: initialisation."""

import math

import numpy as np


def leaky_normal(shape, slope, rng):
    """Draw normal weights with which a layer and its leaky ReLU preserve the mean square.

    A leaky ReLU returns y where y > 0, and ``slope * y`` elsewhere. `shape` is (..., c_in, c_out), so the fan-in is the
    product of all sizes except the last; `rng` is a numpy Generator.
    """
    raise NotImplementedError


def orthogonal(n, rng):
    """Draw a weight (n, n) whose singular values are all sqrt(2): sqrt(2) times an orthogonal matrix.

    All directions must be equally likely: correct the signs that ``np.linalg.qr`` chooses. `rng` is a numpy Generator.
    """
    raise NotImplementedError


def scaled_to_data(weights, x):
    """Return scaled weights with which the output of every layer on x has mean square 1.

    The net is ``relu(relu(x @ w0) @ w1) @ w2 ...``; "output" means the output before the ReLU. `weights` is a list of
    arrays (c_in, c_out), x is (n, c_in). Return new arrays, each a positive multiple of the given one. Do not change
    the given arrays.
    """
    raise NotImplementedError
