"""Is the suite any good? Change the code a little, and see whether a test fails: ``python -m tests.tools.mutation``.

A *mutant* is the source with one small change: a sign, a comparison, a constant, a dropped term, a statement left out.
Each is a mistake that could be made while typing. The suite runs on it, in a copy of the project: if a
test fails, the mutant is *killed*; if it *timed out*, it counts as killed, since the suite would have hung. A mutant
that *survived* is one of two things:

- a hole in the suite: this line could be wrong and nobody would know. Write the test, where the tests of this file are;
- *equivalent*: the changed program does the same, perhaps a little slower. Say so in tests/tools/equivalent.toml, with
  the name of the mutant, and say why. Such mutants are not run, except with ``--equivalents``.

Read the result from its end: a table with one row for each file. Only *survived* mutants need work; they are listed
above the table. The kill rate is killed / (mutants - equivalent). :mod:`tests.tools.mutants` says what is changed, and
:mod:`tests.tools.trials` how the tests are run.

A mutant first meets the test that killed it before and those that killed other mutants of its file, then the generic
tests of its operators, the tests of its file, and the rest. Verdicts are written to a file as they come
(``--results``). If the run is stopped, the same command continues it, as long as the operators, and what they import,
are the same but for comments: mutants that were killed are not run again. Those that survived are, since a test may
have been added.

    python -m tests.tools.mutation --files ops/conv.py     only this file; several may be given
    python -m tests.tools.mutation --limit 100 --seed 1    a random sample
    python -m tests.tools.mutation --list                  the mutants, without running them
    python -m tests.tools.mutation --only "getitem"        those whose name contains this text, with their killers
"""

from __future__ import annotations

import argparse
import ast
import collections
import hashlib
import json
import os
import random
import re
import resource
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tests.tools import trials
from tests.tools.mutants import FILES, Mutant, mutants_of, stale
from tests.tools.trials import ROOT, Stage

#: The last stages: folders of tests, and the file that asks for docstrings.
QUICK = ["tests/autograd", "tests/ops", "tests/kernels"]
REST = [
    f"tests/{name}" for name in ("checks", "device", "nn", "optim", "train", "models", "inspect", "docs/test_docs.py")
]

#: How many of the tests that killed other mutants of the same file are tried first.
FAVOURITES = 12


# Running the suite on one --------------------------------------------------------------------


def stages(mutant: Mutant, killers: Sequence[str] = ()) -> list[Stage]:
    """List what is run on a mutant, from the tests that are most likely to notice it."""
    path = Path("minigrad", mutant.file)
    own = re.sub(r"\W.*", "", mutant.where.lstrip("_"))
    files = operator_files(path)
    family = [name for file in files for name in re.findall(r"^def ([a-z]\w+)", text(file), re.MULTILINE)]
    every, folder = ["tests/ops/test_every_operator.py"], f"tests/{path.parent.name}"
    plan = [Stage(killers), Stage(every if own in family else [], [own]), Stage(every if family else [], family)]
    own_tests = [test for file in dict.fromkeys([path, *files]) for test in trials.mirrored(file)]
    plan += [Stage(own_tests), Stage([folder]), Stage([x for x in QUICK if x != folder]), Stage(REST)]
    return [stage for stage in plan if stage.tests]


def operator_files(path: Path) -> list[Path]:
    """List the files of operators that a file is, or, for a kernel, by which it is used; none for autograd."""
    if path.parent.name == "ops":
        return [path]
    using = [file for file in path.parent.glob("*.py") if file != path and uses(file, path)]
    found = {*using, path} if path.parent.name == "kernels" else set()
    return [file for file in sorted(Path("minigrad/ops").glob("*.py")) if any(uses(file, kernel) for kernel in found)]


def uses(file: Path, module: Path) -> bool:
    """Whether a file imports a module of minigrad/kernels."""
    within = rf"from minigrad.kernels import .*\b{module.stem}\b|from minigrad.kernels.{module.stem} import"
    return re.search(within, text(file)) is not None


def text(path: Path) -> str:
    """Return the source."""
    return path.read_text(encoding="utf-8")


