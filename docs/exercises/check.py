"""Are the exercises of a chapter done? ``python docs/exercises/check.py 7`` says it, exercise by exercise.

The exercises of chapter 7 are the functions of ``chapter_07.py``. Each is checked by the function of the same name in
``checks/chapter_07.py``, by experiment: with numbers, shapes and gradients, never by looking at your code. What stands
in ``solutions/chapter_07.py`` is one way to do it; ``--solutions`` checks that file instead of yours. Without a
number, all chapters are checked.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))  # so that a clone works that is not installed


def load(path: Path) -> ModuleType:
    """Import a file by its path."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def chapters() -> list[int]:
    """List the chapters that have exercises."""
    return sorted(int(path.stem.removeprefix("chapter_")) for path in HERE.glob("chapter_*.py"))


def outcomes(chapter: int, *, solutions: bool = False) -> Iterator[tuple[str, str]]:
    """Check a chapter: yield the name of each exercise, and what is wrong with it, or nothing."""
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
            except Exception as error:  # whatever a student's code may raise
                lines = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == work.__file__]
                where = f"{name}, line {lines[-1].lineno}" if lines else "in the check: can it use what you return?"
                why = f"{type(error).__name__}: {error} ({where})"
            else:
                why = ""
            yield check_name.removeprefix("check_"), why


def main(arguments: list[str] | None = None) -> int:
    """Check chapters; return 0 if all of their exercises are done, and 1 if not."""
    parser = argparse.ArgumentParser(description="Are the exercises of a chapter done?")
    parser.add_argument("chapter", type=int, nargs="*", help="its number; none is all chapters")
    parser.add_argument("--solutions", action="store_true", help="check the solutions instead")
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.chapter) - set(chapters()):
        parser.error(f"there are no exercises of chapter {min(unknown)}; there are those of {chapters()}")
    missing = 0
    for chapter in chosen.chapter or chapters():
        print(f"chapter {chapter}")
        for name, why in outcomes(chapter, solutions=chosen.solutions):
            print(f"  {name}: not yet: {why}" if why else f"  {name}: done")
            missing += bool(why)
    return int(missing > 0)


if __name__ == "__main__":
    sys.exit(main())
