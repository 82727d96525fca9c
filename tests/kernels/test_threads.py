"""Tasks on threads: each is done once, errors are raised, and helpers come and go."""

import contextlib
import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from types import SimpleNamespace

import numpy as np
import pytest

import minigrad as mg
from minigrad.kernels import threads
from minigrad.kernels.threads import run
from tests.kernels.children import all_tasks_are_done, holds_in_child, needs_fork, of_a_process_with_threads


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 100])
def test_every_task_is_done_once(n, count):
    mg.set_num_threads(n)
    done = []
    run(done.append, count)
    assert sorted(done) == list(range(count))


def test_tasks_run_on_several_threads():
    mg.set_num_threads(3)
    barrier, names = threading.Barrier(3, timeout=30), set()

    def task(i):
        names.add(threading.current_thread().name)
        barrier.wait()  # nobody passes before three threads are here

    run(task, 3)
    assert len(names) == 3


@pytest.mark.parametrize("n", [1, 3])
def test_an_exception_of_a_task_is_raised(n):
    mg.set_num_threads(n)

    def task(i):
        if i == 5:
            raise KeyError("five")

    with pytest.raises(KeyError, match="five"):
        run(task, 10)
    assert all_tasks_are_done()


@pytest.mark.parametrize("n", [1, 3])
def test_an_exception_leaves_nothing_for_the_garbage_collector(n):
    """A task has arrays: they are freed when the exception is, and not when Python next looks for cycles."""

    class Task:
        def __call__(self, i):
            raise KeyError(i)

    mg.set_num_threads(n)
    gc.disable()
    try:
        task = Task()
        held = weakref.ref(task)
        with contextlib.suppress(KeyError):
            run(task, 4)
        del task
        deadline = time.monotonic() + 10
        while held() is not None and time.monotonic() < deadline:
            time.sleep(0.001)  # a helper may still be on its way out of the task
        assert held() is None
    finally:
        gc.enable()


def test_an_exception_of_every_task_is_one_exception():
    """On each thread, so that some tasks are never begun."""
    mg.set_num_threads(3)
    barrier = threading.Barrier(3, timeout=30)

    def task(i):
        barrier.wait()
        raise KeyError(i)

    with pytest.raises(KeyError):
        run(task, 10)
    assert all_tasks_are_done()


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt])
def test_an_exception_is_raised_when_no_task_runs_any_more(error):
    """A task that is left behind would write into arrays that others have by then."""
    mg.set_num_threads(2)
    caller, begun, done = threading.current_thread(), (threading.Event(), threading.Event()), []

    def task(i):
        mine = threading.current_thread() is caller
        begun[mine].set()
        assert begun[not mine].wait(30)  # each thread has one of the two tasks
        if mine:
            raise error("mine")
        time.sleep(0.2)
        done.append(i)

    with pytest.raises(error, match="mine"):
        run(task, 2)
    assert len(done) == 1


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt, SystemExit, GeneratorExit])
@pytest.mark.parametrize("on_helper", [True, False], ids=["helper", "caller"])
def test_every_kind_of_exception_is_raised_whoever_met_it(on_helper, error):
    """The caller waits for a helper in a thread of its own: a helper that ended without a word would be waited for."""
    mg.set_num_threads(2)
    barrier, caught = threading.Barrier(2, timeout=30), []

    def task(i):
        barrier.wait()
        if threading.current_thread().name.startswith("minigrad-") == on_helper:
            raise error("mine")

    def call():
        try:
            run(task, 2)
        except BaseException as raised:
            caught.append(type(raised))

    caller = threading.Thread(target=call, daemon=True)
    caller.start()
    caller.join(10)
    assert caught == [error]
    assert all_tasks_are_done()


def test_after_an_exception_no_further_task_is_begun():
    """On this thread, where it is raised; the helper then ends what it does."""
    mg.set_num_threads(2)
    caller, begun, raised, done = threading.current_thread(), threading.Event(), threading.Event(), []

    def task(i):
        if threading.current_thread() is caller:
            begun.wait(5)
            raised.set()
            raise ZeroDivisionError
        begun.set()
        raised.wait(5)
        time.sleep(0.001)
        done.append(i)

    with pytest.raises(ZeroDivisionError):
        run(task, 5000)
    assert len(done) < 4000


