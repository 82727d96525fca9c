"""What is measured: each line of the table, and the bounds within which minigrad should stay.

A case names a function, ``train`` say, that every side has in its own file, :mod:`tests.benchmarks.on_minigrad`,
``on_torch`` and so on. It is called with the case's settings (and the side's own) and returns the step. To add
a case, enter it here; if no function builds its step yet, write one for each side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Bounds:
    """For a ratio, minigrad's figure over the other's: what is aimed at, and what it must not exceed."""

    aim: float
    limit: float

    def verdict(self, ratio: float) -> str:
        """Say what became of them: "near (1/1.2)" is between the two."""
        word = "met" if ratio <= self.aim else "near" if ratio <= self.limit else "ABOVE"
        return f"{word} ({self.aim:.3g}/{self.limit:.3g})"


@dataclass(frozen=True)
class Side:
    """Who takes the step.

    Parameters
    ----------
    name : str
        Its first word is the library to import.
    settings : dict
        Its own, beside those of the case.
    time, memory : dict
        From a number of threads to the bounds of minigrad's multiple of this side; without, it is only reported.
    peer : bool
        Whether it lives in the environment of the peers.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    time: Mapping[int, Bounds] = field(default_factory=dict)
    memory: Mapping[int, Bounds] = field(default_factory=dict)
    peer: bool = False

    @property
    def library(self) -> str:
        """The library to import."""
        return self.name.split()[0]


@dataclass(frozen=True)
class Case:
    """One thing to measure, as each side does it.

    Parameters
    ----------
    about : str
        What one step is, for the help.
    step : str
        The function that builds the step: "module:function".
    settings : dict
        What the function is called with.
    sides : tuple of Sides
        The first is minigrad; it is compared with each of the others.
    threads : tuple of ints
        On how many threads it is measured; (1,) if threads cannot matter.
    once : bool
        Whether one step is enough, without warm-up: for memory.
    """

    about: str
    step: str
    settings: Mapping[str, Any]
    sides: tuple[Side, ...]
    threads: tuple[int, ...] = (1,)
    once: bool = False


RESNET20 = {"net": ["cifar_resnet", 20], "batch": 128, "size": 32, "classes": 10}
RESNET50 = {"net": ["resnet50"], "size": 224, "classes": 1000}
TRAIN, INFER, CHAIN = ("on_{library}:" + name for name in ("train", "infer", "chain"))

EQUAL, CLOSE = Bounds(1.0, 1.2), Bounds(1.0, 1.4)
INFERENCE = {1: Bounds(1.0, 1.25), 2: Bounds(1.0, 1.25)}


def others(time: Mapping[int, Bounds], memory: Mapping[int, Bounds] | None = None) -> tuple[Side, Side]:
    """PyTorch in its default layout, with bounds, and channels_last beside it."""
    return (
        Side("torch", time=time, memory=memory or {}),
        Side("torch channels_last", {"layout": "channels_last"}),
    )


def inference(batch: int, folded: bool) -> Case:
    """ResNet-50 without gradients."""
    ours = Side("minigrad folded", {"fold": True}) if folded else Side("minigrad")
    return Case(
        f"inference with ResNet-50, {batch} image{'s' * (batch > 1)} of 224 x 224"
        + folded * ", batch norm folded into the convolutions on minigrad's side",
        INFER,
        RESNET50 | {"batch": batch},
        (ours, *others(INFERENCE)),
        threads=(1, 2),
    )


#: The lines of the table, in order.
CASES = {
    "resnet20-train": Case(
        "training step of ResNet-20, 128 images of 32 x 32: forward, loss, backward, SGD",
        TRAIN,
        RESNET20,
        (Side("minigrad"), *others({1: EQUAL, 2: CLOSE}, {1: Bounds(0.45, 0.6)})),
        threads=(1, 2),
    ),
    "resnet50-infer-1": inference(1, folded=False),
    "resnet50-infer-1-folded": inference(1, folded=True),
    "resnet50-infer-8": inference(8, folded=False),
    "resnet50-infer-8-folded": inference(8, folded=True),
    "resnet50-train": Case(
        "training step of ResNet-50, 8 images of 224 x 224",
        TRAIN,
        RESNET50 | {"batch": 8},
        (Side("minigrad"), *others({2: CLOSE}, {2: Bounds(0.7, 0.9)})),
        threads=(2,),
    ),
    "chain-forward": Case(
        "1,000 multiply-adds on 16 elements, recorded: what an operator costs when its arithmetic is nothing. A step "
        "is ten such chains: one takes 3 ms, and would measure how a process comes out of its rest",
        CHAIN,
        {"operators": 2000, "chains": 10, "backward": False},
        (Side("minigrad"), Side("torch", time={1: EQUAL})),
    ),
    "chain-backward": Case(
        "the same, forward and backward",
        CHAIN,
        {"operators": 2000, "chains": 10, "backward": True},
        (Side("minigrad"), Side("torch", time={1: EQUAL})),
    ),
    "import": Case(
        "importing the library in a new process, without the start of Python",
        "fresh:imports",
        {},
        (Side("minigrad", {"name": "minigrad"}), Side("numpy", {"name": "numpy"}, time={1: Bounds(1.3, 1.6)})),
    ),
}

PEER_BOUNDS = {1: Bounds(1 / 10, 1 / 6)}

#: Measured if the interpreter of the peers' environment is given.
PEERS = {
    "resnet20-peers": Case(
        "resnet20-train beside the other frameworks on NumPy (with --peers)",
        TRAIN,
        RESNET20,
        (Side("minigrad"), *(Side(name, time=PEER_BOUNDS, peer=True) for name in ("chainer", "mygrad", "dezero"))),
    ),
}
