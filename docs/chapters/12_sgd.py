r"""
12. SGD with momentum
=====================

Why does gradient descent zigzag through a valley, and why does it help to remember earlier steps?

The training loop of :doc:`chapter 7 </course/07_nets>` takes a step downhill, computes the gradient again, and takes
the next step. On the simplest loss, a bowl, we can work out its behaviour completely: how large a step may be, why
valleys are slow, what momentum changes, and why learning rates are lowered at the end. You will meet all of this again
in every training run.
"""

# %%
# Gradient descent on a bowl
# --------------------------
#
# *Gradient descent* moves the weights w against the gradient. The *learning rate* :math:`\eta` sets the length of the
# step:
#
# .. math:: w \leftarrow w - \eta\, \nabla L(w) .
#
# Near a minimum, every smooth loss looks like a bowl. In the right coordinates, the axes of the bowl are the coordinate
# axes:
#
# .. math:: L(w) = \tfrac{1}{2} \sum_k \lambda_k w_k^2, \qquad \nabla L(w)_k = \lambda_k w_k .
#
# The :math:`\lambda_k > 0` are the curvatures, one for each direction k. In other coordinates, :math:`L(w) =
# \tfrac{1}{2} w^{\top} H w` and :math:`\nabla L(w) = H w`, where H is the *Hessian*, the symmetric matrix of the second
# derivatives (:doc:`chapter 5 </course/05_second_order>`). Along an axis u of the bowl, H only changes the length:
#
# .. math:: H u = \lambda u .
#
# Such a u is an *eigenvector* of H, and :math:`\lambda` its *eigenvalue*. So the curvatures of a bowl are the
# eigenvalues of its Hessian. ``np.linalg.eigvalsh(H)`` computes them, from the smallest to the largest.
#
# The directions do not influence each other, and in each of them a step is a multiplication:
#
# .. math:: w_k \leftarrow (1 - \eta \lambda_k)\, w_k .
#
# So the factors :math:`1 - \eta \lambda_k` decide everything. If a factor is below -1, the steps overshoot more and
# more; so we need :math:`\eta < 2 / \lambda_{\max}`. If a factor is close to 1, that direction is slow: it takes about
# :math:`1 / (\eta \lambda_{\min})` steps. So the steepest direction limits the learning rate, and the flattest
# direction becomes slow. What matters is the ratio of their curvatures, the *condition number*
# :math:`\kappa = \lambda_{\max} / \lambda_{\min}`. Even with the best learning rate,
# :math:`\eta = 2 / (\lambda_{\min} + \lambda_{\max})`, the steepest and the flattest direction both shrink only by the
# factor :math:`(\kappa - 1) / (\kappa + 1)`.

import matplotlib.pyplot as plt
import numpy as np

import minigrad as mg
from minigrad import nn, optim
from minigrad.train.report import shade, show, tidy


def descend(curvatures, start, steps, lr, momentum=0.0):
    """Return the path of minigrad's SGD on a bowl: (steps + 1, directions)."""
    curvatures = np.array(curvatures)
    w = nn.Parameter(np.array(start, float))
    sgd = optim.SGD([w], lr, momentum=momentum)
    path = [w.data.copy()]
    for _ in range(steps):
        loss = 0.5 * (curvatures * w * w).sum()
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        path.append(w.data.copy())
    return np.array(path)


turn = np.array([[0.6, -0.8], [0.8, 0.6]])  # it turns the axes
hessian = turn @ np.diag([1.0, 20.0]) @ turn.T
print("a Hessian:", hessian.round(2).tolist(), "and its eigenvalues:", np.linalg.eigvalsh(hessian).round(6).tolist())
assert np.allclose(np.linalg.eigvalsh(hessian), [1, 20])
assert np.allclose(hessian @ turn[:, 1], 20 * turn[:, 1])

