"""What processes compare before they train: whatever differs between two runs is told, and nothing else."""

import importlib.util
import sys

import numpy as np
import pytest

from minigrad import nn
from minigrad.data import DataLoader, TensorDataset
from minigrad.optim import SGD, CosineLR
from minigrad.train.run import Run, facts


def run(images=None, labels=None, net=None, held_out=None, **change):
    """Return a run on 100 images, or on those given."""
    images = np.zeros((100, 1), "float32") if images is None else images
    labels = np.zeros(len(images), int) if labels is None else labels
    net = net or nn.Sequential(nn.Linear(1, 2, rng=0), nn.ReLU())
    sgd = SGD(net.parameters(), 0.1)
    sets = {"test": DataLoader(TensorDataset(np.zeros((50, 1)) if held_out is None else held_out, np.zeros(50)), 10)}
    batches = DataLoader(TensorDataset(images, labels), change.pop("size", 10), rng=change.pop("seed", 0))
    schedule = CosineLR(sgd, 9) if change.pop("schedule", False) else None
    metrics = change.pop("metrics", ["error"])
    return Run(net, batches, sets, sgd, schedule, metrics, change)


def told(*args, **change):
    """Name the facts that differ from those of the plain run."""
    one, other = facts(run()), facts(run(*args, **change))
    return {name for name in one | other if one.get(name) != other.get(name)}


def net(*layers):
    return nn.Sequential(*layers, nn.ReLU())


CHANGES = {
    "nothing": ({}, set()),
    "values of weights": ({"net": net(nn.Linear(1, 2, rng=7))}, set()),  # all take those of rank 0
    "seed": ({"seed": 5}, set()),  # this, too
    "shape": ({"net": net(nn.Linear(1, 3, rng=0))}, {"the model"}),
    "dtype": ({"net": net(nn.Linear(1, 2, rng=0, dtype="float64"))}, {"the model"}),
    "names": ({"net": nn.Sequential(nn.ReLU(), nn.Linear(1, 2, rng=0))}, {"the model"}),
    "buffers": ({"net": net(nn.Linear(1, 2, rng=0), nn.BatchNorm2d(2))}, {"the model"}),
    "Generators": ({"net": net(nn.Linear(1, 2, rng=0), nn.Dropout(0.1, rng=0))}, {"generators"}),
    "labels": ({"labels": np.ones(100, int)}, {"the data of batches"}),
    "dtype of images": ({"images": np.zeros((100, 1))}, {"the data of batches"}),
    "held-out images": ({"held_out": np.ones((50, 1))}, {"the data of test"}),
    "batch size": ({"size": 20}, {"batch_size"}),
    "schedule": ({"schedule": True}, {"schedule"}),
    "metrics": ({"metrics": []}, {"metrics"}),
    "settings": ({"depth": 8}, {"depth"}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_differs_is_told_and_nothing_else(change):
    settings, expected = CHANGES[change]
    assert told(**settings) == expected


@pytest.fixture
def no_source(monkeypatch):
    """Leave out the checksum of minigrad's source, which takes most of the time."""
    monkeypatch.setattr("pathlib.Path.rglob", lambda *_: iter(()))


@pytest.mark.usefixtures("no_source")
@pytest.mark.parametrize("n", [1, 2, 20, 32])
def test_any_image_of_a_small_set_is_looked_at(n):
    zeros = np.zeros((n, 1), "float32")
    plain = facts(run(zeros))["the data of batches"]
    for i in range(n):
        images = zeros.copy()
        images[i] = 1
        assert facts(run(images))["the data of batches"] != plain, i
        assert facts(run(zeros, images.astype(int).ravel()))["the data of batches"] != plain, i


@pytest.mark.usefixtures("no_source")
@pytest.mark.parametrize("n", [33, 100, 4096])
def test_images_are_looked_at_all_over_a_large_set(n):
    """Wherever a thirtieth of them is of another set."""
    part = n // 30 + 1
    plain = facts(run(np.zeros((n, 1), "float32")))["the data of batches"]
    for start in range(0, n - part + 1, max(1, n // 40)):
        images = np.zeros((n, 1), "float32")
        images[start : start + part] = 1
        assert facts(run(images))["the data of batches"] != plain, start


class Holder(nn.Module):
    """A net of ours that holds a layer of another file."""

    def __init__(self, held):
        self.linear, self.held = nn.Linear(1, 2, rng=0), held

    def forward(self, x):
        return self.linear(x)


PLACES = {
    "net": lambda layer: layer,
    "part": lambda layer: nn.Sequential(nn.Linear(1, 2, rng=0), layer),
    "part of a part": lambda layer: nn.Sequential(nn.Linear(1, 2, rng=0), nn.Sequential(nn.Sequential(layer))),
    "in a list": lambda layer: Holder([[], [layer]]),
    "in a dict": lambda layer: Holder({"a": {"b": layer}}),
    "behind its like": lambda layer: nn.Sequential(nn.ReLU(), nn.Linear(1, 2, rng=0), nn.ReLU(), Holder((layer,))),
}


@pytest.mark.parametrize("place", PLACES)
def test_the_file_of_any_part_of_a_net_is_compared(place, tmp_path, monkeypatch):
    """The net itself, or what stands in it at any depth."""
    file = tmp_path / "layers_of_a_user.py"
    text = "from minigrad import nn\n\n\nclass Mine(nn.Linear):\n    pass\n"
    file.write_text(text)
    spec = importlib.util.spec_from_file_location("layers_of_a_user", file)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "layers_of_a_user", module)
    spec.loader.exec_module(module)
    one = run(net=PLACES[place](module.Mine(1, 2, rng=0)))
    before = facts(one)
    assert facts(one) == before
    file.write_text(text + "    # a comment\n")
    after = facts(one)
    assert {name for name in before if before[name] != after[name]} == {"the program"}


def test_facts_are_short_and_of_this_machine():
    """So that a message can hold both of two that differ."""
    found = facts(run())
    assert found["NumPy's version"] == np.__version__
    assert found["the device"] == str(nn.Linear(1, 1, rng=0).device)
    assert all(len(str(value)) < 500 for value in found.values())
