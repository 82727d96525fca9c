"""Special values for the inputs of any sample: NaN, infinities, zeros of both signs, denormals, huge numbers, ties."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.records.record import Sample

#: Special values that stand at one place of one input, and those that fill all inputs.
AT_ONE_PLACE = ("nan", "inf", "-inf", "-0", "huge", "-huge", "denormal")
EVERYWHERE = ("plain", "mixed", "denormals", "zeros", "ties")
KINDS = AT_ONE_PLACE + EVERYWHERE


def values(dtype: Any) -> dict[str, float]:
    """Return the special values of a dtype by name."""
    info = np.finfo(dtype)
    numbers = (np.nan, np.inf, -np.inf, -0.0, float(info.max) / 32, -float(info.max) / 32, 3 * info.smallest_subnormal)
    return dict(zip(AT_ONE_PLACE, map(float, numbers), strict=True))


def mixed(x: Any, rng: np.random.Generator) -> Any:
    """Replace about half of the elements by special values, except huge ones: their sums depend on the order."""
    special = rng.choice([0.0, *(v for name, v in values(x.dtype).items() if "huge" not in name)], x.shape)
    return np.asarray(np.where(rng.random(x.shape) < 0.5, special, x), x.dtype)


def special_inputs(sample: Sample, kind: str, dtype: Any, rng: np.random.Generator) -> Iterator[list[Any]]:
    """Draw inputs of a kind: for one place, each input of the sample in turn; for all places, a draw or two."""
    plain = [np.asarray(x, dtype) for x in sample.inputs]
    if kind in AT_ONE_PLACE:
        for i, x in enumerate(plain):
            if x.size:
                inputs = [y.copy() for y in plain]
                inputs[i].flat[rng.integers(x.size)] = values(dtype)[kind]
                yield inputs
        return
    draw = {
        "plain": lambda x: x,  # for special cotangents
        "mixed": lambda x: mixed(x, rng),
        "denormals": lambda x: x * np.finfo(dtype).tiny / 8,
        "zeros": lambda x: np.copysign(0.0 * x, rng.standard_normal(x.shape)),
        "ties": lambda x: np.round(x),
    }[kind]
    for _ in range(3 if kind == "mixed" else 1):
        yield [np.asarray(draw(x), dtype) for x in plain]


def disagree(ours: Any, expected: Any, rtol: float, signed: bool = False) -> Any:
    """Mark the elements that differ: NaN equals NaN, infinities count with their sign, numbers agree within `rtol`.

    Where numbers are added, the error is relative to the largest of them, so a tenth of `rtol` of the largest number is
    allowed, too, and a few steps between denormals. The signs of zeros count if they are `signed`: the sign of a sum of
    zeros depends on the order.
    """
    assert (ours.shape, ours.dtype) == (expected.shape, expected.dtype)
    finite = np.isfinite(ours) & np.isfinite(expected)
    scale = np.abs(expected, where=np.isfinite(expected), out=np.zeros_like(expected)).max(initial=0.0)
    allowed = rtol * np.abs(expected) + (rtol / 10) * scale + 4 * np.finfo(ours.dtype).smallest_subnormal
    signs = (ours != 0) | (np.signbit(ours) == np.signbit(expected)) | (not signed)
    same = ((ours == expected) & signs) | (np.isnan(ours) & np.isnan(expected))
    return ~(same | (finite & signs & (np.abs(ours - expected) <= allowed)))
