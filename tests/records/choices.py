"""Records of the operators that choose among elements, and have kinks or masks: minigrad/ops/elementwise.py."""

from __future__ import annotations

from typing import Any

import numpy as np

import minigrad as mg
from tests.records import offsets, sizes
from tests.records.draw import beside, distinct, kink, ones, randn, t, tied, torch, unary
from tests.records.elementwise import ANY_ARRAY, AS_ADD
from tests.records.large import LARGE
from tests.records.many import MANY
from tests.records.record import (
    Absent,
    Convention,
    Elementwise,
    Kink,
    OperatorRecord,
    Refusal,
    Special,
    sample,
    type_error,
)


def _tensors(a: Any, b: Any) -> list[Any]:
    """Convert the arguments to PyTorch's tensors: its maximum takes no numbers."""
    like = a if isinstance(a, torch.Tensor) else b
    return [v if isinstance(v, torch.Tensor) else torch.tensor(v, dtype=like.dtype) for v in (a, b)]


def _dropout(x: Any, p: float, rng: np.random.Generator, training: bool) -> Any:
    """Keep each element with probability 1 - p, by float32 draws of a generator that the given one seeds."""
    keep = np.random.default_rng(int(rng.integers(2**63))).random(x.shape, dtype=np.float32) >= p
    return np.where(keep, x / (1 - p), 0.0) if training else x


def _drop(op: Any, x: Any, training: bool) -> Any:
    return op(x, 0.5, rng=np.random.default_rng(7), training=training)


def _dropped(p: Any, rng: Any = None) -> Any:
    rng = np.random.default_rng(0) if rng is None else rng
    return mg.dropout(t(2), p, rng=rng, training=True)


_condition = np.array([[True, False, True], [False, True, False]])


def _choose(op: Any, a: Any, b: Any, condition: Any = _condition) -> Any:
    return op(beside(a, condition), a, b)


#: Where maximum and minimum differ from PyTorch's.
_PAIRS_UNLIKE_TORCH = dict.fromkeys(
    ("nan", "mixed"), "PyTorch passes the cotangent on to both where one is NaN"
) | dict.fromkeys(("zeros", "ties", "-0"), "PyTorch gives each of two equal elements a half")

