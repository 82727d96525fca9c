"""Running the suite on changed code: copies of the project, forks of one warm process, stages, limits of time.

:mod:`tests.tools.mutation` and :mod:`tests.tools.plant` change the code in different ways, and run the tests in this
one. The working tree is never written to: each job has a copy of the project. Modules that are slow to import are
imported once; each stage is a fork of that process, which then imports the project from the copy.

A job runs through *stages*, from the tests that are most likely to notice the change to all others, and stops at the
first test that fails.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]

#: Modules that are imported once for all trials, where they are installed.
PRELOADED = ["pytest", "numpy.testing", "scipy.special", "scipy.signal", "threadpoolctl", "hypothesis", "torch", "tqdm"]
PRELOADED += ["matplotlib.pyplot", "PIL.Image", "safetensors.numpy", "pooch"]


class Stage(NamedTuple):
    """Tests that are run together.

    Attributes
    ----------
    tests : list of str
        Files, folders or single tests.
    operators : list of str
        The operators whose records are run; empty for all tests.
    options : list of str
        Further arguments for pytest.
    """

    tests: Sequence[str]
    operators: Sequence[str] = ()
    options: Sequence[str] = ()


def generic() -> list[str]:
    """List the test files of operators that run over the records."""
    files = sorted(Path("tests/ops").glob("test_*.py"))
    return [str(path) for path in files if re.search(r"^from tests.records import", path.read_text(), re.MULTILINE)]


def mirrored(file: Path) -> list[str]:
    """List the test files that belong to a file of minigrad/ or models/: tests/ops/test_conv*.py to ops/conv.py."""
    folder = Path("tests", file.relative_to("minigrad") if file.parts[0] == "minigrad" else file).parent
    return sorted(map(str, folder.glob(f"test_{file.stem}*.py")))


# Forks ---------------------------------------------------------------------------------------


def warm_up() -> None:
    """Import what all trials import, so that their forks need not."""
    plugins = importlib.import_module("_pytest.config").default_plugins
    for name in [*PRELOADED, *(f"_pytest.{plugin}" for plugin in plugins)]:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # they take time to load and have no part here


def in_fork(action: Callable[[], int], seconds: float) -> tuple[int | None, str]:
    """Return the exit status of `action` in a fork of this process, and what it printed; None if it took too long.

    Parameters
    ----------
    action : callable
        Returns the exit status. If the fork dies by a signal, the status is negative.
    seconds : float
        Of the processor: the machine may have other work. In wall-clock time the limit is ten times that.
    """
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setpgid(0, 0)  # so that its own children end with it
            for number in (signal.SIGTERM, signal.SIGALRM, signal.SIGPROF):  # what a handler raises, a test could catch
                signal.signal(number, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30))
            output = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            sys.stdout = sys.stderr = os.fdopen(1, "w", closefd=False)  # a test's own fork has pytest's instead
            code = action()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    end, status = time.monotonic() + 10 * seconds, None
    try:
        while status is None and processor_seconds(child) < seconds and time.monotonic() < end:
            time.sleep(0.01)
            ended, code = os.waitpid(child, os.WNOHANG)
            status = os.waitstatus_to_exitcode(code) if ended else None
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child, signal.SIGKILL)
        if status is None:
            os.waitpid(child, 0)
    return status, Path("log").read_text(errors="replace").strip()


def processor_seconds(process: int) -> float:
    """Return how long a process has run. (A limit of its own would make its clock move in steps of milliseconds.)"""
    return time.clock_gettime(~process << 3 | 2) if sys.platform == "linux" else 0.0  # as clock_getcpuclockid does


class OnlyOf:
    """A plugin of pytest: of the tests that run over the records, choose those of some operators.

    They are told by their parameter `name`, not by a part of what they are called: logsumexp, too, contains sum.
    """

    def __init__(self, operators: Sequence[str]) -> None:
        self.operators = operators

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Leave out all other tests."""
        items[:] = [x for x in items if hasattr(x, "callspec") and x.callspec.params.get("name") in self.operators]


class Patience:
    """A plugin of pytest: a test that takes longer than its share of the processor ends the fork.

    A changed loop may have no end, and a thread may wait for what never comes: for that, a test has ten times as long
    by the clock. A stage of many tests may take minutes, one of its tests may not.
    """

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds

    def set(self, seconds: int) -> None:
        """Set both clocks; SIGPROF or SIGALRM ends the process."""
        signal.setitimer(signal.ITIMER_PROF, seconds)
        signal.setitimer(signal.ITIMER_REAL, 10 * seconds)

    def pytest_sessionstart(self) -> None:
        """Begin to import the tests: the change may be at work there already."""
        self.set(3 * self.seconds)

    def pytest_runtest_setup(self) -> None:
        """Begin a test."""
        self.set(self.seconds)

    def pytest_runtest_teardown(self) -> None:
        """Stop the clocks."""
        self.set(0)


#: Processor seconds that one test may take, several times those of the slowest of the quick suite.
PATIENCE = 20


