"""SGD and schedules, against the formulas written out."""

import json
import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

import minigrad as mg
from minigrad.nn import Parameter
from minigrad.optim import SGD, Adam, AdamW, CosineLR, MultiStepLR, ReduceOnPlateau, Schedule, Warmup, WarmupUntil


def steps(optimizer, parameters, gradients):
    """Take a step for each list of gradients."""
    for step in gradients:
        for p, g in zip(parameters, step, strict=True):
            p.grad = None if g is None else mg.Tensor(np.array(g))
        optimizer.step()


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_may_be_0_for_a_while(nesterov):
    """The velocity follows its formula all the time: after a step without momentum it is the last gradient."""
    w, expected, v = Parameter(np.zeros(1)), 0.0, 0.0
    sgd = SGD([w], 1.0, 0.9, nesterov=nesterov)
    for momentum, g in [(0.9, 1.0), (0.0, 5.0), (0.9, 0.0), (0.5, 2.0)]:
        w.grad, sgd.groups[0]["momentum"] = mg.Tensor(np.array([g])), momentum
        sgd.step()
        v = momentum * v + g
        expected -= g + momentum * v if nesterov else v
        assert w.item() == pytest.approx(expected)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_follows_its_formula(momentum, weight_decay, nesterov):
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


@pytest.mark.parametrize("shape", [(), (3,), (1000, 400)])
@pytest.mark.parametrize("settings", [{}, {"momentum": 0.0, "weight_decay": 0.1}, {"nesterov": True}])
def test_a_step_does_not_write_into_the_array_that_the_tape_stores(shape, settings):
    """z = (w w)^2: its gradient after the step is 4 w^3 at the w that z was computed from."""
    given = np.full(shape, 2.0, np.float32)
    w = Parameter(given)
    y = w * w
    z = y * y
    y.backward(np.ones(shape, np.float32), retain_graph=True)
    SGD([w], 0.1, **settings).step()
    assert (w.data != 2.0).all()
    assert w.data.dtype == np.float32
    assert_allclose(given, 2.0, strict=False)
    w.grad = None
    z.backward(np.ones(shape, np.float32))
    assert_allclose(w.grad.data, np.full(shape, 32.0, np.float32), rtol=0, strict=True)


def seen_by(name, w):
    """Let one thing alone hold the array of a parameter beside it, and return a function that shows what it sees."""
    if name == "the tape":
        y = (w * w).sum()
        return lambda: mg.grad(y, w)[0].data / 2
    if name == "a dict of a state":
        state = {"w": w.data}
        return lambda: state["w"]
    if name in ("a Tensor", "another parameter"):
        other = w.detach() if name == "a Tensor" else Parameter(w.data)
        return lambda: other.data
    array = w.data if name == "a variable" else w.data[:1]
    return lambda: array


@pytest.mark.parametrize("kind", [SGD, Adam, AdamW])
@pytest.mark.parametrize("shape", [(3, 2), (1000, 400)])
@pytest.mark.parametrize(
    "name", ["a variable", "a view", "a Tensor", "another parameter", "a dict of a state", "the tape"]
)
def test_a_step_is_seen_by_nobody_else(name, shape, kind):
    """And it is the same step, to the bit, as one into an array that only the parameter holds."""
    start = np.random.default_rng(0).standard_normal(shape).astype("float32")
    alone, held = Parameter(start.copy()), Parameter(start.copy())
    optimizers = [kind([alone], 0.1), kind([held], 0.1)]
    for _ in range(3):
        before, look, memory = held.data.copy(), seen_by(name, held), alone.data.ctypes.data
        for p, optimizer in zip((alone, held), optimizers, strict=True):
            p.grad = mg.Tensor(np.cos(p.data))
            optimizer.step()
        seen = look()
        np.testing.assert_array_equal(seen, before[: len(seen)], strict=True)
        np.testing.assert_array_equal(alone.data, held.data, strict=True)
        assert not np.shares_memory(held.data, seen)
        assert alone.data.ctypes.data == memory, "an array that only the parameter holds is not copied"
        del look, seen


@pytest.mark.parametrize("layout", ["read-only", "columns first", "a view", "a memory map"])
def test_a_step_moves_parameters_of_every_layout(layout, tmp_path):
    """What cannot be overwritten as one run is copied."""
    numbers = np.arange(6.0, dtype="float32").reshape(2, 3)
    np.save(tmp_path / "w.npy", numbers)
    w = Parameter(
        {
            "read-only": np.broadcast_to(numbers, (2, 3)),
            "columns first": np.asfortranarray(numbers),
            "a view": np.arange(12.0, dtype="float32").reshape(2, 6)[:, :3],
            "a memory map": np.load(tmp_path / "w.npy", mmap_mode="r"),
        }[layout]
    )
    expected = w.data - 0.5
    w.grad = mg.Tensor(np.ones_like(numbers))
    SGD([w], 0.5).step()
    np.testing.assert_array_equal(w.data, expected)
    assert w.data.flags.writeable


