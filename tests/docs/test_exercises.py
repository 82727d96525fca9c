"""The command of the exercises: what it copies, what it says of answers of all kinds, and the table of a class."""

import csv
import gc
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from docs.exercises import checking, worker
from minigrad.autograd.tape import Entry

ROOT = Path(__file__).parents[2]
HERE = ROOT / "docs/exercises"


def run(*arguments, cwd=ROOT):
    command = [sys.executable, "-W", "error", "-m", "docs.exercises", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def desk(tmp_path):
    """A folder of a student, with all tasks."""
    assert run("start", tmp_path / "desk").returncode == 0
    return tmp_path / "desk"


def put(desk, name, code, file="chapter_01.py"):
    """Write the code of one task in place of its stub."""
    text = (desk / file).read_text(encoding="utf-8")
    line, _ = checking.definitions(desk / file)[name]
    head = "".join(text.splitlines(keepends=True)[: line - 1])
    tail = text[len(head) :].partition("    raise NotImplementedError\n")[2]
    (desk / file).write_text(head + code + tail, encoding="utf-8")


# Start ---------------------------------------------------------------------------------------


def test_start_copies_all_tasks_and_nothing_else(desk):
    tasks = {path.name: path.read_bytes() for path in HERE.glob("chapter_*.py")}
    tasks["mine.py"] = (HERE / "mine.py").read_bytes()
    assert {path.name: path.read_bytes() for path in desk.iterdir()} == tasks


def test_start_leaves_work_as_it_is(desk):
    (desk / "chapter_01.py").write_text("# my work\n")
    (desk / "chapter_02.py").unlink()
    again = run("start", desk)
    assert again.returncode == 0
    assert again.stdout.startswith(f"1 new files in {desk}; ")
    assert (desk / "chapter_01.py").read_text() == "# my work\n"
    assert (desk / "chapter_02.py").read_bytes() == (HERE / "chapter_02.py").read_bytes()


def test_the_tasks_that_the_pages_show_are_not_a_workspace():
    done = run("check", HERE, 1)
    assert done.returncode == 2
    assert "work on a copy" in done.stderr


# Check ---------------------------------------------------------------------------------------


def test_check_names_the_file_the_line_and_the_function(desk):
    done = run("check", desk.name, 1, cwd=desk.parent)
    assert done.returncode == 1
    lines = {name: line for name, (line, _) in checking.definitions(desk / "chapter_01.py").items()}
    assert done.stdout.splitlines() == [
        *(f"desk/chapter_01.py:{line}: {name}: not yet: it is still to be written" for name, line in lines.items()),
        "0 of 3 done",
        "With --hint, each task that is not done gets a hint.",
    ]
    assert run("check", 1, cwd=desk).stdout == done.stdout.replace("desk/", "")


def test_solutions_pass_as_they_stand():
    done = run("check", HERE / "solutions", 1, 4)
    assert done.returncode == 0
    assert done.stdout.endswith("\n8 of 8 done\n")  # with the two tasks of the milestone
    assert not list((HERE / "solutions").glob("__pycache__/chapter_01*"))


def test_check_says_where_an_exception_was_raised(desk):
    code = 'def derivative_by_hand(x):\n    print("it is here")\n    return {}["sin"]\n'
    put(desk, "derivative_by_hand", code)
    done = run("check", desk, 1)
    assert "derivative_by_hand: not yet: KeyError: 'sin' (line 8)" in done.stdout
    assert "it is here" in done.stderr
    assert "it is here" not in done.stdout


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("    pass\n", "TypeError: .*NoneType.* (in the check, which got None: is a return missing?)"),
        ('    return "1"\n', "UFuncTypeError: .* (in the check, after derivative_by_hand returned: .*)"),
        ("    return derivative_by_hand(x)\n", r"RecursionError: calls are nested more than [\d,]+ deep (line \d+)"),
        ("    raise SystemExit\n", "SystemExit: it ends the program"),
        ("    import os\n    os._exit(3)\n", "it ended the whole process (exit status 3)"),
        ("    while True:\n        pass\n", "it has not ended after 5 seconds, and was stopped"),
        ("    np.linalg.svd(np.ones((5000, 5000)))\n", "it has not ended after 5 seconds, and was stopped"),
        ("    return input()\n", r"EOFError: .* (line \d+)"),
    ],
    ids=["None", "str", "recursion", "exit", "process", "loop", "NumPy", "input"],
)
def test_check_names_each_fault_and_goes_on(desk, code, message):
    put(desk, "derivative_by_hand", f"def derivative_by_hand(x):\n{code}")
    endless = ("--seconds", 5) if "5 seconds" in message else ()
    done = run("check", desk, 1, *endless)
    first, second, third, *_ = done.stdout.splitlines()
    pattern = re.escape("derivative_by_hand: not yet: ") + re.sub(r"(?<!\\)[()?]", r"\\\g<0>", message)
    assert re.search(pattern + "$", first), first
    assert second.endswith("it is still to be written")
    assert third.endswith("it is still to be written")


