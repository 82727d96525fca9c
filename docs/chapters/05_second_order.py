r"""
5. Gradients of gradients
=========================

A gradient is a function, too. How can we compute *its* gradient?

The gradient says in which direction a function rises, and so in which direction we must go to make it smaller. The
gradient of the gradient says how the slope itself changes: whether the valley is narrow or wide, and so how far we may
go. Many small frameworks can compute only the first gradient. minigrad can compute all orders, and needs nothing new
for this: it is enough that rules are written with operators.
"""

# %%
# The idea
# --------
#
# The backward pass of chapter 2 multiplied and added numbers. This is a computation like any other, but it was not
# recorded. So record it! If the backward pass applies *operators to Tensors* instead of arithmetic to arrays, then it
# leaves a tape of its own, and this tape can be differentiated too.
#
# This is why every rule is written with operators. The rule of the square root is
#
# .. math:: y = \sqrt{x}, \qquad dx = \frac{g}{2 y} ,
#
# and in minigrad it is ``lambda g, out: g / (2 * out)``. Applied to arrays, this is a division. Applied to Tensors, it
# is a division that is recorded. So the same rule serves derivatives of every order. The option ``create_graph=True``
# asks for the recording:

import matplotlib.pyplot as plt
import numpy as np

import minigrad as mg
import minigrad.data
from minigrad.train.report import show

x = mg.Tensor(np.array([3.0]), requires_grad=True)
y = x**4
(dy,) = mg.grad(y, x, create_graph=True)  # 4 x ** 3
(ddy,) = mg.grad(dy, x, create_graph=True)  # 12 x ** 2
(dddy,) = mg.grad(ddy, x)  # 24 x
print(y.item(), dy.item(), ddy.item(), dddy.item())
assert [dy.item(), ddy.item(), dddy.item()] == [4 * 27, 12 * 9, 24 * 3]

