r"""
3. Broadcasting and its rule
============================

An array was stretched to fit another one. What becomes of its gradient?

Add a bias to a batch: ``x + b``, where x has shape (4, 3) and b has shape (3,). NumPy stretches b: it acts as if b
stood there four times. This is so convenient that one forgets that it happened. The gradient does not forget. In this
chapter the missing rule is found, in one word: sum.
"""

# %%
# The idea
# --------
#
# A number that is used four times gets four contributions to its cotangent, and they are added. We know that from
# :doc:`chapter 2 </course/02_tape>`, where x was used twice. Stretching is nothing but using a number many times. So
# **what was copied forward is summed backward**, over the same axes.
#
# With every axis named: let n run over the rows, the examples of the batch, and c over the columns, the *channels*.
# Forward,
#
# .. math:: y_{nc} = x_{nc} + b_{c} .
#
# Let L be the *loss*, the one number at the end of the computation, and :math:`g_{nc} = \partial L / \partial y_{nc}`
# the cotangent of y. Which entries of y does the one number :math:`b_c` touch? Those with this c, and every n. So
#
# .. math:: \frac{\partial L}{\partial b_{c}} = \sum_{n} g_{nc}\, \frac{\partial y_{nc}}{\partial b_c}
#    = \sum_{n} g_{nc} .
#
# n stands on the right but not on the left: an index that the argument does not have is summed away. You can read every
# rule of this chapter off that sentence.

import matplotlib.pyplot as plt
import numpy as np

import minigrad as mg

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
# In pictures: forward, one row becomes four. Backward, four become one.


def boxes(ax, left, top, values, colour, title):
    """Draw a matrix as boxes, and its shape above."""
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
boxes(axes[0], 0, 2.5, b.data[None], ["gold"], "b: (3,)")
arrow(axes[0], (3.3, 2), (5.7, 2), "copy over n")
boxes(axes[0], 6, 4, np.tile(b.data, (4, 1)), ["gold"], "b as x + b sees it: (4, 3)")
boxes(axes[1], 0, 2.5, b.grad.data[None], ["0.7"], "db: (3,)")
arrow(axes[1], (5.7, 2), (3.3, 2), "sum over n")
boxes(axes[1], 6, 4, g, greys, "g: (4, 3)")
for ax in axes:
    ax.set(xlim=(-0.5, 9.5), ylim=(-0.3, 5), aspect="equal")
    ax.axis("off")

# %%
# Which axes?
# -----------
#
# NumPy's rule for shapes has two steps. Align them at the right. Then, in each place, sizes must be equal, or one of
# them is 1, or is missing; the 1 or the missing one is stretched.
#
# .. code-block:: text
#
#    a          8  1  6  1
#    b             7  1  5
#    a + b      8  7  6  5
#    da sums       ^     ^     and keeps both axes, with size 1
#    db sums    ^     ^        and drops the first, which b does not have
#
# So the way back, often called *unbroadcast*, is this: sum over the axes that were made, and drop them;
# sum over those that were stretched from 1, and keep them.


def unbroadcast(g, shape):
    made = g.ndim - len(shape)
    stretched = [made + i for i, size in enumerate(shape) if size == 1]
    return g.sum(axis=(*range(made), *stretched), keepdims=True).reshape(shape)


g = rng.standard_normal((8, 7, 6, 5))
assert unbroadcast(g, (8, 1, 6, 1)).shape == (8, 1, 6, 1)
assert unbroadcast(g, (7, 1, 5)).shape == (7, 1, 5)
assert np.allclose(unbroadcast(g, (7, 1, 5))[2, 0, 3], g[:, 2, :, 3].sum())

# %%
# One map and its transpose
# -------------------------
#
# There is a second way to see it, which will carry us far. Stretching is a linear map: each output is a copy of one
# input. Write it as a matrix S of zeros and ones: a row for every output, with its 1 at the input it copies. For b of
# shape (3,) stretched to (4, 3):

S = np.zeros((12, 3))
S[np.arange(12), np.tile([0, 1, 2], 4)] = 1
assert np.array_equal((S @ b.data).reshape(4, 3), np.broadcast_to(b.data, (4, 3)))

g = rng.standard_normal((4, 3))
assert np.allclose(S.T @ g.ravel(), unbroadcast(g, (3,)))
print(S.T.astype(int))

