"""Checks of the milestone of chapter 14: plain nets."""

import itertools
import math
from types import SimpleNamespace

import numpy as np

import minigrad as mg
import models
from docs.exercises.checks.tape import same


def check_he_normal(work):
    """rng.standard_normal draws with variance 1. A factor changes the variance by its square."""
    for shape in ((300, 200), (3, 3, 16, 400)):
        w = work.he_normal(shape, np.random.default_rng(0))
        assert isinstance(w, work.Tensor), f"expected a Tensor, got {type(w).__name__}"
        assert w.data.shape == shape, f"expected shape {shape}, got {w.data.shape}"
        assert w.data.dtype == "float32", f"expected float32, got {w.data.dtype}"
        expected = 2 / math.prod(shape[:-1])
        assert abs(w.data.var() / expected - 1) < 0.05, (
            f"shape {shape}: expected a variance of {expected:.3g}, got {w.data.var():.3g}"
        )
        assert abs(w.data.mean()) < 0.01 * w.data.std() * 3, f"shape {shape}: the mean is {w.data.mean():.2g}, not 0"
    first, again = (work.he_normal((8, 8), np.random.default_rng(5)).data for _ in range(2))
    assert np.array_equal(first, again), "two generators with the same seed gave different weights: use only rng"


def check_parameters(work):
    """vars(part) has the attributes of an object, in the order in which they were set.

    A Tensor is a parameter. A list, or an object with attributes, contains parts; other things contain none.
    """
    x, y, z, bias = (work.Tensor(np.zeros(size)) for size in range(1, 5))
    layer, other = SimpleNamespace(stride=2, weight=y), SimpleNamespace(weight=z, name="other")
    net = SimpleNamespace(stem=SimpleNamespace(weight=x), blocks=[layer, other], mean=np.zeros(3), bias=bias)
    for case, part, expected in (
        ("a Tensor", x, [x]),
        ("a layer", layer, [y]),
        ("a net with a list", net, [x, y, z, bias]),
    ):
        got = work.parameters(part)
        assert list(map(id, got)) == list(map(id, expected)), (
            f"{case}: expected Tensors of sizes {[p.data.size for p in expected]}, got {[np.size(p.data) for p in got]}"
        )


def check_ConvBN(work):
    """A parameter is a leaf that the object stores; the layer calls conv2d, then its BatchNorm."""
    rng = np.random.default_rng(0)
    for stride in (1, 2):
        layer = work.ConvBN(2, 4, stride, rng)
        shapes = [(3, 3, 2, 4), (4,), (4,)]
        weights, gamma, beta = set_parameters(work, f"ConvBN(2, 4, {stride})", layer, shapes, rng)
        x = rng.standard_normal((2, 6, 4, 2))
        y = mg.conv2d(x, weights, stride=stride, padding=1)
        expected = mg.batch_norm(y, gamma, beta, np.zeros(4), np.ones(4), training=True)
        same(f"ConvBN with stride {stride}, in training", layer(work.Tensor(x), True).data, expected)


def check_PlainBlock(work):
    """Four steps: layer, ReLU, layer, ReLU. The second layer keeps the shape."""
    block_equals(work, work.PlainBlock, "PlainBlock", residual=False)


def check_Net(work):
    """Most blocks keep the shape. Only the first block of the second and of the third stage doubles the channels.

    The order of the parameters is that of the attributes: first the layer of the images, then the blocks, then the end.
    """
    net_equals(work, work.PlainBlock, "PlainBlock", models.cifar_plain)


def check_error(work):
    """The predicted digit is the place of the largest logit."""
    rng = np.random.default_rng(0)
    images, labels = rng.random((40, 8, 8, 1)).astype("float32"), rng.integers(10, size=40)
    weights = rng.standard_normal((64, 10))

    def net(x, training):
        assert not training, "the net was called with training=True"
        return work.Tensor(x.data.reshape(len(x.data), -1) @ weights)

    expected = np.mean((images.reshape(40, -1) @ weights).argmax(1) != labels)
    got = work.error(net, images, labels)
    assert math.isclose(got, expected), f"expected an error of {expected:.4f}, got {got:.4f}"


