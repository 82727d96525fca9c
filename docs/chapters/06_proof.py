r"""
6. Proving a gradient
=====================

A net with a wrong gradient may still learn, but worse. How can you find the mistake?

A mistake in the forward pass is easy to see: the picture is upside down, or the numbers make no sense. A mistake in a
gradient is hidden. Most of the time the wrong gradient still points downhill. So the loss falls, and you look for the
cause of the poor result in the learning rate. For this reason every gradient must be checked. This chapter shows four
proofs, which differ in the size of the errors that they find. Then we make mistakes on purpose, to see which proof
finds which mistake.
"""

# %%
# Training with a wrong gradient
# ------------------------------
#
# Here are two versions of tanh. The rule of the second has a typical mistake: ``1 - abs(out)`` instead of ``1 - out **
# 2``. We train two equal nets with the same digits in the same order; they differ only in this rule.

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np

import minigrad as mg
import minigrad.data
from minigrad.train.report import show


@mg.elementwise
def right_tanh(x, /):
    return np.tanh(x)


@mg.elementwise
def wrong_tanh(x, /):
    return np.tanh(x)


right_tanh.vjp(lambda g, out: g * (1.0 - out * out))
wrong_tanh.vjp(lambda g, out: g * (1.0 - abs(out)))

images, labels = mg.data.Digits(train=True)[:]
images = images.reshape(len(images), -1).astype(float)


def train(activation, steps=400, lr=0.1):
    """Return the losses of a small net with this activation."""
    rng = np.random.default_rng(0)
    sizes = [64, 32, 32, 10]
    weights = [mg.Tensor(rng.standard_normal(s) * 2 / s[0] ** 0.5, requires_grad=True) for s in pairwise(sizes)]
    losses = []
    for _ in range(steps):
        batch = rng.integers(len(images), size=64)
        h = activation(images[batch] @ weights[0])
        loss = mg.cross_entropy(activation(h @ weights[1]) @ weights[2], labels[batch])
        for w, d in zip(weights, mg.grad(loss, weights), strict=True):
            w.data = w.data - lr * d.data
        losses.append(loss.item())
    return np.array(losses)


curves = {"right rule": train(right_tanh), "wrong rule": train(wrong_tanh)}
for name, losses in curves.items():
    print(f"{name}: loss {losses[0]:.2f} at the start, {losses[-50:].mean():.2f} at the end")
assert curves["wrong rule"][-50:].mean() < 0.5 * curves["wrong rule"][0]

fig, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
fig.set_label("Two training curves, of the right and of the wrong rule: both losses fall.")
for (name, losses), style in zip(curves.items(), ["-", "--"], strict=True):
    ax.plot(np.convolve(losses, np.full(20, 1 / 20), "valid"), style, label=name, lw=2)
ax.set(xlabel="step", ylabel="loss (mean of 20)", title="The loss falls even with a wrong gradient")
ax.legend()

# %%
# Both nets learn. If you saw only the curve of the wrong rule, you would not suspect a mistake.
#
# First proof: finite differences
# -------------------------------
#
# Finite differences do not use the rules at all, so they can decide whether a rule is right. For a function of arrays,
# move the input x along a direction v, and take the inner product of the change of the result y with a cotangent g:
#
# .. math:: \langle g, J v \rangle \approx \left\langle g, \frac{f(x + h v) - f(x - h v)}{2h} \right\rangle ,
#    \qquad \langle g, J v \rangle = \langle J^{\top} g, v \rangle ,
#
# where :math:`J_{ij} = \partial y_i / \partial x_j`. J itself is never built; :math:`J^{\top} g` is the result of the
# rule. How precise is this test? Chapter 1 drew :doc:`the V-shaped error curve </course/01_derivative>` for one
# function in float64. The next figure shows this curve for a layer of a net, in both precisions.


def layer(x):
    return np.tanh(x @ (np.arange(12.0).reshape(3, 4) / 10 - 0.5).astype(x.dtype))


