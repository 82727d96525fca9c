"""recompute: the same to the bit, with less kept."""

import gc
import weakref

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from models import cifar_resnet


def leaf(*shape, seed=0):
    return mg.Tensor(np.random.default_rng(seed).standard_normal(shape), requires_grad=True)


def with_noise(rng):
    """A function that draws: once, through mg.once."""

    def f(x, w):
        noise = mg.once(lambda: rng.standard_normal(x.shape))
        return mg.tanh(x @ w) * mg.exp(x @ w * 0.1) + x * noise

    return f


def gradients(call, **settings):
    x, w = leaf(3, 4), leaf(4, 4, seed=1)
    out = call(with_noise(np.random.default_rng(5)), x, w)
    return out, mg.grad((out * out).sum(), [x, w], **settings)


def recompute_within_recompute(f, x, w):
    return mg.recompute(lambda x, w: mg.recompute(f, x, w) * 1.0, x, w)


@pytest.mark.parametrize("call", [mg.recompute, recompute_within_recompute])
@pytest.mark.parametrize("create_graph", [False, True])
def test_gradients_and_draws_are_bit_equal(call, create_graph):
    out, plain = gradients(
        lambda f, *inputs: f(*inputs) * (1.0 if call is not mg.recompute else 1), create_graph=create_graph
    )
    again, recomputed = gradients(call, create_graph=create_graph)
    np.testing.assert_array_equal(out.data, again.data)
    for a, b in zip(plain, recomputed, strict=True):
        np.testing.assert_array_equal(a.data, b.data)


def test_higher_orders():
    mg.gradcheck(lambda x: mg.recompute(lambda x: mg.exp(x) * x, x), [np.array([0.3, -0.7])])
    mg.gradgradcheck(lambda x: mg.recompute(lambda x: mg.exp(x) * x, x), [np.array([0.3, -0.7])])
    mg.gradgradcheck(
        lambda x: mg.recompute(lambda x: mg.tanh(mg.recompute(lambda x: mg.exp(x) * x, x)), x), [np.array([0.3, -0.7])]
    )


def test_nothing_after_the_inner_segment():
    for depth in (1, 2, 3):

        def call(x, depth=depth):
            return mg.exp(x) * x if depth == 0 else mg.recompute(lambda x: call(x, depth - 1), x)

        x = leaf(3)
        call(x).sum().backward()
        np.testing.assert_allclose(x.grad.data, np.exp(x.data) * (1 + x.data), rtol=1e-12)
        mg.gradgradcheck(call, [np.array([0.3, -0.7])])


def test_a_gradient_inside():
    """A gradient penalty: grad() runs within the function that is run again."""

    def penalty(x):
        (dx,) = mg.grad((x**3).sum(), x, create_graph=True)
        return dx * dx

    results = []
    for call in (lambda f, x: f(x), mg.recompute):
        x = leaf(3)
        call(penalty, x).sum().backward()
        results.append(x.grad.data)
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("modes", [("train", "eval"), ("eval", "train")])
def test_a_mode_that_was_changed_between_is_refused(modes):
    net, x = nn.BatchNorm2d(2, dtype=np.float64), leaf(3, 2)
    getattr(net, modes[0])()
    y = mg.recompute(net, x)
    getattr(net, modes[1])()
    with pytest.raises(RuntimeError, match="recompute: the second run"):
        y.sum().backward()


def test_what_entries_keep_is_dropped_and_comes_back_once():
    runs = []

    def f(x):
        runs.append(1)
        return mg.exp(mg.exp(x) * 0.1)

    x = leaf(3)
    middle = []
    y = mg.recompute(lambda x: (middle.append(weakref.ref(f(x)._node)), f(x))[1], x)
    assert type(y._node.kept) is not tuple
    runs.clear()
    y.sum().backward()
    assert len(runs) == 2  # the lambda calls f twice: one second run


def test_a_dropped_graph_is_freed_at_once():
    gc.disable()
    try:
        x = leaf(3)
        y = mg.recompute(lambda x: mg.exp(x) * x, x)
        node = weakref.ref(y._node)
        del y
        assert node() is None
    finally:
        gc.enable()


def test_parameters_outside_the_inputs_get_their_gradients():
    w, x = leaf(4, 4, seed=1), leaf(3, 4)
    gradients = []
    for call in (lambda f, x: f(x), mg.recompute):
        w.grad = None
        call(lambda x: mg.tanh(x @ w), x).sum().backward()
        gradients.append(w.grad.data)
    np.testing.assert_array_equal(*gradients)


def test_a_second_run_that_differs_is_refused():
    count = []

    def changes(x):
        count.append(1)
        return mg.exp(x) if len(count) == 1 else mg.tanh(x)

    y = mg.recompute(changes, leaf(3))
    with pytest.raises(RuntimeError, match="recompute: the second run differs from the first, at tanh"):
        y.sum().backward()


def test_a_second_run_that_is_shorter_is_refused():
    count = []

    def stops(x):
        count.append(1)
        return mg.exp(mg.exp(x)) if len(count) == 1 else mg.exp(x)

    y = mg.recompute(stops, leaf(3))
    with pytest.raises(RuntimeError, match="recompute: the second run was shorter"):
        y.sum().backward()


def test_inputs_that_are_no_tensors():
    """A shape, given beside x, is a tuple as the notes on x are."""
    x = leaf(4)
    mg.recompute(lambda x, shape: mg.exp(x).reshape(shape), x, (2, 2)).sum().backward()
    np.testing.assert_array_equal(x.grad.data, np.exp(x.data))


def test_outside_recording_it_is_the_function_itself():
    with mg.no_grad():
        assert not mg.recompute(lambda x: x * 2.0, leaf(3)).requires_grad


def test_statistics_of_batch_norm_move_once():
    nets = [cifar_resnet(8, width=4, dtype=np.float64) for _ in range(2)]
    x = leaf(6, 8, 8, 3)
    for net, call in zip(nets, (lambda f, x: f(x), mg.recompute), strict=True):
        (call(net, x) ** 2).sum().backward()
    for name, value in nets[0].state_dict().items():
        np.testing.assert_array_equal(value, nets[1].state_dict()[name], err_msg=name)
    for p, q in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        np.testing.assert_array_equal(p.grad.data, q.grad.data)


def test_hooks_of_modules_see_each_output_once():
    layer, seen = nn.ReLU(), []
    layer.hook(lambda module, out: seen.append(out.shape))
    mg.recompute(layer, leaf(3)).sum().backward()
    assert seen == [(3,)]


class InSegments(nn.Module):
    """A net whose layers run in segments that are computed again."""

    def __init__(self, net, size):
        layers = [
            net.conv1,
            net.bn1,
            net.relu,
            *(block for stage in net.stages for block in stage),
            net.avgpool,
            net.fc,
        ]
        self.segments = [nn.Sequential(*layers[i : i + size]) for i in range(0, len(layers), size)]

    def forward(self, x):
        for segment in self.segments:
            x = mg.recompute(segment, x)
        return x


def test_a_whole_net_in_segments():
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((4, 8, 8, 3)).astype("float32"), np.array([1, 2, 3, 4])
    plain = cifar_resnet(20)
    segmented = InSegments(cifar_resnet(20), 3)
    for net in (plain, segmented):
        loss = mg.cross_entropy(net(mg.Tensor(x)), labels)
        loss.backward()
    for p, q in zip(plain.parameters(), segmented.parameters(), strict=True):
        np.testing.assert_array_equal(p.grad.data, q.grad.data)
    for a, b in zip(plain.buffers(), segmented.buffers(), strict=True):
        np.testing.assert_array_equal(a.data, b.data)
