"""Layers: Modules that call an operator with their own parameters.

Every layer with weights takes ``rng``, a numpy Generator or a seed: there is no hidden randomness. Give all
layers of a net one Generator, not one seed, or layers of equal shape would begin alike.

Next: :mod:`minigrad.optim.optimizer`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from minigrad import ops
from minigrad.arguments import expect, flag, generator, integer, number, pair
from minigrad.autograd.tensor import Tensor
from minigrad.checked import brief, named
from minigrad.nn.init import he_normal
from minigrad.nn.module import Buffer, Module, Parameter
from minigrad.ops.windows import padding_of
from minigrad.typing import Array, IntOrPair, Padding, Pair, Rng, Shape

if TYPE_CHECKING:
    import numpy.typing as npt


class Linear(Module):
    """x @ weight + bias.

    Parameters
    ----------
    c_in, c_out : int
        Features in and out.
    bias : bool
    rng : numpy Generator or seed
        For He initialisation, fan-in; the bias begins at 0.
    dtype : dtype

    Attributes
    ----------
    weight : Parameter of shape (c_in, c_out)
    bias : Parameter of shape (c_out,), or None

    Examples
    --------
    >>> import minigrad as mg
    >>> Linear(3, 2, rng=0)(mg.Tensor([[1.0, 2.0, 3.0]])).shape
    (1, 2)
    """

    @named
    def __init__(
        self, c_in: int, c_out: int, *, bias: bool = True, rng: Rng, dtype: npt.DTypeLike = np.float32
    ) -> None:
        self.c_in = c_in = integer("Linear", "c_in", c_in, least=1)
        self.c_out = c_out = integer("Linear", "c_out", c_out, least=1)
        self.weight = Parameter(he_normal((c_in, c_out), rng=rng, dtype=dtype))
        self.bias = Parameter(np.zeros(c_out, dtype)) if flag(type(self).__name__, "bias", bias) else None

    def forward(self, x: Tensor) -> Tensor:
        """Map x of shape (..., c_in) to (..., c_out)."""
        return ops.linear(x, self.weight, self.bias)


class Conv2d(Module):
    """Convolution of images (n, h, w, c_in) -> (n, ho, wo, c_out).

    Parameters
    ----------
    c_in, c_out : int
        Channels in and out.
    kernel, stride, padding, dilation : int or (int, int)
        The padding may also be ``"same"``.
    groups : int
    bias : bool
    rng : numpy Generator or seed
        For He initialisation, fan-in; the bias begins at 0.
    dtype : dtype

    Attributes
    ----------
    weight : Parameter of shape (kh, kw, c_in / groups, c_out)
    bias : Parameter of shape (c_out,), or None
    kernel, stride, padding, dilation : (int, int)
        Along height and width. The padding may also be ``"same"``.
    groups : int

    Examples
    --------
    >>> import minigrad as mg
    >>> x = mg.Tensor(np.zeros((8, 32, 32, 3), "float32"))
    >>> Conv2d(3, 16, 3, stride=2, padding=1, rng=0)(x).shape
    (8, 16, 16, 16)
    """

    @named
    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: IntOrPair,
        *,
        stride: IntOrPair = 1,
        padding: Padding = 0,
        dilation: IntOrPair = 1,
        groups: int = 1,
        bias: bool = True,
        rng: Rng,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        self.c_in = c_in = integer("Conv2d", "c_in", c_in, least=1)
        self.c_out = c_out = integer("Conv2d", "c_out", c_out, least=1)
        self.groups = integer("Conv2d", "groups", groups, least=1)
        if c_in % groups or c_out % groups:
            raise ValueError(f"Conv2d: groups={groups} must divide c_in = {c_in} and c_out = {c_out}")
        self.kernel, self.stride = pair("Conv2d", "kernel", kernel, least=1), pair("Conv2d", "stride", stride, least=1)
        self.padding: Padding = padding_of("Conv2d", padding, self.stride)
        self.dilation = pair("Conv2d", "dilation", dilation, least=1)
        self.weight = Parameter(he_normal((*self.kernel, c_in // groups, c_out), rng=rng, dtype=dtype))
        self.bias = Parameter(np.zeros(c_out, dtype)) if flag(type(self).__name__, "bias", bias) else None

    def forward(self, x: Tensor) -> Tensor:
        """Convolve images (n, h, w, c_in)."""
        stride, padding, dilation, groups = self.stride, self.padding, self.dilation, self.groups
        return ops.conv2d(x, self.weight, self.bias, stride=stride, padding=padding, dilation=dilation, groups=groups)


class BatchNorm2d(Module):
    """Batch normalisation of each channel: see :func:`minigrad.batch_norm`.

    Parameters
    ----------
    c : int
        Channels.
    momentum : float
        The weight of the new value in the running statistics, from 0 to 1.
    eps : float
        Added to the variance; positive.
    dtype : dtype

    Attributes
    ----------
    weight, bias : Parameter of shape (c,)
        Scale and shift, the paper's gamma and beta; they begin at 1 and 0.
    running_mean, running_var : Buffer of shape (c,)
        The statistics that evaluation normalises with; their arrays are ``.data``.

    Examples
    --------
    >>> import minigrad as mg
    >>> out = BatchNorm2d(2)(mg.Tensor([[1.0, 10.0], [3.0, 30.0]]))
    >>> out.data.round(3)
    array([[-1., -1.],
           [ 1.,  1.]], dtype=float32)
    """

    @named
    def __init__(self, c: int, *, momentum: float = 0.1, eps: float = 1e-5, dtype: npt.DTypeLike = np.float32) -> None:
        self.c = c = integer("BatchNorm2d", "c", c, least=1)
        self.momentum, self.eps = number("BatchNorm2d", "momentum", momentum, most=1), number("BatchNorm2d", "eps", eps)
        expect(self.eps > 0, "BatchNorm2d", "eps > 0", eps)
        self.weight, self.bias = Parameter(np.ones(c, dtype)), Parameter(np.zeros(c, dtype))
        self.running_mean, self.running_var = Buffer(np.zeros(c, dtype)), Buffer(np.ones(c, dtype))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (..., c)."""
        return ops.batch_norm(
            x,
            self.weight,
            self.bias,
            self.running_mean.data,
            self.running_var.data,
            training=self.training,
            momentum=self.momentum,
            eps=self.eps,
        )


