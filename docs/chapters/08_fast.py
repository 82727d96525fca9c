r"""
8. Making it fast
=================

The convolution is one product of matrices now. Why does the processor still spend much of its time waiting?

The last chapter ended with a price: the columns are nine times as large as the image. This one gets the price back.
It is about where numbers *are* while they are used. We shall predict what a layer can reach before we measure it,
find the one change that matters, and then put a second core to work without changing a single bit of the result.
"""

# %%
# What an operation costs
# -----------------------
#
# A core of today can do some dozens of multiplications and additions per cycle, if the numbers are at hand. From main
# memory it gets about one number per cycle. In between stand *caches*, small and near: the first holds tens of
# kilobytes, the second (L2) about a megabyte. A program is as fast as the slower of the two, arithmetic and memory.
#
# Both can be measured. For arithmetic, multiply two matrices that fit into the cache. For memory, copy an array that
# fits into no cache. BLAS, the library that multiplies matrices for NumPy, is kept on one thread for now, and the time
# of other programs does not count. All times here depend on the machine; only ratios are printed.

import time

import matplotlib.pyplot as plt
import numpy as np
from threadpoolctl import threadpool_limits

import minigrad as mg
from minigrad.device import windows
from minigrad.kernels import threads
from minigrad.kernels.blocks import spans
from minigrad.kernels.columns import COLUMN_BYTES
from minigrad.kernels.products import LANES, Lanes
from minigrad.train.report import tidy

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
# Let a program do :math:`F` operations (a multiply-add is two) and move :math:`B` bytes between memory and cache.
# Their ratio, :math:`I = F / B`, is its *arithmetic intensity*. It takes at least :math:`F / \mathrm{peak}` seconds
# to compute, and at least :math:`B / \mathrm{bandwidth}` to move. So
#
# .. math::
#     \mathrm{speed} = \frac{F}{\mathrm{time}} \le \min(\mathrm{peak},\; I \cdot \mathrm{bandwidth}) .
#
# Drawn against :math:`I`, that is a slope and then a flat roof (S. Williams, A. Waterman, D. Patterson, "Roofline",
# 2009). Below the slope, faster arithmetic is of no use. The only way up is to the right: to do more with each byte.
#
# Now count a layer with :math:`c` channels in and :math:`o` out and a kernel of 3 by 3, per output pixel. A row of
# the columns has :math:`k = 9c` numbers, of 4 bytes. The arithmetic is :math:`F = 2 k o` in any case. With *im2col at
# once*, the columns go out to memory and come back; the image comes in, the result goes out. (The weights are few, and
# serve all pixels: leave them out.)
#
# .. math::
#     B_{\text{at once}} = 4\,(c + 2k + o), \qquad
#     B_{\text{blocks}} = 4\,(c + o) .
#
# The second is the idea of this chapter: make the columns for a *block* of pixels only, so few that they are still in
# cache when the product reads them, and write the next block over them. For :math:`c = o` the intensity grows tenfold:

print(" c = o   operations   bytes at once   in blocks   intensity at once   in blocks")
for c in (4, 16, 64):
    work, moved, kept = 2 * 9 * c * c, 4 * (c + 2 * 9 * c + c), 4 * (c + c)
    print(f"{c:6}{work:13,}{moved:16,}{kept:12,}{work / moved:20.1f}{work / kept:12.1f}")
    assert np.isclose((work / kept) / (work / moved), 10)

# %%
# An experiment: the size of a block
# ----------------------------------
#
# Here are both. The only difference is the number of images for which columns are made at a time.


class Layer:
    """A batch that is padded already, and weights as a matrix: 3x3, stride 1."""

    def __init__(self, n, size, c, o):
        self.x = rng.standard_normal((n, size + 2, size + 2, c), dtype=np.float32)
        self.w = rng.standard_normal((9 * c, o), dtype=np.float32)  # (kh kw c, o)
        self.view = windows(self.x, (3, 3), (1, 1), (1, 1))  # (n, ho, wo, kh, kw, c)
        self.operations = 2 * n * size * size * 9 * c * o

    def convolve(self, images):
        """Convolve `images` at a time; all of them is im2col at once."""
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
tidy(panel)
panel.plot(mebibytes, np.array(times) / min(times), "o-", color="black")
panel.axvline(COLUMN_BYTES / 2**20, ls=":", color="black")
panel.annotate("minigrad's block", (COLUMN_BYTES / 2**20, 0.12), (4, 0), ("data", "axes fraction"), "offset points")
panel.set_xscale("log", base=2)
panel.set(xlabel="columns of a block, MiB (the last: im2col at once)", ylabel="time, the best = 1", ylim=(0, None))
panel.set_title("The same arithmetic, the same numbers: 32 images of 32x32, 16 to 16 channels", fontsize=10)
print(f"at once takes {times[-1] / min(times):.1f} times as long as in the best blocks (machine-dependent)")

