r"""
2. The tape
===========

How can a program find the derivative of a program?

In :doc:`chapter 1 </course/01_derivative>` we differentiated a formula by hand. It was a table: each step of the
computation, and its derivative. Nothing in it needed an idea. So let the program write the table itself, while it runs.
This record is called the *tape*. Then walk it backwards, multiply along each path, and add where paths meet.
"""

# %%
# The idea
# --------
#
# Let y be the result, one number. For every step v of the computation, we want to know: if v moved a little, how much
# would y move? Call this
#
# .. math:: g_v = \frac{\partial y}{\partial v},
#
# the *cotangent* of v. For the last step it is easy: :math:`g_y = 1`. And if we know it for :math:`v = \mathrm{op}(a,
# b)`, then v passes it on to what it was made from:
#
# .. math:: g_a \leftarrow g_a + g_v\, \frac{\partial v}{\partial a},
#    \qquad g_b \leftarrow g_b + g_v\, \frac{\partial v}{\partial b} .
#
# It is added, because a may be used more than once. Each use begins other paths from a to y, and the chain rule adds
# over paths.
#
# There is one trap. v may pass its cotangent on only when it is *complete*, when every step that used v has added its
# part. What used v came later than v. So take the steps in reverse order of execution, the newest first: then
# everything is complete in time.
#
# A tape in forty lines
# ---------------------
#
# Here it is. A ``Number`` has a value, and remembers what it was made from: its *edges*, each with the derivative of
# this step. It also has its place in the order of execution. ``gradients`` is the walk.

import heapq
import itertools
import math

import matplotlib.pyplot as plt
import numpy as np

import minigrad as mg
from minigrad.autograd.tape import Entry

clock = itertools.count()


class Number:
    def __init__(self, value, operator="leaf", edges=()):
        self.value, self.operator, self.edges = value, operator, edges  # edges: pairs (number, derivative)
        self.order = next(clock)

    def __add__(self, other):
        return Number(self.value + other.value, "add", [(self, 1.0), (other, 1.0)])

    def __mul__(self, other):
        return Number(self.value * other.value, "mul", [(self, other.value), (other, self.value)])


def sin(x):
    return Number(math.sin(x.value), "sin", [(x, math.cos(x.value))])


def exp(x):
    value = math.exp(x.value)
    return Number(value, "exp", [(x, value)])


def gradients(y):
    """Return the derivative of y with respect to every Number that it was made from."""
    totals, done = {y: 1.0}, {}
    queue = [(-y.order, y)]
    while queue:
        _, v = heapq.heappop(queue)  # the newest: its total is complete
        done[v] = totals[v]
        for a, derivative in v.edges:
            if a not in totals:
                totals[a] = 0.0
                heapq.heappush(queue, (-a.order, a))
            totals[a] += totals[v] * derivative
    return done


# %%
# Try it on the function of chapter 1, :math:`y = x e^{\sin x}` at 1.5. There we found 2.999184887031056 by hand.

x = Number(1.5)
y = x * exp(sin(x))
found = gradients(y)
for v, cotangent in found.items():
    print(f"{v.operator:>4}  value {v.value:8.5f}  cotangent {cotangent:8.5f}")
assert abs(found[x] - 2.999184887031056) < 1e-15

# %%
# The last line is our table, evaluated. And here is the picture of it: values run to the right, cotangents come back to
# the left. Two arrows leave x, because it was used twice; so two contributions come back, and are added.


def draw(y, found, ax):
    """Draw the graph of y: each step one place to the right of what it was made from."""
    depth = {}
    for v in reversed(found):
        depth[v] = max((depth[a] + 1 for a, _ in v.edges), default=0)
    for v in found:
        for a, derivative in v.edges:
            far = depth[v] - depth[a] > 1
            curve = "arc3,rad=-0.3" if far else "arc3"
            arrow = dict(arrowstyle="-|>", color="0.4", shrinkA=26, shrinkB=26, connectionstyle=curve)
            ax.annotate("", (depth[v], 0), (depth[a], 0), arrowprops=arrow)
            middle = (depth[v] + depth[a]) / 2, 0.72 if far else 0.08
            ax.text(*middle, f"times {derivative:.3f}", ha="center", color="0.3")
        box = dict(boxstyle="round,pad=0.4", fc="white", ec="black")
        ax.text(depth[v], 0, f"{v.operator}\n{v.value:.3f}", ha="center", va="center", bbox=box)
        ax.text(depth[v], -0.42, f"g = {found[v]:.3f}", ha="center", color="tab:red", weight="bold")
    ax.set(xlim=(-0.4, max(depth.values()) + 0.4), ylim=(-0.55, 0.95))
    ax.axis("off")


fig, ax = plt.subplots(figsize=(8, 2.8), layout="constrained")
draw(y, found, ax)
ax.set_title("The tape of x * exp(sin(x)): values to the right, cotangents g back to the left")

# %%
# An experiment: why the newest first?
# ------------------------------------
#
# There is a simpler walk: every step passes on what it gets, at once, by recursion. It follows every path from y to x,
# and the sum over all paths is right, too. But how many paths are there? Double a number again and again: ``x = x +
# x``. Each doubling has two edges, so n doublings have :math:`2^n` paths, through only :math:`n + 1` numbers.


