"""Exercises of chapter 11: initialisation."""

import math

import numpy as np


def leaky_normal(shape, slope, rng):
    """Draw normal weights that keep the mean square of a net with leaky ReLUs.

    A leaky ReLU gives y where y > 0, and ``slope * y`` elsewhere. `shape` is (..., c_in, c_out), so the fan-in is the
    product of all sizes but the last; `rng` is a numpy Generator.
    """
    raise NotImplementedError


def orthogonal(n, rng):
    """Draw a weight (n, n) whose singular values are all sqrt(2): sqrt(2) times an orthogonal matrix.

    No direction shall be preferred: mind the signs that ``np.linalg.qr`` chooses. `rng` is a numpy Generator.
    """
    raise NotImplementedError


def scaled_to_data(weights, x):
    """Return new weights, each a multiple of that given, for which every layer's output on x has mean square 1.

    The net is ``relu(relu(x @ w0) @ w1) @ w2 ...``, and the output meant is that before the ReLU. `weights` is a list
    of arrays (c_in, c_out), x is (n, c_in). Leave them as they are.
    """
    raise NotImplementedError
