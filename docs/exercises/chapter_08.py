"""Exercises of chapter 8, convolution as im2col."""

import numpy as np

import minigrad as mg


def sound_windows(sound, k, stride):
    """Return the windows (n, to, k, c) of a sound (n, t, c) as a view, without copying.

    Window p starts at step ``stride * p``; ``to = (t - k) // stride + 1``. Use
    ``np.lib.stride_tricks.as_strided(sound, shape, strides)``. The array `sound` need not be contiguous.
    """
    raise NotImplementedError


def weight_gradient(x, g, kernel, stride):
    """Return dw (kh, kw, c, o) of a convolution without padding, from x (n, h, w, c) and g (n, ho, wo, o).

    Compute one matrix product for each of the ``kh * kw`` taps, and make no columns. `kernel` is (kh, kw).
    """
    raise NotImplementedError


def image_gradient(g, w, shape, stride):
    """Return dx, of `shape` (n, h, w, c), of a convolution without padding, from g (n, ho, wo, o) and w (kh, kw, c, o).

    A convolution of stride 1 has more output pixels than one of stride `stride`. So first spread g out, with zeros at
    the pixels that stride `stride` skips. Then call ``mg.conv2d`` once, with stride 1 and the flipped kernel. In some
    images, no window reaches the last pixels.
    """
    raise NotImplementedError
