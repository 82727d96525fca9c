"""Plant a fault in the code and see whether the suite notices: ``python -m tests.tools.plant faults.toml``.

Mutants (:mod:`tests.tools.mutation`) are small and mechanical. A *fault* is a mistake that a person makes: right for
one block and wrong from the third on, right in float64 and wrong in float32, right the first time and wrong the second.
You think it up with the suite in view, plant it, and learn whether a test sees it. A fault is written like this::

    [[fault]]
    class = "many blocks"
    about = "conv2d: the bias is missing from the fifth block on"
    file = "minigrad/kernels/conv.py"
    old = "        if bias is not None:"
    new = "        if bias is not None and i < 4:"
    witness = '''
    x, w, b = np.ones((64, 32, 32, 4)), np.zeros((3, 3, 4, 8)), np.ones(8)
    assert (mg.conv2d(x, w, b) == 1).all()
    '''

file
    Under minigrad/, models/ or tests/.
old, new
    `old` becomes `new`. `old` must occur once in the file; if it occurs more often, ``at = 2`` takes the second place.
witness
    Python code that shows a wrong result; `np`, `mg` (minigrad) and `models` are imported. On the sound code it must
    pass. On the faulty code it must raise an exception (an assertion), or print something else. Without that the
    change is no fault, and it is refused: a program that cannot be seen to be wrong says nothing about the suite.
tests (optional)
    A list of test files, or single tests, to run first.

A fault can also be given on the command line::

    python -m tests.tools.plant --file minigrad/ops/elementwise.py --old "g, b: g * b," --new "g, b: g / b,"
        --witness "x = mg.Tensor([2.0], requires_grad=True); (x * 3).sum().backward(); assert x.grad.data == 3"

The tool works in copies of the project and never writes into yours. On each faulty copy it runs, until a test fails:
the `tests` of the fault; the generic tests of the operators that the fault or its witness names; the tests of the file;
those of its folder; the rest of the quick suite; and with ``--slow`` the slow tests. The test that failed is then run
on the sound code, where it must pass. The result is a table: class, fault, seconds, and the test that caught it or
SURVIVED. The exit status is 0 if every fault was caught. With ``--caught FILE`` the tests that caught faults are stored
in a file, and the next run with this option tries each of them first: then a fault takes seconds.

A round of 50 faults takes hours in this way, because each one that survives has seen the whole suite. With
``--together`` the faults are planted all at once, and the quick suite runs once, to its end. Then each fault is planted
alone, and only the tests that failed are run. That takes minutes. (Two faults can make up for one another, so that a
test passes which each alone would fail: run those that survive once more without this option if that matters.)

    python -m tests.tools.plant tests/tools/faults.toml tests/tools/blind.toml   those that are kept: all must be caught
    python -m tests.tools.plant faults.toml --check                 only the witnesses
    python -m tests.tools.plant faults.toml --only "bias" --slow    those whose class or description contains this text
"""

from __future__ import annotations

import argparse
import ast
import collections
import contextlib
import importlib
import json
import os
import re
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from tests.tools import trials
from tests.tools.trials import ROOT, Stage

FOLDERS = ("minigrad", "models", "demos", "tests")

#: The order in which the folders of the quick suite are run after those that belong to the file.
ORDER = ["autograd", "ops", "kernels", "checks", "nn", "optim", "train", "data", "models", "inspect", "device", "tools"]

#: Tests that see that a file was changed, but not that it is wrong: they catch nothing.
NO_WITNESSES = [f"--ignore={path}" for path in ("tests/tools/test_plant.py", "tests/test_house.py")]


