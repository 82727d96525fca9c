r"""
17. Real weights and a real photograph
======================================

A file of 25 million numbers comes from another library. What must one know to use them?

Training ResNet-50 on ImageNet takes days even on GPUs, but the result can be downloaded: a hundred megabytes of
weights. They were trained in another library, which arranges its arrays in another order, gives its layers other names,
and adds another epsilon to its variances. Some of these differences lead to an error at once. Others are silent: all
shapes are right, the net runs, and its answers are a little worse, or nonsense. This chapter goes from the bytes of the
file to the name of the object in a photograph.
"""

# %%
# A file format without code
# --------------------------
#
# PyTorch's ``.pth`` files are pickles. A pickle is not only data: it is a program for a small machine that builds
# objects, and one of its instructions is "call this function". The pickle below is disassembled without being run.
# Loading it would print a line, but it could as well delete a folder. (PyTorch can refuse all calls except a few, with
# ``weights_only=True``. A format without calls is simpler.)

import json
import pickletools
import tempfile
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import minigrad as mg
from demos import lab
from minigrad import nn, train
from minigrad.inspect import summary
from minigrad.train.report import show, tidy
from models import pretrained, residual_net
from models.resnet import Bottleneck

pickletools.dis(b"cbuiltins\nprint\n(S'This ran while a file was being loaded.'\ntR.")

# %%
# So minigrad never loads pickles. It reads *safetensors* files. Such a file has three parts: eight bytes that give the
# length of the header; the header, a JSON text with the name, type, shape and position of each array; and then the
# numbers of all arrays. This is the whole format. A function of ten lines reads it:


def read_safetensors(raw):
    length = int.from_bytes(raw[:8], "little")
    header, numbers = json.loads(raw[8 : 8 + length]), raw[8 + length :]
    arrays = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            dtype = {"F32": "<f4", "F64": "<f8", "I64": "<i8"}[entry["dtype"]]
            arrays[name] = np.frombuffer(numbers[begin:end], dtype).reshape(entry["shape"])
    return arrays


with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "three.safetensors"
    mg.save(path, {"w": np.arange(6, dtype="float32").reshape(2, 3), "b": np.array([0.5])})
    raw = path.read_bytes()
length = int.from_bytes(raw[:8], "little")
print(f"{len(raw)} bytes. The first eight say that the header has {length} bytes. Its entries:")
for name, entry in json.loads(raw[8 : 8 + length]).items():
    if name != "__metadata__":
        print(f"  {name}: {entry}")
for name, array in read_safetensors(raw).items():
    print(name, array.shape, array.dtype, array.ravel())

# %%
# One line of PyTorch converts a ``.pth`` file to this format; the line is at the top of
# :doc:`/source/models/pretrained`.
#
# Layouts of arrays
# -----------------
#
# Two libraries store the same convolution in different layouts:
#
# ==============  ==========================  ==========================
# what            PyTorch                     minigrad, Keras
# ==============  ==========================  ==========================
# images          (n, c, h, w)                (n, h, w, c)
# conv weights    (o, c, kh, kw), "OIHW"      (kh, kw, c, o), "HWIO"
# linear weights  (o, c)                      (c, o)
# ==============  ==========================  ==========================
#
# So :math:`w_{\text{ours}}[i, j, c, o] = w_{\text{theirs}}[o, c, i, j]`, a transposition with the axes (2, 3, 1, 0). In
# NumPy a transposition is a view: no number is moved. Without the transposition there is an error, unless the sizes
# happen to fit. Compare a convolution in PyTorch's layout, written down from the definition, with ours:

rng = np.random.default_rng(0)
theirs_w, theirs_x = rng.standard_normal((4, 3, 2, 2)), rng.standard_normal((1, 3, 6, 5))  # OIHW and NCHW
theirs = np.zeros((1, 4, 5, 4))
for i in range(2):
    for j in range(2):
        theirs += np.einsum("nchw,oc->nohw", theirs_x[:, :, i : i + 5, j : j + 4], theirs_w[:, :, i, j])
ours = mg.conv2d(theirs_x.transpose(0, 2, 3, 1), theirs_w.transpose(2, 3, 1, 0))  # NHWC, HWIO
print(f"the largest difference: {np.abs(ours - theirs.transpose(0, 2, 3, 1)).max():.0e}")
np.testing.assert_allclose(ours, theirs.transpose(0, 2, 3, 1), atol=1e-12)

# %%
# One difference is hidden by a *reshape*. Where maps are flattened for a linear layer, as in VGG, PyTorch flattens them
# in the order (c, h, w), and minigrad in the order (h, w, c). The shape of the weight matrix is the same in both cases,
# but in the wrong order its rows are mixed up. This is the first silent error; the first exercise is about it.
#
# Names of layers
# ---------------
#
# Torchvision calls the weight of the second convolution of the third block of the first stage
# ``layer1.2.conv2.weight``. The nets of minigrad have the same names. So minigrad builds a table: for each name, a view
# of *our* array in *their* layout. Loading writes into the views; saving copies them. If some names or shapes do not
# match, all of them are listed in the error, and nothing is loaded. To have weights to load, we train a small net of
# bottlenecks on the digits. From here on, it plays the role of the foreign net: its weights are exported in
# torchvision's layouts, and it has the stride on the 3x3, as in torchvision.


