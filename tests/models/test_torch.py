"""PyTorch as an independent oracle: whole training steps of nets, in float64."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import minigrad as mg
from models import cifar_preact_resnet, cifar_resnet, plain_net, residual_net, vgg11, vgg16
from models.resnet import BasicBlock, Bottleneck

torch = pytest.importorskip("torch")


def to_torch(array):
    """Turn (kh, kw, c, o) into (o, c, kh, kw), and (in, out) into (out, in)."""
    return torch.tensor(array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T if array.ndim == 2 else array)


#: How far apart float64 results may be, relative to the largest element. Batch norm over the eight numbers of a channel
#: in the last stage makes the gradients sensitive: one rounding of all weights (1e-16) moves a gradient by 1e-12, and
#: the gradient of the next step by 3e-10. So each step starts from equal weights, and differs by 2e-12 to 5e-12,
#: whichever kernels OpenBLAS chooses: the bound allows 20 times as much.
BOUND = 1e-10


def assert_same(ours, theirs, what):
    """Compare to BOUND of the largest element; an array of zeros would show nothing."""
    expected = to_torch(ours).numpy()
    theirs = theirs.detach().numpy()
    assert np.abs(expected).max() > 0, f"{what} is zero"
    assert_allclose(theirs, expected, rtol=0, atol=BOUND * np.abs(expected).max(), err_msg=what, strict=True)


def copy(net, twin):
    """Copy our parameters and buffers to PyTorch's net."""
    theirs = [*twin.parameters(), *(b for b in twin.buffers() if b.ndim)]  # without num_batches_tracked
    with torch.no_grad():
        for (name, ours), b in zip([*net.named_parameters(), *net.named_buffers()], theirs, strict=True):
            assert b.shape == to_torch(ours.data).shape, name
            b.copy_(to_torch(ours.data))


def resnet20():
    from tests.benchmarks import torch_nets

    return cifar_resnet(20, dtype=np.float64), torch_nets.cifar_resnet(20).double()


def preact20():
    from tests.benchmarks import torch_nets

    return cifar_preact_resnet(20, dtype=np.float64), torch_nets.cifar_preact_resnet(20).double()


def resnet50(stride_in):
    """A ResNet-50 with 4 filters in place of 64."""
    from tests.benchmarks import torch_nets

    net = residual_net(
        "imagenet",
        Bottleneck,
        (3, 4, 6, 3),
        (4, 16, 32, 64, 128),
        stride_in=stride_in,
        num_classes=10,
        dtype=np.float64,
    )
    return net, torch_nets.bottleneck_resnet((3, 4, 6, 3), 4, 10, stride_in).double()


def imagenet_34(shortcut):
    """ResNet-34 or, without shortcut, the plain net, with 4 filters in place of 64."""
    from tests.benchmarks import torch_nets

    settings = {"num_classes": 10, "dtype": np.float64}
    if shortcut:
        net = residual_net("imagenet", BasicBlock, (3, 4, 6, 3), (4, 4, 8, 16, 32), shortcut=shortcut, **settings)
    else:
        net = plain_net("imagenet", (3, 4, 6, 3), (4, 4, 8, 16, 32), **settings)
    return net, torch_nets.imagenet_34(shortcut, 4, 10).double()


