"""The generic tests in tests/ops are tests of operators: each must fail for a faulty one.

A test is called as pytest calls it, once for the operator as it is and once with a fault planted: it must pass, then
fail. Faults are small, and sit in one input, in the last element, in one run of several, or on one number of threads.
"""

import importlib
import inspect

import numpy as np
import pytest

import minigrad as mg
from minigrad.autograd.operator import Operator
from minigrad.device import namespace
from tests.checks.test_planted import OPERATORS
from tests.ops import test_again, test_many_blocks, test_offset
from tests.ops import test_every_operator as suite
from tests.records import RECORDS

#: A relative error that is just above the tolerance of tests that compare to 1e-12 or 1e-11.
LITTLE = 1 + 1e-10


def last(d, factor=LITTLE):
    """Make the last element of an array wrong."""
    d = namespace(d).array(d)
    d[(-1,) * d.ndim] = d[(-1,) * d.ndim] * factor
    return d


class Value:
    """The value of an operator is wrong, when a condition on the input arrays holds."""

    def __init__(self, when=lambda *arrays: True, fault=last):
        self.when, self.fault = when, fault

    def plant(self, monkeypatch, op):
        right = op.forward

        def wrong(*arrays, **settings):
            out = right(*arrays, **settings)
            if not self.when(*arrays):
                return out
            return (self.fault(out[0]), *out[1:]) if isinstance(out, tuple) else self.fault(out)

        monkeypatch.setattr(op, "forward", wrong)


class Gradient:
    """The gradient of the last input that is needed is wrong, when a condition on cotangent and need holds."""

    def __init__(self, when=lambda g, need: True, fault=last):
        self.when, self.fault = when, fault

    def plant(self, monkeypatch, op):
        def wrong(this, g, need, *rest):
            gradients = list(right(this, g, need, *rest))
            if this is op and self.when(g, need):
                slot = max(i for i, d in enumerate(gradients) if d is not None)
                gradients[slot] = self.fault(gradients[slot])
            return gradients

        right = Operator.pull
        monkeypatch.setattr(Operator, "pull", wrong)


class Wasteful:
    """A rule computes a gradient that nobody needs."""

    def plant(self, monkeypatch, op):
        def wrong(this, g, need, *rest):
            return [g if d is None and this is op else d for d in right(this, g, need, *rest)]

        right = Operator.pull
        monkeypatch.setattr(Operator, "pull", wrong)


def once(n):
    """Say yes at the n-th call only."""
    calls = []
    return lambda *_: (calls.append(0), len(calls) == n)[1]


def plain(g, need=None):
    """Say whether a rule is applied to an array: not in a replay that is recorded."""
    return not isinstance(g, mg.Tensor)


def on_threads(n):
    return lambda *_: mg.get_num_threads() == n


def zero_strides(*arrays):
    return any(0 in x.strides for x in arrays if isinstance(x, np.ndarray))


def not_contiguous(*arrays):
    return not arrays[-1].flags.c_contiguous


def away(*arrays):
    return not isinstance(arrays[-1], np.ndarray)


def bit(d):
    """Make the last element wrong by one bit."""
    d = np.array(d)
    d[(-1,) * d.ndim] = np.nextafter(d[(-1,) * d.ndim], d.dtype.type(np.inf))
    return d


def float32(*arrays):
    return arrays[0].dtype == "float32"


def moved(d):
    """Move the last element, which may be 0, by a hundredth."""
    d = np.array(d)
    d[(-1,) * d.ndim] += 0.01
    return d


def to_host_and_back(d):
    """Leave the value as it is, but wait for it."""
    float(d.ravel()[0])
    return d


