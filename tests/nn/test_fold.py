"""fold_batch_norm: equal outputs from fewer layers, and no layer folded that must not be."""

import copy
from functools import partial
from typing import ClassVar

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import minigrad as mg
import models
from minigrad import nn
from models import cifar_plain, cifar_preact_resnet, cifar_resnet, residual_net
from models.plain import PlainBlock, conv_bn
from models.resnet import BasicBlock, Bottleneck
from tests.tools.strict import StrictArray, strict

RNG = np.random.default_rng(0)


def lived_in(net):
    """Give a net parameters and statistics as training leaves them: none is 0 or 1, some gammas are negative."""
    for p in net.parameters():
        if p.ndim == 1:
            p.data = RNG.uniform(0.5, 1.5, p.shape).astype(p.dtype) * RNG.choice([-1, 1, 1, 1], p.shape).astype(p.dtype)
    for _, module in net.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.data[...] = RNG.standard_normal(module.weight.shape)
            module.running_var.data[...] = RNG.uniform(0.2, 3.0, module.weight.shape)
    return net


def repeated_draws(shape, *, rng, dtype):
    """Fill large weights in less time than he_normal takes."""
    return np.resize(rng.standard_normal(10007) * np.sqrt(2 / np.prod(shape[:-1])), shape).astype(dtype)


def count(net, kind):
    return sum(isinstance(module, kind) for _, module in net.named_modules())


def images(*shape, dtype="float32"):
    return mg.Tensor(np.random.default_rng(1).standard_normal(shape).astype(dtype))


def assert_equal_outputs(net, folded, x):
    """Compare to 1e-5 (float32) or 1e-12 of the largest output."""
    expected, out = net.eval()(x).data, folded(x).data
    assert_allclose(
        out, expected, rtol=0, atol={4: 1e-5, 8: 1e-12}[x.dtype.itemsize] * abs(expected).max(), strict=True
    )
    assert abs(expected).max() > 1e-3


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("make", "norms"),
    [
        (lambda dtype: cifar_plain(20, dtype=dtype), 19),
        (lambda dtype: cifar_resnet(20, dtype=dtype), 19),
        (lambda dtype: cifar_resnet(20, "C", bn_eps=1e-3, dtype=dtype), 28),
        (
            lambda dtype: residual_net(
                "imagenet", Bottleneck, (3, 4, 6, 3), (8, 16, 32, 64, 128), num_classes=10, dtype=dtype
            ),
            53,
        ),
        (lambda dtype: models.vgg11(True, image_size=32, num_classes=10, dtype=dtype), 8),
    ],
)
def test_equal_outputs_from_fewer_layers(make, norms, dtype, monkeypatch):
    monkeypatch.setattr("minigrad.nn.layers.he_normal", repeated_draws)
    net = lived_in(make(dtype))
    state = net.state_dict()
    folded = nn.fold_batch_norm(net)
    assert (count(net, nn.BatchNorm2d), count(folded, nn.BatchNorm2d)) == (norms, 0)
    for kind in (nn.Conv2d, nn.Linear, nn.ReLU):
        assert count(folded, kind) == count(net, kind)
    assert_equal_outputs(net, folded, images(2, 32, 32, 3, dtype=dtype))
    assert {p.dtype for p in folded.parameters()} == {np.dtype(dtype)}
    for name, value in net.state_dict().items():  # the net is as it was
        assert_array_equal(value, state[name])


def test_of_pre_activation_half_of_the_norms_are_folded():
    """Batch norm after the sum of a block has no convolution before it that could do its work."""
    net = lived_in(cifar_preact_resnet(14, width=4, dtype="float64"))
    folded = nn.fold_batch_norm(net)
    assert (count(net, nn.BatchNorm2d), count(folded, nn.BatchNorm2d)) == (13, 6)
    assert_equal_outputs(net, folded, images(2, 32, 32, 3, dtype="float64"))


