"""Plain nets: layers one after the other, as in VGG.

The CIFAR nets of "Deep Residual Learning", section 4.2: a 3x3 convolution, then three stages of 2n such
layers on maps of 32, 16 and 8 pixels with 16, 32 and 64 filters, then global average pooling and a
fully connected layer: 6n + 2 layers with weights. Each convolution is followed by batch norm and ReLU; the first
of a stage has stride 2 in place of pooling.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad import nn
from minigrad.nn.init import Rng


def cifar_plain(
    depth: int,
    *,
    num_classes: int = 10,
    in_channels: int = 3,
    width: int = 16,
    rng: Rng = 0,
    dtype: Any = np.float32,
) -> nn.Sequential:
    """Build the plain net of section 4.2 with `depth` layers.

    Parameters
    ----------
    depth : int
        6n + 2: 20, 32, 44, 56, 110 in the paper.
    num_classes, in_channels : int
    width : int
        Filters of the first stage; doubled in each of the next two.
    rng : numpy Generator or seed
    dtype : dtype

    Returns
    -------
    nn.Sequential
        Maps (n, h, w, in_channels) to logits (n, num_classes).

    Raises
    ------
    ValueError
        If no such net has this depth.

    Examples
    --------
    >>> import minigrad as mg
    >>> net = cifar_plain(20)
    >>> sum(p.size for p in net.parameters())
    269722
    """
    n = blocks_per_stage("cifar_plain", depth)
    rng = np.random.default_rng(rng)
    layers: list[nn.Module] = [*conv_bn_relu(in_channels, width, 1, rng, dtype)]
    c_in = width
    for stage in range(3):
        for i in range(2 * n):
            c_out, stride = width * 2**stage, 2 if stage > 0 and i == 0 else 1
            layers += conv_bn_relu(c_in, c_out, stride, rng, dtype)
            c_in = c_out
    return nn.Sequential(*layers, nn.GlobalAvgPool2d(), nn.Linear(c_in, num_classes, rng=rng, dtype=dtype))


def conv_bn_relu(c_in: int, c_out: int, stride: int, rng: Rng, dtype: Any, bn_eps: float = 1e-5) -> list[nn.Module]:
    """List the three parts of a layer: 3x3 convolution, batch norm, ReLU."""
    return [
        nn.Conv2d(c_in, c_out, 3, stride=stride, padding=1, bias=False, rng=rng, dtype=dtype),
        nn.BatchNorm2d(c_out, eps=bn_eps, dtype=dtype),
        nn.ReLU(),
    ]


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
