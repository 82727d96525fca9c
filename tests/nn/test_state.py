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
