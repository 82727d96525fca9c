"""Cleaning up although Ctrl-C may strike at any instruction, that of the cleanup included.

``try: ... finally: ...`` does not suffice. A KeyboardInterrupt inside the ``finally`` block ends the cleanup half-way.

Next: :mod:`minigrad.kernels.blas`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def call_then(f: Callable[[], Result], cleanup: Callable[[], object]) -> Result:
    """Return ``f()``, and run `cleanup` to its end in any case: if an interrupt strikes inside it, once more.

    Parameters
    ----------
    f : callable without arguments
    cleanup : callable without arguments
        It must be right after every part of `f`, and after every part of itself.

    Examples
    --------
    >>> call_then(lambda: "result", lambda: print("clean"))
    clean
    'result'
    """
    try:
        try:
            return f()
        finally:
            cleanup()
    except BaseException:
        while True:
            try:
                cleanup()
            except KeyboardInterrupt:  # someone presses Ctrl-C again and again
                continue
            raise
