"""Checks of the milestone of chapter 11: batch norm."""

import numpy as np

import minigrad as mg
from docs.exercises.checks.tape import compare, same


def check_batch_norm(work):
    """A change of one x changes y along three paths: directly, through the mean, and through the variance.

    Chapter 11 derives the sum of the three in terms of x_hat. The sums for gamma and beta are over all axes except the
    last. Every array keeps the dtype of x.
    """
    rng = np.random.default_rng(0)
    for shape in ((6, 3), (2, 3, 2, 3)):
        for spread in (1.0, 0.003):  # if the variance is small, the 1e-5 shows
            x = spread * rng.standard_normal(shape) + 2
            gamma, beta = rng.standard_normal((2, 3))
            case = f"batch_norm of shape {shape}, deviation {spread}"
            compare(work, case, lambda x, gamma, beta: work.batch_norm(x, gamma, beta), _reference, x, gamma, beta)


def check_BatchNorm(work):
    """The old statistics keep most of their weight: 0.9 * old + 0.1 * new, where the new ones are those of the input.

    With m numbers in a channel, the unbiased variance is m / (m - 1) times the biased one, x.var().

    In evaluation, mean and variance are constants, and Python's operators of chapter 3 are enough.
    """
    rng = np.random.default_rng(0)
    norm = work.BatchNorm(3)
    mean, var = np.zeros(3), np.ones(3)
    for name, start in (("gamma", 1.0), ("beta", 0.0)):
        same(f"{name} of BatchNorm(3)", getattr(norm, name).data, np.full(3, start))
    for name, start in (("mean", mean), ("var", var)):
        same(f"{name} of BatchNorm(3)", getattr(norm, name), start)
    for name, array in (("gamma", norm.gamma.data), ("beta", norm.beta.data), ("mean", norm.mean), ("var", norm.var)):
        assert array.dtype == "float32", f"{name} of BatchNorm(3): expected float32, got {array.dtype}"
    gamma, beta = rng.standard_normal((2, 3))
    norm.gamma.data, norm.beta.data = gamma, beta
    norm.mean, norm.var = mean.copy(), var.copy()
    for count in (1, 2, 3):
        x = rng.standard_normal((2, 3, 2, 3)) * [1.0, 2.0, 0.1] + [0.0, 5.0, -1.0]
        expected = mg.batch_norm(x, gamma, beta, mean, var, training=True)
        case = f"after call {count} in training"
        same(f"the result of call {count} in training", norm(work.Tensor(x), True).data, expected)
        same(f"{case}: mean", norm.mean, mean)
        same(f"{case}: var", norm.var, var)
    x = rng.standard_normal((2, 3, 2, 3))
    expected = mg.batch_norm(x, gamma, beta, mean, var, training=False)
    same("the result in evaluation", norm(work.Tensor(x), False).data, expected)
    same("mean after a call in evaluation", norm.mean, mean)
    same("var after a call in evaluation", norm.var, var)
    norm = work.BatchNorm(3)
    norm(work.Tensor(x.astype("float32")), True)
    for name in ("mean", "var"):
        dtype = getattr(norm, name).dtype
        assert dtype == "float32", f"{name} after a call with float32: expected float32, got {dtype}"


def _reference(x, gamma, beta):
    return mg.batch_norm(x, gamma, beta, np.zeros(3), np.ones(3), training=True)
