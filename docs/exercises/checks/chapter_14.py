"""Checks of chapter 14, plain nets and the degradation problem."""

import numpy as np

import minigrad as mg


def check_identity_kernel(work):
    """An output pixel is a sum over taps and channels. All terms are zero except one: the pixel itself, in the same
    channel.
    """
    x = np.random.default_rng(0).standard_normal((2, 6, 7, 3)).astype("float32")
    for k in (1, 3, 5):
        w = work.identity_kernel(k, 3)
        assert w.shape == (k, k, 3, 3), f"expected a kernel of shape {(k, k, 3, 3)}, got {w.shape}"
        assert w.dtype == np.float32, f"expected float32, got {w.dtype}"
        out = mg.conv2d(x, w, padding=k // 2)
        moved = np.abs(out - x).max()
        assert moved < 1e-6, f"with k = {k}, the output differs from the input by up to {moved:.2g}"


def check_diagnosis(work):
    """There are four cases of training and test errors. The task says which comparison decides first."""
    cases = [
        ((0.08, 0.10), (0.12, 0.14), "degradation"),  # the paper's plain-56
        ((0.08, 0.10), (0.09, 0.09), "degradation"),
        ((0.05, 0.0643), (0.001, 0.0793), "overfitting"),  # ResNet-1202
        ((0.05, 0.10), (0.05, 0.11), "overfitting"),
        ((0.08, 0.10), (0.03, 0.07), "nothing"),
        ((0.08, 0.10), (0.08, 0.10), "nothing"),
    ]
    for shallow, deep, expected in cases:
        got = work.diagnosis(shallow, deep)
        assert got == expected, f"shallow {shallow}, deep {deep} (training, test): expected {expected!r}, got {got!r}"


def check_neutral_batch_norm(work):
    """In training mode, batch norm first returns a signal with mean 0 and variance var / (var + eps). gamma and beta
    must undo the division and the subtraction, for each channel.
    """
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 5, 3, 2)) * [0.1, 3.0] + [2.0, -1.0]
    for eps in (1e-5, 0.5):
        gamma, beta = (np.asarray(a) for a in work.neutral_batch_norm(x, eps))
        for name, a in (("gamma", gamma), ("beta", beta)):
            assert a.shape == (2,), f"expected {name} of shape (2,), one number for each channel, got {a.shape}"
        out = mg.batch_norm(x, gamma, beta, np.zeros(2), np.ones(2), training=True, eps=eps)
        moved = np.abs(out - x).max()
        assert moved < 1e-12, f"with eps = {eps}, the output differs from x by up to {moved:.2g}"
