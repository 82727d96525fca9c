"""How work is cut into blocks: by shapes and constants alone.

A block is small enough to stay in a core's cache from one operation on it to the next. Block boundaries never depend on
the number of threads, so results are bit-equal for every number of threads.

Next: :mod:`minigrad.kernels.products`.
"""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from minigrad.device import namespace, on_host
from minigrad.kernels.threads import run
from minigrad.typing import Array

#: Bytes of an activation, or of the factors of a product, that one block works on: they should stay in a core's L2
#: cache from one pass over them to the next.
BLOCK_BYTES = 1 << 20


@functools.lru_cache(maxsize=1024)
def spans(total: int, size: int) -> tuple[slice, ...]:
    """Cut ``range(total)`` into the fewest near-equal runs of at most about `size`: a function of the shape alone.

    Examples
    --------
    >>> spans(10, 4)
    (slice(0, 4, None), slice(4, 7, None), slice(7, 10, None))
    """
    return cut(total, max(1, -(-total // max(size, 1))))


def cut(total: int, count: int) -> tuple[slice, ...]:
    """Cut ``range(total)`` into `count` near-equal runs.

    Examples
    --------
    >>> cut(10, 4)
    (slice(0, 3, None), slice(3, 6, None), slice(6, 8, None), slice(8, 10, None))
    """
    short, longer = divmod(total, count)
    ends = list(itertools.accumulate([short + 1] * longer + [short] * (count - longer), initial=0))
    return tuple(itertools.starmap(slice, itertools.pairwise(ends)))


def elementwise(f: Callable[..., Array], *arrays: Array) -> Array:
    """Return ``f(*arrays)``, element by element, in blocks on the threads; `f` takes ``out``, as NumPy's functions do.

    That is for large arrays on the host of one shape and dtype. Others are one call.
    """
    first = arrays[0]
    if not on_host(first) or first.nbytes < 2 * BLOCK_BYTES:
        return f(*arrays)
    if any(a.shape != first.shape or a.dtype != first.dtype or not a.flags.c_contiguous for a in arrays):
        return f(*arrays)
    out = np.empty(first.shape, first.dtype)
    flat, target = [a.reshape(-1) for a in arrays], out.reshape(-1)
    blocks = spans(out.size, BLOCK_BYTES // out.itemsize)
    run(lambda i: f(*[a[blocks[i]] for a in flat], out=target[blocks[i]]), len(blocks))
    return out


class _Scratch(threading.local):
    """Each thread's own buffers, kept from call to call: fresh pages cost more than arithmetic."""

    def __init__(self) -> None:
        self.buffers: dict[Any, Array] = {}


_scratch = _Scratch()


def scratch(purpose: str, shape: tuple[int, ...], like: Array) -> Array:
    """Return an uninitialised array, of the dtype of `like`, that lives until this thread asks for `purpose` again.

    It must not become part of a result. The buffer behind it only ever grows. On another device, whose
    library keeps freed memory itself, it is a new array.
    """
    if not on_host(like):
        return namespace(like).empty(shape, dtype=like.dtype)
    dtype, size = like.dtype, 1
    for length in shape:
        size *= length
    buffer = _scratch.buffers.get((purpose, dtype))
    if buffer is None or buffer.size < size:
        buffer = _scratch.buffers[purpose, dtype] = np.empty(size, dtype)
    return buffer[:size].reshape(shape)
