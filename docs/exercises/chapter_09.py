"""Exercises of chapter 9: batch norm, forward and backward."""

import numpy as np


def layer_norm_backward(g, x, gamma, eps):
    """Return the gradients (dx, dgamma, dbeta) of layer norm, in NumPy.

    Layer norm takes mean and (biased) variance over the last axis, for each place of the others by itself:
    ``y = gamma * (x - mean) / sqrt(var + eps) + beta``, with x and g of shape (n, h, w, c), gamma and beta (c,).
    """
    raise NotImplementedError


def folded(w, b, gamma, beta, running_mean, running_var, eps):
    """Return the weights and bias of the convolution that is as good as two layers.

    These are a convolution with w (kh, kw, c, o) and b (o,), which may be None, and after it batch norm in evaluation.
    Leave the arguments as they are.
    """
    raise NotImplementedError


def merged_statistics(counts, means, variances):
    """Return mean and (biased) variance of the whole from those of its parts.

    `counts` has shape (parts,), `means` and `variances` have shape (parts, c). Parts differ in size. The variance may
    be a billionth of the square of the mean: no digits shall cancel.
    """
    raise NotImplementedError