def test_a_walk_of_every_path_is_stopped(desk):
    """The recursion of chapter 2 would visit 2 ** 200 paths; it is stopped long before the time limit."""
    code = """def walk(tape):
    totals = [0.0] * len(tape)

    def visit(k, g):
        totals[k] += g
        for j, d in tape[k]:
            visit(j, g * d)

    visit(len(tape) - 1, 1.0)
    return totals
"""
    put(desk, "walk", code, "chapter_02.py")
    done = run("check", desk, 2)
    assert "walk: not yet: 200 doublings: stopped after 1,000,000 readings of edges; there are 2 ** 200" in done.stdout
    assert "make_swish: not yet: it is still to be written" in done.stdout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def f(:\n", "the file cannot be imported: SyntaxError: invalid syntax (line 1)"),
        ("import numpy as np\n\nnp.nothing\n", "the file cannot be imported: AttributeError: "),
        ("while True:\n    pass\n", "it has not ended after 2 seconds, and was stopped"),
        ("", "there is no derivative_by_hand in this file"),
    ],
    ids=["syntax", "exception", "loop", "empty"],
)
def test_a_file_that_cannot_be_used_is_told_so(desk, text, message):
    (desk / "chapter_01.py").write_text(text)
    endless = ("--seconds", 2) if "2 seconds" in message else ()  # for each of three tasks
    done = run("check", desk, 1, *endless)
    assert done.returncode == 1
    assert f"derivative_by_hand: not yet: {message}" in done.stdout.splitlines()[0]


def test_hints_come_on_demand(desk):
    plain, hinted = run("check", desk, 1).stdout, run("check", desk, 1, "--hint").stdout
    hints = [hint for _, (_, hint) in checking.definitions(HERE / "checks/chapter_01.py").items()]
    assert hinted.count("    hint: ") == 3
    for hint in hints:
        assert hint in " ".join(hinted.split())
        assert hint not in plain


def test_files_of_a_student_may_import_one_another(desk):
    put(desk, "derivative_by_hand", "from other import derivative_by_hand\n")
    solution = (HERE / "solutions/chapter_01.py").read_text(encoding="utf-8")
    (desk / "other.py").write_text(solution, encoding="utf-8")
    assert "derivative_by_hand: done" in run("check", desk, 1).stdout


def test_the_index_shows_what_the_command_prints(desk):
    solution = (HERE / "solutions/chapter_01.py").read_text(encoding="utf-8")
    first, second, _ = re.findall(r'^    """.*?"""\n(.*?\n)(?=\n\n|\Z)', solution, flags=re.MULTILINE | re.DOTALL)
    text = (desk / "chapter_01.py").read_text(encoding="utf-8")
    for body in (first, second.replace("(4 * near - far) / 3", "near")):
        text = text.replace("    raise NotImplementedError\n", body, 1)
    (desk / "chapter_01.py").write_text(text, encoding="utf-8")
    printed = run("check", "desk", 1, cwd=desk.parent).stdout.replace("desk/", "my_course/")
    shown = (ROOT / "docs/chapters/GALLERY_HEADER.rst").read_text(encoding="utf-8")
    assert "".join(f"   {line}\n" for line in printed.splitlines()) in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "desk", "99"], "there are no exercises of chapter 99; there are those of"),
        (["check", "nowhere", "1"], "there are no exercises in"),
        (["check", "desk", "other", "1"], "expected one folder, got desk and other"),
        (["grade", "nowhere"], "nowhere contains no folders of students"),
    ],
)
def test_the_command_refuses_what_it_cannot_use(desk, arguments, message):
    done = run(*arguments, cwd=desk.parent)
    assert done.returncode == 2
    assert message in done.stderr


