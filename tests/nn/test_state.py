"""States: what is copied, and what stays."""

import numpy as np

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
