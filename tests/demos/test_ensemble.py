"""The mean softmax of several nets has at most their mean cross-entropy: always. Its errors are measured."""

import json
from itertools import count
from math import comb

import numpy as np
import pytest

import minigrad as mg
from demos import ensemble
from minigrad import data, nn, train
from models.predict import predict


def flat(seed):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10, rng=seed))


def views():
    known, unknown = data.Digits(train=False), data.Digits()
    normalize = data.transforms.Normalize(known.images.mean(0), known.images.std())
    return normalize(unknown.images, np.random.default_rng(0)), unknown.labels


def test_groups_are_what_predict_averages(tmp_path, monkeypatch, capsys):
    """Six nets that were never trained: every number is there without waiting for it."""
    nets = []
    monkeypatch.setattr(ensemble, "member", lambda *_: nets.append(flat(4001 + len(nets))) or nets[-1])
    result = ensemble.main(["--out", str(tmp_path)])
    groups = result["groups"]
    assert [len(group["error"]) for group in groups] == [comb(6, k) for k in range(1, 7)]
    images, labels = views()
    np.testing.assert_allclose(predict(nets, images).sum(1), 1, rtol=1e-5)
    for group, members in ((groups[-1], nets), (groups[1], nets[:2])):
        mean = predict(members, images)
        assert group["cross_entropy"][0] == pytest.approx(-np.log(mean[np.arange(1437), labels]).mean(), rel=1e-5)
        assert group["error"][0] == pytest.approx(100 * (mean.argmax(1) != labels).mean())
    for net, loss, error in zip(nets, groups[0]["cross_entropy"], groups[0]["error"], strict=True):
        expected = train.evaluate(net, data.DataLoader(list_of(images, labels), 479))
        assert (loss, error / 100) == pytest.approx(expected, rel=1e-5)
    means = [group["cross_entropy"].mean() for group in groups]
    assert np.all(np.diff(means) < 0)
    assert f"of the {len(nets)} nets alone" in capsys.readouterr().out
    assert json.loads((tmp_path / "ensemble.json").read_text())["groups"][5]["nets"] == 6


def list_of(images, labels):
    digits = data.Digits()
    digits.images, digits.labels = images, labels
    return digits


def test_what_breaks_the_theorem_is_noticed(tmp_path, monkeypatch):
    numbers = count(1)
    monkeypatch.setattr(ensemble, "member", lambda *_: flat(4001))
    monkeypatch.setattr(ensemble, "measure", lambda *_: (float(next(numbers)), 0.0))  # larger groups are worse
    with pytest.raises(AssertionError, match="Jensen"):
        ensemble.main(["--quick", "--out", str(tmp_path)])
    assert not list(tmp_path.iterdir())


def test_measure():
    probabilities = np.array([[0.5, 0.5, 0.0], [0.1, 0.2, 0.7]])
    loss, error = ensemble.measure(probabilities, np.array([1, 2]))
    assert loss == pytest.approx(-(np.log(0.5) + np.log(0.7)) / 2)
    assert error == 50  # of equal probabilities the first counts


def test_members_learn_from_the_360_images_only(monkeypatch):
    seen = []
    monkeypatch.setattr(train, "fit", lambda net, batches, **options: seen.append((net, batches, options)))
    assert ensemble.member(8, 4, 3, 4001) is seen[0][0]
    net, batches, options = seen[0]
    np.testing.assert_array_equal(batches.dataset.images, data.Digits(train=False).images)
    assert options["iterations"] == 3 * len(batches) == 15
    other = ensemble.member(8, 4, 3, 4002)
    assert not np.array_equal(net.fc.weight.data, other.fc.weight.data)
    assert net(mg.Tensor(views()[0][:2])).shape == (2, 10)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [4001, 4002])
def test_together_they_are_better_than_in_the_mean(tmp_path, seed):
    groups = ensemble.main(["--quick", "--seed", str(seed), "--out", str(tmp_path)])["groups"]
    alone, together = groups[0], groups[-1]
    assert together["cross_entropy"][0] < 0.95 * alone["cross_entropy"].mean()
    assert together["error"][0] < alone["error"].mean()
    assert together["error"][0] < 15
    assert (np.unique(alone["cross_entropy"])).size == 3


def test_the_figure_draws_the_numbers():
    groups = [
        {"nets": 1, "cross_entropy": np.array([0.4, 0.2]), "error": np.array([4.0, 3.0])},
        {"nets": 2, "cross_entropy": np.array([0.1]), "error": np.array([2.5])},
    ]
    left, right = ensemble.draw({"groups": groups}).axes
    np.testing.assert_allclose(left.lines[-1].get_xydata(), [[1, 0.3], [2, 0.1]])
    np.testing.assert_allclose(right.lines[0].get_xydata(), [[1, 4.0], [1, 3.0]])
    np.testing.assert_allclose(right.lines[-1].get_xydata(), [[1, 3.5], [2, 2.5]])