def v_curve(dtype, steps):
    """Return the error of central differences, relative to the derivative, for every step."""
    rng = np.random.default_rng(0)
    x, v, g = (rng.standard_normal(shape) for shape in ((5, 3), (5, 3), (5, 4)))
    exact = np.sum(g * layer(x + 1e-30j * v).imag / 1e-30)  # by complex step
    x, v = x.astype(dtype), v.astype(dtype)
    found = [np.sum(g * ((layer(x + dtype(h) * v) - layer(x - dtype(h) * v)) / dtype(2 * h))) for h in steps]
    return np.abs(np.array(found) - exact) / abs(exact)


steps = np.logspace(0, -10, 120)
fig, ax = plt.subplots(figsize=(7, 3.8), layout="constrained")
fig.set_label(
    "Relative error of central differences against the step, logarithmic: two V-shaped curves; float64's lowest point"
    " is at a much smaller step and a much smaller error than float32's."
)
for dtype, style in [(np.float32, "--"), (np.float64, "-")]:
    errors = v_curve(dtype, steps)
    best = steps[errors.argmin()]
    ax.loglog(steps, errors, style, label=f"{dtype.__name__}: at best {errors.min():.0e}, near h = {best:.0e}")
    print(f"{dtype.__name__}: at best {-np.log10(errors.min()):.0f} digits")
ax.axvline(1e-5, color="0.6", lw=1)
ax.text(1.3e-5, 1e-12, "gradcheck's step", color="0.4", ha="right")
ax.invert_xaxis()
ax.set(xlabel="step h, decreasing to the right", ylabel="relative error", ylim=(1e-13, 1e6))
ax.set_title("Error of central differences in float32 and float64")
ax.legend(loc="upper left")

# %%
# In float32, the best step gives about four digits, but you would have to guess this step. The step 1e-5 gives one
# digit, so even an error of one per cent in a rule would not be visible. So :func:`minigrad.gradcheck` refuses float32.
# In float64 it uses the step 1e-5. For small inputs, it compares every entry of the gradient. Here it checks our two
# rules:

x = np.array([[-2.0, -0.3], [0.4, 1.5]])
print("right_tanh is off by", f"{mg.gradcheck(right_tanh, [x]):.0e}")
try:
    mg.gradcheck(wrong_tanh, [x])
except mg.GradientError as error:
    print("wrong_tanh:", error)

# %%
# Second proof: the complex step
# ------------------------------
#
# For analytic functions, the complex step of chapter 1 gives all 16 digits. So it finds even an error of one in a
# billion:

print(f"tanh, by complex step: {mg.complex_step_check(mg.tanh, [x]):.0e}")


@mg.elementwise
def nearly_tanh(x, /):
    return np.tanh(x)


nearly_tanh.vjp(lambda g, out: g * (1.0 - out * out) * (1 + 1e-9))
print(f"wrong by a billionth, by differences: {mg.gradcheck(nearly_tanh, [x]):.0e}, which passes")
try:
    mg.complex_step_check(nearly_tanh, [x])
except mg.GradientError as error:
    print(error)

# %%
# Third proof: the adjoint
# ------------------------
#
# Many operators are linear: sums, reshapes, windows, padding, average pooling, and convolution as a function of its
# image. The rule of a linear operator is its transpose (chapter 3), also called the *adjoint*. We can test it without
# any step, by an identity that holds for *all* x and y:
#
# .. math:: \langle A x, y \rangle = \langle x, A^{\top} y \rangle .
#
# Draw x and y at random, compute both sides, and compare them. For example, the border of the image is often treated
# wrongly in convolutions; then the two sides differ in the first digit.

rng = np.random.default_rng(0)
w = rng.standard_normal((3, 3, 2, 4))  # (kh, kw, c_in, c_out)
gap = mg.adjoint_check(lambda x: mg.conv2d(x, w, stride=2, padding=1), [np.zeros((2, 6, 5, 2))])
print(f"convolution as a function of its image: the relative difference of the two sides is {gap:.0e}")


@mg.operator
def steps_between(x, /):
    """x[i + 1] - x[i]."""
    return x[1:] - x[:-1]


