r"""
8. Making convolution fast
==========================

The convolution is a matrix product now. Why does the processor still spend much of its time waiting?

The last chapter ended with a price: the columns take nine times as much memory as the image. In this chapter we avoid
this price. The topic is where numbers are stored while they are used. First we predict how fast a layer can be, before
we measure it. Then we find the one change that matters most. At the end we use a second core, without changing a single
bit of the result.
"""

# %%
# The cost of arithmetic and of memory
# ------------------------------------
#
# A core of a modern processor can do some dozens of multiplications and additions per cycle, if the numbers are already
# close to it. From main memory it gets about one number per cycle. Between the core and main memory there are *caches*,
# which are small and fast: the first holds tens of kilobytes, the second (L2) about a megabyte. A program is as fast as
# the slower of the two, arithmetic or memory.
#
# We can measure both. For arithmetic, we multiply two matrices that fit into the cache. For memory, we copy an array
# that is too large for every cache. BLAS, the library that multiplies matrices for NumPy, is limited to one thread for
# now, and we do not count time that other programs take. All times here depend on the machine; only ratios are printed.

import time

import matplotlib.pyplot as plt
import numpy as np
from threadpoolctl import threadpool_limits

import minigrad as mg
from minigrad.device import windows
from minigrad.kernels.blocks import COLUMN_BYTES, PARTIAL_SUMS, spans
from minigrad.train.report import show, tidy

rng = np.random.default_rng(8)


def seconds(f, *arguments, repeat=9):
    """Time a call on one thread: the best of several."""
    best = np.inf
    with threadpool_limits(1):
        for _ in range(repeat):
            start = time.thread_time()
            f(*arguments)
            best = min(best, time.thread_time() - start)
    return best


square = rng.standard_normal((512, 512), dtype=np.float32)
large = np.ones(1 << 24, np.float32)
target = np.empty_like(large)

peak = 2 * 512**3 / seconds(np.matmul, square, square)  # operations per second
bandwidth = 2 * large.nbytes / seconds(np.copyto, target, large)  # bytes per second, read and written
balance = peak / bandwidth
print(f"while one float32 comes from memory, this core can do about {4 * balance:.0f} operations (machine-dependent)")

# %%
# The roofline
# ------------
#
# Suppose a program does :math:`F` operations (a multiply-add counts as two) and moves :math:`B` bytes between memory
# and cache. The ratio :math:`I = F / B` is called its *arithmetic intensity*. The arithmetic takes at least
# :math:`F / \mathrm{peak}` seconds, and moving the bytes takes at least :math:`B / \mathrm{bandwidth}` seconds. So
#
# .. math::
#     \mathrm{speed} = \frac{F}{\mathrm{time}} \le \min(\mathrm{peak},\; I \cdot \mathrm{bandwidth}) .
#
# As a function of :math:`I`, this limit is first a slope and then a flat roof (S. Williams, A. Waterman, D. Patterson,
# "Roofline", 2009). On the slope, memory sets the limit, and faster arithmetic does not help. Such a program must move
# to the right: it has to do more operations for each byte.
#
# Now count for a layer with a kernel of 3 by 3, :math:`c` input channels and :math:`o` output channels, per output
# pixel. A row of the columns has :math:`k = 9c` numbers of 4 bytes each. The arithmetic is always :math:`F = 2 k o`.
# With *im2col at once*, the columns of the whole batch are written to memory and read again; the image is read and the
# result is written. (We leave out the weights, because they are few and are used for all pixels.)
#
# .. math::
#     B_{\text{at once}} = 4\,(c + 2k + o), \qquad
#     B_{\text{blocks}} = 4\,(c + o) .
#
# The second formula shows the idea of this chapter. Make the columns only for a *block* of pixels, which is so small
# that its columns are still in cache when the product reads them. Then write the columns of the next block over them.
# For :math:`c = o`, the intensity grows tenfold:

print(" c = o   operations   bytes at once   in blocks   intensity at once   in blocks")
for c in (4, 16, 64):
    work, moved, kept = 2 * 9 * c * c, 4 * (c + 2 * 9 * c + c), 4 * (c + c)
    print(f"{c:6}{work:13,}{moved:16,}{kept:12,}{work / moved:20.1f}{work / kept:12.1f}")
    assert np.isclose((work / kept) / (work / moved), 10)

# %%
# An experiment: the size of a block
# ----------------------------------
#
# Here is a program for both methods. The only difference is the number of images for which columns are made at a time.


