"""The training loop: what it measures, how it stops, and that a run which was stopped goes on as if it had not been."""

import errno
import functools
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import minigrad as mg
from minigrad import nn, train
from minigrad.data import DataLoader, Digits, Subset, transforms
from minigrad.optim import SGD, CosineLR, MultiStepLR, ReduceOnPlateau, Warmup, WarmupUntil
from minigrad.train.report import read_log

ROOT = Path(__file__).parents[2]
TIMES = ("seconds", "images_per_second", "loader_share")


def setup(lr=0.1):
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10, rng=0))
    sgd = SGD(net.parameters(), lr)
    return net, sgd, DataLoader(Digits(), 128, rng=0), DataLoader(Digits(train=False), 100)


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    """Only a power cut could tell the difference."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def figures(history):
    """Return the records without what a clock measured."""
    return [{name: value for name, value in record.items() if name not in TIMES} for record in history]


# What it measures ----------------------------------------------------------------------------


def test_fit_learns_and_logs(tmp_path, capsys):
    net, sgd, batches, held_out = setup()
    history = train.fit(
        net,
        batches,
        optimizer=sgd,
        schedule=MultiStepLR(sgd, [30]),
        iterations=50,
        evaluate_on={"train": DataLoader(Digits(), 512), "test": held_out},
        log=str(tmp_path / "new" / "log.jsonl"),
        figure=str(tmp_path / "figure.png"),
        title="softmax",
    )
    assert read_log(tmp_path / "new" / "log.jsonl") == history
    assert (tmp_path / "figure.png").read_bytes()[:4] == b"\x89PNG"
    assert [(record["iteration"], record["epoch"]) for record in history] == [
        (12, 1),
        (24, 2),
        (36, 3),
        (48, 4),
        (50, 5),
    ]
    assert [record["lr"] for record in history] == [0.1, 0.1] + [pytest.approx(0.01)] * 3
    assert history[-1]["test_error"] < 0.12 < history[0]["test_error"] + 0.12
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    assert history[-1]["seconds"] > history[0]["seconds"] > 0
    assert all(record["images_per_second"] > 0 and 0 < record["loader_share"] < 1 for record in history)
    printed = capsys.readouterr()
    assert printed.out == ""
    for line, record in zip(printed.err.splitlines(), history, strict=True):  # piped: one plain line a record
        assert line.startswith(f"softmax  {record['iteration']}/50  epoch {record['epoch']}  lr ")
        assert f"test {record['test_error']:.1%} wrong" in line
    assert line.endswith("0:00:00 left")


def test_loss_and_batch_error_are_means_over_the_images_since_the_record_before():
    net, sgd, _, _ = setup()
    digits = Subset(Digits(), range(70))  # batches of 32, 32 and 6
    losses, outputs = [], []
    net.hook(lambda _, out: outputs.append(out.data))
    history = train.fit(net, DataLoader(digits, 32), optimizer=sgd, iterations=6, evaluate_every=4)
    labels = [digits[i : i + 32][1] for i in (0, 32, 64)] * 2
    losses = [mg.cross_entropy(out, label) * len(label) for out, label in zip(outputs, labels, strict=True)]
    wrong = [(out.argmax(1) != label).sum() for out, label in zip(outputs, labels, strict=True)]
    assert [record["iteration"] for record in history] == [4, 6]
    assert_allclose([r["loss"] for r in history], [sum(losses[:4]) / 102, sum(losses[4:]) / 38], rtol=1e-6)
    assert_allclose([r["batch_error"] for r in history], [sum(wrong[:4]) / 102, sum(wrong[4:]) / 38], rtol=1e-12)


def test_evaluate_counts_every_image_and_restores_the_mode():
    net, _, _, held_out = setup()
    net.layers[0].training = False
    loss, error = train.evaluate(net, held_out)
    assert [module.training for _, module in net.named_modules()] == [True, False, True]
    digits = Digits(train=False)
    logits = net(mg.Tensor(digits.images))
    assert error == pytest.approx(np.mean(logits.data.argmax(1) != digits.labels))
    assert loss == pytest.approx(mg.cross_entropy(logits, digits.labels).item(), rel=1e-6)


def test_evaluate_divides_by_the_images_that_the_loader_gives():
    """After a state was loaded, these are what was left of its epoch."""
    net, digits = setup()[0], Digits(train=False)
    loader = DataLoader(digits, 100)
    loader.load_state_dict({"seed": 0, "epoch": 2, "batch": 2})
    rest, (loss, error) = slice(200, None), train.evaluate(net, loader)
    logits = net.eval()(mg.Tensor(digits.images[rest]))
    assert error == pytest.approx(np.mean(logits.data.argmax(1) != digits.labels[rest]))
    assert loss == pytest.approx(mg.cross_entropy(logits, digits.labels[rest]).item(), rel=1e-6)
    assert train.evaluate(net, loader)[1] == pytest.approx(train.evaluate(net, DataLoader(digits, 7))[1])


def test_frozen_parts_stay_in_evaluation_mode():
    job = Job()
    conv, norm = job.net.layers[:2]
    norm.eval()
    before = norm.running_mean.data.copy(), conv.weight.data.copy()
    job.fit(iterations=7)
    assert [module.training for module in job.net.layers] == [True, False, True, True, True, True, True]
    assert_array_equal(norm.running_mean.data, before[0], strict=True)
    assert (conv.weight.data != before[1]).any()
    job.net.eval()
    train.fit(job.net, job.batches, optimizer=job.sgd, iterations=1)
    assert all(module.training for _, module in job.net.named_modules())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"iterations": 0}, "expected iterations to be an int of at least 1, got 0"),
        ({"iterations": 64e3}, r"expected iterations to be an int of at least 1, got 64000\.0"),
        ({"evaluate_every": 0}, "expected evaluate_every to be an int of at least 1, got 0"),
        ({"iterations": None}, "expected a length, either iterations or epochs, got none"),
        ({"epochs": 2}, "expected a length, either iterations or epochs, got iterations=1 and epochs=2"),
        ({"iterations": None, "epochs": 0}, "expected epochs to be an int of at least 1, got 0"),
    ],
)
def test_wrong_arguments_are_refused(change, message):
    net, sgd, batches, _ = setup()
    with pytest.raises(ValueError, match=f"^fit: {message}"):
        train.fit(net, batches, **{"optimizer": sgd, "iterations": 1} | change)


def test_the_loader_that_is_trained_on_cannot_be_evaluated_on():
    net, sgd, batches, _ = setup()
    with pytest.raises(ValueError, match="^fit: expected loaders of their own to evaluate on"):
        train.fit(net, batches, optimizer=sgd, iterations=1, evaluate_on={"train": batches})


# Stopped and resumed -------------------------------------------------------------------------


class Noise(nn.Module):
    """A layer that draws from Generators of its own, kept in a list, of another kind, and shared with the next."""

    def __init__(self, rng):
        self.sources = [np.random.Generator(np.random.MT19937(3)), rng]

    def forward(self, x):
        if not self.training:
            return x
        noise = [mg.once(lambda rng=rng: rng.standard_normal(x.shape).astype(x.dtype)) for rng in self.sources]
        return x + 0.1 * noise[0] + 0.1 * noise[1]


SCHEDULES = {
    "none": lambda o: None,
    "steps": lambda o: MultiStepLR(o, [7, 13]),
    "cosine": lambda o: CosineLR(o, 20),
    "plateau": lambda o: ReduceOnPlateau(o, patience=1, gamma=0.5),
    "warm-up": lambda o: Warmup(MultiStepLR(o, [9]), 5),
    "until": lambda o: WarmupUntil(MultiStepLR(o, [15]), error=0.99),
    "all": lambda o: Warmup(WarmupUntil(ReduceOnPlateau(o, patience=1), error=0.99), 6),
}


class Job:
    """A small run with everything that has a state: 46 images in batches of 8, six an epoch."""

    def __init__(self, folder=None, schedule="all", dtype=np.float32, nesterov=False):
        shared = np.random.default_rng(9)
        self.net = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1, rng=0, dtype=dtype),
            nn.BatchNorm2d(4, dtype=dtype),
            nn.ReLU(),
            nn.Dropout(0.2, rng=shared),
            nn.Flatten(),
            Noise(shared),
            nn.Linear(256, 10, rng=1, dtype=dtype),
        )
        digits = Digits()
        digits.images = digits.images.astype(dtype)
        augment = transforms.Compose([transforms.RandomCrop(8, padding=1), transforms.RandomHorizontalFlip()])
        self.batches = DataLoader(Subset(digits, range(46)), 8, rng=5, transform=augment)
        # shuffled and augmented: foolish, but then its position belongs to the run, too
        self.sets = {"test": DataLoader(Subset(digits, range(100, 160)), 32, rng=6, transform=augment)}
        groups = [{"params": [self.net.layers[0].weight], "momentum": 0.5}, {"params": list(self.net.parameters())[1:]}]
        self.sgd = SGD(groups, lr=0.05, weight_decay=1e-3, nesterov=nesterov)
        self.schedule = SCHEDULES[schedule](self.sgd)
        self.folder = folder
        self.history = None

    def fit(self, iterations=20, every=10.0, resume=False, config=None, **options):
        settings = {"evaluate_every": 4, "evaluate_on": self.sets, "optimizer": self.sgd, "schedule": self.schedule}
        if self.folder is not None:
            saved = train.Checkpoint(self.folder / "run.safetensors", resume=resume, config=config)
            saved.every = every
            settings |= {"log": self.folder / "log.jsonl", "checkpoint": saved}
        self.history = train.fit(self.net, self.batches, iterations=iterations, **settings | options)
        return self

    def at(self, iteration, action):
        """Do something in the middle of the forward pass of an iteration."""
        count = iter(range(iteration + 1))
        self.net.hook(lambda net, _: net.training and next(count, None) == iteration and action())
        return self

    def state(self):
        rngs = [rng.bit_generator.state for rng in self.net.layers[5].sources]
        schedule = None if self.schedule is None else self.schedule.state_dict()
        loaders = [self.batches.state_dict(), self.sets["test"].state_dict()]
        return {
            "net": self.net.state_dict(),
            "optimizer": self.sgd.state_dict(),
            "rest": [rngs, schedule, loaders, self.sgd.lr, figures(self.history)],
        }


def assert_same(got, expected):
    """Compare two states to the bit."""
    assert type(got) is type(expected)
    if isinstance(expected, dict):
        assert got.keys() == expected.keys()
        for key in expected:
            assert_same(got[key], expected[key])
    elif isinstance(expected, list):
        assert len(got) == len(expected)
        for a, b in zip(got, expected, strict=True):
            assert_same(a, b)
    elif isinstance(expected, np.ndarray):
        assert_array_equal(got, expected, strict=True)
    else:
        assert got == expected


def assert_resumes(folder, expected, **settings):
    """Go on with a new net from what is on the disk, to where the run that was never stopped came."""
    job = Job(folder, **settings).fit(resume=True)
    assert_same(job.state(), expected)
    assert read_log(folder / "log.jsonl") == job.history
    seconds = [record["seconds"] for record in job.history]
    assert seconds == sorted(seconds)
    left = [name for name in os.listdir(folder) if not name.endswith(".part")]  # by a run that was killed
    assert sorted(left) == ["log.jsonl", "run.safetensors"]


@functools.cache
def uninterrupted(schedule="all", dtype=np.float32, nesterov=False):
    return Job(schedule=schedule, dtype=dtype, nesterov=nesterov).fit().state()


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("stop", range(20))
def test_a_run_resumes_bit_exactly_from_any_iteration(tmp_path, stop, capsys):
    """In an epoch, at its end (6, 12, 18), at a record (every 4), around each change of the rate, at the end."""
    with pytest.raises(KeyboardInterrupt):
        Job(tmp_path).at(stop, interrupt).fit()
    assert f"stopped by SIGINT after {stop + 1} iterations; resume it from {tmp_path}" in capsys.readouterr().err
    assert mg.load(tmp_path / "run.safetensors")["iteration"] == stop + 1
    assert_resumes(tmp_path, uninterrupted())


@pytest.mark.parametrize("dtype", [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_run_resumes_bit_exactly_under_every_schedule(tmp_path, schedule, dtype):
    settings = {"schedule": schedule, "dtype": dtype, "nesterov": schedule == "steps"}
    expected = uninterrupted(**settings)
    for stop in (5, 7, 11) if dtype == np.float64 else (8, 14):
        folder = tmp_path / str(stop)
        with pytest.raises(KeyboardInterrupt):
            Job(folder, **settings).at(stop, interrupt).fit()
        assert_resumes(folder, expected, **settings)
    rates = {record["lr"] for record in expected["rest"][-1]}
    assert (len(rates) > 1) == (schedule != "none")  # it did do something


def test_a_run_stopped_after_every_iteration_resumes_bit_exactly_on_one_thread_or_two(tmp_path, capsys):
    threads = mg.get_num_threads()
    expected = uninterrupted()
    try:
        for i in range(19):
            mg.set_num_threads(1 + i % 2)
            with pytest.raises(KeyboardInterrupt):
                Job(tmp_path).at(0, interrupt).fit(resume=True)
            assert mg.load(tmp_path / "run.safetensors")["iteration"] == i + 1
            assert f"stopped by SIGINT after {i + 1} iterations; resume it from " in capsys.readouterr().err
        assert_resumes(tmp_path, expected)
    finally:
        mg.set_num_threads(threads)


def test_the_same_objects_can_resume(tmp_path):
    """As in a notebook: interrupt the cell, and run it again."""
    job = Job(tmp_path).at(9, interrupt)
    with pytest.raises(KeyboardInterrupt):
        job.fit()
    assert_same(job.fit(resume=True).state(), uninterrupted())


def test_resuming_a_finished_run_does_nothing(tmp_path):
    first = Job(tmp_path).fit()
    (tmp_path / "log.jsonl").unlink()
    written = (tmp_path / "run.safetensors").stat().st_mtime_ns
    again = Job(tmp_path)
    again.at(0, lambda: pytest.fail("it trained")).fit(resume=True)
    assert_same(again.state(), first.state())
    assert again.history == first.history == read_log(tmp_path / "log.jsonl")
    assert (tmp_path / "run.safetensors").stat().st_mtime_ns == written


def test_a_run_can_be_made_longer(tmp_path):
    Job(tmp_path).fit(iterations=8)
    assert_resumes(tmp_path, uninterrupted())


def test_resuming_without_a_checkpoint_begins_anew(tmp_path):
    assert_same(Job(tmp_path).fit(resume=True).state(), uninterrupted())


def test_a_checkpoint_is_not_overwritten_without_resume(tmp_path):
    """Who forgets to resume and presses Ctrl-C would else have lost it."""
    Job(tmp_path).fit(iterations=8)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(FileExistsError, match=r"fit: .*run.safetensors is there already; resume it"):
        Job(tmp_path).fit(iterations=8)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_checkpoints_are_written_by_the_clock(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr("minigrad.train.run.save", lambda path, tree: saved.append(tree["iteration"]))
    Job(tmp_path).fit(every=0)
    assert saved == list(range(1, 21))
    saved.clear()
    Job(tmp_path).fit()
    assert saved == [20]
    saved.clear()
    minutes = iter(range(100_000))  # the clock is looked at several times in an iteration, each time a minute later
    monkeypatch.setattr(time, "perf_counter", lambda: 60.0 * next(minutes))
    Job(tmp_path).fit(every=30, evaluate_every=20)
    assert len(saved) > 2
    assert len({b - a for a, b in itertools.pairwise(saved[:-1])}) <= 2


# What is not the same run --------------------------------------------------------------------


def other(**change):
    """Return a job that differs in one thing."""
    job = Job(schedule=change.pop("schedule", "all"))
    for name, value in change.items():
        setattr(job, name, value)
    return job


DIGITS = Digits()


@pytest.mark.parametrize(
    ("job", "options", "messages"),
    [
        (Job, {"config": {"lr": 0.1, "depth": 56, "new": [1]}}, ["depth was 20, is 56", "new was None, is [1]"]),
        (Job, {}, ["depth was 20, is None", "lr was 0.1, is None"]),
        (Job, {"evaluate_on": {}}, ["evaluate_on was ['test'], is []"]),
        (lambda: other(schedule="none"), {}, ["schedule was 'Warmup', is 'NoneType'"]),
        (lambda: other(schedule="cosine"), {}, ["schedule was 'Warmup', is 'CosineLR'"]),
        (lambda: other(batches=DataLoader(Subset(DIGITS, range(46)), 16)), {}, ["batch_size was 8, is 16"]),
        (lambda: other(batches=DataLoader(Subset(DIGITS, range(45)), 8)), {}, ["images was 46, is 45"]),
    ],
)
def test_another_run_is_refused_and_what_differs_is_listed(tmp_path, job, options, messages):
    Job(tmp_path).fit(iterations=3, config={"lr": 0.1, "depth": 20, "t": (1, 2)})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    job = job()
    job.folder = tmp_path
    with pytest.raises(ValueError, match="fit: .*run.safetensors is of another run: ") as info:
        job.fit(resume=True, **options)
    for message in messages:
        assert message in str(info.value)
    assert "t was (1, 2), is" not in str(info.value)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_config_with_tuples_is_recognised_after_json(tmp_path):
    config = {"sizes": (1, (2,)), "none": None, "rate": 0.1 + 0.2}
    Job(tmp_path).fit(iterations=8, config=config)
    assert_same(Job(tmp_path).fit(resume=True, config=config).state(), uninterrupted())


def test_a_checkpoint_with_the_paths_of_an_earlier_version_resumes(tmp_path):
    """Before, the paths of a Sequential's parts began with `layers.`: those of arrays, and those of Generators."""
    Job(tmp_path).fit(iterations=8)
    path = tmp_path / "run.safetensors"
    tree = mg.load(path)
    tree["model"] = {f"layers.{name}": array for name, array in tree["model"].items()}
    tree["generators"] = {f"layers.{name}": state for name, state in tree["generators"].items()}
    tree["config"]["generators"] = list(tree["generators"])
    mg.save(path, tree)
    assert_resumes(tmp_path, uninterrupted())


