"""The mutation runner: what it changes, what it leaves alone, and how its mutants are named."""

import argparse
import ast
import json
from pathlib import Path

import pytest

from tests.tools import mutants as rules
from tests.tools import mutation


def changed(code, monkeypatch, tmp_path):
    """List the code of every mutant of a file."""
    path = tmp_path / "minigrad" / "code.py"
    path.parent.mkdir()
    path.write_text(code)
    monkeypatch.setattr(rules, "ROOT", tmp_path)
    source = path.read_bytes()
    return [(source[: m.start] + m.text.encode() + source[m.end :]).decode() for m in rules.mutants_of("code.py")]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("a + b", ["(a - b)", "(a)"]),
        ("a @ b", ["(b @ a)"]),
        ("a < b", ["(a <= b)"]),
        ("a is None", ["(a is not None)"]),
        ("a and b", ["(a or b)", "(b)", "(a)"]),
        ("not a", ["(a)"]),
        ("-a", ["(a)"]),
        ("x[::s]", ["x[:]"]),
        ("where(c, a, b)", ["(where(c, b, a))"]),
        ("a if c else b", ["a if (True) else b", "a if (False) else b"]),
        ("0", ["(1)"]),
        ("1.0", ["(0.0)"]),
        ("True", ["(False)"]),
        ("'text'", []),
        ("zip(a, b, strict=True)", []),
    ],
)
def test_changes_of_an_expression(code, expected, monkeypatch, tmp_path):
    assert changed(f"y = {code}", monkeypatch, tmp_path) == [f"y = {text}" for text in expected]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("x += y", ["x -= y", "pass"]),
        ("x.kept = None", ["pass"]),
        ("while c:\n    break", ["while (False):\n    break", "while c:\n    pass"]),
        (
            "if c:\n    raise ValueError(f'{a + 1}')",
            [f"if ({c}):\n    raise ValueError(f'{{a + 1}}')" for c in (True, False)],
        ),
        (
            "import a\nassert b == 1\n'''ä'''\nx: Literal[1] = -y",
            ["import a\nassert b == 1\n'''ä'''\nx: Literal[1] = (y)"],
        ),
        ("@overload\ndef g(x: int = 3) -> int: ...", []),
        ("@f(1)\ndef g(x: T[2] = 3) -> T[4]:\n    return x", ["@f(1)\ndef g(x: T[2] = (4)) -> T[4]:\n    return x"]),
    ],
)
def test_changes_of_a_statement(code, expected, monkeypatch, tmp_path):
    assert sorted(changed(code, monkeypatch, tmp_path)) == sorted(expected)


def test_a_call_is_left_out(monkeypatch, tmp_path):
    codes = changed("def f(x):\n    x.release()\n    g(x)\n", monkeypatch, tmp_path)
    assert codes == ["def f(x):\n    pass\n    g(x)\n", "def f(x):\n    x.release()\n    pass\n"]


@pytest.mark.slow
def test_every_mutant_is_python_and_has_a_name_of_its_own():
    total = 0
    for file in rules.FILES:
        source = (rules.ROOT / "minigrad" / file).read_bytes()
        mutants = rules.mutants_of(file)
        total += len(mutants)
        assert len({mutant.name for mutant in mutants}) == len(mutants)
        for mutant in mutants[::7]:
            ast.parse(source[: mutant.start] + mutant.text.encode() + source[mutant.end :])
    assert total > 1000


def test_names_stay_when_lines_move(monkeypatch, tmp_path):
    names = []
    for before in ("", "# a comment\n\nz = 'text'\n"):
        path = tmp_path / "minigrad" / "code.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(before + "def f(a):\n    return a + 1, a + 1\n")
        monkeypatch.setattr(rules, "ROOT", tmp_path)
        names.append([mutant.name for mutant in rules.mutants_of("code.py")])
    assert names[0] == names[1]
    assert "code.py f: a + 1 -> a - 1 #2" in names[0]


def test_the_table_counts_time_outs_as_killed_and_leaves_equivalents_out():
    mutants = rules.mutants_of("autograd/recompute.py")[:5]
    verdicts = ["killed", "killed", "timed out", "equivalent", "survived"]
    lines = mutation.table(list(zip(mutants, verdicts, strict=True))).splitlines()
    assert lines[-1].split() == ["all", "5", "2", "1", "1", "1", "75.0%"]


def test_equivalent_mutants_are_told_by_their_names(monkeypatch, tmp_path):
    (tmp_path / "minigrad").mkdir()
    (tmp_path / "minigrad" / "code.py").write_text("def f(a, b):\n    return a + b, b + a, a + b\n")
    said = {"f: a + b -> a - b #2": "b is 0", "f: a + b -> b": "there is no such change"}
    monkeypatch.setattr(rules, "ROOT", tmp_path)
    monkeypatch.setattr(rules, "EQUIVALENT", {"code.py": said, "other.py": {"f: a + b -> a - b": "it is another file"}})
    mutants = rules.mutants_of("code.py")
    assert {m.name: m.equivalent for m in mutants if m.equivalent} == {"code.py f: a + b -> a - b #2": "b is 0"}
    assert [m.start for m in mutants if m.equivalent] == [len("def f(a, b):\n    return a + b, b + a, ")]
    assert rules.stale(mutants) == ["code.py f: a + b -> b"]


