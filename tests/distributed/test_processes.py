"""Real processes, started by mpiexec: equal bits for every number of them, and what happens when one of them fails."""

import json
import re
import time
from pathlib import Path

import pytest

import minigrad as mg
from tests.distributed import job as program
from tests.distributed import network
from tests.distributed.processes import NONE, SRUN, end, slurm_runs, start

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(NONE), reason=NONE)]

JOB = Path(program.__file__)

needs_network = pytest.mark.skipif(
    not network.possible(), reason="needs root, ip and /dev/net/tun, for network namespaces"
)


def results(size, folder, *arguments, **variables):
    """Return what a run printed, and its log; it must end well."""
    status, text, _ = end(start(size, JOB, folder, *arguments, **variables))
    assert status == 0, text
    weights, records = json.loads(text[text.index("[") : text.rindex("]") + 1])
    lines = (Path(folder) / "log.jsonl").read_text().splitlines()
    assert [program.timeless(json.loads(line)) for line in lines] == records
    return weights, records


@pytest.fixture(scope="module")
def resnet_alone(tmp_path_factory):
    return results(1, tmp_path_factory.mktemp("alone"), "--net", "resnet")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return results(1, tmp_path_factory.mktemp("alone"))


# Equal bits ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "threads"), [(1, 2), (2, 1), (2, 2), (4, 1), (4, 2)])
def test_a_residual_net_is_equal_to_the_bit(tmp_path, resnet_alone, size, threads):
    """With 30 iterations, batch norm, dropout and augmentation: weights, statistics, velocities, losses, logs."""
    arguments = ("--net", "resnet", "--threads", threads)
    assert results(size, tmp_path, *arguments, OMP_NUM_THREADS=str(threads)) == resnet_alone


@pytest.mark.parametrize(
    ("first", "second"), [((1, 1), (4, 1)), ((4, 2), (2, 2)), ((2, 1), (1, 2)), ((1, 2), (2, 1))], ids=str
)
def test_a_residual_net_is_resumed_on_others(tmp_path, resnet_alone, first, second):
    """Stopped after 13 iterations, it ends on another number of processes, or of threads, with equal bits."""
    for (size, threads), iterations in ((first, 13), (second, 30)):
        arguments = ("--net", "resnet", "--threads", threads, "--iterations", iterations, "--resume")
        found = results(size, tmp_path, *arguments, OMP_NUM_THREADS=str(threads))
    assert len(found[1]) == 7  # the first ended after 13 iterations with a record of its own
    assert (found[0], found[1][-1]) == (resnet_alone[0], resnet_alone[1][-1])


@needs_network
def test_two_machines_with_a_slow_network_between_them_are_equal_to_the_bit(tmp_path, resnet_alone):
    """Packets take 10 ms; the processes speak by TCP."""
    with network.two_machines(tmp_path, delay=0.01) as (launcher, carried):
        assert results(2, tmp_path, "--net", "resnet", launcher=launcher, **network.SETTINGS) == resnet_alone
    gradients = sum(4 * p.size for p in program.resnet().parameters())
    assert sum(carried) > 2 * 30 * gradients  # it did go over the network, there and back


def test_slurm_starts_them_too(tmp_path, alone):
    """A run that ends; and one of which a process is killed, which is resumed."""
    if not slurm_runs():
        pytest.skip("needs Slurm")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    assert results(2, whole, launcher=SRUN) == alone
    status, text, seconds = end(start(4, JOB, killed, "--fault", "kill", "--every", 0, "--at", 20, launcher=SRUN))
    assert status != 0, text
    assert seconds < 45  # srun sends SIGTERM, and after KillWait, by default 30 seconds, SIGKILL
    resumes(killed, 2, alone, least=18)


def test_without_shards_several_processes_are_refused(tmp_path):
    code = "from tests.distributed import job; job.run(job.small(), '/nowhere', iterations=1, shards=None)"
    status, text, _ = end(start(2, "-c", code))
    assert status != 0
    assert "fit: expected shards=, for several processes, got 2 processes; as shards=4" in text


