r"""
7. Convolution as im2col
========================

How do seven nested loops become one product of matrices, and what becomes of the gradient on the way?

A convolution slides a small window over an image and, at every place, takes the same weighted sum. Written down, that
is seven nested loops. A processor does one thing far better than anything else: it multiplies large matrices. This
chapter turns the first into the second, forward and backward.
"""

# %%
# The definition
# --------------
# Our images are an array x of shape (n, h, w, c): images, height, width, channels. The weights, the *kernel*, are an
# array w of shape (kh, kw, c, o): for each of the ``kh * kw`` places in the window, called *taps*, a matrix from the
# channels in to the channels out. The stride :math:`s` says how far apart windows stand. Then (the kernel is not
# flipped; that is the custom in deep learning)
#
# .. math::
#     \mathrm{out}[n, p, q, o] = \sum_{i, j, c} x[n,\; s p + i,\; s q + j,\; c]\; w[i, j, c, o] .
#
# The indices keep their letters for the whole chapter:
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
# Four indices stand on the left, and three are summed away. A border of zeros, *padding*, is put around the image
# first and changes nothing in the formula, so we leave it out. Here is the formula as a program.

import time

import matplotlib.pyplot as plt
import numpy as np

import minigrad as mg


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
# Suppose we had every window laid out beside the others: an array ``windows[n, p, q, i, j, c]``. The convolution
# would be a sum over its last three axes. Does such an array have to be made? Every number in it is already in
# memory, and we can say where.
#
# An array is a stretch of memory and a tuple of *strides*: how many bytes to go for one step along each axis. The
# number ``x[n, u, v, c]`` lies at :math:`n S_n + u S_y + v S_x + c S_c` bytes from the start. (These strides have
# nothing to do with the stride :math:`s` but their name.) A window asks for row :math:`u = s p + i` and column
# :math:`v = s q + j`. Put that in, and sort by index:
#
# .. math::
#     n S_n + (s p + i) S_y + (s q + j) S_x + c S_c
#     = n S_n + p\,(s S_y) + q\,(s S_x) + i S_y + j S_x + c S_c .
#
# Six indices, each times a constant. That is an array of six axes, with strides
# :math:`(S_n,\, s S_y,\, s S_x,\, S_y,\, S_x,\, S_c)`. Nothing is copied; only the way of counting is new. This is
# minigrad's own code for it (``dilation`` spreads the taps apart; take it as 1. ``namespace(x)`` is NumPy, unless x is
# on a GPU):
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
print(f"{view.size} numbers to be seen, {x.size} in memory")

# %%
# Two strides come twice: 192 for one step of :math:`p` or of :math:`i`, 24 for one of :math:`q` or of :math:`j`. The
# windows overlap, and one number of x is seen through up to nine of them. So a view like this may be read, but never
# written to.
#
# Rows as pixels
# --------------
# Now give the six axes two names. A *row* is an output pixel, :math:`r = (n, p, q)`. A *column* is a place in the
# window, :math:`k = (i, j, c)`. The weights have the places :math:`(i, j, c)` in front already, and then
#
# .. math::
#     \mathrm{out}[r, o] = \sum_{k} \mathrm{cols}[r, k]\; w[k, o] .
#
# That is a product of matrices: :math:`(n\, h_o w_o) \times (k_h k_w c)` times :math:`(k_h k_w c) \times o`. The
# ``reshape`` that merges the axes does have to copy, because a matrix has only two strides and the windows overlap.
# The copy is called *im2col*, image to columns, though with the channels last its windows are rows. And the product
# is the result as it stands: its rows are the pixels :math:`(n, p, q)` in order, with the channels :math:`o` side by
# side. This is why minigrad keeps images as (n, h, w, c).
#
# minigrad's definition of ``conv2d``, its :term:`plain twin <plain twin 朴素对照>`, says just this, in operators that
# the tape can record (``unfold`` is ``windows``, copied):
#
# .. literalinclude:: /../minigrad/ops/conv.py
#    :pyobject: conv2d_definition

cols = view.reshape(n * ho * wo, kh * kw * c)  # (pixels, taps and channels)
matrix = w.reshape(kh * kw * c, 4)
out = (cols @ matrix).reshape(n, ho, wo, 4)

np.testing.assert_allclose(out, seven_loops(x, w, 1), atol=1e-12)
print(f"{cols.shape} @ {matrix.shape} -> {(cols @ matrix).shape} -> {out.shape}")

