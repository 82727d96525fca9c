r"""
7. What is a net?
=================

Why does a net have several layers, a ReLU between them, and convolutions for images?

We can now differentiate any program, and check the result. The rest of the course uses this to train nets. This chapter
explains what a net is, one part at a time. A linear model fails at a simple question. A second linear layer does not
help, but a ReLU between the two does. More layers can represent more, and convolutions suit images. The later chapters
study these parts one by one.
"""

# %%
# A linear model and a training loop
# ----------------------------------
#
# Take the handwritten digits of :doc:`chapter 4 </course/04_matrices>`, and ask a question that is easy for us: is the
# digit even or odd? A *linear model* computes two scores for each image, one for "even" and one for "odd":
#
# .. math:: \text{scores} = x\, w + b ,
#
# where x holds the 64 pixels of an image in a row, the *weights* w have shape (64, 2), and the *bias* b has shape (2,).
# The larger score is the answer. Weights and biases are the *parameters*, the numbers that training changes. All of
# training is the following loop. It draws a batch of images, computes the loss of the batch, and moves each parameter a
# little against its gradient. (The loss is the cross-entropy of chapter 4, and ``lr`` is the learning rate.)

import matplotlib.pyplot as plt
import numpy as np

import minigrad as mg
from minigrad import nn
from minigrad.train.report import show


def train(net, parameters, images, labels, steps=1000, lr=0.2):
    rng = np.random.default_rng(0)
    for _ in range(steps):
        batch = rng.integers(len(images), size=64)
        loss = mg.cross_entropy(net(mg.Tensor(images[batch])), labels[batch])
        for p, gradient in zip(parameters, mg.grad(loss, parameters), strict=True):
            p.data = p.data - lr * gradient.data


def error(net, images, labels):
    """Return the share of images for which the largest score is not that of the label."""
    return np.mean(net(mg.Tensor(images)).data.argmax(axis=1) != labels)


def random_weights(c_in, c_out):
    """Draw weights of a size that chapter 13 explains."""
    draws = rng.standard_normal((c_in, c_out), dtype=np.float32)
    return mg.Tensor(draws * np.float32((2 / c_in) ** 0.5), requires_grad=True)


rng = np.random.default_rng(0)
images, digit = mg.data.Digits(train=True)[:]  # (n, 8, 8, 1), (n,)
images_test, digit_test = mg.data.Digits(train=False)[:]
x, x_test = images.reshape(-1, 64), images_test.reshape(-1, 64)  # (n, 64)
odd, odd_test = digit % 2, digit_test % 2

w, b = random_weights(64, 2), mg.Tensor(np.zeros(2, "float32"), requires_grad=True)


def linear(x):
    return x @ w + b


train(linear, [w, b], x, odd, steps=3000)
linear_error = error(linear, x, odd)
print(
    f"even or odd, linear model: {linear_error:.1%} of the training images wrong, "
    f"{error(linear, x_test, odd_test):.1%} of the test images"
)
assert 0.07 < linear_error < 0.1

# %%
# About one image in twelve is wrong, although these are the images on which the model was *trained*. The loss of a
# linear model is convex: it has no second valley in which training could get stuck, and more steps hardly help. The
# model cannot represent the answer.
#
# Why not? In a linear model, a pixel adds the same amount to a score, whatever the other pixels are. But the meaning of
# a pixel depends on the others. The smallest example has two pixels, each 0 or 1, and the question is whether exactly
# one of them is 1. Every linear score :math:`s` satisfies
#
# .. math:: s(0, 0) + s(1, 1) = s(0, 1) + s(1, 0) ,
#
# because both sides are :math:`w_0 + w_1 + 2b`. Let a positive score mean yes. A right answer needs negative scores in
# both cases on the left, and positive scores in both cases on the right. But then the two sums cannot be equal. So no
# weights give the right answer.
#
# Two linear layers are one
# -------------------------
#
# Call such a map, :math:`x w + b`, a *layer*. Let us put a second layer after the first:
#
# .. math:: (x\, w_1 + b_1)\, w_2 + b_2 = x\, (w_1 w_2) + (b_1 w_2 + b_2) .
#
# This is a linear map again, with the weights :math:`w_1 w_2`. Two linear layers can represent nothing that one could
# not, and neither can a hundred. We need a function between the layers that is not linear.
#
# The ReLU
# --------
#
# Such a function is called an *activation*; it is applied to each number separately. The simplest is the *rectified
# linear unit*: it keeps positive numbers, and replaces negative numbers by 0,
#
# .. math:: \mathrm{relu}(a) = \max(a, 0) .
#
# With it, two layers answer the question of the two pixels. The numbers between the layers are called *hidden units*.
# Two of them are enough:
#
# .. math:: y = \mathrm{relu}(x_0 + x_1) - 2\, \mathrm{relu}(x_0 + x_1 - 1) .


