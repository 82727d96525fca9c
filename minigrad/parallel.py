"""Fixed blocks of work on a few threads.

NumPy lets go of Python's global lock while it copies, adds or multiplies matrices, so
threads do help, if each works on a block of data that stays in its core's cache, with BLAS
on one thread inside. BLAS's own threads gain little on the tall, narrow matrices of
convolutions, and they make results depend on how many there are.

One rule keeps results bit-equal for every number of threads: *what* the blocks are depends on
shapes and constants only (and on which kernels BLAS has for this processor, which changes the bits
anyway); the number of threads decides merely *who* does which. A sum over blocks is therefore never
added up in the order in which threads happen to finish. It is kept in a fixed number of partial sums,
the `LANES`: lane ``l`` is one block of work, which walks its own share of the pixels from first to last,
and the lanes are added up in order at the end.

Next: :mod:`minigrad.tensor`.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import os
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import copy_context
from queue import SimpleQueue
from typing import Any

import numpy as np

from minigrad.device import Array, namespace, on_host

#: Bytes of an activation, or of the factors of a product, that one block works on: they should stay in a core's L2
#: cache from one pass over them to the next.
BLOCK_BYTES = 1 << 20

#: How many partial sums a sum over pixels is kept in, whatever the number of threads.
LANES = 4

_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
_queue: SimpleQueue[Any] | None = None  # of work for the threads beside the caller's own
_queue_lock = threading.Lock()


def set_num_threads(n: int) -> None:
    """Let minigrad's operators use `n` threads: results are the same, to the bit, for every `n`.

    Parameters
    ----------
    n : int
        At least 1. The default is the number of processors this process may use.

    Raises
    ------
    ValueError
        If `n` is not a positive integer.

    Examples
    --------
    >>> import minigrad as mg
    >>> before = mg.get_num_threads()
    >>> mg.set_num_threads(1)
    >>> mg.get_num_threads()
    1
    >>> mg.set_num_threads(before)
    """
    global _threads
    if isinstance(n, bool) or not hasattr(n, "__index__") or n < 1:
        raise ValueError(f"set_num_threads: expected an integer of at least 1, got {n!r}")
    with _queue_lock:
        if n != _threads:
            _threads = int(n)
            _close_queue()


def get_num_threads() -> int:
    """Return how many threads minigrad's operators use.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.get_num_threads() >= 1
    True
    """
    return _threads


def run(task: Callable[[int], object], count: int) -> None:
    """Call ``task(0)``, ..., ``task(count - 1)``, spread over the threads, with BLAS on one thread in each.

    Whoever is free takes the next number, so tasks must not depend on one another. The first
    exception of a task is raised here.
    """
    with _blas:
        if count == 1 or _threads == 1 or _inside.task:  # a task's own tasks are run where it is: no thread is free
            for i in range(count):
                task(i)
            return
        numbers = itertools.count()  # next(numbers) is one step of the interpreter: no two threads get the same
        ended: SimpleQueue[BaseException | None] = SimpleQueue()

        def work() -> None:
            _inside.task = True
            try:
                while (i := next(numbers)) < count:
                    task(i)
            except BaseException as error:
                ended.put(error)
            else:
                ended.put(None)
            finally:
                _inside.task = False

        helpers = min(_threads, count) - 1
        _hand_over(work, helpers)
        work()
        errors = [error for error in [ended.get() for _ in range(1 + helpers)] if error is not None]
        if errors:
            raise errors.pop()


class _Inside(threading.local):
    """Whether this thread is working on a task just now."""

    task = False


_inside = _Inside()


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


def matmul(a: Array, b: Array, out: Array | None = None) -> Array:
    """Multiply matrices (or stacks of them) under the thread rule: rows of `a` in fixed blocks, and columns of `b`.

    Columns are cut where there are few blocks of rows: a small image has few pixels and many channels. On another
    device, and for stacks, it is one plain product.
    """
    if not on_host(a):
        return namespace(a).matmul(a, b, out=out)
    if a.ndim != 2 or b.ndim != 2 or a.dtype != b.dtype:
        with _blas:
            return np.matmul(a, b, out=out)
    (m, k), n = a.shape, b.shape[1]
    if out is None:
        out = np.empty((m, n), a.dtype)
    rows = spans(m, max(BLOCK_BYTES // max((k + n) * a.itemsize, 1), _MIN_MULTIPLY_ADDS // max(k * n, 1)))
    wide = max(n * len(rows) // LANES, _MIN_MULTIPLY_ADDS // max(k * rows[0].stop, 1))
    parts = list(itertools.product(rows, spans(n, wide)))

    def part(i: int) -> None:
        some, columns = parts[i]
        multiply(a[some], b[:, columns], out[some, columns])

    run(part, len(parts))
    return out


def multiply(a: Array, b: Array, out: Array) -> Array:
    """Multiply a (m, k) with b (k, n), for a block of pixels: in pieces of a few rows, if the product is narrow.

    OpenBLAS first writes both matrices in an order of its own, which pays if every number is used often. In a product
    with n = 16 to 64 columns it is not, and where there are kernels that take small matrices as they lie, many small
    products are faster than the whole, by a sixth.
    """
    (m, k), n = a.shape, b.shape[1]
    piece = _piece(a, n, 24)
    if not piece or not out.flags.c_contiguous:
        return namespace(a).matmul(a, b, out=out)
    whole, b = m - m % piece, np.ascontiguousarray(b)
    np.matmul(a[:whole].reshape(-1, piece, k), b, out=out[:whole].reshape(-1, piece, n))
    np.matmul(a[whole:], b, out=out[whole:])
    return out


def _inner(a: Array, b: Array, out: Array | None) -> Array:
    """Multiply a' with b, for a (m, k) and b (m, n): if the product is narrow, in pieces of m, which are added up."""
    (m, k), n = a.shape, b.shape[1]
    piece = _piece(a, n, 48)
    if not piece:
        return namespace(a).matmul(a.T, b, out=out)
    whole = m - m % piece
    products = scratch("products", (whole // piece, k, n), a)
    np.matmul(a[:whole].reshape(-1, piece, k).swapaxes(1, 2), b[:whole].reshape(-1, piece, n), out=products)
    out = np.add.reduce(products, axis=0, out=out)
    out += a[whole:].T @ b[whole:]
    return out


def _piece(a: Array, n: int, least: int) -> int:
    """Say how many rows of a (m, k) make a small product of n columns, if that is at least `least`; else 0."""
    m, k = a.shape
    if not on_host(a) or a.dtype.char not in "fd" or not a.flags.c_contiguous or not (k and 8 < n <= 64):
        return 0
    rows = _SMALL_MULTIPLY_ADDS // (k * n) // 4 * 4
    return rows if least <= rows < m and _blas.has_small_kernels else 0


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


#: A product of fewer multiply-adds than this is not worth a second thread.
_MIN_MULTIPLY_ADDS = 1 << 20

#: What OpenBLAS takes for a small product.
_SMALL_MULTIPLY_ADDS = 10**6


class Lanes:
    """A sum over blocks of products a' b, kept in at most `LANES` partial sums, each walked in order.

    Give :func:`run` a task that takes the `share` of lane ``i`` and adds to it; ask for the `total` afterwards.
    """

    def __init__(self, blocks: Sequence[Any]) -> None:
        self.blocks = blocks
        self.shares = spans(len(blocks), -(-len(blocks) // LANES))
        self.count = len(self.shares)
        self.sums: list[Any] = [None] * self.count

    def share(self, lane: int) -> Sequence[Any]:
        """Return the blocks that a lane walks."""
        return self.blocks[self.shares[lane]]

    def add(self, lane: int, a: Array, b: Array) -> None:
        """Add a' b, of a (m, k) and b (m, n), to a lane."""
        if self.sums[lane] is None:
            self.sums[lane] = _inner(a, b, None)
        else:
            self.sums[lane] += _inner(a, b, scratch("product", (a.shape[1], b.shape[1]), a))

    def total(self) -> Array:
        """Add the lanes up, in order."""
        total = self.sums[0]
        for lane in self.sums[1:]:
            total += lane
        return total


# Scratch arrays ------------------------------------------------------------------------------


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


def _keep_freed_memory() -> None:
    """Have the C library keep what is freed, for the next array, and not give it back to the system at once.

    A training step makes and frees the same large arrays again and again. Fresh pages are filled with zeros by the
    system first, one by one, which takes longer than most of the arithmetic on them. What is kept is at most what the
    process once needed. GNU's C library can be told; whoever has set its variables, ``MALLOC_...``, has decided.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None and not any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        threshold, trim = -3, -1  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD in malloc.h
        mallopt(threshold, 32 << 20)  # the most it takes: larger arrays have pages of their own
        mallopt(trim, 2**31 - 1)


_keep_freed_memory()


# BLAS and the helpers ------------------------------------------------------------------------


class _Blas:
    """The BLAS libraries of this process: ``with _blas:`` keeps them on one thread.

    The setting is the process's, so those who want it just now are counted; the last to go puts back what was before.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.callers = 0
        self.before: list[int] = []

    @functools.cached_property
    def libraries(self) -> list[Any]:
        from threadpoolctl import ThreadpoolController

        return list(ThreadpoolController().select(user_api="blas").lib_controllers)

    @functools.cached_property
    def setters(self) -> list[Callable[[int], object]]:
        """What sets each library's number of threads, from whichever thread this is called."""
        # threadpoolctl's own method does nothing when another thread than the first one calls it
        return [getattr(library, "_real_set_num_threads", library.set_num_threads) for library in self.libraries]

    @functools.cached_property
    def has_small_kernels(self) -> bool:
        """Whether this is OpenBLAS on a processor with AVX-512."""
        with_avx512 = ("SkylakeX", "Cooperlake", "SapphireRapids")
        return any(getattr(library, "architecture", None) in with_avx512 for library in self.libraries)

    def set(self, threads: list[int]) -> None:
        """Set each library's number of threads."""
        for setter, n in zip(self.setters, threads, strict=True):
            setter(n)

    def __enter__(self) -> None:
        with self.lock:
            self.callers += 1
            if self.callers == 1:
                self.before = [library.get_num_threads() for library in self.libraries]
                self.set([1] * len(self.before))

    def __exit__(self, *exception: object) -> None:
        with self.lock:
            self.callers -= 1
            if self.callers == 0:
                self.set(self.before)


_blas = _Blas()


def _hand_over(work: Callable[[], None], helpers: int) -> None:
    """Let `helpers` threads beside the caller's own call `work`.

    They wait at a queue, from which one is woken in a third of the time that ``concurrent.futures`` takes. For a layer
    of one image, that is a part of the work itself.
    """
    global _queue
    with _queue_lock:  # or else another thread might close the queue before the work is in it
        if _queue is None:
            _queue = SimpleQueue()
            names = [f"minigrad-{i}" for i in range(max(_threads - 1, 1))]
            _apart.helpers = [threading.Thread(target=_help, args=(_queue,), name=name, daemon=True) for name in names]
            _apart.cpu = None
            for helper in _apart.helpers:
                helper.start()
        _apart.keep()
        for _ in range(helpers):
            _queue.put((copy_context(), work))  # NumPy's errstate is a part of the caller's context


def _help(queue: SimpleQueue[Any]) -> None:
    """Be a helper: do what comes through the queue, until it is closed by a None, which goes on to the next helper."""
    while (given := queue.get()) is not None:
        context, work = given
        context.run(work)
        del given, context, work  # or they, and their arrays, would live until the next come
    queue.put(None)


class _Apart:
    """Keeps the helpers off the processor that the caller works on.

    Linux likes to wake a thread where the one that wakes it runs, since that one will often wait next. Ours does not:
    it works on its own share, and a helper beside it would wait until the system moves one of them, some milliseconds
    later.
    """

    def __init__(self) -> None:
        self.helpers: list[Any] = []
        self.cpu: int | None = None
        self.getcpu = getattr(ctypes.CDLL(None), "sched_getcpu", None) if sys.platform == "linux" else None

    def keep(self) -> None:
        """See where the caller runs; if it has moved, let the helpers have all its other processors."""
        cpu = self.getcpu() if self.getcpu else None
        if cpu != self.cpu:
            self.cpu = cpu
            others = os.sched_getaffinity(0) - {cpu}
            with suppress(OSError):  # some sandboxes forbid it
                for helper in self.helpers if others else ():
                    os.sched_setaffinity(helper.native_id, others)


_apart = _Apart()


def _close_queue() -> None:
    """Send the helpers away, once they have done what is in the queue: there will be another number of them."""
    global _queue
    if _queue is not None:
        _queue.put(None)
    _queue = None


if hasattr(os, "register_at_fork"):

    def _after_fork() -> None:
        global _queue, _queue_lock
        _queue, _queue_lock = None, threading.Lock()  # the parent's threads do not exist here
        _blas.lock = threading.Lock()
        if _blas.callers:
            _blas.callers = 0
            _blas.set(_blas.before)

    os.register_at_fork(after_in_child=_after_fork)