class Layer:
    """A padded batch of images and a 3x3 kernel as a matrix; the stride is 1."""

    def __init__(self, n, size, c, o):
        self.x = rng.standard_normal((n, size + 2, size + 2, c), dtype=np.float32)
        self.w = rng.standard_normal((9 * c, o), dtype=np.float32)  # (kh kw c, o)
        self.view = windows(self.x, (3, 3), (1, 1), (1, 1))  # (n, ho, wo, kh, kw, c)
        self.operations = 2 * n * size * size * 9 * c * o

    def convolve(self, images):
        """Convolve with columns for `images` images at a time; with all images, this is im2col at once."""
        n, ho, wo, kh, kw, c = self.view.shape
        out = np.empty((n, ho, wo, self.w.shape[1]), np.float32)
        cols = np.empty((images, ho, wo, kh, kw, c), np.float32)  # one buffer, used again and again
        for i in range(0, n, images):
            np.copyto(cols, self.view[i : i + images])
            np.matmul(cols.reshape(-1, kh * kw * c), self.w, out=out[i : i + images].reshape(-1, out.shape[3]))
        return out


layer = Layer(32, 32, 16, 16)
counts = (1, 2, 4, 8, 16, 32)
np.testing.assert_allclose(layer.convolve(1), layer.convolve(32), atol=1e-4)
mebibytes = [layer.view[:images].size * 4 / 2**20 for images in counts]
times = [seconds(layer.convolve, images) for images in counts]

figure, panel = plt.subplots(figsize=(7, 3.4), layout="constrained")
figure.set_label(
    "Time against the size of a block's columns: a curve that is low in the middle, near minigrad's block, and far "
    "higher for large blocks and for all columns at once."
)
tidy(panel)
panel.plot(mebibytes, np.array(times) / min(times), "o-", color="black")
panel.axvline(COLUMN_BYTES / 2**20, ls=":", color="black")
panel.annotate("minigrad's block", (COLUMN_BYTES / 2**20, 0.12), (4, 0), ("data", "axes fraction"), "offset points")
panel.set_xscale("log", base=2)
panel.set(xlabel="columns of a block, MiB (last point: im2col at once)", ylabel="time, shortest = 1", ylim=(0, None))
panel.set_title("Blocks of different sizes, same result: 32 images of 32x32, 16 to 16 channels", fontsize=10)
print(f"at once takes {times[-1] / min(times):.1f} times as long as in the best blocks (machine-dependent)")

# %%
# Where the curve rises on the right, the columns no longer fit into a cache: either the core's own cache, or the third
# cache (L3), which several cores share. A block can also be too small, because each block costs a few Python calls.
# Every size near 1 MiB works well. minigrad uses 1.5 MiB for all layers and all machines. A fixed size has another
# advantage, which we will need soon.
#
# The layer on the roofline
# -------------------------
#
# Now we measure several numbers of channels with both methods, and draw them under the measured roof.

