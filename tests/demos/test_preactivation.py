"""The claims of demos/preactivation.py: recompute changes no loss, and with pre-activation a deep net starts sooner."""

import json

import numpy as np
import pytest

import minigrad as mg
from demos import lab, preactivation
from models import cifar_preact_resnet


def test_recompute_changes_no_loss():
    images, labels = next(iter(lab.digits(True, 8, rng=4001)))
    nets = [cifar_preact_resnet(74, width=2, in_channels=1, rng=4001) for _ in range(2)]  # 36 blocks
    lab.recomputed(nets[1])
    losses = [mg.cross_entropy(net(mg.Tensor(images)), labels) for net in nets]
    assert losses[0].item() == losses[1].item()
    assert isinstance(nets[1].layer3, lab.Segments)
    for loss in losses:
        loss.backward()
    for p, q in zip(*(net.parameters() for net in nets), strict=True):
        np.testing.assert_array_equal(p.grad.data, q.grad.data)


def test_a_net_of_more_than_a_thousand_layers_is_trained_in_segments(monkeypatch):
    seen = []
    monkeypatch.setattr(lab, "recomputed", lambda net: seen.append(len(net.layer1)))
    monkeypatch.setattr(lab, "fit", lambda net, *_, **options: [{"loss": 2.0, "batch_error": 0.5}] * options["epochs"])
    run = preactivation.train("pre-activation", 1202, 2, 1, 4001)
    assert seen == [200]
    assert run["losses"] == [2.0, 2.0]
    preactivation.train("original", 110, 1, 1, 4001)
    assert seen == [200]


@pytest.mark.slow
def test_the_quick_run(tmp_path, capsys):
    runs = preactivation.main(["--quick", "--seed", "4001", "--out", str(tmp_path)])["runs"]
    assert [(run["depth"], run["kind"]) for run in runs] == [
        (d, kind) for d in (110, 20) for kind in preactivation.KINDS
    ]
    assert [len(run["losses"]) for run in runs] == [12, 12, 36, 36]
    assert runs[0]["parameters"] == runs[1]["parameters"]
    for run in runs[2:]:
        assert np.mean(run["losses"][-12:]) < 0.7 * np.mean(run["losses"][:12])
    assert capsys.readouterr().out.count("pre-activation") >= 2
    saved = json.loads((tmp_path / "preactivation.json").read_text())
    assert saved["runs"][3]["losses"] == runs[3]["losses"]


def test_the_figure_shows_the_losses():
    runs = [
        {"kind": kind, "depth": depth, "losses": np.linspace(2, i, 24)}
        for i, depth in enumerate((110, 1202))
        for kind in preactivation.KINDS
    ]
    left, right = preactivation.draw(runs).axes
    assert [panel.get_title(loc="left") for panel in (left, right)] == ["110 layers", "1202 layers"]
    thin, bold = right.lines[:2]
    np.testing.assert_array_equal(thin.get_ydata(), runs[2]["losses"])
    np.testing.assert_allclose(bold.get_ydata()[0], runs[2]["losses"][:6].mean())
    assert [line.get_label() for line in left.lines[1::2]] == list(preactivation.KINDS)
