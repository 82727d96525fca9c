"""Sample inputs for every public operator: the one table that all generic checks run over.

Each operator of :mod:`minigrad.ops` has a list of samples here, and an operator without any fails the suite. A
sample is small, so that its full Jacobian can be compared with finite differences; it is kept away from
kinks, whose conventions have tests of their own; and together an operator's samples cover its settings:
broadcasts, axes, every residue of stride, padding and kernel, H != W.

To add an operator: write it, put it into ``minigrad.ops.__all__``, and add its samples here. Every check of
test_operators.py then runs on it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import minigrad as mg


@dataclass(frozen=True)
class Sample:
    """Inputs (float64, differentiable) and settings of one call.

    `call` says how an operator is called where that is not ``op(*inputs, **settings)``.
    `plain` computes the same with NumPy alone, as the definition says.
    """

    inputs: tuple[Any, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    plain: Callable[..., Any] | None = None
    call: Callable[..., Any] | None = None

    def apply(self, op: Callable[..., Any], inputs: Any) -> Any:
        """Call the operator on the inputs, be they arrays or Tensors."""
        if self.call is not None:
            return self.call(op, *inputs, **self.settings)
        return op(*inputs, **self.settings)

    def function(self, name: str) -> Callable[..., Any]:
        """Return the public operator of that name, called as this sample says, as a function of the inputs."""
        return lambda *inputs: self.apply(getattr(mg, name), inputs)

    @property
    def linear(self) -> bool:
        """Whether nothing constant is added: a border other than 0, a bias."""
        return not self.settings.get("constant_values") and not self.biased

    @property
    def biased(self) -> bool:
        """Whether the last of three inputs is a bias."""
        return len(self.inputs) == 3 and self.inputs[2].ndim == 1 and self.inputs[1].ndim > 1


def randn(*shape: int, seed: int = 0, away: float = 0.0) -> Any:
    """Draw normal numbers that keep a distance from 0."""
    x = np.random.default_rng([seed, *shape]).standard_normal(shape)
    return x + np.sign(x) * away


def positive(*shape: int, seed: int = 0) -> Any:
    """Draw numbers from 0.5 to 2."""
    return np.random.default_rng([seed, *shape]).uniform(0.5, 2.0, shape)


def distinct(*shape: int, seed: int = 0) -> Any:
    """Draw numbers that are all at least 0.1 apart, so that no maximum is near a tie."""
    x = 0.1 * np.arange(1, np.prod(shape, dtype=int) + 1)
    signs = np.where(np.arange(x.size) % 2, 1.0, -1.0)
    return np.random.default_rng(seed).permutation(x * signs).reshape(shape)


#: Pairs of shapes that broadcast: equal, a scalar, missing axes, stretched axes, both stretched, empty.
BROADCASTS = [
    ((2, 3), (2, 3)),
    ((2, 3), ()),
    ((), (3,)),
    ((3,), (2, 3)),
    ((2, 1, 3), (4, 1)),
    ((2, 1), (1, 3)),
    ((1,), (1, 1)),
    ((0, 3), (1, 3)),
]


def _binary(plain: Any, draw: Any = randn) -> list[Sample]:
    samples = [Sample((draw(*a, seed=1), draw(*b, seed=2)), plain=plain) for a, b in BROADCASTS]
    samples.append(Sample((draw(2, 3),), plain=lambda x: plain(x, 2.5), call=lambda op, x: op(x, 2.5)))
    samples.append(Sample((draw(2, 3),), plain=lambda x: plain(2.5, x), call=lambda op, x: op(2.5, x)))
    return samples


def _unary(plain: Any, draw: Any = randn) -> list[Sample]:
    return [Sample((draw(*shape),), plain=plain) for shape in [(), (3,), (2, 3), (0, 2)]]


def _reductions(plain: Any, draw: Any = randn, empty: bool = True) -> list[Sample]:
    axes: list[Any] = [None, 0, 1, -1, (0, 2), (2, 0), (-2,), (0, 1, 2)]
    samples = [
        Sample((draw(2, 3, 2),), {"axis": axis, "keepdims": keepdims}, plain)
        for axis in axes
        for keepdims in (False, True)
    ]
    samples += [Sample((draw(1),), {}, plain), Sample((draw(),), {}, plain)]
    if empty:
        samples.append(Sample((draw(0, 3),), {"axis": 0}, plain))
    return samples


def _logsumexp(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return np.log(np.exp(x).sum(axis=axis, keepdims=keepdims))


def _softmax(x: Any, axis: int = -1) -> Any:
    return np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True)


def conv2d_by_loops(
    x: Any, w: Any, b: Any = None, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Any:
    """Convolve pixel by pixel, as one would explain it on a blackboard."""
    (sh, sw), (ph, pw), (dh, dw) = (v if isinstance(v, tuple) else (v, v) for v in (stride, padding, dilation))
    x = np.pad(x, [(0, 0), (ph, ph), (pw, pw), (0, 0)])
    n, h, wd, _ = x.shape
    kh, kw, c, o = w.shape
    ho, wo = (h - dh * (kh - 1) - 1) // sh + 1, (wd - dw * (kw - 1) - 1) // sw + 1
    out = np.zeros((n, ho, wo, o), x.dtype)
    for y in range(ho):
        for z in range(wo):
            for k in range(o):
                group = k // (o // groups)
                for i in range(kh):
                    for j in range(kw):
                        pixel = x[:, y * sh + i * dh, z * sw + j * dw, group * c : (group + 1) * c]
                        out[:, y, z, k] += pixel @ w[i, j, :, k]
    return out if b is None else out + b


def _conv(x: Any, w: Any, bias: bool = False, **settings: Any) -> Sample:
    inputs = (randn(*x), randn(*w, seed=1)) + ((randn(w[3], seed=2),) if bias else ())
    return Sample(inputs, settings, conv2d_by_loops)


def conv_transpose2d_by_loops(x: Any, w: Any, b: Any = None, *, stride: Any = 1, padding: Any = 0) -> Any:
    """Spread each pixel over its window, pixel by pixel."""
    (sh, sw), (ph, pw) = (v if isinstance(v, tuple) else (v, v) for v in (stride, padding))
    (n, h, wd, _), (kh, kw, _, o) = x.shape, w.shape
    out = np.zeros((n, sh * (h - 1) + kh, sw * (wd - 1) + kw, o), x.dtype)
    for y in range(h):
        for z in range(wd):
            for i in range(kh):
                for j in range(kw):
                    out[:, y * sh + i, z * sw + j] += x[:, y, z] @ w[i, j]
    out = out[:, ph : out.shape[1] - ph, pw : out.shape[2] - pw]
    return out if b is None else out + b


def _conv_transpose(x: Any, w: Any, bias: bool = False, **settings: Any) -> Sample:
    inputs = (randn(*x), randn(*w, seed=1)) + ((randn(w[3], seed=2),) if bias else ())
    return Sample(inputs, settings, conv_transpose2d_by_loops)


def pool_by_loops(x: Any, kernel: Any, *, largest: bool, stride: Any = None, padding: Any = 0) -> Any:
    """Pool window by window."""
    stride = kernel if stride is None else stride
    (kh, kw), (sh, sw), (ph, pw) = (v if isinstance(v, tuple) else (v, v) for v in (kernel, stride, padding))
    x = np.pad(x, [(0, 0), (ph, ph), (pw, pw), (0, 0)], constant_values=-np.inf if largest else 0.0)
    rows = [
        [x[:, y : y + kh, z : z + kw] for z in range(0, x.shape[2] - kw + 1, sw)]
        for y in range(0, x.shape[1] - kh + 1, sh)
    ]
    return np.stack([np.stack([(v.max if largest else v.mean)((1, 2)) for v in row], 1) for row in rows], 1)


def _pool(x: Any, kernel: Any, largest: bool = True, **settings: Any) -> Sample:
    settings = {"kernel": kernel, **settings}
    return Sample((distinct(*x),), settings, lambda x, **s: pool_by_loops(x, largest=largest, **s))


def _dropped(op: Any, x: Any, training: bool) -> Any:
    return op(x, 0.5, rng=np.random.default_rng(7), training=training)


def _kept(x: Any) -> Any:
    seed = int(np.random.default_rng(7).integers(2**63))
    return np.random.default_rng(seed).random(x.shape, dtype=np.float32) >= 0.5


def _batch_norm(x: Any, training: bool, **settings: Any) -> Sample:
    c = x[-1]
    mean, var = randn(c, seed=4), positive(c, seed=5)

    def call(op: Any, *inputs: Any, **settings: Any) -> Any:
        moved = [_like(inputs[0], a) for a in (mean, var)]  # fresh copies: they are updated in place
        return op(*inputs, *moved, **settings)

    def plain(x: Any, gamma: Any, beta: Any, training: bool, momentum: float = 0.1, eps: float = 1e-5) -> Any:
        axes = tuple(range(x.ndim - 1))
        mu, v = (x.mean(axes), x.var(axes)) if training else (mean, var)
        return gamma * (x - mu) / np.sqrt(v + eps) + beta

    inputs = (randn(*x) + 0.5, randn(c, seed=1), randn(c, seed=2))
    return Sample(inputs, {"training": training, **settings}, plain, call)


def _like(x: Any, array: Any) -> Any:
    """Copy a host array to the dtype and the place of `x`."""
    data = x.data if isinstance(x, mg.Tensor) else x
    return mg.device.namespace(data).asarray(array.astype(data.dtype))


def _cross_entropy(logits: Any, labels: Any) -> Any:
    return -np.log(_softmax(logits))[np.arange(len(labels)), labels].mean()


def _list(op: Any, *inputs: Any, **settings: Any) -> Any:
    return op(list(inputs), **settings)


_condition = np.array([[True, False, True], [False, True, False]])


def _chosen(op: Any, a: Any, b: Any, condition: Any = _condition) -> Any:
    data = a.data if isinstance(a, mg.Tensor) else a
    return op(mg.device.namespace(data).asarray(condition), a, b)


def _other(op: Any, a: Any, b: Any) -> Any:
    return _chosen(op, a, b, ~_condition)


SAMPLES: dict[str, list[Sample]] = {
    # elementwise
    "add": _binary(np.add),
    "sub": _binary(np.subtract),
    "mul": _binary(np.multiply),
    "div": _binary(np.divide, lambda *s, seed=0: randn(*s, seed=seed, away=0.5)),
    "neg": _unary(np.negative),
    "pow": [
        *_binary(np.power, positive),
        *[
            Sample((randn(2, 3, away=0.2),), plain=lambda x, p=p: x**p, call=lambda op, x, p=p: op(x, p))
            for p in (0, 1, 2, 3, -1)
        ],
        Sample((positive(3), np.array([0.0, 1.0, 2.0])), plain=np.power),
    ],
    "exp": _unary(np.exp),
    "log": _unary(np.log, positive),
    "sqrt": _unary(np.sqrt, positive),
    "tanh": _unary(np.tanh),
    "sigmoid": _unary(lambda x: 1 / (1 + np.exp(-x))),
    "relu": _unary(lambda x: np.maximum(x, 0), distinct),
    "abs": _unary(np.abs, distinct),
    "clip": [
        Sample((distinct(2, 3),), {"a_min": -0.25, "a_max": 0.35}, lambda x, a_min, a_max: np.clip(x, a_min, a_max)),
        Sample((distinct(2, 3),), {"a_min": 0.05}, lambda x, a_min: np.maximum(x, a_min)),
        Sample((distinct(2, 3),), {"a_max": 0.05}, lambda x, a_max: np.minimum(x, a_max)),
    ],
    "dropout": [
        Sample((randn(4, 3),), {"training": True}, lambda x, training: x * _kept(x) / 0.5, _dropped),
        Sample((randn(4, 3),), {"training": False}, lambda x, training: x, _dropped),
    ],
    "maximum": [
        Sample((distinct(2, 3), distinct(2, 3, seed=1) + 0.05), plain=np.maximum),
        Sample((distinct(2, 1), distinct(3, seed=1) + 0.05), plain=np.maximum),
        Sample((distinct(2, 3),), plain=lambda x: np.maximum(x, 0), call=lambda op, x: op(x, 0.0)),
    ],
    "minimum": [
        Sample((distinct(2, 3), distinct(2, 3, seed=1) + 0.05), plain=np.minimum),
        Sample((distinct(2, 1), distinct(3, seed=1) + 0.05), plain=np.minimum),
        Sample((distinct(2, 3),), plain=lambda x: np.minimum(0, x), call=lambda op, x: op(0.0, x)),
    ],
    "where": [
        Sample((randn(*a), randn(*b, seed=1)), plain=lambda a, b: np.where(_condition, a, b), call=_chosen)
        for a, b in [((2, 3), (2, 3)), ((3,), (2, 1)), ((), (2, 3))]
    ]
    + [Sample((randn(2, 3), randn(3, seed=1)), plain=lambda a, b: np.where(~_condition, a, b), call=_other)]
    + [Sample((randn(2, 3),), plain=lambda a: np.where(_condition, a, 0.0), call=lambda op, a: _chosen(op, a, 0.0))],
    # shape
    "reshape": [
        Sample((randn(2, 3, 2),), {"shape": s}, lambda x, shape: x.reshape(shape))
        for s in [(6, 2), (-1,), 12, (2, -1), (1, 12, 1)]
    ],
    "transpose": [
        Sample((randn(2, 3, 4),), {"axes": a}, lambda x, axes: x.transpose(axes))
        for a in [None, (1, 2, 0), (0, 2, 1), (-1, 0, 1)]
    ],
    "broadcast_to": [
        Sample((randn(*a),), {"shape": b}, lambda x, shape: np.broadcast_to(x, shape))
        for a, b in [
            ((3,), (2, 3)),
            ((2, 1), (2, 3)),
            ((), (2, 2)),
            ((2, 3), (2, 3)),
            ((1, 1), (4, 2, 3)),
            ((1, 3), (0, 3)),
        ]
    ],
    "squeeze": [Sample((randn(1, 3, 1),), {"axis": a}, lambda x, axis: x.squeeze(axis)) for a in [0, -1, (0, 2)]],
    "expand_dims": [
        Sample((randn(2, 3),), {"axis": a}, lambda x, axis: np.expand_dims(x, axis)) for a in [0, 1, 2, -1, -3]
    ],
    "concatenate": [
        Sample((randn(2, 3), randn(2, 1), randn(2, 2)), {"axis": 1}, lambda *a, axis: np.concatenate(a, axis), _list),
        Sample((randn(2, 3), randn(2, 0)), {"axis": -1}, lambda *a, axis: np.concatenate(a, axis), _list),
        Sample((randn(3),), {}, lambda *a: np.concatenate(a), _list),
    ],
    "stack": [
        Sample((randn(2, 3), randn(2, 3, seed=1)), {"axis": a}, lambda *x, axis: np.stack(x, axis), _list)
        for a in (0, 1, -1)
    ],
    "pad": [
        Sample((randn(2, 3),), {"pad_width": p}, lambda x, pad_width: np.pad(x, pad_width))
        for p in [[(1, 0), (0, 2)], [(0, 0), (0, 0)], [(2, 1), (1, 1)]]
    ]
    + [
        Sample(
            (randn(2),),
            {"pad_width": [(1, 1)], "constant_values": -3.0},
            lambda x, pad_width, constant_values: np.pad(x, pad_width, constant_values=constant_values),
        )
    ],
    "flip": [Sample((randn(2, 3),), {"axis": a}, lambda x, axis: np.flip(x, axis)) for a in [None, 0, -1, (0, 1)]],
    "getitem": [
        Sample((randn(4, 3, 2),), {"index": i}, lambda x, index: x[index])
        for i in [
            1,
            -1,
            slice(1, 3),
            slice(None, None, -1),
            slice(3, 0, -2),
            (slice(None), 1),
            (..., 0),
            (None, slice(0, 2), ..., None),
            [0, 2, 0],
            (slice(None), [1, 1, 0], slice(None)),
            ([0, 1, 0], [2, 2, 2]),
            slice(2, 2),
            (1, 2, 1),
            ((0, 0, 2),),
            ((0, 0), slice(None)),
        ]
    ],
    # reduction
    "sum": _reductions(lambda x, axis=None, keepdims=False: x.sum(axis, keepdims=keepdims)),
    "mean": _reductions(lambda x, axis=None, keepdims=False: x.mean(axis, keepdims=keepdims), empty=False),
    "var": _reductions(lambda x, axis=None, keepdims=False: x.var(axis, keepdims=keepdims), empty=False),
    "max": _reductions(lambda x, axis=None, keepdims=False: x.max(axis, keepdims=keepdims), distinct, empty=False),
    "min": _reductions(lambda x, axis=None, keepdims=False: x.min(axis, keepdims=keepdims), distinct, empty=False),
    "logsumexp": _reductions(_logsumexp, empty=False),
    # matrices
    "matmul": [
        Sample((randn(*a), randn(*b, seed=1)), plain=np.matmul)
        for a, b in [
            ((2, 3), (3, 4)),
            ((3,), (3,)),
            ((3,), (3, 2)),
            ((2, 3), (3,)),
            ((2, 2, 3), (3, 2)),
            ((2, 1, 2, 3), (3, 3, 1)),
            ((3,), (2, 3, 2)),
            ((2, 2, 3), (3,)),
            ((0, 3), (3, 2)),
            ((2, 0), (0, 2)),
        ]
    ],
    "linear": [
        Sample((randn(2, 3), randn(3, 4, seed=1)), plain=lambda x, w: x @ w),
        Sample((randn(2, 3), randn(3, 4, seed=1), randn(4, seed=2)), plain=lambda x, w, b: x @ w + b),
        Sample((randn(2, 2, 3), randn(3, 1, seed=1), randn(1, seed=2)), plain=lambda x, w, b: x @ w + b),
        Sample((randn(3), randn(3, 2, seed=1), randn(2, seed=2)), plain=lambda x, w, b: x @ w + b),
    ],
    # images
    "conv2d": [
        _conv((1, 4, 5, 2), (3, 3, 2, 2), padding=1),
        _conv((2, 4, 3, 1), (3, 3, 1, 2), bias=True, padding=1),
        _conv((1, 5, 4, 2), (3, 3, 2, 1), stride=2, padding=1),
        _conv((1, 6, 5, 1), (3, 2, 1, 2), bias=True, stride=2),
        _conv((1, 5, 6, 1), (2, 3, 1, 1), stride=(1, 2), padding=(0, 1)),
        _conv((1, 4, 5, 1), (1, 3, 1, 2), padding=(0, 1)),
        _conv((1, 6, 3, 1), (3, 1, 1, 1), stride=3, padding=(1, 0)),
        _conv((1, 5, 5, 1), (2, 2, 1, 1), stride=3),  # stride larger than the kernel: pixels that nobody sees
        _conv((2, 3, 2, 3), (1, 1, 3, 2), bias=True),
        _conv((1, 5, 4, 2), (1, 1, 2, 2), stride=2),
        _conv((1, 2, 3, 1), (1, 1, 1, 1), padding=1),
        _conv((1, 3, 3, 1), (2, 2, 1, 1), padding=2),  # more padding than the kernel reaches
        _conv((1, 6, 7, 1), (3, 3, 1, 1), dilation=2, padding=1),
        _conv((1, 6, 7, 1), (2, 3, 1, 1), dilation=(2, 1), stride=2, padding=1),
        _conv((1, 3, 4, 4), (3, 3, 2, 4), bias=True, padding=1, groups=2),
        _conv((1, 4, 3, 2), (2, 2, 1, 2), groups=2, stride=2),
        _conv((0, 3, 3, 1), (3, 3, 1, 1), padding=1),
    ],
    "conv_transpose2d": [
        _conv_transpose((1, 3, 2, 2), (3, 3, 2, 1), padding=1),
        _conv_transpose((2, 2, 3, 1), (3, 2, 1, 2), bias=True, stride=2, padding=(1, 0)),
        _conv_transpose((1, 2, 2, 2), (2, 2, 2, 2), stride=(3, 1)),  # stride larger than the kernel: gaps
        _conv_transpose((1, 2, 3, 2), (1, 1, 2, 1), bias=True),
    ],
    "max_pool2d": [
        _pool((1, 4, 6, 2), 2),
        _pool((2, 5, 4, 1), 3, stride=2, padding=1),  # overlapping, as in the stem of an ImageNet net
        _pool((1, 5, 6, 1), (2, 3), stride=(1, 2)),
        _pool((1, 5, 5, 1), 2, stride=3),
        _pool((1, 3, 4, 1), (3, 2), stride=1, padding=(2, 1)),
    ],
    "avg_pool2d": [
        _pool((1, 4, 6, 2), 2, largest=False),
        _pool((2, 5, 4, 1), 3, stride=2, padding=1, largest=False),
        _pool((1, 5, 6, 1), (2, 3), stride=(1, 2), largest=False),
        _pool((1, 5, 5, 1), 2, stride=3, largest=False),
    ],
    "global_avg_pool2d": [Sample((randn(2, 3, 2, 2),), plain=lambda x: x.mean((1, 2)))],
    "batch_norm": [
        _batch_norm((2, 3, 2, 2), True),
        _batch_norm((5, 3), True, eps=1e-3),
        _batch_norm((1, 2, 4, 1), True, momentum=0.5),
        _batch_norm((2, 2, 2, 3), False),
        _batch_norm((3, 2), False, eps=1e-3),
        _batch_norm((1, 1), False),
    ],
    # losses
    "softmax": [Sample((randn(2, 3, 2),), {"axis": a}, _softmax) for a in (-1, 0, 1)],
    "log_softmax": [
        Sample((randn(2, 3, 2),), {"axis": a}, lambda x, axis: np.log(_softmax(x, axis))) for a in (-1, 0, 1)
    ],
    "cross_entropy": [
        Sample((randn(3, 4),), {"labels": np.array([0, 3, 3])}, _cross_entropy),
        Sample((randn(1, 2),), {"labels": np.array([1])}, _cross_entropy),
    ],
    "mse_loss": [Sample((randn(2, 3), randn(2, 3, seed=1)), plain=lambda x, y: ((x - y) ** 2).mean())],
}


#: Operators made of analytic functions: they take complex128.
ANALYTIC = [
    *("add", "sub", "mul", "div", "neg", "pow", "exp", "log", "sqrt", "tanh", "sigmoid", "where", "dropout"),
    *(
        "reshape",
        "transpose",
        "broadcast_to",
        "squeeze",
        "expand_dims",
        "concatenate",
        "stack",
        "pad",
        "flip",
        "getitem",
    ),
    *("sum", "mean", "var", "logsumexp", "matmul", "linear", "conv2d", "conv_transpose2d", "avg_pool2d"),
    *("global_avg_pool2d", "batch_norm", "softmax", "log_softmax", "cross_entropy", "mse_loss"),
]

#: Linear operators: jointly in all arguments, or in each of two while the other is held.
LINEAR = dict.fromkeys(
    [
        *("reshape", "transpose", "broadcast_to", "squeeze", "expand_dims", "concatenate", "stack", "pad", "flip"),
        *("getitem", "sum", "mean", "avg_pool2d", "global_avg_pool2d", "neg", "where", "dropout"),
    ],
    "jointly",
) | dict.fromkeys(["matmul", "linear", "conv2d", "conv_transpose2d"], "each")


def every_sample() -> list[Any]:
    """List (name, sample) for pytest, each under a readable id."""
    import pytest

    return [
        pytest.param(name, sample, id=f"{name}-{i}")
        for name, samples in SAMPLES.items()
        for i, sample in enumerate(samples)
    ]
