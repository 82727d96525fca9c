r"""
15. Bottlenecks and cost
========================

What does a layer cost, and how can a net of 152 layers be cheaper than one of 19?

Shortcuts make depth useful (chapter 15). But depth costs time: for one image, a layer of a large net makes about a
hundred million multiplications and additions. VGG-19, one of the best nets of 2014, needs 19.6 billion multiply-adds
for one image. ResNet-152 has eight times as many layers, needs 11.3 billion, and makes fewer mistakes. This chapter
counts the cost layer by layer, and shows where the difference comes from.
"""

# %%
# Counting multiply-adds
# ----------------------
#
# The unit is the :term:`multiply-add <multiply-adds 乘加次数>`: one product, added to a sum. The paper calls them
# FLOPs. Take a convolution that maps (h, w, c) to (p, q, o), with a kernel of kh by kw. Each number of its output is a
# sum over all taps of the window and all input channels. The sum has :math:`k_h k_w c` terms, so it costs as many
# multiply-adds. There are :math:`p\, q\, o` such sums:
#
# .. math:: \text{multiply-adds} = p\, q \cdot k_h k_w c \cdot o .
#
# The number of parameters is :math:`k_h k_w c\, o`, the same without the pixels: each weight is used once at every
# pixel. A fully connected layer is the special case of one pixel and one tap. minigrad counts with these lines
# (:doc:`/source/minigrad/inspect/summary`):
#
# .. literalinclude:: /../minigrad/inspect/summary.py
#    :pyobject: multiply_adds

import math
from functools import partial

import matplotlib.pyplot as plt
import numpy as np

import models
from minigrad.inspect import summary
from minigrad.train.report import show, tidy
from models.plain import conv_bn
from models.resnet import Bottleneck
from models.vgg import FILTERS, STAGES


def conv_macs(pixels, kernel, c, o):
    return pixels * kernel**2 * c * o


# %%
# To count VGG-19, we need not build it (it has 144 million weights). It has sixteen 3x3 convolutions in five stages, on
# maps of 224, 112, 56, 28 and 14 pixels, followed by three fully connected layers.

c, vgg19 = 3, 0
for i, (layers, o) in enumerate(zip(STAGES[19], FILTERS, strict=True)):
    for _ in range(layers):
        vgg19 += conv_macs((224 >> i) ** 2, 3, c, o)
        c = o
convolutions = vgg19
vgg19 += 7 * 7 * 512 * 4096 + 4096 * 4096 + 4096 * 1000
print(f"VGG-19: {vgg19:,} multiply-adds, {convolutions / vgg19:.1%} of them in convolutions")
assert round(vgg19 / 1e9, 1) == 19.6

# %%
# Halve the map, double the filters
# ---------------------------------
#
# :doc:`Chapter 14 </course/14_plain_nets>` had two rules for plain nets. The purpose of the second rule, halve the map
# and double the filters, is "to preserve the time complexity per layer" (section 3.3). With half the height and half
# the width, a map has a quarter of the pixels. With twice the input channels and twice the filters, each pixel costs
# four times as much. The total stays the same:
#
# .. math:: \frac{p}{2} \cdot \frac{q}{2} \cdot 9 \cdot 2c \cdot 2c = p\, q \cdot 9 \cdot c \cdot c .
#
# So every 3x3 layer of a net costs the same, on large maps and on small ones. Only the first layer of a stage costs
# half, since its input still has c channels. Compare the formula for plain-34 with the counts:

plain34 = summary(models.plain34(), (224, 224, 3))
costs = {}
for row in plain34.rows[1:]:  # all but the 7x7 in the stem
    if row.kind == "Conv2d":
        costs.setdefault(row.formula, []).append(row.macs)
for formula, macs in costs.items():
    print(f"{len(macs):3} layers of {macs[0]:>11,} multiply-adds: {formula}")
assert {m for macs in costs.values() for m in macs} == {56 * 56 * 9 * 64 * 64, 28 * 28 * 9 * 64 * 128}

# %%
# The weights are distributed differently. A layer of the last stage has 64 times as many weights as a layer of the
# first stage, and uses each weight a 64th as often. The computation is spread evenly over the depth; most of the
# weights are in the last stages.
#
# The bottleneck
# --------------
#
# Now take a block of two 3x3 layers on c channels. Per pixel, it costs :math:`2 \cdot 9 c^2 = 18 c^2`. Each 3x3 layer
# does two jobs: it combines neighbouring pixels (the factor 9), and it mixes channels (the factor :math:`c^2`). Doing
# both at once multiplies the two costs. The :term:`bottleneck <bottleneck 瓶颈结构>` (section 4.1, Fig. 5) does them
# one after the other. A 1x1 convolution reduces c channels to :math:`m = c / 4`. A 3x3 convolution works on these m
# channels. Another 1x1 convolution restores c channels:
#
# .. math:: c\, m + 9\, m^2 + m\, c = \frac{c^2}{4} + \frac{9\, c^2}{16} + \frac{c^2}{4} = \frac{17}{16}\, c^2 .
#
# This is about a seventeenth of :math:`18 c^2`. Or, for about the same cost, a bottleneck has four times as many
# channels. In minigrad:
#
# .. literalinclude:: /../models/resnet.py
#    :pyobject: Bottleneck.__init__
#    :start-at: width =
#    :end-before: self.relu
#    :dedent:
#
# Draw three blocks, two of them from Fig. 5 of the paper. Each rectangle is a layer. Its width is the number of input
# channels, and its height is the cost of one input channel. So its area is the number of multiply-adds per pixel:

