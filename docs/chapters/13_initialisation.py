r"""
13. Initialisation
==================

How large should random weights be, so that the signal reaches the last of fifty layers, and the gradient reaches the
first?

Before a net can learn, its first forward pass must carry a signal to the last layer, and its first backward pass must
carry a gradient back to the first. If one layer makes its signal a little smaller, this does no harm; but in fifty
layers, such factors multiply. This chapter derives the one scale of random weights at which signals neither grow nor
fade. Then it looks at two other initialisations: equal weights, which do not work, and zeros in one place, which do.
"""

# %%
# The variance of one unit
# ------------------------
#
# A unit computes a sum of products: :math:`y_o = \sum_k x_k\, w_{k o}`. Here k runs over the inputs of the unit. Their
# number :math:`f` is called the *fan-in*: it counts all inputs of a linear layer, and is :math:`k_h k_w c_{\text{in}}`
# for a convolution. Draw the weights independently from a symmetric distribution with mean 0 and variance :math:`v`.
# Over the draws of the weights, y has mean 0, and its variance is a sum of :math:`f` terms:
#
# .. math:: \operatorname{E}[y_o^2] = \sum_k \operatorname{E}[w_{k o}^2]\; x_k^2 = f\, v\, \operatorname{mean}(x^2),
#
# where the last factor is the mean square of the inputs. The mixed terms vanish: different weights are independent and
# have mean 0, so :math:`\operatorname{E}[w_{k o} w_{l o}] = \operatorname{E}[w_{k o}]\, \operatorname{E}[w_{l o}] = 0`
# (:doc:`chapter 0 </course/00_assumed>`). We assumed nothing about x: its numbers may depend on each other, and after a
# ReLU they do not even have mean 0. For this reason we follow the mean *square*, and not the variance.
#
# Now comes the ReLU. A weight is as likely as its negative, so y is as likely as -y. On average, the ReLU sets half of
# the squares to 0, and keeps the other half:
#
# .. math:: \operatorname{E}[\mathrm{relu}(y)^2] = \tfrac{1}{2} \operatorname{E}[y^2] .
#
# So each layer multiplies the mean square by :math:`\frac{1}{2} f v`. The mean square stays the same if
#
# .. math:: v = \frac{2}{f} .
#
# This is *He initialisation* (K. He et al., "Delving Deep into Rectifiers", 2015). It is by the authors of the residual
# nets, and was published ten months before them. In minigrad it is two lines of :func:`minigrad.nn.init.he_normal`:
#
# .. literalinclude:: /../minigrad/nn/init.py
#    :start-at: draws = generator("he_normal", rng)
#    :lines: 1-2
#    :dedent:

import matplotlib.pyplot as plt
import numpy as np

import minigrad as mg
import models
from minigrad import nn, optim
from minigrad.train.report import shade, show, tidy

rng = np.random.default_rng(11)
x = np.abs(rng.standard_normal((2000, 300)))  # not centred, as after a ReLU
x[:, 1] = x[:, 0]  # and not independent
w = nn.init.he_normal((300, 500), rng=rng, dtype=np.float64)
y = x @ w
ratios = np.mean(y**2) / np.mean(x**2), np.mean(np.maximum(y, 0) ** 2) / np.mean(x**2)
print(f"mean square, relative to that of x: after the layer {ratios[0]:.2f}, after its ReLU {ratios[1]:.2f}")
assert abs(ratios[0] - 2) < 0.15
assert abs(ratios[1] - 1) < 0.15

