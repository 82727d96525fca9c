"""The device suite on a real GPU, a part of ``python -m tests.gpu``. Skipped where there is none."""

import numpy as np
import pytest

import minigrad as mg
from models import cifar_resnet
from tests.device.on_device import FittedOnDevice, batch, trained
from tests.gpu.hold import host_waits
from tests.records import every_sample
from tests.tools.compare import cotangent

cupy = pytest.importorskip("cupy")
try:
    GPUS = cupy.cuda.runtime.getDeviceCount()
except cupy.cuda.runtime.CUDARuntimeError as error:
    pytest.skip(f"CuPy finds no GPU: {error}", allow_module_level=True)


class TestCuPy(FittedOnDevice):
    """Equal to NumPy's within the rounding of other sums."""

    xp = cupy
    tolerance = 1e-9


def test_reading_a_number_waits():
    """Otherwise, what follows would find no wait anywhere."""
    x = mg.Tensor(np.ones(3)).to("cuda")
    assert host_waits((x * 2.0).sum().item, 0.2)
    assert not host_waits(lambda: x * 2.0, 0.2)


@pytest.mark.parametrize(("name", "sample"), every_sample())
def test_an_operator_does_not_wait(name, sample):
    """The host goes on while the GPU works, through the forward pass and both kinds of backward pass."""
    leaves = [mg.Tensor(x, requires_grad=True).to("cuda") for x in sample.inputs]
    out = sample.function(name)(*leaves)
    g = mg.Tensor(cotangent(out)).to("cuda")

    def action():
        out = sample.function(name)(*leaves)
        mg.grad(out, leaves, g, create_graph=True, retain_graph=True)
        mg.grad(out, leaves, g)

    action()
    assert not host_waits(action)


def test_training_gives_its_memory_back():
    """No tape outlives its step: from the third on, as much memory is in use as before."""
    images, labels = batch(32, "float32")
    net, moved = cifar_resnet(8).to("cuda"), mg.Tensor(images).to("cuda")
    pool, used = cupy.get_default_memory_pool(), []
    for _ in range(4):
        trained(net, moved, labels, 2)
        used.append(pool.used_bytes())
    assert used[2] == used[3]


@pytest.mark.skipif(GPUS < 2, reason="one GPU only")
def test_the_gpu_that_is_asked_for():
    with cupy.cuda.Device(0):
        x = mg.Tensor(np.ones(3)).to("cuda:1")
        assert (x.device, (x * 2.0).device, mg.Tensor(np.ones(3)).to("cuda").device) == ("cuda:1",) * 3
        assert x.to("cuda:0").device == "cuda:0"
