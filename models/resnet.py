"""Residual nets: each block adds to its input what its layers found missing.

A block of "Deep Residual Learning", equation (1), is

    y = relu(F(x) + x),

where F is either of

    basic        3x3 conv, bn, relu, 3x3 conv, bn,
    bottleneck   1x1 conv, bn, relu, 3x3 conv, bn, relu, 1x1 conv, bn: few filters in the middle, four times as many
                 at the end.

Where a block changes the size of the maps or the number of filters, x does not fit F(x), and the shortcut is one of

    A   every second pixel, and zeros for the new channels: no parameters,
    B   a 1x1 convolution and batch norm, where the shape changes; the identity elsewhere,
    C   a 1x1 convolution and batch norm in every block.

Without the shortcuts, these are the plain nets of :mod:`models.plain`: read that first.

Next: :mod:`minigrad.kernels.interrupts`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import minigrad as mg
from minigrad import nn
from minigrad.typing import Rng
from models.plain import Conv, Net, basic, blocks_per_stage, cifar_stem, conv_bn, imagenet_stem, stack


class Block(nn.Module):
    """y = relu(F(x) + shortcut(x)).

    Parameters
    ----------
    residual : nn.Sequential
        The layers that compute F.
    shortcut : nn.Module
        nn.Identity, :class:`PadShortcut`, or nn.Sequential of a 1x1 convolution and batch norm.

    Examples
    --------
    >>> zero = nn.Sequential(nn.Conv2d(1, 1, 1, rng=0), nn.BatchNorm2d(1))
    >>> zero.layers[1].gamma.data[...] = 0
    >>> Block(zero, nn.Identity())(mg.Tensor([[[[-1.0], [2.0]]]])).data.ravel()
    array([0., 2.], dtype=float32)
    """

    def __init__(self, residual: nn.Sequential, shortcut: nn.Module) -> None:
        self.residual, self.shortcut = residual, shortcut

    def forward(self, x: Any) -> Any:
        """Map (n, h, w, c_in) to (n, h / stride, w / stride, c_out)."""
        return mg.relu(self.residual(x) + self.shortcut(x))


def bottleneck(conv: Conv, c_in: int, c_out: int, stride: int, stride_in: str) -> list[nn.Module]:
    """List F of ResNet-50, -101 and -152: a 1x1 layer down to c_out / 4 filters, a 3x3, a 1x1 up to c_out.

    The paper, and the nets its authors released, have the stride in the first 1x1; later ports ("v1.5") in the 3x3,
    which then sees every pixel, for 6 % more multiply-adds in ResNet-50.
    """
    width = c_out // 4
    first, second = (stride, 1) if stride_in == "1x1" else (1, stride)
    return [
        *conv(1, c_in, width, first),
        nn.ReLU(),
        *conv(3, width, width, second),
        nn.ReLU(),
        *conv(1, width, c_out),
    ]


class PadShortcut(nn.Module):
    """Option A: every `stride`-th pixel, and zeros for the channels that are missing.

    Examples
    --------
    >>> PadShortcut(2, 2, "both")(mg.Tensor(np.ones((1, 2, 2, 1), "float32"))).data
    array([[[[0., 1., 0.]]]], dtype=float32)
    """

    def __init__(self, missing: int, stride: int, pad_channels: str) -> None:
        before = missing // 2 if pad_channels == "both" else 0
        self.missing, self.stride = (before, missing - before), stride

    def forward(self, x: Any) -> Any:
        """Map (n, h, w, c) to (n, h / stride, w / stride, c + missing)."""
        return mg.pad(x[:, :: self.stride, :: self.stride], [(0, 0), (0, 0), (0, 0), self.missing])


def residual_net(
    stem: Callable[..., list[nn.Module]],
    residual: Callable[..., list[nn.Module]],
    blocks: tuple[int, ...],
    filters: tuple[int, ...],
    *,
    shortcut: str = "B",
    stride_in: str = "1x1",
    zero_gamma: bool = False,
    pad_channels: str = "after",
    num_classes: int = 1000,
    in_channels: int = 3,
    bn_eps: float = 1e-5,
    rng: Rng = 0,
    dtype: Any = np.float32,
) -> Net:
    """Build a residual net: the builder of all of them.

    Parameters
    ----------
    stem : function (conv, c_in, c_out) -> list of Modules
        ``imagenet_stem`` or ``cifar_stem`` of :mod:`models.plain`.
    residual : function (conv, c_in, c_out, stride, stride_in) -> list of Modules
        F: ``basic`` or ``bottleneck``.
    blocks : tuple of ints
        How many there are in each stage.
    filters : tuple of ints
        Of the stem and of each stage.
    shortcut : "A", "B" or "C"
    stride_in : "1x1" or "3x3"
        Which layer of a bottleneck halves the maps: the first 1x1, as in the paper, or the 3x3 ("v1.5"). Basic blocks
        have no choice.
    zero_gamma : bool
        Begin with F = 0: every block begins as its shortcut.
    pad_channels : "after" or "both"
        Where option A puts the zeros: behind the channels, or half on each side. Ports differ: same counts,
        incompatible weights.
    num_classes, in_channels : int
    bn_eps : float
    rng : numpy Generator or seed
    dtype : dtype

    Returns
    -------
    Net
        Maps (n, h, w, in_channels) to logits (n, num_classes).

    Raises
    ------
    ValueError
        If an option has another name.

    Examples
    --------
    >>> net = residual_net(cifar_stem, bottleneck, (1, 1), (4, 16, 32), num_classes=10)
    >>> net(mg.Tensor(np.zeros((2, 8, 8, 3), "float32"))).shape
    (2, 10)
    """
    if shortcut not in ("A", "B", "C"):
        raise ValueError(f'residual_net: expected shortcut "A", "B" or "C", got {shortcut!r}')
    if stride_in not in ("1x1", "3x3"):
        raise ValueError(f'residual_net: expected stride_in "1x1" or "3x3", got {stride_in!r}')
    if pad_channels not in ("after", "both"):
        raise ValueError(f'residual_net: expected pad_channels "after" or "both", got {pad_channels!r}')
    rng = np.random.default_rng(rng)
    conv = partial(conv_bn, bn_eps=bn_eps, rng=rng, dtype=dtype)

    def block(c_in: int, c_out: int, stride: int) -> list[nn.Module]:
        layers: list[Any] = residual(conv, c_in, c_out, stride, stride_in)
        if zero_gamma:
            layers[-1].gamma.data[...] = 0
        fits = c_in == c_out and stride == 1
        if shortcut == "C" or (shortcut == "B" and not fits):
            return [Block(nn.Sequential(*layers), nn.Sequential(*conv(1, c_in, c_out, stride)))]
        same = nn.Identity() if fits else PadShortcut(c_out - c_in, stride, pad_channels)
        return [Block(nn.Sequential(*layers), same)]

    return Net(
        nn.Sequential(*stem(conv, in_channels, filters[0])),
        stack(block, blocks, filters),
        nn.Linear(filters[-1], num_classes, rng=rng, dtype=dtype),
    )


#: Table 1: F, the blocks in conv2_x to conv5_x, and the filters that come out of conv1, conv2_x, ..., conv5_x.
TABLE_1: dict[int, tuple[Callable[..., list[nn.Module]], tuple[int, ...], tuple[int, ...]]] = {
    18: (basic, (2, 2, 2, 2), (64, 64, 128, 256, 512)),
    34: (basic, (3, 4, 6, 3), (64, 64, 128, 256, 512)),
    50: (bottleneck, (3, 4, 6, 3), (64, 256, 512, 1024, 2048)),
    101: (bottleneck, (3, 4, 23, 3), (64, 256, 512, 1024, 2048)),
    152: (bottleneck, (3, 8, 36, 3), (64, 256, 512, 1024, 2048)),
}


def resnet18(**settings: Any) -> Net:
    """Build ResNet-18 for ImageNet.

    Parameters
    ----------
    **settings
        As :func:`residual_net` takes them: shortcut="B", stride_in="1x1", zero_gamma=False, pad_channels="after",
        num_classes=1000, in_channels=3, bn_eps=1e-5, rng=0, dtype=float32.

    Returns
    -------
    Net
        Maps (n, 224, 224, in_channels), or other sizes, to logits (n, num_classes).

    Examples
    --------
    >>> sum(p.size for p in resnet18().parameters())
    11689512
    """
    return residual_net(imagenet_stem, *TABLE_1[18], **settings)


def resnet34(**settings: Any) -> Net:
    """Build ResNet-34 for ImageNet: see :func:`resnet18`.

    Examples
    --------
    >>> sum(p.size for p in resnet34(shortcut="A").parameters())
    21623848
    """
    return residual_net(imagenet_stem, *TABLE_1[34], **settings)


def resnet50(**settings: Any) -> Net:
    """Build ResNet-50 for ImageNet: see :func:`resnet18`.

    Examples
    --------
    >>> sum(p.size for p in resnet50().parameters())
    25557032
    """
    return residual_net(imagenet_stem, *TABLE_1[50], **settings)


def resnet101(**settings: Any) -> Net:
    """Build ResNet-101 for ImageNet: see :func:`resnet18`.

    Examples
    --------
    >>> sum(p.size for p in resnet101().parameters())
    44549160
    """
    return residual_net(imagenet_stem, *TABLE_1[101], **settings)


def resnet152(**settings: Any) -> Net:
    """Build ResNet-152 for ImageNet: see :func:`resnet18`.

    Examples
    --------
    >>> sum(p.size for p in resnet152().parameters())
    60192808
    """
    return residual_net(imagenet_stem, *TABLE_1[152], **settings)


def cifar_resnet(depth: int, shortcut: str = "A", width: int = 16, *, num_classes: int = 10, **settings: Any) -> Net:
    """Build the residual net of section 4.2 with `depth` layers.

    Parameters
    ----------
    depth : int
        6n + 2: 20, 32, 44, 56, 110 and 1202 in the paper.
    shortcut : "A", "B" or "C"
    width : int
        Filters of the first stage; doubled in each of the next two.
    num_classes : int
    **settings
        As :func:`residual_net` takes them: zero_gamma=False, pad_channels="after", in_channels=3, bn_eps=1e-5, rng=0,
        dtype=float32.

    Returns
    -------
    Net
        Maps (n, h, w, in_channels) to logits (n, num_classes).

    Raises
    ------
    ValueError
        If no such net has this depth, or an option has another name.

    Examples
    --------
    >>> net = cifar_resnet(20)
    >>> sum(p.size for p in net.parameters())
    269722
    >>> net(mg.Tensor(np.zeros((2, 32, 32, 3), "float32"))).shape
    (2, 10)
    """
    n = blocks_per_stage("cifar_resnet", depth)
    filters = (width, width, 2 * width, 4 * width)
    return residual_net(cifar_stem, basic, (n, n, n), filters, shortcut=shortcut, num_classes=num_classes, **settings)
