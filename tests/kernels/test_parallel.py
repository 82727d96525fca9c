"""Blocks, lanes, scratch arrays and threads."""

import os
import queue
import signal
import sys
import threading
import time
import weakref
from types import SimpleNamespace

import numpy as np
import pytest

import minigrad as mg
from minigrad.kernels import blas, blocks, memory, products, threads
from tests.tools.strict import strict


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
    threads.run(done.append, 4)
    return sorted(done) == [0, 1, 2, 3]


forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
of_a_process_with_threads = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.mark.parametrize("total", [0, 1, 7, 10, 100])
@pytest.mark.parametrize("size", [0, 1, 3, 10, 1000])
def test_spans_cover_everything_once_and_evenly(total, size):
    spans = blocks.spans(total, size)
    assert [i for s in spans for i in range(total)[s]] == list(range(total))
    lengths = {s.stop - s.start for s in spans}
    assert max(lengths) - min(lengths) <= 1
    assert max(lengths) <= max(size, 1)


@pytest.mark.parametrize("total", [0, 1, 7, 10, 100])
@pytest.mark.parametrize("count", [1, 2, 3, 10, 13])
def test_so_many_runs_cover_everything_once_and_evenly(total, count):
    runs = blocks.cut(total, count)
    assert [i for s in runs for i in range(total)[s]] == list(range(total))
    lengths = [s.stop - s.start for s in runs]
    assert len(lengths) == count
    assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_run_does_every_task_once(threads):
    mg.set_num_threads(threads)
    done = []
    threads.run(done.append, 100)
    assert sorted(done) == list(range(100))


def test_tasks_do_run_on_several_threads():
    mg.set_num_threads(3)
    barrier, names = threading.Barrier(3, timeout=30), set()

    def task(i):
        names.add(threading.current_thread().name)
        barrier.wait()  # nobody passes before three threads are here

    threads.run(task, 3)
    assert len(names) == 3


@pytest.mark.parametrize("threads", [1, 3])
def test_an_exception_in_a_task_is_raised(threads):
    mg.set_num_threads(threads)

    def task(i):
        if i == 5:
            raise KeyError("five")

    with pytest.raises(KeyError, match="five"):
        threads.run(task, 10)
    threads.run(lambda i: None, 10)  # and nothing is left behind


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
        threads.run(task, 2)
    assert len(done) == 1


@pytest.fixture
def libraries():
    """The BLAS libraries, on two threads each."""
    before = [library.get_num_threads() for library in blas.blas.libraries]
    assert before
    blas.blas.set([2] * len(before))
    yield blas.blas.libraries
    blas.blas.set(before)


def test_blas_is_on_one_thread_inside_and_as_before_outside(libraries):
    inside = []

    def task(i):
        threads.run(lambda j: None, 1)  # what is nested changes nothing
        inside.append([library.get_num_threads() for library in libraries])

    threads.run(task, 2)
    assert inside == [[1] * len(libraries)] * 2
    assert [library.get_num_threads() for library in libraries] == [2] * len(libraries)


def test_every_python_thread_gets_the_same_bits(libraries):
    """BLAS is on one thread inside also for those who are not the main thread, and is restored by them."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((16, 30, 31, 16)).astype("f"), rng.standard_normal((3, 3, 16, 32)).astype("f")
    expected, results, inside = mg.conv2d(x, w, padding=1), [], []

    def work():
        threads.run(lambda i: inside.append([library.get_num_threads() for library in libraries]), 1)
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
        threads.run(lambda i: threads.run(lambda j: done.append((i, j)), 3), 4)
        return sorted(done) == [(i, j) for i in range(4) for j in range(3)]

    assert in_child(all_are_done)


def test_threads_work_under_the_errstate_of_their_caller():
    mg.set_num_threads(2)
    barrier = threading.Barrier(2, timeout=30)

    def divide(i):
        barrier.wait()
        return np.ones(2) / np.zeros(2)

    with np.errstate(divide="ignore"):
        threads.run(divide, 2)
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        threads.run(divide, 2)


@pytest.mark.parametrize("n", [0, -1, 1.5, "2", True])
def test_a_wrong_number_of_threads(n):
    with pytest.raises(ValueError, match="set_num_threads: expected an integer of at least 1"):
        mg.set_num_threads(n)


def helpers():
    return {thread for thread in threading.enumerate() if thread.name.startswith("minigrad-")}


def gone(threads):
    """Whether they end."""
    for thread in threads:
        thread.join(30)
    return not any(thread.is_alive() for thread in threads)


@pytest.mark.parametrize("n", [2, 5])
def test_there_are_as_many_helpers_as_asked_for_and_those_of_before_go(n):
    before = helpers()
    mg.set_num_threads(n + 10)
    assert gone(before)
    assert not helpers()  # nobody needed them
    mg.set_num_threads(n)
    threads.run(lambda i: None, 2)
    mine = helpers()
    assert len(mine) == n - 1  # beside the caller's own
    mg.set_num_threads(n)
    threads.run(lambda i: None, 100)
    assert helpers() == mine
    mg.set_num_threads(n + 1)
    assert gone(mine)


def test_work_is_taken_up_even_if_the_helpers_have_just_been_sent_away():
    """Another thread may lower their number between a caller's look at it and the handing over."""
    mg.set_num_threads(2)
    threads.run(lambda i: None, 2)
    mg.set_num_threads(1)
    done = threading.Event()
    threads._hand_over(done.set, 1)
    assert done.wait(30)


