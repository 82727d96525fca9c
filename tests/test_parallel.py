"""Blocks, lanes, scratch arrays and threads."""

import os
import signal
import sys
import threading
import time
from concurrent import futures
from types import SimpleNamespace

import numpy as np
import pytest

import minigrad as mg
from minigrad import parallel
from tests.strict import strict


@pytest.fixture(autouse=True)
def threads_as_before():
    before = mg.get_num_threads()
    yield
    mg.set_num_threads(before)


def in_child(check):
    """Whether `check` holds in a forked child."""
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # whose default is to end the process: it may wait for something that never comes
        held = False
        try:
            held = check()
        finally:
            os._exit(0 if held else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def all_tasks_are_done():
    done = []
    parallel.run(done.append, 4)
    return sorted(done) == [0, 1, 2, 3]


forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
of_a_process_with_threads = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.mark.parametrize("total", [0, 1, 7, 10, 100])
@pytest.mark.parametrize("size", [0, 1, 3, 10, 1000])
def test_spans_cover_everything_once_and_evenly(total, size):
    spans = parallel.spans(total, size)
    assert [i for s in spans for i in range(total)[s]] == list(range(total))
    lengths = {s.stop - s.start for s in spans}
    assert max(lengths) - min(lengths) <= 1
    assert max(lengths) <= max(size, 1)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_run_does_every_task_once(threads):
    mg.set_num_threads(threads)
    done = []
    parallel.run(done.append, 100)
    assert sorted(done) == list(range(100))


def test_tasks_do_run_on_several_threads():
    mg.set_num_threads(3)
    barrier, names = threading.Barrier(3, timeout=30), set()

    def task(i):
        names.add(threading.current_thread().name)
        barrier.wait()  # nobody passes before three threads are here

    parallel.run(task, 3)
    assert len(names) == 3


@pytest.mark.parametrize("threads", [1, 3])
def test_an_exception_in_a_task_is_raised(threads):
    mg.set_num_threads(threads)

    def task(i):
        if i == 5:
            raise KeyError("five")

    with pytest.raises(KeyError, match="five"):
        parallel.run(task, 10)
    parallel.run(lambda i: None, 10)  # and nothing is left behind


def test_an_exception_is_raised_when_nobody_works_any_more():
    """A task that is left behind would write into arrays that others have by then."""
    mg.set_num_threads(2)
    caller, begun, done = threading.current_thread(), (threading.Event(), threading.Event()), []

    def task(i):
        mine = threading.current_thread() is caller
        begun[mine].set()
        assert begun[not mine].wait(30)  # each has one of the two
        if mine:
            raise KeyError("mine")
        time.sleep(0.2)
        done.append(i)

    with pytest.raises(KeyError, match="mine"):
        parallel.run(task, 2)
    assert len(done) == 1


@pytest.fixture
def libraries():
    """The BLAS libraries, on two threads each."""
    before = [library.get_num_threads() for library in parallel._blas.libraries]
    assert before
    parallel._blas.set([2] * len(before))
    yield parallel._blas.libraries
    parallel._blas.set(before)


def test_blas_is_on_one_thread_inside_and_as_before_outside(libraries):
    inside = []

    def task(i):
        parallel.run(lambda j: None, 1)  # what is nested changes nothing
        inside.append([library.get_num_threads() for library in libraries])

    parallel.run(task, 2)
    assert inside == [[1] * len(libraries)] * 2
    assert [library.get_num_threads() for library in libraries] == [2] * len(libraries)


def test_every_python_thread_gets_the_same_bits(libraries):
    """BLAS is on one thread inside also for those who are not the main thread, and is restored by them."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((16, 30, 31, 16)).astype("f"), rng.standard_normal((3, 3, 16, 32)).astype("f")
    expected, results, inside = mg.conv2d(x, w, padding=1), [], []

    def work():
        parallel.run(lambda i: inside.append([library.get_num_threads() for library in libraries]), 1)
        results.append(mg.conv2d(x, w, padding=1))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert inside == [[1] * len(libraries)] * 4
    for result in results:
        np.testing.assert_array_equal(result, expected)
    assert [library.get_num_threads() for library in libraries] == [2] * len(libraries)


@forks
@of_a_process_with_threads
def test_a_task_may_run_tasks():
    """It runs them itself: a thread of the pool that waited for one might wait for itself. (A child can be ended.)"""
    mg.set_num_threads(2)

    def all_are_done():
        done = []
        parallel.run(lambda i: parallel.run(lambda j: done.append((i, j)), 3), 4)
        return sorted(done) == [(i, j) for i in range(4) for j in range(3)]

    assert in_child(all_are_done)


def test_threads_work_under_the_errstate_of_their_caller():
    mg.set_num_threads(2)
    barrier = threading.Barrier(2, timeout=30)

    def divide(i):
        barrier.wait()
        return np.ones(2) / np.zeros(2)

    with np.errstate(divide="ignore"):
        parallel.run(divide, 2)
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        parallel.run(divide, 2)


@pytest.mark.parametrize("n", [0, -1, 1.5, "2", True])
def test_a_wrong_number_of_threads(n):
    with pytest.raises(ValueError, match="set_num_threads: expected an integer of at least 1"):
        mg.set_num_threads(n)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_the_pool_is_as_large_as_asked_for_and_a_pool_of_another_size_is_closed(n):
    mg.set_num_threads(n)
    pool = parallel._workers()
    assert pool._max_workers == max(n - 1, 1)  # beside the caller's own
    mg.set_num_threads(n)
    assert parallel._workers() is pool
    mg.set_num_threads(n + 1)
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(print)


def test_what_is_the_whole_processs_is_changed_under_a_lock(monkeypatch):
    """Two threads that did so at the same step would show it, once in a thousand times."""
    held = []
    monkeypatch.setattr(parallel, "_pool", None)
    monkeypatch.setattr(parallel, "_forget_pool", lambda: held.append(parallel._pool_lock.locked()))
    monkeypatch.setattr(futures, "ThreadPoolExecutor", lambda **_: held.append(parallel._pool_lock.locked()))
    monkeypatch.setattr(parallel._blas, "set", lambda threads: held.append(parallel._blas.lock.locked()))
    mg.set_num_threads(mg.get_num_threads() + 1)
    parallel._workers()
    parallel.run(lambda i: None, 1)
    assert held == [True] * 4


def test_a_task_may_change_the_number_of_threads():
    """The pool that it is run by is closed, and not waited for: it would wait for itself."""
    mg.set_num_threads(2)
    barrier, caller = threading.Barrier(2, timeout=30), threading.current_thread()

    def task(i):
        barrier.wait()
        if threading.current_thread() is not caller:
            mg.set_num_threads(3)

    parallel.run(task, 2)
    assert mg.get_num_threads() == 3


def test_lanes_do_not_depend_on_who_walks_them():
    rng = np.random.default_rng(0)
    blocks = [rng.standard_normal((50, 7)).astype("f") for _ in range(11)]
    totals = []
    for threads in (1, 2, 3, 4):
        mg.set_num_threads(threads)
        lanes = parallel.Lanes(blocks)

        def walk(i, lanes=lanes):
            for block in lanes.share(i):
                lanes.add(i, block.T, block)

        parallel.run(walk, lanes.count)
        totals.append(lanes.total())
    for total in totals:
        np.testing.assert_array_equal(total, totals[0])
    np.testing.assert_allclose(totals[0], sum(b.T.astype("d") @ b for b in blocks), rtol=1e-5)


@pytest.mark.parametrize("n", [1, 3, 4, 5, 11, 100])
def test_lanes_are_few_and_share_the_blocks_fairly(n):
    lanes = parallel.Lanes(range(n))
    shares = [lanes.share(i) for i in range(lanes.count)]
    assert [block for share in shares for block in share] == list(range(n))
    assert len(shares) <= parallel.LANES
    assert max(map(len, shares)) <= -(-n // parallel.LANES)


def test_a_lane_adds_up_on_a_device():
    a, b = (strict.asarray(np.arange(start, start + 6.0).reshape(2, 3)) for start in (0.0, 6.0))
    lanes = parallel.Lanes([a, b, a, b, a])  # two for each lane, and one
    for i in range(lanes.count):
        for block in lanes.share(i):
            lanes.add(i, block.T, block)
    np.testing.assert_array_equal(lanes.total().get(), 3 * a.get().T @ a.get() + 2 * b.get().T @ b.get())


# Products and walks in blocks ------------------------------------------------------------------


@pytest.fixture
def counts(monkeypatch):
    """Note into how many tasks each piece of work is cut."""
    seen, run = [], parallel.run
    monkeypatch.setattr(parallel, "run", lambda task, count: (seen.append(count), run(task, count))[1])
    return seen


@pytest.mark.parametrize(
    ("m", "k", "n", "rows", "columns"),
    [
        (40_000, 24, 24, 15, 1),  # tall: as many rows at a time as stay in cache beside their results
        (200_000, 3, 3, 2, 1),  # or as many as are worth a thread
        (40_000, 3, 3, 1, 1),
        (49, 512, 2048, 1, 4),  # flat: one block of rows, so the columns are cut, one part for each lane
        (49, 512, 64, 1, 2),  # or as many parts as are worth a thread
        (1, 1024, 1024, 1, 1),
        (200, 512, 512, 2, 2),  # both
        (400, 512, 512, 4, 1),
        (0, 3, 4, 1, 1),
        (3, 0, 4, 1, 1),
        (3, 4, 0, 1, 1),
        (3, 0, 0, 1, 1),
    ],
)
def test_a_product_is_cut_into_rows_and_columns(m, k, n, rows, columns, counts):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((m, k)), rng.standard_normal((k, n))
    product = parallel.matmul(a, b)
    np.testing.assert_allclose(product, a @ b, rtol=1e-11, atol=1e-11, strict=True)
    assert counts == [rows * columns]
    out = np.full((m, n), np.nan)
    assert parallel.matmul(a, b, out) is out
    np.testing.assert_array_equal(out, product)
    for threads in (1, 3):
        mg.set_num_threads(threads)
        np.testing.assert_array_equal(parallel.matmul(a, b), product)


def test_what_is_no_product_of_two_matrices_is_one_call_with_blas_on_one_thread(counts, monkeypatch):
    inside = []
    monkeypatch.setattr(parallel._blas, "set", inside.append)
    rng = np.random.default_rng(0)
    stack, matrix, vector = (rng.standard_normal(shape) for shape in [(2, 3, 4), (4, 5), 4])
    for a, b in [(stack, matrix), (matrix.T, stack.swapaxes(1, 2)), (stack[0], vector), (vector, matrix)]:
        inside.clear()
        product = parallel.matmul(a, b)
        np.testing.assert_allclose(product, np.matmul(a, b), rtol=1e-12, strict=True)
        assert parallel.matmul(a, b, out := np.empty_like(product)) is out
        assert inside[0] == [1] * len(inside[0])
    mixed = parallel.matmul(stack[0].astype("float32"), matrix)
    assert mixed.dtype == np.float64
    assert counts == []


def test_element_by_element_in_blocks_where_arrays_are_large_and_alike(counts):
    """Others are one call: each of these differs in one thing."""
    size = 2 * parallel.BLOCK_BYTES // 8
    a = np.arange(size, dtype="float64").reshape(-1, 64)
    calls = []

    def add(x, y, out=None):
        calls.append(x.shape)
        return np.add(x, y, out=out)

    for x, y in [
        (a[1:], a[1:]),
        (a, a[0]),
        (a, a.astype("float32")),
        (a, np.asfortranarray(a)),
        (np.asfortranarray(a), np.asfortranarray(a)),
    ]:
        np.testing.assert_array_equal(parallel.elementwise(add, x, y), x + y, strict=True)
        assert calls == [x.shape]
        calls.clear()
    there = strict.asarray(a)
    assert (parallel.elementwise(lambda x, y: x + y, there, there) == there + there).all()
    assert counts == []
    np.testing.assert_array_equal(parallel.elementwise(add, a, a + 1), 2 * a + 1, strict=True)
    assert calls == [(size // 2,)] * 2
    assert counts == [2]


@pytest.mark.parametrize(
    ("shape", "copies"), [((3, 5, 4, 2), 1), ((3, 0, 4, 2), 1), ((40, 33, 32, 16), 6), ((2, 600, 500, 1), 2)]
)
def test_images_are_copied_into_their_border_in_blocks(shape, copies, counts):
    x = np.random.default_rng(0).standard_normal(shape)
    expected = np.pad(x, [(0, 0), (1, 2), (3, 0), (0, 0)])
    for _ in range(2):
        np.testing.assert_array_equal(parallel.zero_bordered(x, 1, 2, 3, 0), expected)
    assert counts == [copies] * 2


# Scratch arrays ----------------------------------------------------------------------------------


def test_scratch_is_used_again_and_is_each_threads_own():
    like = np.empty(0, "f")
    first = parallel.scratch("test", (10, 3), like)
    assert np.shares_memory(first, parallel.scratch("test", (5, 2), like))
    assert not np.shares_memory(first, parallel.scratch("other", (10, 3), like))
    assert np.shares_memory(first, parallel.scratch("test", (30,), like))  # it fits to the last number
    assert parallel.scratch("test", (31,), like).shape == (31,)
    assert parallel.scratch("test", (2, 0), like).shape == (2, 0)
    others = []
    thread = threading.Thread(target=lambda: others.append(parallel.scratch("test", (10, 3), like)))
    thread.start()
    thread.join()
    assert not np.shares_memory(first, others[0])


def test_zero_bordered_keeps_its_border_zero_and_forgets_old_shapes():
    for value in (1.0, 2.0):
        x = np.full((2, 3, 3, 1), value)
        np.testing.assert_array_equal(
            parallel.zero_bordered(x, 1, 2, 0, 1), np.pad(x, [(0, 0), (1, 2), (0, 1), (0, 0)])
        )
    for n in range(3 * parallel._MOST_BORDERED):
        parallel.zero_bordered(np.zeros((1, 1, n + 1, 1)), 1, 1, 1, 1)
    bordered = [key for key in parallel._scratch.buffers if len(key) == 6]
    assert len(bordered) == parallel._MOST_BORDERED


def test_the_border_that_has_waited_longest_is_forgotten():
    """Not the one that was made first: that may be in use all the time."""
    shapes = [(1, 1, n + 1, 7) for n in range(parallel._MOST_BORDERED + 1)]
    buffers = [parallel.zero_bordered(np.ones(shape), 1, 1, 1, 1) for shape in shapes[:-1]]
    for i in (0, -1):  # the first is used again, then one more is made
        parallel.zero_bordered(np.ones(shapes[i]), 1, 1, 1, 1)
    kept = [any(buffer is held for held in parallel._scratch.buffers.values()) for buffer in buffers]
    assert kept == [True, False] + [True] * (len(buffers) - 2)


@pytest.mark.parametrize(
    ("platform", "variable", "library", "told"),
    [
        ("linux", "PATH", True, True),
        ("linux", "MALLOC_ARENA_MAX", True, False),  # who has set one of its variables has decided
        ("linux", "GLIBC_TUNABLES", True, False),
        ("linux", "PATH", False, False),  # another C library than GNU's
        ("darwin", "PATH", True, False),
    ],
)
def test_the_c_library_is_told_to_keep_freed_memory(platform, variable, library, told, monkeypatch):
    options = {}
    functions = {"mallopt": options.__setitem__} if library else {}
    monkeypatch.setattr(parallel.ctypes, "CDLL", lambda name: SimpleNamespace(**functions))
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(os, "environ", {variable: "1"})
    parallel._keep_freed_memory()
    threshold, trim = -3, -1  # as malloc.h has them
    assert options == ({threshold: 32 * 2**20, trim: 2**31 - 1} if told else {})


# Forks -------------------------------------------------------------------------------------------


@forks
@of_a_process_with_threads
def test_a_forked_child_has_threads_and_locks_of_its_own():
    mg.set_num_threads(2)
    parallel.run(lambda i: None, 4)  # the parent's pool exists
    assert in_child(all_tasks_are_done)
    for lock in (parallel._pool_lock, parallel._blas.lock):
        with lock:  # as another thread may, who is not in the child
            assert in_child(all_tasks_are_done)


@forks
@of_a_process_with_threads
def test_a_forked_child_has_as_many_threads_for_blas_as_its_parent_outside_a_task(libraries):
    def threads():
        return [library.get_num_threads() for library in libraries]

    two, three = [2] * len(libraries), [3] * len(libraries)
    seen = []
    parallel.run(lambda i: seen.append(in_child(lambda: threads() == two)), 1)
    parallel.run(lambda i: seen.append(in_child(lambda: all_tasks_are_done() and threads() == two)), 1)
    parallel._blas.set(three)
    seen.append(in_child(lambda: threads() == three))  # nothing ran: what was before is of no concern
    assert seen == [True] * 3
