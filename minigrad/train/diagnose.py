"""Numbers that are not finite: which arrays hold them, and which operator made the first NaN.

Next: :mod:`minigrad.train.signals`.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from minigrad.autograd.modes import detect_anomaly
from minigrad.autograd.tensor import Tensor
from minigrad.device import namespace
from minigrad.nn.module import Module, Parameter
from minigrad.typing import Array


def names_not_finite(arrays: Iterable[tuple[str, Array]]) -> str:
    """Return the names of the arrays that hold NaNs or infinities, as a list to read; empty if all are finite.

    Examples
    --------
    >>> names_not_finite([("w", np.array([1.0, np.nan])), ("b", np.zeros(2)), ("c", np.array(np.inf))])
    'w, c'
    """
    finite = {name: namespace(array).isfinite(array).all() for name, array in arrays}
    if functools.reduce(operator.and_, finite.values(), True):  # wait for a device once, not for each array
        return ""
    names = [name for name, is_finite in finite.items() if not is_finite]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def fault(loss: float, parameters: Mapping[str, Parameter]) -> str:
    """Return what is wrong with the numbers of an iteration after its backward; empty if all are finite.

    Examples
    --------
    >>> fault(math.inf, {})
    'the loss became inf'
    """
    if not math.isfinite(loss):
        return f"the loss became {loss}"
    names = names_not_finite((name, p.grad.data) for name, p in parameters.items() if p.grad is not None)
    return f"the gradient of {names} is not finite" if names else ""


def cause(model: Module, loss: Callable[[Tensor, Any], Tensor], x: Tensor, y: Array) -> str:
    """Repeat an iteration operator by operator, and return what made the first number that is not finite.

    Generators that the layers draw from must be in the state that they had when the iteration began.

    Examples
    --------
    >>> import minigrad as mg
    >>> net = mg.nn.Linear(2, 2, rng=0)
    >>> cause(net, mg.cross_entropy, mg.Tensor([[1.0, np.nan]]), np.array([0]))
    'the images are not finite'
    """
    if names_not_finite([("images", x.data)]):
        return "the images are not finite"
    if names := names_not_finite((name, p.data) for name, p in model.named_parameters()):
        return f"{names} was not finite before it; try a lower rate, or a longer warm-up"
    try:
        with detect_anomaly(), np.errstate(all="ignore"):
            loss(model(x), y).backward()
    except FloatingPointError as error:
        return str(error)
    return "no operator made a NaN, but numbers left the range of the dtype; try a lower rate, or a longer warm-up"
