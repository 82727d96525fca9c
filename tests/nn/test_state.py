"""States and folded layers: what is copied, and what stays."""

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
        self.w, self.s = nn.Parameter(np.array([2.0, 3.0])), nn.Buffer(np.array([5.0, 7.0]))
        self.norm = nn.BatchNorm2d(2, dtype=np.float64).eval()

    def forward(self, x):
        return self.norm(x * self.w * self.s.data)


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
    for value in (conv.b, *norm.parameters(), *norm.buffers()):
        value.data = rng.uniform(0.5, 2.0, value.data.shape)
    x = mg.Tensor(rng.standard_normal((2, 2, 5, 2 * groups)))
    folded = nn.fold_batch_norm(nn.Sequential(conv, norm))
    assert len(folded) == 1
    np.testing.assert_allclose(folded(x).data, norm.eval()(conv(x)).data, rtol=1e-12, atol=1e-12, strict=True)
