"""Leaves: what adds up in .grad, rebinding .data, freezing, copies."""

import copy
import pickle
from contextlib import nullcontext
from itertools import product

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from tests.tools.compare import leaf, leaf_of
from tests.tools.strict import strict

# Accumulation ---------------------------------------------------------------------------------

# What stands in .grad before x * x * x is differentiated at x = 2 (dx = 12, ddx = 12), create_graph, .grad after it,
# and the derivative of .grad, None where it is not recorded.
ACCUMULATED = [
    ("nothing", False, 12, None),
    ("nothing", True, 12, 12),
    ("given", False, 7 + 12, None),
    ("given", True, 7 + 12, 12),
    ("earlier", False, 4 + 12, None),
    ("earlier", True, 4 + 12, 12),
    ("recorded", False, 4 + 12, 2),
    ("recorded", True, 4 + 12, 2 + 12),
]


@pytest.mark.parametrize(("before", "create_graph", "value", "derivative"), ACCUMULATED)
@pytest.mark.parametrize("context", [nullcontext, mg.no_grad, mg.detect_anomaly])
def test_a_gradient_is_added_to_the_one_before(before, create_graph, value, derivative, context):
    """As in PyTorch, the sum is recorded if a term is, also under no_grad. The old gradient itself is not changed."""
    for dtype, shape, forward in product(["float32", "float64"], [(), (1,)], [lambda f, x: f(x), mg.recompute]):
        x = leaf(np.full(shape, 2.0), dtype)
        if before == "given":
            x.grad = mg.Tensor(np.full(shape, 7.0, dtype))
        elif before != "nothing":
            (x * x).backward(create_graph=before == "recorded")
        old = x.grad
        values = None if old is None else old.data.copy()
        out = forward(lambda x: x * x * x, x)
        with context():
            out.backward(create_graph=create_graph)
        assert (x.grad.item(), x.grad.dtype, x.grad.shape) == (value, np.dtype(dtype), shape)
        assert x.grad.requires_grad == (derivative is not None)
        if old is not None:
            np.testing.assert_array_equal(old.data, values)
            assert not np.shares_memory(x.grad.data, old.data)
        if derivative is not None:
            assert mg.grad(x.grad, x)[0].item() == derivative


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("shape", [(), (1,), (2,), (2, 1)])
def test_nothing_shares_memory_with_grad(create_graph, shape):
    """Neither the leaves' gradients among themselves, nor the gradient to start from, nor the data."""
    a, b, c, start = leaf(np.ones(shape)), leaf(np.ones(shape)), leaf(np.ones(shape)), np.full(shape, -7.0)
    for _ in range(2):  # the first is stored, the second is added
        (a + b.reshape(*shape) + (c + 0.0)).backward(start, create_graph=create_graph)
        c.backward(start, create_graph=create_graph)
        arrays = [start, *(array for x in (a, b, c) for array in (x.data, x.grad.data))]
        assert not any(np.shares_memory(p, q) for i, p in enumerate(arrays) for q in arrays[:i])
    for x, total in [(a, -14.0), (b, -14.0), (c, -28.0)]:
        np.testing.assert_array_equal(x.grad.data, np.full(shape, total), strict=True)
    np.testing.assert_array_equal(start, np.full(shape, -7.0), strict=True)


def remembering(shape, kept):
    """Return an operator whose rule makes an array of its own, and the place where it notes or keeps it."""
    notes = []

    @mg.operator
    def twice(x, /):
        return x * 2.0

    @twice.vjp
    def _(g):
        dx = np.full(shape, 2.0) * g
        notes.append(dx if kept else dx.ctypes.data)
        return dx

    return twice, notes


@pytest.mark.parametrize("shape", [(1,), (2, 3), (300, 1000)])
@pytest.mark.parametrize("kept", [False, True])
def test_a_gradient_that_nobody_else_holds_is_taken_over_and_others_are_copied(kept, shape):
    """Of two leaves with one gradient, only the last one may take it over."""
    twice, notes = remembering(shape, kept)
    x, w = leaf(np.ones(shape)), leaf(np.ones(shape))
    twice(x).backward(np.ones(shape))
    (dw,) = mg.grad(twice(w), w, np.ones(shape))
    for gradient, note in zip((x.grad, dw), notes, strict=True):
        np.testing.assert_array_equal(gradient.data, np.full(shape, 2.0), strict=True)
        if kept:
            assert not np.shares_memory(gradient.data, note)
        else:
            assert gradient.data.ctypes.data == note
    a, b = leaf(np.ones(shape)), leaf(np.ones(shape))
    twice(a + b).backward(np.ones(shape))
    assert not np.shares_memory(a.grad.data, b.grad.data)


