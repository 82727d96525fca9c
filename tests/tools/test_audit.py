"""The audit finds calls that CuPy lacks, and its table in the docs holds all that minigrad asks of an array library."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from tests.records import RECORDS
from tests.tools import audit, strict

ROOT = Path(__file__).parents[2]


class Compiled:
    """Stands for functions without a signature: Cython writes it into the docstring."""

    def __init__(self, doc):
        self.__doc__ = doc

    @property
    def __signature__(self):
        raise ValueError("no signature found")

    def __call__(self):
        """Do nothing."""


@pytest.mark.parametrize(
    ("doc", "signature"),
    [
        (
            "_ndarray_base.sum(self, axis=None, dtype=None) -> _ndarray_base\n\nAnd more (x).",
            "(self, axis=None, dtype=None)",
        ),
        ("_ndarray_base.reshape(self, *shape, order='C')", "(self, *shape, order=None)"),
        (
            r"maximum(x1, x2, /, out=None, \*, casting='same_kind', dtype=None)",
            "(x1, x2, /, out=None, *, casting=None, dtype=None)",
        ),
        ("_ndarray_base.swapaxes(self, Py_ssize_t axis1, Py_ssize_t axis2)", "(self, axis1, axis2)"),
        ("f(a, /, b, **rest)", "(a, /, b, **rest)"),
    ],
)
def test_signatures_of_compiled_functions(doc, signature):
    assert str(audit.signature_of(Compiled(doc))) == signature


@pytest.mark.parametrize("doc", [None, "", "Applies it elementwise."])
def test_no_signature_is_no_fault(doc):
    assert audit.signature_of(Compiled(doc)) is None


FAULTS = {
    ("zeros_like", 1, ("dtype",)): "",
    ("ndarray.reshape", 3, ()): "",
    ("lib.stride_tricks.as_strided", 3, ()): "",
    ("no_such", 1, ()): "no such name",
    ("lib.no_such", 1, ()): "no such name",
    ("ndarray.no_such", 0, ()): "no such name",
    ("ndarray.T", 0, ()): "",
    ("zeros_like", 1, ("device_of_mine",)): "unexpected keyword argument 'device_of_mine'",
    ("eye", 7, ()): "too many positional",
    ("broadcast_to", 1, ()): "missing a required argument",
    ("tile", 1, ("A",)): "multiple values",
}


@pytest.mark.parametrize("call", FAULTS, ids=str)
def test_faults(call):
    fault = audit.fault_of(call, np)
    assert FAULTS[call] in fault
    assert bool(FAULTS[call]) == bool(fault)


def test_the_real_cupy_without_a_gpu_says_what_is_missing():
    cupy = pytest.importorskip("cupy")
    try:
        cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError:
        with pytest.raises(RuntimeError, match="CuPy is installed, but finds no usable GPU for 'cuda' .*nvidia-smi"):
            mg.Tensor([1.0]).to("cuda")
    else:
        pytest.skip("there is a GPU")


def documented():
    """Return {name: keywords} from the table in the docs."""
    text = (ROOT / "docs" / "dispatch.md").read_text().partition("| called |")[2]
    found = {}
    for row in re.findall(r"^\| (.+?) \| ?(.*?) ?\|$", text, re.MULTILINE):
        method = "methods" in row[0] or "operators" in row[0]
        for name in re.findall(r"`([\w.]+)`", row[0]):
            found["ndarray." + name if method else name] = set(re.findall(r"`(\w+)`", row[1]))
    return found


def test_the_table_reads_back():
    calls = {("exp", 1, ()), ("ndarray.sum", 0, ("axis",)), ("ndarray.sum", 0, ("keepdims",)), ("ndarray.T", 0, ())}
    assert audit.table(calls).splitlines()[2:] == [
        "| `ndarray.sum` | `axis`, `keepdims` |",
        "| functions without keywords: `exp` | |",
        "| methods and attributes without keywords: `T` | |",
    ]


def test_what_the_operators_call_is_in_the_docs():
    strict.calls.clear()
    for name, record in RECORDS.items():
        for sample in record.samples.values():
            leaves = [mg.Tensor(strict.asarray(x), requires_grad=True) for x in sample.inputs]
            sample.function(name)(*leaves).sum().backward()
    known = documented()
    assert len(strict.calls) > 50
    for name, _, keywords in strict.calls:
        assert name in known, f"{name}: not in docs/dispatch.md; run python -m tests.tools.audit --write"
        assert set(keywords) <= known[name], name


def test_every_name_that_the_source_asks_of_a_library_is_in_the_docs():
    """A name that the suite never ran on the double would be missing here: a gap in the suite."""
    known, asked = documented(), set()
    for path in (ROOT / "minigrad").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute):
                owner = ast.unparse(node.value)
                if owner == "xp" or re.fullmatch(r"namespace\([^()]*(\([^()]*\))?[^()]*\)", owner):
                    asked.add((path.name, node.attr))
    assert len(asked) > 20
    names = {part for name in known for part in name.split(".")}
    unknown = {(path, name) for path, name in asked if name not in names}
    assert not unknown, f"{unknown}: not in docs/dispatch.md; run python -m tests.tools.audit --write"
