"""The course: what sphinx-gallery does not do.

sphinx-gallery runs docs/chapters/*.py and writes docs/course/*.rst, a page for each.

- ``.. chapter-table::`` lists the chapters: title, question (the paragraph after the title), minutes to read.
- ``.. all-solutions::`` shows docs/exercises/solutions/*.py, a section for each chapter.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

import reading
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from tests.house import LINES, WORDS

DOCS = reading.ROOT / "docs"


@dataclass
class Chapter:
    """One chapter, known from its file. A formula takes half a minute, a figure one."""

    path: Path

    def __post_init__(self) -> None:
        text = self.path.read_text(encoding="utf-8")
        docstring = ast.get_docstring(ast.parse(text)) or ""
        title, _, *rest = docstring.splitlines()
        self.title = title
        self.question = " ".join("\n".join(rest).strip().split("\n\n")[0].split())
        code = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
        words = sum(len(line.split()) for line in text.splitlines() if line.startswith("#")) + len(docstring.split())
        shown = text.count(".. math::") / 2 + text.count("plt.subplots") + text.count("plt.figure")
        self.minutes = round(words / WORDS + len(code) / LINES + shown)


def chapters() -> list[Chapter]:
    """List the chapters in their order."""
    return [Chapter(path) for path in sorted((DOCS / "chapters").glob("*.py"))]


class Written(SphinxDirective):
    """A directive that writes reST."""

    def lines(self) -> list[str]:
        """Write it."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        """Parse what is written."""
        node = nodes.section()
        node.document = self.state.document
        lines = self.lines()
        content = StringList(lines, items=[(self.env.docname, 0)] * len(lines))
        self.state.nested_parse(content, self.content_offset, node, match_titles=True)
        return node.children


class ChapterTable(Written):
    """The list of chapters."""

    def lines(self) -> list[str]:
        """Write a table with a line for each."""
        out = [".. list-table::", "   :class: chapters", "   :header-rows: 1", "   :widths: 30 60 10", ""]
        out += ["   * - Chapter", "     - Its question", "     - Minutes"]
        for chapter in chapters():
            self.env.note_dependency(str(chapter.path))
            out.append(f"   * - :doc:`{chapter.title} </course/{chapter.path.stem}>`")
            if (DOCS / f"zh/{chapter.path.stem}.rst").is_file():
                out[-1] += f" (:doc:`中文 </zh/{chapter.path.stem}>`)"
            out += [f"     - {chapter.question}", f"     - {chapter.minutes}"]
        return out


class AllSolutions(Written):
    """The solutions of every chapter."""

    def lines(self) -> list[str]:
        """Write a section for each chapter."""
        out = []
        for chapter in chapters():
            number = re.match(r"\d+", chapter.path.stem)
            name = f"chapter_{number[0]}.py" if number else ""
            if (DOCS / "exercises/solutions" / name).is_file():
                out += [chapter.title, "-" * len(chapter.title), "", f"See :doc:`/course/{chapter.path.stem}`.", ""]
                out += [f".. literalinclude:: /exercises/solutions/{name}", ""]
        return out


def forget(app: Sphinx) -> None:
    """Remove what sphinx-gallery left of chapters that are gone."""
    stems = {path.stem for path in (DOCS / "chapters").glob("*.py")}
    for path in (Path(app.srcdir) / "course").glob("[0-9]*.*"):
        if path.name.split(".")[0] not in stems:
            path.unlink()


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx."""
    app.connect("builder-inited", forget)
    app.add_directive("chapter-table", ChapterTable)
    app.add_directive("all-solutions", AllSolutions)
    return {"parallel_read_safe": True}
