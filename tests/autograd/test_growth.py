"""How things grow, where it can be counted: memory with steps, entries with depth, calls with length; no clocks."""

import gc
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from models import cifar_resnet, residual_net
from models.resnet import Bottleneck
from tests.benchmarks import memory
from tests.benchmarks.on_minigrad import in_segments
from tests.benchmarks.worker import Worker
from tests.tools.reach import entries_of, stored

PACKAGE = str(Path(mg.__file__).parent / "*")


@pytest.fixture
def threads_as_before():
    before = mg.get_num_threads()
    yield
    mg.set_num_threads(before)


def images(n, size, seed=0):
    rng = np.random.default_rng(seed)
    return mg.Tensor(rng.standard_normal((n, size, size, 3), dtype="float32")), rng.integers(10, size=n)


def kept_bytes(loss, net):
    """What the entries keep, each buffer once, without the parameters, which are there anyhow."""
    buffers, parameters = {}, {id(p.data) for p in net.parameters()}
    for entry in entries_of(loss):
        for value in stored(entry) or ():
            if isinstance(value, np.ndarray):
                while isinstance(value.base, np.ndarray):
                    value = value.base
                if id(value) not in parameters:
                    buffers[id(value)] = value.nbytes
    return sum(buffers.values())


# Steps ---------------------------------------------------------------------------------------


def small_net():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, rng=0),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.2, rng=1),
        nn.Conv2d(4, 4, 3, stride=2, padding=1, rng=2),
        nn.GlobalAvgPool2d(),
        nn.Linear(4, 10, rng=3),
    )


@pytest.mark.slow
@pytest.mark.parametrize("segments", [False, True])
def test_memory_after_500_steps_is_that_after_50(segments):
    net, (x, labels) = small_net(), images(4, 8)
    sgd = mg.optim.SGD(net.parameters(), 0.01)

    def steps(n):
        for _ in range(n):
            sgd.zero_grad()
            mg.cross_entropy(mg.recompute(net, x) if segments else net(x), labels).backward()
            sgd.step()

    def held():
        """Bytes and blocks that the package's lines hold, and objects that the garbage collector knows."""
        unreachable = gc.collect()  # empties Python's own lists of free tuples and floats, too
        known = len(gc.get_objects())
        snapshot = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, PACKAGE)])
        statistics = snapshot.statistics("filename")
        return unreachable, known, sum(s.size for s in statistics), sum(s.count for s in statistics)

    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        steps(50)
        _, known, size, count = held()
        steps(450)
        unreachable, known_later, size_later, count_later = held()
    finally:
        tracemalloc.stop()
        gc.enable()
    assert unreachable == 0  # no graph ever waited for the garbage collector
    assert abs(known_later - known) < 100  # one object a step would be 450
    assert abs(count_later - count) < 100
    assert abs(size_later - size) < 4_000


# Depth, batch, length ------------------------------------------------------------------------


def test_entries_and_what_they_keep_are_linear_in_depth():
    (x, labels), counts, kept = images(2, 8), [], []
    for depth in (8, 14, 20, 26):
        net = cifar_resnet(depth, width=4)
        loss = mg.cross_entropy(net(x), labels)
        counts.append(len(entries_of(loss)))
        kept.append(kept_bytes(loss, net))
    assert counts[0] > 8
    for series in (counts, kept):
        steps = np.diff(series)
        assert steps[0] > 0
        np.testing.assert_array_equal(steps, steps[0])


def test_what_is_kept_is_linear_in_the_batch_and_entries_do_not_depend_on_it():
    net, counts, kept = cifar_resnet(8, width=4), [], []
    for n in (2, 4, 6, 16):
        x, labels = images(n, 8)
        loss = mg.cross_entropy(net(x), labels)
        counts.append(len(entries_of(loss)))
        kept.append(kept_bytes(loss, net))
    assert len(set(counts)) == 1
    per_image = (kept[1] - kept[0]) / 2
    assert per_image > 0
    assert kept[2] - kept[1] == 2 * per_image
    assert kept[3] - kept[2] == 10 * per_image


def test_a_block_keeps_four_activations():
    """What its two convolutions take, and what its two batch norms take: ReLU and addition find all they need there."""
    (x, labels), kept = images(4, 8), []
    for depth in (8, 14):
        net = cifar_resnet(depth, width=8)
        kept.append(kept_bytes(mg.cross_entropy(net(x), labels), net))
    activation = 4 * 4 * (8 * 8 * 8 + 16 * 4 * 4 + 32 * 2 * 2)  # of one more block in each stage
    assert kept[1] - kept[0] < 4.5 * activation


