"""Operators that rearrange elements: every element of the result is an element of the argument, or a constant.

They are linear, so each rule is the adjoint: it adds every element of the gradient at the place in the argument
that it came from, so gradients of an element that was used several times add up. Most adjoints are themselves operators
of this file.

Next: :mod:`minigrad.ops.einsum`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

import numpy as np

from minigrad import checked
from minigrad.arguments import as_int, expect, refuse
from minigrad.autograd.operator import operator
from minigrad.autograd.signatures import composed
from minigrad.autograd.tape import mode
from minigrad.autograd.tensor import Tensor, array_of
from minigrad.device import add_windows, is_array, namespace, on_host, scatter_add, windows
from minigrad.typing import Array, Axis, Index, Pair, Saved, Shape, T, TensorOrArray


@operator
def reshape(x: Array, /, shape: int | Sequence[int]) -> Saved:
    """Arrange the elements, in C order, in another shape.   dx = g, in the shape of x

    Parameters
    ----------
    x : Tensor or array
    shape : int or tuple of ints
        One size may be -1: it is computed from the others.

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
    expect(all(as_int(n) is not None for n in sizes), "reshape", "an int or a tuple of ints", shape, error=TypeError)
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
        raise ValueError(f"transpose: expected a tuple of all {x.ndim} axes, got {axes} (shape {tuple(x.shape)})")
    return x.transpose(axes)


@transpose.vjp
def _(g: T, axes: tuple[int, ...] | None) -> T:
    if axes is None:
        return transpose(g)
    places = [a % len(axes) for a in axes]
    return transpose(g, tuple(sorted(range(len(places)), key=places.__getitem__)))


@composed
def squeeze(x: TensorOrArray, axis: Axis = None) -> TensorOrArray:
    """Drop axes of size 1.

    Parameters
    ----------
    x : Tensor or array
    axis : int or tuple of ints, optional
        By default all axes of size 1. Better name them: a batch of one image loses its first axis, too.

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
    ones = [i for i, n in enumerate(x.shape) if n == 1]
    axes = ones if axis is None else axes_of("squeeze", axis, x.ndim)
    if any(x.shape[a] != 1 for a in axes):
        raise ValueError(f"squeeze: only axes of size 1 can be dropped, got axis {axis} of shape {x.shape}")
    return reshape(x, tuple(n for i, n in enumerate(x.shape) if i not in axes))


@composed
def expand_dims(x: TensorOrArray, axis: int) -> TensorOrArray:
    """Insert an axis of size 1 before axis `axis` of the result.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.expand_dims(mg.Tensor([1.0, 2.0]), 1).shape
    (2, 1)
    """
    number = as_int(axis)
    if number is None or not -x.ndim - 1 <= number <= x.ndim:
        raise ValueError(f"expand_dims: expected an axis from {-x.ndim - 1} to {x.ndim}, got {axis!r}")
    place = number % (x.ndim + 1)
    return reshape(x, (*x.shape[:place], 1, *x.shape[place:]))


@overload
def concatenate(arrays: Sequence[Array], axis: int = 0) -> Array: ...  # type: ignore[overload-overlap]  # of []
@overload
def concatenate(arrays: Sequence[TensorOrArray], axis: int = 0) -> Tensor: ...
@checked.composed
def concatenate(arrays: Sequence[TensorOrArray], axis: int = 0) -> Any:
    """Join arrays along an existing axis.   Each gradient is a part of g

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
    return _concatenate(*arrays, axis=axis)  # pyright: ignore[reportCallIssue]  # any number of arrays


@operator
def _concatenate(*arrays: Array, axis: int) -> Saved:
    """The operator behind :func:`concatenate`, with any number of inputs."""
    (axis,) = axes_of("concatenate", axis, arrays[0].ndim)
    return namespace(*arrays).concatenate(arrays, axis=axis), {"sizes": [a.shape[axis] for a in arrays]}


@_concatenate.vjp
def _(g: T, *, need: tuple[bool, ...], axis: int, sizes: list[int]) -> list[T | None]:
    gradients: list[T | None] = []
    start = 0
    for size, needed in zip(sizes, need, strict=True):
        part = (slice(None),) * (axis % g.ndim) + (slice(start, start + size),)
        gradients.append(getitem(g, part) if needed else None)
        start += size
    return gradients


def _listed(name: str, arrays: object) -> list[Any]:
    """Return a sequence of arrays as a list; refuse a single array."""
    if not isinstance(arrays, tuple | list):
        raise TypeError(f"{name}: expected a list or tuple of Tensors or arrays, got {type(arrays).__name__}")
    return list(arrays)


