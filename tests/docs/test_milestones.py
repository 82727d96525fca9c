"""The milestones: a solution of each stage passes its checks, every mistake is told, and the last one trains a net."""

import ast
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from docs.exercises import worker
from tests.docs.test_course import passes, slips

ROOT = Path(__file__).parents[2]
HERE = ROOT / "docs/exercises"
SOLUTION = (HERE / "solutions/mine.py").read_text(encoding="utf-8")
STUBS = (HERE / "mine.py").read_text(encoding="utf-8")
STAGES = sorted(int(path.stem[-2:]) for path in (HERE / "checks").glob("mine_*.py"))


def parts(text):
    """Return the text of each part, by the number of its chapter."""
    _, *rest = re.split(r"^(?=# Chapter \d+: [a-zA-Z ]+ -+$)", text, flags=re.MULTILINE)
    return {int(re.match(r"# Chapter (\d+)", part)[1]): part for part in rest}


def module(text):
    made = types.ModuleType("mine")
    made.__file__ = "mine.py"
    exec(compile(text, made.__file__, "exec"), vars(made))
    return made


def up_to(stage, text=SOLUTION):
    """Return the module of all parts up to a stage."""
    after = [part for number, part in parts(text).items() if number > stage]
    return module(text[: text.index(after[0])] if after else text)


def checks(stage):
    found = vars(worker.load(HERE / f"checks/mine_{stage:02}.py"))
    return {name.removeprefix("check_"): check for name, check in found.items() if name.startswith("check_")}


def tasks(text):
    tree = ast.parse(text)
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}


def test_stubs_solutions_and_checks_belong_together():
    assert list(parts(STUBS)) == list(parts(SOLUTION)) == STAGES
    for stage in STAGES:
        stubs, solutions = tasks(parts(STUBS)[stage]), tasks(parts(SOLUTION)[stage])
        assert list(stubs) == list(checks(stage))
        for name, stub in stubs.items():
            methods = {name: stub} if isinstance(stub, ast.FunctionDef) else tasks_of_class(stub)
            solved = solutions[name]
            theirs = {name: solved} if isinstance(solved, ast.FunctionDef) else tasks_of_class(solved)
            for method, node in methods.items():
                got = ast.unparse(theirs[method].args)
                assert got.startswith(ast.unparse(node.args)), f"{name}.{method}"  # fit has settings, too


def tasks_of_class(node):
    return {method.name: method for method in node.body if isinstance(method, ast.FunctionDef)}


def test_the_solution_is_a_framework_of_300_lines():
    assert 250 < len(SOLUTION.splitlines()) < 350


@pytest.mark.parametrize("stage", STAGES)
def test_the_solution_of_a_stage_passes(stage):
    work = up_to(stage)
    for name, check in checks(stage).items():
        if name != "residual_20":
            assert worker.result(name, work, check) == ("done", ""), name


@pytest.mark.parametrize("stage", STAGES)
def test_the_stubs_of_a_stage_are_open(stage):
    work = worker.load(HERE / "mine.py")
    for name, check in checks(stage).items():
        state, message = worker.result(name, work, check)
        assert state == "open", name
        assert re.fullmatch(r"it is still to be written|it needs \w+, which is still to be written", message)


def test_residual_20_learns_in_a_few_steps():
    work = module(SOLUTION)
    digits = mg.data.Digits()
    images, labels = digits.images[:256], digits.labels[:256]
    rng = np.random.default_rng(0)
    net = work.Net(work.ResidualBlock, 20, 16, rng)

    def loss():
        return float(work.cross_entropy(net(work.Tensor(images), True), labels).data)

    before = loss()
    work.fit(net, images, labels, 2, rng)
    assert loss() < 0.5 * before
    assert {p.data.dtype.name for p in work.parameters(net)} == {"float32"}


