"""Matrix products under the thread rule, and sums of products in a fixed order.

Next: :mod:`minigrad.kernels.columns`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from minigrad.device import namespace, on_host
from minigrad.kernels.blas import blas
from minigrad.kernels.blocks import BLOCK_BYTES, scratch, spans
from minigrad.kernels.threads import run
from minigrad.typing import Array

#: How many partial sums a sum over pixels is kept in, whatever the number of threads.
LANES = 4


#: A product of fewer multiply-adds than this is not worth a second thread.
_MIN_MULTIPLY_ADDS = 1 << 20


#: What OpenBLAS takes for a small product.
_SMALL_MULTIPLY_ADDS = 10**6


def matmul(a: Array, b: Array, out: Array | None = None) -> Array:
    """Multiply matrices (or stacks of them) under the thread rule: rows of `a` in fixed blocks, and columns of `b`.

    Columns are cut where there are few blocks of rows: a small image has few pixels and many channels. On another
    device, and for stacks, it is one plain product.
    """
    if not on_host(a):
        return namespace(a).matmul(a, b, out=out)
    if a.ndim != 2 or b.ndim != 2 or a.dtype != b.dtype:
        with blas:
            return np.matmul(a, b, out=out)
    (m, k), n = a.shape, b.shape[1]
    if out is None:
        out = np.empty((m, n), a.dtype)
    rows = spans(m, max(BLOCK_BYTES // max((k + n) * a.itemsize, 1), _MIN_MULTIPLY_ADDS // max(k * n, 1)))
    wide = max(n * len(rows) // LANES, _MIN_MULTIPLY_ADDS // max(k * rows[0].stop, 1))
    parts = list(itertools.product(rows, spans(n, wide)))

    def part(i: int) -> None:
        some, columns = parts[i]
        multiply(a[some], b[:, columns], out[some, columns])

    run(part, len(parts))
    return out


def multiply(a: Array, b: Array, out: Array) -> Array:
    """Multiply a (m, k) with b (k, n), for a block of pixels: in pieces of a few rows, if the product is narrow.

    OpenBLAS first writes both matrices in an order of its own, which pays if every number is used often. In a product
    with n = 16 to 64 columns it is not, and where there are kernels that take small matrices as they lie, many small
    products are faster than the whole, by a sixth.
    """
    (m, k), n = a.shape, b.shape[1]
    piece = _piece(a, n, 24)
    if not piece or not out.flags.c_contiguous:
        return namespace(a).matmul(a, b, out=out)
    whole, b = m - m % piece, np.ascontiguousarray(b)
    np.matmul(a[:whole].reshape(-1, piece, k), b, out=out[:whole].reshape(-1, piece, n))
    np.matmul(a[whole:], b, out=out[whole:])
    return out


def _inner(a: Array, b: Array, out: Array | None) -> Array:
    """Multiply a' with b, for a (m, k) and b (m, n): if the product is narrow, in pieces of m, which are added up."""
    (m, k), n = a.shape, b.shape[1]
    piece = _piece(a, n, 48)
    if not piece:
        return namespace(a).matmul(a.T, b, out=out)
    whole = m - m % piece
    products = scratch("products", (whole // piece, k, n), a)
    np.matmul(a[:whole].reshape(-1, piece, k).swapaxes(1, 2), b[:whole].reshape(-1, piece, n), out=products)
    out = np.add.reduce(products, axis=0, out=out)
    out += a[whole:].T @ b[whole:]
    return out


def _piece(a: Array, n: int, least: int) -> int:
    """Say how many rows of a (m, k) make a small product of n columns, if that is at least `least`; else 0."""
    m, k = a.shape
    if not on_host(a) or a.dtype.char not in "fd" or not a.flags.c_contiguous or not (k and 8 < n <= 64):
        return 0
    rows = _SMALL_MULTIPLY_ADDS // (k * n) // 4 * 4
    return rows if least <= rows < m and blas.has_small_kernels else 0


class Lanes:
    """A sum over blocks of products a' b, kept in at most `LANES` partial sums, each walked in order.

    Give :func:`run` a task that takes the `share` of lane ``i`` and adds to it; ask for the `total` afterwards.
    """

    def __init__(self, blocks: Sequence[Any]) -> None:
        self.blocks = blocks
        self.shares = spans(len(blocks), -(-len(blocks) // LANES))
        self.count = len(self.shares)
        self.sums: list[Any] = [None] * self.count

    def share(self, lane: int) -> Sequence[Any]:
        """Return the blocks that a lane walks."""
        return self.blocks[self.shares[lane]]

    def add(self, lane: int, a: Array, b: Array) -> None:
        """Add a' b, of a (m, k) and b (m, n), to a lane."""
        if self.sums[lane] is None:
            self.sums[lane] = _inner(a, b, None)
        else:
            self.sums[lane] += _inner(a, b, scratch("product", (a.shape[1], b.shape[1]), a))

    def total(self) -> Array:
        """Add the lanes up, in order."""
        total = self.sums[0]
        for lane in self.sums[1:]:
            total += lane
        return total
