"""Transforms: what happens to a batch of images between the data set and the net.

A transform is called ``transform(images, rng)`` with images (n, h, w, c) and a numpy Generator, and returns new
images; any function of these two will do. Those that draw nothing can be called with the images alone. All draws
come from the Generator, one per image whatever is in the picture, so that they can be repeated. They are
made on the host: images are NumPy arrays here, and are moved to another device afterwards.

The recipe of "Deep Residual Learning", section 4.2, for CIFAR::

    normalize = Normalize.per_pixel(train)
    augment = Compose([normalize, RandomCrop(32, padding=4), RandomHorizontalFlip()])

Crops come after normalising: the zeros they pad with are then the mean.

Next: :mod:`minigrad.data.loader`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np

from minigrad.device import to_host, windows
from minigrad.typing import Array

Transform = Callable[[Array, Any], Array]


class Normalize:
    """Subtract a mean, then divide by a standard deviation.

    Parameters
    ----------
    mean, std : scalars or arrays
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

    def __init__(self, mean: Any, std: Any) -> None:
        self.mean, self.std = np.asarray(mean, np.float64), np.asarray(std, np.float64)
        for name, value in (("mean", self.mean), ("std", self.std)):
            if value.ndim not in (0, 1, 3):
                raise ValueError(
                    f"Normalize: expected {name} to be a number, (c,) or (h, w, c), got an array of shape {value.shape}"
                )
        if not (np.isfinite(self.mean).all() and np.isfinite(self.std).all() and (self.std > 0).all()):
            raise ValueError(
                "Normalize: expected finite means and positive finite standard deviations; a pixel that never "
                "changes has a standard deviation of 0: divide by one number for all pixels"
            )

    @classmethod
    def per_pixel(cls, dataset: Any) -> Self:
        """Return the subtraction of the data set's mean image, as in the paper: nothing is divided.

        Parameters
        ----------
        dataset
            The training set, always: its mean is taken from the test images, too.

        Examples
        --------
        >>> import minigrad as mg
        >>> digits = mg.data.Digits()
        >>> centred = Normalize.per_pixel(digits)(digits.images)
        >>> bool(abs(centred.mean(0)).max() < 1e-6)
        True
        """
        total: Any = 0.0
        for start in range(0, len(dataset), _CHUNK):
            images, _ = dataset[np.arange(start, min(start + _CHUNK, len(dataset)))]
            total = total + to_host(images).sum(0, dtype=np.float64)
        return cls(total / len(dataset), 1.0)

    def __call__(self, images: Array, rng: object = None) -> Array:
        """Return the normalised images, of the dtype of `images`."""
        if not np.issubdtype(images.dtype, np.floating):
            raise TypeError(f"Normalize: expected images of a floating dtype, got {images.dtype}; use images.astype")
        mean, std = (self._spread(value, images) for value in (self.mean, self.std))  # (h, w, c)
        return (images - mean) / std

    def _spread(self, value: Array, images: Array) -> Array:
        """Return `value` as a whole image: NumPy is slow on the short rows of (n, h, w, c) with (c,)."""
        try:
            return np.broadcast_to(value, images.shape[1:]).astype(images.dtype, order="C")
        except ValueError:
            raise ValueError(
                f"Normalize: mean or std has shape {value.shape}, which does not fit images of shape {images.shape}"
            ) from None


#: How many images a mean over a data set takes at a time: a few megabytes.
_CHUNK = 1000


class RandomCrop:
    """Cut a square out of each image, at a place drawn for it.

    All ``(h + 2 padding - size + 1) (w + 2 padding - size + 1)`` places are equally likely.

    Parameters
    ----------
    size : int
        Height and width of what is returned.
    padding : int
        Zeros put around each image first. After :class:`Normalize` they are the mean.

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

    def __init__(self, size: int, padding: int = 0) -> None:
        if size < 1 or padding < 0:
            raise ValueError(f"RandomCrop: expected size >= 1 and padding >= 0, got {size} and {padding}")
        self.size, self.padding = size, padding

    def __call__(self, images: Array, rng: np.random.Generator) -> Array:
        """Return one crop of each image (n, size, size, c)."""
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
        return every[np.arange(n), top, left]  # (n, size, size, c)


class RandomHorizontalFlip:
    """Swap left and right in some of the images.

    Parameters
    ----------
    p : float
        The probability for each image.

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

    def __init__(self, p: float = 0.5) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"RandomHorizontalFlip: expected a probability between 0 and 1, got {p}")
        self.p = p

    def __call__(self, images: Array, rng: np.random.Generator) -> Array:
        """Return the images, some of them flipped."""
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

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms = list(transforms)

    def __call__(self, images: Array, rng: np.random.Generator | None = None) -> Array:
        """Return what the last transform returns."""
        for transform in self.transforms:
            images = transform(images, rng)
        return images


def _check(name: str, images: Array, rng: object) -> None:
    """Refuse what is no batch of images, or no Generator."""
    if images.ndim != 4:
        raise ValueError(f"{name}: expected images of shape (n, h, w, c), got {images.shape}")
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"{name}: expected rng to be a numpy Generator, got {rng!r}; use np.random.default_rng(seed)")
