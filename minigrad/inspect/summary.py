"""summary: the layers of a model, with shapes, parameters and multiply-adds.

For :func:`summary` a model only has to run: hooks note the output of each layer. One image of zeros runs through
the model. That computes more than the shapes need, but takes a fraction of a second for the largest nets of the paper.

Next: :mod:`minigrad.inspect.statistics`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np

from minigrad.arguments import as_int, expect
from minigrad.autograd.modes import no_grad
from minigrad.autograd.tensor import Tensor
from minigrad.checked import checked
from minigrad.device import namespace
from minigrad.nn.layers import BatchNorm2d, Conv2d, ConvTranspose2d, Embedding, GroupNorm, LayerNorm, Linear
from minigrad.nn.module import Module, Parameter, evaluation
from minigrad.typing import Shape


@dataclass(frozen=True)
class Row:
    """One call of a layer.

    Attributes
    ----------
    name : str
        The layer's path of attributes.
    kind : str
        Its class.
    shape : tuple of ints
        The shape of its output, without the batch axis.
    parameters : int
        The number of its parameters that no earlier row counts.
    macs : int
        Multiply-adds.
    formula : str
        How they were counted: pixels * inputs of each output * outputs.
    """

    name: str
    kind: str
    shape: Shape
    parameters: int
    macs: int
    formula: str


@dataclass(frozen=True, repr=False)
class Summary:
    """The layers of a model in the order of their calls; printed, it is a table.

    Attributes
    ----------
    rows : list of Rows
    parameters, macs : int
        The sums over all rows.
    """

    rows: list[Row]

    @property
    def parameters(self) -> int:
        """The number of all parameters."""
        return sum(row.parameters for row in self.rows)

    @property
    def macs(self) -> int:
        """Multiply-adds for one image."""
        return sum(row.macs for row in self.rows)

    def __repr__(self) -> str:
        table = [("layer", "kind", "output", "parameters", "multiply-adds", "")]
        for row in self.rows:
            shape = " x ".join(map(str, row.shape))
            table.append((row.name, row.kind, shape, f"{row.parameters:,}", f"{row.macs:,}", row.formula))
        table.append(("total", "", "", f"{self.parameters:,}", f"{self.macs:,}", ""))
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = []
        for cells in table:
            aligned = (f"{cell:{side}{width}}" for cell, side, width in zip(cells, "<<<>><", widths, strict=True))
            lines.append("  ".join(aligned).rstrip())
        rule = "-" * max(map(len, lines))
        return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


@checked
def summary(model: Module, input_shape: Shape) -> Summary:
    """Return the layers of a model, with their parameters and their multiply-adds for one image.

    Multiply-adds are counted as in "Deep Residual Learning": those of convolutions (transposed ones, too) and fully
    connected layers, without biases. Everything else (normalisation, activations, pooling, additions) counts 0. A
    Module of your own with parameters counts 0, too, and its row says "not counted".

    Parameters
    ----------
    model : Module
        Runs in evaluation mode; afterwards every layer is in its own mode again.
    input_shape : tuple of ints
        The shape of one image, without the batch axis: (h, w, c). If the first layer with parameters is an Embedding,
        the model gets integers.

    Returns
    -------
    Summary
        With ``.rows``, ``.parameters`` and ``.macs``. A row is a call of a Module without parts, or with parameters
        of its own. A Module that is called twice has two rows: both count its multiply-adds, the first counts its
        parameters. Modules with parameters that were never called come last.

    Raises
    ------
    TypeError
        If `model` is no Module.
    ValueError
        If `input_shape` is not made of positive ints.

    Examples
    --------
    >>> from minigrad import nn
    >>> net = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, rng=0), nn.ReLU(), nn.GlobalAvgPool2d())
    >>> summary(net, (32, 32, 3))
    layer  kind             output        parameters  multiply-adds
    -----------------------------------------------------------------------------------
    0      Conv2d           32 x 32 x 16         448        442,368  32*32 * 3*3*3 * 16
    1      ReLU             32 x 32 x 16           0              0
    2      GlobalAvgPool2d  16                     0              0
    -----------------------------------------------------------------------------------
    total                                        448        442,368
    """
    expect(
        isinstance(input_shape, tuple | list) and all((as_int(size) or 0) > 0 for size in input_shape),
        "summary",
        "input_shape to be the sizes of one image, without the batch axis: (224, 224, 3)",
        input_shape,
    )
    counted: set[int] = set()
    rows: list[Row] = []

    def count(module: Module) -> int:
        new = {id(p): p.size for p in _own_parameters(module) if id(p) not in counted}
        counted.update(new)
        return sum(new.values())

    def note(name: str, layer: Module, out: object) -> None:
        macs, formula = multiply_adds(layer, out)
        shape = tuple(getattr(out, "shape", ()))[1:]
        rows.append(Row(name, type(layer).__name__, shape, count(layer), macs, formula))

    first = next((m for _, m in model.named_modules() if _own_parameters(m)), None)
    like = next((p.data for p in model.parameters()), np.zeros(0, np.float32))
    dtype = np.int64 if isinstance(first, Embedding) else like.dtype
    image = Tensor(namespace(like).zeros((1, *input_shape), dtype=dtype))
    with on_layers(model, note), evaluation(model), no_grad():
        model(image)
    for name, module in model.named_modules():
        if left := count(module):
            rows.append(Row(name, type(module).__name__, (), left, 0, "not called"))
    return Summary(rows)


def multiply_adds(layer: Module, out: object) -> tuple[int, str]:
    """Return the multiply-adds of a call and their formula: each output is a product with a column of w.

    In a transposed convolution each pixel of the input is multiplied with all of w.
    """
    if isinstance(layer, Conv2d | ConvTranspose2d | Linear) and isinstance(out, Tensor):
        *inputs, outputs = layer.weight.shape
        sizes = out.shape[:-1]
        if isinstance(layer, ConvTranspose2d):
            walks = zip(sizes[1:], layer.padding, layer.kernel, layer.stride, strict=True)
            sizes = (sizes[0], *((size + 2 * p - k) // s + 1 for size, p, k, s in walks))
        pixels = [size for size in sizes if size > 1]
        factors = ["*".join(map(str, sizes)) for sizes in (pixels, inputs, [outputs]) if sizes]
        return math.prod([*pixels, *inputs, outputs]), " * ".join(factors)
    known = isinstance(layer, BatchNorm2d | Embedding | GroupNorm | LayerNorm) or not _own_parameters(layer)
    return 0, "" if known else "not counted"


@contextmanager
def on_layers(model: Module, note: Callable[[str, Module, object], None]) -> Iterator[None]:
    """Call ``note(name, layer, output)`` after every call of a layer of the model within the context.

    A layer is a Module that computes something itself: it has no parts, or parameters of its own beside them.
    """
    layers = [(n, m) for n, m in model.named_modules() if _own_parameters(m) or not any(m.named_children())]
    with ExitStack() as ends:
        for name, layer in layers:
            ends.callback(layer.hook(partial(note, name)))
        yield


def _own_parameters(module: Module) -> list[Parameter]:
    """Return the parameters of a module that belong to none of its parts."""
    parts = {id(p) for _, part in module.named_children() for p in part.parameters()}
    return [p for p in module.parameters() if id(p) not in parts]
