"""A Hessian-vector product by differentiating twice, and Newton's method with it."""

import numpy as np
import pytest

import minigrad as mg


def rosenbrock(x):
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def test_a_hessian_vector_product_is_that_of_scipy():
    optimize = pytest.importorskip("scipy.optimize")
    rng = np.random.default_rng(0)
    point, direction = rng.standard_normal(6), rng.standard_normal(6)
    x = mg.Tensor(point, requires_grad=True)
    (gradient,) = mg.grad(rosenbrock(x), x, create_graph=True)
    (product,) = mg.grad((gradient * mg.Tensor(direction)).sum(), x)
    np.testing.assert_allclose(gradient.detach().numpy(), optimize.rosen_der(point), rtol=1e-12)
    np.testing.assert_allclose(product.numpy(), optimize.rosen_hess_prod(point, direction), rtol=1e-12)


def test_newton_steps_reach_the_minimum():
    x = mg.Tensor(np.array([1.2, 1.5, 2.0]), requires_grad=True)
    for _ in range(20):
        (gradient,) = mg.grad(rosenbrock(x), x, create_graph=True)
        rows = [mg.grad(gradient[i], x, retain_graph=True)[0] for i in range(3)]
        hessian = mg.stack(rows).numpy()
        x.data -= np.linalg.solve(hessian, gradient.numpy())
    np.testing.assert_allclose(x.detach().numpy(), np.ones(3), atol=1e-9)
    assert rosenbrock(x).item() < 1e-16
