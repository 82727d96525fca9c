"""Layers whose settings differ along height and width: summary counts by hand, along each axis by its own."""

import itertools

import numpy as np
import pytest

from minigrad import nn
from minigrad.inspect import summary


def conv(rng):
    """Return a convolution, and what summary should say of it, for h = 9 and w = 11."""
    kernel, stride, padding, dilation = (
        rng.integers(low, high, 2).tolist() for low, high in ((1, 4),) * 2 + ((0, 3), (1, 3))
    )
    groups = int(rng.choice([1, 2]))
    layer = nn.Conv2d(4, 6, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups, rng=0)
    walks = zip((9, 11), kernel, stride, padding, dilation, strict=True)
    h, w = ((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in walks)
    weights = kernel[0] * kernel[1] * 4 // groups * 6
    return layer, (h, w, 6), weights + 6, h * w * weights


def same(rng):
    kernel, dilation = rng.choice([1, 3, 5], 2).tolist(), rng.integers(1, 3, 2).tolist()
    layer = nn.Conv2d(4, 6, kernel, padding="same", dilation=dilation, rng=0)
    weights = kernel[0] * kernel[1] * 4 * 6
    return layer, (9, 11, 6), weights + 6, 9 * 11 * weights


def transposed(rng):
    """Each pixel of the input is multiplied with all weights, whatever of it falls outside."""
    kernel, stride = (rng.integers(1, 5, 2).tolist() for _ in range(2))
    padding, extra = rng.integers(0, 3, 2).tolist(), [int(rng.integers(0, s)) for s in stride]
    layer = nn.ConvTranspose2d(4, 6, kernel, stride=stride, padding=padding, output_padding=extra, rng=0)
    walks = zip((9, 11), kernel, stride, padding, extra, strict=True)
    h, w = ((n - 1) * s - 2 * p + k + e for n, k, s, p, e in walks)
    weights = kernel[0] * kernel[1] * 4 * 6
    return layer, (h, w, 6), weights + 6, 9 * 11 * weights


def pool(rng):
    kernel, stride = (rng.integers(1, 5, 2).tolist() for _ in range(2))
    padding = [int(rng.integers(0, k)) for k in kernel]
    layer = (nn.MaxPool2d, nn.AvgPool2d)[rng.integers(2)](kernel, stride=stride, padding=padding)
    h, w = ((n + 2 * p - k) // s + 1 for n, k, s, p in zip((9, 11), kernel, stride, padding, strict=True))
    return layer, (h, w, 4), 0, 0


@pytest.mark.parametrize("draw", [conv, same, transposed, pool])
def test_each_axis_is_counted_by_its_own_settings(draw):
    rng = np.random.default_rng(0)
    for _ in range(30):
        layer, shape, parameters, macs = draw(rng)
        (row,) = summary(layer, (9, 11, 4)).rows
        assert (row.shape, row.parameters, row.macs) == (shape, parameters, macs), layer
        assert eval(row.formula or "0") == macs


SETTINGS = {"kernel": (3, 2), "stride": (3, 2), "padding": (1, 0), "dilation": (2, 1), "output_padding": (1, 0)}
LAYERS = {
    "Conv2d": (lambda kernel, **s: nn.Conv2d(4, 6, kernel, rng=0, **s), ("stride", "padding", "dilation")),
    "ConvTranspose2d": (
        lambda kernel, **s: nn.ConvTranspose2d(4, 6, kernel, rng=0, **s),
        ("stride", "padding", "output_padding"),
    ),
    "MaxPool2d": (nn.MaxPool2d, ("stride", "padding")),
    "AvgPool2d": (nn.AvgPool2d, ("stride", "padding")),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_what_is_turned_is_counted_alike(kind):
    """An image on its side, and each subset of the settings exchanged with it."""
    make, names = LAYERS[kind]
    for chosen in itertools.product([False, True], repeat=1 + len(names)):
        settings = {name: SETTINGS[name] for name, given in zip(("kernel", *names), chosen, strict=True) if given}
        settings = {"kernel": (3, 3)} | settings | ({"stride": (2, 2)} if "output_padding" in settings else {})
        turned = {name: value[::-1] for name, value in settings.items()}
        one, other = summary(make(**settings), (9, 12, 4)).rows[0], summary(make(**turned), (12, 9, 4)).rows[0]
        assert (one.parameters, one.macs) == (other.parameters, other.macs), settings
        assert one.shape == (other.shape[1], other.shape[0], other.shape[2])


class Merged(nn.Module):
    """A net that treats what lies along the first axes of its input, as the frames of films, as images."""

    def __init__(self, layer, axes):
        self.layer, self.axes = layer, axes

    def forward(self, x):
        return self.layer(x.reshape(-1, *x.shape[self.axes :]))


@pytest.mark.parametrize("draw", [conv, same, transposed, pool, "linear"])
@pytest.mark.parametrize("merged", [(), (1,), (6,), (2, 3)])
def test_every_image_is_counted_where_other_axes_are_merged_into_theirs(draw, merged):
    for seed in range(5):
        layer, _, _, macs = draw(np.random.default_rng(seed)) if callable(draw) else (nn.Linear(4, 6, rng=0), 0, 0, 24)
        shape = (9, 11, 4) if callable(draw) else (4,)
        (row,) = summary(Merged(layer, 1 + len(merged)), (*merged, *shape)).rows
        assert row.macs == int(np.prod(merged)) * macs, layer
        assert eval(row.formula or "0") == row.macs