# %%
# Here is all of it on an image of 4 by 4 pixels with one channel. The framed window is the framed row.


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
# Let :math:`L` be the loss, and :math:`g[n, p, q, o] = \partial L / \partial\, \mathrm{out}[n, p, q, o]` what the
# tape hands us. In the formula at the top a weight :math:`w[i, j, c, o]` stands once for every output pixel, each
# time multiplied with one number of x. So
#
# .. math::
#     dw[i, j, c, o] = \sum_{n, p, q} x[n,\; s p + i,\; s q + j,\; c]\; g[n, p, q, o],
#     \qquad\text{that is}\qquad
#     dw[k, o] = \sum_r \mathrm{cols}[r, k]\; g[r, o] .
#
# The same columns, transposed: :math:`dw = \mathrm{cols}^{\top} g`. It is the rule of a product of matrices from
# :doc:`/course/04_matrices`, and it could be nothing else.
#
# The gradient of the image, any stride
# -------------------------------------
# By the same rule, the columns get :math:`d\mathrm{cols} = g\, w^{\top}`, with the shape
# (n, ho, wo, kh, kw, c) of the windows. But the windows overlap. A pixel that was seen through nine windows gets nine
# gradients, and they add up:
#
# .. math::
#     dx[n, u, v, c] = \sum_{s p + i = u,\; s q + j = v} d\mathrm{cols}[n, p, q, i, j, c] .
#
# Windows on the way there, sums over windows on the way back: ``add_windows``, known as *col2im*, is the adjoint of
# ``windows``. A loop over the taps does it. For one tap (i, j), the pixels of all windows stand a stride apart and do
# not overlap, so that a sliced ``+=`` is right:
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
# At stride 1 there is a better way. The condition :math:`p + i = u` can be solved: :math:`p = u - i`. A pixel took
# part in the output pixel that lies :math:`(i, j)` *before* it, through tap :math:`(i, j)`:
#
# .. math::
#     dx[n, u, v, c] = \sum_{i, j, o} g[n,\; u - i,\; v - j,\; o]\; w[i, j, c, o] ,
#
# where g is 0 outside of its borders.
# Now count the taps from the other end, :math:`i = k_h - 1 - i'` and :math:`j = k_w - 1 - j'`, and put a border of
# :math:`k_h - 1` and :math:`k_w - 1` zeros around g, which moves its index by as much:
#
# .. math::
#     dx[n, u, v, c] = \sum_{i', j', o} \mathrm{gpad}[n,\; u + i',\; v + j',\; o]\;
#     w[k_h - 1 - i',\; k_w - 1 - j',\; c,\; o] .
#
# Compare this with the very first formula. It is a convolution, of g, with the kernel *flipped* in both directions
# and with c and o in each other's place. The figure shows the same without a formula: which outputs a pixel took part
# in, and through which tap.

figure = plt.figure(figsize=(9.5, 3.6), layout="constrained")
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
# The columns of g do a second service. Write dw in the same way, with the *image* pixel as what is summed over:
#
# .. math::
#     dw[k_h - 1 - i',\; k_w - 1 - j',\; c,\; o] =
#     \sum_{n, u, v} x[n, u, v, c]\; \mathrm{gpad}[n,\; u + i',\; v + j',\; o] .
#
# The windows of g once more. So one im2col, of g, serves both gradients, and of the forward pass nothing but x has to
# be kept, nine times less than its columns. This is the whole of it:

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
# In minigrad these lines stand in ``_backward_stride_1`` of :doc:`/source/minigrad/ops/conv`, block by block, and two
# pixels at a time where channels are few, which is the next chapter's business. There you also see that a padding of
# ``ph`` in the forward pass becomes a border of ``kh - 1 - ph`` in the backward pass. At other strides, minigrad does
# what the section before this one did.
#
# An experiment
# -------------
# What did it buy, and what does it cost? We count the multiply-adds, the numbers in the columns, and the time, for a
# layer of 16 channels on an image of 32 by 32 pixels. Times depend on the machine, so only their ratio is printed,
# and roughly.

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


strip = layer_x[:, :4]  # the loops are slow: two of the thirty rows of output will do
start = time.perf_counter()
two_rows = seven_loops(strip, layer_w, 1)
slow, fast = 15 * (time.perf_counter() - start), seconds(as_product)
np.testing.assert_allclose(as_product()[:, :2], two_rows, atol=1e-12)
assert slow > 20 * fast

print(f"multiply-adds, either way: {30 * 30 * 144 * 16:,}")
print(f"numbers in x: {layer_x.size:,}; in its columns: {30 * 30 * 144:,}")
print(f"the product is about 10^{np.log10(slow / fast):.0f} times as fast as the loops (machine-dependent)")

# %%
# Not one multiplication was saved. The same work was put into the one form for which processors and their libraries
# have been tuned for decades. (Much of the factor is Python's own slowness; but compiled as they stand, the seven loops
# would still be behind.)
#
# The price is memory. The columns are eight times the image; nine times, but for the border. For one image that is
# nothing; for a batch of 128 it is more than most caches hold, and the product then waits for memory. How to have the
# product without the price is the question of :doc:`/course/08_fast`.
#
# The last word belongs to finite differences. They know nothing of windows.

sizes = [(1, 0), (1, 1), (2, 1), (3, 2)]
for s, padding in sizes:
    error = mg.gradcheck(lambda x, w, s=s, p=padding: mg.conv2d(x, w, stride=s, padding=p), (x, w))
    assert error < 1e-6
print(f"gradcheck agrees for stride and padding {sizes}")

# %%
# Exercises
# ---------
# 1. **Windows of a sound.** A sound is an array (n, t, c). Return all its windows of k steps as a view, without
#    copying. It must work on arrays that are themselves views, such as ``sound[:, ::2]``.
# 2. **The weights without columns.** For one tap :math:`(i, j)`, the formula of dw is a product of two matrices, of the
#    pixels that this tap met, and of g. So dw takes kh · kw products and no columns at all. Mind images whose last
#    pixels no window reaches.
# 3. **One convolution for every stride.** A convolution of stride s is one of stride 1, of which every s-th pixel is
#    taken. Taking pixels has an adjoint. Use it to get dx at any stride from the convolution with the flipped kernel.
#
# .. literalinclude:: /exercises/chapter_07.py
#
# Fill in ``docs/exercises/chapter_07.py`` and run ``python docs/exercises/check.py 7``.