def test_a_net_with_other_generators_is_refused(tmp_path):
    Job(tmp_path).fit(iterations=3)
    job = Job(tmp_path)
    job.net.layers[3] = nn.Identity()
    with pytest.raises(ValueError, match=r"generators was \['3\.rng.*', .* is \['5\.sources\.0'"):
        job.fit(resume=True)


def test_another_net_is_refused_with_a_list_of_all_differences(tmp_path):
    Job(tmp_path).fit(iterations=3)
    job = Job(tmp_path)
    job.net.layers[0] = nn.Conv2d(1, 4, 5, padding=2, bias=False, rng=0)
    job.net.layers[2] = nn.BatchNorm2d(4)
    job.sgd = SGD(job.net.parameters(), 0.05)
    job.schedule = SCHEDULES["all"](job.sgd)
    with pytest.raises(ValueError, match="does not fit this model") as info:
        job.fit(resume=True)
    for fault in ("unexpected: 0.bias", "0.weight: expected shape (5, 5, 1, 4)", "missing: 2.weight"):
        assert fault in str(info.value)


@pytest.mark.parametrize("tree", [{"w": np.ones(2)}, [], {"config": {}}, np.ones(3)])
def test_a_file_that_is_no_checkpoint_of_a_run_is_refused(tmp_path, tree):
    mg.save(tmp_path / "run.safetensors", tree)
    with pytest.raises(
        ValueError, match=r"fit: .*run.safetensors is no checkpoint of a training run, which has config"
    ):
        Job(tmp_path).fit(resume=True)


