"""MNIST and Fashion-MNIST: 70,000 grey images of 28x28 pixels each, handwritten digits or clothes, in IDX files.

An IDX file begins with two zero bytes, the type of its numbers (8 for bytes) and the number of axes. The sizes of the
axes follow, four bytes each, the most significant first; then the numbers themselves. The official files are compressed
with gzip, whose checksum is verified.

Sources: Y. LeCun, C. Cortes and C. J. C. Burges, "The MNIST database of handwritten digits", 1998; H. Xiao, K. Rasul
and R. Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms", 2017,
https://arxiv.org/abs/1708.07747. The files come from :mod:`minigrad.data.fetch`.

Next: :mod:`minigrad.inspect.summary`.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

from minigrad.arguments import flag
from minigrad.checked import checked
from minigrad.data.fetch import locate
from minigrad.data.images import ByteImages
from minigrad.typing import Array, Shape


def read_idx(path: Path, shape: Shape) -> Array:
    r"""Return the array in a compressed IDX file of bytes.

    Parameters
    ----------
    path : Path
    shape : tuple of int
        The expected shape.

    Returns
    -------
    array of `shape`, uint8

    Raises
    ------
    ValueError
        If the file is truncated or corrupt, or its header gives another type or shape.

    Examples
    --------
    >>> import gzip, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "tiny.gz")
    ...     _ = path.write_bytes(gzip.compress(b"\0\0\x08\x02" + b"\0\0\0\x01" + b"\0\0\0\x03" + b"abc"))
    ...     read_idx(path, (1, 3))
    array([[97, 98, 99]], dtype=uint8)
    """
    header = struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape)
    expected = len(header) + int(np.prod(shape))
    unzip = zlib.decompressobj(wbits=31)  # gzip
    try:
        raw = unzip.decompress(path.read_bytes(), expected + 1)
    except zlib.error as error:
        raise ValueError(f"read_idx: {path} is corrupt ({error}); remove it and fetch it again") from error
    if raw[: len(header)] != header[: len(raw)]:
        raise ValueError(
            f"read_idx: {path} begins with {raw[: len(header)].hex(' ', 4)}, not with {header.hex(' ', 4)}, the IDX "
            f"header of bytes of shape {shape}; remove it and fetch it again"
        )
    if len(raw) != expected or not unzip.eof:
        raise ValueError(
            f"read_idx: {path} is truncated or corrupt: {len(raw):,} bytes could be unpacked"
            f"{'' if len(raw) <= expected else ' or more'}, not {expected:,}; remove it and fetch it again"
        )
    return np.frombuffer(bytearray(raw), np.uint8, offset=len(header)).reshape(shape)


class MNIST(ByteImages):
    """60,000 handwritten digits for training and 10,000 for testing.

    Parameters
    ----------
    root : str or Path, optional
        The folder with ``MNIST/raw``, which holds the four official ``.gz`` files, or with these files themselves.
        Default: :func:`minigrad.data.fetch.cache`.
    train : bool
        True for the training set, False for the test set.
    download : bool
        Fetch the files if they are missing.

    Attributes
    ----------
    images : array of shape (n, 28, 28, 1), uint8
        From 0 (paper) to 255 (ink). Indexing the data set converts them to float32 from 0 to 1.
    labels : array of shape (n,), int64
    classes : tuple of str
        The names of the labels.

    Raises
    ------
    FileNotFoundError
        If the files are missing. The message says how to get them.
    ValueError
        If a file is truncated or corrupt, has the wrong header, or a label is out of range.

    Examples
    --------
    >>> MNIST("scans")
    Traceback (most recent call last):
        ...
    FileNotFoundError: MNIST: there is no scans/MNIST/raw/train-images-idx3-ubyte.gz; pass download=True, or run
    `python -m minigrad.data mnist --root scans`
    """

    source = "mnist"
    system: Path | None = None  # the folder of a package of the operating system
    classes: tuple[str, ...] = tuple("0123456789")
    train_size, test_size = 60_000, 10_000

    @checked
    def __init__(self, root: str | Path | None = None, train: bool = True, download: bool = False) -> None:
        name, download = type(self).__name__, flag(type(self).__name__, "download", download)
        part, n = ("train", self.train_size) if flag(name, "train", train) else ("t10k", self.test_size)
        files = [f"{part}-images-idx3-ubyte.gz", f"{part}-labels-idx1-ubyte.gz"]
        images, labels = locate(name, self.source, root, files, download, self.system)
        super().__init__(read_idx(images, (n, 28, 28))[..., None], read_idx(labels, (n,)).astype(np.int64))
        if self.labels.max() >= len(self.classes):
            raise ValueError(
                f"{name}: {labels} is corrupt: a label is {self.labels.max()}, of {len(self.classes)} "
                "classes; remove it and fetch it again"
            )


class FashionMNIST(MNIST):
    """60,000 pictures of clothes for training and 10,000 for testing, in 10 classes.

    Parameters, attributes and errors are those of :class:`MNIST`; the folder is ``FashionMNIST/raw``. The files of
    Debian's package dataset-fashion-mnist are found, too.

    Examples
    --------
    >>> FashionMNIST.classes[:3]
    ('T-shirt/top', 'Trouser', 'Pullover')
    """

    source = "fashion-mnist"
    system = Path("/usr/share/datasets/fashion-mnist")
    classes = (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    )
