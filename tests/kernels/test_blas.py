"""BLAS is on one thread inside on_one_thread, and has its own setting outside."""

import ctypes
import subprocess
import sys
import threading

import numpy as np
import pytest
import threadpoolctl

import minigrad as mg
from minigrad.kernels import blas
from minigrad.kernels.threads import run
from tests.kernels.children import all_tasks_are_done, holds_in_child, needs_fork, of_a_process_with_threads


def numbers(libraries):
    return [library.get_num_threads() for library in libraries]


def lock_is_free():
    """Say whether another thread can take the lock."""

    def take():
        answers.append(blas._lock.acquire(blocking=False))
        if answers[0]:
            blas._lock.release()

    answers = []
    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    return answers[0]


def test_blas_is_on_one_thread_inside_and_as_before_outside(libraries):
    inside = []

    def task(i):
        run(lambda j: None, 1)  # what is nested changes nothing
        blas.on_one_thread(lambda: None)
        inside.append(numbers(libraries))

    run(task, 2)
    assert inside == [[1] * len(libraries)] * 2
    assert numbers(libraries) == [2] * len(libraries)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5])
def test_every_library_is_on_one_thread_and_gets_its_own_number_back(count, monkeypatch):
    """NumPy, SciPy and PyTorch may each bring one."""
    now = [2 + i for i in range(count)]
    fakes = [blas.Library(lambda i=i: now[i], lambda n, i=i: now.__setitem__(i, n), None) for i in range(count)]
    monkeypatch.setattr(blas, "libraries", lambda: fakes)
    assert blas.on_one_thread(lambda: list(now)) == [1] * count
    assert now == [2 + i for i in range(count)]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_the_setting_is_restored_after_an_error(error, libraries):
    def fail():
        raise error

    with pytest.raises(error):
        blas.on_one_thread(fail)
    assert numbers(libraries) == [2] * len(libraries)
    assert not blas._holders


def test_an_interrupt_before_a_call_holds_the_setting_changes_nothing_for_others(libraries, monkeypatch):
    class Holders(set):
        def add(self, holder):
            if self:
                raise KeyboardInterrupt
            super().add(holder)

    def second():
        with pytest.raises(KeyboardInterrupt):
            blas.on_one_thread(lambda: None)
        return numbers(libraries)

    before = numbers(libraries)
    monkeypatch.setattr(blas, "_holders", Holders())
    assert blas.on_one_thread(second) == [1] * len(libraries)
    assert (numbers(libraries), blas._holders, lock_is_free()) == (before, set(), True)


def test_the_last_of_several_threads_restores_the_setting(libraries):
    """Whoever leaves first, on whatever thread: here the one that came first."""
    second_is_in, first_is_out, seen = threading.Event(), threading.Event(), []

    def second():
        second_is_in.set()
        assert first_is_out.wait(30)
        seen.append(numbers(libraries))

    def first():
        thread.start()
        assert second_is_in.wait(30)

    thread = threading.Thread(target=lambda: blas.on_one_thread(second))
    blas.on_one_thread(first)
    assert numbers(libraries) == [1] * len(libraries)
    first_is_out.set()
    thread.join()
    assert seen == [[1] * len(libraries)]
    assert numbers(libraries) == [2] * len(libraries)


