r"""
8. Convolution as im2col
========================

How do seven nested loops become one matrix product, and how are the gradients computed then?

:doc:`Chapter 7 </course/07_nets>` showed why nets for images use convolutions: at every position of a window, a
convolution computes the same weighted sum. Written out, this is seven nested loops. Processors, however, are fastest at
multiplying large matrices. This chapter rewrites the loops as matrix products, in the forward and in the backward pass.
"""

# %%
# The definition
# --------------
# The images are an array x of shape (n, h, w, c): images, height, width, channels. The weights, called the *kernel*,
# are an array w of shape (kh, kw, c, o). (In a shape, the letter w stands for the width; elsewhere, w is the weights.)
# Each of the ``kh * kw`` positions in the window is called a *tap*; for each tap, w holds a matrix that maps input
# channels to output channels. The stride :math:`s` is the distance between neighbouring windows. The convolution is
# then defined as follows. (The kernel is not flipped; this is the convention in deep learning.)
#
# .. math::
#     \mathrm{out}[n, p, q, o] = \sum_{i, j, c} x[n,\; s p + i,\; s q + j,\; c]\; w[i, j, c, o] .
#
# The indices keep the same letters in the whole chapter. In a formula, c is a channel; in a shape, it is their number
# (:doc:`/notation`):
#
# ==============  =============================  ====================================
# index           counts                         up to
# ==============  =============================  ====================================
# :math:`n`       images of the batch            ``n``
# :math:`u, v`    rows, columns of the *image*   ``h``, ``w``
# :math:`p, q`    rows, columns of the *output*  ``ho = (h - kh) // s + 1``, ``wo``
# :math:`i, j`    taps of the kernel             ``kh``, ``kw``
# :math:`c`       channels in                    ``c``
# :math:`o`       channels out                   ``o``
# ==============  =============================  ====================================
#
# The result has four indices, and the sum runs over the other three. Usually a border of zeros, called *padding*, is
# put around the image first. It does not change the formula, so we leave it out. Here is the formula as a program.

import time

import matplotlib.pyplot as plt
import numpy as np

import minigrad as mg
from minigrad.train.report import show


def seven_loops(x, w, s):
    (n, h, wd, c), (kh, kw, _, c_out) = x.shape, w.shape
    ho, wo = (h - kh) // s + 1, (wd - kw) // s + 1
    out = np.zeros((n, ho, wo, c_out))
    for image in range(n):
        for p in range(ho):
            for q in range(wo):
                for i in range(kh):
                    for j in range(kw):
                        for channel in range(c):
                            for o in range(c_out):
                                out[image, p, q, o] += x[image, s * p + i, s * q + j, channel] * w[i, j, channel, o]
    return out


rng = np.random.default_rng(7)
x = rng.standard_normal((2, 9, 8, 3))  # (n, h, w, c)
w = rng.standard_normal((3, 3, 3, 4))  # (kh, kw, c, o)

for s in (1, 2, 3):
    expected = seven_loops(x, w, s)
    np.testing.assert_allclose(mg.conv2d(x, w, stride=s), expected, atol=1e-12)
    print(f"stride {s}: out is {expected.shape}, and conv2d agrees")

# %%
# The window view
# ---------------
# Suppose all windows were stored in one array, ``windows[n, p, q, i, j, c]``. The convolution would be a sum over its
# last three axes. Do we have to make a copy for this? No: every number in it is already in memory, and we can compute
# its address.
#
# An array is a block of memory together with a tuple of *strides*: for each axis, the number of bytes from one element
# to the next. The number ``x[n, u, v, c]`` lies :math:`n S_n + u S_y + v S_x + c S_c` bytes after the start. (These
# strides share only their name with the stride :math:`s`.) A window reads row :math:`u = s p + i` and column
# :math:`v = s q + j`. Insert these, and collect the terms of each index:
#
# .. math::
#     n S_n + (s p + i) S_y + (s q + j) S_x + c S_c
#     = n S_n + p\,(s S_y) + q\,(s S_x) + i S_y + j S_x + c S_c .
#
# Each of the six indices is multiplied by a constant. So the windows are an array with six axes, whose strides are
# :math:`(S_n,\, s S_y,\, s S_x,\, S_y,\, S_x,\, S_c)`. Nothing is copied; the same memory is only indexed in a new way.
# Here is minigrad's code for the view. (``dilation`` spreads the taps apart; take it as 1. ``namespace(x)`` is NumPy,
# unless x is on a GPU.)
#
# .. literalinclude:: /../minigrad/device.py
#    :pyobject: windows

