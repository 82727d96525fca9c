"""Is the suite any good? Change the code a little, and see whether a test fails: ``python -m tests.tools.mutation``.

A *mutant* is the source with one small change: a sign, a comparison, a constant, a dropped term, a statement left out.
Each is a mistake that could be made while typing. The suite runs on it, in a copy of the project: if a
test fails, the mutant is *killed*; if it *timed out*, it counts as killed, since the suite would have hung. A mutant
that *survived* is one of two things:

- a hole in the suite: this line could be wrong and nobody would know. Write the test, where the tests of this file are;
- *equivalent*: the changed program does the same, perhaps a little slower. Say so beside the line, or on a line of its
  own above it, with the changed code in brackets, and why::

      return namespace(a, b).maximum(a, b)  # equivalent [maximum(b, a)]: the larger of a and b is that of b and a

  The text in brackets is the new code, or its end. Such mutants are not run, except with ``--equivalents``.

Read the result from its end: a table with one row for each file. Only *survived* mutants need work; they are listed
above the table. The kill rate is killed / (mutants - equivalent). The rules of the changes are in `changes`. The tool
does not change error messages (it changes the conditions that lead to them), assertions (``assert``, and ``strict`` of
zip, which can only refuse), docstrings, annotations, decorators and imports.

A mutant is named by its file, its function, the code before and after, and a number where that comes twice: the name
stays when lines move. It runs through stages, from the tests that are most likely to notice to all that are fast, and
stops at the first failure. Modules that are slow to import are imported once: each stage is a fork of that process.

    python -m tests.tools.mutation --files ops/conv.py     only this file; several may be given
    python -m tests.tools.mutation --limit 100 --seed 1    a random sample
    python -m tests.tools.mutation --list                  the mutants, without running them
    python -m tests.tools.mutation --only "getitem"        those whose name contains this text, with their killers
"""

from __future__ import annotations

import argparse
import ast
import collections
import contextlib
import importlib
import json
import multiprocessing
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FILES = [
    str(path.relative_to(ROOT / "minigrad"))
    for folder in ("autograd", "ops", "kernels")
    for path in sorted((ROOT / "minigrad" / folder).glob("*.py"))
    if path.name != "__init__.py"
]

#: Modules that are imported once for all mutants, where they are installed.
PRELOADED = ["pytest", "numpy.testing", "scipy.special", "scipy.signal", "threadpoolctl", "hypothesis", "torch", "tqdm"]
#: The signals that end a trial that takes too long, in processor time or in wall-clock time.
TIME_OUT = (signal.SIGPROF, signal.SIGALRM)

#: The last stages: folders of tests.
QUICK = ["tests/autograd", "tests/ops", "tests/kernels"]
REST = ["tests/checks", "tests/device", "tests/nn", "tests/optim", "tests/train", "tests/models", "tests/inspect"]

#: A comment that marks equivalent mutants of its line: the new code in brackets, and the reason.
EQUIVALENT = re.compile(r"# equivalent ((?:\[[^\]]*(?:\[[^\]]*\][^\]]*)*\] ?)+): (\S.*)")

ARITHMETIC = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult}
ARITHMETIC |= {ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd}
COMPARISON = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}
COMPARISON |= {ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In}
#: Functions whose last two arguments are exchanged.
EXCHANGED = {"matmul", "_matmul", "where", "_where", "subtract", "copyto", "add", "maximum", "minimum"}


@dataclass(frozen=True)
class Mutant:
    """One change: bytes `start` to `end` of a file become `text`."""

    name: str
    file: str
    where: str
    line: int
    start: int
    end: int
    text: str
    equivalent: str = ""  # why it is, if it is


# Making mutants ------------------------------------------------------------------------------


