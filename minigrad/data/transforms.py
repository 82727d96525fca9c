"""Transforms: what happens to a batch of images between the data set and the net.

A transform is called ``transform(images, rng)`` with images (n, h, w, c) and a numpy Generator, and returns new images.
Any such function will do. A transform that draws nothing can be called with the images alone. All random numbers come
from the Generator, and their count depends only on the number of images, so that they can be repeated. Transforms run
on the host: images are NumPy arrays here, and are moved to another device afterwards.

The recipe of "Deep Residual Learning", section 4.2, for CIFAR::

    normalize = Normalize.per_pixel(train)
    augment = Compose([normalize, RandomCrop(32, padding=4), RandomHorizontalFlip()])

Normalize comes before RandomCrop, so that the zeros that RandomCrop pads with stand for the mean.

Next: :mod:`minigrad.data.loader`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from minigrad.arguments import expect, integer, number
from minigrad.checked import checked, named
from minigrad.data.dataset import Dataset
from minigrad.device import to_host, windows
from minigrad.typing import Array

#: Maps images and a numpy Generator to images. (A string, since importing numpy.random takes 8 ms.)
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

    @checked
    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms = list(transforms)

    def __call__(self, images: Array, rng: np.random.Generator | None = None) -> Array:
        """Return what the last transform returns."""
        for transform in self.transforms:
            images = transform(images, rng)  # type: ignore[arg-type]  # transforms that draw nothing take None
        return images


def _check(name: str, images: Array, rng: object) -> None:
    """Refuse anything but a batch of images and a Generator."""
    expect(images.ndim == 4, name, "images of shape (n, h, w, c)", images.shape)
    is_rng, fix = isinstance(rng, np.random.Generator), "use np.random.default_rng(seed)"
    expect(is_rng, name, "rng to be a numpy Generator", repr(rng), fix, error=TypeError)
