"""Nets built on minigrad: the plain and residual nets of "Deep Residual Learning" (He et al., 2015).

K. He, X. Zhang, S. Ren, J. Sun, "Deep Residual Learning for Image Recognition", arXiv 1512.03385.
"""

from models.plain import cifar_plain
from models.resnet import cifar_resnet

__all__ = ["cifar_plain", "cifar_resnet"]
