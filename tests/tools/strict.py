"""The strict double: an array library that refuses what CuPy refuses, without a GPU.

`strict` is a module that stands in for ``cupy``, and :class:`StrictArray` for ``cupy.ndarray``. The array
holds a NumPy array, and computes with it. But it refuses what CuPy's array refuses: to be mixed with NumPy
arrays, to be converted to one implicitly, and names and keywords that CuPy lacks. So an operator that
runs on it keeps CuPy's rules, and an operator that reaches for ``np`` where it should ask for
``namespace(x)`` does not run. Every refusal is a TypeError whose message starts with ``strict:``.

Bringing a value to the host makes a GPU's program wait. The double lets it pass, as CuPy does, and counts it::

    x = strict.asarray(np.ones(3))
    with count_syncs() as syncs:
        float(x.sum())
    assert syncs.count == 1

There are two devices, and as in CuPy one of them is the current one: the functions work on its arrays only. And
the double records what minigrad calls through it, in `calls`, for :mod:`tests.tools.audit`.

In a few places the double is stricter than CuPy, where what CuPy does is undefined, or a trap: assignment to an
index that names an element twice, lists and NumPy arrays as values or indices, indices out of range. What it
cannot show is asynchrony, streams, and a GPU's rounding.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from importlib import import_module
from types import ModuleType, SimpleNamespace
from typing import Any, NoReturn

import numpy as np

SCALARS = (bool, int, float, complex, np.generic)


class Syncs:
    """A counter of how often a value was brought to the host."""

    count = 0


#: All of this process.
syncs = Syncs()
_counters = [syncs]


@contextmanager
def count_syncs() -> Iterator[Syncs]:
    """Count the transfers to the host inside the context, from zero; contexts may be nested."""
    counter = Syncs()
    _counters.append(counter)
    try:
        yield counter
    finally:
        _counters.remove(counter)


def _sync() -> None:
    for counter in _counters:
        counter.count += 1


def _refuse(what: str) -> NoReturn:
    raise TypeError(f"strict: {what}")


# What is called ------------------------------------------------------------------------------

#: What minigrad has called: (name in CuPy, number of positional arguments, names of the keywords).
calls: set[tuple[str, int, tuple[str, ...]]] = set()


def _recorded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Record the calls that come from minigrad itself, not those of a test or of this file."""
    methods = int(name.startswith("ndarray."))

    @wraps(function)
    def recorded(*args: Any, **keywords: Any) -> Any:
        if sys._getframe(1).f_globals.get("__name__", "").partition(".")[0] in ("minigrad", "models"):
            calls.add((name, len(args) - methods, tuple(sorted(keywords))))
        return function(*args, **keywords)

    return recorded


# Devices -------------------------------------------------------------------------------------


class CUDARuntimeError(RuntimeError):
    """The error that CuPy raises where there is no such device."""


class Device:
    """One of the two devices; ``Device()`` is the current one."""

    current = 0

    def __init__(self, number: int | None = None) -> None:
        self.id = Device.current if number is None else int(number)

    def use(self) -> Device:
        """Make it the current one."""
        if self.id not in (0, 1):
            raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
        Device.current = self.id
        return self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and self.id == other.id

    __hash__ = None  # type: ignore[assignment]


# Between the double and NumPy ----------------------------------------------------------------


def _wrap(result: Any, number: int | None = None) -> Any:
    """Take NumPy's result to the device: arrays and scalars become StrictArrays; other objects stay as they are."""
    if isinstance(result, tuple | list):
        return type(result)(map(_wrap, result))
    return StrictArray(np.asarray(result), number) if isinstance(result, np.ndarray | np.generic | bool) else result


def _held(caller: str, array: StrictArray) -> Any:
    """Return the NumPy array inside an array of the current device."""
    if array.device.id != Device.current:
        _refuse(f"{caller}: the array is on device {array.device.id}, but the current device is {Device.current}")
    return array._held


