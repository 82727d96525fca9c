"""The loader: order and draws depend on the seed and the position alone, and no thread outlives its loop."""

import copy
import gc
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import traceback
import weakref
from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad.data import DataLoader, Digits
from minigrad.data.transforms import Compose, Normalize, RandomCrop, RandomHorizontalFlip
from tests.tools.strict import StrictArray, strict

PREFETCH = [0, 1, 2, 5]
PATIENCE = 20  # seconds until a thread that should move is given up


@pytest.fixture(autouse=True)
def started():
    """Return a function that returns the threads that this test started: other tests' may still be running."""
    before = set(threading.enumerate())

    def new():
        return set(threading.enumerate()) - before

    yield new
    assert not new()


class Numbers:
    """A data set in which image i is the number i, and which can be told to do something before it gives a batch."""

    def __init__(self, n, before=np.asarray):
        self.n, self.before = n, before

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        self.before(index)
        return np.arange(self.n)[index], np.arange(self.n)[index] % 3


def draw(images, rng):
    """A transform that shows its draws."""
    return images + rng.random(len(images))


def order(loader):
    return [int(i) for images, _ in loader for i in images]


def walk(loader):
    return [images.tolist() for images, _ in loader]


def each(loader, do):
    for images, _ in loader:
        do(images)


def fail(images):
    raise ZeroDivisionError


# One epoch -----------------------------------------------------------------------------------


@pytest.mark.parametrize("prefetch", PREFETCH)
def test_batches_cover_an_epoch_once(prefetch):
    loader = DataLoader(Numbers(10), 4, prefetch=prefetch)
    assert [len(images) for images, _ in loader] == [4, 4, 2]
    assert len(loader) == 3
    assert order(loader) == list(range(10))
    for images, labels in loader:
        np.testing.assert_array_equal(labels, images % 3)


@given(n=st.integers(1, 40), size=st.integers(1, 50), seed=st.integers(0, 2**70), prefetch=st.integers(0, 60))
def test_every_image_comes_once_in_every_epoch(n, size, seed, prefetch):
    loader = DataLoader(Numbers(n), size, rng=seed, prefetch=prefetch)
    for epoch in range(2):
        assert loader.epoch == epoch
        batches = walk(loader)
        assert [len(batch) for batch in batches[:-1]] == [size] * (len(loader) - 1)
        assert sorted(chain(*batches)) == list(range(n))


def test_the_transform_sees_batches_and_not_the_labels():
    loader = DataLoader(Numbers(5), 2, transform=lambda images, rng: images * 10)
    assert order(loader) == [0, 10, 20, 30, 40]
    assert [labels.tolist() for _, labels in loader] == [[0, 1], [2, 0], [1]]


# The seed alone ------------------------------------------------------------------------------


def test_the_order_depends_on_the_seed_alone():
    a, b, c = (DataLoader(Numbers(100), 7, rng=seed) for seed in (1, 1, 2))
    first, second = order(a), order(a)
    assert sorted(first) == list(range(100))
    assert len({tuple(x) for x in (first, second, order(c), range(100))}) == 4
    assert [order(b), order(b)] == [first, second]


@pytest.mark.parametrize("rng", [None, 0, 3, 2**100])
def test_random_numbers_do_not_depend_on_the_number_of_batches_made_ahead(rng):
    walks = []
    for prefetch in PREFETCH:
        loader = DataLoader(Numbers(20), 3, rng=rng, transform=draw, prefetch=prefetch)
        walks.append([walk(loader) for _ in range(3)])
    assert all(other == walks[0] for other in walks[1:])


def test_no_two_batches_of_any_epoch_or_seed_share_random_numbers():
    draws = []
    for seed in (0, 1, 2, 2**32, 2**32 + 1, 5 + 7 * 2**32):
        loader = DataLoader(Numbers(12), 3, rng=seed, transform=lambda images, rng: rng.random(len(images)))
        draws += [images[0] for _ in range(4) for images, _ in loader]
    assert len(set(draws)) == len(draws) == 6 * 4 * 4


