"""Records of matrix products: minigrad/ops/matmul.py."""

from __future__ import annotations

import numpy as np

import minigrad as mg
from minigrad import nn
from tests.records import offsets, windows
from tests.records.draw import F, ones, randn, t, torch
from tests.records.large import LARGE
from tests.records.many import MANY
from tests.records.record import OperatorRecord, Refusal, Special, sample, type_error

SHAPES = {
    "matrices": ((2, 3), (3, 4)),
    "vectors": ((3,), (3,)),
    "vector-left": ((3,), (3, 2)),
    "vector-right": ((2, 3), (3,)),
    "stack-left": ((2, 2, 3), (3, 2)),
    "stacks-stretched": ((2, 1, 2, 3), (3, 3, 1)),
    "vector-and-stack": ((3,), (2, 3, 2)),
    "stack-and-vector": ((2, 2, 3), (3,)),
    "no-rows": ((0, 3), (3, 2)),
    "no-inner": ((2, 0), (0, 2)),
}

RECORDS = {
    "matmul": OperatorRecord(
        drawn=windows.matmul,
        offset=offsets.Offset(sample(offsets.near(8, 30), offsets.near(30, 9, seed=1)), 30, 30),
        special=Special(),
        definition=np.matmul,
        samples={name: sample(randn(*a), randn(*b, seed=1)) for name, (a, b) in SHAPES.items()},
        analytic=True,
        linear="each",
        torch=lambda a, b: torch.matmul(a, b),
        many=MANY["matmul"],
        large=LARGE["matmul"],
        gradients=lambda g, a, b: (g @ b.T, a.T @ g),
        refuses={
            "list": type_error(lambda: mg.matmul([[1.0]], t(1, 1)), "expected a to be a Tensor or an array, got list"),
            "inner": Refusal(lambda: t(2, 3) @ t(2, 3), r"inner sizes differ: \(2, 3\) @ \(2, 3\)"),
            "vectors": Refusal(lambda: mg.matmul(ones(2), ones(3)), "inner sizes differ"),
            "0-d": Refusal(lambda: t(2) @ t(), r"expected arrays with at least one axis, got \(2,\) @ \(\)"),
            "0-d-left": Refusal(lambda: mg.matmul(np.array(1.0), ones(1)), "at least one axis"),
            "0-d-right": Refusal(lambda: mg.matmul(ones(1), np.array(1.0)), "at least one axis"),
            "stacks": Refusal(lambda: t(2, 2, 3) @ t(3, 3, 2), "shapes .* do not broadcast"),
            "dtypes": type_error(lambda: t(2, 2) @ t(2, 2, dtype="float64"), "expected one dtype"),
            "number": type_error(lambda: t(2, 2) @ 3.0, "expected b to be a Tensor or an array, got 3.0"),
        },
    ),
    "linear": OperatorRecord(
        drawn=windows.linear,
        offset=offsets.Offset(sample(offsets.near(8, 30), offsets.around_0(30, 9), offsets.near(9)), 30, 30),
        special=Special(),
        definition=lambda x, w, b=0.0: x @ w + b,
        samples={
            "matrix": sample(randn(2, 3), randn(3, 4, seed=1)),
            "bias": sample(randn(2, 3), randn(3, 4, seed=1), randn(4, seed=2), affine=True),
            "stack-bias": sample(randn(2, 2, 3), randn(3, 1, seed=1), randn(1, seed=2), affine=True),
            "vector-bias": sample(randn(3), randn(3, 2, seed=1), randn(2, seed=2), affine=True),
        },
        analytic=True,
        linear="each",
        torch=lambda x, w, b=None: F.linear(x, w.T, b),
        many=MANY["linear"],
        large=LARGE["linear"],
        gradients=lambda g, x, w, b: (g @ w.T, x.T @ g, g.sum(0)),
        accepts={"vector": lambda: mg.linear(ones(3), ones(3, 1))},
        refuses={
            "features": Refusal(
                lambda: mg.linear(t(2, 3), t(4, 5)), r"x has 3 features \(shape \(2, 3\)\) but w .*\(4, 5\)"
            ),
            "features-of-arrays": Refusal(lambda: mg.linear(ones(2, 3), ones(2, 3)), "3 features"),
            "w-vector": Refusal(lambda: mg.linear(t(2, 3), t(3)), r"w has shape \(3,\); w is \(c_in, c_out\)"),
            "w-stack": Refusal(lambda: mg.linear(ones(2, 3), ones(3, 2, 2)), "w is"),
            "b": Refusal(lambda: mg.linear(t(2, 3), t(3, 5), t(3)), r"expected b of shape \(5,\).*got \(3,\)"),
            "b-of-arrays": Refusal(lambda: mg.linear(ones(2, 3), ones(3, 4), ones(3)), "expected b of shape"),
            "x-0-d": Refusal(lambda: mg.linear(np.array(1.0), ones(1, 2)), "expected|x has no features"),
            "layer": Refusal(lambda: nn.Linear(3, 2, rng=0)(t(2, 4)), "x has 4 features"),
        },
    ),
}