for lr in (0.05, 0.0999, 0.1001):
    end = descend([1.0, 20.0], [1.0, 1.0], 3000, lr)[-1]
    expected = (1 - lr * np.array([1.0, 20.0])) ** 3000
    np.testing.assert_allclose(end, expected, rtol=1e-9, atol=1e-200)
    print(f"curvatures 1 and 20, limit 2 / 20 = 0.1: with lr = {lr}, after 3000 steps |w| = {np.linalg.norm(end):.1e}")

# %%
# Momentum
# --------
#
# In a long valley, the gradient points mostly across the valley, from wall to wall, and only a little along it. Two
# successive steps across cancel each other, while steps along the valley add up. So keep a running sum of the
# gradients, in which older gradients are weighted less and less, and use this sum for the step:
#
# .. math:: v \leftarrow m\, v + g, \qquad w \leftarrow w - \eta\, v .
#
# The *velocity* v remembers about :math:`1 / (1 - m)` gradients: ten for :math:`m = 0.9`. If the gradient stays the
# same, v grows to :math:`g / (1 - m)`, so the steps become ten times as large. If the gradient alternates between g and
# -g, the size of v stays near :math:`g / (1 + m)`, which is about half of g.
#
# The figure shows four runs from the same point. They differ only in the learning rate and the momentum.

lam, start = [1.0, 20.0], [-9.0, 1.6]
runs = {
    "lr 0.03": (0.03, 0.0),
    "lr 0.095": (0.095, 0.0),
    "lr 0.105: too high": (0.105, 0.0),
    "lr 0.03, momentum 0.8": (0.03, 0.8),
}
along, across = np.meshgrid(np.linspace(-10, 3, 200), np.linspace(-2.6, 2.6, 120))
bowl = 0.5 * (lam[0] * along**2 + lam[1] * across**2)
figure, panels = plt.subplots(2, 2, figsize=(9.5, 4.6), sharex=True, sharey=True, layout="constrained")
figure.set_label(
    "Four paths of gradient descent on a long, narrow bowl: a low rate creeps, a higher rate zigzags to the middle, "
    "too high a rate diverges, momentum reaches the middle."
)
for panel, (name, (lr, momentum)) in zip(panels.flat, runs.items(), strict=True):
    path = descend(lam, start, 30, lr, momentum)
    panel.contour(along, across, bowl, [0.5, 3, 9, 20, 38, 60], colors="0.75", linewidths=0.8)
    panel.plot(*path.T, "o-", ms=3, lw=1, color="black")
    panel.plot(0, 0, "x", ms=9, mew=2, color="black")
    panel.set(ylim=(-2.6, 2.6), xlim=(-10, 3))
    panel.set_title(f"{name}: at the end |w| = {np.linalg.norm(path[-1]):.2g}", fontsize=10)

