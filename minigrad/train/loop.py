"""The training loop: one for all demos, and for runs that take days.

Each iteration is forward, backward, step. Everything is counted in iterations: how long the run is, when the learning
rate drops, when the net is evaluated. Evaluation puts the net into evaluation mode, so that the errors of a record are
those of one and the same net and can be compared.

A run can be stopped at any moment, and be continued as if it had not been: a checkpoint holds all that the next
iteration depends on, down to the last bit.

Next: :mod:`models.vgg`.
"""

from __future__ import annotations

import functools
import json
import math
import operator
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from minigrad.autograd.tape import detect_anomaly, no_grad
from minigrad.autograd.tensor import Tensor
from minigrad.data import DataLoader
from minigrad.device import namespace, to_host
from minigrad.nn import BatchNorm2d, Module
from minigrad.nn.module import evaluation
from minigrad.ops import cross_entropy
from minigrad.optim import SGD, Schedule
from minigrad.train.checkpoint import load, save
from minigrad.train.report import Record, Report

Sets = dict[str, DataLoader]


def fit(
    model: Module,
    batches: DataLoader,
    *,
    optimizer: SGD,
    schedule: Schedule | None = None,
    iterations: int,
    evaluate_on: Sets | None = None,
    evaluate_every: int | None = None,
    log: str | Path | None = None,
    figure: str | Path | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_minutes: float = 10.0,
    resume: bool = False,
    config: dict[str, Any] | None = None,
    title: str = "",
) -> list[Record]:
    """Train `model`, and return what was measured on the way.

    Parameters
    ----------
    model : Module
        Maps images to logits. It is put into training mode if it is not; parts of it that are in evaluation mode
        (frozen ones) stay there.
    batches : DataLoader
        To train on.
    optimizer : SGD
    schedule : Schedule, optional
        Stepped after each iteration, and told what was measured.
    iterations : int
        The length of the run. ``len(batches)`` of them are an epoch.
    evaluate_on : dict of DataLoaders, optional
        The sets to evaluate on, by name.
    evaluate_every : int, optional
        Iterations from one record to the next; an epoch by default. The end has a record, too.
    log, figure : Path, optional
        A JSONL file and a PNG file that show the run as it goes.
    checkpoint : Path, optional
        Where to save all that is needed to go on: every `checkpoint_minutes`, at the end, and when the process is told
        to stop by SIGINT (Ctrl-C) or SIGTERM, after the iteration that is under way. A second one stops it at once.
    resume : bool
        Go on from the checkpoint, bit-exactly; from the beginning if there is none yet. The settings of optimizer and
        schedule are those of the checkpoint.
    config : dict, optional
        What else the run depends on, as JSON can hold it. Saved with the checkpoint; a run is resumed only under the
        same.
    title : str
        Stands before the progress.

    Returns
    -------
    list of dicts
        For each record: epoch, iteration, lr, loss and batch_error (means over the batches since the record
        before, as they were when trained on), ``NAME_loss`` and ``NAME_error`` (a share of 1) for each set, seconds
        since the start, images_per_second (of training) and loader_share (of the time of training that was spent
        waiting for the next batch).

    Raises
    ------
    FloatingPointError
        If the loss, or a gradient, is no longer finite: with the iteration, the learning rate, and the operator that
        made the first NaN.
    FileExistsError
        If there is a checkpoint, and it is not to be resumed.
    ValueError
        If what is to be resumed is another run, or a number is out of range.

    Examples
    --------
    >>> import minigrad as mg
    >>> from minigrad import train
    >>> digits = mg.data.Digits()
    >>> net = mg.nn.Sequential(mg.nn.Flatten(), mg.nn.Linear(64, 10, rng=0))
    >>> sgd = mg.optim.SGD(net.parameters(), lr=0.1)
    >>> batches, test = mg.data.DataLoader(digits, 128, rng=0), mg.data.DataLoader(mg.data.Digits(train=False), 360)
    >>> history = train.fit(net, batches, optimizer=sgd, iterations=60, evaluate_on={"test": test})
    >>> history[-1]["test_error"] < 0.15
    True
    """
    sets = evaluate_on or {}
    if any(loader is batches for loader in sets.values()):
        raise ValueError("fit: expected loaders of their own to evaluate on, got `batches`, which is amid an epoch")
    evaluate_every = len(batches) if evaluate_every is None else evaluate_every
    for name, number in (("iterations", iterations), ("evaluate_every", evaluate_every)):
        if not hasattr(number, "__index__") or number < 1:
            raise ValueError(f"fit: expected {name} to be an int of at least 1, got {number!r}")
    if resume and checkpoint is None:
        raise ValueError("fit: resume=True needs a checkpoint to resume from")
    log, figure, checkpoint = (None if path is None else Path(path) for path in (log, figure, checkpoint))
    run = _Run(model, batches, sets, optimizer, schedule, config)
    if checkpoint is not None and checkpoint.exists():
        if not resume:
            raise FileExistsError(
                f"fit: {checkpoint} is there already; resume it (resume=True), or delete it to begin anew"
            )
        run.load(checkpoint)
    if not model.training:
        model.train()
    report = Report(iterations, run.history, first=run.iteration, title=title, log=log, figure=figure)
    start = saved = time.perf_counter()
    first = run.iteration
    with report, _told_to_stop(checkpoint is not None) as told:
        while run.iteration < iterations:
            for images, labels in run.timed(batches):
                run.step(images, labels)
                report.step(run.iteration)
                last = run.iteration == iterations
                if last or run.iteration % evaluate_every == 0:
                    record = run.record()
                    pace = (time.perf_counter() - start) / (run.iteration - first)
                    report.add(record, pace * (iterations - run.iteration))
                stop = told[:1]  # looked at once: a signal may come between any two lines
                if checkpoint and (last or stop or time.perf_counter() - saved > 60 * checkpoint_minutes):
                    run.save(checkpoint)
                    saved = time.perf_counter()
                if stop:
                    by = signal.Signals(stop[0]).name
                    report.say(f"stopped by {by} after {run.iteration} iterations; resume it from {checkpoint}")
                    raise KeyboardInterrupt if stop[0] == signal.SIGINT else SystemExit(128 + stop[0])
                if last:
                    break
    return run.history


