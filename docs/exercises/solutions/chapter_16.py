"""Solutions of chapter 16, real weights and a real photograph."""

import math

import numpy as np


def head_weights(weight, c):
    """Take the flat axis apart, turn it round, and flatten it again."""
    o = len(weight)
    return weight.reshape(o, c, -1).transpose(2, 1, 0).reshape(-1, o)


def fold(w, b, gamma, beta, mean, var, eps):
    """Scale each filter, and shift."""
    scale = gamma / np.sqrt(var + eps)
    return w * scale, beta + (b - mean) * scale


def same_padding(size, kernel, stride):
    """Ask how far the last window reaches beyond the end."""
    windows = math.ceil(size / stride)
    zeros = max((windows - 1) * stride + kernel - size, 0)
    return zeros // 2, zeros - zeros // 2
