"""What the table of settings looks at in a net (test_settings.py), and the rows that nets have in common."""

import functools

import numpy as np

import minigrad as mg
from minigrad import nn
from models.plain import conv_bn
from models.resnet import BasicBlock, Bottleneck, PadShortcut
from tests.tools.settings import Refused, Row

#: What the weights of the net under construction were drawn from.
SOURCES = []


def built(make, *arguments, **settings):
    """Return a net, and the Generator that all its weights come from."""
    SOURCES.clear()
    net = make(*arguments, **settings)
    (rng,) = {id(rng): rng for rng in SOURCES}.values()
    return net, rng


def modules(net, kind):
    return [module for _, module in net.named_modules() if isinstance(module, kind)]


# What is looked at, of any net ---------------------------------------------------------------


def classes(net, rng):
    return modules(net, nn.Linear)[-1].weight.shape[1]


def channels(net, rng):
    return modules(net, nn.Conv2d)[0].weight.shape[2]


def epsilons(net, rng):
    return {norm.eps for norm in modules(net, nn.BatchNorm2d)}


def momenta(net, rng):
    return {norm.momentum for norm in modules(net, nn.BatchNorm2d)}


def first_draw(net, rng):
    """Drawn anew from the seed; dropout draws from the same Generator."""
    assert all(layer.rng is rng for layer in modules(net, nn.Dropout))
    return rng.random()


def dtypes(net, rng):
    return {value.data.dtype.name for value in (*net.parameters(), *net.buffers())}


def strides(net, rng):
    """Of the first stage, and of both convolutions of the first block of the second."""
    first, second = net.layer1[0], net.layer2[0]
    return [first.conv1.stride[0], second.conv1.stride[0], second.conv2.stride[0]]


def last_gammas(net, rng):
    """Of each block's last batch norm, and of all others."""
    blocks = modules(net, BasicBlock | Bottleneck)
    last = [block.bn3 if isinstance(block, Bottleneck) else block.bn2 for block in blocks]
    others = [norm for norm in modules(net, nn.BatchNorm2d) if norm not in last]
    return [{float(x) for norm in norms for x in norm.weight.data} for norms in (last, others)]


def shortcuts(net, rng):
    """The kinds of shortcuts: where a stage begins, and where nothing changes."""
    return [type(net.layer2[0].downsample).__name__, type(net.layer2[1].downsample).__name__]


def padding(net, rng):
    """Channels before and behind, of the first shortcut of option A."""
    return modules(net, PadShortcut)[0].missing


def normed(net, rng):
    return len(modules(net, nn.BatchNorm2d))


def first_matrix(net, rng):
    return modules(net, nn.Linear)[0].weight.shape[0]


def seed(n):
    return np.random.default_rng(n).random()


WRONG = Refused(ValueError, r"^(cifar_)?(resnet|residual_net)\d*: expected")
F32, F64 = (np.float32, {"float32"}), (np.float64, {"float64"})


def seen(look, make, *values):
    """A row: what is looked at, of the net that a factory builds."""
    return Row(lambda **s: look(*built(make, **s)), *values)


def of_a_net(make, count=1000):
    """The rows that all nets have in common."""
    return {
        "num_classes": seen(classes, make, (count, count), (7, 7)),
        "in_channels": seen(channels, make, (3, 3), (1, 1)),
        "rng": seen(first_draw, make, (0, seed(0)), (5, seed(5))),
        "dtype": seen(dtypes, make, F32, F64),
    }


def of_a_normed_net(make, count=1000):
    return of_a_net(make, count) | {"bn_eps": seen(epsilons, make, (1e-5, {1e-5}), (0.01, {0.01}))}


