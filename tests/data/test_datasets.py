"""CIFAR and MNIST: read exactly, or refused by name; never half."""

import gzip
import hashlib
import io
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad.data import fetch
from minigrad.data.cifar import CIFAR10, CIFAR100
from minigrad.data.images import ByteImages
from minigrad.data.loader import DataLoader
from minigrad.data.mnist import MNIST, FashionMNIST, read_idx

CACHE = fetch.cache()  # the user's own: the tests below look into another


class Tiny10(CIFAR10):
    """CIFAR-10 with three images a file."""

    train_files = {f"data_batch_{i}.bin": 3 for i in range(1, 6)}  # noqa: RUF012
    test_files = {"test_batch.bin": 3}  # noqa: RUF012


class Tiny100(CIFAR100):
    """CIFAR-100 with four images and two."""

    train_files = {"train.bin": 4}  # noqa: RUF012
    test_files = {"test.bin": 2}  # noqa: RUF012


class TinyMNIST(MNIST):
    """MNIST with six images and four."""

    train_size, test_size = 6, 4


class TinyFashion(FashionMNIST):
    """Fashion-MNIST with six images and four, unknown to the system."""

    train_size, test_size = 6, 4
    system = Path("/nowhere/fashion-mnist")


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    monkeypatch.setenv("MINIGRAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MINIGRAD_MIRROR", raising=False)
    monkeypatch.setattr(fetch, "RETRIES", 0)
    for scheme in ("http", "https"):
        monkeypatch.setenv(f"{scheme}_proxy", "http://127.0.0.1:9")  # nobody listens there: no network


def write_cifar(folder, kind, rng):
    """Write records, and return (label bytes, planes) of each part."""
    folder.mkdir(parents=True)
    parts = []
    for files in (kind.train_files, kind.test_files):
        labels, planes = [], []
        for file, n in files.items():
            for i in range(n):
                labels.append([rng.integers(bound) for bound in kind.label_bytes])
                planes.append(rng.bytes(3072))
                with (folder / file).open("ab" if i else "wb") as out:
                    out.write(bytes(labels[-1]) + planes[-1])
        parts.append((labels, planes))
    return parts


# What is asked for


def test_bytes_are_converted_when_they_are_indexed():
    rng = np.random.default_rng(0)
    data = ByteImages(rng.integers(0, 256, (20, 4, 5, 3), dtype=np.uint8), np.arange(20))
    exact = (data.images.astype(np.float64) / 255).astype(np.float32)
    mask = np.arange(20) % 3 == 0
    for index in (3, -1, np.int64(7), slice(2, 9, 3), slice(0), [4, 4, 0], np.array([19, 0, 5]), mask):
        images, labels = data[index]
        np.testing.assert_array_equal(images, exact[index], strict=True)
        np.testing.assert_array_equal(labels, np.arange(20)[index])
        assert labels.dtype == np.int64
    assert len(data) == 20
    assert data.images.dtype == np.uint8  # still
    images, _ = data[np.arange(3)]
    images[:] = 7.0  # what a transform does to a batch does not reach the data
    np.testing.assert_array_equal(data[np.arange(3)][0], exact[:3], strict=True)
    with pytest.raises(IndexError):
        data[20]


def test_every_byte_becomes_the_nearest_number():
    data = ByteImages(np.arange(256, dtype=np.uint8).reshape(256, 1, 1, 1), np.zeros(256, np.int64))
    images = data[:][0].ravel()
    np.testing.assert_array_equal(images, (np.arange(256) / 255).astype(np.float32), strict=True)
    assert images[0] == 0.0
    assert images[255] == 1.0


# CIFAR


@pytest.mark.parametrize("kind", [Tiny10, Tiny100])
def test_cifar_reads_its_records(tmp_path, kind):
    folder = tmp_path / fetch.DATA_SETS[kind.source][0]
    parts = write_cifar(folder, kind, np.random.default_rng(1))
    for train, (labels, planes) in zip((True, False), parts, strict=True):
        data = kind(tmp_path, train=train)
        n = sum((kind.train_files if train else kind.test_files).values())
        assert data.images.shape == (n, 32, 32, 3)
        assert data.images.dtype == np.uint8
        assert data.images.flags.c_contiguous
        assert data.labels.dtype == np.int64
        assert data.labels.tolist() == [label[-1] for label in labels]  # CIFAR-100: the fine one
        for i, plane in enumerate(planes):
            for y, x, channel in [(0, 0, 0), (0, 31, 1), (31, 0, 2), (7, 19, 0), (31, 31, 2)]:
                assert data.images[i, y, x, channel] == plane[1024 * channel + 32 * y + x]


