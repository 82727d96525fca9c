"""Memory that the C library keeps for the next array.

Next: :mod:`minigrad.autograd.recompute`.
"""

from __future__ import annotations

import ctypes
import os
import sys


def keep_freed_memory() -> None:
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
