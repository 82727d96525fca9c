"""Subset and split."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from minigrad.data import DataLoader, Digits, Subset, split, transforms


def test_a_subset_gives_its_images_in_its_order():
    digits = Digits()
    indices = np.array([5, 2, -1, 2])
    subset = Subset(digits, indices)
    indices[:] = 0  # it has a copy
    wanted = [5, 2, len(digits) - 1, 2]
    assert len(subset) == 4
    assert subset.classes == digits.classes
    for index in (slice(None), np.arange(4), [0, 1, 2, 3]):
        images, labels = subset[index]
        assert_array_equal(images, digits.images[wanted], strict=True)
        assert_array_equal(labels, digits.labels[wanted], strict=True)
    image, label = subset[1]
    assert_array_equal(image, digits.images[2], strict=True)
    assert label == digits.labels[2]
    assert_array_equal(Subset(subset, [3, 0])[:][1], digits.labels[[2, 5]], strict=True)
    with pytest.raises(IndexError):
        subset[4]


def test_a_subset_works_with_loader_and_normalize():
    subset = Subset(Digits(), range(100, 110))
    normalize = transforms.Normalize.per_pixel(subset)
    (images, labels), (rest, _) = DataLoader(subset, 6, transform=normalize)
    assert (images.shape, rest.shape) == ((6, 8, 8, 1), (4, 8, 8, 1))
    assert_array_equal(labels, Digits().labels[100:106], strict=True)
    assert abs(np.concatenate([images, rest]).mean(0)).max() < 1e-6


@pytest.mark.parametrize("indices", [[0.5], [True, False], [[1]], 3, np.zeros(0), [[]]])
def test_wrong_types_of_indices_are_refused(indices):
    with pytest.raises(TypeError, match="Subset: expected one axis of integers"):
        Subset(Digits(), indices)


@pytest.mark.parametrize("indices", [[0, 1437], [-1438, 5]])
def test_indices_out_of_range_are_refused(indices):
    with pytest.raises(IndexError, match=f"of 1437 images, got {min(indices)} to {max(indices)}"):
        Subset(Digits(), indices)


def test_split_is_a_partition_that_depends_on_the_seed_alone():
    digits = Digits()
    training, held_out = split(digits, 144, rng=0)
    assert (len(training), len(held_out)) == (1293, 144)
    assert_array_equal(np.sort(np.concatenate([training.indices, held_out.indices])), np.arange(1437))
    for part, again in zip((training, held_out), split(digits, 144, rng=0), strict=True):
        assert_array_equal(part.indices, again.indices, strict=True)
        assert (np.diff(part.indices) > 0).all()
    other = split(digits, 144, rng=1)[1]
    assert len(np.intersect1d(held_out.indices, other.indices)) < 40  # 14 on average
    assert np.bincount(held_out[:][1], minlength=10).min() > 0


@pytest.mark.parametrize("held_out", [0, 1437, -1, 2000])
def test_split_refuses_an_empty_part(held_out):
    with pytest.raises(
        ValueError,
        match="split: expected (to hold out fewer than all 1437 images|held_out to be an int of at least 1), got",
    ):
        split(Digits(), held_out, rng=0)
