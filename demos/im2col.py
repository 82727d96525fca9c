"""Convolution as one matrix product: windows, columns, and blocks that stay in the cache.

A convolution multiplies every window of an image, kh kw c numbers, by the same weights. Write each window as a row of a
matrix, the *columns*. Then the whole convolution is one product,

    (pixels, kh kw c) @ (kh kw c, o),

which processors compute fastest. The cost is memory: each number appears in kh kw rows, so the columns of a 3x3 layer
are 9 times as large as its batch. But all columns are never needed at once. If they are made for one block of pixels at
a time, and the block is small enough to be still in the cache when it is multiplied, the columns need hardly any
memory, and they are neither written to main memory nor read from it. A block can also be too small: then the overhead
of the calls dominates. The function `blocks` below shows the idea of minigrad.kernels.columns in ten lines.

The layer is from the first stage of the paper's CIFAR nets (section 4.2: 3x3, 16 filters, maps of 32x32). All methods
add the same 144 products, in another order or precision. So the error of a result is at most 144 half units in the last
place of the sum of their magnitudes; the largest error that we saw on ten seeds was 6. Times are CPU times of one
thread relative to the best block size; they depend on the machine. We saw 1.5 to 2.2 for all columns at once, and 2,000
to 3,200 for Python's loops.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np

import minigrad as mg
from demos import lab, style
from minigrad.device import windows
from minigrad.kernels.blocks import COLUMN_BYTES


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Convolve a batch in several ways; compare values, memory and times; draw."""
    options = lab.parser("im2col", __doc__).parse_args(arguments)
    mg.keep_freed_memory()
    rng = np.random.default_rng(options.seed)
    images = 16 if options.quick else 256 if options.full else 64
    x = rng.standard_normal((images, 34, 34, 16), dtype=np.float32)  # with the border of the padding
    w = rng.standard_normal((3, 3, 16, 16), dtype=np.float32)
    rows = [2**i for i in range((32 * images).bit_length())]  # rows of pixels per block: 32 are an image
    ways: dict[str, Callable[[], Any]] = {str(n): lambda n=n: blocks(x, w, n) for n in rows}  # type: ignore[misc]
    ways["minigrad"] = lambda: mg.conv2d(x, w)
    memory, outputs = {name: peak(way) for name, way in ways.items()}, {name: way() for name, way in ways.items()}
    seconds = fastest(ways, 3 if options.quick else 9)
    seconds["loops"] = images * fastest({"loops": lambda: outputs.update(loops=loops(x[0], w))}, 1)["loops"]
    exact = blocks(x.astype(float), w.astype(float), 32)
    unit = blocks(abs(x).astype(float), abs(w).astype(float), 32) * 2.0**-24  # half a unit in the last place
    off = {name: (abs(out - exact[: len(out)]) / unit[: len(out)]).max() for name, out in outputs.items()}
    sizes = {str(n): n * 32 * w[..., 0].nbytes for n in rows}  # of the columns
    best = min(sizes, key=seconds.__getitem__)
    times = {name: seconds[name] / seconds[best] for name in seconds}
    batch = x[:, 1:-1, 1:-1].nbytes
    result = {"batch": batch, "sizes": sizes, "memory": memory, "times": times, "off": off}
    print(f"{images} images of 32x32 pixels and 16 channels, {batch / 1e6:.1f} MB; 16 filters of 3x3\n")
    print(f"{'':<26}{'memory (MB)':>14}{'time (best = 1)':>18}{'largest error':>16}")
    table = {"all columns at once": str(rows[-1]), "a row of pixels at a time": "1", "minigrad": "minigrad"}
    for label, name in (table | {f"best: blocks of {sizes[best] / 1e3:.0f} KB": best}).items():
        print(f"{label:<26}{memory[name] / 1e6:>14.1f}{times[name]:>18.2f}{off[name]:>16.2f}")
    print(f"{'loops in Python':<26}{'':>14}{times['loops']:>18.0f}{off['loops']:>16.2f}")
    print("(errors in half units in the last place of the sum of magnitudes; 144 is the bound)\n")
    figure, (left, right) = style.panels(2, width=10.0, height=3.6, width_ratios=[1.2, 1])
    draw_columns(left)
    draw_times(right, sizes, times)
    style.save(figure, result, options.out, "im2col")
    return result


