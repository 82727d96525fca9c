"""Exercises of chapter 15, residual learning."""

import numpy as np

from minigrad import nn
from models.resnet import BasicBlock, Bottleneck


def chain_gradient(matrices, g):
    """Return the gradient in the input of a chain of linear residual blocks; g (c,) is the gradient in its output.

    The chain is ``for a in matrices: x = x + a @ x``, with matrices (c, c). Use only products of a matrix and a vector.
    """
    raise NotImplementedError


def shortcut_a(x, stride, c_out):
    """Return the shortcut of option A for an array x (n, h, w, c): every `stride`-th pixel, and c_out channels.

    The new channels are zeros. Half of them come before the old channels and half after; if their number is odd, one
    more comes after. The result has the dtype of x.
    """
    raise NotImplementedError


def begin_as_shortcuts(net):
    """Change a residual net in place, so that every block returns relu(downsample(x)), in training and in evaluation.

    The last layer before the addition is a batch norm: ``bn2`` of a BasicBlock, ``bn3`` of a Bottleneck. Make it return
    zeros, whatever its parameters and statistics were before. Change nothing else.
    """
    raise NotImplementedError
