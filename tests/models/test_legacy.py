"""Files of earlier versions, in files/: written by version 0 when its nets were lists of layers."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import minigrad as mg
import models
from minigrad import nn, optim, train
from minigrad.data import DataLoader, Digits, Subset
from models import plain_net, residual_net
from models.resnet import Bottleneck

FILES = Path(__file__).parent / "files"


def bottleneck(rng):
    sizes = {"in_channels": 1, "num_classes": 2, "shortcut": "C"}
    return residual_net("imagenet", Bottleneck, (1,), (1, 4), rng=rng, **sizes)


def plain(rng):
    return plain_net("cifar", (2,), (1, 2), in_channels=1, num_classes=2, rng=rng)


@pytest.mark.parametrize("make", [bottleneck, plain])
def test_a_state_of_an_earlier_version_gives_the_same_logits(make):
    tree = mg.load(FILES / "nets.safetensors")
    old, net = tree["nets"][make.__name__], make(rng=9).eval()
    assert old["state"].keys().isdisjoint(set(net.state_dict()) - {"fc.w", "fc.b"})
    net.load_state_dict(old["state"])
    assert_allclose(net(mg.Tensor(tree["images"])).data, old["logits"], rtol=1e-5, atol=1e-6)
    for (name, array), then in zip(net.state_dict().items(), old["state"].values(), strict=True):  # same order, too
        assert_array_equal(array, then, err_msg=name)


def test_training_goes_on_from_a_checkpoint_of_an_earlier_version(tmp_path):
    ends = []
    for resume in (False, True):
        net = models.cifar_resnet(8, "B", 1, in_channels=1, rng=3)
        batches = DataLoader(Subset(Digits(), range(24)), 8, rng=4)
        path = tmp_path / f"{resume}.safetensors"
        if resume:
            shutil.copy(FILES / "run.safetensors", path)
        sgd = optim.SGD(net.parameters(), lr=0.1)
        checkpoint = train.Checkpoint(path, resume=resume)  # the file stands after 2
        train.fit(net, batches, optimizer=sgd, iterations=4, evaluate_on={}, checkpoint=checkpoint)
        ends.append(net.state_dict())
    for name, array in ends[0].items():
        assert_allclose(ends[1][name], array, rtol=1e-4, atol=1e-6, err_msg=name)


def test_lists_of_sequentials_are_left_out_of_paths():
    class Pair(nn.Module):
        def __init__(self, rng):
            self.body = nn.Sequential(nn.Linear(2, 3, rng=rng), nn.Sequential(nn.BatchNorm2d(3)))

    old = Pair(0).state_dict()
    assert "body.1.0.weight" in old
    net = Pair(1)
    net.load_state_dict({".layers.".join(name.split(".", 1)): array for name, array in old.items()})
    assert_array_equal(net.body[0].weight.data, old["body.0.weight"])
    vgg = nn.Module.renamed(net, "features.layers.3.running_var")
    assert vgg == "features.3.running_var"


def test_a_state_of_another_net_is_refused_under_the_names_in_the_file():
    state = mg.load(FILES / "nets.safetensors")["nets"]["plain"]["state"]
    with pytest.raises(ValueError, match=r"unexpected: stages\.layers\.0\.layers\.6\.w"):
        plain_net("cifar", (1,), (1, 2), in_channels=1, num_classes=2).load_state_dict(state)


def test_an_old_name_does_not_stand_in_for_another_parameter():
    net = plain(0)
    state = net.state_dict()
    state["stem.layers.0.w"] = np.zeros_like(state["conv1.weight"])
    with pytest.raises(ValueError, match=r"unexpected: stem\.layers\.0\.w"):
        net.load_state_dict(state)
