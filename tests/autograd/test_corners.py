"""The tape's corners: every way to ask for a gradient, with every kind of hook, in every surrounding.

All numbers in the tables were worked out by hand. The tests look them up; none of them is computed here.
"""

import threading
from contextlib import ExitStack, nullcontext
from itertools import product
from typing import NamedTuple

import numpy as np
import pytest

import minigrad as mg
from tests.tools.compare import leaf

# Hooks ----------------------------------------------------------------------------------------

HOOKS = {
    "look": lambda g: None,
    "times": lambda g: g * 10.0,
    "plus": lambda g: g + 1.0,
}


class Row(NamedTuple):
    """The gradients of y * y * x with y = 3 x at x = 5, so y = 15.

    Without hooks: dy = 2 y x = 150 and dx = 3 dy + y * y = 675. The second derivative replays the replay: of dx, the
    gradient of y is 3 * 2 x + 2 y = 60 and that of x itself 3 * 2 y = 90, so ddx = 3 * 60 + 90 = 270. What a hook
    returns replaces the gradient, in the second replay once more.
    """

    on_y: str  # the hooks of the result
    on_x: str  # the hooks of the leaf
    seen: str  # what each hook is called with, in this order
    dy: float
    dx: float
    seen_again: str  # the same in the second replay
    ddx: float


TABLE = [
    Row("", "", "", 150, 675, "", 270),
    Row("look", "", "y150", 150, 675, "y60", 270),
    Row("", "look", "x675", 150, 675, "x270", 270),
    # 10 times dy: dx = 3 * 1500 + 225.   Of 60 y x + y y, the gradient of y is 300 + 30, and that of x is 900
    Row("times", "", "y150", 1500, 4725, "y330", 3 * 3300 + 900),
    Row("times plus", "", "y150 y1500", 1501, 3 * 1501 + 225, "y330 y3300", 3 * 3301 + 900),
    Row("plus times", "", "y150 y151", 1510, 3 * 1510 + 225, "y330 y331", 3 * 3310 + 900),
    Row("look times look", "", "y150 y150 y1500", 1500, 4725, "y330 y330 y3300", 10800),
    # 10 times dx, whose derivative is 10 * 270; and 10 times that
    Row("", "times", "x675", 150, 6750, "x2700", 27000),
    Row("", "times plus", "x675 x6750", 150, 6751, "x2700 x27000", 27001),
    Row("", "plus times", "x675 x676", 150, 6760, "x2700 x2701", 27010),
    Row("", "look times look", "x675 x675 x6750", 150, 6750, "x2700 x2700 x27000", 27000),
    # both: of 10 (60 y x + y y), the gradient of y is 3300, and that of x is 9000
    Row("look", "look", "y150 x675", 150, 675, "y60 x270", 270),
    Row("times", "plus", "y150 x4725", 1500, 4726, "y330 x10800", 10801),
    Row("times", "times", "y150 x4725", 1500, 47250, "y3300 x108000", 1080000),
]


def cube_with_hooks(row, shape, forward):
    """Compute y * y * x, and return x, y, the result, and the list of what the hooks will see."""
    x, seen = leaf(np.full(shape, 5.0)), []

    def add_hooks(tensor, place, names):
        for name in names.split():
            tensor.hook(lambda g, f=HOOKS[name]: (seen.append((f"{place}{g.item():g}", g.requires_grad)), f(g))[1])

    def f(x):
        y = x * 3.0
        add_hooks(y, "y", row.on_y)  # in a second run: on another y, which no gradient reaches
        return y * y * x, y

    add_hooks(x, "x", row.on_x)
    out, y = FORWARDS[forward](f, x)
    return x, y, out, seen


FORWARDS = {
    "direct": lambda f, x: f(x),
    "recompute": mg.recompute,
    "nested": lambda f, x: mg.recompute(lambda x: mg.recompute(f, x), x),
}
REPLAYS = {
    "recording": [],
    "no_grad": [mg.no_grad],
    "anomaly": [mg.detect_anomaly],
    "anomaly under no_grad": [mg.no_grad, mg.detect_anomaly],
    "no_grad under anomaly": [mg.detect_anomaly, mg.no_grad],
}


