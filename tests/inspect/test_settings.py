"""Every setting and every field of what inspects a model, changed once; the numbers are worked out by hand."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import inspect, nn
from minigrad.inspect import Graph, GraphNode, Moments, Response, Row, Summary, draw_graph, statistics, summary
from minigrad.inspect.summary import multiply_adds, on_layers
from tests.tools import settings
from tests.tools.settings import Refused, check, missing


def row(at, value):
    """The cells of a table's row, of which one has another value."""
    cells = ["fc", "Linear", "2 x 3", "4,000", "5", "1 * 5"]
    cells[at] = value
    return cells


def printed(**change):
    """The cells of a table's row, and its sums of parameters and multiply-adds."""
    fields = {"name": "fc", "kind": "Linear", "shape": (2, 3), "parameters": 4000, "macs": 5, "formula": "1 * 5"}
    lines = repr(Summary([Row(**fields | change)])).splitlines()
    return [[cell.strip() for cell in lines[2].split("  ") if cell.strip()], lines[-1].split()[-2:]]


def linear(w):
    layer = nn.Linear(1, 1, rng=0)
    layer.weight.data = np.array(w, np.float32)
    layer.bias.data = np.zeros(layer.weight.shape[1], np.float32)
    return layer


def counted(model, input_shape=(2, 3, 4)):
    """Name, kind, shape, parameters, multiply-adds and formula of each layer, and the sums."""
    found = summary(model, input_shape)
    return [[tuple(vars(row).values()) for row in found.rows], found.parameters, found.macs]


def noted(model, note=None):
    """What is called after each layer, within the context."""
    seen = []
    with on_layers(model, note(seen) if note else lambda name, layer, out: seen.append((name, type(layer).__name__))):
        model(mg.Tensor([[1.0]]))
    model(mg.Tensor([[1.0]]))
    return seen


def moments(model):
    with statistics(model) as responses:
        model(mg.Tensor([[3.0]])).sum().backward()
    return [[r.name, r.kind, list(r.output), list(r.gradient)] for r in responses]


def arrows(edges):
    lines = Graph([GraphNode(name, (), False) for name in "abc"], edges).dot.splitlines()
    return [line.strip() for line in lines if "->" in line]


def box(**change):
    fields = {"label": "mul", "shape": (2,), "leaf": False}
    return Graph([GraphNode(**fields | change)], []).dot.splitlines()[2].strip()


def square(**names):
    """The labels of a graph of (w * w).sum()."""
    w = mg.Tensor([2.0], requires_grad=True)
    y = w * w
    given = {"names": names["names"](w, y)} if names.get("names") else names
    return [node.label for node in draw_graph(y.sum(), **given).nodes]


def response(**change):
    fields = {"name": "fc", "kind": "Linear", "output": Moments(1.0, 2.0, 3.0)}
    found = Response(**fields | change)
    return [found.name, found.kind, found.output, found.gradient]


