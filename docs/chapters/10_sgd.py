r"""
10. SGD with momentum
=====================

Why does a step against the gradient zigzag through a valley, and what does it help to remember the last step?

We can compute gradients of anything now. To learn is to use them: take a step downhill, and again. It is the simplest
idea of this course, and its behaviour can be worked out completely on the simplest of all landscapes, a bowl. What we
find there (how large a step may be, why valleys are slow, what momentum does about it, why learning rates are lowered
at the end) is what you will meet in every training run.
"""

# %%
# Steps on a bowl
# ---------------
#
# *Gradient descent* moves the weights w against the gradient, by the *learning rate* :math:`\eta`:
#
# .. math:: w \leftarrow w - \eta\, \nabla L(w) .
#
# Near a minimum every smooth loss looks like a bowl, and in the right coordinates the bowl's axes are the coordinate
# axes:
#
# .. math:: L(w) = \tfrac{1}{2} \sum_k \lambda_k w_k^2, \qquad \nabla L(w)_k = \lambda_k w_k .
#
# The :math:`\lambda_k > 0` are its curvatures, one for each direction k. The directions do not interfere, and each is
# a multiplication:
#
# .. math:: w_k \leftarrow (1 - \eta \lambda_k)\, w_k .
#
# So everything is in the factors :math:`1 - \eta \lambda_k`. One of them beyond -1, and the steps overshoot more and
# more: we need :math:`\eta < 2 / \lambda_{\max}`. One of them near 1, and that direction creeps: it takes about
# :math:`1 / (\eta \lambda_{\min})` steps. The steepest direction sets the limit, and the flattest pays for it. What
# matters is their ratio, the *condition number* :math:`\kappa = \lambda_{\max} / \lambda_{\min}`. Even the best
# :math:`\eta = 2 / (\lambda_{\min} + \lambda_{\max})` leaves the factor :math:`(\kappa - 1) / (\kappa + 1)` on both
# ends.

import matplotlib.pyplot as plt
import numpy as np

import minigrad as mg
from minigrad import nn, optim
from minigrad.train.report import shade, tidy


def descend(curvatures, start, steps, lr, momentum=0.0):
    """Return the path of minigrad's SGD down a bowl: (steps + 1, directions)."""
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


for lr in (0.05, 0.0999, 0.1001):
    end = descend([1.0, 20.0], [1.0, 1.0], 3000, lr)[-1]
    expected = (1 - lr * np.array([1.0, 20.0])) ** 3000
    np.testing.assert_allclose(end, expected, rtol=1e-9, atol=1e-200)
    print(f"curvatures 1 and 20, limit 2 / 20 = 0.1: with lr = {lr}, after 3000 steps |w| = {np.linalg.norm(end):.1e}")

# %%
# Momentum
# --------
#
# In a long valley the gradient points across, from wall to wall, and only a little along. Two steps across cancel
# each other; two steps along add up. So keep a running sum of gradients, in which the old ones fade, and step by
# that:
#
# .. math:: v \leftarrow m\, v + g, \qquad w \leftarrow w - \eta\, v .
#
# The *velocity* v remembers about :math:`1 / (1 - m)` gradients: ten for :math:`m = 0.9`. If the gradient stays the
# same, v grows to :math:`g / (1 - m)`, and the steps to ten times their size. If it alternates between g and -g, the
# size of v stays near :math:`g / (1 + m)`, about half.
#
# The picture has four runs from the same point. They differ only in the two numbers at the top.

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
for panel, (name, (lr, momentum)) in zip(panels.flat, runs.items(), strict=True):
    path = descend(lam, start, 30, lr, momentum)
    panel.contour(along, across, bowl, [0.5, 3, 9, 20, 38, 60], colors="0.75", linewidths=0.8)
    panel.plot(*path.T, "o-", ms=3, lw=1, color="black")
    panel.plot(0, 0, "x", ms=9, mew=2, color="black")
    panel.set(ylim=(-2.6, 2.6), xlim=(-10, 3))
    panel.set_title(f"{name}: at the end |w| = {np.linalg.norm(path[-1]):.2g}", fontsize=10)

