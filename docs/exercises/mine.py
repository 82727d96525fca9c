"""The milestones: a framework of your own, in this one file.

Each part has the tasks of one chapter. Write the bodies, and add what else you need. A part uses the parts above it.
In the end, this file trains a residual net of 20 layers on images of digits.
"""

import heapq
import itertools

import numpy as np

# Chapter 2: the tape ---------------------------------------------------------------------------


class Tensor:
    """An array, `data`, and how it was computed: `edges`, a list of pairs (input, rule), which is empty for a leaf.

    `data` is what np.asarray makes of the first argument. An input is another Tensor. A rule is a function: it takes
    the gradient of this Tensor, an array, and returns what it contributes to the gradient of the input. A Tensor also
    stores its place in the order of execution.
    """

    def __init__(self, data, edges=()):
        raise NotImplementedError


def gradients(y, g):
    """Return the gradients of sum(g * y) with respect to all leaves from which y was computed.

    y is a Tensor, and g an array of its shape, or a number if y has one element. The result is a dict: its keys are the
    leaves, its values arrays. Visit each Tensor once: there may be 2 ** 200 paths. Change no array in place.
    """
    raise NotImplementedError


def add(a, b):
    """Return a + b, for Tensors of one shape."""
    raise NotImplementedError


def mul(a, b):
    """Return a * b, for Tensors of one shape."""
    raise NotImplementedError


def power(x, p):
    """Return x ** p, for a Tensor x and a number p."""
    raise NotImplementedError


def exp(x):
    """Return the exponential of each element of a Tensor."""
    raise NotImplementedError


def relu(x):
    """Return max(x, 0) of each element of a Tensor; at 0 the derivative is 0."""
    raise NotImplementedError


# Chapter 3: broadcasting -----------------------------------------------------------------------


def broadcast_to(x, shape):
    """Return the Tensor x, stretched to a shape as np.broadcast_to does it."""
    raise NotImplementedError


def broadcasting(operator):
    """Return a function of a Tensor a and a Tensor, array or number b that stretches both to one shape first.

    Then it calls the operator: ``broadcasting(add)`` adds Tensors of any shapes that broadcast. An array or number b
    becomes a Tensor with the dtype of a. With this function, also give Tensor the operators +, *, -, / and **:
    ``Tensor.__add__ = Tensor.__radd__ = broadcasting(add)``, and so on. The exponent of ** is a number. With
    ``Tensor.__array_ufunc__ = None``, an array on the left leaves the operation to Tensor.
    """
    raise NotImplementedError


def mean(x, axis):
    """Return the mean of a Tensor over an axis or a tuple of axes, which stay as axes of size 1."""
    raise NotImplementedError


# Chapter 4: matrices ---------------------------------------------------------------------------


def matmul(a, b):
    """Return the product of two matrices, Tensors of shapes (m, k) and (k, n)."""
    raise NotImplementedError


def reshape(x, shape):
    """Return the numbers of a Tensor in another shape."""
    raise NotImplementedError


# Chapter 8: convolution ------------------------------------------------------------------------


def pad(x, p):
    """Surround each image of a Tensor (n, h, w, c) with p pixels of zeros on each side; p may be 0."""
    raise NotImplementedError


def windows(x, k, stride):
    """Return the windows of k x k pixels of a Tensor x (n, h, w, c), as a Tensor (n, ho, wo, k, k, c).

    The window of place (i, j) begins at row ``stride * i`` and column ``stride * j``. There are as many windows as fit.
    """
    raise NotImplementedError


def conv2d(x, w, stride=1, padding=0):
    """Convolve images x (n, h, w, c) with weights w (k, k, c, o), Tensors, to a Tensor (n, ho, wo, o).

    Use the operators above: with each window as the row of a matrix, a convolution is one matrix product.
    """
    raise NotImplementedError


# Chapter 11: batch norm ------------------------------------------------------------------------


def batch_norm(x, gamma, beta):
    """Return gamma * (x - mean) / sqrt(var + 1e-5) + beta, for Tensors x (..., c), gamma (c,) and beta (c,).

    Mean and (biased) variance of each channel are taken over all axes of x except the last.
    """
    raise NotImplementedError


class BatchNorm:
    """Batch norm as a layer.

    In the beginning the Tensors `gamma` and `beta` are ones and zeros; the arrays `mean` and `var`, the statistics for
    evaluation, are zeros and ones. All are float32, of shape (channels,). In training, the layer normalises by the
    statistics of its input, and updates its own: each becomes 0.9 times its old value plus 0.1 times the new one. Here
    the new variance is the unbiased one. In evaluation, the layer normalises by `mean` and `var`.
    """

    def __init__(self, channels):
        raise NotImplementedError

    def __call__(self, x, training):
        """Map a Tensor x (n, h, w, c) to the same shape; `training` is True or False."""
        raise NotImplementedError