def build(**settings):
    wide = {"shortcut": "B", "stride_in": "3x3", "num_classes": 10, "in_channels": 1, "rng": 0}
    return residual_net("cifar", Bottleneck, (1, 1, 1), (16, 32, 64, 128), **(wide | settings))


foreign = build()
with redirect_stderr(StringIO()):
    lab.fit(foreign, epochs=5, lr=0.1, warmup=12, evaluate_every=60)
state = pretrained.to_torch(foreign)
for name in list(state)[:4] + [name for name in state if "layer2" in name and "weight" in name]:
    print(f"{name:32} {state[name].shape}")

test = lab.digits(train=False)
net = pretrained.load_torch(build(rng=1), state)
right = train.evaluate(net, test)[1]
print(f"{len(state)} arrays exported and loaded into another net: test error {right:.1%}")
assert right == train.evaluate(foreign, test)[1]

# %%
# Conventions that are not in the file
# ------------------------------------
#
# Now the silent errors. The file does not contain the following conventions:
#
# - **The place of the stride**: on the first 1x1 of a bottleneck (the paper) or on its 3x3 (torchvision). The weights
#   have the same names and shapes.
# - **The side of the padding.** A 3x3 with stride 2 on 8 pixels has 4 outputs. PyTorch, Caffe and minigrad put one zero
#   on each side. TensorFlow's "SAME" adds as few zeros as possible and puts the odd one at the end: here one zero, on
#   the right.
# - **The epsilon of batch norm**: by default 1e-5 in minigrad and PyTorch, 1e-3 in Keras.
# - **The pixels**: red first or blue first; from 0 to 255 or from 0 to 1; which mean is subtracted; by which number the
#   pixels are divided.
#
# The padding is easier to understand from a drawing. In both rows, eight pixels have four windows. Each window of one
# row is shifted by one pixel relative to the same window of the other row.

fig, ax = plt.subplots(figsize=(8, 2.4), layout="constrained")
fig.set_label(
    "Two rows of eight pixels and the windows of a kernel of three: with one zero on each side the windows begin at "
    "the zero on the left; with TensorFlow's rule there is a zero on the right only, and each window lies one pixel "
    "further right."
)
for y, (name, before) in enumerate(
    (("one zero on each side (PyTorch, Caffe, minigrad)", 1), ("“SAME” (TensorFlow)", 0))
):
    y = -1.7 * y
    for i in range(-before, 9):
        padding = i < 0 or i > 7
        ax.add_patch(
            plt.Rectangle((i, y), 1, 0.6, fc="white" if padding else "0.85", ec="black", ls=":" if padding else "-")
        )
        ax.text(i + 0.5, y + 0.3, 0 if padding else i + 1, ha="center", va="center")
    for k in range(4):
        left, height = 2 * k - before, y - 0.2 - 0.25 * (k % 2)
        ax.plot([left + 0.08, left + 2.92], [height, height], lw=4, color="black", solid_capstyle="butt")
    ax.text(9.4, y + 0.15, name, va="center")
ax.set(xlim=(-1.2, 16), ylim=(-2.4, 0.8), title="The windows of a 3-wide kernel with stride 2")
ax.set_axis_off()

# %%
# Now load the trained net with one convention wrong at a time. There is no error, no warning, no NaN:


class PaddedAtTheEnd(nn.Module):
    """A 3x3 convolution with stride 2, padded as in TensorFlow."""

    def __init__(self, conv):
        self.weight = conv.weight

    def forward(self, x):
        return mg.conv2d(mg.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0))), self.weight, stride=2)


def padded_at_the_end(net):
    for _, module in net.named_modules():
        for name, part in list(module.named_children()):
            if isinstance(part, nn.Conv2d) and part.stride == (2, 2) and part.kernel == (3, 3):
                setattr(module, name, PaddedAtTheEnd(part))
    return net


raw_pixels = mg.data.DataLoader(mg.data.Digits(train=False), 512)
swapped = {name: array.swapaxes(2, 3) if array.ndim == 4 else array for name, array in state.items()}
wrong = {
    "all conventions right": (net, test),
    "epsilon 1e-3 for 1e-5": (pretrained.load_torch(build(bn_eps=1e-3), state), test),
    "padding at the end": (padded_at_the_end(pretrained.load_torch(build(), state)), test),
    "stride on the first 1x1": (pretrained.load_torch(build(stride_in="1x1"), state), test),
    "kernels (kw, kh)": (pretrained.load_torch(build(), swapped), test),
    "pixels not normalised": (net, raw_pixels),
}
errors = {name: 100 * train.evaluate(*pair)[1] for name, pair in wrong.items()}

