r"""
15. Residual learning
=====================

Often the best thing a layer can do is to leave its input unchanged. How must the layer be written so that this is easy?

Chapter 14 ended with a problem. If the added layers of a deep net only passed their input on, the deep net would be as
good as the shallow one; but the optimizer does not find such weights. A plain layer is the identity only at very
special weights: a unit matrix in the middle tap, and zeros elsewhere. The answer of "Deep Residual Learning" (section
3.1) is to change one line: it adds the input to the output.
"""

# %%
# The idea
# --------
#
# Let :math:`\mathcal H(x)` be the function that a few layers should compute. The layers need not learn this function
# itself. They can learn its *difference* from x,
#
# .. math:: \mathcal F(x) = \mathcal H(x) - x, \qquad\text{so that}\qquad \mathcal H(x) = \mathcal F(x) + x .
#
# This is :term:`residual learning <residual learning 残差学习>`. The layers compute the residual :math:`\mathcal F(x)`,
# and a :term:`shortcut <shortcut connection 捷径连接>` carries x around them. The set of functions that the net can
# represent hardly changes. But the effect of zero weights changes: with all weights at zero, a plain layer destroys its
# input, and a residual block passes it on.

import copy
import math
from contextlib import redirect_stderr
from io import StringIO
from itertools import pairwise, product

import matplotlib.pyplot as plt
import numpy as np

import minigrad as mg
from demos import lab
from demos.corrections import gammas, ratios
from demos.explanations import by_length, share
from demos.style import PLAIN, RESIDUAL
from minigrad import nn, train
from minigrad.inspect import statistics
from minigrad.train.report import shade, show, tidy
from models import cifar_plain, cifar_resnet


def draw_block(ax, names, residual):
    """Draw layers from top to bottom and, if residual, the shortcut around them, as in Fig. 2 of the paper."""
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
        ax.text(1.6, plus / 2, "x, unchanged", va="center")
        ax.text(-1.25, plus / 2, "F(x)", va="center", ha="center")
    ax.set(xlim=(-2, 3), ylim=(0.4 - len(names), 0.3))
    ax.set_axis_off()


layers = ["x", "conv 3x3, bn", "relu", "conv 3x3, bn"]
fig, axes = plt.subplots(1, 2, figsize=(7, 4.6), layout="constrained")
fig.set_label(
    "Two drawings of layers from x to y: two plain layers in a row, and the same in a residual block, where x also "
    "goes around them and is added before the last ReLU."
)
draw_block(axes[0], [*layers, "relu", "y"], residual=False)
draw_block(axes[1], [*layers, "+", "relu", "y"], residual=True)
axes[0].set_title("two plain layers")
axes[1].set_title("a residual block")

# %%
# In minigrad, this is one line of :class:`models.resnet.BasicBlock`:
#
# .. literalinclude:: /../models/resnet.py
#    :pyobject: BasicBlock.forward
#
# Note what is *not* there: no switch, no weight on the shortcut, no parameter. The net has as many weights as the plain
# net and needs as many multiply-adds. So every difference that we shall see comes from the addition alone.
#
# The identity as a starting point
# --------------------------------
#
# The last layer of :math:`\mathcal F` is a batch norm, which computes :math:`\gamma \hat x + \beta`. If :math:`\gamma`
# and :math:`\beta` are zero, :math:`\mathcal F(x) = 0` for any weights of the convolutions. Then the block computes
# :math:`\mathrm{relu}(x)`. This is x, because x is the output of the previous block's ReLU and not negative. So a deep
# net can *begin* as the identity from the stem (the first convolution, with its batch norm and ReLU) to the pooling,
# except for the two blocks that halve the maps. In minigrad this is ``zero_gamma=True``; chapter 13 showed that such a
# net can learn. (It is not in the paper. It became usual with P. Goyal et al., "Accurate, Large Minibatch SGD", arXiv
# 1706.02677.)

fresh = {"in_channels": 1, "width": 8, "rng": 0}
images, labels = next(iter(lab.digits(train=True, batch=128, rng=0)))
net = cifar_resnet(20, zero_gamma=True, **fresh)
x = net.stem(mg.Tensor(images))  # (128, 8, 8, 8)
for block in net.layer1:
    y = block(x)
    assert np.array_equal(y.data, x.data)  # exactly
    x = y
count = len(net.layer1)
print(f"{count} blocks of random convolutions: all {x.size:,} numbers are unchanged, bit for bit")

# %%
# How far from the identity?
# --------------------------
#
# The nets of the paper do not begin at the identity: their gammas are 1. How large is the residual then, compared with
# x? We measure the norm of :math:`\mathcal F(x)` relative to that of x, in each block of nets of 20, 56 and 110 layers:

fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
fig.set_label(
    "The residual's norm relative to x against the block, for three depths: it falls, and rises where a stage begins."
)
begin = {}
for i, depth in enumerate((20, 56, 110)):
    begin[depth] = ratios(cifar_resnet(depth, **fresh))
    blocks = np.arange(1, len(begin[depth]) + 1)
    ax.plot(blocks, begin[depth], color=shade(i, 3), lw=2.5 - 0.7 * i, label=f"residual-{depth}")
    print(f"residual-{depth:<4}", *(f"{x:.2f}" for x in begin[depth][:9]), f"...  mean {begin[depth].mean():.2f}")
ax.plot(blocks, blocks**-0.5, "--", color="0.5", label="1 / sqrt(block)")
ax.set(xlabel="block", ylabel="|F(x)| / |x|", ylim=(0, 1.6), title="Residuals before training, relative to x")
ax.legend(frameon=False)
tidy(ax)
assert abs(begin[20][0] - math.sqrt(2)) < 0.05
assert begin[20].min() > 0.4
assert abs(begin[110].mean() - 1 / 3) < 0.03

# %%
# In the first block, the residual is larger than x: batch norm gives :math:`\mathcal F(x)` the variance 1, and the
# mean square of x, a rectified normal number, is a half. So the norms have the ratio :math:`\sqrt 2 = 1.41`. Each block
# then adds to x, and the next :math:`\mathcal F` has the variance 1 again. So the square of x grows in proportion to
# the number of blocks, and the ratio falls with its square root. (Where a stage begins, option A pads x with zeros, and
# the ratio rises.) In ResNet-20 no block is near the identity. In ResNet-110 a residual has about a third of the norm
# of x in the mean. S. De and S. Smith (arXiv 2002.10444) see here why batch norm makes deep residual nets trainable:
# relative to x, it weakens each residual by the square root of the depth.
#
# Does weight decay bring the blocks nearer to the identity? Not through the convolutions, because batch norm undoes any
# scaling of their weights. It acts on gamma and beta. In runs as short as those of this chapter, it changes them by
# less than one percent; :doc:`/why_residual` tells what it does in long runs.
#
# The gradient of an addition
# ---------------------------
#
# What does the shortcut do in the backward pass? An addition has the simplest rule of all operators: it passes the
# gradient to both arguments, unchanged.
#
# .. literalinclude:: /../minigrad/ops/elementwise.py
#    :start-at: add.vjp
#    :end-at: add.vjp
#
# Let :math:`g` be the gradient of the loss with respect to a block's output (ignore the ReLU). The layers of
# :math:`\mathcal F` multiply it by their transposed Jacobian and return :math:`J^{\top} g`, where :math:`J = \partial
# \mathcal F / \partial x`. The shortcut returns g itself. At x the two are added:
#
# .. math:: \frac{\partial L}{\partial x} = g + J^{\top} g = (I + J)^{\top} g .
#
# Through D blocks, from the last to the first, the gradient becomes a product. In a plain net it is :math:`J_1^{\top}
# J_2^{\top} \cdots J_D^{\top} g`, and a product of many factors usually tends to zero or to infinity. In a residual
# net, expand the product:
#
# .. math::
#    (I + J_1)^{\top} \cdots (I + J_D)^{\top} g
#    = g + \sum_l J_l^{\top} g + \sum_{k < l} J_k^{\top} J_l^{\top} g + \cdots
#
# This is a sum over paths, with one term for every subset of the blocks, :math:`2^D` terms in all. A. Veit, M. Wilber
# and S. Belongie (arXiv 1605.06431) call this the *unravelled view*. Here are the paths of three blocks:

fig, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
fig.set_label(
    "The eight paths through three blocks as arrows: one passes through no block, three through one, three through "
    "two, and one through all."
)
for row, through in enumerate(sorted(product((0, 1), repeat=3), key=lambda path: (sum(path), path[::-1]))):
    ax.annotate("", (4, -row), (0, -row), arrowprops={"arrowstyle": "-|>", "color": "black"})
    for block in np.flatnonzero(through):
        box = {"boxstyle": "round,pad=0.3", "fc": "0.92", "ec": "black"}
        ax.text(block + 1, -row, f"F{block + 1}", ha="center", va="center", bbox=box)
    ax.text(4.15, -row, f"through {sum(through)} block{'s' * (sum(through) != 1)}", va="center")
ax.set(xlim=(-0.2, 5.6), ylim=(-7.6, 0.6), title="The eight paths of three residual blocks")
ax.set_axis_off()

# %%
# The first term is g itself: it reaches every layer directly, without a product of many factors. But is it an important
# part of the sum? Only D paths pass through one block; most paths pass through about half of the blocks. The function
# ``by_length`` of :doc:`a demo </gallery/explanations>` computes exactly how much of the gradient comes from all paths
# of one length, with a few hundred backward passes of single blocks. The shares add up to 1:

shares = share(by_length(cifar_resnet(56, **fresh), images[:16], labels[:16]))
paths = np.array([math.comb(27, k) / 2**27 for k in range(28)])
lengths = np.arange(28)
print(f"27 blocks, {2**27:,} paths: a path passes through {lengths @ paths:.1f} blocks in the mean")
print(f"the gradient: {lengths @ shares:.1f} blocks; {shares[:11].sum():.0%} comes through at most 10 blocks")
print(f"of the paths, {paths[:11].sum():.0%} are as short")
assert abs(shares.sum() - 1) < 1e-3
assert lengths @ shares < 10

# %%
# Short paths are rare, but most of the gradient comes through them: each further block makes a path's part smaller.
#
# Do shortcuts then prevent vanishing gradients? :doc:`Chapter 14 </course/14_plain_nets>` showed that the gradient of a
# plain net with batch norm does *not* vanish. This cannot be the explanation, and the paper does not claim that it is.
# So we measure the size of the gradients in the real nets, with 20, 32 and 56 layers, before any training. For each
# ReLU layer, we compare the gradient at its output with the gradient at the output of the last ReLU layer.


def gradients(net):
    with statistics(net) as responses:
        mg.cross_entropy(net(mg.Tensor(images)), labels).backward()
    # the ReLU at the end of a residual block stands behind the addition, not behind a batch norm
    relus = [r.gradient.norm for before, r in pairwise(responses) if (before.kind, r.kind) == ("BatchNorm2d", "ReLU")]
    return np.array(relus) / relus[-1]


fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
fig.set_label(
    "Norm of the gradient at each ReLU, relative to the last, logarithmic: in plain nets it grows strongly towards "
    "the first layers, in residual nets little."
)
growth = {}
for kind, make, style in (("plain", cifar_plain, PLAIN), ("residual", cifar_resnet, RESIDUAL)):
    for depth in (20, 32, 56):
        sizes = gradients(make(depth, **fresh))
        growth[kind, depth] = sizes[0]
        # only the ReLU inside a residual block is drawn: spread these layers evenly over the depth
        ax.semilogy(np.linspace(1, depth, len(sizes)), sizes, **style, lw=depth / 20, label=f"{kind}-{depth}")
        print(f"{kind}-{depth}: the first layer's gradient is {sizes[0]:,.0f} times the last layer's")
ax.set(xlabel="layer", ylabel="gradient, relative to the last layer's", title="Gradients before training")
ax.legend(frameon=False)
tidy(ax)
assert abs(growth["residual", 56] / 12 - 1) < 0.1
assert abs(growth["plain", 56] / 4000 - 1) < 0.1

# %%
# The plain nets' gradients behave like products: on a logarithmic axis they are straight lines, and the longer the net,
# the higher its line. With 56 layers, the first layer's gradient is thousands of times as large as the last layer's,
# and no single learning rate suits both. In the residual net of 56 layers the factor is 12; in the plain net it is
# 4,000. So here the shortcut does not save a gradient from vanishing. It keeps the gradients of all layers at a similar
# scale.
#
# Shortcuts where the shape changes
# ---------------------------------
#
# At the beginning of a stage the maps are halved and the number of filters is doubled. Then the shape of
# :math:`\mathcal F(x)` differs from the shape of x, and the shortcut must change the shape of x as well. The paper
# compares three options (section 4.1, Table 3):
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
# The three options differ by less than a point, and each is more than three points better than the plain net. So
# 1x1 convolutions on the shortcut, the paper's *projections*, are not the reason why residual nets avoid degradation.
# (The paper averages over ten crops of each image.) The paper uses B for its deeper nets on ImageNet.
# On CIFAR-10 it uses A, with which the residual net has exactly the weights of the plain net. Here is all of option A:
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
# Why does the last ReLU come after the addition, and not at the end of :math:`\mathcal F`? With a ReLU at its end,
# :math:`\mathcal F(x)` could never be negative. Then blocks could only add to the signal and never subtract from it, so
# the signal would grow from block to block. We can test this: append a ReLU to the residual of each block. The ReLU
# after the addition then changes nothing, because neither x nor :math:`\mathcal F(x)` is negative.

after = cifar_resnet(56, **fresh)
before = copy.deepcopy(after)
for stage in before.stages:
    for block in stage:
        block.bn2 = nn.Sequential(block.bn2, nn.ReLU())

means = {}
for name, net in (("after the addition", after), ("before the addition", before)):
    x, means[name] = net.stem(mg.Tensor(images)), []
    for block in net.layer1:
        x = block(x)
        means[name].append(float(x.data.mean()))
    print(f"ReLU {name + ':':21}", *(f"{m:.1f}" for m in means[name]))
assert means["before the addition"][-1] > 1.5 * means["after the addition"][-1]

