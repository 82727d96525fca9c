"""A solution of the milestones: a framework that trains residual nets, in one file.

Each part adds to the parts above it, and changes nothing in them. So the file up to any title is a solution of the
milestones up to there.
"""

import heapq
import itertools
import math

import numpy as np

# Chapter 2: the tape ---------------------------------------------------------------------------

clock = itertools.count()


class Tensor:
    """An array, `data`, and how it was computed: `edges`, a list of pairs (input, rule), which is empty for a leaf.

    A rule takes the gradient of this Tensor, an array, and returns what it contributes to the gradient of the input.
    """

    def __init__(self, data, edges=()):
        self.data, self.edges, self.order = np.asarray(data), edges, next(clock)


def gradients(y, g):
    """Return the gradients of sum(g * y) with respect to all leaves from which y was computed."""
    totals, found = {y: g}, {}
    queue = [(-y.order, y)]
    while queue:
        _, v = heapq.heappop(queue)  # the newest: its total is complete
        g = totals.pop(v)
        if not v.edges:
            found[v] = g
        for x, rule in v.edges:
            if x in totals:
                totals[x] = totals[x] + rule(g)  # a new array: the old one may also be the total of another Tensor
            else:
                totals[x] = rule(g)
                heapq.heappush(queue, (-x.order, x))
    return found


def add(a, b):
    """Return a + b, for Tensors of one shape."""
    return Tensor(a.data + b.data, [(a, lambda g: g), (b, lambda g: g)])


def mul(a, b):
    """Return a * b, for Tensors of one shape."""
    return Tensor(a.data * b.data, [(a, lambda g: g * b.data), (b, lambda g: g * a.data)])


def power(x, p):
    """Return x ** p, for a number p."""
    return Tensor(x.data**p, [(x, lambda g: g * p * x.data ** (p - 1))])


def exp(x):
    """Return the exponential of each element."""
    y = np.exp(x.data)
    return Tensor(y, [(x, lambda g: g * y)])


def relu(x):
    """Return max(x, 0) of each element; at 0 the derivative is 0."""
    return Tensor(np.maximum(x.data, 0), [(x, lambda g: g * (x.data > 0))])


# Chapter 3: broadcasting -----------------------------------------------------------------------


def broadcast_to(x, shape):
    """Return x, stretched to a shape; the gradient is summed over the copies."""

    def rule(g):
        g = g.sum(axis=tuple(range(g.ndim - x.data.ndim)))
        return g.sum(axis=tuple(axis for axis, size in enumerate(x.data.shape) if size == 1), keepdims=True)

    return Tensor(np.broadcast_to(x.data, shape), [(x, rule)])


def broadcasting(operator):
    """Return an operator that stretches a Tensor a, and a Tensor, array or number b, to one shape first."""

    def stretched(a, b):
        if not isinstance(b, Tensor):
            b = Tensor(np.asarray(b, a.data.dtype))  # a number must not turn float32 into float64
        shape = np.broadcast_shapes(a.data.shape, b.data.shape)
        return operator(*(x if x.data.shape == shape else broadcast_to(x, shape) for x in (a, b)))

    return stretched


Tensor.__array_ufunc__ = None  # so array * x calls Tensor.__rmul__
Tensor.__add__ = Tensor.__radd__ = broadcasting(add)
Tensor.__mul__ = Tensor.__rmul__ = broadcasting(mul)
Tensor.__pow__ = power
Tensor.__sub__ = lambda a, b: a + -1 * b
Tensor.__truediv__ = lambda a, b: a * b**-1


def mean(x, axis):
    """Return the mean over an axis or a tuple of axes, which stay as axes of size 1."""
    y = x.data.mean(axis, keepdims=True)
    share = y.size / x.data.size
    return Tensor(y, [(x, lambda g: np.broadcast_to(g * share, x.data.shape))])


# Chapter 4: matrices ---------------------------------------------------------------------------


def matmul(a, b):
    """Return the product of two matrices."""
    return Tensor(a.data @ b.data, [(a, lambda g: g @ b.data.T), (b, lambda g: a.data.T @ g)])


Tensor.__matmul__ = matmul


def reshape(x, shape):
    """Return the same numbers in another shape."""
    return Tensor(x.data.reshape(shape), [(x, lambda g: g.reshape(x.data.shape))])


# Chapter 8: convolution ------------------------------------------------------------------------


