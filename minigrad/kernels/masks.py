"""ReLU, its gradient, and where(mask, a, 0.0), without a branch for each element.

Definitions: NumPy's ``maximum(x, 0)``, ``where(x > 0, g, 0.0)`` and ``where(mask, a, 0.0)``.

Next: :mod:`minigrad.kernels.memory`.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from minigrad.kernels import blocks
from minigrad.typing import Array, DType


def relu(x: Array, out: Array | None = None) -> Array:
    """Return max(x, 0). NumPy is more than four times as fast with an array of zeros as with the number 0."""
    zeros = _zeros(x.dtype, 2 * blocks.BLOCK_BYTES)
    return np.maximum(x, zeros[: x.size].reshape(x.shape) if x.size <= zeros.size else 0, out=out)


@functools.cache
def _zeros(dtype: DType, nbytes: int) -> Array:
    """Return zeros for a block, or for an array that is too small to be cut into blocks."""
    return np.zeros(nbytes // dtype.itemsize, dtype)


def relu_gradient(g: Array, x: Array, out: Array | None = None) -> Array:
    """Return where(x > 0, g, 0.0), for g and x of float32 or of float64."""
    out = np.empty_like(g) if out is None else out
    return _times_bits(g, np.greater(x, 0, out=out.view(f"i{g.itemsize}")))


def masked(a: Array, mask: Array) -> Array:
    """Return where(mask, a, 0.0), for float32 or float64: more than ten times as fast as NumPy on ReLU's mask."""
    return _times_bits(a, mask.astype(f"i{a.itemsize}"))


def can_mask(a: object, mask: object, otherwise: object) -> bool:
    """Return whether :func:`masked` can compute where(mask, a, otherwise)."""
    return (
        isinstance(otherwise, float)
        and otherwise == 0.0
        and math.copysign(1, otherwise) > 0
        and isinstance(a, np.ndarray)
        and isinstance(mask, np.ndarray)
        and a.shape == mask.shape
        and mask.dtype == np.bool_
        and a.dtype in (np.float32, np.float64)
    )


def _times_bits(a: Array, bits: Array) -> Array:
    """Return `a` where the integers `bits` are 1, and 0.0 where they are 0; the result overwrites `bits`.

    A bit pattern AND all ones is itself, AND all zeros is 0.0. (a * bits would be as fast, but infinity * 0 is NaN.)
    """
    np.negative(bits, out=bits)  # all zeros or all ones
    return np.bitwise_and(a.view(bits.dtype), bits, out=bits).view(a.dtype)
