r"""
17. CIFAR-10, to the letter
===========================

What exactly did the authors do on CIFAR-10, and how can one repeat a run of 64,000 iterations?

A result must be repeatable. The paper describes in a dozen lines how its nets for CIFAR-10 were trained (section 4.2),
and these lines are easily misread: a border of the wrong colour, a schedule counted in the wrong unit, the best run
reported as the usual one. This chapter goes through the lines one by one. Then it shows how a run that was killed can
be resumed so that its result is the same to the last bit. It ends with the logs of real runs.
"""

# %%
# The recipe
# ----------
#
# =================  ===================================================================================
# what               the paper's choice
# =================  ===================================================================================
# images             50,000 to train on, 10,000 to test on; 32x32 pixels, three colours, ten classes
# preparation        the mean image of the training set is subtracted, pixel by pixel
# augmentation       4 pixels of zeros on each side, a random 32x32 crop of this image or of its mirror image
# batch              128 images
# optimizer          SGD, momentum 0.9, weight decay 0.0001, no dropout
# initial weights    He initialisation (chapter 13), batch norm after each convolution (chapter 11)
# learning rate      0.1, divided by 10 after 32,000 and after 48,000 iterations
# end                64,000 iterations, chosen on a split of 45,000 and 5,000 images
# test               the single view of the 32x32 image, no crops
# =================  ===================================================================================
#
# In minigrad this is ``python -m demos.cifar10`` (:doc:`the demo </gallery/cifar10>`). After twenty iterations it says
# how long the run will take on your machine. The images must be downloaded first, and this page is built without a
# network. So this chapter uses 32x32 pieces of a photograph instead: 500 places in a portrait of Grace Hopper that
# comes with matplotlib.

import tempfile
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import cbook

import minigrad as mg
import models
from demos import cifar10
from demos.style import PLAIN, RESIDUAL
from minigrad import data, optim, train
from minigrad.data import transforms
from minigrad.data.images import ByteImages, read_photo, resize
from minigrad.train.report import read_log, show, tidy
from models import cifar_resnet

photo = resize(read_photo(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)), 96)  # (h, w, 3), uint8
photo = np.clip(np.rint(photo), 0, 255).astype(np.uint8)
rng = np.random.default_rng(0)
tops, lefts = rng.integers(photo.shape[0] - 31, size=500), rng.integers(photo.shape[1] - 31, size=500)
pieces = np.stack([photo[t : t + 32, s : s + 32] for t, s in zip(tops, lefts, strict=True)])  # (500, 32, 32, 3)
training = ByteImages(pieces, np.zeros(500, int))  # converted to float32 from 0 to 1, a batch at a time

# %%
# First subtract, then pad
# ------------------------
#
# The *mean image* is the mean over the training set for each pixel and each colour, an array (32, 32, 3). It is
# subtracted from every image, including the test images, and nothing is divided. Then a border of zeros is added. The
# order matters. After the subtraction, zero means "the mean", so the border is neutral beside the dark and bright
# pixels of the image. Before the subtraction, zero means black, and after the subtraction the border is as dark as a
# pixel can be. Then every image has a strong frame, which says more about the place of the crop than about the content
# of the image.

normalize = transforms.Normalize.per_pixel(training)
images, _ = training[np.arange(500)]
border = ((0, 0), (4, 4), (4, 4), (0, 0))
right = np.pad(normalize(images), border)
wrong = np.pad(images, border) - np.pad(normalize.mean, border[1:], mode="edge").astype("float32")

edge = np.ones((40, 40), bool)
edge[4:-4, 4:-4] = False
for name, padded in (("subtract, then pad", right), ("pad, then subtract", wrong)):
    print(f"{name}: the border's mean is {padded[:, edge].mean():.2f}, the images' mean is 0")
assert abs(wrong[:, ~edge].mean()) < 1e-6
assert (right[:, edge] == 0).all()
assert wrong[:, edge].max() < -0.1

