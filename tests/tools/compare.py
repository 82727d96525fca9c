"""Helpers that many tests share: leaves, random cotangents, comparison of arrays, sizes for Hypothesis."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose

import minigrad as mg
from tests.records.record import Sample

#: Seeds of NumPy's generators, drawn by Hypothesis.
seeds = st.integers(0, 2**32 - 1)


def leaf(array: Any, dtype: Any = None) -> mg.Tensor:
    """Return a Tensor that requires a gradient."""
    return mg.Tensor(np.array(array, dtype) if dtype else np.asarray(array), requires_grad=True)


def leaf_of(*values: float, dtype: str = "float64") -> mg.Tensor:
    """Return a vector of these numbers that requires a gradient."""
    return mg.Tensor(np.array(values, dtype), requires_grad=True)


def leaves(sample: Sample, dtype: str = "float64") -> list[mg.Tensor]:
    """Copy the inputs of a sample into leaves."""
    return [mg.Tensor(x.astype(dtype), requires_grad=True) for x in sample.inputs]


def cotangent(out: Any, rng: Any = 0) -> Any:
    """Draw a random cotangent, with both signs: ones would let wrong rules pass."""
    return np.random.default_rng(rng).standard_normal(out.shape).astype(out.dtype)


def same(ours: Any, expected: Any, rtol: float = 1e-11, atol: float = 1e-11, what: str = "") -> None:
    """Compare values, shapes and dtypes of arrays or Tensors."""
    ours, expected = (x.data if isinstance(x, mg.Tensor) else np.asarray(x) for x in (ours, expected))
    assert_allclose(ours, expected, rtol=rtol, atol=atol, equal_nan=False, strict=True, err_msg=what)


def sum_back(d: Any, shape: tuple[int, ...]) -> Any:
    """Sum a gradient over the axes that broadcasting from `shape` made or stretched."""
    d = d.sum(axis=tuple(range(d.ndim - len(shape))))
    for axis, n in enumerate(shape):
        if n == 1:
            d = d.sum(axis=axis, keepdims=True)
    return np.asarray(d)


def examples(share: float) -> Any:
    """Return settings that multiply the profile's number of examples by `share`."""
    return settings(max_examples=max(1, round(share * settings.default.max_examples)))


def shapes(max_dims: int = 4, max_side: int = 4, min_dims: int = 0) -> Any:
    """Draw shapes with sizes 0 and 1 among them."""
    return hnp.array_shapes(min_dims=min_dims, max_dims=max_dims, min_side=0, max_side=max_side)


@contextmanager
def threads_restored() -> Iterator[None]:
    """Set the number of threads back to what it was."""
    before = mg.get_num_threads()
    try:
        yield
    finally:
        mg.set_num_threads(before)
