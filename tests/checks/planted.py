"""Operators with a fault planted on purpose, which the tests of the checks share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import minigrad as mg


def planted(forward: Callable[..., Any], rule: Callable[..., Any]) -> Any:
    """Make an operator of a right forward function and a wrong joint rule; x, w, g are arrays."""
    operator = mg.operator(forward)
    operator.vjp(rule)
    return operator


def added(error: Callable[[Any], Any], k: int = 0, slope: float = 2.0) -> Any:
    """Return a function of any number of inputs; the gradient of input `k` is wrong by ``error(g)``.

    Its value is ``slope`` times the inputs, so a difference or a complex step has no error but rounding. The error is
    in the plain gradient and in the recorded one.
    """
    wrong = mg.operator(lambda x, /: slope * x)
    wrong.vjp(lambda g: g * slope + error(g))

    def f(*inputs: Any) -> Any:
        parts = [wrong(x) if i == k else x * slope for i, x in enumerate(inputs)]
        return parts[0] if len(parts) == 1 else mg.concatenate([part.reshape(-1) for part in parts])

    return f


def scaled(factor: float, k: int = 0, slope: float = 2.0) -> Any:
    """Return a function whose gradient in input `k` is wrong by a relative error of `factor`, in every element."""
    return added(lambda g: g * (factor * slope), k, slope)


def wrong_in_second_order(error: float, of: str) -> Any:
    """Return a function whose second derivative is wrong by a relative error, in the input or in the cotangent.

    The rule calls an operator on the input `x` or on the cotangent, and that operator's own rule is wrong.
    """
    double = scaled(error)
    if of == "cotangent":
        return planted_by_tensors(lambda x, /: x * 2.0, lambda g: double(g))
    return planted_by_tensors(lambda x, /: x * x, lambda g, x: g * double(x))


def planted_by_tensors(forward: Callable[..., Any], *rules: Callable[..., Any]) -> Any:
    """Make an operator of a right forward function and rules that work on Tensors, too."""
    operator = mg.operator(forward)
    operator.vjp(*rules)
    return operator


def one_element(error: float, place: Any, slope: float = 2.0) -> Any:
    """Return a function whose gradient is wrong in one element, by `error` times its largest element."""

    def wrong(g: Any) -> Any:
        at = np.zeros(g.shape)
        at[place] = error * slope
        return at * mg.abs(g).max() if isinstance(g, mg.Tensor) else at * np.abs(g).max()

    return added(wrong, slope=slope)


def at_call(f: Callable[..., Any], n: int, factor: float = 1.001, output: int = 0) -> tuple[Any, list[int]]:
    """Return `f`, wrong by a factor in one output when it is called for the n-th time only; and the number of calls."""
    calls = [0]

    def wrong(*inputs: Any) -> Any:
        results: Any = f(*inputs)
        several = list(results) if isinstance(results, Sequence) else [results]
        if calls[0] == n:
            several[output] = several[output] * factor
        calls[0] += 1
        return several if isinstance(results, Sequence) else several[0]

    return wrong, calls
