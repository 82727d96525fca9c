"""What an optimizer or a schedule holds: shared with no state, of any layout, at any step, and 0 where 0 was set."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import minigrad as mg
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
)


class Fading(Optimizer):
    """A rule of a user, by the number of the step, with two slots, and a setting of lists and a dict."""

    def update(self, w, g, last, largest, *, t, lr, scales):
        np.maximum(abs(g), largest, out=largest)
        w -= lr * (g + last) / (t**0.5 * scales[1][0]["all"])
        last[...] = g


class Falling(Schedule):
    """A schedule of a user."""

    def factor(self, iteration):
        return 0.9**iteration


class Notes:
    """Attributes of one's own, in a class derived from any optimizer or schedule: each call changes them in place."""

    def __init__(self, *args, **settings):
        self.notes = {"calls": [0], "lists": [[1], {"deep": [np.zeros(2)]}]}
        super().__init__(*args, **settings)

    def note(self):
        self.notes["calls"][0] += 1
        self.notes["lists"][0].append(2)
        self.notes["lists"][1]["deep"][0] += 1

    def step(self):
        self.note()
        super().step()

    def observe(self, **figures):
        self.note()
        super().observe(**figures)


RULES = {
    "SGD": (SGD, {"lr": 0.1, "weight_decay": 0.01}),
    "nesterov": (SGD, {"lr": 0.1, "nesterov": True}),
    "Adam": (Adam, {"lr": 0.1, "betas": (0.8, 0.999), "weight_decay": 0.01}),
    "AdamW": (AdamW, {"lr": 0.1, "weight_decay": 0.1}),
    "Fading": (Fading, {"lr": 0.1, "scales": [2.0, [{"all": 1.0}]]}),
}
SCHEDULES = {
    "steps": (MultiStepLR, ([3, 5],)),
    "cosine": (CosineLR, (7,)),
    "plateau": (ReduceOnPlateau, ("error", 1)),
    "Falling": (Falling, ()),
}


def optimizer(kind, p=None, base=None):
    rule, settings = RULES[kind]
    return (base or rule)(p or [Parameter(np.ones((2, 3))), Parameter(np.ones(4))], **settings)


def noting(kind):
    return type(kind.__name__, (Notes, kind), {})


def of_optimizer(name):
    return lambda: optimizer(name, base=noting(RULES[name][0]))


def of_schedule(name, warm):
    kind, args = SCHEDULES[name]

    def make():
        inner = noting(kind)(SGD([Parameter([1.0])], 1.0), *args)
        return noting(warm)(inner, *([4] if warm is Warmup else [])) if warm else inner

    return make


OWNERS = {name: of_optimizer(name) for name in RULES}
OWNERS |= {f"{name} {getattr(warm, '__name__', '')}".strip(): of_schedule(name, warm)
           for name in SCHEDULES for warm in (None, Warmup, WarmupUntil)}  # fmt: skip


def use(owner, calls=2):
    """Let an optimizer or a schedule change all that it holds."""
    for i in range(calls):
        if isinstance(owner, Optimizer):
            for p in owner.parameters():
                p.grad = mg.Tensor(np.full(p.shape, 1.0 + i))
        else:
            owner.observe(batch_error=0.5, error=1.0)
            owner.observe(iteration=i, error=1.0)
        owner.step()


def spoil(tree):
    """Change every array, list and dict of a state in place, whatever holds it."""
    if isinstance(tree, np.ndarray):
        tree[...] = -7
    elif isinstance(tree, list):
        for value in tree:
            spoil(value)
        tree.append(-7)
    elif isinstance(tree, dict):
        for value in tree.values():
            spoil(value)
        tree["spoiled"] = -7


# Whose a state is ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", OWNERS)
def test_what_is_done_to_a_state_that_was_given_reaches_nobody(kind):
    owner = OWNERS[kind]()
    use(owner)
    before = repr(owner.state_dict())
    spoil(owner.state_dict())
    assert repr(owner.state_dict()) == before


@pytest.mark.parametrize("kind", OWNERS)
def test_what_is_done_to_a_state_that_was_taken_reaches_nobody(kind):
    """And whoever took it changes only what is its own: two that took one state do not meet."""
    owner, first, second = (OWNERS[kind]() for _ in range(3))
    use(owner)
    state = owner.state_dict()
    before = repr(state)
    first.load_state_dict(state)
    second.load_state_dict(state)
    use(first)
    assert repr(first.state_dict()) != before
    assert repr(state) == repr(second.state_dict()) == before
    spoil(state)
    assert repr(second.state_dict()) == before


# What fits -----------------------------------------------------------------------------------


