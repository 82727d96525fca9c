"""Checks of the milestone of chapter 4: matrices."""

import numpy as np

from docs.exercises.checks.tape import compare


def check_matmul(work):
    """Only one product of g (m, n) with the other matrix has the shape of the argument."""
    rng = np.random.default_rng(0)
    for m, k, n in ((4, 3, 5), (1, 3, 2), (3, 1, 1)):
        a, b = rng.standard_normal((m, k)), rng.standard_normal((k, n))
        compare(work, f"({m}, {k}) @ ({k}, {n})", lambda a, b: work.matmul(a, b), np.matmul, a, b)


def check_reshape(work):
    """No number changes, so the gradient has the same numbers, too: in the shape of x."""
    x = np.random.default_rng(0).standard_normal((2, 3, 4))
    for shape in ((6, 4), (24,), (2, 3, 4), (4, 1, 6)):
        case = f"from (2, 3, 4) to {shape}"
        compare(work, case, lambda x, s=shape: work.reshape(x, s), lambda x, s=shape: x.reshape(s), x)