def test_run_neither_waits_for_a_helper_that_never_began_nor_leaves_it_the_task():
    """The helper may be busy with the tasks of another thread."""

    class Task:
        def __call__(self, i):
            pass

    mg.set_num_threads(2)
    busy, go = threading.Event(), threading.Event()

    def occupy(i):
        if threading.current_thread().name.startswith("minigrad-"):
            busy.set()
            assert go.wait(30)
        else:
            assert busy.wait(30)

    other = threading.Thread(target=run, args=(occupy, 2))
    other.start()
    assert busy.wait(30)
    assert all_tasks_are_done()
    task = Task()
    held = weakref.ref(task)
    run(task, 2)
    del task
    assert held() is None
    go.set()
    other.join()


@needs_fork
@of_a_process_with_threads
def test_a_task_may_run_tasks():
    """It does them itself: if a helper waited for a helper, it might wait for itself. (A child can be ended.)"""
    mg.set_num_threads(2)

    def all_are_done():
        done = []
        run(lambda i: run(lambda j: done.append((i, j)), 3), 4)
        return sorted(done) == [(i, j) for i in range(4) for j in range(3)]

    assert holds_in_child(all_are_done)


def test_the_tasks_of_a_task_run_on_its_thread():
    mg.set_num_threads(2)
    barrier, names = threading.Barrier(2, timeout=30), []

    def task(i):
        barrier.wait()
        mine = threading.current_thread().name
        run(lambda j: names.append((mine, threading.current_thread().name)), 3)
        barrier.wait()

    run(task, 2)
    assert len(names) == 6
    assert all(outer == inner for outer, inner in names)


def test_threads_work_under_the_errstate_of_their_caller():
    mg.set_num_threads(2)
    barrier = threading.Barrier(2, timeout=30)

    def divide(i):
        barrier.wait()
        return np.ones(2) / np.zeros(2)

    with np.errstate(divide="ignore"):
        run(divide, 2)
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        run(divide, 2)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
def test_the_default_is_the_number_of_processors_that_this_process_may_use():
    """Not that of the machine: in a container, or beside other processes, it has a few of them."""
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); import minigrad as mg; "
    command = [sys.executable, "-c", code + "print(mg.get_num_threads())"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "1\n"


@pytest.mark.parametrize("n", [0, -1, 1.5, "2", True])
def test_set_num_threads_refuses_what_is_no_positive_integer(n):
    with pytest.raises(ValueError, match="set_num_threads: expected n to be an int of at least 1, got"):
        mg.set_num_threads(n)


def test_set_num_threads_takes_numpys_integers():
    mg.set_num_threads(np.int64(3))
    assert type(mg.get_num_threads()) is int
    assert mg.get_num_threads() == 3


def test_the_tasks_of_a_task_run_in_its_own_thread():
    """Also if another thread is free: it could wait for one that waits for it."""
    mg.set_num_threads(3)
    seen = []

    def task(_):
        ours = set()
        run(lambda _: ours.add(threading.get_ident()) or time.sleep(0.005), 6)
        seen.append((ours, {threading.get_ident()}))

    run(task, 2)
    assert [ours for ours, _ in seen] == [own for _, own in seen]


def test_the_largest_number_is_taken():
    mg.set_num_threads(1024)
    assert mg.get_num_threads() == 1024


SETTINGS_OF_BLAS = ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"]


def forget_the_settings_of_blas(monkeypatch):
    for name in SETTINGS_OF_BLAS:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(("processors", "expected"), [(3, 3), (1, 1), (None, 1)])
def test_where_the_system_does_not_say_which_processors_it_is_all_of_them(processors, expected, monkeypatch):
    """macOS and Windows."""
    forget_the_settings_of_blas(monkeypatch)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: processors)
    assert threads._default() == expected


