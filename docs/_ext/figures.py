"""Figures: each is described in words, and long code that draws is folded away.

- In a chapter, ``figure.set_label("...")`` describes a figure. sphinx-gallery saves figures through :func:`scrape`,
  which makes this description the alternative text of the image.
- docs/figures/alt.toml describes the figures of the demos.
- Code that draws, and has more than :data:`SHORT` lines, becomes a ``details`` element. A click opens it, or the Enter
  key.
- The last line of a chapter, ``show()``, is for those who run it as a program, so it is not on its page.
"""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import Any

import reading
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx_gallery.scrapers import matplotlib_scraper

#: So many lines of drawing are not folded.
SHORT = 8

#: The parameters of functions that draw.
PANELS = {"ax", "axes", "panel", "panels"}

DESCRIPTIONS = reading.ROOT / "docs/figures/alt.toml"


def scrape(block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """Save the figures of a cell, and return them as reST with their labels as alternative texts."""
    import matplotlib.pyplot as plt

    labels = iter([plt.figure(number).get_label() for number in plt.get_fignums()])
    rest = matplotlib_scraper(block, block_vars, gallery_conf)
    return re.sub(r"(?<=:alt: ).*", lambda titles: next(labels) or titles[0], rest)


def description(path: Path) -> str:
    """Return the alternative text of a demo's figure."""
    known: dict[str, str] = tomllib.loads(DESCRIPTIONS.read_text(encoding="utf-8"))
    if path.stem not in known:
        raise ExtensionError(f"docs/figures/alt.toml: expected a line that says what {path.name} shows")
    return known[path.stem]


# Folding -------------------------------------------------------------------------------------


def drawing(code: str) -> list[range]:
    """Return the runs of lines that draw.

    A figure is drawn from the statement that makes it to the last statement that uses it. A function draws if it has a
    parameter of :data:`PANELS`.
    """
    statements = ast.parse(code).body
    ours: set[str] = set()  # the names of figures and of their panels
    draws = [isinstance(s, ast.FunctionDef) and any(a.arg in PANELS for a in s.args.args) for s in statements]
    first = last = None
    for i, statement in enumerate(statements):
        if isinstance(statement, ast.Assign) and _root(statement.value) in ours | {"plt"}:
            ours |= _names(*statement.targets)
            first = i if first is None else first
        if ours & _names(statement):
            last = i
    if first is not None and last is not None:
        draws[first : last + 1] = [True] * (last + 1 - first)
    lines, runs, begin = code.split("\n"), [], 0
    for i, (statement, drawn) in enumerate(zip(statements, draws, strict=True)):
        end = statement.end_lineno or 0
        while not lines[begin].strip():
            begin += 1
        if drawn and i and draws[i - 1]:
            runs[-1] = range(runs[-1].start, end)
        elif drawn:
            runs.append(range(begin, end))
        begin = end
    return runs


def _names(*nodes: ast.AST) -> set[str]:
    """Return all names in statements."""
    return {node.id for top in nodes for node in ast.walk(top) if isinstance(node, ast.Name)}


def _root(value: ast.AST) -> str | None:
    """Return ``plt`` of ``plt.subplots(1, 2)``."""
    while isinstance(value, ast.Call | ast.Attribute | ast.Subscript):
        value = value.func if isinstance(value, ast.Call) else value.value
    return value.id if isinstance(value, ast.Name) else None


def fold(app: Sphinx, doctree: nodes.document) -> None:
    """Fold the code that draws on the page of a chapter, and take away its last line.

    Also take away sphinx-gallery's note on the downloads at the end: the search would quote it instead of the chapter.
    """
    folder = app.env.current_document.docname.split("/")[0]
    if folder not in ("course", "zh"):
        return
    summary = "画图的代码共 {} 行" if folder == "zh" else "The code of the figure, {} lines"
    for note in list(doctree.findall(nodes.note)):
        if "sphx-glr-download-link-note" in note["classes"]:
            note.parent.remove(note)
    for block in list(doctree.findall(nodes.literal_block)):
        place = block.parent.index(block)
        mark = block.parent[place - 1] if place else None  # sphinx-gallery writes a comment before each cell
        if not (isinstance(mark, nodes.comment) and mark.astext().startswith("GENERATED FROM")):
            continue
        code = block.astext()
        lines, done = code.split("\n"), 0
        pieces: list[nodes.Node] = []
        for run in drawing(code):
            if len(run) > SHORT:
                opening = f'<details class="drawing"><summary>{summary.format(len(run))}</summary>'
                pieces += [
                    *_part(block, lines[done : run.start]),
                    nodes.raw("", opening, format="html"),
                    *_part(block, lines[run.start : run.stop]),
                    nodes.raw("", "</details>", format="html"),
                ]
                done = run.stop
        if code.strip() != "show()":
            pieces += _part(block, lines[done:])
        block.parent[place : place + 1] = pieces


def _part(block: nodes.literal_block, lines: list[str]) -> list[nodes.Node]:
    """Return some lines of a block as a block, if they are not blank."""
    code = "\n".join(lines).strip("\n")
    return [nodes.literal_block(code, code, **block.attributes)] if code else []


def describe_thumbnails(app: Sphinx, doctree: nodes.document) -> None:
    """Describe the pictures of the course's front page as on the pages that they lead to."""
    if app.env.current_document.docname != "course/index":
        return
    for image in doctree.findall(nodes.image):
        chapter = re.search(r"sphx_glr_(.*)_thumb", image["uri"])
        if chapter:
            page = (Path(app.srcdir) / f"course/{chapter[1]}.rst").read_text(encoding="utf-8")
            said = re.search(r":alt: (.*)", page)
            image["alt"] = said[1] if said else ""


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx."""
    app.connect("doctree-read", fold)
    app.connect("doctree-read", describe_thumbnails)
    return {"parallel_read_safe": True}
