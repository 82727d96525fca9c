"""One side of a comparison, in a process of its own, and the handle by which the parent holds it.

They speak in lines. The worker is told what to be when it starts (JSON), builds its step and says what it
runs on; for each "step" that it is sent it takes one and answers with the seconds; when its input ends it answers with
its peak memory, in bytes, and goes. Between steps it waits for a line, and costs nothing.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.benchmarks.cases import Case, Side

THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NPROC")  # NPROC: JAX's

# An OpenMP thread (PyTorch's) that has nothing left to do spins for some 5 ms before it sleeps, and would take
# them from the other side's step: before each step, let everyone come to rest.
REST = 0.02


class Worker:
    """The parent's handle of a worker; a context, so that no worker outlives an error."""

    def __init__(self, case: Case, side: Side, threads: int, python: str = sys.executable) -> None:
        self.threads = threads
        self.name = f"{side.name}, {case.step}, {threads} thread{'s' * (threads > 1)}"
        task = {
            "library": side.library,
            "step": case.step.format(library=side.library),
            "settings": {**case.settings, **side.settings},
            "threads": threads,
        }
        self.process = subprocess.Popen(
            [python, "-m", "tests.benchmarks.worker", json.dumps(task)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
            env=os.environ | dict.fromkeys(THREAD_SETTINGS, str(threads)),
        )
        assert self.process.stdin
        self.requests = self.process.stdin
        self.runs_on = ""

    def step(self) -> float:
        """Let the worker take one step, and return its seconds."""
        if self.threads > 1:
            time.sleep(REST)
        self.requests.write("step\n")
        self.requests.flush()
        return float(self._answer())

    def finish(self) -> int:
        """Let the worker go, and return its peak memory in bytes."""
        self.requests.close()
        return int(self._answer())

    def _answer(self) -> Any:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"benchmarks: the worker ({self.name}) ended early; what it said is above")
        return json.loads(line)

    def __enter__(self) -> Worker:
        try:
            self.runs_on = self._answer()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()
        with suppress(BrokenPipeError):
            self.requests.close()


def serve(library: str, step: str, settings: dict[str, Any], threads: int) -> None:
    """Be the worker: build the step, then take one for each line that comes in."""
    module, function = step.split(":")
    build = getattr(importlib.import_module(f"tests.benchmarks.{module}"), function)
    imported = importlib.import_module(library)
    if hasattr(imported, "set_num_threads"):
        imported.set_num_threads(threads)
    if hasattr(imported, "keep_freed_memory"):  # minigrad's, as in train.fit
        imported.keep_freed_memory()
    take = build(**settings)
    _say(runs_on(imported))
    for _ in sys.stdin:
        start = time.perf_counter()
        own_seconds = take()
        _say(own_seconds or time.perf_counter() - start)
    _say(peak_memory())


def runs_on(library: Any) -> str:
    """Name a library's version and the kernels that do its arithmetic."""
    own = f"{library.__name__} {library.__version__}"
    if library.__name__ == "torch":  # has its BLAS inside, where threadpoolctl does not look
        return f"{own}, {library.backends.cpu.get_cpu_capability()} kernels"
    if library.__name__ == "jax":
        return f"{own}, XLA's kernels"
    from tests.benchmarks.machine import numpy_and_blas

    return ", ".join(dict.fromkeys([own, *numpy_and_blas()]))  # numpy itself once


def peak_memory() -> int:
    """Return the most bytes that this process has had in memory.

    Linux knows it for the program that runs now; what getrusage says there begins with the peak of the process that
    started it.
    """
    with suppress(FileNotFoundError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _say(answer: object) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve(**json.loads(sys.argv[1]))