# %%
# Momentum on a bowl: the exact factors
# -------------------------------------
#
# Again we can treat each direction separately. With :math:`g = \lambda w`, one step is a linear map of the pair (v, w):
#
# .. math::
#     \begin{pmatrix} v \\ w \end{pmatrix} \leftarrow
#     \begin{pmatrix} m & \lambda \\ -\eta m & 1 - \eta \lambda \end{pmatrix}
#     \begin{pmatrix} v \\ w \end{pmatrix} .
#
# An eigenvalue z of this matrix is a factor: for some pair (v, w), every step multiplies the pair by z. So put z times
# the pair on the left side:
#
# .. math:: z v = m v + \lambda w, \qquad z w = -\eta m v + (1 - \eta \lambda)\, w .
#
# To eliminate v, multiply the second equation by :math:`z - m`, and replace :math:`(z - m)\, v` by :math:`\lambda w`,
# as the first equation says. Then divide by w:
#
# .. math:: z\, (z - m) = -\eta m \lambda + (1 - \eta \lambda)(z - m), \qquad \text{so} \qquad
#     z^2 - (1 + m - \eta \lambda)\, z + m = 0 .
#
# There are two solutions, :math:`z_1` and :math:`z_2`, and every start is a mixture of their two pairs. After many
# steps only the eigenvalue with the larger absolute value matters. The left side is :math:`(z - z_1)(z - z_2)`, so
# :math:`z_1 z_2 = m`. There are three cases:
#
# * For :math:`(1 - \sqrt m)^2 < \eta\lambda < (1 + \sqrt m)^2`, :math:`(1 + m - \eta\lambda)^2 < 4 m`. Then the
#   solutions are *complex*, and each is the conjugate of the other (:doc:`chapter 0 </course/00_assumed>`). So
#   :math:`m = z_1 z_2 = |z_1|^2`, and both have the absolute value :math:`\sqrt m`, whatever :math:`\lambda` is. In
#   this direction, w swings like a pendulum, and the swings shrink by :math:`\sqrt m` per step.
# * If :math:`\eta\lambda` is *smaller*, both are real and positive, and the larger one is above :math:`\sqrt m`. If
#   :math:`\eta\lambda` is much smaller, the larger one is about :math:`1 - \eta\lambda / (1 - m)`: this is plain
#   gradient descent with the learning rate :math:`\eta / (1 - m)`.
# * If :math:`\eta\lambda` is *larger*, one of them reaches -1 when :math:`1 + (1 + m - \eta \lambda) + m = 0`. So the
#   steps are stable up to :math:`\eta \lambda = 2 (1 + m)`, which is nearly twice the limit without momentum.
#
# In the figure, the lines are the theory, and the points are measured from steps of ``optim.SGD``.


def factor(eta_lambda, m):
    """Return the factor by which one step with momentum multiplies the size of a direction, in the long run."""
    return max(abs(np.roots([1, -(1 + m - eta_lambda), m])))


figure, panel = plt.subplots(figsize=(7.5, 3.8), layout="constrained")
figure.set_label(
    "Factor per step against learning rate times curvature, for three momenta: the curves first fall, stay level "
    "longer the more momentum there is, and cross 1 at 2 (1 + m). Measured points lie on them."
)
tidy(panel)
grid = np.linspace(0.005, 4.2, 600)
for i, m in enumerate((0.0, 0.5, 0.9)):
    line = {"ls": (":", "--", "-")[i], "color": shade(i, 3), "label": f"momentum {m}"}
    panel.plot(grid, [factor(e, m) for e in grid], lw=2, **line)
    for e in (0.02, 0.3, 0.8, 1.5, 2.5, 3.5):
        path = abs(descend([e], [1.0], 200, 1.0, m)[:, 0])
        measured = (path[150:200].max() / path[100:150].max()) ** (1 / 50)
        panel.plot(e, measured, "o", ms=5, color=shade(i, 3))
        assert abs(measured - factor(e, m)) < 0.01
    panel.plot(2 * (1 + m), 1, "|", ms=16, mew=2, color="black")
panel.axhline(1, color="black", lw=0.8)
panel.set(xlabel="learning rate × curvature", ylabel="factor per step", ylim=(0, 1.25))
panel.set_title("Below 1 it converges; the ticks mark 2 (1 + m)")
panel.legend(loc="lower right")
assert np.isclose(factor(1.0, 0.9), np.sqrt(0.9))

# %%
# Note how *flat* the line for momentum 0.9 is. Without momentum, the factor is best for a single curvature and worse
# for all others. With momentum 0.9, all curvatures in a range of more than a factor of a thousand shrink by the same
# :math:`\sqrt m`. So choose m such that all curvatures lie inside this range: set
# :math:`\eta \lambda_{\min} = (1 - \sqrt m)^2` and :math:`\eta \lambda_{\max} = (1 + \sqrt m)^2`, its two ends. Divide
# one equation by the other, and solve:
#
# .. math::
#     \sqrt m = \frac{\sqrt\kappa - 1}{\sqrt\kappa + 1}, \qquad
#     \eta = \left(\frac{2}{\sqrt{\lambda_{\max}} + \sqrt{\lambda_{\min}}}\right)^2 .
#
# For plain gradient descent, the factor was :math:`(\kappa - 1)/(\kappa + 1)`. Momentum replaces :math:`\kappa` by
# :math:`\sqrt\kappa` (B. Polyak, 1964). We count the steps:

print("condition number   plain steps   with momentum   (until |w| has fallen to a millionth)")
taken = {}
for kappa in (10, 100, 1000):
    root = np.sqrt(kappa)
    best = {"plain": (2 / (1 + kappa), 0.0), "momentum": ((2 / (root + 1)) ** 2, ((root - 1) / (root + 1)) ** 2)}
    for name, (lr, m) in best.items():
        sizes = np.linalg.norm(descend([1.0, kappa], [1.0, 1.0], 8 * kappa + 40, lr, m), axis=1)
        taken[kappa, name] = int(np.argmax(sizes < 1e-6 * sizes[0]))
    print(f"{kappa:16}{taken[kappa, 'plain']:14,}{taken[kappa, 'momentum']:16,}")
assert taken[1000, "plain"] > 15 * taken[1000, "momentum"]
assert 9.5 < taken[1000, "plain"] / taken[100, "plain"] < 10.5
assert 2.5 < taken[1000, "momentum"] / taken[100, "momentum"] < 3.5

# %%
# If the condition number is ten times as large, plain gradient descent needs ten times as many steps, and momentum only
# about three times as many. (At both ends of the range the two eigenvalues are equal, which costs some more steps than
# the factor predicts.)
#
# Stochastic gradients and the noise floor
# ----------------------------------------
#
# The loss over fifty thousand images is a mean. A batch of 128 images gives an estimate of it, at one four-hundredth of
# the cost. This is *stochastic* gradient descent (SGD): the gradient of one batch is the true gradient plus noise
# :math:`\xi` with mean 0. On the bowl, without momentum,
#
# .. math:: w \leftarrow (1 - \eta\lambda)\, w - \eta\, \xi .
#
# The first term shrinks w, the second adds noise, and after some time they are in balance. Let V be the variance of w,
# and :math:`s^2` the variance of the noise. In balance, :math:`V = (1 - \eta\lambda)^2 V + \eta^2 s^2`, so
#
# .. math:: V = \frac{\eta\, s^2}{\lambda\, (2 - \eta\lambda)} \approx \frac{\eta\, s^2}{2 \lambda} .
#
# The run does not converge to the minimum: it stays at a noise floor that is proportional to the learning rate. A
# high rate is fast, but its floor is high; a low rate has a low floor, but is slow. So use both, one after the other.
# This is the purpose of a *schedule*. (With momentum, replace :math:`\eta` by :math:`\eta / (1 - m)`, both for the
# speed in slow directions and for the floor. The last line printed below shows this: its rate is a tenth of the first
# line's, and its floor is the same.)

rng = np.random.default_rng(10)


def shaken(lr_of, steps=600, m=0.0, copies=400):
    """Return the mean of w ** 2 after each step, over many copies with noise of variance 1; the curvature is 1."""
    w = nn.Parameter(np.full(copies, 10.0))
    sgd = optim.SGD([w], 1.0, momentum=m)
    squares = []
    for step in range(steps):
        sgd.lr = lr_of(step)
        w.grad = mg.Tensor(w.data + rng.standard_normal(copies))
        sgd.step()
        squares.append(np.mean(w.data**2))
    return np.array(squares)


high = shaken(lambda step: 0.2)
low = shaken(lambda step: 0.02)
dropped = shaken(lambda step: 0.2 if step < 300 else 0.02)
for lr, squares in ((0.2, high), (0.02, low)):
    print(f"lr {lr}: mean square at the end {squares[-200:].mean():.4f}, the balance says {lr / (2 - lr):.4f}")
    assert abs(squares[-200:].mean() / (lr / (2 - lr)) - 1) < 0.05
carried = shaken(lambda step: 0.02, m=0.9)[-200:].mean()
print(f"lr 0.02, momentum 0.9: {carried:.2f}")
assert 0.09 < carried < 0.12

