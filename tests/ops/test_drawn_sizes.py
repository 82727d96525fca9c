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
from tests.records.record import sample
from tests.records.sizes import Sizes
from tests.tools.compare import cotangent, examples, leaf, same, seeds

#: The share of the examples: large for operators with many settings, small for those that add no shapes of their own.
SHARES = {"conv2d": 2.0, "getitem": 3.0, "batch_norm": 1.0}
SHARES |= dict.fromkeys(("sin", "cos", "log1p", "expm1", "erf", "softplus", "leaky_relu", "silu", "gelu", "std"), 0.1)


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


def _images(*shape):
    return np.random.default_rng(0).standard_normal(shape)


#: Larger than any that is drawn: kernels, strides, dilations, groups.
WIDER = {
    "conv2d-tall": ("conv2d", sample(_images(1, 19, 4, 2), _images(17, 2, 2, 3), padding=(3, 1))),
    "conv2d-wide": ("conv2d", sample(_images(1, 4, 36, 1), _images(2, 34, 1, 2), padding=(0, 3))),
    "conv2d-stride": ("conv2d", sample(_images(1, 40, 37, 1), _images(14, 13, 1, 2), stride=(19, 17))),
    "conv2d-dilation": ("conv2d", sample(_images(1, 30, 27, 1), _images(2, 2, 1, 2), dilation=(21, 18), padding=1)),
    "conv2d-groups": ("conv2d", sample(_images(1, 4, 5, 70), _images(3, 3, 1, 140), _images(140), groups=70)),
    "conv_transpose2d": ("conv_transpose2d", sample(_images(1, 2, 3, 1), _images(18, 16, 1, 2), stride=(21, 15))),
    "max_pool2d": ("max_pool2d", sample(_images(1, 36, 19, 2), kernel=(34, 17), stride=1)),
    "max_pool2d-stride": ("max_pool2d", sample(_images(1, 60, 61, 1), kernel=2, stride=(23, 29))),
    "avg_pool2d": ("avg_pool2d", sample(_images(1, 36, 19, 2), kernel=(34, 17), stride=1)),
}


@pytest.mark.parametrize(("name", "call"), WIDER.values(), ids=WIDER)
def test_windows_and_groups_beyond_those_that_are_drawn(name, call):
    """Of the largest element, a window of 34 x 17 pixels is most likely to be read to its end."""
    call = sample(*(1e3 * x for x in call.inputs), **call.settings) if name == "max_pool2d" else call
    check_drawn(name, call, np.random.default_rng(1))
