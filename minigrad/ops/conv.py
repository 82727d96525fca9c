r"""Convolution: im2col in blocks that stay in cache, and one im2col in backward.

A convolution multiplies every window of the image with the same weights:

.. math::
    out[n, y, x, o] = b[o] + \sum_{i, j, c} xpad[n, s y + d i, s x + d j, c]\, w[i, j, c, o]

Write each output pixel's window as a row of a matrix, the *columns*, and convolution is a matrix product,
(pixels, kh kw c) @ (kh kw c, o), which BLAS computes fast. Images are NHWC, so the row of a window consists of runs of
kw * c numbers that are adjacent in memory, and the product is the result without any reordering. The definition,
:func:`conv2d_twin`, does exactly this.

The columns of a whole batch are kh kw times as large as the batch, and writing them to memory would take longer than
the product. So the fast path, :mod:`minigrad.kernels.conv`, makes them for one block of pixels at a time, small enough
to be still in cache when they are multiplied, and never stores them. With many channels, it computes 3x3 convolutions
by fewer multiplications than the definition has: :mod:`minigrad.kernels.winograd`.

Next: :mod:`minigrad.ops.norm`.
"""

from __future__ import annotations

from typing import Any

from minigrad.arguments import expect, integer, pair, refuse
from minigrad.autograd.operator import operator
from minigrad.autograd.signatures import composed
from minigrad.kernels import conv as kernel
from minigrad.kernels.pixels import Pixels
from minigrad.ops.matmul import matmul
from minigrad.ops.shape import col2im, concatenate, getitem, im2col, pad, reshape, transpose
from minigrad.ops.windows import check_window, padding_of
from minigrad.typing import Array, IntOrPair, Padding, Pair, TensorOrArray


def conv2d_twin(
    x: TensorOrArray, w: TensorOrArray, b: TensorOrArray | None, stride: Pair, padding: Pair, dilation: Pair
) -> TensorOrArray:
    """Convolve by the definition: pad, write the windows as rows, multiply."""
    (kh, kw, c, o), (ph, pw) = w.shape, padding
    cols = im2col(pad(x, [(0, 0), (ph, ph), (pw, pw), (0, 0)]), (kh, kw), stride, dilation)  # (n, ho, wo, kh, kw, c)
    out = matmul(reshape(cols, (-1, kh * kw * c)), reshape(w, (kh * kw * c, o)))
    out = reshape(out, (*cols.shape[:3], o))
    return out if b is None else out + b


@operator
def _conv2d(
    x: Array, w: Array, b: Any = None, /, *, stride: Pair, padding: Pair, dilation: Pair, algorithm: str
) -> Array:
    """The operator behind :func:`conv2d`: one group, settings in pairs. (Type checkers take b for a setting.)"""
    return kernel.forward(x, w, b, stride, padding, dilation, algorithm)


@_conv2d.vjp
def _(
    g: Array, x: Array, w: Array, *, need: kernel.Need, stride: Pair, padding: Pair, dilation: Pair, algorithm: str
) -> tuple[Array | None, ...]:
    dx, dw = kernel.backward(g, x, w, need, stride, padding, dilation, algorithm)
    return dx, dw, Pixels(g).sum(g) if need[2] else None


_conv2d.twin(conv2d_twin)

# The public functions, and their checks ------------------------------------------------------