# %%
# The transpose has a row for every input, with a 1 for every copy: it sums. That is no accident. If :math:`y = S x`,
# then :math:`\partial y_i / \partial x_j = S_{ij}`, so
#
# .. math:: \frac{\partial L}{\partial x_j} = \sum_i g_i\, S_{i j} = (S^{\top} g)_j .
#
# **The rule of a linear map is its transpose.** Write :math:`\langle u, v \rangle` for the sum of all products of an
# entry of u with the same entry of v. Then :math:`\langle S x, g \rangle = \langle x, S^{\top} g \rangle` for every x
# and g: a test of the rule that needs no derivative. And the transpose of the transpose is S: so the rule of *sum* is
# to *copy*.
#
# In minigrad
# -----------
#
# So the two are a pair of operators, each the other's rule:
#
# .. literalinclude:: /../minigrad/autograd/broadcasting.py
#    :pyobject: sum_to
#
# .. literalinclude:: /../minigrad/autograd/broadcasting.py
#    :start-at: broadcast_to.vjp(
#    :end-at: sum_to.vjp(
#
# (``before`` is the shape that x had.) And one place uses it, for every operator that works element by element. A rule
# such as ``lambda g, b: g * b`` gives its gradient in the shape of the result. Where the walk meets a gradient that has
# not the shape of the argument (its ``edge``), it sums:
#
# .. literalinclude:: /../minigrad/autograd/backward.py
#    :start-at: if entry.operator.broadcasts
#    :end-at: gradient = sum_to
#    :dedent:
#
# So no rule in :doc:`/source/minigrad/ops/elementwise` says a word about broadcasting. Look at a product:

a = mg.Tensor(rng.standard_normal((8, 1, 6, 1)), requires_grad=True)
b = mg.Tensor(rng.standard_normal((7, 1, 5)), requires_grad=True)
g = rng.standard_normal((8, 7, 6, 5))
(a * b).backward(g)
assert np.allclose(a.grad.data, unbroadcast(g * b.data, (8, 1, 6, 1)))
assert np.allclose(b.grad.data, unbroadcast(g * a.data, (7, 1, 5)))
print("by finite differences, relative error:", f"{mg.gradcheck(lambda a, b: a * b, [a.data[:2], b.data[:3]]):.0e}")

# %%
# An experiment: the broadcast that nobody ordered
# ------------------------------------------------
#
# Convenience has a price. Fit a line to points: the inputs are a column (n, 1), so the predictions are a column (n, 1).
# The targets came from a file, as (n,). Their difference should be an error. But NumPy can align them: (n, 1) and (n,)
# give (n, n), every prediction with every target.

n = 60
inputs = rng.uniform(-1, 1, (n, 1))
targets = 0.5 + 2 * inputs[:, 0] + 0.3 * rng.standard_normal(n)  # (n,)


def fit(targets, steps=300, lr=0.3):
    """Fit a line by gradient descent: walk down the mean of squared differences, each step lr times the gradient."""
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
# No warning, no NaN, a loss that falls. The line it learns is flat: to be near *all* targets, the best single guess is
# their mean, whatever the input. Every gradient was right. They were gradients of another loss.

fig, ax = plt.subplots(figsize=(7, 3.8), layout="constrained")
ax.plot(inputs, targets, "o", color="0.6", label="points")
ends = np.array([-1.0, 1.0])
ax.plot(ends, right[0] * ends + right[1], color="black", label="targets (n, 1): error (n, 1)")
ax.plot(ends, wrong[0] * ends + wrong[1], "--", color="tab:red", label="targets (n,): error (n, n)")
ax.set(xlabel="input", ylabel="target", title="A broadcast that nobody ordered")
ax.legend()

# %%
# This is why the losses of a framework should refuse what they could broadcast. minigrad's does:

try:
    mg.mse_loss(mg.Tensor(inputs), targets)
except ValueError as error:
    print(error)

# %%
# Exercises
# ---------
#
# 1. **Unbroadcast.** Ours above sums over an axis of size 1 even if it was not stretched, which is harmless. Write one
#    that adds only where it must, and that gives back ``g`` itself if there is nothing to do.
# 2. **All pairs.** ``d[i, j] = sum over k of (a[i, k] - b[j, k]) ** 2``: the squared distance of every point of a to
#    every point of b. Find both rules. Which index is summed away in which?
# 3. **Centre.** ``y = x - x.mean(axis=1, keepdims=True)``: from x, two paths lead to y. The result is used in every
#    layer that normalises (:doc:`chapter 9 </course/09_batch_norm>`).
#
# .. literalinclude:: /exercises/chapter_03.py
#
# Fill in ``docs/exercises/chapter_03.py`` and run ``python docs/exercises/check.py 3``.
