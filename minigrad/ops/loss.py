"""Softmax, and the losses: cross-entropy and the mean squared error.

Next: :mod:`minigrad.checks`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.autograd.operator import expect_arrays, operator
from minigrad.autograd.tensor import Tensor
from minigrad.device import is_array, namespace
from minigrad.ops.elementwise import exp
from minigrad.ops.reduction import _count, mean, sum
from minigrad.ops.shape import getitem
from minigrad.typing import Array


@operator
def softmax(x: Array, /, axis: int = -1) -> Array:
    """exp(x) / sum exp(x) along an axis.   dx = out (g - sum(g out))

    Parameters
    ----------
    x : Tensor or array
    axis : int

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.softmax(mg.Tensor([1000.0, 1000.0]))
    Tensor([0.5, 0.5])
    """
    _one_axis("softmax", x, axis)
    xp = namespace(x)
    e = xp.exp(x - x.real.max(axis=axis, keepdims=True))  # the largest is 1: nothing overflows
    return e / e.sum(axis=axis, keepdims=True)


softmax.vjp(lambda g, out, axis: out * (g - sum(g * out, axis, True)))


@operator
def log_softmax(x: Array, /, axis: int = -1) -> Array:
    """x - log sum exp(x) along an axis.   dx = g - exp(out) sum(g)

    Parameters
    ----------
    x : Tensor or array
    axis : int

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.log_softmax(mg.Tensor([0.0, -1000.0]))
    Tensor([    0., -1000.])
    """
    _one_axis("log_softmax", x, axis)
    xp = namespace(x)
    shifted = x - x.real.max(axis=axis, keepdims=True)
    return shifted - xp.log(xp.exp(shifted).sum(axis=axis, keepdims=True))


log_softmax.vjp(lambda g, out, axis: g - exp(out) * sum(g, axis, True))


def _one_axis(name: str, x: Any, axis: Any) -> None:
    """Refuse an axis that is not one axis of x."""
    if not hasattr(axis, "__index__"):
        raise ValueError(f"{name}: expected axis to be an int, got {axis!r}")
    _count(name, x, axis)


def cross_entropy(logits: Any, labels: Any) -> Any:
    """The mean of -log softmax(logits) at the labels.

    Parameters
    ----------
    logits : Tensor or array of shape (n, classes)
    labels : array of ints of shape (n,)
        From 0 to classes - 1.

    Returns
    -------
    Tensor or array with no axes

    Raises
    ------
    TypeError
        If labels are not integers.
    ValueError
        If shapes do not fit, there is nothing to average, or a label is out of range.

    Examples
    --------
    >>> import minigrad as mg
    >>> round(mg.cross_entropy(mg.Tensor([[0.0, 0.0], [0.0, 0.0]]), np.array([0, 1])).item(), 4)
    0.6931
    """
    expect_arrays("cross_entropy", logits=logits)
    if isinstance(labels, Tensor):
        raise TypeError(
            "cross_entropy: labels is a setting, through which no gradient flows; pass its array: labels.data"
        )
    labels = labels.copy() if is_array(labels) else np.array(labels)  # the rule will want them as they are now
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or logits.shape[0] == 0:
        raise ValueError(
            f"cross_entropy: expected logits (n, classes) and labels (n,) with n > 0, got {tuple(logits.shape)} and "
            f"{tuple(labels.shape)}"
        )
    if labels.dtype.kind not in "iu":
        raise TypeError(
            f"cross_entropy: expected labels of integers, got {labels.dtype}; for probabilities use log_softmax"
        )
    classes = logits.shape[1]
    if isinstance(labels, np.ndarray) and (
        labels.min() < 0 or labels.max() >= classes
    ):  # elsewhere this would wait for the device
        raise ValueError(
            f"cross_entropy: labels go from {labels.min()} to {labels.max()}, but there are {classes} classes"
        )
    return _cross_entropy(logits, labels=labels)


@operator
def _cross_entropy(logits: Array, /, *, labels: Array) -> Any:
    """The operator behind :func:`cross_entropy`: the labels are a setting."""
    xp = namespace(logits)
    log_p = log_softmax(logits)
    picked = xp.arange(len(labels)), xp.asarray(labels)
    return -log_p[picked].mean(), {"log_p": log_p, "picked": picked}


@_cross_entropy.vjp
def _(g: Array, *, log_p: Array, picked: Any, need: tuple[bool, ...]) -> Any:
    """d logits = g (softmax - one at the label) / n"""
    dlogits = namespace(log_p).exp(log_p)
    dlogits[picked] -= 1
    dlogits *= g / len(dlogits)
    return (dlogits,)


@_cross_entropy.twin
def cross_entropy_definition(logits: Any, labels: Array) -> Any:
    """Pick the log-probability of each label, and average."""
    return -mean(getitem(log_softmax(logits), (np.arange(len(labels)), labels)))


def mse_loss(x: Any, y: Any) -> Any:
    """The mean of (x - y) ** 2.

    Parameters
    ----------
    x, y : Tensor or array of one shape

    Raises
    ------
    ValueError
        If the shapes differ: broadcasting here would be a mistake.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.mse_loss(mg.Tensor([1.0, 3.0]), mg.Tensor([0.0, 0.0]))
    Tensor(5.)
    """
    expect_arrays("mse_loss", x=x, y=y)
    if tuple(x.shape) != tuple(y.shape):
        raise ValueError(f"mse_loss: expected two of one shape, got {tuple(x.shape)} and {tuple(y.shape)}")
    difference = x - y
    return mean(difference * difference)
