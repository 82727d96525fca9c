"""Matrix products: matmul and linear.

Next: :mod:`minigrad.ops.conv`.
"""

from __future__ import annotations

import math

from minigrad.arguments import refuse
from minigrad.autograd.operator import elementwise
from minigrad.autograd.signatures import composed
from minigrad.kernels import products
from minigrad.ops.shape import expand_dims, reshape, squeeze, transpose
from minigrad.typing import Array, T, TensorOrArray


@composed
def matmul(a: TensorOrArray, b: TensorOrArray, /) -> TensorOrArray:
    """A @ b, as NumPy's matmul: stacks of matrices broadcast; a vector is a row on the left and a column on the right.

    Parameters
    ----------
    a : Tensor or array of shape (..., m, k) or (k,)
    b : Tensor or array of shape (..., k, n) or (k,)

    Returns
    -------
    Tensor or array of shape (..., m, n)
        Without m if `a` is a vector, without n if `b` is a vector.

    Raises
    ------
    ValueError
        If the inner sizes differ, or an argument has no axes.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.Tensor([[1.0, 2.0], [3.0, 4.0]]) @ mg.Tensor([1.0, 10.0])
    Tensor([21., 43.])
    """
    if a.ndim == 0 or b.ndim == 0:
        raise ValueError(
            f"matmul: expected arrays with at least one axis, got {a.shape} @ {b.shape}; use * for numbers"
        )
    rows, columns = (expand_dims(a, 0) if a.ndim == 1 else a), (expand_dims(b, 1) if b.ndim == 1 else b)
    if rows.shape[-1] != columns.shape[-2]:
        raise ValueError(
            f"matmul: inner sizes differ: {tuple(a.shape)} @ {tuple(b.shape)} is (..., m, k) @ (..., k, n)"
        )
    out = (_matmul if (rows.ndim == 2) == (columns.ndim == 2) else _matmul_of_one)(rows, columns)
    if b.ndim == 1:
        out = squeeze(out, -1)
    return squeeze(out, -2 if b.ndim > 1 else -1) if a.ndim == 1 else out


@elementwise
def _matmul(a: Array, b: Array, /) -> Array:
    """A @ b for stacks of matrices, which broadcast.   da = g b',   db = a' g"""
    return products.matmul(a, b)


_matmul.vjp(
    lambda g, b: _matmul(g, _transposed(b)),
    lambda g, a: _matmul(_transposed(a), g),
)


def _transposed(x: T) -> T:
    """Swap the last two axes."""
    return transpose(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


@composed
def linear(x: TensorOrArray, w: TensorOrArray, b: TensorOrArray | None = None) -> TensorOrArray:
    """x @ w + b: the fully connected layer.

    Parameters
    ----------
    x : Tensor or array of shape (..., c_in)
    w : Tensor or array of shape (c_in, c_out)
    b : Tensor or array of shape (c_out,), optional

    Returns
    -------
    Tensor or array of shape (..., c_out)

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.linear(mg.Tensor([[1.0, 2.0]]), mg.Tensor([[1.0], [1.0]]), mg.Tensor([0.5]))
    Tensor([[3.5]])
    """
    if w.ndim != 2 or x.ndim < 1 or x.shape[-1] != w.shape[0]:
        raise ValueError(
            f"linear: x has {x.shape[-1] if x.ndim else 'no'} features (shape {tuple(x.shape)}) but w has shape "
            f"{tuple(w.shape)}; w is (c_in, c_out)"
        )
    if b is not None and tuple(b.shape) != (w.shape[1],):
        refuse("linear", f"b of shape ({w.shape[1]},), one for each output", tuple(b.shape))
    out = matmul(x, w)
    return out if b is None else out + b


# One matrix and a stack ----------------------------------------------------------------------


@elementwise
def _matmul_of_one(a: Array, b: Array, /) -> Array:
    """A @ b for one matrix and a stack, on either side.   da = g b',   db = a' g,   that of the one matrix summed.

    The summands of that gradient, one for each matrix of the stack, can be larger than all else. The product of the
    stack's rows is their sum.
    """
    return products.matmul(a, b)


_matmul_of_one.operator.name = "matmul"
_matmul_of_one.vjp(
    lambda g, b: _sum_of_products(_transposed(g), _transposed(b)) if _is_narrow(g, b) else matmul(g, _transposed(b)),
    lambda g, a: _sum_of_products(a, g) if a.ndim > 2 else matmul(_transposed(a), g),
)


def _is_narrow(g: TensorOrArray, b: TensorOrArray) -> bool:
    """Whether a stack b (..., k, n), and g (..., m, n), are smaller than their products (..., m, k)."""
    (m, n), k = g.shape[-2:], b.shape[-2]
    return b.ndim > 2 and n * (m + k) < m * k


def _sum_of_products(a: TensorOrArray, b: TensorOrArray) -> TensorOrArray:
    """Return a' b for stacks a (..., m, k) and b (..., m, n), summed over the stack: (k, n)."""
    m = math.prod(a.shape[:-1])
    return _matmul(transpose(reshape(a, (m, a.shape[-1]))), reshape(b, (m, b.shape[-1])))