def test_a_reader_that_leaves_early_ends_the_command_quietly(desk):
    command = [sys.executable, "-W", "error", "-m", "docs.exercises", "check", str(desk), "1", "2", "3"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert b"derivative_by_hand" in process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


# Grade ---------------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch):
    """Let the course consist of chapters 1 and 4."""
    monkeypatch.setattr(checking, "chapters", lambda: [1, 4])
    monkeypatch.setattr("docs.exercises.__main__.chapters", lambda: [1, 4])


def test_grade_makes_the_table_of_a_class(tmp_path, small, capfd):
    from docs.exercises import grading
    from docs.exercises.__main__ import main

    for student in ("ada", "bo", "cy", ".git"):
        (tmp_path / student).mkdir()
    for path in (HERE / "solutions").glob("*.py"):
        (tmp_path / "ada" / path.name).write_bytes(path.read_bytes())
    for path in [*HERE.glob("chapter_*.py"), HERE / "mine.py"]:
        (tmp_path / "bo" / path.name).write_bytes(path.read_bytes())
    where = tmp_path / "process"
    put(
        tmp_path / "bo",
        "derivative_by_hand",
        f"def derivative_by_hand(x):\n    import os\n    print(os.getpid(), file=open({str(where)!r}, 'w'))\n"
        "    print('noise')\n    while True:\n        pass\n",
    )
    put(tmp_path / "bo", "fourth_order_difference", "def fourth_order_difference(f, x, h):\n    return x\n")
    assert main(["grade", str(tmp_path), "--csv", str(tmp_path / "marks.csv"), "--seconds", "5"]) == 0
    printed = capfd.readouterr()
    assert printed.out.splitlines() == [
        "student   1   4  m4 exercises milestones slow error missing",
        "ada     3/3 3/3 2/2       6/6        2/2    0     0       0",
        "bo      0/3 0/3 0/2       0/6        0/2    1     0       0",
        "cy      0/3 0/3 0/2       0/6        0/2    0     0       8",
        "class   33% 33% 33%       33%        33%",
        f"cy: there is no file of the course in {tmp_path / 'cy'}",
    ]
    assert "noise" not in printed.err
    assert int(where.read_text()) != os.getpid()
    with (tmp_path / "marks.csv").open(newline="", encoding="utf-8") as stream:
        header, *rows = csv.reader(stream)
    assert header[:4] == ["student", *(f"chapter_01.{name}" for name in checking.definitions(HERE / "chapter_01.py"))]
    assert header[-2:] == ["mine.matmul", "mine.reshape"]
    assert rows == [["ada", *["done"] * 8], ["bo", "slow", "wrong", *["open"] * 6], ["cy", *["missing"] * 8]]
    assert [student.name for student in grading.students(tmp_path)] == ["ada", "bo", "cy"]


def test_students_are_read_on_many_threads():
    """While one syntax tree is made, the garbage collector may hand over to a thread that makes another."""

    class Rest:
        def __init__(self):
            self.cycle = self

        def __del__(self):
            time.sleep(0)

    def read(path):
        Rest()
        return list(checking.definitions(path))

    files = [*(HERE / "checks").glob("*.py")] * 10
    threshold, interval = gc.get_threshold(), sys.getswitchinterval()
    try:
        gc.set_threshold(50, 2, 2)
        sys.setswitchinterval(1e-6)
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(read, files))
    finally:
        gc.set_threshold(*threshold)
        sys.setswitchinterval(interval)
    assert found == [list(checking.definitions(path)) for path in files]


# What is said of mistakes --------------------------------------------------------------------


def chain_from_the_front(matrices, g):
    for a in matrices:
        g = g + a.T @ g
    return g


def chain_without_shortcuts(matrices, g):
    for a in reversed(matrices):
        g = a.T @ g
    return g


def gamma_alone(net):
    for _, module in net.named_modules():
        if hasattr(module, "bn2"):
            (module.bn3 if hasattr(module, "bn3") else module.bn2).weight.data[...] = 0


def beta_alone(net):
    for _, module in net.named_modules():
        if hasattr(module, "bn2"):
            (module.bn3 if hasattr(module, "bn3") else module.bn2).bias.data[...] = 0


def hessian_by_rows(f, x):
    point = mg.Tensor(x, requires_grad=True)
    rows = []
    for unit in np.eye(len(x)):
        (slope,) = mg.grad(f(point), point, create_graph=True)
        rows.append(mg.grad(slope, point, unit)[0].data)
    return np.array(rows)


