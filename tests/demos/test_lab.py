"""What all demos share: the digits are normalised by the training set, and nets are trained by the recipe."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import minigrad as mg
from demos import lab
from minigrad import data, nn, train


def net():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10, rng=0))


@pytest.fixture
def untrained(monkeypatch):
    """Training is left out; what it would have been given is kept."""
    calls = []
    monkeypatch.setattr(train, "fit", lambda *args, **settings: calls.append((args, settings)) or ["history"])
    return calls


@pytest.mark.parametrize("part", [True, False])
@pytest.mark.parametrize("batch", [100, 512])
def test_both_sets_are_normalised_by_the_training_set(part, batch):
    known, digits = data.Digits().images.astype(np.float64), data.Digits(train=part)
    batches = list(lab.digits(part, batch))
    assert [len(labels) for _, labels in batches[:-1]] == [batch] * (len(digits) // batch)
    images, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    assert_array_equal(labels, digits.labels, strict=True)  # without a seed, in their order
    expected = (digits.images - known.mean(0)) / known.std()
    assert_allclose(images, expected.astype(np.float32), rtol=1e-5, atol=1e-5, strict=True)


def test_a_seed_of_the_digits_is_that_of_their_order():
    for seed in (0, 3):
        got, expected = lab.digits(True, 64, rng=seed), data.DataLoader(data.Digits(), 64, rng=seed)
        assert_array_equal(*([labels for _, labels in loader][-1] for loader in (got, expected)), strict=True)


@pytest.mark.parametrize("seed", [0, 5])
@pytest.mark.parametrize("lr", [0.1, 0.02])
@pytest.mark.parametrize("warmup", [None, 6, 0])
@pytest.mark.parametrize("own", [False, True])
def test_the_recipe(untrained, own, warmup, lr, seed):
    """Momentum and weight decay; a warm-up of 72 iterations, if no other is asked for; a tenth in the last third."""
    model, batches = net(), data.DataLoader(data.Digits(), 300, rng=9) if own else None
    given = {"lr": lr} if lr != 0.1 else {}
    given |= {} if warmup is None else {"warmup": warmup}
    given |= {"seed": seed} if seed else {}
    assert lab.fit(model, batches, epochs=24, title="mine", **given) == ["history"]
    ((args, settings),) = untrained
    iterations = 24 * (5 if own else 12)
    sgd, schedule = settings["optimizer"], settings["schedule"]
    assert args[0] is model
    assert args[1].state_dict() == {"seed": 9 if own else seed, "epoch": 0, "batch": 0}
    assert (args[1] is batches) == own
    assert args[1].batch_size == (300 if own else 128)
    assert settings["iterations"] == iterations
    assert settings["title"] == "mine"
    assert {p for group in sgd.groups for p in group["params"]} == set(model.parameters())
    assert [(g["momentum"], g["weight_decay"], g["nesterov"]) for g in sgd.groups] == [(0.9, 1e-4, False)]
    rates = []
    for _ in range(iterations):
        rates.append(sgd.lr)
        schedule.step()
    rise = np.minimum(1.0, np.arange(1, iterations + 1) / max(72 if warmup is None else warmup, 1))
    drop = np.where(np.arange(iterations) < iterations * 2 // 3, 1.0, 0.1)
    assert_allclose(rates, lr * rise * drop, rtol=1e-12)
    if own:
        assert "evaluate_on" not in settings
    else:
        assert [(name, len(loader.dataset)) for name, loader in settings["evaluate_on"].items()] == [
            ("train", 1437),
            ("test", 360),
        ]


@pytest.mark.parametrize("own", [False, True])
def test_what_is_asked_for_wins_over_the_recipe(untrained, own):
    """Other sets to evaluate on, and every other option of training."""
    batches = lab.digits(True, 300, rng=9) if own else None
    options = {"evaluate_on": {"mine": lab.digits(False)}, "evaluate_every": 3, "log": "here", "title": "t"}
    lab.fit(net(), batches, epochs=1, **options)
    ((_, settings),) = untrained
    assert {name: settings[name] for name in options} == options


def test_runs_depend_on_the_seed_alone():
    losses = [[record["loss"] for record in lab.fit(net(), epochs=2, seed=seed)] for seed in (0, 0, 1)]
    assert losses[0] == losses[1]
    assert all(a != b for a, b in zip(losses[0], losses[2], strict=True))


class Step(nn.Module):
    """Half of x, plus w; it notes that it was called."""

    def __init__(self, i, seen):
        self.i, self._seen, self.w = i, seen, nn.Parameter(np.array([i + 1.0]))

    def forward(self, x):
        self._seen.append(self.i)
        return x * 0.5 + self.w


@pytest.mark.parametrize("n", [1, 9, 10, 11, 20, 21, 33, 50])
def test_segments_apply_each_block_once_and_in_order(n):
    """However many there are; outputs and gradients are those of a Sequential, to the bit."""
    seen, results = [], []
    for kind in (nn.Sequential, lab.Segments):
        blocks = kind(*(Step(i, seen) for i in range(n)))
        x = mg.Tensor(np.array([3.0]), requires_grad=True)
        seen.clear()
        y = blocks(x)
        assert seen == list(range(n))
        y.sum().backward()
        results.append([y.data, *(leaf.grad.data for leaf in (x, *blocks.parameters()))])
        with mg.no_grad():
            assert_array_equal(blocks(x).data, y.data, strict=True)
    for got, expected in zip(*results, strict=True):
        assert_array_equal(got, expected, strict=True)


@pytest.mark.parametrize("n", [1, 10, 12, 21])
def test_a_block_that_takes_the_place_of_another_is_called(n):
    """Wherever it is put, before the first call and after it; one that is added at the end, too."""
    seen, x = [], mg.Tensor(np.array([3.0]))
    for called in (False, True):
        for place in range(n):
            blocks = lab.Segments(*(Step(i, seen) for i in range(n)))
            if called:
                blocks(x)
            blocks[place] = Step(100, seen)
            blocks.layers.append(Step(200, seen))
            seen.clear()
            blocks(x)
            assert seen == [*range(place), 100, *range(place + 1, n), 200]
