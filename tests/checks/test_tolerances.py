"""The tolerance of each check: a fault of half of it passes, and a fault of twice of it raises."""

import zlib

import numpy as np
import pytest

import minigrad as mg
from minigrad.checks import differences, identities, operators
from tests.checks.planted import added, one_element, planted, scaled, wrong_in_second_order
from tests.records.draw import randn

#: A share of the tolerance, and whether a check must raise.
SIDES = pytest.mark.parametrize(("share", "raises"), [(0.5, False), (2.0, True)], ids=["inside", "outside"])


def verdict(raises, message, check, *args, **settings):
    """Run a check: it must raise with a message, or pass."""
    if not raises:
        check(*args, **settings)
        return
    with pytest.raises(mg.GradientError, match=message):
        check(*args, **settings)


@pytest.fixture(params=["every entry", "random directions"])
def way(request, monkeypatch):
    """Run a test with both ways of gradcheck."""
    if request.param == "random directions":
        monkeypatch.setattr(differences, "FULL_JACOBIAN", 0)
    return request.param


# Finite differences --------------------------------------------------------------------------


@SIDES
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("k", [0, 1, 2])
def test_the_relative_tolerance_of_differences(k, sign, share, raises, way):
    """1e-5 of the largest entry of the same gradient."""
    inputs = [randn(2, 3, seed=i) for i in range(3)]
    verdict(raises, f"the gradient of input {k} ", mg.gradcheck, scaled(sign * share * 1e-5, k), inputs)


@SIDES
@pytest.mark.parametrize(("of", "k"), [("x", 0), ("cotangent", 1)])
def test_the_relative_tolerance_of_second_order(of, k, share, raises, way):
    wrong = wrong_in_second_order(share * 1e-5, of)
    mg.gradcheck(wrong, [randn(2, 3)])
    verdict(raises, f"the gradient of input {k} ", mg.gradgradcheck, wrong, [randn(2, 3)])


@SIDES
@pytest.mark.parametrize("sign", [1, -1])
def test_the_absolute_tolerance_of_differences(sign, share, raises):
    """1e-7, which matters for small gradients: here they are about 1e-6."""
    wrong = added(lambda g: 0 * g + sign * share * 1e-7, slope=1e-6)
    verdict(raises, "the gradient of input 0", mg.gradcheck, wrong, [randn(3)])


@SIDES
@pytest.mark.parametrize(("atol", "rtol"), [(1e-3, 0.0), (0.0, 1e-3), (0.5e-3, 0.5e-3)])
@pytest.mark.parametrize("check", [mg.gradcheck, mg.gradgradcheck])
def test_both_tolerances_are_settings(check, atol, rtol, share, raises):
    """For one element and g = slope = 1 both parts are alike, so they add up."""
    wrong = planted(lambda x, /: x + 0.0, lambda g, *, need: (g + np.sign(g) * share * (atol + rtol * abs(g)),))
    wrong.twin(lambda x: x + 0.0)
    verdict(raises, "the gradient of input", check, wrong, [np.array(0.3)], atol=atol, rtol=rtol)


@SIDES
@pytest.mark.parametrize("place", [(0, 0), (1, 1), (2, 3)])
def test_one_wrong_element_is_seen(place, share, raises):
    verdict(raises, "wrong in 1 of 12 places", mg.gradcheck, one_element(share * 1e-5, place), [randn(3, 4)])


@SIDES
def test_the_tolerance_between_a_twin_and_its_operator_in_gradgradcheck(share, raises):
    """The recorded gradient differs by twice the tolerance, in the last of three inputs."""
    f = planted(
        lambda x, y, z, /: x + y + z,
        lambda g, *, need: (g * 1.0, g * 1.0, g * (1.0 + share * 1e-5)),
    )
    f.twin(lambda x, y, z: x + y + z)
    message = r"the gradient of input 2 \(shape \(4,\)\) under create_graph differs from the ordinary one by \d.*e-05"
    # 0.01 of the tolerance below is absolute
    verdict(raises, message, mg.gradgradcheck, f, [randn(4, seed=i) for i in range(3)], atol=1e-12)


@pytest.mark.parametrize("eps", [1e-2, 1e-3])
def test_the_step_is_the_one_asked_for_and_the_error_is_returned(eps):
    """The central difference of x ** 3 is 3 x ** 2 + eps ** 2, exactly."""
    x = np.array(0.7)
    expected = eps**2 / (3 * x**2 + eps**2)
    for f, inputs in (
        (lambda x: x**3, [x]),
        (lambda x, y: x**3 + y, [x, x]),
        (lambda x, y: y + x**3 + x * 0.0, [x, x]),
        (lambda y, x: y + x**3, [x, x]),
    ):
        found = mg.gradcheck(f, inputs, eps=eps, rtol=1.0)
        np.testing.assert_allclose(found, expected, rtol=1e-7, equal_nan=False)