# Signals -------------------------------------------------------------------------------------


def child(folder, iterations, minutes, code=""):
    """Run in another process."""
    job = Job(Path(folder))
    exec(code)
    job.fit(iterations=iterations, every=minutes, resume=True)


def start(folder, iterations=20, minutes=0, code=""):
    call = f"from tests.train.test_train import *; child({str(folder)!r}, {iterations}, {minutes}, {code!r})"
    return subprocess.Popen([sys.executable, "-c", call], cwd=ROOT, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143)])
def test_a_signal_saves_a_checkpoint_and_exits_with_its_status(tmp_path, number, status):
    process = start(tmp_path, iterations=10**6, minutes=10)
    process.stderr.readline()  # the first record
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == status
    found = re.search(rf"^stopped by {number.name} after (\d+) iterations; resume it from (.*)$", errors, re.M)
    assert (found[1], found[2]) == (str(mg.load(found[2])["iteration"]), str(tmp_path / "run.safetensors"))
    assert ("Traceback" in errors) == (number == signal.SIGINT)
    assert sorted(os.listdir(tmp_path)) == ["log.jsonl", "run.safetensors"]
    longer = Job(tmp_path).fit(iterations=int(found[1]) + 3, resume=True)
    whole = Job().fit(iterations=int(found[1]) + 3)
    assert_same(longer.net.state_dict(), whole.net.state_dict())