@overload
def stack(arrays: Sequence[Array], axis: int = 0) -> Array: ...  # type: ignore[overload-overlap]  # of []
@overload
def stack(arrays: Sequence[TensorOrArray], axis: int = 0) -> Tensor: ...
@checked.composed
def stack(arrays: Sequence[TensorOrArray], axis: int = 0) -> Any:
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
    listed = _listed("stack", arrays)
    shapes = [tuple(a.shape) for a in listed]
    expect(len(set(shapes)) == 1, "stack", "arrays of one shape", ", ".join(map(str, shapes)) or "none")
    axes_of("stack", axis, listed[0].ndim + 1)
    return concatenate([expand_dims(a, axis) for a in listed], axis)


@operator
def pad(x: Array, /, pad_width: Sequence[Pair], constant_values: float = 0.0) -> Saved:
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
    pairs = [[as_int(n) for n in p] for p in pad_width] if hasattr(pad_width, "__len__") else []
    fits = len(pairs) == x.ndim and all(len(p) == 2 and all(n is not None and n >= 0 for n in p) for p in pairs)
    expect(fits, "pad", f"a pair (before, after) of non-negative ints for each of {x.ndim} axes", pad_width)
    whole = x.dtype.kind in "fcb" or float(constant_values).is_integer()
    expect(whole, "pad", f"an integer for the border of {x.dtype}", constant_values)
    shape = tuple(n + before + after for n, (before, after) in zip(x.shape, pairs, strict=True))
    inside = tuple(slice(before, before + n) for n, (before, _) in zip(x.shape, pairs, strict=True))
    out = namespace(x).full(shape, constant_values, dtype=x.dtype)
    out[inside] = x
    return out, {"inside": inside}


@pad.vjp
def _(g: T, inside: tuple[slice, ...]) -> T:
    return getitem(g, inside)


@composed
def flip(x: TensorOrArray, axis: Axis = None) -> TensorOrArray:
    """Reverse the order along axes, along all by default.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.flip(mg.Tensor([1.0, 2.0, 3.0]))
    Tensor([3., 2., 1.])
    """
    axes = axes_of("flip", axis, x.ndim)
    return getitem(x, tuple(slice(None, None, -1 if i in axes else 1) for i in range(x.ndim)))


def axes_of(name: str, axis: Axis | Sequence[int], ndim: int) -> tuple[int, ...]:
    """Return `axis` (None for all, an int, or a tuple of ints) as a tuple of non-negative ints, checked."""
    if axis is None:
        return tuple(range(ndim))
    axes = []
    for a in axis if isinstance(axis, tuple) else (axis,):
        number = as_int(a)
        if number is None or not -ndim <= number < ndim:
            bounds = f"expected -{ndim} to {ndim - 1}" if ndim else "it has none"
            raise ValueError(f"{name}: axis {axis!r} is not an axis of an array with {ndim} axes; {bounds}")
        axes.append(number % ndim)
    if len(set(axes)) < len(axes):
        raise ValueError(f"{name}: axis {axis!r} names an axis twice")
    return tuple(axes)


# Indexing ------------------------------------------------------------------------------------


