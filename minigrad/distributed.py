"""One run on many processes, equal to the last bit for every number of them.

A sum of floating-point numbers depends on its order, and so a run on four machines usually differs from one on two.
Here the order does not depend on who computes. Each global batch is cut into a fixed number of *shards*, a property of
the run, as the seed is. A shard is computed by itself: it has its own statistics of batch norm, its own draws of
dropout and augmentation. What the shards give is added in a binary tree over the shards, here four of them::

                 (g0 + g1) + (g2 + g3)
    1 process     0    0      0    0      adds all
    2 processes   0    0      1    1      each adds a half; they exchange the halves, and both add
    4 processes   0    1      2    3      pairs exchange and add, then pairs of pairs

A process owns a whole subtree. Partners then exchange their sums, and since a + b = b + a to the last bit, both get the
same. After log2(processes) exchanges, all have the sum.

The processes are MPI's (`mpiexec -n 2 python program.py`). Without MPI, one process computes all shards one after the
other, in the memory of one. The exchange is the one part that needs mpi4py.

Next: :mod:`minigrad.train.checkpoint`.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

import numpy as np

from minigrad.arguments import expect, integer
from minigrad.autograd.tensor import Tensor
from minigrad.data import DataLoader
from minigrad.data.dataset import Batch
from minigrad.device import to_host
from minigrad.nn import Module
from minigrad.typing import Array

T = TypeVar("T")

#: Variables by which the launchers of MPI tell a process how many there are.
LAUNCHED = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MPI_LOCALNRANKS", "SLURM_NTASKS")

_alone: ContextVar[bool] = ContextVar("alone", default=False)


# The processes -------------------------------------------------------------------------------


def world() -> Any:
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
def _communicator() -> Any:
    """Return MPI's communicator, or None if one process was started.

    From then on, an exception that nobody catches ends all processes: the others would wait for this one forever.
    """
    launched = [int(os.environ[name]) for name in LAUNCHED if os.environ.get(name, "").isdecimal()]
    if max(launched, default=1) == 1 and "mpi4py.MPI" not in sys.modules:
        return None
    try:
        from mpi4py import MPI
    except ImportError:
        fix = 'pip install "minigrad-numpy[mpi]"'
        raise ImportError(
            f"distributed: {max(launched)} processes were started, but mpi4py is missing; {fix}"
        ) from None
    comm = MPI.COMM_WORLD.Dup()

    def end_all(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        where = f"rank {comm.rank} of {comm.size}, on {MPI.Get_processor_name()}"
        sys.stderr.write(f"{where}:\n{''.join(traceback.format_exception(kind, error, trace))}")
        sys.stderr.flush()
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
    return world().rank if world() else 0


def size() -> int:
    """Return the number of processes."""
    return world().size if world() else 1


def broadcast(value: T) -> T:
    """Return on all processes what rank 0 gives.

    Examples
    --------
    >>> broadcast("of rank 0")
    'of rank 0'
    """
    return world().bcast(value) if world() else value


def gather(value: T) -> list[T]:
    """Return what each process gives, in the order of their ranks.

    Examples
    --------
    >>> gather("of this process")
    ['of this process']
    """
    return world().allgather(value) if world() else [value]


def agree(facts: Mapping[str, object]) -> None:
    """Raise ValueError on all processes, unless they give the same facts: another kernel of BLAS means other bits.

    The variable MINIGRAD_UNEQUAL=1 lets them go on, if that is wanted.

    Examples
    --------
    >>> agree({"numpy": np.__version__})
    """
    everyone = gather(dict(facts))
    for r, theirs in enumerate(everyone):
        for name, value in everyone[0].items():
            if theirs[name] != value and os.environ.get("MINIGRAD_UNEQUAL") != "1":
                both = f"{value} on rank 0, and {theirs[name]} on rank {r}"
                raise ValueError(f"distributed: {name} is {both}; make them equal, or set MINIGRAD_UNEQUAL=1")


def _exchange(mine: Array, partner: int) -> Array:
    """Send an array to another process, and return its one of the same shape; give up after MINIGRAD_WAIT seconds."""
    from mpi4py import MPI

    theirs, limit = np.empty_like(mine), float(os.environ.get("MINIGRAD_WAIT", 600))
    requests = [world().Irecv(theirs, partner), world().Isend(mine, partner)]
    start = time.monotonic()
    while not MPI.Request.Testall(requests):
        if (waited := time.monotonic() - start) > 0.001:  # do not take the processor away from those who compute
            time.sleep(1e-4)
        if waited > limit:
            raise TimeoutError(f"distributed: rank {partner} has not answered for {limit:g} s (MINIGRAD_WAIT)")
    return theirs


# Shards --------------------------------------------------------------------------------------


class Shards(NamedTuple):
    """The shards of one global batch that belong to this process.

    Attributes
    ----------
    place : (int, int)
        The epoch, and the batch in it.
    first : int
        The number of the first of them.
    images : int
        The number of images of the global batch.
    batches : list of batches
        Images and targets of each.
    """

    place: tuple[int, int]
    first: int
    images: int
    batches: list[Batch]


def split(batches: DataLoader, shards: int) -> Iterator[Shards]:
    """Yield for each batch of an epoch the shards that this process computes.

    Parameters
    ----------
    batches : DataLoader
        Its batch size is that of the global batch. Random numbers of its transform come from its seed and from epoch,
        batch and shard.
    shards : int
        A power of two; the number of processes must divide it.

    Examples
    --------
    A loop of one's own:

    >>> import minigrad as mg
    >>> net = mg.nn.Sequential(mg.nn.Flatten(), mg.nn.Linear(64, 10, rng=0))
    >>> sgd = mg.optim.SGD(net.parameters(), lr=0.1)
    >>> batches = mg.data.DataLoader(mg.data.Digits(), 128, rng=0)
    >>> def loss(images, labels):
    ...     return mg.cross_entropy(net(mg.Tensor(images)), labels)
    >>> for part in split(batches, shards=4):
    ...     value, _ = sum_gradients(net, loss, part)
    ...     sgd.step()
    >>> value < 2
    True
    """
    own = owned(shards)
    for parts in batches.shards(shards, own):
        last = batches.batch * batches.batch_size
        images = min(batches.batch_size, len(batches.dataset) - last + batches.batch_size)
        yield Shards((batches.epoch, batches.batch), own.start, images, parts)


def owned(shards: int) -> range:
    """Return the numbers of the shards that this process computes.

    Raises
    ------
    ValueError
        If the number of shards is not a power of two, or that of processes does not divide it.

    Examples
    --------
    >>> owned(4)
    range(0, 4)
    """
    count = integer("distributed", "shards", shards, least=1)
    expect(count & (count - 1) == 0, "distributed", "shards to be a power of two", shards)
    expect(count % size() == 0, "distributed", "a number of processes that divides the shards", f"{size()}, {shards}")
    each = count // size()
    return range(rank() * each, (rank() + 1) * each)


def total(parts: Iterable[list[Array]]) -> list[Array]:
    """Add lists of arrays over the shards of all processes, in the tree.

    Parameters
    ----------
    parts : iterable of lists of arrays
        One list for each shard of this process, in order. All have the same shapes and dtypes.

    Returns
    -------
    list of arrays

    Examples
    --------
    >>> total([np.array([x])] for x in (1.0, 2.0, 3.0, 4.0))
    [array([10.])]
    """
    tree: list[tuple[int, list[Array]]] = []  # subtrees that wait for their right sibling, each with its height
    arrays: list[Array] = []
    for arrays in parts:
        height, sums = 0, _flat(arrays)
        while tree and tree[-1][0] == height:
            height, sums = height + 1, [a + b for a, b in zip(tree.pop()[1], sums, strict=True)]
        tree.append((height, sums))
    ((_, sums),) = tree
    for level in range(size().bit_length() - 1):
        sums = [a + _exchange(a, rank() ^ 1 << level) for a in sums]
    buffers, out = dict(zip(_dtypes(arrays), sums, strict=True)), []
    for array in arrays:
        part, buffers[array.dtype] = np.split(buffers[array.dtype], [array.size])
        out.append(part.reshape(array.shape))
    return out


def _dtypes(arrays: list[Array]) -> list[np.dtype[Any]]:
    """Return the dtypes of arrays, each once."""
    return list(dict.fromkeys(array.dtype for array in arrays))


def _flat(arrays: list[Array]) -> list[Array]:
    """Return the numbers of all arrays as one vector for each dtype: one message is faster than sixty."""
    return [np.concatenate([a.ravel() for a in arrays if a.dtype == dtype]) for dtype in _dtypes(arrays)]


# A step --------------------------------------------------------------------------------------


def sum_gradients(
    model: Module, loss: Callable[[Any, Any], Tensor | tuple[Tensor, list[float]]], shards: Shards
) -> tuple[float, list[float]]:
    """Give each parameter the gradient of the mean loss over a global batch, on all processes.

    Parameters
    ----------
    model : Module
        Its buffers of floating-point numbers, as running statistics, become the mean over the images of what each shard
        makes of them. Its generators draw for each shard from epoch, batch and shard.
    loss : function
        Of the images and targets of one shard: the mean loss, and, if wanted, a list of numbers to add.
    shards : Shards
        What :func:`split` yields.

    Returns
    -------
    loss, numbers : float, list of floats
        The mean loss over the global batch, and the sums of the numbers.
    """
    parameters = list(model.parameters())
    buffers = [buffer for buffer in model.buffers() if buffer.data.dtype.kind == "f"]
    generators = [rng for _, rng in model.named_generators()]
    before, draws = [buffer.data for buffer in buffers], [rng.bit_generator.state for rng in generators]

    def computed() -> Iterator[list[Array]]:
        for number, (images, targets) in enumerate(shards.batches, shards.first):
            for buffer, old in zip(buffers, before, strict=True):
                buffer.data = old.copy()
            for p in parameters:
                p.grad = None
            _draw_anew(generators, draws, (*shards.place, number))
            share = len(targets) / shards.images
            value, numbers = given if isinstance(given := loss(images, targets), tuple) else (given, [])
            value.backward(Tensor(np.asarray(share, value.dtype)).to(value.device))
            gradients = [np.zeros(p.shape, p.dtype) if p.grad is None else to_host(p.grad.data) for p in parameters]
            moved = [
                to_host(b.data - old) * np.asarray(share, old.dtype) for b, old in zip(buffers, before, strict=True)
            ]
            given_to = [float(p.grad is not None) for p in parameters]
            yield [*gradients, *moved, np.array([share * value.item(), *given_to, *numbers])]

    *sums, last = total(computed())
    mean, given_to, numbers = last[0], last[1 : 1 + len(parameters)], last[1 + len(parameters) :]
    for p, gradient, count in zip(parameters, sums, given_to, strict=False):
        p.grad = Tensor(gradient).to(p.device) if count else None
    for buffer, old, change in zip(buffers, before, sums[len(parameters) :], strict=True):
        buffer.data = old + Tensor(change).to(model.device).data
    for rng, state in zip(generators, draws, strict=True):
        rng.bit_generator.state = state
    return float(mean), numbers.tolist()


def _draw_anew(generators: list[np.random.Generator], states: list[Any], place: tuple[int, ...]) -> None:
    """Let generators draw numbers that depend on their states and the place alone."""
    for i, (rng, state) in enumerate(zip(generators, states, strict=True)):
        rng.bit_generator.state = state
        seed = np.random.SeedSequence(int(rng.integers(2**63)), spawn_key=(*place, i))
        rng.bit_generator.state = type(rng.bit_generator)(seed).state
