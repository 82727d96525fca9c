"""Large calls, in float32, of the operators that do not cut their work: more elements than 65,536; their gradients.

Elementwise operators and reductions need none: tests/ops/test_many_blocks.py calls them by what their records hold.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.records.draw import as_list, beside
from tests.records.record import Large

# Gradients -------------------------------------------------------------------------------------


def moved(definition: Callable[..., Any]) -> Callable[..., Any]:
    """Return the gradients of an operator that only moves elements: of each, the sum of g over its places.

    Its definition moves the elements' numbers, from 1 on. Whatever else is in the result is a constant.
    """

    def gradients(g: Any, *args: Any, **settings: Any) -> tuple[Any, ...]:
        given = args[0] if isinstance(args[0], list) else args
        arrays = [x for x in given if isinstance(x, np.ndarray) and x.dtype.kind == "f"]
        ends = np.cumsum([x.size for x in arrays])
        numbers = iter(
            [np.arange(end - x.size + 1, end + 1).reshape(x.shape) for x, end in zip(arrays, ends, strict=True)]
        )
        numbered = [next(numbers) if any(x is a for a in arrays) else x for x in given]
        places = np.maximum(definition(*([numbered] if given is args[0] else numbered), **settings), 0).astype(int)
        sums = np.bincount(places.ravel(), g.ravel(), minlength=ends[-1] + 1)[1:]
        return tuple(part.reshape(x.shape) for part, x in zip(np.split(sums, ends[:-1]), arrays, strict=True))

    return gradients


def avg_pool2d_gradients(g: Any, x: Any, kernel: Any, stride: Any = None, padding: int = 0) -> tuple[Any, ...]:
    """Go through the taps of the window: each gets its share."""
    step, (ho, wo) = stride or kernel, g.shape[1:3]
    padded = np.pad(np.zeros_like(x), [(0, 0), (padding, padding), (padding, padding), (0, 0)])
    for i, j in np.ndindex(kernel, kernel):
        padded[:, i : i + step * ho : step, j : j + step * wo : step] += g / kernel**2
    return (padded[:, padding : padding + x.shape[1], padding : padding + x.shape[2]],)


def _share(x: Any, axis: int) -> Any:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def softmax_gradients(g: Any, x: Any, axis: int) -> tuple[Any, ...]:
    """As in the docstring of softmax."""
    return (_share(x, axis) * (g - (g * _share(x, axis)).sum(axis, keepdims=True)),)


def log_softmax_gradients(g: Any, x: Any, axis: int) -> tuple[Any, ...]:
    """As in the docstring of log_softmax."""
    return (g - _share(x, axis) * g.sum(axis, keepdims=True),)


def cross_entropy_gradients(g: Any, x: Any, labels: Any) -> tuple[Any, ...]:
    """The shares less one at the label, averaged."""
    return (g * (_share(x, 1) - (np.arange(x.shape[1]) == labels[:, None])) / len(x),)


# Calls -----------------------------------------------------------------------------------------

_rng = np.random.default_rng(0)
_labels, _rows, _choice = _rng.integers(0, 11, 70_001), _rng.integers(0, 70_001, 80_001), _rng.random((700, 101)) < 0.5


def _choose(op: Any, a: Any, b: Any = 0.0) -> Any:
    return op(beside(a, _choice), a, b)


def _drop(op: Any, x: Any) -> Any:
    return op(x, 0.25, rng=np.random.default_rng(7), training=True)


def _plain(*shapes: Any, terms: Any = None, call: Any = None, **settings: Any) -> Large:
    return Large(shapes, terms or (0,) * (1 + len(shapes)), settings, call, blocks=1)


LARGE: dict[str, dict[str, Large]] = {
    "clip": {"both": _plain((70_001,), a_min=-0.5, a_max=0.75)},
    "dropout": {"training": _plain((700, 101), terms=(1, 1), call=_drop)},
    "where": {
        "arrays": _plain((700, 101), (700, 101), call=_choose),
        "zero": _plain((700, 101), call=_choose),
        "broadcast": _plain((700, 1), (101,), terms=(0, 101, 700), call=_choose),
    },
    "reshape": {"matrix": _plain((70_002,), shape=(6, -1))},
    "transpose": {"rotated": _plain((260, 300, 3), axes=(1, 2, 0))},
    "broadcast_to": {"both": _plain((70_001, 1), terms=(0, 6), shape=(2, 70_001, 3))},
    "squeeze": {"both": _plain((1, 70_001, 1), axis=(0, 2))},
    "expand_dims": {"middle": _plain((70_001, 2), axis=1)},
    "concatenate": {"three": _plain((2, 70_001), (2, 3), (2, 80_002), call=as_list, axis=1)},
    "stack": {"last": _plain((300, 301), (300, 301), call=as_list, axis=-1)},
    "pad": {"constant": _plain((300, 301), pad_width=[(1, 2), (3, 0)], constant_values=-3.0)},
    "flip": {"both": _plain((300, 301), axis=(0, 1))},
    "getitem": {
        "rows": _plain((70_001, 2), terms=(0, 12), index=_rows),
        "backwards": _plain((70_001, 3), index=(slice(70_000, 1, -3), slice(1, None))),
    },
    "cumsum": {"last": _plain((700, 101), terms=(101, 101), axis=-1), "flat": _plain((3_001,), terms=(3_001, 3_001))},
    "embedding": {
        "rows": _plain((70_001, 2), terms=(0, 12), call=lambda op, w, indices: op(indices, w), indices=_rows)
    },
    "avg_pool2d": {"overlapping": _plain((9, 61, 60, 4), terms=(9, 9), kernel=3, stride=2, padding=1)},
    "global_avg_pool2d": {"images": _plain((3, 150, 160, 4), terms=(16, 1))},
    "softmax": {
        "last": _plain((7_001, 11), terms=(16, 16), axis=-1),
        "first": _plain((70_001, 3), terms=(16, 16), axis=0),
    },
    "log_softmax": {
        "last": _plain((7_001, 11), terms=(16, 16), axis=-1),
        "first": _plain((70_001, 3), terms=(64, 64), axis=0),
    },
    "cross_entropy": {"batch": _plain((70_001, 11), terms=(16, 16), labels=_labels)},
    "nll_loss": {"batch": _plain((70_001, 11), terms=(16, 1), labels=_labels)},
    "binary_cross_entropy": {"vectors": _plain((70_001,), (70_001,), terms=(16, 4, 4))},
    "mse_loss": {"vectors": _plain((70_001,), (70_001,), terms=(16, 4, 4))},
}


def gradients_of(name: str, definition: Callable[..., Any]) -> Callable[..., Any]:
    """Return the gradients of one of these operators. Those of dropout drop the same elements."""
    if name == "dropout":
        return lambda g, x, *args, **settings: (definition(g, *args, **settings),)
    return GRADIENTS.get(name) or moved(definition)


GRADIENTS: dict[str, Callable[..., Any]] = {
    "clip": lambda g, x, a_min, a_max: (g * ((a_min <= x) & (x <= a_max)),),
    "avg_pool2d": avg_pool2d_gradients,
    "global_avg_pool2d": lambda g, x: (np.broadcast_to(g[:, None, None], x.shape) / (x.shape[1] * x.shape[2]),),
    "softmax": softmax_gradients,
    "log_softmax": log_softmax_gradients,
    "cross_entropy": cross_entropy_gradients,
    "cumsum": lambda g, x, axis=None: (np.flip(np.cumsum(np.flip(g, axis), axis), axis).reshape(x.shape),),
    "nll_loss": lambda g, x, labels: (-g * (np.arange(x.shape[1]) == labels[:, None]) / len(x),),
    "binary_cross_entropy": lambda g, x, t: (g * (1 / (1 + np.exp(-x)) - t) / x.size, -g * x / x.size),
    "mse_loss": lambda g, x, y: (g * 2 * (x - y) / x.size, g * 2 * (y - x) / x.size),
}