# Faults --------------------------------------------------------------------------------------

#: The seconds after which the others give up, and within which a job with a fault is to end.
WAIT, SOON = 2, 15


def failed(size, folder, *arguments, module=False, first=(), **variables):
    """Return what a job printed that must fail, soon."""
    before = ("-m", "mpi4py") if module else ()
    job = start(size, *before, JOB, folder, *arguments, first=first, MINIGRAD_WAIT=str(WAIT), **variables)
    status, text, seconds = end(job)
    assert status != 0, text
    assert seconds < SOON
    return status, text


def when_begun(folder):
    """Wait for the first record."""
    log, begun = folder / "log.jsonl", time.monotonic()
    while not log.exists() or not log.read_text():
        time.sleep(0.05)
        assert time.monotonic() - begun < 30


def resumes(folder, size, alone, least=0):
    """Resume on another number of processes: nothing is lost beyond the last checkpoint.

    The fault is in the 20th iteration; rank 0 may still be writing what there was after the 19th.
    """
    assert mg.load(folder / "run.safetensors")["iteration"] >= least
    assert results(size, folder, "--resume") == alone


@pytest.mark.parametrize("module", [False, True])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_is_killed_ends_the_job(tmp_path, alone, rank, module):
    _, text = failed(2, tmp_path, "--fault", "kill", "--rank", rank, "--every", 0, module=module)
    pids = re.search(r"processes: (\d+) on (\S+), (\d+) on \S+\n", text)
    assert f"PID {pids[1 + 2 * rank]} RUNNING AT {pids[2]}" in text  # so says mpiexec
    assert "signal 9" in text
    resumes(tmp_path, 4, alone, least=18)


@pytest.mark.parametrize(("size", "rank"), [(2, 0), (2, 1), (4, 3), (4, 0)])
def test_a_process_that_is_stopped_is_named_after_a_while(tmp_path, alone, size, rank):
    at = 20 * 4 // size  # in the 20th iteration
    _, text = failed(size, tmp_path, "--fault", "stop", "--rank", rank, "--every", 0, "--at", at)
    first = re.search(r"distributed: rank \d+ has not answered for \S+ s", text)[0]
    assert first == f"distributed: rank {rank} has not answered for {WAIT} s"
    resumes(tmp_path, 6 - size, alone, least=18)


@pytest.mark.parametrize("module", [False, True])
@pytest.mark.parametrize("rank", [0, 1])
def test_an_exception_in_one_process_is_told_with_its_rank(tmp_path, alone, rank, module):
    """Without `-m mpi4py`, too."""
    _, text = failed(2, tmp_path, "--fault", "raise", "--rank", rank, "--every", 0, module=module)
    assert f"rank {rank} of 2, on " in text
    assert f"rank {1 - rank} of 2" not in text
    assert "LookupError: this image is broken" in text
    resumes(tmp_path, 1, alone, least=18)


@pytest.mark.parametrize("module", [False, True])
def test_a_process_that_leaves_ends_the_job_at_once_or_is_named_after_a_while(tmp_path, alone, module):
    _, text = failed(2, tmp_path, "--fault", "exit", "--every", 0, module=module)
    assert "enough" in text
    assert module or f"distributed: rank 1 has not answered for {WAIT} s" in text
    resumes(tmp_path, 1, alone, least=18)


@pytest.mark.parametrize("at", [40, 41])
def test_a_disk_that_is_full_is_told_and_the_last_checkpoint_is_left(tmp_path, alone, at):
    """In the 20th iteration, after which the log is written first, and in the next one."""
    _, text = failed(2, tmp_path, "--fault", "full", "--rank", 0, "--every", 0, "--at", at)
    assert "rank 0 of 2, on " in text
    assert "OSError: [Errno 27] File too large" in text
    resumes(tmp_path, 4, alone, least=18)


def test_a_process_that_starts_late_is_waited_for(tmp_path, alone):
    assert results(2, tmp_path, "--late", 3) == alone


