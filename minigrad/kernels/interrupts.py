"""Cleanup that is complete even if Ctrl-C interrupts it.

``try: ... finally: ...`` does not suffice. A KeyboardInterrupt may come at any instruction, and one inside
the ``finally`` block ends the cleanup half-way.

Next: :mod:`minigrad.kernels.blas`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def call_then(f: Callable[[], Result], cleanup: Callable[[], object]) -> Result:
    """Return ``f()``, and run `cleanup` to its end in any case: after an interrupt inside it, once more.

    Parameters
    ----------
    f : callable without arguments
    cleanup : callable without arguments
        It must be correct wherever `f` was interrupted, and wherever an earlier run of `cleanup` was.

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
