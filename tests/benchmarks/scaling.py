"""How training steps would scale to more processes than were measured: a model, its figure, and the page's section.

Everything here is computed from the log that :mod:`tests.benchmarks.many` writes.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from minigrad.train.checkpoint import atomic

#: Powers of two, as the tree needs them.
PROCESSES = [2**level for level in range(11)]

#: Strong scaling: images of one step on all processes together. Weak scaling: images for each process.
STRONG, WEAK = 1024, {"ResNet-20": 128, "ResNet-50": 8}

#: For each round, rows of a size in bytes, the seconds of `total`, and those of `Allreduce`.
Rounds: TypeAlias = Sequence[Sequence[Sequence[float]]]

# The model -----------------------------------------------------------------------------------


class Network(NamedTuple):
    """The measured seconds of a sum over two processes, by the bytes of each: an exchange, and the addition."""

    sizes: list[float]
    times: list[float]

    @property
    def latency(self) -> float:
        """The seconds of the smallest sum."""
        return self.times[0]

    @property
    def bandwidth(self) -> float:
        """The bytes per second of the largest."""
        return self.sizes[-1] / self.times[-1]

    def seconds(self, size: float) -> float:
        """Return the time for any size: between measured ones interpolated, above them in proportion."""
        return float(np.interp(size, self.sizes, self.times)) * max(1.0, size / self.sizes[-1])


def network(rounds: Rounds) -> Network:
    """Return the medians of all rounds."""
    sizes, times, _ = np.median(rounds, axis=0).T.tolist()
    return Network(sizes, times)


def exchanged(by: Network, size: float, processes: int, *, scatter: bool = False) -> float:
    """Return the seconds that a sum of `size` bytes takes on a power of two of processes.

    The tree sends everything once for each of its log2(processes) levels. A reduce-scatter sends half of it on the
    first level, a quarter on the second, and so on, since each process continues with one half; then the parts are
    gathered in the reverse order. Each number is added up in the same tree: the bits are the same.
    """
    levels = processes.bit_length() - 1
    if scatter:
        return 2 * sum(by.seconds(size / 2 ** (level + 1)) for level in range(levels))
    return levels * by.seconds(size)


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
    The time for computing, as one process took it for this number of images (or a multiple of the time for the largest
    number that was measured), plus the time for the sum, by TCP. So in the model each process has one core of this
    machine and a network link of its own; computing and sending do not overlap; and no process is late.
    """
    known = alone(log, net)
    most = max(known)
    computing = known[images] if images in known else known[most] * images / most
    return computing + exchanged(network(log["network"]["TCP"]), size_of(log, net), processes, scatter=scatter)


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


# The page ------------------------------------------------------------------------------------


def times(log: dict[str, Any], **settings: object) -> list[float]:
    """Return the seconds of a step in each round, of the one case on ResNet-20 with these settings."""
    given = {"net": "ResNet-20", "processes": 1, "threads": 1, "shards": None, "batch": 128, "tcp": False} | settings
    (found,) = (entry["rounds"] for entry in log["steps"] if entry["case"] == given)
    return list(found)


def _trial(log: dict[str, Any]) -> float:
    """Return the seconds of the step that the model is compared with: two processes with 128 images each, by TCP."""
    return median(times(log, processes=2, shards=2, batch=256, tcp=True))


def ratio(these: Sequence[float], those: Sequence[float]) -> float:
    """Return the median of the ratios of each round."""
    return median(a / b for a, b in zip(these, those, strict=True))


def table_of_steps(log: dict[str, Any]) -> str:
    """Write the cases with 128 images, each beside the first."""
    lines = [
        "| processes | threads of each | shards | a step [ms] | images per second | x the first row |",
        "|---|---|---|---|---|---|",
    ]
    first = times(log)
    for entry in log["steps"]:
        case, rounds = entry["case"], entry["rounds"]
        if case["net"] == "ResNet-20" and case["batch"] == 128 and case["shards"] != 1:
            numbers = f"{median(rounds) * 1e3:,.0f} | {128 / median(rounds):,.0f} | {ratio(rounds, first):.2f}"
            lines.append(f"| {case['processes']} | {case['threads']} | {case['shards'] or 'none'} | {numbers} |")
    return "\n".join(lines)


