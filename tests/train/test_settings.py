"""Every setting of the training loop, of its files and of its reports, changed once; worked out by hand."""

import contextlib
import io
import math
import os
import time
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim, train
from minigrad.data import DataLoader
from minigrad.data.images import ByteImages
from minigrad.train import loop
from tests.tools.settings import Refused, Row, check, missing
from tests.train import settings_of_reports
from tests.train.settings_of_reports import elsewhere


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def white(label=1, n=5, size=2):
    """Images of one white pixel, all with one label, in batches of 2, 2 and 1."""
    return DataLoader(ByteImages(np.full((n, 1, 1, 1), 255, np.uint8), np.full(n, label)), size)


LOG3 = math.log(3)


def net(w=LOG3):
    """For a white pixel, the first class has the probability 3/4."""
    layer = nn.Linear(1, 2, bias=False, rng=0)
    layer.weight.data = np.array([[w, 0.0]])
    return nn.Sequential(nn.Flatten(), layer)


class Double(nn.Module):
    """From float32 images to a net of float64."""

    def __init__(self, inner):
        self.inner = inner

    def forward(self, x):
        return self.inner(mg.Tensor(x.data.astype(np.float64)))


def fit(model=None, batches=None, lr=0.0, schedule=None, **settings):
    """Return the records; the learning rate is 0, so that nothing moves."""
    model = Double(net()) if model is None else model
    sgd = optim.SGD(model.parameters(), lr, momentum=0.0)
    made = {} if schedule is None else {"schedule": schedule(sgd)}
    with contextlib.redirect_stderr(io.StringIO()) as err:
        history = train.fit(model, batches or white(), **{"optimizer": sgd, "iterations": 1} | settings | made)
    fit.printed = err.getvalue()
    return history


def figures(*names, **settings):
    return [[record.get(name) for name in names] for record in fit(**settings)]


def moved(sgd):
    """The weights after one step: the gradient is (3/4, 1/4 - 1)."""
    model = Double(net())
    fit(model, optimizer=sgd(list(model.parameters())))
    return next(model.parameters()).data.ravel()


def files(**settings):
    with elsewhere():
        fit(iterations=2, **settings)
        return {name: Path(name).read_bytes()[:4] for name in sorted(os.listdir())}


def saved_at(**settings):
    """The iterations that are saved, each of which takes 61 seconds; to save takes 100."""
    clock, at = [1000.0], []

    def wait(seconds):
        clock[0] += seconds

    model = Double(net())
    model.hook(lambda module, out: wait(61))

    def write(path, tree):
        at.append(tree["iteration"])
        wait(100)

    with mock.patch.object(time, "perf_counter", lambda: clock[0]), mock.patch("minigrad.train.run.save", write):  # noqa: PT008
        fit(model, iterations=21, evaluate_every=100, checkpoint=train.Checkpoint("x", **settings))
    return at


def resumed(**settings):
    """The iterations of the records, where a checkpoint after 2 iterations exists."""
    with elsewhere():
        fit(iterations=2, checkpoint=train.Checkpoint("x"))
        return [record["iteration"] for record in fit(iterations=4, checkpoint=train.Checkpoint("x", **settings))]


def configured(**settings):
    """What is saved, and whether a run without a config resumes it."""
    with elsewhere():
        fit(checkpoint=train.Checkpoint("x", **settings))
        extra = {name: value for name, value in mg.load("x")["config"].items() if name in ("depth", "sizes")}
        try:
            fit(iterations=2, checkpoint=train.Checkpoint("x", resume=True))
        except ValueError as error:
            return [extra, str(error).partition("another run: ")[2].partition(";")[0]]
        return [extra, "resumed"]


#: Pixels of 0, 0.5, 0.5 and 1, by twos: unbiased variances of 1/8 each; of all four, 1/6.
GREY = ByteImages(np.array([0, 127.5, 127.5, 255]).reshape(4, 1, 1, 1), np.zeros(4, int))


