r"""
1. A derivative, three ways
===========================

How steep is a function at a point, and how precisely can a computer find out?

A neural net has millions of parameters, which are plain numbers. In training, each parameter is changed a little, in
the direction that makes the net's error smaller. The derivative of the error with respect to the parameter gives this
direction. So this course is about computing derivatives: in this chapter of a function of one number, at the end of a
residual net with a thousand layers. We begin with one number, and compute its derivative in three ways that are
independent of each other. Where the three results agree, you can trust them.
"""

# %%
# By hand
# -------
#
# Take the function
#
# .. math:: y = f(x) = x\, e^{\sin x} .
#
# It consists of simple steps, and you know the derivative of each step:
#
# .. math::
#    \begin{aligned}
#    s &= \sin x & \qquad ds / dx &= \cos x \\
#    v &= e^{s}  & \qquad dv / ds &= v \\
#    y &= x\, v  & \qquad \partial y / \partial x &= v, \quad \partial y / \partial v = x
#    \end{aligned}
#
# The chain rule multiplies the derivatives along a path, and adds the products over all paths. There are two paths from
# x to y. The direct path has the factor :math:`v`. The other path goes through :math:`s` and :math:`v`, and has the
# factors :math:`\cos x`, :math:`v` and :math:`x`. So
#
# .. math:: f'(x) = v + x\, v \cos x = e^{\sin x}\, (1 + x \cos x) .
#
# Remember this table of steps. A program can do the same calculation, because every step follows a fixed rule. Chapter
# 2 writes that program.

import matplotlib.pyplot as plt
import numpy as np

import minigrad as mg
from minigrad.train.report import show


def f(x):
    return x * np.exp(np.sin(x))


def by_hand(x):
    return np.exp(np.sin(x)) * (1 + x * np.cos(x))


x = 1.5
exact = by_hand(x)
print(f"f({x}) = {f(x):.15f}")
print(f"f'({x}) = {exact:.15f}")

# %%
# By finite differences
# ---------------------
#
# The derivative is a limit of slopes:
#
# .. math:: f'(x) = \lim_{h \to 0} \frac{f(x + h) - f(x)}{h} .
#
# So take a small step :math:`h`, and compute the slope of the line through two points of the curve. This needs only
# values of f, and no knowledge of how f is computed; so finite differences are good for checking. If the second point
# is at x + h, the result is a *forward difference*. If the two points are at x - h and x + h, the result is a *central
# difference*. In the figure, the thin line is the chord of the central difference, and the dashed line is the same
# chord moved to x: its slope is closer to the tangent's.

h = 0.9
forward = (f(x + h) - f(x)) / h
central = (f(x + h) - f(x - h)) / (2 * h)

around = np.linspace(0.2, 2.8, 200)
fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
fig.set_label(
    "The curve of f with its tangent at x, and the lines of the forward and of the central difference: the central "
    "one is closer in slope to the tangent."
)
ax.plot(around, f(around), color="black", label="f")
for slope, style, name in [(exact, "-", "tangent"), (forward, ":", "forward"), (central, "--", "central")]:
    ax.plot(around, f(x) + slope * (around - x), style, label=f"{name}: slope {slope:.2f}")
ax.plot([x - h, x + h], [f(x - h), f(x + h)], "--", color="tab:green", lw=0.8)
ax.plot([x - h, x, x + h], [f(x - h), f(x), f(x + h)], "o", color="black")
for place, name in [(x - h, "x - h"), (x, "x"), (x + h, "x + h")]:
    ax.text(place + 0.04, f(place) - 0.5, name)
ax.set(xlabel="x", ylim=(-1, 6.5), title=f"A difference is the slope of a chord, here with h = {h}")
ax.legend(loc="upper left")

# %%
# How large is the error of each? Taylor's formula answers this. Write
#
# .. math:: f(x \pm h) = f(x) \pm h f'(x) + \tfrac{h^2}{2} f''(x) \pm \tfrac{h^3}{6} f'''(x) + \cdots
#
# The error of the forward difference is about :math:`\tfrac{h}{2} f''(x)`. In the central difference the even terms
# cancel, and the error is about :math:`\tfrac{h^2}{6} f'''(x)`. So if we halve the step, the first error should halve,
# and the second should become a quarter.

