"""Array backends: NumPy and CuPy.

Every operator works on the arrays it is given: NumPy's on the host, CuPy's on a GPU. Both libraries have the same
functions, so an operator asks for the module that made its arrays and calls that module's functions::

    xp = namespace(x)
    return xp.exp(x)

The few differences between the two libraries are handled in this file only. CuPy is never imported unless a CuPy array
or a device is given.

Next: :mod:`minigrad.autograd.tape`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any, Protocol, TypeGuard, cast

import numpy as np

from minigrad.typing import Array, Axis, Index


class Namespace(Protocol):
    """A module with NumPy's functions: for type checkers, each of them returns an array."""

    def __getattr__(self, name: str) -> Callable[..., Array]: ...


def namespace(*arrays: object) -> Namespace:
    """Return the module whose functions work on `arrays`: the one that made the first of them.

    An array's module is the top-level package of its type. Python numbers belong to no module; without any array, the
    result is NumPy.

    Examples
    --------
    >>> namespace(2.0, np.ones(3)).__name__
    'numpy'
    """
    for array in arrays:
        if type(array) is np.ndarray:
            break
        if is_array(array):
            return cast(Namespace, sys.modules[type(array).__module__.partition(".")[0]])
    return cast(Namespace, np)


def is_array(value: object) -> TypeGuard[Array]:
    """Return whether `value` is an array: it has a dtype and strides, and is not a NumPy scalar."""
    if isinstance(value, np.ndarray):
        return True
    return hasattr(value, "dtype") and hasattr(value, "strides") and not isinstance(value, np.generic | type)


def on_host(array: object) -> bool:
    """Return whether `array` is a NumPy array: only these are shared among threads."""
    return isinstance(array, np.ndarray)


def device_name(array: Array) -> str:
    """Return the name of the device that holds `array`: ``"cpu"``, ``"cuda:0"``, ..."""
    if on_host(array):
        return "cpu"
    device = getattr(array, "device", None)
    number = getattr(device, "id", None)
    return str(device) if number is None else f"cuda:{number}"


def to_host(array: Array) -> Array:
    """Return `array` as a NumPy array: itself if it is one, else a copy brought to the host."""
    return array if on_host(array) else array.get()  # type: ignore[attr-defined]  # CuPy's


def to_device(array: Array, device: str) -> Array:
    """Return `array` on `device`: ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.

    CuPy computes on its current device. ``"cuda:1"`` makes GPU 1 the current device of this thread; ``"cuda"`` means
    the current device.

    Raises
    ------
    ValueError
        If the device has another name.
    RuntimeError
        If a GPU is requested, but CuPy is not installed or finds no usable GPU.

    Examples
    --------
    >>> to_device(np.ones(2), "gpu")
    Traceback (most recent call last):
    ValueError: to: expected a device "cpu", "cuda" or "cuda:1", got 'gpu'
    """
    kind, _, number = str(device).partition(":")
    if device == "cpu":
        return to_host(array)
    if device != "cuda" and not (kind == "cuda" and number.isdecimal()):
        raise ValueError(f'to: expected a device "cpu", "cuda" or "cuda:1", got {device!r}')
    # CuPy is imported only here, because most users do not have it.
    try:
        import cupy
    except ImportError as error:
        raise RuntimeError(
            f"to: {device!r} needs CuPy, which cannot be imported ({error}); install it with: "
            "pip install 'minigrad-numpy[gpu]'"
        ) from None
    # CuPy can be installed where there is no GPU: that shows only when a device is used.
    try:
        cupy.cuda.Device(int(number) if number else None).use()
        return cupy.asarray(array)  # type: ignore[no-any-return]
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise RuntimeError(
            f"to: CuPy is installed, but finds no usable GPU for {device!r} ({error}); that takes an NVIDIA GPU of "
            "this number and its driver: see what nvidia-smi lists"
        ) from None


# The few primitives that differ -------------------------------------------------------------


def special(x: object) -> Namespace:
    """Return the module of special functions (erf, ...) that works on `x`: SciPy's, or CuPy's version of it.

    Examples
    --------
    >>> float(special(0.0).erf(0.0))
    0.0
    """
    library = cast(ModuleType, namespace(x)).__name__
    return cast(Namespace, import_module("scipy.special" if library == "numpy" else f"{library}x.scipy.special"))


def windows(x: Array, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]) -> Array:
    """Return a view of all the windows of images that a kernel covers, without copying.

    Parameters
    ----------
    x : array of shape (n, h, w, c)
        Contiguous or not.
    kernel, stride, dilation : (int, int)
        Sizes along height and width.

    Returns
    -------
    array of shape (n, ho, wo, kh, kw, c)
        A view of `x` that must not be written to: its windows overlap.
        ``ho = (h - dilation * (kh - 1) - 1) // stride + 1``, and ``wo`` likewise.
    """
    n, h, w, c = x.shape
    (kh, kw), (sh, sw), (dh, dw) = kernel, stride, dilation
    ho, wo = (h - dh * (kh - 1) - 1) // sh + 1, (w - dw * (kw - 1) - 1) // sw + 1
    # The next window begins `stride` pixels further, the next tap `dilation` pixels further. So each of the six axes
    # has a constant stride in bytes, and a view can describe them.
    sn, sy, sx, sc = x.strides
    xp: Any = namespace(x)
    view: Array = xp.lib.stride_tricks.as_strided(
        x, (n, ho, wo, kh, kw, c), (sn, sh * sy, sw * sx, dh * sy, dw * sx, sc)
    )
    # A write to one window would change its neighbours. CuPy's arrays cannot be protected.
    if on_host(x):
        view.flags.writeable = False
    return view


