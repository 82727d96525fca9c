"""Records of batch, layer and group normalisation: minigrad/ops/norm.py."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import minigrad as mg
from minigrad import nn
from tests.records import offsets, windows
from tests.records.draw import F, beside, channels_first, channels_last, ones, positive, randn, t
from tests.records.large import LARGE
from tests.records.many import MANY, batch_norm_gradients
from tests.records.record import Convention, Large, OperatorRecord, Refusal, Sample, Special, sample, type_error


def _definition(
    x: Any, gamma: Any, beta: Any, mean: Any, var: Any, *, training: bool, momentum: float = 0.1, eps: float = 1e-5
) -> Any:
    axes = tuple(range(x.ndim - 1))
    mu, v = (x.mean(axes), x.var(axes)) if training else (mean, var)
    return gamma * (x - mu) / np.sqrt(v + eps) + beta


def _by_torch(x: Any, gamma: Any, beta: Any, mean: Any, var: Any, **settings: Any) -> Any:
    return channels_last(F.batch_norm(channels_first(x), mean, var, gamma, beta, **settings))


def _norm(*shape: int, **settings: Any) -> Sample:
    """Make a sample; its running statistics, which are updated in place, are copied for every call."""
    c = shape[-1]
    mean, var = randn(c, seed=4), positive(c, seed=5)

    def call(op: Any, x: Any, gamma: Any, beta: Any, **settings: Any) -> Any:
        return op(x, gamma, beta, beside(x, mean), beside(x, var), **settings)

    return sample(randn(*shape) + 0.5, randn(c, seed=1), randn(c, seed=2), call=call, **settings)


def norm_of(x: Any, training: bool = True, eps: float = 1e-5, momentum: Any = 0.1, **given: Any) -> Any:
    """Normalise, with ones for all arguments that are not given."""
    c = x.shape[-1]
    arrays = {name: ones(c, dtype=x.dtype) for name in ("gamma", "beta", "running_mean", "running_var")} | given
    return mg.batch_norm(x, *arrays.values(), training=training, eps=eps, momentum=momentum)


def _with_numbers(training: bool) -> Any:
    def call(kind: Any, x: Any, gamma: Any, beta: Any) -> Any:
        mean, var = np.zeros(3, "float32"), np.ones(3, "float32")
        return mg.batch_norm(x, gamma, beta, mean, var, training=training, momentum=kind(0.5), eps=kind(0.25))

    return call


def _layer_norm(x: Any, normalized_shape: Any, gamma: Any = None, beta: Any = None, eps: float = 1e-5) -> Any:
    axes = tuple(range(-1 if isinstance(normalized_shape, int) else -len(normalized_shape), 0))
    normed = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)
    return _affine(normed, gamma, beta)


def _group_norm(x: Any, num_groups: int, gamma: Any = None, beta: Any = None, eps: float = 1e-5) -> Any:
    parts = np.split(x, num_groups, axis=-1)
    axes = tuple(range(1, x.ndim))
    normed = [(p - p.mean(axes, keepdims=True)) / np.sqrt(p.var(axes, keepdims=True) + eps) for p in parts]
    return _affine(np.concatenate(normed, -1), gamma, beta)


def _affine(x: Any, gamma: Any, beta: Any) -> Any:
    out = x if gamma is None else x * gamma
    return out if beta is None else out + beta


def _layer_norm_by_torch(x: Any, normalized_shape: Any, *scale: Any, eps: float = 1e-5) -> Any:
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else normalized_shape
    return F.layer_norm(x, shape, *scale, eps=eps)


def _group_norm_by_torch(x: Any, num_groups: int, *scale: Any, eps: float = 1e-5) -> Any:
    return channels_last(F.group_norm(channels_first(x), num_groups, *scale, eps=eps))


def _gradients_of_norm(g: Any, x: Any, axes: Any, gamma: Any, eps: float) -> tuple[Any, ...]:
    """As in the docstring of minigrad/ops/norm.py, over any axes."""
    std = np.sqrt(x.var(axes, keepdims=True) + eps)
    normed, d = (x - x.mean(axes, keepdims=True)) / std, g * gamma
    dx = (d - d.mean(axes, keepdims=True) - normed * (d * normed).mean(axes, keepdims=True)) / std
    return dx, g * normed, g


def layer_norm_gradients(g: Any, x: Any, c: int, gamma: Any, beta: Any) -> tuple[Any, ...]:
    """Over the last axis."""
    dx, *rest = _gradients_of_norm(g, x, (-1,), gamma, 1e-5)
    return dx, *(d.reshape(-1, c).sum(0) for d in rest)


def group_norm_gradients(g: Any, x: Any, groups: int, gamma: Any, beta: Any) -> tuple[Any, ...]:
    """Over the pixels and the channels of a group."""
    shape, c = (*x.shape[:-1], groups, x.shape[-1] // groups), x.shape[-1]
    axes = (*range(1, x.ndim - 1), x.ndim)
    parts = _gradients_of_norm(g.reshape(shape), x.reshape(shape), axes, gamma.reshape(shape[-2:]), 1e-5)
    dx, *rest = (d.reshape(x.shape) for d in parts)
    return dx, *(d.reshape(-1, c).sum(0) for d in rest)


def _with_scale(op: Any, x: Any, gamma: Any, beta: Any, of: Any, **settings: Any) -> Any:
    """Call layer_norm or group_norm, whose setting stands between x and gamma."""
    return op(x, of, gamma, beta, **settings)


def _scaled(x: Any, of: Any, *shape: int, **settings: Any) -> Sample:
    return sample(randn(*x), randn(*shape, seed=1), randn(*shape, seed=2), call=_with_scale, of=of, **settings)


def _special(*infinities: str) -> Special:
    """Say where compositions, which do what their parts do, differ from PyTorch's fused operators."""
    return Special(
        unlike_torch=dict.fromkeys(infinities, "infinity minus infinity, which PyTorch avoids")
        | dict.fromkeys(("huge", "-huge"), "the variance overflows, so x / infinity is 0; PyTorch has NaN"),
    )


