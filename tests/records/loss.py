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


def _nll(log_p: Any, labels: Any) -> Any:
    return -log_p[np.arange(len(labels)), labels].mean()


def _cross_entropy(logits: Any, labels: Any, label_smoothing: float = 0.0) -> Any:
    return _smoothed(np.log(_softmax(logits)), labels, label_smoothing)


def _cross_entropy_by_scipy(logits: Any, labels: Any, label_smoothing: float = 0.0) -> Any:
    return _smoothed(special.log_softmax(logits, axis=1), labels, label_smoothing)


def _smoothed(log_p: Any, labels: Any, share: float) -> Any:
    """Average log_p by the targets: 1 at the label, of which a share is spread over all classes."""
    targets = (1 - share) * np.eye(log_p.shape[1])[np.asarray(labels, int)] + share / log_p.shape[1]
    return -np.where(targets == 0, 0, targets * log_p).sum(1).mean(dtype=log_p.dtype)


def _bce(x: Any, t: Any) -> Any:
    return -(t * np.log(1 / (1 + np.exp(-x))) + (1 - t) * np.log(1 / (1 + np.exp(x)))).mean()


def _bce_by_scipy(x: Any, t: Any) -> Any:
    return -(t * special.log_expit(x) + (1 - t) * special.log_expit(-x)).mean()


def _labels(labels: Any) -> Any:
    return torch.tensor(np.asarray(labels, "int64"))


def _loss(logits: Any, labels: Any, **settings: Any) -> Any:
    return lambda: mg.cross_entropy(logits, labels, **settings)


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
        drawn=windows.smoothed_cross_entropy,
        offset=offsets.one(30, 30, labels=np.arange(8)),
        special=Special(
            definition=_cross_entropy_by_scipy,
            unlike_torch={"mixed": "PyTorch multiplies an infinite cotangent by zeros"},
        ),
        definition=_cross_entropy,
        samples={
            "three": sample(randn(3, 4), labels=np.array([0, 3, 3])),
            "one": sample(randn(1, 2), labels=np.array([1])),
            "smoothed": sample(randn(3, 4), labels=np.array([0, 3, 3]), label_smoothing=0.25),
            "one-smoothed": sample(randn(1, 3), labels=np.array([1]), label_smoothing=0.75),
        },
        numbers={"smoothed": lambda kind, x: mg.cross_entropy(x, np.array([0, 1, 2, 2]), label_smoothing=kind(0.25))},
        analytic=True,
        fused=True,
        torch=lambda logits, labels, **settings: F.cross_entropy(logits, _labels(labels), **settings),
        scipy=_cross_entropy_by_scipy,
        accepts={
            "first-and-last-label": _loss(ones(2, 3), [0, 2]),
            "smoothed-away": _loss(ones(2, 3), [0, 2], label_smoothing=1),
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
            "smoothing-below": Refusal(
                _loss(t(2, 3), [0, 1], label_smoothing=-0.1), "0 <= label_smoothing <= 1, got -0.1"
            ),
            "smoothing-above": Refusal(
                _loss(t(2, 3), [0, 1], label_smoothing=1.1), "0 <= label_smoothing <= 1, got 1.1"
            ),
            "tensor-labels": type_error(_loss(t(2, 3), mg.Tensor([0, 1])), "labels is a setting"),
        },
    ),
    "nll_loss": OperatorRecord(
        drawn=windows.cross_entropy,
        offset=offsets.one(30, labels=np.arange(8)),
        special=Special(),
        definition=_nll,
        samples={
            "three": sample(randn(3, 4), labels=np.array([0, 3, 3])),
            "one": sample(randn(1, 2), labels=np.array([1])),
        },
        analytic=True,
        linear="jointly",
        torch=lambda log_p, labels: F.nll_loss(log_p, _labels(labels)),
        accepts={"first-and-last-label": lambda: mg.nll_loss(ones(2, 3), [0, 2])},
        refuses={
            "label-above": Refusal(lambda: mg.nll_loss(t(2, 3), [0, 3]), "labels go from 0 to 3, but .* 3 classes"),
            "one-hot": Refusal(lambda: mg.nll_loss(t(2, 3), np.eye(2, 3, dtype=int)), r"expected log_p \(n, classes\)"),
            "float-labels": type_error(lambda: mg.nll_loss(t(2, 3), [0.0, 1.0]), "integers, got float64"),
            "tensor-labels": type_error(lambda: mg.nll_loss(t(2, 3), mg.Tensor([0, 1])), "labels is a setting"),
        },
    ),
    "binary_cross_entropy": OperatorRecord(
        drawn=windows.two_of_one_shape,
        offset=offsets.Offset(sample(offsets.near(8, 30), offsets.around_0(8, 30)), 240, (4, 4)),
        special=Special(
            definition=_bce_by_scipy,
            unlike_torch=dict.fromkeys(("mixed", "zeros"), "an infinite cotangent is multiplied by a target of 0")
            | {"denormals": "the derivative in t is softplus(-x) - softplus(x), which is rounded; PyTorch has -x"},
        ),
        definition=_bce,
        samples={"matrices": sample(randn(2, 3), np.abs(randn(2, 3, seed=1)) % 1)},
        analytic=True,
        torch=lambda x, t: F.binary_cross_entropy_with_logits(x, t),
        scipy=_bce_by_scipy,
        accepts={
            "integers": lambda: mg.binary_cross_entropy(ones(2), np.array([0, 1])),
            "booleans": lambda: mg.binary_cross_entropy(t(2), np.array([True, False])).data,
            "tensor-of-integers": lambda: mg.binary_cross_entropy(t(2), mg.Tensor([0, 1])).data,
        },
        refuses={
            "shapes": Refusal(
                lambda: mg.binary_cross_entropy(t(2, 1), t(2)), r"two arrays of one shape, got \(2, 1\) and \(2,\)"
            ),
            "nothing": Refusal(lambda: mg.binary_cross_entropy(t(0), t(0)), "nothing to reduce"),
            "integers": type_error(
                lambda: mg.binary_cross_entropy(np.int8([2]), np.array([1])),
                "logits of floating-point numbers, got int",
            ),
            "dtypes": type_error(
                lambda: mg.binary_cross_entropy(t(2), np.ones(2)), "one dtype, got float32 and float64"
            ),
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
