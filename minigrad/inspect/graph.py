"""What the tape recorded: the graph of entries from which a Tensor was computed, drawn.

Next: :mod:`minigrad.train.checkpoint`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Any

from minigrad.autograd.tape import Entry
from minigrad.autograd.tensor import Tensor


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
            if node.stored is None:
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
