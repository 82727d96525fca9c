"""demos/gpu.py says what there is, and trains on it."""

import sys

import pytest

from demos import gpu
from tests.tools.strict import strict

SMALL = ["--depth", "8", "--width", "4", "--epochs", "1"]


def test_without_a_gpu_it_says_so_and_trains_on_the_cpu(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cupy", None)
    (record,) = gpu.main(SMALL)
    printed = capsys.readouterr().out
    assert "There is no GPU to train on" in printed
    assert "pip install 'minigrad-numpy[gpu]'" in printed
    assert f"{record['test_error']:.1%}" in printed


def test_with_one_it_trains_on_both(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cupy", strict)
    here, away = gpu.main(SMALL)
    printed = capsys.readouterr().out
    assert "no GPU" not in printed
    assert printed.splitlines()[-1].startswith("cuda:0")
    assert away["loss"] == pytest.approx(here["loss"], rel=1e-3)
