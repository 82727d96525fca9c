"""Each check looks at every input, output, element, direction, call, sample and number of threads."""

from contextlib import nullcontext

import numpy as np
import pytest

import minigrad as mg
from minigrad.checks import differences
from minigrad.checks.operators import CHECKS, check_aliasing, check_determinism, check_dtype, check_twin
from tests.checks.planted import added, at_call, one_element, planted, scaled, wrong_in_second_order
from tests.records.draw import randn
from tests.tools.compare import threads_restored

#: What a check raises.
FAULT = (mg.GradientError, ValueError)


def along_directions(f, inputs, **settings):
    """Run gradcheck with random directions, whatever the size."""
    before, differences.FULL_JACOBIAN = differences.FULL_JACOBIAN, 0
    try:
        return mg.gradcheck(f, inputs, **settings)
    finally:
        differences.FULL_JACOBIAN = before


#: Checks of first derivatives.
FIRST = {
    "gradcheck": mg.gradcheck,
    "directions": along_directions,
    "complex step": mg.complex_step_check,
    "adjoint": mg.adjoint_check,
    "taylor": mg.taylor_check,
}

PUBLIC = FIRST | {"gradgradcheck": mg.gradgradcheck}


# Inputs, outputs, elements -------------------------------------------------------------------


@pytest.mark.parametrize("k", [0, 1, 2])
@pytest.mark.parametrize("check", FIRST)
def test_a_fault_in_one_input_only(check, k):
    inputs = [randn(2, 3, seed=i) for i in range(3)]
    message = "differs from the adjoint" if check == "adjoint" else f"input {k} "
    with pytest.raises(mg.GradientError, match=message):
        FIRST[check](scaled(0.01, k), inputs)


@pytest.mark.parametrize("k", [0, 1, 2])
@pytest.mark.parametrize("check", [check for check in FIRST if check != "adjoint"])  # which adds up all inputs
def test_a_fault_beside_much_larger_gradients(check, k):
    """The size of a gradient is its own, and not that of the largest."""

    def f(*inputs):
        return sum(scaled(0.01)(x) if i == k else x * 1e6 for i, x in enumerate(inputs))

    with pytest.raises(mg.GradientError, match=f"input {k} "):
        FIRST[check](f, [randn(3, seed=i) for i in range(3)])


@pytest.mark.parametrize("k", [0, 1, 2])
def test_a_recorded_gradient_beside_much_larger_ones(k):
    """It is compared with the ordinary gradient of the same input."""
    double = planted(lambda x, /: 2.0 * x, lambda g, *, need: (g * 2.0,))
    double.twin(lambda x: x * 2.02)
    with pytest.raises(mg.GradientError, match=f"the gradient of input {k} .* under create_graph differs"):
        mg.gradgradcheck(
            lambda *xs: sum(double(x) if i == k else x * 1e6 for i, x in enumerate(xs)),
            [randn(3, seed=i) for i in range(3)],
        )


@pytest.mark.parametrize("k", [0, 1, 2])
@pytest.mark.parametrize("check", ["gradcheck", "directions", "complex step", "gradgradcheck"])
def test_the_error_that_is_returned_is_that_of_the_worst_input(check, k):
    wrong, right = scaled(1e-3), lambda x: x * 2.0
    if check == "gradgradcheck":
        wrong, right = wrong_in_second_order(1e-3, "x"), lambda x: x * x
    found = PUBLIC[check](
        lambda *xs: sum(wrong(x) if i == k else right(x) for i, x in enumerate(xs)),
        [np.array(0.3), np.array(0.4), np.array(0.5)],
        rtol=1e-2,
    )
    assert 0.5e-3 < found < 2e-3


@pytest.mark.parametrize("n", range(6))
def test_the_error_that_is_returned_is_that_of_the_worst_direction(n):
    """The rule is wrong in one of the replays of the adjoint's six directions."""
    replays = []

    def rule(g, *, need):
        replays.append(g)
        return (g * (2.002 if len(replays) - 1 == n else 2.0),)

    assert mg.adjoint_check(planted(lambda x, /: 2.0 * x, rule), [np.array(0.3)], rtol=0.1) > 1e-4
    assert len(replays) == 6


