"""Checks of chapter 17, CIFAR-10 to the letter."""

import numpy as np


def check_learning_rate(work):
    """Count how many of the two milestones the iteration has reached: the rate changes at 32,000 and at 48,000, in the
    iteration of this number itself.
    """
    expected = {0: 0.1, 31_999: 0.1, 32_000: 0.01, 47_999: 0.01, 48_000: 0.001, 63_999: 0.001}
    for iteration, rate in expected.items():
        got = work.learning_rate(iteration)
        assert np.isclose(got, rate, rtol=1e-9), f"iteration {iteration:,}: expected the rate {rate}, got {got}"


def check_one_view(work):
    """The order matters: zeros are added after the mean image was subtracted, so the border is exactly zero. The mirror
    image is made of the window, after it was cut out.
    """
    rng = np.random.default_rng(0)
    image, mean = rng.random((2, 32, 32, 3)).astype("float32")
    before = image.copy()
    for top, left, mirrored in ((4, 4, False), (4, 4, True), (0, 8, False), (7, 2, True), (8, 0, True)):
        got = work.one_view(image, mean, top, left, mirrored)
        case = f"top {top}, left {left}, mirrored {mirrored}"
        assert got.shape == (32, 32, 3), f"{case}: expected shape (32, 32, 3), got {got.shape}"
        expected = np.zeros((32, 32, 3), "float32")  # pixel by pixel, as the docstring describes it
        for y in range(32):
            for x in range(32):
                row, column = y + top - 4, x + left - 4
                if 0 <= row < 32 and 0 <= column < 32:
                    expected[y, 31 - x if mirrored else x] = image[row, column] - mean[row, column]
        border = expected == 0
        wrong = np.count_nonzero(got[border])
        assert not wrong, f"{case}: {wrong} of {border.sum()} numbers beyond the border of the image are not zero"
        assert np.allclose(got, expected, atol=1e-7), f"{case}: {int((got != expected).sum()):,} numbers are wrong"
    assert np.array_equal(image, before), "the array image was changed"


def check_epoch_order(work):
    """The spawn_key is a tuple. A SeedSequence can be passed to np.random.default_rng. Make a new generator in each
    call, so that no call depends on another.
    """
    np.random.seed(0)  # noqa: NPY002  to see whether it is used
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    orders = {(seed, epoch): np.asarray(work.epoch_order(500, seed, epoch)) for seed in range(3) for epoch in range(3)}
    assert np.array_equal(np.random.get_state()[1], state), "NumPy's global generator was used"  # noqa: NPY002
    for place, order in orders.items():
        assert np.array_equal(np.sort(order), np.arange(500)), (
            f"(seed, epoch) {place}: the order is not a permutation of all images"
        )
        assert not np.array_equal(order, np.arange(500)), f"(seed, epoch) {place}: the order is not shuffled"
        again = work.epoch_order(500, *place)
        assert np.array_equal(again, order), f"(seed, epoch) {place}: a second call gives another order"
    places = list(orders)
    for i, first in enumerate(places):
        for second in places[:i]:
            same = np.array_equal(orders[first], orders[second])
            assert not same, f"(seed, epoch) {second} and {first} have the same order"
