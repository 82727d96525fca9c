"""Every setting of the optimizer and of the schedules, changed once; the numbers are worked out by hand."""

import math

import numpy as np
import pytest

import minigrad as mg
from minigrad import optim
from minigrad.nn import Parameter
from minigrad.optim import (
    SGD,
    Adam,
    AdamW,
    CosineLR,
    MultiStepLR,
    Optimizer,
    ReduceOnPlateau,
    Schedule,
    Warmup,
    WarmupUntil,
    clip_grad_norm,
)
from tests.tools.settings import Refused, Row, check, missing


def step(sgd, *gradients):
    """Take a step for each gradient, and return the first parameter after each."""
    w, seen = sgd.groups[0]["params"][0], []
    for g in gradients:
        w.grad = mg.Tensor(np.array(g))
        sgd.step()
        seen.append(w.item())
    return seen


def descend(lr=0.1, **settings):
    """From w = 1, two steps along a gradient of 1: with the settings, and with settings from a state."""
    first = SGD([Parameter(np.array(1.0))], lr, **settings)
    second = SGD(
        [Parameter(np.array(1.0))], 7.0, momentum=0.3, weight_decay=0.7, nesterov=not first.groups[0]["nesterov"]
    )
    second.load_state_dict(first.state_dict())
    return [step(sgd, 1.0, 1.0) for sgd in (first, second)]


def adapt(kind, gradients=(1.0, 1.0), **settings):
    """From w = 1, a step along each gradient; then along 1 with settings from a state."""
    first, second = kind([Parameter(np.array(1.0))], **settings), kind([Parameter(np.array(1.0))], lr=3.0, eps=5.0)
    second.load_state_dict(first.state_dict())
    return [step(optimizer, *gradients) for optimizer in (first, second)]


class Plain(Optimizer):
    """Gradient descent with a setting."""

    def __init__(self, params, lr, **settings):
        super().__init__(params, lr, **{"scale": 1.0} | settings)

    def update(self, w, g, *, lr, scale):
        w -= lr * scale * g


def clipped(params=lambda p: p, max_norm=5.0):
    """The norm of the gradients (6, 8) of two parameters, and the gradients after it was clipped."""
    p = [Parameter(np.array(0.0)) for _ in range(2)]
    for q, g in zip(p, (6.0, 8.0), strict=True):
        q.grad = mg.Tensor(np.array(g))
    return [clip_grad_norm(params(p), max_norm), *(q.grad.item() for q in p)]


def sgd(lr=1.0):
    return SGD([Parameter([1.0])], lr)


def rates(make, n, lr=1.0, **figures):
    """The rates of n iterations; in each the schedule observes the figures. A state continues in another schedule."""
    first, second = make(sgd(lr)), make(sgd(3.0))
    seen = []
    for i in range(n):
        seen.append(first.optimizer.lr)
        second.load_state_dict(first.state_dict())
        assert second.optimizer.lr == first.optimizer.lr
        if figures:
            first.observe(**{name: error[i] for name, error in figures.items()})
        first.step()
    return seen


class Halving(Schedule):
    """Half the rate after each iteration."""

    def factor(self, iteration):
        return 0.5**iteration


def plateau(n=8, **settings):
    return rates(lambda o: ReduceOnPlateau(o, **settings), n, test_error=[0.5] * n, val_error=[0.5, 0.4, 0.3] * n)


def first_full(n=60, **settings):
    """The number of batches with an error of 0.5 after which the warm-up ends, and the rate before."""
    seen = rates(lambda o: WarmupUntil(MultiStepLR(o, [1000]), **settings), n, batch_error=[0.5] * n)
    return [seen.index(1.0) if 1.0 in seen else None, seen[0]]


