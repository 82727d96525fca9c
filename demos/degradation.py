"""Degradation: deeper plain nets train worse, and residual nets do not.

A deeper net contains the shallower net: if the additional layers are the identity, both compute the same (see
demos.constructed). So the deeper net should not be worse, at least on the training set. But it is: plain nets of 56
layers end with a higher TRAINING error than plain nets of 20. So the cause is not overfitting, and with batch
normalisation it is not a vanishing gradient either (see demos.gradient_flow): good weights exist, but the optimizer
does not find them. Residual nets train easily at both depths; demos.explanations measures why. This is section 4.2 and
Fig. 6 of "Deep Residual Learning for Image Recognition" (He et al., 2015).

The demo trains the paper's CIFAR nets, with one input channel, on the 8x8 digits that come with minigrad. All nets use
the same recipe: batches of 128, SGD with momentum 0.9 and weight decay 1e-4, a warm-up of 72 iterations, and the
learning rate divided by 10 for the last third. The nets are trained side by side, the deepest first, each in a process
of its own; the results are the same as if they were trained one after the other. The errors are measured after every
second epoch.

With several machines, `mpiexec -n 2 python -m demos.degradation --shards 4` trains each net on all processes; the
results depend on the number of shards, not on the number of processes.

How to read the gap between the plain nets: with this recipe it appears on every seed that we tried. Part of it comes
from a slow start: plain-56 can also learn data this easy, with a smaller learning rate and more iterations (--lr 0.01
--epochs 40). --full separates the two effects: it trains five depths for 40 epochs, tries smaller learning rates for
each net until no training image is wrong, and also reports each net at its best rate. On CIFAR-10 the paper's plain-56
still has the higher error after 64,000 iterations.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import platform
import time
from collections.abc import Iterator
from concurrent.futures import as_completed
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

import minigrad as mg
from demos import lab, style
from minigrad import distributed
from models import cifar_plain, cifar_resnet

NETS = {"plain": cifar_plain, "residual": cifar_resnet}
EVERY = 24  # iterations between two records: two epochs, as to measure the errors takes a third as long as an epoch
QUICK = {"depths": [8, 32], "epochs": 5, "width": 8, "warmup": 12}
FULL = {"depths": [20, 32, 44, 56, 110], "epochs": 40, "lr": [0.1, 0.03, 0.01]}


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Train the nets, print the table, save the figure and the logs; return all runs and the settings."""
    options = parse(arguments)
    Path(options.out).mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    lab.let_the_first_speak()
    nets = sorted(product(NETS, options.depths), key=lambda net: -net[1])  # the longest first
    runs = []
    for trained in side_by_side(nets, options) if options.shards is None else one_by_one(nets, options):
        runs += trained
        print("\n".join(line(run) for run in trained), flush=True)
    runs.sort(key=lambda run: ([*NETS].index(run["kind"]), run["depth"]))
    print(f"\n{conclusion(runs, options.lr)}\n")
    versions = {"minigrad": mg.__version__, "numpy": np.__version__, "python": platform.python_version()}
    result = {"config": vars(options) | versions | {"threads": mg.get_num_threads()}, "runs": runs}
    if distributed.rank() == 0:
        style.save(draw(runs, options.lr), result, options.out, "degradation")
    print(f"logs:   {options.out}/*.jsonl\n{time.perf_counter() - start:.0f} s in all")
    return result


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = lab.parser("degradation", __doc__)
    parser.add_argument("--depths", type=int, nargs="+", default=[20, 56], metavar="D", help="each 6n + 2 (20 56)")
    parser.add_argument("--epochs", type=int, default=12, help="number of epochs (12)")
    parser.add_argument(
        "--lr", type=float, nargs="+", default=[0.1], metavar="R", help="learning rates to try on each net (0.1)"
    )
    parser.set_defaults(width=16, warmup=lab.WARMUP)
    lab.add_shards(parser)
    options = parser.parse_args(arguments)
    vars(options).update(QUICK if options.quick else FULL if options.full else {})
    if options.epochs < 1 or min(options.lr) <= 0:
        parser.error("--epochs must be at least 1, and --lr positive")
    if options.shards is None and distributed.size() > 1:
        parser.error("--shards is needed for several processes, such as --shards 4")
    for depth in options.depths:
        if (depth - 2) % 6 or depth < 8:
            parser.error(f"--depths: {depth} is not 6n + 2 (8, 14, 20, 26, 32, 44, 56, 110, ...)")
    return options


def side_by_side(nets: list[tuple[str, int]], options: argparse.Namespace) -> Iterator[list[dict[str, Any]]]:
    """Say how long it will take, then yield the runs of each net as they end: a process trains a net."""
    with lab.pool(len(nets)) as pool:
        paces = [pool.submit(pace, options) for _ in range(min(len(nets), mg.get_num_threads()))]
        announce(options, [pace.result() for pace in paces])
        for trained in as_completed([pool.submit(train, kind, depth, options) for kind, depth in nets]):
            yield trained.result()


def one_by_one(nets: list[tuple[str, int]], options: argparse.Namespace) -> Iterator[list[dict[str, Any]]]:
    """Do the same, where all processes of MPI train each net together."""
    with distributed.alone():
        measured = pace(options)
    announce(options, [measured / distributed.size()])
    for kind, depth in nets:
        yield train(kind, depth, options)


def announce(options: argparse.Namespace, paces: list[float]) -> None:
    """Print how long the run will take, and the head of the table."""
    heads = f"{'net':<14}{'parameters':>12}{'learning rate':>16}{'training error':>17}{'test error':>13}"
    print(f"{estimate(options, paces)}\n\n{heads}{'seconds':>10}", flush=True)


