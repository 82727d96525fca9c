"""BLAS on one thread, for the duration of a call.

minigrad cuts matrix products into blocks and computes them on its own threads (:mod:`minigrad.kernels.threads`). Inside
a block BLAS must use one thread. BLAS's own threads gain little on the tall, narrow matrices of convolutions, and with
them the rounding of a result would depend on the number of threads.

Next: :mod:`minigrad.kernels.threads`.
"""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from collections.abc import Callable
from typing import NamedTuple

from minigrad.kernels.interrupts import Result, call_then


class Library(NamedTuple):
    """A BLAS library that this process has loaded: its own functions, and the kind of processor it computes for."""

    get_num_threads: Callable[[], int]
    set_num_threads: Callable[[int], object]
    architecture: str | None


_lock = threading.RLock()
_holders: set[object] = set()  # one for each call of on_one_thread that is under way
_before: list[tuple[Library, int]] = []  # the libraries, and their numbers of threads before the first holder


def on_one_thread(f: Callable[[], Result]) -> Result:
    """Return ``f()``, computed while all BLAS libraries of this process are on one thread.

    The number of BLAS threads is a setting of the whole process, and several threads may call this function at once. So
    the first call sets it to one, and the last to end restores it, even after an exception or an interrupt.

    Examples
    --------
    >>> on_one_thread(lambda: [library.get_num_threads() for library in libraries()]) == [1] * len(libraries())
    True
    """
    holder = object()

    def hold_and_call() -> Result:
        _lock.acquire()  # an interrupt leaves the lock taken, so that no other thread sees an unfinished change
        if not _holders:
            _before[:] = [(library, library.get_num_threads()) for library in libraries()]
        _holders.add(holder)
        if len(_holders) == 1:
            for library, _ in _before:
                library.set_num_threads(1)
        _lock.release()
        return f()

    def release() -> None:
        if holder in _holders:
            _lock.acquire()
            if len(_holders) == 1:
                _restore()
            _holders.discard(holder)  # last: a second call of release can then repeat all of it
        try:
            while True:  # an interrupt may have left the lock taken twice
                _lock.release()
        except RuntimeError:  # this thread no longer has it
            pass

    return call_then(hold_and_call, release)


def _restore() -> None:
    """Give each library its own number of threads again."""
    for library, count in _before:
        library.set_num_threads(count)


# The libraries -------------------------------------------------------------------------------

#: The names, in C, of the functions that return and set the number of threads, from any thread: in MKL and in OpenBLAS,
#: whose builds add a prefix or a suffix.
_FUNCTIONS = [("MKL_Get_Max_Threads", "MKL_Set_Num_Threads")]
for _name in ("openblas_%s_num_threads", "scipy_openblas_%s_num_threads"):
    _FUNCTIONS += [(_name % "get" + suffix, _name % "set" + suffix) for suffix in ("", "64_", "_64")]


@functools.cache
def libraries() -> tuple[Library, ...]:
    """Find the libraries, with threadpoolctl. (Its own setter works only in the first thread that calls it.)"""
    from threadpoolctl import threadpool_info

    found = []
    for info in threadpool_info():
        library = ctypes.CDLL(info["filepath"])
        for getter, setter in _FUNCTIONS:
            if hasattr(library, getter):
                found.append(Library(getattr(library, getter), getattr(library, setter), info.get("architecture")))
    return tuple(found)


@functools.cache
def has_small_kernels() -> bool:
    """Return whether BLAS is OpenBLAS on a processor with AVX-512, for which it has kernels for small matrices."""
    return any(library.architecture in ("SkylakeX", "Cooperlake", "SapphireRapids") for library in libraries())


def _after_fork_in_child() -> None:
    """Discard the holders: the parent's threads do not exist in the child."""
    global _lock
    _lock = threading.RLock()
    if _holders:
        _restore()
        _holders.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
