"""One side of a comparison, in a process of its own, and the handle by which the parent holds it.

They speak in lines. The worker builds its step and says what it runs on (JSON); for each "step" that it
is sent it takes one and answers with the seconds; when its input ends it answers with its peak memory, in
bytes, and goes. Between steps it waits for a line, and costs nothing.

The parent imports neither NumPy nor PyTorch: on Linux a process's peak memory begins with that of
the parent which started it.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.benchmarks.cases import CASES

THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
OLD_KERNEL_SETTINGS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # see the package's docstring

# An OpenMP thread (PyTorch's) that has nothing left to do spins for some 5 ms before it sleeps, and would take
# them from the other side's step: before each step, let everyone come to rest.
REST = 0.02


class Worker:
    """The parent's handle of a worker; a context, so that no worker outlives an error."""

    def __init__(self, case: str, side: str, threads: int) -> None:
        self.threads = threads
        self.name = f"{side}, {case}, {threads} threads"
        environment = {key: value for key, value in os.environ.items() if key not in OLD_KERNEL_SETTINGS}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.worker", case, side, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
            env=environment | dict.fromkeys(THREAD_SETTINGS, str(threads)),
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


def serve(case: str, side: str, threads: int) -> None:
    """Be the worker: build the step, then take one for each line that comes in."""
    library = importlib.import_module(side.split()[0])
    if hasattr(library, "set_num_threads"):
        library.set_num_threads(threads)
    step = CASES[case].sides[side]()
    _say(runs_on(library))
    for _ in sys.stdin:
        start = time.perf_counter()
        step()
        _say(time.perf_counter() - start)
    _say(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))


def runs_on(library: Any) -> str:
    """Name a library's version and the kernels that do its arithmetic."""
    own = f"{library.__name__} {library.__version__}"
    if library.__name__ == "torch":  # has its BLAS inside, where threadpoolctl does not look
        return f"{own}, {library.backends.cpu.get_cpu_capability()} kernels"
    import numpy as np
    from threadpoolctl import threadpool_info

    found = [info for info in threadpool_info() if info["user_api"] == "blas"]
    kernels = sorted({f"{info['internal_api']} kernel {info.get('architecture', 'unknown')}" for info in found})
    return ", ".join([own, f"numpy {np.__version__}", *(kernels or ["a BLAS that threadpoolctl does not know"])])


def _say(answer: object) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], int(sys.argv[3]))
