"""The training step of a CIFAR net in Chainer 7.8, images (n, c, h, w)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import chainer
import chainer.functions as F
import chainer.links as L
import numpy as np


class Block(chainer.Chain):
    """Two 3x3 convolutions and the shortcut of option A."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.stride, self.missing = c_out // c_in, c_out - c_in
        with self.init_scope():
            self.conv1 = L.Convolution2D(c_in, c_out, 3, self.stride, pad=1, nobias=True)
            self.bn1 = L.BatchNormalization(c_out)
            self.conv2 = L.Convolution2D(c_out, c_out, 3, pad=1, nobias=True)
            self.bn2 = L.BatchNormalization(c_out)

    def forward(self, x: Any) -> Any:
        """Map (n, c_in, h, w) to (n, c_out, h / stride, w / stride)."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.missing:
            x = x[:, :, :: self.stride, :: self.stride]
            x = F.pad(x, [(0, 0), (0, self.missing), (0, 0), (0, 0)], "constant")
        return F.relu(out + x)


def cifar_resnet(depth: int) -> Any:
    """The twin of `models.cifar_resnet`: 16, 32 and 64 channels, option A."""
    layers: list[Any] = [L.Convolution2D(3, 16, 3, pad=1, nobias=True), L.BatchNormalization(16), F.relu]
    c_in = 16
    for c_out in (16, 32, 64):
        for _ in range((depth - 2) // 6):
            layers.append(Block(c_in, c_out))
            c_in = c_out
    return chainer.Sequential(*layers, lambda x: F.mean(x, axis=(2, 3)), L.Linear(c_in, 10))


def train(net: list[Any], batch: int, size: int, classes: int) -> Callable[[], None]:
    """Forward, loss, backward and SGD on one batch."""
    rng = np.random.default_rng(0)
    model = cifar_resnet(net[1])
    sgd = chainer.optimizers.MomentumSGD(lr=1e-4, momentum=0.9).setup(model)
    sgd.add_hook(chainer.optimizer_hooks.WeightDecay(1e-4))
    images = rng.standard_normal((batch, 3, size, size), dtype=np.float32)
    labels = rng.integers(classes, size=batch).astype(np.int32)

    def step() -> None:
        model.cleargrads()
        F.softmax_cross_entropy(model(images), labels).backward()
        sgd.update()

    return step