ROWS = {
    # v = 1, w = 0.9; v = 1.9, w = 0.71
    "SGD.params": Row(
        lambda params: step(SGD(params(), 0.1), 1.0, 1.0),
        (lambda: [Parameter(np.array(1.0))], [0.9, 0.71]),
        (lambda: [{"params": [Parameter(np.array(1.0))], "momentum": 0.0}], [0.9, 0.8]),
        (lambda: iter([Parameter(np.array(2.0))]), [1.9, 1.71]),
        (lambda: [{"params": Parameter(np.array(3.0))}], [2.9, 2.71]),
    ),
    "SGD.lr": Row(lambda lr: descend(lr), (0.1, [[0.9, 0.71]] * 2), (0.2, [[0.8, 0.42]] * 2), (0.0, [[1.0, 1.0]] * 2)),
    "SGD.momentum": Row(descend, (0.9, [[0.9, 0.71]] * 2), (0.5, [[0.9, 0.75]] * 2), (0.0, [[0.9, 0.8]] * 2)),
    # 0.5: g = 1.5, w = 0.85; g = 1.425, v = 2.775, w = 0.5725
    "SGD.weight_decay": Row(descend, (0.0, [[0.9, 0.71]] * 2), (0.5, [[0.85, 0.5725]] * 2)),
    # steps of 1 + 0.9, and of 1 + 0.9 * 1.9
    "SGD.nesterov": Row(descend, (False, [[0.9, 0.71]] * 2), (True, [[0.81, 0.539]] * 2)),
    # while the gradient is 1, both means are 1: each step is lr / (1 + eps)
    "Adam.params": Row(
        lambda params: step(Adam(params(), 0.1), 1.0, 1.0),
        (lambda: [Parameter(np.array(1.0))], [0.9, 0.8]),
        (lambda: [{"params": [Parameter(np.array(1.0))], "lr": 0.2}], [0.8, 0.6]),
    ),
    "Adam.lr": Row(lambda **s: adapt(Adam, **s), (1e-3, [[0.999, 0.998]] * 2), (0.25, [[0.75, 0.5]] * 2), rtol=1e-7),
    # gradients 1 and 0: m = 0.09 of 0.19, v = 0.000999 of 0.001999; with (0.5, 0.75): 0.25 of 0.75, 0.1875 of 0.4375
    "Adam.betas": Row(
        lambda **s: adapt(Adam, (1.0, 0.0), lr=0.1, **s),
        ((0.9, 0.999), [[0.9, 0.9 - 0.1 * 0.09 / 0.19 / math.sqrt(0.000999 / 0.001999)]] * 2),
        ((0.5, 0.75), [[0.9, 0.9 - 0.1 / 3 / math.sqrt(3 / 7)]] * 2),
        rtol=1e-7,
    ),
    "Adam.eps": Row(
        lambda **s: adapt(Adam, lr=0.25, **s), (1e-8, [[0.75, 0.5]] * 2), (1.0, [[0.875, 0.75]] * 2), rtol=1e-7
    ),
    # the gradient is 2 w: every first step is of lr
    "Adam.weight_decay": Row(
        lambda **s: adapt(Adam, (0.0,), lr=0.1, **s), (0.0, [[1.0]] * 2), (2.0, [[0.9]] * 2), rtol=1e-7
    ),
    "AdamW.params": Row(
        lambda params: step(AdamW(params(), 0.1, weight_decay=0.0), 1.0, 1.0),
        (lambda: [Parameter(np.array(1.0))], [0.9, 0.8]),
        (lambda: [{"params": [Parameter(np.array(1.0))], "weight_decay": 1.0}], [0.8, 0.62]),
    ),
    # 1 - lr / 100 of the weight is left, then a step of lr is taken
    "AdamW.lr": Row(lambda **s: adapt(AdamW, (1.0,), **s), (1e-3, [[0.99899]] * 2), (0.25, [[0.7475]] * 2), rtol=1e-7),
    "AdamW.betas": Row(
        lambda **s: adapt(AdamW, (1.0, 0.0), lr=0.1, weight_decay=0.0, **s),
        ((0.9, 0.999), [[0.9, 0.9 - 0.1 * 0.09 / 0.19 / math.sqrt(0.000999 / 0.001999)]] * 2),
        ((0.5, 0.75), [[0.9, 0.9 - 0.1 / 3 / math.sqrt(3 / 7)]] * 2),
        rtol=1e-7,
    ),
    "AdamW.eps": Row(
        lambda **s: adapt(AdamW, lr=0.25, weight_decay=0.0, **s),
        (1e-8, [[0.75, 0.5]] * 2),
        (1.0, [[0.875, 0.75]] * 2),
        rtol=1e-7,
    ),
    "AdamW.weight_decay": Row(lambda **s: adapt(AdamW, (0.0,), lr=0.1, **s), (0.01, [[0.999]] * 2), (2.0, [[0.8]] * 2)),
    "Optimizer.params": Row(
        lambda params: step(Plain(params(), 0.5), 1.0),
        (lambda: [Parameter(np.array(1.0))], [0.5]),
        (lambda: [{"params": [Parameter(np.array(1.0))], "scale": 2.0}], [0.0]),
    ),
    "Optimizer.lr": Row(lambda lr: step(Plain([Parameter(np.array(1.0))], lr), 1.0), (0.5, [0.5]), (0.25, [0.75])),
    "Optimizer.settings": Row(
        lambda settings: step(Plain([Parameter(np.array(1.0))], 0.25, **settings), 1.0),
        ({"scale": 1.0}, [0.75]),
        ({"scale": 2.0}, [0.5]),
        ({"size": 2.0, "scale": 3.0}, [0.25]),
    ),
    "clip_grad_norm.params": Row(
        lambda params: clipped(params),
        (lambda p: p, [10.0, 3.0, 4.0]),
        (lambda p: iter(p[:1]), [6.0, 5.0, 8.0]),
        (lambda p: p[1], [8.0, 6.0, 5.0]),
        rtol=1e-6,
    ),
    "clip_grad_norm.max_norm": Row(
        lambda max_norm: clipped(max_norm=max_norm),
        (5.0, [10.0, 3.0, 4.0]),
        (20.0, [10.0, 6.0, 8.0]),
        (0.0, [10.0, 0.0, 0.0]),
        (math.inf, [10.0, 6.0, 8.0]),
        rtol=1e-6,
    ),
    "Schedule.optimizer": Row(
        lambda optimizer: rates(lambda _: Halving(optimizer()), 3),
        (lambda: sgd(1.0), [1.0, 0.5, 0.25]),
        (lambda: sgd(0.2), [0.2, 0.1, 0.05]),
    ),
    "MultiStepLR.milestones": Row(
        lambda milestones: rates(lambda o: MultiStepLR(o, milestones), 4),
        ([2], [1.0, 1.0, 0.1, 0.1]),
        ((3, 1), [1.0, 0.1, 0.1, 0.01]),
        ([0, 2], [0.1, 0.1, 0.01, 0.01]),
        ([0, 0], [0.01] * 4),
        ([], [1.0] * 4),
        ([1] * 5 + [2] * 300, [1.0, 1e-5, 1e-305, 1e-305]),
    ),
    "MultiStepLR.gamma": Row(
        lambda **s: rates(lambda o: MultiStepLR(o, [1, 3], **s), 4),
        (0.1, [1.0, 0.1, 0.1, 0.01]),
        (0.5, [1, 0.5, 0.5, 0.25]),
        (0.0, [1.0, 0.0, 0.0, 0.0]),
        (2.0, [1.0, 2.0, 2.0, 4.0]),
    ),
    "CosineLR.iterations": Row(
        lambda iterations: rates(lambda o: CosineLR(o, iterations), 5),
        (4, [1.0, 0.5 + math.sqrt(0.125), 0.5, 0.5 - math.sqrt(0.125), 0.0]),
        (2, [1.0, 0.5, 0.0, 0.0, 0.0]),
        (1, [1.0, 0.0, 0.0, 0.0, 0.0]),
    ),
    # the first error is the minimum; then the patience begins
    "ReduceOnPlateau.figure": Row(
        lambda **s: plateau(patience=2, **s),
        ("test_error", [1.0, 1.0, 1.0, 0.1, 0.1, 0.01, 0.01, 0.001]),
        ("val_error", [1.0, 1.0, 1.0, 1.0, 1.0, 0.1, 0.1, 0.01]),
        ("missing_error", Refused(ValueError, "expected 'missing_error' to be measured")),
    ),
    "ReduceOnPlateau.patience": Row(plateau, (5, [1.0] * 6 + [0.1] * 2), (1, [1.0, *(0.1**i for i in range(7))])),
    "ReduceOnPlateau.gamma": Row(
        plateau, (0.1, [1.0] * 6 + [0.1] * 2), (0.5, [1.0] * 6 + [0.5] * 2), (0.0, [1.0] * 6 + [0.0] * 2)
    ),
    "Warmup.schedule": Row(
        lambda schedule: rates(lambda o: Warmup(schedule(o), 2), 4),
        (lambda o: MultiStepLR(o, [3]), [0.5, 1.0, 1.0, 0.1]),
        (Halving, [0.5, 0.5, 0.25, 0.125]),
    ),
    "Warmup.iterations": Row(
        lambda iterations: rates(lambda o: Warmup(MultiStepLR(o, []), iterations), 4),
        (4, [0.25, 0.5, 0.75, 1.0]),
        (1, [1.0] * 4),
        (0, [1.0] * 4),
    ),
    "WarmupUntil.schedule": Row(
        lambda schedule: rates(lambda o: WarmupUntil(schedule(o)), 30, batch_error=[0.5] * 30)[25:28],
        (lambda o: MultiStepLR(o, [27]), [0.1, 1.0, 0.1]),
        (lambda o: CosineLR(o, 52), [0.1, 0.5, 0.5 - 0.5 * math.sin(math.pi / 52)]),
    ),
    # the average is 0.5 + 0.5 * 0.98**n. 0.98**25 = 0.603 and 0.98**26 = 0.591: below 0.8 after 26 batches;
    # 0.98**11 = 0.801 and 0.98**12 = 0.785: below 0.9 after 12
    "WarmupUntil.error": Row(first_full, (0.8, [26, 0.1]), (0.9, [12, 0.1]), (0.0, [None, 0.1]), (1.0, [1, 0.1])),
    "WarmupUntil.gamma": Row(first_full, (0.1, [26, 0.1]), (0.25, [26, 0.25]), (0.0, [26, 0.0])),
}


