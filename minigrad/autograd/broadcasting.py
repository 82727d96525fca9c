"""Three operators that the replay itself needs: copy, sum_to and broadcast_to.

Next: :mod:`minigrad.autograd.backward`.
"""

from __future__ import annotations

from minigrad.autograd.operator import operator
from minigrad.device import add_up, namespace
from minigrad.typing import Array, Saved, Shape


@operator
def copy(x: Array, /) -> Array:
    """Copy an array.   dx = g"""
    return x.copy()


copy.vjp(lambda g: g)


@operator
def broadcast_to(x: Array, /, shape: Shape) -> Saved:
    """Stretch `x` to `shape` as broadcasting does.   dx = g, summed over the stretched axes

    Parameters
    ----------
    x : Tensor or array
    shape : tuple of ints
        Axes are aligned at the right; axes of size 1 are stretched, missing axes are added.

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


@operator
def sum_to(x: Array, /, shape: Shape) -> Saved:
    """Sum over the axes that broadcasting from `shape` added or stretched.   dx = g, broadcast"""
    added = x.ndim - len(shape)
    stretched = tuple(i for i, n in enumerate(x.shape) if i < added or (shape[i - added] == 1 and n != 1))
    return add_up(x, stretched).reshape(shape), {"before": x.shape}


broadcast_to.vjp(lambda g, before: sum_to(g, before))
sum_to.vjp(lambda g, before: broadcast_to(g, before))
