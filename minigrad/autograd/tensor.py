"""Tensor: an array with a place on the tape.

Users hold Tensors. A Tensor has its data and a *node*: a :class:`Leaf` if the user made it and wants its gradient, the
:class:`Entry` of the operator that computed it, or None if no gradient flows through it. The edges of the tape run
between nodes, never between Tensors, so a Tensor that is no longer referenced is freed, whatever was computed from it.

Next: :mod:`minigrad.autograd.operator`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minigrad.arguments import expect, not_half, refuse
from minigrad.autograd.tape import Hook, Leaf, Node
from minigrad.checked import composed
from minigrad.device import device_name, is_array, on_host, to_device, to_host
from minigrad.typing import Array, Axis, DType, Function, Index, Number, Operand, Shape, TensorOrArray


class Tensor:
    """An array with a place on the tape.

    Parameters
    ----------
    data : array, number or nested list
        Arrays keep their dtype and are not copied; Python floats become float32.
    requires_grad : bool
        Whether :meth:`backward` stores a gradient in ``.grad``.

    Attributes
    ----------
    data : array
        Rebinding it is safe at any time: what was recorded before uses the old array. An array of another shape, dtype
        or device starts without a gradient, and gets none from what was recorded before; hooks stay. The tape stores
        arrays, not copies, also those that an operator was given beside Tensors. So what is written into one between
        forward and backward changes gradients. (Of indices, conditions and labels it stores copies.)
    grad : Tensor or None
        The sum of the gradients that ``backward`` computed; always None on the result of an operator.
    shape, dtype, ndim, size, device
        Of the data.
    requires_grad : bool
        Whether gradients flow through this Tensor.

    Raises
    ------
    TypeError
        If `data` is not an array of numbers, or of float16, or `requires_grad` is set for integers.

    Examples
    --------
    >>> x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> y = (x * x).sum()
    >>> y.backward()
    >>> x.grad
    Tensor([2., 4., 6.])
    """

    __slots__ = ("__weakref__", "_data", "_node", "_recorded")

    #: Keeps NumPy from converting a Tensor: ``array * tensor`` calls Tensor's ``__rmul__``.
    __array_ufunc__ = None

    _data: Array
    _node: Node | None
    _recorded: list[bool]  # whether an entry may store this array although no gradient is needed; one for all views

    @composed
    def __init__(self, data: Array | Number | Sequence[Any], *, requires_grad: bool = False) -> None:
        if isinstance(data, Tensor):
            raise TypeError("Tensor: expected an array, got a Tensor; use .detach(), or .data for its array")
        self._data = _as_array(data)
        self._node = None
        if requires_grad:
            floating, fix = self._data.dtype.kind in "fc", "convert it with .astype('float32')"
            expect(floating, "Tensor", "floating-point data to require a gradient", self._data.dtype, fix, TypeError)
            self._node = Leaf(self._data.shape, self._data.dtype)

    # Data and gradient -----------------------------------------------------------------------

    @property
    def data(self) -> Array:
        """The array."""
        return self._data

    @data.setter
    def data(self, array: Array) -> None:
        array = _as_array(array)
        floating = not self.requires_grad or array.dtype.kind in "fc"
        expect(floating, "data", "floating-point data to require a gradient", array.dtype, error=TypeError)
        kinds = [(a.shape, a.dtype, device_name(a)) for a in (self._data, array)]
        if self._node is not None and kinds[0] != kinds[1]:
            held, given = [f"{shape} {dtype} on {device}" for shape, dtype, device in kinds]
            expect(self.is_leaf, "data", f"{held}, as the operator returned it", given, "use .detach() to cut it off")
            self._node = Leaf(array.shape, array.dtype, self._node.hooks)  # the old gradient does not fit
        self._data, self._recorded = array, [False]

    @property
    def grad(self) -> Tensor | None:
        """The sum of the gradients that ``backward`` computed, or None."""
        return self._node.grad if isinstance(self._node, Leaf) else None

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if not isinstance(self._node, Leaf):
            if value is None:
                return
            raise RuntimeError(
                "grad: only a Tensor made with requires_grad=True holds a gradient; for others use mg.grad(y, x)"
            )
        if value is not None:
            expect(isinstance(value, Tensor), "grad", "a Tensor or None", type(value).__name__, error=TypeError)
            held, given = [f"{x.shape} {x.dtype} on {x.device}" for x in (self, value)]
            expect(held == given, "grad", held, given)
        self._node.grad = value

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow through this Tensor. False, set on a leaf, freezes it and drops grad and hooks."""
        return self._node is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if not self.is_leaf:
            raise RuntimeError("requires_grad: this Tensor is the result of an operator; use .detach() to cut it off")
        if value != self.requires_grad:
            self._node = Tensor(self._data, requires_grad=True)._node if value else None
            lock(self)  # an entry may have stored its array while it was a leaf

    @property
    def is_leaf(self) -> bool:
        """Whether this Tensor is a leaf: the user made it, or it requires no gradient."""
        return self._node is None or isinstance(self._node, Leaf)

    @property
    def shape(self) -> Shape:
        """The sizes of the axes."""
        return self._data.shape  # type: ignore[no-any-return]

    @property
    def dtype(self) -> DType:
        """The type of the elements."""
        return self._data.dtype

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self._data.ndim

    @property
    def size(self) -> int:
        """The number of elements."""
        return self._data.size

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
        dtype = "" if self.dtype == np.float32 else f", dtype={self.dtype}"
        device = "" if on_host(self._data) else f", device={self.device!r}"
        return f"Tensor({body}{dtype}{device}{', requires_grad=True' if self.requires_grad else ''})"

    def hook(self, f: Hook) -> None:
        """Call ``f(gradient)`` when the gradient of this Tensor is complete.

        Parameters
        ----------
        f : function of a Tensor
            If it returns a Tensor, that replaces the gradient.

        Raises
        ------
        RuntimeError
            If this Tensor requires no gradient.

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

    # Out of the tape -------------------------------------------------------------------------

    def detach(self) -> Tensor:
        """Return a Tensor with no place on the tape. It shares memory with this one, so it cannot be written into."""
        tensor = new_tensor(self._data, None)
        tensor._recorded = [True]
        return tensor

    def numpy(self) -> Array:
        """Return the data as a NumPy array: the same memory on the host, a copy from a device."""
        return to_host(self._data)

    def item(self) -> Any:  # a float, an int, a bool or a complex number: by the dtype
        """Return the only element as a Python number.

        Raises
        ------
        ValueError
            If there are several elements, or none.
        """
        if self.size != 1:
            raise ValueError(f"item: expected a Tensor with one element, got shape {self.shape}")
        return self._data.item()

    def tolist(self) -> Any:  # nested lists of floats, ints, bools or complex numbers
        """Return the data as nested lists of Python numbers."""
        return to_host(self._data).tolist()

    def to(self, device: str) -> Tensor:
        """Return this Tensor on ``"cpu"``, ``"cuda"`` or ``"cuda:1"``: itself if it is there already.

        A leaf gives a leaf: move a model, or its input, before the forward pass. See :func:`minigrad.device.to_device`.
        """
        if not self.is_leaf:
            raise RuntimeError(
                "to: the result of an operator cannot be moved, because the move is not recorded; move leaves before "
                "the forward pass, or cut the result off with .detach()"
            )
        data = to_device(self._data, device)
        return self if data is self._data else Tensor(data, requires_grad=self.requires_grad)

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __bool__(self) -> bool:
        return bool(self.item())

    def __format__(self, spec: str) -> str:
        if spec:
            fix = "for several numbers, write {x} alone, or format each of x.tolist()"
            expect(self.size == 1, "format", "a Tensor with one element", f"shape {self.shape}", fix)
        return format(self.item(), spec) if spec else str(self)

    def __getstate__(self) -> Any:  # the attributes, in a dict or None, and the slots, in a dict
        if not self.is_leaf:
            raise RuntimeError("an operator's result cannot be copied or pickled with its tape; .detach() cuts it off")
        state: Any = super().__getstate__()
        state[1].pop("_recorded", None)  # no entry stores the array of the copy
        return state

    def __copy__(self) -> Tensor:
        tensor: Tensor = object.__new__(type(self))
        attributes, slots = self.__getstate__()
        for name, value in {**(attributes or {}), **slots}.items():
            setattr(tensor, name, value)
        lock_together(tensor, self)  # they share their memory
        return tensor

    def __array_function__(self, f: Function, *_: object) -> None:
        fix = "NumPy would not record it: use an operator of minigrad, or the array, .numpy()"
        refuse(f"{f.__module__}.{f.__name__}", "arrays", "a Tensor", fix, TypeError)

    def __array__(self, *_: object, **__: object) -> Array:
        raise TypeError("a Tensor is not converted to an array silently: use .numpy() (or .data on its own device)")

    def __setitem__(self, index: Index, value: Operand) -> None:
        if isinstance(value, Tensor) and value.requires_grad:
            raise RuntimeError(
                "a Tensor that requires a gradient cannot be written into another: the tape does not record writes. "
                "Compute a new Tensor (where, concatenate, pad), or write value.data"
            )
        if self._node is not None or getattr(self, "_recorded", [False])[0]:
            raise RuntimeError(
                "Tensors that require a gradient, that an operator has recorded, or that share memory with such a "
                "Tensor (detach, reshape) cannot be written into: the tape does not record writes. Compute a new "
                "Tensor (where, concatenate, pad), or write into a copy: mg.Tensor(x.data.copy())"
            )
        self._data[index] = array_of(value)

    # Comparisons give plain arrays of booleans. A Tensor hashes by identity, so that it can be a key.

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> Array:  # type: ignore[override]
        _expect_not_none(other, "x == y", "x is None")
        return self._data == array_of(other)  # type: ignore[no-any-return]

    def __ne__(self, other: object) -> Array:  # type: ignore[override]
        _expect_not_none(other, "x != y", "x is not None")
        return self._data != array_of(other)  # type: ignore[no-any-return]

    def __lt__(self, other: Operand) -> Array:
        return self._data < array_of(other)  # type: ignore[no-any-return]

    def __le__(self, other: Operand) -> Array:
        return self._data <= array_of(other)  # type: ignore[no-any-return]

    def __gt__(self, other: Operand) -> Array:
        return self._data > array_of(other)  # type: ignore[no-any-return]

    def __ge__(self, other: Operand) -> Array:
        return self._data >= array_of(other)  # type: ignore[no-any-return]

    if TYPE_CHECKING:  # the types of what minigrad.autograd.backward and minigrad.ops.methods install

        def backward(  # noqa: D102
            self, grad: TensorOrArray | None = None, *, create_graph: bool = False, retain_graph: bool = False
        ) -> None: ...
        def __add__(self, other: Operand) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __getitem__(self, index: Index) -> Tensor: ...
        def sum(self, axis: Axis = None, keepdims: bool = False) -> Tensor: ...  # noqa: D102
        def reshape(self, *shape: int | Sequence[int]) -> Tensor: ...  # noqa: D102
        def transpose(self, *axes: int | tuple[int, ...] | None) -> Tensor: ...  # noqa: D102
        def flatten(self, start: int = 0) -> Tensor: ...  # noqa: D102
        def squeeze(self, axis: Axis = ...) -> Tensor: ...  # noqa: D102
        def clip(self, a_min: float | None = None, a_max: float | None = None) -> Tensor: ...  # noqa: D102
        def astype(self, dtype: DType | type | str) -> Tensor: ...  # noqa: D102
        def argmax(self, axis: int | None = None) -> Array: ...  # noqa: D102
        @property
        def T(self) -> Tensor: ...  # noqa: D102

        __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __add__
        __pow__ = __rpow__ = __matmul__ = __rmatmul__ = __add__
        __abs__ = exp = log = sqrt = abs = __neg__
        argmin = argmax
        mean = var = std = max = min = sum


def _expect_not_none(other: object, comparison: str, fix: str) -> None:
    """Refuse None in a comparison: the answer would be an array, whose truth is not what was asked."""
    expect(other is not None, comparison, "numbers to compare", None, f"use `{fix}`", TypeError)


def array_of(value: Any) -> Any:  # any type in and out; only a Tensor becomes an array
    """Return the array of a Tensor, and anything else as it is."""
    return value._data if isinstance(value, Tensor) else value


def new_tensor(data: Array, node: Node | None) -> Tensor:
    """Make the Tensor of an operator's result, without any checks."""
    tensor = Tensor.__new__(Tensor)
    tensor._data = data
    tensor._node = node
    return tensor


