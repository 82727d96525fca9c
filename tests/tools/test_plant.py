"""The tool that plants faults: what it refuses, what it runs and in which order, and its verdicts on a tiny project."""

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.tools import plant, trials

FAULT = {"file": "minigrad/kernels/conv.py", "old": "part += bias", "new": "pass", "witness": "mg.conv2d"}


def test_a_fault_is_planted_at_the_only_place_or_at_the_one_that_is_named():
    fault = plant.Fault("f.py", old="a + b", new="a - b", witness="")
    assert fault.planted("x = a + b\n") == ("x = a - b\n", 4)
    second = plant.Fault("f.py", old="a + b", new="a - b", witness="", at=2)
    assert second.planted("x = a + b\ny = a + b\n") == ("x = a + b\ny = a - b\n", 14)


@pytest.mark.parametrize(
    ("changes", "source", "message"),
    [
        ({}, "y = 0", "does not contain the old text"),
        ({"new": "a + b"}, "a + b", "the new text is the same"),
        ({}, "a + b, a + b", "occurs 2 times in f.py; say at"),
        ({"at": 3}, "a + b, a + b", "at = 3, but the old text occurs 2 times"),
    ],
)
def test_a_fault_that_cannot_be_planted_is_refused(changes, source, message):
    fault = plant.Fault(**{"file": "f.py", "old": "a + b", "new": "a - b", "witness": ""} | changes)
    with pytest.raises(ValueError, match=message):
        fault.planted(source)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"witness": None}, "needs witness"),
        ({"claas": "misspelt"}, "unknown: claas"),
        ({"file": "pyproject.toml"}, "expected a file under minigrad, models, demos, tests"),
        ({"file": "minigrad/nothing.py"}, "expected a file under"),
    ],
)
def test_an_entry_that_lacks_something_is_refused(changes, message):
    entry = {key: value for key, value in (FAULT | changes).items() if value is not None}
    with pytest.raises(ValueError, match=message):
        plant.fault_of(entry, "faults.toml")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ["conv2d", "tests/kernels/test_conv.py", "tests/kernels"]),
        (
            {"witness": "", "tests": ["tests/nn/test_nn.py"]},
            ["tests/nn/test_nn.py", "tests/kernels/test_conv.py", "tests/kernels"],
        ),
        (
            {"file": "minigrad/ops/elementwise.py", "old": "g, b: g * b,", "witness": ""},
            ["mul", "tests/ops/test_elementwise.py", "tests/ops"],
        ),
        (
            {"file": "models/predict.py", "old": "def predict(", "witness": ""},
            ["tests/models/test_predict.py", "tests/models"],
        ),
        ({"file": "tests/records/record.py", "old": "class Absent", "witness": ""}, ["tests/ops"]),
        ({"file": "tests/conftest.py", "old": "derandomize", "witness": ""}, []),
    ],
    ids=["kernel", "tests first", "operator", "model", "record", "conftest"],
)
def test_stages_begin_where_the_fault_is_and_end_with_everything(changes, expected, monkeypatch):
    monkeypatch.chdir(trials.ROOT)
    *first, rest = plant.stages(plant.fault_of(FAULT | changes, "test"))
    assert [stage.operators[0] if stage.operators else stage.tests[0] for stage in first] == expected
    folders = {str(path) for path in Path("tests").iterdir() if [*path.glob("test_*.py")]}
    assert {*expected, *rest.tests} >= folders | {"tests/test_house.py"}
    assert not {*expected} & {*rest.tests}


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # is multi-threaded: the forks use no locks
def test_an_operator_is_told_by_its_whole_name():
    """With only sum in the records, a test of logsumexp would fail, and the fault would seem to be caught."""
    items = [SimpleNamespace(callspec=SimpleNamespace(params={"name": name})) for name in ("sum", "logsumexp", "exp")]
    items += [SimpleNamespace(callspec=SimpleNamespace(params={})), SimpleNamespace()]
    chosen = list(items)
    trials.OnlyOf(["sum", "exp"]).pytest_collection_modifyitems(chosen)
    assert chosen == [items[0], items[2]]