def test_orders_of_seeds_and_epochs_differ():
    orders = []
    for seed in (0, 1, 2, 2**32, 2**32 + 1):
        loader = DataLoader(Numbers(50), 50, rng=seed)
        orders += [tuple(order(loader)) for _ in range(4)]
    assert len(set(orders)) == 20


def test_the_order_does_not_depend_on_the_transform_nor_on_the_batch_size():
    plain = DataLoader(Numbers(30), 4, rng=5)
    drawing = DataLoader(Numbers(30), 7, rng=5, transform=lambda images, rng: images + 0 * rng.random(1000)[0])
    assert [order(plain), order(plain)] == [order(drawing), order(drawing)]


def test_every_order_is_equally_likely():
    counts = np.zeros((4, 4))
    for seed in range(400):
        loader = DataLoader(Numbers(4), 4, rng=seed, prefetch=0)
        for _ in range(5):
            counts[range(4), order(loader)] += 1
    assert abs(counts / 2000 - 1 / 4).max() < 0.05  # 5 standard deviations


def test_without_rng_the_transform_has_seed_0():
    loaders = [DataLoader(Numbers(9), 9, rng=rng, transform=draw) for rng in (None, 0)]
    first, second = (np.sort([walk(loader)[0], walk(loader)[0]]) for loader in loaders)
    assert (first != first[::-1]).all()  # epochs draw anew
    unshuffled = loaders[0].state_dict()["seed"], loaders[0].epoch
    assert unshuffled == (0, 2)
    fractions = [np.sort(np.mod(x, 1)) for x in (first, second)]
    np.testing.assert_allclose(fractions[0], fractions[1], atol=1e-12)


def test_one_number_is_drawn_from_a_generator_as_the_seed():
    given_, twin = np.random.default_rng(8), np.random.default_rng(8)
    a, b = DataLoader(Numbers(30), 4, rng=given_, transform=draw), DataLoader(Numbers(30), 4, rng=given_)
    assert given_.bit_generator.state != twin.bit_generator.state
    assert [a.seed, b.seed] == [int(twin.integers(2**63)) for _ in range(2)]  # two loaders, two seeds
    state = given_.bit_generator.state
    first = walk(a)
    assert given_.bit_generator.state == state  # walking draws nothing from it
    again = DataLoader(Numbers(30), 4, rng=a.seed, transform=draw)
    assert walk(again) == first
    assert json.loads(json.dumps(a.state_dict())) == {"seed": a.seed, "epoch": 1, "batch": 0}


def test_the_global_generator_is_not_touched():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    walk(DataLoader(Numbers(30), 4, rng=0, transform=draw))
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


# The position --------------------------------------------------------------------------------


@pytest.mark.parametrize("prefetch", PREFETCH)
@pytest.mark.parametrize("rng", [None, 4])
def test_resumed_at_any_batch_of_any_epoch_the_rest_is_the_same(rng, prefetch):
    def loader(prefetch):
        return DataLoader(Numbers(10), 3, rng=rng, transform=draw, prefetch=prefetch)

    whole, states, batches = loader(2), [], []
    for _ in range(3):
        states.append(whole.state_dict())
        for images, _ in whole:
            batches.append(images.tolist())
            states.append(json.loads(json.dumps(whole.state_dict())))
    starts = [0, 1, 2, 3, 4, 4, 5, 6, 7, 8, 8, 9, 10, 11, 12]  # between two epochs: at the end of one, before the next
    assert [state["epoch"] * 4 + state["batch"] for state in states] == starts
    for state, start in zip(states, starts, strict=True):
        resumed = loader(prefetch)
        resumed.load_state_dict(state)
        assert resumed.state_dict() == state
        rest = [walk(resumed) for _ in range(3 - resumed.epoch)]
        assert [len(epoch) for epoch in rest] == [4 - state["batch"]] + [4] * (len(rest) - 1)
        assert list(chain(*rest)) == batches[start:]
        assert resumed.state_dict() == whole.state_dict()


