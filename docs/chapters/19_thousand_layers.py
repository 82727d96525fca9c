r"""
18. A thousand layers
=====================

With residual blocks, depth is no longer a problem for the optimizer. Then what prevents a net of a thousand layers?

The authors asked this themselves, and trained a net of 1202 layers on CIFAR-10 (section 4.2). The optimizer had no
difficulty. The limit is memory: the backward pass needs arrays that the forward pass computed, so they all have to be
stored, and a thousand layers need many of them. This chapter measures how much memory they need. Then it trades time
for memory: it discards the arrays and computes them again when they are needed.
"""

# %%
# What a tape stores
# ------------------
#
# The rule of a convolution needs the convolution's input; the rule of batch norm needs its own input. So the tape
# stores these arrays from the moment they are made until the replay has passed them (:doc:`chapter 2
# </course/02_tape>`). For a residual block, it stores four maps: the block's input, the output of the first
# convolution, the output of the ReLU, and the output of the second convolution. Nothing is freed before the end of the
# forward pass. So the memory in use is largest at the end of the forward pass, and this peak grows linearly with depth.
#
# We can measure it. ``tracemalloc`` counts the bytes that NumPy allocates. A hook on every block records the count in
# the forward pass, and a hook on the block's output records it again in the backward pass. To make the curve simple,
# the net has one stage: forty blocks of 4 filters on maps of 8x8, so all its maps have one size. The batch has 128
# images.

import tracemalloc

import matplotlib.pyplot as plt
import numpy as np

import minigrad as mg
from demos import lab
from minigrad.train.report import show, tidy
from models import cifar_resnet, residual_net
from models.resnet import BasicBlock

images, labels = next(iter(lab.digits(train=True, batch=128, rng=0)))


def blocks_of(net):
    return [block for stage in net.stages for block in stage]


def through(blocks):
    """Return the function that passes x through the blocks."""

    def run(x):
        for block in blocks:
            x = block(x)
        return x

    return run


def forward(net, images, k=None):
    """Compute the logits; with k, in segments of k blocks, whose inside is discarded."""
    blocks, x = blocks_of(net), net.stem(mg.Tensor(images))
    if k is None:
        x = through(blocks)(x)
    else:
        for i in range(0, len(blocks), k):
            x = mg.recompute(through(blocks[i : i + k]), x)
    return net.fc(net.avgpool(x))


def measured_step(net, images, labels, k=None):
    """Go forward and backward; return the megabytes in use at every block, and the peak."""
    used = []

    def note(*_):
        used.append(tracemalloc.get_traced_memory()[0] / 1e6)

    def watch(block, out):
        note()
        out.hook(note)

    ends = [block.hook(watch) for block in blocks_of(net)]
    for p in net.parameters():
        p.grad = None
    tracemalloc.start()
    mg.cross_entropy(forward(net, images, k), labels).backward()
    peak = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    for end in ends:
        end()
    return used, peak


n = 40
net = residual_net("cifar", BasicBlock, (n,), (4, 4), shortcut="A", num_classes=10, in_channels=1)
measured_step(net, images, labels)  # the first step also makes the buffers that all later ones share
mountain, peak = measured_step(net, images, labels)
gradients = [p.grad.data for p in net.parameters()]

a_map = images.shape[0] * 8 * 8 * 4 * 4 / 1e6  # n h w c, four bytes each
print(
    f"one map: {a_map:.3f} MB; each further block stores {(mountain[n - 1] - mountain[0]) / (n - 1) / a_map:.1f} maps"
)
print(f"{n} blocks: {peak:.1f} MB at the end of the forward pass")
assert 4 < (mountain[n - 1] - mountain[0]) / (n - 1) / a_map < 4.3

# %%
# Four maps per block. The ReLUs need no memory of their own: their rule needs the places where the *result* is
# positive, and the result is stored already, as the input of the next convolution. The rule of the addition needs no
# array.
#
# Discard, and compute again
# --------------------------
#
# Now divide the net into *segments* of k blocks. In the forward pass, store only the input of each segment, and discard
# the arrays inside it. When the replay reaches a segment, run the segment forward once more from its input, which
# computes its arrays again. Then go backward through the segment and free its arrays. This is
# :term:`recomputation <recompute 重计算>`, also called gradient checkpointing (T. Chen et al., "Training Deep Nets with
# Sublinear Memory Cost", arXiv 1604.06174). In minigrad, the function :func:`minigrad.recompute` calls another function
# in this way, as in ``forward`` above. Its core:
#
# .. literalinclude:: /../minigrad/autograd/recompute.py
#    :pyobject: recompute
#    :start-at: segment = Segment
#    :dedent:
#
# The first run is recorded as usual. Then ``drop`` replaces every array that the tape's entries stored by a reference
# to the segment. When the replay asks the first of these entries for its arrays, the segment runs ``f`` again and gives
# all entries their arrays back. The complete code has fewer than 100 lines: :doc:`/source/minigrad/autograd/recompute`.

