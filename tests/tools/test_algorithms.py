"""Nets train alike by both algorithms: the log is complete, its figures are those of the page, and they say so."""

from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad.kernels.conv import in_force
from tests.tools import algorithms

PAGE = (Path(__file__).parents[2] / "docs/performance.md").read_text()


def test_the_log_has_every_run_and_no_other():
    assert set(algorithms.read()) == set(algorithms.runs())
    assert len(set(algorithms.runs())) == 3 * 2 + 8 * 2 * 4


def test_the_page_shows_the_table():
    assert f"\n\n{algorithms.table()}\n\n" in PAGE


@pytest.mark.parametrize(("what", "by"), algorithms.figures().items(), ids=map(" ".join, algorithms.figures()))
def test_the_algorithms_differ_less_than_the_seeds(what, by):
    """As the page says: means within the larger of the ranges, and ranges that meet."""
    im2col, winograd = by["im2col"], by["Winograd"]
    assert len(im2col) == len(winograd) == (3 if what[0] == algorithms.CIFAR else 8)
    assert abs(np.mean(im2col) - np.mean(winograd)) <= max(np.ptp(im2col), np.ptp(winograd))
    assert max(min(im2col), min(winograd)) <= min(max(im2col), max(winograd))


def test_the_algorithms_really_differ():
    """Other rounding, another net: no two runs of a seed have the same losses."""
    rows = algorithms.read()
    assert all(
        rows[algorithms.CIFAR, "im2col", seed]["losses"][-1] != rows[algorithms.CIFAR, "auto", seed]["losses"][-1]
        for seed in range(3)
    )


@pytest.mark.parametrize("task", [algorithms.CIFAR, algorithms.DIGITS[1]])
@pytest.mark.parametrize("algorithm", ["im2col", "winograd"])
def test_each_run_is_by_its_algorithm(monkeypatch, task, algorithm):
    for name in ("on_cifar", "on_digits"):
        monkeypatch.setattr(algorithms, name, lambda *given: {"given": given, "by": in_force.get()})
    row = algorithms.train(task, algorithm, 4)
    assert {key: row[key] for key in ("task", "algorithm", "seed", "by")} == {
        "task": task,
        "algorithm": algorithm,
        "seed": 4,
        "by": algorithm,
    }
    assert row["given"] == ((4,) if task == algorithms.CIFAR else ("plain", "56", 4))
    assert in_force.get() == "auto"


def test_a_net_on_the_digits_learns_by_its_settings(monkeypatch):
    seen = []

    def fit(net, **settings):
        seen.append((net, settings))
        return [{"train_error": 0.5, "test_error": 0.6}, {"train_error": 0.1, "test_error": 0.2, "loss": 3.0}]

    monkeypatch.setattr(algorithms.lab, "fit", fit)
    assert algorithms.on_digits("residual", "20", 3) == {"train_error": 0.1, "test_error": 0.2}
    ((net, settings),) = seen
    assert settings == {"epochs": 12, "seed": 3, "evaluate_every": 144}
    assert sum(isinstance(module, mg.nn.Conv2d) for _, module in net.named_modules()) == 19
