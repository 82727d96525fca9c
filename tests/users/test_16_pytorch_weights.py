"""The weights of a PyTorch net into minigrad, and back."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from models import pretrained


def our_net(rng):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, rng=rng),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.GlobalAvgPool2d(),
        nn.Linear(8, 5, rng=rng),
    )


def their_net(torch):
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1),
        torch.nn.BatchNorm2d(8),
        torch.nn.ReLU(),
        torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()),
        torch.nn.Linear(8, 5),
    )


def images():
    return np.random.default_rng(0).standard_normal((4, 8, 8, 3)).astype(np.float32)


def test_from_pytorch(tmp_path):
    torch = pytest.importorskip("torch")
    save_file = pytest.importorskip("safetensors.torch").save_file
    theirs = their_net(torch)
    with torch.no_grad():
        for _ in range(3):  # so that batch norm has statistics
            theirs(torch.from_numpy(3 * images().transpose(0, 3, 1, 2) + 1))
        expected = theirs.eval()(torch.from_numpy(images().transpose(0, 3, 1, 2))).numpy()
    save_file(theirs.state_dict(), tmp_path / "net.safetensors")
    net = pretrained.load_torch(our_net(rng=np.random.default_rng(1)), tmp_path / "net.safetensors").eval()
    with mg.no_grad():
        np.testing.assert_allclose(net(mg.Tensor(images())).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_to_pytorch(tmp_path):
    torch = pytest.importorskip("torch")
    load_file = pytest.importorskip("safetensors.torch").load_file
    net = our_net(rng=np.random.default_rng(1))
    net(mg.Tensor(3 * images() + 1))
    net.eval()
    mg.save(tmp_path / "ours.safetensors", pretrained.to_torch(net))
    theirs = their_net(torch)
    theirs.load_state_dict(load_file(tmp_path / "ours.safetensors"))
    with torch.no_grad(), mg.no_grad():
        actual = theirs.eval()(torch.from_numpy(images().transpose(0, 3, 1, 2))).numpy()
        np.testing.assert_allclose(actual, net(mg.Tensor(images())).numpy(), rtol=1e-4, atol=1e-5)


def test_a_pth_file_is_answered_by_the_line_that_converts_it(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save(their_net(torch).state_dict(), tmp_path / "net.pth")
    with pytest.raises(ValueError, match="save_file"):
        pretrained.load_torch(our_net(rng=np.random.default_rng(1)), tmp_path / "net.pth")
