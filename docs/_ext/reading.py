"""The source as something to read: how long each file takes, and which prose belongs to which lines.

The order of reading is the table of tests/house.py. Nothing here knows Sphinx; :mod:`annotated` makes pages of it.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

from demos import ORDER as DEMOS
from tests import house
from tests.house import ROOT, Size

#: What the demos share.
SHARED = ["style", "lab"]

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Definition:
    """A function, class, method or constant: its dotted name, its first line, and whether prose explains it."""

    name: str
    line: int
    node: ast.AST
    explained: bool


@dataclass
class Prose:
    """A docstring, the lines of a comment, or the title of a part of the file."""

    kind: str  # "docstring", "comment", "title"
    text: str
    line: int
    inside: str = ""  # the class whose docstring this is, or whose method's


@dataclass
class Row:
    """Prose, and the lines of code beside it."""

    prose: list[Prose] = field(default_factory=list)
    code: list[int] = field(default_factory=list)


@dataclass
class File:
    """One file of Python."""

    module: str
    path: Path

    def __post_init__(self) -> None:
        self.text = self.path.read_text(encoding="utf-8")
        self.lines = self.text.splitlines()
        self.tree = ast.parse(self.text)

    @property
    def name(self) -> str:
        """The path from the root of the repository, with slashes."""
        return self.path.relative_to(ROOT).as_posix()

    @cached_property
    def prose(self) -> list[Prose]:
        """Every docstring and every comment that has lines of its own, from top to bottom."""
        found = [*self._docstrings(self.tree, ""), *self._comments()]
        return sorted(found, key=lambda prose: prose.line)

    def _docstrings(self, node: ast.AST, inside: str) -> list[Prose]:
        found = []
        if isinstance(node, ast.ClassDef):
            inside = f"{inside}.{node.name}".strip(".")
        if isinstance(node, ast.Module | ast.ClassDef | Function):
            text = ast.get_docstring(node)
            if text:
                found.append(Prose("docstring", text, node.body[0].lineno, inside))
        for child in ast.iter_child_nodes(node):
            found += self._docstrings(child, inside)
        return found

    def _comments(self) -> list[Prose]:
        found: list[Prose] = []
        for token in tokenize.generate_tokens(io.StringIO(self.text).readline):
            line = token.start[0]
            if token.type != tokenize.COMMENT or not self.lines[line - 1].lstrip().startswith("#"):
                continue
            title = re.fullmatch(r"# (.*?) -{4,}", token.string)
            text = title[1] if title else token.string.lstrip("#:").strip()
            last = found[-1] if found else None
            if not title and last and last.kind == "comment" and last.line + last.text.count("\n") == line - 1:
                last.text += f"\n{text}"
            else:
                found.append(Prose("title" if title else "comment", text, line))
        return found

    @cached_property
    def spoken(self) -> set[int]:
        """The numbers of the lines that are prose."""
        return house.prose_lines(self.text)

    @cached_property
    def rows(self) -> list[Row]:
        """The file from top to bottom. The prose of a definition stands beside its first line."""
        begins: dict[int, list[Prose]] = {}
        starts = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ClassDef | Function):
                starts[node.body[0].lineno] = min([node.lineno, *(d.lineno for d in node.decorator_list)])
        for prose in self.prose:
            line = starts.get(prose.line, prose.line) if prose.kind == "docstring" else prose.line
            begins.setdefault(line, []).append(prose)
        rows = [Row()]
        for line in range(1, len(self.lines) + 1):
            for prose in begins.get(line, ()):
                last = rows[-1]
                alone = prose.kind == "title" or any(p.kind == "title" for p in last.prose)
                if last.code or (last.prose and alone):
                    rows.append(Row())
                rows[-1].prose.append(prose)
            blank = not self.lines[line - 1].strip()
            if line not in self.spoken and not (blank and (not rows[-1].code or line - 1 in self.spoken)):
                rows[-1].code.append(line)
        for row in rows:
            while row.code and not self.lines[row.code[-1] - 1].strip():
                row.code.pop()
        return [row for row in rows if row.prose or row.code]

    @cached_property
    def definitions(self) -> list[Definition]:
        """Everything that has a name, but for what is local to a function."""
        return list(self._definitions(self.tree, self.module))

    def _definitions(self, parent: ast.AST, prefix: str) -> list[Definition]:
        found = []
        comments = {p.line + p.text.count("\n") + 1 for p in self.prose if p.kind == "comment"}
        for node in ast.iter_child_nodes(parent):
            if isinstance(node, ast.ClassDef | Function) and not _is_overload(node):
                first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
                explained = bool(ast.get_docstring(node)) or first in comments or not _needs_prose(node)
                found.append(Definition(f"{prefix}.{node.name}", node.lineno, node, explained))
                if isinstance(node, ast.ClassDef):
                    found += self._definitions(node, f"{prefix}.{node.name}")
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names = [t.id for target in targets for t in ast.walk(target) if isinstance(t, ast.Name)]
                found += [Definition(f"{prefix}.{name}", node.lineno, node, True) for name in names]
        return found

    @property
    def size(self) -> Size:
        """Lines of code, words of prose, and the minutes that they take."""
        return house.measure(self.text)


def _is_overload(node: ast.ClassDef | Function) -> bool:
    """Whether a definition only states one of the types of the function that follows."""
    return any(ast.unparse(d) == "overload" for d in node.decorator_list)


def _needs_prose(node: ast.ClassDef | Function) -> bool:
    """Whether a definition must be explained: not what Python defines, what belongs to the one above it, or a stub."""
    special = node.name.startswith("__") and node.name.endswith("__")
    attached = any(isinstance(d, ast.Attribute) for d in node.decorator_list)  # x.setter, conv2d.vjp
    stub = ast.unparse(node.body[-1]) == "..." and isinstance(node, Function)  # a type, and nothing else
    return not (special or attached or stub)


@cache
def files() -> dict[str, File]:
    """Return the files by module, in the order of reading.

    Raises
    ------
    ValueError
        If a file has no place in the order, or a place no file.
    """
    names, there = house.order(), house.paths()
    if set(names) != set(there) or len(set(names)) < len(names):
        raise ValueError(f"tests/house.py: {sorted(set(names) ^ set(there))} have a place or a file, not both")
    return {name: File(name, there[name]) for name in names}


@cache
def demos() -> dict[str, File]:
    """Return the demos by module, in their order, and then what they share; they use what the files define."""
    return {f"demos.{name}": File(f"demos.{name}", ROOT / f"demos/{name}.py") for name in [*DEMOS, *SHARED]}


def unexplained() -> list[str]:
    """List definitions without prose, as file:line name."""
    return [f"{f.name}:{d.line} {d.name}" for f in files().values() for d in f.definitions if not d.explained]


@dataclass
class Index:
    """Where names are defined: follows imports, from file to file."""

    def __post_init__(self) -> None:
        self.defined: dict[str, tuple[File, int]] = {}
        self.imported: dict[str, str] = {}
        for module, file in {**files(), **demos()}.items():
            for definition in file.definitions:
                self.defined.setdefault(definition.name, (file, definition.line))
            for node in file.tree.body:
                if isinstance(node, ast.ImportFrom) and node.module:
                    source = house.imported(node, module)
                    for alias in node.names:
                        self.imported[f"{module}.{alias.asname or alias.name}"] = f"{source}.{alias.name}"
                elif isinstance(node, ast.Import):
                    for alias in node.names:
                        self.imported[f"{module}.{alias.asname or alias.name}"] = alias.name

    def find(self, name: str) -> tuple[File, int] | None:
        """Return the file and line of a dotted name: 0 is the file itself; None if it is not ours."""
        for _ in range(9):  # no chain of imports is longer
            if name in self.defined:
                return self.defined[name]
            if name in files():
                return files()[name], 0
            parent, _, last = name.rpartition(".")
            star = self.imported.get(f"{parent}.*")
            if name in self.imported:
                name = self.imported[name]
            elif parent in self.imported:
                name = f"{self.imported[parent]}.{last}"
            elif star:
                name = f"{star}.{last}"
            else:
                return None
        return None


@cache
def index() -> Index:
    """Return the one index."""
    return Index()


def referred(module: str, owner: str, name: str) -> tuple[File, int] | None:
    """Return the file and line that a docstring means by a name.

    It is looked up in the class, in the module, and as a full name; then in the package and anywhere, if it is defined
    there once.
    """
    name = name.lstrip(".~").removesuffix("()")
    guesses = [f"{module}.{owner}.{name}", f"{module}.{name}", name]
    for package in (f"{module}.", ""):
        once = [full for full in index().defined if full.startswith(package) and full.endswith(f".{name}")]
        guesses += once if len(once) == 1 else []
    return next(filter(None, map(index().find, guesses)), None)


def uses(file: File) -> dict[tuple[int, int], tuple[File, int]]:
    """Find the names in a file that are defined in the reading order: (line, column) -> (file, line)."""
    found: dict[tuple[int, int], tuple[File, int]] = {}

    def note(line: int, byte: int, name: str) -> None:
        target = index().find(name)
        column = len(file.lines[line - 1].encode()[:byte].decode())
        if target and target != (file, line):
            found[line, column] = target

    def walk(node: ast.AST, local: frozenset[str], inside: str) -> None:
        if isinstance(node, Function | ast.Lambda):
            bound = [n for n in ast.walk(node) if isinstance(n, ast.arg | ast.Name)]
            local |= {
                n.arg if isinstance(n, ast.arg) else n.id
                for n in bound
                if isinstance(n, ast.arg) or isinstance(n.ctx, ast.Store)
            }
            local -= {name for n in ast.walk(node) if isinstance(n, ast.Global) for name in n.names}
        elif isinstance(node, ast.ClassDef):
            inside = f"{inside}.{node.name}"
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id not in local:
            note(node.lineno, node.col_offset, f"{file.module}.{node.id}")
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.end_col_offset:
            owner, at = node.value.id, (node.end_lineno or 0, node.end_col_offset - len(node.attr.encode()))
            if owner == "self" and inside != file.module:
                note(*at, f"{inside}.{node.attr}")
            elif owner not in local and f"{file.module}.{owner}" in index().imported:
                note(*at, f"{file.module}.{owner}.{node.attr}")
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                note(alias.lineno, alias.col_offset, f"{house.imported(node, file.module)}.{alias.name}")
        for child in ast.iter_child_nodes(node):
            walk(child, local, inside)

    walk(file.tree, frozenset(), file.module)
    return found