@pytest.mark.parametrize("j", [0, 1, 2])
@pytest.mark.parametrize("of_one", [False, True], ids=["of shared inputs", "each of its own input"])
@pytest.mark.parametrize("check", FIRST)
def test_a_fault_in_one_output_only(check, of_one, j):
    def f(*inputs):
        x = inputs if of_one else inputs[:1] * 3
        return [scaled(0.01)(x[i]) if i == j else x[i] * 2.0 for i in range(3)]

    with pytest.raises(mg.GradientError, match="differs from the adjoint" if check == "adjoint" else "input"):
        FIRST[check](f, [randn(2, 3, seed=i) for i in range(3)])
    FIRST[check](lambda *xs: [x * 2.0 for x in xs], [randn(3), randn(2)])
    FIRST[check](lambda *xs: tuple(x * 2.0 for x in xs), [randn(3), randn(2)])


@pytest.mark.parametrize("place", [(0, 0), (1, 1), (2, 3)])
@pytest.mark.parametrize("check", FIRST)
def test_a_fault_in_one_element_only(check, place):
    with pytest.raises(mg.GradientError):
        FIRST[check](one_element(0.05, place), [randn(3, 4)])


@pytest.mark.parametrize("detached", [0, 1, 2])
@pytest.mark.parametrize("check", [check for check in PUBLIC if check != "complex step"])  # which asks for complex128
def test_an_output_that_depends_on_nothing_is_no_fault(check, detached):
    constant = mg.Tensor(np.array([1.0, 2.0])) if check != "adjoint" else mg.Tensor(np.zeros(2))

    def f(x, y):
        outputs = [x * 2.0, y * 3.0]
        outputs.insert(detached, constant)
        return outputs

    PUBLIC[check](f, [randn(3), randn(2)])


@pytest.mark.parametrize("detached", [0, 1, 2])
@pytest.mark.parametrize("check", FIRST)
def test_an_output_cut_off_from_the_tape_is_a_fault(check, detached):
    """Of three outputs, one is right in its value, and has no gradient."""

    def f(x):
        return [(x.detach() if i == detached else x) * 2.0 for i in range(3)]

    with pytest.raises(mg.GradientError):
        FIRST[check](f, [randn(3)])


@pytest.mark.parametrize("ignored", [0, 1, 2])
@pytest.mark.parametrize("check", PUBLIC)
def test_an_input_that_nothing_depends_on_is_no_fault(check, ignored):
    PUBLIC[check](lambda *xs: [x * 2.0 for i, x in enumerate(xs) if i != ignored], [randn(3, seed=i) for i in range(3)])


@pytest.mark.parametrize("check", PUBLIC)
def test_inputs_may_be_tensors_views_and_in_any_order_in_memory(check):
    """A rule that is wrong for such an input only is caught, so the layout survives as far as the operator."""
    wide = randn(4, 6)
    views = {"fortran": np.asfortranarray(wide), "strided": wide[::2, ::-2], "stretched": np.broadcast_to(1.5, (3, 2))}
    for view in views.values():
        before = view.copy()
        PUBLIC[check](lambda x: x * 2.0, [mg.Tensor(view, requires_grad=True)])
        np.testing.assert_array_equal(view, before)
    if check in ("adjoint", "gradgradcheck"):  # the first draws its inputs, and the second checks the second order
        return
    wrong = planted(
        lambda x, /: 2.0 * x,
        lambda g, x, *, need: (g * (2.0 if x.flags.c_contiguous else 2.1),),
    )
    PUBLIC[check](wrong, [wide])
    for view in (views["fortran"], views["strided"]):
        with pytest.raises(mg.GradientError):
            PUBLIC[check](wrong, [mg.Tensor(view, requires_grad=True)])


# Calls: of every evaluation, direction and replay ---------------------------------------------


def line(x, y):
    """Two outputs, linear in two inputs, which both depend on both."""
    return [x * 2.0 + y.sum(), y * 3.0 + x.sum()]


DATA = [randn(2), randn(3, seed=1)]

