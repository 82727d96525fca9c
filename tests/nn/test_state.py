"""States and folded layers: what is copied, and what stays."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn


def test_a_state_is_copied_into_the_arrays_of_the_model():
    """Their dtype stays, and so does their identity, on which optimizers and other users of an array rely."""
    layer = nn.BatchNorm2d(2)
    arrays = [v.data for v in (*layer.parameters(), *layer.buffers())]
    state = {name: np.arange(4.0)[::2] + i for i, name in enumerate(layer.state_dict())}
    layer.load_state_dict(state)
    for array in state.values():
        array[...] = -1.0
    for i, (value, array) in enumerate(zip((*layer.parameters(), *layer.buffers()), arrays, strict=True)):
        assert value.data is array
        np.testing.assert_array_equal(array, np.array([i, i + 2], np.float32), strict=True)
    for array in layer.state_dict().values():
        array[...] = -1.0
    np.testing.assert_array_equal(layer.running_var.data, [3, 5])


@pytest.mark.parametrize("groups", [1, 2, 5, 8])
def test_grouped_convolutions_are_folded_filter_by_filter(groups):
    rng = np.random.default_rng(0)
    conv = nn.Conv2d(2 * groups, 3 * groups, (1, 3), groups=groups, rng=rng, dtype=np.float64)
    norm = nn.BatchNorm2d(3 * groups, dtype=np.float64)
    for value in (conv.b, *norm.parameters(), *norm.buffers()):
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


def test_an_array_that_cannot_be_written_leaves_nothing_loaded():
    net, before = two(), two().state_dict()
    net[1].running_var.data = frozen()
    with pytest.raises(ValueError, match=r"1.running_var: expected .* can be written into"):
        net.load_state_dict({name: array + 1 for name, array in before.items()})
    np.testing.assert_array_equal(net[0].w.data, before["0.w"], strict=True)


@pytest.mark.parametrize("state", [None, 3, "abc", [np.ones(2)], ()])
def test_a_state_is_a_dict(state):
    with pytest.raises(TypeError, match="^load_state_dict: expected arrays by name, got "):
        two().load_state_dict(state)
    with pytest.raises(ValueError, match="unexpected: 3"):
        two().load_state_dict(two().state_dict() | {3: np.ones(2)})


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
    net.load_state_dict(net.state_dict() | {"1.gamma": mg.Tensor([2.0, 3.0]), "1.beta": [4, 5]})
    np.testing.assert_array_equal([net[1].gamma.data, net[1].beta.data], [[2, 3], [4, 5]])
