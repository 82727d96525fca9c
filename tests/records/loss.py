"""Records of softmax and the losses: minigrad/ops/loss.py."""

from __future__ import annotations

from typing import Any

import numpy as np

import minigrad as mg
from tests.records import offsets, sizes, windows
from tests.records.draw import F, ones, randn, special, t, torch
from tests.records.record import Convention, OperatorRecord, Refusal, Special, sample, type_error


def _softmax(x: Any, axis: int = -1) -> Any:
    return np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True)


def _cross_entropy(logits: Any, labels: Any) -> Any:
    return -np.log(_softmax(logits))[np.arange(len(labels)), labels].mean()


def _cross_entropy_by_scipy(logits: Any, labels: Any) -> Any:
    return -special.log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean()


def _loss(logits: Any, labels: Any) -> Any:
    return lambda: mg.cross_entropy(logits, labels)


_axes = {"last": -1, "first": 0, "middle": 1}

RECORDS = {
    "softmax": OperatorRecord(
        drawn=sizes.along_an_axis,
        offset=offsets.one(30, 30),
        special=Special(definition=lambda x, axis=-1: special.softmax(x, axis=axis)),
        definition=_softmax,
        samples={name: sample(randn(2, 3, 2), axis=axis) for name, axis in _axes.items()},
        analytic=True,
        torch=lambda x, axis=-1: torch.softmax(x, axis),
        scipy=lambda x, axis=-1: special.softmax(x, axis=axis),
        refuses={
            "two-axes": Refusal(lambda: mg.softmax(t(2, 3), (0, 1)), "expected axis to be an int"),
            "no-axis": Refusal(lambda: mg.softmax(t(2), 1), "axis 1 is not an axis"),
            "nothing": Refusal(lambda: mg.softmax(t(2, 0)), "nothing to reduce"),
        },
    ),
    "log_softmax": OperatorRecord(
        drawn=sizes.along_an_axis,
        offset=offsets.one(30, 30),
        special=Special(
            definition=lambda x, axis=-1: special.log_softmax(x, axis=axis),
            unlike_definition=dict.fromkeys(("inf", "mixed"), "SciPy has minus infinity beside infinity"),
            conventions={
                "inf": Convention(
                    mg.log_softmax,
                    [0.0, np.inf],
                    [np.nan, np.nan],
                    [np.nan, np.nan],
                    "makes all results along the axis NaN",
                )
            },
        ),
        definition=lambda x, axis=-1: np.log(_softmax(x, axis)),
        samples={name: sample(randn(2, 3, 2), axis=axis) for name, axis in _axes.items()},
        analytic=True,
        torch=lambda x, axis=-1: torch.log_softmax(x, axis),
        scipy=lambda x, axis=-1: special.log_softmax(x, axis=axis),
        refuses={
            "no-axis": Refusal(lambda: mg.log_softmax(t(2), 1), "axis 1 is not an axis"),
            "nothing": Refusal(lambda: mg.log_softmax(t(2, 0)), "nothing to reduce"),
        },
    ),
    "cross_entropy": OperatorRecord(
        drawn=windows.cross_entropy,
        offset=offsets.one(30, 30, labels=np.arange(8)),
        special=Special(
            definition=_cross_entropy_by_scipy,
            unlike_torch={"mixed": "PyTorch multiplies an infinite cotangent by zeros"},
        ),
        definition=_cross_entropy,
        samples={
            "three": sample(randn(3, 4), labels=np.array([0, 3, 3])),
            "one": sample(randn(1, 2), labels=np.array([1])),
        },
        analytic=True,
        fused=True,
        torch=lambda logits, labels: F.cross_entropy(logits, torch.tensor(np.asarray(labels, "int64"))),
        scipy=_cross_entropy_by_scipy,
        accepts={
            "first-and-last-label": _loss(ones(2, 3), [0, 2]),
            "one-class": _loss(ones(1, 1), np.array([0], "uint8")),
        },
        refuses={
            "label-above": Refusal(_loss(t(2, 3), np.array([0, 3])), "labels go from 0 to 3, but .* 3 classes"),
            "label-above-in-a-list": Refusal(_loss(ones(2, 3), [0, 3]), "labels go from 0 to 3"),
            "label-below": Refusal(_loss(t(2, 3), np.array([-1, 0])), "labels go from -1 to 0"),
            "label-below-in-a-list": Refusal(_loss(ones(2, 3), [-1, 1]), "labels go from -1 to 1"),
            "float-labels": type_error(_loss(t(2, 3), np.array([0.0, 1.0])), "integers, got float64"),
            "boolean-labels": type_error(_loss(t(2, 3), np.array([True, False])), "integers, got bool"),
            "boolean-labels-in-a-list": type_error(_loss(ones(2, 3), [True, False]), "integers, got bool"),
            "one-hot": Refusal(_loss(t(2, 3), np.array([[1, 0, 0]] * 2)), r"\(2, 3\) and \(2, 3\)"),
            "too-few-labels": Refusal(_loss(t(2, 3), np.array([0])), r"\(2, 3\) and \(1,\)"),
            "too-many-labels": Refusal(_loss(ones(2, 3), np.array([0, 1, 2])), "expected logits"),
            "logits-of-one-image": Refusal(_loss(ones(2), np.array([0, 1])), "expected logits"),
            "no-images": Refusal(_loss(t(0, 3), np.array([], int)), "n > 0"),
            "tensor-labels": type_error(_loss(t(2, 3), mg.Tensor([0, 1])), "labels is a setting"),
        },
    ),
    "mse_loss": OperatorRecord(
        drawn=windows.two_of_one_shape,
        offset=offsets.Offset(sample(offsets.near(8, 30), offsets.near(8, 30, seed=1)), 240),
        special=Special(),
        definition=lambda x, y: ((x - y) ** 2).mean(),
        samples={"matrices": sample(randn(2, 3), randn(2, 3, seed=1))},
        analytic=True,
        torch=lambda x, y: F.mse_loss(x, y),
        refuses={
            "shapes": Refusal(
                lambda: mg.mse_loss(t(2), t(2, 1)), r"expected x and y of one shape, got \(2,\) and \(2, 1\)"
            ),
            "nothing": Refusal(lambda: mg.mse_loss(t(0), t(0)), "nothing to reduce"),
        },
    ),
}
