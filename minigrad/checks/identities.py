"""Sharper tests than finite differences, for functions that are analytic, linear or smooth.

Finite differences agree with a right gradient to about ten digits. Three identities are sharper, or test something
else:

- *complex step*: an analytic f has f(x + i h v) = f(x) + i h f'(x) v + O(h ** 2). With h = 1e-30 the imaginary part is
  h f'(x) v to machine precision, because no two numbers are subtracted.
- *adjoint*: a linear f and its rule are a matrix and its transpose, <f(x), y> = <x, f'(y)>. No step size is needed.
- *Taylor*: the remainder of the first-order approximation shrinks as h ** 2. With a wrong gradient it shrinks only as
  h once h is small, so the observed order drops from 2 to 1.

References
----------
J. R. R. A. Martins et al., "The Complex-Step Derivative Approximation", ACM TOMS 29 (3), 2003.

Next: :mod:`minigrad.checks.operators`.
"""

from __future__ import annotations

import numpy as np

from minigrad.arguments import generator, number
from minigrad.autograd.tensor import Tensor
from minigrad.checked import checked
from minigrad.checks.differences import (
    DIRECTIONS,
    Function,
    GradientError,
    Inputs,
    as_leaf,
    as_outputs,
    draw,
    evaluate,
    gradients,
    inner,
    shifted,
)
from minigrad.typing import Array, Rng

#: The complex step: its square is negligible beside 1.
STEP = 1e-30

#: The steps of the Taylor test, each a quarter of the previous one, down to 4e-8.
TAYLOR_STEPS = tuple(1e-2 * 4.0**-k for k in range(10))

#: The lowest order that passes. At the smallest remainder used, noise and the third derivative change it by 0.05.
TAYLOR_ORDER = 1.9


@checked
def complex_step_check(f: Function, inputs: Inputs, *, rtol: float = 1e-12, rng: Rng = 0) -> float:
    """Compare the gradients of an analytic `f` with complex-step derivatives, to machine precision.

    Parameters
    ----------
    f : callable
        Called with float64 Tensors, and with complex128 Tensors. All inputs to be differentiated must be arguments, not
        in its closure. It must be analytic: no abs, maximum or relu.
    inputs : iterable of float64 arrays or Tensors
    rtol : float
        Relative to the sum of the absolute values of a derivative's terms.
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
    number("complex_step_check", "rtol", rtol)
    tensors = [as_leaf("complex_step_check", i, x) for i, x in enumerate(inputs)]
    rng, worst = generator("complex_step_check", rng), 0.0
    cotangents = draw(evaluate(f, tensors), rng)
    for i, gradient in enumerate(gradients(f, tensors, cotangents)):
        for k, v in enumerate(draw([gradient] * DIRECTIONS, rng)):
            moved = [Tensor(x.data + (1j * STEP * v if j == i else 0j)) for j, x in enumerate(tensors)]
            changes = [np.imag(y.data) / STEP for y in as_outputs(f(*moved), np.complex128)]
            scale = max(inner(_absolute(cotangents), _absolute(changes)), float(np.abs(gradient * v).sum()))
            found = float(np.vdot(gradient, v)), inner(cotangents, changes)
            worst = max(worst, _compare("complex step", f"the gradient of input {i} ", k, *found, scale, rtol))
    return worst


@checked
def adjoint_check(f: Function, inputs: Inputs, *, rtol: float = 1e-12, rng: Rng = 0) -> float:
    """Compare <f(x), y> with <x, f'(y)>, which are equal if the rule of a linear `f` is its adjoint.

    Parameters
    ----------
    f : callable
        Linear in all its arguments together; a closure holds others, such as w in ``lambda x: mg.conv2d(x, w)``.
    inputs : iterable of float64 arrays or Tensors
        Only their shapes matter: the check draws the values.
    rtol : float
        Relative to the product of the norms of f(x) and y.
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
    number("adjoint_check", "rtol", rtol)
    leaves = [as_leaf("adjoint_check", i, x) for i, x in enumerate(inputs)]
    rng, worst = generator("adjoint_check", rng), 0.0
    for k in range(DIRECTIONS):
        x, z = ([Tensor(a, requires_grad=True) for a in draw(leaves, rng)] for _ in range(2))
        both = [Tensor(2.0 * a.data - 3.0 * b.data) for a, b in zip(x, z, strict=True)]
        fx, fz, f_both = evaluate(f, x), evaluate(f, z), evaluate(f, both)
        for a, b, c in zip(fx, fz, f_both, strict=True):
            if not np.allclose(c, 2.0 * a - 3.0 * b, rtol=1e-9, atol=1e-9 * np.abs(a).max(initial=1.0)):
                raise ValueError("adjoint_check: f is not linear in its arguments; use gradcheck")
        y = draw(fx, rng)
        found = inner([a.data for a in x], gradients(f, x, y)), inner(fx, y)
        scale = sum(float(np.linalg.norm(a) * np.linalg.norm(b)) for a, b in zip(fx, y, strict=True))
        worst = max(worst, _compare("the adjoint", "", k, *found, scale, rtol))
    return worst


