"""One run on many processes: the tree, the shards, a step, and whole runs, where threads stand for the processes."""

import math
import re
import signal
import sys
import threading
import time
import types
from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import minigrad as mg
from minigrad import distributed, nn, train
from minigrad.data import DataLoader, Subset
from minigrad.distributed import owned, processes, split, sum_gradients, total
from minigrad.optim import SGD
from minigrad.train import loop
from minigrad.train import run as run_module
from minigrad.train.report import read_log
from minigrad.train.signals import StopRequest
from tests.distributed import job
from tests.distributed.processes import all_well, ranks

# The tree ------------------------------------------------------------------------------------


def tree(values):
    """Add in a tree, as the definition says: the halves, then their sums."""
    half = len(values) // 2
    return values[0] if half == 0 else tree(values[:half]) + tree(values[half:])


DTYPES = ("float32", "float64", "int64", "float32", "float16", "bool")
SHAPES = ((2, 5), (), (7,), (0, 3), (33,), (4,))


def ragged(n, seed=0):
    """Return n lists of arrays of many magnitudes, of several dtypes and shapes: their sum depends on the order."""
    rng = np.random.default_rng(seed)
    scale = {"float16": 3, "int64": 3, "bool": 3}
    return [
        [
            (rng.normal(size=shape) * 10.0 ** rng.integers(-3, scale.get(dtype, 9), shape)).astype(dtype)
            for dtype, shape in zip(DTYPES, SHAPES, strict=True)
        ]
        for _ in range(n)
    ]


def bits(tree_):
    """Return arrays, numbers and lists of them as dtypes, shapes and bytes."""
    if isinstance(tree_, dict):
        return {name: bits(value) for name, value in tree_.items()}
    if isinstance(tree_, list | tuple):
        return [bits(value) for value in tree_]
    array = np.asarray(tree_)
    return array.dtype.str, array.shape, array.tobytes()


@pytest.mark.parametrize("piece", [32, 1 << 20])
@pytest.mark.parametrize("shards", [1, 2, 4, 16])
def test_the_sum_is_that_of_a_tree_for_every_number_of_processes(monkeypatch, shards, piece):
    """With messages of one piece, and of many with a last one that is smaller."""
    monkeypatch.setattr(processes, "PIECE", piece)
    parts = ragged(shards)
    expected = bits([tree(list(arrays)) for arrays in zip(*parts, strict=True)])
    before = bits(parts)
    for size in (1, 2, 4, 8):
        if size <= shards:
            for got in all_well(ranks(monkeypatch, size, lambda: total(parts[i] for i in owned(shards)))):
                assert bits(got) == expected
    assert bits(parts) == before  # the arrays that were given are left as they were


