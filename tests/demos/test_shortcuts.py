"""Every digit is held out once, and what is said to be told apart is what a paired t-test tells apart."""

import json

import numpy as np
import pytest
from scipy import stats

from demos import shortcuts
from minigrad import data, train

DIGITS = 1797


@pytest.fixture
def untrained(monkeypatch):
    """Training is left out; what it would have been given is kept."""
    calls = []

    def fit(net, batches, *, evaluate_on, **_):
        calls.append((net, batches, evaluate_on))
        return [{"train_loss": float(len(calls)), "test_error": 1 / len(evaluate_on["test"].dataset)}]

    monkeypatch.setattr(train, "fit", fit)
    return calls


def test_each_digit_is_held_out_once_and_nothing_is_learnt_from_it(untrained):
    loss, percent = shortcuts.cross_validate("A", 8, 4, 1, 5, seed=4001)
    assert len(untrained) == 5
    assert loss == pytest.approx(np.mean([1, 2, 3, 4, 5]))
    assert percent == pytest.approx(100 * 5 / DIGITS)  # one wrong in each fold
    held_out = []
    for _, batches, sets in untrained:
        known, unknown = batches.dataset.indices, sets["test"].dataset.indices
        assert set(sets["train"].dataset.indices) == set(known)
        assert sorted([*known, *unknown]) == list(range(DIGITS))
        held_out += list(unknown)
        seen = np.concatenate([images for images, _ in sets["train"]])
        np.testing.assert_allclose(seen.mean(0), 0, atol=1e-5)  # the mean image is that of what is known
        assert abs(np.concatenate([images for images, _ in sets["test"]]).mean(0)).max() > 0.01
    assert sorted(held_out) == list(range(DIGITS))
    digits = untrained[0][1].dataset.dataset
    np.testing.assert_array_equal(digits.images[1437:], data.Digits(train=False).images)
    np.testing.assert_array_equal(digits.labels[:1437], data.Digits().labels)


def test_options_are_compared_under_equal_conditions(untrained):
    for option in shortcuts.OPTIONS:
        shortcuts.cross_validate(option, 8, 4, 1, 2, seed=4002)
    a, b, c = untrained[0], untrained[2], untrained[4]
    for other in (b, c):
        np.testing.assert_array_equal(a[1].dataset.indices, other[1].dataset.indices)
        assert a[1].state_dict() == other[1].state_dict()
    weights = [sum(p.size for p in net.parameters()) for net, _, _ in (a, b, c)]
    assert weights[0] < weights[1] < weights[2]
    shortcuts.cross_validate("A", 8, 4, 1, 2, seed=4003)
    assert set(a[1].dataset.indices) != set(untrained[6][1].dataset.indices)


def test_what_is_told_apart_is_what_a_paired_t_test_tells_apart():
    rng = np.random.default_rng(4001)
    runs = rng.standard_normal((6, 3, 2))
    runs[:, 1, 0] += 3  # B has a higher loss
    runs[:, 1:, 1] = runs[:, :1, 1] + 0.01 * rng.standard_normal((6, 2)) + [0.03, 0.0]  # its error: in pairs only
    found = shortcuts.differences(runs)
    assert list(found) == ["B - A", "C - A", "C - B"]
    for pair, row in found.items():
        j, i = (shortcuts.OPTIONS.index(option) for option in pair.split(" - "))
        test = stats.ttest_rel(runs[:, j], runs[:, i])
        low, high = test.confidence_interval(0.95)
        np.testing.assert_allclose(row["mean"] - row["half"], low, rtol=1e-12)
        np.testing.assert_allclose(row["mean"] + row["half"], high, rtol=1e-12)
        np.testing.assert_array_equal(row["told_apart"], test.pvalue < 0.05)
    assert found["B - A"]["told_apart"].all()
    assert not found["C - A"]["told_apart"][1]


def test_the_figure_draws_the_numbers():
    runs = np.arange(12.0).reshape(2, 3, 2)
    figure = shortcuts.draw({"runs": runs, "parameters": [1, 2000, 3], "net": "ResNet-14"})
    for k, panel in enumerate(figure.axes):
        first, second, mean, *_ = panel.lines
        np.testing.assert_array_equal(first.get_ydata(), runs[0, :, k])
        np.testing.assert_array_equal(second.get_ydata(), runs[1, :, k])
        np.testing.assert_array_equal(mean.get_ydata(), runs[:, :, k].mean(0))
        assert panel.get_xticklabels()[1].get_text() == "B\n2,000"


@pytest.mark.slow
@pytest.mark.parametrize("seed", [4001, 4101])
def test_the_quick_demo(tmp_path, capsys, seed):
    result = shortcuts.main(["--quick", "--seed", str(seed), "--out", str(tmp_path)])
    # option B adds two projections, 8 -> 16 and 16 -> 32, and their batch norm; C one more, 8 -> 8
    b = 8 * 16 + 16 * 32 + 2 * (16 + 32)
    assert np.diff(result["parameters"]).tolist() == [b, 8 * 8 + 2 * 8]
    assert np.diff(result["macs"]).tolist() == [8 * 16 * 4**2 + 16 * 32 * 2**2, 8 * 8 * 8**2]
    runs = result["runs"]
    assert runs.shape == (3, 3, 2)
    assert len(np.unique(runs[..., 0])) == 9  # every seed and option is another net
    wrong = runs[..., 1] * DIGITS / 100
    np.testing.assert_allclose(wrong, wrong.round(), atol=1e-6)  # whole digits
    assert runs[..., 1].max() < 60  # they learn: 90 % would be chance
    saved = json.loads((tmp_path / "shortcuts.json").read_text())
    np.testing.assert_array_equal(saved["runs"], runs)
    printed = capsys.readouterr().out
    assert printed.count("told apart") == 6
    assert "360 images" in printed
