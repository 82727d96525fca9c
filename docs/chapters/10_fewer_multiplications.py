r"""
9. Fewer multiplications
========================

A convolution as a matrix product cannot be faster than the product. Can the product be made smaller?

The last chapter took 3x3 convolutions with many channels close to the roof: the processor multiplies and adds nearly
all the time. Faster copies do not help any more. What is left is to multiply less. It is possible to compute the same
convolution with a quarter of the multiplications. This chapter derives the method from an example by hand, builds it
for images and for gradients, and measures what is gained and what is lost.
"""

# %%
# Two outputs from four products
# ------------------------------
# Begin with one dimension and one channel. Four pixels :math:`x_0, \ldots, x_3` and a kernel of three weights give two
# outputs:
#
# .. math::
#     y_0 = x_0 w_0 + x_1 w_1 + x_2 w_2, \qquad
#     y_1 = x_1 w_0 + x_2 w_1 + x_3 w_2 .
#
# These are six products. The outputs share two pixels, :math:`x_1` and :math:`x_2`; if there is anything to save, it is
# there. Suppose for a moment that there are no other pixels: that the signal has period two, with :math:`x_0 = x_2` and
# :math:`x_3 = x_1`. Call its outputs :math:`z_0` and :math:`z_1`, and collect the weights of each pixel:
#
# .. math::
#     z_0 = x_1\, w_1 + x_2\, (w_0 + w_2), \qquad
#     z_1 = x_1\, (w_0 + w_2) + x_2\, w_1 .
#
# The same two factors occur in both, crosswise. So the sum and the difference of the outputs are one product each:
#
# .. math::
#     z_0 + z_1 = (x_1 + x_2)\,(w_0 + w_1 + w_2), \qquad
#     z_0 - z_1 = (x_1 - x_2)\,(w_1 - w_0 - w_2) .
#
# Half the sum of these two products is :math:`z_0`, and half their difference is :math:`z_1`. A real signal is not
# periodic, but each output differs from the periodic one in a single pixel. One more product corrects it:
#
# .. math::
#     y_0 = z_0 + (x_0 - x_2)\, w_0, \qquad
#     y_1 = z_1 + (x_3 - x_1)\, w_2 .
#
# That is four products instead of six.

import time
from fractions import Fraction

import matplotlib.pyplot as plt
import numpy as np
from threadpoolctl import threadpool_limits

import minigrad as mg
from minigrad.device import windows
from minigrad.kernels.winograd import cook_toom
from minigrad.train.report import show, tidy

rng = np.random.default_rng(9)


def two_outputs(x, w):
    plus = (x[1] + x[2]) * ((w[0] + w[1] + w[2]) / 2)
    minus = (x[1] - x[2]) * ((w[1] - w[0] - w[2]) / 2)
    first = (x[0] - x[2]) * w[0]
    last = (x[3] - x[1]) * w[2]
    return np.array([first + plus + minus, plus - minus + last])


x, w = rng.standard_normal(4), rng.standard_normal(3)
print("four products:", two_outputs(x, w))
print("six products: ", np.correlate(x, w))
np.testing.assert_allclose(two_outputs(x, w), np.correlate(x, w), rtol=1e-12)

# %%
# The four products multiply sums of pixels by sums of weights, and then the products are added. Each of these three
# steps is a matrix. With :math:`\odot` for the product number by number,
#
# .. math::
#     y = A^{\top} \left[ (G w) \odot (B^{\top} x) \right] .

Bt = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, 1, -1, 0], [0, -1, 0, 1]])  # differences and sums of pixels
G = np.array([[2, 0, 0], [1, 1, 1], [-1, 1, -1], [0, 0, 2]]) / 2  # sums of weights
At = np.array([[1, 1, 1, 0], [0, 1, -1, 1]])  # of products
np.testing.assert_allclose(At @ ((G @ w) * (Bt @ x)), two_outputs(x, w), rtol=1e-12)

