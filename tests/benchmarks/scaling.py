"""How training steps would scale to more processes than were measured: a model, its figure, and the page's section.

Everything here is computed from the log that :mod:`tests.benchmarks.many` writes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from minigrad.train.checkpoint import atomic

#: Powers of two, as the tree needs them.
PROCESSES = [2**level for level in range(11)]

#: Strong scaling: images of one step on all processes together. Weak scaling: images for each process.
STRONG, WEAK = 1024, {"ResNet-20": 128, "ResNet-50": 8}

# The model -----------------------------------------------------------------------------------


class Network(NamedTuple):
    """What it takes to exchange n bytes with a partner and to add them: ``latency + n / bandwidth`` seconds."""

    latency: float
    bandwidth: float

    def seconds(self, size: float) -> float:
        """Return the time of one exchange."""
        return self.latency + size / self.bandwidth


def fitted(rows: Sequence[Sequence[float]]) -> Network:
    """Return the network that fits measured times (bytes, seconds, ...) with the least squares of relative errors."""
    size, seconds = np.array([row[:2] for row in rows]).T
    (latency, per_byte), *_ = np.linalg.lstsq(np.stack([1 / seconds, size / seconds], 1), np.ones(len(size)), rcond=None)
    return Network(float(latency), 1 / float(per_byte))


def exchanged(network: Network, size: float, processes: int, *, scatter: bool = False) -> float:
    """Return the seconds that a sum of `size` bytes takes on a power of two of processes.

    The tree sends everything once for each of its log2(processes) levels. A reduce-scatter sends half of it on the first
    level, a quarter on the second, and so on, since each process goes on with one half; then the parts are gathered in
    the reverse order. Each number is added up in the same tree: the bits are the same.
    """
    levels = processes.bit_length() - 1
    if scatter:
        return 2 * sum(network.seconds(size / 2 ** (level + 1)) for level in range(levels))
    return levels * network.seconds(size)


def alone(log: dict[str, Any], net: str) -> dict[int, float]:
    """Return the measured seconds of one process on one thread, with one shard, for each number of images."""
    found = {}
    for entry in log["steps"]:
        case = entry["case"]
        if (case["net"], case["processes"], case["threads"], case["shards"]) == (net, 1, 1, 1):
            found[case["batch"]] = median(entry["rounds"])
    return found


def step(log: dict[str, Any], net: str, images: int, processes: int, *, scatter: bool = False) -> float:
    """Return the seconds of a training step by the model.

    Parameters
    ----------
    log : dict
    net : str
    images : int
        Of each process, in one shard.
    processes : int
    scatter : bool
        Whether sums are a reduce-scatter over the tree.

    Notes
    -----
    The time is that of computing, as one process took it for so many images (or a multiple of the time for the most images
    that were measured), and that of the sum, by TCP. So the model has one core of this machine and a network link of its
    own for each process, no overlap of the two, and no process that is late.
    """
    known = alone(log, net)
    most = max(known)
    computing = known[images] if images in known else known[most] * images / most
    return computing + exchanged(fitted(log["network"]["TCP"]), size_of(log, net), processes, scatter=scatter)


def size_of(log: dict[str, Any], net: str) -> int:
    """Return the bytes of a net's gradients and statistics."""
    return next(int(entry["bytes"]) for entry in log["steps"] if entry["case"]["net"] == net)


def curves(log: dict[str, Any], net: str, *, scatter: bool = False) -> dict[str, list[float]]:
    """Return the model's steps per second for each of :data:`PROCESSES`, in strong and in weak scaling."""
    images = {"strong": [STRONG // n for n in PROCESSES], "weak": [WEAK[net]] * len(PROCESSES)}
    return {
        kind: [1 / step(log, net, each, n, scatter=scatter) for each, n in zip(own, PROCESSES, strict=True)]
        for kind, own in images.items()
    }
