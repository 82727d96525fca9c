"""The nets of the paper: counts, shapes, and what is refused."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from models import cifar_plain, cifar_resnet
from models.resnet import BasicBlock, PadShortcut


def count(net):
    return sum(p.size for p in net.parameters())


@pytest.mark.parametrize(
    ("depth", "parameters"),
    [(20, 269_722), (32, 464_154), (44, 658_586), (56, 853_018), (110, 1_727_962)],
)
def test_parameters_are_those_of_the_paper(depth, parameters):
    assert count(cifar_resnet(depth)) == count(cifar_plain(depth)) == parameters


@pytest.mark.slow
def test_parameters_of_1202_layers():
    assert count(cifar_resnet(1202)) == 19_421_274


def test_option_b_adds_projections():
    assert count(cifar_resnet(20, "B")) == 272_474
    assert count(cifar_resnet(20, "C")) > 272_474


@pytest.mark.parametrize("make", [cifar_plain, cifar_resnet])
def test_depth_is_the_number_of_layers_with_weights(make):
    for depth in (8, 20):
        net = make(depth)
        layers = [m for _, m in net.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        assert len(layers) == depth


@pytest.mark.parametrize("make", [cifar_plain, cifar_resnet])
@pytest.mark.parametrize("depth", [1, 2, 7, 18, 21, 100])
def test_an_impossible_depth_is_refused_with_possible_ones(make, depth):
    with pytest.raises(ValueError, match=r"depth \d+ is impossible.*6n \+ 2.*nearest: ") as caught:
        make(depth)
    nearest = str(caught.value).split("nearest: ")[1].split(" (")[0].split(" or ")
    for possible in map(int, nearest):
        assert abs(possible - depth) <= 7
        make(possible)


@pytest.mark.parametrize("make", [cifar_plain, cifar_resnet])
def test_maps_halve_and_filters_double(make):
    net, shapes = make(8, in_channels=1, num_classes=7), []
    for _, module in net.named_modules():
        if isinstance(module, nn.Conv2d):
            module.hook(lambda module, out: shapes.append(out.shape[1:]))
    assert net(mg.Tensor(np.zeros((2, 8, 8, 1), "float32"))).shape == (2, 7)
    assert shapes == [(8, 8, 16)] * 3 + [(4, 4, 32)] * 2 + [(2, 2, 64)] * 2


def test_option_a_takes_every_second_pixel_and_pads_with_zeros():
    x = np.arange(32.0).reshape(1, 4, 4, 2)
    for where, before in (("after", 0), ("both", 1)):
        out = PadShortcut(2, 2, where)(mg.Tensor(x)).data
        np.testing.assert_array_equal(out[..., before : before + 2], x[:, ::2, ::2])
        assert out.shape == (1, 2, 2, 4)
        assert np.count_nonzero(out) == np.count_nonzero(x[:, ::2, ::2])


def test_a_block_adds_its_input_before_the_last_relu():
    block = BasicBlock(4, 4, 1, shortcut="A", rng=0, dtype=np.float64).eval()
    x = mg.Tensor(np.random.default_rng(0).standard_normal((2, 3, 3, 4)))
    residual = block.bn2(block.conv2(mg.relu(block.bn1(block.conv1(x)))))
    np.testing.assert_array_equal(block(x).data, np.maximum(residual.data + x.data, 0))


def test_with_zero_gamma_a_block_begins_as_its_shortcut():
    x = mg.Tensor(np.random.default_rng(0).standard_normal((2, 4, 4, 4)).astype("float32"))
    block = BasicBlock(4, 4, 1, shortcut="A", zero_gamma=True, rng=0)
    np.testing.assert_array_equal(block(x).data, np.maximum(x.data, 0))


def test_shortcuts_by_option():
    def kinds(option):
        net = cifar_resnet(8, option)
        return [type(m.shortcut).__name__ for m in net.layers if isinstance(m, BasicBlock)]

    assert kinds("A") == ["Identity", "PadShortcut", "PadShortcut"]
    assert kinds("B") == ["Identity", "Sequential", "Sequential"]
    assert kinds("C") == ["Sequential"] * 3
    for wrong in ({"shortcut": "D"}, {"pad_channels": "before"}):
        with pytest.raises(ValueError, match='expected shortcut "A", "B" or "C"'):
            cifar_resnet(8, **wrong)


def test_weights_depend_on_the_seed_alone():
    a, b, c = (cifar_resnet(8, rng=seed).state_dict() for seed in (1, np.random.default_rng(1), 2))
    assert all(np.array_equal(a[name], b[name]) for name in a)
    assert not all(np.array_equal(a[name], c[name]) for name in a)
    weights = [value for name, value in a.items() if name.endswith(".w") and value.shape == (3, 3, 16, 16)]
    assert not np.array_equal(*weights[:2])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("make", [cifar_plain, cifar_resnet])
def test_a_whole_net_by_finite_differences(make, training):
    """End to end, in float64: the gradients of the parameters of a tiny net."""
    net = make(8, width=2, in_channels=1, num_classes=3, rng=3, dtype=np.float64).train(training)
    rng = np.random.default_rng(0)
    for p in net.parameters():
        p.data = p.data + 0.1 * rng.standard_normal(p.shape)  # away from gamma = 1 and beta = 0
    x, labels = mg.Tensor(rng.standard_normal((3, 4, 4, 1))), np.array([0, 2, 1])
    frozen = {name: b.copy() for name, b in net.named_buffers()}

    def loss(*_):
        for name, b in net.named_buffers():
            b[...] = frozen[name]
        return mg.cross_entropy(net(x), labels)

    assert mg.gradcheck(loss, net.parameters(), eps=1e-6) < 1e-5