def test_a_drop_of_the_learning_rate_takes_effect_at_once():
    """The difference to Caffe's form, v = m v + lr g."""
    p = Parameter(np.zeros(1))
    sgd = SGD([p], 1.0, 0.9)
    steps(sgd, [p], [[[1.0]]])
    sgd.lr = 0.1
    steps(sgd, [p], [[[0.0]]])
    assert_allclose(p.data, [-1.0 - 0.1 * 0.9])


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("nesterov", [False, True])
def test_a_step_does_not_change_the_gradient(momentum, decay, nesterov):
    """Neither the first step nor a later one, whatever it is made of."""
    p = Parameter(np.ones(2))
    g = np.array([1.0, 2.0])
    p.grad = mg.Tensor(g)
    sgd = SGD([p], 0.1, momentum, decay, nesterov)
    for _ in range(3):
        sgd.step()
        assert_allclose(g, [1.0, 2.0], rtol=0)
        assert_allclose(p.grad.data, [1.0, 2.0], rtol=0)


def test_parameters_without_a_gradient_do_not_move():
    p, q = Parameter(np.ones(1)), Parameter(np.ones(1))
    steps(SGD([p, q], 0.1, weight_decay=0.5), [p, q], [[[1.0], None]])
    assert p.data != 1.0
    assert q.data == 1.0


def test_groups_have_settings_of_their_own():
    p, q = Parameter(np.ones(1)), Parameter(np.ones(1))
    sgd = SGD([{"params": [p]}, {"params": [q], "weight_decay": 0.0}], 0.1, weight_decay=0.5)
    steps(sgd, [p, q], [[[0.0], [0.0]]])
    assert_allclose([p.data[0], q.data[0]], [0.95, 1.0])


def test_zero_grad_discards_gradients():
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
        (([{"params": [Parameter([1.0])], "dampening": 0.1}], 0.1), "dampening"),
        (([{"params": [Parameter([1.0])], "lr": 0.1}], 0.0), "lr above 0"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message or "each parameter once"):
        SGD(*arguments)


def test_only_leaves_that_require_a_gradient_are_accepted():
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


def test_multi_step_drops_at_its_milestones():
    sgd = SGD([Parameter([1.0])], 0.5)
    assert_allclose(rates(MultiStepLR(sgd, [4, 2]), 6), [0.5, 0.5, 0.05, 0.05, 0.005, 0.005])


@pytest.mark.parametrize("milestones", [[2, 2], [2, 2, 2, 4], [1, 3, 1], [0], [0, 0, 5], np.array([3, 3]), []])
def test_each_milestone_counts_also_where_several_are_one_iteration(milestones):
    sgd = SGD([Parameter([1.0])], 0.5)
    expected = [0.5 * 0.1 ** sum(m <= i for m in milestones) for i in range(7)]
    assert_allclose(rates(MultiStepLR(sgd, milestones), 7), expected)


def test_warm_up_then_another_schedule():
    sgd = SGD([Parameter([1.0])], 0.4)
    assert_allclose(rates(Warmup(MultiStepLR(sgd, [5], gamma=0.5), 4), 7), [0.1, 0.2, 0.3, 0.4, 0.4, 0.2, 0.2])
    assert_allclose(rates(Warmup(MultiStepLR(SGD([Parameter([1.0])], 0.4), []), 0), 2), [0.4, 0.4])


def sgd(lr=0.4):
    return SGD([Parameter([1.0])], lr)


def test_cosine_follows_its_formula():
    values = rates(CosineLR(sgd(), 8), 11)
    assert_allclose(values, [0.2 * (1 + math.cos(math.pi * min(t, 8) / 8)) for t in range(11)], rtol=1e-15)
    assert values[0] == 0.4
    assert values[8:] == [0.0, 0.0, 0.0]


def test_cosine_behind_a_warm_up_counts_the_iterations_of_the_run():
    wave = rates(CosineLR(sgd(), 8), 8)
    assert_allclose(rates(Warmup(CosineLR(sgd(), 8), 3), 8), wave * np.minimum((np.arange(8) + 1) / 3, 1), rtol=1e-15)


