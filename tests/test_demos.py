"""The demos run, write what they promise, and their claims hold on seeds that were not used in tuning."""

import json

import numpy as np
import pytest

from demos import degradation


def test_degradation_writes_what_it_promises(tmp_path, capsys):
    rows = degradation.main(["--quick", "--seeds", "2", "--seed", "40", "--out", str(tmp_path)])
    printed = capsys.readouterr().out
    assert [(row["kind"], row["depth"]) for row in rows] == [
        ("plain", 8),
        ("plain", 14),
        ("residual", 8),
        ("residual", 14),
    ]
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "degradation.png"} | {
        f"{kind}-{depth}-seed{seed}.jsonl" for kind in ("plain", "residual") for depth in (8, 14) for seed in (40, 41)
    }
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["depths"], config["epochs"], config["lr"], config["seed"]) == ([8, 14], 2, 0.1, 40)
    log = [json.loads(line) for line in (tmp_path / "residual-14-seed41.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in log] == [1, 2]
    assert rows[3]["train"][1, -1] == pytest.approx(100 * log[-1]["train_error"])
    assert (tmp_path / "degradation.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert str(tmp_path / "degradation.png") in printed
    assert "residual-14" in printed
    assert "±" in printed


def test_the_figure_draws_the_numbers(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **_: figures.append(self))
    curves = {"train": np.array([[90.0, 50.0], [80.0, 40.0]]), "test": np.array([[91.0, 60.0], [81.0, 50.0]])}
    rows = [{"kind": "plain", "depth": d, "iterations": [12, 24], **curves} for d in (20, 56)]
    rows += [{"kind": "residual", "depth": 20, "iterations": [12, 24], **curves}]
    degradation.draw(rows, tmp_path / "figure.png")
    plain, residual = figures[0].axes
    assert (len(plain.lines), len(residual.lines)) == (4, 2)
    thin, bold = residual.lines
    assert thin.get_linewidth() < bold.get_linewidth()
    np.testing.assert_array_equal(thin.get_xydata(), [[12, 85], [24, 45]])
    np.testing.assert_array_equal(bold.get_xydata(), [[12, 86], [24, 55]])


@pytest.mark.parametrize("wrong", [["--depths", "21"], ["--epochs", "0"], ["--lr", "0"], ["--seeds", "0"]])
def test_wrong_options_are_explained(wrong, capsys):
    with pytest.raises(SystemExit):
        degradation.parse(wrong)
    assert wrong[0] in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2000, 2001])
def test_the_degradation_is_there_and_is_cured(tmp_path, seed):
    """The claim of the README, on seeds that were not used in tuning."""
    rows = degradation.main(["--seed", str(seed), "--out", str(tmp_path)])
    error = {(row["kind"], row["depth"]): row["train"][:, -1].mean() for row in rows}
    assert error["plain", 20] < 5
    assert error["plain", 56] > error["plain", 20] + 20
    assert error["residual", 20] < 2
    assert error["residual", 56] < 2