# %%
# The gradient
# ------------
#
# The gradient passes through the same weights in the other direction:
# :math:`dx_k = \sum_o w_{k o}\, \mathrm{mask}_o\, g_o`. The mask is 1 if the ReLU let :math:`y_o` through, and 0 if
# not. The sum is over the :math:`f'` *outputs* (the fan-out), and half of the masks are 0. If the g are drawn
# independently with mean 0, then
#
# .. math:: \operatorname{E}[dx_k^2] = \tfrac{1}{2} f' v\, \operatorname{mean}(g^2) .
#
# So to keep the size of the gradient, we would need :math:`v = 2 / f'`. Which of the two should we choose? If a layer
# has as many outputs as inputs, they are equal. Otherwise, :math:`v = 2 / f` multiplies the gradient by :math:`f' / f`
# in each layer. But the outputs of one layer are the inputs of the next. So in the product over all layers, these sizes
# cancel, except the first and the last. Therefore either choice works in both directions; minigrad uses the fan-in.
#
# Before ReLUs were used, X. Glorot and Y. Bengio (2010) chose a compromise, :math:`v = 2 / (f + f')`. It is made for
# layers that are nearly linear, where the :math:`\frac{1}{2}` of the ReLU is missing. With ReLUs and :math:`f = f'`,
# each layer with their weights halves the mean square.
#
# An experiment: fifty layers
# ---------------------------
#
# In fifty layers, the factor of one layer is raised to the power of fifty. The left panel shows the mean square of the
# signal after each layer. For the right panel, we put a random gradient in at the end; the panel shows its mean square
# on the way back. The dotted lines are the theory: :math:`(\frac{1}{2} f v)^l` after l layers.

WIDTH, DEPTH = 128, 50


def pass_through(fv, norm=False, seed=0):
    """Return the mean squares of signal and gradient at all DEPTH + 1 positions, and the last signal."""
    rng = np.random.default_rng(seed)
    signals = [mg.Tensor(rng.standard_normal((WIDTH, WIDTH)), requires_grad=True)]
    zeros, ones = np.zeros(WIDTH), np.ones(WIDTH)
    for _ in range(DEPTH):
        w = mg.Tensor(rng.normal(0, np.sqrt(fv / WIDTH), (WIDTH, WIDTH)))
        y = mg.matmul(signals[-1], w)
        if norm:
            y = mg.batch_norm(y, ones, zeros, zeros.copy(), ones.copy(), training=True)
        signals.append(mg.relu(y))
    gradients = mg.grad(signals[-1], signals, mg.Tensor(rng.standard_normal((WIDTH, WIDTH))))
    forward, backward = ([np.mean(a.data**2) for a in arrays] for arrays in (signals, gradients))
    return np.array(forward), np.array(backward), signals[-1].data


starts = {
    "f v = 3: too large": (3.0, False),
    "f v = 2: He": (2.0, False),
    "f v = 1: Glorot": (1.0, False),
    "f v = 0.1": (0.1, False),
    "any f v, with batch norm": (2.0, True),
}
found = {name: pass_through(*start) for name, start in starts.items()}

figure, panels = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True, layout="constrained")
figure.set_label(
    "Mean square of the signal, left, and of the gradient, right, over fifty layers, logarithmic: straight lines that"
    " rise, fall, or for He's rule stay level; with batch norm the signal stays level."
)
layer = np.arange(DEPTH + 1)
for i, (name, (forward, backward, _)) in enumerate(found.items()):
    factor = starts[name][0] / 2
    for panel, squares, theory in (
        (panels[0], forward, factor**layer),
        (panels[1], backward, factor ** (DEPTH - layer)),
    ):
        panel.semilogy(
            layer, squares, color=shade(i, 5) if i < 4 else (0.75, 0.3, 0.1), ls="-" if i < 4 else "--", lw=1.8
        )
        if i < 4:
            panel.semilogy(layer, theory, ":", color="black", lw=1)
for panel, title in zip(panels, ("forward: the signal →", "← backward: the gradient"), strict=True):
    tidy(panel)
    panel.set(xlabel="layer", ylim=(1e-24, 1e14), title=title)
panels[0].set_ylabel("mean square")
for (name, (forward, _, _)), place, offset in zip(found.items(), (18, 24, 21, 11, 24), (17, 6, 6, 6, -15), strict=True):
    panels[0].annotate(name, (place, forward[place]), (4, offset), textcoords="offset points", fontsize=9)

