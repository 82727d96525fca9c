"""Operators that work element by element; their arguments broadcast.

Each operator is one paragraph: formula, derivative, forward, rule. In a rule, ``g`` is the cotangent (the gradient of
the result), ``a``, ``b`` and ``x`` are the arguments, and ``out`` is the result. Arrays that no rule names are not
stored. The replay sums the gradients of broadcast arguments back to their shapes.

Where a function has no derivative, the docstring states which one-sided derivative is used; a test fixes it.

Next: :mod:`minigrad.ops.reduction`.
"""

from __future__ import annotations

from typing import Any, overload

import numpy as np

from minigrad.arguments import number
from minigrad.autograd.modes import once
from minigrad.autograd.operator import elementwise
from minigrad.autograd.signatures import composed
from minigrad.autograd.tensor import Tensor, array_of
from minigrad.device import is_array, namespace, on_host
from minigrad.kernels import blocks, masks
from minigrad.ops.shape import unshared
from minigrad.typing import Array, Gradient, Number, Operand, T, TensorOrArray

# Arithmetic ----------------------------------------------------------------------------------


@elementwise
def add(a: Array, b: Array, /) -> Array:
    """a + b.   da = g,   db = g

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.add(mg.Tensor([1.0, 2.0]), 1)
    Tensor([2., 3.])
    """
    return a + b


add.vjp(lambda g: g, lambda g: g)


@elementwise
def sub(a: Array, b: Array, /) -> Array:
    """a - b.   da = g,   db = -g

    Examples
    --------
    >>> import minigrad as mg
    >>> 1 - mg.Tensor([1.0, 2.0])
    Tensor([ 0., -1.])
    """
    return a - b


sub.vjp(lambda g: g, lambda g: -g)


@elementwise
def mul(a: Array, b: Array, /) -> Array:
    """a * b.   da = g b,   db = g a

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.Tensor([1.0, 2.0]) * mg.Tensor([[1.0], [10.0]])
    Tensor([[ 1.,  2.],
            [10., 20.]])
    """
    return a * b


mul.vjp(lambda g, b: g * b, lambda g, a: g * a)


@elementwise
def div(a: Array, b: Array, /) -> Array:
    """a / b.   da = g / b,   db = -g out / b

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.Tensor([1.0, 2.0]) / 4
    Tensor([0.25, 0.5 ])
    """
    return a / b


div.vjp(lambda g, b: g / b, lambda g, b, out: -g * out / b)


@elementwise
def neg(x: Array, /) -> Array:
    """-x.   dx = -g

    Examples
    --------
    >>> import minigrad as mg
    >>> -mg.Tensor([1.0, -2.0])
    Tensor([-1.,  2.])
    """
    return -x


neg.vjp(lambda g: -g)


@elementwise
def pow(a: Array, b: Array, /) -> Array:
    """a ** b.   da = g b a ** (b - 1),   db = g out log a

    Conventions: the derivative of a ** 0 is 0 also at a = 0; if the exponent is in an array, it is NaN at a = NaN. That
    of 0 ** b in b is 0.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.Tensor([1.0, 2.0, 3.0]) ** 2
    Tensor([1., 4., 9.])
    """
    return a**b


def _pow_da(g: Gradient, a: Gradient, b: Gradient) -> Gradient:
    """b a ** (b - 1), but 0 where b is 0."""
    if not is_array(array_of(b)):
        return where(namespace(array_of(g)).zeros(g.shape, bool), g, 0.0) if b == 0 else g * (b * a ** (b - 1))
    b = b + namespace(array_of(g)).zeros((), g.dtype)  # integers in the dtype of g
    flat = (array_of(a) == 0) & (array_of(b) == 0)  # where a ** (b - 1) would be 0 ** -1
    return g * (b * a ** (where(flat, 1.0, b) - 1))


def _pow_db(g: Gradient, a: Gradient, out: Gradient) -> Gradient:
    """out log a, but 0 where a is 0."""
    a = a + namespace(array_of(g)).zeros((), g.dtype)  # a number, or integers, in the dtype of g
    zero = array_of(a) == 0
    return where(zero, 0.0, g * out * log(where(zero, 1.0, a)))


pow.vjp(_pow_da, _pow_db)


# Analytic functions --------------------------------------------------------------------------


