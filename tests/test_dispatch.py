"""Whole nets on the strict double: training, state and evaluation, with no host array mixed in."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import minigrad as mg
from minigrad import train
from models import cifar_plain, cifar_resnet
from tests.strict import StrictArray, count_syncs, strict


def moved(net):
    """Put a net onto the double, as net.to(device) does onto a device."""
    for _, module in net.named_modules():
        for name, value in list(vars(module).items()):
            if isinstance(value, mg.nn.Parameter):
                value.data = strict.asarray(value.data)
            elif isinstance(value, np.ndarray):
                setattr(module, name, strict.asarray(value))
    return net


def batch():
    rng = np.random.default_rng(0)
    return rng.standard_normal((4, 8, 8, 3)), rng.integers(10, size=4)


@pytest.mark.parametrize("make", [cifar_plain, cifar_resnet, lambda *a, **k: cifar_resnet(*a, shortcut="B", **k)])
def test_training_steps_are_those_of_numpy(make):
    x, labels = batch()
    nets = [make(8, dtype=np.float64), moved(make(8, dtype=np.float64))]
    inputs = [mg.Tensor(x), mg.Tensor(strict.asarray(x))]
    losses = []
    for net, images in zip(nets, inputs, strict=True):
        sgd = mg.optim.SGD(net.parameters(), 0.1, weight_decay=1e-4)
        losses.append([])
        with count_syncs() as syncs:
            for _ in range(3):
                loss = mg.cross_entropy(mg.recompute(net, images), labels)
                sgd.zero_grad()
                loss.backward()
                sgd.step()
                losses[-1].append(loss)
        assert syncs.count == 0  # the host waits for the device only where a loss is read
    assert_allclose([t.item() for t in losses[1]], [t.item() for t in losses[0]], rtol=1e-10)
    on_host, away = (net.state_dict() for net in nets)
    assert all(type(p.data) is StrictArray and p.device == "cuda:0" for p in nets[1].parameters())
    for name, value in on_host.items():
        assert type(away[name]) is np.ndarray
        assert_allclose(away[name], value, rtol=1e-9, atol=1e-12, err_msg=name)


def test_state_goes_both_ways():
    net, away = cifar_resnet(8, rng=1), moved(cifar_resnet(8, rng=2))
    away.load_state_dict(net.state_dict())
    x = batch()[0].astype("float32")
    assert_allclose(
        away.eval()(mg.Tensor(strict.asarray(x))).numpy(), net.eval()(mg.Tensor(x)).data, rtol=1e-4, atol=1e-5
    )
    device_state = {name: strict.asarray(value) for name, value in away.state_dict().items()}
    net.load_state_dict(device_state)


def test_evaluation_and_host_index_arrays():
    x, labels = batch()
    net = moved(cifar_resnet(8, dtype=np.float64))
    loss, error = train.evaluate(net, [(strict.asarray(x), strict.asarray(labels))])
    assert np.isfinite(loss)
    assert 0 <= error <= 1
    t = mg.Tensor(strict.asarray(x), requires_grad=True)
    t[np.array([0, 0, 1])].sum().backward()
    assert t.grad.numpy()[:3, 0, 0, 0].tolist() == [2.0, 1.0, 0.0]


def test_mixed_devices_are_named():
    away, here = mg.Tensor(strict.asarray(np.ones(2)), requires_grad=True), mg.Tensor(np.ones(2))
    with pytest.raises(TypeError, match="mul: expected Tensors on one device, got cuda:0 and cpu"):
        away * here
    with pytest.raises(ValueError, match="backward: the output is on cuda:0, but the gradient to start from is on cpu"):
        (away * 2.0).backward(np.ones(2))
    with pytest.raises(ValueError, match="batch_norm: x is on cuda:0, but the running statistics are on cpu"):
        mg.nn.BatchNorm2d(2, dtype=np.float64)(away.reshape(1, 2))
    with pytest.raises(TypeError, match=r"gradcheck: input 0 is on cuda:0.*use .to\('cpu'\)"):
        mg.gradcheck(lambda x: x, [away])


def test_tensors_on_a_device():
    x = mg.Tensor(strict.asarray(np.arange(3.0)))
    assert x.device == "cuda:0"
    assert type(x.numpy()) is np.ndarray
    assert repr(x) == "Tensor([0., 1., 2.], dtype=float64, device='cuda:0')"
    with pytest.raises(TypeError, match="not silently taken for an array"):
        np.asarray(x)
    assert type(x.to("cpu").data) is np.ndarray


def test_a_gpu_without_cupy():
    try:
        import cupy  # noqa: F401
    except ImportError:
        with pytest.raises(RuntimeError, match="needs CuPy, which is not installed; install it with"):
            mg.Tensor([1.0]).to("cuda")
    else:
        pytest.skip("CuPy is installed")
