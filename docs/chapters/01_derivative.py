r"""
1. A derivative, three ways
===========================

How steep is a function at a point, and how well can a computer know it?

A neural net learns by turning millions of knobs, each a little, in the direction that makes its error smaller. To know
the direction of one knob is to know a derivative. This course is about computing derivatives: of one number here, of a
residual net with a thousand layers at the end. So begin with one number, and find its derivative in three ways that
know nothing of each other. Wherever they agree, you can trust all three.
"""

# %%
# By hand
# -------
#
# Take the function
#
# .. math:: y = f(x) = x\, e^{\sin x} .
#
# It is made of simple steps, and each step has a derivative that you know:
#
# .. math::
#    \begin{aligned}
#    s &= \sin x & \qquad ds / dx &= \cos x \\
#    v &= e^{s}  & \qquad dv / ds &= v \\
#    y &= x\, v  & \qquad \partial y / \partial x &= v, \quad \partial y / \partial v = x
#    \end{aligned}
#
# The chain rule multiplies along a path, and adds over paths. From x to y there are two: the direct one, with the
# factor :math:`v`, and the one through :math:`s` and :math:`v`, with the factors :math:`\cos x`, :math:`v` and
# :math:`x`. So
#
# .. math:: f'(x) = v + x\, v \cos x = e^{\sin x}\, (1 + x \cos x) .
#
# Remember this table of steps. A machine can do what we just did, because no step needed an idea; chapter 2 builds that
# machine.

import matplotlib.pyplot as plt
import numpy as np

import minigrad as mg


def f(x):
    return x * np.exp(np.sin(x))


def by_hand(x):
    return np.exp(np.sin(x)) * (1 + x * np.cos(x))


x = 1.5
exact = by_hand(x)
print(f"f({x}) = {f(x):.15f}")
print(f"f'({x}) = {exact:.15f}")

# %%
# By differences
# --------------
#
# The derivative is a limit of slopes:
#
# .. math:: f'(x) = \lim_{h \to 0} \frac{f(x + h) - f(x)}{h} .
#
# So take a small step :math:`h`, and the slope of the line through two points of the curve. This asks nothing of f but
# its values: that is what makes it precious for checking. With the second point ahead, it is a *forward difference*.
# With one point on each side, it is a *central difference*. Its chord, the thin line, is drawn once more through x: it
# is closer to the tangent.

h = 0.9
forward = (f(x + h) - f(x)) / h
central = (f(x + h) - f(x - h)) / (2 * h)

around = np.linspace(0.2, 2.8, 200)
fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
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
# How wrong is each? Taylor's formula says it. Write
#
# .. math:: f(x \pm h) = f(x) \pm h f'(x) + \tfrac{h^2}{2} f''(x) \pm \tfrac{h^3}{6} f'''(x) + \cdots
#
# In the forward difference, :math:`\tfrac{h}{2} f''(x)` is left over. In the central one, the even terms cancel, and
# what is left over is :math:`\tfrac{h^2}{6} f'''(x)`. Halve the step: the first error should halve, the second should
# become a quarter.

print("       h     forward     central")
for h in (0.1, 0.05, 0.025):
    forward = (f(x + h) - f(x)) / h
    central = (f(x + h) - f(x - h)) / (2 * h)
    print(f"{h:8.3f}  {forward - exact:10.6f}  {central - exact:10.6f}")

# %%
# So make h tiny, and be done? Try it.

h = 1e-15
print(f"{(f(x + h) - f(x)) / h:.6f} for h = {h:g}, but the derivative is {exact:.6f}")

# %%
# Only the first digit is right. A float64 carries about 16 digits, so f(x) has a rounding error near
# :math:`\varepsilon |f(x)|` with :math:`\varepsilon \approx 10^{-16}`. The numerator subtracts two numbers that are
# almost the same: their leading digits cancel, the rounding errors stay, and the division by h blows them up to
# :math:`\varepsilon |f(x)| / h`. A small step makes Taylor's error small and the rounding error large. Between them
# lies a best step, and we cannot do better than that.
#
# By a complex step
# -----------------
#
# The subtraction did the damage. Can we do without? Step in a direction that is not on the real line at all. For a
# function that has a Taylor series,
#
# .. math:: f(x + ih) = f(x) + i h f'(x) - \tfrac{h^2}{2} f''(x) - \tfrac{i h^3}{6} f'''(x) + \cdots
#
# The value sits in the real part, and the derivative sits in the imaginary part, alone:
#
# .. math:: f'(x) = \frac{\operatorname{Im} f(x + ih)}{h} + O(h^2) .
#
# Nothing is subtracted. So h can be so small that :math:`h^2` is nothing at all, and the answer is as exact as f
# itself. NumPy's functions take complex numbers; our f needs no change.

