"""Threads that share the tasks of one operator.

NumPy releases Python's global lock while it copies, adds or multiplies matrices. So several threads are faster than
one, if each works on a block of data that stays in its core's cache.

One rule keeps results bit-equal for every number of threads: *what* the tasks are depends on shapes and constants only;
the number of threads decides merely *who* does which task.

Next: :mod:`minigrad.kernels.blocks`.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from queue import SimpleQueue
from typing import TypeAlias

from minigrad.arguments import expect, integer
from minigrad.kernels.blas import on_one_thread
from minigrad.kernels.interrupts import call_then

#: More threads than any machine has use for: a larger number is a mistake, and could use up the system's threads.
MOST = 1024


def _default() -> int:
    """Return the number of processors that this process may use, or fewer if the user asks BLAS for fewer threads."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = [os.environ.get(f"{name}_NUM_THREADS", "").split(",")[0].strip() for name in ("OMP", "OPENBLAS", "MKL")]
    return min(processors, MOST, *[int(n) for n in asked if n.isdecimal() and int(n)])


_num_threads = _default()
_inside_task: ContextVar[bool] = ContextVar("inside a task", default=False)


def set_num_threads(n: int) -> None:
    """Let minigrad's operators use `n` threads: results are the same, to the bit, for every `n`.

    Parameters
    ----------
    n : int
        From 1 to 1,024. The default is the number of processors this process may use, but at most the value of
        ``OMP_NUM_THREADS``, ``OPENBLAS_NUM_THREADS`` and ``MKL_NUM_THREADS``. Where the system grants no further
        threads, operators use those that they have.

    Raises
    ------
    ValueError
        If `n` is not such an integer.

    Examples
    --------
    >>> import minigrad as mg
    >>> before = mg.get_num_threads()
    >>> mg.set_num_threads(1)
    >>> mg.get_num_threads()
    1
    >>> mg.set_num_threads(before)
    """
    global _num_threads, _helpers
    n = integer("set_num_threads", "n", n, least=1)
    expect(n <= MOST, "set_num_threads", f"n to be at most {MOST}", n)
    if n != _num_threads:
        _num_threads, _helpers = n, None


def get_num_threads() -> int:
    """Return how many threads minigrad's operators use.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.get_num_threads() >= 1
    True
    """
    return _num_threads


def run(task: Callable[[int], object], count: int) -> None:
    """Call ``task(0)``, ..., ``task(count - 1)``, spread over the threads, with BLAS on one thread in each.

    A free thread takes the next task, so tasks must not depend on one another. If tasks raise exceptions, one of them
    is raised here, after all running tasks have ended. If a task calls `run`, those tasks run in its own thread.
    """

    def in_turn() -> None:
        for i in range(count):
            task(i)

    if _inside_task.get():
        in_turn()
    else:
        on_one_thread(in_turn if _num_threads == 1 or count < 2 else lambda: _share(task, count))


def _share(task: Callable[[int], object], count: int) -> None:
    """Do tasks on this thread, worker 0, and on the helpers, workers 1, 2, ..."""
    claims: dict[int, int] = {}  # task -> worker. Of several calls of setdefault, the first one wins
    finished: set[int] = set()  # workers
    errors: list[BaseException] = []
    wake = SimpleQueue[None]()
    tasks = [task]

    def work(worker: int) -> None:
        try:
            for i in range(count):
                if claims.setdefault(i, worker) == worker:
                    tasks[0](i)
        except BaseException as error:
            errors.append(error)
        finished.add(worker)
        wake.put(None)

    def start() -> None:
        context = copy_context()  # NumPy's errstate is a part of it
        context.run(_inside_task.set, True)
        _get_helpers().start([(context.copy(), work, worker) for worker in range(1, min(_num_threads, count))])
        context.run(work, 0)

    def wait() -> None:  # no helper may write into an array after run has returned
        finished.add(0)
        for i in range(count):
            claims.setdefault(i, 0)  # after an interrupt: tasks that no helper has begun are skipped
        while not finished.issuperset(claims.values()):
            wake.get()
        tasks.clear()  # a helper that comes too late must not keep the arrays of the task

    call_then(start, wait)
    if errors:
        raise errors.pop()


# Helpers -------------------------------------------------------------------------------------

Job: TypeAlias = tuple[Context, Callable[[int], None], int]


class _Helpers:
    """Threads that wait for jobs. They end when this object is no longer referenced.

    They block on a SimpleQueue: waking one takes a third of the time that ``concurrent.futures`` needs, and for a layer
    of one image this time counts.
    """

    def __init__(self, count: int) -> None:
        self.queue = SimpleQueue[Job | None]()
        weakref.finalize(self, self.queue.put, None)
        self.callers_processor: int | None = None
        self.process, self.count = os.getpid(), count
        self.threads: list[threading.Thread] = []
        with suppress(RuntimeError):  # the system grants no further threads
            for i in range(count):
                thread = threading.Thread(target=_help, args=(self.queue,), name=f"minigrad-{i}", daemon=True)
                thread.start()
                self.threads.append(thread)

    def start(self, jobs: list[Job]) -> None:
        """Let the helpers do jobs, at most one each, on all processors but the one on which the caller runs.

        Linux often wakes a thread on the processor of the thread that wakes it, since the latter often waits next.
        Our caller works on its own share, so a helper beside it would wait some milliseconds until the system moves one
        of the two.
        """
        processor = _getcpu() if _getcpu else None
        if processor != self.callers_processor:
            others = os.sched_getaffinity(0) - {processor}
            with suppress(OSError):  # some sandboxes forbid it
                for thread in self.threads if others else ():
                    os.sched_setaffinity(thread.native_id, others)  # type: ignore[arg-type]  # it has one: it runs
            self.callers_processor = processor
        for job in jobs[: len(self.threads)]:
            self.queue.put(job)


_getcpu: Callable[[], int] | None = (
    getattr(ctypes.CDLL(None), "sched_getcpu", None) if sys.platform == "linux" else None
)
_helpers: _Helpers | None = None


def _get_helpers() -> _Helpers:
    """Return one helper fewer than there are threads: new ones after a fork, which copies no threads.

    If two callers make helpers at the same time, those of one caller are no longer referenced, and end soon.
    """
    global _helpers
    helpers, count = _helpers, _num_threads - 1
    if helpers is None or helpers.count != count or helpers.process != os.getpid():
        helpers = _helpers = _Helpers(count)
    return helpers


def _help(queue: SimpleQueue[Job | None]) -> None:
    """Do jobs from the queue until a None comes; put it back for the next helper."""
    while (job := queue.get()) is not None:
        context, work, worker = job
        context.run(work, worker)
        del job, context, work  # otherwise their arrays are not freed until the next job comes
    queue.put(None)
