r"""
0. What you need to know
========================

Which mathematics does this course use, and how do you compute with it in NumPy?

You should know three things before you begin: Python, NumPy's arrays and their shapes, and the derivative of a function
of one number. The course uses six more ideas again and again. Each section of this chapter shows one of them on about a
screen: the idea, a formula, a few lines of NumPy, and the chapters that use it. Skip what you know, and come back when
a later chapter sends you here. What a single chapter needs, such as the eigenvalues of a matrix, is explained there.
The page :doc:`/notation` lists the letters and signs of the whole course.
"""

# %%
# Taylor series
# -------------
#
# Near a point x, a smooth function is almost a straight line. A parabola is closer to it, and a polynomial of degree
# three is closer still. The *Taylor series* says which polynomials these are. With a small number h,
#
# .. math:: f(x + h) = f(x) + h f'(x) + \tfrac{h^2}{2} f''(x) + \tfrac{h^3}{6} f'''(x) + \cdots
#
# The term with :math:`h^k` contains the derivative of order k, divided by :math:`k! = 1 \cdot 2 \cdots k`. If we stop
# after this term, we have the Taylor polynomial of degree k, and we make an error. For small h, the error is about as
# large as the first term that we left out, so it is proportional to :math:`h^{k+1}`. We write this as
# :math:`O(h^{k+1})`, and call it an error of *order* k + 1. Halve h, and the error is divided by about :math:`2^{k+1}`:

import math

import matplotlib.pyplot as plt
import numpy as np

import minigrad as mg
from minigrad.train.report import show


def taylor(h, degree):
    """Return the Taylor polynomial of the sine at x = 1, as a function of h."""
    derivatives = [np.sin(1), np.cos(1), -np.sin(1), -np.cos(1)]
    return sum(derivatives[k] * h**k / math.factorial(k) for k in range(degree + 1))


print("degree   error at h = 0.1   at h = 0.05   ratio")
for degree in (1, 2, 3):
    first, second = (abs(np.sin(1 + h) - taylor(h, degree)) for h in (0.1, 0.05))
    print(f"{degree:6}{first:19.1e}{second:14.1e}{first / second:8.1f}")
    assert abs(np.log2(first / second) - (degree + 1)) < 0.1

h = np.linspace(-3, 3, 200)
fig, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
fig.set_label(
    "The sine and its Taylor polynomials of degree 1, 2 and 3 at 1: with each degree they stay close to it for longer."
)
ax.plot(1 + h, np.sin(1 + h), color="black", lw=2, label="sine")
for degree, style in ((1, ":"), (2, "--"), (3, "-.")):
    ax.plot(1 + h, taylor(h, degree), style, label=f"degree {degree}")
ax.plot(1, np.sin(1), "o", color="black")
ax.set(xlabel="x", ylim=(-2, 2), title="The sine and its Taylor polynomials at 1")
ax.legend()

# %%
# Where the course uses it: :doc:`chapter 1 </course/01_derivative>` computes the error of a numerical derivative,
# :doc:`chapter 5 </course/05_second_order>` finds the minimum of a Taylor polynomial, and :doc:`chapter 6
# </course/06_proof>` finds wrong gradients by the order of an error.
#
# Complex numbers
# ---------------
#
# A *complex number* :math:`z = a + ib` has a real part a and an imaginary part b, and :math:`i^2 = -1`. With this rule,
# the usual rules of arithmetic give every product:
#
# .. math:: (a + ib)(p + iq) = (ap - bq) + i\,(aq + bp) .
#
# Draw z as the point (a, b) of a plane. It has a *length*, :math:`|z| = \sqrt{a^2 + b^2}`, and an *angle* to the first
# axis. The number with length 1 and angle :math:`\varphi` is :math:`e^{i\varphi} = \cos\varphi + i \sin\varphi`. If we
# multiply two complex numbers, their lengths are multiplied and their angles are added.
#
# The *conjugate* of :math:`a + ib` is :math:`a - ib`: it has the same length and the opposite angle. The product of the
# two is real: :math:`(a + ib)(a - ib) = a^2 + b^2 = |z|^2`. NumPy writes i as ``1j``, and its functions accept complex
# arrays.

z = 0.9 * np.exp(0.5j)  # length 0.9, angle 0.5
print(f"z = {z:.4f}: real part {z.real:.4f}, imaginary part {z.imag:.4f}, length {abs(z):.4f}, angle {np.angle(z):.4f}")
print(f"z * z = {z * z:.4f}: length {abs(z * z):.4f}, angle {np.angle(z * z):.4f}")
print(f"z times its conjugate = {z * np.conj(z):.4f}, the square of the length {abs(z) ** 2:.4f}")

