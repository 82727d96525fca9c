r"""
11. Batch norm, forward and backward
====================================

What is the gradient of a layer in which every number depends on every other?

Batch normalisation (S. Ioffe, C. Szegedy, 2015) gives each channel mean 0 and variance 1 over the batch. This looks
like subtracting one constant and dividing by another. But the two numbers are not constants: they are computed from the
same numbers to which they are applied. A rule that ignores this is wrong, although its results look plausible. This
chapter derives the right rule, and then asks how batch norm changes the training of a net.
"""

# %%
# The forward pass
# ----------------
#
# Take images :math:`x[n, u, v, c]`: image, row, column, channel. Batch norm treats each channel :math:`c` separately,
# and treats all pixels of all images in the same way. So we replace the other three axes by a single index, :math:`i =
# (n, u, v)`, which runs over all :math:`m` pixels of all images, and write :math:`x_i` for the numbers of one channel.
# Then
#
# .. math::
#     \mu = \frac{1}{m} \sum_i x_i, \qquad
#     \sigma^2 = \frac{1}{m} \sum_i (x_i - \mu)^2, \qquad
#     \hat x{}_i = \rho\,(x_i - \mu), \qquad
#     y_i = \gamma\, \hat x{}_i + \beta,
#
# with :math:`\rho = 1 / \sqrt{\sigma^2 + \epsilon}`, which the code calls ``inv_std``. Each channel has its own
# :math:`\mu, \sigma^2, \gamma, \beta`. The small number :math:`\epsilon` prevents a division by 0 when a channel is
# constant. The scale :math:`\gamma` and the shift :math:`\beta` are learnt; they start at 1 and 0.

import matplotlib.pyplot as plt
import numpy as np

import minigrad as mg
from minigrad import nn, optim
from minigrad.train.report import shade, show, tidy

EPS = 1e-5
rng = np.random.default_rng(9)


def forward(x, gamma, beta):
    pixels = (0, 1, 2)
    mu, var = x.mean(pixels), x.var(pixels)  # (c,), (c,)
    inv_std = 1 / np.sqrt(var + EPS)
    return gamma * (inv_std * (x - mu)) + beta, mu, inv_std


x = rng.normal([0.0, 5.0, -2.0], [1.0, 3.0, 0.1], (4, 3, 3, 3))  # (n, h, w, c), channels of very different sizes
gamma, beta = np.array([1.0, 2.0, 0.5]), np.array([0.0, 1.0, -1.0])
y, mu, inv_std = forward(x, gamma, beta)
np.testing.assert_allclose(y, mg.batch_norm(x, gamma, beta, np.zeros(3), np.ones(3), training=True), atol=1e-12)

for c in range(3):
    means, deviations = [round(a[..., c].mean(), 9) + 0.0 for a in (x, y)], [a[..., c].std() for a in (x, y)]
    print(f"channel {c}: mean {means[0]:5.2f} -> {means[1]:5.2f}, deviation {deviations[0]:.2f} -> {deviations[1]:.2f}")

# %%
# The backward pass: three paths
# ------------------------------
#
# The tape passes :math:`g_i = \partial L / \partial y_i` to our rule. Two gradients are easy, because :math:`\gamma`
# and :math:`\beta` occur exactly once in each :math:`y_i`:
#
# .. math:: d\gamma = \sum_i g_i\, \hat x{}_i, \qquad d\beta = \sum_i g_i .
#
# The gradient of the normalised values is :math:`\hat g{}_i = \gamma g_i`. The gradient of :math:`x_i` is harder.
# Follow the arrows in the figure: :math:`x_i` influences the loss along three paths.

figure, panel = plt.subplots(figsize=(8.5, 2.8), layout="constrained")
figure.set_label(
    "Arrows from x to the loss: directly through the normalised values, through the mean, and through the variance, "
    "each labelled with its derivative."
)
panel.axis("off")
panel.set(xlim=(-0.5, 10.2), ylim=(-0.8, 2.7))
nodes = {
    "$x_i$": (0, 0),
    r"$\mu$": (2.2, 2.2),
    r"$\sigma^2$": (4.6, 1.3),
    r"all $\hat x_j$": (7, 0),
    "$y_j$": (8.6, 0),
    "$L$": (9.9, 0),
}
for name, place in nodes.items():
    panel.text(
        *place, name, ha="center", va="center", fontsize=13, bbox={"boxstyle": "round", "fc": "0.93", "ec": "0.4"}
    )
