"""The structure: floors, the order of reading, and how long a file may be. All of it stands in tests/house.py."""

import ast
import graphlib
import re
import subprocess
import sys

import pytest

import minigrad
from tests import house

#: Slow to import, or optional: imported by the functions that need them.
HEAVY = [
    "scipy",
    "matplotlib",
    "PIL",
    "cupy",
    "mpi4py",
    "torch",
    "tqdm",
    "threadpoolctl",
    "safetensors",
    "pooch",
    "requests",
]

#: Of the standard library, what only commands and downloads need.
SLOW = [
    "argparse",
    "gzip",
    "hashlib",
    "http",
    "multiprocessing",
    "shutil",
    "subprocess",
    "tarfile",
    "tempfile",
    "urllib",
]

FILES = sorted(house.paths())


def imports(module):
    """Yield (what is imported, whether at the top) for the imports of a file; those for type checkers are left out."""
    tree = ast.parse(house.paths()[module].read_text())
    for_types = {
        inner
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in for_types:
            continue
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                whole = f"{house.imported(node, module)}.{alias.name}"
                yield whole if whole in house.paths() else house.imported(node, module), node in tree.body
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node in tree.body


def ours(module):
    """List the files of minigrad and models that a file imports."""
    return [name for name, _ in imports(module) if name.split(".")[0] in ("minigrad", "models")]


def test_every_file_is_in_the_table_once():
    listed = house.order()
    assert sorted(set(listed)) == FILES, "ROUTE in tests/house.py lists every file: one line for each"
    assert len(listed) == len(set(listed))


@pytest.mark.parametrize("module", FILES)
def test_a_file_imports_from_its_own_folder_and_from_lower_floors(module):
    number, folder = house.floor(module)
    for name in ours(module):
        assert name in FILES
        below, neighbour = house.floor(name)
        assert below < number or neighbour == folder, f"{module} imports {name}, which is not below it"


@pytest.mark.parametrize("module", FILES)
def test_only_what_is_slow_or_optional_is_imported_inside_a_function(module):
    for name, at_top in imports(module):
        package = name.split(".")[0]
        assert not (at_top and package in HEAVY), f"{module} imports {name} at the top"
        assert at_top or package in HEAVY + SLOW, f"{module} imports {name} inside a function"


def test_there_is_no_circle_of_imports():
    graph = {module: [name for name in ours(module) if name != module] for module in FILES}
    assert [*graphlib.TopologicalSorter(graph).static_order()]  # raises CycleError, with the circle


@pytest.mark.parametrize("part", house.ROUTE)
def test_a_part_of_the_route_uses_only_what_stands_above(part):
    """Files that were read before, or that are left for later; never a file that comes later in the same part."""
    listed = [entry.module for entry in house.ROUTE[part]]
    for i, module in enumerate(listed):
        if module in house.chain():  # a package hands out all its parts
            later = set(ours(module)) & set(listed[i + 1 :]) & set(house.chain())
            assert not later, f"{module} imports {later}, which {part!r} reads after it"


def test_every_file_names_the_next_one():
    for module, following in zip(house.chain(), [*house.chain()[1:], None], strict=True):
        docstring = ast.get_docstring(ast.parse(house.paths()[module].read_text())) or ""
        last = docstring.splitlines()[-1]
        expected = f"Next: :mod:`{following}`." if following else ""
        assert last == expected or not (following or last.startswith("Next")), (
            f"{module}: expected the last line {expected!r}, got {last!r}; python -m tests.house --write writes it"
        )


def test_importing_minigrad_is_light():
    code = f"import minigrad, models, sys; print([m for m in sys.modules if m.split('.')[0] in {HEAVY}])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=house.ROOT)
    assert result.stdout.strip() == "[]"


# Sizes ---------------------------------------------------------------------------------------

DEMOS = sorted((house.ROOT / "demos").glob("*.py"))


@pytest.mark.parametrize("path", [*house.paths().values(), *DEMOS], ids=lambda p: p.relative_to(house.ROOT).as_posix())
def test_a_file_is_a_sitting(path):
    code = house.measure(path.read_text()).code
    assert code <= house.FILE, f"{path.name}: {code} lines of code; cut the file in two by subject"


def test_the_engine_can_be_read_in_an_evening():
    code = house.total("First evening").code
    hint = "move what a first reading can do without below the title at which it stops (tests/house.py)"
    assert code <= house.FIRST_EVENING, f"{code} lines of code; {hint}"


def test_minigrad_stays_small():
    code = sum(house.measure(path.read_text()).code for name, path in house.paths().items() if name[:6] != "models")
    hint = "make room by deleting, or say in the commit why the limit in tests/house.py has to rise"
    assert code <= house.MINIGRAD, f"{code} lines of code; {hint}"


def test_code_is_counted_without_prose():
    text = '"""Two\nlines."""\n\n# Title -----\nx = 1  # code\n\n\ndef f():\n    """One."""\n    # Two.\n    return x\n'
    assert house.measure(text) == (3, 5)
    assert house.measure(text, until="Title") == (0, 2)


# The repository ------------------------------------------------------------------------------


def test_the_top_level_holds_what_a_visitor_expects():
    files = {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff"}
    folders = {"minigrad", "models", "tests", "demos", "docs"}
    command = ["git", "ls-files", "--cached"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False, cwd=house.ROOT).stdout.split()
    if not listed:
        pytest.skip("this is no clone")
    tops = {name.split("/")[0] for name in listed}
    assert {name for name in tops if not name.startswith(".")} == files | folders


def test_the_citation_and_the_changelog_know_the_version():
    """Between releases, the version is the next one's, with .dev0; the citation names the last release."""
    version, _, in_work = minigrad.__version__.partition(".dev")
    headings = re.findall(r"^## (?:Unreleased: )?(\S+)", (house.ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == version
    cited = re.search(r"^version: (\S+)$", (house.ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert cited
    assert cited[1] == headings[bool(in_work)]
    assert bool(in_work) == (f"## Unreleased: {version}" in (house.ROOT / "CHANGELOG.md").read_text())