def judge(mutant: Mutant, killers: Sequence[str], seconds: int) -> tuple[str, str, float]:
    """Run the stages on a mutant in this copy; return the verdict, the test that failed, and the processor seconds."""
    path = Path("minigrad", mutant.file)
    source, plan = path.read_bytes(), stages(mutant, killers)
    with trials.changed(path, source[: mutant.start] + mutant.text.encode() + source[mutant.end :]):
        verdict, by = trials.first_failure(plan, seconds)
    return verdict, by, seconds_of_children()


def seconds_of_children() -> float:
    """Return the processor seconds of the children of this process that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return round(used.ru_utime + used.ru_stime, 1)


class Killers:
    """The tests that are likeliest to kill a mutant: the one of before, and those that killed most of its file."""

    def __init__(self, rows: Iterable[dict[str, str]]) -> None:
        self.before = {row["name"]: row["by"] for row in rows if "::" in row["by"]}
        self.counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)

    def add(self, file: str, test: str) -> None:
        """Count a test that failed; files that cannot be imported, and processes that died, name no test."""
        if "::" in test:
            self.counts[file][test] += 1

    def of(self, mutant: Mutant) -> list[str]:
        """Name them."""
        before = [self.before[mutant.name]] if mutant.name in self.before else []
        return before + [test for test, _ in self.counts[mutant.file].most_common(FAVOURITES) if test not in before]


# Results -------------------------------------------------------------------------------------


def digest() -> str:
    """Return a hash of the changed folders and of what they import: verdicts hold for that code alone.

    Comments are not part of it: to say that a mutant is equivalent does not make a new program.
    """
    patterns = ["typing.py", "arguments.py", "checked.py", "device.py", "autograd/*.py", "kernels/*.py", "ops/*.py"]
    files = [path for pattern in patterns for path in sorted((ROOT / "minigrad").glob(pattern))]
    programs = [ast.dump(ast.parse(path.read_bytes())) for path in files]
    return hashlib.sha256("".join(programs).encode()).hexdigest()[:16]


def written(path: Path) -> list[dict[str, str]]:
    """Return the rows of earlier runs."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]  # a run that was killed may leave half a line


def known(rows: list[dict[str, str]]) -> dict[str, dict[str, str]]:
    """Return the rows of an earlier run on the same code by the names of the mutants, without those that survived."""
    code = digest()
    return {row["name"]: row for row in rows if row["code"] == code and row["verdict"] != "survived"}


def table(results: list[tuple[Mutant, str]]) -> str:
    """Write the count of each verdict for each file."""
    heads = ["mutants", "killed", "timed out", "equivalent", "survived"]
    lines = [f"{'file':<22}" + "".join(f"{head:>12}" for head in heads) + f"{'kill rate':>12}"]
    for file in [*dict.fromkeys(mutant.file for mutant, _ in results), "all"]:
        count = collections.Counter(verdict for mutant, verdict in results if file in (mutant.file, "all"))
        killed, total = count["killed"] + count["timed out"], count.total()
        rate = killed / max(total - count["equivalent"], 1)
        figures = [total, *(count[head] for head in heads[1:])]
        lines.append(f"{file:<22}" + "".join(f"{n:>12}" for n in figures) + f"{rate:>12.1%}")
    return "\n".join(lines)


def check_sound(project: Path, args: argparse.Namespace) -> None:
    """Run all stages on the unchanged code, where they must pass in time: one job for each folder of tests."""
    began, taken = time.time(), dict[str, float]()
    folders = sorted([*QUICK, *REST], key=lambda folder: folder != "tests/ops")  # the longest first

    def attempt(folder: str) -> tuple[str, str, float]:
        return *trials.trial(Stage([folder]), args.timeout), seconds_of_children()

    for folder, (verdict, by, seconds) in trials.side_by_side(attempt, folders, project, args.jobs):
        taken[folder] = seconds
        if verdict != "survived":
            raise SystemExit(f"the suite does not pass on the unchanged code: {folder}: {by or verdict}")
    longest = max(sum(taken[folder] for folder in stage) for stage in (QUICK, REST))
    if longest > args.timeout:  # each mutant that no test sees would be called timed out
        raise SystemExit(f"a stage takes {longest:.0f} s of the processor: give it more than that with --timeout")
    print(f"the suite passes on the unchanged code, in {time.time() - began:.0f} s", flush=True)


