"""Checks of the milestone of chapter 15: residual nets."""

import numpy as np

import minigrad as mg
import models
from docs.exercises.checks.mine_14 import block_equals, net_equals, stays_float32
from docs.exercises.checks.tape import compare


def check_shortcut(work):
    """Slices with a step take the pixels. np.pad with (0, new) for the last axis puts the new channels last.

    The new channels are constants, and pixels between every stride-th one are not used: their gradient is zero.
    """
    x = np.random.default_rng(0).standard_normal((2, 4, 5, 3))
    for stride, channels in ((1, 3), (2, 6), (2, 4), (3, 3)):

        def reference(x, stride=stride, channels=channels):
            return np.pad(x[:, ::stride, ::stride], ((0, 0), (0, 0), (0, 0), (0, channels - 3)))

        case = f"shortcut of stride {stride}, from 3 to {channels} channels"
        compare(work, case, lambda x, s=stride, c=channels: work.shortcut(x, s, c), reference, x)


def check_ResidualBlock(work):
    """Only __call__ differs from PlainBlock: it adds the shortcut of x before the last ReLU."""
    block_equals(work, work.ResidualBlock, "ResidualBlock", residual=True)
    net_equals(work, work.ResidualBlock, "ResidualBlock", lambda depth, **s: models.cifar_resnet(depth, "A", **s))


def check_residual_20(work):
    """Build Net(ResidualBlock, 20, 16, rng), and call fit with a few epochs. More epochs lower the error.

    In all steps, float32 stays float32: where a float64 gets in, see the hints for SGD and fit.
    """
    digits = mg.data.Digits()
    net = work.residual_20(digits.images, digits.labels, np.random.default_rng(0))
    count = len(work.parameters(net))
    assert count == 59, f"expected the 59 parameters of 19 convolutions with batch norm and a last layer, got {count}"
    stays_float32(work, "residual_20", net)
    wrong = np.mean(net(work.Tensor(digits.images), False).data.argmax(1) != digits.labels)
    assert wrong <= 0.03, f"{wrong:.1%} of the training digits are wrong, expected at most 3 %"