arrows = [
    ("$x_i$", r"all $\hat x_j$", 0.0, "-", r"1: $\rho$, and only to $j = i$", (3.4, -0.35)),
    ("$x_i$", r"$\mu$", -0.1, "--", r"2: $1/m$", (0.6, 1.6)),
    (r"$\mu$", r"all $\hat x_j$", -0.35, "--", r"$-\rho$, to every $j$", (6.0, 2.35)),
    ("$x_i$", r"$\sigma^2$", 0.0, ":", r"3: $2 (x_i - \mu) / m$", (3.2, 0.4)),
    (r"$\sigma^2$", r"all $\hat x_j$", 0.0, ":", r"$-\frac{1}{2} \rho^3 (x_j - \mu)$", (5.35, 0.36)),
    (r"$\mu$", r"$\sigma^2$", 0.0, "-.", "0", (3.55, 1.95)),
    (r"all $\hat x_j$", "$y_j$", 0.0, "-", r"$\gamma$", (7.95, -0.35)),
    ("$y_j$", "$L$", 0.0, "-", "$g_j$", (9.3, -0.35)),
]
for begin, end, bend, line, label, place in arrows:
    ends = {"shrinkA": 16 + 12 * ("all" in begin), "shrinkB": 16 + 12 * ("all" in end)}
    style = {"arrowstyle": "-|>", "linestyle": line, "lw": 1.4, "color": "black", "connectionstyle": f"arc3,rad={bend}"}
    panel.annotate("", nodes[end], nodes[begin], arrowprops=style | ends)
    panel.text(*place, label, ha="center", va="center", fontsize=10.5)

# %%
# **Path 1, directly.** Keep :math:`\mu` and :math:`\rho` fixed. When :math:`x_i` rises by one, :math:`\hat x{}_i` rises
# by :math:`\rho`, and no other :math:`\hat x{}_j` changes. So this path contributes :math:`\rho\, \hat g{}_i`.
#
# **Path 2, through the mean.** When :math:`\mu` rises by one, every :math:`\hat x{}_j` falls by :math:`\rho`, so
# :math:`dL/d\mu = -\rho \sum_j \hat g{}_j`. When :math:`x_i` rises by one, :math:`\mu` rises by :math:`1/m`. So this
# path contributes
#
# .. math:: -\, \rho\; \frac{1}{m} \sum_j \hat g{}_j \;=\; -\, \rho\, \operatorname{mean}(\hat g),
#
# which is the same for every pixel; the mean is over pixels. (The mean also influences the variance. But
# :math:`d\sigma^2 / d\mu = -\frac{2}{m} \sum_j (x_j - \mu)`, and the deviations from the mean add up to 0. So this
# arrow contributes nothing.)
#
# **Path 3, through the variance.** The derivative of :math:`\rho = (\sigma^2 + \epsilon)^{-1/2}` is :math:`d\rho /
# d\sigma^2 = -\frac{1}{2} \rho^3`. So
#
# .. math::
#     \frac{dL}{d\sigma^2} = -\frac{1}{2} \rho^3 \sum_j \hat g{}_j\, (x_j - \mu)
#     = -\frac{1}{2} \rho^2 \sum_j \hat g{}_j\, \hat x{}_j,
#     \qquad \frac{d\sigma^2}{dx_i} = \frac{2}{m} (x_i - \mu) = \frac{2}{m\, \rho}\, \hat x{}_i .
#
# The product of the two is :math:`-\, \rho\, \hat x{}_i \operatorname{mean}(\hat g\, \hat x)`. The sum of the three
# paths, with :math:`\gamma` as a common factor, is
#
# .. math::
#     dx_i = \gamma\, \rho\, \left( g_i - \operatorname{mean}(g) - \hat x{}_i \operatorname{mean}(g\, \hat x) \right) .
#
# This is the whole rule. Each mean in it has two parts: the sum runs over the pixels that use the statistics, and the
# factor 1/m belongs to the pixels from which they were computed. If these sets differ, keep them apart. Next we compute
# the paths one by one, and compare them with the tape and with finite differences.

g = rng.standard_normal(x.shape)
m = x[..., 0].size
x_hat, g_hat = inv_std * (x - mu), gamma * g

