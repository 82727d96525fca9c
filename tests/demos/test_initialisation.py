"""Without batch norm the signal goes with the power of the depth, and only He's weights learn; with it all do."""

import json

import numpy as np
import pytest

from demos import initialisation


def check_signals(nets):
    """The factors a layer that the docstring derives."""
    lost = {"He": 1, "Glorot": 0.5**0.5, "0.01": 0.01 * (initialisation.WIDTH / 2) ** 0.5}
    for net in nets.values():
        layers = len(net["signal"])
        assert layers == len(net["gradient"]) == initialisation.DEPTH
        assert net["signal"][0] == net["gradient"][-1] == 1
        if net["norm"]:
            assert 0.5 < min(net["signal"]) <= max(net["signal"]) < 2
            growth = net["gradient"][0] ** (1 / (layers - 1))
            assert 1.1 < growth < 1.3
        else:
            for ratio in (net["signal"][-1], net["gradient"][0]):
                assert abs(np.log(ratio) - (layers - 1) * np.log(lost[net["init"]])) < np.log(6)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [4006, 4007])
def test_the_quick_run(tmp_path, capsys, seed):
    result = initialisation.main(["--quick", "--seed", str(seed), "--out", str(tmp_path)])
    nets = {net["name"]: net for net in result["nets"]}
    assert list(nets) == ["He", "Glorot", "0.01", "He + BN", "Glorot + BN", "0.01 + BN"]
    check_signals(nets)
    assert min(nets["0.01"]["errors"]) > 0.85
    for init in ("He", "Glorot"):  # at a rate of 0.1
        assert nets[f"{init} + BN"]["errors"][1] < min(0.5, nets[init]["errors"][1] - 0.15)
    printed = capsys.readouterr().out
    assert all(f"\n{name} " in printed for name in nets)
    saved = json.loads((tmp_path / "initialisation.json").read_text())
    np.testing.assert_array_equal(saved["nets"][3]["signal"], result["nets"][3]["signal"])


@pytest.mark.slow
def test_the_claims(tmp_path):
    result = initialisation.main(["--seed", "4003", "--out", str(tmp_path)])
    errors = {net["name"]: np.array(net["errors"]) for net in result["nets"]}
    assert min(errors["Glorot"].min(), errors["0.01"].min()) > 0.65
    assert errors["He"].min() < 0.6
    assert (errors["He"] < 0.6).sum() <= 2
    for name in ("He + BN", "Glorot + BN", "0.01 + BN"):
        assert errors[name].min() < 0.4
        assert (errors[name] < 0.6).sum() >= 3
    assert errors["0.01 + BN"][0] < errors["He + BN"][0] - 0.2  # small weights want small steps


def test_numbers_out_of_range_count_as_guessing():
    net = initialisation.build("He", False, 4001)
    assert initialisation.train(net, 1e6, 1, 4001) == 0.9


def test_the_figure_shows_the_numbers():
    nets = [
        {"name": f"{init}{norm}", "norm": norm, "signal": [1.0, 0.1 + i], "gradient": [0.2 + i, 1.0], "errors": [i / 9]}
        for i, (norm, init) in enumerate((norm, init) for norm in (False, True) for init in "abc")
    ]
    figure = initialisation.draw({"depth": 2, "epochs": 1, "rates": [0.1], "nets": nets})
    signals, gradients, errors = figure.axes
    for panel, values in ((signals, "signal"), (gradients, "gradient")):
        for line, net in zip(panel.lines, nets, strict=True):
            np.testing.assert_array_equal(line.get_xydata(), list(zip([1, 2], net[values], strict=True)))
            assert (line.get_linestyle() == "-") == net["norm"]
            assert line.get_label() == net["name"]
    np.testing.assert_allclose([line.get_ydata()[0] for line in errors.lines], 100 / 9 * np.arange(6))