def test_a_second_ctrl_c_stops_at_once(tmp_path):
    job = Job(tmp_path).at(3, lambda: (interrupt(), interrupt()))
    with pytest.raises(KeyboardInterrupt):
        job.fit()
    assert not (tmp_path / "run.safetensors").exists()
    assert job.net.layers[0].weight.grad is not None  # of iteration 2: it did not come to an end


def test_signal_handlers_are_restored(tmp_path):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    during = []
    Job(tmp_path).at(2, lambda: during.append(signal.getsignal(signal.SIGTERM))).fit()
    with pytest.raises(KeyboardInterrupt):
        Job(tmp_path / "a").at(2, interrupt).fit()
    with pytest.raises(SystemExit) as info:
        Job(tmp_path / "b").at(2, lambda: os.kill(os.getpid(), signal.SIGTERM)).fit()
    assert info.value.code == 143
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert before[1] not in during
    Job().at(2, lambda: during.append(signal.getsignal(signal.SIGTERM))).fit()
    assert during[1] == before[1]  # without a checkpoint there is nothing to be saved


def test_ignored_signals_stay_ignored(tmp_path):
    """A job in the background of a script is not to hear the Ctrl-C that is meant for another."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert_same(Job(tmp_path).at(2, interrupt).fit().state(), uninterrupted())
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_signal_between_two_lines_is_not_lost(tmp_path, monkeypatch):
    """It comes when the loop has just decided not to save."""
    job = Job(tmp_path)
    looked = []

    def minutes(self, _):
        looked.append(1)
        if len(looked) == 3:
            interrupt()
        return 1e9

    clock = type("Minutes", (float,), {"__rmul__": minutes})(10.0)
    with pytest.raises(KeyboardInterrupt):
        job.fit(every=clock)
    assert mg.load(tmp_path / "run.safetensors")["iteration"] == 4
    assert_resumes(tmp_path, uninterrupted())


def test_fit_runs_in_another_thread(tmp_path):
    job = Job(tmp_path)
    thread = threading.Thread(target=job.fit)
    thread.start()
    thread.join()
    assert_same(job.state(), uninterrupted())


# Killed, and full disks ----------------------------------------------------------------------

DIE = "os.kill(os.getpid(), signal.SIGKILL)"
IN_WRITE = f"""
def torn(self, content, write=Path.write_bytes, count=itertools.count()):
    if next(count) != 5:
        return write(self, content)
    write(self, content[:len(content) // 2])
    {DIE}
Path.write_bytes = torn
"""


@pytest.mark.parametrize(
    ("code", "iteration"),
    [
        (f"job.at(11, lambda: {DIE})", 11),
        (IN_WRITE, 5),
        (f"os.fsync = lambda handle, count=iter(range(100)): next(count) == 10 and {DIE}", None),
        (f"os.replace = lambda a, b, count=iter(range(100)), r=os.replace: {DIE} if next(count) == 9 else r(a, b)", 8),
    ],
    ids=["in an iteration", "in a write", "in a sync", "before a rename"],
)
def test_a_killed_run_resumes_bit_exactly(tmp_path, code, iteration):
    process = start(tmp_path, code=code)
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors
    if iteration is not None:
        assert mg.load(tmp_path / "run.safetensors")["iteration"] == iteration
    assert_resumes(tmp_path, uninterrupted())


def test_a_run_killed_at_random_moments_resumes_bit_exactly(tmp_path):
    rng = np.random.default_rng(0)
    for _ in range(3):
        process = start(tmp_path)
        process.stderr.readline()
        time.sleep(rng.uniform(0, 0.05))
        process.kill()
        process.communicate()
        assert process.returncode in (-signal.SIGKILL, 0)
    assert_resumes(tmp_path, uninterrupted())


@pytest.mark.parametrize("where", ["half-way", "sync"])
def test_a_full_disk_stops_the_run_and_leaves_the_previous_checkpoint(tmp_path, monkeypatch, where):
    count, write = itertools.count(), Path.write_bytes

    def full(self, content):
        last = next(count) == 7
        written = write(self, content[: len(content) // 2] if last else content)
        if last:
            raise OSError(errno.ENOSPC, "No space left on device")
        return written

    def no_sync(handle):
        if next(count) == 15:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(*(Path, "write_bytes", full) if where == "half-way" else (os, "fsync", no_sync))
        with pytest.raises(OSError, match="No space left"):
            Job(tmp_path).fit(every=0)
    assert 3 < mg.load(tmp_path / "run.safetensors")["iteration"] < 12
    assert_resumes(tmp_path, uninterrupted())


# Numbers that are not finite -----------------------------------------------------------------


class Layer(nn.Module):
    """A function as a layer."""

    def __init__(self, f):
        self.f = f

    def forward(self, x):
        return self.f(x)


def poisoned(f, at=3, place=5):
    """Return a job with a function in one iteration, and the identity in the others."""
    job, on = Job(schedule="none"), []
    job.net.layers.insert(place, Layer(lambda x: f(x) if on else x))
    count = itertools.count()
    job.net.layers[0].hook(lambda net, _: on.append(1) if next(count) == at else None)
    return job


@pytest.fixture
def quiet():
    with np.errstate(all="ignore"):
        yield


@pytest.mark.parametrize(
    ("f", "what", "cause"),
    [
        (lambda x: mg.log(x - 100.0), "the loss became nan", "log: made the first NaN, in its result"),
        (lambda x: x * np.full(x.shape[1:], np.inf, x.dtype), "the loss became nan", ""),
        (lambda x: mg.exp(x + 1000.0), "the loss became nan", ""),
        (lambda x: mg.sqrt(x * x * 0.0), "the gradient of 0.weight, 0.bias.* is not finite", "mul: its rule"),
    ],
    ids=["log", "inf", "overflow", "backward"],
)
def test_the_first_operator_that_made_a_nan_is_named(quiet, f, what, cause):
    job = poisoned(f)
    with pytest.raises(FloatingPointError) as info:
        job.fit(evaluate_every=100)
    message = str(info.value)
    assert re.match(rf"fit: {what} in iteration 3 at learning rate 0\.05: ", message), message
    assert cause in message
    assert re.search(r": \w+: (its rule )?made the first NaN", message), message
    if what.startswith("the gradient"):
        assert all(np.isfinite(p.data).all() for p in job.net.parameters())  # it stopped before the step


def test_a_learning_rate_that_is_too_large_is_named(quiet):
    net, sgd, batches, _ = setup(lr=1e38)
    with pytest.raises(
        FloatingPointError, match=r"the loss became (nan|inf) in iteration \d+ at learning rate 1e\+38: .*rate"
    ):
        train.fit(net, batches, optimizer=sgd, iterations=30)


def test_a_parameter_that_is_not_finite_is_named():
    job = Job()
    job.net.layers[6].weight.data[0, 0] = np.nan
    with pytest.raises(
        FloatingPointError, match=r"loss became nan in iteration 0 .*: 6\.weight was not finite before it"
    ):
        job.fit()


def test_images_that_are_not_finite_are_named():
    job = Job()
    job.batches.transform = lambda images, rng: images * np.float32(np.nan)
    with pytest.raises(FloatingPointError, match="in iteration 0 .*: the images are not finite$"):
        job.fit()


def test_an_overflow_without_a_nan_is_explained(quiet):
    job = poisoned(lambda x: x * 0.0 + np.array([3e38] + [-3e38] * 9, np.float32), at=2, place=7)
    with pytest.raises(
        FloatingPointError, match="loss became inf in iteration 2 .*no operator made a NaN, but numbers left"
    ):
        job.fit(evaluate_every=100)


def test_the_failed_iteration_is_repeated_with_the_same_random_numbers(quiet):
    """An accident that one mask of dropout in ten brings about is found again."""
    for seed in range(5):
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10, rng=0))
        die = nn.Dropout(0.1, rng=seed)
        net.layers.append(Layer(lambda x, die=die: x + mg.log(die(mg.Tensor(np.ones((1, 1), "f4"))) - 0.5)))
        net.die = die
        sgd = SGD(net.parameters(), 0.01)
        with pytest.raises(FloatingPointError, match="log: made the first NaN"):
            train.fit(net, DataLoader(Digits(), 8), optimizer=sgd, iterations=1000)


def test_weights_that_are_not_finite_never_replace_a_checkpoint(quiet, tmp_path):
    job = Job(tmp_path, schedule="none").fit(iterations=4)
    job = Job(tmp_path, schedule="none").at(4, lambda: setattr(job.sgd, "lr", 1e45))
    with pytest.raises(FloatingPointError, match=r"0.weight.* not finite after 9 iterations; .*was left as it was"):
        job.fit(iterations=9, resume=True)
    good = mg.load(tmp_path / "run.safetensors")
    assert good["iteration"] == 4
    assert all(np.isfinite(array).all() for array in good["model"].values())


# Statistics ----------------------------------------------------------------------------------


def test_refreshed_statistics_are_means_over_the_batches_and_nothing_else_changes():
    net = Job().fit(iterations=9).net
    conv, norm, *_, dropout = net.layers[:4]
    norm.momentum = 0.3
    net.layers[5].eval()
    images = Digits().images[:70]
    batches = [conv(mg.Tensor(images[i : i + 32])).data.astype(np.float64) for i in (0, 32, 64)]  # 32, 32 and 6 images
    weights = [len(batch) / 70 for batch in batches]
    mean = sum(w * batch.mean((0, 1, 2)) for w, batch in zip(weights, batches, strict=True))
    var = sum(w * batch.var((0, 1, 2), ddof=1) for w, batch in zip(weights, batches, strict=True))
    loader = DataLoader(Subset(Digits(), range(70)), 32)
    for wrong in (0.5, np.nan, np.inf):  # what they were before does not matter
        norm.running_mean.data[...], norm.running_var.data[...] = wrong, wrong
        before = net.state_dict()
        modes = [module.training for _, module in net.named_modules()]
        drawn = dropout.rng.bit_generator.state
        train.refresh_statistics(net, loader)
        assert_allclose(norm.running_mean.data, mean, rtol=1e-5, atol=1e-6)
        assert_allclose(norm.running_var.data, var, rtol=1e-5)
        changed = {n for n, a in net.state_dict().items() if not np.array_equal(a, before[n], equal_nan=True)}
        assert changed == {"1.running_mean", "1.running_var"}
        assert [module.training for _, module in net.named_modules()] == modes
        assert (norm.momentum, dropout.rng.bit_generator.state) == (0.3, drawn)


def test_an_error_leaves_momentum_and_modes_as_they_were():
    net = Job().net

    def broken(images, rng):
        raise RuntimeError("no images today")

    loader = DataLoader(Digits(), 32, transform=broken)
    for f in (train.refresh_statistics, train.evaluate):
        with pytest.raises(RuntimeError, match="no images today"):
            f(net, loader)
        assert net.layers[1].momentum == 0.1
        assert all(module.training for _, module in net.named_modules())


def test_the_checkpoint_is_json_and_arrays(tmp_path):
    """Nothing of it needs Python to be read."""
    import safetensors

    Job(tmp_path, schedule="steps").fit(iterations=3)
    with safetensors.safe_open(tmp_path / "run.safetensors", "np") as file:
        names, tree = set(file.keys()), json.loads(file.metadata()["minigrad"])
    assert {"model.1.running_mean", "model.6.weight", "optimizer.velocity.0"} <= names
    parts = "config model optimizer schedule batches sets generators iteration seconds since history"
    assert list(tree) == parts.split()  # as in all earlier versions, whose checkpoints can be resumed
    assert list(tree["since"]) == ["images", "loss", "waited", "worked", "batch_error"]
    assert tree["iteration"] == 3
    assert tree["model"]["6.weight"] == {"$array": "model.6.weight"}