def test_the_page_shows_how_to_check_a_tape_of_ones_own(monkeypatch):
    work = module(SOLUTION)
    monkeypatch.setitem(sys.modules, "mine", work)
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/milestones.md").read_text(), re.DOTALL)
    shown = {}
    exec(block, shown)
    a, b = np.random.default_rng(0).uniform(0.5, 2.0, (2, 2, 3))
    shown["check"](lambda a, b: a * b + a, a, b)
    shown["check"](lambda x: work.mean(x, 0), a)
    shown["check"](lambda a, b, c: a * b + c / b, a, b, b + a)
    with pytest.raises(mg.checks.GradientError):
        shown["check"](lambda a, b: work.Tensor(a.data * b.data, [(a, lambda g: g), (b, lambda g: g)]), a, b)


@pytest.mark.slow
def test_residual_20_reads_the_digits():
    check = checks(15)["residual_20"]
    assert worker.result("residual_20", module(SOLUTION), check) == ("done", "")


# Mistakes ------------------------------------------------------------------------------------

#: (stage, task that is told so, text of the solution, what it becomes, what is said)
MISTAKES = [
    (
        2,
        "Tensor",
        "np.asarray(data), edges",
        "np.asarray(data, float), edges",
        "of a float32 array, expected float32 data",
    ),
    (2, "gradients", "totals[x] = totals[x] + rule(g)  #", "totals[x] += rule(g)  #", "where rules return g itself"),
    (2, "gradients", "totals[x] = totals[x] + rule(g)  #", "totals[x] = rule(g)  #", "two edges to one leaf"),
    (2, "gradients", "(-x.order, x)", "(x.order, x)", "expected"),
    (2, "gradients", "if not v.edges:", "if True:", "expected gradients of 1 leaves, got 2"),
    (
        2,
        "mul",
        "lambda g: g * b.data), (b, lambda g: g * a.data)",
        "lambda g: g * a.data), (b, lambda g: g * b.data)",
        "the gradient of input 0",
    ),
    (2, "power", "g * p * x.data ** (p - 1)", "g * p * x.data ** p", "the gradient of input 0"),
    (2, "exp", "[(x, lambda g: g * y)]", "[(x, lambda g: g * x.data)]", "the gradient of input 0"),
    (2, "relu", "(x.data > 0)", "(x.data >= 0)", "relu at 0: its gradient, at index (0,): expected 0, got 1"),
    (3, "broadcast_to", "if size == 1), keepdims=True", "if size == 1)", "expected a gradient of shape"),
    (3, "broadcasting", "np.asarray(b, a.data.dtype)", "np.asarray(b)", "expected a float32 result, got float64"),
    (3, "broadcasting", "lambda a, b: a * b**-1", "lambda a, b: a * b", "a / b"),
    (3, "broadcasting", "Tensor.__array_ufunc__ = None", "", "array * x: expected a Tensor, got ndarray"),
    (3, "mean", "g * share, x.data.shape", "g, x.data.shape", "mean over axis 0: the gradient of input 0"),
    (4, "matmul", "g @ b.data.T", "g @ b.data", "ValueError"),
    (
        4,
        "reshape",
        "lambda g: g.reshape(x.data.shape)",
        "lambda g: g",
        "expected a gradient of shape (2, 3, 4) for input 0, got (6, 4)",
    ),
    (8, "pad", "g[:, p : p + h, p : p + w]", "g[:, p:-p, p:-p]", "pad(x, 0): expected a gradient of shape"),
    (8, "windows", "+= g[:, :, :, i, j]", "= g[:, :, :, i, j]", "the gradient of input 0"),
    (8, "windows", "np.moveaxis(view, 3, 5)", "view", "expected shape"),
    (11, "batch_norm", "g - g.mean(axes) - x_hat * (g * x_hat).mean(axes)", "g", "the gradient of input 0"),
    (11, "BatchNorm", "* count / (count - 1)", "", "after call 1 in training: var"),
    (12, "cross_entropy", "d * (g / len(labels))", "d * g", "the gradient of input 0"),
    (12, "cross_entropy", " - logits.data.max(axis=1, keepdims=True)", "", "expected 500, got"),
    (12, "SGD", "p.data = p.data - float(self.lr) * v", "p.data -= self.lr * v", "a step wrote into the old array"),
    (12, "SGD", "float(self.lr) * v", "self.lr * v", "an lr of type float64 turned float32 data into float64"),
    (14, "he_normal", "np.sqrt(2 / np.prod", "np.sqrt(1 / np.prod", "expected a variance of"),
    (14, "PlainBlock", "return relu(self.second(y, training))", "return self.second(y, training)", "expected"),
    (14, "Net", "b // a, rng", "1, rng", "logits of call 1 in training"),
    (
        14,
        "Net",
        "for p in parameters(part)]",
        "for p in parameters(part)][::-1]",
        "rng): the first that differs is parameter 0: expected shape (3, 3, 1, 2), got shape (10,)",
    ),
    (
        14,
        "Net",
        "self.weight, self.bias = he_normal((4 * width, 10), rng), Tensor(",
        "self.weight = he_normal((4 * width, 10), rng); self.bias = (",
        "rng): expected 59 parameters, got 58; the first that differs is parameter 58: expected shape (10,), got none",
    ),
    (14, "error", "training=False).data", "training=True).data", "the net was called with training=True"),
    (14, "fit", "sgd.step(gradients(loss, 1.0))", "gradients(loss, 1.0)", "expected < 20 %"),
    (
        14,
        "fit",
        "float(self.lr) * v",
        "np.float64(self.lr) * v",
        "expected parameters of float32, got float64",
    ),
    (14, "fit", "if step % steps == 0", "if step == 0", "come in the order of the first"),
    (14, "fit", "rng.permutation(len(images))", "np.arange(len(images))", "are not shuffled"),
    (14, "fit", "training=True), labels", "training=False), labels", "with training=False"),
    (3, "broadcasting", "Tensor.__sub__ =", "Tensor.__rsub__ = Tensor.__sub__ =", "1 - x"),
    (15, "shortcut", "(0, channels - c)))", "(channels - c, 0)))", "expected"),
    (15, "ResidualBlock", "relu(y + shortcut(x, self.first.stride, y.data.shape[3]))", "relu(y)", "expected"),
]


