r"""
4. Matrices
===========

What is the rule of a matrix product, and why does learning walk backwards at all?

Nearly all the time that a net takes is spent in products of matrices. Convolution, too, will become one in
:doc:`chapter 7 </course/07_im2col>`. So this rule is worth knowing by heart. It need not be learnt by heart: three
indices, named, and it writes itself. At the end of the chapter stands a net that reads handwritten digits, with every
gradient written by hand.
"""

# %%
# The rule, index by index
# ------------------------
#
# Let A have shape (m, k), B shape (k, n), and C = A B shape (m, n). An entry of C is
#
# .. math:: C_{ij} = \sum_{p} A_{ip}\, B_{pj} ,
#
# where i runs over the m rows, j over the n columns, and p over the k inner places. Let :math:`g_{ij} = \partial L /
# \partial C_{ij}` be the cotangent, of the shape of C, and write dA and dB for the gradients of A and B. Now ask: which
# entries of C does the one number :math:`A_{ip}` touch? Those in its row i, for every j. And how strongly?
# :math:`\partial C_{ij} / \partial A_{ip} = B_{pj}`. So
#
# .. math:: dA_{ip} = \sum_{j} g_{ij}\, B_{pj} .
#
# The index j, which A does not have, is summed away: the sentence of :doc:`chapter 3 </course/03_broadcasting>`. And a
# sum over the second index of both is a product with a transpose. For B the same with i:
#
# .. math:: dA = g\, B^{\top}, \qquad dB_{pj} = \sum_{i} A_{ip}\, g_{ij},
#    \quad \text{so} \quad dB = A^{\top} g .
#
# Should you forget it, the shapes remember. (m, k) must come from g, (m, n), and B, (k, n). There is only one way to
# put them together.

import itertools

import matplotlib.pyplot as plt
import numpy as np

import minigrad as mg
from minigrad import data


def matrix(ax, left, bottom, rows, columns, title, colour):
    """Draw a matrix with the names of its axes."""
    (row_name, height), (column_name, width) = rows, columns
    ax.add_patch(plt.Rectangle((left, bottom), width, height, fc=colour, ec="black", lw=1.5))
    ax.text(left + width / 2, bottom + height / 2, title, ha="center", va="center", size=13)
    ax.text(left + width / 2, bottom + height + 0.12, column_name, ha="center", color="tab:red")
    ax.text(left - 0.15, bottom + height / 2, row_name, ha="right", va="center", color="tab:red")


i, p, j = ("i", 2.0), ("p", 1.2), ("j", 2.8)
fig, axes = plt.subplots(3, 1, figsize=(7, 5.4), layout="constrained")
pictures = [("C", i, j, "white", ("A", i, p, "gold"), ("B", p, j, "lightblue"))]
pictures += [("dA", i, p, "gold", ("g", i, j, "white"), ("Bᵀ", j, p, "lightblue"))]
pictures += [("dB", p, j, "lightblue", ("Aᵀ", p, i, "gold"), ("g", i, j, "white"))]
for ax, (title, rows, columns, colour, first, second) in zip(axes, pictures, strict=True):
    matrix(ax, 0, -rows[1] / 2, rows, columns, title, colour)
    ax.text(3.6, 0, "=", size=18, ha="center", va="center")
    matrix(ax, 4.6, -first[1][1] / 2, first[1], first[2], first[0], first[3])
    matrix(ax, 5.4 + first[2][1], -second[1][1] / 2, second[1], second[2], second[0], second[3])
    ax.text(11, 0, f"sums over {first[2][0]}", va="center")
    ax.set(xlim=(-0.6, 13.2), ylim=(-1.5, 1.9), aspect="equal")
    ax.axis("off")

# %%
# In the picture, the two that meet always share an index at the seam, and that index is gone from the result. A check,
# against finite differences:

rng = np.random.default_rng(0)
A, B, g = rng.standard_normal((4, 3)), rng.standard_normal((3, 5)), rng.standard_normal((4, 5))


def loss(A, B):
    return np.sum(g * (A @ B))  # its cotangent of C is g


bumped = A.copy()
bumped[2, 1] += 1e-6
print("by differences:", round((loss(bumped, B) - loss(A, B)) / 1e-6, 6))
print("by the rule:   ", round((g @ B.T)[2, 1], 6))
assert np.isclose((loss(bumped, B) - loss(A, B)) / 1e-6, (g @ B.T)[2, 1], rtol=1e-5)

