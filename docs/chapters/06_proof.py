r"""
6. Proving a gradient
=====================

A net with a wrong gradient may still learn, only worse. How would you know?

A wrong forward pass shows: the picture is upside down, the numbers make no sense. A wrong gradient hides. It points
somewhere downhill, most of the time; the loss falls; and you blame the learning rate. So gradients must be proven. This
chapter has four proofs, each with its own sharpness, and then plants faults to see which proof sees what.
"""

# %%
# A wrong gradient that learns
# ----------------------------
#
# Here is tanh twice. The second rule has a slip that a tired person makes: ``1 - abs(out)`` where ``1 - out ** 2``
# should stand. Two equal nets, the same digits in the same order; the only difference is the rule.

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np

import minigrad as mg
import minigrad.data


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
    print(f"{name}: loss {losses[0]:.2f} at first, {losses[-50:].mean():.2f} at last")
assert curves["wrong rule"][-50:].mean() < 0.5 * curves["wrong rule"][0]

fig, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
for (name, losses), style in zip(curves.items(), ["-", "--"], strict=True):
    ax.plot(np.convolve(losses, np.full(20, 1 / 20), "valid"), style, label=name, lw=2)
ax.set(xlabel="step", ylabel="loss (mean of 20)", title="One of them has a wrong gradient, and learns")
ax.legend()

# %%
# Both learn. Without the other curve beside it, who would suspect the wrong one?
#
# First proof: finite differences
# -------------------------------
#
# They know nothing of rules, so they are the judge of last resort. For a function of arrays, move the input x along a
# direction v, and look at the result y along a cotangent g:
#
# .. math:: \langle g, J v \rangle \approx \left\langle g, \frac{f(x + h v) - f(x - h v)}{2h} \right\rangle ,
#    \qquad \langle g, J v \rangle = \langle J^{\top} g, v \rangle ,
#
# where :math:`J_{ij} = \partial y_i / \partial x_j`, which is never built, and :math:`J^{\top} g` is what the rule
# gives. How sharp is that? Chapter 1 drew :doc:`the V </course/01_derivative>` for one function in float64. Here it is
# for a layer of a net, in both precisions.


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
for dtype, style in [(np.float32, "--"), (np.float64, "-")]:
    errors = v_curve(dtype, steps)
    best = steps[errors.argmin()]
    ax.loglog(steps, errors, style, label=f"{dtype.__name__}: at best {errors.min():.0e}, near h = {best:.0e}")
    print(f"{dtype.__name__}: at best {-np.log10(errors.min()):.0f} digits")
ax.axvline(1e-5, color="0.6", lw=1)
ax.text(1.3e-5, 1e-12, "gradcheck's step", color="0.4", ha="right")
ax.invert_xaxis()
ax.set(xlabel="step h, ever smaller to the right", ylabel="relative error", ylim=(1e-13, 1e6))
ax.set_title("In float32 there is no good step")
ax.legend(loc="upper left")

# %%
# In float32 the best has about four digits, and only if you guess the step; at 1e-5 it has one, and even a slip of a
# hundredth drowns in that. So :func:`minigrad.gradcheck` refuses float32, and in float64 steps by 1e-5. On small
# inputs, it compares every entry. Here it judges our two:

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
# Where a function is analytic, chapter 1 gave us all 16 digits. A fault of one in a billion shows:

print(f"tanh, by complex step: {mg.complex_step_check(mg.tanh, [x]):.0e}")


@mg.elementwise
def nearly_tanh(x, /):
    return np.tanh(x)


nearly_tanh.vjp(lambda g, out: g * (1.0 - out * out) * (1 + 1e-9))
print(f"off by a billionth, by differences: {mg.gradcheck(nearly_tanh, [x]):.0e}, which passes")
try:
    mg.complex_step_check(nearly_tanh, [x])
except mg.GradientError as error:
    print(error)

# %%
# Third proof: the adjoint
# ------------------------
#
# Many operators are linear: sums, reshapes, windows, padding, convolution in its image, average pooling. Their rule is
# their transpose (chapter 3), also called the *adjoint*, and that can be tested without any step, by an identity that
# holds for *all* x and y:
#
# .. math:: \langle A x, y \rangle = \langle x, A^{\top} y \rangle .
#
# Draw x and y at random, compute both sides, compare. A border that is treated wrongly, the favourite fault of
# convolutions, shows in the first digit.

rng = np.random.default_rng(0)
w = rng.standard_normal((3, 3, 2, 4))  # (kh, kw, c_in, c_out)
gap = mg.adjoint_check(lambda x: mg.conv2d(x, w, stride=2, padding=1), [np.zeros((2, 6, 5, 2))])
print(f"convolution in its image: the two sides differ by {gap:.0e} of their size")


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
# Finite differences ask *how large* is the error, and then one must know how large it may be. The Taylor test asks *how
# it shrinks*. If the gradient is right, then
#
# .. math:: R(h) = \left| f(x + h v) - f(x) - h \langle \nabla f, v \rangle \right| = O(h^2) ,
#
# because what is left of Taylor's formula begins with the curvature. If the gradient is wrong along v, a term of order
# h is left, and once h is small enough the remainder shrinks as :math:`h`. On logarithmic axes, that is slope 2 against
# slope 1, whatever the size of f and its curvature. (How small h may be is limited by rounding, as always.)


