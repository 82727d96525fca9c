"""Operators that reduce axes: sum, mean, var, max, min, logsumexp.

They take NumPy's arguments: `axis` is None for all axes, an int, or a tuple of ints; `keepdims`
leaves the reduced axes in place with size 1. The gradient of a reduction has lost those axes;
:func:`_restored` puts them back, so that it broadcasts against the argument.

Next: :mod:`minigrad.ops.matmul`.
"""

from __future__ import annotations

import math
from typing import Any

from minigrad.autograd.broadcasting import broadcast_to
from minigrad.autograd.operator import expect_arrays, operator
from minigrad.autograd.tensor import array_of
from minigrad.device import namespace
from minigrad.ops.elementwise import exp, where
from minigrad.ops.shape import axes_of, reshape
from minigrad.typing import Array


@operator
def sum(x: Array, /, axis: Any = None, keepdims: bool = False) -> Any:
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
    return x.sum(axis=axis, keepdims=keepdims), {"shape": x.shape}


sum.vjp(lambda g, shape, axis: broadcast_to(_restored(g, axis, shape), shape))


def mean(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Average over axes: the sum divided by the number of elements.

    Parameters
    ----------
    x : Tensor or array
    axis : None, int or tuple of ints
    keepdims : bool

    Raises
    ------
    ValueError
        If there is nothing to average.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.mean(mg.Tensor([[1.0, 2.0], [3.0, 4.0]]), axis=1)
    Tensor([1.5, 3.5])
    """
    count = _count("mean", x, axis)
    return sum(x, axis, keepdims) / count


def var(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Average the squared deviation from the mean over axes: NumPy's var with ddof = 0.

    Parameters
    ----------
    x : Tensor or array
    axis : None, int or tuple of ints
    keepdims : bool

    Raises
    ------
    ValueError
        If there is nothing to average.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.var(mg.Tensor([1.0, 2.0, 3.0, 4.0]))
    Tensor(1.25)
    """
    _count("var", x, axis)
    deviation = x - mean(x, axis, keepdims=True)
    return mean(deviation * deviation, axis, keepdims)


@operator
def max(x: Array, /, axis: Any = None, keepdims: bool = False) -> Any:
    """Largest element over axes.   dx = g at the first largest in C order, 0 elsewhere

    Parameters
    ----------
    x : Tensor or array
    axis : None, int or tuple of ints
    keepdims : bool

    Raises
    ------
    ValueError
        If there is nothing to choose from.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.max(mg.Tensor([[1.0, 5.0], [3.0, 4.0]]), axis=1)
    Tensor([5., 4.])
    """
    _count("max", x, axis)
    return x.max(axis=axis, keepdims=keepdims)


@max.vjp
def _(g: Any, x: Any, axis: Any) -> Any:
    x = array_of(x)
    return where(_is_first(x, axis, "argmax"), _restored(g, axis, x.shape), 0.0)


@operator
def min(x: Array, /, axis: Any = None, keepdims: bool = False) -> Any:
    """Smallest element over axes.   dx = g at the first smallest in C order, 0 elsewhere

    Parameters
    ----------
    x : Tensor or array
    axis : None, int or tuple of ints
    keepdims : bool

    Raises
    ------
    ValueError
        If there is nothing to choose from.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.min(mg.Tensor([[1.0, 5.0], [3.0, 4.0]]), axis=1)
    Tensor([1., 3.])
    """
    _count("min", x, axis)
    return x.min(axis=axis, keepdims=keepdims)


@min.vjp
def _(g: Any, x: Any, axis: Any) -> Any:
    x = array_of(x)
    return where(_is_first(x, axis, "argmin"), _restored(g, axis, x.shape), 0.0)


@operator
def logsumexp(x: Array, /, axis: Any = None, keepdims: bool = False) -> Array:
    """log sum exp x over axes, computed without overflow.   dx = g softmax(x) = g exp(x - out)

    The largest element m is taken out first: log sum exp x = m + log sum exp(x - m). Elements that are minus infinity
    add nothing, and a sum of nothing else is minus infinity.

    Parameters
    ----------
    x : Tensor or array
    axis : None, int or tuple of ints
    keepdims : bool

    Raises
    ------
    ValueError
        If there is nothing to sum.

    Examples
    --------
    >>> import minigrad as mg
    >>> round(mg.logsumexp(mg.Tensor([1000.0, 1000.0])).item(), 3)
    1000.693
    """
    _count("logsumexp", x, axis)
    xp = namespace(x)
    m = x.real.max(axis=axis, keepdims=True)
    m = xp.where(xp.isfinite(m), m, 0)
    total = xp.exp(x - m).sum(axis=axis, keepdims=True)
    empty = total == 0
    out = m + xp.where(empty, -math.inf, xp.log(xp.where(empty, 1, total)))
    return out if keepdims else out.reshape(_reduced_shape(x.shape, axis))


@logsumexp.vjp
def _(g: Any, x: Any, out: Any, axis: Any) -> Any:
    total = _restored(out, axis, x.shape)
    empty = array_of(total) == -math.inf  # nothing but minus infinities: no element has a share
    return _restored(g, axis, x.shape) * exp(x - where(empty, 0.0, total))


# Axes ----------------------------------------------------------------------------------------


def _count(name: str, x: Any, axis: Any) -> int:
    """Return how many elements each result is made of: at least one."""
    expect_arrays(name, x=x)
    count: int = math.prod(x.shape[a] for a in axes_of(name, axis, x.ndim))
    if count == 0:
        raise ValueError(f"{name}: nothing to reduce: shape {x.shape} has no elements along axis {axis}")
    return count


def _reduced_shape(shape: tuple[int, ...], axis: Any, kept: bool = False) -> tuple[int, ...]:
    """Return `shape` without the axes that were reduced, or with size 1 there."""
    axes = axes_of("reduction", axis, len(shape))
    return tuple(1 if i in axes else n for i, n in enumerate(shape) if kept or i not in axes)


def _restored(g: Any, axis: Any, shape: tuple[int, ...]) -> Any:
    """Put the reduced axes back into a gradient, with size 1."""
    return reshape(g, _reduced_shape(shape, axis, kept=True))


def _is_first(x: Array, axis: Any, which: str) -> Array:
    """Mark the first largest (argmax) or smallest (argmin) element over `axis` in C order."""
    xp = namespace(x)
    axes = axes_of("max", axis, x.ndim)
    front = tuple(i for i in range(x.ndim) if i not in axes)
    order = front + tuple(sorted(axes))
    moved = x.transpose(order)  # the reduced axes last, in C order
    rows = moved.reshape(-1, math.prod(moved.shape[len(front) :]))  # (results, elements of each)
    mark = xp.arange(rows.shape[1]) == getattr(rows, which)(axis=1)[:, None]
    back = sorted(range(x.ndim), key=lambda i: order[i])
    return mark.reshape(moved.shape).transpose(back)