# %%
# This algorithm is called F(2, 3): two outputs, three weights. It adds more, and an addition takes as long as a
# multiplication. It is faster because a layer has many channels. With 64 output channels, a pixel is transformed once
# and multiplied 64 times. The sum over the input channels can be taken before the last step, and the weights are
# transformed once for all pixels. So the products are nearly all of the work.
#
# Products of polynomials
# -----------------------
# The example does not show how to compute more than two outputs. The general way starts with another question: how many
# multiplications does the product of two polynomials take?
#
# .. math::
#     s(t) = p(t)\, q(t) = (p_0 + p_1 t)\,(w_0 + w_1 t + w_2 t^2) .
#
# By the rule from school, each coefficient of p meets each of w: six products. But :math:`s` has degree three, so it is
# determined by its values at any four points, and a value of s takes one multiplication, :math:`p(t)\, q(t)`. Take
# small numbers as points, and as the last point infinity, where the "value" of a polynomial is its leading coefficient:
#
# .. math::
#     s(0) = p_0\, w_0, \quad
#     s(1) = (p_0 + p_1)(w_0 + w_1 + w_2), \quad
#     s(-1) = (p_0 - p_1)(w_0 - w_1 + w_2), \quad
#     s(\infty) = p_1\, w_2 .
#
# The sums of weights are those that we found by hand, except for a factor. The method is called *Toom-Cook* (A. Toom
# 1963, S. Cook 1966). Its three steps are matrices, too: evaluate both polynomials, multiply the values, and go back
# from values to coefficients. The last matrix is the inverse of the one that evaluates a polynomial of degree three.


def toom_cook(points, outputs, taps):
    """Return A, G and B with which s = B @ ((A @ p) * (G @ q)) has the coefficients of the product of p and q."""

    def evaluate(n):
        """The matrix that evaluates a polynomial of n coefficients at the points and at infinity."""
        return np.vstack([np.vander(points, n, increasing=True), np.eye(n)[-1]])

    return evaluate(outputs), evaluate(taps), np.linalg.inv(evaluate(outputs + taps - 1))


A, G, B = toom_cook([0, 1, -1], 2, 3)
p, q = rng.standard_normal(2), rng.standard_normal(3)
np.testing.assert_allclose(B @ ((A @ p) * (G @ q)), np.polynomial.polynomial.polymul(p, q), rtol=1e-12)

# %%
# From products to convolution
# ----------------------------
# What has a product of polynomials to do with a convolution? For fixed weights, it is a linear map from the
# coefficients p to the coefficients s, :math:`s = T p`. Our two outputs are a linear map of the pixels. Here are the
# matrices of both:
#
# .. code-block:: text
#
#     coefficients:  w0  0        outputs:  w0  w1  w2  0
#                    w1  w0                 0   w0  w1  w2
#                    w2  w1
#                    0   w2
#
# The first is T, and the second is :math:`T^{\top}`. So :math:`y = T^{\top} x`: the convolution is the adjoint of the
# product of polynomials. And we have just written T as a product of matrices, :math:`T = B D A`, where D has the
# numbers of :math:`G w` on its diagonal. To transpose such a product, transpose its factors and reverse their order:
#
# .. math::
#     y = T^{\top} x = A^{\top} D\, B^{\top} x = A^{\top} \left[ (G w) \odot (B^{\top} x) \right] .
#
# The number of multiplications stays the same, since D stays the same. This also explains the letters. B is the
# inverse, which makes coefficients of values, and it is used transposed.
#
# We own a program that transposes linear maps. The gradient of :math:`\langle x, s \rangle` with respect to p is
# :math:`T^{\top} x`. So if we record the product of the polynomials on the tape, and send x back, we get the
# convolution:

recorded = mg.Tensor(p, requires_grad=True)
s = B @ ((A @ recorded) * (G @ w))
(y,) = mg.grad(s, (recorded,), mg.Tensor(x))
np.testing.assert_allclose(y.data, np.correlate(x, w), rtol=1e-12)
np.testing.assert_allclose(A.T @ ((G @ w) * (B.T @ x)), np.correlate(x, w), rtol=1e-12)
print("the backward pass of polynomial multiplication is a convolution:", y.data)

# %%
# In general, F(m, r) computes m outputs of a kernel of r weights from m + r - 1 pixels. It takes m + r - 1 products,
# one for each point, where the definition takes m r. S. Winograd proved that no algorithm needs fewer, not counting
# products with fixed numbers ("Arithmetic Complexity of Computations", 1980). Any different points will do. Here are
# some, with four outputs:

for points in ([0, 1, -1, 2, -2], [0, 1, 2, 3, 4], [-0.5, 0.25, 3, 7, -1]):
    A, G, B = toom_cook(points, 4, 3)
    pixels = rng.standard_normal(6)
    outputs = A.T @ ((G @ w) * (B.T @ pixels))
    error = abs(outputs - np.correlate(pixels, w)).max()
    print(f"points {points}: {len(G)} products instead of {4 * 3}, error {error:.0e}")
    assert error < 1e-11

