"""Mutants: the small changes of the code that :mod:`tests.tools.mutation` runs the suite on, and their names.

The rules of the changes are in :func:`changes`. Error messages are not changed (the conditions that lead to them are),
nor assertions (``assert``, and ``strict`` of zip, which can only refuse), docstrings, annotations, overloads,
decorators and imports. A mutant is named by its file, its function, the code before and after, and a number where that
comes twice: the name stays when lines move.
"""

from __future__ import annotations

import ast
import collections
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.tools.trials import ROOT

FILES = [
    str(path.relative_to(ROOT / "minigrad"))
    for folder in ("autograd", "ops", "kernels")
    for path in sorted((ROOT / "minigrad" / folder).glob("*.py"))
    if path.name != "__init__.py"
]

#: Why some mutants are equivalent, by file and name.
EQUIVALENT: dict[str, dict[str, str]] = tomllib.loads(
    (ROOT / "tests/tools/equivalent.toml").read_text(encoding="utf-8")
)

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
    if isinstance(node, ast.FunctionDef) and "overload" in map(ast.unparse, node.decorator_list):
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
    found = []
    for where, before, after in walk(ast.parse(source)):
        change = f"{where or 'top'}: {_short(before)} -> {_short(after)}"
        count[change] += 1
        if count[change] > 1:
            change += f" #{count[change]}"
        node: Any = before
        bare = isinstance(after, ast.stmt | ast.Slice)
        new = ast.unparse(after)
        text = new if bare else f"({new})"
        start, end = lines[node.lineno - 1] + node.col_offset, lines[node.end_lineno - 1] + node.end_col_offset
        reason = EQUIVALENT.get(file, {}).get(change, "")
        found.append(Mutant(f"{file} {change}", file, where, node.lineno, start, end, text, reason))
    return sorted(found, key=lambda mutant: mutant.start)


def stale(mutants: list[Mutant]) -> list[str]:
    """List what equivalent.toml says about mutants that their files do not have. Give it all mutants of a file."""
    names = {mutant.name for mutant in mutants}
    files = dict.fromkeys(mutant.file for mutant in mutants)
    said = [f"{file} {change}" for file in files for change in EQUIVALENT.get(file, {})]
    return [name for name in said if name not in names]


def _short(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 36 else f"{text[:17]}…{text[-17:]}"