class ReLU(Module):
    """max(x, 0).

    Examples
    --------
    >>> import minigrad as mg
    >>> ReLU()(mg.Tensor([-1.0, 2.0]))
    Tensor([0., 2.])
    """

    forward = staticmethod(ops.relu)  # a layer without settings is its operator


class GlobalAvgPool2d(Module):
    """The average of each channel: (n, h, w, c) -> (n, c).

    Examples
    --------
    >>> import minigrad as mg
    >>> GlobalAvgPool2d()(mg.Tensor(np.ones((2, 4, 4, 3), "float32"))).shape
    (2, 3)
    """

    def forward(self, x: Tensor) -> Tensor:
        """Average over height and width."""
        return ops.global_avg_pool2d(x)


class Sequential(Module):
    """A chain of Modules: each takes the output of the previous one.

    Parameters
    ----------
    *layers : Modules

    Attributes
    ----------
    layers : list of Modules
        The list may be changed. In paths, a layer's name is its number: the weight of ``net[2]`` is ``"2.weight"``.

    Examples
    --------
    >>> import minigrad as mg
    >>> net = Sequential(Linear(4, 8, rng=0), ReLU(), Linear(8, 2, rng=1))
    >>> net(mg.Tensor([[1.0, 2.0, 3.0, 4.0]])).shape
    (1, 2)
    >>> net[1], len(net), len(net[:2])  # a slice is a Sequential of the same layers
    (ReLU(), 3, 2)
    >>> net[-1] = Linear(8, 5, rng=2)  # another head
    >>> net
    Sequential(
      (0): Linear(4, 8)
      (1): ReLU()
      (2): Linear(8, 5)
    )
    """

    def __init__(self, *layers: Module) -> None:
        for layer in layers:
            called = callable(layer) and not isinstance(layer, type)
            fix = "pass them one by one: Sequential(*layers)"
            expect(called, "Sequential", "layers that can be called", brief(layer), fix, error=TypeError)
        self.layers = list(layers)

    def forward(self, x: Tensor) -> Tensor:
        """Pass x through all layers."""
        for layer in self.layers:
            x = layer(x)
        return x

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yield the children with their names; a layer's name is its number."""
        return ((name.removeprefix("layers."), part) for name, part in super().named_children())

    def __getitem__(self, i: int | slice) -> Module:
        return Sequential(*self.layers[i]) if isinstance(i, slice) else self.layers[i]

    def __setitem__(self, i: int, layer: Module) -> None:
        self.layers[i] = layer

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Module]:
        return iter(self.layers)


