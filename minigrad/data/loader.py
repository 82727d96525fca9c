"""DataLoader: batches, in an order that depends on the seed alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minigrad.device import Array


class DataLoader:
    """Walk over a data set in batches: each ``for`` over a loader is one epoch.

    Parameters
    ----------
    dataset
        Has a length, and gives ``(images, labels)`` for an array of indices.
    batch_size : int
        The last batch of an epoch may be smaller.
    rng : numpy Generator or seed, optional
        Shuffles each epoch anew. Without it, the order is that of the data.
    transform : callable, optional
        Maps a batch of images to what the net shall see.

    Raises
    ------
    ValueError
        If the batch size is not positive, or there is no data.

    Examples
    --------
    >>> import minigrad as mg
    >>> loader = DataLoader(mg.data.Digits(), 128, rng=0)
    >>> len(loader), [images.shape[0] for images, labels in loader][-1]
    (12, 29)
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        *,
        rng: np.random.Generator | int | None = None,
        transform: Callable[[Array], Array] | None = None,
    ) -> None:
        if batch_size < 1 or len(dataset) == 0:
            raise ValueError(
                f"DataLoader: expected data and a positive batch size, got {len(dataset)} and {batch_size}"
            )
        self.dataset, self.batch_size, self.transform = dataset, batch_size, transform
        self.rng = None if rng is None else np.random.default_rng(rng)

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return -(-len(self.dataset) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        """Yield the batches of one epoch."""
        order = np.arange(len(self.dataset)) if self.rng is None else self.rng.permutation(len(self.dataset))
        for start in range(0, len(order), self.batch_size):
            images, labels = self.dataset[order[start : start + self.batch_size]]
            yield images if self.transform is None else self.transform(images), labels