def statistics(model, batches):
    """Running mean and variance of the first and the last layer."""
    train.refresh_statistics(model, batches)
    return [[round(b.data.item(), 6) for b in part.buffers()] for part in (model[0], model[-1])]


def scaled(factor):
    layer = nn.Linear(1, 1, bias=False, rng=0)
    layer.weight.data[...] = factor
    return layer


ROWS = settings_of_reports.ROWS | {
    # -log(1/4) for a wrong label; with the weight log 7, -log(1/8)
    "fit.model": Row(
        lambda model: figures("loss", model=Double(net(model))),
        (LOG3, [[math.log(4)]]),
        (math.log(7), [[math.log(8)]]),
    ),
    "fit.batches": Row(
        lambda batches: figures("loss", "batch_error", batches=white(batches)),
        (1, [[math.log(4), 1.0]]),
        (0, [[math.log(4 / 3), 0.0]]),
    ),
    "fit.optimizer": Row(
        lambda optimizer: moved(optimizer),
        (lambda w: optim.SGD(w, 1.0), np.array([LOG3 - 0.75, 0.75])),
        (lambda w: optim.SGD(w, 0.1), np.array([LOG3 - 0.075, 0.075])),
    ),
    "fit.schedule": Row(
        lambda **s: figures("lr", lr=1.0, iterations=3, evaluate_every=1, **s),
        (None, [[1.0], [1.0], [1.0]]),
        (lambda sgd: optim.MultiStepLR(sgd, [1, 2], gamma=1 / 3e3), [[1.0], [1 / 3e3], [1 / 9e6]]),
        (lambda sgd: optim.MultiStepLR(sgd, [1, 2]), [[1.0], [0.1], [0.01]]),
    ),
    "fit.iterations": Row(
        lambda **s: figures("iteration", "epoch", **{"iterations": None} | s),
        (None, Refused(ValueError, "fit: expected a length, either iterations or epochs, got none")),
        (1, [[1, 1]]),
        (4, [[3, 1], [4, 2]]),
        (6, [[3, 1], [6, 2]]),
    ),
    "fit.epochs": Row(
        lambda **s: figures("iteration", "epoch", **{"iterations": None} | s),
        (None, Refused(ValueError, "fit: expected a length, either iterations or epochs, got none")),
        (1, [[3, 1]]),
        (2, [[3, 1], [6, 2]]),
    ),
    # the logits are (log 3, 0), the label is 1
    "fit.loss": Row(
        lambda **s: figures("loss", "batch_error", **s),
        (mg.cross_entropy, [[math.log(4), 1.0]]),
        (lambda out, labels: out.sum(), [[2 * LOG3, None]]),
    ),
    "fit.metrics": Row(
        lambda **s: [{k: v for k, v in record.items() if k.startswith("batch_")} for record in fit(**s)],
        (None, [{"batch_error": 1.0}]),
        ({}, [{}]),
        (
            {"top": lambda out, labels: out.max(axis=1), "label": lambda out, labels: labels.mean()},
            [{"batch_top": LOG3, "batch_label": 1.0}],
        ),
        ({"loss": min}, Refused(TypeError, "fit: expected metrics to be functions by name, other than 'loss'")),
        ({"mean": lambda out, labels: None}, Refused(ValueError, "the metric 'mean': expected a number for each")),
    ),
    "fit.on_record": Row(
        lambda **s: figures("iteration", iterations=4, evaluate_every=1, **s),
        (None, [[1], [2], [3], [4]]),
        (lambda history: history[-1]["iteration"] == 2, [[1], [2]]),
        (lambda history: len(history) == 3, [[1], [2], [3]]),
        (print, [[1], [2], [3], [4]]),
    ),
    "fit.evaluate_on": Row(
        lambda **s: [{n: v for n, v in record.items() if n.startswith(("a_", "b_"))} for record in fit(**s)],
        (None, [{}]),
        (
            {"b": white(0), "a": white(1)},
            [{"b_loss": math.log(4 / 3), "b_error": 0.0, "a_loss": math.log(4), "a_error": 1.0}],
        ),
    ),
    "fit.evaluate_every": Row(
        lambda **s: figures("iteration", iterations=7, **s), (None, [[3], [6], [7]]), (2, [[2], [4], [6], [7]])
    ),
    "fit.log": Row(files, (None, {}), ("a.jsonl", {"a.jsonl": b'{"ep'})),
    "fit.figure": Row(files, (None, {}), ("a.png", {"a.png": b"\x89PNG"})),
    "fit.checkpoint": Row(
        lambda checkpoint=None: list(files(checkpoint=checkpoint and train.Checkpoint(checkpoint))),
        (None, []),
        ("x", ["x"]),
    ),
    "Checkpoint.path": Row(
        lambda path: list(files(checkpoint=train.Checkpoint(path))), ("x", ["x"]), (Path("y.z"), ["y.z"])
    ),
    "Checkpoint.every": Row(saved_at, (10.0, [10, 20, 21]), (5, [5, 10, 15, 20, 21]), (1e9, [21])),
    "Checkpoint.resume": Row(resumed, (False, Refused(FileExistsError, "x is there already")), (True, [2, 3, 4])),
    "Checkpoint.config": Row(
        configured,
        (None, [{}, "resumed"]),
        (
            {"depth": 8, "sizes": (1, 2)},
            [{"depth": 8, "sizes": [1, 2]}, "depth was 8, is None, sizes was [1, 2], is None"],
        ),
    ),
    "fit.shards": Row(
        lambda **s: figures("batch_images", batches=white(n=4, size=4), metrics={"images": lambda _, y: len(y)}, **s),
        (None, [[4.0]]),
        (2, [[2.0]]),
        (4, [[1.0]]),
        (3, Refused(ValueError, "shards to be a power of two, got 3")),
        (8, Refused(ValueError, "expected an image for each of 8 shards, got a last batch of 4")),
    ),
    "fit.title": Row(
        lambda **s: (fit(**s), fit.printed.partition("  lr")[0])[1], ("", "1/1  epoch 1"), ("net", "net  1/1  epoch 1")
    ),
    "evaluate.model": Row(
        lambda model: train.evaluate(Double(net(model)), white()),
        (LOG3, (math.log(4), 1.0)),
        (-math.log(7), (math.log(8 / 7), 0.0)),
    ),
    "evaluate.batches": Row(
        lambda batches: train.evaluate(Double(net()), batches),
        (white(1), (math.log(4), 1.0)),
        (white(0), (math.log(4 / 3), 0.0)),
        (
            DataLoader(ByteImages(np.full((3, 1, 1, 1), 255, np.uint8), np.array([1, 0, 1])), 2),
            (math.log(4 * 4 * 4 / 3) / 3, 2 / 3),
        ),
    ),
    "evaluate.loss": Row(
        lambda **s: train.evaluate(Double(net()), white(), **s),
        (mg.cross_entropy, (math.log(4), 1.0)),
        (lambda out, labels: out.mean(), (LOG3 / 2,)),
    ),
    "evaluate.metrics": Row(
        lambda **s: train.evaluate(Double(net()), white(), **s),
        (None, (math.log(4), 1.0)),
        ({}, (math.log(4),)),
        ({"top": lambda out, labels: out.max(axis=1)}, (math.log(4), LOG3)),
        ({"top": 3}, Refused(TypeError, "evaluate: expected metrics to be functions by name")),
    ),
    # a batch of 0 and 0.5, normalised, is -1 and 1 over sqrt(1 + 16e-5); twice that has
    # the unbiased variance 8 / (1 + 16e-5)
    "refresh_statistics.model": Row(
        lambda model: statistics(model, DataLoader(GREY, 2)),
        (nn.Sequential(nn.BatchNorm2d(1)), [[0.5, 0.125]] * 2),
        (
            nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), scaled(2.0), nn.BatchNorm2d(1)),
            [[0.5, 0.125], [0.0, round(8 / (1 + 16e-5), 6)]],
        ),
    ),
    "refresh_statistics.batches": Row(
        lambda batches: statistics(nn.Sequential(nn.BatchNorm2d(1)), batches)[0],
        (DataLoader(GREY, 2), [0.5, 0.125]),
        (DataLoader(GREY, 4), [0.5, round(1 / 6, 6)]),
    ),
    "wrong.logits": Row(
        lambda logits: loop.wrong(mg.Tensor(logits), np.array([0, 1])).tolist(),
        ([[1.0, 0.0], [1.0, 0.0]], [False, True]),
        ([[0.0, 1.0], [1.0, 0.0]], [True, True]),
        ([[1.0, 0.0], [0.0, 1.0]], [False, False]),
    ),
    "wrong.labels": Row(
        lambda labels: loop.wrong(mg.Tensor([[1.0, 0.0], [1.0, 0.0]]), np.array(labels)).tolist(),
        ([0, 1], [False, True]),
        ([1, 1], [True, True]),
    ),
}


