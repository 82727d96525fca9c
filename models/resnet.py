"""Residual nets: each block computes a correction and adds it to its input.

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

from functools import partial
from typing import ClassVar, Literal, TypeAlias, Unpack

import minigrad as mg
from minigrad import nn
from minigrad.arguments import expect
from minigrad.autograd.tensor import Tensor
from minigrad.checked import named

from .plain import ConvBN, Net, PlainBlock, Settings, Stem, cifar_stages

Shortcut: TypeAlias = Literal["A", "B", "C"]
StrideIn: TypeAlias = Literal["1x1", "3x3"]
PadChannels: TypeAlias = Literal["after", "both"]


class ResidualSettings(Settings, total=False):
    """The settings that every residual net takes: see :func:`residual_net`."""

    stride_in: StrideIn
    zero_gamma: bool
    pad_channels: PadChannels


class BasicBlock(PlainBlock):
    """y = relu(F(x) + downsample(x)), where F is two 3x3 layers: a plain block, and the shortcut.

    Parameters
    ----------
    conv_bn : function (kernel, c_in, c_out, stride) -> (Conv2d, BatchNorm2d)
    c_in, c_out, stride : int
        As in :class:`models.plain.PlainBlock`.
    shortcut : "A", "B" or "C"
    pad_channels : "after" or "both"
        As in :func:`residual_net`.

    Examples
    --------
    >>> from models.plain import conv_bn
    >>> block = BasicBlock(partial(conv_bn, rng=0), 1, 1)
    >>> block.bn2.weight.data[...] = 0
    >>> block(mg.Tensor([[[[-1.0], [2.0]]]])).data.ravel()
    array([0., 2.], dtype=float32)
    """

    norm_after: ClassVar = {"conv1": "bn1", "conv2": "bn2"}

    def __init__(
        self,
        conv_bn: ConvBN,
        c_in: int,
        c_out: int,
        stride: int = 1,
        *,
        shortcut: Shortcut = "B",
        pad_channels: PadChannels = "after",
    ) -> None:
        super().__init__(conv_bn, c_in, c_out, stride)
        self.downsample = downsample(conv_bn, c_in, c_out, stride, shortcut, pad_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, h, w, c_in) to (n, h / stride, w / stride, c_out)."""
        y = self.conv1(x)
        y = self.bn1(y)
        y = self.relu(y)
        y = self.conv2(y)
        y = self.bn2(y)
        y = y + self.downsample(x)
        return self.relu(y)


