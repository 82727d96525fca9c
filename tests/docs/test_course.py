"""The course: every exercise can be done and cannot be passed by accident, and every chapter is a program that runs."""

import ast
import importlib.util
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import types
import warnings
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from tests.tools.mutants import walk

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
CHAPTERS = sorted((DOCS / "chapters").glob("*.py"))
NUMBERS = [int(path.name[:2]) for path in CHAPTERS]


def load(path):
    spec = importlib.util.spec_from_file_location(f"course_{path.parent.name}_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def check():
    return load(DOCS / "exercises/check.py")


def functions(path):
    """Return the public functions that a file defines, in its order."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name[0] != "_"}


def exercises(number, folder=""):
    return DOCS / "exercises" / folder / f"chapter_{number:02}.py"


def test_chapters_and_exercises_belong_together():
    assert sorted(set(NUMBERS)) == NUMBERS
    for kind in ("", "solutions", "checks"):
        files = (DOCS / "exercises" / kind).glob("chapter_*.py")
        assert sorted(path.name for path in files) == [f"chapter_{number:02}.py" for number in NUMBERS]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_has_its_parts(path):
    number = int(path.name[:2])
    text = path.read_text(encoding="utf-8")
    title, underline, *rest = ast.get_docstring(ast.parse(text)).splitlines()
    question = "\n".join(rest).strip().split("\n\n")[0]
    assert title.startswith(f"{number}. ")
    assert set(underline) == {"="}
    assert len(underline) == len(title)
    assert question.endswith("?"), "the paragraph after the title is the chapter's question"
    assert not re.search(r"frac\d", text), "tex2mathml takes 12 for one number: write \\frac{1}{2}"
    assert "plt." in text, "something is drawn"
    drawn, described = len(re.findall(r"plt\.(?:subplots|figure)\(", text)), text.count(".set_label(")
    assert drawn == described, 'figure.set_label("...") says what it shows'
    assert text.endswith("\n\nshow()\n"), "the last line shows the figures of the program"
    assert ".. literalinclude:: /../m" in text, "code of minigrad or models is included"
    assert f"\n# .. literalinclude:: /exercises/chapter_{number:02}.py" in text
    assert f"docs/exercises/check.py {number}``" in text


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_what_a_chapter_shows_of_the_source_is_there(path):
    """Every literalinclude names a file, a definition and lines that exist; every :doc: of the source, a file."""
    text = path.read_text(encoding="utf-8").replace("\n# ", "\n").replace("\n#\n", "\n\n")
    gone = []
    for name, options in re.findall(r"\.\. literalinclude:: /\.\./(\S+)\n((?: +:.*\n)*)", text):
        options = dict(re.findall(r":([\w-]+): (.*)", options))
        source = (ROOT / name).read_text(encoding="utf-8") if (ROOT / name).is_file() else ""
        if "pyobject" in options:
            source = definition(source, options["pyobject"])
        for marker in (
            options.get(f"{side}-{where}") for side in ("start", "end") for where in ("at", "after", "before")
        ):
            if marker and source:
                source = source[source.find(marker) :] if marker in source else ""
        if not source:
            gone.append(f"{name} {options}")
    for name in re.findall(r":doc:`(?:[^`]*<)?/source/([\w/]+)>?`", text):
        if not (ROOT / f"{name}.py").is_file() and name != "index":
            gone.append(name)
    assert gone == []


def definition(source, name):
    """Return the text of a function, class or method; empty if there is none of this name."""
    body, node = ast.parse(source).body, None
    for part in name.split("."):
        found = [n for n in body if isinstance(n, ast.FunctionDef | ast.ClassDef) and n.name == part]
        node = found[-1] if found else None
        body = node.body if node else []
    return ast.get_source_segment(source, node) if node else ""


@pytest.mark.parametrize("number", NUMBERS)
def test_every_exercise_has_a_task_a_solution_and_a_check(number):
    stubs, solutions, checks = (functions(exercises(number, kind)) for kind in ("", "solutions", "checks"))
    assert len(stubs) in (2, 3)
    assert list(solutions) == list(stubs)
    assert [name for name in checks if name.startswith("check_")] == [f"check_{name}" for name in stubs]
    for name, stub in stubs.items():
        assert ast.get_docstring(stub), f"{name}: its docstring is the task"
        assert ast.unparse(stub.args) == ast.unparse(solutions[name].args), f"{name} has the same parameters"


@pytest.mark.parametrize("number", NUMBERS)
def test_every_stub_fails_and_every_solution_passes(check, number):
    stubs, solutions, checks = (load(exercises(number, kind)) for kind in ("", "solutions", "checks"))
    for name in functions(exercises(number)):
        with pytest.raises(NotImplementedError):
            vars(checks)[f"check_{name}"](stubs)
        vars(checks)[f"check_{name}"](solutions)
    assert {why for _, why in check.outcomes(number)} == {"it is still to be written"}
    assert {why for _, why in check.outcomes(number, solutions=True)} == {""}


# Wrong answers -------------------------------------------------------------------------------

#: Slips that make no difference: (chapter, exercise) -> the change, as `slips` names it.
HARMLESS = {
    (3, "unbroadcast"): ["size == 1 < g.shape[axis] -> size == 1 <= g.shape[axis]"],  # a sum of one is itself
    (10, "merged_statistics"): [  # the last digit only
        "mean + (share * off).sum(0) -> mean - (share * off).sum(0)",
        "mean + (share * off).sum(0) -> mean",
    ],
    (12, "orthogonal"): [  # signs are 1 or -1
        "math.sqrt(2) * q * np.sign(np.diag(r)) -> math.sqrt(2) * q / np.sign(np.diag(r))"
    ],
}


def slips(number, name):
    """Yield (change, module): the solutions of a chapter, with one sign, constant or term of one exercise changed."""
    source = exercises(number, "solutions").read_text(encoding="utf-8")
    lines = source.splitlines(keepends=True)
    for _, before, after in walk(functions(exercises(number, "solutions"))[name]):
        if isinstance(before, ast.Assign) and isinstance(after, ast.Pass):
            continue  # np.empty may hand out an array that holds what was right before
        if isinstance(after, ast.Call) and ast.unparse(after.func).endswith(("maximum", "minimum")):
            continue  # the larger of a and b is that of b and a
        first, last = before.lineno - 1, before.end_lineno - 1
        head = lines[first].encode()[: before.col_offset].decode()
        tail = lines[last].encode()[before.end_col_offset :].decode()
        bare = isinstance(after, ast.stmt | ast.Slice)
        text = ast.unparse(after) if bare else f"({ast.unparse(after)})"
        module = types.ModuleType(f"slip_{number:02}")
        changed = "".join([*lines[:first], head, text, tail, *lines[last + 1 :]])
        exec(compile(changed, module.__name__, "exec"), vars(module))
        yield f"{ast.unparse(before)} -> {ast.unparse(after)}", module


def passes(check, work):
    """Whether a check is content; what takes too long has hung, and is not."""

    def too_long(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(5)
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            check(work)
    except Exception:
        return False
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return True


@pytest.mark.slow
@pytest.mark.parametrize("number", NUMBERS)
def test_no_slip_of_the_hand_passes(number):
    checks = vars(load(exercises(number, "checks")))
    passed = {}
    for name in functions(exercises(number)):
        unnoticed = [change for change, work in slips(number, name) if passes(checks[f"check_{name}"], work)]
        if unnoticed != HARMLESS.get((number, name), []):
            passed[name] = unnoticed
    assert passed == {}


def by_differences(f, x):
    """Return a gradient that is right to eight digits only."""
    units = np.eye(x.size).reshape(-1, *x.shape)
    return np.array([(f(x + 1e-6 * u) - f(x - 1e-6 * u)) / 2e-6 for u in units]).reshape(x.shape)


def walk_once(tape):
    """Return what a walk gives that takes the last edge of a step for its only one."""
    totals = [0.0] * len(tape)
    totals[-1] = 1.0
    for k in reversed(range(len(tape))):
        for j, d in tape[k]:
            totals[j] = totals[k] * d
    return totals


#: What a student may well believe: (chapter, exercise) -> an answer.
MISTAKEN = [
    (1, "derivative_by_hand", lambda x: 2 * x * np.exp(x**2) / (1 + np.exp(x**2))),
    (1, "fourth_order_difference", lambda f, x, h: (f(x + h) - f(x - h)) / (2 * h)),
    (1, "complex_step_gradient", by_differences),
    (2, "walk", walk_once),
    (2, "make_swish", lambda: lambda x: x * mg.sigmoid(x)),
    (2, "kept_bytes", lambda y: y.data.nbytes),
    (3, "unbroadcast", lambda g, shape: g if g.shape == shape else g.ravel()[: math.prod(shape)].reshape(shape)),
    (3, "pairwise_rule", lambda g, a, b: (2 * g.sum(1)[:, None] * a, -2 * g.sum(0)[:, None] * b)),
    (3, "centre_rule", lambda g, x: g),
    (4, "matmul_rule", lambda g, a, b: (g @ b.swapaxes(-1, -2), a.swapaxes(-1, -2) @ g)),
    (4, "bilinear_rule", lambda g, x, w, z: (g[:, None] * (z @ w.T), x.T @ z, g[:, None] * (x @ w))),
    (4, "solve_rule", lambda g, a, b: (-np.outer(np.linalg.solve(a, g), b), np.linalg.solve(a, g))),
    (5, "nth_derivative", lambda f, x, n: f(mg.Tensor(np.array([x]))).item() if n == 0 else 0.0),
    (5, "hessian", lambda f, x: np.diag(np.ones(len(x)))),
    (5, "penalty_gradient", lambda f, x: 2 * by_differences(lambda y: f(mg.Tensor(y)).item(), x)),
    (6, "taylor_order", lambda f, gradient, x, v, h=1e-4: 2.0),
    (6, "adjoint_gap", lambda forward, rule, x_shape, y_shape, rng: 0.0),
    (6, "mended_rule", lambda g, x, eps=1e-5: g / np.sqrt((x**2).mean(axis=1, keepdims=True) + eps)),
]


@pytest.mark.parametrize(("number", "name", "answer"), MISTAKEN, ids=lambda value: value if type(value) is str else "")
def test_a_mistaken_answer_is_told_so(number, name, answer):
    check = vars(load(exercises(number, "checks")))[f"check_{name}"]
    with pytest.raises(AssertionError, match=r"\w"):
        check(types.SimpleNamespace(**{name: answer}))


# The command ---------------------------------------------------------------------------------


@pytest.fixture
def desk(tmp_path):
    """Copy the exercises of chapter 1 to where they can be worked on."""
    for kind in ("", "solutions", "checks"):
        (tmp_path / "docs/exercises" / kind).mkdir(parents=True, exist_ok=True)
        shutil.copy(exercises(1, kind), tmp_path / "docs/exercises" / kind)
    shutil.copy(DOCS / "exercises/check.py", tmp_path / "docs/exercises")
    return tmp_path


def run(folder, *arguments):
    command = [sys.executable, "-W", "error", "docs/exercises/check.py", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_command_says_what_is_done_and_what_is_not(desk):
    done = run(desk, "1")
    assert done.returncode == 1
    assert done.stdout.splitlines() == ["chapter 1: docs/exercises/chapter_01.py"] + [
        f"  {name}: not yet: it is still to be written" for name in functions(exercises(1))
    ]
    solved = run(desk, "--solutions")
    assert solved.returncode == 0
    assert solved.stdout.splitlines() == ["chapter 1: docs/exercises/solutions/chapter_01.py"] + [
        f"  {name}: done" for name in functions(exercises(1))
    ]


def test_the_command_names_the_fault_and_its_line(desk):
    mine = desk / "docs/exercises/chapter_01.py"
    mine.write_text(
        "def derivative_by_hand(x):\n    return 2 * x\n\n\n"
        'def fourth_order_difference(f, x, h):\n    return {}["sin"]\n\n\n'
        + exercises(1, "solutions").read_text().split("\n\n\n")[-1].replace("np.", "__import__('numpy').")
    )
    done = run(desk, "1")
    assert done.returncode == 1
    _, first, second, third = done.stdout.splitlines()
    assert first.startswith("  derivative_by_hand: not yet: at x = -2.0: expected -3.9")
    assert second.endswith("not yet: KeyError: 'sin' (chapter_01.py, line 6)")
    assert third == "  complex_step_gradient: done"


def test_what_the_check_cannot_use_is_not_blamed_on_a_line(desk):
    mine = desk / "docs/exercises/chapter_01.py"
    mine.write_text(mine.read_text().replace("raise NotImplementedError", "return None"))
    done = run(desk, "1")
    assert done.returncode == 1
    assert "not yet: TypeError: " in done.stdout
    assert "(in the check: can it use what you return?)" in done.stdout
    assert ", line " not in done.stdout


def test_the_index_shows_what_the_command_prints(desk):
    text = exercises(1, "solutions").read_text()
    first, second, _ = (ast.get_source_segment(text, node) for node in functions(exercises(1, "solutions")).values())
    central = second.replace("(4 * near - far) / 3", "near")
    stub = "def complex_step_gradient(f, x):\n    raise NotImplementedError\n"
    (desk / "docs/exercises/chapter_01.py").write_text("\n\n\n".join(["import numpy as np", first, central, stub]))
    shown = (DOCS / "chapters/GALLERY_HEADER.rst").read_text()
    assert "".join(f"   {line}\n" for line in run(desk, "1").stdout.splitlines()) in shown


def test_the_command_knows_which_chapters_there_are(desk):
    done = run(desk, "2")
    assert done.returncode == 2
    assert "there are no exercises of chapter 2; there are those of [1]" in done.stderr


# The programs --------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_is_a_program_that_runs(path, tmp_path):
    command = [sys.executable, "-W", "error", str(path)]
    environment = os.environ | {"MPLBACKEND": "Agg", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    figures = [f"runs/{path.stem}/{i}.png" for i in range(1, path.read_text(encoding="utf-8").count(".set_label(") + 1)]
    assert re.findall(r"^figure: (.*)", done.stdout, re.MULTILINE) == figures
    written = sorted(file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*") if file.is_file())
    assert written == sorted(figures), "a chapter writes nothing but its figures"
