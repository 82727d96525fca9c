"""Winograd's algorithm: its matrices, its rounding, when it is used, and what it does where numbers are not finite."""

import itertools
import threading
from fractions import Fraction

import numpy as np
import pytest

import minigrad as mg
from minigrad.kernels import conv, winograd
from tests.tools import strict
from tests.tools.compare import cotangent, threads_restored
from tests.tools.cuts import small_blocks

ONE = (1, 1)


def both(algorithm, x, w, b, g, padding=1, wanted="xwb"):
    """Return a convolution and its gradients, or those of some inputs alone."""
    with mg.conv_algorithm(algorithm):
        tensors = [mg.Tensor(np.asarray(a), requires_grad=n in wanted) for a, n in zip((x, w, b), "xwb", strict=True)]
        out = mg.conv2d(*tensors, padding=padding)
    return [a.data for a in (out, *mg.grad(out, [t for t in tensors if t.requires_grad], np.asarray(g)))]


def normal(*shape, seed=0, dtype="float32"):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


# The matrices --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("points", "outputs", "taps"),
    [("0 1 -1", 2, 3), ("0 1 -1 2 -2", 4, 3), ("0 2/3 -2/3 3/2 -3/2", 4, 3), ("5 -3 1/7 0", 3, 3), ("0 1", 1, 3)],
)
def test_the_matrices_give_the_convolution_exactly(points, outputs, taps):
    """In fractions there is no rounding, whatever the points are."""
    matrices = winograd.cook_toom([Fraction(p) for p in points.split()], outputs, taps)
    size = outputs + taps - 1
    assert [m.shape for m in matrices] == [(outputs, size), (size, taps), (size, size)]
    for k, j in itertools.product(range(size), range(taps)):  # bilinear: a basis is enough
        x, w = np.full(size, Fraction()), np.full(taps, Fraction())
        x[k] = w[j] = Fraction(1)
        out = matrices.outputs @ ((matrices.weights @ w) * (matrices.pixels @ x))
        assert list(out) == [Fraction(i + j == k) for i in range(outputs)]


def test_the_points_of_the_kernel_are_six_with_infinity():
    assert len(set(winograd.POINTS)) == len(winograd.POINTS) == winograd.TILE - 1
    for dtype in ("float32", "float64"):
        for matrix, shape in zip(winograd.transforms(np.dtype(dtype)), [(16, 36), (36, 9), (36, 36)], strict=True):
            assert (matrix.shape, matrix.dtype) == (shape, dtype)


# Rounding ------------------------------------------------------------------------------------


def images(kind):
    """Draw images, weights, a bias and a cotangent in float64, whose numbers are float32."""
    x, w, b, g = normal(4, 20, 20, 64), normal(3, 3, 64, 48, seed=1), normal(48, seed=2), normal(4, 20, 20, 48, seed=3)
    if kind == "offset":
        x, g = x + 1000, g + 1000
    if kind == "magnitudes":  # of the channels: from 1 to a million
        x, g = (a * np.logspace(0, 6, a.shape[-1]) for a in (x, g))
    return [a.astype("float32").astype("float64") for a in (x, w, b, g)]


#: The errors of value, dx, dw and db, in parts of the largest number: the largest, and the root of the mean square.
BOUNDS = {"float32": (4e-6, 5e-7), "float64": (6e-15, 8e-16)}


@pytest.mark.parametrize("kind", ["normal", "offset", "magnitudes"])
@pytest.mark.parametrize("dtype", BOUNDS)
def test_the_error_is_within_its_bound(dtype, kind):
    """Against im2col in longdouble: of normal numbers, with an offset, and of channels that differ a millionfold."""
    x, w, b, g = images(kind)
    exact = both("im2col", *(a.astype("longdouble") for a in (x, w, b, g)))
    ours = both("winograd", *(a.astype(dtype) for a in (x, w, b, g)))
    largest, rms = BOUNDS[dtype]
    for what, a, e in zip(("value", "dx", "dw", "db"), ours, exact, strict=True):
        assert a.dtype == dtype
        error, scale = np.abs(a - e), np.abs(e).max()
        assert error.max() <= largest * scale, what
        assert np.sqrt(np.mean(error**2)) <= rms * scale, what


