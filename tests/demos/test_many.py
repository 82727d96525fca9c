"""Demos on several processes of MPI: the shards of one net, or a seed for each process."""

import json

import pytest

from minigrad.train.report import read_log
from tests.demos.conftest import TEST, TRAIN
from tests.distributed import processes
from tests.distributed.processes import run

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(processes.NONE), reason=processes.NONE)]

SMALL = f"""
import sys
import minigrad as mg
from demos import cifar10
mg.data.CIFAR10.train_files = {TRAIN}
mg.data.CIFAR10.test_files = {TEST}
cifar10.main(sys.argv[1:])
"""


def figures(path):
    """Return the records of a log without the times."""
    times = ("seconds", "images_per_second", "loader_share")
    return [{name: value for name, value in record.items() if name not in times} for record in read_log(path)]


def test_degradation_ends_with_the_same_figures(tmp_path):
    logs, printed = [], []
    for size, threads in ((1, 1), (1, 2), (2, 1), (2, 2), (4, 1), (4, 2)):
        out = tmp_path / f"{size} x {threads}"
        options = ["--depths", "8", "--epochs", "3", "--shards", "4", "--out", str(out)]
        printed.append(run(size, "-m", "demos.degradation", *options, threads=threads))
        logs.append([figures(out / f"{kind}-8-lr0.1.jsonl") for kind in ("plain", "residual")])
    assert logs == logs[:1] * len(logs)
    assert logs[0][0][-1]["iteration"] == 36
    assert [text.count("plain nets: training error") for text in printed] == [1] * len(printed)


def test_without_shards_several_processes_are_refused():
    said = run(2, "-m", "demos.degradation", "--quick", fails=True)
    assert "--shards is needed for several processes" in said


@pytest.mark.parametrize("option", [["--seeds", "3"], ["--seeds", "2", "--shards", "2"]], ids=["seeds", "shards"])
def test_cifar10_ends_with_the_same_errors(monkeypatch, tmp_path, root, option):
    """Whoever has fewer seeds than the others waits for them, however long."""
    if "--shards" not in option:
        monkeypatch.setenv("MINIGRAD_WAIT", "0.1")
    summaries = []
    for size in (1, 2):
        out = tmp_path / str(size)
        run(size, "-c", SMALL, "--depth", "8", "--root", str(root), "--out", str(out), "--iterations", "4", *option)
        summaries.append(json.loads((out / "summary.json").read_text()))
        logs = sorted(path.name for path in out.glob("*.jsonl"))
        assert logs == [f"resnet-8-seed{seed}.jsonl" for seed in range(int(option[1]))]
    assert summaries[0] == summaries[1]
