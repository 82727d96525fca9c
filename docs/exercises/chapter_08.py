"""Exercises of chapter 8: making it fast."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from minigrad.device import windows


def intensity(pixels, kernel, stride, c, o, blocks):
    """Return operations per byte of a convolution of float32 numbers without padding.

    There are `pixels` output pixels, and ``stride ** 2`` times as many pixels in the image; `kernel` is (kh, kw). A
    multiply-add is two operations. The image is read once, and the result and the weights are moved once. If `blocks`
    is False, the columns are written to memory and read again; a 1x1 kernel of stride 1 has none.
    """
    raise NotImplementedError


def convolve_in_blocks(x, w, block_bytes):
    """Convolve x (n, h, w, c) with w (kh, kw, c, o), at stride 1 and without padding, in blocks of images.

    A block has as many images as `block_bytes` of columns allow, but at least one. The columns of all blocks are made
    in one buffer. The number of images need not be a multiple of the block's.
    """
    raise NotImplementedError


def sum_of_products(product, count, threads):
    """Return ``product(0) + ... + product(count - 1)``, arrays, with the same bits for every number of threads.

    Cut ``range(count)`` into four lanes with ``np.array_split``. A lane adds its products from first to last, and the
    lanes are added in order. The lanes are worked on by a ``ThreadPoolExecutor`` of `threads` threads. Leave what
    `product` returns as it is: it may be in use elsewhere. `count` is at least 4.
    """
    raise NotImplementedError
