"""Transforms: every crop is a window of its image, and draws depend on the Generator alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from minigrad.data import Digits, transforms
from minigrad.data.transforms import Compose, Normalize, RandomCrop, RandomHorizontalFlip
from tests.tools.strict import strict


def rng(seed=0):
    return np.random.default_rng(seed)


def pictures(n=6, h=5, w=7, c=3, dtype=np.float32):
    """Images in which no two numbers are equal, and none is zero."""
    return np.arange(1, n * h * w * c + 1, dtype=dtype).reshape(n, h, w, c)


ALL = {
    "normalize": Normalize(0.5, 0.25),
    "crop": RandomCrop(5, padding=2),
    "crop twice": Compose([RandomCrop(5), RandomCrop(5)]),
    "flip": RandomHorizontalFlip(),
    "flip of none": RandomHorizontalFlip(0.0),
    "flip of all": RandomHorizontalFlip(1.0),
    "compose": Compose([Normalize(0.5, 0.25), RandomCrop(5, padding=2), RandomHorizontalFlip()]),
}


@pytest.mark.parametrize("transform", ALL.values(), ids=ALL)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_dtype_is_kept_and_the_images_are_not_touched(transform, dtype):
    images = pictures(dtype=dtype)
    images.flags.writeable = False
    before = images.copy()
    result = transform(images, rng())
    assert result.dtype == dtype
    assert result.flags.c_contiguous
    assert not np.shares_memory(result, images)
    np.testing.assert_array_equal(images, before, strict=True)


@pytest.mark.parametrize("transform", ALL.values(), ids=ALL)
def test_results_do_not_depend_on_the_memory_layout(transform):
    images = pictures()
    layouts = [np.asfortranarray(images), images[:, :, ::-1].copy()[:, :, ::-1], np.repeat(images, 2, axis=0)[::2]]
    expected = transform(images, rng(5))
    for layout in layouts:
        np.testing.assert_array_equal(transform(layout, rng(5)), expected, strict=True)


@pytest.mark.parametrize("transform", ALL.values(), ids=ALL)
def test_random_numbers_do_not_depend_on_the_images(transform):
    a, b = rng(1), rng(1)
    transform(pictures(), a)
    transform(np.full((6, 5, 7, 3), np.inf, np.float32), b)
    assert a.bit_generator.state == b.bit_generator.state


@pytest.mark.parametrize("transform", ALL.values(), ids=ALL)
def test_a_batch_may_be_empty_or_a_single_image(transform):
    assert transform(pictures(n=1), rng()).shape[0] == 1
    assert transform(pictures()[:0], rng()).shape[0] == 0


# Normalize -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (3,), (1, 1, 3), (5, 7, 3)])
def test_normalize_by_scalars_channels_and_pixels(shape):
    images, mean, std = pictures(), rng(1).normal(size=shape), rng(2).uniform(0.5, 2, size=shape)
    expected = (images.astype(np.float64) - mean) / std
    np.testing.assert_allclose(Normalize(mean, std)(images), expected.astype(np.float32), rtol=1e-6, strict=True)


def test_normalize_takes_one_axis_for_channels():
    images = pictures(h=3, w=3, c=3)
    result = Normalize([1.0, 2.0, 3.0], 1)(images)
    for channel in range(3):
        np.testing.assert_array_equal(result[..., channel], images[..., channel] - (channel + 1))


def test_normalize_keeps_numbers_of_its_own():
    mean, std = np.array([1.0, 2.0]), np.array([2.0, 4.0])
    normalize = Normalize(mean, std)
    mean += 5.0
    std *= 3.0
    np.testing.assert_array_equal(normalize(np.full((1, 1, 1, 2), 5.0)).ravel(), [2.0, 0.75])


def test_normalize_with_numpy_scalars_keeps_float32():
    images = pictures()
    mean, std = images.mean(0, dtype=np.float64), images.std(dtype=np.float64)  # NumPy would promote to float64
    result = Normalize(mean, std)(images)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result.mean(0, dtype=np.float64), 0, atol=1e-6)


class Pictures:
    """A data set that says how much of it was asked for at a time, and gives arrays of any module."""

    def __init__(self, images, asarray=np.asarray):
        self.images, self.asarray, self.asked = images, asarray, []

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        self.asked.append(len(index))
        return self.asarray(self.images[index]), self.asarray(np.zeros(len(index), np.int64))


@pytest.mark.parametrize("asarray", [np.asarray, strict.asarray], ids=["numpy", "strict"])
@pytest.mark.parametrize("n", [1, 999, 1000, 1001, 2500])
def test_the_mean_of_a_data_set_is_taken_in_float64_over_every_image_once(n, asarray):
    images = (rng().random((n, 2, 3, 1)) + 1000).astype(np.float32)  # in float32 the sum would lose its last digits
    dataset = Pictures(images, asarray)
    normalize = Normalize.per_pixel(dataset)
    assert sum(dataset.asked) == n
    assert max(dataset.asked) <= 1000
    np.testing.assert_allclose(normalize.mean, images.astype(np.float64).mean(0), rtol=1e-14, strict=True)
    np.testing.assert_array_equal(normalize(images), images - images.astype(np.float64).mean(0).astype(np.float32))


def test_per_pixel_of_a_subclass_is_one():
    class Mine(Normalize):
        pass

    assert type(Mine.per_pixel(Digits())) is Mine


# RandomCrop ----------------------------------------------------------------------------------


@given(
    n=st.integers(0, 5),
    h=st.integers(1, 9),
    w=st.integers(1, 9),
    c=st.integers(1, 4),
    padding=st.integers(0, 4),
    seed=st.integers(0, 2**32),
    data=st.data(),
)
def test_each_crop_is_a_window_of_its_own_padded_image(n, h, w, c, padding, seed, data):
    size = data.draw(st.integers(1, min(h, w) + 2 * padding))
    images = pictures(n, h, w, c)
    crops = RandomCrop(size, padding=padding)(images, rng(seed))
    assert crops.shape == (n, size, size, c)
    for image, crop in zip(images, crops, strict=True):
        padded = np.zeros((h + 2 * padding, w + 2 * padding, c), np.float32)
        padded[padding : padding + h, padding : padding + w] = image
        places = [
            (y, x)
            for y in range(h + 2 * padding - size + 1)
            for x in range(w + 2 * padding - size + 1)
            if np.array_equal(padded[y : y + size, x : x + size], crop)
        ]
        assert places


def places_of(crops, size, padding):
    """Where the crops of an image that counts its pixels from 1 were taken (h and w are `size`)."""
    found = []
    for crop in crops[..., 0]:
        (y, *_), (x, *_) = np.nonzero(crop)
        top, left = divmod(int(crop[y, x]) - 1, size)
        found.append((top - y + padding, left - x + padding))
    return np.array(found)


def test_all_places_are_equally_likely_and_rows_independent_of_columns():
    size, padding = 8, 4
    images = np.broadcast_to(np.arange(1.0, size * size + 1).reshape(size, size, 1), (40_500, size, size, 1))
    crops = RandomCrop(size, padding=padding)(images, rng(11))
    places = places_of(crops, size, padding)
    counts = np.bincount(places @ [9, 1], minlength=81)
    assert counts.shape == (81,)
    assert stats.chisquare(counts).pvalue > 1e-3  # also catches rows and columns that are drawn alike
    order = np.bincount((places[:-1, 0] * 9 + places[1:, 0]), minlength=81)
    assert stats.chisquare(order).pvalue > 1e-3  # neighbours in the batch are independent


def test_padding_after_normalising_is_the_mean():
    images = np.full((200, 8, 8, 1), 7.0, np.float32)
    crops = Compose([Normalize(7.0, 2.0), RandomCrop(8, padding=4)])(images, rng())
    assert not crops.any()  # image and border are both the mean
    crops = Compose([Normalize(5.0, 2.0), RandomCrop(8, padding=4)])(images, rng())
    assert set(np.unique(crops)) == {0.0, 1.0}


def test_a_crop_with_a_single_place_is_the_image():
    images = pictures(h=5, w=5)
    np.testing.assert_array_equal(RandomCrop(5)(images, rng()), images, strict=True)
    np.testing.assert_array_equal(RandomCrop(9, padding=2)(images, rng())[:, 2:-2, 2:-2], images, strict=True)


# RandomHorizontalFlip ------------------------------------------------------------------------


def test_flips_are_per_image_left_to_right_and_of_the_right_share():
    images = pictures(n=2000, h=2, w=3, c=2)
    result = RandomHorizontalFlip(0.3)(images, rng(3))
    same = (result == images).all((1, 2, 3))
    swapped = (result == images[:, :, ::-1]).all((1, 2, 3))
    assert (same ^ swapped).all()
    assert stats.binomtest(int(swapped.sum()), 2000, 0.3).pvalue > 1e-3
    assert stats.binomtest(int((swapped[1:] & swapped[:-1]).sum()), 1999, 0.09).pvalue > 1e-3


@pytest.mark.parametrize(("p", "step"), [(0, 1), (1, -1)])
def test_a_flip_with_probability_0_or_1_is_certain(p, step):
    images = pictures(n=50)
    np.testing.assert_array_equal(RandomHorizontalFlip(p)(images, rng()), images[:, :, ::step], strict=True)


# Compose -------------------------------------------------------------------------------------


def test_compose_passes_images_in_order_and_one_generator():
    images, seen = pictures(), []

    def note(x, generator):
        seen.append((float(x.flat[0]), generator))
        return x * 2

    generator = rng()
    result = Compose([note, note, Normalize(0.0, 1.0), note])(images, generator)
    np.testing.assert_array_equal(result, images * 8, strict=True)
    assert seen == [(1.0, generator), (2.0, generator), (4.0, generator)]


def test_a_composition_draws_as_its_parts_do():
    images, generator = pictures(h=8, w=8), rng(4)
    crop, flip = RandomCrop(8, padding=4), RandomHorizontalFlip()
    expected = flip(crop(images, generator), generator)
    np.testing.assert_array_equal(Compose([crop, flip])(images, rng(4)), expected, strict=True)
    assert (Compose([flip, crop])(images, rng(4)) != expected).any()


def test_a_composition_without_draws_can_be_called_alone():
    images = pictures()
    np.testing.assert_array_equal(Compose([Normalize(1.0, 2.0), Normalize(0.0, 0.5)])(images), images - 1)
    assert Compose([])(images) is images


def test_a_list_that_grows_later_does_not_change_a_composition():
    parts = [Normalize(0.0, 0.5)]
    double = Compose(parts)
    parts.append(Normalize(0.0, 0.5))
    np.testing.assert_array_equal(double(pictures()), pictures() * 2)


# What is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Normalize(np.zeros((1, 5, 7, 3)), 1), r"Normalize: expected mean .* got an array of shape \(1, 5, 7"),
        (lambda: Normalize(0, np.ones((7, 3))), r"Normalize: expected std .* got an array of shape \(7, 3\)"),
        (lambda: Normalize(0, [1.0, 0.0]), "Normalize: .*positive finite standard deviations"),
        (lambda: Normalize(0, -1), "Normalize: .*positive finite standard deviations"),
        (lambda: Normalize(np.nan, 1), "Normalize: expected finite means"),
        (lambda: Normalize(0, np.inf), "Normalize: expected finite means"),
        (lambda: Normalize([0.0, 0.0], 1)(pictures()), r"Normalize: .* \(2,\), .* images of shape \(6, 5, 7, 3\)"),
        (lambda: Normalize(np.zeros((7, 5, 3)), 1)(pictures()), r"Normalize: .* shape \(7, 5, 3\), which does not fit"),
        (lambda: RandomCrop(0), "RandomCrop: expected size .* at least 1, got 0"),
        (lambda: RandomCrop(3, padding=-1), "RandomCrop: expected padding .* at least 0, got -1"),
        (lambda: RandomCrop(6)(pictures(), rng()), r"RandomCrop: images of shape \(6, 5, 7, 3\).*size 6"),
        (lambda: RandomCrop(3)(pictures()[0], rng()), r"RandomCrop: expected images .* got \(5, 7, 3\)"),
        (lambda: RandomHorizontalFlip(1.5), "RandomHorizontalFlip: expected a number with 0 <= p <= 1, got 1.5"),
        (lambda: RandomHorizontalFlip(np.nan), "RandomHorizontalFlip: expected a number with 0 <= p <= 1, got nan"),
        (lambda: RandomHorizontalFlip()(pictures()[0], rng()), "RandomHorizontalFlip: expected images"),
    ],
)
def test_wrong_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_wrong_types_are_refused():
    with pytest.raises(TypeError, match="Normalize: expected images of a floating dtype, got uint8"):
        Normalize(0.5, 1)(np.zeros((1, 2, 2, 1), np.uint8))
    for transform in (RandomCrop(3), RandomHorizontalFlip(), Compose([RandomCrop(3)])):
        for generator in (None, 0, np.random.RandomState(0)):
            with pytest.raises(TypeError, match="expected rng to be a numpy Generator"):
                transform(pictures(), generator)


def test_transforms_are_a_module_of_minigrad_data():
    assert transforms.Normalize is Normalize
