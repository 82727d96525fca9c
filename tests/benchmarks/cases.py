"""What is measured: each case builds the same step for both sides.

To add a case, write for each side a function that builds what is needed and returns the step, a function
without arguments, and enter them in `CASES`. Libraries are imported by these functions and not by
this file: a worker must load its own side's only, or its memory would say nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

Step = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """One thing to measure, as each side does it.

    Parameters
    ----------
    about : str
        What one step is, for the help.
    sides : dict
        From a side's name, whose first word is the library to import, to the function that builds its step.
        The first is minigrad; it is compared with each of the others.
    threaded : bool
        Whether threads can matter; if not, the case is measured on one thread only.
    """

    about: str
    sides: dict[str, Callable[[], Step]]
    threaded: bool = True


# A training step of ResNet-20 -----------------------------------------------------------------

BATCH = 128


def resnet20_minigrad() -> Step:
    """Forward, loss, backward and SGD on one batch, images (128, 32, 32, 3)."""
    import numpy as np

    import minigrad as mg
    from models import cifar_resnet

    rng = np.random.default_rng(0)
    net = cifar_resnet(20)
    sgd = mg.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    images = mg.Tensor(rng.standard_normal((BATCH, 32, 32, 3), dtype=np.float32))
    labels = rng.integers(10, size=BATCH)

    def step() -> None:
        sgd.zero_grad()
        mg.cross_entropy(net(images), labels).backward()
        sgd.step()

    return step


def resnet20_torch(layout: str = "contiguous_format") -> Step:
    """The same in PyTorch, images (128, 3, 32, 32), which `layout` orders in memory."""
    import torch

    from tests.benchmarks.torch_nets import cifar_resnet

    torch.manual_seed(0)
    memory_format = getattr(torch, layout)
    net = cifar_resnet(20).to(memory_format=memory_format)
    sgd = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    images = torch.randn(BATCH, 3, 32, 32).to(memory_format=memory_format)
    labels = torch.randint(10, (BATCH,))

    def step() -> None:
        sgd.zero_grad()
        torch.nn.functional.cross_entropy(net(images), labels).backward()
        sgd.step()

    return step


# What an operator costs when its arithmetic is nothing ----------------------------------------

MULTIPLY_ADDS = 1000  # two operators each


def chain_minigrad(backward: bool) -> Step:
    """Record y = y a + b, a thousand times, on arrays of 16."""
    import numpy as np

    import minigrad as mg

    return _chain(lambda value: mg.Tensor(np.full(16, value, np.float32), requires_grad=True), backward)


def chain_torch(backward: bool) -> Step:
    """The same in PyTorch."""
    import torch

    return _chain(lambda value: torch.full((16,), value, requires_grad=True), backward)


def _chain(full: Callable[[float], Any], backward: bool) -> Step:
    x, a, b = full(1.0), full(0.999), full(0.001)

    def step() -> None:
        y = x
        for _ in range(MULTIPLY_ADDS):
            y = y * a + b
        if backward:
            x.grad = a.grad = b.grad = None
            y.sum().backward()

    return step


CASES = {
    "resnet20": Case(
        f"training step of ResNet-20, {BATCH} images of 32 x 32, float32",
        {
            "minigrad": resnet20_minigrad,
            "torch": resnet20_torch,
            "torch channels_last": partial(resnet20_torch, "channels_last"),
        },
    ),
    "chain-forward": Case(
        f"{MULTIPLY_ADDS} multiply-adds on arrays of 16, recorded: what an operator costs",
        {"minigrad": partial(chain_minigrad, False), "torch": partial(chain_torch, False)},
        threaded=False,
    ),
    "chain-backward": Case(
        "the same, forward and backward",
        {"minigrad": partial(chain_minigrad, True), "torch": partial(chain_torch, True)},
        threaded=False,
    ),
}
