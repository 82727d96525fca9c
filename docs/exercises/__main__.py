"""The command ``python -m docs.exercises``: start a folder of one's own, check the work in it, grade a class.

::

    python -m docs.exercises start my_course        copy all tasks into a new folder
    python -m docs.exercises check my_course 2      check chapter 2, and its milestone in mine.py
    python -m docs.exercises check my_course 2 --hint
    python -m docs.exercises grade my_class         a folder of such folders, one for each student
    python -m docs.exercises grade my_class 2 3     only these chapters, and their milestones
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import textwrap
from pathlib import Path

from .checking import HERE, SECONDS, Outcome, chapters, outcomes
from .grading import grade, students, table, write_csv


def start(folder: Path) -> int:
    """Copy the tasks into a folder; leave files that are already there as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    tasks = [*sorted(HERE.glob("chapter_*.py")), HERE / "mine.py"]
    new = [path for path in tasks if not (folder / path.name).exists()]
    for path in new:
        shutil.copyfile(path, folder / path.name)
    kept = f"; {len(tasks) - len(new)} were there and are unchanged" if len(new) < len(tasks) else ""
    print(f"{len(new)} new files in {folder}{kept}")
    print(f"Write the functions in {folder / tasks[0].name}, and check them:")
    print(f"  python -m docs.exercises check {folder} {chapters()[0]}")
    return 0


def check(folder: Path, chosen: list[int], *, hint: bool, seconds: float) -> int:
    """Print the outcome of each task; return 0 if all are done, else 1."""
    done = []
    for chapter in chosen:
        for outcome in outcomes(folder, chapter, seconds=seconds):
            print(described(outcome, hint=hint), flush=True)
            done.append(outcome.state == "done")
    print(f"{sum(done)} of {len(done)} done")
    if not all(done) and not hint:
        print("With --hint, each task that is not done gets a hint.")
    return int(not all(done))


def described(outcome: Outcome, *, hint: bool) -> str:
    """Return the lines about one task: the file and the line to edit, the name, and what is wrong."""
    where = f"{outcome.file}:{outcome.line}: {outcome.name}"
    if outcome.state == "done":
        return f"{where}: done"
    text = f"{where}: not yet: {outcome.message}".replace("\n", "\n    ")
    return f"{text}\n{textwrap.indent(textwrap.fill(f'hint: {outcome.hint}', 110), '    ')}" if hint else text


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m docs.exercises", description="The exercises of the course.")
    commands = parser.add_subparsers(dest="command", required=True)
    starting = commands.add_parser("start", help="copy the tasks into a folder of your own")
    starting.add_argument("folder", type=Path)
    checking = commands.add_parser("check", help="check your work")
    what = "your folder (the current one) and numbers of chapters (all)"
    checking.add_argument("what", nargs="*", metavar="FOLDER | CHAPTER", help=what)
    checking.add_argument("--hint", action="store_true", help="say how to think about each task that is not done")
    grading = commands.add_parser("grade", help="make the table of a class")
    grading.add_argument("folder", type=Path, help="a folder that contains a folder for each student")
    grading.add_argument("chapters", nargs="*", type=int, metavar="CHAPTER", help="chapters to grade (all)")
    grading.add_argument("--csv", type=Path, help="also write the state of every task into this file")
    for command in (checking, grading):
        command.add_argument("--seconds", type=float, default=SECONDS, help=f"time limit of a task ({SECONDS:g})")
    chosen = parser.parse_args(arguments)

    if chosen.command == "start":
        return start(chosen.folder)
    numbers = chosen.chapters if chosen.command == "grade" else [int(word) for word in chosen.what if word.isdecimal()]
    if unknown := set(numbers) - set(chapters()):
        parser.error(f"there are no exercises of chapter {min(unknown)}; there are those of {chapters()}")
    if chosen.command == "check":
        folders = [Path(word) for word in chosen.what if not word.isdecimal()] or [Path()]
        if len(folders) > 1:
            parser.error(f"expected one folder, got {' and '.join(map(str, folders))}")
        (folder,) = folders
        if folder.resolve() == HERE:
            parser.error(f"{folder} contains the tasks that the pages show; work on a copy: start FOLDER makes one")
        if not any(folder.glob("chapter_*.py")) and not (folder / "mine.py").is_file():
            parser.error(f"there are no exercises in {folder.resolve()}; start FOLDER puts them into a folder")
        return check(folder, numbers or chapters(), hint=chosen.hint, seconds=chosen.seconds)
    if not chosen.folder.is_dir() or not students(chosen.folder):
        parser.error(f"{chosen.folder} contains no folders of students")
    found = grade(chosen.folder, numbers or chapters(), seconds=chosen.seconds)
    print(table(found))
    for student, tasks in found.items():
        if all(task.state == "missing" for task in tasks):
            print(f"{student}: there is no file of the course in {chosen.folder / student}")
    if chosen.csv:
        write_csv(chosen.csv, found)
    return 0


if __name__ == "__main__":
    try:
        status = main()
        sys.stdout.flush()
    except KeyboardInterrupt:
        status = 130
    except BrokenPipeError:  # the reader, such as head, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python writes as it ends
        status = 141
    sys.exit(status)