def test_a_loaded_state_replaces_the_seed():
    a, b = (DataLoader(Numbers(20), 3, rng=np.random.default_rng(seed)) for seed in (1, 2))
    b.load_state_dict(a.state_dict())
    assert walk(a) == walk(b)


@pytest.mark.parametrize("prefetch", PREFETCH)
def test_the_position_counts_batches_received_not_batches_made(prefetch):
    made = threading.Event()
    loader = DataLoader(Numbers(20, before=lambda index: index[0] == prefetch and made.set()), 1, prefetch=prefetch)
    seen = []
    for _ in loader:
        assert made.wait(PATIENCE)
        seen.append((loader.epoch, loader.batch))
    assert seen == [(0, i + 1) for i in range(20)]
    assert (loader.epoch, loader.batch) == (1, 0)


@pytest.mark.parametrize("prefetch", PREFETCH)
def test_after_an_early_end_the_next_loop_is_the_next_epoch(prefetch):
    loader, whole = (DataLoader(Numbers(10), 3, rng=6, prefetch=prefetch) for _ in range(2))
    epochs = [walk(whole) for _ in range(4)]
    assert walk(loader) == epochs[0]
    for _ in loader:
        if loader.batch == 2:
            break
    assert loader.state_dict() == {"seed": 6, "epoch": 1, "batch": 2}  # it may still be saved, and gone on from
    assert walk(loader) == epochs[2]
    with pytest.raises(ZeroDivisionError):
        each(loader, fail)
    loader.load_state_dict(loader.state_dict())
    assert walk(loader) == epochs[3][1:]
    assert (loader.epoch, loader.batch) == (4, 0)


def test_a_loop_left_in_its_last_batch_has_finished_its_epoch():
    loader = DataLoader(Numbers(4), 2)
    for _ in loader:
        if loader.batch == 2:
            break
    assert (loader.epoch, loader.batch) == (0, 2)
    assert walk(loader) == [[0, 1], [2, 3]]
    assert (loader.epoch, loader.batch) == (2, 0)


def test_left_early_after_resuming_the_next_loop_is_the_next_epoch():
    loader = DataLoader(Numbers(6), 2, rng=0)
    loader.load_state_dict({"seed": 0, "epoch": 5, "batch": 1})
    next(iter(loader))
    assert (loader.epoch, loader.batch) == (5, 2)
    assert len(walk(loader)) == 3
    assert (loader.epoch, loader.batch) == (7, 0)


def test_an_iterator_that_is_not_used_does_not_move_the_position():
    loader = DataLoader(Numbers(6), 2, rng=0)
    loader.load_state_dict({"seed": 0, "epoch": 5, "batch": 1})
    iter(loader)
    assert len(walk(loader)) == 2


def test_a_state_may_hold_numpy_integers():
    loader = DataLoader(Numbers(6), 2, rng=0)
    loader.load_state_dict({"seed": np.int64(3), "epoch": np.array(5), "batch": np.int32(1)})
    assert json.dumps(loader.state_dict()) == '{"seed": 3, "epoch": 5, "batch": 1}'


# The thread ----------------------------------------------------------------------------------


@pytest.mark.parametrize("prefetch", [1, 2, 5])
def test_as_many_batches_are_made_ahead_as_asked_for_and_no_more(prefetch):
    asked, made = [], [threading.Event() for _ in range(12)]

    def before(index):
        asked.append((index.tolist(), loader.batch, threading.current_thread()))
        made[index[0]].set()

    loader = DataLoader(Numbers(12, before), 1, prefetch=prefetch)
    for images, _ in loader:
        assert made[min(images[0] + prefetch, 11)].wait(PATIENCE)  # while the loop is busy
        time.sleep(0.002)  # to be too eager
    assert [index for index, _, _ in asked] == [[i] for i in range(12)]
    assert all(index[0] <= given_ + prefetch for index, given_, _ in asked)
    threads = {thread for _, _, thread in asked}
    assert len(threads) == 1
    assert threading.current_thread() not in threads
    assert all(thread.daemon for thread in threads)