def test_the_warm_up_ends_when_the_training_error_is_low():
    """By hand: from 1 the average moves towards 0.5 by a 50th each time; 0.5 + 0.5 * 0.98**n < 0.8 from n = 26 on."""
    schedule = WarmupUntil(MultiStepLR(sgd(), [40]))
    values = []
    for i in range(60):
        values.append(schedule.optimizer.lr)
        schedule.observe(batch_error=0.5 if i < 26 else 1.0)  # what comes later does not bring the warm-up back
        schedule.step()
    assert_allclose(values, [0.04] * 26 + [0.4] * 14 + [0.04] * 20, rtol=1e-15)


def test_a_warm_up_that_never_ends_does_not_hold_the_drops_back():
    """It had kept a tenth of the rate for all of the paper's 64,000 iterations."""
    schedule = WarmupUntil(MultiStepLR(sgd(), [2, 4]))
    seen = rates(schedule, 6)  # nothing is observed
    assert_allclose(seen, [0.04, 0.04, 0.04, 0.04, 0.004, 0.004], rtol=1e-15)


def test_one_lucky_batch_does_not_end_the_warm_up():
    schedule = WarmupUntil(MultiStepLR(sgd(), []))
    for i in range(1000):
        schedule.observe(batch_error=0.0 if i % 10 == 0 else 0.95)  # 85.5 % on average
        assert not schedule.done
    for _ in range(1000):
        schedule.observe(batch_error=0.8)  # not below
        assert not schedule.done


def test_a_plateau_drops_the_rate_after_its_patience():
    schedule = ReduceOnPlateau(sgd(), "val_error", patience=3, gamma=0.5)
    values = []
    for error in (0.5, 0.4, 0.4, 0.4, 0.4, 0.41, 0.39, 0.5, math.nan, 0.5, 0.38):
        schedule.observe(batch_error=0.0)
        schedule.step()
        schedule.observe(iteration=schedule.iteration, val_error=error, test_error=0.0)
        values.append(schedule.optimizer.lr)
    assert_allclose(values, [0.4] * 4 + [0.2] * 5 + [0.1] * 2, rtol=1e-15)


def test_a_plateau_of_an_error_that_is_not_measured_is_refused():
    """It would never come, and the rate never fall, without a word."""
    schedule = Warmup(ReduceOnPlateau(sgd(), "val_error"), 2)
    schedule.observe(batch_error=0.5)
    with pytest.raises(ValueError, match="expected 'val_error' to be measured, got .*test_error"):
        schedule.observe(iteration=3, test_error=0.5)


NESTED = {
    "steps": lambda o: MultiStepLR(o, np.array([7, 3])),
    "cosine": lambda o: CosineLR(o, 13),
    "plateau": lambda o: ReduceOnPlateau(o, patience=2),
    "warm-up": lambda o: Warmup(MultiStepLR(o, [6]), 4),
    "until": lambda o: WarmupUntil(CosineLR(o, 15), error=0.9),
    "all": lambda o: Warmup(WarmupUntil(ReduceOnPlateau(o, patience=2), error=0.9), 4),
}


def go(schedule, iterations):
    """Take steps and measure, as the training loop does; the errors depend on the iteration alone."""
    values = []
    for i in iterations:
        values.append(schedule.optimizer.lr)
        schedule.observe(batch_error=1 / (1 + i % 5))
        schedule.step()
        if i % 2:
            schedule.observe(iteration=i + 1, test_error=0.5 + 0.1 * (i % 3))
    return [*values, schedule.optimizer.lr]


@pytest.mark.parametrize("build", NESTED.values(), ids=NESTED)
@pytest.mark.parametrize("stop", range(19))
def test_a_schedule_continues_from_its_state(build, stop):
    expected = go(build(sgd()), range(20))
    assert len(set(expected)) > 1
    first = build(sgd())
    go(first, range(stop))
    state, other = first.state_dict(), build(sgd(lr=7.0))  # the base is part of the state
    if "milestones" in state:
        state["milestones"] = list(map(int, state["milestones"]))
    other.load_state_dict(json.loads(json.dumps(state)))
    assert other.optimizer.lr == expected[stop]
    assert go(other, range(stop, 20)) == expected[stop:]


def test_a_loaded_state_replaces_the_settings():
    schedule = MultiStepLR(sgd(), [2])
    state = schedule.state_dict()
    schedule.load_state_dict(state)
    state["milestones"].append(3)
    assert schedule.state_dict()["milestones"] == [2]  # a state does not change with its schedule, nor this with it
    state = schedule.state_dict()
    other = MultiStepLR(sgd(), [5], gamma=0.5)
    other.load_state_dict(state)
    assert_allclose(rates(other, 4), [0.4, 0.4, 0.04, 0.04])


