"""Checks of the milestone of chapter 3: broadcasting."""

import numpy as np

import minigrad as mg
from docs.exercises.checks.tape import compare, same, value

SHAPES = [((3,), (2, 3)), ((4, 1), (4, 3)), ((1, 3), (4, 3)), ((), (2, 3)), ((2, 1, 3, 1), (2, 4, 3, 2)), ((2,), (2,))]


def check_broadcast_to(work):
    """Each number of x was copied; its gradient is the sum over its copies. The copies lie along two kinds of axes.

    Axes that x lacks come first in the new shape. Axes where x has size 1 stay as axes of size 1.
    """
    rng = np.random.default_rng(0)
    for old, new in SHAPES:
        case = f"broadcast_to, from {old} to {new}"
        compare(
            work,
            case,
            lambda x, new=new: work.broadcast_to(x, new),
            lambda x, new=new: np.broadcast_to(x, new),
            rng.standard_normal(old),
        )


def check_broadcasting(work):
    """np.broadcast_shapes finds the common shape. With broadcast_to for both arguments, the operator sees one shape.

    a - b is a + (-1) * b, and a / b is a times b to the power of -1. With np.asarray(b, dtype) a number gets the dtype
    of a: as float64, it would turn a float32 result into float64. Tensor gets its operators at module level, after the
    function. For ``array * x``, NumPy multiplies x by each number of the array, and returns an array of Tensors. With
    ``Tensor.__array_ufunc__ = None`` it does nothing, and Python calls ``Tensor.__rmul__``.
    """
    rng = np.random.default_rng(0)
    for one, two in (((2, 3), (3,)), ((3,), (2, 3)), ((4, 1), (1, 3)), ((2, 3), (2, 3)), ((2, 3), ())):
        a, b = rng.standard_normal(one), rng.uniform(0.5, 2.0, two)
        for name, reference in (("add", mg.add), ("mul", mg.mul)):
            operator = getattr(work, name)
            compare(work, f"broadcasting({name}), {one} and {two}", work.broadcasting(operator), reference, a, b)
        for sign, f in {
            "+": lambda a, b: a + b,
            "*": lambda a, b: a * b,
            "-": lambda a, b: a - b,
            "/": lambda a, b: a / b,
        }.items():
            compare(work, f"a {sign} b, shapes {one} and {two}", f, f, a, b)
    x = rng.uniform(0.5, 2.0, (2, 3))
    row = np.array([1.0, -2.0, 4.0])
    for text, f in {
        "x + 2": lambda x: x + 2,
        "2 * x": lambda x: 2 * x,
        "x - 0.5": lambda x: x - 0.5,
        "x / 4.0": lambda x: x / 4.0,
        "x ** 2": lambda x: x**2,
        "x * array": lambda x: x * row,
        "array * x": lambda x: row * x,
        "array + x": lambda x: row + x,
    }.items():
        compare(work, text, f, f, x)
    for text, name, f in (("1 - x", "__rsub__", lambda x: 1 - x), ("2 / x", "__rtruediv__", lambda x: 2 / x)):
        if hasattr(work.Tensor, name):  # the task does not ask for it
            compare(work, text, f, f, x)


def check_mean(work):
    """Each of the m numbers contributes 1 / m to its mean: so each gets the gradient of its mean, divided by m."""
    x = np.random.default_rng(0).standard_normal((2, 3, 2, 4))
    for axis in (0, -1, (1, 2), (0, 1, 2, 3)):
        compare(
            work,
            f"mean over axis {axis}",
            lambda x, axis=axis: work.mean(x, axis),
            lambda x, axis=axis: x.mean(axis, keepdims=True),
            x,
        )
    y = value(work, "mean over axis 1", lambda x: work.mean(x, 1), [x])
    same("mean over axis 1", y, x.mean(1, keepdims=True))