#: A schedule takes the rate that its optimizer has, and sets its rates.
OF_AN_OPTIMIZER = {
    "MultiStepLR": (lambda o: MultiStepLR(o, [1]), [1.0, 0.1]),
    "CosineLR": (lambda o: CosineLR(o, 2), [1.0, 0.5]),
    "ReduceOnPlateau": (lambda o: ReduceOnPlateau(o, patience=1), [1.0, 1.0]),
}
ROWS |= {
    f"{name}.optimizer": Row(
        lambda optimizer, make=make: rates(make, 2, optimizer),
        (1.0, factors),
        (0.5, [0.5 * factor for factor in factors]),
    )
    for name, (make, factors) in OF_AN_OPTIMIZER.items()
}


def test_every_setting_has_a_row():
    assert missing(optim, ROWS) == []


@pytest.mark.parametrize("name", ROWS)
def test_a_setting_has_its_effect(name):
    check(optim, name, ROWS[name])


#: Of each setting of a group: its value, and the second step's w of descend() above.
OF_A_GROUP = {"momentum": (0.5, 0.75), "weight_decay": (0.5, 0.5725), "nesterov": (True, 0.539)}


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("name", OF_A_GROUP)
def test_a_setting_of_one_group_is_that_of_no_other(name, place):
    value, other = OF_A_GROUP[name]
    w = [Parameter(np.array(1.0)) for _ in range(3)]
    groups = [{"params": [p]} | ({name: value} if i == place else {}) for i, p in enumerate(w)]
    for settings in ({}, {"momentum": 0.9, "weight_decay": 0.0, "nesterov": False}):
        first = SGD(groups, 0.1, **settings)
        second = SGD([{"params": [p]} for p in w], 0.1)
        second.load_state_dict(first.state_dict())
        for sgd_ in (first, second):
            for p in w:
                p.data = np.array(1.0)
            for _ in range(2):
                for p in w:
                    p.grad = mg.Tensor(np.array(1.0))
                sgd_.step()
            expected = [other if i == place else 0.71 for i in range(3)]
            np.testing.assert_allclose([p.item() for p in w], expected, rtol=1e-12)