@pytest.mark.parametrize("place", range(2))
@pytest.mark.parametrize("kind", RULES)
def test_each_slot_of_each_parameter_has_its_shape_and_kind(kind, place):
    mine = optimizer(kind)
    use(mine)
    before = repr(mine.state_dict())
    shape = mine.parameters()[place].shape
    wrong = [np.zeros((5, 7)), np.zeros((*shape, 1)), np.zeros(shape[::-1] if place == 0 else 3), np.zeros(())]
    wrong += [np.zeros(shape, int), np.zeros(shape).tolist(), 0.5, "a"]
    for slot in mine.slots:
        for value in wrong:
            state = mine.state_dict()
            state[slot][place] = value
            for take in (mine.check_state_dict, mine.load_state_dict):
                with pytest.raises(ValueError, match=rf"^{type(mine).__name__}: expected {slot} of float64 of shape"):
                    take(state)
    assert repr(mine.state_dict()) == before


# At any step ---------------------------------------------------------------------------------


def sgd(w, g, slots, t):
    velocity = 0.9 * slots[0] + g + 0.01 * w
    return w - 0.1 * velocity


def nesterov(w, g, slots, t):
    return w - 0.1 * (g + 0.9 * (0.9 * slots[0] + g))


def adam(w, g, slots, t, b1=0.8, decay=0.01):
    g = g + decay * w
    m, v = b1 * slots[0] + (1 - b1) * g, 0.999 * slots[1] + 0.001 * g**2
    return w - 0.1 * (m / (1 - b1**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)


def adam_w(w, g, slots, t):
    return adam(w * (1 - 0.1 * 0.1), g, slots, t, b1=0.9, decay=0.0)


def fading(w, g, slots, t):
    return w - 0.1 * (g + slots[0]) / np.sqrt(t)


FORMULAS = dict(zip(RULES, (sgd, nesterov, adam, adam_w, fading), strict=True))


@pytest.mark.parametrize("kind", RULES)
def test_the_formula_holds_at_any_step(kind):
    """At steps around powers of ten and of two, where a count or a power could end."""
    rng = np.random.default_rng(0)
    for t in (1, 2, 10, 100, 257, 1000, 1001, 5000, 32_769, 65_537, 10**6, 2**31, 2**40):
        start, g, *slots = rng.uniform(0.5, 2.0, (4, 3))
        w = Parameter(start.copy())
        mine = optimizer(kind, [w])
        slots = slots[: len(mine.slots)]
        state = mine.state_dict() | {name: [slot] for name, slot in zip(mine.slots, slots, strict=True)}
        mine.load_state_dict(state | ({"t": [t - 1 or None]} if "t" in state else {}))
        w.grad = mg.Tensor(g)
        mine.step()
        assert_allclose(w.data, FORMULAS[kind](start, g, slots, t), rtol=1e-12, err_msg=f"step {t}")
        assert mine.state_dict().get("t", [t]) == [t]


# In any layout -------------------------------------------------------------------------------

LAYOUTS = {
    "transposed": lambda a: a.T.copy().T,
    "axes moved": lambda a: a.transpose(1, 2, 0).copy().transpose(2, 0, 1),
    "every second": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "backwards": lambda a: a[:, ::-1].copy()[:, ::-1],
    "part of a larger one": lambda a: np.pad(a, 1)[1:-1, 1:-1, 1:-1],
    "read only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
}


@pytest.mark.parametrize("blocks", [64, 1 << 20])
@pytest.mark.parametrize("kind", RULES)
def test_a_step_does_not_depend_on_the_layout(kind, blocks, monkeypatch):
    """Of parameters, gradients and slots, each and all together; in several blocks and in one."""
    monkeypatch.setattr("minigrad.kernels.blocks.BLOCK_BYTES", blocks)
    rng = np.random.default_rng(0)
    start, *gradients = rng.standard_normal((4, 3, 4, 5))

    def run(of_weights=np.copy, of_gradients=np.copy, of_slots=np.copy):
        w = Parameter(of_weights(start))
        mine = optimizer(kind, [w])
        for g in gradients:
            w.data, w.grad = of_weights(w.data), mg.Tensor(of_gradients(g))
            mine.step()
            state = mine.state_dict()
            mine.load_state_dict(state | {name: [of_slots(state[name][0])] for name in mine.slots})
        return w.data

    expected = run()
    assert (expected != start).all()
    for layout in LAYOUTS.values():
        for given in ((layout,), (np.copy, layout), (np.copy, np.copy, layout), (layout,) * 3):
            assert_array_equal(run(*given), expected, strict=True)


# Numbers that are too large, or none -----------------------------------------------------------


class Adds(Optimizer):
    """A rule of a user, which adds what a function makes of the gradient."""

    def __init__(self, params, function):
        super().__init__(params, lr=0.1)
        self.function = function

    def update(self, w, g, *, lr):
        w += self.function(g)


ERRORS = {
    "over": ("overflow", lambda g: g * np.float32(1e30), 1e30),
    "divide": ("divide by zero", lambda g: 1 / (g * 0), 1.0),
    "invalid": ("invalid value", lambda g: g - g, np.inf),
}


@pytest.mark.parametrize("way", ["raise", "warn", "ignore"])
@pytest.mark.parametrize("kind", [*RULES, "Adds"])
def test_of_floating_point_errors_in_a_step_numpy_says_what_it_was_asked_to(kind, way):
    """Of each of them, but of underflow nothing: that of a slot is no mistake."""

    def step(start, g, function=abs):
        w = Parameter(np.float32([start, start]))
        mine = Adds([w], function) if kind == "Adds" else optimizer(kind, [w])
        mine.lr, w.grad = 1e10, mg.Tensor(np.float32([g, g]))
        mine.step()

    for error, (said, function, g) in ERRORS.items():
        if error == "divide" and kind != "Adds":
            continue
        start, g = (1.0, g) if kind == "Adds" else (np.inf, np.inf) if error == "invalid" else (1.0, 3e38)
        with np.errstate(**{"all": "ignore", error: way}), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            if way == "raise":
                with pytest.raises(FloatingPointError, match=said):
                    step(start, g, function)
            else:
                step(start, g, function)
        assert any(said in str(warning.message) for warning in caught) == (way == "warn"), error
    with np.errstate(all="raise"):
        step(0.0, 1e-40, lambda g: g * np.float32(1e-3))


@pytest.mark.parametrize("kind", RULES)
def test_a_step_in_float32_is_that_in_float64_wherever_its_results_fit(kind):
    """For gradients of all sizes whose slots fit into float32, late in a run, where Adam corrects no more."""
    for g in (*10.0 ** np.arange(-14, 20), 3e19, 5e20):
        found = []
        for dtype in ("float32", "float64"):
            w = Parameter(np.zeros(2, dtype))
            mine = optimizer(kind, [w])
            state = mine.state_dict() | {name: [np.zeros(2, dtype)] for name in mine.slots}
            mine.load_state_dict(state | ({"t": [99_999]} if "t" in state else {}))
            w.grad = mg.Tensor(np.array([g, -g], dtype))
            with np.errstate(over="raise", invalid="raise"):
                mine.step()
            found.append([w.data, *(mine.state_dict()[name][0] for name in mine.slots)])
        for narrow, wide in zip(*found, strict=True):
            assert_allclose(narrow, wide, rtol=1e-5, err_msg=f"a gradient of {g}")


# Zero is a number ----------------------------------------------------------------------------


@pytest.mark.parametrize("zero", [0, 0.0, np.float32(0)])
def test_settings_of_zero_are_no_defaults(zero):
    """Rates, weights of old means, decays, eps, and the factors of schedules."""
    start, g = np.array([1.0, -2.0]), np.array([0.5, 0.25])

    def after(kind, steps=2, **settings):
        w = Parameter(start.copy())
        mine = kind([w], **settings)
        for _ in range(steps):
            w.grad = mg.Tensor(g)
            mine.step()
        return w.data - start

    for kind, settings in RULES.values():
        assert_array_equal(after(kind, **settings | {"lr": zero}), [0.0, 0.0])
    assert_allclose(after(SGD, lr=1.0, momentum=zero, weight_decay=zero), -2 * g, rtol=1e-12)
    assert_allclose(after(Adam, lr=1.0, betas=(zero, zero), eps=zero), [-2.0, -2.0], rtol=1e-12)
    assert_allclose(after(Adam, lr=1.0, betas=(0.5, zero), eps=zero, weight_decay=zero), [-2.0, -2.0], rtol=1e-12)
    assert_allclose(after(AdamW, lr=1.0, betas=(zero, 0.5), eps=zero, weight_decay=zero), [-2.0, -2.0], rtol=1e-12)

    def rates(make):
        found, schedule = [], make(SGD([Parameter([1.0])], 1.0))
        for i in range(4):
            found.append(schedule.optimizer.lr)
            schedule.observe(batch_error=0.5, error=1.0)
            schedule.observe(iteration=i, error=1.0)
            schedule.step()
        return found

    assert rates(lambda sgd: MultiStepLR(sgd, [2], gamma=zero)) == [1, 1, 0, 0]
    assert rates(lambda sgd: MultiStepLR(sgd, [int(zero)], gamma=0.5)) == [0.5] * 4
    assert rates(lambda sgd: ReduceOnPlateau(sgd, "error", 2, gamma=zero))[-1] == 0
    assert rates(lambda sgd: Warmup(MultiStepLR(sgd, [2]), int(zero))) == [1, 1, 0.1, 0.1]
    assert rates(lambda sgd: WarmupUntil(MultiStepLR(sgd, [9]), gamma=zero, error=0.1)) == [0] * 4
    assert rates(lambda sgd: WarmupUntil(MultiStepLR(sgd, [9]), gamma=0.5, error=zero)) == [0.5] * 4