#: (name of the test, operator, fault): the test runs over one sample, or one large call.
FAULTS = {
    ("value_is_that_of_the_definition", "mul"): [Value(), Value(once(2))],
    ("value_is_that_of_scipy", "logsumexp"): [Value()],
    ("complex_step", "exp"): [Gradient()],
    ("adjoint", "mul"): [Gradient(fault=lambda d: d * LITTLE)],
    ("each_gradient_alone_is_the_one_among_all_and_the_others_are_not_computed", "conv2d"): [
        *(Gradient(lambda g, need, i=i: need == tuple(j == i for j in range(3))) for i in range(3)),
        *(Gradient(lambda g, need, i=i: need == tuple(j != i for j in range(3))) for i in range(3)),
        Gradient(lambda g, need: all(need)),
        Wasteful(),
    ],
    ("a_gradient_that_is_recorded_alone_depends_on_every_input", "mul"): [
        Gradient(lambda g, need: not plain(g) and sum(need) == 1, lambda d: d * LITTLE**10)
    ],
    ("complex_gradients_of_a_fused_operator_are_those_of_its_twin", "conv2d"): [
        Gradient(lambda g, need: plain(g) and g.dtype.kind == "c", np.conj)
    ],
    ("bytes_in_the_other_order_are_the_same_numbers", "mul"): [Value(lambda *arrays: not arrays[0].dtype.isnative)],
    ("the_gradients_of_a_fused_operator_are_those_of_its_twin", "batch_norm"): [Gradient(lambda g, need: plain(g))],
    ("each_choice_of_gradients_of_a_fused_operator_is_recorded", "batch_norm"): [Gradient(lambda g, need: plain(g))],
    ("axes_without_elements", "sum"): [Value(fault=lambda out: out + 1)],
    ("axes_without_elements", "conv2d"): [Gradient(fault=lambda d: d + 1.0)],
    ("the_slope_at_a_kink_is_the_one_that_the_docstring_promises", "relu"): [Gradient(fault=lambda d: d - 1e-12)],
    ("views_and_strides_do_not_matter", "mul"): [
        Value(not_contiguous),
        Value(lambda a, b: not a.flags.c_contiguous),
        Gradient(lambda g, need: not g.flags.c_contiguous),
    ],
    ("inputs_may_repeat_one_element_in_memory", "mul"): [
        Value(zero_strides),
        Gradient(lambda g, need: zero_strides(g), lambda d: last(d, 1 + 1e-7)),
    ],
    ("the_strict_double_gives_the_same", "mul"): [
        Value(away),
        Gradient(lambda g, need: away(g)),
        Value(away, to_host_and_back),
        Gradient(lambda g, need: away(g), to_host_and_back),
    ],
}

#: The same for tests of other files.
MORE_FAULTS = {
    (test_many_blocks, "many_small_blocks_are_bit_equal_on_1_to_9_threads", "relu"): [
        *(Value(on_threads(n), bit) for n in range(1, 10)),
        *(Gradient(on_threads(n), bit) for n in range(1, 10)),
    ],
    (test_many_blocks, "value_and_gradients_of_many_small_blocks", "conv2d"): [
        Value(),
        *(Gradient(lambda g, need, i=i: need == tuple(j == i for j in range(3))) for i in range(3)),
        *(Gradient(lambda g, need, i=i: need == tuple(j != i for j in range(3))) for i in range(3)),
        Gradient(lambda g, need: all(need)),
    ],
    (test_many_blocks, "value_and_gradients_of_large_calls_in_float32", "relu"): [
        Value(fault=moved),
        Gradient(fault=moved),
    ],
    (test_again, "run_twice_and_backward_twice", "mul"): [
        Value(once(2), bit),
        *(Gradient(once(n)) for n in (1, 3, 5, 6, 7)),
    ],
    (test_again, "two_calls_in_one_graph_share_no_memory", "mul"): [Gradient(once(n)) for n in (1, 2, 3, 4)],
    (test_again, "inputs_edited_in_place_between_calls", "mul"): [
        *(Value(once(n), bit) for n in (3, 4, 5, 6)),
        *(Gradient(once(n), bit) for n in (2, 3)),
    ],
    (test_offset, "float32_around_an_offset_of_10_000", "batch_norm"): [
        Value(float32, moved),
        Gradient(lambda g, need: float32(g), moved),
    ],
}

#: Tests that are shown to fail elsewhere, or that assert an error of a call.
ELSEWHERE = {
    "check": "tests/checks/test_planted.py",
    "layout_in_memory_does_not_matter": "below",
    "settings_do_not_promote": "below",
    "settings_that_are_arrays_without_axes_do_not_promote": "below",
    "a_hook_of_an_input_is_called_once": "below",
    "a_list_is_no_array": "below",
    "a_mistake_is_explained": "an error is asserted",
    "what_just_fits_is_taken": "that there is no error is asserted",
}

