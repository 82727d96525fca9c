"""A few threads that share the tasks of one operator.

NumPy releases Python's global lock while it copies, adds or multiplies matrices, so threads do help, if each works on
a block of data that stays in its core's cache.

One rule keeps results bit-equal for every number of threads: *what* the tasks are depends on shapes and constants only;
the number of threads decides merely *who* does which task.

Next: :mod:`minigrad.kernels.blocks`.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from queue import SimpleQueue
from typing import Any

from minigrad.kernels.blas import blas

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
    with blas:
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
        blas.lock = threading.Lock()
        if blas.callers:
            blas.callers = 0
            blas.set(blas.before)

    os.register_at_fork(after_in_child=_after_fork)
