"""What is measured: each line of the table, and the bounds within which minigrad should stay.

A case names a function, ``train`` say, that every side has in its own file, :mod:`tests.benchmarks.on_minigrad`,
``on_torch`` and so on. It is called with the case's settings (and the side's own) and returns the step. To add
a case, enter it here; if no function builds its step yet, write one for each side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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
    program : str
        A program that it needs besides its library.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    time: Mapping[int, Bounds] = field(default_factory=dict)
    memory: Mapping[int, Bounds] = field(default_factory=dict)
    program: str = ""

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
    title : str
        What one step is, in a few words, for the page and the figure.
    """

    about: str
    step: str
    settings: Mapping[str, Any]
    sides: tuple[Side, ...]
    threads: tuple[int, ...] = (1,)
    once: bool = False
    title: str = ""


RESNET20, RESNET110 = ({"net": ["cifar_resnet", depth], "batch": 128, "size": 32, "classes": 10} for depth in (20, 110))
RESNET50 = {"net": ["resnet50"], "size": 224, "classes": 1000}
RESNET34, PLAIN34, VGG16 = (RESNET50 | {"net": [name]} for name in ("resnet34", "plain34", "vgg16"))
TRAIN, INFER, CHAIN = ("on_{library}:" + name for name in ("train", "infer", "chain"))

EQUAL = Bounds(1.0, 1.2)
INFERENCE = {1: Bounds(1.0, 1.25), 2: Bounds(1.0, 1.25)}
SMALL = {1: Bounds(0.85, 1.0), 2: Bounds(0.85, 1.0)}
MOSTLY_3X3 = {1: Bounds(0.65, 0.85), 2: Bounds(0.65, 1.0)}
VGG = {1: Bounds(0.45, 0.65), 2: Bounds(0.45, 0.8)}


def others(
    time: Mapping[int, Bounds], last: Mapping[int, Bounds] | None = None, memory: Mapping[int, Bounds] | None = None
) -> tuple[Side, Side]:
    """PyTorch in its default layout, and in channels_last, each with bounds."""
    return (
        Side("torch", time=time, memory=memory or {}),
        Side("torch channels_last", {"layout": "channels_last"}, time=last or {}),
    )


def training(name: str, settings: Mapping[str, Any], batch: int, sides: tuple[Side, Side]) -> Case:
    """Forward, loss, backward and SGD."""
    size = settings["size"]
    return Case(
        f"training step of {name}, {batch} images of {size} x {size}: forward, loss, backward, SGD",
        TRAIN,
        {**settings, "batch": batch},
        (Side("minigrad"), *sides),
        threads=(1, 2),
        title=f"{name}, training, batch {batch}",
    )


def inference(
    name: str, settings: Mapping[str, Any], batch: int, sides: tuple[Side, Side], folded: bool = False
) -> Case:
    """A net without gradients."""
    ours = Side("minigrad folded", {"fold": True}) if folded else Side("minigrad")
    return Case(
        f"inference with {name}, {batch} image{'s' * (batch > 1)} of 224 x 224"
        + folded * ", batch norm folded into the convolutions on minigrad's side",
        INFER,
        {**settings, "batch": batch},
        (ours, *sides),
        threads=(1, 2),
        title=f"{name}, inference, {f'{batch} images' if batch > 1 else 'one image'}" + folded * ", folded",
    )


#: The lines of the table, in order.
CASES = {
    "resnet20-train": training("ResNet-20", RESNET20, 128, others(SMALL, memory={1: Bounds(0.45, 0.6)})),
    "resnet110-train": training("ResNet-110", RESNET110, 128, others(SMALL, memory={1: Bounds(0.45, 0.6)})),
    "vgg16-train": training("VGG-16", VGG16, 8, others(VGG, VGG, {1: Bounds(0.5, 0.9)})),
    "vgg16-infer-8": inference("VGG-16", VGG16, 8, others(VGG, VGG, {1: Bounds(0.5, 1.0)})),
    "plain34-train": training("plain-34", PLAIN34, 8, others(MOSTLY_3X3, MOSTLY_3X3)),
    "resnet34-train": training("ResNet-34", RESNET34, 8, others(MOSTLY_3X3, MOSTLY_3X3, {1: Bounds(0.5, 0.7)})),
    "resnet34-infer-1": inference("ResNet-34", RESNET34, 1, others(MOSTLY_3X3, MOSTLY_3X3)),
    "resnet34-infer-8": inference("ResNet-34", RESNET34, 8, others(MOSTLY_3X3, MOSTLY_3X3)),
    "resnet50-train": training(
        "ResNet-50", RESNET50, 8, others({2: Bounds(0.8, 1.0)}, {2: EQUAL}, {2: Bounds(0.7, 0.9)})
    ),
    "resnet50-infer-1": inference("ResNet-50", RESNET50, 1, others(INFERENCE)),
    "resnet50-infer-1-folded": inference("ResNet-50", RESNET50, 1, others(INFERENCE), folded=True),
    "resnet50-infer-8": inference("ResNet-50", RESNET50, 8, others(INFERENCE)),
    "resnet50-infer-8-folded": inference("ResNet-50", RESNET50, 8, others(INFERENCE), folded=True),
    "chain-forward": Case(
        "1,000 multiply-adds on 16 elements, recorded: what an operator costs when its arithmetic is nothing. A step "
        "is ten such chains: one takes 3 ms, and would measure how a process comes out of its rest",
        CHAIN,
        {"operators": 2000, "chains": 10, "backward": False},
        (Side("minigrad"), Side("torch", time={1: EQUAL})),
        title="ten times 1,000 multiply-adds on 16 numbers, forward",
    ),
    "chain-backward": Case(
        "the same, forward and backward",
        CHAIN,
        {"operators": 2000, "chains": 10, "backward": True},
        (Side("minigrad"), Side("torch", time={1: EQUAL})),
        title="the same, forward and backward",
    ),
    "import": Case(
        "importing the library in a new process, without the start of Python",
        "fresh:imports",
        {},
        (Side("minigrad", {"name": "minigrad"}), Side("numpy", {"name": "numpy"}, time={1: Bounds(1.3, 1.6)})),
    ),
}

ON_NUMPY = {1: Bounds(1 / 9, 1 / 7)}
RESNET20_TRAIN = CASES["resnet20-train"]

#: Measured with ``--peers``.
PEERS = {
    "resnet20-compiled": replace(
        RESNET20_TRAIN,
        about="resnet20-train beside compiled steps: torch.compile in both layouts, and JAX under jit",
        sides=(
            Side("minigrad"),
            Side("torch compiled", {"compiled": True}, program="g++"),
            Side("torch compiled channels_last", {"compiled": True, "layout": "channels_last"}, program="g++"),
            Side("jax"),
        ),
    ),
    "resnet20-numpy": replace(
        RESNET20_TRAIN,
        about="resnet20-train beside the other frameworks on NumPy",
        sides=(Side("minigrad"), *(Side(name, time=ON_NUMPY) for name in ("chainer", "mygrad", "dezero"))),
        threads=(1,),
    ),
}