# %%
# We can repeat this as often as we like. The next cell computes the derivatives of tanh, each from the one before, at
# 300 points at once. (The gradient is taken of a sum. Each term of the sum depends on its own x only, so the gradient
# of the sum is the array of the 300 derivatives.)

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
fig.set_label(
    "tanh and its first four derivatives from left to right: each derivative crosses zero more often and reaches "
    "further than the one before."
)
for order, (line, style) in enumerate(zip(derivatives, ["-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1))], strict=True)):
    ax.plot(points.data, line.data, linestyle=style, color=plt.cm.viridis(order / 5), lw=2, label=f"order {order}")
ax.set(xlabel="x", title="tanh and its derivatives of order 1 to 4")
ax.legend()

# %%
# In minigrad
# -----------
#
# Under ``create_graph``, the backward pass does the same steps, with one difference. The arrays that an entry stored
# become Tensors again, and each Tensor gets its original place on the tape: an argument gets the node at its edge, the
# result gets the entry itself. Then the rule is applied to these Tensors, and its operators are recorded.
#
# .. literalinclude:: /../minigrad/autograd/backward.py
#    :start-at: places = dict(zip(op.inputs
#    :end-before: if op.twin_function is None
#    :dedent:
#
# These places are necessary. A rule for the square of x is ``g * 2 * x``. To compute the second derivative, minigrad
# must know that this x is the *same* x with respect to which we differentiate. To see what happens otherwise, we make
# this mistake on purpose: a square whose rule detaches x from the tape. Its gradient is right.


@mg.operator
def forgetful_square(x, /):
    return x * x


forgetful_square.vjp(lambda g, x: g * 2.0 * (x.detach() if isinstance(x, mg.Tensor) else x))


def second_derivative(f, x):
    (first,) = mg.grad(f(x).sum(), x, create_graph=True)
    return mg.grad(first.sum(), x)[0].item()


x = mg.Tensor(np.array([3.0]), requires_grad=True)
print("second derivative of x * x ** 2, which is 6 x:", second_derivative(lambda x: x * (x * x), x))
print("with the forgetful square:                   ", second_derivative(lambda x: x * forgetful_square(x), x))

mg.gradcheck(forgetful_square, [[3.0, -1.0]])  # passes: the first order is right
try:
    mg.gradgradcheck(lambda x: x * forgetful_square(x), [[3.0, -1.0]])
except mg.GradientError as error:
    print(str(error).splitlines()[0])
else:
    raise AssertionError("a check that catches nothing")

# %%
# The second derivative is wrong, and there is no error message. Only a check of the second order finds this mistake
# (``gradcheck`` and ``gradgradcheck`` are a topic of :doc:`the next chapter </course/06_proof>`). minigrad itself never
# loses a place on the tape without an error. An array that a forward function has *saved* has no place on the tape; if
# a rule uses such an array under ``create_graph``, minigrad raises an error. A fused operator, such as convolution or
# batch norm, has a rule that works on raw arrays, for speed. So it also has a *twin*: its definition in simple
# operators. Under ``create_graph``, the twin is differentiated instead of the fused operator.
#
# Products with the Hessian
# -------------------------
#
# Let f be a function of n numbers that returns one number, and :math:`H_{ij} = \partial^2 f / \partial x_i \partial
# x_j` its *Hessian*. The Hessian has :math:`n^2` entries; for a net with a million weights, they do not fit into
# memory. But often we need only its product with a vector v, which says how the gradient changes if we move along v.
# For each i,
#
# .. math:: (H v)_i = \sum_j H_{ij} v_j = \frac{\partial}{\partial x_i} \sum_j \frac{\partial f}{\partial x_j} v_j
#    = \frac{\partial}{\partial x_i} \langle \nabla f, v \rangle .
#
# (H is symmetric, so we may sum over either index.) So compute the gradient, and record this computation. Then do a
# second backward pass, from the gradient, with v as the cotangent. This takes two backward passes, and H is never
# built.


def hessian_vector(f, x, v):
    """Return H v, where H is the Hessian of f at x."""
    (slope,) = mg.grad(f(x), x, create_graph=True)
    (product,) = mg.grad(slope, x, v)
    return product.data


def rosenbrock(p):
    """Return the height of a narrow, bent valley, whose lowest point is (1, 1)."""
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
# Gradient descent uses the slope only; the length of its steps is a guess. Newton's method uses the curvature as well.
# Near x,
#
# .. math:: f(x + s) \approx f(x) + \langle \nabla f, s \rangle + \tfrac{1}{2} \langle s, H s \rangle ,
#
# If the right side, as a function of s, is a bowl, its lowest point is where :math:`H s = -\nabla f`. Newton's method
# moves to this point, and repeats. In the experiment, both methods start at (-1.2, 1), the classical starting point.


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
print(f"gradient descent: distance {far['descent'][-1]:.2g} after 2000 steps")
for step, distance in enumerate(far["Newton"]):
    print(f"Newton: distance {distance:.1e} after step {step}")
assert far["descent"][-1] > 0.01
assert far["Newton"][-1] < 1e-12

# %%
# Look at the last steps of Newton's method: the exponent doubles. This is called *quadratic convergence*: each step
# doubles the number of right digits, until float64 has no more digits.

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
fig.set_label(
    "Left, paths across a curved valley: gradient descent creeps along its floor, Newton's method reaches the lowest "
    "point in a few jumps. Right, the distances at each step, logarithmic: Newton's falls ever faster."
)
u, v = np.meshgrid(np.linspace(-1.6, 1.6, 200), np.linspace(-3.6, 2, 200))
left.contour(u, v, np.log((1 - u) ** 2 + 100 * (v - u**2) ** 2 + 1e-3), 14, colors="0.8")
left.plot(*downhill.T, color="tab:red", lw=2, label="gradient descent, 2000 steps")
left.plot(*newtons.T, "o--", color="black", ms=4, label="Newton, 7 steps")
left.plot(1, 1, "*", color="gold", mec="black", ms=14)
left.set(title="Paths of the two methods", xlim=(-1.6, 1.6), ylim=(-3.6, 2))
left.legend(loc="lower left")
right.loglog(np.arange(1, 2002), far["descent"], color="tab:red")
right.loglog(np.arange(1, 9), np.maximum(far["Newton"], 1e-17), "o--", color="black", ms=4)
right.set(xlabel="step (the start is step 1)", ylabel="distance from the lowest point", title="Distance at each step")

# %%
# Why are nets not trained in this way? At every step we must solve H s = -slope, with a million unknowns. But
# *conjugate gradients* can solve this equation with products H v only. This method computes one product per step. It
# chooses the directions of its steps so that no step undoes the progress of the steps before. Here it solves for 650
# unknowns: the digits again, with one matrix of weights and no hidden layer. The Hessian would have 422,500 entries; it
# is never built.

images, labels = mg.data.Digits(train=True)[:]
images = np.concatenate([images.reshape(len(images), -1), np.ones((len(images), 1))], axis=1).astype(float)


def loss(w):
    """Return the cross-entropy plus a small multiple of the squared weights, which makes the minimum unique."""
    return mg.cross_entropy(images @ w, labels) + 1e-3 * (w * w).sum()


def conjugate_gradients(product, b, steps):
    """Solve H s = b for a positive definite H, given only the function v -> H v."""
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
# After six steps the gradient is almost zero, and the loss cannot fall further. The loss of a deep net is not a bowl,
# and its batches are noisy. So :doc:`chapter 12 </course/12_sgd>` returns to the first order. But every operator in
# minigrad has second derivatives, and they are checked like the first.
#
# Exercises
# ---------
#
# 1. **Order n.** Compute the n-th derivative of a function of one number.
# 2. **The whole Hessian.** Compute the Hessian of a function of an array, row by row.
# 3. **A penalty on the gradient.** Some losses contain a gradient: :math:`L = |\nabla f|^2` is small where f is flat.
#    Compute the gradient of this L.
#
# .. literalinclude:: /exercises/chapter_05.py
#
# Fill in ``docs/exercises/chapter_05.py`` and run ``python docs/exercises/check.py 5``.

show()
