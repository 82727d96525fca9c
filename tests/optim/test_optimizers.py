"""Every optimizer: rates of its groups, slots and states by name, a user's own rule; and clipping."""

import copy
import itertools
import pickle
import re

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import minigrad as mg
from minigrad.nn import Parameter
from minigrad.optim import SGD, Adam, AdamW, CosineLR, MultiStepLR, Optimizer, Warmup, clip_grad_norm


class Average(Optimizer):
    """A rule of a user: two slots, a count, a setting, and an attribute of its own."""

    def __init__(self, params, lr, decay=0.5):
        super().__init__(params, lr, decay=decay)
        self.taken = [0]

    def update(self, w, g, mean, largest, *, t, lr, decay):
        mean += (g - mean) / t
        np.maximum(decay * largest, abs(g).max(), out=largest)  # not elementwise
        w -= lr * mean / largest

    def step(self):
        self.taken[0] += 1
        super().step()
        if self.taken[0] % 3 == 0:
            self.lr *= 0.5


KINDS = {
    "SGD": lambda p: SGD(p, 0.1, momentum=0.9, weight_decay=0.01),
    "nesterov": lambda p: SGD(p, 0.1, nesterov=True),
    "plain": lambda p: SGD(p, 0.1, momentum=0.0),
    "Adam": lambda p: Adam(p, 0.1, betas=(0.8, 0.9), weight_decay=0.01),
    "AdamW": lambda p: AdamW(p, 0.1, weight_decay=0.1),
    "Average": lambda p: Average(p, 0.1),
}


def groups(dtype="float32", lr=0.02):
    """Three parameters in two groups; the second has a rate of its own."""
    p = [Parameter(np.ones(shape, dtype)) for shape in ((2, 3), (), (4,))]
    return p, [{"params": p[:2]}, {"params": p[2:], "lr": lr}]


def go(optimizer, p, steps):
    """Take steps along gradients that depend on the step alone; the second parameter does not always have one."""
    for i in steps:
        rng = np.random.default_rng(i)
        for j, q in enumerate(p):
            g = rng.standard_normal(q.shape).astype(q.dtype)
            q.grad = None if j == 1 and i % 3 == 0 else mg.Tensor(np.asarray(g))
        optimizer.step()


# Groups --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_group_moves_at_its_own_rate(kind):
    """As it would alone, in an optimizer with this rate."""
    p, given = groups()
    both = KINDS[kind](given)
    alone = [Parameter(np.ones(4, "float32"))]
    single = KINDS[kind](alone)
    single.lr = 0.02
    for i in range(4):
        go(both, p, [i])
        alone[0].grad = p[2].grad
        single.step()
        assert_allclose(p[2].data, alone[0].data, rtol=1e-6)
        assert both.lr == (single.lr * 5 if kind != "Average" else pytest.approx(single.lr * 5))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sizes", [(1,), (4,), (1, 2), (3, 1), (2, 1, 4)])
def test_each_group_is_shown_with_its_own_size_and_settings(kind, sizes):
    given = [{"params": [Parameter([1.0]) for _ in range(n)], "lr": 0.1 / 2**i} for i, n in enumerate(sizes)]
    optimizer = KINDS[kind](given)
    shown = re.findall(r"<(\d+) parameters>, (.*?)\)?(?:\n|$)", repr(optimizer))
    assert [int(n) for n, _ in shown] == list(sizes)
    for (_, text), group in zip(shown, optimizer.groups, strict=True):
        settings = {name: value for name, value in group.items() if name not in ("params", "lr_factor")}
        assert text == ", ".join(f"{name}={value!r}" for name, value in settings.items())
    assert repr(optimizer).startswith(f"{type(optimizer).__name__}(")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("loaded", [False, True])
def test_every_gradient_is_discarded_whatever_was_moved_before(kind, loaded):
    """Also of parameters without a state, beside others with one; the states and the weights stay."""
    for moved in itertools.product([True, False], repeat=3):
        p, given = groups()
        optimizer = KINDS[kind](given)
        for q, has in zip(p, moved, strict=True):
            q.grad = mg.Tensor(np.ones(q.shape, "float32")) if has else None
        optimizer.step()
        if loaded:
            optimizer.load_state_dict(optimizer.state_dict())
        before = str(optimizer.state_dict()), [q.data for q in p]
        for q in p:
            q.grad = mg.Tensor(np.ones(q.shape, "float32"))
        optimizer.zero_grad()
        assert [q.grad for q in p] == [None] * 3
        assert str(optimizer.state_dict()) == before[0]
        assert all(q.data is array for q, array in zip(p, before[1], strict=True))