def test_without_prefetch_there_is_no_thread_and_nothing_ahead():
    asked = []
    loader = DataLoader(Numbers(5, lambda index: asked.append((index[0], threading.current_thread()))), 1, prefetch=0)
    for i, _ in enumerate(loader):
        assert asked == [(j, threading.main_thread()) for j in range(i + 1)]


@pytest.mark.parametrize("prefetch", PREFETCH)
def test_a_slow_producer_keeps_the_order(prefetch):
    loader = DataLoader(Numbers(12, lambda index: time.sleep(0.005 * (index[0] % 3))), 1, prefetch=prefetch)
    assert order(loader) == list(range(12))


class MyError(Exception):
    """An error whose type takes more than a message."""

    def __init__(self, code, reason):
        super().__init__(reason)
        self.code = code


@pytest.mark.parametrize("prefetch", PREFETCH)
@pytest.mark.parametrize("where", ["data", "transform"])
@pytest.mark.parametrize("bad", [0, 1, 4, 9])
def test_an_error_is_raised_in_place_of_its_batch(prefetch, where, bad):
    raised, asked = [], []

    def deep_inside(i):
        asked.append(i)
        if i == bad:
            raised.append(MyError(7, "no such picture"))
            raise raised[0]

    def transform(images, rng):
        if where == "transform":
            deep_inside(images[0])
        return images

    before = (lambda index: deep_inside(index[0])) if where == "data" else (lambda index: None)
    loader, seen = DataLoader(Numbers(10, before), 1, transform=transform, prefetch=prefetch), []
    with pytest.raises(MyError, match="no such picture") as caught:
        seen.extend(int(images[0]) for images, _ in loader)
    assert caught.value is raised[0]
    assert caught.value.code == 7
    assert seen == list(range(bad))
    assert asked == list(range(bad + 1))  # and nothing after it
    assert (loader.epoch, loader.batch) == (0, bad)
    assert "deep_inside" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    bad = -1
    assert len(walk(loader)) == 10  # it can be used again


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError])
def test_base_exceptions_are_raised_in_the_loop(error):
    def before(index):
        if index[0] == 3:
            raise error

    with pytest.raises(error):
        walk(DataLoader(Numbers(10, before), 1))


@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_stop_iteration_of_the_data_set_does_not_end_the_epoch_silently(prefetch):
    def transform(images, rng):
        return next(iter([]))

    with pytest.raises(RuntimeError, match="StopIteration"):
        walk(DataLoader(Numbers(10), 1, transform=transform, prefetch=prefetch))


@pytest.mark.parametrize("prefetch", [0, 2])
def test_numpys_error_state_is_that_of_the_loop(prefetch):
    loader = DataLoader(Numbers(4), 2, transform=lambda images, rng: 1 / images, prefetch=prefetch)
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        walk(loader)
    with np.errstate(divide="ignore"):
        assert walk(loader)[0] == [np.inf, 1]


@pytest.mark.parametrize("prefetch", [1, 2, 5])
@pytest.mark.parametrize("how", ["break", "exception", "close", "collected", "used up"])
def test_the_thread_ends_with_the_loop(prefetch, how, started):
    loader = DataLoader(Numbers(50), 1, prefetch=prefetch)
    iterator = iter(loader)
    assert not started()  # nothing runs until a batch is asked for
    next(iterator)
    (thread,) = started()
    assert thread.name == "DataLoader"
    if how == "break":
        for _ in iterator:
            break
        del iterator
    elif how == "exception":
        with pytest.raises(ZeroDivisionError):
            each(iterator, fail)
        del iterator
    elif how == "close":
        iterator.close()
    elif how == "collected":
        del iterator
    else:
        assert len(list(iterator)) == 49
    assert not thread.is_alive()


