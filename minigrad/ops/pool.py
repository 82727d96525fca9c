r"""Pooling: max_pool2d, avg_pool2d, global_avg_pool2d.

The average of a window is a sum of windows divided by their size, and that is how it is written. The largest is
found tap by tap: out = max over taps (i, j) of the pixels that stand at that place in their windows, each of which is
one strided view of the image. So no window is ever copied.

Next: :mod:`minigrad.ops.norm`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.autograd.operator import expect_arrays, operator
from minigrad.device import namespace, on_host, windows
from minigrad.kernels import blocks
from minigrad.kernels.threads import run
from minigrad.ops.reduction import max, mean
from minigrad.ops.shape import pad, reshape, unfold
from minigrad.ops.windows import check_window, pair
from minigrad.typing import Array, Pair


def max_pool2d(x: Any, kernel: Any, *, stride: Any = None, padding: Any = 0) -> Any:
    """Take the largest element of each window.   dx = g at the first largest in C order, added up over windows

    Parameters
    ----------
    x : Tensor or array of shape (n, h, w, c)
    kernel : int or (int, int)
    stride : int or (int, int), optional
        The kernel's size by default: windows that do not overlap.
    padding : int or (int, int)
        With minus infinity, so that the border never wins; smaller than the kernel.

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
    >>> import minigrad as mg
    >>> x = mg.Tensor(np.arange(16.0, dtype="float32")).reshape(1, 4, 4, 1)
    >>> mg.max_pool2d(x, 2).data[0, :, :, 0]
    array([[ 5.,  7.],
           [13., 15.]], dtype=float32)
    """
    kernel, stride, padding = _settings("max_pool2d", x, kernel, stride, padding)
    return _max_pool2d(x, kernel=kernel, stride=stride, padding=padding)


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
        left = g[images[i]]  # what no tap has taken yet
        for tap in range(kh * kw):
            rows, columns = tap // kw, tap % kw
            place = (
                images[i],
                slice(rows, rows + stride[0] * ho, stride[0]),
                slice(columns, columns + stride[1] * wo, stride[1]),
            )
            hit = bordered[place] == out[images[i]]
            dx[place] += xp.where(hit, left, 0.0)
            left = xp.where(hit, 0.0, left)

    run(block, len(images))
    return (dx[:, ph : ph + h, pw : pw + w],)


@_max_pool2d.twin
def max_pool2d_definition(x: Any, kernel: Pair, stride: Pair, padding: Pair) -> Any:
    """Pool by the definition: pad, lay the windows out, take the largest of each."""
    ph, pw = padding
    seen = unfold(pad(x, [(0, 0), (ph, ph), (pw, pw), (0, 0)], -np.inf), kernel, stride, (1, 1))
    n, ho, wo, kh, kw, c = seen.shape
    return max(reshape(seen, (n, ho, wo, kh * kw, c)), axis=3)


def avg_pool2d(x: Any, kernel: Any, *, stride: Any = None, padding: Any = 0) -> Any:
    """Average each window; zeros of the border count.

    Parameters
    ----------
    x : Tensor or array of shape (n, h, w, c)
    kernel : int or (int, int)
    stride : int or (int, int), optional
        The kernel's size by default: windows that do not overlap.
    padding : int or (int, int)
        With zeros, which count as elements (as by PyTorch's default); smaller than the kernel.

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
    >>> import minigrad as mg
    >>> x = mg.Tensor(np.arange(16.0, dtype="float32")).reshape(1, 4, 4, 1)
    >>> mg.avg_pool2d(x, 2).data[0, :, :, 0]
    array([[ 2.5,  4.5],
           [10.5, 12.5]], dtype=float32)
    """
    kernel, stride, (ph, pw) = _settings("avg_pool2d", x, kernel, stride, padding)
    seen = unfold(pad(x, [(0, 0), (ph, ph), (pw, pw), (0, 0)]), kernel, stride, (1, 1))  # (n, ho, wo, kh, kw, c)
    return mean(seen, axis=(3, 4))


def global_avg_pool2d(x: Any) -> Any:
    """Average each channel over the whole image.

    Parameters
    ----------
    x : Tensor or array of shape (n, h, w, c)

    Returns
    -------
    Tensor or array of shape (n, c)

    Raises
    ------
    ValueError
        If `x` has no four axes, or no pixels.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.global_avg_pool2d(mg.Tensor([[[[1.0], [3.0]]]]))
    Tensor([[2.]])
    """
    expect_arrays("global_avg_pool2d", x=x)
    if x.ndim != 4:
        raise ValueError(f"global_avg_pool2d: expected images (n, h, w, c), got shape {tuple(x.shape)}")
    return mean(x, axis=(1, 2))


def _settings(name: str, x: Any, kernel: Any, stride: Any, padding: Any) -> tuple[Pair, Pair, Pair]:
    """Check a pooling's settings and return them as pairs."""
    expect_arrays(name, x=x)
    kernel = pair(name, "kernel", kernel, 1)
    stride = kernel if stride is None else pair(name, "stride", stride, 1)
    padding = pair(name, "padding", padding, 0)
    if x.ndim != 4:
        raise ValueError(f"{name}: expected images (n, h, w, c), got shape {tuple(x.shape)}")
    if padding[0] >= kernel[0] or padding[1] >= kernel[1]:
        raise ValueError(
            f"{name}: padding {padding} must be smaller than the kernel {kernel}, so that every window sees a pixel"
        )
    check_window(name, tuple(x.shape), kernel, padding, (1, 1))
    return kernel, stride, padding


def _bordered(x: Array, padding: Pair) -> Array:
    """Put a border of minus infinity around images."""
    ph, pw = padding
    return x if padding == (0, 0) else pad(x, [(0, 0), (ph, ph), (pw, pw), (0, 0)], -np.inf)


def _images(x: Array) -> Any:
    """Cut a batch into blocks of images, small enough for the cache."""
    bytes_each = x.itemsize * x.size // (x.shape[0] or 1)
    return blocks.spans(len(x), blocks.BLOCK_BYTES // (bytes_each or 1)) if on_host(x) else (slice(None),)
