"""Nets and weights of less usual kinds: views in a tuple, float64, subclasses, many stages, deep nets of long ago."""

import functools

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import minigrad as mg
import models
from minigrad import nn
from models import plain_net, residual_net
from models.legacy import todays_path
from models.plain import PlainBlock, conv_bn
from models.preact import PreactBlock
from models.predict import predict
from models.pretrained import load_torch, to_torch
from models.resnet import BasicBlock, Bottleneck

#: PyTorch's names of the statistics of batch norm.
STATISTICS = ["running_mean", "running_var", "num_batches_tracked"]

VGG = [functools.partial(getattr(models, f"vgg{depth}"), image_size=32) for depth in (11, 13, 16, 19)]


@pytest.fixture
def cheap_draws(monkeypatch):
    """Each matrix is one random number, from the Generator that the net was given: no time, no memory."""
    monkeypatch.setattr(
        "minigrad.nn.layers.he_normal",
        lambda shape, *, rng, dtype: np.broadcast_to(np.asarray(np.random.default_rng(rng).random(), dtype), shape),
    )


def layers_of(net, *kinds):
    return [module for _, module in net.named_modules() if isinstance(module, kinds)]


# predict -------------------------------------------------------------------------------------


def linear(seed, dtype="float32"):
    return nn.Sequential(nn.GlobalAvgPool2d(), nn.Linear(3, 5, rng=seed, dtype=dtype))


@pytest.mark.parametrize("kind", [list, tuple])
@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_nets_and_views_may_be_any_sequence(kind, n):
    views = [np.random.default_rng(i).standard_normal((2, 4, 4 + i, 3)).astype("float32") for i in range(n)]
    nets = [linear(seed) for seed in range(n)]
    expected = np.mean([predict(net, view) for net in nets for view in views], axis=0)
    before = kind(nets), kind(views)
    assert_allclose(predict(*before), expected, rtol=1e-5, strict=True)
    assert_allclose(predict(nets[0], kind(views)), predict(nets[0], views), rtol=0, strict=True)
    assert_allclose(predict(kind(nets), views[0]), predict(nets, views[0]), rtol=0, strict=True)
    assert all(a is b for a, b in zip((*before[0], *before[1]), (*nets, *views), strict=True))  # as they were


@pytest.mark.parametrize(("dtype", "rtol"), [("float32", 1e-5), ("float64", 1e-13)])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_scores_have_the_dtype_and_the_digits_of_the_nets(dtype, rtol, n):
    nets = [linear(seed, dtype) for seed in range(n)]
    view = np.random.default_rng(0).standard_normal((2, 4, 4, 3)).astype(dtype)
    logits = [view.mean((1, 2)) @ net[1].weight.data + net[1].bias.data for net in nets]
    exps = [np.exp(each) for each in logits]
    expected = np.mean([e / e.sum(1, keepdims=True) for e in exps], axis=0, dtype=dtype)
    assert_allclose(predict(nets, view), expected, rtol=rtol, strict=True)


# Nets ----------------------------------------------------------------------------------------

EVERY = {
    **{
        f"vgg{i}-{norm}": functools.partial(make, batch_norm=norm)
        for i, make in enumerate(VGG)
        for norm in (False, True)
    },
    **{
        f"{stem}-{kind.__name__}-{option}-{zero}": functools.partial(
            residual_net, stem, kind, (2, 2), (4, 4, 8), shortcut=option, zero_gamma=zero
        )
        for stem in ("imagenet", "cifar")
        for kind in (BasicBlock, Bottleneck)
        for option in "ABC"
        for zero in (False, True)
    },
    **{stem: functools.partial(plain_net, stem, (2, 2), (4, 4, 8)) for stem in ("imagenet", "cifar")},
}


@pytest.mark.parametrize("make", EVERY.values(), ids=EVERY)
@pytest.mark.usefixtures("cheap_draws")
def test_settings_reach_every_layer_whatever_the_options(make):
    """Dtype and epsilon; dropout drops half, as in the paper."""
    for dtype in ("float32", "float64"):
        net = make(dtype=dtype)
        assert {value.data.dtype.name for value in (*net.parameters(), *net.buffers())} == {dtype}
    if layers_of(net, nn.Dropout):
        assert [layer.p for layer in layers_of(net, nn.Dropout)] == [0.5, 0.5]
    else:
        assert {norm.eps for norm in layers_of(make(bn_eps=0.25), nn.BatchNorm2d)} == {0.25}


@pytest.mark.parametrize("make", [*EVERY.values(), lambda rng: conv_bn(3, 1, 1, rng=rng)[0]], ids=[*EVERY, "conv_bn"])
@pytest.mark.usefixtures("cheap_draws")
def test_a_given_generator_is_moved_on(make):
    """Two nets from one Generator differ; the first is that of the seed."""
    rng = np.random.default_rng(5)
    first, second, of_seed = (
        [p.data.flat[0] for p in make(rng=source).parameters() if p.ndim > 1] for source in (rng, rng, 5)
    )
    assert first == of_seed
    assert not set(first) & set(second)
    assert len(set(first)) == len(first)


