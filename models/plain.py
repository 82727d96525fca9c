"""Plain nets: chains of layers without shortcuts, as in VGG.

The nets of "Deep Residual Learning" have one structure, :class:`Net`: a first convolution, stages, global average
pooling and a fully connected layer. The stages follow two rules (section 3.3): layers on maps of one size have the
same number of filters; where the maps are halved, the filters are doubled, so that every layer costs the same. A
layer is a convolution, batch norm and ReLU; the first of a stage has stride 2 in place of pooling.

The nets for ImageNet (Table 1) have four stages on maps of 56, 28, 14 and 7 pixels; those for CIFAR-10 (section
4.2) have three stages of 2n layers on maps of 32, 16 and 8 pixels: 6n + 2 layers with weights.

Attributes have torchvision's names, and so have the paths in a ``state_dict``: ``conv1.weight``,
``layer2.0.bn1.weight``.

Next: :mod:`models.resnet`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias, TypedDict, Unpack

import numpy as np

from minigrad import nn
from minigrad.arguments import expect, generator
from minigrad.autograd.tensor import Tensor
from minigrad.checked import named
from minigrad.typing import Rng

from .legacy import todays_path

if TYPE_CHECKING:
    import numpy.typing as npt

#: Makes a convolution and its batch norm from (kernel, c_in, c_out, stride): :func:`conv_bn` with the rest set.
ConvBN: TypeAlias = Callable[..., tuple[nn.Conv2d, nn.BatchNorm2d]]

#: Makes a block of a stage: its arguments are a :data:`ConvBN`, c_in, c_out and the stride.
MakeBlock: TypeAlias = Callable[[ConvBN, int, int, int], nn.Module]

Stem: TypeAlias = Literal["imagenet", "cifar"]


class Settings(TypedDict, total=False):
    """The settings that every net of the paper takes: see :class:`Net`."""

    num_classes: int
    in_channels: int
    bn_eps: float
    rng: Rng
    dtype: npt.DTypeLike


def conv_bn(
    kernel: int,
    c_in: int,
    c_out: int,
    stride: int = 1,
    *,
    bn_eps: float = 1e-5,
    rng: Rng,
    dtype: npt.DTypeLike = np.float32,
) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    """Return a convolution, padded so that only its stride changes the size of the maps, and its batch norm."""
    conv = nn.Conv2d(c_in, c_out, kernel, stride=stride, padding=kernel // 2, bias=False, rng=rng, dtype=dtype)
    return conv, nn.BatchNorm2d(c_out, eps=bn_eps, dtype=dtype)


class PlainBlock(nn.Module):
    """Two 3x3 layers.

    Parameters
    ----------
    conv_bn : function (kernel, c_in, c_out, stride) -> (Conv2d, BatchNorm2d)
        :func:`conv_bn` with the other settings filled in.
    c_in, c_out : int
        Channels in and out.
    stride : int
        Of the first layer.

    Examples
    --------
    >>> block = PlainBlock(partial(conv_bn, rng=0), 8, 16, stride=2)
    >>> block(Tensor(np.zeros((1, 32, 32, 8), "float32"))).shape
    (1, 16, 16, 16)
    """

    norm_after: ClassVar = {"conv1": "bn1", "conv2": "bn2"}  # for nn.fold_batch_norm

    def __init__(self, conv_bn: ConvBN, c_in: int, c_out: int, stride: int = 1) -> None:
        self.conv1, self.bn1 = conv_bn(3, c_in, c_out, stride)
        self.conv2, self.bn2 = conv_bn(3, c_out, c_out)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, h, w, c_in) to (n, h / stride, w / stride, c_out)."""
        y = self.conv1(x)
        y = self.bn1(y)
        y = self.relu(y)
        y = self.conv2(y)
        y = self.bn2(y)
        return self.relu(y)