def _operand(caller: str, value: Any, scalars: bool = True) -> Any:
    """Return the NumPy array inside a StrictArray, or a scalar; refuse the rest."""
    if isinstance(value, StrictArray):
        return _held(caller, value)
    if scalars and isinstance(value, SCALARS):
        return value
    _refuse(f"{caller} expects arrays of its own device{' or scalars' if scalars else ''}, got {type(value).__name__}")


def _operands(caller: str, values: Any) -> list[Any]:
    if not isinstance(values, tuple | list):
        _refuse(f"{caller} expects a sequence of arrays, got {type(values).__name__}")
    return [_operand(caller, value, scalars=False) for value in values]


def _setting(caller: str, name: str, value: Any) -> Any:
    """Return a setting, such as an axis; the only array among the settings is `out`."""
    if name == "out":
        return None if value is None else _operand(caller, value, scalars=False)
    if isinstance(value, np.ndarray | StrictArray):
        _refuse(f"{caller}: {name} cannot be an array")
    return value


def _index(index: Any) -> Any:
    """Return an index that NumPy understands: ints, slices, lists of ints, and StrictArrays pass."""
    if isinstance(index, tuple):
        return tuple(map(_index, index))
    if isinstance(index, StrictArray):
        return _held("an index", index)
    if isinstance(index, np.ndarray):
        _refuse("an index cannot be a NumPy array; bring it to the device with asarray")
    return list(map(_index, index)) if isinstance(index, list) else index


def _positions(x: Any) -> Any:
    return np.arange(x.size).reshape(x.shape)


def _refuse_twice(positions: Any) -> None:
    if np.unique(positions).size < np.size(positions):
        _refuse("the index names an element twice, so what is left there is undefined; use scatter_add")


# The array -----------------------------------------------------------------------------------


class StrictArray:
    """What ``cupy.ndarray`` is to CuPy. Views share their memory, as NumPy's do.

    It has none of ``__index__``, ``__array_interface__``, ``__array_struct__``, ``__buffer__``,
    ``__array_namespace__`` and ``__imatmul__``, as CuPy's has none.
    """

    __slots__ = ("__weakref__", "_held", "_number")
    __module__ = "strict"  # where minigrad.device.namespace looks for the functions
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, held: Any, number: int | None = None) -> None:
        self._held, self._number = held, Device.current if number is None else number

    # Refused

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        _refuse("no silent transfer to the host; use .get()")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **settings: Any) -> Any:
        if ufunc in (np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal):
            inputs = tuple(x[()] if type(x) is np.ndarray and x.ndim == 0 else x for x in inputs)  # was a scalar
        if method == "__call__" and any(isinstance(x, np.generic) for x in inputs):  # np.float32(2) * x
            return getattr(strict, ufunc.__name__)(*inputs, **settings)
        _refuse(f"np.{ufunc.__name__} was called on an array of another device")

    def __array_function__(self, function: Any, *_: Any) -> NoReturn:
        _refuse(f"np.{function.__name__} was called on an array of another device")

    # To the host: counted

    def get(self) -> Any:
        """Return a copy on the host."""
        _sync()
        return self._held.copy()

    def item(self) -> Any:
        """Return the only element as a Python number."""
        _sync()
        return self._held.item()

    def tolist(self) -> Any:
        """Return nested lists of Python numbers."""
        return self.get().tolist()

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __complex__(self) -> complex:
        return complex(self.item())

    def __bool__(self) -> bool:
        _sync()
        return bool(self._held)

    def __repr__(self) -> str:
        return repr(self.get())

    def __str__(self) -> str:
        return str(self.get())

    def __format__(self, spec: str) -> str:
        return format(self.item() if self.ndim == 0 else self.get(), spec)

    # What it is

    @property
    def device(self) -> Any:
        """Where it is."""
        return Device(self._number)

    @property
    def flags(self) -> Any:
        """How the memory is laid out."""
        flags = self._held.flags
        return SimpleNamespace(c_contiguous=flags.c_contiguous, f_contiguous=flags.f_contiguous)

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[StrictArray]:
        return (self[i] for i in range(len(self)))

    # Elements and shape

    def __getitem__(self, index: Any) -> StrictArray:
        index = _index(index)
        parts = index if isinstance(index, tuple) else (index,)
        if any(isinstance(part, np.ndarray) and part.dtype == bool for part in parts):
            _sync()  # the host waits to know how many elements are chosen
        result = self._held[index]
        if isinstance(result, np.generic):
            result = self._held[(*parts, ...)]  # one element is a view, too
        return _wrap(result, self._number)

    def __setitem__(self, index: Any, value: Any) -> None:
        held, index, value = _held("assignment", self), _index(index), _operand("assignment", value)
        if any(isinstance(part, np.ndarray | list) for part in (index if isinstance(index, tuple) else (index,))):
            _refuse_twice(_positions(self)[index])
        held[index] = value

    def reshape(self, *shape: Any, order: str = "C") -> StrictArray:
        """Return the elements in another shape: a view where possible."""
        return _wrap(self._held.reshape(*shape, order=order), self._number)

    def transpose(self, *axes: Any) -> StrictArray:
        """Return a view with the axes in another order."""
        return _wrap(self._held.transpose(*axes), self._number)