fig, axes = plt.subplots(1, 3, figsize=(9, 4), layout="constrained", sharex=True, sharey=True)
fig.set_label(
    "Three blocks as stacks of rectangles whose areas are multiply-adds: the bottleneck on 256 channels has a "
    "slightly smaller area than two 3x3 layers on 64, and two 3x3 layers on 256 a far larger one."
)
blocks = {
    "two 3x3 on 64": [(3, 64, 64), (3, 64, 64)],
    "bottleneck on 256": [(1, 256, 64), (3, 64, 64), (1, 64, 256)],
    "two 3x3 on 256": [(3, 256, 256), (3, 256, 256)],
}
per_pixel = {}
for ax, (name, layers) in zip(axes, blocks.items(), strict=True):
    per_pixel[name] = sum(conv_macs(1, *layer) for layer in layers)
    y = 0
    for kernel, c, o in layers:
        height = kernel**2 * o
        ax.barh(y, c, height, left=-c / 2, align="edge", color="0.85", edgecolor="black")
        ax.text(0, y + height + 40, f"{kernel}x{kernel}, {c} → {o}", ha="center", va="top", fontsize=9)
        y += height + 480
    ax.set_title(f"{name}\n{per_pixel[name]:,}", fontsize=11)
    ax.set_axis_off()
axes[0].set_ylim(5600, -150)
fig.suptitle("Areas are multiply-adds per pixel", fontsize=10)

for name, macs in per_pixel.items():
    print(f"{name:18} {macs:>9,} multiply-adds per pixel")
assert per_pixel["bottleneck on 256"] * 16 == 17 * 256**2
assert per_pixel["bottleneck on 256"] < per_pixel["two 3x3 on 64"]

# %%
# The bottleneck on 256 channels costs less than two 3x3 layers on 64. So the paper takes ResNet-34 and replaces each
# block of two layers by a block of three. The result is ResNet-50, at nearly the same cost.
#
# Why is the identity shortcut even more important here than in ResNet-34? Because the shortcut connects the two *wide*
# ends of the block. A projection there would be a 1x1 convolution from c channels to c, which costs :math:`c^2`
# multiply-adds per pixel. The whole block costs :math:`\tfrac{17}{16} c^2`. The paper says that with projections "the
# time complexity and model size are doubled"; the exact factor is 33/17.


def block_cost(projection):
    block = Bottleneck(partial(conv_bn, rng=0), 256, 256, shortcut="C" if projection else "B")
    return summary(block, (56, 56, 256))


identity, projection = block_cost(projection=False), block_cost(projection=True)
print(f"identity    {identity.macs:>12,} multiply-adds {identity.parameters:>9,} parameters")
print(f"projection  {projection.macs:>12,} multiply-adds {projection.parameters:>9,} parameters")
assert math.isclose(projection.macs / identity.macs, 33 / 17)

# %%
# Table 1, counted
# ----------------
#
# Now we count the whole table of the paper. We build each net and pass one image of zeros through it; each layer is
# counted when it is called.

counted = {"plain-34": plain34}
paper = {"plain-34": 3.6, "ResNet-18": 1.8, "ResNet-34": 3.6, "ResNet-50": 3.8, "ResNet-101": 7.6, "ResNet-152": 11.3}
for depth in (18, 34, 50, 101, 152):
    option = {"shortcut": "A"} if depth < 50 else {}  # Table 1 uses option A, whose shortcuts cost nothing
    counted[f"ResNet-{depth}"] = summary(getattr(models, f"resnet{depth}")(**option), (224, 224, 3))

print(f"{'net':12}{'parameters':>12}{'multiply-adds':>17}   in the paper")
for name, cost in counted.items():
    print(f"{name:12}{cost.parameters:>12,}{cost.macs:>17,}   {paper[name]} billion")
    assert abs(cost.macs / 1e9 - paper[name]) < 0.06
assert counted["ResNet-34"].macs == plain34.macs < 0.19 * vgg19

# %%
# The counts agree with the paper in every digit, if its 3.8 for ResNet-50 (we count 3.86) was cut off and not rounded.
# When you compare with other tables, note two differences. The first is the place of the stride in the first block of a
# stage: on the first 1x1, as in the paper, or on the 3x3, as in many ports ("v1.5"). With the stride on the 3x3, the
# first 1x1 computes four times as many pixels, and ResNet-50 costs more:

later = summary(models.resnet50(stride_in="3x3"), (224, 224, 3))
print(
    f"ResNet-50, stride on the 3x3: {later.macs:,} multiply-adds, {later.macs / counted['ResNet-50'].macs - 1:.0%} more"
)
assert later.parameters == counted["ResNet-50"].parameters

