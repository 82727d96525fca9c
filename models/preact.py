"""Residual nets with pre-activation: batch norm and ReLU come before each convolution, and nothing after the addition.

In a block of :mod:`models.resnet`, a ReLU follows the addition, so the path from block to block is not the identity:
each ReLU clips it. K. He, X. Zhang, S. Ren, J. Sun, "Identity Mappings in Deep Residual Networks", arXiv 1603.05027,
move batch norm and ReLU in front of the convolutions (Fig. 4e, "full pre-activation"). A block is then

    y = F(x) + x,        F: batch norm, ReLU, 3x3 convolution, batch norm, ReLU, 3x3 convolution,

and the output of a block is the input of any earlier block plus the F of all blocks between them.

Two places differ from that rule (section 4.1). The batch norm and the ReLU of the first block come before its shortcut
leaves: they are those of the stem. After the last addition, one more batch norm and ReLU come before the pooling. So
the net has as many batch norms as :func:`models.resnet.cifar_resnet`, of the same sizes, and with the same convolutions
it has as many parameters and multiply-adds.

Next: :mod:`models.vgg`.
"""

from __future__ import annotations

from typing import ClassVar, Unpack

from minigrad import nn
from minigrad.autograd.tensor import Tensor
from minigrad.checked import named

from .plain import ConvBN, Net, Settings, cifar_stages
from .resnet import downsample


class PreactBlock(nn.Module):
    """y = F(x) + x, where each of the two convolutions of F has its batch norm and ReLU before it.

    Where the block changes the shape, the shortcut is option A of :mod:`models.resnet`. There it takes relu(bn1(x)), as
    F does, and as in the nets that the authors released.

    Parameters
    ----------
    conv_bn : function (kernel, c_in, c_out, stride) -> (Conv2d, BatchNorm2d)
    c_in, c_out, stride : int
        As in :class:`models.plain.PlainBlock`.

    Examples
    --------
    >>> import numpy as np
    >>> from functools import partial
    >>> from models.plain import conv_bn
    >>> block = PreactBlock(partial(conv_bn, rng=0), 1, 1)
    >>> block.conv2.weight.data[...] = 0
    >>> block(Tensor([[[[-1.0], [2.0]]]])).data.ravel()  # F is 0: the identity, for negative numbers, too
    array([-1.,  2.], dtype=float32)
    """

    norm_after: ClassVar = {"conv1": "bn2"}  # for nn.fold_batch_norm: no layer that could take in bn1 stands before it

    def __init__(self, conv_bn: ConvBN, c_in: int, c_out: int, stride: int = 1) -> None:
        conv1, bn2 = conv_bn(3, c_in, c_out, stride)
        self.bn1: nn.Module = nn.BatchNorm2d(c_in, eps=bn2.eps, dtype=bn2.weight.dtype)
        self.conv1, self.bn2 = conv1, bn2
        self.conv2, _ = conv_bn(3, c_out, c_out)  # the batch norm after it is bn1 of the next block
        self.relu = nn.ReLU()
        self.downsample = downsample(conv_bn, c_in, c_out, stride, "A", "after")

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, h, w, c_in) to (n, h / stride, w / stride, c_out)."""
        y = self.bn1(x)
        y = self.relu(y)
        x = x if isinstance(self.downsample, nn.Identity) else y
        y = self.conv1(y)
        y = self.bn2(y)
        y = self.relu(y)
        y = self.conv2(y)
        return y + self.downsample(x)


@named
def cifar_preact_resnet(depth: int, *, width: int = 16, **settings: Unpack[Settings]) -> Net:
    """Build the residual net of 3x3 convolutions with pre-activation (He et al., 2016) with `depth` layers.

    Parameters
    ----------
    depth : int
        6n + 2: 110 in the paper.
    width : int
        Filters of the first stage; doubled in each of the next two.
    **settings
        As :class:`models.plain.Net` takes them: num_classes=10 here, in_channels=3, bn_eps=1e-5, rng=0, dtype=float32.

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
    >>> net = cifar_preact_resnet(20)
    >>> sum(p.size for p in net.parameters())  # as many as cifar_resnet(20)
    269722
    """
    blocks, filters = cifar_stages("cifar_preact_resnet", depth, width)
    settings.setdefault("num_classes", 10)
    net = Net("cifar", PreactBlock, blocks, filters, **settings)
    first = net.layer1[0]
    assert isinstance(first, PreactBlock)
    first.bn1 = nn.Identity()  # the stem ends with batch norm and ReLU
    last = nn.BatchNorm2d(filters[-1], eps=net.bn1.eps, dtype=net.bn1.weight.dtype)
    net.avgpool = nn.Sequential(last, nn.ReLU(), net.avgpool)
    return net
