"""What is in a model: layers, shapes, parameters and multiply-adds.

:func:`summary` asks nothing of a model except that it runs: hooks note what comes out of each layer. It sends one image
of zeros through the model, which computes more than the shapes need, but takes a fraction of a second for the largest
nets of the paper.

Next: :mod:`minigrad.inspect.statistics`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from minigrad.autograd.tape import no_grad
from minigrad.autograd.tensor import Tensor
from minigrad.device import namespace
from minigrad.nn.layers import BatchNorm2d, Conv2d, Linear
from minigrad.nn.module import Module, Parameter, evaluation


@dataclass(frozen=True)
class Row:
    """A layer, as it was called once.

    Attributes
    ----------
    name : str
        The path of its attributes.
    kind : str
        Its class.
    shape : tuple of ints
        Of its output, without the batch axis.
    parameters : int
        Those that no row above counts.
    macs : int
        Multiply-adds.
    formula : str
        How they were counted: pixels * inputs of each output * outputs.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
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
        """All parameters."""
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


def summary(model: Module, input_shape: tuple[int, ...]) -> Summary:
    """List the layers of a model, and count parameters and multiply-adds for one image.

    Multiply-adds are counted as in "Deep Residual Learning": those of convolutions and fully connected layers, without
    biases. Everything else (batch norm, ReLU, pooling, additions) counts 0, and so does what a Module of your own
    computes with its parameters: its row says "not counted".

    Parameters
    ----------
    model : Module
        Runs in evaluation mode; left as it was.
    input_shape : tuple of ints
        Of one image, without the batch axis: (h, w, c).

    Returns
    -------
    Summary
        With ``.rows``, ``.parameters`` and ``.macs``. A row is a call of a Module without parts, or with parameters
        of its own. One that is called twice has two rows: its multiply-adds are counted in both, its parameters in
        the first. Parameters of Modules that were never called come last.

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
    if not isinstance(model, Module):
        raise TypeError(f"summary: expected a Module, got {type(model).__name__}")
    if not all(hasattr(size, "__index__") and size > 0 for size in input_shape):
        raise ValueError(
            f"summary: expected input_shape to be the sizes of one image, without the batch axis: (224, 224, 3); got "
            f"{input_shape}"
        )
    modules = list(model.named_modules())
    names = {id(module): name for name, module in modules}
    own = {id(module): _own_parameters(module) for _, module in modules}
    counted: set[int] = set()
    rows: list[Row] = []

    def count(module: Module) -> int:
        fresh = {id(p): p.size for p in own[id(module)] if id(p) not in counted}
        counted.update(fresh)
        return sum(fresh.values())

    def note(module: Module, out: Any) -> None:
        macs, formula = _macs(module, out)
        shape = tuple(getattr(out, "shape", ()))[1:]
        rows.append(Row(names[id(module)], type(module).__name__, shape, count(module), macs, formula))

    like = next((p.data for p in model.parameters()), np.zeros(0, np.float32))
    image = Tensor(namespace(like).zeros((1, *input_shape), dtype=like.dtype))
    ends = [module.hook(note) for _, module in modules if is_layer(module)]
    try:
        with evaluation(model), no_grad():
            model(image)
    finally:
        for end in ends:
            end()
    for name, module in modules:
        if left := count(module):
            rows.append(Row(name, type(module).__name__, (), left, 0, "not called"))
    return Summary(rows)


def _own_parameters(module: Module) -> list[Parameter]:
    """List the parameters of a module that belong to none of its parts."""
    parts = {id(p) for _, part in module.children() for p in part.parameters()}
    return [p for p in module.parameters() if id(p) not in parts]


def is_layer(module: Module) -> bool:
    """Whether a module computes something itself: it has no parts, or parameters of its own beside them."""
    return not any(module.children()) or bool(_own_parameters(module))


def _macs(module: Module, out: Any) -> tuple[int, str]:
    """Return the multiply-adds of a call and how they come about: each output is a product with a column of w."""
    if isinstance(module, Conv2d | Linear):
        *inputs, outputs = module.w.shape  # (kh, kw, c_in / groups), c_out
        pixels = [size for size in out.shape[:-1] if size > 1]
        factors = ["*".join(map(str, sizes)) for sizes in (pixels, inputs, [outputs]) if sizes]
        return math.prod([*pixels, *inputs, outputs]), " * ".join(factors)
    known = isinstance(module, BatchNorm2d) or not _own_parameters(module)
    return 0, "" if known else "not counted"
