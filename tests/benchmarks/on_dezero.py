"""The training step of a CIFAR net in DeZero 0.0.13, images (n, c, h, w)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

np.int = int  # noqa: NPY001  # pyright: ignore  # DeZero is older than NumPy 1.24, which dropped the alias

import dezero  # noqa: E402
import dezero.functions as F  # noqa: E402
import dezero.layers as L  # noqa: E402


class PadChannels(dezero.Function):
    """Zeros for the channels that are missing: DeZero has neither pad nor concatenate."""

    def __init__(self, missing: int) -> None:
        self.missing = missing

    def forward(self, x: Any) -> Any:
        """Map (n, c, h, w) to (n, c + missing, h, w)."""
        return np.pad(x, [(0, 0), (0, self.missing), (0, 0), (0, 0)])

    def backward(self, gy: Any) -> Any:
        """Cut the zeros off."""
        return gy[:, : gy.shape[1] - self.missing]


class Block(L.Layer):
    """Two 3x3 convolutions and the shortcut of option A."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.stride, self.missing = c_out // c_in, c_out - c_in
        self.conv1 = L.Conv2d(c_out, 3, self.stride, pad=1, nobias=True, in_channels=c_in)
        self.bn1 = L.BatchNorm()
        self.conv2 = L.Conv2d(c_out, 3, 1, pad=1, nobias=True, in_channels=c_out)
        self.bn2 = L.BatchNorm()

    def forward(self, x: Any) -> Any:
        """Map (n, c_in, h, w) to (n, c_out, h / stride, w / stride)."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.missing:
            x = PadChannels(self.missing)(x[:, :, :: self.stride, :: self.stride])
        return F.relu(out + x)


class Net(dezero.Model):
    """The twin of `models.cifar_resnet`: 16, 32 and 64 channels, option A."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.conv, self.bn = L.Conv2d(16, 3, 1, pad=1, nobias=True, in_channels=3), L.BatchNorm()
        self.blocks, c_in = [], 16
        for c_out in (16, 32, 64):
            for _ in range((depth - 2) // 6):
                self.blocks.append(Block(c_in, c_out))
                setattr(self, f"block{len(self.blocks)}", self.blocks[-1])  # what a list holds is not found
                c_in = c_out
        self.fc = L.Linear(10, in_size=c_in)

    def forward(self, x: Any) -> Any:
        """Map images to logits."""
        x = F.relu(self.bn(self.conv(x)))
        for block in self.blocks:
            x = block(x)
        return self.fc(F.average_pooling(x, x.shape[2]).reshape(x.shape[0], -1))


def train(net: list[Any], batch: int, size: int, classes: int) -> Callable[[], None]:
    """Forward, loss, backward and SGD on one batch."""
    rng = np.random.default_rng(0)
    model = Net(net[1])
    sgd = dezero.optimizers.MomentumSGD(lr=1e-4, momentum=0.9).setup(model)
    sgd.add_hook(dezero.optimizers.WeightDecay(1e-4))
    images = rng.standard_normal((batch, 3, size, size), dtype=np.float32)
    # float32 minus a larger integer type is float64, in which its whole backward pass would then run
    labels = rng.integers(classes, size=batch).astype(np.int16)

    def step() -> None:
        loss = F.softmax_cross_entropy(model(images), labels)
        model.cleargrads()
        loss.backward()
        sgd.update()

    return step
