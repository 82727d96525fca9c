"""Nets, Tensors, optimizers and data sets through pickle and copy.deepcopy."""

import copy
import pickle

import numpy as np
import pytest

import minigrad as mg
from minigrad import data, nn, optim


def make_net():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, rng=0),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.GlobalAvgPool2d(),
        nn.Linear(8, 10, rng=1),
    )


def step(net, optimizer, batch):
    images, labels = batch
    loss = mg.cross_entropy(net(mg.Tensor(images)), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def through_pickle(x):
    return pickle.loads(pickle.dumps(x))


@pytest.mark.parametrize("duplicate", [through_pickle, copy.deepcopy])
def test_a_run_goes_on_from_its_copy(duplicate):
    batches = list(data.DataLoader(data.Digits(train=True), 64, rng=0))[:4]
    net = make_net()
    adam = optim.Adam(net.parameters(), lr=1e-2)
    for batch in batches:
        step(net, adam, batch)
    twin, twin_adam = duplicate((net, adam))
    assert [step(twin, twin_adam, b) for b in batches] == [step(net, adam, b) for b in batches]
    for p, q in zip(net.parameters(), twin.parameters(), strict=True):
        assert p is not q
        np.testing.assert_array_equal(p.detach().numpy(), q.detach().numpy())


@pytest.mark.parametrize("duplicate", [through_pickle, copy.deepcopy])
def test_a_copy_is_independent(duplicate):
    net = make_net()
    average = duplicate(net)  # as for a moving average of the weights
    with mg.no_grad():
        for p, q in zip(average.parameters(), net.parameters(), strict=True):
            p.data[:] = 0.9 * p.data + 0.1 * np.ones_like(q.data)
    assert not np.array_equal(average[0].weight.numpy(), net[0].weight.numpy())
    assert average[0].weight.requires_grad


@pytest.mark.parametrize("duplicate", [through_pickle, copy.deepcopy])
def test_tensors_and_data(duplicate):
    x = mg.Tensor([1.0, 2.0], requires_grad=True)
    (x * x).sum().backward()
    y = duplicate(x)
    np.testing.assert_array_equal(y.numpy(), x.numpy())
    assert y.requires_grad
    np.testing.assert_array_equal(y.grad.numpy(), [2.0, 4.0])
    digits = duplicate(data.Digits(train=False))
    assert len(digits) == len(data.Digits(train=False))
