"""The gallery: every demo, run while the site is built, with what it printed and drew.

- ``.. demo:: degradation`` runs ``python -m demos.degradation --quick`` and shows the demo's prose, what it printed,
  its figure, and its source. A demo that cannot run here (``demos_not_run`` in conf.py says why) is shown unrun.
- ``.. run:: python -m tests.table`` runs a command of this repository and shows what it printed.

sphinx-gallery does this for scripts of cells. Our demos are programs with a command line, which readers shall run as
they stand; so the site runs them the same way.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import reading
from annotated import AnnotatedSource, page, parse
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective


def printed(command: list[str]) -> str:
    """Run ``python ...`` at the root of the repository and return what it prints."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=reading.ROOT,
        env=os.environ | {"PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        raise ExtensionError(f"python {' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def session(command: str, output: str) -> nodes.literal_block:
    """Show a command and its output as a terminal would."""
    text = f"$ {command}\n{output.rstrip()}"
    return nodes.literal_block(text, text, language="console", classes=["session"])


class Demo(AnnotatedSource):
    """One demo."""

    def run(self) -> list[nodes.Node]:
        """Run it; return prose, output, figure and source."""
        name = self.arguments[0]
        file = reading.demos()[f"demos.{name}"]
        first, *rows = file.rows
        _, _, text = first.prose[0].text.partition("\n")  # the first line is the title
        prose = nodes.container(classes=["about"])
        parse(self, reading.Prose("docstring", text.strip(), 3), file, prose)
        shown: list[nodes.Node] = [prose, *self._long_run(name), nodes.rubric("", "In this build")]
        why_not = self.config.demos_not_run.get(name)
        if why_not:
            text = f"Not run while this site was built: {why_not}."
            shown.append(nodes.paragraph(text, text))
        else:
            out = Path(self.env.app.doctreedir) / "demos" / name
            command = ["-m", f"demos.{name}", "--quick", "--out"]
            output = printed([*command, str(out)]).replace(str(out), f"runs/{name}")
            shown.append(session(f"python {' '.join(command)} runs/{name}", output))
            for figure in sorted(out.glob("*.png")):
                address = os.path.relpath(figure, Path(self.env.doc2path(self.env.docname)).parent)
                shown.append(nodes.image(uri=Path(address).as_posix(), alt=f"What {name} --quick drew"))
        shown.append(nodes.rubric("", file.name))
        shown.append(self.annotated(file, [reading.Row([], first.code), *rows]))
        return shown

    def _long_run(self, name: str) -> list[nodes.Node]:
        """Show figures/NAME.png, if there is one, and figures/NAME.txt: the command that made it, and its output."""
        figure, log = (reading.ROOT / f"docs/figures/{name}.{kind}" for kind in ("png", "txt"))
        shown: list[nodes.Node] = []
        if figure.exists():
            shown.append(nodes.rubric("", "The experiment"))
            shown.append(nodes.image(uri=f"/figures/{name}.png", alt=f"What {name} drew"))
        if log.exists():
            self.env.note_dependency(str(log))
            text = log.read_text(encoding="utf-8").rstrip()
            shown.append(nodes.literal_block(text, text, language="console", classes=["session"]))
        return shown


class Run(SphinxDirective):
    """A command and what it printed."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Run it."""
        command = self.arguments[0]
        program, *arguments = command.split()
        if program != "python":
            raise self.error(f"run: expected a command that begins with python, got {command}")
        return [session(command, printed(arguments))]


class DemoTree(SphinxDirective):
    """The list of demos."""

    def run(self) -> list[nodes.Node]:
        """Return a list, and a toctree that is not shown."""
        lines = []
        for file in reading.demos().values():
            self.env.note_dependency(str(file.path))
            lines += [f":doc:`{file.path.stem} </{page(file)}>`", f"    {title(file)}", ""]
        lines += [".. toctree::", "   :hidden:", ""]
        lines += [f"   {file.path.stem} </{page(file)}>" for file in reading.demos().values()]
        node = nodes.container()
        self.state.nested_parse(StringList(lines, items=[(self.env.docname, 0)] * len(lines)), 0, node)
        return node.children


def title(file: reading.File) -> str:
    """Return the first line of a demo's docstring."""
    return file.rows[0].prose[0].text.splitlines()[0]


def write_pages(app: Sphinx) -> None:
    """Write a page for every demo, and remove those of demos that are gone."""
    folder = Path(app.srcdir) / "gallery"
    wanted = {folder / f"{file.path.stem}.rst": file for file in reading.demos().values()}
    for old in folder.glob("*.rst"):
        if old not in wanted and old.stem != "index":
            old.unlink()
    for path, file in wanted.items():
        name, what = file.path.stem, title(file).rstrip(".")
        text = f":hide-toc:\n\n{what}\n{'=' * len(what)}\n\n.. demo:: {name}\n"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx."""
    app.add_config_value("demos_not_run", {}, "env")
    app.add_directive("demo", Demo)
    app.add_directive("run", Run)
    app.add_directive("demo-tree", DemoTree)
    app.connect("builder-inited", write_pages)
    return {"parallel_read_safe": True}