def noted(parts, calls):
    """Note the names of parts when they are called; return functions that end it."""
    return [part.hook(lambda module, out, name=name: calls.append(name)) for name, part in parts]


def replace_parts(parent):
    """Put a Sequential, which calls it, in the place of each part of a module."""
    for name, part in list(parent.named_children()):
        if isinstance(parent, nn.Sequential):
            parent.layers[int(name)] = nn.Sequential(part)
        else:
            setattr(parent, name, nn.Sequential(part))


@pytest.mark.parametrize("name", ["cifar", "cifar-BasicBlock-B-False", "cifar-Bottleneck-A-False"])
@pytest.mark.usefixtures("cheap_draws")
def test_parts_that_are_replaced_after_a_call_are_called(name):
    """Wherever in the net they are; what is listed follows, too."""
    net = EVERY[name](num_classes=2).eval()
    x = np.random.default_rng(0).standard_normal((1, 8, 8, 3)).astype("float32")
    expected = net(x).data
    number = len(list(net.parameters()))
    for path, parent in list(net.named_modules()):
        before, after = [], []
        ends = noted(parent.named_children(), before)
        net(x)
        for end in ends:
            end()
        replace_parts(parent)
        noted(parent.named_children(), after)
        assert_array_equal(net(x).data, expected)
        assert after == before, path
        assert set(after) == {name for name, _ in parent.named_children()}
    assert len(list(net.parameters())) == number
    assert net.stages == [net.layer1, net.layer2]
    net.layer3 = nn.Sequential(nn.Identity())
    assert net.stages == [net.layer1, net.layer2, net.layer3]


@pytest.mark.parametrize("kind", [BasicBlock, Bottleneck])
@pytest.mark.parametrize("option", ["A", "B", "C"])
@pytest.mark.parametrize("stride_in", ["1x1", pytest.param("3x3", marks=pytest.mark.slow)])
@pytest.mark.usefixtures("cheap_draws")
def test_a_block_of_a_derived_class_gets_all_settings(kind, option, stride_in):
    mine = type("Mine", (kind,), {})
    settings = {"shortcut": option, "stride_in": stride_in, "zero_gamma": True, "pad_channels": "both", "bn_eps": 0.25}
    net, usual = (residual_net("cifar", block, (2, 2), (4, 8, 16), **settings) for block in (mine, kind))
    assert repr(net).replace("Mine", kind.__name__) == repr(usual)
    for name, array in usual.state_dict().items():
        assert_array_equal(net.state_dict()[name], array, strict=True)
    for name in ("stride", "missing", "eps"):
        assert [vars(m).get(name) for _, m in net.named_modules()] == [
            vars(m).get(name) for _, m in usual.named_modules()
        ]


