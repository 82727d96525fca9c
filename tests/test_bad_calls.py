"""Bad calls of all public names: whatever is passed, the answer is right, or an error that names the function."""

import collections
import inspect
import pkgutil
import tempfile
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from models.predict import predict
from models.pretrained import load_torch, to_torch
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
ELSEWHERE |= {"Flatten", "GlobalAvgPool2d", "Identity", "Module", "Optimizer", "ReLU", "init", "Schedule"}
ELSEWHERE |= {"GELU", "SiLU", "Sigmoid", "Tanh", "GradientError"}
ELSEWHERE |= {"CIFAR10", "CIFAR100", "MNIST", "FashionMNIST", "transforms", "Dataset"}
ELSEWHERE |= {"Graph", "GraphNode", "Moments", "Response", "Row", "Summary", "Unmatched"}


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


# Derived classes of lists, tuples and dicts -----------------------------------------------------


class List(list):
    """A list of one's own."""


class Tuple(tuple):
    """A tuple of one's own, as a named tuple is."""


def derived(value):
    """The same in containers of derived classes."""
    if isinstance(value, list | tuple):
        return (List if isinstance(value, list) else Tuple)(map(derived, value))
    if isinstance(value, dict):
        return collections.OrderedDict((name, derived(part)) for name, part in value.items())
    return value


class Pairs(mg.data.Digits):
    """A data set that returns a pair of a class of its own."""

    def __getitem__(self, index):
        return Tuple(super().__getitem__(index))


def holding(thing):
    """What a net finds in an attribute."""
    net = nn.Module()
    net.held = thing
    return net.state_dict()


def saved(tree):
    """What a file gives back."""
    with tempfile.TemporaryDirectory() as folder:
        mg.save(Path(folder, "tree"), tree)
        return mg.load(Path(folder, "tree"))


def loaded(state):
    return to_torch(load_torch(nn.Sequential(nn.Linear(2, 1, rng=0)), state))


P = nn.Parameter([1.0, 2.0])

#: Calls beside those of the table of bad calls: what else takes containers, or has them returned by the user's code.
CONTAINERS = {
    "attributes": (holding, [[P, (nn.ReLU(), [nn.Buffer(np.ones(3))])]]),
    "SGD": (lambda groups: mg.optim.SGD(groups, 0.1).state_dict(), [[{"params": [P], "momentum": 0.5}]]),
    "SGD.load_state_dict": (mg.optim.SGD([P], 0.1).load_state_dict, [mg.optim.SGD([P], 0.2).state_dict()]),
    "save": (saved, [{"a": [1.0, (2, {"b": np.ones(2)}), []], "c": {}}]),
    "load_torch": (loaded, [{"0.weight": np.ones((1, 2)), "0.bias": np.ones(1)}]),
    "predict": (predict, [[nn.Flatten()], [np.ones((1, 1, 1, 2))]]),
    "predict of a tuple": (predict, [(nn.Flatten(),), (np.ones((1, 1, 1, 2)),)]),
}


@pytest.mark.parametrize("name", bad_calls.calls())
def test_containers_of_derived_classes_are_taken_in_every_call(name):
    f, args, settings = bad_calls.calls()[name]()
    got = outcome(name, (f, [derived(value) for value in args], {key: derived(v) for key, v in settings.items()}))
    assert got.kind == "accepted", got.text


@pytest.mark.parametrize("name", CONTAINERS)
def test_containers_of_derived_classes_mean_the_same(name):
    f, args = CONTAINERS[name]
    assert repr(f(*map(derived, args))) == repr(f(*args))


def test_a_data_set_may_return_a_named_tuple():
    got, expected = (next(iter(mg.data.DataLoader(digits, 9))) for digits in (Pairs(), mg.data.Digits()))
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


# Zero ------------------------------------------------------------------------------------------


def numbers(f):
    """The settings of a class that are numbers by default, and not zero."""
    defaults = {name: p.default for name, p in inspect.signature(f).parameters.items()}
    return [name for name, value in defaults.items() if type(value) in (int, float) and value]


#: Public classes, and their settings that are numbers.
NUMBERS = [(name, s) for name, (f, *_) in bad_calls.PLAIN.items() if isinstance(f, type) for s in numbers(f)]


def with_zero(name, setting):
    """The setting of an object that was made with zero for it, or the error that refuses zero."""
    f, arguments, _ = bad_calls.PLAIN[name]
    args, settings = arguments()
    bound = inspect.signature(f).bind_partial(*args, **settings)
    bound.arguments[setting] = 0
    try:
        thing = f(*bound.args, **bound.kwargs)
    except ValueError as error:
        return str(error)
    return thing.groups[0][setting] if isinstance(thing, mg.optim.Optimizer) else getattr(thing, setting)


@pytest.mark.parametrize(("name", "setting"), NUMBERS)
def test_a_setting_of_zero_is_refused_or_kept(name, setting):
    """It is a number like others; after a slip as ``x or default`` it would mean the default."""
    got = with_zero(name, setting)
    assert got == 0 or (f"{name}: expected {setting}" in str(got) and str(got).endswith("got 0"))


def test_zero_is_allowed_in_many_places():
    kept = {(name, setting) for name, setting in NUMBERS if with_zero(name, setting) == 0}
    assert kept >= {("BatchNorm2d", "momentum"), ("Dropout", "p"), ("SGD", "momentum"), ("WarmupUntil", "gamma")}
