"""The three operators that the replay itself needs: copy, sum_to, broadcast_to.

Next: :mod:`minigrad.autograd.backward`.
"""

from __future__ import annotations

from typing import Any

from minigrad.autograd.operator import operator
from minigrad.device import namespace
from minigrad.typing import Array


@operator
def copy(x: Array, /) -> Array:
    """Copy an array.   dx = g"""
    return x.copy()


copy.vjp(lambda g: g)


@operator
def sum_to(x: Array, /, shape: tuple[int, ...]) -> Any:
    """Sum over the axes that broadcasting from `shape` made or stretched.   dx = g, broadcast"""
    lead = x.ndim - len(shape)
    stretched = tuple(i for i, n in enumerate(x.shape) if i < lead or (shape[i - lead] == 1 and n != 1))
    return x.sum(axis=stretched, keepdims=True).reshape(shape), {"before": x.shape}


@sum_to.vjp
def _(g: Any, before: tuple[int, ...]) -> Any:
    return broadcast_to(g, before)


@operator
def broadcast_to(x: Array, /, shape: tuple[int, ...]) -> Any:
    """Stretch `x` to `shape` as broadcasting does.   dx = g, summed over what was stretched

    Parameters
    ----------
    x : Tensor or array
    shape : tuple of ints
        Axes are aligned at the right; those of size 1 are stretched, missing ones are made.

    Returns
    -------
    Tensor or array of that shape
        A read-only view.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.broadcast_to(mg.Tensor([1.0, 2.0]), (2, 2))
    Tensor([[1., 2.],
            [1., 2.]])
    """
    return namespace(x).broadcast_to(x, shape), {"before": x.shape}


broadcast_to.vjp(lambda g, before: sum_to(g, before))
