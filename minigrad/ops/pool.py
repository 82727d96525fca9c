r"""Pooling: max_pool2d, avg_pool2d, global_avg_pool2d.

The average of a window is the sum of its pixels divided by their number, and it is computed in this way. The maximum is
found tap by tap: tap (i, j) of all windows together is one strided view of the image, and the result is the elementwise
maximum of these views. So no window is ever copied.

Next: :mod:`minigrad.ops.loss`.
"""

from __future__ import annotations

import itertools

import numpy as np

from minigrad.arguments import expect, pair
from minigrad.autograd.operator import operator
from minigrad.autograd.signatures import composed
from minigrad.autograd.tensor import array_of
from minigrad.device import namespace, on_host
from minigrad.kernels import blocks
from minigrad.kernels.threads import run
from minigrad.ops.elementwise import where
from minigrad.ops.reduction import mean
from minigrad.ops.shape import getitem, im2col, pad, reshape
from minigrad.ops.windows import check_window
from minigrad.typing import Array, Index, IntOrPair, Pair, TensorOrArray


def max_pool2d_twin(x: TensorOrArray, kernel: Pair, stride: Pair, padding: Pair) -> TensorOrArray:
    """Pool by the definition: pad, write the windows as rows, take the first largest pixel of the image from each."""
    xp, (ph, pw), c = namespace(array_of(x)), padding, x.shape[3]
    border = [(0, 0), (ph, ph), (pw, pw), (0, 0)]
    seen = im2col(pad(x, border, -np.inf), kernel, stride, (1, 1))
    n, ho, wo, kh, kw, _ = seen.shape
    seen = reshape(seen, (n, ho, wo, kh * kw, c))
    inside = im2col(pad(xp.ones(x.shape, dtype=bool), border), kernel, stride, (1, 1)).reshape(seen.shape)
    pixels = array_of(seen)
    largest = (pixels == pixels.max(axis=3, keepdims=True)) | xp.isnan(pixels)
    first = (inside & largest).argmax(axis=3)  # (n, ho, wo, c)
    image, row, column = xp.arange(n)[:, None, None, None], xp.arange(ho)[:, None, None], xp.arange(wo)[:, None]
    return getitem(seen, (image, row, column, first, xp.arange(c)))


@operator
def _max_pool2d(x: Array, /, *, kernel: Pair, stride: Pair, padding: Pair) -> Array:
    """The operator behind :func:`max_pool2d`, settings in pairs."""
    xp, (h, w) = namespace(x), x.shape[1:3]
    (kh, kw), (sh, sw), (ph, pw) = kernel, stride, padding
    out = xp.empty((len(x), (h + 2 * ph - kh) // sh + 1, (w + 2 * pw - kw) // sw + 1, x.shape[3]), dtype=x.dtype)
    images, taps = _images(x), _taps(x, out, kernel, stride, padding)

    def block(i: int) -> None:
        part, seen = out[images[i]], x[images[i]]
        if padding == (0, 0):  # then the first tap of every window is a pixel
            part[...] = seen[taps[0][1]]
        else:
            part[...] = -np.inf if x.dtype.kind in "fc" else 0 if x.dtype.kind in "bu" else np.iinfo(x.dtype).min
        for windows, pixels in taps[padding == (0, 0) :]:
            xp.maximum(part[windows], seen[pixels], out=part[windows])

    run(block, len(images))
    return out


@_max_pool2d.vjp
def _(
    g: Array, x: Array, out: Array, *, kernel: Pair, stride: Pair, padding: Pair, need: tuple[bool, ...]
) -> tuple[Array]:
    dx = namespace(x).zeros(x.shape, dtype=x.dtype)
    images, taps = _images(x), _taps(x, out, kernel, stride, padding)

    def block(i: int) -> None:
        part, seen, largest = dx[images[i]], x[images[i]], out[images[i]]
        left = g[images[i]].copy()  # the gradients of windows whose maximum is at a later tap
        for windows, pixels in taps:
            hit = (seen[pixels] == largest[windows]) | (seen[pixels] != seen[pixels])  # a NaN is the largest
            part[pixels] += where(hit, left[windows], 0.0)
            left[windows] = where(~hit, left[windows], 0.0)

    run(block, len(images))
    return (dx,)


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
        The border is never the largest element, not even beside pixels of minus infinity. Must be smaller than the
        kernel.

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


def _taps(x: Array, out: Array, kernel: Pair, stride: Pair, padding: Pair) -> list[tuple[Index, Index]]:
    """Return, for each tap of the kernel: which windows have a pixel of the image there, and which pixels these are."""
    sides = []
    for axis in (0, 1):
        size, count, step, places = x.shape[1 + axis], out.shape[1 + axis], stride[axis], []
        for start in range(-padding[axis], kernel[axis] - padding[axis]):  # the pixel at this tap of the first window
            first = max(0, -(start // step))  # rounded up
            ends = max(first, min(count, (size - 1 - start) // step + 1))
            pixels = slice(start + step * first, start + step * ends, step)
            places.append((slice(first, ends), pixels))
        sides.append(places)
    every = slice(None)
    return [((every, wy, wx), (every, py, px)) for (wy, py), (wx, px) in itertools.product(*sides)]


def _images(x: Array) -> tuple[slice, ...]:
    """Cut a batch into blocks of images that fit into the cache."""
    bytes_each = x.itemsize * x.size // (x.shape[0] or 1)
    return blocks.spans(len(x), blocks.BLOCK_BYTES // (bytes_each or 1)) if on_host(x) else (slice(None),)