def test_what_is_handed_over_before_the_helpers_are_sent_away_is_done():
    mg.set_num_threads(2)
    go, done = threading.Event(), []
    threads._hand_over(go.wait, 1)
    for i in range(3):
        threads._hand_over(lambda i=i: done.append(i), 1)
    mine = helpers()
    mg.set_num_threads(3)
    go.set()
    assert gone(mine)
    assert done == [0, 1, 2]


def test_helpers_that_wait_hold_nothing():
    """A task has arrays, and the next may come in an hour."""

    class Task:
        def __call__(self, i):
            pass

    mg.set_num_threads(2)
    task = Task()
    held = weakref.ref(task)
    threads.run(task, 2)
    del task
    deadline = time.monotonic() + 30
    while held() is not None and time.monotonic() < deadline:
        time.sleep(0.001)  # the helper has said that it is done, and lets go next
    assert held() is None


@pytest.fixture
def masks(monkeypatch):
    """The processors that each helper is given, of 0 to 3; the caller runs on the one that `moves` says."""
    given, moves = [], [1]
    monkeypatch.setattr(threads._apart, "getcpu", lambda: moves[-1])
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(os, "sched_setaffinity", lambda *mask: given.append(mask), raising=False)
    mg.set_num_threads(mg.get_num_threads() + 1)
    mg.set_num_threads(3)
    return SimpleNamespace(given=given, moves=moves)


def test_helpers_are_kept_off_the_processor_of_their_caller(masks):
    def expected(*cpus):
        return [(helper.native_id, set(cpus)) for helper in sorted(threads._apart.helpers, key=lambda h: h.name)]

    threads.run(lambda i: None, 2)
    assert len(helpers()) == 2
    assert masks.given == expected(0, 2, 3)
    threads.run(lambda i: None, 2)
    assert masks.given == expected(0, 2, 3)  # it has not moved
    masks.moves.append(3)
    threads.run(lambda i: None, 2)
    assert masks.given == expected(0, 2, 3) + expected(0, 1, 2)
    before = helpers()
    mg.set_num_threads(4)
    assert gone(before)
    masks.given.clear()
    threads.run(lambda i: None, 2)
    assert masks.given == expected(0, 1, 2)  # these are new
    assert len(masks.given) == 3


def test_helpers_stay_where_they_are_if_there_is_nowhere_to_go(masks, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1}, raising=False)
    threads.run(lambda i: None, 2)
    assert masks.given == []


def test_helpers_work_where_nobody_may_move_them(masks, monkeypatch):
    def forbidden(*mask):
        masks.given.append(mask)
        raise PermissionError

    monkeypatch.setattr(os, "sched_setaffinity", forbidden, raising=False)
    assert all_tasks_are_done()
    assert len(masks.given) == 1
    monkeypatch.setattr(threads._apart, "getcpu", None)  # another system, or C library
    monkeypatch.setattr(threads._apart, "cpu", None)
    assert all_tasks_are_done()
    assert len(masks.given) == 1


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs Linux")
def test_the_caller_itself_may_run_anywhere_it_could():
    mine = os.sched_getaffinity(0)
    mg.set_num_threads(mg.get_num_threads() + 1)
    mg.set_num_threads(2)
    threads.run(lambda i: None, 2)
    assert os.sched_getaffinity(0) == mine
    (helper,) = threads._apart.helpers
    assert os.sched_getaffinity(helper.native_id) <= mine