def test_a_group_wins_over_the_settings_of_all():
    p, q = Parameter(np.array(1.0)), Parameter(np.array(1.0))
    sgd_ = SGD([{"params": [p], "momentum": 0.0}, {"params": [q]}], 0.1, momentum=0.5, nesterov=True)
    assert [group["momentum"] for group in sgd_.groups] == [0.0, 0.5]
    assert [group["nesterov"] for group in sgd_.groups] == [True, True]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": -0.1}, "lr >= 0"),
        ({"lr": math.nan}, "lr >= 0"),
        ({"momentum": 2.0}, "momentum < 1, got 2.0"),
        ({"momentum": 1.0}, "momentum < 1"),
        ({"momentum": -0.1}, "0 <= momentum"),
        ({"weight_decay": -1.0}, "weight_decay >= 0"),
        ({"weight_decay": math.nan}, "weight_decay >= 0"),
    ],
)
def test_a_state_is_refused_like_the_arguments(change, message):
    """By whatever way a number comes; the second group is looked at, too, and nothing is loaded."""
    groups = [{"params": [Parameter([1.0])]}, {"params": [Parameter([2.0])]}]
    with pytest.raises(ValueError, match=f"SGD: expected .*{message}"):
        SGD(groups, **{"lr": 0.1} | change)
    optimizer = SGD(groups, 0.1)
    before, state = optimizer.state_dict(), optimizer.state_dict()
    state["lr"] = change.get("lr", 5.0)
    state["groups"][1] |= {name: value for name, value in change.items() if name != "lr"}
    with pytest.raises(ValueError, match=f"SGD: expected .*{message}"):
        optimizer.load_state_dict(state)
    assert optimizer.state_dict() == before


