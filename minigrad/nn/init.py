r"""Initial weights, drawn so that signals neither grow nor fade from layer to layer.

If weights have variance v, a layer adds up `fan_in` products, and its results have `fan_in` times v times
the mean square of its inputs. A ReLU halves the mean square. So v = 2 / fan_in keeps it as it is: He's rule. (He et
al. derive fan-in, which keeps the forward signal, and fan-out, which keeps the gradient; we use
fan-in.) Glorot's rule, v = 2 / (fan_in + fan_out), is meant for layers without ReLU.

The last axis of a weight is its outputs, (c_in, c_out) or (kh, kw, c_in, c_out); so fan_in is the
product of all the others. Numbers are drawn in float64 and then rounded, so that a
net begins alike in every dtype.

References
----------
K. He et al., "Delving Deep into Rectifiers", arXiv 1502.01852, 2015, section 2.2.
X. Glorot and Y. Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010.

Next: :mod:`minigrad.nn.fold`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from minigrad.typing import Array, Rng, Shape

if TYPE_CHECKING:
    import numpy.typing as npt


def he_normal(shape: Shape, *, rng: Rng, dtype: npt.DTypeLike = np.float32) -> Array:
    """Draw from a normal distribution of variance 2 / fan_in.

    Parameters
    ----------
    shape : tuple of ints
        Of a weight: the outputs stand last.
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
    return _scaled(_generator(rng).standard_normal(shape), math.sqrt(2 / _fan_in(shape)), dtype)


def he_uniform(shape: Shape, *, rng: Rng, dtype: npt.DTypeLike = np.float32) -> Array:
    """Draw from a uniform distribution of variance 2 / fan_in.

    Parameters
    ----------
    shape : tuple of ints
        Of a weight: the outputs stand last.
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
    return _scaled(_generator(rng).uniform(-1, 1, shape), math.sqrt(6 / _fan_in(shape)), dtype)


def glorot_uniform(shape: Shape, *, rng: Rng, dtype: npt.DTypeLike = np.float32) -> Array:
    """Draw from a uniform distribution of variance 2 / (fan_in + fan_out).

    Parameters
    ----------
    shape : tuple of ints
        Of a weight: the outputs stand last.
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
    fan_out = math.prod(shape[:-2]) * shape[-1]
    return _scaled(_generator(rng).uniform(-1, 1, shape), math.sqrt(6 / (_fan_in(shape) + fan_out)), dtype)


def _generator(rng: Rng) -> np.random.Generator:
    """Return the Generator, or one with this seed; no randomness without either."""
    if rng is None:
        raise TypeError("init: expected rng to be a numpy Generator or a seed, got None: randomness is never hidden")
    return np.random.default_rng(rng)


def _fan_in(shape: Shape) -> int:
    """How many products a unit of this weight adds up."""
    if len(shape) < 2:
        raise ValueError(f"init: expected the shape of a weight, (..., c_in, c_out), got {shape}")
    return math.prod(shape[:-1])


def _scaled(draws: Array, scale: float, dtype: npt.DTypeLike) -> Array:
    """Scale draws, and round them to the dtype."""
    return (draws * scale).astype(dtype)