def remainders(rule_factor, hs):
    rng = np.random.default_rng(1)
    x, v = rng.standard_normal(20), rng.standard_normal(20)
    slope = rule_factor * np.sum((1 - np.tanh(x) ** 2) * v)
    return np.array([abs(np.sum(np.tanh(x + h * v)) - np.sum(np.tanh(x)) - h * slope) for h in hs])


hs = np.logspace(-1, -6, 40)
fig, ax = plt.subplots(figsize=(7, 3.8), layout="constrained")
for factor, style, name in [(1, "-", "right"), (1.001, "--", "wrong by 1/1000"), (1.1, ":", "wrong by 1/10")]:
    r = remainders(factor, hs)
    ax.loglog(hs, r, style, lw=2, label=name)
    order = np.log(r[30] / r[39]) / np.log(hs[30] / hs[39])  # where h is small
    print(f"{name}: order {order:.2f}")
    assert abs(order - (2 if factor == 1 else 1)) < 0.3
ax.invert_xaxis()
ax.set(
    xlabel="step h, ever smaller to the right", ylabel="remainder R(h)", title="A wrong gradient has the wrong slope"
)
ax.legend()

# %%
# This is how :func:`minigrad.taylor_check` computes the order, from the two smallest steps whose remainder is not yet
# lost in rounding:
#
# .. literalinclude:: /../minigrad/checks/identities.py
#    :start-at: seen = [(h, e)
#    :end-at: if order < 1.8
#    :dedent:
#
# An experiment: what does a check miss?
# --------------------------------------
#
# Plant six faults, let six judges look, and note who sees what. The first judge is what many people write on their own:
# differences of ``f(x).sum()``, so that the cotangent is all ones.


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
ax.imshow(caught, cmap="Greys", vmin=0, vmax=2.5, aspect="auto")
for (row, column), seen in np.ndenumerate(caught):
    ax.text(column, row, "caught" if seen else "passes", ha="center", va="center", weight="bold" if seen else None)
ax.set_xticks(range(len(judges)), [name.replace(" of ", "\nof ") for name in judges], size=9)
ax.set_yticks(range(len(faults)), faults)
ax.xaxis.tick_top()
ax.set_title("Which judge sees which fault")

for name, seen in zip(judges, caught.sum(axis=0), strict=True):
    print(f"{name:24} sees {seen} of {len(faults)}")
assert caught[:, -1].all()
assert not caught[2, 0]

# %%
# Read it by rows.
#
# *A rule of zeros* passes the home-made check. The entries of a softmax add to 1, always; so the gradient of their sum
# *is* zero, and a rule that never does anything is right about it. Batch norm has the same trap. (The check of the
# second order alone believes it, too: zeros are the derivative of zeros. A chain of checks begins with the first.) This
# is why minigrad's checks draw the cotangent at random, with both signs.
#
# *A billionth* is seen by the complex step alone (and by the last judge, who calls all the others). *The square that
# forgets its place* (chapter 5) has a perfect first order; only the second sees it. And the square with *float64 in its
# rule* has all its numbers right, at every order. Its fault is that it makes float64 of a float32 net's gradient: a
# framework that lets this pass goes on in float64, at half the speed, and minigrad's tape stops with an error. No proof
# in float64 can see it. So :func:`minigrad.check_operator` also tests manners: float32 stays float32, nothing is
# written to, no two gradients share memory, every number of threads gives the same bits.
#
# .. literalinclude:: /../minigrad/checks/operators.py
#    :start-at: CHECKS: dict
#    :end-before: def _leaves
#
# What does even this miss? What no sample shows. A fault at kernel sizes that are never tried; a branch for an empty
# axis. A check proves a rule *at its samples*. So choose samples that differ: odd and even, a stride that does not
# divide, a height that is not the width. And stay away from kinks: at 0, relu has no derivative, and differences find
# one half.

print("relu at 0, by central differences:", (mg.relu(np.array(1e-5)) - mg.relu(np.array(-1e-5))) / 2e-5)
try:
    mg.gradcheck(mg.relu, [[0.0, 1.0]])
except mg.GradientError as error:
    print(str(error).splitlines()[-1].strip())

# %%
# And who checks the checks? The same idea: plant a fault in every rule of minigrad, one after the other, and demand
# that the suite sees it. What is done, and how many faults survive, stands in :doc:`/verification`.
#
# Exercises
# ---------
#
# 1. **The order of Taylor's remainder**, as a number.
# 2. **The adjoint's gap**, for any linear map and what claims to be its transpose.
# 3. **Mend a rule.** Someone wrote the rule of a normalisation, and made two mistakes. The net that used it learned,
#    too.
#
# .. literalinclude:: /exercises/chapter_06.py
#
# Fill in ``docs/exercises/chapter_06.py`` and run ``python docs/exercises/check.py 6``.
