"""Where tests look at private names of the source: all in one place, so that one who renames them finds them here.

What cannot be seen from outside is how a result came about: what was computed on the way, which of several ways to
the same result was taken, how work was cut up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minigrad.autograd.operator import Operator


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
    """Return all entries of the tape that a result was made by."""
    found: dict[int, Any] = {}
    waiting = [tensor._node]
    while waiting:
        node = waiting.pop()
        if node is not None and hasattr(node, "edges") and id(node) not in found:
            found[id(node)] = node
            waiting += node.edges
    return list(found.values())


def stored(entry: Any) -> tuple[Any, ...] | None:
    """Return what an entry stores for its rules; None if it was released, or is to be computed again."""
    return entry.stored if isinstance(entry.stored, tuple) else None


def arrays_stored_by(tensor: Any) -> dict[str, Any]:
    """Return the arrays that the entry of a result stores, by the names that its rules ask for."""
    values = dict(zip(tensor._node.plan.names, tensor._node.stored, strict=True))
    return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
