"""The rows of what reads and fetches files, in the table of settings (test_settings.py)."""

import contextlib
import functools
import gzip
import hashlib
import os
import struct
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image

from minigrad.data import CIFAR10, CIFAR100, MNIST, FashionMNIST, fetch, images
from minigrad.data.mnist import read_idx
from tests.tools.settings import Refused, Row


class Tiny10(CIFAR10):
    """Two images for training, and one for testing."""

    train_files = {"a.bin": 2}  # noqa: RUF012
    test_files = {"b.bin": 1}  # noqa: RUF012


class Tiny100(CIFAR100):
    """Two images for training, and one for testing."""

    train_files = {"a.bin": 2}  # noqa: RUF012
    test_files = {"b.bin": 1}  # noqa: RUF012


class TinyMNIST(MNIST):
    """Two images for training, and one for testing."""

    train_size, test_size = 2, 1


class TinyFashion(FashionMNIST):
    """Two images for training, and one for testing; no package of the system has them."""

    train_size, test_size = 2, 1
    system = Path("/nowhere")


def idx(array):
    return gzip.compress(struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes())


def write(kind, root, train, test):
    """Write the files of a data set with these labels; all pixels are zero."""
    folder = Path(root, fetch.DATA_SETS[kind.source][0])
    folder.mkdir(parents=True)
    for labels, file, part in ((train, "a.bin", "train"), (test, "b.bin", "t10k")):
        if issubclass(kind, CIFAR10):
            coarse = bytes(len(kind.label_bytes) - 1)
            (folder / file).write_bytes(b"".join(coarse + bytes([label]) + bytes(3072) for label in labels))
        else:
            pixels = np.zeros((len(labels), 28, 28), np.uint8)
            (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(idx(pixels))
            (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(idx(np.array(labels, np.uint8)))


@contextlib.contextmanager
def somewhere():
    """An empty folder to work in; the cache is ``cache`` in it."""
    here = mock.patch.dict(os.environ, {"MINIGRAD_CACHE": "cache"})
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), here:
        os.environ["HOME"] = os.environ["USERPROFILE"] = os.getcwd()
        yield


def labels_of(kind, **settings):
    """Labels 1 and 2 (testing: 3) in the cache, and others in the folder ``mine``."""
    with somewhere():
        write(kind, "cache", [1, 2], [3])
        write(kind, "mine", [4, 5], [6])
        return kind(**settings).labels.tolist()


def downloaded(kind, **settings):
    """The labels, where there are no files before a download."""
    with somewhere(), mock.patch.object(fetch, "fetch", lambda name, root: write(kind, root, [7, 8], [9])):
        return kind(**settings).labels.tolist()


def cached(**settings):
    with somewhere():
        return Path(os.path.relpath(fetch.cache(**settings))).as_posix()


def fetched(name="mnist", **settings):
    """The folder that `fetch` returns, and what it asks for."""
    asked = []
    with somewhere(), mock.patch.object(fetch, "retrieve", lambda file, root=None: asked.append((file, root))):
        folder = Path(os.path.relpath(fetch.fetch(name, **settings))).as_posix()
    return [folder, len(asked), {file.rpartition("/")[0] for file, _ in asked}, {root for _, root in asked}]


def retrieved(file="a.bin", **settings):
    """The path of a file that exists in the cache and in ``mine``; the cache's ``b.bin`` is wrong."""
    entry = (3, hashlib.sha256(b"abc").hexdigest(), "-")
    with somewhere(), mock.patch.dict(fetch.REGISTRY, {"a.bin": entry, "b.bin": entry}):
        for path in ("cache/a.bin", "mine/a.bin", "cache/b.bin"):
            Path(path).parent.mkdir(exist_ok=True)
            Path(path).write_bytes(b"abc" if path != "cache/b.bin" else b"abd")
        return Path(os.path.relpath(fetch.retrieve(file, **settings))).as_posix()


def located(**settings):
    """What `locate` answers where files are in several folders, and the download has one more."""
    given = {"caller": "Mine", "source": "mnist", "root": "root", "files": ["a"], "download": False}

    def download(name, root):
        (root / "MNIST/raw/new").touch()

    with somewhere(), mock.patch.object(fetch, "fetch", download):
        for file in ("root/MNIST/raw/a", "root/FashionMNIST/raw/a", "other/a", "cache/a", "system/b"):
            Path(file).parent.mkdir(parents=True, exist_ok=True)
            Path(file).touch()
        return [path.as_posix() for path in fetch.locate(**given | settings)]


def photo(name, **settings):
    """A picture that is read back."""
    with somewhere():
        for file, colour in (("red.png", "red"), ("blue.png", "blue")):
            Image.new("RGB", (1, 1), colour).save(file)
        return images.read_photo(name, **settings).tolist()


def unpacked(path="a.gz", shape=(3,)):
    with somewhere():
        Path("a.gz").write_bytes(idx(np.array([1, 2, 3], np.uint8)))
        Path("b.gz").write_bytes(idx(np.array([[4, 5]], np.uint8)))
        return read_idx(Path(path), shape).tolist()


ROWS = {
    "fetch.name": Row(
        lambda name: fetched(name),
        ("mnist", ["cache/MNIST/raw", 4, {"MNIST/raw"}, {None}]),
        ("fashion-mnist", ["cache/FashionMNIST/raw", 4, {"FashionMNIST/raw"}, {None}]),
        ("imagenet", Refused(ValueError, "expected one of cifar10")),
    ),
    "fetch.root": Row(
        fetched,
        (None, ["cache/MNIST/raw", 4, {"MNIST/raw"}, {None}]),
        ("mine", ["mine/MNIST/raw", 4, {"MNIST/raw"}, {"mine"}]),
        ("~/mine", ["mine/MNIST/raw", 4, {"MNIST/raw"}, {"~/mine"}]),
    ),
    "retrieve.file": Row(
        retrieved,
        ("a.bin", "cache/a.bin"),
        ("b.bin", Refused(ValueError, "expected cache/b.bin to have 3 bytes")),
    ),
    "retrieve.root": Row(retrieved, (None, "cache/a.bin"), ("mine", "mine/a.bin"), ("~/mine", "mine/a.bin")),
    "cache.root": Row(cached, (None, "cache"), ("mine", "mine"), (Path("~/mine"), "mine")),
    "locate.caller": Row(
        lambda caller: located(caller=caller, files=["b"]),
        ("Mine", Refused(FileNotFoundError, "^Mine: there is no root/MNIST/raw/b; pass download=True")),
        ("Other", Refused(FileNotFoundError, "^Other: there is no root/MNIST/raw/b; pass download=True")),
    ),
    "locate.source": Row(
        lambda source: located(source=source),
        ("mnist", ["root/MNIST/raw/a"]),
        ("fashion-mnist", ["root/FashionMNIST/raw/a"]),
    ),
    "locate.root": Row(
        lambda root: located(root=root), ("root", ["root/MNIST/raw/a"]), ("other", ["other/a"]), (None, ["cache/a"])
    ),
    "locate.files": Row(
        lambda files: located(files=files), (["a"], ["root/MNIST/raw/a"]), (["a", "a"], ["root/MNIST/raw/a"] * 2)
    ),
    "locate.download": Row(
        lambda download: located(files=["a", "new"], download=download),
        (False, Refused(FileNotFoundError, "there is no root/MNIST/raw/new")),
        (True, ["root/MNIST/raw/a", "root/MNIST/raw/new"]),
    ),
    "locate.system": Row(
        lambda **s: located(files=["b"], **s),
        (None, Refused(FileNotFoundError, "raw/b; pass")),
        (Path("system"), ["system/b"]),
        (Path("elsewhere"), Refused(FileNotFoundError, "raw/b; install Debian's package dataset-elsewhere, pass")),
    ),
    "read_photo.path": Row(lambda path: photo(path), ("red.png", [[[255, 0, 0]]]), ("blue.png", [[[0, 0, 255]]])),
    "read_idx.path": Row(unpacked, ("a.gz", [1, 2, 3]), ("b.gz", Refused(ValueError, "b.gz begins with"))),
    "read_idx.shape": Row(unpacked, ((3,), [1, 2, 3]), ((1, 2), Refused(ValueError, "not with"))),
}
for kind in (Tiny10, Tiny100, TinyMNIST, TinyFashion):
    name = kind.__base__.__name__
    ROWS[f"{name}.root"] = Row(functools.partial(labels_of, kind), (None, [1, 2]), ("mine", [4, 5]), ("~/mine", [4, 5]))
    ROWS[f"{name}.train"] = Row(functools.partial(labels_of, kind), (True, [1, 2]), (False, [3]))
    ROWS[f"{name}.download"] = Row(
        functools.partial(downloaded, kind), (False, Refused(FileNotFoundError, "there is no cache/")), (True, [7, 8])
    )
