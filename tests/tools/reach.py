"""Private names of the source that tests use, all in one place: whoever renames one finds it here.

Results do not show how they were computed: which intermediate results, which of several paths to the same result,
and which division of the work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minigrad.autograd.operator import Operator
from minigrad.kernels import conv, products
from minigrad.ops import pool


def watch_gradients(monkeypatch: Any) -> list[tuple[list[bool], list[bool]]]:
    """Note, for every application of a rule from now on, which gradients were needed, and which it gave."""
    watched = []
    pull = Operator.pull

    def noted(self: Any, g: Any, need: Any, *rest: Any) -> Any:
        gradients = list(pull(self, g, need, *rest))
        watched.append((list(need), [d is not None for d in gradients]))
        return gradients

    monkeypatch.setattr(Operator, "pull", noted)
    return watched


def count_calls(monkeypatch: Any, module: Any, *names: str) -> list[str]:
    """Note the name of each of these functions of a module whenever it is called."""
    called: list[str] = []

    def noting(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args: (called.append(name), function(*args))[1]

    for name in names:
        monkeypatch.setattr(module, name, noting(name, getattr(module, name)))
    return called


def entry_of(tensor: Any) -> Any:
    """Return the entry of the tape that made a Tensor."""
    return tensor._node


def entries_of(tensor: Any) -> list[Any]:
    """Return all entries of the tape that a result was computed by."""
    found: dict[int, Any] = {}
    waiting = [tensor._node]
    while waiting:
        node = waiting.pop()
        if node is not None and hasattr(node, "edges") and id(node) not in found:
            found[id(node)] = node
            waiting += node.edges
    return list(found.values())


def stored(entry: Any) -> tuple[Any, ...] | None:
    """Return what an entry stores for its rules; None if it was released, or will be recomputed."""
    return entry.stored if isinstance(entry.stored, tuple) else None


def arrays_stored_by(tensor: Any) -> dict[str, Any]:
    """Return the arrays that the entry of a result stores, by the names that its rules ask for."""
    values = dict(zip(tensor._node.plan.names, tensor._node.stored, strict=True))
    return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}


#: The three ways to the gradients of a convolution: of 1x1 kernels, by one im2col of g, and by the definition.
BACKWARD_PATHS = ("_backward_1x1", "_backward_stride_1", "_backward_any_stride")


def pixels_at_once(x: Any, kw: int) -> int:
    """Say how many neighbouring pixels a convolution of `x` with stride 1 computes at once."""
    return conv._pixels_at_once(x, kw, x.shape[-1], (1, 1), (1, 1))


def note_pixels_at_once(monkeypatch: Any) -> list[int]:
    """Note, for every convolution and its gradient from now on, how many neighbouring pixels are computed at once."""
    taken: list[int] = []
    choose = conv._pixels_at_once
    monkeypatch.setattr(conv, "_pixels_at_once", lambda *args: (taken.append(choose(*args)), taken[-1])[1])
    return taken


def note_small_products(monkeypatch: Any, available: bool) -> list[int]:
    """Switch the kernels for small products on or off; record how many rows each block leaves to a last product."""
    left: list[int] = []
    choose = products._rows_of_small_product

    def noted(a: Any, n: int, least: int) -> int:
        rows = choose(a, n, least)
        left.append(rows and len(a) % rows)
        return rows

    monkeypatch.setattr(products, "has_small_kernels", lambda: available)
    monkeypatch.setattr(products, "_rows_of_small_product", noted)
    return left


def blocks_of_images(x: Any) -> list[slice]:
    """Return the blocks of images that a pooling of `x` works on."""
    return list(pool._images(x))
