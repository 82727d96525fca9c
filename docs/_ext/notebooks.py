"""Notebooks: every chapter and every demo as a file for Jupyter, which runs after ``pip install minigrad-numpy``.

sphinx-gallery makes a notebook of a chapter, but it leaves much reST in the text: tables, roles, included files. Here
:func:`markdown` translates these first. A demo is a program of several files. Its notebook writes them into the folder
in which it runs, and then calls the program: so they can be changed, and processes of a pool can import them. A
chapter's notebook does the same with the files of this repository that the chapter uses but an installation lacks.
"""

from __future__ import annotations

import ast
import copy
import json
import re
from pathlib import Path
from typing import Any

import reading
from docutils.parsers.rst.tableparser import SimpleTableParser
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.directives.code import LiteralIncludeReader
from sphinx_gallery.gen_gallery import DEFAULT_GALLERY_CONF
from sphinx_gallery.notebook import add_code_cell, add_markdown_cell, jupyter_notebook, jupyter_notebook_skeleton
from sphinx_gallery.py_source_parser import split_code_and_text_blocks

from demos import APART

DOCS = reading.ROOT / "docs"

#: How a chapter finds files that are stored with the source; a notebook has them beside itself.
ROOT_IN_CHAPTERS = "Path(models.__file__).parents[1]"

Notebook = dict[str, Any]


def chapter(path: Path) -> Notebook:
    """Return a chapter as a notebook."""
    blocks = []
    for block in split_code_and_text_blocks(str(path))[1]:
        if block[0] == "text":
            blocks.append((block[0], markdown(block[1]).strip("\n"), block[2]))
        elif block[1].strip() != "show()":
            blocks.append((block[0], block[1].replace(ROOT_IN_CHAPTERS, "Path()"), block[2]))
    settings = copy.deepcopy(DEFAULT_GALLERY_CONF) | {"src_dir": str(DOCS), "notebook_images": True}
    notebook: Notebook = jupyter_notebook(blocks, settings, str(path.parent))
    needed = files(path.read_text(encoding="utf-8"))
    if needed:
        beside = jupyter_notebook_skeleton()
        add_markdown_cell(beside, "First, write the files of minigrad's repository that this chapter uses.")
        write(beside, needed)
        notebook["cells"][1:1] = beside["cells"]
    return notebook


def demo(name: str) -> Notebook:
    """Return a demo as a notebook: what it is about, its files, a run, and the figure of a run in the quick mode."""
    notebook = jupyter_notebook_skeleton()
    path = reading.ROOT / f"demos/{name}.py"
    text = path.read_text(encoding="utf-8")
    title, _, story = (ast.get_docstring(ast.parse(text)) or "").partition("\n")
    add_markdown_cell(notebook, f"# {title.rstrip('.')}\n{markdown(story)}")
    add_markdown_cell(notebook, "These are the files that the demos share, and the demo. You can change them.")
    write(notebook, files(text))
    add_code_cell(notebook, f"%%writefile demos/{path.name}\n{text}")
    quick = name not in APART
    said = "Run it in its quick mode: without `--quick` it takes longer." if quick else f"Run it: {APART[name]}."
    add_markdown_cell(
        notebook, f"{said} The list holds the options of the command. After a change, restart the kernel."
    )
    options = '["--quick"]' if quick else "[]"
    add_code_cell(notebook, f"from demos import {name}\n\nresult = {name}.main({options})")
    if quick:
        add_code_cell(notebook, f'from IPython.display import Image\n\nImage("runs/{name}/{name}.png")')
    return notebook


def files(code: str) -> list[Path]:
    """List the files of the repository that code needs and an installation lacks: those that others need first."""
    found: dict[Path, None] = {}
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in ("demos", "tests"):
            module = reading.ROOT / node.module.replace(".", "/")
            for path in [*(module / f"{alias.name}.py" for alias in node.names), module.with_suffix(".py")]:
                if path.is_file():
                    found |= dict.fromkeys([*files(path.read_text(encoding="utf-8")), path])
    for folder in re.findall(re.escape(ROOT_IN_CHAPTERS) + r' / "([^"]+)"', code):
        found |= dict.fromkeys(sorted((reading.ROOT / folder).glob("*.jsonl")))
    return list(found)


