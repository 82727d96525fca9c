"""Solutions of chapter 8, convolution as im2col."""

import numpy as np

import minigrad as mg


def sound_windows(sound, k, stride):
    """Return the windows (n, to, k, c) of a sound (n, t, c) as a view, without copying."""
    n, t, c = sound.shape
    s_n, s_t, s_c = sound.strides
    to = (t - k) // stride + 1
    return np.lib.stride_tricks.as_strided(sound, (n, to, k, c), (s_n, stride * s_t, s_t, s_c))


def weight_gradient(x, g, kernel, stride):
    """Return dw (kh, kw, c, o): for tap (i, j), the transposed matrix of the pixels it is multiplied with, times g."""
    (kh, kw), (_, ho, wo, o), c = kernel, g.shape, x.shape[3]
    dw = np.empty((kh, kw, c, o), x.dtype)
    for i in range(kh):
        for j in range(kw):
            pixels = x[:, i : i + stride * ho : stride, j : j + stride * wo : stride]  # (n, ho, wo, c)
            dw[i, j] = pixels.reshape(-1, c).T @ g.reshape(-1, o)
    return dw


def image_gradient(g, w, shape, stride):
    """Return dx of `shape`: the adjoint of selecting every s-th pixel puts zeros between the pixels."""
    (n, h, wd, _), (kh, kw, _, o) = shape, w.shape
    spread = np.zeros((n, h - kh + 1, wd - kw + 1, o), g.dtype)  # the shape of g at stride 1
    spread[:, ::stride, ::stride] = g
    flipped = w[::-1, ::-1].transpose(0, 1, 3, 2)  # (kh, kw, o, c)
    return mg.conv2d(spread, flipped, padding=(kh - 1, kw - 1))
