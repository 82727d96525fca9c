"""Resuming from a checkpoint that somebody edited: what is wrong is named, and nothing is changed."""

import copy
import math
import signal

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim
from minigrad.data import DataLoader, Digits, Subset
from minigrad.train.run import Run
from minigrad.train.signals import stop_requests
from tests.train.test_train import Job, assert_same


class Small:
    """A run with everything that has a state, two groups of parameters, and nested schedules."""

    def __init__(self, seed=5, n=24, momentum=0.9, shuffle=True, held_out=10, **group):
        self.net = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 4, rng=0), nn.BatchNorm2d(4), nn.Dropout(0.5, rng=3), nn.Linear(4, 10, rng=1)
        )
        digits = Digits()
        self.batches = DataLoader(Subset(digits, range(n)), 8, rng=seed if shuffle else None)
        self.sets = {"test": DataLoader(Subset(digits, range(100, 100 + held_out)), 8)}
        parameters = list(self.net.parameters())
        self.sgd = optim.SGD([{"params": parameters[:2]} | group, {"params": parameters[2:]}], 0.1, momentum)
        within = optim.WarmupUntil(optim.ReduceOnPlateau(self.sgd))
        self.schedule = optim.Warmup(within, 4)
        self.run = Run(self.net, self.batches, self.sets, self.sgd, self.schedule, ["error"], {"depth": 3})

    def go(self):
        """Take a step, and write a record."""
        for images, labels in self.run.epoch():
            mg.cross_entropy(self.net(mg.Tensor(images)), labels).backward()
            self.sgd.step()
            self.run.advance(8, 2.0, {"error": 3.0})
            self.schedule.observe(batch_error=0.5)
            self.schedule.step()
            break
        self.run.history.append(self.run.record({"test": {"loss": 2.0, "error": 0.5}}))
        self.run.advance(8, 2.0, {"error": 3.0})
        return self

    def state(self):
        return copy.deepcopy(self.run.state_dict() | {"seconds": 0.0, "lr": self.sgd.lr})


