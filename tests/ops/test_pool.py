"""Pooling: drawn shapes and settings, by loops; blocks of images."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import ops
from minigrad.kernels import blocks
from tests.records.draw import normal, randn, tied
from tests.records.pool import pool_by_loops
from tests.tools.compare import cotangent, examples, leaf, same, seeds
from tests.tools.reach import blocks_of_images


@st.composite
def poolings(draw):
    sides = []
    for _ in range(2):
        k, s = draw(st.integers(1, 9)), draw(st.integers(1, 9))
        p = draw(st.integers(0, k - 1))
        least = max(0, k - 2 * p)
        sides.append((draw(st.integers(least, least + s + 2)), k, s, p))
    size, kernel, stride, padding = zip(*sides, strict=True)
    settings = {"kernel": kernel, "stride": stride, "padding": padding}
    return (draw(st.integers(0, 2)), *size, draw(st.integers(1, 3))), settings


def rarely_1(rng, shape):
    """Draw zeros and some ones: in a large window the first of several ones comes late."""
    return np.asarray(1.0 * (rng.random(shape) < 0.06))


def rarely_finite(rng, shape):
    """Draw minus infinities, as the border was once, and some zeros and NaNs."""
    return np.where(rng.random(shape) < 0.1, rng.choice([0.0, np.nan], shape), -np.inf)


def pool_gradient_by_loops(x, g, kernel, stride, padding, largest):
    """Send each gradient to the first largest pixel of its window, or in equal parts to all of them."""
    (kh, kw), (sh, sw), (ph, pw) = kernel, stride, padding
    d = np.zeros(x.shape)
    for n, y, z, c in np.ndindex(g.shape):
        top, left = y * sh - ph, z * sw - pw
        window = (n, slice(max(top, 0), max(top + kh, 0)), slice(max(left, 0), max(left + kw, 0)), c)
        if not largest:
            d[window] += g[n, y, z, c] / (kh * kw)
        elif x[window].size:
            first = np.unravel_index(x[window].argmax(), x[window].shape)
            d[window][first] += g[n, y, z, c]
    return d


@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d"])
@given(case=poolings(), seed=seeds, draw=st.sampled_from([normal, tied, rarely_1]))
def test_pooling_by_loops(name, case, seed, draw):
    shape, settings = case
    rng, largest = np.random.default_rng(seed), name == "max_pool2d"
    x = leaf(draw(rng, shape))
    out = getattr(mg, name)(x, **settings)
    same(out, pool_by_loops(x.data, **settings, largest=largest))
    g = cotangent(out, rng)
    (dx,) = mg.grad(out, x, g)
    same(dx, pool_gradient_by_loops(x.data, g, **settings, largest=largest))
    if largest:
        defined = ops.pool.max_pool2d_twin(x, **settings)
        same(out, defined, rtol=0, atol=0)
        same(dx, mg.grad(defined, x, g)[0])
    else:
        mg.adjoint_check(lambda x: mg.avg_pool2d(x, **settings), [x.data], rng=rng)


@given(case=poolings(), seed=seeds)
@examples(0.5)
def test_no_gradient_is_lost_in_the_border(case, seed):
    shape, settings = case
    rng = np.random.default_rng(seed)
    x = leaf(rarely_finite(rng, shape))
    out = mg.max_pool2d(x, **settings)
    expected = pool_by_loops(x.data, **settings, largest=True)
    np.testing.assert_array_equal(out.data, expected, strict=True)
    g = cotangent(out, rng)
    expected = pool_gradient_by_loops(x.data, g, **settings, largest=True)
    for create_graph in (False, True):  # the rule on arrays, and the definition
        same(mg.grad(out, x, g, create_graph=create_graph, retain_graph=True)[0], expected)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64"])
def test_max_pool2d_of_integers_is_that_of_floats(dtype):
    x = np.random.default_rng(0).integers(-100 if dtype[0] == "i" else 0, -90 if dtype[0] == "i" else 9, (2, 5, 4, 3))
    out = mg.max_pool2d(x.astype(dtype), 3, stride=2, padding=1)
    expected = pool_by_loops(x.astype(float), 3, stride=2, padding=1, largest=True)
    np.testing.assert_array_equal(out, expected.astype(dtype), strict=True)


@given(shape=st.tuples(st.integers(0, 3), *[st.integers(1, 4)] * 3), seed=seeds)
@examples(0.2)
def test_global_avg_pool2d(shape, seed):
    rng = np.random.default_rng(seed)
    x = leaf(normal(rng, shape))
    out = mg.global_avg_pool2d(x)
    same(out, x.data.mean((1, 2)))
    g = cotangent(out, rng)
    same(mg.grad(out, x, g)[0], np.broadcast_to(g[:, None, None] / (shape[1] * shape[2]), shape))


def test_windows_do_not_overlap_by_default():
    images = randn(1, 4, 6, 1)
    np.testing.assert_array_equal(mg.max_pool2d(images, 2), mg.max_pool2d(images, 2, stride=2, padding=0))
    np.testing.assert_array_equal(mg.avg_pool2d(images, 2), mg.avg_pool2d(images, 2, stride=2, padding=0))


def test_the_border_is_never_the_largest():
    x = -np.ones((1, 2, 2, 1))
    assert mg.max_pool2d(x, 3, stride=1, padding=1).max() == -1.0


@pytest.mark.parametrize("shape", [(3, 4, 4, 2), (40, 33, 32, 16), (2, 800, 800, 1), (3, 0, 4, 2), (0, 4, 4, 2)])
def test_images_are_cut_into_the_fewest_blocks_that_fit_the_cache(shape):
    x = np.empty(shape, "float32")
    lengths = [s.stop - s.start for s in blocks_of_images(x)]
    image = max(x.nbytes // max(len(x), 1), 1)
    assert sum(lengths) == len(x)
    assert max(lengths) * image <= max(blocks.BLOCK_BYTES, image)
    assert len(lengths) == 1 or (2 * max(lengths) + 1) * image > blocks.BLOCK_BYTES
