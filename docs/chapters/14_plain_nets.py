r"""
14. Plain nets and the degradation problem
==========================================

A deeper net can compute everything that a shallower net can compute. Why, then, does it train worse?

Chapters 8 to 13 gave us the parts of a convolutional net, and a method to train it. The obvious next step is to stack
more layers. This step fails, and the failure is the starting point of "Deep Residual Learning" (section 1): beyond some
depth, the test error rises, and the *training* error rises, too. The authors call this the *degradation problem*. This
chapter builds such nets, explains why the result is surprising, reproduces it, and then asks what the experiments
really prove.
"""

# %%
# A plain net
# -----------
#
# A :term:`plain net <plain net 普通网络>` is a sequence of layers, one after the other. A layer is a 3x3 convolution,
# batch norm (:doc:`chapter 11 </course/11_batch_norm>`), and ReLU. We still have to choose the number of layers, the
# size of their maps, and the number of their filters. Section 3.3 of the paper has two rules, after the VGG nets:
#
# 1. layers whose maps have the same size have the same number of filters;
# 2. where the size of the maps is halved, the number of filters is doubled.
#
# :doc:`Chapter 16 </course/16_bottlenecks>` shows how the second rule affects the cost. The layers on maps of one size
# form a *stage*. In every stage except the first, the first layer has stride 2, which halves the maps. The paper's nets
# for CIFAR-10 (section 4.2) have three stages of :math:`2n` layers, on maps of 32, 16 and 8 pixels. Then each channel
# is averaged over its map (*global average pooling*), and a fully connected layer computes ten scores from the
# averages. Together with the very first layer and this last one, the net has :math:`6n + 2` layers with weights: 8, 14,
# 20, 26, 32, and so on.
#
# In minigrad, two layers form a block; ``conv_bn`` returns a convolution and its batch norm. The last ReLU is written
# separately, because in chapter 15 something else comes before this ReLU:
#
# .. literalinclude:: /../models/plain.py
#    :pyobject: PlainBlock.__init__
#    :dedent:
#
# .. literalinclude:: /../models/plain.py
#    :pyobject: PlainBlock.forward
#    :dedent:
#
# This code makes the stages (the whole file: :doc:`/source/models/plain`):
#
# .. literalinclude:: /../models/plain.py
#    :pyobject: Net.__init__
#    :start-at: for i, (n
#    :end-before: self.avgpool
#    :dedent:
#
# Here is a summary of the smallest net, for the 8x8 digits that come with minigrad. Its first stage has 8 filters
# instead of the paper's 16, so that this chapter runs in seconds.

import copy
from contextlib import redirect_stderr
from functools import partial
from io import StringIO

import matplotlib.pyplot as plt
import numpy as np

import minigrad as mg
from demos import lab
from demos.explanations import STEPS, fall
from minigrad import nn
from minigrad.inspect import statistics, summary
from minigrad.train.report import shade, show, tidy
from models import cifar_plain
from models.plain import PlainBlock, conv_bn

net = cifar_plain(8, in_channels=1, width=8, rng=0)
print(summary(net, (8, 8, 1)))

# %%
# These are eight layers with weights: seven convolutions, and ``fc``.
#
# A deeper net contains the shallower one
# ---------------------------------------
#
# The paper starts from the following argument. Take a trained shallow net. Add more layers to it, and set the weights
# of each new layer such that its output equals its input: the layer is the *identity*. Then the deeper net computes the
# same function as the shallow net. So for some weights the deeper net is as good as the shallow net, and with its best
# weights it is at least as good. The paper calls this a *solution by construction*. It follows that a deeper net should
# never have a higher training error than a shallower net.
#
# We can really construct such layers. A 3x3 convolution is the identity if its middle tap is the unit matrix and its
# other taps are zero:
#
# .. math:: w[i, j, c, o] = 1 \text{ if } (i, j) = (1, 1) \text{ and } c = o, \text{ and } 0 \text{ elsewhere.}
#
# In evaluation, batch norm computes :math:`\gamma (x - m) / \sqrt{v + \epsilon} + \beta`, with the running mean m and
# the running variance v. It is the identity if :math:`m = \beta = 0`, :math:`v = 1` and
# :math:`\gamma = \sqrt{1 + \epsilon}`. The ReLU changes nothing, because its input is the output of another ReLU, which
# is never negative.