def test_ordered_batches_are_not_made_after_the_loop_has_ended(started):
    asked, ready = [], threading.Event()

    def before(index):
        asked.append(int(index[0]))
        if index[0] == 1:
            assert ready.wait(PATIENCE)
            iterator.close()  # here, so that the end surely comes before the next batch

    iterator = iter(DataLoader(Numbers(50, before), 1, prefetch=5))
    next(iterator)
    (thread,) = started()
    ready.set()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert asked == [0, 1]


def test_nothing_refers_to_the_loader_or_its_batches_afterwards():
    gc.disable()  # not even a cycle
    try:
        for how in ("whole", "break", "error"):
            loader = DataLoader(Numbers(6, lambda index, how=how: 1 / (int(index[0]) - 3 if how == "error" else 1)), 1)
            held = weakref.ref(loader)
            batch = weakref.ref(next(iter(loader))[0])
            try:
                for images, _ in loader:
                    if how == "break" and images[0] == 4:
                        break
            except ZeroDivisionError:
                pass
            del images, loader, _
            assert held() is None, how
            assert batch() is None, how
    finally:
        gc.enable()


@pytest.mark.parametrize("collector", ["loop", "thread"])
def test_a_forgotten_loop_in_a_cycle_is_collected_by_any_thread(collector, started):
    """The collector may run in the loader's own thread, which cannot wait for itself."""
    forgotten, collected = threading.Event(), threading.Event()

    def before(index):
        if collector == "thread" and index[0] == 1:
            assert forgotten.wait(PATIENCE)
            gc.collect()
            collected.set()

    iterator = iter(DataLoader(Numbers(10, before), 1))
    next(iterator)
    (thread,) = started()
    ring = [iterator]
    ring.append(ring)
    del iterator, ring
    forgotten.set()
    if collector == "loop":
        gc.collect()
    else:
        assert collected.wait(PATIENCE)
    thread.join(PATIENCE)
    assert not thread.is_alive()


@pytest.mark.parametrize("prefetch", PREFETCH)
def test_of_two_loops_at_once_the_older_one_is_refused(prefetch):
    loader = DataLoader(Numbers(8), 2, rng=0, prefetch=prefetch)
    seen = []
    with pytest.raises(RuntimeError, match="another loop over the same loader has begun"):
        each(loader, lambda images: seen.append(walk(loader)))
    whole = DataLoader(Numbers(8), 2, rng=0)
    walk(whole)
    assert seen == [walk(whole)]  # the younger one is a whole epoch, the next
    with pytest.raises(RuntimeError, match="make two loaders"):
        list(zip(loader, loader, strict=True))


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
@pytest.mark.parametrize("received", [0, 1, 4, 5])
@pytest.mark.parametrize("prefetch", PREFETCH)
def test_a_loader_can_be_copied_at_any_time(prefetch, received, duplicate):
    """Before, in and after an epoch: the copy has the position, and neither of the two ends the loop of the other."""

    def new():
        return DataLoader(Numbers(10), 2, rng=3, transform=draw, prefetch=prefetch)

    loader, whole = new(), new()
    expected = [walk(whole), walk(whole)]
    batches = iter(loader)
    got = [next(batches)[0].tolist() for _ in range(received)]
    got += walk(batches) if received == 5 else []
    twin = duplicate(loader)
    assert twin.state_dict() == loader.state_dict()
    assert walk(twin) == expected[received > 0]
    assert [*got, *walk(batches)] == expected[0]


def test_two_loaders_may_share_a_data_set():
    numbers = Numbers(8)
    a, b = DataLoader(numbers, 2, rng=0), DataLoader(numbers, 2, rng=0)
    for (x, _), (y, _) in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)


def test_a_loop_does_not_go_on_after_a_state_was_loaded():
    loader = DataLoader(Numbers(8), 2, rng=0)
    with pytest.raises(RuntimeError, match="or a state was loaded"):
        each(loader, lambda images: loader.load_state_dict({"seed": 0, "epoch": 3, "batch": 2}))
    assert (loader.epoch, loader.batch) == (3, 2)
    assert len(walk(loader)) == 2


