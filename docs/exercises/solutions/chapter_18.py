"""Solutions of chapter 18, real weights and a real photograph."""

import math

import numpy as np


def head_weights(weight, c):
    """Split the flat axis into channels and places, swap the two, and flatten them again."""
    o = len(weight)
    return weight.reshape(o, c, -1).transpose(2, 1, 0).reshape(-1, o)


def fold(w, b, gamma, beta, mean, var, eps):
    """Scale each filter, then compute the bias."""
    scale = gamma / np.sqrt(var + eps)
    return w * scale, beta + (b - mean) * scale


def same_padding(size, kernel, stride):
    """Compute by how many pixels the last window extends beyond the end."""
    windows = math.ceil(size / stride)
    zeros = max((windows - 1) * stride + kernel - size, 0)
    return zeros // 2, zeros - zeros // 2
