"""Dataset: what a data set has to be, a length and images by index. TensorDataset: one made of arrays.

Next: :mod:`minigrad.data.digits`.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from minigrad.arguments import expect
from minigrad.checked import as_written
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


class TensorDataset:
    """A data set of two arrays: inputs and targets of equal length.

    Parameters
    ----------
    inputs : array of shape (n, ...)
    targets : array of shape (n, ...)
        Labels, or numbers of any shape.

    Raises
    ------
    TypeError
        If one of them is no NumPy array.
    ValueError
        If the lengths differ.

    Examples
    --------
    >>> import numpy as np
    >>> import minigrad as mg
    >>> x = np.linspace(0, 1, 100, dtype="float32")[:, None]
    >>> loader = mg.data.DataLoader(TensorDataset(x, np.sin(x)), 20, rng=0)
    >>> [len(inputs) for inputs, targets in loader]
    [20, 20, 20, 20, 20]
    """

    __repr__ = as_written

    def __init__(self, inputs: Array, targets: Array) -> None:
        for given in (inputs, targets):
            got = f"a {type(given).__name__} of shape {getattr(given, 'shape', None)}"
            array = isinstance(given, np.ndarray) and given.ndim > 0
            expect(
                array, "TensorDataset", "NumPy arrays with an axis of examples", got, "x.numpy() of a Tensor", TypeError
            )
        lengths = f"{len(inputs)} and {len(targets)}"
        expect(len(inputs) == len(targets), "TensorDataset", "as many inputs as targets", lengths)
        self.inputs, self.targets = inputs, targets

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int | slice | Array) -> Batch:
        """Return the inputs and targets at an index, a slice or an array of indices."""
        return self.inputs[index], self.targets[index]
