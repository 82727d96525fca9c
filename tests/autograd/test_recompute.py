"""recompute: the same to the bit, with less kept."""

import gc
import weakref
from contextvars import ContextVar, copy_context

import numpy as np
import pytest
from numpy.testing import assert_allclose

import minigrad as mg
from minigrad import nn
from models import cifar_resnet
from tests.tools.compare import leaf_of
from tests.tools.reach import entry_of, stored


def random_leaf(*shape, seed=0):
    return mg.Tensor(np.random.default_rng(seed).standard_normal(shape), requires_grad=True)


def with_noise(rng):
    """A function that draws: once, through mg.once."""

    def f(x, w):
        noise = mg.once(lambda: rng.standard_normal(x.shape))
        return mg.tanh(x @ w) * mg.exp(x @ w * 0.1) + x * noise

    return f


def gradients(call, **settings):
    x, w = random_leaf(3, 4), random_leaf(4, 4, seed=1)
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


def test_higher_orders_are_right():
    mg.gradcheck(lambda x: mg.recompute(lambda x: mg.exp(x) * x, x), [np.array([0.3, -0.7])])
    mg.gradgradcheck(lambda x: mg.recompute(lambda x: mg.exp(x) * x, x), [np.array([0.3, -0.7])])
    mg.gradgradcheck(
        lambda x: mg.recompute(lambda x: mg.tanh(mg.recompute(lambda x: mg.exp(x) * x, x)), x), [np.array([0.3, -0.7])]
    )


def test_a_segment_may_end_with_its_inner_segment():
    for depth in (1, 2, 3):

        def call(x, depth=depth):
            return mg.exp(x) * x if depth == 0 else mg.recompute(lambda x: call(x, depth - 1), x)

        x = random_leaf(3)
        call(x).sum().backward()
        np.testing.assert_allclose(x.grad.data, np.exp(x.data) * (1 + x.data), rtol=1e-12)
        mg.gradgradcheck(call, [np.array([0.3, -0.7])])


def test_a_segment_may_take_gradients_inside():
    """A gradient penalty: grad() runs within the function that is run again."""

    def penalty(x):
        (dx,) = mg.grad((x**3).sum(), x, create_graph=True)
        return dx * dx

    results = []
    for call in (lambda f, x: f(x), mg.recompute):
        x = random_leaf(3)
        call(penalty, x).sum().backward()
        results.append(x.grad.data)
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("modes", [("train", "eval"), ("eval", "train")])
def test_a_mode_that_was_changed_between_is_refused(modes):
    net, x = nn.BatchNorm2d(2, dtype=np.float64), random_leaf(3, 2)
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

    x = random_leaf(3)
    middle = []
    y = mg.recompute(lambda x: (middle.append(weakref.ref(entry_of(f(x)))), f(x))[1], x)
    assert stored(entry_of(y)) is None
    runs.clear()
    y.sum().backward()
    assert len(runs) == 2  # the lambda calls f twice: one second run


def test_a_dropped_graph_is_freed_at_once():
    gc.disable()
    try:
        x = random_leaf(3)
        y = mg.recompute(lambda x: mg.exp(x) * x, x)
        node = weakref.ref(y._node)
        del y
        assert node() is None
    finally:
        gc.enable()


def test_parameters_outside_the_inputs_get_their_gradients():
    w, x = random_leaf(4, 4, seed=1), random_leaf(3, 4)
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

    y = mg.recompute(changes, random_leaf(3))
    with pytest.raises(RuntimeError, match="recompute: the second run differs from the first, at tanh"):
        y.sum().backward()


def test_a_second_run_with_another_operator_of_the_same_name_is_refused():
    """Operators are told apart by what they are, not by what they are called."""

    def scale(factor):
        made = mg.operator(lambda x, /: x * factor)
        made.vjp(lambda g: g * factor)
        return made

    operators = [scale(2.0), scale(3.0)]
    assert operators[0].operator.name == operators[1].operator.name
    y = mg.recompute(lambda x: operators.pop()(x), random_leaf(3))
    with pytest.raises(RuntimeError, match="recompute: the second run differs from the first"):
        y.sum().backward()


