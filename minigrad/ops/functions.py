"""More functions, element by element: sines, exponentials, the error function, activations, and casts.

They have the form of :mod:`minigrad.ops.elementwise`. Each keeps its digits where the textbook formula loses them: near
0, and far from it.

Next: :mod:`minigrad.ops.shape`.
"""

from __future__ import annotations

import math

import numpy as np

from minigrad.arguments import expect, not_half, number, refuse
from minigrad.autograd.operator import elementwise
from minigrad.autograd.signatures import composed
from minigrad.autograd.tensor import Tensor, array_of
from minigrad.device import namespace, special
from minigrad.ops.elementwise import exp, sigmoid
from minigrad.typing import Array, DType, Gradient, Saved, T, TensorOrArray


@elementwise
def sin(x: Array, /) -> Array:
    """The sine of x, in radians.   dx = g cos(x)

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.sin(mg.Tensor([0.0, 1.0])).data.round(4)
    array([0.    , 0.8415], dtype=float32)
    """
    return namespace(x).sin(x)


@elementwise
def cos(x: Array, /) -> Array:
    """The cosine of x, in radians.   dx = -g sin(x)

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.cos(mg.Tensor([0.0, 1.0])).data.round(4)
    array([1.    , 0.5403], dtype=float32)
    """
    return namespace(x).cos(x)


sin.vjp(lambda g, x: g * cos(x))
cos.vjp(lambda g, x: -g * sin(x))


@elementwise
def log1p(x: Array, /) -> Array:
    """log(1 + x), accurate also where x is small.   dx = g / (1 + x)

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.log1p(mg.Tensor([1e-10]))
    Tensor([1.e-10])
    """
    return namespace(x).log1p(x)


log1p.vjp(lambda g, x: g / (1 + x))


@elementwise
def expm1(x: Array, /) -> Array:
    """exp(x) - 1, accurate also where x is small.   dx = g exp(x)

    The rule does not use out + 1, which is rounded to 0 where exp(x) is small.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.expm1(mg.Tensor([1e-10]))
    Tensor([1.e-10])
    """
    return namespace(x).expm1(x)


expm1.vjp(lambda g, x: g * exp(x))


@elementwise
def erf(x: Array, /) -> Array:
    r"""The error function of x: :math:`2/\sqrt\pi \int_0^x \exp(-t^2)\,dt`.   dx = g 2 exp(-x ** 2) / sqrt(pi)

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.erf(mg.Tensor([0.0, 1.0])).data.round(4)
    array([0.    , 0.8427], dtype=float32)
    """
    return special(x).erf(x)


erf.vjp(lambda g, x: g * (2 / math.sqrt(math.pi) * exp(-x * x)))


# Activations ---------------------------------------------------------------------------------


@elementwise
@np.errstate(under="ignore")  # the exp of a large negative number is 0
def softplus(x: Array, /) -> Array:
    """log(1 + exp(x)), a smooth relu.   dx = g sigmoid(x)

    Computed as ``max(x, 0) + log1p(exp(-|x|))``: the exponential cannot overflow, and keeps its digits
    where it is small.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.softplus(mg.Tensor([-1000.0, 0.0, 1000.0])).tolist()
    [0.0, 0.6931471824645996, 1000.0]
    """
    xp = namespace(x)
    return xp.maximum(x, 0) + xp.log1p(xp.exp(xp.minimum(x, -x)))


softplus.vjp(lambda g, x: g * sigmoid(x))


@elementwise
def leaky_relu(x: Array, /, negative_slope: float = 0.01) -> Array:
    """x where x > 0, else negative_slope x.   dx = g where x > 0, else negative_slope g: so at 0, and at NaN

    Parameters
    ----------
    x : Tensor or array
    negative_slope : float
        At least 0.

    References
    ----------
    A. Maas, A. Hannun and A. Ng, "Rectifier Nonlinearities Improve Neural Network Acoustic Models", ICML 2013.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.leaky_relu(mg.Tensor([-1.0, 2.0]), 0.1)
    Tensor([-0.1,  2. ])
    """
    xp, slope = namespace(x), number("leaky_relu", "negative_slope", negative_slope)
    return xp.maximum(x, 0) + slope * xp.minimum(x, 0)  # faster than where, which branches