class _Run:
    """One run: what it trains, where it is, and what it has measured since the last record."""

    def __init__(
        self, model: Module, batches: DataLoader, sets: Sets, optimizer: SGD, schedule: Schedule | None, config: Any
    ) -> None:
        self.model, self.batches, self.sets, self.optimizer, self.schedule = model, batches, sets, optimizer, schedule
        self.parameters, self.generators = dict(model.named_parameters()), dict(_generators(model))
        facts: dict[str, Any] = {"batch_size": batches.batch_size, "images": len(batches.dataset)}
        facts |= {"evaluate_on": list(sets), "schedule": type(schedule).__name__, "generators": list(self.generators)}
        self.config: dict[str, Any] = json.loads(json.dumps(facts | (config or {})))
        self.history: list[Record] = []
        self.iteration, self.start = 0, time.perf_counter()
        self.since: dict[str, float] = dict.fromkeys(("images", "loss", "wrong", "waited", "worked"), 0.0)

    def timed(self, batches: DataLoader) -> Iterator[tuple[Any, Any]]:
        """Yield the batches of an epoch, and measure the time spent waiting for them and working on them."""
        begin = time.perf_counter()
        for batch in batches:
            ready = time.perf_counter()
            self.since["waited"] += ready - begin
            yield batch
            begin = time.perf_counter()

    def step(self, images: Any, labels: Any) -> None:
        """Forward, backward, step."""
        begin = time.perf_counter()
        drawn = {name: rng.bit_generator.state for name, rng in self.generators.items()}
        logits = self.model(Tensor(images).to(self.model.device))
        loss = cross_entropy(logits, labels)
        value, wrong = loss.item(), int((logits.numpy().argmax(axis=1) != labels).sum())
        self.optimizer.zero_grad()
        if math.isfinite(value):
            loss.backward()
        broken = _not_finite((name, p.grad.data) for name, p in self.parameters.items() if p.grad is not None)
        if broken or not math.isfinite(value):
            what = f"the gradient of {broken} is not finite" if broken else f"the loss became {value}"
            raise FloatingPointError(
                f"fit: {what} in iteration {self.iteration} at learning rate {self.optimizer.lr:g}: "
                f"{self.cause(images, labels, drawn)}"
            )
        self.lr = self.optimizer.lr
        self.optimizer.step()
        if self.schedule is not None:
            self.schedule.observe(batch_error=wrong / len(labels))
            self.schedule.step()
        self.iteration += 1
        measured = {"images": len(labels), "loss": value * len(labels), "wrong": wrong}
        for name, number in (measured | {"worked": time.perf_counter() - begin}).items():
            self.since[name] += number

    def cause(self, images: Any, labels: Any, drawn: dict[str, Any]) -> str:
        """Find out what made a number that is not finite, by doing the iteration once more."""
        if _not_finite([("images", images)]):
            return "the images are not finite"
        broken = _not_finite((name, p.data) for name, p in self.parameters.items())
        if broken:
            return f"{broken} was not finite before it; try a lower rate, or a longer warm-up"
        for name, state in drawn.items():
            self.generators[name].bit_generator.state = state
        try:
            with detect_anomaly(), np.errstate(all="ignore"):
                cross_entropy(self.model(Tensor(images).to(self.model.device)), labels).backward()
        except FloatingPointError as error:
            return str(error)
        return "no operator made a NaN, but numbers left the range of the dtype; try a lower rate, or a longer warm-up"

    def record(self) -> Record:
        """Return what was measured since the last record, and the errors on each set."""
        since = self.since
        record: Record = {
            "epoch": -(-self.iteration // len(self.batches)),
            "iteration": self.iteration,
            "lr": self.lr,
            "loss": since["loss"] / since["images"],
            "batch_error": since["wrong"] / since["images"],
        }
        for name, loader in self.sets.items():
            record[f"{name}_loss"], record[f"{name}_error"] = evaluate(self.model, loader)
        if self.schedule is not None:
            self.schedule.observe(**record)
        time_of_training = since["waited"] + since["worked"]
        record["seconds"] = time.perf_counter() - self.start
        record["images_per_second"] = since["images"] / time_of_training
        record["loader_share"] = since["waited"] / time_of_training
        self.since = dict.fromkeys(since, 0.0)
        return record

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next iteration depends on, and the history."""
        return {
            "config": self.config,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict() if self.schedule is not None else None,
            "batches": self.batches.state_dict(),
            "sets": {name: loader.state_dict() for name, loader in self.sets.items()},
            "generators": {name: rng.bit_generator.state for name, rng in self.generators.items()},
            "iteration": self.iteration,
            "seconds": time.perf_counter() - self.start,
            "since": self.since,
            "history": self.history,
        }

    def save(self, path: Path) -> None:
        """Write a checkpoint, unless it would take the place of a better one."""
        broken = _not_finite((name, p.data) for name, p in self.parameters.items())
        if broken:
            raise FloatingPointError(
                f"fit: {broken} is not finite after {self.iteration} iterations; {path} was left as it was"
            )
        save(path, self.state_dict())

    def load(self, path: Path) -> None:
        """Go on from a checkpoint."""
        tree, parts = load(path), self.state_dict().keys()
        if not isinstance(tree, dict) or tree.keys() != parts:
            raise ValueError(f"fit: {path} is no checkpoint of a training run, which has {', '.join(parts)}")
        if tree["config"] != self.config:
            was, now = tree["config"], self.config
            differ = [k for k in sorted(was | now) if was.get(k) != now.get(k)]
            listed = ", ".join(f"{k} was {was.get(k)!r}, is {now.get(k)!r}" for k in differ)
            raise ValueError(f"fit: {path} is of another run: {listed}; give the same settings, or begin anew")
        self.model.load_state_dict(tree["model"])
        self.optimizer.load_state_dict(tree["optimizer"])
        if self.schedule is not None:
            self.schedule.load_state_dict(tree["schedule"])
        self.batches.load_state_dict(tree["batches"])
        for name, loader in self.sets.items():
            loader.load_state_dict(tree["sets"][name])
        for name, rng in self.generators.items():
            rng.bit_generator.state = tree["generators"][name]
        self.iteration, self.since, self.history = tree["iteration"], tree["since"], tree["history"]
        self.start = time.perf_counter() - tree["seconds"]


def _generators(model: Module) -> Iterator[tuple[str, np.random.Generator]]:
    """Yield what the layers draw from, dropout's for one, by name."""
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            for i, rng in enumerate(value if isinstance(value, list | tuple) else [value]):
                if isinstance(rng, np.random.Generator):
                    yield f"{path}.{name}.{i}", rng


def _not_finite(arrays: Iterable[tuple[str, Any]]) -> str:
    """Name the arrays that hold NaNs or infinities."""
    finite = {name: namespace(array).isfinite(array).all() for name, array in arrays}
    if functools.reduce(operator.and_, finite.values(), True):  # a device is waited for once, not for each array
        return ""
    names = [name for name, is_so in finite.items() if not is_so]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


@contextmanager
def _told_to_stop(listen: bool) -> Iterator[list[int]]:
    """Give a list that gets SIGINT or SIGTERM when it comes for the first time; the second does what it always does."""
    told: list[int] = []
    if not listen or threading.current_thread() is not threading.main_thread():
        yield told
        return

    def hear(number: int, frame: FrameType | None) -> None:
        told.append(number)
        signal.signal(number, before[number])

    numbers = (int(signal.SIGINT), int(signal.SIGTERM))  # what is ignored, as by nohup or in the background, stays so
    before = {n: signal.signal(n, hear) for n in numbers if signal.getsignal(n) not in (signal.SIG_IGN, None)}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def evaluate(model: Module, batches: DataLoader) -> tuple[float, float]:
    """Return mean cross-entropy and share of wrong answers, in evaluation mode.

    Parameters
    ----------
    model : Module
        Maps images to logits. Its layers are put into evaluation mode, and back.
    batches : DataLoader

    Returns
    -------
    loss, error : float

    Examples
    --------
    >>> import minigrad as mg
    >>> from minigrad import train
    >>> net = mg.nn.Sequential(mg.nn.Flatten(), mg.nn.Linear(64, 10, rng=0))
    >>> loss, error = train.evaluate(net, mg.data.DataLoader(mg.data.Digits(train=False), 360))
    >>> 0.5 < error <= 1.0
    True
    """
    loss, wrong, count, device = 0.0, 0, 0, model.device
    with evaluation(model), no_grad():
        for images, labels in batches:
            logits = model(Tensor(images).to(device))
            loss += cross_entropy(logits, labels).item() * len(labels)
            wrong += int((logits.numpy().argmax(axis=1) != to_host(labels)).sum())
            count += len(labels)
    return loss / count, wrong / count


def refresh_statistics(model: Module, batches: DataLoader) -> None:
    """Compute the running statistics of batch norm anew, as means over all batches.

    While a net is trained they trail behind its weights. The authors of the paper recomputed those of the nets they
    released, after training, over many batches.

    Parameters
    ----------
    model : Module
        Its BatchNorm2d layers get new running statistics, and nothing else changes.
    batches : DataLoader
        Best of the training set, without augmentation.

    Examples
    --------
    >>> import minigrad as mg
    >>> from minigrad import train
    >>> bn = mg.nn.BatchNorm2d(1)
    >>> train.refresh_statistics(bn, mg.data.DataLoader(mg.data.Digits(), 479))
    >>> float(bn.running_mean[0].round(4)) == float(mg.data.Digits().images.mean().round(4))
    True
    """
    norms = [module for _, module in model.named_modules() if isinstance(module, BatchNorm2d)]
    for norm in norms:  # whatever they were: 0 * NaN is not 0
        norm.running_mean[...], norm.running_var[...] = 0, 0
    momenta, count, device = [norm.momentum for norm in norms], 0, model.device
    with evaluation(model), no_grad():
        try:
            for images, labels in batches:
                count += len(labels)
                for norm in norms:
                    norm.training, norm.momentum = True, len(labels) / count  # so that the mean of all so far is kept
                model(Tensor(images).to(device))
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