@pytest.mark.parametrize("state", [None, {}, CosineLR(sgd(), 3).state_dict(), {"iteration": 3}])
def test_the_state_of_another_schedule_is_refused(state):
    schedule = MultiStepLR(sgd(), [2])
    before = schedule.state_dict()
    with pytest.raises(ValueError, match=r"MultiStepLR: expected a state with \['base', 'gamma', 'iteration', 'mile"):
        schedule.load_state_dict(state)
    assert schedule.state_dict() == before
    with pytest.raises(ValueError, match="MultiStepLR: expected a state with"):
        Warmup(schedule, 3).load_state_dict(Warmup(CosineLR(sgd(), 3), 3).state_dict())


def test_the_learning_rate_is_a_python_float():
    """A rate of np.float32 or np.float64 would promote the arithmetic, and not fit into a log."""

    class Mine(Schedule):
        def factor(self, iteration):
            return np.float32(0.5)

    optimizer = sgd(np.float64(0.1))
    assert type(optimizer.lr) is float
    assert type(Mine(optimizer).optimizer.lr) is float


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_continues_from_its_state(dtype, nesterov):
    rng = np.random.default_rng(0)
    gradients = [[rng.standard_normal(3).astype(dtype), None, rng.standard_normal(()).astype(dtype)] for _ in range(6)]

    def fresh(**settings):
        p = [Parameter(np.ones(shape, dtype)) for shape in (3, 2, ())]
        return p, SGD([{"params": p[:2], "momentum": 0.5} | settings, {"params": p[2:]}], 0.1, 0.9, 0.01, nesterov)

    p, whole = fresh()
    steps(whole, p, gradients[:3])
    q, other = fresh(weight_decay=0.3)  # the settings of the state win
    for mine, theirs in zip(q, p, strict=True):
        mine.data[...] = theirs.data
    state = whole.state_dict()
    assert [v is None for v in state["velocity"]] == [False, True, False]
    other.lr = 5.0
    other.load_state_dict(state)
    for v in state["velocity"]:
        if v is not None:
            v[...] = 1e9  # a state is a copy, on both ways
    steps(whole, p, gradients[3:])
    steps(other, q, gradients[3:])
    for mine, theirs in zip(q, p, strict=True):
        np.testing.assert_array_equal(mine.data, theirs.data, strict=True)
    assert other.groups[0]["weight_decay"] == 0.01


def test_a_state_that_does_not_fit_is_refused_and_changes_nothing():
    p = [Parameter(np.ones(3)), Parameter(np.ones((2, 2)))]
    optimizer = SGD(p, 0.1)
    steps(optimizer, p, [[np.ones(3), np.ones((2, 2))]])
    good = optimizer.state_dict()
    v, w = good["velocity"]
    wrong = [{"velocity": [w, v]}, {"velocity": [v]}, {"velocity": [v, w[0]]}, {"velocity": [v, w, v]}]
    for change in [*wrong, {"velocity": [np.ones((3, 1)), None]}, {"groups": good["groups"] * 2}, {"more": 1}]:
        with pytest.raises(ValueError, match="SGD: expected"):
            optimizer.load_state_dict(good | {"lr": 9.0} | change)
    for lacks in good:
        with pytest.raises(ValueError, match=r"SGD: expected a state with \['groups', 'lr', 'velocity'\]"):
            optimizer.load_state_dict({name: value for name, value in good.items() if name != lacks})
    assert optimizer.lr == 0.1
    np.testing.assert_array_equal(optimizer.state_dict()["velocity"][0], v, strict=True)
    optimizer.load_state_dict(good)


@pytest.mark.parametrize("kind", [np.float64, np.longdouble, np.float32])
@pytest.mark.parametrize("nesterov", [False, True])
def test_numbers_of_numpy_do_not_promote(kind, nesterov):
    """Given to SGD, or set later: each step is that of Python's numbers, to the bit."""
    weights = []
    for number in (float, kind):
        w = Parameter(np.float32([1.1, -2.3]))
        sgd = SGD([w], number(0.25), number(0.5), number(0.125), nesterov)
        for _ in range(3):
            (w * w * w).sum().backward()
            sgd.step()
            sgd.lr, sgd.groups[0]["momentum"], sgd.groups[0]["weight_decay"] = number(0.3125), number(0.75), number(0.5)
        assert w.dtype == sgd.state[w]["velocity"].dtype == np.float32
        weights.append(w.data)
    np.testing.assert_array_equal(*weights)
