"""Columns: the windows of images as rows of a matrix, a block of pixels at a time.

A convolution is a product of matrices, once the window of each output pixel lies there as a row. These rows are the
*columns*, (pixels, kh kw c), and to make them is called *im2col*. Those of a whole batch are kh kw times as large as
the batch, and to write them to memory and read them back would take longer than the product. So they are made for a
block of pixels at a time: small enough to be still in cache when they are multiplied, after which the next block's
take their place.

Next: :mod:`minigrad.kernels.conv`.
"""

from __future__ import annotations

import numpy as np

from minigrad.device import namespace, on_host, windows
from minigrad.kernels import blocks
from minigrad.typing import Array, Pair

#: Bytes of columns in a block: half as much again as in other walks, since a block takes a dozen calls of NumPy.
COLUMN_BYTES = 3 * blocks.BLOCK_BYTES // 2


class Columns:
    """The windows of images, to be laid out block by block.

    Parameters
    ----------
    x : array of shape (n, h, w, c)
    kernel, stride, padding, dilation : (int, int)
        Along height and width.
    whole_images : bool
        Whether a block may not be a part of an image.

    Attributes
    ----------
    shape : (n, ho, wo)
        Of the output pixels, each of which has a window.
    blocks : list of (images, rows)
        Slices that cut the output pixels into blocks.
    """

    def __init__(
        self, x: Array, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, whole_images: bool = False
    ) -> None:
        n, h, w, c = x.shape
        (kh, kw), (sh, sw), (ph, pw), (dh, dw) = kernel, stride, padding, dilation
        self.x, self.kernel, self.stride, self.padding, self.dilation = x, kernel, stride, padding, dilation
        self.reach = dh * (kh - 1) + 1  # rows of x that a window spans
        self.shape = n, (h + 2 * ph - self.reach) // sh + 1, (w + 2 * pw - dw * (kw - 1) - 1) // sw + 1
        self.blocks = _blocks(x, *self.shape, kh * kw * c, whole_images)

    def block(self, i: int) -> Array:
        """Lay the windows of a block out as rows (pixels, kh kw c), which live until this thread asks for others."""
        images, rows = self.blocks[i]
        x, (kh, kw) = self._bordered(images, rows), self.kernel
        m, _, _, c = x.shape
        if not on_host(x):
            return windows(x, self.kernel, self.stride, self.dilation).reshape(-1, kh * kw * c)
        pixels = (m, rows.stop - rows.start, self.shape[2])
        cols = blocks.scratch("columns", (*pixels, kh * kw * c), x)
        _copy_windows(cols, x, self.kernel, self.stride, self.dilation)
        return cols.reshape(-1, kh * kw * c)

    def _bordered(self, images: slice, rows: slice) -> Array:
        """Return what the windows of a block see: some rows of x, and zeros where they look over its border."""
        (h, w, c), (ph, pw), sh = self.x.shape[1:], self.padding, self.stride[0]
        first = rows.start * sh - ph  # row of x
        seen = (rows.stop - rows.start - 1) * sh + self.reach
        top, bottom = (min(max(edge - first, 0), seen) for edge in (0, h))
        part = self.x[images, first + top : first + bottom]
        if pw == top == 0 and bottom == seen:
            return namespace(part).ascontiguousarray(part)
        out = blocks.scratch("bordered", (len(part), seen, w + 2 * pw, c), part)
        out[:, :top], out[:, bottom:] = 0, 0
        out[:, top:bottom, :pw], out[:, top:bottom, pw + w :] = 0, 0
        out[:, top:bottom, pw : pw + w] = part
        return out  # (m, seen, pw + w + pw, c)


def _blocks(x: Array, n: int, ho: int, wo: int, k: int, whole_images: bool) -> list[tuple[slice, slice]]:
    """Cut the output pixels into (images, rows) so that the columns of each block stay in cache.

    A block is a run of whole images, or, where one image is too large, a run of rows of one.
    """
    if not on_host(x) or n == 0:
        return [(slice(0, n), slice(0, ho))]
    row_bytes = wo * k * x.itemsize
    if whole_images or ho * row_bytes <= COLUMN_BYTES:
        runs = blocks.spans(n, COLUMN_BYTES // (ho * row_bytes))
        return [(images, slice(0, ho)) for images in runs]
    count = len(blocks.spans(ho, COLUMN_BYTES // row_bytes))
    runs = blocks.cut(ho, min(count + count % 2, ho))  # an even number: two threads have as much each
    return [(slice(image, image + 1), rows) for image in range(n) for rows in runs]


def _copy_windows(cols: Array, x: Array, kernel: Pair, stride: Pair, dilation: Pair) -> None:
    """Copy the windows of x into (m, ho, wo, kh kw c): ``cols[...] = windows(x, ...)``, run by run.

    A run is what stands together in memory: the kw c numbers of a window's row, or, if the kernel is dilated, the c of
    a pixel. NumPy is told that a run is one number (of dtype "void": so many bytes, no matter what they mean), and
    copies it as one. As arrays within arrays, they take half as long again.
    """
    (kh, kw), (sh, sw), (dh, dw), (sn, sy, sx, _) = kernel, stride, dilation, x.strides
    c = x.shape[3]
    if dw == 1:
        kw, c = 1, kw * c
    shape, run = (*cols.shape[:3], kh, kw), np.dtype((np.void, c * x.itemsize))
    runs = np.ndarray(shape, run, x, strides=(sn, sh * sy, sw * sx, dh * sy, dw * sx))
    np.copyto(np.ndarray(shape, run, cols), runs)