powers = z ** np.arange(30)
assert np.allclose(abs(powers), 0.9 ** np.arange(30))
fig, ax = plt.subplots(figsize=(4.6, 3.6), layout="constrained")
fig.set_label(
    "The powers of z in the plane of complex numbers: a spiral that turns around 0 and comes closer with each power."
)
ax.plot(powers.real, powers.imag, "o-", color="black", ms=4, lw=0.8)
ax.annotate("1", (1, 0), (6, 0), textcoords="offset points")
ax.annotate("z", (z.real, z.imag), (6, 2), textcoords="offset points")
ax.annotate("z²", (powers[2].real, powers[2].imag), (6, 2), textcoords="offset points")
ax.axhline(0, color="0.7", lw=0.8, zorder=0)
ax.axvline(0, color="0.7", lw=0.8, zorder=0)
ax.set(xlabel="real part", ylabel="imaginary part", aspect="equal", xlim=(-0.7, 1.2), title="Powers of z")

# %%
# The powers of z turn around 0, and their lengths shrink by the factor 0.9 each time. Each of their two parts swings
# like a pendulum that comes to rest.
#
# Here is a trick that the course uses. Take a real x, and add a small h in the imaginary direction: :math:`(x + ih)^2 =
# x^2 - h^2 + i\, 2xh`. The imaginary part is h times :math:`2x`, and this is the derivative of :math:`x^2`.

x, h = 3.0, 1e-10
print("the imaginary part of (x + ih) ** 2, divided by h:", ((x + 1j * h) ** 2).imag / h)

# %%
# Where the course uses it: chapters :doc:`1 </course/01_derivative>` and :doc:`6 </course/06_proof>` compute
# derivatives in this way. In :doc:`chapter 12 </course/12_sgd>`, weights swing like the powers of z.
#
# Partial derivatives and the gradient
# ------------------------------------
#
# A function of several numbers has a derivative with respect to each of them. To compute it, treat the other numbers as
# constants. This is a *partial derivative*, written with the sign :math:`\partial`. For example,
#
# .. math:: f(x_0, x_1) = x_0^2\, x_1 + \sin x_1, \qquad
#    \frac{\partial f}{\partial x_0} = 2 x_0 x_1, \qquad \frac{\partial f}{\partial x_1} = x_0^2 + \cos x_1 .
#
# The array of all partial derivatives is the *gradient* :math:`\nabla f`; it has the shape of x. If several inputs
# change a little, their effects add. So if x moves by h along a direction v, f changes by
#
# .. math:: f(x + h v) - f(x) \approx h \sum_k \frac{\partial f}{\partial x_k}\, v_k = h\, \langle \nabla f, v \rangle .
#
# The sum :math:`\langle u, v \rangle = \sum_k u_k v_k` is the *inner product* of two arrays. Among all directions v of
# length 1, :math:`\langle \nabla f, v \rangle` is largest for the direction of the gradient. So the gradient points
# uphill, and the opposite direction leads downhill. Training a net takes steps in this opposite direction.


def f(x):
    return x[0] ** 2 * x[1] + np.sin(x[1])


def gradient(x):
    return np.array([2 * x[0] * x[1], x[0] ** 2 + np.cos(x[1])])


x, v, h = np.array([1.2, 0.7]), np.array([0.6, -0.8]), 1e-6
print(f"change of f along v, divided by h: {(f(x + h * v) - f(x)) / h:.4f}")
print(f"inner product of the gradient and v: {np.sum(gradient(x) * v):.4f}")
assert abs((f(x + h * v) - f(x)) / h - np.sum(gradient(x) * v)) < 1e-5

first, second = np.meshgrid(np.linspace(-1.5, 1.5, 120), np.linspace(-1, 1.5, 120))
fig, ax = plt.subplots(figsize=(6, 3.8), layout="constrained")
fig.set_label(
    "Lines on which f is constant, and four arrows: each is the gradient at a point, and stands perpendicular to the "
    "lines."
)
ax.contour(first, second, f([first, second]), 16, colors="0.7")
for point in [(1.0, 0.2), (-1.0, 0.8), (0.2, -0.5), (0.9, 1.0)]:
    ax.annotate("", point + 0.22 * gradient(np.array(point)), point, arrowprops={"arrowstyle": "-|>", "color": "black"})
