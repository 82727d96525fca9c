r"""
13. Residual learning
=====================

If the best thing a layer can do is often nothing, how must it be written so that doing nothing is easy?

Chapter 12 ended with a riddle. A deep net in which the added layers pass on what they are given would be as good as a
shallow one, and the optimizer does not find it. A plain layer does nothing only at very special weights: a unit matrix
in the middle tap, and zeros elsewhere. The answer of "Deep Residual Learning" (section 3.1) is a change of one line.
It adds the input to the output.
"""

# %%
# The idea
# --------
#
# Let :math:`\mathcal H(x)` be what a few layers ought to compute. Do not let them learn it. Let them learn what is
# *missing* when x is simply passed on,
#
# .. math:: \mathcal F(x) = \mathcal H(x) - x, \qquad\text{so that}\qquad \mathcal H(x) = \mathcal F(x) + x .
#
# That is :term:`residual learning <residual learning 残差学习>`. The layers compute the residual :math:`\mathcal F(x)`,
# and a :term:`shortcut <shortcut connection 捷径连接>` carries x around them. What the net can express hardly changes.
# What changes is where zero lies: with all weights at zero, a plain layer destroys its input, and a residual block
# hands it on.

import copy
from contextlib import redirect_stderr
from io import StringIO
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np

import minigrad as mg
from demos import lab
from demos.style import PLAIN, RESIDUAL
from minigrad import nn, train
from minigrad.inspect import statistics
from minigrad.train.report import tidy
from models import cifar_plain, cifar_resnet


def draw_block(ax, names, residual):
    """Draw layers from top to bottom, and the shortcut around them, as in Fig. 2 of the paper."""
    arrow = {"arrowstyle": "-|>", "color": "black"}
    for i, name in enumerate(names):
        box = {"boxstyle": "circle,pad=0.2" if name == "+" else "round,pad=0.4", "fc": "0.92", "ec": "black"}
        ax.text(0, -i, name, ha="center", va="center", fontsize=11, bbox=None if name in "xy" else box)
        if i:
            ax.annotate("", (0, -i + 0.28), (0, 0.72 - i), arrowprops=arrow)
    if residual:
        plus = -names.index("+")
        ax.plot([0, 1.5, 1.5], [-0.42, -0.42, plus], color="black", lw=1.2)
        ax.annotate("", (0.2, plus), (1.5, plus), arrowprops=arrow)
        ax.text(1.6, plus / 2, "x, as it is", va="center")
        ax.text(-1.25, plus / 2, "F(x)", va="center", ha="center")
    ax.set(xlim=(-2, 3), ylim=(0.4 - len(names), 0.3))
    ax.set_axis_off()


layers = ["x", "conv 3x3, bn", "relu", "conv 3x3, bn"]
fig, axes = plt.subplots(1, 2, figsize=(7, 4.6), layout="constrained")
draw_block(axes[0], [*layers, "relu", "y"], residual=False)
draw_block(axes[1], [*layers, "+", "relu", "y"], residual=True)
axes[0].set_title("two plain layers")
axes[1].set_title("a residual block")

# %%
# In minigrad it is one line of :class:`models.resnet.BasicBlock`:
#
# .. literalinclude:: /../models/resnet.py
#    :pyobject: BasicBlock.forward
#
# Note what is *not* there: no switch, no weight on the shortcut, no parameter. The net has as many weights as the plain
# one and costs as many multiply-adds. Whatever difference we shall see comes from the addition alone.
#
# Doing nothing, by construction
# ------------------------------
#
# The last layer of :math:`\mathcal F` is a batch norm, which ends in :math:`\gamma \hat x + \beta`. Set :math:`\gamma`
# and :math:`\beta` to zero, and :math:`\mathcal F(x) = 0` whatever the convolutions hold. Then the block is
# :math:`\mathrm{relu}(x)`, and that is x, because x came out of the ReLU of the block before. So a deep net can *begin*
# as the identity from stem to pooling, but for the two places where the maps are halved. minigrad calls this
# ``zero_gamma=True``; chapter 11 saw that such a net can learn. (It is not in the paper; it became usual with P. Goyal
# et al., "Accurate, Large Minibatch SGD", arXiv 1706.02677.)

