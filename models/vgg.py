"""VGG: five stages of 3x3 convolutions with max pooling between them, and three fully connected layers.

The plain nets of :mod:`models.plain` are modelled on these, and "Deep Residual Learning" compares with them: ResNet-34
needs 19 % of the multiply-adds of VGG-19. Most of VGG-19's parameters are in the first matrix of its classifier.

References
----------
K. Simonyan and A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", arXiv 1409.1556,
Table 1. Batch norm is more recent than the paper; the nets with it are torchvision's.

Next: :mod:`models.predict`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict, Unpack

import numpy as np

from minigrad import nn
from minigrad.arguments import generator
from minigrad.autograd.tensor import Tensor
from minigrad.checked import named
from minigrad.typing import Rng

if TYPE_CHECKING:
    import numpy.typing as npt

#: Convolutions in each stage: configurations A, B, D and E.
STAGES = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}

FILTERS = (64, 128, 256, 512, 512)


class VGGSettings(TypedDict, total=False):
    """The settings that every VGG net takes: see :class:`VGG`."""

    image_size: int
    num_classes: int
    in_channels: int
    rng: Rng
    dtype: npt.DTypeLike


class VGG(nn.Module):
    """A VGG net with `depth` layers that have weights.

    Parameters
    ----------
    depth : 11, 13, 16 or 19
    batch_norm : bool
        Put batch norm between each convolution and its ReLU.
    image_size : int
        Height and width of the images: the first matrix of the classifier depends on it.
    num_classes, in_channels : int
    rng : numpy Generator or seed
        Draws the weights, and then the elements that dropout drops.
    dtype : dtype

    Attributes
    ----------
    features : nn.Sequential
        The convolutions: (n, image_size, image_size, in_channels) -> (n, image_size // 32, image_size // 32, 512).
    flatten : nn.Flatten
    classifier : nn.Sequential
        The fully connected layers.

    Raises
    ------
    ValueError
        If `depth` has another value, or images are too small to be halved five times.

    Examples
    --------
    >>> import minigrad as mg
    >>> net = VGG(11, image_size=32, num_classes=10)
    >>> net(mg.Tensor(np.zeros((2, 32, 32, 3), "float32"))).shape
    (2, 10)
    """

    def __init__(
        self,
        depth: int,
        *,
        batch_norm: bool = False,
        image_size: int = 224,
        num_classes: int = 1000,
        in_channels: int = 3,
        rng: Rng = 0,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        if depth not in STAGES:
            raise ValueError(f"VGG: expected depth 11, 13, 16 or 19, got {depth}")
        if image_size < 32:
            raise ValueError(f"VGG: images are halved five times: expected image_size of at least 32, got {image_size}")
        rng = generator("VGG", rng)
        layers: list[nn.Module] = []
        c_in = in_channels
        for n, c_out in zip(STAGES[depth], FILTERS, strict=True):
            for _ in range(n):
                layers.append(nn.Conv2d(c_in, c_out, 3, padding=1, rng=rng, dtype=dtype))
                layers += [nn.BatchNorm2d(c_out, dtype=dtype)] if batch_norm else []
                layers.append(nn.ReLU())
                c_in = c_out
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.flatten = nn.Flatten()
        self.classifier = nn.Sequential(
            nn.Linear((image_size // 32) ** 2 * c_in, 4096, rng=rng, dtype=dtype),
            nn.ReLU(),
            nn.Dropout(0.5, rng=rng),
            nn.Linear(4096, 4096, rng=rng, dtype=dtype),
            nn.ReLU(),
            nn.Dropout(0.5, rng=rng),
            nn.Linear(4096, num_classes, rng=rng, dtype=dtype),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map images (n, image_size, image_size, in_channels) to logits (n, num_classes)."""
        return self.classifier(self.flatten(self.features(x)))


@named
def vgg11(batch_norm: bool = False, **settings: Unpack[VGGSettings]) -> VGG:
    """Build VGG-11.

    Parameters
    ----------
    batch_norm : bool
        Put batch norm between each convolution and its ReLU.
    **settings
        As :class:`VGG` takes them: image_size=224, num_classes=1000, in_channels=3, rng=0, dtype=float32.

    Examples
    --------
    >>> sum(p.size for p in vgg11(image_size=32, num_classes=10).features.parameters())
    9220480
    """
    return VGG(11, batch_norm=batch_norm, **settings)


@named
def vgg13(batch_norm: bool = False, **settings: Unpack[VGGSettings]) -> VGG:
    """Build VGG-13: see :func:`vgg11`.

    Examples
    --------
    >>> sum(p.size for p in vgg13(image_size=32, num_classes=10).features.parameters())
    9404992
    """
    return VGG(13, batch_norm=batch_norm, **settings)


@named
def vgg16(batch_norm: bool = False, **settings: Unpack[VGGSettings]) -> VGG:
    """Build VGG-16: see :func:`vgg11`.

    Examples
    --------
    >>> sum(p.size for p in vgg16(image_size=32, num_classes=10).features.parameters())
    14714688
    """
    return VGG(16, batch_norm=batch_norm, **settings)


@named
def vgg19(batch_norm: bool = False, **settings: Unpack[VGGSettings]) -> VGG:
    """Build VGG-19: see :func:`vgg11`.

    Examples
    --------
    >>> sum(p.size for p in vgg19(image_size=32, num_classes=10).features.parameters())
    20024384
    """
    return VGG(19, batch_norm=batch_norm, **settings)