channels = (4, 8, 16, 32, 64)
figure, panel = plt.subplots(figsize=(7, 4), layout="constrained")
figure.set_label(
    "Speed against arithmetic intensity, logarithmic, under a roof that rises and then is level: the points of im2col"
    " at once lie left on the slope, those of blocks further right and higher."
)
tidy(panel)
intensities = np.geomspace(0.2, 400, 200)
panel.loglog(intensities, np.minimum(1, intensities / balance), color="black", lw=2, label="the roof, measured")
points = {"at once": [], "blocks": []}
for c in channels:
    layer = Layer(512 // c, 32, c, c)  # 18 MiB of columns
    block = max(m for m in (1, 2, 4) if layer.view[:m].nbytes <= COLUMN_BYTES or m == 1)
    for name, images, moved in (("at once", 512 // c, 4 * (c + 18 * c + c)), ("blocks", block, 4 * (c + c))):
        speed = layer.operations / seconds(layer.convolve, images, repeat=5)
        points[name].append((18 * c * c / moved, speed / peak))
for (name, found), marker, fill in zip(points.items(), ("s", "o"), ("white", "black"), strict=True):
    panel.plot(*zip(*found, strict=True), marker, ls=":", mfc=fill, color="black", label=name)
    for c, place in zip(channels, found, strict=True):
        panel.annotate(f"{c}", place, (5, -11), textcoords="offset points", fontsize=8)
panel.set(xlabel="arithmetic intensity: operations per byte of memory", ylabel="speed, peak = 1", ylim=(0.05, 1.5))
panel.set_title("3x3 convolutions; the number at a point is its channels", fontsize=10)
legend = panel.legend(loc="lower right")

# %%
# In blocks, every point moves to the right by a factor of ten. It leaves the slope, so it can be faster. How much
# faster it gets depends on the machine; with a large L3 cache the slope matters less. Main memory no longer explains
# the distance between the round points and the roof. With few channels the matrix product is narrow. Then the copy into
# the columns takes as long as the arithmetic, although it stays in cache. The next two sections improve the copy and
# the product.
#
# Copying in runs
# ---------------
#
# A copy is fast along a *run*, that is, a group of numbers that are contiguous in memory. Between two runs the program
# has to compute the next address. With images (n, h, w, c), a row of a window holds the channels of three neighbouring
# pixels: one run of :math:`k_w c` numbers. With images (n, c, h, w), it would be a run of :math:`k_w`, that is, of
# three numbers.
#
# NumPy starts a new loop for each run. But we can declare a run as *one* item of a given number of bytes (the dtype
# ``void``, which does not say what the bytes mean). Then a single loop copies several runs. Here are four pixels of
# three channels, and the windows of two pixels:

line = np.arange(12, dtype=np.float32)
run = np.dtype((np.void, 24))  # two pixels, 24 bytes, are one item
items = np.ndarray((3,), run, line, strides=(12,))  # the next item begins one pixel further
print(items.copy().view(np.float32).reshape(3, 6))
assert items.tobytes() == windows(line.reshape(1, 1, 4, 3), (1, 2), (1, 1), (1, 1)).tobytes()

# %%
# Now we copy the same amount of data from windows with runs of different lengths, as numbers and as items:


def copy_runs(cols, x, view):
    """Copy windows (n, ho, wo, kh, kw, c) of x, with the kw c numbers of a window's row as one item."""
    shape, run = view.shape[:4], np.dtype((np.void, view[0, 0, 0, 0].nbytes))
    np.copyto(np.ndarray(shape, run, cols), np.ndarray(shape, run, x, strides=view.strides[:4]))


print("channels   length of a run   time per number, longest run = 1   as items (machine-dependent)")
per_number = {}
for c in (1, 4, 16, 64):
    image = rng.standard_normal((1, 34, 2048 // c + 2, c), dtype=np.float32)
    view = windows(image, (3, 3), (1, 1), (1, 1))  # (1, 32, 2048 / c, 3, 3, c)
    cols, same = np.empty(view.shape, np.float32), np.empty(view.shape, np.float32)
    per_number[c] = np.array([seconds(np.copyto, cols, view), seconds(copy_runs, same, image, view)]) / cols.size
    assert np.array_equal(cols, same)
for c in per_number:
    as_numbers, as_items = per_number[c] / per_number[64][0]
    print(f"{c:8}{3 * c:18}{as_numbers:20.1f}{as_items:25.1f}")

# %%
# Long runs are the second reason for channels last. The first layer of a net has only three channels, so it loses most.
# As items, short runs take about two thirds of the time. For long runs, the time is spent on the bytes themselves. This
# is minigrad's code:
#
# .. literalinclude:: /../minigrad/kernels/columns.py
#    :pyobject: _copy_windows
#
# One more improvement is possible. The windows of two neighbouring pixels share all columns but one. So copy the two as
# *one* window that is one column wider. This gives half as many runs, each of four columns instead of three, so we copy
# two thirds of the numbers. The weights of the wide window compute two pixels at once: they hold w for the first pixel,
# w moved by one column for the second, and zeros elsewhere. The zeros are multiplied too, so the arithmetic grows by a
# third. We accept more arithmetic, which is cheap here, for less copying, which is expensive. Try it on a first layer:

c, o = 3, 16
layer = Layer(8, 32, c, o)
wide = np.zeros((3, 4, c, 2, o), np.float32)  # (kh, kw + 1, c, which of the two pixels, o)
wide[:, :3, :, 0] = wide[:, 1:, :, 1] = layer.w.reshape(3, 3, c, o)
pairs = windows(layer.x, (3, 4), (1, 2), (1, 1))  # (n, ho, wo / 2, kh, kw + 1, c): two columns further each time


def convolve(cols, view, weights):
    copy_runs(cols, layer.x, view)
    return cols.reshape(-1, len(weights)) @ weights  # in pairs, a row is two pixels of o channels


singly = np.empty(layer.view.shape, np.float32), layer.view, layer.w
in_pairs = np.empty(pairs.shape, np.float32), pairs, wide.reshape(12 * c, 2 * o)
np.testing.assert_allclose(convolve(*in_pairs).reshape(-1, o), convolve(*singly), atol=1e-4)
copy = np.divide(*[seconds(copy_runs, cols, layer.x, view) for cols, view, _ in (singly, in_pairs)])
whole = seconds(convolve, *singly) / seconds(convolve, *in_pairs)
print(f"one by one, the copy takes {copy:.1f} times as long, the layer {whole:.1f} times (machine-dependent)")

# %%
# minigrad does this at stride 1, if a run is shorter than 64 numbers and the width is even.
#
# Small products
# --------------
#
# The matrix product moves numbers, too. BLAS first *packs*: it copies both matrices into the order in which its
# innermost loop reads them. This is worth its time if every number is used often. But a number of the columns is used
# only once for each output channel, and there are only 16 or 32 of them. For small products, of at most a million
# multiply-adds, OpenBLAS has kernels that do not pack; they exist on processors with AVX-512. The product of a block is
# larger, but we can cut it into pieces of a few rows:

k, o = 192, 32  # from 16 to 16 channels, in pairs
cols, weights = rng.standard_normal((2048, k), dtype=np.float32), rng.standard_normal((k, o), dtype=np.float32)
pieces = cols.reshape(-1, 128, k)  # a stack of matrices: 786,432 multiply-adds each
np.testing.assert_allclose((pieces @ weights).reshape(-1, o), cols @ weights, atol=1e-3)
gain = seconds(np.matmul, cols, weights, repeat=50) / seconds(np.matmul, pieces, weights, repeat=50)
verdict = "a gain" if gain > 1.05 else "no gain with the BLAS of this processor"
print(f"the whole product takes {gain:.2f} times as long as its pieces: {verdict} (machine-dependent)")

# %%
# minigrad asks which kernels OpenBLAS uses on this processor, and cuts the product only where this is faster
# (``products.multiply``).
#
# Here is the whole forward pass; you know nearly every line of it. A 1x1 kernel needs no columns at all.
# ``_pixels_at_once`` decides whether to compute pixels in pairs, and ``_weights_at_once`` makes the weights for the
# pairs. ``Columns`` cuts the output pixels into blocks: whole images, or some rows of a large image. It copies the
# windows of one block at a time (:doc:`/source/minigrad/kernels/columns`). Even the border of zeros is only put around
# a block. To put it around the whole batch, we would have to read and write the batch once more; this would move
# :math:`4\,(3c + o)` bytes per pixel instead of :math:`4\,(c + o)`. The next section explains ``threads.run``, and the
# next chapter the lines about Winograd's algorithm.
#
# .. literalinclude:: /../minigrad/kernels/conv.py
#    :pyobject: forward
#
# Two threads, the same bits
# --------------------------
#
# NumPy releases Python's global lock while it copies or multiplies, so two threads can work on two blocks. BLAS has its
# own threads, but we turn them off: they would have to share one small block, and they would compete with our threads
# for the same cores.
#
# In the forward pass, blocks are independent: each block writes only its own output pixels. In the backward pass they
# are not. The gradient of the weights is a sum over *all* pixels,
# :math:`dw = \sum_r \mathrm{cols}[r, :]^{\top} g[r, :]`. Let each of T threads compute the sum over its share of the
# rows, and add up the T partial sums:

rows, g = rng.standard_normal((40_000, 36), dtype=np.float32), rng.standard_normal((40_000, 8), dtype=np.float32)
exact = rows.astype(float).T @ g.astype(float)


def by_shares(threads):
    """Add up one partial sum for each thread."""
    return sum(rows[s].T @ g[s] for s in spans(len(rows), -(-len(rows) // threads)))  # slices of equal length


with threadpool_limits(1):
    sums = {threads: by_shares(threads) for threads in (1, 2, 3, 4)}
for shares, total in sums.items():
    differ, error = np.mean(total != sums[1]), abs(total - exact).max()
    print(f"{shares} shares: {differ:4.0%} of the numbers differ from one share's; error {error:.0e}")
assert not np.array_equal(sums[1], sums[2])

# %%
# None of these results is wrong. Floating-point addition rounds after every step, so :math:`(a + b) + c` and
# :math:`a + (b + c)` differ in the last bits, and a different number of threads means a different order of additions.
# But training amplifies such differences: after some hundred steps, two runs have different weights. Your result could
# not be reproduced with another number of threads, and a bug that appears with two threads might not appear with four.
#
# One rule solves this. How the work is cut into pieces may depend on shapes and constants only. (It may also depend on
# the kernels of BLAS. They round differently on another kind of processor anyway, and we cannot change this.) The
# number of threads only decides which thread computes which piece. So minigrad cuts the pixels into blocks with a fixed
# limit of bytes, and distributes the blocks over four *partial sums*, for every number of threads. Each partial sum
# takes its run of blocks in order, from the first to the last. At the end, the four partial sums are added in order.
#
# .. literalinclude:: /../minigrad/kernels/products.py
#    :pyobject: sum_products

figure, panels = plt.subplots(2, 1, figsize=(9, 3), layout="constrained", sharex=True)
figure.set_label(
    "Two rows of 22 numbered blocks in four runs, one run for each partial sum: with one thread all have one shade, "
    "with two threads the shades alternate; the runs are the same."
)
runs = [range(22)[run] for run in spans(22, -(-22 // PARTIAL_SUMS))]  # of blocks, one for each partial sum
for panel, count in zip(panels, (1, 2), strict=True):
    for number, blocks in enumerate(runs):
        who = number % count  # a free thread takes the next partial sum: this is one possible case
        for block in blocks:
            panel.add_patch(plt.Rectangle((block + 0.06, 0), 0.88, 1, fc=("0.85", "0.45")[who], ec="black", lw=0.6))
            panel.text(block + 0.5, 0.5, block, ha="center", va="center", fontsize=8)
        begin, end = blocks[0], blocks[-1] + 1
        panel.annotate("", (end, -0.35), (begin, -0.35), arrowprops={"arrowstyle": "->"})
        panel.text((begin + end) / 2, -0.95, f"sum {number}, by thread {who}", ha="center", fontsize=9)
    panel.set(xlim=(-0.2, 22.2), ylim=(-1.2, 1.1))
    panel.axis("off")
    panel.set_title(f"threads: {count}; total = ((sum 0 + sum 1) + sum 2) + sum 3", fontsize=10, loc="left")
assert len(runs) == PARTIAL_SUMS

# %%
# The greys change with the number of threads: another thread computes a partial sum. The blocks of each partial sum and
# the order of the additions stay the same. So the bits of the result stay the same, too. We can assert this without any
# tolerance:

x = rng.standard_normal((64, 16, 16, 16), dtype=np.float32)
w = rng.standard_normal((3, 3, 16, 16), dtype=np.float32)
cotangent = mg.Tensor(rng.standard_normal((64, 16, 16, 16), dtype=np.float32))


def everything(threads):
    """Return out, dx and dw, as bytes, computed with `threads` threads."""
    before = mg.get_num_threads()
    mg.set_num_threads(threads)
    xt, wt = mg.Tensor(x, requires_grad=True), mg.Tensor(w, requires_grad=True)
    out = mg.conv2d(xt, wt, padding=1)
    dx, dw = mg.grad(out, (xt, wt), cotangent)
    mg.set_num_threads(before)
    return [a.data.tobytes() for a in (out, dx, dw)]


one = everything(1)
for threads in (2, 3, 5):
    assert everything(threads) == one
print("out, dx and dw have the same bits on 1, 2, 3 and 5 threads")

# %%
# The rule has a price: no more than four threads can share a sum over pixels. With a few cores, this price is low.
#
# These ideas give most of the speed on any machine, including a GPU. Count the bytes. Keep numbers that are used again
# close to the core. Read memory in long runs. Cut the work into pieces first, and only then distribute it over threads.
# :doc:`/source/minigrad/kernels/threads` has the helper threads, :doc:`/source/minigrad/kernels/blocks` the blocks.
#
# With many channels, what is left is the arithmetic. The :doc:`next chapter </course/10_fewer_multiplications>` does
# less of it.
#
# Exercises
# ---------
#
# 1. **Intensity.** Count the operations and bytes of a convolution with any kernel and stride, at once and in blocks,
#    this time with the weights. Then find out which layers stay under the slope even in blocks.
# 2. **Blocks of bytes.** Convolve in blocks of as many images as fit into a given number of bytes, with one buffer. The
#    check measures how much memory you use.
# 3. **A sum for every number of threads.** Add up many arrays that threads compute. The bits must be the same for any
#    number of threads, in whichever order the threads finish.
#
# .. literalinclude:: /exercises/chapter_09.py
#
# Fill in ``docs/exercises/chapter_09.py`` and run ``python docs/exercises/check.py 9``.

show()