class Net(nn.Module):
    """A net with the structure of Table 1: stem, stages, average pooling, fully connected layer.

    Parameters
    ----------
    stem : "imagenet" or "cifar"
        A 7x7 convolution of stride 2 and max pooling (Table 1: 224 -> 112 -> 56 pixels), or a 3x3 convolution (section
        4.2).
    block : function (conv_bn, c_in, c_out, stride) -> Module
        :class:`PlainBlock`, or another class of blocks.
    blocks : tuple of ints
        How many there are in each stage. Each stage but the first halves the maps, in its first block.
    filters : tuple of ints
        Of conv1 and of each stage.
    num_classes, in_channels : int
    bn_eps : float
    rng : numpy Generator or seed
    dtype : dtype

    Attributes
    ----------
    conv1, bn1, relu, maxpool
        The stem; for CIFAR ``maxpool`` is the identity.
    layer1, layer2, ... : nn.Sequential of blocks
        The stages: conv2_x, conv3_x, ... of Table 1.
    avgpool : nn.GlobalAvgPool2d
    fc : nn.Linear
        From the filters of the last stage to the classes. For other classes, replace it:
        ``net.fc = nn.Linear(512, 10, rng=0)``.

    Raises
    ------
    ValueError
        If `stem` has another name.
    """

    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential

    norm_after: ClassVar = {"conv1": "bn1"}

    def __init__(
        self,
        stem: Stem,
        block: MakeBlock,
        blocks: tuple[int, ...],
        filters: tuple[int, ...],
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        bn_eps: float = 1e-5,
        rng: Rng = 0,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        expect(stem in ("imagenet", "cifar"), "Net", 'stem "imagenet" or "cifar"', repr(stem))
        rng = generator("Net", rng)
        make = partial(conv_bn, bn_eps=bn_eps, rng=rng, dtype=dtype)
        # The stem, which brings the images to the channels and the size of the first stage.
        kernel, stride = (7, 2) if stem == "imagenet" else (3, 1)
        self.conv1, self.bn1 = make(kernel, in_channels, filters[0], stride)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if stem == "imagenet" else nn.Identity()
        # The stages. The first block of each, except the first, halves the maps, and may change the channels.
        for i, (n, (c_in, c_out)) in enumerate(zip(blocks, pairwise(filters), strict=True), 1):
            first = block(make, c_in, c_out, 1 if i == 1 else 2)
            others = [block(make, c_out, c_out, 1) for _ in range(n - 1)]
            setattr(self, f"layer{i}", nn.Sequential(first, *others))
        # The head: the mean of each channel, and one linear layer to the classes.
        self.avgpool: nn.Module = nn.GlobalAvgPool2d()
        self.fc = nn.Linear(filters[-1], num_classes, rng=rng, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (n, h, w, in_channels) to logits (n, num_classes)."""
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        return self.fc(self.avgpool(x))

    def stem(self, x: Tensor) -> Tensor:
        """Map images to the input of the first stage, (n, h, w, filters[0])."""
        return self.maxpool(self.relu(self.bn1(self.conv1(x))))

    @property
    def stages(self) -> list[nn.Sequential]:
        """The stages in their order: layer1, layer2, ..."""
        return [
            part for name, part in self.named_children() if name.startswith("layer") and isinstance(part, nn.Sequential)
        ]

    def renamed(self, path: str) -> str:
        """Return the present path of a parameter or buffer, given its path in a file of an earlier version."""
        return todays_path(super().renamed(path))


@named
def plain_net(stem: Stem, blocks: tuple[int, ...], filters: tuple[int, ...], **settings: Unpack[Settings]) -> Net:
    """Build a plain net; all plain nets below are built with this function.

    Parameters
    ----------
    stem : "imagenet" or "cifar"
    blocks : tuple of ints
        Pairs of layers in each stage.
    filters : tuple of ints
        Of conv1 and of each stage.
    **settings
        As :class:`Net` takes them: num_classes=1000, in_channels=3, bn_eps=1e-5, rng=0, dtype=float32.

    Returns
    -------
    Net
        Maps (n, h, w, in_channels) to logits (n, num_classes).

    Examples
    --------
    >>> net = plain_net("cifar", (1, 1), (4, 4, 8), num_classes=10)
    >>> net(np.zeros((2, 8, 8, 3), "float32")).shape
    (2, 10)
    """
    return Net(stem, PlainBlock, blocks, filters, **settings)


@named
def plain18(**settings: Unpack[Settings]) -> Net:
    """Build the plain net of 18 layers (Table 1 without shortcuts).

    Parameters
    ----------
    **settings
        As :class:`Net` takes them: num_classes=1000, in_channels=3, bn_eps=1e-5, rng=0, dtype=float32.

    Returns
    -------
    Net
        Maps (n, 224, 224, in_channels), or other sizes, to logits (n, num_classes).

    Examples
    --------
    >>> sum(p.size for p in plain18().parameters())
    11515688
    """
    return plain_net("imagenet", (2, 2, 2, 2), (64, 64, 128, 256, 512), **settings)


@named
def plain34(**settings: Unpack[Settings]) -> Net:
    """Build the plain net of 34 layers (Table 1 without shortcuts; Fig. 3, middle): see :func:`plain18`.

    Examples
    --------
    >>> sum(p.size for p in plain34().parameters())
    21623848
    """
    return plain_net("imagenet", (3, 4, 6, 3), (64, 64, 128, 256, 512), **settings)


@named
def cifar_plain(depth: int, *, width: int = 16, **settings: Unpack[Settings]) -> Net:
    """Build the plain net of section 4.2 with `depth` layers.

    Parameters
    ----------
    depth : int
        6n + 2: 20, 32, 44, 56, 110 in the paper.
    width : int
        Filters of the first stage; doubled in each of the next two.
    **settings
        As :class:`Net` takes them: num_classes=10 here, in_channels=3, bn_eps=1e-5, rng=0, dtype=float32.

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
    blocks, filters = cifar_stages("cifar_plain", depth, width)
    settings.setdefault("num_classes", 10)
    return plain_net("cifar", blocks, filters, **settings)


def cifar_stages(name: str, depth: int, width: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the blocks of each stage of a net of section 4.2, and the filters of conv1 and of each stage.

    Each stage has n blocks, where depth = 6n + 2. An impossible depth is refused, and the nearest possible ones are
    named.
    """
    n, rest = divmod(depth - 2, 6)
    if rest or n < 1:
        below = 6 * max(n, 1) + 2
        near = str(below) if n < 1 else f"{below} or {below + 6}"
        raise ValueError(
            f"{name}: depth {depth} is impossible: three stages of n blocks make 6n + 2 layers; the nearest: {near} "
            "(the paper has 20, 32, 44, 56, 110, 1202)"
        )
    return (n, n, n), (width, width, 2 * width, 4 * width)
