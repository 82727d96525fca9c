"""Sizes past those of a byte and of two: batches of an epoch, epochs, images of a data set, of a batch, and pixels."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given

from minigrad.data import DataLoader, Subset, split
from minigrad.data.transforms import Normalize, RandomCrop, RandomHorizontalFlip
from tests.records.sizes import Sizes
from tests.tools.compare import examples, seeds


class Numbers:
    """A data set in which image i is the number i."""

    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        return np.arange(self.n)[index], np.arange(self.n)[index] % 1009


@pytest.mark.parametrize("prefetch", [0, 300])
@pytest.mark.parametrize(("n", "size"), [(700, 1), (1311, 2), (70_000, 263), (140_001, 70_000)])
def test_an_epoch_of_many_batches_of_a_large_data_set(n, size, prefetch):
    """In order without a seed; each image once with one; each label with its image; the rest after any batch."""
    plain = [images for images, _ in DataLoader(Numbers(n), size, prefetch=prefetch)]
    np.testing.assert_array_equal(np.concatenate(plain), np.arange(n))
    loader = DataLoader(Numbers(n), size, rng=5, prefetch=prefetch)
    batches = list(loader)
    assert [len(images) for images, _ in batches] == [size] * (n // size) + [n % size] * (n % size > 0)
    images, labels = (np.concatenate(part) for part in zip(*batches, strict=True))
    np.testing.assert_array_equal(np.sort(images), np.arange(n))
    np.testing.assert_array_equal(labels, images % 1009)
    for start in {len(batches) // 2, len(batches) - 1}:
        loader.load_state_dict({"seed": 5, "epoch": 0, "batch": start})
        rest = [images for images, _ in loader]
        np.testing.assert_array_equal(np.concatenate(rest), images[start * size :])


def test_no_two_batches_of_far_epochs_share_random_numbers():
    """Neither in their order, nor in what the transform draws."""
    drawn, orders = [], []
    for epoch in (0, 1, 255, 256, 257, 65_535, 65_536, 65_537, 2**32, 2**32 + 1):
        loader = DataLoader(Numbers(600), 2, rng=1, transform=lambda images, rng: images + rng.random())
        loader.load_state_dict({"seed": 1, "epoch": epoch, "batch": 0})
        batches = [images for images, _ in loader]
        drawn += [images[0] % 1 for images in batches]
        orders.append(np.concatenate(batches).astype(int))
        assert loader.epoch == epoch + 1
    assert len(set(drawn)) == len(drawn) == 3000
    for a, b in itertools.combinations(orders, 2):
        assert (a == b).mean() < 0.05


@given(seed=seeds)
@examples(0.4)
def test_every_crop_is_a_window_of_its_image(seed):
    """The pixels of an image are numbered, so the first one inside says where a crop was cut."""
    s = Sizes(seed)
    n, (h, w), p = s.size(400), (s.size(60), s.size(300)), s.some(40)
    n = max(1, min(n, 20_000 // (h * w)))
    size = s.size(min(h, w) + 2 * p)
    images = np.arange(1.0, 1 + n * h * w).reshape(n, h, w, 1)
    crops = RandomCrop(size, padding=p)(images, np.random.default_rng(seed))
    assert crops.shape == (n, size, size, 1)
    padded = np.pad(images, ((0, 0), (p, p), (p, p), (0, 0)))
    for crop, image in zip(crops[..., 0], padded[..., 0], strict=True):
        inside = np.argwhere(crop)
        if len(inside):
            y, x = np.argwhere(image == crop[tuple(inside[0])])[0] - inside[0]
            np.testing.assert_array_equal(crop, image[y : y + size, x : x + size])
        else:
            assert p >= 1


def test_crops_reach_both_ends_of_a_wide_image():
    images = np.broadcast_to(np.arange(200_000, dtype="int32")[:, None], (100, 1, 200_000, 1))
    places = RandomCrop(1)(images, np.random.default_rng(0)).ravel()
    assert abs(places.mean() - 100_000) < 4 * 200_000 / math.sqrt(12 * 100)  # four standard deviations
    assert places.min() < 20_000 < 180_000 < places.max()


@given(seed=seeds)
@examples(0.2)
def test_a_flip_mirrors_whole_images_of_a_large_batch(seed):
    s = Sizes(seed)
    images = np.random.default_rng(seed).random((s.size(1000), s.size(4), s.size(300, 2), s.size(5)))
    flipped = RandomHorizontalFlip()(images, np.random.default_rng(seed))
    mirrored = np.array([(a != b).any() for a, b in zip(images, flipped, strict=True)])
    np.testing.assert_array_equal(flipped[mirrored], images[mirrored][:, :, ::-1])
    n = len(images)
    assert abs(mirrored.sum() - n / 2) <= 4 * math.sqrt(n)  # eight standard deviations


def test_the_mean_image_of_a_data_set_that_is_read_in_parts():
    """Also around an offset, where a sum in float32 would lose the digits."""
    images = (1e4 + np.random.default_rng(0).standard_normal((3456, 2, 3, 1))).astype("float32")

    class Images(Numbers):
        def __getitem__(self, index):
            return images[index], index

    mean = Normalize.per_pixel(Images(3456)).mean
    np.testing.assert_allclose(mean, images.astype("float64").mean(0), rtol=1e-14)


def test_a_subset_of_a_large_data_set():
    indices = np.random.default_rng(0).permutation(200_000)[:150_000]
    subset = Subset(Numbers(200_000), indices)
    np.testing.assert_array_equal(subset[np.arange(149_000, 150_000)][0], indices[149_000:])
    first, second = split(Numbers(200_000), 140_000, rng=0)
    images = np.concatenate([part[np.arange(len(part))][0] for part in (first, second)])
    np.testing.assert_array_equal(np.sort(images), np.arange(200_000))