@pytest.mark.parametrize("shape", [(1,), (2, 3), (300, 1000)])
@pytest.mark.parametrize("kept", [False, True])
def test_a_sum_is_made_in_the_first_gradient_if_nobody_else_holds_it(kept, shape):
    twice, notes = remembering(shape, kept)
    x, w = leaf(np.ones(shape)), leaf(np.ones(shape))
    (twice(x) + twice(x) + twice(x)).backward(np.ones(shape))
    (dw,) = mg.grad(twice(w) + twice(w) + twice(w), w, np.ones(shape))
    for gradient, first in ((x.grad, notes[0]), (dw, notes[3])):
        np.testing.assert_array_equal(gradient.data, np.full(shape, 6.0), strict=True)
        if kept:
            assert (first == 2.0).all()
        else:
            assert gradient.data.ctypes.data == first


def test_a_gradient_that_a_hook_was_shown_is_the_hooks_too():
    """Whether the hook keeps the Tensor that it was shown, or gives another one and keeps that."""
    for give in [lambda g: None, lambda g: mg.Tensor(g.data * 3.0)]:
        x, kept = leaf(np.ones(3)), []

        def hook(g, kept=kept, give=give):
            given = give(g)
            kept.append(g if given is None else given)
            return given

        x.hook(hook)
        (x * 2.0).sum().backward()
        assert not np.shares_memory(x.grad.data, kept[0].data)
        np.testing.assert_array_equal(x.grad.data, kept[0].data, strict=True)


def test_an_error_in_one_sum_changes_no_grad():
    """The sum of x.grad is inf - inf, after that of w has been computed."""
    w, x = leaf_of(1.0), leaf_of(1.0)
    x.grad = mg.Tensor(np.array([np.inf]))
    y = w + x
    with (
        mg.detect_anomaly(),
        np.errstate(invalid="ignore"),
        pytest.raises(FloatingPointError, match="add: made the fi"),
    ):
        y.backward(np.array([-np.inf]))
    assert w.grad is None
    assert x.grad.item() == np.inf


@pytest.mark.parametrize("given", ["float32", "shape", "fewer axes", "device"])
@pytest.mark.parametrize("held", [None, 7.0])
def test_a_gradient_of_another_kind_is_refused(given, held):
    x = leaf(np.ones((1, 2)))
    x.grad = None if held is None else mg.Tensor(np.full((1, 2), held))
    g = np.ones((1, 2))
    kinds = {"float32": g.astype("float32"), "shape": g.T, "fewer axes": g[0], "device": strict.asarray(g)}
    with pytest.raises(ValueError, match=r"grad: expected \(1, 2\) float64 on cpu, got "):
        x.grad = mg.Tensor(kinds[given])
    with pytest.raises(TypeError, match="grad: expected a Tensor or None, got "):
        x.grad = kinds[given]
    with pytest.raises(
        ValueError, match=r"backward: expected (a gradient of \(1, 2\) float64, got|the gradient to start from on cpu)"
    ):
        (x * 1.0).backward(kinds[given])
    assert (x.grad is None) == (held is None)
    assert held is None or np.all(x.grad.data == held)


# Rebinding ------------------------------------------------------------------------------------

REBOUND = {
    "another dtype": lambda: np.array([9.0], "float32"),
    "another shape": lambda: np.array([[9.0]]),
    "more elements": lambda: np.array([9.0, 9.0]),
    "another device": lambda: strict.asarray(np.array([9.0])),
}


def test_data_of_the_same_kind_gets_the_gradient_of_what_was_recorded_before():
    """The gradient is that at x = 2, in both orders; hooks stay."""
    x, seen = leaf_of(2.0), []
    x.hook(lambda g: seen.append(g.item()))
    (x * x).backward()
    y = x * x * x
    x.data = np.array([9.0])
    assert x.grad.item() == 4.0
    (dx,) = mg.grad(y, x, create_graph=True)
    y.backward(retain_graph=True)
    assert (dx.item(), mg.grad(dx, x)[0].item(), x.grad.item()) == (12.0, 12.0, 4.0 + 12.0)
    (x * x).backward()
    assert x.grad.item() == 16.0 + 18.0
    assert seen == [4.0, 12.0, 12.0, 12.0, 18.0]