def exactly_one(x):
    return mg.relu(x[..., 0] + x[..., 1]) - 2 * mg.relu(x[..., 0] + x[..., 1] - 1)


for pixels in ([0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]):
    y = exactly_one(np.array(pixels))
    print(f"pixels {pixels}: {y:.0f}")
    assert y == (sum(pixels) == 1)

grid = np.stack(np.meshgrid(np.linspace(-0.5, 1.5, 201), np.linspace(-0.5, 1.5, 201)), axis=-1)
fig, panels = plt.subplots(1, 2, figsize=(8.5, 3.8), layout="constrained", sharex=True, sharey=True)
fig.set_label(
    "Scores over two pixels. A linear score has one straight line of 0.5, which cannot separate the points; with two "
    "ReLUs, two parallel lines separate them."
)
titles = ("A linear score: a plane", "Two ReLUs: a surface with two folds")
for panel, y, title in zip(panels, ((grid[..., 0] + grid[..., 1]) / 2, exactly_one(grid)), titles, strict=True):
    shades = panel.imshow(y, "Greys", origin="lower", extent=(-0.5, 1.5, -0.5, 1.5), vmin=-1, vmax=2)
    panel.contour(grid[..., 0], grid[..., 1], y, [0.5], colors="tab:red", linestyles="--")
    panel.plot([0, 1], [0, 1], "o", ms=11, mfc="white", mec="black", label="should be 0")
    panel.plot([0, 1], [1, 0], "o", ms=11, color="black", label="should be 1")
    panel.set(xlabel="first pixel", title=title)
panels[0].set_ylabel("second pixel")
panels[0].legend(loc="upper right", framealpha=1)
fig.colorbar(shades, ax=panels, label="score")

# %%
# In the figure, the score is 0.5 on the dashed lines. On the left, one straight line cannot have the black points on
# one side and the white points on the other. On the right, the black points lie between two lines. Each hidden unit is
# 0 on one side of a line, and rises on the other side. So the sum of the units consists of flat pieces, with a fold
# along the line of each unit. With more units there are more folds. With enough units, one hidden layer comes as close
# as you like to any continuous function on a bounded region (G. Cybenko, 1989, for other activations; M. Leshno et al.,
# 1993, for all that are not polynomials). Exercise 2 builds such a net for functions of one number. Now train a hidden
# layer of 64 units on the digits:

w1, w2 = random_weights(64, 64), random_weights(64, 2)
b1, b2 = mg.Tensor(np.zeros(64, "float32"), requires_grad=True), mg.Tensor(np.zeros(2, "float32"), requires_grad=True)


def one_hidden_layer(x):
    return mg.relu(x @ w1 + b1) @ w2 + b2


train(one_hidden_layer, [w1, b1, w2, b2], x, odd, steps=3000)
hidden_error = error(one_hidden_layer, x, odd)
print(
    f"even or odd, one hidden layer: {hidden_error:.1%} of the training images wrong, "
    f"{error(one_hidden_layer, x_test, odd_test):.1%} of the test images"
)
assert hidden_error < 0.02

# %%
# Why the ReLU, and not a smooth function? For decades, the usual activations were the *sigmoid*, :math:`1 / (1 +
# e^{-a})`, and tanh. In the backward pass, the cotangent is multiplied by the slope of the activation in every layer.
# The slope of the sigmoid is at most :math:`\tfrac{1}{4}`, so each layer makes the gradient smaller, unless its weights
# are large. The slope of the ReLU is 1 for every positive number, so the gradient passes through unchanged. We measure
# it, before any training, in nets with up to twelve hidden layers. All have weights drawn in the same way.


