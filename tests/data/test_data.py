"""The digits."""

import numpy as np

from minigrad.data import Digits


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