# Windows, noise and shape --------------------------------------------------------------------


class MaxPool2d(Module):
    """The largest element of each window: see :func:`minigrad.max_pool2d`.

    Parameters
    ----------
    kernel, stride, padding : int or (int, int)
        The stride is the kernel's size by default.

    Examples
    --------
    >>> import minigrad as mg
    >>> MaxPool2d(3, stride=2, padding=1)(mg.Tensor(np.zeros((1, 112, 112, 64), "float32"))).shape
    (1, 56, 56, 64)
    """

    @named
    def __init__(self, kernel: IntOrPair, *, stride: IntOrPair | None = None, padding: IntOrPair = 0) -> None:
        self.kernel, self.stride, self.padding = _window("MaxPool2d", kernel, stride, padding)

    def forward(self, x: Tensor) -> Tensor:
        """Pool images (n, h, w, c)."""
        return ops.max_pool2d(x, self.kernel, stride=self.stride, padding=self.padding)


class AvgPool2d(Module):
    """The average of each window: see :func:`minigrad.avg_pool2d`.

    Parameters
    ----------
    kernel, stride, padding : int or (int, int)
        The stride is the kernel's size by default.

    Examples
    --------
    >>> import minigrad as mg
    >>> AvgPool2d(2)(mg.Tensor(np.zeros((1, 4, 6, 3), "float32"))).shape
    (1, 2, 3, 3)
    """

    @named
    def __init__(self, kernel: IntOrPair, *, stride: IntOrPair | None = None, padding: IntOrPair = 0) -> None:
        self.kernel, self.stride, self.padding = _window("AvgPool2d", kernel, stride, padding)

    def forward(self, x: Tensor) -> Tensor:
        """Pool images (n, h, w, c)."""
        return ops.avg_pool2d(x, self.kernel, stride=self.stride, padding=self.padding)


class Dropout(Module):
    """Dropout: in training, a random share of the elements is set to 0. See :func:`minigrad.dropout`.

    Parameters
    ----------
    p : float
        The share that is dropped.
    rng : numpy Generator or seed
        None is refused, as by every layer: randomness is never hidden.

    Examples
    --------
    >>> import minigrad as mg
    >>> layer = Dropout(0.5, rng=0)
    >>> layer.eval()(mg.Tensor([1.0, 2.0]))
    Tensor([1., 2.])
    """

    @named
    def __init__(self, p: float = 0.5, *, rng: Rng) -> None:
        self.p, self.rng = number("Dropout", "p", p, below=1), generator("Dropout", rng)

    def forward(self, x: Tensor) -> Tensor:
        """Drop elements of x."""
        return ops.dropout(x, self.p, rng=self.rng, training=self.training)


class Flatten(Module):
    """Merge all axes but the first into one: (n, ...) -> (n, features).

    Examples
    --------
    >>> import minigrad as mg
    >>> Flatten()(mg.Tensor(np.ones((2, 4, 4, 3), "float32"))).shape
    (2, 48)
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return each sample as a vector."""
        features = x.size // x.shape[0] if x.shape[0] else int(np.prod(x.shape[1:]))
        return ops.reshape(x, (x.shape[0], features))


class Identity(Module):
    """The identity: it returns its input.

    Examples
    --------
    >>> Identity()(3.0)
    3.0
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return x."""
        return x


# Other activations ---------------------------------------------------------------------------


class Tanh(Module):
    """tanh(x): see :func:`minigrad.tanh`.

    Examples
    --------
    >>> import minigrad as mg
    >>> Tanh()(mg.Tensor([-1.0, 2.0])).data.round(4)
    array([-0.7616,  0.964 ], dtype=float32)
    """

    forward = staticmethod(ops.tanh)


class Sigmoid(Module):
    """1 / (1 + exp(-x)): see :func:`minigrad.sigmoid`.

    Examples
    --------
    >>> import minigrad as mg
    >>> Sigmoid()(mg.Tensor([-1.0, 2.0])).data.round(4)
    array([0.2689, 0.8808], dtype=float32)
    """

    forward = staticmethod(ops.sigmoid)


class SiLU(Module):
    """x sigmoid(x), also called swish: see :func:`minigrad.silu`.

    Examples
    --------
    >>> import minigrad as mg
    >>> SiLU()(mg.Tensor([-1.0, 2.0])).data.round(4)
    array([-0.2689,  1.7616], dtype=float32)
    """

    forward = staticmethod(ops.silu)