class Bottleneck(nn.Module):
    """y = relu(F(x) + downsample(x)), where F is a 1x1 layer down to c_out / 4 filters, a 3x3, and a 1x1 up to c_out.

    Parameters
    ----------
    conv_bn, c_in, c_out, stride, shortcut, pad_channels
        As in :class:`BasicBlock`.
    stride_in : "1x1" or "3x3"
        Which layer has the stride. The paper, and the nets its authors released, have it in the first 1x1; later ports
        ("v1.5") in the 3x3, which then sees every pixel, for 6 % more multiply-adds in ResNet-50.

    Examples
    --------
    >>> from models.plain import conv_bn
    >>> block = Bottleneck(partial(conv_bn, rng=0), 64, 256)
    >>> block.conv2.weight.shape
    (3, 3, 64, 64)
    """

    norm_after: ClassVar = {"conv1": "bn1", "conv2": "bn2", "conv3": "bn3"}

    def __init__(
        self,
        conv_bn: ConvBN,
        c_in: int,
        c_out: int,
        stride: int = 1,
        *,
        shortcut: Shortcut = "B",
        pad_channels: PadChannels = "after",
        stride_in: StrideIn = "1x1",
    ) -> None:
        width = c_out // 4
        first, second = (stride, 1) if stride_in == "1x1" else (1, stride)
        self.conv1, self.bn1 = conv_bn(1, c_in, width, first)
        self.conv2, self.bn2 = conv_bn(3, width, width, second)
        self.conv3, self.bn3 = conv_bn(1, width, c_out)
        self.relu = nn.ReLU()
        self.downsample = downsample(conv_bn, c_in, c_out, stride, shortcut, pad_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, h, w, c_in) to (n, h / stride, w / stride, c_out)."""
        # To fewer channels, by a 1x1.
        y = self.conv1(x)
        y = self.bn1(y)
        y = self.relu(y)
        # The 3x3, which is affordable there.
        y = self.conv2(y)
        y = self.bn2(y)
        y = self.relu(y)
        # Back to all channels, by a 1x1: this is F(x).
        y = self.conv3(y)
        y = self.bn3(y)
        # The shortcut joins before the last ReLU.
        y = y + self.downsample(x)
        return self.relu(y)


def downsample(
    conv_bn: ConvBN, c_in: int, c_out: int, stride: int, shortcut: Shortcut, pad_channels: PadChannels
) -> nn.Module:
    """Return the layer on the shortcut: the identity where x has the shape of F(x), else option A, B or C."""
    fits = c_in == c_out and stride == 1
    if shortcut == "C" or (shortcut == "B" and not fits):
        return nn.Sequential(*conv_bn(1, c_in, c_out, stride))
    return nn.Identity() if fits else PadShortcut(c_out - c_in, stride, pad_channels)


class PadShortcut(nn.Module):
    """Option A: every `stride`-th pixel, and zeros for the channels that are missing.

    Examples
    --------
    >>> import numpy as np
    >>> PadShortcut(2, 2, "both")(mg.Tensor(np.ones((1, 2, 2, 1), "float32"))).data
    array([[[[0., 1., 0.]]]], dtype=float32)
    """

    def __init__(self, missing: int, stride: int, pad_channels: PadChannels) -> None:
        before = missing // 2 if pad_channels == "both" else 0
        self.missing, self.stride = (before, missing - before), stride

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, h, w, c) to (n, h / stride, w / stride, c + missing)."""
        return mg.pad(x[:, :: self.stride, :: self.stride], [(0, 0), (0, 0), (0, 0), self.missing])


@named
def residual_net(
    stem: Stem,
    block: type[BasicBlock | Bottleneck],
    blocks: tuple[int, ...],
    filters: tuple[int, ...],
    *,
    shortcut: Shortcut = "B",
    stride_in: StrideIn = "1x1",
    zero_gamma: bool = False,
    pad_channels: PadChannels = "after",
    **settings: Unpack[Settings],
) -> Net:
    """Build a residual net; all residual nets below are built with this function.

    Parameters
    ----------
    stem : "imagenet" or "cifar"
    block : class
        :class:`BasicBlock` or :class:`Bottleneck`.
    blocks : tuple of ints
        How many there are in each stage.
    filters : tuple of ints
        Of conv1 and of each stage.
    shortcut : "A", "B" or "C"
    stride_in : "1x1" or "3x3"
        Which layer of a bottleneck halves the maps: the first 1x1, as in the paper, or the 3x3 ("v1.5"). It has
        no effect on basic blocks.
    zero_gamma : bool
        Start with F = 0, so that each block first computes relu(shortcut).
    pad_channels : "after" or "both"
        Where option A puts the zeros: behind the channels, or half on each side. Ports differ in this: the
        numbers of parameters are equal, but the weights are incompatible.
    **settings
        As :class:`models.plain.Net` takes them: num_classes=1000, in_channels=3, bn_eps=1e-5, rng=0, dtype=float32.

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
    >>> import numpy as np
    >>> net = residual_net("cifar", Bottleneck, (1, 1), (4, 16, 32), num_classes=10)
    >>> net(mg.Tensor(np.zeros((2, 8, 8, 3), "float32"))).shape
    (2, 10)
    """
    expect(shortcut in ("A", "B", "C"), "residual_net", 'shortcut "A", "B" or "C"', repr(shortcut))
    expect(stride_in in ("1x1", "3x3"), "residual_net", 'stride_in "1x1" or "3x3"', repr(stride_in))
    expect(pad_channels in ("after", "both"), "residual_net", 'pad_channels "after" or "both"', repr(pad_channels))
    make = partial(block, shortcut=shortcut, pad_channels=pad_channels)
    if issubclass(block, Bottleneck):
        make = partial(make, stride_in=stride_in)
    net = Net(stem, make, blocks, filters, **settings)
    if zero_gamma:
        for _, module in net.named_modules():
            if isinstance(module, BasicBlock | Bottleneck):
                last = module.bn2 if isinstance(module, BasicBlock) else module.bn3
                last.weight.data[...] = 0
    return net