sawtooth, low = measured_step(net, images, labels, 5)
same = all(np.array_equal(p.grad.data, g) for p, g in zip(net.parameters(), gradients, strict=True))
print(f"in segments of 5 blocks: {low:.1f} MB instead of {peak:.1f}; gradients equal, bit for bit: {same}")
assert same
assert low < peak / 3

fig, ax = plt.subplots(figsize=(8, 3.8), layout="constrained")
fig.set_label(
    "Memory in use during a training step: one high peak if all arrays are stored, a low sawtooth with segments of "
    "five blocks."
)
ax.plot(mountain, color="0.6", lw=2, label="all stored")
ax.plot(sawtooth, color="black", lw=2, label="segments of 5 blocks")
ax.axvline(n - 0.5, color="0.5", lw=1, ls=":")
ax.text(n - 2, peak * 1.02, "forward →", ha="right")
ax.text(n + 1, peak * 1.02, "→ backward", ha="left")
ax.set(
    xlabel="blocks passed, forward and backward",
    ylabel="megabytes in use",
    title="One training step",
    ylim=(0, peak * 1.12),
)
ax.legend(frameon=False, loc="center right")
tidy(ax)

# %%
# With all arrays stored, the curve has one high peak. With segments, it has many small ones. In the forward pass, each
# small peak is a segment that is computed and whose arrays are then discarded. Only its input remains, so the curve
# rises slowly. In the backward pass, each small peak is a segment that is computed again and then freed.
#
# It is not obvious that the gradients are equal *to the bit*. For this, the second run must compute exactly what the
# first run computed. So some operations must not be done twice: the running statistics of batch norm would be updated
# twice, and dropout would draw other zeros. Both use :func:`minigrad.once`, which in the second run returns the result
# of the first.
#
# How long should a segment be?
# -----------------------------
#
# With short segments, many inputs are stored; with long segments, the inside of a segment is large. Let the input of a
# segment take a bytes, and the inside of one block b bytes. With n blocks in segments of k, the memory in use is
# largest at the start of the backward pass. Then all inputs and the inside of one segment are stored:
#
# .. math:: M(k) = a\, \frac{n}{k} + b\, k .
#
# The derivative is :math:`-a n / k^2 + b`, and it is zero at
#
# .. math:: k^* = \sqrt{a\, n / b}, \qquad M(k^*) = 2 \sqrt{a\, b\, n} .
#
# With the best segments, memory grows with the *square root* of the depth. For our blocks a is one map and b four, so
# :math:`k^* = \sqrt{n / 4}`, about 3 for 40 blocks. The price is time: each block is run forward once more. A backward
# pass costs about two forward passes, so a step costs four forward passes instead of three: a third more time, at any
# depth.

lengths = (1, 2, 3, 5, 10, 20, 40)
peaks = [measured_step(net, images, labels, k)[1] for k in lengths]
for k, megabytes in zip(lengths, peaks, strict=True):
    print(f"segments of {k:2}: {megabytes:5.1f} MB")

k = np.linspace(1, 40, 200)
fixed = peaks[-1] - (a_map * 1 + 4 * a_map * 40)  # stem, logits and temporary arrays: fitted at the right end
fig, ax = plt.subplots(figsize=(7, 3.8), layout="constrained")
fig.set_label(
    "Peak memory against the length of a segment: measured points along a U-shaped curve that is lowest at a few "
    "blocks. With all blocks in one segment it reaches the line of all arrays stored."
)
ax.plot(k, a_map * n / k + 4 * a_map * k + fixed, color="0.6", lw=2, label="a n / k + b k, and a constant")
ax.plot(lengths, peaks, "o", color="black", label="measured")
ax.axhline(peak, color="0.5", lw=1, ls=":")
ax.text(40, peak, "all stored", va="bottom", ha="right")
ax.set(xlabel="blocks in a segment", ylabel="peak memory (MB)", xscale="log", ylim=(0, None))
ax.set_xticks(lengths, lengths)
ax.set_title("Peak memory against segment length")
ax.legend(frameon=False, loc="upper center")
tidy(ax)
assert lengths[int(np.argmin(peaks))] in (3, 5)
assert peaks[0] > min(peaks) < peaks[-1] / 3