def segments_by_a_loop_variable(blocks, x, k):
    for i in range(0, len(blocks), k):

        def segment(x):
            for block in blocks[i : i + k]:  # noqa: B023  this is the mistake
                x = block(x)
            return x

        x = mg.recompute(segment, x)
    return x


def pad_then_subtract(image, mean, top, left, mirrored):
    padded = np.pad(image, 4)[:, :, 4:-4]
    window = padded[top : top + 32, left : left + 32] - mean
    return window[:, ::-1] if mirrored else window


def one_loss_at_a_time(losses):
    return sum(loss.item() for loss in losses) / len(losses)


def swish_with(rule):
    @mg.elementwise
    def swish(x, /):
        return x * mg.sigmoid(x)

    swish.vjp(rule)
    return swish


def rule_by_data(g, x):
    s = 1 / (1 + np.exp(-x.data))
    return g * s * (1.0 + x * (1.0 - s))


def rule_by_numpy(g, x):
    s = 1 / (1 + np.exp(-x))
    return g * s * (1.0 + x * (1.0 - s))


def stored_along_every_path(y, counts=lambda value: isinstance(value, np.ndarray)):
    found = {}

    def visit(entry):
        if isinstance(entry, Entry):
            found.update({id(value): value.nbytes for value in entry.stored if counts(value)})
            for edge in entry.edges:
                visit(edge)

    visit(y._node)
    return sum(found.values())


