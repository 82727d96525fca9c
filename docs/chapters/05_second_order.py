r"""
5. Gradients of gradients
=========================

A gradient is a function, too. What is *its* gradient?

The gradient says which way is down. The gradient of the gradient says how the slope itself changes: whether the valley
is narrow or wide, and so how far one may go. Many small frameworks stop at the first. Here we need nothing new to go
on, except a habit: write rules in operators.
"""

# %%
# The idea
# --------
#
# Chapter 2 walked over the tape and multiplied numbers. Where did those products go? They were a computation like any
# other, only nobody recorded it. So record it! If the walk applies *operators to Tensors* instead of arithmetic to
# arrays, then it leaves a tape of its own, and that tape can be walked.
#
# This is why every rule is written in operators. The rule of the square root is
#
# .. math:: y = \sqrt{x}, \qquad dx = \frac{g}{2 y} ,
#
# and in minigrad it is ``lambda g, out: g / (2 * out)``. On arrays, that is a division. On Tensors, it is a division
# that is recorded. One rule, every order. Ask for it with ``create_graph=True``:

import matplotlib.pyplot as plt
import numpy as np

import minigrad as mg
import minigrad.data

x = mg.Tensor(np.array([3.0]), requires_grad=True)
y = x**4
(dy,) = mg.grad(y, x, create_graph=True)  # 4 x ** 3
(ddy,) = mg.grad(dy, x, create_graph=True)  # 12 x ** 2
(dddy,) = mg.grad(ddy, x)  # 24 x
print(y.item(), dy.item(), ddy.item(), dddy.item())
assert [dy.item(), ddy.item(), dddy.item()] == [4 * 27, 12 * 9, 24 * 3]

# %%
# How far does it go? As far as you like. The derivatives of tanh, one from the other, at 300 points at once. (The sum
# in the loop is a trick: each term depends on its own x only, so the gradient of the sum is the row of all the
# derivatives.)

points = mg.Tensor(np.linspace(-3, 3, 300), requires_grad=True)
derivatives = [mg.tanh(points)]
for _ in range(4):
    (next_one,) = mg.grad(derivatives[-1].sum(), points, create_graph=True)
    derivatives.append(next_one)

t = np.tanh(points.data)
assert np.allclose(derivatives[1].data, 1 - t**2, atol=1e-14)
assert np.allclose(derivatives[2].data, -2 * t * (1 - t**2), atol=1e-14)
assert np.allclose(derivatives[4].data, 8 * t * (1 - t**2) * (2 - 3 * t**2), atol=1e-12)

