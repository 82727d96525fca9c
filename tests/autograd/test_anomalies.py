"""Modes: who is blamed for a NaN, and where no_grad and detect_anomaly hold, however they are entered and combined."""

from collections.abc import Callable
from contextlib import nullcontext
from itertools import product
from typing import NamedTuple

import numpy as np
import pytest

import minigrad as mg
from tests.tools.compare import leaf_of
from tests.tools.forwards import FORWARDS, in_another_thread

# Who is blamed --------------------------------------------------------------------------------


def times_in_the_replay(factor, name):
    """Return an operator that does nothing, and whose rule multiplies by `factor`."""

    def same(x, /):
        return x * 1.0

    same.__name__ = name
    same = mg.operator(same)
    same.vjp(lambda g: g * factor)
    return same


up, down = times_in_the_replay(np.inf, "up"), times_in_the_replay(-np.inf, "down")


@mg.operator
def joint(a, b, /):
    """An operator whose rule works on arrays, and makes a NaN for its second input; its twin divides 0 by 0."""
    return a * b


joint.vjp(lambda g, a, b, need: (g * b, g * np.nan if need[1] else None))
joint.twin(lambda a, b: a * (mg.sqrt(b - 2.0) * 0.0))


def with_a_hook_that_gives_nan(x):
    y = x * 3.0
    y.hook(lambda g: mg.Tensor(np.array([np.nan])))
    return y * 1.0


def hidden_in_the_middle(x):
    y = x * 1.0
    return up(y) + down(y)


class Nan(NamedTuple):
    """A function that makes a NaN at x = 2, and what is said, nothing where there is none."""

    f: Callable
    forward: str | None  # in the forward pass
    replay: str | None  # in a plain replay
    recorded: str | None  # in a replay that is recorded: there, the operators of which the rules consist are searched
    start: float = 1.0


IN_RESULT = "{}: made the first NaN, in its result of shape (1,); its inputs held {}"
IN_GRADIENT = "{}: {} made the first NaN, in a gradient of shape (1,); its cotangent held {}"
IN_SUM = IN_GRADIENT.format("{}", "the sum of its rule's gradient and others (inf - inf)", "none")
ADD, DIV = (IN_RESULT.format(name, "none") for name in ("add", "div"))
MUL, ALREADY = IN_RESULT.format("mul", "NaNs already"), IN_GRADIENT.format("mul", "its rule", "NaNs already")
NANS = {
    "result": Nan(lambda x: mg.log(x - 3.0), IN_RESULT.format("log", "none"), None, None),
    "rule": Nan(lambda x: mg.sqrt(x - 2.0) * 0.0, None, IN_GRADIENT.format("sqrt", "its rule", "none"), DIV),
    "joint rule": Nan(lambda x: joint(x, x), None, IN_GRADIENT.format("joint", "its rule", "none"), DIV),
    "second input": Nan(lambda x: joint(x * 1.0, x), None, IN_GRADIENT.format("joint", "its rule", "none"), DIV),
    "hook": Nan(with_a_hook_that_gives_nan, None, ALREADY, MUL),
    "start": Nan(lambda x: x * 3.0, None, ALREADY, MUL, start=np.nan),
    "sum at a leaf": Nan(lambda x: up(x) + down(x), None, IN_SUM.format("up"), ADD),
    "sum at a result": Nan(hidden_in_the_middle, None, IN_SUM.format("up"), ADD),
    "last of four": Nan(lambda x: down(x) + up(x) + x * 1.0 + x * 1.0, None, IN_SUM.format("down"), ADD),
}
WAYS = {
    "backward": lambda out, x, start, **settings: out.backward(start, **settings),
    "grad": lambda out, x, start, **settings: mg.grad(out, x, start, **settings),
}


def message_of(f, *args, **settings):
    """Return what a FloatingPointError in a call says, None if there is none, and the result."""
    try:
        return None, f(*args, **settings)
    except FloatingPointError as error:
        return str(error), None


