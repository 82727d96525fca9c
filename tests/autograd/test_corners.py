"""The tape's corners: every way to ask for a gradient, with every kind of hook, in every surrounding.

All numbers in the tables were worked out by hand. The tests look them up; none of them is computed here.
"""

from contextlib import ExitStack, nullcontext
from itertools import cycle, product
from typing import NamedTuple

import numpy as np
import pytest

import minigrad as mg
from tests.tools.compare import leaf
from tests.tools.forwards import FORWARDS, in_another_thread

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
    in_another_thread(out.backward)
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
    shapes = cycle([(), (1,)])  # the number of replays is odd: each meets both
    for forward, recorded_in, replay in product(FORWARDS, [nullcontext, mg.detect_anomaly], REPLAYS):
        shape = next(shapes)
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
