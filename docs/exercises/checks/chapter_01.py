"""Checks of chapter 1."""

import numpy as np


def check_derivative_by_hand(work):
    """Name each result, u = x ** 2, v = 1 + exp(u), y = log(v), and multiply the derivatives of the operations. For |x|
    of 27 and more, exp(x ** 2) is infinity in float64. The quotient has another form, in which no exponent is positive.
    """
    for x in (-2.0, -0.3, 0.0, 0.7, 3.0):
        expected = (np.log(1 + np.exp((x + 1e-30j) ** 2)) / 1e-30).imag
        got = work.derivative_by_hand(x)
        assert abs(got - expected) <= 1e-12 * max(abs(expected), 1), (
            f"at x = {x}: expected {expected:.12g}, got {got:.12g}"
        )
    for x in (-1000.0, 40.0):
        with np.errstate(all="ignore"):
            got = work.derivative_by_hand(x)
        assert got == 2 * x, f"at x = {x}: expected {2 * x}, got {got}"


def check_fourth_order_difference(work):
    """The error of the central difference of step size h is c * h ** 2 plus a term of order h ** 4, with the same c
    for every h. How large is the first term for the step size 2h? Combine the two differences so that it cancels and
    the derivative remains.
    """
    errors = [abs(work.fourth_order_difference(np.sin, 1.0, h) - np.cos(1.0)) for h in (0.1, 0.05)]
    order = np.log2(errors[0] / errors[1])
    assert abs(order - 4) < 0.1, f"for sin at 1, expected an error of order 4, got order {order:.2f}"
    asked = []

    def cubic(x):
        asked.append(x)
        return x**3 - 2 * x**2 + x

    got = work.fourth_order_difference(cubic, 1.0, 0.5)
    assert abs(got) < 1e-12, f"for x ** 3 - 2 x ** 2 + x at 1 and h = 0.5, expected exactly 0, got {got:.6g}"
    assert sorted(set(asked)) == [0.0, 0.5, 1.5, 2.0], (
        f"for x = 1 and h = 0.5, f was called at {sorted(set(asked))}, expected 0, 0.5, 1.5 and 2"
    )


def check_complex_step_gradient(work):
    """Move one entry at a time, in a complex copy of x: f(x + ih) has the imaginary part h f'(x). No difference is
    taken, so h can be 1e-30, far below rounding, at every x.
    """
    x = np.random.default_rng(0).standard_normal((2, 3))
    before = x.copy()
    got = work.complex_step_gradient(lambda x: np.sum(np.sin(x) * x[0, 0] + np.exp(x)), x)
    expected = np.cos(x) * x[0, 0] + np.exp(x)
    expected[0, 0] += np.sin(x).sum()
    assert np.array_equal(x, before), "the array x was changed"
    assert np.shape(got) == x.shape, f"expected a gradient of shape {x.shape}, got {np.shape(got)}"
    assert not np.iscomplexobj(got), "expected a gradient of real numbers, got complex numbers"
    worst = np.abs(got - expected).max()
    assert worst < 1e-14, f"the largest error is {worst:.1g}, expected less than 1e-14"
    got = work.complex_step_gradient(np.sum, np.zeros(2))
    assert np.allclose(got, 1), f"for the sum of x at x = [0, 0], expected [1, 1], got {got}"
