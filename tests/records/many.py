"""Calls of the operators that cut their work into blocks: small ones for small blocks, and large ones; their gradients.

The gradients are formulas in NumPy alone, computed as a whole. The large calls are compared with them element by
element, and so are the small ones, whose gradients are also compared with finite differences.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.records.draw import by_winograd, distinct, randn, tied
from tests.records.record import Many, sample

# Gradients -------------------------------------------------------------------------------------


def _pair(value: Any) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)


def conv2d_gradients(
    g: Any, x: Any, w: Any, b: Any = None, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> tuple[Any, ...]:
    """Go through the groups and the taps of the kernel: each links every pixel of g with one pixel of x."""
    (sh, sw), (dh, dw) = map(_pair, (stride, dilation))
    spans = [d * (k - 1) for d, k in zip((dh, dw), w.shape, strict=False)]
    sides = [(s // 2, s - s // 2) for s in spans] if padding == "same" else [(p, p) for p in _pair(padding)]
    (ph, _), (pw, _) = sides
    padded = np.pad(x, [(0, 0), *sides, (0, 0)])
    d_padded, d_w, (ho, wo) = np.zeros_like(padded), np.zeros_like(w), g.shape[1:3]
    (kh, kw, c, o), (h, wd) = w.shape, x.shape[1:3]
    for i, j, group in np.ndindex(kh, kw, groups):
        y, z, into = i * dh, j * dw, slice(group * o // groups, (group + 1) * o // groups)
        seen = np.s_[:, y : y + sh * ho : sh, z : z + sw * wo : sw, group * c : (group + 1) * c]
        d_padded[seen] += g[..., into] @ w[i, j, :, into].T
        d_w[i, j, :, into] = np.tensordot(padded[seen], g[..., into], ([0, 1, 2], [0, 1, 2]))
    d_x = d_padded[:, ph : ph + h, pw : pw + wd]
    return (d_x, d_w) if b is None else (d_x, d_w, g.sum((0, 1, 2)))


def conv_transpose2d_gradients(
    g: Any, x: Any, w: Any, b: Any = None, *, stride: Any = 1, padding: Any = 0, output_padding: Any = 0
) -> tuple[Any, ...]:
    """Go through the taps of the kernel: each links every pixel of x with one pixel of the result."""
    (sh, sw), (ph, pw) = map(_pair, (stride, padding))
    whole = np.pad(g, [(0, 0), (ph, ph), (pw, pw), (0, 0)])  # what was cut off has no gradient
    d_x, d_w, (h, wd) = np.zeros_like(x), np.zeros_like(w), x.shape[1:3]
    for i, j in np.ndindex(*w.shape[:2]):
        reached = whole[:, i : i + sh * h : sh, j : j + sw * wd : sw]
        d_x += reached @ w[i, j].T
        d_w[i, j] = np.tensordot(x, reached, ([0, 1, 2], [0, 1, 2]))
    return (d_x, d_w) if b is None else (d_x, d_w, g.sum((0, 1, 2)))


def max_pool2d_gradients(g: Any, x: Any, kernel: Any, stride: Any = None, padding: Any = 0) -> tuple[Any, ...]:
    """Go through the windows: the first largest pixel of each gets the gradient."""
    (kh, kw), (sh, sw), (ph, pw) = map(_pair, (kernel, kernel if stride is None else stride, padding))
    d, (n, _, _, c) = np.zeros_like(x), x.shape
    image, channel = np.arange(n)[:, None], np.arange(c)
    for y, z in np.ndindex(*g.shape[1:3]):
        top, left = max(y * sh - ph, 0), max(z * sw - pw, 0)
        window = x[:, top : y * sh - ph + kh, left : z * sw - pw + kw]
        row, column = np.divmod(window.reshape(n, -1, c).argmax(1), window.shape[2])  # (n, c)
        d[image, top + row, left + column, channel] += g[:, y, z]
    return (d,)


def batch_norm_gradients(
    g: Any, x: Any, gamma: Any, beta: Any, mean: Any, var: Any, *, training: bool, eps: float = 1e-5
) -> tuple[Any, ...]:
    """As in the docstring of minigrad/ops/norm.py, from two passes."""
    axes = tuple(range(x.ndim - 1))
    mu, v = (x.mean(axes), x.var(axes)) if training else (mean, var)
    normed = (x - mu) / np.sqrt(v + eps)
    d_normed = g * gamma
    if training:
        d_normed = d_normed - d_normed.mean(axes) - normed * (d_normed * normed).mean(axes)
    return d_normed / np.sqrt(v + eps), (g * normed).sum(axes), g.sum(axes)


def with_statistics(op: Any, x: Any, gamma: Any, beta: Any, **settings: Any) -> Any:
    """Call batch_norm, or its gradients, with running statistics that are not those of the batch."""
    c = gamma.shape[0]
    mean, var = np.linspace(-0.5, 0.5, c).astype(x.dtype), np.linspace(0.5, 2.0, c).astype(x.dtype)
    return op(x, gamma, beta, mean, var, **settings)


# Small calls, for small blocks -----------------------------------------------------------------


def _many(shapes: Any, sizes: Any, small_product: int = 0, uncut: tuple[int, ...] = (), **settings: Any) -> Many:
    return Many(
        sample(*(randn(*shape, seed=i) for i, shape in enumerate(shapes)), **settings), sizes, small_product, uncut
    )


MANY: dict[str, dict[str, Many]] = {
    "relu": {"elements": Many(sample(distinct(3, 7, 9)), (160, 40))},
    "matmul": {"rows": _many([(37, 33), (33, 11)], (800, 100))},
    "linear": {"rows": _many([(37, 33), (33, 11), (11,)], (800, 100), uncut=(2,))},
    "einsum": {
        "rows": _many(
            [(37, 17), (5, 17)],
            (700, 100),
            call=lambda op, a, b, subscripts: op(subscripts, a, b),
            subscripts="ij,kj->ik",
        )
    },
    "conv2d": {
        "images": _many([(33, 3, 3, 2), (3, 3, 2, 2), (2,)], (1800, 100), padding=1),
        "rows": _many([(3, 11, 5, 2), (3, 3, 2, 2), (2,)], (1000, 120), padding=1),
        "pairs-of-pixels": _many([(17, 3, 4, 1), (3, 3, 1, 2), (2,)], (1600, 800), padding=1),
        "stride2": _many([(17, 5, 4, 2), (3, 3, 2, 2), (2,)], (1200, 100), stride=2, padding=1),
        "stride2-rows": _many([(17, 11, 5, 1), (3, 3, 1, 2), (2,)], (1800, 300), stride=2, padding=1),
        "padding-beyond-the-kernel": _many([(17, 3, 2, 1), (2, 2, 1, 2)], (1300, 100), padding=2),
        "dilation2": _many([(5, 9, 5, 1), (3, 2, 1, 2)], (700, 100), padding=(2, 1), dilation=2),
        "1x1": _many([(5, 7, 3, 9), (1, 1, 9, 2), (2,)], (200, 40)),
        "1x1-stride2": _many([(5, 7, 9, 5), (1, 1, 5, 2), (2,)], (460, 220), stride=2),
        "groups2": _many([(17, 3, 3, 4), (3, 3, 2, 4), (4,)], (1800, 100), padding=1, groups=2),
        "winograd-images": _many([(17, 3, 4, 2), (3, 3, 2, 2), (2,)], (1300, 900, 160), call=by_winograd, padding=1),
        "winograd-rows": _many([(3, 11, 5, 2), (3, 3, 2, 3), (3,)], (1300, 260, 200), call=by_winograd, padding=(2, 1)),
        "winograd-blocks-of-pieces": _many(
            [(34, 5, 3, 1), (3, 3, 1, 9), (9,)], (6600, 3000, 600, 380), call=by_winograd
        ),
        "winograd-channels": _many(
            [(17, 1, 1, 19), (3, 3, 19, 2), (2,)], (2000, 1200, 600), call=by_winograd, padding=1
        ),
        "small-products": _many([(26, 5, 5, 1), (3, 3, 1, 9), (9,)], (4400,), 48 * 81, padding=1),
        "small-products-stride2": _many([(41, 9, 9, 1), (3, 3, 1, 9)], (6100,), 48 * 81, stride=2, padding=1),
    },
    "conv_transpose2d": {
        "stride2": _many([(1, 6, 6, 17), (2, 2, 17, 2), (2,)], (1000, 100), uncut=(2,), stride=2, padding=1)
    },
    "max_pool2d": {
        "images": Many(sample(distinct(35, 3, 4, 1), kernel=2, stride=1), (200, 96)),
        "ties": Many(
            sample(tied(np.random.default_rng(0), (35, 3, 4, 1)), kernel=2, stride=1), (200, 96), smooth=False
        ),
        "overlapping": Many(sample(distinct(17, 5, 4, 1), kernel=3, stride=2, padding=1), (320, 1)),
    },
    "batch_norm": {
        "training": _many([(4, 6, 8, 2), (2,), (2,)], (300, 64), call=with_statistics, training=True),
        "odd-number-of-pixels": _many([(3, 5, 7, 2), (2,), (2,)], (180, 40), call=with_statistics, training=True),
        "evaluation": _many([(4, 6, 8, 2), (2,), (2,)], (300, 64), call=with_statistics, training=False),
    },
}