@leaky_relu.vjp
def _(g: Gradient, x: Gradient, negative_slope: float) -> Gradient:
    positive = (array_of(x) > 0).astype(g.dtype)
    return g * (positive + negative_slope * (1 - positive))


@elementwise
def silu(x: Array, /) -> Array:
    """x sigmoid(x), also called swish.   dx = g s (1 + x (1 - s)),   s = sigmoid(x)

    References
    ----------
    S. Elfwing, E. Uchibe and K. Doya, "Sigmoid-Weighted Linear Units for Neural Network Function Approximation in
    Reinforcement Learning", arXiv 1702.03118, 2017.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.silu(mg.Tensor([-1.0, 2.0])).data.round(4)
    array([-0.2689,  1.7616], dtype=float32)
    """
    return x * sigmoid(x)


@silu.vjp
def _(g: Gradient, x: Gradient) -> Gradient:
    s = sigmoid(x)
    return g * (s * (1 + x * (1 - s)))


@elementwise
def gelu(x: Array, /) -> Array:
    """x P(x), where P(x) = (1 + erf(x / sqrt 2)) / 2 is the share of normal numbers below x.   dx = g (P(x) + x P'(x))

    The exact form, not the approximation by tanh.

    References
    ----------
    D. Hendrycks and K. Gimpel, "Gaussian Error Linear Units (GELUs)", arXiv 1606.08415, 2016.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.gelu(mg.Tensor([-1.0, 2.0])).data.round(4)
    array([-0.1587,  1.9545], dtype=float32)
    """
    return x * _normal_cdf(x)


@elementwise
def _normal_cdf(x: Array, /) -> Array:
    """(1 + erf(x / sqrt 2)) / 2, with all digits also where 1 + erf cancels.   dx = g exp(-x ** 2 / 2) / sqrt(2 pi)"""
    return special(x).ndtr(x)


def _normal_density(x: T) -> T:
    """Return the derivative of Phi: exp(-x^2 / 2) / sqrt(2 pi)."""
    return exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


_normal_cdf.vjp(lambda g, x: g * _normal_density(x))
gelu.vjp(lambda g, x: g * (_normal_cdf(x) + x * _normal_density(x)))


# Dtypes --------------------------------------------------------------------------------------


@composed
def astype(x: TensorOrArray, dtype: DType | type | str) -> TensorOrArray:
    """Convert to another dtype: the method ``x.astype(dtype)``.   dx = g, in the dtype of x

    If x has this dtype already, it is returned as it is.

    Parameters
    ----------
    x : Tensor or array
    dtype : dtype
        Its name, as ``"float32"``, or NumPy's type, as ``np.float32``.

    Raises
    ------
    TypeError
        For float16, whose sums overflow; for a dtype that would lose the gradient or the imaginary part of x.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.Tensor(np.array([0.1])).astype("float32")
    Tensor([0.1])
    """
    expect(dtype is not None, "astype", "a dtype", dtype, error=TypeError)
    to = np.dtype(dtype).newbyteorder("=")
    not_half("astype", to)
    if to.kind not in "iubfc":
        refuse("astype", "a dtype of numbers", to, error=TypeError)
    if to.kind not in "fc" and isinstance(x, Tensor) and x.requires_grad:
        refuse("astype", "a floating-point dtype, through which a gradient flows", to, "use .detach() first", TypeError)
    if x.dtype.kind == "c" and to.kind != "c":
        refuse("astype", "a complex dtype for complex numbers", to, "take array.real first", TypeError)
    return x if x.dtype == to else _astype(x, dtype=to)


@elementwise
def _astype(x: Array, /, *, dtype: DType) -> Saved:
    """The operator behind :func:`astype`."""
    return x.astype(dtype), {"before": x.dtype}


_astype.vjp(lambda g, before: _astype(g, dtype=before))
