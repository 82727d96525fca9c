r"""
2. The tape
===========

How can a program compute the derivative of a program?

In :doc:`chapter 1 </course/01_derivative>` we differentiated a formula by hand. We wrote a table with each operation
and its derivative. Every operation followed a fixed rule. So the program can write this table itself while it runs. The
table is called the *tape*. Then we go through the tape in reverse order, multiply the derivatives along each path, and
add where paths meet.
"""

# %%
# The idea
# --------
#
# Let y be the result, a single number. For every number v that is computed on the way we ask: if v changes a little,
# how much does y change? The answer is
#
# .. math:: g_v = \frac{\partial y}{\partial v},
#
# the *cotangent* of v. The cotangent of the result is known: :math:`g_y = 1`. Suppose that we know the cotangent of
# :math:`v = \mathrm{op}(a, b)`. Then v passes it on to its inputs a and b:
#
# .. math:: g_a \leftarrow g_a + g_v\, \frac{\partial v}{\partial a},
#    \qquad g_b \leftarrow g_b + g_v\, \frac{\partial v}{\partial b} .
#
# The contribution is added, because a may be used more than once. Each use starts further paths from a to y, and the
# chain rule adds over paths.
#
# One thing can go wrong. A number v may pass its cotangent on only when the cotangent is *complete*: every operation
# that uses v must have added its contribution. All these operations were executed after v was computed. So we take the
# numbers in reverse order of execution, the newest first. Then every cotangent is complete when its number is taken.
#
# A tape in forty lines
# ---------------------
#
# Here is such a tape. A ``Number`` has a value, and remembers the numbers from which it was computed. They are its
# *edges*: pairs of a number and the derivative of this operation with respect to it. A ``Number`` also stores its place
# in the order of execution. The function ``gradients`` goes through the tape in reverse order.

import heapq
import itertools
import math

import matplotlib.pyplot as plt
import numpy as np

import minigrad as mg
from minigrad.autograd.tape import Entry
from minigrad.train.report import show

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
    """Return the derivatives of y with respect to y itself and to all Numbers from which it was computed."""
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
# Try it on the function of chapter 1, :math:`y = x e^{\sin x}` at 1.5. There we computed the derivative
# 2.999184887031056 by hand.

x = Number(1.5)
y = x * exp(sin(x))
found = gradients(y)
for v, cotangent in found.items():
    print(f"{v.operator:>4}  value {v.value:8.5f}  cotangent {cotangent:8.5f}")
assert abs(found[x] - 2.999184887031056) < 1e-15

# %%
# The cotangent in the last line is the derivative with respect to x, and it agrees with the result by hand. The next
# figure shows the tape. Values go from left to right, and cotangents from right to left. Two arrows start at x, because
# x was used twice. So x receives two contributions, and they are added.


def draw(y, found, ax):
    """Draw the graph of y: each Number one place to the right of its inputs."""
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
fig.set_label(
    "Nodes of the tape from left to right: x, sin, exp and the product, each with its value and its cotangent g. "
    "Arrows join each node to its arguments, with the factor of that edge."
)
draw(y, found, ax)
ax.set_title("The tape of x * exp(sin(x)): values to the right, cotangents g back to the left")

# %%
# An experiment: why take the newest number first?
# ------------------------------------------------
#
# There is a simpler method: every number passes on each contribution at once, by recursion. This method follows every
# path from y to x, and its sum over all paths is also correct. But how many paths are there? Double a number
# repeatedly: ``x = x + x``. Each doubling has two edges. So k doublings have :math:`2^k` paths, but only :math:`k + 1`
# numbers.


def visits_of_recursion(v):
    return 1 + sum(visits_of_recursion(a) for a, _ in v.edges)


depths = range(1, 19)
recursion, newest_first = [], []
for k in depths:
    z = Number(1.0)
    for _ in range(k):
        z = z + z
    recursion.append(visits_of_recursion(z))
    found = gradients(z)
    newest_first.append(len(found))
    assert list(found.values())[-1] == 2.0**k

print(f"{depths[-1]} doublings: {recursion[-1]:,} visits by recursion, {newest_first[-1]} newest first")
assert newest_first[-1] == 19

fig, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
fig.set_label(
    "Visits against the number of doublings, logarithmic: recursion doubles with each one, newest first grows by one."
)
ax.semilogy(depths, recursion, "s--", color="tab:red", label="recursion: every path")
ax.semilogy(depths, newest_first, "o-", color="black", label="newest first: every number once")
ax.set(xlabel="doublings", ylabel="visits", title="k doublings have 2 to the k paths, but only k + 1 numbers")
ax.legend()

