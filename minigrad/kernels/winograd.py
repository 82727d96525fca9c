r"""3x3 convolutions by a quarter of the multiplications: Winograd's filtering F(4x4, 3x3).

In one dimension, four neighbouring outputs of a kernel of three weights see six pixels. The definition spends 4 * 3 =
12 multiplications on them. Six are enough: transform the pixels and the weights, multiply number by number, and
transform the products,

.. math::
    out = A^{\top} \left[ (G w) \odot (B^{\top} x) \right], \qquad x \in R^6,\; w \in R^3,\; out \in R^4

with three fixed matrices of simple numbers (:func:`cook_toom` makes them, and says why it works). In two dimensions
the matrices act along both axes: a *tile* of 6x6 pixels gives 4x4 outputs by 36 multiplications in place of 144. The
sum over the channels can be taken before the last transform. So each of the 36 places in a tile has a product of
matrices of its own, (tiles, c) @ (c, o). Here the time goes, and here three quarters of it are saved.

Definition: the twin of :func:`minigrad.conv2d`, and its gradients. Only the rounding differs: in float32 by up to 4e-6
of the largest number, where im2col has 1e-6.

S. Winograd, Arithmetic Complexity of Computations, 1980; A. Lavin and S. Gray, Fast Algorithms for Convolutional Neural
Networks, CVPR 2016 (arXiv 1509.09308).

Next: :mod:`minigrad.kernels.conv`.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from minigrad.kernels import blocks, products
from minigrad.kernels.columns import Columns
from minigrad.kernels.threads import run
from minigrad.typing import Array, DType, Pair

OUT, TAPS = 4, 3  # outputs of a tile and weights of the kernel, along each axis
TILE = OUT + TAPS - 1
PLACES = TILE * TILE

#: The points of :func:`cook_toom`, besides infinity. A number beside its inverse keeps all powers near 1: in float32
#: the largest error is a quarter of that of the usual 0, 1, -1, 2, -2. (See B. Barabasz et al., arXiv 1803.10986.)
POINTS = tuple(map(Fraction, ("0", "2/3", "-2/3", "3/2", "-3/2")))


# The matrices --------------------------------------------------------------------------------


class Transforms(NamedTuple):
    """The matrices for one axis; or for both axes at once, each the Kronecker product of one of these with itself."""

    outputs: Array  # A', (4, 6) or (16, 36)
    weights: Array  # G, (6, 3) or (36, 9)
    pixels: Array  # B', (6, 6) or (36, 36)


def cook_toom(points: Sequence[Fraction], outputs: int, taps: int) -> Transforms:
    """Return the matrices for one axis, in exact fractions, from outputs + taps - 2 points.

    Take two polynomials: p with 4 coefficients, q with 3. Their product s = p q has 6 coefficients, so its values at 6
    points determine it (Lagrange). And a value takes one multiplication, p(t) q(t). In matrices,

        s = B [(A p) * (G q)]

    where A and G evaluate p and q at the points, and B makes coefficients of the values. One of the points is infinity,
    where the value of a polynomial is its leading coefficient. On the other hand, s_k is the sum of p_i q_j over all
    i + j = k. For any x the two say

        sum of p_i q_j x_k over i + j = k   =   x' s   =   (A p)' [(G q) * (B' x)]

    Convolution is the left side, as a function of p: out_i is the sum of w_j x_k over i + j = k. So out is what p meets
    on the right side, A' [(G w) * (B' x)].
    """
    others = [[q for q in points if q != p] for p in points]
    scales = [
        math.prod([p - q for q in roots], start=Fraction(1)) for p, roots in zip(points, others, strict=True)
    ]  # moved from B to G
    at = [[p**i for p in points] + [Fraction(i == outputs - 1)] for i in range(outputs)]
    g = [[p**j / scale for j in range(taps)] for p, scale in zip(points, scales, strict=True)]
    g += [[Fraction(j == taps - 1) for j in range(taps)]]
    bt = [[*_with_zeros_at(roots), Fraction(0)] for roots in others] + [_with_zeros_at(points)]
    return Transforms(np.array(at), np.array(g), np.array(bt))


def _with_zeros_at(roots: Sequence[Fraction]) -> list[Fraction]:
    """Return the coefficients of the product of all t - root, the constant first."""
    return list(np.poly(np.array(roots, object))[::-1])


@functools.cache
def transforms(dtype: DType) -> Transforms:
    """Return the matrices for both axes, rounded to a dtype."""
    return Transforms(*[np.kron(matrix, matrix).astype(dtype) for matrix in cook_toom(POINTS, OUT, TAPS)])


# Tiles ---------------------------------------------------------------------------------------


class Tiles:
    """The outputs of a convolution in tiles of 4x4, and the 6x6 pixels that each of them sees.

    What is transformed has the shape (tiles, 36 places, channels). Tiles are cut twice. A *piece* stays in a core's
    cache while it is transformed. A *block* of pieces is multiplied with the weights: they are read once for each
    block, so it has many tiles. Threads take blocks in turn or, if there are few blocks or they are too large for the
    cache, the pieces and the places of one block.

    Parameters
    ----------
    x : array of shape (n, h, w, c)
    weights : array of shape (36, c, o)
        Transformed.
    shape : (n, ho, wo, o)
        The shape of the outputs.
    padding : (int, int)

    Attributes
    ----------
    finite : bool
        Whether all outputs that were written so far are finite. A tile mixes its pixels: a NaN, an infinity or an
        overflow spreads over all its outputs, and im2col has to compute the convolution again.
    """

    def __init__(self, x: Array, weights: Array, shape: tuple[int, ...], padding: Pair) -> None:
        (c, o), size = weights.shape[1:], (-(-shape[1] // OUT), -(-shape[2] // OUT))
        self.weights, self.width, self.finite = weights, size[1], True
        nbytes = blocks.TILE_BYTES * c // (c + o)  # of the pixels: their products share the cache
        self.pixels = Columns(x, (TILE, TILE), (OUT, OUT), padding, (1, 1), size=size, nbytes=nbytes)
        self.pieces = self.pixels.blocks  # (images, rows of tiles)
        tiles = [(images.stop - images.start) * (rows.stop - rows.start) * size[1] for images, rows in self.pieces]
        self.ends = [0, *itertools.accumulate(tiles)]
        least = min(max(c, o) // 2, 128)  # tiles of a block
        self.blocks = blocks.spans(len(tiles), -(-least // tiles[0]))
        large = least * PLACES * (c + o) * x.itemsize > 4 * blocks.BLOCK_BYTES
        self.shared = large or len(self.blocks) < blocks.PARTIAL_SUMS
        self.places = blocks.spans(PLACES, blocks.BLOCK_BYTES // (c * o * x.itemsize))

    def run(self, task: Callable[[int], object]) -> None:
        """Call ``task(i)`` for each block i."""
        if not self.shared:
            run(task, len(self.blocks))
        else:
            for i in range(len(self.blocks)):
                task(i)

    def _each_piece(self, i: int, task: Callable[[int, slice], object]) -> None:
        """Call ``task(j, tiles)`` for each piece j of block i, with its slice of the block."""
        numbers = range(len(self.pieces))[self.blocks[i]]
        ends = [self.ends[j] - self.ends[numbers[0]] for j in (*numbers, numbers[-1] + 1)]
        run(lambda k: task(numbers[k], slice(ends[k], ends[k + 1])), len(numbers))

    def transformed(self, i: int, columns: Columns, matrix: Array) -> Array:
        """Return ``matrix @ window`` for the windows of block i, (tiles, 36, channels)."""
        (m, k), c = matrix.shape, columns.x.shape[3]
        first, last = self.blocks[i].start, self.blocks[i].stop
        out = np.empty((self.ends[last] - self.ends[first], m, c), matrix.dtype)
        self._each_piece(i, lambda j, tiles: np.matmul(matrix, columns.block(j).reshape(-1, k, c), out=out[tiles]))
        return out

    def each_place(self, task: Callable[[slice], object]) -> None:
        """Call ``task(places)`` for slices of the 36 places, each with its own product of matrices."""
        run(lambda j: task(self.places[j]), len(self.places))

    def write(self, i: int, a: Array, out: Array, bias: Array | None = None) -> None:
        """Multiply the transformed pixels of block i with the weights, and write the outputs to their places."""
        o = out.shape[3]
        product = np.empty((*a.shape[:2], o), a.dtype)  # (tiles, 36, o)
        by_place, to = a.swapaxes(0, 1), product.swapaxes(0, 1)
        self.each_place(lambda p: np.matmul(by_place[p], self.weights[p], out=to[p]))

        def piece(j: int, tiles: slice) -> None:
            (images, rows), result = self.pieces[j], np.matmul(transforms(a.dtype).outputs, product[tiles])
            if bias is not None:
                result += bias
            if not products.is_finite(result):
                self.finite = False
            place = out[images, OUT * rows.start : OUT * rows.stop]
            result = result.reshape(len(place), -1, self.width, OUT, OUT, o).swapaxes(2, 3)
            result = result.reshape(len(place), -1, OUT * self.width, o)
            place[...] = result[:, : place.shape[1], : place.shape[2]]  # tiles may reach over the border

        self._each_piece(i, piece)


# Forward and backward ------------------------------------------------------------------------


def forward(x: Array, w: Array, b: Array | None, padding: Pair) -> tuple[Array, bool]:
    """Return the convolution of x (n, h, w, c) with w (3, 3, c, o), plus b (o,), and whether it is finite."""
    (n, h, wd, _), (ph, pw), matrices = x.shape, padding, transforms(x.dtype)
    out = np.empty((n, h + 2 * ph - TAPS + 1, wd + 2 * pw - TAPS + 1, w.shape[3]), x.dtype)
    weights = _times_taps(matrices.weights, w, np.empty((PLACES, *w.shape[2:]), w.dtype))  # (36, c, o)
    tiles = Tiles(x, weights, out.shape, padding)
    tiles.run(lambda i: tiles.write(i, tiles.transformed(i, tiles.pixels, matrices.pixels), out, b))
    return out, tiles.finite


def backward(g: Array, x: Array, w: Array, need: tuple[bool, ...], padding: Pair) -> tuple[Array, Array | None, bool]:
    """Return the gradients of x and w for the cotangent g (n, ho, wo, o), and whether they are finite.

    Both come from one transform of the cotangent. dx is the convolution of g with the flipped weights, as in im2col. If
    x were the cotangent of this convolution, its flipped weights would have the gradient dw. This gradient runs through
    the transforms backwards: x's tiles of 4x4 pixels through A, times g's transformed tiles, and the sum over all tiles
    through G'.
    """
    # What is returned is made first: it leaves no gaps in memory when the larger arrays after it are freed.
    dx, dw, matrices = np.empty(x.shape, x.dtype), np.empty(w.shape, w.dtype), transforms(x.dtype)
    flipped = matrices.weights[:, ::-1]  # G for taps in reverse order
    summed = (PLACES, *w.shape[2:])  # (36, c, o)
    weights = _times_taps(flipped, w, np.empty(summed, w.dtype)).swapaxes(1, 2)  # (36, o, c)
    tiles = Tiles(g, weights, x.shape, (TAPS - 1 - padding[0], TAPS - 1 - padding[1]))
    size = tiles.pixels.shape[1:]
    inner = Columns(x, (OUT, OUT), (OUT, OUT), (0, 0), (1, 1), size=size, cut=tiles.pieces)

    def block(i: int) -> Array:
        a = tiles.transformed(i, tiles.pixels, matrices.pixels)
        tiles.write(i, a, dx)
        return a

    def partial_sum(numbers: range) -> Array:
        total = np.empty(summed, x.dtype)

        def add(p: slice, a: Array, b: Array, i: int) -> None:
            if i == numbers[0]:
                np.matmul(a[p], b[p], out=total[p])
            else:
                total[p] += np.matmul(a[p], b[p])

        for i in numbers:
            b = block(i).swapaxes(0, 1)  # (36, tiles, o)
            a = tiles.transformed(i, inner, matrices.outputs.T).transpose(1, 2, 0)  # (36, c, tiles)
            tiles.each_place(functools.partial(add, a=a, b=b, i=i))
        return _times_taps(flipped.T, total, dw if tiles.shared else np.empty_like(dw))

    if not need[1]:
        tiles.run(block)
        return dx, None, tiles.finite
    count = len(tiles.blocks)
    dw = partial_sum(range(count)) if tiles.shared else products.sum_in_order(partial_sum, count)
    return dx, dw, tiles.finite and products.is_finite(dw)


def _times_taps(matrix: Array, taps: Array, out: Array) -> Array:
    """Return ``matrix @ taps`` in `out`: from taps (3, 3, c, o) to (36, c, o), or from 36 sums to taps."""
    c, o = taps.shape[-2:]
    channels, to = (a.reshape(-1, c, o).swapaxes(0, 1) for a in (taps, out))  # one small product for each channel
    parts = blocks.spans(c, blocks.BLOCK_BYTES // (PLACES * o * taps.itemsize))
    run(lambda i: np.matmul(matrix, channels[parts[i]], out=to[parts[i]]), len(parts))
    return out