# %%
# Two dimensions
# --------------
# An image has two axes, and the kernel is a matrix of weights. Apply the algorithm to the rows, where a "number" is now
# a whole row, and apply it again to each of these products of rows. The matrices then act from both sides. With X for a
# *tile* of 6x6 pixels and W for the kernel of 3x3 weights, the tile of 4x4 outputs is
#
# .. math::
#     Y = A^{\top} \left[ (G\, W\, G^{\top}) \odot (B^{\top} X\, B) \right] A .
#
# The savings multiply. F(4, 3) needs 6 products instead of 12, so F(4x4, 3x3) needs 36 instead of 144: a quarter. Here
# is the count for tiles of other sizes:

print("outputs of a tile   pixels   products   by definition   share")
for m in (1, 2, 3, 4, 6):
    print(f"{f'{m}x{m}':>17}{f'{m + 2}x{m + 2}':>9}{(m + 2) ** 2:11}{9 * m * m:16}{(m + 2) ** 2 / (9 * m * m):8.0%}")

# %%
# Larger tiles save more, but ever less more, while their transforms grow and, as we shall see, their rounding errors
# too. minigrad uses 4x4.
#
# With channels, each of the 36 places in a tile has a matrix of weights (c, o). The product is taken for each place,
# and the sum over the input channels is taken before the last transform, which is linear. So there are 36 products of
# matrices, (tiles, c) times (c, o). This is still the work for which processors are fastest, only less of it. Here is
# the whole algorithm, for images that need no padding and are cut into tiles without a remainder. Neighbouring tiles of
# *pixels* overlap by two, because the kernel looks two pixels ahead. They are windows with a stride of four, so we can
# use ``windows`` of :doc:`chapter 8 </course/08_im2col>` again.


def winograd(x, w, matrices):
    """Convolve x (n, h, w, c) with w (3, 3, c, o)."""
    At, G, Bt = matrices
    m, t = At.shape  # outputs and pixels of a tile, along each axis
    tiles = windows(x, (t, t), (m, m), (1, 1))  # (n, rows, columns, t, t, c)
    n, rows, columns, *_, c = tiles.shape
    V = np.einsum("ia,jb,nyxabc->ijnyxc", Bt, Bt, tiles, optimize=True)
    U = np.einsum("ia,jb,abco->ijco", G, G, w, optimize=True)
    products = V.reshape(t, t, -1, c) @ U  # (t, t, tiles, o)
    products = products.reshape(t, t, n, rows, columns, -1)
    out = np.einsum("ai,bj,ijnyxo->nyaxbo", At, At, products, optimize=True)
    return out.reshape(n, rows * m, columns * m, -1)


A, G, B = toom_cook([0, 1, -1, 2, -2], 4, 3)
x = rng.standard_normal((2, 18, 14, 5))
w = rng.standard_normal((3, 3, 5, 7))

with mg.conv_algorithm("im2col"):
    expected = mg.conv2d(x, w)
got = winograd(x, w, (A.T, G, B.T))
np.testing.assert_allclose(got, expected, atol=1e-12)
print(f"{x.shape} * {w.shape} -> {got.shape}; largest difference from im2col {abs(got - expected).max():.0e}")

# %%
# ``mg.conv_algorithm`` tells minigrad how to convolve; without it, minigrad decides. The next figure shows the steps
# for an image of 10x10 pixels with one channel.


def grid(panel, values, title):
    """Draw an array as squares."""
    panel.imshow(values, cmap="Greys", vmin=0, vmax=1)
    panel.set(xticks=np.arange(-0.5, values.shape[1]), yticks=np.arange(-0.5, values.shape[0]))
    panel.grid(color="0.7", linewidth=0.8)
    panel.tick_params(length=0, labelbottom=False, labelleft=False)
    panel.spines[:].set_color("0.7")
    panel.set_title(title, fontsize=9.5)


def frame(panel, row, column, size, width=1.2, style="-", shift=0.0):
    """Draw a frame around a square part of a grid."""
    look = {"fill": False, "lw": width, "ls": style, "ec": "#102a66", "zorder": 3, "clip_on": False}
    corner = column - 0.5 + shift, row - 0.5 + shift
    panel.add_patch(plt.Rectangle(corner, size - 2 * shift, size - 2 * shift, **look))


