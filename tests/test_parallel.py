"""Blocks, lanes, scratch arrays and threads."""

import os
import threading

import numpy as np
import pytest

import minigrad as mg
from minigrad import parallel


@pytest.fixture(autouse=True)
def threads_as_before():
    before = mg.get_num_threads()
    yield
    mg.set_num_threads(before)


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


def test_blas_is_on_one_thread_inside_and_as_before_outside():
    libraries = parallel._blas.libraries
    before = [library.get_num_threads() for library in libraries]
    inside = []
    parallel.run(lambda i: inside.append([library.get_num_threads() for library in libraries]), 2)
    assert libraries
    assert inside == [[1] * len(libraries)] * 2
    assert [library.get_num_threads() for library in libraries] == before


def test_every_python_thread_gets_the_same_bits():
    """BLAS is on one thread inside also for those who are not the main thread, and is restored by them."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((16, 30, 31, 16)).astype("f"), rng.standard_normal((3, 3, 16, 32)).astype("f")
    libraries = parallel._blas.libraries
    before = [library.get_num_threads() for library in libraries]
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
    assert [library.get_num_threads() for library in libraries] == before


def test_a_task_may_run_tasks():
    mg.set_num_threads(2)
    done = []
    parallel.run(lambda i: parallel.run(lambda j: done.append((i, j)), 3), 4)
    assert sorted(done) == [(i, j) for i in range(4) for j in range(3)]


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


def test_scratch_is_used_again_and_is_each_threads_own():
    like = np.empty(0, "f")
    first = parallel.scratch("test", (10, 3), like)
    assert np.shares_memory(first, parallel.scratch("test", (5, 2), like))
    assert not np.shares_memory(first, parallel.scratch("other", (10, 3), like))
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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own():
    mg.set_num_threads(2)
    parallel.run(lambda i: None, 4)  # the parent's pool exists
    child = os.fork()
    if child == 0:
        done = []
        parallel.run(done.append, 4)
        os._exit(0 if sorted(done) == [0, 1, 2, 3] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
