r"""
4. Matrices
===========

What is the rule of a matrix product, and why do we compute gradients backwards?

A net spends nearly all its time in matrix products. Convolution, too, is written as a matrix product in :doc:`chapter 8
</course/08_im2col>`. So the rule of the matrix product is important. You need not memorise it: name the three indices,
and the rule follows. At the end of the chapter we train a net that recognises handwritten digits, with all its
gradients written by hand.
"""

# %%
# The rule, index by index
# ------------------------
#
# Let A have shape (m, k), B shape (k, n), and C = A B shape (m, n). An entry of C is
#
# .. math:: C_{ij} = \sum_{p} A_{ip}\, B_{pj} ,
#
# where i runs over the m rows, j over the n columns, and p over the k inner indices. Let :math:`g_{ij} = \partial L /
# \partial C_{ij}` be the cotangent, which has the shape of C, and write dA and dB for the gradients of A and B. Which
# entries of C depend on the one number :math:`A_{ip}`? The entries in row i, for every j. The derivative of each is
# :math:`\partial C_{ij} / \partial A_{ip} = B_{pj}`. So
#
# .. math:: dA_{ip} = \sum_{j} g_{ij}\, B_{pj} .
#
# We sum over the index j, which A does not have, as in :doc:`chapter 3 </course/03_broadcasting>`. In this sum, j is
# the second index of g and of B; so it is the product of g and the transpose of B. For B we do the same with i:
#
# .. math:: dA = g\, B^{\top}, \qquad dB_{pj} = \sum_{i} A_{ip}\, g_{ij},
#    \quad \text{so} \quad dB = A^{\top} g .
#
# If you forget the rule, the shapes tell you. dA has shape (m, k), and it is a product of g, of shape (m, n), and B, of
# shape (k, n). The shapes fit in only one way.

import itertools

import matplotlib.pyplot as plt
import numpy as np

import minigrad as mg
from minigrad import data
from minigrad.train.report import show


def matrix(ax, left, bottom, rows, columns, title, colour):
    """Draw a matrix with the names of its axes."""
    (row_name, height), (column_name, width) = rows, columns
    ax.add_patch(plt.Rectangle((left, bottom), width, height, fc=colour, ec="black", lw=1.5))
    ax.text(left + width / 2, bottom + height / 2, title, ha="center", va="center", size=13)
    ax.text(left + width / 2, bottom + height + 0.12, column_name, ha="center", color="tab:red")
    ax.text(left - 0.15, bottom + height / 2, row_name, ha="right", va="center", color="tab:red")


i, p, j = ("i", 2.0), ("p", 1.2), ("j", 2.8)
fig, axes = plt.subplots(3, 1, figsize=(7, 5.4), layout="constrained")
fig.set_label(
    "Three products of matrices, drawn as rectangles whose sides are labelled with indices: C = A B sums over p, dA ="
    " g Bᵀ over j, dB = Aᵀ g over i."
)
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
# In the figure, two factors that stand side by side share the index on their common side. The sum runs over this index,
# so the result does not have it. We check the rule against finite differences:

rng = np.random.default_rng(0)
A, B, g = rng.standard_normal((4, 3)), rng.standard_normal((3, 5)), rng.standard_normal((4, 5))


def loss(A, B):
    return np.sum(g * (A @ B))  # the cotangent of C is g


bumped = A.copy()
bumped[2, 1] += 1e-6
print("by differences:", round((loss(bumped, B) - loss(A, B)) / 1e-6, 6))
print("by the rule:   ", round((g @ B.T)[2, 1], 6))
assert np.isclose((loss(bumped, B) - loss(A, B)) / 1e-6, (g @ B.T)[2, 1], rtol=1e-5)

# %%
# Stacks of matrices
# ------------------
#
# NumPy also multiplies stacks of matrices: (s, m, k) times (s, k, n) is s separate products. Leading axes broadcast. So
# if A is a stack (s, m, k), and B a single matrix (k, n), then B is used s times. Its gradient is a sum of s products:
#
# .. math:: dB_{pj} = \sum_{s} \sum_{i} A_{sip}\, g_{sij} .
#
# We need no new rule. The rule of a single product, applied to the stacks, gives shape (s, k, n). Then we sum over the
# stretched axes as in chapter 3. This is the whole code in minigrad:
#
# .. literalinclude:: /../minigrad/ops/matmul.py
#    :pyobject: _matmul
#
# .. literalinclude:: /../minigrad/ops/matmul.py
#    :start-at: _matmul.vjp(
#    :end-before: def linear
#
# The operator is declared ``elementwise``: its elements are matrices, and the stacks of them broadcast. The rule is
# written with the operator itself, so the rule can be differentiated again.

stack = mg.Tensor(rng.standard_normal((6, 4, 3)), requires_grad=True)  # (s, m, k)
shared = mg.Tensor(B, requires_grad=True)  # (k, n)
g = rng.standard_normal((6, 4, 5))  # (s, m, n)
(stack @ shared).backward(g)

one_by_one = sum(stack.data[s].T @ g[s] for s in range(6))
folded = stack.data.reshape(24, 3).T @ g.reshape(24, 5)  # s and i together are one long axis of rows
assert np.allclose(shared.grad.data, one_by_one)
assert np.allclose(shared.grad.data, folded)
print("three computations of the gradient of the shared matrix agree")

