"""Logistic regression on scikit-learn's breast cancer data in float64, measured by scikit-learn's own solution."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim


def test_logistic_regression_finds_the_solution_of_scikit_learn():
    datasets = pytest.importorskip("sklearn.datasets")
    linear_model = pytest.importorskip("sklearn.linear_model")
    x, y = datasets.load_breast_cancer(return_X_y=True)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    inputs, targets = mg.Tensor(x), mg.Tensor(y[:, None].astype(np.float64))

    net = nn.Linear(30, 1, dtype=np.float64, rng=0)
    groups = [{"params": [net.weight], "weight_decay": 1 / len(x)}, {"params": [net.bias], "weight_decay": 0.0}]
    sgd = optim.SGD(groups, lr=0.5, momentum=0.9)
    for _ in range(1000):
        loss = mg.binary_cross_entropy(net(inputs), targets)
        sgd.zero_grad()
        loss.backward()
        sgd.step()
    assert loss.dtype == np.float64

    with mg.no_grad():
        probability = mg.sigmoid(net(inputs)).numpy().ravel()
    assert np.mean((probability > 0.5) == y) > 0.98

    reference = linear_model.LogisticRegression(C=1.0, tol=1e-8, max_iter=1000).fit(x, y)
    np.testing.assert_allclose(net.weight.numpy().ravel(), reference.coef_.ravel(), atol=1e-2)
    np.testing.assert_allclose(net.bias.numpy(), reference.intercept_, atol=1e-2)
