"""Proofs that a gradient is right, for any function of Tensors and any operator.

Reading order: differences (finite differences, for every function), identities (sharper tests, for analytic, linear or
smooth functions), operators (all checks at once, and what a rule must not do).
"""

from minigrad.checks.differences import GradientError, gradcheck, gradgradcheck
from minigrad.checks.identities import adjoint_check, complex_step_check, taylor_check
from minigrad.checks.operators import check_operator

__all__ = ["GradientError", "gradcheck", "gradgradcheck"]
__all__ += ["adjoint_check", "check_operator", "complex_step_check", "taylor_check"]
