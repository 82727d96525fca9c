"""Exercises of chapter 3: broadcasting and its rule."""

import numpy as np


def unbroadcast(g, shape):
    """Return the array g, summed to `shape`, a shape that broadcasts to g.shape.

    If the two shapes are equal, return g itself.
    """
    raise NotImplementedError


def pairwise_rule(g, a, b):
    """Return (da, db), the gradients of a and b, for d[i, j] = sum over k of (a[i, k] - b[j, k]) ** 2.

    g has shape (i, j) and is the gradient of d; a has shape (i, k), b has shape (j, k).
    """
    raise NotImplementedError


def centre_rule(g, x):
    """Return the gradient of x for y = x - x.mean(axis=1, keepdims=True); g is the gradient of y; all are (n, c)."""
    raise NotImplementedError
