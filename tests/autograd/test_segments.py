"""Segments that are run again, and all that they meet: drops and statistics, hooks, every way to ask for a gradient."""

from contextlib import nullcontext
from itertools import product

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from tests.records.draw import randn
from tests.tools.compare import leaf, leaf_of
from tests.tools.forwards import FORWARDS
from tests.tools.reach import entries_of, stored

SEGMENTS = {
    "recompute": mg.recompute,
    "nested": FORWARDS["nested"],
    "three deep": lambda f, *xs: mg.recompute(lambda *xs: FORWARDS["nested"](f, *xs), *xs),
    "nested, and more": lambda f, *xs: mg.recompute(lambda *xs: mg.recompute(f, *xs) * 1.0, *xs),
}
CONTEXTS = [nullcontext, mg.no_grad, mg.detect_anomaly]


# How often a function runs --------------------------------------------------------------------

# How often f has run after the forward pass, a first and a second replay. A segment inside another starts in the second
# run of the outer one, and discards its arrays once more. A replay that keeps the tape keeps what came back.
RUNS = {"recompute": (1, 2, 2), "nested": (1, 3, 3), "three deep": (1, 4, 4), "nested, and more": (1, 3, 3)}


@pytest.mark.parametrize("forward", RUNS)
@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("settings", [{"retain_graph": True}, {"create_graph": True}], ids=["retain", "create"])
def test_a_function_is_run_again_once_for_each_segment_that_it_is_in(forward, context, settings):
    runs, effects = [], []

    def f(x):
        runs.append(1)
        return x * x * mg.once(lambda: (effects.append(1), 3.0)[1])

    x = leaf_of(2.0)
    out = SEGMENTS[forward](f, x)
    counts = [len(runs)]
    with context():
        for _ in range(2):
            assert mg.grad(out, x, **settings)[0].item() == 12.0
            counts.append(len(runs))
        out.backward()
    assert (tuple(counts), len(runs), effects) == (RUNS[forward], RUNS[forward][2], [1])
    assert x.grad.item() == 12.0
    with pytest.raises(RuntimeError, match="mul: the tape was released"):
        out.backward()


def test_a_replay_that_needs_nothing_of_a_segment_does_not_run_it():
    runs = []

    def f(x):
        runs.append(1)
        return x * x

    x, w = leaf_of(2.0), leaf_of(3.0)
    out = mg.recompute(f, x) * w
    assert mg.grad(out, w, retain_graph=True)[0].item() == 4.0
    assert len(runs) == 1
    assert mg.grad(out, x)[0].item() == 12.0
    assert len(runs) == 2


@pytest.mark.parametrize("forward", SEGMENTS)
def test_what_a_recorded_replay_inside_a_segment_stores_is_discarded_too(forward):
    x = leaf_of(2.0)
    out = SEGMENTS[forward](lambda x: mg.grad(x * x * x, x, create_graph=True)[0] * x, x)  # 3 x^3
    asked = [entry for entry in entries_of(out) if entry.plan.names]
    assert len(asked) > 4
    assert all(stored(entry) is None for entry in asked)
    out.backward()
    assert x.grad.item() == 36.0


# Draws and statistics -------------------------------------------------------------------------


def noisy_net():
    """Return a net that draws and keeps statistics, and its generator."""
    rng = np.random.default_rng(7)
    layers = [nn.Linear(4, 4, rng=1, dtype=np.float64), nn.BatchNorm2d(4, dtype=np.float64), nn.ReLU()]
    return nn.Sequential(*layers, nn.Dropout(0.5, rng=rng), nn.Linear(4, 4, rng=2, dtype=np.float64)), rng


def by_backward(out, x, net, g):
    out.backward(g)
    return [x.grad, *(p.grad for p in net.parameters())]


def by_grad(out, x, net, g):
    return mg.grad(out, [x, *net.parameters()], g)


def by_two_replays(out, x, net, g):
    return [*mg.grad(out, [x], g, retain_graph=True), *mg.grad(out, [*net.parameters()], g)]


def by_second_order(out, x, net, g):
    wanted = [x, *(p for p in net.parameters() if p.ndim == 2)]
    firsts = mg.grad(out, wanted, g, create_graph=True)
    return [*firsts, *mg.grad(firsts, wanted, [d.data for d in firsts])]