@composed
def conv2d(
    x: TensorOrArray,
    w: TensorOrArray,
    b: TensorOrArray | None = None,
    *,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
) -> TensorOrArray:
    """Convolve images with a kernel, which is not flipped: cross-correlation, as everywhere in deep learning.

    Kernels of 3x3 with stride 1, and with 32 channels or more in and out, are applied by Winograd's algorithm: it takes
    fewer multiplications, and rounds differently. :func:`minigrad.conv_algorithm` switches it off.

    Parameters
    ----------
    x : Tensor or array of shape (n, h, w, c_in)
    w : Tensor or array of shape (kh, kw, c_in / groups, c_out)
    b : Tensor or array of shape (c_out,), optional
    stride, padding, dilation : int or (int, int)
        One int for height and width, or a pair. The border is padded with zeros. Its zeros are multiplied as pixels
        are: under a weight or a cotangent that is infinite they give NaN. With the padding ``"same"`` and stride 1, the
        result has the size of the image; of an odd number of zeros, the larger part is at the bottom and on the right.
    groups : int
        Number of groups of channels; the outputs of a group see only the inputs of the same group.

    Returns
    -------
    Tensor or array of shape (n, ho, wo, c_out)
        ``ho = (h + 2 padding - dilation (kh - 1) - 1) // stride + 1``, and ``wo`` likewise.

    Raises
    ------
    ValueError
        If shapes or settings do not fit.
    TypeError
        If `x` and `w` differ in dtype, or hold integers.

    Examples
    --------
    >>> import numpy as np
    >>> import minigrad as mg
    >>> x, w = np.ones((1, 3, 3, 1), "float32"), np.ones((2, 2, 1, 1), "float32")
    >>> mg.conv2d(mg.Tensor(x), mg.Tensor(w), stride=1, padding=0).data[0, :, :, 0]
    array([[4., 4.],
           [4., 4.]], dtype=float32)
    """
    stride, dilation = pair("conv2d", "stride", stride, 1), pair("conv2d", "dilation", dilation, 1)
    padding = padding_of("conv2d", padding, stride)
    if padding == "same" and x.ndim == w.ndim == 4:
        border = [divmod(d * (k - 1), 2) for d, k in zip(dilation, w.shape[:2], strict=True)]
        (ph, odd_h), (pw, odd_w) = border
        x, padding = pad(x, [(0, 0), (0, odd_h), (0, odd_w), (0, 0)]) if odd_h or odd_w else x, (ph, pw)
    settings: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation}
    settings["algorithm"] = kernel.in_force.get()
    groups = integer("conv2d", "groups", groups, least=1)
    _check(x, w, b, settings["padding"], settings["dilation"], groups)
    if groups == 1:
        return _conv2d(x, w, b, **settings)
    ci, co = w.shape[2], w.shape[3] // groups  # channels of one group
    parts = []
    for i in range(groups):
        inputs, outputs = slice(i * ci, (i + 1) * ci), slice(i * co, (i + 1) * co)
        bias = None if b is None else getitem(b, outputs)
        parts.append(_conv2d(getitem(x, (..., inputs)), getitem(w, (..., outputs)), bias, **settings))
    return concatenate(parts, axis=3)  # (n, ho, wo, c_out)


