"""The claims of demos/corrections.py: what is measured is |F| / |x|, and training does not bring it near 0."""

import json

import numpy as np
import pytest

import minigrad as mg
from demos import corrections, lab
from models import cifar_resnet


def blocks_of(net):
    return [block for stage in net.stages for block in stage]


def test_ratios_are_those_of_the_blocks():
    net = cifar_resnet(14, in_channels=1, width=4, rng=4001)
    images, _ = next(iter(lab.digits(True)))
    expected = []
    with mg.no_grad():
        x = net.stem(mg.Tensor(images))
        for block in blocks_of(net):
            f = block.bn2(block.conv2(mg.relu(block.bn1(block.conv1(x)))))
            expected.append(np.linalg.norm(f.data) / np.linalg.norm(block.downsample(x).data))
            x = block(x)
    np.testing.assert_allclose(corrections.ratios(net), expected, rtol=1e-4)
    assert expected[0] == pytest.approx(np.sqrt(2), rel=0.05)  # of unit variance, to the same, rectified


def test_with_zero_gamma_there_is_no_residual():
    net = cifar_resnet(14, in_channels=1, width=4, zero_gamma=True, rng=4001)
    assert not corrections.ratios(net).any()
    assert not corrections.gammas(net).any()


def test_gammas_are_the_means_of_each_last_batch_norm():
    net = cifar_resnet(14, in_channels=1, width=4, rng=4001)
    for i, block in enumerate(blocks_of(net)):
        block.bn2.weight.data[:2] = 2 * i + 1
    np.testing.assert_allclose(corrections.gammas(net)[:2], [1, 2])  # of four channels, two are changed
    assert len(corrections.gammas(net)) == 6


@pytest.mark.slow
def test_the_quick_run(tmp_path, capsys):
    rows = corrections.main(["--quick", "--seed", "4001", "--out", str(tmp_path)])["nets"]
    small, deep, zero = rows
    assert [len(row["before"]) for row in rows] == [3, 9, 9]
    for row in (small, deep):
        assert row["after"].min() > 0.3
        assert abs(row["gamma"] - 1).max() < 0.2
        assert np.all(np.diff(row["before"]) < 0.2)
    assert not zero["before"].any()
    assert 0 < zero["after"].mean() < 0.6 * deep["after"].mean()
    assert "residual-20, zero_gamma" in capsys.readouterr().out
    saved = json.loads((tmp_path / "corrections.json").read_text())
    np.testing.assert_array_equal(saved["nets"][1]["after"], deep["after"])


def test_the_figure_shows_the_numbers():
    one = {"depth": 8, "zero_gamma": False, "before": np.array([1.4, 1, 0.8]), "after": np.array([1.2, 0.9, 0.7])}
    two = {"depth": 8, "zero_gamma": True, "before": np.zeros(3), "after": np.array([0.1, 0.2, 0.3])}
    rows = [one | {"gamma": np.array([0.9, 1, 1.1])}, two | {"gamma": np.array([0.2, 0.1, 0.3])}]
    ratio, gamma = corrections.draw(rows).axes
    thin, bold, _, zero, law = ratio.lines
    np.testing.assert_array_equal(thin.get_ydata(), one["before"])
    np.testing.assert_array_equal(bold.get_ydata(), one["after"])
    np.testing.assert_array_equal(zero.get_ydata(), two["after"])
    np.testing.assert_allclose(law.get_ydata(), [1, 2**-0.5, 3**-0.5])
    assert thin.get_linewidth() < bold.get_linewidth()
    assert [list(line.get_ydata()) for line in gamma.lines] == [[0.9, 1, 1.1], [0.2, 0.1, 0.3]]
