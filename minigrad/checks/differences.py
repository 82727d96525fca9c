"""Finite differences, for any function of Tensors: gradcheck, gradgradcheck.

A gradient from the tape is compared with one that knows nothing of it, the central difference

    f'(x) v  ~  (f(x + eps v) - f(x - eps v)) / (2 eps),

whose error is about eps ** 2 f''' / 6 from the formula plus 1e-16 / eps from rounding: 1e-10 at eps = 1e-5 in float64,
and hopeless in float32, which is refused.

Two habits keep a check from passing by accident. The cotangent is random, with both signs: seeded with
ones, batch norm and softmax have gradient zero, and any rule that gives zero passes. And the comparison is of every
entry on small inputs, where a wrong border or a wrong stride has nowhere to hide; on large ones it is
along random directions.

Next: :mod:`minigrad.nn.module`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from minigrad.autograd.backward import replay
from minigrad.autograd.tensor import Tensor
from minigrad.device import on_host

#: Up to this many entries of the Jacobian, all of them are compared; beyond, random directions.
FULL_JACOBIAN = 20_000

#: How many random directions stand for an input that is too large for its full Jacobian.
DIRECTIONS = 6


class GradientError(AssertionError):
    """A gradient differs from finite differences; the message says where and by how much."""


def gradcheck(
    f: Callable[..., Any],
    inputs: Iterable[Any],
    *,
    eps: float = 1e-5,
    atol: float = 1e-7,
    rtol: float = 1e-5,
    rng: np.random.Generator | int = 0,
) -> float:
    """Compare the gradients of `f` with central differences.

    Parameters
    ----------
    f : callable
        Called with the inputs as Tensors; returns a Tensor or several. It must give the same when it is called again.
    inputs : iterable of float64 arrays or Tensors
        Tensors are perturbed where they are, and put back: `f` may also reach them by closure, as a
        Module does its parameters.
    eps : float
        The step.
    atol, rtol : float
        A gradient is right if it is within ``atol + rtol * (largest entry of this gradient)``.
    rng : numpy Generator or seed
        For cotangents and directions.

    Returns
    -------
    float
        The largest difference found, relative to the largest entry of its gradient.

    Raises
    ------
    GradientError
        If a gradient is wrong.
    TypeError
        If data is not float64.
    ValueError
        If `f` gives something else when it is called again.

    Examples
    --------
    >>> import minigrad as mg
    >>> x = np.array([0.3, -1.2])
    >>> mg.gradcheck(lambda x: mg.exp(x) * x, [x]) < 1e-8
    True
    """
    tensors = [leaf(i, x) for i, x in enumerate(inputs)]
    rng = np.random.default_rng(rng)
    outputs = evaluate(f, tensors)
    again = evaluate(f, tensors)
    if any(not np.array_equal(a, b, equal_nan=True) for a, b in zip(outputs, again, strict=True)):
        raise ValueError("gradcheck: f gives something else when it is called again; fix its randomness or its state")
    entries = sum(x.size for x in tensors) * sum(y.size for y in outputs)
    compare = _jacobian if entries <= FULL_JACOBIAN else _directions
    worst = 0.0
    for i, analytic, numeric, describe in compare(f, tensors, outputs, eps, rng):
        scale = float(np.abs(numeric).max(initial=0.0))
        difference = np.abs(analytic - numeric)
        bad = ~(difference <= atol + rtol * scale)  # so that NaN is bad, too
        if bad.any():
            raise GradientError(_report(i, tensors[i], analytic, numeric, bad, describe, f, tensors, eps))
        worst = max(worst, float(difference.max(initial=0.0)) / max(scale, atol / rtol))
    return worst


def gradgradcheck(
    f: Callable[..., Any],
    inputs: Iterable[Any],
    *,
    eps: float = 1e-5,
    atol: float = 1e-7,
    rtol: float = 1e-5,
    rng: np.random.Generator | int = 0,
) -> float:
    """Compare the second derivatives of `f` with central differences of its first.

    What is checked is the map from inputs and cotangent to gradients, so the rule's dependence
    on both. The gradients that ``create_graph`` records must also be those of the ordinary replay: a twin that defines
    something else would agree with its own differences. Parameters, returns and errors are those of
    :func:`gradcheck`.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.gradgradcheck(lambda x: mg.exp(x) * x, [np.array([0.3, -1.2])]) < 1e-8
    True
    """
    tensors = [leaf(i, x) for i, x in enumerate(inputs)]
    rng = np.random.default_rng(rng)
    cotangents = [Tensor(rng.standard_normal(y.shape), requires_grad=True) for y in evaluate(f, tensors)]

    def first_order(*_: Tensor) -> tuple[Tensor, ...]:
        return tuple(gradients(f, tensors, cotangents, create_graph=True))

    ordinary = gradients(f, tensors, [g.data for g in cotangents])
    for i, (recorded, plain) in enumerate(zip(first_order(), ordinary, strict=True)):
        bad = ~(np.abs(recorded.data - plain) <= atol + rtol * np.abs(plain).max(initial=0.0))
        if bad.any():
            raise GradientError(
                f"the gradient of input {i} (shape {plain.shape}) under create_graph differs from the ordinary one by "
                f"{np.abs(recorded.data - plain).max():.2g}: the twin defines something else than the operator computes"
            )
    return gradcheck(first_order, [*tensors, *cotangents], eps=eps, atol=atol, rtol=rtol, rng=rng)


# Two ways to compare -------------------------------------------------------------------------


def _jacobian(f: Any, tensors: list[Tensor], outputs: list[Any], eps: float, rng: np.random.Generator) -> Any:
    """Yield every entry of every gradient: as many random cotangents as there are outputs span them all."""
    columns = [
        [_difference(f, tensors, x, _unit(x.shape, entry), eps) for entry in np.ndindex(x.shape)] for x in tensors
    ]  # for each input, for each of its entries: the change of every output
    for _ in range(sum(y.size for y in outputs)):
        cotangents = [rng.standard_normal(y.shape) for y in outputs]
        for i, analytic in enumerate(gradients(f, tensors, cotangents)):
            numeric = [sum(np.vdot(g, d) for g, d in zip(cotangents, column, strict=True)) for column in columns[i]]
            yield i, analytic, np.array(numeric, dtype=np.float64).reshape(analytic.shape), lambda entry: str(entry)


def _directions(f: Any, tensors: list[Tensor], outputs: list[Any], eps: float, rng: np.random.Generator) -> Any:
    """Yield the derivatives of each input along random directions."""
    cotangents = [rng.standard_normal(y.shape) for y in outputs]
    slopes = gradients(f, tensors, cotangents)
    for i, x in enumerate(tensors):
        directions = [rng.standard_normal(x.shape) for _ in range(DIRECTIONS)]
        analytic = np.array([np.vdot(slopes[i], v) for v in directions])
        changes = [_difference(f, tensors, x, v, eps) for v in directions]
        numeric = np.array([sum(np.vdot(g, d) for g, d in zip(cotangents, c, strict=True)) for c in changes])
        yield i, analytic, numeric, lambda entry: f"direction {entry[0]}"


def _difference(f: Any, tensors: list[Tensor], x: Tensor, direction: Any, eps: float) -> list[Any]:
    """Return the central difference of every output along a direction of one input."""
    above, below = _shifted(f, tensors, x, eps * direction), _shifted(f, tensors, x, -eps * direction)
    return [(a - b) / (2 * eps) for a, b in zip(above, below, strict=True)]


def _shifted(f: Any, tensors: list[Tensor], x: Tensor, shift: Any) -> list[Any]:
    """Evaluate `f` with one input moved, and move it back."""
    before = x.data
    x.data = before + shift
    try:
        return evaluate(f, tensors)
    finally:
        x.data = before


def _unit(shape: tuple[int, ...], entry: tuple[int, ...]) -> Any:
    """Zeros, and a 1 at one place."""
    unit = np.zeros(shape)
    unit[entry] = 1.0
    return unit


def gradients(f: Any, tensors: list[Tensor], cotangents: list[Any], create_graph: bool = False) -> list[Any]:
    """Return the gradients by the tape; where nothing leads to an input, its gradient is zero."""
    outputs = outputs_of(f(*tensors))
    roots = [(y._node, g) for y, g in zip(outputs, cotangents, strict=True) if y.requires_grad]
    totals, _ = replay(roots, {x._node for x in tensors}, create_graph=create_graph, retain_graph=create_graph)
    if create_graph:
        return [totals.get(x._node, Tensor(np.zeros(x.shape))) for x in tensors]
    return [np.asarray(totals.get(x._node, np.zeros(x.shape))) for x in tensors]


def evaluate(f: Any, tensors: list[Tensor]) -> list[Any]:
    """Return the values of the outputs, as copies: `f` may hand out one array again and again."""
    return [np.array(y.data) for y in outputs_of(f(*tensors))]


def outputs_of(result: Any, dtype: Any = np.float64) -> tuple[Tensor, ...]:
    """Take what `f` returned as a tuple of Tensors of a dtype."""
    outputs = result if isinstance(result, tuple | list) else (result,)
    for y in outputs:
        if not isinstance(y, Tensor) or y.dtype != dtype:
            raise TypeError(
                f"gradcheck: f must return {np.dtype(dtype)} Tensors, got {getattr(y, 'dtype', type(y).__name__)}"
            )
    return tuple(outputs)


def leaf(i: int, x: Any) -> Tensor:
    """Take an input as a leaf of float64."""
    tensor = x if isinstance(x, Tensor) else Tensor(np.array(x), requires_grad=np.asarray(x).dtype.kind == "f")
    if tensor.dtype != np.float64:
        raise TypeError(
            f"gradcheck: input {i} is {tensor.dtype}; finite differences need float64: in float32 rounding alone is an "
            "error of 1e-3"
        )
    if not on_host(tensor.data):
        raise TypeError(
            f"gradcheck: input {i} is on {tensor.device}; differences are taken on the host: use .to('cpu')"
        )
    if not tensor.requires_grad:
        raise TypeError(f"gradcheck: input {i} requires no gradient")
    return tensor


# What is said on failure ---------------------------------------------------------------------


def _report(
    i: int, x: Tensor, analytic: Any, numeric: Any, bad: Any, describe: Any, f: Any, tensors: list[Tensor], eps: float
) -> str:
    """Say which input, where, and both values; and whether the sample lies at a kink."""
    order = np.argsort(-np.where(bad, np.nan_to_num(np.abs(analytic - numeric), nan=np.inf), -1.0), axis=None)
    rows = [np.unravel_index(k, bad.shape) for k in order[: min(5, int(bad.sum()))]]
    lines = [
        f"the gradient of input {i} (shape {x.shape}) is wrong in {int(bad.sum())} of {bad.size} places; the worst:",
        f"  {'place':<20}{'by the tape':>18}{'by differences':>18}{'apart':>12}",
    ]
    for row in rows:
        a, n = float(analytic[row]), float(numeric[row])
        place = describe(tuple(int(k) for k in row))
        lines.append(f"  {place:<20}{a:>18.10g}{n:>18.10g}{abs(a - n):>12.2g}")
    if analytic.shape == x.shape and _at_kink(f, tensors, x, _unit(x.shape, rows[0]), eps):
        lines.append(
            f"  but f has a kink within {eps:g} of this sample: its slopes to the left and to the right differ, so "
            "there is no derivative to compare with; move the sample"
        )
    return "\n".join(lines)


def _at_kink(f: Any, tensors: list[Tensor], x: Tensor, direction: Any, eps: float) -> bool:
    """Say whether the slopes on both sides differ by more than curvature explains: it would shrink with the step."""

    def bend(step: float) -> float:
        here = evaluate(f, tensors)
        above, below = _shifted(f, tensors, x, step * direction), _shifted(f, tensors, x, -step * direction)
        return max(
            float(np.abs(a - 2 * h + b).max(initial=0.0)) / step for a, h, b in zip(above, here, below, strict=True)
        )

    return bend(eps) > 1e-3 and bend(eps) > 0.2 * bend(10 * eps)
