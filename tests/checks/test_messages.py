"""Every error that the checks raise is raised once, and its message says what is wrong, and where."""

import ctypes
import re
import sys

import numpy as np
import pytest

import minigrad as mg
from minigrad.checks.operators import check_aliasing, check_determinism, check_dtype, check_twin
from tests.checks.planted import added, planted
from tests.records.draw import randn
from tests.tools.strict import strict

CHECKS = [mg.gradcheck, mg.gradgradcheck, mg.complex_step_check, mg.adjoint_check, mg.taylor_check]


def double(rule=lambda g: 2 * g, forward=lambda x: x * 2):
    """Make an operator of one input; its twin is right."""
    f = planted(lambda x, /: forward(x), lambda g, *, need: (rule(g),))
    f.twin(lambda x: x * 2)
    return f


# Arguments -----------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [0, 1, 2])
@pytest.mark.parametrize("check", CHECKS)
def test_inputs_must_be_float64_on_the_host_and_require_gradients(check, k, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", strict)
    right = [randn(2, seed=i) for i in range(3)]
    for wrong, message in {
        "float32": (right[0].astype("float32"), "is float32; finite differences need float64: in float32 rounding"),
        "complex": (right[0] + 1j, "is complex128; finite differences need float64"),
        "integers": ([1, 2], "is int64; finite differences need float64"),
        "frozen": (mg.Tensor(right[0]), "requires no gradient"),
        "away": (mg.Tensor(right[0], requires_grad=True).to("cuda"), r"is on cuda:0; .*use .to\('cpu'\)"),
    }.values():
        inputs = [*right[:k], wrong, *right[k + 1 :]]
        with pytest.raises(TypeError, match=f"^{check.__name__}: input {k} {message}"):
            check(lambda *xs: [x * 2.0 for x in xs], inputs)
    check(lambda *xs: [x * 2.0 for x in xs], [x.tolist() for x in right])


@pytest.mark.parametrize("check", CHECKS)
def test_outputs_must_be_float64_tensors(check):
    for wrong, got in {
        "array": (lambda x: x.data * 2.0, "ndarray|float64"),
        "float": (lambda x: 2.0, "float"),
        "float32": (lambda x: mg.Tensor(x.data.astype("float32")), "float32"),
        "the last of three": (lambda x: [x * 2.0, x * 3.0, x.data], "float64"),
        "the first of two": (lambda x: (None, x * 2.0), "NoneType"),
    }.values():
        with pytest.raises(TypeError, match=f"^gradcheck: f must return float64 Tensors, got ({got})$"):
            check(wrong, [randn(2)])


def test_the_complex_step_needs_complex_outputs():
    """An output that drops the imaginary part is no analytic function."""

    def real(x):
        return [x * 2.0, mg.Tensor(x.data.real * 1.0)]

    with pytest.raises(TypeError, match="^gradcheck: f must return complex128 Tensors, got float64$"):
        mg.complex_step_check(real, [randn(2)])
    conjugated = planted(lambda x, /: x.conj() * 2.0, lambda g, *, need: (2 * g,))
    with pytest.raises(mg.GradientError, match="differs from complex step along direction 0"):
        mg.complex_step_check(conjugated, [randn(2)])


def test_a_function_with_a_state_is_refused():
    """In the last of two outputs, from the second call on, by one bit; NaN is equal to itself."""
    calls = []

    def f(x):
        calls.append(0)
        return [x * 2.0, x * (2.0 if len(calls) == 1 else np.nextafter(2.0, 3.0))]

    with pytest.raises(ValueError, match="^gradcheck: f gives something else when it is called again; fix its random"):
        mg.gradcheck(f, [randn(2)])
    constant = mg.Tensor(np.array([np.nan]))
    with pytest.raises(mg.GradientError, match="the gradient of input 0"):  # and not ValueError
        mg.gradcheck(lambda x: [x * 2.0, constant], [randn(2)])


def test_inputs_are_restored_also_after_an_error():
    """Tensors are moved in place; an error in the midst of it leaves them as they were."""
    x = mg.Tensor(randn(3), requires_grad=True)
    before, data = x.data.copy(), x.data
    calls = []

    def f(x):
        calls.append(0)
        if len(calls) == 4:
            raise KeyError("mine")
        return x * 2.0

    for check in (mg.gradcheck, mg.taylor_check):
        calls.clear()
        with pytest.raises(KeyError, match="mine"):
            check(f, [x])
        assert x.data is data
        np.testing.assert_array_equal(x.data, before)


# What a wrong gradient is said to be -----------------------------------------------------------


def test_the_five_worst_places_are_named_the_worst_first():
    errors = np.array([0.0, 0.1, 0.6, 0.2, 0.5, 0.3, 0.4])
    with pytest.raises(mg.GradientError) as caught:
        mg.gradcheck(added(lambda g: errors * np.sign(g)), [randn(7)])
    lines = str(caught.value).splitlines()
    assert lines[0] == "the gradient of input 0 (shape (7,)) is wrong in 6 of 7 places; the worst:"
    assert lines[1].split() == ["place", "by", "the", "tape", "by", "differences", "apart"]
    assert [line.split()[0] for line in lines[2:]] == ["(2,)", "(4,)", "(6,)", "(5,)", "(3,)"]
    for line, apart in zip(lines[2:], [0.6, 0.5, 0.4, 0.3, 0.2], strict=True):
        _, tape, numeric, difference = line.split()
        assert float(difference) == apart
        assert abs(abs(float(tape)) - abs(float(numeric)) - apart) < 1e-6


def test_a_twin_is_said_to_differ_by_the_most():
    double = mg.operator(lambda x, /: 2.0 * x)
    double.vjp(lambda g, *, need: (2.0 * g,))
    double.twin(lambda x: x * np.array([2.0] * 99 + [2.5]))
    with pytest.raises(mg.GradientError, match="differs from the ordinary one by ") as caught:
        mg.gradgradcheck(double, [np.ones(100)], rng=0)
    assert float(re.search(r"one by ([\d.e-]+):", str(caught.value))[1]) > 0.05


def test_what_is_not_a_number_comes_first():
    wrong = added(lambda g: np.array([5.0, np.nan, 7.0]))
    with pytest.raises(mg.GradientError, match=r"is wrong in 3 of 3 places") as caught:
        mg.gradcheck(wrong, [randn(3)])
    assert [line.split()[0] for line in str(caught.value).splitlines()[2:]] == ["(1,)", "(2,)", "(0,)"]


def test_directions_are_named_by_their_number(monkeypatch):
    monkeypatch.setattr(mg.checks.differences, "FULL_JACOBIAN", 5)
    with pytest.raises(mg.GradientError, match=r"input 0 \(shape \(2, 3\)\) is wrong in 6 of 6 places") as caught:
        mg.gradcheck(added(lambda g: g), [randn(2, 3)])
    places = [line.split()[:2] for line in str(caught.value).splitlines()[2:]]
    assert len(places) == 5
    assert {word for word, _ in places} == {"direction"}
    assert {int(number) for _, number in places} < set(range(6))


@pytest.mark.parametrize(("entries", "place"), [(11, "direction"), (12, r"\(0, 0\)")])
def test_the_size_from_which_directions_are_taken(monkeypatch, entries, place):
    """The entries of the Jacobian of all inputs and outputs together: 2 of 1 x 3, and 2 outputs, are 12."""
    monkeypatch.setattr(mg.checks.differences, "FULL_JACOBIAN", entries)
    with pytest.raises(mg.GradientError, match=rf"\n  {place} "):
        mg.gradcheck(lambda x, y: [added(lambda g: g)(x).sum(), y.sum()], [np.ones((1, 3)), np.ones((3, 1))])


def test_a_kink_is_told_from_curvature():
    """The slopes of both sides differ by as much at a tenth of the step; a wrong gradient of x ** 3 is no kink."""
    message = "f has a kink within 1e-05 of this sample: its slopes to the left and to the right differ"
    for f, x in ((mg.relu, [1.0, 3e-6]), (mg.abs, [-2e-6, 1.0]), (lambda x: mg.relu(x) * 0.01, [3e-6])):
        with pytest.raises(mg.GradientError, match=message):
            mg.gradcheck(f, [np.array(x)])
    bent = mg.operator(lambda x, /: np.abs(x))  # it has a kink near the worst place, and is wrong elsewhere, too
    bent.vjp(lambda g, x: g * np.sign(x) * np.array([1.0, 1.01, 1.02]))
    for x in ([3e-6, 1.0, 1.0], [1.0, 3e-6, -1.0]):
        with pytest.raises(mg.GradientError, match=message):
            mg.gradcheck(bent, [np.array(x)])
    for f, x in ((lambda x: x**3, [2.0]), (lambda x: mg.exp(x) * 1e4, [3.0]), (mg.relu, [1.0, 0.5])):
        with pytest.raises(mg.GradientError) as caught:
            mg.gradcheck(lambda x, f=f: added(lambda g: g)(f(x)), [np.array(x)])
        assert "kink" not in str(caught.value)
    with pytest.raises(mg.GradientError, match="f has a kink within 0.01 of"):
        mg.gradcheck(mg.relu, [np.array([1.0, 3e-3])], eps=1e-2)


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (mg.complex_step_check, "the gradient of input 1 differs from complex step along direction 0: by the tape "),
        (mg.adjoint_check, "differs from the adjoint along direction 0: by the tape "),
    ],
)
def test_identities_say_both_values(check, message):
    """They are 3 and 2 times the same number, so the difference is a third or a half."""
    wrong = added(lambda g: g)
    with pytest.raises(mg.GradientError, match=message) as caught:
        check(lambda x, y: x * 0.0 + wrong(y), [np.array(0.7), np.array(0.3)])
    text = str(caught.value).replace(",", "")
    by_tape, other = float(text.split("by the tape ")[1].split()[0]), float(text.split(" by ")[-1].split()[-4])
    np.testing.assert_allclose(by_tape / other, 1.5, rtol=1e-12)
    relative = float(text.split()[-1])
    assert relative == (0.33 if check is mg.complex_step_check else 0.5)