@dataclass(frozen=True)
class Fault:
    """A fault as it was written: see the head of this file."""

    file: str
    old: str
    new: str
    witness: str
    about: str = ""
    class_: str = ""
    at: int | None = None
    tests: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What the tables call it."""
        return self.about or f"{self.file}: {' '.join(self.new.split())[:60]}"

    def planted(self, source: str) -> tuple[str, int]:
        """Return the faulty source, and where the change begins; raise ValueError if it cannot be made."""
        count = source.count(self.old) if self.old else 0
        if count == 0 or self.old == self.new:
            raise ValueError(f"{self.name}: {self.file} does not contain the old text, or the new text is the same")
        if count > 1 and self.at is None:
            raise ValueError(f"{self.name}: the old text occurs {count} times in {self.file}; say at = 1, ...")
        if not 1 <= (at := self.at or 1) <= count:
            raise ValueError(f"{self.name}: at = {at}, but the old text occurs {count} times in {self.file}")
        place = -1
        for _ in range(at):
            place = source.index(self.old, place + 1)
        return source[:place] + self.new + source[place + len(self.old) :], place


def read(path: str) -> list[Fault]:
    """Read the faults of a TOML file."""
    return [fault_of(entry, path) for entry in tomllib.loads(Path(path).read_text(encoding="utf-8"))["fault"]]


def fault_of(entry: dict[str, Any], where: str) -> Fault:
    """Make a fault of a table; refuse one that lacks something or says too much."""
    known = {"class_": entry["class"]} if "class" in entry else {}
    given = known | {key: value for key, value in entry.items() if key != "class"}
    name = f"{where}: {entry.get('about', entry)}"
    if lacking := [key for key in ("file", "old", "new", "witness") if key not in given]:
        raise ValueError(f"{name}: a fault needs {', '.join(lacking)}")
    if unknown := given.keys() - Fault.__dataclass_fields__.keys():
        raise ValueError(f"{name}: unknown: {', '.join(sorted(unknown))}")
    if Path(given["file"]).parts[0] not in FOLDERS or not (ROOT / given["file"]).is_file():
        raise ValueError(f"{name}: expected a file under {', '.join(FOLDERS)}, got {given['file']}")
    return Fault(**given)


# What is run ---------------------------------------------------------------------------------


def function_at(source: str, place: int) -> str:
    """Return the name of the function at the top of a file in which a character stands, or of the rule's operator."""
    line = source.count("\n", 0, place) + 1
    for node in ast.parse(source).body:
        if node.lineno <= line <= (node.end_lineno or 0):
            text = getattr(node, "name", None) or ast.unparse(node).partition(".")[0]
            return str(text).strip("_")
    return ""


def stages(fault: Fault, slow: bool = False) -> list[Stage]:
    """List what is run on a fault, from the tests that are most likely to notice it."""
    path = Path(fault.file)
    source = path.read_text(encoding="utf-8")
    names = {function_at(source, fault.planted(source)[1]), *re.findall(r"\b[a-z]\w+", fault.witness)}
    operators = sorted(names & set(public_operators()))
    plan = [Stage(fault.tests), Stage(trials.generic() if operators else [], operators)]
    if path.parts[0] == "tests":
        folder = Path("tests/ops") if path.parts[1] == "records" else path.parent
    else:
        plan.append(Stage(trials.mirrored(path)))
        folder = Path("tests", *path.parts[path.parts[0] == "minigrad" : -1])
    own = [str(folder)] if folder.is_dir() and folder != Path("tests") else []
    rest = sorted(Path("tests").glob("*"), key=lambda x: (ORDER.index(x.name) if x.name in ORDER else len(ORDER), x))
    plan += [Stage(own), Stage([str(x) for x in rest if (x.is_dir() or x.stem[:5] == "test_") and str(x) not in own])]
    if slow:
        plan.append(Stage(["tests"], options=["-m", "slow"]))
    return [stage._replace(options=[*stage.options, *NO_WITNESSES]) for stage in plan if stage.tests]


