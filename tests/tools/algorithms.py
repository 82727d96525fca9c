"""Do nets train alike by both algorithms of convolutions? ``python -m tests.tools.algorithms`` trains them by each.

Winograd's algorithm rounds otherwise than im2col, and training amplifies every rounding: the weights of two runs soon
differ. What must not differ is how well they learn. The yardstick is the difference between seeds:

- a ResNet-20 on CIFAR-10, the first 2,000 iterations of a recipe of 22 epochs, with the algorithm that `conv2d`
  chooses, and by im2col alone, from three seeds;
- the nets of demos.degradation on the digits, with Winograd's algorithm in all 3x3 convolutions of stride 1, and by
  im2col alone, from eight seeds: plain-56 ends anywhere.

Each run adds its line to the log as it ends; a run that is in the log is not repeated.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from concurrent.futures import as_completed
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

import minigrad as mg
from demos import cifar10, degradation, lab
from models import cifar_resnet

LOG = Path(__file__).parents[2] / "docs" / "logs" / "algorithms.jsonl"
CIFAR, DIGITS = "CIFAR-10, ResNet-20", [f"digits, {kind}-{depth}" for kind in degradation.NETS for depth in (20, 56)]
ITERATIONS, RUN = 2000, 22 * 391  # those that are trained, and those of the recipe


def runs() -> Iterator[tuple[str, str, int]]:
    """Yield task, algorithm and seed of each run, the longest first."""
    for seed, algorithm in product(range(3), ("im2col", "auto")):
        yield CIFAR, algorithm, seed
    for seed, algorithm, task in product(range(8), ("im2col", "winograd"), reversed(DIGITS)):
        yield task, algorithm, seed


def train(task: str, algorithm: Any, seed: int) -> dict[str, Any]:
    """Train a net by an algorithm; return the line of the log."""
    with mg.conv_algorithm(algorithm):
        ends = on_cifar(seed) if task == CIFAR else on_digits(*task.split(" ")[1].split("-"), seed)
    return {"task": task, "algorithm": algorithm, "seed": seed} | ends


def on_cifar(seed: int) -> dict[str, Any]:
    """Train by the recipe of 22 epochs; return the mean loss of each 100 iterations, and the test error."""
    sets = cifar10.datasets(cifar10.parse([]))
    net = cifar_resnet(20, "A", rng=seed)
    sgd = mg.optim.SGD(net.parameters(), 0.2, momentum=0.9, weight_decay=5e-4)
    schedule = mg.optim.Warmup(mg.optim.CosineLR(sgd, RUN), RUN * 15 // 100)
    batches = mg.data.DataLoader(sets["training"], cifar10.BATCH, rng=seed, transform=sets["augment"])
    history = mg.train.fit(
        net, batches, optimizer=sgd, schedule=schedule, iterations=ITERATIONS, evaluate_on={}, evaluate_every=100
    )
    _, error = mg.train.evaluate(net, sets["test"])
    return {"losses": [record["loss"] for record in history], "test_error": error}


def on_digits(kind: str, depth: str, seed: int) -> dict[str, Any]:
    """Train by the recipe of the demos; return the errors on both sets."""
    net = degradation.NETS[kind](int(depth), in_channels=1, rng=seed)
    end = lab.fit(net, epochs=12, seed=seed, evaluate_every=144)[-1]
    return {"train_error": end["train_error"], "test_error": end["test_error"]}


def read() -> dict[tuple[str, str, int], dict[str, Any]]:
    """Return the lines of the log by task, algorithm and seed."""
    lines = LOG.read_text(encoding="utf-8").splitlines() if LOG.exists() else []
    return {(row["task"], row["algorithm"], row["seed"]): row for row in map(json.loads, lines)}


def figures() -> dict[tuple[str, str, str], dict[str, list[float]]]:
    """Return what is compared: for each task, quantity and unit, the values of all seeds by each algorithm."""
    found: dict[tuple[str, str, str], dict[str, list[float]]] = {}
    for (task, algorithm, _), row in sorted(read().items()):
        values = {"test error": 100 * row["test_error"]}
        values |= {"loss": row["losses"][-1]} if task == CIFAR else {"training error": 100 * row["train_error"]}
        for what, value in values.items():
            unit = "" if what == "loss" else " [%]"
            by = "im2col" if algorithm == "im2col" else "Winograd"
            found.setdefault((task, what, unit), {}).setdefault(by, []).append(value)
    return found


def table() -> str:
    """Write the mean over the seeds, and the range, for each task and algorithm."""
    lines = ["| net | | im2col: mean (range) | Winograd's: mean (range) |", "|---|---|---|---|"]
    for (task, what, unit), by in figures().items():
        cells = [_mean_and_range(by[algorithm], 3 if what == "loss" else 1) for algorithm in ("im2col", "Winograd")]
        lines.append(f"| {task} | {what}{unit} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def _mean_and_range(values: list[float], digits: int) -> str:
    return f"{np.mean(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def main() -> None:
    """Train what the log lacks, then print the table."""
    parser = argparse.ArgumentParser(description="Do nets train alike by both algorithms of convolutions?")
    parser.add_argument("--only", default="", help="tasks whose name begins so: CIFAR or digits")
    options = parser.parse_args()
    known = read()
    missing = [run for run in runs() if run not in known and run[0].startswith(options.only)]
    with lab.pool(max(len(missing), 1)) as pool, LOG.open("a", encoding="utf-8") as log:
        for ended in as_completed([pool.submit(train, *run) for run in missing]):
            print(json.dumps(ended.result()), file=log, flush=True)
    print(table())


if __name__ == "__main__":
    main()