#: The number of calls of f for DATA, and the numbers of those in which only the shapes of the result are used.
CALLS = {
    "gradcheck": (2 + 2 * (2 + 3) + (2 + 3), {}),  # two values, two for each entry, a replay for each cotangent
    "directions": (2 + 2 * 2 * 6 + 1, {}),
    "complex step": (2 + 2 * 6, {0}),
    "adjoint": (6 * 4, {}),
    "gradgradcheck": (3 + 2 + 2 * (5 + 5) + 5, {0}),
}


def test_the_calls_are_as_many_as_the_documentation_says():
    for check, (count, _) in CALLS.items():
        f, calls = at_call(line, -1)
        PUBLIC[check](f, DATA)
        assert (check, calls[0]) == (check, count)


@pytest.mark.parametrize(
    ("check", "n"), [(check, n) for check, (count, unused) in CALLS.items() for n in range(count) if n not in unused]
)
@pytest.mark.parametrize("output", [0, 1])
def test_a_fault_in_one_call_only(check, n, output):
    """Whichever evaluation it is, and in whichever output: none is thrown away."""
    f, _ = at_call(line, n, output=output)
    with pytest.raises(FAULT):
        PUBLIC[check](f, DATA)


@pytest.mark.parametrize("factor", [2.0, 2.1], ids=["right", "wrong"])
@pytest.mark.parametrize("check", FIRST)
def test_a_function_that_returns_its_own_buffer_each_time(check, factor):
    """What was computed before is not overwritten by what is computed next, so nothing is compared with itself."""
    buffers = {}

    def doubled(x, /):
        buffer = buffers.setdefault(x.dtype, np.zeros(3, x.dtype))
        return np.multiply(x, 2.0, out=buffer)

    f = planted(doubled, lambda g, *, need: (g * factor,))
    with nullcontext() if factor == 2.0 else pytest.raises(FAULT):
        FIRST[check](f, [randn(3)])


@pytest.mark.parametrize("eps", [1e-2, 1e-3])
@pytest.mark.parametrize("check", ["gradcheck", "directions", "gradgradcheck"])
def test_the_step_reaches_every_evaluation(check, eps):
    """Along axes it is eps; along a direction, the error of x ** 3 (of x ** 4 in second order) grows with eps ** 2."""
    power = 4 if check == "gradgradcheck" else 3
    f = lambda x: x**power  # noqa: E731
    ours, half = (PUBLIC[check](f, [np.array(0.7)], eps=e, rtol=1.0) for e in (eps, eps / 2))
    assert 3.9 < ours / half < 4.1


@pytest.mark.parametrize("k", [0, 1])
def test_taylor_evaluates_every_input(k):
    """At six tiny steps for rounding, and at ten; the smallest that is above rounding decides."""

    def curved(x, y):
        return line(x * x, y * x.sum() + y * y)

    f, calls = at_call(curved, -1)
    mg.taylor_check(f, DATA)
    assert calls[0] == 2 + 2 * (6 + 10)
    for n in (0, 1, 17 + 16 * k):  # the values, the gradient, the smallest step
        for output in (0, 1):
            with pytest.raises(mg.GradientError, match=f"input {k if n > 1 else 0} "):
                mg.taylor_check(at_call(curved, n, output=output)[0], DATA)


PARTS = {"dtype": 2, "aliasing": 1, "determinism": 4, "twin": 1}


def test_the_parts_are_those_of_check_operator():
    assert set(CHECKS) == {"first order", "second order", "taylor", *PARTS}
    assert [CHECKS[key] for key in ("first order", "second order", "taylor")] == [
        *(mg.gradcheck, mg.gradgradcheck, mg.taylor_check)
    ]
    assert [CHECKS[key] for key in PARTS] == [check_dtype, check_aliasing, check_determinism, check_twin]
    for name, count in PARTS.items():
        f, calls = at_call(lambda x: x * 2.0, -1)
        CHECKS[name](f, [randn(3)])
        assert (name, calls[0]) == (name, count)


