"""Checks of chapter 8, convolution as im2col."""

import numpy as np

import minigrad as mg

#: (image, kernel, stride): for some, the stride leaves a remainder; some kernels are not square.
CASES = [((5, 6), (3, 3), 1), ((7, 8), (3, 2), 2), ((9, 6), (1, 3), 3), ((8, 8), (3, 3), 2), ((6, 7), (2, 2), 3)]


def check_sound_windows(work):
    """A stride in bytes says how far the next element of an axis is. The array that you are given knows the strides of
    its three axes. One axis of the result moves by whole windows, another by single steps of time: what are their
    strides in bytes?
    """
    rng = np.random.default_rng(0)
    whole = rng.standard_normal((2, 22, 3))
    for name, sound in {
        "a contiguous sound": whole,
        "sound[:, ::2]": whole[:, ::2],
        "sound[:, ::-1]": whole[:, ::-1],
    }.items():
        for k, stride in ((1, 1), (3, 1), (4, 2), (2, 3)):
            got = work.sound_windows(sound, k, stride)
            count = (sound.shape[1] - k) // stride + 1
            assert got.shape == (2, count, k, 3), (
                f"{name}, k={k}, stride={stride}: the shape is {got.shape}, not {(2, count, k, 3)}"
            )
            expected = np.stack([sound[:, stride * p : stride * p + k] for p in range(count)], axis=1)
            assert np.array_equal(got, expected), (
                f"{name}, k={k}, stride={stride}: {np.sum(got != expected)} of {got.size} numbers are wrong"
            )
            assert np.shares_memory(got, sound), f"{name}, k={k}, stride={stride}: the windows are a copy, not a view"


def check_weight_gradient(work):
    """Weight (i, j) was multiplied with one pixel of each window: these pixels are a slice of x that starts at (i, j)
    and has steps of `stride`. Write them as a matrix (windows, c), and g as a matrix (windows, o).
    """
    for case, x, w, stride, g, _, expected in _gradients():
        got = work.weight_gradient(x, g, w.shape[:2], stride)
        assert got.shape == w.shape, f"{case}: expected dw of shape {w.shape}, as w, got {got.shape}"
        worst = np.abs(got - expected).max()
        assert worst < 1e-11, f"{case}: the largest error of dw is {worst:.2g}"


def check_image_gradient(work):
    """At stride 1, g would have h - kh + 1 rows. Place the rows of g where they would stand then, and zeros elsewhere.
    Each pixel of x was in up to kh kw windows: the flipped kernel, with c and o exchanged and enough padding,
    collects them.
    """
    for case, x, w, stride, g, expected, _ in _gradients():
        got = np.asarray(work.image_gradient(g, w, x.shape, stride))
        assert got.shape == x.shape, f"{case}: expected dx of shape {x.shape}, as x, got {got.shape}"
        worst = np.abs(got - expected).max()
        assert worst < 1e-11, f"{case}: the largest error of dx is {worst:.2g}"


def _gradients():
    """Yield each case with the gradients that the tape computes."""
    rng = np.random.default_rng(1)
    for image, kernel, stride in CASES:
        x = mg.Tensor(rng.standard_normal((2, *image, 3)), requires_grad=True)
        w = mg.Tensor(rng.standard_normal((*kernel, 3, 4)), requires_grad=True)
        out = mg.conv2d(x, w, stride=stride)
        g = rng.standard_normal(out.shape)
        dx, dw = mg.grad(out, (x, w), mg.Tensor(g))
        case = f"image {image}, kernel {kernel}, stride {stride}"
        yield case, x.data, w.data, stride, g, dx.data, dw.data
