"""Every setting of the nets, of their parts and of predictions, changed once.

The weights of the nets are zeros here, which cost no time; what they are drawn from is noted.
"""

import functools

import numpy as np
import pytest

import models
from models.plain import Net, PlainBlock, cifar_stages, conv_bn, plain_net
from models.preact import PreactBlock
from models.resnet import BasicBlock, Bottleneck, downsample, residual_net
from models.vgg import VGG
from tests.models import settings_of_nets as nets
from tests.models import settings_of_predictions
from tests.models.settings_of_nets import pair, part, plain, prefixed, seen, structure
from tests.tools.settings import Refused, Row, check, missing


@pytest.fixture(autouse=True)
def _no_draws(monkeypatch):
    """A matrix of zeros is a single zero, which costs no time and no memory."""

    def zeros(shape, *, rng, dtype):
        nets.SOURCES.append(rng)
        return np.broadcast_to(np.zeros((), dtype), shape)

    monkeypatch.setattr("minigrad.nn.layers.he_normal", zeros)


TINY = ((1, 2), (4, 4, 8))  # blocks and filters
TINY_STAGES = [(1, ("PlainBlock", 4)), (2, ("PlainBlock", 8))]
STEM = [
    ("cifar", [(3, 4, 1), TINY_STAGES]),
    ("imagenet", [(7, 4, 2), TINY_STAGES]),
    ("mnist", Refused(ValueError, '[Nn]et: expected stem "imagenet" or "cifar", got \'mnist\'')),
]
RESIDUAL = functools.partial(residual_net, "cifar", Bottleneck, (2, 2, 2), (4, 16, 32, 64))


def residual(stem="cifar", block=BasicBlock, blocks=TINY[0], filters=TINY[1]):
    return structure(residual_net(stem, block, blocks, filters), None)


def depth_of(make):
    """Stages of (d - 2) / 6 blocks."""
    return Row(
        lambda depth: [len(stage) for stage in make(depth).stages],
        (20, [3, 3, 3]),
        (56, [9, 9, 9]),
        (21, Refused(ValueError, f"{make.__name__}: depth 21 is impossible.* the nearest: 20 or 26")),
    )


def width_of(make):
    return Row(
        lambda **s: [
            make(8, **s).conv1.weight.shape[3],
            *(stage[0].conv2.weight.shape[3] for stage in make(8, **s).stages),
        ],
        (16, [16, 16, 32, 64]),
        (5, [5, 5, 10, 20]),
    )