def test_the_copy_is_a_copy():
    net = lived_in(cifar_resnet(8))
    net(images(4, 8, 8, 3)).sum().backward()
    grads = [p.grad.data.copy() for p in net.parameters()]
    net.layer1.eval()
    modes = [module.training for _, module in net.named_modules()]
    folded = nn.fold_batch_norm(net)
    assert type(folded) is type(net)
    assert [module.training for _, module in net.named_modules()] == modes
    assert not any(module.training for _, module in folded.named_modules())
    for p in folded.parameters():
        assert p.grad is None
        assert not any(np.shares_memory(p.data, q.data) for q in net.parameters())
        p.data[...] = 7
    assert not any((p.data == 7).any() for p in net.parameters())
    for p, g in zip(net.parameters(), grads, strict=True):
        assert_array_equal(p.grad.data, g)
    assert [name for name, _ in net.named_modules()] == [name for name, _ in cifar_resnet(8).named_modules()]


def test_a_recorded_gradient_is_not_copied():
    """backward(create_graph=True) leaves gradients that hold their graph: thousands of entries, deep in one another."""
    net = nn.Sequential(nn.Linear(2, 2, rng=0), nn.BatchNorm2d(2))
    x = images(3, 2)
    y = net(x)
    for _ in range(3000):
        y = y * 0.999
    (y * y).sum().backward(create_graph=True)
    assert_equal_outputs(net, nn.fold_batch_norm(net), x)
    for p in net.parameters():
        p.grad = None


@pytest.mark.parametrize(
    ("layers", "shape"),
    [
        ([nn.Linear(6, 4, rng=0), nn.BatchNorm2d(4)], (5, 6)),
        ([nn.Linear(6, 4, bias=False, rng=0), nn.BatchNorm2d(4, eps=0.1)], (5, 6)),
        ([nn.Conv2d(4, 6, 3, groups=2, stride=2, padding=1, rng=0), nn.BatchNorm2d(6)], (2, 5, 5, 4)),
        ([nn.Conv2d(4, 6, (1, 3), dilation=2, bias=False, rng=0), nn.BatchNorm2d(6)], (2, 5, 7, 4)),
        ([nn.Conv2d(4, 6, 1, rng=0), nn.BatchNorm2d(6), nn.BatchNorm2d(6), nn.ReLU()], (2, 5, 7, 4)),
    ],
)
def test_layers_of_every_kind(layers, shape):
    net = lived_in(nn.Sequential(*layers))
    folded = nn.fold_batch_norm(net)
    assert count(folded, nn.BatchNorm2d) == 0
    assert repr(folded[0]) == repr(net[0]).replace(", bias=False", "")  # the shift is a bias
    assert_equal_outputs(net, folded, images(*shape))


class Doubled(nn.Conv2d):
    """A convolution with a forward of its own."""

    def forward(self, x):
        return mg.exp(super().forward(x) * 0.1)


class Backwards(nn.Sequential):
    """A Sequential that runs from the last layer to the first."""

    def forward(self, x):
        for layer in reversed(self.layers):
            x = layer(x)
        return x


class Named(nn.Sequential):
    """A Sequential under another name."""


def test_what_does_not_follow_directly_is_left():
    conv, norm = partial(nn.Conv2d, 3, 3, 1, rng=0), partial(nn.BatchNorm2d, 3)
    for net, left in [
        (nn.Sequential(norm(), conv()), 1),
        (nn.Sequential(conv(), nn.ReLU(), norm()), 1),
        (nn.Sequential(nn.Sequential(conv()), norm()), 1),
        (nn.Sequential(conv(), nn.Sequential(norm())), 1),
        (nn.Sequential(Doubled(3, 3, 1, rng=0), norm()), 1),
        (Backwards(conv(), norm(), conv()), 1),
        (Named(conv(), norm()), 0),
        (norm(), 1),
    ]:
        lived_in(net)
        folded = nn.fold_batch_norm(net)
        assert count(folded, nn.BatchNorm2d) == left, net
        assert_equal_outputs(net, folded, images(2, 4, 4, 3))