def test_every_python_thread_gets_the_same_bits(libraries):
    """BLAS is on one thread for callers that are not the main thread, too, and they restore it."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((16, 30, 31, 16)).astype("f"), rng.standard_normal((3, 3, 16, 32)).astype("f")
    expected, results, inside = mg.conv2d(x, w, padding=1), [], []

    def work():
        run(lambda i: inside.append(numbers(libraries)), 1)
        results.append(mg.conv2d(x, w, padding=1))

    callers = [threading.Thread(target=work) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert inside == [[1] * len(libraries)] * 4
    for result in results:
        np.testing.assert_array_equal(result, expected)
    assert numbers(libraries) == [2] * len(libraries)


def test_the_setting_is_read_and_changed_under_the_lock(monkeypatch):
    """A race of two threads would show once in a thousand calls; here it would show each time."""

    def note(*count):
        noted.append(count)
        assert not lock_is_free()
        return 2

    noted = []
    monkeypatch.setattr(blas, "libraries", lambda: (blas.Library(note, note, None),))
    blas.on_one_thread(lambda: noted.append("inside"))
    assert noted == [(), (1,), "inside", (2,)]
    assert lock_is_free()


# The libraries -------------------------------------------------------------------------------


def test_threadpoolctl_sees_what_our_functions_set_from_any_thread(libraries):
    def known():
        return [info["num_threads"] for info in threadpoolctl.threadpool_info() if info["user_api"] == "blas"]

    def set_all(count):
        for library in libraries:
            library.set_num_threads(count)

    assert known() == numbers(libraries) == [2] * len(libraries)
    for count in (1, 2):
        thread = threading.Thread(target=set_all, args=(count,))
        thread.start()
        thread.join()
        assert known() == numbers(libraries) == [count] * len(libraries)


@pytest.mark.parametrize(
    ("kind", "names", "found"),
    [
        ("openblas", ["openblas_get_num_threads", "openblas_set_num_threads"], True),
        ("openblas", ["scipy_openblas_get_num_threads64_", "scipy_openblas_set_num_threads64_"], True),
        ("openblas", ["openblas_get_num_threads_64", "openblas_set_num_threads_64"], True),
        ("mkl", ["MKL_Get_Max_Threads", "MKL_Set_Num_Threads"], True),
        ("openmp", ["omp_get_max_threads", "omp_set_num_threads"], False),
    ],
)
def test_functions_are_found_under_the_names_of_each_library(kind, names, found, monkeypatch):
    class Loaded:
        def __init__(self, path):
            for name, function in zip(names, ["getter", "setter"], strict=True):
                setattr(self, name, function)

    monkeypatch.setattr(ctypes, "CDLL", Loaded)
    info = {"internal_api": kind, "filepath": "/lib/blas.so", "architecture": "Zen"}
    monkeypatch.setattr(threadpoolctl, "threadpool_info", lambda: [info])
    assert blas.libraries.__wrapped__() == ((("getter", "setter", "Zen"),) if found else ())


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
        ([None], False),  # a library that does not say
        ([], False),
        (["Haswell", "SkylakeX"], True),
        ([None, "SapphireRapids"], True),
    ],
)
def test_processors_with_avx512_have_small_kernels(architectures, expected, monkeypatch):
    monkeypatch.setattr(blas, "libraries", lambda: [blas.Library(None, None, name) for name in architectures])
    assert blas.has_small_kernels.__wrapped__() is expected


def test_importing_minigrad_does_not_look_for_blas():
    code = "import minigrad, sys; from minigrad.kernels import blas; print(blas.libraries.cache_info().currsize)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "0"


# Forks ---------------------------------------------------------------------------------------


@needs_fork
@of_a_process_with_threads
def test_a_forked_child_has_a_lock_of_its_own():
    """While another thread, which the child does not have, holds the parent's."""
    mg.set_num_threads(2)
    taken, checked = threading.Event(), threading.Event()

    def take():
        with blas._lock:
            taken.set()
            assert checked.wait(60)

    thread = threading.Thread(target=take)
    thread.start()
    assert taken.wait(30)
    held = holds_in_child(all_tasks_are_done)
    checked.set()
    thread.join()
    assert held


@needs_fork
@of_a_process_with_threads
def test_a_forked_child_has_the_setting_of_its_parent_outside_a_task(libraries):
    one, two, three = ([n] * len(libraries) for n in (1, 2, 3))

    def one_inside_and_two_outside():
        inside = []
        run(lambda i: inside.append(numbers(libraries)), 4)
        return inside == [one] * 4 and numbers(libraries) == two

    seen = []
    run(lambda i: seen.append(holds_in_child(lambda: numbers(libraries) == two)), 1)
    run(lambda i: seen.append(holds_in_child(one_inside_and_two_outside)), 1)
    for library in libraries:
        library.set_num_threads(3)
    seen.append(holds_in_child(lambda: numbers(libraries) == three))  # no task ran: nothing to restore
    assert seen == [True] * 3