def test_every_setting_has_a_row():
    assert missing(train, ROWS) == []


@pytest.mark.parametrize("name", ROWS)
def test_a_setting_has_its_effect(name):
    check(train, name, ROWS[name])


def test_each_norm_keeps_its_own_settings_when_statistics_are_refreshed():
    model = nn.Sequential(*(nn.BatchNorm2d(1, momentum=m) for m in (0.1, 0.2, 0.3)))
    model[1].eval()
    train.refresh_statistics(model, white(n=4))
    assert [(norm.momentum, norm.training) for norm in model] == [(0.1, True), (0.2, False), (0.3, True)]


def test_counts_go_beyond_what_a_byte_holds():
    """300 batches, and a batch of 70,000 images, all wrong."""
    model = Double(net())
    many = DataLoader(ByteImages(np.full((300, 1, 1, 1), 255, np.uint8), np.ones(300, int)), 1, prefetch=0)
    history = fit(model, many, iterations=601)
    assert [(record["iteration"], record["epoch"]) for record in history] == [(300, 1), (600, 2), (601, 3)]
    assert history[0]["batch_error"] == 1.0
    huge = DataLoader(ByteImages(np.full((70_000, 1, 1, 1), 255, np.uint8), np.ones(70_000, int)), 70_000)
    assert train.evaluate(model, huge) == (pytest.approx(math.log(4)), 1.0)


