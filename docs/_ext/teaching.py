"""Teaching: lessons, quizzes, slides, and the course on one sheet.

docs/teaching/week_*.md has a section for each chapter of the course. In it,

- ``{lesson} 2`` with ``:needs: 1`` gives the section the chapter's title, and says how long the chapter takes;
- ``{took}`python -m demos.tape``` is the time that a command took, from docs/logs/live.json;
- ``{quiz}`` is a definition list of questions and answers; the answers are folded away.

Other pages of docs/teaching are made of these sections, and of the chapters as sphinx-gallery has written them:

- ``{lesson-table}`` has a line for each chapter;
- ``{slides} 1`` makes the slides of week 1: no figure, formula or sentence is written twice;
- ``{sheet}`` puts all chapters one after the other, to be printed (.ci/pdf).

Pages with ``layout`` in their front matter have neither sidebars nor scripts: docs/_templates/bare.html.

``python docs/_ext/teaching.py`` runs each command again and writes the times into docs/logs/live.json.
"""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[2])]

import course
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.errors import ExtensionError
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import SphinxDirective, SphinxRole
from sphinx_gallery.directives import imgsgnode

from tests import house

PAGES = course.DOCS / "teaching"
TIMES = course.DOCS / "logs/live.json"

#: An estimate of how long an exercise takes: minutes to understand the task, and minutes for each line of the solution.
TASK, LINE = 10, 2


@dataclass
class Lesson:
    """What a week says of one chapter."""

    number: int
    needs: list[int]
    week: int

    @cached_property
    def chapter(self) -> course.Chapter:
        """The chapter of this number."""
        found = [*(course.DOCS / "chapters").glob(f"{self.number:02}_*.py")]
        if not found:
            raise ExtensionError(f"docs/teaching/week_{self.week}.md: there is no chapter {self.number}")
        return course.Chapter(found[0])

    @property
    def page(self) -> str:
        """The chapter's page."""
        return f"course/{self.chapter.path.stem}"

    @cached_property
    def exercises(self) -> int:
        """The number of exercises."""
        return len(re.findall(r"^def [a-z]", self._solutions(), re.MULTILINE))

    @property
    def minutes(self) -> int:
        """An estimate of the minutes that all exercises take, in quarters of an hour."""
        return 15 * round((TASK * self.exercises + LINE * house.measure(self._solutions()).code) / 15)

    def _solutions(self) -> str:
        path = course.DOCS / f"exercises/solutions/chapter_{self.number:02}.py"
        return path.read_text(encoding="utf-8")


def lessons() -> list[Lesson]:
    """List the lessons in the order of the weeks."""
    found = []
    for path in sorted(PAGES.glob("week_*.md")):
        text, week = path.read_text(encoding="utf-8"), int(path.stem.removeprefix("week_"))
        for number, needs in re.findall(r"^```\{lesson\} (\d+)\n:needs:(.*)$", text, re.MULTILINE):
            found.append(Lesson(int(number), [int(need) for need in needs.split()], week))
    return found


# Lessons -------------------------------------------------------------------------------------


class LessonFacts(SphinxDirective):
    """What a chapter asks, what it needs, and how long it takes."""

    required_arguments = 1
    option_spec = {"needs": directives.unchanged}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        """Return two paragraphs: the question, and the facts."""
        (lesson,) = [each for each in lessons() if each.number == int(self.arguments[0])]
        self.env.note_dependency(str(lesson.chapter.path))
        needs = f"It needs {listed(lesson.needs)}." if lesson.needs else "It needs no other chapter."
        facts = f"{{doc}}`Read the chapter </{lesson.page}>` in {lesson.chapter.minutes} minutes. {needs} "
        facts += f"Its {lesson.exercises} exercises take about {clock(lesson.minutes)}."
        found = [*self.parse_text_to_nodes(f"*{lesson.chapter.question}*"), *self.parse_text_to_nodes(facts)]
        for paragraph in found:
            paragraph["classes"].append("facts")
        found[0]["lesson"] = lesson.number
        return found