def test_what_is_the_whole_processs_is_changed_under_a_lock(monkeypatch):
    """Two threads that did so at the same step would show it, once in a thousand times."""
    held, caller = [], threading.current_thread()

    class Watched(queue.SimpleQueue):
        def __init__(self):
            held.append(threads._queue_lock.locked())

        def put(self, given):
            if threading.current_thread() is caller:  # a helper that goes tells the next without the lock, at any time
                held.append(threads._queue_lock.locked())
            super().put(given)

    mg.set_num_threads(2)
    monkeypatch.setattr(threads, "_queue", None)
    monkeypatch.setattr(parallel, "SimpleQueue", Watched)
    monkeypatch.setattr(blas.blas, "set", lambda threads: held.append(blas.blas.lock.locked()))
    done = threading.Event()
    threads._hand_over(done.set, 1)
    assert done.wait(30)
    assert held == [True] * 2
    mg.set_num_threads(1)
    assert held[2]
    held.clear()
    threads.run(lambda i: None, 1)
    assert held == [True] * 2


def test_a_task_may_change_the_number_of_threads():
    """The helpers are sent away, and not waited for: one would wait for itself."""
    mg.set_num_threads(2)
    barrier, caller = threading.Barrier(2, timeout=30), threading.current_thread()

    def task(i):
        barrier.wait()
        if threading.current_thread() is not caller:
            mg.set_num_threads(3)

    threads.run(task, 2)
    assert mg.get_num_threads() == 3


def test_lanes_do_not_depend_on_who_walks_them():
    rng = np.random.default_rng(0)
    blocks = [rng.standard_normal((50, 7)).astype("f") for _ in range(11)]
    totals = []
    for threads in (1, 2, 3, 4):
        mg.set_num_threads(threads)
        lanes = products.Lanes(blocks)

        def walk(i, lanes=lanes):
            for block in lanes.share(i):
                lanes.add(i, block, block)

        threads.run(walk, lanes.count)
        totals.append(lanes.total())
    for total in totals:
        np.testing.assert_array_equal(total, totals[0])
    np.testing.assert_allclose(totals[0], sum(b.T.astype("d") @ b for b in blocks), rtol=1e-5)


