"""Digits: the small data set of real images that comes with minigrad.

1,797 handwritten digits, 8x8 pixels with 17 levels of grey: the test set of the UCI "Optical Recognition of Handwritten
Digits" data by E. Alpaydin and C. Kaynak (1998), https://doi.org/10.24432/C50P49, under the licence CC BY 4.0.

Next: :mod:`minigrad.data.images`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from minigrad.arguments import flag
from minigrad.checked import as_written, checked
from minigrad.data.dataset import Batch
from minigrad.typing import Array


class Digits:
    """The digits 0 to 9, as 8x8 images.

    Every fifth image is in the test set: always the same 1,437 for training and 360 for testing.

    Parameters
    ----------
    train : bool
        True for the training set, False for the test set.

    Attributes
    ----------
    images : array of shape (n, 8, 8, 1), float32
        From 0 (paper) to 1 (ink).
    labels : array of shape (n,), int64

    Examples
    --------
    >>> digits = Digits(train=False)
    >>> digits
    Digits(train=False)  # images (360, 8, 8, 1)
    >>> digits.labels[:4]
    array([0, 5, 0, 5])
    """

    classes = tuple("0123456789")

    @checked
    def __init__(self, train: bool = True) -> None:
        with np.load(Path(__file__).with_name("digits.npz"), allow_pickle=False) as file:
            images, labels = file["images"], file["labels"]
        self.train = flag("Digits", "train", train)
        held_out = np.arange(len(images)) % 5 == 0
        part = ~held_out if self.train else held_out
        self.images: Array = (images[part, :, :, None] / 16).astype(np.float32)
        self.labels: Array = labels[part].astype(np.int64)

    def __repr__(self) -> str:
        return f"{as_written(self)}  # images {self.images.shape}"

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int | slice | Array) -> Batch:
        """Return the images and labels at an index, a slice or an array of indices."""
        return self.images[index], self.labels[index]
