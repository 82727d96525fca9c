"""The process in which a student's code runs: ``python -P worker.py FILE CHECKS NAME ...``.

It imports both files, calls the check of each NAME, and writes one line of JSON for each to its standard output: the
state, and what is wrong. :mod:`docs.exercises.checking` starts it, and ends it if a check takes too long.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]


def load(path: Path) -> ModuleType:
    """Import a file by its path."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def result(name: str, work: ModuleType, check: Callable[[ModuleType], None]) -> tuple[str, str]:
    """Return the state of a task ("done", "open", "wrong" or "error") and what is wrong."""
    if not hasattr(work, name):
        return "open", f"there is no {name} in this file"
    try:
        check(work)
    except Exception as error:  # a student's code may raise anything
        return fault(error, name, str(work.__file__))
    except SystemExit:
        return "error", "SystemExit: it ends the program"
    return "done", ""


def fault(error: Exception, name: str, file: str) -> tuple[str, str]:
    """Return the state and the message for an exception of the student's code, or of the check."""
    frames = [(frame.f_code, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    theirs = [(code.co_qualname.split(".")[0], line) for code, line in frames if code.co_filename == file]
    raised_there = frames[-1][0].co_filename == file
    if isinstance(error, NotImplementedError) and raised_there:
        other, _ = theirs[-1]
        return (
            "open",
            "it is still to be written" if other == name else f"it needs {other}, which is still to be written",
        )
    if isinstance(error, AssertionError) and not raised_there:
        return "wrong", str(error)
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, RecursionError):
        text = f"RecursionError: calls are nested more than {sys.getrecursionlimit():,} deep"
    if theirs:
        return "error", f"{text} (line {theirs[-1][1]})"
    if "NoneType" in text:
        return "error", f"{text} (in the check, which got None: is a return missing?)"
    return "error", f"{text} (in the check, after {name} returned: is the result what the task asks for?)"


def main(file: str, checks: str, *names: str) -> None:
    """Check the tasks with these names."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the student's code prints goes to the terminal, not between the lines of JSON
    sys.stdout = sys.stderr
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the command, and the command ends this process
    sys.dont_write_bytecode = True  # the time in a .pyc file does not tell apart two edits in one second
    sys.path.insert(0, str(ROOT))  # so that a clone works without installation
    sys.path.append(str(Path(file).parent))  # a student's files may import one another
    checking = vars(load(Path(checks)))
    try:
        work = load(Path(file))
    except (Exception, SystemExit) as error:
        at = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
        line = error.lineno if isinstance(error, SyntaxError) else at[-1] if at else None
        text = error.msg if isinstance(error, SyntaxError) else str(error)
        outcomes = ["error", f"the file cannot be imported: {type(error).__name__}: {text} (line {line})"]
        print(*[json.dumps(outcomes)] * len(names), sep="\n", file=out, flush=True)
        return
    for name in names:
        print(json.dumps(result(name, work, checking[f"check_{name}"])), file=out, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