# %%
# The last computation is the fastest. The two sums over s and i are one sum over pairs (s, i). So we merge the two axes
# into one, and compute a single large product. This also shows why the gradient of a weight grows with the batch: it is
# a sum over the images. (If the loss is a mean over the images, the gradient is divided by their number.)
#
# Why compute gradients backwards?
# --------------------------------
#
# A net is a chain of maps: from :math:`n_0` numbers to :math:`n_1` numbers, and so on, to a single number, the loss.
# Near a point, each map acts like a matrix, its Jacobian :math:`J_l`. The gradient is the product of these matrices:
#
# .. math:: J_L \cdots J_2\, J_1 .
#
# We can compute this product from either end. If we begin at the right, at the input, every intermediate result is a
# matrix: the derivatives of a layer with respect to *all* inputs. If we begin at the left, at the loss, every
# intermediate result is a single row, because the loss is one number, so that :math:`J_L` has only one row. Count the
# multiply-adds:

sizes = [784, 256, 128, 64, 32, 10, 1]


def multiply_adds(sizes):
    """Return the multiply-adds of the product of Jacobians, from the input's end and from the loss's end."""
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
# Beginning at the loss, the product costs about as much as a run of the net; beginning at the input, it costs 139 times
# as much. This is why we compute gradients backwards, and why we need a tape. For a function with one input and many
# outputs, beginning at the input would be cheaper.
#
# For the gradient of its weights, each layer needs one more product, :math:`A^{\top} g`. So a training step takes three
# products where a run takes one. This gives the rule of thumb "backward costs twice forward".
#
# An experiment: a net by hand
# ----------------------------
#
# minigrad contains a data set of handwritten digits, 8 x 8 pixels each. Our net has two layers, from 64 numbers to 100
# and then to 10. Its loss is the softmax cross-entropy. For :math:`n` images:
#
# .. math::
#    \begin{aligned}
#    a &= x W_1 + b_1 & (n, 100) \\
#    h &= \max(a, 0) & (n, 100) \\
#    z &= h W_2 + b_2 & (n, 10) \\
#    L &= -\frac{1}{n} \sum_{i} \log\, \mathrm{softmax}(z_i)_{t_i} &
#    \end{aligned}
#
# where :math:`t_i` is the right digit of image i. *Softmax* turns the ten scores of an image into probabilities. The
# *cross-entropy* is small if the right digit has a high probability:
#
# .. math:: \mathrm{softmax}(z)_k = \frac{e^{z_k}}{\sum_l e^{z_l}}, \qquad
#    -\log\, \mathrm{softmax}(z)_t = \log \sum_l e^{z_l} - z_t .
#
# Now go backwards. The derivative of the last expression with respect to :math:`z_k` is :math:`\mathrm{softmax}(z)_k`,
# minus 1 if :math:`k = t`. So the first cotangent is the probability minus the target (1 for the right digit, 0 for the
# others), divided by n. The maximum with 0 passes its cotangent on where :math:`a > 0`, and passes 0 on elsewhere. All
# other rules are those of this chapter and of chapter 3.


def net_by_hand(x, t, w1, b1, w2, b2):
    """Return the loss and the gradients of the four parameters, without a tape."""
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
# random weights, of a size that chapter 13 explains; biases of 0
parameters = [rng.standard_normal(s) * (2 / s[0]) ** 0.5 if len(s) == 2 else np.zeros(s) for s in shapes]

by_hand = net_by_hand(x, t, *parameters)[1]
w1, b1, w2, b2 = leaves = [mg.Tensor(p, requires_grad=True) for p in parameters]
by_tape = mg.grad(mg.cross_entropy(mg.linear(mg.relu(mg.linear(x, w1, b1)), w2, b2), t), leaves)
for mine, theirs in zip(by_hand, by_tape, strict=True):
    assert np.allclose(mine, theirs.data, rtol=1e-10, atol=1e-14)
print(f"{len(x)} images: the four gradients by hand and by tape agree to ten digits")

# %%
# Now train the net. In each step, draw 64 images at random, and move each parameter a little in the direction opposite
# to its gradient.


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
print(f"error on {len(x_test)} held-out digits: {errors[0][1]:.0%} before training, {errors[-1][1]:.1%} after")
assert errors[-1][1] < 0.06

fig, (left, right) = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
fig.set_label(
    "Two curves over the training steps: the loss of each batch falls, with much noise; the error on held-out digits "
    "falls quickly and then stays low."
)
left.semilogy(losses, color="0.5", lw=0.8)
left.set(xlabel="step", ylabel="loss of the batch")
right.plot(*zip(*errors, strict=True), "o-", color="black", ms=3)
right.set(xlabel="step", ylabel="error on held-out digits", ylim=(0, 1))
fig.suptitle("Training a net of two layers, with gradients by hand")

# %%
# This took thirty lines and no framework. For a net of 152 layers, nobody would write the gradients by hand. The tape
# computes them.
#
# Exercises
# ---------
#
# 1. **Stacks that broadcast.** Write the rule of ``a @ b`` for the case that the leading axes of a or of b may have
#    been stretched.
# 2. **A bilinear form.** ``y[n] = sum over i and j of x[n, i] w[i, j] z[n, j]`` has three arguments, and so three
#    rules. Name the indices, and find over which indices each rule sums.
# 3. **Solve.** x = solve(A, b) is the x with A x = b. Its rule was not in this chapter; find it. Hint: if A and b
#    change a little, which equation does the change of x satisfy?
#
# .. literalinclude:: /exercises/chapter_04.py
#
# Fill in ``docs/exercises/chapter_04.py`` and run ``python docs/exercises/check.py 4``.

show()
