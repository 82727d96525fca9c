"""DataLoader: batches, made ahead in the background, in an order that depends on the seed alone.

Each epoch's order and each batch's random numbers come from a Generator of their own. Its seed is made of the loader's
seed and the place: (seed, epoch), or (seed, epoch, batch). No batch depends on random numbers that were drawn before
it. So three integers are a position from which an epoch can be resumed, and batches can be made in any thread, at any
time.

Next: :mod:`minigrad.data.subset`.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress
from contextvars import copy_context
from itertools import islice
from queue import SimpleQueue
from typing import Any, TypeVar

import numpy as np

from minigrad.arguments import as_int, expect, integer, refuse
from minigrad.checked import as_written, checked
from minigrad.data.dataset import Batch, Dataset
from minigrad.data.transforms import Transform
from minigrad.typing import Array, Rng

B = TypeVar("B")


class DataLoader:
    """Iterate over a data set in batches: each ``for`` over a loader is one epoch.

    The position is `epoch` and `batch`, the number of batches of this epoch that the loop has received. Save it with
    :meth:`state_dict` at any time, also inside the loop. After :meth:`load_state_dict` the next ``for`` gives the
    batches that were left in that epoch, if any. A ``for`` after a loop that was left early (break, an exception)
    begins the next epoch.

    A background thread calls the data set and the transform, for one batch after another. An exception that they raise
    is raised in the loop. The thread ends with the loop, also if the loop is left early.

    Parameters
    ----------
    dataset : Dataset
        Has a length, and returns ``(images, labels)`` at an array of indices.
    batch_size : int
        The last batch of an epoch may be smaller.
    rng : numpy Generator or seed, optional
        Shuffles each epoch anew, and provides the random numbers of the transform. From a Generator, one number is
        drawn as the seed. Without `rng`, the order is that of the data, and the transform's seed is 0.
    transform : callable, optional
        Maps a batch of images and a numpy Generator to images for the net: see :mod:`minigrad.data.transforms`.
    prefetch : int
        The number of batches that are made ahead. With 0 there is no thread: each batch is made on request. The
        batches are the same.

    Attributes
    ----------
    epoch, batch : int
        The position.

    Raises
    ------
    ValueError
        If the batch size is not a positive int, the data set is empty, or the seed or `prefetch` is negative.
    TypeError
        If `rng` is neither a Generator nor an integer.
    RuntimeError
        If a loop continues after another loop over the same loader has begun, or after a state was loaded.

    Examples
    --------
    >>> import minigrad as mg
    >>> loader = DataLoader(mg.data.Digits(), 128, rng=0)
    >>> loader
    DataLoader(Digits(train=True), 128, rng=0)  # 12 batches
    >>> len(loader), [images.shape[0] for images, labels in loader][-1]
    (12, 29)

    The first loader stops in the middle of the second epoch; another one continues:

    >>> for images, labels in loader:
    ...     if loader.batch == 5:
    ...         break
    >>> loader.state_dict()
    {'seed': 0, 'epoch': 1, 'batch': 5}
    >>> other = DataLoader(mg.data.Digits(), 128, rng=0)
    >>> other.load_state_dict(loader.state_dict())
    >>> sum(1 for images, labels in other)
    7
    """

    @checked
    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        *,
        rng: Rng | None = None,
        transform: Transform | None = None,
        prefetch: int = 2,
    ) -> None:
        if len(dataset) == 0:
            raise ValueError("DataLoader: the data set is empty")
        self.dataset, self.transform = dataset, transform
        self.batch_size = integer("DataLoader", "batch_size", batch_size, least=1)
        self.prefetch = integer("DataLoader", "prefetch", prefetch, least=0)
        self.shuffle, self.seed = rng is not None, _seed(rng)
        self.epoch, self.batch = 0, 0
        self._state_loaded = False
        self._running: Generator[Any, None, None] | None = None  # the batches of the loop that began last

    def __repr__(self) -> str:
        text = as_written(self, rng=self.seed if self.shuffle else None)
        return f"{text}  # {len(self)} batch{'es' * (len(self) != 1)}"

    def __getstate__(self) -> dict[str, Any]:
        """Return what copy and pickle take along: all but a loop that is under way."""
        return {**vars(self), "_running": None}

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return -(-len(self.dataset) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of one epoch; after a state was loaded, those that were left in its epoch."""
        return self._loop(self._maker)

    def shards(self, count: int, own: range) -> Iterator[list[Batch]]:
        """Yield, for each batch of one epoch, some of `count` parts of nearly equal size: those in `own`.

        The transform draws the random numbers of a part from seed, epoch, batch and part.
        See :func:`minigrad.distributed.split`.

        Examples
        --------
        >>> import minigrad as mg
        >>> parts = next(DataLoader(mg.data.Digits(), 50, rng=0).shards(4, range(1, 3)))
        >>> [len(labels) for images, labels in parts]
        [13, 12]
        """
        return self._loop(lambda: self._maker_of_shards(count, own))

    def _loop(self, maker: Callable[[], Callable[[int], B]]) -> Iterator[B]:
        """Yield what the function that `maker` returns makes of each batch of one epoch, and count them."""
        self._end_running_loop()
        self._state_loaded = False
        batches = self._running = _made_ahead(maker(), range(self.batch, len(self)), self.prefetch)
        try:
            for batch in batches:
                self.batch += 1
                yield batch
                if self._running is not batches:
                    raise RuntimeError(
                        "DataLoader: this loop cannot continue, because another loop over the same loader has begun "
                        "since, or a state was loaded; for two loops at once, make two loaders"
                    )
            self.epoch, self.batch = self.epoch + 1, 0
        finally:
            batches.close()

    def state_dict(self) -> dict[str, int]:
        """Return the position as integers; inside the loop, the position after the current batch.

        Examples
        --------
        >>> import minigrad as mg
        >>> loader = DataLoader(mg.data.Digits(), 128, rng=7)
        >>> images, labels = next(iter(loader))
        >>> loader.state_dict()
        {'seed': 7, 'epoch': 0, 'batch': 1}
        """
        return {"seed": self.seed, "epoch": self.epoch, "batch": self.batch}

    def check_state_dict(self, state: Mapping[str, int]) -> None:
        """Raise what :meth:`load_state_dict` would raise, and change nothing."""
        self._position(state)

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue from a position, with its seed: the next ``for`` gives the rest of that epoch.

        Data set, batch size, transform, and whether to shuffle are not part of the state: they must be the same.

        Parameters
        ----------
        state : dict
            A result of :meth:`state_dict`.

        Raises
        ------
        ValueError
            If it is anything else, or if an epoch has fewer batches.

        Examples
        --------
        >>> import minigrad as mg
        >>> loader = DataLoader(mg.data.Digits(), 128, rng=0)
        >>> loader.load_state_dict({"seed": 7, "epoch": 3, "batch": 10})
        >>> [len(labels) for images, labels in loader], loader.epoch
        ([128, 29], 4)
        """
        seed, epoch, batch = self._position(state)
        self._end_running_loop()
        self.seed, self.epoch, self.batch = seed, epoch, batch
        self._state_loaded = True

    def _position(self, state: Mapping[str, int]) -> tuple[int, int, int]:
        """Return seed, epoch and batch of a state."""
        caller, names = "DataLoader.load_state_dict", ("seed", "epoch", "batch")
        given = [as_int(state.get(name)) for name in names] if isinstance(state, Mapping) and len(state) == 3 else []
        seed, epoch, batch = position = [-1 if number is None else number for number in given or (None,) * 3]
        expect(min(position) >= 0, caller, "integers of at least 0 for seed, epoch and batch", f"{state!r:.200}")
        if batch > len(self):
            raise ValueError(
                f"{caller}: the state stands after batch {batch}, but an epoch has {len(self)}; are data set and batch "
                "size those of the saved run?"
            )
        return seed, epoch, batch

    def _end_running_loop(self) -> None:
        """End a loop that was left early: its epoch, and its thread if a traceback or a notebook refers to it."""
        if self._running is not None:
            self._running.close()
            self._running = None
        if self.batch and not self._state_loaded:
            self.epoch, self.batch = self.epoch + 1, 0

    def _maker(self) -> Callable[[int], Batch]:
        """Return the function that makes batch `i` of the current epoch."""
        seed, epoch, size, order = self.seed, self.epoch, self.batch_size, self._order()
        return lambda i: self._made(order[i * size : (i + 1) * size], seed, epoch, i)

    def _maker_of_shards(self, count: int, own: range) -> Callable[[int], list[Batch]]:
        """Return the function that makes some parts of batch `i` of the current epoch."""
        seed, epoch, size, order = self.seed, self.epoch, self.batch_size, self._order()

        def make(i: int) -> list[Batch]:
            batch = order[i * size : (i + 1) * size]
            cuts = [len(batch) * part // count for part in range(count + 1)]
            return [self._made(batch[cuts[part] : cuts[part + 1]], seed, epoch, i, part) for part in own]

        return make

    def _order(self) -> Array:
        """Return the indices of all images in the order of the current epoch."""
        order = np.arange(len(self.dataset))
        if self.shuffle:
            _generator(self.seed, self.epoch).shuffle(order)
        return order

    def _made(self, indices: Array, seed: int, *place: int) -> Batch:
        """Return a batch of the images at some indices; it may be made while the loop is already in another epoch."""
        if not len(indices):  # a part of a batch that has fewer images than parts
            return np.empty(0), np.empty(0, int)
        images, labels = _batch(self.dataset, indices)
        return images if self.transform is None else self.transform(images, _generator(seed, *place)), labels


def _batch(dataset: Dataset, indices: Array) -> Batch:
    """Return images and labels at an array of indices; refuse a data set that takes one index at a time."""
    n, one_by_one = len(indices), False
    try:
        batch: Any = dataset[indices]
    except (TypeError, ValueError, LookupError) as error:
        with suppress(Exception):
            one_by_one = dataset[int(indices[0])] is not None  # type: ignore[index]
        if not one_by_one:
            raise
        batch = error
    parts = batch if isinstance(batch, tuple) else ()
    sizes = [len(p) if isinstance(p, list) else (getattr(p, "shape", None) or (None,))[0] for p in parts]
    if sizes != [n, n]:
        got = f"parts of the lengths {sizes}" if sizes else f"{batch!r:.200}"
        wanted = f"a data set that returns {n} images and {n} labels at an array of {n} indices"
        refuse("DataLoader", wanted, got, "it is not asked for one at a time", TypeError)
    return batch  # type: ignore[no-any-return]


def _seed(rng: Rng | None) -> int:
    """Return the given seed, or a seed drawn from the given Generator; 0 for None."""
    if rng is None:
        return 0
    if isinstance(rng, np.random.Generator):
        return int(rng.integers(2**63))
    seed = as_int(rng)
    if seed is None:
        raise TypeError(f"DataLoader: expected rng to be a numpy Generator, a seed or None, got {rng!r}")
    expect(seed >= 0, "DataLoader", "a seed of at least 0", seed)
    return seed


def _generator(seed: int, *place: int) -> np.random.Generator:
    """Return the Generator of an epoch or batch, independent of the Generators of all other places."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=place))


