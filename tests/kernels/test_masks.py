"""ReLU and masks by bits: equal to NumPy's where, and taken only where they are."""

import numpy as np
import pytest

import minigrad as mg
from minigrad.kernels import blocks, masks
from tests.records.draw import randn
from tests.tools.compare import leaf_of
from tests.tools.reach import count_calls
from tests.tools.strict import strict


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_masking_by_bits_is_numpys_where(dtype):
    rng = np.random.default_rng(0)
    a = rng.standard_normal((50, 40)).astype(dtype)
    a[:5] = [[np.inf], [-np.inf], [np.nan], [-0.0], [np.finfo(dtype).tiny / 4]]
    mask = rng.random(a.shape) < 0.5
    for array, condition in [(a, mask), (a.T, mask.T), (a[::-2, ::3], mask[::-2, ::3]), (a[:0], mask[:0])]:
        masked = mg.where(condition, array, 0.0)
        np.testing.assert_array_equal(masked, np.where(condition, array, np.array(0.0, dtype)), strict=True)
        assert not np.shares_memory(masked, array)
    assert np.signbit(mg.where(mask, a, -0.0)[~mask]).all()


def test_only_a_mask_and_zero_are_masked_by_bits(monkeypatch):
    """What looks almost like where(mask, g, 0.0) is not: each of these differs in one thing."""
    a, mask = randn(2, 3), np.array([[True, False, True], [False, True, True]])
    a[0, :2] = np.inf, -np.inf
    for condition, x, y in [
        (mask, a, 0.0),
        (mask.astype("float32"), a, 0.0),
        (mask * 2, a, 0.0),
        (mask, a, 5.0),
        (mask, a, 0),
        (mask, a, np.zeros((2, 3))),
        (mask, a[0], 0.0),
        (mask[0], a, 0.0),
        (mask, np.arange(6).reshape(2, 3), 0),
        (mask, a + 1j, 0.0),
        (mask, 2.0, 0.0),
        (mask, a.astype("float32"), 0.0),
        (mask.T, a.T, 0.0),
        (True, a, 0.0),
    ]:
        expected = np.where(condition, x, y)
        np.testing.assert_array_equal(mg.where(condition, x, y), expected, strict=True)
    fast = count_calls(monkeypatch, masks, "masked")
    for dtype in ("float32", "float64"):
        mg.clip(leaf_of(-1.0, 1.0, dtype=dtype), 0.0, 2.0).sum().backward()
    assert len(fast) == 2


def test_the_gradient_of_relu_by_bits_is_for_float32_and_float64_on_the_host(monkeypatch):
    fast = count_calls(monkeypatch, masks, "relu_gradient")
    x, g = randn(3, 4), randn(3, 4, seed=1)
    x[0, 0] = 0.0
    for dtype, array, by_bits in [
        ("float32", np.asarray, True),
        ("float64", np.asarray, True),
        ("longdouble", np.asarray, False),  # its bits are no integer's
        ("float32", strict.asarray, False),
    ]:
        leaf_x = mg.Tensor(array(x.astype(dtype)), requires_grad=True)
        (dx,) = mg.grad(mg.relu(leaf_x), leaf_x, array(g.astype(dtype)))
        np.testing.assert_array_equal(dx.numpy(), np.where(x > 0, g, 0.0).astype(dtype), strict=True)
        assert bool(fast) == by_bits, dtype
        fast.clear()


@pytest.mark.parametrize("order", ["C", "F"])
def test_relu_of_an_array_of_many_blocks_and_of_one_that_cannot_be_cut(order):
    """In blocks; in an order that blocks cannot follow, as one, which is larger than the zeros at hand."""
    x, g = np.asarray(randn(1000, 300), order=order), randn(1000, 300, seed=1)
    assert x.nbytes > 2 * blocks.BLOCK_BYTES
    leaf_x = mg.Tensor(x, requires_grad=True)
    out = mg.relu(leaf_x)
    np.testing.assert_array_equal(out.data, np.where(x > 0, x, 0.0), strict=True)
    np.testing.assert_array_equal(mg.grad(out, leaf_x, g)[0].data, np.where(x > 0, g, 0.0), strict=True)
