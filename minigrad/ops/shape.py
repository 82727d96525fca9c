"""Operators that rearrange elements: every result element is one argument element, or a constant.

They are linear, so each rule is the adjoint: it sends every gradient element back to where its
element came from, and adds where one element was used several times. The adjoint of one
operator here is usually another one here.

Next: :mod:`minigrad.ops.reduction`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.autograd.operator import expect_arrays, operator
from minigrad.device import add_windows, is_array, namespace, on_host, scatter_add, windows
from minigrad.typing import Array


@operator
def reshape(x: Array, /, shape: Any) -> Any:
    """Lay the elements out, in C order, as another shape.   dx = g, laid out as x was

    Parameters
    ----------
    x : Tensor or array
    shape : int or tuple of ints
        One size may be -1: it follows from the others.

    Raises
    ------
    ValueError
        If the numbers of elements differ.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.reshape(mg.Tensor([1.0, 2.0, 3.0, 4.0]), (2, -1))
    Tensor([[1., 2.],
            [3., 4.]])
    """
    sizes = shape if isinstance(shape, tuple | list) else (shape,)
    if not all(hasattr(n, "__index__") for n in sizes):
        raise TypeError(f"reshape: expected an int or a tuple of ints, got {shape!r}")
    return x.reshape(shape), {"before": x.shape}


reshape.vjp(lambda g, before: reshape(g, before))


@operator
def transpose(x: Array, /, axes: tuple[int, ...] | None = None) -> Array:
    """Put the axes into another order, the reverse one by default.   dx = g, with the inverse order

    Parameters
    ----------
    x : Tensor or array
    axes : tuple of ints, optional
        ``axes[i]`` is the axis of `x` that becomes axis ``i``.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.transpose(mg.Tensor([[1.0, 2.0, 3.0]]), (1, 0)).shape
    (3, 1)
    """
    if axes is not None and (not isinstance(axes, tuple) or len(axes_of("transpose", axes, x.ndim)) != x.ndim):
        raise ValueError(f"transpose: expected each of {x.ndim} axes once, got {axes} (shape {tuple(x.shape)})")
    return x.transpose(axes)


@transpose.vjp
def _(g: Any, axes: Any) -> Any:
    if axes is None:
        return transpose(g)
    places = [a % len(axes) for a in axes]
    return transpose(g, tuple(sorted(range(len(places)), key=places.__getitem__)))


def squeeze(x: Any, axis: int | tuple[int, ...]) -> Any:
    """Drop axes of size 1.

    Parameters
    ----------
    x : Tensor or array
    axis : int or tuple of ints
        Must be named: a batch of one image shall not lose its first axis by accident.

    Raises
    ------
    ValueError
        If an axis has another size than 1.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.squeeze(mg.Tensor([[1.0, 2.0]]), 0)
    Tensor([1., 2.])
    """
    expect_arrays("squeeze", x=x)
    if axis is None:
        raise ValueError(f"squeeze: name the axes to drop (shape {tuple(x.shape)})")
    axes = axes_of("squeeze", axis, x.ndim)
    if any(x.shape[a] != 1 for a in axes):
        raise ValueError(f"squeeze: only axes of size 1 can be dropped, got axis {axis} of shape {x.shape}")
    return reshape(x, tuple(n for i, n in enumerate(x.shape) if i not in axes))


def expand_dims(x: Any, axis: int) -> Any:
    """Insert an axis of size 1 before axis `axis` of the result.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.expand_dims(mg.Tensor([1.0, 2.0]), 1).shape
    (2, 1)
    """
    expect_arrays("expand_dims", x=x)
    if not hasattr(axis, "__index__") or not -x.ndim - 1 <= axis <= x.ndim:
        raise ValueError(f"expand_dims: expected an axis from {-x.ndim - 1} to {x.ndim}, got {axis!r}")
    place = axis % (x.ndim + 1)
    return reshape(x, (*x.shape[:place], 1, *x.shape[place:]))


def concatenate(arrays: Any, axis: int = 0) -> Any:
    """Join arrays along an axis that they have.   Each gradient is its part of g

    Parameters
    ----------
    arrays : sequence of Tensors or arrays
        Of equal shape except along `axis`.
    axis : int

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.concatenate([mg.Tensor([1.0]), mg.Tensor([2.0, 3.0])])
    Tensor([1., 2., 3.])
    """
    arrays = _listed("concatenate", arrays)
    if not arrays:
        raise ValueError("concatenate: expected at least one array, got none")
    return _concatenate(*arrays, axis=axis)


@operator
def _concatenate(*arrays: Array, axis: int) -> Any:
    """The operator behind :func:`concatenate`, with any number of inputs."""
    (axis,) = axes_of("concatenate", axis, arrays[0].ndim)
    return namespace(*arrays).concatenate(arrays, axis=axis), {"sizes": [a.shape[axis] for a in arrays]}


@_concatenate.vjp
def _(g: Any, *, need: tuple[bool, ...], axis: int, sizes: list[int]) -> list[Any]:
    gradients, start = [], 0
    for size, needed in zip(sizes, need, strict=True):
        part = (slice(None),) * (axis % g.ndim) + (slice(start, start + size),)
        gradients.append(getitem(g, part) if needed else None)
        start += size
    return gradients


def _listed(name: str, arrays: Any) -> list[Any]:
    """Refuse a single array where several are asked for."""
    if not isinstance(arrays, tuple | list):
        raise TypeError(f"{name}: expected a list or tuple of Tensors or arrays, got {type(arrays).__name__}")
    return list(arrays)


def stack(arrays: Any, axis: int = 0) -> Any:
    """Join arrays of one shape along a new axis.

    Parameters
    ----------
    arrays : sequence of Tensors or arrays
    axis : int
        The place of the new axis in the result.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.stack([mg.Tensor([1.0, 2.0]), mg.Tensor([3.0, 4.0])])
    Tensor([[1., 2.],
            [3., 4.]])
    """
    arrays = _listed("stack", arrays)
    for i, a in enumerate(arrays):
        expect_arrays("stack", **{f"arrays[{i}]": a})
    if len({tuple(a.shape) for a in arrays}) != 1:
        raise ValueError(
            f"stack: expected arrays of one shape, got {', '.join(str(tuple(a.shape)) for a in arrays) or 'none'}"
        )
    axes_of("stack", axis, arrays[0].ndim + 1)
    return concatenate([expand_dims(a, axis) for a in arrays], axis)


@operator
def pad(x: Array, /, pad_width: Any, constant_values: float = 0.0) -> Any:
    """Put a border of a constant around an array.   dx = g without the border

    Parameters
    ----------
    x : Tensor or array
    pad_width : sequence of (int, int)
        How much before and after, for each axis.
    constant_values : float

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.pad(mg.Tensor([1.0, 2.0]), [(1, 2)])
    Tensor([0., 1., 2., 0., 0.])
    """
    pairs = pad_width if hasattr(pad_width, "__len__") else ()
    if len(pairs) != x.ndim or not all(
        len(p) == 2 and all(hasattr(n, "__index__") and n >= 0 for n in p) for p in pairs
    ):
        raise ValueError(
            f"pad: expected a pair (before, after) of non-negative ints for each of {x.ndim} axes, got {pad_width}"
        )
    shape = tuple(n + before + after for n, (before, after) in zip(x.shape, pad_width, strict=True))
    inside = tuple(slice(before, before + n) for n, (before, _) in zip(x.shape, pad_width, strict=True))
    out = namespace(x).full(shape, constant_values, dtype=x.dtype)
    out[inside] = x
    return out, {"inside": inside}


@pad.vjp
def _(g: Any, inside: tuple[slice, ...]) -> Any:
    return getitem(g, inside)


def flip(x: Any, axis: int | tuple[int, ...] | None = None) -> Any:
    """Reverse the order along axes, along all by default.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.flip(mg.Tensor([1.0, 2.0, 3.0]))
    Tensor([3., 2., 1.])
    """
    expect_arrays("flip", x=x)
    axes = axes_of("flip", axis, x.ndim)
    return getitem(x, tuple(slice(None, None, -1 if i in axes else 1) for i in range(x.ndim)))


def axes_of(name: str, axis: Any, ndim: int) -> tuple[int, ...]:
    """Return `axis` (None for all, an int, or a tuple of ints) as a tuple of non-negative ints, checked."""
    axes = tuple(range(ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    for a in axes:
        if isinstance(a, bool) or not hasattr(a, "__index__") or not -ndim <= a < ndim:
            bounds = f"expected -{ndim} to {ndim - 1}" if ndim else "it has none"
            raise ValueError(f"{name}: axis {axis!r} is not an axis of an array with {ndim} axes; {bounds}")
    axes = tuple(int(a) % ndim for a in axes)
    if len(set(axes)) < len(axes):
        raise ValueError(f"{name}: axis {axis!r} names an axis twice")
    return axes


# Indexing ------------------------------------------------------------------------------------


@operator
def getitem(x: Array, /, index: Any) -> Any:
    """x[index], as NumPy indexes.   dx = zeros with g added at index

    Parameters
    ----------
    x : Tensor or array
    index : int, slice, ..., None, integer or boolean array, or a tuple of them
        Elements that an integer array names twice get both gradients.

    Raises
    ------
    IndexError
        If there is no such element.

    Examples
    --------
    >>> import minigrad as mg
    >>> x = mg.Tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> x[[0, 0, 2]].sum().backward()
    >>> x.grad
    Tensor([2., 0., 1.])
    """
    try:
        return x[_beside(x, index)], {"shape": x.shape}
    except IndexError as error:
        raise IndexError(f"getitem: {error} (shape {tuple(x.shape)}, index {index!r})") from None


@getitem.vjp
def _(g: Any, index: Any, shape: tuple[int, ...]) -> Any:
    return _unindex(g, index, shape)


@operator
def _unindex(x: Array, /, index: Any, shape: tuple[int, ...]) -> Array:
    """Zeros of `shape` with `x` added at `index`: the adjoint of getitem.   dx = g[index]"""
    out, index = namespace(x).zeros(shape, dtype=x.dtype), _beside(x, index)
    parts = index if isinstance(index, tuple) else (index,)
    if all(_names_once(part) for part in parts):
        out[index] = x
    else:
        scatter_add(out, index, x)  # a sequence of integers may name an element twice
    return out


_unindex.vjp(lambda g, index: getitem(g, index))


def _names_once(part: Any) -> bool:
    """Say whether a part of an index names no element twice: all but sequences of integers."""
    if is_array(part):
        return bool(part.dtype == np.bool_)
    return part is None or part is Ellipsis or isinstance(part, slice) or hasattr(part, "__index__")


def _beside(x: Array, index: Any) -> Any:
    """Bring the host arrays of an index to the device of `x`."""
    if on_host(x):
        return index
    move = namespace(x).asarray
    if isinstance(index, tuple):
        return tuple(move(part) if on_host(part) else part for part in index)
    return move(index) if on_host(index) else index


# Windows -------------------------------------------------------------------------------------


@operator
def unfold(x: Array, /, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]) -> Any:
    """Lay out all the windows that a kernel sees: im2col.   dx = fold(g)

    Parameters
    ----------
    x : Tensor or array of shape (n, h, w, c)
    kernel, stride, dilation : (int, int)

    Returns
    -------
    Tensor or array of shape (n, ho, wo, kh, kw, c)
        Read-only: windows overlap in memory.

    Examples
    --------
    >>> import minigrad as mg
    >>> from minigrad.ops.shape import unfold
    >>> x = mg.Tensor([[1.0, 2.0, 3.0]]).reshape(1, 1, 3, 1)
    >>> unfold(x, (1, 2), (1, 1), (1, 1)).data[0, 0, :, 0, :, 0]
    array([[1., 2.],
           [2., 3.]], dtype=float32)
    """
    return windows(x, kernel, stride, dilation), {"shape": x.shape}


@unfold.vjp
def _(g: Any, shape: tuple[int, ...], stride: tuple[int, int], dilation: tuple[int, int]) -> Any:
    return fold(g, shape, stride, dilation)


@operator
def fold(x: Array, /, shape: tuple[int, ...], stride: tuple[int, int], dilation: tuple[int, int]) -> Any:
    """Add windows up where they overlap: col2im, the adjoint of unfold.   dx = unfold(g)

    Parameters
    ----------
    x : Tensor or array of shape (n, ho, wo, kh, kw, c)
    shape : (n, h, w, c)
        Of the result.
    stride, dilation : (int, int)

    Returns
    -------
    Tensor or array of shape `shape`

    Examples
    --------
    >>> import minigrad as mg
    >>> from minigrad.ops.shape import fold
    >>> x = mg.Tensor([[1.0, 2.0], [10.0, 20.0]]).reshape(1, 1, 2, 1, 2, 1)
    >>> fold(x, (1, 1, 3, 1), (1, 1), (1, 1)).data.ravel()
    array([ 1., 12., 20.], dtype=float32)
    """
    out = namespace(x).zeros(shape, dtype=x.dtype)
    add_windows(out, x, stride, dilation)
    return out, {"kernel": x.shape[3:5]}


fold.vjp(lambda g, kernel, stride, dilation: unfold(g, kernel, stride, dilation))