#: Ways in which an array may lie in memory.
LAYOUTS = {
    "Fortran": np.asfortranarray,
    "axes turned": lambda a: np.ascontiguousarray(a.transpose(1, 2, 0)).transpose(2, 0, 1),
    "backwards": lambda a: np.ascontiguousarray(a[::-1, :, ::-1])[::-1, :, ::-1],
    "every second": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", [1, 2, 4])
def test_the_sum_does_not_depend_on_the_layout(monkeypatch, layout, size):
    """Of one array alone in its dtype, and of others; of shards that lie in memory in different ways, too."""
    rng = np.random.default_rng(0)
    dtypes = ("float32", "float64", "float64")
    parts = [[rng.standard_normal((2, 3, 4)).astype(dtype) for dtype in dtypes] for _ in range(4)]
    expected = bits([tree(list(arrays)) for arrays in zip(*parts, strict=True)])
    for places in (range(4), [1], [3]):
        given = [[LAYOUTS[layout](a) if i in places else a for a in arrays] for i, arrays in enumerate(parts)]
        for got in all_well(ranks(monkeypatch, size, lambda given=given: total(given[i] for i in owned(4)))):
            assert bits(got) == expected
        assert bits(given) == bits(parts)


def test_the_order_is_not_from_left_to_right(monkeypatch):
    numbers = (1e16, 1.0, -1e16, 1.0)
    assert ((numbers[0] + numbers[1]) + numbers[2]) + numbers[3] == 1.0
    for size in (1, 2, 4):
        results = ranks(monkeypatch, size, lambda: total([np.array(numbers[i])] for i in owned(4)))
        assert [float(array) for (array,) in all_well(results)] == [0.0] * size


def test_a_sum_of_lists_that_fill_no_tree_is_refused(monkeypatch):
    for n, got in ((3, r"\[2, 1\]"), (0, r"\[\]"), (7, r"\[4, 2, 1\]")):
        with pytest.raises(ValueError, match=f"total: expected a power of two of lists, got subtrees of {got} lists"):
            total(ragged(n))
    for error in ranks(monkeypatch, 3, lambda: total(ragged(1))):
        assert str(error) == "total: expected a power of two of processes, got 3"


# The processes -------------------------------------------------------------------------------


def test_shards_are_owned_once_and_in_order(monkeypatch):
    for shards in (1, 2, 4, 8):
        for size in (1, 2, 4, 8):
            own = ranks(monkeypatch, size, lambda shards=shards: owned(shards))
            if size <= shards:
                assert [i for part in own for i in part] == list(range(shards))
                assert {len(part) for part in own} == {shards // size}
            else:
                starts = ", ".join(str(n) for n in (1, 2, 4, 8) if n <= shards)
                assert str(own[0]) == (
                    f"distributed: expected processes that divide the {shards} shards, got {size}; "
                    f"start {starts} processes, or set other shards="
                )


def test_all_get_what_all_give(monkeypatch):
    for size in (1, 2, 3, 5):
        work = lambda: (distributed.rank(), distributed.size(), distributed.gather(distributed.rank() ** 2))  # noqa: E731
        expected = [(r, size, [i * i for i in range(size)]) for r in range(size)]
        assert all_well(ranks(monkeypatch, size, work)) == expected
        work = lambda: distributed.broadcast({"of": distributed.rank()})  # noqa: E731
        assert all_well(ranks(monkeypatch, size, work)) == [{"of": 0}] * size


def test_every_difference_of_facts_is_named_on_all(monkeypatch):
    facts = [{"a": 1, "b": 2}, {"a": 1, "b": 2}, {"a": 3, "c": 4}]
    work = lambda: distributed.agree(facts[distributed.rank()])  # noqa: E731
    assert ranks(monkeypatch, 2, work) == [None, None]
    message = (
        "distributed: a is 1 on rank 0, and 3 on rank 2; b is 2 on rank 0, and None on rank 2; "
        "c is None on rank 0, and 4 on rank 2; make them equal, or set MINIGRAD_UNEQUAL=1"
    )
    assert [str(error) for error in ranks(monkeypatch, 3, work)] == [message] * 3
    monkeypatch.setenv("MINIGRAD_UNEQUAL", "1")
    assert ranks(monkeypatch, 3, work) == [None] * 3


@pytest.mark.parametrize("value", [None, "", "0", "00", "2", "11", "-1", "1.0", " 1", "true", "yes", "no", "False"])
def test_only_1_lets_differences_pass(monkeypatch, value):
    monkeypatch.setattr(processes, "gather", lambda facts: [facts, facts, {"a": 2}])
    monkeypatch.delenv("MINIGRAD_UNEQUAL", raising=False)
    if value is not None:
        monkeypatch.setenv("MINIGRAD_UNEQUAL", value)
    with pytest.raises(ValueError, match="distributed: a is 1 on rank 0, and 2 on rank 2; make them equal"):
        distributed.agree({"a": 1})
    monkeypatch.setenv("MINIGRAD_UNEQUAL", "1")
    distributed.agree({"a": 1})


@pytest.mark.parametrize("value", [None, "", "0", "0.0", "1e-3"])
def test_a_process_waits_as_long_as_the_variable_says(monkeypatch, value):
    """Ten minutes without it, or if it is empty; not at all with 0."""
    seconds, now = 600.0 if not value else float(value), [0.0]
    monkeypatch.delenv("MINIGRAD_WAIT", raising=False)
    if value is not None:
        monkeypatch.setenv("MINIGRAD_WAIT", value)
    monkeypatch.setattr(processes.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(processes.time, "sleep", lambda nap: None)

    def look():
        now[0] += max(seconds, 1.0) / 4

    for patience in (1.0, 2.0):
        now[0] = 0.0
        with pytest.raises(TimeoutError, match=f"rank 3 has not answered for {patience * seconds:g} s"):
            processes._wait_for(look, 3, patience)
        assert patience * seconds < now[0] <= patience * seconds + max(seconds, 1.0) / 4
    assert processes._wait_for(lambda: "here", 3) == "here"


@pytest.mark.parametrize("missing", range(4))
def test_who_is_the_first_to_give_up_names_the_rank_that_does_not_come(monkeypatch, missing):
    """Those who wait for somebody who waits are more patient; with MPI, the first error ends all."""
    monkeypatch.setenv("MINIGRAD_WAIT", "0.05")
    for work in (lambda: total(ragged(1)), lambda: distributed.gather(1)):
        errors = [str(error) for error in ranks(monkeypatch, 4, work, missing=[missing]) if error is not None]
        found = [
            re.fullmatch(r"distributed: rank (.) has not answered for (.*) s \(MINIGRAD_WAIT\)", e) for e in errors
        ]
        first = min(float(match[2]) for match in found)
        assert {int(match[1]) for match in found if float(match[2]) == first} == {missing}


def test_processes_without_mpi4py_are_told_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    monkeypatch.delitem(sys.modules, "mpi4py.MPI", raising=False)
    for name in processes.LAUNCHED:
        monkeypatch.delenv(name, raising=False)
    assert processes._communicator.__wrapped__() is None  # alone, nobody needs it
    for name in processes.LAUNCHED:
        monkeypatch.setenv(name, "1")
        assert processes._communicator.__wrapped__() is None
        monkeypatch.setenv(name, "4")
        with pytest.raises(ImportError) as error:
            processes._communicator.__wrapped__()
        assert str(error.value) == (
            f"distributed: 4 processes were started; for 4 runs of their own, unset {name}; "
            'for one, install mpi4py: pip install "minigrad-numpy[mpi]"'
        )
        monkeypatch.delenv(name)


@pytest.mark.parametrize("value", [None, "", "0", "1", "x", "-2"])
@pytest.mark.parametrize("name", processes.LAUNCHED)
def test_one_process_needs_no_mpi_whatever_the_launcher_leaves_in_the_environment(monkeypatch, name, value):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    monkeypatch.delitem(sys.modules, "mpi4py.MPI", raising=False)
    for other in processes.LAUNCHED:
        monkeypatch.delenv(other, raising=False)
    if value is not None:
        monkeypatch.setenv(name, value)
    assert processes._communicator.__wrapped__() is None


class Raised(Exception):
    """What ends a context early."""


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("fails", [False, True])
def test_who_is_alone_is_so_until_the_outermost_context_ends(monkeypatch, depth, fails):
    """Contexts may stand in one another, follow one another, and end by an exception; other threads are not in them."""
    monkeypatch.setattr(processes, "_communicator", lambda: types.SimpleNamespace(rank=3, size=4))
    where = lambda: (distributed.rank(), distributed.size())  # noqa: E731

    def enter(left):
        for _ in range(2):
            with pytest.raises(Raised) if fails else nullcontext(), distributed.alone():
                assert where() == (0, 1)
                if left > 1:
                    enter(left - 1)
                assert where() == (0, 1)
                assert distributed.gather("a") == ["a"]
                seen = []
                thread = threading.Thread(target=lambda seen=seen: seen.append(where()))
                thread.start()
                thread.join()
                assert seen == [(3, 4)]
                if fails:
                    raise Raised
            assert where() == ((0, 1) if left < depth else (3, 4))

    enter(depth)
    assert where() == (3, 4)


def mpi_of(size):
    """Return a module in the place of mpi4py, whose world has `size` processes."""
    comm = types.SimpleNamespace(size=size, rank=1)
    mpi = types.SimpleNamespace(
        COMM_WORLD=types.SimpleNamespace(Dup=lambda: comm),
        Get_library_version=lambda: "MPICH Version:      5.0.2\nMPICH Release date: unreleased\n",
        Get_processor_name=lambda: "node7",
    )
    comm.Abort = lambda status: setattr(comm, "ended", status)
    return types.SimpleNamespace(MPI=mpi), comm


def test_processes_that_mpi_does_not_know_are_refused(monkeypatch):
    """Each would train by itself, and overwrite the checkpoint of the others: a launcher of another MPI does that."""
    module, _ = mpi_of(1)
    monkeypatch.setitem(sys.modules, "mpi4py", module)
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    with pytest.raises(RuntimeError) as error:
        processes._communicator.__wrapped__()
    assert str(error.value) == (
        "distributed: 2 processes were started; for 2 runs of their own, unset OMPI_COMM_WORLD_SIZE; "
        "for one, use the mpiexec of mpi4py's MPI (MPICH Version:      5.0.2), or srun --mpi=pmi2"
    )


def test_an_exception_that_nobody_catches_names_the_rank_and_ends_all(monkeypatch, capsys):
    module, comm = mpi_of(2)
    monkeypatch.setitem(sys.modules, "mpi4py", module)
    monkeypatch.setitem(sys.modules, "mpi4py.MPI", module.MPI)
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    monkeypatch.setattr(signal, "alarm", lambda seconds: setattr(comm, "seconds", seconds))
    assert processes._communicator.__wrapped__() is comm
    sys.excepthook(ValueError, ValueError("too bad"), None)
    assert capsys.readouterr().err == "rank 1 of 2, on node7:\nValueError: too bad\n"
    assert (comm.ended, comm.seconds) == (1, 5)


# The shards ----------------------------------------------------------------------------------


def digits(n, size, **settings):
    return DataLoader(Subset(job.TRAINING, range(n)), size, **settings)


def test_the_shards_of_all_processes_are_the_batch_in_order(monkeypatch):
    plain = list(digits(70, 32, rng=3))
    for size in (1, 2, 4):
        batches = lambda: [*split(digits(70, 32, rng=3), 4)]  # noqa: E731
        parts = all_well(ranks(monkeypatch, size, batches))
        for i, (images, labels) in enumerate(plain):
            own = [mine[i] for mine in parts]
            together = [batch for part in own for batch in part.batches]
            assert_array_equal(np.concatenate([x for x, _ in together]), images)
            assert_array_equal(np.concatenate([y for _, y in together]), labels)
            assert max(len(y) for _, y in together) - min(len(y) for _, y in together) <= 1
            assert [(part.place, part.images) for part in own] == [((0, i + 1), len(labels))] * size
            assert [part.first for part in own] == [r * 4 // size for r in range(size)]


@pytest.mark.parametrize("state", [None, {"seed": 5, "epoch": 4, "batch": 0}, {"seed": 5, "epoch": 4, "batch": 1}])
@pytest.mark.parametrize("left", range(1, 4))
def test_shards_have_the_place_of_their_batch_after_a_loop_that_was_left_early(state, left):
    """Whether that was a loop over shards or over batches; after a state was loaded, too."""
    for loop_over in (lambda loader: split(loader, 2), iter):
        batches, plain = (digits(70, 32, rng=3) for _ in range(2))
        if state is not None:
            batches.load_state_dict(state)
        epoch, first = batches.epoch, batches.batch
        begun = loop_over(batches)
        for i in range(min(left, 3 - first)):
            given = next(begun)
            assert batches.batch == first + i + 1
            expected = (epoch, batches.batch), (32, 32, 6)[first + i]
            assert loop_over is iter or (given.place, given.images) == expected
        for later in (1, 2):
            plain.load_state_dict({"seed": batches.seed, "epoch": epoch + later, "batch": 0})
            for i, (part, (images, labels)) in enumerate(zip(split(batches, 4), plain, strict=True), 1):
                assert (part.place, part.images) == ((epoch + later, i), len(labels))
                assert_array_equal(np.concatenate([x for x, _ in part.batches]), images)


@pytest.mark.parametrize(("n", "last"), [(67, 3), (64, None), (3, 3)])
def test_a_batch_of_fewer_images_than_shards_is_refused_before_the_first_one(n, last):
    batches, seen = digits(n, 32), []
    if last is None:
        assert len([*split(batches, 4)]) == 2
        return
    message = (
        f"expected an image for each of 4 shards, got a last batch of {last}; "
        "set another batch_size=, or leave these images out by Subset"
    )
    with pytest.raises(ValueError, match=message):
        seen.extend(split(batches, 4))
    net = linear()
    with pytest.raises(ValueError, match=message):
        train.fit(net, batches, optimizer=SGD(net.parameters(), 0.1), epochs=1, shards=4)
    assert not seen


def linear():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10, rng=0))


def ways():
    """Return images of which each tells its place among the draws: what the transform drew, and a loader of them."""
    return digits(24, 8, rng=1, transform=lambda x, rng: rng.random((len(x), 2)))


def test_augmentation_draws_from_seed_epoch_batch_and_shard_alone(monkeypatch):
    drawn = {}
    for size in (1, 2, 4):

        def epochs():
            loader = ways()
            return [[(part.place, part.first, part.batches) for part in split(loader, 4)] for _ in range(2)]

        for mine in all_well(ranks(monkeypatch, size, epochs)):
            for place, first, batches in [part for epoch in mine for part in epoch]:
                for shard, (draws, _) in enumerate(batches, first):
                    assert_array_equal(drawn.setdefault((*place, shard), draws), draws)
    assert len(drawn) == 2 * 3 * 4
    assert len(np.unique(np.concatenate([*drawn.values()]))) == 2 * 3 * 8 * 2  # all differ
    loader = ways()
    loader.load_state_dict({"seed": 1, "epoch": 1, "batch": 2})
    (part,) = split(loader, 4)  # the same without those before
    for shard, (draws, _) in enumerate(part.batches):
        assert_array_equal(draws, drawn[1, 3, shard])


# A step --------------------------------------------------------------------------------------


def loss_of(net):
    return lambda images, labels: mg.cross_entropy(net(mg.Tensor(images)), labels)


def first_step(net, shards, n=29, loss=None, loader=None):
    """Return loss and numbers of the first global batch."""
    part = next(split(loader or digits(n, n, rng=0), shards))
    return sum_gradients(net, loss or loss_of(net), part)


def doubles():
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, rng=0, dtype="float64"), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10, rng=1, dtype="float64")
    )
    loss = lambda x, y: mg.cross_entropy(net(mg.Tensor(x.astype("float64"))), y)  # noqa: E731
    return net, loss


