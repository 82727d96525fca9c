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

from minigrad import parallel
from minigrad.device import Array, add_windows, namespace, on_host
from minigrad.ops.columns import Columns, Pair, check_window, pair
from minigrad.ops.matmul import matmul
from minigrad.ops.pixels import Pixels
from minigrad.ops.shape import concatenate, fold, getitem, pad, reshape, transpose, unfold
from minigrad.tape import expect_arrays, operator


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
    """Convolve block by block: columns that stay in cache -> product -> bias."""
    xp = namespace(x)
    kh, kw, c, o = w.shape
    if (kh, kw) == (1, 1) and padding == (0, 0):
        x = _subsampled(x, stride)  # a 1x1 convolution is a product of matrices as it stands
        n, ho, wo, _ = x.shape
        out = parallel.matmul(x.reshape(-1, c), w.reshape(c, o)).reshape(n, ho, wo, o)
        if b is not None:
            out += b
        return out
    group = _group(x, w.shape[:3], stride, dilation)
    columns = Columns(x, (kh, kw + group - 1), (stride[0], stride[1] * group), padding, dilation)
    n, ho, wo = columns.shape
    out = xp.empty((n, ho, wo, group * o), dtype=x.dtype)
    matrix = _grouped(w, group).reshape(-1, group * o)
    bias = None if b is None else xp.tile(b, group)
    alone = len(columns.blocks) == 1
    product = parallel.matmul if alone else parallel.multiply  # of a single block the threads share the product

    def convolve(i: int) -> None:
        part = out[columns.blocks[i]]
        product(columns.block(i), matrix, part.reshape(-1, group * o))
        if bias is not None:
            part += bias

    parallel.run(convolve, len(columns.blocks))
    return out.reshape(n, ho, wo * group, o)


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
    group = _group(g, (kh, kw, o), (1, 1), dilation)
    flipped = _grouped(w[::-1, ::-1].transpose(0, 1, 3, 2), group)  # (kh, kw + group - 1, o, group c)
    columns = Columns(g, flipped.shape[:2], (1, group), border, dilation)
    matrix = flipped.reshape(-1, group * c)
    pixels = xp.ascontiguousarray(x).reshape(n, h, wd // group, group * c)
    dx = xp.empty(pixels.shape, dtype=x.dtype)
    sums = parallel.Lanes(range(len(columns.blocks)))

    def walk(lane: int) -> None:
        for i in sums.share(lane):
            cols, block = columns.block(i), columns.blocks[i]
            parallel.multiply(cols, matrix, dx[block].reshape(-1, group * c))
            if need[1]:
                sums.add(lane, cols, pixels[block].reshape(-1, group * c))

    parallel.run(walk, sums.count)
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
    dx: Array = xp.zeros((n, h + 2 * ph, wd + 2 * pw, c), dtype=x.dtype) if need[0] else None
    columns = Columns(x, (kh, kw), stride, padding, dilation, whole_images=need[0])
    sums = parallel.Lanes(range(len(columns.blocks)))

    def walk(lane: int) -> None:
        for i in sums.share(lane):
            block = columns.blocks[i]
            part = g[block].reshape(-1, o)
            if need[1]:
                sums.add(lane, columns.block(i), part)
            if need[0]:
                target = dx[block[0]]
                dcols = xp.matmul(part, matrix).reshape(len(target), ho, wo, kh, kw, c)
                add_windows(target, dcols, stride, dilation)

    parallel.run(walk, sums.count)
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
                sums.add(i, pixels[rows], flat[rows])

        parallel.run(lane, sums.count)
        dw = sums.total().reshape(w.shape)
    return dx, dw


# Neighbours, strides, checks ------------------------------------------------------------------


def _group(x: Array, window: tuple[int, int, int], stride: Pair, dilation: Pair) -> int:
    """Say how many neighbouring output pixels to make at once: two where a window's rows (kw c) are short.

    To copy a short run takes as long as to begin it. The windows of two neighbours overlap in all but one column: laid
    out as one window (kh, kw + 1, c), there are half as many runs to copy, and two thirds as many numbers for
    kw = 3. The product pays for it with a third more multiply-adds, by zeros: see :func:`_grouped`.
    """
    _, kw, c = window
    short, even = kw > 1 and kw * c < 64, (x.shape[2] - kw) % 2 == 1  # the border adds as much left and right
    return 2 if short and even and on_host(x) and stride[1] == dilation[1] == 1 else 1


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


def _subsampled(x: Array, stride: Pair) -> Array:
    """Take the pixels that a 1x1 kernel with this stride meets."""
    return namespace(x).ascontiguousarray(x[:, :: stride[0], :: stride[1]])


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