def test_file_sizes_are_the_official_ones():
    assert list(CIFAR10.train_files) + list(CIFAR10.test_files) == [
        file.rpartition("/")[2] for file in fetch.REGISTRY if file.startswith("cifar-10-batches-bin/")
    ]
    for kind, bytes_ in ((CIFAR10, 30_730_000 * 5), (CIFAR100, 153_700_000)):
        record = len(kind.label_bytes) + 3072
        assert sum(kind.train_files.values()) * record == bytes_
        assert sum(kind.test_files.values()) * record == bytes_ // 5
        assert kind.label_bytes[-1] == len(kind.classes) == len(set(kind.classes))
    assert list(CIFAR100.classes) == sorted(CIFAR100.classes)
    assert CIFAR10.classes[6] == "frog"
    assert (MNIST.train_size, MNIST.test_size, len(MNIST.classes), len(FashionMNIST.classes)) == (
        60_000,
        10_000,
        10,
        10,
    )


def test_cifar_is_found_in_the_cache_in_root_and_in_its_folder(tmp_path):
    write_cifar(tmp_path / "cache" / "cifar-10-batches-bin", Tiny10, np.random.default_rng(2))
    images = Tiny10().images
    np.testing.assert_array_equal(Tiny10(str(tmp_path / "cache")).images, images, strict=True)
    np.testing.assert_array_equal(Tiny10(tmp_path / "cache" / "cifar-10-batches-bin").images, images, strict=True)
    assert Tiny10(download=True).images.shape == images.shape  # it is there: no network is needed
    assert len(Tiny10(None, False)) == 3  # torchvision's order of arguments: root, train


def test_the_archive_in_root_is_unpacked_at_first_use(tmp_path, monkeypatch):
    write_cifar(tmp_path / "made", Tiny10, np.random.default_rng(3))
    images = Tiny10(tmp_path / "made").images
    archive = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "made", "cifar-10-batches-bin")
    facts = (archive.stat().st_size, hashlib.sha256(archive.read_bytes()).hexdigest(), "http://127.0.0.1:9/")
    monkeypatch.setitem(fetch.REGISTRY, archive.name, facts)
    np.testing.assert_array_equal(Tiny10(tmp_path).images, images, strict=True)
    assert (tmp_path / "cifar-10-batches-bin").is_dir()
    archive.unlink()
    np.testing.assert_array_equal(Tiny10(tmp_path).images, images, strict=True)


def test_a_wrong_archive_in_root_is_named(tmp_path):
    (tmp_path / "cifar-100-binary.tar.gz").write_bytes(b"truncated")
    with pytest.raises(
        ValueError, match=r"100-binary\.tar\.gz to have 168,513,733 bytes, .* got 9 bytes, .*; remove it"
    ):
        CIFAR100(tmp_path)


def test_missing_cifar_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        CIFAR10()
    root = tmp_path / "cache"
    assert str(caught.value) == (
        f"CIFAR10: there is no {root}/cifar-10-batches-bin/data_batch_1.bin; pass download=True, or run\n"
        f"`python -m minigrad.data cifar10 --root {root}`"
    )
    write_cifar(root / "cifar-10-batches-bin", Tiny10, np.random.default_rng(4))
    (root / "cifar-10-batches-bin" / "data_batch_4.bin").unlink()
    with pytest.raises(
        FileNotFoundError,
        match=r"no .*data_batch_4\.bin; move .*batches-bin, which is incomplete, out of the way and pass download=True",
    ):
        Tiny10(download=True)
    assert len(Tiny10(train=False)) == 3  # the other part does not suffer


def test_download_without_network_says_what_to_put_where(tmp_path):
    with pytest.raises(OSError, match=r"put it at\n.*cifar-100-binary\.tar\.gz \(168,513,733 bytes, sha256 58a81ae1"):
        CIFAR100(tmp_path, download=True)
    with pytest.raises(OSError, match=r"put it at\n.*MNIST/raw/train-images-idx3-ubyte\.gz \(9,912,422 bytes"):
        MNIST(tmp_path, download=True)


