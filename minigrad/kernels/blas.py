"""BLAS on one thread, whatever its own setting.

The matrix products of minigrad are cut into blocks that minigrad's own threads share, so BLAS has to work on one
thread inside each block. BLAS's own threads gain little on the tall, narrow matrices of convolutions, and with them
the rounding of a result would depend on the number of threads.

Next: :mod:`minigrad.kernels.threads`.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any


class Blas:
    """The BLAS libraries of this process: ``with blas:`` keeps them on one thread.

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


blas = Blas()
