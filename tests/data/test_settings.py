"""Every setting of data sets, loader and transforms, changed once; what is expected is worked out by hand."""

import threading
from pathlib import Path

import numpy as np
import pytest

from minigrad import data
from minigrad.data import DataLoader, Digits, Subset, TensorDataset, images
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
)
from tests.data import settings_of_files
from tests.tools.settings import Refused, Row, check, missing


class Numbers:
    """Image i is the number i."""

    def __init__(self, n=5):
        self.n, self.made, self.ready = n, 0, threading.Condition()

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        with self.ready:
            self.made += 1
            self.ready.notify_all()
        return index.astype(np.float32), index


def batches(n=5, batch_size=2, **settings):
    return [batch.tolist() for batch, _ in DataLoader(Numbers(n), batch_size, **settings)]


def made_ahead(expected, **settings):
    """The number of batches that were made when the first one was received, after waiting for `expected` of them."""
    numbers = Numbers(20)
    loop = iter(DataLoader(numbers, 1, **settings))
    next(loop)
    with numbers.ready:
        numbers.ready.wait_for(lambda: numbers.made >= expected, timeout=20)
        numbers.ready.wait_for(lambda: numbers.made > expected, timeout=0.1)
    loop.close()
    return numbers.made


def shuffled(seed, epoch):
    """The order of five images that the docstring of the loader promises."""
    order = np.arange(5)
    np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(epoch,))).shuffle(order)
    return [order[:2].tolist(), order[2:4].tolist(), order[4:].tolist()]


#: Four images of 3x3 pixels, from 0 to 35, and what a Generator of seed 0 draws first.
PIXELS = np.arange(36.0).reshape(4, 3, 3, 1)
PLACES = np.random.default_rng(0).integers((2, 2), size=(4, 2))
CHANCES = np.random.default_rng(0).random(4)