def train(kind: str, depth: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Train one net with each learning rate, until no training image is wrong."""
    runs: list[dict[str, Any]] = []
    for lr in options.lr:
        runs.append(run(kind, depth, lr, options))
        if runs[-1]["train"][-1] == 0:
            break  # no other learning rate can be better
    return runs


def run(kind: str, depth: int, lr: float, options: argparse.Namespace) -> dict[str, Any]:
    """Train one net; its log has a line of JSON for every second epoch."""
    net = NETS[kind](depth, in_channels=1, rng=options.seed, width=options.width)
    log = Path(options.out) / f"{kind}-{depth}-lr{lr:g}.jsonl"
    settings = {"epochs": options.epochs, "warmup": options.warmup, "seed": options.seed, "evaluate_every": EVERY}
    history = lab.fit(net, lr=lr, **settings, log=log, shards=options.shards, title=f"{kind}-{depth}")
    return {
        "kind": kind,
        "depth": depth,
        "lr": lr,
        "parameters": sum(p.size for p in net.parameters()),
        "seconds": history[-1]["seconds"],
        "iteration": [record["iteration"] for record in history],
        "train": [100 * record["train_error"] for record in history],
        "test": [100 * record["test_error"] for record in history],
    }


def pace(options: argparse.Namespace) -> float:
    """Return how many seconds a layer takes for one epoch on this machine, measured on a net of 8 layers."""
    net = cifar_plain(8, in_channels=1, rng=0, width=options.width)
    with contextlib.redirect_stderr(io.StringIO()):
        history = lab.fit(net, epochs=2, evaluate_every=EVERY)
    return history[-1]["seconds"] / (2 * 8)


def estimate(options: argparse.Namespace, paces: list[float]) -> str:
    """Return a text that states how long the run will take, with a net for each of `paces` at a time."""
    work = [depth * options.epochs * len(options.lr) for depth in options.depths]
    seconds = max(paces) * max(max(work), len(NETS) * sum(work) / len(paces))
    length = f"{seconds:.0f} seconds" if seconds < 100 else f"{seconds / 60:.0f} minutes"
    return f"{'at most' if len(options.lr) > 1 else 'about'} {length} on this machine, {len(paces)} nets at a time"


def line(run: dict[str, Any]) -> str:
    """Return a row of the table."""
    net, errors = f"{run['kind']}-{run['depth']}", f"{run['train'][-1]:>15.1f} %{run['test'][-1]:>11.1f} %"
    return f"{net:<14}{run['parameters']:>12,}{run['lr']:>16g}{errors}{run['seconds']:>10.1f}"


def final(runs: list[dict[str, Any]], kind: str, lr: float | None = None) -> dict[int, float]:
    """Return the final training error by depth: at one learning rate, or at the best for each net."""
    chosen = [run for run in runs if run["kind"] == kind and lr in (None, run["lr"])]
    return {depth: min(r["train"][-1] for r in chosen if r["depth"] == depth) for depth in {r["depth"] for r in chosen}}


def conclusion(runs: list[dict[str, Any]], lrs: list[float]) -> str:
    """Return a text that states how training errors change with depth."""
    lines = []
    for which in [f"learning rate {lrs[0]:g}", "each net at its best learning rate"][: len(lrs)]:
        for kind in NETS:
            errors = final(runs, kind, None if which.startswith("each") else lrs[0])
            listed = ", ".join(f"{error:.1f} % at depth {depth}" for depth, error in sorted(errors.items()))
            lines.append(f"{kind} nets: training error {listed}" + (f" ({which})" if len(lrs) > 1 else ""))
    return "\n".join(lines)


def draw(runs: list[dict[str, Any]], lrs: list[float]) -> Any:
    """Draw training error (thin) and test error (bold) against iterations, as in Fig. 6 of the paper.

    If several learning rates were tried, the curves show the first, and a third panel shows the gain of the best rate.
    """
    figure, panels = style.panels(2 + (len(lrs) > 1), width=9 + 4.5 * (len(lrs) > 1), sharey=True)
    depths = sorted({run["depth"] for run in runs})
    for panel, kind in zip(panels, NETS, strict=False):
        for run in (run for run in runs if (run["kind"], run["lr"]) == (kind, lrs[0])):
            colour = style.shade(depths.index(run["depth"]) - 1, max(len(depths) - 1, 1))  # from the lightest on
            panel.plot(run["iteration"], run["train"], color=colour, linewidth=1.0)
            panel.plot(run["iteration"], run["test"], color=colour, linewidth=2.5, label=f"{kind}-{run['depth']}")
        panel.set(xlabel="iteration", ylim=(0, 100))
        panel.set_title(f"{kind} nets", loc="left")
        panel.set_title("thin: training, bold: test", loc="right", fontsize="small")
        panel.set_xlim(left=0)
        panel.legend(frameon=False, loc="center right", bbox_to_anchor=(1.0, 0.4))
    panels[0].set_ylabel("error (%)")
    if len(lrs) > 1:
        for kind, look in (("plain", style.PLAIN), ("residual", style.RESIDUAL)):
            for lr, name, face in ((lrs[0], f"learning rate {lrs[0]:g}", "white"), (None, "its best", look["color"])):
                errors = sorted(final(runs, kind, lr).items())
                panels[2].plot(*zip(*errors, strict=True), **look, marker="o", mfc=face, label=f"{kind}, {name}")
        panels[2].set(xlabel="depth", xticks=depths)
        panels[2].set_title("training error at the end", loc="left")
        panels[2].legend(frameon=False, loc="upper left")
    return figure


if __name__ == "__main__":
    main()
