"""Rules and forward functions that are wrong now and then: once, in one dtype, on three threads, by little.

As in test_planted.py, every rule of every operator is made wrong, and the check that is to see it must see it.
"""

import numpy as np
import pytest

import minigrad as mg
from tests.checks.test_planted import IN_RULES, OPERATORS, RULES, THROUGH, caught, plant

#: Operators that the records run.
FORWARDS = [name for name in OPERATORS if name not in IN_RULES]


def next_bit(d, place=-1):
    """Change one element to the next larger number."""
    d = np.array(d)
    if d.size:
        d.flat[place] = np.nextafter(d.flat[place], np.inf)
    return d


def first_off(d):
    """Make the first element wrong by a thousandth of the largest."""
    d = np.array(d)
    if d.size:
        d.flat[0] += 1e-3 * np.abs(d).max() + 1e-3
    return d


class Drifts:
    """Multiply by 1 at first, and by a little more at each call: by a bit for each."""

    def __init__(self):
        self.calls = 0

    def __call__(self, d):
        self.calls += 1
        return d * (1 + (self.calls - 1) * 2.3e-16)


@pytest.mark.parametrize(("name", "slot"), RULES)
def test_a_rule_wrong_by_a_ten_thousandth_is_caught_by_taylor(monkeypatch, name, slot):
    plant(monkeypatch, name, slot, lambda d: d * 1.0001)
    assert caught(name, "taylor")


@pytest.mark.parametrize(("name", "slot"), RULES)
def test_a_rule_wrong_only_in_its_first_element_is_caught(monkeypatch, name, slot):
    plant(monkeypatch, name, slot, first_off, when=lambda g: isinstance(g, np.ndarray))
    assert caught(name, "first order")
    assert caught(name, "taylor")


@pytest.mark.parametrize(("name", "slot"), RULES)
def test_a_rule_wrong_only_in_float32_is_caught(monkeypatch, name, slot):
    plant(monkeypatch, name, slot, lambda d: d * np.float32(1.001), when=lambda g: g.dtype == "float32")
    assert caught(name, "dtype")
    assert not caught(name, "first order")


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("name", "slot"), RULES)
def test_a_rule_wrong_only_for_one_number_of_threads_is_caught(monkeypatch, name, slot, threads):
    """In the last element, by one bit."""
    plant(monkeypatch, name, slot, next_bit, when=lambda g: mg.get_num_threads() == threads)
    assert caught(name, "determinism")


@pytest.mark.parametrize(("name", "slot"), RULES)
def test_a_rule_wrong_only_when_it_is_applied_again_is_caught(monkeypatch, name, slot):
    plant(monkeypatch, name, slot, Drifts())
    assert caught(name, "determinism")


@pytest.mark.parametrize("name", [name for name in FORWARDS if name not in THROUGH])
def test_a_rule_that_writes_to_the_cotangent_is_caught(monkeypatch, name):
    """Even the numbers that stand there: with a larger graph, others read them."""
    op = OPERATORS[name]
    right = op.pull

    def wrong(g, *rest):
        if isinstance(g, np.ndarray):
            g *= 1.0
        return right(g, *rest)

    monkeypatch.setattr(op, "pull", wrong)
    assert caught(name, "aliasing", ValueError)


@pytest.mark.parametrize("name", [name for name in FORWARDS if name not in THROUGH])
def test_a_forward_that_writes_to_its_last_input_is_caught(monkeypatch, name):
    def wrong(*arrays, **settings):
        last = [x for x in arrays if isinstance(x, np.ndarray)][-1]
        last *= 1.0
        return right(*arrays, **settings)

    right = OPERATORS[name].forward
    monkeypatch.setattr(OPERATORS[name], "forward", wrong)
    assert caught(name, "aliasing", (ValueError, TypeError))


def wrong_forward(monkeypatch, name, fault, when):
    """Make the value of an operator wrong."""
    op = OPERATORS[name]
    right = op.forward

    def wrong(*arrays, **settings):
        out = right(*arrays, **settings)
        value, saved = out if isinstance(out, tuple) else (out, None)
        if when(value):
            value = fault(np.asarray(value))
        return value if saved is None else (value, saved)

    monkeypatch.setattr(op, "forward", wrong)


@pytest.mark.parametrize("name", FORWARDS)
@pytest.mark.parametrize(
    ("check", "fault", "when"),
    [
        ("dtype", lambda: lambda y: y * np.float32(1.001), lambda y: y.dtype == "float32"),
        ("determinism", lambda: next_bit, lambda y: mg.get_num_threads() == 3),
        ("determinism", Drifts, lambda y: True),
        ("first order", Drifts, lambda y: True),
    ],
    ids=["float32", "three threads", "second call", "second call, differences"],
)
def test_a_wrong_value_is_caught(monkeypatch, name, check, fault, when):
    wrong_forward(monkeypatch, name, fault(), when)
    assert caught(name, check, (mg.GradientError, ValueError))


def test_every_operator_is_planted():
    assert set(FORWARDS) | set(IN_RULES) == set(OPERATORS)
    assert {p.values[0] for p in RULES} == set(FORWARDS)