figure = plt.figure(figsize=(9.5, 3.4), layout="constrained")
figure.set_label(
    "An image with four overlapping tiles of 6 by 6, one transformed tile, the transformed weights, and the output "
    "with four tiles of 4 by 4 side by side."
)
panels = figure.subplots(1, 4, width_ratios=[10, 6, 6, 8])
image, of_tile, four = np.zeros((10, 10)), np.full((6, 6), 0.22), np.zeros((8, 8))
image[:6, :6], four[:4, :4] = 0.22, 0.22
grid(panels[0], image, "x: four tiles of 6x6,\noverlapping by 2")
grid(panels[1], of_tile, "a tile, transformed:\nB' X B")
grid(panels[2], np.full((6, 6), 0.08), "the weights, transformed:\nG W G'")
grid(panels[3], four, "out: four tiles of 4x4,\nside by side")
for number, (row, column) in enumerate(np.ndindex(2, 2)):
    width, style = (2.2, "-") if number == 0 else (1.2, "--")
    frame(panels[0], 4 * row, 4 * column, 6, width, style, 0.09 * number)
    frame(panels[3], 4 * row, 4 * column, 4, width, style)
for panel, sign in zip(panels[1:], ("→", "⊙", "→"), strict=True):
    panel.annotate(sign, (0, 0.5), (-17, 0), "axes fraction", textcoords="offset points", fontsize=15, va="center")

# %%
# Both gradients from one transform
# ---------------------------------
# At stride 1, the gradient of the image is a convolution of the cotangent g, with a border of two zeros, with the
# flipped kernel (chapter 8). We know how to compute a convolution. Write F for the flipped kernel, and let each tile of
# :math:`dX`, which has 4x4 pixels, belong to a tile of g of 6x6:
#
# .. math::
#     dX = A^{\top} \left[ (G F G^{\top}) \odot (B^{\top} g\, B) \right] A .
#
# The gradient of the weights follows without another convolution. Consider the number :math:`\langle x, dX \rangle`,
# the sum of all pixels times their gradients. It is linear in the kernel, in x and in g: every term is a pixel times a
# weight times a number of g. Summing the same terms over the outputs first gives :math:`\langle \mathrm{out}, g
# \rangle`. So its derivative in the weights is dw. Insert the formula for :math:`dX` and move A to the other side of
# the inner product:
#
# .. math::
#     \langle \mathrm{out}, g \rangle
#     = \sum_{\mathrm{tiles}} \langle X, dX \rangle
#     = \sum_{\mathrm{tiles}} \langle A X A^{\top},\; (G F G^{\top}) \odot (B^{\top} g\, B) \rangle .
#
# Now the kernel is easy to differentiate:
#
# .. math::
#     dF = G^{\top} \left[ \sum_{\mathrm{tiles}} (A X A^{\top}) \odot (B^{\top} g\, B) \right] G .
#
# Flipped, this is dw. The transformed tiles of g are those that dX needs, too, so one transform serves both gradients.
# The tiles X have 4x4 pixels and do not overlap. With channels, the product in the brackets is a product of matrices
# for each place.


def winograd_gradients(g, x, w, matrices):
    """Return dx and dw of a convolution without padding; the height and width of x are multiples of m."""
    At, G, Bt = matrices
    m, t = At.shape
    gpad = np.pad(g, ((0, 0), (2, 2), (2, 2), (0, 0)))
    flipped = w[::-1, ::-1].transpose(0, 1, 3, 2)  # (3, 3, o, c)
    dx = winograd(gpad, flipped, matrices)

    n, rows, columns, c, o = len(x), x.shape[1] // m, x.shape[2] // m, *w.shape[2:]
    V = np.einsum("ia,jb,nyxabo->ijnyxo", Bt, Bt, windows(gpad, (t, t), (m, m), (1, 1)), optimize=True)
    X = np.einsum("ai,bj,nyaxbc->ijcnyx", At, At, x.reshape(n, rows, m, columns, m, c), optimize=True)
    dU = X.reshape(t, t, c, -1) @ V.reshape(t, t, -1, o)  # (t, t, c, o)
    dw = np.einsum("ia,jb,ijco->abco", G, G, dU, optimize=True)
    return dx, dw[::-1, ::-1]


x = rng.standard_normal((2, 16, 12, 5))
g = rng.standard_normal((2, 14, 10, 7))
dx, dw = winograd_gradients(g, x, w, (A.T, G, B.T))

xt, wt = mg.Tensor(x, requires_grad=True), mg.Tensor(w, requires_grad=True)
with mg.conv_algorithm("im2col"):
    dx_tape, dw_tape = mg.grad(mg.conv2d(xt, wt), (xt, wt), mg.Tensor(g))
