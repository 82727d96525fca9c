"""Residual nets: each block adds to its input what its layers found missing.

A block of "Deep Residual Learning", section 3.2, is

    y = relu(F(x) + x),    F = conv, bn, relu, conv, bn.

Where a block changes the size of the maps and the number of filters, x does not fit F(x), and the shortcut is one of

    A   every second pixel, and zeros for the new channels: no parameters,
    B   a 1x1 convolution and batch norm, where the shape changes; the identity elsewhere,
    C   a 1x1 convolution and batch norm in every block.

The CIFAR nets of section 4.2 are here; they use A.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import minigrad as mg
from minigrad import nn
from minigrad.nn.init import Rng
from models.plain import blocks_per_stage, conv_bn_relu


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: y = relu(bn(conv(relu(bn(conv(x))))) + shortcut(x)).

    Parameters
    ----------
    c_in, c_out : int
    stride : int
        Of the first convolution and of the shortcut.
    shortcut : "A", "B" or "C"
    zero_gamma : bool
        Begin with F = 0, so that the block begins as its shortcut.
    pad_channels : "after" or "both"
        Where option A puts the zeros: behind the channels, or half on each side.
    bn_eps : float
    rng : numpy Generator or seed
    dtype : dtype

    Examples
    --------
    >>> block = BasicBlock(16, 32, 2, shortcut="A", rng=0)
    >>> block(mg.Tensor(np.ones((2, 8, 8, 16), "float32"))).shape
    (2, 4, 4, 32)
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        stride: int,
        *,
        shortcut: str,
        zero_gamma: bool = False,
        pad_channels: str = "after",
        bn_eps: float = 1e-5,
        rng: Rng,
        dtype: Any = np.float32,
    ) -> None:
        rng = np.random.default_rng(rng)
        settings: dict[str, Any] = {"bias": False, "rng": rng, "dtype": dtype}
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride=stride, padding=1, **settings)
        self.bn1 = nn.BatchNorm2d(c_out, eps=bn_eps, dtype=dtype)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1, **settings)
        self.bn2 = nn.BatchNorm2d(c_out, eps=bn_eps, dtype=dtype)
        if zero_gamma:
            self.bn2.gamma.data[...] = 0
        fits = c_in == c_out and stride == 1
        self.shortcut: nn.Module
        if shortcut == "C" or (shortcut == "B" and not fits):
            self.shortcut = nn.Sequential(
                nn.Conv2d(c_in, c_out, 1, stride=stride, **settings), nn.BatchNorm2d(c_out, eps=bn_eps, dtype=dtype)
            )
        else:
            self.shortcut = nn.Identity() if fits else PadShortcut(c_out - c_in, stride, pad_channels)

    def forward(self, x: Any) -> Any:
        """Map (n, h, w, c_in) to (n, h / stride, w / stride, c_out)."""
        out = mg.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return mg.relu(out + self.shortcut(x))


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


def cifar_resnet(
    depth: int,
    shortcut: str = "A",
    width: int = 16,
    *,
    num_classes: int = 10,
    in_channels: int = 3,
    zero_gamma: bool = False,
    pad_channels: str = "after",
    bn_eps: float = 1e-5,
    rng: Rng = 0,
    dtype: Any = np.float32,
) -> nn.Sequential:
    """Build the residual net of section 4.2 with `depth` layers.

    Parameters
    ----------
    depth : int
        6n + 2: 20, 32, 44, 56, 110 and 1202 in the paper.
    shortcut : "A", "B" or "C"
    width : int
        Filters of the first stage; doubled in each of the next two.
    num_classes, in_channels : int
    zero_gamma : bool
        Begin every block as its shortcut.
    pad_channels : "after" or "both"
        Where option A puts the zeros. Ports differ: same counts, incompatible weights.
    bn_eps : float
    rng : numpy Generator or seed
    dtype : dtype

    Returns
    -------
    nn.Sequential
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
    if shortcut not in ("A", "B", "C") or pad_channels not in ("after", "both"):
        raise ValueError(
            f'cifar_resnet: expected shortcut "A", "B" or "C" and pad_channels "after" or "both", got {shortcut!r} and '
            f"{pad_channels!r}"
        )
    rng = np.random.default_rng(rng)
    layers: list[nn.Module] = [*conv_bn_relu(in_channels, width, 1, rng, dtype, bn_eps)]
    c_in = width
    for stage in range(3):
        for i in range(n):
            c_out, stride = width * 2**stage, 2 if stage > 0 and i == 0 else 1
            layers.append(
                BasicBlock(
                    c_in,
                    c_out,
                    stride,
                    shortcut=shortcut,
                    zero_gamma=zero_gamma,
                    pad_channels=pad_channels,
                    bn_eps=bn_eps,
                    rng=rng,
                    dtype=dtype,
                )
            )
            c_in = c_out
    return nn.Sequential(*layers, nn.GlobalAvgPool2d(), nn.Linear(c_in, num_classes, rng=rng, dtype=dtype))