def add_windows(out: Array, values: Array, stride: tuple[int, int], dilation: tuple[int, int]) -> None:
    """Add `values` (n, ho, wo, kh, kw, c) to the windows of `out` in place: the adjoint of :func:`windows`."""
    _, ho, wo, kh, kw, _ = values.shape
    (sh, sw), (dh, dw) = stride, dilation
    for i in range(kh):  # the windows overlap, but for one tap (i, j) their pixels stand a stride apart
        for j in range(kw):
            out[:, i * dh : i * dh + sh * ho : sh, j * dw : j * dw + sw * wo : sw] += values[:, :, :, i, j]


def scatter_add(target: Array, index: Index, values: Array) -> None:
    """Add `values` into ``target[index]`` in place; if the index names an element twice, both values are added."""
    xp: Any = namespace(target)
    xp.add.at(target, index, values)


#: At most this many numbers are added one after the other, in each step of a long sum.
GROUP = 16

#: With rows of this many numbers, NumPy's overhead for each row no longer matters.
ROW = 1024


def add_up(x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
    r"""Return the sum over axes; its error hardly grows with the number of summands.

    NumPy adds adjacent numbers in pairs, but along other axes it adds one after the other: the error of such a sum of n
    numbers grows with n. Here the axis is cut into groups of 16, whose sums are added in groups of 16, and so on. So
    each number passes through at most T = 64 + 5 log2 n additions, and, with unit roundoff u (6e-8 in float32),

    .. math:: |\text{error}| \le T u \sum |x|

    to first order in u (Higham, "Accuracy and Stability of Numerical Algorithms", chapter 4). For ten million numbers
    of float32, T u is 1.1e-5; the error is usually below 1e-6. The order of the additions follows from the shape and
    the strides alone, so no bit depends on the number of threads. On another device, the array's own library adds.
    """
    # NumPy adds in pairs by itself if the sum runs over the whole of a contiguous array.
    axes: list[int] = []
    if x.size > 4 * GROUP and on_host(x) and not (axis is None and x.flags.forc):
        given = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
        axes = sorted([a % x.ndim for a in given])
    if math.prod([x.shape[a] for a in axes]) <= 4 * GROUP:
        return x.sum(axis=axis, keepdims=keepdims)  # type: ignore[no-any-return]
    # One axis after the other, each in groups.
    total = x
    for a in axes:
        total = _in_groups(total, a)
    return total if keepdims else total.reshape([n for i, n in enumerate(x.shape) if i not in axes])


def _in_groups(x: Array, a: int) -> Array:
    """Return the sum over one axis, which keeps the size 1.

    A group consists of rows, not of single numbers: so few channels take no longer than many.
    """
    n, before, after = x.shape[a], x.shape[:a], x.shape[a + 1 :]
    if n <= GROUP or x.itemsize == x.strides[a] == min(x.strides):  # adjacent numbers
        return x.sum(axis=a, keepdims=True)  # type: ignore[no-any-return]
    row = max(1, min(n // GROUP, ROW // math.prod(after)))
    whole, index = n - n % (GROUP * row), (slice(None),) * a
    groups = x[(*index, slice(whole))].reshape(*before, -1, GROUP, row, *after)
    total = _in_groups(groups.sum(axis=a + 1).reshape(*before, -1, *after), a)
    return total if whole == n else total + _in_groups(x[(*index, slice(whole, None))], a)


# Who sees an array change ----------------------------------------------------------------------


def holders(x: object) -> int:
    """Count what holds an array that the caller has just read from an attribute or an item.

    If it is 1, nobody else can see the array change: any other variable, a view, and an entry of the tape would hold
    it, too. PyTorch asks the same before it takes over a gradient (``use_count`` in accumulate_grad.h). A view of the
    whole of an array counts as the array. What is not a NumPy array, or cannot be overwritten as one run, or is a part
    of an array, has one holder more.
    """
    count = sys.getrefcount(x) - _of_the_call
    if type(x) is not np.ndarray or not x.flags.c_contiguous or not x.flags.writeable:
        return count + 1
    return count if x.flags.owndata else count + holders(x.base) - (getattr(x.base, "nbytes", 0) == x.nbytes)


#: The references that a call of `holders` makes itself; Python's versions differ.
_of_the_call, _held = 0, [np.empty(0)]
_of_the_call = holders(_held[0]) - 1
