"""The house: when each file is read, and on which floor it stands.

The one table of the source. The tests take the floors and the order of reading from it (tests/test_house.py), the site
the route with its minutes (docs/_ext/reading.py). ``python -m tests.house`` prints the route; with ``--write`` it also
puts it into the files: the line ``Next: ...`` at the end of each module's docstring.

A new file needs one line in :data:`ROUTE`. A new folder also needs a place in :data:`FLOORS`.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]

#: From the ground up. A file imports from its own folder and from lower floors, never from a neighbour on its floor: so
#: autograd, kernels and data know nothing of one another.
FLOORS = [
    ["minigrad.typing"],
    ["minigrad.arguments", "minigrad.device"],
    ["minigrad.checked"],
    ["minigrad.autograd", "minigrad.kernels", "minigrad.data"],
    ["minigrad.ops"],
    ["minigrad.checks", "minigrad.nn"],
    ["minigrad.optim", "minigrad.inspect", "minigrad.distributed"],
    ["minigrad.train", "minigrad.advice"],
    ["minigrad"],  # what the package hands out
    ["models"],
    ["minigrad.models"],
    ["minigrad.__main__"],
]


class Entry(NamedTuple):
    """A file on the route.

    Attributes
    ----------
    module : str
    until : str
        The title (``# Title ------``) at which the first reading stops. The rest of the file is read when needed.
    """

    module: str
    until: str = ""


#: Every file once, in the order of reading. Within a part, a file imports only what stands above it; what it imports of
#: a later part can be taken on trust: the fast paths, and helpers whose names say what they do.
ROUTE = {
    "First evening": [
        Entry("minigrad.device", until="The few primitives that differ"),
        Entry("minigrad.autograd.tape"),
        Entry("minigrad.autograd.tensor", until="Out of the tape"),
        Entry("minigrad.autograd.operator", until="Arguments of a call"),
        Entry("minigrad.autograd.broadcasting"),
        Entry("minigrad.autograd.backward", until="Where a replay starts, and what it returns"),
        Entry("minigrad.ops.elementwise", until="Noise"),
        Entry("minigrad.ops.reduction", until="Axes"),
        Entry("minigrad.ops.matmul", until="One matrix and a stack"),
        Entry("minigrad.ops.conv", until="The public functions, and their checks"),
        Entry("minigrad.ops.norm", until="The public function, and its checks"),
        Entry("minigrad.checks.differences", until="What is said on failure"),
        Entry("minigrad.nn.module", until="State"),
        Entry("minigrad.nn.layers", until="Windows, noise and shape"),
        Entry("minigrad.optim.optimizer"),
        Entry("minigrad.optim.sgd"),
        Entry("models.plain"),
        Entry("models.resnet", until="The nets of the paper"),
    ],
    "Second evening": [
        Entry("minigrad.kernels.interrupts"),
        Entry("minigrad.kernels.blas"),
        Entry("minigrad.kernels.threads"),
        Entry("minigrad.kernels.blocks"),
        Entry("minigrad.kernels.products"),
        Entry("minigrad.kernels.columns"),
        Entry("minigrad.kernels.winograd"),
        Entry("minigrad.kernels.conv"),
        Entry("minigrad.kernels.pixels"),
        Entry("minigrad.kernels.norm"),
        Entry("minigrad.kernels.masks"),
        Entry("minigrad.kernels.memory"),
        Entry("minigrad.autograd.modes"),
        Entry("minigrad.autograd.recompute"),
    ],
    "When you need it": [
        Entry("minigrad.typing"),
        Entry("minigrad.arguments"),
        Entry("minigrad.checked"),
        Entry("minigrad.autograd.signatures"),
        Entry("minigrad.autograd.explain"),
        Entry("minigrad.ops.functions"),
        Entry("minigrad.ops.shape"),
        Entry("minigrad.ops.einsum"),
        Entry("minigrad.ops.windows"),
        Entry("minigrad.ops.pool"),
        Entry("minigrad.ops.loss"),
        Entry("minigrad.ops.methods"),
        Entry("minigrad.checks.identities"),
        Entry("minigrad.checks.operators"),
        Entry("minigrad.nn.init"),
        Entry("minigrad.nn.fold"),
        Entry("minigrad.optim.groups"),
        Entry("minigrad.optim.adam"),
        Entry("minigrad.optim.clip"),
        Entry("minigrad.optim.schedules"),
        Entry("minigrad.data.dataset"),
        Entry("minigrad.data.digits"),
        Entry("minigrad.data.images"),
        Entry("minigrad.data.transforms"),
        Entry("minigrad.data.loader"),
        Entry("minigrad.data.subset"),
        Entry("minigrad.data.fetch"),
        Entry("minigrad.data.cifar"),
        Entry("minigrad.data.mnist"),
        Entry("minigrad.inspect.summary"),
        Entry("minigrad.inspect.statistics"),
        Entry("minigrad.inspect.drawing"),
        Entry("minigrad.distributed.processes"),
        Entry("minigrad.distributed.shards"),
        Entry("minigrad.train.checkpoint"),
        Entry("minigrad.train.report"),
        Entry("minigrad.train.diagnose"),
        Entry("minigrad.train.signals"),
        Entry("minigrad.train.run"),
        Entry("minigrad.train.loop"),
        Entry("models.preact"),
        Entry("models.vgg"),
        Entry("models.predict"),
        Entry("models.pretrained"),
        Entry("models.legacy"),
        Entry("minigrad.models"),
        Entry("minigrad.advice"),
        # what the packages hand out, and a command
        Entry("minigrad"),
        Entry("minigrad.autograd"),
        Entry("minigrad.kernels"),
        Entry("minigrad.ops"),
        Entry("minigrad.checks"),
        Entry("minigrad.nn"),
        Entry("minigrad.optim"),
        Entry("minigrad.data"),
        Entry("minigrad.data.__main__"),
        Entry("minigrad.inspect"),
        Entry("minigrad.distributed"),
        Entry("minigrad.train"),
        Entry("models"),
        Entry("minigrad.__main__"),
    ],
}

#: At most so many lines of code. Docstrings, comments and blank lines are not counted, here and on the site. The last
#: number is a ratchet: the aim is 4,000, and whoever removes code lowers it.
FILE, FIRST_EVENING, MINIGRAD = 250, 1_500, 6_874

#: A careful reader's pace, a minute: words of prose, and lines of code.
WORDS, LINES = 200, 20


class Size(NamedTuple):
    """Lines of code and words of prose."""

    code: int
    words: int

    @property
    def minutes(self) -> int:
        """How long it takes to read."""
        return max(1, round(self.words / WORDS + self.code / LINES))


def order() -> list[str]:
    """Name every module in the order of reading."""
    return [entry.module for entries in ROUTE.values() for entry in entries]


@cache
def paths() -> dict[str, Path]:
    """Return every file of minigrad/ and models/ by its module."""
    found = [path for package in ("minigrad", "models") for path in sorted((ROOT / package).rglob("*.py"))]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in found}


def chain() -> list[str]:
    """Name the files that name the next one: all but packages that only hand out names, and commands."""
    packages = {name for name, path in paths().items() if path.stem == "__init__"}
    return [name for name in order() if name not in packages and not name.endswith("__main__")]


def imported(node: ast.ImportFrom, module: str) -> str:
    """Return the full name of the module that an import in `module` names, which may be relative."""
    if not node.level:
        return node.module or ""
    package = module if paths()[module].stem == "__init__" else module.rpartition(".")[0]
    return f"{package}.{node.module}"


def floor(module: str) -> tuple[int, str]:
    """Return the number of a module's floor, and the folder (or single file) on it that the module belongs to."""
    folders = {folder: number for number, level in enumerate(FLOORS) for folder in level}
    inside = [folder for folder in folders if f"{module}.".startswith(f"{folder}.")]
    folder = max(inside, key=len, default="")
    if not folder or (folder == "minigrad" and module != "minigrad"):
        raise ValueError(f"{module}: its folder has no place in FLOORS of tests/house.py")
    return folders[folder], folder


def prose_lines(text: str) -> set[int]:
    """Return the numbers of the lines that are prose: docstrings, and comments that have lines of their own."""
    lines: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            lines.update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and token.line.lstrip().startswith("#"):
            lines.add(token.start[0])
    return lines


def titles(text: str) -> dict[str, int]:
    """Return the titles of the parts of a file, ``# Title ------``, each with the number of its line."""
    found = [re.fullmatch(r"\s*# (.*?) -{4,}", line) for line in text.splitlines()]
    return {title[1]: number for number, title in enumerate(found, 1) if title}


def measure(text: str, until: str = "") -> Size:
    """Count the lines of code and the words of prose of a file, up to a title."""
    prose, code, words = prose_lines(text), 0, 0
    lines = text.splitlines()
    if until:
        if until not in titles(text):
            raise ValueError(f"expected the title {until!r}, got {[*titles(text)]} in: {lines[0]}")
        lines = lines[: titles(text)[until] - 1]
    for number, line in enumerate(lines, 1):
        if number in prose:
            words += len(line.strip('"# :-').split())
        elif line.strip():
            code += 1
    return Size(code, words)


def sizes(part: str, *, whole: bool = False) -> dict[str, Size]:
    """Measure the files of a part of the route: as far as they are read in it, or whole."""
    texts = {entry: paths()[entry.module].read_text(encoding="utf-8") for entry in ROUTE[part]}
    return {entry.module: measure(text, "" if whole else entry.until) for entry, text in texts.items()}


def total(part: str) -> Size:
    """Measure a part of the route. What the first evening leaves of a file is read when needed."""
    measured = [*sizes(part).values()]
    if part == "When you need it":
        whole, read = sizes("First evening", whole=True), sizes("First evening")
        measured += [Size(whole[m].code - read[m].code, whole[m].words - read[m].words) for m in whole]
    return Size(sum(size.code for size in measured), sum(size.words for size in measured))


def write_next() -> None:
    """Write into each file which one is read next."""
    for module, following in pairwise(chain()):
        text = paths()[module].read_text(encoding="utf-8")
        line = f"Next: :mod:`{following}`."
        new, found = re.subn(r"^Next: :mod:`[\w.]+`[^\n]*", line, text, count=1, flags=re.MULTILINE)
        if not found:
            docstring = re.match(r'(r?""".*?)\n?"""', text, re.DOTALL)
            assert docstring, f"{module} has no docstring"
            new = f'{docstring[1].rstrip()}\n\n{line}\n"""{text[docstring.end() :]}'
        if new != text:
            paths()[module].write_text(new, encoding="utf-8")
            print(f"{module}: {line}")


def main() -> None:
    """Print the route, and each folder's lines of code; with ``--write``, also write it into the files."""
    if "--write" in sys.argv[1:]:
        write_next()
    folders: dict[str, int] = {}
    for part in ROUTE:
        size = total(part)
        print(f"\n{part}: {size.code:,} lines of code, {size.minutes} minutes")
        for module, read in sizes(part).items():
            print(f"  {module:<34}{read.code:>5}{read.minutes:>5}")
        for module, read in sizes(part, whole=True).items():
            folders[floor(module)[1]] = folders.get(floor(module)[1], 0) + read.code
    print("\nLines of code\n" + "\n".join(f"  {folder:<34}{code:>5}" for folder, code in sorted(folders.items())))
    print(f"  minigrad/ together{sum(code for name, code in folders.items() if name != 'models'):>21,}")


if __name__ == "__main__":
    main()
