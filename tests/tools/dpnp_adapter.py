"""dpnp with CuPy's interface: the few functions that minigrad calls and dpnp lacks, added for the tests.

dpnp is NumPy's interface over SYCL. Its arrays have a memory of their own, and refuse NumPy's as CuPy's do, but it runs
on a CPU, too: an independent library that tests dispatch where there is no GPU. minigrad has no code for it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import dpnp
import numpy as np
import scipy.special

Array = dpnp.ndarray


def as_strided(x: Any, shape: Any = None, strides: Any = None) -> Any:
    """View the memory of `x` with other strides: dpnp lacks the function, but its constructor takes a buffer."""
    if 0 in shape:
        return dpnp.empty(shape, dtype=x.dtype)
    return Array(shape, dtype=x.dtype, buffer=x, strides=strides)


def add_at(a: Any, indices: Any, b: Any) -> None:
    """Add into ``a[indices]``: dpnp's ufuncs have no `at`, so it is done on the host."""
    held = a.asnumpy()
    parts = indices if isinstance(indices, tuple) else (indices,)
    np.add.at(held, tuple(p.asnumpy() if isinstance(p, Array) else p for p in parts), dpnp.asnumpy(b))
    a[...] = dpnp.asarray(held)


def with_lists(method: Callable[..., Any]) -> Callable[..., Any]:
    """Accept an index that contains lists, which CuPy takes for arrays, as NumPy does."""

    def indexed(self: Any, index: Any, *value: Any) -> Any:
        parts = index if isinstance(index, tuple) else (index,)
        moved = tuple(dpnp.asarray(part) if isinstance(part, list | tuple) else part for part in parts)
        return method(self, moved if isinstance(index, tuple) else moved[0], *value)

    return indexed


def maximum(a: Any, b: Any, out: Any = None) -> Any:
    """Return the elementwise maximum; `out` may be one of the arguments, which dpnp refuses."""
    if out is None:
        return _maximum(a, b)
    out[...] = _maximum(a, b)
    return out


_maximum = dpnp.maximum
dpnp.maximum = maximum
special: Any = ModuleType("dpnpx.scipy.special")  # under the name that corresponds to CuPy's
special.erf, special.ndtr = (
    lambda x, f=f: dpnp.asarray(f(dpnp.asnumpy(x))) for f in (scipy.special.erf, scipy.special.ndtr)
)
sys.modules["dpnpx.scipy.special"] = special
dpnp.lib = SimpleNamespace(stride_tricks=SimpleNamespace(as_strided=as_strided))
dpnp.add.at = add_at
Array.get = Array.asnumpy
Array.__deepcopy__ = lambda self, memo: self.copy()
Array.__getitem__ = with_lists(Array.__getitem__)
Array.__setitem__ = with_lists(Array.__setitem__)

#: What `import cupy` shall find: where arrays come from, and a device to choose.
cupy: Any = ModuleType("cupy", "dpnp in CuPy's dialect.")
cupy.asarray = dpnp.asarray
cupy.cuda = SimpleNamespace(
    Device=lambda number: SimpleNamespace(use=lambda: None), runtime=SimpleNamespace(CUDARuntimeError=RuntimeError)
)
