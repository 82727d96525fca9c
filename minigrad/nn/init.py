r"""Initial weights: random, with a variance that preserves the size of signals from layer to layer.

Each result of a layer is a sum of `fan_in` products. If weights have variance v, the mean square of the results is
`fan_in` times v times that of the inputs. A ReLU halves the mean square. So v = 2 / fan_in preserves it: He's rule. (He
et al. derive fan-in, which preserves the forward signal, and fan-out, which preserves the gradient; we use fan-in.)
Glorot's rule, v = 2 / (fan_in + fan_out), is meant for layers without ReLU.

The last axis of a weight is its outputs, (c_in, c_out) or (kh, kw, c_in, c_out); so fan_in is the product of the sizes
of all other axes. Numbers are drawn in float64 and then rounded, so that a net begins with the same weights, up to
rounding, in every dtype.

References
----------
K. He et al., "Delving Deep into Rectifiers", arXiv 1502.01852, 2015, section 2.2.
X. Glorot and Y. Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010.

Next: :mod:`minigrad.nn.fold`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from minigrad.arguments import generator
from minigrad.checked import named
from minigrad.typing import Array, Rng, Shape

if TYPE_CHECKING:
    import numpy.typing as npt

#: So many numbers are drawn at a time, since they are in float64 at first.
PIECE = 1 << 20


@named
def he_normal(shape: Shape, *, rng: Rng, dtype: npt.DTypeLike = np.float32) -> Array:
    """Draw from a normal distribution of variance 2 / fan_in.

    Parameters
    ----------
    shape : tuple of ints
        Shape of the weight: the outputs are the last axis.
    rng : numpy Generator or seed
    dtype : dtype

    Returns
    -------
    array of that shape

    Examples
    --------
    >>> w = he_normal((3, 3, 64, 128), rng=0)
    >>> round(float(w.var() * 3 * 3 * 64), 1)
    2.0
    """
    draws = generator("he_normal", rng)
    return _drawn(lambda n: draws.standard_normal(n), shape, math.sqrt(2 / _fan_in(shape)), dtype)


@named
def he_uniform(shape: Shape, *, rng: Rng, dtype: npt.DTypeLike = np.float32) -> Array:
    """Draw from a uniform distribution of variance 2 / fan_in.

    Parameters
    ----------
    shape : tuple of ints
        Shape of the weight: the outputs are the last axis.
    rng : numpy Generator or seed
    dtype : dtype

    Returns
    -------
    array of that shape

    Examples
    --------
    >>> bool(abs(he_uniform((24, 10), rng=0)).max() <= 0.5)
    True
    """
    draws = generator("he_uniform", rng)
    return _drawn(lambda n: draws.uniform(-1, 1, n), shape, math.sqrt(6 / _fan_in(shape)), dtype)


@named
def glorot_uniform(shape: Shape, *, rng: Rng, dtype: npt.DTypeLike = np.float32) -> Array:
    """Draw from a uniform distribution of variance 2 / (fan_in + fan_out).

    Parameters
    ----------
    shape : tuple of ints
        Shape of the weight: the outputs are the last axis.
    rng : numpy Generator or seed
    dtype : dtype

    Returns
    -------
    array of that shape

    Examples
    --------
    >>> bool(abs(glorot_uniform((12, 12), rng=0)).max() <= 0.5)
    True
    """
    fans = _fan_in(shape) + math.prod(shape[:-2]) * shape[-1]
    draws = generator("glorot_uniform", rng)
    return _drawn(lambda n: draws.uniform(-1, 1, n), shape, math.sqrt(6 / fans), dtype)


def _fan_in(shape: Shape) -> int:
    """Return the number of products in each sum that a layer with this weight computes."""
    if len(shape) < 2 or min(shape) < 1:
        raise ValueError(f"expected the shape of a weight, (..., c_in, c_out), got {shape}")
    return math.prod(shape[:-1])


def _drawn(draw: Callable[[int], Array], shape: Shape, scale: float, dtype: npt.DTypeLike) -> Array:
    """Return draws, scaled and rounded to the dtype. Drawn piece by piece, they are those of one draw."""
    out = np.empty(shape, dtype)
    for part in np.split(out.reshape(-1), range(PIECE, out.size, PIECE)):
        part[...] = draw(part.size) * scale
    return out