@pytest.mark.parametrize(("check", "n"), [("dtype", 0), ("dtype", 1), *[("determinism", n) for n in range(4)]])
def test_a_part_uses_the_result_of_every_call(check, n):
    with pytest.raises(mg.GradientError):
        CHECKS[check](at_call(lambda x: x * 2.0, n)[0], [randn(3)])


# Threads -------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("where", ["value", "first", "last"])
@pytest.mark.parametrize("at", [0, -1])
def test_a_fault_for_one_number_of_threads_only(threads, where, at):
    """In one element of the value, or of the gradient of one input, by one bit."""

    def off(x, which):
        if which == where and mg.get_num_threads() == threads:
            x[at] = np.nextafter(x[at], np.inf)
        return x

    f = planted(lambda x, y, /: off(x + y, "value"), lambda g, *, need: (off(g * 1, "first"), off(g * 1, "last")))
    with threads_restored():
        for n in (1, 2, 5):
            mg.set_num_threads(n)
            with pytest.raises(mg.GradientError, match="a second run, or another number of threads, gave something"):
                check_determinism(f, [randn(3), randn(3, seed=1)])
            assert mg.get_num_threads() == n
        check_determinism(lambda x, y: x + y, [randn(3), randn(3, seed=1)])
        assert mg.get_num_threads() == n


@pytest.mark.parametrize("n", [0, 1, 2, 3])
@pytest.mark.parametrize("where", ["forward", "rule"])
def test_the_number_of_threads_is_restored_after_an_error(n, where):
    """In whichever run it is: all but the first run on a number that the check has set."""
    calls = {"forward": 0, "rule": 0}

    def call(place, result):
        calls[place] += 1
        if place == where and calls[place] == n + 1:
            raise ZeroDivisionError
        return result

    f = planted(lambda x, /: call("forward", x * 2.0), lambda g, *, need: call("rule", (g * 2.0,)))
    with threads_restored():
        mg.set_num_threads(5)
        with pytest.raises(ZeroDivisionError):
            check_determinism(f, [randn(3)])
        assert mg.get_num_threads() == 5


# Samples -------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [0, 1, 2, 10, 24])
@pytest.mark.parametrize("settings", [False, True], ids=["arrays", "with settings"])
def test_a_fault_in_one_sample_only(k, settings):
    """The operator is wrong for that size alone; the message says which sample it was."""
    wrong = planted(
        lambda x, /, *, unused=0: x * 2.0,
        lambda g, *, need: (g * (2.1 if g.shape == (k + 1,) else 2.0),),
    )
    samples = [(randn(n),) for n in range(1, max(k + 2, 4))]
    with pytest.raises(mg.GradientError, match=f"^sample {k}, first order: the gradient of input 0 "):
        mg.check_operator(wrong, [(s, {"unused": 1}) for s in samples] if settings else samples)


def of_one_size(kind, size):
    """Make an operator with a fault for arrays of one size alone: it doubles its argument."""

    def forward(x, /):
        if x.size != size:
            return x * 2.0
        if kind == "aliasing":
            x *= 1.0
        if kind == "determinism" and mg.get_num_threads() == 3:
            return np.nextafter(x * 2.0, np.inf)
        return x * (2.0 if kind != "dtype" or x.dtype == "float64" else x.dtype.type(2.001))

    double = planted(forward, lambda g, *, need: (g * 2.0,))
    double.twin(lambda x: x * (2.001 if kind == "twin" and x.size == size else 2.0))
    return double


@pytest.mark.parametrize("k", [0, 1, 2])
@pytest.mark.parametrize("kind", PARTS)
def test_every_part_looks_at_every_sample(kind, k):
    samples = [(randn(n),) for n in (1, 2, 3)]
    mg.check_operator(of_one_size(kind, 0), samples)
    with pytest.raises((mg.GradientError, ValueError), match=f"sample {k}, |read-only"):
        mg.check_operator(of_one_size(kind, k + 1), samples)