def test_every_equivalent_mutant_is_one_and_has_a_reason():
    assert set(rules.EQUIVALENT) <= set(rules.FILES)
    for file, said in rules.EQUIVALENT.items():
        assert rules.stale(rules.mutants_of(file)) == []
        assert all(said.values())


def test_stages_begin_with_the_killers_the_operator_and_its_family(monkeypatch):
    monkeypatch.chdir(rules.ROOT)
    (mutant,) = [m for m in rules.mutants_of("ops/reduction.py") if m.where == "mean"][:1]
    known, own, family, mirrored, *rest = mutation.stages(mutant, ["tests/a.py::test_a"])
    assert known.tests == ["tests/a.py::test_a"]
    assert own.operators == ["mean"]
    assert set(family.operators) > {"sum", "mean", "var", "max", "min", "logsumexp"}
    assert mirrored.tests == ["tests/ops/test_reduction.py"]
    assert [stage.tests for stage in rest] == [["tests/ops"], ["tests/autograd", "tests/kernels"], mutation.REST]


@pytest.mark.parametrize(
    ("file", "users"),
    [
        ("kernels/norm.py", ["norm.py"]),
        ("kernels/columns.py", ["conv.py"]),
        ("ops/conv.py", ["conv.py"]),
        ("autograd/tape.py", []),
    ],
)
def test_a_kernel_is_tested_by_the_operators_that_use_it(file, users, monkeypatch):
    monkeypatch.chdir(rules.ROOT)
    assert [path.name for path in mutation.operator_files(Path("minigrad", file))] == users


def test_the_tests_of_a_kernel_are_its_own_and_those_of_its_operators(monkeypatch):
    monkeypatch.chdir(rules.ROOT)
    stages = [stage.tests for stage in mutation.stages(rules.mutants_of("kernels/winograd.py")[0])]
    assert ["tests/kernels/test_winograd.py", "tests/ops/test_conv.py"] in stages


def test_the_likeliest_killers_are_the_one_of_before_and_those_that_killed_most_of_the_file():
    first, *_, last = rules.mutants_of("ops/conv.py")
    rows = [{"name": last.name, "by": "t.py::of before"}, {"name": first.name, "by": "the process died"}]
    killers = mutation.Killers(rows)
    assert (killers.of(first), killers.of(last)) == ([], ["t.py::of before"])
    for test in ["t.py::of before", "t.py::rare", "t.py::often", "t.py::often", "t.py", "the process died"]:
        killers.add("ops/conv.py", test)
    assert killers.of(first) == ["t.py::often", "t.py::of before", "t.py::rare"]
    assert killers.of(last) == ["t.py::of before", "t.py::often", "t.py::rare"]
    assert killers.of(rules.mutants_of("ops/norm.py")[0]) == []


def test_the_code_is_the_same_with_another_comment_and_not_with_another_number(tmp_path, monkeypatch):
    monkeypatch.setattr(mutation, "ROOT", tmp_path)
    path = tmp_path / "minigrad" / "typing.py"
    path.parent.mkdir()
    codes = []
    for source in ("x = 1\n", "# why\n\nx = 1  # equivalent [2]: nobody asks\n", "x = 2\n"):
        path.write_text(source)
        codes.append(mutation.digest())
    assert codes[0] == codes[1] != codes[2]


@pytest.mark.slow
def test_a_suite_that_takes_longer_than_a_stage_may_is_refused(tmp_path, monkeypatch):
    for folder in ("a", "b", "c"):
        (tmp_path / "copy" / folder).mkdir(parents=True)
        busy = "import time\n\n\ndef test_busy():\n    while time.process_time() < 2:\n        pass\n"
        (tmp_path / "copy" / folder / f"test_{folder}.py").write_text(busy)
    monkeypatch.setattr(mutation, "QUICK", ["a", "b"])
    monkeypatch.setattr(mutation, "REST", ["c"])
    monkeypatch.chdir(tmp_path / "copy")
    for seconds, message in ((1, "unchanged code: .: timed out"), (3, "a stage takes [4-9] s of the processor")):
        with pytest.raises(SystemExit, match=message):
            mutation.check_sound(tmp_path / "copy", argparse.Namespace(timeout=seconds, jobs=1))


def test_a_stopped_run_knows_what_was_killed_on_the_same_code(tmp_path, monkeypatch):
    path, code = tmp_path / "verdicts", mutation.digest()
    rows = [("a", "killed", code), ("b", "survived", code), ("c", "killed", "other code"), ("d", "timed out", code)]
    lines = [json.dumps(dict(zip(("name", "verdict", "code"), row, strict=True))) for row in rows]
    path.write_text("\n".join([*lines, '{"name": "e", "verd']))
    rows = mutation.written(path)
    assert [row["name"] for row in rows] == ["a", "b", "c", "d"]
    assert [*mutation.known(rows)] == ["a", "d"]
    monkeypatch.setattr(mutation, "ROOT", tmp_path)
    assert mutation.known(rows) == {}
    assert mutation.written(tmp_path / "none") == []
