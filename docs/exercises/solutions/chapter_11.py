"""Solutions of chapter 11: batch norm, forward and backward."""

import numpy as np


def layer_norm_backward(g, x, gamma, eps):
    """Return the gradients (dx, dgamma, dbeta): gamma stays inside the means, because it varies along their axis."""
    r = 1 / np.sqrt(x.var(-1, keepdims=True) + eps)  # (n, h, w, 1)
    x_hat = r * (x - x.mean(-1, keepdims=True))
    g_hat = gamma * g
    dx = r * (g_hat - g_hat.mean(-1, keepdims=True) - x_hat * (g_hat * x_hat).mean(-1, keepdims=True))
    places = tuple(range(x.ndim - 1))
    return dx, (g * x_hat).sum(places), g.sum(places)


def folded(w, b, gamma, beta, running_mean, running_var, eps):
    """Return the weights and bias of one convolution: scale the output channels, the last axis of w."""
    scale = gamma / np.sqrt(running_var + eps)  # (o,)
    bias = 0 if b is None else b
    return w * scale, (bias - running_mean) * scale + beta


def merged_statistics(counts, means, variances):
    """Return mean and variance: the variance within the parts plus the variance of their means."""
    share = (np.asarray(counts) / np.sum(counts))[:, None]  # (parts, 1)
    mean = (share * means).sum(0)
    off = means - mean
    mean = mean + (share * off).sum(0)  # corrects the rounding error of the line before
    return mean, (share * (variances + off**2)).sum(0)
