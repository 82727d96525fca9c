"""im2col: the windows of images as rows of a matrix, one block of pixels at a time.

Write each output pixel's window as a row of a matrix, and convolution is a matrix product. The matrix, (pixels, kh kw
c), is called the *columns*. For a whole batch it is kh kw times as large as the batch, and writing it to memory and
reading it back would take longer than the product. So the columns are made for one block of pixels at a time, small
enough to be still in cache when they are multiplied.

Definition: :func:`minigrad.device.windows` of the padded images, each window as a row.

Next: :mod:`minigrad.kernels.winograd`.
"""

from __future__ import annotations

import numpy as np

from minigrad.device import namespace, on_host, windows
from minigrad.kernels import blocks
from minigrad.typing import Array, Pair


class Columns:
    """The columns of images, made block by block.

    Parameters
    ----------
    x : array of shape (n, h, w, c)
    kernel, stride, padding, dilation : (int, int)
        Along height and width.
    whole_images : bool
        Whether each block must consist of whole images.
    size : (int, int), optional
        Height and width of the output, if more windows are wanted than fit; pixels outside the border are zeros.
    nbytes : int, optional
        Of the columns in a block.
    cut : list of (images, rows), optional
        The blocks, if they are given.

    Attributes
    ----------
    shape : (n, ho, wo)
        The shape of the output; each of its pixels has a window.
    blocks : list of (images, rows)
        Slices of the output pixels.
    """

    def __init__(
        self,
        x: Array,
        kernel: Pair,
        stride: Pair,
        padding: Pair,
        dilation: Pair,
        whole_images: bool = False,
        *,
        size: Pair | None = None,
        nbytes: int = 0,
        cut: list[tuple[slice, slice]] | None = None,
    ) -> None:
        n, h, w, c = x.shape
        (kh, kw), (sh, sw), (ph, pw), (dh, dw) = kernel, stride, padding, dilation
        self.x, self.kernel, self.stride, self.padding, self.dilation = x, kernel, stride, padding, dilation
        self.span = dh * (kh - 1) + 1, dw * (kw - 1) + 1  # pixels of x that a window covers, with those it skips
        ho, wo = size or ((h + 2 * ph - self.span[0]) // sh + 1, (w + 2 * pw - self.span[1]) // sw + 1)
        self.shape = n, ho, wo
        self.blocks = cut or _blocks(x, n, ho, wo, kh * kw * c, nbytes or blocks.COLUMN_BYTES, whole_images)

    def block(self, i: int) -> Array:
        """Return the columns of a block, (pixels, kh kw c)."""
        images, rows = self.blocks[i]
        x, (kh, kw) = self._padded(images, rows), self.kernel
        m, _, _, c = x.shape
        if not on_host(x):
            return windows(x, self.kernel, self.stride, self.dilation).reshape(-1, kh * kw * c)
        cols = np.empty((m, rows.stop - rows.start, self.shape[2], kh * kw * c), x.dtype)
        _copy_windows(cols, x, self.kernel, self.stride, self.dilation)
        return cols.reshape(-1, kh * kw * c)

    def _padded(self, images: slice, rows: slice) -> Array:
        """Return the input of a block's windows: some rows of x, and zeros where windows extend over its border."""
        (h, w, c), (ph, pw), (sh, sw) = self.x.shape[1:], self.padding, self.stride
        first = rows.start * sh - ph  # row of x
        height = (rows.stop - rows.start - 1) * sh + self.span[0]
        width = max((self.shape[2] - 1) * sw + self.span[1], w + pw)
        top, bottom = (min(max(edge - first, 0), height) for edge in (0, h))
        xp, part = namespace(self.x), self.x[images, first + top : first + bottom]
        if top == 0 and bottom == height and width == w:
            return xp.ascontiguousarray(part)
        out = xp.empty((len(part), height, width, c), dtype=part.dtype)
        out[:, :top], out[:, bottom:] = 0, 0
        out[:, top:bottom, :pw], out[:, top:bottom, pw + w :] = 0, 0
        out[:, top:bottom, pw : pw + w] = part
        return out  # (m, height, width, c)


def _blocks(x: Array, n: int, ho: int, wo: int, k: int, nbytes: int, whole_images: bool) -> list[tuple[slice, slice]]:
    """Cut the output pixels into (images, rows) so that the columns of each block stay in cache.

    A block consists of some whole images or, where one image is too large, of some rows of one image.
    """
    if not on_host(x) or n == 0:
        return [(slice(0, n), slice(0, ho))]
    row_bytes = wo * k * x.itemsize
    if whole_images or ho * row_bytes <= nbytes:
        return [(images, slice(0, ho)) for images in blocks.spans(n, nbytes // (ho * row_bytes))]
    count = len(blocks.spans(ho, nbytes // row_bytes))
    parts = blocks.split(ho, min(count + count % 2, ho))  # an even number: two threads share one image equally
    return [(slice(image, image + 1), rows) for image in range(n) for rows in parts]


def _copy_windows(cols: Array, x: Array, kernel: Pair, stride: Pair, dilation: Pair) -> None:
    """Copy the windows of x into (m, ho, wo, kh kw c): ``cols[...] = windows(x, ...)``, run by run.

    A run is contiguous in memory: the kw c numbers of one row of a window or, if the kernel is dilated, the c numbers
    of a pixel. A run is declared as one item (of dtype "void": uninterpreted bytes), so NumPy copies it at once.
    Copying it as an axis of the array takes at least 1.2 times as long.
    """
    (kh, kw), (sh, sw), (dh, dw), (sn, sy, sx, _) = kernel, stride, dilation, x.strides
    c = x.shape[3]
    if dw == 1:
        kw, c = 1, kw * c
    shape, run = (*cols.shape[:3], kh, kw), np.dtype((np.void, c * x.itemsize))
    runs = np.ndarray(shape, run, x, strides=(sn, sh * sy, sw * sx, dh * sy, dw * sx))
    np.copyto(np.ndarray(shape, run, cols), runs)
