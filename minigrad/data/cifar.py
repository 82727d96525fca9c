"""CIFAR-10 and CIFAR-100: 60,000 colour photographs of 32x32 pixels each, in the official binary format.

A record is one label byte (CIFAR-100: two, coarse and fine) and 3,072 bytes of pixels: the red plane, then the green,
then the blue. A file consists of records only, so its size is known exactly. Nothing is unpickled.

Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009,
https://www.cs.toronto.edu/~kriz/cifar.html. The files come from :mod:`minigrad.data.fetch`.

Next: :mod:`minigrad.data.mnist`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from minigrad.arguments import flag
from minigrad.checked import checked
from minigrad.data.fetch import locate
from minigrad.data.images import ByteImages

_CLASSES = "airplane automobile bird cat deer dog frog horse ship truck"


class CIFAR10(ByteImages):
    """50,000 photographs for training and 10,000 for testing, in 10 classes.

    Parameters
    ----------
    root : str or Path, optional
        The folder with ``cifar-10-batches-bin``, with the official archive, which is then unpacked, or with the
        ``.bin`` files themselves. Default: :func:`minigrad.data.fetch.cache`.
    train : bool
        True for the training set, False for the test set.
    download : bool
        Fetch the files if they are missing.

    Attributes
    ----------
    images : array of shape (n, 32, 32, 3), uint8
        Indexing the data set converts them to float32 from 0 to 1.
    labels : array of shape (n,), int64
    classes : tuple of str
        The names of the labels.

    Raises
    ------
    FileNotFoundError
        If the files are missing. The message says how to get them.
    ValueError
        If a file has the wrong size, or a label is out of range.

    Examples
    --------
    >>> CIFAR10("photos")
    Traceback (most recent call last):
        ...
    FileNotFoundError: CIFAR10: there is no photos/cifar-10-batches-bin/data_batch_1.bin; pass download=True, or run
    `python -m minigrad.data cifar10 --root photos`
    """

    source = "cifar10"
    classes: tuple[str, ...] = tuple(_CLASSES.split())
    label_bytes: tuple[int, ...] = (10,)  # the number of classes of each label byte; the last one is the label
    #: The files and their numbers of records.
    train_files: Mapping[str, int] = {f"data_batch_{i}.bin": 10_000 for i in range(1, 6)}
    test_files: Mapping[str, int] = {"test_batch.bin": 10_000}

    @checked
    def __init__(self, root: str | Path | None = None, train: bool = True, download: bool = False) -> None:
        name, download = type(self).__name__, flag(type(self).__name__, "download", download)
        files = self.train_files if flag(name, "train", train) else self.test_files
        paths = locate(name, self.source, root, list(files), download)
        again = f"; move {paths[0].parent} out of the way and pass download=True"
        record = len(self.label_bytes) + 3 * 32 * 32
        for path, n in zip(paths, files.values(), strict=True):  # all files, before the first is read
            if (size := path.stat().st_size) != n * record:
                raise ValueError(
                    f"{name}: {path} is truncated or corrupt: it has {size:,} bytes, not "
                    f"{n * record:,} ({n:,} records of {record:,})" + again
                )
        total = sum(files.values())
        super().__init__(np.empty((total, 32, 32, 3), np.uint8), np.empty(total, np.int64))
        start = 0
        for path, n in zip(paths, files.values(), strict=True):
            labels, planes = np.split(np.fromfile(path, np.uint8).reshape(n, record), [len(self.label_bytes)], axis=1)
            if (labels >= self.label_bytes).any():
                raise ValueError(
                    f"{name}: {path} is corrupt: its label bytes go up to {labels.max(0).tolist()}, "
                    f"not below {list(self.label_bytes)}" + again
                )
            self.labels[start : start + n] = labels[:, -1]
            self.images[start : start + n] = planes.reshape(n, 3, 32, 32).transpose(0, 2, 3, 1)
            start += n


_FINE = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
willow_tree wolf woman worm
"""


class CIFAR100(CIFAR10):
    """50,000 photographs for training and 10,000 for testing, in 100 classes: the fine labels.

    Parameters, attributes and errors are those of :class:`CIFAR10`; the folder is ``cifar-100-binary``.

    Examples
    --------
    >>> len(CIFAR100.classes), CIFAR100.classes[:3]
    (100, ('apple', 'aquarium_fish', 'baby'))
    """

    source = "cifar100"
    label_bytes = (20, 100)
    train_files: Mapping[str, int] = {"train.bin": 50_000}
    test_files: Mapping[str, int] = {"test.bin": 10_000}
    classes = tuple(_FINE.split())