@pytest.mark.parametrize(
    ("stage", "name", "old", "new", "said"), MISTAKES, ids=lambda value: value if value in STAGES else ""
)
def test_a_mistake_is_told_in_numbers(stage, name, old, new, said):
    assert SOLUTION.count(old) >= 1
    with np.errstate(all="ignore"):
        state, message = worker.result(name, module(SOLUTION.replace(old, new, 1)), checks(stage)[name])
    assert state in ("wrong", "error"), (state, message)
    assert said in message, message


def test_gradients_along_every_path_are_stopped():
    work = module(SOLUTION)

    def gradients(y, g):
        found = {}

        def visit(v, g):
            if not v.edges:
                found[v] = found[v] + g if v in found else g
            for x, rule in v.edges:
                visit(x, rule(g))

        visit(y, g)
        return found

    work.gradients = gradients
    said = "200 doublings: stopped after 1,000,000 readings of edges; there are 2 ** 200 paths, but only 201 Tensors"
    assert worker.result("gradients", work, checks(2)["gradients"]) == ("wrong", said)


#: Slips that make no difference.
HARMLESS = {
    "gradients": ["-y.order -> y.order"],  # y is alone in the queue
    "broadcasting": ["x.data.shape == shape -> False"],  # a stretch to the same shape takes time, no more
}


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_no_slip_of_the_hand_passes(stage):
    passed = {}
    for name, check in checks(stage).items():
        if name in ("fit", "residual_20"):
            continue  # a recipe has many right forms
        unnoticed = [change for change, work in slips(HERE / "solutions/mine.py", name) if passes(check, work)]
        if unnoticed != HARMLESS.get(name, []):
            passed[name] = unnoticed
    assert passed == {}
