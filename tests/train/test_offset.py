"""Cancellation around an offset of 10,000: running statistics, their refresh, folding, and the mean loss of an epoch.

The bounds count half units in the last place of a float32 at 10,000, 2**-11: the statistics are stored in float32.
"""

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, train
from minigrad.data import DataLoader
from minigrad.kernels import blocks

HALF_UNIT = 2.0**-11


class Images:
    """A data set of images that all have one label."""

    def __init__(self, images, label=0):
        self.images, self.label = images, label

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index], np.full(len(self.images), self.label)[index]


def around(*shape, seed=0, offset=1e4):
    """Draw numbers in float32 around the offset."""
    return (offset + np.random.default_rng([seed, *shape]).standard_normal(shape)).astype("float32")


def test_running_statistics_around_an_offset():
    """Each update rounds the mean three times, the last ones in full, the older ones less: 3 / 0.1 half units."""
    norm = nn.BatchNorm2d(3)
    mean, var = np.zeros(3), np.ones(3)
    for step in range(60):
        x = around(8, 5, 4, 3, seed=step)
        norm(mg.Tensor(x))
        batch = x.astype("float64")
        mean = 0.9 * mean + 0.1 * batch.mean((0, 1, 2))
        var = 0.9 * var + 0.1 * batch.var((0, 1, 2), ddof=1)
    assert np.abs(norm.running_mean.data - mean).max() <= 30 * HALF_UNIT
    np.testing.assert_allclose(norm.running_var.data, var, rtol=1e-5)  # some tens of roundings


@pytest.mark.parametrize("count", [1, 2, 7, 30])
def test_the_mean_of_a_batch_is_rounded_once(count, monkeypatch):
    """It is combined in float64 from the means of several blocks, each corrected by the sum of its deviations."""
    x = around(4, 64, 60, 3)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", -(-x.nbytes // count))
    norm = nn.BatchNorm2d(3, momentum=1.0)
    norm(mg.Tensor(x))
    exact = x.astype("float64")
    assert np.abs(norm.running_mean.data - exact.mean((0, 1, 2))).max() <= 1.01 * HALF_UNIT
    np.testing.assert_allclose(norm.running_var.data, exact.var((0, 1, 2), ddof=1), rtol=2e-6)


def test_refreshed_statistics_around_an_offset():
    """The mean over 40 batches is updated 40 times: 3 half units each, of which the k-th has weight k / 40."""
    images = around(157, 3, 3, 2)
    norm = nn.BatchNorm2d(2)
    train.refresh_statistics(norm, DataLoader(Images(images), 4))
    wide = images.astype("float64")
    variances = [wide[i : i + 4].var((0, 1, 2), ddof=1) for i in range(0, 157, 4)]
    weights = [len(wide[i : i + 4]) for i in range(0, 157, 4)]
    assert np.abs(norm.running_mean.data - wide.mean((0, 1, 2))).max() <= 3 * 20 * HALF_UNIT
    np.testing.assert_allclose(norm.running_var.data, np.average(variances, 0, weights), rtol=1e-5)


@pytest.mark.parametrize("offset", [1e4, -1e4])
def test_folding_around_an_offset(offset):
    """Running mean and bias are near one another: their difference must be taken before anything is rounded.

    In float32 the folded bias is rounded once, at its own size; the product of the weights sums 36 terms.
    """
    net = nn.Sequential(nn.Conv2d(4, 5, 3, rng=0), nn.BatchNorm2d(5))
    net.layers[0].bias.data[...] = around(5, seed=1, offset=offset)
    net.layers[1].running_mean.data[...] = around(5, seed=2, offset=offset)
    net.layers[1].running_var.data[...] = [0.3, 0.7, 1.1, 1.9, 2.3]
    folded = nn.fold_batch_norm(net.eval())
    x = np.random.default_rng(0).standard_normal((2, 6, 6, 4)).astype("float32")
    conv, norm = ({name: value.astype("float64") for name, value in layer.state_dict().items()} for layer in net.layers)
    out = mg.conv2d(x.astype("float64"), conv["weight"]) + (conv["bias"] - norm["running_mean"])
    expected = norm["weight"] * out / np.sqrt(norm["running_var"] + 1e-5) + norm["bias"]
    error = np.abs(folded(mg.Tensor(x)).data - expected).max() / np.abs(expected).max()
    assert error <= 37 * np.finfo("float32").eps


def test_the_mean_loss_of_an_epoch_of_large_losses():
    """600 batches of losses near 10,000: each is rounded once, and their sum is not in float32."""
    rng = np.random.default_rng(0)
    images = np.stack([around(601), np.zeros(601, "float32")], axis=1)  # the loss is x0 - x1, up to exp(-1e4)
    images[:, 0] += rng.integers(2, size=601) * 3
    loss, error = train.evaluate(nn.Identity(), DataLoader(Images(images, 1), 1))
    assert error == 1.0
    np.testing.assert_allclose(loss, images[:, 0].astype("float64").mean(), rtol=1e-12)