@pytest.mark.parametrize("kind", [BasicBlock, Bottleneck])
@pytest.mark.parametrize("option", ["A", "B", "C"])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_a_shortcut_fits_whatever_changes(kind, option, stride):
    """The maps alone, the channels alone, by an odd number, both, or nothing."""
    x = np.random.default_rng(0).standard_normal((2, 7, 8, 4)).astype("float32")
    for pad_channels in ("after", "both"):
        for c_out in (4, 5, 8, 11):
            block = kind(
                functools.partial(conv_bn, rng=0), 4, c_out, stride, shortcut=option, pad_channels=pad_channels
            )
            y, way = block(x), block.downsample(x)
            assert y.shape == (2, -(-7 // stride), -(-8 // stride), c_out)
            if option == "A":
                before = (c_out - 4) // 2 if pad_channels == "both" else 0
                expected = np.pad(x[:, ::stride, ::stride], [(0, 0)] * 3 + [(before, c_out - 4 - before)])
                assert_array_equal(np.asarray(getattr(way, "data", way)), expected, strict=True)
            unchanged = option != "C" and (c_out, stride) == (4, 1)
            assert isinstance(block.downsample, nn.Identity) == unchanged


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("c_out", [4, 5, 8])
def test_the_shortcut_of_a_preact_block_begins_at_the_first_relu_wherever_it_changes_the_shape(stride, c_out):
    """The maps alone, the channels alone, or both; where nothing changes, it is the identity."""
    x = np.random.default_rng(0).standard_normal((2, 7, 8, 4)).astype("float32")
    block = PreactBlock(functools.partial(conv_bn, rng=0), 4, c_out, stride).eval()
    block.bn1.running_mean.data[...] = 0.25
    block.conv2.weight.data[...] = 0  # F is 0
    way = x if (c_out, stride) == (4, 1) else np.maximum(block.bn1(mg.Tensor(x)).data, 0)
    expected = np.pad(way[:, ::stride, ::stride], [(0, 0)] * 3 + [(0, c_out - 4)])
    assert_array_equal(block(mg.Tensor(x)).data, expected, strict=True)


@pytest.mark.parametrize("kind", [PlainBlock, BasicBlock, Bottleneck])
def test_many_stages_are_called_in_their_order(kind):
    """Eleven: the tenth stands behind the ninth, not behind the first."""
    blocks, filters = (1,) * 11, tuple(4 * i for i in range(1, 13))
    settings = {"num_classes": 2}
    if kind is PlainBlock:
        net = plain_net("cifar", blocks, filters, **settings)
    else:
        net = residual_net("cifar", kind, blocks, filters, **settings)
    net.eval()
    assert net.stages == [getattr(net, f"layer{i}") for i in range(1, 12)]
    called = []
    for i, stage in enumerate(net.stages, 1):
        stage.hook(lambda module, out, i=i: called.append((i, out.shape)))
    assert net(np.zeros((1, 2, 2, 3), "float32")).shape == (1, 2)
    sides = [2, *[1] * 10]
    assert called == [(i, (1, side, side, filters[i])) for i, side in enumerate(sides, 1)]


# Files of others, and of long ago ------------------------------------------------------------


def test_a_state_is_left_as_it_was_and_shares_nothing_with_the_net():
    net = models.cifar_resnet(8, "B")
    state = to_torch(models.cifar_resnet(8, "B", rng=1))
    before = {name: array.copy() for name, array in state.items()}
    for _ in range(2):
        load_torch(net, state)
        assert list(state) == list(before)
        for name, array in before.items():
            assert_array_equal(state[name], array, strict=True)
    for array in state.values():
        array[...] = 7
    for name, array in to_torch(net).items():
        assert_array_equal(array, before[name], strict=True)


@pytest.mark.parametrize("kind", [nn.Conv2d, nn.BatchNorm2d, nn.Linear])
def test_a_subclass_of_a_layer_has_its_names_and_layout(kind):
    """To PyTorch and back."""

    def make(seed):
        return nn.Sequential(nn.Conv2d(2, 4, 3, rng=seed), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(24, 3, rng=seed))

    net, other = make(0), make(1)
    expected = to_torch(net)
    for each in (net, other):
        for layer in layers_of(each, kind):
            layer.__class__ = type("Mine", (kind,), {})
    got = to_torch(net)
    assert list(got) == list(expected)
    for name, array in expected.items():
        assert_array_equal(got[name], array, strict=True)
    load_torch(other, expected)
    for name, array in net.state_dict().items():
        assert_array_equal(other.state_dict()[name], array, strict=True)


#: Whole nets by their names in PyTorch: a single layer, which has no path, and layers in one another.
WHOLE = {
    "Conv2d": (lambda seed: nn.Conv2d(2, 4, (3, 1), rng=seed), ["weight", "bias"]),
    "Linear": (lambda seed: nn.Linear(2, 4, bias=False, rng=seed), ["weight"]),
    "BatchNorm2d": (lambda seed: nn.BatchNorm2d(3), ["weight", "bias", *STATISTICS]),
    "Sequential": (
        lambda seed: nn.Sequential(nn.Sequential(nn.BatchNorm2d(3))),
        ["0.0.weight", "0.0.bias", *("0.0." + n for n in STATISTICS)],
    ),
    "ReLU": (lambda seed: nn.ReLU(), []),
}


@pytest.mark.parametrize(("make", "names"), WHOLE.values(), ids=WHOLE)
@pytest.mark.parametrize("frozen", [False, True])
def test_a_net_of_any_depth_goes_to_pytorch_and_comes_back(make, names, frozen):
    """With its counts of batches, which are left out; frozen or not."""
    net, other = make(0), make(1)
    for value in (*net.parameters(), *net.buffers()):
        value.data[...] = np.random.default_rng(2).random(value.data.shape)
    for p in (*net.parameters(), *other.parameters()):
        p.requires_grad = not frozen
    state = to_torch(net)
    assert list(state) == names
    load_torch(other, state)
    for name, array in net.state_dict().items():
        assert_array_equal(other.state_dict()[name], array, strict=True)


def test_paths_of_nets_of_any_depth_are_renamed():
    """Of cifar_plain(1202), too: its stages were lists of 1,200 entries."""
    layers = ["conv1", "bn1", None, "conv2", "bn2", None, "conv3", "bn3"]
    for stage in range(9):
        for block in (0, 1, 9, 10, 16, 17, 35, 99, 100, 199):
            for i, layer in enumerate(layers):
                if layer:
                    name = "w" if "conv" in layer else "running_mean"
                    today = f"layer{stage + 1}.{block}.{layer}.{name}"
                    assert todays_path(f"stages.{stage}.{block}.residual.{i}.{name}") == today
                    assert todays_path(today) == today
                    if i < 6:
                        assert todays_path(f"stages.{stage}.{6 * block + i}.{name}") == today
            for i in (0, 1):
                today = f"layer{stage + 1}.{block}.downsample.{i}.w"
                assert todays_path(f"stages.{stage}.{block}.shortcut.{i}.w") == today
                assert todays_path(today) == today
    assert [todays_path(path) for path in ("stem.0.w", "stem.1.beta", "fc.w")] == ["conv1.w", "bn1.beta", "fc.w"]
