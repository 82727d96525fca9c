r"""3x3 convolutions with a quarter of the multiplications: Winograd's filtering F(4x4, 3x3).

In one dimension, four neighbouring outputs of a kernel of three weights need six inputs. The definition spends 4 * 3 =
12 products on them. But a product of two polynomials, one of degree 3 and one of degree 2, is known from its values at
6 points, and each value takes *one* product. Convolution is such a product read backwards, so six products suffice:

.. math::
    out = A^{\top} \left[ (G w) \cdot (B^{\top} x) \right], \qquad x \in R^6,\; w \in R^3,\; out \in R^4

G evaluates the kernel at the points, the transposes of A and B do the rest, and all three are fixed matrices of
simple numbers (:func:`cook_toom`). In two dimensions they act along both axes: a *tile* of 6x6 pixels gives 4x4 outputs
by 36 products where the definition has 144. Channels add up before the last step, so the 36 products are products of
matrices, (tiles, c) @ (c, o). This is where the time goes, and where three quarters of it are saved.

Definition: :func:`minigrad.kernels.conv.forward` and its gradients. The results are rounded differently.

S. Winograd, Arithmetic Complexity of Computations, 1980; A. Lavin and S. Gray, Fast Algorithms for Convolutional Neural
Networks, CVPR 2016 (arXiv 1509.09308); the points: B. Barabasz et al., Error Analysis and Improving the Accuracy of
Winograd Convolution for Deep Neural Networks, 2020 (arXiv 1803.10986).

Next: :mod:`minigrad.kernels.conv`.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from minigrad.kernels import blocks, products
from minigrad.kernels.columns import Columns
from minigrad.kernels.threads import run
from minigrad.typing import Array, DType, Pair

OUT, TAPS = 4, 3  # outputs of a tile along each axis; taps of the kernel
TILE = OUT + TAPS - 1

#: Where the polynomials are evaluated, besides at infinity. A point and its inverse keep the powers near 1: in float32
#: these five err a quarter as much as the usual (0, 1, -1, 2, -2).
POINTS = (Fraction(0), Fraction(2, 3), Fraction(-2, 3), Fraction(3, 2), Fraction(-3, 2))


# The matrices --------------------------------------------------------------------------------


def cook_toom(points: tuple[Fraction, ...], m: int, r: int) -> tuple[list[list[Fraction]], ...]:
    """Return A' (m, n), G (n, r) and B' (n, n) for m outputs of r taps, n = m + r - 1, from n - 1 points and infinity.

    Row j of G evaluates a polynomial of r coefficients at point j; row j of B' is the polynomial that is zero at all
    other points (Lagrange); the last row of each belongs to infinity, where the leading coefficient counts.
    """
    n = m + r - 1
    scale = [_evaluate(_with_roots([q for q in points if q != p]), p) for p in points]
    at = [[p**i for p in points] + [Fraction(i == m - 1)] for i in range(m)]
    g = [[p**i / s for i in range(r)] for p, s in zip(points, scale, strict=True)] + [
        [Fraction(i == r - 1) for i in range(r)]
    ]
    bt = [[*_with_roots([q for q in points if q != p]), Fraction(0)] for p in points] + [_with_roots(list(points))]
    assert len(bt) == len(bt[0]) == n
    return at, g, bt


def _with_roots(roots: list[Fraction]) -> list[Fraction]:
    """Return the coefficients, the lowest first, of the polynomial with these zeros."""
    coefficients = [Fraction(1)]
    for root in roots:
        shifted, scaled = [Fraction(0), *coefficients], [*(root * c for c in coefficients), Fraction(0)]
        coefficients = [a - b for a, b in zip(shifted, scaled, strict=True)]
    return coefficients


def _evaluate(coefficients: list[Fraction], x: Fraction) -> Fraction:
    return sum((c * x**i for i, c in enumerate(coefficients)), Fraction(0))


class Transforms(NamedTuple):
    """The matrices for two axes at once: each is the Kronecker product of the one for one axis with itself."""

    outputs: Array  # A' x A', (16, 36)
    weights: Array  # G x G, (36, 9)
    pixels: Array  # B' x B', (36, 36)


@functools.cache
def transforms(dtype: DType) -> Transforms:
    """Return the matrices in a dtype; they are rounded once."""
    return Transforms(
        *(np.kron(m, m).astype(dtype) for m in (np.array(m, float) for m in cook_toom(POINTS, OUT, TAPS)))
    )


# Tiles ---------------------------------------------------------------------------------------


class _Tiles:
    """Tiles of 6x6 pixels of images, 4 apart: transformed, multiplied with the weights, and written as 4x4 outputs.

    All that is transformed is laid out as (tiles or input channels, 36 points, channels).

    Parameters
    ----------
    x : array of shape (n, h, w, c)
    w : array of shape (3, 3, c, o)
    shape : (n, ho, wo, o)
        The shape of the result.
    padding : (int, int)

    Attributes
    ----------
    pieces : list of (images, rows)
        Slices of the tiles. A piece stays in a core's cache while it is transformed.
    blocks : list of slices
        Of the pieces. The weights are read again for each block, so a block has many tiles.
    shared : bool
        Whether the threads share a block, and take one block after the other. Else each thread has its own.
    """

    def __init__(self, x: Array, w: Array, shape: tuple[int, ...], padding: Pair) -> None:
        (c, o), size = w.shape[2:], (-(-shape[1] // OUT), -(-shape[2] // OUT))
        tile_bytes = TILE * TILE * (c + o) * x.itemsize  # transformed, and its products
        nbytes = blocks.BLOCK_BYTES * c // (c + o)
        self.shape, self.matrices = shape, transforms(x.dtype)
        self.columns = Columns(x, (TILE, TILE), (OUT, OUT), padding, (1, 1), size=size, nbytes=nbytes)
        self.pieces = self.columns.blocks
        lengths = [(i.stop - i.start) * (j.stop - j.start) * size[1] for i, j in self.pieces]
        self.ends = [0, *itertools.accumulate(lengths)]
        at_least = min(max(c, o) // 2, 128)  # tiles
        self.blocks = blocks.spans(len(lengths), -(-at_least // max(lengths, default=1)))
        self.shared = len(self.blocks) < blocks.PARTIAL_SUMS or at_least * tile_bytes > 4 * blocks.BLOCK_BYTES
        self.groups = blocks.spans(TILE * TILE, blocks.BLOCK_BYTES // (c * o * x.itemsize))  # of the 36 products
        self.weights = np.empty((TILE * TILE, c, o), w.dtype)
        by_row = self.weights.transpose(1, 0, 2)
        taps, rows = (
            w.reshape(TAPS * TAPS, c, o).transpose(1, 0, 2),
            blocks.spans(c, nbytes // (TILE * TILE * o * w.itemsize)),
        )
        run(lambda i: np.matmul(self.matrices.weights, taps[rows[i]], out=by_row[rows[i]]), len(rows))

    def run(self, task: Callable[[int], object]) -> None:
        """Call ``task(i)`` for each block i."""
        if self.shared:
            for i in range(len(self.blocks)):
                task(i)
        else:
            run(task, len(self.blocks))

    def each_piece(self, i: int, task: Callable[[int, slice], object]) -> None:
        """Call ``task(j, tiles)`` for each piece j of block i, where `tiles` is the piece's place in the block."""
        numbers = range(len(self.pieces))[self.blocks[i]]
        places = [
            slice(self.ends[j] - self.ends[numbers[0]], self.ends[j + 1] - self.ends[numbers[0]]) for j in numbers
        ]
        run(lambda k: task(numbers[k], places[k]), len(numbers))

    def transformed(self, i: int, columns: Columns, matrix: Array) -> Array:
        """Return matrix @ window for the windows of block i, (tiles, 36, channels)."""
        (m, k), c = matrix.shape, columns.x.shape[3]
        out = np.empty((self.ends[self.blocks[i].stop] - self.ends[self.blocks[i].start], m, c), matrix.dtype)
        self.each_piece(i, lambda j, tiles: np.matmul(matrix, columns.block(j).reshape(-1, k, c), out=out[tiles]))
        return out

    def outputs(self, i: int, tiles: Array, out: Array, bias: Array | None = None) -> None:
        """Multiply the transformed tiles of block i with the weights, and write the outputs to their places."""
        o = self.shape[3]
        products = np.empty((*tiles.shape[:2], o), tiles.dtype)
        a, b = tiles.transpose(1, 0, 2), products.transpose(1, 0, 2)  # (36, tiles, channels)
        run(
            lambda j: np.matmul(a[self.groups[j]], self.weights[self.groups[j]], out=b[self.groups[j]]),
            len(self.groups),
        )

        def write(j: int, part: slice) -> None:
            images, rows = self.pieces[j]
            result = np.matmul(self.matrices.outputs, products[part])  # (tiles, 16, o)
            if bias is not None:
                result += bias
            m, height, width = images.stop - images.start, rows.stop - rows.start, self.columns.shape[2]
            result = result.reshape(m, height, width, OUT, OUT, o)
            for y in range(OUT):
                for x in range(OUT):
                    place = out[images, OUT * rows.start + y : OUT * rows.stop : OUT, x::OUT]
                    place[...] = result[:, : place.shape[1], : place.shape[2], y, x]

        self.each_piece(i, write)


