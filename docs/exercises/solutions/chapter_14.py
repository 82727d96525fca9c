"""Solutions of chapter 14, plain nets and the degradation problem."""

import numpy as np


def identity_kernel(k, c):
    """Return zeros, with the unit matrix in the middle tap."""
    w = np.zeros((k, k, c, c), "float32")
    w[k // 2, k // 2] = np.eye(c)
    return w


def diagnosis(shallow, deep):
    """Compare the training errors first, then the test errors."""
    if deep[0] > shallow[0]:
        return "degradation"
    return "overfitting" if deep[1] > shallow[1] else "nothing"


def neutral_batch_norm(x, eps):
    """Multiply by the standard deviation and add the mean, which batch norm removes."""
    pixels = (0, 1, 2)
    return np.sqrt(x.var(pixels) + eps), x.mean(pixels)
