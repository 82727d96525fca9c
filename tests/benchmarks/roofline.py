"""Where the time of a convolutional net goes: ``python -m tests.benchmarks --roofline``.

A convolution is a product of matrices and some copying. What the machine reaches in large products, measured first, is
the roof: no convolution that is computed as a product is faster. For each distinct convolution of a net, forward and
backward, the table says how many there are, how long one takes, its GFLOP/s (a multiply-add is two operations), and
their share of the roof. The last column is the time above the roof, of all convolutions of this kind together: there
time can be won. Below it stands how much of a whole training step is spent inside products of matrices, those of the
transforms and of sums over pixels included: BLAS computes them, and no other way of writing a step in NumPy computes
the same products in less.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

import minigrad as mg
from minigrad import nn
from minigrad.kernels.threads import run
from tests.benchmarks import on_minigrad


class Shape(NamedTuple):
    """A convolution of square images: size of the image, of the kernel, channels, stride, padding."""

    size: int
    kernel: int
    c_in: int
    c_out: int
    stride: int
    padding: int
    first: bool  # its input is the image, whose gradient nobody wants

    def __str__(self) -> str:
        arrow = f"{self.kernel}x{self.kernel}, {self.c_in} -> {self.c_out}"
        return f"{arrow}, {self.size}x{self.size}" + f", stride {self.stride}" * (self.stride > 1)


class Row(NamedTuple):
    """What was measured of a convolution, which a net has so many times; seconds and GFLOP of one."""

    shape: Shape
    times: int
    gflop: float
    forward: float
    backward: float
    backward_gflop: float


def gemm_peak(threads: int, sizes: tuple[int, ...] = (512, 1024, 1536), repeats: int = 10) -> float:
    """Return the most GFLOP/s that products of square float32 matrices reach, one on each thread."""
    mg.set_num_threads(threads)
    best = 0.0
    for n in sizes:
        a, b = np.ones((threads, n, n), np.float32), np.ones((n, n), np.float32)
        out = np.empty_like(a)

        def multiply(i: int, a: Any = a, b: Any = b, out: Any = out) -> None:
            np.matmul(a[i], b, out=out[i])

        seconds = fastest(lambda multiply=multiply: run(multiply, threads), repeats)
        best = max(best, threads * 2 * n**3 / seconds / 1e9)
    return best


def convolutions(net: nn.Module, size: int) -> Counter[Shape]:
    """Count the distinct convolutions of a net that runs on images of this size."""
    found: list[Shape] = []

    def note(layer: Any, out: Any) -> None:
        kernel, _, c_in, c_out = layer.weight.shape
        stride, padding = layer.stride[0], layer.padding[0]
        # these nets halve even sizes: so the input's size is known from the output's
        found.append(Shape(out.shape[1] * stride, kernel, c_in, c_out, stride, padding, not found))

    ends = [layer.hook(note) for _, layer in net.named_modules() if isinstance(layer, nn.Conv2d)]
    with mg.no_grad():
        net.eval()(mg.Tensor(np.zeros((1, size, size, 3), np.float32)))
    for end in ends:
        end()
    return Counter(found)


def measure(shape: Shape, times: int, batch: int, repeats: int) -> Row:
    """Time one convolution, forward and backward."""
    rng = np.random.default_rng(0)
    size, kernel, c_in, c_out, stride, padding, first = shape
    x = mg.Tensor(rng.standard_normal((batch, size, size, c_in), np.float32), requires_grad=not first)
    w = mg.Tensor(rng.standard_normal((kernel, kernel, c_in, c_out), np.float32), requires_grad=True)

    def convolve() -> Any:
        return mg.conv2d(x, w, stride=stride, padding=padding)

    g = mg.Tensor(rng.standard_normal(convolve().shape, np.float32))
    wanted = [w] if first else [x, w]
    gflop = 2 * g.size * kernel * kernel * c_in / 1e9
    forward = fastest(convolve, repeats)
    backward = fastest(lambda y: mg.grad(y, wanted, g), repeats, convolve)
    return Row(shape, times, gflop, forward, backward, gflop * len(wanted))


def in_products(step: Callable[[], object], threads: int, repeats: int) -> tuple[float, float]:
    """Return the median seconds of a step, and of those that each thread spends in `np.matmul`, in the mean."""
    matmul: Any = np.matmul
    spent: dict[int, float] = {}  # by thread, so that no two write to one entry

    def timed(*arguments: Any, **settings: Any) -> Any:
        start = time.perf_counter()
        out = matmul(*arguments, **settings)
        me = threading.get_ident()
        spent[me] = spent.get(me, 0.0) + time.perf_counter() - start
        return out

    def measured() -> tuple[float, float]:
        spent.clear()
        start = time.perf_counter()
        step()
        return time.perf_counter() - start, sum(spent.values()) / threads

    np.matmul = timed
    try:
        rounds = [measured() for _ in range(repeats + 1)]
    finally:
        np.matmul = matmul
    whole, inside = np.median(rounds[1:], axis=0)
    return float(whole), float(inside)


def fastest(call: Callable[..., object], repeats: int, prepare: Callable[[], Any] | None = None) -> float:
    """Return the seconds of the fastest of several calls, the first not counted; what prepares each is not, either."""
    times = []
    for _ in range(repeats + 1):
        arguments = () if prepare is None else (prepare(),)
        start = time.perf_counter()
        call(*arguments)
        times.append(time.perf_counter() - start)
    return min(times[1:])


def table(rows: list[Row], peak: float) -> str:
    """Write the table of a net, and its sum."""
    pass_head = f"{'ms':>9}{'GFLOP/s':>9}{'share':>7}"
    lines = [
        f"{'':38}{'':>6}{'forward':^25}{'backward':^26}{'above the roof':>16}",
        f"{'convolution':38}{'times':>6}{pass_head}{pass_head} {'ms, all':>16}",
    ]

    def line(name: str, times: str, passes: list[tuple[float, float]], above: float) -> str:
        text = f"{name:38}{times:>6}"
        for seconds, gflop in passes:
            text += f"{seconds * 1e3:9.2f}{gflop / seconds:9.1f}{gflop / seconds / peak:7.0%}"
        return f"{text} {above * 1e3:16.1f}"

    def above(row: Row) -> float:
        return row.times * (row.forward + row.backward - (row.gflop + row.backward_gflop) / peak)

    for row in sorted(rows, key=above, reverse=True):
        passes = [(row.forward, row.gflop), (row.backward, row.backward_gflop)]
        lines.append(line(str(row.shape), str(row.times), passes, above(row)))
    forward = (sum(r.times * r.forward for r in rows), sum(r.times * r.gflop for r in rows))
    backward = (sum(r.times * r.backward for r in rows), sum(r.times * r.backward_gflop for r in rows))
    lines.append(line("all", str(sum(r.times for r in rows)), [forward, backward], sum(above(r) for r in rows)))
    return "\n".join(lines)


def nets() -> dict[str, tuple[list[Any], int, int]]:
    """The nets as in :mod:`tests.benchmarks.cases`, the size of their images, and how many there are."""
    return {
        "ResNet-20": (["cifar_resnet", 20], 32, 128),
        "ResNet-34": (["resnet34"], 224, 8),
        "ResNet-50": (["resnet50"], 224, 8),
    }


def main(nets: Mapping[str, tuple[list[Any], int, int]], threads: list[int], repeats: int) -> list[dict[str, Any]]:
    """Print the tables of some nets, each with the size and number of its images, and return their figures."""
    mg.keep_freed_memory()
    results = []
    for n in threads:
        for name, (net, size, batch) in nets.items():
            before = gemm_peak(n)
            found = convolutions(on_minigrad.build(net), size)
            rows = [measure(shape, times, batch, repeats) for shape, times in found.items()]
            peak = max(before, gemm_peak(n))  # other work may have disturbed one of them
            on = f"on {n} thread{'s' * (n > 1)}"
            print(f"\n{name}, {batch} images of {size} x {size}, {on}; products of matrices reach {peak:.1f} GFLOP/s\n")
            print(table(rows, peak), flush=True)
            step, products = in_products(on_minigrad.train(net, batch, size, classes=10), n, repeats)
            print(f"A training step takes {step * 1e3:.0f} ms, and {products * 1e3:.0f} of them pass in products.")
            figures = [row._asdict() | {"shape": str(row.shape)} for row in rows]
            whole = {"net": name, "batch": batch, "threads": n, "gemm_peak": peak, "step": step, "products": products}
            results.append(whole | {"rows": figures})
    return results
