"""A second time: the same call, the same tape, other calls in between, arguments overwritten; all equal to the bit."""

import inspect
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.ops import shape
from tests.records import RECORDS, every, every_sample
from tests.tools.again import LAYERS, bits, captured, copied, forward_and_backward, overwrite, small_net, table, trained
from tests.tools.compare import cotangent, leaf, leaves, same

ROOT = Path(__file__).parents[2]

#: Annotations of parameters whose values the caller cannot overwrite, or that are inputs.
NOT_OVERWRITTEN = {"TensorOrArray", "Tensor | Array", "TensorOrArray | None", "IntOrPair", "IntOrPair | None", "bool"}
NOT_OVERWRITTEN |= {"int", "float", "float | None", "Axis", "Shape", "int | tuple[int, ...]", "tuple[int, ...] | None"}
NOT_OVERWRITTEN |= {"int | Shape", "Padding", "int | None", "str"}


def test_equal_to_another_process_that_makes_all_calls_in_reversed_order():
    """Nothing depends on what ran before: calls of other shapes and dtypes, arrays at the same address."""
    command = [sys.executable, "-m", "tests.tools.again"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        ours = table()
        theirs = json.loads(child.communicate()[0])
    assert len(ours) > 2 * sum(len(record.samples) for record in RECORDS.values())
    assert [name for name in ours if ours[name] != theirs[name]] == []
    assert ours.keys() == theirs.keys()


@pytest.mark.parametrize(("name", "sample"), every_sample())
def test_run_twice_and_backward_twice(name, sample):
    """The same tape gives the same gradients again, and no later call, of these or other numbers, changes the first."""
    f, inputs = sample.function(name), leaves(sample)
    out = f(*inputs)
    g = cotangent(out)
    first = mg.grad(out, inputs, g, retain_graph=True)
    held = [*inputs, out, mg.Tensor(g), *first]
    before = bits(held)
    recorded = bits(mg.grad(out, inputs, g, create_graph=True))
    assert bits(mg.grad(out, inputs, g, retain_graph=True)) == bits(first)
    assert bits(mg.grad(out, inputs, g, create_graph=True)) == recorded
    assert bits(forward_and_backward(f, inputs)) == bits([out, *first])
    for _ in range(2):
        out.backward(g, retain_graph=True)
    assert bits(x.grad for x in inputs) == bits(d + d for d in first)
    forward_and_backward(f, [leaf(x.data * 1.25) for x in inputs])
    assert bits(held) == before


@pytest.mark.parametrize(("name", "sample"), every_sample())
def test_a_tape_is_released_by_its_replay(name, sample):
    """Also that of an operator which stores nothing: its gradients could be computed a second time."""
    inputs = leaves(sample)
    replays = [lambda out, g: mg.grad(out, inputs, g), mg.Tensor.backward]
    for first in replays:
        out = sample.apply(getattr(mg, name), inputs)
        if out is inputs[0]:  # dropout in evaluation
            return
        g = cotangent(out)
        first(out, g)
        for second in replays:
            with pytest.raises(RuntimeError, match="the tape was released by an earlier"):
                second(out, g)


@pytest.mark.parametrize(("name", "sample"), every_sample())
def test_two_calls_in_one_graph_share_no_memory(name, sample):
    """Their gradients are added up: the second may not be written over the first."""
    f, inputs = sample.function(name), leaves(sample)
    outs = [f(*inputs), f(*inputs)]
    cotangents = [cotangent(outs[0], seed) for seed in (0, 1)]
    one, other = (mg.grad(out, inputs, g, retain_graph=True) for out, g in zip(outs, cotangents, strict=True))
    for both, a, b in zip(mg.grad(outs, inputs, cotangents), one, other, strict=True):
        same(both, a.data + b.data, rtol=1e-13, atol=1e-13)  # some are added up in another order


@pytest.mark.parametrize(("name", "sample"), every_sample())
def test_inputs_edited_in_place_between_calls(name, sample):
    """The arrays stay where they are, and hold other numbers: a result that was stored by address would be an old one.

    The second call is one without a tape: it may take another way.
    """
    f, inputs = sample.function(name), leaves(sample)
    forward_and_backward(f, inputs)
    with mg.no_grad():
        f(*inputs)
    for x in inputs:
        x.data[...] *= 1.25
    edited = [leaf(x.data.copy()) for x in inputs]
    with mg.no_grad():
        assert bits([f(*inputs)]) == bits([f(*edited)])
    assert bits(forward_and_backward(f, inputs)) == bits(forward_and_backward(f, edited))


def can_be_overwritten(_, sample):
    args, settings = captured(sample, leaves(sample))
    return any([overwrite(value) for value in (*args, *settings.values())])


@pytest.mark.parametrize(("name", "sample"), every_sample(can_be_overwritten))
@pytest.mark.parametrize("create_graph", [False, True], ids=["backward", "create_graph"])
def test_settings_overwritten_between_forward_and_backward(create_graph, name, sample):
    """Labels, indices, conditions, running statistics and lists belong to the caller, and may be overwritten."""
    results = []
    for overwritten in (False, True):
        inputs = leaves(sample)
        args, settings = captured(sample, inputs)
        out = getattr(mg, name)(*args, **settings)
        value = bits([out])
        if overwritten:
            assert any([overwrite(a) for a in (*args, *settings.values())])
        gradients = mg.grad(out, inputs, cotangent(out), create_graph=create_graph)
        if create_graph:
            again = [*(d for d in gradients if d.requires_grad), *inputs]  # where it is linear: inputs alone
            gradients += mg.grad(again, inputs, [cotangent(d, 2) for d in again])
        assert bits([out]) == value
        results.append([*value, *bits(gradients)])
    assert results[0] == results[1]


def read_only(value):
    """Return a view of an array, into which nobody can write: what it shows can still be overwritten."""
    if not isinstance(value, np.ndarray):
        return value
    view = value.view()
    view.flags.writeable = False
    return view


@pytest.mark.parametrize(("name", "sample"), every_sample(can_be_overwritten))
@pytest.mark.parametrize("view", [False, True], ids=["arrays", "read-only views"])
def test_settings_overwritten_where_one_input_alone_wants_a_gradient(view, name, sample):
    """Whichever it is. A view that is read-only may still change."""
    for wanted in range(len(sample.inputs)):
        results = []
        for overwritten in (False, True):
            inputs = [mg.Tensor(x.copy(), requires_grad=i == wanted) for i, x in enumerate(sample.inputs)]
            args, settings = captured(sample, inputs)
            if view and settings.get("training"):  # running statistics are written
                return
            given = [[*map(read_only, args)], {key: read_only(value) for key, value in settings.items()}]
            out = getattr(mg, name)(*(given[0] if view else args), **(given[1] if view else settings))
            if overwritten:
                assert any([overwrite(a) for a in (*args, *settings.values())])
            results.append(bits([out, *mg.grad(out, inputs[wanted], cotangent(out))]))
        assert results[0] == results[1], wanted


def has_large_settings(_, large):
    if large.numbers > 1_000_000:
        return False
    args, settings = captured(large.sample(), [leaf(x) for x in large.sample().inputs])
    return any(isinstance(value, np.ndarray) and value.size > 1 << 16 for value in (*args, *settings.values()))


@pytest.mark.parametrize(("name", "large"), [p for p in every("large") if has_large_settings(*p.values)])
def test_large_settings_are_copied_too(name, large):
    """Labels, indices and conditions of more than 65,536 elements, overwritten as the small ones above."""
    results = []
    for overwritten in (False, True):
        inputs = [leaf(x) for x in large.sample().inputs]
        args, settings = captured(large.sample(), inputs)
        out = getattr(mg, name)(*args, **settings)
        if overwritten:
            assert any([overwrite(a) for a in (*args, *settings.values())])
        results.append(bits([out, *mg.grad(out, inputs, cotangent(out))]))
    assert results[0] == results[1]


@pytest.mark.parametrize("name", RECORDS)
def test_a_setting_that_can_be_overwritten_is_in_a_sample(name):
    """Otherwise it would not be overwritten above: give a sample in which it is an array."""
    parameters = inspect.signature(getattr(mg, name)).parameters.values()
    wanted = {p.name for p in parameters if p.annotation not in NOT_OVERWRITTEN}
    for sample in RECORDS[name].samples.values():
        args, settings = captured(sample, leaves(sample))
        given = inspect.signature(getattr(mg, name)).bind(*args, **settings).arguments
        wanted -= {key for key, value in given.items() if isinstance(value, mg.Tensor) or overwrite(value)}
    assert not wanted, f"{name}: no sample in which {sorted(wanted)} is an array or a list"


@pytest.mark.parametrize("recorded", [True, False], ids=["recorded", "no_grad"])
@pytest.mark.parametrize(
    "index",
    [np.array([True, False, True]), (np.array([False, True, True]), 1), ([[0, 2], [1, 1]],), [[2], [0]], np.array(1)],
    ids=["mask", "mask-of-rows", "lists-in-a-tuple", "lists", "0-d"],
)
def test_an_index_is_copied_where_a_gradient_is_wanted(index, recorded):
    """A mask is no sample: to count its elements, a device would have to be waited for. Without a tape: no copy."""
    x = leaf(np.arange(12.0).reshape(3, 4))
    (kept,) = copied([index])
    if not recorded:
        assert shape.unshared(index, x.detach(), 0.0) is index
        with mg.no_grad():
            assert shape.unshared(index, x) is index
        return
    out = x[index]
    overwrite(index)
    expected = np.zeros((3, 4))
    np.add.at(expected, kept, cotangent(out))
    assert bits(mg.grad(out, x, cotangent(out))) == bits([expected])


# Layers and training -------------------------------------------------------------------------


def test_every_layer_is_in_the_table():
    kinds = {name for name in nn.__all__ if isinstance(getattr(nn, name), type)}
    assert LAYERS.keys() | {"Buffer", "Embedding", "Parameter", "Module", "Sequential", "Unmatched"} == kinds


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_statistics_and_labels_overwritten_between_forward_and_backward(training):
    results = []
    for overwritten in (False, True):
        net = small_net("float64").train(training)
        labels = np.array([0, 1, 2, 3, 4, 0])
        x = leaf(np.random.default_rng(0).standard_normal((6, 8, 8, 3)))
        loss = mg.cross_entropy(net(x), labels)
        if overwritten:
            for array in (labels, net[1].running_mean.data, net[1].running_var.data):
                overwrite(array)
        loss.backward()
        results.append(bits([loss, x.grad, *(p.grad for p in net.parameters())]))
    assert results[0] == results[1]


@pytest.mark.parametrize("settings", [{"momentum": 0.0}, {}, {"nesterov": True}, {"weight_decay": 0.01}], ids=str)
def test_training_on_arrays_that_are_overwritten(settings):
    """Images, labels and gradients may be overwritten as soon as the step that uses them is done."""

    def disturb(*arrays):
        for array in arrays:
            overwrite(array)

    assert bits(trained("float32", disturb=disturb, **settings)) == bits(trained("float32", **settings))


@pytest.mark.parametrize("settings", [{"momentum": 0.0}, {}, {"nesterov": True}, {"weight_decay": 0.01}], ids=str)
def test_a_step_leaves_the_gradients_as_they_are(settings):
    p = leaf(np.arange(3.0))
    sgd = mg.optim.SGD([p], 0.1, **settings)
    p.grad = mg.Tensor(np.array([1.0, -2.0, 3.0]))
    before = bits([p.grad])
    for _ in range(3):
        sgd.step()
    assert bits([p.grad]) == before
    assert not any(np.shares_memory(p.grad.data, v) for v in (*sgd.state[p].values(), p.data))