# %%
# Stacks of matrices
# ------------------
#
# NumPy multiplies stacks, too: (s, m, k) with (s, k, n) is s products, side by side. Leading axes broadcast. So one
# matrix B, (k, n), with a stack A, (s, m, k), is used s times, and its gradient is a sum of s products:
#
# .. math:: dB_{pj} = \sum_{s} \sum_{i} A_{sip}\, g_{sij} .
#
# We need no new rule. The rule of each product gives (s, k, n); then the stretching is undone as in chapter 3. This is
# all that minigrad says about it:
#
# .. literalinclude:: /../minigrad/ops/matmul.py
#    :pyobject: _matmul
#
# .. literalinclude:: /../minigrad/ops/matmul.py
#    :start-at: _matmul.vjp(
#    :end-before: def linear
#
# It is called ``elementwise``: its elements are matrices, and the stacks of them broadcast. The rule is written with
# the operator itself, so it can be differentiated again.

stack = mg.Tensor(rng.standard_normal((6, 4, 3)), requires_grad=True)  # (s, m, k)
shared = mg.Tensor(B, requires_grad=True)  # (k, n)
g = rng.standard_normal((6, 4, 5))  # (s, m, n)
(stack @ shared).backward(g)

one_by_one = sum(stack.data[s].T @ g[s] for s in range(6))
folded = stack.data.reshape(24, 3).T @ g.reshape(24, 5)  # s and i together are one long axis of rows
assert np.allclose(shared.grad.data, one_by_one)
assert np.allclose(shared.grad.data, folded)
print("three ways to the gradient of the shared matrix agree")

# %%
# The last way is the fast one: two sums over s and i are one sum over pairs (s, i), so fold the two axes into one, and
# let a single large product do all. It is also why the gradient of a weight grows with the batch: it is a sum over the
# images. (A loss that is a mean divides by their number.)
#
# Why backwards?
# --------------
#
# Think of a net as a chain of maps, from a layer of :math:`n_0` numbers to one of :math:`n_1`, and so on, until a
# single number, the loss. Near a point, each acts as a matrix, its Jacobian :math:`J_l`, and the gradient is their
# product
#
# .. math:: J_L \cdots J_2\, J_1 .
#
# A product may be taken from either end. From the right, the input's end, we carry a matrix along: the derivative of a
# layer with respect to *all* inputs. From the left, the loss's end, we carry one row: :math:`J_L` has only one, since
# the loss is one number. Count the multiply-adds:

sizes = [784, 256, 128, 64, 32, 10, 1]


def multiply_adds(sizes):
    """Return those of the product of Jacobians, taken from the input's end and from the loss's end."""
    forward = sum(sizes[k + 1] * sizes[k] * sizes[0] for k in range(1, len(sizes) - 1))
    backward = sum(sizes[-1] * sizes[k + 1] * sizes[k] for k in range(len(sizes) - 2))
    return forward, backward


forward, backward = multiply_adds(sizes)
run = sum(a * b for a, b in itertools.pairwise(sizes))
print(f"one run of the net:      {run:>12,} multiply-adds")
print(f"derivatives, forwards:   {forward:>12,}")
print(f"derivatives, backwards:  {backward:>12,}")
assert backward < run < forward / 100

# %%
# The walk from the loss costs what a run costs, and the other 139 times as much: that is the whole reason for walking
# backwards, and for keeping a tape. Had we one input and many outputs, the other end would win.
#
# For the weights there is one more product in each layer, :math:`A^{\top} g`. So a full step of learning takes three
# products where a run takes one: that is the rule of thumb "backward costs twice forward".
#
# An experiment: a net by hand
# ----------------------------
#
# Handwritten digits, 8 x 8 pixels, come with minigrad. Two layers, 64 to 100 to 10, and the softmax cross-entropy for a
# loss. With :math:`n` images:
#
# .. math::
#    \begin{aligned}
#    a &= x W_1 + b_1 & (n, 100) \\
#    h &= \max(a, 0) & (n, 100) \\
#    z &= h W_2 + b_2 & (n, 10) \\
#    L &= -\frac{1}{n} \sum_{i} \log\, \mathrm{softmax}(z_i)_{t_i} &
#    \end{aligned}
#
# where :math:`t_i` is the right digit of image i. *Softmax* makes probabilities of the ten scores of an image, and the
# *cross-entropy* is small where the right digit has a high one:
#
# .. math:: \mathrm{softmax}(z)_k = \frac{e^{z_k}}{\sum_l e^{z_l}}, \qquad
#    -\log\, \mathrm{softmax}(z)_t = \log \sum_l e^{z_l} - z_t .
#
# Walk backwards. The derivative of the last expression with respect to :math:`z_k` is :math:`\mathrm{softmax}(z)_k`,
# less 1 where :math:`k = t`. So the first cotangent is probability minus target, over n. The maximum with 0 hands its
# cotangent on where :math:`a > 0`, and nothing elsewhere. The others are the rules of this chapter and the one before.