RECORDS = {
    "relu": OperatorRecord(
        drawn=sizes.unary(sizes.Sizes.spread),
        offset=offsets.one(),
        special=Special(
            unlike_torch=dict.fromkeys(("nan", "mixed"), "PyTorch passes the cotangent on at NaN"),
            conventions={
                "nan": Convention(
                    mg.relu,
                    [np.nan, -0.0, np.inf],
                    [np.nan, 0.0, np.inf],
                    [0.0, 0.0, 1.0],
                    "at 0, and at NaN, the derivative is taken as 0",
                )
            },
        ),
        definition=lambda x: np.maximum(x, 0.0),
        samples=unary(distinct),
        analytic=False,
        torch=lambda x: torch.relu(x),
        elementwise=Elementwise(tied, lambda g, x: (np.where(x > 0, g, 0.0),)),
        many=MANY["relu"],
        large=LARGE["relu"],
        gradients=lambda g, x: (np.where(x > 0, g, 0.0),),
        refuses=ANY_ARRAY,
        kinks={"0": kink(mg.relu, 0.0, 0.0), "around-0": Kink(mg.relu, [-1.0, 0.0, 2.0], [0.0, 0.0, 1.0])},
    ),
    "abs": OperatorRecord(
        drawn=sizes.unary(sizes.Sizes.spread),
        offset=offsets.one(),
        special=Special(
            unlike_torch=dict.fromkeys(("nan", "mixed"), "PyTorch's derivative is 0 at NaN"),
            conventions={
                "nan": Convention(
                    mg.abs,
                    [np.nan, -0.0, -np.inf],
                    [np.nan, 0.0, np.inf],
                    [np.nan, 0.0, -1.0],
                    "at 0 the derivative is taken as 0, at NaN as NaN",
                )
            },
        ),
        definition=np.abs,
        samples=unary(distinct),
        analytic=False,
        torch=lambda x: torch.abs(x),
        elementwise=Elementwise(tied, lambda g, x: (g * np.sign(x),)),
        refuses=ANY_ARRAY,
        kinks={"0": kink(mg.abs, 0.0, 0.0), "around-0": Kink(mg.abs, [-1.0, 0.0, 2.0], [-1.0, 0.0, 1.0])},
    ),
    "clip": OperatorRecord(
        drawn=sizes.clip,
        offset=offsets.one(a_min=9999.5, a_max=10001.0),
        special=Special(
            conventions={
                "nan": Convention(
                    lambda x: mg.clip(x, -1.0, 1.0),
                    [np.nan, np.inf, -0.0],
                    [np.nan, 1.0, 0.0],
                    [0.0, 0.0, 1.0],
                    "0 outside, and at NaN",
                )
            },
        ),
        definition=lambda x, a_min=None, a_max=None: np.clip(x, a_min, a_max),
        samples={
            "both": sample(distinct(2, 3), a_min=-0.25, a_max=0.35),
            "below": sample(distinct(2, 3), a_min=0.05),
            "above": sample(distinct(2, 3), a_max=0.05),
        },
        analytic=False,
        torch=lambda x, a_min=None, a_max=None: torch.clamp(x, a_min, a_max),
        refuses={"no-bounds": Refusal(lambda: mg.clip(t(2)), "expected a_min, a_max or both, got None")},
        numbers={
            "both": lambda kind, x: mg.clip(x, kind(0), kind(1)),
            "below": lambda kind, x: mg.clip(x, a_min=kind(0)),
            "above": lambda kind, x: mg.clip(x, a_max=kind(1)),
        },
        kinks={
            "lower-of-two": kink(lambda x: mg.clip(x, 1.0, 2.0), 1.0, 1.0),
            "upper-of-two": kink(lambda x: mg.clip(x, 1.0, 2.0), 2.0, 1.0),
            "lower": kink(lambda x: mg.clip(x, 1.0), 1.0, 1.0),
            "upper": kink(lambda x: mg.clip(x, None, 1.0), 1.0, 1.0),
            "around-both": Kink(lambda x: mg.clip(x, 0.0, 1.0), [-1.0, 0.0, 0.5, 1.0, 2.0], [0.0, 1.0, 1.0, 1.0, 0.0]),
        },
    ),
    "dropout": OperatorRecord(
        drawn=sizes.dropout,
        offset=offsets.dropped(),
        special=Special(),
        definition=_dropout,
        samples={
            "training": sample(randn(4, 3), call=_drop, training=True),
            "evaluation": sample(randn(4, 3), call=_drop, training=False),
        },
        analytic=True,
        linear="jointly",
        torch=Absent("each library draws its own mask; the definition in NumPy has minigrad's"),
        accepts={"none": lambda: mg.dropout(ones(2), 0, rng=np.random.default_rng(0), training=True)},
        refuses={
            "all": Refusal(lambda: _dropped(1.0), "got 1.0"),
            "all-as-int": Refusal(lambda: _dropped(1), "got 1"),
            "less-than-none": Refusal(lambda: _dropped(-0.1), "got -0.1"),
            "nan": Refusal(lambda: _dropped(np.nan), "got nan"),
            "seed": type_error(lambda: _dropped(0.5, rng=0), "expected rng .*Generator, got 0"),
            "module": type_error(
                lambda: _dropped(0.5, rng=np.random), r"rng .*Generator, got <module.*default_rng\(seed"
            ),
        },
        numbers={"p": lambda kind, x: mg.dropout(x, kind(0.5), rng=np.random.default_rng(0), training=True)},
    ),
    "maximum": OperatorRecord(
        drawn=sizes.compared,
        offset=offsets.two(),
        special=Special(
            unlike_torch=_PAIRS_UNLIKE_TORCH,
            conventions={
                "nan": Convention(
                    lambda x: mg.maximum(x, np.array([1.0, np.nan, 0.0, 1.0], x.dtype)),
                    [np.nan, 1.0, -0.0, np.inf],
                    [np.nan, np.nan, -0.0, np.inf],
                    [0.0, 0.0, 1.0, 1.0],
                    "Where a or b is NaN, so is the result, and both gradients are 0",
                ),
                "nan-second": Convention(
                    lambda x: mg.maximum(np.array([1.0, np.nan, 0.0, 1.0], x.dtype), x),
                    [np.nan, 1.0, -0.0, np.inf],
                    [np.nan, np.nan, 0.0, np.inf],
                    [0.0, 0.0, 0.0, 1.0],
                    "Where a or b is NaN, so is the result, and both gradients are 0",
                ),
            },
        ),
        definition=np.maximum,
        samples={
            "equal": sample(distinct(2, 3), distinct(2, 3, seed=1) + 0.05),
            "both-stretched": sample(distinct(2, 1), distinct(3, seed=1) + 0.05),
            "number": sample(distinct(2, 3), call=lambda op, x: op(x, 0.0)),
        },
        analytic=False,
        torch=lambda a, b: torch.maximum(*_tensors(a, b)),
        elementwise=Elementwise(tied, lambda g, a, b: (g * (a >= b), g * (a < b))),
        refuses=AS_ADD,
        kinks={
            "tie-first": kink(lambda x: mg.maximum(x, np.array([1.0])), 1.0, 1.0),
            "tie-second": kink(lambda x: mg.maximum(np.array([1.0]), x), 1.0, 0.0),
        },
    ),
    "minimum": OperatorRecord(
        drawn=sizes.compared,
        offset=offsets.two(),
        special=Special(
            unlike_torch=_PAIRS_UNLIKE_TORCH,
            conventions={
                "nan": Convention(
                    lambda x: mg.minimum(x, np.array([1.0, np.nan, 0.0, 1.0], x.dtype)),
                    [np.nan, 1.0, -0.0, np.inf],
                    [np.nan, np.nan, -0.0, 1.0],
                    [0.0, 0.0, 1.0, 0.0],
                    "Where a or b is NaN, so is the result, and both gradients are 0",
                ),
                "nan-second": Convention(
                    lambda x: mg.minimum(np.array([1.0, np.nan, 0.0, 1.0], x.dtype), x),
                    [np.nan, 1.0, -0.0, -np.inf],
                    [np.nan, np.nan, 0.0, -np.inf],
                    [0.0, 0.0, 0.0, 1.0],
                    "Where a or b is NaN, so is the result, and both gradients are 0",
                ),
            },
        ),
        definition=np.minimum,
        samples={
            "equal": sample(distinct(2, 3), distinct(2, 3, seed=1) + 0.05),
            "both-stretched": sample(distinct(2, 1), distinct(3, seed=1) + 0.05),
            "number": sample(distinct(2, 3), call=lambda op, x: op(0.0, x)),
        },
        analytic=False,
        torch=lambda a, b: torch.minimum(*_tensors(a, b)),
        elementwise=Elementwise(tied, lambda g, a, b: (g * (a <= b), g * (a > b))),
        refuses=AS_ADD,
        kinks={
            "tie-first": kink(lambda x: mg.minimum(x, np.array([1.0])), 1.0, 1.0),
            "tie-second": kink(lambda x: mg.minimum(np.array([1.0]), x), 1.0, 0.0),
        },
    ),
    "where": OperatorRecord(
        drawn=sizes.where,
        offset=offsets.chosen(),
        special=Special(
            conventions={
                "unselected": Convention(
                    lambda x: mg.where(np.array([True, False]), x, 2.0),
                    [np.inf, np.nan],
                    [np.inf, 2.0],
                    [1.0, 0.0],
                    "a where `condition` holds, else b",
                )
            },
        ),
        definition=np.where,
        samples={
            "equal": sample(randn(2, 3), randn(2, 3, seed=1), call=_choose),
            "both-stretched": sample(randn(3), randn(2, 1, seed=1), call=_choose),
            "scalar-left": sample(randn(), randn(2, 3, seed=1), call=_choose),
            "other-condition": sample(
                randn(2, 3), randn(3, seed=1), call=lambda op, a, b: _choose(op, a, b, ~_condition)
            ),
            "zero": sample(randn(2, 3), call=lambda op, a: _choose(op, a, 0.0)),
            "zero-left": sample(randn(2, 3), call=lambda op, b: op(beside(b, _condition), 0.0, b)),
        },
        analytic=True,
        linear="jointly",
        torch=lambda condition, a, b: torch.where(condition, a, b),
        refuses={"shapes": Refusal(lambda: mg.where(np.ones(3, bool), t(2), 0.0), "broadcast")},
    ),
}