# Each way takes the row, the tensors, and a function that returns what the hooks have seen since its last call; its
# argument says whether these gradients should be recorded.


def by_backward(row, x, y, out, seen):
    out.backward()
    assert seen(recorded=False) == row.seen
    assert (x.grad.item(), x.grad.requires_grad, y.grad) == (row.dx, False, None)
    with pytest.raises(RuntimeError, match="mul: the tape was released by an earlier backward or grad"):
        out.backward()
    assert (x.grad.item(), seen(recorded=False)) == (row.dx, "")


def by_backward_twice(row, x, y, out, seen):
    out.backward(retain_graph=True)
    first = x.grad
    out.backward()
    assert seen(recorded=False) == f"{row.seen} {row.seen}".strip()
    assert (x.grad.item(), first.item()) == (2 * row.dx, row.dx)


def by_backward_with_create_graph(row, x, y, out, seen):
    out.backward(create_graph=True)
    dx, x.grad = x.grad, None
    assert (dx.item(), dx.requires_grad, seen(recorded=True)) == (row.dx, True, row.seen)
    dx.backward()
    assert (x.grad.item(), x.grad.requires_grad, seen(recorded=False)) == (row.ddx, False, row.seen_again)


def by_grad(row, x, y, out, seen):
    (dx,) = mg.grad(out, x)
    assert (dx.item(), dx.requires_grad, x.grad, seen(recorded=False)) == (row.dx, False, None, row.seen)
    with pytest.raises(RuntimeError, match="mul: the tape was released by an earlier backward or grad"):
        mg.grad(out, x)


def by_grad_of_both(row, x, y, out, seen):
    for inputs, expected in [([y, x], (row.dy, row.dx)), ([x, y, x], (row.dx, row.dy, row.dx))]:
        assert tuple(d.item() for d in mg.grad(out, inputs, retain_graph=True)) == expected
        assert seen(recorded=False) == row.seen
    assert x.grad is None


def by_grad_of_the_result(row, x, y, out, seen):
    """The hooks of the leaf are not called: the replay does not get there."""
    (dy,) = mg.grad(out, y)
    assert (dy.item(), seen(recorded=False)) == (row.dy, " ".join(s for s in row.seen.split() if "y" in s))


def by_grad_with_create_graph(row, x, y, out, seen):
    (dx,) = mg.grad(out, x, create_graph=True)
    assert (dx.item(), dx.requires_grad, seen(recorded=True)) == (row.dx, True, row.seen)
    for retain_graph in (True, False):
        (ddx,) = mg.grad(dx, x, retain_graph=retain_graph)
        assert (ddx.item(), x.grad, seen(recorded=False)) == (row.ddx, None, row.seen_again)


def by_grad_with_create_graph_in_both_orders(row, x, y, out, seen):
    dy, dx = mg.grad(out, [y, x], create_graph=True)
    assert (dy.item(), dx.item(), seen(recorded=True)) == (row.dy, row.dx, row.seen)
    (ddx,) = mg.grad(dx, x, create_graph=True)
    assert (ddx.item(), ddx.requires_grad, seen(recorded=True)) == (row.ddx, True, row.seen_again)


def by_backward_in_another_thread(row, x, y, out, seen):
    thread = threading.Thread(target=out.backward)
    thread.start()
    thread.join()
    assert (x.grad.item(), seen(recorded=False)) == (row.dx, row.seen)


WAYS = [
    by_backward,
    by_backward_twice,
    by_backward_with_create_graph,
    by_grad,
    by_grad_of_both,
    by_grad_of_the_result,
    by_grad_with_create_graph,
    by_grad_with_create_graph_in_both_orders,
    by_backward_in_another_thread,
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"y: {row.on_y or 'none'}, x: {row.on_x or 'none'}")
def test_gradients_and_calls_of_hooks(row, way):
    """Recomputation, anomaly mode, no_grad around the replay and an empty shape change nothing."""
    for forward, recorded_in, replay, shape in product(FORWARDS, [nullcontext, mg.detect_anomaly], REPLAYS, [(), (1,)]):
        with recorded_in():
            x, y, out, calls = cube_with_hooks(row, shape, forward)

        def seen(recorded, calls=calls):
            assert all(is_recorded == recorded for _, is_recorded in calls)
            text = " ".join(text for text, _ in calls)
            calls.clear()
            return text

        with ExitStack() as contexts:
            for context in REPLAYS[replay]:
                contexts.enter_context(context())
            try:
                way(row, x, y, out, seen)
            except AssertionError as error:
                error.add_note(f"forward: {forward}, {recorded_in.__name__}; replay: {replay}; shape {shape}")
                raise