ax.set(xlabel="first number", ylabel="second number", aspect="equal")
ax.set_title("Lines of equal f, and its gradient at four points")

# %%
# The gradient is perpendicular to the lines on which f is constant.
#
# The *chain rule* with several paths: let y depend on u and v, and let both depend on x. A change of x reaches y along
# two paths, and the effects add:
#
# .. math:: \frac{d y}{d x} = \frac{\partial y}{\partial u} \frac{d u}{d x} + \frac{\partial y}{\partial v}
#    \frac{d v}{d x} .
#
# Where the course uses it: everywhere. The chain rule with paths is the topic of chapters 1 and 2.
#
# Matrices and their transposes
# -----------------------------
#
# A matrix A of shape (2, 3) maps an array x of three numbers to an array y of two: :math:`y_i = \sum_j A_{ij} x_j`.
# Such a map is *linear*: :math:`A(x + x') = A x + A x'`, and :math:`A(\alpha x) = \alpha A x` for a number
# :math:`\alpha`. Every linear map of arrays is the product with some matrix.
#
# The *transpose* :math:`A^{\top}` has the entries :math:`A^{\top}_{ji} = A_{ij}` and the shape (3, 2). It maps two
# numbers to three. It is not the inverse of A. What makes it useful is this property:
#
# .. math:: \langle A x, y \rangle = \langle x, A^{\top} y \rangle \quad \text{for all } x \text{ and } y,
#
# because both sides are the sum of :math:`A_{ij}\, x_j\, y_i` over all i and j. The transpose of a product is the
# product of the transposes in reverse order: :math:`(A B)^{\top} = B^{\top} A^{\top}`.

rng = np.random.default_rng(0)
A, B = rng.standard_normal((2, 3)), rng.standard_normal((3, 4))
x, y = rng.standard_normal(3), rng.standard_normal(2)
print(f"<A x, y> = {np.sum((A @ x) * y):.6f}, <x, A' y> = {np.sum(x * (A.T @ y)):.6f}")
assert np.isclose(np.sum((A @ x) * y), np.sum(x * (A.T @ y)))
assert np.allclose((A @ B).T, B.T @ A.T)

# %%
# Where the course uses it: the gradient of a linear map is a product with its transpose (chapters :doc:`3
# </course/03_broadcasting>`, :doc:`4 </course/04_matrices>` and :doc:`8 </course/08_im2col>`). :doc:`Chapter 6
# </course/06_proof>` tests gradients by the property above. A linear map that is not written as a matrix has a
# transpose, too; it is then called the *adjoint*.
#
# Jacobians
# ---------
#
# Let f map three numbers to two. Its partial derivatives form a matrix, the *Jacobian* J. It has a row for every result
# and a column for every input:
#
# .. math:: J_{ij} = \frac{\partial y_i}{\partial x_j}, \qquad f(x + h v) \approx f(x) + h\, J v .
#
# So near a point, the change of a smooth function is almost a linear map of the change of x, and the Jacobian is its
# matrix. The Jacobian of :math:`f_2(f_1(x))` is the matrix product :math:`J_2 J_1`: this is the chain rule for arrays.
#
# We often want the derivative of a single number L, which is computed from y. Let :math:`g_i = \partial L / \partial
# y_i`. By the chain rule with paths,
#
# .. math:: \frac{\partial L}{\partial x_j} = \sum_i g_i\, \frac{\partial y_i}{\partial x_j} = (J^{\top} g)_j .
#
# So a gradient goes back through f by a product with the transposed Jacobian.
#
# The program computes J by hand, and also from values of f. Let :math:`e_j` be the array with 1 in place j and 0
# elsewhere. Then :math:`J e_j` is column j, and
#
# .. math:: J e_j \approx \frac{f(x + h e_j) - f(x - h e_j)}{2 h} .
#
# This is a *central difference*: it uses a point on each side of x. :doc:`Chapter 1 </course/01_derivative>` shows why
# its error is smaller than that of :math:`(f(x + h e_j) - f(x)) / h`.


def f(x):
    return np.array([x[0] * x[1], x[0] + np.sin(x[2])])