def test_a_schedule_scales_the_rates_of_all_groups():
    _, given = groups(lr=0.02)
    sgd = SGD(given, 0.1)
    assert [group["lr"] for group in sgd.groups] == [0.1, 0.02]
    schedule = Warmup(MultiStepLR(sgd, [4]), 2)
    rates = []
    for _ in range(6):
        rates.append([sgd.lr, *(group["lr"] for group in sgd.groups)])
        schedule.step()
    factors = np.array([0.5, 1, 1, 1, 0.1, 0.1])
    assert_allclose(rates, factors[:, None] * [0.1, 0.1, 0.02], rtol=1e-14)
    cosine = CosineLR(SGD(groups(lr=0.3)[1], 0.1), 1)
    cosine.step()
    assert [group["lr"] for group in cosine.optimizer.groups] == [0.0, 0.0]
    assert cosine.optimizer.groups[1]["lr_factor"] == pytest.approx(3.0)


def test_a_rate_that_is_set_in_a_group_holds_until_that_of_all_is_set():
    p, given = groups()
    sgd = SGD(given, 0.5, momentum=0.0)
    sgd.groups[1]["lr"] = 1.0
    p[0].grad, p[2].grad = (mg.Tensor(np.ones(q.shape, "float32")) for q in (p[0], p[2]))
    sgd.step()
    assert (p[0].data[0, 0], p[2].data[0]) == (0.5, 0.0)
    sgd.lr = 0.25
    assert [group["lr"] for group in sgd.groups] == [0.25, pytest.approx(0.01)]


@pytest.mark.parametrize("value", [-1.0, np.nan, "0.1", None])
@pytest.mark.parametrize("place", ["lr", "group", "momentum"])
def test_what_is_set_later_is_refused_as_in_the_constructor(place, value):
    """Before the step, and so before a parameter has moved."""
    p, given = groups()
    sgd = SGD(given, 0.5)
    with pytest.raises(ValueError, match="^SGD: expected a .*number with"):  # noqa: PT012
        if place == "lr":
            sgd.lr = value
        else:
            sgd.groups[0]["lr" if place == "group" else place] = value
        go(sgd, p, [0])
    assert p[0].data[0, 0] == 1.0


# States --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_state_continues_to_the_bit(kind, dtype, tmp_path):
    """Through a file; also where it was saved before the first step, or before all parameters had one."""
    for stop in (0, 1, 4):
        p, given = groups(dtype)
        whole = KINDS[kind](given)
        go(whole, p, range(stop))
        mg.save(tmp_path / "state", {"optimizer": whole.state_dict(), "p": [q.data for q in p]})
        go(whole, p, range(stop, 9))
        tree = mg.load(tmp_path / "state")
        q, given = groups(dtype, lr=0.7)
        other = KINDS[kind](given)
        go(other, q, range(20, 22))  # all this is forgotten
        for r, array in zip(q, tree["p"], strict=True):
            r.data = array
        other.load_state_dict(tree["optimizer"])
        go(other, q, range(stop, 9))
        for mine, theirs in zip(q, p, strict=True):
            assert_array_equal(mine.data, theirs.data, strict=True)
        assert [*map(str, other.state_dict().values())] == [*map(str, whole.state_dict().values())]


def test_a_state_names_its_slots():
    p, given = groups()
    adam, mine = Adam(given), Average(p, 0.1)
    go(adam, p, [0])
    state = adam.state_dict()
    assert list(state) == ["lr", "groups", "m", "v", "t"]
    assert (state["t"], state["m"][1]) == ([1, None, 1], None)
    assert list(mine.state_dict()) == ["lr", "groups", "mean", "largest", "t", "taken"]
    state["groups"][0]["betas"][0] = state["m"][0][0, 0] = 7.0  # a state is a copy
    assert adam.groups[0]["betas"] == [0.9, 0.999]
    assert adam.state[p[0]]["m"][0, 0] != 7.0


def test_a_state_of_before_groups_had_rates_continues():
    """As SGD wrote it until groups could have a rate, and no optimizer but SGD existed."""
    p = [Parameter(np.ones(2)), Parameter(np.ones(3))]
    state = {
        "lr": 0.5,
        "groups": [{"momentum": 0.5, "weight_decay": 0.0, "nesterov": False}],
        "velocity": [np.array([2.0, 4.0]), None],
    }
    sgd = SGD(p, 0.1)
    sgd.load_state_dict(state)
    assert sgd.groups[0]["lr"] == sgd.lr == 0.5
    for q in p:
        q.grad = mg.Tensor(np.ones(q.shape))
    sgd.step()
    assert_array_equal(p[0].data, [0.0, -0.5])  # v = (2, 3)
    assert_array_equal(p[1].data, [0.5] * 3)