def test_a_second_run_that_was_interrupted_leaves_the_next_one_as_it_was():
    """Each runs in a copy of the context of the first run, so that no change of a context variable stays."""
    depth, stop = ContextVar("depth", default=0), []

    def f(x):
        depth.set(depth.get() + 1)
        y = mg.exp(x * float(depth.get()))
        if stop:
            raise stop.pop()
        return y * y

    gradients = []
    for interrupted in (False, True):
        x = random_leaf(3)
        y = copy_context().run(mg.recompute, f, x)
        if interrupted:
            stop.append(KeyboardInterrupt)
            with pytest.raises(KeyboardInterrupt):
                mg.grad(y, x, np.ones(3), retain_graph=True)
        gradients.append(mg.grad(y, x, np.ones(3))[0].data)
    np.testing.assert_array_equal(*gradients, strict=True)


@pytest.mark.parametrize("wanted", ["input", "parameter", "both"])
def test_what_a_segment_stores_is_discarded_whoever_wants_the_gradient(wanted):
    """An activation is freed after the first run, also where only a parameter of f wants a gradient."""
    w = mg.Tensor(np.ones((4, 4)), requires_grad=wanted != "input")
    x = mg.Tensor(np.ones((3, 4)), requires_grad=wanted != "parameter")
    activations = []

    def f(x):
        h = mg.exp(x @ w)
        activations.append(weakref.ref(h.data))
        return mg.tanh(h * h)

    y = mg.recompute(f, x)
    gc.collect()
    assert activations[0]() is None
    assert y.requires_grad


def test_a_second_run_that_is_shorter_is_refused():
    count = []

    def stops(x):
        count.append(1)
        return mg.exp(mg.exp(x)) if len(count) == 1 else mg.exp(x)

    y = mg.recompute(stops, random_leaf(3))
    with pytest.raises(RuntimeError, match="recompute: the second run was shorter"):
        y.sum().backward()


def test_an_input_may_be_a_shape():
    """A shape, given beside x, is a tuple as the notes on x are."""
    x = random_leaf(4)
    mg.recompute(lambda x, shape: mg.exp(x).reshape(shape), x, (2, 2)).sum().backward()
    np.testing.assert_array_equal(x.grad.data, np.exp(x.data))


def test_without_recording_no_segment_is_made():
    with mg.no_grad():
        assert not mg.recompute(lambda x: x * 2.0, random_leaf(3)).requires_grad


def test_statistics_of_batch_norm_move_once():
    nets = [cifar_resnet(8, width=4, dtype=np.float64) for _ in range(2)]
    x = random_leaf(6, 8, 8, 3)
    for net, call in zip(nets, (lambda f, x: f(x), mg.recompute), strict=True):
        (call(net, x) ** 2).sum().backward()
    for name, value in nets[0].state_dict().items():
        np.testing.assert_array_equal(value, nets[1].state_dict()[name], err_msg=name)
    for p, q in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        np.testing.assert_array_equal(p.grad.data, q.grad.data)


def test_hooks_of_modules_see_each_output_once():
    layer, seen = nn.ReLU(), []
    layer.hook(lambda module, out: seen.append(out.shape))
    mg.recompute(layer, random_leaf(3)).sum().backward()
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


def test_a_net_in_segments_trains_as_the_whole_net_does():
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


def test_a_segment_within_a_segment_is_run_a_third_time():
    """In the second run of the outer one the inner one drops again what it keeps: that is what nesting is for."""
    runs = []

    def f(x):
        runs.append(1)
        return mg.exp(x) * x

    x = leaf_of(1.0, 2.0)
    mg.recompute(lambda x: mg.recompute(f, x) * 2.0, x).sum().backward()
    assert len(runs) == 3
    assert_allclose(x.grad.data, 2 * np.exp(x.data) * (1 + x.data))


def test_a_segment_takes_numbers_and_remembers_the_data_it_was_called_with():
    x = leaf_of(3.0)
    y = mg.recompute(lambda x, n: x**n * x, x, 2)
    x.data = np.array([100.0])
    y.backward()
    assert x.grad.item() == 27.0