def visits_of_recursion(v):
    return 1 + sum(visits_of_recursion(a) for a, _ in v.edges)


depths = range(1, 19)
recursion, newest_first = [], []
for n in depths:
    z = Number(1.0)
    for _ in range(n):
        z = z + z
    recursion.append(visits_of_recursion(z))
    found = gradients(z)
    newest_first.append(len(found))
    assert list(found.values())[-1] == 2.0**n

print(f"{depths[-1]} doublings: {recursion[-1]:,} visits by recursion, {newest_first[-1]} newest first")
assert newest_first[-1] == 19

fig, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
ax.semilogy(depths, recursion, "s--", color="tab:red", label="recursion: every path")
ax.semilogy(depths, newest_first, "o-", color="black", label="newest first: every step once")
ax.set(xlabel="doublings", ylabel="visits", title="Paths grow like 2 to the n, steps like n")
ax.legend()

# %%
# A residual net is like this: each block computes ``x + f(x)``, and uses x twice. Fifty blocks have :math:`2^{50}`
# paths. (:doc:`Chapter 13 </course/13_residual>` comes back to them.) So minigrad takes the newest first.
#
# In minigrad
# -----------
#
# minigrad's Number is the :class:`minigrad.Tensor`, an array with a place on the tape. Two things are different, and
# nothing else. First, the derivative of an array with respect to an array is a huge matrix, the *Jacobian*, which
# nobody wants to build. So an edge does not hold a derivative. An operator has a *rule* for each argument: a function
# that takes the cotangent ``g`` of the result and gives that of the argument. For the product, element by element:
#
# .. literalinclude:: /../minigrad/ops/elementwise.py
#    :pyobject: mul
#
# .. literalinclude:: /../minigrad/ops/elementwise.py
#    :start-at: mul.vjp
#    :end-at: mul.vjp
#
# The rule for a asks, by the name of its parameter, for b; so b is kept on the tape, and only if a wants a gradient.
# ``vjp`` stands for vector-Jacobian product, which is what a rule computes, without the Jacobian. Second, what is
# recorded is not the Tensor itself but an *entry*, which the Tensor points to. The entry never points to the Tensor, so
# what nobody holds any more is freed at once.
#
# .. literalinclude:: /../minigrad/autograd/tape.py
#    :start-at: class Entry
#    :end-before: __slots__
#
# And here is the heart of the walk, from :doc:`/source/minigrad/autograd/backward`. You have just written it:
# ``totals``, a heap by ``-order``, and ``add``. (``owned`` are the totals that the walk itself allocated: only those
# may be added to in place.)
#
# .. literalinclude:: /../minigrad/autograd/backward.py
#    :pyobject: Gradients.add
#    :dedent:
#
# .. literalinclude:: /../minigrad/autograd/backward.py
#    :start-at: while queue:
#    :end-at: g = totals.pop(entry)
#    :dedent:
#
# minigrad has no sine. No matter: an operator of our own is a forward function and its rule. The rule is written with
# operators, too (:doc:`chapter 5 </course/05_second_order>` says why).


@mg.elementwise
def msin(x, /):
    return np.sin(x)


@mg.elementwise
def mcos(x, /):
    return np.cos(x)


msin.vjp(lambda g, x: g * mcos(x))
mcos.vjp(lambda g, x: -g * msin(x))

t = mg.Tensor(np.array([1.5]), requires_grad=True)
y = t * mg.exp(msin(t))

# %%
# Before we walk, look at the tape that this has left. ``_node`` is private; we are guests here.

entry, ahead = y._node, [y._node]
while ahead:
    entry = ahead.pop(0)
    if isinstance(entry, Entry):
        kept = {name: value.round(5).tolist() for name, value in zip(entry.plan.names, entry.stored, strict=True)}
        print(f"{entry.order - y._node.order:+d}  {entry.operator.name:4} keeps {kept}")
        ahead += [edge for edge in entry.edges if isinstance(edge, Entry)]

y.backward()
print("gradient:", t.grad.data)
assert abs(t.grad.data[0] - 2.999184887031056) < 1e-15

# %%
# The same steps, the same values, the same gradient. ``mul`` keeps both of its arguments, ``exp`` its
# result, ``msin`` its argument: what their rules ask for. After the walk all of that is let go, and walking again is an
# error that says so:

try:
    y.backward()
except RuntimeError as error:
    print(error)

# %%
# That is all of autograd. :doc:`/source/minigrad/autograd/operator` and :doc:`/source/minigrad/autograd/backward` do
# this with care: for arrays, for errors, for memory, for gradients of gradients. The walk costs as many steps as the
# computation, and each rule about as much as its operator. So the gradient with respect to *all* inputs costs a small
# multiple of one run, however many inputs there are.
#
# Exercises
# ---------
#
# 1. **Walk a list.** A tape can be a plain list, because execution order is the order of the list. Write the walk for
#    it. No heap is needed. Why?
# 2. **An operator of your own.** ``swish(x) = x * sigmoid(x)``, as *one* operator of minigrad, with a rule that asks
#    for one array only.
# 3. **What does the tape hold?** The memory of training is mostly what entries keep. Count it.
#
# .. literalinclude:: /exercises/chapter_02.py
#
# Fill in ``docs/exercises/chapter_02.py`` and run ``python docs/exercises/check.py 2``.
