"""Dataset: what a data set has to be, a length and images by index.

Next: :mod:`minigrad.data.digits`.
"""

from __future__ import annotations

from typing import Protocol

from minigrad.typing import Array

Batch = tuple[Array, Array]


class Dataset(Protocol):
    """Anything with a length that returns images and labels at an array of indices.

    Examples
    --------
    >>> import numpy as np
    >>> class Numbers:
    ...     def __len__(self):
    ...         return 5
    ...
    ...     def __getitem__(self, index):
    ...         return index.astype("float32"), index % 2
    >>> numbers: Dataset = Numbers()
    >>> numbers[np.array([3, 4])]
    (array([3., 4.], dtype=float32), array([1, 0]))
    """

    def __len__(self) -> int:
        """Return the number of images."""
        ...

    def __getitem__(self, index: Array, /) -> Batch:
        """Return the images and labels at an array of indices."""
        ...
