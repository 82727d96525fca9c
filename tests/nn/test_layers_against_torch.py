"""PyTorch as an independent oracle, layer by layer: values, gradients, running statistics."""

import numpy as np
import pytest

import minigrad as mg
from tests.tools.torch_oracle import (
    assert_close,
    assert_gradients_of_parameters,
    call_both,
    copy_parameters,
    random,
    torch,
)


def double(kind, *args, **settings):
    """Make a layer of PyTorch in float64."""
    return getattr(torch.nn, kind)(*args, **settings).double()


def ours(kind, *args, **settings):
    """Make a layer of minigrad in float64."""
    return getattr(mg.nn, kind)(*args, **settings, rng=0, dtype=np.float64)


IMAGES = (3, 6, 5, 4)

LAYERS = {
    "Linear": (ours("Linear", 4, 3), double("Linear", 4, 3), (5, 4)),
    "Linear-no-bias": (ours("Linear", 4, 3, bias=False), double("Linear", 4, 3, bias=False), (5, 4)),
    "Linear-stack": (ours("Linear", 4, 3), double("Linear", 4, 3), (2, 5, 4)),
    "Conv2d": (ours("Conv2d", 4, 3, 3, padding=1), double("Conv2d", 4, 3, 3, padding=1), IMAGES),
    "Conv2d-stride": (
        ours("Conv2d", 4, 3, (3, 2), stride=(2, 3), padding=(1, 0), bias=False),
        double("Conv2d", 4, 3, (3, 2), stride=(2, 3), padding=(1, 0), bias=False),
        IMAGES,
    ),
    "Conv2d-dilation": (
        ours("Conv2d", 4, 2, (2, 3), dilation=(3, 2), padding=2),
        double("Conv2d", 4, 2, (2, 3), dilation=(3, 2), padding=2),
        IMAGES,
    ),
    "Conv2d-groups": (
        ours("Conv2d", 4, 6, 3, groups=2, stride=2, padding=1),
        double("Conv2d", 4, 6, 3, groups=2, stride=2, padding=1),
        IMAGES,
    ),
    "Conv2d-depthwise-dilation": (
        ours("Conv2d", 4, 8, 3, groups=4, dilation=2, padding=2),
        double("Conv2d", 4, 8, 3, groups=4, dilation=2, padding=2),
        IMAGES,
    ),
    "BatchNorm2d": (mg.nn.BatchNorm2d(4, dtype=np.float64), double("BatchNorm2d", 4), IMAGES),
    "BatchNorm2d-settings": (
        mg.nn.BatchNorm2d(4, momentum=0.4, eps=1e-2, dtype=np.float64),
        double("BatchNorm2d", 4, momentum=0.4, eps=1e-2),
        IMAGES,
    ),
    "ReLU": (mg.nn.ReLU(), double("ReLU"), IMAGES),
    "Tanh": (mg.nn.Tanh(), double("Tanh"), IMAGES),
    "Sigmoid": (mg.nn.Sigmoid(), double("Sigmoid"), IMAGES),
    "SiLU": (mg.nn.SiLU(), double("SiLU"), IMAGES),
    "GELU": (mg.nn.GELU(), double("GELU"), IMAGES),
    "LeakyReLU": (mg.nn.LeakyReLU(), double("LeakyReLU"), IMAGES),
    "LeakyReLU-steep": (mg.nn.LeakyReLU(0.3), double("LeakyReLU", 0.3), IMAGES),
    "LayerNorm": (mg.nn.LayerNorm(4, dtype=np.float64), double("LayerNorm", 4), (3, 5, 4)),
    "LayerNorm-settings": (
        mg.nn.LayerNorm((5, 4), eps=0.1, dtype=np.float64),
        double("LayerNorm", (5, 4), eps=0.1),
        (3, 5, 4),
    ),
    "LayerNorm-images": (mg.nn.LayerNorm((6, 5, 4), dtype=np.float64), double("LayerNorm", (4, 6, 5)), IMAGES),
    "GroupNorm": (mg.nn.GroupNorm(2, 4, dtype=np.float64), double("GroupNorm", 2, 4), IMAGES),
    "GroupNorm-settings": (
        mg.nn.GroupNorm(4, 4, eps=0.1, dtype=np.float64),
        double("GroupNorm", 4, 4, eps=0.1),
        IMAGES,
    ),
    "ConvTranspose2d": (ours("ConvTranspose2d", 4, 3, 3), double("ConvTranspose2d", 4, 3, 3), IMAGES),
    "ConvTranspose2d-stride": (
        ours("ConvTranspose2d", 4, 3, (3, 4), stride=(2, 3), padding=1, output_padding=(1, 2), bias=False),
        double("ConvTranspose2d", 4, 3, (3, 4), stride=(2, 3), padding=1, output_padding=(1, 2), bias=False),
        IMAGES,
    ),
    "MaxPool2d": (mg.nn.MaxPool2d(2), double("MaxPool2d", 2), IMAGES),
    "MaxPool2d-overlapping": (
        mg.nn.MaxPool2d(3, stride=2, padding=1),
        double("MaxPool2d", 3, stride=2, padding=1),
        IMAGES,
    ),
    "AvgPool2d": (mg.nn.AvgPool2d((2, 3)), double("AvgPool2d", (2, 3)), IMAGES),
    "AvgPool2d-overlapping": (
        mg.nn.AvgPool2d(3, stride=(1, 2), padding=1),
        double("AvgPool2d", 3, stride=(1, 2), padding=1),
        IMAGES,
    ),
    "GlobalAvgPool2d": (
        mg.nn.GlobalAvgPool2d(),
        torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()),
        IMAGES,
    ),
    "Flatten": (mg.nn.Flatten(), double("Flatten"), (3, 4, 2)),
    "Identity": (mg.nn.Identity(), double("Identity"), (3, 2)),
    "Sequential": (
        mg.nn.Sequential(ours("Linear", 4, 5), mg.nn.ReLU(), ours("Linear", 5, 2)),
        torch.nn.Sequential(double("Linear", 4, 5), torch.nn.ReLU(), double("Linear", 5, 2)),
        (3, 4),
    ),
}


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("case", LAYERS)
def test_value_and_gradients_are_those_of_torch(case, training):
    layer, counterpart, shape = LAYERS[case]
    layer.train(training)
    counterpart.train(training)
    copy_parameters(layer, counterpart)
    out, expected, dx, dx_expected = call_both(layer, counterpart, random(shape, 1))
    assert_close(out, expected, "value")
    assert_close(dx, dx_expected, "gradient of x")
    assert_gradients_of_parameters(layer, counterpart, "gradient")


