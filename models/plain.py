"""Plain nets: layers one after the other, as in VGG.

The nets of "Deep Residual Learning" have one frame, :class:`Net`: a stem, stages, global average pooling and a fully
connected layer. The stages follow two rules (section 3.3): layers on maps of one size have one number of
filters; where the maps are halved, the filters are doubled, so that every layer costs the same. A layer is a
convolution, batch norm and ReLU; the first of a stage has stride 2 in place of pooling.

The nets for ImageNet (Table 1) have four stages on maps of 56, 28, 14 and 7 pixels; those for CIFAR-10 (section
4.2) have three stages of 2n layers on maps of 32, 16 and 8 pixels: 6n + 2 layers with weights.

Next: :mod:`models.resnet`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from minigrad import nn
from minigrad.typing import Rng

#: What makes layers from sizes: :func:`conv_bn` with eps, Generator and dtype filled in.
Conv = Callable[..., list[nn.Module]]


class Net(nn.Module):
    """The frame of Table 1, from top to bottom.

    Parameters
    ----------
    stem : nn.Sequential
        conv1, and for ImageNet the max pooling after it.
    stages : nn.Sequential of nn.Sequentials
        conv2_x, conv3_x, ...
    fc : nn.Linear
        From the filters of the last stage to the classes. To teach a net other classes, replace it:
        ``net.fc = nn.Linear(512, 10, rng=0)``.

    Attributes
    ----------
    stem, stages, fc
        As given.
    pool : nn.GlobalAvgPool2d
    """

    def __init__(self, stem: nn.Sequential, stages: nn.Sequential, fc: nn.Linear) -> None:
        self.stem, self.stages = stem, stages
        self.pool, self.fc = nn.GlobalAvgPool2d(), fc

    def forward(self, x: Any) -> Any:
        """Map images (n, h, w, in_channels) to logits (n, num_classes)."""
        return self.fc(self.pool(self.stages(self.stem(x))))


def conv_bn(
    kernel: int, c_in: int, c_out: int, stride: int = 1, *, bn_eps: float, rng: Rng, dtype: Any
) -> list[nn.Module]:
    """List a convolution, which keeps the size of the maps but for its stride, and its batch norm."""
    return [
        nn.Conv2d(c_in, c_out, kernel, stride=stride, padding=kernel // 2, bias=False, rng=rng, dtype=dtype),
        nn.BatchNorm2d(c_out, eps=bn_eps, dtype=dtype),
    ]


def imagenet_stem(conv: Conv, c_in: int, c_out: int) -> list[nn.Module]:
    """List conv1 of Table 1 and the pooling after it: 224 -> 112 -> 56 pixels."""
    return [*conv(7, c_in, c_out, 2), nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1)]


def cifar_stem(conv: Conv, c_in: int, c_out: int) -> list[nn.Module]:
    """List the first layer of section 4.2."""
    return [*conv(3, c_in, c_out), nn.ReLU()]


def basic(conv: Conv, c_in: int, c_out: int, stride: int, stride_in: str = "") -> list[nn.Module]:
    """List two 3x3 layers, the second without its ReLU. (`stride_in` is for bottlenecks: there is no 1x1 here.)"""
    return [*conv(3, c_in, c_out, stride), nn.ReLU(), *conv(3, c_out, c_out)]


def stack(
    block: Callable[[int, int, int], list[nn.Module]], blocks: tuple[int, ...], filters: tuple[int, ...]
) -> nn.Sequential:
    """Stack blocks in stages; each stage but the first halves the maps, in its first block.

    Parameters
    ----------
    block : function (c_in, c_out, stride) -> list of Modules
    blocks : tuple of ints
        How many there are in each stage.
    filters : tuple of ints
        What the stem gives, and then each stage.
    """
    stages = []
    for i, (n, (c_in, c_out)) in enumerate(zip(blocks, pairwise(filters), strict=True)):
        layers = block(c_in, c_out, 1 if i == 0 else 2)
        for _ in range(n - 1):
            layers += block(c_out, c_out, 1)
        stages.append(nn.Sequential(*layers))
    return nn.Sequential(*stages)


def plain_net(
    stem: Callable[..., list[nn.Module]],
    blocks: tuple[int, ...],
    filters: tuple[int, ...],
    *,
    num_classes: int = 1000,
    in_channels: int = 3,
    bn_eps: float = 1e-5,
    rng: Rng = 0,
    dtype: Any = np.float32,
) -> Net:
    """Build a plain net: the builder of all of them.

    Parameters
    ----------
    stem : function (conv, c_in, c_out) -> list of Modules
        :func:`imagenet_stem` or :func:`cifar_stem`.
    blocks : tuple of ints
        Pairs of layers in each stage.
    filters : tuple of ints
        Of the stem and of each stage.
    num_classes, in_channels : int
    bn_eps : float
    rng : numpy Generator or seed
    dtype : dtype

    Returns
    -------
    Net
        Maps (n, h, w, in_channels) to logits (n, num_classes).

    Examples
    --------
    >>> net = plain_net(cifar_stem, (1, 1), (4, 4, 8), num_classes=10)
    >>> net(np.zeros((2, 8, 8, 3), "float32")).shape
    (2, 10)
    """
    rng = np.random.default_rng(rng)
    conv = partial(conv_bn, bn_eps=bn_eps, rng=rng, dtype=dtype)

    def block(c_in: int, c_out: int, stride: int) -> list[nn.Module]:
        return [*basic(conv, c_in, c_out, stride), nn.ReLU()]

    return Net(
        nn.Sequential(*stem(conv, in_channels, filters[0])),
        stack(block, blocks, filters),
        nn.Linear(filters[-1], num_classes, rng=rng, dtype=dtype),
    )


def plain18(**settings: Any) -> Net:
    """Build the plain net of 18 layers (Table 1 without shortcuts).

    Parameters
    ----------
    **settings
        As :func:`plain_net` takes them: num_classes=1000, in_channels=3, bn_eps=1e-5, rng=0, dtype=float32.

    Returns
    -------
    Net
        Maps (n, 224, 224, in_channels), or other sizes, to logits (n, num_classes).

    Examples
    --------
    >>> sum(p.size for p in plain18().parameters())
    11515688
    """
    return plain_net(imagenet_stem, (2, 2, 2, 2), (64, 64, 128, 256, 512), **settings)


def plain34(**settings: Any) -> Net:
    """Build the plain net of 34 layers (Table 1 without shortcuts; Fig. 3, middle).

    Parameters
    ----------
    **settings
        As :func:`plain_net` takes them: num_classes=1000, in_channels=3, bn_eps=1e-5, rng=0, dtype=float32.

    Returns
    -------
    Net
        Maps (n, 224, 224, in_channels), or other sizes, to logits (n, num_classes).

    Examples
    --------
    >>> sum(p.size for p in plain34().parameters())
    21623848
    """
    return plain_net(imagenet_stem, (3, 4, 6, 3), (64, 64, 128, 256, 512), **settings)


def cifar_plain(depth: int, *, width: int = 16, num_classes: int = 10, **settings: Any) -> Net:
    """Build the plain net of section 4.2 with `depth` layers.

    Parameters
    ----------
    depth : int
        6n + 2: 20, 32, 44, 56, 110 in the paper.
    width : int
        Filters of the first stage; doubled in each of the next two.
    num_classes : int
    **settings
        As :func:`plain_net` takes them: in_channels=3, bn_eps=1e-5, rng=0, dtype=float32.

    Returns
    -------
    Net
        Maps (n, h, w, in_channels) to logits (n, num_classes).

    Raises
    ------
    ValueError
        If no such net has this depth.

    Examples
    --------
    >>> net = cifar_plain(20)
    >>> sum(p.size for p in net.parameters())
    269722
    """
    n = blocks_per_stage("cifar_plain", depth)
    filters = (width, width, 2 * width, 4 * width)
    return plain_net(cifar_stem, (n, n, n), filters, num_classes=num_classes, **settings)


def blocks_per_stage(name: str, depth: int) -> int:
    """Return n of depth = 6n + 2; refuse an impossible depth with the possible ones beside it."""
    n, rest = divmod(depth - 2, 6)
    if rest or n < 1:
        below = 6 * max(n, 1) + 2
        near = str(below) if n < 1 else f"{below} or {below + 6}"
        raise ValueError(
            f"{name}: depth {depth} is impossible: three stages of n blocks make 6n + 2 layers; the nearest: {near} "
            "(the paper has 20, 32, 44, 56, 110, 1202)"
        )
    return n
