"""Solutions of chapter 7: what is a net?"""

import numpy as np


def merged(w1, b1, w2, b2):
    """Multiply out: x w1 w2 + b1 w2 + b2."""
    return w1 @ w2, b1 @ w2 + b2


def interpolating_net(positions, values):
    """Put a fold at each position but the last; the weight of a fold is the change of slope there.

    Left of the first position, all units are 0, so c is the first value, and the slope is 0.
    """
    slopes = np.diff(values) / np.diff(positions)
    return np.diff(slopes, prepend=0), positions[:-1], values[0]


def convolution_matrix(w, size):
    """Write the kernel into each column, one pixel further down each time."""
    outputs = size - len(w) + 1
    matrix = np.zeros((size, outputs))
    for q in range(outputs):
        matrix[q : q + len(w), q] = w
    return matrix
