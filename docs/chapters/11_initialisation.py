r"""
11. Initialisation
==================

Draw the weights of fifty layers at random. What is left of the signal at the end, and of the gradient at the
beginning?

Before a net can learn, its first forward pass has to bring something to the end, and its first backward pass
something back. A layer that makes its signal a little smaller does no harm; fifty of them in a row multiply. This
chapter finds the one scale of random weights at which nothing grows and nothing fades. Then it looks at two other
starts: one that is perfectly symmetric, and does not work, and one with a zero in the right place, which does.
"""

# %%
# One unit
# --------
#
# A unit adds up products: :math:`y_o = \sum_k x_k\, w_{k o}`. Here k runs over the :math:`f` inputs of the unit, its
# *fan-in*: all inputs of a linear layer, and :math:`k_h k_w c` for a convolution. Let the weights be drawn
# independently from a symmetric distribution with mean 0 and variance :math:`v`. Over the draws of the weights, y has
# mean 0, and its variance is a sum of :math:`f` parts:
#
# .. math:: \operatorname{E}[y_o^2] = \sum_k \operatorname{E}[w_{k o}^2]\; x_k^2 = f\, v\, \operatorname{mean}(x^2),
#
# the last factor being the mean square of the inputs. (The mixed terms vanish, because different weights are
# independent. Nothing was asked of the x: they may depend on each other as they like, and after a ReLU they do not
# even have mean 0. That is why one follows the mean *square*, and not the variance.)
#
# Now the ReLU. A weight is as likely as its negative, and so y is as likely as -y. Half of the squares are cut to 0,
# the other half stays:
#
# .. math:: \operatorname{E}[\mathrm{relu}(y)^2] = \tfrac{1}{2} \operatorname{E}[y^2] .
#
# So layer after layer the mean square is multiplied by :math:`\frac{1}{2} f v`. It stays as it is if
#
# .. math:: v = \frac{2}{f} .
#
# This is *He initialisation* (K. He et al., "Delving Deep into Rectifiers", 2015), by the authors of the residual nets,
# ten months before those. In minigrad it is one line, of :func:`minigrad.nn.init.he_normal`:
#
# .. literalinclude:: /../minigrad/nn/init.py
#    :start-at: return _scaled(_generator(rng).standard_normal
#    :lines: 1
#    :dedent:

import matplotlib.pyplot as plt
import numpy as np

import minigrad as mg
import models
from minigrad import nn, optim
from minigrad.train.report import shade, tidy

rng = np.random.default_rng(11)
x = np.abs(rng.standard_normal((2000, 300)))  # not centred, as after a ReLU
x[:, 1] = x[:, 0]  # nor independent
w = nn.init.he_normal((300, 500), rng=rng, dtype=np.float64)
y = x @ w
ratios = np.mean(y**2) / np.mean(x**2), np.mean(np.maximum(y, 0) ** 2) / np.mean(x**2)
print(f"mean square, relative to that of x: after the layer {ratios[0]:.2f}, after its ReLU {ratios[1]:.2f}")
assert abs(ratios[0] - 2) < 0.15
assert abs(ratios[1] - 1) < 0.15

# %%
# The way back
# ------------
#
# The gradient goes the other way through the same weights: :math:`dx_k = \sum_o w_{k o}\, \mathrm{mask}_o\, g_o`,
# where the mask is 1 if the ReLU let :math:`y_o` through, and 0 if not. The sum is over the :math:`f'` *outputs*, the
# fan-out, and half of the masks are 0. For g drawn independently, with mean 0,
#
# .. math:: \operatorname{E}[dx_k^2] = \tfrac{1}{2} f' v\, \operatorname{mean}(g^2) .
#
# So the gradient would like :math:`v = 2 / f'`. Who is right? Where a layer has as many outputs as inputs, both.
# Where it has not, :math:`v = 2 / f` gives the gradient the factor :math:`f' / f` per layer. The outputs of one layer
# are the inputs of the next, so in a product over layers all of these sizes cancel but the first and the last. Either
# choice serves both directions, and minigrad takes the fan-in.
#
# Before ReLU came, X. Glorot and Y. Bengio (2010) had settled it by the middle, :math:`v = 2 / (f + f')`, for layers
# that are nearly linear: there is no :math:`\frac{1}{2}` then. With ReLU, and :math:`f = f'`, each layer of theirs
# halves the mean square.
#
# Fifty layers
# ------------
#
# A factor per layer, to the power of fifty. The figure has the mean square of the signal, from left to right, and of
# a random gradient that was put in at the end, from right to left. The dotted lines are :math:`(\frac{1}{2} f v)^l`.

