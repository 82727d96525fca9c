r"""
12. Plain nets and the degradation problem
==========================================

A deeper net can do everything that a shallower one can. Why, then, does it train worse?

Chapters 7 to 11 gave us the parts of a convolutional net, and the means to train one. The obvious next step is to
stack more layers. The way this fails is the starting point of "Deep Residual Learning" (section 1): beyond some depth,
not only the test error rises but the *training* error, too. The authors call this the *degradation problem*. This
chapter builds the nets, shows why the result is so odd, watches it happen, and then asks what was really seen.
"""

# %%
# A plain net
# -----------
#
# A :term:`plain net <plain net 普通网络>` is one layer after the other. A layer is a 3x3 convolution, batch norm
# (:doc:`chapter 9 </course/09_batch_norm>`), and ReLU. What is left to choose is how many layers there are, on maps of
# what size, and with how many filters. Section 3.3 of the paper has two rules, after the nets called VGG:
#
# 1. layers whose maps have the same size have the same number of filters;
# 2. where the maps are halved, the filters are doubled.
#
# :doc:`Chapter 14 </course/14_bottlenecks>` shows what the second rule does for the cost. Layers on maps of one size
# are a *stage*; the first layer of each stage but the first has stride 2, which halves the maps. The paper's nets for
# CIFAR-10 (section 4.2) have three stages of :math:`2n` layers, on maps of 32, 16 and 8 pixels. Then each channel is
# averaged over its map (*global average pooling*), and a fully connected layer makes ten scores of the averages. With
# the first layer and this last one, that makes :math:`6n + 2` layers with weights: 8, 14, 20, 26, 32, and so on.
#
# In minigrad two layers are a block, where ``conv_bn`` makes a convolution and its batch norm. In chapter 13 something
# comes before the last ReLU:
#
# .. literalinclude:: /../models/plain.py
#    :pyobject: PlainBlock.__init__
#    :dedent:
#
# .. literalinclude:: /../models/plain.py
#    :pyobject: PlainBlock.forward
#    :dedent:
#
# And the stages (the whole file: :doc:`/source/models/plain`):
#
# .. literalinclude:: /../models/plain.py
#    :pyobject: Net.__init__
#    :start-at: for i, (n
#    :end-before: self.avgpool
#    :dedent:
#
# Here is the smallest of them, as it looks at the 8x8 digits that come with minigrad. To make this chapter run in
# seconds, it has 8 filters in its first stage where the paper's has 16.

import copy
from contextlib import redirect_stderr
from functools import partial
from io import StringIO

import matplotlib.pyplot as plt
import numpy as np

import minigrad as mg
from demos import lab
from minigrad import nn
from minigrad.inspect import statistics, summary
from minigrad.train.report import shade, tidy
from models import cifar_plain
from models.plain import PlainBlock, conv_bn

net = cifar_plain(8, in_channels=1, width=8, rng=0)
print(summary(net, (8, 8, 1)))

# %%
# Eight layers with weights: seven convolutions, and ``fc``.
#
# A deeper net contains the shallower one
# ---------------------------------------
#
# Now the argument from which the paper starts. Take a shallow net that is trained. Put more layers into it, and set
# each of them so that it passes on exactly what it is given: the *identity*. The deeper net computes the same function.
# So among all the weights that it could have there are some with which it is just as good, and the best ones can only
# be better. The paper calls this a *solution by construction*. A deeper net should never have a higher training error
# than a shallower one.
#
# One can really do it. A 3x3 convolution is the identity when its middle tap is the unit matrix and its other taps are
# zero:
#
# .. math:: w[i, j, c, o] = 1 \text{ if } (i, j) = (1, 1) \text{ and } c = o, \text{ and } 0 \text{ elsewhere.}
#
# Batch norm, in evaluation, computes :math:`\gamma (x - m) / \sqrt{v + \epsilon} + \beta`, with the running mean m and
# variance v. It is the identity when :math:`m = \beta = 0`, :math:`v = 1` and :math:`\gamma = \sqrt{1 + \epsilon}`. And
# the ReLU changes nothing, because what comes in came out of a ReLU and is not negative.