# When it is used -----------------------------------------------------------------------------


@pytest.fixture
def used(monkeypatch):
    """Note each use."""
    noted = []
    for name in ("forward", "backward"):
        f = getattr(winograd, name)
        monkeypatch.setattr(winograd, name, lambda *a, name=name, f=f: (noted.append(name), f(*a))[1])
    return noted


def use(x, w, dtype="float32", device=np.asarray, **settings):
    """Convolve and differentiate."""
    tensors = [mg.Tensor(device(normal(*shape).astype(dtype)), requires_grad=True) for shape in (x, w)]
    out = mg.conv2d(*tensors, **settings)
    mg.grad(out, tensors, device(cotangent(out).astype(dtype)))


LARGE = (2, 16, 16, 32), (3, 3, 32, 32)


@pytest.mark.parametrize(
    ("shapes", "settings", "expected"),
    [
        (LARGE, {}, True),
        (LARGE, {"dtype": "float64"}, True),
        (((8, 7, 7, 32), (3, 3, 32, 40)), {}, True),  # 32 tiles, three quarters full
        (((7, 7, 7, 32), (3, 3, 32, 40)), {}, False),  # 28
        (((40, 5, 5, 32), (3, 3, 32, 32)), {}, False),  # tiles of which much is border
        (((2, 16, 16, 31), (3, 3, 31, 32)), {}, False),
        (((2, 16, 16, 32), (3, 3, 32, 31)), {}, False),
        (((2, 16, 16, 32), (3, 2, 32, 32)), {}, False),
        (((2, 16, 16, 32), (1, 1, 32, 32)), {}, False),
        (((2, 18, 18, 32), (5, 5, 32, 32)), {"padding": 1}, False),
        (LARGE, {"stride": 2}, False),
        (LARGE, {"stride": (1, 2)}, False),
        (LARGE, {"dilation": 2, "padding": 2}, False),
        (LARGE, {"padding": (3, 0)}, False),
        (LARGE, {"padding": (0, 3)}, False),
        (LARGE, {"padding": (0, 2)}, True),
        (LARGE, {"dtype": "complex64"}, False),
        (LARGE, {"dtype": "longdouble"}, False),
    ],
)
def test_shapes_and_dtype_decide(shapes, settings, expected, used):
    settings = {"padding": 1} | settings
    use(*shapes, **settings)
    assert used == (["forward", "backward"] if expected else [])
    with mg.conv_algorithm("im2col"):
        use(*shapes, **settings)
    assert len(used) == 2 * expected