fresh = {"in_channels": 1, "width": 8, "rng": 0}
images, labels = next(iter(lab.digits(train=True, batch=128, rng=0)))
net = cifar_resnet(20, zero_gamma=True, **fresh)
x = net.stem(mg.Tensor(images))  # (128, 8, 8, 8)
for block in net.layer1:
    y = block(x)
    assert np.array_equal(y.data, x.data)  # to the bit
    x = y
count = len(net.layer1)
print(f"{count} blocks of random convolutions, and not one bit of {x.size:,} numbers has changed")

# %%
# A plain net with these convolutions cannot do that at any setting of its gammas. For a residual net it is the origin,
# and weight decay pulls towards it.
#
# The gradient of an addition
# ---------------------------
#
# What does the shortcut do on the way back? An addition has the simplest rule of all operators: the gradient goes to
# both sides, unchanged.
#
# .. literalinclude:: /../minigrad/ops/elementwise.py
#    :start-at: add.vjp
#    :end-at: add.vjp
#
# Let :math:`g` be the gradient of the loss in a block's output (leave the ReLU aside). It goes into :math:`\mathcal F`,
# whose layers make of it :math:`J^{\top} g` with the Jacobian :math:`J = \partial \mathcal F / \partial x`; and it goes
# along the shortcut. At x the two are added:
#
# .. math:: \frac{\partial L}{\partial x} = g + J^{\top} g = (I + J)^{\top} g .
#
# Through L blocks, from the last to the first, the gradient is a product. In a plain net it is :math:`J_1^{\top}
# J_2^{\top} \cdots J_L^{\top} g`, and a product of many factors tends to nothing or to infinity. In a residual net,
# multiply the brackets out:
#
# .. math::
#    (I + J_1)^{\top} \cdots (I + J_L)^{\top} g
#    = g + \sum_l J_l^{\top} g + \sum_{k < l} J_k^{\top} J_l^{\top} g + \cdots
#
# It is a sum over paths: for every subset of the blocks one term, :math:`2^L` in all. The first term is g itself: what
# the loss wants reaches every layer directly, and no product of small factors stands in between. Try it without a net:
# fifty layers of a random matrix and a tanh, on 16 numbers.

rng = np.random.default_rng(0)
matrices = [
    0.3 * rng.standard_normal((16, 16)) / 4 for _ in range(50)
]  # each shrinks a vector to about 0.3 of its length
sizes = {}
for kind in ("plain", "residual"):
    x = start = mg.Tensor(rng.standard_normal(16), requires_grad=True)
    for a in matrices:
        f = mg.tanh(mg.matmul(a, x))
        x = f + x if kind == "residual" else f
    (g,) = mg.grad(x.sum(), start)
    sizes[kind] = np.linalg.norm(g.data)
    print(f"{kind:8}  the gradient after 50 layers has length {sizes[kind]:.2g}")
assert sizes["plain"] < 1e-20
assert 0.1 < sizes["residual"] < 1e3

# %%
# But was not the lesson of :doc:`chapter 12 </course/12_plain_nets>` that the gradient of a plain net with batch norm
# does *not* vanish? It was. So this cannot be the whole story, and the paper does not claim it. Measure the real nets,
# then. For 20, 32 and 56 layers, before any training: the gradient in each ReLU's output, compared with that in the
# last one.


def gradients(net):
    with statistics(net) as responses:
        mg.cross_entropy(net(mg.Tensor(images)), labels).backward()
    # the ReLU at the end of a residual block stands behind the addition, not behind a batch norm
    relus = [r.gradient.norm for before, r in pairwise(responses) if (before.kind, r.kind) == ("BatchNorm2d", "ReLU")]
    return np.array(relus) / relus[-1]


fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
growth = {}
for kind, make, style in (("plain", cifar_plain, PLAIN), ("residual", cifar_resnet, RESIDUAL)):
    for depth in (20, 32, 56):
        sizes = gradients(make(depth, **fresh))
        growth[kind, depth] = sizes[0]
        # of a residual block only the ReLU inside is drawn: place them by their share of the way
        ax.semilogy(np.linspace(1, depth, len(sizes)), sizes, **style, lw=depth / 20, label=f"{kind}-{depth}")
        print(f"{kind}-{depth}: the first layer's gradient is {sizes[0]:,.0f} times the last one's")
ax.set(
    xlabel="layer", ylabel="gradient, relative to the last layer's", title="Before training: a product against a sum"
)
ax.legend(frameon=False)
tidy(ax)
assert growth["plain", 56] > 100 * growth["residual", 56]

# %%
# The plain nets' gradients are products: straight lines on a logarithmic axis, which reach the higher the longer they
# are. With 56 layers, the first layer's gradient is thousands of times as large as the last one's, and no one learning
# rate suits both. In the residual nets, the factor is 12 where it was 4,000. So what the shortcut does here is not to
# save a gradient from vanishing. It keeps all layers of a deep net on something like one scale.
#
# Where x does not fit
# --------------------
#
# At the beginning of a stage the maps are halved and the filters are doubled. Then :math:`\mathcal F(x)` has another
# shape than x, and the shortcut must do something. The paper compares three options (section 4.1, Table 3):
#
# ======  ===================================================  =====================  =====================
# option  the shortcut                                         parameters, ResNet-34  top-1 error (10-crop)
# ======  ===================================================  =====================  =====================
# A       every second pixel, and zeros for the new channels   21,623,848             25.03 %
# B       a 1x1 convolution where the shape changes            21,797,672             24.52 %
# C       a 1x1 convolution in every block                     22,716,840             24.19 %
# plain   none                                                 21,623,848             28.54 %
# ======  ===================================================  =====================  =====================
#
# The three differ by less than a point, and each of them is more than three points better than the plain net. So
# projections are not what cures degradation. The paper takes B for its deeper nets on ImageNet, and A on CIFAR-10,
# where the residual net then has exactly the weights of the plain one. Option A, in full:
#
# .. literalinclude:: /../models/resnet.py
#    :pyobject: PadShortcut.forward

for option in "ABC":
    print(f"option {option}: ResNet-20 has {sum(p.size for p in cifar_resnet(20, option).parameters()):,} parameters")
same, plain = (sum(p.size for p in make(20).parameters()) for make in (cifar_resnet, cifar_plain))
assert same == plain

# %%
# The ReLU after the addition
# ---------------------------
#
# Why does the last ReLU stand behind the addition, and not at the end of :math:`\mathcal F`? There, :math:`\mathcal
# F(x)` could never be negative. Blocks could only add to the signal and never take anything away from it, and it would
# grow and grow. Put it there and see: since x is not negative, a block with a ReLU at the end of its residual is just
# that, and the ReLU behind the sum does nothing any more.

after = cifar_resnet(56, **fresh)
before = copy.deepcopy(after)
for stage in before.stages:
    for block in stage:
        block.bn2 = nn.Sequential(block.bn2, nn.ReLU())

means = {}
for name, net in (("behind the addition", after), ("in front of it", before)):
    x, means[name] = net.stem(mg.Tensor(images)), []
    for block in net.layer1:
        x = block(x)
        means[name].append(float(x.data.mean()))
    print(f"ReLU {name + ':':21}", *(f"{m:.1f}" for m in means[name]))
assert means["in front of it"][-1] > 1.5 * means["behind the addition"][-1]

# %%
# In front of the addition the mean grows by the same amount in every block. Behind it, growth is slower and slows down,
# since the negative part of :math:`\mathcal F` counts. It does not stop: the ReLU on the path clips the sum, so the
# path is not a pure identity. Three months later the same authors moved the ReLU off the path altogether, to where it
# comes before the convolutions of :math:`\mathcal F` ("Identity Mappings in Deep Residual Networks", arXiv 1603.05027).
# minigrad builds the nets of the first paper.
#
# The experiment
# --------------
#
# Train a plain and a residual net of 20 layers on the digits, with the recipe of chapter 12 and one more walk. They
# have the same number of weights, begin with the same random numbers, and see the same batches.

