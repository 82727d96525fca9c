"""Exercises of chapter 7, convolution as im2col."""

import numpy as np

import minigrad as mg


def sound_windows(sound, k, stride):
    """View a sound (n, t, c) as its windows (n, to, k, c), without copying.

    Window p begins at step ``stride * p``; ``to = (t - k) // stride + 1``. Use
    ``np.lib.stride_tricks.as_strided(sound, shape, strides)``. The sound need not be contiguous.
    """
    raise NotImplementedError


def weight_gradient(x, g, kernel, stride):
    """Return dw (kh, kw, c, o) of a convolution without padding, from x (n, h, w, c) and g (n, ho, wo, o).

    One product of matrices for each of the ``kh * kw`` taps, and no columns. `kernel` is (kh, kw).
    """
    raise NotImplementedError


def image_gradient(g, w, shape, stride):
    """Return dx, of `shape` (n, h, w, c), of a convolution without padding, from g (n, ho, wo, o) and w (kh, kw, c, o).

    Spread g out, with zeros where stride 1 would have had a pixel that stride `stride` skipped. Then one ``mg.conv2d``
    of stride 1 with the flipped kernel. There may be pixels at the end that no window reached.
    """
    raise NotImplementedError