def trial(stage: Stage, seconds: int) -> tuple[str, str]:
    """Run a stage; return the verdict (survived, killed or timed out) and the test that failed."""

    def action() -> int:
        plugins: list[object] = [Patience(PATIENCE), *([OnlyOf(stage.operators)] if stage.operators else [])]
        if stage.operators:  # the others need not be gathered
            records = importlib.import_module("tests.records").RECORDS
            for name in set(records) - set(stage.operators):
                del records[name]
        options = ["-x", "-q", "--tb=no", "-p", "no:cacheprovider", *stage.options]
        return int(importlib.import_module("pytest").main([*options, *stage.tests], plugins))

    status, printed = in_fork(action, seconds)
    gone = status == 4 and "ERROR: not found:" in printed  # a test that is named, and has another name by now
    if gone or status in (0, 5):  # 5: no tests were chosen
        return "survived", ""
    if status is None or -status in (signal.SIGPROF, signal.SIGALRM):
        return "timed out", ""
    if status < 0:
        return "killed", "the process died"
    failed = re.findall(r"^(?:FAILED|ERROR) (\S.*?)(?: - .*)?$", printed, re.MULTILINE)
    return "killed", failed[0] if failed else printed.rpartition("\n")[2]


def first_failure(stages: Sequence[Stage], seconds: int) -> tuple[str, str]:
    """Run stages until a test fails: return the verdict and the test."""
    for stage in stages:
        verdict, by = trial(stage, seconds)
        if verdict != "survived":
            return verdict, by
    return "survived", ""


# Copies of the project -----------------------------------------------------------------------


@contextlib.contextmanager
def copied() -> Iterator[Path]:
    """Copy the project to a scratch folder, and work there, on imports from there, inside the context."""
    with tempfile.TemporaryDirectory(prefix="trials-") as directory:
        project = Path(directory, "project")
        ignored = shutil.ignore_patterns(".git", ".*cache", ".venv", "__pycache__", "runs", "build", "_build", "dist")
        shutil.copytree(ROOT, project, ignore=ignored)
        before = Path.cwd()
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # in an orderly way: trials end, and copies are removed
        move_to(project)
        sys.dont_write_bytecode = False
        collect = ["-q", "-p", "no:cacheprovider", "--collect-only", "tests"]
        in_fork(lambda: int(importlib.import_module("pytest").main(collect)), 300)  # leaves the bytecode of all files
        try:
            yield project
        finally:
            os.chdir(before)


def move_to(copy: Path) -> None:
    """Work in a copy of the project, and import from there."""
    os.chdir(copy)
    sys.path[:] = [str(copy), *(path for path in sys.path if path and Path(path).resolve() != ROOT)]
    os.environ["PYTHONPATH"] = str(copy)
    for name in [name for name in sys.modules if name.split(".")[0] in ("tests", "minigrad", "models")]:
        del sys.modules[name]


@contextlib.contextmanager
def changed(path: Path, code: bytes) -> Iterator[None]:
    """Give a file of the copy another content inside the context.

    Bytecode counts as valid if the source has the size and the second of before: so the second is another one.
    """
    before, status = path.read_bytes(), path.stat()
    path.write_bytes(code)
    os.utime(path, (status.st_atime + 100, status.st_mtime + 100))
    try:
        yield
    finally:
        path.write_bytes(before)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # the copied bytecode is valid again


def side_by_side(do: Callable[[Any], Any], jobs: Iterable[Any], project: Path, count: int) -> Iterator[tuple[Any, Any]]:
    """Yield each job with ``do(job)`` as soon as it is done, `count` at a time, each in a copy of the project.

    Jobs are taken when there is a place for them. Results pass through JSON. A worker that dies raises RuntimeError.
    """
    waiting, running = iter(jobs), dict[int, tuple[Path, Any]]()
    copies = [tempfile.mkdtemp(dir=project.parent) for _ in range(count)]
    free = [Path(shutil.copytree(project, copy, dirs_exist_ok=True)) for copy in copies]
    try:
        while True:
            while free and (job := next(waiting, None)) is not None:
                place = free.pop()
                running[_start(do, job, place)] = place, job
            if not running:
                return
            worker, status = os.wait()
            place, job = running.pop(worker)
            if status:
                raise RuntimeError(f"the process that worked on {job} ended with status {status}")
            yield job, json.loads((place / "result").read_text())
            free.append(place)
    finally:
        for worker in running:
            os.kill(worker, signal.SIGTERM)
            os.waitpid(worker, 0)


def _start(do: Callable[[Any], Any], job: Any, place: Path) -> int:
    """Fork a worker that writes ``do(job)`` to the file `result` of its copy; return its number."""
    sys.stdout.flush()
    worker = os.fork()
    if worker == 0:
        code = 1
        try:
            move_to(place)
            sys.dont_write_bytecode = True  # each change would leave some; that of unchanged files was copied
            os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
            Path("result").write_text(json.dumps(do(job)))
            code = 0
        except SystemExit:
            pass
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return worker