@pytest.mark.parametrize("nan", NANS.values(), ids=NANS)
@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_the_first_nan_is_laid_at_the_right_door(nan, create_graph, way):
    """Exactly where anomalies are detected, in the forward pass, the replay or both, whatever else is going on."""
    for forward, watched, context in product(FORWARDS, ["", "forward", "replay", "both"], [nullcontext, mg.no_grad]):
        x, where = leaf_of(2.0), f"{forward}, watched: {watched}, {context.__name__}"
        in_forward, in_replay = watched in ("forward", "both"), watched in ("replay", "both")
        with np.errstate(all="ignore"):
            with mg.detect_anomaly() if in_forward else nullcontext():
                said, out = message_of(FORWARDS[forward], nan.f, x)
            assert said == (nan.forward if in_forward else None), where
            if out is None:
                continue
            with context(), mg.detect_anomaly() if in_replay else nullcontext():
                said, _ = message_of(WAYS[way], out, x, np.array([nan.start]), create_graph=create_graph)
            # a segment that runs again is searched as well
            expected = nan.forward if forward != "direct" else None
            expected = expected or (nan.recorded if create_graph else nan.replay)
            assert said == (expected if in_replay else None), where
            assert (x.grad is None) == (said is not None or way == "grad"), where
            assert message_of(mg.log, leaf_of(-1.0))[0] is None  # the mode is as before
            assert (x * 1.0).requires_grad


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_nan_that_nobody_asked_for_is_not_found(create_graph):
    """Beside the path: of joint, only the first input's gradient is needed."""
    x, w = leaf_of(3.0), leaf_of(5.0)
    with mg.detect_anomaly():
        (dx,) = mg.grad(joint(x, w), x, create_graph=create_graph)
    assert dx.item() == (0.0 if create_graph else 5.0)  # of the twin: sqrt(3) * 0


def test_the_operator_behind_a_function_has_the_name_of_the_function():
    x, image = mg.Tensor(np.array([np.nan, 1.0])), mg.Tensor(np.array([np.nan, 1.0]).reshape(1, 1, 2, 1))
    calls = {
        "einsum": lambda: mg.einsum("i,i->", x, x),
        "matmul": lambda: mg.matmul(image, np.ones((1, 1))),
        "conv2d": lambda: mg.conv2d(image, np.ones((1, 1, 1, 1))),
        "max_pool2d": lambda: mg.max_pool2d(image, 1),
        "cross_entropy": lambda: mg.cross_entropy(mg.Tensor(np.array([[np.nan, 1.0]])), [0]),
        "where": lambda: mg.where(np.array([True, True]), x, x),
        "astype": lambda: x.astype("float32"),
    }
    for name, call in calls.items():
        with pytest.raises(FloatingPointError, match=f"^{name}: made the first NaN"), mg.detect_anomaly():
            call()


def test_an_argument_that_is_left_out_holds_no_nan():
    image = mg.Tensor(np.array([np.inf, -np.inf]).reshape(1, 1, 2, 1))
    message = "conv2d: made the first NaN.*its inputs held none"
    with pytest.raises(FloatingPointError, match=message), mg.detect_anomaly(), np.errstate(invalid="ignore"):
        mg.conv2d(image, np.ones((1, 2, 1, 1)))


def test_infinities_of_both_signs_are_no_nan():
    """Neither in a result nor in a gradient, although their sum would be one."""
    x = mg.Tensor(np.array([np.inf, -np.inf, 1.0]), requires_grad=True)
    with mg.detect_anomaly():
        y = x * 2.0
        (d,) = mg.grad(y, x, np.array([np.inf, -np.inf, 0.0]))
    assert d.tolist() == [np.inf, -np.inf, 0.0]


def test_a_nan_is_found_in_every_dtype_shape_and_place():
    """In the result of an operator and in a gradient, also in an imaginary part alone."""
    for dtype, shape in product(["float32", "float64", "complex64", "complex128"], [(), (1,), (2, 3), (2, 0)]):
        array = np.ones(shape, dtype)
        for value in (np.nan, complex(1.0, np.nan)) if array.dtype.kind == "c" else (np.nan,):
            nan = array.copy()
            nan.ravel()[-1:] = value
            expected = (
                None if nan.size == 0 else f"made the first NaN, in its result of shape {shape}; its inputs held NaNs"
            )
            for a, b in [(nan, array), (array, nan)]:
                said, _ = in_anomaly(mg.add, mg.Tensor(a), b)
                assert expected is None if said is None else expected in said, (dtype, shape, value)
            x = mg.Tensor(array, requires_grad=True)
            said, _ = in_anomaly(mg.grad, x + x, x, nan)
            expected = expected and expected.replace("result", "gradient").replace("its g", "a g").replace(
                "inputs", "cotangent"
            )
            assert expected is None if said is None else expected in said, (dtype, shape, value)