@pytest.mark.parametrize("n", [1025, 10**9, 10**30])
def test_a_number_that_no_machine_has_use_for_is_refused(n):
    before = mg.get_num_threads()
    with pytest.raises(ValueError, match=f"set_num_threads: expected n to be at most 1024, got {n}"):
        mg.set_num_threads(n)
    assert mg.get_num_threads() == before


@pytest.mark.parametrize("name", SETTINGS_OF_BLAS)
def test_the_default_number_is_bounded_by_the_settings_of_blas(name, monkeypatch):
    forget_the_settings_of_blas(monkeypatch)
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    assert threads._default() == 6
    for value, expected in {"1": 1, " 3": 3, "4,2": 4, "100": 6, "": 6, "0": 6, "-1": 6, "two": 6, "2.5": 6}.items():
        monkeypatch.setenv(name, value)
        assert threads._default() == expected
    monkeypatch.setenv(name, "3")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert threads._default() == 2


def test_the_settings_hold_when_minigrad_is_imported():
    program = "import minigrad; print(minigrad.get_num_threads())"
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    assert subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, check=True).stdout == b"1\n"


# Helpers -------------------------------------------------------------------------------------


def helpers():
    return {thread for thread in threading.enumerate() if thread.name.startswith("minigrad-")}


def end(threads):
    """Say whether the threads end."""
    for thread in threads:
        thread.join(30)
    return not any(thread.is_alive() for thread in threads)


@pytest.mark.parametrize("n", [2, 5])
def test_there_is_one_helper_fewer_than_threads_and_helpers_end_when_the_number_changes(n):
    before = helpers()
    mg.set_num_threads(n + 10)
    assert end(before)
    assert not helpers()  # until there is work
    mg.set_num_threads(n)
    run(lambda i: None, 2)
    mine = helpers()
    assert len(mine) == n - 1
    mg.set_num_threads(n)
    run(lambda i: None, 100)
    assert helpers() == mine
    mg.set_num_threads(n + 1)
    assert end(mine)


@pytest.mark.parametrize(("number", "changed"), [(2, 4), (4, 2)])
def test_helpers_follow_a_number_that_changes_while_they_are_made(number, changed, monkeypatch):
    """As another thread may change it: the wrong number of helpers is replaced by the next call."""
    mg.set_num_threads(number)
    make = threads._Helpers
    monkeypatch.setattr(threads, "_Helpers", lambda count: (mg.set_num_threads(changed), make(count))[1])
    assert all_tasks_are_done()
    first = list(threads._helpers.threads)  # those of earlier tests may still be about to end
    assert len(first) == number - 1
    monkeypatch.setattr(threads, "_Helpers", make)
    assert all_tasks_are_done()
    assert len(threads._helpers.threads) == changed - 1
    assert end(first)


@pytest.mark.parametrize("granted", [0, 2])
def test_where_the_system_grants_no_further_threads_those_that_started_do_the_work(granted, monkeypatch):
    start, asked = threading.Thread.start, []

    def start_if_granted(thread):
        asked.append(thread)
        if len(asked) > granted:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_if_granted)
    mg.set_num_threads(8)
    for _ in range(3):
        assert all_tasks_are_done()
    assert len(asked) == granted + 1  # not asked for again until the number changes
    assert len(threads._helpers.threads) == granted


def test_helpers_finish_their_jobs_before_they_end():
    mg.set_num_threads(2)
    caller, busy, go, done = threading.current_thread(), threading.Event(), threading.Event(), []

    def task(i):
        if threading.current_thread() is caller:
            assert busy.wait(30)
            mg.set_num_threads(3)
            go.set()
        else:
            busy.set()
            assert go.wait(30)
        done.append(i)

    run(lambda i: None, 2)
    mine = helpers()
    run(task, 2)
    assert sorted(done) == [0, 1]
    assert end(mine)


def test_a_task_on_a_helper_may_change_the_number_of_threads():
    """The helpers are not waited for: one would wait for itself."""
    mg.set_num_threads(2)
    barrier, caller = threading.Barrier(2, timeout=30), threading.current_thread()

    def task(i):
        barrier.wait()
        if threading.current_thread() is not caller:
            mg.set_num_threads(3)

    run(task, 2)
    assert mg.get_num_threads() == 3