W = mg.Tensor([1.0, 2.0], requires_grad=True)
OUT = mg.Tensor(np.zeros((1, 5, 7, 6)))
CONV = nn.Conv2d(4, 6, (3, 2), groups=2, rng=0)  # w has the shape (3, 2, 2, 6)
ROWS = {
    "Row.name": settings.Row(printed, ("fc", [row(0, "fc"), ["4,000", "5"]]), ("a.b", [row(0, "a.b"), ["4,000", "5"]])),
    "Row.kind": settings.Row(
        printed, ("Linear", [row(1, "Linear"), ["4,000", "5"]]), ("Mine", [row(1, "Mine"), ["4,000", "5"]])
    ),
    "Row.shape": settings.Row(
        printed, ((2, 3), [row(2, "2 x 3"), ["4,000", "5"]]), ((7,), [row(2, "7"), ["4,000", "5"]])
    ),
    "Row.parameters": settings.Row(
        printed, (4000, [row(3, "4,000"), ["4,000", "5"]]), (12, [row(3, "12"), ["12", "5"]])
    ),
    "Row.macs": settings.Row(
        printed, (5, [row(4, "5"), ["4,000", "5"]]), (1234, [row(4, "1,234"), ["4,000", "1,234"]])
    ),
    "Row.formula": settings.Row(
        printed,
        ("1 * 5", [row(5, "1 * 5"), ["4,000", "5"]]),
        ("1024*1024 * 11*11*4096 * 16384", [row(5, "1024*1024 * 11*11*4096 * 16384"), ["4,000", "5"]]),
    ),
    "Summary.rows": settings.Row(
        lambda rows: [Summary(rows).parameters, Summary(rows).macs],
        ([Row("a", "A", (), 1, 20, "")], [1, 20]),
        ([Row("a", "A", (), 1, 20, ""), Row("b", "A", (), 3, 4, "")], [4, 24]),
        ([], [0, 0]),
    ),
    # 2x3 images of 4 channels
    "summary.model": settings.Row(
        counted,
        (nn.Conv2d(4, 5, 1, rng=0), [[("", "Conv2d", (2, 3, 5), 25, 120, "2*3 * 1*1*4 * 5")], 25, 120]),
        (
            nn.Sequential(nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(24, 2, bias=False, rng=0)),
            [
                [
                    ("0", "BatchNorm2d", (2, 3, 4), 8, 0, ""),
                    ("1", "Flatten", (24,), 0, 0, ""),
                    ("2", "Linear", (2,), 48, 48, "24 * 2"),
                ],
                56,
                48,
            ],
        ),
        (None, Refused(TypeError, "summary: expected model to be a Module")),
    ),
    "summary.input_shape": settings.Row(
        lambda input_shape: counted(nn.Conv2d(4, 5, 1, rng=0), input_shape)[1:],
        ((2, 3, 4), [25, 2 * 3 * 20]),
        ((5, 7, 4), [25, 5 * 7 * 20]),
        ((0, 7, 4), Refused(ValueError, "summary: expected input_shape")),
    ),
    "multiply_adds.layer": settings.Row(
        lambda layer: multiply_adds(layer, OUT),
        (CONV, (5 * 7 * 12 * 6, "5*7 * 3*2*2 * 6")),
        (nn.Linear(3, 6, rng=0), (5 * 7 * 3 * 6, "5*7 * 3 * 6")),
        (nn.BatchNorm2d(6), (0, "")),
        (nn.ReLU(), (0, "")),
    ),
    "multiply_adds.out": settings.Row(
        lambda out: multiply_adds(CONV, out),
        (OUT, (5 * 7 * 12 * 6, "5*7 * 3*2*2 * 6")),
        (mg.Tensor(np.zeros((1, 1, 1, 6))), (72, "3*2*2 * 6")),
        (mg.Tensor(np.zeros((4, 1, 1, 6))), (4 * 72, "4 * 3*2*2 * 6")),  # patches of one image
    ),
    "on_layers.model": settings.Row(
        noted,
        (nn.ReLU(), [("", "ReLU")]),
        (nn.Sequential(nn.ReLU(), nn.Sequential(linear([[1.0]]))), [("0", "ReLU"), ("1.0", "Linear")]),
    ),
    "on_layers.note": settings.Row(
        lambda note: noted(linear([[4.0]]), note),
        (lambda seen: lambda name, layer, out: seen.append(out.item()), [4.0]),
        (lambda seen: lambda name, layer, out: seen.append(repr(layer)), ["Linear(1, 1)"]),
    ),
    # 3 times (4, 2) is (12, 6): mean 9, standard deviation 3, norm sqrt(180); gradients of 1
    "statistics.model": settings.Row(
        moments,
        (linear([[4.0, 2.0]]), [["", "Linear", [9.0, 3.0, 180**0.5], [1.0, 0.0, 2**0.5]]]),
        (
            nn.Sequential(linear([[4.0]]), linear([[-5.0]])),
            [
                ["0", "Linear", [12.0, 0.0, 12.0], [-5.0, 0.0, 5.0]],
                ["1", "Linear", [-60.0, 0.0, 60.0], [1.0, 0.0, 1.0]],
            ],
        ),
        (None, Refused(TypeError, "statistics: expected model to be a Module")),
    ),
    "Response.name": settings.Row(
        response, ("fc", ["fc", "Linear", (1.0, 2.0, 3.0), None]), ("a", ["a", "Linear", (1.0, 2.0, 3.0), None])
    ),
    "Response.kind": settings.Row(
        response, ("Linear", ["fc", "Linear", (1.0, 2.0, 3.0), None]), ("A", ["fc", "A", (1.0, 2.0, 3.0), None])
    ),
    "Response.output": settings.Row(
        response,
        (Moments(1.0, 2.0, 3.0), ["fc", "Linear", (1.0, 2.0, 3.0), None]),
        (Moments(mean=3.0, std=4.0, norm=5.0), ["fc", "Linear", (3.0, 4.0, 5.0), None]),
    ),
    "Response.gradient": settings.Row(
        response,
        (None, ["fc", "Linear", (1.0, 2.0, 3.0), None]),
        (Moments(0.0, 1.0, 2.0), ["fc", "Linear", (1.0, 2.0, 3.0), (0.0, 1.0, 2.0)]),
    ),
    "Graph.nodes": settings.Row(
        lambda nodes: Graph(nodes, []).layout()[0],
        ([GraphNode("a", (), True)], [(0, 0)]),
        ([GraphNode("a", (), True)] * 2, [(0, 0), (1, 0)]),
    ),
    "Graph.edges": settings.Row(
        arrows, ([(0, 1), (1, 2)], ["0 -> 1", "1 -> 2"]), ([(0, 2), (0, 2)], ["0 -> 2", "0 -> 2"])
    ),
    "GraphNode.label": settings.Row(box, ("mul", r'0 [label="mul\n(2,)"]'), ('a"b', r'0 [label="a\"b\n(2,)"]')),
    "GraphNode.shape": settings.Row(box, ((2,), r'0 [label="mul\n(2,)"]'), ((3, 4), r'0 [label="mul\n(3, 4)"]')),
    "GraphNode.leaf": settings.Row(
        box, (False, r'0 [label="mul\n(2,)"]'), (True, r'0 [label="mul\n(2,)", style=filled]')
    ),
    "draw_graph.tensor": settings.Row(
        lambda tensor: draw_graph(tensor).dot.splitlines()[2].strip(),
        (W, r'0 [label="leaf\n(2,)", style=filled]'),
        (mg.Tensor(3.0, requires_grad=True), r'0 [label="leaf\n()", style=filled]'),
        (mg.Tensor(3.0), Refused(RuntimeError, "nothing was recorded")),
    ),
    "draw_graph.names": settings.Row(
        square,
        (None, ["leaf", "mul", "sum"]),
        (lambda w, y: {"w": w}, ["w", "mul", "sum"]),
        (lambda w, y: {"w": w, "y": y}, ["w", "y = mul", "sum"]),
    ),
} | {
    f"Moments.{name}": settings.Row(
        lambda i=i, name=name, **s: repr(Moments(**{"mean": 1.0, "std": 2.0, "norm": 3.0} | s)).split(", ")[i],
        (float(i + 1), f"{'Moments(' * (not i)}{name}={i + 1}.0{')' * (i == 2)}"),
        (7.5, f"{'Moments(' * (not i)}{name}=7.5{')' * (i == 2)}"),
    )
    for i, name in enumerate(("mean", "std", "norm"))
}