@composed
def conv_transpose2d(
    x: TensorOrArray,
    w: TensorOrArray,
    b: TensorOrArray | None = None,
    *,
    stride: IntOrPair = 1,
    padding: IntOrPair = 0,
    output_padding: IntOrPair = 0,
) -> TensorOrArray:
    """Spread each pixel over a window: the adjoint of conv2d, and its gradient in x.

    ``conv_transpose2d(y, w)`` is the gradient of ``conv2d(x, w')`` in x for the cotangent y, where w' is w with its
    last two axes swapped. The kernel is not flipped.

    Parameters
    ----------
    x : Tensor or array of shape (n, h, w, c_in)
    w : Tensor or array of shape (kh, kw, c_in, c_out)
    b : Tensor or array of shape (c_out,), optional
    stride : int or (int, int)
        Distance between the windows of neighbouring pixels.
    padding : int or (int, int)
        Number of pixels cut off each border of the result; in the gradients, zeros stand for what is cut off, and are
        multiplied: times an infinite input they give NaN.
    output_padding : int or (int, int)
        Number of pixels added at the bottom and on the right, less than the stride. A convolution with a stride rounds
        its size down, so images of several sizes have results of one size; this says which of them to return to.

    Returns
    -------
    Tensor or array of shape (n, ho, wo, c_out)
        ``ho = stride (h - 1) + kh - 2 padding + output_padding``, and ``wo`` likewise.

    Raises
    ------
    ValueError
        If shapes or settings do not fit.

    Examples
    --------
    >>> import minigrad as mg
    >>> x, w = mg.Tensor([[1.0, 2.0]]).reshape(1, 1, 2, 1), mg.Tensor([[1.0, 10.0]]).reshape(1, 2, 1, 1)
    >>> mg.conv_transpose2d(x, w, stride=2).data.ravel()
    array([ 1., 10.,  2., 20.], dtype=float32)
    """
    name = "conv_transpose2d"
    (sh, sw), (ph, pw) = pair(name, "stride", stride, 1), pair(name, "padding", padding, 0)
    more_h, more_w = pair(name, "output_padding", output_padding, 0)
    expect(more_h < sh and more_w < sw, name, f"output_padding smaller than the stride {sh, sw}", (more_h, more_w))
    fits, shapes = x.ndim == w.ndim == 4 and x.shape[3] == w.shape[2], f"x {tuple(x.shape)} and w {tuple(w.shape)}"
    expect(fits, name, "x (n, h, w, c_in) and w (kh, kw, c_in, c_out)", shapes)
    (n, h, wd, c), (kh, kw, _, o) = x.shape, w.shape
    _check_bias(name, b, w)
    shape = (n, sh * (h - 1) + kh + more_h, sw * (wd - 1) + kw + more_w, o)
    if shape[1] <= 2 * ph or shape[2] <= 2 * pw:
        raise ValueError(f"{name}: padding {ph, pw} cuts everything off a result of {shape[1]} x {shape[2]} pixels")
    matrix = reshape(transpose(w, (2, 0, 1, 3)), (c, kh * kw * o))
    cols = reshape(matmul(reshape(x, (n * h * wd, c)), matrix), (n, h, wd, kh, kw, o))
    inside = (slice(None), slice(ph, shape[1] - ph), slice(pw, shape[2] - pw))
    out = getitem(col2im(cols, shape, (sh, sw), (1, 1)), inside)
    return out if b is None else out + b


def _check(
    x: TensorOrArray, w: TensorOrArray, b: TensorOrArray | None, padding: Pair, dilation: Pair, groups: int
) -> None:
    """Refuse shapes, dtypes and settings that do not fit one another."""
    if not x.ndim == w.ndim == 4:
        shapes = f"x {tuple(x.shape)} and w {tuple(w.shape)}"
        refuse("conv2d", "x (n, h, w, c_in) and w (kh, kw, c_in / groups, c_out)", shapes)
    (kh, kw, c, o), channels = w.shape, x.shape[3]
    if x.dtype != w.dtype or x.dtype.kind not in "fc":
        dtypes = f"x of {x.dtype} and w of {w.dtype}"
        fix = f"convert x with .astype('{w.dtype}')" if w.dtype.kind in "fc" else ""
        refuse("conv2d", "one dtype, of floating-point numbers", dtypes, fix, error=TypeError)
    if c < 1 or o < 1:
        refuse("conv2d", "at least one channel in and out", f"w {tuple(w.shape)}")
    if channels % groups or o % groups:
        raise ValueError(f"conv2d: groups={groups} must divide c_in = {channels} and c_out = {o}")
    if channels != c * groups:
        raise ValueError(
            f"conv2d: x has {channels} channels (shape {tuple(x.shape)}) but w expects {c * groups} (shape "
            f"{tuple(w.shape)}); w is (kh, kw, c_in / groups, c_out)"
        )
    _check_bias("conv2d", b, w)
    check_window("conv2d", tuple(x.shape), (kh, kw), padding, dilation)


def _check_bias(name: str, b: TensorOrArray | None, w: TensorOrArray) -> None:
    """Refuse a bias that is not one number for each output channel, or has another dtype than w."""
    if b is not None and tuple(b.shape) != w.shape[3:]:
        refuse(name, f"b of shape ({w.shape[3]},), one for each output channel", tuple(b.shape))
    if b is not None and b.dtype != w.dtype:
        refuse(name, "one dtype, of floating-point numbers", f"w of {w.dtype} and b of {b.dtype}", error=TypeError)