def first_gradient(activation, depth, width=64):
    """Return the length of the gradient with respect to the first layer's weights."""
    weights = [random_weights(64, width), *(random_weights(width, width) for _ in range(depth - 1))]
    signal = mg.Tensor(x[:256])
    for w in weights:
        signal = activation(signal @ w)
    loss = mg.cross_entropy(signal @ random_weights(width, 2), odd[:256])
    return np.linalg.norm(mg.grad(loss, weights[0])[0].data)


activations = {"sigmoid": (mg.sigmoid, ":"), "tanh": (mg.tanh, "--"), "ReLU": (mg.relu, "-")}
depths = range(1, 13)
points = mg.Tensor(np.linspace(-4, 4, 401), requires_grad=True)
fig, panels = plt.subplots(1, 3, figsize=(10, 3.2), layout="constrained")
fig.set_label(
    "Sigmoid, tanh and ReLU; their slopes; and the length of the gradient of the first weights against the depth: "
    "with sigmoids it falls by a constant factor for each layer."
)
for name, (activation, style) in activations.items():
    y = activation(points)
    lengths = [first_gradient(activation, depth) for depth in depths]
    panels[0].plot(points.data, y.data, style, color="black", label=name)
    panels[1].plot(points.data, mg.grad(y.sum(), points)[0].data, style, color="black")
    panels[2].semilogy(depths, lengths, style, color="black")
    print(f"{name:8} gradient of the first weights: {lengths[0]:.0e} with 1 hidden layer, {lengths[-1]:.0e} with 12")
    assert name != "sigmoid" or lengths[-1] < 1e-4 * lengths[0]
    assert name != "ReLU" or lengths[-1] > 1e-2 * lengths[0]
panels[0].set(xlabel="a", ylim=(-1.2, 2), title="Three activations")
panels[1].set(xlabel="a", title="Their slopes")
panels[2].set(xlabel="hidden layers", title="Gradient of the first layer's weights")
panels[0].legend(loc="upper left")

# %%
# With sigmoids, a deep net gets almost no gradient in its first layers, and so they hardly learn. With ReLUs the
# gradient arrives. The ReLU is also cheap to compute. It has a price: where its input is negative, the slope is 0, and
# nothing is learned. A unit whose input is negative for every image gets no gradient at all. (tanh has slope 1 only at
# 0. With weights of another size its gradient would shrink; :doc:`chapter 13 </course/13_initialisation>` studies the
# size of weights.)
#
# Why more than one hidden layer?
# -------------------------------
#
# One hidden layer can approximate every continuous function, but perhaps only with very many units. More layers can do
# more with the same number of units, because each layer folds the function of the layers before it again. Two units
# compute a hat, which rises from 0 to 1 and falls back to 0:
#
# .. math:: \mathrm{hat}(x) = 2\, \mathrm{relu}(x) - 4\, \mathrm{relu}(x - \tfrac{1}{2}) \quad (0 \le x \le 1) .
#
# Apply the hat to its own result. While the inner hat rises from 0 to 1, the outer hat rises and falls; while the inner
# hat falls, the outer hat rises and falls again. So there are two teeth, and every further layer doubles their number.


def hat(x):
    return 2 * mg.relu(x) - 4 * mg.relu(x - 0.5)


position = np.linspace(0, 1, 4097)
fig, panels = plt.subplots(1, 4, figsize=(10, 2.3), layout="constrained", sharey=True)
fig.set_label("The hat function applied once to four times: 1, 2, 4 and 8 teeth.")
y = position
for depth, panel in enumerate(panels, start=1):
    y = hat(y)
    panel.plot(position, y, color="black", lw=1.2)
    panel.set_title(f"{depth} hidden layer{'s' * (depth > 1)},\n{2 * depth} units", fontsize=10)
for _ in range(6):
    y = hat(y)
pieces = 1 + np.count_nonzero(np.diff(np.sign(np.diff(y))))
print(f"10 layers of 2 units: {pieces:,} straight pieces; one layer of 20 units: at most 21")
assert pieces == 2**10

