"""Records of the reductions: minigrad/ops/reduction.py."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

import minigrad as mg
from tests.records import offsets, sizes
from tests.records.draw import distinct, normal, ones, randn, special, t, tied, torch
from tests.records.record import (
    Convention,
    Kink,
    OperatorRecord,
    Reduction,
    Refusal,
    Sample,
    Special,
    sample,
    type_error,
)

AXES = {
    "all": None,
    "first": 0,
    "middle": 1,
    "last": -1,
    "outer": (0, 2),
    "outer-swapped": (2, 0),
    "middle-in-a-tuple": (-2,),
    "all-named": (0, 1, 2),
}


def _samples(draw: Callable[..., Any] = randn, of_nothing: bool = False) -> dict[str, Sample]:
    samples = {
        f"{name}-keepdims" if keepdims else name: sample(draw(2, 3, 2), axis=axis, keepdims=keepdims)
        for name, axis in AXES.items()
        for keepdims in (False, True)
    }
    samples |= {"one-element": sample(draw(1)), "0-d": sample(draw())}
    return samples | ({"empty": sample(draw(0, 3), axis=0)} if of_nothing else {})


def _some(*names: str) -> dict[str, Sample]:
    """Choose samples, for compositions of operators whose records have them all."""
    return {name: _samples(of_nothing=True)[name] for name in names}


def _logsumexp(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return np.log(np.exp(x).sum(axis=axis, keepdims=keepdims))


def _torch(name: str, **settings: Any) -> Callable[..., Any]:
    """Name PyTorch's function, which takes `dim` and `keepdim`, and in places neither None (all axes) nor ()."""

    def apply(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        if axis == ():
            return getattr(torch, name)(x[..., None], dim=-1, **settings)
        dims = (tuple(range(x.ndim)) or 0) if axis is None else axis
        return getattr(torch, name)(x, dim=dims, keepdim=keepdims, **settings)

    return apply


def _count(x: Any, axes: tuple[int, ...]) -> int:
    return math.prod(x.shape[a] for a in axes)


def _first(largest: bool) -> Callable[..., Any]:
    """Mark the first largest (smallest) element over `axes` in C order, by comparing the elements one by one."""

    def mark(x: Any, axes: tuple[int, ...]) -> Any:
        best: dict[Any, Any] = {}
        for place in np.ndindex(x.shape):
            result = tuple(0 if i in axes else n for i, n in enumerate(place))
            if result not in best or (x[place] > x[best[result]] if largest else x[place] < x[best[result]]):
                best[result] = place
        marked = np.zeros(x.shape)
        for place in best.values():
            marked[place] = 1.0
        return marked

    return mark


def _prod_by_torch(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Multiply axis by axis, from the last on: PyTorch's prod takes one."""
    axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    for a in axes:
        x = torch.prod(x, a, keepdim=True)
    return x if keepdims else x.reshape([n for i, n in enumerate(x.shape) if i not in {a % x.ndim for a in axes}])


def _near_1(rng: np.random.Generator, shape: Any) -> Any:
    """Draw numbers of both signs around 1 in magnitude: the product of many does not underflow."""
    return np.exp(normal(rng, shape) / 50) * rng.choice([-1.0, 1.0], shape)


def _std_slope(x: Any, axes: tuple[int, ...]) -> Any:
    std = x.std(axes, keepdims=True)
    return (x - x.mean(axes, keepdims=True)) / (np.where(std == 0, 1, std) * _count(x, axes))


_ties = np.array([[1.0, 3.0, 3.0], [3.0, 0.0, 0.0]])

#: Where max and min differ from PyTorch's amax and amin.
_EXTREMES_UNLIKE_TORCH = (
    dict.fromkeys(("nan", "mixed"), "PyTorch makes all gradients NaN where one element is NaN")
    | dict.fromkeys(("zeros", "ties"), "PyTorch gives equal elements equal shares")
    | {"plain": "PyTorch multiplies an infinite cotangent by 0"}
)

RECORDS = {
    "sum": OperatorRecord(
        drawn=sizes.reduction(),
        offset=offsets.one(value=30, axis=1),
        special=Special(),
        definition=np.sum,
        samples=_samples(of_nothing=True),
        analytic=True,
        linear="jointly",
        torch=_torch("sum"),
        reduction=Reduction(normal, lambda x, axes: np.ones(x.shape), of_nothing=True),
        accepts={"all-axes-by-two-signs": lambda: mg.sum(ones(2, 3), (-2, 1))},
        refuses={
            "above": Refusal(lambda: t(2, 3).sum(2), "axis 2 is not an axis of an array with 2 axes; expected -2 to 1"),
            "above-in-a-tuple": Refusal(lambda: mg.sum(ones(2, 3), (0, 2)), "axis .* is not an axis"),
            "below": Refusal(lambda: mg.sum(ones(2, 3), -3), "axis -3 is not an axis"),
            "twice": Refusal(lambda: t(2, 3).sum((0, 0)), r"axis \(0, 0\) names an axis twice"),
            "twice-by-two-names": Refusal(lambda: mg.sum(ones(2, 3), (0, -2)), "names an axis twice"),
            "bool": Refusal(lambda: t(2, 3).sum(True), "axis True is not an axis"),
            "bool-of-an-array": Refusal(lambda: mg.sum(ones(2, 3), True), "axis True is not an axis"),
            "0-d": Refusal(lambda: t().sum(0), "axis 0 is not an axis of an array with 0 axes; it has none"),
            "0-d-array": Refusal(lambda: mg.sum(np.array(1.0), 0), "it has none"),
            "float": Refusal(lambda: t(2, 3).sum(0.5), "axis 0.5 is not an axis"),
            "dim": type_error(lambda: mg.sum(t(2), dim=0), r"expected sum\(x.*got \['dim'\]"),
        },
    ),
    "mean": OperatorRecord(
        drawn=sizes.reduction(),
        offset=offsets.one(value=30, axis=1),
        special=Special(),
        definition=np.mean,
        samples=_samples(),
        analytic=True,
        linear="jointly",
        torch=_torch("mean"),
        reduction=Reduction(normal, lambda x, axes: np.full(x.shape, 1 / _count(x, axes))),
        refuses={
            "no-axis": Refusal(lambda: t(2, 3).mean(-3), "axis -3 is not an axis"),
            "nothing": Refusal(lambda: t(0, 3).mean(0), r"nothing to reduce: shape \(0, 3\)"),
        },
    ),
    "var": OperatorRecord(
        drawn=sizes.reduction(),
        offset=offsets.one(value=30, gradients=30, axis=1),
        special=Special(
            unlike_torch=dict.fromkeys(
                ("inf", "-inf", "mixed", "plain"), "infinity minus infinity, which PyTorch avoids"
            ),
            conventions={
                "inf": Convention(
                    mg.var,
                    [1.0, np.inf],
                    np.nan,
                    [np.nan, np.nan],
                    "An infinity makes the result and all its gradients NaN",
                )
            },
            leaks={
                f"{test} {sample}": "the variance of one element is infinity minus infinity, its slope infinity times 0"
                for test in ("inputs", "cotangents")
                for sample in ("one-element", "0-d")
            },
        ),
        definition=np.var,
        samples=_samples(),
        analytic=True,
        torch=_torch("var", correction=0),
        reduction=Reduction(normal, lambda x, axes: 2 * (x - x.mean(axes, keepdims=True)) / _count(x, axes)),
        refuses={
            "no-axis": Refusal(lambda: t(2, 3).var(5), "axis 5 is not an axis"),
            "nothing": Refusal(lambda: t(0).var(), "nothing to reduce"),
        },
    ),
    "max": OperatorRecord(
        drawn=sizes.reduction(sizes.Sizes.spread),
        offset=offsets.one(axis=1),
        special=Special(
            unlike_torch=_EXTREMES_UNLIKE_TORCH,
            conventions={
                "nan": Convention(
                    mg.max,
                    [-np.inf, np.nan, np.inf, np.nan],
                    np.nan,
                    [0.0, 1.0, 0.0, 0.0],
                    "A NaN counts as larger than any number",
                )
            },
        ),
        definition=np.max,
        samples=_samples(distinct),
        analytic=False,
        torch=_torch("amax"),
        reduction=Reduction(tied, _first(largest=True)),
        refuses={
            "no-axis": Refusal(lambda: t(2, 3).max(2), "axis 2 is not an axis"),
            "nothing": Refusal(lambda: t(0, 3).max(), "nothing to reduce"),
        },
        kinks={
            "tie": Kink(mg.max, [1.0, 3.0, 3.0], [0.0, 1.0, 0.0]),
            "tie-over-all": Kink(mg.max, _ties, [[0, 1, 0], [0, 0, 0]]),
            "tie-over-axes-swapped": Kink(lambda x: mg.max(x, (1, 0)), _ties, [[0, 1, 0], [0, 0, 0]]),
            "tie-in-rows": Kink(lambda x: mg.max(x, 1), _ties, [[0, 1, 0], [1, 0, 0]]),
            "tie-over-outer-axes": Kink(
                lambda x: mg.max(x, (0, 2)), ones(2, 2, 2), [[[1, 0], [1, 0]], [[0, 0], [0, 0]]]
            ),
        },
    ),
    "min": OperatorRecord(
        drawn=sizes.reduction(sizes.Sizes.spread),
        offset=offsets.one(axis=1),
        special=Special(
            unlike_torch=_EXTREMES_UNLIKE_TORCH,
            conventions={
                "nan": Convention(
                    mg.min,
                    [-np.inf, np.nan, np.inf, np.nan],
                    np.nan,
                    [0.0, 1.0, 0.0, 0.0],
                    "A NaN counts as smaller than any number",
                )
            },
        ),
        definition=np.min,
        samples=_samples(distinct),
        analytic=False,
        torch=_torch("amin"),
        reduction=Reduction(tied, _first(largest=False)),
        refuses={
            "no-axis": Refusal(lambda: t(2, 3).min(2), "axis 2 is not an axis"),
            "nothing": Refusal(lambda: t(3, 0).min(1), "nothing to reduce"),
        },
        kinks={
            "tie": Kink(mg.min, [1.0, 1.0, 3.0], [1.0, 0.0, 0.0]),
            "tie-over-all": Kink(mg.min, _ties, [[0, 0, 0], [0, 1, 0]]),
        },
    ),
    "logsumexp": OperatorRecord(
        drawn=sizes.reduction(),
        offset=offsets.one(axis=1),
        special=Special(
            definition=lambda x, axis=None, keepdims=False: special.logsumexp(x, axis=axis, keepdims=keepdims),
            unlike_torch={"-inf": "PyTorch's gradient is NaN where all elements are minus infinity"},
            conventions={
                "-inf": Convention(
                    mg.logsumexp, [-np.inf, -np.inf], -np.inf, [0.0, 0.0], "so is the result, and their gradients are 0"
                )
            },
            leaks=dict.fromkeys(
                ("inputs one-element", "inputs 0-d"), "the derivative is softmax(x), and 1 only where x is finite"
            ),
        ),
        definition=_logsumexp,
        samples=_samples(),
        analytic=True,
        torch=_torch("logsumexp"),
        scipy=lambda x, axis=None, keepdims=False: special.logsumexp(x, axis=axis, keepdims=keepdims),
        reduction=Reduction(normal, lambda x, axes: np.exp(x) / np.exp(x).sum(axes, keepdims=True)),
        refuses={
            "no-axis": Refusal(lambda: mg.logsumexp(t(2), 1), "axis 1 is not an axis"),
            "nothing": Refusal(lambda: mg.logsumexp(t(0)), "nothing to reduce"),
        },
    ),
    "prod": OperatorRecord(
        drawn=sizes.reduction(sizes.Sizes.near_1),
        offset=offsets.Offset(sample(offsets.near(30, 3), axis=1)),
        special=Special(
            unlike_torch=dict.fromkeys(
                ("nan", "inf", "-inf", "denormal", "mixed"), "PyTorch divides the product by the element"
            )
        ),
        definition=np.prod,
        samples=_some("all", "middle", "outer-swapped-keepdims", "one-element", "0-d", "empty"),
        analytic=True,
        torch=_prod_by_torch,
        reduction=Reduction(_near_1, lambda x, axes: x.prod(axes, keepdims=True) / x, of_nothing=True),
        refuses={"no-axis": Refusal(lambda: mg.prod(t(2), 1), "axis 1 is not an axis")},
    ),
    "cumsum": OperatorRecord(
        drawn=sizes.cumsum,
        offset=offsets.one(value=30, gradients=30, axis=1),
        special=Special(),
        definition=np.cumsum,
        samples={
            "flat": sample(randn(2, 3)),
            "first": sample(randn(2, 3, 2), axis=0),
            "middle": sample(randn(2, 3, 2), axis=1),
            "last": sample(randn(2, 3), axis=-1),
            "0-d": sample(randn()),
        },
        analytic=True,
        linear="jointly",
        torch=lambda x, axis=None: torch.cumsum(x.reshape(-1) if axis is None else x, 0 if axis is None else axis),
        refuses={
            "no-axis": Refusal(lambda: mg.cumsum(t(2), 1), "axis 1 is not an axis"),
            "tuple": type_error(lambda: mg.cumsum(t(2), (0,)), "expected axis to be an int, got tuple"),
        },
    ),
    "std": OperatorRecord(
        drawn=sizes.reduction(),
        offset=offsets.one(value=30, gradients=60, axis=1),
        special=Special(
            unlike_torch=dict.fromkeys(("plain", "mixed"), "infinity minus infinity, which PyTorch avoids")
            | dict.fromkeys(("huge", "-huge", "denormals"), "the squares overflow or underflow; PyTorch scales them"),
        ),
        definition=np.std,
        samples=_some("all", "middle", "outer-swapped-keepdims"),
        analytic=True,
        torch=_torch("std", correction=0),
        reduction=Reduction(normal, _std_slope),
        kinks={
            "tie": Kink(mg.std, [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]),
            "tie-of-one": Kink(mg.std, [3.0], [0.0]),
            "tie-0-d": Kink(mg.std, 3.0, 0.0),
            "tie-in-a-row": Kink(lambda x: mg.std(x, 1), [[2.0, 2.0], [0.0, 4.0]], [[0.0, 0.0], [-0.5, 0.5]]),
        },
        refuses={
            "no-axis": Refusal(lambda: t(2, 3).std(5), "axis 5 is not an axis"),
            "nothing": Refusal(lambda: t(0).std(), "nothing to reduce"),
        },
    ),
}
