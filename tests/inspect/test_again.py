"""Models and graphs of less usual kinds: several results, subclasses, hooks of others, parts released, many columns."""

import itertools
from itertools import combinations
from xml.etree import ElementTree

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.inspect import Graph, GraphNode, draw_graph, statistics, summary
from minigrad.inspect.summary import on_layers


class Gives(nn.Module):
    """A layer that gives anything."""

    def __init__(self, make):
        self.make = make

    def forward(self, x):
        return self.make(x)


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda x: (x, x), ()),
        (lambda x: [x], ()),
        (lambda x: {"a": x}, ()),
        (lambda x: None, ()),
        (lambda x: 2.0, ()),
        (lambda x: x.sum(), ()),
        (lambda x: x.numpy(), (3,)),
        (lambda x: x, (3,)),
    ],
)
def test_for_summary_a_model_only_has_to_run(make, shape):
    """Whatever its layers give; a shape is shown where there is one."""
    rows = summary(nn.Sequential(nn.Linear(3, 3, rng=0), Gives(make)), (3,)).rows
    assert [(row.kind, row.shape, row.macs) for row in rows] == [("Linear", (3,), 9), ("Gives", shape, 0)]


@pytest.mark.parametrize(
    "layer", [nn.Conv2d(4, 6, 3, padding=1, groups=2, rng=0), nn.Linear(4, 6, rng=0), nn.BatchNorm2d(4)]
)
def test_a_subclass_is_counted_as_its_class(layer):
    def counts():
        (row,) = summary(layer, (5, 7, 4)).rows
        return row.parameters, row.macs, row.formula

    expected = counts()
    layer.__class__ = type("Mine", (type(layer),), {})
    assert counts() == expected
    assert summary(layer, (5, 7, 4)).rows[0].kind == "Mine"


class Scaled(nn.Embedding):
    """A class derived from Embedding."""

    def forward(self, indices):
        return super().forward(indices) * 2.0


class Own(Scaled):
    """A class derived from one that is."""


@pytest.mark.parametrize("first", [nn.Embedding, Scaled, Own, nn.Linear, None])
@pytest.mark.parametrize("before", [0, 1, 3])
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_a_model_gets_integers_if_its_first_parameters_are_those_of_an_embedding(first, before, depth):
    """Of a derived class, too, behind layers without parameters, and within other modules."""
    seen = []
    layers = [Gives(lambda x: seen.append(x.dtype) or x), nn.Identity(), nn.Sequential(nn.Dropout(0.5, rng=0))]
    layers = [*layers[:before], *([] if first is None else [first(5, 3, rng=0)]), Gives(lambda x: x)]
    net = nn.Sequential(*layers)
    for _ in range(depth):
        net = nn.Sequential(nn.Identity(), net)
    net.unused = nn.Embedding(4, 2, rng=0) if first is nn.Linear else nn.Identity()
    rows = {row.kind: row.shape for row in summary(net, (5,)).rows}
    assert seen == [np.int64 if first not in (nn.Linear, None) else np.float32] * (before > 0)
    assert first is None or rows[first.__name__] == ((3,) if first is nn.Linear else (5, 3))


class Holds(nn.Module):
    """Holds its layers in a list, a tuple, a dict, or some of these in one another, and maybe a parameter."""

    def __init__(self, parts, layers, own):
        self.parts, self._layers = parts, layers  # not found a second time: a module is yielded once
        if own:
            self.gain = nn.Parameter(np.ones(2, np.float32))

    def forward(self, x):
        for layer in self._layers:
            x = layer(x)
        return x


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize(
    ("hold", "paths"),
    [
        (lambda a, b, c: [a, b, c], "0 1 2"),
        (lambda a, b, c: (a, b, c), "0 1 2"),
        (lambda a, b, c: {"a": a, "b": b, "c": c}, "a b c"),
        (lambda a, b, c: [[a], {"b": [(b,)]}, c], "0.0 1.b.0.0 2"),
        (lambda a, b, c: {"a": a, "rest": [nn.Sequential(b), c]}, "a rest.0.0 rest.1"),
    ],
)
def test_a_module_with_layers_in_lists_is_seen_only_if_it_has_parameters_of_its_own(hold, paths, own):
    layers = [nn.Linear(2, 2, rng=0), nn.ReLU(), nn.Linear(2, 2, rng=1)]
    net = nn.Sequential(Holds(hold(*layers), layers, own))
    expected = [*(f"0.parts.{path}" for path in paths.split()), *(["0"] if own else [])]
    found = summary(net, (2,))
    assert [row.name for row in found.rows] == expected
    assert [row.parameters for row in found.rows] == [6, 0, 6, 2][: len(expected)]
    with statistics(net) as responses:
        net(mg.Tensor([[1.0, 2.0]]))
    assert [response.name for response in responses] == expected


@pytest.mark.parametrize("frozen", list(itertools.product([True, False], repeat=4)))
def test_frozen_parameters_are_counted_like_others(frozen):
    net = nn.Sequential(nn.Conv2d(2, 3, 1, rng=0), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 5, rng=0))
    unused = nn.Linear(2, 2, rng=0)
    net.extra_part, expected = unused, [9, 6, 0, 65, 6]
    for p, is_frozen in zip([net[0].weight, net[1].bias, net[3].weight, unused.bias], frozen, strict=True):
        p.requires_grad = not is_frozen
    assert [row.parameters for row in summary(net, (2, 2, 2)).rows] == expected