class Uses(nn.Module):
    """Modules one after the other, some of them in more than one place."""

    def __init__(self, *parts):
        self.parts = list(parts)

    def forward(self, x):
        for part in self.parts:
            x = part(x)
        return x


def test_what_is_shared_is_folded_in_each_place_on_its_own():
    conv, a, b = nn.Conv2d(3, 3, 1, rng=0), nn.BatchNorm2d(3), nn.BatchNorm2d(3)
    tied = nn.Conv2d(3, 3, 1, rng=1)
    tied.weight = conv.weight
    twice = nn.Sequential(conv, a)
    for net, left in [
        (nn.Sequential(conv, a, nn.ReLU(), conv, b), 0),  # one convolution under two norms
        (nn.Sequential(conv, nn.ReLU(), conv, a), 0),  # and once without any
        (Uses(nn.Sequential(conv, a), conv), 0),
        (Uses(nn.Sequential(conv, a), a), 1),  # one norm, once after something else
        (nn.Sequential(conv, a, nn.ReLU(), tied), 0),  # one weight in two layers
        (Uses(twice, nn.ReLU(), twice), 0),  # one Sequential in two places
    ]:
        lived_in(net)
        folded = nn.fold_batch_norm(net)
        assert count(folded, nn.BatchNorm2d) == left
        assert_equal_outputs(net, folded, images(2, 4, 4, 3))
    assert folded.parts[0] is folded.parts[2]


class PreActivation(BasicBlock):
    """Batch norm stands before its convolution: what the parent class says of its forward is not true of this one."""

    def forward(self, x):
        y = self.conv1(self.relu(self.bn1(x)))
        return self.conv2(self.relu(self.bn2(y))) + self.downsample(x)


class Renamed(BasicBlock):
    """A BasicBlock under another name."""


class Says(nn.Module):
    """A Module that says what follows what."""

    norm_after: ClassVar = {"first": "second", "relu": "second"}

    def __init__(self, first, second):
        self.first, self.second, self.relu = first, second, nn.ReLU()

    def forward(self, x):
        return self.relu(self.second(self.first(x)))


def test_a_class_says_what_follows_what_in_its_forward():
    make = partial(conv_bn, rng=0)
    doubled = BasicBlock(make, 3, 3)
    doubled.conv1 = Doubled(3, 3, 3, padding=1, rng=0)
    for net, left in [
        (BasicBlock(make, 3, 3), 0),
        (BasicBlock(make, 3, 4, 2, shortcut="B"), 0),
        (PlainBlock(make, 3, 4, 2), 0),
        (Bottleneck(make, 3, 8, 2, shortcut="A"), 0),
        (Renamed(make, 3, 3), 0),
        (PreActivation(make, 3, 3), 2),
        (doubled, 1),
        (Says(nn.Linear(3, 4, rng=0), nn.BatchNorm2d(4)), 0),
        (Says(nn.BatchNorm2d(3), nn.BatchNorm2d(3)), 2),
    ]:
        lived_in(net)
        folded = nn.fold_batch_norm(net)
        assert count(folded, nn.BatchNorm2d) == left, type(net)
        assert_equal_outputs(net, folded, images(2, 4, 4, 3))


class Shares(nn.Module):
    """Two layers, each followed by the same norm."""

    norm_after: ClassVar[dict[str, str]] = {"first": "norm", "second": "norm"}

    def __init__(self):
        self.first, self.second, self.norm = nn.Linear(3, 3, rng=0), nn.Linear(3, 3, rng=1), nn.BatchNorm2d(3)

    def forward(self, x):
        return self.norm(self.second(self.norm(self.first(x))))


def test_a_norm_that_follows_two_layers_is_left():
    net = lived_in(Shares())
    folded = nn.fold_batch_norm(net)
    assert count(folded, nn.BatchNorm2d) == 1
    assert_equal_outputs(net, folded, images(2, 4, 4, 3))