def lock(tensor: Tensor) -> None:
    """Refuse writes from now on, into this Tensor and all that share its memory: an entry may store the array."""
    tensor._recorded = recorded = getattr(tensor, "_recorded", [True])
    recorded[0] = True


def lock_together(view: Tensor, source: Tensor) -> None:
    """Let a view be locked with its source; at once, if the source is on the tape."""
    if not hasattr(source, "_recorded"):
        source._recorded = [False]
    view._recorded = source._recorded if source._node is None else [True]


def owner(array: Any) -> Any:
    """Return what holds the memory of an array: of two arrays with one owner, one may be a view of the other."""
    while (base := getattr(array, "base", None)) is not None:
        array = base
    return array


def plain(caller: str, array: Array) -> Array:
    """Return an array of NumPy's own class; refuse float16, and a masked array, whose mask would be lost.

    Subclasses compute in ways of their own: to a matrix, ``*`` is the matrix product.
    """
    if on_host(array) and type(array) is not np.ndarray:
        masked, fix = isinstance(array, np.ma.MaskedArray), "fill it: array.filled(0)"
        expect(not masked, caller, "an array without a mask", "a masked array", fix, TypeError)
        array = np.asarray(array)
    not_half(caller, array.dtype)
    return array


def _as_array(data: Any) -> Array:
    """Take `data` as an array: arrays as they are, Python floats as float32."""
    if is_array(data) and data.dtype.kind in "fciub":
        array = plain("Tensor", data)
        return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
    try:
        array = np.asarray(data)
    except ValueError as error:
        raise ValueError(
            f"Tensor: expected an array of numbers, got nested lists of unequal lengths: {error}"
        ) from None
    if array.dtype == np.float64 and not hasattr(data, "__array__"):  # a pandas frame, a NumPy number: as an array
        array = array.astype(np.float32)
    if array.dtype.kind not in "fciub":
        raise TypeError(f"Tensor: expected an array of numbers, got {type(data).__name__} ({array.dtype})")
    return plain("Tensor", array)