class GELU(Module):
    """x times the probability that a standard normal number is below x: see :func:`minigrad.gelu`.

    Examples
    --------
    >>> import minigrad as mg
    >>> GELU()(mg.Tensor([-1.0, 2.0])).data.round(4)
    array([-0.1587,  1.9545], dtype=float32)
    """

    forward = staticmethod(ops.gelu)


class LeakyReLU(Module):
    """x where x > 0, else negative_slope x: see :func:`minigrad.leaky_relu`.

    Parameters
    ----------
    negative_slope : float
        At least 0.

    Examples
    --------
    >>> import minigrad as mg
    >>> LeakyReLU(0.1)(mg.Tensor([-1.0, 2.0]))
    Tensor([-0.1,  2. ])
    """

    @named
    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = number("LeakyReLU", "negative_slope", negative_slope)

    def forward(self, x: Tensor) -> Tensor:
        """Scale the negative elements of x."""
        return ops.leaky_relu(x, self.negative_slope)


# Beyond the nets of the paper ----------------------------------------------------------------


class LayerNorm(Module):
    """Normalisation of each sample over its last axes: see :func:`minigrad.layer_norm`.

    Parameters
    ----------
    normalized_shape : int or tuple of ints
        The sizes of the axes to normalise over: the features, or (h, w, c). PyTorch's images have (c, h, w) there.
    eps : float
        Added to the variance; positive.
    dtype : dtype

    Attributes
    ----------
    weight, bias : Parameter of shape normalized_shape
        Scale and shift; they begin at 1 and 0.

    Examples
    --------
    >>> import minigrad as mg
    >>> LayerNorm(2)(mg.Tensor([[1.0, 3.0], [0.0, 10.0]])).data.round(2)
    array([[-1.,  1.],
           [-1.,  1.]], dtype=float32)
    """

    @named
    def __init__(self, normalized_shape: int | Shape, *, eps: float = 1e-5, dtype: npt.DTypeLike = np.float32) -> None:
        sizes = normalized_shape if isinstance(normalized_shape, tuple | list) else (normalized_shape,)
        expect(sizes, "LayerNorm", "at least one axis to normalise over", normalized_shape)
        shape = tuple(integer("LayerNorm", "each size", size, least=1) for size in sizes)
        self.normalized_shape = shape[0] if len(shape) == 1 else shape
        self.eps = number("LayerNorm", "eps", eps)
        expect(self.eps > 0, "LayerNorm", "eps > 0", eps)
        self.weight, self.bias = Parameter(np.ones(shape, dtype)), Parameter(np.zeros(shape, dtype))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x of shape ``(..., *normalized_shape)``."""
        return ops.layer_norm(x, self.normalized_shape, self.weight, self.bias, eps=self.eps)


class GroupNorm(Module):
    """Normalisation of each image over groups of channels: see :func:`minigrad.group_norm`.

    Parameters
    ----------
    num_groups, num_channels : int
        The number of channels is a multiple of the number of groups.
    eps : float
        Added to the variance; positive.
    dtype : dtype

    Attributes
    ----------
    weight, bias : Parameter of shape (num_channels,)
        Scale and shift; they begin at 1 and 0.

    Examples
    --------
    >>> import minigrad as mg
    >>> GroupNorm(2, 4)(mg.Tensor([[1.0, 3.0, 0.0, 10.0]])).data.round(2)
    array([[-1.,  1., -1.,  1.]], dtype=float32)
    """

    @named
    def __init__(
        self, num_groups: int, num_channels: int, *, eps: float = 1e-5, dtype: npt.DTypeLike = np.float32
    ) -> None:
        self.num_groups = integer("GroupNorm", "num_groups", num_groups, least=1)
        self.num_channels = c = integer("GroupNorm", "num_channels", num_channels, least=1)
        expect(c % self.num_groups == 0, "GroupNorm", f"num_groups to divide the {c} channels", num_groups)
        self.eps = number("GroupNorm", "eps", eps)
        expect(self.eps > 0, "GroupNorm", "eps > 0", eps)
        self.weight, self.bias = Parameter(np.ones(c, dtype)), Parameter(np.zeros(c, dtype))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise images (n, h, w, num_channels)."""
        return ops.group_norm(x, self.num_groups, self.weight, self.bias, eps=self.eps)


