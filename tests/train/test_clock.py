"""What a run says about time, on a clock that the test moves: seconds, images per second, waiting, time left.

A batch is waited for half a second; an iteration works for 2 seconds; an evaluation takes 10, a checkpoint 100. There
are 10 images in batches of 4, 4 and 2.
"""

import os
import re
import signal
import time

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, train
from minigrad.data import DataLoader
from minigrad.data.images import ByteImages
from minigrad.optim import SGD, MultiStepLR, WarmupUntil


class Clock:
    """Stands still unless it is told to wait."""

    now = 1000.0

    def wait(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", lambda: clock.now)
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    return clock


class Slow(ByteImages):
    """Images that take time to be fetched."""

    def __init__(self, clock, seconds, n):
        super().__init__(np.zeros((n, 1, 1, 1), np.uint8), np.zeros(n, int))
        self.clock, self.seconds = clock, seconds

    def __getitem__(self, index):
        self.clock.wait(self.seconds)
        return super().__getitem__(index)


class Job:
    """A run on the clock; `on_iteration` is called amid each iteration of training, with its number."""

    def __init__(self, clock, on_iteration=lambda i: None):
        self.net, self.count = nn.Sequential(nn.Flatten(), nn.Linear(1, 2, rng=0)), 0
        self.net.hook(self.take_time)
        self.clock, self.on_iteration = clock, on_iteration
        self.batches = DataLoader(Slow(clock, 0.5, 10), 4, prefetch=0)
        self.sets = {"test": DataLoader(Slow(clock, 1.0, 7), 7, prefetch=0)}

    def take_time(self, net, out):
        if net.training:
            self.clock.wait(2.0)
            self.count += 1
            self.on_iteration(self.count)
        else:
            self.clock.wait(9.0)

    def fit(self, **settings):
        given = {"optimizer": SGD(self.net.parameters(), 0.1), "iterations": 6, "evaluate_every": 2}
        return train.fit(self.net, self.batches, evaluate_on=self.sets, **given | settings)


def column(history, name):
    return [record[name] for record in history]


def left(capsys):
    """The times left, in the lines that were printed."""
    return re.findall(r"images/s  (\S+) left", capsys.readouterr().err)


def test_speed_is_that_of_training_and_seconds_are_all(clock, capsys):
    """Two iterations and an evaluation take 15 seconds; of the 5 seconds of training, one was waiting."""
    history = Job(clock).fit()
    assert column(history, "iteration") == [2, 4, 6]
    assert column(history, "seconds") == [15.0, 30.0, 45.0]
    assert column(history, "images_per_second") == [8 / 5, 6 / 5, 6 / 5]  # 4 + 4, 2 + 4, 4 + 2 images
    assert column(history, "loader_share") == [0.2, 0.2, 0.2]
    assert left(capsys) == ["0:00:30", "0:00:15", "0:00:00"]


def test_speed_is_that_of_the_iterations_since_the_record_before(clock):
    """From the third iteration on, work takes 6 seconds longer."""
    history = Job(clock, lambda i: clock.wait(6.0 if i > 2 else 0.0)).fit()
    assert column(history, "images_per_second") == [8 / 5, 6 / 17, 6 / 17]
    assert column(history, "loader_share") == [1 / 5, 1 / 17, 1 / 17]


def test_time_left_counts_evaluations_and_checkpoints(clock, capsys, monkeypatch, tmp_path):
    """Every iteration is saved: before the record of iteration 2 once, of 4 three times, of 6 five times."""
    monkeypatch.setattr("minigrad.train.run.save", lambda path, tree: clock.wait(100.0))
    history = Job(clock).fit(checkpoint=train.Checkpoint(tmp_path / "run.safetensors", every=0.0))
    assert column(history, "seconds") == [115.0, 330.0, 545.0]
    assert column(history, "images_per_second") == [8 / 5, 6 / 5, 6 / 5]
    assert left(capsys) == ["0:03:50", "0:02:45", "0:00:00"]  # 115 / 2 * 4, 330 / 4 * 2


def test_a_resumed_run_counts_the_seconds_of_all_sessions_and_the_pace_of_this_one(clock, capsys, tmp_path):
    """Stopped amid the third iteration, at 17.5 seconds; the night between the sessions counts nowhere."""
    path = tmp_path / "run.safetensors"
    job = Job(clock, lambda i: os.kill(os.getpid(), signal.SIGINT) if i == 3 else None)
    with pytest.raises(KeyboardInterrupt):
        job.fit(checkpoint=train.Checkpoint(path))
    assert mg.load(path)["seconds"] == 17.5
    assert left(capsys) == ["0:00:30"]
    clock.wait(30_000.0)
    history = Job(clock, lambda i: clock.wait(2.0)).fit(
        checkpoint=train.Checkpoint(path, resume=True)
    )  # work takes 4 seconds now
    assert column(history, "iteration") == [2, 4, 6]
    assert column(history, "seconds") == [15.0, 17.5 + 14.5, 17.5 + 14.5 + 19.0]
    assert column(history, "images_per_second") == [8 / 5, 6 / 7, 6 / 9]  # the second: 2.5 seconds, and 4.5
    assert column(history, "loader_share") == [0.2, 1 / 7, 1 / 9]
    assert left(capsys) == ["0:00:29", "0:00:00"]  # an iteration and an evaluation took 14.5 seconds


def test_the_bar_of_a_resumed_run_begins_where_it_was_stopped(clock, tmp_path, monkeypatch):
    """Otherwise the bar would show the iterations of all sessions over the seconds of this one."""
    import tqdm

    bars, make = [], tqdm.tqdm
    monkeypatch.setattr(tqdm, "tqdm", lambda **settings: (bars.append(settings), make(**settings))[1])
    for iterations in (2, 6):
        Job(clock).fit(iterations=iterations, checkpoint=train.Checkpoint(tmp_path / "x", resume=True), title="net")
    assert [(bar["initial"], bar["total"], bar["desc"]) for bar in bars] == [(0, 2, "net"), (2, 6, "net")]


def test_time_before_the_first_iteration_is_no_training(clock):
    """A model and loaders that were made long ago."""
    job = Job(clock)
    clock.wait(500.0)
    assert column(job.fit(), "seconds") == [15.0, 30.0, 45.0]


def test_a_schedule_observes_the_share_of_each_batch_and_each_record(clock):
    """Of 4, 4 and 2 images, all wrong: the share is 1, also in the smaller batch."""
    job, seen = Job(clock), []
    job.net.layers[1].bias.data[...] = 0.0, 9.0
    sgd = SGD(job.net.parameters(), 0.0)
    schedule = MultiStepLR(sgd, [])
    schedule.observe = lambda **figures: seen.append((figures.get("iteration"), figures["batch_error"]))
    train.fit(job.net, job.batches, optimizer=sgd, schedule=schedule, iterations=3)
    assert seen == [(None, 1.0), (None, 1.0), (None, 1.0), (3, 1.0)]


@pytest.mark.parametrize("every", [1, 2, 5, 12])
def test_the_warm_up_does_not_depend_on_how_often_is_evaluated(clock, every):
    """With an error of 0, the average 0.98**n is below 0.9 after 6 batches; records are no batches."""
    job = Job(clock)
    job.net.layers[1].bias.data[...] = 9.0, 0.0  # every image is right
    sgd = SGD(job.net.parameters(), 1.0, momentum=0.0)
    schedule, rates = WarmupUntil(MultiStepLR(sgd, []), error=0.9), []
    job.on_iteration = lambda i: rates.append(sgd.lr)
    train.fit(job.net, job.batches, optimizer=sgd, schedule=schedule, iterations=12, evaluate_every=every)
    assert rates == [0.1] * 6 + [1.0] * 6
    assert schedule.average == pytest.approx(0.98**12)