@pytest.mark.parametrize("name", ["momentum", "weight_decay", "nesterov", "params", "dampening"])
def test_a_state_with_other_settings_is_refused(name):
    """One that is missing or unknown; among these "params", which would take the place of the parameters."""
    optimizer = SGD([{"params": [Parameter([1.0])]}, {"params": [Parameter([2.0])]}], 0.1)
    state = optimizer.state_dict()
    second = state["groups"][1]
    if second.pop(name, None) is None:
        second[name] = 0.5
    with pytest.raises(
        ValueError, match=r"SGD: expected a group with \['lr', 'lr_factor', 'momentum', 'nest.*'\], got"
    ):
        optimizer.load_state_dict(state)
    assert [p.item() for group in optimizer.groups for p in group["params"]] == [1.0, 2.0]


def test_what_the_caller_changes_later_changes_nothing():
    w = Parameter(np.array(1.0))
    params, milestones = [w], [2]
    group = {"params": params, "momentum": 0.5}
    optimizer = SGD([group], 1.0)
    schedule = MultiStepLR(optimizer, milestones)
    params.append(Parameter([2.0]))
    group["momentum"] = 0.0
    milestones.append(1)
    optimizer.state_dict()["groups"][0]["momentum"] = 0.0
    assert step(optimizer, 1.0, 1.0) == [0.0, -1.5]
    schedule.step()
    assert optimizer.lr == 1.0


def test_a_record_is_not_one_more_batch_for_a_warm_up():
    """A record's batch_error is a mean over batches that were observed before."""
    schedule = WarmupUntil(MultiStepLR(sgd(), []))
    schedule.observe(batch_error=0.5)
    assert schedule.average == pytest.approx(0.99)
    schedule.observe(iteration=1, batch_error=0.5, test_error=0.0)
    assert schedule.average == pytest.approx(0.99)


def test_a_batch_is_no_record_for_a_plateau():
    """Of the training error, too, only the records count: the mean of many batches."""
    schedule = ReduceOnPlateau(sgd(), "batch_error", patience=2)
    for i in range(3):
        for _ in range(5):
            schedule.observe(batch_error=0.5)
        schedule.observe(iteration=5 * i + 5, batch_error=0.5)
        assert schedule.drops == (i == 2)


