"""Shards: a batch in parts, whose gradients are added so that the sum does not depend on who computes which part.

A sum of floating-point numbers depends on its order, and so a run on four machines usually differs from one on two.
Here each global batch is cut into a fixed number of *shards*, a property of the run, as the seed is. A shard is
computed by itself: it has its own statistics of batch norm, its own draws of dropout and augmentation. The gradients
of the shards are added in a binary tree, here for four shards::

                 (g0 + g1) + (g2 + g3)
    1 process     0    0      0    0      adds all
    2 processes   0    0      1    1      each adds a half; they exchange the halves, and both add
    4 processes   0    1      2    3      pairs exchange and add, then pairs of pairs

A process owns a whole subtree. Partners then exchange their sums, and since a + b = b + a to the last bit, both get the
same. After log2(processes) exchanges, all have the sum.

Next: :mod:`minigrad.train.checkpoint`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from minigrad.arguments import expect, integer
from minigrad.autograd.tensor import Tensor
from minigrad.data import DataLoader
from minigrad.data.dataset import Batch
from minigrad.device import to_host
from minigrad.distributed.processes import add_that_of, rank, size
from minigrad.nn import Module
from minigrad.typing import Array

# A batch -------------------------------------------------------------------------------------


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

    Raises
    ------
    ValueError
        As :func:`owned` does.

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
    own = owned(shards, batches)
    for parts in batches.shards(shards, own):
        last = batches.batch * batches.batch_size
        images = min(batches.batch_size, len(batches.dataset) - last + batches.batch_size)
        yield Shards((batches.epoch, batches.batch), own.start, images, parts)


def owned(shards: int, batches: DataLoader | None = None) -> range:
    """Return the numbers of the shards that this process computes.

    Parameters
    ----------
    shards : int
    batches : DataLoader, optional
        What is to be cut into them.

    Raises
    ------
    ValueError
        If the number of shards is not a power of two, or that of processes does not divide it, or a batch has fewer
        images.

    Examples
    --------
    >>> owned(4)
    range(0, 4)
    """
    count = integer("distributed", "shards", shards, least=1)
    expect(count & (count - 1) == 0, "distributed", "shards to be a power of two", shards)
    fix = f"start {', '.join(str(2**i) for i in range(count.bit_length()))} processes, or set other shards="
    expect(count % size() == 0, "distributed", f"processes that divide the {count} shards", size(), fix)
    if batches is not None:
        last = (len(batches.dataset) - 1) % batches.batch_size + 1
        fix = "set another batch_size=, or leave these images out by Subset"
        expect(last >= count, "distributed", f"an image for each of {count} shards", f"a last batch of {last}", fix)
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

    Raises
    ------
    ValueError
        If the number of lists, or of processes, is not a power of two.

    Examples
    --------
    >>> total([np.array([x])] for x in (1.0, 2.0, 3.0, 4.0))
    [array([10.])]
    """
    tree: list[tuple[int, dict[object, Array]]] = []  # subtrees that wait for their right sibling, with their heights
    arrays: list[Array] = []
    for arrays in parts:
        height, sums = 0, _by_dtype(arrays)
        while tree and tree[-1][0] == height:
            height, sums = height + 1, {dtype: np.add(a, sums[dtype], out=a) for dtype, a in tree.pop()[1].items()}
        tree.append((height, sums))
    expect(len(tree) == 1, "total", "a power of two of lists", f"subtrees of {[2**h for h, _ in tree]} lists")
    expect(size() & (size() - 1) == 0, "total", "a power of two of processes", size())
    (_, sums), out = tree[0], []
    for level in range(size().bit_length() - 1):
        for vector in sums.values():
            add_that_of(rank() ^ 1 << level, vector, 1 + level / 4)
    for array in arrays:
        part, sums[array.dtype] = np.split(sums[array.dtype], [array.size])
        out.append(part.reshape(array.shape))
    return out