@pytest.mark.parametrize("kind", KINDS)
def test_the_state_of_another_optimizer_is_refused(kind):
    p, given = groups()
    mine = KINDS[kind](given)
    go(mine, p, range(2))
    before = str(mine.state_dict())
    for other in KINDS:
        if type(KINDS[other](p)) is not type(mine) and {kind, other} != {"Adam", "AdamW"}:
            with pytest.raises(ValueError, match=f"^{type(mine).__name__}: expected a state with .*another optimizer"):
                mine.load_state_dict(KINDS[other](groups()[1]).state_dict())
    for change in ({"t": [1, 2]}, {"t": [1, 0, 1]}, {"t": [1, 2, "3"]}, {"groups": None}, {"lr": "fast"}):
        state = mine.state_dict()
        if change.keys() <= state.keys():
            with pytest.raises(ValueError, match=f"^{type(mine).__name__}: expected"):
                mine.load_state_dict(state | change)
    assert str(mine.state_dict()) == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_continues_as_the_original(kind):
    """By deepcopy and by pickle, together with its parameters, which it holds as keys."""
    p, given = groups()
    first = KINDS[kind](given)
    go(first, p, range(2))
    copies = [copy.deepcopy((first, p))]
    if kind != "Average":  # pickle finds classes by their names
        copies.append(pickle.loads(pickle.dumps((first, p))))
    go(first, p, range(2, 5))
    for other, q in copies:
        go(other, q, range(2, 5))
        for mine, theirs in zip(q, p, strict=True):
            assert_array_equal(mine.data, theirs.data, strict=True)


# A rule of one's own -------------------------------------------------------------------------


class NoRule(Optimizer):
    """It lacks its rule."""


class NoGradient(Optimizer):
    """Its rule does not take a gradient."""

    def update(self, w, *, lr):
        """Do nothing."""


class Unset(Optimizer):
    """Its rule asks for a setting that was not given."""

    def update(self, w, g, m, *, lr, decay, t):
        """Do nothing."""


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        (NoRule, TypeError, r"^NoRule: expected a method update\(self, w, g, \*, lr\).*, got none"),
        (NoGradient, ValueError, r"^NoGradient: expected update to take self, w and g, .*, got \['self', 'w'\]"),
        (Unset, ValueError, r"^Unset: expected settings \['decay'\], .*, got \[\]; give them to super\(\).__init__"),
    ],
)
def test_an_optimizer_says_at_the_start_what_it_lacks(kind, error, message):
    with pytest.raises(error, match=message):
        kind([Parameter([1.0])], 0.1)


def test_a_rule_gets_whole_parameters_unless_it_is_elementwise():
    """With blocks of a few numbers, the largest of a block is not that of the parameter."""

    class Largest(Optimizer):
        def update(self, w, g, *, lr):
            w -= lr * g.max()

    class OfBlocks(Largest):
        elementwise = True

    moved = []
    for kind in (Largest, OfBlocks):
        p = Parameter(np.zeros(1 << 19))
        p.grad = mg.Tensor(np.arange(1.0 * p.size))
        kind([p], 1.0).step()
        moved.append(np.unique(p.data))
    assert moved[0] == [1 - p.size]
    assert len(moved[1]) == 4


@pytest.mark.parametrize("kind", ["SGD", "nesterov", "plain", "Adam", "AdamW"])
def test_blocks_and_threads_change_no_bit(kind, monkeypatch):
    moved = []
    for size in (1 << 20, 64):
        monkeypatch.setattr("minigrad.kernels.blocks.BLOCK_BYTES", size)
        p = [Parameter(np.ones((13, 7), "float32"))]
        go(KINDS[kind](p), p, range(4))
        moved.append(p[0].data)
    assert_array_equal(*moved, strict=True)


# Clipping ------------------------------------------------------------------------------------


def test_clipping_leaves_small_gradients_and_recorded_arrays_alone():
    p, q, without = Parameter(np.zeros(2)), Parameter(np.zeros(())), Parameter(np.zeros(3))
    p.grad, q.grad = mg.Tensor(np.array([1.0, 2.0])), mg.Tensor(np.array(2.0))
    before = p.grad.data
    assert clip_grad_norm([p, q, without], 3.0) == 3.0
    assert p.grad.data is not before or p.grad.data[0] == 1.0 / (1 + 1e-6 / 3)
    assert clip_grad_norm([p, q, without], 0.3) == pytest.approx(3.0)
    assert_allclose([*p.grad.data, q.grad.data], [0.1, 0.2, 0.2], rtol=1e-6)
    assert_array_equal(before, [1.0, 2.0])
    assert clip_grad_norm([without], 1.0) == clip_grad_norm([], 1.0) == 0.0


def test_the_norm_of_large_float32_gradients_is_finite_and_their_dtype_stays():
    p = Parameter(np.zeros(2, "float32"))
    p.grad = mg.Tensor(np.array([3e30, 4e30], "float32"))
    assert clip_grad_norm([p], 1.0) == pytest.approx(5e30)
    assert p.grad.dtype == np.float32
    assert_allclose(p.grad.data, [0.6, 0.8], rtol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_norm_that_is_not_finite_is_refused(value):
    p, q = Parameter(np.zeros(2)), Parameter(np.zeros(2))
    p.grad, q.grad = mg.Tensor(np.array([3.0, 4.0])), mg.Tensor(np.array([1.0, value]))
    with pytest.raises(FloatingPointError, match=f"clip_grad_norm: the norm of the gradients is {value}"):
        clip_grad_norm([p, q], 1.0)
    assert_array_equal(p.grad.data, [3.0, 4.0])
