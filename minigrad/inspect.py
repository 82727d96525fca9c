"""What is in a model, what flows through it, and what the tape recorded.

- :func:`summary` counts: the layers with their shapes, parameters and multiply-adds.
- :func:`statistics` measures: mean, deviation and norm of what each layer gives, and of the gradient that comes back.
- :func:`draw_graph` shows the entries of the tape from which a Tensor was computed.

The first two ask nothing of a model except that it runs: hooks note what comes out of each layer. `summary` sends one
image of zeros through it, which computes more than the shapes need, but takes a fraction of a second for the largest
nets of the paper.

Next: :mod:`minigrad.checkpoint`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from minigrad.device import Array, is_array, namespace
from minigrad.nn.layers import BatchNorm2d, Conv2d, Linear
from minigrad.nn.module import Module, Parameter, evaluation
from minigrad.recording import Entry, no_grad
from minigrad.tensor import Tensor, array_of

# What is in a model --------------------------------------------------------------------------


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
    layer     kind             output        parameters  multiply-adds
    --------------------------------------------------------------------------------------
    layers.0  Conv2d           32 x 32 x 16         448        442,368  32*32 * 3*3*3 * 16
    layers.1  ReLU             32 x 32 x 16           0              0
    layers.2  GlobalAvgPool2d  16                     0              0
    --------------------------------------------------------------------------------------
    total                                           448        442,368
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
    ends = [module.hook(note) for _, module in modules if _is_layer(module)]
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


def _is_layer(module: Module) -> bool:
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


# What flows through it -----------------------------------------------------------------------


class Moments(NamedTuple):
    """What is said of an array: three numbers.

    Attributes
    ----------
    mean, std : float
        Over all elements.
    norm : float
        The square root of the sum of squares.
    """

    mean: float
    std: float
    norm: float


@dataclass
class Response:
    """What a layer gave when it was called once, and the gradient that came back to it.

    Attributes
    ----------
    name : str
        The path of its attributes.
    kind : str
        Its class.
    output : Moments
        Of what it gave.
    gradient : Moments or None
        Of the gradient of that output; None before backward, and where no gradient flows.
    """

    name: str
    kind: str
    output: Moments
    gradient: Moments | None = None


@contextmanager
def statistics(model: Module) -> Iterator[list[Response]]:
    """Record what each layer gives, and the gradient that reaches it.

    Parameters
    ----------
    model : Module
        Runs as it is, in training or evaluation mode.

    Yields
    ------
    list of Responses
        One is appended whenever a layer of the model is called within the context: a Module without parts, or with
        parameters of its own. Its gradient is filled in by backward, within the context or later.

    Raises
    ------
    TypeError
        If `model` is no Module.

    Examples
    --------
    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> net = nn.Sequential(nn.Linear(2, 4, rng=0), nn.ReLU())
    >>> with statistics(net) as responses:
    ...     net(mg.Tensor([[1.0, 2.0]])).sum().backward()
    >>> [(r.name, r.kind) for r in responses]
    [('layers.0', 'Linear'), ('layers.1', 'ReLU')]
    >>> responses[1].gradient
    Moments(mean=1.0, std=0.0, norm=2.0)
    """
    if not isinstance(model, Module):
        raise TypeError(f"statistics: expected a Module, got {type(model).__name__}")
    names = {id(module): name for name, module in model.named_modules()}
    responses: list[Response] = []

    def note(module: Module, out: Any) -> None:
        if is_array(array_of(out)):
            response = Response(names[id(module)], type(module).__name__, _moments(array_of(out)))
            responses.append(response)
            if isinstance(out, Tensor) and out.requires_grad:
                out.hook(lambda g: setattr(response, "gradient", _moments(g.data)))

    ends = [module.hook(note) for _, module in model.named_modules() if _is_layer(module)]
    try:
        yield responses
    finally:
        for end in ends:
            end()


def _moments(array: Array) -> Moments:
    """Return mean, deviation and norm, computed in float64: the square of what explodes must not overflow."""
    array = array.astype("float64")
    return Moments(float(array.mean()), float(array.std()), float((array * array).sum()) ** 0.5)


# What the tape recorded ----------------------------------------------------------------------


@dataclass(frozen=True)
class GraphNode:
    """A leaf, or an entry of the tape.

    Attributes
    ----------
    label : str
        The operator and the name that was given, if one was.
    shape : tuple of ints
    leaf : bool
        Whether this is where a gradient ends.
    """

    label: str
    shape: tuple[int, ...]
    leaf: bool


@dataclass(frozen=True, repr=False)
class Graph:
    """A graph that draws itself: as SVG in a notebook, as DOT where it is printed.

    Attributes
    ----------
    nodes : list of GraphNodes
        In the order of execution: a node stands behind those it was computed from.
    edges : list of (int, int)
        Places in `nodes`: from an argument to the operator that took it, by operator and in the order of its arguments.
    """

    nodes: list[GraphNode]
    edges: list[tuple[int, int]]

    @property
    def dot(self) -> str:
        """The graph in the language of Graphviz."""
        lines = ["digraph {", "  node [shape=box]"]
        for i, node in enumerate(self.nodes):
            label = node.label.replace("\\", "\\\\").replace('"', '\\"')
            mark = ", style=filled" if node.leaf else ""
            lines.append(f'  {i} [label="{label}\\n{node.shape}"{mark}]')
        return "\n".join([*lines, *(f"  {source} -> {target}" for source, target in self.edges), "}"])

    def layout(self) -> tuple[list[tuple[int, int]], list[list[tuple[int, int]]]]:
        """Place the nodes on a grid.

        A node's row is the longest path from it to the output, which stands in the last row. An edge takes a place
        in every row that it crosses, so that it runs around the nodes there. First arguments stand straight above
        their operators, the others at the right of them.

        Returns
        -------
        places : list of (column, row)
            Of each node.
        routes : list of lists of (column, row)
            Of each edge, the places it goes through, from its source to its target.
        """
        height = [0] * len(self.nodes)
        for source, target in reversed(self.edges):
            height[source] = max(height[source], height[target] + 1)
        rows: list[dict[Any, list[Any]]] = [{} for _ in range(max(height) + 1)]  # what stands there, and what below it
        rows[0] = {i: [] for i, h in enumerate(height) if h == 0}
        chains = []
        for k, (source, target) in enumerate(self.edges):
            bends = [(k, row) for row in range(height[target] + 1, height[source])]
            chains.append([target, *bends, source])
            for row, (below, above) in enumerate(pairwise(chains[-1]), height[target] + 1):
                rows[row].setdefault(above, []).append(below)
        places: dict[Any, tuple[int, int]] = {}
        for h, items in enumerate(rows):
            wish = {item: min((places[below][0] for below in items[item]), default=0) for item in items}
            column = -1
            for item in sorted(wish, key=wish.__getitem__):
                column = max(column + 1, wish[item])
                places[item] = column, len(rows) - 1 - h
        return [places[i] for i in range(len(self.nodes))], [[places[p] for p in reversed(chain)] for chain in chains]

    @property
    def svg(self) -> str:
        """The graph as a picture, made without Graphviz."""
        places, routes = self.layout()
        high, box = 76, 40
        widths = [28] * (1 + max(column for column, _ in [*places, *(place for route in routes for place in route)]))
        for node, (column, _) in zip(self.nodes, places, strict=True):
            widths[column] = max(widths[column], 28 + 8 * max(len(node.label), len(str(node.shape))))
        middles = [sum(widths[:i]) + width / 2 for i, width in enumerate(widths)]
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{sum(widths)}" '
            f'height="{high * (1 + max(row for _, row in places))}" '
            'font-family="sans-serif" font-size="13" text-anchor="middle">',
            '<marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
            '<path d="M0 0L8 4L0 8z" fill="#555"/></marker>',
        ]
        targets = [target for _, target in self.edges]
        for k, route in enumerate(routes):
            points = [(middles[column], high * (row + 0.5)) for column, row in route]
            aside = 12 * (targets[:k].count(targets[k]) - (targets.count(targets[k]) - 1) / 2)  # f(x, x): two arrows
            points[-1] = points[-1][0] + aside, points[-1][1]
            path = "M"
            for (x, y), (u, v) in pairwise(points):  # straight through the rows, curves between them
                middle = (y + v) / 2
                path += f" {x:g} {y + box / 2:g}C{x:g} {middle:g} {u:g} {middle:g} {u:g} {v - box / 2:g}L"
            path = path.removesuffix("L")
            lines.append(f'<path d="{path}" fill="none" stroke="#555" marker-end="url(#arrow)"/>')
        for node, (column, row) in zip(self.nodes, places, strict=True):
            x, y, width = middles[column], high * (row + 0.5), widths[column] - 12
            lines.append(
                f'<rect x="{x - width / 2:g}" y="{y - box / 2:g}" width="{width}" height="{box}" rx="5" '
                f'fill="{"#ddd" if node.leaf else "#fff"}" stroke="#555"/>'
                f'<text x="{x:g}" y="{y - 3:g}">{escape(node.label)}</text>'
                f'<text x="{x:g}" y="{y + 13:g}" font-size="11" fill="#555">{node.shape}</text>'
            )
        return "\n".join([*lines, "</svg>"])

    def _repr_svg_(self) -> str:
        """What a notebook shows."""
        return self.svg

    def __repr__(self) -> str:
        return self.dot


def draw_graph(tensor: Tensor, names: Mapping[str, Tensor] | None = None) -> Graph:
    r"""Draw what the tape recorded of a Tensor: the operators from its leaves to itself.

    What no gradient flows to, as images, labels and other constants, is not on the tape and not in the graph. Draw
    before backward, which releases the tape.

    Parameters
    ----------
    tensor : Tensor
    names : dict of Tensors, optional
        What to call leaves, or results in between: ``dict(net.named_parameters())``.

    Returns
    -------
    Graph
        Printed, it is DOT; ``.dot`` and ``.svg`` give it as text, and a notebook shows the picture.

    Raises
    ------
    TypeError
        If something is no Tensor.
    RuntimeError
        If nothing was recorded, or the tape was released.

    Examples
    --------
    >>> import minigrad as mg
    >>> x, w = mg.Tensor([1.0, 2.0], requires_grad=True), mg.Tensor(3.0, requires_grad=True)
    >>> draw_graph((w * x).sum(), {"x": x, "w": w})
    digraph {
      node [shape=box]
      0 [label="w\n()", style=filled]
      1 [label="x\n(2,)", style=filled]
      2 [label="mul\n(2,)"]
      3 [label="sum\n()"]
      0 -> 2
      1 -> 2
      2 -> 3
    }
    """
    for name, given in [("tensor", tensor), *(names or {}).items()]:
        if not isinstance(given, Tensor):
            raise TypeError(f"draw_graph: expected {name} to be a Tensor, got {type(given).__name__}")
    if tensor._node is None:
        raise RuntimeError(
            "draw_graph: nothing was recorded for this Tensor: none of its inputs requires a gradient, or it was "
            "computed under no_grad()"
        )
    known = {given._node: name for name, given in (names or {}).items()}
    entries: set[Entry] = set()
    ahead = [tensor._node]
    while ahead:
        node = ahead.pop()
        if isinstance(node, Entry) and node not in entries:
            if node.kept is None:
                raise RuntimeError(
                    f"draw_graph: {node.operator.name} was released by backward; draw before it, or call it with "
                    "retain_graph=True"
                )
            entries.add(node)
            ahead.extend(node.edges)
    place: dict[Any, int] = {}
    graph = Graph([], [])

    def add(node: Any) -> None:
        name, operator = known.get(node), node.operator.name if isinstance(node, Entry) else None
        label = " = ".join(filter(None, (name, operator))) or "leaf"
        place[node] = len(graph.nodes)
        graph.nodes.append(GraphNode(label, tuple(node.shape), operator is None))

    for entry in sorted(entries, key=lambda entry: entry.order):
        arguments = [edge for edge in entry.edges if edge is not None]
        for node in [*arguments, entry]:
            if node not in place:
                add(node)
        graph.edges.extend((place[node], place[entry]) for node in arguments)
    if not entries:
        add(tensor._node)
    return graph
