"""Transforms: every crop is a window of its image, and draws depend on the Generator alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from scipy import ndimage, stats

from minigrad.data import Digits, transforms
from minigrad.data.images import center_square
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
from tests.tools.strict import strict


def rng(seed=0):
    return np.random.default_rng(seed)


def pictures(n=6, h=5, w=7, c=3, dtype=np.float32):
    """Images in which no two numbers are equal, and none is zero."""
    return np.arange(1, n * h * w * c + 1, dtype=dtype).reshape(n, h, w, c)


def colours(n=6, h=5, w=7, c=3, dtype=np.float32):
    """The same as numbers from 0 to 1, each of which float16 holds."""
    return pictures(n, h, w, c, dtype) / dtype(1024)


ALL = {
    "normalize": Normalize(0.5, 0.25),
    "crop": RandomCrop(5, padding=2),
    "crop twice": Compose([RandomCrop(5), RandomCrop(5)]),
    "flip": RandomHorizontalFlip(),
    "flip of none": RandomHorizontalFlip(0.0),
    "flip of all": RandomHorizontalFlip(1.0),
    "compose": Compose([Normalize(0.5, 0.25), RandomCrop(5, padding=2), RandomHorizontalFlip()]),
    "float": ToFloat(),
    "jitter": ColorJitter(0.4, 0.4, 0.4),
    "erasing": RandomErasing(0.9),
    "center": CenterCrop(3),
    "smaller": Resize((3, 4)),
    "larger": Resize(9),
    "of one size": Resize(5),
    "of both sizes": Resize((5, 7)),
    "of the height": Resize((5, 4)),
    "of the width": Resize((4, 7)),
    "normalize by nothing": Normalize(0.0, 1.0),
    "no jitter": ColorJitter(),
    "no erasing": RandomErasing(0.0),
    "no motion": RandomAffine(0),
    "affine": RandomAffine(30, translate=0.2, scale=(0.8, 1.2)),
}


@pytest.mark.parametrize("transform", ALL.values(), ids=ALL)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_dtype_is_kept_and_the_images_are_not_touched(transform, dtype):
    images = colours(dtype=dtype)
    images.flags.writeable = False
    before = images.copy()
    result = transform(images, rng())
    assert result.dtype == dtype
    assert result.flags.c_contiguous
    assert not np.shares_memory(result, images)
    np.testing.assert_array_equal(images, before, strict=True)


@pytest.mark.parametrize("transform", ALL.values(), ids=ALL)
def test_results_do_not_depend_on_the_memory_layout(transform):
    images = rng(9).random((6, 5, 7, 3)).astype(np.float32)
    layouts = [np.asfortranarray(images), images[:, :, ::-1].copy()[:, :, ::-1], np.repeat(images, 2, axis=0)[::2]]
    expected = transform(images, rng(5))
    for layout in layouts:
        np.testing.assert_array_equal(transform(layout, rng(5)), expected, strict=True)


@pytest.mark.parametrize("transform", ALL.values(), ids=ALL)
def test_random_numbers_do_not_depend_on_the_images(transform):
    a, b = rng(1), rng(1)
    transform(colours(), a)
    transform(np.zeros((6, 5, 7, 3), np.float32), b)
    assert a.bit_generator.state == b.bit_generator.state


@pytest.mark.parametrize("transform", ALL.values(), ids=ALL)
def test_a_batch_may_be_empty_or_a_single_image(transform):
    assert transform(colours(n=1), rng()).shape[0] == 1
    assert transform(colours()[:0], rng()).shape[0] == 0


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


# Colours -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int8", "int64"])
def test_integers_become_shares_of_the_largest(dtype):
    images = np.array([0, 1, 77, np.iinfo(dtype).max], dtype).reshape(1, 2, 2, 1)
    expected = (images / np.iinfo(dtype).max).astype(np.float32)
    np.testing.assert_allclose(ToFloat()(images), expected, rtol=1e-7, strict=True)
    double = expected.astype(np.float64)
    np.testing.assert_array_equal(ToFloat()(double), double, strict=True)


INTEGERS = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"]


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("name", [name for name in ALL if not name.startswith(("normalize", "compose", "float"))])
def test_integers_of_every_size_are_computed_as_floats_are(name, dtype):
    """To one level, or to the digits of float64; black and white stay what they are, and nothing overflows."""
    top = np.iinfo(dtype).max
    shares = rng(2).random((6, 5, 7, 3)).astype(np.longdouble)
    images = (shares * top).astype(dtype)
    images[:, ::2, ::3], images[:, 1::2, 1::3] = 0, top
    given = images.copy()
    got = ALL[name](images, rng(4))
    expected = ALL[name](images / np.longdouble(top), rng(4)) * top
    atol = max(1.0, 8 * np.finfo(np.float64).eps * top)
    np.testing.assert_allclose(got.astype(np.longdouble), expected, rtol=0, atol=atol)
    assert got.dtype == dtype
    np.testing.assert_array_equal(images, given, strict=True)


#: Transforms with settings by which nothing changes, in images of 5x7 pixels or, of crops, of 5x5.
SAME = [Resize((5, 7)), Resize(5), RandomAffine(0), ColorJitter(), CenterCrop(5), RandomErasing(0.0)]
SAME += [RandomCrop(5), RandomHorizontalFlip(0.0)]


@pytest.mark.parametrize("dtype", [*INTEGERS, "float16", "float32", "float64", "longdouble"])
@pytest.mark.parametrize("same", SAME, ids=repr)
def test_what_changes_no_pixel_changes_none_of_any_dtype(same, dtype):
    """And the images that it returns are new ones, though they are equal."""
    kind = np.dtype(dtype)
    top = np.iinfo(dtype).max if kind.kind in "iu" else 1
    images = np.minimum((rng(2).random((2, 5, 7, 3)) * float(top)), float(top) * 0.99).astype(dtype)
    images[:, 0], images[:, 1], images[:, 2] = 0, top, top // 2
    images = images[:, :, :5] if isinstance(same, CenterCrop | RandomCrop) else images
    got = same(images, rng())
    assert got.dtype == dtype
    assert not np.shares_memory(got, images)
    assert got.flags.writeable
    digits = 0.0 if kind.itemsize < 8 or kind.kind == "f" else 2 * np.finfo(np.float64).eps * top
    np.testing.assert_allclose(got.astype(np.longdouble), images.astype(np.longdouble), rtol=0, atol=digits)
    np.testing.assert_array_equal(got[:, :2], images[:, :2])


class Fixed:
    """A Generator whose uniform numbers have a given place between their bounds."""

    def __new__(cls, *shares):
        made = np.random.Generator(np.random.PCG64(0))
        given = iter(shares)

        class Given(np.random.Generator):
            def uniform(self, low=0.0, high=1.0, size=None):
                return np.full(size, low + (high - low) * next(given))

        return Given(made.bit_generator)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("setting", ["brightness", "contrast", "saturation"])
@pytest.mark.parametrize("amount", [0.5, 1.0, 2.0])
def test_colours_are_those_of_pillow(setting, share, amount):
    """For bytes, which Pillow rounds down, and its grey values before they are multiplied by 1 - factor."""
    images = rng().integers(0, 256, (2, 6, 5, 3), np.uint8)
    factor = max(0, 1 - amount) + share * (1 + amount - max(0, 1 - amount))
    at = [share if name == setting else 0.5 for name in ("brightness", "contrast", "saturation")]
    got = ColorJitter(**{setting: amount})(images, Fixed(*at))
    enhance = {"brightness": "Brightness", "contrast": "Contrast", "saturation": "Color"}[setting]
    for image, result in zip(images, got, strict=True):
        expected = np.asarray(getattr(ImageEnhance, enhance)(Image.fromarray(image)).enhance(factor))
        atol = 1 + abs(1 - factor) * (setting != "brightness")
        np.testing.assert_allclose(result.astype(int), expected.astype(int), rtol=0, atol=atol)
    floats = ColorJitter(**{setting: amount})(ToFloat()(images), Fixed(*at))
    np.testing.assert_allclose(floats, got / np.float32(255), rtol=0, atol=0.5001 / 255, strict=True)


def test_the_changes_of_colour_follow_one_another():
    """Each result is clipped before the next; each image has factors of its own."""
    images, same = rng(1).random((50, 5, 7, 3)).astype(np.float32), rng(7)
    got = ColorJitter(0.9, 0.8, 0.7)(images, rng(7))
    x = images.astype(np.float64)
    for a, y in (
        (0.9, lambda x: 0 * x),
        (0.8, lambda x: grey(x).mean((1, 2, 3), keepdims=True)),
        (0.7, lambda x: grey(x)),
    ):
        f = same.uniform(1 - a, 1 + a, (50, 1, 1, 1))
        x = np.clip(f * x + (1 - f) * y(x), 0, 1)
    np.testing.assert_allclose(got, x, rtol=0, atol=1e-6)
    assert (got == 1).any()
    np.testing.assert_array_equal(ColorJitter()(images, rng()), images, strict=True)
    one = images[..., :1]
    np.testing.assert_allclose(ColorJitter(saturation=0.7)(one, rng()), one, rtol=3e-7, strict=True)  # grey already


def grey(x):
    return (x * [0.299, 0.587, 0.114]).sum(-1, keepdims=True)


def test_rectangles_are_erased_as_the_paper_says():
    n, h, w, same = 3000, 12, 9, rng(3)
    got = RandomErasing(0.7, scale=(0.1, 0.4))(pictures(n, h, w, 2), rng(3))
    chosen, share = same.random(n) < 0.7, same.uniform(0.1, 0.4, n)
    ratio = np.exp(same.uniform(np.log(0.3), np.log(1 / 0.3), n))
    places = same.random((n, 2))
    for i, image in enumerate(pictures(n, h, w, 2)):
        height, width = (
            min(h, round(np.sqrt(share[i] * h * w * ratio[i]))),
            min(w, round(np.sqrt(share[i] * h * w / ratio[i]))),
        )
        top, left = int(places[i, 0] * (h - height + 1)), int(places[i, 1] * (w - width + 1))
        if chosen[i]:
            image[top : top + height, left : left + width] = 0
        np.testing.assert_array_equal(got[i], image)
    erased = (got == 0).all(-1)
    assert abs(erased.any((1, 2)).mean() - 0.7) < 8 * np.sqrt(0.7 * 0.3 / n)
    for edge in (erased[:, 0], erased[:, -1], erased[:, :, 0], erased[:, :, -1]):
        assert edge.any()


# Places --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("h", "w"), [(6, 6), (5, 8), (8, 5), (4, 4), (9, 7)])
def test_the_middle_is_cropped(h, w):
    images = pictures(3, h, w, 2)
    for size in range(1, min(h, w) + 1):
        top, left = (h - size) // 2, (w - size) // 2
        np.testing.assert_array_equal(
            CenterCrop(size)(images), images[:, top : top + size, left : left + size], strict=True
        )
    for image, crop in zip(images, CenterCrop(min(h, w))(images), strict=True):
        np.testing.assert_array_equal(crop, center_square(image), strict=True)


@pytest.mark.parametrize("size", [(32, 32), (20, 20), (7, 40), (1, 1), (64, 3), (100, 65)])
@pytest.mark.parametrize(("h", "w"), [(32, 32), (8, 8), (13, 29), (5, 1), (1, 60)])
def test_images_are_scaled_as_pillow_scales_them(h, w, size):
    """To float32's rounding; bytes, whose weights Pillow rounds, to one level."""
    bytes_ = rng().integers(0, 256, (2, h, w, 3), np.uint8)
    floats = rng(1).random((2, h, w, 3)).astype(np.float32)
    resize, swapped = Resize(size), size[::-1]
    for image, got in zip(bytes_, resize(bytes_), strict=True):
        expected = np.asarray(Image.fromarray(image).resize(swapped, Image.Resampling.BILINEAR))
        np.testing.assert_allclose(got.astype(int), expected.astype(int), rtol=0, atol=1)
    for image, got in zip(floats, resize(floats), strict=True):
        for c in range(3):
            expected = np.asarray(Image.fromarray(image[:, :, c]).resize(swapped, Image.Resampling.BILINEAR))
            np.testing.assert_allclose(got[:, :, c], expected, rtol=0, atol=4e-7, strict=True)


