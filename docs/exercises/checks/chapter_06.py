"""Checks of chapter 6."""

import numpy as np

import minigrad as mg


def check_taylor_order(work):
    """If the remainder is c * h ** p, then the remainder at h / 2 is smaller by the factor 2 ** p. The inner product
    <gradient, v> is over all entries, and the remainder has no sign.
    """
    rng = np.random.default_rng(0)
    x, v = rng.standard_normal((2, 3)), rng.standard_normal((2, 3))

    def f(x):
        return np.sum(np.exp(x))

    right = np.exp(x)
    for h in (1e-2, 1e-4):
        got = work.taylor_order(f, right, x, v, h)
        assert abs(got - 2) < 0.02, (
            f"for sum(exp(x)), its gradient and h = {h}, expected an order near 2, got {got:.3f}"
        )
    got = work.taylor_order(f, 1.01 * right, x, v, 1e-6)
    assert abs(got - 1) < 0.02, f"for sum(exp(x)) and 1.01 times its gradient, expected an order near 1, got {got:.3f}"
    got = work.taylor_order(f, right, x, v)
    assert abs(got - 2) < 1e-3, f"without h, the step is 1e-4: expected an order of 2 to three digits, got {got:.5f}"
    got = work.taylor_order(lambda x: np.sum(x**3), np.zeros(3), np.zeros(3), np.ones(3))
    assert abs(got - 3) < 1e-6, (
        f"for sum(x ** 3) at 0, whose slope and curvature are 0, expected order 3, got {got:.3f}"
    )


def check_adjoint_gap(work):
    """Draw x and y independently. If the rule is the transpose, both inner products are equal. Their difference is
    divided by the two lengths |forward(x)| and |y|: then a factor in front of forward and rule changes nothing.
    """
    a = np.random.default_rng(0).standard_normal((4, 6))

    def forward(x):
        return (a @ x.ravel()).reshape(2, 2)

    def rule(y):
        return (a.T @ y.ravel()).reshape(2, 3)

    for seed in range(5):
        got = work.adjoint_gap(forward, rule, (2, 3), (2, 2), np.random.default_rng(seed))
        assert 0 <= got < 1e-14, f"if the rule is the transpose, expected a gap near 1e-16, got {got:.2g}"
    b = np.random.default_rng(1).standard_normal((40, 30))
    draws = [np.random.default_rng(seed) for seed in range(200)]
    gaps = [work.adjoint_gap(lambda x: b @ x, lambda y: 1.01 * (b.T @ y), (30,), (40,), rng) for rng in draws]
    assert min(gaps) > 0, "for a rule wrong by 1/100, expected a gap above 0 for every random draw"
    mean = np.mean(gaps)  # 0.01 times the mean of |cos| of the angle to a random direction in 40 dimensions, 0.126
    assert 0.0009 < mean < 0.0017, f"for a rule wrong by 1/100, expected gaps near 0.0013, got {mean:.2g} on average"
    large = work.adjoint_gap(
        lambda x: 1e6 * (b @ x), lambda y: 1.01e6 * (b.T @ y), (30,), (40,), np.random.default_rng(0)
    )
    assert np.isclose(large, gaps[0]), (
        f"for forward and rule a million times larger, expected the same gap, {gaps[0]:.4g}, got {large:.4g}"
    )


def check_mended_rule(work):
    """x[i, j] reaches y directly, with the factor r, and through r, which all entries of its row share, and no entry of
    another row. Derive dr / dx[i, j]: which power of r is in it?
    """
    rng = np.random.default_rng(0)
    g, x = rng.standard_normal((4, 3)), rng.standard_normal((4, 3)) * [[0.01], [1.0], [1.0], [5.0]]
    for eps in (None, 0.1):
        leaf = mg.Tensor(x, requires_grad=True)
        (expected,) = mg.grad(leaf / mg.sqrt((leaf * leaf).mean(1, keepdims=True) + (eps or 1e-5)), leaf, g)
        got = work.mended_rule(g, x, eps) if eps else work.mended_rule(g, x)
        assert np.shape(got) == x.shape, f"expected shape {x.shape}, got {np.shape(got)}"
        rows = np.abs(got - expected.data).max(axis=1) / np.abs(expected.data).max(axis=1)
        assert rows.max() < 1e-10, (
            f"with eps = {eps or 1e-5}, relative errors by row: {np.array2string(rows, precision=2)}"
        )
