r"""Pooling: max_pool2d, avg_pool2d, global_avg_pool2d.

The average of a window is the sum of its pixels divided by their number, and it is computed in this way. The maximum is
found tap by tap: tap (i, j) of all windows together is one strided view of the image, and the result is the elementwise
maximum of these views. So no window is ever copied.

Next: :mod:`minigrad.ops.loss`.
"""

from __future__ import annotations

import numpy as np

from minigrad.arguments import expect, pair
from minigrad.autograd.operator import operator
from minigrad.autograd.signatures import composed
from minigrad.device import namespace, on_host, windows
from minigrad.kernels import blocks
from minigrad.kernels.threads import run
from minigrad.ops.reduction import max, mean
from minigrad.ops.shape import im2col, pad, reshape
from minigrad.ops.windows import check_window
from minigrad.typing import Array, IntOrPair, Pair, TensorOrArray


def max_pool2d_twin(x: TensorOrArray, kernel: Pair, stride: Pair, padding: Pair) -> TensorOrArray:
    """Pool by the definition: pad, write the windows as rows, take the largest of each."""
    ph, pw = padding
    seen = im2col(pad(x, [(0, 0), (ph, ph), (pw, pw), (0, 0)], -np.inf), kernel, stride, (1, 1))
    n, ho, wo, kh, kw, c = seen.shape
    return max(reshape(seen, (n, ho, wo, kh * kw, c)), axis=3)


