"""Cancellation: every operator and gradient in float32 on numbers around 10,000, against float64 on the same."""

import numpy as np
import pytest

import minigrad as mg
from minigrad.kernels import blocks
from minigrad.kernels.pixels import Pixels
from tests.records import RECORDS
from tests.records.record import Absent
from tests.tools.compare import cotangent, leaf

EPS = np.finfo("float32").eps


def assert_within(ours, expected, units, what):
    """Compare with float64; `units` counts eps of float32, relative to the largest element."""
    assert ours.dtype == np.float32
    assert ours.shape == expected.shape
    error, largest = np.abs(ours - expected).max(initial=0.0), np.abs(expected).max(initial=0.0)
    assert error <= units * EPS * largest, f"{what}: off by {error / EPS / (largest or 1.0):.3g} eps, allowed {units}"


def check_offset(name, create_graph=False):
    """Compare value and gradients; the cotangent has both signs, and the same values in both dtypes."""
    sample, value, gradients = RECORDS[name].offset
    assert all(x.dtype == np.float32 for x in sample.inputs)
    results = []
    for dtype in ("float32", "float64"):
        inputs = [leaf(x.astype(dtype)) for x in sample.inputs]
        out = sample.apply(getattr(mg, name), inputs)
        g = cotangent(out.data.astype("float32")).astype(dtype)
        results.append([x.data for x in (out, *mg.grad(out, inputs, g, create_graph=create_graph))])
    (out, *ours), (expected, *theirs) = results
    assert_within(out, expected, value, "value")
    bounds = gradients if isinstance(gradients, tuple) else [gradients] * len(ours)
    for i, (d, e, bound) in enumerate(zip(ours, theirs, bounds, strict=True)):
        assert_within(d, e, bound, f"gradient of input {i}")


@pytest.mark.parametrize("name", [name for name, r in RECORDS.items() if not isinstance(r.offset, Absent)])
@pytest.mark.parametrize("create_graph", [False, True])
def test_float32_around_an_offset_of_10_000(name, create_graph):
    """By the rules, and by the definition where the replay is recorded."""
    check_offset(name, create_graph)


@pytest.mark.parametrize("count", [2, 3, 8, 19])
def test_batch_norm_of_several_blocks_around_the_offset(count, monkeypatch):
    """Means and sums of squares of the blocks are combined without cancellation."""
    x = RECORDS["batch_norm"].offset.sample.inputs[0]
    monkeypatch.setattr(blocks, "BLOCK_BYTES", -(-x.nbytes // count))
    assert len(Pixels(x).blocks) >= count
    check_offset("batch_norm")
