"""Softmax, and the losses: cross-entropy and the mean squared error.

Next: :mod:`minigrad.ops.methods`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minigrad.arguments import as_int, expect
from minigrad.autograd.operator import operator
from minigrad.autograd.signatures import composed
from minigrad.autograd.tensor import Tensor
from minigrad.device import add_up, is_array, namespace, on_host
from minigrad.ops.elementwise import exp
from minigrad.ops.reduction import count, mean, sum
from minigrad.ops.shape import getitem
from minigrad.typing import Array, Saved, TensorOrArray


@operator
@np.errstate(under="ignore")  # the exp of a large negative number is 0
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
    e: Array = xp.exp(x - xp.real(x).max(axis=axis, keepdims=True))  # exp of the largest is 1, so no exp overflows
    return e / add_up(e, axis, keepdims=True)


softmax.vjp(lambda g, out, axis: out * (g - sum(g * out, axis, True)))


@operator
@np.errstate(under="ignore")  # the exp of a large negative number is 0
def log_softmax(x: Array, /, axis: int = -1) -> Array:
    """x - log sum exp(x) along an axis.   dx = g - exp(out) sum(g)

    Infinity in x makes all results along the axis NaN, as in :func:`softmax`; minus infinity is a probability of 0.

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
    shifted: Array = x - xp.real(x).max(axis=axis, keepdims=True)
    return shifted - xp.log(add_up(xp.exp(shifted), axis, keepdims=True))


log_softmax.vjp(lambda g, out, axis: g - exp(out) * sum(g, axis, True))


def _one_axis(name: str, x: Array, axis: int) -> None:
    """Refuse an axis that is not one axis of x, and an x without elements along it."""
    expect(as_int(axis) is not None, name, "axis to be an int", repr(axis))
    count(name, x, axis)


def cross_entropy_twin(logits: TensorOrArray, labels: Array) -> TensorOrArray:
    """Pick the log-probability of each label, and average."""
    return -mean(getitem(log_softmax(logits), (np.arange(len(labels)), labels)))


@operator
def _cross_entropy(logits: Array, /, *, labels: Array) -> Saved:
    """The operator behind :func:`cross_entropy`: the labels are a setting."""
    xp = namespace(logits)
    log_p = log_softmax(logits)
    picked = xp.arange(len(labels)), xp.asarray(labels)
    return -log_p[picked].mean(), {"log_p": log_p, "picked": picked}


@_cross_entropy.vjp
def _(g: Array, *, log_p: Array, picked: tuple[Array, Array], need: tuple[bool, ...]) -> tuple[Array]:
    """d logits = g (softmax - one at the label) / n"""
    dlogits = namespace(log_p).exp(log_p)
    dlogits[picked] -= 1
    dlogits *= g / len(dlogits)
    return (dlogits,)


_cross_entropy.twin(cross_entropy_twin)


@composed
def cross_entropy(logits: TensorOrArray, labels: Array | Sequence[int]) -> TensorOrArray:
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
    if isinstance(labels, Tensor):
        raise TypeError(
            "cross_entropy: labels is a setting, through which no gradient flows; pass its array: labels.data"
        )
    given: Array = labels.copy() if is_array(labels) else np.array(labels)  # a copy: the caller may overwrite it
    if logits.ndim != 2 or given.shape != logits.shape[:1] or logits.shape[0] == 0:
        raise ValueError(
            f"cross_entropy: expected logits (n, classes) and labels (n,) with n > 0, got {tuple(logits.shape)} and "
            f"{tuple(given.shape)}"
        )
    if given.dtype.kind not in "iu":
        raise TypeError(
            f"cross_entropy: expected labels of integers, got {given.dtype}; for probabilities use log_softmax"
        )
    classes = logits.shape[1]
    if on_host(given) and (given.min() < 0 or given.max() >= classes):  # on a device, looking would wait for it
        raise ValueError(
            f"cross_entropy: labels go from {given.min()} to {given.max()}, but there are {classes} classes"
        )
    return _cross_entropy(logits, labels=given)


@composed
def mse_loss(x: TensorOrArray, y: TensorOrArray) -> TensorOrArray:
    """The mean of (x - y) ** 2.

    Parameters
    ----------
    x, y : Tensor or array of one shape

    Raises
    ------
    ValueError
        If the shapes differ; a loss does not broadcast.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.mse_loss(mg.Tensor([1.0, 3.0]), mg.Tensor([0.0, 0.0]))
    Tensor(5.)
    """
    shapes = f"{tuple(x.shape)} and {tuple(y.shape)}"
    expect(tuple(x.shape) == tuple(y.shape), "mse_loss", "x and y of one shape", shapes)
    difference = x - y
    return mean(difference * difference)