def test_every_setting_has_a_row():
    assert missing(inspect, ROWS) == []


@pytest.mark.parametrize("name", ROWS)
def test_a_setting_has_its_effect(name):
    check(inspect, name, ROWS[name])


def test_moments_are_those_of_all_numbers_of_a_large_map():
    """The last of 300,000 numbers is another: 1 of 3 * 10**5 raises the mean by 1, and the norm to 300,000."""
    x = np.zeros((1, 300, 1000, 1), np.float32)
    x[0, -1, -1, 0] = 3e5
    model = nn.ReLU()
    with statistics(model) as responses:
        model(mg.Tensor(x))
    (response_,) = responses
    assert response_.output.mean == pytest.approx(1.0)
    assert response_.output.norm == pytest.approx(3e5)


def test_a_column_is_as_wide_as_its_widest_box():
    """28 pixels and 8 for each letter; 12 lie between two columns."""
    for labels in (("a" * 20, "b" * 5, "c"), ("a", "b" * 20, "c" * 5), ("a", "b" * 5, "c" * 20)):
        svg = Graph([GraphNode(label, (), False) for label in labels], [(0, 1), (1, 2)]).svg
        assert [line.split('width="')[1].split('"')[0] for line in svg.splitlines() if "<rect" in line] == ["176"] * 3
