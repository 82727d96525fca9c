"""States and folded layers: what is copied, and what stays."""

import itertools

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn


def test_a_state_is_copied_into_new_arrays():
    """Their dtype stays. The arrays that the model had, which the tape may store, are not written into."""
    layer = nn.BatchNorm2d(2)
    held = [v.data for v in (*layer.parameters(), *layer.buffers())]
    before = [array.copy() for array in held]
    state = {name: np.arange(4.0)[::2] + i for i, name in enumerate(layer.state_dict())}
    layer.load_state_dict(state)
    for array in state.values():
        array[...] = -1.0
    for i, value in enumerate((*layer.parameters(), *layer.buffers())):
        np.testing.assert_array_equal(value.data, np.array([i, i + 2], np.float32), strict=True)
        np.testing.assert_array_equal(held[i], before[i], strict=True)
    for array in layer.state_dict().values():
        array[...] = -1.0
    np.testing.assert_array_equal(layer.running_var.data, [3, 5])


class Scale(nn.Module):
    """x times a parameter and a buffer, and normalised."""

    def __init__(self):
        self.weight, self.s = nn.Parameter(np.array([2.0, 3.0])), nn.Buffer(np.array([5.0, 7.0]))
        self.norm = nn.BatchNorm2d(2, dtype=np.float64).eval()

    def forward(self, x):
        return self.norm(x * self.weight * self.s.data)


def halve(net):
    net.load_state_dict({name: array / 2 for name, array in net.state_dict().items()})


def step(net):
    for p in net.parameters():
        p.grad = mg.Tensor(np.ones_like(p.data))
    mg.optim.SGD(net.parameters(), 0.5, weight_decay=0.1).step()


def train_on(net):
    """Update the running statistics."""
    net.train()(mg.Tensor(np.array([[1.0, 2.0], [4.0, 8.0]])))
    net.eval()


@pytest.mark.parametrize("change", [halve, step, train_on])
@pytest.mark.parametrize("create_graph", [False, True])
def test_a_change_of_the_model_leaves_the_gradients_of_what_was_computed_before(change, create_graph):
    """Between forward and backward, a step, a loaded state or other statistics change no array of the tape."""
    net, x = Scale(), mg.Tensor(np.array([[1.0, -2.0], [0.5, 3.0]]), requires_grad=True)
    inputs = [x, *net.parameters()]
    expected = mg.grad((net(x) ** 2).sum(), inputs, create_graph=create_graph)
    loss = (net(x) ** 2).sum()
    change(net)
    for g, right in zip(mg.grad(loss, inputs, create_graph=create_graph), expected, strict=True):
        np.testing.assert_array_equal(g.data, right.data, strict=True)
    assert (net(x) ** 2).sum().item() != loss.item()


@pytest.mark.parametrize("groups", [1, 2, 5, 8])
def test_grouped_convolutions_are_folded_filter_by_filter(groups):
    rng = np.random.default_rng(0)
    conv = nn.Conv2d(2 * groups, 3 * groups, (1, 3), groups=groups, rng=rng, dtype=np.float64)
    norm = nn.BatchNorm2d(3 * groups, dtype=np.float64)
    for value in (conv.bias, *norm.parameters(), *norm.buffers()):
        value.data = rng.uniform(0.5, 2.0, value.data.shape)
    x = mg.Tensor(rng.standard_normal((2, 2, 5, 2 * groups)))
    folded = nn.fold_batch_norm(nn.Sequential(conv, norm))
    assert len(folded) == 1
    np.testing.assert_allclose(folded(x).data, norm.eval()(conv(x)).data, rtol=1e-12, atol=1e-12, strict=True)


def two():
    return nn.Sequential(nn.Linear(2, 2, rng=0), nn.BatchNorm2d(2))


def frozen():
    array = np.ones(2, np.float32)
    array.flags.writeable = False
    return array


