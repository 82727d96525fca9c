"""The training loop: forward, backward, step, and what is measured, logged and saved around them.

Everything is counted in iterations: the length of the run, the drops of the learning rate, the evaluations. A net is
evaluated in evaluation mode, on all sets of a record with the same weights, so that the errors of one record can be
compared.

A run can be stopped at any moment and be resumed as if it had never been stopped: a checkpoint holds all that the next
iteration depends on (:mod:`minigrad.train.run`), to the last bit.

Next: :mod:`models.preact`.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from minigrad import distributed
from minigrad.arguments import expect, file, integer
from minigrad.autograd.modes import no_grad
from minigrad.autograd.tensor import Tensor
from minigrad.checked import checked
from minigrad.data import DataLoader
from minigrad.data.dataset import Batch
from minigrad.device import is_array, to_host
from minigrad.distributed.shards import Shards, draw_anew
from minigrad.kernels.memory import keep_freed_memory
from minigrad.nn import BatchNorm2d, Module
from minigrad.nn.module import evaluation
from minigrad.ops import cross_entropy
from minigrad.optim import Optimizer, Schedule
from minigrad.train import diagnose
from minigrad.train.report import Record, Report
from minigrad.train.run import Checkpoint, Run, facts
from minigrad.train.signals import StopRequest, stop_requests
from minigrad.typing import Array

#: By name, functions of output and target. Any: a target is what the data set holds, and the caller knows its type.
Metrics: TypeAlias = Mapping[str, Callable[[Tensor, Any], object]]
#: A function of output and target that returns the mean over a batch.
Loss: TypeAlias = Callable[[Tensor, Any], Tensor]


@checked
def fit(
    model: Module,
    batches: DataLoader,
    *,
    optimizer: Optimizer,
    schedule: Schedule | None = None,
    iterations: int | None = None,
    epochs: int | None = None,
    loss: Callable[[Tensor, Any], Tensor] = cross_entropy,
    metrics: Mapping[str, Callable[[Tensor, Any], object]] | None = None,
    evaluate_on: Mapping[str, DataLoader] | None = None,
    evaluate_every: int | None = None,
    on_record: Callable[[list[Record]], object] | None = None,
    log: str | Path | None = None,
    figure: str | Path | None = None,
    checkpoint: Checkpoint | None = None,
    shards: int | None = None,
    title: str = "",
) -> list[Record]:
    """Train `model`, and return what was measured.

    Parameters
    ----------
    model : Module
        Maps the first part of a batch, such as images, to an output, such as logits. A model in evaluation mode is put
        into training mode; in a model in training mode, parts that are in evaluation mode (frozen ones) stay in it.
    batches : DataLoader
        The training set.
    optimizer : Optimizer
        To clip gradients, give one whose step begins with it: see :func:`minigrad.optim.clip_grad_norm`.
    schedule : Schedule, optional
        After each iteration, sets the learning rate of the next one; it also receives the measurements.
    iterations, epochs : int
        The length of the run: one of the two. An epoch has ``len(batches)`` iterations.
    loss : function
        Of the output and the second part of a batch, the target: labels, or an array on the model's device. It returns
        a Tensor of one number, the mean over the batch.
    metrics : dict of functions, optional
        By name, further functions of output and target, whose means over the images are recorded. They return a number
        for each image, or their mean. By default, with the cross-entropy, the share of wrong answers, ``error``.
    evaluate_on : dict of DataLoaders, optional
        The sets to evaluate on, by name.
    evaluate_every : int, optional
        The number of iterations between two records; by default an epoch. The last iteration has a record, too.
    on_record : function, optional
        Called with all records so far after each new one. If it returns True, the run ends: early stopping. A resumed
        run that stands at a record asks again.
    log, figure : Path, optional
        A JSONL file and a PNG file that show the run as it goes.
    checkpoint : Checkpoint, optional
        The file to resume the run from, and when it is written.
    shards : int, optional
        The number of parts into which each batch is cut, a power of two. They are spread over the processes that MPI
        started, and the results are equal to the bit for every number of processes that divides it, one included: see
        :mod:`minigrad.distributed`.
    title : str
        Printed before the progress.

    Returns
    -------
    list of dicts
        The records. Each holds epoch, iteration, lr, loss and ``batch_METRIC`` (means over the batches since the last
        record, measured in their training steps), ``NAME_loss`` and ``NAME_METRIC`` for each set (of the default
        metric: ``batch_error``, ``NAME_error``, shares of 1), seconds since the start, images_per_second (of training)
        and loader_share (the share of the training time that was spent waiting for the next batch).

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
    TypeError
        If there is to be a checkpoint, and a part of the run cannot be saved: an attribute of an optimizer of your own,
        for example.

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
    >>> history = train.fit(net, batches, optimizer=sgd, epochs=5, evaluate_on={"test": test})
    >>> history[-1]["test_error"] < 0.15
    True

    Early stopping: after ten records in a row that are no better than an earlier one.

    >>> def no_better(history):
    ...     losses = [record["test_loss"] for record in history]
    ...     return len(losses) - losses.index(min(losses)) > 10
    >>> history = train.fit(net, batches, optimizer=sgd, epochs=500, evaluate_on={"test": test}, on_record=no_better)
    >>> len(history) < 500
    True
    """
    sets, metrics = dict(evaluate_on or {}), _metrics("fit", loss, metrics)
    if any(loader is batches for loader in sets.values()):
        raise ValueError("fit: expected loaders of their own to evaluate on, got `batches`, which is amid an epoch")
    given = [f"{n}={v!r}" for n, v in (("iterations", iterations), ("epochs", epochs)) if v is not None]
    expect(len(given) == 1, "fit", "a length, either iterations or epochs", " and ".join(given) or "none")
    unit, count, size = ("iterations", iterations, 1) if epochs is None else ("epochs", epochs, len(batches))
    length = integer("fit", unit, count, least=1) * size
    every = len(batches) if evaluate_every is None else integer("fit", "evaluate_every", evaluate_every, least=1)
    log, figure = (None if path is None else file("fit", path) for path in (log, figure))
    config: dict[str, object] = {} if shards is None else {"shards": shards}
    config |= {} if checkpoint is None else checkpoint.config
    run = Run(model, batches, sets, optimizer, schedule, [*metrics], config)
    first_rank, processes = distributed.rank() == 0, distributed.size()
    expect(shards or processes == 1, "fit", "shards=, for several processes", f"{processes} processes", "as shards=4")
    if shards is not None:
        distributed.owned(shards, batches)
    if checkpoint is not None and first_rank:
        checkpoint.begin(run)
    if processes > 1:
        arguments = {"the number of iterations": length, "evaluate_every": every, "a checkpoint": bool(checkpoint)}
        distributed.agree(facts(run) | arguments)
    if shards is not None:
        run.restore(distributed.broadcast(run.state_dict()))
    keep_freed_memory()
    if not model.training:
        model.train()
    files = {"log": log, "figure": figure} if first_rank else {}
    report = Report(length, run.history, first=run.iteration, title=title, quiet=not first_rank, **files)
    begun = saved = time.perf_counter()
    first = run.iteration
    done = first >= length or (run.at_record() and _asked(on_record, run.history))
    if processes > 1:  # a launcher tells of a process that was killed by these names
        report.say(f"processes: {', '.join(distributed.gather(f'{os.getpid()} on {platform.node()}'))}")
    with report, stop_requests(checkpoint is not None) as stop:
        while not done:
            for batch in run.epoch(shards):
                draws = run.generator_states()

                if isinstance(batch, Shards):
                    n, mean_loss, sums = _together(model, loss, metrics, batch, stop)
                else:
                    n, mean_loss, sums = _alone(model, loss, metrics, batch, optimizer)
                if fault := diagnose.fault(mean_loss, run.parameters):
                    run.set_generator_states(draws)  # the iteration is repeated, with the same draws
                    raise FloatingPointError(
                        f"fit: {fault} in iteration {run.iteration} at learning rate {optimizer.lr:g}: "
                        f"{_cause(run, loss, batch)}"
                    )
                optimizer.step()

                run.advance(n, mean_loss, sums)
                if schedule is not None:
                    schedule.observe(**{f"batch_{name}": total / n for name, total in sums.items()})
                    schedule.step()
                report.step(run.iteration)
                done = run.iteration == length
                if done or run.iteration % every == 0:
                    record = run.record(
                        {name: _evaluate(model, loader, loss, metrics, shards) for name, loader in sets.items()}
                    )
                    if schedule is not None:
                        schedule.observe(**record)
                    pace = (time.perf_counter() - begun) / (run.iteration - first)
                    report.add(record, pace * (length - run.iteration))
                    done = _asked(on_record, run.history) or done
                # read once: a signal may arrive between any two lines
                requested = stop.agreed if shards else stop.received is not None
                late = checkpoint and time.perf_counter() - saved > 60 * checkpoint.every
                if checkpoint and first_rank and (done or requested or late):
                    run.save(checkpoint.path)
                    saved = time.perf_counter()
                if checkpoint and (done or requested):  # all processes wait until the file is written
                    stop.received = next(filter(None, distributed.gather(stop.received)), None)
                    if stop.received:
                        after = f"after {run.iteration} iterations; resume it from {checkpoint.path}"
                        report.say(f"stopped by {stop.received.name} {after}")
                        distributed.gather(None)  # the first process that exits may end the others
                        raise stop.exit()
                if done:
                    break
    return run.history


# One iteration -------------------------------------------------------------------------------


def _alone(
    model: Module, loss: Loss, metrics: Metrics, batch: Batch, optimizer: Optimizer
) -> tuple[int, float, dict[str, float]]:
    """Give the parameters their gradients; return the number of images, the mean loss, and the sums of the metrics."""
    images, targets = batch
    x, y = Tensor(images).to(model.device), _on_device(targets, model)
    output = model(x)
    value = loss(output, y)
    optimizer.zero_grad()
    value.backward()
    return len(targets), value.item(), _sums(metrics, output, y, len(targets))


def _together(
    model: Module, loss: Loss, metrics: Metrics, shards: Shards, stop: StopRequest
) -> tuple[int, float, dict[str, float]]:
    """Do the same for the shards of this process, and add up; if a process was asked to stop, all are."""

    def computed(images: Array, targets: Any) -> tuple[Tensor, list[float]]:
        x, y = Tensor(images).to(model.device), _on_device(targets, model)
        output = model(x)
        return loss(output, y), [*_sums(metrics, output, y, len(targets)).values(), float(bool(stop.received))]

    mean_loss, (*sums, asked) = distributed.sum_gradients(model, computed, shards)
    stop.agreed = asked > 0
    return shards.images, mean_loss, dict(zip(metrics, sums, strict=True))


def _cause(run: Run, loss: Loss, batch: Batch | Shards) -> str:
    """Return what made the first number that is not finite, in whichever process."""
    first, own = (batch.first, batch.batches) if isinstance(batch, Shards) else (0, [batch])
    model, states, causes = run.model, [*run.generator_states().values()], []
    run.optimizer.zero_grad()  # a NaN of another process would be added to what is right
    for number, (images, targets) in enumerate(own, first):
        if isinstance(batch, Shards):
            draw_anew(run.generators.values(), states, batch.place, number)
        causes.append(diagnose.cause(model, loss, Tensor(images).to(model.device), _on_device(targets, model)))
    causes = [cause for everyone in distributed.gather(causes) for cause in everyone]
    return next((cause for cause in causes if not cause.startswith("no operator")), causes[0])


def _asked(on_record: Callable[[list[Record]], object] | None, history: list[Record]) -> bool:
    """Return whether `on_record` wants the run to end; the first process asks for all."""
    wanted = on_record is not None and distributed.rank() == 0 and bool(on_record(history))
    return distributed.broadcast(wanted)


@checked
def evaluate(
    model: Module,
    batches: DataLoader,
    *,
    loss: Callable[[Tensor, Any], Tensor] = cross_entropy,
    metrics: Mapping[str, Callable[[Tensor, Any], object]] | None = None,
) -> tuple[float, ...]:
    """Return the mean loss and the means of the metrics, in evaluation mode: by default cross-entropy and error.

    Parameters
    ----------
    model : Module
        Maps images to logits. Its layers are put into evaluation mode, and back into their previous mode at the end.
    batches : DataLoader
    loss : function
    metrics : dict of functions, optional
        As of :func:`fit`: the default is the share of wrong answers, if the loss is the cross-entropy.

    Returns
    -------
    loss, error, ... : float
        In the order of the metrics.

    Examples
    --------
    >>> import minigrad as mg
    >>> from minigrad import train
    >>> net = mg.nn.Sequential(mg.nn.Flatten(), mg.nn.Linear(64, 10, rng=0))
    >>> loss, error = train.evaluate(net, mg.data.DataLoader(mg.data.Digits(train=False), 360))
    >>> 0.5 < error <= 1.0
    True
    """
    return tuple(_evaluate(model, batches, loss, _metrics("evaluate", loss, metrics)).values())


def _evaluate(
    model: Module, batches: DataLoader, loss: Loss, metrics: Metrics, shards: int | None = None
) -> dict[str, float]:
    """Return the means of the loss and the metrics by their names; with shards, each process evaluates its own."""
    names, own = ["images", "loss", *metrics], range(1) if shards is None else distributed.owned(shards)
    parts: Iterable[list[Batch]] = ([b] for b in batches) if shards is None else batches.shards(shards, own)
    sums = [np.zeros(len(names)) for _ in own]  # of each shard
    with evaluation(model), no_grad():
        for batch in parts:
            for i, (images, targets) in enumerate(batch):
                if len(targets):
                    output, y = model(Tensor(images).to(model.device)), _on_device(targets, model)
                    numbers = _sums(metrics, output, y, len(targets))
                    sums[i] += [len(targets), loss(output, y).item() * len(targets), *numbers.values()]
    totals = sums[0] if shards is None else distributed.total([s] for s in sums)[0]
    return {name: float(total / totals[0]) for name, total in zip(names[1:], totals[1:], strict=True)}


# What is measured ----------------------------------------------------------------------------


def wrong(logits: Tensor, labels: Array) -> Array:
    """Return for each image whether its largest logit is not that of its label."""
    is_wrong: Array = logits.numpy().argmax(axis=1) != to_host(labels)
    return is_wrong


def _metrics(caller: str, loss: Callable[[Tensor, Any], Tensor], metrics: Metrics | None) -> Metrics:
    """Return the metrics, by default those of classification if the loss is that of classification."""
    if metrics is None:
        return {"error": wrong} if loss is cross_entropy else {}
    fit = all(isinstance(name, str) and name != "loss" and callable(f) for name, f in metrics.items())
    expect(fit, caller, "metrics to be functions by name, other than 'loss'", metrics, error=TypeError)
    return dict(metrics)


def _sums(metrics: Metrics, output: Tensor, y: Array, n: int) -> dict[str, float]:
    """Return the sum of each metric over the n images of a batch."""
    sums = {}
    for name, metric in metrics.items():
        with no_grad():
            given = metric(output.detach(), y)
        value = given.data if isinstance(given, Tensor) else given
        numbers = np.asarray(to_host(value) if is_array(value) else value)
        expect(numbers.dtype.kind in "biuf", f"the metric {name!r}", "a number for each image, or their mean", given)
        sums[name] = float(numbers.sum(dtype=np.float64)) * (n / numbers.size)
    return sums


def _on_device(targets: Array, model: Module) -> Array:
    """Return targets on the device of the model; integers, which are labels, stay where they are."""
    is_float = is_array(targets) and targets.dtype.kind == "f"
    return Tensor(targets).to(model.device).data if is_float else targets


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
