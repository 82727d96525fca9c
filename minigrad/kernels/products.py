"""Matrix products on the threads, and sums of products in a fixed order.

Definitions: ``a @ b``; and, for matrices that are cut into blocks of rows, ``a.T @ b``, the sum over the blocks.

Next: :mod:`minigrad.kernels.columns`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np

from minigrad.device import namespace, on_host
from minigrad.kernels import blocks
from minigrad.kernels.blas import has_small_kernels, on_one_thread
from minigrad.kernels.threads import run
from minigrad.typing import Array


def matmul(a: Array, b: Array, out: Array | None = None) -> Array:
    """Return a @ b, for matrices in fixed blocks: of rows of `a`, and of columns of `b`.

    Columns are cut where there are few blocks of rows: a small image has few pixels and many channels. The rows of a
    stack times one matrix are one matrix. On another device, and for other stacks, it is one plain product.
    """
    if a.ndim > 2 == b.ndim and out is None:
        stack = a.reshape(math.prod(a.shape[:-1]), a.shape[-1])
        return matmul(stack, b).reshape(*a.shape[:-1], b.shape[1])
    if not on_host(a):
        return namespace(a).matmul(a, b, out=out)
    if a.ndim != 2 or b.ndim != 2 or a.dtype != b.dtype:
        return on_one_thread(lambda: np.matmul(a, b, out=out))
    (m, k), n = a.shape, b.shape[1]
    product = np.empty((m, n), a.dtype) if out is None else out
    least = blocks.MIN_MULTIPLY_ADDS
    rows = blocks.spans(m, max(blocks.BLOCK_BYTES // max((k + n) * a.itemsize, 1), least // max(k * n, 1)))
    columns = blocks.spans(n, max(n * len(rows) // blocks.PARTIAL_SUMS, least // max(k * rows[0].stop, 1)))
    parts = list(itertools.product(rows, columns))

    def block(i: int) -> None:
        row, column = parts[i]
        multiply(a[row], b[:, column], product[row, column])

    run(block, len(parts))
    return product


def sum_products(factors: Callable[[int], tuple[Array, Array]], count: int) -> Array:
    """Return the sum of a.T @ b over blocks, where ``a, b = factors(i)`` for block i of `count`."""

    def partial_sum(numbers: range) -> Array:
        total = multiply_transposed(*factors(numbers[0]))
        for i in numbers[1:]:
            total += multiply_transposed(*factors(i))
        return total

    return sum_in_order(partial_sum, count)


def sum_in_order(partial_sum: Callable[[range], Array], count: int) -> Array:
    """Return the sum over blocks 0, ..., count - 1, where ``partial_sum(numbers)`` is the sum over a run of them.

    A sum in the order in which the threads finish would be rounded differently each time. So there are at most
    `PARTIAL_SUMS` partial sums, each over its own run of blocks from the first to the last; at the end they are added
    in order.
    """
    runs = blocks.spans(count, -(-count // blocks.PARTIAL_SUMS))
    sums: dict[int, Array] = {}

    def task(i: int) -> None:
        sums[i] = partial_sum(range(count)[runs[i]])

    run(task, len(runs))
    total = sums[0]
    for i in range(1, len(runs)):
        total += sums[i]
    return total


def multiply(a: Array, b: Array, out: Array) -> Array:
    """Return a @ b in `out`, for a block of rows a (m, k) and b (k, n): as several small products, if n is small.

    OpenBLAS first copies both matrices into an order of its own. This copy pays only if every number is used often, and
    with n = 16 to 64 it is not. OpenBLAS's kernels for small matrices, where it has them, read matrices without a
    copy: there, many small products are faster than a large one, by a sixth.
    """
    (m, k), n = a.shape, b.shape[1]
    rows = _rows_of_small_product(a, n, 24)
    if not rows or not out.flags.c_contiguous:
        return namespace(a).matmul(a, b, out=out)
    whole, b = m - m % rows, np.ascontiguousarray(b)
    np.matmul(a[:whole].reshape(-1, rows, k), b, out=out[:whole].reshape(-1, rows, n))
    np.matmul(a[whole:], b, out=out[whole:])
    return out


def multiply_transposed(a: Array, b: Array) -> Array:
    """Return a.T @ b, for blocks of rows a (m, k) and b (m, n): as a sum of small products, if n is small."""
    (m, k), n = a.shape, b.shape[1]
    rows = _rows_of_small_product(a, n, 48)
    if not rows:
        product: Array = namespace(a).matmul(a.T, b)
        return product
    whole = m - m % rows
    products = np.matmul(a[:whole].reshape(-1, rows, k).swapaxes(1, 2), b[:whole].reshape(-1, rows, n))
    out: Array = np.add.reduce(products, axis=0)  # (k, n)
    out += a[whole:].T @ b[whole:]
    return out


def is_finite(x: Array) -> bool:
    """Return whether all numbers are finite, by one product; no also where a square is infinite, which costs time only.

    On another device the answer is always yes: to ask would stop Python until the device is done.
    """
    return not on_host(x) or math.isfinite(np.vdot(x, x).real)


def _rows_of_small_product(a: Array, n: int, least: int) -> int:
    """Return how many rows of a (m, k) make a small product with n columns; 0 if fewer than `least`, or all of them."""
    m, k = a.shape
    if not on_host(a) or a.dtype.char not in "fd" or not a.flags.c_contiguous or not (k and 8 < n <= 64):
        return 0
    rows = blocks.SMALL_MULTIPLY_ADDS // (k * n) // 4 * 4
    return rows if least <= rows < m and has_small_kernels() else 0
