"""The training loop: forward, backward, step, and what is measured, logged and saved around them.

Everything is counted in iterations: the length of the run, the drops of the learning rate, the evaluations. A net is
evaluated in evaluation mode, on all sets of a record with the same weights, so that the errors of one record can be
compared.

A run can be stopped at any moment and be resumed as if it had never been stopped: a checkpoint holds all that the next
iteration depends on (:mod:`minigrad.train.run`), to the last bit.

Next: :mod:`models.vgg`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path

from minigrad.arguments import file, flag, integer, number
from minigrad.autograd.modes import no_grad
from minigrad.autograd.tensor import Tensor
from minigrad.checked import checked
from minigrad.data import DataLoader
from minigrad.device import to_host
from minigrad.kernels.memory import keep_freed_memory
from minigrad.nn import BatchNorm2d, Module
from minigrad.nn.module import evaluation
from minigrad.ops import cross_entropy
from minigrad.optim import Optimizer, Schedule
from minigrad.train import diagnose
from minigrad.train.report import Record, Report
from minigrad.train.run import Run
from minigrad.train.signals import stop_requests
from minigrad.typing import Array


@checked
def fit(
    model: Module,
    batches: DataLoader,
    *,
    optimizer: Optimizer,
    schedule: Schedule | None = None,
    iterations: int,
    evaluate_on: Mapping[str, DataLoader] | None = None,
    evaluate_every: int | None = None,
    log: str | Path | None = None,
    figure: str | Path | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_minutes: float = 10.0,
    resume: bool = False,
    config: Mapping[str, object] | None = None,
    title: str = "",
) -> list[Record]:
    """Train `model`, and return what was measured.

    Parameters
    ----------
    model : Module
        Maps images to logits. A model in evaluation mode is put into training mode; in a model in training mode, parts
        that are in evaluation mode (frozen ones) stay in it.
    batches : DataLoader
        The training set.
    optimizer : Optimizer
    schedule : Schedule, optional
        After each iteration, sets the learning rate of the next one; it also receives the measurements.
    iterations : int
        The length of the run. ``len(batches)`` iterations are an epoch.
    evaluate_on : dict of DataLoaders, optional
        The sets to evaluate on, by name.
    evaluate_every : int, optional
        The number of iterations between two records; by default an epoch. The last iteration has a record, too.
    log, figure : Path, optional
        A JSONL file and a PNG file that show the run as it goes.
    checkpoint : Path, optional
        The file to resume the run from. It is written every `checkpoint_minutes`, at the end, and when SIGINT (Ctrl-C)
        or SIGTERM asks the process to stop, after the iteration that is under way. A second signal stops it at once.
    resume : bool
        Resume the run from its checkpoint, bit-exactly; begin anew if there is none yet. The learning rate and the
        settings of the schedule are then those of the checkpoint. Other settings of the optimizer, the seeds of the
        loaders, and the sizes of the sets must be those of the checkpoint.
    config : dict, optional
        Other settings that the run depends on, as JSON can hold them. They are saved in the checkpoint; only a run with
        the same `config` is resumed.
    title : str
        Printed before the progress.

    Returns
    -------
    list of dicts
        The records. Each holds epoch, iteration, lr, loss and batch_error (means over the batches since the last
        record, measured in their training steps), ``NAME_loss`` and ``NAME_error`` (a share of 1) for each set, seconds
        since the start, images_per_second (of training) and loader_share (the share of the training time that was spent
        waiting for the next batch).

    Raises
    ------
    FloatingPointError
        If the loss or a gradient is not finite. The message names the iteration, the learning rate, and the operator
        that made the first NaN.
    FileExistsError
        If there is a checkpoint, and it is not to be resumed.
    ValueError
        If the checkpoint belongs to another run, or a part of it is not what a run saves: then nothing is changed. If
        the optimizer is not one of this model, or the schedule not one of this optimizer, or a number is out of range.

    Notes
    -----
    From the first call on, the process keeps the memory of freed arrays for its next arrays, which saves time: see
    :func:`minigrad.keep_freed_memory`. To prevent it, set a variable of the C library: ``MALLOC_PERTURB_=0 python ...``

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
    sets = dict(evaluate_on or {})
    if any(loader is batches for loader in sets.values()):
        raise ValueError("fit: expected loaders of their own to evaluate on, got `batches`, which is amid an epoch")
    iterations = integer("fit", "iterations", iterations, least=1)
    every = len(batches) if evaluate_every is None else integer("fit", "evaluate_every", evaluate_every, least=1)
    number("fit", "checkpoint_minutes", checkpoint_minutes, most=math.inf)
    if flag("fit", "resume", resume) and checkpoint is None:
        raise ValueError("fit: resume=True needs a checkpoint to resume from")
    log, figure, checkpoint = (None if path is None else file("fit", path) for path in (log, figure, checkpoint))
    run = Run(model, batches, sets, optimizer, schedule, config)
    if checkpoint is not None and checkpoint.exists():
        if not resume:
            raise FileExistsError(
                f"fit: {checkpoint} is there already; resume it (resume=True), or delete it to begin anew"
            )
        run.load(checkpoint)
    keep_freed_memory()
    if not model.training:
        model.train()
    report = Report(iterations, run.history, first=run.iteration, title=title, log=log, figure=figure)
    begun = saved = time.perf_counter()
    first = run.iteration
    with report, stop_requests(checkpoint is not None) as stop:
        while run.iteration < iterations:
            for images, labels in run.epoch():
                draws = run.generator_states()

                x = Tensor(images).to(model.device)
                logits = model(x)
                loss = cross_entropy(logits, labels)
                optimizer.zero_grad()
                loss.backward()
                mean_loss = loss.item()
                if fault := diagnose.fault(mean_loss, run.parameters):
                    run.set_generator_states(draws)  # the iteration is repeated, with the same draws
                    raise FloatingPointError(
                        f"fit: {fault} in iteration {run.iteration} at learning rate {optimizer.lr:g}: "
                        f"{diagnose.cause(model, images, labels)}"
                    )
                optimizer.step()

                wrong = count_wrong(logits, labels)
                run.advance(len(labels), mean_loss, wrong)
                if schedule is not None:
                    schedule.observe(batch_error=wrong / len(labels))
                    schedule.step()
                report.step(run.iteration)
                last = run.iteration == iterations
                if last or run.iteration % every == 0:
                    record = run.record({name: evaluate(model, loader) for name, loader in sets.items()})
                    if schedule is not None:
                        schedule.observe(**record)
                    pace = (time.perf_counter() - begun) / (run.iteration - first)
                    report.add(record, pace * (iterations - run.iteration))
                requested = stop.received  # read once: a signal may arrive between any two lines
                if checkpoint and (last or requested or time.perf_counter() - saved > 60 * checkpoint_minutes):
                    run.save(checkpoint)
                    saved = time.perf_counter()
                if requested:
                    report.say(
                        f"stopped by {requested.name} after {run.iteration} iterations; resume it from {checkpoint}"
                    )
                    raise stop.exit()
                if last:
                    break
    return run.history


