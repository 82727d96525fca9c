"""Common code of the demos: the command line, and training a net on the digits.

Every demo has the options --quick (seconds: does it run, and does its claim still hold?), --full (the whole
experiment), --out and --seed. On one machine, its results depend only on the seed. On another machine, or with another
NumPy, sums are rounded differently, and training amplifies such differences: the numbers that the docstrings quote will
differ, but their claims should still hold.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import platform
import signal
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import minigrad as mg
from minigrad import distributed, nn, train
from minigrad.__main__ import installed
from minigrad.train.checkpoint import atomic
from minigrad.train.report import Record
from models.plain import Net

BATCH = 128
SEGMENT = 10  # blocks that are computed again together
WARMUP = 72  # iterations: nets of 56 layers do not start to learn at the full learning rate


def parser(name: str, about: str | None) -> argparse.ArgumentParser:
    """Return the parser of the options that all demos share; a demo can add its own options.

    Parameters
    ----------
    name : str
        The name of the demo: "degradation".
    about : str
        Its description, for --help: the module's docstring.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m demos.{name}", description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--quick", action="store_true", help="a short run, in seconds")
    length.add_argument("--full", action="store_true", help="the real thing")
    parser.add_argument("--seed", type=int, default=0, help="seed of all random numbers (0)")
    parser.add_argument("--out", default=f"runs/{name}", help=f"folder for the figure and its data (runs/{name})")
    return parser


def add_shards(parser: argparse.ArgumentParser) -> None:
    """Add the option for several processes of MPI."""
    about = "cut each batch into N parts, which the processes of mpiexec share (see minigrad.distributed)"
    parser.add_argument("--shards", type=int, metavar="N", help=about)


def processor() -> str:
    """Name the processor."""
    with suppress(FileNotFoundError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"


def note_sitting(path: Path, resume: bool, config: dict[str, Any]) -> None:
    """Add to PATH-sittings.json from which iteration of a run this sitting goes on, when, and on what machine.

    A run that `fit` is about to refuse, since its file exists or has other settings, is no sitting.
    """
    sittings, checkpoint = Path(f"{path}-sittings.json"), path.with_suffix(".safetensors")
    before: list[dict[str, Any]] = []
    iteration = 0
    if checkpoint.exists():
        saved: Any = mg.load(checkpoint)
        if not resume or not config.items() <= saved.get("config", {}).items():
            return
        before = json.loads(sittings.read_text()) if sittings.exists() else []
        iteration = saved["iteration"]
    here = {key: what for key, what in installed().items() if key in ("Python", "NumPy", "BLAS", "threads")}
    here = {"minigrad": mg.__version__, "processor": processor()} | here
    sitting = {"iteration": iteration, "began": time.strftime("%Y-%m-%d %H:%M %Z"), **here, "config": config}
    sittings.parent.mkdir(parents=True, exist_ok=True)
    with atomic(sittings) as temporary:
        temporary.write_text(json.dumps([*before, sitting], indent=1) + "\n")


def let_the_first_speak() -> None:
    """Let only the first process of MPI print: all come to the same results."""
    if distributed.rank() > 0:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  # it stays open to the end


def digits(train: bool, batch: int = 512, rng: int | None = None) -> mg.data.DataLoader:
    """Return batches of the 8x8 digits, normalised by the training set's mean image and deviation.

    Parameters
    ----------
    train : bool
        The training set (1,437 images) or the test set (360).
    batch : int
    rng : int, optional
        The seed of the order; without a seed the images are not shuffled.
    """
    known = mg.data.Digits()
    normalize = mg.data.transforms.Normalize(known.images.mean(0), known.images.std())
    return mg.data.DataLoader(mg.data.Digits(train=train), batch, rng=rng, transform=normalize)


def fit(
    net: nn.Module,
    batches: mg.data.DataLoader | None = None,
    *,
    epochs: int,
    lr: float = 0.1,
    warmup: int = WARMUP,
    seed: int = 0,
    **options: Any,
) -> list[Record]:
    """Train a net by the recipe of all demos; return the history.

    The recipe: SGD with momentum 0.9 and weight decay 1e-4, a warm-up, the learning rate divided by 10 for the last
    third. Without `batches`, the net is trained on the digits, 128 at a time, and the errors on both sets are measured
    after each epoch.

    Parameters
    ----------
    net : Module
        A net with one input channel.
    batches : DataLoader, optional
        Other training images instead of the digits.
    epochs : int
        For the digits, an epoch has 12 iterations.
    lr : float
    warmup : int
        Iterations in which the learning rate rises to `lr`.
    seed : int
        The seed of the order of the digits.
    **options
        Options for :func:`minigrad.train.fit`: title, log, evaluate_on, evaluate_every ...

    Returns
    -------
    list of records
        Each has the iteration, the loss, and the error on each set, train_error and test_error (from 0 to 1).
    """
    if batches is None:
        batches = digits(True, BATCH, rng=seed)
        options.setdefault("evaluate_on", {"train": digits(True), "test": digits(False)})
    iterations = epochs * len(batches)
    sgd = mg.optim.SGD(net.parameters(), lr, momentum=0.9, weight_decay=1e-4)
    drop = mg.optim.MultiStepLR(sgd, [iterations * 2 // 3])
    schedule = mg.optim.Warmup(drop, warmup) if warmup else drop
    return train.fit(net, batches, optimizer=sgd, schedule=schedule, iterations=iterations, **options)


# Deep nets in less memory ---------------------------------------------------------------------


class Segments(nn.Sequential):
    """Blocks of which only the input of every tenth is stored: the rest is computed again in the backward pass."""

    def forward(self, x: mg.Tensor) -> mg.Tensor:
        """Map activations through all blocks."""
        for i in range(0, len(self), SEGMENT):
            x = mg.recompute(self[i : i + SEGMENT], x)
        return x


def recomputed(net: Net) -> Net:
    """Put the blocks of each stage of a net into segments, and return the net; the paths of its weights stay."""
    for i, stage in enumerate(net.stages, 1):
        setattr(net, f"layer{i}", Segments(*stage))
    return net


# Several nets at a time ----------------------------------------------------------------------


def pool(jobs: int) -> ProcessPoolExecutor:
    """Return processes that train small nets side by side, which takes less time than one after another.

    Two threads that share the operators of one small net often wait for each other; two nets on one thread each never
    do. The results are equal to the last bit, as they depend on no number of threads.

    Parameters
    ----------
    jobs : int
        The number of nets. There are as many processes, but at most one for each thread (`mg.get_num_threads`).
    """
    threads = mg.get_num_threads()
    count = min(jobs, threads)
    return ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), _begin, (threads // count,))


def _begin(threads: int) -> None:
    """Prepare a process of the pool."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the process, not only the net that it is training
    mg.set_num_threads(threads)
    sys.stderr = _Lines()


class _Lines(io.TextIOBase):
    """Standard error, but no terminal: progress bars of several processes would overwrite one another, lines do not."""

    def write(self, text: str) -> int:
        assert sys.__stderr__
        return sys.__stderr__.write(text)