def run(mutants: list[Mutant], args: argparse.Namespace) -> Iterator[tuple[Mutant, str, str]]:
    """Yield each mutant with its verdict and the test that killed it, and write them to the file of results."""
    rows = written(args.results)
    done, killers, code = known(rows), Killers(rows), digest()
    for mutant in mutants:
        if mutant.name in done:
            killers.add(mutant.file, done[mutant.name]["by"])
            yield mutant, done[mutant.name]["verdict"], done[mutant.name]["by"]
    waiting = [mutant for mutant in mutants if mutant.name not in done]
    print(f"{len(waiting)} to run, {args.jobs} at a time; {len(mutants) - len(waiting)} are in {args.results}")
    trials.warm_up()
    with trials.copied() as project, args.results.open("a", encoding="utf-8") as results:
        if not args.unchecked:
            check_sound(project, args)
        began = time.time()
        jobs = ((mutant, killers.of(mutant)) for mutant in waiting)
        verdicts = trials.side_by_side(lambda job: judge(*job, args.timeout), jobs, project, args.jobs)
        for count, ((mutant, _), (verdict, by, seconds)) in enumerate(verdicts, 1):
            killers.add(mutant.file, by)
            row = {"name": mutant.name, "line": mutant.line, "verdict": verdict, "by": by, "processor": seconds}
            print(json.dumps(row | {"code": code}, ensure_ascii=False), file=results, flush=True)
            yield mutant, verdict, by
            if count % 50 == 0:
                left = (time.time() - began) / count * (len(waiting) - count)
                print(f"{count} of {len(waiting)}; about {left / 60:.0f} minutes left", flush=True)


def main() -> None:
    """Make the mutants, run them, and print their verdicts."""
    parser = argparse.ArgumentParser(description="Mutation testing: does a test notice each small change of the code?")
    parser.add_argument("--files", nargs="+", default=FILES, choices=FILES, metavar="FILE", help="within minigrad/")
    parser.add_argument("--limit", type=int, help="run a random sample of so many")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--only", nargs="+", help="those whose name contains one of these texts, equivalent ones, too")
    parser.add_argument("--equivalents", action="store_true", help="run what is said to be equivalent, too")
    parser.add_argument("--list", action="store_true", help="list the mutants and stop")
    parser.add_argument("--results", default="runs/mutation.jsonl", help="the file of verdicts")
    parser.add_argument("--unchecked", action="store_true", help="do not run the suite on the unchanged code first")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="how many run at a time")
    parser.add_argument("--timeout", type=int, default=300, help="processor seconds for one stage")
    args = parser.parse_args()
    args.results = Path(args.results).resolve()  # the run works in another folder
    args.results.parent.mkdir(parents=True, exist_ok=True)
    mutants = [mutant for file in args.files for mutant in mutants_of(file)]
    without = [f"equivalent.toml: no such mutant: {name}" for name in stale(mutants)]
    if args.only:
        mutants = [mutant for mutant in mutants if any(text in mutant.name for text in args.only)]
    if args.limit is not None and args.limit < len(mutants):
        mutants = random.Random(args.seed).sample(mutants, args.limit)
    if args.list:
        print(*(f"{mutant.file}:{mutant.line}: {mutant.name}" for mutant in mutants), sep="\n")
        return
    skipped = [] if args.equivalents or args.only else [mutant for mutant in mutants if mutant.equivalent]
    print(f"{len(mutants)} mutants, {len(skipped)} said to be equivalent")
    began, results = time.time(), [(mutant, "equivalent") for mutant in skipped]
    for mutant, verdict, by in run([mutant for mutant in mutants if mutant not in skipped], args):
        verdict = "equivalent" if verdict == "survived" and mutant.equivalent else verdict
        results.append((mutant, verdict))
        if args.only or verdict == "survived" or mutant.equivalent:
            print(f"{verdict.upper():<10} minigrad/{mutant.name} (line {mutant.line}) {by}", flush=True)
    if without:
        print(*without, sep="\n")
    print(table(sorted(results, key=lambda result: FILES.index(result[0].file))))
    print(f"{time.time() - began:.0f} s")


if __name__ == "__main__":
    main()