@pytest.mark.parametrize("shards", [1, 2, 4, 8])
def test_gradients_are_those_of_the_mean_loss(shards):
    """In float64, of 29 images: the shards differ in size, and have weights to match."""
    net, loss = doubles()
    images, labels = next(iter(digits(29, 29, rng=0)))
    whole = loss(images, labels)
    whole.backward()
    expected = [p.grad.data for p in net.parameters()]
    value, numbers = first_step(net, shards, loss=lambda x, y: (loss(x, y), [len(y), 0.5]))
    assert_allclose(value, whole.item(), rtol=1e-13)
    assert numbers == [29.0, 0.5 * shards]
    for p, gradient in zip(net.parameters(), expected, strict=True):
        assert_allclose(p.grad.data, gradient, rtol=0, atol=1e-12 * np.abs(gradient).max(), strict=True)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("numbers", [[2.0**24 + 1, 0.1], [2**53, 1e300, 1e-300], [True, 3], [1e39, -0.0], []])
@pytest.mark.parametrize("size", [1, 2])
def test_loss_and_numbers_are_added_in_float64_whatever_the_loss_is(monkeypatch, dtype, numbers, size):
    """The loss of a shard has the digits of its dtype; the sum over the shards has all of float64's."""
    values = np.array([1.0, 1e-9, 3e-5, 1 / 3], dtype)

    def work():
        net, calls = nn.Linear(1, 1, rng=0, dtype=dtype), iter(range(4))
        part = next(split(digits(32, 32), 4))
        skip = part.first

        def loss(x, y):
            return (net.weight * 0.0).sum() + mg.Tensor(values[skip + next(calls)]), list(numbers)

        return sum_gradients(net, loss, part)

    for value, sums in all_well(ranks(monkeypatch, size, work)):
        assert value == tree([0.25 * float(v) for v in values])
        assert sums == [4.0 * float(number) for number in numbers]