fig, ax = plt.subplots(figsize=(8, 3.2), layout="constrained")
fig.set_label(
    "Bars of test errors: short with all conventions right, and with the wrong epsilon; long with any other "
    "convention wrong."
)
ax.barh(list(errors), list(errors.values()), color=["0.2"] + ["0.7"] * 5, height=0.6)
for i, error in enumerate(errors.values()):
    ax.text(error + 1, i, f"{error:.1f} %", va="center")
ax.invert_yaxis()
ax.set(xlim=(0, 100), xlabel="test error (%)", title="The same weights, one convention wrong")
tidy(ax)
for name, error in errors.items():
    print(f"{name:24} {error:5.1f} %")
smallest = min(a.min() for name, a in state.items() if name.endswith("running_var"))
print(f"the smallest running variance: {smallest:.3f}")
assert smallest > 0.005
assert errors["all conventions right"] < min(
    errors["stride on the first 1x1"], errors["kernels (kw, kh)"], errors["pixels not normalised"]
)

# %%
# Most of these mistakes ruin the net, so someone would notice them. The small ones are dangerous. The wrong epsilon has
# no effect here, because every variance is far larger than it. In a net with small variances it raises the error a
# little, and only a comparison with the published number shows the loss. So it is not enough that a loaded net runs. It
# must reproduce the error that its publisher measured, on the same images, prepared in the same way.
#
# Some differences can be compensated in the weights. If a net expects blue first, reverse the channels of its first
# kernel; then it takes red first. If its convolutions have biases and ours do not, subtract the biases from the running
# means of the batch norms that follow. minigrad does both when it loads Keras' ResNet-50:

x, w = rng.standard_normal((1, 8, 8, 3)), rng.standard_normal((3, 3, 3, 4))
np.testing.assert_allclose(mg.conv2d(x[..., ::-1], w), mg.conv2d(x, w[:, :, ::-1]), atol=1e-12)

# %%
# Folding batch norm
# ------------------
#
# In evaluation a net need not normalise. Batch norm is then a scale and a shift for each channel, with numbers that no
# longer change:
#
# .. math:: y = s\, z + t, \qquad s = \frac{\gamma}{\sqrt{v + \epsilon}}, \qquad t = \beta - s\, m .
#
# Its input z is the output of a convolution, which is linear in its weights. With :math:`z = w * x + b`,
#
# .. math:: s\,(w * x + b) + t = (s\, w) * x + (s\, b + t) ,
#
# where :math:`s` has one number for each filter: it scales the last axis of w. (This :math:`*` is convolution; s
# multiplies.) So one layer does the work of two, and the maps are read and written once less. The code computes in
# float64, so that only the result is rounded:
#
# .. literalinclude:: /../minigrad/nn/fold.py
#    :pyobject: _merged

folded = nn.fold_batch_norm(net)
images, _ = next(iter(test))
with mg.no_grad():
    scores, scores_folded = (n.eval()(mg.Tensor(images)).numpy() for n in (net, folded))
rows = [[row for row in summary(n, (8, 8, 1)).rows if row.kind != "Identity"] for n in (net, folded)]
layers, layers_folded = map(len, rows)
difference, largest = np.abs(scores - scores_folded).max(), np.abs(scores).max()
print(f"{layers} layers become {layers_folded}; scores up to {largest:.1f} differ by {difference:.0e}")
assert difference < 1e-4 * largest
assert (scores.argmax(1) == scores_folded.argmax(1)).all()

# %%
# Classifying a photograph
# ------------------------
#
# Now we can use the paper's ResNet-50. The weights are those of Keras, which were converted from the authors' own;
# their publisher reports a top-1 error of 25.1 %. They are downloaded once, checked against a SHA-256, and stored.
#
# .. code-block:: sh
#
#    python -m demos.classify_photo
#
# .. figure:: /figures/classify_photo.png
#    :alt: A portrait in uniform, five labels with their probabilities, and the maps of five stages
#
#    The figure of :doc:`the demo </gallery/classify_photo>`: the photograph, the five likeliest of a thousand labels,
#    and the strength of the responses of each stage at each place.
#
# The answer takes about a tenth of a second on two cores. Below the photograph are the maps of the stages. As
# :doc:`chapter 14 </course/14_plain_nets>` explained, from stage to stage the maps become smaller and the number of
# filters grows. The stem responds to edges; the last stage has only 49 places, and responds most strongly at the cap
# and at the ribbons. The photograph shows Rear Admiral Grace Hopper, who wrote one of the first compilers; the label is
# "military uniform".
#
# Nothing in this net is simplified. It is the function that its authors trained, computed by the operators of this
# course.
#
# Exercises
# ---------
#
# 1. **The silent reshape.** Translate the weights of a linear layer that reads flattened maps.
# 2. **Fold** a batch norm into a convolution that already has a bias.
# 3. **"SAME".** How many zeros does TensorFlow put before the pixels, and how many after them?
#
# .. literalinclude:: /exercises/chapter_18.py
#
# Fill in ``docs/exercises/chapter_18.py`` and run ``python docs/exercises/check.py 18``.

show()