from minigrad.device import add_windows, windows

view = windows(x, (3, 3), (1, 1), (1, 1))
n, ho, wo, kh, kw, c = view.shape
assert np.shares_memory(view, x)
assert view[1, 4, 2, 0, 2, 1] == x[1, 4 + 0, 2 + 2, 1]

print(f"x:    {x.shape}, strides {x.strides}")
print(f"view: {view.shape}, strides {view.strides}")
print(f"{view.size} numbers in the view, {x.size} in memory")

# %%
# Two of the strides occur twice: :math:`p` and :math:`i` both have a stride of 192 bytes, and :math:`q` and :math:`j`
# both have a stride of 24 bytes. This is because the windows overlap: a number of x can be in up to nine windows. So
# read from such a view, but never write to it.
#
# One matrix product
# ------------------
# Now combine the six axes into two. A *row* is an output pixel, :math:`r = (n, p, q)`. A *column* is a position in the
# window and a channel, :math:`k = (i, j, c)`. The weights already have the axes :math:`(i, j, c)` first, so the formula
# becomes
#
# .. math::
#     \mathrm{out}[r, o] = \sum_{k} \mathrm{cols}[r, k]\; w[k, o] .
#
# This is a product of two matrices of the shapes (n ho wo, kh kw c) and (kh kw c, o). The ``reshape`` that merges the
# axes does have to copy, because a matrix has only two strides, and two strides cannot describe overlapping windows.
# The copy is called *im2col*, "image to columns", although with channels last the windows become rows. The product
# needs no rearrangement: its rows are the pixels :math:`(n, p, q)` in order, and each row holds the channels :math:`o`
# of its pixel. This is why minigrad stores images as (n, h, w, c).
#
# minigrad's definition of ``conv2d``, called its :term:`twin <twin 朴素对照>`, is exactly this, written in
# operators that the tape can record (``im2col`` is ``windows``, recorded):
#
# .. literalinclude:: /../minigrad/ops/conv.py
#    :pyobject: conv2d_twin

cols = view.reshape(n * ho * wo, kh * kw * c)  # (pixels, taps and channels)
matrix = w.reshape(kh * kw * c, 4)
out = (cols @ matrix).reshape(n, ho, wo, 4)

np.testing.assert_allclose(out, seven_loops(x, w, 1), atol=1e-12)
print(f"{cols.shape} @ {matrix.shape} -> {(cols @ matrix).shape} -> {out.shape}")

# %%
# The next figure shows every step for an image of 4 by 4 pixels with one channel. The window in the frame on the left
# becomes the row in the frame.


def table(panel, values, shades, title):
    """Draw a matrix of integers as boxes on greys."""
    panel.imshow(shades, cmap="Greys", vmin=0, vmax=1.6)
    for (r, k), value in np.ndenumerate(values):
        panel.text(k, r, value, ha="center", va="center", fontsize=9)
    panel.set(xticks=np.arange(-0.5, values.shape[1]), yticks=np.arange(-0.5, values.shape[0]))
    panel.grid(color="white", linewidth=1.5)
    panel.tick_params(length=0, labelbottom=False, labelleft=False)
    panel.spines[:].set_visible(False)
    panel.set_title(title, fontsize=9.5)


def frame(panel, row, column, height, width, style="-"):
    """Draw a dark frame around a part of a table."""
    look = {"fill": False, "lw": 2.2, "ls": style, "ec": "#102a66", "zorder": 3, "clip_on": False}
    panel.add_patch(plt.Rectangle((column - 0.5, row - 0.5), width, height, **look))


image = np.arange(16).reshape(1, 4, 4, 1)
kernel = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 2]]).reshape(3, 3, 1, 1)
small = windows(image, (3, 3), (1, 1), (1, 1)).reshape(4, 9)
result = small @ kernel.reshape(9, 1)