figure, panel = plt.subplots(figsize=(7.5, 3.4), layout="constrained")
figure.set_label(
    "Mean square of w over the steps, logarithmic: the low rate falls slowly to a low level, the high rate quickly to"
    " a high level; after the drop of the rate it falls to the low level, too."
)
tidy(panel)
for squares, style, i, name in (
    (low, ":", 0, "lr 0.02"),
    (high, "--", 1, "lr 0.2"),
    (dropped, "-", 2, "lr 0.2, then 0.02 from step 300"),
):
    panel.semilogy(squares, style, color=shade(i, 3), lw=1.6, label=name)
panel.set(xlabel="step", ylabel="mean of w squared", title="A noisy bowl: the learning rate sets the noise floor")
panel.legend()

# %%
# The training curves of the paper (Figures 4 and 6) show such a fall at every drop of the learning rate. For CIFAR-10
# the rate is divided by 10 after 32,000 and 48,000 iterations (section 4.2).
#
# Weight decay
# ------------
#
# *Weight decay* adds :math:`d\, w` to the gradient of each weight, with a small :math:`d` such as 0.0001. This term is
# the gradient of :math:`\frac{d}{2} |w|^2`. Training then minimises the loss plus this term, so the weights stay
# smaller. On the bowl, every curvature becomes :math:`\lambda + d`. This hardly changes steep directions. Flat
# directions, about which the data says little, are pulled towards 0. Where the gradient of the loss is 0, plain
# gradient descent multiplies w by :math:`1 - \eta d` in each step. For weights before batch norm, the decay works
# against the growth that you saw in :doc:`/course/11_batch_norm`.
#
# SGD in minigrad
# ---------------
#
# The rule below trains every net in this project. You know all of it except ``nesterov``, a variant that the paper does
# not use. The rule moves one parameter: it writes into the weights w and into their velocity.
#
# .. literalinclude:: /../minigrad/optim/sgd.py
#    :pyobject: SGD.update
#    :dedent:
#
# The loop around it is the same for every optimizer. It calls the rule for each parameter that has a gradient:
#
# .. literalinclude:: /../minigrad/optim/optimizer.py
#    :pyobject: Optimizer.step
#    :dedent:
#
# An optimizer of your own is a class with another rule (:class:`minigrad.optim.Optimizer`).
#
# One detail is easily overlooked: the learning rate is *outside* of v. In the other form,
# :math:`v \leftarrow m v + \eta g`, :math:`w \leftarrow w - v`, it is inside. Caffe uses this other form; the authors
# of the paper released their nets in Caffe. As long as the rate is constant, both forms give the same w. When the rate
# drops, the steps of the first form become smaller at once. The second form continues for some ten steps with the
# velocity that it collected at the old rate.

inside, outside = [10.0], [10.0]
v_in = v_out = 0.0
for step in range(40):
    lr = 0.1 if step < 20 else 0.01
    v_in = 0.9 * v_in + lr * 1.0  # a slope of constant gradient 1
    v_out = 0.9 * v_out + 1.0
    inside.append(inside[-1] - v_in)
    outside.append(outside[-1] - lr * v_out)
np.testing.assert_allclose(inside[:21], outside[:21])
print(f"the step before the drop: {inside[19] - inside[20]:.3f} in both forms")
after = outside[20] - outside[21], inside[20] - inside[21]
print(f"the step after it: {after[0]:.3f} with the rate outside of v, {after[1]:.3f} with it inside")

# %%
# A schedule is just as short. This method returns the factor by which the learning rate is multiplied in an iteration:
#
# .. literalinclude:: /../minigrad/optim/schedules.py
#    :pyobject: MultiStepLR.factor
#    :dedent:
#
# An experiment on the digits
# ---------------------------
#
# Does a real net behave like a bowl? We train a small convolutional net on the digits in five ways. The theory of the
# bowl predicts four things. At a rate of 0.02, plain SGD is slow. Momentum 0.9 makes it as fast as ten times the rate
# would, because :math:`\eta / (1 - m)` is the same. An even higher rate soon reaches its noise floor. A drop of the
# rate for the last third of the iterations lowers the floor.