@pytest.mark.parametrize("file", list(Tiny10.train_files))
@pytest.mark.parametrize("change", [-1, 1, -3073, 3073, None])
def test_truncated_cifar_is_named_before_anything_is_read(tmp_path, monkeypatch, file, change):
    folder = tmp_path / "cifar-10-batches-bin"
    write_cifar(folder, Tiny10, np.random.default_rng(5))
    content = (folder / file).read_bytes()
    size = len(content) + change if change is not None else 0
    (folder / file).write_bytes((content + content)[:size])
    monkeypatch.setattr(np, "fromfile", None)  # must not be called
    with pytest.raises(
        ValueError, match=rf"Tiny10: .*{file} is trunc.* has {size:,} bytes, not 9,219 \(3 rec.*; move .*-bin out of"
    ):
        Tiny10(tmp_path)


@pytest.mark.parametrize(("kind", "position", "value"), [(Tiny10, 0, 10), (Tiny100, 0, 20), (Tiny100, 1, 100)])
def test_a_label_out_of_range_is_named(tmp_path, kind, position, value):
    """In whichever file, and in whichever record of it."""
    folder = tmp_path / fetch.DATA_SETS[kind.source][0]
    write_cifar(folder, kind, np.random.default_rng(6))
    record = 3072 + len(kind.label_bytes)
    for file, n in (kind.train_files | kind.test_files).items():
        whole, train = (folder / file).read_bytes(), file in kind.train_files
        for i in range(n):
            content = bytearray(whole)
            content[i * record + position] = value - 1
            (folder / file).write_bytes(content)
            kind(tmp_path, train=train)  # the highest label is one
            content[i * record + position] = value
            (folder / file).write_bytes(content)
            message = rf"{kind.__name__}: .*{file} is corrupt: its label bytes go up to .*{value}"
            with pytest.raises(ValueError, match=message):
                kind(tmp_path, train=train)
            kind(tmp_path, train=not train)  # the other part does not suffer
        (folder / file).write_bytes(whole)


def test_cifar_records_that_are_shifted_are_refused(tmp_path):
    """A file of the right size whose first byte is lost: labels would be pixels."""
    folder = tmp_path / "cifar-10-batches-bin"
    write_cifar(folder, Tiny10, np.random.default_rng(7))
    content = (folder / "test_batch.bin").read_bytes()
    (folder / "test_batch.bin").write_bytes(content[1:] + b"\0")
    with pytest.raises(ValueError, match="corrupt"):
        Tiny10(tmp_path, train=False)


def test_cifar_works_with_the_loader(tmp_path):
    write_cifar(tmp_path / "cifar-10-batches-bin", Tiny10, np.random.default_rng(8))
    data = Tiny10(tmp_path)
    batches = list(DataLoader(data, 4))
    assert [images.shape for images, _ in batches] == [(4, 32, 32, 3)] * 3 + [(3, 32, 32, 3)]
    assert all(images.dtype == np.float32 for images, _ in batches)
    np.testing.assert_array_equal(np.concatenate([images for images, _ in batches]), data[:][0], strict=True)
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in batches]), data.labels, strict=True)


# MNIST