@pytest.mark.parametrize("scale", [1e-150, 1e-3, 1.0, 1e140])
@pytest.mark.parametrize("offset", [0.0, 1e8, -1e12])
def test_moments_keep_their_digits_at_any_offset_and_scale(offset, scale):
    """Of offset - 3, -1, 1 and 3 times the scale: of outputs and of gradients alike."""
    x = mg.Tensor((offset + np.array([-3.0, -1, 1, 3])) * scale)
    w = nn.Parameter(np.zeros(4))
    layer = nn.Identity()
    with statistics(layer) as responses:
        (layer(w) * x).sum().backward()
        layer(x)
    for found in (responses[0].gradient, responses[1].output):
        assert found.mean == pytest.approx(offset * scale, rel=1e-12, abs=1e-15 * scale)
        assert found.std == pytest.approx(5**0.5 * scale, rel=1e-3 if offset < -1e11 else 1e-7)
        assert found.norm == pytest.approx((20 + 4 * offset**2) ** 0.5 * scale, rel=1e-12)


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("fails", [False, True])
def test_each_context_ends_its_own_hooks(first, fails):
    """Two contexts, which end in either order, and hooks of others from before, between and within."""
    net, seen = nn.Sequential(nn.ReLU(), nn.ReLU()), []

    def hook(name):
        for layer in net.layers:
            layer.hook(lambda module, out: seen.append(name))

    def note(name, layer, out):
        seen.append("noted")

    contexts = []
    for name, make in (("before", lambda: on_layers(net, note)), ("between", lambda: statistics(net))):
        hook(name)
        contexts.append(make())
    responses = [context.__enter__() for context in contexts][1]
    hook("within")
    net(mg.Tensor([1.0]))
    assert (sorted(set(seen)), seen.count("noted"), len(responses)) == (["before", "between", "noted", "within"], 2, 2)
    error = (ZeroDivisionError, ZeroDivisionError(), None) if fails else (None, None, None)
    for i in (first, 1 - first):
        assert not contexts[i].__exit__(*error)  # an error is not held back
        seen.clear()
        counted = len(responses)
        net(mg.Tensor([1.0]))
        open_ = i == first
        assert seen.count("noted") == 2 * (open_ and first == 1)
        assert len(responses) - counted == 2 * (open_ and first == 0)
        assert [seen.count(name) for name in ("before", "between", "within")] == [2, 2, 2]


def test_a_context_that_is_interrupted_on_entry_leaves_no_hook():
    """The second of three layers cannot be hooked: Ctrl-C, or a class of its own."""

    class Refuses(nn.ReLU):
        def hook(self, f):
            raise KeyboardInterrupt

    net, seen = nn.Sequential(nn.ReLU(), Refuses(), nn.ReLU()), []
    with pytest.raises(KeyboardInterrupt), on_layers(net, lambda *args: seen.append(args)):
        pass
    net(mg.Tensor([1.0]))
    assert seen == []


# draw_graph ----------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2, 5])
@pytest.mark.parametrize("above", [0, 1, 4])
def test_a_graph_of_which_a_part_was_released_is_refused(depth, above):
    """However far above the output the released part is."""
    h = x = mg.Tensor([1.0], requires_grad=True)
    for _ in range(depth):
        h = mg.sqrt(h)
    y, z = h.sum(), h + x
    for _ in range(above):
        z = mg.tanh(z) * 2.0
    assert draw_graph(z).nodes[0].leaf
    y.backward()
    with pytest.raises(RuntimeError, match="draw_graph: sqrt was released by backward"):
        draw_graph(z)
    assert [node.label for node in draw_graph(x * x).nodes] == ["leaf", "mul"]  # what is not above it does not matter


SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("seed", range(8))
def test_boxes_of_a_picture_stand_apart_and_hold_their_texts(seed):
    """In graphs with many columns; each arrow ends on the upper edge of its target's box."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(10, 25))
    nodes = [GraphNode("x" * int(rng.integers(1, 30)), (7,) * int(rng.integers(6)), bool(i % 3)) for i in range(n)]
    edges = [(int(rng.integers(i)), i) for i in range(n // 2, n) for _ in range(rng.integers(3))]
    root = ElementTree.fromstring(Graph(nodes, edges).svg)
    boxes = [[float(box.get(key)) for key in ("x", "y", "width", "height")] for box in root.iter(f"{SVG}rect")]
    texts = [(float(text.get("x")), float(text.get("y")), text.text) for text in root.iter(f"{SVG}text")]
    assert len({x for x, *_ in boxes}) > 4
    for (x, y, w, h), (u, v, width, height) in combinations(boxes, 2):
        assert x + w <= u or u + width <= x or y + h <= v or v + height <= y
    for i, (x, y, w, h) in enumerate(boxes):
        for at, base, text in texts[2 * i : 2 * i + 2]:  # anchored in the middle; a letter takes at most 8 pixels
            assert at == pytest.approx(x + w / 2)
            assert 8 * len(text) <= w
            assert y < base < y + h
    for path, (_, target) in zip(root.findall(f"{SVG}path"), edges, strict=True):
        at, bottom = map(float, path.get("d").split()[-2:])
        x, y, w, _ = boxes[target]
        assert x < at < x + w
        assert bottom == pytest.approx(y)
