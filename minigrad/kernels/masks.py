"""ReLU, its gradient, and where(mask, x, 0), without a branch for each element.

Definitions: ``maximum(x, 0)``, ``where(x > 0, g, 0)`` and ``where(mask, a, 0.0)`` of NumPy.

Next: :mod:`minigrad.kernels.memory`.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from minigrad.kernels import blocks
from minigrad.typing import Array


def gated(g: Array, x: Array, out: Array = None) -> Array:
    """np.where(x > 0, g, 0.0), without its branch for every element, written into `out`."""
    out = np.empty_like(g) if out is None else out
    return _times_bits(g, np.greater(x, 0, out=out.view(f"i{g.itemsize}")))


def rectified(x: Array, out: Array = None) -> Array:
    """max(x, 0); with an array of zeros, which takes NumPy a fifth of the time that the number 0 does."""
    zeros = _zeros(x.dtype)
    return np.maximum(x, zeros[: x.size].reshape(x.shape) if x.size <= zeros.size else 0, out=out)


@functools.cache
def _zeros(dtype: Any) -> Array:
    """Zeros for a block, or for an array that is too small to be cut into blocks."""
    return np.zeros(2 * blocks.BLOCK_BYTES // dtype.itemsize, dtype)


def is_mask(a: Any, b: Any, condition: Any) -> bool:
    """Say whether this is the where(mask, g, 0.0) of the rules above, on a host array of float32 or float64."""
    return (
        isinstance(b, float)
        and b == 0.0
        and math.copysign(1, b) > 0
        and isinstance(a, np.ndarray)
        and isinstance(condition, np.ndarray)
        and a.shape == condition.shape
        and condition.dtype == np.bool_
        and a.dtype in (np.float32, np.float64)
    )


def masked(a: Array, mask: Array) -> Array:
    """np.where(mask, a, 0.0), without its branch for every element: ten times as fast on a mask like ReLU's."""
    return _times_bits(a, mask.astype(f"i{a.itemsize}"))


def _times_bits(a: Array, bits: Array) -> Array:
    """Keep `a` where the integers `bits` are 1, and 0.0 where they are 0, in their place.

    A bit pattern AND all ones is itself, AND all zeros is 0.0. (a * bits would be as fast, but infinity * 0 is NaN.)
    """
    np.negative(bits, out=bits)  # all zeros or all ones
    return np.bitwise_and(a.view(bits.dtype), bits, out=bits).view(a.dtype)