@pytest.mark.parametrize("shape", [(), (7,), (2, 3, 4)])
def test_vectors_of_integers_are_those_of_torch(shape):
    layer, counterpart = ours("Embedding", 5, 3), double("Embedding", 5, 3)
    copy_parameters(layer, counterpart)
    indices, g = np.random.default_rng(0).integers(0, 5, shape), random((*shape, 3), 1)
    out, expected = layer(indices), counterpart(torch.tensor(indices))
    assert_close(out, expected, "value")
    out.backward(g)
    expected.backward(torch.tensor(g))
    assert_gradients_of_parameters(layer, counterpart, "gradient")


def test_running_statistics_are_those_of_torch_over_several_steps():
    layer, counterpart = mg.nn.BatchNorm2d(3, dtype=np.float64), double("BatchNorm2d", 3)
    copy_parameters(layer, counterpart)
    for step in range(6):
        training = step != 3  # in between, a step of evaluation, which leaves them alone
        layer.train(training)
        counterpart.train(training)
        x = (1 + step) * random((2 + step, 3, 4, 3), step) + np.array([5.0, -100.0, 0.0])
        out, expected, dx, dx_expected = call_both(layer, counterpart, x)
        assert_close(out, expected, f"value, step {step}")
        assert_close(dx, dx_expected, f"gradient of x, step {step}")
        assert_gradients_of_parameters(layer, counterpart, f"gradient, step {step}")
        assert_close(mg.Tensor(layer.running_mean.data), counterpart.running_mean, f"mean, step {step}")
        assert_close(mg.Tensor(layer.running_var.data), counterpart.running_var, f"variance, step {step}")
    layer.eval()
    counterpart.eval()
    x = random((2, 2, 2, 3), 9)
    out, expected, _, _ = call_both(layer, counterpart, x)
    assert_close(out, expected, "value in evaluation")
