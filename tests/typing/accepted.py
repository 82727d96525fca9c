"""What type checkers know of minigrad: Tensor in, Tensor out; arrays in, array out."""

from typing import assert_type

import numpy as np

import minigrad as mg
from minigrad import nn
from minigrad.typing import Array

x = mg.Tensor([[1.0, 2.0]], requires_grad=True)
a: Array = np.ones((1, 2), "float32")

# elementwise, with Tensors, arrays and numbers on either side
assert_type(mg.add(x, x), mg.Tensor)
assert_type(mg.add(a, x), mg.Tensor)
assert_type(mg.add(2.0, x), mg.Tensor)
assert_type(mg.add(a, a), Array)
assert_type(mg.relu(x), mg.Tensor)
assert_type(mg.relu(a), Array)
assert_type(mg.gelu(x), mg.Tensor)
assert_type(mg.leaky_relu(a, 0.1), Array)
assert_type(mg.clip(x, 0.0, a_max=1.0), mg.Tensor)
assert_type(mg.where(a > 0, x, 0.0), mg.Tensor)
assert_type(mg.where(a > 0, a, 0.0), Array)

# settings, by position and by name
assert_type(mg.sum(x, (0, 1), keepdims=True), mg.Tensor)
assert_type(mg.mean(a, axis=0), Array)
assert_type(mg.reshape(x, (2, -1)), mg.Tensor)
assert_type(mg.concatenate([a, a]), Array)
assert_type(mg.concatenate([x, x], axis=1), mg.Tensor)

# products and images
assert_type(mg.matmul(x, a.T), mg.Tensor)
assert_type(mg.linear(a, np.ones((2, 3))), Array)
assert_type(mg.linear(a, nn.Parameter([[1.0], [2.0]]), None), mg.Tensor)
assert_type(mg.conv2d(x, x, None, stride=(1, 2), padding=1), mg.Tensor)
assert_type(mg.max_pool2d(a, 2, stride=2), Array)
assert_type(mg.cross_entropy(x, np.array([1])), mg.Tensor)

# Python's operators and NumPy's methods
assert_type(1.0 + x * a, mg.Tensor)
assert_type((x @ x.T)[0], mg.Tensor)
assert_type(x.sum(0).reshape(1, 2).transpose(), mg.Tensor)
assert_type(x.exp().clip(0.0, 1.0).squeeze(0).flatten().astype("float64"), mg.Tensor)
assert_type(x.argmax(1), Array)
assert_type(x > 0.0, Array)
assert_type(x.shape, tuple[int, ...])

# gradients
assert_type(mg.grad(x.sum(), x), tuple[mg.Tensor, ...])
assert_type(x.grad, mg.Tensor | None)

# an operator of one's own keeps its signature


@mg.operator
def cube(v: Array, /, scale: float = 1.0) -> Array:
    """scale x^3"""
    return scale * v**3


cube.vjp(lambda g, v, scale: g * 3 * scale * v**2)
assert_type(cube(x, scale=2.0), mg.Tensor)
assert_type(cube(a), Array)