def in_anomaly(f, *args):
    """Call a function where anomalies are detected."""
    with mg.detect_anomaly(), np.errstate(all="ignore"):
        return message_of(f, *args)


# Where modes hold -----------------------------------------------------------------------------


def modes():
    """Return what holds now: whether operators are recorded, and whether NaNs are searched for."""
    with np.errstate(invalid="ignore"):
        return (leaf_of(1.0) * 1.0).requires_grad, message_of(lambda: mg.log(mg.Tensor(np.array([-1.0]))))[
            0
        ] is not None


# contexts from the outside in, and the modes inside each
NESTED = [
    ("no_grad", [(False, False)]),
    ("detect_anomaly", [(True, True)]),
    ("no_grad detect_anomaly", [(False, False), (False, True)]),
    ("detect_anomaly no_grad", [(True, True), (False, True)]),
    ("no_grad no_grad detect_anomaly", [(False, False), (False, False), (False, True)]),
    ("detect_anomaly no_grad detect_anomaly no_grad", [(True, True), (False, True), (False, True), (False, True)]),
]


def go_into(contexts, expected):
    """Enter the contexts one by one; check the modes inside each, and again after the inner ones were left."""
    if contexts:
        before = modes()
        with contexts[0]:
            assert modes() == expected[0]
            go_into(contexts[1:], expected[1:])
            assert modes() == expected[0]
        assert modes() == before


@pytest.mark.parametrize(("names", "expected"), NESTED)
def test_a_mode_is_changed_by_its_own_context_alone(names, expected):
    """Also where contexts were made before they are entered, in another mode or thread, and after an error."""
    made = [getattr(mg, name)() for name in names.split()]
    go_into(made, expected)

    def elsewhere():
        with mg.no_grad(), mg.detect_anomaly():
            return [getattr(mg, name)() for name in names.split()]

    go_into(in_another_thread(elsewhere), expected)
    with pytest.raises(ZeroDivisionError), mg.no_grad(), mg.detect_anomaly():
        raise ZeroDivisionError
    assert modes() == (True, False)


def test_a_decorated_function_keeps_the_other_modes():
    """As a decorator, a context is made when the function is defined."""

    @mg.no_grad()
    def unrecorded():
        return modes()

    @mg.detect_anomaly()
    def watched():
        return modes(), unrecorded()

    assert unrecorded() == (False, False)
    with mg.detect_anomaly():
        assert unrecorded() == (False, True)
    with mg.no_grad():
        assert watched() == ((False, True), (False, True))
    assert watched() == ((True, True), (False, True))
    assert modes() == (True, False)


def test_effects_in_a_decorated_function_happen_once():
    rng, draws = np.random.default_rng(0), []

    @mg.no_grad()
    def noise():
        draws.append(mg.once(lambda: rng.standard_normal(3)))
        return draws[-1]

    x = leaf_of(1.0, 2.0, 3.0)
    mg.recompute(lambda x: mg.exp(x * noise()), x).sum().backward()
    np.testing.assert_array_equal(draws[0], draws[1], strict=True)
    np.testing.assert_allclose(x.grad.data, draws[0] * np.exp(x.data * draws[0]), rtol=1e-14, strict=True)


def test_the_mode_of_a_replay_is_left_after_an_error():
    x = leaf_of(2.0)
    for context, expected in [(nullcontext, (True, False)), (mg.no_grad, (False, False))]:
        y = with_a_hook_that_gives_nan(x)
        with context():
            with pytest.raises(FloatingPointError), mg.detect_anomaly():
                mg.grad(y, x, create_graph=True)
            assert modes() == expected
