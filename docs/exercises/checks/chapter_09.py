"""Checks of chapter 9: making convolution fast."""

import threading
import time
import tracemalloc

import numpy as np

import minigrad as mg


def check_intensity(work):
    """Count the operations, 2 for each multiply-add, and the bytes, 4 for each number. A row of the columns has kh kw c
    numbers. Writing and reading the columns moves each of their numbers twice.
    """
    cases = [
        ((1024, (3, 3), 1, 16, 16, False), 1024 * 4608 / (1024 * 1280 + 9216), "3x3, 16 channels, at once"),
        ((1024, (3, 3), 1, 16, 16, True), 1024 * 4608 / (1024 * 128 + 9216), "3x3, 16 channels, in blocks"),
        ((256, (3, 3), 2, 16, 32, True), 256 * 9216 / (256 * 384 + 18432), "3x3, stride 2, 16 to 32, in blocks"),
        ((256, (3, 3), 2, 16, 32, False), 256 * 9216 / (256 * 1536 + 18432), "3x3, stride 2, 16 to 32, at once"),
        (
            (3136, (1, 1), 1, 64, 256, False),
            3136 * 32768 / (3136 * 1280 + 65536),
            "1x1, stride 1 (which needs no columns)",
        ),
        (
            (784, (1, 1), 2, 8, 4, False),
            784 * 64 / (784 * 208 + 128),
            "1x1, stride 2, at once (columns with every second pixel)",
        ),
        ((100, (1, 7), 1, 3, 5, True), 100 * 210 / (100 * 32 + 420), "1x7, 3 to 5 channels, in blocks"),
    ]
    for arguments, expected, name in cases:
        got = work.intensity(*arguments)
        assert np.isclose(got, expected, rtol=1e-9), (
            f"{name}: expected {expected:.3f} operations per byte, got {got:.3f}"
        )


def check_convolve_in_blocks(work):
    """Compute the bytes of the columns of one image, and from them the number of images in a block. Allocate the buffer
    once, before the loop. In the last block, use only as much of the buffer as there are images left.
    """
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((11, 12, 10, 4), "f4"), rng.standard_normal((3, 2, 4, 5), "f4")
    expected = mg.conv2d(x, w)
    image = 10 * 9 * 3 * 2 * 4 * 4  # bytes of one image's columns
    for images in (0.5, 1, 3, 4.7, 11, 100):
        got = work.convolve_in_blocks(x, w, int(images * image))
        case = f"with block_bytes for {images} images"
        assert got.shape == expected.shape, f"{case}: expected a result of shape {expected.shape}, got {got.shape}"
        worst = np.abs(got - expected).max()
        assert worst < 1e-4, f"{case}: the largest error of the result is {worst:.2g}"
    x = rng.standard_normal((64, 18, 18, 8), "f4")
    w = rng.standard_normal((3, 3, 8, 8), "f4")
    image = 16 * 16 * 9 * 8 * 4
    for images in (2, 8):
        tracemalloc.start()
        out = work.convolve_in_blocks(x, w, images * image)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        buffers = (most - out.nbytes) / (images * image)
        assert buffers < 1.5, (
            f"memory for {buffers:.1f} blocks was in use, not counting the result: expected one buffer for all blocks"
        )
        assert buffers > 0.7, f"the buffer has only {buffers:.0%} of block_bytes: expected blocks as large as possible"


def check_sum_of_products(work):
    """Which numbers are added, and in which order, must not depend on the threads. So let each part be one task that
    copies its first product and adds the others; collect the four results in the order of the parts.
    """
    rng = np.random.default_rng(0)
    scale = 10.0 ** rng.integers(-3, 4, (23, 1, 1))
    values = (rng.standard_normal((23, 20, 20)) * scale).astype("f4")
    before = values.copy()
    lanes = np.array_split(np.arange(23), 4)
    expected = None
    for lane in lanes:
        partial = values[lane[0]].copy()
        for i in lane[1:]:
            partial += values[i]
        expected = partial if expected is None else expected + partial
    for threads in (1, 2, 3, 4):
        for seed in range(3):
            naps = np.random.default_rng(seed).uniform(0, 0.003, 23)

            def product(i, naps=naps):
                time.sleep(naps[i])
                return values[i]

            got = work.sum_of_products(product, 23, threads)
            assert np.array_equal(values, before), "an array that product returned was changed"
            assert np.allclose(got, expected, rtol=1e-4, atol=1e-1), f"{threads} threads: the result is not the sum"
            assert got.tobytes() == expected.tobytes(), (
                f"{threads} threads: the bits differ from those of four partial sums added in order"
            )
    at_work, most, lock, together = 0, 0, threading.Lock(), threading.Event()
    deadline = time.monotonic() + 2.0  # a busy machine may start a thread late

    def watched(i):
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
            if at_work == 3:
                together.set()
        together.wait(max(0.0, deadline - time.monotonic()))
        time.sleep(0.005)
        with lock:
            at_work -= 1
        return values[i]

    work.sum_of_products(watched, 23, 3)
    assert most == 3, f"with threads=3, expected 3 products to be computed at the same time, got {most}"