ROWS = settings_of_predictions.ROWS | {
    "conv_bn.kernel": Row(pair, (3, plain()), (5, plain(kernel=(5, 5), padding=(2, 2)))),
    "conv_bn.c_in": Row(pair, (2, plain()), (3, plain(w=(3, 4)))),
    "conv_bn.c_out": Row(pair, (4, plain()), (6, plain(w=(2, 6), c=(6,)))),
    "conv_bn.stride": Row(pair, (1, plain()), (2, plain(stride=(2, 2)))),
    "conv_bn.bn_eps": Row(pair, (1e-5, plain()), (0.5, plain(eps=0.5))),
    "conv_bn.rng": Row(lambda rng: (pair(rng=rng), nets.SOURCES[-1])[1], (0, 0), (3, 3)),
    "conv_bn.dtype": Row(
        lambda **s: {
            layer.state_dict()[n].dtype.name for layer in conv_bn(3, 2, 4, rng=0, **s) for n in layer.state_dict()
        },
        nets.F32,
        nets.F64,
    ),
    "downsample.conv_bn": Row(
        lambda conv_bn: part(downsample, conv_bn=conv_bn, stride=2, shortcut="B", pad_channels="after"),
        (functools.partial(conv_bn, rng=0), [[(1, 16, 16, 2)], [1e-5]]),
        (functools.partial(conv_bn, rng=0, bn_eps=0.5), [[(1, 16, 16, 2)], [0.5]]),
    ),
    "downsample.c_in": Row(
        lambda c_in: part(downsample, c_in=c_in, stride=1, shortcut="B", pad_channels="after"),
        (16, [[], []]),
        (8, [[(1, 8, 16, 1)], [1e-5]]),
    ),
    "downsample.c_out": Row(
        lambda c_out: part(downsample, c_out=c_out, stride=1, shortcut="B", pad_channels="after"),
        (16, [[], []]),
        (32, [[(1, 16, 32, 1)], [1e-5]]),
    ),
    "downsample.stride": Row(
        lambda stride: part(downsample, stride=stride, shortcut="B", pad_channels="after"),
        (1, [[], []]),
        (2, [[(1, 16, 16, 2)], [1e-5]]),
    ),
    "PadShortcut.missing": Row(
        nets.padded,
        (2, [[1.0, 0, 0], [2.0, 0, 0], [3.0, 0, 0], [4.0, 0, 0]]),
        (1, [[1.0, 0], [2.0, 0], [3.0, 0], [4.0, 0]]),
    ),
    "PadShortcut.stride": Row(
        nets.padded, (1, [[1.0, 0, 0], [2.0, 0, 0], [3.0, 0, 0], [4.0, 0, 0]]), (2, [[1.0, 0, 0]])
    ),
    "PadShortcut.pad_channels": Row(
        functools.partial(nets.padded, 3, 2), ("after", [[1.0, 0, 0, 0]]), ("both", [[0, 1.0, 0, 0]])
    ),
    "cifar_stages.name": Row(
        lambda name: cifar_stages(name, 7, 16),
        ("net", Refused(ValueError, "^net: depth 7")),
        ("other", Refused(ValueError, "^other: depth 7")),
    ),
    "cifar_stages.width": Row(
        lambda width: cifar_stages("net", 8, width)[1], (16, (16, 16, 32, 64)), (4, (4, 4, 8, 16))
    ),
    "cifar_stages.depth": Row(
        lambda depth: cifar_stages("net", depth, 16)[0],
        (8, (1, 1, 1)),
        (1202, (200, 200, 200)),
        (2, Refused(ValueError, "the nearest: 8 ")),
        (19, Refused(ValueError, "the nearest: 14 or 20 ")),
    ),
    "Net.stem": Row(lambda stem: structure(Net(stem, PlainBlock, *TINY), None), *STEM),
    "Net.block": Row(
        lambda block: structure(Net("cifar", block, *TINY), None)[1],
        (PlainBlock, TINY_STAGES),
        (BasicBlock, [(1, ("BasicBlock", 4)), (2, ("BasicBlock", 8))]),
    ),
    "Net.blocks": Row(
        lambda blocks: structure(Net("cifar", PlainBlock, blocks, TINY[1]), None)[1],
        ((1, 2), TINY_STAGES),
        ((3, 1), [(3, ("PlainBlock", 4)), (1, ("PlainBlock", 8))]),
    ),
    "Net.filters": Row(
        lambda filters: structure(Net("cifar", PlainBlock, TINY[0], filters), None),
        ((4, 4, 8), [(3, 4, 1), TINY_STAGES]),
        ((2, 6, 10), [(3, 2, 1), [(1, ("PlainBlock", 6)), (2, ("PlainBlock", 10))]]),
    ),
    "plain_net.stem": Row(lambda stem: structure(plain_net(stem, *TINY), None), *STEM),
    "plain_net.blocks": Row(
        lambda blocks: structure(plain_net("cifar", blocks, TINY[1]), None)[1],
        ((1, 2), TINY_STAGES),
        ((3, 1), [(3, ("PlainBlock", 4)), (1, ("PlainBlock", 8))]),
    ),
    "plain_net.filters": Row(
        lambda filters: structure(plain_net("cifar", TINY[0], filters), None),
        ((4, 4, 8), [(3, 4, 1), TINY_STAGES]),
        ((2, 6, 10), [(3, 2, 1), [(1, ("PlainBlock", 6)), (2, ("PlainBlock", 10))]]),
    ),
    "residual_net.stem": Row(lambda stem: residual(stem)[0], ("cifar", (3, 4, 1)), ("imagenet", (7, 4, 2)), STEM[-1]),
    "residual_net.block": Row(
        lambda block: residual(block=block)[1],
        (BasicBlock, [(1, ("BasicBlock", 4)), (2, ("BasicBlock", 8))]),
        (Bottleneck, [(1, ("Bottleneck", 4)), (2, ("Bottleneck", 8))]),
    ),
    "residual_net.blocks": Row(
        lambda blocks: [n for n, _ in residual(blocks=blocks)[1]], ((1, 2), [1, 2]), ((3, 1), [3, 1])
    ),
    "residual_net.filters": Row(
        lambda filters: residual(filters=filters)[0], ((4, 4, 8), (3, 4, 1)), ((2, 6, 10), (3, 2, 1))
    ),
    "cifar_plain.depth": depth_of(models.cifar_plain),
    "cifar_plain.width": width_of(models.cifar_plain),
    "cifar_resnet.depth": depth_of(models.cifar_resnet),
    "cifar_resnet.width": width_of(models.cifar_resnet),
    "cifar_preact_resnet.depth": depth_of(models.cifar_preact_resnet),
    "cifar_preact_resnet.width": width_of(models.cifar_preact_resnet),
    "VGG.depth": seen(
        lambda net, _: [layer.weight.shape[3] for layer in net.features if hasattr(layer, "groups")],
        VGG,
        (11, [64, 128, 256, 256, 512, 512, 512, 512]),
        (13, [64, 64, 128, 128, 256, 256, 512, 512, 512, 512]),
        (12, Refused(ValueError, "expected depth 11, 13, 16 or 19, got 12")),
    ),
}
for kind, given in ((PlainBlock, {}), (BasicBlock, {"shortcut": "A"}), (PreactBlock, {})):
    ROWS |= prefixed(kind.__name__, nets.of_a_block(kind, **given))