def groups(faults: list[Fault]) -> list[list[Fault]]:
    """Put each fault into the first group with which it can be planted: two may change the same text."""
    found: list[tuple[list[Fault], dict[str, str]]] = []
    for fault in faults:
        for members, sources in [*found, ([], {})]:
            source = sources.get(fault.file) or Path(fault.file).read_text(encoding="utf-8")
            with contextlib.suppress(ValueError):
                sources[fault.file], _ = fault.planted(source)
                members.append(fault)
                if len(members) == 1:
                    found.append((members, sources))
                break
    return [members for members, _ in found]


def failing_together(faults: list[Fault], jobs: int, slow: bool, seconds: int) -> list[str]:
    """Plant faults in this copy, all at once: return the tests that fail, and do not fail on the sound code."""
    with contextlib.ExitStack() as planted:
        for fault in faults:
            code, _ = fault.planted(Path(fault.file).read_text(encoding="utf-8"))
            planted.enter_context(trials.changed(Path(fault.file), code.encode()))
        failed = failures(["tests"], jobs, slow, seconds)
    broken = failures(failed, jobs, slow, seconds) if failed else []
    return [test for test in failed if test not in broken]


def failures(tests: list[str], jobs: int, slow: bool, seconds: int) -> list[str]:
    """Run tests on several processes, to the end, and return those that fail."""
    command = [sys.executable, "-m", "pytest", "-q", "--tb=no", "-p", "no:cacheprovider", f"-n{jobs}", *NO_WITNESSES]
    command += [*["-m", "slow or not slow"][: 2 * slow], *tests]
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_DISABLE_PLUGIN_AUTOLOAD"}
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, timeout=10 * seconds)
    except subprocess.TimeoutExpired:
        raise SystemExit(f"the suite took longer than {10 * seconds} s: give it more with --timeout") from None
    return list(dict.fromkeys(re.findall(r"^(?:FAILED|ERROR) ([^\s\[]+)", done.stdout, re.MULTILINE)))


def public_operators() -> list[str]:
    """Name the operators that have records, without importing the code, which may be faulty."""
    texts = [path.read_text(encoding="utf-8") for path in Path("tests/records").glob("*.py")]
    return re.findall(r'^    "(\w+)": OperatorRecord\(', "\n".join(texts), re.MULTILINE)


def show(witness: str) -> int:
    """Run a witness: an exception is a failure."""
    names = {"np": "numpy", "mg": "minigrad", "models": "models"}
    exec(compile(witness, "witness", "exec"), {name: importlib.import_module(module) for name, module in names.items()})
    return 0


def judge(fault: Fault, sound: str, planned: list[Stage], check: bool, seconds: int) -> tuple[str, str]:
    """Plant a fault in this copy; return the verdict, and the test that caught it or the reason of the refusal."""
    path = Path(fault.file)
    code, _ = fault.planted(path.read_text(encoding="utf-8"))
    with trials.changed(path, code.encode()):
        status, printed = trials.in_fork(partial(show, fault.witness), 60)
        if status == 0 and printed == sound:
            return "refused", "the witness shows no difference: on the faulty code it passes, too"
        if check:
            return "shown", printed.rpartition("\n")[2]
        verdict, by = trials.first_failure(planned, seconds)
    if verdict == "killed" and trials.trial(Stage([by]), seconds)[0] != "survived":
        return "unclear", f"{by} fails on the sound code, too"
    return {"killed": "caught", "survived": "SURVIVED"}.get(verdict, verdict), by


