"""Tensor: an array with a place on the tape.

This is what users hold. A Tensor has its data and a *node*: a :class:`Leaf` if the user made it
and wants its gradient, the entry of :mod:`minigrad.autograd.operator` that made it if it is an operator's result,
or None if no gradient flows through it. The tape's arrows run between nodes, never between
Tensors, so a Tensor that nobody holds any more is freed, whatever was computed from it.

Next: :mod:`minigrad.autograd.tape`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np

from minigrad.device import device_name, is_array, on_host, to_device, to_host
from minigrad.typing import Array

Hook = Callable[["Tensor"], "Tensor | None"]

#: The public operators by name, and backward. They are defined in files above this one, and entered there: Python's
#: operators and NumPy's methods on a Tensor find them here.
operators: dict[str, Callable[..., Tensor]] = {}


class Leaf:
    """Where a gradient ends: the node of a Tensor that was made by the user, and its ``.grad``."""

    __slots__ = ("dtype", "grad", "hooks", "shape")

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self.shape, self.dtype = shape, dtype
        self.grad: Tensor | None = None
        self.hooks: list[Hook] = []


class Tensor:
    """An array with a place on the tape.

    Parameters
    ----------
    data : array, number or nested list
        Arrays keep their dtype and are not copied; Python floats become float32.
    requires_grad : bool
        Whether :meth:`backward` shall leave a gradient in ``.grad``.

    Attributes
    ----------
    data : array
        Rebinding it is safe at any time. Writing into it between forward and backward is undefined.
    grad : Tensor or None
        The gradient that ``backward`` added up; always None on the result of an operator.
    shape, dtype, ndim, size, device
        Of the data.
    requires_grad : bool
        Whether gradients flow through this Tensor.

    Raises
    ------
    TypeError
        If `data` is no array of numbers, or `requires_grad` is asked of integers.

    Examples
    --------
    >>> x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> y = (x * x).sum()
    >>> y.backward()
    >>> x.grad
    Tensor([2., 4., 6.])
    """

    __slots__ = ("__weakref__", "_data", "_node", "_recorded")

    #: NumPy cannot swallow a Tensor by accident: ``array * tensor`` calls our ``__rmul__``.
    __array_ufunc__ = None

    _data: Array
    _node: Any  # Leaf, Entry or None
    _recorded: bool  # set when an operator that was recorded took this constant

    def __init__(self, data: Any, *, requires_grad: bool = False) -> None:
        if isinstance(data, Tensor):
            raise TypeError("Tensor: expected an array, got a Tensor; use .detach(), or .data for its array")
        self._data = _as_array(data)
        self._node = None
        if requires_grad:
            if self._data.dtype.kind not in "fc":
                raise TypeError(
                    f"Tensor: only floating-point data can require a gradient, got {self._data.dtype}; "
                    "convert it with .astype('float32')"
                )
            self._node = Leaf(self._data.shape, self._data.dtype)

    # What it is ------------------------------------------------------------------------------

    @property
    def data(self) -> Array:
        """The array."""
        return self._data

    @data.setter
    def data(self, array: Any) -> None:
        array = _as_array(array)
        if self.requires_grad and array.dtype.kind not in "fc":
            raise TypeError(f"data: this Tensor requires a gradient, which {array.dtype} cannot have")
        if isinstance(self._node, Leaf) and (array.shape, array.dtype) != (self._node.shape, self._node.dtype):
            self._node = Leaf(array.shape, array.dtype)  # another shape or dtype: the old gradient does not fit
        self._data = array

    @property
    def grad(self) -> Tensor | None:
        """The gradient that ``backward`` added up, or None."""
        return self._node.grad if isinstance(self._node, Leaf) else None

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if not isinstance(self._node, Leaf):
            if value is None:
                return
            raise RuntimeError(
                "grad: only a Tensor made with requires_grad=True holds a gradient; for others use mg.grad(y, x)"
            )
        if value is not None and (value.shape, value.dtype) != (self.shape, self.dtype):
            raise ValueError(f"grad: expected {self.shape} {self.dtype}, got {value.shape} {value.dtype}")
        self._node.grad = value

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow through this Tensor. Can be set on a leaf: False freezes it."""
        return self._node is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if not self.is_leaf:
            raise RuntimeError("requires_grad: this Tensor is the result of an operator; use .detach() to cut it off")
        if value != self.requires_grad:
            self._node = Tensor(self._data, requires_grad=True)._node if value else None
            self._recorded = True  # an operator may have recorded it while it was a leaf

    @property
    def is_leaf(self) -> bool:
        """Whether this Tensor was made by the user, and is not an operator's result that requires a gradient."""
        return self._node is None or isinstance(self._node, Leaf)

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of the axes."""
        return cast("tuple[int, ...]", self._data.shape)

    @property
    def dtype(self) -> Any:
        """The type of the elements."""
        return self._data.dtype

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return cast(int, self._data.ndim)

    @property
    def size(self) -> int:
        """The number of elements."""
        return cast(int, self._data.size)

    @property
    def device(self) -> str:
        """Where the data is: ``"cpu"``, ``"cuda:0"``, ..."""
        return device_name(self._data)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a Tensor with no axes")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        body = np.array2string(to_host(self._data), separator=", ", prefix="Tensor(")
        kind = "" if self.dtype == np.float32 else f", dtype={self.dtype}"
        place = "" if on_host(self._data) else f", device={self.device!r}"
        return f"Tensor({body}{kind}{place}{', requires_grad=True' if self.requires_grad else ''})"

    # Gradients -------------------------------------------------------------------------------

    def backward(self, grad: Any = None, *, create_graph: bool = False, retain_graph: bool = False) -> None:
        """Add the gradient of this Tensor to the ``.grad`` of every leaf that it depends on.

        Parameters
        ----------
        grad : Tensor or array of this Tensor's shape, optional
            The gradient to start from. A Tensor with one element starts from 1.
        create_graph : bool
            Record the replay itself, so that the gradients can be differentiated, and keep what the tape holds. Leaf,
            gradient and graph then hold one another until ``.grad`` is set to None: :func:`minigrad.grad` does not.
        retain_graph : bool
            Keep what the tape holds, so that backward can be called again.

        Raises
        ------
        RuntimeError
            If nothing was recorded, `grad` is missing, or the tape was released.

        Examples
        --------
        >>> x = Tensor([1.0, 2.0], requires_grad=True)
        >>> (x * x).backward(np.array([1.0, 10.0], "float32"))
        >>> x.grad
        Tensor([ 2., 40.])
        """
        operators["backward"](self, grad, create_graph=create_graph, retain_graph=retain_graph or create_graph)

    def hook(self, f: Hook) -> None:
        """Call ``f(gradient)`` when the gradient of this Tensor is complete.

        What `f` returns, if not None, takes its place. `f` gets a Tensor.

        Examples
        --------
        >>> x = Tensor([1.0, 2.0], requires_grad=True)
        >>> x.hook(lambda g: g * 10)
        >>> (x * x).sum().backward()
        >>> x.grad
        Tensor([20., 40.])
        """
        if self._node is None:
            raise RuntimeError("hook: this Tensor requires no gradient, so the hook would never be called")
        self._node.hooks = [*self._node.hooks, f]

    def detach(self) -> Tensor:
        """Return a Tensor of the same data, cut off from the tape."""
        return new_tensor(self._data, None)

    # Out of the tape -------------------------------------------------------------------------

    def numpy(self) -> Array:
        """Return the data as a NumPy array: the same memory on the host, a copy from a device."""
        return to_host(self._data)

    def item(self) -> Any:
        """Return the only element as a Python number."""
        if self.size != 1:
            raise ValueError(f"item: expected a Tensor with one element, got shape {self.shape}")
        return self._data.item()

    def to(self, device: str) -> Tensor:
        """Return this Tensor on ``"cpu"``, ``"cuda"`` or ``"cuda:1"``: itself if it is there already.

        A leaf gives a leaf: move a model, or its input, before the forward pass. See :func:`minigrad.device.to_device`.
        """
        if not self.is_leaf:
            raise RuntimeError(
                "to: the result of an operator cannot be moved, its gradient would not find back; move leaves before "
                "the forward pass, or cut it off with .detach()"
            )
        data = to_device(self._data, device)
        return self if data is self._data else Tensor(data, requires_grad=self.requires_grad)

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __bool__(self) -> bool:
        return bool(self.item())

    def __array__(self, *_: object, **__: object) -> Any:
        raise TypeError(
            "a Tensor is not silently taken for an array: use .numpy() (or .data for the array on its device)"
        )

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(value, Tensor) and value.requires_grad:
            raise RuntimeError(
                "a Tensor that requires a gradient cannot be written into another: the tape would not know. Compute a "
                "new Tensor (where, concatenate, pad), or write value.data"
            )
        if self._node is not None or hasattr(self, "_recorded"):
            raise RuntimeError(
                "Tensors that an operator has recorded, or that require a gradient, cannot be written into: the tape "
                "would not know. Compute a new Tensor (where, concatenate, pad), or write into .data before that"
            )
        self._data[index] = array_of(value)

    # Python's operators ----------------------------------------------------------------------

    def __add__(self, other: Any) -> Tensor:
        return operators["add"](self, other)

    def __radd__(self, other: Any) -> Tensor:
        return operators["add"](other, self)

    def __sub__(self, other: Any) -> Tensor:
        return operators["sub"](self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return operators["sub"](other, self)

    def __mul__(self, other: Any) -> Tensor:
        return operators["mul"](self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return operators["mul"](other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return operators["div"](self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return operators["div"](other, self)

    def __pow__(self, other: Any) -> Tensor:
        return operators["pow"](self, other)

    def __rpow__(self, other: Any) -> Tensor:
        return operators["pow"](other, self)

    def __matmul__(self, other: Any) -> Tensor:
        return operators["matmul"](self, other)

    def __rmatmul__(self, other: Any) -> Tensor:
        return operators["matmul"](other, self)

    def __neg__(self) -> Tensor:
        return operators["neg"](self)

    def __abs__(self) -> Tensor:
        return operators["abs"](self)

    def __getitem__(self, index: Any) -> Tensor:
        return operators["getitem"](self, index)

    # Comparisons give plain boolean arrays; a Tensor hashes by identity, so that it can be a key.

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> Any:
        return self._data == array_of(other)

    def __ne__(self, other: object) -> Any:
        return self._data != array_of(other)

    def __lt__(self, other: Any) -> Any:
        return self._data < array_of(other)

    def __le__(self, other: Any) -> Any:
        return self._data <= array_of(other)

    def __gt__(self, other: Any) -> Any:
        return self._data > array_of(other)

    def __ge__(self, other: Any) -> Any:
        return self._data >= array_of(other)

    # NumPy's methods -------------------------------------------------------------------------

    def sum(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """See :func:`minigrad.sum`."""
        return operators["sum"](self, axis, keepdims)

    def mean(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """See :func:`minigrad.mean`."""
        return operators["mean"](self, axis, keepdims)

    def max(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """See :func:`minigrad.max`."""
        return operators["max"](self, axis, keepdims)

    def min(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """See :func:`minigrad.min`."""
        return operators["min"](self, axis, keepdims)

    def var(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """See :func:`minigrad.var`."""
        return operators["var"](self, axis, keepdims)

    def reshape(self, *shape: Any) -> Tensor:
        """See :func:`minigrad.reshape`; the shape may be given as one tuple or as several numbers."""
        return operators["reshape"](self, shape[0] if len(shape) == 1 else shape)

    def transpose(self, *axes: Any) -> Tensor:
        """See :func:`minigrad.transpose`; the axes may be given as one tuple or as several numbers."""
        one = len(axes) == 1 and not hasattr(axes[0], "__index__")
        return operators["transpose"](self, (axes[0] if one else axes) or None)

    @property
    def T(self) -> Tensor:
        """The Tensor with its axes in reverse order."""
        return operators["transpose"](self)


def array_of(value: Any) -> Any:
    """Return the array of a Tensor, and anything else as it is."""
    return value._data if isinstance(value, Tensor) else value


def _as_array(data: Any) -> Array:
    """Take `data` as an array: arrays as they are, Python floats as float32."""
    if is_array(data) and data.dtype.kind in "fciub":
        return data if type(data) is np.ndarray or not on_host(data) else np.asarray(data)
    try:
        array = np.asarray(data)
    except ValueError as error:
        raise ValueError(
            f"Tensor: expected an array of numbers, got nested lists of unequal lengths: {error}"
        ) from None
    if array.dtype == np.float64 and not isinstance(data, np.generic):
        array = array.astype(np.float32)
    if array.dtype.kind not in "fciub":
        raise TypeError(f"Tensor: expected an array of numbers, got {type(data).__name__} ({array.dtype})")
    return array


def new_tensor(data: Array, node: Any) -> Tensor:
    """Make the Tensor of an operator's result: the fast way, which trusts its caller."""
    tensor = Tensor.__new__(Tensor)
    tensor._data = data
    tensor._node = node
    return tensor
