"""Let the sides of a case take steps in turn, and write down what they took."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from statistics import median
from typing import Any

from tests.benchmarks.cases import Case
from tests.benchmarks.worker import Worker

WARM_UP = 3
LEAST_SECONDS = 2.0  # short steps are repeated for at least so long
DISTURBED = 1.15  # where the three ratios are further apart, the line says so

HEAD = (
    f"{'':64}{'one step [ms]':>20}{'peak':>7}  {'minigrad as a multiple of this side: time':41} memory\n"
    f"{'case':25} threads  {'side':29}{'median':>10}{'min':>10}{'MB':>7}  {'medians':>8}{'minima':>8}{'rounds':>8}"
)


def measure(
    name: str, case: Case, threads: int, pairs: int, pythons: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the figures of all sides, times in seconds and memory in bytes.

    Parameters
    ----------
    name : str
        Of the case.
    case : Case
    threads : int
    pairs : int
        At least so many rounds, and for at least `LEAST_SECONDS`.
    pythons : dict of str, optional
        The interpreter that has a library, where it is not this one.
    """
    pythons = pythons or {}
    with ExitStack() as stack:
        workers = [
            stack.enter_context(Worker(case, side, threads, pythons.get(side.library, sys.executable)))
            for side in case.sides
        ]
        if case.once:
            rounds = [[worker.step() for worker in workers]]
        else:
            for _ in range(WARM_UP):
                for worker in workers:
                    worker.step()
            rounds, start = [], time.perf_counter()
            while len(rounds) < pairs or time.perf_counter() - start < LEAST_SECONDS:
                rounds.append([worker.step() for worker in workers])
        figures = [
            {
                "side": side.name,
                "runs_on": worker.runs_on,
                "median": median(times),
                "min": min(times),
                "peak_bytes": worker.finish(),
                "times": times,
            }
            for side, worker, times in zip(case.sides, workers, zip(*rounds, strict=True), strict=True)
        ]
    ours, *others = figures
    for side, figure in zip(case.sides[1:], others, strict=True):
        figure["multiple"] = multiple = {
            "rounds": median(mine / other for mine, other in zip(ours["times"], figure["times"], strict=True)),
            "medians": ours["median"] / figure["median"],
            "minima": ours["min"] / figure["min"],
            "memory": ours["peak_bytes"] / figure["peak_bytes"],
        }
        figure["verdicts"] = {
            key: bounds[threads].verdict(multiple[ratio])
            for key, ratio, bounds in (("time", "rounds", side.time), ("memory", "memory", side.memory))
            if threads in bounds
        }
    return {"case": name, "about": case.about, "threads": threads, "sides": figures}


def lines(result: dict[str, Any]) -> str:
    """Write the lines of a case: each side's figures, and minigrad's multiples of the others."""
    written = []
    for i, side in enumerate(result["sides"]):
        label = f"{result['case']:25} {result['threads']:7}" if i == 0 else " " * 33
        text = f"{label}  {side['side']:29}{side['median'] * 1e3:10.2f}{side['min'] * 1e3:10.2f}"
        text += f"{side['peak_bytes'] / 1e6:7.0f}"
        if "multiple" in side:
            multiple, verdicts = side["multiple"], side["verdicts"]
            text += f"  {multiple['medians']:8.2f}{multiple['minima']:8.2f}{multiple['rounds']:8.2f} "
            text += f"{verdicts.get('time', ''):16} {multiple['memory']:6.2f} {verdicts.get('memory', '')}"
            times = [multiple[key] for key in ("rounds", "medians", "minima")]
            text += "  disturbed" if max(times) > DISTURBED * min(times) else ""
        written.append(text.rstrip())
    return "\n".join(written)