# %%
# Now plot the peak against depth: without recomputation it grows linearly, and with segments of the best length more
# slowly.

depths, kept, again = (10, 20, 40, 80), [], []
for blocks in depths:
    deep = residual_net("cifar", BasicBlock, (blocks,), (4, 4), shortcut="A", num_classes=10, in_channels=1)
    kept.append(measured_step(deep, images, labels)[1])
    again.append(measured_step(deep, images, labels, round(np.sqrt(blocks / 4)))[1])
    print(f"{2 * blocks + 2:4} layers: {kept[-1]:5.1f} MB all stored, {again[-1]:4.1f} MB with recomputation")
assert 1.9 < kept[3] / kept[2] < 2.1
assert again[3] / again[2] < 1.6

# %%
# 1202 layers
# -----------
#
# Now the paper's net: :math:`n = 200`, three stages of 200 blocks. Two things other than memory could fail. A recursive
# replay, in which each rule calls the next, would go 4,200 calls deep, seven for each block, and reach Python's limit
# of 1,000. Our replay takes the entries from a heap (chapter 2). And a replay that follows every *path* would never
# end, since there are :math:`2^{600}` paths (:doc:`chapter 15 </course/15_residual>`). Our replay visits every entry
# once.

x = y = mg.Tensor(1.0, requires_grad=True)
for _ in range(30_000):
    y = y + x
y.backward()
print(f"a chain of 30,000 operators: the gradient is {x.grad.item():.0f}")
assert x.grad.item() == 30_001

net = cifar_resnet(1202, in_channels=1, rng=0)
sgd = mg.optim.SGD(net.parameters(), lr=0.01)
few = images[:2], labels[:2]
loss = mg.cross_entropy(forward(net, few[0], k=10), few[1])
loss.backward()
sgd.step()
layers = sum(isinstance(module, mg.nn.Conv2d | mg.nn.Linear) for _, module in net.named_modules())
print(
    f"{layers} layers, {sum(p.size for p in net.parameters()):,} parameters, one step: the loss was {loss.item():.2f}"
)
assert layers == 1202
assert all(p.grad is not None and np.isfinite(p.grad.data).all() for p in net.parameters())

# %%
# This was a step on two small images. How much memory would the paper's training need, with 128 images of 32x32? Count
# four maps per block if everything is stored, and one map per block if only each block's input is stored:

map_bytes = [128 * size * size * filters * 4 for size, filters in ((32, 16), (16, 32), (8, 64))]
inputs = sum(200 * size for size in map_bytes)
print(f"everything:                {4 * inputs / 2**30:5.1f} GiB")
print(f"an input for every block:  {inputs / 2**30:5.1f} GiB")
inside = 4 * 10 * map_bytes[0]
print(f"an input for every tenth:  {inputs / 10 / 2**30:5.1f} GiB, and {inside / 2**30:.1f} GiB inside one segment")

# %%
# Eleven gibibytes (of :math:`2^{30}` bytes) become less than one. The weights, their gradients and their momenta take
# another quarter of a gibibyte.
#
# Was it worth it?
# ----------------
#
# The paper's answer has two parts. The optimizer had no difficulty with a thousand layers: the training error of the
# 1202-layer net fell below 0.1 %. After :doc:`chapter 14 </course/14_plain_nets>` this is remarkable; a plain net of
# 110 layers stayed above 60 %. But the test error was 7.93 %, *worse* than the 6.43 % of ResNet-110, although both nets
# fit the training set about equally well.
#
# Apply the diagnosis of chapter 14. The training error is low and the test error is higher than that of the shallower
# net, so this is not degradation. It is overfitting, as the authors say, too. The net has 19.4 million parameters for
# 50,000 small images, and was trained with neither dropout nor maxout. Residual learning solved the problem of finding
# good weights, and then the next problem appeared.
#
# Exercises
# ---------
#
# 1. **In segments.** Send x through blocks so that only the inputs of segments are stored. Note that the function that
#    you pass to ``mg.recompute`` is called again *later*, when a loop variable may have another value.
# 2. **The best length**, in whole blocks.
# 3. **A budget.** How deep may a CIFAR net be to fit into a given memory?
#
# .. literalinclude:: /exercises/chapter_19.py
#
# Fill in ``docs/exercises/chapter_19.py`` and run ``python docs/exercises/check.py 19``.

show()