path_1 = inv_std * g_hat
dmu = -inv_std * g_hat.sum((0, 1, 2))
path_2 = np.broadcast_to(dmu / m, x.shape)
dvar = -0.5 * inv_std**3 * (g_hat * (x - mu)).sum((0, 1, 2))
path_3 = dvar * 2 * (x - mu) / m
compact = gamma * inv_std * (g - g.mean((0, 1, 2)) - x_hat * (g * x_hat).mean((0, 1, 2)))
np.testing.assert_allclose(path_1 + path_2 + path_3, compact, atol=1e-12)


def batch_norm(x, gamma, beta):
    return mg.batch_norm(x, gamma, beta, np.zeros(3), np.ones(3), training=True)


inputs = [mg.Tensor(a, requires_grad=True) for a in (x, gamma, beta)]
dx, dgamma, dbeta = mg.grad(batch_norm(*inputs), inputs, mg.Tensor(g))
np.testing.assert_allclose(compact, dx.data, atol=1e-12)
np.testing.assert_allclose((g * x_hat).sum((0, 1, 2)), dgamma.data, atol=1e-12)
np.testing.assert_allclose(g.sum((0, 1, 2)), dbeta.data, atol=1e-12)
assert mg.gradcheck(batch_norm, (x, gamma, beta)) < 1e-6
print("three paths = the compact formula = the tape = finite differences")

# %%
# The gradient as a projection
# ----------------------------
#
# The output of batch norm does not depend on the mean and the scale of its input. If we add a constant to all
# :math:`x_i`, or stretch them about their mean, y stays the same (for the stretch, up to :math:`\epsilon`). So the loss
# does not change along two directions: the vector of all ones, and :math:`\hat x`. The gradient must have no component
# along them. Path 2 removes the component of g along the ones, and path 3 removes the component along :math:`\hat x`.
# Geometrically, this is a projection.
#
# The figure shows this for one channel with eight pixels. Here g lies almost completely in these two directions: it is
# :math:`1 + \hat x` plus a little noise.

few = np.array([-1.2, 0.3, 2.0, -0.4, 0.9, -1.9, 0.1, 1.0])
few_hat = (few - few.mean()) / np.sqrt(few.var() + EPS)
few_g = 1 + few_hat + 0.3 * rng.standard_normal(8)
parts = {
    "g": few_g,
    "path 2: −mean(g)": np.full(8, -few_g.mean()),
    r"path 3: $-\hat x\;$mean($g\,\hat x$)": -few_hat * (few_g * few_hat).mean(),
}
parts["what is left: their sum"] = sum(parts.values())

figure, panels = plt.subplots(1, 4, figsize=(10, 2.6), sharey=True, layout="constrained")
figure.set_label(
    "Four bar charts over eight pixels: g, the part of path 2, the part of path 3, and their sum, whose bars are small."
)
for panel, (name, heights) in zip(panels, parts.items(), strict=True):
    tidy(panel)
    panel.bar(range(8), heights, color="0.35")
    panel.axhline(0, color="black", lw=0.8)
    panel.set_title(name, fontsize=10)
    panel.set(xlabel="pixel i")

left = parts["what is left: their sum"]
assert abs(left.sum()) < 1e-12
assert abs((left * few_hat).sum()) < 1e-3  # not exactly 0, because of eps
print(f"of the length of g, {np.linalg.norm(left) / np.linalg.norm(few_g):.0%} is left")

# %%
# (The factor :math:`\gamma \rho`, which all parts share, is left out.) A rule with path 1 only would pass on all of g,
# although almost no part of it can lower the loss. Also note that a gradient check with :math:`g = 1` does not notice
# when path 3 is missing. The mean of :math:`\hat x` is 0, so path 3 contributes nothing then, and the whole gradient is
# 0 (:doc:`/course/06_proof` describes such traps).
#
# The rule in minigrad
# --------------------
#
# minigrad stores x, :math:`\mu` and :math:`\rho` for the backward pass. It does not store :math:`\hat x`, which would
# be one more array to write; x is in memory anyway, as the result of the convolution. The code groups the formula by x
# and g. With :math:`\hat x = \rho (x - \mu)`, the gradient dx becomes ``scale * g + slope * x + constant``. So two
# passes over the pixels are enough: the first computes the two sums, and the second computes dx (``pixels.affine``):
#
# .. literalinclude:: /../minigrad/ops/norm.py
#    :start-at: @_batch_norm.vjp
#    :end-before: _batch_norm.twin(
#
# Training and evaluation
# -----------------------
#
# In training, the result for one image depends on the other images of its batch. In evaluation, it must not depend on
# them. So batch norm keeps *running statistics*: after each batch, they move a tenth of the way towards the mean and
# the variance of that batch. In evaluation, batch norm uses the running statistics instead of those of the batch. Then
# :math:`\mu` and :math:`\rho` are constants, and paths 2 and 3 do not exist. The layer is one multiplication and one
# addition, which can be merged into the convolution before it (:func:`minigrad.nn.fold_batch_norm`).
#
# .. literalinclude:: /../minigrad/ops/norm.py
#    :pyobject: _batch_norm
#
# Two names in this code need an explanation: ``unbiased`` and ``once``. The variance in the running statistics is
# ``unbiased``. The squared deviations from the *batch's own* mean are on average too small, by the factor
# :math:`(m - 1) / m`. Within a batch this does no harm. But in evaluation the statistics stand for all images, so they
# need the true variance. With batches of 4 the difference is visible:

batches = rng.standard_normal((20_000, 4))  # the true variance is 1
biased = batches.var(axis=1).mean()
print(f"batches of 4, mean of the biased variances {biased:.3f}, of the unbiased {biased * 4 / 3:.3f}")
assert abs(biased - 0.75) < 0.01

bn = nn.BatchNorm2d(1, dtype=np.float64)
for batch in batches[:2000]:
    bn(mg.Tensor(batch[:, None]))
print(
    f"running mean {bn.running_mean.data[0]:+.2f}, variance {bn.running_var.data[0]:.2f}: means over about ten batches "
    "still vary"
)

# %%
# The other name is ``once``. To save memory, :func:`minigrad.recompute` runs a part of the net a second time in the
# backward pass (:doc:`/course/19_thousand_layers`). The update of the running statistics is a *side effect*, and it
# must not happen twice.

once, twice = nn.BatchNorm2d(3, dtype=np.float64), nn.BatchNorm2d(3, dtype=np.float64)
images = mg.Tensor(x, requires_grad=True)
mg.recompute(once, images).sum().backward()  # runs the layer twice
twice(images)
twice(images)  # what a second update would have done
print("running mean after one batch, with recomputation:", once.running_mean.data.round(3))
print("after two updates it would have been:            ", twice.running_mean.data.round(3))
np.testing.assert_allclose(once.running_mean.data, 0.1 * x.mean((0, 1, 2)), atol=1e-12)

# %%
# Batch norm and the scale of the weights
# ---------------------------------------
#
# Suppose batch norm follows a convolution with weights w. The result of the convolution is linear in w: if we replace w
# by :math:`a w`, it is multiplied by a, and batch norm divides by a again. So the loss is the same at :math:`w` and at
# :math:`a w`:
#
# .. math:: L(a w) = L(w) \quad\text{for every } a > 0 .
#
# (This holds up to :math:`\epsilon`, which is tiny in the code below.) Two facts follow if we differentiate this
# equation, once with respect to a (at :math:`a = 1`) and once with respect to w:
#
# .. math:: \langle w, \nabla L(w) \rangle = 0, \qquad \nabla L(a w) = \tfrac{1}{a}\, \nabla L(w) .
#
# The gradient is perpendicular to the weights, and it is smaller where the weights are larger.

w = rng.standard_normal((3, 3, 3, 8))
labels = np.array([0, 1, 2, 3])


def loss_and_gradient(w):
    w = mg.Tensor(w, requires_grad=True)
    maps = mg.batch_norm(
        mg.conv2d(x, w, padding=1), np.ones(8), np.zeros(8), np.zeros(8), np.ones(8), training=True, eps=1e-12
    )
    loss = mg.cross_entropy(mg.global_avg_pool2d(mg.relu(maps)), labels)
    return loss.item(), mg.grad(loss, w)[0].data


loss, slope = loss_and_gradient(w)
loss_10, slope_10 = loss_and_gradient(10 * w)
cosine = (w * slope).sum() / np.linalg.norm(w) / np.linalg.norm(slope)
print(f"loss at w: {loss:.6f}, at 10 w: {loss_10:.6f}")
print(f"length of the gradient at w: {np.linalg.norm(slope):.6f}, at 10 w: {np.linalg.norm(slope_10):.6f}")
print(f"cosine of the angle between w and its gradient: {abs(cosine):.0e}")
assert np.isclose(loss, loss_10)
np.testing.assert_allclose(10 * slope_10, slope, atol=1e-9)
assert abs(cosine) < 1e-9

