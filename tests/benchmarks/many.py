"""One run on many processes: what it costs on this machine, and how it would scale.

    python -m tests.benchmarks.many            measure, in about ten minutes; write the log, the figure, and the page
    python -m tests.benchmarks.many --written  measure nothing: the figure and the page, of the log that is there
    mpiexec -n 2 -hosts a,b python -m tests.benchmarks.many --network      latency and bandwidth between two machines

The log is docs/logs/many.json, the figure docs/figures/scaling.png; of the page, docs/many_machines.md, the section
"Measured" is written. Each round starts the processes of every case anew, one case after the other: processes of MPI
that only wait would take a processor from those that are measured. The scaling to more processes is a model:
:mod:`tests.benchmarks.scaling`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

import minigrad as mg
from minigrad import data, distributed
from minigrad.train.checkpoint import atomic
from tests.benchmarks import machine, scaling
from tests.benchmarks.on_minigrad import build
from tests.benchmarks.worker import THREAD_SETTINGS
from tests.distributed.processes import MPIEXEC, NONE

ROOT = Path(__file__).parents[2]
LOG, FIGURE, PAGE = (ROOT / "docs" / name for name in ("logs/many.json", "figures/scaling.png", "many_machines.md"))

# What is measured ----------------------------------------------------------------------------


class Case(NamedTuple):
    """Training steps of a net on synthetic images.

    Attributes
    ----------
    processes, threads : int
        `threads` is the number of threads of each process.
    shards : int or None
    batch : int
        The images of one step, on all processes together.
    net : str
    tcp : bool
        Whether processes on this one machine speak by TCP, as they would on two.
    """

    processes: int = 1
    threads: int = 1
    shards: int | None = None
    batch: int = 128
    net: str = "ResNet-20"
    tcp: bool = False


#: How each net is built, the pixels of an image's side, and the classes.
NETS: dict[str, tuple[list[Any], int, int]] = {
    "ResNet-20": (["cifar_resnet", 20], 32, 10),
    "ResNet-50": (["resnet50"], 224, 1000),
}

#: The rows of the page's first table. The first is what the others are compared with.
ROWS = [
    Case(),
    Case(shards=4),
    Case(shards=16),
    Case(threads=2),
    Case(threads=2, shards=4),
    Case(processes=2, shards=4),
    Case(processes=2, threads=2, shards=4),
]
#: One process on few images and on many: what the model takes for the time of computing.
ALONE = {"ResNet-20": [1, 2, 4, 8, 16, 32, 64, 128], "ResNet-50": [1, 2, 4, 8]}
#: The model's prediction for this case is compared with its measurement.
TRIAL = Case(processes=2, shards=2, batch=256, tcp=True)

WARM_UP, STEPS, ROUNDS = 2, 6, 5
SIZES = (8, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000)  # of arrays, in bytes
#: MPICH's settings for TCP within one machine.
TCP = {"MPIR_CVAR_NOLOCAL": "1", "UCX_TLS": "tcp,self"}


def measure(rounds: int) -> None:
    """Measure, and write the log after each round."""
    facts = machine.facts()
    log: dict[str, Any] = {"machine": {name: fact for name, fact in facts.items() if name != "torch"}}
    log["network"] = {"shared memory": [], "TCP": []}
    cases = [*ROWS, TRIAL, *(Case(shards=1, batch=n, net=net) for net, sizes in ALONE.items() for n in sizes)]
    log["steps"] = [{"case": case._asdict(), "rounds": []} for case in cases]
    for number in range(rounds):
        for way, env in (("shared memory", {}), ("TCP", TCP)):
            log["network"][way].append(_run({}, 2, env=env))
        for entry, case in zip(log["steps"], cases, strict=True):
            if case.net == "ResNet-20" or number == 0:  # ResNet-50 takes minutes
                entry |= _run(case._asdict(), case.processes, case.threads, TCP if case.tcp else {})
                entry["rounds"].append(median(entry.pop("seconds")))
                print(f"round {number + 1}: {name(case)}: {entry['rounds'][-1] * 1e3:,.0f} ms", flush=True)
        log["machine"]["load after"] = round(os.getloadavg()[0], 2)
        with atomic(LOG) as temporary:
            temporary.write_text(json.dumps(log, indent=1) + "\n")


def _run(task: dict[str, Any], processes: int, threads: int = 1, env: dict[str, str] | None = None) -> Any:
    """Start the processes, and return what rank 0 answers: to a case, or without one, times of sums."""
    command = [sys.executable, "-m", "tests.benchmarks.many", "--worker", json.dumps(task)]
    if processes > 1:
        if NONE:
            raise SystemExit(f'benchmarks: {NONE}; pip install -e ".[mpi]"')
        command = [str(MPIEXEC), "-n", str(processes), *command]
    settings = os.environ | dict.fromkeys(THREAD_SETTINGS, str(threads)) | (env or {})
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=settings, check=False)
    if done.returncode:
        raise SystemExit(f"benchmarks: {' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def work(task: dict[str, Any]) -> None:
    """Be one of the processes; rank 0 prints the answer."""
    answer = steps(Case(**task)) if task else sums()
    if distributed.rank() == 0:
        print(json.dumps(answer))


def steps(case: Case) -> dict[str, Any]:
    """Take training steps; return the seconds of each, and the bytes that are added up in one."""
    net, size, classes = NETS[case.net]
    mg.set_num_threads(case.threads)
    mg.keep_freed_memory()
    model, rng, count = build(net), np.random.default_rng(0), case.batch * (WARM_UP + STEPS)
    sgd = mg.optim.SGD(model.parameters(), lr=1e-4)
    images = rng.standard_normal((count, size, size, 3), dtype=np.float32)
    batches = data.DataLoader(data.TensorDataset(images, rng.integers(classes, size=count)), case.batch, rng=0)

    def loss(x: Any, y: Any) -> Any:
        return mg.cross_entropy(model(mg.Tensor(x)), y)

    ends = []
    for part in batches if case.shards is None else distributed.split(batches, case.shards):
        if isinstance(part, distributed.Shards):
            distributed.sum_gradients(model, loss, part)
        else:
            sgd.zero_grad()
            loss(*part).backward()
        sgd.step()
        ends.append(time.perf_counter())
    nbytes = sum(array.nbytes for array in model.state_dict().values())
    return {"seconds": np.diff(ends[WARM_UP - 1 :]).tolist(), "bytes": nbytes}


def sums() -> list[list[float]]:
    """Return for each size in bytes the median seconds of a sum over all processes: ours, and MPI's own."""
    rows = []
    for size in SIZES:
        mine = np.ones(size // 4, np.float32)
        theirs, world = np.empty_like(mine), distributed.world()
        assert world is not None
        kinds: list[Callable[[], object]] = [
            partial(distributed.total, [[mine]]),
            partial(world.Allreduce, mine, theirs),
        ]
        rows.append([size, *(_median_time(kind, repeats=max(7, min(300, 20_000_000 // size))) for kind in kinds)])
    return rows


def _median_time(call: Callable[[], object], repeats: int) -> float:
    """Return the median seconds of a call in which all processes take part; a first call is not counted."""
    call()
    ends = [time.perf_counter()]
    for _ in range(repeats):
        call()
        ends.append(time.perf_counter())
    return float(np.median(np.diff(ends)))


# The command ---------------------------------------------------------------------------------


def name(case: Case) -> str:
    """Return a case in words."""
    shards = "no shards" if case.shards is None else f"shards={case.shards}"
    tcp = ", by TCP" if case.tcp else ""
    return f"{case.net}, {case.batch} images, {case.processes} x {case.threads} threads, {shards}{tcp}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write what the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.many",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--written", action="store_true", help="take the log that is there")
    what.add_argument("--network", action="store_true", help="measure only sums, between the processes of mpiexec")
    what.add_argument("--worker", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="default: %(default)s")
    options = parser.parse_args(arguments)
    if options.worker is not None:
        work(options.worker)
    elif options.network:
        if distributed.world() is None:
            raise SystemExit("benchmarks: mpiexec -n 2 python -m tests.benchmarks.many --network")
        rows = sums()
        if distributed.rank() == 0:
            print(scaling.table_of_sums({"here": [rows]}))
            here = scaling.network([rows])
            print(f"latency {here.latency * 1e6:.0f} µs, {here.bandwidth / 1e9:.2g} GB/s")
    else:
        if not options.written:
            measure(options.rounds)
        log = json.loads(LOG.read_text())
        scaling.figure(log, FIGURE)
        text = scaling.written(PAGE.read_text(), log)
        with atomic(PAGE) as temporary:
            temporary.write_text(text)
        print(f"log:    {LOG}\nfigure: {FIGURE}\npage:   {PAGE}")


if __name__ == "__main__":
    main()
