"""Exercises of chapter 18, real weights and a real photograph."""

import math

import numpy as np


def head_weights(weight, c):
    """Return PyTorch's weights (o, c h w) of a linear layer that reads flattened maps as minigrad's weights (h w c, o).

    c is the number of channels of the maps. PyTorch flattens maps (c, h, w), minigrad flattens maps (h, w, c).
    """
    raise NotImplementedError


def fold(w, b, gamma, beta, mean, var, eps):
    """Return weights and bias of a convolution equal to convolution (w, b) followed by batch norm in evaluation.

    w has the shape (kh, kw, c, o), all other arrays (o,).
    """
    raise NotImplementedError


def same_padding(size, kernel, stride):
    """Return the numbers of zeros (before, after) that TensorFlow's "SAME" adds to an axis of `size` pixels.

    It adds as few zeros as ceil(size / stride) windows need; if the number of zeros is odd, one more comes after.
    """
    raise NotImplementedError
