"""minigrad's steps: one function for each kind, which builds what is needed and returns the step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import minigrad as mg
import models
from minigrad import nn

Step = Callable[[], object]


def train(
    net: list[Any], batch: int, size: int, classes: int, segment: int = 0, steps: int = 1, device: str = "cpu"
) -> Step:
    """Forward, loss, backward and SGD on one batch, images (batch, size, size, 3).

    With `segment`, the blocks of a CIFAR net run in segments of so many, which are computed again in backward.
    """
    rng = np.random.default_rng(0)
    model = build(net).to(device)
    sgd = mg.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9, weight_decay=1e-4)
    images = mg.Tensor(rng.standard_normal((batch, size, size, 3), dtype=np.float32)).to(device)
    labels = rng.integers(classes, size=batch)
    forward = in_segments(model, segment) if segment else model

    def step() -> None:
        for _ in range(steps):
            sgd.zero_grad()
            mg.cross_entropy(forward(images), labels).backward()
            sgd.step()

    return step


def infer(net: list[Any], batch: int, size: int, classes: int, fold: bool = False) -> Step:
    """Forward in evaluation mode, without recording."""
    model = build(net).eval()
    if fold:
        model = nn.fold_batch_norm(model)
    images = mg.Tensor(np.random.default_rng(0).standard_normal((batch, size, size, 3), dtype=np.float32))

    def step() -> None:
        with mg.no_grad():
            model(images)

    return step


def build(net: list[Any]) -> Any:
    """Build a net of `models`: its name, and what it is called with."""
    name, *arguments = net
    return getattr(models, name)(*arguments)


def in_segments(net: Any, size: int) -> Callable[[Any], Any]:
    """Return the forward pass of a CIFAR net, runs of `size` blocks each in one :func:`minigrad.recompute`.

    Memory then holds what goes into each run, and the inside of one run at a time.
    """
    blocks = [block for stage in net.stages for block in stage]
    runs = [nn.Sequential(*blocks[i : i + size]) for i in range(0, len(blocks), size)]

    def forward(x: Any) -> Any:
        x = net.stem(x)
        for run in runs:
            x = mg.recompute(run, x)
        return net.fc(net.avgpool(x))

    return forward


def chain(operators: int, backward: bool, chains: int = 1) -> Step:
    """Record y = y a + b, two operators, again and again, on arrays of 16; as many chains, one after the other."""
    x, a, b = (mg.Tensor(np.full(16, value, np.float32), requires_grad=True) for value in (1.0, 0.999, 0.001))

    def step() -> None:
        for _ in range(chains):
            y = x
            for _ in range(operators // 2):
                y = y * a + b
            if backward:
                x.grad = a.grad = b.grad = None
                y.sum().backward()

    return step