def with_identity_layers(net, count):
    """Return a copy of a plain net with `count` more layers at the end of each stage, which do nothing."""
    deeper = copy.deepcopy(net)
    for stage in deeper.stages:
        c = stage[-1].bn2.gamma.size  # the filters of the stage
        for _ in range(count // 2):
            block = PlainBlock(partial(conv_bn, rng=0), c, c)
            for conv, bn in ((block.conv1, block.bn1), (block.conv2, block.bn2)):
                conv.w.data[...] = 0
                conv.w.data[1, 1] = np.eye(c)
                bn.gamma.data[...] = np.sqrt(1 + bn.eps)
            stage.layers.append(block)
    return deeper


# %%
# The experiment
# --------------
#
# Train plain nets of 8, 20 and 32 layers, all in the same way: five walks over 1,437 handwritten digits, in batches of
# 128; momentum 0.9; a learning rate that rises to 0.1 over the first two walks and is divided by 10 for the last third.
# After each walk, count the mistakes on the very images that were used for training.

depths = (8, 20, 32)
nets, histories = {}, {}
for depth in depths:
    nets[depth] = cifar_plain(depth, in_channels=1, width=8, rng=0)
    with redirect_stderr(StringIO()):  # the progress: times, which are the machine's
        histories[depth] = lab.fit(nets[depth], epochs=5, lr=0.1, warmup=24)
    last = histories[depth][-1]
    print(f"plain-{depth:<2}  training error {last['train_error']:6.1%}   test error {last['test_error']:6.1%}")

fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
for i, depth in enumerate(depths):
    at, last = [record["iteration"] for record in histories[depth]], histories[depth][-1]
    ax.plot(at, [100 * r["train_error"] for r in histories[depth]], color=shade(i, 3), lw=2)
    ax.text(at[-1] + 1, 100 * last["train_error"] + (0, 3, 0)[i], f"plain-{depth}", va="center")
ax.set(xlabel="iteration", ylabel="training error (%)", title="The deeper, the worse, on the training set itself")
ax.set(xlim=(0, 69), ylim=(0, 100))
tidy(ax)

assert histories[8][-1]["train_error"] < histories[20][-1]["train_error"] < histories[32][-1]["train_error"]

# %%
# The order is upside down: the deepest net, which can do the most, does the least. (Other seeds change the numbers, and
# not the order.) Now hold the solution by construction against it. Take the trained plain-8, and put four identities
# into each stage. That is a plain-20, layer for layer like the one above.

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
# Both have the same 20 layers. One set of weights was written down by hand in four lines; the other is what gradient
# descent found. So the good weights *exist*, and the optimizer does not get there, not with this recipe. That is the
# whole problem: it is one of finding, not of having.
#
# What it is not
# --------------
#
# **It is not overfitting.** An overfitted net has a *low* training error and a high test error. Here the training error
# itself is high. Whenever somebody says that a net is "too deep", look at the training error first.
#
# **It is not a vanishing gradient.** That was the older obstacle: a signal that shrinks by a constant factor in every
# layer is gone after thirty of them. But batch norm gives the signal a fresh size in every layer, and He initialisation
# (:doc:`chapter 11 </course/11_initialisation>`) begins well. We can look, because a hook on each layer sees what goes
# forward, and what comes back. :func:`minigrad.inspect.statistics` does just that. As a contrast, take a net in which
# the gradient does vanish: no batch norm, and weights that are half as large as they should be.


def without_batch_norm(net, gain):
    for _, module in net.named_modules():
        for name, part in list(module.children()):
            if isinstance(part, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
        if isinstance(module, nn.Conv2d):
            module.w.data *= gain
    return net


def signals(net):
    """Return, ReLU by ReLU, how large the output is, and how large the gradient of the loss in it."""
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
for i, (name, (forward, backward)) in enumerate(measured.items()):
    for panel, sizes in zip(panels, (forward, backward), strict=True):
        panel.semilogy(range(1, 32), sizes, "o-", color=shade(i, 3), ms=3, label=name)
panels[0].set(xlabel="layer", ylabel="standard deviation", title="Forward: the output of each layer", ylim=(1e-14, 1e3))
panels[1].set(xlabel="layer", ylabel="norm", title="Backward: the gradient in it", ylim=(1e-14, 1e3))
panels[1].legend(loc="lower right", frameon=False)
for panel in panels:
    tidy(panel)

for name, (_, backward) in measured.items():
    print(f"{name:32}  gradient in the first layer / in the last: {backward[0] / backward[-1]:.2g}")
first, last = measured["plain-32, before training"][1][0], measured["plain-32, before training"][1][-1]
assert measured["no batch norm, half the weights"][1][0] < 1e-10
assert first > 10 * last

# %%
# Where the gradient does vanish, eleven orders of magnitude are missing. In the plain net nothing is missing. Before
# training, its gradient even *grows* on its way back, by a constant factor in each layer (chapter 11 derived it), which
# is one reason to begin with a small learning rate. After training that has evened out. The paper looked at its
# plain-34, too, and found forward signals with variances that are not zero and gradients with "healthy norms" (section
# 4.1).
#
# How sure can we be?
# -------------------
#
# Look at the first figure again. Is plain-32 stuck, or is it only *late*? Its curve is still falling. Five walks over a
# small data set cannot tell *slow starting* from *degradation*. To tell them apart takes longer runs:
#
# .. figure:: /figures/degradation.png
#    :alt: Training and test error of plain and residual nets with 20 and 56 layers on the digits
#
#    What :doc:`the demo </gallery/degradation>` draws: twelve walks over the digits, by nets of
#    20 and 56 layers that are as wide as the paper's.
#
# Under that recipe, plain-56 ends far above plain-20. But run it with ``--lr 0.01 --epochs 40``, and plain-56 comes
# down to about 20 % of mistakes from more than 60: on data this easy, a part of the gap is slow starting, and patience
# makes up for it. So our small experiments show the sign, and not the size, of what the paper reports. There the runs
# were long enough: 64,000 iterations on CIFAR-10, where plain-56 stays above plain-20 to the end (Fig. 6, left), and
# plain-110 stays above 60 % error. On ImageNet, plain-34 has a top-1 error of 28.54 % on the validation set, plain-18
# has 27.94 % (Table 2), and the training error of plain-34 is the higher one all the way (Fig. 4). Three times as many
# iterations did not change the picture (a footnote of section 4.1). The authors' conjecture is modest: deep plain nets
# "may have exponentially low convergence rates". That would be a slow start without an end.
#
# Whichever it is, late or never, what is wanted is the same: a way to write the net so that the identity is where the
# optimizer begins, and not something that it has to find. That is :doc:`chapter 13 </course/13_residual>`.
#
# Exercises
# ---------
#
# 1. **An identity.** Write the weights of a convolution, of any odd size, that passes on its input.
# 2. **A diagnosis.** Four numbers, the training and test errors of a shallow and a deep net, tell degradation from
#    overfitting. Say which it is.
# 3. **Nothing, in training.** Identity layers can be put in during training, too, where batch norm takes its statistics
#    from the batch. Choose gamma and beta so that it gives back what it gets.
#
# .. literalinclude:: /exercises/chapter_12.py
#
# Fill in ``docs/exercises/chapter_12.py`` and run ``python docs/exercises/check.py 12``.
