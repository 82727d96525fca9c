"""The checker is checked: wrong gradients planted on purpose must all be caught."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from tests.records import RECORDS
from tests.records.draw import positive, randn

CONVOLUTIONS = list(RECORDS["conv2d"].samples.values())

# Rules with something wrong in them, for the rules that people get wrong. Each is the joint rule of an operator whose
# forward is right; x, w, g are arrays.


def planted(forward, rule):
    """Make an operator of a right forward and a wrong rule."""
    operator = mg.operator(forward)
    operator.vjp(rule)
    return operator


def conv(rule):
    def forward(x, w, /):
        return mg.conv2d(x, w, stride=2, padding=1)

    def wrong(g, x, w, *, need):
        leaves = [mg.Tensor(x, requires_grad=True), mg.Tensor(w, requires_grad=True)]
        dx, dw = (d.data for d in mg.grad(mg.conv2d(*leaves, stride=2, padding=1), leaves, g))
        return rule(dx, dw)

    return planted(forward, wrong), [randn(1, 5, 4, 2), randn(3, 3, 2, 2, seed=1)]


def batch_norm(rule):
    def normalised(x):
        return (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)

    def wrong(g, x, *, need):
        inv_std = 1 / np.sqrt(x.var(0) + 1e-5)
        return (rule(g, normalised(x), inv_std),)

    return planted(lambda x, /: normalised(x), wrong), [randn(5, 3)]


def softmax(rule):
    def forward(x, /):
        return mg.softmax(x)

    return planted(forward, lambda g, out, *, need: (rule(g, out),)), [randn(3, 4)]


def unary(rule):
    def cube(x, /):
        return x**3

    return planted(cube, lambda g, x, *, need: (rule(g, x),)), [randn(2, 3, away=0.3)]


def product(rule):
    def matmul(a, b, /):
        return a @ b

    return planted(matmul, lambda g, a, b, *, need: rule(g, a, b)), [randn(3, 3), randn(3, 3, seed=1)]


def reuse(rule):
    def forward(x, /):
        return x[[0, 0, 1]]

    return planted(forward, lambda g, x, *, need: (rule(g, x),)), [randn(3, 2)]


def at_border(dx):
    dx = dx.copy()
    dx[:, -1] = 0
    return dx


def assigned(g, x):
    out = np.zeros_like(x)
    out[[0, 0, 1]] = g  # = for +=: the second gradient of row 0 replaces the first
    return out


WRONG = {
    "a term dropped: batch norm without mean(g)": batch_norm(lambda g, n, s: s * (g - n * (g * n).mean(0))),
    "a term dropped: batch norm without mean(g n)": batch_norm(lambda g, n, s: s * (g - g.mean(0))),
    "a sign flipped: batch norm": batch_norm(lambda g, n, s: s * (g - g.mean(0) + n * (g * n).mean(0))),
    "stale statistics: batch norm as in evaluation": batch_norm(lambda g, n, s: s * g),
    "zero: batch norm": batch_norm(lambda g, n, s: 0 * g),
    "zero: softmax": softmax(lambda g, out: 0 * g),
    "a term dropped: softmax": softmax(lambda g, out: out * g),
    "the wrong axis: softmax": softmax(lambda g, out: out * (g - (g * out).sum(0, keepdims=True))),
    "scaled by 1.001": unary(lambda g, x: 1.001 * g * 3 * x**2),
    "a sign flipped": unary(lambda g, x: -g * 3 * x**2),
    "a constant": unary(lambda g, x: 0 * g + 123.0),
    "the absolute value of the cotangent": unary(lambda g, x: abs(g) * 3 * x**2),
    "the sum of the cotangent": unary(lambda g, x: 0 * g + g.sum()),
    "not a number": unary(lambda g, x: g * np.nan),
    "transposed: matmul": product(lambda g, a, b: (g @ b, a.T @ g)),
    "swapped: matmul": product(lambda g, a, b: (a.T @ g, g @ b.T)),
    "= for +=: getitem": reuse(assigned),
    "wrong only at the border: conv2d in x": conv(lambda dx, dw: (at_border(dx), dw)),
    "taps reversed: conv2d in w": conv(lambda dx, dw: (dx, dw[::-1, ::-1])),
    "channels transposed: conv2d in w": conv(lambda dx, dw: (dx, dw.swapaxes(2, 3))),
    "one tap missing: conv2d in w": conv(lambda dx, dw: (dx, dw * (np.arange(3) < 2)[:, None, None, None])),
}


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_gradient_is_caught(fault):
    operator, inputs = WRONG[fault]
    with pytest.raises(mg.GradientError, match="the gradient of input"):
        mg.gradcheck(operator, inputs)


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_gradient_is_caught_along_random_directions(fault, monkeypatch):
    monkeypatch.setattr(mg.checks.differences, "FULL_JACOBIAN", 0)
    operator, inputs = WRONG[fault]
    with pytest.raises(mg.GradientError, match="direction"):
        mg.gradcheck(operator, inputs)


def test_a_float64_leak_is_caught_by_the_tape():
    leak = planted(lambda x, /: x * 2, lambda g, *, need: ((g * 2).astype("float64"),))
    with pytest.raises(RuntimeError, match="gradient of .* float64 for x, which has .* float32"):
        leak(mg.Tensor([1.0], requires_grad=True)).backward()


def test_a_rule_that_is_right_only_to_first_order_is_caught():
    """A rule that uses a detached value is right once, and wrong when it is differentiated."""

    @mg.operator
    def square(x, /):
        return x * x

    square.vjp(lambda g, x: g * 2 * (x.detach() if isinstance(x, mg.Tensor) else x))
    x = [randn(3)]
    mg.gradcheck(square, x)
    with pytest.raises(mg.GradientError):
        mg.gradgradcheck(square, x)


def test_a_wrong_twin_is_caught_in_second_order():
    @mg.operator
    def cube(x, /):
        return x**3

    cube.vjp(lambda g, x, *, need: (g * 3 * x**2,))
    cube.twin(lambda x: x**3 * 1.001)
    x = [randn(3, away=0.5)]
    mg.gradcheck(cube, x)
    with pytest.raises(mg.GradientError, match="the twin defines something else"):
        mg.gradgradcheck(cube, x)


def test_a_right_gradient_passes_both_ways(monkeypatch):
    for sample in CONVOLUTIONS[:4]:
        assert mg.gradcheck(lambda *inputs, s=sample: mg.conv2d(*inputs, **s.settings), sample.inputs) < 1e-7
    monkeypatch.setattr(mg.checks.differences, "FULL_JACOBIAN", 0)
    for sample in CONVOLUTIONS[:4]:
        assert mg.gradcheck(lambda *inputs, s=sample: mg.conv2d(*inputs, **s.settings), sample.inputs) < 1e-7


def test_the_report_names_input_place_and_both_values():
    def f(x, w):
        return x * 2.0 + wrong(w)

    wrong = planted(lambda w, /: w * 3.0, lambda g, *, need: (g * np.array([[3.0, 3.0], [3.0, 4.0]]),))
    with pytest.raises(mg.GradientError) as caught:
        mg.gradcheck(f, [randn(2, 2), randn(2, 2, seed=1)])
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("the gradient of input 1 (shape (2, 2)) is wrong in 1 of 4 places")
    assert lines[2].split()[:2] == ["(1,", "1)"]
    by_tape, by_differences = map(float, lines[2].split()[2:4])
    assert abs(by_tape / by_differences - 4 / 3) < 1e-6


def test_a_kink_is_reported_as_such():
    with pytest.raises(mg.GradientError, match="f has a kink within 1e-05 of this sample"):
        mg.gradcheck(mg.relu, [np.array([1.0, 3e-6])])
    with pytest.raises(mg.GradientError) as caught:
        mg.gradcheck(unary(lambda g, x: g)[0], [np.array([1.0])])
    assert "kink" not in str(caught.value)


def test_wrong_arguments_are_refused():
    with pytest.raises(TypeError, match="input 0 is float32; finite differences need float64"):
        mg.gradcheck(mg.exp, [np.ones(2, "float32")])
    with pytest.raises(TypeError, match="input 0 is int64"):
        mg.gradcheck(mg.exp, [np.ones(2, "int64")])
    with pytest.raises(TypeError, match="requires no gradient"):
        mg.gradcheck(mg.exp, [mg.Tensor(np.ones(2))])
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="something else when it is called again"):
        mg.gradcheck(lambda x: x * rng.standard_normal(), [np.ones(2)])
    with pytest.raises(TypeError, match="f must return float64 Tensors, got float32"):
        mg.gradcheck(lambda x: mg.Tensor([1.0]), [np.ones(2)])


def test_an_input_that_f_ignores_has_gradient_zero():
    mg.gradcheck(lambda x, y: x * 2.0, [randn(2), randn(3)])
    ignores = planted(lambda x, y, /: x * y.sum(), lambda g, y, *, need: (g * y.sum(), np.zeros_like(y)))
    with pytest.raises(mg.GradientError, match="input 1"):
        mg.gradcheck(ignores, [positive(2), positive(2, seed=1)])


def test_parameters_of_a_module_are_checked_and_restored():
    layer = nn.Linear(3, 2, rng=0, dtype=np.float64)
    before = layer.state_dict()
    x = randn(4, 3)
    mg.gradcheck(lambda *_: mg.tanh(layer(mg.Tensor(x))), layer.parameters())
    for name, value in layer.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    layer.forward = lambda x: mg.tanh(unary(lambda g, x: g)[0](x @ layer.weight))
    with pytest.raises(mg.GradientError, match="input 0"):
        mg.gradcheck(lambda w: layer(mg.Tensor(x)), [layer.weight])


def test_samples_larger_than_the_jacobian_are_compared_along_directions():
    x = randn(60, 60)
    assert mg.gradcheck(lambda x: mg.tanh(x) * x, [x]) < 1e-7


# The sharper checks ----------------------------------------------------------------------------


def test_complex_step_catches_errors_that_differences_miss():
    """An error of a millionth of a millionth."""
    barely, inputs = unary(lambda g, x: g * 3 * x**2 * (1 + 1e-11))
    mg.gradcheck(barely, inputs)
    with pytest.raises(mg.GradientError, match="the gradient of input 0 differs from complex step"):
        mg.complex_step_check(barely, inputs)
    right, inputs = unary(lambda g, x: g * 3 * x**2)
    assert mg.complex_step_check(right, inputs) < 1e-14


def test_the_adjoint_identity_catches_a_wrong_rule():
    f = lambda rule: planted(lambda x, /: x[:, :2], lambda g, x, *, need: (rule(g, x),))  # noqa: E731

    def right(g, x):
        out = np.zeros_like(x)
        out[:, :2] = g
        return out

    def wrong(g, x):
        out = right(g, x)
        out[:, 1] = 0
        return out

    assert mg.adjoint_check(f(right), [randn(3, 4)]) < 1e-14
    with pytest.raises(mg.GradientError, match="differs from the adjoint"):
        mg.adjoint_check(f(wrong), [randn(3, 4)])
    for f in (mg.exp, lambda x: x + 1.0, lambda x: 2.0 * x - 3.0, mg.abs):  # affine functions are not linear, either
        for x in (randn(3), np.zeros(3)):
            with pytest.raises(ValueError, match="adjoint_check: f is not linear"):
                mg.adjoint_check(f, [x])


def test_the_order_of_the_taylor_remainder_catches_wrong_gradients():
    assert 1.9 < mg.taylor_check(mg.exp, [randn(3)]) < 2.1
    assert mg.taylor_check(lambda x: x * 2.0, [randn(3)]) == np.inf
    for fault in ("scaled by 1.001", "a sign flipped", "zero: softmax", "transposed: matmul"):
        operator, inputs = WRONG[fault]
        with pytest.raises(mg.GradientError, match=r"shrinks as h \*\* (1\.|0\.9)"):
            mg.taylor_check(operator, inputs)


# check_operator: what a right gradient does not show --------------------------------------------


def writes_to_its_input():
    def forward(x, /):
        out = x * 2
        x *= 1.0
        return out

    return planted(forward, lambda g, *, need: (g * 2,))


def writes_to_the_cotangent():
    def rule(g, *, need):
        g *= 2
        return (g,)

    return planted(lambda x, /: x * 2, rule)


def leaks_float64():
    return planted(lambda x, /: x * 2, lambda g, *, need: (np.float64(2.0) * g,))


def is_inaccurate_in_float32():
    def forward(x, /):
        return (x + 3e3) - 3e3

    return planted(forward, lambda g, *, need: (g,))


def is_random():
    rng = np.random.default_rng(0)
    return planted(lambda x, /: x * 2, lambda g, *, need: (g * 2 + 1e-12 * rng.standard_normal(g.shape),))


def depends_on_the_number_of_threads():
    return planted(lambda x, /: x * 2, lambda g, *, need: (g * (2 + 1e-13 * mg.get_num_threads()),))


def has_a_twin_that_is_another_function():
    f = planted(lambda x, /: x * 2, lambda g, *, need: (g * 2,))
    f.twin(lambda x: x * 2 + 1.0)
    return f


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        (writes_to_its_input, "aliasing"),
        (writes_to_the_cotangent, None),
        (leaks_float64, "dtype"),
        (is_inaccurate_in_float32, "dtype"),
        (is_random, None),
        (depends_on_the_number_of_threads, "determinism"),
        (has_a_twin_that_is_another_function, "twin"),
    ],
)
def test_check_operator_catches_each_fault(fault, check):
    with pytest.raises(mg.GradientError, match=f"sample 0, {check}" if check else "sample 0, "):
        mg.check_operator(fault(), [(randn(3),)])


def test_check_operator_passes_right_operators():
    worst = mg.check_operator(mg.conv2d, [(s.inputs, s.settings) for s in CONVOLUTIONS[:3]], analytic=True)
    assert set(worst) == {
        *("first order", "second order", "taylor", "dtype", "aliasing", "determinism", "twin", "complex step")
    }
    assert worst["first order"] < 1e-8
    worst = mg.check_operator(mg.neg, [(randn(3),)], linear=True)
    assert worst["adjoint"] < 1e-14
    assert worst["taylor"] == np.inf
    assert "twin" not in worst


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("check", [mg.gradcheck, mg.gradgradcheck, mg.taylor_check, mg.complex_step_check])
@pytest.mark.parametrize(
    ("f", "x"),
    [
        (mg.log, [-1.0]),
        (mg.log, [2.0, -3.0]),
        (mg.log, [0.0]),
        (mg.sqrt, [-1.0]),
        (lambda x: x * np.nan, [1.0]),
        (lambda x: mg.exp(1000.0 * x), [1.0]),
    ],
)
def test_no_check_passes_where_the_function_is_not_finite(check, f, x):
    """Not even gradgradcheck of log at -1, where the gradient 1 / x is finite, and has a derivative."""
    with pytest.raises(mg.checks.GradientError):
        check(f, [np.array(x)])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_nan_is_not_linear():
    with pytest.raises(ValueError, match="f is not linear"):
        mg.adjoint_check(lambda x: x * np.nan, [np.ones(2)])


@pytest.mark.parametrize("check", [mg.gradcheck, mg.gradgradcheck])
def test_steps_and_tolerances_may_be_of_any_numpy_type(check):
    assert (
        check(mg.exp, [np.ones(2)], eps=np.longdouble(1e-4), atol=np.longdouble(1e-6), rtol=np.longdouble(1e-6)) < 1e-6
    )
