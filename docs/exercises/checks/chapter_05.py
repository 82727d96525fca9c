"""Checks of chapter 5."""

import numpy as np

import minigrad as mg


def check_nth_derivative(work):
    """mg.grad returns a tuple. With create_graph=True, the gradient is recorded, so it can be differentiated again."""
    for n, expected in enumerate([32.0, 80.0, 160.0, 240.0, 240.0, 120.0]):
        got = work.nth_derivative(lambda x: x**5, 2.0, n)
        assert isinstance(got, float), f"expected a float, got {type(got).__name__}"
        assert abs(got - expected) < 1e-9, f"derivative {n} of x ** 5 at 2 is {expected}, got {got}"
    got = work.nth_derivative(lambda x: mg.exp(x * 0.5), 1.0, 8)
    assert abs(got - np.exp(0.5) / 256) < 1e-12, (
        f"derivative 8 of exp(x / 2) at 1 is {np.exp(0.5) / 256:.9f}, got {got}"
    )


def check_hessian(work):
    """Row i of the Hessian is the gradient of entry i of the gradient. Record the gradient once. A cotangent that is 1
    at entry i and 0 elsewhere selects this entry. A tape is released after use unless it is retained.
    """
    rng = np.random.default_rng(0)
    a, x, calls = rng.standard_normal((4, 4)), rng.standard_normal(4), []

    def f(x):
        calls.append(1)
        return (x * (a @ x)).sum() + (x**3).sum()

    got = work.hessian(f, x)
    assert np.shape(got) == (4, 4), f"expected shape (4, 4), got {np.shape(got)}"
    worst = np.abs(got - (a + a.T + 6 * np.diag(x))).max()
    assert worst < 1e-12, (
        f"for sum over i, j of a[i, j] x[i] x[j], plus sum of x ** 3: the largest error is {worst:.2g}"
    )
    assert len(calls) == 1, f"f was called {len(calls)} times, expected one call"


def check_penalty_gradient(work):
    """Compute the gradient of f so that it is recorded, then the sum of its squares, and then the gradient of this
    number. The result has a factor 2 and, in general, mixes all entries of x.
    """
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3))
    got = work.penalty_gradient(lambda x: (x**3).sum(), x)  # slope 3 x ** 2; its square 9 x ** 4
    assert np.shape(got) == x.shape, f"expected shape {x.shape}, got {np.shape(got)}"
    assert np.allclose(got, 36 * x**3), f"for sum(x ** 3), expected 36 x ** 3 =\n{36 * x**3}, got\n{got}"
    got = work.penalty_gradient(lambda x: (x.sum()) ** 2, x)  # slope 2 s everywhere; the penalty 4 s ** 2 * 6
    assert np.allclose(got, 48 * x.sum()), (
        f"for sum(x) ** 2, expected 48 sum(x) = {48 * x.sum():.6g} in each entry, got\n{got}"
    )