np.testing.assert_allclose(dx, dx_tape.data, atol=1e-12)
np.testing.assert_allclose(dw, dw_tape.data, atol=1e-11)
print(f"dx {dx.shape} and dw {dw.shape} agree with the tape")

# %%
# (To stay close to the formulas, this program transforms g twice.)
#
# The kernel
# ----------
# minigrad's :doc:`/source/minigrad/kernels/winograd` differs from this program in four ways.
#
# *The matrices are exact.* They come from the points in fractions, by Lagrange's formula, and are rounded once at the
# end (exercise 2). No inverse of a matrix is computed in floating point.
#
# *Both axes at once.* :math:`B^{\top} X B` is linear in the 36 numbers of X, so it is one matrix of 36x36 times X,
# written as a column: the Kronecker product of :math:`B^{\top}` with itself. This takes three times as many
# multiply-adds as the two products with :math:`B^{\top}`. But the transform of many tiles is then one call, which reads
# and writes each tile once.
#
# *Blocks.* The transformed weights have 36 c o numbers, four times as many as the kernel. They are read once for each
# block of tiles; so a block must have many tiles, and then its transformed pixels no longer fit into a core's cache.
# The transforms, on the other hand, work best in the cache. So a block is cut a second time, into *pieces* for the
# transforms. This is the forward pass:
#
# .. literalinclude:: /../minigrad/kernels/winograd.py
#    :pyobject: forward
#
# .. literalinclude:: /../minigrad/kernels/winograd.py
#    :pyobject: Tiles.transformed
#
# .. literalinclude:: /../minigrad/kernels/winograd.py
#    :pyobject: Tiles.write
#
# *Any size.* At the border, a tile may reach over the image. ``Columns`` puts zeros there, and ``write`` drops the
# outputs that nobody wants. In the backward pass you find the formulas of the last section. V is called ``b`` there,
# and a block makes it once for both gradients:
#
# .. literalinclude:: /../minigrad/kernels/winograd.py
#    :pyobject: backward
#
# What is gained
# --------------
# A quarter of the multiplications is not a quarter of the time, because of the transforms. Count the multiply-adds for
# one output pixel and c = o. A tile has 16 of them. The transform of its pixels takes :math:`36 \cdot 36\, c`
# multiply-adds, the products :math:`36\, c\, o`, and the transform of the outputs :math:`16 \cdot 36\, o`:
#
# .. math::
#     \frac{\text{Winograd}}{\text{definition}} = \frac{36^2 c + 36\, c\, o + 16 \cdot 36\, o}{16 \cdot 9\, c\, o}
#     = \frac{1}{4} + \frac{13}{c} .
#
# With 16 channels, nothing is gained; with 256, almost everything. The same for the backward pass, which has two
# products and one more transform, for X. We leave out the weights, whose transform does not depend on the number of
# pixels. (With few tiles it matters: hence the second constant below.) Now measure. The bars are the time with
# Winograd's algorithm as a multiple of the time with im2col, forward and backward, on one thread. The lines across the
# bars are the counts.


def count(c):
    """Return the multiply-adds as a share of the definition's, forward and backward, with c channels in and out."""
    pixels, products, outputs = 36 * 36 * c, 36 * c * c, 16 * 36 * c
    forward, backward = pixels + products + outputs, pixels + 2 * products + 2 * outputs
    return forward / (16 * 9 * c * c), backward / (16 * 18 * c * c)


def step_times(n, size, c, repeat=7):
    """Return the times of both passes with both algorithms, {name: (forward, backward)}: the best of several."""
    x = mg.Tensor(rng.standard_normal((n, size, size, c), dtype=np.float32), requires_grad=True)
    w = mg.Tensor(rng.standard_normal((3, 3, c, c), dtype=np.float32), requires_grad=True)
    g = mg.Tensor(rng.standard_normal((n, size, size, c), dtype=np.float32))
    best = {"im2col": np.full(2, np.inf), "winograd": np.full(2, np.inf)}
    for _ in range(repeat):
        for name in best:
            with mg.conv_algorithm(name):
                ticks = [time.thread_time()]
                out = mg.conv2d(x, w, padding=1)
                ticks.append(time.thread_time())
                mg.grad(out, (x, w), g)
                ticks.append(time.thread_time())
            best[name] = np.minimum(best[name], np.diff(ticks))
    return best