#: What does not fit the last array, with what the error says. All others fit.
BAD = {
    "strings": (np.array(["1.0", "2.0"]), "expected numbers for float32, got <U3"),
    "strings in a list": (["1.0", "2.0"], "expected numbers for float32, got <U3"),
    "complex": (np.ones(2, complex), "expected numbers for float32, got complex128"),
    "objects": (np.array([1.0, None]), "expected numbers for float32, got object"),
    "dates": (np.array(["2020", "2021"], "M8[D]"), "expected numbers for float32, got datetime64"),
    "shape": (np.ones(3), r"expected shape \(2,\), got \(3,\)"),
    "ragged": ([[1.0], [2.0, 3.0]], r"expected shape \(2,\), got \(\)"),
    "None": (None, r"expected shape \(2,\), got \(\)"),
    "dict": ({}, r"expected shape \(2,\), got \(\)"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_entry_leaves_nothing_loaded(kind):
    """Arrays are loaded in their order; a bad last one left those before it in."""
    value, message = BAD[kind]
    net, before = two(), two().state_dict()
    state = {name: array + 1 for name, array in before.items()} | {"1.running_var": value}
    for load in (net.load_state_dict, net.check_state_dict):
        with pytest.raises(
            ValueError, match=rf"^load_state_dict: the state does not fit .*\n  1.running_var: {message}"
        ):
            load(state)
    for name, array in net.state_dict().items():
        np.testing.assert_array_equal(array, before[name], strict=True)


def test_an_array_that_cannot_be_written_is_replaced():
    net, before = two(), two().state_dict()
    net[1].running_var.data = frozen()
    net.load_state_dict({name: array + 1 for name, array in before.items()})
    for name, array in net.state_dict().items():
        np.testing.assert_array_equal(array, before[name] + 1, strict=True)


@pytest.mark.parametrize("state", [None, 3, "abc", [np.ones(2)], ()])
def test_a_state_is_a_dict(state):
    with pytest.raises(TypeError, match="^load_state_dict: expected arrays by name, got "):
        two().load_state_dict(state)
    with pytest.raises(ValueError, match="unexpected: 3"):
        two().load_state_dict(two().state_dict() | {3: np.ones(2)})


def test_what_has_no_counterpart_is_returned_and_the_rest_is_loaded():
    """PyTorch's names for both: `missing_keys`, `unexpected_keys`."""
    net, before = two(), two().state_dict()
    assert net.load_state_dict(before) == nn.Unmatched([], [])
    state = {name: array + 1 for name, array in before.items()}
    del state["0.weight"], state["1.running_mean"]
    result = net.load_state_dict(state | {"head.weight": np.ones(3), 3: np.ones(1)}, strict=False)
    assert result == (["0.weight", "1.running_mean"], ["head.weight", 3])
    assert (result.missing_keys, result.unexpected_keys) == result
    for name, array in net.state_dict().items():
        np.testing.assert_array_equal(array, before[name] + (name in state), strict=True)


#: Paths of earlier versions, from those of today: the names of lists, and other names of the last parts.
EARLIER = {
    "lists": lambda path: f"layers.{path}",
    "names": lambda path: path.replace("0.weight", "0.w").replace("0.bias", "0.b"),
    "norms": lambda path: path.replace("1.weight", "1.gamma").replace("1.bias", "1.beta"),
    "one": lambda path: path.replace("1.running_mean", "layers.1.running_mean"),
    "all": lambda path: f"layers.{EARLIER['names'](EARLIER['norms'](path))}",
}


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("kind", EARLIER)
def test_paths_of_earlier_versions_are_understood_in_any_case(kind, strict):
    """Also with strict=False, beside arrays that fit nothing, and where others are missing."""
    for lacks in ([], ["0.bias"], ["1.weight", "1.running_mean"])[: 1 if strict else 3]:
        net, before = two(), two().state_dict()
        state = {EARLIER[kind](path): array + 1 for path, array in before.items() if path not in lacks}
        more = {} if strict else {"layers.7.w": np.ones(1), "head": np.ones(2)}
        assert net.load_state_dict(state | more, strict=strict) == (lacks, list(more))
        for path, array in net.state_dict().items():
            np.testing.assert_array_equal(array, before[path] + (path not in lacks), strict=True)


@pytest.mark.parametrize(
    ("earlier", "today"),
    [
        ("layers.0.w", "0.weight"),
        ("head.layers.0.layers.1.gamma", "head.0.1.weight"),
        ("sublayers.0.w", "sublayers.0.weight"),
        ("net.layers.sublayers.0.b", "net.sublayers.0.bias"),
        ("layers_2.beta", "layers_2.bias"),
        ("layers.layers.0.w", "0.weight"),
    ],
)
def test_only_whole_parts_of_a_path_are_renamed(earlier, today):
    assert nn.Module().renamed(earlier) == today


@pytest.mark.parametrize("strict", [True, False])
def test_a_shape_that_does_not_fit_is_refused_in_any_case(strict):
    net, before = two(), two().state_dict()
    state = {"0.weight": before["0.weight"] + 1, "0.bias": np.ones(3), "other": np.ones(1)}
    with pytest.raises(ValueError, match=r"0\.bias: expected shape \(2,\), got \(3,\)") as caught:
        net.load_state_dict(state, strict=strict)
    assert ("unexpected: other" in str(caught.value)) == strict
    assert str(caught.value).endswith("\nstrict=False loads what has common names; leave the others out of the state")
    np.testing.assert_array_equal(net[0].weight.data, before["0.weight"], strict=True)


def test_a_state_without_any_common_path_is_refused():
    """It loads nothing: with a prefix in every name, as of a net inside another, that is a mistake."""
    state = {f"net.{name}": array for name, array in two().state_dict().items()}
    for bad in (state, {}):
        with pytest.raises(ValueError, match=r"missing: 0\.weight\n") as caught:
            two().load_state_dict(bad, strict=False)
        assert "strict=False" not in str(caught.value)
        assert all(f"unexpected: {name}\n" in f"{caught.value}\n" for name in bad)
    assert nn.ReLU().load_state_dict({}, strict=False) == ([], [])


def test_the_error_says_how_to_load_the_rest():
    state = two().state_dict() | {"head": np.ones(1)}
    with pytest.raises(ValueError, match=r"unexpected: head\nstrict=False loads what has common names$"):
        two().load_state_dict(state)
    for bad in ("no", 0, None):
        with pytest.raises(TypeError, match="^load_state_dict: expected strict to be True or False, got "):
            two().load_state_dict(state, strict=bad)


def test_a_checked_state_changes_nothing():
    net, before = two(), two().state_dict()
    net.check_state_dict({name: array + 1 for name, array in before.items()})
    for name, array in net.state_dict().items():
        np.testing.assert_array_equal(array, before[name], strict=True)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int8, np.uint64, bool, ">f4"])