def _by_dtype(arrays: list[Array]) -> dict[object, Array]:
    """Return the numbers of all arrays as one vector for each dtype: one message is faster than sixty."""
    dtypes = dict.fromkeys(array.dtype for array in arrays)
    return {dtype: np.concatenate([a.ravel() for a in arrays if a.dtype == dtype]) for dtype in dtypes}


# A step --------------------------------------------------------------------------------------


def sum_gradients(
    model: Module, loss: Callable[[Any, Any], Tensor | tuple[Tensor, list[float]]], shards: Shards
) -> tuple[float, list[float]]:
    """Give each parameter the gradient of the mean loss over a global batch, on all processes.

    Parameters
    ----------
    model : Module
        Its buffers of floating-point numbers, as running statistics, become the mean over the images of what each shard
        makes of them; other buffers, as counters, become what the first shard makes of them. Its generators draw for
        each shard from epoch, batch and shard.
    loss : function
        Of the images and targets of one shard: the mean loss, and, if wanted, a list of numbers to add.
    shards : Shards
        What :func:`split` yields.

    Returns
    -------
    loss, numbers : float, list of floats
        The mean loss over the global batch, and the sums of the numbers.
    """
    parameters, buffers = [p for p in model.parameters() if p.requires_grad], list(model.buffers())
    generators, device = [rng for _, rng in model.named_generators()], model.device
    before, draws = [buffer.data for buffer in buffers], [rng.bit_generator.state for rng in generators]

    def computed() -> Iterator[list[Array]]:
        for number, (images, targets) in enumerate(shards.batches, shards.first):
            for buffer, old in zip(buffers, before, strict=True):
                buffer.data = old.copy()
            for p in parameters:
                p.grad = None
            draw_anew(generators, draws, shards.place, number)
            share = len(targets) / shards.images
            value, numbers = given if isinstance(given := loss(images, targets), tuple) else (given, [])
            value.backward(Tensor(np.asarray(share, value.dtype)).to(value.device))
            gradients = [np.zeros(p.shape, p.dtype) if p.grad is None else to_host(p.grad.data) for p in parameters]
            given_to = [float(p.grad is not None) for p in parameters]
            changes = [_change(b.data, old, share, number) for b, old in zip(buffers, before, strict=True)]
            yield [*gradients, *changes, np.array([share * value.item(), *given_to, *numbers])]

    *sums, last = total(computed())
    mean, given_to, numbers = last[0], last[1 : 1 + len(parameters)], last[1 + len(parameters) :]
    for p, gradient, count in zip(parameters, sums, given_to, strict=False):
        p.grad = Tensor(gradient).to(p.device) if count else None
    for buffer, old, change in zip(buffers, before, sums[len(parameters) :], strict=True):
        change, buffer.data = Tensor(change).to(device).data, old.copy()
        buffer.data[...] = old + change if old.dtype.kind == "f" else change
    for rng, state in zip(generators, draws, strict=True):
        rng.bit_generator.state = state
    return float(mean), numbers.tolist()


def _change(after: Array, before: Array, share: float, shard: int) -> Array:
    """Return what a shard adds to the change of a buffer, or, if its numbers are no floats, to its new value."""
    new, old = to_host(after), to_host(before)
    if old.dtype.kind != "f":
        return new if shard == 0 else np.zeros_like(new)
    moved = np.subtract(new, old, out=np.zeros_like(old), where=new != old)  # inf - inf would be NaN
    return np.multiply(moved, share, dtype=old.dtype)


def draw_anew(generators: Iterable[np.random.Generator], states: list[Any], place: tuple[int, int], shard: int) -> None:
    """Let generators draw numbers that depend on their states, the batch and the shard alone."""
    for i, (rng, state) in enumerate(zip(generators, states, strict=True)):
        rng.bit_generator.state = state
        seed = np.random.SeedSequence(int(rng.integers(2**63)), spawn_key=(*place, shard, i))
        rng.bit_generator.state = type(rng.bit_generator)(seed).state