def test_tiles_are_counted_with_the_border():
    """At least 32 tiles of 4x4 outputs, of which at least two thirds are wanted; drawn sizes, tile by tile."""
    rng, answers = np.random.default_rng(0), set()
    w = np.broadcast_to(np.float32(0), (3, 3, 32, 32))
    for _ in range(1500):
        n, h, wd, ph, pw = (*rng.integers(1, 12, size=3).tolist(), *rng.integers(3, size=2).tolist())
        x = np.broadcast_to(np.float32(0), (n, h, wd, 32))
        rows, columns = range(h + 2 * ph - 2), range(wd + 2 * pw - 2)
        tiles = {(i, r // 4, c // 4) for i in range(n) for r in rows for c in columns}
        expected = len(tiles) >= 32 and n * len(rows) * len(columns) / (16 * len(tiles)) >= 2 / 3
        assert conv._by_winograd(x, w, ONE, (ph, pw), ONE, "auto") == expected
        answers.add(expected)
    assert answers == {True, False}


def test_arrays_of_other_devices_keep_im2col(used):
    for algorithm in ("auto", "winograd"):
        with mg.conv_algorithm(algorithm):
            use(*LARGE, device=strict.asarray)
    assert used == []


def test_the_context_can_force_it_and_ends(used):
    small = (1, 5, 4, 1), (3, 3, 1, 1)
    with mg.conv_algorithm("winograd"):
        use(*small)
        use((0, 5, 4, 1), (3, 3, 1, 1))
        use((1, 1, 1, 1), (3, 3, 1, 1), padding=1)
        with mg.conv_algorithm("auto"):
            use(*small)
        thread = threading.Thread(target=use, args=small)  # it has a setting of its own
        thread.start()
        thread.join()
    assert used == ["forward", "backward"] * 2
    with pytest.raises(ZeroDivisionError), mg.conv_algorithm("winograd"):
        _ = 1 / 0
    use(*small)
    assert used == ["forward", "backward"] * 2


def test_what_it_computes_is_the_result_bit_by_bit():
    """And not what im2col computes after it."""
    x, w, b, g = normal(2, 9, 7, 3), normal(3, 3, 3, 4), normal(4), normal(2, 9, 7, 4)
    out, dx, dw, _ = both("winograd", x, w, b, g)
    expected = [*winograd.forward(x, w, b, ONE), *winograd.backward(g, x, w, (True, True, True), ONE)]
    for ours, theirs in zip((out, True, dx, dw, True), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for ours, other in zip((out, dx, dw), both("im2col", x, w, b, g), strict=False):
        assert (ours != other).any()


@pytest.mark.parametrize("outer", ["im2col", "winograd"])
@pytest.mark.parametrize("inner", ["auto", "im2col", "winograd"])
def test_at_its_end_the_algorithm_is_that_of_the_context_around_it(outer, inner, used):
    shapes = (1, 5, 4, 1), (3, 3, 1, 1)
    with mg.conv_algorithm(outer):
        with mg.conv_algorithm(inner):
            pass
        with pytest.raises(ZeroDivisionError), mg.conv_algorithm(inner):
            _ = 1 / 0
        use(*shapes)
    assert bool(used) == (outer == "winograd")


@pytest.mark.parametrize("name", ["fft", "Winograd", None, 3])
def test_other_names_are_refused(name):
    before = conv.in_force.get()
    for outer in ("im2col", "winograd"):
        with mg.conv_algorithm(outer):
            with pytest.raises(ValueError, match="conv_algorithm: expected 'auto', 'im2col' or 'winograd', got "):
                mg.conv_algorithm(name).__enter__()
            assert conv.in_force.get() == outer
    assert conv.in_force.get() == before


def test_gradients_follow_the_algorithm_of_their_forward(used):
    x, w = (mg.Tensor(normal(*shape), requires_grad=True) for shape in LARGE)
    with mg.conv_algorithm("im2col"):
        plain = mg.conv2d(x, w)
    fast = mg.conv2d(x, w)
    assert used == ["forward"]
    mg.grad(plain, [x, w], cotangent(plain))
    assert used == ["forward"]
    with mg.conv_algorithm("im2col"):
        mg.grad(fast, [x, w], cotangent(fast))
    assert used == ["forward", "backward"]


def test_more_tiles_than_16_bits_can_count():
    """Of two images, the tiles of the second begin after 33,000 of the first."""
    arrays = normal(2, 3, 132_002, 1), normal(3, 3, 1, 1, seed=1), normal(1, seed=2), normal(2, 1, 132_000, 1, seed=3)
    ours, expected = (both(name, *arrays, padding=0) for name in ("winograd", "im2col"))
    for i, (a, b) in enumerate(zip(ours, expected, strict=True)):
        tolerance = 1e-5 if i < 2 else 1e-4  # the gradients of the weights are sums over all pixels
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max(), equal_nan=False, strict=True)


# Numbers that are not finite -----------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38, 2e19])
@pytest.mark.parametrize("place", range(4), ids=["x", "w", "b", "g"])
@pytest.mark.parametrize(("nbytes", "wanted"), [(1 << 20, "xwb"), (1 << 20, "x"), (1 << 12, "xwb"), (1 << 12, "x")])
def test_where_a_result_is_not_finite_im2col_computes_it(nbytes, wanted, place, value):
    """A tile mixes its pixels: NaN, infinities and overflow go where im2col sends them, to the bit.

    So it is in the first, a middle and the last of several blocks, and where the weights are frozen.
    """
    arrays = [normal(2, 7, 9, 3), normal(3, 3, 3, 2, seed=1), normal(2, seed=2), normal(2, 7, 9, 2, seed=3)]
    for where in (0, arrays[place].size // 2, -1):
        changed = [a.copy() for a in arrays]
        changed[place].flat[where] = value
        with np.errstate(all="ignore"), small_blocks(nbytes):
            ours, expected = (both(name, *changed, wanted=wanted) for name in ("winograd", "im2col"))
        for a, b in zip(ours, expected, strict=True):
            if np.isfinite(b).all():
                np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(b).max(), equal_nan=False, strict=True)
            else:
                np.testing.assert_array_equal(a, b, strict=True)


def test_an_overflow_inside_is_none_of_the_result():
    """The transforms add up numbers whose sum overflows, although the result is finite. No warning comes of it."""
    x = np.full((1, 8, 8, 1), 2.5e38, "float32")
    x[:, ::2] *= -1
    w = np.zeros((3, 3, 1, 1), "float32")
    w[1, 1] = 1
    leaf = mg.Tensor(np.ones_like(x), requires_grad=True)
    with np.errstate(all="raise", under="ignore"), mg.conv_algorithm("winograd"):
        np.testing.assert_array_equal(mg.conv2d(x, w, padding=1), x, strict=True)
        (dx,) = mg.grad(mg.conv2d(leaf, w, padding=1), leaf, x)
        np.testing.assert_array_equal(dx.data, x, strict=True)


# Tiles ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("x", "o", "padding"), [((5, 9, 7, 3), 4, (1, 1)), ((2, 201, 305, 16), 8, (0, 2))])
def test_there_are_places_for_the_tiles_and_for_no_more(x, o, padding):
    """Whole images in a piece, and some rows of one image."""
    n, ho, wo = x[0], x[1] + 2 * padding[0] - 2, x[2] + 2 * padding[1] - 2
    images, weights = np.broadcast_to(np.float32(0), x), np.broadcast_to(np.float32(0), (36, x[3], o))
    tiles = winograd.Tiles(images, weights, (n, ho, wo, o), padding)
    assert tiles.ends[-1] == n * len(range(0, ho, 4)) * len(range(0, wo, 4))
    assert (len(tiles.pieces) > n) == (x[1] == 201)
    assert [end - start for start, end in itertools.pairwise(tiles.ends)] == [
        len(range(n)[i]) * len(range(1000)[rows]) * len(range(0, wo, 4)) for i, rows in tiles.pieces
    ]


# Bits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "o"),
    [((12, 28, 28, 64), 64), ((2, 14, 14, 300), 260), ((3, 20, 17, 32), 33)],
    ids=["blocks for each thread", "a block for all", "few blocks"],
)
def test_bits_do_not_depend_on_the_number_of_threads(x, o):
    arrays = normal(*x), normal(3, 3, x[3], o, seed=1), normal(o, seed=2), normal(*x[:3], o, seed=3)
    weights = np.empty((36, x[3], o), "float32")
    tiles = winograd.Tiles(arrays[0], weights, arrays[3].shape, ONE)
    assert tiles.shared == (x[0] != 12)
    results = []
    with threads_restored():
        for threads in (1, 2, 3, 5, 9):
            mg.set_num_threads(threads)
            results.append(both("auto", *arrays))
    assert conv._by_winograd(arrays[0], arrays[1], ONE, ONE, ONE, "auto")
    for result in results[1:]:
        for a, b in zip(results[0], result, strict=True):
            np.testing.assert_array_equal(a, b, strict=True)
