"""Ways to run a function on Tensors: directly, in segments that are computed again, and in another thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import minigrad as mg

#: Each takes a function and its arguments, and must give the same results and gradients.
FORWARDS: dict[str, Callable[..., Any]] = {
    "direct": lambda f, *xs: f(*xs),
    "recompute": mg.recompute,
    "nested": lambda f, *xs: mg.recompute(lambda *xs: mg.recompute(f, *xs), *xs),
}


def in_another_thread(f: Callable[..., Any], *args: Any) -> Any:
    """Return what `f` returns in a thread of its own, which records and searches for no NaNs."""
    results = []
    thread = threading.Thread(target=lambda: results.append(f(*args)))
    thread.start()
    thread.join()
    return results[0]