# %%
# A residual net has the same structure: each block computes ``x + f(x)``, and so uses x twice. Fifty blocks have
# :math:`2^{50}` paths. (:doc:`Chapter 15 </course/15_residual>` returns to these paths.) So minigrad takes the newest
# operation first.
#
# In minigrad
# -----------
#
# In minigrad, the class :class:`minigrad.Tensor` takes the role of ``Number``: it is an array with a place on the tape.
# There are only two differences. First, an edge does not hold a derivative. The derivative of an array with respect to
# an array is a huge matrix, the *Jacobian* (:doc:`chapter 0 </course/00_assumed>`), and building it would take too much
# time and memory. Instead, an operator has a *rule* for each argument. The rule is a function that takes the cotangent
# ``g`` of the result and returns the cotangent of the argument. These are the rules of the product, element by element:
#
# .. literalinclude:: /../minigrad/ops/elementwise.py
#    :pyobject: mul
#
# .. literalinclude:: /../minigrad/ops/elementwise.py
#    :start-at: mul.vjp
#    :end-at: mul.vjp
#
# The rule for a has a parameter named b: this is how it asks for the array b. So b is stored on the tape, but only if a
# needs a gradient. A rule may also ask for ``out``, the result, for a setting, or for a value that the forward function
# saved. A *setting* is an argument without a gradient, such as the axis of a sum: it comes after the ``/`` in the
# parameters of the forward function. Never overwrite an array that a rule will read: the gradient would be wrong,
# without an error. So an operator that assigns to a slice works on a copy. (``vjp`` stands for vector-Jacobian product:
# this is what a rule computes, without building the Jacobian.)
#
# In an ordinary backward pass, a rule is given arrays: here ``g`` and ``b`` are arrays. If the gradient will be
# differentiated again, the rule is given Tensors, so that the tape records what the rule computes. So write a rule with
# what works for both: Python's operators, and functions of minigrad such as ``mg.exp``, which return an array for
# arrays, and a Tensor for Tensors. A function of NumPy refuses a Tensor.
#
# The second difference is that the Tensor itself is not recorded. The tape consists of *entries*, and a Tensor points
# to its entry. An entry never points to its Tensor, so an array that is no longer referenced is freed at once.
#
# .. literalinclude:: /../minigrad/autograd/tape.py
#    :start-at: class Entry
#    :end-before: __slots__
#
# Here is the core of the backward pass, from :doc:`/source/minigrad/autograd/backward`. It is the algorithm of
# ``gradients`` above, with ``totals``, a heap ordered by ``-order``, and a function ``add``. (``owned`` are the totals
# that the backward pass allocated itself. Only these may be added to in place.)
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
# minigrad has a sine, ``mg.sin``. To see how an operator is made, we define our own. An operator is a forward function
# together with its rule. The rule is written with operators, too (:doc:`chapter 5 </course/05_second_order>` explains
# why).


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
# Before the backward pass, look at the tape that this computation recorded. (``_node`` is a private attribute; we use
# it here only to look inside.)

entry, ahead = y._node, [y._node]
while ahead:
    entry = ahead.pop(0)
    if isinstance(entry, Entry):
        kept = {name: value.round(5).tolist() for name, value in zip(entry.plan.names, entry.stored, strict=True)}
        print(f"{entry.order - y._node.order:+d}  {entry.operator.name:4} stores {kept}")
        ahead += [edge for edge in entry.edges if isinstance(edge, Entry)]

y.backward()
print("gradient:", t.grad.data)
assert abs(t.grad.data[0] - 2.999184887031056) < 1e-15

# %%
# The operations, the values and the gradient are the same as before. ``mul`` stores both of its arguments, ``exp``
# stores its result, and ``msin`` its argument: exactly the arrays for which their rules ask. After the backward pass,
# all these arrays are released. So a second backward pass raises an error:

try:
    y.backward()
except RuntimeError as error:
    print(error)

# %%
# That is all of autograd. :doc:`/source/minigrad/autograd/operator` and :doc:`/source/minigrad/autograd/backward`
# contain the complete code, which also handles arrays, errors, memory, and gradients of gradients. The backward pass
# applies one rule for each argument of each operation, and each rule costs about as much as its operator. So the
# gradient with respect to *all* inputs costs a small multiple of one run, however many inputs there are.
#
# Exercises
# ---------
#
# 1. **The tape as a list.** A tape can be a plain list, because the order of the list is the order of execution. Write
#    the backward pass for such a tape. It needs no heap. Why not?
# 2. **An operator of your own.** Write ``swish(x) = x * sigmoid(x)`` as *one* operator of minigrad, with a rule that
#    asks for only one array.
# 3. **The memory of the tape.** Most of the memory in training is used by the arrays that the entries store. Count the
#    bytes.
#
# .. literalinclude:: /exercises/chapter_02.py
#
# Fill in ``chapter_02.py`` in :ref:`your folder <folder>`, and run ``python -m docs.exercises check FOLDER 2``.
# Then continue your own framework: :ref:`the milestone of chapter 2 <milestone-2>`.

show()