# %%
# A single layer of 20 units has at most 20 folds on a line, so at most 21 pieces (M. Telgarsky, "Benefits of Depth in
# Neural Networks", 2016). Depth is also natural for images: a first layer can find edges, a second can combine edges to
# corners and strokes, and later layers can combine strokes to digits or faces.
#
# These are statements about what a net *can* represent. Whether training finds such weights is another question. It is
# the question of the paper on residual nets, and of chapters :doc:`14 </course/14_plain_nets>` and :doc:`15
# </course/15_residual>`.
#
# Why convolution?
# ----------------
#
# In the layers so far, every output depends on every pixel. They are called *fully connected*. For images, this has two
# disadvantages. The number of weights is huge. And the layer knows nothing of the plane: if we shuffle the pixels of
# all images in the same way, it learns just as well. What it learns about a stroke at one place does not help at
# another place. A convolution uses two facts about images:
#
# * *Locality*: what belongs together is close together. So an output pixel depends only on a small window of pixels.
# * *The same everywhere*: a stroke looks the same at every place. So all windows use the same weights. This is called
#   *weight sharing*.
#
# The weights of a convolution have shape (kh, kw, c_in, c_out). The window has kh by kw pixels. Each pixel of its input
# has c_in numbers, called *channels*: three for a colour image. Each pixel of its output has c_out. The weights that
# make one output channel are also called a *filter*, and the output channel is the filter's *map*. We count the weights
# of a layer that gives a map of the same size, with windows of 3x3:

print("image            weights, fully connected    only local    local and shared")
for size, c_in, c_out in ((8, 1, 16), (224, 3, 64)):
    full, local, shared = size**2 * c_in * size**2 * c_out, size**2 * 9 * c_in * c_out, 9 * c_in * c_out
    print(f"{f'{size}x{size}, {c_in} to {c_out}':16}{full:25,}{local:14,}{shared:20,}")

fig, panels = plt.subplots(1, 3, figsize=(9, 3), layout="constrained")
fig.set_label(
    "The matrices of three layers: full; nonzero only near the diagonal; and the same with equal entries along each "
    "diagonal."
)
row, column = np.indices((10, 10))
window = abs(row - column) <= 1
matrices = {
    "fully connected: 100 weights": rng.uniform(0.15, 1, (10, 10)),
    "local: 28 weights": window * rng.uniform(0.15, 1, (10, 10)),
    "local and shared: 3 weights": window * np.array([0.3, 1.0, 0.6])[np.clip(row - column + 1, 0, 2)],
}
for panel, (title, matrix) in zip(panels, matrices.items(), strict=True):
    panel.imshow(matrix, cmap="Greys", vmin=0, vmax=1.2)
    panel.set(xlabel="output pixel", title=title, xticks=[], yticks=[])
panels[0].set_ylabel("input pixel")
assert np.count_nonzero(matrices["local: 28 weights"]) == 28

# %%
# The figure shows the weights of three layers as matrices, for images that are a single row of ten pixels. White
# entries are zeros, and equal shades are equal weights. So a convolution is a linear layer, too: its matrix has many
# zeros and many equal entries. Its rule is the rule of a linear map. The next chapter computes it without building this
# matrix.
#
# Weight sharing has a consequence: if we shift the image, the map shifts in the same way. (At the border, this holds
# only if no pixel of the object leaves the image.)

wide = np.pad(images[:32], ((0, 0), (4, 4), (4, 4), (0, 0)))  # a border of zeros: (n, 16, 16, 1)
kernel = rng.standard_normal((3, 3, 1, 5), dtype=np.float32)  # (kh, kw, c_in, c_out)
maps = mg.conv2d(wide, kernel, padding=1)  # (n, 16, 16, 5)
maps_shifted = mg.conv2d(np.roll(wide, 2, axis=2), kernel, padding=1)  # two pixels to the right
assert np.allclose(maps_shifted, np.roll(maps, 2, axis=2), atol=1e-5)
print("convolution of the shifted images = shifted result of the convolution")

# %%
# If we then take the mean or the largest number of each map, the result no longer depends on the place. This is called
# *pooling*. It is followed by a fully connected layer, which computes the scores from one number for each map.
#
# An experiment: digits in other places
# -------------------------------------
#
# Train two nets on the ten digits, in images with a border of two pixels. One net is fully connected. The other has
# three convolutions, takes the largest number of each map, and computes the scores from these numbers. Both nets see
# the digits in the middle of the image. Then test them on digits that are shifted to the side.
#
# We now use minigrad's layers. A layer is an object that holds its parameters. ``nn.Sequential`` passes its input
# through its layers in order, and ``parameters()`` lists the parameters of all of them:
#
# .. literalinclude:: /../minigrad/nn/layers.py
#    :pyobject: Linear.forward
#
# .. literalinclude:: /../minigrad/nn/layers.py
#    :pyobject: Sequential.forward

