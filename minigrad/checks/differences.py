"""Finite differences: gradcheck and gradgradcheck, for any function of Tensors.

The gradient from the tape is compared with the central difference, which does not depend on the tape:

    f'(x) v  ~  (f(x + eps v) - f(x - eps v)) / (2 eps).

Its error is about eps ** 2 f''' / 6 from the formula plus 1e-16 / eps from rounding. With eps = 1e-5 in float64 that is
1e-10; in float32 it would be useless, so float32 is refused.

Two rules keep a check from passing by accident. First, the cotangent is random, with both signs. With a cotangent of
ones the gradient of batch norm and of softmax is zero, so any rule that returns zero would pass. Second, on small
inputs every entry of the gradient is compared, so that a wrong border or stride shows. On large inputs the derivatives
along random directions are compared.

Next: :mod:`minigrad.nn.module`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from minigrad.arguments import generator, number
from minigrad.autograd.backward import path_between, replay
from minigrad.autograd.tensor import Tensor
from minigrad.checked import checked
from minigrad.device import on_host
from minigrad.typing import Array, Rng, Shape

#: A function of Tensors, with one output or several.
Function: TypeAlias = Callable[..., Tensor | Sequence[Tensor]]

#: Float64 arrays, or what NumPy makes one of, or Tensors.
Inputs: TypeAlias = Iterable[Tensor | ArrayLike]

#: If the Jacobian has at most this many entries, all are compared; otherwise random directions are.
FULL_JACOBIAN = 20_000

#: The number of random directions for an input that is too large for its full Jacobian.
DIRECTIONS = 6


class GradientError(AssertionError):
    """A gradient differs from finite differences; the message says where and by how much."""


@checked
def gradcheck(
    f: Function, inputs: Inputs, *, eps: float = 1e-5, atol: float = 1e-7, rtol: float = 1e-5, rng: Rng = 0
) -> float:
    """Compare the gradients of `f` with central differences.

    Parameters
    ----------
    f : callable
        Called with the inputs as Tensors; returns a Tensor or several. Repeated calls must give the same result.
    inputs : iterable of float64 arrays or Tensors
        Tensors are perturbed in place and restored, so `f` may also use them from its closure, as a Module uses its
        parameters.
    eps : float
        The step size.
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
        If a repeated call of `f` gives another result.

    Examples
    --------
    >>> import minigrad as mg
    >>> x = np.array([0.3, -1.2])
    >>> mg.gradcheck(lambda x: mg.exp(x) * x, [x]) < 1e-8
    True
    """
    eps, atol, rtol = _numbers("gradcheck", eps, atol, rtol)
    tensors = [as_leaf("gradcheck", i, x) for i, x in enumerate(inputs)]
    rng = generator("gradcheck", rng)
    # Differences compare several calls of f, so f must be the same function in each.
    outputs = evaluate(f, tensors)
    again = evaluate(f, tensors)
    if any(not np.array_equal(a, b, equal_nan=True) for a, b in zip(outputs, again, strict=True)):
        raise ValueError("gradcheck: f gives something else when it is called again; fix its randomness or its state")
    # Every entry of the gradient takes two calls of f. Where that is too slow, look along random directions.
    entries = sum(x.size for x in tensors) * sum(y.size for y in outputs)
    comparisons = _every_entry if entries <= FULL_JACOBIAN else _random_directions
    # The errors of differences are about the same for all entries of a gradient, so they are compared with the largest
    # entry: a small entry may be mostly error.
    worst = 0.0
    for comparison in comparisons(f, tensors, outputs, eps, rng):
        scale = float(np.abs(comparison.numeric).max(initial=0.0))
        difference = np.abs(comparison.analytic - comparison.numeric)
        bad = ~(difference <= atol + rtol * scale)  # so that NaN is bad, too
        if bad.any():
            raise GradientError(_report(comparison, bad, f, tensors, eps))
        worst = max(worst, float(difference.max(initial=0.0)) / max(scale, atol / (rtol or 1.0), 1e-300))
    return worst


@checked
def gradgradcheck(
    f: Function, inputs: Inputs, *, eps: float = 1e-5, atol: float = 1e-7, rtol: float = 1e-5, rng: Rng = 0
) -> float:
    """Compare the second derivatives of `f` with central differences of its gradients.

    The gradients are differentiated with respect to the inputs and to the cotangent, because a rule depends on both.
    The gradients recorded under ``create_graph`` must also equal those of the ordinary replay: a twin that defines
    another function would agree with its own differences. Parameters, returns and errors are those of
    :func:`gradcheck`.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.gradgradcheck(lambda x: mg.exp(x) * x, [np.array([0.3, -1.2])]) < 1e-8
    True
    """
    eps, atol, rtol = _numbers("gradgradcheck", eps, atol, rtol)
    tensors = [as_leaf("gradgradcheck", i, x) for i, x in enumerate(inputs)]
    rng = generator("gradgradcheck", rng)
    outputs = evaluate(f, tensors)
    if not all(np.isfinite(y).all() for y in outputs):  # 1 / x, say, is a gradient of log where there is no log
        raise GradientError("f is not finite at this sample, where it has no derivatives; move the sample")
    # The function to differentiate: from the inputs and the cotangents to the gradients, with its tape.
    cotangents = [Tensor(g, requires_grad=True) for g in draw(outputs, rng)]

    def first_order(*_: Tensor) -> list[Tensor]:
        found = _replay(f, tensors, cotangents, create_graph=True)
        return [Tensor(np.zeros(x.shape)) if g is None else g for x, g in zip(tensors, found, strict=True)]

    # The gradients that are recorded must be those of the ordinary replay.
    ordinary = gradients(f, tensors, [g.data for g in cotangents])
    for i, (recorded, expected) in enumerate(zip(first_order(), ordinary, strict=True)):
        difference = np.abs(recorded.data - expected)
        if not (difference <= atol + rtol * np.abs(expected).max(initial=0.0)).all():
            raise GradientError(
                f"the gradient of input {i} (shape {expected.shape}) under create_graph differs from the ordinary one "
                f"by {difference.max():.2g}: the twin defines something else than the operator computes"
            )
    # Their derivatives are then an ordinary gradient.
    return gradcheck(first_order, [*tensors, *cotangents], eps=eps, atol=atol, rtol=rtol, rng=rng)


# Two ways to compare -------------------------------------------------------------------------


class Comparison(NamedTuple):
    """Derivatives with respect to one input, computed by the tape and by differences."""

    input: int
    analytic: Array
    numeric: Array
    place: str  # the text before the index in a message: "" for an entry of the gradient, or "direction "


def _every_entry(
    f: Function, tensors: list[Tensor], outputs: list[Array], eps: float, rng: np.random.Generator
) -> Iterator[Comparison]:
    """Yield every entry of every gradient, for as many random cotangents as the outputs have elements."""
    # for each input, for each of its entries: the change of every output
    columns = [
        [_difference(f, tensors, x, _unit(x.shape, entry), eps) for entry in np.ndindex(x.shape)] for x in tensors
    ]
    for _ in range(sum(y.size for y in outputs)):
        cotangents = draw(outputs, rng)
        for i, analytic in enumerate(gradients(f, tensors, cotangents)):
            numeric = [inner(cotangents, column) for column in columns[i]]
            yield Comparison(i, analytic, np.array(numeric, dtype=np.float64).reshape(analytic.shape), "")


def _random_directions(
    f: Function, tensors: list[Tensor], outputs: list[Array], eps: float, rng: np.random.Generator
) -> Iterator[Comparison]:
    """Yield the derivatives with respect to each input along random directions."""
    cotangents = draw(outputs, rng)
    slopes = gradients(f, tensors, cotangents)
    for i, x in enumerate(tensors):
        directions = draw([x] * DIRECTIONS, rng)
        analytic = [np.vdot(slopes[i], v) for v in directions]
        numeric = [inner(cotangents, _difference(f, tensors, x, v, eps)) for v in directions]
        yield Comparison(i, np.array(analytic), np.array(numeric), "direction ")


def _difference(f: Function, tensors: list[Tensor], x: Tensor, direction: Array, eps: float) -> list[Array]:
    """Return the central difference of every output along a direction of one input."""
    above, below = shifted(f, tensors, x, eps * direction), shifted(f, tensors, x, -eps * direction)
    return [(a - b) / (2 * eps) for a, b in zip(above, below, strict=True)]


def shifted(f: Function, tensors: list[Tensor], x: Tensor, shift: Array) -> list[Array]:
    """Return the outputs with one input shifted; the input is restored."""
    before = x.data
    x.data = before + shift
    try:
        return evaluate(f, tensors)
    finally:
        x.data = before


def _unit(shape: Shape, entry: tuple[int, ...]) -> Array:
    """Return zeros with a 1 at one place."""
    unit = np.zeros(shape)
    unit[entry] = 1.0
    return unit


def _numbers(caller: str, eps: float, atol: float, rtol: float) -> tuple[float, float, float]:
    """Return a step and tolerances as Python numbers; refuse what is no finite number from 0 on."""
    return number(caller, "eps", eps), number(caller, "atol", atol), number(caller, "rtol", rtol)


# What all checks use -------------------------------------------------------------------------


def draw(like: Iterable[Tensor | Array], rng: np.random.Generator) -> list[Array]:
    """Return random arrays with both signs, of the shapes of `like`: cotangents, directions or inputs."""
    return [np.asarray(rng.standard_normal(x.shape)) for x in like]


def inner(a: Sequence[Array], b: Sequence[Array]) -> float:
    """Return the inner product of two lists of arrays."""
    return float(sum(np.vdot(x, y) for x, y in zip(a, b, strict=True)))


def gradients(f: Function, tensors: list[Tensor], cotangents: Sequence[Array]) -> list[Array]:
    """Return the gradients by the tape; an input that no output depends on has gradient zero."""
    found = _replay(f, tensors, cotangents, create_graph=False)
    return [np.zeros(x.shape) if g is None else np.asarray(g) for x, g in zip(tensors, found, strict=True)]


def _replay(
    f: Function, tensors: list[Tensor], cotangents: Sequence[Array | Tensor], create_graph: bool
) -> list[Any]:  # Tensors under create_graph, else arrays
    """Call `f` and replay its tape; return the gradient of each tensor, or None if no output depends on it."""
    outputs = as_outputs(f(*tensors))
    roots = [(y._node, g) for y, g in zip(outputs, cotangents, strict=True) if y._node is not None]
    nodes = [x._node for x in tensors if x._node is not None]  # of all tensors: each requires a gradient
    totals = replay(roots, path_between(roots, set(nodes)), create_graph, create_graph)
    return [totals.get(node) for node in nodes]


def evaluate(f: Function, tensors: Sequence[Tensor]) -> list[Array]:
    """Return copies of the outputs: `f` may return the same array again and again."""
    return [np.array(y.data) for y in as_outputs(f(*tensors))]


def as_outputs(result: object, dtype: DTypeLike = np.float64) -> list[Tensor]:
    """Return the result of `f` as a list of Tensors, after a check of their dtype."""
    outputs = []
    for y in result if isinstance(result, tuple | list) else (result,):
        if not isinstance(y, Tensor) or y.dtype != dtype:
            got = getattr(y, "dtype", type(y).__name__)
            raise TypeError(f"gradcheck: f must return {np.dtype(dtype)} Tensors, got {got}")
        outputs.append(y)
    return outputs


def as_leaf(caller: str, i: int, x: Tensor | ArrayLike) -> Tensor:
    """Return input `i` as a Tensor that requires a gradient, after a check that it is float64 and on the host."""
    try:
        tensor = x if isinstance(x, Tensor) else Tensor(np.array(x), requires_grad=np.asarray(x).dtype.kind == "f")
    except (TypeError, ValueError) as error:  # no numbers, or a ragged list
        raise TypeError(f"{caller}: input {i}: {error}") from error
    if tensor.dtype != np.float64:
        fault = f"is {tensor.dtype}; finite differences need float64: in float32 rounding alone is an error of 1e-3"
    elif not on_host(tensor.data):
        fault = f"is on {tensor.device}; differences are taken on the host: use .to('cpu')"
    elif not tensor.requires_grad:
        fault = "requires no gradient"
    else:
        return tensor
    raise TypeError(f"{caller}: input {i} {fault}")


# What is said on failure ---------------------------------------------------------------------


def _report(comparison: Comparison, bad: Array, f: Function, tensors: list[Tensor], eps: float) -> str:
    """Return the message about a wrong gradient: the input, the places, both values, and whether there is a kink."""
    i, analytic, numeric, place = comparison
    x = tensors[i]
    # The worst places first, NaN before all.
    order = np.argsort(-np.where(bad, np.nan_to_num(np.abs(analytic - numeric), nan=np.inf), -1.0), axis=None)
    entries = [tuple(int(k) for k in np.unravel_index(n, bad.shape)) for n in order[: min(5, int(bad.sum()))]]
    lines = [
        f"the gradient of input {i} (shape {x.shape}) is wrong in {int(bad.sum())} of {bad.size} places; the worst:",
        f"  {'place':<20}{'by the tape':>18}{'by differences':>18}{'apart':>12}",
    ]
    for entry in entries:
        a, n = float(analytic[entry]), float(numeric[entry])
        where = f"{place}{entry[0]}" if place else str(entry)
        lines.append(f"  {where:<20}{a:>18.10g}{n:>18.10g}{abs(a - n):>12.2g}")
    # At a kink of f, such as relu at 0, the two slopes differ: then the sample is at fault, and not the rule.
    if analytic.shape == x.shape and _at_kink(f, tensors, x, _unit(x.shape, entries[0]), eps):
        lines.append(
            f"  but f has a kink within {eps:g} of this sample: its slopes to the left and to the right differ, so "
            "there is no derivative to compare with; move the sample"
        )
    return "\n".join(lines)


def _at_kink(f: Function, tensors: list[Tensor], x: Tensor, direction: Array, eps: float) -> bool:
    """Return whether the slopes on both sides differ by more than curvature explains, which shrinks with the step."""

    def bend(step: float) -> float:
        here = evaluate(f, tensors)
        above, below = shifted(f, tensors, x, step * direction), shifted(f, tensors, x, -step * direction)
        bends = [np.abs(a - 2 * h + b).max(initial=0.0) / step for a, h, b in zip(above, here, below, strict=True)]
        return float(max(bends))

    return bend(eps) > 1e-3 and bend(eps) > 0.2 * bend(10 * eps)