figure = plt.figure(figsize=(10, 3.3), layout="constrained")
figure.set_label(
    "A 4 by 4 image, a 3 by 3 kernel, the four windows of the image as rows of nine numbers, the kernel as a column, "
    "and their product of four numbers. The framed window is the framed row."
)
panels = figure.subplots(1, 5, width_ratios=[4, 3, 9, 1.6, 2.4])
greys = image[0, :, :, 0] / 16
table(panels[0], image[0, :, :, 0], greys, "x (h, w)")
table(panels[1], kernel[:, :, 0, 0], np.full((3, 3), 0.12), "w (kh, kw)")
table(panels[2], small, small / 16, "cols (ho wo, kh kw): one row for each window")
table(panels[3], kernel.reshape(9, 1), np.full((9, 1), 0.12), "w\n(kh kw, 1)")
table(panels[4], result, np.full((4, 1), 0.3), "out\n(ho wo, 1)")
frame(panels[0], 0, 1, 3, 3)
frame(panels[2], 1, 0, 1, 9)
frame(panels[4], 1, 0, 1, 1)
for panel, sign in zip(panels[2:4], ("@", "="), strict=True):
    panel.annotate(sign, (1.0, 0.5), (13, 0), "axes fraction", textcoords="offset points", fontsize=15, va="center")
assert (result.reshape(2, 2) == seven_loops(image, kernel, 1)[0, :, :, 0]).all()

# %%
# The gradient of the weights
# ---------------------------
# Let :math:`L` be the loss. The tape passes :math:`g[n, p, q, o] = \partial L / \partial\, \mathrm{out}[n, p, q, o]` to
# our rule. In the first formula of this chapter, a weight :math:`w[i, j, c, o]` occurs once for every output pixel,
# each time multiplied by one number of x. So
#
# .. math::
#     dw[i, j, c, o] = \sum_{n, p, q} x[n,\; s p + i,\; s q + j,\; c]\; g[n, p, q, o],
#     \qquad\text{that is}\qquad
#     dw[k, o] = \sum_r \mathrm{cols}[r, k]\; g[r, o] .
#
# In words: transpose the columns of the forward pass, and multiply by g, :math:`dw = \mathrm{cols}^{\top} g`. This is
# the rule for a matrix product from :doc:`/course/04_matrices`, because the convolution is a matrix product.
#
# The gradient of the image, any stride
# -------------------------------------
# By the same rule, the gradient of the columns is :math:`d\mathrm{cols} = g\, w^{\top}`. It has the shape (n, ho, wo,
# kh, kw, c) of the windows. But the windows overlap. A pixel that is in nine windows gets nine gradients, and they are
# added up:
#
# .. math::
#     dx[n, u, v, c] = \sum_{s p + i = u,\; s q + j = v} d\mathrm{cols}[n, p, q, i, j, c] .
#
# The forward pass copies windows out of the image; the backward pass adds windows into it. The function
# ``add_windows``, known as *col2im*, is the adjoint of ``windows``. It is a loop over the taps. For one tap (i, j), the
# pixels of all windows are a stride apart and do not overlap, so ``+=`` on a slice adds every gradient. (With an array
# of indices that repeats a place, ``+=`` would keep one contribution only; then use ``np.add.at``.)
#
# .. literalinclude:: /../minigrad/device.py
#    :pyobject: add_windows

for s in (1, 2, 3):
    xt, wt = mg.Tensor(x, requires_grad=True), mg.Tensor(w, requires_grad=True)
    out = mg.conv2d(xt, wt, stride=s)
    g = rng.standard_normal(out.shape)
    dx_tape, dw_tape = mg.grad(out, (xt, wt), mg.Tensor(g))

    cols = windows(x, (3, 3), (s, s), (1, 1)).reshape(-1, 27)  # (n ho wo, kh kw c)
    rows = g.reshape(-1, 4)  # (n ho wo, o)
    dw = (cols.T @ rows).reshape(w.shape)
    dx = np.zeros_like(x)
    add_windows(dx, (rows @ w.reshape(27, 4).T).reshape(*out.shape[:3], 3, 3, 3), (s, s), (1, 1))

    np.testing.assert_allclose(dw, dw_tape.data, atol=1e-12)
    np.testing.assert_allclose(dx, dx_tape.data, atol=1e-12)
    unseen = int((dx == 0).all(axis=(0, 3)).sum())
    print(f"stride {s}: dw and dx agree with the tape; {unseen} of {9 * 8} pixels were seen by no window")

