"""Sharper tests than finite differences, for functions that are analytic, linear or smooth.

Finite differences leave ten digits. Three identities leave more, or ask something else:

- *complex step*: an analytic f has f(x + i h v) = f(x) + i h f'(x) v + O(h ** 2). With h = 1e-30 the second term
  is the imaginary part, exactly: nothing is subtracted, so nothing is lost.
- *adjoint*: a linear f and its rule are a matrix and its transpose, <f(x), y> = <x, f'(y)>. There is no step to choose.
- *Taylor*: the error of the first-order approximation shrinks as h ** 2. A wrong gradient, however small its error,
  makes that h, and the order shows it.

References
----------
J. R. R. A. Martins et al., "The Complex-Step Derivative Approximation", ACM TOMS 29 (3), 2003.

Next: :mod:`minigrad.checks.operators`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from minigrad.autograd.tensor import Tensor
from minigrad.checks.differences import DIRECTIONS, GradientError, evaluate, gradients, leaf, outputs_of

#: The complex step: so small that its square is nothing beside 1.
STEP = 1e-30

#: The steps of the Taylor test, each a quarter of the one before.
TAYLOR_STEPS = tuple(1e-2 * 4.0**-k for k in range(5))


def complex_step_check(
    f: Callable[..., Any], inputs: Iterable[Any], *, rtol: float = 1e-12, rng: np.random.Generator | int = 0
) -> float:
    """Compare the gradients of an analytic `f` with complex-step derivatives, to machine precision.

    Parameters
    ----------
    f : callable
        Called with Tensors of float64, and of complex128; all that it is to be differentiated by is among its
        arguments. It must be analytic: no abs, maximum or relu.
    inputs : iterable of float64 arrays or Tensors
    rtol : float
        Relative to what the terms of a derivative amount to without cancellation.
    rng : numpy Generator or seed

    Returns
    -------
    float
        The largest relative difference found.

    Raises
    ------
    GradientError
        If a gradient is wrong.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.complex_step_check(lambda x: mg.exp(x) / x, [np.array([0.3, -1.2])]) < 1e-14
    True
    """
    tensors = [leaf(i, x) for i, x in enumerate(inputs)]
    rng, worst = np.random.default_rng(rng), 0.0
    cotangents = [rng.standard_normal(y.shape) for y in evaluate(f, tensors)]
    for i, gradient in enumerate(gradients(f, tensors, cotangents)):
        for k in range(DIRECTIONS):
            v = rng.standard_normal(gradient.shape)
            moved = [Tensor(x.data + (1j * STEP * v if j == i else 0j)) for j, x in enumerate(tensors)]
            changes = [np.imag(y.data) / STEP for y in outputs_of(f(*moved), np.complex128)]
            numeric = sum(np.vdot(g, d) for g, d in zip(cotangents, changes, strict=True))
            scale = sum(np.abs(g * d).sum() for g, d in zip(cotangents, changes, strict=True))
            scale = max(scale, np.abs(gradient * v).sum())
            worst = max(worst, _compare("complex step", i, k, np.vdot(gradient, v), numeric, scale, rtol))
    return worst


def adjoint_check(
    f: Callable[..., Any], inputs: Iterable[Any], *, rtol: float = 1e-12, rng: np.random.Generator | int = 0
) -> float:
    """Test that the rule of a linear `f` is its adjoint: <f(x), y> = <x, f'(y)>.

    Parameters
    ----------
    f : callable
        Linear in all its arguments together; others are held by closure, as w in ``lambda x: mg.conv2d(x, w)``.
    inputs : iterable of float64 arrays or Tensors
        Their shapes matter; the values tested are random.
    rtol : float
        Relative to the lengths of the vectors.
    rng : numpy Generator or seed

    Returns
    -------
    float
        The largest relative difference found.

    Raises
    ------
    GradientError
        If the identity does not hold.
    ValueError
        If `f` is not linear.

    Examples
    --------
    >>> import minigrad as mg
    >>> w = np.ones((3, 3, 2, 4))
    >>> mg.adjoint_check(lambda x: mg.conv2d(x, w, padding=1, stride=2), [np.zeros((2, 5, 4, 2))]) < 1e-14
    True
    """
    shapes = [leaf(i, x).shape for i, x in enumerate(inputs)]
    rng, worst = np.random.default_rng(rng), 0.0

    def draw() -> list[Tensor]:
        return [Tensor(rng.standard_normal(shape), requires_grad=True) for shape in shapes]

    for k in range(DIRECTIONS):
        x, z = draw(), draw()
        both = [Tensor(2.0 * a.data - 3.0 * b.data) for a, b in zip(x, z, strict=True)]
        fx, fz, f_both = evaluate(f, x), evaluate(f, z), evaluate(f, both)
        for a, b, c in zip(fx, fz, f_both, strict=True):
            if not np.allclose(c, 2.0 * a - 3.0 * b, rtol=1e-9, atol=1e-9 * np.abs(a).max(initial=1.0)):
                raise ValueError("adjoint_check: f is not linear in its arguments; use gradcheck")
        y = [rng.standard_normal(a.shape) for a in fx]
        back = gradients(f, x, y)
        left = sum(np.vdot(a, b) for a, b in zip(fx, y, strict=True))
        right = sum(np.vdot(a.data, b) for a, b in zip(x, back, strict=True))
        scale = sum(np.linalg.norm(a) * np.linalg.norm(b) for a, b in zip(fx, y, strict=True))
        worst = max(worst, _compare("the adjoint", None, k, right, left, scale, rtol))
    return worst


def taylor_check(f: Callable[..., Any], inputs: Iterable[Any], *, rng: np.random.Generator | int = 0) -> float:
    """Test that the error of the first-order approximation of a smooth `f` shrinks as h ** 2.

    Parameters
    ----------
    f : callable
        Twice differentiable near the inputs.
    inputs : iterable of float64 arrays or Tensors
    rng : numpy Generator or seed

    Returns
    -------
    float
        The smallest order observed; infinite where `f` is linear, and the error nothing but rounding.

    Raises
    ------
    GradientError
        If the order is below 1.8.

    Examples
    --------
    >>> import minigrad as mg
    >>> round(mg.taylor_check(lambda x: mg.exp(x), [np.array([0.3, -1.2])]), 1)
    2.0
    """
    tensors = [leaf(i, x) for i, x in enumerate(inputs)]
    rng, lowest = np.random.default_rng(rng), np.inf
    here = evaluate(f, tensors)
    cotangents = [rng.standard_normal(y.shape) for y in here]
    slopes = gradients(f, tensors, cotangents)
    for i, x in enumerate(tensors):
        v = rng.standard_normal(x.shape)
        slope, errors, noise = np.vdot(slopes[i], v), [], 0.0
        for h in TAYLOR_STEPS:
            moved = [Tensor(t.data + h * v) if j == i else t for j, t in enumerate(tensors)]
            there = evaluate(f, moved)
            changes = [np.vdot(g, b - a) for g, a, b in zip(cotangents, here, there, strict=True)]
            errors.append(abs(sum(changes) - h * slope))
            noise = max(noise, 1e-13 * float(sum(np.abs(g * a).sum() for g, a in zip(cotangents, here, strict=True))))
        noise += 1e-14
        seen = [(h, e) for h, e in zip(TAYLOR_STEPS, errors, strict=True) if e > 10 * noise]
        if len(seen) > 1:
            (h0, e0), (h1, e1) = seen[-2:]
            order = float(np.log(e0 / e1) / np.log(h0 / h1))
            if order < 1.8:
                raise GradientError(
                    f"the Taylor remainder of input {i} (shape {x.shape}) shrinks as h ** {order:.2f}, not as h ** 2: "
                    f"the gradient is wrong by about {e1 / h1:.2g} along this direction, or there is a kink nearby"
                )
            lowest = min(lowest, order)
    return float(lowest)


def _compare(name: str, i: int | None, k: int, analytic: Any, numeric: Any, scale: Any, rtol: float) -> float:
    """Return the relative difference of two derivatives, or raise."""
    difference = abs(float(np.real(analytic)) - float(np.real(numeric)))
    relative = difference / max(float(scale), 1e-300) if difference else 0.0
    if not relative <= rtol:
        where = "" if i is None else f"the gradient of input {i} "
        raise GradientError(
            f"{where}differs from {name} along direction {k}: by the tape {float(np.real(analytic)):.16g}, by {name} "
            f"{float(np.real(numeric)):.16g}, relative difference {relative:.2g}"
        )
    return relative