layers = [(64, 32, 16), (64, 16, 32), (64, 8, 64), (8, 16, 128), (8, 8, 256)]  # images, pixels, channels
before = mg.get_num_threads()
mg.set_num_threads(1)
with threadpool_limits(1):
    times = [step_times(*layer) for layer in layers]
mg.set_num_threads(before)

figure, panel = plt.subplots(figsize=(8, 3.6), layout="constrained")
figure.set_label(
    "Pairs of bars, forward and backward, for layers with more and more channels: Winograd's time relative to "
    "im2col's. Short lines mark the share of multiply-adds, which most bars exceed."
)
tidy(panel)
shares = np.array([found["winograd"] / found["im2col"] for found in times])  # (layers, 2)
counted = np.array([count(c) for *_, c in layers])
for k, (name, shade) in enumerate((("forward", "0.35"), ("backward", "0.65"))):
    places = np.arange(len(layers)) + 0.38 * (k - 0.5)
    panel.bar(places, shares[:, k], 0.36, color=shade, label=name, zorder=2)
    panel.hlines(counted[:, k], places - 0.18, places + 0.18, color="white", lw=4, zorder=3)
    panel.hlines(counted[:, k], places - 0.18, places + 0.18, color="black", lw=2, zorder=3)
panel.axhline(1, color="black", lw=1, ls=":")
panel.annotate("im2col", (len(layers) - 0.5, 1), (0, 3), textcoords="offset points", ha="right", fontsize=9)
panel.set_xticks(range(len(layers)), [f"{c} channels\n{n} of {size}x{size}" for n, size, c in layers])
panel.tick_params(axis="x", length=0)
panel.grid(axis="x", visible=False)
panel.set(ylabel="time, im2col = 1", xlim=(-0.5, len(layers) - 0.5))
panel.set_title("Winograd's algorithm beside im2col, 3x3, one thread; lines: multiply-adds", fontsize=10)
legend = panel.legend(loc="upper right", bbox_to_anchor=(1, 0.93))

# %%
# The times depend on the machine. Most of them are above the counts: a small product with a matrix of 36x36 does not
# reach the speed of a large one, and the transformed tiles are written to memory and read again. With 16 channels,
# nothing is gained, or something is lost. So minigrad chooses the algorithm, by shape and dtype only. The constants
# were measured:
#
# .. literalinclude:: /../minigrad/kernels/conv.py
#    :start-at: #: From so many channels
#    :end-before: def _pixels_at_once
#
# :doc:`/performance` has the times of whole nets beside PyTorch. In VGG and ResNet-34, nearly all layers have the shape
# for which this pays.
#
# What it costs: rounding
# -----------------------
# In exact arithmetic, both algorithms give the same numbers. In floating point they do not. In the sum :math:`y_i =
# \sum_k A_{ki}\, (G w)_k\, (B^{\top} x)_k`, the terms can be much larger than the result, and cancel. But each term was
# rounded, relative to its own size, and the rounding errors stay.
#
# How large are the terms? Let pixels and weights be independent, with mean 0 and variance 1. Then :math:`(G w)_k` has
# the variance :math:`\lVert G_k \rVert^2`, the sum of the squares in row k of G; likewise for the pixels. The output
# itself has variance 3, since it is a sum of three products. So the sum of the terms' variances, divided by 3, says how
# much larger the terms are, as a square. In two dimensions the same happens along both axes, and the square root of the
# product is, on average over the outputs,
#
# .. math::
#     \alpha = \frac{1}{4} \sum_{i} \frac{1}{3} \sum_k A_{ki}^2\; \lVert G_k \rVert^2\; \lVert B^{\top}_k \rVert^2 .
#
# Call it the *amplification*. It can be computed from the points alone. The points are ours to choose, so let us look
# for a small one, and check against the errors in float32. (The analysis of this error is due to B. Barabasz, A.
# Anderson, K. Soodhalter and D. Gregg, arXiv 1803.10986.)

x = rng.standard_normal((1, 26, 26, 64))
w = rng.standard_normal((3, 3, 64, 64))
x32, w32 = x.astype("f4"), w.astype("f4")
with mg.conv_algorithm("im2col"):
    exact, by_im2col = mg.conv2d(x32.astype(float), w32.astype(float)), mg.conv2d(x32, w32)
with mg.conv_algorithm("winograd"):
    by_minigrad = mg.conv2d(x32, w32)