nets = {"plain-20": cifar_plain(20, **fresh), "residual-20": cifar_resnet(20, **fresh)}
errors = {}
weights = [[p.data for p in net.parameters()] for net in nets.values()]
assert all(np.array_equal(a, b) for a, b in zip(*weights, strict=True))
for name, net in nets.items():
    with redirect_stderr(StringIO()):
        history = lab.fit(net, epochs=6, lr=0.1, warmup=24)
    errors[name] = [100 * record["train_error"] for record in history]
    print(f"{name:11}  training error {errors[name][-1]:4.1f} %   test error {history[-1]['test_error']:6.1%}")

# %%
# And a second experiment, with what was learned (after A. Veit et al., "Residual Networks Behave Like Ensembles of
# Relatively Shallow Networks", arXiv 1605.06431). Take two layers out of the trained net, without any repair, and test
# what is left. From the plain net, two convolutions with what belongs to them. From the residual net, a block: its path
# through :math:`\mathcal F` is cut, and the shortcut remains. Only where the shape does not change, of course.

test = lab.digits(train=False)
places = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 1), (2, 2)]  # (stage, block)
left = {}
for name, net in nets.items():
    left[name] = []
    for stage, i in places:
        cut = copy.deepcopy(net)
        del cut.stages[stage].layers[i]
        left[name].append(100 * train.evaluate(cut, test)[1])

fig, (curves, bars) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
for shift, (name, style) in zip((-0.2, 0.2), (("plain-20", PLAIN), ("residual-20", RESIDUAL)), strict=True):
    curves.plot(range(1, 7), errors[name], **style, lw=2, label=name)
    face = "white" if name == "plain-20" else style["color"]
    bars.bar(np.arange(7) + shift, left[name], 0.4, color=face, edgecolor=style["color"], label=name)
curves.set(xlabel="walks over the training set", ylabel="training error (%)", title="Trained", ylim=(0, 100))
bars.set(xlabel="stage.block", ylabel="test error (%)", title="Two layers taken out", ylim=(0, 119))
bars.set_xticks(range(7), [f"{stage + 1}.{i + 1}" for stage, i in places])
for panel in (curves, bars):
    panel.legend(frameon=False, loc="upper right", ncols=2 if panel is bars else 1)
    tidy(panel)

print("test error without block:", *(f"{stage + 1}.{i + 1}" for stage, i in places), sep="\t")
for name in nets:
    print(f"{name:24}", *(f"{error:.0f} %" for error in left[name]), sep="\t")
assert errors["residual-20"][-1] < errors["plain-20"][-1]
assert np.median(left["residual-20"]) < 20 < 60 < min(left["plain-20"])

# %%
# The plain net is a chain: cut one link, and it little more than guesses. The residual net misses its first blocks
# most, because everything else builds on them, but later ones can go almost unnoticed. Half of the :math:`2^L` paths
# run around any one block, and they still work. And each later block has learned a *small* correction. That is the
# paper's hypothesis, too, and it measured the responses of the 3x3 layers, after batch norm and before the ReLU or the
# addition: they are generally smaller in residual nets than in plain ones, and smaller still in deeper residual nets
# (Fig. 7).
#
# So what does cure degradation? Not more gradient, as such, and not more parameters. The identity is near where the net
# begins, and weight decay leads it there; the gradient of the loss reaches every layer directly; and a block that has
# nothing to add need not learn to be silent. With that, plain-34 with its 28.54 % becomes ResNet-34 with 25.03 %, and
# more depth helps again. How much does more depth cost? That is :doc:`chapter 14 </course/14_bottlenecks>`.
#
# Exercises
# ---------
#
# 1. **The gradient of a chain.** For a chain of linear residual blocks, write the way back by hand.
# 2. **Option A** for arrays, with the zeros on both sides, as some ports have it.
# 3. **Begin at the identity.** Make a net that is built already begin as its shortcuts.
#
# .. literalinclude:: /exercises/chapter_13.py
#
# Fill in ``docs/exercises/chapter_13.py`` and run ``python docs/exercises/check.py 13``.
