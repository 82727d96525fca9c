"""Processes for the tests: threads with queues in the place of MPI, and real ones, started by mpiexec."""

import importlib.util
import os
import pickle
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from minigrad.distributed import processes
from tests import house

# Threads -------------------------------------------------------------------------------------


class Arrived:
    """A request of MPI, or a message: what is asked of them here."""

    def __init__(self, take=lambda: True):
        self.take, self.done = take, False

    def Test(self):
        self.done = self.done or self.take()
        return self.done

    def wait(self):
        assert self.Test()


class Message:
    """A message of MPI that has arrived."""

    def __init__(self, sent):
        self.sent = sent

    def recv(self):
        return pickle.loads(self.sent)


class Threads:
    """The part of MPI's communicator that minigrad uses, between threads."""

    def __init__(self, rank, size, boxes):
        self.rank, self.size, self.boxes = rank, size, boxes

    def send(self, data, to):
        self.boxes[self.rank, to].put(data)
        return Arrived()

    def isend(self, value, to):
        return self.send(pickle.dumps(value), to)

    def receive(self, source):
        """Return what another one sent, or None after a moment."""
        try:
            return self.boxes[source, self.rank].get(timeout=0.005)
        except queue.Empty:
            return None

    def improbe(self, source):
        sent = self.receive(source)
        return None if sent is None else Message(sent)

    def Isend(self, buffer, to):
        return self.send(buffer.tobytes(), to)

    def Irecv(self, buffer, source):
        def take():
            if (sent := self.receive(source)) is None:
                return False
            buffer[...] = np.frombuffer(sent, np.uint8)
            return True

        return Arrived(take)

    def bcast(self, value):
        for to in range(1, self.size if self.rank == 0 else 1):
            self.isend(value, to)
        return value if self.rank == 0 else pickle.loads(self.boxes[0, self.rank].get(timeout=60))


_here = threading.local()


def ranks(monkeypatch, size, work, missing=()):
    """Call `work` in as many threads, each of which takes itself for a process; return what they give, by rank.

    Exceptions are returned, too. The ranks in `missing` never come.
    """
    monkeypatch.setattr(processes, "world", lambda: getattr(_here, "comm", None))
    boxes = {(a, b): queue.Queue() for a in range(size) for b in range(size)}

    def begin(rank):
        _here.comm = Threads(rank, size, boxes) if size > 1 else None
        try:
            return None if rank in missing else work()
        except BaseException as error:
            return error

    with ThreadPoolExecutor(size) as threads:
        return list(threads.map(begin, range(size)))


def all_well(results):
    """Return the results of `ranks`, or raise what one of them raised."""
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


# Real processes ------------------------------------------------------------------------------

MPIEXEC = Path(sys.executable).with_name("mpiexec")
MPIEXEC = MPIEXEC if MPIEXEC.exists() else shutil.which("mpiexec")

#: Why there are none here; empty if there are.
NONE = "needs mpi4py and mpiexec" if MPIEXEC is None or importlib.util.find_spec("mpi4py") is None else ""

#: How Slurm starts them, as docs/many_machines.md says.
SRUN = ("srun", "-K", "--mpi=pmi2")


def slurm_runs():
    """Return whether there is a Slurm that gives us processors."""
    if shutil.which("srun") is None:
        return False
    trial = subprocess.run(["timeout", "20", "srun", "--immediate=5", "true"], capture_output=True, check=False)
    return trial.returncode == 0


def run(size, *program, folder=None, fails=False, threads=1):
    """Run a Python program on so many processes, of so many threads each, as a user would; return what it printed.

    If it is to fail, return what it printed as errors.
    """
    launcher = [str(MPIEXEC), "-n", str(size)] if size > 1 else []
    done = subprocess.run(
        [*launcher, sys.executable, *map(str, program)],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(house.ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert bool(done.returncode) == fails, done.stderr
    return done.stderr if fails else done.stdout


def start(size, *program, first=(), launcher=(str(MPIEXEC),), **variables):
    """Start `size` processes of a Python program; that of rank 0 may have other variables, as VAR=VALUE."""
    paths = os.pathsep.join([str(house.ROOT), os.environ.get("PYTHONPATH", "")])
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths, "PYTHONUNBUFFERED": "1"} | variables
    command = [sys.executable, *map(str, program)]
    groups = [["-n", str(size), *command]]
    if first:
        groups = [["-n", "1", "env", *first, *command], ["-n", str(size - 1), *command]]
    line = [*launcher, *groups[0], *(word for group in groups[1:] for word in (":", *group))]
    return subprocess.Popen(
        line, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def end(job, timeout=60):
    """Wait for the end of a job; return its status, what it printed, and the seconds that it took from now."""
    begun = time.monotonic()
    try:
        out, err = job.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(job.pid, signal.SIGKILL)
        raise
    return job.returncode, out + err, time.monotonic() - begun