@elementwise
def exp(x: Array, /) -> Array:
    """The exponential of x.   dx = g out

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.exp(mg.Tensor([0.0, 1.0])).data.round(4)
    array([1.    , 2.7183], dtype=float32)
    """
    return namespace(x).exp(x)


exp.vjp(lambda g, out: g * out)


@elementwise
def log(x: Array, /) -> Array:
    """The natural logarithm of x.   dx = g / x

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.log(mg.Tensor([1.0, 2.0])).data.round(4)
    array([0.    , 0.6931], dtype=float32)
    """
    return namespace(x).log(x)


log.vjp(lambda g, x: g / x)


@elementwise
def sqrt(x: Array, /) -> Array:
    """The square root of x.   dx = g / (2 out), which is infinite at 0

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.sqrt(mg.Tensor([4.0, 9.0]))
    Tensor([2., 3.])
    """
    return namespace(x).sqrt(x)


sqrt.vjp(lambda g, out: g / (2 * out))


@elementwise
def tanh(x: Array, /) -> Array:
    """The hyperbolic tangent of x.   dx = g (1 - out ** 2)

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.tanh(mg.Tensor([0.0, 1.0])).data.round(4)
    array([0.    , 0.7616], dtype=float32)
    """
    return namespace(x).tanh(x)


tanh.vjp(lambda g, out: g * (1 - out * out))


@elementwise
@np.errstate(under="ignore")  # the exp of a large negative number is 0
def sigmoid(x: Array, /) -> Array:
    """1 / (1 + exp(-x)).   dx = g out (1 - out)

    Computed as ``exp(min(x, 0)) / (1 + exp(-|x|))``, which cannot overflow; ``min(x, -x)`` is ``-|x|``, also for
    complex numbers. The rule's 1 - out is sigmoid(-x), which is accurate where out is almost 1.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.sigmoid(mg.Tensor([-1000.0, 0.0, 1000.0]))
    Tensor([0. , 0.5, 1. ])
    """
    xp = namespace(x)
    return xp.exp(xp.minimum(x, 0)) / (1 + xp.exp(xp.minimum(x, -x)))  # type: ignore[no-any-return]


sigmoid.vjp(lambda g, x, out: g * out * sigmoid(-x))


# Kinks ---------------------------------------------------------------------------------------


@elementwise
def _gate(g: Array, /, *, x: Array) -> Array:
    """g where x > 0, else 0.   dg = the cotangent where x > 0, else 0"""
    if on_host(g) and g.dtype.char in "fd":
        return blocks.elementwise(masks.relu_gradient, g, x)
    return namespace(g).where(x > 0, g, namespace(g).zeros_like(g))


_gate.vjp(lambda g, x: _gate(g, x=x))


@elementwise
def relu(x: Array, /) -> Array:
    """max(x, 0).   dx = g where out > 0, else 0: at 0, and at NaN, the derivative is taken as 0

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.relu(mg.Tensor([-1.0, 0.0, 2.0]))
    Tensor([0., 0., 2.])
    """
    return blocks.elementwise(masks.relu, x) if on_host(x) else namespace(x).maximum(x, 0)


relu.vjp(lambda g, out: _gate(g, x=array_of(out)))


@elementwise
def abs(x: Array, /) -> Array:
    """The absolute value of x.   dx = g sign(x): at 0 the derivative is taken as 0, at NaN as NaN

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.abs(mg.Tensor([-1.0, 2.0]))
    Tensor([1., 2.])
    """
    return namespace(x).abs(x)


abs.vjp(lambda g, x: g * namespace(array_of(x)).sign(array_of(x)))


@elementwise
def maximum(a: Array, b: Array, /) -> Array:
    """The larger of a and b, element by element.   da = g where a >= b, db = g elsewhere: a tie is a's

    Where a or b is NaN, so is the result, and both gradients are 0.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.maximum(mg.Tensor([1.0, 5.0]), mg.Tensor([3.0, 4.0]))
    Tensor([3., 5.])
    """
    return namespace(a, b).maximum(a, b)


maximum.vjp(
    lambda g, a, b: where(array_of(a) >= array_of(b), g, 0.0),
    lambda g, a, b: where(array_of(a) < array_of(b), g, 0.0),
)


