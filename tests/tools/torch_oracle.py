"""PyTorch as an independent oracle: comparison, and both sides of a call."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

import minigrad as mg
from tests.records.draw import channels_first, channels_last

torch: Any = pytest.importorskip("torch")

#: How far apart float64 results may be, relative to the largest element.
DOUBLE = 1e-10

#: And float32 results: some hundred roundings of 6e-8.
SINGLE = 2e-5


def random(shape: Any, seed: int) -> Any:
    """Draw cotangents with both signs: ones would let wrong rules pass."""
    return np.random.default_rng([7, seed]).standard_normal(shape)


def assert_close(ours: Any, theirs: Any, what: str, bound: float = DOUBLE) -> None:
    """Compare relative to the largest element; where all are zero, relative to a thousandth."""
    theirs = theirs.detach().numpy(force=True)
    atol = bound * max(np.abs(theirs).max(initial=0.0), 1e-3)
    assert_allclose(ours.data, theirs, rtol=0, atol=atol, err_msg=what, equal_nan=False, strict=True)


#: PyTorch's order of the axes of a weight, where it is another one, by the number of axes: of most layers, of some.
ORDERS = {4: (3, 2, 0, 1), 2: (1, 0)}
ORDERS_OF = {"ConvTranspose2d": {4: (2, 3, 0, 1)}, "LayerNorm": {2: (0, 1), 3: (2, 0, 1)}, "Embedding": {2: (0, 1)}}


def weight(array: Any, kind: str = "") -> Any:
    """Turn a weight (kh, kw, c, o) into PyTorch's (o, c, kh, kw), (in, out) into (out, in), and so of every kind."""
    return torch.tensor(
        array.transpose((ORDERS | ORDERS_OF.get(kind, {})).get(array.ndim)) if array.ndim > 1 else array
    )


def copy_parameters(layer: Any, counterpart: Any, seed: int = 0) -> None:
    """Give both the same random parameters."""
    rng, kind = np.random.default_rng(seed), type(layer).__name__
    with torch.no_grad():
        for p, q in zip(layer.parameters(), counterpart.parameters(), strict=True):
            p.data = rng.standard_normal(p.shape)
            assert q.shape == weight(p.data, kind).shape
            q.copy_(weight(p.data, kind))


def assert_gradients_of_parameters(layer: Any, counterpart: Any, what: str) -> None:
    """Compare the gradients of all parameters."""
    for (name, p), q in zip(layer.named_parameters(), counterpart.parameters(), strict=True):
        assert_close(mg.Tensor(weight(p.grad.data, type(layer).__name__).numpy()), q.grad, f"{what}: {name}")


def call_both(layer: Any, counterpart: Any, x: Any) -> tuple[Any, Any, Any, Any]:
    """Run both on x, replay from a random cotangent; return outputs and the gradients of x, in minigrad's layout."""
    a, b = mg.Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    out = layer(a)
    expected = channels_last(counterpart(channels_first(b))) if x.ndim == 4 else counterpart(b)
    g = random(out.shape, 3)
    for p in (*layer.parameters(), *counterpart.parameters()):
        p.grad = None
    out.backward(g)
    expected.backward(torch.tensor(g))
    return out, expected, a.grad, b.grad
