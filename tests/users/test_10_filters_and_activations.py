"""Look at the filters of a net and at the activations of each of its layers."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import data, nn


def make_net():
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, rng=0),
        nn.LeakyReLU(0.1),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 8, 3, padding=1, rng=1),
        nn.GroupNorm(2, 8),
        nn.ReLU(),
        nn.GlobalAvgPool2d(),
        nn.Linear(8, 10, rng=2),
    )


def test_filters_are_drawn(tmp_path):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    filters = make_net()[0].weight
    assert filters.shape == (3, 3, 1, 16)
    figure, axes = plt.subplots(4, 4)
    for k, axis in enumerate(axes.flat):
        axis.imshow(filters[:, :, 0, k].detach().numpy(), cmap="gray")
        axis.axis("off")
    figure.savefig(tmp_path / "filters.png")
    plt.close(figure)
    assert (tmp_path / "filters.png").stat().st_size > 1000


def test_activations_of_each_layer():
    x = mg.Tensor(data.Digits(train=False).images[:4])
    activations = {}
    for name, layer in make_net().eval().named_children():
        x = activations[name] = layer(x)
    assert activations["0"].shape == (4, 8, 8, 16)
    assert activations["5"].shape == (4, 4, 4, 8)
    assert float(activations["5"].min()) >= 0.0


def test_activations_by_slices():
    net = make_net().eval()
    images = mg.Tensor(data.Digits(train=False).images[:4])
    assert len(net) == 8
    body, head = net[:-1], net[-1]
    assert isinstance(body, nn.Sequential)
    np.testing.assert_array_equal(head(body(images)).numpy(), net(images).numpy())
    x = images
    for layer in net:
        x = layer(x)
    np.testing.assert_array_equal(x.numpy(), net(images).numpy())