def listed(numbers: list[int]) -> str:
    """Return "chapter 2" or "chapters 2, 3 and 4"."""
    *first, last = map(str, numbers)
    return f"chapters {', '.join(first)} and {last}" if first else f"chapter {last}"


def clock(minutes: int) -> str:
    """Return minutes as hours and minutes.

    Examples
    --------
    >>> clock(45), clock(60), clock(75)
    ('45 min', '1 h', '1 h 15 min')
    """
    hours, rest = divmod(minutes, 60)
    return " ".join(f"{n} {unit}" for n, unit in ((hours, "h"), (rest, "min")) if n)


def give_titles(app: Sphinx, doctree: nodes.document) -> None:
    """Write the titles of the chapters over their lessons, before Sphinx collects the headings."""
    for paragraph in doctree.findall(lambda node: isinstance(node, nodes.paragraph) and "lesson" in node):
        (lesson,) = [each for each in lessons() if each.number == paragraph["lesson"]]
        paragraph.parent[0] = nodes.title(lesson.chapter.title, lesson.chapter.title)


class Took(SphinxRole):
    """The time that a command took."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Look it up."""
        self.env.note_dependency(str(TIMES))
        seconds = json.loads(TIMES.read_text(encoding="utf-8"))["seconds"].get(self.text)
        if seconds is None:
            raise ExtensionError(f"{self.text}: docs/logs/live.json has no time; python docs/_ext/teaching.py adds it")
        return [nodes.Text(f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min")], []


class Quiz(SphinxDirective):
    """Questions and answers, a definition list; the answers are folded away."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return an admonition that opens for each question."""
        (items,) = self.parse_content_to_nodes()
        folded: list[nodes.Node] = []
        for item in items.children:
            term, definition = item.children
            title = nodes.title("", "", *term.children)
            folded.append(nodes.admonition("", title, *definition.children, collapsible="closed", classes=["quiz"]))
        return [nodes.rubric("", "Quiz"), *folded]


class LessonTable(SphinxDirective):
    """A line for each chapter: what it needs, and how long it takes."""

    def run(self) -> list[nodes.Node]:
        """Return a table."""
        out = ["| Week | Chapter | It needs | Reading | Exercises |", "|---:|---|---|---:|---:|"]
        for lesson in lessons():
            self.env.note_dependency(str(lesson.chapter.path))
            self.env.note_dependency(str(PAGES / f"week_{lesson.week}.md"))
            cells = [f"{{doc}}`{lesson.week} <week_{lesson.week}>`", f"{{doc}}`/{lesson.page}`"]
            cells += [", ".join(map(str, lesson.needs)), f"{lesson.chapter.minutes} min", clock(lesson.minutes)]
            out.append(f"| {' | '.join(cells)} |")
        read, solve = (sum(each) for each in zip(*((x.chapter.minutes, x.minutes) for x in lessons()), strict=True))
        out.append(f"| | **Together** | | **{round(read / 60)} h** | **{round(solve / 60)} h** |")
        return self.parse_text_to_nodes("\n".join(out))


# Slides and sheet ----------------------------------------------------------------------------


class gathered(nodes.General, nodes.Element):
    """What is made of chapters once all of them have been read."""


class Gathered(SphinxDirective):
    """Slides of the chapters of a week, or a sheet of all chapters."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return a node that `Gather` replaces."""
        week = int(self.arguments[0]) if self.arguments else 0
        chosen = [lesson for lesson in lessons() if week in (0, lesson.week)]
        for path in [*(lesson.chapter.path for lesson in chosen), *PAGES.glob("week_*.md")]:
            self.env.note_dependency(str(path))
        return [gathered(lessons=sorted(chosen, key=lambda lesson: lesson.number), slides=bool(week))]


class Gather(SphinxPostTransform):
    """Put the chapters, or slides of them, where they are asked for."""

    default_priority = 5  # before references are resolved: those of the chapters are resolved from the new place

    def run(self, **_: Any) -> None:
        """Replace each `gathered`."""
        for node in [*self.document.findall(gathered)]:
            chapters = [copy(self.env, lesson) for lesson in node["lessons"]]
            if node["slides"]:
                pairs = zip(node["lessons"], chapters, strict=True)
                found = [slide for lesson, chapter in pairs for slide in slides(chapter, questions(self.env, lesson))]
            else:
                found = [contents(chapters), *chapters]
            node.replace_self(found)


def copy(env: BuildEnvironment, lesson: Lesson) -> nodes.section:
    """Return a chapter as it was read, without downloads; its ids begin with its number, its references here."""
    doctree = env.get_doctree(lesson.page)
    hidden = {"sphx-glr-download-link-note", "sphx-glr-footer", "sphx-glr-signature"}
    for node in [*doctree.findall(nodes.Element)]:
        if hidden & set(node["classes"]) or isinstance(node, nodes.target | nodes.comment):
            node.parent.remove(node)
        node["ids"] = [f"{lesson.number:02}-{name}" for name in node["ids"]]
        if isinstance(node, pending_xref):
            node["refdoc"] = env.docname
    section = next(doctree.findall(nodes.section))
    section["ids"] = [f"chapter-{lesson.number:02}"]
    return section


def contents(chapters: list[nodes.section]) -> nodes.bullet_list:
    """List the titles of the chapters, each a link."""
    entries = nodes.bullet_list(classes=["chapters-in-order"])
    for chapter in chapters:
        link = nodes.reference("", chapter[0].astext(), internal=True, refid=chapter["ids"][0])
        entries += nodes.list_item("", nodes.paragraph("", "", link))
    return entries


def questions(env: BuildEnvironment, lesson: Lesson) -> list[nodes.Element]:
    """Return the questions of a lesson's quiz."""
    week = env.get_doctree(f"teaching/week_{lesson.week}")
    (place,) = week.findall(lambda node: isinstance(node, nodes.paragraph) and node.get("lesson") == lesson.number)
    return [quiz[0] for quiz in place.parent.findall(nodes.admonition) if "quiz" in quiz["classes"]]


def slides(chapter: nodes.section, asked: list[nodes.Element]) -> Iterator[nodes.section]:
    """Yield slides: the chapter's question, the quiz, what each of its sections shows, and the exercises."""
    made = 0

    def slide(title: str, *shown: nodes.Node, kind: str = "part") -> nodes.section:
        nonlocal made
        made += 1
        name = f"{chapter['ids'][0]}-{made}"
        return nodes.section("", nodes.title(title, title), *shown, ids=[name], classes=["slide", kind])

    question = next(chapter.findall(nodes.paragraph))
    yield slide(chapter[0].astext(), question.deepcopy(), kind="opening")
    entries = [nodes.list_item("", nodes.paragraph("", "", *each.deepcopy().children)) for each in asked]
    yield slide("Quiz", nodes.enumerated_list("", *entries, enumtype="arabic", prefix="", suffix="."))
    for section in filter(lambda node: isinstance(node, nodes.section), chapter.children):
        title = section[0].astext()
        if title == "Exercises":
            yield slide(title, points([next(item.findall(nodes.strong)) for item in section.findall(nodes.list_item)]))
            continue
        paragraphs = [node for node in section.children if isinstance(node, nodes.paragraph)]
        rest = [*displayed(section)]
        if not rest:
            yield slide(title, points([sentence(paragraph) for paragraph in paragraphs[:4]]))
            continue
        shown, full = ([sentence(paragraphs[0])], 0.15) if paragraphs else ([], 0.0)
        for node, share in rest:
            if shown and full + share > 1:
                yield slide(title, *shown)
                shown, full = [], 0.0
            shown, full = [*shown, node.deepcopy()], full + share
        yield slide(title, *shown)


def displayed(section: nodes.section) -> Iterator[tuple[nodes.Element, float]]:
    """Yield what a section shows besides text, each with the share of a slide that it takes.

    These are figures, tables, formulas, code of minigrad, and what was printed; the code of the chapter is left out,
    and so is what fits no slide.
    """
    for node in section.findall(nodes.Element):
        lines, kinds = node.astext().count("\n") + 1, {*node.attributes, *node["classes"]}
        if isinstance(node, imgsgnode | nodes.figure | nodes.table):
            yield node, 0.8
        elif isinstance(node, nodes.math_block):
            yield node, 0.1 + 0.1 * (node.astext().count(r"\\") + 1)
        elif isinstance(node, nodes.literal_block) and lines <= 16 and kinds & {"source", "sphx-glr-script-out"}:
            yield node, lines / 16


def points(texts: list[nodes.Element]) -> nodes.bullet_list:
    """Return a list of texts."""
    return nodes.bullet_list(
        "", *(nodes.list_item("", nodes.paragraph("", "", *text.deepcopy().children)) for text in texts)
    )


def sentence(paragraph: nodes.Element) -> nodes.paragraph:
    """Return the first sentence of a paragraph.

    Examples
    --------
    >>> sentence(nodes.paragraph("", "By S. Ioffe and C. Szegedy. More follows.")).astext()
    'By S. Ioffe and C. Szegedy.'
    """
    first = nodes.paragraph()
    for child in paragraph.deepcopy().children:
        end = re.search(r"(?<!\b[A-Z])[.?!:](?=\s|$)", child) if isinstance(child, nodes.Text) else None
        first += nodes.Text(child[: end.end()]) if end else child
        if end:
            break
    return first


def stay_on_sheet(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Let the sheet's links lead to its own chapters only: on paper, and in a PDF, there are no other pages."""
    if app.env.metadata[docname].get("layout") != "sheet":
        return
    for link in [*doctree.findall(nodes.reference)]:
        chapter = re.search(r"\bcourse/(\d\d)_\w+\.html", link.get("refuri", ""))
        if chapter:
            link["refuri"] = f"#chapter-{chapter[1]}"
        elif link.get("internal") and not link.get("refuri", "#").startswith("#"):
            link.replace_self(link.children)


def choose_template(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> str | None:
    """Return the template of pages that have a layout."""
    return "bare.html" if "layout" in (context.get("meta") or {}) else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx."""
    app.add_directive("lesson", LessonFacts)
    app.add_directive("lesson-table", LessonTable)
    app.add_directive("quiz", Quiz)
    app.add_directive("slides", Gathered)
    app.add_directive("sheet", Gathered)
    app.add_role("took", Took())
    app.add_node(gathered)
    app.add_post_transform(Gather)
    app.connect("doctree-read", give_titles, priority=100)
    app.connect("doctree-resolved", stay_on_sheet)
    app.connect("html-page-context", choose_template)
    return {"parallel_read_safe": True}


# Times ---------------------------------------------------------------------------------------


def commands() -> list[str]:
    """List the commands whose times the pages name."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(PAGES.glob("*.md"))]
    return [*dict.fromkeys(command for text in texts for command in re.findall(r"\{took\}`([^`]+)`", text))]


def main() -> None:
    """Run each command, and write down the processor time that it took."""
    before, seconds = resource.getrusage(resource.RUSAGE_CHILDREN), {}
    for command in commands():
        program = [sys.executable, *command.split()[1:]]
        environment = os.environ | {"MPLBACKEND": "Agg", "PYTHONPATH": str(house.ROOT)}
        subprocess.run(program, cwd=house.ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds[command] = round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1)
        before = after
        print(f"{seconds[command]:7.1f}  {command}")
    names = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    TIMES.write_text(json.dumps({"processor": names[0], "seconds": seconds}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
