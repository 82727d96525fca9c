"""Checks of the milestone of chapter 12: a loss and SGD."""

import numpy as np

import minigrad as mg
from docs.exercises.checks.tape import compare, same


def check_cross_entropy(work):
    """The gradient of one row is softmax(row), minus 1 at the label; the mean over n rows divides it by n.

    log(softmax) is the row minus log(sum(exp(row))). This is the same for a row from which its maximum is subtracted.
    """
    rng = np.random.default_rng(0)
    for n, classes in ((4, 3), (1, 5), (6, 2)):
        labels = rng.integers(classes, size=n)
        compare(
            work,
            f"cross_entropy of logits ({n}, {classes})",
            lambda logits, labels=labels: work.cross_entropy(logits, labels),
            lambda logits, labels=labels: mg.cross_entropy(logits, labels),
            rng.standard_normal((n, classes)),
        )
    large = np.array([[1000.0, 0.0], [0.0, -2000.0]])
    got = work.cross_entropy(work.Tensor(large), np.array([1, 0])).data
    same("cross_entropy of logits [1000, 0] and [0, -2000], labels 1 and 0", got, 500.0)


def check_SGD(work):
    """Each parameter needs a velocity of its own, which begins with zeros and stays from step to step.

    The learning rate is not part of the velocity. A step gives the parameter a new array. A rate that np.cos computed
    is a float64 of NumPy, and makes float64 of everything: multiply by ``float(rate)``, a number of Python.
    """
    rng = np.random.default_rng(0)
    start = [rng.standard_normal(shape) for shape in ((2, 3), (4,))]
    for momentum, decay in ((0.0, 0.0), (0.9, 0.0), (0.5, 0.1)):
        yours = [work.Tensor(a.copy()) for a in start]
        ours = [mg.Tensor(a.copy(), requires_grad=True) for a in start]
        sgd = work.SGD(yours, 0.1, momentum=momentum, weight_decay=decay)
        reference = mg.optim.SGD(ours, 0.1, momentum=momentum, weight_decay=decay)
        for step in range(4):
            sgd.lr = reference.lr = 0.1 / (step + 1)
            before = [p.data for p in yours]
            kept = [a.copy() for a in before]
            for p in ours:
                p.grad = mg.Tensor(rng.standard_normal(p.shape))
            reference.step()
            sgd.step({p: q.grad.data.copy() for p, q in zip(yours, ours, strict=True)})
            for a, b in zip(before, kept, strict=True):
                assert np.array_equal(a, b), "a step wrote into the old array of a parameter: make a new one"
            for i, (p, q) in enumerate(zip(yours, ours, strict=True)):
                case = f"parameter {i} after step {step + 1}, momentum {momentum}, weight decay {decay}"
                same(case, p.data, q.data)
    w, reference = work.Tensor(np.ones(3, "float32")), np.ones(3)
    sgd, v = work.SGD([w], 0.1), 0
    for step, lr in ((1, 0.1), (2, np.float64(0.1))):
        sgd.lr = lr
        sgd.step({w: np.ones(3, "float32")})
        v = 0.9 * v + 1 + 1e-4 * reference
        reference = reference - 0.1 * v
        same(f"w after step {step} of SGD([w], 0.1), with w = 1 and g = 1", w.data, reference, 1e-6)
        case = f"a step with an lr of type {type(lr).__name__}"
        assert w.data.dtype == "float32", f"{case} turned float32 data into {w.data.dtype}"