# %%
# The next step is the crop. A padded image has 40x40 pixels, so there are :math:`9 \cdot 9 = 81` places for a 32x32
# window. With the mirror image there are 162 views. In 164 epochs, the net sees about a hundred different views of each
# image. All random numbers of a batch are drawn at once, from a Generator that is passed in. The crop indexes the
# window view of :doc:`chapter 8 </course/08_im2col>`:
#
# .. literalinclude:: /../minigrad/data/transforms.py
#    :pyobject: RandomCrop.__call__

augment = transforms.Compose([normalize, transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()])
which = 7
views = augment(np.repeat(images[which : which + 1], 6, axis=0), np.random.default_rng(3))  # (6, 32, 32, 3)

fig, axes = plt.subplots(2, 5, figsize=(9, 4.1), layout="constrained")
fig.set_label(
    "Ten small pictures: a training image, the mean image, their difference, the difference padded with zeros, the "
    "image padded too early, and five shifted or mirrored views."
)
shown = {
    "an image": images[which],
    "the mean image": normalize.mean,
    "subtracted": normalize(images)[which] + 0.5,
    "then padded": right[which] + 0.5,
    "padded too early": wrong[which] + 0.5,
}
shown |= {f"view {i + 1} of 162": view + 0.5 for i, view in enumerate(views[:5])}
for ax, (name, image) in zip(axes.flat, shown.items(), strict=True):
    ax.imshow(np.clip(image, 0, 1), interpolation="nearest")
    ax.set_title(name, fontsize=10)
    ax.set_axis_off()

# %%
# Iterations, not epochs
# ----------------------
#
# "32k and 48k" are iterations: steps of the optimizer, 128 images each. One pass over 50,000 images takes 391
# iterations. Why does the unit matter? Because the authors chose the schedule on 45,000 images, and then trained on
# 50,000. Counted in iterations, both runs have the same steps with the same learning rates. Counted in epochs, they do
# not.

