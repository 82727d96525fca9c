"""Exercises of chapter 16, real weights and a real photograph."""

import math

import numpy as np


def head_weights(weight, c):
    """Return the weights (h w c, o) for minigrad of a linear layer of PyTorch's (o, c h w) that reads flattened maps.

    c is the number of channels of the maps. PyTorch flattens maps (c, h, w), minigrad flattens (h, w, c).
    """
    raise NotImplementedError


def fold(w, b, gamma, beta, mean, var, eps):
    """Return weights and bias of the one convolution that does what conv (w, b) and then batch norm do in evaluation.

    w is (kh, kw, c, o), all others are (o,).
    """
    raise NotImplementedError


def same_padding(size, kernel, stride):
    """Return how many zeros (before, behind) TensorFlow's "SAME" puts around an axis of `size` pixels.

    It makes ceil(size / stride) windows, with as few zeros as that needs; if their number is odd, one more is behind.
    """
    raise NotImplementedError
