"""The training loop beyond classification by SGD: losses, metrics, early stopping, and optimizers of all kinds."""

import itertools
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import minigrad as mg
from minigrad import nn, train
from minigrad.data import DataLoader, Digits, Subset, TensorDataset
from minigrad.optim import (
    SGD,
    Adam,
    AdamW,
    MultiStepLR,
    Optimizer,
    ReduceOnPlateau,
    Warmup,
    WarmupUntil,
    clip_grad_norm,
)
from minigrad.train.report import curves
from tests.train.test_train import ROOT, Job, assert_same, figures, interrupt


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda handle: None)


class Line:
    """The points of a line: y = 2 x - 1."""

    def __len__(self):
        return 10

    def __getitem__(self, index):
        x = index.reshape(-1, 1).astype("float32") / 10
        return x, 2 * x - 1


def distance(output, y):
    return abs(output - y)


class Fitted:
    """A net for the line, in batches of 4, 4 and 2."""

    def __init__(self, make=lambda p: SGD(p, 0.1)):
        self.net = nn.Linear(1, 1, rng=0)
        self.optimizer = make(self.net.parameters())
        self.sets = {"val": DataLoader(Line(), 3)}
        self.history = None

    def fit(self, iterations=12, path=None, resume=False, **options):
        saved = None if path is None else train.Checkpoint(path, resume=resume)
        given = {"loss": mg.mse_loss, "metrics": {"mae": distance}, "evaluate_on": self.sets, "checkpoint": saved}
        batches = DataLoader(Line(), 4, rng=3)
        options = {"optimizer": self.optimizer, "iterations": iterations} | given | options
        self.history = train.fit(self.net, batches, **options)
        return self

    def state(self):
        return [self.net.state_dict(), self.optimizer.state_dict(), figures(self.history)]


# Losses and metrics --------------------------------------------------------------------------


def test_a_regression_is_measured_by_its_own_loss_and_metrics(capsys, tmp_path):
    job = Fitted().fit(60, evaluate_every=30, figure=tmp_path / "figure.png")
    x, y = Line()[np.arange(10)]
    away = job.net(mg.Tensor(x)).data - y
    record = job.history[-1]
    assert list(record)[3:8] == ["loss", "batch_mae", "val_loss", "val_mae", "seconds"]
    assert_allclose([record["val_loss"], record["val_mae"]], [(away**2).mean(), abs(away).mean()], rtol=1e-5)
    assert record["val_mae"] < min(0.1, job.history[0]["val_mae"])
    measured = train.evaluate(job.net, job.sets["val"], loss=mg.mse_loss, metrics={"mae": distance})
    assert measured == (record["val_loss"], record["val_mae"])
    assert train.evaluate(job.net, job.sets["val"], loss=mg.mse_loss) == measured[:1]
    line = capsys.readouterr().err.splitlines()[-1]
    told = [f"batch mae {record['batch_mae']:.4g}", f"val loss {record['val_loss']:.4g}"]
    assert "  ".join([f"loss {record['loss']:.3f}", *told, f"val mae {record['val_mae']:.4g}"]) in line


def test_the_figure_of_a_regression_shows_its_losses(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **_: (drawn.append(self), path.write_bytes(b"")))
    curves(
        {"a": [{"iteration": i, "loss": 1 / i, "batch_mae": 5.0, "val_loss": 2 / i} for i in (1, 2)]}, tmp_path / "a"
    )
    (line,) = drawn[0].axes[1].lines
    assert (line.get_label(), drawn[0].axes[1].get_ylabel()) == ("a val", "loss")
    assert_array_equal(line.get_xydata(), [[1, 2], [2, 1]])


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (lambda out, y: 0.25, 0.25),
        (lambda out, y: np.float32(0.25), 0.25),
        (lambda out, y: mg.Tensor([1.0, 2.0]), 1.5),
        (lambda out, y: y == y, 1.0),
        (lambda out, y: (out * 0.0 + 3.0).mean(), 3.0),
        (lambda out, y: np.ones((len(y), 5), np.uint8) * 200, 200.0),  # of several numbers for an image, the mean
        (lambda out, y: float(out.requires_grad), 0.0),  # nothing is recorded
        (lambda out, y: len(y), 10 / 3 + 4 / 15),  # (4 * 4 + 4 * 4 + 2 * 2) / 10: a batch weighs as it has images
    ],
)
def test_a_metric_may_return_a_number_or_one_for_each_image(metric, expected):
    history = Fitted().fit(3, metrics={"m": metric}, evaluate_on={}).history
    assert history[0]["batch_m"] == pytest.approx(expected)


