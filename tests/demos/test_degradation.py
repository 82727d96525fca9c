"""The demo writes what it promises, and its claims hold on seeds that were not used in tuning."""

import json
import re

import numpy as np
import pytest

from demos import degradation
from minigrad.train.report import read_log


def run(kind, depth, lr, train, test=(90.0, 50.0)):
    """A run of two epochs."""
    errors = {"iteration": [12, 24], "train": list(train), "test": list(test)}
    return {"kind": kind, "depth": depth, "lr": lr, "parameters": 1234, "seconds": 1.0, **errors}


RUNS = [
    run(kind, depth, lr, (80.0, 100 * lr + depth))
    for kind in degradation.NETS
    for depth in (8, 14)
    for lr in (0.2, 0.1)
]
RUNS[-1]["train"] = [80.0, 60.0]  # residual-14 is better at 0.2


def test_it_writes_what_it_promises(tmp_path, capsys):
    options = ["--depths", "8", "--epochs", "1", "--lr", "0.1", "0.01", "--seed", "40", "--out", str(tmp_path)]
    result = degradation.main(options)
    printed = capsys.readouterr().out
    nets = [(kind, 8, lr) for kind in ("plain", "residual") for lr in (0.1, 0.01)]
    assert [(run["kind"], run["depth"], run["lr"]) for run in result["runs"]] == nets
    logs = {f"{kind}-{depth}-lr{lr}.jsonl" for kind, depth, lr in nets}
    assert {path.name for path in tmp_path.iterdir()} == {"degradation.json", "degradation.png"} | logs
    saved = json.loads((tmp_path / "degradation.json").read_text())
    config = saved["config"]
    assert (config["depths"], config["epochs"], config["lr"], config["seed"]) == ([8], 1, [0.1, 0.01], 40)
    assert saved["runs"] == result["runs"]
    (record,) = read_log(tmp_path / "residual-8-lr0.01.jsonl")
    assert result["runs"][-1]["train"] == [100 * record["train_error"]]
    assert result["runs"][-1]["test"] == [100 * record["test_error"]]
    assert (tmp_path / "degradation.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert f"figure: {tmp_path / 'degradation.png'}" in printed
    assert printed.count("residual-8 ") == 2
    assert re.match(r"at most \d+ seconds on this machine, \d nets? at a time\n", printed)


def test_it_says_how_long_it_will_take():
    """The nets side by side; but a net cannot be shared."""
    options = degradation.parse(["--depths", "20", "56", "--epochs", "10"])
    assert degradation.estimate(options, [0.01]).startswith("about 15 seconds")  # 2 (20 + 56) 10 0.01
    assert degradation.estimate(options, [0.02, 0.05]).startswith("about 38 seconds")  # the slower process counts
    assert degradation.estimate(options, [0.1] * 4).startswith("about 56 seconds")
    assert degradation.estimate(options, [1.0, 1.0]).startswith("about 13 minutes")


def test_each_net_may_keep_its_best_learning_rate():
    assert degradation.final(RUNS, "plain", 0.2) == {8: 28, 14: 34}
    assert degradation.final(RUNS, "plain") == {8: 18, 14: 24}
    assert degradation.final(RUNS, "residual") == {8: 18, 14: 34}
    text = degradation.conclusion(RUNS, [0.2, 0.1]).splitlines()
    assert text[1] == "residual nets: training error 28.0 % at depth 8, 34.0 % at depth 14 (learning rate 0.2)"
    assert text[3].endswith("18.0 % at depth 8, 34.0 % at depth 14 (each net at its best learning rate)")


def test_the_figure_draws_the_numbers():
    one = [run for run in RUNS if run["lr"] == 0.2]
    plain, residual = degradation.draw(one, [0.2]).axes
    assert (len(plain.lines), len(residual.lines)) == (4, 4)
    thin, bold = residual.lines[2:]
    assert thin.get_linewidth() < bold.get_linewidth()
    np.testing.assert_array_equal(thin.get_xydata(), [[12, 80], [24, 34]])
    np.testing.assert_array_equal(bold.get_xydata(), [[12, 90], [24, 50]])

    *_, search = degradation.draw(RUNS, [0.2, 0.1]).axes
    ends = {line.get_label(): line.get_xydata().tolist() for line in search.lines}
    assert ends["plain, learning rate 0.2"] == [[8, 28], [14, 34]]
    assert ends["residual, its best"] == [[8, 18], [14, 34]]


@pytest.mark.parametrize("depths", [(8,), (8, 14)])
def test_the_deeper_the_darker(depths):
    runs = [run(kind, depth, 0.1, (80.0, 40.0)) for kind in degradation.NETS for depth in depths]
    plain = degradation.draw(runs, [0.1]).axes[0]
    greys = [sum(line.get_color()) for line in plain.lines[::2]]
    assert greys == sorted(set(greys), reverse=True)


@pytest.mark.parametrize("wrong", [["--depths", "21"], ["--depths", "2"], ["--epochs", "0"], ["--lr", "0.1", "0"]])
def test_wrong_options_are_explained(wrong, capsys):
    with pytest.raises(SystemExit):
        degradation.parse(wrong)
    assert wrong[0] in capsys.readouterr().err


def errors_of(result):
    return {(run["kind"], run["depth"]): run["train"][-1] for run in result["runs"]}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [4001, 4002])
def test_quick_shows_it_in_small(tmp_path, seed):
    error = errors_of(degradation.main(["--quick", "--seed", str(seed), "--out", str(tmp_path)]))
    assert error["plain", 8] < 10
    assert error["plain", 32] > error["plain", 8] + 20
    assert error["residual", 8] < 10
    assert error["residual", 32] < error["plain", 32] - 20


@pytest.mark.slow
def test_the_degradation_is_there_and_is_cured(tmp_path):
    """The claim of the README."""
    error = errors_of(degradation.main(["--seed", "4001", "--out", str(tmp_path)]))
    assert error["plain", 20] < 5
    assert error["plain", 56] > error["plain", 20] + 20
    assert error["residual", 20] < 2
    assert error["residual", 56] < 5