X = t(2, 6, 5, 3)
ONE_DTYPE = "expected one dtype"

RECORDS = {
    "batch_norm": OperatorRecord(
        drawn=windows.batch_norm,
        offset=offsets.normalised(),
        special=Special(
            unlike_definition=dict.fromkeys(
                ("inf", "-inf", "mixed"), "infinity minus infinity: x, the mean and beta are scaled first"
            )
            | dict.fromkeys(
                ("huge", "-huge"), "the squares of float64 overflow; PyTorch has the result of an infinite variance"
            ),
            unlike_torch=dict.fromkeys(("inf", "-inf", "plain"), "infinity minus infinity, which PyTorch avoids")
            | dict.fromkeys(
                ("huge", "-huge"), "the squares of float64 overflow; PyTorch has the result of an infinite variance"
            ),
            conventions={
                "inf": Convention(
                    lambda x: norm_of(x, gamma=np.full(1, np.inf, x.dtype)),
                    [[1.0], [2.0]],
                    [[np.nan], [np.nan]],
                    [[np.nan], [np.nan]],
                    "may become NaN throughout",
                )
            },
        ),
        definition=_definition,
        samples={
            "images": _norm(2, 3, 2, 2, training=True),
            "features-eps": _norm(5, 3, training=True, eps=1e-3),
            "momentum": _norm(1, 2, 4, 1, training=True, momentum=0.5),
            "evaluation": _norm(2, 2, 2, 3, training=False),
            "evaluation-features-eps": _norm(3, 2, training=False, eps=1e-3),
            "evaluation-one-value": _norm(1, 1, training=False),
        },
        analytic=True,
        fused=True,
        torch=_by_torch,
        many=MANY["batch_norm"],
        large=LARGE["batch_norm"],
        gradients=batch_norm_gradients,
        numbers={"training": _with_numbers(True), "evaluation": _with_numbers(False)},
        accepts={
            "two-values": lambda: norm_of(np.array([[0.0], [1.0]])),
            "one-value-in-evaluation": lambda: norm_of(ones(1, 3), training=False),
        },
        refuses={
            "no-batch": Refusal(lambda: nn.BatchNorm2d(3)(t(3)), r"expected x with a batch axis.*got shape \(3,\)"),
            "no-batch-of-arrays": Refusal(lambda: norm_of(ones(3)), "expected x with a batch axis"),
            "no-channels": Refusal(lambda: norm_of(ones(4, 0), training=False), "at least one channel"),
            "channels": Refusal(lambda: nn.BatchNorm2d(4)(X), r"expected gamma of shape \(3,\).*got \(4,\)"),
            "gamma": Refusal(lambda: norm_of(ones(4, 3), gamma=ones(2)), "expected gamma of shape"),
            "running-var": Refusal(lambda: norm_of(ones(4, 3), running_var=ones(2)), "expected running_var of shape"),
            "one-value": Refusal(lambda: nn.BatchNorm2d(3)(t(1, 3)), r"at least two values.*\(1, 3\)"),
            "one-pixel": Refusal(lambda: nn.BatchNorm2d(3)(t(1, 1, 1, 3)), "at least two values"),
            "one-value-of-an-array": Refusal(lambda: norm_of(ones(1, 3)), "at least two values"),
            "eps": Refusal(lambda: norm_of(X, eps=0.0), "expected eps > 0, got 0.0"),
            "eps-nan": Refusal(lambda: norm_of(X, eps=math.nan), "expected a finite number with eps >= 0, got nan"),
            "eps-inf": Refusal(lambda: norm_of(X, eps=math.inf), "expected a finite number with eps >= 0, got inf"),
            "momentum-nan": Refusal(
                lambda: norm_of(X, momentum=math.nan), "expected a number with 0 <= momentum <= 1, got nan"
            ),
            "momentum": Refusal(
                lambda: norm_of(X, momentum=-0.1), "expected a number with 0 <= momentum <= 1, got -0.1"
            ),
            "momentum-of-text": Refusal(
                lambda: norm_of(X, momentum="0.1"), "expected a number with 0 <= momentum <= 1, got '0.1'"
            ),
            "eps-of-arrays": Refusal(lambda: norm_of(ones(4, 3), eps=0.0), "expected eps > 0"),
            "list-of-gamma": type_error(
                lambda: norm_of(ones(4, 1), gamma=[1.0]), "expected .* to be a Tensor or an array, got list"
            ),
            "list-of-statistics": type_error(
                lambda: norm_of(ones(4, 1), running_mean=[0.0]),
                "expected running_mean to be an array, got list",
            ),
            "dtypes": type_error(lambda: nn.BatchNorm2d(3)(t(2, 6, 5, 3, dtype="float64")), ONE_DTYPE),
            "dtype-of-tensors": type_error(
                lambda: norm_of(t(4, 3, dtype="float64"), gamma=t(3), beta=t(3)),
                r"convert the float32 array or Tensor with \.astype\('float64'\)",
            ),
            "dtype-of-statistics": type_error(
                lambda: mg.batch_norm(X, t(3), t(3), np.zeros(3), np.ones(3), training=False),
                "expected one dtype.*got x of float32 and running_mean of float64",
            ),
            "dtype-of-mean": type_error(lambda: norm_of(ones(4, 3), running_mean=ones(3, dtype="float32")), ONE_DTYPE),
            "dtype-of-var": type_error(lambda: norm_of(ones(4, 3), running_var=ones(3, dtype="float32")), ONE_DTYPE),
            "integers": type_error(
                lambda: norm_of(np.arange(6).reshape(2, 3), running_mean=np.zeros(3, int), running_var=np.ones(3, int)),
                "expected one dtype, of floating-point numbers",
            ),
            "statistics-tensor": type_error(
                lambda: mg.batch_norm(X, t(3), t(3), t(3), t(3), training=True), "got a Tensor; pass .data"
            ),
            "mean-tensor": type_error(
                lambda: norm_of(ones(4, 3), running_mean=mg.Tensor(ones(3))),
                "running statistics that are arrays, got a Tensor; pass .data",
            ),
        },
    ),
    "layer_norm": OperatorRecord(
        drawn=windows.layer_norm,
        offset=offsets.Offset(
            sample(
                offsets.near(8, 60), offsets.around_0(60, seed=1), offsets.around_0(60, seed=2), call=_with_scale, of=60
            ),
            2 * offsets.ROUNDED,  # the sum is rounded, and the mean
            (offsets.ROUNDED, 2 * offsets.ROUNDED, 8),
        ),
        special=_special("inf", "-inf"),
        definition=_layer_norm,
        samples={
            "last": _scaled((2, 2, 3), 3, 3),
            "last-two": _scaled((2, 3, 2), (3, 2), 3, 2, eps=1e-3),
            "all": _scaled((3,), (3,), 3),
            "plain": sample(randn(2, 4), normalized_shape=4),
        },
        analytic=True,
        torch=_layer_norm_by_torch,
        large={"rows": Large(((700, 101), (101,), (101,)), (16, 32, 700, 700), {"of": 101}, _with_scale, blocks=1)},
        gradients=layer_norm_gradients,
        numbers={"eps": lambda kind, x, gamma, beta: mg.layer_norm(x, 3, gamma, beta, eps=kind(0.25))},
        refuses={
            "shape": Refusal(lambda: mg.layer_norm(X, 5), r"normalized_shape \(5,\) to be the end of .*\(2, 6, 5, 3\)"),
            "no-axes": Refusal(lambda: mg.layer_norm(X, ()), r"normalized_shape \(\)"),
            "no-axes-of-a-number": Refusal(lambda: mg.layer_norm(t(), ()), r"normalized_shape \(\)"),
            "too-many-axes": Refusal(lambda: mg.layer_norm(t(3), (1, 3)), r"got \(3,\)"),
            "gamma": Refusal(lambda: mg.layer_norm(X, 3, t(5)), r"expected gamma of shape \(3,\), got \(5,\)"),
            "beta": Refusal(lambda: mg.layer_norm(X, (5, 3), t(5, 3), t(3)), r"expected beta of shape \(5, 3\)"),
            "eps": Refusal(lambda: mg.layer_norm(X, 3, eps=0.0), "expected eps > 0, got 0.0"),
            "nothing": Refusal(lambda: mg.layer_norm(t(2, 0), 0), "nothing to reduce"),
        },
    ),
    "group_norm": OperatorRecord(
        drawn=windows.group_norm,
        offset=offsets.Offset(
            sample(offsets.near(4, 8, 8, 6), *(offsets.around_0(6, seed=i) for i in (1, 2)), call=_with_scale, of=3),
            2 * offsets.ROUNDED,  # the sum is rounded, and the mean
            (offsets.ROUNDED, 2 * offsets.ROUNDED, 16),
        ),
        special=_special("inf", "plain"),
        definition=_group_norm,
        samples={
            "images": _scaled((2, 2, 1, 4), 2, 4),
            "one-group": _scaled((1, 2, 2, 2), 1, 2, eps=1e-3),
            "features": _scaled((2, 6), 2, 6),
            "plain": sample(randn(1, 3, 2), num_groups=2),
        },
        analytic=True,
        torch=_group_norm_by_torch,
        large={
            "images": Large(((20, 30, 31, 6), (6,), (6,)), (16, 64, 18_600, 18_600), {"of": 3}, _with_scale, blocks=1)
        },
        gradients=group_norm_gradients,
        numbers={"eps": lambda kind, x, gamma, beta: mg.group_norm(x, 1, gamma, beta, eps=kind(0.25))},
        refuses={
            "groups": Refusal(lambda: mg.group_norm(X, 2), "expected num_groups to divide the 3 channels of x, got 2"),
            "no-groups": Refusal(lambda: mg.group_norm(X, 0), "num_groups to be an int of at least 1, got 0"),
            "one-axis": Refusal(lambda: mg.group_norm(t(3), 1), r"a batch axis and a channel axis, got shape \(3,\)"),
            "gamma": Refusal(lambda: mg.group_norm(X, 3, t(6)), r"expected gamma of shape \(3,\), got \(6,\)"),
            "eps": Refusal(lambda: mg.group_norm(X, 3, eps=-1.0), "finite number with eps >= 0, got -1.0"),
            "nothing": Refusal(lambda: mg.group_norm(t(2, 0, 0, 4), 2), "nothing to reduce"),
        },
    ),
}
