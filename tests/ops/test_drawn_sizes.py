"""Every operator on calls whose sizes Hypothesis draws log-uniformly: ranks, kernels, groups, parts, repeats, classes.

The samples of the records are small, so that each entry of a Jacobian is compared. Here all sizes go well past the
constants in the code, and a gradient of any size is compared with the definition in one random direction: whichever
elements are wrong, the product with the direction is.
"""

import numpy as np
import pytest
from hypothesis import given, note

import minigrad as mg
from tests.records import RECORDS
from tests.records.sizes import Sizes
from tests.tools.compare import cotangent, examples, leaf, same, seeds

#: The share of the examples, for operators with many settings.
SHARES = {"conv2d": 2.0, "getitem": 3.0, "batch_norm": 1.0}


def slope(f, record):
    """Return the derivative of ``f(t)`` at 0 by differences, which are exact where f is linear.

    A function that is linear in each input is linear along the direction, with any step; one that is not analytic is
    so within a step to the next kink. For the others, Richardson's extrapolation of two steps is exact up to the
    fourth order, and its rounding error is some eps / h = 1e-12.
    """
    if record.linear or not record.analytic:
        h = 1.0 if record.linear else 1e-3
        return (f(h) - f(-h)) / (2 * h)
    h = 2e-4
    return (8 * (f(h) - f(-h)) - (f(2 * h) - f(-2 * h))) / (12 * h)


def check_drawn(name, sample, rng):
    """Compare the value with the definition, each gradient with its slope, and gradients alone with those of all."""
    record, f = RECORDS[name], sample.function(name)
    inputs = [leaf(x) for x in sample.inputs]
    out, expected = f(*inputs), np.asarray(sample.apply(record.definition, sample.inputs))
    scale = np.abs(expected).max(initial=1e-3)
    same(out, expected, rtol=1e-12, atol=1e-12 * scale, what="value")
    g = cotangent(out, rng)
    gradients = mg.grad(out, inputs, g)
    looked_at = rng.permutation(len(inputs))[:4]
    for i in looked_at:
        d, x = gradients[i].data, sample.inputs[i]
        assert d.shape == x.shape
        direction = np.asarray(rng.standard_normal(x.shape))

        def along(t, i=i, x=x, direction=direction):
            moved = [*sample.inputs[:i], x + t * direction, *sample.inputs[i + 1 :]]
            return np.vdot(g, sample.apply(record.definition, moved))

        error = abs(np.vdot(d, direction) - slope(along, record))
        size = np.linalg.norm(d) + 1e-2 * np.linalg.norm(g)
        assert error <= 1e-8 * size, f"gradient of input {i}: off by {error:.2g}, where its norm is {size:.2g}"
        (alone,) = mg.grad(f(*(x if i == j else x.data for j, x in enumerate(inputs))), inputs[i], g)
        same(alone, d, rtol=1e-11, atol=1e-11 * np.abs(d).max(initial=1e-3), what=f"gradient of input {i} alone")


@pytest.mark.parametrize("name", RECORDS)
def test_sizes_beyond_the_samples(name):
    @given(seed=seeds)
    @examples(SHARES.get(name, 0.4))
    def check(seed):
        sizes = Sizes(seed)
        sample = RECORDS[name].drawn(sizes)
        note(f"{name} of {[x.shape for x in sample.inputs]}, {sample.settings}")
        check_drawn(name, sample, sizes.rng)

    check()
