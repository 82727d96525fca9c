"""The answer to a name of PyTorch: the name is PyTorch's, minigrad lacks it, and the line names what there is."""

import re
import tomllib
from pathlib import Path

import pytest

import minigrad as mg
from minigrad import data, inspect, nn, optim
from minigrad.data import transforms

TABLE = tomllib.loads(Path(mg.advice.__file__).with_name("advice.toml").read_text(encoding="utf-8"))
ROWS = [(place, name, line) for place, lines in TABLE.items() for name, line in lines.items()]

WEIGHT = nn.Parameter([1.0])
OURS = {
    "minigrad": mg,
    "minigrad.nn": nn,
    "minigrad.optim": optim,
    "minigrad.data": data,
    "minigrad.data.transforms": transforms,
    "minigrad.inspect": inspect,
    "Tensor": WEIGHT,
    "Module": nn.Linear(2, 3, rng=0),
    "Optimizer": optim.SGD([WEIGHT], 0.1),
}


@pytest.mark.parametrize(("place", "name", "line"), ROWS)
def test_the_line_is_said_and_names_what_there_is(place, name, line):
    with pytest.raises(AttributeError) as caught:
        getattr(OURS[place], name)
    assert str(caught.value).endswith(f"has no attribute {name!r}; write {line}")
    for part, attribute in re.findall(r"\b(mg|nn|optim|data|transforms|inspect|net|x|optimizer)\.(\w+)", line):
        places = {"mg": "minigrad", "net": "Module", "x": "Tensor", "optimizer": "Optimizer"}
        places["transforms"] = "minigrad.data.transforms"
        assert hasattr(OURS[places.get(part, f"minigrad.{part}")], attribute), attribute


@pytest.mark.parametrize("place", OURS)
def test_a_name_of_nobody_gets_no_advice(place):
    assert not hasattr(OURS[place], "nowhere")
    with pytest.raises(AttributeError, match=r"^.* has no attribute 'nowhere'(; it has .*)?$"):
        _ = OURS[place].nowhere


def test_the_names_are_pytorchs():
    torch = pytest.importorskip("torch")
    theirs = {
        "minigrad": [torch],
        "minigrad.nn": [torch.nn],
        "minigrad.optim": [torch.optim],
        "minigrad.data": [torch.utils.data],
        "minigrad.data.transforms": [],
        "minigrad.inspect": [],
        "Tensor": [torch.Tensor],
        "Module": [torch.nn.Module, torch.nn.Linear(1, 1), torch.nn.Conv2d(1, 1, 1)],
        "Optimizer": [torch.optim.SGD([torch.ones(1)], 0.1)],
    }
    lacking = [(place, name) for place, name, _ in ROWS if not any(hasattr(thing, name) for thing in theirs[place])]
    torchvisions = [("minigrad.data", "ImageFolder")]
    others = ("minigrad.data.transforms", "minigrad.inspect")  # not PyTorch's own
    assert lacking == torchvisions + [row[:2] for row in ROWS if row[0] in others]
