"""check_operator: all checks of an operator at once, from a list of samples.

A right gradient is not enough. An operator that writes to its input or, in its rule, to its result, that turns float32
into float64, or that computes something else on two threads passes finite differences, and breaks a training run. Each
check below finds one such fault. (A rule may return the cotangent itself: the tape copies it where it must.)

Next: :mod:`minigrad.nn.init`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from minigrad.arguments import expect
from minigrad.autograd.backward import grad
from minigrad.autograd.tape import Entry
from minigrad.autograd.tensor import Tensor
from minigrad.checked import brief, checked
from minigrad.checks.differences import GradientError, gradcheck, gradgradcheck
from minigrad.checks.identities import adjoint_check, complex_step_check, taylor_check
from minigrad.kernels.threads import get_num_threads, set_num_threads
from minigrad.typing import Array

#: A function of Tensors with one output: an operator, with its settings.
Function: TypeAlias = Callable[..., Tensor]

#: Arrays, or a pair of arrays and a dict of settings (whose values have all sorts of types).
Sample: TypeAlias = Sequence[Any]

#: The largest difference of a float32 result from the float64 result, relative to the largest element.
FLOAT32_ERROR = 1e-4


@checked
def check_operator(
    op: Function, samples: Iterable[Sample], *, analytic: bool = False, linear: bool = False
) -> dict[str, float]:
    """Run every check on an operator, and return the worst error of each.

    The checks: first and second order by finite differences; the order of the Taylor remainder; float32 in, float32
    out; no write to an input, the result or the cotangent, and a gradient for every input; equal bits in a second run
    and on 1, 2 and 3 threads; and the values of the twin, if there is one. A fault beyond the samples, such as one of
    large arrays or of another setting, is not found.

    Parameters
    ----------
    op : callable
        An operator, or any function of Tensors.
    samples : iterable
        Tuples of float64 arrays, or ``(tuple of arrays, dict of settings)``. Keep the arrays small, so that every
        entry of the Jacobian is compared, and away from kinks.
    analytic : bool
        Whether to run :func:`complex_step_check`, too.
    linear : bool
        Whether to run :func:`adjoint_check`, too.

    Returns
    -------
    dict
        For each check that ran, the largest relative error; for ``taylor``, the lowest order.

    Raises
    ------
    GradientError
        If a check fails. The message says on which sample, and what is wrong.

    Examples
    --------
    An operator of your own, proven:

    >>> import minigrad as mg
    >>> @mg.elementwise
    ... def softplus(x, /):
    ...     return np.logaddexp(x, 0)
    >>> rule = softplus.vjp(lambda g, x: g * mg.sigmoid(x))
    >>> samples = [(np.array([-40.0, -1.0, 0.0, 2.0, 40.0]),), (np.array([[0.5], [-0.5]]),)]
    >>> passed = mg.check_operator(softplus, samples)
    >>> sorted(passed)
    ['aliasing', 'determinism', 'dtype', 'first order', 'second order', 'taylor']

    A rule that is wrong by a thousandth:

    >>> rule = softplus.vjp(lambda g, x: g * mg.sigmoid(x) * 1.001)
    >>> mg.check_operator(softplus, samples)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    minigrad.checks.differences.GradientError: sample 0, first order: the gradient of input 0 (shape (5,)) is wrong ...
    """
    checks = dict(CHECKS)
    if analytic:
        checks["complex step"] = complex_step_check
    if linear:
        checks["adjoint"] = adjoint_check
    worst: dict[str, float] = {}
    for number, sample in enumerate(samples):
        expect(
            isinstance(sample, tuple | list),
            "check_operator",
            "samples: each a tuple of arrays",
            brief(sample),
            "one sample of one array is [(x,)]",
        )
        arrays, settings = sample if len(sample) == 2 and isinstance(sample[1], dict) else (sample, {})
        for name, check in checks.items():
            try:
                value = check(partial(op, **settings), arrays)
            except (GradientError, RuntimeError, TypeError, ValueError) as error:
                raise GradientError(f"sample {number}, {name}: {error}") from error
            if value is not None:
                pick = min if name == "taylor" else max
                worst[name] = pick(worst.get(name, value), value)
    return worst


def check_dtype(f: Function, arrays: Sequence[Array]) -> float:
    """Check that results and gradients of float32 inputs are close to those of float64 inputs.

    That they are float32, too, is up to the tape, which refuses others.
    """
    results: dict[str, list[Tensor]] = {}
    for dtype in ("float32", "float64"):
        inputs = _leaves(arrays, dtype)
        out = f(*inputs)
        results[dtype] = [out, *grad(out, inputs, _cotangent(out))]
    worst = 0.0
    for single, double in zip(results["float32"], results["float64"], strict=True):
        scale = np.abs(double.data).max(initial=1e-3)
        worst = float(np.maximum(worst, np.abs(single.data - double.data).max(initial=0.0) / scale))  # NaN stays
    if not worst <= FLOAT32_ERROR:
        raise GradientError(f"float32 and float64 differ by {worst:.2g} of the largest element")
    return worst


def check_aliasing(f: Function, arrays: Sequence[Array]) -> float:
    """Check that no input, no result and no cotangent is written to, and that every input gets a gradient."""
    inputs = _leaves(arrays)
    for x in inputs:
        x.data.setflags(write=False)
    out = f(*inputs)
    g = _cotangent(out)
    guarded = {f"input {i}": (x.data, a) for i, (x, a) in enumerate(zip(inputs, arrays, strict=True))}
    guarded |= {"the result": (out.data, out.data.copy()), "the cotangent": (g, g.copy())}
    g.setflags(write=False)  # NumPy's writes to it or to an input raise; those of a kernel in C are found below
    out.backward(g)
    for name, (array, before) in guarded.items():
        if not np.array_equal(array, before):
            raise GradientError(f"{name} was changed")
    for i, x in enumerate(inputs):
        if x.grad is None:
            raise GradientError(f"input {i} got no gradient")
    return 0.0


def check_determinism(f: Function, arrays: Sequence[Array]) -> float:
    """Check that a second run and every number of threads give the same bits."""
    threads, results = get_num_threads(), []
    try:
        for n in (threads, 1, 2, 3):
            set_num_threads(n)
            inputs = _leaves(arrays)
            out = f(*inputs)
            results.append([out.data, *(d.data for d in grad(out, inputs, _cotangent(out)))])
    finally:
        set_num_threads(threads)
    for other in results[1:]:
        if any(not np.array_equal(a, b, equal_nan=True) for a, b in zip(results[0], other, strict=True)):
            raise GradientError("a second run, or another number of threads, gave something else")
    return 0.0


def check_twin(f: Function, arrays: Sequence[Array]) -> float | None:
    """Return the difference between the values of a fused operator and of its twin; None if it has no twin.

    The second-order check compares their gradients.
    """
    out = f(*_leaves(arrays))
    entry = out._node
    if not isinstance(entry, Entry) or entry.operator.twin_function is None or not isinstance(entry.stored, tuple):
        return None
    stored = dict(zip(entry.plan.names, entry.stored, strict=True))
    inputs, asked = entry.operator.inputs, entry.operator.twin_asks
    settings = {name: stored[name] for name in asked[len(inputs) :]}
    defined = entry.operator.twin_function(*[stored[name] for name in inputs], **settings)
    difference = float(np.abs(out.data - defined).max(initial=0.0)) / max(float(np.abs(defined).max(initial=0.0)), 1e-3)
    if out.shape != defined.shape or not difference <= 1e-10:
        raise GradientError(f"the operator and its twin differ by {difference:.2g} of the largest element")
    return difference


CHECKS: dict[str, Callable[[Function, Sequence[Array]], float | None]] = {
    "first order": gradcheck,
    "second order": gradgradcheck,
    "taylor": taylor_check,
    "dtype": check_dtype,
    "aliasing": check_aliasing,
    "determinism": check_determinism,
    "twin": check_twin,
}


def _leaves(arrays: Iterable[Array], dtype: DTypeLike = "float64") -> list[Tensor]:
    """Return copies of arrays as Tensors that require gradients."""
    return [Tensor(np.array(a, dtype), requires_grad=True) for a in arrays]


def _cotangent(out: Tensor) -> Array:
    """Return a random cotangent with both signs."""
    return np.asarray(np.random.default_rng(1).standard_normal(out.shape)).astype(out.dtype)