# %%
# The second difference: some authors count a multiplication and an addition as two operations, so their figures are
# twice ours.
#
# What do these multiply-adds buy? The plot shows the errors that the paper reports on the validation set of ImageNet
# (top-1, ten crops) against the multiply-adds that we just counted. The errors of ResNet-18 and plain-18 are from Table
# 2, with option A. The other errors are from Table 3, with option A for ResNet-34 and option B for the deeper nets.

errors = {"ResNet-18": 27.88, "ResNet-34": 25.03, "ResNet-50": 22.85, "ResNet-101": 21.75, "ResNet-152": 21.43}
fig, (ax, shares) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained", width_ratios=[1.35, 1])
fig.set_label(
    "Left, error against multiply-adds: falling from ResNet-18 to ResNet-152, rising from plain-18 to plain-34; "
    "VGG-16 costs more than ResNet-152 and has a high error. Right, bars of each stage's share: computation is spread"
    " over the stages, parameters are mostly in the last."
)
ax.plot([counted[name].macs / 1e9 for name in errors], list(errors.values()), "o-", color="black")
for name, error in errors.items():
    place = (-6, -14) if name == "ResNet-18" else (6, 6)
    ax.annotate(name, (counted[name].macs / 1e9, error), xytext=place, textcoords="offset points")
plain18 = 1.795  # as ResNet-18 with option A, whose shortcuts cost nothing
ax.plot([plain18, plain34.macs / 1e9], [27.94, 28.54], "s--", color="0.55")
ax.annotate("plain-18, plain-34", (plain34.macs / 1e9, 28.54), xytext=(8, -3), textcoords="offset points")
ax.plot(15.3, 28.07, "^", color="0.55")
ax.annotate("VGG-16", (15.3, 28.07), xytext=(-10, -16), textcoords="offset points", ha="center")
ax.set(
    xlabel="billion multiply-adds",
    ylabel="top-1 error (%)",
    title="Error against cost per image",
    xlim=(0, 17),
)
tidy(ax)

for i, name in enumerate(("ResNet-34", "ResNet-50")):
    stages = [[r for r in counted[name].rows if r.name.startswith(f"layer{s}")] for s in range(1, 5)]
    macs, weights = (
        np.array([sum(getattr(r, what) for r in stage) for stage in stages]) for what in ("macs", "parameters")
    )
    shares.bar(
        np.arange(4) + 5 * i - 0.2, 100 * macs / macs.sum(), 0.4, color="0.25", label=None if i else "multiply-adds"
    )
    shares.bar(
        np.arange(4) + 5 * i + 0.2, 100 * weights / weights.sum(), 0.4, color="0.75", label=None if i else "parameters"
    )
shares.set_xticks([0, 1, 2, 3, 5, 6, 7, 8], [f"conv{s}_x" for s in (2, 3, 4, 5)] * 2, rotation=60)
shares.set(ylabel="share (%)", ylim=(0, 85), title="ResNet-34, ResNet-50: share per stage")
shares.legend(frameon=False)
tidy(shares)

# %%
# Along the black line, every increase in depth lowers the error. From 34 to 50 layers the error falls by more than two
# points, with six percent more multiply-adds. The dashed line rises instead: this is the degradation of chapter 14. In
# the right panel, conv2_x to conv5_x are the paper's names for the four stages. The computation is spread over all of
# them, and most of the weights are in the last one.
#
# What is not counted
# -------------------
#
# We count zero for batch norm, ReLU and the additions, since they do only a few operations for each number. But every
# number must be read from memory and written back, and :doc:`chapter 9 </course/09_fast>` showed that this traffic, and
# not arithmetic, often takes most of the time. So count the numbers as well. Here are all numbers that the convolutions
# write for one image.

for name in ("ResNet-34", "ResNet-50", "ResNet-152"):
    rows = [row for row in counted[name].rows if row.kind == "Conv2d"]
    written = sum(math.prod(row.shape) for row in rows)
    each = counted[name].macs / written
    print(f"{name:11} writes {written / 1e6:5.1f} million numbers, {each:6,.0f} multiply-adds for each")

# %%
# This is the disadvantage of the bottleneck. It saves multiply-adds, but it does not save memory traffic: its wide ends
# have as many channels as before. ResNet-50 needs nearly as few multiply-adds as ResNet-34, but it writes almost three
# times as many numbers. So it tends to be slower, and it needs more memory in training. The number of multiply-adds is
# a good first estimate of the time, but only an estimate.
#
# Exercises
# ---------
#
# 1. **Count a convolution**, with stride, padding and groups.
# 2. **Count a whole net**: the CIFAR nets of depth :math:`6n + 2`, without building them.
# 3. **A budget.** How wide may the middle of a bottleneck be, if the block must not exceed a given cost?
#
# .. literalinclude:: /exercises/chapter_16.py
#
# Fill in ``docs/exercises/chapter_16.py`` and run ``python docs/exercises/check.py 16``.

show()
