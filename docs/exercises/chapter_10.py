"""Exercises of chapter 10: SGD with momentum."""

import math

import numpy as np


def largest_stable_rate(hessian, momentum):
    """Return the learning rate up to which SGD with this momentum is stable on L(w) = ``w @ H @ w / 2``.

    H, the `hessian` (k, k), is symmetric and positive definite, and need not be diagonal.
    """
    raise NotImplementedError


def best_settings(smallest, largest):
    """Return (lr, momentum), the best for a bowl whose curvatures lie between `smallest` and `largest`."""
    raise NotImplementedError


def restart_factor(iteration, period):
    """Return the factor of the learning rate, from 1 at the beginning of a period along half a cosine wave towards 0.

    The first period takes iterations 0 to ``period - 1``, the next is twice as long, and so on. In iteration t of a
    period of T, the factor is ``(1 + cos(pi t / T)) / 2``. Keep no state: the iteration says it all.
    """
    raise NotImplementedError
