"""What is used again, and for other images, states and seeds than before; and what only moves pixels."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from minigrad.data import DataLoader, Digits, Subset, TensorDataset, fetch, split
from minigrad.data.images import ByteImages
from minigrad.data.transforms import (
    CenterCrop,
    ColorJitter,
    Compose,
    Normalize,
    RandomAffine,
    RandomCrop,
    RandomErasing,
    RandomHorizontalFlip,
    Resize,
    ToFloat,
)
from tests.data.settings_of_files import Tiny10, Tiny100, TinyFashion, TinyMNIST, write

MAKE = {
    "normalize": lambda: Normalize([0.1, 0.2, 0.3], 0.7),
    "crop": lambda: RandomCrop(5, padding=2),
    "flip": lambda: RandomHorizontalFlip(),
    "compose": lambda: Compose([Normalize(0.1, [0.7, 0.8, 0.9]), RandomCrop(5, padding=2), RandomHorizontalFlip()]),
    "float": lambda: ToFloat(),
    "jitter": lambda: ColorJitter(0.4, 0.4, 0.4),
    "erasing": lambda: RandomErasing(0.9),
    "center": lambda: CenterCrop(4),
    "resize": lambda: Resize((4, 9)),
    "affine": lambda: RandomAffine(30, translate=0.2, scale=(0.8, 1.2)),
}
MOVES = ["padded", "crop", "flip"]
BATCHES = [(2, 5, 7), (6, 24, 9), (1, 5, 5), (9, 6, 30), (2, 5, 7)]  # images, height, width


@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
def test_a_transform_keeps_nothing_of_the_images_before(make):
    """Of other numbers, sizes and dtypes of images, it gives to the bit what a new transform gives."""
    for dtypes in itertools.permutations(["float16", "float32", "float64"]):
        transform = make()
        for shape, dtype in itertools.product(BATCHES, dtypes):
            images = np.random.default_rng(0).random((*shape, 3)).astype(dtype)
            got, fresh = (t(images, np.random.default_rng(1)) for t in (transform, make()))
            assert_array_equal(got, fresh, strict=True)


@pytest.mark.parametrize("transform", [RandomCrop(3, padding=1), RandomCrop(2), RandomHorizontalFlip()], ids=MOVES)
@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_crops_and_flips_move_bits_whatever_they_mean(transform, size):
    """Integers stay integers; infinities, NaNs and the sign of zero arrive as they were, and spread nowhere."""
    bits = np.random.default_rng(0).integers(0, 256, (40, 3, 4, 2 * size), np.uint8)
    special = np.array([np.inf, -np.inf, np.nan, -0.0], f"f{max(size, 2)}").view(np.uint8).reshape(4, -1)[:, -size:]
    bits[..., :size] = special[np.random.default_rng(1).integers(4, size=(40, 3, 4))]
    moved = transform(bits.view(f"u{size}"), np.random.default_rng(2))
    assert moved.dtype == f"u{size}"
    for kind in "iuf"[: 2 + (size > 1)]:
        got = transform(bits.view(f"{kind}{size}"), np.random.default_rng(2))
        assert got.dtype == f"{kind}{size}"
        assert_array_equal(got.view(moved.dtype), moved, strict=True)


class Numbers:
    """Image i is the number i."""

    def __len__(self):
        return 30

    def __getitem__(self, index):
        return index + 0.0, index


def walk(loader):
    return [images.tolist() for images, _ in loader]


def loader(seed, **settings):
    return DataLoader(Numbers(), 4, rng=seed, transform=lambda images, rng: images + rng.random(), **settings)


@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_loader_keeps_nothing_of_the_states_before(prefetch):
    """After any other state, a state gives the batches that it gives to a new loader."""
    states = [{"seed": seed, "epoch": epoch, "batch": batch} for seed in (1, 2) for epoch in (0, 1) for batch in (0, 5)]
    expected = []
    for state in states:
        new = loader(9, prefetch=prefetch)
        new.load_state_dict(state)
        expected.append(walk(new))
    again = loader(1, prefetch=prefetch)
    for i, j in itertools.product(range(len(states)), repeat=2):
        for k in (i, j):
            again.load_state_dict(states[k])
            assert walk(again) == expected[k]


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int32, np.uint64, np.array])
def test_a_seed_may_be_any_integer_of_numpy(kind):
    one, other = loader(3), loader(kind(3))
    assert walk(one) == walk(other)
    assert json.dumps(other.state_dict()) == '{"seed": 3, "epoch": 1, "batch": 0}'


def test_every_bit_of_a_large_seed_counts():
    seeds = [3, *(3 + 2**bit for bit in range(2, 200, 7)), *(3 + 2**bit for bit in (16, 32, 63, 64, 96, 128))]
    walks = [tuple(map(tuple, walk(loader(seed, prefetch=0)))) for seed in seeds]
    assert len(set(walks)) == len(set(seeds))
    orders = [tuple(int(i) for batch in w for i in batch) for w in walks]
    assert len(set(orders)) == len(set(seeds))


# Subsets -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.int64, np.int8, np.uint8, np.uint64, list, tuple])
def test_a_subset_may_be_empty_and_its_indices_of_any_integer_type(kind):
    digits = Digits()
    for n in (0, 1, 2):
        subset = Subset(digits, kind([7, 3][:n]) if kind in (list, tuple) else np.array([7, 3], kind)[:n])
        images, labels = subset[:]
        assert len(subset) == n
        assert_array_equal(images, digits.images[[7, 3][:n]], strict=True)
        assert_array_equal(labels, digits.labels[[7, 3][:n]], strict=True)


class Named(Numbers):
    """A data set whose classes are known when it is made."""

    def __init__(self, classes):
        self.classes = classes


@pytest.mark.parametrize("make", [Digits, lambda: Named(("a", "b")), lambda: Named(None), Numbers])
def test_a_part_of_a_part_has_the_classes_and_the_images_of_the_whole(make):
    whole = make()
    part, places = whole, np.arange(len(whole))
    for seed in range(4):
        rest, part = split(part, len(part) - 3, seed)
        half = Subset(rest, [2, 0, -1])
        chosen = np.random.default_rng(seed).permutation(len(places))
        kept, places = places[np.sort(chosen[-3:])], places[np.sort(chosen[:-3])]
        for each, wanted in ((part, places), (rest, kept), (half, kept[[2, 0, -1]])):
            assert each.classes == getattr(whole, "classes", None)
            assert_array_equal(each[:][0], whole[wanted][0], strict=True)


class Inverted(Subset):
    """Some of the images, with black and white exchanged."""

    def __getitem__(self, index):
        images, labels = super().__getitem__(index)
        return 1 - images, labels


@pytest.mark.parametrize("kinds", list(itertools.product([Subset, Inverted], repeat=3)))
def test_a_part_of_a_part_of_a_derived_class_is_asked_of_that_class(kinds):
    """At whatever place it is among the parts."""
    digits = Digits()
    part, images, places = digits, digits.images, [np.arange(9, 99), [50, 3, -1, 7], [2, 0]]
    for kind, chosen in zip(kinds, places, strict=True):
        part = kind(part, chosen)
        images = 1 - images[chosen] if kind is Inverted else images[chosen]
        assert_array_equal(part[:][0], images, strict=True)
    rest, held = split(part, 1, 0)
    for half in (rest, held):
        assert_array_equal(half[:][0], images[half.indices], strict=True)


def test_split_moves_a_given_generator_on():
    """The second split from one Generator is another; the first is that of the seed."""
    rng = np.random.default_rng(5)
    first, second, of_seed = (split(Digits(), 144, source)[1].indices for source in (rng, rng, 5))
    assert_array_equal(first, of_seed, strict=True)
    assert len(np.intersect1d(first, second)) < 40  # 14 on average


# Arrays --------------------------------------------------------------------------------------


class Own(np.ndarray):
    """A class of arrays of one's own."""