# %%
# Where the curve rises on the right, the columns have outgrown a cache: the core's own, or the third, shared by cores.
# A block can also be too small: each costs a few calls from Python. Anything near 1 MiB will do. minigrad allows 1.5,
# for all layers and machines. A constant has a virtue that we shall need soon.
#
# The layer on the roofline
# -------------------------
#
# Now for several numbers of channels, both ways, under the measured roof.

channels = (4, 8, 16, 32, 64)
figure, panel = plt.subplots(figsize=(7, 4), layout="constrained")
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
# In blocks, every point moves to the right by a factor of ten, out from under the slope, and it has room to rise. How
# far it does depends on the machine; a large third cache softens the slope. What is left between the round points and
# the roof is not main memory any more. With few channels the product is thin, and the copy into the columns, though it
# stays in cache, is as much work as the arithmetic. Both can be helped.
#
# Runs
# ----
#
# A copy is fast along a *run*, a stretch of numbers that stand together in memory. Between runs the program has to
# look up where to go on. With images (n, h, w, c), a row of a window is the channels of three neighbours: one run of
# :math:`k_w c` numbers. With images (n, c, h, w), it would be a run of :math:`k_w`, three numbers.
#
# NumPy begins a loop for each run. But tell it that a run is *one* item, of so many bytes, whatever they mean (the
# dtype ``void``), and one loop moves several. Here are four pixels of three channels, and the windows of two pixels:

line = np.arange(12, dtype=np.float32)
run = np.dtype((np.void, 24))  # two pixels, 24 bytes, are one item
items = np.ndarray((3,), run, line, strides=(12,))  # the next begins one pixel further
print(items.copy().view(np.float32).reshape(3, 6))
assert items.tobytes() == windows(line.reshape(1, 1, 4, 3), (1, 2), (1, 1), (1, 1)).tobytes()

# %%
# Now the same amount of data, copied from windows with runs of different lengths, as numbers and as items:


def copy_runs(cols, x, view):
    """Copy windows (n, ho, wo, kh, kw, c) of x: the kw c numbers of a window's row are one item."""
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
# Long runs are the second reason for channels last; a net's first layer, with its three channels, suffers most. As
# items, short runs take about two thirds of the time; with long ones, it is the bytes themselves that take it. This is
# minigrad's way:
#
# .. literalinclude:: /../minigrad/ops/columns.py
#    :pyobject: _copy_windows
#
# There is one more thing to be had. The windows of two neighbours share all but a column. Lay the two out as *one*
# window, a column wider: half as many runs, of four columns in place of three, so two thirds of the numbers. Its
# weights make two pixels at once: w for the first, w one column further for the second, and zeros beside them. The
# zeros are multiplied, too, so the arithmetic grows by a third. It is a trade, of what is cheap here for what is dear.
# Try it on a first layer:

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
# minigrad does so at stride 1, where a run is shorter than 64 numbers and the width is even.
#
# Small products
# --------------
#
# The product moves numbers, too. BLAS first *packs*: it writes both matrices anew, in the order in which its innermost
# loop wants them. That pays if every number is used often. A number of the columns is used once for each channel out,
# and 16 or 32 times is not often. On processors with AVX-512, OpenBLAS has kernels that take matrices as they lie, for
# small products, of a million multiply-adds at most. A block makes more, but it can be cut into pieces of a few rows:

k, o = 192, 32  # from 16 to 16 channels, in pairs
cols, weights = rng.standard_normal((2048, k), dtype=np.float32), rng.standard_normal((k, o), dtype=np.float32)
pieces = cols.reshape(-1, 128, k)  # a stack of matrices: 786,432 multiply-adds each
np.testing.assert_allclose((pieces @ weights).reshape(-1, o), cols @ weights, atol=1e-3)
gain = seconds(np.matmul, cols, weights, repeat=50) / seconds(np.matmul, pieces, weights, repeat=50)
verdict = "a gain" if gain > 1.05 else "no gain with the BLAS of this processor"
print(f"the whole product takes {gain:.2f} times as long as its pieces: {verdict} (machine-dependent)")

# %%
# minigrad asks which kernels OpenBLAS runs, and cuts only where it gains (``products.multiply``).
#
# This is the forward pass, and you know nearly every line of it. A 1x1 kernel needs no columns at all. ``_group`` says
# whether to make pixels in pairs, and ``_grouped`` makes the weights for it. ``Columns`` cuts the output pixels into
# blocks, of whole images or of rows of a large one, and lays one out at a time, in a buffer that is kept
# (:doc:`/source/minigrad/ops/columns`). Even the border of zeros is put around a block only. Around the batch, it would
# cost one more way to memory and back, :math:`4\,(3c + o)` bytes a pixel in place of :math:`4\,(c + o)`.
# ``threads.run`` is what comes next.
#
# .. literalinclude:: /../minigrad/ops/conv.py
#    :pyobject: _forward
#
# Two cores, the same bits
# ------------------------
#
# NumPy lets go of Python's lock while it copies or multiplies, so two threads can work on two blocks. BLAS has threads
# of its own; we turn them off. They would have to share one small block, and fight with ours for the same cores.
#
# In the forward pass blocks do not touch each other: each writes its own pixels. In the backward pass they do. The
# gradient of the weights is a sum over *all* pixels, :math:`dw = \sum_r \mathrm{cols}[r, :]^{\top} g[r, :]`. Give
# each of T threads its share of the rows, add up the T partial sums, and see:

rows, g = rng.standard_normal((40_000, 36), dtype=np.float32), rng.standard_normal((40_000, 8), dtype=np.float32)
exact = rows.astype(float).T @ g.astype(float)


def by_shares(threads):
    """Add up as many partial sums as there are threads."""
    return sum(rows[s].T @ g[s] for s in spans(len(rows), -(-len(rows) // threads)))  # slices of equal length


with threadpool_limits(1):
    sums = {threads: by_shares(threads) for threads in (1, 2, 3, 4)}
for threads, total in sums.items():
    differ, error = np.mean(total != sums[1]), abs(total - exact).max()
    print(f"{threads} shares: {differ:4.0%} of the numbers differ from one share's; error {error:.0e}")
assert not np.array_equal(sums[1], sums[2])

# %%
# Nobody is wrong here. Floating-point addition rounds after every step, so :math:`(a + b) + c` and :math:`a + (b +
# c)` differ in the last bits, and another number of threads is another order. But training amplifies the last bit:
# after some hundred steps two runs have different weights. Your result could not be repeated with another number of
# threads, and a bug that shows on two threads would hide on four.
#
# The mend is one rule. *What* the pieces are may depend on shapes and constants only (and on the kernels of BLAS, which
# round in their own way on another kind of processor; that is not in our hands). The number of threads decides merely
# *who* does which. So minigrad cuts the pixels into blocks of at most so many bytes, and deals the blocks out to four
# *lanes*, always four. A lane walks its blocks from first to last, and adds to its own partial sum. At the end the
# four are added in order. (``_inner`` is the product a' b; ``scratch`` hands out a buffer that is kept.)
#
# .. literalinclude:: /../minigrad/parallel.py
#    :pyobject: Lanes

figure, panels = plt.subplots(2, 1, figsize=(9, 3), layout="constrained", sharex=True)
lanes = Lanes(range(22))
for panel, threads in zip(panels, (1, 2), strict=True):
    for lane in range(lanes.count):
        who = lane % threads  # whoever is free takes the next lane: this is one way it may go
        for block in lanes.share(lane):
            panel.add_patch(plt.Rectangle((block + 0.06, 0), 0.88, 1, fc=("0.85", "0.45")[who], ec="black", lw=0.6))
            panel.text(block + 0.5, 0.5, block, ha="center", va="center", fontsize=8)
        begin, end = lanes.share(lane)[0], lanes.share(lane)[-1] + 1
        panel.annotate("", (end, -0.35), (begin, -0.35), arrowprops={"arrowstyle": "->"})
        panel.text((begin + end) / 2, -0.95, f"sum {lane}, by thread {who}", ha="center", fontsize=9)
    panel.set(xlim=(-0.2, 22.2), ylim=(-1.2, 1.1))
    panel.axis("off")
    panel.set_title(f"threads: {threads}; total = ((sum 0 + sum 1) + sum 2) + sum 3", fontsize=10, loc="left")
assert lanes.count == LANES

# %%
# The greys change, the numbers do not. So the bits cannot. That is no matter of tolerance, and it can be asserted:

x = rng.standard_normal((64, 16, 16, 16), dtype=np.float32)
w = rng.standard_normal((3, 3, 16, 16), dtype=np.float32)
cotangent = mg.Tensor(rng.standard_normal((64, 16, 16, 16), dtype=np.float32))


def everything(threads):
    """Return out, dx and dw, as bytes, computed on so many threads."""
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
# The price of the rule is that no more than four threads can share a sum over pixels: a bargain on a few cores.
#
# What you have seen is most of what there is to speed on any machine, a GPU included: count the bytes, keep what is
# used again close, walk memory in long runs, and cut the work into pieces before you ask who does them.
# :doc:`/source/minigrad/parallel` has the rest: the threads that help, and buffers that are kept from call to call.
#
# Exercises
# ---------
#
# 1. **Intensity.** Count operations and bytes of a convolution of any kernel and stride, at once and in blocks; now
#    with the weights. Then find out which layers stay under the slope even in blocks.
# 2. **Blocks of bytes.** Convolve in blocks of as many images as fit into a given number of bytes, with one buffer. The
#    check measures your memory.
# 3. **A sum for every number of threads.** Add up many arrays that threads compute, with the same bits for any number
#    of threads, whoever finishes first.
#
# .. literalinclude:: /exercises/chapter_08.py
#
# Fill in ``docs/exercises/chapter_08.py`` and run ``python docs/exercises/check.py 8``.