def loops(x: Any, w: Any) -> Any:
    """Convolve one image (h, w, c) by the definition, with Python's floats."""
    image, weights, taps = x.tolist(), w.tolist(), list(np.ndindex(w.shape[:3]))
    out = np.empty((1, x.shape[0] - w.shape[0] + 1, x.shape[1] - w.shape[1] + 1, w.shape[3]))
    for _, y, x, f in np.ndindex(out.shape):
        out[0, y, x, f] = sum(image[y + i][x + j][k] * weights[i][j][k][f] for i, j, k in taps)
    return out


def blocks(x: Any, w: Any, rows: int) -> Any:
    """Convolve images (n, h, w, c), `rows` rows of pixels at a time: whole images, or a part of one image."""
    view = windows(x, w.shape[:2], (1, 1), (1, 1))  # (n, ho, wo, kh, kw, c)
    matrix = w.reshape(-1, w.shape[3])  # (kh kw c, o)
    n, ho, wo = view.shape[:3]
    out = np.empty((n, ho, wo, w.shape[3]), x.dtype)
    images, rows = max(1, rows // ho), min(rows, ho)
    columns = np.empty((images, rows, *view.shape[2:]), x.dtype)  # the same memory for every block
    for i in range(0, n, images):
        for y in range(0, ho, rows):
            np.copyto(columns, view[i : i + images, y : y + rows])
            part = out[i : i + images, y : y + rows].reshape(-1, w.shape[3])
            np.matmul(columns.reshape(len(part), -1), matrix, out=part)
    return out


def fastest(ways: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Time all methods in turn, on one thread; return the CPU seconds of the fastest round of each."""
    from threadpoolctl import threadpool_limits

    seconds, threads = dict.fromkeys(ways, np.inf), mg.get_num_threads()
    mg.set_num_threads(1)
    with threadpool_limits(1):
        for name in list(ways) * rounds:
            start = time.process_time()
            ways[name]()
            seconds[name] = min(seconds[name], time.process_time() - start)
    mg.set_num_threads(threads)
    return seconds


def peak(way: Callable[[], Any]) -> int:
    """Return the peak memory of a method on one thread, in bytes. (Each further thread has one block more.)"""
    threads = mg.get_num_threads()
    mg.set_num_threads(1)
    tracemalloc.start()
    way()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    mg.set_num_threads(threads)
    return most


def draw_columns(panel: Any) -> None:
    """Draw an image of 4x4 pixels, its columns for a 3x3 kernel, and the product with two filters; shade a window."""
    image, row = np.arange(16).reshape(4, 4), np.arange(4)[:, None] == 1
    columns = windows(image[None, :, :, None], (3, 3), (1, 1), (1, 1)).reshape(4, 9)
    for name, numbers, shaded, x, y in [
        ("image", image, np.isin(image, columns[1]), 0, 0),
        ("columns", columns, row, 6, 0),
        ("weights", np.full((9, 2), ""), False, 17, 2.5),
        ("result", np.full((4, 2), ""), row, 21, 0),
    ]:
        grey = np.broadcast_to(shaded, numbers.shape) * 0.25
        cells = x + np.arange(grey.shape[1] + 1), y - np.arange(len(grey) + 1)
        panel.pcolormesh(*cells, grey, cmap="Greys", vmin=0, vmax=1, edgecolors="0.5", linewidth=0.8)
        for (i, j), number in np.ndenumerate(numbers):
            panel.text(x + j + 0.5, y - i - 0.5, number, ha="center", va="center", size=7)
        panel.text(x + grey.shape[1] / 2, y + 0.5, name, ha="center")
    for x, text in {5: "→", 16: "@", 20: "="}.items():
        panel.text(x, -2, text, ha="center", va="center", fontsize="large")
    panel.set(xlim=(-0.2, 23.2), ylim=(-7, 4), aspect="equal")
    panel.set_title("Each window becomes a row of the columns", loc="left")
    panel.set_axis_off()


def draw_times(panel: Any, sizes: dict[str, int], times: dict[str, float]) -> None:
    """Draw time against the size of the columns held at once."""
    panel.semilogx([*sizes.values()], [times[n] for n in sizes], "o-", color=style.shade(0, 1), markersize=4)
    panel.axvline(COLUMN_BYTES, color="0.5", linewidth=1, linestyle=":")
    panel.text(COLUMN_BYTES, 0.1, "minigrad's blocks  ", ha="right", fontsize="small", color="0.3")
    panel.set(
        xlabel="columns of a block (bytes); last point: all columns at once",
        ylabel="time (best block = 1)",
        ylim=(0, None),
    )
    panel.set_title("Time of a convolution, by size of the blocks", loc="left")


if __name__ == "__main__":
    main()
