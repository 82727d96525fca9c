"""PyTorch as an independent oracle: one whole training step of ResNet-20, in float64."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import minigrad as mg
from models import cifar_resnet

torch = pytest.importorskip("torch")


def to_torch(array):
    """Turn (kh, kw, c, o) into (o, c, kh, kw), and (in, out) into (out, in)."""
    return torch.tensor(array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T if array.ndim == 2 else array)


def assert_same(ours, theirs, what):
    """Compare to 1e-9 of the largest element."""
    expected = to_torch(ours).numpy()
    theirs = theirs.detach().numpy()
    assert_allclose(theirs, expected, rtol=0, atol=1e-9 * np.abs(expected).max(), err_msg=what, strict=True)


@pytest.mark.parametrize("training", [True, False])
def test_a_training_step_of_resnet_20(training):
    from tests.benchmarks import torch_nets

    rng = np.random.default_rng(0)
    net = cifar_resnet(20, dtype=np.float64).train(training)
    twin = torch_nets.cifar_resnet(20).double().train(training)
    for buffer in net.buffers():
        buffer[...] = rng.uniform(0.5, 1.5, buffer.shape)
    for p in net.parameters():
        p.data = p.data + 0.1 * rng.standard_normal(p.shape)
    with torch.no_grad():
        for (name, ours), theirs in zip(net.named_parameters(), twin.parameters(), strict=True):
            theirs.copy_(to_torch(ours.data))
            assert theirs.shape == to_torch(ours.data).shape, name
        statistics = [b for b in twin.buffers() if b.ndim]  # without num_batches_tracked
        for ours, theirs in zip(net.buffers(), statistics, strict=True):
            theirs.copy_(torch.tensor(ours))

    x, labels = rng.standard_normal((8, 32, 32, 3)), rng.integers(10, size=8)
    sgd = mg.optim.SGD(net.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
    twin_sgd = torch.optim.SGD(twin.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
    for step in range(2):  # the second step has momentum
        loss = mg.cross_entropy(net(mg.Tensor(x)), labels)
        sgd.zero_grad()
        loss.backward()
        twin_sgd.zero_grad()
        twin_loss = torch.nn.functional.cross_entropy(twin(torch.tensor(x.transpose(0, 3, 1, 2))), torch.tensor(labels))
        twin_loss.backward()
        assert_allclose(loss.item(), twin_loss.item(), rtol=1e-9)
        for (name, ours), theirs in zip(net.named_parameters(), twin.parameters(), strict=True):
            assert_same(ours.grad.data, theirs.grad, f"gradient of {name}, step {step}")
        sgd.step()
        twin_sgd.step()
        for (name, ours), theirs in zip(net.named_parameters(), twin.parameters(), strict=True):
            assert_same(ours.data, theirs, f"{name} after step {step}")
        for (name, ours), theirs in zip(net.named_buffers(), statistics, strict=True):
            assert_same(ours, theirs, f"{name} after step {step}")
