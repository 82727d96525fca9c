"""Checks of chapter 11: batch norm, forward and backward."""

import numpy as np

import minigrad as mg


def check_layer_norm_backward(work):
    """The rule of batch norm has the same three paths: direct, through the mean, through the variance. But here the
    means run along the axis on which gamma varies, so g is multiplied by gamma before the means are taken. dgamma
    and dbeta are sums over all other axes.
    """
    rng = np.random.default_rng(0)
    for eps in (1e-5, 0.5):
        x, gamma, beta, g = (rng.standard_normal(s) for s in ((2, 3, 4, 5), (5,), (5,), (2, 3, 4, 5)))
        inputs = [mg.Tensor(a, requires_grad=True) for a in (3 * x + 1, gamma, beta)]
        xt, gt, bt = inputs
        off = xt - xt.mean(-1, keepdims=True)
        y = gt * (off / mg.sqrt((off * off).mean(-1, keepdims=True) + eps)) + bt
        expected = mg.grad(y, inputs, mg.Tensor(g))
        given = [a.copy() for a in (g, xt.data, gamma)]
        got = work.layer_norm_backward(g, xt.data, gamma, eps)
        assert len(got) == 3, f"expected three gradients, got {len(got)}"
        for name, mine, right in zip(("dx", "dgamma", "dbeta"), got, expected, strict=True):
            assert np.shape(mine) == right.shape, f"expected {name} of shape {right.shape}, got {np.shape(mine)}"
            worst = abs(mine - right.data).max()
            assert worst < 1e-10, f"the largest error of {name} is {worst:.2g} (eps={eps}, gamma={gamma.round(2)})"
        assert all(map(np.array_equal, given, (g, xt.data, gamma))), "an argument was changed"


def check_folded(work):
    """In evaluation, batch norm is scale * z + shift for each channel, with constants. z is linear in the weights and
    the bias; so the scale can go into the weights, and the rest into the bias.
    """
    rng = np.random.default_rng(1)
    x, w = rng.standard_normal((2, 6, 5, 3)), rng.standard_normal((3, 2, 3, 4))
    gamma, beta, mean = rng.standard_normal((3, 4))
    var = rng.uniform(0.01, 4, 4)
    for b in (None, rng.standard_normal(4)):
        for eps in (1e-5, 0.3):
            arguments = [w, b, gamma, beta, mean, var]
            given = [None if a is None else a.copy() for a in arguments]
            expected = mg.batch_norm(mg.conv2d(x, w, b), gamma, beta, mean, var, training=False, eps=eps)
            weights, bias = work.folded(*arguments, eps)
            assert weights.shape == w.shape, f"expected weights of shape {w.shape}, got {weights.shape}"
            assert np.shape(bias) == (4,), f"expected a bias of shape (4,), got {np.shape(bias)}"
            worst = abs(mg.conv2d(x, weights, bias) - expected).max()
            assert worst < 1e-10, (
                f"{'without' if b is None else 'with'} b, eps={eps}: one layer and two layers differ by {worst:.2g}"
            )
            for before, now in zip(given, arguments, strict=True):
                assert before is None or np.array_equal(before, now), "an argument was changed"


def check_merged_statistics(work):
    """Each part has a share of the whole mean that is proportional to its count. The variance of the whole is the mean
    of the variances, with the same shares, plus the variance of the means. Subtract means before you square.
    """
    rng = np.random.default_rng(2)
    for middle, spread, dtype in ((0.0, 1.0, "f8"), (3.0, 2.0, "f8"), (1e5, 3.0, "f8"), (1000.0, 0.5, "f4")):
        counts = np.array([1, 7, 40, 252])
        parts = [rng.normal(middle + rng.standard_normal(), spread, (count, 3)) for count in counts]
        whole = np.concatenate(parts)
        means = np.array([p.mean(0) for p in parts]).astype(dtype)
        variances = np.array([p.var(0) for p in parts]).astype(dtype)
        mean, var = work.merged_statistics(counts, means, variances)
        case = f"mean about {middle:g}, deviation {spread:g}, {np.dtype(dtype).name}"
        assert np.shape(mean) == (3,) == np.shape(var), (
            f"{case}: expected shapes (3,), got {np.shape(mean)} and {np.shape(var)}"
        )
        tolerance = 1e-9 if dtype == "f8" else 2e-3
        assert np.allclose(mean, whole.mean(0), rtol=1e-6, atol=1e-9), (
            f"{case}: expected the mean {whole.mean(0)}, got {mean}"
        )
        worst = abs(var / whole.var(0) - 1).max()
        assert worst < tolerance, f"{case}: expected the variance {whole.var(0)}, got {var} (error {worst:.1g})"