#: What a student may well write: (chapter, task, answer, what is said).
SAID = [
    (
        0,
        "jacobian",
        lambda f, x: np.stack([(f(x + 1e-5 * e) - f(x)) / 1e-5 for e in np.eye(len(x))], axis=1),
        r"the largest error of an entry is 1e-05, expected less than 1e-8",
    ),
    (
        1,
        "derivative_by_hand",
        lambda x: 2 * x * np.exp(x**2) / (1 + np.exp(x**2)),
        r"at x = -1000.0: expected -2000.0, got nan",
    ),
    (
        1,
        "derivative_by_hand",
        lambda x: np.exp(x**2) / (1 + np.exp(x**2)),
        r"at x = -2.0: expected -3.92\d+, got 0.98\d+",
    ),
    (2, "walk", lambda tape: None, r"TypeError: .*NoneType.* \(in the check, which got None: is a return missing\?\)"),
    (
        2,
        "make_swish",
        lambda: lambda x: x * mg.sigmoid(x),
        r"the last operator on the tape of swish\(x\) is mul, expected",
    ),
    (2, "make_swish", lambda: lambda x: mg.sigmoid(x), r"swish\(-3.0\): expected -0.142278, got 0.0474259"),
    (
        2,
        "make_swish",
        lambda: swish_with(rule_by_data),
        r"TypeError: bad operand .*; in this call, the rule was given arrays \(",
    ),
    (
        2,
        "make_swish",
        lambda: swish_with(rule_by_numpy),
        r"TypeError: .* does not support ufuncs .*; in this call, the rule was given Tensors \(",
    ),
    (2, "make_swish", lambda: swish_with(lambda g, x: g * x), r"first order: the gradient of input 0 .* is wrong in"),
    (2, "make_swish", lambda: swish_with(lambda g, x: None), r"first order: swish: its rule gave a gradient of None"),
    (
        2,
        "kept_bytes",
        stored_along_every_path,
        r"30 doublings: stopped after 1,000,000 readings of edges; there are 2 \*\* 30 paths, but only 60 entries",
    ),
    (
        2,
        "kept_bytes",
        lambda y: stored_along_every_path(y, lambda value: hasattr(value, "nbytes")),
        r"x \*\* np.float64\(3\) stores an array and the number: expected 800, got 808",
    ),
    (3, "centre_rule", lambda g, x: g, r"expected the first row \[.*\], got \[.*\]; the largest error is"),
    (3, "pairwise_rule", lambda g, a, b: (g @ b, g.T @ a), r"da: the largest error is \d.*, among entries up to"),
    (
        4,
        "matmul_rule",
        lambda g, a, b: (g @ b.swapaxes(-1, -2), a.swapaxes(-1, -2) @ g),
        r"\(6, 4, 3\) @ \(3, 5\) has shape \(6, 3, 5\), expected \(3, 5\)",
    ),
    (5, "hessian", hessian_by_rows, r"f was called 4 times, expected one call"),
    (
        6,
        "adjoint_gap",
        lambda forward, rule, x_shape, y_shape, rng: (
            abs(
                np.vdot(forward(x := rng.standard_normal(x_shape)), y := rng.standard_normal(y_shape))
                - np.vdot(x, rule(y))
            )
            / np.linalg.norm(x)
            / np.linalg.norm(y)
        ),
        r"expected gaps near 0.0013, got .* on average",
    ),
    (
        8,
        "sound_windows",
        lambda sound, k, stride: np.stack([sound[:, p : p + k] for p in range(0, sound.shape[1] - k + 1, stride)], 1),
        r"a contiguous sound, k=1, stride=1: the windows are a copy, not a view",
    ),
    (
        9,
        "sum_of_products",
        lambda product, count, threads: sum(product(i) for i in range(count)),
        r"1 threads: the bits differ",
    ),
    (
        11,
        "folded",
        lambda w, b, gamma, beta, mean, var, eps: (
            w * gamma / np.sqrt(var + eps),
            beta - mean * gamma / np.sqrt(var + eps),
        ),
        r"with b, eps=1e-05: one layer and two layers differ by",
    ),
    (
        12,
        "largest_stable_rate",
        lambda hessian, momentum: 2 / np.linalg.eigvalsh(hessian)[-1],
        r"momentum 0.5, your rate 0.6667: too low",
    ),
    (
        13,
        "orthogonal",
        lambda n, rng: np.sqrt(2) * np.linalg.qr(rng.standard_normal((n, n)))[0],
        r"over 2,000 draws, expected a mean of 0 for all entries, got",
    ),
    (
        14,
        "diagnosis",
        lambda shallow, deep: (
            "overfitting" if deep[1] > shallow[1] else "degradation" if deep[0] > shallow[0] else "nothing"
        ),
        r"shallow \(0.08, 0.1\), deep \(0.12, 0.14\) \(training, test\): expected 'degradation', got 'overfitting'$",
    ),
    (15, "chain_gradient", chain_from_the_front, r"with 2 blocks: expected \[.*\], got \[.*\]$"),
    (15, "chain_gradient", chain_without_shortcuts, r"with 1 block: expected \[.*\], got \[.*\]$"),
    (
        15,
        "begin_as_shortcuts",
        gamma_alone,
        r"basic blocks, training=False: a block and relu\(downsample\(x\)\) differ by",
    ),
    (
        15,
        "begin_as_shortcuts",
        beta_alone,
        r"basic blocks, training=False: a block and relu\(downsample\(x\)\) differ by",
    ),
    (
        16,
        "cifar_macs",
        lambda depth: (depth - 2) * 32 * 32 * 9 * 256 + 640,
        r"depth 8: expected 12,239,488, got 14,156,416, a difference of 1,916,928",
    ),
    (17, "one_view", pad_then_subtract, r"numbers beyond the border of the image are not zero"),
    (18, "head_weights", lambda weight, c: weight.T, r"maps \(3, 2, 5\): the outputs differ by up to"),
    (
        19,
        "in_segments",
        segments_by_a_loop_variable,
        r"k = 1: the gradient of .* differs from that without segments by",
    ),
    (20, "mean_of_losses", one_loss_at_a_time, r"on a device: 5 values were brought to the host"),
    (21, "tree_sum", lambda vectors: sum(list(vectors)), r"4 vectors: the bits differ from those of the tree"),
]


@pytest.mark.parametrize(
    ("number", "name", "answer", "said"), SAID, ids=lambda value: value if type(value) is str else ""
)
def test_a_mistake_is_told_in_numbers(number, name, answer, said):
    path = HERE / f"checks/chapter_{number:02}.py"
    work = worker.load(HERE / f"solutions/chapter_{number:02}.py")
    setattr(work, name, answer)
    with np.errstate(all="ignore"):
        state, message = worker.result(name, work, vars(worker.load(path))[f"check_{name}"])
    assert state in ("wrong", "error")
    assert re.search(said, message, re.DOTALL), message
    assert checking.definitions(path)[f"check_{name}"][1] not in message


def test_a_rate_far_too_high_is_told_without_warnings():
    work = worker.load(HERE / "solutions/chapter_12.py")
    work.largest_stable_rate = lambda hessian, momentum: 1e6
    check = vars(worker.load(HERE / "checks/chapter_12.py"))["check_largest_stable_rate"]
    state, message = worker.result("largest_stable_rate", work, check)  # a warning is an exception here
    assert state == "wrong"
    assert message.endswith("your rate 1e+06: too high, w grows at 98 % of it")
