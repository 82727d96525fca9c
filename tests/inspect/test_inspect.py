"""summary: every row of the paper's tables, counted twice, from the net and by hand; statistics; graphs."""

from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
import models
from minigrad import nn
from minigrad.inspect import Graph, GraphNode, draw_graph, statistics, summary
from tests.tools.strict import strict

IMAGENET, CIFAR = (224, 224, 3), (32, 32, 3)


pytestmark = pytest.mark.usefixtures("no_draws")  # counting needs no weights


# By hand -----------------------------------------------------------------------------------------
#
# In multiples of one 3x3 layer, which rule (ii) makes equal for all maps; one that halves the maps has half the inputs.


def cifar_by_hand(n, shortcut="A"):
    """Return parameters and multiply-adds of a CIFAR net of 6n + 2 layers."""
    w = np.array([16, 32, 64])
    halving = 9 * (16 * 32 + 32 * 64)
    parameters = 27 * 16 + 9 * (w * w).sum() * 2 * n - 9 * (32 * 32 + 64 * 64) + halving  # convolutions
    parameters += 2 * 16 + 2 * w.sum() * 2 * n + 64 * 10 + 10  # batch norm, fc
    layer = 32 * 32 * 9 * 16 * 16
    macs = 32 * 32 * 27 * 16 + (6 * n - 2) * layer + 2 * layer // 2 + 64 * 10
    if shortcut != "A":  # where the maps are halved, 1 / 9 of a halving layer
        parameters += halving // 9 + 2 * (32 + 64)
        macs += 2 * layer // 18
    if shortcut == "C":  # everywhere else, 1 / 9 of a layer
        parameters += (w * w).sum() * n - 32 * 32 - 64 * 64 + 2 * w.sum() * n - 2 * (32 + 64)
        macs += (3 * n - 2) * layer // 9
    return parameters, macs


def basic_by_hand(blocks, shortcut):
    """Return parameters and multiply-adds of a plain net, or a residual net of basic blocks, for ImageNet."""
    n, w = np.array(blocks), np.array([64, 128, 256, 512])
    halving = 9 * (w[:-1] * w[1:]).sum()
    parameters = 147 * 64 + 9 * (w * w * 2 * n).sum() - 9 * (w[1:] ** 2).sum() + halving
    parameters += 2 * 64 + (2 * w * 2 * n).sum() + 512 * 1000 + 1000
    layer = 56 * 56 * 9 * 64 * 64
    macs = 112 * 112 * 147 * 64 + (2 * n.sum() - 3) * layer + 3 * layer // 2 + 512 * 1000
    if shortcut != "A":
        parameters += halving // 9 + 2 * w[1:].sum()
        macs += 3 * layer // 18
    if shortcut == "C":
        parameters += (w * w * n).sum() - (w[1:] ** 2).sum() + (2 * w * n).sum() - 2 * w[1:].sum()
        macs += (n.sum() - 3) * layer // 9
    return parameters, macs


def bottleneck_by_hand(blocks, stride_in, shortcut="B"):
    """Return parameters and multiply-adds of a residual net of bottlenecks."""
    n, m = np.array(blocks), np.array([64, 128, 256, 512])  # filters in the middle; 4 m come out
    before = np.array([64, 256, 512, 1024])  # channels that enter each stage
    parameters = 147 * 64 + 2 * 64 + ((4 + 9 + 4) * m * m * n + 12 * m * n).sum() + 2048 * 1000 + 1000
    parameters += (before * m - 4 * m * m).sum()  # the first 1x1 of a stage
    up = 56 * 56 * 64 * 256  # the last 1x1, and the first where it stays in its stage; a 3x3 is 9 / 4 of it
    first = 2.25 * up + up + np.array([0.25, 0.5, 0.5, 0.5] if stride_in == "1x1" else [0.25, 2, 2, 2]) * up
    macs = 112 * 112 * 147 * 64 + (n.sum() - 4) * 4.25 * up + first.sum() + 2048 * 1000
    if shortcut != "A":
        parameters += (before * 4 * m + 2 * 4 * m).sum()
        macs += up + 3 * 2 * up
    if shortcut == "C":
        parameters += ((n - 1) * ((4 * m) ** 2 + 2 * 4 * m)).sum()
        macs += (n.sum() - 4) * 4 * up
    return parameters, int(macs)


