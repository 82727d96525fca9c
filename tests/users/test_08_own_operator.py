"""An operator of one's own, checked by finite differences, and refused when its rule is wrong."""

import numpy as np
import pytest

import minigrad as mg


@mg.elementwise
def isru(x, /):
    """x / sqrt(1 + x**2).   dx = g (1 + x**2)**-1.5"""
    return x * (1 + x * x) ** -0.5


isru.vjp(lambda g, x: g * (1 + x * x) ** -1.5)


@mg.elementwise
def wrong(x, /):
    """x / sqrt(1 + x**2), with a rule that forgets a factor."""
    return x * (1 + x * x) ** -0.5


wrong.vjp(lambda g, x: g * (1 + x * x) ** -0.5)


def test_the_operator_is_proven():
    mg.check_operator(isru, [(np.random.default_rng(0).standard_normal((3, 4)),)])


def test_a_wrong_rule_is_refused():
    with pytest.raises(AssertionError):
        mg.check_operator(wrong, [(np.random.default_rng(0).standard_normal((3, 4)),)])


def test_its_derivatives_of_both_orders():
    x = mg.Tensor([0.0, 1.0, -2.0], requires_grad=True)
    (dx,) = mg.grad(isru(x).sum(), x, create_graph=True)
    np.testing.assert_allclose(dx.numpy(), [1.0, 2**-1.5, 5**-1.5], rtol=1e-6)
    (ddx,) = mg.grad(dx.sum(), x)
    np.testing.assert_allclose(ddx.numpy(), [0.0, -3 * 2**-2.5, 6 * 5**-2.5], rtol=1e-6)
