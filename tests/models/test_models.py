"""The nets of the paper: their structure, and what is refused. What they cost is in test_inspect.py."""

import re

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import minigrad as mg
import models
from minigrad import nn
from models import cifar_plain, cifar_preact_resnet, cifar_resnet, plain_net, residual_net
from models.plain import PlainBlock
from models.preact import PreactBlock
from models.resnet import BasicBlock, Bottleneck, PadShortcut

IMAGENET = [models.plain18, models.plain34, models.resnet18, models.resnet34]
IMAGENET += [models.resnet50, models.resnet101, models.resnet152]


def layers_of(net, *kinds):
    return [module for _, module in net.named_modules() if isinstance(module, kinds)]


def blocks_of(net):
    return [block for stage in net.stages for block in stage]


def images(*shape, dtype="float32", seed=0):
    return mg.Tensor(np.random.default_rng(seed).standard_normal(shape).astype(dtype))


def tiny(block=Bottleneck, stem="cifar", **settings):
    """Build a residual net of two blocks."""
    return residual_net(stem, block, (1, 1), (3, 4, 8), num_classes=3, **settings)


@pytest.fixture
def no_draws(monkeypatch):
    """Structure needs no weights: matrices of zeros cost no time."""
    monkeypatch.setattr("minigrad.nn.layers.he_normal", lambda shape, *, rng, dtype: np.zeros(shape, dtype))