@composed
def getitem(x: TensorOrArray, index: Index) -> TensorOrArray:
    """x[index], as NumPy indexes.   dx = zeros with g added at index

    Parameters
    ----------
    x : Tensor or array
    index : int, slice, ..., None, integer or boolean array, or a tuple of them
        An element that an integer array names twice gets the sum of both gradients.

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
    return _getitem(x, index=unshared(index, x))


@operator
def _getitem(x: Array, /, *, index: Index) -> Saved:
    """The operator behind :func:`getitem`: the index is a setting."""
    try:
        return x[_on_device_of(x, index)], {"shape": x.shape}
    except IndexError as error:
        raise IndexError(f"getitem: {error} (shape {tuple(x.shape)}, index {index!r})") from None


@_getitem.vjp
def _(g: T, index: Index, shape: Shape) -> T:
    return _unindex(g, index=index, shape=shape)


@operator
def _unindex(x: Array, /, *, index: Index, shape: Shape) -> Array:
    """Zeros of `shape` with `x` added at `index`: the adjoint of getitem.   dx = g[index]"""
    out, index = namespace(x).zeros(shape, dtype=x.dtype), _on_device_of(x, index)
    if any(_may_repeat(part) for part in _parts(index)):
        scatter_add(out, index, x)
    else:
        out[index] = x
    return out


_unindex.vjp(lambda g, index: getitem(g, index))


@overload
def embedding(indices: TensorOrArray | Sequence[int], w: Array) -> Array: ...
@overload
def embedding(indices: TensorOrArray | Sequence[int], w: Tensor) -> Tensor: ...
@checked.composed
def embedding(indices: TensorOrArray | Sequence[int], w: TensorOrArray) -> Any:
    """w[indices]: the row of w for each index.   dw = zeros with g added at the rows

    Parameters
    ----------
    indices : array of ints of shape (...)
        From 0 to the number of rows - 1. A Tensor of ints is taken, too.
    w : Tensor or array of shape (rows, features)

    Returns
    -------
    Tensor or array of shape (..., features)

    Raises
    ------
    TypeError
        If the indices are not integers.
    IndexError
        If there is no such row; negative indices are refused.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.embedding([2, 0, 2], mg.Tensor([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]))
    Tensor([[4., 5.],
            [0., 1.],
            [4., 5.]])
    """
    rows = array_of(indices)
    rows = rows if is_array(rows) else np.asarray(rows)
    expect(rows.dtype.kind in "iu", "embedding", "indices of integers", rows.dtype, error=TypeError)
    expect(w.ndim == 2, "embedding", "w of shape (rows, features)", tuple(w.shape))
    if on_host(rows) and rows.size and (rows.min() < 0 or rows.max() >= len(w)):  # on a device, looking would wait
        wanted, got = f"indices from 0 to {len(w) - 1}, the rows of w", f"{rows.min()} to {rows.max()}"
        refuse("embedding", wanted, got, error=IndexError)
    return getitem(w, rows)


def _may_repeat(part: Index) -> bool:
    """Whether a part of an index may name an element twice: sequences of integers may."""
    if is_array(part):
        return bool(part.dtype != np.bool_)
    return not (part is None or part is Ellipsis or isinstance(part, slice | bool) or as_int(part) is not None)


def _on_device_of(x: Array, index: Index) -> Index:
    """Move the host arrays of an index to the device of `x`."""
    if on_host(x):
        return index
    return tuple(namespace(x).asarray(part) if on_host(part) else part for part in _parts(index))


def _parts(index: Index) -> tuple[Any, ...]:
    """Return an index as a tuple."""
    return index if isinstance(index, tuple) else (index,)


def unshared(setting: Any, *inputs: Any) -> Any:
    """Return a setting that the tape may keep: its arrays and lists are copied if a gradient of the inputs is wanted.

    The caller may overwrite his own between forward and backward.
    """
    if isinstance(setting, int | slice) or not mode.get()[0]:
        return setting
    return _copied(setting) if [x for x in inputs if isinstance(x, Tensor) and x.requires_grad] else setting


def _copied(part: Any) -> Any:
    """Copy the arrays and lists of an index; ints, slices and the like cannot be overwritten."""
    if isinstance(part, tuple | list):
        copies = [_copied(p) for p in part]
        return tuple(copies) if isinstance(part, tuple) else copies
    return part.copy() if is_array(part) else part


# Windows -------------------------------------------------------------------------------------


@operator
def im2col(x: Array, /, kernel: Pair, stride: Pair, dilation: Pair) -> Saved:
    """Return all windows of images that a kernel covers.   dx = col2im(g)

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
    >>> from minigrad.ops.shape import im2col
    >>> x = mg.Tensor([[1.0, 2.0, 3.0]]).reshape(1, 1, 3, 1)
    >>> im2col(x, (1, 2), (1, 1), (1, 1)).data[0, 0, :, 0, :, 0]
    array([[1., 2.],
           [2., 3.]], dtype=float32)
    """
    return windows(x, kernel, stride, dilation), {"shape": x.shape}


@im2col.vjp
def _(g: T, shape: Shape, stride: Pair, dilation: Pair) -> T:
    return col2im(g, shape, stride, dilation)


@operator
def col2im(x: Array, /, shape: Shape, stride: Pair, dilation: Pair) -> Saved:
    """Add up windows where they overlap: the adjoint of im2col.   dx = im2col(g)

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
    >>> from minigrad.ops.shape import col2im
    >>> x = mg.Tensor([[1.0, 2.0], [10.0, 20.0]]).reshape(1, 1, 2, 1, 2, 1)
    >>> col2im(x, (1, 1, 3, 1), (1, 1), (1, 1)).data.ravel()
    array([ 1., 12., 20.], dtype=float32)
    """
    out = namespace(x).zeros(shape, dtype=x.dtype)
    add_windows(out, x, stride, dilation)
    return out, {"kernel": x.shape[3:5]}


col2im.vjp(lambda g, kernel, stride, dilation: im2col(g, kernel, stride, dilation))
