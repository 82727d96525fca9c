"""Is this gradient right? Tools to prove a rule, for any function of Tensors and any operator.

Reading order: differences (finite differences, for everything), identities (sharper tests, for what is analytic,
linear or smooth), operators (all of them at once, and what a rule must not do).
"""

from minigrad.checks.differences import GradientError, gradcheck, gradgradcheck
from minigrad.checks.identities import adjoint_check, complex_step_check, taylor_check
from minigrad.checks.operators import check_operator

__all__ = [
    "GradientError",
    "adjoint_check",
    "check_operator",
    "complex_step_check",
    "gradcheck",
    "gradgradcheck",
    "taylor_check",
]
