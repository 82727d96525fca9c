"""The state of a training run: all that its next iteration depends on, saved and restored to the last bit.

Next: :mod:`minigrad.train.loop`.
"""

from __future__ import annotations

import copy
import json
import math
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minigrad.arguments import expect, file, flag, integer, number, with_keys
from minigrad.checked import named
from minigrad.data import DataLoader
from minigrad.data.dataset import Batch
from minigrad.distributed import Shards, split
from minigrad.nn import Module
from minigrad.optim import Optimizer, Schedule
from minigrad.train.checkpoint import _extract_arrays, load, save
from minigrad.train.diagnose import names_not_finite
from minigrad.train.report import Record

#: What is summed over the batches between two records: the count of images, losses, seconds. Metrics are added to it.
SUMS = ("images", "loss", "waited", "worked")

#: Settings that earlier versions did not save: where a checkpoint lacks them, they are taken to be the same.
LATER = ("shuffle", "evaluate_on_images", "metrics", "optimizer")


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
        metrics: list[str],
        config: Mapping[str, object],
    ) -> None:
        expect(hasattr(optimizer, "groups"), "fit", "an optimizer that calls super().__init__(params, lr)", "none")
        own = set(model.parameters())
        strange = sum(p not in own for group in optimizer.groups for p in group["params"])
        expect(not strange, "fit", "an optimizer of this model's parameters", f"{strange} of another model")
        fits = schedule is None or schedule.optimizer is optimizer
        expect(fits, "fit", "a schedule of this optimizer", "one of another optimizer")
        self.model, self.batches, self.sets, self.optimizer, self.schedule = model, batches, sets, optimizer, schedule
        self.parameters, self.generators = dict(model.named_parameters()), dict(model.named_generators())
        for loader in (batches, *sets.values()):
            loader._end_running_loop()  # in a state, the rest of an epoch that was left early would still be to come
        facts = {"batch_size": batches.batch_size, "images": len(batches.dataset), "evaluate_on": list(sets)}
        facts |= {"schedule": type(schedule).__name__, "generators": list(self.generators)}
        facts |= {"shuffle": batches.shuffle, "evaluate_on_images": [len(loader.dataset) for loader in sets.values()]}
        facts |= {"metrics": metrics, "optimizer": type(optimizer).__name__}
        settings = {f"config[{name!r}]" if name in facts else name: value for name, value in config.items()}
        self.config: dict[str, object] = json.loads(json.dumps(facts | settings))
        self.history: list[Record] = []
        self.iteration, self.lr = 0, optimizer.lr
        self.sums = dict.fromkeys([*SUMS, *(f"batch_{name}" for name in metrics)], 0.0)
        self.start = self.arrival = time.perf_counter()

    # One iteration ---------------------------------------------------------------------------

    def epoch(self, shards: int | None = None) -> Iterator[Batch | Shards]:
        """Yield the batches of an epoch, or the shards of each, and measure the time spent waiting for them."""
        asked = time.perf_counter()
        for batch in self.batches if shards is None else split(self.batches, shards):
            self.arrival = time.perf_counter()
            self.sums["waited"] += self.arrival - asked
            yield batch
            asked = time.perf_counter()

    def advance(self, images: int, loss: float, sums: Mapping[str, float]) -> None:
        """Count an iteration: its number of images, its mean loss, and the sums of the metrics over its images."""
        self.iteration, self.lr = self.iteration + 1, self.optimizer.lr
        self.sums["images"] += images
        self.sums["loss"] += loss * images
        for name, value in sums.items():
            self.sums[f"batch_{name}"] += value
        self.sums["worked"] += time.perf_counter() - self.arrival

    def at_record(self) -> bool:
        """Whether the last iteration has a record."""
        return bool(self.history) and self.history[-1]["iteration"] == self.iteration

    def record(self, evaluations: Mapping[str, Mapping[str, float]]) -> Record:
        """Return what was measured since the last record, with the means on each set, and reset the sums."""
        sums, self.sums = self.sums, dict.fromkeys(self.sums, 0.0)
        record: Record = {
            "epoch": -(-self.iteration // len(self.batches)),
            "iteration": self.iteration,
            "lr": self.lr,
            **{name: total / sums["images"] for name, total in sums.items() if name == "loss" or name not in SUMS},
        }
        for name, means in evaluations.items():
            record |= {f"{name}_{key}": mean for key, mean in means.items()}
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
            if isinstance(tree["since"], dict) and "wrong" in tree["since"]:  # an earlier version's only metric
                tree["since"]["batch_error"] = tree["since"].pop("wrong")
            was, now = tree["config"], self.config
            was = was | {"generators": list(tree["generators"])}
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
        self.restore(tree)

    def restore(self, tree: Mapping[str, Any]) -> None:
        """Continue from a state of this run, as :meth:`state_dict` returns it."""
        for part, state in self._parts(tree):
            part.load_state_dict(state)
        self.set_generator_states(tree["generators"])
        self.iteration, self.history = int(tree["iteration"]), tree["history"]
        self.sums = {name: float(tree["since"][name]) for name in self.sums}
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
        with_keys("fit", "since", tree["since"], self.sums)
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


class Checkpoint:
    """The file that a run is resumed from, and when it is written: for :func:`fit`.

    Beside the times given by `every`, the file is written at the end, and when SIGINT (Ctrl-C) or SIGTERM asks the
    process to stop, after the iteration that is under way. A second signal stops it at once.

    Parameters
    ----------
    path : Path
        By convention ends in ``.safetensors``.
    every : float
        The minutes between two writes.
    resume : bool
        Resume the run from the file, bit-exactly; begin anew if there is none yet. The learning rates and the settings
        of the schedule are then those of the file. Other settings of the optimizer, the names of the metrics, the seeds
        of the loaders, and the sizes of the sets must be those of the file.
    config : dict, optional
        Other settings that the run depends on, as JSON can hold them. They are saved in the file; only a run with the
        same `config` is resumed.

    Raises
    ------
    ValueError, TypeError
        If `every` is no number of at least 0, `resume` no bool, or `path` no path.

    Examples
    --------
    >>> import tempfile
    >>> import minigrad as mg
    >>> from minigrad import train
    >>> def run(epochs):
    ...     net = mg.nn.Sequential(mg.nn.Flatten(), mg.nn.Linear(64, 10, rng=0))
    ...     adam = mg.optim.Adam(net.parameters())
    ...     batches = mg.data.DataLoader(mg.data.Digits(), 128, rng=0)
    ...     checkpoint = train.Checkpoint(path, every=5.0, resume=True)
    ...     return train.fit(net, batches, optimizer=adam, epochs=epochs, checkpoint=checkpoint)
    >>> path = Path(tempfile.mkdtemp()) / "run.safetensors"
    >>> _ = run(2)
    >>> [record["epoch"] for record in run(3)]
    [1, 2, 3]
    """

    @named
    def __init__(
        self,
        path: str | Path,
        every: float = 10.0,
        resume: bool = False,
        config: Mapping[str, object] | None = None,
    ) -> None:
        self.path, self.resume = file("Checkpoint", path), flag("Checkpoint", "resume", resume)
        self.every, self.config = number("Checkpoint", "every", every, most=math.inf), dict(config or {})

    def begin(self, run: Run) -> None:
        """Load the file into a run, if there is one; refuse a run that could not be saved."""
        try:
            _extract_arrays(run.state_dict(), "", {})
        except TypeError as error:
            raise TypeError(f"fit: {self.path} could not hold this run: {error}") from error
        if self.path.exists():
            if not self.resume:
                raise FileExistsError(
                    f"fit: {self.path} is there already; resume it (resume=True), or delete it to begin anew"
                )
            run.load(self.path)


def facts(run: Run) -> dict[str, object]:
    """Return what must be equal on all processes for equal bits, each as a short text or a checksum."""
    from threadpoolctl import threadpool_info

    shapes = [(name, a.shape, a.dtype.str) for name, a in run.model.state_dict().items()]
    classes = {type(module).__module__ for _, module in run.model.named_modules()}
    files = {str(getattr(sys.modules[name], "__file__", None)) for name in ("__main__", *classes)} - {"None"}
    code = [path.read_bytes() for path in sorted(Path(__file__).parents[1].rglob("*.py"))]
    kernels = {f"{b['internal_api']} {b.get('architecture')}" for b in threadpool_info() if b["user_api"] == "blas"}
    simd = {kind["current"] for kinds in np.lib.introspect.opt_func_info().values() for kind in kinds.values()}
    data = {}
    for name, loader in {"batches": run.batches, **run.sets}.items():
        some = loader.dataset[np.linspace(0, len(loader.dataset) - 1, 32).astype(int)]
        data[f"the data of {name}"] = _checksum([np.ascontiguousarray(part).tobytes() for part in some])
    return data | {
        "NumPy's version": np.__version__,
        "the C library": " ".join(platform.libc_ver()),
        "the kernel of BLAS": ", ".join(sorted(kernels)),
        "NumPy's use of the processor": ", ".join(sorted(simd)),
        "the device": str(run.model.device),
        "the source of minigrad": _checksum(code),
        "the program": _checksum(sorted(Path(file).read_bytes() for file in files)),
        "the model": _checksum([json.dumps(shapes).encode()]),
        **run.config,
    }


def _checksum(parts: list[bytes]) -> str:
    """Return a short text that tells bytes apart."""
    import hashlib

    return hashlib.sha256(b"|".join(parts)).hexdigest()[:16]


def _settings(tree: Mapping[str, Any]) -> dict[str, object]:
    """Return the settings in the states of a checkpoint's parts, by name."""
    seeds = {"seed": tree["batches"]["seed"]} | {f"seed of {name}": s["seed"] for name, s in tree["sets"].items()}
    groups = enumerate(tree["optimizer"]["groups"])
    return seeds | {
        f"{name} of group {i}": value for i, group in groups for name, value in group.items() if name != "lr"
    }
