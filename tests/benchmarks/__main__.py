"""Take the pairs, print the table: ``python -m tests.benchmarks``, from the root of the repository."""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import tests.benchmarks
from tests.benchmarks.cases import CASES
from tests.benchmarks.worker import Worker

WARM_UP = 3
LEAST_SECONDS = 2.0  # short steps are repeated for at least so long
DISTURBED = 1.15  # where the three ratios are further apart, the line says so

HEAD = f"{'':14} {'':>7}  {'':20}" + f"{'minigrad':^24}{'the other side':^26}{'minigrad / other':^22}"
COLUMNS = (
    f"{'case':14} {'threads':>7}  {'against':20}"
    + f"{'median':>9}{'min':>9}{'MB':>6}" * 2
    + f"{'median':>10}{'min':>6}{'pairs':>7}"
)


def main() -> None:
    """Measure what the command line asks for."""
    options = parse()
    missing = [name for name in libraries(options.cases) if find_spec(name) is None]
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} processors{load}")
    for name in missing:
        print(f"{name} is not installed: what is compared with it shows minigrad's own figures only")
    print(f"\n{HEAD}\n{COLUMNS}  [ms]")
    results = []
    for name in options.cases:
        case = CASES[name]
        first, *others = [side for side in case.sides if side.split()[0] not in missing]
        for threads in options.threads if case.threaded else [1]:
            for sides in [[first, other] for other in others] or [[first]]:
                results.append(measure(name, sides, threads, options.pairs, options.least_seconds))
                print(line(results[-1]), flush=True)
    print("\n" + "\n".join(sorted({side["runs_on"] for result in results for side in result["sides"]})))
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


def measure(case: str, sides: list[str], threads: int, pairs: int, least_seconds: float) -> dict[str, Any]:
    """Let the sides take steps in turn, and return their figures, times in seconds and memory in bytes."""
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(case, side, threads)) for side in sides]
        for _ in range(WARM_UP):
            for worker in workers:
                worker.step()
        rounds: list[list[float]] = []
        start = time.perf_counter()
        while len(rounds) < pairs or time.perf_counter() - start < least_seconds:
            rounds.append([worker.step() for worker in workers])
        figures = [
            {
                "side": side,
                "runs_on": worker.runs_on,
                "median": median(times),
                "min": min(times),
                "peak_bytes": worker.finish(),
                "times": times,
            }
            for side, worker, times in zip(sides, workers, zip(*rounds, strict=True), strict=True)
        ]
    result: dict[str, Any] = {"case": case, "threads": threads, "sides": figures}
    if len(sides) == 2:
        a, b = figures
        result["ratios"] = {
            "medians": a["median"] / b["median"],
            "minima": a["min"] / b["min"],
            "pairs": median(mine / theirs for mine, theirs in rounds),
        }
    return result


def line(result: dict[str, Any]) -> str:
    """Write one line of the table."""
    sides = result["sides"]
    against = sides[1]["side"] if len(sides) == 2 else "-"
    text = f"{result['case']:14} {result['threads']:7}  {against:20}"
    for side in sides:
        text += f"{side['median'] * 1e3:9.2f}{side['min'] * 1e3:9.2f}{side['peak_bytes'] / 1e6:6.0f}"
    if len(sides) == 2:
        ratios = result["ratios"]
        text += f"{ratios['medians']:10.2f}{ratios['minima']:6.2f}{ratios['pairs']:7.2f}"
        text += "  disturbed" if max(ratios.values()) > DISTURBED * min(ratios.values()) else ""
    return text


def libraries(cases: list[str]) -> list[str]:
    """Name the libraries that the cases need, each once."""
    return sorted({side.split()[0] for name in cases for side in CASES[name].sides})


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description=tests.benchmarks.__doc__,
        epilog="cases:\n" + "".join(f"  {name:16} {case.about}\n" for name, case in CASES.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="NAME", help="default: all")
    parser.add_argument("--threads", nargs="+", type=_positive, default=[1, 2], metavar="N", help="default: 1 2")
    parser.add_argument("--pairs", type=_positive, default=10, metavar="N", help="at least so many; default: 10")
    parser.add_argument("--quick", action="store_true", help="3 pairs of each: does it run? The figures are rough")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write all figures, every single time included")
    options = parser.parse_args()
    options.least_seconds = LEAST_SECONDS
    if options.quick:
        options.pairs, options.least_seconds = 3, 0.0
    return options


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {text}")
    return number


if __name__ == "__main__":
    main()
