"""The digits; how data sets and loaders are shown."""

import numpy as np

from minigrad import data
from minigrad.data import Digits
from tests.data.settings_of_files import Tiny10, TinyMNIST, write


def test_digits_have_fixed_parts_and_values_from_0_to_1():
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
    """A data set of a user, without a text of its own."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return index, index


def center(images, rng):
    return images[:, 2:-2, 2:-2]


def test_data_sets_and_loaders_are_shown_as_they_are_written_with_the_shapes_of_their_images(tmp_path):
    digits = data.Digits(train=False)
    assert repr(digits) == "Digits(train=False)  # images (360, 8, 8, 1)"
    assert repr(data.Subset(digits, [3, 1])) == "Subset(Digits(train=False), [3, 1])"
    assert repr(data.Subset(digits, range(9))) == "Subset(Digits(train=False), <int64 (9,)>)"
    for kind, shape in ((Tiny10, (2, 32, 32, 3)), (TinyMNIST, (2, 28, 28, 1))):
        write(kind, tmp_path, [1, 2], [3])
        assert repr(kind(tmp_path)) == f"{kind.__name__}(train=True)  # images {shape}"
        assert repr(kind(tmp_path, train=False)).endswith(f"(train=False)  # images {(1, *shape[1:])}")
    loader = data.DataLoader(digits, 64, rng=7, transform=data.transforms.RandomCrop(8, padding=1), prefetch=0)
    crop = "transform=RandomCrop(8, padding=1), prefetch=0"
    assert repr(loader) == f"DataLoader(Digits(train=False), 64, rng=7, {crop})  # 6 batches"
    assert repr(data.DataLoader(digits, 360)) == "DataLoader(Digits(train=False), 360)  # 1 batch"
    assert repr(data.DataLoader(Numbers(), 2)) == "DataLoader(Numbers(...), 2)  # 1 batch"
    assert "360, transform=center)" in repr(data.DataLoader(digits, 360, transform=center))