fig, ax = plt.subplots(figsize=(7, 3.8), layout="constrained")
for order, (line, style) in enumerate(zip(derivatives, ["-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1))], strict=True)):
    ax.plot(points.data, line.data, linestyle=style, color=plt.cm.viridis(order / 5), lw=2, label=f"order {order}")
ax.set(xlabel="x", title="tanh and its derivatives, each the gradient of the one before")
ax.legend()

# %%
# In minigrad
# -----------
#
# Under ``create_graph``, the walk is the same. Only the arrays that an entry kept become Tensors again, at the place on
# the tape where they came from: an argument at its edge, the result at the entry itself. Then the rule is applied to
# them, and records.
#
# .. literalinclude:: /../minigrad/autograd/backward.py
#    :start-at: places = dict(zip(op.inputs
#    :end-before: if op.definition is None
#    :dedent:
#
# It matters that they get their place. A rule for the square of x says ``g * 2 * x``, and for the second derivative it
# must be known that *this* x is the one that we differentiate by. Let us plant the mistake: a square whose rule forgets
# where x came from. Its gradient is right.


@mg.operator
def forgetful_square(x, /):
    return x * x


forgetful_square.vjp(lambda g, x: g * 2.0 * (x.detach() if isinstance(x, mg.Tensor) else x))


def second_derivative(f, x):
    (first,) = mg.grad(f(x).sum(), x, create_graph=True)
    return mg.grad(first.sum(), x)[0].item()


x = mg.Tensor(np.array([3.0]), requires_grad=True)
print("of x * x ** 2, it should be 6 x =", second_derivative(lambda x: x * (x * x), x))
print("with the forgetful square:       ", second_derivative(lambda x: x * forgetful_square(x), x))

mg.gradcheck(forgetful_square, [[3.0, -1.0]])  # content: the first order is right
try:
    mg.gradgradcheck(lambda x: x * forgetful_square(x), [[3.0, -1.0]])
except mg.GradientError as error:
    print(str(error).splitlines()[0])
else:
    raise AssertionError("a check that catches nothing")

# %%
# A wrong number, and no word: only a check of the second order sees it (``gradcheck`` and ``gradgradcheck`` are the
# subject of :doc:`the next chapter </course/06_proof>`). minigrad never lets go of a place by itself. An array that a
# forward has *saved* has none; if a rule wants one under ``create_graph``, that is an error. And a fused operator,
# whose rule works on raw arrays for speed (convolution, batch norm), has a *plain twin*, its definition in simple
# operators; under ``create_graph`` the twin is what is differentiated.
#
# The Hessian, without the Hessian
# --------------------------------
#
# Let f take n numbers to one, and :math:`H_{ij} = \partial^2 f / \partial x_i \partial x_j`, its *Hessian*. That is
# :math:`n^2` numbers: for a net with a million weights, more than fit into memory. But often one only wants its product
# with a vector v: how the gradient changes if we move along v. For each i,
#
# .. math:: (H v)_i = \sum_j H_{ij} v_j = \frac{\partial}{\partial x_i} \sum_j \frac{\partial f}{\partial x_j} v_j
#    = \frac{\partial}{\partial x_i} \langle \nabla f, v \rangle .
#
# (H is symmetric, so it does not matter which index is summed.) So: take the gradient, recorded; then walk back from
# *it*, with v for a cotangent. Two walks, no matrix.


def hessian_vector(f, x, v):
    """Return H v, where H is the Hessian of f at x."""
    (slope,) = mg.grad(f(x), x, create_graph=True)
    (product,) = mg.grad(slope, x, v)
    return product.data


def rosenbrock(p):
    """A narrow, bent valley, whose lowest point is (1, 1)."""
    return (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2


p = mg.Tensor(np.array([-1.2, 1.0]), requires_grad=True)
H = np.stack([hessian_vector(rosenbrock, p, v) for v in np.eye(2)])
print(H)
a, b = p.data
assert np.allclose(H, [[1200 * a**2 - 400 * b + 2, -400 * a], [-400 * a, 200]])

# %%
# An experiment: Newton's method
# ------------------------------
#
# Gradient descent knows the slope, and guesses how far to go. Newton's method knows the curvature, too. Near x,
#
# .. math:: f(x + s) \approx f(x) + \langle \nabla f, s \rangle + \tfrac{1}{2} \langle s, H s \rangle ,
#
# and if this is a bowl, its lowest point is where :math:`H s = -\nabla f`. Go there, and repeat. Both start at (-1.2,
# 1), the classical place.


def slope_at(f, x):
    return mg.grad(f(x), x)[0].data


def descend(steps, lr=0.0015):
    path = [np.array([-1.2, 1.0])]
    for _ in range(steps):
        here = mg.Tensor(path[-1], requires_grad=True)
        path.append(here.data - lr * slope_at(rosenbrock, here))
    return np.array(path)


def newton(steps):
    path = [np.array([-1.2, 1.0])]
    for _ in range(steps):
        here = mg.Tensor(path[-1], requires_grad=True)
        H = np.stack([hessian_vector(rosenbrock, here, v) for v in np.eye(2)])
        path.append(here.data + np.linalg.solve(H, -slope_at(rosenbrock, here)))
    return np.array(path)


downhill, newtons = descend(2000), newton(7)
far = {name: np.linalg.norm(path - 1, axis=1) for name, path in [("descent", downhill), ("Newton", newtons)]}
print(f"gradient descent is {far['descent'][-1]:.2g} away after 2000 steps")
for step, distance in enumerate(far["Newton"]):
    print(f"Newton is {distance:.1e} away after {step}")
assert far["descent"][-1] > 0.01
assert far["Newton"][-1] < 1e-12

# %%
# Look at the last Newton steps: the exponent doubles. That is *quadratic convergence*: each step doubles the number of
# right digits, until there are no more.

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
u, v = np.meshgrid(np.linspace(-1.6, 1.6, 200), np.linspace(-3.6, 2, 200))
left.contour(u, v, np.log((1 - u) ** 2 + 100 * (v - u**2) ** 2 + 1e-3), 14, colors="0.8")
left.plot(*downhill.T, color="tab:red", lw=2, label="gradient descent, 2000 steps")
left.plot(*newtons.T, "o--", color="black", ms=4, label="Newton, 7 steps")
left.plot(1, 1, "*", color="gold", mec="black", ms=14)
left.set(title="The two ways down", xlim=(-1.6, 1.6), ylim=(-3.6, 2))
left.legend(loc="lower left")
right.loglog(np.arange(1, 2002), far["descent"], color="tab:red")
right.loglog(np.arange(1, 9), np.maximum(far["Newton"], 1e-17), "o--", color="black", ms=4)
right.set(xlabel="step (the start is step 1)", ylabel="distance from the lowest point", title="and how fast")

# %%
# Why does nobody train nets this way? Because H s = -slope must be solved, with a million unknowns, at every step. But
# it can be done with nothing but products H v: that is what *conjugate gradients* do. They take one product for each
# step, and choose every direction so that it undoes nothing of what the steps before have reached. Here for 650
# unknowns: the digits again, with one matrix of weights and no hidden layer. The Hessian would have 422,500 entries; it
# is never there.

images, labels = mg.data.Digits(train=True)[:]
images = np.concatenate([images.reshape(len(images), -1), np.ones((len(images), 1))], axis=1).astype(float)


def loss(w):
    """Cross-entropy, and a little of the squared weights, so that there is one lowest point."""
    return mg.cross_entropy(images @ w, labels) + 1e-3 * (w * w).sum()


def conjugate_gradients(product, b, steps):
    """Solve H s = b for a positive definite H, known by its products only."""
    s = np.zeros_like(b)
    residual = direction = b
    for _ in range(steps):
        moved = product(direction)
        step = np.vdot(residual, residual) / np.vdot(direction, moved)
        s, shrunk = s + step * direction, residual - step * moved
        direction = shrunk + np.vdot(shrunk, shrunk) / np.vdot(residual, residual) * direction
        residual = shrunk
    return s


w = mg.Tensor(np.zeros((65, 10)), requires_grad=True)
for step in range(7):
    slope = slope_at(loss, w)
    print(f"step {step}: loss {loss(w).item():.6f}, length of the gradient {np.linalg.norm(slope):.1e}")
    here = w
    w = mg.Tensor(
        w.data + conjugate_gradients(lambda v, here=here: hessian_vector(loss, here, v), -slope, 40), requires_grad=True
    )
assert np.linalg.norm(slope_at(loss, w)) < 1e-6

# %%
# Six steps, and there is nothing left to improve. Nets are no bowls, and their batches are noisy; so :doc:`chapter 10
# </course/10_sgd>` goes back to the first order. But every operator here has its second, checked like the first.
#
# Exercises
# ---------
#
# 1. **Order n.** The n-th derivative of a function of one number.
# 2. **The whole Hessian**, row by row, of a function of an array.
# 3. **A penalty on the gradient.** Some losses contain a gradient: :math:`L = |\nabla f|^2`, which asks for flat
#    places. What is the gradient of *that*?
#
# .. literalinclude:: /exercises/chapter_05.py
#
# Fill in ``docs/exercises/chapter_05.py`` and run ``python docs/exercises/check.py 5``.