# %%
# The gradient of the image, stride 1
# -----------------------------------
# At stride 1 there is a better way, because the condition :math:`p + i = u` has the solution :math:`p = u - i`. Through
# tap :math:`(i, j)`, a pixel contributed to the output pixel that lies :math:`(i, j)` *before* it:
#
# .. math::
#     dx[n, u, v, c] = \sum_{i, j, o} g[n,\; u - i,\; v - j,\; o]\; w[i, j, c, o] ,
#
# where g is 0 outside its borders. Now count the taps from the other end, :math:`i = k_h - 1 - i'` and
# :math:`j = k_w - 1 - j'`. Also put a border of :math:`k_h - 1` and :math:`k_w - 1` zeros around g, which shifts its
# indices by the same amounts:
#
# .. math::
#     dx[n, u, v, c] = \sum_{i', j', o} \mathrm{gpad}[n,\; u + i',\; v + j',\; o]\;
#     w[k_h - 1 - i',\; k_w - 1 - j',\; c,\; o] .
#
# Compare this with the first formula of the chapter. It is a convolution of g with the kernel w, which is *flipped* in
# both directions and has c and o swapped. The next figure shows the same without a formula: to which output pixels one
# pixel of x contributed, and through which taps.

figure = plt.figure(figsize=(9.5, 3.6), layout="constrained")
figure.set_label(
    "A pixel of the image, the nine output pixels whose windows contain it, each labelled with its tap, and the "
    "kernel flipped in both directions, in the same order as these labels."
)
left, middle, right = figure.subplots(1, 3, width_ratios=[7, 5, 3])
taps = np.array([[f"w{i}{j}" for j in range(3)] for i in range(3)])
image, seen = np.full((7, 7), 0.07), np.full((5, 5), 0.07)
pixel, names = np.full((7, 7), "", dtype=object), np.full((5, 5), "", dtype=object)
image[4, 3], pixel[4, 3] = 0.6, "x"
for i in range(3):
    for j in range(3):
        seen[4 - i, 3 - j], names[4 - i, 3 - j] = 0.35, taps[i, j]  # through tap (i, j) it reached this output
table(left, pixel, image, "x (7, 7): this pixel, seen through\nnine windows (three are dotted) ...")
table(middle, names, seen, "out (5, 5): ... took part in nine\npixels, through nine taps")
table(right, taps[::-1, ::-1], np.full((3, 3), 0.35), "the flipped kernel")
for p, q in ((2, 1), (3, 2), (4, 3)):
    frame(left, p, q, 3, 3, ":")
frame(middle, 2, 1, 3, 3)

# %%
# The framed window of g, weighted with the flipped kernel, is the gradient of the dark pixel.
#
# The columns of g can be used a second time. Write dw in the same way, as a sum over the *image* pixels:
#
# .. math::
#     dw[k_h - 1 - i',\; k_w - 1 - j',\; c,\; o] =
#     \sum_{n, u, v} x[n, u, v, c]\; \mathrm{gpad}[n,\; u + i',\; v + j',\; o] .
#
# These are again the windows of g. So one im2col of g is enough for both gradients. From the forward pass only x has to
# be stored, which is nine times smaller than its columns. This is the complete code:

o = 4
gpad = np.pad(g := rng.standard_normal((2, 7, 6, o)), ((0, 0), (2, 2), (2, 2), (0, 0)))  # (n, 11, 10, o)
cols_g = windows(gpad, (3, 3), (1, 1), (1, 1)).reshape(-1, 3 * 3 * o)  # (n h w, kh kw o)
flipped = w[::-1, ::-1].transpose(0, 1, 3, 2).reshape(3 * 3 * o, 3)  # (kh kw o, c)

dx = (cols_g @ flipped).reshape(x.shape)
dw = (x.reshape(-1, 3).T @ cols_g).reshape(3, 3, 3, o)  # (c, kh, kw, o), taps reversed
dw = dw[:, ::-1, ::-1].transpose(1, 2, 0, 3)  # (kh, kw, c, o)

