"""Checks of chapter 1."""

import numpy as np


def check_derivative_by_hand(work):
    for x in (-2.0, -0.3, 0.0, 0.7, 3.0):
        expected = (np.log(1 + np.exp((x + 1e-30j) ** 2)) / 1e-30).imag
        got = work.derivative_by_hand(x)
        assert abs(got - expected) <= 1e-12 * max(abs(expected), 1), (
            f"at x = {x}: expected {expected:.12g}, got {got:.12g}"
        )
    for x in (-1000.0, 40.0):
        with np.errstate(all="ignore"):
            got = work.derivative_by_hand(x)
        assert got == 2 * x, f"at x = {x} the derivative is {2 * x}, got {got}: does an exponential overflow?"


def check_fourth_order_difference(work):
    errors = [abs(work.fourth_order_difference(np.sin, 1.0, h) - np.cos(1.0)) for h in (0.1, 0.05)]
    order = np.log2(errors[0] / errors[1])
    assert abs(order - 4) < 0.1, f"expected an error of order 4, got order {order:.2f}"
    asked = []

    def cubic(x):
        asked.append(x)
        return x**3 - 2 * x**2 + x

    got = work.fourth_order_difference(cubic, 1.0, 0.5)
    assert abs(got) < 1e-12, f"the result is exact for a polynomial of degree 3: expected 0, got {got:.6g}"
    assert sorted(set(asked)) == [0.0, 0.5, 1.5, 2.0], f"f was called at {sorted(set(asked))}, not at 0, 0.5, 1.5, 2"


def check_complex_step_gradient(work):
    x = np.random.default_rng(0).standard_normal((2, 3))
    before = x.copy()
    got = work.complex_step_gradient(lambda x: np.sum(np.sin(x) * x[0, 0] + np.exp(x)), x)
    expected = np.cos(x) * x[0, 0] + np.exp(x)
    expected[0, 0] += np.sin(x).sum()
    assert np.array_equal(x, before), "x was changed; change a copy instead"
    assert np.shape(got) == x.shape, f"expected a gradient of shape {x.shape}, got {np.shape(got)}"
    assert not np.iscomplexobj(got), "expected a gradient of real numbers, got complex numbers"
    worst = np.abs(got - expected).max()
    assert worst < 1e-14, f"the error is {worst:.1g}; a complex step gives all 16 digits if it is small enough"
    assert np.allclose(work.complex_step_gradient(np.sum, np.zeros(2)), 1), "wrong at 0: is the step proportional to x?"