def test_taylor_says_how_wrong_the_gradient_is():
    """For a linear function with the slope 3 instead of 2, that is the cotangent times the direction."""
    v = np.random.default_rng(0)
    g, v = v.standard_normal(()), v.standard_normal(())
    message = rf"input 0 \(shape \(\)\) shrinks as h \*\* 1.00, .* wrong by about {abs(g * v):.2g} along this direction"
    with pytest.raises(mg.GradientError, match=message):
        mg.taylor_check(added(lambda g: g), [np.array(0.3)])


# Parts of check_operator -----------------------------------------------------------------------


def overwrite(array):
    """Write to an array as a kernel in C does, which no flag of NumPy's stops."""
    ctypes.memset(array.ctypes.data, 0, array.itemsize)


def writing(rule=None, forward=None):
    """Make an operator of two inputs whose forward or whose rule does something to arrays."""

    def value(x, y, /):
        return (forward and forward(x, y)) or x * y

    def gradients(g, x, y, out, *, need):
        return (rule and rule(g, x, y, out)) or (g * y, g * x)

    return planted(value, gradients)


CHANGED = {
    "input 0 was changed: forward": writing(forward=lambda x, y: overwrite(x)),
    "input 1 was changed: forward": writing(forward=lambda x, y: overwrite(y)),
    "input 0 was changed: in the rule": writing(lambda g, x, y, out: overwrite(x)),
    "input 1 was changed: in the rule": writing(lambda g, x, y, out: overwrite(y)),
    "the cotangent was changed": writing(lambda g, x, y, out: overwrite(g)),
    "the result was changed": writing(lambda g, x, y, out: overwrite(out)),
    "the result was changed: by NumPy": writing(lambda g, x, y, out: out.fill(0.0)),
}