def _python_operator(name: str, reflected: bool = False) -> Callable[..., Any]:
    apply = getattr(operator, name)
    in_place = name.startswith("__i")

    def method(self: StrictArray, other: Any) -> Any:
        if not isinstance(other, (StrictArray, np.ndarray, list, tuple, *SCALARS)):
            return NotImplemented  # a Tensor knows what to do
        a, b = _held(name, self), _operand(name, other)
        if in_place:
            apply(a, b)
            return self
        return _wrap(apply(b, a) if reflected else apply(a, b))

    return method


def _attribute(name: str) -> property:
    return property(_recorded(f"ndarray.{name}", lambda self: _wrap(getattr(self._held, name), self._number)))


for _name in ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor", "matmul"]:
    setattr(StrictArray, f"__{_name}__", _python_operator(f"__{_name}__"))
    setattr(StrictArray, f"__r{_name}__", _python_operator(f"__{_name}__", reflected=True))
    if _name != "matmul":
        setattr(StrictArray, f"__i{_name}__", _python_operator(f"__i{_name}__"))
for _name in ["lt", "le", "gt", "ge", "eq", "ne"]:
    setattr(StrictArray, f"__{_name}__", _python_operator(f"__{_name}__"))
for _name in ["shape", "dtype", "ndim", "size", "itemsize", "nbytes", "strides", "T", "real", "imag"]:
    setattr(StrictArray, _name, _attribute(_name))


# Functions and methods -----------------------------------------------------------------------


def _function(name: str, call: Callable[..., Any], signature: str) -> Callable[..., Any]:
    """Make a function that accepts what CuPy's accepts, and passes it on to NumPy's.

    The signature is "operands | settings": operands are arrays; those with a question mark may be scalars, and those
    with dots are sequences of arrays.
    """
    operands, settings = (part.split() for part in signature.split("|"))
    names = [p.strip("?.") for p in operands] + settings

    def function(*args: Any, **keywords: Any) -> Any:
        given = dict(zip(names, args, strict=False)) | keywords
        if len(args) > len(names) or not given.keys() <= set(names):
            got = f"{len(args)} arguments and {', '.join(keywords) or 'no keywords'}"
            _refuse(f"{name} takes ({', '.join(names)}), got {got}")
        arrays = [
            _operands(name, given.pop(n)) if p.endswith("...") else _operand(name, given.pop(n), scalars="?" in p)
            for p, n in zip(operands, names, strict=False)
            if n in given
        ]
        result = call(*arrays, **{n: _setting(name, n, value) for n, value in given.items()})
        return _wrap(result) if given.get("out") is None else given["out"]

    function.__name__ = name
    return function