WIDTH, DEPTH = 128, 50


def pass_through(fv, norm=False, seed=0):
    """Return the mean squares of signal and gradient at the DEPTH + 1 places, and the last signal."""
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
    print(f"{name:25} per layer: the signal times {forward:.2f}, the gradient times {backward:.2f}")
for name, (fv, norm) in starts.items():
    assert norm or np.allclose(per_layer[name], fv / 2, rtol=0.1)

# %%
# Glorot's rule loses a factor of :math:`2^{50}`, about :math:`10^{15}`, of the mean square in either direction. The
# gradient of a layer's weights is a product of both, of the signal that comes in and the gradient that comes back
# (:math:`dw = x^{\top} g`). Between them they have lost it all, wherever the layer stands: in *every* layer, dw is
# :math:`2^{25}` times smaller than at He's scale, thirty million. Such a step, beside weights of 0.1, is less than the
# seven digits of a float32 can show. At He's scale, signal and gradient arrive. Not exactly at 1: a finite layer is a
# finite sample, and the small deviations multiply, too. In narrower nets they would be larger.
#
# What batch norm does, and what it does not
# ------------------------------------------
#
# The dashed line on the left is level, for any scale of weights: batch norm makes sure of it, layer by layer, in the
# real net and not only at the start. So a net with batch norm no longer depends on its initialisation for the
# *signal*.
#
# Now look at the right panel. The gradient *grows* towards the front, by a factor of 1.4 or so per layer. It is no
# mistake, and it can be derived. After batch norm, y has mean 0 and variance 1; take it as normal. Then
# :math:`\mathrm{relu}(y)` has mean square :math:`\frac{1}{2}` and mean :math:`1 / \sqrt{2\pi}`, hence variance
# :math:`\frac{1}{2} - \frac{1}{2\pi}`. Only the *variance* over the batch survives the subtraction of the mean in the
# next layer, and :math:`f v = 2` makes it :math:`1 - \frac{1}{\pi}`. That is below 1, so batch norm scales up, by
# :math:`1 / \sqrt{1 - 1/\pi}`, and the gradient with it:
#
# .. math:: \text{gradient, mean square, per layer:}\quad \frac{1}{1 - 1/\pi} = \frac{\pi}{\pi - 1} \approx 1.47 .
#
# (G. Yang et al., "A Mean Field Theory of Batch Normalization", 2019, have this in full; our layers are finite and
# fall a little short of it.) Over 30 such layers that makes a gradient a few hundred times as long at the front as at
# the end. The brake of :doc:`/course/09_batch_norm` can live with that: there, layers with large gradients grow large
# weights. It is *no vanishing gradient*, and the paper says the same of its plain nets (section 4.1). Their trouble is
# another one: see :doc:`/course/12_plain_nets`, which measures this growth in convolutional nets, too.
#
# And one thing He's rule does not keep: the difference between two inputs. Each ReLU makes the angle between two
# signals smaller. After fifty layers all inputs look almost alike.


def cosine(signal):
    """Return the mean cosine of the angles between the first input's signal and all others."""
    unit = signal / np.linalg.norm(signal, axis=1, keepdims=True)
    return np.mean(unit[1:] @ unit[0])


he, normalised = cosine(found["f v = 2: He"][2]), cosine(found["any f v, with batch norm"][2])
print(f"cosine of the angle between two inputs that were unrelated: {he:.2f} with He, {normalised:.2f} with batch norm")
assert he > 0.9
assert normalised < 0.5

# %%
# Does it matter for training?
# ----------------------------
#
# We train thirty layers on the digits with momentum, from He's start, from Glorot's, and from one of 1.2 times He's
# standard deviation. He et al. compared the first two in 30 layers on ImageNet; theirs with Glorot's weights did not
# learn either.

digits = mg.data.Digits()
pixels = ((digits.images - digits.images.mean(0)) / digits.images.std()).reshape(-1, 64)


def train(scale, steps=120, lr=0.003):
    rng = np.random.default_rng(0)
    layers = []
    for _ in range(29):
        layers += [nn.Linear(64, 64, rng=rng), nn.ReLU()]
        layers[-2].w.data *= scale
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
tidy(panel)
for i, (name, losses) in enumerate(curves.items()):
    if losses.max() < 10:
        panel.plot(losses, ls=("-", "--")[i], lw=1.6, color=shade(1 - i, 2), label=name)
    print(f"{name:9} loss of the first batch {losses[0]:8.3f}, mean of the last ten {losses[-10:].mean():.3g}")