def test_numbers_of_another_kind_that_fit_are_loaded(dtype):
    net = two()
    net.load_state_dict({name: np.ones(array.shape, dtype) for name, array in net.state_dict().items()})
    for array in net.state_dict().values():
        np.testing.assert_array_equal(array, np.ones(array.shape, np.float32), strict=True)
    net.load_state_dict(net.state_dict() | {"1.weight": mg.Tensor([2.0, 3.0]), "1.bias": [4, 5]})
    np.testing.assert_array_equal([net[1].weight.data, net[1].bias.data], [[2, 3], [4, 5]])


NAMES = {"w": "weight", "b": "bias", "weight": "weight", "bias": "bias"}


class Named(nn.Module):
    """Parameters of these names: of earlier versions, of today, or of both."""

    def __init__(self, names):
        for i, name in enumerate(names):
            setattr(self, name, nn.Parameter([1.0 + i]))


@pytest.mark.parametrize("within", ["", "part."])
@pytest.mark.parametrize("held", [names for n in range(1, 5) for names in itertools.combinations(NAMES, n)])
def test_a_path_of_an_earlier_version_is_understood_where_it_is_no_path_of_the_model(held, within):
    """Only where the model lacks this path and has the present one, and the state does not have both."""
    for given in (names for n in range(5) for names in itertools.combinations(NAMES, n)):
        net = Named(held)
        expected = {name: value.item() for name, value in net.state_dict().items()}
        loaded, unexpected = {}, []
        for i, name in enumerate(given):
            new = NAMES[name]
            path = name if name in held or new not in held or new in given else new
            if path in held:
                loaded[path] = 10.0 + i
            else:
                unexpected.append(within + name)
        if within:
            net = nn.Sequential(net)
            net.part, net.layers = net.layers[0], []
        state = {within + name: np.array([10.0 + i]) for i, name in enumerate(given)}
        if not loaded:
            with pytest.raises(ValueError, match="^load_state_dict: the state does not fit this model"):
                net.load_state_dict(state, strict=False)
            continue
        missing = [within + name for name in held if name not in loaded]
        assert net.load_state_dict(state, strict=False) == (missing, unexpected)
        found = {name.removeprefix(within): value.item() for name, value in net.state_dict().items()}
        assert found == expected | loaded
