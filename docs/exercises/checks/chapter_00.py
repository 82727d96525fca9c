"""Checks of chapter 0: what you need to know."""

import numpy as np


def check_taylor_polynomial(work):
    """Term k is the k-th derivative, times h ** k, divided by k factorial. Only sums and products with h are needed, so
    an array h works as a number does.
    """
    got = work.taylor_polynomial([7.0], 0.5)
    assert got == 7, f"the polynomial of degree 0 is f(x) everywhere: expected 7, got {got}"
    got = work.taylor_polynomial([1.0, 3.0, 6.0, 6.0], 2.0)  # f = t ** 3 at 1
    assert abs(got - 27) < 1e-12, f"f(t) = t ** 3 at x = 1, h = 2: expected 27, got {got:.6g}"
    h = np.linspace(-0.5, 0.5, 6).reshape(2, 3)
    got = work.taylor_polynomial([1.0] * 9, h)
    assert np.shape(got) == (2, 3), f"h has shape (2, 3), so the result has it, too; got {np.shape(got)}"
    worst = np.abs(got - np.exp(h)).max()
    assert worst < 1e-8, f"the polynomial of degree 8 of exp at 0 is wrong by {worst:.1g}"


def check_jacobian(work):
    """Move one input at a time, in a copy of x: this gives the derivatives of all results by this input. Are they a row
    or a column, if the shape is (results, inputs)? A central difference needs f twice: at x + h and at x - h, which are
    2 h apart. With f(x + h) - f(x), the error would be about as large as h.
    """
    moved = []

    def f(x):
        moved.append(x)
        return np.array([x[0] * x[1], np.sin(x[2]), x[0] + x[2] ** 2, np.exp(x[1])])

    x = np.array([0.5, -1.0, 2.0])
    expected = np.array([[-1.0, 0.5, 0], [0, 0, np.cos(2.0)], [1, 0, 4], [0, np.exp(-1.0), 0]])
    got = work.jacobian(f, x)
    assert np.array_equal(x, [0.5, -1.0, 2.0]), "the array x was changed"
    assert np.shape(got) == (4, 3), f"expected the shape (results, inputs) = (4, 3), got {np.shape(got)}"
    worst = np.abs(got - expected).max()
    assert worst < 1e-8, f"the largest error of an entry is {worst:.1g}, expected less than 1e-8"
    steps = np.array([np.abs(at - x).max() for at in moved])
    assert np.allclose(steps[steps > 0], 1e-5, rtol=1e-6), (
        f"expected steps of 1e-5 in each input, got steps from {steps[steps > 0].min():.3g} to {steps.max():.3g}"
    )
    got = work.jacobian(lambda x: 3 * x, np.zeros(1))
    assert np.shape(got) == (1, 1), f"one input and one result: expected the shape (1, 1), got {np.shape(got)}"


def check_weighted_sum(work):
    """The mean of a sum is the sum of the means. The variance of w * x is w ** 2 times the variance of x, and variances
    of independent numbers add up.
    """
    rng = np.random.default_rng(0)
    weights, means, variances = np.array([2.0, -1.0, 0.5]), np.array([1.0, 4.0, -2.0]), np.array([1.0, 0.25, 9.0])
    x = means + np.sqrt(variances) * rng.standard_normal((400_000, 3))
    y = x @ weights
    for name, got, drawn in zip(
        ("mean", "variance"), work.weighted_sum(weights, means, variances), (y.mean(), y.var()), strict=True
    ):
        assert abs(got - drawn) < 0.05, f"400,000 draws have the {name} {drawn:.2f}, got {got:.2f}"