def test_the_error_of_the_worst_cotangent_and_of_small_gradients():
    """Where a gradient is smaller than atol / rtol, its error is relative to that."""
    x = np.array([1.0, 0.0])
    f = lambda x: x**3 * np.array([1.0, 1e-6])  # noqa: E731  its second derivative is 0, and so is the gradient
    found = mg.gradcheck(f, [x], eps=1e-3)
    assert 0.3e-6 < found < 1e-6  # eps ** 2 / 3, or less where the cotangent of the first is small
    assert mg.gradcheck(lambda x: x * 0.0, [x]) == 0.0


# Identities ----------------------------------------------------------------------------------


@SIDES
@pytest.mark.parametrize("sign", [1, -1])
def test_the_tolerance_of_the_complex_step(sign, share, raises):
    """1e-12 of the sum of the absolute terms: for one element, of the derivative itself."""
    wrong = scaled(sign * share * 1e-12)
    verdict(raises, "the gradient of input 0 differs from complex step", mg.complex_step_check, wrong, [np.array(0.3)])
    wrong = scaled(sign * share * 1e-3)
    verdict(raises, "differs from complex step", mg.complex_step_check, wrong, [np.array(0.3)], rtol=1e-3)


@SIDES
@pytest.mark.parametrize("sign", [1, -1])
def test_the_tolerance_of_the_adjoint(sign, share, raises):
    """1e-12 of the product of norms: for one element, of the inner product itself."""
    wrong = scaled(sign * share * 1e-12)
    verdict(raises, "by the tape .* by the adjoint", mg.adjoint_check, wrong, [np.array(0.3)])
    verdict(raises, "adjoint", mg.adjoint_check, scaled(sign * share * 1e-3), [np.array(0.3)], rtol=1e-3)


@SIDES
@pytest.mark.parametrize("others", [1, 5])
def test_the_tolerance_of_the_adjoint_of_several_outputs(others, share, raises):
    """The products of norms are added up, not the norms: five outputs beside one allow six times the error, not 36."""
    wrong = scaled(share * 1e-12 * (1 + others))
    verdict(
        raises, "adjoint", mg.adjoint_check, lambda x: [wrong(x), *(x * 2.0 for _ in range(others))], [np.array(0.3)]
    )


@pytest.mark.parametrize(("curvature", "raises"), [(0.5e-9, False), (1e-7, True)])
def test_the_tolerance_of_linearity(curvature, raises):
    """1e-9 relative and 1e-9 absolute, for numbers of about 1."""

    def bent(x):
        return x * 2.0 + mg.abs(x) * curvature

    if raises:
        with pytest.raises(ValueError, match="adjoint_check: f is not linear in its arguments; use gradcheck"):
            mg.adjoint_check(bent, [randn(5)])
    else:
        mg.adjoint_check(bent, [randn(5)], rtol=1.0)


def curved(f, slope):
    """Make an operator of a function and its slope, both in NumPy."""
    return planted(lambda x, /: f(x), lambda g, x, *, need: (g * slope(x),))


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("error", [1e-3, 1e-4, 1e-5, 1e-6])
def test_taylor_sees_a_relative_error_of_a_millionth(error, sign):
    """For several functions with curvature, at the default seed."""
    for f, slope in (
        (lambda x: x**3, lambda x: 3 * x**2),
        (np.exp, np.exp),
        (np.tanh, lambda x: 1 - np.tanh(x) ** 2),
        (np.log, lambda x: 1 / x),
    ):
        wrong = curved(f, lambda x, slope=slope: slope(x) * (1 + sign * error))
        with pytest.raises(mg.GradientError, match=r"the Taylor remainder of input 0 \(shape \(3,\)\) shrinks as h"):
            mg.taylor_check(wrong, [np.array([0.4, 0.7, 1.3])])


@pytest.mark.parametrize("seed", range(5))
def test_taylor_accepts_what_is_right(seed):
    """Also at roots of f, where rounding is far below 1e-16, and where f is large beside its slope."""
    for f, x in (
        (lambda x: x**3, [0.3, -1.2]),
        (mg.exp, [1.0, -3.0]),
        (lambda x: mg.exp(x) - 1e6, [1.0, 2.0]),
        (lambda x: mg.log(x) * 1e-3, [1.0, 1.0]),
    ):
        assert 1.97 < mg.taylor_check(f, [np.array(x)], rng=seed) < 2.03
    assert 2.9 < mg.taylor_check(mg.tanh, [np.zeros(3)], rng=seed) < 3.1  # no second derivative
    for f in (lambda x: x * 2.0, lambda x: x / 3.0 - 1e3, lambda x: x * 0.0):
        assert mg.taylor_check(f, [randn(4)], rng=seed) == np.inf