@elementwise
def minimum(a: Array, b: Array, /) -> Array:
    """The smaller of a and b, element by element.   da = g where a <= b, db = g elsewhere: a tie is a's

    Where a or b is NaN, so is the result, and both gradients are 0.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.minimum(mg.Tensor([1.0, 5.0]), mg.Tensor([3.0, 4.0]))
    Tensor([1., 4.])
    """
    return namespace(a, b).minimum(a, b)


minimum.vjp(
    lambda g, a, b: where(array_of(a) <= array_of(b), g, 0.0),
    lambda g, a, b: where(array_of(a) > array_of(b), g, 0.0),
)


@elementwise
def clip(x: Array, /, a_min: float | None = None, a_max: float | None = None) -> Array:
    """x, but at least a_min and at most a_max.   dx = g within the bounds, and at them; 0 outside, and at NaN

    Parameters
    ----------
    x : Tensor or array
    a_min, a_max : float or None
        None is no bound.

    Raises
    ------
    ValueError
        If both bounds are None.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.clip(mg.Tensor([-1.0, 0.5, 2.0]), 0.0, 1.0)
    Tensor([0. , 0.5, 1. ])
    """
    if a_min is None and a_max is None:
        raise ValueError("clip: expected a_min, a_max or both, got None")
    if a_min is not None:
        x = namespace(x).maximum(x, a_min)
    return x if a_max is None else namespace(x).minimum(x, a_max)


@clip.vjp
def _(g: T, x: T, a_min: float | None, a_max: float | None) -> T:
    data: Array = array_of(x)
    inside = data == data if a_min is None else data >= a_min
    return where(inside if a_max is None else inside & (data <= a_max), g, 0.0)


@overload
def where(condition: Array | bool, a: Tensor, b: Operand, /) -> Tensor: ...
@overload
def where(condition: Array | bool, a: Array | Number, b: Tensor, /) -> Tensor: ...
@overload
def where(condition: Array | bool, a: Array | Number, b: Array | Number, /) -> Array: ...
def where(condition: Any, a: Any, b: Any, /) -> Any:
    """a where `condition` holds, else b.   da = g where it holds, db = g where it does not

    Parameters
    ----------
    condition : array of booleans
        Broadcasts with `a` and `b`.
    a, b : Tensor, array or number

    Examples
    --------
    >>> import minigrad as mg
    >>> x = mg.Tensor([1.0, -2.0])
    >>> mg.where(x > 0, x, 0.1 * x)
    Tensor([ 1. , -0.2])
    """
    return _where(a, b, unshared(condition, a, b))


@elementwise
def _where(a: Array, b: Array, /, condition: Array) -> Array:
    """The operator behind :func:`where`: the condition is a setting."""
    if masks.can_mask(a, condition, b):
        return masks.masked(a, condition)
    return namespace(condition, a, b).where(condition, a, b)


_where.vjp(
    lambda g, condition: where(condition, g, 0.0),
    lambda g, condition: where(condition, 0.0, g),
)


# Noise ---------------------------------------------------------------------------------------


@composed
def dropout(x: TensorOrArray, p: float = 0.5, *, rng: np.random.Generator, training: bool) -> TensorOrArray:
    """Set a random share p of the elements to 0, and divide the others by 1 - p, which preserves the mean.

    Parameters
    ----------
    x : Tensor or array
    p : float
        The probability of dropping an element, 0 <= p < 1.
    rng : numpy Generator
        Draws a seed, once; the mask is drawn from this seed on the host, so :func:`minigrad.recompute` repeats it.
    training : bool
        Whether to drop at all: in evaluation, x is returned as it is.

    Raises
    ------
    ValueError
        If p is out of range.
    TypeError
        If `rng` is no Generator. A seed would drop the same elements at every call.

    References
    ----------
    N. Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", JMLR 2014.

    Examples
    --------
    >>> import minigrad as mg
    >>> x = mg.Tensor(np.ones(1000, "float32"))
    >>> sorted(set(mg.dropout(x, 0.2, rng=np.random.default_rng(0), training=True).data.tolist()))
    [0.0, 1.25]
    """
    p = number("dropout", "p", p, below=1)
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"dropout: expected rng to be a numpy Generator, got {rng!r}; use np.random.default_rng(seed)")
    if not training or p == 0:
        return x
    seed = once(lambda: int(rng.integers(2**63)))
    keep = np.random.default_rng(seed).random(x.shape, dtype=np.float32) >= p
    return _where(mul(x, 1 / (1 - p)), 0.0, namespace(array_of(x)).asarray(keep))
