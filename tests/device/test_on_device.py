"""The device suite is a suite of tests: it fails for an operator that is wrong on the device, or that waits for it."""

import sys

import numpy as np
import pytest

import minigrad as mg
from tests.checks.test_generic import Gradient, Value, away, last, plain, to_host_and_back
from tests.checks.test_planted import OPERATORS
from tests.device.on_device import close
from tests.device.test_dispatch import TestDouble as Double
from tests.records import RECORDS
from tests.tools.strict import strict

SAMPLE = max(RECORDS["conv2d"].samples.values(), key=lambda s: len(s.inputs))


@pytest.fixture(autouse=True)
def double(monkeypatch):
    """Let the double be found under CuPy's name."""
    monkeypatch.setitem(sys.modules, "cupy", strict)


def little(d):
    """Make the last element wrong by ten times the tolerance of the double."""
    return last(d, 1 + 1e-10)


def by_definition(op, when):
    """Return a twin that is wrong in its gradients, when a condition on its first input holds."""
    right = op.twin_function

    @mg.operator
    def passed_on(x, /):
        return x * 1.0

    passed_on.vjp(lambda g: g * (1 + 1e-9))
    return lambda x, *rest, **settings: right(passed_on(x) if when(x.data) else x, *rest, **settings)


@pytest.mark.parametrize(
    "fault",
    [Value(away, little), Gradient(lambda g, need: away(g) and plain(g), little), Value(away, to_host_and_back)],
    ids=["value", "gradient", "a wait"],
)
def test_a_fault_on_the_device(monkeypatch, fault):
    Double().test_operator("conv2d", SAMPLE)
    fault.plant(monkeypatch, OPERATORS["conv2d"])
    with pytest.raises(AssertionError):
        Double().test_operator("conv2d", SAMPLE)


@pytest.mark.parametrize("when", [away, lambda x: True], ids=["on the device", "on both"])
def test_recorded_and_plain_gradients_are_compared(monkeypatch, when):
    """Also where device and host agree in the fault."""
    op = OPERATORS["conv2d"]
    monkeypatch.setattr(op, "twin_function", by_definition(op, when))
    with pytest.raises(AssertionError, match="recorded and plain gradients"):
        Double().test_operator("conv2d", SAMPLE)


def test_an_operator_of_arrays_of_the_host_is_no_operator_of_the_device(monkeypatch):
    """Values and gradients are right, but on the host."""
    monkeypatch.setattr(mg, "exp", lambda x: exp(x.to("cpu")))
    exp = mg.exp
    sample = next(iter(RECORDS["exp"].samples.values()))
    with pytest.raises((AssertionError, RuntimeError)):
        Double().test_operator("exp", sample)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("name", ["first", "last"])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 100.0])
def test_states_are_compared_everywhere(name, sign, scale):
    """In proportion to the largest element of each array, or to 1."""
    here = {"first": np.array([0.5, -1.0]) * scale, "last": np.array([[1.0], [0.5]]) * scale}
    for share, passes in ((0.5, True), (2.0, False)):
        there = {key: value.copy() for key, value in here.items()}
        there[name].flat[-1] += sign * share * 1e-9 * max(1.0, scale)
        if passes:
            close(there, here, 1e-9)
            continue
        with pytest.raises(AssertionError, match=name):
            close(there, here, 1e-9)
    with pytest.raises(AssertionError):
        close({"first": here["first"]}, here, 1e-9)
    with pytest.raises(AssertionError):
        close(here | {name: here[name].astype("float32")}, here, 1.0)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 100.0])
def test_results_are_compared_everywhere(sign, scale):
    x = np.array([[0.5, -1.0], [0.25, 0.5]]) * scale
    suite = Double()
    for share, passes in ((0.5, True), (2.0, False)):
        y = x.copy()
        y[-1, -1] += sign * share * suite.tolerance * max(1.0, scale)
        if passes:
            suite.same(mg.Tensor(y), mg.Tensor(x), "mine")
            continue
        with pytest.raises(AssertionError, match="mine"):
            suite.same(mg.Tensor(y), mg.Tensor(x), "mine")
    for other in (x.astype("float32"), x[0], x * np.nan):
        with pytest.raises(AssertionError):
            suite.same(mg.Tensor(other), mg.Tensor(x), "mine")
    with pytest.raises(AssertionError):
        suite.same(mg.Tensor(x * np.nan), mg.Tensor(x * np.nan), "mine")


@pytest.mark.parametrize(("expected", "transfers"), [(0, 1), (1, 0), (3, 2), (3, 4)])
def test_waits_are_counted_exactly(expected, transfers):
    def wait(count):
        with Double().waits(expected):
            for _ in range(count):
                strict.ones(3).get()

    wait(expected)
    with pytest.raises(AssertionError):
        wait(transfers)