ROWS |= prefixed("Bottleneck", nets.of_a_bottleneck(shortcut="A"))
ROWS |= prefixed("BasicBlock", nets.of_shortcuts(BasicBlock))
ROWS |= prefixed("Bottleneck", nets.of_shortcuts(Bottleneck))
ROWS |= prefixed("downsample", nets.of_shortcuts(downsample, shortcut="B", pad_channels="after"))
ROWS |= prefixed("Net", nets.of_a_normed_net(functools.partial(Net, "cifar", PlainBlock, *TINY)))
ROWS |= prefixed("plain_net", nets.of_a_normed_net(functools.partial(plain_net, "imagenet", *TINY)))
ROWS |= prefixed("residual_net", nets.of_a_residual_net(RESIDUAL, 12, bottlenecks=True))
ROWS |= prefixed("plain18", nets.of_a_normed_net(models.plain18))
ROWS |= prefixed("plain34", nets.of_a_normed_net(models.plain34))
ROWS |= prefixed("cifar_plain", nets.of_a_normed_net(functools.partial(models.cifar_plain, 8), 10))
ROWS |= prefixed(
    "cifar_resnet", nets.of_a_residual_net(functools.partial(models.cifar_resnet, 14), 16, default="A", count=10)
)
ROWS |= prefixed("cifar_preact_resnet", nets.of_a_normed_net(functools.partial(models.cifar_preact_resnet, 8), 10))
for depth in (18, 34, 50, 101, 152):
    make, zeros = getattr(models, f"resnet{depth}"), 64 if depth < 50 else 192
    ROWS |= prefixed(make.__name__, nets.of_a_residual_net(make, zeros, bottlenecks=depth >= 50))
for depth in (11, 13, 16, 19):
    make = getattr(models, f"vgg{depth}")
    ROWS |= prefixed(make.__name__, nets.of_a_vgg(make, depth - 3))
ROWS |= prefixed("VGG", nets.of_a_vgg(functools.partial(VGG, 11), 8))


def test_every_setting_has_a_row():
    assert missing(models, ROWS) == []


@pytest.mark.parametrize("name", ROWS)
def test_a_setting_has_its_effect(name):
    check(models, name, ROWS[name])


#: The options that decide which layers a net has.
OPTIONS = [
    *((functools.partial(VGG, 11, image_size=32), {"batch_norm": on}) for on in (False, True)),
    *((RESIDUAL, {"shortcut": s, "stride_in": where}) for s in "ABC" for where in ("1x1", "3x3")),
    *(
        (functools.partial(models.cifar_resnet, 14), {"shortcut": s, "zero_gamma": on})
        for s in "ABC"
        for on in (False, True)
    ),
    (functools.partial(plain_net, "imagenet", *TINY), {}),
    (functools.partial(models.cifar_preact_resnet, 14), {}),
]


@pytest.mark.parametrize(("make", "options"), OPTIONS, ids=lambda v: str(v) if isinstance(v, dict) else "")
def test_a_setting_reaches_every_layer_whatever_the_options(make, options):
    """Layers that are there only with an option get the dtype, the Generator and the epsilon as well."""
    eps = {} if "batch_norm" in options else {"bn_eps": 0.01}
    net, rng = nets.built(make, dtype=np.float64, rng=5, num_classes=7, in_channels=1, **eps, **options)
    assert nets.dtypes(net, rng) == {"float64"}
    assert nets.epsilons(net, rng) <= {0.01 if eps else 1e-5}
    assert nets.momenta(net, rng) <= {0.1}
    assert nets.first_draw(net, rng) == nets.seed(5)
    assert (nets.classes(net, rng), nets.channels(net, rng)) == (7, 1)


def test_a_net_may_have_more_stages_than_the_papers():
    """Eleven, each of another number of blocks and filters, run in their order."""
    net = Net("cifar", PlainBlock, tuple(range(1, 12)), tuple(range(2, 14)), num_classes=5)
    assert [(len(stage), stage[0].conv2.weight.shape[3]) for stage in net.stages] == [(n, n + 2) for n in range(1, 12)]
    assert net(np.zeros((2, 4, 4, 3), np.float32)).shape == (2, 5)


@pytest.mark.parametrize(("make", "options"), OPTIONS, ids=lambda v: str(v) if isinstance(v, dict) else "")
def test_a_net_draws_from_the_generator_itself(make, options):
    rng = np.random.Generator(np.random.MT19937(3))
    assert nets.built(make, rng=rng, **options)[1] is rng
