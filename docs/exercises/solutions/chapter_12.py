"""Solutions of chapter 12: SGD with momentum."""

import math

import numpy as np


def largest_stable_rate(hessian, momentum):
    """Return 2 (1 + m) over the largest curvature: along the eigenvectors of H, the loss is the bowl of the chapter."""
    return 2 * (1 + momentum) / np.linalg.eigvalsh(hessian)[-1]


def best_settings(smallest, largest):
    """Return Polyak's settings: the ends of the range of curvatures are the ends of the complex interval."""
    low, high = math.sqrt(smallest), math.sqrt(largest)
    return (2 / (high + low)) ** 2, ((high - low) / (high + low)) ** 2


def restart_factor(iteration, period):
    """Return the factor: first subtract the lengths of the earlier periods."""
    while iteration >= period:
        iteration, period = iteration - period, 2 * period
    return (1 + math.cos(math.pi * iteration / period)) / 2