@pytest.mark.parametrize("make", [lambda s: s, lambda s: Warmup(s, 3), lambda s: Warmup(Warmup(s, 2), 3)])
@pytest.mark.parametrize("kind", [ReduceOnPlateau, lambda o: MultiStepLR(o, [2]), lambda o: CosineLR(o, 5)])
def test_a_batch_of_which_nothing_is_measured_is_no_record(kind, make):
    """As of a regression without metrics: it changes nothing, and is not refused."""
    schedule = make(kind(sgd()))
    for i in range(4):
        before = schedule.state_dict(), schedule.optimizer.lr
        schedule.observe()
        assert (schedule.state_dict(), schedule.optimizer.lr) == before
        schedule.step()
        schedule.observe(iteration=i, test_error=0.5)


def test_what_a_state_lacks_is_forgotten():
    """A state of before the first step has no velocity: the next step begins with none."""
    w = Parameter(np.array(1.0))
    optimizer = SGD([w], 0.1)
    state = optimizer.state_dict()
    step(optimizer, 5.0)
    optimizer.load_state_dict(state)
    w.data = np.array(1.0)
    assert step(optimizer, 1.0, 1.0) == pytest.approx([0.9, 0.71])


def test_all_groups_lose_their_gradients():
    w = [Parameter(np.array(1.0)) for _ in range(4)]
    for p in w:
        p.grad = mg.Tensor(np.array(1.0))
    SGD([{"params": w[:1]}, {"params": w[1:3]}, {"params": w[3:]}], 0.1).zero_grad()
    assert [p.grad for p in w] == [None] * 4


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        # a tenth until the error is low, after 6 batches; within, the ramp goes on unseen
        (lambda o: WarmupUntil(Warmup(MultiStepLR(o, []), 8), error=0.9), [0.1] * 6 + [7 / 8, 1.0, 1.0]),
        (lambda o: Warmup(WarmupUntil(MultiStepLR(o, []), error=0.9), 2), [0.05, *[0.1] * 5, 1.0, 1.0, 1.0]),
        (lambda o: Warmup(Warmup(MultiStepLR(o, [8]), 4), 2), [1 / 8, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 0.1]),
        (lambda o: WarmupUntil(WarmupUntil(MultiStepLR(o, []), 0.87, 0.5), 0.9), [0.1] * 6 + [0.5, 1.0, 1.0]),
    ],
)
def test_schedules_within_schedules_begin_from_the_rate_of_the_optimizer(make, expected):
    """With an error of 0 the average is 0.98**n: below 0.9 after 6 batches (0.886), below 0.87 after 7 (0.868)."""
    assert rates(make, 9, batch_error=[0.0] * 9) == pytest.approx(expected)


@pytest.mark.parametrize("without", range(5))
def test_one_parameter_without_a_gradient_holds_up_no_other(without):
    w = [Parameter(np.array(1.0)) for _ in range(5)]
    for i, p in enumerate(w):
        p.grad = None if i == without else mg.Tensor(np.array(1.0))
    SGD([{"params": w[:3]}, {"params": w[3:]}], 0.1).step()
    assert [p.item() for p in w] == [1.0 if i == without else 0.9 for i in range(5)]


# Out of range --------------------------------------------------------------------------------

NAN, INF = math.nan, math.inf