# What grad takes and gives --------------------------------------------------------------------


class Call(NamedTuple):
    """A call of grad, where x = 2, z = 3, y = x x = 4, w = y z = 12, v = z z = 9."""

    outputs: str
    inputs: str
    starts: list | None
    expected: list
    hooks: str  # whose hooks are called, in this order: newest first, leaves last


CALLS = [
    Call("y", "x", None, [4], "yx"),
    Call("y", "xx", None, [4, 4], "yx"),
    Call("yy", "x", None, [8], "yx"),
    Call("yyy", "x", [None, None, None], [12], "yx"),
    Call("yy", "xyx", None, [8, 2, 8], "yx"),
    Call("y", "y", None, [1], "y"),
    Call("yy", "yy", None, [2, 2], "y"),
    Call("w", "xyz", None, [12, 3, 4], "wyzx"),
    Call("w", "zyx", None, [4, 3, 12], "wyzx"),
    Call("w", "z", None, [4], "wz"),
    Call("w", "y", None, [3], "wy"),
    Call("wy", "xyz", None, [16, 4, 4], "wyzx"),
    Call("yw", "w", None, [1], "w"),  # y is not on a path from an output to w
    Call("ww", "wx", None, [2, 24], "wyx"),
    Call("x", "x", None, [1], "x"),
    Call("xx", "xx", None, [2, 2], "x"),
    Call("xy", "x", None, [5], "yx"),
    Call("xyw", "x", None, [17], "wyx"),
    Call("y", "x", [10.0], [40], "yx"),
    Call("yy", "x", [10.0, -1.0], [36], "yx"),
    Call("yy", "yx", [10.0, None], [11, 44], "yx"),
    Call("xx", "x", [10.0, 7.0], [17], "x"),
    Call("wv", "x", None, [12], "wyx"),  # v does not depend on x
    Call("vw", "z", None, [10], "vwz"),
    Call("zw", "x", None, [12], "wyx"),  # nor does the leaf z
    Call("wz", "z", None, [5], "wz"),
    Call("w", "", None, [], ""),
    Call("", "", None, [], ""),
    Call("", "", [], [], ""),
]
UNREACHED = [("v", "x", 0), ("y", "xz", 1), ("y", "wx", 0), ("x", "y", 0), ("", "x", 0), ("z", "zx", 1)]


def small_graph(forward="direct"):
    seen, tensors = [], {"x": leaf([2.0]), "z": leaf([3.0])}

    def f(x):
        y = x * x
        return y, y * tensors["z"]

    tensors["y"], tensors["w"] = FORWARDS[forward](f, tensors["x"])
    tensors["v"] = tensors["z"] * tensors["z"]
    for name, tensor in tensors.items():
        tensor.hook(lambda g, name=name: seen.append(name))
    return tensors, seen


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.outputs or 'no'} in {call.inputs or 'nothing'}")
def test_outputs_and_inputs_of_grad(call):
    settings = product([False, True], [None, False, True], [mg.no_grad, nullcontext, mg.detect_anomaly], FORWARDS)
    for create_graph, retain_graph, context, forward in settings:
        tensors, seen = small_graph(forward)
        outputs, inputs = ([tensors[name] for name in names] for names in (call.outputs, call.inputs))
        starts = call.starts and [None if g is None else mg.Tensor(np.array([g])) for g in call.starts]
        kept = create_graph if retain_graph is None else retain_graph
        for _ in range(2 if kept else 1):
            seen.clear()
            with context():
                result = mg.grad(outputs, inputs, starts, create_graph=create_graph, retain_graph=retain_graph)
            assert type(result) is tuple
            assert [d.item() for d in result] == call.expected
            assert all((d.shape, d.dtype) == ((1,), np.float64) for d in result)
            arrays = [a.data for a in [*result, *tensors.values(), *(starts or [])] if a is not None]
            assert not any(np.shares_memory(a, b) for i, a in enumerate(arrays) for b in arrays[:i])
            assert "".join(seen) == call.hooks
            assert all(tensor.grad is None for tensor in tensors.values())


