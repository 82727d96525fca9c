"""SGD and schedules, against the formulas written out."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import minigrad as mg
from minigrad.nn import Parameter
from minigrad.optim import SGD, MultiStepLR, Warmup


def steps(optimizer, parameters, gradients):
    """Take a step for each list of gradients."""
    for step in gradients:
        for p, g in zip(parameters, step, strict=True):
            p.grad = None if g is None else mg.Tensor(np.array(g))
        optimizer.step()


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("nesterov", [False, True])
def test_the_formula(momentum, weight_decay, nesterov):
    rng = np.random.default_rng(0)
    p = Parameter(rng.standard_normal(3))
    w, v = p.data.copy(), np.zeros(3)
    sgd = SGD([p], 0.1, momentum, weight_decay, nesterov)
    for g in rng.standard_normal((4, 3)):
        steps(sgd, [p], [[g]])
        d = g + weight_decay * w
        v = momentum * v + d
        w = w - 0.1 * (d + momentum * v if nesterov else v)
        assert_allclose(p.data, w, rtol=1e-13)


def test_a_drop_of_the_learning_rate_takes_effect_at_once():
    """The difference to Caffe's form, v = m v + lr g."""
    p = Parameter(np.zeros(1))
    sgd = SGD([p], 1.0, 0.9)
    steps(sgd, [p], [[[1.0]]])
    sgd.lr = 0.1
    steps(sgd, [p], [[[0.0]]])
    assert_allclose(p.data, [-1.0 - 0.1 * 0.9])


def test_the_gradient_is_not_changed():
    p = Parameter(np.ones(2))
    g = np.array([1.0, 2.0])
    p.grad = mg.Tensor(g)
    SGD([p], 0.1, 0.9, 0.1, nesterov=True).step()
    assert_allclose(g, [1.0, 2.0])


def test_without_a_gradient_nothing_moves():
    p, q = Parameter(np.ones(1)), Parameter(np.ones(1))
    steps(SGD([p, q], 0.1, weight_decay=0.5), [p, q], [[[1.0], None]])
    assert p.data != 1.0
    assert q.data == 1.0


def test_groups_have_settings_of_their_own():
    p, q = Parameter(np.ones(1)), Parameter(np.ones(1))
    sgd = SGD([{"params": [p]}, {"params": [q], "weight_decay": 0.0}], 0.1, weight_decay=0.5)
    steps(sgd, [p, q], [[[0.0], [0.0]]])
    assert_allclose([p.data[0], q.data[0]], [0.95, 1.0])


def test_zero_grad():
    p = Parameter(np.ones(1))
    p.grad = mg.Tensor(np.ones(1))
    SGD([p], 0.1).zero_grad()
    assert p.grad is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], 0.1), "at least one"),
        (([Parameter([1.0])] * 2, 0.1), None),
        (([Parameter([1.0])], -0.1), "lr >= 0"),
        (([Parameter([1.0])], 0.1, 1.0), "momentum < 1"),
        (([Parameter([1.0])], 0.1, 0.9, -1.0), "weight_decay >= 0"),
        (([{"params": [Parameter([1.0])], "lr": 0.1}], 0.1), "lr"),
    ],
)
def test_what_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message or "each parameter once"):
        SGD(*arguments)


def test_what_it_cannot_train():
    w = Parameter([1.0])
    for params in (w, [mg.Tensor([1.0])], [np.ones(1)], [("w", w)], [w * 2.0]):
        with pytest.raises(TypeError, match="SGD: expected"):
            SGD(params, 0.1)
    with pytest.raises(ValueError, match='each group to have "params"'):
        SGD([{"weight_decay": 0.1}], 0.1)
    with pytest.raises(ValueError, match="lr >= 0"):
        SGD([w], float("nan"))


def rates(schedule, n):
    values = []
    for _ in range(n):
        values.append(schedule.optimizer.lr)
        schedule.step()
    return values


def test_multi_step():
    sgd = SGD([Parameter([1.0])], 0.5)
    assert_allclose(rates(MultiStepLR(sgd, [4, 2]), 6), [0.5, 0.5, 0.05, 0.05, 0.005, 0.005])


def test_warm_up_then_another_schedule():
    sgd = SGD([Parameter([1.0])], 0.4)
    assert_allclose(rates(Warmup(MultiStepLR(sgd, [5], gamma=0.5), 4), 7), [0.1, 0.2, 0.3, 0.4, 0.4, 0.2, 0.2])
    assert_allclose(rates(Warmup(MultiStepLR(SGD([Parameter([1.0])], 0.4), []), 0), 2), [0.4, 0.4])
