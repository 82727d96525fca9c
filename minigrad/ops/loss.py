"""Softmax, and the losses: cross-entropy, of classes and of yes or no, and the mean squared error.

Next: :mod:`minigrad.ops.methods`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minigrad.arguments import as_int, expect, number
from minigrad.autograd.operator import operator
from minigrad.autograd.signatures import composed
from minigrad.autograd.tensor import Tensor
from minigrad.device import add_up, is_array, namespace, on_host
from minigrad.ops.elementwise import exp
from minigrad.ops.functions import astype, softplus
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


# Labels --------------------------------------------------------------------------------------


@composed
def nll_loss(log_p: TensorOrArray, labels: Array | Sequence[int]) -> TensorOrArray:
    """The mean of -log_p at the labels: the negative log-likelihood, cross-entropy of log-probabilities.

    Parameters
    ----------
    log_p : Tensor or array of shape (n, classes)
        For example from :func:`log_softmax`.
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
    >>> mg.nll_loss(mg.log_softmax(mg.Tensor([[0.0, 0.0]])), [1])
    Tensor(0.6931472)
    """
    return _nll(log_p, _checked("nll_loss", "log_p", log_p, labels))


def _nll(log_p: TensorOrArray, labels: Array) -> TensorOrArray:
    """Pick the log-probability of each label, and average."""
    return -mean(getitem(log_p, (np.arange(len(labels)), labels)))


def cross_entropy_twin(logits: TensorOrArray, labels: Array, label_smoothing: float) -> TensorOrArray:
    """Average the log-probabilities at the labels and, with the weight of the smoothing, over all classes."""
    log_p = log_softmax(logits)
    loss = _nll(log_p, labels)
    return (1 - label_smoothing) * loss - label_smoothing * mean(log_p) if label_smoothing else loss


@operator
def _cross_entropy(logits: Array, /, *, labels: Array, label_smoothing: float) -> Saved:
    """The operator behind :func:`cross_entropy`: the labels are a setting."""
    xp = namespace(logits)
    log_p = log_softmax(logits)
    picked = xp.arange(len(labels)), xp.asarray(labels)
    loss = -log_p[picked].mean()
    if label_smoothing:
        loss = (1 - label_smoothing) * loss - label_smoothing * log_p.mean()
    return loss, {"log_p": log_p, "picked": picked}


@_cross_entropy.vjp
def _(
    g: Array, *, log_p: Array, picked: tuple[Array, Array], label_smoothing: float, need: tuple[bool, ...]
) -> tuple[Array]:
    """d logits = g (softmax - target) / n; the target is 1 at the label or, smoothed, a share of it everywhere."""
    dlogits = namespace(log_p).exp(log_p)
    dlogits -= label_smoothing / dlogits.shape[1]
    dlogits[picked] -= 1 - label_smoothing
    dlogits *= g / len(dlogits)
    return (dlogits,)


_cross_entropy.twin(cross_entropy_twin)


@composed
def cross_entropy(
    logits: TensorOrArray, labels: Array | Sequence[int], *, label_smoothing: float = 0.0
) -> TensorOrArray:
    """The mean of -log softmax(logits) at the labels.

    Parameters
    ----------
    logits : Tensor or array of shape (n, classes)
    labels : array of ints of shape (n,)
        From 0 to classes - 1.
    label_smoothing : float
        The share of each target, from 0 to 1, that is spread evenly over all classes.

    Returns
    -------
    Tensor or array with no axes

    Raises
    ------
    TypeError
        If labels are not integers.
    ValueError
        If shapes do not fit, there is nothing to average, or a label is out of range.

    References
    ----------
    Label smoothing: C. Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", arXiv 1512.00567,
    2015, section 7.

    Examples
    --------
    >>> import minigrad as mg
    >>> round(mg.cross_entropy(mg.Tensor([[0.0, 0.0], [0.0, 0.0]]), np.array([0, 1])).item(), 4)
    0.6931
    """
    given = _checked("cross_entropy", "logits", logits, labels)
    smoothing = number("cross_entropy", "label_smoothing", label_smoothing, most=1)
    return _cross_entropy(logits, labels=given, label_smoothing=smoothing)


def _checked(caller: str, name: str, x: TensorOrArray, labels: Array | Sequence[int]) -> Array:
    """Return a copy of labels that fit x (n, classes); refuse others."""
    if isinstance(labels, Tensor):
        raise TypeError(f"{caller}: labels is a setting, through which no gradient flows; pass its array: labels.data")
    given: Array = labels.copy() if is_array(labels) else np.array(labels)  # a copy: the caller may overwrite it
    fits = x.ndim == 2 and given.shape == x.shape[:1] and x.shape[0]
    shapes = f"{tuple(x.shape)} and {tuple(given.shape)}"
    expect(fits, caller, f"{name} (n, classes) and labels (n,) with n > 0", shapes)
    fix = "for probabilities use log_softmax"
    expect(given.dtype.kind in "iu", caller, "labels of integers", given.dtype, fix, TypeError)
    classes = x.shape[1]
    if on_host(given) and (given.min() < 0 or given.max() >= classes):  # on a device, looking would wait for it
        raise ValueError(f"{caller}: labels go from {given.min()} to {given.max()}, but there are {classes} classes")
    return given


# Numbers -------------------------------------------------------------------------------------


@composed
def binary_cross_entropy(logits: TensorOrArray, targets: TensorOrArray) -> TensorOrArray:
    """The mean of -t log p - (1 - t) log(1 - p), where p = sigmoid(x) for each logit x and target t.

    The logarithms are computed as -softplus(-x) and -softplus(x): no digits are lost where p is almost 0 or 1. An
    infinite logit makes the result NaN.

    Parameters
    ----------
    logits : Tensor or array
        Scores before the sigmoid, of any shape.
    targets : Tensor or array of the shape of logits
        From 0 to 1; integers and booleans are converted to the logits' dtype.

    Returns
    -------
    Tensor or array with no axes

    Raises
    ------
    TypeError
        If the logits are integers.
    ValueError
        If the shapes differ; a loss does not broadcast.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.binary_cross_entropy(mg.Tensor([0.0, 100.0]), np.array([1, 1]))
    Tensor(0.3465736)
    """
    shapes = f"{tuple(logits.shape)} and {tuple(targets.shape)}"
    expect(tuple(logits.shape) == tuple(targets.shape), "binary_cross_entropy", "two arrays of one shape", shapes)
    floats = logits.dtype.kind in "fc"
    expect(floats, "binary_cross_entropy", "logits of floating-point numbers", logits.dtype, error=TypeError)
    t = astype(targets, logits.dtype) if targets.dtype.kind in "iub" else targets
    return mean(t * softplus(-logits) + (1 - t) * softplus(logits))


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
