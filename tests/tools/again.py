"""Hashes of results, bit by bit: ``python -m tests.tools.again`` prints them, the last call first.

Every call of the records, in float32 and in float64, every layer, and some steps of training. The table is made in two
orders, in two processes: whatever depends on what ran before gives other bits in one of them. Beside it, `captured` and
`overwrite` find the settings of a call that its caller may overwrite later.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

import minigrad as mg
from minigrad import nn
from tests.records import RECORDS
from tests.records.record import Sample
from tests.tools.compare import cotangent, leaf, leaves

# Bits ----------------------------------------------------------------------------------------


def bits(tensors: Iterable[Any]) -> list[bytes]:
    """Return what arrays or Tensors hold, with their dtypes and shapes: NaN and the sign of 0 count, too."""
    arrays = [x.data if isinstance(x, mg.Tensor) else np.asarray(x) for x in tensors]
    return [f"{a.dtype}{a.shape}".encode() + a.tobytes() for a in arrays]


def forward_and_backward(f: Callable[..., Any], inputs: list[mg.Tensor]) -> list[Any]:
    """Return the result of `f`, and its gradients for a random cotangent."""
    out = f(*inputs)
    return [out, *mg.grad(out, inputs, cotangent(out))]


# Layers and training -------------------------------------------------------------------------

#: Layers by name: how to make one for a dtype. All take images (2, 6, 5, 4).
LAYERS: dict[str, Callable[[Any], nn.Module]] = {
    "Linear": lambda dtype: nn.Linear(4, 3, rng=0, dtype=dtype),
    "Conv2d": lambda dtype: nn.Conv2d(4, 6, 3, padding=1, groups=2, rng=0, dtype=dtype),
    "BatchNorm2d": lambda dtype: nn.BatchNorm2d(4, dtype=dtype),
    "ReLU": lambda dtype: nn.ReLU(),
    "Tanh": lambda dtype: nn.Tanh(),
    "Sigmoid": lambda dtype: nn.Sigmoid(),
    "SiLU": lambda dtype: nn.SiLU(),
    "GELU": lambda dtype: nn.GELU(),
    "LeakyReLU": lambda dtype: nn.LeakyReLU(0.1),
    "LayerNorm": lambda dtype: nn.LayerNorm(4, dtype=dtype),
    "GroupNorm": lambda dtype: nn.GroupNorm(2, 4, dtype=dtype),
    "ConvTranspose2d": lambda dtype: nn.ConvTranspose2d(4, 3, 3, stride=2, padding=1, rng=0, dtype=dtype),
    "MaxPool2d": lambda dtype: nn.MaxPool2d(3, stride=2, padding=1),
    "AvgPool2d": lambda dtype: nn.AvgPool2d(2),
    "GlobalAvgPool2d": lambda dtype: nn.GlobalAvgPool2d(),
    "Dropout": lambda dtype: nn.Dropout(0.4, rng=0),
    "Flatten": lambda dtype: nn.Flatten(),
    "Identity": lambda dtype: nn.Identity(),
}


def layer_results(kind: str, dtype: str) -> list[Any]:
    """Return the results, gradients and statistics of a new layer: two calls in training, one in evaluation."""
    layer = LAYERS[kind](dtype)
    rng = np.random.default_rng(3)
    results = []
    for training in (True, True, False):
        layer.train(training)
        x = leaf(rng.standard_normal((2, 6, 5, 4)).astype(dtype))
        results += forward_and_backward(lambda *inputs: layer(inputs[0]), [x, *layer.parameters()])
    return [*results, *layer.state_dict().values()]


def small_net(dtype: str) -> nn.Module:
    """Make a net with every kind of layer that holds weights."""
    rng = np.random.default_rng(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False, rng=rng, dtype=dtype),
        nn.BatchNorm2d(8, dtype=dtype),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 4, 1, stride=2, rng=rng, dtype=dtype),
        nn.Dropout(0.2, rng=1),
        nn.Flatten(),
        nn.Linear(16, 5, rng=rng, dtype=dtype),
    )


def trained(dtype: str, steps: int = 3, disturb: Callable[..., None] = lambda *arrays: None, **settings: Any) -> Any:
    """Train a small net; `disturb` gets images, labels and gradients when a step no longer needs them.

    Returns
    -------
    list of arrays
        The losses, and the state of the net.
    """
    net = small_net(dtype)
    sgd = mg.optim.SGD(net.parameters(), 0.1, **settings)
    rng = np.random.default_rng(5)
    losses = []
    for _ in range(steps):
        images, labels = rng.standard_normal((6, 8, 8, 3)).astype(dtype), rng.integers(0, 5, 6)
        loss = mg.cross_entropy(net(mg.Tensor(images)), labels)
        disturb(labels)  # before backward: the loss has a copy
        sgd.zero_grad()
        loss.backward()
        disturb(images)
        sgd.step()
        disturb(*(p.grad.data for p in net.parameters()))
        losses.append(loss)
    return [*losses, *net.state_dict().values()]


# The table -----------------------------------------------------------------------------------


#: Larger calls than of so many numbers are left out: they would take most of the time.
LARGEST = 300_000


def _calls() -> dict[str, Callable[[], list[Any]]]:
    calls: dict[str, Callable[[], list[Any]]] = {}
    dtypes = ("float32", "float64")
    for name, record in RECORDS.items():
        for dtype in dtypes:
            for key, sample in record.samples.items():
                calls[f"{name}-{key} {dtype}"] = lambda name=name, sample=sample, dtype=dtype: forward_and_backward(
                    sample.function(name), leaves(sample, dtype)
                )
            for key, large in record.large.items():
                if large.numbers < LARGEST:
                    calls[f"{name}-{key} large {dtype}"] = lambda name=name, large=large, dtype=dtype: (
                        forward_and_backward((sample := large.sample()).function(name), leaves(sample, dtype))
                    )
    for dtype in dtypes:
        for kind in LAYERS:
            calls[f"{kind} {dtype}"] = lambda kind=kind, dtype=dtype: layer_results(kind, dtype)
        calls[f"plain steps {dtype}"] = lambda dtype=dtype: trained(dtype, momentum=0.0)
        calls[f"steps {dtype}"] = lambda dtype=dtype: trained(dtype, weight_decay=0.01, nesterov=True)
    return calls


def table(backwards: bool = False) -> dict[str, str]:
    """Make every call once, one after the other, and return a hash of the bits of its results."""
    calls = _calls()
    names = reversed(calls) if backwards else iter(calls)
    return {name: hashlib.sha256(b"|".join(bits(calls[name]()))).hexdigest()[:16] for name in names}


# Settings that can be overwritten ------------------------------------------------------------


def captured(sample: Sample, inputs: Any) -> tuple[list[Any], dict[str, Any]]:
    """Return what an operator is called with; arrays and lists are copies, for this call alone."""
    call: list[Any] = []

    def operator(*args: Any, **settings: Any) -> None:
        call[:] = [[copied(a) for a in args], {name: copied(value) for name, value in settings.items()}]

    sample.apply(operator, inputs)
    return call[0], call[1]


def copied(value: Any) -> Any:
    """Copy arrays and lists."""
    if isinstance(value, list | tuple):
        return type(value)(map(copied, value))
    return value.copy() if isinstance(value, np.ndarray) else value


def overwrite(value: Any) -> bool:
    """Overwrite the arrays and lists in a value, and draw from its generator; return whether there was one."""
    if isinstance(value, np.random.Generator):
        return bool(value.random() >= 0)
    if isinstance(value, np.ndarray):
        value[...] = ~value if value.dtype == bool else np.nan if value.dtype.kind == "f" else 0 * value - (value == 0)
        return True
    if isinstance(value, list):
        for part in value:
            overwrite(part)
        value.clear()
        return True
    return isinstance(value, tuple) and any([overwrite(part) for part in value])


if __name__ == "__main__":
    json.dump(table(backwards=True), sys.stdout)