def mapped(array, path):
    np.save(path, array)
    return np.load(path, mmap_mode="r")


KINDS = {
    "in a file": mapped,
    "in a file that may be written": lambda array, path: np.lib.format.open_memmap(
        path, "w+", array.dtype, array.shape
    ),
    "derived": lambda array, path: array.view(Own),
    "masked": lambda array, path: np.ma.masked_array(array, array > 5),
    "read-only": lambda array, path: np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape),
    "in Fortran's order": lambda array, path: np.asfortranarray(array),
    "backwards": lambda array, path: array[::-1],
    "of the other byte order": lambda array, path: array.astype(array.dtype.newbyteorder()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_data_set_takes_arrays_of_every_kind(kind, tmp_path):
    """As inputs, as targets, as both, and as the indices of a part."""
    make = lambda array: KINDS[kind](array, tmp_path / "x.npy")  # noqa: E731
    plain = np.arange(2, 14).reshape(6, 2), np.arange(6)
    for own in itertools.product([True, False], repeat=2):
        given = [make(array.copy()) if mine else array for array, mine in zip(plain, own, strict=True)]
        if "written" in kind:
            for array, values in zip(given, plain, strict=True):
                array[...] = values
        dataset = TensorDataset(*given)
        for index in (2, slice(1, 4), np.array([5, 0]), make(np.arange(4))[2:]):
            for part, array in zip(dataset[index], given, strict=True):
                assert_array_equal(part, array[index])
        for part, array in zip(next(iter(DataLoader(dataset, 6))), given, strict=True):
            assert_array_equal(part, array)
    pixels = make(np.arange(24, dtype=np.uint8).reshape(6, 2, 2, 1))
    assert_array_equal(ByteImages(pixels, np.arange(6))[:][0], np.asarray(pixels) / np.float32(255))
    indices = make(np.arange(6))
    assert_array_equal(Subset(Digits(), indices)[:][0], Digits().images[np.asarray(indices)], strict=True)


@pytest.mark.parametrize("kind", [Digits, Tiny10, Tiny100, TinyMNIST, TinyFashion])
@pytest.mark.parametrize("train", [True, False])
def test_arrays_of_a_data_set_may_be_written_and_are_its_own(kind, train, tmp_path):
    """So that images can be changed in place; what is read from a file again is as it was."""
    if kind is not Digits:
        write(kind, tmp_path, [1, 2], [3])
    make = lambda: kind(train) if kind is Digits else kind(tmp_path, train)  # noqa: E731
    data, before = make(), make()
    for name in ("images", "labels"):
        array, other = getattr(data, name), getattr(before, name).copy()
        assert array.flags.writeable, name
        array[0] = 7
        assert_array_equal(getattr(before, name), other, strict=True)
        assert_array_equal(getattr(make(), name), other, strict=True)
    for part in (data, Subset(data, [0])):
        images, labels = part[:1] if part is data else part[:]
        assert (images[0] == (7 if kind is Digits else np.float32(7) / np.float32(255))).all()
        assert labels[0] == 7


# Folders -------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_path", [str, Path])
def test_a_root_may_begin_at_the_users_home(as_path, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))  # Windows
    monkeypatch.chdir(tmp_path)
    root, asked = as_path("~/mine"), []
    for kind in (Tiny10, Tiny100, TinyMNIST, TinyFashion):
        write(kind, tmp_path / "mine", [1, 2], [3])
        assert kind(root).labels.tolist() == [1, 2]
        with monkeypatch.context() as patch:
            patch.setattr(fetch, "fetch", lambda name, root: asked.append(Path(root)))
            with pytest.raises(FileNotFoundError, match=f"--root {tmp_path / 'other'}`"):
                kind(as_path("~/other"), download=True)
    assert asked == [tmp_path / "other"] * 4
    for name, (folder, *_) in fetch.DATA_SETS.items():
        with monkeypatch.context() as patch:
            patch.setattr(fetch, "retrieve", lambda file, root=None: None)
            assert fetch.fetch(name, root) == tmp_path / "mine" / folder
    (tmp_path / "mine" / "a.bin").write_bytes(b"abc")
    sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    monkeypatch.setitem(fetch.REGISTRY, "a.bin", (3, sha256, "-"))
    assert fetch.retrieve("a.bin", root) == tmp_path / "mine" / "a.bin"


def test_an_empty_root_is_the_folder_where_one_is(tmp_path, monkeypatch):
    """As ".", and not as none at all, which is the cache."""
    monkeypatch.setenv("MINIGRAD_CACHE", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    entry = (3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "-")
    monkeypatch.setitem(fetch.REGISTRY, "a.bin", entry)
    for kind in (Tiny10, Tiny100, TinyMNIST, TinyFashion):
        write(kind, tmp_path / "here", [1, 2], [3])
        write(kind, tmp_path / "cache", [4, 5], [6])
    for folder in ("here", "cache"):
        (tmp_path / folder / "a.bin").write_bytes(b"abc")
    for empty in ("", ".", Path()):
        assert fetch.cache(empty) == Path()
        assert fetch.retrieve("a.bin", empty) == Path("a.bin")
        for kind in (Tiny10, Tiny100, TinyMNIST, TinyFashion):
            assert kind(empty).labels.tolist() == [1, 2]
            assert kind(empty, download=True).labels.tolist() == [1, 2]
        with monkeypatch.context() as patch:
            patch.setattr(fetch, "retrieve", lambda file, root=None: None)
            for name, (folder, *_) in fetch.DATA_SETS.items():
                assert fetch.fetch(name, empty) == Path(folder)
