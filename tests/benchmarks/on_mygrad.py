"""The training step of a CIFAR net in MyGrad 2.5, images (n, c, h, w). It has operators, but neither layers nor SGD."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mygrad
import numpy as np
from mygrad.nnet.activations import relu
from mygrad.nnet.layers import batchnorm, conv_nd
from mygrad.nnet.losses import softmax_crossentropy

mygrad.turn_memory_guarding_off()  # it locks arrays against writing while a graph needs them, and costs time


class Net:
    """The twin of `models.cifar_resnet`: 16, 32 and 64 channels, option A. (Without running statistics.)"""

    def __init__(self, depth: int) -> None:
        self.rng, self.parameters = np.random.default_rng(0), list[Any]()
        self.stem = self.conv_bn(3, 16)
        self.blocks, c_in = [], 16
        for c_out in (16, 32, 64):
            for _ in range((depth - 2) // 6):
                self.blocks.append((c_out // c_in, self.conv_bn(c_in, c_out), self.conv_bn(c_out, c_out)))
                c_in = c_out
        self.w, self.b = self.draw((c_in, 10), c_in), self.fill(10, 0.0)

    def conv_bn(self, c_in: int, c_out: int) -> tuple[Any, Any, Any]:
        """Make the weights of a 3x3 convolution, and gamma and beta."""
        return self.draw((c_out, c_in, 3, 3), 9 * c_in), self.fill(c_out, 1.0), self.fill(c_out, 0.0)

    def draw(self, shape: tuple[int, ...], fan_in: int) -> Any:
        """Make a parameter by He's rule."""
        return self.parameter(self.rng.standard_normal(shape, dtype=np.float32) * np.float32((2 / fan_in) ** 0.5))

    def fill(self, size: int, value: float) -> Any:
        """Make a vector of one value."""
        return self.parameter(np.full(size, value, np.float32))

    def parameter(self, array: Any) -> Any:
        """Enter a parameter into the list."""
        self.parameters.append(mygrad.tensor(array, copy=False))
        return self.parameters[-1]

    def __call__(self, x: Any) -> Any:
        """Map images to logits."""
        x = relu(layer(x, *self.stem))
        for stride, first, second in self.blocks:
            out = layer(relu(layer(x, *first, stride=stride)), *second)
            if stride > 1:
                x = x[:, :, ::stride, ::stride]
                x = mygrad.concatenate([x, np.zeros_like(x.data)], axis=1)  # it has no pad; stages double the channels
            x = relu(out + x)
        return mygrad.mean(x, axis=(2, 3)) @ self.w + self.b


def layer(x: Any, w: Any, gamma: Any, beta: Any, stride: int = 1) -> Any:
    """Convolve 3x3, and normalise."""
    out = conv_nd(x, w, stride=1, padding=1)
    if stride > 1:
        out = out[:, :, ::stride, ::stride]  # conv_nd refuses strides that leave a rest: 32 pixels with stride 2
    return batchnorm(out, gamma=gamma, beta=beta, eps=1e-5)


def train(net: list[Any], batch: int, size: int, classes: int) -> Callable[[], None]:
    """Forward, loss, backward and SGD on one batch."""
    rng = np.random.default_rng(0)
    model = Net(net[1])
    velocities = [np.zeros_like(p.data) for p in model.parameters]
    images = mygrad.tensor(rng.standard_normal((batch, 3, size, size), dtype=np.float32), constant=True)
    labels = rng.integers(classes, size=batch)

    def step() -> None:
        softmax_crossentropy(model(images), labels).backward()  # gradients of the step before are dropped by itself
        for p, v in zip(model.parameters, velocities, strict=True):
            v *= 0.9
            v += p.grad + 1e-4 * p.data
            p.data[...] -= 0.01 * v

    return step
