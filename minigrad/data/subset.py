"""Parts of a data set: Subset and split.

Next: :mod:`minigrad.data.fetch`.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from minigrad.arguments import expect, generator, integer
from minigrad.checked import as_written, checked, named
from minigrad.data.dataset import Batch, Dataset
from minigrad.typing import Array, Rng


class Subset:
    """Some of the images of a data set, in a given order.

    Parameters
    ----------
    dataset : Dataset
    indices : array of ints
        The places of the images in `dataset`.

    Attributes
    ----------
    classes : tuple of str or None
        The names of the labels, if the data set has them.

    Raises
    ------
    TypeError
        If the indices are not one axis of integers.
    IndexError
        If an index is out of range.

    Examples
    --------
    >>> import minigrad as mg
    >>> subset = Subset(mg.data.Digits(), np.arange(100))
    >>> subset
    Subset(Digits(train=True), <int64 (100,)>)
    >>> len(subset), subset[:2][1]
    (100, array([1, 2]))
    """

    __repr__ = as_written

    @named
    def __init__(self, dataset: Dataset, indices: Array | Iterable[int]) -> None:
        empty = isinstance(indices, list | tuple | range) and not indices  # which NumPy takes for floats
        self.dataset, self.indices = dataset, np.array(indices, int if empty else None)
        if self.indices.ndim != 1 or not np.issubdtype(self.indices.dtype, np.integer):
            raise TypeError(f"Subset: expected one axis of integers, got {self.indices.dtype} {self.indices.shape}")
        if len(self.indices) and not -len(dataset) <= self.indices.min() <= self.indices.max() < len(dataset):
            raise IndexError(
                f"Subset: expected indices of {len(dataset)} images, got {self.indices.min()} to {self.indices.max()}"
            )
        self.classes: tuple[str, ...] | None = getattr(dataset, "classes", None)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int | slice | Array) -> Batch:
        """Return the images and labels at an index, a slice or an array of indices of the subset."""
        return self.dataset[self.indices[index]]


@checked
def split(dataset: Dataset, held_out: int, rng: Rng) -> tuple[Subset, Subset]:
    """Split a data set at random, as the paper does to choose the schedule: 45,000 images and 5,000.

    Parameters
    ----------
    dataset : Dataset
    held_out : int
        The size of the second part.
    rng : numpy Generator or seed

    Returns
    -------
    training, validation : Subset

    Raises
    ------
    ValueError
        If a part would be empty.

    Examples
    --------
    >>> import minigrad as mg
    >>> [len(part) for part in split(mg.data.Digits(), 144, rng=0)]
    [1293, 144]
    """
    held_out = integer("split", "held_out", held_out, least=1)
    fits = held_out < len(dataset)
    expect(fits, "split", f"to hold out fewer than all {len(dataset)} images", held_out)
    order = generator("split", rng).permutation(len(dataset))
    return Subset(dataset, np.sort(order[held_out:])), Subset(dataset, np.sort(order[:held_out]))