@pytest.mark.parametrize("kind", REBOUND)
@pytest.mark.parametrize("create_graph", [False, True])
def test_data_of_another_kind_starts_anew_and_keeps_the_hooks(kind, create_graph):
    """The gradient of what was recorded before would not fit; a module that is moved or converted keeps its hooks."""
    x, seen = leaf_of(2.0), []
    x.hook(lambda g: seen.append("first"))
    x.hook(lambda g: (seen.append("second"), g * 10.0)[1])
    (x * x).backward(create_graph=create_graph)
    assert (x.grad.item(), seen) == (40.0, ["first", "second"])
    y = x * x * x
    x.data = REBOUND[kind]()
    assert x.grad is None
    with pytest.raises(RuntimeError, match=r"grad: inputs\[0\] of shape .* is not reached from the outputs"):
        mg.grad(y, x, retain_graph=True)
    y.backward()
    assert x.grad is None
    seen.clear()
    mg.sum(x * x).backward(create_graph=create_graph)
    assert seen == ["first", "second"]
    assert (x.grad.shape, x.grad.dtype, x.grad.device) == (x.shape, x.dtype, x.device)
    np.testing.assert_array_equal(x.grad.numpy(), np.full(x.shape, 180.0, x.dtype))


def test_hooks_that_are_added_after_rebinding_are_not_called_for_the_old_data():
    x, seen = leaf_of(2.0), []
    y = x * x
    x.data = np.array([9.0, 9.0])
    x.hook(lambda g: seen.append("new"))
    y.backward()
    assert seen == []
    mg.sum(x * 1.0).backward()
    assert seen == ["new"]


@pytest.mark.parametrize("kind", REBOUND)
def test_the_data_of_a_result_is_replaced_only_by_its_kind(kind):
    x = leaf_of(2.0)
    y = x * 3.0
    with pytest.raises(
        ValueError, match=r"data: expected \(1,\) float64 on cpu, as the operator returned it, got .*detach"
    ):
        y.data = REBOUND[kind]()
    assert y.item() == 6.0
    y.data = np.array([100.0])
    (y * y).backward()  # dy = 200
    assert x.grad.item() == 600.0
    z = (x * 3.0).detach()
    z.data = REBOUND[kind]()
    assert not z.requires_grad


# Refusals -------------------------------------------------------------------------------------

#: Changes that are refused, by the Tensors that refuse them; of a constant, an operator has recorded the array.
REFUSED = {
    "data of integers": ("leaf result", lambda x: setattr(x, "data", np.array([1, 2]))),
    "data of text": ("leaf result constant", lambda x: setattr(x, "data", ["a", "b"])),
    "data of another shape": ("result", lambda x: setattr(x, "data", np.ones(3))),
    "data of another dtype": ("result", lambda x: setattr(x, "data", np.ones(2, "float32"))),
    "data of another device": ("result", lambda x: setattr(x, "data", strict.asarray(np.ones(2)))),
    "grad of another shape": ("leaf", lambda x: setattr(x, "grad", mg.Tensor(np.ones(3)))),
    "grad of another dtype": ("leaf", lambda x: setattr(x, "grad", mg.Tensor(np.ones(2, "float32")))),
    "grad of another device": ("leaf", lambda x: setattr(x, "grad", mg.Tensor(strict.asarray(np.ones(2))))),
    "grad": ("result constant", lambda x: setattr(x, "grad", mg.Tensor(np.ones(2)))),
    "freezing": ("result", lambda x: setattr(x, "requires_grad", False)),
    "thawing": ("result integers", lambda x: setattr(x, "requires_grad", True)),
    "hook": ("constant integers", lambda x: x.hook(print)),
    "a write": ("leaf result constant", lambda x: x.__setitem__(0, 7.0)),
    "a write of a result": ("leaf result constant integers", lambda x: x.__setitem__(0, leaf_of(7.0) * 1.0)),
    "a move of a result": ("result", lambda x: x.to("cpu")),
    "a move to nowhere": ("leaf constant integers", lambda x: x.to("gpu")),
    "a start of another shape": ("leaf result", lambda x: x.backward(np.ones(3))),
    "a start of another dtype": ("leaf result", lambda x: x.backward(np.ones(2, "float32"))),
    "no start": ("leaf result", lambda x: x.backward()),
    "backward": ("constant integers", lambda x: x.backward(np.ones(2))),
}


