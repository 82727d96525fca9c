"""The training step of a CIFAR net in JAX, one function that XLA compiles whole; images (n, h, w, c)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def train(net: list[Any], batch: int, size: int, classes: int) -> Callable[[], None]:
    """Forward, loss, backward and SGD on one batch."""
    rng = np.random.default_rng(0)
    weights, statistics = cifar_resnet(net[1], rng)
    state = weights, jax.tree.map(jnp.zeros_like, weights), statistics
    images = jnp.asarray(rng.standard_normal((batch, size, size, 3), dtype=np.float32))
    labels = jnp.asarray(rng.integers(classes, size=batch))

    def step() -> None:
        nonlocal state
        state = jax.block_until_ready(update(state, images, labels))  # JAX returns before it has computed

    return step


def cifar_resnet(depth: int, rng: np.random.Generator) -> tuple[Any, Any]:
    """Draw the twin of `models.cifar_resnet`, 16, 32 and 64 channels, option A: weights, and running statistics."""
    filters = [3, 16] + [c for c in (16, 32, 64) for _ in range((depth - 2) // 3)]

    def draw(*shape: int) -> jax.Array:
        """Draw by He's rule."""
        scale = (2 / np.prod(shape[:-1])) ** 0.5
        return jnp.asarray(rng.standard_normal(shape, dtype=np.float32) * np.float32(scale))

    layers = [{"w": draw(3, 3, c, o), "gamma": jnp.ones(o), "beta": jnp.zeros(o)} for c, o in pairwise(filters)]
    statistics = [{"mean": jnp.zeros(o), "var": jnp.ones(o)} for o in filters[1:]]
    return {"layers": layers, "fc": {"w": draw(filters[-1], 10), "b": jnp.zeros(10)}}, statistics


def forward(weights: Any, statistics: Any, x: jax.Array) -> tuple[jax.Array, Any]:
    """Map images (n, h, w, 3) to logits (n, 10), and return the new running statistics."""
    layers = iter(zip(weights["layers"], statistics, strict=True))
    seen = []

    def conv_bn(x: jax.Array, stride: int = 1) -> jax.Array:
        layer, running = next(layers)
        border = (1, 1), (1, 1)
        x = jax.lax.conv_general_dilated(
            x, layer["w"], (stride, stride), border, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
        pixels = x.size // x.shape[3]
        unbiased = var * (pixels / (pixels - 1))
        seen.append({"mean": 0.9 * running["mean"] + 0.1 * mean, "var": 0.9 * running["var"] + 0.1 * unbiased})
        return (x - mean) * (jax.lax.rsqrt(var + 1e-5) * layer["gamma"]) + layer["beta"]

    x = jax.nn.relu(conv_bn(x))
    for i in range(len(weights["layers"]) // 2):
        missing = weights["layers"][2 * i + 1]["w"].shape[3] - x.shape[3]
        stride = 2 if missing else 1
        out = conv_bn(jax.nn.relu(conv_bn(x, stride)))
        x = jax.nn.relu(out + jnp.pad(x[:, ::stride, ::stride], ((0, 0), (0, 0), (0, 0), (0, missing))))
    return x.mean((1, 2)) @ weights["fc"]["w"] + weights["fc"]["b"], seen


@partial(jax.jit, donate_argnums=0)  # the new state may be written over the old one
def update(state: Any, images: jax.Array, labels: jax.Array) -> Any:
    """Return the weights, the velocities and the running statistics after one step."""
    weights, velocities, statistics = state

    def loss(weights: Any) -> tuple[jax.Array, Any]:
        logits, seen = forward(weights, statistics, images)
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1).mean(), seen

    gradients, seen = jax.grad(loss, has_aux=True)(weights)
    velocities = jax.tree.map(lambda v, g, w: 0.9 * v + g + 1e-4 * w, velocities, gradients, weights)
    return jax.tree.map(lambda w, v: w - 1e-4 * v, weights, velocities), velocities, seen