def test_unused_results_do_not_disturb_the_second_run():
    def f(x):
        mg.exp(x)  # freed at once
        return x * x

    for call in (lambda x: mg.recompute(f, x), lambda x: mg.recompute(lambda x: mg.recompute(f, x) * 1.0, x)):
        x = leaf_of(3.0)
        call(x).backward()
        assert x.grad.item() == 6.0


def test_what_was_released_within_a_segment_stays_released():
    def f(x):
        y = mg.exp(x)
        mg.grad(y, x)
        return y

    with pytest.raises(RuntimeError, match="exp: the tape was released"):
        mg.recompute(f, leaf_of(3.0)).backward()
    used, other = mg.recompute(lambda x: (f(x), x * x), leaf_of(3.0))
    other.backward()  # the second run fills what was dropped, and not what was released
    with pytest.raises(RuntimeError, match="exp: the tape was released"):
        used.backward()


def test_a_second_run_that_is_longer_is_refused():
    runs = []

    def grows(x):
        runs.append(1)
        return mg.exp(x) if len(runs) == 1 else mg.tanh(mg.exp(x))

    with pytest.raises(RuntimeError, match="recompute: the second run differs from the first, at tanh"):
        mg.recompute(grows, leaf_of(3.0)).backward()


@pytest.mark.parametrize(("effects", "message"), [((0, 1), "more effects"), ((1, 0), "was shorter"), ((2, 1), "short")])
def test_a_second_run_with_other_effects_is_refused(effects, message):
    left = list(effects)

    def f(x):
        for _ in range(left.pop(0)):
            mg.once(lambda: 2.0)
        return mg.exp(x)

    with pytest.raises(RuntimeError, match=f"recompute: the second run .*{message}"):
        mg.recompute(f, leaf_of(3.0)).backward()


def test_each_effect_has_its_own_result():
    def f(x):
        return x * x * mg.once(lambda: 2.0) + x * mg.once(lambda: 3.0)

    x = leaf_of(5.0)
    y = mg.recompute(f, x)
    y.backward()
    assert (y.item(), x.grad.item()) == (65.0, 23.0)


@pytest.mark.parametrize("segments", [1, 2])
def test_effects_within_an_effect_are_part_of_it(segments):
    seen = []

    def effect():
        inner = mg.once(lambda: 2.0) + mg.once(lambda: mg.once(lambda: 3.0))
        seen.append(inner)
        return 10.0 * inner

    def f(x):
        return x * x * mg.once(effect) + x * mg.once(lambda: 7.0)

    x = leaf_of(5.0)
    y = mg.recompute(f, x) if segments == 1 else mg.recompute(lambda x: mg.recompute(f, x), x)
    y.backward()
    assert (y.item(), x.grad.item(), seen) == (1285.0, 507.0, [5.0])


def test_a_segment_is_run_again_in_the_context_of_its_first_run():
    """The algorithm of convolutions, NumPy's errstate and context variables of the user are those of the first run."""
    factor, seen = ContextVar("factor", default=1.0), []
    images = np.random.default_rng(0).standard_normal((2, 32, 32, 32)).astype("float32")
    w = mg.Tensor(np.random.default_rng(1).standard_normal((3, 3, 32, 32)).astype("float32"), requires_grad=True)

    def f(x):
        seen.append((factor.get(), np.geterr()["over"]))
        return mg.conv2d(mg.tanh(mg.conv2d(x, w, padding=1) * factor.get()), w, padding=1)

    results = []
    for forward in (lambda x: f(x), lambda x: mg.recompute(f, x)):
        x = mg.Tensor(images, requires_grad=True)
        token = factor.set(2.0)
        with mg.conv_algorithm("im2col"), np.errstate(over="ignore"):
            y = forward(x)
        factor.reset(token)
        results.append([d.data for d in mg.grad(y.sum(), [x, w])])
        assert set(seen) == {(2.0, "ignore")}
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


def test_a_segment_is_run_again_within_no_grad_and_with_constants():
    """Backward may be called where nothing is recorded; an input that needs no gradient needs none the second time."""
    x, c = leaf_of(3.0), mg.Tensor(np.zeros(1))
    y = mg.recompute(lambda x, c: mg.exp(c) * x * x, x, c)
    with mg.no_grad():
        y.backward()
    assert x.grad.item() == 6.0
