"""Exercises of chapter 9: making convolution fast."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from minigrad.device import windows


def intensity(pixels, kernel, stride, c, o, blocks):
    """Return the operations per byte of a float32 convolution without padding.

    There are `pixels` output pixels, and ``stride ** 2`` times as many pixels in the image; `kernel` is (kh, kw). A
    multiply-add counts as two operations. The image is read once, the weights are read once, and the result is written
    once. If `blocks` is False, the columns are also written to memory and read again, except for a 1x1 kernel of stride
    1, which needs no columns.
    """
    raise NotImplementedError


def convolve_in_blocks(x, w, block_bytes):
    """Convolve x (n, h, w, c) with w (kh, kw, c, o), at stride 1 and without padding, in blocks of images.

    A block has as many images as possible with at most `block_bytes` of columns, but at least one image. All blocks
    use the same buffer for their columns. The number of images need not be a multiple of the images in a block.
    """
    raise NotImplementedError


def sum_of_products(product, count, threads):
    """Return the array ``product(0) + ... + product(count - 1)``, with the same bits for every number of threads.

    Cut ``range(count)`` into four parts with ``np.array_split``. For each part, a partial sum adds its products from
    the first to the last; at the end, the four partial sums are added in order. A ``ThreadPoolExecutor`` of `threads`
    threads computes the partial sums. Do not change the arrays that `product` returns: they may be in use elsewhere.
    `count` is at least 4.
    """
    raise NotImplementedError