def number(seed, *place):
    """The first random number of a batch."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=place)).random()


def crops(size=2, padding=0):
    return RandomCrop(size, padding)(PIXELS, np.random.default_rng(0))


def flipped(p):
    return np.array([x[:, ::-1] if chance < p else x for x, chance in zip(PIXELS, CHANCES, strict=True)])


LABELS = np.load(Path(data.__file__).with_name("digits.npz"))["labels"]
FIFTH = np.arange(1797) % 5 == 0
FRAMED = np.pad(PIXELS, ((0, 0), (1, 1), (1, 1), (0, 0)))  # 5x5
MOVED = np.array(
    [
        np.pad(x, ((1, 1), (1, 1), (0, 0)))[i : i + 5, j : j + 5]
        for x, (i, j) in zip(FRAMED, np.random.default_rng(0).integers((3, 3), size=(4, 2)), strict=True)
    ]
)
STEP = np.tile(np.array([0, 0, 175, 175], np.uint8)[None, :, None], (4, 1, 3))


def bytes_of(images_=(0, 51), labels=(3, 4)):
    """Two images of one pixel each."""
    pixels = np.array(images_, np.uint8).reshape(-1, 1, 1, 1)
    found, labels = images.ByteImages(pixels, np.array(labels))[:]
    return [found.ravel(), labels.tolist()]


def normalised(mean=0.0, std=1.0):
    """Two pixels of two channels: 2 and 4 twice."""
    return Normalize(mean, std)(np.full((1, 1, 2, 2), [2.0, 4.0])).ravel()


def parts(n=5, held_out=2, rng=0):
    return [part.indices.tolist() for part in data.split(Numbers(n), held_out, rng)]


def permuted(n, held_out, seed):
    order = np.random.default_rng(seed).permutation(n).tolist()
    return [sorted(order[held_out:]), sorted(order[:held_out])]


#: Two grey levels, one pixel each, and what a Generator of seed 0 draws first: for one image; and 1,000 images.
TWO = np.array([[[[0.2, 0.2, 0.2], [0.4, 0.5, 0.8]]]])
DRAWS = np.random.default_rng(0).random(3)
SHADES = TWO @ [[0.299], [0.587], [0.114]]
MANY = np.ones((1000, 40, 40, 1), np.uint8)


def jittered(**settings):
    return ColorJitter(**settings)(TWO, np.random.default_rng(0))


def mixed(place, a, y):
    """A factor from 1 - a to 1 + a, of the draw at this place, and its complement for y."""
    f = 1 + a * (2 * DRAWS[place] - 1)
    return f * TWO + (1 - f) * y


def erased(**settings):
    """The share of images with a rectangle, to a tenth, and the sizes of the smallest and the largest, to a tenth."""
    sizes = (RandomErasing(**settings)(MANY, np.random.default_rng(0)) == 0).mean((1, 2, 3))
    found = sizes[sizes > 0] if sizes.any() else np.zeros(1)
    return [round((sizes > 0).mean(), 1), round(found.min(), 1), round(found.max(), 1)]


def moved(degrees=0.0, **settings):
    """Where a pixel to the right of the centre, of four of them, lies in 300 images: the bounds of both axes."""
    image = np.zeros((21, 21, 1))
    image[10, 14] = 1
    images = RandomAffine(degrees, **settings)(np.tile(image, (300, 1, 1, 1)), np.random.default_rng(0))[..., 0]
    weight = images.sum((1, 2)).clip(1e-9)
    y, x = images.sum(2) @ np.arange(-10.0, 11) / weight, images.sum(1) @ np.arange(-10.0, 11) / weight
    return [round(float(bound)) for bound in (y.min(), y.max(), x.min(), x.max())]


def counted(*calls):
    """What transforms that add, and multiply by, a number make of 1; the Generator is the same for all."""
    rng = np.random.default_rng(0)
    return Compose([lambda x, r, f=f: f(x) if r is rng else None for f in calls])(np.ones(1), rng).tolist()


ROWS = (
    settings_of_files.ROWS
    | {
        "Digits.train": Row(
            lambda **s: Digits(**s).labels.tolist(), (True, LABELS[~FIFTH].tolist()), (False, LABELS[FIFTH].tolist())
        ),
        "ByteImages.images": Row(
            lambda images: bytes_of(images),
            ((0, 51), [np.array([0.0, 0.2]), [3, 4]]),
            ((255, 0), [np.array([1.0, 0.0]), [3, 4]]),
        ),
        "ByteImages.labels": Row(
            lambda labels: bytes_of(labels=labels),
            ((3, 4), [np.array([0.0, 0.2]), [3, 4]]),
            ((5, 6), [np.array([0.0, 0.2]), [5, 6]]),
        ),
        "resize.photo": Row(
            lambda photo: images.resize(photo, 2).shape,
            (np.zeros((4, 6, 3), np.uint8), (2, 3, 3)),
            (np.zeros((6, 4, 3), np.uint8), (3, 2, 3)),
            (np.zeros((5, 9, 3), np.uint8), (2, 4, 3)),  # 3.6 is nearer to 4
            (np.zeros((8, 5, 3), np.uint8), (3, 2, 3)),  # 3.2 is nearer to 3
        ),
        # at half the size, a triangle of weights 1/4, 3/4, 3/4, 1/4 around each pixel: the fourth is outside
        "resize.short_side": Row(
            lambda short_side: images.resize(STEP, short_side)[:, :, 0].tolist(),
            (2, [[25, 150], [25, 150]]),
            (4, [[0, 0, 175, 175]] * 4),
            (0, Refused(ValueError, "a positive short side")),
        ),
        "center_square.photo": Row(
            lambda photo: images.center_square(photo)[:, :, 0].tolist(),
            (np.arange(8).reshape(2, 4, 1), [[1, 2], [5, 6]]),
            (np.arange(8).reshape(4, 2, 1), [[2, 3], [4, 5]]),
            (np.arange(5).reshape(1, 5, 1), [[2]]),
        ),
        "DataLoader.dataset": Row(lambda dataset: batches(dataset), (5, [[0.0, 1], [2.0, 3], [4.0]]), (2, [[0.0, 1]])),
        "DataLoader.batch_size": Row(
            lambda batch_size: batches(5, batch_size), (2, [[0.0, 1], [2.0, 3], [4.0]]), (3, [[0.0, 1, 2], [3.0, 4]])
        ),
        "DataLoader.rng": Row(batches, (None, [[0.0, 1], [2.0, 3], [4.0]]), (0, shuffled(0, 0)), (3, shuffled(3, 0))),
        "DataLoader.transform": Row(
            batches,
            (None, [[0.0, 1], [2.0, 3], [4.0]]),
            (lambda x, rng: 10 * x, [[0.0, 10], [20.0, 30], [40.0]]),
            (lambda x, rng: [rng.random()] + 0 * x[:1], [[number(0, 0, i)] for i in range(3)]),
        ),
        "DataLoader.prefetch": Row(lambda **s: made_ahead(1 + s.get("prefetch", 2), **s), (2, 3), (0, 1), (5, 6)),
        "Subset.dataset": Row(
            lambda dataset: Subset(dataset, [1])[:][1].tolist(), (Digits(), [2]), (Digits(train=False), [5])
        ),
        "TensorDataset.inputs": Row(
            lambda inputs: TensorDataset(inputs, np.arange(2))[np.array([1])][0].tolist(),
            (np.ones((2, 2)), [[1.0, 1.0]]),
            (np.arange(4.0).reshape(2, 2), [[2.0, 3.0]]),
            (np.ones((3, 2)), Refused(ValueError, "TensorDataset: expected as many inputs as targets, got 3 and 2")),
        ),
        "TensorDataset.targets": Row(
            lambda targets: [len(own := TensorDataset(np.ones(2), targets)), own[0][1]],
            (np.array([5, 6]), [2, 5]),
            (np.array([7.0, 6]), [2, 7.0]),
        ),
        "Subset.indices": Row(
            lambda indices: Subset(Numbers(), indices)[:][1].tolist(),
            ([0, 3], [0, 3]),
            ([3, -1, 3], [3, -1, 3]),
            ([4, -5], [4, -5]),
        ),
        "split.dataset": Row(lambda dataset: parts(dataset), (5, permuted(5, 2, 0)), (7, permuted(7, 2, 0))),
        "split.held_out": Row(parts, *((n, permuted(5, n, 0)) for n in (2, 1, 3, 4))),
        "split.rng": Row(parts, (0, permuted(5, 2, 0)), (1, permuted(5, 2, 1))),
        "Normalize.mean": Row(
            normalised,
            (0.0, np.array([2.0, 4, 2, 4])),
            (1.0, np.array([1.0, 3, 1, 3])),
            ([1.0, 3.0], np.array([1.0, 1, 1, 1])),
            ([[[1.0, 2.0], [3.0, 4.0]]], np.array([1.0, 2, -1, 0])),
        ),
        "Normalize.std": Row(
            normalised,
            (1.0, np.array([2.0, 4, 2, 4])),
            (2.0, np.array([1.0, 2, 1, 2])),
            ([2.0, 4.0], np.array([1.0, 1, 1, 1])),
            ([[[1.0, 2.0], [4.0, 8.0]]], np.array([2.0, 2, 0.5, 0.5])),
        ),
        "RandomCrop.size": Row(
            lambda size: crops(size),
            (3, PIXELS),
            (2, np.array([x[i : i + 2, j : j + 2] for x, (i, j) in zip(PIXELS, PLACES, strict=True)])),
        ),
        "RandomCrop.padding": Row(
            lambda **s: RandomCrop(5, **s)(FRAMED, np.random.default_rng(0)), (0, FRAMED), (1, MOVED)
        ),
        "RandomHorizontalFlip.p": Row(
            lambda **s: RandomHorizontalFlip(**s)(PIXELS, np.random.default_rng(0)),
            (0.5, flipped(0.5)),
            (0.1, flipped(0.1)),
            (0.0, PIXELS),
            (1.0, PIXELS[:, :, ::-1]),
        ),
        "CenterCrop.size": Row(
            lambda size: CenterCrop(size)(PIXELS[:1]).ravel().tolist(),
            (1, [4.0]),
            (2, [0.0, 1, 3, 4]),
            (3, [*range(9)]),
        ),
        "Resize.size": Row(
            lambda size: Resize(size)(FRAMED[:1, 1:4, 1:]).shape,
            (3, (1, 3, 4, 1)),
            (6, (1, 6, 8, 1)),
            ((2, 5), (1, 2, 5, 1)),
        ),
        "ColorJitter.brightness": Row(
            jittered,
            (0.0, TWO),
            (0.1, mixed(0, 0.1, 0)),
            (0.2, mixed(0, 0.2, 0)),
            (9.0, np.clip(10 * DRAWS[0] * TWO, 0, 1)),
        ),
        "ColorJitter.contrast": Row(
            jittered, (0.0, TWO), (0.1, mixed(1, 0.1, SHADES.mean())), (0.2, mixed(1, 0.2, SHADES.mean()))
        ),
        "ColorJitter.saturation": Row(jittered, (0.0, TWO), (0.1, mixed(2, 0.1, SHADES)), (0.2, mixed(2, 0.2, SHADES))),
        "RandomErasing.p": Row(erased, (0.5, [0.5, 0.0, 0.3]), (0.2, [0.2, 0.0, 0.3]), (0.0, [0.0, 0.0, 0.0])),
        "RandomErasing.scale": Row(
            erased, ((0.02, 0.33), [0.5, 0.0, 0.3]), ((0.2, 0.3), [0.5, 0.2, 0.3]), ((0.1, 0.1), [0.5, 0.1, 0.1])
        ),
        "RandomAffine.degrees": Row(moved, (0.0, [0, 0, 4, 4]), (30.0, [-2, 2, 3, 4]), (180.0, [-4, 4, -4, 4])),
        "RandomAffine.translate": Row(moved, (0.0, [0, 0, 4, 4]), (0.1, [-2, 2, 2, 6]), ((0.2, 0.0), [0, 0, 0, 8])),
        "RandomAffine.scale": Row(moved, ((1.0, 1.0), [0, 0, 4, 4]), ((0.5, 2.0), [0, 0, 2, 8])),
        "Compose.transforms": Row(
            lambda transforms: counted(*transforms),
            ([lambda x: x + 1, lambda x: 3 * x], [6.0]),
            ([lambda x: 3 * x, lambda x: x + 1], [4.0]),
            ([], [1.0]),
        ),
    }
)


def test_no_batch_and_no_epoch_is_the_256th_again():
    """Orders and draws of far places, by the formula; and all of 300 batches come."""
    loader = DataLoader(Numbers(300), 1, rng=4, transform=lambda x, rng: [rng.random()] + 0 * x, prefetch=0)
    assert len(loader) == 300
    drawn = [images.item() for images, _ in loader]
    assert drawn == [number(4, 0, i) for i in range(300)]
    assert len(set(drawn)) == 300
    for epoch in (256, 257, 70_000):
        loader = DataLoader(Numbers(), 2, rng=4)
        loader.load_state_dict({"seed": 4, "epoch": epoch, "batch": 0})
        assert [images.tolist() for images, _ in loader] == shuffled(4, epoch)


def test_every_setting_has_a_row():
    assert missing(data, ROWS) == []


@pytest.mark.parametrize("name", ROWS)
def test_a_setting_has_its_effect(name):
    check(data, name, ROWS[name])


def test_a_split_draws_from_the_generator_itself():
    rng, same = (np.random.Generator(np.random.MT19937(3)) for _ in range(2))
    for n in (5, 7):
        order = same.permutation(n).tolist()
        assert parts(n, 2, rng) == [sorted(order[2:]), sorted(order[:2])]
