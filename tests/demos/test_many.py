"""Demos on several processes of MPI: the shards of one net, or a seed for each process."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from minigrad.train.report import read_log
from tests import house

pytest.importorskip("mpi4py")
MPIEXEC = shutil.which("mpiexec", path=os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")]))
pytestmark = [pytest.mark.slow, pytest.mark.skipif(MPIEXEC is None, reason="there is no mpiexec")]

SMALL = """
import sys
import minigrad as mg
from demos import cifar10
mg.data.CIFAR10.train_files = {f"data_batch_{i}.bin": 30 for i in range(1, 6)}
mg.data.CIFAR10.test_files = {"test_batch.bin": 60}
cifar10.main(sys.argv[1:])
"""


def run(processes, *command):
    """Run a Python command on so many processes of MPI, one thread each; return what was printed."""
    launcher = [] if processes == 1 else [MPIEXEC, "-n", str(processes)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(house.ROOT)}
    done = subprocess.run(
        [*launcher, sys.executable, *command], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def figures(path):
    """Return the records of a log without the times."""
    times = ("seconds", "images_per_second", "loader_share")
    return [{name: value for name, value in record.items() if name not in times} for record in read_log(path)]


def test_degradation_ends_with_the_same_figures(tmp_path):
    logs, printed = [], []
    for processes in (1, 2, 4):
        out = tmp_path / str(processes)
        options = ["--depths", "8", "--epochs", "2", "--shards", "4", "--out", str(out)]
        printed.append(run(processes, "-m", "demos.degradation", *options))
        logs.append([figures(out / f"{kind}-8-lr0.1.jsonl") for kind in ("plain", "residual")])
    assert logs[0] == logs[1] == logs[2]
    assert [text.count("plain nets: training error") for text in printed] == [1, 1, 1]


def test_without_shards_several_processes_are_refused():
    done = subprocess.run(
        [MPIEXEC, "-n", "2", sys.executable, "-m", "demos.degradation", "--quick"],
        env=os.environ | {"PYTHONPATH": str(house.ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "--shards is needed for several processes" in done.stderr


@pytest.mark.parametrize("option", [["--seeds", "3"], ["--seeds", "2", "--shards", "2"]], ids=["seeds", "shards"])
def test_cifar10_ends_with_the_same_errors(tmp_path, root, option):
    summaries = []
    for processes in (1, 2):
        out = tmp_path / str(processes)
        run(
            processes, "-c", SMALL, "--depth", "8", "--root", str(root), "--out", str(out), "--iterations", "4", *option
        )
        summaries.append(json.loads((out / "summary.json").read_text()))
        logs = sorted(path.name for path in out.glob("*.jsonl"))
        assert logs == [f"resnet-8-seed{seed}.jsonl" for seed in range(int(option[1]))]
    assert summaries[0] == summaries[1]