def _table(text: str) -> dict[str, str]:
    """Read lines of "names : signature"."""
    rows = [line.partition(" : ") for line in text.strip().splitlines()]
    return {name: signature for names, _, signature in rows for name in names.split()}


#: Methods that are functions, too.
METHODS_AND_FUNCTIONS = _table("""
    sum prod mean                   : a | axis dtype out keepdims
    var std                         : a | axis dtype out ddof keepdims
    max min argmax argmin any all   : a | axis out keepdims
    cumsum                          : a | axis dtype out
    copy ravel                      : a | order
    squeeze                         : a | axis
    repeat                          : a | repeats axis
    take                            : a indices? | axis out
    dot                             : a b | out
""")

METHODS = _table("""
    __neg__ __pos__ __abs__ __invert__ conj : a |
    astype                          : a | dtype order casting copy
    view                            : a | dtype
    flatten                         : a | order
    swapaxes                        : a axis1? axis2? |
    fill                            : a value? |
    clip                            : a min? max? | out
    round                           : a | decimals out
""")

FUNCTIONS = _table("""
    amax amin                       : a | axis out keepdims
    sort argsort                    : a | axis kind
    zeros ones empty                : | shape dtype order
    full                            : | shape fill_value dtype order
    zeros_like ones_like            : a | dtype order
    empty_like                      : prototype | dtype order
    full_like                       : a | fill_value dtype order
    arange                          : start? stop? step? | dtype
    eye                             : | N M k dtype order
    ascontiguousarray               : a | dtype
    copyto                          : dst src? | casting
    transpose                       : a | axes
    moveaxis                        : a | source destination
    swapaxes                        : a | axis1 axis2
    expand_dims flip                : a | axis
    roll                            : a | shift axis
    broadcast_to                    : array | shape
    tile                            : A | reps
    pad                             : array | pad_width mode constant_values
    concatenate stack               : tup... | axis out dtype casting
    split                           : ary | indices_or_sections axis
    where                           : condition x? y? |
    clip                            : a a_min? a_max? | out
    nan_to_num                      : x | copy nan posinf neginf
    take_along_axis                 : a indices | axis
    matmul                          : x1 x2 | out dtype casting
    outer                           : a b | out
    tensordot                       : a b | axes
    array_equal                     : a1 a2 | equal_nan
    allclose                        : a b | rtol atol equal_nan
    shares_memory may_share_memory  : a b |
    real imag                       : val |
""")

UFUNCS = """
    abs absolute add arctan bitwise_and bitwise_or ceil conj cos cosh divide equal exp expm1 floor floor_divide greater
    greater_equal invert isfinite isinf isnan less less_equal log log1p log2 logaddexp logical_and logical_not
    logical_or maximum minimum multiply negative not_equal positive power reciprocal remainder rint sign signbit sin
    sinh sqrt square subtract tan tanh true_divide trunc
"""

CONSTANTS = """
    newaxis pi e inf nan bool_ int8 int16 int32 int64 uint8 float16 float32 float64 complex64 complex128
    dtype finfo iinfo issubdtype promote_types generic number integer floating inexact complexfloating
"""


def asarray(a: Any, dtype: Any = None, order: Any = None, *, copy: bool | None = None) -> StrictArray:
    """Bring an array, a number or a list to the device: the explicit way."""
    if isinstance(a, StrictArray) and not copy and dtype in (None, a.dtype) and a.device.id == Device.current:
        return a
    return array(a, dtype, order=order or "K")


def array(obj: Any, dtype: Any = None, copy: bool = True, order: Any = "K") -> StrictArray:
    """Bring a copy of an array, a number or a list to the device."""
    if isinstance(obj, StrictArray) and not copy:
        return asarray(obj, dtype)
    return StrictArray(np.array(obj._held if isinstance(obj, StrictArray) else obj, dtype=dtype, order=order))


def asnumpy(a: StrictArray) -> Any:
    """Bring an array to the host."""
    return a.get()


