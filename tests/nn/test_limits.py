"""Settings at the ends of their ranges, above all 0, which is no default; and containers that hold one another."""

import collections
import copy
import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import minigrad as mg
from minigrad import nn, train

# Zero is a number ----------------------------------------------------------------------------


def batches(n=3):
    return [np.random.default_rng(i).normal(2.0 + i, 1.0 + i, (5, 3, 2, 4)) for i in range(n)]


@pytest.mark.parametrize("momentum", [0, 0.0, 1e-300, 0.25, 0.1, 1, 1.0])
def test_running_statistics_move_by_the_momentum_and_no_other(momentum):
    """With 0 they stay, and with 1 they are those of the last batch; set by the constructor, or later."""
    for later in (False, True):
        norm = nn.BatchNorm2d(4, dtype="float64", **({} if later else {"momentum": momentum}))
        norm.momentum = momentum
        mean, var = np.zeros(4), np.ones(4)
        for x in batches():
            out = norm(mg.Tensor(x)).data
            mean = (1 - momentum) * mean + momentum * x.mean((0, 1, 2))
            var = (1 - momentum) * var + momentum * x.var((0, 1, 2), ddof=1)
            assert_allclose(out, (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5), rtol=1e-9, atol=1e-12)
        assert_allclose(norm.running_mean.data, mean, rtol=1e-12)
        assert_allclose(norm.running_var.data, var, rtol=1e-12)
        if momentum == 0:
            assert_array_equal([norm.running_mean.data, norm.running_var.data], [np.zeros(4), np.ones(4)])
        assert_allclose(norm.eval()(mg.Tensor(x)).data, (x - mean) / np.sqrt(var + 1e-5), rtol=1e-9, atol=1e-12)


def test_a_momentum_of_0_is_kept_by_whatever_sets_it_for_a_while():
    net = nn.Sequential(nn.Flatten(), nn.BatchNorm2d(64, momentum=0.0))
    train.refresh_statistics(net, mg.data.DataLoader(mg.data.Digits(False), 100))
    images = mg.data.Digits(False).images.reshape(-1, 64)
    assert_allclose(net[1].running_mean.data, images.mean(0), rtol=1e-4, atol=1e-5)
    before = net.state_dict()
    for net_ in (net, copy.deepcopy(net)):
        assert net_[1].momentum == 0
        net_(mg.Tensor(images[:50]))
        for name, array in net_.state_dict().items():
            assert_array_equal(array, before[name], strict=True)


@pytest.mark.parametrize("zero", [0, 0.0, -0.0, np.float32(0)])
def test_nothing_is_dropped_and_nothing_leaks_at_0(zero):
    x = mg.Tensor(np.random.default_rng(0).standard_normal((50, 7)), requires_grad=True)
    drop, leaky = nn.Dropout(zero, rng=0), nn.LeakyReLU(zero)
    assert_array_equal(drop(x).data, x.data, strict=True)
    assert_array_equal(leaky(x).data, np.maximum(x.data, 0))
    (leaky(x) + drop(x)).sum().backward()
    assert_array_equal(x.grad.data, 1.0 + (x.data > 0))


@pytest.mark.parametrize("eps", [5e-324, 1e-300, 1.0, 1e300])
@pytest.mark.parametrize("make", [nn.BatchNorm2d, nn.LayerNorm, lambda c, **settings: nn.GroupNorm(1, c, **settings)])
def test_any_eps_is_taken_as_it_is(make, eps):
    """Where all numbers are equal, eps alone keeps the quotient finite."""
    layer = make(4, dtype="float64", eps=eps)
    x = np.random.default_rng(0).standard_normal((6, 1, 1, 4))
    axis = 0 if make is nn.BatchNorm2d else 3
    expected = (x - x.mean(axis, keepdims=True)) / np.sqrt(x.var(axis, keepdims=True) + eps)
    assert_allclose(layer(mg.Tensor(x)).data, expected, rtol=1e-9, atol=1e-14)
    assert_array_equal(layer(mg.Tensor(np.ones((6, 1, 1, 4)))).data, np.zeros((6, 1, 1, 4)))


# Containers in circles -----------------------------------------------------------------------

CONTAINERS = {
    "list": lambda: [],
    "dict": dict,
    "ordered": collections.OrderedDict,
}


def put(container, name, value):
    if isinstance(container, list):
        container.append(value)
    else:
        container[name] = value


class Circle(nn.Module):
    """Containers of which each holds a layer, and the next one or several of the others."""

    def __init__(self, kinds, arrows):
        parts = [CONTAINERS[kind]() for kind in kinds]
        for i, part in enumerate(parts):
            put(part, "layer", nn.Sequential(nn.Linear(1, 1, rng=i), nn.Dropout(0.5, rng=i)))
            put(part, "norm", nn.BatchNorm2d(1))
        for start, end in arrows:
            put(parts[start], f"to{end}", parts[end])
        self.parts = parts[0]


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_containers_in_a_circle_are_walked_once_around(n):
    """A circle through all of them, then one with a way back at each, then all to all: every layer comes once."""
    around = [(i, (i + 1) % n) for i in range(n)]
    ways = [around, around + [(b, a) for a, b in around], list(itertools.product(range(n), repeat=2))]
    for kinds in itertools.product(CONTAINERS, repeat=n) if n < 3 else [["list", "dict"] * 2, ["ordered", "list"] * 2]:
        for arrows in ways:
            net, other = Circle(kinds[:n], arrows), Circle(kinds[:n], arrows)
            assert len(list(net.parameters())) == 4 * n
            assert len(list(net.buffers())) == 2 * n
            assert len(list(net.named_modules())) == 1 + 4 * n
            assert len(list(net.named_generators())) == n
            assert {module.training for _, module in net.eval().named_modules()} == {False}
            state = {name: array + 1 for name, array in net.state_dict().items()}
            other.load_state_dict(state)
            for each in (other.to("cpu"), copy.deepcopy(other)):
                for name, array in each.state_dict().items():
                    assert_array_equal(array, state[name], strict=True)
            assert "Linear(1, 1)" in repr(net)


@pytest.mark.parametrize("odd", [lambda: collections.deque([1]), lambda: collections.UserList([1])])
def test_other_containers_in_a_circle_are_searched_to_their_end(odd):
    net, strange, known = nn.Sequential(nn.ReLU()), odd(), [2]
    strange.append(known)
    known.append(strange)
    net[0].parts = known
    assert list(net.parameters()) == []
    strange.append(nn.Parameter([1.0]))
    with pytest.raises(TypeError, match=r"^ReLU\.parts[.\w]*: parameters, .* are found .*, not in a \w+; use a list"):
        list(net.parameters())
