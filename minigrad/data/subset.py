"""Subset: some of a data set; split: training and validation.

Next: :mod:`minigrad.data.fetch`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.typing import Array


class Subset:
    """Some of the images of a data set, in a given order.

    Parameters
    ----------
    dataset
    indices : array of ints
        Which.

    Raises
    ------
    TypeError, IndexError
        If they are not integers, or not among those of the data set.

    Examples
    --------
    >>> import minigrad as mg
    >>> subset = Subset(mg.data.Digits(), np.arange(100))
    >>> len(subset), subset[:2][1]
    (100, array([1, 2]))
    """

    def __init__(self, dataset: Any, indices: Any) -> None:
        self.dataset, self.indices = dataset, np.array(indices)
        if self.indices.ndim != 1 or not np.issubdtype(self.indices.dtype, np.integer):
            raise TypeError(f"Subset: expected one axis of integers, got {self.indices.dtype} {self.indices.shape}")
        if len(self.indices) and not -len(dataset) <= self.indices.min() <= self.indices.max() < len(dataset):
            raise IndexError(
                f"Subset: expected indices of {len(dataset)} images, got {self.indices.min()} to {self.indices.max()}"
            )
        self.classes = getattr(dataset, "classes", None)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: Any) -> tuple[Array, Array]:
        """Return the images and labels at an index, a slice or an array of indices of the subset."""
        images, labels = self.dataset[self.indices[index]]
        return images, labels


def split(dataset: Any, held_out: int, rng: np.random.Generator | int) -> tuple[Subset, Subset]:
    """Split a data set at random, as the paper splits 45,000 images from 5,000 to choose the schedule.

    Parameters
    ----------
    dataset
    held_out : int
        The size of the second part.
    rng : numpy Generator or seed

    Returns
    -------
    training, validation : Subset

    Raises
    ------
    ValueError
        If one of the parts would be empty.

    Examples
    --------
    >>> import minigrad as mg
    >>> [len(part) for part in split(mg.data.Digits(), 144, rng=0)]
    [1293, 144]
    """
    if not 0 < held_out < len(dataset):
        raise ValueError(f"split: expected to hold out between 1 and {len(dataset) - 1} images, got {held_out}")
    order = np.random.default_rng(rng).permutation(len(dataset))
    return Subset(dataset, np.sort(order[held_out:])), Subset(dataset, np.sort(order[:held_out]))