def with_identity_layers(net, count):
    """Return a copy of a plain net with `count` more layers at the end of each stage, all of them identities."""
    deeper = copy.deepcopy(net)
    for stage in deeper.stages:
        c = stage[-1].bn2.weight.size  # the filters of the stage
        for _ in range(count // 2):
            block = PlainBlock(partial(conv_bn, rng=0), c, c)
            for conv, bn in ((block.conv1, block.bn1), (block.conv2, block.bn2)):
                conv.weight.data[...] = 0
                conv.weight.data[1, 1] = np.eye(c)
                bn.weight.data[...] = np.sqrt(1 + bn.eps)
            stage.layers.append(block)
    return deeper


# %%
# An experiment with deeper and deeper nets
# -----------------------------------------
#
# We train plain nets of 8, 20 and 32 layers in the same way: five epochs (passes over the training set) on 1,437
# handwritten digits, in batches of 128, with momentum 0.9. The learning rate rises to 0.1 during the first two epochs,
# and is divided by 10 for the last third. After each epoch, we measure the error on the training images.

depths = (8, 20, 32)
nets, histories = {}, {}
for depth in depths:
    nets[depth] = cifar_plain(depth, in_channels=1, width=8, rng=0)
    with redirect_stderr(StringIO()):  # hide the progress: its times depend on the machine
        histories[depth] = lab.fit(nets[depth], epochs=5, lr=0.1, warmup=24)
    last = histories[depth][-1]
    print(f"plain-{depth:<2}  training error {last['train_error']:6.1%}   test error {last['test_error']:6.1%}")

fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
fig.set_label("Training error over the iterations for plain nets of increasing depth: the deeper nets end higher.")
for i, depth in enumerate(depths):
    at, last = [record["iteration"] for record in histories[depth]], histories[depth][-1]
    ax.plot(at, [100 * r["train_error"] for r in histories[depth]], color=shade(i, 3), lw=2)
    ax.text(at[-1] + 1, 100 * last["train_error"] + (0, 3, 0)[i], f"plain-{depth}", va="center")
ax.set(xlabel="iteration", ylabel="training error (%)", title="Deeper plain nets have a higher training error")
ax.set(xlim=(0, 69), ylim=(0, 100))
tidy(ax)

assert histories[8][-1]["train_error"] < histories[20][-1]["train_error"] < histories[32][-1]["train_error"]

# %%
# The order is the opposite of what we expect: the deepest net, which can compute the most, has the highest error. (With
# other seeds the numbers change, but the order does not.) Now compare this with the solution by construction. We take
# the trained plain-8, and add four identity layers to each stage. The result is a plain-20, with the same layers as the
# plain-20 above.

constructed = with_identity_layers(nets[8], 4)
layers = sum(isinstance(module, nn.Conv2d | nn.Linear) for _, module in constructed.named_modules())
images, labels = next(iter(lab.digits(train=True, batch=1437)))
with mg.no_grad():
    scores = {name: net.eval()(mg.Tensor(images)).numpy() for name, net in [("8", nets[8]), ("20", constructed)]}
difference = np.abs(scores["8"] - scores["20"]).max()
error = (scores["20"].argmax(axis=1) != labels).mean()

print(f"constructed: {layers} layers, {error:.1%} training error; scores {difference:.1g} away from plain-8's")
print(f"trained:     20 layers, {histories[20][-1]['train_error']:.1%} training error")
assert layers == 20
assert difference < 1e-3
assert abs(error - histories[8][-1]["train_error"]) < 0.005
assert error < histories[20][-1]["train_error"]

# %%
# Both nets have the same 20 layers. The weights of one were constructed in four lines of code; the weights of the other
# were found by gradient descent. So good weights *exist*, but with this recipe the optimizer does not find them. This
# is the core of the problem: the net is able to represent the solution, but training does not reach it.
#
# Neither overfitting nor a vanishing gradient
# --------------------------------------------
#
# **It is not overfitting.** An overfitted net has a *low* training error and a high test error. Here the training error
# itself is high. Whenever somebody says that a net is "too deep", look at the training error first.
#
# **It is not a vanishing gradient.** This was the older problem: if every layer shrinks a signal by a constant factor,
# nothing is left of it after thirty layers. But batch norm rescales the signal in every layer, and with He
# initialisation (:doc:`chapter 13 </course/13_initialisation>`) the weights start at the right scale. We can check
# this. A *hook* is a function that a layer calls with its output. Hooks can measure the output in the forward pass and
# the gradient in the backward pass; :func:`minigrad.inspect.statistics` does this. For comparison, we also measure a
# net in which the gradient does vanish: it has no batch norm, and its weights are half as large as they should be.


def without_batch_norm(net, gain):
    for _, module in net.named_modules():
        for name, part in list(module.named_children()):
            if isinstance(part, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
        if isinstance(module, nn.Conv2d):
            module.weight.data *= gain
    return net


def signals(net):
    """Return, for each ReLU, the standard deviation of its output, and the norm of the gradient there."""
    with statistics(net.train()) as responses:
        mg.cross_entropy(net(mg.Tensor(images[:128])), labels[:128]).backward()
    for p in net.parameters():
        p.grad = None
    relus = [r for r in responses if r.kind == "ReLU"]
    return [r.output.std for r in relus], [r.gradient.norm for r in relus]


fresh = {"rng": 0, "in_channels": 1, "width": 8}
measured = {
    "no batch norm, half the weights": signals(without_batch_norm(cifar_plain(32, **fresh), 0.5)),
    "plain-32, before training": signals(cifar_plain(32, **fresh)),
    "plain-32, after training": signals(nets[32]),
}

fig, panels = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained", sharex=True)
fig.set_label("Two panels, layer by layer for each net: the size of the signal, and the size of the gradient.")
for i, (name, (forward, backward)) in enumerate(measured.items()):
    for panel, sizes in zip(panels, (forward, backward), strict=True):
        panel.semilogy(range(1, 32), sizes, "o-", color=shade(i, 3), ms=3, label=name)
panels[0].set(xlabel="layer", ylabel="standard deviation", title="Forward: the output of each layer", ylim=(1e-14, 1e3))
panels[1].set(xlabel="layer", ylabel="norm", title="Backward: the gradient at that output", ylim=(1e-14, 1e3))
panels[1].legend(loc="lower right", frameon=False)
for panel in panels:
    tidy(panel)

for name, (_, backward) in measured.items():
    print(f"{name:32}  gradient in the first layer / in the last: {backward[0] / backward[-1]:.2g}")
first, last = measured["plain-32, before training"][1][0], measured["plain-32, before training"][1][-1]
assert measured["no batch norm, half the weights"][1][0] < 1e-10
assert first > 10 * last

# %%
# Where the gradient does vanish, it loses eleven orders of magnitude. In the plain net it loses nothing. Before
# training, it even *grows* on its way back, by a constant factor in each layer. Chapter 13 derived this factor; it is
# one reason to start with a small learning rate. After training, the gradient has about the same size in all layers.
# The authors of the paper checked their plain-34, too. They found forward signals with variances that are not zero, and
# gradients with "healthy norms" (section 4.1).
#
# How far does a gradient reach?
# ------------------------------
#
# A healthy norm is not enough. The gradient describes the loss only near the present weights: a small step of length s
# against it lowers the loss by s times the norm of the gradient. How small must the step be? We take steps of a
# hundred-thousandth to a hundredth of the length of all weights, in nets before training, and compare the fall of the
# loss with the prediction:
#
# .. literalinclude:: /../demos/explanations.py
#    :pyobject: fall

print("step / weights" + "".join(f"{step:>10g}" for step in STEPS) + "\nfall of the loss / prediction")
achieved = {}  # means of four nets
for depth in (8, 20, 56):
    several = [cifar_plain(depth, **fresh | {"rng": seed}) for seed in range(4)]
    achieved[depth] = np.mean([fall(net, images[:64], labels[:64]) for net in several], axis=0)
    print(f"plain-{depth:<8}" + "".join(f"{share:10.3f}" for share in achieved[depth]))
assert achieved[8][0] > 0.9
assert abs(achieved[56][0]) < 0.1

# %%
# In plain-8 the prediction still holds for a step of a thousandth of the weights. In plain-56 it fails for steps of a
# hundred-thousandth: the loss falls by a few percent of the prediction. The gradient of this net is large, but already
# near the present weights the loss has another gradient. This is one of the explanations of degradation that were
# proposed after the paper (*shattered gradients*); :doc:`/why_residual` has more of them.
#
# Degradation or a slow start?
# ----------------------------
#
# Look at the first figure again. Will plain-32 never reach a low error, or does it only need more time? Its curve is
# still falling. Five epochs on a small data set cannot distinguish *slow starting* from *degradation*. This needs
# longer runs:
#
# .. figure:: /figures/degradation.png
#    :alt: Training and test error of plain and residual nets with 20 and 56 layers on the digits
#
#    The figure of :doc:`the demo </gallery/degradation>`: nets of 20 and 56 layers, as wide as the paper's, are trained
#    for twelve epochs on the digits.
#
# With this recipe, plain-56 ends far above plain-20. But run the demo with ``--lr 0.01 --epochs 40``, and plain-56 ends
# with a training error of 10 or 21 %, in two runs that rounded differently. So on data as easy as this, a part of the
# gap is slow starting, which longer training makes up for. Our small experiments show in which direction the error
# changes with depth, but not by how much. The runs of the paper were long enough for this: 64,000 iterations on
# CIFAR-10, where plain-56 stays above plain-20 to the end (Fig. 6, left), and plain-110 stays above 60 % error. On
# ImageNet, plain-34 has a top-1 error (the likeliest class is not the right one) of 28.54 % on the validation set,
# plain-18 has 27.94 % (Table 2), and the training error of plain-34 is higher during the whole run (Fig. 4). Three
# times as many iterations did not change this (a footnote of section 4.1). The authors' conjecture is cautious: deep
# plain nets "may have exponentially low convergence rates". In this case, the slow start would last practically for
# ever.
#
# In either case, we need the same thing: a way to write a deep net such that gradient descent finds good weights. The
# paper's idea is to make the constructed solution, the identity, easy to reach. This is the topic of :doc:`chapter 15
# </course/15_residual>`, which also asks whether this is the reason why the idea works.
#
# Exercises
# ---------
#
# 1. **An identity.** Write the weights of a convolution, of any odd kernel size, whose output equals its input.
# 2. **A diagnosis.** Four numbers, the training and test errors of a shallow and a deep net, are enough to distinguish
#    degradation from overfitting. Say which of the two it is.
# 3. **An identity in training.** Identity layers can also be added during training, when batch norm uses the statistics
#    of the batch. Choose gamma and beta such that batch norm returns its input.
#
# .. literalinclude:: /exercises/chapter_14.py
#
# Fill in ``chapter_14.py`` in :ref:`your folder <folder>`, and run ``python -m docs.exercises check FOLDER 14``.
# Then continue your own framework: :ref:`the milestone of chapter 14 <milestone-14>`.

show()