def test_one_size_is_that_of_the_short_side():
    for (h, w), size, expected in [
        ((5, 7), 10, (10, 14)),
        ((7, 5), 3, (4, 3)),
        ((6, 6), 4, (4, 4)),
        ((300, 451), 224, (224, 337)),
    ]:
        assert Resize(size)(np.zeros((1, h, w, 1), np.uint8)).shape == (1, *expected, 1)
    images = colours()
    np.testing.assert_array_equal(Resize((5, 7))(images), images, strict=True)  # its own size


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.uint8])
@pytest.mark.parametrize(
    ("degrees", "translate", "scale"), [(50, 0.3, (0.5, 1.7)), (180, 1.0, (0.2, 3.0)), (0, 0.5, (1, 1))]
)
def test_images_are_moved_as_scipy_moves_them(degrees, translate, scale, dtype):
    images = (255 * rng().random((7, 9, 12, 2))).astype(dtype)
    got = RandomAffine(degrees, translate=translate, scale=scale)(images, rng(3))
    assert got.dtype == dtype
    same, centre = rng(3), np.array([4.0, 5.5])
    angles = np.deg2rad(same.uniform(-degrees, degrees, 7))
    shifts = same.uniform(-translate, translate, (2, 7)).T * (9, 12)
    for image, result, angle, shift, f in zip(images, got, angles, shifts, same.uniform(*scale, 7), strict=True):
        back = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / f
        for c in range(2):
            expected = ndimage.affine_transform(
                image[:, :, c].astype(np.float64), back, centre - back @ (centre + shift), order=1, mode="grid-constant"
            )
            atol = {np.float64: 1e-11, np.float32: 1e-3, np.uint8: 0.501}[dtype]
            np.testing.assert_allclose(result[:, :, c].astype(np.float64), expected, rtol=0, atol=atol, strict=True)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_known_moves(dtype):
    """Nothing, half a turn, a quarter turn of a square, whole pixels; what comes from outside is 0."""
    images = pictures(1, 4, 4, 1, dtype)
    x = images[0, :, :, 0]
    for settings, shares, expected in [
        ({"degrees": 0}, (0.5, 0.5, 0.5), x),
        ({"degrees": 180}, (1.0, 0.5, 0.5), x[::-1, ::-1]),
        ({"degrees": 90}, (0.0, 0.5, 0.5), np.rot90(x)),
        ({"degrees": 90}, (1.0, 0.5, 0.5), np.rot90(x, -1)),
        ({"degrees": 0, "translate": 0.5}, (0.5, 1.0, 0.5), np.pad(x, ((2, 0), (2, 0)))[:4, :4]),
    ]:
        got = RandomAffine(**settings)(images, Fixed(*shares))[0, :, :, 0]
        np.testing.assert_allclose(got, expected, atol=1e-5)
    shrunk = RandomAffine(0, scale=(0.5, 0.5))(np.ones((1, 8, 8, 1)), rng())[0, :, :, 0]
    np.testing.assert_allclose(shrunk[2:6, 2:6], 1.0)
    assert shrunk[0].max() == shrunk[:, -1].max() == 0


