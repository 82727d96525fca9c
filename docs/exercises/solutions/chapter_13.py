"""Solutions of chapter 13: initialisation."""

import math

import numpy as np


def leaky_normal(shape, slope, rng):
    """Draw normal weights: half of the squares stay the same, the other half is multiplied by slope ** 2."""
    fan_in = math.prod(shape[:-1])
    return rng.standard_normal(shape) * math.sqrt(2 / ((1 + slope**2) * fan_in))


def orthogonal(n, rng):
    """Draw an orthogonal matrix from the QR decomposition of a normal one.

    Q is unique only up to the sign of each column. Multiply each column by the sign of R's diagonal element. Then, as
    for the normal matrix, all directions are equally likely.
    """
    q, r = np.linalg.qr(rng.standard_normal((n, n)))
    return math.sqrt(2) * q * np.sign(np.diag(r))


def scaled_to_data(weights, x):
    """Return scaled weights: start at the first layer, because the input of a layer depends on the layers before it."""
    scaled = []
    for w in weights:
        size = math.sqrt(np.mean((x @ w) ** 2))
        scaled.append(w / size)
        x = np.maximum(x @ scaled[-1], 0)
    return scaled
