"""Checks of the milestone of chapter 8: convolution."""

import numpy as np

import minigrad as mg
from docs.exercises.checks.tape import compare

#: (height, width), k, stride: for some, the stride leaves a remainder, and the last pixels are in no window.
CASES = [((4, 5), 3, 1), ((6, 5), 2, 2), ((5, 7), 3, 2), ((7, 6), 2, 3), ((3, 4), 1, 2), ((3, 3), 3, 1)]


def check_pad(work):
    """The zeros are constants. So the gradient of x is the part of g that lies over x, also when p is 0."""
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 2))
    for p in (0, 1, 2):
        around = ((0, 0), (p, p), (p, p), (0, 0))
        compare(work, f"pad(x, {p})", lambda x, p=p: work.pad(x, p), lambda x, around=around: np.pad(x, around), x)


def check_windows(work):
    """A pixel is in several windows, at another place in each. Its gradient is the sum over these windows.

    Take one place (i, j) at a time: the pixels that the windows have there are every `stride`-th pixel, from row i and
    column j on, and no pixel comes twice. So g of this place can be added to a slice.
    np.lib.stride_tricks.sliding_window_view makes the windows of stride 1, with the channels before the places.
    """
    rng = np.random.default_rng(0)
    for (h, w), k, stride in CASES:
        rows, columns = range(0, h - k + 1, stride), range(0, w - k + 1, stride)

        def by_hand(x, rows=rows, columns=columns, k=k):
            return np.stack([np.stack([x[:, i : i + k, j : j + k] for j in columns], 1) for i in rows], 1)

        case = f"windows of k = {k} and stride {stride} in an image of {h} x {w}"
        x = rng.standard_normal((2, h, w, 2))
        compare(work, case, lambda x, k=k, s=stride: work.windows(x, k, s), by_hand, x)


def check_conv2d(work):
    """Pad, take the windows, and reshape them to a matrix (n ho wo, k k c); the weights become (k k c, o)."""
    rng = np.random.default_rng(0)
    for (h, w), k, stride in CASES:
        for padding in (0, k // 2):
            x, weights = rng.standard_normal((2, h, w, 2)), rng.standard_normal((k, k, 2, 3))
            settings = {"stride": stride, "padding": padding}
            case = f"conv2d of an image of {h} x {w}, k = {k}, stride {stride}, padding {padding}"
            compare(
                work,
                case,
                lambda x, w, s=settings: work.conv2d(x, w, **s),
                lambda x, w, s=settings: mg.conv2d(x, w, **s),
                x,
                weights,
            )
    x, weights = rng.standard_normal((1, 4, 4, 2)), rng.standard_normal((3, 3, 2, 3))
    compare(work, "conv2d(x, w)", lambda x, w: work.conv2d(x, w), lambda x, w: mg.conv2d(x, w), x, weights)