#: Of each setting: how it is given, and what is refused. Before, `gamma=-2`, for example, was accepted.
OUT_OF_RANGE = {
    "SGD.lr": (lambda lr: sgd(lr), [-0.1, NAN, INF, "0.1", None, True, [0.1]]),
    "SGD.momentum": (lambda m: SGD([Parameter([1.0])], 0.1, m), [-0.1, 1.0, 5, NAN, "0.9", None]),
    "SGD.weight_decay": (lambda d: SGD([Parameter([1.0])], 0.1, 0.9, d), [-1.0, NAN, INF, "0", None]),
    "SGD.nesterov": (lambda n: SGD([Parameter([1.0])], 0.1, nesterov=n), ["no", None, 1, NAN]),
    "Adam.lr": (lambda lr: Adam([Parameter([1.0])], lr), [-0.1, NAN, INF, "0.1", None]),
    "Adam.betas": (
        lambda b: Adam([Parameter([1.0])], betas=b),
        [0.9, (0.9,), (0.9, 1.0), (-0.1, 0.9), (0.9, NAN), ("0.9", 0.9), None, "ab"],
    ),
    "Adam.eps": (lambda e: Adam([Parameter([1.0])], eps=e), [-1e-8, NAN, INF, "0"]),
    "AdamW.weight_decay": (lambda d: AdamW([Parameter([1.0])], weight_decay=d), [-1.0, NAN, INF, "0"]),
    "SGD.params": (lambda lr: SGD([{"params": [Parameter([1.0])], "lr": lr}], 0.1), [-0.1, NAN, INF, "0.1", None]),
    "clip_grad_norm.max_norm": (lambda m: clip_grad_norm([Parameter([1.0])], m), [-1.0, NAN, "1", None]),
    "MultiStepLR.milestones": (lambda m: MultiStepLR(sgd(), m), [[-1], [2.5], [NAN], ["2"], 2, None, "ab"]),
    "MultiStepLR.gamma": (lambda g: MultiStepLR(sgd(), [2], g), [-2, NAN, INF, "0.1", None]),
    "CosineLR.iterations": (lambda n: CosineLR(sgd(), n), [0, -3, 2.5, NAN, INF, "8", None, True]),
    "ReduceOnPlateau.figure": (lambda f: ReduceOnPlateau(sgd(), f), [3, None]),
    "ReduceOnPlateau.patience": (lambda p: ReduceOnPlateau(sgd(), patience=p), [-1, 1.5, NAN, INF, "3", None]),
    "ReduceOnPlateau.gamma": (lambda g: ReduceOnPlateau(sgd(), gamma=g), [-2, NAN, INF, "0.1"]),
    "Warmup.iterations": (lambda n: Warmup(MultiStepLR(sgd(), []), n), [-4, 2.5, NAN, INF, "3"]),
    "WarmupUntil.error": (lambda e: WarmupUntil(MultiStepLR(sgd(), []), e), [-0.1, NAN, INF, "0.8"]),
    "WarmupUntil.gamma": (lambda g: WarmupUntil(MultiStepLR(sgd(), []), gamma=g), [-1, NAN, INF, "0.1"]),
    "MultiStepLR.optimizer": (lambda o: MultiStepLR(o, [1]), [None, 0.1, Parameter([1.0])]),
    "Warmup.schedule": (lambda s: Warmup(s, 3), [None, sgd()]),
    "WarmupUntil.schedule": (lambda s: WarmupUntil(s), [None, sgd()]),
}


@pytest.mark.parametrize("name", OUT_OF_RANGE)
def test_what_is_out_of_range_is_refused_by_name(name):
    make, values = OUT_OF_RANGE[name]
    for value in values:
        with pytest.raises((ValueError, TypeError), match=f"^{name.partition('.')[0]}: expected "):
            make(value)


#: Of each schedule: the names in its state that are not those of every schedule, with what each of them may not be.
IN_A_STATE = {
    "base": [-0.1, NAN, INF, "1", None, []],
    "iteration": [-5, 20.5, NAN, "3", None, True],
    "milestones": [[-1], [2.5], 3, None],
    "gamma": [-2, NAN, INF, "0.1"],
    "iterations": [-1, 2.5, None],
    "figure": [3, None],
    "patience": [-1, 2.5],
    "waited": [-1, 0.5, None],
    "drops": [-1, 0.5, None],
    "best": [NAN, "0.5", None],
    "error": [-1, NAN],
    "average": [NAN, None],
    "done": ["yes", 1, None],
    "schedule": [None, 3, {}],
}
SCHEDULES = {
    "steps": lambda o: MultiStepLR(o, [2]),
    "cosine": lambda o: CosineLR(o, 8),
    "plateau": lambda o: ReduceOnPlateau(o),
    "warm-up": lambda o: Warmup(CosineLR(o, 8), 2),
    "until": lambda o: WarmupUntil(Warmup(ReduceOnPlateau(o), 4)),
}


def leaves(state, path=()):
    """Yield the path of each value in a state, also of those of a schedule within a schedule."""
    for name, value in state.items():
        yield (*path, name)
        if isinstance(value, dict):
            yield from leaves(value, (*path, name))