def calls(work):
    """How many functions, Python's and C's, a piece of work calls."""
    count = 0

    def note(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def chain(n):
    x = mg.Tensor(np.ones(16, "float32"), requires_grad=True)
    y = x
    for _ in range(n // 2):
        y = y * 0.5 + x
    return x, y.sum()


def fan(n):
    x = mg.Tensor(np.ones(16, "float32"), requires_grad=True)
    return x, sum((x * float(i) for i in range(n // 2)), start=x).sum()


@pytest.mark.parametrize("graph", [chain, fan])
def test_ten_times_the_operators_take_ten_times_the_calls(graph):
    def work(n):
        return lambda: graph(n)[1].backward()

    calls(work(100))  # what is made once
    thousand, ten_thousand = calls(work(1000)), calls(work(10_000))
    assert thousand > 1000
    # a heap takes a logarithm more comparisons, but not more calls
    np.testing.assert_allclose(ten_thousand / thousand, 10, rtol=0.02)


def test_a_chain_of_100_000_operators():
    x, y = chain(100_000)
    y.backward()
    np.testing.assert_allclose(x.grad.data, np.full(16, 2, "float32"), rtol=1e-6, strict=True)


# Recomputation -------------------------------------------------------------------------------


def test_training_in_segments_of_ten_blocks_is_bit_equal():
    """Three steps, so that statistics, draws and momentum of each pass into the next; the last run is shorter."""
    (x, labels), results = images(2, 8), []
    for segment in (0, memory.SEGMENT):
        net = cifar_resnet(74, width=2)  # 36 blocks
        for i, stage in enumerate(net.stages):
            stage[3].bn2 = nn.Sequential(stage[3].bn2, nn.Dropout(0.3, rng=i))
        forward = in_segments(net, segment) if segment else net
        sgd, losses = mg.optim.SGD(net.parameters(), 0.05), []
        for _ in range(3):
            loss = mg.cross_entropy(forward(x), labels)
            sgd.zero_grad()
            loss.backward()
            sgd.step()
            losses.append(loss.item())
        results.append((losses, [p.grad.data for p in net.parameters()], net.state_dict()))
    (losses, gradients, state), (again, gradients_again, state_again) = results
    assert losses == again
    assert len(set(losses)) == 3
    for a, b in zip(gradients, gradients_again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert state.keys() == state_again.keys()
    for name, value in state.items():
        np.testing.assert_array_equal(value, state_again[name], err_msg=name)


@pytest.mark.slow
def test_segments_hold_a_fraction_of_what_the_net_keeps():
    (x, labels), peaks = images(8, 16), []
    for segment in (0, memory.SEGMENT):
        net = cifar_resnet(122, width=4)  # 60 blocks
        forward = in_segments(net, segment) if segment else net
        mg.cross_entropy(forward(x), labels).backward()  # scratch arrays and gradients are there from now on
        tracemalloc.start()
        mg.cross_entropy(forward(x), labels).backward()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 0.5 * peaks[0]


@pytest.mark.parametrize("call", ["backward", "grad"])
def test_a_sum_of_gradients_takes_one_array(call):
    """The first sum is a new array. What comes later is added to it in place, and it is the result without a copy."""
    n, x = 100_000, mg.Tensor(np.zeros(100_000), requires_grad=True)
    y, g = x + x + x + x, np.ones(n)
    tracemalloc.start()
    result = mg.grad(y, x, g) if call == "grad" else y.backward(g) or [x.grad]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(result[0].data, np.full(n, 4.0), strict=True)
    assert g.nbytes < peak < 1.5 * g.nbytes


@pytest.mark.slow
def test_a_step_of_1202_layers_fits_into_2_gib():
    case = memory.CASES["memory-1202"]
    with Worker(case, case.sides[0], 2) as worker:
        worker.step()
        assert 100 << 20 < worker.finish() <= memory.PEAK


# Threads -------------------------------------------------------------------------------------


def small_bottleneck_net():
    """All other kinds of layers: 7x7, 1x1, strides, projections, max pooling."""
    return residual_net("imagenet", Bottleneck, (1, 1, 1, 1), (16, 32, 64, 128, 256), num_classes=10)


@pytest.mark.usefixtures("threads_as_before")
@pytest.mark.parametrize(
    ("build", "batch", "size"),
    [pytest.param(lambda: cifar_resnet(8), 12, 32, marks=pytest.mark.slow), (small_bottleneck_net, 6, 64)],
    ids=["resnet8", "bottleneck"],
)
def test_twenty_steps_are_bit_equal_on_one_to_four_threads(build, batch, size):
    x, labels = images(batch, size)
    results = []
    for threads in (1, 2, 3, 4):
        mg.set_num_threads(threads)
        net, losses = build(), []
        sgd = mg.optim.SGD(net.parameters(), 0.02, weight_decay=1e-4)
        for _ in range(20):
            loss = mg.cross_entropy(net(x), labels)
            sgd.zero_grad()
            loss.backward()
            sgd.step()
            losses.append(loss.item())
        results.append((losses, net.state_dict()))
    losses, state = results[0]
    assert losses[-1] < losses[0]
    for again, state_again in results[1:]:
        assert again == losses
        for name, value in state.items():
            np.testing.assert_array_equal(value, state_again[name], err_msg=name)
