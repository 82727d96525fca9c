"""The processes of one run: those that MPI started, or this one alone.

mpi4py is imported only where several processes were started. All waiting has a limit, and names the process that was
waited for: MPI itself would wait forever.

Next: :mod:`minigrad.distributed.shards`.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, partial
from itertools import pairwise
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from minigrad.typing import Array

if TYPE_CHECKING:  # optional
    from mpi4py import MPI

T = TypeVar("T")

#: Variables by which the launchers of MPI tell a process how many there are: MPICH, Open MPI, and Slurm's srun.
LAUNCHED = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")

#: The bytes of a message: while one is added, the next is on its way.
PIECE = 1 << 20

#: Seconds between two looks of a process that waits for long: those who compute have the processor meanwhile.
NAP = 1e-4

_alone: ContextVar[bool] = ContextVar("alone", default=False)


# Who is there --------------------------------------------------------------------------------


def world() -> MPI.Intracomm | None:
    """Return MPI's communicator, or None if this process is alone."""
    return None if _alone.get() else _communicator()


@contextmanager
def alone() -> Iterator[None]:
    """Let this process compute as if there were no others: each trains from another seed, for example.

    Examples
    --------
    >>> with alone():
    ...     size()
    1
    """
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


@cache
def _communicator() -> MPI.Intracomm | None:
    """Return MPI's communicator, or None if one process was started.

    From then on, an exception that nobody catches ends all processes: the others would wait for this one forever.

    Raises
    ------
    ImportError
        If several processes were started, and mpi4py is missing.
    RuntimeError
        If MPI does not know of the others: each would train, and overwrite the files of the others.
    """
    launched = {name: int(os.environ[name]) for name in LAUNCHED if os.environ.get(name, "").isdecimal()}
    variable, count = max(launched.items(), key=lambda item: item[1], default=("", 1))
    if count <= 1 and "mpi4py.MPI" not in sys.modules:
        return None
    started = f"distributed: {count} processes were started; for {count} runs of their own, unset {variable}"
    try:
        from mpi4py import MPI
    except ImportError:
        raise ImportError(f'{started}; for one, install mpi4py: pip install "minigrad-numpy[mpi]"') from None
    comm = MPI.COMM_WORLD.Dup()
    if comm.size == 1 < count:
        library = MPI.Get_library_version().splitlines()[0].strip("\0 ")
        raise RuntimeError(f"{started}; for one, use the mpiexec of mpi4py's MPI ({library}), or srun --mpi=pmi2")

    def end_all(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        print(f"rank {comm.rank} of {comm.size}, on {MPI.Get_processor_name()}:", file=sys.stderr)
        sys.__excepthook__(kind, error, trace)
        sys.stderr.flush()
        getattr(signal, "alarm", int)(5)  # if another machine is out of reach, MPI waits for it forever
        comm.Abort(1)

    if comm.size > 1:
        sys.excepthook = end_all
    return comm if comm.size > 1 else None


def rank() -> int:
    """Return the number of this process, from 0; the process of rank 0 logs, draws, and writes checkpoints.

    Examples
    --------
    >>> rank(), size()
    (0, 1)
    """
    return comm.rank if (comm := world()) else 0


def size() -> int:
    """Return the number of processes."""
    return comm.size if (comm := world()) else 1


# What they tell one another ------------------------------------------------------------------


def gather(value: T) -> list[T]:
    """Return on all processes the list of their values, in the order of their ranks; wait until all have called.

    Raises
    ------
    TimeoutError
        If a process does not call within MINIGRAD_WAIT seconds (a variable of the environment; by default 600).

    Examples
    --------
    >>> gather("of rank 0")
    ['of rank 0']
    """
    if (comm := world()) is None:
        return [value]
    if comm.rank == 0:  # it waits for each, and so can name the one that does not come
        values = [value, *(_wait_for(partial(comm.improbe, r), r).recv() for r in range(1, comm.size))]
        sent = [comm.isend(values, r) for r in range(1, comm.size)]
    else:
        sent = [comm.isend(value, 0)]
        values = _wait_for(partial(comm.improbe, 0), 0, patience=2.0).recv()
    for request in sent:
        request.wait()
    return values


def broadcast(value: T) -> T:
    """Return on all processes the value of rank 0.

    Raises
    ------
    TimeoutError
        As :func:`gather` does.

    Examples
    --------
    >>> broadcast("of rank 0")
    'of rank 0'
    """
    gather(None)  # MPI's own broadcast has no time limit
    return comm.bcast(value) if (comm := world()) else value


def agree(facts: Mapping[str, object]) -> None:
    """Raise ValueError on all processes if their facts differ. Another kernel of BLAS, for example, gives other bits.

    If the environment variable MINIGRAD_UNEQUAL is 1, a difference is ignored.

    Examples
    --------
    >>> agree({"numpy": np.__version__})
    """
    first, *others = gather(dict(facts))
    for r, theirs in enumerate(others, 1):
        names = [name for name in first | theirs if first.get(name) != theirs.get(name)]
        if names and os.environ.get("MINIGRAD_UNEQUAL") != "1":
            both = "; ".join(f"{n} is {first.get(n)} on rank 0, and {theirs.get(n)} on rank {r}" for n in names)
            raise ValueError(f"distributed: {both}; make them equal, or set MINIGRAD_UNEQUAL=1")


def _wait_for(arrived: Callable[[], T | None], partner: int, patience: float = 1.0, *, nap: float = NAP) -> T:
    """Return what a function gives as soon as it gives something; give up after MINIGRAD_WAIT seconds.

    Who waits for a process that itself waits is more patient, so that the one to blame is named.
    """
    start, limit = time.monotonic(), patience * float(os.environ.get("MINIGRAD_WAIT") or 600)
    while not (found := arrived()):
        if (waited := time.monotonic() - start) > 0.001:
            time.sleep(nap)
        if waited > limit:
            raise TimeoutError(f"distributed: rank {partner} has not answered for {limit:g} s (MINIGRAD_WAIT)")
    return found


def add_that_of(partner: int, mine: Array, patience: float) -> None:
    """Add another process's vector to this one, in place, while it does the same.

    The first piece is one number: once it has arrived, the partner is there, and nobody sleeps while data move.
    """
    comm = world()

    def begun(part: slice) -> tuple[Array, Array, list[MPI.Request]]:
        piece = mine[part]
        theirs = np.empty_like(piece)
        if comm is None or not piece.size:
            return piece, theirs, []
        arrives = comm.Irecv(theirs.view(np.uint8), partner)  # MPI has no name for some dtypes
        return piece, theirs, [arrives, comm.Isend(piece.view(np.uint8), partner)]

    length = PIECE // mine.itemsize
    parts = [slice(0, 1), *(slice(start, start + length) for start in range(1, mine.size, length)), slice(0, 0)]
    for (piece, theirs, requests), _ in pairwise(map(begun, parts)):  # the next one is on its way
        for request in requests:
            _wait_for(request.Test, partner, patience, nap=NAP if piece.size == 1 else 0)
        piece += theirs
