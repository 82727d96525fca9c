"""What grad takes and returns: every combination of outputs, inputs and gradients to start from; empty arrays; orders.

All numbers in the tables were worked out by hand.
"""

from contextlib import nullcontext
from itertools import product
from typing import NamedTuple

import numpy as np
import pytest

import minigrad as mg
from tests.tools.compare import leaf
from tests.tools.forwards import FORWARDS

# Outputs, inputs and starts --------------------------------------------------------------------


CONTEXTS = [mg.no_grad, nullcontext, mg.detect_anomaly]


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


def small_graph(forward="direct", shape=(1,), hooks=True):
    seen, tensors = [], {"x": leaf(np.full(shape, 2.0)), "z": leaf(np.full(shape, 3.0))}

    def f(x):
        y = x * x
        return y, y * tensors["z"]

    tensors["y"], tensors["w"] = FORWARDS[forward](f, tensors["x"])
    tensors["v"] = tensors["z"] * tensors["z"]
    for name, tensor in tensors.items() if hooks else ():
        tensor.hook(lambda g, name=name: seen.append(name))
    return tensors, seen


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.outputs or 'no'} in {call.inputs or 'nothing'}")
def test_outputs_and_inputs_of_grad(call):
    """No gradient shares memory with another or with what was given: hooks would hide it, which cause copies."""
    settings = product([False, True], [None, False, True], CONTEXTS, FORWARDS, [(), (1,)], [False, True])
    for create_graph, retain_graph, context, forward, shape, hooks in settings:
        tensors, seen = small_graph(forward, shape, hooks)
        outputs, inputs = ([tensors[name] for name in names] for names in (call.outputs, call.inputs))
        starts = call.starts and [None if g is None else mg.Tensor(np.full(shape, g)) for g in call.starts]
        kept = create_graph if retain_graph is None else retain_graph
        for _ in range(2 if kept else 1):
            seen.clear()
            with context():
                result = mg.grad(outputs, inputs, starts, create_graph=create_graph, retain_graph=retain_graph)
            assert type(result) is tuple
            assert [d.item() for d in result] == call.expected
            assert all((d.shape, d.dtype) == (shape, np.float64) for d in result)
            arrays = [a.data for a in [*result, *tensors.values(), *(starts or [])] if a is not None]
            assert not any(np.shares_memory(a, b) for i, a in enumerate(arrays) for b in arrays[:i])
            assert "".join(seen) == (call.hooks if hooks else "")
            assert all(tensor.grad is None for tensor in tensors.values())


@pytest.mark.parametrize(("outputs", "inputs", "which"), UNREACHED)
@pytest.mark.parametrize("create_graph", [False, True])
def test_an_input_beside_the_path_is_named(outputs, inputs, which, create_graph):
    tensors, _ = small_graph()
    with pytest.raises(RuntimeError, match=rf"grad: inputs\[{which}\] of shape \(1,\) is not reached from the outputs"):
        mg.grad([tensors[o] for o in outputs], [tensors[i] for i in inputs], create_graph=create_graph)
    assert all(tensor.grad is None for tensor in tensors.values())


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_call_that_is_refused_leaves_the_tape_as_it_is(create_graph):
    """The same gradients can be asked for afterwards, without those that cannot be had."""
    for outputs, inputs, _ in UNREACHED:
        tensors, seen = small_graph()
        asked = [tensors[o] for o in outputs]
        with pytest.raises(RuntimeError, match="is not reached"):
            mg.grad(asked, [tensors[i] for i in inputs], create_graph=create_graph)
        assert seen == []
        for output in asked:
            output.backward(retain_graph=True)


def test_an_input_that_requires_no_gradient_is_named():
    tensors, seen = small_graph()
    for place in range(3):
        inputs = [tensors["x"]] * 3
        inputs[place] = mg.Tensor(np.ones(1))
        with pytest.raises(RuntimeError, match=rf"grad: inputs\[{place}\] of shape \(1,\) requires no gradient"):
            mg.grad(tensors["w"], inputs)
    assert seen == []


def test_each_of_many_inputs_of_one_operator_is_reached():
    """Also through results: of 12 parts, the k-th is weighted by k."""
    leaves = [leaf([1.0]) for _ in range(12)]
    out = (mg.concatenate([x * 2.0 for x in leaves]) * np.arange(12.0)).sum()
    for create_graph in (False, True):
        for k, x in enumerate(leaves):
            assert mg.grad(out, x, create_graph=create_graph, retain_graph=True)[0].item() == 2.0 * k
        assert [d.item() for d in mg.grad(out, leaves[::-1], retain_graph=True)] == [2.0 * k for k in range(12)][::-1]


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


def test_an_input_whose_own_tape_was_released_ends_the_path():
    """What y was computed from is not needed for a gradient with respect to y."""
    x = mg.Tensor(np.array([2.0, 3.0]), requires_grad=True)
    y = x * x
    y.sum().backward()
    for z, expected in [((y * 3.0).sum(), [3.0, 3.0]), ((y * y).sum(), [8.0, 18.0]), (y.sum() + 1.0, [1.0, 1.0])]:
        (dy,) = mg.grad(z, y)
        np.testing.assert_array_equal(dy.data, np.array(expected), strict=True)
    np.testing.assert_array_equal(mg.grad(y, y, np.array([5.0, 6.0]))[0].data, np.array([5.0, 6.0]), strict=True)
    with pytest.raises(RuntimeError, match="mul: the tape was released"):
        mg.grad((y * 3.0).sum(), x)
    with pytest.raises(
        RuntimeError, match=r"inputs\[1\] of shape \(2,\) is not reached .* or the tape between was rel"
    ):
        mg.grad((y * 3.0).sum(), [y, x])


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
