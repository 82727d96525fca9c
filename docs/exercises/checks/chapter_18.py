"""Checks of chapter 18, real weights and a real photograph."""

import numpy as np

import minigrad as mg


def check_head_weights(work):
    """Each column of PyTorch's weight belongs to a place (c, h, w), in this order. Split the axis into its parts,
    exchange them, and flatten them again. The product h w is enough; h and w need not be known.
    """
    rng = np.random.default_rng(0)
    for h, w, c, o in ((3, 2, 5, 4), (2, 2, 2, 8), (1, 1, 6, 3), (2, 3, 1, 2)):
        maps, weight = rng.standard_normal((7, h, w, c)), rng.standard_normal((o, c * h * w))
        theirs = maps.transpose(0, 3, 1, 2).reshape(7, -1) @ weight.T  # as PyTorch does it
        got = np.asarray(work.head_weights(weight, c))
        assert got.shape == (h * w * c, o), f"maps {(h, w, c)}: expected shape {(h * w * c, o)}, got {got.shape}"
        ours = maps.reshape(7, -1) @ got
        assert np.allclose(ours, theirs, atol=1e-12), (
            f"maps {(h, w, c)}: the outputs differ by up to {np.abs(ours - theirs).max():.2g}"
        )


def check_fold(work):
    """In evaluation, batch norm multiplies each channel by gamma / sqrt(var + eps), and adds a constant. Multiply the
    weights and the bias of the convolution by the same factor.
    """
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 6, 5, 3)), rng.standard_normal((3, 3, 3, 4))
    b, gamma, beta, mean = rng.standard_normal((4, 4))
    var = rng.uniform(0.01, 2.0, 4)
    given = [a.copy() for a in (w, b, gamma, beta, mean, var)]
    for eps in (1e-5, 0.3):
        expected = mg.batch_norm(mg.conv2d(x, w, b), gamma, beta, mean, var, training=False, eps=eps)
        w_folded, b_folded = work.fold(w, b, gamma, beta, mean, var, eps)
        assert w_folded.shape == w.shape, f"expected weights of shape {w.shape}, got {w_folded.shape}"
        assert np.shape(b_folded) == (4,), f"expected a bias of shape (4,), got {np.shape(b_folded)}"
        off = np.abs(mg.conv2d(x, w_folded, b_folded) - expected).max()
        assert off < 1e-12, f"with eps = {eps} the outputs differ by up to {off:.2g}"
    for before, after in zip(given, (w, b, gamma, beta, mean, var), strict=True):
        assert np.array_equal(before, after), "an argument was changed"


def check_same_padding(work):
    """The last window starts at (windows - 1) * stride. It needs zeros only if it ends beyond the last pixel: the
    number of zeros is never negative.
    """
    expected = {
        (224, 7, 2): (2, 3),  # the stem of a ResNet
        (8, 3, 2): (0, 1),
        (9, 3, 2): (1, 1),
        (8, 3, 1): (1, 1),
        (8, 2, 1): (0, 1),
        (7, 5, 3): (2, 2),
        (8, 1, 2): (0, 0),  # no window reads the last pixel: no zeros are added, no pixel is removed
        (10, 2, 4): (0, 0),
        (5, 4, 5): (0, 0),
        (11, 4, 4): (0, 1),
    }
    for (size, kernel, stride), zeros in expected.items():
        got = tuple(work.same_padding(size, kernel, stride))
        assert got == zeros, f"size {size}, kernel {kernel}, stride {stride}: expected {zeros}, got {got}"