# %%
# With the ReLU before the addition, the mean grows by about the same amount in every block. With the ReLU after the
# addition, the mean grows more slowly, and by less and less, since :math:`\mathcal F` can be negative. The growth does
# not stop, because the ReLU after the addition clips the sum, so the way from block to block is not exactly the
# identity. Three months later, the same authors moved the ReLU off this way, to before the convolutions of
# :math:`\mathcal F` ("Identity Mappings in Deep Residual Networks", arXiv 1603.05027): batch norm and ReLU come before
# each convolution, and nothing comes after the addition. In minigrad these nets are :func:`models.cifar_preact_resnet`:
#
# .. literalinclude:: /../models/preact.py
#    :pyobject: PreactBlock.forward
#
# Training both nets
# ------------------
#
# Train a plain and a residual net of 20 layers on the digits, with the recipe of chapter 14 and one epoch more. The two
# nets have the same number of weights, start from the same random numbers, and see the same batches.

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
# The second experiment uses the trained nets (after A. Veit et al., "Residual Networks Behave Like Ensembles of
# Relatively Shallow Networks", arXiv 1605.06431). Remove two layers from a trained net, do not train it again, and test
# it. From the plain net, remove two convolutions with their batch norms and ReLUs. From the residual net, remove one
# block: only its shortcut remains, without the path through :math:`\mathcal F`. This works only for blocks that keep
# the shape.

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
fig.set_label(
    "Left, training error of both nets. Right, bars of the test error when one block is left out: far higher in the "
    "plain net than in the residual net."
)
for shift, (name, style) in zip((-0.2, 0.2), (("plain-20", PLAIN), ("residual-20", RESIDUAL)), strict=True):
    curves.plot(range(1, 7), errors[name], **style, lw=2, label=name)
    face = "white" if name == "plain-20" else style["color"]
    bars.bar(np.arange(7) + shift, left[name], 0.4, color=face, edgecolor=style["color"], label=name)
curves.set(xlabel="epoch", ylabel="training error (%)", title="Training", ylim=(0, 100))
bars.set(xlabel="stage.block", ylabel="test error (%)", title="Two layers removed", ylim=(0, 119))
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
# The plain net is a chain: with two layers removed, it is hardly better than guessing. The residual net needs its first
# blocks most, because all later blocks use their output, but later blocks can be removed with little effect. Half of
# the :math:`2^D` paths do not pass through a given block, and these paths still work.
#
# Did the residual net learn small corrections? Here is the norm of each residual relative to x, and the mean gamma of
# each block's last batch norm, after training:

learned, last = ratios(nets["residual-20"]), gammas(nets["residual-20"])
print("|F(x)| / |x|", *(f"{ratio:.2f}" for ratio in learned))
print("gamma       ", *(f"{gamma:.2f}" for gamma in last))
assert learned.min() > 0.4
assert np.abs(last - 1).max() < 0.15

# %%
# It did not. The residuals have about half the size of x, or more, and the gammas are near 1. The later blocks can be
# removed although they change their input a lot.
#
# Why does it work?
# -----------------
#
# The paper's own hypothesis is that the identity is a good reference point (section 3.1): if a good function is nearer
# to the identity than to zero, it is easier to find the difference. As evidence, the paper shows that the responses of
# the 3x3 layers, after batch norm and before the ReLU or the addition, are generally smaller in trained residual nets
# than in plain ones, and smaller still in deeper residual nets (Fig. 7). :doc:`A demo </gallery/layer_responses>`
# repeats this comparison of nets. But it does not follow that a residual is small compared with x. Blocks begin near
# the identity only in deep nets, or with ``zero_gamma``, and the blocks of our ResNet-20 are not near it in the end.
#
# What do we know from this chapter? Larger gradients, as such, are not the reason, and neither are more parameters. The
# gradient reaches every layer through short paths, and has a similar size in all layers. :doc:`/why_residual` tells
# what else is known, with an experiment for each explanation, and what is not settled. The effect itself is certain:
# with shortcuts, the error of a net of 34 layers falls from 28.54 % (plain-34) to 25.03 % (ResNet-34), and more depth
# helps again. How much does more depth cost? :doc:`Chapter 16 </course/16_bottlenecks>` counts it.
#
# Exercises
# ---------
#
# 1. **The gradient of a chain.** Write the backward pass of a chain of linear residual blocks by hand.
# 2. **Option A** for arrays, with zeros before and after the old channels, as some ports have it.
# 3. **Begin at the identity.** Change a net that is already built so that each block begins as its shortcut.
#
# .. literalinclude:: /exercises/chapter_15.py
#
# Fill in ``chapter_15.py`` in :ref:`your folder <folder>`, and run ``python -m docs.exercises check FOLDER 15``.
# Then continue your own framework: :ref:`the milestone of chapter 15 <milestone-15>`.

show()
