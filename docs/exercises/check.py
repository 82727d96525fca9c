"""Check the exercises of a chapter: ``python docs/exercises/check.py 8`` says which are done, and what is wrong.

The exercises of chapter 8 are the functions of ``chapter_08.py``. The function of the same name in
``checks/chapter_08.py`` checks each exercise. It calls your function and tests the numbers, shapes and gradients that
it returns; it never looks at your code. ``solutions/chapter_08.py`` contains one possible solution of each exercise;
``--solutions`` checks this file instead of yours. Without a number, all chapters are checked.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))  # so that a clone works without installation


def load(path: Path) -> ModuleType:
    """Import a file by its path."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def chapters() -> list[int]:
    """Return the numbers of the chapters that have exercises."""
    return sorted(int(path.stem.removeprefix("chapter_")) for path in HERE.glob("chapter_*.py"))


def outcomes(chapter: int, *, solutions: bool = False) -> Iterator[tuple[str, str]]:
    """Yield the name of each exercise of a chapter and what is wrong with it, which is empty if it is done."""
    name = f"chapter_{chapter:02}.py"
    work = load(HERE / "solutions" / name if solutions else HERE / name)
    for check_name, check in vars(load(HERE / "checks" / name)).items():
        if check_name.startswith("check_"):
            try:
                check(work)
            except NotImplementedError:
                why = "it is still to be written"
            except AssertionError as error:
                why = str(error)
            except Exception as error:  # a student's code may raise anything
                lines = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == work.__file__]
                where = f"{name}, line {lines[-1].lineno}" if lines else "in the check: can it use what you return?"
                why = f"{type(error).__name__}: {error} ({where})"
            else:
                why = ""
            yield check_name.removeprefix("check_"), why


def main(arguments: list[str] | None = None) -> int:
    """Check chapters; return 0 if all their exercises are done, else 1."""
    parser = argparse.ArgumentParser(description="Check the exercises of a chapter.")
    parser.add_argument("chapter", type=int, nargs="*", help="number of a chapter; default: all chapters")
    parser.add_argument("--solutions", action="store_true", help="check the solutions instead of your files")
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.chapter) - set(chapters()):
        parser.error(f"there are no exercises of chapter {min(unknown)}; there are those of {chapters()}")
    missing = 0
    for chapter in chosen.chapter or chapters():
        name = f"{'solutions/' if chosen.solutions else ''}chapter_{chapter:02}.py"
        print(f"chapter {chapter}: {os.path.relpath(HERE / name)}")
        for name, why in outcomes(chapter, solutions=chosen.solutions):
            print(f"  {name}: not yet: {why}" if why else f"  {name}: done")
            missing += bool(why)
    return int(missing > 0)


if __name__ == "__main__":
    sys.exit(main())