# %%
# Momentum on a bowl, exactly
# ---------------------------
#
# Again each direction is by itself. With :math:`g = \lambda w`, one step maps the pair (v, w) linearly:
#
# .. math::
#     \begin{pmatrix} v \\ w \end{pmatrix} \leftarrow
#     \begin{pmatrix} m & \lambda \\ -\eta m & 1 - \eta \lambda \end{pmatrix}
#     \begin{pmatrix} v \\ w \end{pmatrix} .
#
# An *eigenvalue* z of the matrix is a factor: there is a pair (v, w) that every step multiplies by z. A matrix of two
# rows has two of them, and any start is a mixture of the two pairs. After many steps only the larger factor counts. The
# matrix has determinant :math:`m (1 - \eta\lambda) + \eta m \lambda = m` and trace :math:`1 + m - \eta \lambda`, so its
# eigenvalues solve
#
# .. math:: z^2 - (1 + m - \eta \lambda)\, z + m = 0 .
#
# The product of the two is :math:`m`. Read off what you want to know:
#
# * If they are *complex*, they are conjugate, so both have the size :math:`\sqrt m`, whatever :math:`\lambda` is. The
#   direction swings like a pendulum, and the swings shrink by :math:`\sqrt m` per step. It happens for :math:`(1 -
#   \sqrt m)^2 < \eta\lambda < (1 + \sqrt m)^2`.
# * If :math:`\eta\lambda` is *smaller*, both are real and positive, the larger above :math:`\sqrt m`. Far below, it
#   is about :math:`1 - \eta\lambda / (1 - m)`: plain descent at the learning rate :math:`\eta / (1 - m)`.
# * If it is *larger*, one reaches -1 when :math:`1 + (1 + m - \eta \lambda) + m = 0`. So the steps are stable up to
#   :math:`\eta \lambda = 2 (1 + m)`: nearly twice as far as without momentum.
#
# The lines are the theory; the points are measured, from steps of ``optim.SGD``.


def factor(eta_lambda, m):
    """Return by how much one step of momentum shrinks a direction, in the long run."""
    return max(abs(np.roots([1, -(1 + m - eta_lambda), m])))


figure, panel = plt.subplots(figsize=(7.5, 3.8), layout="constrained")
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
# Look at how *flat* the line for 0.9 is. Without momentum, one curvature is served perfectly and all others are not.
# With it, curvatures that differ by a factor of more than a thousand all shrink by the same :math:`\sqrt m`. So
# choose m to have the whole range inside: set both ends of the interval, :math:`\eta \lambda_{\min} = (1 - \sqrt
# m)^2` and :math:`\eta \lambda_{\max} = (1 + \sqrt m)^2`. Divide, and solve:
#
# .. math::
#     \sqrt m = \frac{\sqrt\kappa - 1}{\sqrt\kappa + 1}, \qquad
#     \eta = \left(\frac{2}{\sqrt{\lambda_{\max}} + \sqrt{\lambda_{\min}}}\right)^2 .
#
# Plain descent had :math:`(\kappa - 1)/(\kappa + 1)`. Momentum has the same with :math:`\sqrt\kappa` in place of
# :math:`\kappa` (B. Polyak, 1964). Count the steps:

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

# %%
# Ten times the condition number costs plain descent ten times the steps, and momentum about three times. (The two
# eigenvalues meet at both ends of the range, which costs some steps more than the factor says.)
#
# The S in SGD
# ------------
#
# A loss over fifty thousand images is a mean, and a batch of 128 gives it roughly, at a four-hundredth of the price.
# That is *stochastic* gradient descent: the gradient of one batch is the true one plus noise :math:`\xi` of mean 0.
# On the bowl, without momentum,
#
# .. math:: w \leftarrow (1 - \eta\lambda)\, w - \eta\, \xi .
#
# The first part shrinks w, the second shakes it, and they come to a balance. Let V be the variance of w, :math:`s^2`
# that of the noise. In balance :math:`V = (1 - \eta\lambda)^2 V + \eta^2 s^2`, so
#
# .. math:: V = \frac{\eta\, s^2}{\lambda\, (2 - \eta\lambda)} \approx \frac{\eta\, s^2}{2 \lambda} .
#
# The run does not converge. It stops at a noise floor that is proportional to the learning rate. A high rate is fast
# and ends high; a low rate ends low and is slow. So take both, one after the other. This is what a *schedule* is for.
# (With momentum, :math:`\eta / (1 - m)` takes the part of :math:`\eta`, for slow directions and for the floor: the last
# line below has a tenth of the rate, and the floor of the first.)