@pytest.mark.parametrize("fault", CHANGED)
def test_what_is_written_is_seen(fault):
    """What a kernel in C writes to inputs and cotangent, and what any rule writes to the result."""
    with pytest.raises(mg.GradientError, match=f"^{fault.partition(':')[0]}$"):
        check_aliasing(CHANGED[fault], [randn(3), randn(3, seed=1)])


def scale_in_place(array):
    array *= 1.0


@pytest.mark.parametrize(
    "fault",
    [
        writing(forward=lambda x, y: scale_in_place(y)),
        writing(lambda g, x, y, out: scale_in_place(x)),
        writing(lambda g, x, y, out: scale_in_place(g)),
    ],
    ids=["input, forward", "input, in the rule", "cotangent"],
)
def test_what_numpy_writes_raises_even_if_it_changes_nothing(fault):
    with pytest.raises(ValueError, match="read-only"):
        check_aliasing(fault, [randn(3), randn(3, seed=1)])
    with pytest.raises(mg.GradientError, match="^sample 0, .*read-only"):
        mg.check_operator(fault, [(randn(3), randn(3, seed=1))])


RETURNED = {
    "the cotangent": lambda g, x, y, out: (g, g[::-1]),
    "the inputs": lambda g, x, y, out: (y, x),
    "the same input twice": lambda g, x, y, out: (x, x),
    "the result": lambda g, x, y, out: (out[::-1], out),
    "one array twice": lambda g, x, y, out: (d := g * y, d[:]),
}


