"""Sines, exponentials, the error function and activations: their digits near 0 and far out. Casts."""

import numpy as np
import pytest
from scipy import special

import minigrad as mg
from minigrad.ops.functions import astype
from tests.tools.compare import cotangent, leaf, same

NEAR = np.array([1e-300, 1e-20, 1e-9, 1e-5, 0.01])
FAR = np.array([0.5, 3.0, 6.0, 10.0, 20.0, 37.0])
POINTS = np.concatenate([-FAR[::-1], -NEAR[::-1], [0.0], NEAR, FAR])


def _density(x):
    return np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)


#: Value and derivative by formulas that cancel nowhere on POINTS, but for a zero of silu' and one of gelu'.
EXACT = {
    "expm1": (special.expm1, np.exp),
    "erf": (special.erf, lambda x: 2 / np.sqrt(np.pi) * np.exp(-x * x)),
    "softplus": (lambda x: np.logaddexp(0, x), special.expit),
    "silu": (lambda x: x * special.expit(x), lambda x: special.expit(x) * (1 + x * special.expit(-x))),
    "gelu": (lambda x: x * special.ndtr(x), lambda x: special.ndtr(x) + x * _density(x)),
}


@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-13), ("float32", 2e-6)])
@pytest.mark.parametrize("name", EXACT)
def test_all_digits_near_0_and_in_both_tails(name, dtype, rtol):
    """Relative to each number by itself: 1 + erf(x), log(1 + exp(x)) and exp(x) - 1 would be 0 at one end."""
    points = POINTS[np.abs(POINTS) < 10] if dtype == "float32" else POINTS  # denormal numbers have fewer digits
    x = leaf(points.astype(dtype))
    value, slope = EXACT[name]
    exact = x.data.astype("float64")
    out = getattr(mg, name)(x)
    same(out, value(exact).astype(dtype), rtol=rtol, atol=0)
    g = cotangent(out)
    same(mg.grad(out, x, g)[0], (g * slope(exact)).astype(dtype), rtol=10 * rtol, atol=0)


def test_log1p_keeps_the_digits_of_small_numbers():
    x = leaf(NEAR)
    out = mg.log1p(x)
    same(out, NEAR - NEAR**2 / 2 + NEAR**3 / 3 - NEAR**4 / 4 + NEAR**5 / 5, rtol=1e-10, atol=0)
    same(mg.grad(out.sum(), x)[0], 1 / (1 + NEAR), rtol=1e-15, atol=0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_activations_far_out_neither_overflow_nor_warn(dtype):
    """Where 1 / (1 + exp(-x)) and log(1 + exp(x)) would: values and gradients of both orders."""
    points = np.array([-1e4, -1e18, 1e4, 1e18], dtype)
    for name, value in {"softplus": [0, 0, 1e4, 1e18], "silu": [0, 0, 1e4, 1e18], "gelu": [0, 0, 1e4, 1e18]}.items():
        x = leaf(points)
        with np.errstate(all="raise", under="ignore"):
            out = getattr(mg, name)(x)
            (dx,) = mg.grad(out.sum(), x, create_graph=True)
            (ddx,) = mg.grad(dx.sum(), x)
        same(mg.abs(out), np.array(value, dtype), rtol=1e-6, atol=0)
        same(mg.abs(dx), np.array([0, 0, 1, 1], dtype), rtol=1e-6, atol=0)
        same(mg.abs(ddx), np.zeros(4, dtype), rtol=0, atol=0)


# Casts ---------------------------------------------------------------------------------------


def test_a_cast_rounds_the_value_and_its_gradient_comes_back_in_the_first_dtype():
    """The derivative of x ** 3, rounded to float32 where it is computed."""
    x = leaf(np.array([0.1, -2.0, 3.0]))
    single = x.astype("float32")
    same(single, x.data.astype("float32"), rtol=0, atol=0)
    y = (single**3).astype(np.float64)
    same(y, (x.data.astype("float32") ** 3).astype("float64"), rtol=1e-6, atol=0)
    for create_graph in (True, False):
        (dx,) = mg.grad(y.sum(), x, create_graph=create_graph, retain_graph=True)
        assert dx.dtype == np.float64
        same(dx, 3 * x.data**2, rtol=1e-6, atol=0)
    (dx,) = mg.grad(y.sum(), x, create_graph=True)
    (ddx,) = mg.grad(dx.sum(), x, create_graph=True)
    same(ddx, 6 * x.data, rtol=1e-6, atol=0)
    (dddx,) = mg.grad(ddx.sum(), x)
    same(dddx, np.full(3, 6.0), rtol=1e-6, atol=0)


def test_a_cast_that_changes_nothing_gives_the_tensor_itself():
    x = leaf(np.ones(2))
    assert x.astype(float) is x
    assert x.astype(x.dtype.newbyteorder()) is x  # the same numbers; a Tensor holds them in the native order
    assert x.astype(">f4").dtype == x.astype("<f4").dtype == "float32"


def test_a_cast_of_arrays_and_of_integers():
    same(astype(np.array([1, 2]), "float32"), np.array([1, 2], "float32"))
    assert mg.Tensor(np.array([3.7, -3.7])).astype("int64").data.tolist() == [3, -3]
    assert mg.Tensor(np.array([1, 0], "uint8")).astype(bool).data.tolist() == [True, False]
    complex_ = leaf(np.array([1.0, 2.0])).astype(np.complex128)
    assert complex_.dtype == np.complex128


def test_a_cast_beside_float32_mends_what_the_message_complains_of():
    w, x = leaf(np.ones(2, "float32")), mg.Tensor(np.ones(2))
    with pytest.raises(TypeError, match=r"expected one dtype, got float32 and float64; .*\.astype\('float32'\)"):
        w * x
    assert (w * x.astype("float32")).dtype == np.float32


@pytest.mark.parametrize(
    ("dtype", "message"),
    [
        ("int64", "a floating-point dtype, through which a gradient flows, got int64; use .detach"),
        ("bool", "a floating-point dtype, .* got bool"),
        ("float16", "expected at least float32, got float16"),
        ("U3", "a dtype of numbers, got <U3"),
        (None, "expected a dtype, got None"),
        ("flaot32", "data type 'flaot32' not understood"),
    ],
)
def test_a_cast_that_would_lose_something_is_refused(dtype, message):
    with pytest.raises(TypeError, match=rf"^astype: .*{message}"):
        leaf(np.ones(2)).astype(dtype)


def test_a_cast_does_not_drop_an_imaginary_part():
    with pytest.raises(TypeError, match="^astype: expected a complex dtype for complex numbers, got float64; take"):
        astype(np.ones(2, complex), "float64")


def test_an_operator_of_the_users_may_cast_by_a_setting_dtype_and_only_by_it():
    @mg.operator
    def narrow(x, /, dtype):
        return x.astype("float32")

    x = mg.Tensor(np.ones(2))
    assert narrow(x, "float32").dtype == np.float32
    assert narrow(np.ones(2), dtype=np.float32).dtype == np.float32
    for given in (x, np.ones(2)):
        with pytest.raises(TypeError, match="narrow: expected one dtype, got float64 and float32"):
            narrow(given, "complex64")