fully_connected = nn.Sequential(nn.Flatten(), nn.Linear(144, 64, rng=0), nn.ReLU(), nn.Linear(64, 10, rng=1))
maps_of = nn.Sequential(
    nn.Conv2d(1, 8, 3, padding=1, rng=0), nn.ReLU(),
    nn.Conv2d(8, 16, 3, padding=1, rng=1), nn.ReLU(),
    nn.Conv2d(16, 32, 3, padding=1, rng=2), nn.ReLU(),
)  # fmt: skip
scores_of = nn.Linear(32, 10, rng=3)


def convolutional(images):
    return scores_of(maps_of(images).max(axis=(1, 2)))  # (n, 12, 12, 32) -> (n, 32) -> (n, 10)


border = ((0, 0), (2, 2), (2, 2), (0, 0))
centred, centred_test = np.pad(images, border), np.pad(images_test, border)  # (n, 12, 12, 1)
nets = {
    "fully connected": (fully_connected, list(fully_connected.parameters())),
    "convolutional": (convolutional, [*maps_of.parameters(), *scores_of.parameters()]),
}
shifts = range(-2, 3)
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained", width_ratios=[1, 1.6])
fig.set_label(
    "A digit at three places, and the test error against the shift: the fully connected net fails on shifted digits, "
    "the convolutional net does not."
)
left.imshow(np.hstack([np.roll(centred_test[5, :, :, 0], shift, axis=1) for shift in (-2, 0, 2)]), cmap="Greys")
left.vlines([11.5, 23.5], -0.5, 11.5, color="0.5")
left.set(title="A test image, shifted by -2, 0 and 2", xticks=[], yticks=[])
found = {}
for (name, (net, parameters)), style in zip(nets.items(), ("s--", "o-"), strict=True):
    train(net, parameters, centred, digit, steps=800, lr=0.1)
    found[name] = [error(net, np.roll(centred_test, shift, axis=2), digit_test) for shift in shifts]
    count = sum(p.size for p in parameters)
    right.plot(shifts, [100 * e for e in found[name]], style, color="black", label=f"{name}: {count:,} parameters")
    print(
        f"{name:16}", *(f"shift {shift:+d}: {e:5.1%}" for shift, e in zip(shifts, found[name], strict=True)), sep="  "
    )
right.set(
    xlabel="shift (pixels)", ylabel="test error (%)", xticks=shifts, ylim=(0, 100), title="Test on shifted digits"
)
right.legend()
assert max(found["convolutional"]) < 0.05
assert min(found["fully connected"][0], found["fully connected"][-1]) > 0.5

# %%
# On centred digits, both nets are good. On shifted digits, the fully connected net fails, because it has never seen a
# stroke at these places. The convolutional net has fewer parameters, and recognises the shifted digits about as well as
# the centred ones, although it was not trained on shifted digits.
#
# The parts of a net
# ------------------
#
# So a net is a chain of layers with activations between them, and its parameters are found by gradient descent. Each of
# its parts has a chapter in this course:
#
# * Convolution: its rule is the topic of :doc:`chapter 8 </course/08_im2col>`, its speed of chapters :doc:`9
#   </course/09_fast>` and :doc:`10 </course/10_fewer_multiplications>`.
# * Batch norm, a layer that normalises its input: :doc:`chapter 11 </course/11_batch_norm>`.
# * The step of training: :doc:`chapter 12 </course/12_sgd>`. The weights before the first step: :doc:`chapter 13
#   </course/13_initialisation>`.
# * Many layers, and shortcuts around them: chapters :doc:`14 </course/14_plain_nets>`, :doc:`15 </course/15_residual>`
#   and :doc:`16 </course/16_bottlenecks>`.
#
# Exercises
# ---------
#
# 1. **Two layers in one.** Merge two linear layers without an activation between them into one.
# 2. **Any function of one number.** Find a net with one hidden layer whose graph passes through given points, with
#    straight lines between them.
# 3. **The matrix of a convolution.** Build a matrix like that of the third panel, for any kernel on a row of pixels,
#    without padding.
#
# .. literalinclude:: /exercises/chapter_07.py
#
# Fill in ``chapter_07.py`` in :ref:`your folder <folder>`, and run ``python -m docs.exercises check FOLDER 7``.

show()
