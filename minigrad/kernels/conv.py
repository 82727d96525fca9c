"""Convolution block by block: columns that stay in cache, times the weights, plus bias; one im2col for both gradients.

Definition: the twin of :func:`minigrad.conv2d`, in :mod:`minigrad.ops.conv`, and its gradients.

Next: :mod:`minigrad.kernels.pixels`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Literal, TypeAlias

import numpy as np

from minigrad.arguments import expect
from minigrad.device import add_windows, namespace, on_host
from minigrad.kernels import blocks, products, winograd
from minigrad.kernels.columns import Columns
from minigrad.kernels.threads import run
from minigrad.typing import Array, Pair

Need: TypeAlias = tuple[bool, ...]  # whether the gradients of x, w and b are needed
Gradients: TypeAlias = tuple[Array | None, Array | None]  # of x and w

in_force: ContextVar[str] = ContextVar("algorithm", default="auto")


@contextlib.contextmanager
def conv_algorithm(name: Literal["auto", "im2col", "winograd"]) -> Iterator[None]:
    """Choose how convolutions are computed inside ``with conv_algorithm(...):``, and later their gradients.

    Parameters
    ----------
    name : str
        "im2col" multiplies windows with weights, as the definition does. "winograd" has a quarter of the
        multiplications for kernels of 3x3 with stride and dilation 1 and a padding of at most 2, in float32 or float64
        on the host; everything else is computed by im2col. "auto", the default, takes the faster one: by the shapes,
        never by the number of threads or a measurement.

    Raises
    ------
    ValueError
        If the name is another one.

    Examples
    --------
    >>> import numpy as np
    >>> import minigrad as mg
    >>> x, w = np.random.default_rng(0).random((1, 8, 8, 3)), np.ones((3, 3, 3, 2))
    >>> with mg.conv_algorithm("winograd"):
    ...     fast = mg.conv2d(x, w)
    >>> with mg.conv_algorithm("im2col"):
    ...     slow = mg.conv2d(x, w)
    >>> bool(0 < np.abs(slow - fast).max() < 1e-12)
    True
    """
    expect(name in ("auto", "im2col", "winograd"), "conv_algorithm", "'auto', 'im2col' or 'winograd'", repr(name))
    before = in_force.get()
    in_force.set(name)
    try:
        yield
    finally:
        in_force.set(before)


def forward(x: Array, w: Array, b: Array | None, stride: Pair, padding: Pair, dilation: Pair, algorithm: str) -> Array:
    """Return the convolution of x (n, h, w, c) with w (kh, kw, c, o), plus b (o,)."""
    kh, kw, c, o = w.shape
    if (kh, kw) == (1, 1) and padding == (0, 0):
        x = _subsampled(x, stride)  # a 1x1 convolution is a matrix product as it stands
        out = products.matmul(x.reshape(-1, c), w.reshape(c, o)).reshape(*x.shape[:3], o)
        if b is not None:
            out += b
        return out
    if _by_winograd(x, w, stride, padding, dilation, algorithm):
        with np.errstate(over="ignore", invalid="ignore"):  # im2col reports what the definition does
            out, finite = winograd.forward(x, w, b, padding)
        if finite:
            return out
    xp, at_once = namespace(x), _pixels_at_once(x, kw, c, stride, dilation)
    columns = Columns(x, (kh, kw + at_once - 1), (stride[0], stride[1] * at_once), padding, dilation)
    n, ho, wo = columns.shape
    out = xp.empty((n, ho, wo, at_once * o), dtype=x.dtype)
    matrix = _weights_at_once(w, at_once).reshape(-1, at_once * o)
    bias = None if b is None else xp.tile(b, at_once)
    harmless = at_once == 1 or (4 * x.size < out.size and products.is_finite(x))  # x may be the smaller array
    multiply = products.multiply if len(columns.blocks) > 1 else products.matmul  # threads share a single block

    def block(i: int) -> None:
        part = out[columns.blocks[i]]
        cols, rows = columns.block(i), part.reshape(-1, at_once * o)
        with np.errstate(invalid="ignore" if at_once > 1 else None):
            multiply(cols, matrix, rows)
        if not (harmless or products.is_finite(rows[:, 0])):  # a NaN in the window makes the whole row NaN
            seen = cols.reshape(-1, kh, kw + at_once - 1, c)
            each = [seen[:, :, j : j + kw].reshape(-1, kh * kw * c) for j in range(at_once)]
            multiply(_finite(cols), _finite(matrix), rows)
            _take_over(rows, xp.concatenate([xp.matmul(one, w.reshape(-1, o)) for one in each], axis=1))
        if bias is not None:
            part += bias

    run(block, len(columns.blocks))
    return out.reshape(n, ho, wo * at_once, o)


def backward(
    g: Array, x: Array, w: Array, need: Need, stride: Pair, padding: Pair, dilation: Pair, algorithm: str
) -> Gradients:
    """Return the gradients of x and w for the cotangent g (n, ho, wo, o); None for one that is not needed."""
    (kh, kw), (ph, pw) = w.shape[:2], padding
    g = namespace(g).ascontiguousarray(g)
    if (kh, kw) == (1, 1) and padding == (0, 0):
        return _backward_1x1(g, x, w, need, stride)
    if need[0] and _by_winograd(x, w, stride, padding, dilation, algorithm):
        with np.errstate(over="ignore", invalid="ignore"):
            dx, dw, finite = winograd.backward(g, x, w, need, padding)
        if finite:
            return dx, dw
    border = dilation[0] * (kh - 1) - ph, dilation[1] * (kw - 1) - pw
    sees_pixels = dilation[0] <= x.shape[1] and dilation[1] <= x.shape[2]  # every window does, not only its border
    if stride == (1, 1) and need[0] and min(border) >= 0 and sees_pixels:
        with np.errstate(invalid="ignore"):  # what is invalid by the definition, the definition reports
            dx, dw, finite = _backward_stride_1(g, x, w, need, border, dilation)
        if not finite:
            exact = _backward_any_stride(g, x, w, need, stride, padding, dilation)
            dx, dw, _ = _backward_stride_1(_finite(g), _finite(x), _finite(w), need, border, dilation)
            _take_over(dx, exact[0])
            _take_over(dw, exact[1])
        return dx, dw
    return _backward_any_stride(g, x, w, need, stride, padding, dilation)


def _backward_stride_1(
    g: Array, x: Array, w: Array, need: Need, border: Pair, dilation: Pair
) -> tuple[Array, Array | None, bool]:
    """Compute both gradients from the columns of the cotangent, and say whether they are finite.

    Tap (i, j) of the kernel multiplies a pixel of x into the output pixel that lies (i, j) before it. So the window of
    g around a pixel of x, read backwards, holds all outputs that depend on this pixel. Hence dx is columns(g) times the
    flipped weights, and dw is columns(g)' x with its taps reversed.
    """
    xp = namespace(g)
    (kh, kw, c, o), (n, h, wd, _) = w.shape, x.shape
    at_once = _pixels_at_once(g, kw, o, (1, 1), dilation)
    columns = Columns(g, (kh, kw + at_once - 1), (1, at_once), border, dilation)
    matrix = _weights_at_once(w[::-1, ::-1].transpose(0, 1, 3, 2), at_once).reshape(-1, at_once * c)
    pixels = xp.ascontiguousarray(x).reshape(n, h, wd // at_once, at_once * c)
    dx = xp.empty(pixels.shape, dtype=x.dtype)
    finite = [True] * len(columns.blocks)

    def block(i: int) -> tuple[Array, Array]:
        cols, part = columns.block(i), columns.blocks[i]
        rows = products.multiply(cols, matrix, dx[part].reshape(-1, at_once * c))
        finite[i] = products.is_finite(rows[:, 0])
        return cols, pixels[part].reshape(-1, at_once * c)

    if not need[1]:
        run(block, len(columns.blocks))
        return dx.reshape(x.shape), None, all(finite) and products.is_finite(w)
    total = products.sum_products(block, len(columns.blocks)).reshape(kh, kw + at_once - 1, o, at_once, c)
    dw = total[:, :kw, :, 0]
    for i in range(1, at_once):
        dw = dw + total[:, i : i + kw, :, i]  # (kh, kw, o, c), its taps reversed
    dw = xp.ascontiguousarray(dw[::-1, ::-1].transpose(0, 1, 3, 2))
    return dx.reshape(x.shape), dw, all(finite) and products.is_finite(w) and products.is_finite(dw)


def _backward_any_stride(
    g: Array, x: Array, w: Array, need: Need, stride: Pair, padding: Pair, dilation: Pair
) -> Gradients:
    """Compute the gradients by their definition: dw = columns(x)' g, and dx adds up the windows of g w' (col2im)."""
    xp = namespace(g)
    (kh, kw, c, o), (n, h, wd, _), (ph, pw) = w.shape, x.shape, padding
    matrix = xp.ascontiguousarray(w).reshape(kh * kw * c, o).T
    columns = Columns(x, (kh, kw), stride, padding, dilation, whole_images=need[0])
    dx: Array | None = xp.zeros((n, h + 2 * ph, wd + 2 * pw, c), dtype=x.dtype) if need[0] else None

    def col2im(i: int) -> None:
        if dx is not None:
            images, part = columns.blocks[i][0], g[columns.blocks[i]]
            dcols = xp.matmul(part.reshape(-1, o), matrix).reshape(*part.shape[:3], kh, kw, c)
            add_windows(dx[images], dcols, stride, dilation)

    def block(i: int) -> tuple[Array, Array]:
        col2im(i)
        return columns.block(i), g[columns.blocks[i]].reshape(-1, o)

    dw = None
    if need[1]:
        dw = products.sum_products(block, len(columns.blocks)).reshape(w.shape)
    else:
        run(col2im, len(columns.blocks))
    return None if dx is None else dx[:, ph : ph + h, pw : pw + wd], dw


def _backward_1x1(g: Array, x: Array, w: Array, need: Need, stride: Pair) -> Gradients:
    """Compute the gradients of a matrix product; pixels that the stride skips get zeros."""
    c, o = w.shape[2:]
    rows, dx, dw = g.reshape(-1, o), None, None
    if need[0]:
        dx = products.matmul(rows, w.reshape(c, o).T).reshape(*g.shape[:3], c)
        if stride != (1, 1):
            seen, dx = dx, namespace(g).zeros(x.shape, dtype=x.dtype)
            dx[:, :: stride[0], :: stride[1]] = seen
    if need[1]:
        pixels = _subsampled(x, stride).reshape(-1, c)
        runs = blocks.row_blocks(g, len(rows), (c + o) * g.itemsize)
        dw = products.sum_products(lambda i: (pixels[runs[i]], rows[runs[i]]), len(runs)).reshape(w.shape)
    return dx, dw


#: From so many channels, in and out, and so many tiles on, Winograd's algorithm is faster. With 16 channels, the
#: transforms of the tiles take longer than what they save; with 16 tiles, the transform of the weights does.
MIN_CHANNELS, MIN_TILES = 32, 32


def _by_winograd(x: Array, w: Array, stride: Pair, padding: Pair, dilation: Pair, algorithm: str) -> bool:
    """Return whether Winograd's algorithm is to compute a convolution and its gradients."""
    kh, kw, c, o = w.shape
    if (kh, kw) != (3, 3) or not (stride == dilation == (1, 1)) or max(padding) > 2 or algorithm == "im2col":
        return False
    n, ho, wo = len(x), x.shape[1] + 2 * padding[0] - 2, x.shape[2] + 2 * padding[1] - 2
    tiles = n * -(-ho // winograd.OUT) * -(-wo // winograd.OUT)
    filled = 3 * n * ho * wo >= 2 * tiles * winograd.OUT**2  # two thirds of their outputs are wanted
    pays = min(c, o) >= MIN_CHANNELS and tiles >= MIN_TILES and filled
    return (pays or (algorithm == "winograd" and x.size > 0)) and on_host(x) and x.dtype.char in "fd"


def _pixels_at_once(x: Array, kw: int, c: int, stride: Pair, dilation: Pair) -> int:
    """Return how many neighbouring output pixels to compute at once: two where a window's rows (kw c) are short.

    For short runs, the overhead dominates the copy. The windows of two neighbours overlap in all but one column: as one
    window (kh, kw + 1, c) they have half as many runs to copy and, for kw = 3, two thirds as many numbers. The matrix
    product then has a third more multiply-adds, all with zeros: see :func:`_weights_at_once`.
    """
    short, even = kw > 1 and kw * c < 64, (x.shape[2] - kw) % 2 == 1  # padding adds the same on the left and the right
    return 2 if short and even and on_host(x) and stride[1] == dilation[1] == 1 else 1


def _weights_at_once(w: Array, at_once: int) -> Array:
    """Return the weights for `at_once` neighbouring output pixels, (kh, kw + at_once - 1, c, at_once o).

    Those of pixel i are w, shifted by i columns; the other weights are zeros.
    """
    kh, kw, c, o = w.shape
    if at_once == 1:
        return namespace(w).ascontiguousarray(w)
    weights = namespace(w).zeros((kh, kw + at_once - 1, c, at_once, o), dtype=w.dtype)
    for i in range(at_once):
        weights[:, i : i + kw, :, i] = w
    return weights.reshape(kh, kw + at_once - 1, c, at_once * o)


def _finite(x: Array) -> Array:
    """Return x with zeros in place of NaN and infinities.

    The fast paths multiply by zeros that the definition does not have: weights of the other pixel of a pair, and a
    border around the cotangent. NaN or infinity times such a zero is NaN, and falls on a result that does not depend on
    it. But each NaN or infinity also reaches a result that does depend on it. So if all results are finite, they are
    right. Otherwise they are computed twice more: by the fast path with zeros in place of NaN and infinity, and by the
    definition, from which all results that are not finite are taken. Results that do not depend on a NaN or infinity
    are thus equal to the bit to what they are without it.
    """
    return np.where(np.isfinite(x), x, 0)


def _take_over(out: Array | None, exact: Array | None) -> None:
    """Put the numbers of `exact` that are not finite into `out`."""
    if out is not None and exact is not None:
        np.copyto(out, exact, where=~np.isfinite(exact))


def _subsampled(x: Array, stride: Pair) -> Array:
    """Return the pixels that a 1x1 kernel with this stride reads."""
    return namespace(x).ascontiguousarray(x[:, :: stride[0], :: stride[1]])