# %%
# These two facts act as an automatic brake. A step of gradient descent with the *learning rate* :math:`\eta` is
# perpendicular to w, so by Pythagoras it makes w longer: :math:`|w - \eta \nabla L|^2 = |w|^2 + \eta^2 |\nabla L|^2`.
# The longer w is, the smaller is the angle by which the next step turns it. So a learning rate that is too high does
# not make such a layer diverge: the weights grow until the rate is right for them.
#
# An experiment: which learning rates work
# ----------------------------------------
#
# So a net with batch norm should learn at many more learning rates than a net without. We train a net of six layers on
# handwritten digits, with and without batch norm, at learning rates from 0.001 to 30. Each run starts from the same
# weights and takes 60 steps of gradient descent on batches drawn at random. (This is SGD, the topic of the next
# chapter.)

digits = mg.data.Digits()
pixels = (digits.images - digits.images.mean(0)).reshape(-1, 64) / digits.images.std()


def train(normalised, rate, steps=60):
    """Return the loss after training, or infinity if a number overflowed."""
    rng = np.random.default_rng(0)
    layers = []
    for c_in, c_out in [(64, 48), *[(48, 48)] * 4]:
        layers += [nn.Linear(c_in, c_out, rng=rng), *[nn.BatchNorm2d(c_out)] * normalised, nn.ReLU()]
    net = nn.Sequential(*layers, nn.Linear(48, 10, rng=rng))
    sgd = optim.SGD(net.parameters(), rate, momentum=0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(steps):
            batch = rng.choice(len(pixels), 128, replace=False)
            loss = mg.cross_entropy(net(mg.Tensor(pixels[batch])), digits.labels[batch])
            if not np.isfinite(loss.item()):
                return np.inf
            sgd.zero_grad()
            loss.backward()
            sgd.step()
        loss = mg.cross_entropy(net(mg.Tensor(pixels)), digits.labels).item()
    return loss if np.isfinite(loss) else np.inf


rates = 10 ** np.linspace(-3, 1.5, 10)
with_bn, without = (np.array([train(normalised, rate) for rate in rates]) for normalised in (True, False))

figure, panel = plt.subplots(figsize=(7, 3.6), layout="constrained")
figure.set_label(
    "Training loss against the learning rate, logarithmic: without batch norm the loss jumps up at a rate at which "
    "the net with batch norm still learns."
)
tidy(panel)
panel.loglog(rates, with_bn, "o-", color=shade(1, 2), label="with batch norm")
panel.loglog(rates, np.minimum(without, 30), "s--", color=shade(0, 2), label="without")
panel.axhline(np.log(10), color="black", lw=0.8, ls=":")
panel.annotate("guessing: log 10", (0.03, np.log(10)), (0, 4), textcoords="offset points", fontsize=9)
panel.set(
    xlabel="learning rate",
    ylabel="training loss after 60 steps",
    title="Digits, six layers (30 stands for an overflow)",
)
panel.legend()

good = 0.3
working = [f"{rates[losses < good].min():.2g} to {rates[losses < good].max():.2g}" for losses in (with_bn, without)]
print(f"a loss below {good} is reached with batch norm for rates {working[0]}, without it for {working[1]}")
assert rates[with_bn < good].max() > 9.9 * rates[without < good].max()

# %%
# At the low rates on the left of the figure, both nets learn too slowly. At the high rates on the right, the loss of
# the net without batch norm suddenly becomes large, while the net with batch norm still learns at rates ten times as
# high. (It has a limit, too, because no batch norm follows its last layer.) In a net of 50 layers no single rate would
# suit all layers, so batch norm decides whether the net trains at all: see :doc:`/course/13_initialisation` and
# :doc:`/course/14_plain_nets`.
#
# Exercises
# ---------
#
# 1. **Layer norm.** This is the same idea over another axis: each pixel is normalised over its channels, so no batch is
#    needed. Derive its rule. Be careful: here :math:`\gamma` varies along the axis over which the means are taken.
# 2. **Folding.** In evaluation, a convolution followed by batch norm equals one convolution. Find its weights and bias.
# 3. **Variances of parts.** You are given the counts, means and variances of several parts of the data. Compute the
#    mean and the variance of the whole data, in such a way that no digits are lost by cancellation.
#
# .. literalinclude:: /exercises/chapter_11.py
#
# Fill in ``chapter_11.py`` in :ref:`your folder <folder>`, and run ``python -m docs.exercises check FOLDER 11``.
# Then continue your own framework: :ref:`the milestone of chapter 11 <milestone-11>`.

show()