def idx(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_mnist(folder, rng, highest=10):
    folder.mkdir(parents=True)
    for part, n in (("train", 6), ("t10k", 4)):
        images = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        labels = rng.integers(0, highest, n, dtype=np.uint8)
        labels[0] = highest - 1
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    return images, labels


@pytest.mark.parametrize(("kind", "below"), [(TinyMNIST, "MNIST/raw"), (TinyFashion, "FashionMNIST/raw")])
def test_mnist_reads_idx_files(tmp_path, kind, below):
    images, labels = write_mnist(tmp_path / "cache" / below, np.random.default_rng(9))
    data = kind(train=False)
    np.testing.assert_array_equal(data.images, images[..., None], strict=True)
    np.testing.assert_array_equal(data.labels, labels.astype(np.int64), strict=True)
    assert len(kind(str(tmp_path / "cache"))) == 6
    assert data[np.array([1, 3])][0].shape == (2, 28, 28, 1)


def test_fashion_mnist_is_found_in_the_system_unless_root_has_it(tmp_path, monkeypatch):
    system, _ = write_mnist(tmp_path / "system", np.random.default_rng(10))
    monkeypatch.setattr(TinyFashion, "system", tmp_path / "system")
    for download in (False, True):
        data = TinyFashion(train=False, download=download)
        np.testing.assert_array_equal(data.images[..., 0], system, strict=True)
    own, _ = write_mnist(tmp_path / "cache" / "FashionMNIST" / "raw", np.random.default_rng(11))
    np.testing.assert_array_equal(TinyFashion(train=False).images[..., 0], own, strict=True)


@pytest.mark.parametrize("missing", ["train-images", "train-labels", "train"])
@pytest.mark.parametrize("source", ["system", "download", "nowhere"])
@pytest.mark.parametrize(("kind", "below"), [(TinyMNIST, "MNIST/raw"), (TinyFashion, "FashionMNIST/raw")])
def test_where_any_file_is_missing_another_source_is_used(tmp_path, monkeypatch, kind, below, source, missing):
    """Both files come from the system's folder then; the other part of the data set is where it was."""
    own, _ = write_mnist(tmp_path / "cache" / below, np.random.default_rng(13))
    write_mnist(tmp_path / "other", np.random.default_rng(14))
    for path in (tmp_path / "cache" / below).glob(f"{missing}*"):
        path.unlink()

    def fetched(name, root):
        for path in (tmp_path / "other").glob("train*"):
            (root / below / path.name).write_bytes(path.read_bytes())

    monkeypatch.setattr(fetch, "fetch", fetched)
    monkeypatch.setattr(kind, "system", tmp_path / ("other" if source == "system" else "nowhere"))
    np.testing.assert_array_equal(kind(train=False).images[..., 0], own, strict=True)
    if source == "nowhere":
        first = missing if missing != "train" else "train-images"
        with pytest.raises(FileNotFoundError, match=f"there is no .*{below}/{first}-idx"):
            kind()
    else:
        expected = read_idx(tmp_path / "other" / "train-images-idx3-ubyte.gz", (6, 28, 28))
        np.testing.assert_array_equal(kind(download=source == "download").images[..., 0], expected, strict=True)


def test_missing_mnist_says_what_to_do(tmp_path):
    with pytest.raises(
        FileNotFoundError,
        match=r"MNIST: there is no .*cache/MNIST/raw/t10k-images.*; pass download=True, or run\n`python -m .* mnist ",
    ):
        MNIST(train=False)
    with pytest.raises(
        FileNotFoundError, match=r"TinyFashion: .*; install .* dataset-fashion-mnist, pass (?s:.*)fashion-mnist --root "
    ):
        TinyFashion()
    write_mnist(tmp_path / "cache" / "MNIST" / "raw", np.random.default_rng(12))
    (tmp_path / "cache" / "MNIST" / "raw" / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"no .*train-labels-idx1-ubyte\.gz; "):
        TinyMNIST()


def test_a_label_of_mnist_out_of_range_is_named(tmp_path):
    write_mnist(tmp_path / "MNIST" / "raw", np.random.default_rng(13), highest=11)
    with pytest.raises(ValueError, match=r"TinyMNIST: .*train-labels-idx1-ubyte\.gz is corrupt: a label is 10, of 10"):
        TinyMNIST(tmp_path)


def test_truncated_idx_files_are_refused(tmp_path):
    array = np.random.default_rng(14).integers(0, 256, (3, 5, 7), dtype=np.uint8)
    whole, path = gzip.compress(idx(array)), tmp_path / "x.gz"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"read_idx: .*x\.gz is (truncated or )?corrupt"):
            read_idx(path, array.shape)
    path.write_bytes(gzip.compress(idx(array)[:-1]))  # whole as an archive, but not in content
    with pytest.raises(ValueError, match="120 bytes could be unpacked, not 121"):
        read_idx(path, array.shape)
    path.write_bytes(gzip.compress(idx(array) + b"x" * 10))
    with pytest.raises(ValueError, match="122 bytes could be unpacked or more, not 121"):
        read_idx(path, array.shape)
    path.write_bytes(whole)
    np.testing.assert_array_equal(read_idx(path, array.shape), array, strict=True)


def test_damaged_idx_files_are_refused(tmp_path):
    """Whichever byte is damaged, either it is noticed, or it meant nothing (the time in gzip's header)."""
    array = np.random.default_rng(15).integers(0, 256, (3, 5, 7), dtype=np.uint8)
    whole, path, harmless = gzip.compress(idx(array)), tmp_path / "x.gz", 0
    for i in range(len(whole)):
        for mask in (0x01, 0x55, 0xFF):
            damaged = bytearray(whole)
            damaged[i] ^= mask
            path.write_bytes(damaged)
            try:
                got = read_idx(path, array.shape)
            except ValueError:
                continue
            np.testing.assert_array_equal(got, array, strict=True)
            harmless += 1
    assert harmless <= 3 * 6 + 1  # time, compressor, operating system, and the flag that says it is text