@pytest.mark.parametrize("refused", REFUSED)
def test_what_is_refused_changes_nothing(refused):
    """Data, dtype, node, gradient, hooks, and whether it may be written into."""
    kinds, change = REFUSED[refused]
    for kind in kinds.split():
        w, seen = leaf_of(2.0, 3.0), []
        x = {
            "leaf": lambda w: w,
            "result": lambda w: w * 1.0,
            "constant": lambda w: w.detach(),
            "integers": lambda w: mg.Tensor(np.array([2, 3])),
        }[kind](w)
        out = (x * w).sum() if kind != "integers" else (w * w).sum()
        if x.requires_grad:
            x.hook(lambda g, seen=seen: seen.append(g.data.tolist()))
        w.grad = mg.Tensor(np.array([10.0, 20.0]))
        array, values = x.data, x.data.copy()
        with pytest.raises((TypeError, ValueError, RuntimeError)):
            change(x)
        assert x.data is array, kind
        np.testing.assert_array_equal(x.data, values, strict=True)
        assert (x.requires_grad, x.is_leaf) == (kind in ("leaf", "result"), kind != "result")
        assert (x.grad is w.grad) if kind == "leaf" else x.grad is None
        out.backward()
        factor = 1.0 if kind == "constant" else 2.0
        assert w.grad.data.tolist() == [10.0 + factor * 2.0, 20.0 + factor * 3.0]
        assert seen == {"leaf": [[4.0, 6.0]], "result": [[2.0, 3.0]]}.get(kind, [])


# Freezing -------------------------------------------------------------------------------------


def test_freezing_drops_gradient_and_hooks_and_thawing_starts_anew():
    x, w, seen = leaf_of(2.0), leaf_of(3.0), []
    x.hook(lambda g: seen.append(g.item()))
    before = x * w
    before.backward(retain_graph=True)
    x.requires_grad = True  # nothing changes
    assert (x.grad.item(), seen) == (3.0, [3.0])
    x.requires_grad = False
    assert (x.grad, x.is_leaf, x.requires_grad) == (None, True, False)
    w.grad = None
    (x * w).backward()
    assert (x.grad, w.grad.item(), seen) == (None, 2.0, [3.0])
    with pytest.raises(RuntimeError, match="hook: this Tensor requires no gradient"):
        x.hook(print)
    x.requires_grad = True
    before.backward()  # it leads to what x was
    assert (x.grad, w.grad.item()) == (None, 2.0 + 2.0)
    seen.clear()
    (x * w).backward()
    assert (x.grad.item(), seen) == (3.0, [])


# Copies ---------------------------------------------------------------------------------------


def test_a_deep_copy_of_a_leaf_is_another_leaf():
    for x in (leaf_of(2.0), nn.Parameter(np.array([2.0]))):
        seen = []
        x.hook(lambda g, seen=seen: seen.append(g.item()))
        (x * x).backward()
        other = copy.deepcopy(x)
        assert type(other) is type(x)
        assert (other.item(), other.grad.item(), other.requires_grad) == (2.0, 4.0, True)
        assert not np.shares_memory(other.data, x.data)
        assert not np.shares_memory(other.grad.data, x.grad.data)
        (other * other * other).backward()
        assert (x.grad.item(), other.grad.item(), seen) == (4.0, 16.0, [4.0, 12.0])
        with pytest.raises(RuntimeError, match="is not reached"):
            mg.grad(x * x, other)


@pytest.mark.parametrize("length", [1, 150])
@pytest.mark.parametrize("f", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_result_is_not_copied_with_its_tape(f, length):
    """As in PyTorch: the tape of a net is deeper than Python's recursion, and its operators cannot be pickled."""
    x = y = leaf_of(2.0)
    for _ in range(length):
        y = y * 1.0
    layer = mg.nn.Identity()
    layer.seen = y
    for held in [y] if f is copy.copy else [y, [x, y], layer]:
        with pytest.raises(RuntimeError, match=r"an operator's result cannot be copied or pickled.*\.detach\(\)"):
            f(held)
    (y * y).backward(create_graph=True)
    with (
        pytest.raises(RuntimeError, match="an operator's result cannot be copied")
        if f is not copy.copy
        else nullcontext()
    ):
        f(x)  # its gradient is the result of an operator
    layer.seen = y.detach()
    x.grad = None
    assert f(layer) is not None
    assert f(x) is not None


def test_a_leaf_and_a_constant_are_pickled_with_their_gradient():
    x, constant = leaf_of(2.0), mg.Tensor([1.0, 2.0])
    (x * x).backward()
    other, array = pickle.loads(pickle.dumps((x, constant)))
    assert (other.item(), other.dtype, other.grad.item(), other.requires_grad) == (2.0, np.float64, 4.0, True)
    np.testing.assert_array_equal(array.data, np.array([1.0, 2.0], "float32"), strict=True)
    assert not array.requires_grad
    (other * other).backward()
    assert (other.grad.item(), x.grad.item()) == (8.0, 4.0)


def test_a_shallow_copy_is_another_name_for_the_leaf():
    x = leaf_of(2.0)
    other = copy.copy(x)
    (other * x).backward()
    assert (x.grad.item(), other.grad is x.grad) == (4.0, True)
    other.data = np.array([9.0, 9.0])
    assert (x.item(), x.grad.item(), other.grad) == (2.0, 4.0, None)
