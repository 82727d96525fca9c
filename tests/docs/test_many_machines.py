"""docs/many_machines.md is true.

Its programs give the same bits on 1, 2 and 4 processes; its names and errors are those of the source.
"""

import re
from pathlib import Path

import pytest

from minigrad import distributed
from minigrad.distributed.processes import LAUNCHED
from tests.distributed import processes

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/many_machines.md").read_text()
WITH_FIT, LOOP = (text for text in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if text.startswith("import"))

NEEDS_MPI = pytest.mark.skipif(bool(processes.NONE), reason=processes.NONE)


def run(program, folder, size):
    """Run a program of the page as it says, in a folder; return what it printed."""
    (folder / "program.py").write_text(program)
    return processes.run(size, "program.py", folder=folder)


def checksum(printed):
    """Return the one line with the checksum of the weights."""
    (line,) = re.findall(r"^weights [0-9a-f]{64}$", printed, re.MULTILINE)
    return line


@pytest.mark.slow
@NEEDS_MPI
def test_the_program_prints_the_same_checksum_on_each_number_of_processes(tmp_path):
    """Also where a run begins on a laptop, continues on four nodes, and ends on two."""
    found = {}
    for name, parts in {"1": [(5, 1)], "2": [(5, 2)], "4": [(5, 4)], "changing": [(1, 1), (3, 4), (5, 2)]}.items():
        folder = tmp_path / name
        folder.mkdir()
        for epochs, size in parts:
            printed = run(WITH_FIT.replace("epochs=5", f"epochs={epochs}"), folder, size)
        found[name] = checksum(printed)
    assert len(set(found.values())) == 1, found


@pytest.mark.slow
@NEEDS_MPI
def test_the_loop_prints_the_same_on_each_number_of_processes(tmp_path):
    alone = run(LOOP, tmp_path, 1)
    assert re.fullmatch(r"(epoch \d: loss \d\.\d{6}, \d+\.\d% of held-out digits wrong\n){5}", alone)
    assert run(LOOP, tmp_path, 2) == alone
    assert run(LOOP, tmp_path, 4) == alone


def test_every_variable_of_the_source_is_on_the_page():
    table = PAGE.partition("## Environment variables")[2].partition("\n## ")[0]
    source = "".join(path.read_text() for path in (ROOT / "minigrad/distributed").glob("*.py"))
    assert set(re.findall(r"MINIGRAD_(?:WAIT|UNEQUAL)", source)) == set(re.findall(r"MINIGRAD_\w+", table))
    assert set(LAUNCHED) <= set(re.findall(r"`(\w+)`", table))
    assert '"MINIGRAD_WAIT") or 600' in source
    assert "600 by default" in table


def test_the_error_is_the_one_that_is_raised(monkeypatch):
    def work():
        kernel = ["openblas SkylakeX", "openblas Haswell"][distributed.rank()]
        distributed.agree({"the kernel of BLAS": kernel})

    monkeypatch.delenv("MINIGRAD_UNEQUAL", raising=False)
    for error in processes.ranks(monkeypatch, 2, work):
        assert f"\nValueError: {error}\n" in PAGE