def write(notebook: Notebook, paths: list[Path]) -> None:
    """Add cells that write files into the folder of the notebook; their text is hidden until a click."""
    names = [path.relative_to(reading.ROOT) for path in paths]
    folders = sorted({parent.as_posix() for name in names for parent in name.parents if parent.name})
    packages = [folder for folder in folders if any(n.suffix == ".py" and Path(folder) in n.parents for n in names)]
    lines = ["from pathlib import Path", "", f"for folder in {json.dumps(folders)}:"]
    lines += ["    Path(folder).mkdir(exist_ok=True)"]
    lines += [f"for package in {json.dumps(packages)}:", '    Path(package, "__init__.py").touch()']
    add_code_cell(notebook, "\n".join(lines))
    for path, name in zip(paths, names, strict=True):
        add_code_cell(notebook, f"%%writefile {name.as_posix()}\n{path.read_text(encoding='utf-8')}")
        notebook["cells"][-1]["metadata"] = {"collapsed": False, "jupyter": {"source_hidden": True}}


# reST to Markdown ----------------------------------------------------------------------------


def markdown(text: str) -> str:
    """Translate the parts of a chapter's reST that sphinx-gallery does not translate for notebooks."""
    text = re.sub(r"^( *)\.\. math::((?:.*)(?:\n+\1 +.*)*)", _formula, text, flags=re.MULTILINE)
    text = re.sub(r"^\.\. literalinclude:: (\S+)\n((?: +:.*\n?)*)", _included, text, flags=re.MULTILINE)
    text = re.sub(r"^\.\. figure::", ".. image::", text, flags=re.MULTILINE)
    text = re.sub(r"^(=+(?: +=+)+)\n(?:.+\n)+?\1\n(?:.+\n)+?\1$", _table, text + "\n", flags=re.MULTILINE)
    text = re.sub(r":doc:`(?:([^`<]*?)\s*<)?([^`>]+)>?`", _link, text)
    return re.sub(r":(func|class|mod|meth|term):`~?(?:([^`<]*?)\s*<)?([^`>]+)>?`", _name, text)


def _formula(found: re.Match[str]) -> str:
    lines = [line.strip() for line in found[2].split("\n") if line.strip()]
    return "\n".join(f"{found[1]}{line}" for line in ["$$", *lines, "$$"])


def _included(found: re.Match[str]) -> str:
    options: dict[str, Any] = dict(re.findall(r":([\w-]+):[ ]?(.*)", found[2]))
    if "dedent" in options:
        options["dedent"] = None
    path = (DOCS / found[1].lstrip("/")).resolve()
    code, _ = LiteralIncludeReader(str(path), options, Config()).read()
    lines = [f"    {line}".rstrip() for line in code.rstrip().split("\n")]
    return "\n".join([".. code-block:: python", "", *lines, "", ""])


def _table(found: re.Match[str]) -> str:
    _, head, body = SimpleTableParser().parse(StringList(found[0].split("\n")))
    rows = [["" if cell is None else " ".join(cell[3]).strip() for cell in row] for row in [*head, *body]]
    rule = ["---"] * len(rows[0])
    return "\n".join(f"| {' | '.join(row)} |" for row in [rows[0], rule, *rows[1:]])


def _link(found: re.Match[str]) -> str:
    text, target = found[1], found[2]
    if target.startswith("/course/"):
        stem = target.removeprefix("/course/")
        return f"[{text or title(DOCS / f'chapters/{stem}.py')}]({stem}.ipynb)"
    if target.startswith("/source/"):
        return text or f"``{target.removeprefix('/source/')}.py``"
    return text or f"the page *{target.strip('/')}* of the site"


def _name(found: re.Match[str]) -> str:
    role, text, target = found.groups()
    return text or (target if role == "term" else f"``{target}``")


def title(path: Path) -> str:
    """Return the title of a chapter."""
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or path.stem).splitlines()[0]


# Files ---------------------------------------------------------------------------------------


def save(notebook: Notebook, path: Path) -> None:
    """Write a notebook if it has changed."""
    text = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def save_all(app: Sphinx) -> None:
    """Write the notebooks where the pages offer them: instead of sphinx-gallery's, and beside the demos' pages."""
    source = Path(app.srcdir)
    for path in sorted((DOCS / "chapters").glob("*.py")):
        save(chapter(path), source / f"course/{path.stem}.ipynb")
    for name in reading.DEMOS:
        save(demo(name), source / f"gallery/{name}.ipynb")
    for old in (source / "gallery").glob("*.ipynb"):
        if old.stem not in reading.DEMOS:
            old.unlink()


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx; sphinx-gallery must have been told before, as it writes the same files."""
    app.connect("builder-inited", save_all)
    return {"parallel_read_safe": True}