def errors(out):
    """Return the largest and the rms error, relative to the largest number and to the rms of the result."""
    off = out - exact
    return abs(off).max() / abs(exact).max(), np.sqrt(np.mean(off**2) / np.mean(exact**2))


def measured(points, m=4):
    return errors(winograd(x32, w32, [matrix.astype("f4") for matrix in cook_toom(points, m, 3)]))


def amplification(points, m=4):
    At, G, Bt = (matrix.astype(float) for matrix in cook_toom(points, m, 3))
    return np.mean(At**2 @ ((G**2).sum(1) * (Bt**2).sum(1))) / 3


def signed(*numbers):
    """Return 0 and each number with both signs, as fractions."""
    return [Fraction(0), *(sign * Fraction(a) for a in numbers for sign in (1, -1))]


print("outputs   points, besides infinity             amplification   largest error   rms error")
print(f"im2col{errors(by_im2col)[0]:70.1e}{errors(by_im2col)[1]:12.1e}")
for m, numbers in [(2, ["1"]), (4, ["1", "2"]), (4, ["1/2", "2"]), (4, ["2/3", "3/2"]), (6, ["1/2", "1", "2"])]:
    points = signed(*numbers)
    largest, rms = measured(points, m)
    name = "0, " + ", ".join(f"±{a}" for a in numbers)
    print(f"{f'{m}x{m}':7}   {name:37}{amplification(points, m):13.1f}{largest:16.1e}{rms:12.1e}")

# %%
# The usual points are 0, 1, -1, 2 and -2. Their matrices A and B hold small integers, which is good for transforms by
# additions and shifts. Ours are matrix products, for which all numbers are equally good. Large powers make large
# numbers in the matrices: the polynomials have degree five, and :math:`2^5` is 32. A point between -1 and 1 has small
# powers, but if all points are there, they are close to each other, and the polynomials are hard to tell apart. A point
# beside its *inverse* is a compromise: where the powers of a grow, those of 1/a shrink. The next figure shows the error
# for the points 0, ±1/a, ±a and for 0, ±1, ±a. The dots are measured; the curves are the amplification times one
# constant, which is the same for both.

ours = signed("2/3", "3/2")
unit = measured(ours)[1] / amplification(ours)
families = {
    "0, ±1/a, ±a": (lambda a: signed(1 / a, a), "o", "-", "black"),
    "0, ±1, ±a": (lambda a: signed(1, a), "s", "--", "0.45"),
}

figure, panel = plt.subplots(figsize=(8, 4), layout="constrained")
figure.set_label(
    "Rounding error against the parameter a of the points, logarithmic: the curve of the points 0, ±1/a, ±a is lower "
    "than that of 0, ±1, ±a; both are far above the line of im2col."
)
tidy(panel)
for label, (points, marker, style, color) in families.items():
    curve = [Fraction(k, 100) for k in range(112, 321, 4)]
    predicted = [unit * amplification(points(a)) for a in curve]
    panel.plot([float(a) for a in curve], predicted, style, color=color, lw=1)
    simple = [Fraction(a) for a in ("5/4", "4/3", "3/2", "5/3", "2", "7/3", "5/2", "3")]
    found = [measured(points(a))[1] for a in simple]
    panel.plot([float(a) for a in simple], found, marker, color=color, label=label)
panel.axhline(errors(by_im2col)[1], color="black", ls=":", lw=1)
panel.annotate("im2col", (3.2, errors(by_im2col)[1]), (0, 4), textcoords="offset points", ha="right", fontsize=9)
for text, place, numbers, offset in (
    ("minigrad's: 0, ±2/3, ±3/2", 1.5, ("2/3", "3/2"), (2, -22)),
    ("the usual: 0, ±1, ±2", 2.0, ("1", "2"), (-30, 28)),
):
    arrow = {"arrowstyle": "-", "lw": 0.8}
    at = place, measured(signed(*numbers))[1]
    panel.annotate(text, at, offset, textcoords="offset points", fontsize=9, arrowprops=arrow)
panel.set_yscale("log")
panel.set(xlabel="a", ylabel="rms error / rms of the result", xlim=(1.1, 3.22))
panel.set_title("Rounding errors of F(4x4, 3x3) in float32, 64 channels", fontsize=10)
legend = panel.legend(title="points", loc="upper right")

best = min(range(112, 321), key=lambda k: amplification(signed(Fraction(100, k), Fraction(k, 100)))) / 100
assert measured(signed("1", "2"))[1] > 1.5 * measured(ours)[1]
print(f"the amplification is least at a = {best}; minigrad takes 3/2")
largest, rms = errors(by_minigrad)
print(f"minigrad: largest error {largest:.1e}, rms {rms:.1e} (machine-dependent)")