NETS = {
    "20": resnet20,
    "preact 20": preact20,
    "50": lambda: resnet50("1x1"),
    "50 v1.5": lambda: resnet50("3x3"),
    "34": lambda: imagenet_34("B"),
    "plain 34": lambda: imagenet_34(None),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("make", NETS.values(), ids=NETS)
def test_training_steps(make, training):
    rng = np.random.default_rng(0)
    net, twin = make()
    x, labels = rng.standard_normal((8, 32, 32, 3)), rng.integers(10, size=8)
    for p in net.parameters():
        p.data = p.data + 0.1 * rng.standard_normal(p.shape)
    norms = [module for _, module in net.named_modules() if isinstance(module, mg.nn.BatchNorm2d)]
    for norm in norms:  # statistics near those of the images: with others, all maps of a deep net would be zero
        norm.momentum = 1.0
    net(mg.Tensor(x))
    for norm in norms:
        norm.momentum = 0.1
        norm.running_var.data *= rng.uniform(0.5, 1.5, norm.running_var.data.shape)
    copy(net.train(training), twin.train(training))
    statistics = [b for b in twin.buffers() if b.ndim]

    sgd = mg.optim.SGD(net.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
    twin_sgd = torch.optim.SGD(twin.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
    for step in range(2):  # the second step has momentum
        loss = mg.cross_entropy(net(mg.Tensor(x)), labels)
        sgd.zero_grad()
        loss.backward()
        twin_sgd.zero_grad()
        twin_loss = torch.nn.functional.cross_entropy(twin(torch.tensor(x.transpose(0, 3, 1, 2))), torch.tensor(labels))
        twin_loss.backward()
        assert_allclose(loss.item(), twin_loss.item(), rtol=BOUND)
        for (name, ours), theirs in zip(net.named_parameters(), twin.parameters(), strict=True):
            assert_same(ours.grad.data, theirs.grad, f"gradient of {name}, step {step}")
        sgd.step()
        twin_sgd.step()
        for (name, ours), theirs in zip(net.named_parameters(), twin.parameters(), strict=True):
            assert_same(ours.data, theirs, f"{name} after step {step}")
        for (name, ours), theirs in zip(net.named_buffers(), statistics, strict=True):
            assert_same(ours.data, theirs, f"{name} after step {step}")
        copy(net, twin)


@pytest.mark.slow
def test_vgg_16():
    """Logits in evaluation, of images so small that the order of pixels in the classifier's rows does not matter."""
    from tests.benchmarks import torch_nets

    net, twin = vgg16(image_size=32, num_classes=10).eval(), torch_nets.vgg16(32, 10).eval()
    copy(net, twin)
    x = np.random.default_rng(0).standard_normal((2, 32, 32, 3), dtype="float32")
    ours, theirs = net(mg.Tensor(x)).data, twin(torch.tensor(x.transpose(0, 3, 1, 2))).detach().numpy()
    assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max(), equal_nan=False, strict=True)


def test_vgg_11():
    """Logits in evaluation; the first matrix of the classifier has its rows in the order (h, w, c), not (c, h, w)."""
    net = vgg11(batch_norm=True, image_size=64, num_classes=10).eval()
    layers, c_in = [], 3
    for c_out in (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"):
        if c_out == "M":
            layers.append(torch.nn.MaxPool2d(2, 2))
        else:
            layers += [torch.nn.Conv2d(c_in, c_out, 3, padding=1), torch.nn.BatchNorm2d(c_out), torch.nn.ReLU()]
            c_in = c_out
    linear = torch.nn.Linear
    twin = torch.nn.Sequential(*layers, torch.nn.Flatten(), linear(2048, 4096), torch.nn.ReLU(), torch.nn.Dropout())
    twin.extend([linear(4096, 4096), torch.nn.ReLU(), torch.nn.Dropout(), linear(4096, 10)]).eval()
    rng = np.random.default_rng(0)
    first = net.classifier.layers[0].weight
    with torch.no_grad():
        for ours, theirs in zip(net.parameters(), twin.parameters(), strict=True):
            if ours.ndim == 1:
                ours.data = ours.data + 0.1 * rng.standard_normal(ours.shape, dtype="float32")
            w = (
                ours.data.reshape(2, 2, 512, 4096).transpose(2, 0, 1, 3).reshape(2048, 4096)
                if ours is first
                else ours.data
            )
            theirs.copy_(to_torch(w))
        x = rng.standard_normal((2, 64, 64, 3), dtype="float32")
        expected = twin(torch.tensor(x.transpose(0, 3, 1, 2))).numpy()
    assert_allclose(net(mg.Tensor(x)).data, expected, rtol=0, atol=1e-5 * abs(expected).max(), strict=True)