h = 1e-30
complex_step = f(x + 1j * h).imag / h
print(f"by hand       {exact:.15f}")
print(f"complex step  {complex_step:.15f}")
assert abs(complex_step - exact) < 1e-15 * abs(exact) * 4

# %%
# An experiment: the error against the step
# -----------------------------------------
#
# Now all three in one picture. Each method gets every step from 0.1 down to 1e-20; both axes are logarithmic, so an
# error proportional to :math:`h` is a line of slope 1, and one proportional to :math:`h^2` a line of slope 2.

steps = 10.0 ** np.linspace(-1, -20, 200)
smallest = np.finfo(float).eps / 10  # an error of zero has no logarithm: draw it here


def error_of(difference):
    return np.maximum(abs(difference - exact) / exact, smallest)


forward = error_of((f(x + steps) - f(x)) / steps)
central = error_of((f(x + steps) - f(x - steps)) / (2 * steps))
complex_step = error_of(f(x + 1j * steps).imag / steps)

fig, ax = plt.subplots(figsize=(7, 4.5), layout="constrained")
ax.loglog(steps, complex_step, color="0.6", label="complex step", lw=5)
ax.loglog(steps, central, "--", color="tab:blue", label="central difference", lw=2)
ax.loglog(steps, forward, ":", color="tab:red", label="forward difference", lw=2)
ax.text(1e-4, 2e-3, "slope 1: h f'' / 2")
ax.text(2e-2, 3e-11, "slope 2:\nh² f''' / 6")
ax.text(2e-11, 1e-2, "rounding:\nε / h", ha="center")
ax.set(xlabel="step h, ever smaller to the right", ylabel="relative error", title="Three ways to one derivative")
ax.invert_xaxis()
ax.set_ylim(1e-17, 10)
ax.legend(loc="center right")

# %%
# From left to right, the differences improve along their slopes, until rounding takes over; then each has the same line
# upwards, until h is too small to change x at all, and the slope it finds is 0. The complex step falls with slope 2,
# too, and then just stays right.

worst = complex_step[steps < 1e-10].max()
print(f"     forward: at best {-np.log10(forward.min()):4.1f} digits")
print(f"     central: at best {-np.log10(central.min()):4.1f} digits")
print(f"complex step: at worst {-np.log10(worst):.1f} digits, with any step from 1e-10 to 1e-20")
assert forward.min() < 1e-7
assert central.min() < 1e-9
assert worst < 1e-15

# %%
# Rules of thumb follow from where the two errors meet: a forward difference is best near :math:`h = \sqrt{\varepsilon}
# \approx 10^{-8}`, a central one near :math:`h = \varepsilon^{1/3} \approx 10^{-5}`. A lucky point may fall below the
# line; do not count on it.
#
# In minigrad
# -----------
#
# Both ways serve minigrad as judges, never as workers. :func:`minigrad.gradcheck` takes central differences, with a
# step of 1e-5. And this is the complex step, for operators that are *analytic*, which means that they have a Taylor
# series (the whole file: :doc:`/source/minigrad/checks/identities`):
#
# .. literalinclude:: /../minigrad/checks/identities.py
#    :start-at: moved = [Tensor
#    :end-at: changes = [np.imag
#    :dedent:
#
# Read it as: move one input by ``1j * STEP * v``, along a random direction v; run f; divide the imaginary part by the
# step. That is the cell above, for arrays.
#
# Why only judges? Because they are slow. Each answers one question: what happens if *this* number moves? A function of
# :math:`n` numbers needs :math:`n` runs, or :math:`2n`. The way by hand needs no step and has no such price, if we walk
# the table of steps from its end to its beginning. Count it, for a function of 1,000 numbers. (A ``Tensor`` is an array
# that remembers how it was made; the next chapter says how.)

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
    f"minigrad: {runs} run of g, and one walk back; the largest difference is {abs(by_tape.data - gradient).max():.0e}"
)
assert abs(by_tape.data - gradient).max() < 1e-7

# %%
# A residual net of 50 layers has 25 million knobs. With central differences, one step of learning would take fifty
# million runs of the net. With one walk back it takes about the time of three runs. That walk is :doc:`the next chapter
# </course/02_tape>`.
#
# Exercises
# ---------
#
# 1. **By hand.** Write down the steps of :math:`y = \log(1 + e^{x^2})`, and their derivatives, and multiply along the
#    path. Mind large x: :math:`e^{x^2}` overflows at 27, but the derivative is a harmless number.
# 2. **A better difference.** The central difference leaves :math:`\tfrac{h^2}{6} f'''`. Combine two of them, with steps
#    h and 2h, so that this term cancels too. What is left over is of order :math:`h^4`.
# 3. **A gradient by complex steps.** For a function of many numbers, one complex step for each.
#
# .. literalinclude:: /exercises/chapter_01.py
#
# Fill in ``docs/exercises/chapter_01.py`` and run ``python docs/exercises/check.py 1``.
