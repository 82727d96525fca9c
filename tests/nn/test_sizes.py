"""Deep and wide: nets of hundreds of layers, modules nested hundreds deep, optimisers of hundreds of groups."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import minigrad as mg
from minigrad import inspect, nn
from minigrad.optim import SGD
from models import cifar_plain, cifar_resnet


class Nest(nn.Module):
    """A scale inside a scale inside a scale."""

    def __init__(self, depth):
        self.scale = nn.Parameter(np.array([1.0 + depth]))
        self.norm = nn.BatchNorm2d(1 + depth % 3, dtype="float64")
        if depth:
            self.inner = Nest(depth - 1)

    def forward(self, x):
        x = x * self.scale
        return self.inner(x) if hasattr(self, "inner") else x


def test_modules_nested_300_deep():
    net = Nest(299)
    names = [name for name, _ in net.named_parameters()]
    assert len(set(names)) == len(names) == 3 * 300
    assert max(name.count("inner") for name in names) == 299
    state = {name: value + 1 for name, value in net.state_dict().items()}
    net.load_state_dict(state)
    for name, value in net.state_dict().items():
        assert_array_equal(value, state[name])
    assert {m.training for _, m in net.eval().named_modules()} == {False}
    assert {m.training for _, m in net.train().named_modules()} == {True}


def test_layers_of_a_long_sequence_keep_their_order():
    """Layer 10 does not follow layer 1, as it would by name."""
    rng = np.random.default_rng(0)
    net = nn.Sequential(*[nn.Linear(3, 3, rng=i, dtype="float64") for i in range(300)])
    assert [name for name, _ in net.named_parameters()] == [f"{i}.{p}" for i in range(300) for p in ("weight", "bias")]
    x = expected = rng.standard_normal((2, 3))
    for layer in net.layers:
        layer.weight.data, layer.bias.data = np.linalg.qr(rng.standard_normal((3, 3)))[0], rng.standard_normal(3)
        expected = expected @ layer.weight.data + layer.bias.data
    np.testing.assert_allclose(net(mg.Tensor(x)).data, expected, rtol=1e-11, atol=1e-11)
    found = inspect.summary(net, (3,))
    assert (len(found.rows), found.parameters, found.macs) == (300, 300 * 12, 300 * 9)


@pytest.mark.parametrize("make", [cifar_plain, cifar_resnet])
def test_the_depth_of_a_net_is_its_number_of_layers_with_weights(make):
    """As section 4.2 counts: a convolution, 6n of them in three stages, a linear layer."""
    for depth in (8, 26, 110, 302):
        net = make(depth, width=1)
        kinds = [module for _, module in net.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
        assert len(kinds) == depth
        channels = [module.weight.shape[3] for module in kinds[:-1]]
        n = (depth - 2) // 6
        assert channels == [1] * (2 * n + 1) + [2] * 2 * n + [4] * 2 * n


def test_an_optimiser_of_300_groups():
    """Each with its own decay, momentum and nesterov, by the formula; continued from its state in the middle."""
    rng = np.random.default_rng(0)
    counts = [1 + i % 3 for i in range(300)]
    settings = [{"weight_decay": i / 500, "momentum": i / 400, "nesterov": i % 7 < 3} for i in range(300)]
    groups = [[nn.Parameter(rng.standard_normal(1 + j)) for j in range(n)] for n in counts]
    w = [[p.data.copy() for p in group] for group in groups]
    v = [[np.zeros(p.shape) for p in group] for group in groups]

    def made():
        given = [{"params": group, **s} for group, s in zip(groups, settings, strict=True)]
        return SGD(given, 0.1)

    sgd = made()
    for step in range(4):
        if step == 2:
            state, sgd = sgd.state_dict(), made()
            sgd.load_state_dict(state)
        for i, s in enumerate(settings):
            for j, p in enumerate(groups[i]):
                g = rng.standard_normal(p.shape)
                p.grad = mg.Tensor(g)
                d = g + s["weight_decay"] * w[i][j]
                v[i][j] = s["momentum"] * v[i][j] + d
                w[i][j] = w[i][j] - 0.1 * (d + s["momentum"] * v[i][j] if s["nesterov"] else v[i][j])
        sgd.step()
    for group, expected in zip(groups, w, strict=True):
        for p, e in zip(group, expected, strict=True):
            np.testing.assert_allclose(p.data, e, rtol=1e-12, atol=1e-14)