# The nets of the paper -----------------------------------------------------------------------

#: Table 1: the block, the number of blocks in conv2_x to conv5_x, and the filters of conv1, conv2_x, ..., conv5_x.
TABLE_1: dict[int, tuple[type[BasicBlock | Bottleneck], tuple[int, ...], tuple[int, ...]]] = {
    18: (BasicBlock, (2, 2, 2, 2), (64, 64, 128, 256, 512)),
    34: (BasicBlock, (3, 4, 6, 3), (64, 64, 128, 256, 512)),
    50: (Bottleneck, (3, 4, 6, 3), (64, 256, 512, 1024, 2048)),
    101: (Bottleneck, (3, 4, 23, 3), (64, 256, 512, 1024, 2048)),
    152: (Bottleneck, (3, 8, 36, 3), (64, 256, 512, 1024, 2048)),
}


@named
def resnet18(shortcut: Shortcut = "B", **settings: Unpack[ResidualSettings]) -> Net:
    """Build ResNet-18 for ImageNet.

    Parameters
    ----------
    shortcut : "A", "B" or "C"
    **settings
        As :func:`residual_net` takes them: stride_in="1x1", zero_gamma=False, pad_channels="after",
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
    return residual_net("imagenet", *TABLE_1[18], shortcut=shortcut, **settings)


@named
def resnet34(shortcut: Shortcut = "B", **settings: Unpack[ResidualSettings]) -> Net:
    """Build ResNet-34 for ImageNet: see :func:`resnet18`.

    Examples
    --------
    >>> sum(p.size for p in resnet34(shortcut="A").parameters())
    21623848
    """
    return residual_net("imagenet", *TABLE_1[34], shortcut=shortcut, **settings)


@named
def resnet50(shortcut: Shortcut = "B", **settings: Unpack[ResidualSettings]) -> Net:
    """Build ResNet-50 for ImageNet: see :func:`resnet18`.

    Examples
    --------
    >>> sum(p.size for p in resnet50().parameters())
    25557032
    """
    return residual_net("imagenet", *TABLE_1[50], shortcut=shortcut, **settings)


@named
def resnet101(shortcut: Shortcut = "B", **settings: Unpack[ResidualSettings]) -> Net:
    """Build ResNet-101 for ImageNet: see :func:`resnet18`.

    Examples
    --------
    >>> sum(p.size for p in resnet101().parameters())
    44549160
    """
    return residual_net("imagenet", *TABLE_1[101], shortcut=shortcut, **settings)


@named
def resnet152(shortcut: Shortcut = "B", **settings: Unpack[ResidualSettings]) -> Net:
    """Build ResNet-152 for ImageNet: see :func:`resnet18`.

    Examples
    --------
    >>> sum(p.size for p in resnet152().parameters())
    60192808
    """
    return residual_net("imagenet", *TABLE_1[152], shortcut=shortcut, **settings)


@named
def cifar_resnet(depth: int, shortcut: Shortcut = "A", width: int = 16, **settings: Unpack[ResidualSettings]) -> Net:
    """Build the residual net of section 4.2 with `depth` layers.

    Parameters
    ----------
    depth : int
        6n + 2: 20, 32, 44, 56, 110 and 1202 in the paper.
    shortcut : "A", "B" or "C"
    width : int
        Filters of the first stage; doubled in each of the next two.
    **settings
        As :func:`residual_net` takes them: stride_in="1x1", zero_gamma=False, pad_channels="after", num_classes=10
        here, in_channels=3, bn_eps=1e-5, rng=0, dtype=float32.

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
    >>> import numpy as np
    >>> net = cifar_resnet(20)
    >>> sum(p.size for p in net.parameters())
    269722
    >>> net(mg.Tensor(np.zeros((2, 32, 32, 3), "float32"))).shape
    (2, 10)
    """
    blocks, filters = cifar_stages("cifar_resnet", depth, width)
    settings.setdefault("num_classes", 10)
    return residual_net("cifar", BasicBlock, blocks, filters, shortcut=shortcut, **settings)
