"""Operators that reduce axes: sum, mean, var, max, min, logsumexp; prod, cumsum, std.

They take NumPy's arguments: `axis` is None for all axes, an int, or a tuple of ints; with `keepdims` the reduced axes
stay, with size 1. The gradient of a reduction lacks those axes; :func:`_with_axes` inserts them again with size 1, so
that the gradient broadcasts against the argument.

Next: :mod:`minigrad.ops.matmul`.
"""

from __future__ import annotations

import math

import numpy as np

from minigrad.autograd.broadcasting import broadcast_to
from minigrad.autograd.operator import operator
from minigrad.autograd.signatures import composed
from minigrad.autograd.tensor import array_of
from minigrad.device import add_up, namespace
from minigrad.ops.elementwise import exp, sqrt, where
from minigrad.ops.functions import astype
from minigrad.ops.shape import axes_of, concatenate, flip, getitem, reshape, transpose
from minigrad.typing import Array, Axis, Saved, Shape, T, TensorOrArray


@operator
def sum(x: Array, /, axis: Axis = None, keepdims: bool = False) -> Saved:
    """Sum over axes.   dx = g, broadcast

    Parameters
    ----------
    x : Tensor or array
    axis : None, int or tuple of ints
    keepdims : bool

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.sum(mg.Tensor([[1.0, 2.0], [3.0, 4.0]]), axis=0)
    Tensor([4., 6.])
    """
    axes_of("sum", axis, x.ndim)
    return add_up(x, axis, keepdims), {"shape": x.shape}


sum.vjp(lambda g, shape, axis: broadcast_to(_with_axes(g, axis, shape), shape))


@operator
def mean(x: Array, /, axis: Axis = None, keepdims: bool = False) -> Saved:
    """Mean over axes: the sum divided by the number of elements.   dx = g / n, broadcast

    Parameters
    ----------
    x : Tensor or array
    axis : None, int or tuple of ints
    keepdims : bool

    Raises
    ------
    ValueError
        If there is no element to average.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.mean(mg.Tensor([[1.0, 2.0], [3.0, 4.0]]), axis=1)
    Tensor([1.5, 3.5])
    """
    n = count("mean", x, axis)
    return add_up(x, axis, keepdims) / n, {"shape": x.shape, "n": n}


mean.vjp(lambda g, shape, axis, n: broadcast_to(_with_axes(g / n, axis, shape), shape))


@composed
def var(x: TensorOrArray, axis: Axis = None, keepdims: bool = False) -> TensorOrArray:
    """Variance over axes: the mean squared deviation from the mean, NumPy's var with ddof = 0.

    An infinity makes the result and all its gradients NaN.

    Parameters
    ----------
    x : Tensor or array
    axis : None, int or tuple of ints
    keepdims : bool

    Raises
    ------
    ValueError
        If there is no element to average.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.var(mg.Tensor([1.0, 2.0, 3.0, 4.0]))
    Tensor(1.25)
    """
    deviation = x - mean(x, axis, keepdims=True)
    return mean(deviation * deviation, axis, keepdims)


@operator
def max(x: Array, /, axis: Axis = None, keepdims: bool = False) -> Array:
    """Largest element over axes.   dx = g at the first largest in C order, 0 elsewhere

    A NaN counts as larger than any number.

    Parameters
    ----------
    x : Tensor or array
    axis : None, int or tuple of ints
    keepdims : bool

    Raises
    ------
    ValueError
        If there is no element to choose from.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.max(mg.Tensor([[1.0, 5.0], [3.0, 4.0]]), axis=1)
    Tensor([5., 4.])
    """
    count("max", x, axis)
    return x.max(axis=axis, keepdims=keepdims)  # type: ignore[no-any-return]


@max.vjp
def _(g: T, x: T, axis: Axis) -> T:
    return where(_is_first(array_of(x), axis, "argmax"), _with_axes(g, axis, x.shape), 0.0)


@operator
def min(x: Array, /, axis: Axis = None, keepdims: bool = False) -> Array:
    """Smallest element over axes.   dx = g at the first smallest in C order, 0 elsewhere

    A NaN counts as smaller than any number.

    Parameters
    ----------
    x : Tensor or array
    axis : None, int or tuple of ints
    keepdims : bool

    Raises
    ------
    ValueError
        If there is no element to choose from.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.min(mg.Tensor([[1.0, 5.0], [3.0, 4.0]]), axis=1)
    Tensor([1., 3.])
    """
    count("min", x, axis)
    return x.min(axis=axis, keepdims=keepdims)  # type: ignore[no-any-return]


@min.vjp
def _(g: T, x: T, axis: Axis) -> T:
    return where(_is_first(array_of(x), axis, "argmin"), _with_axes(g, axis, x.shape), 0.0)


@operator
@np.errstate(under="ignore")  # the exp of a large negative number is 0
def logsumexp(x: Array, /, axis: Axis = None, keepdims: bool = False) -> Array:
    """log sum exp x over axes, computed without overflow.   dx = g softmax(x)

    The largest element m is subtracted first: log sum exp x = m + log sum exp(x - m). Elements that are minus infinity
    contribute 0 to the sum; if all elements are minus infinity, so is the result, and their gradients are 0.

    Parameters
    ----------
    x : Tensor or array
    axis : None, int or tuple of ints
    keepdims : bool

    Raises
    ------
    ValueError
        If there is no element to sum.

    Examples
    --------
    >>> import minigrad as mg
    >>> round(mg.logsumexp(mg.Tensor([1000.0, 1000.0])).item(), 3)
    1000.693
    """
    count("logsumexp", x, axis)
    xp = namespace(x)
    m = _finite_max(x, axis)
    total = add_up(xp.exp(x - m), axis, keepdims=True)
    empty = total == 0
    out = m + xp.where(empty, -math.inf, xp.log(xp.where(empty, 1, total)))
    return out if keepdims else out.reshape(_reduced_shape(x.shape, axis))