def test_a_loop_that_is_still_referenced_does_not_keep_its_thread(started):
    """As after an error in a notebook, which keeps the traceback and all that it refers to."""
    loader = DataLoader(Numbers(8), 2)
    held = iter(loader)
    next(held)
    (first,) = started()
    younger = iter(loader)
    next(younger)
    assert not first.is_alive()
    younger.close()


@pytest.mark.parametrize("prefetch", [0, 2])
def test_an_interrupt_while_the_loop_waits_ends_it(prefetch):
    def before(index):
        if index[0] == 2:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)

    loader = DataLoader(Numbers(1000, before), 1, prefetch=prefetch)
    with pytest.raises(KeyboardInterrupt):
        walk(loader)
    assert loader.batch < 1000


PROGRAM = """
import threading, time
import numpy as np
from minigrad.data import DataLoader

class Data:
    def __len__(self):
        return 100
    def __getitem__(self, index):
        if index[0] == {stuck}:
            threading.Event().wait()
        return index, index

DataLoader.held = iter(DataLoader(Data(), 1))  # finalised late, when threads are frozen already
next(DataLoader.held)
print("done")
"""


@pytest.mark.parametrize("stuck", [-1, 2])
def test_the_interpreter_can_exit_in_the_middle_of_an_epoch(stuck):
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM.format(stuck=stuck)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert (result.stdout, result.stderr) == ("done\n", "")


# In use --------------------------------------------------------------------------------------


def test_the_recipe_of_the_paper_on_real_digits():
    digits = Digits()
    augment = Compose([Normalize.per_pixel(digits), RandomCrop(8, padding=1), RandomHorizontalFlip()])
    loaders = [DataLoader(digits, 128, rng=3, transform=augment, prefetch=prefetch) for prefetch in (0, 2)]
    for (a, labels), (b, _) in zip(*loaders, strict=True):
        assert a.shape == (len(labels), 8, 8, 1)
        assert a.dtype == np.float32
        np.testing.assert_array_equal(a, b, strict=True)


def test_arrays_of_another_device_pass_through():
    class OnDevice(Digits):
        def __getitem__(self, index):
            images, labels = super().__getitem__(index)
            return strict.asarray(images), strict.asarray(labels)

    for images, labels in DataLoader(OnDevice(train=False), 100, rng=0, transform=lambda images, rng: images * 2):
        assert type(images) is StrictArray
        loss = mg.cross_entropy(mg.Tensor(images).reshape(len(labels), 64)[:, :10], labels)
        assert type(loss.data) is StrictArray


# What is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "size", "options", "message"),
    [
        (5, 0, {}, "DataLoader: expected batch_size to be an int of at least 1, got 0"),
        (5, 2.5, {}, "DataLoader: expected batch_size to be an int of at least 1, got 2.5"),
        (0, 2, {}, "DataLoader: the data set is empty"),
        (5, 2, {"prefetch": -1}, "DataLoader: expected prefetch to be an int of at least 0, got -1"),
        (5, 2, {"prefetch": None}, "DataLoader: expected prefetch to be an int of at least 0, got None"),
        (5, 2, {"rng": -1}, "DataLoader: expected a seed of at least 0, got -1"),
    ],
)
def test_wrong_arguments_are_refused(n, size, options, message):
    with pytest.raises(ValueError, match=message):
        DataLoader(Numbers(n), size, **options)


