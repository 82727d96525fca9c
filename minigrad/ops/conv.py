r"""Convolution: im2col in blocks that stay in cache, and one im2col in backward.

A convolution multiplies every window of the image with the same weights:

.. math::
    out[n, y, x, o] = b[o] + \sum_{i, j, c} xpad[n, s y + d i, s x + d j, c]\, w[i, j, c, o]

Lay every window out as a row of a matrix, the *columns*, and this is one product of matrices,
(pixels, kh kw c) @ (kh kw c, o): what BLAS does best. Images are NHWC, so a window's row is made of runs of
kw * c numbers that stand together in memory, and the product is the result, in place. The
definition, :func:`conv2d`'s twin below, says just that.

The columns of a whole batch are kh kw times as large as the batch, and making them would take
longer than the product. So the fast path makes them for a block of pixels at a time, small
enough that they are still in cache when they are multiplied, and never keeps them.

Next: :mod:`minigrad.ops.pool`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad import parallel
from minigrad.device import Array, add_windows, namespace, on_host, windows
from minigrad.ops.matmul import matmul
from minigrad.ops.pixels import Pixels
from minigrad.ops.shape import concatenate, fold, getitem, pad, reshape, transpose, unfold
from minigrad.tape import expect_arrays, operator

Pair = tuple[int, int]


def conv2d(
    x: Any, w: Any, b: Any = None, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Any:
    """Convolve images (in the sense of deep learning: the kernel is not flipped).

    Parameters
    ----------
    x : Tensor or array of shape (n, h, w, c_in)
    w : Tensor or array of shape (kh, kw, c_in / groups, c_out)
    b : Tensor or array of shape (c_out,), optional
    stride, padding, dilation : int or (int, int)
        Along height and width. The border is padded with zeros.
    groups : int
        Channels are cut into so many groups, each of which sees only its own.

    Returns
    -------
    Tensor or array of shape (n, ho, wo, c_out)
        ``ho = (h + 2 padding - dilation (kh - 1) - 1) // stride + 1``, and ``wo`` likewise.

    Raises
    ------
    ValueError
        If shapes or settings do not fit.

    Examples
    --------
    >>> import minigrad as mg
    >>> x, w = np.ones((1, 3, 3, 1), "float32"), np.ones((2, 2, 1, 1), "float32")
    >>> mg.conv2d(mg.Tensor(x), mg.Tensor(w), stride=1, padding=0).data[0, :, :, 0]
    array([[4., 4.],
           [4., 4.]], dtype=float32)
    """
    expect_arrays("conv2d", x=x, w=w, **({} if b is None else {"b": b}))
    stride, padding = pair("conv2d", "stride", stride, 1), pair("conv2d", "padding", padding, 0)
    dilation = pair("conv2d", "dilation", dilation, 1)
    _check(x, w, b, stride, padding, dilation, groups)
    if groups == 1:
        return _conv2d(x, w, b, stride=stride, padding=padding, dilation=dilation)
    ci, co = w.shape[2], w.shape[3] // groups
    parts = [
        _conv2d(
            getitem(x, (..., slice(i * ci, (i + 1) * ci))),
            getitem(w, (..., slice(i * co, (i + 1) * co))),
            None if b is None else getitem(b, slice(i * co, (i + 1) * co)),
            stride=stride,
            padding=padding,
            dilation=dilation,
        )
        for i in range(groups)
    ]
    return concatenate(parts, axis=3)


@operator
def _conv2d(x: Array, w: Array, b: Array = None, /, *, stride: Pair, padding: Pair, dilation: Pair) -> Array:
    """The operator behind :func:`conv2d`: one group, settings in pairs."""
    return _forward(x, w, b, stride, padding, dilation)


@_conv2d.vjp
def _(g: Array, x: Array, w: Array, *, need: tuple[bool, ...], stride: Pair, padding: Pair, dilation: Pair) -> Any:
    dx, dw = _backward(g, x, w, need, stride, padding, dilation)
    return dx, dw, Pixels(g).sum(g) if need[2] else None


@_conv2d.twin
def conv2d_definition(x: Any, w: Any, b: Any, stride: Pair, padding: Pair, dilation: Pair) -> Any:
    """Convolve by the definition: pad, lay the windows out, multiply."""
    kh, kw, c, o = w.shape
    ph, pw = padding
    cols = unfold(pad(x, [(0, 0), (ph, ph), (pw, pw), (0, 0)]), (kh, kw), stride, dilation)  # (n, ho, wo, kh, kw, c)
    n, ho, wo = cols.shape[:3]
    out = matmul(reshape(cols, (n * ho * wo, kh * kw * c)), reshape(w, (kh * kw * c, o)))
    out = reshape(out, (n, ho, wo, o))
    return out if b is None else out + b


def conv_transpose2d(x: Any, w: Any, b: Any = None, *, stride: Any = 1, padding: Any = 0) -> Any:
    """Spread each pixel over a window: the adjoint of conv2d, and its gradient in x.

    ``conv_transpose2d(y, w)`` is the gradient of ``conv2d(x, w')`` in x for the cotangent y, where w' is w with its
    last two axes swapped. The kernel is not flipped.

    Parameters
    ----------
    x : Tensor or array of shape (n, h, w, c_in)
    w : Tensor or array of shape (kh, kw, c_in, c_out)
    b : Tensor or array of shape (c_out,), optional
    stride : int or (int, int)
        How far apart the windows of neighbouring pixels stand.
    padding : int or (int, int)
        How much is cut off the border of the result.

    Returns
    -------
    Tensor or array of shape (n, ho, wo, c_out)
        ``ho = stride (h - 1) + kh - 2 padding``, and ``wo`` likewise.

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
    expect_arrays(name, x=x, w=w, **({} if b is None else {"b": b}))
    (sh, sw), (ph, pw) = stride, padding = pair(name, "stride", stride, 1), pair(name, "padding", padding, 0)
    if x.ndim != 4 or w.ndim != 4 or x.shape[3] != w.shape[2]:
        raise ValueError(
            f"{name}: expected x (n, h, w, c_in) and w (kh, kw, c_in, c_out), got x {tuple(x.shape)} and "
            f"w {tuple(w.shape)}"
        )
    (n, h, wd, c), (kh, kw, _, o) = x.shape, w.shape
    if b is not None and tuple(b.shape) != (o,):
        raise ValueError(f"{name}: expected b of shape ({o},), one for each output channel, got {tuple(b.shape)}")
    shape = (n, sh * (h - 1) + kh, sw * (wd - 1) + kw, o)
    if shape[1] <= 2 * ph or shape[2] <= 2 * pw:
        raise ValueError(f"{name}: padding {padding} cuts everything off a result of {shape[1]} x {shape[2]} pixels")
    matrix = reshape(transpose(w, (2, 0, 1, 3)), (c, kh * kw * o))
    cols = reshape(matmul(reshape(x, (n * h * wd, c)), matrix), (n, h, wd, kh, kw, o))
    out = getitem(fold(cols, shape, stride, (1, 1)), (slice(None), slice(ph, shape[1] - ph), slice(pw, shape[2] - pw)))
    return out if b is None else out + b


# The fast path -------------------------------------------------------------------------------


def _forward(x: Array, w: Array, b: Array, stride: Pair, padding: Pair, dilation: Pair) -> Array:
    """Convolve block by block: windows -> columns that stay in cache -> product -> bias."""
    xp = namespace(x)
    kh, kw, c, o = w.shape
    if (kh, kw) == (1, 1) and padding == (0, 0):
        x = _subsampled(x, stride)  # a 1x1 convolution is a product of matrices as it stands
        n, ho, wo, _ = x.shape
        out = parallel.matmul(x.reshape(-1, c), w.reshape(c, o)).reshape(n, ho, wo, o)
        if b is not None:
            out += b
        return out
    view = windows(_padded(x, padding), (kh, kw), stride, dilation)  # (n, ho, wo, kh, kw, c)
    n, ho, wo = view.shape[:3]
    group = _group(x, (kh, kw, c), wo, stride, dilation)
    if group > 1:
        view = windows(_padded(x, padding), (kh, kw + group - 1), (stride[0], group), dilation)
    out = xp.empty((n, ho, wo // group, group * o), dtype=x.dtype)
    matrix = _grouped(w, group).reshape(-1, group * o)
    bias = None if b is None else xp.tile(b, group)
    blocks = _blocks(x, n, ho, wo // group, len(matrix))
    product = xp.matmul if len(blocks) > 1 else parallel.matmul  # one block: the threads share its product

    def convolve(i: int) -> None:
        images, rows = blocks[i]
        part = out[images, rows]
        cols = _columns(view[images, rows])
        product(cols, matrix, out=part.reshape(-1, group * o))
        if bias is not None:
            part += bias

    parallel.run(convolve, len(blocks))
    return out.reshape(n, ho, wo, o)


def _backward(
    g: Array, x: Array, w: Array, need: tuple[bool, ...], stride: Pair, padding: Pair, dilation: Pair
) -> tuple[Array, Array]:
    """Return the gradients of x and w, each None if it is not needed."""
    (kh, kw), (ph, pw) = w.shape[:2], padding
    g = namespace(g).ascontiguousarray(g)
    if (kh, kw) == (1, 1) and padding == (0, 0):
        return _backward_1x1(g, x, w, need, stride)
    reach = (dilation[0] * (kh - 1), dilation[1] * (kw - 1))
    if stride == (1, 1) and need[0] and ph <= reach[0] and pw <= reach[1]:
        return _backward_stride_1(g, x, w, need, (reach[0] - ph, reach[1] - pw), dilation)
    return _backward_any_stride(g, x, w, need, stride, padding, dilation)


def _backward_stride_1(
    g: Array, x: Array, w: Array, need: tuple[bool, ...], border: Pair, dilation: Pair
) -> tuple[Array, Array]:
    """Both gradients from one im2col, of the cotangent.

    A pixel of x meets tap (i, j) of the kernel in the output pixel that lies (i, j) before it. So the window
    of g around a pixel of x, read backwards, holds all the outputs in which this pixel took part:
    columns(g) times the flipped weights is dx, and x' times columns(g) is dw with its taps reversed.
    """
    xp = namespace(g)
    (kh, kw, c, o), (n, h, wd, _) = w.shape, x.shape
    group = _group(g, (kh, kw, o), wd, (1, 1), dilation)
    flipped = _grouped(w[::-1, ::-1].transpose(0, 1, 3, 2), group)  # (kh, kw + group - 1, o, group c)
    view = windows(_padded(g, border), flipped.shape[:2], (1, group), dilation)  # (n, h, w / group, ..., o)
    matrix = flipped.reshape(-1, group * c)
    pixels = xp.ascontiguousarray(x).reshape(n, h, wd // group, group * c)
    dx = xp.empty(pixels.shape, dtype=x.dtype)
    blocks = _blocks(x, n, h, wd // group, len(matrix))
    sums = parallel.Lanes(blocks)

    def lane(i: int) -> None:
        for images, rows in sums.share(i):
            cols = _columns(view[images, rows])
            xp.matmul(cols, matrix, out=dx[images, rows].reshape(-1, group * c))
            if need[1]:
                sums.add(i, cols.T, pixels[images, rows].reshape(-1, group * c))

    parallel.run(lane, sums.count)
    if not need[1]:
        return dx.reshape(x.shape), None
    total = sums.total().reshape(kh, kw + group - 1, o, group, c)
    dw = total[:, :kw, :, 0]
    for i in range(1, group):
        dw = dw + total[:, i : i + kw, :, i]  # (kh, kw, o, c), its taps reversed
    return dx.reshape(x.shape), xp.ascontiguousarray(dw[::-1, ::-1].transpose(0, 1, 3, 2))


def _backward_any_stride(
    g: Array, x: Array, w: Array, need: tuple[bool, ...], stride: Pair, padding: Pair, dilation: Pair
) -> tuple[Array, Array]:
    """Gradients by the definition, block by block: dw = columns(x)' g, and dx adds up the windows of g w'."""
    xp = namespace(g)
    (kh, kw, c, o), (n, h, wd, _), (ph, pw) = w.shape, x.shape, padding
    ho, wo = g.shape[1:3]
    matrix = xp.ascontiguousarray(w).reshape(kh * kw * c, o).T
    view: Array = (
        windows(_padded(x, padding), (kh, kw), stride, dilation) if need[1] else None
    )  # (n, ho, wo, kh, kw, c)
    dx: Array = xp.zeros((n, h + 2 * ph, wd + 2 * pw, c), dtype=x.dtype) if need[0] else None
    blocks = _blocks(x, n, ho, wo, kh * kw * c, whole_images=need[0])
    sums = parallel.Lanes(blocks)

    def lane(i: int) -> None:
        for images, rows in sums.share(i):
            part = g[images, rows].reshape(-1, o)
            if need[1]:
                sums.add(i, _columns(view[images, rows]).T, part)
            if need[0]:
                target = dx[images]
                dcols = xp.matmul(part, matrix).reshape(len(target), ho, wo, kh, kw, c)
                add_windows(target, dcols, stride, dilation)

    parallel.run(lane, sums.count)
    if need[0]:
        dx = dx[:, ph : ph + h, pw : pw + wd]
    return dx, sums.total().reshape(w.shape) if need[1] else None


def _backward_1x1(g: Array, x: Array, w: Array, need: tuple[bool, ...], stride: Pair) -> tuple[Array, Array]:
    """Gradients of a product of matrices; pixels that the stride skips get zeros."""
    xp = namespace(g)
    c, o = w.shape[2:]
    dx = dw = None
    if need[0]:
        dx = parallel.matmul(g.reshape(-1, o), w.reshape(c, o).T).reshape(*g.shape[:3], c)
        if stride != (1, 1):
            seen, dx = dx, xp.zeros(x.shape, dtype=x.dtype)
            dx[:, :: stride[0], :: stride[1]] = seen
    if need[1]:
        pixels = _subsampled(x, stride).reshape(-1, c)
        flat = g.reshape(-1, o)
        blocks = (
            parallel.spans(len(flat), parallel.BLOCK_BYTES // ((c + o) * g.itemsize)) if on_host(g) else (slice(None),)
        )
        sums = parallel.Lanes(blocks)

        def lane(i: int) -> None:
            for rows in sums.share(i):
                sums.add(i, pixels[rows].T, flat[rows])

        parallel.run(lane, sums.count)
        dw = sums.total().reshape(w.shape)
    return dx, dw


# Blocks, columns, checks ---------------------------------------------------------------------


def _blocks(x: Array, n: int, ho: int, wo: int, k: int, whole_images: bool = False) -> list[tuple[slice, slice]]:
    """Cut the output pixels into (images, rows) so that the columns of each block stay in cache.

    A block is a run of whole images, or, where one image is too large, a run of rows of one.
    """
    if not on_host(x) or n == 0:
        return [(slice(None), slice(None))]
    row_bytes = wo * k * x.itemsize
    if whole_images or ho * row_bytes <= parallel.BLOCK_BYTES:
        runs = parallel.spans(n, parallel.BLOCK_BYTES // (ho * row_bytes))
        return [(images, slice(None)) for images in runs]
    runs = parallel.spans(ho, parallel.BLOCK_BYTES // row_bytes)
    return [(slice(image, image + 1), rows) for image in range(n) for rows in runs]


def _group(x: Array, window: tuple[int, int, int], wo: int, stride: Pair, dilation: Pair) -> int:
    """Say how many neighbouring output pixels to make at once: two where a window's rows (kw c) are short.

    To copy a short run takes as long as to begin it. The windows of two neighbours overlap in all but one column: laid
    out as one window (kh, kw + 1, c), there are half as many runs to copy, and two thirds as many numbers for
    kw = 3. The product pays for it with a third more multiply-adds, by zeros: see :func:`_grouped`.
    """
    _, kw, c = window
    short = kw > 1 and kw * c < 64
    return 2 if short and on_host(x) and wo % 2 == 0 and stride[1] == dilation[1] == 1 else 1


def _grouped(w: Array, group: int) -> Array:
    """Return the weights that make `group` neighbouring pixels at once, (kh, kw + group - 1, c, group o).

    They are w once for each, a column further each time, and zeros beside it.
    """
    kh, kw, c, o = w.shape
    if group == 1:
        return namespace(w).ascontiguousarray(w)
    wide = namespace(w).zeros((kh, kw + group - 1, c, group, o), dtype=w.dtype)
    for i in range(group):
        wide[:, i : i + kw, :, i] = w
    return wide.reshape(kh, kw + group - 1, c, group * o)


def _columns(view: Array) -> Array:
    """Copy windows (m, ho, wo, kh, kw, c) into a matrix (m ho wo, kh kw c), which lives until the next call."""
    m, ho, wo, kh, kw, c = view.shape
    if not on_host(view):
        return view.reshape(m * ho * wo, kh * kw * c)
    cols = parallel.scratch("columns", view.shape, view)
    np.copyto(cols, view)
    return cols.reshape(m * ho * wo, kh * kw * c)


def _padded(x: Array, padding: Pair) -> Array:
    """Put a border of zeros around images; the result lives until the next call with the same shape."""
    ph, pw = padding
    if padding == (0, 0):
        return x
    if on_host(x):
        return parallel.zero_bordered(x, ph, ph, pw, pw)
    return pad(x, [(0, 0), (ph, ph), (pw, pw), (0, 0)])


def _subsampled(x: Array, stride: Pair) -> Array:
    """Take the pixels that a 1x1 kernel with this stride meets."""
    return namespace(x).ascontiguousarray(x[:, :: stride[0], :: stride[1]])


def pair(name: str, setting: str, value: Any, least: int) -> Pair:
    """Take an int, or a pair of ints, along height and width."""
    values: Any = tuple(value) if hasattr(value, "__len__") else (value, value)
    if len(values) != 2 or any(isinstance(v, bool) or not hasattr(v, "__index__") or v < least for v in values):
        raise ValueError(
            f"{name}: expected {setting} to be an int of at least {least}, or a pair of them, got {value!r}"
        )
    return int(values[0]), int(values[1])


def check_window(name: str, shape: tuple[int, ...], kernel: Pair, padding: Pair, dilation: Pair) -> None:
    """Refuse a kernel that is larger than the padded image (n, h, w, c)."""
    for axis, side in ((0, "height"), (1, "width")):
        span, size = dilation[axis] * (kernel[axis] - 1) + 1, shape[1 + axis] + 2 * padding[axis]
        if kernel[axis] < 1 or size < span:
            raise ValueError(
                f"{name}: the kernel spans {span} pixels of {side}, but the padded image has {size} (x {shape}, kernel "
                f"{kernel}, padding {padding}, dilation {dilation}); use a smaller kernel or more padding"
            )


def _check(x: Any, w: Any, b: Any, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> None:
    """Refuse what does not fit."""
    if x.ndim != 4 or w.ndim != 4:
        raise ValueError(
            f"conv2d: expected x (n, h, w, c_in) and w (kh, kw, c_in / groups, c_out), got x {tuple(x.shape)} and "
            f"w {tuple(w.shape)}"
        )
    (kh, kw, c, o), channels = w.shape, x.shape[3]
    if x.dtype != w.dtype or x.dtype.kind not in "fc":
        raise TypeError(
            f"conv2d: expected one dtype, and floating-point numbers, got x of {x.dtype} and w of {w.dtype}"
        )
    if c < 1 or o < 1:
        raise ValueError(f"conv2d: expected at least one channel in and out, got w {tuple(w.shape)}")
    if not hasattr(groups, "__index__") or groups < 1 or channels % groups or o % groups:
        raise ValueError(f"conv2d: groups={groups} must divide c_in = {channels} and c_out = {o}")
    if channels != c * groups:
        raise ValueError(
            f"conv2d: x has {channels} channels (shape {tuple(x.shape)}) but w expects {c * groups} (shape "
            f"{tuple(w.shape)}); w is (kh, kw, c_in / groups, c_out)"
        )
    if b is not None and tuple(b.shape) != (o,):
        raise ValueError(f"conv2d: expected b of shape ({o},), one for each output channel, got {tuple(b.shape)}")
    check_window("conv2d", tuple(x.shape), (kh, kw), padding, dilation)
