"""Transforms: what happens to a batch of images between the data set and the net.

A transform is called ``transform(images, rng)`` with images (n, h, w, c) and a numpy Generator, and returns new images.
Any such function will do. A transform that draws nothing can be called with the images alone. All random numbers come
from the Generator, so that they can be repeated. Transforms run on the host: images are NumPy arrays here, and are
moved to another device afterwards.

The recipe of "Deep Residual Learning", section 4.2, for CIFAR::

    normalize = Normalize.per_pixel(train)
    augment = Compose([normalize, RandomCrop(32, padding=4), RandomHorizontalFlip()])

Normalize comes before RandomCrop, so that the zeros that RandomCrop pads with stand for the mean.

Images keep their dtype, except in ToFloat. New pixels (RandomAffine, ColorJitter, Resize) are computed in float32 at
least, and rounded for images of integers.

Next: :mod:`minigrad.data.loader`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from minigrad.arguments import MAX, as_int, expect, integer, number, pair, refuse
from minigrad.checked import as_written, checked, named
from minigrad.data.dataset import Dataset
from minigrad.device import to_host, windows
from minigrad.typing import Array, Pair

#: Maps images and a numpy Generator to images. (A string: minigrad imports numpy.random only where it draws.)
Transform: TypeAlias = "Callable[[Array, np.random.Generator], Array]"

#: The number of images that are averaged at a time: a few megabytes.
IMAGES_AT_A_TIME = 1000


class Normalize:
    """Subtract a mean, then divide by a standard deviation.

    Parameters
    ----------
    mean, std : numbers or arrays
        One number, one for each channel (c,), or one for each pixel (h, w, c).

    Raises
    ------
    ValueError
        If a number is not finite, a standard deviation is not positive, or the shapes do not fit the images.
    TypeError
        If the images are of an integer type.

    Examples
    --------
    >>> images = np.array([0.0, 0.5, 1.0], np.float32).reshape(1, 1, 3, 1)
    >>> Normalize(0.5, 0.25)(images).ravel()
    array([-2.,  0.,  2.], dtype=float32)
    """

    __repr__ = as_written

    @named
    def __init__(self, mean: ArrayLike, std: ArrayLike) -> None:
        self.mean, self.std = np.array(mean, np.float64), np.array(std, np.float64)  # not shared with the caller
        for name, value in (("mean", self.mean), ("std", self.std)):
            got = f"an array of shape {value.shape}"
            expect(value.ndim in (0, 1, 3), "Normalize", f"{name} to be a number, (c,) or (h, w, c)", got)
        if not (np.isfinite(self.mean).all() and np.isfinite(self.std).all() and (self.std > 0).all()):
            raise ValueError(
                "Normalize: expected finite means and positive finite standard deviations; where a pixel never changes "
                "its standard deviation is 0: divide all pixels by one number"
            )

    @classmethod
    def per_pixel(cls, dataset: Dataset) -> Self:
        """Return a transform that subtracts the mean image of a data set, as in the paper, and does not divide.

        Parameters
        ----------
        dataset : Dataset
            The training set, even if test images are to be normalised.

        Examples
        --------
        >>> import minigrad as mg
        >>> digits = mg.data.Digits()
        >>> centred = Normalize.per_pixel(digits)(digits.images)
        >>> bool(abs(centred.mean(0)).max() < 1e-6)
        True
        """
        parts = np.split(np.arange(len(dataset)), range(IMAGES_AT_A_TIME, len(dataset), IMAGES_AT_A_TIME))
        sums = (to_host(dataset[part][0]).sum(0, dtype=np.float64) for part in parts)
        return cls(sum(sums) / len(dataset), 1.0)

    def __call__(self, images: Array, rng: object = None) -> Array:
        """Return the normalised images, of the dtype of `images`."""
        if not np.issubdtype(images.dtype, np.floating):
            raise TypeError(f"Normalize: expected images of a floating dtype, got {images.dtype}; use images.astype")
        mean, std = (self._as_image(value, images) for value in (self.mean, self.std))  # (h, w, c)
        return (images - mean) / std

    def _as_image(self, value: Array, images: Array) -> Array:
        """Return `value` stretched to a whole image: NumPy is slow where (c,) meets the short rows of (n, h, w, c)."""
        try:
            return np.broadcast_to(value, images.shape[1:]).astype(images.dtype, order="C")
        except ValueError:
            raise ValueError(
                f"Normalize: mean or std has shape {value.shape}, which does not fit images of shape {images.shape}"
            ) from None


class RandomCrop:
    """Crop each image to a square at a random place.

    All ``(h + 2 padding - size + 1) (w + 2 padding - size + 1)`` places are equally likely.

    Parameters
    ----------
    size : int
        Height and width of the crops.
    padding : int
        The number of zeros that each side of an image is padded with first. After :class:`Normalize` they are the mean.

    Raises
    ------
    ValueError
        If the size is not positive, the padding is negative, or the padded image is smaller than the size.

    Examples
    --------
    >>> images = np.ones((2, 4, 4, 1), np.float32)
    >>> crops = RandomCrop(4, padding=2)(images, np.random.default_rng(0))
    >>> crops.shape, crops.sum((1, 2, 3))
    ((2, 4, 4, 1), array([ 6., 12.], dtype=float32))
    """

    __repr__ = as_written

    @checked
    def __init__(self, size: int, padding: int = 0) -> None:
        self.size = integer("RandomCrop", "size", size, least=1)
        self.padding = integer("RandomCrop", "padding", padding, least=0)

    def __call__(self, images: Array, rng: np.random.Generator) -> Array:
        """Return a crop of each image, (n, size, size, c)."""
        _check("RandomCrop", images, rng)
        size, p = self.size, self.padding
        n, h, w, _ = images.shape
        places = h + 2 * p - size + 1, w + 2 * p - size + 1
        if min(places) < 1:
            raise ValueError(
                f"RandomCrop: images of shape {images.shape} with a padding of {p} are smaller than the size {size}"
            )
        top, left = rng.integers(places, size=(n, 2)).T
        padded = np.pad(images, ((0, 0), (p, p), (p, p), (0, 0)))
        every = windows(padded, (size, size), (1, 1), (1, 1))  # (n, *places, size, size, c), a view
        crops: Array = every[np.arange(n), top, left]  # (n, size, size, c)
        return crops


class RandomHorizontalFlip:
    """Mirror each image left to right with a probability.

    Parameters
    ----------
    p : float
        The probability.

    Raises
    ------
    ValueError
        If the probability is not between 0 and 1.

    Examples
    --------
    >>> images = np.arange(6.0).reshape(2, 1, 3, 1)
    >>> RandomHorizontalFlip()(images, np.random.default_rng(0)).squeeze()
    array([[0., 1., 2.],
           [5., 4., 3.]])
    """

    __repr__ = as_written

    @checked
    def __init__(self, p: float = 0.5) -> None:
        self.p = number("RandomHorizontalFlip", "p", p, most=1)

    def __call__(self, images: Array, rng: np.random.Generator) -> Array:
        """Return the images, some of them mirrored."""
        _check("RandomHorizontalFlip", images, rng)
        flipped = rng.random(len(images)) < self.p  # (n,)
        result = images.copy()
        result[flipped] = images[flipped, :, ::-1]
        return result


class Compose:
    """One transform after another.

    Parameters
    ----------
    transforms : sequence of transforms
        Called in this order, all with the same Generator.

    Examples
    --------
    >>> images = np.zeros((8, 32, 32, 3), np.float32)
    >>> augment = Compose([Normalize(0.5, 0.25), RandomCrop(32, padding=4), RandomHorizontalFlip()])
    >>> augment(images, np.random.default_rng(0)).shape
    (8, 32, 32, 3)
    """

    __repr__ = as_written

    @checked
    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms = list(transforms)

    def __call__(self, images: Array, rng: np.random.Generator | None = None) -> Array:
        """Return what the last transform returns."""
        for transform in self.transforms:
            images = transform(images, rng)  # type: ignore[arg-type]  # transforms that draw nothing take None
        return images


# Colours -------------------------------------------------------------------------------------


class ToFloat:
    """Convert integers to float32 from 0 to 1; uint8 is divided by 255. Floating-point images only get copied.

    Raises
    ------
    TypeError
        If the images are neither of an integer nor of a floating dtype.

    Examples
    --------
    >>> ToFloat()(np.array([0, 51, 255], np.uint8).reshape(1, 1, 3, 1)).ravel()
    array([0. , 0.2, 1. ], dtype=float32)
    """

    __repr__ = as_written

    def __call__(self, images: Array, rng: object = None) -> Array:
        """Return the images as floating-point numbers."""
        top = _top("ToFloat", images)
        return images.copy() if images.dtype.kind == "f" else np.divide(images, top, dtype=np.float32)


class ColorJitter:
    """Change brightness, contrast and saturation of each image by random factors, in this order.

    A factor is drawn uniformly from 1 - a to 1 + a, but not below 0, where a is the setting. Brightness multiplies
    the pixels by its factor f. Contrast and saturation turn x into f x + (1 - f) y: for contrast, y is the mean of the
    grey image; for saturation, y is the grey image, 0.299 red + 0.587 green + 0.114 blue. Each result is clipped.
    These are the definitions of Pillow and torchvision; torchvision also draws the order, and changes the hue.

    Parameters
    ----------
    brightness, contrast, saturation : float
        How much the factors differ from 1.

    Raises
    ------
    ValueError
        If a setting is negative, or the images have other than 1 or 3 channels, or floats outside 0 to 1.

    Examples
    --------
    >>> images = np.full((2, 1, 1, 3), 0.5, np.float32)
    >>> ColorJitter(brightness=0.4)(images, np.random.default_rng(0))[:, 0, 0, 0].round(3)
    array([0.555, 0.408], dtype=float32)
    """

    __repr__ = as_written

    @checked
    def __init__(self, brightness: float = 0.0, contrast: float = 0.0, saturation: float = 0.0) -> None:
        self.brightness = number("ColorJitter", "brightness", brightness)
        self.contrast = number("ColorJitter", "contrast", contrast)
        self.saturation = number("ColorJitter", "saturation", saturation)

    def __call__(self, images: Array, rng: np.random.Generator) -> Array:
        """Return the images in other colours."""
        _check("ColorJitter", images, rng)
        n, *_, c = images.shape
        expect(c in (1, 3), "ColorJitter", "images of 1 or 3 channels", images.shape)
        top, x = _top("ColorJitter", images), _wide(images)
        inside, fix = ((x >= 0) & (x <= top)).all(), "use it before Normalize"
        expect(inside, "ColorJitter", f"numbers from 0 to {top}", f"{x.min(initial=0)} to {x.max(initial=0)}", fix)

        def mix(a: float, x: Array, y: Array) -> Array:
            f = rng.uniform(max(0, 1 - a), 1 + a, (n, 1, 1, 1)).astype(x.dtype)
            mixed: Array = np.clip(f * x + (1 - f) * y, 0, top)
            return mixed

        x = mix(self.brightness, x, np.zeros_like(x))
        x = mix(self.contrast, x, _grey(x).mean((1, 2, 3), keepdims=True))
        return _narrow(mix(self.saturation, x, _grey(x)), images)


class RandomErasing:
    """Set a random rectangle of each image to 0, with a probability.

    The rectangle's share of the image is drawn uniformly, and the logarithm of its height / width uniformly between
    those of 0.3 and 1 / 0.3. Height and width are rounded, and cut to the image. All places are equally likely.

    Parameters
    ----------
    p : float
        The probability.
    scale : (float, float)
        The smallest and the largest share of the image.

    Raises
    ------
    ValueError
        If the probability or a share is not between 0 and 1, or the smallest share is larger than the largest.

    References
    ----------
    Z. Zhong et al., "Random Erasing Data Augmentation", arXiv 1708.04896, 2017, section 3.2.

    Examples
    --------
    >>> images = np.ones((1, 6, 6, 1), np.float32)
    >>> RandomErasing(1.0)(images, np.random.default_rng(5))[0, :, :, 0]
    array([[1., 1., 1., 1., 1., 1.],
           [0., 0., 0., 1., 1., 1.],
           [0., 0., 0., 1., 1., 1.],
           [0., 0., 0., 1., 1., 1.],
           [1., 1., 1., 1., 1., 1.],
           [1., 1., 1., 1., 1., 1.]], dtype=float32)
    """

    __repr__ = as_written

    @checked
    def __init__(self, p: float = 0.5, *, scale: tuple[float, float] = (0.02, 0.33)) -> None:
        self.p = number("RandomErasing", "p", p, most=1)
        self.scale = _interval("RandomErasing", "scale", scale, most=1)

    def __call__(self, images: Array, rng: np.random.Generator) -> Array:
        """Return the images, some of them with a rectangle of zeros."""
        _check("RandomErasing", images, rng)
        n, *sides, _ = images.shape
        chosen, share = rng.random(n) < self.p, rng.uniform(*self.scale, n)
        ratio = np.exp(rng.uniform(np.log(0.3), -np.log(0.3), n))
        size = np.sqrt(share[:, None] * np.prod(sides) * np.stack([ratio, 1 / ratio], 1))  # (n, 2), height and width
        size = np.rint(size)
        start = np.floor(rng.random((n, 2)) * (sides - size + 1))  # not positive for what is larger than the image

        def inside(axis: int) -> Array:
            at = np.arange(sides[axis]) - start[:, axis, None]
            within: Array = (at >= 0) & (at < size[:, axis, None])  # (n, h or w)
            return within

        erased = chosen[:, None, None] & inside(0)[:, :, None] & inside(1)[:, None, :]  # (n, h, w)
        return np.where(erased[..., None], np.zeros_like(images, shape=()), images)


# Places --------------------------------------------------------------------------------------


class CenterCrop:
    """Crop the square in the middle of each image.

    Parameters
    ----------
    size : int
        Height and width. Where the margin is odd, the smaller part is on the left and on top.

    Raises
    ------
    ValueError
        If the size is not positive, or larger than the images.

    Examples
    --------
    >>> CenterCrop(2)(np.arange(16).reshape(1, 4, 4, 1))[0, :, :, 0]
    array([[ 5,  6],
           [ 9, 10]])
    """

    __repr__ = as_written

    @checked
    def __init__(self, size: int) -> None:
        self.size = integer("CenterCrop", "size", size, least=1)

    def __call__(self, images: Array, rng: object = None) -> Array:
        """Return the middle of each image, (n, size, size, c)."""
        _images("CenterCrop", images)
        h, w = images.shape[1:3]
        expect(min(h, w) >= self.size, "CenterCrop", f"images of at least {self.size} pixels a side", images.shape)
        top, left = (h - self.size) // 2, (w - self.size) // 2
        return images[:, top : top + self.size, left : left + self.size].copy()


class Resize:
    """Scale each image, with bilinear interpolation, and with antialiasing where it shrinks.

    A new pixel is a weighted mean. The weights fall linearly with the distance from its centre, and reach 0 at a
    distance of one pixel, of the old or of the new size, whichever is larger. This is Pillow's definition.

    Parameters
    ----------
    size : int or (int, int)
        Of the short side, the other one in proportion, rounded; or height and width.

    Raises
    ------
    ValueError
        If a size is not positive.

    Examples
    --------
    >>> Resize(224)(np.zeros((2, 300, 451, 3), np.float32)).shape
    (2, 224, 337, 3)
    >>> Resize((1, 2))(np.array([[0.0, 1.0, 4.0, 5.0]]).reshape(1, 1, 4, 1)).ravel()
    array([1., 4.])
    """

    __repr__ = as_written

    @checked
    def __init__(self, size: int | Pair) -> None:
        by_side = pair("Resize", "size", size, least=1)
        self.size: int | Pair = by_side[0] if as_int(size) is not None else by_side

    def __call__(self, images: Array, rng: object = None) -> Array:
        """Return the images at their new size."""
        _images("Resize", images)
        sides = images.shape[1:3]
        x, size = _wide(images), self.size
        h, w = size if isinstance(size, tuple) else (max(1, round(side * size / min(sides))) for side in sides)
        return _narrow(_scaled(_scaled(x, 1, h), 2, w), images)


class RandomAffine:
    """Rotate, shift and scale each image at random around its centre, with bilinear interpolation.

    What comes from outside the image is 0; after :class:`Normalize` that is the mean.

    Parameters
    ----------
    degrees : float
        Angles are drawn uniformly from -degrees to degrees; a positive one turns clockwise.
    translate : float or (float, float)
        Shifts are drawn uniformly from -translate to translate, as a share of the width and of the height. A pair, as
        in torchvision, has that of the width first.
    scale : (float, float)
        The factor is drawn uniformly between these.

    Raises
    ------
    ValueError
        If a setting is negative, a shift is more than 1, or the smallest factor is 0 or larger than the largest.

    Examples
    --------
    >>> images = np.ones((1, 5, 5, 1), np.float32)
    >>> RandomAffine(30, translate=0.1)(images, np.random.default_rng(0))[0, :, :, 0].round(1)
    array([[1. , 1. , 1. , 1. , 0.7],
           [1. , 1. , 1. , 1. , 0.7],
           [1. , 1. , 1. , 1. , 0.5],
           [1. , 1. , 1. , 1. , 0.4],
           [0.6, 0.7, 0.9, 1. , 0.2]], dtype=float32)
    """

    __repr__ = as_written

    @checked
    def __init__(
        self,
        degrees: float,
        *,
        translate: float | tuple[float, float] = 0.0,
        scale: tuple[float, float] = (1.0, 1.0),
    ) -> None:
        self.degrees = number("RandomAffine", "degrees", degrees)
        shares = translate if isinstance(translate, tuple) and len(translate) == 2 else (translate, translate)
        self.shares = [number("RandomAffine", "translate", share, most=1) for share in shares]
        self.translate = translate
        self.scale = _interval("RandomAffine", "scale", scale)
        expect(self.scale[0] > 0, "RandomAffine", "positive factors for scale", scale)

    def __call__(self, images: Array, rng: np.random.Generator) -> Array:
        """Return the images, each moved in its own way."""
        _check("RandomAffine", images, rng)
        n, h, w, _ = images.shape
        turn = np.deg2rad(rng.uniform(-self.degrees, self.degrees, (n, 1, 1)))
        most = np.reshape(self.shares[::-1], (2, 1, 1, 1))
        shift = rng.uniform(-most, most, (2, n, 1, 1))
        factor = rng.uniform(*self.scale, (n, 1, 1))
        y = np.arange(h)[:, None] - (h - 1) / 2 - h * shift[0]  # (n, h, 1), from the centre
        x = np.arange(w) - (w - 1) / 2 - w * shift[1]
        sin, cos = np.sin(turn) / factor, np.cos(turn) / factor
        rows, columns = cos * y - sin * x + (h - 1) / 2, sin * y + cos * x + (w - 1) / 2  # where a pixel comes from
        return _narrow(_between(_wide(images), rows, columns), images)


# What they share -----------------------------------------------------------------------------


def _scaled(images: Array, axis: int, size: int) -> Array:
    """Scale images along an axis: each new pixel is a weighted sum of a few old ones."""
    n = images.shape[axis]
    reach = max(n / size, 1.0)
    centres = (np.arange(size)[:, None] + 0.5) * n / size - 0.5
    places = np.floor(centres - reach).astype(int) + np.arange(1, math.ceil(2 * reach) + 1)  # (size, terms)
    weights = np.maximum(1 - abs(places - centres) / reach, 0) * ((places >= 0) & (places < n))
    weights /= weights.sum(1, keepdims=True)
    shape = [-1 if i == axis else 1 for i in range(4)]
    weights, places = weights.T.astype(images.dtype), places.T.clip(0, n - 1)
    terms = (weight.reshape(shape) * images.take(at, axis) for weight, at in zip(weights, places, strict=True))
    return sum(terms, np.zeros((), images.dtype))


def _between(images: Array, rows: Array, columns: Array) -> Array:
    """Return the pixels at fractional places (n, h, w), interpolated between four neighbours; 0 outside."""
    n, h, w, _ = images.shape
    padded = np.pad(images, ((0, 0), (1, 2), (1, 2), (0, 0)))
    rows, columns = rows.clip(-1, h) + 1, columns.clip(-1, w) + 1  # in the padded image
    top, left = rows.astype(int), columns.astype(int)
    down, right = (rows - top)[..., None].astype(images.dtype), (columns - left)[..., None].astype(images.dtype)
    i = np.arange(n)[:, None, None]
    upper, lower = ((1 - right) * padded[i, t, left] + right * padded[i, t, left + 1] for t in (top, top + 1))
    pixels: Array = (1 - down) * upper + down * lower
    return pixels


def _grey(images: Array) -> Array:
    """Return the brightness of each pixel, (n, h, w, 1)."""
    weights = np.array([0.299, 0.587, 0.114] if images.shape[-1] == 3 else [1], images.dtype)
    grey: Array = (images * weights).sum(-1, keepdims=True)
    return grey


def _wide(images: Array) -> Array:
    """Return images in the dtype to compute in."""
    return images.astype(np.result_type(images, np.float32), order="C")


def _narrow(x: Array, images: Array) -> Array:
    """Return new pixels in the dtype of the images, rounded if they are integers."""
    if images.dtype.kind not in "iu":
        return x.astype(images.dtype)
    x, top = np.rint(x), images.dtype.type(np.iinfo(images.dtype).max)  # as a float, that of 64 bits is rounded up
    pixels: Array = np.where(x < top, x, 0).astype(images.dtype) + (x >= top) * top
    return pixels


def _top(name: str, images: Array) -> float:
    """Return the number that stands for white: 1, or the largest integer."""
    if images.dtype.kind not in "iuf":
        refuse(name, "images of integers or floating-point numbers", images.dtype, error=TypeError)
    return 1 if images.dtype.kind == "f" else int(np.iinfo(images.dtype).max)


def _interval(name: str, setting: str, value: tuple[float, float], most: float = MAX) -> tuple[float, float]:
    """Return two numbers, the first not larger than the second."""
    two = isinstance(value, tuple | list) and len(value) == 2
    expect(two, name, f"{setting} to be the smallest and the largest number, as (0.1, 0.3)", f"{value!r:.80}")
    low, high = (number(name, setting, part, most=most) for part in value)
    expect(low <= high, name, f"{setting} to begin with the smaller number", value)
    return low, high


def _images(name: str, images: Array) -> None:
    """Refuse anything but a batch of images."""
    got = getattr(images, "shape", type(images).__name__)
    expect(getattr(images, "ndim", None) == 4, name, "images of shape (n, h, w, c)", got)


def _check(name: str, images: Array, rng: object) -> None:
    """Refuse anything but a batch of images and a Generator."""
    _images(name, images)
    is_rng, fix = isinstance(rng, np.random.Generator), "use np.random.default_rng(seed)"
    expect(is_rng, name, "rng to be a numpy Generator", repr(rng), fix, error=TypeError)