def test_one_shard_gives_the_bits_of_no_shards_unless_something_is_drawn():
    """Running statistics get there by another way: the old value plus the change."""
    nets = [
        nn.Sequential(nn.Conv2d(1, 4, 3, rng=0), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 10, rng=1))
        for _ in "12"
    ]
    value = loss_of(nets[0])(*next(iter(digits(29, 29, rng=0))))
    value.backward()
    assert first_step(nets[1], 1)[0] == value.item()
    for a, b in zip(*[net.parameters() for net in nets], strict=True):
        assert bits(a.grad.data) == bits(b.grad.data)
    for a, b in zip(*[net.buffers() for net in nets], strict=True):
        assert_allclose(b.data, a.data, rtol=1e-6, atol=1e-7)


def test_statistics_become_the_mean_over_the_images_of_what_each_shard_makes_of_them():
    norm = nn.BatchNorm2d(1, momentum=0.3)
    norm.running_mean.data[...], norm.running_var.data[...] = 5.0, 7.0
    images, _ = next(iter(digits(29, 29, rng=0)))
    mean = lambda x, y: norm(mg.Tensor(x)).mean()  # noqa: E731
    first_step(norm, 4, loss=mean)
    parts = np.split(images.astype("float64"), [29 * i // 4 for i in (1, 2, 3)])
    expected = sum(len(x) / 29 * np.array([x.mean(), x.var(ddof=1)]) for x in parts)
    got = [norm.running_mean.data[0], norm.running_var.data[0]]
    assert_allclose(got, 0.7 * np.array([5.0, 7.0]) + 0.3 * expected, rtol=1e-6)
    norm.eval()  # frozen
    first_step(norm, 4, loss=mean)
    assert [norm.running_mean.data[0], norm.running_var.data[0]] == got


class Odd(nn.Module):
    """Buffers that are no statistics: a mask, a counter, a flag, and the last labels."""

    def __init__(self):
        self.mask = nn.Buffer(np.array([0.0, -np.inf, np.inf, np.nan, -0.1]))
        self.count, self.seen = nn.Buffer(np.array(7)), nn.Buffer(np.array([False, True]))
        self.mean = nn.Buffer(np.array(0.0))
        self.w = nn.Parameter(np.ones(1))

    def forward(self, x):
        self.count.data += 1
        self.seen.data[0] |= True
        self.mean.data += len(x)
        return self.w.sum()


def test_buffers_that_are_no_statistics_are_what_the_first_shard_makes_of_them(monkeypatch):
    def step():
        odd = Odd()
        before = bits(odd.mask.data)
        for _ in range(2):
            first_step(odd, 4, loss=lambda x, y: odd(x))
        assert_allclose(odd.mean.data, 2 * (3 * 7 * 7 + 8 * 8) / 29, rtol=1e-14)
        return int(odd.count.data), odd.count.data.dtype, odd.seen.data.tolist(), bits(odd.mask.data) == before

    for size in (1, 2, 4):
        assert all_well(ranks(monkeypatch, size, step)) == [(9, np.dtype("int64"), [True, True], True)] * size


BITS = [np.random.PCG64, np.random.PCG64DXSM, np.random.MT19937, np.random.Philox, np.random.SFC64]


@pytest.mark.parametrize("bits_", BITS)
def test_dropout_draws_from_seed_epoch_batch_and_shard_alone(monkeypatch, bits_):
    """Never from the draws before; and the Generator, of whatever kind, is left as it was."""

    def masks():
        drop = nn.Sequential(*(nn.Dropout(0.5, rng=np.random.Generator(bits_(4))) for _ in range(2)))
        one, found = nn.Parameter(np.ones(1)), {}
        drop.one = one
        state = drop[0].rng.bit_generator.state
        loader = digits(24, 8, rng=1)
        for _ in range(2):
            for part in split(loader, 2):
                seen = iter(range(part.first, 2))

                def loss(x, y, part=part, seen=seen):
                    out = [mg.dropout(mg.Tensor(np.ones(64)), 0.5, rng=d.rng, training=True) for d in list(drop)[:2]]
                    found[(*part.place, next(seen))] = [o.numpy().tobytes() for o in out]
                    return (one * 2.0).sum()

                sum_gradients(drop, loss, part)
        assert repr(drop[0].rng.bit_generator.state) == repr(state)
        return found

    ((alone,), *others) = [all_well(ranks(monkeypatch, size, masks)) for size in (1, 2)]
    assert len(alone) == 2 * 3 * 2
    assert len({mask for pair in alone.values() for mask in pair}) == 2 * len(alone)  # one for each layer
    for first, second in others:
        assert first | second == alone


class Branches(nn.Module):
    """One parameter is used by all, one by some images only, one by none, one is frozen."""

    def __init__(self):
        self.all, self.some, self.none = (nn.Parameter(np.ones(1)) for _ in range(3))
        self.frozen = nn.Parameter(np.ones(1))
        self.frozen.requires_grad = False


@pytest.mark.parametrize("size", [1, 2, 4])
def test_a_parameter_that_no_shard_used_has_no_gradient(monkeypatch, size):
    def step():
        net = Branches()
        for p in (net.all, net.some, net.none):
            p.grad = mg.Tensor(np.full(1, 9.0))  # of an earlier step

        def loss(x, y):
            value = (net.all + net.frozen).sum()
            return value + net.some.sum() if y[0] == 2 else value

        part = next(split(DataLoader(Ordered(), 4), 4))
        sum_gradients(net, loss, part)
        return [None if p.grad is None else p.grad.data.tolist() for p in (net.all, net.some, net.none, net.frozen)]

    assert all_well(ranks(monkeypatch, size, step)) == [[[1.0], [0.25], None, None]] * size


class Ordered:
    """Four images, whose labels are their places."""

    def __len__(self):
        return 4

    def __getitem__(self, indices):
        return np.zeros((len(indices), 1)), indices


# Whole runs ----------------------------------------------------------------------------------


def log(folder):
    return [job.timeless(record) for record in read_log(folder / "log.jsonl")]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Return what one process gives."""
    folder = tmp_path_factory.mktemp("alone")
    results = job.run(job.small(), folder, iterations=7, shards=8)
    assert log(folder) == results[1]
    assert [record["iteration"] for record in results[1]] == [float(n).hex() for n in (5, 7)]
    return results


@pytest.mark.parametrize("size", [2, 4, 8])
def test_runs_are_equal_to_the_bit_for_every_number_of_processes(monkeypatch, tmp_path, alone, size):
    """Weights, statistics, velocities, records; dropout and augmentation, batch norm, and a smaller last batch."""
    asked = []
    work = lambda: job.run(  # noqa: E731
        job.small(), tmp_path, iterations=7, shards=8, on_record=lambda _: asked.append(distributed.rank())
    )
    assert all_well(ranks(monkeypatch, size, work)) == [alone] * size
    assert log(tmp_path) == alone[1]
    assert asked == [0, 0]  # one process asks for all


@pytest.mark.parametrize(
    "sizes", [(1, 4, 2), *[pytest.param(sizes, marks=pytest.mark.slow) for sizes in ((8, 1), (2, 8))]]
)
def test_a_run_is_resumed_on_another_number_of_processes(monkeypatch, tmp_path, alone, sizes):
    for size, iterations in zip(sizes, np.linspace(0, 7, len(sizes) + 1).astype(int)[1:], strict=True):
        work = lambda: job.run(job.small(), tmp_path, iterations=iterations, shards=8, resume=True)  # noqa: E731, B023
        results = all_well(ranks(monkeypatch, size, work))
    (weights, records), *_ = results
    assert weights == alone[0]
    assert records[-1] == alone[1][-1]
    assert results == results[:1] * size
    assert log(tmp_path) == records


def test_initial_weights_and_seeds_are_those_of_rank_0(monkeypatch):
    def work():
        seed = 10 * distributed.rank() + 1
        net = nn.Sequential(nn.Dropout(0.5, rng=seed), nn.Flatten(), nn.Linear(64, 10, rng=seed))
        sgd = SGD(net.parameters(), 0.1 * seed)
        train.fit(net, digits(40, 20, rng=seed), optimizer=sgd, iterations=5, shards=4)
        return bits(net.state_dict()), sgd.lr

    results = [all_well(ranks(monkeypatch, size, work)) for size in (1, 2, 4)]
    assert [result for all_ in results for result in all_] == results[0] * 7


def test_on_record_of_rank_0_ends_all(monkeypatch):
    def work():
        net = linear()
        mine = None if distributed.rank() == 1 else (lambda history: len(history) == 2)
        sgd = SGD(net.parameters(), 0.1)
        return len(train.fit(net, digits(40, 20), optimizer=sgd, epochs=9, shards=4, on_record=mine))

    assert all_well(ranks(monkeypatch, 2, work)) == [2, 2]


@pytest.mark.parametrize(("rank", "number"), [(0, signal.SIGTERM), (1, signal.SIGTERM), (1, signal.SIGINT)])
@pytest.mark.parametrize("at", [8, pytest.param(28, marks=pytest.mark.slow)])
def test_a_signal_to_one_process_stops_all_at_one_iteration_and_they_wait_for_the_file(
    monkeypatch, tmp_path, alone, rank, number, at
):
    """Also in the last iteration, when those who were not asked already stand at the end."""
    requests, writing = {}, []

    @contextmanager
    def noting(listen):
        assert listen
        yield requests.setdefault(distributed.rank(), StopRequest())

    def slow_save(path, tree):
        assert distributed.rank() == 0
        writing.append(path)
        time.sleep(0.05)
        save(path, tree)
        writing.clear()

    class Stopping(nn.Sequential):
        forwards = 0

        def forward(self, x):
            self.forwards += self.training
            if distributed.rank() == rank and self.forwards == at:
                requests[rank].received = number
            return super().forward(x)

    def work():
        try:
            job.run(Stopping(*job.small()), tmp_path, iterations=7, shards=8)
        finally:
            assert not writing

    save = run_module.save
    monkeypatch.setattr(run_module, "save", slow_save)
    monkeypatch.setattr(loop, "stop_requests", noting)
    kind = SystemExit if number == signal.SIGTERM else KeyboardInterrupt
    stopped = ranks(monkeypatch, 2, work)
    assert [type(error) for error in stopped] == [kind] * 2, stopped
    monkeypatch.undo()
    assert mg.load(tmp_path / "run.safetensors")["iteration"] == -(-at // 4)
    assert job.run(job.small(), tmp_path, iterations=7, shards=8, resume=True)[0] == alone[0]


def test_a_signal_during_the_last_evaluation_is_not_forgotten(monkeypatch, tmp_path):
    """It arrives when no iteration is to come in which the processes could tell each other."""
    request = StopRequest()
    monkeypatch.setattr(loop, "stop_requests", lambda listen: nullcontext(request))

    def metric(logits, labels):
        if len(labels) == 5:
            request.received = signal.SIGTERM
        return 0.0

    net = linear()
    with pytest.raises(SystemExit):
        train.fit(
            net,
            digits(40, 20),
            optimizer=SGD(net.parameters(), 0.1),
            epochs=1,
            shards=2,
            metrics={"nothing": metric},
            evaluate_on={"test": digits(10, 10)},
            checkpoint=train.Checkpoint(tmp_path / "run.safetensors"),
        )


@pytest.mark.parametrize("culprit", [0, 1])
def test_the_cause_of_a_nan_is_named_by_all_whoever_computed_it(monkeypatch, tmp_path, culprit):
    """With the draws of that shard: an operator that is wrong for some draws only is found."""

    class Wrong(nn.Sequential):
        def forward(self, x):
            x = super().forward(x)
            return mg.log(x * 0.0 - 1.0) if self.training and x.numpy().sum() == worst else x

    def work(seek=True):
        net = Wrong(nn.Flatten(), nn.Linear(64, 10, rng=0), nn.Dropout(0.5, rng=1))
        sgd = SGD(net.parameters(), 0.1)
        batches = digits(40, 20, rng=0)
        if seek:
            part = next(split(batches, 2))
            sums = []
            sum_gradients(net, lambda x, y: loss_noted(net, x, y, sums), part)
            return sums
        with np.errstate(all="ignore"):
            train.fit(net, batches, optimizer=sgd, epochs=1, shards=2)

    worst = math.nan
    worst = work()[culprit]
    errors = ranks(monkeypatch, 2, lambda: work(seek=False))
    assert [type(error) for error in errors] == [FloatingPointError] * 2, errors
    assert len({str(error) for error in errors}) == 1
    assert "log" in str(errors[0])
    assert "iteration 0" in str(errors[0])


def loss_noted(net, images, labels, sums):
    logits = net(mg.Tensor(images))
    sums.append(logits.numpy().sum())
    return mg.cross_entropy(logits, labels)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"iterations": 7}, "the number of iterations is 6 on rank 0, and 7 on rank 1"),
        ({"evaluate_every": 2}, "evaluate_every is 2 on rank 0, and 1 on rank 1"),
        ({"shards": 8}, "shards is 4 on rank 0, and 8 on rank 1"),
        ({"checkpoint": True}, "a checkpoint is False on rank 0, and True on rank 1"),
        ({"metrics": {}}, "metrics is ['error'] on rank 0, and [] on rank 1"),
        ({"images": range(1, 41)}, "the data of batches is "),
        ({"images": [*range(39), 99]}, "the data of batches is "),
        ({"held_out": range(1, 21)}, "the data of test is "),
        ({"loss_of": nn.Identity}, "the model is "),
    ],
)
def test_whatever_would_let_processes_drift_apart_is_named_at_the_start(monkeypatch, tmp_path, settings, name):
    def work():
        own = {"iterations": 6, "shards": 4} | (settings if distributed.rank() == 1 else {})
        if name.startswith("evaluate_every"):
            own["evaluate_every"] = 2 - distributed.rank()
        if own.pop("checkpoint", None):
            own["checkpoint"] = train.Checkpoint(tmp_path / "run.safetensors")
        net = nn.Sequential(*linear(), nn.BatchNorm2d(10)) if own.pop("loss_of", None) else linear()
        batches = DataLoader(Subset(job.TRAINING, own.pop("images", range(40))), 20)
        test = DataLoader(Subset(job.TRAINING, own.pop("held_out", range(20))), 20)
        train.fit(net, batches, optimizer=SGD(net.parameters(), 0.1), evaluate_on={"test": test}, **own)

    for error in ranks(monkeypatch, 2, work):
        assert f"distributed: {name}" in str(error)


def test_several_processes_without_shards_are_refused(monkeypatch):
    net = linear()
    work = lambda: train.fit(net, digits(40, 20), optimizer=SGD(net.parameters(), 0.1), epochs=1)  # noqa: E731
    for error in ranks(monkeypatch, 2, work):
        assert str(error) == "fit: expected shards=, for several processes, got 2 processes; as shards=4"
