r"""Batch normalisation; layer and group normalisation.

Batch normalisation: for each channel, over the m pixels of a batch:

.. math::
    \hat x = (x - \mu) / \sqrt{\sigma^2 + \epsilon}, \qquad y = \gamma \hat x + \beta

Both :math:`\mu` and :math:`\sigma^2` depend on every x, so the gradient has two more terms than that of a scaling.
With :math:`\bar g` the mean of g over the pixels and :math:`\overline{g \hat x}` the mean of g times x̂,

.. math::
    \begin{aligned}
    dx &= \gamma\, (g - \bar g - \hat x\, \overline{g \hat x}) / \sqrt{\sigma^2 + \epsilon}, \\
    d\gamma &= \sum g \hat x, \qquad d\beta = \sum g
    \end{aligned}

The two extra terms remove the components of g along shifts and scalings of x, to which y is invariant.

The rule asks for x, the mean and the inverse standard deviation, not for x̂. So the tape stores one activation fewer,
since x exists already: it is the convolution's result. Each pass goes over blocks of pixels that stay in cache:
:mod:`minigrad.kernels.norm`.

References
----------
S. Ioffe and C. Szegedy, "Batch Normalization", arXiv 1502.03167, 2015.

Next: :mod:`minigrad.checks.differences`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.arguments import as_int, expect, integer, number, refuse
from minigrad.autograd.modes import once
from minigrad.autograd.operator import operator
from minigrad.autograd.signatures import composed
from minigrad.autograd.tensor import Tensor, array_of
from minigrad.device import device_name, namespace
from minigrad.kernels import norm as kernel
from minigrad.kernels.pixels import Pixels
from minigrad.ops.elementwise import sqrt
from minigrad.ops.reduction import mean
from minigrad.ops.shape import reshape
from minigrad.typing import Array, Axis, Shape, TensorOrArray


def normalised(x: TensorOrArray, axes: Axis, eps: float) -> TensorOrArray:
    """Shift and scale x to mean 0 and variance 1 over some axes, by the definition."""
    deviation = x - mean(x, axes, keepdims=True)
    return deviation / sqrt(mean(deviation * deviation, axes, keepdims=True) + eps)


def batch_norm_twin(
    x: TensorOrArray,
    gamma: TensorOrArray,
    beta: TensorOrArray,
    running_mean: Array,
    running_var: Array,
    training: bool,
    eps: float,
) -> TensorOrArray:
    """Normalise each channel by the definition, then scale and shift."""
    pixels = tuple(range(x.ndim - 1))
    x_hat = normalised(x, pixels, eps) if training else (x - running_mean) / sqrt(running_var + eps)
    return gamma * x_hat + beta


@operator
@np.errstate(under="ignore")  # running statistics fade to 0
def _batch_norm(
    x: Array,
    gamma: Array,
    beta: Any,
    /,
    running_mean: Array,
    running_var: Array,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[Array, dict[str, Array]]:
    """The operator behind :func:`batch_norm`: the statistics are settings. (Type checkers take beta for one.)"""
    pixels = Pixels(x)
    if training:
        mean, var = kernel.statistics(pixels, x)

        def update() -> None:
            unbiased = var * (pixels.count / (pixels.count - 1))
            running_mean[...] = (1 - momentum) * running_mean + momentum * mean
            running_var[...] = (1 - momentum) * running_var + momentum * unbiased

        once(update)
    else:
        mean, var = running_mean, running_var
    inv_std = 1 / namespace(x).sqrt(var + eps)
    scale = gamma * inv_std
    return pixels.affine(x, scale, beta - mean * scale), {"mean": mean, "inv_std": inv_std}


@_batch_norm.vjp
def _(
    g: Array, x: Array, gamma: Array, *, mean: Array, inv_std: Array, training: bool, need: tuple[bool, ...]
) -> tuple[Array | None, ...]:
    pixels = Pixels(x)
    scale = gamma * inv_std
    if not training and not any(need[1:]):
        return pixels.affine(g, scale, None), None, None
    sum_g, sum_gd = kernel.gradient_sums(pixels, g, x, mean)  # over pixels, of g and of g (x - mean)
    dx = None
    if need[0] and training:
        slope = -scale * inv_std * inv_std * sum_gd / pixels.count
        dx = pixels.affine(x, slope, -scale * sum_g / pixels.count - slope * mean, g, scale)
    elif need[0]:
        dx = pixels.affine(g, scale, None)
    return dx, sum_gd * inv_std if need[1] else None, sum_g if need[2] else None


_batch_norm.twin(batch_norm_twin)

# The public function, and its checks ---------------------------------------------------------


@composed
def batch_norm(
    x: TensorOrArray,
    gamma: TensorOrArray,
    beta: TensorOrArray,
    running_mean: Array,
    running_var: Array,
    *,
    training: bool,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> TensorOrArray:
    """Normalise each channel over a batch, then scale and shift it.

    A channel in which something is infinite, or in which a square overflows, may become NaN throughout.

    Parameters
    ----------
    x : Tensor or array of shape (..., c)
        Images (n, h, w, c), or features (n, c).
    gamma, beta : Tensor or array of shape (c,)
        Scale and shift.
    running_mean, running_var : array of shape (c,)
        In training, updated in place towards the batch's mean and unbiased variance; in evaluation, used instead.
    training : bool
        Whether to use the statistics of this batch.
    momentum : float
        The weight of the batch's statistics in the running statistics, from 0 to 1.
    eps : float
        Added to the variance; positive.

    Returns
    -------
    Tensor or array of the shape of `x`

    Raises
    ------
    ValueError
        If shapes do not fit, or a channel has fewer than two values in training.

    Examples
    --------
    >>> import numpy as np
    >>> import minigrad as mg
    >>> x = mg.Tensor([[1.0], [3.0]])
    >>> mean, var = np.zeros(1, "float32"), np.ones(1, "float32")
    >>> y = mg.batch_norm(x, mg.Tensor([1.0]), mg.Tensor([0.0]), mean, var, training=True)
    >>> y.data.ravel().round(3), mean, var
    (array([-1.,  1.], dtype=float32), array([0.2], dtype=float32), array([1.1], dtype=float32))
    """
    if x.ndim < 2:
        refuse("batch_norm", "x with a batch axis and a channel axis", f"shape {tuple(x.shape)}")
    c = x.shape[-1]
    # All four have a number for each channel, of the dtype of x.
    named = {"gamma": gamma, "beta": beta, "running_mean": running_mean, "running_var": running_var}
    data = array_of(x)
    for name, value in named.items():
        if value.shape != (c,):
            wanted = f"{name} of shape ({c},), one for each channel of x {tuple(x.shape)}"
            refuse("batch_norm", wanted, tuple(value.shape))
        # Tensors are compared by the operator, whose message says how to convert them.
        if not isinstance(value, Tensor) and (value.dtype != data.dtype or data.dtype.kind not in "fc"):
            got = f"x of {data.dtype} and {name} of {value.dtype}"
            refuse("batch_norm", "one dtype, of floating-point numbers", got, error=TypeError)
    # The running statistics are arrays, which are updated in place: on the device of x.
    for statistics in (running_mean, running_var):
        if isinstance(statistics, Tensor):
            refuse("batch_norm", "running statistics that are arrays", "a Tensor", "pass .data", error=TypeError)
        if type(statistics) is not type(data):
            wanted = f"running statistics on {device_name(data)}, as x"
            refuse("batch_norm", wanted, device_name(statistics), "move the model with .to(device)")
    momentum, eps = number("batch_norm", "momentum", momentum, most=1), _positive("batch_norm", eps)
    if c < 1:
        refuse("batch_norm", "at least one channel", f"x of shape {tuple(x.shape)}")
    # The unbiased variance of one value would be 0 / 0.
    if training and x.size < 2 * c:
        wanted, fix = "at least two values in each channel to have a variance", "use a larger batch, or training=False"
        refuse("batch_norm", wanted, f"x of shape {tuple(x.shape)}", fix)
    if not training:  # copies: rule and twin use these values even if the statistics are updated in the meantime
        running_mean, running_var = running_mean.copy(), running_var.copy()
    return _batch_norm(x, gamma, beta, running_mean, running_var, training, momentum, eps)


# Over the axes of one sample -----------------------------------------------------------------


@composed
def layer_norm(
    x: TensorOrArray,
    normalized_shape: int | Shape,
    gamma: TensorOrArray | None = None,
    beta: TensorOrArray | None = None,
    *,
    eps: float = 1e-5,
) -> TensorOrArray:
    """Normalise each sample over its last axes, then scale and shift its elements.

    Parameters
    ----------
    x : Tensor or array of shape (..., sizes)
    normalized_shape : int or tuple of ints
        The sizes of the last axes, over which is normalised.
    gamma, beta : Tensor or array of shape (sizes), optional
        Scale and shift.
    eps : float
        Added to the variance; positive.

    Returns
    -------
    Tensor or array of the shape of `x`

    Raises
    ------
    ValueError
        If shapes do not fit.

    References
    ----------
    J. Ba, J. Kiros and G. Hinton, "Layer Normalization", arXiv 1607.06450, 2016, equations 3 and 4.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.layer_norm(mg.Tensor([[1.0, 3.0], [0.0, 10.0]]), 2).data.round(2)
    array([[-1.,  1.],
           [-1.,  1.]], dtype=float32)
    """
    one = as_int(normalized_shape)
    shape = tuple(normalized_shape) if one is None else (one,)  # type: ignore[arg-type]
    k = len(shape)
    fits = k > 0 and tuple(x.shape[-k:]) == shape
    expect(fits, "layer_norm", f"normalized_shape {shape} to be the end of x's shape", tuple(x.shape))
    x_hat = normalised(x, tuple(range(-k, 0)), _positive("layer_norm", eps))
    return _affine("layer_norm", x_hat, shape, gamma, beta)


@composed
def group_norm(
    x: TensorOrArray,
    num_groups: int,
    gamma: TensorOrArray | None = None,
    beta: TensorOrArray | None = None,
    *,
    eps: float = 1e-5,
) -> TensorOrArray:
    """Normalise each sample over its pixels and each group of its channels, then scale and shift each channel.

    Parameters
    ----------
    x : Tensor or array of shape (n, ..., c)
        Images (n, h, w, c), or features (n, c).
    num_groups : int
        Of c / num_groups channels each.
    gamma, beta : Tensor or array of shape (c,), optional
        Scale and shift.
    eps : float
        Added to the variance; positive.

    Returns
    -------
    Tensor or array of the shape of `x`

    Raises
    ------
    ValueError
        If shapes do not fit, or num_groups does not divide c.

    References
    ----------
    Y. Wu and K. He, "Group Normalization", arXiv 1803.08494, 2018.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.group_norm(mg.Tensor([[1.0, 3.0, 0.0, 10.0]]), 2).data.round(2)
    array([[-1.,  1., -1.,  1.]], dtype=float32)
    """
    groups = integer("group_norm", "num_groups", num_groups, least=1)
    expect(x.ndim > 1, "group_norm", "x with a batch axis and a channel axis", f"shape {tuple(x.shape)}")
    c = x.shape[-1]
    expect(c % groups == 0, "group_norm", f"num_groups to divide the {c} channels of x", num_groups)
    grouped = reshape(x, (*x.shape[:-1], groups, c // groups))
    x_hat = normalised(grouped, (*range(1, x.ndim - 1), x.ndim), _positive("group_norm", eps))
    return _affine("group_norm", reshape(x_hat, x.shape), (c,), gamma, beta)


def _affine(
    name: str, x: TensorOrArray, shape: Shape, gamma: TensorOrArray | None, beta: TensorOrArray | None
) -> TensorOrArray:
    """Scale and shift x by arrays of a shape, if they are given."""
    for key, value in {"gamma": gamma, "beta": beta}.items():
        if value is not None and tuple(value.shape) != shape:
            refuse(name, f"{key} of shape {shape}", tuple(value.shape))
    out = x if gamma is None else gamma * x
    return out if beta is None else out + beta


def _positive(name: str, eps: float) -> float:
    """Return eps as a float; refuse it if it is not positive."""
    expect(number(name, "eps", eps) > 0, name, "eps > 0", eps)
    return float(eps)