# Chapter 12: a loss and SGD --------------------------------------------------------------------


def cross_entropy(logits, labels):
    """Return the mean of -log(softmax(logits)[label]) over the rows of a Tensor logits (n, classes), a Tensor ().

    `labels` is an array (n,) of integers. Logits of 1000 and more must not overflow.
    """
    raise NotImplementedError


class SGD:
    """SGD with momentum: v = momentum * v + g + weight_decay * w, then w = w - lr * v.

    `parameters` is a list of Tensors w. The attribute `lr` may be changed between steps, also to a number of NumPy such
    as np.cos returns. Data of float32 stays float32.
    """

    def __init__(self, parameters, lr, momentum=0.9, weight_decay=1e-4):
        raise NotImplementedError

    def step(self, found):
        """Give each parameter new data; `found` is what `gradients` returned. Do not write into the old array."""
        raise NotImplementedError


# Chapter 14: plain nets ------------------------------------------------------------------------


def he_normal(shape, rng):
    """Return a leaf with float32 weights (..., c_in, c_out), drawn from a normal distribution with variance 2 / fan-in.

    The fan-in is the product of all sizes except the last; `rng` is a numpy Generator.
    """
    raise NotImplementedError


def parameters(part):
    """Return a list of the Tensors of a net, or of a layer or block, in the order in which they are applied.

    For each ConvBN, these are the weights, gamma and beta. At the end of a net come its last weights and its bias.
    `part` may be any object: a Tensor is a parameter; a list, or an object with attributes, contains parts in their
    order; anything else contains none.
    """
    raise NotImplementedError


class ConvBN:
    """A convolution of 3x3 pixels without a bias (padding 1), and its batch norm; its weights are he_normal."""

    def __init__(self, c_in, c_out, stride, rng):
        raise NotImplementedError

    def __call__(self, x, training):
        """Map a Tensor x (n, h, w, c_in) to (n, h / stride, w / stride, c_out)."""
        raise NotImplementedError


class PlainBlock:
    """Two layers ConvBN, each with a ReLU behind it; the first has the stride."""

    def __init__(self, c_in, c_out, stride, rng):
        raise NotImplementedError

    def __call__(self, x, training):
        """Map a Tensor x (n, h, w, c_in) to (n, h / stride, w / stride, c_out)."""
        raise NotImplementedError


class Net:
    """A net of depth 6n + 2 for images of one channel, as in section 4.2 of the paper.

    A ConvBN with ReLU from 1 to `width` channels; three stages of n blocks with `width`, 2 * `width` and 4 * `width`
    channels; the mean over all pixels; a matrix product to 10 logits, with a bias. The second and the third stage begin
    with a block of stride 2. `block` is PlainBlock or a class that is called with the same arguments. The last weights
    are he_normal, the bias is zero.
    """

    def __init__(self, block, depth, width, rng):
        raise NotImplementedError

    def __call__(self, x, training):
        """Map a Tensor x (n, h, w, 1) to logits (n, 10)."""
        raise NotImplementedError


def error(net, images, labels):
    """Return the share of images (n, h, w, 1), an array, that the net in evaluation takes for another digit."""
    raise NotImplementedError


def fit(net, images, labels, epochs, rng):
    """Train a net in place with cross-entropy and SGD, on batches that are shuffled anew in each epoch.

    images (n, 8, 8, 1) and labels (n,) are arrays. Try the learning rate 0.1 and batches of 64, and let the rate fall
    towards the end.
    """
    raise NotImplementedError


# Chapter 15: residual nets ---------------------------------------------------------------------


def shortcut(x, stride, channels):
    """Return option A of the paper: every stride-th pixel of a Tensor x (n, h, w, c), and zeros as the new channels.

    The result has `channels` channels; the old ones come first.
    """
    raise NotImplementedError


class ResidualBlock(PlainBlock):
    """Two layers ConvBN, and the shortcut around them: the ReLU of the second comes after the addition."""

    def __call__(self, x, training):
        """Map a Tensor x (n, h, w, c_in) to (n, h / stride, w / stride, c_out)."""
        raise NotImplementedError


def residual_20(images, labels, rng):
    """Return a residual net of 20 layers, 16 channels wide, trained on images (n, 8, 8, 1) and labels (n,).

    In evaluation, at most 3 % of these images may be wrong. The check trains on the 1,437 digits; with the solution,
    this takes ten seconds on a free core.
    """
    raise NotImplementedError
