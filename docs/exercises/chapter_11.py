"""Exercises of chapter 11: batch norm, forward and backward."""

import numpy as np


def layer_norm_backward(g, x, gamma, eps):
    """Return the gradients (dx, dgamma, dbeta) of layer norm, in NumPy.

    Layer norm computes mean and (biased) variance over the last axis, separately for each pixel:
    ``y = gamma * (x - mean) / sqrt(var + eps) + beta``. The shape of x and g is (n, h, w, c); that of gamma and beta is
    (c,).
    """
    raise NotImplementedError


def folded(w, b, gamma, beta, running_mean, running_var, eps):
    """Return the weights and bias of one convolution that equals a convolution followed by batch norm.

    The given convolution has weights w (kh, kw, c, o) and a bias b (o,), which may be None. Batch norm is in evaluation
    mode. Do not change the arguments.
    """
    raise NotImplementedError


def merged_statistics(counts, means, variances):
    """Return mean and (biased) variance of the whole data, from those of its parts.

    `counts` has shape (parts,), `means` and `variances` have shape (parts, c). The parts may differ in size. The
    variance may be as small as a billionth of the squared mean: avoid formulas that lose digits by cancellation.
    """
    raise NotImplementedError
