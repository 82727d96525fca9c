"""Check the work of one student: each file in a process of its own, each task with a time limit."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent

#: The time limit of one task. Tasks that train a net get a multiple of it.
SECONDS = 30.0
LONGER = {"fit": 4, "residual_20": 20}

#: Python 3.11 counts how deep a syntax tree is in one place for all threads: two at a time disturb each other.
PARSING = threading.Lock()


@dataclass(frozen=True)
class Outcome:
    """What the check of one task found.

    Attributes
    ----------
    chapter : int
    file : Path
        The student's file.
    line : int
        Where the task begins in this file; 1 if it is not there.
    name : str
        The function or class to write.
    state : str
        "done", "open" (to be written), "wrong" (a wrong result), "error" (an exception), "slow" (over the limit) or
        "missing" (there is no such file).
    message : str
        What is wrong, in numbers; empty if the task is done.
    hint : str
        How to think about the task.
    """

    chapter: int
    file: Path
    line: int
    name: str
    state: str
    message: str
    hint: str


def chapters() -> list[int]:
    """Return the numbers of the chapters that have exercises."""
    return sorted(int(path.stem.removeprefix("chapter_")) for path in HERE.glob("chapter_*.py"))


def outcomes(folder: Path, chapter: int, *, seconds: float = SECONDS, errors: int | None = None) -> Iterator[Outcome]:
    """Yield the outcomes of a chapter's exercises, and of its milestone if it has one.

    Parameters
    ----------
    folder : Path
        The student's folder.
    chapter : int
    seconds : float
        The time limit of a task.
    errors : int, optional
        Where the student's code may print: a file as :mod:`subprocess` takes it; by default the terminal.
    """
    for file, checks in (
        (f"chapter_{chapter:02}.py", f"chapter_{chapter:02}.py"),
        ("mine.py", f"mine_{chapter:02}.py"),
    ):
        path = HERE / "checks" / checks
        if path.is_file():
            written = definitions(path).items()
            hints = {name.removeprefix("check_"): hint for name, (_, hint) in written if name.startswith("check_")}
            places = definitions(folder / file)
            found = _run(folder / file, path, list(hints), seconds, errors)
            for (name, hint), (state, message) in zip(hints.items(), found, strict=True):
                line, _ = places.get(name, (1, ""))
                yield Outcome(chapter, folder / file, line, name, state, message, hint)


def definitions(path: Path) -> dict[str, tuple[int, str]]:
    """Return the line and the docstring of each function and class of a file, without running it."""
    try:
        with PARSING:
            tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):  # there is no such file, or it is not Python: the worker will say so
        return {}
    nodes = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return {node.name: (node.lineno, " ".join((ast.get_docstring(node) or "").split())) for node in nodes}


def _run(file: Path, checks: Path, names: list[str], seconds: float, errors: int | None) -> Iterator[tuple[str, str]]:
    """Yield the state and the message of each task; after a check that does not end, a new process goes on."""
    if not file.is_file():
        yield from [("missing", f"there is no file {file.name} in {file.parent}")] * len(names)
        return
    while names:
        for state, message in _one_process(file, checks, names, seconds, errors):
            names = names[1:]
            yield state, message


def _one_process(
    file: Path, checks: Path, names: list[str], seconds: float, errors: int | None
) -> Iterator[tuple[str, str]]:
    """Yield what one process finds, up to the first task over the time limit or the end of the process."""
    command = [sys.executable, "-P", str(HERE / "worker.py"), str(file.absolute()), str(checks), *names]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}  # the same bits on every machine with this processor
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
    ) as process:
        lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        threading.Thread(target=_read, args=(process, lines), daemon=True).start()
        try:
            for name in names:
                limit = seconds * LONGER.get(name, 1)
                try:
                    line = lines.get(timeout=limit)
                except queue.Empty:
                    yield "slow", f"it has not ended after {limit:g} seconds, and was stopped"
                    return
                if not line:
                    yield "error", f"it ended the whole process (exit status {process.wait()})"
                    return
                state, message = json.loads(line)
                yield state, message
        finally:
            process.kill()


def _read(process: subprocess.Popen[bytes], lines: queue.SimpleQueue[bytes]) -> None:
    """Pass on each line, and at the end an empty one: waiting for a queue has a time limit on every system."""
    assert process.stdout is not None
    with contextlib.suppress(ValueError):  # the file is closed while it is read, after the end of the process
        for line in process.stdout:
            lines.put(line)
    lines.put(b"")
