"""Solutions of chapter 15, residual learning."""

import numpy as np

from models.resnet import BasicBlock, Bottleneck


def chain_gradient(matrices, g):
    """From the last block to the first, add the gradients through the shortcut and through the matrix."""
    for a in reversed(matrices):
        g = g + a.T @ g
    return g


def shortcut_a(x, stride, c_out):
    """Take every stride-th pixel, then pad the channels."""
    missing = c_out - x.shape[-1]
    before = missing // 2
    return np.pad(x[:, ::stride, ::stride], ((0, 0), (0, 0), (0, 0), (before, missing - before)))


def begin_as_shortcuts(net):
    """Set gamma and beta to zero: then gamma * anything + beta = 0."""
    for _, module in net.named_modules():
        if isinstance(module, BasicBlock | Bottleneck):
            last = module.bn2 if isinstance(module, BasicBlock) else module.bn3
            last.weight.data[...] = 0
            last.bias.data[...] = 0