steps_between.vjp(lambda g: mg.pad(g, ((1, 0),)) - mg.pad(g, ((1, 0),)))  # the second should be ((0, 1),)
try:
    mg.adjoint_check(steps_between, [np.zeros(7)])
except mg.GradientError as error:
    print(error)

# %%
# Fourth proof: Taylor's order
# ----------------------------
#
# Finite differences measure *how large* the error is, and then we must know how large it may be. The Taylor test
# measures *how the error shrinks* with the step h. If the gradient is right, then
#
# .. math:: R(h) = \left| f(x + h v) - f(x) - h \langle \nabla f, v \rangle \right| = O(h^2) ,
#
# because the first remaining term of Taylor's formula is that of the curvature. If the gradient is wrong along v, a
# term of order h remains as well, and once h is small enough the remainder shrinks only as :math:`h`. On logarithmic
# axes, a right gradient gives a line of slope 2, and a wrong one a line of slope 1. This holds whatever the size of f
# and its curvature. (As always, rounding limits how small h may be.)


def remainders(rule_factor, hs):
    rng = np.random.default_rng(1)
    x, v = rng.standard_normal(20), rng.standard_normal(20)
    slope = rule_factor * np.sum((1 - np.tanh(x) ** 2) * v)
    return np.array([abs(np.sum(np.tanh(x + h * v)) - np.sum(np.tanh(x)) - h * slope) for h in hs])


hs = np.logspace(-1, -6, 40)
fig, ax = plt.subplots(figsize=(7, 3.8), layout="constrained")
fig.set_label(
    "The remainder against the step, logarithmic: the line of the right gradient has slope 2, the lines of the two "
    "wrong gradients bend to slope 1."
)
for factor, style, name in [(1, "-", "right"), (1.001, "--", "wrong by 1/1000"), (1.1, ":", "wrong by 1/10")]:
    r = remainders(factor, hs)
    ax.loglog(hs, r, style, lw=2, label=name)
    order = np.log(r[30] / r[39]) / np.log(hs[30] / hs[39])  # where h is small
    print(f"{name}: order {order:.2f}")
    assert abs(order - (2 if factor == 1 else 1)) < 0.3
ax.invert_xaxis()
ax.set(
    xlabel="step h, decreasing to the right", ylabel="remainder R(h)", title="Slope 2 if the gradient is right, else 1"
)
ax.legend()

# %%
# :func:`minigrad.taylor_check` computes the order from the two smallest steps whose remainder is still larger than the
# rounding error:
#
# .. literalinclude:: /../minigrad/checks/identities.py
#    :start-at: seen = [(h, e)
#    :end-at: if not order >=
#    :dedent:
#
# An experiment: which check finds which mistake?
# -----------------------------------------------
#
# We write six operators with faulty rules, apply six checks to each, and note which check finds which fault. The first
# check is one that many people write themselves: finite differences of ``f(x).sum()``. There the cotangent consists of
# ones only.


def plant(forward, rule):
    """Make an operator with a faulty rule."""
    op = mg.operator(forward)
    op.vjp(rule)
    return op


def softmax(x, /):
    e = np.exp(x)
    return e / e.sum(-1, keepdims=True)


def square(x, /):
    return x * x


def placeless(x):
    return x.detach() if isinstance(x, mg.Tensor) else x


faults = {
    "tanh, wrong by 1/1000": plant(lambda x, /: np.tanh(x), lambda g, out: g * (1.0 - out * out) * 1.001),
    "tanh, wrong by a billionth": nearly_tanh,
    "softmax, a rule of zeros": plant(softmax, lambda g: g * 0.0),
    "softmax, a term forgotten": plant(softmax, lambda g, out: g * out),
    "square, forgets its place": plant(square, lambda g, x: g * 2.0 * placeless(x)),
    "square, float64 in its rule": plant(square, lambda g, x: g * x * np.full(x.shape, 2.0)),
}
judges = {
    "differences of the sum": lambda op: mg.gradcheck(lambda x: op(x).sum(), [x]),
    "gradcheck": lambda op: mg.gradcheck(op, [x]),
    "complex step": lambda op: mg.complex_step_check(op, [x]),
    "Taylor": lambda op: mg.taylor_check(op, [x]),
    "gradgradcheck": lambda op: mg.gradgradcheck(op, [x]),
    "check_operator": lambda op: mg.check_operator(op, [(x,)], analytic=True),
}


