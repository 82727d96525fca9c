r"""
14. Bottlenecks and cost
========================

What does a layer cost, and how can a net of 152 layers be cheaper than one of 19?

Shortcuts make depth useful (chapter 13). But depth is paid for: a layer multiplies and adds about a hundred million
times for one image. VGG-19, one of the best nets of 2014, needs 19.6 billion multiply-adds to look at an image.
ResNet-152 has eight times as many layers, needs 11.3 billion, and makes fewer mistakes. This chapter counts, layer by
layer, and finds where the difference was saved.
"""

# %%
# Counting
# --------
#
# The unit is the :term:`multiply-add <multiply-adds 乘加次数>`: one product, added to a sum. The paper calls them
# FLOPs. Take a convolution that maps (h, w, c) to (p, q, o), with a kernel of kh by kw. Each number of its output is
# one sum. It runs over the taps of the window and the channels in, so it has :math:`k_h k_w c` terms, and that is its
# cost. There are :math:`p\, q\, o` such sums:
#
# .. math:: \text{multiply-adds} = p\, q \cdot k_h k_w c \cdot o .
#
# The parameters are :math:`k_h k_w c\, o`, the same without the pixels: each weight is used once at every pixel. A
# fully connected layer is the case of one pixel and one tap. What minigrad counts is this line
# (:doc:`/source/minigrad/inspect`):
#
# .. literalinclude:: /../minigrad/inspect.py
#    :pyobject: _macs

import math
from functools import partial

import matplotlib.pyplot as plt
import numpy as np

import models
from minigrad.inspect import summary
from minigrad.train.report import tidy
from models.plain import conv_bn
from models.resnet import Bottleneck
from models.vgg import FILTERS, STAGES


def conv_macs(pixels, kernel, c, o):
    return pixels * kernel**2 * c * o


# %%
# VGG-19 need not be built for this (it has 144 million weights): sixteen 3x3 convolutions in five stages, on maps of
# 224, 112, 56, 28 and 14 pixels, and then three fully connected layers.

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
# :doc:`Chapter 12 </course/12_plain_nets>` had two rules for plain nets. The second one, halve the map and double the
# filters, is there "to preserve the time complexity per layer" (section 3.3). With half the height and half the width
# there is a quarter of the pixels. With twice the channels in, and twice the filters, a pixel costs four times as much:
#
# .. math:: \frac{p}{2} \cdot \frac{q}{2} \cdot 9 \cdot 2c \cdot 2c = p\, q \cdot 9 \cdot c \cdot c .
#
# So every 3x3 layer of a net costs the same, from the large maps to the small. Only the first layer of a stage costs
# half, since its input still has c channels. This is what the formula says of plain-34, and what was counted:

plain34 = summary(models.plain34(), (224, 224, 3))
costs = {}
for row in plain34.rows[1:]:  # but for the 7x7 in the stem
    if row.kind == "Conv2d":
        costs.setdefault(row.formula, []).append(row.macs)
for formula, macs in costs.items():
    print(f"{len(macs):3} layers of {macs[0]:>11,} multiply-adds: {formula}")
assert {m for macs in costs.values() for m in macs} == {56 * 56 * 9 * 64 * 64, 28 * 28 * 9 * 64 * 128}

# %%
# The weights tell another story: the layers of the last stage have 64 times as many as those of the first, and use each
# one a 64th as often. Compute is spread evenly over the depth; memory for weights is at the end.
#
# The bottleneck
# --------------
#
# Now a block of two 3x3 layers on c channels. Per pixel, it costs :math:`2 \cdot 9 c^2 = 18 c^2`. The nine of the
# window and the square of the channels are multiplied with each other. That is the waste: looking around (the 3x3) and
# mixing channels (the :math:`c^2`) need not be paid for at once. The :term:`bottleneck <bottleneck 瓶颈结构>` (section
# 4.1, Fig. 5) pays for them one after the other. A 1x1 convolution brings c channels down to :math:`m = c / 4`. A 3x3
# works on those few. A 1x1 brings them back:
#
# .. math:: c\, m + 9\, m^2 + m\, c = \frac{c^2}{4} + \frac{9\, c^2}{16} + \frac{c^2}{4} = \frac{17}{16}\, c^2 .
#
# That is a seventeenth of :math:`18 c^2`. Or, at one price, four times as many channels. In minigrad:
#
# .. literalinclude:: /../models/resnet.py
#    :pyobject: Bottleneck.__init__
#    :start-at: width =
#    :end-before: self.relu
#    :dedent:
#
# Draw it as the paper does in its Fig. 5, but with each layer as long as its channels in, and as high as what one of
# them costs. Then areas are multiply-adds per pixel:

fig, axes = plt.subplots(1, 3, figsize=(9, 4), layout="constrained", sharex=True, sharey=True)
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
# block of two layers by a block of three. The result is ResNet-50, at nearly the same price.
#
# Why does the shortcut have to be the identity here, even more than in ResNet-34? Because it joins the two *wide* ends.
# A projection there would be a 1x1 from c channels to c, :math:`c^2` multiply-adds a pixel. The whole block costs
# :math:`\tfrac{17}{16} c^2`. The paper says that with projections "the time complexity and model size are doubled"; it
# is a factor of 33/17.


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
# Now the whole table of the paper. Each net is built, one image of zeros goes through it, and each layer is counted as
# it is called.

counted = {"plain-34": plain34}
paper = {"plain-34": 3.6, "ResNet-18": 1.8, "ResNet-34": 3.6, "ResNet-50": 3.8, "ResNet-101": 7.6, "ResNet-152": 11.3}
for depth in (18, 34, 50, 101, 152):
    option = {"shortcut": "A"} if depth < 50 else {}  # Table 1 is with the shortcuts that cost nothing
    counted[f"ResNet-{depth}"] = summary(getattr(models, f"resnet{depth}")(**option), (224, 224, 3))

print(f"{'net':12}{'parameters':>12}{'multiply-adds':>17}   in the paper")
for name, cost in counted.items():
    print(f"{name:12}{cost.parameters:>12,}{cost.macs:>17,}   {paper[name]} billion")
    assert abs(cost.macs / 1e9 - paper[name]) < 0.06
assert counted["ResNet-34"].macs == plain34.macs < 0.19 * vgg19

# %%
# They agree with the paper to its last digit, if its 3.8 for ResNet-50 (we count 3.86) is taken as cut and not as
# rounded. Two remarks for those who compare with other tables. The stride of a stage's first block may stand on its
# first 1x1, as in the paper, or on its 3x3, as in many ports ("v1.5"). Then the first 1x1 sees four times the pixels,
# and ResNet-50 costs more:

later = summary(models.resnet50(stride_in="3x3"), (224, 224, 3))
print(
    f"ResNet-50, stride on the 3x3: {later.macs:,} multiply-adds, {later.macs / counted['ResNet-50'].macs - 1:.0%} more"
)
assert later.parameters == counted["ResNet-50"].parameters

# %%
# And some count a multiplication and an addition as two; their figures are twice ours.
#
# What is bought for it? Against the multiply-adds we just counted, put the errors that the paper reports on the
# validation set of ImageNet (top-1, ten crops). Those of ResNet-18 and plain-18 are from Table 2, with option A; the
# others are from Table 3, with option A for ResNet-34 and B for the deeper ones.

errors = {"ResNet-18": 27.88, "ResNet-34": 25.03, "ResNet-50": 22.85, "ResNet-101": 21.75, "ResNet-152": 21.43}
fig, (ax, shares) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained", width_ratios=[1.35, 1])
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
    title="What an image costs, and what it buys",
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
shares.set(ylabel="share (%)", ylim=(0, 85), title="ResNet-34, ResNet-50: where it goes")
shares.legend(frameon=False)
tidy(shares)

# %%
# Each step down the black line is depth that pays. The step from 34 to 50 layers is more than two points, at six
# percent more multiply-adds. The dashed line goes the wrong way: that was chapter 12. On the right, conv2_x to conv5_x
# are the paper's names for the four stages. Compute is spread over them, and the weights are at the end.
#
# What is not counted
# -------------------
#
# Batch norm, ReLU and the additions count nothing, since they do only a few operations for each number. But every
# number has to come from memory and go back there, and :doc:`chapter 8 </course/08_fast>` showed that this, and not
# arithmetic, often is what takes the time. So count the numbers as well: all that the convolutions write for one image.

for name in ("ResNet-34", "ResNet-50", "ResNet-152"):
    rows = [row for row in counted[name].rows if row.kind == "Conv2d"]
    written = sum(math.prod(row.shape) for row in rows)
    each = counted[name].macs / written
    print(f"{name:11} writes {written / 1e6:5.1f} million numbers, {each:6,.0f} multiply-adds for each")

# %%
# That is the small print of the bottleneck. It saves multiply-adds, and not the traffic of maps: its wide ends are as
# large as ever. ResNet-50 costs what ResNet-34 costs on paper, but it writes almost three times as many numbers, so it
# tends to be slower, and needs more memory in training. A count of multiply-adds is a good first estimate, and it is
# never the last word.
#
# Exercises
# ---------
#
# 1. **Count a convolution**, with stride, padding and groups.
# 2. **Count a whole net**: the CIFAR nets of depth :math:`6n + 2`, without building them.
# 3. **A budget.** How wide may the middle of a bottleneck be, if it must not cost more than that?
#
# .. literalinclude:: /exercises/chapter_14.py
#
# Fill in ``docs/exercises/chapter_14.py`` and run ``python docs/exercises/check.py 14``.
