r"""
3. Broadcasting and its rule
============================

If an array was stretched to fit another one, what is its gradient?

Add a bias to a batch: ``x + b``, where x has shape (4, 3) and b has shape (3,). NumPy stretches b: it computes as if b
were copied four times, once for each row of x. This happens silently, so it is easy to forget. But the gradient of b
must take it into account. This chapter derives the rule: the gradient is a sum over the copies.
"""

# %%
# The idea
# --------
#
# A number that is used four times gets four contributions to its cotangent, and they are added. In :doc:`chapter 2
# </course/02_tape>` we saw this for x, which was used twice. If an array is stretched, each of its numbers is used many
# times. So **if the forward pass copies along an axis, the backward pass sums over this axis**.
#
# To derive this, name every axis. Let n be the index of the rows, which are the examples of the batch, and c the index
# of the columns, the *channels*. The forward pass computes
#
# .. math:: y_{nc} = x_{nc} + b_{c} .
#
# Let L be the *loss*, the one number at the end of the computation, and :math:`g_{nc} = \partial L / \partial y_{nc}`
# the cotangent of y. Which entries of y depend on the one number :math:`b_c`? The entries with this c, for every n. So
#
# .. math:: \frac{\partial L}{\partial b_{c}} = \sum_{n} g_{nc}\, \frac{\partial y_{nc}}{\partial b_c}
#    = \sum_{n} g_{nc} .
#
# The index n occurs on the right but not on the left: we sum over every index that the argument does not have. This
# sentence gives every rule of this chapter.

import matplotlib.pyplot as plt
import numpy as np

import minigrad as mg
from minigrad.train.report import show

rng = np.random.default_rng(0)
x = mg.Tensor(rng.standard_normal((4, 3)), requires_grad=True)
b = mg.Tensor(rng.standard_normal(3), requires_grad=True)
g = rng.standard_normal((4, 3))  # (n, c)

(x + b).backward(g)
print("shape of b.grad:", b.grad.shape)
print("b.grad:         ", b.grad.data)
print("sum of g over n:", g.sum(axis=0))
assert np.array_equal(b.grad.data, g.sum(axis=0))
assert np.array_equal(x.grad.data, g)

# %%
# The figure shows this: the forward pass copies one row four times, and the backward pass adds four rows.


def boxes(ax, left, top, values, colour, title):
    """Draw a matrix as boxes, with a title above."""
    rows, columns = values.shape
    for i in range(rows):
        for j in range(columns):
            ax.add_patch(plt.Rectangle((left + j, top - i - 1), 1, 1, fc=colour[i % len(colour)], ec="black"))
            ax.text(left + j + 0.5, top - i - 0.5, f"{values[i, j]:.1f}", ha="center", va="center", size=9)
    ax.text(left + columns / 2, top + 0.3, title, ha="center")


def arrow(ax, start, end, text):
    ax.annotate("", end, start, arrowprops=dict(arrowstyle="-|>", lw=1.5))
    ax.text((start[0] + end[0]) / 2, start[1] + 0.25, text, ha="center")


greys = ["0.95", "0.85", "0.75", "0.65"]
fig, axes = plt.subplots(2, 1, figsize=(7.5, 5), layout="constrained")
fig.set_label(
    "Above, the row b of three numbers is copied to four equal rows; below, the four rows of g are summed to the one "
    "row db."
)
boxes(axes[0], 0, 2.5, b.data[None], ["gold"], "b: (3,)")
arrow(axes[0], (3.3, 2), (5.7, 2), "copy over n")
boxes(axes[0], 6, 4, np.tile(b.data, (4, 1)), ["gold"], "b, stretched to (4, 3)")
boxes(axes[1], 0, 2.5, b.grad.data[None], ["0.7"], "db: (3,)")
arrow(axes[1], (5.7, 2), (3.3, 2), "sum over n")
boxes(axes[1], 6, 4, g, greys, "g: (4, 3)")
for ax in axes:
    ax.set(xlim=(-0.5, 9.5), ylim=(-0.3, 5), aspect="equal")
    ax.axis("off")