def changes(node: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
    """Yield (what is replaced, by what) for a node of the syntax tree."""
    match node:
        case ast.BinOp(left, op, right):
            if type(op) in ARITHMETIC:
                yield node, ast.BinOp(left, ARITHMETIC[type(op)](), right)
                yield node, left  # a term or factor dropped
            elif isinstance(op, ast.MatMult):
                yield node, ast.BinOp(right, op, left)
        case ast.AugAssign(target, op, value):
            yield node, ast.AugAssign(target, ARITHMETIC[type(op)](), value)
            yield node, ast.Pass()
        case ast.Compare(left, [op, *ops], values):
            yield node, ast.Compare(left, [COMPARISON[type(op)](), *ops], values)
            if ops:
                yield node, ast.Compare(left, [op, COMPARISON[type(ops[0])]()], values)
        case ast.BoolOp(op, values):
            yield node, ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
            for i in range(len(values)):
                rest = values[:i] + values[i + 1 :]
                yield node, ast.BoolOp(op, rest) if len(rest) > 1 else rest[0]
        case ast.UnaryOp(_, operand):
            yield node, operand
        case ast.Constant(bool() as value):
            yield node, ast.Constant(not value)
        case ast.Constant(int() | float() as value):
            yield node, ast.Constant(type(value)(0) if value == 1 else value + 1)
        case ast.Slice(lower, upper, ast.expr()):
            yield node, ast.Slice(lower, upper)
        case ast.Call(function, [*first, a, b], keywords) if ast.unparse(function).split(".")[-1] in EXCHANGED:
            if not any(isinstance(x, ast.Starred) for x in (a, b)):
                yield node, ast.Call(function, [*first, b, a], keywords)
        case ast.Expr(ast.Call()) | ast.Continue() | ast.Break():
            yield node, ast.Pass()
        case ast.Assign(targets) if not any(isinstance(x, ast.Name) for t in targets for x in _parts(t)):
            yield node, ast.Pass()
        case ast.If(test) | ast.IfExp(test):
            yield test, ast.Constant(True)
            yield test, ast.Constant(False)
        case ast.While(test):
            yield test, ast.Constant(False)
        case ast.comprehension(ifs=tests):
            yield from ((test, ast.Constant(True)) for test in tests)
        case ast.withitem(expression):
            yield expression, ast.parse("__import__('contextlib').nullcontext()", mode="eval").body


def _parts(target: ast.expr) -> list[ast.expr]:
    return target.elts if isinstance(target, ast.Tuple) else [target]


def walk(node: ast.AST, where: str = "") -> Iterator[tuple[str, ast.AST, ast.AST]]:
    """Yield (function, what is replaced, by what) for everything below a node that may be changed."""
    if isinstance(node, ast.Raise | ast.Assert | ast.JoinedStr | ast.Import | ast.ImportFrom):
        return
    if isinstance(node, ast.keyword) and node.arg == "strict":
        return
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        rule = node.decorator_list and (node.name == "_" or node.name.endswith("_definition"))
        where = ast.unparse(node.decorator_list[0]) if rule else f"{where}.{node.name}".strip(".")
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and not where:
        where = ast.unparse(node.value.func)  # a rule at the top of a file: mul.vjp(...)
    else:
        yield from ((where, before, after) for before, after in changes(node))
    for name, value in ast.iter_fields(node):
        if name not in ("annotation", "returns", "decorator_list"):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from walk(child, where)


def mutants_of(file: str) -> list[Mutant]:
    """List the mutants of a file, in the order of its lines."""
    source = (ROOT / "minigrad" / file).read_bytes()
    lines = [0]
    for line in source.splitlines(keepends=True):
        lines.append(lines[-1] + len(line))
    count: collections.Counter[str] = collections.Counter()
    marks = marked(source.decode())
    found = []
    for where, before, after in walk(ast.parse(source)):
        name = f"{file} {where or 'top'}: {_short(before)} -> {_short(after)}"
        count[name] += 1
        if count[name] > 1:
            name += f" #{count[name]}"
        node: Any = before
        bare = isinstance(after, ast.stmt | ast.Slice)
        new = ast.unparse(after)
        text = new if bare else f"({new})"
        start, end = lines[node.lineno - 1] + node.col_offset, lines[node.end_lineno - 1] + node.end_col_offset
        reason = next((why for end_of_new, why in marks.get(node.lineno, []) if new.endswith(end_of_new)), "")
        found.append(Mutant(name, file, where, node.lineno, start, end, text, reason))
    return sorted(found, key=lambda mutant: mutant.start)


def marked(source: str) -> dict[int, list[tuple[str, str]]]:
    """Return, by line, the ends of the new code that comments call equivalent, and their reasons."""
    marks: dict[int, list[tuple[str, str]]] = {}
    for number, line in enumerate(source.splitlines(), 1):
        if found := EQUIVALENT.search(line):
            number += line.lstrip().startswith("#")  # a comment on a line of its own is about the next
            marks[number] = [(text, found[2]) for text in re.split(r"\] \[", found[1].strip()[1:-1])]
    return marks


def stale(mutants: list[Mutant], file: str) -> list[str]:
    """List the "equivalent" comments of a file that match no mutant of their line."""
    new = {(mutant.line, mutant.text.strip("()")) for mutant in mutants}
    return [
        f"minigrad/{file}:{line}: no mutant of this line is [{text}]"
        for line, marks in marked((ROOT / "minigrad" / file).read_text()).items()
        for text, _ in marks
        if not any(line == at and code.endswith(text.strip("()")) for at, code in new)
    ]


def _short(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 36 else f"{text[:17]}…{text[-17:]}"


# Running the suite on one --------------------------------------------------------------------


def stages(mutant: Mutant) -> list[tuple[list[str], list[str]]]:
    """List (test files or folders, operators whose records are run, or none for all) from the most likely to notice."""
    folder, stem = Path(mutant.file).parent, Path(mutant.file).stem
    own = re.sub(r"\W.*", "", mutant.where.lstrip("_"))
    names = re.findall(r"^def ([a-z]\w+)", Path("minigrad", mutant.file).read_text(), re.MULTILINE)
    every = ["tests/ops/test_every_operator.py"]
    first: list[tuple[list[str], list[str]]] = [(every, [own])] * (own in names) + [(every, names)] * bool(names)
    if mirrored := sorted(map(str, Path("tests", folder).glob(f"test_{stem}*.py"))):
        first.append((mirrored, []))
    return [*first, (QUICK, []), (REST, [])]


def trial(tests: list[str], operators: list[str], seconds: int) -> tuple[str, str]:
    """Run test files in a fork of this process; return the verdict and the test that failed."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.setitimer(signal.ITIMER_PROF, seconds)  # of the processor: the machine may have other work
            signal.alarm(5 * seconds)  # threads that wait for one another use none; both end the process
            resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30))
            output = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            chosen = []
            if operators:
                records = importlib.import_module("tests.records").RECORDS
                for name in set(records) - set(operators):
                    del records[name]
                chosen = ["-k", " or ".join(records) or "nothing"]
            pytest = importlib.import_module("pytest")
            code = pytest.main(["-x", "-q", "--tb=no", "-p", "no:cacheprovider", *chosen, *tests])
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return ("timed out", "") if os.WTERMSIG(status) in TIME_OUT else ("killed", "the process died")
    if os.WEXITSTATUS(status) in (0, 5):  # 5: no tests were chosen
        return "survived", ""
    log = Path("log").read_text(errors="replace")
    failed = re.findall(r"^(?:FAILED|ERROR) (\S.*?)(?: - .*)?$", log, re.MULTILINE)
    return "killed", failed[0] if failed else log.strip().rpartition("\n")[2]


def settle(project: Path) -> None:
    """Give this worker a copy of the project of its own."""
    move_to(Path(shutil.copytree(project, tempfile.mkdtemp(dir=project.parent), dirs_exist_ok=True)))
    sys.dont_write_bytecode = True  # each mutant would leave some; bytecode of unchanged files was copied
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"


def move_to(copy: Path) -> None:
    """Work in a copy of the project, and import from there."""
    os.chdir(copy)
    sys.path[:] = [str(copy), *(path for path in sys.path if path and Path(path).resolve() != ROOT)]
    os.environ["PYTHONPATH"] = str(copy)
    for name in [name for name in sys.modules if name.split(".")[0] in ("tests", "minigrad", "models")]:
        del sys.modules[name]


def judge(job: tuple[Mutant, int]) -> tuple[Mutant, str, str, float]:
    """Run the stages on a mutant, until a test fails."""
    mutant, seconds = job
    began, path = time.time(), Path("minigrad", mutant.file)
    source, status = path.read_bytes(), path.stat()
    chosen = stages(mutant)
    verdict, by = "survived", ""
    try:
        if mutant.text:
            path.write_bytes(source[: mutant.start] + mutant.text.encode() + source[mutant.end :])
        for tests, operators in chosen:
            verdict, by = trial(tests, operators, seconds)
            if verdict != "survived":
                break
    finally:
        path.write_bytes(source)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # so that the copied bytecode is valid again
    return mutant, verdict, by, time.time() - began


# The report ----------------------------------------------------------------------------------


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


def main() -> None:
    """Make the mutants, run them, and print their verdicts."""
    parser = argparse.ArgumentParser(description="Mutation testing: does a test notice each small change of the code?")
    parser.add_argument("--files", nargs="+", default=FILES, choices=FILES, metavar="FILE", help="within minigrad/")
    parser.add_argument("--limit", type=int, help="run a random sample of so many")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--only", nargs="+", help="those whose name contains one of these texts, equivalent ones, too")
    parser.add_argument("--equivalents", action="store_true", help="run what is said to be equivalent, too")
    parser.add_argument("--list", action="store_true", help="list the mutants and stop")
    parser.add_argument("--json", help="write every verdict to this file")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="how many run at a time")
    parser.add_argument("--timeout", type=int, default=60, help="processor seconds for one stage")
    args = parser.parse_args()
    mutants = [mutant for file in args.files for mutant in mutants_of(file)]
    without = [line for file in args.files for line in stale([m for m in mutants if m.file == file], file)]
    if args.only:
        mutants = [mutant for mutant in mutants if any(text in mutant.name for text in args.only)]
    if args.limit is not None and args.limit < len(mutants):
        mutants = random.Random(args.seed).sample(mutants, args.limit)
    if args.list:
        print(*(f"{mutant.file}:{mutant.line}: {mutant.name}" for mutant in mutants), sep="\n")
        return
    for name in PRELOADED + [
        f"_pytest.{plugin}" for plugin in importlib.import_module("_pytest.config").default_plugins
    ]:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # they take time to load and have no part here
    began, results, rows = time.time(), [], []
    skipped = [] if args.equivalents or args.only else [m for m in mutants if m.equivalent]
    jobs = [(mutant, args.timeout) for mutant in mutants if mutant not in skipped]
    with tempfile.TemporaryDirectory(prefix="mutation-") as directory:
        project = Path(directory, "project")
        shutil.copytree(ROOT, project, ignore=shutil.ignore_patterns(".*", "__pycache__", "runs", "build", "dist"))
        move_to(project)
        print(f"{len(mutants)} mutants, {len(skipped)} said to be equivalent, {args.jobs} at a time")
        _, verdict, by, seconds = judge((Mutant("", args.files[0], "", 0, 0, 0, ""), 10 * args.timeout))
        if verdict != "survived":
            raise SystemExit(f"the suite does not pass on the unchanged code: {by or verdict}")
        print(f"the suite passes on the unchanged code, in {seconds:.0f} s", flush=True)
        with multiprocessing.get_context("fork").Pool(args.jobs, settle, (project,)) as pool:
            for mutant, verdict, by, seconds in pool.imap_unordered(judge, jobs):
                if verdict == "survived" and mutant.equivalent:
                    verdict = "equivalent"
                results.append((mutant, verdict))
                rows.append(
                    {"name": mutant.name, "line": mutant.line, "verdict": verdict, "by": by, "seconds": seconds}
                )
                if args.only or verdict == "survived" or mutant.equivalent:
                    print(f"{verdict.upper():<10} minigrad/{mutant.name} (line {mutant.line}) {by}", flush=True)
    results += [(mutant, "equivalent") for mutant in skipped]
    rows += [{"name": mutant.name, "line": mutant.line, "verdict": "equivalent"} for mutant in skipped]
    if args.json:
        Path(args.json).write_text(json.dumps(rows, indent=1, ensure_ascii=False))
    if without:
        print(*without, sep="\n")
    print(table(sorted(results, key=lambda result: FILES.index(result[0].file))))
    print(f"{time.time() - began:.0f} s")


if __name__ == "__main__":
    main()