@pytest.mark.parametrize(("outputs", "inputs", "which"), UNREACHED)
@pytest.mark.parametrize("create_graph", [False, True])
def test_an_input_beside_the_path_is_named(outputs, inputs, which, create_graph):
    tensors, _ = small_graph()
    with pytest.raises(RuntimeError, match=rf"grad: inputs\[{which}\] of shape \(1,\) is not reached from the outputs"):
        mg.grad([tensors[o] for o in outputs], [tensors[i] for i in inputs], create_graph=create_graph)
    assert all(tensor.grad is None for tensor in tensors.values())


@pytest.mark.parametrize("retain_graph", [None, False, True])
def test_the_tape_beside_the_path_is_not_released(retain_graph):
    tensors, _ = small_graph()
    x, y, z, w, v = (tensors[name] for name in "xyzwv")
    mg.grad([w, v, y], x, retain_graph=retain_graph)
    assert mg.grad(v, z)[0].item() == 6.0
    for output in (w, y):
        if retain_graph:
            assert mg.grad(output, x, retain_graph=True)[0].item() in (12.0, 4.0)
        else:
            with pytest.raises(RuntimeError, match="released"):
                mg.grad(output, x)


def test_gradients_flow_into_the_gradient_to_start_from():
    """D(s * 2 x) in s is 2 x, for a result, for a leaf that is its own output, and for backward."""
    for start in (lambda s: s, lambda s: s * 1.0):
        x, s = leaf([5.0]), leaf([7.0])
        (dx,) = mg.grad(x * x, x, start(s), create_graph=True)
        assert (dx.item(), *(d.item() for d in mg.grad(dx, [s, x]))) == (70.0, 10.0, 14.0)
        (same,) = mg.grad(x, x, start(s), create_graph=True)
        assert (same.item(), mg.grad(same * same, s)[0].item()) == (7.0, 14.0)
        (x * x).backward(start(s), create_graph=True)
        assert (x.grad.item(), mg.grad(x.grad, s)[0].item()) == (70.0, 10.0)
        assert not mg.grad(x * x, x, start(s))[0].requires_grad
        assert s.grad is None


def test_gradients_of_arrays_without_elements():
    """Hooks are called, shapes stay, and a sum over nothing is 0 with a gradient of no elements."""
    for shape, create_graph, forward in product([(0,), (2, 0)], [False, True], FORWARDS):
        x, seen = leaf(np.zeros(shape)), []
        x.hook(lambda g, seen=seen: seen.append(g.shape))
        out = FORWARDS[forward](lambda x: mg.sum(x * x * 3.0), x)
        (dx,) = mg.grad(out, x, create_graph=create_graph)
        assert (out.item(), dx.shape, dx.dtype, seen) == (0.0, shape, np.float64, [shape])
        with pytest.raises(RuntimeError, match=r"grad: an output of shape .* needs a gradient to start from"):
            mg.grad(x * x, x)
        (x * x).backward(np.zeros(shape))
        assert x.grad.shape == shape


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize("context", [nullcontext, mg.no_grad, mg.detect_anomaly])
def test_derivatives_of_x_to_the_fifth_up_to_the_sixth_order(forward, context):
    """At x = 2: 5 x^4 = 80, 20 x^3 = 160, 60 x^2 = 240, 120 x = 240, 120, 0."""
    x = leaf([2.0])
    y, values = FORWARDS[forward](lambda x: x * x * x * x * x, x), []
    with context():
        for _ in range(5):
            (y,) = mg.grad(y, x, create_graph=True)
            values.append(y.item())
    assert values == [80, 160, 240, 240, 120]
