"""The construction is exact, its parts are all needed, and what the demo says holds on seeds not used in tuning."""

import copy
import json

import numpy as np
import pytest

import minigrad as mg
from demos import constructed
from models import cifar_plain, cifar_resnet


def trained_a_little(images, seed):
    """A net whose running statistics and gammas are not as they began."""
    net = cifar_plain(8, in_channels=1, width=4, rng=seed)
    rng = np.random.default_rng(seed)
    for _, module in net.named_modules():
        if isinstance(module, mg.nn.BatchNorm2d):
            module.weight.data[...] = rng.uniform(0.5, 2, module.weight.shape)
            module.bias.data[...] = rng.standard_normal(module.bias.shape)
    for _ in range(30):
        net(mg.Tensor(images))
    return net


@pytest.fixture(params=[4001, 4002])
def pair(request):
    images = np.random.default_rng(request.param).standard_normal((64, 8, 8, 1)).astype("float32")
    shallow = trained_a_little(images, request.param)
    return images, shallow, constructed.constructed(shallow, 20, images)


def test_the_constructed_net_computes_the_same(pair):
    images, shallow, deep = pair
    before = shallow.state_dict()
    other = np.random.default_rng(0).standard_normal((16, 8, 8, 1)).astype("float32")  # not those it was made with
    for x in (images, other):
        a, b = constructed.logits(shallow, x), constructed.logits(deep, x)
        np.testing.assert_allclose(b, a, rtol=0, atol=2e-5 * abs(a).max(), equal_nan=False, strict=True)
    for name, array in shallow.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_it_is_an_ordinary_plain_net(pair):
    images, _, deep = pair
    ordinary = cifar_plain(20, in_channels=1, width=4, rng=1)
    ordinary.load_state_dict(deep.state_dict())
    np.testing.assert_array_equal(constructed.logits(ordinary, images), constructed.logits(deep, images))


def test_the_two_share_nothing(pair):
    images, shallow, deep = pair
    before = constructed.logits(shallow, images)
    for value in [*deep.parameters(), *deep.buffers()]:
        value.data[...] += 1
    np.testing.assert_array_equal(constructed.logits(shallow, images), before)


def test_in_training_it_is_nearly_the_same_where_statistics_are_those_it_was_made_with(pair):
    """All images as one batch: batch statistics and running ones then agree, but for the variance's n / (n - 1)."""
    images, _, deep = pair
    with mg.no_grad():
        x = deep.eval().stem(mg.Tensor(images))
        for layer in deep.layer1.layers[:1]:
            x = layer(x)
        deep.train()
        y = x
        for layer in deep.layer1.layers[1:]:
            y = layer(y)
    np.testing.assert_allclose(y.data, x.data, rtol=0, atol=2e-5 * x.data.max())


def test_a_constant_channel_passes_too():
    """A dead ReLU: a channel of deviation 0."""
    images = np.random.default_rng(4003).standard_normal((16, 8, 8, 1)).astype("float32")
    shallow = trained_a_little(images, 4003)
    for stage in shallow.stages:
        last = stage[-1].bn2
        last.weight.data[:2], last.bias.data[:2] = 0, [3, -1]
    deep = constructed.constructed(shallow, 14, images)
    a, b = constructed.logits(shallow, images), constructed.logits(deep, images)
    np.testing.assert_allclose(b, a, rtol=0, atol=2e-5 * abs(a).max(), equal_nan=False, strict=True)


def test_zero_gamma_begins_shallow_and_others_do_not():
    images = np.random.default_rng(4004).standard_normal((8, 8, 8, 1)).astype("float32")
    zero, usual = (cifar_resnet(14, in_channels=1, width=4, rng=1, zero_gamma=zero) for zero in (True, False))
    state = copy.deepcopy(zero.state_dict())
    assert constructed.begins_shallow(zero, images)
    assert not constructed.begins_shallow(usual, images)
    for name, array in zero.state_dict().items():
        np.testing.assert_array_equal(array, state[name])


@pytest.mark.slow
@pytest.mark.parametrize("seed", [4001, 4002])
def test_what_the_demo_says_holds(seed, tmp_path, capsys):
    result = constructed.main(["--quick", "--seed", str(seed), "--out", str(tmp_path)])
    printed = capsys.readouterr().out
    assert result["errors"][0] == result["errors"][1] < 0.06
    assert result["difference"] < 2e-5
    assert result["begins shallow"]
    assert "begins as residual-8, to the bit" in printed
    shallow, on, scratch, residual = (points[-1, 1] for points in result["runs"].values())
    assert on <= shallow + 1
    assert scratch > max(shallow, on) + 15
    assert residual < scratch - 10
    points = result["runs"]["plain-32, constructed"]
    assert points[0].tolist() == [48, 100 * result["errors"][1]]
    assert points[-1, 0] == result["runs"]["plain-32, from scratch"][-1, 0] == 72
    saved = json.loads((tmp_path / "constructed.json").read_text())
    np.testing.assert_array_equal(saved["runs"]["plain-32, constructed"], points)
    assert (tmp_path / "constructed.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_the_figure_draws_the_numbers():
    runs = {name: np.array([[12.0, 50.0 + i], [24.0, 10.0 + i]]) for i, name in enumerate("abcd")}
    (panel,) = constructed.draw(runs).axes
    assert [line.get_label() for line in panel.lines] == list("abcd")
    for line, points in zip(panel.lines, runs.values(), strict=True):
        np.testing.assert_array_equal(line.get_xydata(), points)