# Depth -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", IMAGENET)
@pytest.mark.usefixtures("no_draws")
def test_the_name_is_the_number_of_layers_with_weights(make):
    """Without those in shortcuts, as the paper counts."""
    net = make(in_channels=1, num_classes=2)
    main = [name for name, module in net.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert len([name for name in main if "downsample" not in name]) == int(re.sub(r"\D", "", make.__name__))


@pytest.mark.parametrize("make", [cifar_plain, cifar_resnet, cifar_preact_resnet])
def test_depth_is_the_number_of_layers_with_weights(make):
    for depth in (8, 20):
        assert len(layers_of(make(depth), nn.Conv2d, nn.Linear)) == depth


@pytest.mark.parametrize("make", [cifar_plain, cifar_resnet, cifar_preact_resnet])
@pytest.mark.parametrize("depth", [1, 2, 7, 18, 21, 100])
def test_an_impossible_depth_is_refused_with_possible_ones(make, depth):
    with pytest.raises(ValueError, match=r"depth \d+ is impossible.*6n \+ 2.*nearest: ") as caught:
        make(depth)
    nearest = str(caught.value).split("nearest: ")[1].split(" (")[0].split(" or ")
    for possible in map(int, nearest):
        assert abs(possible - depth) <= 7
        make(possible)


# The frame ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [cifar_plain, cifar_resnet, cifar_preact_resnet])
def test_maps_halve_and_filters_double(make):
    net, shapes = make(8, in_channels=1, num_classes=7), []
    for module in layers_of(net, nn.Conv2d):
        module.hook(lambda module, out: shapes.append(out.shape[1:]))
    assert net(images(2, 8, 8, 1)).shape == (2, 7)
    assert shapes == [(8, 8, 16)] * 3 + [(4, 4, 32)] * 2 + [(2, 2, 64)] * 2


@pytest.mark.usefixtures("no_draws")
def test_stages_are_those_of_table_1():
    for make, kind, blocks in [
        (models.resnet34, BasicBlock, [3, 4, 6, 3]),
        (models.resnet101, Bottleneck, [3, 4, 23, 3]),
        (models.plain34, PlainBlock, [3, 4, 6, 3]),
    ]:
        net = make(num_classes=2)
        assert [len(stage) for stage in net.stages] == blocks
        assert net.stages == [net.layer1, net.layer2, net.layer3, net.layer4]
        assert all(type(block) is kind for block in blocks_of(net))
    assert isinstance(cifar_resnet(8).maxpool, nn.Identity)
    net = models.resnet50(num_classes=2)
    assert (net.conv1.weight.shape, net.conv1.stride, net.conv1.padding) == ((7, 7, 3, 64), (2, 2), (3, 3))
    pool = net.maxpool
    assert (pool.kernel, pool.stride, pool.padding) == ((3, 3), (2, 2), (1, 1))  # windows overlap


class Stage(nn.Sequential):
    """A stage of one's own, which only has another name."""


@pytest.mark.parametrize("make", [cifar_plain, cifar_resnet, cifar_preact_resnet])
@pytest.mark.parametrize("own", [[0], [1], [2], [0, 2], [0, 1, 2]])
def test_a_stage_may_be_of_a_derived_class(make, own):
    """It stays where it is, and the net computes the same; a layer norm is no stage, whatever its name."""
    net, x = make(8, width=4).eval(), images(2, 8, 8, 3)
    expected = net(x).data
    net.layer_norm = nn.LayerNorm(4)
    for i in own:
        setattr(net, f"layer{i + 1}", Stage(*net.stages[i]))
    assert net.stages == [net.layer1, net.layer2, net.layer3]
    assert [type(stage) is Stage for stage in net.stages] == [i in own for i in range(3)]
    assert_array_equal(net(x).data, expected, strict=True)


def test_paths_are_torchvisions():
    assert [name for name, _ in tiny(shortcut="B").named_modules()] == [
        *("", "conv1", "bn1", "relu", "maxpool", "layer1", "layer1.0"),
        *(f"layer1.0.{part}" for part in ("conv1", "bn1", "conv2", "bn2", "conv3", "bn3", "relu", "downsample")),
        *("layer1.0.downsample.0", "layer1.0.downsample.1", "layer2", "layer2.0"),
        *(f"layer2.0.{part}" for part in ("conv1", "bn1", "conv2", "bn2", "conv3", "bn3", "relu", "downsample")),
        *("layer2.0.downsample.0", "layer2.0.downsample.1", "avgpool", "fc"),
    ]
    assert [name for name, _ in cifar_plain(8).layer1.named_modules()] == [
        *("", "0", "0.conv1", "0.bn1", "0.conv2", "0.bn2", "0.relu")
    ]


def test_a_plain_net_is_the_residual_net_without_its_shortcuts():
    """Same weights, same layers in the same order: take the shortcuts away, and what is computed is the same."""
    plain = plain_net("imagenet", (2, 1), (4, 4, 8), num_classes=3, rng=5)
    residual = residual_net("imagenet", BasicBlock, (2, 1), (4, 4, 8), num_classes=3, shortcut="A", rng=5)
    for p, q in zip(plain.parameters(), residual.parameters(), strict=True):
        assert_array_equal(p.data, q.data)
    x = images(2, 16, 16, 3)
    assert not np.allclose(plain(x).data, residual(x).data)
    for block in blocks_of(residual):
        block.downsample = lambda x: 0.0 * x[0, 0, 0, 0]
    assert_array_equal(plain(x).data, residual(x).data)


@pytest.mark.usefixtures("no_draws")
def test_the_head_can_be_replaced():
    net = models.resnet18(num_classes=2)
    net.fc = nn.Linear(512, 10, rng=0)
    assert net(images(2, 32, 32, 3)).shape == (2, 10)
    assert [name for name, _ in net.named_parameters()][-2:] == ["fc.weight", "fc.bias"]


def test_other_sizes_channels_and_dtypes():
    for make in (models.plain18, models.resnet18):
        net = make(in_channels=2, num_classes=5, dtype=np.float64, bn_eps=1e-3)
        assert net(images(2, 50, 37, 2, dtype="float64")).shape == (2, 5)
        assert {p.dtype for p in net.parameters()} == {np.dtype("float64")}
        assert {module.eps for module in layers_of(net, nn.BatchNorm2d)} == {1e-3}
    for option in ("A", "B"):
        assert tiny(shortcut=option)(images(2, 7, 9, 3)).shape == (2, 3)  # odd sizes: F and shortcut agree on them
        same = residual_net("cifar", BasicBlock, (1, 1), (4, 4, 4), shortcut=option)  # filters that do not double
        assert same(images(2, 8, 8, 3)).shape == (2, 1000)


# Blocks and shortcuts ----------------------------------------------------------------------------


def test_option_a_takes_every_second_pixel_and_pads_with_zeros():
    x = np.arange(32.0).reshape(1, 4, 4, 2)
    for where, before in (("after", 0), ("both", 1)):
        out = PadShortcut(2, 2, where)(mg.Tensor(x)).data
        assert_array_equal(out[..., before : before + 2], x[:, ::2, ::2])
        assert out.shape == (1, 2, 2, 4)
        assert np.count_nonzero(out) == np.count_nonzero(x[:, ::2, ::2])


def residual(block, x):
    """Return F(x), layer by layer."""
    for conv, bn in ((block.conv1, block.bn1), (block.conv2, block.bn2)):
        f = bn(conv(x))
        x = mg.relu(f)
    return block.bn3(block.conv3(x)) if isinstance(block, Bottleneck) else f


@pytest.mark.parametrize("kind", [BasicBlock, Bottleneck])
@pytest.mark.parametrize("shortcut", ["A", "B", "C"])
def test_a_block_adds_its_input_before_the_last_relu(kind, shortcut):
    for block in blocks_of(tiny(kind, shortcut=shortcut, dtype=np.float64).eval()):
        x = images(2, 4, 4, block.conv1.weight.shape[2], dtype="float64")
        f, way = residual(block, x), x
        if isinstance(block.downsample, nn.Sequential):
            conv, norm = block.downsample
            way = norm(conv(x))
        elif isinstance(block.downsample, PadShortcut):
            step = block.downsample.stride
            way = mg.pad(x[:, ::step, ::step], [(0, 0)] * 3 + [(0, f.shape[3] - x.shape[3])])
        expected = np.maximum(f.data + way.data, 0)
        assert_array_equal(block(x).data, expected)
        assert (expected == 0).any()
        assert (f.data < 0).any()


@pytest.mark.parametrize("kind", [BasicBlock, Bottleneck])
def test_with_zero_gamma_a_block_begins_as_its_shortcut(kind):
    for block in blocks_of(tiny(kind, zero_gamma=True)):
        x = images(2, 4, 4, block.conv1.weight.shape[2])
        assert_array_equal(block(x).data, np.maximum(block.downsample(x).data, 0))
        shortcut = layers_of(block.downsample, nn.BatchNorm2d)
        *first, last = (norm for norm in layers_of(block, nn.BatchNorm2d) if norm not in shortcut)
        assert not last.weight.data.any()
        assert all(norm.weight.data.all() for norm in [*first, *shortcut])
    assert all(norm.weight.data.all() for norm in layers_of(tiny(kind), nn.BatchNorm2d))


@pytest.mark.usefixtures("no_draws")
def test_shortcuts_by_option():
    def kinds(net):
        return [type(block.downsample).__name__ for block in blocks_of(net)]

    assert kinds(cifar_resnet(8)) == kinds(cifar_resnet(8, "A")) == ["Identity", "PadShortcut", "PadShortcut"]
    assert kinds(cifar_resnet(8, "B")) == ["Identity", "Sequential", "Sequential"]
    assert kinds(cifar_resnet(8, "C")) == ["Sequential"] * 3
    assert kinds(models.resnet18(num_classes=2)) == ["Identity"] * 2 + ["Sequential", "Identity"] * 3
    # the first stage of bottlenecks has more filters than the stem
    assert kinds(models.resnet50(num_classes=2))[:4] == ["Sequential", "Identity", "Identity", "Sequential"]
    assert kinds(models.resnet50(num_classes=2, shortcut="A"))[:4] == [
        "PadShortcut",
        "Identity",
        "Identity",
        "PadShortcut",
    ]
    padded = [block.downsample.missing for block in blocks_of(cifar_resnet(8, pad_channels="both"))[1:]]
    assert padded == [(8, 8), (16, 16)]


@pytest.mark.usefixtures("no_draws")
def test_where_a_bottleneck_has_its_stride():
    def strides(block):
        return [conv.stride[0] for conv in layers_of(block, nn.Conv2d)]

    for stride_in, expected in [("1x1", [2, 1, 1, 2]), ("3x3", [1, 2, 1, 2])]:
        net = models.resnet50(num_classes=2, stride_in=stride_in)
        for i, stage in enumerate(net.stages):
            first, *others = map(strides, stage)
            assert first == (expected if i else [1, 1, 1, 1])
            assert others == [[1, 1, 1]] * len(others)
            kernels = [conv.weight.shape[:2] for conv in layers_of(stage[0], nn.Conv2d)]
            assert kernels == [(1, 1), (3, 3), (1, 1), (1, 1)]
    assert strides(models.resnet50(num_classes=2)) == strides(models.resnet50(num_classes=2, stride_in="1x1"))
    for stride_in in ("1x1", "3x3"):  # basic blocks have no choice
        assert strides(tiny(BasicBlock, stride_in=stride_in)) == [1, 1, 1, 1, 2, 1, 2]


def test_the_place_of_the_stride_matters():
    a, b = (tiny(stride_in=stride_in)(images(2, 8, 8, 3)).data for stride_in in ("1x1", "3x3"))
    assert not np.allclose(a, b)


@pytest.mark.parametrize("make", [models.resnet18, models.resnet50, lambda **wrong: cifar_resnet(8, **wrong)])
def test_options_with_other_names_are_refused(make):
    for wrong, expected in [
        ({"shortcut": "D"}, 'expected shortcut "A", "B" or "C", got \'D\''),
        ({"shortcut": "a"}, 'expected shortcut "A", "B" or "C", got \'a\''),
        ({"pad_channels": "before"}, 'expected pad_channels "after" or "both", got \'before\''),
        ({"stride_in": "v1.5"}, 'expected stride_in "1x1" or "3x3", got \'v1.5\''),
    ]:
        with pytest.raises(ValueError, match=expected):
            make(**wrong)
    with pytest.raises(TypeError, match="unexpected keyword argument 'shortcuts'"):
        make(shortcuts="B")


def test_a_stem_with_another_name_is_refused():
    with pytest.raises(ValueError, match='expected stem "imagenet" or "cifar", got \'mnist\''):
        tiny(stem="mnist")


# Pre-activation ----------------------------------------------------------------------------------


def preact_residual(block, x):
    """Return relu(bn1(x)), and F(x), layer by layer."""
    first = mg.relu(block.bn1(x))
    return first, block.conv2(mg.relu(block.bn2(block.conv1(first))))


def test_a_preact_block_adds_its_input_and_nothing_follows():
    """Fig. 4 (e) of He et al., 2016; where the shape changes, the shortcut too begins at the first ReLU."""
    for block in blocks_of(cifar_preact_resnet(14, width=4, dtype=np.float64).eval()):
        x = images(2, 4, 4, block.conv1.weight.shape[2], dtype="float64")
        first, f = preact_residual(block, x)
        way = x.data
        if isinstance(block.downsample, PadShortcut):
            way = np.pad(first.data[:, ::2, ::2], [(0, 0)] * 3 + [(0, f.shape[3] - x.shape[3])])
        assert_array_equal(block(x).data, f.data + way)
        assert (f.data + way < 0).any()


def test_a_preact_stage_adds_up():
    """Equation (4): the output of a stage without a change of shape is its input and the sum of all F."""
    net = cifar_preact_resnet(26, width=4, dtype=np.float64)
    total = x = net.stem(images(4, 8, 8, 3, dtype="float64"))
    for block in net.layer1:
        total, x = total + preact_residual(block, x)[1], block(x)
    np.testing.assert_allclose(x.data, total.data, rtol=1e-12)


def test_a_preact_net_has_its_activations_at_both_ends():
    """Between two convolutions there is a batch norm, and one before the pooling: as many as there are convolutions."""
    net, seen, letters = cifar_preact_resnet(14, width=4), [], {"Conv2d": "c", "BatchNorm2d": "b"}
    for module in layers_of(net, nn.Conv2d, nn.BatchNorm2d, nn.GlobalAvgPool2d, nn.Linear):
        module.hook(lambda module, out: seen.append(letters.get(type(module).__name__, "-")))
    out = net(images(4, 8, 8, 3))
    assert "".join(seen) == "cb" * 13 + "--"
    assert isinstance(net.layer1[0].bn1, nn.Identity)
    before = net.avgpool[:2](net.layer3(net.layer2(net.layer1(net.stem(images(4, 8, 8, 3))))))
    assert before.data.min() == 0
    np.testing.assert_allclose(out.data, net.fc(before.mean((1, 2))).data, rtol=1e-5, atol=1e-6)


def test_a_preact_net_draws_the_weights_of_the_original():
    """With equal seeds, the convolutions are equal: what differs is where batch norm and ReLU stand."""
    one, other = cifar_resnet(14, rng=3), cifar_preact_resnet(14, rng=3)
    for a, b in zip(layers_of(one, nn.Conv2d, nn.Linear), layers_of(other, nn.Conv2d, nn.Linear), strict=True):
        assert_array_equal(a.weight.data, b.weight.data)
    sizes = [sorted(norm.weight.size for norm in layers_of(net, nn.BatchNorm2d)) for net in (one, other)]
    assert sizes[0] == sizes[1]
    assert all(isinstance(block, PreactBlock) for block in blocks_of(other))


# VGG ---------------------------------------------------------------------------------------------


def test_vgg():
    """Structure and names are torchvision's; depths and sizes are counted in test_inspect.py."""
    net = models.vgg11(image_size=64, num_classes=3, in_channels=1, rng=1)
    kinds = "".join({"Conv2d": "c", "ReLU": "r", "MaxPool2d": "M"}[type(m).__name__] for m in net.features.layers)
    assert kinds == "crMcrMcrcrMcrcrMcrcrM"
    assert {(pool.kernel, pool.stride, pool.padding) for pool in layers_of(net, nn.MaxPool2d)} == {
        ((2, 2), (2, 2), (0, 0))
    }
    normed = models.vgg11(batch_norm=True, image_size=32, num_classes=3)
    kinds = [type(layer).__name__ for layer in normed.features.layers[:5]]
    assert kinds == ["Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d", "Conv2d"]
    assert len(layers_of(normed, nn.BatchNorm2d)) == 8
    kinds = [type(layer).__name__ for layer in net.classifier.layers]
    assert kinds == ["Linear", "ReLU", "Dropout", "Linear", "ReLU", "Dropout", "Linear"]
    assert [layer.p for layer in layers_of(net, nn.Dropout)] == [0.5, 0.5]
    assert [net.classifier.layers[i].weight.shape for i in (0, 3, 6)] == [(2 * 2 * 512, 4096), (4096, 4096), (4096, 3)]
    assert all(layer.bias is not None for layer in layers_of(net, nn.Conv2d, nn.Linear))
    x = images(2, 64, 64, 1)
    first, second = net(x).data, net(x).data
    assert first.shape == (2, 3)
    assert not np.array_equal(first, second)  # dropout draws
    assert_array_equal(net.eval()(x).data, net(x).data)
    with pytest.raises(ValueError, match=r"halved five times: expected image_size of at least 32, got 16"):
        models.vgg11(image_size=16)
    with pytest.raises(ValueError, match="expected depth 11, 13, 16 or 19, got 12"):
        models.vgg.VGG(12)


# Weights -----------------------------------------------------------------------------------------


def test_weights_depend_on_the_seed_alone():
    a, b, c = (cifar_resnet(8, rng=seed).state_dict() for seed in (1, np.random.default_rng(1), 2))
    assert all(np.array_equal(a[name], b[name]) for name in a)
    assert not all(np.array_equal(a[name], c[name]) for name in a)
    weights = [value for name, value in a.items() if name.endswith(".weight") and value.shape == (3, 3, 16, 16)]
    assert not np.array_equal(*weights[:2])


@pytest.mark.parametrize(
    "make",
    [
        lambda rng: cifar_plain(14, rng=rng),
        lambda rng: cifar_resnet(14, "C", rng=rng),
        lambda rng: cifar_preact_resnet(14, rng=rng),
        lambda rng: tiny(stem="imagenet", rng=rng),
        lambda rng: models.vgg11(True, image_size=32, num_classes=2, rng=rng),
    ],
)
def test_weights_are_drawn_in_reading_order(make):
    rng = np.random.default_rng(7)
    for layer in layers_of(make(7), nn.Conv2d, nn.Linear):
        assert_array_equal(layer.weight.data, nn.init.he_normal(layer.weight.shape, rng=rng))


def tiny_plain(**settings):
    return plain_net("imagenet", (1, 1), (1, 1, 2), in_channels=1, num_classes=2, **settings)


def tiny_residual(**settings):
    return residual_net(
        "imagenet", BasicBlock, (1, 1), (1, 1, 2), in_channels=1, num_classes=2, shortcut="A", **settings
    )


def tiny_preact(**settings):
    return cifar_preact_resnet(8, width=1, in_channels=1, num_classes=2, **settings)


def tiny_bottleneck(**settings):
    return residual_net("cifar", Bottleneck, (1, 1), (2, 4, 8), in_channels=1, num_classes=2, **settings)


def tiny_later_bottleneck(**settings):
    return tiny_bottleneck(stride_in="3x3", shortcut="A", pad_channels="both", **settings)


@pytest.mark.parametrize("training", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(tiny_plain, marks=pytest.mark.slow),
        tiny_residual,
        tiny_preact,
        pytest.param(tiny_bottleneck, marks=pytest.mark.slow),
        tiny_later_bottleneck,
    ],
)
def test_a_whole_net_by_finite_differences(make, training):
    """End to end, in float64: the gradients of the parameters of a tiny net, and of its input."""
    net = make(rng=3, dtype=np.float64).train(training)
    rng = np.random.default_rng(0)
    for p in net.parameters():
        p.data = p.data + 0.1 * rng.standard_normal(p.shape)  # away from gamma = 1 and beta = 0
    size = 8 if isinstance(net.maxpool, nn.MaxPool2d) else 4
    x, labels = mg.Tensor(rng.standard_normal((3, size, size, 1)), requires_grad=True), np.array([0, 1, 1])
    frozen = {name: b.data.copy() for name, b in net.named_buffers()}

    def loss(*_):
        for name, b in net.named_buffers():
            b.data[...] = frozen[name]
        return mg.cross_entropy(net(x), labels)

    inputs = [x, *net.parameters()]
    mg.grad(loss(), inputs)  # every one of them is reached
    assert mg.gradcheck(loss, inputs, eps=1e-6) < 1e-5