for n in (50_000, 45_000):
    per_epoch = -(-n // 128)
    epochs = ", ".join(f"{iterations / per_epoch:.1f}" for iterations in (32_000, 48_000, 64_000))
    print(f"{n:,} images: {per_epoch} iterations per epoch; 32k, 48k, 64k iterations are {epochs} epochs")

# %%
# minigrad counts iterations everywhere. The demo has two schedules: the paper's, and one of 30 epochs (``--recipe
# quick``), whose learning rate rises linearly and then follows a cosine to 0.
#
# .. literalinclude:: /../demos/cifar10.py
#    :pyobject: schedule
#
# The 110-layer net has a rule of its own. With a learning rate of 0.1 its training is slow to start. So the rate is
# 0.01 until the training error is below 80 %, which takes about 400 iterations. Then training continues as for the
# other nets. (Should the error never fall so far, the drops at 32,000 and 48,000 iterations still limit the rate.)


def rates(recipe):
    """Return the learning rates of a run; nothing is trained."""
    options = cifar10.parse(["--recipe", recipe])
    sgd = optim.SGD([mg.nn.Parameter([0.0])], cifar10.RECIPES[recipe]["lr"])
    schedule, used = cifar10.schedule(options, sgd), []
    for _ in range(options.iterations):
        used.append(sgd.lr)
        schedule.step()
    return np.array(used)


paper, quick = rates("paper"), rates("quick")
fig, ax = plt.subplots(figsize=(7, 3), layout="constrained")
fig.set_label(
    "Learning rate over the iterations: the paper's is a staircase of three steps over 64 thousand, the quick recipe "
    "rises and falls like a hill within the first twelve thousand."
)
ax.plot(np.arange(len(paper)) / 1000, paper, color="black", lw=2, label="the paper's")
ax.plot(np.arange(len(quick)) / 1000, quick, color="0.6", lw=2, label="quick: 30 epochs")
ax.set(xlabel="thousand iterations", ylabel="learning rate", title="Two schedules")
ax.legend(frameon=False)
tidy(ax)
assert len(paper) == 64_000
assert len(quick) == 30 * 391
assert np.allclose(paper[[0, 31_999, 32_000, 47_999, 48_000, 63_999]], [0.1, 0.1, 0.01, 0.01, 0.001, 0.001])

# %%
# What the text leaves open
# -------------------------
#
# Some choices are not in the paper's text, or depend on the program in which a net is trained. Whoever repeats the
# experiment has to make them, and should name them. These are minigrad's:
#
# **The statistics of batch norm.** The paper trained with batches of 128 on two GPUs, and each GPU normalised its own
# 64 images. The demo normalises all 128 images together; the statistics of 64 images vary more from batch to batch.
# With ``--shards 2``, the demo cuts each batch into two halves, each with its own statistics, and averages their
# gradients (:doc:`chapter 21 </course/21_many_machines>`). This is what the two GPUs did.
#
# **The last batch.** 50,000 is not a multiple of 128. In the demo, the last batch of an epoch has 80 images. A program
# that fills it with images of the next epoch takes 390.6 iterations per epoch instead of 391.
#
# **The form of momentum.** With the learning rate :math:`\eta` *outside* the velocity, as in minigrad and PyTorch,
#
# .. math:: v \leftarrow m v + g, \qquad w \leftarrow w - \eta v .
#
# Caffe, in which the authors trained the nets that they released, has it *inside*:
#
# .. math:: v \leftarrow m v + \eta g, \qquad w \leftarrow w - v .
#
# While :math:`\eta` is constant, both are the same. After a drop, the velocity of the second form still contains
# gradients that were multiplied by the old rate, and its steps become shorter only gradually. The program below follows
# a constant gradient of 1, so that all changes come from the learning rate.


def steps(inside, lrs, m=0.9):
    """Return the lengths of steps along a constant gradient of 1."""
    v, lengths = 0.0, []
    for lr in lrs:
        v = m * v + (lr if inside else 1.0)
        lengths.append(v if inside else lr * v)
    return np.array(lengths)


lrs = [0.1] * 200 + [0.01] * 100
outside, inside = steps(False, lrs), steps(True, lrs)
for after in (0, 1, 10, 20, 40):
    print(f"{after:2} iterations after the drop: outside {outside[199 + after]:.2f}, inside {inside[199 + after]:.2f}")
assert np.allclose(outside[:200], inside[:200])
assert np.allclose(outside[200:], 0.1)
assert inside[219] > 2 * outside[219]
assert inside[239] < 1.2 * outside[239]

# %%
# The two forms differ for a few dozen of 64,000 iterations.
#
# **Weight decay.** The paper gives a number, but not the parameters on which it acts. Here it acts on all, also on
# :math:`\gamma` and :math:`\beta` of batch norm. The quick recipe leaves them out.

# %%
# Resuming a run exactly
# ----------------------
#
# A run may take hours or days. Someone may need the machine or restart it, or its battery may run out. So a run must be
# able to stop anywhere and to continue later. The weak promise is: *it continues to learn*. The strong promise is: *it
# continues as if nothing had happened, to the last bit*. The strong promise is worth the effort for a practical reason:
# it can be tested. A test for "about as good as before" would miss many mistakes.
#
# On what does the next iteration depend? On the weights, of course. But also on the momentum of each weight, on the
# running statistics of batch norm, on the learning rate and the position in the schedule, on which images come next and
# how they will be cropped, and on the seeds of dropout. If one of these is not saved, there is no error message; the
# resumed run merely differs from the uninterrupted run. This is the state that minigrad saves:
#
# .. literalinclude:: /../minigrad/train/run.py
#    :pyobject: Run.state_dict
#
# The order of the images is the difficult part. A single Generator for the whole run has a hidden state. Moreover,
# batches are made ahead of time in another thread, so this state does not even belong to the batch that is being
# trained on. minigrad avoids the problem: the order of each epoch and the random numbers of each batch have a Generator
# of their own. Its seed is computed from the seed of the run and the position (``np.random.SeedSequence(seed,
# spawn_key=place)`` is a seed made of several numbers). So three integers are enough to save a position.
#
# .. literalinclude:: /../minigrad/data/loader.py
#    :pyobject: DataLoader._maker
#
# In the experiment, ResNet-8 is trained on the digits for 40 iterations without interruption. A second run stops after
# 17 iterations, in the middle of an epoch. Only its file is kept, and new objects continue from it. A third run
# continues from a file in which the momentum was set to zero.


def fit(iterations, path=None):
    """Train a new net; with a path, continue from the file there, if any, and save the run there at the end."""
    net = cifar_resnet(8, in_channels=1, width=8, rng=0)
    sgd = optim.SGD(net.parameters(), 0.05, momentum=0.9, weight_decay=1e-4)
    shifted = transforms.RandomCrop(8, padding=1)
    with redirect_stderr(StringIO()):
        train.fit(
            net,
            data.DataLoader(data.Digits(), 128, rng=0, transform=shifted),
            optimizer=sgd,
            schedule=optim.MultiStepLR(sgd, [30]),
            iterations=iterations,
            checkpoint=None if path is None else train.Checkpoint(path, resume=True),
        )
    return net.state_dict()


with tempfile.TemporaryDirectory() as folder:
    path, forgetful = Path(folder) / "run.safetensors", Path(folder) / "forgetful.safetensors"
    whole = fit(40)
    fit(17, path)  # here the power fails
    tree = mg.load(path)
    tree["optimizer"]["velocity"] = [0 * v for v in tree["optimizer"]["velocity"]]
    mg.save(forgetful, tree)
    resumed = fit(40, path)
    other = fit(40, forgetful)

print("in the checkpoint:", ", ".join(tree))
print("position in the batches:", tree["batches"])
for name, state in (("resumed", resumed), ("resumed without its momentum", other)):
    same = sum(np.array_equal(state[key], whole[key]) for key in whole)
    print(f"{name}: {same} of {len(whole)} arrays equal, bit for bit")
assert all(np.array_equal(resumed[key], whole[key]) for key in whole)
assert not np.array_equal(other["fc.weight"], whole["fc.weight"])

# %%
# Writing the file could be interrupted as well. So it is written under another name, synced to the disk, and only then
# renamed. After a crash during writing, the previous checkpoint is still there. The file holds arrays and JSON, so it
# contains no code that could be executed (:doc:`chapter 18 </course/18_real_weights>`).
#
# Logs of real runs
# -----------------
#
# These are logs of real runs, stored with the source in ``docs/logs/cifar10``: one line of JSON for each evaluation.
# The page plots all logs that it finds there, those of the short recipes on the right. The thin line is the error on
# the training batches, cropped and flipped; the bold line is the test error. *paper* is the paper's recipe, to its end.
# *quick-0*, *quick-1* and *quick-2* are three seeds of the quick recipe above. Runs of 8,602 iterations are of the
# *22-epoch recipe*, which was the quick recipe before: the same shape of the learning rate, but fewer epochs, no
# Nesterov momentum, and a smaller weight decay, on all parameters.

logs = {
    path.stem: read_log(path)
    for path in sorted((Path(models.__file__).parents[1] / "docs/logs/cifar10").glob("*.jsonl"))
}

fig, panels = plt.subplots(1, 2, figsize=(9, 4), sharey=True, layout="constrained")
fig.set_label(
    "Errors over the iterations. Left, ResNet-20 by the paper's recipe: they fall steeply, then slowly, and steeply "
    "once more where the learning rate drops. Right, the short recipes: ResNet-20 ends lower than plain-20, on "
    "training batches and on test images."
)
greys = {"resnet-20-quick-0": "0.3", "resnet-20-quick-1": "0.5", "resnet-20-quick-2": "0.7"}
print(f"{'log':18}{'iterations':>12}{'batch error':>13}{'test error':>12}")
for name, log in logs.items():
    style = PLAIN if name.startswith("plain") else RESIDUAL | {"color": greys.get(name, RESIDUAL["color"])}
    thousands = [record["iteration"] / 1000 for record in log]
    for key, width in (("batch_error", 0.8), ("test_error", 2.2)):
        percent, label = [100 * record[key] for record in log], name if width > 1 else None
        panels[0 if name.endswith("paper") else 1].plot(thousands, percent, **style, lw=width, label=label)
    last = log[-1]
    print(f"{name:18}{last['iteration']:12,}{last['batch_error']:13.2%}{last['test_error']:12.2%}")
for panel, title in zip(panels, ("the paper's recipe", "30 and 22 epochs"), strict=True):
    panel.axhline(8.75, color="0.5", lw=1, ls=":")
    panel.set(xlabel="thousand iterations", ylim=(0, 70), xlim=(0, None), title=title)
    panel.legend(frameon=False)
    tidy(panel)
panels[0].set_ylabel("error (%)")
panels[1].annotate("ResNet-20 in the paper: 8.75 %", (0.1, 8.2), va="top", fontsize=9, color="0.3")
assert logs["resnet-20"][-1]["test_error"] < 0.1075
assert logs["resnet-20"][-1]["batch_error"] < logs["plain-20"][-1]["batch_error"]

# %%
# Always read a log together with its number of iterations: 8,602 is the 22-epoch recipe, 11,730 is the quick recipe,
# 64,000 is the paper's. By the paper's recipe, this ResNet-20 ends with 8.16 % of the test images wrong; the paper has
# 8.75 %. After 8,602 iterations, ResNet-20 is within two points of that, which took seven times as many. Two such
# numbers must not stand in one column without a remark. The two steps in the paper's curve are the drops of the
# learning rate: while the rate is 0.1, the weights are moved too far to come closer to a minimum, and each drop lets
# the error fall within an epoch or two.
#
# Now look at the thin lines: plain-20, with the recipe of 22 epochs, has a higher error than ResNet-20 on the images on
# which it was *trained*. With 20 layers the gap is small; with more layers it grows (chapter 14).
#
# How much is a tenth of a percent?
# ---------------------------------
#
# The test set has 10,000 images. Suppose that a net is wrong with probability p. Measured on another 10,000 images of
# the same kind, its error would vary with a standard deviation of :math:`\sqrt{p (1 - p) / 10000}`. Besides, two seeds
# give two different nets. The paper trained ResNet-110 five times and reports both results: best 6.43 %, mean and
# deviation 6.61 ± 0.16 %. The first is the number that is usually quoted; the second is the number to expect.

paper_errors = {20: 8.75, 32: 7.51, 44: 7.17, 56: 6.97, 110: 6.61}  # Table 6; for 110, the mean of five runs
for depth, error in paper_errors.items():
    p = error / 100
    print(f"ResNet-{depth:<3}  {error:.2f} %  ± {100 * np.sqrt(p * (1 - p) / 10_000):.2f} from the test set alone")

ours, theirs = logs["resnet-20-paper"][-1]["test_error"], paper_errors[20] / 100
distance = (theirs - ours) / np.sqrt((ours * (1 - ours) + theirs * (1 - theirs)) / 10_000)
print(f"ours is {100 * (theirs - ours):.2f} points lower, {distance:.1f} times the deviation of such a difference")
assert 0 < distance < 2

# %%
# Our ResNet-20 makes fewer mistakes than the paper's, but the last line says that this may be chance: the difference is
# less than two deviations, and the variation between two seeds comes on top. So the run agrees with the paper. It does
# not prove that this training is better.
#
# The improvement from 20 to 32 layers is real. It is more than three times the deviation that the choice of test
# images alone gives to a difference of two such numbers. If the variation between two seeds is included, it is still
# almost three times the deviation. Between 44 and 56 layers, with one run each, nothing is proven. Two nets that are
# tested on the *same* images can be compared somewhat more precisely, because the hard images are hard for both. But a
# tenth of a percent from one run means nothing. ``--seeds 5`` trains five nets, and prints best, mean and deviation.
#
# One more warning. The test error is logged after every epoch so that you can *look at* it. If you choose the best
# epoch by the test error, you have used the test set for training. To choose an epoch, use ``--split``, which holds out
# 5,000 training images, as the paper did.
#
# Exercises
# ---------
#
# 1. **The schedule**, as a function of the iteration.
# 2. **One view** of an image, computed by the recipe from its four random draws.
# 3. **An order that can be resumed**: the permutation of an epoch, computed only from the seed and the epoch.
#
# .. literalinclude:: /exercises/chapter_17.py
#
# Fill in ``chapter_17.py`` in :ref:`your folder <folder>`, and run ``python -m docs.exercises check FOLDER 17``.

show()
