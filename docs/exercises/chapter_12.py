"""Exercises of chapter 12: SGD with momentum."""

import math

import numpy as np


def largest_stable_rate(hessian, momentum):
    """Return the largest learning rate at which SGD with this momentum is stable on L(w) = ``w @ H @ w / 2``.

    H is the `hessian` (k, k). It is symmetric and positive definite, but need not be diagonal.
    """
    raise NotImplementedError


def best_settings(smallest, largest):
    """Return the best (lr, momentum) for a bowl whose curvatures lie between `smallest` and `largest`."""
    raise NotImplementedError


def restart_factor(iteration, period):
    """Return the factor of the learning rate: in each period it falls from 1 towards 0, along half a cosine wave.

    The first period has the iterations 0 to ``period - 1``, the next is twice as long, and so on. In iteration t of a
    period of length T, the factor is ``(1 + cos(pi t / T)) / 2``. Keep no state: the result depends on the arguments
    only.
    """
    raise NotImplementedError