def of_a_residual_net(make, zeros, default="B", bottlenecks=False, **settings):
    """The rows of a residual net. With option A, its first block that changes anything pads a number of channels."""
    unchanged, moved = [1, 2, 1], [1, 1, 2] if bottlenecks else [1, 2, 1]
    kinds = {"A": ["PadShortcut", "Identity"], "B": ["Sequential", "Identity"], "C": ["Sequential", "Sequential"]}
    order = sorted(kinds, key=lambda option: option != default)
    both = (zeros // 2, zeros // 2)
    return of_a_normed_net(make, **settings) | {
        "shortcut": seen(shortcuts, make, *((option, kinds[option]) for option in order), ("D", WRONG)),
        "zero_gamma": seen(last_gammas, make, (False, [{1.0}, {1.0}]), (True, [{0.0}, {1.0}])),
        "pad_channels": seen(
            padding, functools.partial(make, shortcut="A"), ("after", (0, zeros)), ("both", both), ("before", WRONG)
        ),
        "stride_in": seen(strides, make, ("1x1", unchanged), ("3x3", moved), ("5x5", WRONG)),
    }


def of_a_vgg(make, plain):
    """The rows of a VGG net, and its number of convolutions."""
    return of_a_net(make) | {
        "batch_norm": seen(normed, make, (False, 0), (True, plain)),
        "image_size": seen(first_matrix, make, (224, 7 * 7 * 512), (64, 2 * 2 * 512), (63, 512)),
    }


def part(kind, **given):
    """The kernel, the channels and the stride of each convolution of a block, and the epsilons of its norms."""
    given = {"conv_bn": functools.partial(conv_bn, rng=0), "c_in": 16, "c_out": 16} | given
    found = kind(**given)
    convs = [(conv.kernel[0], *conv.weight.shape[2:], conv.stride[0]) for conv in modules(found, nn.Conv2d)]
    return [convs, sorted(epsilons(found, None))]


def of_a_block(kind, **settings):
    """The rows of a block with two 3x3 convolutions; where a shortcut is necessary, it is of option A."""
    look = functools.partial(part, kind, **settings)
    return {
        "conv_bn": Row(
            look,
            (functools.partial(conv_bn, rng=0), [[(3, 16, 16, 1), (3, 16, 16, 1)], [1e-5]]),
            (functools.partial(conv_bn, rng=0, bn_eps=0.5), [[(3, 16, 16, 1), (3, 16, 16, 1)], [0.5]]),
        ),
        "c_in": Row(
            look, (16, [[(3, 16, 16, 1), (3, 16, 16, 1)], [1e-5]]), (8, [[(3, 8, 16, 1), (3, 16, 16, 1)], [1e-5]])
        ),
        "c_out": Row(
            look, (16, [[(3, 16, 16, 1), (3, 16, 16, 1)], [1e-5]]), (32, [[(3, 16, 32, 1), (3, 32, 32, 1)], [1e-5]])
        ),
        "stride": Row(
            look, (1, [[(3, 16, 16, 1), (3, 16, 16, 1)], [1e-5]]), (2, [[(3, 16, 16, 2), (3, 16, 16, 1)], [1e-5]])
        ),
    }


def of_a_bottleneck(**settings):
    """Convolutions of 1, 3 and 1; in the middle, a quarter of the filters."""
    look = functools.partial(part, Bottleneck, **settings)
    usual = [(1, 16, 4, 1), (3, 4, 4, 1), (1, 4, 16, 1)]
    return {
        "conv_bn": Row(
            look,
            (functools.partial(conv_bn, rng=0), [usual, [1e-5]]),
            (functools.partial(conv_bn, rng=0, bn_eps=0.5), [usual, [0.5]]),
        ),
        "c_in": Row(look, (16, [usual, [1e-5]]), (8, [[(1, 8, 4, 1), *usual[1:]], [1e-5]])),
        "c_out": Row(look, (16, [usual, [1e-5]]), (32, [[(1, 16, 8, 1), (3, 8, 8, 1), (1, 8, 32, 1)], [1e-5]])),
        "stride": Row(look, (1, [usual, [1e-5]]), (2, [[(1, 16, 4, 2), *usual[1:]], [1e-5]])),
        "stride_in": Row(
            functools.partial(look, stride=2),
            ("1x1", [[(1, 16, 4, 2), *usual[1:]], [1e-5]]),
            ("3x3", [[usual[0], (3, 4, 4, 2), usual[2]], [1e-5]]),
        ),
    }


def of_shortcuts(kind, **given):
    """The rows of a block's shortcut, where stride and channels change."""
    given = {"conv_bn": functools.partial(conv_bn, rng=0), "c_in": 16, "c_out": 32, "stride": 2} | given

    def look(**settings):
        found = kind(**given | settings)
        found = getattr(found, "downsample", found)
        return [found.missing, found.stride] if isinstance(found, PadShortcut) else repr(found)

    option_b = "Sequential(\n  (0): Conv2d(16, 32, 1, stride=2, bias=False)\n  (1): BatchNorm2d(32)\n)"
    return {
        "shortcut": Row(look, ("B", option_b), ("A", [(0, 16), 2]), ("C", option_b)),
        "pad_channels": Row(functools.partial(look, shortcut="A"), ("after", [(0, 16), 2]), ("both", [(8, 8), 2])),
    }


def pair(**settings):
    """Kernel, stride, padding, and whether there is a bias; shapes and epsilon."""
    conv, norm = conv_bn(**{"kernel": 3, "c_in": 2, "c_out": 4, "rng": 0} | settings)
    return [conv.kernel, conv.stride, conv.padding, conv.bias, conv.weight.shape[2:], norm.weight.shape, norm.eps]


def plain(**change):
    """A convolution and its batch norm as above, with some of it changed."""
    usual = {"kernel": (3, 3), "stride": (1, 1), "padding": (1, 1), "b": None, "w": (2, 4), "c": (4,), "eps": 1e-5}
    return list((usual | change).values())


def padded(missing=2, stride=1, pad_channels="after"):
    """Option A of a map of 2x2 pixels, 1 to 4."""
    x = mg.Tensor(np.array([1.0, 2, 3, 4]).reshape(1, 2, 2, 1))
    return PadShortcut(missing, stride, pad_channels)(x).data[0].reshape(-1, 1 + missing).tolist()


def structure(net, rng):
    """The first convolution, the blocks of each stage, and the channels that they give."""
    conv = net.conv1
    return [(conv.kernel[0], conv.weight.shape[3], conv.stride[0]), [(len(s), part_of(s[-1])) for s in net.stages]]


def part_of(block):
    return type(block).__name__, [conv.weight.shape[3] for conv in modules(block, nn.Conv2d)][-1]


def prefixed(name, rows):
    return {f"{name}.{setting}": row for setting, row in rows.items()}