def test_taylor_returns_the_lowest_order():
    """Of the inputs: the order is 3 for tanh at 0, infinite for the linear ones, and 2 for the one in the middle."""
    for parts in ((mg.neg, mg.tanh, mg.exp), (mg.exp, mg.tanh, mg.neg), (mg.tanh, mg.exp, mg.neg)):
        order = mg.taylor_check(lambda *xs, p=parts: p[0](xs[0]) + p[1](xs[1]) + p[2](xs[2]), [np.zeros(2)] * 3)
        assert 1.97 < order < 2.03


@pytest.mark.parametrize(("power", "raises"), [(1.8, True), (1.85, True), (1.95, False)])
def test_the_lowest_order_that_passes(power, raises):
    """The function |x| ** p has a remainder of order p at 0, where its slope is 0."""
    f = planted(lambda x, /: np.abs(x) ** power, lambda g, *, need: (0 * g,))
    verdict(raises, rf"shrinks as h \*\* {power}0?, not as h \*\* 2", mg.taylor_check, f, [np.zeros(1)])


def test_taylor_sees_what_is_not_a_number():
    """Also where f is linear: NaN is larger than rounding."""
    wrong = planted(lambda x, /: x * 2.0, lambda g, *, need: (g * np.nan,))
    with pytest.raises(mg.GradientError, match=r"shrinks as h \*\* nan"):
        mg.taylor_check(wrong, [randn(3)])


@pytest.mark.parametrize("noise", [1e-2, 1e-4, 1e-6])
def test_a_noisy_function_hardly_ever_passes(noise):
    """Noise hides the remainder. The order of what is left is a matter of luck, and is not 2 because f is linear."""

    def rough(seed):
        def forward(x, /):
            rng = np.random.default_rng([seed, zlib.crc32(x.tobytes())])
            return x * 2.0 + noise * rng.standard_normal(x.shape)

        return planted(forward, lambda g, *, need: (g * 2.0,))

    refused = 0
    for seed in range(20):
        try:
            mg.taylor_check(rough(seed), [np.ones(3)])
        except mg.GradientError:
            refused += 1
    assert refused >= 12


# Parts of check_operator ---------------------------------------------------------------------


@SIDES
@pytest.mark.parametrize("which", ["value", "first", "last"])
def test_the_tolerance_of_float32(which, share, raises):
    """1e-4 of the largest element, in the value or in one gradient only."""

    def off(x, at):
        return x * np.float32(1 + share * operators.FLOAT32_ERROR) if x.dtype == "float32" and at == which else x

    f = planted(
        lambda x, y, /: off(x + 0 * y, "value"),
        lambda g, *, need: (off(g * 1, "first"), off(g * 1, "last")),
    )
    message = "float32 and float64 differ by 0.0002 of the largest element"
    verdict(raises, message, operators.check_dtype, f, [randn(4), randn(4, seed=1)])


@SIDES
@pytest.mark.parametrize("size", [1e-2, 1.0, 1e3])
def test_the_tolerance_of_float32_is_a_share_of_the_largest_element_however_small_it_is(size, share, raises):
    def off(x):
        return x * size * (1 + share * operators.FLOAT32_ERROR if x.dtype == "float32" else 1)

    f = planted(lambda x, /: off(x).astype(x.dtype), lambda g, *, need: ((g * size).astype(g.dtype),))
    verdict(raises, "float32 and float64 differ", operators.check_dtype, f, [np.array([0.3, 0.4, 0.7])])


def with_twin(size, error):
    f = planted(lambda x, /: size * x, lambda g, *, need: (size * g,))
    f.twin(lambda x: size * x + error)
    return f


@SIDES
@pytest.mark.parametrize("sign", [1, -1])
def test_the_tolerance_of_a_twin(sign, share, raises):
    """1e-10 of the largest element, or of 1e-3 where that is larger."""
    for size, floor in ((1.0, 1.0), (1e-5, 1e-3)):
        f = with_twin(size, sign * share * 1e-10 * floor)
        x = np.array([0.2, -1.0])
        verdict(raises, "the operator and its twin differ by 2e-10 of the largest", operators.check_twin, f, [x])
        if not raises:
            np.testing.assert_allclose(operators.check_twin(f, [x]), share * 1e-10, rtol=1e-4, equal_nan=False)


def test_constants_are_those_that_the_documentation_names():
    assert operators.FLOAT32_ERROR == 1e-4
    assert identities.STEP == 1e-30
    assert differences.DIRECTIONS == 6