def _made_ahead(make: Callable[[int], B], indices: range, prefetch: int) -> Generator[B, None, None]:
    """Yield ``make(i)`` for all indices, made by a thread while the caller works with earlier batches.

    When the caller asks for batch ``i``, batch ``i + prefetch`` is ordered. The order None ends the thread.
    """
    if prefetch == 0:
        for i in indices:  # not map: a StopIteration of the data set would end it silently
            yield make(i)
        return
    # a SimpleQueue may be used in finalisers, which can interrupt either thread at any line
    orders: SimpleQueue[int | None] = SimpleQueue()
    results: SimpleQueue[B | BaseException] = SimpleQueue()
    ended = False

    def work() -> None:
        while (i := orders.get()) is not None and not ended:
            try:
                results.put(make(i))
            except BaseException as error:
                results.put(error)
                return

    # run in a copy of the caller's context, which holds NumPy's errstate
    thread = threading.Thread(target=copy_context().run, args=(work,), name="DataLoader", daemon=True)
    thread.start()
    result: B | BaseException | None = None
    try:
        upcoming = iter(indices)
        for i in islice(upcoming, min(prefetch, len(indices))):
            orders.put(i)
        for _ in indices:
            orders.put(next(upcoming, None))
            result = results.get()
            if isinstance(result, BaseException):
                raise result
            yield result
    finally:
        ended = True
        orders.put(None)
        result = None  # the traceback of an error refers to this frame, which would refer to the error
        # not if a finaliser runs this in the thread itself, nor while the interpreter exits: Python 3.14 refuses both
        if threading.current_thread() is not thread and not sys.is_finalizing():
            thread.join()
