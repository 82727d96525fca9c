"""The gallery: every demo, run while the site is built, with what it printed and drew.

- ``.. demo:: degradation`` shows the demo's prose, what ``python -m demos.degradation --quick`` printed and drew when
  the build began, and its source; figures of longer runs (docs/figures/NAME.png, NAME_*.png) above it, with the command
  and what it printed (.txt). A demo that cannot run here (``demos_not_run`` in conf.py says why) is shown unrun.
- ``.. demo-tree::`` shows a card for each.
- ``.. run:: python -m tests.tools.table`` runs a command of this repository and shows what it printed.

sphinx-gallery does this for scripts of cells. Our demos are programs with a command line, which readers shall run as
they stand; so the site runs them the same way.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import reading
from annotated import AnnotatedSource, facts, page, parse
from docutils import nodes
from docutils.statemachine import StringList
from figures import description
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.errors import ExtensionError
from sphinx.util.display import status_iterator
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


def session(text: str) -> nodes.literal_block:
    """Show a command and its output as a terminal would."""
    return nodes.literal_block(text.rstrip(), text.rstrip(), language="console", classes=["session"])


def address(env: BuildEnvironment, path: Path) -> str:
    """Return where a file is, seen from the document that is being read."""
    return Path(os.path.relpath(path, env.doc2path(env.docname).parent)).as_posix()


def run_demos(app: Sphinx) -> None:
    """Run every demo that has changed since it was run last, one after the other: two would fight for the processor."""
    shared = [reading.ROOT / f"demos/{name}.py" for name in reading.SHARED]
    for name in status_iterator(reading.DEMOS, "running demos... ", "darkgreen", len(reading.DEMOS), app.verbosity):
        log = folder(app, name) / "printed.txt"
        changed = max(path.stat().st_mtime for path in [reading.ROOT / f"demos/{name}.py", *shared])
        if name in app.config.demos_not_run or (log.exists() and log.stat().st_mtime > changed):
            continue
        start = time.time()
        shutil.rmtree(log.parent, ignore_errors=True)
        log.parent.mkdir(parents=True)
        command = ["-m", f"demos.{name}", "--quick", "--out"]
        output = printed([*command, str(log.parent)]).replace(str(log.parent), f"runs/{name}")
        log.write_text(f"$ python {' '.join(command)} runs/{name}\n{output}", encoding="utf-8")
        os.utime(log, (start, start))  # what is changed while it runs was not run


def folder(app: Sphinx, name: str) -> Path:
    """Return where a demo writes in this build."""
    return Path(app.doctreedir) / "demos" / name


def figures(app: Sphinx, name: str) -> list[Path]:
    """List the figures of a demo: of longer runs, which are kept with the site, and of this build."""
    kept = reading.ROOT / "docs/figures"
    return [*kept.glob(f"{name}.png"), *sorted(kept.glob(f"{name}_*.png")), *sorted(folder(app, name).glob("*.png"))]


class Demo(AnnotatedSource):
    """One demo, or a file that the demos share."""

    def run(self) -> list[nodes.Node]:
        """Show prose, output, figures and source."""
        name = self.arguments[0]
        file = reading.demos()[f"demos.{name}"]
        if name in reading.SHARED:
            return [facts(file), self.annotated(file, file.rows)]
        first, *rows = file.rows
        _, _, text = first.prose[0].text.partition("\n")  # the first line is the title
        prose = nodes.container(classes=["about"])
        parse(self, reading.Prose("docstring", text.strip(), 3), file, prose)
        ours = folder(self.env.app, name)
        here = [path for path in figures(self.env.app, name) if path.parent == ours]
        kept = [path for path in figures(self.env.app, name) if path.parent != ours]
        shown: list[nodes.Node] = [prose]
        if kept:
            shown.append(nodes.rubric("", "The experiment"))
        for path in kept:
            shown += [self._image(path), *self._log(path.with_suffix(".txt"))]
        shown += [*self._logs(name), nodes.rubric("", "In this build")]
        why_not = self.config.demos_not_run.get(name)
        if why_not:
            text = f"Not run while this site was built: {why_not}."
            shown.append(nodes.paragraph(text, text))
        else:
            shown += self._log(ours / "printed.txt")
            shown += [self._image(path) for path in here]
        shown.append(nodes.rubric("", file.name))
        shown += self.parse_text_to_nodes(f"As a notebook: :download:`{name}.ipynb </gallery/{name}.ipynb>`.")
        shown.append(self.annotated(file, [reading.Row([], first.code), *rows]))
        return shown

    def _image(self, path: Path) -> nodes.Node:
        """Show a figure."""
        return nodes.image(uri=address(self.env, path), alt=description(path))

    def _log(self, path: Path) -> list[nodes.Node]:
        """Show a command and what it printed, if that was kept."""
        if not path.exists():
            return []
        self.env.note_dependency(str(path))
        return [session(path.read_text(encoding="utf-8"))]

    def _logs(self, name: str) -> list[nodes.Node]:
        """Offer the logs of longer runs, docs/logs/NAME/*.jsonl."""
        logs = sorted((reading.ROOT / f"docs/logs/{name}").glob("*.jsonl"))
        roles = ", ".join(f":download:`{path.stem} </logs/{name}/{path.name}>`" for path in logs)
        return self.parse_text_to_nodes(f"Logs, a line of JSON for each record: {roles}.") if logs else []


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
        return [session(f"$ {command}\n{printed(arguments)}")]


class DemoTree(SphinxDirective):
    """A card for each demo: a figure, its title, how it begins."""

    def run(self) -> list[nodes.Node]:
        """Return the cards, what the demos share, and a toctree that is not shown."""
        lines = [".. container:: demos", ""]
        for name in reading.DEMOS:
            file = reading.demos()[f"demos.{name}"]
            self.env.note_dependency(str(file.path))
            lines += ["   .. container:: demo", ""]
            for path in figures(self.env.app, name)[:1]:
                lines += [f"      .. image:: {address(self.env, path)}", f"         :alt: {description(path)}", ""]
            lines += [f"      :doc:`{title(file).rstrip('.')} </{page(file)}>`", "", f"      {beginning(file)}", ""]
        shared = " and ".join(f":doc:`{name}.py </gallery/{name}>`" for name in reading.SHARED)
        lines += [f"They share {shared}.", "", ".. toctree::", "   :hidden:", ""]
        lines += [f"   {file.path.stem} </{page(file)}>" for file in reading.demos().values()]
        node = nodes.container()
        self.state.nested_parse(StringList(lines, items=[(self.env.docname, 0)] * len(lines)), 0, node)
        return node.children


def title(file: reading.File) -> str:
    """Return the first line of a demo's docstring."""
    return file.rows[0].prose[0].text.splitlines()[0]


def beginning(file: reading.File) -> str:
    """Return the first sentence after the title."""
    story = file.rows[0].prose[0].text.partition("\n\n")[2]
    paragraph = " ".join(story.partition("\n\n")[0].split())
    return re.split(r"(?<=[.?!:]) (?=[A-Z])", paragraph)[0].rstrip(":")


def write_pages(app: Sphinx) -> None:
    """Write a page for every demo, and remove those of demos that are gone."""
    folder = Path(app.srcdir) / "gallery"
    wanted = {folder / f"{file.path.stem}.rst": file for file in reading.demos().values()}
    for old in folder.glob("*.rst"):
        if old not in wanted and old.stem != "index":
            old.unlink()
    for path, file in wanted.items():
        name = file.path.stem
        what = file.name if name in reading.SHARED else title(file).rstrip(".")
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
    app.connect("builder-inited", run_demos)
    return {"parallel_read_safe": True}
