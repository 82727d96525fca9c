"""Wrong gradients planted in every rule of every operator: the suite must catch them all.

A rule is made wrong in a stated way, and the checks run over the samples of the operators that use it, as they do in
tests/ops/test_every_operator.py. If none fails, either the samples or the checks have a hole.
"""

import numpy as np
import pytest

import minigrad as mg
from minigrad import ops
from minigrad.autograd import backward, broadcasting
from minigrad.autograd.operator import Operator
from minigrad.checks.operators import CHECKS
from tests.records import RECORDS

FAMILIES = (ops.elementwise, ops.shape, ops.reduction, ops.matmul, ops.conv, ops.pool, ops.norm, ops.loss)

#: Every operator there is, public or not.
OPERATORS = {
    f.operator.name: f.operator
    for module in (backward, broadcasting, *FAMILIES)
    for f in vars(module).values()
    if isinstance(getattr(f, "operator", None), Operator)
}

#: Operators without a public name: the public names whose samples run them.
THROUGH = {"im2col": ["avg_pool2d"], "col2im": ["conv_transpose2d"]}

#: Operators that stand only in the rules of others, so that their own rules are for second order.
IN_RULES = {"copy": ["batch_norm"], "gate": ["relu"], "sum_to": ["add"], "unindex": ["getitem"]}


def border(d):
    """Leave the last element out."""
    keep = np.ones(d.shape, dtype=str(d.dtype))
    keep[(-1,) * d.ndim] = 0
    return d * keep


def transposed(d):
    """Put the elements into reverse order: of the right shape, in the wrong places."""
    return ops.reshape(ops.flip(ops.reshape(d, (-1,))), d.shape)


FAULTS = {
    "zero": lambda d: d * 0.0,
    "a sign flipped": lambda d: -d,
    "scaled by 1.0001": lambda d: d * 1.0001,
    "a constant": lambda d: d * 0.0 + 0.3,
    "elements in the wrong places": transposed,
    "wrong only at the border": border,
}


def rules(names):
    """List the rules of operators, one for each argument."""
    return [
        pytest.param(name, slot, id=f"{name}-{OPERATORS[name].inputs[slot] if OPERATORS[name].inputs else slot}")
        for name in names
        for slot in range(len(OPERATORS[name].inputs) or 1)
    ]


RULES = rules([name for name in OPERATORS if name not in IN_RULES])


def caught(name, check, errors=(mg.GradientError, RuntimeError)):
    """Run a check over the samples until one fails; say whether one did."""
    for public in (THROUGH | IN_RULES).get(name, [name]):
        for sample in RECORDS[public].samples.values():
            try:
                CHECKS[check](sample.function(public), sample.inputs)
            except errors:
                return True
    return False


def plant(monkeypatch, name, slot, fault, when=lambda g: True):
    """Make one rule of an operator wrong."""
    op = OPERATORS[name]
    right = op.pull

    def wrong(g, need, plan, kept):
        gradients = list(right(g, need, plan, kept))
        if when(g) and gradients[slot] is not None:
            gradients[slot] = fault(gradients[slot])
        return gradients

    monkeypatch.setattr(op, "pull", wrong)


def test_every_operator_is_known():
    assert set(OPERATORS) - set(THROUGH) - set(IN_RULES) <= set(RECORDS)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("name", "slot"), RULES)
def test_a_wrong_rule_is_caught_by_the_first_order(monkeypatch, name, slot, fault):
    plant(monkeypatch, name, slot, FAULTS[fault])
    assert caught(name, "first order")


@pytest.mark.parametrize(("name", "slot"), RULES)
def test_a_float64_leak_is_caught(monkeypatch, name, slot):
    plant(monkeypatch, name, slot, lambda d: d.astype("float64"))
    assert caught(name, "dtype")


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("name", "slot"), rules(IN_RULES))
def test_wrong_rules_of_operators_inside_rules_are_caught(monkeypatch, name, slot, fault):
    plant(monkeypatch, name, slot, FAULTS[fault])
    assert caught(name, "second order")


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("name", "slot"), RULES)
def test_a_rule_wrong_only_in_second_order_is_caught(monkeypatch, name, slot, fault):
    """The rule is right on arrays, and wrong where it is recorded; a twin is replaced as a whole."""
    op = OPERATORS[name]
    if op.twin_function is None:
        plant(monkeypatch, name, slot, FAULTS[fault], when=lambda g: isinstance(g, mg.Tensor))
    else:
        right = op.twin_function

        @mg.operator
        def passed_on(x, /):
            return x * 1.0

        passed_on.vjp(FAULTS[fault])

        def wrong(*inputs, **settings):
            through = [passed_on(x) if i == slot and isinstance(x, mg.Tensor) else x for i, x in enumerate(inputs)]
            return right(*through, **settings)

        monkeypatch.setattr(op, "twin_function", wrong)
    assert caught(name, "second order")


@pytest.mark.parametrize("name", [name for name, op in OPERATORS.items() if op.twin_function is not None])
def test_a_wrong_twin_is_caught(monkeypatch, name):
    op = OPERATORS[name]
    right = op.twin_function
    monkeypatch.setattr(op, "twin_function", lambda *a, **k: right(*a, **k) * 1.001)
    assert caught(name, "twin")


def test_a_rule_wrong_only_for_stride_above_1_needs_a_sample_of_it(monkeypatch):
    """A fault of one setting needs a sample of that setting."""
    op = OPERATORS["conv2d"]
    right = op.pull

    def wrong(g, need, plan, kept):
        dx, dw, db = right(g, need, plan, kept)
        stride = kept[plan.names.index("stride")]
        return (dx if dx is None or stride == (1, 1) else dx * 1.001), dw, db

    monkeypatch.setattr(op, "pull", wrong)
    assert caught("conv2d", "first order")
    ones = [s for s in RECORDS["conv2d"].samples.values() if s.settings.get("stride", 1) == 1]
    for sample in ones:
        CHECKS["first order"](sample.function("conv2d"), sample.inputs)


def test_a_rule_with_stale_statistics_is_caught(monkeypatch):
    """Batch norm whose rule uses the statistics of the batch before."""
    op = OPERATORS["batch_norm"]
    right, before = op.pull, {}

    def wrong(g, need, plan, kept):
        named = dict(zip(plan.names, kept, strict=True))
        mine = {key: named[key] for key in ("mean", "inv_std")}
        stale = before.get(g.shape, mine)
        before[g.shape] = mine
        return right(g, need, plan, tuple((named | stale).values()))

    monkeypatch.setattr(op, "pull", wrong)
    sample = RECORDS["batch_norm"].samples["images"]
    f = sample.function("batch_norm")
    other = [mg.Tensor(x * 3.0 + 1.0, requires_grad=True) for x in sample.inputs]
    f(*other).sum().backward()  # another batch, whose statistics stay behind
    with pytest.raises(mg.GradientError):
        mg.gradcheck(f, sample.inputs)
