"""What recompute saves, and what it costs: ``python -m tests.benchmarks --memory``.

One training step of ResNet-1202 on 128 images, in segments of ten blocks, which are computed again in backward, must
fit into 2 GiB. Where the net fits without, at 110 layers, recompute must take at most 1.5 times as long. (The limit
of what it can cost is one forward pass more.) That both give the same bits is tested in tests/autograd/test_growth.py.
"""

from __future__ import annotations

from typing import Any

from tests.benchmarks.cases import RESNET20, TRAIN, Bounds, Case, Side

SEGMENT = 10  # blocks
PEAK = 2 << 30
SLOWER = Bounds(1.35, 1.5)

RECOMPUTE = Side("minigrad recompute", {"segment": SEGMENT})

CASES = {
    "memory-1202": Case(
        "a training step of ResNet-1202, 128 images, recompute",
        TRAIN,
        RESNET20 | {"net": ["cifar_resnet", 1202]},
        (RECOMPUTE,),
        threads=(2,),
        once=True,
    ),
    "memory-110": Case(
        "training steps of ResNet-110, 128 images, with recompute and without",
        TRAIN,
        RESNET20 | {"net": ["cifar_resnet", 110]},
        (RECOMPUTE, Side("minigrad", time={n: SLOWER for n in (1, 2)})),
        threads=(1, 2),
    ),
}


def verdict(result: dict[str, Any]) -> str:
    """Say whether the deepest net fits."""
    peak = max(side["peak_bytes"] for side in result["sides"])
    return f"{peak / 2**20:.0f} MiB: {'fits into' if peak <= PEAK else 'EXCEEDS'} {PEAK >> 20} MiB"