class Embedding(Module):
    """A vector for each integer: see :func:`minigrad.embedding`.

    Parameters
    ----------
    num_embeddings, embedding_dim : int
        Integers from 0 to num_embeddings - 1 are mapped to vectors of embedding_dim features.
    rng : numpy Generator or seed
        The weight begins with normal numbers of variance 1.
    dtype : dtype

    Attributes
    ----------
    weight : Parameter of shape (num_embeddings, embedding_dim)

    Examples
    --------
    >>> Embedding(1000, 16, rng=0)(np.array([[3, 999], [0, 3]])).shape
    (2, 2, 16)
    """

    @named
    def __init__(self, num_embeddings: int, embedding_dim: int, *, rng: Rng, dtype: npt.DTypeLike = np.float32) -> None:
        self.num_embeddings = integer("Embedding", "num_embeddings", num_embeddings, least=1)
        self.embedding_dim = integer("Embedding", "embedding_dim", embedding_dim, least=1)
        draws = generator("Embedding", rng).standard_normal((self.num_embeddings, self.embedding_dim))
        self.weight = Parameter(draws.astype(dtype))

    def forward(self, indices: Tensor | Array) -> Tensor:
        """Map integers of any shape to ``(*shape, embedding_dim)``."""
        return ops.embedding(indices, self.weight)


class ConvTranspose2d(Module):
    """Transposed convolution of images (n, h, w, c_in) -> (n, ho, wo, c_out): see :func:`minigrad.conv_transpose2d`.

    Parameters
    ----------
    c_in, c_out : int
        Channels in and out.
    kernel, stride, padding, output_padding : int or (int, int)
        ho = (h - 1) stride - 2 padding + kernel + output_padding, and likewise for the width.
    bias : bool
    rng : numpy Generator or seed
        For He initialisation. An output is the sum of kh kw c_in / (sy sx) products on average; that is the fan-in. The
        bias begins at 0.
    dtype : dtype

    Attributes
    ----------
    weight : Parameter of shape (kh, kw, c_in, c_out)
        PyTorch's is (c_in, c_out, kh, kw).
    bias : Parameter of shape (c_out,), or None
    kernel, stride, padding, output_padding : (int, int)
        Along height and width.

    Examples
    --------
    >>> import minigrad as mg
    >>> x = mg.Tensor(np.zeros((8, 16, 16, 32), "float32"))
    >>> ConvTranspose2d(32, 3, 4, stride=2, padding=1, rng=0)(x).shape
    (8, 32, 32, 3)
    """

    @named
    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: IntOrPair,
        *,
        stride: IntOrPair = 1,
        padding: IntOrPair = 0,
        output_padding: IntOrPair = 0,
        bias: bool = True,
        rng: Rng,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        name = "ConvTranspose2d"
        self.c_in, self.c_out = integer(name, "c_in", c_in, least=1), integer(name, "c_out", c_out, least=1)
        self.kernel, self.stride = pair(name, "kernel", kernel, least=1), pair(name, "stride", stride, least=1)
        self.padding = pair(name, "padding", padding, least=0)
        self.output_padding = pair(name, "output_padding", output_padding, least=0)
        small = all(extra < step for extra, step in zip(self.output_padding, self.stride, strict=True))
        expect(small, name, f"output_padding smaller than the stride {self.stride}", self.output_padding)
        drawn = he_normal((*self.kernel, self.c_in, self.c_out), rng=rng, dtype=dtype)
        self.weight = Parameter(drawn * np.asarray(math.prod(self.stride) ** 0.5, dtype))
        self.bias = Parameter(np.zeros(self.c_out, dtype)) if flag(name, "bias", bias) else None

    def forward(self, x: Tensor) -> Tensor:
        """Convolve images (n, h, w, c_in)."""
        stride, padding, extra = self.stride, self.padding, self.output_padding
        return ops.conv_transpose2d(x, self.weight, self.bias, stride=stride, padding=padding, output_padding=extra)


def _window(layer: str, kernel: IntOrPair, stride: IntOrPair | None, padding: IntOrPair) -> tuple[Pair, Pair, Pair]:
    """Return the checked kernel, stride and padding of a pooling layer."""
    size, border = pair(layer, "kernel", kernel, least=1), pair(layer, "padding", padding, least=0)
    covers = border[0] < size[0] and border[1] < size[1]
    expect(covers, layer, f"a padding smaller than the kernel {size}, so that every window covers a pixel", border)
    return size, size if stride is None else pair(layer, "stride", stride, least=1), border