def net_by_hand(x, t, w1, b1, w2, b2):
    """Return the loss and the gradients of the four parameters, without any tape."""
    a = x @ w1 + b1  # (n, 100)
    h = np.maximum(a, 0)
    z = h @ w2 + b2  # (n, 10)
    e = np.exp(z - z.max(axis=1, keepdims=True))
    probability = e / e.sum(axis=1, keepdims=True)
    rows = np.arange(len(t))
    loss = -np.log(probability[rows, t]).mean()

    dz = probability
    dz[rows, t] -= 1
    dz /= len(t)  # (n, 10)
    dw2, db2 = h.T @ dz, dz.sum(axis=0)  # (100, 10), (10,)
    da = (dz @ w2.T) * (a > 0)  # (n, 100)
    dw1, db1 = x.T @ da, da.sum(axis=0)  # (64, 100), (100,)
    return loss, [dw1, db1, dw2, db2]


def digits(train):
    """Return images as rows (n, 64), and labels (n,)."""
    images, labels = data.Digits(train=train)[:]
    return images.reshape(len(images), -1).astype(float), labels


x, t = digits(train=True)
x_test, t_test = digits(train=False)
shapes = [(64, 100), (100,), (100, 10), (10,)]
# random weights, of a size that chapter 11 explains; biases of 0
parameters = [rng.standard_normal(s) * (2 / s[0]) ** 0.5 if len(s) == 2 else np.zeros(s) for s in shapes]

by_hand = net_by_hand(x, t, *parameters)[1]
w1, b1, w2, b2 = leaves = [mg.Tensor(p, requires_grad=True) for p in parameters]
by_tape = mg.grad(mg.cross_entropy(mg.linear(mg.relu(mg.linear(x, w1, b1)), w2, b2), t), leaves)
for mine, theirs in zip(by_hand, by_tape, strict=True):
    assert np.allclose(mine, theirs.data, rtol=1e-10, atol=1e-14)
print(f"{len(x)} images; by hand and by tape, four gradients agree to ten digits")

# %%
# Now let it learn: take a small step against each gradient, again and again, each time with 64 images drawn at random.


def error():
    w1, b1, w2, b2 = parameters
    return np.mean(np.argmax(np.maximum(x_test @ w1 + b1, 0) @ w2 + b2, axis=1) != t_test)


losses, errors = [], [(0, error())]
for step in range(1, 1001):
    batch = rng.integers(len(x), size=64)
    loss_now, slopes = net_by_hand(x[batch], t[batch], *parameters)
    parameters = [p - 0.2 * d for p, d in zip(parameters, slopes, strict=True)]
    losses.append(loss_now)
    if step % 50 == 0:
        errors.append((step, error()))
print(f"wrong of {len(x_test)} digits it never saw: {errors[0][1]:.0%} before, {errors[-1][1]:.1%} after")
assert errors[-1][1] < 0.06

fig, (left, right) = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
left.semilogy(losses, color="0.5", lw=0.8)
left.set(xlabel="step", ylabel="loss of the batch")
right.plot(*zip(*errors, strict=True), "o-", color="black", ms=3)
right.set(xlabel="step", ylabel="error on held-out digits", ylim=(0, 1))
fig.suptitle("Two matrices learn to read, with gradients by hand")

# %%
# Thirty lines, and no framework. Now imagine 152 layers of it. That is what the tape is for.
#
# Exercises
# ---------
#
# 1. **Stacks that broadcast.** The rule of ``a @ b`` when the leading axes of either may have been stretched.
# 2. **A bilinear form.** ``y[n] = sum over i and j of x[n, i] w[i, j] z[n, j]``: three arguments, three rules. Name the
#    indices, and see which are summed away.
# 3. **Solve.** x = solve(A, b) is the x with A x = b. Nobody has told you its rule; find it. Hint: move A and b a
#    little, what equation does the change of x satisfy?
#
# .. literalinclude:: /exercises/chapter_04.py
#
# Fill in ``docs/exercises/chapter_04.py`` and run ``python docs/exercises/check.py 4``.
