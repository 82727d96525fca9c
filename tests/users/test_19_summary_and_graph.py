"""What is in a net: its repr, its summary, and the graph of a loss."""

import numpy as np

import minigrad as mg
from minigrad import data, inspect, nn, optim


def make_net():
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False, rng=0),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.GlobalAvgPool2d(),
        nn.Linear(16, 10, rng=1),
    )


def test_summary(capsys):
    cost = inspect.summary(make_net(), (8, 8, 1))
    assert cost.parameters == 9 * 16 + 2 * 16 + 16 * 10 + 10
    assert cost.macs == 8 * 8 * 9 * 16 + 16 * 10
    print(cost)
    shown = capsys.readouterr().out
    assert "Conv2d" in shown
    assert "8 x 8 x 16" in shown
    assert "346" in shown


def test_repr():
    net = make_net()
    assert "Conv2d(1, 16, 3" in repr(net)
    assert "Linear(16, 10" in repr(net)
    assert "lr=0.1" in repr(optim.SGD(net.parameters(), lr=0.1, momentum=0.9))
    digits = data.Digits(train=False)
    assert str(len(digits)) in repr(digits)
    assert "Digits" in repr(data.DataLoader(digits, 64))


def test_graph():
    net = make_net()
    images = data.Digits(train=True).images[:4]
    loss = mg.cross_entropy(net(mg.Tensor(images)), np.array([0, 1, 2, 3]))
    graph = str(inspect.draw_graph(loss))
    assert "conv2d" in graph
    assert "batch_norm" in graph
    assert "cross_entropy" in graph