def pad(x, p):
    """Surround each image of x (n, h, w, c) with p pixels of zeros."""
    _, h, w, _ = x.data.shape
    y = np.pad(x.data, ((0, 0), (p, p), (p, p), (0, 0)))
    return Tensor(y, [(x, lambda g: g[:, p : p + h, p : p + w])])


def windows(x, k, stride):
    """Return the windows of k x k pixels of x (n, h, w, c), an array (n, ho, wo, k, k, c)."""
    view = np.lib.stride_tricks.sliding_window_view(x.data, (k, k), axis=(1, 2))[:, ::stride, ::stride]
    _, ho, wo, *_ = view.shape  # (n, ho, wo, c, k, k)

    def rule(g):
        dx = np.zeros(x.data.shape, g.dtype)
        for i, j in np.ndindex(k, k):  # no two windows have the same pixel at the same place
            dx[:, i : i + stride * ho : stride, j : j + stride * wo : stride] += g[:, :, :, i, j]
        return dx

    return Tensor(np.moveaxis(view, 3, 5), [(x, rule)])


def conv2d(x, w, stride=1, padding=0):
    """Convolve images x (n, h, w, c) with weights w (k, k, c, o): one matrix product, with a window in each row."""
    k, _, c, o = w.data.shape
    seen = windows(pad(x, padding), k, stride)
    n, ho, wo, *_ = seen.data.shape
    y = reshape(seen, (n * ho * wo, k * k * c)) @ reshape(w, (k * k * c, o))
    return reshape(y, (n, ho, wo, o))


# Chapter 11: batch norm ------------------------------------------------------------------------

EPS = 1e-5  # is added to the variance


def batch_norm(x, gamma, beta):
    """Normalise each channel, the last axis, by its mean and variance over all other axes."""
    axes = tuple(range(x.data.ndim - 1))
    scale = 1 / np.sqrt(x.data.var(axes) + EPS)
    x_hat = (x.data - x.data.mean(axes)) * scale

    def rule(g):  # mean and variance depend on x, too
        return gamma.data * scale * (g - g.mean(axes) - x_hat * (g * x_hat).mean(axes))

    edges = [(x, rule), (gamma, lambda g: (g * x_hat).sum(axes)), (beta, lambda g: g.sum(axes))]
    return Tensor(gamma.data * x_hat + beta.data, edges)


class BatchNorm:
    """Batch norm as a layer: in training it also updates the statistics that it uses in evaluation."""

    def __init__(self, channels):
        self.gamma, self.beta = Tensor(np.ones(channels, "float32")), Tensor(np.zeros(channels, "float32"))
        self.mean, self.var = np.zeros(channels, "float32"), np.ones(channels, "float32")

    def __call__(self, x, training):
        """Map x (n, h, w, c) to the same shape."""
        if not training:
            return (x - self.mean) / np.sqrt(self.var + EPS) * self.gamma + self.beta
        axes = tuple(range(x.data.ndim - 1))
        count = x.data.size / len(self.var)
        self.mean = 0.9 * self.mean + 0.1 * x.data.mean(axes)
        self.var = 0.9 * self.var + 0.1 * x.data.var(axes) * count / (count - 1)
        return batch_norm(x, self.gamma, self.beta)


# Chapter 12: a loss and SGD --------------------------------------------------------------------


def cross_entropy(logits, labels):
    """Return the mean of -log(softmax(logits)[label]) over the rows of logits (n, classes)."""
    shifted = logits.data - logits.data.max(axis=1, keepdims=True)  # no exponential can overflow
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    correct = np.arange(len(labels)), labels

    def rule(g):
        d = np.exp(log_p)
        d[correct] -= 1
        return d * (g / len(labels))

    return Tensor(-log_p[correct].mean(), [(logits, rule)])


class SGD:
    """SGD with momentum: v = momentum * v + g + weight_decay * w, then w = w - lr * v."""

    def __init__(self, parameters, lr, momentum=0.9, weight_decay=1e-4):
        self.lr, self.momentum, self.weight_decay = lr, momentum, weight_decay
        self.velocities = {p: np.zeros_like(p.data) for p in parameters}

    def step(self, found):
        """Update each parameter, given the gradients as `gradients` returns them."""
        for p, v in self.velocities.items():
            v *= self.momentum
            v += found[p] + self.weight_decay * p.data
            p.data = p.data - float(self.lr) * v  # a float64 of NumPy must not turn float32 into float64


# Chapter 14: plain nets ------------------------------------------------------------------------