def einsum(subscripts: str, *operands: StrictArray, **settings: Any) -> StrictArray:
    """Sum products of elements as the subscripts say; there is no out."""
    if not settings.keys() <= {"dtype", "optimize"}:
        _refuse(f"einsum takes dtype and optimize, got {', '.join(settings)}")
    return _wrap(np.einsum(subscripts, *_operands("einsum", operands), **settings))


def put_along_axis(arr: StrictArray, indices: StrictArray, values: Any, axis: int) -> None:
    """Write where the indices along an axis say."""
    held, places, values = (_operand("put_along_axis", a, scalars=a is values) for a in (arr, indices, values))
    _refuse_twice(np.take_along_axis(_positions(held), places, axis))
    np.put_along_axis(held, places, values, axis)


def _add_at(a: StrictArray, indices: Any, b: Any) -> None:
    """Add into ``a[indices]``, twice where an index comes twice."""
    np.add.at(_operand("add.at", a, scalars=False), _index(indices), _operand("add.at", b))


def _ufunc(name: str) -> Callable[..., Any]:
    numpys = getattr(np, name)
    ufunc: Any = _function(name, numpys, ("x1? x2?" if numpys.nin == 2 else "x?") + " | out dtype casting")
    for method in ("reduce", "accumulate"):
        fold = _function(f"{name}.{method}", getattr(numpys, method), "array | axis dtype out")
        why = f"{name} has no {method}; only add and multiply have"
        setattr(ufunc, method, fold if name in ("add", "multiply") else lambda *_, why=why, **__: _refuse(why))
    return ufunc


# Put together --------------------------------------------------------------------------------

#: The namespace: what ``cupy`` is to a ``cupy.ndarray``.
strict: Any = ModuleType("strict", "A stand-in for CuPy.")
strict.ndarray = StrictArray
strict.cuda = SimpleNamespace(Device=Device, runtime=SimpleNamespace(CUDARuntimeError=CUDARuntimeError))
for _name in CONSTANTS.split():
    setattr(strict, _name, getattr(np, _name))

_functions = {
    name: _function(name, getattr(np, name), row) for name, row in (METHODS_AND_FUNCTIONS | FUNCTIONS).items()
}
_functions |= {name: _ufunc(name) for name in UFUNCS.split()}
_functions |= {f.__name__: f for f in (asarray, array, asnumpy, einsum, put_along_axis)}
_functions["reshape"] = _function(
    "reshape", lambda a, newshape, **order: a.reshape(newshape, **order), "a | newshape order"
)
for _name, _given in _functions.items():
    setattr(strict, _name, _recorded(_name, _given))
strict.add.at = _recorded("add.at", _add_at)

_windows = {
    name: _recorded(f"lib.stride_tricks.{name}", _function(name, getattr(np.lib.stride_tricks, name), row))
    for name, row in {"as_strided": "x | shape strides", "sliding_window_view": "x | window_shape axis"}.items()
}
strict.lib = SimpleNamespace(stride_tricks=SimpleNamespace(**_windows))

for _name, _signature in (METHODS_AND_FUNCTIONS | METHODS).items():
    setattr(StrictArray, _name, _function(f"ndarray.{_name}", getattr(np.ndarray, _name), _signature))
for _name, _given in list(vars(StrictArray).items()):
    if callable(_given) and _name not in ("__init__", "__array__", "__array_ufunc__", "__array_function__"):
        setattr(StrictArray, _name, _recorded(f"ndarray.{_name}", _given))
sys.modules["strict"] = strict

#: What ``cupyx.scipy.special`` is to CuPy. (SciPy is imported when a function is first called.)
_special: Any = ModuleType("strictx.scipy.special")
for _name in ("erf", "ndtr"):
    _call = partial(lambda name, x: getattr(import_module("scipy.special"), name)(x), _name)
    setattr(_special, _name, _recorded(f"cupyx.scipy.special.{_name}", _function(_name, _call, "x? | out")))
sys.modules["strictx.scipy.special"] = _special
