"""How time and memory grow: ``python -m tests.benchmarks --growth``.

The sizes of a series are the sides of a case: each has a process of its own, and they take steps in turn.

- The cost of an image should not depend on how many come at once.
- Time should be linear in depth, and in the length of a chain of operators. (A training step has parts that a deep net
  shares with a shallow one: its first and last layer, and the loss. So the cost of a layer may fall a little. A long
  chain no longer fits into cache, and Python's garbage collector looks at it again and again: so PyTorch's chain is
  measured, too.)
- Memory should be the same after 500 steps as after 50.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.benchmarks.cases import CHAIN, RESNET20, TRAIN, Case, Side


@dataclass(frozen=True)
class Series:
    """Sizes of one thing.

    Parameters
    ----------
    case : Case
        Its sides are the sizes.
    unit : str
        What a step's time is divided by: the cost of one "image".
    sizes : tuple of ints
        How many of them a side's step has.
    """

    case: Case
    unit: str
    sizes: tuple[int, ...]


def batches(sizes: tuple[int, ...]) -> Series:
    """Training steps of ResNet-20 on so many images."""
    sides = tuple(Side(f"minigrad batch {size}", {"batch": size}) for size in sizes)
    return Series(Case("training step of ResNet-20", TRAIN, RESNET20, sides, threads=(1, 2)), "image", sizes)


def depths(sizes: tuple[int, ...], batch: int) -> Series:
    """Training steps of ResNets of so many layers."""
    sides = tuple(Side(f"minigrad depth {size}", {"net": ["cifar_resnet", size]}) for size in sizes)
    about = f"training step of deeper ResNets, {batch} images"
    return Series(Case(about, TRAIN, RESNET20 | {"batch": batch}, sides), "layer", sizes)


def chains(sizes: tuple[int, ...], library: str = "minigrad") -> Series:
    """Chains of so many operators on 16 elements, forward and backward."""
    sides = tuple(Side(f"{library} chain {size}", {"operators": size}) for size in sizes)
    about = f"a chain of operators, forward and backward, by {library}"
    return Series(Case(about, CHAIN, {"backward": True}, sides), "operator", sizes)


def repetitions(sizes: tuple[int, ...], batch: int) -> Series:
    """So many training steps of ResNet-8, one after the other: for the memory."""
    sides = tuple(Side(f"minigrad steps {size}", {"steps": size}) for size in sizes)
    settings = RESNET20 | {"net": ["cifar_resnet", 8], "batch": batch}
    return Series(Case(f"training steps of ResNet-8, {batch} images", TRAIN, settings, sides, once=True), "step", sizes)


SERIES = {
    "growth-batch": batches((32, 64, 128, 256, 512)),
    "growth-depth": depths((20, 56, 110, 1202), batch=16),
    "growth-chain": chains((10_000, 100_000)),
    "growth-chain-torch": chains((10_000, 100_000), "torch"),
    "growth-steps": repetitions((50, 500), batch=32),
}
CASES = {name: series.case for name, series in SERIES.items()}

HEAD = (
    f"{'series':18} {'threads':>7} {'size':>7} {'unit':9}{'median':>10}{'min':>10} us a unit"
    f"{'MB':>8}   multiple of the smallest: median   min    MB"
)


def lines(result: dict[str, Any]) -> str:
    """Write the lines of a series: the cost of one unit, and its multiple of the cost in the smallest size."""
    series, first, written = SERIES[result["case"]], result["sides"][0], []
    for i, (side, size) in enumerate(zip(result["sides"], series.sizes, strict=True)):
        label = f"{result['case']:18} {result['threads']:7}" if i == 0 else " " * 26
        text = f"{label} {size:7} {series.unit:9}"
        text += "".join(f"{side[key] / size * 1e6:10.2f}" for key in ("median", "min"))
        text += f"{'':10}{side['peak_bytes'] / 1e6:8.1f}{'':27}"
        for key, n in (("median", size), ("min", size), ("peak_bytes", 1)):
            text += f"{side[key] / n / (first[key] / (series.sizes[0] if n > 1 else 1)):7.3f}"
        written.append(text)
    return "\n".join(written)
