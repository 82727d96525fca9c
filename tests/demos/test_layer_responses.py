"""What the figure shows is what batch norm makes of gamma and beta; deeper residual nets change the signal less."""

import json

import numpy as np
import pytest

import minigrad as mg
from demos import lab, layer_responses
from minigrad import nn
from models import cifar_plain, cifar_resnet


@pytest.mark.slow
@pytest.mark.parametrize("seed", [4001, 4002])
def test_the_quick_run(tmp_path, capsys, seed):
    result = layer_responses.main(["--quick", "--seed", str(seed), "--out", str(tmp_path)])
    nets = {(net["kind"], net["depth"]): net for net in result["nets"]}
    printed = capsys.readouterr().out
    assert all(f"\n{kind}-{depth} " in printed for kind, depth in nets)
    assert list(nets) == [("plain", 14), ("plain", 20), ("residual", 14), ("residual", 20)]
    for (kind, depth), net in nets.items():
        assert len(net["responses"]) == depth - 1
        assert len(net["changes"]) == ((depth - 2) // 2 - 2 if kind == "residual" else 0)
        assert net["error"] < 0.2
    mean = {net: nets[net]["responses"].mean() for net in nets}
    assert mean["plain", 20] > 1.08 * mean["residual", 20]
    assert mean["residual", 14] > 1.04 * mean["residual", 20]
    assert nets["residual", 20]["changes"].mean() < 0.85 * nets["residual", 14]["changes"].mean()
    saved = json.loads((tmp_path / "layer_responses.json").read_text())
    np.testing.assert_array_equal(saved["nets"][3]["responses"], result["nets"][3]["responses"])


@pytest.mark.slow
def test_the_claim():
    """The nets of the default run, without the two that take longest."""
    mean = {}
    for kind, depth in (("plain", 20), ("residual", 20), ("residual", 56)):
        net = layer_responses.NETS[kind](depth, in_channels=1, width=8, rng=4003)
        error = layer_responses.fit(net, 20, 4003, decay=0.01)
        mean[kind, depth] = layer_responses.measure(net)[0].mean()
        assert error < 0.05
    assert mean["plain", 20] > 1.08 * mean["residual", 20]
    assert mean["residual", 20] > 1.04 * mean["residual", 56]


@pytest.mark.parametrize("make", [cifar_plain, cifar_resnet])
def test_responses_are_those_of_gamma_and_beta(make):
    """A channel's deviation is |gamma|, its mean beta: all channels together have mean(gamma ** 2) + var(beta)."""
    net, rng = make(8, in_channels=1, rng=4001), np.random.default_rng(4001)
    norms = [module for _, module in net.named_modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.weight.data = rng.uniform(-2, 2, norm.weight.shape).astype("float32")
        norm.bias.data = rng.uniform(-2, 2, norm.bias.shape).astype("float32")
    responses, _ = layer_responses.measure(net)
    expected = [np.sqrt((norm.weight.data**2).mean() + norm.bias.data.var()) for norm in norms]
    np.testing.assert_allclose(responses, expected, rtol=1e-3)


def test_changes_are_those_of_the_blocks():
    net = cifar_resnet(20, in_channels=1, rng=4001)
    images, _ = next(iter(lab.digits(True)))
    expected = []
    blocks = [block for stage in net.stages for block in stage]
    for block in blocks:
        if isinstance(block.downsample, nn.Identity):
            forward = block.forward

            def look(x, block=block, forward=forward):
                end = block.bn2.hook(lambda norm, f: expected.append(float(f.data.std() / x.data.std())))
                out = forward(x)
                end()
                return out

            block.forward = look
    with mg.no_grad():
        net(mg.Tensor(images))
    for block in blocks:
        vars(block).pop("forward", None)
    _, changes = layer_responses.measure(net)
    np.testing.assert_allclose(changes, expected, rtol=1e-3)
    assert len(changes) == 7


def test_the_figure_shows_the_numbers():
    nets = [
        {"kind": "plain", "depth": 8, "responses": np.array([1.0, 3.0, 2.0]), "changes": np.array([]), "error": 0.4},
        {"kind": "plain", "depth": 14, "responses": np.array([2.0, 1.0]), "changes": np.array([]), "error": 0.9},
        {"kind": "residual", "depth": 8, "responses": np.array([0.5, 0.4]), "changes": np.array([0.9]), "error": 0.0},
        {
            "kind": "residual",
            "depth": 14,
            "responses": np.array([0.3, 0.2]),
            "changes": np.array([0.7, 0.6]),
            "error": 0.1,
        },
    ]
    ordered, ranked, changed = layer_responses.draw(nets).axes
    for line, high, net in zip(ordered.lines, ranked.lines, nets, strict=True):
        np.testing.assert_array_equal(line.get_ydata(), net["responses"])
        np.testing.assert_array_equal(high.get_ydata(), sorted(net["responses"], reverse=True))
        failed = " (failed to train)" if net["error"] == 0.9 else ""
        assert high.get_label() == f"{net['kind']}-{net['depth']}{failed}"
        assert (
            line.get_linestyle()
            == high.get_linestyle()
            == (":" if failed else {"plain": "--", "residual": "-"}[net["kind"]])
        )
    assert [list(line.get_ydata()) for line in changed.lines] == [[0.9], [0.7, 0.6]]
    assert ordered.lines[2].get_linewidth() < ordered.lines[3].get_linewidth()