per_layer = {name: ((f[-1] / f[1]) ** (1 / 49), (b[0] / b[-2]) ** (1 / 49)) for name, (f, b, _) in found.items()}
for name, (forward, backward) in per_layer.items():
    print(f"{name:25} mean square per layer: of the signal times {forward:.2f}, of the gradient times {backward:.2f}")
for name, (fv, norm) in starts.items():
    assert norm or np.allclose(per_layer[name], fv / 2, rtol=0.1)
assert 1.35 < per_layer["any f v, with batch norm"][1] < 1.45

# %%
# With Glorot's rule, the mean square falls by a factor of :math:`2^{50}`, about :math:`10^{15}`, in either direction.
# The gradient of the weights of a layer is a product, :math:`dw = x^{\top} g`: the signal that comes in times the
# gradient that comes back. Together, these two have passed through all fifty layers, whichever layer we look at. So in
# *every* layer, dw is :math:`2^{25}` times (about thirty million times) smaller than with He's rule. Compared with
# weights of about 0.1, such a step is too small for the seven digits of a float32. With He's rule, signal and gradient
# arrive. Their mean square is not exactly 1 at the end: a finite layer is a finite sample, and its small deviations
# multiply, too. In narrower nets the deviations would be larger.
#
# Batch norm: the signal and the gradient
# ---------------------------------------
#
# The dashed line on the left is level, for any scale of the weights. Batch norm ensures this in every layer, not only
# at the start but during the whole training. So for the *signal*, a net with batch norm no longer depends on its
# initialisation.
#
# Now look at the right panel. Towards the first layer the gradient *grows*: its mean square by a factor of about 1.4
# per layer, and so its length by about 1.2. This is not a mistake; we can derive it. After batch norm, y has mean 0 and
# variance 1; suppose that it is normally distributed. Then :math:`\mathrm{relu}(y)` has mean square
# :math:`\frac{1}{2}` and mean :math:`1 / \sqrt{2\pi}`. A million draws show both numbers:

half = np.maximum(rng.standard_normal(1_000_000), 0)
print(f"relu of normal numbers: mean square {np.mean(half**2):.2f}, mean {half.mean():.2f}")
print(f"the theory:             mean square {1 / 2:.2f}, mean {1 / np.sqrt(2 * np.pi):.2f}")
assert np.allclose([np.mean(half**2), half.mean()], [1 / 2, 1 / np.sqrt(2 * np.pi)], atol=0.005)

# %%
# So the variance of :math:`\mathrm{relu}(y)` is :math:`\frac{1}{2} - \frac{1}{2\pi}`. Batch norm in the next layer
# subtracts the mean, so only this *variance* over the batch is left. The weights with :math:`f v = 2` turn it into
# :math:`1 - \frac{1}{\pi}`. This is below 1, so batch norm scales the signal up by :math:`1 / \sqrt{1 - 1/\pi}`. It
# scales the gradient up by the same factor:
#
# .. math:: \text{gradient, mean square, per layer:}\quad \frac{1}{1 - 1/\pi} = \frac{\pi}{\pi - 1} \approx 1.47 .
#
# (G. Yang et al., "A Mean Field Theory of Batch Normalization", 2019, give the full theory. Our layers are finite, so
# their factor is a little smaller.) Over 30 such layers, the gradient becomes a few hundred times as long at the front
# as at the end. Training can cope with this, because of the brake in :doc:`/course/11_batch_norm`: layers with large
# gradients get large weights. So this is *not a vanishing gradient*, and the paper says the same of its plain nets
# (section 4.1). They have another problem: see :doc:`/course/14_plain_nets`, which also measures this growth in
# convolutional nets.
#
# There is one thing that He's rule does not preserve: the difference between two inputs. Each ReLU makes the angle
# between two signals smaller. After fifty layers, the signals of all inputs are almost the same.


