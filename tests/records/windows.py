"""Drawn calls of matrix products, convolutions, poolings, batch norm and losses: the sizes are those of sizes.py."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.records.draw import beside, by_winograd
from tests.records.record import Sample, sample
from tests.records.sizes import INTEGERS, Drawn, Sizes

# Products ---------------------------------------------------------------------------------------


def matmul(s: Sizes) -> Sample:
    """Multiply matrices, vectors, and stacks that broadcast."""
    stack = s.shape(0, 4, elements=20)
    m, k = s.size(100), s.size(100)
    n = s.size(max(1, 20_000 // (m * k)))
    left, right = (*s.stretched(stack), m, k), (*s.stretched(stack), k, n)
    kind = s.integer(0, 5)
    return sample(s.normal(*(left[-1:] if kind == 4 else left)), s.normal(*((k,) if kind == 5 else right)))


def linear(s: Sizes) -> Sample:
    """Multiply with a matrix of weights, with and without a bias."""
    shape = s.shape(1, 6)
    o = s.size(300)
    inputs = [s.normal(*shape), s.normal(shape[-1], o), s.normal(o)]
    return sample(*inputs[: 2 + s.chance()], affine=len(inputs) == 3)


# Windows ----------------------------------------------------------------------------------------


def _sides(s: Sizes, dilated: bool) -> list[Any]:
    """Draw sizes of image and kernel, stride, padding and dilation, along height and width: alike, or each its own.

    The result has at most 6 x 6 pixels. The image may have some more pixels, beyond the last window.
    """
    height, width = ([s.size(11), s.size(11), s.size(9) if dilated else 1, s.random()] for _ in range(2))
    if s.integer(0, 2) == 0:
        width = height
    sides = []
    for kernel, stride, dilation, share in (height, width):
        padding = int(share * (12 if dilated else kernel))
        whole = dilation * (kernel - 1) + 1 + stride * (s.size(6) - 1) + s.integer(0, stride - 1)
        sides.append((max(1, whole - 2 * padding), kernel, stride, padding, dilation))
    return list(zip(*sides, strict=True))


def conv2d(s: Sizes) -> Sample:
    """Convolve with kernels up to 11, strides, dilations and paddings up to 10, up to 16 groups, many channels."""
    size, kernel, stride, padding, dilation = _sides(s, dilated=True)
    groups = s.size(16)
    left = 150_000 // (math.prod(kernel) * 36 * groups)  # of the multiply-adds
    c, o = s.shuffled([c := s.size(min(100, left)), s.size(min(100, left // c))])
    n = s.size(3)
    inputs = [s.normal(n, *size, c * groups), s.normal(*kernel, c, o * groups), s.normal(o * groups)]
    inputs = inputs[: 2 + s.chance()]
    settings: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return sample(*inputs, affine=len(inputs) == 3, **settings)


def same_convolution(s: Sizes) -> Sample:
    """Convolve with stride 1, where gradients take the shortest way, and neighbouring pixels are computed at once."""
    size, kernel = (s.size(12), s.size(12)), (s.size(11), s.size(11))
    kernel = kernel if s.chance() else kernel[:1] * 2
    dilation = (s.size(6), s.size(6)) if s.integer(0, 2) == 0 else (1, 1)
    dilation = dilation if s.chance() else dilation[:1] * 2
    padding = [d * (k - 1) // 2 for d, k in zip(dilation, kernel, strict=True)]
    same = s.chance()
    if not same:
        padding = [s.integer(p, 2 * p + 1) for p in padding]
    least = [max(1, d * (k - 1) + 1 - 2 * p) for p, d, k in zip(padding, dilation, kernel, strict=True)]
    size = tuple(n + m - 1 for n, m in zip(size, least, strict=True))
    left = 300_000 // (math.prod(kernel) * math.prod(size))
    c, o = s.shuffled([c := s.size(min(100, left)), s.size(min(100, left // c))])
    inputs = [s.normal(s.size(3), *size, c), s.normal(*kernel, c, o), s.normal(o)][: 2 + s.chance()]
    border: Any = "same" if same and s.chance() else tuple(padding)
    return sample(*inputs, affine=len(inputs) == 3, padding=border, dilation=dilation)


def winograd(s: Sizes) -> Sample:
    """Convolve by Winograd's algorithm: images of up to 5 x 5 tiles, many channels."""
    padding = (s.integer(0, 2), s.integer(0, 2))
    size = [max(1, s.size(20) + 2 - 2 * p) for p in padding]
    left = 300_000 // (9 * math.prod(n + 2 * p for n, p in zip(size, padding, strict=True)))
    c, o = s.shuffled([c := s.size(min(100, left)), s.size(min(100, max(1, left // c)))])
    inputs = [s.normal(s.size(3), *size, c), s.normal(3, 3, c, o), s.normal(o)][: 2 + s.chance()]
    return sample(*inputs, call=by_winograd, affine=len(inputs) == 3, padding=padding)


def any_convolution(s: Sizes) -> Sample:
    """Convolve with any settings, or with stride 1, or by Winograd's algorithm."""
    return s.pick([conv2d, same_convolution, winograd])(s)


def conv_transpose2d(s: Sizes) -> Sample:
    """Spread pixels over kernels up to 11, with strides up to 11."""
    size, kernel, stride = (tuple(s.size(most) for _ in range(2)) for most in (6, 11, 11))
    whole = [t * (n - 1) + k for n, k, t in zip(size, kernel, stride, strict=True)]
    padding = tuple(min(s.some(9), (n - 1) // 2) for n in whole)
    left = 150_000 // (math.prod(kernel) * math.prod(size))
    c, o = s.shuffled([c := s.size(min(100, left)), s.size(max(1, min(100, left // c, 6000 // math.prod(whole))))])
    inputs = [s.normal(s.size(2), *size, c), s.normal(*kernel, c, o), s.normal(o)][: 2 + s.chance()]
    more = {"output_padding": tuple(s.integer(0, t - 1) for t in stride)} if s.chance() else {}
    return sample(*inputs, affine=len(inputs) == 3, stride=stride, padding=padding, **more)


def pool(numbers: Callable[..., Any] = Sizes.normal) -> Drawn:
    """Pool windows up to 11 pixels wide, with strides up to 11."""

    def draw(s: Sizes) -> Sample:
        size, kernel, stride, padding, _ = _sides(s, dilated=False)
        left = max(1, 6000 // math.prod(size))
        x = numbers(s, s.size(min(3, left)), *size, s.size(min(100, max(1, left // 3))))
        default = {} if s.integer(0, 3) == 3 and padding == (0, 0) else {"stride": stride, "padding": padding}
        return sample(x, kernel=kernel, **default)

    return draw


def images(s: Sizes) -> Sample:
    """Average whole images."""
    return sample(s.normal(*s.shape(4, 4)))


# Batch norm and losses --------------------------------------------------------------------------


def batch_norm(s: Sizes) -> Sample:
    """Normalise up to 300 channels, of up to six axes."""
    training, c = s.chance(), s.size(300)
    pixels = s.shape(1, 5, elements=max(4, 3000 // c))
    if s.chance():  # a power of two, of which as many as possible make one row: see kernels/pixels.py
        pixels = (2 ** (4096 // c).bit_length() // 2**4, *s.shuffled([1, 2, 4]))
    if math.prod(pixels) < 4:  # of two values the result is plus and minus one, and the gradient all rounding
        training = False
    mean, var = s.normal(c), s.positive(c)

    def call(op: Any, x: Any, gamma: Any, beta: Any, **settings: Any) -> Any:
        return op(x, gamma, beta, beside(x, mean), beside(x, var), **settings)

    inputs = s.normal(*pixels, c) + s.normal(c), s.normal(c), s.normal(c)
    return sample(*inputs, call=call, training=training, eps=s.pick([1e-2, 0.1, 2.0]), momentum=s.pick([0.1, 0.9]))


def _with_scale(s: Sizes, x: Any, of: Any, shape: Any) -> Sample:
    """Call with or without scale and shift."""
    inputs = [x, s.normal(*shape), s.normal(*shape)][: 3 if s.chance() else 1]
    eps = s.pick([1e-2, 0.1, 2.0])
    return sample(*inputs, call=lambda op, x, *rest, of: op(x, of, *rest, eps=eps), of=of)


def layer_norm(s: Sizes) -> Sample:
    """Normalise any number of the last of up to six axes."""
    shape = s.shape(1, 6)
    of = shape[-s.integer(1, len(shape)) :]
    return _with_scale(s, s.normal(*shape) + 1, of[0] if len(of) == 1 and s.chance() else of, of)


def group_norm(s: Sizes) -> Sample:
    """Normalise groups of up to 100 channels, of up to five axes."""
    groups, pixels = s.size(16), s.shape(1, 4, elements=300)
    c = groups * s.size(max(1, min(100, 3000 // (groups * math.prod(pixels)))))
    return _with_scale(s, s.normal(*pixels, c) + 1, groups, (c,))


def cross_entropy(s: Sizes) -> Sample:
    """Choose among up to a thousand classes, with labels of every kind of integer, up to its largest."""
    dtype = s.pick(INTEGERS)
    classes = s.size(min(1000, np.iinfo(dtype).max + 1))
    n = s.size(max(1, min(400, 5000 // classes)))
    labels = s.rng.integers(classes, size=n).astype(dtype)
    labels[0] = classes - 1
    return sample(s.normal(n, classes), labels=labels.tolist() if s.integer(0, 7) == 7 else labels)


def smoothed_cross_entropy(s: Sizes) -> Sample:
    """The same, with and without smoothing."""
    plain = cross_entropy(s)
    return sample(*plain.inputs, **plain.settings, **({"label_smoothing": s.integer(0, 10) / 10} if s.chance() else {}))


def two_of_one_shape(s: Sizes) -> Sample:
    """Compare two arrays of one shape."""
    shape = s.shape()
    return sample(s.normal(*shape), s.normal(*shape))