# %%
# The axes of the sum
# -------------------
#
# NumPy's rule for shapes has two steps. First, align the shapes at the right. Then compare them axis by axis. On each
# axis the two sizes must be equal, or one of them must be 1 or missing; an axis of size 1, or a missing axis, is
# stretched.
#
# .. code-block:: text
#
#    a          8  1  6  1
#    b             7  1  5
#    a + b      8  7  6  5
#    da sums       ^     ^     and keeps both axes, with size 1
#    db sums    ^     ^        and drops the first axis, which b does not have
#
# The backward rule, often called *unbroadcast*, follows: sum over the axes that were added, and drop them; sum over the
# axes that were stretched from 1, and keep them with size 1.


def unbroadcast(g, shape):
    made = g.ndim - len(shape)
    stretched = [made + i for i, size in enumerate(shape) if size == 1]
    return g.sum(axis=(*range(made), *stretched), keepdims=True).reshape(shape)


g = rng.standard_normal((8, 7, 6, 5))
assert unbroadcast(g, (8, 1, 6, 1)).shape == (8, 1, 6, 1)
assert unbroadcast(g, (7, 1, 5)).shape == (7, 1, 5)
assert np.allclose(unbroadcast(g, (7, 1, 5))[2, 0, 3], g[:, 2, :, 3].sum())

# %%
# A linear map and its transpose
# ------------------------------
#
# There is a second way to derive the rule, and we shall need it in later chapters. Stretching is a linear map: each
# output is a copy of one input. Write this map as a matrix S of zeros and ones. It has a row for every output, with a 1
# in the column of the input that is copied. For b of shape (3,) stretched to (4, 3):

S = np.zeros((12, 3))
S[np.arange(12), np.tile([0, 1, 2], 4)] = 1
assert np.array_equal((S @ b.data).reshape(4, 3), np.broadcast_to(b.data, (4, 3)))

g = rng.standard_normal((4, 3))
assert np.allclose(S.T @ g.ravel(), unbroadcast(g, (3,)))
print(S.T.astype(int))

# %%
# The transpose has a row for every input, with a 1 for every copy of this input. So the transpose sums over the copies.
# This holds in general. If :math:`y = S x`, then :math:`\partial y_i / \partial x_j = S_{ij}`, so
#
# .. math:: \frac{\partial L}{\partial x_j} = \sum_i g_i\, S_{i j} = (S^{\top} g)_j .
#
# **The rule of a linear map is its transpose.** Write :math:`\langle u, v \rangle` for the inner product of u and v:
# the sum of the products of their corresponding entries. Then :math:`\langle S x, g \rangle = \langle x, S^{\top} g
# \rangle` for every x and g. With this equation we can test a rule without computing a derivative. The transpose of the
# transpose is S again. So the rule of *summing* is *copying*.
#
# In minigrad
# -----------
#
# In minigrad, summing and stretching are two operators, and each is the rule of the other:
#
# .. literalinclude:: /../minigrad/autograd/broadcasting.py
#    :pyobject: sum_to
#
# .. literalinclude:: /../minigrad/autograd/broadcasting.py
#    :start-at: broadcast_to.vjp(
#    :end-at: sum_to.vjp(
#
# (``before`` is the shape that x had.) The rules of other operators need not call ``sum_to`` themselves. A rule such as
# ``lambda g, b: g * b`` returns a gradient of the shape of the result. If the operator broadcasts, the backward pass
# sums this gradient to the shape of the argument (its ``edge``):
#
# .. literalinclude:: /../minigrad/autograd/backward.py
#    :start-at: if entry.operator.broadcasts
#    :end-at: gradient = sum_to
#    :dedent:
#
# So the rules in :doc:`/source/minigrad/ops/elementwise` do not mention broadcasting. Check this for a product:

a = mg.Tensor(rng.standard_normal((8, 1, 6, 1)), requires_grad=True)
b = mg.Tensor(rng.standard_normal((7, 1, 5)), requires_grad=True)
g = rng.standard_normal((8, 7, 6, 5))
(a * b).backward(g)
assert np.allclose(a.grad.data, unbroadcast(g * b.data, (8, 1, 6, 1)))
assert np.allclose(b.grad.data, unbroadcast(g * a.data, (7, 1, 5)))
print("by finite differences, relative error:", f"{mg.gradcheck(lambda a, b: a * b, [a.data[:2], b.data[:3]]):.0e}")

# %%
# An experiment: broadcasting by mistake
# --------------------------------------
#
# Broadcasting can hide a mistake. Fit a line to points. The inputs are a column of shape (n, 1), so the predictions
# have shape (n, 1) as well. But the targets were read from a file, with shape (n,). The difference of predictions and
# targets should raise an error. But NumPy can broadcast the shapes (n, 1) and (n,): the result has shape (n, n), and
# contains the difference of every prediction and every target.

n = 60
inputs = rng.uniform(-1, 1, (n, 1))
targets = 0.5 + 2 * inputs[:, 0] + 0.3 * rng.standard_normal(n)  # (n,)


def fit(targets, steps=300, lr=0.3):
    """Fit a line by gradient descent on the mean squared difference; each step is lr times the gradient."""
    w = mg.Tensor(np.zeros((1, 1)), requires_grad=True)
    b = mg.Tensor(np.zeros(1), requires_grad=True)
    for _ in range(steps):
        error = inputs @ w + b - targets
        dw, db = mg.grad((error**2).mean(), [w, b])
        w.data, b.data = w.data - lr * dw.data, b.data - lr * db.data
    return w.item(), b.item(), error.shape


right = fit(targets[:, None])
wrong = fit(targets)
print(f"targets (n, 1): error has shape {right[2]}, slope {right[0]:.3f}")
print(f"targets (n,):   error has shape {wrong[2]}, slope {wrong[0]:.3f}")
assert abs(wrong[0]) < 1e-6
assert abs(wrong[1] - targets.mean()) < 1e-6

# %%
# There is no warning and no NaN, and the loss falls. But the fitted line is flat. Every prediction is compared with
# *all* targets, so the best prediction is their mean, whatever the input. Every gradient was correct, but for a
# different loss.

fig, ax = plt.subplots(figsize=(7, 3.8), layout="constrained")
fig.set_label("Points along a rising line, and two fitted lines: one follows the points, the other is flat.")
ax.plot(inputs, targets, "o", color="0.6", label="points")
ends = np.array([-1.0, 1.0])
ax.plot(ends, right[0] * ends + right[1], color="black", label="targets (n, 1): error (n, 1)")
ax.plot(ends, wrong[0] * ends + wrong[1], "--", color="tab:red", label="targets (n,): error (n, n)")
ax.set(xlabel="input", ylabel="target", title="Two fits that differ only in the shape of the targets")
ax.legend()

# %%
# This is why the loss functions of a framework should not broadcast. minigrad's ``mse_loss`` raises an error instead:

try:
    mg.mse_loss(mg.Tensor(inputs), targets)
except ValueError as error:
    print(error)

# %%
# Exercises
# ---------
#
# 1. **Unbroadcast.** Our function above sums over an axis of size 1 even if the axis was not stretched, which is
#    harmless. Write a function that sums only over axes that were added or stretched, and that returns ``g`` itself if
#    there are no such axes.
# 2. **All pairs.** ``d[i, j] = sum over k of (a[i, k] - b[j, k]) ** 2`` is the squared distance of every point of a to
#    every point of b. Find the rules for a and for b. Over which index does each rule sum?
# 3. **Centre.** In ``y = x - x.mean(axis=1, keepdims=True)``, two paths lead from x to y. Find the rule. It is used in
#    every layer that normalises (:doc:`chapter 11 </course/11_batch_norm>`).
#
# .. literalinclude:: /exercises/chapter_03.py
#
# Fill in ``docs/exercises/chapter_03.py`` and run ``python docs/exercises/check.py 3``.

show()