def places(tree, path=()):
    """Yield the paths of all values in a tree of dicts and lists."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


GOOD = Small().go().state()
del GOOD["lr"]


def shape(value):
    return getattr(value, "shape", ())


#: What may stand in the place of a value, by name; deletions and additions come on top.
EDITS = {
    "None": lambda value: None,
    "-5": lambda value: -5,
    "20.5": lambda value: 20.5,
    "text": lambda value: "abc",
    "list": lambda value: [],
    "dict": lambda value: {},
    "nan": lambda value: math.nan,
    "true": lambda value: True,
    "bytes": lambda value: np.ones(shape(value), np.int8),
    "strings": lambda value: np.full(shape(value), "1.0").tolist(),
    "other shape": lambda value: np.ones((3, 3)),
    "within a list": lambda value: [value],
}


def at(tree, path):
    for key in path:
        tree = tree[key]
    return tree


def resume(tree, tmp_path, monkeypatch):
    """Return the error of resuming, or None, after a check that with an error nothing was changed."""
    small = Small()
    before = small.state()
    monkeypatch.setattr("minigrad.train.run.load", lambda path: copy.deepcopy(tree))  # without the disk
    try:
        small.run.load(tmp_path / "x")
    except ValueError as error:
        assert_same(small.state(), before)
        return str(error)
    return None


#: What else is accepted: no velocity, another name of a figure, and what stands twice in a checkpoint.
ACCEPTED = {(("optimizer", "velocity"), "None"), ("schedule", "figure", "text"), ("schedule", "figure", "strings")}
ACCEPTED |= {("schedule", "best", "-5")}
ACCEPTED |= {
    (("config", name), "deleted") for name in ("shuffle", "evaluate_on_images", "metrics", "optimizer")
}  # as in earlier versions
ACCEPTED |= {(("config", "generators"), name) for name in [*EDITS, "deleted"]}
#: Records are any numbers by name; what NumPy takes for the state of a Generator is its own affair.
FREE = ("history", "generators")


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("part", GOOD)
def test_an_edited_checkpoint_is_refused_or_resumed_and_never_half_loaded(part, step, tmp_path, monkeypatch):
    """Every value is deleted, and replaced by each of a dozen others. An error names the file."""
    assert resume(GOOD, tmp_path, monkeypatch) is None
    edits = [*EDITS.items(), ("deleted", None)]
    cases = [(path, name, edit) for path in [(part,), *places(GOOD[part], (part,))] for name, edit in edits]
    for path, name, edit in cases[::step]:
        value, tree = at(GOOD, path), copy.deepcopy(GOOD)
        above = at(tree, path[:-1])
        if edit is None:
            del above[path[-1]]
        else:
            above[path[-1]] = edit(value)
        message = resume(tree, tmp_path, monkeypatch)
        where = f"{path}: {name}"
        if message is not None:
            assert message.startswith(f"fit: {tmp_path / 'x'} "), where
            continue
        new = None if edit is None else edit(value)
        numbers = isinstance(new, int | float | np.ndarray) and np.asarray(new).dtype.kind in "biuf"
        fits = shape(new) == shape(value) and (new is value or (numbers and np.min(new) >= 0))
        assert fits or (path[:2], name) in ACCEPTED or (path[0], path[-1], name) in ACCEPTED or part in FREE, where


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("iteration",), -5, "expected iteration to be an int of at least 0, got -5"),
        (("iteration",), 20.5, "expected iteration to be an int of at least 0, got 20.5"),
        (("optimizer", "groups", 0, "momentum"), 5, "SGD: expected a number with 0 <= momentum < 1, got 5"),
        (("optimizer", "groups", 0, "params"), [], "SGD: expected a group with .*, got .*'params'"),
        (("optimizer", "velocity", 0), np.ones((64, 4), np.int8), "expected velocity of float32 .*, got int8"),
        (("model", "1.bias"), ["1.0"] * 4, r"(?s:.*)1.bias: expected numbers for float32, got <U3"),
        (("model", "1.bias"), "text", r"(?s:.*)1.bias: expected shape \(4,\), got \(\)"),
        (("schedule", "schedule", "done"), "yes", "WarmupUntil: expected done to be True or False"),
        (("generators", "3.rng.0"), {}, "expected a state of 3.rng.0, got one that NumPy refuses"),
        (("generators", "3.rng.0", "bit_generator"), "MT19937", "expected a state of 3.rng.0"),
        (("since", "images"), math.nan, "expected a finite number with images >= 0"),
        (("history",), [3], "expected records of numbers by name, got 3"),
        (("batches",), [1, 2, 3], "DataLoader.load_state_dict: expected integers"),
        (("sets",), {}, r"expected sets with \['test'\], got \[\]"),
    ],
)
def test_what_is_wrong_in_a_checkpoint_is_named(path, value, message, tmp_path):
    tree = copy.deepcopy(GOOD)
    at(tree, path[:-1])[path[-1]] = value
    mg.save(tmp_path / "run", tree)
    small = Small()
    before = small.state()
    with pytest.raises(ValueError, match=rf"^fit: .*run cannot be resumed: .*{message}"):
        small.run.load(tmp_path / "run")
    assert_same(small.state(), before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": 23}, "images was 24, is 23"),
        ({"held_out": 9}, r"evaluate_on_images was \[10\], is \[9\]"),
        ({"seed": 6}, "seed was 5, is 6"),
        ({"shuffle": False}, "shuffle was True, is False"),
        ({"momentum": 0.5}, "momentum of group 0 was 0.9, is 0.5, momentum of group 1 was 0.9, is 0.5"),
        ({"weight_decay": 0.5}, "weight_decay of group 0 was 0.0, is 0.5;"),
        ({"nesterov": True}, "nesterov of group 0 was False, is True;"),
    ],
)
def test_another_setting_is_named(change, message, tmp_path):
    Small().go().run.save(tmp_path / "run")
    small = Small(**change)
    before = small.state()
    with pytest.raises(ValueError, match=rf"^fit: .*run is of another run: {message}"):
        small.run.load(tmp_path / "run")
    assert_same(small.state(), before)


def test_a_checkpoint_of_an_earlier_version_lacks_some_settings(tmp_path):
    tree = copy.deepcopy(GOOD)
    for name in ("shuffle", "evaluate_on_images", "metrics", "optimizer"):
        del tree["config"][name]
    for group in tree["optimizer"]["groups"]:
        del group["lr"], group["lr_factor"]
    tree["since"]["wrong"] = tree["since"].pop("batch_error")
    mg.save(tmp_path / "run", tree)
    small = Small()
    small.run.load(tmp_path / "run")
    assert_same(small.state() | {"seconds": 0.0, "lr": None}, GOOD | {"lr": None})


def test_the_rate_and_the_schedule_are_those_of_the_checkpoint(tmp_path):
    """A schedule has changed the rate: that of a program which begins is another one, and no mistake."""
    Small().go().run.save(tmp_path / "run")
    small = Small()
    small.sgd.lr, small.schedule.iterations = 7.0, 9
    small.run.load(tmp_path / "run")
    assert (small.sgd.lr, small.schedule.iterations) == (GOOD["optimizer"]["lr"], 4)


def test_an_optimizer_of_another_net_is_refused():
    """It would have trained the other one, on gradients that never come."""
    small, other = Small(), Small()
    both = optim.SGD([*small.net.parameters(), *other.net.parameters()], 0.1)
    for sgd, count in ((other.sgd, 6), (both, 6)):
        with pytest.raises(ValueError, match=f"^fit: expected an optimizer of this model's parameters, got {count} of"):
            mg.train.fit(small.net, small.batches, optimizer=sgd, iterations=1)
    head = optim.SGD(small.net[4].parameters(), 0.1)  # some of them: fine-tuning
    mg.train.fit(small.net, small.batches, optimizer=head, iterations=1)


def test_a_schedule_of_another_optimizer_is_refused():
    small, other = Small(), Small()
    with pytest.raises(ValueError, match="^fit: expected a schedule of this optimizer, got one of another optimizer"):
        mg.train.fit(small.net, small.batches, optimizer=small.sgd, schedule=other.schedule, iterations=1)


class Branches(nn.Module):
    """Dropout and Generators in lists, one of them named as the list of a Sequential; and a list in a list."""

    def __init__(self, bits):
        rng = [np.random.Generator(bits(seed)) for seed in range(4)]
        self.layers = [nn.Dropout(0.5, rng=rng[0]), nn.Linear(64, 10, rng=0)]
        self.sources = [[rng[1]], (rng[2], [nn.Dropout(0.5, rng=rng[3])])]

    def forward(self, x):
        for layer in (self.sources[1][1][0], *self.layers):
            x = layer(x)
        return x


@pytest.mark.parametrize("bits", [np.random.PCG64, np.random.MT19937, np.random.Philox, np.random.SFC64])
def test_layers_that_draw_in_lists_are_resumed(bits, tmp_path):
    """From Generators of any kind.

    A list named `layers` was taken for that of a Sequential of earlier versions: a run refused its checkpoint.
    """

    def fit(iterations, **options):
        net = nn.Sequential(nn.Flatten(), Branches(bits))
        batches = DataLoader(Subset(Digits(), range(24)), 8, rng=5)
        mg.train.fit(net, batches, optimizer=optim.SGD(net.parameters(), 0.1), iterations=iterations, **options)
        return [
            net.state_dict(),
            [rng.bit_generator.state for rng in (net[1].layers[0].rng, net[1].sources[1][1][0].rng)],
        ]

    fit(4, checkpoint=mg.train.Checkpoint(tmp_path / "run"))
    names = ["1.sources.0.0", "1.sources.1.0", "1.layers.0.rng.0", "1.sources.1.1.0.rng.0"]
    assert sorted(mg.load(tmp_path / "run")["generators"]) == sorted(names)
    assert_same(fit(7, checkpoint=mg.train.Checkpoint(tmp_path / "run", resume=True)), fit(7))


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_stops_at_once_whichever_it_is(first, second):
    """Ctrl-C and then a `kill` was noted twice, and obeyed by neither."""

    def ended(*_):
        raise ZeroDivisionError

    before = {number: signal.signal(number, ended) for number in {first, second}}
    try:
        with pytest.raises(ZeroDivisionError), stop_requests(True) as request:  # noqa: PT012
            signal.raise_signal(first)
            assert request.received == first
            signal.raise_signal(second)
            pytest.fail("the second signal was only noted")
        assert request.received == first
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_the_settings_of_a_job_are_compared(tmp_path):
    """Of the job with everything, as fit does it: the seed of its test set, too."""
    Job(tmp_path).fit(iterations=3)
    job = Job(tmp_path)
    job.sets = {"test": DataLoader(Subset(Digits(), range(100, 160)), 32, rng=7)}
    with pytest.raises(ValueError, match="is of another run: seed of test was 6, is 7; give the same settings"):
        job.fit(resume=True)


@pytest.mark.parametrize("name", sorted(GOOD["config"].keys() - {"depth"}))
def test_a_setting_of_config_may_have_the_name_of_one_of_fits_own(name, tmp_path):
    """It is saved and compared as any other, and so is fit's own."""

    def run(value):
        small = Small()
        return Run(small.net, small.batches, small.sets, small.sgd, small.schedule, ["error"], {name: value})

    first = run("sharp")
    own = Small().run.config[name]
    first.save(tmp_path / "run")
    run("sharp").load(tmp_path / "run")
    saved = mg.load(tmp_path / "run")["config"]
    assert (saved[name], saved[f"config['{name}']"]) == (own, "sharp")
    with pytest.raises(ValueError, match=rf"is of another run: config\['{name}'\] was 'sharp', is 'blurred'; give"):
        run("blurred").load(tmp_path / "run")


def test_a_setting_of_config_does_not_hide_what_fit_compares(tmp_path):
    def job(images):
        job = Job(tmp_path)
        job.batches = DataLoader(Subset(Digits(), range(images)), 8, rng=5)
        return job

    job(96).fit(iterations=3, config={"images": "digits"})
    with pytest.raises(ValueError, match="is of another run: images was 96, is 64; give"):
        job(64).fit(resume=True, config={"images": "digits"})