def cosine(signal):
    """Return the mean cosine of the angles between the first input's signal and all others."""
    unit = signal / np.linalg.norm(signal, axis=1, keepdims=True)
    return np.mean(unit[1:] @ unit[0])


he, normalised = cosine(found["f v = 2: He"][2]), cosine(found["any f v, with batch norm"][2])
print(f"cosine of the angle between two inputs that were unrelated: {he:.2f} with He, {normalised:.2f} with batch norm")
assert he > 0.9
assert normalised < 0.5

# %%
# The effect on training
# ----------------------
#
# We train thirty layers on the digits with momentum, from three initialisations: He's, Glorot's, and one with 1.2 times
# He's standard deviation. He et al. compared the first two with 30 layers on ImageNet; there, too, the net with
# Glorot's weights did not learn.

digits = mg.data.Digits()
pixels = ((digits.images - digits.images.mean(0)) / digits.images.std()).reshape(-1, 64)


def train(scale, steps=120, lr=0.003):
    rng = np.random.default_rng(0)
    layers = []
    for _ in range(29):
        layers += [nn.Linear(64, 64, rng=rng), nn.ReLU()]
        layers[-2].weight.data *= scale
    net = nn.Sequential(*layers, nn.Linear(64, 10, rng=rng))
    sgd = optim.SGD(net.parameters(), lr, momentum=0.9)
    losses = []
    for _ in range(steps):
        batch = rng.choice(len(pixels), 64, replace=False)
        loss = mg.cross_entropy(net(mg.Tensor(pixels[batch])), digits.labels[batch])
        losses.append(loss.item())
        if losses[-1] > 1e3:
            break
        sgd.zero_grad()
        loss.backward()
        sgd.step()
    return np.array(losses)


curves = {"He": train(1.0), "Glorot": train(np.sqrt(0.5)), "1.2 × He": train(1.2)}
figure, panel = plt.subplots(figsize=(7, 3.4), layout="constrained")
figure.set_label(
    "Training loss over the iterations for thirty layers: with He's rule it falls, with Glorot's it stays where it "
    "began."
)
tidy(panel)
for i, (name, losses) in enumerate(curves.items()):
    if losses.max() < 10:
        panel.plot(losses, ls=("-", "--")[i], lw=1.6, color=shade(1 - i, 2), label=name)
    print(f"{name:9} loss of the first batch {losses[0]:8.3f}, mean of the last ten {losses[-10:].mean():.3g}")
panel.set(
    xlabel="iteration",
    ylabel="loss of the batch",
    ylim=(0, 3),
    title="Thirty layers on the digits (1.2 × He is far above this scale)",
)
panel.legend(loc="lower left")
assert curves["He"][-10:].mean() < 2.0
assert curves["Glorot"][-10:].mean() > 2.25

# %%
# Equal weights
# -------------
#
# Why must the weights be random at all? Suppose all weights of a layer are the same number, and all weights of the next
# layer are, too. Then all units of the layer compute the same value, get the same gradient, and take the same step. So
# they stay equal for ever, and a layer of 32 units works like a layer of one unit. Zeros are even worse: where all w
# are 0, no gradient passes through them.


def train_small(start):
    """Train two layers whose first weights are `start(w)`; return the first layer's weights and the training error."""
    net = nn.Sequential(nn.Linear(64, 32, rng=0), nn.ReLU(), nn.Linear(32, 10, rng=1))
    for layer in (net.layers[0], net.layers[2]):
        layer.weight.data[...] = start(layer.weight.data)
    sgd = optim.SGD(net.parameters(), 0.05)
    for _ in range(100):
        loss = mg.cross_entropy(net(mg.Tensor(pixels)), digits.labels)
        sgd.zero_grad()
        loss.backward()
        sgd.step()
    wrong = np.mean(net(mg.Tensor(pixels)).data.argmax(1) != digits.labels)
    return net.layers[0].weight.data, wrong


