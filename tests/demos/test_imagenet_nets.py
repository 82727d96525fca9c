"""34 plain layers train worse than 18; residual nets of both depths train; the nets are those of Table 1, narrow."""

import json

import numpy as np
import pytest

import minigrad as mg
import models
from demos import imagenet_nets
from minigrad import inspect


@pytest.mark.parametrize("depth", [18, pytest.param(34, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["plain", "ResNet"])
def test_at_full_width_they_are_the_nets_of_table_1(kind, depth):
    """But for the classes and the channels of the images."""
    net = imagenet_nets.narrow(kind, depth, 64, seed=4001)
    name = f"{kind.lower()}{depth}"
    settings = {} if kind == "plain" else {"shortcut": "A"}
    true = getattr(models, name)(num_classes=10, in_channels=1, rng=4001, **settings)
    mine, theirs = net.state_dict(), true.state_dict()
    assert list(mine) == list(theirs)
    np.testing.assert_array_equal(mine["fc.weight"], theirs["fc.weight"])  # the last to be drawn
    assert inspect.summary(net, (32, 32, 1)).macs == inspect.summary(true, (32, 32, 1)).macs


def test_option_a_adds_no_parameter_and_width_is_what_it_says():
    for depth in imagenet_nets.DEPTHS:
        plain, residual = (imagenet_nets.narrow(kind, depth, 8, 4001) for kind in ("plain", "ResNet"))
        counts = {sum(p.size for p in net.parameters()) for net in (plain, residual)}
        assert len(counts) == 1
        assert plain.fc.weight.shape == (64, 10)
        layers = [row for row in inspect.summary(plain, (32, 32, 1)).rows if row.kind in ("Conv2d", "Linear")]
        assert len(layers) == depth
        assert [row.shape[0] for row in layers if row.kind == "Conv2d"][:: depth - 2] == [
            16,
            1,
        ]  # the stem halves first


def test_enlarging_repeats_pixels():
    x = np.random.default_rng(4001).standard_normal((2, 3, 4, 2)).astype(np.float32)
    large = imagenet_nets.Enlarge(3)(mg.Tensor(x)).data  # (2, 9, 12, 2)
    expected = np.kron(x, np.ones((1, 3, 3, 1), np.float32))
    np.testing.assert_array_equal(large, expected)


def test_the_figure_draws_the_numbers():
    errors = np.array([[0.8, 0.2], [0.4, 0.1]])
    nets = {
        f"{kind}-{depth}": {"iteration": np.array([[12, 24]] * 2), "batch_error": errors / depth}
        for kind in imagenet_nets.KINDS
        for depth in imagenet_nets.DEPTHS
    }
    for panel in imagenet_nets.draw(nets).axes:
        shallow, deep = panel.lines
        assert sum(shallow.get_color()) > sum(deep.get_color()) + 0.5  # told apart in grey
        np.testing.assert_allclose(shallow.get_xydata(), [[12, 60 / 18], [24, 15 / 18]])
        np.testing.assert_allclose(deep.get_xydata(), [[12, 60 / 34], [24, 15 / 34]])


@pytest.mark.slow
@pytest.mark.parametrize("seed", [4001, 4002])
def test_deeper_plain_nets_train_worse_and_residual_nets_do_not_suffer(tmp_path, capsys, seed):
    result = imagenet_nets.main(["--quick", "--seed", str(seed), "--out", str(tmp_path)])
    loss = {name: row["loss"][0, -1] for name, row in result["nets"].items()}
    assert loss["plain-34"] > 1.15 * loss["plain-18"]
    assert loss["ResNet-34"] < 0.85 * loss["plain-34"]
    assert loss["ResNet-18"] < 0.5 * loss["plain-18"]
    assert "plain-34 ends with a higher training loss than plain-18 on 1 of 1" in capsys.readouterr().out
    saved = json.loads((tmp_path / "imagenet_nets.json").read_text())
    assert saved["nets"]["plain-34"]["loss"] == result["nets"]["plain-34"]["loss"].tolist()