def table_of_sums(networks: dict[str, Rounds]) -> str:
    """Write the times of sums over two processes, ours beside MPI's own."""
    heads = [f"{kind}, {way} [ms]" for way in networks for kind in ("`total`", "`Allreduce`")]
    lines = [f"| array | {' | '.join(heads)} |", "|---" * (1 + len(heads)) + "|"]
    for rows in zip(*(np.median(rounds, axis=0).tolist() for rounds in networks.values()), strict=True):
        cells = [_short(seconds * 1e3) for row in rows for seconds in row[1:]]
        lines.append(f"| {_bytes(int(rows[0][0]))} | {' | '.join(cells)} |")
    return "\n".join(lines)


def table_of_scaling(log: dict[str, Any]) -> str:
    """Write the model's steps per second."""
    chosen = PROCESSES[::2]
    lines = ["| steps per second on | " + " | ".join(f"{n:,}" for n in chosen) + " |", "|---" * (1 + len(chosen)) + "|"]
    for net, each in WEAK.items():
        titles = {"strong": f"{net}, {STRONG:,} images in all", "weak": f"{net}, {each} images for each process"}
        for kind, title in titles.items():
            for scatter in (False, True):
                speeds = curves(log, net, scatter=scatter)[kind][::2]
                numbers = " | ".join(map(_short, speeds))
                lines.append(f"| {'with a reduce-scatter' if scatter else title} | {numbers} |")
    return "\n".join(lines)


def _short(number: float) -> str:
    """Return a number with three digits, or all of those before the point."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _bytes(size: int) -> str:
    """Return a size as people say it."""
    for unit, name in ((10**6, "MB"), (10**3, "kB")):
        if size >= unit:
            return f"{size // unit} {name}"
    return f"{size} bytes"


def section(log: dict[str, Any]) -> str:
    """Write the page's section: all of its numbers are those of the log."""
    facts, tcp = log["machine"], network(log["network"]["TCP"])
    one, two, shards = times(log, threads=2, shards=4), times(log, processes=2, shards=4), times(log, shards=4)
    trial = _trial(log)
    share = {
        (net, scatter): exchanged(tcp, size_of(log, net), 1024, scatter=scatter)
        * curves(log, net, scatter=scatter)["weak"][-1]
        for net in WEAK
        for scatter in (False, True)
    }
    small = {net: max(known) * known[1] / known[max(known)] for net in WEAK if (known := alone(log, net))}
    rows = {int(row[0]): row for row in np.median(log["network"]["shared memory"], axis=0)}
    slower = {size: rows[size][1] / rows[size][2] for size in (10**6, 10**8)}
    return _filled(f"""\
The machine: {facts["cpu"]}, {facts["processors"]} cores, {", ".join(facts["numpy_and_blas"])}. The mean load
of a minute was {facts["load"]} before the measurements, and {facts["load after"]} at their end.
`python -m tests.benchmarks.many` repeats the measurements and writes this section.

### Shards, threads and processes

The table has the time of a training step of ResNet-20 on 128 synthetic images, the median of {len(one)} rounds.
Its last column has the median of the ratios within each round.

{table_of_steps(log)}

With `shards=4`, two processes with one thread each take {ratio(two, one):.2f} times as long as one process with two
threads. On one thread, `shards=4` takes {ratio(shards, times(log)):.2f} times as long as no shards.

### The sum

The table has the time of {{func}}`~minigrad.distributed.total` on two processes, beside that of MPI's own
`Allreduce`, which promises no order. Through shared memory, `total` takes {slower[10**6]:.1f} times as long as
`Allreduce` for 1 MB, and {slower[10**8]:.1f} times as long for 100 MB.

{table_of_sums(log["network"])}

### A model of the scaling

The machine has {facts["processors"]} cores. For more processes, the figure and the table show a model. A step takes the
time that one process with one thread needs for its images, plus log₂(processes) exchanges of all gradients. An exchange
takes the time of `total` by TCP that the table above has: the latency is {tcp.latency * 1e6:.0f} µs, and the bandwidth
for large arrays {tcp.bandwidth / 1e9:.2g} GB/s. ResNet-20 sends {size_of(log, "ResNet-20") / 1e6:.1f} MB in each
exchange, which takes {tcp.seconds(size_of(log, "ResNet-20")) * 1e3:.1f} ms, and ResNet-50
{size_of(log, "ResNet-50") / 1e6:.0f} MB, which takes {tcp.seconds(size_of(log, "ResNet-50")) * 1e3:,.0f} ms. The model
assumes that each process has a core and a network link of its own, and that no process is late.

![Steps per second on 1 to 1,024 processes by the model, for ResNet-20 and ResNet-50](figures/scaling.png)

{table_of_scaling(log)}

In strong scaling, the processes divide {STRONG:,} images: 1,024 processes have one image each. In weak scaling, each
process has the same number of images, however many processes there are. One point can be checked here: by the model,
two processes with 128 images each need {step(log, "ResNet-20", 128, 2) * 1e3:,.0f} ms for a step of ResNet-20 by TCP.
They took {trial * 1e3:,.0f} ms.

The limit is the sum. On 1,024 processes, in weak scaling, it takes {share["ResNet-20", False]:.1%} of a step of
ResNet-20 and {share["ResNet-50", False]:.1%} of a step of ResNet-50. Then one would change the exchange to a
*reduce-scatter* over the same tree. On each level a process keeps one half of its array, sends the other half to its
partner, and continues with the half that it kept; at the end, all processes gather the parts. Each number is still
added in the same order, so the bits do not change. The sum would take {share["ResNet-20", True]:.1%} and
{share["ResNet-50", True]:.1%} of a step. In strong scaling, small shards are a second limit: an image that is alone in
its shard takes {small["ResNet-20"]:.1f} times the time of one of 128 in ResNet-20, and {small["ResNet-50"]:.1f} times
the time of one of 8 in ResNet-50.
""")


