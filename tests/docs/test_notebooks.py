"""Every chapter and every demo is a notebook that runs where minigrad is installed and this repository is not."""

import ast
import importlib
import json
import re
import shutil
import sys
import tomllib
from pathlib import Path

import pytest

import demos

ROOT = Path(__file__).parents[2]
CHAPTERS = sorted((ROOT / "docs/chapters").glob("*.py"))
DEMOS = [name for name in demos.ORDER if name not in demos.APART]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

#: Those that take a second or two; the others are slow tests.
QUICK = ["01_derivative", "03_broadcasting", "tape"]


def slow_unless_quick(name):
    return pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow)


@pytest.fixture(scope="module")
def notebooks():
    pytest.importorskip("sphinx_gallery")
    sys.path.insert(0, str(ROOT / "docs/_ext"))
    try:
        yield importlib.import_module("notebooks")
    finally:
        sys.path.remove(str(ROOT / "docs/_ext"))


def sources(notebook, kind):
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == kind]


@pytest.mark.parametrize("name", [*(path.stem for path in CHAPTERS), *demos.ORDER])
def test_the_text_is_markdown(notebooks, name):
    path = ROOT / f"docs/chapters/{name}.py"
    notebook = notebooks.chapter(path) if path.exists() else notebooks.demo(name)
    text = "\n\n".join(sources(notebook, "markdown"))
    assert text.startswith("# ")
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    assert re.findall(r":\w+:`.*|^ *\.\. .*|^[=-]{4,}.*", prose, re.MULTILINE) == [], "this is reST"
    assert prose.count("$$") % 2 == 0
    for target in re.findall(r"\]\((\w+)\.ipynb\)", prose):
        assert (ROOT / f"docs/chapters/{target}.py").exists()


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_has_all_its_code(notebooks, path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    statements = [ast.unparse(node) for node in tree.body[1:-1]]  # neither the docstring nor show()
    code = "\n\n".join(cell for cell in sources(notebooks.chapter(path), "code") if not cell.startswith("%%writefile"))
    there = [ast.unparse(node) for node in ast.parse(code).body]
    assert [s.replace(notebooks.ROOT_IN_CHAPTERS, "Path()") for s in statements] == there[
        len(there) - len(statements) :
    ]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_imports_what_an_installation_has(path):
    packages = {re.split(r"\W", name.lower())[0] for name in PROJECT["project"]["dependencies"]}
    known = set(sys.stdlib_module_names) | packages | {"PIL", "minigrad", "models"}
    known |= {"demos", "tests"}  # their files are in the notebook
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) else []
        assert {name.split(".")[0] for name in names} <= known


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Copy what the wheel installs into a folder."""
    folder = tmp_path_factory.mktemp("installed")
    for package in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


#: What stands before the first cell: minigrad is the installed copy, and nothing else of this repository is found.
BEFORE = """
import sys
import minigrad

sys.path[:] = [place for place in sys.path if place != {root!r}]
assert minigrad.__file__.startswith({installed!r}), minigrad.__file__
"""


def run(notebook, folder, installed, monkeypatch):
    """Execute a notebook, and return its figures: how many images it shows."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", str(installed))
    monkeypatch.delenv("MPLBACKEND", raising=False)
    cells = nbformat.reads(json.dumps(notebook), as_version=4)
    cells.cells.insert(0, nbformat.v4.new_code_cell(BEFORE.format(root=str(ROOT), installed=str(installed))))
    client = nbclient.NotebookClient(
        cells, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    client.execute()
    outputs = [out for cell in cells.cells for out in cell.get("outputs", [])]
    return sum("image/png" in out.get("data", {}) for out in outputs)


@pytest.mark.parametrize("name", [slow_unless_quick(path.stem) for path in CHAPTERS])
def test_a_chapter_runs(notebooks, installed, name, tmp_path, monkeypatch):
    path = ROOT / f"docs/chapters/{name}.py"
    shown = run(notebooks.chapter(path), tmp_path, installed, monkeypatch)
    assert shown == path.read_text(encoding="utf-8").count(".set_label(")


@pytest.mark.parametrize("name", [slow_unless_quick(name) for name in DEMOS])
def test_a_demo_runs_and_shows_its_figure(notebooks, installed, name, tmp_path, monkeypatch):
    assert run(notebooks.demo(name), tmp_path, installed, monkeypatch) == 1