panel.set(
    xlabel="iteration",
    ylabel="loss of the batch",
    ylim=(0, 3),
    title="Thirty layers on the digits (1.2 × He would need a taller page)",
)
panel.legend(loc="lower left")
assert curves["He"][-10:].mean() < 2.0
assert curves["Glorot"][-10:].mean() > 2.25

# %%
# All-equal weights
# -----------------
#
# Why random at all? Let all weights of a layer be the same number. Then all units of a layer compute the same, get
# the same gradient, and take the same step. They are the same for ever: a layer of 32 units is a layer of one. With
# zeros it is worse: where all w are 0, no gradient passes through them at all.


def train_small(start):
    """Train two layers that begin as `start` says; return the first weights, and the share of wrong answers."""
    net = nn.Sequential(nn.Linear(64, 32, rng=0), nn.ReLU(), nn.Linear(32, 10, rng=1))
    for layer in (net.layers[0], net.layers[2]):
        layer.w.data[...] = start(layer.w.data)
    sgd = optim.SGD(net.parameters(), 0.05)
    for _ in range(100):
        loss = mg.cross_entropy(net(mg.Tensor(pixels)), digits.labels)
        sgd.zero_grad()
        loss.backward()
        sgd.step()
    wrong = np.mean(net(mg.Tensor(pixels)).data.argmax(1) != digits.labels)
    return net.layers[0].w.data, wrong


for name, start in {"random": lambda w: w, "all 0.05": lambda w: 0.05, "all 0": lambda w: 0.0}.items():
    w, wrong = train_small(start)
    different = sum(not any(np.allclose(w[:, i], w[:, j], atol=1e-4) for j in range(i)) for i in range(32))
    print(f"{name:9} different units after training: {different:2}; {wrong:4.0%} of the training set wrong")
    assert different == (32 if name == "random" else 1)

# %%
# Random draws are there to break this tie; their scale is all that the theory is about. (Biases may begin at 0: the
# weights tell the units apart.)
#
# A zero in the right place
# -------------------------
#
# One zero is useful. A residual block, which :doc:`/course/13_residual` is about, computes :math:`y = \mathrm{relu}(x
# + F(x))`, where the last layer of F is a batch norm. With :math:`\gamma = 1`, F begins with mean square 1, whatever x
# is. Each block *adds* to the signal, which grows with depth, though only in a line where the nets above grew by
# powers. If the :math:`\gamma` of this last batch norm begins at 0, then F begins as 0, and every block as the
# identity. The deep net begins as a shallow one.
#
# Is this not the dead start of the section before? No: only one factor is zero. The gradient of :math:`\gamma` is
# :math:`\sum g\, \hat x`, and that is not 0. So :math:`\gamma` moves in the first step, and from then on the layers
# before it have gradients, too, each its own, because their weights were drawn.

images = (digits.images[:64] - digits.images.mean(0)) / digits.images.std()
net = models.cifar_resnet(20, in_channels=1, rng=0, zero_gamma=True)
conv, norm = net.layer1[0].conv2, net.layer1[0].bn2
sgd = optim.SGD(net.parameters(), 0.1)
for step in (1, 2):
    sgd.zero_grad()
    mg.cross_entropy(net(mg.Tensor(images)), digits.labels[:64]).backward()
    lengths = [np.linalg.norm(p.grad.data) for p in (norm.gamma, conv.w)]
    print(f"step {step}: length of the gradient of γ {lengths[0]:.4f}, of the convolution before it {lengths[1]:.4f}")
    assert lengths[0] > 0
    assert (lengths[1] > 0) == (step > 1)
    sgd.step()

# %%
# In minigrad every layer with weights begins by He's rule and asks for a generator, ``rng``, so that two runs can
# begin alike: see :doc:`/source/minigrad/nn/init`. ``zero_gamma`` is an option of the residual nets, off by default,
# because the paper does not have it.
#
# Exercises
# ---------
#
# 1. **Leaky ReLU.** It multiplies negative numbers by a slope :math:`a` instead of cutting them off. Derive the
#    variance, and draw the weights.
# 2. **Orthogonal weights.** Draw a matrix that makes *every* vector :math:`\sqrt 2` times as long, and not only on
#    average, as He's weights do: its singular values are all :math:`\sqrt 2`. The factor q that ``np.linalg.qr`` makes
#    of normal draws is almost it, but the signs of its columns follow a habit of the routine. The diagonal of r has
#    the signs to put that right.
# 3. **Measure instead of deriving.** Scale the weights of a given net, layer by layer, until a real batch has mean
#    square 1 before every ReLU.
#
# .. literalinclude:: /exercises/chapter_11.py
#
# Fill in ``docs/exercises/chapter_11.py`` and run ``python docs/exercises/check.py 11``.