digits = mg.data.Digits()
scaled = mg.data.transforms.Normalize(digits.images.mean(0), digits.images.std())


def train(lr, momentum, drop, iterations=240):
    rng = np.random.default_rng(0)
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, rng=rng), nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1, rng=rng), nn.ReLU(),
        nn.Flatten(), nn.Linear(256, 10, rng=rng),
    )  # fmt: skip
    sgd = optim.SGD(net.parameters(), lr, momentum=momentum, weight_decay=1e-4)
    schedule = optim.MultiStepLR(sgd, [iterations * 2 // 3] if drop else [])
    batches = mg.data.DataLoader(digits, 32, rng=0, transform=scaled)
    losses = []
    while len(losses) < iterations:
        for images, labels in batches:
            loss = mg.cross_entropy(net(mg.Tensor(images)), labels)
            sgd.zero_grad()
            loss.backward()
            sgd.step()
            schedule.step()
            losses.append(loss.item())
    return np.array(losses[:iterations])


ways = {
    "lr 0.02": (0.02, 0.0, False),
    "lr 0.02, momentum 0.9": (0.02, 0.9, False),
    "lr 0.2": (0.2, 0.0, False),
    "lr 0.1, momentum 0.9": (0.1, 0.9, False),
    "lr 0.1, momentum 0.9, drop": (0.1, 0.9, True),
}
histories = {name: train(*way) for name, way in ways.items()}

figure, panel = plt.subplots(figsize=(7.5, 3.8), layout="constrained")
figure.set_label(
    "Training loss of five runs on the digits, logarithmic: the run with momentum and a drop of the learning rate "
    "ends lowest."
)
tidy(panel)
for i, (name, losses) in enumerate(histories.items()):
    smooth = np.convolve(losses, np.ones(15) / 15, "valid")
    style = (":", "--", "-.", (0, (6, 1)), "-")[i]
    panel.semilogy(np.arange(len(smooth)) + 7, smooth, ls=style, color=shade(i, 5), label=name)
    print(f"{name:28} mean loss of the last 30 batches {losses[-30:].mean():.3f}")
panel.set(xlabel="iteration", ylabel="loss of the batch (mean of 15)", title="A small net on the digits")
panel.legend()
ends = {name: losses[-30:].mean() for name, losses in histories.items()}
assert ends["lr 0.02, momentum 0.9"] < 0.5 * ends["lr 0.02"]
assert ends["lr 0.1, momentum 0.9, drop"] < 0.5 * ends["lr 0.1, momentum 0.9"]

# %%
# The predictions hold roughly. A net is not a bowl: its curvatures change during training, and the noise is different
# in different places. Once the net classifies all images correctly, the noise nearly vanishes, so the curves keep
# falling slowly where the curves of the bowl stay level. The drop of the rate has the same effect as on the bowl.
#
# Exercises
# ---------
#
# 1. **The largest learning rate.** A bowl has a Hessian H, and its axes are not the coordinate axes. Its curvatures are
#    the eigenvalues of H. Up to which learning rate is SGD with momentum m stable?
# 2. **The best settings.** The smallest and the largest curvature are given. Find the learning rate and the momentum
#    that are best for the slower of these two directions.
# 3. **Warm restarts.** Write the factor of a schedule that falls along half a cosine wave, jumps back to 1, and falls
#    again. Each period is twice as long as the one before.
#
# .. literalinclude:: /exercises/chapter_12.py
#
# Fill in ``chapter_12.py`` in :ref:`your folder <folder>`, and run ``python -m docs.exercises check FOLDER 12``.
# Then continue your own framework: :ref:`the milestone of chapter 12 <milestone-12>`.

show()