@pytest.mark.parametrize("n", [1, 3, 4, 5, 11, 100])
def test_lanes_are_few_and_share_the_blocks_fairly(n):
    lanes = products.Lanes(range(n))
    shares = [lanes.share(i) for i in range(lanes.count)]
    assert [block for share in shares for block in share] == list(range(n))
    assert len(shares) <= products.LANES
    assert max(map(len, shares)) <= -(-n // products.LANES)


def test_a_lane_adds_up_on_a_device():
    a, b = (strict.asarray(np.arange(start, start + 6.0).reshape(2, 3)) for start in (0.0, 6.0))
    lanes = products.Lanes([a, b, a, b, a])  # two for each lane, and one
    for i in range(lanes.count):
        for block in lanes.share(i):
            lanes.add(i, block, block)
    np.testing.assert_array_equal(lanes.total().get(), 3 * a.get().T @ a.get() + 2 * b.get().T @ b.get())


# Products and walks in blocks ------------------------------------------------------------------


@pytest.fixture
def counts(monkeypatch):
    """Note into how many tasks each piece of work is cut."""
    seen, run = [], threads.run
    monkeypatch.setattr(threads, "run", lambda task, count: (seen.append(count), run(task, count))[1])
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
    product = products.matmul(a, b)
    np.testing.assert_allclose(product, a @ b, rtol=1e-11, atol=1e-11, strict=True)
    assert counts == [rows * columns]
    out = np.full((m, n), np.nan)
    assert products.matmul(a, b, out) is out
    np.testing.assert_array_equal(out, product)
    for threads in (1, 3):
        mg.set_num_threads(threads)
        np.testing.assert_array_equal(products.matmul(a, b), product)


def test_what_is_no_product_of_two_matrices_is_one_call_with_blas_on_one_thread(counts, monkeypatch):
    inside = []
    monkeypatch.setattr(blas.blas, "set", inside.append)
    rng = np.random.default_rng(0)
    stack, matrix, vector = (rng.standard_normal(shape) for shape in [(2, 3, 4), (4, 5), 4])
    for a, b in [(stack, matrix), (matrix.T, stack.swapaxes(1, 2)), (stack[0], vector), (vector, matrix)]:
        inside.clear()
        product = products.matmul(a, b)
        np.testing.assert_allclose(product, np.matmul(a, b), rtol=1e-12, strict=True)
        assert products.matmul(a, b, out := np.empty_like(product)) is out
        assert inside[0] == [1] * len(inside[0])
    mixed = products.matmul(stack[0].astype("float32"), matrix)
    assert mixed.dtype == np.float64
    assert counts == []


def test_element_by_element_in_blocks_where_arrays_are_large_and_alike(counts):
    """Others are one call: each of these differs in one thing."""
    size = 2 * blocks.BLOCK_BYTES // 8
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
        np.testing.assert_array_equal(blocks.elementwise(add, x, y), x + y, strict=True)
        assert calls == [x.shape]
        calls.clear()
    there = strict.asarray(a)
    assert (blocks.elementwise(lambda x, y: x + y, there, there) == there + there).all()
    assert counts == []
    np.testing.assert_array_equal(blocks.elementwise(add, a, a + 1), 2 * a + 1, strict=True)
    assert calls == [(size // 2,)] * 2
    assert counts == [2]


# Narrow products, in pieces -----------------------------------------------------------------------


@pytest.fixture(params=[False, True], ids=["no small kernels", "small kernels"])
def small_kernels(request, monkeypatch):
    """Whether BLAS is thought to have kernels for small matrices: results are right in any case."""
    monkeypatch.setattr(blas.blas, "has_small_kernels", request.param)
    return request.param


@pytest.fixture
def stacks(monkeypatch):
    """Note how many products each call of NumPy's matmul makes at once."""
    counts, matmul = [], np.matmul

    def noted(a, b, out=None):
        counts.append(len(a) if a.ndim == 3 else 1)
        return matmul(a, b, out=out)

    monkeypatch.setattr(np, "matmul", noted)
    return counts


def whole_numbers(*shape, dtype="float32", seed=0):
    """Draw small whole numbers: their sums of products are exact, in whatever order they are added up."""
    return np.random.default_rng([seed, *shape]).integers(-3, 4, shape).astype(dtype)


#: (m, k, n) -> how many pieces of rows `multiply` and `_inner` make of it, where there are small kernels.
NARROW = {
    (1000, 144, 16): (2, 2),  # 432 rows to a piece, and a remainder
    (864, 144, 16): (2, 2),
    (865, 144, 16): (2, 2),
    (433, 144, 16): (1, 1),
    (432, 144, 16): (0, 0),  # no more than a piece
    (3000, 27, 9): (0, 0),
    (9000, 27, 9): (2, 2),
    (200, 576, 64): (8, 0),  # 24 rows: too few for what is added up
    (300, 325, 64): (6, 6),  # 48 rows
    (200, 676, 64): (0, 0),  # 20 rows
    (1000, 144, 8): (0, 0),
    (1000, 144, 65): (0, 0),
    (100, 20_000, 64): (0, 0),  # not a single row
    (0, 144, 16): (0, 0),
    (1000, 0, 16): (0, 0),
    (1000, 144, 0): (0, 0),
    (0, 0, 0): (0, 0),
}


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("sizes", NARROW)
def test_narrow_products_are_the_plain_ones(sizes, dtype, small_kernels, stacks):
    (m, k, n), fast = sizes, small_kernels and dtype in ("float32", "float64")
    a, b, c = (whole_numbers(*shape, dtype=dtype, seed=i) for i, shape in enumerate([(m, k), (k, n), (m, n)]))
    out = np.full((m, n), np.nan, dtype)
    assert products.multiply(a, b, out) is out
    np.testing.assert_array_equal(out, np.dot(a, b), strict=True)
    assert max(stacks) == max(NARROW[sizes][0] * fast, 1)
    stacks.clear()
    expected = np.dot(a.T, c)
    np.testing.assert_array_equal(products._inner(a, c, None), expected, strict=True)
    assert max(stacks) == max(NARROW[sizes][1] * fast, 1)
    total = np.full((k, n), np.nan, dtype)
    for _ in range(2):
        assert products._inner(a, c, total) is total
        np.testing.assert_array_equal(total, expected, strict=True)


@pytest.mark.parametrize(
    "view",
    [
        np.asfortranarray,
        lambda x: x[::-1].copy()[::-1],
        lambda x: x[:, ::-1].copy()[:, ::-1],
        lambda x: np.repeat(x, 2, axis=1)[:, ::2],
        lambda x: np.repeat(x, 2, axis=0)[1::2],
    ],
    ids=["Fortran", "rows reversed", "columns reversed", "columns", "rows"],
)
def test_narrow_products_of_views(view, small_kernels):
    """Of each of the arrays, the result among them."""
    m, k, n = 1000, 144, 16
    plain = [whole_numbers(m, k), whole_numbers(k, n, seed=1), whole_numbers(m, n, seed=2)]
    product, inner = plain[0] @ plain[1], plain[0].T @ plain[2]
    for i in range(4):
        a, b, c = (view(x) if i == j else x for j, x in enumerate(plain))
        out, total = np.full_like(product, np.nan), np.full_like(inner, np.nan)
        if i == 3:
            out, total = view(out), view(total)
            assert not out.flags.c_contiguous
        assert products.multiply(a, b, out) is out
        np.testing.assert_array_equal(out, product, strict=True)
        assert products._inner(a, c, total) is total
        np.testing.assert_array_equal(total, inner, strict=True)


def test_a_part_of_a_wide_result_is_written_and_its_neighbours_are_not(small_kernels):
    """As where columns are cut: a reshaped copy of the part would be filled, and thrown away."""
    a, b = whole_numbers(1000, 144), whole_numbers(144, 16, seed=1)
    wide = np.full((1000, 40), 7.0, "float32")
    products.multiply(a, b, wide[:, 8:24])
    np.testing.assert_array_equal(wide[:, 8:24], a @ b)
    assert (np.delete(wide, np.s_[8:24], axis=1) == 7.0).all()


def test_narrow_products_on_a_device(small_kernels):
    a, b, c = whole_numbers(1000, 144), whole_numbers(144, 16, seed=1), whole_numbers(1000, 16, seed=2)
    there = [strict.asarray(x) for x in (a, b, c)]
    out = strict.asarray(np.zeros((1000, 16), "float32"))
    products.multiply(there[0], there[1], out)
    np.testing.assert_array_equal(out.get(), a @ b, strict=True)
    np.testing.assert_array_equal(products._inner(there[0], there[2], None).get(), a.T @ c, strict=True)


def test_matmul_multiplies_its_blocks_of_rows_in_pieces(small_kernels, stacks):
    """And not where columns are cut, too: what is cut lies in lines that are longer than they are."""
    for m, k, n, pieces in [(5000, 144, 16, 2), (1100, 400, 64, 1)]:
        a, b = whole_numbers(m, k), whole_numbers(k, n, seed=1)
        for right in (b, np.asfortranarray(b)):
            np.testing.assert_array_equal(products.matmul(a, right), np.dot(a, b), strict=True)
            assert max(stacks) == (pieces if small_kernels else 1)
            stacks.clear()


def test_lanes_add_up_narrow_products(small_kernels):
    """Blocks of several lengths: what is left of the products of a longer one is not added again."""
    blocks = [
        (whole_numbers(m, 144, seed=m), whole_numbers(m, 16, seed=m + 1)) for m in (2000, 1000, 432, 3, 500, 0, 900)
    ]
    lanes = products.Lanes(blocks)
    for i in range(lanes.count):
        for a, b in lanes.share(i):
            lanes.add(i, a, b)
    np.testing.assert_array_equal(lanes.total(), sum(a.T @ b for a, b in blocks), strict=True)


PIECES = [
    # rows, k, columns, least -> rows of a piece
    (10_000, 144, 16, 24, 432),  # the largest number with at most a million multiply-adds, and divisible by 4
    (10_000, 144, 8, 24, 0),  # up to 8 columns, and from 65 on, there is nothing to gain
    (10_000, 144, 9, 24, 768),
    (10_000, 144, 64, 24, 108),
    (10_000, 144, 65, 24, 0),
    (10_000, 100, 10, 24, 1000),  # a million
    (10_000, 77, 13, 24, 996),
    (10_000, 576, 64, 24, 24),
    (10_000, 576, 64, 25, 0),
    (10_000, 325, 64, 48, 48),
    (10_000, 325, 64, 49, 0),
    (10_000, 650, 64, 24, 24),
    (10_000, 652, 64, 24, 0),
    (10_000, 20_000, 64, 24, 0),
    (433, 144, 16, 24, 432),  # a single piece, and a row
    (432, 144, 16, 24, 0),
    (431, 144, 16, 24, 0),
    (0, 144, 16, 24, 0),
    (10_000, 0, 16, 24, 0),
    (2_000_000, 0, 16, 24, 0),  # more rows than a piece of nothing has
    (10_000, 144, 0, 24, 0),
]


@pytest.mark.parametrize(("m", "k", "n", "least", "expected"), PIECES)
def test_how_many_rows_make_a_piece(m, k, n, least, expected, small_kernels):
    for dtype in "fd":
        assert products._piece(np.empty((m, k), dtype), n, least) == expected * small_kernels
    if expected:
        assert expected % 4 == 0
        assert expected * k * n <= 10**6 < (expected + 4) * k * n


def test_what_is_not_cut_into_pieces(monkeypatch):
    """Each of these differs in one thing from what is."""
    monkeypatch.setattr(blas.blas, "has_small_kernels", True)
    a = np.zeros((1000, 144), "float32")
    others = [np.asfortranarray(a), a[::-1], np.zeros((1000, 288), "float32")[:, ::2], strict.asarray(a)]
    others += [a.astype(dtype) for dtype in ("float16", "longdouble", "complex64", "complex128", "int32", "int64")]
    assert products._piece(a, 16, 24) == 432
    assert [products._piece(other, 16, 24) for other in others] == [0] * len(others)


@pytest.mark.parametrize(
    ("architectures", "expected"),
    [
        (["SkylakeX"], True),
        (["Cooperlake"], True),
        (["SapphireRapids"], True),
        (["Haswell"], False),
        (["Zen"], False),
        (["skx"], False),  # as BLIS calls it
        (["SKYLAKEX"], False),
        ([None], False),
        ([...], False),  # a library that does not say
        ([], False),
        (["Haswell", "SkylakeX"], True),
        ([..., "SapphireRapids"], True),
    ],
)
def test_which_processors_have_small_kernels(architectures, expected):
    blas = blas.Blas()
    blas.libraries = [SimpleNamespace(**({} if name is ... else {"architecture": name})) for name in architectures]
    assert blas.has_small_kernels is expected


# Scratch arrays ----------------------------------------------------------------------------------


def test_scratch_is_used_again_and_is_each_threads_own():
    like = np.empty(0, "f")
    first = blocks.scratch("test", (10, 3), like)
    assert np.shares_memory(first, blocks.scratch("test", (5, 2), like))
    assert not np.shares_memory(first, blocks.scratch("other", (10, 3), like))
    assert np.shares_memory(first, blocks.scratch("test", (30,), like))  # it fits to the last number
    assert blocks.scratch("test", (31,), like).shape == (31,)
    assert blocks.scratch("test", (2, 0), like).shape == (2, 0)
    others = []
    thread = threading.Thread(target=lambda: others.append(blocks.scratch("test", (10, 3), like)))
    thread.start()
    thread.join()
    assert not np.shares_memory(first, others[0])


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
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: SimpleNamespace(**functions))
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(os, "environ", {variable: "1"})
    memory.keep_freed_memory()
    threshold, trim = -3, -1  # as malloc.h has them
    assert options == ({threshold: 32 * 2**20, trim: 2**31 - 1} if told else {})


# Forks -------------------------------------------------------------------------------------------


@forks
@of_a_process_with_threads
def test_a_forked_child_has_threads_and_locks_of_its_own():
    mg.set_num_threads(2)
    threads.run(lambda i: None, 4)  # the parent's pool exists
    assert in_child(all_tasks_are_done)
    for lock in (threads._queue_lock, blas.blas.lock):
        with lock:  # as another thread may, who is not in the child
            assert in_child(all_tasks_are_done)


@forks
@of_a_process_with_threads
def test_a_forked_child_has_as_many_threads_for_blas_as_its_parent_outside_a_task(libraries):
    def threads():
        return [library.get_num_threads() for library in libraries]

    one, two, three = ([n] * len(libraries) for n in (1, 2, 3))

    def one_inside_and_two_outside():
        inside = []
        threads.run(lambda i: inside.append(threads()), 4)
        return inside == [one] * 4 and threads() == two

    seen = []
    threads.run(lambda i: seen.append(in_child(lambda: threads() == two)), 1)
    threads.run(lambda i: seen.append(in_child(one_inside_and_two_outside)), 1)
    blas.blas.set(three)
    seen.append(in_child(lambda: threads() == three))  # nothing ran: what was before is of no concern
    assert seen == [True] * 3
