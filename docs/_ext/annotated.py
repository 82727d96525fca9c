"""The annotated source: every file with its prose beside its code, made from the file that runs.

- ``.. annotated-source:: minigrad.autograd.operator`` shows one file. Docstrings and comments that have lines of their
  own stand on the left, parsed as reST, and the lines of code with numbers on the right; names in the code lead to
  where they are defined. An introduction with a wide diagram or formula stands above its code. Pages with this
  directive are written for every file before Sphinx looks for documents.
- ``.. reading-order:: First evening`` lists the files of a part of the route, with the minutes each takes.
- Every entry of the reference gets a link to its line, and what a docstring refers to and the reference does not
  hold (``:class:`Entry```, ``:mod:`minigrad.autograd.operator```) is looked up here.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable
from html import escape
from importlib import import_module
from pathlib import Path
from typing import Any

import reading
from docutils import nodes
from docutils.statemachine import StringList
from pygments.lexers.python import PythonLexer
from pygments.token import STANDARD_TYPES
from sections import to_rest
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

from tests import house

#: So many characters of a diagram fit into the column of prose.
COLUMN = 42

#: Where a name without a module may stand, besides the module that it is written in.
PUBLIC = ["minigrad", "minigrad.nn", "minigrad.optim", "minigrad.data", "minigrad.train", "models"]


def page(file: reading.File) -> str:
    """Return the name of a file's page."""
    name = file.name.removesuffix(".py")
    return f"gallery/{name.removeprefix('demos/')}" if name.startswith("demos/") else f"source/{name}"


# A page of source ----------------------------------------------------------------------------


class AnnotatedSource(SphinxDirective):
    """Prose at the left, code at the right."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return a line of facts, and the rows of the file."""
        file = reading.files()[self.arguments[0]]
        return [facts(file), self.annotated(file, file.rows)]

    def annotated(self, file: reading.File, rows: list[reading.Row]) -> nodes.Node:
        """Return rows of a file."""
        self.env.note_dependency(str(file.path))
        code = highlighted(file, self._address)
        before = {name: self.env.ref_context.get(name) for name in ("py:module", "py:class")}
        shown = nodes.container(classes=["annotated"])
        for row in rows:
            prose = nodes.container(classes=["prose"])
            for item in row.prose:
                if item.kind == "title":
                    shown += nodes.rubric(item.text, item.text, classes=["part"])
                else:
                    self.env.ref_context.update({"py:module": file.module, "py:class": item.inside or None})
                    parse(self, item, file, prose)
            lines = "".join(code[line - 1] for line in row.code)
            html = f'<div class="highlight"><pre>{lines}</pre></div>' if lines else ""
            if row is file.rows[0]:
                html = outline(file) + html
            if html or prose.children:
                beside = nodes.container("", nodes.raw("", html, format="html"), classes=["code"])
                wide = ["wide"] if row is file.rows[0] and _is_wide(prose) else []
                shown += nodes.container("", prose, beside, classes=["pair", *wide])
        self.env.ref_context.update(before)
        return shown

    def _address(self, here: reading.File, file: reading.File, line: int) -> str:
        name = "" if file is here else self.env.app.builder.get_relative_uri(page(here), page(file))
        return f"{name}#L{line}" if line else name


def _is_wide(prose: nodes.Element) -> bool:
    """Whether prose has a displayed formula, or a diagram that is wider than the column."""
    blocks = "\n".join(node.astext() for node in prose.findall(nodes.literal_block))
    return max(map(len, blocks.split("\n"))) > COLUMN or any(prose.findall(nodes.math_block))


def parse(directive: SphinxDirective, prose: reading.Prose, file: reading.File, node: nodes.Element) -> None:
    """Parse prose as reST into a node; a fault is reported with the file's own name, and its line to within a few."""
    lines = prose.text.split("\n")
    lines = to_rest(lines) if prose.kind == "docstring" else [plain(line) for line in lines]
    content = StringList(lines, items=[(str(file.path), prose.line - 1 + i) for i in range(len(lines))])
    directive.state.nested_parse(content, 0, node)


def plain(comment: str) -> str:
    """Escape what reST would take for markup in a comment, but for ``literals`` and roles."""
    parts = re.split(r"(``.+?``|:\w+:`.+?`|`.+?`)", comment)
    return "".join(part if i % 2 else re.sub(r"([*_|`\\])", r"\\\1", part) for i, part in enumerate(parts))


def highlighted(file: reading.File, address: Callable[[reading.File, reading.File, int], str]) -> list[str]:
    """Return every line of a file as HTML: its number, which is its anchor, and the code with links."""
    links, lines = reading.uses(file), [""]
    column = 0
    for _, kind, text in PythonLexer(stripnl=False).get_tokens_unprocessed(file.text):
        for i, piece in enumerate(text.split("\n")):
            if i:
                lines.append("")
                column = 0
            if piece:
                sign = piece.startswith("@") and len(piece) > 1
                target = links.get((len(lines), column + sign))
                html = escape(piece)
                if target:
                    html = f'<a href="{address(file, *target)}">{html}</a>'
                style = STANDARD_TYPES.get(kind, "")
                lines[-1] += f'<span class="{style}">{html}</span>' if style else html
                column += len(piece)
    number = '<a class="number" href="#L{0}">{0}</a>'
    return [
        f'<span class="line" id="L{n}">{number.format(n)}<code>{wrapped(line) or " "}</code></span>'
        for n, line in enumerate(lines, 1)
    ]


def wrapped(line: str) -> str:
    """Indent what does not fit on a narrow screen further than the line itself."""
    indent = len(line) - len(line.lstrip(" "))
    return f'<span style="--indent: {indent}ch">{line}</span>' if line else ""


