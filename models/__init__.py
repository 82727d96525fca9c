"""Nets built on minigrad: those of "Deep Residual Learning" (He et al., 2015), and the VGG nets before them.

K. He, X. Zhang, S. Ren, J. Sun, "Deep Residual Learning for Image Recognition", arXiv 1512.03385.

Reading order: plain, resnet, vgg.
"""

from .plain import cifar_plain, plain18, plain34, plain_net
from .resnet import cifar_resnet, residual_net, resnet18, resnet34, resnet50, resnet101, resnet152
from .vgg import vgg11, vgg13, vgg16, vgg19

__all__ = [
    "cifar_plain",
    "cifar_resnet",
    "plain18",
    "plain34",
    "plain_net",
    "residual_net",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "vgg11",
    "vgg13",
    "vgg16",
    "vgg19",
]