def test_helpers_that_wait_hold_no_task():
    """A task has arrays, and the next may come in an hour."""

    class Task:
        def __call__(self, i):
            pass

    mg.set_num_threads(2)
    task = Task()
    held = weakref.ref(task)
    run(task, 2)
    del task
    deadline = time.monotonic() + 30
    while held() is not None and time.monotonic() < deadline:
        time.sleep(0.001)  # a helper may still have to see that there is nothing left to do
    assert held() is None


@needs_fork
@of_a_process_with_threads
def test_a_forked_child_has_helpers_of_its_own():
    mg.set_num_threads(2)
    run(lambda i: None, 4)  # the parent has helpers
    assert holds_in_child(all_tasks_are_done)

    def has_one():
        barrier = threading.Barrier(2, timeout=30)
        run(lambda i: barrier.wait(), 2)
        return len(helpers()) == 1

    assert holds_in_child(has_one)


# Processors ----------------------------------------------------------------------------------


@pytest.fixture
def affinities(monkeypatch):
    """Note which of the processors 0 to 3 each helper is given; the caller runs on the last one in `processors`."""
    given, processors = [], [1]
    monkeypatch.setattr(threads, "_getcpu", lambda: processors[-1])
    own = {0: {0, 1, 2, 3}}.get  # of this process, whose number for these calls is 0
    monkeypatch.setattr(os, "sched_getaffinity", own, raising=False)
    monkeypatch.setattr(os, "sched_setaffinity", lambda *affinity: given.append(affinity), raising=False)
    mg.set_num_threads(mg.get_num_threads() + 1)
    mg.set_num_threads(3)
    return SimpleNamespace(given=given, processors=processors)


def test_helpers_are_kept_off_the_processor_of_their_caller(affinities):
    def expected(*processors):
        return [(thread.native_id, set(processors)) for thread in threads._helpers.threads]

    run(lambda i: None, 2)
    assert len(threads._helpers.threads) == 2  # those of earlier tests may still be about to end
    assert affinities.given == expected(0, 2, 3)
    run(lambda i: None, 2)
    assert affinities.given == expected(0, 2, 3)  # the caller has not moved
    affinities.processors.append(3)
    run(lambda i: None, 2)
    assert affinities.given == expected(0, 2, 3) + expected(0, 1, 2)
    before = list(threads._helpers.threads)
    mg.set_num_threads(4)
    assert end(before)
    affinities.given.clear()
    run(lambda i: None, 2)
    assert affinities.given == expected(0, 1, 2)  # new helpers
    assert len(affinities.given) == 3


def test_helpers_are_not_moved_if_there_is_one_processor(affinities, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1}, raising=False)
    run(lambda i: None, 2)
    assert affinities.given == []


def test_processors_that_are_taken_away_later_are_left_alone(affinities, monkeypatch):
    run(lambda i: None, 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1}, raising=False)
    affinities.processors.append(0)
    run(lambda i: None, 2)
    assert [allowed for _, allowed in affinities.given] == 2 * [{0, 2, 3}] + 2 * [{1}]


def test_helpers_work_where_nobody_may_move_them(affinities, monkeypatch):
    def forbidden(*affinity):
        affinities.given.append(affinity)
        raise PermissionError

    monkeypatch.setattr(os, "sched_setaffinity", forbidden, raising=False)
    assert all_tasks_are_done()
    assert len(affinities.given) == 1
    monkeypatch.setattr(threads, "_getcpu", None)  # another system, or C library
    mg.set_num_threads(2)
    assert all_tasks_are_done()
    assert len(affinities.given) == 1


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs Linux")
def test_the_caller_may_still_run_on_every_processor():
    mine = os.sched_getaffinity(0)
    mg.set_num_threads(mg.get_num_threads() + 1)
    mg.set_num_threads(2)
    run(lambda i: None, 2)
    assert os.sched_getaffinity(0) == mine
    (helper,) = threads._helpers.threads
    assert os.sched_getaffinity(helper.native_id) <= mine