def outline(file: reading.File) -> str:
    """Return the list of what a file defines, for its top."""
    parts = [d for d in file.definitions if d.name.count(".") == file.module.count(".") + 1]
    parts = [d for d in parts if not isinstance(d.node, ast.Assign | ast.AnnAssign)]
    names = dict.fromkeys((d.name.rpartition(".")[2], d.line) for d in parts)
    items = [f'<a href="#L{line}">{escape(name)}</a>' for name, line in names if not name.startswith("_")]
    return f'<p class="outline">{" ".join(items)}</p>' if items else ""


def facts(file: reading.File) -> nodes.Node:
    """Return the line under the title."""
    text = said(file.size)
    for part, entries in house.ROUTE.items():
        for entry in entries:
            if entry.module == file.module and entry.until:
                read = house.sizes(part)[file.module]
                text += f". {part}: read as far as \u201c{entry.until}\u201d, about {minutes(read.minutes)}"
    return nodes.paragraph("", text, classes=["facts"])


def said(size: reading.Size) -> str:
    """Say how much there is to read."""
    return f"{size.code:,} lines of code, {size.words:,} words, about {minutes(size.minutes)}"


def minutes(n: int) -> str:
    """Write a number of minutes."""
    return f"{n} minute{'s' * (n != 1)}"


# The list of pages ---------------------------------------------------------------------------


class ReadingOrder(SphinxDirective):
    """A part of the reading route: what each file is, and how long it takes."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Return how long the part takes, and a table of its files."""
        part = self.arguments[0]
        self.env.note_dependency(house.__file__)
        lines = [".. rst-class:: facts", "", f"{said(house.total(part))}.", ""]
        lines += [".. list-table::", "   :widths: 33 56 11", "   :header-rows: 1", "   :class: order", ""]
        lines += ["   * - File", "     - What it is", "     - Min"]
        sizes = house.sizes(part)
        for entry in house.ROUTE[part]:
            file = reading.files()[entry.module]
            self.env.note_dependency(str(file.path))
            first = (ast.get_docstring(file.tree) or "").split("\n\n")[0].replace("\n", " ")
            until = f" Read as far as *{entry.until}*." if entry.until else ""
            name = file.name.removeprefix("minigrad/").replace("/", "/\u200b")  # a line may end there
            lines += [f"   * - :doc:`{name} </{page(file)}>`", f"     - {first}{until}"]
            lines += [f"     - {sizes[entry.module].minutes}"]
        node = nodes.container()
        self.state.nested_parse(StringList(lines, items=[(self.env.docname, 0)] * len(lines)), 0, node)
        return node.children


def write_pages(app: Sphinx) -> None:
    """Write a page for every file, and remove those of files that are gone."""
    source = Path(app.srcdir)
    wanted = {}
    for file in reading.files().values():
        title = file.name
        wanted[source / f"{page(file)}.rst"] = (
            f":hide-toc:\n\n{title}\n{'=' * len(title)}\n\n.. annotated-source:: {file.module}\n"
        )
    for package in ("minigrad", "models"):
        for old in (source / "source" / package).rglob("*.rst"):
            if old not in wanted:
                old.unlink()
    for path, text in wanted.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")


class SourceTree(SphinxDirective):
    """The table of contents of the annotated source."""

    def run(self) -> list[nodes.Node]:
        """Return a toctree."""
        lines = [".. toctree::", "   :hidden:", ""]
        lines += [f"   {file.name.removeprefix('minigrad/')} </{page(file)}>" for file in reading.files().values()]
        node = nodes.container()
        self.state.nested_parse(StringList(lines, items=[(self.env.docname, 0)] * len(lines)), 0, node)
        return node.children


# Links into it -------------------------------------------------------------------------------


def resolve(app: Sphinx, env: Any, node: addnodes.pending_xref, text: nodes.Element) -> nodes.Element | None:
    """Find a name that the reference does not hold: a public one without its module, or one in the source."""
    if node.get("refdomain") != "py" or node["reftype"] == "obj":
        return None
    name, module, owner = node["reftarget"], node.get("py:module"), node.get("py:class")
    domain = env.domains["py"]
    for package in PUBLIC:
        entry = domain.objects.get(f"{package}.{name}") or domain.objects.get(f"{package}.{owner}.{name}")
        if entry:
            return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, text)
    found = reading.referred(module, owner, name)
    if not found:
        return None
    file, line = found
    return make_refnode(app.builder, node["refdoc"], page(file), f"L{line}" if line else "", text)


def link_source(app: Sphinx, doctree: nodes.document) -> None:
    """Put a link to the annotated source at the end of every signature of the reference."""
    for signature in doctree.findall(addnodes.desc_signature):
        module, fullname = signature.get("module"), signature.get("fullname")
        if not module or not fullname:
            continue
        thing: Any = import_module(module)
        for part in fullname.split("."):
            thing = inspect.getattr_static(thing, part) if isinstance(thing, type) else getattr(thing, part)
        thing = getattr(thing, "fget", None) or getattr(thing, "__func__", thing)
        name = f"{getattr(thing, '__module__', module)}.{getattr(thing, '__qualname__', fullname)}"
        found = reading.index().find(name) or reading.index().find(f"{module}.{fullname}")
        if found:
            file, line = found
            address = app.builder.get_relative_uri(app.env.current_document.docname, page(file)) + f"#L{line}"
            signature += nodes.reference("", "source", internal=True, refuri=address, classes=["to-source"])


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx."""
    app.add_directive("annotated-source", AnnotatedSource)
    app.add_directive("reading-order", ReadingOrder)
    app.add_directive("source-tree", SourceTree)
    app.connect("builder-inited", write_pages)
    app.connect("missing-reference", resolve)
    app.connect("doctree-read", link_source)
    return {"parallel_read_safe": True}