def test_a_forward_set_on_a_module_is_left():
    """A deepcopy takes it over as it is, and with it the layers of the module it was written for."""
    net = lived_in(nn.Sequential(BasicBlock(partial(conv_bn, rng=0), 3, 3)))
    net[0].forward = lambda x: x
    assert count(nn.fold_batch_norm(net), nn.BatchNorm2d) == 2
    chain = lived_in(nn.Sequential(nn.Linear(3, 3, rng=0), nn.BatchNorm2d(3)))
    chain.forward = lambda x: x
    assert count(nn.fold_batch_norm(chain), nn.BatchNorm2d) == 1


def test_it_is_computed_in_float64_and_rounded_once():
    net = lived_in(nn.Sequential(nn.Conv2d(64, 64, 3, rng=0), nn.BatchNorm2d(64)))
    norm = net.layers[1]
    norm.running_mean.data *= 1000
    wide = {name: value.astype("float64") for name, value in net.state_dict().items()}
    scale = wide["1.weight"] / np.sqrt(wide["1.running_var"] + norm.eps)
    shift = wide["1.bias"] + (wide["0.bias"] - wide["1.running_mean"]) * scale
    (folded,) = nn.fold_batch_norm(net).layers
    assert_array_equal(folded.weight.data, (wide["0.weight"] * scale).astype("float32"))
    assert_array_equal(folded.bias.data, shift.astype("float32"))
    assert isinstance(folded.weight, nn.Parameter)
    assert isinstance(folded.bias, nn.Parameter)


@pytest.mark.parametrize("dtype", ["float32", "float64", "longdouble"])
@pytest.mark.parametrize("layer", [partial(nn.Linear, 3, 2), partial(nn.Conv2d, 3, 2, 1)])
@pytest.mark.parametrize("bias", [True, False])
def test_it_keeps_the_digits_of_every_dtype(layer, bias, dtype):
    """Thirds and sevenths have all the digits that a dtype holds: weights and bias are right to its last ones."""
    net = nn.Sequential(layer(bias=bias, rng=0, dtype=dtype), nn.BatchNorm2d(2, dtype=dtype))
    for i, value in enumerate([*net.parameters(), *net.buffers()], 3):
        value.data[...] = (1 + np.arange(value.data.size).reshape(value.data.shape) % 4) / np.asarray(i, dtype)
    wide = {name: value.astype("longdouble") for name, value in net.state_dict().items()}
    scale = wide["1.weight"] / np.sqrt(wide["1.running_var"] + np.longdouble(net[1].eps))
    shift = wide["1.bias"] + (wide.get("0.bias", 0) - wide["1.running_mean"]) * scale
    folded = nn.fold_batch_norm(net)[0]
    for found, expected in ((folded.weight.data, wide["0.weight"] * scale), (folded.bias.data, shift)):
        assert found.dtype == dtype
        assert_allclose(found.astype("longdouble"), expected, rtol=0, atol=4 * np.finfo(dtype).eps)


def test_a_folded_net_can_be_saved_and_loaded():
    net = lived_in(cifar_resnet(8))
    folded, other = nn.fold_batch_norm(net), nn.fold_batch_norm(cifar_resnet(8, rng=5))
    other.load_state_dict(folded.state_dict())
    x = images(2, 8, 8, 3)
    assert_array_equal(other(x).data, folded(x).data)
    twice = nn.fold_batch_norm(folded)  # nothing is left to be folded
    assert_array_equal(twice(x).data, folded(x).data)


def test_on_a_device():
    net = lived_in(cifar_resnet(8, "B"))
    x = images(2, 8, 8, 3)
    away = copy.deepcopy(net)
    for value in [*away.parameters(), *away.buffers()]:
        value.data = strict.asarray(value.data)
    folded = nn.fold_batch_norm(away)
    assert all(type(p.data) is StrictArray for p in folded.parameters())
    expected = net.eval()(x).data
    out = folded(mg.Tensor(strict.asarray(x.data))).numpy()
    assert_allclose(out, expected, rtol=0, atol=1e-5 * abs(expected).max(), strict=True)


def test_what_is_no_module_is_refused():
    with pytest.raises(TypeError, match="fold_batch_norm: expected a Module, got list"):
        nn.fold_batch_norm([nn.ReLU()])