@pytest.mark.parametrize(
    "header",
    [
        struct.pack(">HBBI", 0, 9, 1, 5),  # signed bytes
        struct.pack(">HBBI", 0, 13, 1, 5),  # floats
        struct.pack(">HBBI", 1, 8, 1, 5),
        struct.pack(">HBBI", 0, 8, 1, 6),
        struct.pack("<HBBI", 0, 8, 1, 5),  # least significant byte first
        struct.pack(">HBBII", 0, 8, 2, 1, 5),
        struct.pack(">HBB", 0, 8, 3) * 3,
        b"<html>no</html>",
    ],
)
def test_another_idx_header_is_refused(tmp_path, header):
    (tmp_path / "x.gz").write_bytes(gzip.compress(header + bytes(5)))
    with pytest.raises(
        ValueError, match=r"x\.gz begins with .*, not with 00000801 00000005, the IDX header of .* \(5,\)"
    ):
        read_idx(tmp_path / "x.gz", (5,))


def test_an_endless_idx_does_not_fill_memory(tmp_path):
    import tracemalloc

    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb") as file:
        file.write(idx(np.zeros(5, np.uint8)))
        for _ in range(50):
            file.write(bytes(1_000_000))
    (tmp_path / "x.gz").write_bytes(buffer.getvalue())
    tracemalloc.start()
    with pytest.raises(ValueError, match="14 bytes could be unpacked or more, not 13"):
        read_idx(tmp_path / "x.gz", (5,))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


# The real files, where they have been fetched


def real(kind, train):
    """Return a part of a real data set from the user's own cache; skip the test where it is not."""
    try:
        return kind(CACHE, train)
    except FileNotFoundError:
        pytest.skip(f"{kind.__name__} has not been fetched")


def mean_and_std(images):
    """From a histogram, in exact integers: float64 copies of the pixels would take a gigabyte."""
    counts = sum(np.bincount(block.ravel(), minlength=256) for block in np.array_split(images, 50))
    values, n = np.arange(256), counts.sum()
    mean = (counts * values).sum() / n
    return mean / 255, np.sqrt((counts * values**2).sum() / n - mean**2) / 255


@pytest.mark.parametrize("train", [True, False])
def test_the_real_cifar10_is_read(train):
    data = real(CIFAR10, train)
    assert len(data) == (50_000 if train else 10_000)
    assert np.bincount(data.labels).tolist() == [len(data) // 10] * 10
    if train:
        assert data.labels[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
        for channel, facts in enumerate([(0.4914, 0.2470), (0.4822, 0.2435), (0.4465, 0.2616)]):
            np.testing.assert_allclose(mean_and_std(data.images[..., channel]), facts, rtol=0, atol=5e-5)
    for file in data.train_files if train else data.test_files:
        assert fetch.retrieve(f"cifar-10-batches-bin/{file}", CACHE).stat().st_size == 30_730_000


@pytest.mark.parametrize("train", [True, False])
def test_the_real_cifar100_is_read(train):
    data = real(CIFAR100, train)
    assert np.bincount(data.labels).tolist() == [500 if train else 100] * 100


@pytest.mark.parametrize("kind", [MNIST, FashionMNIST])
@pytest.mark.parametrize("train", [True, False])
def test_the_real_mnist_and_fashion_mnist_are_read(kind, train):
    data = real(kind, train)
    assert len(data) == (60_000 if train else 10_000)
    if kind is FashionMNIST:
        assert np.bincount(data.labels).tolist() == [len(data) // 10] * 10
    if train:
        facts = (0.1307, 0.3081) if kind is MNIST else (0.2860, 0.3530)
        np.testing.assert_allclose(mean_and_std(data.images), facts, rtol=0, atol=5e-5)


@pytest.mark.parametrize(
    "kind", [mg.data.Digits, mg.data.CIFAR10, mg.data.CIFAR100, mg.data.MNIST, mg.data.FashionMNIST]
)
@pytest.mark.parametrize("train", ["test", "train", 0, None, np.array([True, False])])
def test_which_part_is_true_or_false(kind, train):
    """`Digits("test")` was the training set. CIFAR's and MNIST's first argument is the root."""
    with pytest.raises(TypeError, match=f"^{kind.__name__}: expected train to be True or False, got "):
        kind(train=train)
    assert len(mg.data.Digits(np.bool_(False))) == 360