@pytest.mark.parametrize("way", [by_backward, by_grad, by_two_replays, by_second_order])
@pytest.mark.parametrize("forward", SEGMENTS)
def test_draws_and_statistics_are_those_of_one_run(way, forward):
    """Gradients, running statistics and the state of the generator are equal to the last bit."""
    for context in CONTEXTS:
        results = []
        for call in (lambda f, x: f(x) * 1.0 if forward == "nested, and more" else f(x), SEGMENTS[forward]):
            net, rng = noisy_net()
            x = leaf(randn(6, 4))
            out = call(net, x)
            with context():
                gradients = way(out, x, net, randn(6, 4, seed=1))
            results.append([out, *gradients, *net.state_dict().values(), rng.bit_generator.state["state"]["state"]])
        for a, b in zip(*results, strict=True):
            np.testing.assert_array_equal(*(v.data if isinstance(v, mg.Tensor) else v for v in (a, b)))
        assert any(np.any(d.data != 0) for d in results[0][1:] if isinstance(d, mg.Tensor))


# Hooks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("forward", SEGMENTS)
@pytest.mark.parametrize("create_graph", [False, True])
def test_hooks_of_all_that_a_segment_touches_are_called_once(forward, create_graph):
    """Of an input, a result that is an input, a leaf and a result from the closure, a result inside, the output."""
    for context in CONTEXTS:
        seen = []

        def note(name, tensor, seen=seen):
            tensor.hook(lambda g: seen.append(f"{name} {g.item():g}"))
            return tensor

        x, w = note("x", leaf_of(2.0)), note("w", leaf_of(3.0))
        y, v = note("y", x * 1.0), note("v", w * 1.0)

        def f(x, y, w=w, v=v, note=note):
            return note("inside", y * v) * (w * x)  # y v w x, with x = y = 2 and w = v = 3

        out = note("out", SEGMENTS[forward](f, x, y))
        with context():
            out.backward(create_graph=create_graph)
        assert seen == ["out 1", "inside 6", "v 12", "y 18", "w 24", "x 36"]  # newest first, then leaves
        assert (x.grad.item(), w.grad.item()) == (36.0, 24.0)


# What f takes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("forward", SEGMENTS)
def test_an_input_may_be_given_twice_and_need_no_gradient(forward):
    for needed, create_graph in product([True, False], [False, True]):
        x, c = leaf_of(2.0), mg.Tensor(np.array([5.0]), requires_grad=needed)
        out = SEGMENTS[forward](lambda a, b, c: a * a * b * c, x, x, c)  # c x^3
        (dx,) = mg.grad(out, x, create_graph=create_graph, retain_graph=True)
        assert dx.item() == 60.0
        if create_graph:
            assert mg.grad(dx, x, retain_graph=True)[0].item() == 60.0
        out.backward()
        assert (x.grad.item(), c.grad and c.grad.item()) == (60.0, 8.0 if needed else None)


def test_segments_one_after_another_and_beside_one_another():
    """Each is run again when the replay reaches it: the newest first."""
    runs = []

    def square(name):
        return lambda x: (runs.append(name), x * x)[1]

    x = leaf_of(2.0)
    y = mg.recompute(square("first"), x)
    z = mg.recompute(square("second"), y) + mg.recompute(square("third"), y)  # 2 x^4
    assert runs == ["first", "second", "third"]
    runs.clear()
    z.backward()
    assert (x.grad.item(), runs) == (64.0, ["third", "second", "first"])


@pytest.mark.parametrize("forward", SEGMENTS)
def test_operators_under_no_grad_inside_a_segment_stay_unrecorded(forward):
    x = leaf_of(2.0)

    def f(x):
        with mg.no_grad():
            factor = x * x * x
        assert not factor.requires_grad
        return x * factor

    for create_graph in (False, True):
        assert mg.grad(SEGMENTS[forward](f, x), x, create_graph=create_graph)[0].item() == 8.0


@pytest.mark.parametrize("forward", SEGMENTS)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_replay_after_an_error_in_the_second_run_starts_it_anew(forward, place):
    """At its beginning, in its middle and at its end; an effect happens once all the same."""
    x, effects, left = leaf_of(0.5), [], [0]

    def stop(at):
        if at == place and left[0]:
            left[0] -= 1
            raise KeyboardInterrupt

    def f(x):
        stop(0)
        y = mg.exp(x) * mg.once(lambda: (effects.append(1), 3.0)[1])
        stop(1)
        z = mg.exp(y)
        stop(2)
        return z

    out = SEGMENTS[forward](f, x)
    left[0] = 1
    with pytest.raises(KeyboardInterrupt):
        mg.grad(out, x, retain_graph=True)
    (dx,) = mg.grad(out, x)
    np.testing.assert_allclose(dx.data, np.exp(3 * np.exp(0.5)) * 3 * np.exp(0.5), rtol=1e-14)
    assert (left, effects) == ([0], [1])
