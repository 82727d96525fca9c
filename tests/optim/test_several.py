"""Beyond the first: groups behind the first, gaps among gradients, a state over a state, warm-ups in warm-ups."""

import itertools
import json
import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import minigrad as mg
from minigrad.nn import Parameter
from minigrad.optim import SGD, CosineLR, MultiStepLR, ReduceOnPlateau, Schedule, Warmup, WarmupUntil

SETTINGS = [
    {"momentum": 0.0, "weight_decay": 0.0},
    {"momentum": 0.5, "weight_decay": 0.0},
    {"momentum": 0.5, "weight_decay": 0.1},
    {"momentum": 0.5, "weight_decay": 0.0, "nesterov": True},
]


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (lambda first: {"params": [first]}, ValueError),  # a parameter of another group
        (lambda first: {"params": [Parameter([1.0]), mg.Tensor([1.0])]}, TypeError),
        (lambda first: {"params": [Parameter([1.0]) * 2.0]}, TypeError),
        (lambda first: {"params": [np.ones(1)]}, TypeError),
        (lambda first: {"params": [Parameter([1.0])], "lr": -0.1}, ValueError),
        (lambda first: {"momentum": 0.1}, ValueError),
    ],
)
def test_what_is_wrong_in_any_group_is_refused(wrong, error, place):
    p = [Parameter([1.0]) for _ in range(3)]
    groups = [{"params": [q]} for q in p]
    groups[place] = wrong(p[place - 1])
    with pytest.raises(error, match="^SGD: expected"):
        SGD(groups, 0.1)


@pytest.mark.parametrize("settings", SETTINGS)
def test_any_of_the_gradients_may_be_missing(settings):
    """Each parameter moves as it would alone; those that follow one without a gradient, in its group, too."""
    for has in itertools.product([True, False], repeat=4):
        p, alone = ([Parameter(np.full(2, 1.0 + i)) for i in range(4)] for _ in range(2))
        sgd = SGD([{"params": p[:3]}, {"params": p[3:]}], 0.1, **settings)
        singles = [SGD([q], 0.1, **settings) for q in alone]
        for step in range(3):
            for i, (q, r) in enumerate(zip(p, alone, strict=True)):
                given = has[i] if step != 1 else not has[i]
                q.grad, r.grad = (mg.Tensor(np.array([1.0, i - step])) if given else None for _ in range(2))
            sgd.step()
            for single in singles:
                single.step()
            for q, r in zip(p, alone, strict=True):
                assert_array_equal(q.data, r.data, strict=True)


@pytest.mark.parametrize("settings", SETTINGS)
def test_an_optimiser_goes_back_to_any_of_its_states(settings):
    """What it has gathered since is forgotten: the velocity of a parameter that had none then, above all."""
    p = [Parameter(np.ones(2)), Parameter(np.ones(3))]
    sgd = SGD(p, 0.1, **settings)
    states, weights = [], []

    def step(i):
        for j, q in enumerate(p):
            q.grad = mg.Tensor(np.full(q.shape, 1.0 + i)) if i >= j else None  # the second begins later
        sgd.step()

    for i in range(4):
        states.append(sgd.state_dict())
        weights.append([q.data.copy() for q in p])
        step(i)
    expected = [q.data.copy() for q in p]
    for begin, (state, arrays) in enumerate(zip(states, weights, strict=True)):
        for q, array in zip(p, arrays, strict=True):
            q.data[...] = array
        sgd.load_state_dict(state)
        for i in range(begin, 4):
            step(i)
        for q, array in zip(p, expected, strict=True):
            assert_array_equal(q.data, array, strict=True)


ERRORS = [0.0, 0.3, 0.5, 0.5, 0.7, 1.0, 2.5, -1.0, math.inf, math.nan]


@pytest.mark.parametrize("seed", range(30))
def test_a_plateau_is_counted_from_the_last_new_minimum(seed):
    """A new minimum is below all numbers before it, however large; a NaN is none, and hides none."""
    rng = np.random.default_rng(seed)
    schedule = ReduceOnPlateau(SGD([Parameter([1.0])], 1.0), "test_loss", patience=1 + seed % 3, gamma=0.5)
    seen, waited, drops = [], 0, 0
    for error in [math.nan, 3.0, 2.5, 2.0] * (seed % 2) + rng.choice(ERRORS, 20).tolist():
        schedule.observe(iteration=1, test_loss=error)
        lowest = all(error < other for other in seen) and error < math.inf
        seen += [] if math.isnan(error) else [error]
        waited = 0 if lowest else waited + 1
        if waited == schedule.patience:
            drops, waited = drops + 1, 0
        assert schedule.optimizer.lr == 0.5**drops


FOLLOWED = {
    "steps": lambda o: MultiStepLR(o, [3]),
    "from the start": lambda o: MultiStepLR(o, [0, 3]),
    "cosine": lambda o: CosineLR(o, 7),
    "plateau": lambda o: ReduceOnPlateau(o, patience=1),
    "warm-up": lambda o: Warmup(MultiStepLR(o, [3]), 4),
    "until": lambda o: WarmupUntil(MultiStepLR(o, [3])),
    "both": lambda o: Warmup(WarmupUntil(MultiStepLR(o, [3])), 4),
}


