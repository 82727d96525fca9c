"""What users of an installation meet first: ``python -m minigrad``, and ``minigrad.models`` beside a models.py."""

import os
import subprocess
import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
import minigrad.models
import models
from minigrad import __main__ as command
from minigrad import ops
from tests import house


def test_the_command_says_what_is_installed(capsys):
    assert command.main([]) == 0
    said = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert said["minigrad"] == f"{mg.__version__}, in {house.ROOT / 'minigrad'}"
    assert said["NumPy"] == np.__version__
    assert said["threads"].startswith(f"{mg.get_num_threads()} on ")
    assert said["docs"] == str(house.ROOT / "docs")


def test_the_check_proves_every_operator(capsys):
    assert command.check() == 0, capsys.readouterr().out
    assert f"\n{len(ops.__all__)} of {len(ops.__all__)} operators proven" in capsys.readouterr().out


def test_the_check_finds_a_wrong_rule(capsys, monkeypatch):
    @mg.elementwise
    def wrong(x, /):
        return np.exp(x)

    wrong.vjp(lambda g, out: 1.001 * g * out)
    monkeypatch.setattr(ops, "__all__", ["tanh", "wrong"])
    monkeypatch.setattr(ops, "wrong", wrong, raising=False)
    assert command.main(["--check"]) == 1
    printed = capsys.readouterr().out
    assert "wrong                 WRONG: sample 0, first order: the gradient of input 0" in printed
    assert "1 of 2 operators proven" in printed


def test_samples_are_of_operators():
    assert set(command.SAMPLES) <= set(ops.__all__)


def test_both_names_of_the_nets_give_the_same():
    assert minigrad.models is models
    for file in Path(models.__file__).parent.glob("[!_]*.py"):  # two copies of a class would be two classes
        assert import_module(f"minigrad.models.{file.stem}") is import_module(f"models.{file.stem}")
    assert set(models.__all__) <= set(vars(minigrad.models))


@pytest.mark.parametrize("way", ["a link to the project", "a link to the nets", "a relative path", "a way back"])
def test_the_nets_are_loaded_once_whatever_path_leads_to_them(way, tmp_path, monkeypatch):
    """Two copies of a class would be two classes."""
    link = tmp_path / "linked"
    link.symlink_to(house.ROOT / "models" if "nets" in way else house.ROOT)
    folder = {
        "a link to the project": link / "models",
        "a link to the nets": link,
        "a relative path": Path(os.path.relpath(house.ROOT / "models")),
        "a way back": house.ROOT / "tests" / ".." / "models",
    }[way]
    monkeypatch.setattr(models, "__spec__", spec_from_file_location("models", folder / "__init__.py"))
    spec = spec_from_file_location("probe", house.ROOT / "minigrad" / "models.py")
    before = set(sys.modules)
    try:
        sys.modules["probe"] = probe = module_from_spec(spec)
        spec.loader.exec_module(probe)
        assert sys.modules["probe"] is models
        assert sys.modules["probe.plain"] is models.plain
    finally:
        for name in set(sys.modules) - before:
            del sys.modules[name]


PROGRAM = """
import pickle
import models
from minigrad.models import pretrained, resnet
from minigrad.models.plain import Net

assert models.mine is resnet.cifar_resnet, models
net = pickle.loads(pickle.dumps(models.mine(8, rng=0)))
assert type(net) is Net is pretrained.Net, type(net)
from minigrad.__main__ import installed
print(installed()["nets"])
"""


def test_a_models_of_ones_own_hides_only_the_short_name(tmp_path):
    (tmp_path / "models.py").write_text("from minigrad.models import cifar_resnet\n\nmine = cifar_resnet\n")
    (tmp_path / "program.py").write_text(f"import sys\nsys.path.append({str(house.ROOT)!r})\n{PROGRAM}")
    done = subprocess.run([sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "minigrad.models: another models hides the short name\n"
