"""How a convolution is computed: which path, in which pieces, with how many threads; always the same result."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import ops
from minigrad.kernels import blocks, conv, products
from tests.records.draw import randn
from tests.tools.compare import cotangent, leaf, same, threads_restored
from tests.tools.reach import BACKWARD_PATHS, count_calls, note_pixels_at_once, note_small_products, pixels_at_once
from tests.tools.strict import strict

# Paths ----------------------------------------------------------------------------------------


def test_a_convolution_takes_the_fast_path_where_there_is_one(monkeypatch):
    """All paths give the same; a condition that sent everything down the slow one would go unnoticed."""
    one_tap, stride_1, any_stride = BACKWARD_PATHS
    taken = count_calls(monkeypatch, conv, *BACKWARD_PATHS)
    for kernel, settings, path in [
        ((3, 2), {}, stride_1),
        ((3, 2), {"padding": (2, 1)}, stride_1),
        ((3, 2), {"padding": (2, 1), "dilation": (1, 2)}, stride_1),
        ((3, 2), {"padding": (3, 1)}, any_stride),
        ((3, 2), {"padding": (2, 2)}, any_stride),
        ((3, 2), {"stride": (1, 2)}, any_stride),
        ((3, 2), {"stride": (2, 1)}, any_stride),
        ((1, 1), {}, one_tap),
        ((1, 1), {"stride": 2}, one_tap),
        ((1, 1), {"padding": 1}, any_stride),
        ((1, 2), {}, stride_1),
    ]:
        x, w = leaf(randn(2, 5, 6, 2)), leaf(randn(*kernel, 2, 3))
        out = mg.conv2d(x, w, **settings)
        mg.grad(out, [x, w], cotangent(out))
        assert taken == [path], (kernel, settings)
        taken.clear()
    x, w = mg.Tensor(randn(2, 5, 6, 2)), leaf(randn(3, 3, 2, 3))
    mg.conv2d(x, w, padding=1).sum().backward()  # the first layer of a net: nobody wants the gradient of the images
    assert taken == [any_stride]


def test_threads_share_the_product_of_a_single_block(monkeypatch):
    """A small image with many channels; where there are more blocks, each thread has its own."""
    shared = count_calls(monkeypatch, products, "matmul")
    x, w = randn(40, 18, 17, 8), randn(3, 3, 8, 4)
    mg.conv2d(x, w)
    assert not shared
    mg.conv2d(x[:1], w)
    assert len(shared) == 1


def test_a_convolution_with_one_tap_makes_no_columns_and_cuts_its_pixels_into_blocks(monkeypatch):
    """It is a matrix product as it stands; the sum over the pixels is cut into blocks for the partial sums."""
    monkeypatch.setattr(conv, "Columns", None)
    sizes, multiply = [], products.multiply_transposed
    monkeypatch.setattr(
        products, "multiply_transposed", lambda a, b: (sizes.append(a.nbytes + b.nbytes), multiply(a, b))[1]
    )
    x, w = leaf(randn(40, 30, 30, 8)), leaf(randn(1, 1, 8, 24))
    out = mg.conv2d(x, w, np.zeros(24))
    mg.grad(out, [x, w], cotangent(out))
    assert blocks.BLOCK_BYTES / 2 < max(sizes) <= blocks.BLOCK_BYTES
    assert sum(sizes) == 40 * 30 * 30 * (8 + 24) * 8


@pytest.mark.parametrize("settings", [{}, {"stride": 2}])
def test_the_gradient_of_the_images_alone_adds_nothing_up_for_the_weights(settings, monkeypatch):
    """Large images, too, which the gradient of the weights may cut into rows, and that of the images may not."""
    x, w = leaf(randn(1, 160, 150, 4)), leaf(randn(3, 3, 4, 4))
    out = mg.conv2d(x, w, **settings)
    g = cotangent(out)
    dx, _ = mg.grad(out, [x, w], g)
    monkeypatch.setattr(products, "multiply_transposed", None)  # calling it would fail
    (alone,) = mg.grad(mg.conv2d(x, w.data, **settings), [x], g)
    same(alone, dx, rtol=1e-12, atol=1e-12)


# Two neighbouring pixels at once --------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "kernel", "settings", "at_once"),
    [
        ((2, 4, 6, 3), (3, 3, 3, 5), {}, (2, 2)),  # pixels of x have 3 numbers, those of g have 5
        ((2, 4, 6, 3), (2, 3, 3, 40), {}, (2, 1)),  # with 40, a window's row is long
        ((2, 4, 6, 40), (3, 3, 40, 3), {}, (1, 2)),
        ((2, 4, 7, 3), (3, 3, 3, 5), {}, (1, 1)),  # an odd width has no pairs
        ((2, 4, 6, 3), (3, 1, 3, 5), {}, (1, 1)),  # windows that do not overlap have nothing to share
        ((2, 4, 6, 3), (3, 3, 3, 5), {"dilation": (1, 2)}, (1, 1)),
        ((2, 4, 6, 3), (3, 3, 3, 5), {"stride": (1, 2)}, (1, 1)),
        ((2, 9, 6, 3), (3, 3, 3, 5), {"stride": (2, 1), "dilation": (2, 1)}, (2, 1)),
    ],
)
def test_pixels_in_pairs_are_those_of_the_twin(monkeypatch, shape, kernel, settings, at_once):
    """Forward and backward take two neighbours at once where that pays."""
    taken = note_pixels_at_once(monkeypatch)
    rng = np.random.default_rng(0)
    x, w, b = (leaf(rng.standard_normal(s)) for s in (shape, kernel, kernel[3:]))
    settings = {"stride": (1, 1), "padding": (kernel[0] // 2, kernel[1] // 2), "dilation": (1, 1)} | settings
    if settings["dilation"][1] == 2:
        settings["padding"] = (1, 2)
    out, defined = mg.conv2d(x, w, b, **settings), ops.conv.conv2d_twin(x, w, b, **settings)
    same(out, defined, rtol=1e-12, atol=1e-12)
    g = rng.standard_normal(out.shape)
    for d, d_defined in zip(mg.grad(out, [x, w, b], g), mg.grad(defined, [x, w, b], g), strict=True):
        same(d, d_defined, rtol=1e-12, atol=1e-12)
    assert tuple((*taken, 1))[:2] == at_once


def test_pixels_are_taken_in_pairs_on_the_host_only():
    """Another device has no cache that short runs would be copied into."""
    x = randn(1, 4, 6, 3)
    assert [pixels_at_once(array, kw=3) for array in (x, strict.asarray(x))] == [2, 1]


@pytest.mark.parametrize(("channels", "kw", "at_once"), [(31, 2, 2), (32, 2, 1), (12, 5, 2), (13, 5, 1)])
def test_pixels_are_taken_in_pairs_where_a_row_of_a_window_has_less_than_64_numbers(channels, kw, at_once):
    assert pixels_at_once(randn(1, 1, kw + 3, channels), kw=kw) == at_once


# Small products -------------------------------------------------------------------------------


#: Images, a kernel and settings: OpenBLAS's kernels for small products take some rows, and leave others over.
NARROW = {
    "3x3": ((20, 20, 17, 16), (3, 3, 16, 16), {"padding": (1, 1)}),
    "3x3-in-pairs": ((20, 20, 16, 8), (3, 3, 8, 9), {"padding": (1, 1)}),
    "3x3-stride2": ((30, 33, 32, 16), (3, 3, 16, 24), {"padding": (1, 1), "stride": (2, 2)}),
    "rows-of-large-images": ((2, 150, 141, 9), (3, 3, 9, 10), {"padding": (2, 2), "dilation": (2, 2)}),
    "one-image": ((1, 31, 29, 32), (3, 3, 32, 16), {"padding": (1, 1)}),
    "1x1": ((9, 18, 17, 64), (1, 1, 64, 40), {}),
    "1x1-stride2": ((19, 37, 18, 40), (1, 1, 40, 64), {"stride": (2, 2)}),
}


def convolved(case, small_kernels, monkeypatch, dtype="float64"):
    """Return value and gradients of a case, what they are of, and how many rows each product left over."""
    *shapes, settings = NARROW[case]
    settings = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1)} | settings
    rng = np.random.default_rng(0)
    inputs = [leaf(rng.standard_normal(s).astype(dtype)) for s in (*shapes, shapes[1][3:])]
    with monkeypatch.context() as patch:
        left = note_small_products(patch, small_kernels)
        out = mg.conv2d(*inputs, **settings)
        g = cotangent(out)
        results = [out, *mg.grad(out, inputs, g)]
    return results, inputs, settings, g, left


@pytest.mark.parametrize("case", NARROW)
def test_a_convolution_by_small_products_is_its_twin(case, monkeypatch):
    """Forward and both gradients, each of which is made of small products and of what they leave over."""
    results, inputs, settings, g, left = convolved(case, True, monkeypatch)
    assert len(left) >= 3
    assert max(left) > 0
    defined = ops.conv.conv2d_twin(*inputs, **settings)
    for fast, plain in zip(results, [defined, *mg.grad(defined, inputs, g)], strict=True):
        same(fast, plain, rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("small_kernels", [False, True])
@pytest.mark.parametrize("case", NARROW)
def test_small_products_are_bit_equal_for_every_number_of_threads(case, small_kernels, monkeypatch):
    """How a product is cut does not depend on which thread computes it."""
    results = []
    with threads_restored():
        for threads in (1, 2, 3):
            mg.set_num_threads(threads)
            results.append(convolved(case, small_kernels, monkeypatch, "float32")[0])
    for result in results[1:]:
        for a, b in zip(results[0], result, strict=True):
            np.testing.assert_array_equal(a.data, b.data)
