"""Beyond the first: several norms, several sets, several Generators, several curves, handlers of one's own."""

import itertools
import os
import signal

import numpy as np
import pytest
from numpy.testing import assert_allclose

import minigrad as mg
from minigrad import nn, train
from minigrad.data import DataLoader, Digits, Subset
from minigrad.optim import SGD
from minigrad.train import diagnose
from minigrad.train.report import shade
from minigrad.train.run import Run
from minigrad.train.signals import stop_requests


class Norm(nn.BatchNorm2d):
    """A batch norm under another name."""


def digits(n=70):
    return Subset(Digits(), range(n))


@pytest.mark.parametrize("kinds", list(itertools.product([nn.BatchNorm2d, Norm], repeat=3)))
def test_each_of_several_norms_is_refreshed_and_keeps_its_own_settings(kinds):
    """In evaluation mode or not, with whatever momentum and numbers; by hand, from the batches of each norm's input."""
    norms = [kind(64, momentum=0.2 * i + 0.1) for i, kind in enumerate(kinds)]
    net = nn.Sequential(nn.Flatten(), *norms)
    norms[1].eval()
    for norm, wrong in zip(norms, (0.5, np.nan, np.inf), strict=True):
        norm.running_mean.data[...], norm.running_var.data[...] = wrong, wrong
    train.refresh_statistics(net, DataLoader(digits(), 32))
    batches = [digits()[i : min(i + 32, 70)][0].reshape(-1, 64).astype("float64") for i in (0, 32, 64)]
    for i, norm in enumerate(norms):
        mean = sum(len(x) * x.mean(0) for x in batches) / 70
        var = sum(len(x) * x.var(0, ddof=1) for x in batches) / 70
        assert_allclose(norm.running_mean.data, mean, rtol=1e-5, atol=1e-6)
        assert_allclose(norm.running_var.data, var, rtol=1e-5)
        batches = [(x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5) for x in batches]
        assert (norm.momentum, norm.training) == (0.2 * i + 0.1, i != 1)


def linear(**parts):
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10, rng=0))
    for name, value in parts.items():
        setattr(net[1], name, value)
    return net, SGD(net.parameters(), 0.1)


@pytest.mark.parametrize("place", range(3))
def test_the_loader_that_is_trained_on_is_refused_at_any_place_among_the_sets(place):
    net, sgd = linear()
    batches = DataLoader(digits(), 32)
    loaders = [DataLoader(digits(), 32), DataLoader(digits(), 32)]
    loaders.insert(place, batches)
    with pytest.raises(ValueError, match="^fit: expected loaders of their own"):
        train.fit(net, batches, optimizer=sgd, iterations=1, evaluate_on=dict(zip("abc", loaders, strict=True)))


def test_each_of_several_sets_continues_where_it_was(tmp_path):
    def fit(iterations, **settings):
        net, sgd = linear()
        sets = {name: DataLoader(digits(20), 8, rng=seed) for seed, name in enumerate("abc")}
        given = {"iterations": iterations, "evaluate_on": sets, "evaluate_every": 1}
        train.fit(net, DataLoader(digits(), 32, rng=9), optimizer=sgd, **given | settings)
        return {name: loader.state_dict() for name, loader in sets.items()}

    expected = fit(3)
    fit(2, checkpoint=train.Checkpoint(tmp_path / "run"))
    assert fit(3, checkpoint=train.Checkpoint(tmp_path / "run", resume=True)) == expected


@pytest.mark.parametrize("kind", [list, tuple, lambda rngs: next(iter(rngs))])
def test_generators_alone_in_a_list_and_in_a_tuple_are_saved_and_restored(tmp_path, kind):
    def run(seed):
        net, sgd = linear(noise=kind([np.random.default_rng(seed + i) for i in range(3)]), other=(None, 3))
        return Run(net, DataLoader(digits(), 32), {}, sgd, None, ["error"], {})

    first, second = run(0), run(7)
    count = 1 if isinstance(first.model[1].noise, np.random.Generator) else 3
    assert list(first.generators) == [f"1.noise.{i}" for i in range(count)]
    for rng in first.generators.values():
        rng.random(3)
    first.save(tmp_path / "run")
    second.load(tmp_path / "run")
    for name, rng in first.generators.items():
        assert rng.random() == second.generators[name].random()


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_gradient_that_is_not_finite_is_named_wherever_others_are_missing(wrong):
    """Of four parameters, each with a finite gradient, one that is not finite, or none."""
    for kinds in itertools.product([None, 1.0, wrong], repeat=4):
        parameters = {name: nn.Parameter([1.0, 2.0]) for name in "abcd"}
        for p, kind in zip(parameters.values(), kinds, strict=True):
            p.grad = None if kind is None else mg.Tensor([1.0, kind])
        bad = [name for name, kind in zip("abcd", kinds, strict=True) if kind not in (None, 1.0)]
        listed = ", ".join(bad[:3]) + " and 1 more" * (len(bad) > 3)
        assert diagnose.fault(1.0, parameters) == (f"the gradient of {listed} is not finite" if bad else "")


@pytest.mark.parametrize("n", range(1, 9))
def test_each_of_several_curves_is_darker_than_the_one_before(n):
    colours = np.array([shade(i, n) for i in range(n)])
    assert_allclose(colours[-1], [0.0, 0.1, 0.4], atol=1e-15)
    assert_allclose(np.diff(colours, axis=0), np.tile([-0.62 / n, -0.9 * 0.62 / n, -0.6 * 0.62 / n], (n - 1, 1)))
    assert (colours <= 1).all()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("raises", [False, True])
def test_handlers_of_ones_own_come_back_and_get_the_second_signal(number, raises):
    heard = []

    def mine(number, frame):
        heard.append(number)

    before = signal.signal(number, mine)
    try:
        try:
            with stop_requests(True) as request:
                os.kill(os.getpid(), number)
                assert (heard, request.received) == ([], number)
                os.kill(os.getpid(), number)
                assert heard == [number]
                if raises:
                    raise RuntimeError
        except RuntimeError:
            pass
        assert signal.getsignal(number) is mine
        with stop_requests(True):
            pass
        assert signal.getsignal(number) is mine
    finally:
        signal.signal(number, before)
