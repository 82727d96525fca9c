"""Solutions of chapter 9: making convolution fast."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from minigrad.device import windows


def intensity(pixels, kernel, stride, c, o, blocks):
    """Return the operations per byte of a float32 convolution without padding.

    Even in blocks, a 1x1 layer with few channels stays under the slope of the roofline: its intensity is about
    c o / (2 (c + o)), however the work is arranged. This is why it is better to fuse such a layer with its neighbours.
    """
    k = kernel[0] * kernel[1] * c
    numbers = pixels * stride**2 * c + k * o + pixels * o
    if not blocks and (kernel, stride) != ((1, 1), 1):
        numbers += 2 * pixels * k
    return 2 * pixels * k * o / (4 * numbers)


def convolve_in_blocks(x, w, block_bytes):
    """Convolve in blocks of images; the last block may use only a part of the buffer."""
    kh, kw, c, o = w.shape
    view = windows(x, (kh, kw), (1, 1), (1, 1))  # (n, ho, wo, kh, kw, c)
    n, ho, wo = view.shape[:3]
    images = min(n, max(1, block_bytes // (view[:1].size * x.itemsize)))
    buffer = np.empty((images, *view.shape[1:]), x.dtype)
    out = np.empty((n, ho, wo, o), x.dtype)
    for i in range(0, n, images):
        part = out[i : i + images]
        cols = buffer[: len(part)]
        np.copyto(cols, view[i : i + images])
        np.matmul(cols.reshape(-1, kh * kw * c), w.reshape(-1, o), out=part.reshape(-1, o))
    return out


def sum_of_products(product, count, threads):
    """Add up four partial sums: their terms do not depend on the threads, and ``map`` returns them in order."""

    def lane(numbers):
        total = product(numbers[0]).copy()
        for i in numbers[1:]:
            total += product(i)
        return total

    with ThreadPoolExecutor(threads) as pool:
        first, *others = pool.map(lane, np.array_split(np.arange(count), 4))
    for other in others:
        first += other
    return first