@pytest.mark.parametrize("dtype", [*"?bBhHiIlLefdg"])
def test_a_metric_of_any_dtype_is_added_in_float64(dtype):
    """Of 3,000 images in one batch: large numbers, whose sum the dtype cannot hold, and one that hides those after."""
    n = 3000
    top = {"?": 1, "e": 30.0, "f": 1e38, "d": 1e300, "g": 1e300}.get(dtype) or np.iinfo(dtype).max // n * n
    hides = {"e": 2.0**11, "f": 2.0**24}.get(dtype, 1)
    net, data = nn.Linear(1, 1, rng=0), TensorDataset(np.zeros((n, 1), "float32"), np.zeros((n, 1), "float32"))
    for numbers in (np.full(n, top), np.array([hides] + [1] * (n - 1))):
        values = numbers.astype(dtype)
        metrics = {"m": lambda out, y, values=values: values}
        expected = float(values.astype(np.longdouble).mean())
        _, mean = train.evaluate(net, DataLoader(data, n), loss=mg.mse_loss, metrics=metrics)
        sgd = SGD(net.parameters(), 0.1)
        given = {"optimizer": sgd, "loss": mg.mse_loss, "metrics": metrics, "iterations": 1}
        (record,) = train.fit(net, DataLoader(data, n), **given)
        assert_allclose([mean, record["batch_m"]], expected, rtol=1e-12)


def test_a_nan_is_searched_in_the_loss_that_was_given():
    """The loss that failed is repeated, not the cross-entropy."""
    job = Job(schedule="none")
    message = r"^fit: the loss became nan in iteration 0 .*log: made the first NaN"
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match=message):
        job.fit(loss=lambda out, labels: mg.log(out - 1e6).mean())


def test_epochs_are_iterations_by_the_length_of_the_loader():
    job = Fitted()
    job.fit(None, epochs=4)
    assert_same(job.state(), Fitted().fit(12).state())


def walked(batches):
    """Go through an epoch."""
    assert len([*batches]) == 3


def left(batches):
    """Leave an epoch after its first batch."""
    next(iter(batches))


def trained(batches):
    """Train another net, to the middle of an epoch."""
    fitted = Fitted()
    train.fit(fitted.net, batches, optimizer=fitted.optimizer, iterations=4, loss=mg.mse_loss)