@logsumexp.vjp
def _(g: T, x: T, axis: Axis) -> T:
    e = exp(x - _finite_max(array_of(x), axis))  # not exp(x - out): out is rounded, by more the larger x is
    total = sum(e, axis, True)
    return _with_axes(g, axis, x.shape) * (e / where(array_of(total) == 0, 1.0, total))


# Axes ----------------------------------------------------------------------------------------


def count(name: str, x: TensorOrArray, axis: Axis) -> int:
    """Return the number of elements that each result is computed from: at least one."""
    number = math.prod(x.shape[a] for a in axes_of(name, axis, x.ndim))
    if number == 0:
        raise ValueError(f"{name}: nothing to reduce: shape {x.shape} has no elements along axis {axis}")
    return number


def _reduced_shape(shape: Shape, axis: Axis, keepdims: bool = False) -> Shape:
    """Return `shape` without the reduced axes, or with size 1 there."""
    axes = axes_of("reduction", axis, len(shape))
    return tuple(1 if i in axes else n for i, n in enumerate(shape) if keepdims or i not in axes)


def _with_axes(g: T, axis: Axis, shape: Shape) -> T:
    """Insert the reduced axes into a gradient again, with size 1."""
    return reshape(g, _reduced_shape(shape, axis, keepdims=True))


def _finite_max(x: Array, axis: Axis) -> Array:
    """Return the largest element over `axis`, which stays with size 1; 0 in place of an infinity."""
    xp = namespace(x)
    m = xp.real(x).max(axis=axis, keepdims=True)
    return xp.where(xp.isfinite(m), m, 0)


def _is_first(x: Array, axis: Axis, which: str) -> Array:
    """Mark the first largest (argmax) or smallest (argmin) element over `axis` in C order."""
    xp = namespace(x)
    axes = axes_of("max", axis, x.ndim)
    front = tuple(i for i in range(x.ndim) if i not in axes)
    order = front + tuple(sorted(axes))
    moved = x.transpose(order)  # the reduced axes last, in C order
    rows = moved.reshape(-1, math.prod(moved.shape[len(front) :]))  # (results, elements of each)
    mark: Array = xp.arange(rows.shape[1]) == getattr(rows, which)(axis=1)[:, None]
    back = sorted(range(x.ndim), key=lambda i: order[i])
    return mark.reshape(moved.shape).transpose(back)


# Products, running sums, standard deviation --------------------------------------------------


@composed
def prod(x: TensorOrArray, axis: Axis = None, keepdims: bool = False) -> TensorOrArray:
    """Product over axes.   dx = g times the product of the other elements, also where elements are 0

    The first half of the elements is multiplied by the second half, and so on: no element is divided by.

    Parameters
    ----------
    x : Tensor or array
    axis : None, int or tuple of ints
    keepdims : bool

    Examples
    --------
    >>> import minigrad as mg
    >>> x = mg.Tensor([2.0, 0.0, 3.0], requires_grad=True)
    >>> mg.prod(x).backward()
    >>> x.grad
    Tensor([0., 6., 0.])
    """
    axes = axes_of("prod", axis, x.ndim)
    x = astype(x, namespace(array_of(x)).zeros(0, x.dtype).prod().dtype)  # of integers, NumPy's product is wider
    last = transpose(x, (*(i for i in range(x.ndim) if i not in axes), *axes))
    n = math.prod(x.shape[a] for a in axes)
    out = reshape(last, (*last.shape[: x.ndim - len(axes)], n))
    if n == 0:
        return sum(x, axis, keepdims) + 1
    while n > 1:
        half = n // 2
        pairs = getitem(out, (..., slice(half))) * getitem(out, (..., slice(half, 2 * half)))
        out = concatenate([pairs, getitem(out, (..., slice(2 * half, n)))], -1) if n % 2 else pairs
        n -= half
    return reshape(out, _reduced_shape(x.shape, axis, keepdims))


@composed
def cumsum(x: TensorOrArray, axis: int | None = None) -> TensorOrArray:
    """Sums of the first 1, 2, 3, ... elements along an axis.   dx = the sums of the last elements of g

    The numbers are added one after the other: the error of a sum grows with the number of summands.

    Parameters
    ----------
    x : Tensor or array
    axis : int or None
        None is the axis of the flattened array, as in NumPy.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.cumsum(mg.Tensor([1.0, 2.0, 3.0]))
    Tensor([1., 3., 6.])
    """
    if axis is None:
        return _cumsum(reshape(x, x.size), axis=0)
    axes_of("cumsum", axis, x.ndim)
    return _cumsum(x, axis=axis)


@operator
def _cumsum(x: Array, /, *, axis: int) -> Array:
    """The operator behind :func:`cumsum`."""
    return x.cumsum(axis)


_cumsum.vjp(lambda g, axis: flip(_cumsum(flip(g, axis), axis=axis), axis))


@composed
def std(x: TensorOrArray, axis: Axis = None, keepdims: bool = False) -> TensorOrArray:
    """Standard deviation over axes: the square root of the variance, NumPy's std with ddof = 0.

    Where all elements are equal, the derivative is taken as 0. An infinity makes the result and all its gradients NaN.

    Parameters
    ----------
    x : Tensor or array
    axis : None, int or tuple of ints
    keepdims : bool

    Raises
    ------
    ValueError
        If there is no element to average.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.std(mg.Tensor([1.0, 3.0]))
    Tensor(1.)
    """
    variance = var(x, axis, keepdims)
    zero = array_of(variance) == 0
    return where(zero, 0.0, sqrt(where(zero, 1.0, variance)))