@pytest.mark.parametrize("inner", FOLLOWED)
@pytest.mark.parametrize("outer", ["warm-up", "until"])
def test_a_warm_up_scales_the_first_rate_whatever_it_is_followed_by(inner, outer):
    """The schedule that is followed has changed the rate already, when the warm-up is made."""
    followed, alone = (FOLLOWED[inner](SGD([Parameter([1.0])], 0.4)) for _ in range(2))
    schedule = Warmup(followed, 2) if outer == "warm-up" else WarmupUntil(followed, error=0.985)
    for i in range(6):
        share = min(1.0, (i + 1) / 2) if outer == "warm-up" else None
        done = 0.98**i < 0.985
        factor = alone.factor(i)
        expected = 0.4 * (share * factor if share else factor if done else min(factor, 0.1))
        assert_allclose(schedule.optimizer.lr, expected, rtol=1e-14)
        for s in (schedule, alone):
            s.observe(batch_error=0.0)
            s.step()


class Then(Schedule):
    """One schedule up to an iteration, and then another: under any names, and in any order."""

    def __init__(self, before, after, at):
        self.after, self.at, self.before = after, at, before
        super().__init__(before.optimizer)

    def factor(self, iteration):
        return (self.before if iteration < self.at else self.after).factor(iteration)

    def observe(self, **figures):
        for schedule in (self.before, self.after):
            schedule.observe(**figures)
        self.apply()


@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize("after", FOLLOWED)
@pytest.mark.parametrize("before", FOLLOWED)
def test_a_schedule_of_several_is_saved_with_their_states(before, after, within):
    """Whatever their names are. A file holds the state, which refers to no optimizer; what is wrong in one is named."""

    def make():
        sgd = SGD([Parameter([1.0])], 0.4)
        schedule = Then(FOLLOWED[before](sgd), FOLLOWED[after](sgd), 3)
        return Then(schedule, CosineLR(sgd, 8), 6) if within else schedule

    def go(schedule, steps):
        rates = []
        for i in range(steps):
            schedule.observe(batch_error=0.0)
            schedule.observe(iteration=i, test_error=1.0 + i)
            schedule.step()
            rates.append(schedule.optimizer.lr)
        return rates

    first, second = make(), make()
    go(first, 2)
    state = json.loads(json.dumps(first.state_dict()))
    second.load_state_dict(state)
    assert second.optimizer.lr == first.optimizer.lr
    assert go(second, 6) == go(first, 6)
    bad = state["before"]["before"] if within else state["before"]
    bad["iteration"] = -1
    with pytest.raises(ValueError, match="iteration"):
        second.load_state_dict(state)


class Listens(Schedule):
    """A schedule that falls with the iterations, and notes all that it observes."""

    def __init__(self, optimizer):
        self.seen = []
        super().__init__(optimizer)

    def factor(self, iteration):
        return 0.9**iteration * 0.5 ** len([figures for figures in self.seen if "iteration" in figures])

    def observe(self, **figures):
        self.seen.append(figures)
        self.apply()


@pytest.mark.parametrize("outer", ["warm-up", "until", "both"])
@pytest.mark.parametrize("seed", range(4))
def test_a_warm_up_ends_once_and_what_follows_sees_every_measurement(outer, seed):
    """Errors fall and rise, with records in between, which the schedule within observes before and after the end."""
    rng = np.random.default_rng(seed)
    optimizer = SGD([Parameter([1.0])], 1.0)
    inner = Listens(optimizer)
    schedule = inner if outer == "warm-up" else WarmupUntil(inner, error=0.9)
    schedule = schedule if outer == "until" else Warmup(schedule, 5)
    given, average, done, rose = [], 1.0, outer == "warm-up", False
    for i in range(130):
        error = rng.uniform(0, 0.5) if i // 20 in (0, 6) else rng.uniform(0.99, 1.0)
        given.append({"batch_error": error})
        average += (error - average) / 50
        done = done or average < 0.9
        rose = rose or (done and average > 0.9)
        schedule.observe(**given[-1])
        schedule.step()
        if i % 7 == 3:
            given.append({"iteration": i, "batch_error": 0.0, "test_error": error})
            schedule.observe(**given[-1])
        assert inner.seen == given
        ramp = 1.0 if outer == "until" else min(1.0, (i + 2) / 5)
        assert_allclose(optimizer.lr, ramp * (inner.factor(i + 1) if done else 0.1), rtol=1e-12)
    assert done
    assert rose


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("given", [np.float16, np.float32, np.float64, np.longdouble])
def test_a_state_of_another_precision_becomes_that_of_the_parameters(given, dtype, settings):
    """The next steps are those from a state that was converted before, to the bit; its memory layout is free, too."""
    g = np.random.default_rng(0).standard_normal((3, 4, 5))
    weights = []
    for kind in (given, dtype):
        p = Parameter(np.ones((4, 5), dtype))
        sgd = SGD([p], 0.1, **settings)
        state = sgd.state_dict() | {"velocity": [np.asfortranarray(g[0].astype(given).astype(kind))]}
        sgd.load_state_dict(state)
        assert sgd.state_dict()["velocity"][0].dtype == dtype
        for i in (1, 2):
            p.grad = mg.Tensor(g[i].astype(dtype))
            sgd.step()
        weights.append(p.data)
    assert weights[0].dtype == dtype
    assert_array_equal(*weights, strict=True)
