"""Hooks: when they may be added, in which mode they run, what they share; and tapes that pass from thread to thread."""

from contextlib import nullcontext
from itertools import product

import numpy as np
import pytest

import minigrad as mg
from tests.tools.compare import leaf_of
from tests.tools.forwards import FORWARDS, in_another_thread

# Hooks ----------------------------------------------------------------------------------------


# Where hooks are called: create_graph, the context, and whether what a hook computes is recorded
HOOK_MODES = [
    (False, nullcontext, True),
    (False, mg.no_grad, False),
    (True, nullcontext, True),
    (True, mg.no_grad, True),
]


@pytest.mark.parametrize("place", ["leaf", "result"])
@pytest.mark.parametrize(("create_graph", "context", "recorded"), HOOK_MODES)
def test_a_hook_runs_in_the_mode_of_the_replay(place, create_graph, context, recorded):
    """What it returns is a gradient like any other, recorded only if the replay is: of 3 w x in x, it is 3 w."""
    for forward in FORWARDS.values():
        x, w, seen = leaf_of(2.0), leaf_of(5.0), []

        def times_w(g, w=w, seen=seen):
            seen.append((g * w).requires_grad)
            return g * w

        def f(x, hook=times_w):
            y = x * 3.0
            if place == "result":
                y.hook(hook)
            return y * 1.0

        if place == "leaf":
            x.hook(times_w)
        out = forward(f, x)
        with context():
            (dx,) = mg.grad(out, x, create_graph=create_graph, retain_graph=True)
            out.backward(create_graph=create_graph)
        assert (dx.item(), x.grad.item(), w.grad, seen) == (15.0, 15.0, None, [recorded, recorded])
        assert dx.requires_grad == x.grad.requires_grad == create_graph
        if create_graph:
            assert mg.grad(dx, w)[0].item() == 3.0


def test_a_gradient_is_none_of_the_arrays_that_several_hooks_have_seen():
    """The sum of two gradients is the replay's own array until a hook has seen it."""
    for count, create_graph, place in product([1, 2, 3, 12], [False, True], ["leaf", "result"]):
        x, held = leaf_of(2.0, 3.0), []
        y = x * 1.0
        for _ in range(count):
            {"leaf": x, "result": y}[place].hook(held.append)
        out = (y * 2.0 + y * 3.0 + x * 2.0).sum()
        results = mg.grad(out, [x, y, y], create_graph=create_graph, retain_graph=True)
        out.backward(create_graph=create_graph)
        assert len(held) == 2 * count
        for d, g in product([*results, x.grad], held):
            assert not np.shares_memory(d.data, g.data)


def test_hooks_may_be_added_at_any_time():
    """Between forward and backward, between two replays, and by a hook: then from the next replay on."""
    x, seen = leaf_of(2.0), []
    y = x * 3.0
    out = y * y

    def add(g):
        seen.append("x1")
        x.hook(lambda g: seen.append("x2"))

    y.hook(lambda g: seen.append("y1"))
    x.hook(add)
    out.backward(retain_graph=True)
    y.hook(lambda g: seen.append("y2"))
    seen.append("/")
    out.backward()
    assert seen == ["y1", "x1", "/", "y1", "y2", "x1", "x2"]
    assert (x.grad.item(), (x * 1.0).grad) == (72.0, None)


def test_a_hook_belongs_to_one_tensor():
    x, w, seen = leaf_of(2.0), leaf_of(3.0), []
    y = x * 1.0
    x.hook(lambda g: seen.append("x"))
    y.hook(lambda g: seen.append("y"))
    (y + w + leaf_of(1.0)).backward()
    (w * w).backward()
    assert seen == ["y", "x"]


@pytest.mark.parametrize("place", ["leaf", "result"])
@pytest.mark.parametrize("create_graph", [False, True])
def test_an_error_in_a_hook_leaves_grad_and_mode_as_they_were(place, create_graph):
    x, w = leaf_of(2.0), leaf_of(3.0)
    y = x * 3.0
    {"leaf": x, "result": y}[place].hook(lambda g: 1 / 0)
    w.grad = mg.Tensor(np.array([5.0]))
    out = y * w
    with mg.no_grad():
        with pytest.raises(ZeroDivisionError):
            out.backward(create_graph=create_graph)
        assert not (x * 1.0).requires_grad
    assert (x * 1.0).requires_grad
    assert (x.grad, w.grad.item()) == (None, 5.0)


def test_a_hook_may_replay_a_tape_of_its_own():
    x, w = leaf_of(2.0), leaf_of(5.0)
    y = x * 3.0

    def replay(g):
        (w * w * 2.0).backward()
        return g * mg.grad(w * w, w)[0]

    y.hook(replay)
    (y * 1.0).backward()
    assert (x.grad.item(), w.grad.item()) == (30.0, 20.0)


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_hook_on_a_tensor_that_is_used_in_many_places_sees_the_sum_once(create_graph):
    x, seen = leaf_of(2.0), []
    y = x * 1.0
    for tensor in (x, y):
        tensor.hook(lambda g: seen.append(g.item()))
    out = y + y * y + mg.concatenate([y, y]).sum() + x * 100.0  # 1 + 4 + 2, and 100
    out.backward(create_graph=create_graph)
    assert seen == [7.0, 107.0]


# Threads --------------------------------------------------------------------------------------


def test_one_tape_may_be_made_and_replayed_in_several_threads():
    x = leaf_of(2.0)
    with mg.no_grad():
        y = in_another_thread(lambda: x * x)
    z = in_another_thread(lambda: y * y) + y  # x^4 + x^2
    assert in_another_thread(lambda: mg.grad(z, [x, y], create_graph=True))[0].item() == 36.0
    in_another_thread(z.backward)
    assert x.grad.item() == 36.0
