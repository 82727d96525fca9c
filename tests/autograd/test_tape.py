"""The tape: what an entry keeps, when it is freed, and when nothing is recorded."""

import collections
import gc
import itertools
import threading
import weakref

import numpy as np
import pytest

import minigrad as mg
from minigrad.autograd import tape
from tests.tools.compare import leaf_of
from tests.tools.reach import arrays_stored_by, entry_of, stored

# What is kept ---------------------------------------------------------------------------------


def test_a_rule_asks_by_name_and_only_for_gradients_that_are_wanted():
    x, w, c = leaf_of(1.0, 2.0), leaf_of(3.0, 4.0), np.array([5.0, 6.0])
    assert set(arrays_stored_by(x * w)) == {"a", "b"}
    assert set(arrays_stored_by(x * c)) == {"b"}
    assert set(arrays_stored_by(c * x)) == {"a"}
    assert set(arrays_stored_by(x + w)) == set()
    assert set(arrays_stored_by(mg.exp(x))) == {"out"}
    assert set(arrays_stored_by(mg.log(x))) == {"x"}
    assert set(arrays_stored_by(mg.sum(x))) == set()


def test_batch_norm_keeps_its_input_and_not_the_normalised_one():
    x, gamma, beta = leaf_of(*range(6)).reshape(3, 2), leaf_of(1.0, 2.0), leaf_of(0.0, 0.0)
    out = mg.batch_norm(x, gamma, beta, np.zeros(2), np.ones(2), training=True)
    large = {name: array for name, array in arrays_stored_by(out).items() if array.size > 2}
    assert list(large) == ["x"]
    assert large["x"] is x.data


def test_the_order_of_entries_is_kept_after_millions_of_operators():
    """Entries are sorted by a number. If it began anew, or were rounded, new entries would be taken for old ones."""
    collections.deque(itertools.islice(tape.clock, max(2**24 - 2 - next(tape.clock), 0)), maxlen=0)
    x = leaf_of(3.0)
    doubled = x * 2.0
    (doubled * doubled + doubled).sum().backward()
    assert x.grad.tolist() == [26.0]


# When nothing is recorded ---------------------------------------------------------------------


def test_nothing_is_recorded_without_a_leaf_or_under_no_grad():
    x, c = leaf_of(1.0), mg.Tensor([1.0])
    assert not (c * c).requires_grad
    with mg.no_grad():
        assert not (x * x).requires_grad
    assert (x * x).requires_grad
    with pytest.raises(ZeroDivisionError), mg.no_grad():
        raise ZeroDivisionError
    assert (x * x).requires_grad


def test_modes_belong_to_one_thread():
    x, negative, seen = leaf_of(1.0), leaf_of(-1.0), []

    def elsewhere():
        with np.errstate(invalid="ignore"):
            seen.append((mg.sqrt(negative) * x).requires_grad)  # neither unrecorded nor refused as a NaN

    with mg.no_grad(), mg.detect_anomaly():
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
    assert seen == [True]


# When it is freed -----------------------------------------------------------------------------


def test_a_dropped_graph_is_freed_at_once():
    gc.disable()
    try:
        x = leaf_of(1.0, 2.0)
        y = mg.exp(x)
        entry, last = weakref.ref(entry_of(y)), (y * y).sum()
        del y
        assert entry() is not None
        del last
        assert entry() is None
    finally:
        gc.enable()


def test_an_entry_does_not_hold_the_tensors_it_was_made_of():
    x = leaf_of(1.0, 2.0)
    middle = x + 1.0
    reference = weakref.ref(middle)
    y = middle + 1.0
    del middle
    assert reference() is None
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.data, [1.0, 1.0])


def test_entries_are_released_as_they_are_used():
    x, alive = leaf_of(1.0, 2.0), []

    @mg.operator
    def look(x, /):
        return x * 1.0

    look.vjp(lambda g: (alive.append(entry() is not None and stored(entry()) is not None), g)[1])
    y = mg.exp(look(x))
    entry = weakref.ref(entry_of(y))
    y.sum().backward()
    assert alive == [False]  # exp, which comes after look, had been released when look's rule ran


@pytest.mark.parametrize("replay", [lambda out, x: out.backward(), lambda out, x: mg.grad(out, x)])
def test_a_released_result_does_not_hold_what_it_was_computed_from(replay):
    gc.disable()
    try:
        x = leaf_of(1.0, 2.0)
        y = mg.exp(x)
        out, first = (y * y).sum(), weakref.ref(entry_of(y))
        del y
        assert first() is not None
        replay(out, x)
        assert first() is None
    finally:
        gc.enable()


def test_a_replay_holds_no_gradient_that_has_been_used():
    """A replay holds the gradients that are still to be used, not those of the whole net."""
    x, seen, alive = leaf_of(1.0, 2.0), [], []

    def probe(rule):
        @mg.operator
        def same(x, /):
            return x * 1.0

        same.vjp(rule)
        return same

    look = probe(lambda g: (alive.append(seen[0]() is not None), g * 1.0)[1])
    note = probe(lambda g: (seen.append(weakref.ref(g)), g * 1.0)[1])
    mg.grad((note(mg.exp(look(x))) * 2.0).sum(), x)
    assert alive == [False]


def test_a_released_tape_is_refused_by_name():
    x = leaf_of(1.0, 2.0)
    y = mg.exp(x)
    loss = y.sum()
    loss.backward()
    with pytest.raises(RuntimeError, match="sum: the tape was released.*retain_graph=True"):
        loss.backward()
    with pytest.raises(RuntimeError, match="exp: the tape was released"):
        mg.grad((y * y).sum(), x)


def test_retain_graph_keeps_the_tape():
    x = leaf_of(1.0, 2.0)
    loss = (x * x).sum()
    loss.backward(retain_graph=True)
    loss.backward()
    np.testing.assert_array_equal(x.grad.data, [4.0, 8.0])


def test_retain_graph_and_create_graph_are_independent():
    x = leaf_of(2.0)
    y = x * x
    (dx,) = mg.grad(y, x, retain_graph=True)
    assert not dx.requires_grad
    assert mg.grad(y, x)[0].item() == 4.0
    with pytest.raises(RuntimeError, match="released"):
        mg.grad(y, x)
    y = x * x
    mg.grad(y, x, create_graph=True, retain_graph=False)
    with pytest.raises(RuntimeError, match="released"):
        mg.grad(y, x)
