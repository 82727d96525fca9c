"""Bottlenecks cost what basic blocks do; the counts are the paper's; both nets learn."""

import json
from functools import partial

import numpy as np
import pytest

from demos import bottleneck
from minigrad import inspect, nn
from models.plain import conv_bn
from models.resnet import BasicBlock, Bottleneck


@pytest.mark.parametrize("width", [4, 8, 16])
def test_the_two_nets_cost_the_same(width):
    costs = {
        kind: inspect.summary(bottleneck.digit_net(kind, width, 4001), (8, 8, 1)) for kind in ("basic", "bottleneck")
    }
    layers = {kind: sum(row.kind in ("Conv2d", "Linear") for row in cost.rows) for kind, cost in costs.items()}
    assert layers == {"basic": 14, "bottleneck": 20}
    assert costs["bottleneck"].macs == pytest.approx(costs["basic"].macs, rel=0.05)
    assert costs["bottleneck"].macs != costs["basic"].macs


def test_the_arithmetic_of_the_docstring():
    """Figure 5, by summary: the blocks on one pixel, and the projection that would double the bottleneck."""

    conv = partial(conv_bn, rng=0)
    cost = {
        "basic": inspect.summary(BasicBlock(conv, 64, 64), (1, 1, 64)).macs,
        "bottleneck": inspect.summary(Bottleneck(conv, 256, 256), (1, 1, 256)).macs,
        "projection": inspect.summary(nn.Sequential(*conv(1, 256, 256)), (1, 1, 256)).macs,
    }
    assert cost == {"basic": 73_728, "bottleneck": 69_632, "projection": 65_536}
    for number in cost.values():
        assert f"{number:,}" in bottleneck.__doc__


def test_the_figure_draws_the_numbers():
    table = {
        name: {"layers": layers, "macs": 1e9 * layers, "paper": paper * 1e9}
        for name, (layers, paper) in bottleneck.PAPER.items()
    }
    row = {"layers": 14, "iteration": np.array([[12, 24]] * 2), "loss": np.array([[2.0, 0.5], [4.0, 0.1]])}
    costs, losses = bottleneck.draw({"table": table, "trained": {"basic": row, "bottleneck": row}}).axes
    families = [line.get_xydata().tolist() for line in costs.lines]
    assert families[0] == [[18, 18], [34, 34]]
    assert families[1] == [[50, 50], [101, 101], [152, 152]]
    assert families[2] == [[16, 16], [19, 19]]
    assert families[3] == [[layers, paper] for layers, paper in bottleneck.PAPER.values()]
    np.testing.assert_allclose(losses.lines[1].get_xydata(), [[12, 3.0], [24, 0.3]])
    assert losses.lines[0].get_linestyle() != losses.lines[1].get_linestyle()  # told apart in grey


@pytest.mark.slow
@pytest.mark.parametrize("seed", [4001, 4002])
def test_the_quick_demo(tmp_path, capsys, monkeypatch, seed):
    if seed != 4001:  # the counts do not depend on it
        monkeypatch.setattr(bottleneck, "PAPER", {name: bottleneck.PAPER[name] for name in ("resnet18", "resnet50")})
    result = bottleneck.main(["--quick", "--seed", str(seed), "--out", str(tmp_path)])
    for row in result["table"].values():  # as the paper states them, to their last digit or one beside it
        assert row["macs"] == pytest.approx(row["paper"], abs=0.065e9)
    if seed == 4001:
        assert list(result["table"]) == ["plain18", "plain34", *(f"resnet{n}" for n in (18, 34, 50, 101, 152))]
        assert result["table"]["resnet152"]["macs"] < 15.3e9  # less than VGG-16
        assert result["table"]["plain34"]["parameters"] == 21_623_848
    basic, narrow = (result["trained"][kind] for kind in ("basic", "bottleneck"))
    assert narrow["activations"] > 2 * basic["activations"]
    for row in (basic, narrow):
        assert row["loss"].shape == (1, 3)
        assert row["loss"][0, -1] < 0.5  # both learn: chance is 2.3
        assert row["test_error"][0, -1] < 0.4
    saved = json.loads((tmp_path / "bottleneck.json").read_text())
    assert saved["trained"]["basic"]["loss"] == basic["loss"].tolist()
    assert "leaves VGG-16 and VGG-19 out" in capsys.readouterr().out
