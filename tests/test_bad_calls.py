"""Bad calls of all public names: whatever is passed, the answer is right, or an error that names the function."""

import collections
import pkgutil

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from tests.tools import bad_calls
from tests.tools.bad_calls import outcome, outcomes

#: Public names that nothing bad can be passed to, or that are tested elsewhere: files, downloads, contexts.
ELSEWHERE = {
    "conv_algorithm",
    "get_num_threads",
    "keep_freed_memory",
    "load",
    "save",
    "detect_anomaly",
    "no_grad",
    "once",
}
ELSEWHERE |= {"Flatten", "GlobalAvgPool2d", "Identity", "Module", "ReLU", "init", "Schedule", "GradientError"}
ELSEWHERE |= {"CIFAR10", "CIFAR100", "MNIST", "FashionMNIST", "transforms"}
ELSEWHERE |= {"Graph", "GraphNode", "Moments", "Response", "Row", "Summary"}


@pytest.mark.parametrize(
    ("count", "seed"), [(2000, 0), *(pytest.param(10_000, seed, marks=pytest.mark.slow) for seed in range(1, 11))]
)
def test_bad_calls_are_refused_by_name_or_answered_right(count, seed):
    found = list(outcomes(count, seed))
    counts = collections.Counter(one.kind for one in found)
    assert [one.text for one in found if one.kind not in ("accepted", "named")] == []
    assert counts["named"] > count / 2
    assert counts["accepted"] > count / 50


def test_valid_calls_are_accepted():
    """Else all of their bad relatives would be refused for another reason."""
    assert [o for name, make in bad_calls.calls().items() if (o := outcome(name, make())).kind != "accepted"] == []


def test_every_public_name_is_called():
    called = {name.partition("-")[0] for name in bad_calls.calls()}
    packages = [mg, nn, mg.optim, mg.train, mg.data, mg.inspect]
    public = {name for package in packages for name in package.__all__}
    public -= {m.name for m in pkgutil.iter_modules(mg.__path__)} | ELSEWHERE
    assert sorted(public - called) == []


class Plain:
    """Something that knows nothing of minigrad."""


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        ((lambda x: x.nothing, [Plain()], {}), "raw"),
        ((np.ones, ["a"], {}), "raw"),
        ((lambda x: int("a"), [1], {}), "unnamed"),
        ((lambda x: [y for y in iter(lambda: 0, x) if y], [1], {}), "hung"),
        ((lambda x: x, [1], {}), "accepted"),
        ((mg.relu, ["a"], {}), "named"),
        ((mg.relu, [1.0, 2.0], {}), "named"),
    ],
)
def test_a_call_is_judged_right(call, kind, monkeypatch):
    """A fault of each kind, so that the test above can fail."""
    monkeypatch.setattr(bad_calls, "SECONDS", 1)
    monkeypatch.setattr(bad_calls, "_is_users", lambda error, name: False)
    assert outcome("relu", call).kind == kind


def test_a_wrong_result_is_seen(monkeypatch):
    monkeypatch.setattr(mg, "relu", lambda x: x)
    assert outcome("relu", (lambda x: x, [np.array([-1.0])], {})).kind == "wrong"
    assert outcome("MaxPool2d", (lambda: lambda x: x.nothing, [], {})).kind == "wrong"
