"""Every misuse gets its error: it names the operator, what was expected, and what it got.

Each case is an easy mistake. The pattern must match the message: the operator first, and somewhere both sides.
"""

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn


def t(*shape, dtype="float32"):
    return mg.Tensor(np.ones(shape, dtype), requires_grad=dtype.startswith("float"))


x = (2, 6, 5, 3)  # images

CASES = {
    # broadcasting and dtypes
    "add": [
        (lambda: t(2) + t(3), ValueError, r"add: shapes \(2,\) and \(3,\) do not broadcast"),
        (lambda: t(2) + t(2, dtype="float64"), TypeError, "add: expected one dtype, got float32 and float64"),
        (lambda: t(2) + np.ones(2), TypeError, "add: expected one dtype, got float32 and float64"),
        (lambda: mg.add(t(2), [1.0, 2.0]), TypeError, "add: expected Tensors, arrays or numbers, got list"),
        (lambda: t(2) + None, TypeError, "add: expected Tensors, arrays or numbers, got NoneType"),
        (lambda: t(2) + "text", TypeError, "add: expected Tensors, arrays or numbers, got str"),
    ],
    "div": [(lambda: t(2, dtype="int64") / 2, TypeError, "div: gives float64 for int64; convert the integers first")],
    "where": [(lambda: mg.where(np.ones(3, bool), t(2), 0.0), ValueError, "where: .*broadcast")],
    "clip": [(lambda: mg.clip(t(2)), ValueError, "clip: expected a_min, a_max or both, got None")],
    "dropout": [
        (lambda: mg.dropout(t(2), 1.0, rng=np.random.default_rng(0), training=True), ValueError, "dropout: .*got 1.0"),
        (lambda: mg.dropout(t(2), 0.5, rng=0, training=True), TypeError, "dropout: expected rng .*Generator, got 0"),
    ],
    # axes
    "sum": [
        (lambda: t(2, 3).sum(2), ValueError, "sum: axis 2 is not an axis of an array with 2 axes; expected -2 to 1"),
        (lambda: t(2, 3).sum((0, 0)), ValueError, r"sum: axis \(0, 0\) names an axis twice"),
        (lambda: t(2, 3).sum(True), ValueError, "sum: axis True is not an axis"),
        (lambda: t().sum(0), ValueError, "sum: axis 0 is not an axis of an array with 0 axes; it has none"),
        (lambda: t(2, 3).sum(0.5), ValueError, "sum: axis 0.5 is not an axis"),
        (lambda: mg.sum(t(2), dim=0), TypeError, r"sum: expected sum\(x.*got \['dim'\]"),
    ],
    "mean": [
        (lambda: t(2, 3).mean(-3), ValueError, "mean: axis -3 is not an axis"),
        (lambda: t(0, 3).mean(0), ValueError, r"mean: nothing to reduce: shape \(0, 3\)"),
    ],
    "var": [
        (lambda: t(2, 3).var(5), ValueError, "var: axis 5 is not an axis"),
        (lambda: t(0).var(), ValueError, "var: nothing to reduce"),
    ],
    "max": [
        (lambda: t(2, 3).max(2), ValueError, "max: axis 2 is not an axis"),
        (lambda: t(0, 3).max(), ValueError, "max: nothing to reduce"),
    ],
    "min": [
        (lambda: t(2, 3).min(2), ValueError, "min: axis 2 is not an axis"),
        (lambda: t(3, 0).min(1), ValueError, "min: nothing to reduce"),
    ],
    "logsumexp": [
        (lambda: mg.logsumexp(t(2), 1), ValueError, "logsumexp: axis 1 is not an axis"),
        (lambda: mg.logsumexp(t(0)), ValueError, "logsumexp: nothing to reduce"),
    ],
    "softmax": [
        (lambda: mg.softmax(t(2, 3), (0, 1)), ValueError, "softmax: expected axis to be an int"),
        (lambda: mg.softmax(t(2), 1), ValueError, "softmax: axis 1 is not an axis"),
        (lambda: mg.softmax(t(2, 0)), ValueError, "softmax: nothing to reduce"),
    ],
    "log_softmax": [
        (lambda: mg.log_softmax(t(2), 1), ValueError, "log_softmax: axis 1 is not an axis"),
        (lambda: mg.log_softmax(t(2, 0)), ValueError, "log_softmax: nothing to reduce"),
    ],
    # shapes
    "reshape": [
        (lambda: t(2, 3).reshape(2.0), TypeError, "reshape: expected an int or a tuple of ints, got 2.0"),
        (lambda: t(2, 3).reshape(4), ValueError, r"reshape: .*shape \(2, 3\)"),
        (lambda: t(2, 3).reshape(-1, -1), ValueError, r"reshape: .*shape \(2, 3\)"),
    ],
    "transpose": [
        (lambda: t(2, 3).transpose(0, 0), ValueError, r"transpose: axis \(0, 0\) names an axis twice"),
        (lambda: t(2, 3).transpose(0), ValueError, r"transpose: expected each of 2 axes once, got .*shape \(2, 3\)"),
        (lambda: t(2, 3).transpose(0, 2), ValueError, r"transpose: axis \(0, 2\) is not an axis"),
    ],
    "broadcast_to": [(lambda: mg.broadcast_to(t(2, 3), (2, 2)), ValueError, r"broadcast_to: .*\(2, 3\)")],
    "squeeze": [
        (lambda: mg.squeeze(t(2, 1), 0), ValueError, r"squeeze: only axes of size 1 .*axis 0 of shape \(2, 1\)"),
        (lambda: mg.squeeze(t(2, 1), 2), ValueError, "squeeze: axis 2 is not an axis of an array with 2 axes"),
    ],
    "expand_dims": [(lambda: mg.expand_dims(t(2), 3), ValueError, "expand_dims: expected an axis from -2 to 1, got 3")],
    "concatenate": [
        (lambda: mg.concatenate(None), TypeError, "concatenate: expected a list or tuple .*got NoneType"),
        (lambda: mg.concatenate([]), ValueError, "concatenate: expected at least one array, got none"),
        (lambda: mg.concatenate([t(2, 3), t(2, 2)]), ValueError, r"concatenate: .*\(2, 3\), \(2, 2\)"),
        (lambda: mg.concatenate([t(2), t(2)], axis=1), ValueError, "concatenate: axis 1 is not an axis"),
        (lambda: mg.concatenate([t(2), t(2, dtype="float64")]), TypeError, "concatenate: expected one dtype"),
    ],
    "stack": [(lambda: mg.stack([t(2), t(3)]), ValueError, r"stack: expected arrays of one shape, got \(2,\), \(3,\)")],
    "pad": [
        (lambda: mg.pad(t(2), [(1, 1), (0, 0)]), ValueError, "pad: expected a pair .* for each of 1 axes"),
        (lambda: mg.pad(t(2), [(-1, 0)]), ValueError, "pad: expected a pair .*non-negative"),
        (lambda: mg.pad(t(2), 1), ValueError, "pad: expected a pair .* got 1"),
    ],
    "flip": [(lambda: mg.flip(t(2), 1), ValueError, "flip: axis 1 is not an axis")],
    "getitem": [
        (lambda: t(2)[5], IndexError, r"getitem: index 5 is out of bounds.*shape \(2,\), index 5"),
        (lambda: t(2)[0, 0], IndexError, r"getitem: .*shape \(2,\)"),
        (lambda: t(2)[1.5], IndexError, "getitem: .*index 1.5"),
        (lambda: t(2)[np.ones(3, bool)], IndexError, "getitem: boolean index"),
        (lambda: t(2)[mg.Tensor([0])], TypeError, "getitem: index is a setting.*tensor.data"),
    ],
    # matrices
    "matmul": [
        (lambda: mg.matmul([[1.0]], t(1, 1)), TypeError, "matmul: expected a to be a Tensor or an array, got list"),
        (lambda: t(2, 3) @ t(2, 3), ValueError, r"matmul: inner sizes differ: \(2, 3\) @ \(2, 3\)"),
        (lambda: t(2) @ t(), ValueError, r"matmul: expected arrays with at least one axis, got \(2,\) @ \(\)"),
        (lambda: t(2, 2, 3) @ t(3, 3, 2), ValueError, "matmul: shapes .* do not broadcast"),
        (lambda: t(2, 2) @ t(2, 2, dtype="float64"), TypeError, "matmul: expected one dtype"),
        (lambda: t(2, 2) @ 3.0, TypeError, "matmul: expected b to be a Tensor or an array, got float"),
    ],
    "linear": [
        (
            lambda: mg.linear(t(2, 3), t(4, 5)),
            ValueError,
            r"linear: x has 3 features \(shape \(2, 3\)\) but w .*\(4, 5\)",
        ),
        (lambda: mg.linear(t(2, 3), t(3)), ValueError, r"linear: .*w has shape \(3,\); w is \(c_in, c_out\)"),
        (lambda: mg.linear(t(2, 3), t(3, 5), t(3)), ValueError, r"linear: expected b of shape \(5,\).*got \(3,\)"),
        (lambda: nn.Linear(3, 2, rng=0)(t(2, 4)), ValueError, "linear: x has 4 features"),
    ],
    # images
    "conv2d": [
        (lambda: mg.conv2d([1.0], t(3, 3, 3, 4)), TypeError, "conv2d: expected x to be a Tensor or an array, got list"),
        (
            lambda: mg.conv2d(t(6, 5, 3), t(3, 3, 3, 4)),
            ValueError,
            r"conv2d: expected x \(n, h, w, c_in\).*got x \(6, 5, 3\)",
        ),
        (
            lambda: mg.conv2d(t(*x), t(3, 3, 16, 4)),
            ValueError,
            r"conv2d: x has 3 channels \(shape .*\) but w expects 16",
        ),
        (
            lambda: mg.conv2d(t(*x), t(7, 7, 3, 4)),
            ValueError,
            "conv2d: the kernel spans 7 pixels of height, but .* has 6",
        ),
        (
            lambda: mg.conv2d(t(*x), t(3, 6, 3, 4)),
            ValueError,
            "conv2d: the kernel spans 6 pixels of width, but .* has 5",
        ),
        (lambda: mg.conv2d(t(*x), t(3, 3, 3, 4), dilation=3), ValueError, "conv2d: the kernel spans 7 pixels"),
        (lambda: mg.conv2d(t(*x), t(3, 3, 3, 4), t(3)), ValueError, r"conv2d: expected b of shape \(4,\).*got \(3,\)"),
        (lambda: mg.conv2d(t(*x), t(3, 3, 3, 4), stride=0), ValueError, "conv2d: expected stride .*at least 1.*got 0"),
        (
            lambda: mg.conv2d(t(*x), t(3, 3, 3, 4), padding=-1),
            ValueError,
            "conv2d: expected padding .*at least 0.*got -1",
        ),
        (lambda: mg.conv2d(t(*x), t(3, 3, 3, 4), stride=1.5), ValueError, "conv2d: expected stride .*got 1.5"),
        (
            lambda: mg.conv2d(t(*x), t(3, 3, 3, 4), stride=(1, 2, 3)),
            ValueError,
            r"conv2d: expected stride .*got \(1, 2, 3\)",
        ),
        (
            lambda: mg.conv2d(t(*x), t(3, 3, 1, 4), groups=2),
            ValueError,
            "conv2d: groups=2 must divide c_in = 3 and c_out = 4",
        ),
        (lambda: mg.conv2d(t(*x), t(3, 3, 3, 4), groups=0), ValueError, "conv2d: groups=0 must divide"),
        (lambda: mg.conv2d(t(*x), t(3, 3, 3, 4, dtype="float64")), TypeError, "conv2d: expected one dtype"),
        (lambda: mg.conv2d(np.ones(x, "float32"), np.ones((3, 3, 3, 4))), TypeError, "conv2d: expected one dtype"),
        (lambda: mg.conv2d(t(*x, dtype="int64"), t(3, 3, 3, 4, dtype="int64")), TypeError, "conv2d: .*floating-point"),
        (
            lambda: mg.conv2d(t(*x), t(3, 3, 3, 4), [0.0] * 4),
            TypeError,
            "conv2d: expected b to be a Tensor or an array",
        ),
        (lambda: nn.Conv2d(4, 8, 3, rng=0)(t(*x)), ValueError, "conv2d: x has 3 channels .* but w expects 4"),
    ],
    "conv_transpose2d": [
        (
            lambda: mg.conv_transpose2d(t(*x), t(3, 3, 4, 2)),
            ValueError,
            r"conv_transpose2d: expected x .*got x \(2, 6, 5, 3\)",
        ),
        (
            lambda: mg.conv_transpose2d(t(*x), t(3, 3, 3, 2), t(3)),
            ValueError,
            r"conv_transpose2d: expected b of shape \(2,\)",
        ),
        (
            lambda: mg.conv_transpose2d(t(1, 1, 1, 3), t(2, 2, 3, 2), padding=1),
            ValueError,
            "conv_transpose2d: .*everything",
        ),
    ],
    "max_pool2d": [
        (
            lambda: mg.max_pool2d(t(6, 5, 3), 2),
            ValueError,
            r"max_pool2d: expected images \(n, h, w, c\), got .*\(6, 5, 3\)",
        ),
        (lambda: mg.max_pool2d(t(*x), 6), ValueError, "max_pool2d: the kernel spans 6 pixels of width"),
        (lambda: mg.max_pool2d(t(*x), 2, padding=2), ValueError, "max_pool2d: padding .* smaller than the kernel"),
        (lambda: mg.max_pool2d(t(*x), 0), ValueError, "max_pool2d: expected kernel .*at least 1.*got 0"),
    ],
    "avg_pool2d": [
        (lambda: mg.avg_pool2d(t(6, 5, 3), 2), ValueError, r"avg_pool2d: expected images"),
        (lambda: mg.avg_pool2d(t(*x), 2, stride=0), ValueError, "avg_pool2d: expected stride .*got 0"),
    ],
    "global_avg_pool2d": [
        (lambda: mg.global_avg_pool2d(t(2, 3)), ValueError, r"global_avg_pool2d: expected images .*got shape \(2, 3\)"),
        (lambda: mg.global_avg_pool2d(t(2, 0, 3, 1)), ValueError, "nothing to reduce"),
    ],
    "batch_norm": [
        (lambda: nn.BatchNorm2d(4)(t(*x)), ValueError, r"batch_norm: expected gamma of shape \(3,\).*got \(4,\)"),
        (lambda: nn.BatchNorm2d(3)(t(1, 3)), ValueError, r"batch_norm: in training .*at least two values.*\(1, 3\)"),
        (lambda: nn.BatchNorm2d(3)(t(1, 1, 1, 3)), ValueError, "batch_norm: in training .*at least two values"),
        (lambda: nn.BatchNorm2d(3, eps=0.0)(t(*x)), ValueError, "batch_norm: expected eps > 0, got 0.0"),
        (
            lambda: mg.batch_norm(t(*x), t(3), t(3), np.zeros(3), np.ones(3), training=False),
            TypeError,
            "batch_norm: expected one dtype.*got x of float32 and ndarray of float64",
        ),
        (lambda: mg.batch_norm(t(*x), t(3), t(3), t(3), t(3), training=True), TypeError, "batch_norm: .*Tensor of"),
        (lambda: nn.BatchNorm2d(3)(t(3)), ValueError, r"batch_norm: expected x with a batch axis.*got shape \(3,\)"),
        (lambda: nn.BatchNorm2d(3)(t(*x, dtype="float64")), TypeError, "batch_norm: expected one dtype"),
    ],
    # losses
    "cross_entropy": [
        (
            lambda: mg.cross_entropy(t(2, 3), np.array([0, 3])),
            ValueError,
            "cross_entropy: labels go from 0 to 3, but .* 3 cl",
        ),
        (lambda: mg.cross_entropy(t(2, 3), np.array([-1, 0])), ValueError, "cross_entropy: labels go from -1 to 0"),
        (lambda: mg.cross_entropy(t(2, 3), np.array([0.0, 1.0])), TypeError, "cross_entropy: .*integers, got float64"),
        (
            lambda: mg.cross_entropy(t(2, 3), np.array([[1, 0, 0]] * 2)),
            ValueError,
            r"cross_entropy: .*\(2, 3\) and \(2, 3\)",
        ),
        (lambda: mg.cross_entropy(t(2, 3), np.array([0])), ValueError, r"cross_entropy: .*\(2, 3\) and \(1,\)"),
        (lambda: mg.cross_entropy(t(0, 3), np.array([], int)), ValueError, "cross_entropy: .*n > 0"),
        (lambda: mg.cross_entropy(t(2, 3), mg.Tensor([0, 1])), TypeError, "cross_entropy: labels is a setting"),
    ],
    "mse_loss": [
        (
            lambda: mg.mse_loss(t(2), t(2, 1)),
            ValueError,
            r"mse_loss: expected two of one shape, got \(2,\) and \(2, 1\)",
        ),
        (lambda: mg.mse_loss(t(0), t(0)), ValueError, "nothing to reduce"),
    ],
}


@pytest.mark.parametrize(
    ("mistake", "error", "message"),
    [pytest.param(*case, id=f"{name}-{i}") for name, cases in CASES.items() for i, case in enumerate(cases)],
)
def test_a_mistake_is_explained(mistake, error, message):
    with pytest.raises(error, match=message) as caught:
        mistake()
    assert type(caught.value) is error


def test_every_operator_that_can_be_misused_is_here():
    """The rest take one argument of any shape, or broadcast as add does."""
    elementwise = {
        "sub",
        "mul",
        "neg",
        "pow",
        "exp",
        "log",
        "sqrt",
        "tanh",
        "sigmoid",
        "relu",
        "abs",
        "maximum",
        "minimum",
    }
    assert set(CASES) | elementwise == set(mg.ops.__all__)