def run(
    faults: list[Fault], *, jobs: int, slow: bool, check: bool, together: bool, seconds: int
) -> list[dict[str, Any]]:
    """Plant each fault in a copy of the project; return a row for each, in their order."""
    rows: dict[int, dict[str, Any]] = {}
    trials.warm_up()
    with trials.copied() as project:
        sound = {}
        for i, fault in enumerate(faults):
            status, sound[i] = trials.in_fork(partial(show, fault.witness), 60)
            if status != 0:
                error = sound[i].rpartition("\n")[2]
                rows[i] = {"verdict": "refused", "by": f"the witness fails on the sound code: {error}"}

        failing: list[str] = []
        for group in groups([faults[i] for i in sound if i not in rows]) if together and not check else []:
            failing += failing_together(group, jobs, slow, seconds)

        def do(i: int) -> tuple[str, str, float]:
            began = time.time()
            alone = [Stage(failing, options=NO_WITNESSES)] if failing else []
            planned = alone if together else stages(faults[i], slow)
            return *judge(faults[i], sound[i], planned, check, seconds), time.time() - began

        for i, (verdict, by, taken) in trials.side_by_side(do, [i for i in sound if i not in rows], project, jobs):
            rows[i] = {"verdict": verdict, "by": by, "seconds": round(taken, 1)}
            print(f"{verdict:<9} {taken:>4.0f} s  {faults[i].name}  [{by}]", flush=True)
    return [{"class": faults[i].class_, "fault": faults[i].name, **rows[i]} for i in range(len(faults))]


# The report ----------------------------------------------------------------------------------


def table(rows: list[dict[str, Any]]) -> str:
    """Write the rows by class, and the counts."""
    lines = []
    for row in sorted(rows, key=lambda row: row["class"]):
        by = row["by"] if row["verdict"] == "caught" else f"{row['verdict']} {row['by']}".strip()
        lines.append(f"{row['class']:<18.18} {row['fault']:<70.70} {row.get('seconds', 0):>5.0f} s  {by}")
    count = collections.Counter(row["verdict"] for row in rows)
    lines.append(f"{len(rows)} faults: " + ", ".join(f"{n} {verdict}" for verdict, n in count.most_common()))
    return "\n".join(lines)


def main() -> int:
    """Read the faults, plant them, and print the table."""
    parser = argparse.ArgumentParser(description="Plant faults: does a test notice each of them?")
    parser.add_argument("faults", nargs="*", help="TOML files; the head of tests/tools/plant.py shows one")
    for name, text in [("file", "that is changed"), ("old", "text"), ("new", "text"), ("witness", "Python code")]:
        parser.add_argument(f"--{name}", help=f"{text}, of a single fault")
    parser.add_argument("--at", type=int, help="which occurrence of the old text")
    parser.add_argument("--only", help="faults whose class or description contains this text")
    parser.add_argument("--check", action="store_true", help="check the witnesses and stop")
    parser.add_argument(
        "--together", action="store_true", help="find the tests that fail with all faults planted at once"
    )
    parser.add_argument("--slow", action="store_true", help="run the slow tests, too")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="how many run at a time")
    parser.add_argument("--timeout", type=int, default=300, help="processor seconds for one stage")
    parser.add_argument("--caught", type=Path, help="the file of the tests that caught faults: read, and written")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    args = parser.parse_args()
    faults = [fault for path in args.faults for fault in read(path)]
    if args.file:
        entry = {key: getattr(args, key) for key in ("file", "old", "new", "witness", "at")}
        faults.append(fault_of({key: value for key, value in entry.items() if value is not None}, "command line"))
    faults = [fault for fault in faults if not args.only or args.only in f"{fault.class_} {fault.name}"]
    for fault in faults:
        fault.planted((ROOT / fault.file).read_text(encoding="utf-8"))  # refuses what cannot be planted
    caught = json.loads(args.caught.read_text(encoding="utf-8")) if args.caught and args.caught.exists() else {}
    faults = [replace(fault, tests=[*fault.tests, *caught.get(fault.name, [])]) for fault in faults]
    settings = {"slow": args.slow, "check": args.check, "together": args.together}
    rows = run(faults, jobs=args.jobs, seconds=args.timeout, **settings)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1, ensure_ascii=False), encoding="utf-8")
    if args.caught and not args.check:
        caught |= {row["fault"]: [row["by"]] for row in rows if row["verdict"] == "caught"}
        args.caught.write_text(json.dumps(caught, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(table(rows))
    return int(any(row["verdict"] not in ("caught", "timed out", "shown") for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