def _filled(text: str) -> str:
    """Return a text with its paragraphs as lines of at most 120 characters."""
    fill = partial(textwrap.fill, width=120, break_long_words=False, break_on_hyphens=False)
    text = re.sub(r"`[^`]*`", lambda code: code[0].replace(" ", "\0"), text.strip())  # code is not broken
    parts = (part if part[0] in "|!#" else fill(part) for part in text.split("\n\n"))
    return "\n\n".join(parts).replace("\0", " ") + "\n"


def written(page: str, log: dict[str, Any]) -> str:
    """Return the page with its section "Measured" made of the log."""
    before, title, rest = page.partition("\n## Measured\n")
    _, after, rest = rest.partition("\n## ")
    return f"{before}{title}\n{section(log)}{after}{rest}"


def figure(log: dict[str, Any], path: Path) -> None:
    """Draw steps per second against processes: a panel for each net."""
    from demos import style

    image, axes = style.panels(2, width=9.0, height=3.8)
    for panel, (net, each) in zip(axes, WEAK.items(), strict=True):
        for scatter, marks in ((False, {"linestyle": "-"}), (True, {"linestyle": "--"})):
            how = ", reduce-scatter" if scatter else ""
            titles = {"strong": f"{STRONG:,} images in all", "weak": f"{each} images each"}
            for i, (kind, speeds) in enumerate(curves(log, net, scatter=scatter).items()):
                panel.plot(PROCESSES, speeds, color=style.shade(i, 2), label=f"{titles[kind]}{how}", **marks)
        ideal = [n * curves(log, net)["strong"][0] for n in PROCESSES]
        panel.plot(
            PROCESSES,
            ideal,
            color="0.5",
            linewidth=0.8,
            linestyle=":",
            label="the steps of one process, times their number",
        )
        points = {1: 1 / alone(log, net)[each]} | ({2: 1 / _trial(log)} if net == "ResNet-20" else {})
        panel.plot(list(points), list(points.values()), "o", color="black", markersize=4, label="measured")
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        panel.set_xticks(PROCESSES[::2], [f"{n:,}" for n in PROCESSES[::2]])
        panel.set(title=net, xlabel="processes", ylabel="steps per second")
        panel.legend(frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary:
        image.savefig(temporary, dpi=150, format="png")