rng = np.random.default_rng(10)


def shaken(lr_of, steps=600, m=0.0, copies=400):
    """Return mean w ** 2 after each step, over many copies with noise of variance 1; curvature 1."""
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
tidy(panel)
for squares, style, i, name in (
    (low, ":", 0, "lr 0.02"),
    (high, "--", 1, "lr 0.2"),
    (dropped, "-", 2, "lr 0.2, then 0.02 from step 300"),
):
    panel.semilogy(squares, style, color=shade(i, 3), lw=1.6, label=name)
panel.set(xlabel="step", ylabel="mean of w squared", title="A noisy bowl: the rate sets the floor")
panel.legend()

# %%
# You will see this step down, at every drop of the learning rate, in the paper's curves of training (Figures 4 and 6).
# For CIFAR-10 the rate is divided by 10 after 32,000 and 48,000 iterations (section 4.2).
#
# Weight decay
# ------------
#
# One term more: to the gradient of each weight add :math:`d\, w`, with a small :math:`d`, say 0.0001. It is the
# gradient of :math:`\frac{d}{2} |w|^2`, so the loss says "and keep the weights small". On the bowl every curvature
# becomes :math:`\lambda + d`. That leaves steep directions as they are; flat ones, of which the data says little, are
# drawn to 0. Where the gradient is 0, plain descent multiplies w by :math:`1 - \eta d` in each step. And for weights
# before batch norm, decay works against the growth that you saw in :doc:`/course/09_batch_norm`.
#
# In minigrad
# -----------
#
# This is the step that trains every net in this project. You know all of it but two things: ``nesterov`` is a variant
# that the paper does not use, and ``namespace`` and ``to_host`` serve nets on a GPU (:doc:`/course/18_gpus`).
#
# .. literalinclude:: /../minigrad/optim.py
#    :pyobject: SGD.step
#    :dedent:
#
# One choice in it is easily overlooked. The learning rate stands *outside* of v. In the other form, :math:`v
# \leftarrow m v + \eta g`, :math:`w \leftarrow w - v`, it stands inside; Caffe has it so, the library in which the
# paper's authors released their nets. As long as the rate is constant, both give the same w. When it drops, the first
# obeys at once; the second goes on for some ten steps with what it had gathered at the old rate.

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
# Schedules are as small. One says by which factor the learning rate is multiplied in an iteration:
#
# .. literalinclude:: /../minigrad/optim.py
#    :pyobject: MultiStepLR.factor
#    :dedent:
#
# On the digits
# -------------
#
# Does a real net behave like a bowl? We train a small convolutional net on the digits in five ways. The bowl
# predicts: at 0.02 plain SGD is slow; momentum of 0.9 makes it as quick as ten times the rate would, for :math:`\eta
# / (1 - m)` is the same; a still higher rate soon stands on its floor; and a drop of the rate for the last third
# brings the floor down.

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
# It holds roughly. A net is no bowl: its curvatures change on the way, and the noise differs from place to place. Once
# all images are told apart it nearly vanishes, and so the curves sink slowly where the bowl's stand still. The drop
# shows as on the bowl.
#
# Exercises
# ---------
#
# 1. **The largest learning rate.** The bowl has a Hessian matrix H, not in its own axes. Up to which learning rate is
#    SGD with momentum m stable?
# 2. **The best settings.** Given the smallest and the largest curvature, find the learning rate and the momentum that
#    are best for the worse of the two.
# 3. **Warm restarts.** Write a schedule's factor that falls along half a cosine wave, jumps back to 1, and falls
#    again, each period twice as long as the one before.
#
# .. literalinclude:: /exercises/chapter_10.py
#
# Fill in ``docs/exercises/chapter_10.py`` and run ``python docs/exercises/check.py 10``.