@pytest.mark.parametrize("rng", [True, 1.0, "0", np.random.RandomState(0)])
def test_other_types_than_seeds_are_refused(rng):
    with pytest.raises(TypeError, match="DataLoader: expected rng to be a numpy Generator, a seed or None"):
        DataLoader(Numbers(5), 2, rng=rng)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, "expected integers"),
        ({"seed": 0, "epoch": 0}, "expected integers"),
        ({"seed": 0, "epoch": 0, "batch": 0, "shuffle": 1}, "expected integers"),
        ({"seed": 0, "epoch": 0, "batch": -1}, "expected integers"),
        ({"seed": 0, "epoch": 0.5, "batch": 1}, "expected integers"),
        ({"seed": None, "epoch": 0, "batch": 1}, "expected integers"),
        ({"seed": 0, "epoch": 0, "batch": 4}, "stands after batch 4, but an epoch has 3"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(state, message):
    loader = DataLoader(Numbers(5), 2, rng=9)
    with pytest.raises(ValueError, match=f"DataLoader.load_state_dict: .*{message}"):
        loader.load_state_dict(state)
    assert loader.state_dict() == {"seed": 9, "epoch": 0, "batch": 0}
    assert len(walk(loader)) == 3


@pytest.mark.parametrize("prefetch", PREFETCH)
@pytest.mark.parametrize(
    "state", [{}, None, {"seed": 0, "epoch": 0.5, "batch": 1}, {"seed": 0, "epoch": 0, "batch": 9}]
)
def test_a_loop_goes_on_after_a_state_was_refused_or_only_checked(state, prefetch):
    """In any batch of a whole epoch, of the rest of one, and of a loop over shards."""
    for begin in (None, {"seed": 4, "epoch": 2, "batch": 1}):
        for over in (iter, lambda loader: loader.shards(2, range(1, 2))):
            loader, other = (DataLoader(Numbers(10), 3, rng=4, transform=draw, prefetch=prefetch) for _ in range(2))
            if begin is not None:
                loader.load_state_dict(begin)
                other.load_state_dict(begin)
            seen = []
            for batch in over(loader):
                seen.append(str(batch))
                position = loader.state_dict()
                for refuse in (loader.load_state_dict, loader.check_state_dict):
                    with pytest.raises(ValueError, match="DataLoader"):
                        refuse(state)
                loader.check_state_dict({"seed": 9, "epoch": 9, "batch": 2})
                assert loader.state_dict() == position
            assert seen == [str(batch) for batch in over(other)]
            assert loader.state_dict() == other.state_dict()


class OneByOne:
    """A data set as PyTorch's: an image and a label at one index."""

    def __init__(self, how):
        self.how, self.images, self.labels = how, list(np.ones((5, 2, 2, 1), np.float32)), [0, 1, 2, 3, 4]

    def __len__(self):
        return 5

    def __getitem__(self, index):
        if self.how == "checked" and index >= 5:
            raise IndexError(index)
        if self.how == "converted":
            index = int(index)
        if self.how == "by name":
            return {i: (image, label) for i, (image, label) in enumerate(zip(self.images, self.labels, strict=True))}[
                index
            ]
        return self.images[index], self.labels[index]


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("how", ["a list", "checked", "converted", "by name"])
def test_a_data_set_that_takes_one_index_is_refused_by_name(how, size):
    with pytest.raises(
        TypeError, match=f"^DataLoader: expected a data set that returns {size} images and {size} labels"
    ):
        next(iter(DataLoader(OneByOne(how), size)))


@pytest.mark.parametrize(
    "batch",
    [
        lambda i: np.ones((len(i), 2)),
        lambda i: (np.ones((len(i), 2)),),
        lambda i: (np.ones((len(i), 2)), i, i),
        lambda i: (np.ones((len(i) - 1, 2)), i),
        lambda i: (np.ones((len(i), 2)), i[1:]),
        lambda i: (np.ones((len(i), 2)), 3),
        lambda i: None,
    ],
)
def test_a_data_set_that_returns_no_batch_is_refused(batch):
    with pytest.raises(TypeError, match="^DataLoader: expected a data set that returns 2 images and 2 labels"):
        next(iter(DataLoader(type("Data", (), {"__len__": lambda _: 5, "__getitem__": lambda _, i: batch(i)})(), 2)))