@operator
def _max_pool2d(x: Array, /, *, kernel: Pair, stride: Pair, padding: Pair) -> Array:
    """The operator behind :func:`max_pool2d`, settings in pairs."""
    view = windows(_bordered(x, padding), kernel, stride, (1, 1))  # (n, ho, wo, kh, kw, c)
    n, ho, wo, kh, kw, c = view.shape
    out = namespace(x).empty((n, ho, wo, c), dtype=x.dtype)
    images = _images(x)

    def block(i: int) -> None:
        part, seen = out[images[i]], view[images[i]]
        part[...] = seen[:, :, :, 0, 0]
        for tap in range(1, kh * kw):
            namespace(x).maximum(part, seen[:, :, :, tap // kw, tap % kw], out=part)

    run(block, len(images))
    return out


@_max_pool2d.vjp
def _(
    g: Array, x: Array, out: Array, *, kernel: Pair, stride: Pair, padding: Pair, need: tuple[bool, ...]
) -> tuple[Array]:
    xp, (h, w), (kh, kw), (ph, pw) = namespace(x), x.shape[1:3], kernel, padding
    ho, wo = out.shape[1:3]
    bordered = _bordered(x, padding)
    dx = xp.zeros(bordered.shape, dtype=x.dtype)
    images = _images(x)

    def block(i: int) -> None:
        left = g[images[i]]  # the gradients of windows whose maximum is at a later tap
        for tap in range(kh * kw):
            rows, columns = tap // kw, tap % kw
            place = (
                images[i],
                slice(rows, rows + stride[0] * ho, stride[0]),
                slice(columns, columns + stride[1] * wo, stride[1]),
            )
            seen = bordered[place]
            hit = (seen == out[images[i]]) | (seen != seen)  # a NaN is the largest
            dx[place] += xp.where(hit, left, 0.0)
            left = xp.where(hit, 0.0, left)

    run(block, len(images))
    return (dx[:, ph : ph + h, pw : pw + w],)


_max_pool2d.twin(max_pool2d_twin)


@composed
def max_pool2d(
    x: TensorOrArray, kernel: IntOrPair, *, stride: IntOrPair | None = None, padding: IntOrPair = 0
) -> TensorOrArray:
    """The largest element of each window.   dx = g at the first largest in C order, summed over windows

    A NaN counts as larger than any number.

    Parameters
    ----------
    x : Tensor or array of shape (n, h, w, c)
    kernel : int or (int, int)
    stride : int or (int, int), optional
        The kernel's size by default, so that windows do not overlap.
    padding : int or (int, int)
        The border is minus infinity, so it is never the largest element. Must be smaller than the kernel.

    Returns
    -------
    Tensor or array of shape (n, ho, wo, c)
        ``ho = (h + 2 padding - kh) // stride + 1``, and ``wo`` likewise.

    Raises
    ------
    ValueError
        If shapes or settings do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> import minigrad as mg
    >>> x = mg.Tensor(np.arange(16.0, dtype="float32")).reshape(1, 4, 4, 1)
    >>> mg.max_pool2d(x, 2).data[0, :, :, 0]
    array([[ 5.,  7.],
           [13., 15.]], dtype=float32)
    """
    pairs = _settings("max_pool2d", x, kernel, stride, padding)
    return _max_pool2d(x, kernel=pairs[0], stride=pairs[1], padding=pairs[2])


@composed
def avg_pool2d(
    x: TensorOrArray, kernel: IntOrPair, *, stride: IntOrPair | None = None, padding: IntOrPair = 0
) -> TensorOrArray:
    """The mean of each window, in which the zeros of the border count as elements.

    Parameters
    ----------
    x : Tensor or array of shape (n, h, w, c)
    kernel : int or (int, int)
    stride : int or (int, int), optional
        The kernel's size by default, so that windows do not overlap.
    padding : int or (int, int)
        The border is zeros, which count as elements (PyTorch's default). Must be smaller than the kernel.

    Returns
    -------
    Tensor or array of shape (n, ho, wo, c)
        ``ho = (h + 2 padding - kh) // stride + 1``, and ``wo`` likewise.

    Raises
    ------
    ValueError
        If shapes or settings do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> import minigrad as mg
    >>> x = mg.Tensor(np.arange(16.0, dtype="float32")).reshape(1, 4, 4, 1)
    >>> mg.avg_pool2d(x, 2).data[0, :, :, 0]
    array([[ 2.5,  4.5],
           [10.5, 12.5]], dtype=float32)
    """
    size, step, (ph, pw) = _settings("avg_pool2d", x, kernel, stride, padding)
    seen = im2col(pad(x, [(0, 0), (ph, ph), (pw, pw), (0, 0)]), size, step, (1, 1))  # (n, ho, wo, kh, kw, c)
    return mean(seen, axis=(3, 4))


@composed
def global_avg_pool2d(x: TensorOrArray) -> TensorOrArray:
    """The mean of each channel over the whole image.

    Parameters
    ----------
    x : Tensor or array of shape (n, h, w, c)

    Returns
    -------
    Tensor or array of shape (n, c)

    Raises
    ------
    ValueError
        If `x` does not have four axes, or has no pixels.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.global_avg_pool2d(mg.Tensor([[[[1.0], [3.0]]]]))
    Tensor([[2.]])
    """
    expect(x.ndim == 4, "global_avg_pool2d", "images (n, h, w, c)", f"shape {tuple(x.shape)}")
    return mean(x, axis=(1, 2))


def _settings(
    name: str, x: TensorOrArray, kernel: IntOrPair, stride: IntOrPair | None, padding: IntOrPair
) -> tuple[Pair, Pair, Pair]:
    """Check a pooling's settings and return them as pairs."""
    size, border = pair(name, "kernel", kernel, 1), pair(name, "padding", padding, 0)
    step = size if stride is None else pair(name, "stride", stride, 1)
    expect(x.ndim == 4, name, "images (n, h, w, c)", f"shape {tuple(x.shape)}")
    if border[0] >= size[0] or border[1] >= size[1]:
        raise ValueError(
            f"{name}: padding {border} must be smaller than the kernel {size}, so that every window covers a pixel"
        )
    check_window(name, tuple(x.shape), size, border, (1, 1))
    return size, step, border


def _bordered(x: Array, padding: Pair) -> Array:
    """Put a border of minus infinity around images."""
    ph, pw = padding
    return x if padding == (0, 0) else pad(x, [(0, 0), (ph, ph), (pw, pw), (0, 0)], -np.inf)


def _images(x: Array) -> tuple[slice, ...]:
    """Cut a batch into blocks of images that fit into the cache."""
    bytes_each = x.itemsize * x.size // (x.shape[0] or 1)
    return blocks.spans(len(x), blocks.BLOCK_BYTES // (bytes_each or 1)) if on_host(x) else (slice(None),)