@pytest.mark.parametrize("k", [0, 1, 2])
def test_settings_reach_the_operator(k):
    """The rule is right for powers of 1 and 2."""

    def rule(g, x, power, *, need):
        return (g * (power if power < 3 else 4) * x ** (power - 1),)

    wrong = planted(lambda x, /, *, power=3: x**power, rule)
    wrong.twin(lambda x, *, power: x**power)
    samples = [((randn(2, away=0.3),), {"power": p}) for p in (1, 2)]
    mg.check_operator(wrong, samples)
    samples.insert(k, ((randn(2, away=0.3),), {"power": 3}))
    with pytest.raises(mg.GradientError, match=f"^sample {k}, first order: the gradient of input 0 "):
        mg.check_operator(wrong, samples)


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (2, 0, 1)])
def test_the_worst_of_all_samples_is_returned(order):
    """For each check the largest error, and for Taylor the lowest order, wherever it comes."""
    x = [np.array([0.2]), np.array([3.0]), np.array([0.9])]
    samples = [(x[i],) for i in order]
    single = [mg.check_operator(mg.exp, [s], analytic=True) for s in samples]
    worst = mg.check_operator(mg.exp, iter(samples), analytic=True)
    assert len({s["first order"] for s in single}) == len({s["taylor"] for s in single}) == 3
    for name, value in worst.items():
        pick = min if name == "taylor" else max
        assert value == pick(s[name] for s in single)


# Directions and cotangents -------------------------------------------------------------------


def silent_along_ones(g):
    """Make an error whose elements add up to 0: a direction of ones does not see it."""
    error = np.linspace(-1.0, 1.0, g.size).reshape(g.shape)
    return error * 0.1 * float(abs(g.data if isinstance(g, mg.Tensor) else g).max())


@pytest.mark.parametrize("check", FIRST)
def test_directions_are_not_all_ones(check):
    with pytest.raises(mg.GradientError):
        FIRST[check](added(silent_along_ones), [randn(2, 3)])


@pytest.mark.parametrize("check", FIRST)
def test_cotangents_have_both_signs_and_are_not_alike(check):
    """Rules that are right for cotangents of ones, of one sign, or of equal elements."""

    def wrong(rule):
        return planted(lambda x, /: x * 2.0, lambda g, *, need: (2 * rule(g),))

    for rule in (abs, lambda g: 0 * g + g.mean(), lambda g: 0 * g + 1, lambda g: g[::-1]):
        with pytest.raises(mg.GradientError):
            FIRST[check](wrong(rule), [randn(6)])


#: The sample itself and: both sides in six directions; six steps; three points in six trials; 6 + 10 steps.
PLACES = {"directions": 13, "complex step": 7, "adjoint": 18, "taylor": 17}


@pytest.mark.parametrize("check", PUBLIC)
def test_the_seed_is_used(check):
    """The same seed draws the same numbers, another seed others; a Generator is drawn from."""

    def draws(rng):
        seen = []
        PUBLIC[check](lambda x: (seen.append(x.data.copy()), x * 2.0)[1], [randn(5)], rng=rng)
        return np.array(seen)

    def cotangents(rng):
        seen = []
        f = planted(lambda x, /: x * 2.0, lambda g, *, need: (seen.append(g.copy()), 2 * g)[1:])
        f.twin(lambda x: x * 2.0)
        PUBLIC[check](f, [randn(5)], rng=rng)
        return np.array(seen)

    for notes in (draws, cotangents):
        if notes is draws and check in ("gradcheck", "gradgradcheck"):  # steps along every axis are not drawn
            continue
        np.testing.assert_array_equal(notes(0), notes(np.random.default_rng(0)))
        assert not np.array_equal(notes(0), notes(1))
        if notes is draws:  # f is evaluated in so many different places
            assert len(np.unique(notes(0), axis=0)) == PLACES[check]


@pytest.mark.parametrize("of", ["x", "cotangent"])
def test_what_only_the_second_order_sees(of):
    wrong = wrong_in_second_order(1e-3, of)
    for check in ("first order", "taylor", "dtype", "aliasing", "determinism"):
        CHECKS[check](wrong, [randn(3, away=0.3)])
    with pytest.raises(mg.GradientError, match=f"^sample 0, second order: the gradient of input {int(of != 'x')} "):
        mg.check_operator(wrong, [(randn(3, away=0.3),)])
