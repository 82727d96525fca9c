"""draw_graph: a picture of the tape, from the leaves to a Tensor.

Next: :mod:`minigrad.distributed.processes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from minigrad.autograd.tape import Entry, Node
from minigrad.autograd.tensor import Tensor
from minigrad.checked import checked
from minigrad.typing import Shape

#: A place on the grid of a drawing: column and row, from the top left.
Place = tuple[int, int]

#: An item on the grid: a node, or a bend of an edge in a row that the edge crosses, as (edge, row).
Item = int | tuple[int, int]

#: The height of a row and of the boxes in it, in pixels.
ROW, BOX = 76, 40


@dataclass(frozen=True)
class GraphNode:
    """A leaf, or an entry of the tape.

    Attributes
    ----------
    label : str
        The operator, and the name if one was given.
    shape : tuple of ints
    leaf : bool
        Whether it is a leaf, where a gradient ends.
    """

    label: str
    shape: Shape
    leaf: bool


@dataclass(frozen=True, repr=False)
class Graph:
    """A graph that draws itself: as SVG in a notebook, as DOT where it is printed.

    Attributes
    ----------
    nodes : list of GraphNodes
        In the order of execution: a node stands behind the nodes it was computed from.
    edges : list of (int, int)
        Indices into `nodes`: from an argument to the operator that took it, by operator, in the order of its arguments.
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

    def layout(self) -> tuple[list[Place], list[list[Place]]]:
        """Place the nodes on a grid.

        The output stands in the last row, and every other node above it by the length of its longest path to the
        output. An edge takes a place in every row that it crosses, so that it runs around the nodes there. First
        arguments stand straight above their operators, the others at the right of them.

        Returns
        -------
        places : list of (column, row)
            Of each node.
        routes : list of lists of (column, row)
            For each edge the places that it runs through, from its source to its target.
        """
        height = [0] * len(self.nodes)
        for source, target in reversed(self.edges):
            height[source] = max(height[source], height[target] + 1)
        # for each row, from the last one up: its items, each with the items below it that it is connected to
        rows: list[dict[Item, list[Item]]] = [{} for _ in range(max(height) + 1)]
        rows[0] = {i: [] for i, h in enumerate(height) if h == 0}
        chains: list[list[Item]] = []
        for k, (source, target) in enumerate(self.edges):
            bends = [(k, h) for h in range(height[target] + 1, height[source])]
            chains.append([target, *bends, source])
            for h, (below, above) in enumerate(pairwise(chains[-1]), height[target] + 1):
                rows[h].setdefault(above, []).append(below)
        places: dict[Item, Place] = {}
        for h, row in enumerate(rows):
            wanted = {item: min((places[below][0] for below in row[item]), default=0) for item in row}
            column = -1
            for item in sorted(wanted, key=wanted.__getitem__):
                column = max(column + 1, wanted[item])
                places[item] = column, len(rows) - 1 - h
        return [places[i] for i in range(len(self.nodes))], [[places[p] for p in reversed(chain)] for chain in chains]

    @property
    def svg(self) -> str:
        """The graph as a picture, made without Graphviz."""
        places, routes = self.layout()
        widths = [28] * (1 + max(column for column, _ in [*places, *(place for route in routes for place in route)]))
        for node, (column, _) in zip(self.nodes, places, strict=True):
            widths[column] = max(widths[column], 28 + 8 * max(len(node.label), len(str(node.shape))))
        centers = [sum(widths[:i]) + width / 2 for i, width in enumerate(widths)]
        targets = [target for _, target in self.edges]
        arrows = []
        for k, route in enumerate(routes):
            points = [(centers[column], ROW * (row + 0.5)) for column, row in route]
            number, count = targets[:k].count(targets[k]), targets.count(targets[k])
            points[-1] = points[-1][0] + 12 * (number - (count - 1) / 2), points[-1][1]  # side by side, as in x * x
            arrows.append(_arrow(points))
        boxes = [
            _box(node, centers[column], ROW * (row + 0.5), widths[column] - 12)
            for node, (column, row) in zip(self.nodes, places, strict=True)
        ]
        size = f'width="{sum(widths)}" height="{ROW * (1 + max(row for _, row in places))}"'
        font = 'font-family="sans-serif" font-size="13" text-anchor="middle"'
        head = (
            '<marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
            '<path d="M0 0L8 4L0 8z" fill="#555"/></marker>'
        )
        return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font}>', head, *arrows, *boxes, "</svg>"])

    def _repr_svg_(self) -> str:
        """The picture that a notebook shows."""
        return self.svg

    def __repr__(self) -> str:
        return self.dot


def _arrow(points: list[tuple[float, float]]) -> str:
    """Return the SVG of an arrow through points: straight through the rows of boxes, curved between them."""
    path = "M"
    for (x, y), (u, v) in pairwise(points):
        middle = (y + v) / 2
        path += f" {x:g} {y + BOX / 2:g}C{x:g} {middle:g} {u:g} {middle:g} {u:g} {v - BOX / 2:g}L"
    return f'<path d="{path.removesuffix("L")}" fill="none" stroke="#555" marker-end="url(#arrow)"/>'


def _box(node: GraphNode, x: float, y: float, width: float) -> str:
    """Return the SVG of a node, centred at (x, y)."""
    return (
        f'<rect x="{x - width / 2:g}" y="{y - BOX / 2:g}" width="{width}" height="{BOX}" rx="5" '
        f'fill="{"#ddd" if node.leaf else "#fff"}" stroke="#555"/>'
        f'<text x="{x:g}" y="{y - 3:g}">{escape(node.label)}</text>'
        f'<text x="{x:g}" y="{y + 13:g}" font-size="11" fill="#555">{node.shape}</text>'
    )


@checked
def draw_graph(tensor: Tensor, names: Mapping[str, Tensor] | None = None) -> Graph:
    r"""Return the graph that the tape recorded of a Tensor: the operators from its leaves to the Tensor.

    Images, labels and other constants, to which no gradient flows, are not on the tape and not in the graph. Draw
    before backward, which releases the tape.

    Parameters
    ----------
    tensor : Tensor
    names : dict of Tensors, optional
        Names for leaves, or for results in between: ``dict(net.named_parameters())``.

    Returns
    -------
    Graph
        Printed, it is DOT; a notebook shows the picture. ``.dot`` and ``.svg`` are the texts.

    Raises
    ------
    TypeError
        If `tensor` or a named object is no Tensor.
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
    ahead: list[Node | None] = [tensor._node]
    while ahead:
        node = ahead.pop()
        if isinstance(node, Entry) and node not in entries:
            if node.stored is None:
                raise RuntimeError(
                    f"draw_graph: {node.operator.name} was released by backward; draw before it, or call it with "
                    "retain_graph=True"
                )
            entries.add(node)
            ahead.extend(node.edges)
    graph = Graph([], [])
    index: dict[Node, int] = {}

    def add(node: Node) -> None:
        name, operator = known.get(node), node.operator.name if isinstance(node, Entry) else None
        label = " = ".join(filter(None, (name, operator))) or "leaf"
        index[node] = len(graph.nodes)
        graph.nodes.append(GraphNode(label, tuple(node.shape), operator is None))

    for entry in sorted(entries, key=lambda entry: entry.order):
        arguments = [edge for edge in entry.edges if edge is not None]
        for node in [*arguments, entry]:
            if node not in index:
                add(node)
        graph.edges.extend((index[node], index[entry]) for node in arguments)
    if not entries:
        add(tensor._node)
    return graph