def check_fit(work):
    """An epoch is a new permutation, cut into batches. For each batch: forward in training, loss, gradients, step.

    A rate that np.cos computed is a float64 of NumPy, and makes float64 of everything: give SGD ``float(rate)``.
    """
    digits = mg.data.Digits()
    before = digits.images.copy(), digits.labels.copy()
    rng = np.random.default_rng(0)
    net = work.Net(work.PlainBlock, 8, 8, rng)
    work.fit(net, digits.images, digits.labels, 3, rng)
    stays_float32(work, "fit", net)
    assert np.array_equal(before[0], digits.images), "fit changed the images"
    assert np.array_equal(before[1], digits.labels), "fit changed the labels"
    seen, modes = [], set()

    class Watched:  # its only part is the net
        def __init__(self):
            self.net = work.Net(work.PlainBlock, 8, 4, rng)

        def __call__(self, x, training):
            modes.add(training)
            seen.extend(image.tobytes() for image in x.data)
            return self.net(x, training)

    work.fit(Watched(), digits.images[:300], digits.labels[:300], 2, rng)
    assert modes == {True}, "fit called the net with training=False"
    first, second = seen[: len(seen) // 2][:100], seen[len(seen) // 2 :][:100]
    assert first != [image.tobytes() for image in digits.images[:100]], "the images of the first epoch are not shuffled"
    assert first != second, "the images of the second epoch come in the order of the first"
    wrong = np.mean(net(work.Tensor(digits.images), False).data.argmax(1) != digits.labels)
    assert wrong < 0.2, f"after 3 epochs, plain-8 takes {wrong:.1%} of the training digits for others; expected < 20 %"


def stays_float32(work, case, net):
    """Assert that training has left all parameters float32."""
    dtypes = sorted({p.data.dtype.name for p in work.parameters(net)})
    assert dtypes == ["float32"], f"after {case}, expected parameters of float32, got {' and '.join(dtypes)}"


def set_parameters(work, case, part, shapes, rng):
    """Give a part random float64 parameters, which must have these shapes; return them."""
    parameters = work.parameters(part)
    got = [p.data.shape for p in parameters]
    if got != shapes:
        pairs = enumerate(itertools.zip_longest(shapes, got))
        i, differ = next((i, pair) for i, pair in pairs if pair[0] != pair[1])
        expected, found = ("none" if shape is None else f"shape {shape}" for shape in differ)
        count = f"expected {len(shapes)} parameters, got {len(got)}; " if len(got) != len(shapes) else ""
        raise AssertionError(
            f"{case}: {count}the first that differs is parameter {i}: expected {expected}, got {found}"
        )
    for p in parameters:
        p.data = rng.standard_normal(p.data.shape) * 0.5 + 0.1
    return [p.data for p in parameters]


def block_equals(work, make, name, *, residual):
    """Compare a block with minigrad's operators, in training."""
    rng = np.random.default_rng(0)
    for c_in, c_out, stride in ((4, 4, 1), (2, 4, 2)):
        case = f"{name}({c_in}, {c_out}, {stride})"
        block = make(c_in, c_out, stride, rng)
        shapes = [(3, 3, c_in, c_out), (c_out,), (c_out,), (3, 3, c_out, c_out), (c_out,), (c_out,)]
        w1, gamma1, beta1, w2, gamma2, beta2 = set_parameters(work, case, block, shapes, rng)
        x = rng.standard_normal((2, 6, 4, c_in))

        def norm(y, gamma, beta, c=c_out):
            return mg.batch_norm(y, gamma, beta, np.zeros(c), np.ones(c), training=True)

        y = mg.relu(norm(mg.conv2d(x, w1, stride=stride, padding=1), gamma1, beta1))
        y = norm(mg.conv2d(y, w2, padding=1), gamma2, beta2)
        if residual:
            y = y + np.pad(x[:, ::stride, ::stride], ((0, 0), (0, 0), (0, 0), (0, c_out - c_in)))
        same(f"{case} in training", block(work.Tensor(x), True).data, mg.relu(y))


def net_equals(work, block, name, build):
    """Compare a net of 20 layers with minigrad's: logits in training and in evaluation, and all gradients."""
    rng = np.random.default_rng(0)
    case = f"Net({name}, 20, 2, rng)"
    yours, ours = work.Net(block, 20, 2, rng), build(20, width=2, in_channels=1, dtype="float64")
    names = [path for path, _ in ours.named_parameters()]
    start = {path: p for path, p in zip(names, work.parameters(yours), strict=False)}
    shapes = [p.shape for p in ours.parameters()]
    for p, data in zip(ours.parameters(), set_parameters(work, case, yours, shapes, rng), strict=True):
        p.data[...] = data
    images, labels = rng.random((6, 8, 8, 1)), rng.integers(10, size=6)
    for count in (1, 2):
        logits = yours(work.Tensor(images), True)
        expected = ours(mg.Tensor(images))
        same(f"{case}: logits of call {count} in training", logits.data, expected.data, 1e-8)
    mg.cross_entropy(expected, labels).backward()
    found = work.gradients(work.cross_entropy(logits, labels), 1.0)
    for (path, p), q in zip(start.items(), ours.parameters(), strict=True):
        assert p in found, f"{case}: there is no gradient of the parameter that minigrad calls {path}"
        same(f"{case}: the gradient of the parameter that minigrad calls {path}", found[p], q.grad.data, 1e-7)
    expected = ours.eval()(mg.Tensor(images)).data
    same(f"{case}: logits in evaluation", yours(work.Tensor(images), False).data, expected, 1e-6)