@pytest.mark.parametrize("earlier", [[], [walked], [left], [trained], [walked, left, trained, left]])
@pytest.mark.parametrize("shards", [None, 2])
def test_a_run_counts_its_own_epochs_and_iterations(earlier, shards, tmp_path):
    """Whatever its loader was used for before; a resumed run goes on counting."""
    for every in (1, 2, 3):
        batches = DataLoader(Line(), 4, rng=3)
        for use in earlier:
            use(batches)
        fitted, path = Fitted(), tmp_path / f"run{every}"
        for iterations in (4, 7):
            given = {"optimizer": fitted.optimizer, "loss": mg.mse_loss, "shards": shards, "evaluate_every": every}
            saved = train.Checkpoint(path, resume=True)
            history = train.fit(fitted.net, batches, iterations=iterations, checkpoint=saved, **given)
        counted = [(record["epoch"], record["iteration"]) for record in history]
        assert counted == [(-(-i // 3), i) for i in range(1, 8) if i % every == 0 or i in (4, 7)]


def test_schedules_of_an_error_ask_for_it():
    for kind, message in ((WarmupUntil, "'batch_error'"), (lambda s: s, "'val_error'")):
        job = Fitted()
        schedule = kind(ReduceOnPlateau(job.optimizer, "val_error"))
        with pytest.raises(ValueError, match=f"expected {message} to be measured, got .*"):
            job.fit(schedule=schedule)
    job = Fitted()
    job.fit(30, schedule=ReduceOnPlateau(job.optimizer, "val_mae", patience=1))
    assert job.history[-1]["lr"] <= 0.1


@pytest.mark.parametrize("make", [lambda s: s, lambda s: Warmup(s, 2)])
@pytest.mark.parametrize("metrics", [None, {}, {"mae": distance}])
def test_a_plateau_of_the_loss_needs_no_metrics(make, metrics):
    """The same weights come out, and the same rates: each record counts, and no batch does."""
    runs = []
    for given in ({"mae": distance}, metrics):
        job = Fitted()
        plateau = ReduceOnPlateau(job.optimizer, "val_loss", patience=1)
        job.fit(30, schedule=make(plateau), metrics=given)
        runs.append([job.net.state_dict(), [(r["lr"], r["val_loss"]) for r in job.history], plateau.state_dict()])
    assert_same(runs[1], runs[0])
    assert runs[0][1][-1][0] <= 0.1


# Early stopping ------------------------------------------------------------------------------


def third(history):
    return len(history) == 3


@pytest.mark.parametrize("every", [1, 2, None])
def test_a_run_ends_where_its_rule_says_so_and_a_resumed_one_too(tmp_path, every):
    """It is as long as if it had been asked for; the checkpoint stands at its end, and resuming it trains no more."""
    length = 3 * (every or 3)
    path = tmp_path / "run"
    stopped = Fitted().fit(path=path, on_record=third, evaluate_every=every).state()
    assert_same(stopped, Fitted().fit(length, evaluate_every=every).state())
    assert mg.load(path)["iteration"] == length
    again = Fitted().fit(path=path, resume=True, on_record=third, evaluate_every=every)
    assert_same(again.state(), stopped)
    longer = Fitted().fit(path=path, resume=True, evaluate_every=every)
    assert_same(longer.state(), Fitted().fit(evaluate_every=every).state())


@pytest.mark.parametrize("kind", [bool, np.bool_, int, np.int64, np.array, mg.Tensor])
def test_a_rule_may_answer_by_any_kind_of_truth(kind):
    """NumPy's comparisons and means give NumPy's booleans."""
    history = Fitted().fit(epochs=4, iterations=None, on_record=lambda history: kind(len(history) == 2)).history
    assert len(history) == 2


def test_a_rule_sees_all_records_also_those_of_earlier_sessions(tmp_path):
    seen = []
    for iterations in (6, 12):
        Fitted().fit(iterations, tmp_path / "run", resume=True, on_record=lambda h: seen.append(len(h)))
    assert seen == [1, 2, 2, 3, 4]  # the second session stands at a record, and asks again


@pytest.mark.parametrize("config", [None, {}, {"depth": 3}])
@pytest.mark.parametrize(("first", "second"), [(2, None), (None, 2), (1, 2)])
def test_what_is_given_to_several_runs_is_changed_by_none(tmp_path, config, first, second):
    """One Checkpoint, and one dict of sets and of metrics: a run with other shards is another run."""
    checkpoint = train.Checkpoint(tmp_path / "run", resume=True, config=config)
    given = {"metrics": {"mae": distance}, "evaluate_on": {"val": DataLoader(Line(), 3)}}
    before = [dict(given["metrics"]), dict(given["evaluate_on"]), dict(checkpoint.config)]
    for iterations in (1, 2):
        Fitted().fit(iterations, shards=first, checkpoint=checkpoint, **given)
        with pytest.raises(ValueError, match=f"is of another run: shards was {first}, is {second}; give"):
            Fitted().fit(3, shards=second, checkpoint=checkpoint, **given)
        assert [given["metrics"], given["evaluate_on"], checkpoint.config] == before


@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize("sessions", [[], [1], [3], [2, 5]])
def test_a_fault_in_a_resumed_run_is_told_by_the_iteration_of_the_whole_run(tmp_path, sessions, after):
    """A NaN is; where a signal stopped it, the tests of resuming look at."""
    for iterations in sessions:
        Fitted().fit(iterations, tmp_path / "run", resume=True)
    job, count = Fitted(), itertools.count()

    def loss(output, y):
        return mg.mse_loss(output, y) * (np.nan if job.net.training and next(count) == after else 1.0)

    at = sum(sessions[-1:]) + after
    with pytest.raises(FloatingPointError, match=f"^fit: the loss became nan in iteration {at} at learning rate 0.1:"):
        job.fit(9, tmp_path / "run", resume=True, loss=loss)


# Loaders that were left early ----------------------------------------------------------------


@pytest.mark.parametrize("shards", [None, 1, 2])
def test_a_loader_that_was_left_early_begins_its_next_epoch(shards):
    """The training set, where an earlier run ended amid an epoch; and the held-out set, after a look at one batch."""
    batches, held_out, whole, seen = DataLoader(Line(), 4, rng=3), DataLoader(Line(), 3), DataLoader(Line(), 3), []

    def loss(output, y):
        seen.extend(y.ravel().tolist())
        return mg.mse_loss(output, y)

    next(iter(held_out))
    for iterations, epoch, position in ((2, 0, (0, 2)), (4, 1, (2, 1))):
        fitted = Fitted()
        settings = {"optimizer": fitted.optimizer, "iterations": iterations, "loss": loss, "shards": shards}
        history = train.fit(fitted.net, batches, evaluate_on={"val": held_out}, **settings)
        assert (batches.epoch, batches.batch) == position
        assert history[-1]["val_loss"] == pytest.approx(train.evaluate(fitted.net, whole, loss=mg.mse_loss)[0])
        order = DataLoader(Line(), 10, rng=3)
        order.load_state_dict({"seed": 3, "epoch": epoch, "batch": 0})
        assert seen[:8] == next(iter(order))[1].ravel().tolist()[:8]
        seen.clear()


def test_a_run_stopped_before_its_first_record_evaluates_the_whole_set_when_it_is_resumed(tmp_path):
    def looked(folder=None):
        job = Job(folder)
        next(iter(job.sets["test"]))
        return job

    with pytest.raises(KeyboardInterrupt):
        looked(tmp_path).at(1, interrupt).fit()
    assert_same(Job(tmp_path).fit(resume=True).state(), looked().fit().state())


# Optimizers ----------------------------------------------------------------------------------


class Own(Optimizer):
    """A rule with a slot and a count, clipped, and an attribute."""

    def __init__(self, params, lr):
        super().__init__(params, lr, weights=(0.9, 0.1))
        self.norms = []

    def update(self, w, g, average, *, t, lr, weights):
        weight, _ = weights
        average *= weight
        average += (1 - weight) * g
        w -= lr / (1 - weight**t) * average

    def step(self):
        self.norms.append(clip_grad_norm(self.parameters(), 0.5))
        super().step()


OPTIMIZERS = {
    "Adam": lambda groups: Adam(groups, 0.01, weight_decay=0.1),
    "AdamW": lambda groups: AdamW(groups, 0.01, (0.8, 0.9)),
    "Own": lambda groups: Own(groups, 0.05),
}


def job_of(kind, folder=None):
    """The job with everything, with another optimizer, and a rate of its own for the first layer."""
    job = Job(folder, schedule="none")
    p = list(job.net.parameters())
    job.sgd = OPTIMIZERS[kind]([{"params": p[:2], "lr": 0.02}, {"params": p[2:]}])
    job.schedule = MultiStepLR(job.sgd, [7, 13])
    return job


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_run_with_any_optimizer_resumes_bit_exactly(tmp_path, kind):
    expected = job_of(kind).fit().state()
    for ahead in (0, 5, 6, 4):
        with pytest.raises(KeyboardInterrupt):
            job_of(kind, tmp_path).at(ahead, interrupt).fit(resume=True)
    resumed = job_of(kind, tmp_path).fit(resume=True)
    assert_same(resumed.state(), expected)
    assert resumed.sgd.groups[0]["lr"] == pytest.approx(2e-4)


@pytest.mark.slow
def test_a_run_stopped_in_every_iteration_resumes_bit_exactly(tmp_path):
    expected = job_of("Own").fit().state()
    for _ in range(19):
        with pytest.raises(KeyboardInterrupt):
            job_of("Own", tmp_path).at(0, interrupt).fit(resume=True)
    resumed = job_of("Own", tmp_path).fit(resume=True)
    assert_same(resumed.state(), expected)
    assert len(resumed.sgd.norms) == 20


@pytest.mark.slow
def test_a_killed_run_with_an_optimizer_of_ones_own_resumes_bit_exactly(tmp_path):
    job = f"job_of('Own', Path({str(tmp_path)!r})).at(11, lambda: os.kill(os.getpid(), signal.SIGKILL))"
    code = f"from pathlib import Path; from tests.train.test_fit import *; {job}.fit(every=0)"
    command = [sys.executable, "-c", code]
    killed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert mg.load(tmp_path / "run.safetensors")["iteration"] == 11
    assert_same(job_of("Own", tmp_path).fit(resume=True).state(), job_of("Own").fit().state())


def test_a_run_with_another_rate_of_a_group_is_another_run(tmp_path):
    job_of("Adam", tmp_path).fit(iterations=3)
    job = job_of("Adam", tmp_path)
    job.sgd = Adam([{"params": list(job.net.parameters()), "lr": 0.02}], 0.01, weight_decay=0.1)
    job.schedule = MultiStepLR(job.sgd, [7])
    with pytest.raises(ValueError, match="Adam: expected 1 groups in the state, got 2 of them"):
        job.fit(resume=True)
    job = job_of("AdamW", tmp_path)
    with pytest.raises(ValueError, match="is of another run: optimizer was 'Adam', is 'AdamW'; give the same"):
        job.fit(resume=True)
    job = job_of("Adam", tmp_path)
    job.sgd.groups[0]["lr_factor"] = 4.0
    with pytest.raises(ValueError, match=r"is of another run: lr_factor of group 0 was 2\.0, is 4\.0; give"):
        job.fit(resume=True)


def test_gradients_are_clipped_by_the_step_of_the_optimizer():
    """As in a loop of one's own, to the bit."""

    class Clipped(SGD):
        def step(self):
            clip_grad_norm(self.parameters(), 0.1)
            super().step()

    job = Fitted(lambda p: Clipped(p, 0.1))
    job.fit(5)
    net = nn.Linear(1, 1, rng=0)
    sgd, batches = SGD(net.parameters(), 0.1), DataLoader(Line(), 4, rng=3)
    taken = 0
    while taken < 5:
        for x, y in batches:
            sgd.zero_grad()
            mg.mse_loss(net(mg.Tensor(x)), y).backward()
            assert clip_grad_norm(net.parameters(), 0.1) > 0.1
            sgd.step()
            taken += 1
            if taken == 5:
                break
    assert_same(job.net.state_dict(), net.state_dict())


class ByParameter(SGD):
    """Holds something by parameter, where no file could name it."""

    def __init__(self, params, lr):
        super().__init__(params, lr)
        self.held = {p: 0.0 for p in self.parameters()}


class Draws(SGD):
    """Draws random numbers, whose Generator no file holds."""

    def __init__(self, params, lr):
        super().__init__(params, lr)
        self.rng = np.random.default_rng(0)


class Unready(SGD):
    """Does not call the constructor of its parent."""

    def __init__(self, params, lr):
        self.params = list(params)


class Stranger:
    """Looks like an optimizer."""

    def __init__(self, params, lr):
        self.params, self.lr = list(params), lr

    def step(self):
        """Do nothing."""

    zero_grad = step


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        (ByParameter, TypeError, r"fit: .*run could not hold this run: save: .* in 'optimizer\.held'"),
        (Draws, TypeError, r"fit: .*run could not hold this run: save: expected .*Generator.* in 'optimizer\.rng'"),
        (Unready, ValueError, r"fit: expected an optimizer that calls super\(\).__init__\(params, lr\)"),
        (Stranger, TypeError, "fit: expected optimizer to be an Optimizer, got Stranger"),
    ],
)
def test_an_optimizer_that_could_not_be_resumed_is_refused_at_the_start(tmp_path, kind, error, message):
    job = Fitted(lambda p: kind(p, 0.1))
    before = job.net.state_dict()
    with pytest.raises(error, match=message):
        job.fit(path=tmp_path / "run")
    assert_same(job.net.state_dict(), before)
    assert os.listdir(tmp_path) == []
    if kind in (ByParameter, Draws):  # without a checkpoint there is nothing to be resumed
        job.fit(2)


def test_an_optimizer_may_train_a_part_of_the_model():
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 8, rng=0), nn.ReLU(), nn.Linear(8, 10, rng=1))
    first = net[1].weight.data.copy()
    batches = DataLoader(Subset(Digits(), range(32)), 16, rng=0)
    train.fit(net, batches, optimizer=Adam(net[3].parameters()), epochs=1)
    assert_array_equal(net[1].weight.data, first)


class Shifts(nn.Module):
    """Adds three parameters of zeros, and of one of them its square root, whose gradient is infinite."""

    def __init__(self, bad):
        self.shifts, self.bad = [nn.Parameter(np.zeros(1, np.float32)) for _ in range(3)], bad

    def forward(self, x):
        for i, p in enumerate(self.shifts):
            x = x + (mg.sqrt(p) if i == self.bad else p)
        return x


@pytest.mark.parametrize("moved", [[0], [1], [2], [0, 2], [0, 1, 2]])
@pytest.mark.parametrize("bad", range(3))
def test_a_gradient_that_is_not_finite_is_named_whatever_the_optimizer_moves(bad, moved):
    """It would be wrong for all that is computed from it, as the norm of all gradients."""
    net = Shifts(bad)
    batches, sgd = DataLoader(Line(), 4, prefetch=0), SGD([net.shifts[i] for i in moved], 0.1)
    with (
        np.errstate(all="ignore"),
        pytest.raises(FloatingPointError, match=f"^fit: the gradient of shifts.{bad} is not finite in iteration 0 "),
    ):
        train.fit(net, batches, optimizer=sgd, loss=mg.mse_loss, iterations=1)
