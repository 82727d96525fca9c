"""Convolution, block by block: columns that stay in cache -> matrix product -> bias; both gradients from one im2col.

Definition: the twin of :func:`minigrad.conv2d` in :mod:`minigrad.ops.conv`.

Next: :mod:`minigrad.kernels.pixels`.
"""

from __future__ import annotations

from minigrad.device import add_windows, namespace, on_host
from minigrad.kernels import blocks, products
from minigrad.kernels.columns import Columns
from minigrad.kernels.threads import run
from minigrad.typing import Array, Pair


def forward(x: Array, w: Array, b: Array, stride: Pair, padding: Pair, dilation: Pair) -> Array:
    """Convolve block by block: columns that stay in cache -> product -> bias."""
    xp = namespace(x)
    kh, kw, c, o = w.shape
    if (kh, kw) == (1, 1) and padding == (0, 0):
        x = _subsampled(x, stride)  # a 1x1 convolution is a product of matrices as it stands
        n, ho, wo, _ = x.shape
        out = products.matmul(x.reshape(-1, c), w.reshape(c, o)).reshape(n, ho, wo, o)
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
    product = products.matmul if alone else products.multiply  # of a single block the threads share the product

    def convolve(i: int) -> None:
        part = out[columns.blocks[i]]
        product(columns.block(i), matrix, part.reshape(-1, group * o))
        if bias is not None:
            part += bias

    run(convolve, len(columns.blocks))
    return out.reshape(n, ho, wo * group, o)


def backward(
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
    sums = products.Lanes(range(len(columns.blocks)))

    def walk(lane: int) -> None:
        for i in sums.share(lane):
            cols, block = columns.block(i), columns.blocks[i]
            products.multiply(cols, matrix, dx[block].reshape(-1, group * c))
            if need[1]:
                sums.add(lane, cols, pixels[block].reshape(-1, group * c))

    run(walk, sums.count)
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
    sums = products.Lanes(range(len(columns.blocks)))

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

    run(walk, sums.count)
    if need[0]:
        dx = dx[:, ph : ph + h, pw : pw + wd]
    return dx, sums.total().reshape(w.shape) if need[1] else None


def _backward_1x1(g: Array, x: Array, w: Array, need: tuple[bool, ...], stride: Pair) -> tuple[Array, Array]:
    """Gradients of a product of matrices; pixels that the stride skips get zeros."""
    xp = namespace(g)
    c, o = w.shape[2:]
    dx = dw = None
    if need[0]:
        dx = products.matmul(g.reshape(-1, o), w.reshape(c, o).T).reshape(*g.shape[:3], c)
        if stride != (1, 1):
            seen, dx = dx, xp.zeros(x.shape, dtype=x.dtype)
            dx[:, :: stride[0], :: stride[1]] = seen
    if need[1]:
        pixels = _subsampled(x, stride).reshape(-1, c)
        flat = g.reshape(-1, o)
        whole = not on_host(g)
        runs = (slice(None),) if whole else blocks.spans(len(flat), blocks.BLOCK_BYTES // ((c + o) * g.itemsize))
        sums = products.Lanes(runs)

        def lane(i: int) -> None:
            for rows in sums.share(i):
                sums.add(i, pixels[rows], flat[rows])

        run(lane, sums.count)
        dw = sums.total().reshape(w.shape)
    return dx, dw


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
