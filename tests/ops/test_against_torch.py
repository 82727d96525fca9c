"""PyTorch as an independent oracle, operator by operator: values, first and second gradients.

The samples are those of every other test, from the records. Each record names PyTorch's counterpart, which takes the
same arguments in minigrad's layout, so that gradients come back in minigrad's layout, too.
"""

import numpy as np
import pytest

import minigrad as mg
from tests.records import RECORDS, every_sample
from tests.records.record import Absent
from tests.records.sizes import Sizes
from tests.tools.torch_oracle import DOUBLE, SINGLE, assert_close, random, torch

COMPARED = every_sample(lambda record, _: not isinstance(record.torch, Absent))


def both(name, sample, dtype="float64"):
    """Return leaves and results of minigrad, and those of PyTorch."""
    arrays = [np.asarray(x, dtype) for x in sample.inputs]
    ours = [mg.Tensor(x, requires_grad=True) for x in arrays]
    theirs = [torch.tensor(x, requires_grad=True) for x in arrays]
    return ours, sample.apply(getattr(mg, name), ours), theirs, sample.apply(RECORDS[name].torch, theirs)


@pytest.mark.parametrize(("name", "sample"), COMPARED)
@pytest.mark.parametrize(("dtype", "bound"), [("float64", DOUBLE), ("float32", SINGLE)], ids=["float64", "float32"])
def test_value_and_first_gradients(name, sample, dtype, bound):
    ours, out, theirs, expected = both(name, sample, dtype)
    assert_close(out, expected, "value", bound)
    g = random(out.shape, 0).astype(dtype)
    first = mg.grad(out, ours, g)
    for i, (d, e) in enumerate(zip(first, torch.autograd.grad(expected, theirs, torch.tensor(g)), strict=True)):
        assert_close(d, e, f"gradient of input {i}", bound)


@pytest.mark.parametrize(("name", "sample"), COMPARED)
def test_second_gradients(name, sample):
    """The gradient of a random combination of the first gradients: in every input, and in the cotangent."""
    ours, out, theirs, expected = both(name, sample)
    g = mg.Tensor(random(out.shape, 0), requires_grad=True)
    h = torch.tensor(g.data, requires_grad=True)
    first = mg.grad(out, ours, g, create_graph=True)
    first_expected = torch.autograd.grad(expected, theirs, h, create_graph=True)
    weights = [random(d.shape, 1 + i) for i, d in enumerate(first)]
    for i, (d, e) in enumerate(zip(first, first_expected, strict=True)):
        assert_close(d, e, f"first gradient of input {i}, recorded")

    # where an operator is linear, nothing leads from its gradient to its input: start there, too, from zeros
    zeros = [np.zeros(x.shape) for x in (*ours, g)]
    second = mg.grad([*first, *ours, g], [*ours, g], [*weights, *zeros])
    total = sum((torch.tensor(w) * d).sum() for w, d in zip(weights, first_expected, strict=True))
    total = total + sum((0 * x).sum() for x in (*theirs, h))
    second_expected = torch.autograd.grad(total, [*theirs, h])
    for i, (d, e) in enumerate(zip(second, second_expected, strict=True)):
        what = f"input {i}" if i < len(ours) else "the cotangent"
        assert_close(d, e, f"second gradient of {what}")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, record in RECORDS.items() if not isinstance(record.torch, Absent)])
def test_drawn_sizes(name):
    """Sizes far beyond those of the samples: test_drawn_sizes.py compares them with the definition."""
    for seed in range(100):
        sizes = Sizes(seed)
        sample = RECORDS[name].drawn(sizes)
        what = f"seed {seed}: {[x.shape for x in sample.inputs]}, {sample.settings}"
        ours, out, theirs, expected = both(name, sample)
        assert_close(out, expected, what)
        g = random(out.shape, seed)
        expected_gradients = torch.autograd.grad(expected, theirs, torch.tensor(g))
        for i, (d, e) in enumerate(zip(mg.grad(out, ours, g), expected_gradients, strict=True)):
            assert_close(d, e, f"gradient of input {i}, {what}")