CASES = [
    pytest.param(module, test, name, fault, i == 0, id=f"{test}-{name}-{i}")
    for (module, test, name), faults in ({(suite, *key): value for key, value in FAULTS.items()} | MORE_FAULTS).items()
    for i, fault in enumerate(faults)
]


def calls_of(function, name):
    """List the arguments that pytest would call a test with, for one operator, in dicts by name."""
    others = {}
    for mark in (mark for mark in function.pytestmark if mark.name == "parametrize"):
        keys, values = mark.args
        if keys == "name":
            calls = [{"name": name}] if name in values else []
        elif "name" in keys:
            calls = [dict(zip(keys, p.values, strict=True)) for p in values if p.values[0] == name]
        else:
            others[keys] = values[0]
    return [call | others for call in calls]


@pytest.mark.parametrize(("module", "test", "name", "fault", "first"), CASES)
def test_a_generic_test_fails_for_a_faulty_operator(monkeypatch, module, test, name, fault, first):
    """For one sample that has all inputs, as large as any other."""
    function = getattr(module, f"test_{test}")
    calls = calls_of(function, name)
    assert calls, "nothing to run the test on"
    arguments = max(calls, key=lambda c: size(c.get("sample")))
    if "monkeypatch" in inspect.signature(function).parameters:
        arguments["monkeypatch"] = monkeypatch
    if first:
        function(**arguments)
    fault.plant(monkeypatch, OPERATORS[name])
    with pytest.raises(AssertionError):
        function(**arguments)


def size(sample):
    """Return how many inputs a sample has, and how many elements; large calls and kinks are all alike."""
    return (len(sample.inputs), sum(x.size for x in sample.inputs)) if sample else (0, 0)


def test_every_generic_test_is_shown_to_fail():
    """Whoever adds a generic test enters a fault here that it must see."""
    known = {test for test, _ in FAULTS} | set(ELSEWHERE)
    assert {name.removeprefix("test_") for name in dir(suite) if name.startswith("test_")} == known


@pytest.mark.parametrize("fault", [Value(not_contiguous), Gradient(lambda g, need: not g.flags.c_contiguous)])
def test_layout_is_drawn_for_every_operator(monkeypatch, fault):
    fault.plant(monkeypatch, OPERATORS["tanh"])
    with pytest.raises(AssertionError):
        suite.test_layout_in_memory_does_not_matter("tanh")


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.float16])
def test_a_setting_that_is_a_numpy_scalar_is_seen_to_change_the_result(kind):
    """By a ten-thousandth, in the value alone or in the gradient."""

    def call(factor):
        return lambda given, x: x * (1.0 if given is float else factor)

    suite.test_settings_do_not_promote("mul", call(1.0), kind)
    with pytest.raises(AssertionError):
        suite.test_settings_do_not_promote("mul", call(1.0001), kind)
    suite.test_settings_that_are_arrays_without_axes_do_not_promote("mul", call(1.0))
    with pytest.raises(AssertionError):
        suite.test_settings_that_are_arrays_without_axes_do_not_promote("mul", call(1.0001))


def test_a_hook_that_a_twin_calls_is_seen(monkeypatch):
    """The twin is run on copies of the inputs; here, on the inputs."""
    monkeypatch.setattr(importlib.import_module("minigrad.autograd.backward"), "copy", lambda x: x)
    with pytest.raises(AssertionError):
        suite.test_a_hook_of_an_input_is_called_once("conv2d", next(iter(RECORDS["conv2d"].samples.values())))


@pytest.mark.parametrize("k", [0, 1, -1])
@pytest.mark.parametrize("slot", [0, 1])
def test_a_list_is_tried_for_every_sample_and_input(monkeypatch, k, slot):
    """An operator that takes a list as one input, for the shape of its k-th sample."""
    right = mg.conv2d
    sample = [s for s in RECORDS["conv2d"].samples.values() if all(x.size for x in s.inputs)][k]

    def lenient(*inputs, **settings):
        if type(inputs[slot]) is list and np.shape(inputs[slot]) == sample.inputs[slot].shape:
            inputs = [np.asarray(x) for x in inputs]
        return right(*inputs, **settings)

    monkeypatch.setattr(mg, "conv2d", lenient)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        suite.test_a_list_is_no_array("conv2d")