def he_normal(shape, rng):
    """Draw float32 weights (..., c_in, c_out) with the variance 2 / fan-in."""
    draws = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[:-1]))
    return Tensor(draws.astype("float32"))


def parameters(part):
    """Return the Tensors of a net, or of a part of it, in the order in which they are applied."""
    if isinstance(part, Tensor):
        return [part]
    parts = part if isinstance(part, list) else vars(part).values() if hasattr(part, "__dict__") else []
    return [p for part in parts for p in parameters(part)]


class ConvBN:
    """A 3x3 convolution without a bias, and its batch norm."""

    def __init__(self, c_in, c_out, stride, rng):
        self.weight, self.stride = he_normal((3, 3, c_in, c_out), rng), stride
        self.norm = BatchNorm(c_out)

    def __call__(self, x, training):
        """Map x (n, h, w, c_in) to (n, h / stride, w / stride, c_out)."""
        return self.norm(conv2d(x, self.weight, self.stride, padding=1), training)


class PlainBlock:
    """Two layers; the first has the stride."""

    def __init__(self, c_in, c_out, stride, rng):
        self.first, self.second = ConvBN(c_in, c_out, stride, rng), ConvBN(c_out, c_out, 1, rng)

    def __call__(self, x, training):
        """Map x (n, h, w, c_in) to (n, h / stride, w / stride, c_out)."""
        y = relu(self.first(x, training))
        return relu(self.second(y, training))


class Net:
    """A net of 6n + 2 layers for images of one channel: three stages of n blocks; the last two begin with stride 2."""

    def __init__(self, block, depth, width, rng):
        sizes = [width] * (depth // 6) + [2 * width] * (depth // 6) + [4 * width] * (depth // 6)
        self.stem = ConvBN(1, width, 1, rng)
        self.blocks = [block(a, b, b // a, rng) for a, b in itertools.pairwise([width, *sizes])]
        self.weight, self.bias = he_normal((4 * width, 10), rng), Tensor(np.zeros(10, "float32"))

    def __call__(self, x, training):
        """Map images (n, h, w, 1) to logits (n, 10)."""
        x = relu(self.stem(x, training))
        for block in self.blocks:
            x = block(x, training)
        n, _, _, c = x.data.shape
        return reshape(mean(x, (1, 2)), (n, c)) @ self.weight + self.bias


def error(net, images, labels):
    """Return the share of images that the net, in evaluation, takes for another digit."""
    return np.mean(net(Tensor(images), training=False).data.argmax(axis=1) != labels)


def fit(net, images, labels, epochs, rng, batch=64, lr=0.1):
    """Train with SGD on shuffled batches; the learning rate falls to 0 along half a cosine wave."""
    sgd = SGD(parameters(net), lr)
    steps = len(images) // batch
    for step in range(epochs * steps):
        if step % steps == 0:
            order = rng.permutation(len(images))
        chosen = order[step % steps * batch :][:batch]
        loss = cross_entropy(net(Tensor(images[chosen]), training=True), labels[chosen])
        sgd.lr = lr * (1 + math.cos(math.pi * step / (epochs * steps))) / 2
        sgd.step(gradients(loss, 1.0))


# Chapter 15: residual nets ---------------------------------------------------------------------


def shortcut(x, stride, channels):
    """Return option A of the paper: every stride-th pixel of x (n, h, w, c), with zeros as the new channels."""
    c = x.data.shape[3]
    y = np.pad(x.data[:, ::stride, ::stride], ((0, 0), (0, 0), (0, 0), (0, channels - c)))

    def rule(g):
        dx = np.zeros(x.data.shape, g.dtype)
        dx[:, ::stride, ::stride] = g[..., :c]
        return dx

    return Tensor(y, [(x, rule)])


class ResidualBlock(PlainBlock):
    """Two layers, and the shortcut around them."""

    def __call__(self, x, training):
        """Map x (n, h, w, c_in) to (n, h / stride, w / stride, c_out)."""
        y = relu(self.first(x, training))
        y = self.second(y, training)
        return relu(y + shortcut(x, self.first.stride, y.data.shape[3]))


def residual_20(images, labels, rng):
    """Return a residual net of 20 layers, 16 channels wide, trained on images (n, 8, 8, 1)."""
    net = Net(ResidualBlock, depth=20, width=16, rng=rng)
    fit(net, images, labels, epochs=6, rng=rng)
    return net