print("       h     forward     central")
for h in (0.1, 0.05, 0.025):
    forward = (f(x + h) - f(x)) / h
    central = (f(x + h) - f(x - h)) / (2 * h)
    print(f"{h:8.3f}  {forward - exact:10.6f}  {central - exact:10.6f}")

# %%
# Can we then make the error as small as we like, with a tiny h? Try it.

h = 1e-15
print(f"{(f(x + h) - f(x)) / h:.6f} for h = {h:g}, but the derivative is {exact:.6f}")

# %%
# Only the first digit is right. A float64 has about 16 digits, so f(x) has a rounding error of about :math:`\varepsilon
# |f(x)|` with :math:`\varepsilon \approx 10^{-16}`. The numerator is the difference of two almost equal numbers. Their
# leading digits cancel, but the rounding errors remain. The division by h then enlarges them to about
# :math:`\varepsilon |f(x)| / h`. So a small step makes Taylor's error small and the rounding error large. The best step
# lies between the two, and even with the best step we lose several digits.
#
# By a complex step
# -----------------
#
# The subtraction causes the rounding error. Can we avoid it? Yes, with a step in the imaginary direction. For a
# function that has a Taylor series,
#
# .. math:: f(x + ih) = f(x) + i h f'(x) - \tfrac{h^2}{2} f''(x) - \tfrac{i h^3}{6} f'''(x) + \cdots
#
# The real part contains the value. The derivative is in the imaginary part, separate from the value:
#
# .. math:: f'(x) = \frac{\operatorname{Im} f(x + ih)}{h} + O(h^2) .
#
# There is no subtraction. So h can be so small that :math:`h^2` is negligible, and the result is as exact as f itself.
# NumPy's functions accept complex numbers, so our f needs no change.

h = 1e-30
complex_step = f(x + 1j * h).imag / h
print(f"by hand       {exact:.15f}")
print(f"complex step  {complex_step:.15f}")
assert abs(complex_step - exact) < 1e-15 * abs(exact) * 4

# %%
# An experiment: the error as a function of the step
# --------------------------------------------------
#
# Now we compare the three methods in one plot, for steps from 0.1 down to 1e-20. Both axes are logarithmic. So an error
# proportional to :math:`h` is a line of slope 1, and an error proportional to :math:`h^2` is a line of slope 2.

steps = 10.0 ** np.linspace(-1, -20, 200)
smallest = np.finfo(float).eps / 10  # an error of zero has no logarithm: draw this value instead


def error_of(difference):
    return np.maximum(abs(difference - exact) / exact, smallest)


forward = error_of((f(x + steps) - f(x)) / steps)
central = error_of((f(x + steps) - f(x - steps)) / (2 * steps))
complex_step = error_of(f(x + 1j * steps).imag / steps)

fig, ax = plt.subplots(figsize=(7, 4.5), layout="constrained")
fig.set_label(
    "Relative error against the step, both axes logarithmic: forward and central differences fall with slopes 1 and "
    "2, then rise again; the complex step falls to the level of rounding and stays there."
)
ax.loglog(steps, complex_step, color="0.6", label="complex step", lw=5)
ax.loglog(steps, central, "--", color="tab:blue", label="central difference", lw=2)
ax.loglog(steps, forward, ":", color="tab:red", label="forward difference", lw=2)
ax.text(1e-4, 2e-3, "slope 1: h f'' / 2")
ax.text(2e-2, 3e-11, "slope 2:\nh² f''' / 6")
ax.text(2e-11, 1e-2, "rounding:\nε / h", ha="center")
ax.set(xlabel="step h, decreasing to the right", ylabel="relative error", title="The error of three methods")
ax.invert_xaxis()
ax.set_ylim(1e-17, 10)
ax.legend(loc="center right")