# The operator --------------------------------------------------------------------------------


def suits(x: Array, w: Array, stride: Pair, padding: Pair, dilation: Pair) -> bool:
    """Return whether this is faster than im2col."""
    one = (1, 1)
    return (
        w.shape[:2] == (TAPS, TAPS)
        and stride == dilation == one
        and max(padding) < TAPS
        and min(w.shape[2:]) >= 32
        and isinstance(x, np.ndarray)
        and x.dtype.char in "fd"
        and len(x) * -(-x.shape[1] // OUT) * -(-x.shape[2] // OUT) >= 32
    )


def forward(x: Array, w: Array, b: Array | None, padding: Pair) -> Array:
    """Return the convolution of x (n, h, w, c) with w (3, 3, c, o), plus b (o,)."""
    (n, h, wd, _), o, (ph, pw) = x.shape, w.shape[3], padding
    out = np.empty((n, h + 2 * ph - TAPS + 1, wd + 2 * pw - TAPS + 1, o), x.dtype)
    tiles = _Tiles(x, w, out.shape, padding)
    tiles.run(lambda i: tiles.outputs(i, tiles.transformed(i, tiles.columns, tiles.matrices.pixels), out, b))
    return out


def backward(g: Array, x: Array, w: Array, need: tuple[bool, ...], padding: Pair) -> tuple[Array | None, Array | None]:
    """Return the gradients of x and w for the cotangent g (n, ho, wo, o): both from the cotangent's tiles.

    As in im2col, dx is the convolution of g with the flipped weights. The same products, read for the weights, give dw:
    each of the 36 is the product of g's transformed tiles with x's tiles of 4x4 pixels, transformed by A.
    """
    flipped = np.ascontiguousarray(w[::-1, ::-1].transpose(0, 1, 3, 2))  # (3, 3, o, c)
    tiles = _Tiles(g, flipped, x.shape, (TAPS - 1 - padding[0], TAPS - 1 - padding[1]))
    dx, (o, c), matrices = np.empty(x.shape, x.dtype), flipped.shape[2:], tiles.matrices
    pixels = Columns(x, (OUT, OUT), (OUT, OUT), (0, 0), (1, 1), size=tiles.columns.shape[1:], cut=tiles.pieces)

    def block(i: int) -> Array:
        transformed = tiles.transformed(i, tiles.columns, matrices.pixels)
        tiles.outputs(i, transformed, dx)
        return transformed

    def partial_sum(numbers: range) -> Array:
        total = np.empty((TILE * TILE, o, c), x.dtype)

        def add(i: int, a: Array, b: Array, out: Array) -> None:
            if i == numbers[0]:
                np.matmul(a, b, out=out)
            else:
                out += np.matmul(a, b)

        for i in numbers:
            a = block(i).transpose(1, 2, 0)  # (36, o, tiles)
            b = tiles.transformed(i, pixels, matrices.outputs.T).transpose(1, 0, 2)  # (36, tiles, c)
            run(
                lambda j, i=i, a=a, b=b: add(i, a[tiles.groups[j]], b[tiles.groups[j]], total[tiles.groups[j]]),
                len(tiles.groups),
            )
        dw, rows = np.empty((o, TAPS * TAPS, c), x.dtype), blocks.split(o, min(o, 16))
        run(lambda i: np.matmul(matrices.weights.T, total.transpose(1, 0, 2)[rows[i]], out=dw[rows[i]]), len(rows))
        return dw

    if not need[1]:
        tiles.run(block)
        return dx, None
    count = len(tiles.blocks)
    dw = partial_sum(range(count)) if tiles.shared else products.sum_in_order(partial_sum, count)
    return dx, np.ascontiguousarray(dw[:, ::-1].transpose(1, 2, 0)).reshape(w.shape)