for name, start in {"random": lambda w: w, "all 0.05": lambda w: 0.05, "all 0": lambda w: 0.0}.items():
    w, wrong = train_small(start)
    different = sum(not any(np.allclose(w[:, i], w[:, j], atol=1e-4) for j in range(i)) for i in range(32))
    print(f"{name:9} different units after training: {different:2}; {wrong:4.0%} of the training set wrong")
    assert different == (32 if name == "random" else 1)

# %%
# Random draws make the units different. The theory above is about the scale of these draws. (Biases may start at 0,
# because the weights already make the units different.)
#
# Residual blocks that start as the identity
# ------------------------------------------
#
# One kind of zero is useful. A residual block, the topic of :doc:`/course/15_residual`, computes
# :math:`y = \mathrm{relu}(x + F(x))`, where the last layer of F is a batch norm. With :math:`\gamma = 1`, the output of
# F starts with mean square 1, whatever x is. Each block *adds* this to the signal, so the signal grows with depth. This
# growth is only linear, while the growth in the nets above was exponential. If the :math:`\gamma` of this last batch
# norm starts at 0, then F starts as 0, and every block starts as the identity. So the deep net starts as a shallow one.
#
# Does a zero here not stop all learning, as in the last section? No, because only one factor is zero. The gradient of
# :math:`\gamma` is :math:`\sum g\, \hat x`, which is not 0. So :math:`\gamma` changes in the first step, and from then
# on the layers before it have gradients, too. Their units get different gradients, because their weights were drawn at
# random.

images = (digits.images[:64] - digits.images.mean(0)) / digits.images.std()
net = models.cifar_resnet(20, in_channels=1, rng=0, zero_gamma=True)
conv, norm = net.layer1[0].conv2, net.layer1[0].bn2
sgd = optim.SGD(net.parameters(), 0.1)
for step in (1, 2):
    sgd.zero_grad()
    mg.cross_entropy(net(mg.Tensor(images)), digits.labels[:64]).backward()
    lengths = [np.linalg.norm(p.grad.data) for p in (norm.weight, conv.weight)]
    print(f"step {step}: length of the gradient of γ {lengths[0]:.4f}, of the convolution before it {lengths[1]:.4f}")
    assert lengths[0] > 0
    assert (lengths[1] > 0) == (step > 1)
    sgd.step()

# %%
# In minigrad, every layer with weights starts with He's rule. It takes a generator, ``rng``, so that two runs can start
# with the same weights: see :doc:`/source/minigrad/nn/init`. ``zero_gamma`` is an option of the residual nets. It is
# off by default, because the paper does not use it.
#
# Exercises
# ---------
#
# 1. **Leaky ReLU.** It multiplies negative numbers by a slope :math:`a` instead of setting them to 0. Derive the
#    variance, and draw the weights.
# 2. **Orthogonal weights.** He's weights make a vector :math:`\sqrt 2` times as long on average. Draw a matrix that
#    does this for *every* vector. A square matrix that changes no length is called *orthogonal*. Its columns have
#    length 1, and are perpendicular to each other. (The largest and the smallest *singular value* of a matrix are the
#    largest and the smallest factor by which it changes a length. So all singular values of an orthogonal matrix are 1,
#    and those of your matrix are :math:`\sqrt 2`.) The line ``q, r = np.linalg.qr(a)`` factors a square matrix: a is
#    the product ``q @ r``, q is orthogonal, and r is 0 below its diagonal. If the entries of a are normal, q is almost
#    the answer. But if column j of q and row j of r change their signs, the product stays the same. The routine chooses
#    these signs by a rule of its own, so some directions become more likely than others. Use the signs on the diagonal
#    of r to correct this.
# 3. **Measure instead of deriving.** Scale the weights of a given net, layer by layer, until a given batch has mean
#    square 1 before every ReLU.
#
# .. literalinclude:: /exercises/chapter_13.py
#
# Fill in ``chapter_13.py`` in :ref:`your folder <folder>`, and run ``python -m docs.exercises check FOLDER 13``.

show()
