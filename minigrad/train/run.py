"""The state of a training run: all that its next iteration depends on, saved and restored to the last bit.

Next: :mod:`minigrad.train.loop`.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minigrad.arguments import expect, integer, number, with_keys
from minigrad.data import DataLoader
from minigrad.data.dataset import Batch
from minigrad.nn import Module
from minigrad.optim import Optimizer, Schedule
from minigrad.train.checkpoint import load, save
from minigrad.train.diagnose import names_not_finite
from minigrad.train.report import Record

#: What is summed over the batches between two records: counts of images and of wrong answers, losses, seconds.
SUMS = ("images", "loss", "wrong", "waited", "worked")

#: Settings that earlier versions did not save: where a checkpoint lacks them, they are taken to be the same.
LATER = ("shuffle", "evaluate_on_images")


class Run:
    """A training run between two iterations.

    Attributes
    ----------
    iteration : int
        The number of iterations that are done.
    history : list of records
    sums : dict of floats
        Sums over the batches since the last record.
    lr : float
        The learning rate of the last iteration.
    generators : dict of numpy Generators
        By name, the Generators that the layers draw from, such as those of dropout.
    config : dict
        Other settings that the run depends on, as JSON returns them. Only a run with equal settings is resumed.
    """

    def __init__(
        self,
        model: Module,
        batches: DataLoader,
        sets: Mapping[str, DataLoader],
        optimizer: Optimizer,
        schedule: Schedule | None,
        config: Mapping[str, object] | None,
    ) -> None:
        own = set(model.parameters())
        strange = sum(p not in own for group in optimizer.groups for p in group["params"])
        expect(not strange, "fit", "an optimizer of this model's parameters", f"{strange} of another model")
        fits = schedule is None or schedule.optimizer is optimizer
        expect(fits, "fit", "a schedule of this optimizer", "one of another optimizer")
        self.model, self.batches, self.sets, self.optimizer, self.schedule = model, batches, sets, optimizer, schedule
        self.parameters, self.generators = dict(model.named_parameters()), dict(_named_generators(model))
        facts = {"batch_size": batches.batch_size, "images": len(batches.dataset), "evaluate_on": list(sets)}
        facts |= {"schedule": type(schedule).__name__, "generators": list(self.generators)}
        facts |= {"shuffle": batches.shuffle, "evaluate_on_images": [len(loader.dataset) for loader in sets.values()]}
        self.config: dict[str, object] = json.loads(json.dumps(facts | dict(config or {})))
        self.history: list[Record] = []
        self.iteration, self.lr, self.sums = 0, optimizer.lr, dict.fromkeys(SUMS, 0.0)
        self.start = self.arrival = time.perf_counter()

    # One iteration ---------------------------------------------------------------------------

    def epoch(self) -> Iterator[Batch]:
        """Yield the batches of an epoch, and measure the time spent waiting for them."""
        asked = time.perf_counter()
        for batch in self.batches:
            self.arrival = time.perf_counter()
            self.sums["waited"] += self.arrival - asked
            yield batch
            asked = time.perf_counter()

    def advance(self, images: int, loss: float, wrong: int) -> None:
        """Count an iteration: its number of images, its mean loss and its number of wrong answers."""
        self.iteration, self.lr = self.iteration + 1, self.optimizer.lr
        self.sums["images"] += images
        self.sums["loss"] += loss * images
        self.sums["wrong"] += wrong
        self.sums["worked"] += time.perf_counter() - self.arrival

    def record(self, evaluations: Mapping[str, tuple[float, float]]) -> Record:
        """Return what was measured since the last record, with loss and error on each set, and reset the sums."""
        sums, self.sums = self.sums, dict.fromkeys(SUMS, 0.0)
        record: Record = {
            "epoch": -(-self.iteration // len(self.batches)),
            "iteration": self.iteration,
            "lr": self.lr,
            "loss": sums["loss"] / sums["images"],
            "batch_error": sums["wrong"] / sums["images"],
        }
        for name, (loss, error) in evaluations.items():
            record[f"{name}_loss"], record[f"{name}_error"] = loss, error
        training = sums["waited"] + sums["worked"]
        record["seconds"] = time.perf_counter() - self.start
        record["images_per_second"] = sums["images"] / training
        record["loader_share"] = sums["waited"] / training
        return record

    # Its state -------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, object]:
        """Return all that the next iteration depends on, and the history."""
        return {
            "config": self.config,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict() if self.schedule is not None else None,
            "batches": self.batches.state_dict(),
            "sets": {name: loader.state_dict() for name, loader in self.sets.items()},
            "generators": self.generator_states(),
            "iteration": self.iteration,
            "seconds": time.perf_counter() - self.start,
            "since": self.sums,
            "history": self.history,
        }

    def save(self, path: Path) -> None:
        """Write a checkpoint, unless a parameter is not finite: then the previous checkpoint is left in place."""
        if names := names_not_finite((name, p.data) for name, p in self.parameters.items()):
            raise FloatingPointError(
                f"fit: {names} is not finite after {self.iteration} iterations; {path} was left as it was"
            )
        save(path, self.state_dict())

    def load(self, path: Path) -> None:
        """Restore the state from a checkpoint, if all of it belongs to this run; otherwise nothing is changed."""
        tree, mine = load(path), self.state_dict()
        if not isinstance(tree, dict) or tree.keys() != mine.keys() or not isinstance(tree["config"], dict):
            raise ValueError(f"fit: {path} is no checkpoint of a training run, which has {', '.join(mine)}")
        try:
            expect(isinstance(tree["generators"], dict), "fit", "generators by name", f"{tree['generators']!r:.80}")
            tree["generators"] = self.model.at_present(tree["generators"], self.generators)
            tree["optimizer"] = self.optimizer.at_present(tree["optimizer"])
            was, now = tree["config"] | {"generators": list(tree["generators"])}, self.config
            was = {name: now[name] for name in LATER if name not in was} | was
            if was == now:
                self._check(tree)
                was, now = _settings(tree), _settings(mine)
        except (ValueError, TypeError) as error:
            raise ValueError(f"fit: {path} cannot be resumed: {error}") from error
        if was != now:
            differ = [k for k in sorted(was | now) if was.get(k) != now.get(k)]
            listed = ", ".join(f"{k} was {was.get(k)!r}, is {now.get(k)!r}" for k in differ)
            raise ValueError(f"fit: {path} is of another run: {listed}; give the same settings, or begin anew")
        for part, state in self._parts(tree):
            part.load_state_dict(state)
        self.set_generator_states(tree["generators"])
        self.iteration, self.history = int(tree["iteration"]), tree["history"]
        self.sums = {name: float(tree["since"][name]) for name in SUMS}
        self.start = time.perf_counter() - float(tree["seconds"])

    def _parts(self, tree: Mapping[str, Any]) -> list[tuple[Any, Any]]:
        """Return what has a state of its own, each with its state in a checkpoint."""
        parts = [(self.model, tree["model"]), (self.optimizer, tree["optimizer"]), (self.batches, tree["batches"])]
        parts += [] if self.schedule is None else [(self.schedule, tree["schedule"])]
        return parts + [(loader, tree["sets"][name]) for name, loader in self.sets.items()]

    def _check(self, tree: Mapping[str, Any]) -> None:
        """Refuse a checkpoint in which any part is not what this run would save."""
        with_keys("fit", "sets", tree["sets"], self.sets)
        for part, state in self._parts(tree):
            part.check_state_dict(state)
        for name, rng in self.generators.items():
            try:
                copy.deepcopy(rng.bit_generator).state = tree["generators"][name]
            except Exception as error:  # NumPy raises many kinds
                raise ValueError(f"fit: expected a state of {name}, got one that NumPy refuses: {error!r}") from error
        integer("fit", "iteration", tree["iteration"], least=0)
        with_keys("fit", "since", tree["since"], SUMS)
        for name, value in (tree["since"] | {"seconds": tree["seconds"]}).items():
            number("fit", name, value)
        for record in tree["history"] if isinstance(tree["history"], list) else [tree["history"]]:
            numbers = isinstance(record, dict) and all(isinstance(value, int | float) for value in record.values())
            expect(numbers and "iteration" in record, "fit", "records of numbers by name", f"{record!r:.80}")

    def generator_states(self) -> dict[str, Mapping[str, object]]:
        """Return the states of all Generators, by name."""
        return {name: rng.bit_generator.state for name, rng in self.generators.items()}

    def set_generator_states(self, states: Mapping[str, Mapping[str, object]]) -> None:
        """Put all Generators into these states."""
        for name, rng in self.generators.items():
            rng.bit_generator.state = states[name]


def _settings(tree: Mapping[str, Any]) -> dict[str, object]:
    """Return the settings in the states of a checkpoint's parts, by name."""
    seeds = {"seed": tree["batches"]["seed"]} | {f"seed of {name}": s["seed"] for name, s in tree["sets"].items()}
    groups = enumerate(tree["optimizer"]["groups"])
    return seeds | {
        f"{name} of group {i}": value for i, group in groups for name, value in group.items() if name != "lr"
    }


def _named_generators(model: Module) -> Iterator[tuple[str, np.random.Generator]]:
    """Yield the Generators in the attributes of all layers, also those in lists, each with its name."""
    for path, module in model.named_modules():
        for name, rng in module._attributes():
            if isinstance(rng, np.random.Generator):
                yield f"{path}.{name}" if "." in name else f"{path}.{name}.0", rng
