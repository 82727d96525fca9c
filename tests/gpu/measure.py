"""What the page of ``python -m tests.gpu`` reports beside the suite: training beside the host, waits, time, memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any, NamedTuple

import numpy as np

import minigrad as mg
from models import cifar_resnet
from tests.benchmarks import on_minigrad
from tests.benchmarks.on_minigrad import Step
from tests.gpu.hold import host_waits

# Training beside the host -----------------------------------------------------------------------


class Run(NamedTuple):
    """A training: the loss of every step, the test error in the end, the seconds of all steps."""

    losses: list[float]
    test_error: float
    seconds: float


def training(device: str, dtype: str, steps: int = 200) -> Run:
    """Train a ResNet-20 on the digits, 128 a step, on a device; the same seed gives the same weights and batches."""
    net = cifar_resnet(20, in_channels=1, rng=0, dtype=np.dtype(dtype)).to(device)
    sgd = mg.optim.SGD(net.parameters(), 0.05, momentum=0.9, weight_decay=1e-4)
    digits, rng, losses = mg.data.Digits(), np.random.default_rng(0), []
    start = time.perf_counter()
    for _ in range(steps):
        images, labels = digits[rng.integers(len(digits), size=128)]
        loss = mg.cross_entropy(net(mg.Tensor(images.astype(dtype)).to(device)), labels)
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        losses.append(loss.detach())
    values = [loss.item() for loss in losses]
    seconds = time.perf_counter() - start
    test = mg.data.Digits(train=False)
    with mg.no_grad():
        answers = net.eval()(mg.Tensor(test.images.astype(dtype)).to(device)).numpy().argmax(axis=1)
    return Run(values, float((answers != test.labels).mean()), seconds)


# Waits -------------------------------------------------------------------------------------------


def waits() -> dict[str, int]:
    """Count, for each part of a step of a small residual net, the steps of ten in which the host waits for the GPU."""
    net = cifar_resnet(8).to("cuda")
    sgd = mg.optim.SGD(net.parameters(), 0.01)
    rng = np.random.default_rng(0)
    images = mg.Tensor(rng.standard_normal((32, 32, 32, 3)).astype(np.float32)).to("cuda")
    labels = rng.integers(10, size=32)
    loss: Any = None

    def forward() -> None:
        nonlocal loss
        loss = mg.cross_entropy(net(images), labels)

    parts: dict[str, Callable[[], object]] = {
        "forward": forward,
        "backward": lambda: loss.backward(),
        "optimizer": sgd.step,
        "reading the loss": lambda: loss.item(),
    }
    for _ in range(3):  # kernels are compiled, and memory is taken
        sgd.zero_grad()
        for part in parts.values():
            part()
    counts = dict.fromkeys(parts, 0)
    for _ in range(10):
        sgd.zero_grad()
        for name, part in parts.items():
            counts[name] += host_waits(part)
    return counts


# Time and memory of a step -----------------------------------------------------------------------


#: The steps that are timed, by title: settings of `train` in :mod:`tests.benchmarks.on_minigrad` and its sister.
CASES: dict[str, dict[str, Any]] = {
    "ResNet-20, batch 128": {"net": ["cifar_resnet", 20], "batch": 128, "size": 32, "classes": 10},
    "ResNet-50, batch 32": {"net": ["resnet50"], "batch": 32, "size": 224, "classes": 1000},
}


class Side(NamedTuple):
    """One side of a comparison: milliseconds of a step in each round, milliseconds to submit it, peak memory."""

    name: str
    times: list[float]
    submitted: list[float]
    peak_bytes: int

    @property
    def median(self) -> float:
        """The median of the rounds."""
        return median(self.times)


def sides(case: dict[str, Any], rounds: int = 7, steps: int = 5) -> list[Side]:
    """Time steps of both libraries in turns, `steps` at a time; only minigrad's where PyTorch finds no GPU."""
    libraries = [("minigrad", on_minigrad.train(**case, device="cuda"), minigrad_peak), *torch_sides(case)]
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name, _, _ in libraries}
    for _, step, _ in libraries:
        for _ in range(5):
            step()
    for _ in range(rounds):
        for name, step, _ in libraries:
            synchronize()
            start = time.perf_counter()
            for _ in range(steps):
                step()
            submitted = time.perf_counter()
            synchronize()
            times[name][0].append((time.perf_counter() - start) / steps * 1e3)
            times[name][1].append((submitted - start) / steps * 1e3)
    return [Side(name, *times[name], peak(step)) for name, step, peak in libraries]


def synchronize() -> None:
    """Wait until the GPU has done all that was submitted, by whichever library."""
    import cupy

    cupy.cuda.Device().synchronize()


def minigrad_peak(step: Step) -> int:
    """Return the most bytes that CuPy's pool gives out during a step."""
    import cupy

    class Highest(cupy.cuda.MemoryHook):  # type: ignore[misc]
        name, bytes = "highest", 0

        def malloc_postprocess(self, **kwargs: Any) -> None:
            self.bytes = max(self.bytes, cupy.get_default_memory_pool().used_bytes())

    with Highest() as highest:
        step()
    return int(highest.bytes)


def torch_sides(case: dict[str, Any]) -> list[tuple[str, Step, Callable[[Step], int]]]:
    """Return PyTorch's steps: in float32, and as PyTorch is installed, with convolutions in TF32."""
    try:
        import torch
    except ImportError:
        return []
    if not torch.cuda.is_available():
        return []
    from tests.benchmarks import on_torch

    train = on_torch.train(**case, device="cuda")

    def step(tf32: bool) -> None:
        torch.backends.cudnn.allow_tf32 = tf32
        train()

    def peak(step: Step) -> int:
        torch.cuda.reset_peak_memory_stats()
        step()
        return int(torch.cuda.max_memory_allocated())

    return [
        ("PyTorch, float32", lambda: step(False), peak),
        ("PyTorch, convolutions in TF32", lambda: step(True), peak),
    ]
