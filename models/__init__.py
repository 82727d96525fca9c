"""Nets built on minigrad: those of "Deep Residual Learning" (He et al., 2015), their successors, and the VGG nets.

K. He, X. Zhang, S. Ren, J. Sun, "Deep Residual Learning for Image Recognition", arXiv 1512.03385.

Reading order: plain, resnet, preact, vgg.
"""

from .plain import cifar_plain, plain18, plain34, plain_net
from .preact import cifar_preact_resnet
from .resnet import cifar_resnet, residual_net, resnet18, resnet34, resnet50, resnet101, resnet152
from .vgg import vgg11, vgg13, vgg16, vgg19

__all__ = [
    "cifar_plain",
    "cifar_preact_resnet",
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