x, g, h = np.array([0.5, -1.0, 2.0]), np.array([3.0, 10.0]), 1e-6
J = np.array([[x[1], x[0], 0.0], [1.0, 0.0, np.cos(x[2])]])  # (results, inputs)
by_differences = np.stack([(f(x + h * e) - f(x - h * e)) / (2 * h) for e in np.eye(3)], axis=1)
print("J by hand:\n", J.round(4), "\nJ by central differences:\n", by_differences.round(4), sep="")
print("gradient of <g, f(x)>:", (J.T @ g).round(4))
assert np.allclose(J, by_differences, atol=1e-8)

# %%
# Where the course uses it: the tape of :doc:`chapter 2 </course/02_tape>` computes :math:`J^{\top} g` for one operation
# after the other, and never builds J. :doc:`Chapter 4 </course/04_matrices>` explains why this takes so little time.
#
# Mean and variance
# -----------------
#
# Let x be a random number. Its *mean* E[x] is its average over many draws. Its *variance* is the mean square of the
# distance from the mean, and the *standard deviation* is the root of the variance:
#
# .. math:: \operatorname{Var}[x] = \operatorname{E}\left[ (x - \operatorname{E}[x])^2 \right]
#    = \operatorname{E}[x^2] - \operatorname{E}[x]^2 .
#
# These rules follow. The mean of a sum is the sum of the means, and a factor of a random number is a factor of its
# mean. A factor a multiplies the variance by :math:`a^2`, and adding a constant b does not change it:
#
# .. math:: \operatorname{E}[a x + b y] = a \operatorname{E}[x] + b \operatorname{E}[y], \qquad
#    \operatorname{Var}[a x + b] = a^2 \operatorname{Var}[x] .
#
# Random numbers are *independent* if none of them contains information about the others. For independent numbers, the
# mean of a product is the product of the means, and the variances add. So the mean of N independent numbers with the
# same variance has one N-th of this variance.
#
# .. math:: \operatorname{E}[x y] = \operatorname{E}[x] \operatorname{E}[y], \qquad
#    \operatorname{Var}[x + y] = \operatorname{Var}[x] + \operatorname{Var}[y] \qquad
#    \text{for independent } x \text{ and } y .

x, y = rng.normal(2.0, 3.0, 100_000), rng.uniform(0.0, 6.0, 100_000)  # independent; variances 9 and 3
total, product = 2 * x + y, x * y
print(f"mean of x: {x.mean():.2f}, of y: {y.mean():.2f}, of 2 x + y: {total.mean():.2f}, of x y: {product.mean():.2f}")
print(f"variance of x: {x.var():.2f}, of y: {y.var():.2f}, of x + y: {(x + y).var():.2f}")
means = x.reshape(-1, 25).mean(axis=1)  # of 25 draws each
print(f"variance of 2 x + 1: {(2 * x + 1).var():.2f}, of the mean of 25 draws of x: {means.var():.2f}")
assert np.allclose([total.mean(), product.mean()], [2 * 2 + 3, 2 * 3], rtol=0.02)
assert np.isclose(np.var(x + y), 12, rtol=0.05)
assert np.isclose(means.var(), 9 / 25, rtol=0.1)

# %%
# NumPy draws random numbers from a *generator*, here ``rng``. A generator with the same seed, here 0, gives the same
# numbers again. This is minigrad's variance: it is the definition, for arrays and for Tensors.
#
# .. literalinclude:: /../minigrad/ops/reduction.py
#    :pyobject: var
#    :start-at: deviation =
#    :dedent:

assert np.isclose(mg.var(x), x.var())
print(f"mg.var(x): {mg.var(x):.2f}")

# %%
# Where the course uses it: Batch norm sets the variance of each channel to 1 (:doc:`chapter 11
# </course/11_batch_norm>`). :doc:`Chapter 12 </course/12_sgd>` follows the variance of weights in training, and
# :doc:`chapter 13 </course/13_initialisation>` the variance of a signal through fifty layers. :doc:`Chapter 17
# </course/17_cifar10>` asks how far two measured errors may differ by chance.
#
# Exercises
# ---------
#
# 1. **A Taylor polynomial.** You are given the derivatives of a function at one point. Compute the value of its Taylor
#    polynomial at other points.
# 2. **A Jacobian.** Compute the Jacobian of any function of an array, from values of the function only.
# 3. **The variance of a sum.** Compute the mean and the variance of a weighted sum of independent random numbers, from
#    their means and variances.
#
# .. literalinclude:: /exercises/chapter_00.py
#
# Fill in ``chapter_00.py`` in :ref:`your folder <folder>`, and run ``python -m docs.exercises check FOLDER 0``.

show()
