"""Measure and print: ``python -m tests.benchmarks``, from the root of the repository."""

from __future__ import annotations

import argparse
import functools
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import tests.benchmarks
from tests.benchmarks import cases, growth, machine, memory, report, rounds

FIGURE = Path("docs/figures/benchmarks.png")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what the command line asks for."""
    options = parse(arguments)
    if options.json:
        options.json.touch()  # what cannot be written fails now, and not after ten minutes
    written = report.read(options.read) if options.read else {"machine": machine.facts()}
    print(machine.header(written["machine"]), flush=True)
    if options.read:
        results = written["results"]
        print("\n" + "\n".join([rounds.HEAD, *map(rounds.lines, results)]))
    elif options.roofline:
        from tests.benchmarks import roofline

        results = roofline.main(roofline.nets(), options.threads or [1, 2], repeats=options.pairs)
    elif options.growth:
        results = run(growth.CASES, options, growth.HEAD, growth.lines)
    elif options.memory:
        results = run(memory.CASES, options, rounds.HEAD, rounds.lines)
        for result in results:
            if result["case"] == "memory-1202":
                print(f"\nmemory-1202: {memory.verdict(result)}")
    else:
        peers = {} if options.peers is None else cases.PEERS
        results = run(cases.CASES | peers, options, rounds.HEAD, rounds.lines)
        print("\n" + "\n".join(sorted({side["runs_on"] for result in results for side in result["sides"]})))
    if options.json:
        options.json.write_text(json.dumps(written | {"results": results}, indent=1) + "\n")
    if options.markdown:
        print("\n" + report.markdown(results))
    if options.figure:
        report.figure(written["machine"], results, options.figure)


def run(chosen: Mapping[str, cases.Case], options: Any, head: str, lines: Any) -> list[dict[str, Any]]:
    """Measure cases one after the other, and print the lines of each when it is done."""
    unknown = set(options.only or ()) - set(chosen)
    if unknown:
        raise SystemExit(f"benchmarks: no case {', '.join(sorted(unknown))}; there are {', '.join(chosen)}")
    results = []
    print(f"\n{head}")
    for name in options.only or chosen:
        case, pythons = installed(name, chosen[name], [sys.executable, *(options.peers or [])])
        if not case.sides:
            continue
        for threads in options.threads if options.threads and case.threads != (1,) else case.threads:
            results.append(rounds.measure(name, case, threads, options.pairs, pythons))
            print(lines(results[-1]), flush=True)
    return results


def installed(name: str, case: cases.Case, pythons: Sequence[str]) -> tuple[cases.Case, dict[str, str]]:
    """Return a case without the sides that cannot run here, which are named, and the interpreter of each library."""
    found, sides = dict[str, str](), []
    for side in case.sides:
        python = next((python for python in pythons if _has(python, side.library)), None)
        if python is None:
            print(f"{name}: {side.name} is not measured, {side.library} is not installed")
        elif side.program and shutil.which(side.program) is None:
            print(f"{name}: {side.name} is not measured, it needs {side.program}")
        else:
            found[side.library] = python
            sides.append(side)
    return replace(case, sides=tuple(sides)), found


@functools.cache
def _has(python: str, library: str) -> bool:
    """Return whether an interpreter finds a library."""
    if python == sys.executable:
        return find_spec(library) is not None
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({library!r}) is None)"
    return subprocess.run([python, "-c", code]).returncode == 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    tables = {
        "the table": cases.CASES | cases.PEERS,
        "--growth": growth.CASES,
        "--memory": memory.CASES,
    }
    epilog = "\n".join(
        f"cases of {table}:\n" + "".join(f"  {name:24} {case.about}\n" for name, case in entries.items())
        for table, entries in tables.items()
    )
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description=tests.benchmarks.__doc__,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_mutually_exclusive_group()
    for name in ("growth", "memory", "roofline"):
        what.add_argument(f"--{name}", action="store_true", help="measure this instead of the table")
    what.add_argument(
        "--from", nargs="+", type=Path, dest="read", metavar="JSON", help="measure nothing: take what --json wrote"
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these cases; default: all")
    parser.add_argument("--threads", nargs="+", type=_positive, metavar="N", help="default: as each case says")
    parser.add_argument("--pairs", type=_positive, default=10, metavar="N", help="rounds, at least; default: 10")
    parser.add_argument(
        "--peers",
        nargs="*",
        type=_interpreter,
        metavar="PYTHON",
        help="measure the compiled steps and the other frameworks on NumPy, too: each that is installed here, or "
        "in the environments of these interpreters",
    )
    parser.add_argument("--json", type=Path, metavar="PATH", help="write all figures, every single time included")
    parser.add_argument("--markdown", action="store_true", help="print the rows as docs/performance.md has them")
    parser.add_argument(
        "--figure", type=Path, nargs="?", const=FIGURE, metavar="PNG", help=f"draw the table; default: {FIGURE}"
    )
    return parser.parse_args(arguments)


def _interpreter(text: str) -> str:
    if shutil.which(text) is None:
        raise argparse.ArgumentTypeError(f"expected the path of a Python interpreter, got {text}")
    return text


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {text}")
    return number


if __name__ == "__main__":
    main()
