"""Checks of chapter 7: what is a net?"""

import numpy as np


def check_merged(work):
    """Multiply out (x @ w1 + b1) @ w2 + b2. What is multiplied by x is the weights; everything else is the bias."""
    rng = np.random.default_rng(0)
    for c_in, c, c_out in ((5, 4, 3), (3, 3, 3)):
        x, w1, b1, w2, b2 = (rng.standard_normal(s) for s in ((8, c_in), (c_in, c), (c,), (c, c_out), (c_out,)))
        w, b = work.merged(w1, b1, w2, b2)
        assert np.shape(w) == (c_in, c_out), f"expected weights of shape ({c_in}, {c_out}), got {np.shape(w)}"
        assert np.shape(b) == (c_out,), f"expected a bias of shape ({c_out},), got {np.shape(b)}"
        worst = np.abs((x @ w1) @ w2 - x @ w).max()
        assert worst < 1e-10, f"with both biases 0, the outputs of two layers and of one layer differ by {worst:.1g}"
        worst = np.abs((x @ w1 + b1) @ w2 + b2 - (x @ w + b)).max()
        assert worst < 1e-10, f"with the biases, the outputs of two layers and of one layer differ by {worst:.1g}"


def check_interpolating_net(work):
    """Each unit is 0 up to its fold b[k] and then rises with slope v[k]. So the slope of the graph changes by v[k] at
    b[k]. Which changes of slope do the given points need? Left of all folds, y is c.
    """
    cases = [([0.0, 1.0], [2.0, 5.0]), ([-1.0, 0.5, 2.0, 2.5], [3.0, -1.0, 4.0, 4.0])]
    for positions, values in cases:
        positions, values = np.array(positions), np.array(values)
        v, b, c = work.interpolating_net(positions, values)
        lines = len(positions) - 1
        assert np.shape(v) == np.shape(b) == (lines,), (
            f"{len(positions)} points are joined by {lines} lines: expected v and b of shape ({lines},), "
            f"got {np.shape(v)} and {np.shape(b)}"
        )
        x = np.linspace(positions[0] - 2, positions[-1], 301)
        y = np.maximum(x[:, None] - b, 0) @ v + c
        expected = np.interp(x, positions, values)  # constant left of the first position
        worst = np.abs(y - expected).argmax()
        assert abs(y[worst] - expected[worst]) < 1e-9, (
            f"points at {positions}: at x = {x[worst]:.2f} expected {expected[worst]:.3f}, got {y[worst]:.3f}"
        )


def check_convolution_matrix(work):
    """Column q of the matrix has the weights with which the pixels are summed for output pixel q. w[0] belongs to pixel
    q.
    """
    rng = np.random.default_rng(0)
    for taps, size in ((3, 10), (2, 5), (4, 4), (1, 3)):
        w, x = rng.standard_normal(taps), rng.standard_normal(size)
        matrix = work.convolution_matrix(w, size)
        shape = (size, size - taps + 1)
        assert np.shape(matrix) == shape, f"{taps} taps, {size} pixels: expected shape {shape}, got {np.shape(matrix)}"
        expected = np.correlate(x, w)
        assert np.allclose(x @ matrix, expected), (
            f"w = {w.round(2)}, x = {x.round(2)}: expected {expected.round(2)}, got {(x @ matrix).round(2)}"
        )
