"""The training loop: one for all demos.

Each iteration is forward, backward, step. After every epoch the net is evaluated on the whole training and test
sets, in evaluation mode, so that both errors are those of the same net and can be compared.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from minigrad.data import DataLoader
from minigrad.device import to_host
from minigrad.nn import Module
from minigrad.ops import cross_entropy
from minigrad.optim import SGD, Schedule
from minigrad.tape import no_grad
from minigrad.tensor import Tensor


def fit(
    model: Module,
    batches: DataLoader,
    *,
    optimizer: SGD,
    schedule: Schedule | None = None,
    epochs: int,
    evaluate_on: dict[str, DataLoader],
    log: Path | None = None,
    title: str = "",
) -> list[dict[str, Any]]:
    """Train `model`, and return what was measured after each epoch.

    A progress bar is shown where the output is a terminal.

    Parameters
    ----------
    model : Module
        Maps images to logits.
    batches : DataLoader
        To train on; each epoch is one walk over it.
    optimizer : SGD
    schedule : Schedule, optional
        Stepped after each iteration.
    epochs : int
    evaluate_on : dict of DataLoaders
        The sets to evaluate on after each epoch, by name.
    log : Path, optional
        A file that gets each record as a line of JSON as soon as it is known.
    title : str
        Stands before the progress bar.

    Returns
    -------
    list of dicts
        For each epoch: epoch, iteration, lr, loss (mean over the epoch's batches), seconds since the start, and
        for each set ``NAME_loss`` and ``NAME_error`` (a share of 1).

    Raises
    ------
    FloatingPointError
        If the loss is no longer a finite number.

    Examples
    --------
    >>> import minigrad as mg
    >>> from minigrad import train
    >>> digits = mg.data.Digits()
    >>> net = mg.nn.Sequential(mg.nn.Flatten(), mg.nn.Linear(64, 10, rng=0))
    >>> sgd = mg.optim.SGD(net.parameters(), lr=0.1)
    >>> batches = mg.data.DataLoader(digits, 128, rng=0)
    >>> history = train.fit(net, batches, optimizer=sgd, epochs=5, evaluate_on={"train": batches})
    >>> history[-1]["train_error"] < 0.1
    True
    """
    from tqdm.auto import tqdm

    history: list[dict[str, Any]] = []
    start, iteration = time.perf_counter(), 0
    if log is not None:
        log.write_text("")
    # disable=None: no bar where the output is not a terminal
    with tqdm(total=epochs * len(batches), desc=title, unit="it", disable=None, leave=False) as bar:
        for epoch in range(1, epochs + 1):
            model.train()
            losses, lr = [], optimizer.lr
            for images, labels in batches:
                loss = cross_entropy(model(Tensor(images)), labels)
                losses.append(loss.item())
                lr = optimizer.lr
                if not np.isfinite(losses[-1]):
                    raise FloatingPointError(
                        f"fit: the loss became {losses[-1]} in iteration {iteration} at learning rate {lr:g}: "
                        "try a lower one, or a longer warm-up; detect_anomaly() names the operator"
                    )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if schedule is not None:
                    schedule.step()
                iteration += 1
                bar.update()
            record = {"epoch": epoch, "iteration": iteration, "lr": lr, "loss": float(np.mean(losses))}
            for name, loader in evaluate_on.items():
                record[f"{name}_loss"], record[f"{name}_error"] = evaluate(model, loader)
            record["seconds"] = time.perf_counter() - start
            bar.set_postfix({k: f"{v:.1%}" for k, v in record.items() if k.endswith("_error")})
            history.append(record)
            if log is not None:
                with log.open("a") as file:
                    file.write(json.dumps(record) + "\n")
    return history


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
    modes = [(module, module.training) for _, module in model.named_modules()]
    model.eval()
    loss, wrong, count = 0.0, 0, 0
    try:
        with no_grad():
            for images, labels in batches:
                logits = model(Tensor(images))
                loss += cross_entropy(logits, labels).item() * len(labels)
                wrong += int((logits.numpy().argmax(axis=1) != to_host(labels)).sum())
                count += len(labels)
    finally:
        for module, training in modes:
            module.training = training
    return loss / count, wrong / count
