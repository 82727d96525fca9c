"""Calls in float32 whose inputs lie around 10,000, and how far float32 may be from float64 there.

A bound counts units of eps of float32, relative to the largest element of the result in float64. It is derived, by
one of three arguments:

- `FEW`: a few roundings, each of the result's own size. Nothing is lost where the operator first subtracts two of its
  inputs: the difference of numbers within a factor of two of one another is exact (Sterbenz' lemma).
- a number of terms: a sum of n terms is wrong by at most n roundings (Higham, "Accuracy and Stability of Numerical
  Algorithms", chapter 4).
- `ROUNDED`: a number near 10,000 that is rounded to float32 is off by up to half a unit in the last place, 2**-11,
  which is 4,096 units of eps relative to deviations of size 1. An operator that stores such a number, a mean, cannot do
  better. A formula that cancels, such as E[x^2] - E[x]^2, is off by 1e8 units.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tests.records.draw import beside
from tests.records.record import Sample, sample

OFFSET = 1e4

#: A few roundings.
FEW = 4.0

#: Half a unit in the last place of a float32 at `OFFSET`, in units of eps.
ROUNDED = 4096.0


class Offset(NamedTuple):
    """A call around an offset of 10,000, and bounds in units of eps, relative to the largest element.

    Attributes
    ----------
    sample : Sample
        Its inputs are float32.
    value : float
        The bound for the value.
    gradients : float or tuple of float
        The bound for each gradient.
    """

    sample: Sample
    value: float = FEW
    gradients: float | tuple[float, ...] = FEW


def near(*shape: int, seed: int = 0) -> Any:
    """Draw normal numbers around the offset, in float32."""
    return (OFFSET + np.random.default_rng([seed, *shape]).standard_normal(shape)).astype("float32")


def around_0(*shape: int, seed: int = 0) -> Any:
    """Draw normal numbers in float32: weights, whose images have the offset."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype("float32")


def one(value: float = FEW, gradients: float = FEW, **settings: Any) -> Offset:
    """Call an operator of one array, by default with the bounds of an operator that rounds a few times."""
    return Offset(sample(near(8, 30), **settings), value, gradients)


def two(value: float = FEW, gradients: float = FEW) -> Offset:
    """Call an operator of two arrays, both at the offset; one of them is stretched over 8 rows, and summed back."""
    return Offset(sample(near(8, 30), near(30, seed=1)), value, gradients + 8)


def listed(*shape: int, **settings: Any) -> Offset:
    """Call an operator that takes its inputs in a list."""
    arrays = near(*shape), near(*shape, seed=1)
    return Offset(sample(*arrays, call=lambda op, *arrays, **settings: op(list(arrays), **settings), **settings))


def chosen() -> Offset:
    """Choose between two arrays by a condition."""
    condition = np.arange(30) % 3 == 0
    return Offset(sample(near(8, 30), near(8, 30, seed=1), call=lambda op, a, b: op(beside(a, condition), a, b)))


def dropped() -> Offset:
    """Drop some elements, the same ones in each call."""
    return Offset(sample(near(8, 30), call=lambda op, x: op(x, 0.25, rng=np.random.default_rng(3), training=True)))


def normalised() -> Offset:
    """Normalise 4 channels over 2 x 64 x 64 pixels, around the offset.

    The value is x * scale + (beta - mean * scale): three roundings at the offset, where the largest result is four
    times the scale. The slope of dx in x is some 1 / sqrt(pixels). dgamma takes the rounded mean, times the sum of g.
    """
    c, mean, var = 4, near(4, seed=3), np.float32([0.5, 1.0, 2.0, 3.0])

    def call(op: Any, x: Any, gamma: Any, beta: Any) -> Any:
        return op(x, gamma, beta, beside(x, mean), beside(x, var), training=True)

    inputs = near(2, 64, 64, c), around_0(c, seed=1), around_0(c, seed=2)
    return Offset(sample(*inputs, call=call), ROUNDED, (2 * ROUNDED / 8192**0.5, 2 * ROUNDED, FEW))
