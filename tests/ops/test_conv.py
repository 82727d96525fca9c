"""Convolutions: every residue of stride and padding, the transposed one, and SciPy; see also test_drawn_sizes.py."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import minigrad as mg
from minigrad import ops
from tests.records.conv import conv2d_by_loops, conv_transpose2d_by_loops, correlate
from tests.records.draw import normal, randn
from tests.records.many import conv2d_gradients
from tests.tools.compare import cotangent, leaf, same, seeds, threads_restored
from tests.tools.cuts import small_blocks

# By the definition ----------------------------------------------------------------------------


def definition_of_conv2d(x, w, b, stride, padding, dilation, groups=1):
    """Cut into groups by slicing, each by the plain twin."""
    c, o = w.shape[2], w.shape[3] // groups
    parts = [
        ops.conv.conv2d_twin(
            x[..., i * c : (i + 1) * c],
            w[..., i * o : (i + 1) * o],
            None if b is None else b[i * o : (i + 1) * o],
            stride,
            padding,
            dilation,
        )
        for i in range(groups)
    ]
    return parts[0] if groups == 1 else mg.concatenate(parts, axis=3)


def check_conv2d(x_shape, w_shape, bias, settings, seed=0):
    """Compare value and all gradients with the definition."""
    rng = np.random.default_rng(seed)
    inputs = [leaf(normal(rng, x_shape)), leaf(normal(rng, w_shape))]
    inputs += [leaf(normal(rng, w_shape[3:]))] if bias else []
    out = mg.conv2d(*inputs, **settings)
    defined = definition_of_conv2d(*inputs, *([] if bias else [None]), **settings)
    same(out, defined)
    g = cotangent(out, rng)
    fast = mg.grad(out, inputs, g)
    for i, (d, e) in enumerate(zip(fast, mg.grad(defined, inputs, g), strict=True)):
        same(d, e, what=f"gradient of input {i}")
    for i, x in enumerate(inputs):  # each alone: a gradient that nobody wants is not computed, by other code
        same(mg.grad(mg.conv2d(*inputs, **settings), x, g)[0], fast[i], what=f"gradient of input {i} alone")
        alone = [x if j == i else y.detach() for j, y in enumerate(inputs)]
        same(mg.grad(mg.conv2d(*alone, **settings), x, g)[0], fast[i], what=f"gradient of the only leaf, {i}")
    return [x.data for x in inputs[:2]]


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("s", [1, 2, 3])
def test_conv2d_in_every_residue(k, s):
    """Not drawn but listed, along the height; the width goes through them in another order."""
    cases = [
        (least + extra, p, d)
        for p, d in itertools.product(range(k + 2), (1, 2, 3))
        for least in [max(1, d * (k - 1) + 1 - 2 * p)]
        for extra in range(s + 1)
    ]
    for i, (h, p, d) in enumerate(cases):
        wd, q, e = cases[(7 * i + 3) % len(cases)]
        along_width = 1 + (s + i) % 3
        check_conv2d(
            (1 + i % 2, h, wd, 1 + i % 3),
            (k, k, 1 + i % 3, 2),
            i % 2 == 1,
            {"stride": (s, along_width), "padding": (p, q), "dilation": (d, e)},
            seed=i,
        )


@pytest.mark.parametrize("stride", [(1, 2), (2, 1), (3, 2)])
def test_one_tap_with_two_strides(stride):
    inputs = [randn(2, 5, 6, 2), randn(1, 1, 2, 3)]
    assert_allclose(mg.conv2d(*inputs, stride=stride), conv2d_by_loops(*inputs, stride=stride), rtol=1e-12)
    mg.gradcheck(lambda x, w: mg.conv2d(x, w, stride=stride), inputs)


@pytest.mark.parametrize("kernel", [(1, 1), (2, 3)])
@pytest.mark.parametrize("channels", [(0, 2), (2, 0)], ids=["none in", "none out"])
def test_conv2d_without_channels_says_so(kernel, channels):
    x, w = np.zeros((2, 3, 4, channels[0])), np.zeros((*kernel, *channels))
    with pytest.raises(ValueError, match=r"^conv2d: expected at least one channel in and out, got w \("):
        mg.conv2d(x, w)


@given(
    sides=st.tuples(*[st.tuples(*[st.integers(1, 4)] * 3)] * 2),
    crops=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    channels=st.tuples(st.integers(0, 2), st.integers(1, 3), st.integers(1, 3)),
    seed=seeds,
)
def test_conv_transpose2d(sides, crops, channels, seed):
    """By loops, and as the gradient of conv2d, whose channels are swapped."""
    rng = np.random.default_rng(seed)
    (size, kernel, stride), (n, c, o) = zip(*sides, strict=True), channels
    whole = [s * (m - 1) + k for m, k, s in sides]
    padding = tuple(min(p, (m - 1) // 2) for p, m in zip(crops, whole, strict=True))
    x, w = leaf(normal(rng, (n, *size, c))), leaf(normal(rng, (*kernel, c, o)))
    out = mg.conv_transpose2d(x, w, stride=stride, padding=padding)
    same(out, conv_transpose2d_by_loops(x.data, w.data, stride=stride, padding=padding))
    g = cotangent(out, rng)
    dx, dw = mg.grad(out, [x, w], g)
    image, swapped = leaf(g), leaf(w.data.transpose(0, 1, 3, 2))
    seen = mg.conv2d(image, swapped, stride=stride, padding=padding)
    same(dx, seen)
    same(dw, mg.grad(seen, swapped, x.data)[0].data.transpose(0, 1, 3, 2))


def test_defaults_of_the_settings():
    images, w = randn(1, 4, 6, 1), randn(2, 2, 1, 1)
    settings = {"stride": 1, "padding": 0}
    np.testing.assert_array_equal(mg.conv2d(images, w), mg.conv2d(images, w, **settings, dilation=1, groups=1))
    np.testing.assert_array_equal(mg.conv_transpose2d(images, w), mg.conv_transpose2d(images, w, **settings))


def test_a_batch_of_no_large_images():
    x = mg.Tensor(np.zeros((0, 300, 300, 16), "float32"), requires_grad=True)
    w = mg.Tensor(np.ones((3, 3, 16, 4), "float32"), requires_grad=True)
    out = mg.conv2d(x, w, padding=1)
    dx, dw = mg.grad(out.sum(), [x, w])
    assert (out.shape, dx.shape, abs(dw.data).max()) == ((0, 300, 300, 4), x.shape, 0.0)


def test_the_gradient_of_a_bias_keeps_its_digits_in_float32():
    x = mg.Tensor(np.ones((64, 32, 32, 1), "float32"))
    b = mg.Tensor(np.zeros(2, "float32"), requires_grad=True)
    out = mg.conv2d(x, np.ones((1, 1, 1, 2), "float32"), b)
    (db,) = mg.grad(out, b, np.full(out.shape, 0.1, "float32"))
    assert_allclose(db.data, 64 * 32 * 32 * np.float64(np.float32(0.1)), rtol=1e-5)


# NaN and infinity -----------------------------------------------------------------------------

#: Shapes of x and w, and settings: pairs of pixels and single ones, with a border and without, gaps, groups.
SPREADS = {
    "1x3": ((1, 1, 6, 1), (1, 3, 1, 1), {}),
    "padded": ((3, 5, 4, 2), (3, 3, 2, 3), {"padding": 1}),
    "wide": ((2, 4, 5, 22), (3, 3, 22, 9), {"padding": 1}),
    "few-to-many": ((2, 4, 4, 1), (3, 3, 1, 8), {"padding": 1}),
    "odd": ((1, 4, 5, 2), (2, 2, 2, 2), {}),
    "dilated": ((2, 5, 6, 1), (3, 3, 1, 2), {"padding": 2, "dilation": 2}),
    "smaller-than-its-gaps": ((2, 1, 4, 1), (2, 2, 1, 2), {"padding": (1, 1), "dilation": (2, 1)}),
    "narrower-than-its-gaps": ((2, 4, 1, 2), (2, 2, 2, 2), {"padding": (1, 1), "dilation": (1, 2)}),
    "strided": ((2, 6, 5, 2), (3, 2, 2, 2), {"padding": (1, 2), "stride": (2, 1)}),
    "1x1": ((2, 3, 4, 2), (1, 1, 2, 3), {"stride": (1, 2)}),
    "groups": ((2, 3, 4, 4), (3, 3, 2, 4), {"padding": 1, "groups": 2}),
}


def all_results(arrays, settings, need=(0, 1, 2)):
    """Return the value, and the gradients of some of x, w and b for the cotangent that comes last."""
    leaves = [mg.Tensor(a, requires_grad=i in need) for i, a in enumerate(arrays[:3])]
    out = mg.conv2d(*leaves, **settings)
    if len(arrays) == 3:
        return out.data
    return [out.data, *(d.data for d in mg.grad(out, [leaves[i] for i in need], arrays[3]))]


@pytest.mark.parametrize("special", [np.nan, np.inf, pytest.param(-np.inf, marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", SPREADS)
def test_nan_and_infinity_stay_in_their_windows(case, special):
    """Whatever is finite by loops is what it was without them, to the bit, whichever gradients are asked for."""
    x_shape, w_shape, settings = SPREADS[case]
    rng = np.random.default_rng(0)
    arrays = [normal(rng, shape) for shape in (x_shape, w_shape, w_shape[3:])]
    arrays.append(normal(rng, all_results(arrays, settings).shape))
    needs = [(0,), (1,), (2,), (0, 1), (0, 1, 2)]
    for nbytes in (1 << 20, 128):
        with small_blocks(nbytes), np.errstate(invalid="ignore"), threads_restored():
            before = [all_results(arrays, settings, need) for need in needs]
            for i, array in enumerate(arrays):
                for place in {0, array.size // 2, array.size - 1, *rng.integers(array.size, size=3)}:
                    spoiled = [a.copy() for a in arrays]
                    spoiled[i].flat[place] = special
                    *inputs, g = spoiled
                    defined = [conv2d_by_loops(*inputs, **settings), *conv2d_gradients(g, *inputs, **settings)]
                    for need, finite in zip(needs, before, strict=True):
                        mg.set_num_threads(1 + place % 3)
                        expected = [defined[0], *(defined[1 + j] for j in need)]
                        for ours, b, e in zip(all_results(spoiled, settings, need), finite, expected, strict=True):
                            np.testing.assert_array_equal(ours, np.where(np.isfinite(e), b, e), strict=True)


@pytest.mark.parametrize("width", [5, 6], ids=["single pixels", "pairs of pixels"])
def test_a_product_that_is_invalid_by_the_definition_is_reported(width):
    """Infinity times 0, here by a weight that is 0."""
    x, w = np.ones((1, 3, width, 1)), np.ones((3, 3, 1, 1))
    x[0, 1, 2], w[1, 1] = np.inf, 0
    with np.errstate(invalid="raise"), pytest.raises(FloatingPointError, match="invalid value"):
        mg.conv2d(x, w)


def test_an_infinite_pixel_is_no_invalid_value():
    """Infinity times a zero that the definition does not have is NaN, and NumPy reports it; no user should see that."""
    x = np.ones((1, 3, 6, 1))
    x[0, 1, 2] = np.inf
    with np.errstate(all="raise"):
        value, dx, dw, db = all_results([x, np.ones((3, 3, 1, 1)), np.zeros(1), np.ones((1, 3, 6, 1))], {"padding": 1})
    np.testing.assert_array_equal(np.isinf(value[0, 1, :, 0]), [False, True, True, True, False, False])
    assert (np.isfinite(dx).all(), np.isposinf(dw).all(), db[0]) == (True, True, 18.0)


# By SciPy -------------------------------------------------------------------------------------


#: Sizes of image and kernel: even and odd, height and width different.
SIZES = [
    ((2, 5, 4, 3), (3, 3, 3, 2)),
    ((1, 4, 7, 1), (2, 3, 1, 1)),
    ((2, 3, 5, 2), (3, 1, 2, 4)),
    ((1, 6, 5, 2), (1, 4, 2, 3)),
    ((1, 3, 3, 2), (3, 3, 2, 1)),
    ((3, 2, 4, 2), (1, 1, 2, 2)),
    ((1, 33, 29, 2), (5, 4, 2, 3)),
]


@pytest.mark.parametrize(("x", "w"), SIZES)
def test_conv2d_is_a_correlation(x, w):
    x, w = randn(*x), randn(*w, seed=1)
    kh, kw = w.shape[:2]
    same(mg.conv2d(x, w), correlate(x, w, "valid"))
    same(mg.conv2d(x, w, padding=(kh - 1, kw - 1)), correlate(x, w, "full"))
    if kh % 2 == kw % 2 == 1:  # an even kernel has no middle
        same(mg.conv2d(x, w, padding=(kh // 2, kw // 2)), correlate(x, w, "same"))


@pytest.mark.parametrize(("x", "w"), SIZES)
def test_gradients_of_conv2d_are_correlations(x, w):
    """In x: g with the flipped kernel, full. In w: x with g, valid."""
    x, w = mg.Tensor(randn(*x), requires_grad=True), mg.Tensor(randn(*w, seed=1), requires_grad=True)
    out = mg.conv2d(x, w)
    g = randn(*out.shape, seed=2)
    dx, dw = mg.grad(out, [x, w], g)
    same(dx, correlate(g, w.data[::-1, ::-1].transpose(0, 1, 3, 2), "full"))
    expected = correlate(x.data.transpose(3, 1, 2, 0), g.transpose(1, 2, 0, 3), "valid")  # the batch is summed over
    same(dw, expected.transpose(1, 2, 0, 3), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("x", "w"), SIZES)
def test_conv_transpose2d_is_a_convolution(x, w):
    """With stride 1: the full convolution, whose kernel is flipped where that of a correlation is not."""
    x, w = randn(*x), randn(*w, seed=1)
    same(mg.conv_transpose2d(x, w), correlate(x, w[::-1, ::-1], "full"))


def test_conv2d_in_float32_is_that_of_scipy():
    x, w = (randn(*shape).astype("float32") for shape in SIZES[0])
    same(mg.conv2d(x, w), correlate(x, w, "valid"), rtol=1e-4, atol=1e-5)