@pytest.mark.parametrize("kind", SCHEDULES)
def test_a_state_out_of_range_is_refused_and_nothing_is_loaded(kind):
    """Whichever value is wrong, the others are not loaded either, in the schedules within included."""
    for path in leaves(SCHEDULES[kind](sgd()).state_dict()):
        for value in IN_A_STATE[path[-1]]:
            schedule = SCHEDULES[kind](sgd())
            before, state = schedule.state_dict(), SCHEDULES[kind](sgd(0.5)).state_dict()
            inner = state
            for name in path[:-1]:
                inner = inner[name]
            inner[path[-1]] = value
            with pytest.raises((ValueError, TypeError), match=r"^\w+: expected "):
                schedule.load_state_dict(state)
            assert (schedule.state_dict(), schedule.optimizer.lr) == (before, before["base"] * schedule.factor(0))


class Named(Optimizer):
    """Gradient descent with settings that it does not use."""

    def __init__(self, params, lr, **settings):
        super().__init__(params, lr, **settings)

    def update(self, w, g, *, lr):
        w -= lr * g


FREE = [1.0, -2.0, NAN, "text", None, [3]]


@pytest.mark.parametrize(
    "name", sorted({name for kind in (SGD, Adam, AdamW) for name in kind.checks} - {"lr", "lr_factor"})
)
def test_a_setting_of_ones_own_optimizer_is_not_checked_as_that_of_another(name):
    """It may have the name of a setting of SGD or Adam, and any value: what they refuse is their own business."""
    for value in FREE:
        w = Parameter(np.array(1.0))
        plain = Named([w], 0.5, **{name: value})
        assert repr(plain.groups[0][name]) == repr(plain.state_dict()["groups"][0][name]) == repr(value)
        assert step(plain, 1.0) == [0.5]
        plain.load_state_dict(plain.state_dict())


class Holds(Schedule):
    """A schedule that keeps the rate, with attributes that it does not use."""

    def __init__(self, optimizer, **attributes):
        vars(self).update(attributes)
        super().__init__(optimizer)

    def factor(self, iteration):
        return 1.0


OTHERS = [MultiStepLR, CosineLR, ReduceOnPlateau, Warmup, WarmupUntil]


@pytest.mark.parametrize("name", sorted({name for kind in OTHERS for name in kind.checks} - {"base", "iteration"}))
def test_an_attribute_of_ones_own_schedule_is_not_checked_as_that_of_another(name):
    for value in FREE:
        schedule = Holds(sgd(), **{name: value})
        schedule.step()
        schedule.load_state_dict(schedule.state_dict())
        assert repr(getattr(schedule, name)) == repr(value)


def test_a_plateau_without_patience_drops_only_where_the_error_does_not_fall():
    def rates_of(patience, *errors):
        return rates(lambda o: ReduceOnPlateau(o, patience=patience), len(errors) + 1, test_error=[*errors, 0.0])[1:]

    assert rates_of(0, 0.5, 0.4, 0.3) == [1.0, 1.0, 1.0]
    assert rates_of(0, 0.5, 0.5, 0.4, NAN) == rates_of(1, 0.5, 0.5, 0.4, NAN) == pytest.approx([1, 0.1, 0.1, 0.01])
    assert rates_of(2, 0.5, 0.5, 0.4, 0.4, 0.4) == pytest.approx([1, 1, 1, 1, 0.1])


def test_settings_of_numpy_do_not_promote():
    """The product of a float32 array and an np.float64 has float64."""
    w = Parameter([1.0])
    optimizer = SGD([{"params": [w], "momentum": np.float64(0.5)}], np.float32(0.5), weight_decay=np.array(0.25))
    assert {type(value) for value in optimizer.groups[0].values()} == {list, float, bool}
    assert (type(optimizer.lr), optimizer.groups[0]["weight_decay"]) == (float, 0.25)
    assert type(MultiStepLR(optimizer, np.array([1]), np.float64(0.5)).gamma) is float


def test_a_refused_schedule_leaves_the_rate_alone():
    inner = CosineLR(sgd(), 2)
    inner.step()
    for make in (
        lambda: Warmup(inner, -1),
        lambda: WarmupUntil(inner, NAN),
        lambda: MultiStepLR(inner.optimizer, [NAN]),
    ):
        with pytest.raises(ValueError, match="expected"):
            make()
        assert inner.optimizer.lr == pytest.approx(0.5)
