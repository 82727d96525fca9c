"""Exercises of chapter 13, residual learning."""

import numpy as np

from minigrad import nn
from models.resnet import BasicBlock, Bottleneck


def chain_gradient(matrices, g):
    """Return the gradient in x of a chain of linear residual blocks, from the gradient g (c,) in its output.

    The chain is ``for a in matrices: x = x + a @ x``, with matrices (c, c). Use products of a matrix and a vector only.
    """
    raise NotImplementedError


def shortcut_a(x, stride, c_out):
    """Return the shortcut of option A for an array x (n, h, w, c): every `stride`-th pixel, and c_out channels.

    Half of the new channels of zeros stand before the old ones and half behind; if their number is odd, there is one
    more behind. The dtype is that of x.
    """
    raise NotImplementedError


def begin_as_shortcuts(net):
    """Change a residual net in place, so that every block gives relu(downsample(x)), in training and in evaluation.

    The last layer before the addition is a batch norm, ``bn2`` of a BasicBlock and ``bn3`` of a Bottleneck; whatever its
    parameters and statistics are, make it give zeros. Change nothing else.
    """
    raise NotImplementedError