def vgg_by_hand(convolutions, batch_norm):
    """Return parameters and multiply-adds of a VGG net."""
    filters = {"a": 64, "b": 128, "c": 256, "d": 512, "e": 512}
    chain = [3] + [filters[stage] for stage in convolutions]
    pairs = list(pairwise(chain))
    parameters = sum(9 * i * o + o + (2 * o if batch_norm else 0) for i, o in pairs)
    macs = sum((224 >> "abcde".index(s)) ** 2 * 9 * i * o for s, (i, o) in zip(convolutions, pairs, strict=True))
    full = [7 * 7 * 512 * 4096, 4096 * 4096, 4096 * 1000]
    return parameters + sum(full) + 4096 + 4096 + 1000, macs + sum(full), macs


# The tables --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("depth", "parameters", "mega"),
    [
        (20, 269_722, "40.55"),
        (32, 464_154, "68.86"),
        (44, 658_586, "97.17"),
        (56, 853_018, "125.49"),
        (110, 1_727_962, "252.89"),
        pytest.param(1202, 19_421_274, "2829.2", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("make", [models.cifar_plain, models.cifar_resnet, models.cifar_preact_resnet])
def test_cifar_nets_have_the_parameters_and_macs_of_the_paper(make, depth, parameters, mega):
    net = summary(make(depth), CIFAR)
    assert (net.parameters, net.macs) == cifar_by_hand((depth - 2) // 6)
    assert (net.parameters, f"{net.macs / 1e6:.{len(mega.split('.')[1])}f}") == (parameters, mega)


@pytest.mark.parametrize("shortcut", ["B", "C"])
def test_projections_of_cifar_nets_are_counted(shortcut):
    for depth in (8, 20, 56):
        net = summary(models.cifar_resnet(depth, shortcut), CIFAR)
        assert (net.parameters, net.macs) == cifar_by_hand((depth - 2) // 6, shortcut)
    if shortcut == "B":
        assert summary(models.cifar_resnet(20, "B"), CIFAR).parameters == 272_474 == 269_722 + 2_752


@pytest.mark.parametrize(
    ("name", "blocks", "shortcut", "parameters", "giga"),
    [
        ("plain18", (2, 2, 2, 2), None, 11_515_688, "1.795"),
        ("resnet18", (2, 2, 2, 2), "A", 11_515_688, "1.795"),
        ("resnet18", (2, 2, 2, 2), "B", 11_689_512, "1.814"),
        ("resnet18", (2, 2, 2, 2), "C", None, None),
        ("plain34", (3, 4, 6, 3), None, 21_623_848, "3.644"),
        ("resnet34", (3, 4, 6, 3), "A", 21_623_848, "3.644"),
        ("resnet34", (3, 4, 6, 3), "B", 21_797_672, "3.664"),
        ("resnet34", (3, 4, 6, 3), "C", 22_716_840, "3.831"),
    ],
)
def test_imagenet_nets_of_basic_blocks_have_the_macs_of_the_paper(name, blocks, shortcut, parameters, giga):
    net = summary(getattr(models, name)(**{"shortcut": shortcut} if shortcut else {}), IMAGENET)
    assert (net.parameters, net.macs) == basic_by_hand(blocks, shortcut or "A")
    if giga:
        assert (net.parameters, f"{net.macs / 1e9:.3f}") == (parameters, giga)


@pytest.mark.parametrize(
    ("name", "blocks", "parameters", "giga"),
    [
        ("resnet50", (3, 4, 6, 3), 25_557_032, {"1x1": "3.858", "3x3": "4.089"}),
        pytest.param("resnet101", (3, 4, 23, 3), 44_549_160, {"1x1": "7.570", "3x3": "7.801"}, marks=pytest.mark.slow),
        pytest.param(
            "resnet152", (3, 8, 36, 3), 60_192_808, {"1x1": "11.282", "3x3": "11.514"}, marks=pytest.mark.slow
        ),
    ],
)
@pytest.mark.parametrize("stride_in", ["1x1", "3x3"])
def test_imagenet_nets_of_bottlenecks_have_the_macs_of_the_paper(name, blocks, parameters, giga, stride_in):
    net = summary(getattr(models, name)(stride_in=stride_in), IMAGENET)
    assert (net.parameters, net.macs) == bottleneck_by_hand(blocks, stride_in)
    assert (net.parameters, f"{net.macs / 1e9:.3f}") == (parameters, giga[stride_in])


@pytest.mark.parametrize("stride_in", ["1x1", "3x3"])
@pytest.mark.parametrize("shortcut", ["A", "C"])
def test_other_shortcuts_of_bottlenecks_are_counted(shortcut, stride_in):
    net = summary(models.resnet50(shortcut=shortcut, stride_in=stride_in), IMAGENET)
    assert (net.parameters, net.macs) == bottleneck_by_hand((3, 4, 6, 3), stride_in, shortcut)


@pytest.mark.parametrize(
    ("make", "convolutions", "parameters", "giga", "giga_of_convolutions"),
    [
        (models.vgg11, "abccddee", None, None, None),
        (models.vgg13, "aabbccddee", None, None, None),
        (models.vgg16, "aabbcccdddeee", 138_357_544, "15.470", "15.347"),
        (models.vgg19, "aabbccccddddeeee", 143_667_240, "19.632", None),
    ],
)
@pytest.mark.parametrize("batch_norm", [False, True])
def test_vgg_nets_have_the_parameters_and_macs_of_the_paper(
    make, convolutions, parameters, giga, giga_of_convolutions, batch_norm
):
    net = summary(make(batch_norm), IMAGENET)
    of_convolutions = sum(row.macs for row in net.rows if row.kind == "Conv2d")
    assert (net.parameters, net.macs, of_convolutions) == vgg_by_hand(convolutions, batch_norm)
    assert len([row for row in net.rows if row.kind in ("Conv2d", "Linear")]) == int(make.__name__[3:])
    if giga:
        assert f"{net.macs / 1e9:.3f}" == giga
        assert batch_norm or net.parameters == parameters
    if giga_of_convolutions:
        assert f"{of_convolutions / 1e9:.3f}" == giga_of_convolutions


# Rules of section 3.3, sizes of Table 1 ----------------------------------------------------------


@pytest.mark.parametrize(
    ("net", "shape", "halving"),
    [
        (lambda: models.cifar_plain(20), CIFAR, 2),
        (lambda: models.cifar_resnet(20, "B"), CIFAR, 2),
        (models.plain34, IMAGENET, 3),
        (models.resnet34, IMAGENET, 3),
        (models.resnet50, IMAGENET, 0),  # the 3x3 of a bottleneck has as many inputs as outputs in every block
        (lambda: models.resnet50(stride_in="3x3"), IMAGENET, 0),
    ],
)
def test_every_3x3_layer_costs_the_same(net, shape, halving):
    """Rule (ii): halve the maps, double the filters. The layers that do so have half the inputs, and half the cost."""
    macs = [row.macs for row in summary(net(), shape).rows if "* 3*3*" in row.formula and row.name != "conv1"]
    cost = max(macs)
    assert macs.count(cost // 2) == halving
    assert macs.count(cost) == len(macs) - halving


@pytest.mark.parametrize("make", [models.plain18, models.resnet18, models.resnet50])
@pytest.mark.parametrize("settings", [{}, {"stride_in": "3x3", "shortcut": "A"}])
def test_output_sizes_are_those_of_table_1(make, settings):
    if make is models.plain18:
        settings = {}
    rows = summary(make(**settings), IMAGENET).rows
    filters = [256, 512, 1024, 2048] if make is models.resnet50 else [64, 128, 256, 512]
    assert [row.shape for row in rows if "layer" not in row.name][:4] == [(112, 112, 64)] * 3 + [(56, 56, 64)]
    for stage in range(4):
        size = 56 >> stage
        shapes = [row.shape for row in rows if row.name.startswith(f"layer{stage + 1}.")]
        assert shapes[-1] == (size, size, filters[stage])
        early = [shape for shape in shapes if shape[0] != size]  # "v1.5": the 1x1 before the strided 3x3
        assert len(early) == (3 if make is models.resnet50 and settings and stage else 0)
        assert set(early) <= {(2 * size, 2 * size, filters[stage] // 4)}
    assert [row.shape for row in rows[-2:]] == [(filters[-1],), (1000,)]


# The function itself -----------------------------------------------------------------------------


def test_formulas_evaluate_to_the_macs():
    for net, shape in [
        (models.resnet50(stride_in="3x3"), IMAGENET),
        (models.vgg11(image_size=32), CIFAR),
        (nn.Sequential(nn.Conv2d(4, 6, (1, 3), groups=2, rng=0), nn.Linear(6, 5, rng=0)), (2, 8, 4)),
    ]:
        rows = [row for row in summary(net, shape).rows if row.kind in ("Conv2d", "Linear")]
        assert rows
        for row in rows:
            assert eval(row.formula) == row.macs > 0
    assert [row.formula for row in rows] == ["2*6 * 1*3*2 * 6", "2*6 * 6 * 5"]


def test_the_printed_table():
    net = nn.Sequential(nn.Conv2d(3, 8, 3, rng=0), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(288, 10, rng=0))
    assert str(summary(net, (8, 8, 3))).splitlines() == [
        "layer  kind         output     parameters  multiply-adds",
        "-------------------------------------------------------------------------",
        "0      Conv2d       6 x 6 x 8         224          7,776  6*6 * 3*3*3 * 8",
        "1      BatchNorm2d  6 x 6 x 8          16              0",
        "2      Flatten      288                 0              0",
        "3      Linear       10              2,890          2,880  288 * 10",
        "-------------------------------------------------------------------------",
        "total                               3,130         10,656",
    ]


def test_shared_parameters_count_once_and_repeated_calls_cost_twice():
    layer = nn.Linear(4, 4, rng=0)
    net = summary(nn.Sequential(layer, nn.ReLU(), layer), (4,))
    assert [(row.parameters, row.macs) for row in net.rows] == [(20, 16), (0, 0), (0, 16)]
    assert {row.name for row in net.rows} == {"0", "1"}
    tied = nn.Sequential(nn.Linear(4, 4, rng=0), nn.Linear(4, 4, rng=1))
    tied.layers[1].weight = tied.layers[0].weight
    assert [row.parameters for row in summary(tied, (4,)).rows] == [20, 4]
    assert summary(tied, (4,)).parameters == sum(p.size for p in tied.parameters()) == 24


class Own(nn.Module):
    """Parameters of its own, beside a part, a part that is never called, and one in a list."""

    def __init__(self):
        self.gain = nn.Parameter(np.ones(4, "float32"))
        self.steps = [nn.Parameter(np.ones(4, "float32")), nn.Parameter(np.ones((4, 4), "float32"))]
        self.part = nn.Linear(4, 4, rng=0)
        self.unused = nn.Sequential(nn.Linear(4, 2, rng=0), nn.ReLU())

    def forward(self, x):
        return mg.matmul(self.part(x) * self.gain + self.steps[0], self.steps[1])


def test_modules_of_your_own_are_listed_and_not_counted():
    net = Own()
    rows = {row.name: row for row in summary(net, (4,)).rows}
    assert list(rows) == ["part", "", "unused.0"]
    assert (rows["part"].parameters, rows["part"].macs) == (20, 16)
    assert (rows[""].kind, rows[""].parameters, rows[""].macs, rows[""].formula) == ("Own", 24, 0, "not counted")
    assert (rows["unused.0"].parameters, rows["unused.0"].formula) == (10, "not called")
    assert summary(net, (4,)).parameters == sum(p.size for p in net.parameters()) == 54
    assert summary(nn.Linear(4, 2, rng=0), (4,)).rows[0].name == ""


class Breaks(nn.Module):
    """A layer that fails."""

    def forward(self, x):
        raise RuntimeError("broken")


def test_the_model_is_left_as_it_was_even_when_it_fails():
    net = nn.Sequential(nn.Conv2d(3, 4, 3, rng=0), nn.BatchNorm2d(4), nn.Dropout(rng=0))
    net.layers[1].eval()
    broken = nn.Sequential(*net.layers, Breaks())
    net.layers[1].running_mean.data += 1
    state, draws = net.state_dict(), net.layers[2].rng.bit_generator.state
    mine = []
    net.layers[0].hook(lambda module, out: mine.append(out.requires_grad))
    summary(net, (8, 8, 3))
    with pytest.raises(RuntimeError, match="broken"):
        summary(broken, (8, 8, 3))
    assert [module.training for _, module in broken.named_modules()] == [True, True, False, True, True]
    assert all(not f for layer in broken.layers[1:] for f in [vars(layer).get("_hooks")])
    assert len(vars(net.layers[0])["_hooks"]) == 1  # mine is still there
    assert mine == [False, False]  # nothing was recorded
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, state[name])
    assert net.layers[2].rng.bit_generator.state == draws


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_image_has_the_dtype_and_array_type_of_the_model(dtype):
    net = nn.Sequential(nn.Conv2d(3, 4, 3, rng=0, dtype=dtype), nn.GlobalAvgPool2d())
    assert summary(net, (8, 8, 3)).macs == 36 * 27 * 4
    for p in net.parameters():
        p.data = strict.asarray(p.data)
    assert summary(net, (8, 8, 3)).macs == 36 * 27 * 4
    assert summary(nn.MaxPool2d(2), (8, 6, 3)).rows[0].shape == (4, 3, 3)


def test_wrong_arguments_are_refused():
    with pytest.raises(TypeError, match="summary: expected model to be a Module, got function"):
        summary(mg.relu, (3,))
    for shape in [(0, 3), (2.0, 3), (None, 3)]:
        with pytest.raises(ValueError, match=r"summary: expected input_shape to be the sizes of one image"):
            summary(nn.ReLU(), shape)
    with pytest.raises(ValueError, match="conv2d: "):
        summary(nn.Conv2d(3, 4, 3, rng=0), (3, 32, 32))


# statistics --------------------------------------------------------------------------------------


def small_net():
    """Two layers with weights that are no zeros, in float64."""
    rng = np.random.default_rng(0)
    net = nn.Sequential(nn.Linear(3, 4, rng=0, dtype="float64"), nn.ReLU(), nn.Linear(4, 2, rng=0, dtype="float64"))
    for p in net.parameters():
        p.data = rng.standard_normal(p.shape)
    return net


def moments(array):
    return array.mean(), array.std(), np.linalg.norm(array)


@pytest.mark.parametrize("evaluated", [[], [0], [1, 2], [0, 1, 2], [0, 1, 2, 3]])
def test_statistics_are_those_of_outputs_and_gradients(evaluated):
    """In training and in evaluation mode, of the net and of each layer."""
    net, x = small_net(), np.random.default_rng(1).standard_normal((5, 3))
    for i in evaluated:
        [*net.layers, net][i].training = False
    outputs = []
    for layer in net.layers:
        layer.hook(lambda module, out: outputs.append(out))
    with statistics(net) as responses:
        y = net(mg.Tensor(x))
        assert [r.gradient for r in responses] == [None, None, None]
    cotangent = np.random.default_rng(2).standard_normal((5, 2))
    gradients = mg.grad(y, outputs, cotangent, retain_graph=True)
    for r in responses:
        r.gradient = None
    y.backward(cotangent)  # after the context: the layers' outputs remember
    assert [(r.name, r.kind) for r in responses] == [
        ("0", "Linear"),
        ("1", "ReLU"),
        ("2", "Linear"),
    ]
    for response, out, gradient in zip(responses, outputs, gradients, strict=True):
        np.testing.assert_allclose(response.output, moments(out.data), rtol=1e-12)
        np.testing.assert_allclose(response.gradient, moments(gradient.data), rtol=1e-12)
        assert all(type(value) is float for value in (*response.output, *response.gradient))


def test_statistics_end_with_their_context_also_when_the_model_fails():
    net = nn.Sequential(*small_net().layers, Breaks())
    mine = []
    net.layers[0].hook(lambda module, out: mine.append(out))
    with pytest.raises(RuntimeError, match="broken"), statistics(net) as responses:
        net(mg.Tensor(np.ones((2, 3))))
    assert len(responses) == 3
    net.layers[0](mg.Tensor(np.ones((2, 3))))
    assert (len(responses), len(mine)) == (3, 2)
    with pytest.raises(TypeError, match="statistics: expected model to be a Module, got function"), statistics(mg.relu):
        pass


def test_statistics_count_calls_and_keep_the_gradient_of_each():
    layer = small_net().layers[1]
    net = nn.Sequential(layer, layer)
    x = mg.Tensor(np.array([1.0, -1.0, 2.0]), requires_grad=True)
    with statistics(net) as responses:
        (net(x) * np.array([1.0, 2.0, 3.0])).sum().backward()
    assert [r.name for r in responses] == ["0", "0"]
    np.testing.assert_allclose(responses[1].gradient, moments(np.array([1.0, 2.0, 3.0])))
    np.testing.assert_allclose(responses[0].gradient, moments(np.array([1.0, 0.0, 3.0])))


def test_statistics_do_not_overflow_and_see_nothing_twice():
    net = nn.Sequential(nn.ReLU())
    with statistics(net) as responses, mg.no_grad():
        net(mg.Tensor(np.full(4, 1e30, "float32")))
        net(np.ones(2))
        net(strict.asarray(np.ones(2)))
    assert responses[0].output.norm == pytest.approx(2e30)
    assert [r.gradient for r in responses] == [None] * 3
    net = small_net()
    with statistics(net) as responses:
        mg.recompute(net, mg.Tensor(np.ones((2, 3)))).sum().backward()
    assert len(responses) == 3
    assert all(r.gradient.norm > 0 for r in responses)


class Pair(nn.Module):
    """Two results."""

    def forward(self, x):
        return x, x


def test_outputs_that_are_no_arrays_have_no_statistics():
    with statistics(Pair()) as responses:
        Pair()(mg.Tensor([1.0]))
    net = nn.Sequential(nn.ReLU(), Pair())
    with statistics(net) as responses:
        net(mg.Tensor([1.0]))
    assert [r.kind for r in responses] == ["ReLU"]


# draw_graph --------------------------------------------------------------------------------------


def diamond():
    """h reaches y on two paths; x enters one operator twice."""
    x, w = mg.Tensor([1.0, 2.0], requires_grad=True), mg.Tensor(3.0, requires_grad=True)
    h = w * x
    y = (h * mg.tanh(h)).sum() + 1.0 * (x * x)
    return y, {"x": x, "w": w, "h": h}


def test_the_graph_of_a_diamond():
    y, names = diamond()
    graph = draw_graph(y, names)
    assert [(node.label, node.shape, node.leaf) for node in graph.nodes] == [
        ("w", (), True),
        ("x", (2,), True),
        ("h = mul", (2,), False),
        ("tanh", (2,), False),
        ("mul", (2,), False),
        ("sum", (), False),
        ("mul", (2,), False),
        ("mul", (2,), False),
        ("add", (2,), False),
    ]
    assert graph.edges == [(0, 2), (1, 2), (2, 3), (2, 4), (3, 4), (4, 5), (1, 6), (1, 6), (6, 7), (5, 8), (7, 8)]
    assert [node.label for node in draw_graph(y).nodes if node.leaf] == ["leaf", "leaf"]
    y.backward(np.ones(2, "float32"))  # the drawing left the tape as it was
    assert names["x"].grad is not None


def check_layout(graph):
    """Nothing stands on anything else, and every edge runs down, row by row, from its source to its target."""
    places, routes = graph.layout()
    assert len(set(places)) == len(places) == len(graph.nodes)
    bends = [place for route in routes for place in route[1:-1]]
    assert len(set(bends)) == len(bends)
    assert not set(bends) & set(places)
    assert all(column >= 0 and row >= 0 for column, row in places + bends)
    for (source, target), route in zip(graph.edges, routes, strict=True):
        assert (route[0], route[-1]) == (places[source], places[target])
        assert [row for _, row in route] == list(range(places[source][1], places[target][1] + 1))
    takers = {source: [places[t][1] for s, t in graph.edges if s == source] for source, _ in graph.edges}
    assert all(places[source][1] == min(rows) - 1 for source, rows in takers.items())  # as low as it can stand
    return places


@given(st.lists(st.lists(st.integers(0, 1000), max_size=3), min_size=1, max_size=12))
def test_layouts_of_random_graphs(arguments):
    """Node i takes the nodes before it that are drawn for it; the last one takes all that nobody took."""
    edges = [(a % i, i) for i, drawn in enumerate(arguments) if i for a in drawn]
    last = len(arguments)
    edges += [(i, last) for i in range(last) if i not in {source for source, _ in edges}]
    places = check_layout(Graph([GraphNode("op", (), False)] * (last + 1), edges))
    assert places[last][1] == max(row for _, row in places)


@pytest.mark.parametrize("make", [models.cifar_plain, models.cifar_resnet])
def test_the_layers_of_a_net_stand_in_one_column(make):
    net = make(20, in_channels=1)
    loss = mg.cross_entropy(net(mg.Tensor(np.zeros((1, 8, 8, 1), "float32"))), np.array([0]))
    graph = draw_graph(loss, dict(net.named_parameters()))
    assert {node.label for node in graph.nodes if node.leaf} == {name for name, _ in net.named_parameters()}
    places = check_layout(graph)
    chain = [p for node, p in zip(graph.nodes, places, strict=True) if node.label in ("conv2d", "batch_norm", "relu")]
    assert {column for column, _ in chain} == {0}  # the layers stand straight above one another


SVG = "{http://www.w3.org/2000/svg}"


def test_the_picture_holds_what_the_graph_holds():
    y, names = diamond()
    graph = draw_graph(y, {'<x> & "w"': names["x"]})
    root = ElementTree.fromstring(graph.svg)
    assert graph._repr_svg_() == graph.svg
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert texts == [text for node in graph.nodes for text in (node.label, str(node.shape))]
    assert '<x> & "w"' in texts
    lines = [line.get("d") for line in root.findall(f"{SVG}path")]
    assert len(lines) == len(graph.edges)
    ends = [line.split()[-2:] for line in lines]
    assert len({tuple(end) for end in ends}) == len(ends)  # no arrow hides another, not even those of x * x
    boxes = [[float(box.get(key)) for key in ("x", "y", "width", "height")] for box in root.iter(f"{SVG}rect")]
    assert len(boxes) == len(graph.nodes)
    for x, y, width, height in boxes:
        assert 0 <= x < x + width <= float(root.get("width"))
        assert 0 <= y < y + height <= float(root.get("height"))
    shades = [box.get("fill") for box in root.iter(f"{SVG}rect")]
    assert [shade == "#ddd" for shade in shades] == [node.leaf for node in graph.nodes]


def test_a_graph_prints_as_dot():
    x = mg.Tensor([1.0], requires_grad=True)
    assert repr(draw_graph(mg.exp(x), {'a"b\\c': x})).splitlines() == [
        "digraph {",
        "  node [shape=box]",
        '  0 [label="a\\"b\\\\c\\n(1,)", style=filled]',
        '  1 [label="exp\\n(1,)"]',
        "  0 -> 1",
        "}",
    ]
    assert draw_graph(x, {"x": x}).nodes == [GraphNode("x", (1,), True)]
    assert ElementTree.fromstring(draw_graph(x).svg) is not None


def test_long_graphs_and_recomputed_graphs_are_drawn():
    x = mg.Tensor([1.0], requires_grad=True)
    y = x
    for _ in range(3000):
        y = mg.neg(y)
    places, _ = draw_graph(y).layout()  # no recursion
    assert places == [(0, row) for row in range(3001)]
    y = mg.recompute(lambda x: mg.exp(mg.neg(x)), x)
    assert [node.label for node in draw_graph(y).nodes] == ["leaf", "neg", "exp"]
    y.backward()


def test_released_graphs_and_unrecorded_tensors_are_refused():
    y, names = diamond()
    y.backward(np.ones(2, "float32"), retain_graph=True)
    draw_graph(y)
    y.backward(np.ones(2, "float32"))
    with pytest.raises(RuntimeError, match="draw_graph: add was released by backward; draw before it"):
        draw_graph(y)
    with mg.no_grad(), pytest.raises(RuntimeError, match="draw_graph: nothing was recorded"):
        draw_graph(mg.exp(names["x"]))
    with pytest.raises(TypeError, match="draw_graph: expected tensor to be a Tensor, got ndarray"):
        draw_graph(np.ones(2))
    with pytest.raises(TypeError, match="draw_graph: expected w to be a Tensor, got float"):
        draw_graph(names["x"], {"w": 1.0})
