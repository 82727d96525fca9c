"""The table of a class: what each student has solved. The students' code runs in processes of its own only."""

from __future__ import annotations

import csv
import os
import subprocess
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from .checking import Outcome, outcomes

#: States that a teacher wants to look at.
FLAGS = ("slow", "error", "missing")


def students(folder: Path) -> list[Path]:
    """Return the folders of the students, by name."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] not in "._")


def grade(folder: Path, chosen: list[int], *, seconds: float) -> dict[str, list[Outcome]]:
    """Check these chapters, with their milestones, of all students, as many at a time as there are cores."""

    def checked(job: tuple[Path, int]) -> list[Outcome]:
        return list(outcomes(*job, seconds=seconds, errors=subprocess.DEVNULL))

    jobs = [(student, chapter) for student in students(folder) for chapter in chosen]
    found: dict[str, list[Outcome]] = {student.name: [] for student in students(folder)}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        parts = tqdm(pool.map(checked, jobs), total=len(jobs), unit=" chapters", disable=None)
        for (student, _), part in zip(jobs, parts, strict=True):
            found[student.name] += part
    return found


def table(found: dict[str, list[Outcome]]) -> str:
    """Return the table as text: tasks done, by chapter and milestone ("m2"), and tasks that need a look.

    The last row has the share of the class that has done each column's tasks.
    """
    columns = list(dict.fromkeys(_column(task) for tasks in found.values() for task in tasks))
    columns.sort(key=lambda name: (name[0] == "m", int(name.lstrip("m"))))  # the exercises first
    rows = [["student", *columns, "exercises", "milestones", *FLAGS]]
    groups: list[list[Outcome]] = [[] for _ in range(len(columns) + 2)]
    for student, tasks in found.items():
        parts = [[task for task in tasks if _column(task) == name] for name in columns]
        parts += [[task for task in tasks if (_column(task)[0] == "m") is milestone] for milestone in (False, True)]
        flags = [str(sum(task.state == state for task in tasks)) for state in FLAGS]
        rows.append([student, *map(_share, parts), *flags])
        for group, part in zip(groups, parts, strict=True):
            group += part
    rows.append(["class", *map(_percentage, groups), *[""] * len(FLAGS)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [" ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]
    return "\n".join(lines)


def write_csv(path: Path, found: dict[str, list[Outcome]]) -> None:
    """Write a row for each student, with the state of every task."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        for row, (student, tasks) in enumerate(found.items()):
            if row == 0:
                writer.writerow(["student", *(f"{task.file.stem}.{task.name}" for task in tasks)])
            writer.writerow([student, *(task.state for task in tasks)])


def _column(task: Outcome) -> str:
    return f"m{task.chapter}" if task.file.name == "mine.py" else str(task.chapter)


def _done(tasks: Iterable[Outcome]) -> list[bool]:
    return [task.state == "done" for task in tasks]


def _share(tasks: list[Outcome]) -> str:
    return f"{sum(_done(tasks))}/{len(tasks)}"


def _percentage(tasks: list[Outcome]) -> str:
    return f"{sum(_done(tasks)) / len(tasks):.0%}" if tasks else "-"