@checked
def taylor_check(f: Function, inputs: Inputs, *, rng: Rng = 0) -> float:
    """Return the order of the error of the first-order approximation of a smooth `f`: 2 if the gradients are right.

    Parameters
    ----------
    f : callable
        Twice differentiable near the inputs.
    inputs : iterable of float64 arrays or Tensors
    rng : numpy Generator or seed

    Returns
    -------
    float
        The smallest order observed; infinite where `f` is linear, so that the error is only rounding.

    Raises
    ------
    GradientError
        If the order is below 1.9.

    Notes
    -----
    The order comes from the two smallest step sizes whose remainder is larger than rounding, which is measured. A
    relative error of 1e-4 along the direction is caught, and most of 1e-6, where the terms of `f` and its curvature are
    about as large as its slope. Not caught: an error of 1e-11 in a linear function, or one without a part along the
    random direction. A kink is seen only if a step size reaches it.

    Examples
    --------
    >>> import minigrad as mg
    >>> round(mg.taylor_check(lambda x: mg.exp(x), [np.array([0.3, -1.2])]), 1)
    2.0
    """
    tensors = [as_leaf("taylor_check", i, x) for i, x in enumerate(inputs)]
    rng, lowest = generator("taylor_check", rng), np.inf
    here = evaluate(f, tensors)
    cotangents = draw(here, rng)

    def remainder(x: Tensor, slope: Array, shift: Array) -> float:
        changes = [b - a for a, b in zip(here, shifted(f, tensors, x, shift), strict=True)]
        return inner(cotangents, changes) - float(np.vdot(slope, x.data + shift - x.data))  # the shift as rounded

    size = inner(_absolute(cotangents), _absolute(here))
    slopes = gradients(f, tensors, cotangents)
    for i, (x, slope, v) in enumerate(zip(tensors, slopes, draw(tensors, rng), strict=True)):
        # at these steps the curvature is below rounding, and the slope, right or wrong, cancels: what is left is noise
        noise = max(abs(remainder(x, slope, h * v) + remainder(x, slope, -h * v)) for h in (1e-9, 2e-9, 3e-9))
        rise = float(np.abs(slope * v).sum())
        noise = min(noise, 1e-9 * (size + rise))  # what is noisier has no order, and must not pass as linear
        errors = [(h, abs(remainder(x, slope, h * v))) for h in TAYLOR_STEPS]
        seen = [(h, e) for h, e in errors if not e <= 30 * max(noise, 4e-16 * (size + h * rise))]  # NaN is seen
        if len(seen) > 1:
            (h0, e0), (h1, e1) = seen[-2:]
            order = float(np.log(e0 / e1) / np.log(h0 / h1))
            if not order >= TAYLOR_ORDER:
                raise GradientError(
                    f"the Taylor remainder of input {i} (shape {v.shape}) shrinks as h ** {order:.2f}, not as h ** 2: "
                    f"the gradient is wrong by about {e1 / h1:.2g} along this direction, or there is a kink nearby"
                )
            lowest = min(lowest, order)
    return float(lowest)


def _absolute(arrays: list[Array]) -> list[Array]:
    """Return the absolute values of arrays."""
    return [np.abs(array) for array in arrays]


def _compare(name: str, what: str, k: int, analytic: float, numeric: float, scale: float, rtol: float) -> float:
    """Return the relative difference of two derivatives, or raise if it is larger than `rtol`."""
    difference = abs(analytic - numeric)
    relative = difference / max(scale, 1e-300) if difference else 0.0
    if not relative <= rtol:
        raise GradientError(
            f"{what}differs from {name} along direction {k}: by the tape {analytic:.16g}, by {name} {numeric:.16g}, "
            f"relative difference {relative:.2g}"
        )
    return relative
