"""Solutions of chapter 5: gradients of gradients."""

import numpy as np

import minigrad as mg


def nth_derivative(f, x, n):
    """Take the gradient n times, and record each, so that it can be differentiated again."""
    point = mg.Tensor(np.array([x]), requires_grad=True)
    y = f(point)
    for _ in range(n):
        (y,) = mg.grad(y, point, create_graph=True)
    return y.item()


def hessian(f, x):
    """Record the gradient once; then do a backward pass from it for each unit vector, and retain the tape."""
    point = mg.Tensor(x, requires_grad=True)
    (slope,) = mg.grad(f(point), point, create_graph=True)
    return np.stack([mg.grad(slope, point, unit, retain_graph=True)[0].data for unit in np.eye(len(x))])


def penalty_gradient(f, x):
    """Differentiate the sum of squares of the recorded gradient; the result is 2 H slope."""
    point = mg.Tensor(x, requires_grad=True)
    (slope,) = mg.grad(f(point), point, create_graph=True)
    return mg.grad((slope * slope).sum(), point)[0].data