def test_a_process_that_never_comes_is_named(tmp_path):
    _, text = failed(4, tmp_path, "--late", 30, "--rank", 2)
    assert re.search(r"distributed: rank \d+ has not answered for \S+ s", text)[0].startswith("distributed: rank 2 ")


@needs_network
def test_a_machine_that_is_out_of_reach_is_named_after_a_while(tmp_path, alone):
    """MPI waits for it forever, also when it is told to end all."""
    settings = {"MINIGRAD_WAIT": str(WAIT), **network.SETTINGS}
    with network.two_machines(tmp_path, delay=0.001) as (launcher, _):
        job = start(2, JOB, tmp_path, "--every", 0, "--slow", 0.1, launcher=launcher, **settings)
        when_begun(tmp_path)
        network.cut()
        status, text, seconds = end(job)
    assert status != 0
    assert seconds < SOON
    assert f"TimeoutError: distributed: rank 1 has not answered for {WAIT} s" in text
    resumes(tmp_path, 4, alone, least=4)


@pytest.mark.parametrize("module", [False, True])
@pytest.mark.parametrize("rank", [-1, 0, 1])
@pytest.mark.parametrize(("fault", "name"), [("term", "SIGTERM"), ("interrupt", "SIGINT")])
def test_a_signal_to_one_or_all_stops_all_after_the_iteration(tmp_path, alone, fault, name, rank, module):
    status, text = failed(2, tmp_path, "--fault", fault, "--rank", rank, module=module)
    assert status == (143 if fault == "term" else 1 if not module else status)
    assert f"stopped by {name} after 20 iterations; resume it from" in text
    resumes(tmp_path, 4, alone, least=20)


def test_a_signal_to_mpiexec_stops_all(tmp_path):
    """As Slurm and others do before the time is up."""
    job = start(2, JOB, tmp_path, "--iterations", 100_000)
    when_begun(tmp_path)
    job.terminate()
    status, text, seconds = end(job)
    assert status != 0
    assert seconds < SOON
    stopped = re.search(r"stopped by SIGTERM after (\d+) iterations", text)
    assert mg.load(tmp_path / "run.safetensors")["iteration"] == int(stopped[1])


# What is unequal -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "what"),
    [
        ("IMAGES=95", "images is 95 on rank 0, and 94 on rank 1"),
        ("OPENBLAS_CORETYPE=Nehalem", r"the kernel of BLAS is openblas Nehalem on rank 0, and openblas \w+ on rank 1"),
        (
            "NPY_DISABLE_CPU_FEATURES=AVX512_SPR X86_V4 X86_V3",
            r"NumPy's use of the processor is .* on rank 0, and .* on",
        ),
    ],
)
def test_what_would_give_other_bits_is_named(tmp_path, variable, what):
    _, text = failed(2, tmp_path, first=[variable])
    assert re.search(rf"ValueError: distributed: .*{what}.*; make them equal, or set MINIGRAD_UNEQUAL=1", text), text


def test_unequal_kernels_are_let_pass_if_wanted(tmp_path):
    job = start(2, JOB, tmp_path, "--iterations", 2, first=["OPENBLAS_CORETYPE=Nehalem"], MINIGRAD_UNEQUAL="1")
    status, text, _ = end(job)
    assert status == 0, text


def test_unequal_programs_are_named(tmp_path):
    """Rank 0 runs a copy with another comment."""
    for rank, ending in enumerate(("", "# a comment\n")):
        (tmp_path / str(rank)).mkdir()
        (tmp_path / str(rank) / "job.py").write_text(JOB.read_text() + ending)
    code = (
        "import os, runpy, sys; path = sys.argv.pop(1) + os.environ['PMI_RANK'] + '/job.py'; "
        "sys.argv[0] = path; runpy.run_path(path, run_name='__main__')"
    )
    status, text, _ = end(start(2, "-c", code, f"{tmp_path}/", tmp_path))
    assert status != 0
    assert re.search(r"the program is \w{16} on rank 0, and \w{16} on rank 1", text), text
