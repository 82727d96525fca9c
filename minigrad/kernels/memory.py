"""Reuse of freed memory: the process keeps it for its next arrays.

Next: :mod:`minigrad.autograd.modes`.
"""

from __future__ import annotations

import ctypes
import os
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # in malloc.h


def keep_freed_memory() -> None:
    """Let the process keep the memory of freed arrays for its next arrays: a training step then takes less time.

    A training step makes and frees the same large arrays again and again. By default, the C library returns their
    memory to the system, which fills every page with zeros before it gives it out again; that takes longer than most of
    the arithmetic on it. After this call memory stays with the process: hardly more than it once needed at one time.

    This setting holds for the whole process until it ends. So importing minigrad does not make it:
    :func:`minigrad.train.fit`, the demos and the benchmarks call this function. Calling it again has no further
    effect. It works with GNU's C library (Linux), and does nothing elsewhere. It also does nothing if one of
    the library's own variables, ``MALLOC_...`` or ``GLIBC_TUNABLES``, is set: ``MALLOC_PERTURB_=0`` keeps the default.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.keep_freed_memory()
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None and not any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        mallopt(_M_MMAP_MAX, 0)  # no array has pages of its own, which would be returned with it
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