xt, wt = mg.Tensor(x, requires_grad=True), mg.Tensor(w, requires_grad=True)
dx_tape, dw_tape = mg.grad(mg.conv2d(xt, wt), (xt, wt), mg.Tensor(g))
np.testing.assert_allclose(dx, dx_tape.data, atol=1e-12)
np.testing.assert_allclose(dw, dw_tape.data, atol=1e-12)
print(f"one im2col of g, {cols_g.shape}, and two products: dx {dx.shape}, dw {dw.shape}")

# %%
# In minigrad, this code is ``_backward_stride_1`` in :doc:`/source/minigrad/kernels/conv`. It works block by block, and
# on two pixels at a time where there are few channels; the next chapter explains both. There you also see that a
# padding of ``ph`` in the forward pass becomes a border of ``kh - 1 - ph`` in the backward pass. At other strides,
# minigrad uses the method of the section "The gradient of the image, any stride".
#
# An experiment: speed and memory
# -------------------------------
# How much faster is the matrix product, and what does it cost? We count the multiply-adds and the numbers in the
# columns, and measure the time, for a layer of 16 channels on an image of 32 by 32 pixels. Times depend on the machine,
# so only their ratio is printed, as a power of ten.

layer_x = rng.standard_normal((1, 32, 32, 16))
layer_w = rng.standard_normal((3, 3, 16, 16))


def as_product():
    cols = windows(layer_x, (3, 3), (1, 1), (1, 1)).reshape(-1, 144)
    return (cols @ layer_w.reshape(144, 16)).reshape(1, 30, 30, 16)


def seconds(f):
    """Time a call: the best of five."""
    best = np.inf
    for _ in range(5):
        start = time.perf_counter()
        f()
        best = min(best, time.perf_counter() - start)
    return best


strip = layer_x[:, :4]  # the loops are slow: two of the thirty output rows are enough
start = time.perf_counter()
two_rows = seven_loops(strip, layer_w, 1)
slow, fast = 15 * (time.perf_counter() - start), seconds(as_product)
np.testing.assert_allclose(as_product()[:, :2], two_rows, atol=1e-12)
assert slow > 20 * fast

print(f"multiply-adds, either way: {30 * 30 * 144 * 16:,}")
print(f"numbers in x: {layer_x.size:,}; in its columns: {30 * 30 * 144:,}")
assert round(30 * 30 * 144 / layer_x.size) == 8
print(f"the product is about 10^{np.log10(slow / fast):.0f} times as fast as the loops (machine-dependent)")

# %%
# The number of multiplications is the same. But matrix products are the form of work for which processors and their
# libraries have been tuned for decades. (Much of the factor comes from the slowness of Python's own loops. But even
# compiled, the seven loops as written would still be slower.)
#
# The price is memory. The columns are eight times as large as the image; without the lost border it would be nine
# times. For one image this does not matter. For a batch of 128, the columns are larger than most caches, and the
# product then waits for memory. :doc:`/course/09_fast` shows how to keep the speed without using this memory.
#
# As a last check, we compare with finite differences, which do not use windows at all.

sizes = [(1, 0), (1, 1), (2, 1), (3, 2)]
for s, padding in sizes:
    error = mg.gradcheck(lambda x, w, s=s, p=padding: mg.conv2d(x, w, stride=s, padding=p), (x, w))
    assert error < 1e-6
print(f"gradcheck agrees for stride and padding {sizes}")

# %%
# Exercises
# ---------
# 1. **Windows of a sound.** A sound is an array (n, t, c). Return all its windows of k steps as a view, without
#    copying. Your function must also work on arrays that are themselves views, such as ``sound[:, ::2]``.
# 2. **The weights without columns.** For one tap :math:`(i, j)`, the formula of dw is a product of two matrices: one
#    holds the pixels of x that this tap is multiplied with, the other holds g. So dw takes kh · kw matrix products and
#    no columns at all. Note that in some images, no window reaches the last pixels.
# 3. **One convolution for every stride.** A convolution with stride s is a convolution with stride 1 of which only
#    every s-th pixel is kept. Selecting pixels has an adjoint. Use this adjoint, and the convolution with the flipped
#    kernel, to get dx at any stride.
#
# .. literalinclude:: /exercises/chapter_08.py
#
# Fill in ``chapter_08.py`` in :ref:`your folder <folder>`, and run ``python -m docs.exercises check FOLDER 8``.
# Then continue your own framework: :ref:`the milestone of chapter 8 <milestone-8>`.

show()