def test_a_fork_returns_its_status_and_what_it_printed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert trials.in_fork(lambda: print("one") or 3, 5) == (3, "one")
    status, printed = trials.in_fork(lambda: 1 // 0, 5)
    assert status == 1
    assert printed.endswith("ZeroDivisionError: integer division or modulo by zero")


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fork_ends_at_its_limit_of_the_processor_and_at_ten_times_that_on_the_wall(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if sys.platform == "linux":
        before = time.process_time()
        assert before <= trials.processor_seconds(os.getpid()) <= time.process_time()
    monkeypatch.setattr(trials, "processor_seconds", lambda process: 6.0)
    assert trials.in_fork(lambda: time.sleep(1) or 0, 5) == (None, "")
    monkeypatch.setattr(trials, "processor_seconds", lambda process: 0.0)
    assert trials.in_fork(lambda: time.sleep(1) or 0, 0.01) == (None, "")


def test_a_changed_file_never_has_the_second_of_the_bytecode_and_is_restored(tmp_path):
    path = tmp_path / "code.py"
    path.write_text("2 * x")
    before = path.stat()
    with trials.changed(path, b"2 + x"):
        assert path.read_text() == "2 + x"
        assert int(path.stat().st_mtime) != int(before.st_mtime)
    assert path.read_text() == "2 * x"
    assert path.stat().st_mtime_ns == before.st_mtime_ns


KEPT = [
    fault
    for name in ("faults", "blind", "weakest")
    for fault in plant.read(str(trials.ROOT / f"tests/tools/{name}.toml"))
]


@pytest.mark.parametrize("fault", KEPT, ids=lambda fault: fault.name)
def test_a_fault_that_is_kept_can_be_planted(fault):
    code, _ = fault.planted((trials.ROOT / fault.file).read_text(encoding="utf-8"))
    ast.parse(code)
    ast.parse(fault.witness)


def test_the_faults_that_are_kept_have_names_of_their_own_and_classes():
    assert len({fault.name for fault in KEPT}) == len(KEPT)
    assert all(fault.about and fault.class_ for fault in KEPT)


# The whole tool, on a project of two functions -----------------------------------------------

CODE = """
def double(x):
    return 2 * x

def triple(x):
    return 3 * x
"""
TESTS = """
import minigrad

def test_double():
    assert minigrad.double(2) == 4
"""
BROKEN = """
import minigrad

def test_that_always_fails():
    assert minigrad.triple(1) == 4
"""
FAULTS = """
[[fault]]
about = "seen by a test"
class = "a class"
file = "minigrad/__init__.py"
old = "2 * x"
new = "2 + x * x"
witness = "print(mg.double(3))"
tests = ["tests/test_it.py::test_double"]

[[fault]]
about = "seen by no test"
file = "minigrad/__init__.py"
old = "2 * x"
new = "2 + x"
witness = "assert mg.double(3) == 6"

[[fault]]
about = "seen by a broken test"
file = "minigrad/__init__.py"
old = "2 * x"
new = "2 + x"
witness = "assert mg.double(3) == 6"
tests = ["tests/broken.py"]

[[fault]]
about = "no fault"
file = "minigrad/__init__.py"
old = "2 * x"
new = "x * 2"
witness = "assert mg.double(3) == 6"

[[fault]]
about = "a witness that is wrong"
file = "minigrad/__init__.py"
old = "2 * x"
new = "x"
witness = "assert mg.double(3) == 7"
"""


def tiny(tmp_path, faults, *options):
    """Make the project, plant faults in it, and return what the tool printed, with its exit status, and the rows."""
    for name in ("minigrad/__init__.py", "models/__init__.py", "tests/__init__.py", "tests/tools/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(CODE if name.startswith("minigrad") else "")
    (tmp_path / "tests/records").mkdir()
    (tmp_path / "tests/test_it.py").write_text(TESTS)
    (tmp_path / "tests/broken.py").write_text(BROKEN)
    (tmp_path / "faults.toml").write_text(faults)
    for name in ("plant.py", "trials.py"):
        shutil.copy(Path(plant.__file__).parent / name, tmp_path / "tests/tools")
    code = "from tests.tools import trials, plant; trials.PRELOADED[:] = []; raise SystemExit(plant.main())"
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.py")}
    command = [sys.executable, "-c", code, "faults.toml", "--jobs", "2", "--json", "rows.json", *options]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={"PYTHONDONTWRITEBYTECODE": "1"})
    assert result.stderr == ""
    assert {path: path.read_bytes() for path in before} == before
    rows = json.loads((tmp_path / "rows.json").read_text())
    return result, {row["fault"]: (row["verdict"], row["by"]) for row in rows}


def test_verdicts_on_a_tiny_project(tmp_path):
    """A test that fails on the sound code, too, has caught nothing."""
    (tmp_path / "caught.json").write_text('{"seen by no test": ["tests/test_it.py::test_of_another_name"]}')
    result, rows = tiny(tmp_path, FAULTS, "--caught", "caught.json")
    assert result.returncode == 1
    assert rows.pop("seen by a test") == ("caught", "tests/test_it.py::test_double")
    assert rows.pop("seen by no test") == ("SURVIVED", "")
    broken = "tests/broken.py::test_that_always_fails fails on the sound code, too"
    assert rows.pop("seen by a broken test") == ("unclear", broken)
    assert rows == {
        "no fault": ("refused", "the witness shows no difference: on the faulty code it passes, too"),
        "a witness that is wrong": ("refused", "the witness fails on the sound code: AssertionError"),
    }
    known = json.loads((tmp_path / "caught.json").read_text())
    assert known.pop("seen by a test") == ["tests/test_it.py::test_double"]
    assert [*known] == ["seen by no test"]
    *_, caught, total = result.stdout.splitlines()
    assert caught.startswith("a class  ")
    assert caught.endswith(" s  tests/test_it.py::test_double")
    assert total == "5 faults: 2 refused, 1 caught, 1 SURVIVED, 1 unclear"


TOGETHER = """
[[fault]]
about = "seen by a test"
file = "minigrad/__init__.py"
old = "2 * x"
new = "2 + x * x"
witness = "print(mg.double(3))"

[[fault]]
about = "seen by no test"
file = "minigrad/__init__.py"
old = "3 * x"
new = "3 + x"
witness = "assert mg.triple(3) == 9"

[[fault]]
about = "in the same place as another, and seen by the same test"
file = "minigrad/__init__.py"
old = "return 2 * x"
new = "return 5 * x"
witness = "assert mg.double(3) == 6"

[[fault]]
about = "no fault"
file = "minigrad/__init__.py"
old = "3 * x"
new = "x * 3"
witness = "assert mg.triple(3) == 9"
"""


@pytest.mark.slow
def test_faults_that_are_planted_together_have_verdicts_of_their_own(tmp_path):
    """A test that fails on the sound code, too, tells nothing of them."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_broken.py").write_text(BROKEN)
    result, rows = tiny(tmp_path, TOGETHER, "--together")
    assert result.returncode == 1
    assert rows == {
        "seen by a test": ("caught", "tests/test_it.py::test_double"),
        "seen by no test": ("SURVIVED", ""),
        "in the same place as another, and seen by the same test": ("caught", "tests/test_it.py::test_double"),
        "no fault": ("refused", "the witness shows no difference: on the faulty code it passes, too"),
    }


def test_faults_that_change_the_same_text_are_not_planted_together(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("f.py").write_text("x = a + b + c\n")
    faults = [plant.Fault("f.py", old, old.replace("+", "-"), "") for old in ("a + b", "a +", "b + c", "+ c")]
    assert plant.groups(faults) == [[faults[0], faults[2]], [faults[1], faults[3]]]


def test_a_suite_that_takes_too_long_is_said_to(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"longer than 0 s: give it more with --timeout"):
        plant.failures(["test_a.py"], 1, False, 0)


@pytest.mark.slow
def test_one_test_without_an_end_does_not_use_up_the_time_of_its_stage(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trials, "PATIENCE", 1)
    before = signal.signal(signal.SIGALRM, lambda *_: 1 / 0)  # another test may have left such a handler
    Path("test_a.py").write_text("def test_a():\n    while True:\n        pass\n")
    Path("test_b.py").write_text("def test_b():\n    assert False\n")
    Path("test_c.py").write_text("import threading\n\n\ndef test_c():\n    threading.Event().wait()\n")
    Path("test_d.py").write_text("while True:\n    pass\n")
    for first in ("test_a.py", "test_c.py", "test_d.py"):  # without an end; waits; does not get as far as a test
        assert trials.trial(trials.Stage([first, "test_b.py"]), 300) == ("timed out", "")
    assert trials.trial(trials.Stage(["test_b.py"]), 300) == ("killed", "test_b.py::test_b")
    signal.signal(signal.SIGALRM, before)