@pytest.mark.parametrize("returned", RETURNED)
def test_rules_may_return_any_array_because_the_tape_copies(returned):
    """Gradients share no memory with each other nor with anything else; so no check of operators looks for that."""
    for way in ("backward", "grad"):
        x, y = (mg.Tensor(randn(3, seed=i), requires_grad=True) for i in range(2))
        out, g = writing(RETURNED[returned])(x, y), randn(3, seed=2)
        if way == "backward":
            out.backward(g)
        dx, dy = (x.grad, y.grad) if way == "backward" else mg.grad(out, [x, y], g)
        arrays = [dx.data, dy.data, x.data, y.data, out.data, g]
        assert not any(np.shares_memory(a, b) for a in arrays[:2] for b in arrays if a is not b)


@pytest.mark.parametrize("k", [0, 1, 2])
def test_an_input_without_a_gradient_is_named(k):
    with pytest.raises(mg.GradientError, match=f"^input {k} got no gradient$"):
        check_aliasing(lambda *xs: sum(x for i, x in enumerate(xs) if i != k), [randn(3, seed=i) for i in range(3)])


@pytest.mark.parametrize(("given", "got"), [("float32", "float64"), ("float64", "float32")])
def test_a_result_or_gradient_of_another_dtype_is_refused(given, got):
    """By the operator, and by the tape."""

    def forward(x, /):
        return x.astype(got) if x.dtype == given else x * 1

    with pytest.raises(TypeError, match=f"expected one dtype, got {given} and {got}"):
        check_dtype(planted(forward, lambda g, x, *, need: (g.astype(x.dtype),)), [randn(3)])
    with pytest.raises(RuntimeError, match=f"gradient of .*{got} for x, which has .*{given}"):
        check_dtype(planted(lambda x, /: x * 1, lambda g, *, need: (g.astype(got),)), [randn(3)])


@pytest.mark.parametrize("where", ["value", "first", "last"])
@pytest.mark.parametrize("place", [0, -1])
@pytest.mark.parametrize("value", [np.nan, 1e-2])
def test_float32_is_compared_everywhere(where, place, value):
    """In one element of the value or of one gradient, upwards and downwards, NaN included."""

    def off(x, at):
        if x.dtype == "float32" and at == where:
            x[place] -= value
        return x

    f = planted(lambda x, y, /: off(x + y, "value"), lambda g, *, need: (off(g * 1, "first"), off(g * 1, "last")))
    with pytest.raises(mg.GradientError, match="^float32 and float64 differ by"):
        check_dtype(f, [randn(3), randn(3, seed=1)])


@pytest.mark.parametrize("value", ["another shape", "one element", "not a number"])
def test_a_twin_of_other_values(value):
    def twin(x):
        if value == "another shape":
            return (x * 2)[:, None] if isinstance(x, np.ndarray) else x * 2
        out = x * 2
        out[-1] = np.nan if value == "not a number" else out[-1] - 1e-3
        return out

    f = planted(lambda x, /: x * 2, lambda g, *, need: (g * 2,))
    f.twin(twin)
    with pytest.raises(mg.GradientError, match="^the operator and its twin differ by"):
        check_twin(f, [np.array([0.5, 0.5])])


def test_without_a_twin_there_is_nothing_to_compare():
    assert check_twin(mg.exp, [randn(3)]) is None
    assert check_twin(lambda x: mg.Tensor(x.data), [randn(3)]) is None
    assert check_twin(double(), [randn(3)]) == 0.0


def test_checks_return_zero_where_nothing_is_measured():
    assert check_aliasing(mg.exp, [randn(3)]) == check_determinism(mg.exp, [randn(3)]) == 0.0


@pytest.mark.parametrize("error", [RuntimeError, TypeError, ValueError, mg.GradientError])
@pytest.mark.parametrize("k", [0, 1, 2])
def test_check_operator_names_the_sample_and_the_check_of_every_error(error, k):
    def f(x):
        if x.shape == (k + 1,) and x.dtype == "float32":
            raise error("mine")
        return x * 2.0

    with pytest.raises(mg.GradientError, match=f"^sample {k}, dtype: mine$") as caught:
        mg.check_operator(f, [(randn(n),) for n in (1, 2, 3)])
    assert type(caught.value.__cause__) is error


@pytest.mark.parametrize(("setting", "name"), [("analytic", "complex step"), ("linear", "adjoint")])
def test_two_checks_are_run_where_they_are_asked_for(setting, name):
    assert name not in mg.check_operator(mg.neg, [(randn(3),)])
    assert name in mg.check_operator(mg.neg, [(randn(3),)], **{setting: True})
    almost = added(lambda g: g * 6e-12)
    mg.check_operator(almost, [(np.array(0.3),)])
    with pytest.raises(mg.GradientError, match=f"^sample 0, {name}: "):
        mg.check_operator(almost, [(np.array(0.3),)], **{setting: True})