@pytest.mark.parametrize(
    "text",
    [
        "ToFloat()",
        "RandomCrop(32, padding=4)",
        "RandomHorizontalFlip(p=0.5)",
        "Normalize(0.5, [0.25, 0.5, 0.25])",
        "ColorJitter(brightness=0.4, contrast=0.0, saturation=0.2)",
        "RandomErasing(p=0.5)",
        "RandomErasing(p=0.2, scale=(0.1, 0.1))",
        "CenterCrop(24)",
        "Resize(32)",
        "Resize((32, 24))",
        "Resize((32, 32))",
        "RandomAffine(15.0, translate=0.1, scale=(0.9, 1.1))",
        "Compose([ToFloat(), RandomHorizontalFlip(p=0.25)])",
    ],
)
def test_a_transform_is_shown_as_it_is_written(text):
    assert repr(eval(text, vars(transforms).copy())) == text


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
        (lambda: ColorJitter(-0.1), "ColorJitter: expected a finite number with brightness >= 0, got -0.1"),
        (lambda: ColorJitter()(pictures(), rng()), "ColorJitter: expected numbers from 0 to 1, got .*before Normalize"),
        (lambda: ColorJitter()(-colours(), rng()), "ColorJitter: expected numbers from 0 to 1, got -"),
        (lambda: ColorJitter()(np.nan * colours(), rng()), "ColorJitter: expected numbers from 0 to 1, got nan"),
        (
            lambda: ColorJitter()(colours(c=2), rng()),
            r"ColorJitter: expected images of 1 or 3 channels, got \(6, 5, 7, 2\)",
        ),
        (lambda: RandomErasing(1.1), "RandomErasing: expected a number with 0 <= p <= 1, got 1.1"),
        (lambda: RandomErasing(scale=(0.1, 1.1)), "RandomErasing: expected a number with 0 <= scale <= 1, got 1.1"),
        (
            lambda: RandomErasing(scale=(0.3, 0.1)),
            r"RandomErasing: expected scale to begin with the smaller number, got \(0.3",
        ),
        (lambda: RandomAffine(-1), "RandomAffine: expected a finite number with degrees >= 0, got -1"),
        (
            lambda: RandomAffine(1, translate=(0.1, 1.1)),
            "RandomAffine: expected a number with 0 <= translate <= 1, got ",
        ),
        (
            lambda: RandomAffine(1, scale=0.9),
            "RandomAffine: expected scale to be the smallest and the largest .*, got 0.9",
        ),
        (lambda: RandomAffine(1, scale=(0, 1)), "RandomAffine: expected positive factors for scale"),
        (
            lambda: CenterCrop(6)(pictures()),
            r"CenterCrop: expected images of at least 6 pixels a side, got \(6, 5, 7, 3\)",
        ),
        (lambda: CenterCrop(3)(pictures()[0]), "CenterCrop: expected images of shape"),
        (lambda: Resize(0), "Resize: expected size to be an int of at least 1, or a pair of them, got 0"),
        (lambda: Resize((3, 2, 1)), "Resize: expected size to be an int of at least 1, or a pair of them"),
        (lambda: Resize(3)(pictures()[0]), "Resize: expected images of shape"),
    ],
)
def test_wrong_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_wrong_types_are_refused():
    with pytest.raises(TypeError, match="Normalize: expected images of a floating dtype, got uint8"):
        Normalize(0.5, 1)(np.zeros((1, 2, 2, 1), np.uint8))
    for transform in (ToFloat(), ColorJitter()):
        with pytest.raises(TypeError, match="expected images of integers or floating-point numbers, got complex64"):
            transform(np.zeros((1, 2, 2, 1), np.complex64), rng())
    for transform in (
        RandomCrop(3),
        RandomHorizontalFlip(),
        Compose([RandomCrop(3)]),
        RandomAffine(3),
        RandomErasing(),
    ):
        for generator in (None, 0, np.random.RandomState(0)):
            with pytest.raises(TypeError, match="expected rng to be a numpy Generator"):
                transform(pictures(), generator)


def test_transforms_are_a_module_of_minigrad_data():
    assert transforms.Normalize is Normalize