def count_wrong(logits: Tensor, labels: Array) -> int:
    """Return the number of images whose largest logit is not that of their label."""
    return int((logits.numpy().argmax(axis=1) != to_host(labels)).sum())


@checked
def evaluate(model: Module, batches: DataLoader) -> tuple[float, float]:
    """Return the mean cross-entropy and the share of wrong answers, in evaluation mode.

    Parameters
    ----------
    model : Module
        Maps images to logits. Its layers are put into evaluation mode, and back into their previous mode at the end.
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
            wrong += count_wrong(logits, labels)
            count += len(labels)
    return loss / count, wrong / count


@checked
def refresh_statistics(model: Module, batches: DataLoader) -> None:
    """Compute the running statistics of batch norm anew, as means over all batches.

    During training the running statistics lag behind the weights. The authors of the paper recomputed the statistics
    of the nets that they released after training, over many batches.

    Parameters
    ----------
    model : Module
        Its BatchNorm2d layers get new running statistics; nothing else changes. The forward calls each of them once: of
        several calls the last would count most.
    batches : DataLoader
        Preferably of the training set, without augmentation.

    Examples
    --------
    >>> import minigrad as mg
    >>> from minigrad import train
    >>> bn = mg.nn.BatchNorm2d(1)
    >>> train.refresh_statistics(bn, mg.data.DataLoader(mg.data.Digits(), 479))
    >>> float(bn.running_mean.data[0].round(4)) == float(mg.data.Digits().images.mean().round(4))
    True
    """
    norms = [module for _, module in model.named_modules() if isinstance(module, BatchNorm2d)]
    for norm in norms:  # otherwise a NaN would stay: 0 * NaN is NaN
        norm.running_mean.data[...], norm.running_var.data[...] = 0, 0
    momenta, count, device = [norm.momentum for norm in norms], 0, model.device
    with evaluation(model), no_grad():
        try:
            for images, labels in batches:
                count += len(labels)
                for norm in norms:
                    norm.training, norm.momentum = True, len(labels) / count  # the mean over all images so far
                model(Tensor(images).to(device))
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
