"""DataLoader: batches, made ahead in the background, in an order that depends on the seed alone.

Each epoch's order and each batch's draws have a Generator of their own, derived from the seed and from their place:
(seed, epoch) and (seed, epoch, batch). Nothing depends on what was drawn before. So a walk can be taken up
anywhere, with three integers for a position, and it does not matter who makes a batch, or when.

Next: :mod:`minigrad.data.subset`.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Generator, Iterator
from contextvars import copy_context
from itertools import islice
from queue import SimpleQueue
from typing import Any

import numpy as np

from minigrad.data.transforms import Transform
from minigrad.typing import Array

Batch = tuple[Array, Array]


class DataLoader:
    """Walk over a data set in batches: each ``for`` over a loader is one epoch.

    The position is `epoch`, and `batch`: how many batches of it the loop was given. Save it with
    :meth:`state_dict` anywhere, also inside the loop. After :meth:`load_state_dict` the next ``for`` goes on from
    there to the end of that epoch (there may be nothing left of it), with the batches that it would have
    had. A ``for`` after one that was left early (break, an exception) begins the next epoch.

    The data set and the transform are called in a background thread, one batch at a time. What they raise is
    raised in the loop. However the loop is left, the thread ends with it.

    Parameters
    ----------
    dataset
        Has a length, and gives ``(images, labels)`` for an array of indices.
    batch_size : int
        The last batch of an epoch may be smaller.
    rng : numpy Generator or seed, optional
        Shuffles each epoch anew, and draws what the transform asks for. One number is drawn from a Generator, as
        the seed. Without it, the order is that of the data, and the seed of the transform is 0.
    transform : callable, optional
        Maps a batch of images and a numpy Generator to what the net shall see: see :mod:`minigrad.data.transforms`.
    prefetch : int
        How many batches are made ahead. With 0 there is no thread: each batch is made when it is asked for.
        The batches are the same.

    Attributes
    ----------
    epoch, batch : int
        The position.

    Raises
    ------
    ValueError
        If the batch size is not a positive int, there is no data, or seed or prefetch are negative.
    TypeError
        If `rng` is neither a Generator nor an integer.
    RuntimeError
        If a loop goes on after another one over the same loader has begun, or a state was loaded.

    Examples
    --------
    >>> import minigrad as mg
    >>> loader = DataLoader(mg.data.Digits(), 128, rng=0)
    >>> len(loader), [images.shape[0] for images, labels in loader][-1]
    (12, 29)

    Stopped in the middle of the second epoch, another loader goes on:

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

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        *,
        rng: np.random.Generator | int | None = None,
        transform: Transform | None = None,
        prefetch: int = 2,
    ) -> None:
        for name, value, least in (("batch_size", batch_size, 1), ("prefetch", prefetch, 0)):
            if not hasattr(value, "__index__") or value < least:
                raise ValueError(f"DataLoader: expected {name} to be an int of at least {least}, got {value!r}")
        if len(dataset) == 0:
            raise ValueError("DataLoader: the data set is empty")
        self.dataset, self.batch_size, self.transform, self.prefetch = dataset, batch_size, transform, prefetch
        self.shuffle, self.seed = rng is not None, _seed(rng)
        self.epoch, self.batch = 0, 0
        self._resumed = False
        self._walk: Generator[Batch, None, None] | None = None  # of the loop that began last

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return -(-len(self.dataset) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of one epoch, or what is left of it after a state was loaded."""
        self._end_walk()
        if self.batch and not self._resumed:  # the last loop was left early
            self.epoch, self.batch = self.epoch + 1, 0
        self._resumed = False
        walk = self._walk = _ahead(self._recipe(), range(self.batch, len(self)), self.prefetch)
        try:
            for batch in walk:
                self.batch += 1
                yield batch
                if self._walk is not walk:
                    raise RuntimeError(
                        "DataLoader: this loop cannot go on: another loop over the same loader has begun since, or a "
                        "state was loaded; for two loops at once, make two loaders"
                    )
            self.epoch, self.batch = self.epoch + 1, 0
        finally:
            walk.close()

    def state_dict(self) -> dict[str, int]:
        """Return the position as integers; in the loop, of what comes after the present batch.

        Examples
        --------
        >>> import minigrad as mg
        >>> loader = DataLoader(mg.data.Digits(), 128, rng=7)
        >>> images, labels = next(iter(loader))
        >>> loader.state_dict()
        {'seed': 7, 'epoch': 0, 'batch': 1}
        """
        return {"seed": self.seed, "epoch": self.epoch, "batch": self.batch}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from a position, with its seed: the next ``for`` gives the rest of that epoch.

        Data, batch size and transform, and whether to shuffle, are not part of the state: make the loader as it
        was.

        Parameters
        ----------
        state : dict
            What :meth:`state_dict` returned.

        Raises
        ------
        ValueError
            If it is no such dict, or the epoch has not so many batches.

        Examples
        --------
        >>> import minigrad as mg
        >>> loader = DataLoader(mg.data.Digits(), 128, rng=0)
        >>> loader.load_state_dict({"seed": 7, "epoch": 3, "batch": 10})
        >>> [len(labels) for images, labels in loader], loader.epoch
        ([128, 29], 4)
        """
        if set(state) != set(self.state_dict()) or not all(
            hasattr(number, "__index__") and number >= 0 for number in state.values()
        ):
            raise ValueError(
                f"DataLoader.load_state_dict: expected integers of at least 0 for seed, epoch and batch, got {state}"
            )
        if state["batch"] > len(self):
            raise ValueError(
                f"DataLoader.load_state_dict: the state stands after batch {state['batch']}, but an epoch has "
                f"{len(self)}; are data and batch size those of the saved run?"
            )
        self._end_walk()
        self.seed, self.epoch, self.batch = (int(state[name]) for name in ("seed", "epoch", "batch"))
        self._resumed = True

    def _end_walk(self) -> None:
        """End the thread of a loop that was left, but is still held by somebody: a traceback, a notebook."""
        if self._walk is not None:
            self._walk.close()
            self._walk = None

    def _recipe(self) -> Callable[[int], Batch]:
        """Return the function that makes batch `i` of the present epoch."""
        seed, epoch, size = self.seed, self.epoch, self.batch_size
        order = np.arange(len(self.dataset))
        if self.shuffle:
            _generator(seed, epoch).shuffle(order)

        def make(i: int) -> Batch:
            images, labels = self.dataset[order[i * size : (i + 1) * size]]
            return images if self.transform is None else self.transform(images, _generator(seed, epoch, i)), labels

        return make


def _seed(rng: np.random.Generator | int | None) -> int:
    """Return a seed: the one given, or one drawn from the Generator given."""
    if rng is None:
        return 0
    if isinstance(rng, np.random.Generator):
        return int(rng.integers(2**63))
    if isinstance(rng, bool) or not hasattr(rng, "__index__"):
        raise TypeError(f"DataLoader: expected rng to be a numpy Generator, a seed or None, got {rng!r}")
    if rng < 0:
        raise ValueError(f"DataLoader: expected a seed of at least 0, got {rng}")
    return int(rng)


def _generator(seed: int, *place: int) -> np.random.Generator:
    """Return the Generator of a place in the walk, independent of those of all other places."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=place))


def _ahead(make: Callable[[int], Batch], indices: range, prefetch: int) -> Generator[Batch, None, None]:
    """Yield ``make(i)`` for all indices, made by a thread while the caller works with those before.

    The caller orders batch ``i + prefetch`` when it asks for batch ``i``; the order None ends the thread.
    """
    if prefetch == 0:
        for i in indices:  # not map: a StopIteration of the data would end it in silence
            yield make(i)
        return
    # queues of this kind may be used in finalisers, which can interrupt any line of either thread
    orders: SimpleQueue[int | None] = SimpleQueue()
    made: SimpleQueue[tuple[Batch | None, BaseException | None]] = SimpleQueue()
    ended = False

    def work() -> None:
        while (i := orders.get()) is not None and not ended:
            try:
                made.put((make(i), None))
            except BaseException as error:
                made.put((None, error))
                return

    # the caller's context goes along: NumPy's errstate is a part of it
    thread = threading.Thread(target=copy_context().run, args=(work,), name="DataLoader", daemon=True)
    thread.start()
    try:
        upcoming = iter(indices)
        for i in islice(upcoming, prefetch):
            orders.put(i)
        for _ in indices:
            orders.put(next(upcoming, None))
            batch, error = made.get()
            if error is not None:
                raise error
            assert batch is not None
            yield batch
    finally:
        ended = True
        orders.put(None)
        error = None  # its traceback holds this frame, which would hold it
        # not if a finaliser runs this in the thread itself, nor at the interpreter's end: Python 3.14 refuses both
        if threading.current_thread() is not thread and not sys.is_finalizing():
            thread.join()