# %%
# So the error is a few times that of im2col, and far below what training notices: the gradient of a batch is a random
# estimate anyway. In float64, the errors are smaller by nine digits. The table also shows why minigrad's tiles do not
# have 6x6 outputs: they would save another fifth of the products, at several times the error.
#
# One property is lost. Convolutions of small integers are exact with im2col, but not here, because 2/3 is not a
# floating-point number.
#
# What it costs: a NaN spreads
# ----------------------------
# By the definition, a NaN in one pixel makes nine outputs NaN: those whose windows contain the pixel. In a tile it
# spreads. The transforms mix all pixels of a tile, and even a factor of zero does not help, since 0 times NaN is NaN.
# So all 16 outputs of the tile are NaN, and if the pixel lies where tiles overlap, all outputs of up to four tiles.

x = rng.standard_normal((1, 18, 18, 1))
x[0, 8, 9] = np.nan
w = rng.standard_normal((3, 3, 1, 1))
matrices = [matrix.astype(float) for matrix in cook_toom(ours, 4, 3)]
maps = {"tiles alone": winograd(x, w, matrices)}
for name in ("im2col", "winograd"):
    with mg.conv_algorithm(name):
        maps[f'mg.conv_algorithm("{name}")'] = mg.conv2d(x, w)

figure, panels = plt.subplots(1, 3, figsize=(8.5, 3.3), layout="constrained")
figure.set_label(
    "Three output maps of 16 tiles with the NaNs marked: Winograd's tiles alone fill four whole tiles, im2col and "
    "minigrad's kernel mark only the nine pixels that the definition has."
)
for panel, (name, out) in zip(panels, maps.items(), strict=True):
    unknown = np.isnan(out[0, :, :, 0])
    grid(panel, 0.6 * unknown, f"{name}:\n{unknown.sum()} outputs are NaN")
    for corner in np.ndindex(4, 4):
        frame(panel, 4 * corner[0], 4 * corner[1], 4)
assert [np.isnan(out).sum() for out in maps.values()] == [64, 9, 9]

# %%
# minigrad's kernel checks after each piece whether all outputs are finite. If they are not, then im2col computes the
# whole convolution once more, and its result is returned. So NaN and infinities are where the definition has them, to
# the bit. The same holds for *overflow*: pixels near the largest float32 can overflow in the sums of the transform,
# where the definition does not. The same check finds it. It costs one more pass over a piece that is still in the
# cache.

x = rng.standard_normal((1, 18, 18, 1), dtype=np.float32)
x[0, 8, 9] = x[0, 10, 9] = 3e38
w = np.full((3, 3, 1, 1), 0.1, np.float32)
with np.errstate(over="ignore", invalid="ignore"):
    alone = winograd(x, w, [matrix.astype("f4") for matrix in matrices])
with mg.conv_algorithm("im2col"):
    defined = mg.conv2d(x, w)
with mg.conv_algorithm("winograd"):
    by_minigrad = mg.conv2d(x, w)
spoilt = [np.sum(~np.isfinite(out)) for out in (alone, by_minigrad)]
print(f"not finite: {spoilt[0]} outputs of tiles alone, {spoilt[1]} of minigrad's")
assert spoilt[0] > spoilt[1] == 0
assert by_minigrad.tobytes() == defined.tobytes()

# %%
# So the price is a larger rounding error, 36 numbers of memory for nine weights, a longer program, and a second
# computation where a result is not finite. In return, the layers that take most of the time in VGG and ResNet-34 pass
# the limit that the matrix product had set. S. Winograd's algorithms of 1980 came to neural nets in 2015: A. Lavin and
# S. Gray, "Fast Algorithms for Convolutional Neural Networks", arXiv 1509.09308.
#
# Exercises
# ---------
#
# 1. **Three outputs.** Two weights and three outputs, in one dimension, with four products instead of six. Derive them
#    by hand, as in the first section, or from polynomials. The check counts your products.
# 2. **Exact matrices.** Compute the matrices A', G and B' from any points, in fractions, without rounding.
# 3. **A gradient by tiles.** Compute both gradients for tiles of any size, and transform the cotangent only once.
#
# .. literalinclude:: /exercises/chapter_10.py
#
# Fill in ``docs/exercises/chapter_10.py`` and run ``python docs/exercises/check.py 10``.

show()
