"""PyTorch's steps, eager or compiled: the same as in :mod:`tests.benchmarks.on_minigrad`, images (n, 3, h, w)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.benchmarks import torch_nets

Step = Callable[[], object]


def train(
    net: list[Any],
    batch: int,
    size: int,
    classes: int,
    layout: str = "contiguous_format",
    device: str = "cpu",
    compiled: bool = False,
) -> Step:
    """Forward, loss, backward and SGD on one batch, images (batch, 3, size, size), which `layout` orders in memory.

    With `compiled`, the first step takes a minute or two: torch.compile makes C++ of the net, forward and backward.
    """
    model, images = build(net, batch, size, layout, device)
    sgd = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9, weight_decay=1e-4)
    labels = torch.randint(classes, (batch,), device=device)
    forward = by_inductor(model) if compiled else model

    def step() -> None:
        sgd.zero_grad()
        torch.nn.functional.cross_entropy(forward(images), labels).backward()
        sgd.step()

    return step


def by_inductor(model: Any) -> Any:
    """Compile a net with a cache of code for these instructions: what the cache has of others ends in a crash."""
    place = Path(tempfile.gettempdir(), f"torchinductor_{torch.backends.cpu.get_cpu_capability()}")
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(place)
    return torch.compile(model)


def infer(net: list[Any], batch: int, size: int, classes: int, layout: str = "contiguous_format") -> Step:
    """Forward in evaluation mode, without recording."""
    model, images = build(net, batch, size, layout)
    model.eval()

    def step() -> None:
        with torch.inference_mode():
            model(images)

    return step


def build(net: list[Any], batch: int, size: int, layout: str, device: str = "cpu") -> tuple[Any, torch.Tensor]:
    """Build a net of `torch_nets`, and images for it."""
    torch.manual_seed(0)
    name, *arguments = net
    memory_format = getattr(torch, layout)
    model = getattr(torch_nets, name)(*arguments).to(device, memory_format=memory_format)
    return model, torch.randn(batch, 3, size, size).to(device, memory_format=memory_format)


def chain(operators: int, backward: bool, chains: int = 1) -> Step:
    """Record y = y a + b, two operators, again and again, on arrays of 16; as many chains, one after the other."""
    x, a, b = (torch.full((16,), value, requires_grad=True) for value in (1.0, 0.999, 0.001))

    def step() -> None:
        for _ in range(chains):
            y = x
            for _ in range(operators // 2):
                y = y * a + b
            if backward:
                x.grad = a.grad = b.grad = None
                y.sum().backward()

    return step
