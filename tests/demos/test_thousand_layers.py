"""The claims of demos/thousand_layers.py: straight lines, a flatter one with recompute, the same bits."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from demos import lab
from demos import thousand_layers as demo

pytest.importorskip("resource")


def test_recompute_changes_no_bit_of_gradients_and_statistics():
    images = np.random.default_rng(4001).standard_normal((4, 8, 8, 1), dtype=np.float32)
    nets = [demo.build(68, way, 4001) for way in demo.WAYS]  # stages of 11 blocks: a whole segment, and one more block
    for net in nets:
        mg.cross_entropy(net(mg.Tensor(images)), np.arange(4)).backward()
    assert [type(stage) for stage in nets[1].stages] == [lab.Segments] * 3
    assert list(nets[0].state_dict()) == list(nets[1].state_dict())
    for mine, other in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert mine.grad.data.any()
        np.testing.assert_array_equal(mine.grad.data, other.grad.data, strict=True)
    for (_, mine), (_, other) in zip(nets[0].named_buffers(), nets[1].named_buffers(), strict=True):
        np.testing.assert_array_equal(mine.data, other.data, strict=True)


def test_the_bits_that_are_compared_are_those_of_the_gradients(capsys):
    digests = []
    for seed in (4001, 4002, 4001):
        demo.steps(8, "recompute", seed)
        row = json.loads(capsys.readouterr().out)
        digests.append(row["gradients"])
        assert (row["depth"], row["weights"]) == (8, 75_002)
        assert row["losses"][2] < row["losses"][0]
    assert digests[0] == digests[2] != digests[1]


def lines(result, way):
    depths, memory = np.array([(row["depth"], row["MiB"]) for row in result["rows"] if row["way"] == way]).T
    slope, height = np.polyfit(depths, memory, 1)
    return slope, np.abs(slope * depths + height - memory).max() / np.ptp(memory)


@pytest.mark.slow
@pytest.mark.parametrize("length", [["--quick"], []], ids=["quick", "default"])
def test_memory_is_a_straight_line_and_recompute_makes_it_flatter(tmp_path, length):
    # not in this process: getrusage counts the memory of whoever starts a process as its own
    command = [sys.executable, "-m", "demos.thousand_layers", *length, "--seed", "4001", "--out", str(tmp_path)]
    root = Path(demo.__file__).parents[1]
    printed = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    result = json.loads((tmp_path / "thousand_layers.json").read_text())
    depths = demo.QUICK if length else demo.DEPTHS
    assert [row["depth"] for row in result["rows"]] == [depth for depth in depths for _ in demo.WAYS]
    (kept, bend), (again, bend_again) = (lines(result, way) for way in demo.WAYS)
    assert bend < 0.05
    assert bend_again < (0.25 if length else 0.05)  # shallow nets have no more than one full segment
    assert 0.5 < kept < 1.0, "MiB a layer"
    assert again < 0.6 * kept
    assert result["lines"]["all kept"]["MiB"][0] == pytest.approx(kept)
    for kept, again in zip(result["rows"][::2], result["rows"][1::2], strict=True):
        assert kept["gradients"] == again["gradients"]
        assert kept["losses"] == again["losses"]
    assert printed.count("equal to the bit") == len(depths)
    assert (tmp_path / "thousand_layers.png").stat().st_size > 10_000


def test_training_goes_on_where_it_was(tmp_path):
    first = demo.trained(8, 4001, 2, tmp_path)
    assert [record["iteration"] for record in first] == [24]
    (tmp_path / "resnet-8.jsonl").unlink()
    assert demo.trained(8, 4001, 2, tmp_path) == first  # nothing is left to do; the log is there again
    assert len((tmp_path / "resnet-8.jsonl").read_text().splitlines()) == 1
    with pytest.raises(ValueError, match="seed was 4001, is 4002"):
        demo.trained(8, 4002, 2, tmp_path)


def test_full_reports_both_nets(tmp_path, monkeypatch, capsys):
    errors = {110: (0.0, 0.0125), 1202: (0.0005, 0.025)}
    runs = {d: [{"iteration": 24, "loss": 0.1, "train_error": e[0], "test_error": e[1]}] for d, e in errors.items()}
    monkeypatch.setattr(demo, "trained", lambda depth, seed, epochs, out: runs[depth])
    assert list(demo.main(["--full", "--out", str(tmp_path)]).values()) == [runs[110], runs[1202]]
    printed = capsys.readouterr().out
    assert " 110 layers: training error 0.00%, test error 1.25%" in printed
    assert "1202 layers: training error 0.05%, test error 2.50%" in printed
    assert (tmp_path / "thousand_layers_full.png").exists()


def test_the_figure_of_both_nets_tells_its_lines_apart(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda self, path, **_: (drawn.append(self), path.touch()))
    record = {"iteration": 24, "loss": 0.1, "batch_error": 0.3, "train_error": 0.2, "test_error": 0.1}
    demo.draw_both({"8 layers": [record], "14 layers": [record]}, tmp_path / "both.png")
    lines = {line.get_label(): line for line in drawn[0].axes[1].lines}
    assert list(lines) == ["8 layers train", "8 layers test", "14 layers train", "14 layers test"]
    looks = {(line.get_color(), line.get_linewidth(), line.get_linestyle()) for line in lines.values()}
    assert len(looks) == len(lines)
