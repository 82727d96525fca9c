"""The table of a class: what each student has solved. The students' code runs in processes of its own only."""

from __future__ import annotations

import csv
import os
import subprocess
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from .checking import Outcome, chapters, outcomes


def students(folder: Path) -> list[Path]:
    """Return the folders of the students, by name."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] not in "._")


def grade(folder: Path, *, seconds: float) -> dict[str, list[Outcome]]:
    """Check all chapters and milestones of all students, as many at a time as there are cores."""

    def checked(job: tuple[Path, int]) -> list[Outcome]:
        return list(outcomes(*job, seconds=seconds, errors=subprocess.DEVNULL))

    jobs = [(student, chapter) for student in students(folder) for chapter in chapters()]
    found: dict[str, list[Outcome]] = {student.name: [] for student in students(folder)}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        parts = tqdm(pool.map(checked, jobs), total=len(jobs), unit=" chapters", disable=None)
        for (student, _), part in zip(jobs, parts, strict=True):
            found[student.name] += part
    return found


def table(found: dict[str, list[Outcome]]) -> str:
    """Return the table as text: tasks done in each chapter, in the milestones and in all, and tasks over the limit."""
    rows = [["student", *map(str, chapters()), "mine", "all", "slow"]]
    for student, tasks in found.items():
        parts = [[task for task in tasks if task.chapter == n and not _is_milestone(task)] for n in chapters()]
        parts += [[task for task in tasks if _is_milestone(task)], tasks]
        slow = sum(task.state == "slow" for task in tasks)
        rows.append([student, *map(_share, parts), str(slow)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [" ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
    return "\n".join(lines)


def write_csv(path: Path, found: dict[str, list[Outcome]]) -> None:
    """Write a row for each student, with the state of every task."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        for row, (student, tasks) in enumerate(found.items()):
            if row == 0:
                writer.writerow(["student", *(f"{task.file.stem}.{task.name}" for task in tasks)])
            writer.writerow([student, *(task.state for task in tasks)])


def _is_milestone(task: Outcome) -> bool:
    return task.file.name == "mine.py"


def _share(tasks: Iterable[Outcome]) -> str:
    done = [task.state == "done" for task in tasks]
    return f"{sum(done)}/{len(done)}"
