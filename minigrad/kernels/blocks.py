"""Cutting work into blocks, by shapes and constants alone.

A block is small enough to stay in a core's cache from one operation on it to the next. Its boundaries never depend on
the number of threads, so results are bit-equal for every number of threads.

Next: :mod:`minigrad.kernels.products`.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable

import numpy as np

from minigrad.device import on_host
from minigrad.kernels.threads import run
from minigrad.typing import Array

# All sizes by which work is cut. They are read here, as blocks.NAME, at every call: tests make them small.

#: The bytes of an activation, or of the factors of a product, in one block: half of a core's L2 cache (1 to 2 MB).
BLOCK_BYTES = 1 << 20

#: The bytes of im2col's columns in a block: more than elsewhere, since each block costs a dozen NumPy calls.
COLUMN_BYTES = 3 * BLOCK_BYTES // 2

#: The bytes of a piece of Winograd's transformed tiles and their products. Smaller ones fit the cache better, but each
#: costs two dozen NumPy calls, and with every call threads wait for Python's lock.
TILE_BYTES = 2 * BLOCK_BYTES

#: With rows of this many numbers, NumPy's overhead for each row no longer matters.
ROW_LENGTH = 1024

#: The number of partial sums of a sum over pixels, for every number of threads.
PARTIAL_SUMS = 4

#: A product of fewer multiply-adds is not worth a second thread.
MIN_MULTIPLY_ADDS = 1 << 20

#: OpenBLAS treats a product of at most this many multiply-adds as small.
SMALL_MULTIPLY_ADDS = 10**6


@functools.lru_cache(maxsize=1024)
def spans(total: int, size: int) -> tuple[slice, ...]:
    """Cut ``range(total)`` into as few slices of at most `size` as possible, of nearly equal length.

    Examples
    --------
    >>> spans(10, 4)
    (slice(0, 4, None), slice(4, 7, None), slice(7, 10, None))
    """
    return split(total, max(1, -(-total // max(size, 1))))


def split(total: int, count: int) -> tuple[slice, ...]:
    """Cut ``range(total)`` into `count` slices of nearly equal length.

    Examples
    --------
    >>> split(10, 4)
    (slice(0, 3, None), slice(3, 6, None), slice(6, 8, None), slice(8, 10, None))
    """
    length, longer = divmod(total, count)
    ends = itertools.accumulate([length + 1] * longer + [length] * (count - longer), initial=0)
    return tuple(itertools.starmap(slice, itertools.pairwise(ends)))


def row_blocks(x: Array, rows: int, row_bytes: int) -> tuple[slice, ...]:
    """Cut rows of `x` into blocks of at most `BLOCK_BYTES`; on another device they are one block."""
    return spans(rows, BLOCK_BYTES // max(row_bytes, 1)) if on_host(x) else (slice(0, rows),)


def elementwise(f: Callable[..., Array], *arrays: Array) -> Array:
    """Return ``f(*arrays)``, in blocks on the threads if the arrays are large.

    Parameters
    ----------
    f : callable
        Computes each element from the elements at its place. It takes ``out``, as NumPy's functions do.
    *arrays : array
        Only large, contiguous arrays on the host, all of one shape and dtype, are cut into blocks.
    """
    first = arrays[0]
    large = on_host(first) and first.nbytes >= 2 * BLOCK_BYTES
    if not large or any(a.shape != first.shape or a.dtype != first.dtype or not a.flags.c_contiguous for a in arrays):
        return f(*arrays)
    out = np.empty(first.shape, first.dtype)
    overwrite(lambda *parts: f(*parts[:-1], out=parts[-1]), *arrays, out)
    return out


def overwrite(f: Callable[..., object], *arrays: Array) -> None:
    """Call ``f(*arrays)`` in blocks on the threads.

    Parameters
    ----------
    f : callable
        Computes each element from the elements at its place, and writes into contiguous arrays among its arguments.
    *arrays : array
        All of one shape and dtype.
    """
    flat = [a.reshape(-1) for a in arrays]
    parts = row_blocks(arrays[0], arrays[0].size, arrays[0].itemsize)
    run(lambda i: f(*[a[parts[i]] for a in flat]), len(parts))
