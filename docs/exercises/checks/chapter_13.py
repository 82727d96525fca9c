"""Checks of chapter 13: initialisation."""

import math
from itertools import pairwise

import numpy as np


def check_leaky_normal(work):
    """The variance of y is fan-in times the variance of a weight times the mean square of x, and half of the y are
    negative. Which share of the mean square of y is left after the leaky ReLU?
    """
    for slope in (0.0, 0.1, 0.5, 1.0):
        for shape in ((400, 300), (3, 3, 40, 200)):
            w = work.leaky_normal(shape, slope, np.random.default_rng(0))
            assert np.shape(w) == shape, f"expected weights of shape {shape}, got {np.shape(w)}"
            assert abs(w.mean()) < 5 * w.std() / math.sqrt(w.size), f"shape {shape}: the mean is {w.mean():.2g}, not 0"
            fan_in = math.prod(shape[:-1])
            x = np.random.default_rng(1).standard_normal((500, fan_in)) + 1
            y = x @ w.reshape(fan_in, -1)
            ratio = np.mean(np.where(y > 0, y, slope * y) ** 2) / np.mean(x**2)
            assert abs(ratio - 1) < 0.1, (
                f"slope {slope}, shape {shape}: a layer multiplies the mean square by {ratio:.2f}, not by 1"
            )
            fourth = np.mean(w**4) / np.mean(w**2) ** 2
            assert abs(fourth - 3) < 0.15, (
                f"of normal weights, the mean of w ** 4 is 3 times the squared mean of w ** 2; got {fourth:.2f} times"
            )
    first, again = (work.leaky_normal((8, 8), 0.1, np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(first, again), "two generators with the same seed gave different weights"


def check_orthogonal(work):
    """np.linalg.qr of a normal matrix gives an orthogonal Q, but LAPACK fixes the signs of its columns in a way that
    depends on the algorithm. The diagonal of R tells which columns it has turned.
    """
    for n in (1, 4, 30):
        w = work.orthogonal(n, np.random.default_rng(n))
        assert np.shape(w) == (n, n), f"expected a shape of ({n}, {n}), got {np.shape(w)}"
        singular = np.linalg.svd(w, compute_uv=False)
        assert np.allclose(singular, math.sqrt(2)), (
            f"n={n}: expected singular values of sqrt(2), got values from {singular[-1]:.3f} to {singular[0]:.3f}"
        )
    rng = np.random.default_rng(0)
    draws = np.array([work.orthogonal(3, rng) for _ in range(2000)])
    assert np.abs(draws.mean(0)).max() < 0.1, (
        f"over 2,000 draws, expected a mean of 0 for all entries, got\n{draws.mean(0).round(2)}"
    )
    squares = (draws**2).mean(0)
    assert np.allclose(squares, 2 / 3, atol=0.08), (
        f"expected the same mean square, 2/3, for all entries, got\n{squares.round(2)}"
    )


def check_scaled_to_data(work):
    """Multiply a weight by a number, and its output is multiplied by the same number. The input of the next layer comes
    from the scaled weights of the layers before, with a ReLU between two layers.
    """
    rng = np.random.default_rng(0)
    sizes = (10, 40, 25, 30, 6)
    weights = [rng.standard_normal(s) * scale for s, scale in zip(pairwise(sizes), (5, 0.01, 1, 0.3), strict=True)]
    x = rng.exponential(2.0, (64, 10))
    given = [w.copy() for w in [*weights, x]]
    scaled = work.scaled_to_data(weights, x)
    assert all(map(np.array_equal, given, [*weights, x])), "an argument was changed"
    assert len(scaled) == len(weights), f"expected {len(weights)} weights, got {len(scaled)}"
    signal = x
    for i, (w, before) in enumerate(zip(scaled, weights, strict=True)):
        ratio = w / before
        assert ratio.min() > 0, (
            f"layer {i}: expected a positive multiple of the given weights, got a factor of {ratio.min():.3g}"
        )
        assert np.allclose(ratio, ratio[0, 0]), (
            f"layer {i}: expected one factor for all weights, got factors from {ratio.min():.3g} to {ratio.max():.3g}"
        )
        y = signal @ w
        assert abs(np.mean(y**2) - 1) < 1e-9, f"layer {i}: expected an output of mean square 1, got {np.mean(y**2):.3g}"
        signal = np.maximum(y, 0)