def catches(judge, op):
    try:
        judge(op)
    except mg.GradientError:
        return True
    return False


caught = np.array([[catches(judge, op) for judge in judges.values()] for op in faults.values()])

fig, ax = plt.subplots(figsize=(8.6, 4), layout="constrained")
fig.set_label(
    "A table of faults, in rows, and checks, in columns: each cell says whether the check catches the fault. The last"
    " check catches every fault."
)
ax.imshow(caught, cmap="Greys", vmin=0, vmax=2.5, aspect="auto")
for (row, column), seen in np.ndenumerate(caught):
    ax.text(column, row, "caught" if seen else "passes", ha="center", va="center", weight="bold" if seen else None)
ax.set_xticks(range(len(judges)), [name.replace(" of ", "\nof ") for name in judges], size=9)
ax.set_yticks(range(len(faults)), faults)
ax.xaxis.tick_top()
ax.set_title("Which check finds which fault")

for name, seen in zip(judges, caught.sum(axis=0), strict=True):
    print(f"{name:24} finds {seen} of {len(faults)}")
assert caught[:, -1].all()
assert not caught[2, 0]

# %%
# Read the table row by row.
#
# *A rule of zeros* passes the home-made check. The entries of a softmax always add up to 1. So the gradient of their
# sum *is* zero, and a rule that always returns zero gives the right result here. Batch norm has the same property. (The
# check of the second order, applied alone, also passes: the derivative of zero is zero. So check the first order
# first.) This is why minigrad's checks draw the cotangent at random, with both signs.
#
# *A billionth* is found only by the complex step (and by the last check, which runs all the others). *The square that
# forgets its place* (chapter 5) has a right first derivative; only a check of the second order finds the fault. The
# square with *float64 in its rule* returns the right numbers, at every order. Its fault is the dtype: in a float32 net,
# the gradient becomes float64. A framework that allows this continues in float64, at half the speed; minigrad's
# backward pass raises an error. No check in float64 can find this fault. So :func:`minigrad.check_operator` also tests
# other properties: float32 stays float32, a rule never writes to an array that it is given, no two gradients share
# memory, and every number of threads gives the same bits.
#
# .. literalinclude:: /../minigrad/checks/operators.py
#    :start-at: CHECKS: dict
#    :end-before: def _leaves
#
# Even this check misses faults that no sample shows: for example, a fault at kernel sizes that are never tried, or in a
# branch for an empty axis. A check proves a rule *at its samples*. So choose samples that differ: odd and even sizes, a
# stride that does not divide the size, a height that is not the width. And stay away from kinks: at 0, relu has no
# derivative, and finite differences return one half.

print("relu at 0, by central differences:", (mg.relu(np.array(1e-5)) - mg.relu(np.array(-1e-5))) / 2e-5)
try:
    mg.gradcheck(mg.relu, [[0.0, 1.0]])
except mg.GradientError as error:
    print(str(error).splitlines()[-1].strip())

# %%
# And how do we check the checks? By the same idea: put a fault into every rule of minigrad, one after the other, and
# demand that the test suite finds it. :doc:`/verification` describes how this is done, and how many faults survive.
#
# Exercises
# ---------
#
# 1. **The order of Taylor's remainder.** Compute it as a number.
# 2. **The gap of the adjoint test.** Compute the difference of the two sides, for any linear map and a function that
#    may or may not be its transpose.
# 3. **Correct a rule.** Someone wrote the rule of a normalisation, and made two mistakes. A net with this rule still
#    learned.
#
# .. literalinclude:: /exercises/chapter_06.py
#
# Fill in ``docs/exercises/chapter_06.py`` and run ``python docs/exercises/check.py 6``.

show()