# %%
# Read the plot from left to right. The errors of the two differences fall along their slopes until the rounding error
# dominates. From there on both errors rise along the same line. In the end h is too small to change x at all, and the
# computed slope is 0. The error of the complex step also falls with slope 2; then it stays at the level of rounding.

worst = complex_step[steps < 1e-10].max()
print(f"     forward: at best {-np.log10(forward.min()):4.1f} digits")
print(f"     central: at best {-np.log10(central.min()):4.1f} digits")
print(f"complex step: at worst {-np.log10(worst):.1f} digits, with any step from 1e-10 to 1e-20")
assert forward.min() < 1e-7
assert central.min() < 1e-9
assert worst < 1e-15

# %%
# The best step is where Taylor's error and the rounding error are equal. This gives two rules of thumb: the best step
# of a forward difference is near :math:`h = \sqrt{\varepsilon} \approx 10^{-8}`, and that of a central difference is
# near :math:`h = \varepsilon^{1/3} \approx 10^{-5}`. By chance, the error at a single step may be smaller; do not rely
# on it.
#
# In minigrad
# -----------
#
# minigrad uses both methods, but only to check gradients, never to compute them in training. :func:`minigrad.gradcheck`
# uses central differences with a step of 1e-5. The following code is the complex step. It works for operators that are
# *analytic*, which means that they have a Taylor series (the whole file: :doc:`/source/minigrad/checks/identities`):
#
# .. literalinclude:: /../minigrad/checks/identities.py
#    :start-at: moved = [Tensor
#    :end-at: changes = [np.imag
#    :dedent:
#
# The code adds ``1j * STEP * v`` to one input, where v is a random direction. Then it runs f, and divides the imaginary
# part of the result by the step. The cell above did the same for one number.
#
# Why are these methods used only for checks? They are slow. Each run answers one question: how does the result change
# if *this* number changes? So a function of :math:`n` numbers needs :math:`n` runs, or :math:`2n` for central
# differences. The calculation by hand does not have this cost, if we go through the table of steps from its end to its
# beginning. Let us count the runs for a function of 1,000 numbers. (A ``Tensor`` is an array that remembers how it was
# computed; the next chapter explains how.)

rng = np.random.default_rng(0)
point = rng.standard_normal(1000)
runs = 0


def g(x):
    global runs
    runs += 1
    return (x * mg.exp(mg.tanh(x))).sum()  # on arrays or on Tensors


gradient = np.zeros(1000)
for i in range(1000):
    step = np.zeros(1000)
    step[i] = 1e-5
    gradient[i] = (g(point + step) - g(point - step)) / 2e-5
print(f"differences: {runs} runs of g")

runs = 0
t = mg.Tensor(point, requires_grad=True)
(by_tape,) = mg.grad(g(t), t)
print(
    f"minigrad: {runs} run of g, one backward pass; the largest difference is {abs(by_tape.data - gradient).max():.0e}"
)
assert abs(by_tape.data - gradient).max() < 1e-7

# %%
# A residual net of 50 layers has 25 million parameters. With central differences, one training step would take fifty
# million runs of the net. With one pass backwards through the steps, it takes about the time of three runs. This
# backward pass is the topic of :doc:`the next chapter </course/02_tape>`.
#
# Exercises
# ---------
#
# 1. **By hand.** Write down the steps of :math:`y = \log(1 + e^{x^2})` and their derivatives, and multiply them along
#    the path. Take care of large x: :math:`e^{x^2}` overflows at x = 27, although the derivative there is an ordinary
#    number.
# 2. **A better difference.** The error of the central difference is about :math:`\tfrac{h^2}{6} f'''`. Combine two
#    central differences, with steps h and 2h, so that this term cancels too. The remaining error is of order
#    :math:`h^4`.
# 3. **A gradient by complex steps.** For a function of many numbers, take one complex step for each number.
#
# .. literalinclude:: /exercises/chapter_01.py
#
# Fill in ``docs/exercises/chapter_01.py`` and run ``python docs/exercises/check.py 1``.

show()