def test_a_list_may_hold_hundreds_of_arrays(tmp_path):
    tree = {"velocity": [np.full(1, i) for i in range(300)], "nested": [[np.full(1, -i)] for i in range(12)]}
    mg.save(tmp_path / "x", tree)
    found = mg.load(tmp_path / "x")
    assert [array.item() for array in found["velocity"]] == list(range(300))
    assert [array.item() for (array,) in found["nested"]] == [-i for i in range(12)]


@pytest.mark.parametrize(
    ("setting", "values"),
    [
        ("epochs", [0, -1, 2.5, "3"]),
        ("loss", [3, "mse", None, mg.Tensor]),
        ("metrics", [3, [min], {3: min}, {"a": "b"}]),
        ("on_record", [3, "stop", True]),
        ("log", [3, None]),
        ("figure", [3, b"x.png"]),
        ("checkpoint", [3, 2.5, "x", Path("x")]),
        ("iterations", [0, -1, 2.5, math.nan, math.inf, "3"]),
        ("evaluate_every", [0, -1, 2.5, math.nan, math.inf, "3"]),
    ],
)
def test_a_setting_out_of_range_is_refused_before_training(setting, values):
    for value in values:
        if value is not None or setting == "loss":
            with pytest.raises((ValueError, TypeError), match="^fit: expected "):
                fit(**{setting: value} | ({"iterations": None} if setting == "epochs" else {}))


@pytest.mark.parametrize(
    ("setting", "values"),
    [("path", [3, None]), ("every", [-1.0, math.nan, "10", None]), ("resume", ["no", None, 1]), ("config", [3, "x"])],
)
def test_a_setting_of_a_checkpoint_out_of_range_is_refused(setting, values):
    for value in values:
        with pytest.raises((ValueError, TypeError), match="^Checkpoint: expected "):
            train.Checkpoint(**{"path": "x", setting: value})
