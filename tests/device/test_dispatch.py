"""The device suite on the strict double: the same code, with no host array mixed in and no waiting for the device."""

import sys
from contextlib import contextmanager

import numpy as np
import pytest

import minigrad as mg
from models import cifar_resnet
from tests.device.on_device import FittedOnDevice
from tests.tools.strict import StrictArray, count_syncs, strict


@pytest.fixture(autouse=True)
def double(monkeypatch):
    """Let the double be found under CuPy's name, so that ``.to("cuda")`` leads to it."""
    monkeypatch.setitem(sys.modules, "cupy", strict)
    yield
    strict.cuda.Device(0).use()


class TestDouble(FittedOnDevice):
    """Equal to NumPy's: beneath, it is NumPy."""

    xp = strict
    tolerance = 1e-12

    @contextmanager
    def waits(self, count):
        """Count how often a value is brought to the host."""
        with count_syncs() as syncs:
            yield
        assert syncs.count == count

    @pytest.mark.parametrize("depth", [8, 14])
    def test_an_iteration_of_fit_waits_three_times(self, depth, tmp_path):
        """For the loss, the answers, and whether all is finite: however many layers there are."""
        counts = []
        for iterations in (3, 4):
            net = cifar_resnet(depth, in_channels=1).to("cuda")
            with count_syncs() as syncs:
                mg.train.fit(
                    net,
                    mg.data.DataLoader(mg.data.Digits(), 16, rng=0),
                    optimizer=mg.optim.SGD(net.parameters(), 0.05),
                    iterations=iterations,
                )
            counts.append(syncs.count)
        assert counts == [9, 12]


def test_names_of_devices():
    x = mg.Tensor([0.0, 1.0, 2.0])
    for name, place in {"cuda": "cuda:0", "cuda:0": "cuda:0", "cuda:1": "cuda:1"}.items():
        moved = x.to(name)
        assert (moved.device, (moved * 2.0).device) == (place, place)
        assert type(moved.data) is StrictArray
    assert x.to("cuda").device == "cuda:1"  # the current one is the one asked for last
    assert repr(moved) == "Tensor([0., 1., 2.], device='cuda:1')"
    assert moved.to("cuda:0").device == "cuda:0"
    for wrong in ("gpu", "cuda:", "cuda:x", "cuda:-1", "cpu:0", ""):
        with pytest.raises(ValueError, match='to: expected a device "cpu", "cuda" or "cuda:1", got'):
            x.to(wrong)
    with pytest.raises(RuntimeError, match="finds no usable GPU for 'cuda:7' .*invalid device ordinal.*nvidia-smi"):
        x.to("cuda:7")


def test_the_number_of_a_gpu_may_have_several_digits():
    """All of them count, in the name of the device and in that of its error."""
    x = mg.Tensor([1.0])
    assert x.to("cuda:01").device == "cuda:1"
    for number in (2, 10, 11, 100):
        with pytest.raises(RuntimeError, match=f"finds no usable GPU for 'cuda:{number}' "):
            x.to(f"cuda:{number}")


def test_two_gpus_are_not_mixed():
    first = mg.Tensor([1.0]).to("cuda:0")
    second = mg.Tensor([1.0]).to("cuda:1")
    with pytest.raises(TypeError, match="mul: expected arrays on one device, got cuda:0 and cuda:1"):
        first * second


def test_a_gpu_without_cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(RuntimeError, match=r"'cuda' needs CuPy, which cannot be imported .* pip install 'minigrad-nu"):
        mg.Tensor([1.0]).to("cuda")
    with pytest.raises(RuntimeError, match="needs CuPy"):
        mg.nn.Linear(2, 2, rng=0).to("cuda:1")


def test_an_error_of_ones_own_is_not_taken_for_one_of_devices():
    @mg.operator
    def broken(x, /, table):
        raise TypeError("mine")

    x = mg.Tensor([1.0])
    with pytest.raises(TypeError, match="^mine$"):
        broken(x, np.ones(1))
    with pytest.raises(TypeError, match="^mine$"):
        broken(x.to("cuda"), strict.ones(1))


def test_moving_to_where_it_is_gives_itself():
    x = mg.Tensor([1.0]).to("cuda")
    assert x.to("cuda") is x is x.to("cuda:0")
