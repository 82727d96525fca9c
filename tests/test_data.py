"""The digits and the loader."""

import numpy as np
import pytest

from minigrad.data import DataLoader, Digits


def test_digits():
    train, test = Digits(), Digits(train=False)
    assert (len(train), len(test)) == (1437, 360)
    for digits in (train, test):
        assert digits.images.shape == (len(digits), 8, 8, 1)
        assert digits.images.dtype == np.float32
        assert digits.labels.dtype == np.int64
        assert digits.images.min() == 0.0
        assert digits.images.max() == 1.0
        np.testing.assert_array_equal(np.unique(digits.labels), np.arange(10))
    assert np.bincount(test.labels).min() >= 25
    images, labels = train[np.array([0, 5])]
    assert images.shape == (2, 8, 8, 1)
    assert labels.shape == (2,)
    everything = {image.tobytes() for image in train.images} & {image.tobytes() for image in test.images}
    assert not everything  # no image is in both parts


class Numbers:
    """A data set in which image i is the number i."""

    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        return np.arange(self.n)[index], np.arange(self.n)[index] % 3


def order(loader):
    return [int(i) for images, _ in loader for i in images]


def test_batches_cover_an_epoch_once():
    loader = DataLoader(Numbers(10), 4)
    assert [len(images) for images, _ in loader] == [4, 4, 2]
    assert len(loader) == 3
    assert order(loader) == list(range(10))
    for images, labels in loader:
        np.testing.assert_array_equal(labels, images % 3)


def test_the_order_depends_on_the_seed_alone():
    a, b, c = (DataLoader(Numbers(100), 7, rng=seed) for seed in (1, np.random.default_rng(1), 2))
    first, second = order(a), order(a)
    assert sorted(first) == list(range(100))
    assert first != second
    assert [order(b), order(b)] == [first, second]
    assert order(c) != first


def test_the_transform_sees_batches():
    loader = DataLoader(Numbers(5), 2, transform=lambda images: images * 10)
    assert order(loader) == [0, 10, 20, 30, 40]


def test_what_is_refused():
    with pytest.raises(ValueError, match="DataLoader: expected data and a positive batch size, got 5 and 0"):
        DataLoader(Numbers(5), 0)
    with pytest.raises(ValueError, match="got 0 and 2"):
        DataLoader(Numbers(0), 2)
