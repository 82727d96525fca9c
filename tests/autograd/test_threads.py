"""Threads that use the engine at the same time: they share leaves, and nothing else."""

import sys
import threading

import numpy as np
import pytest

import minigrad as mg
from minigrad.autograd.backward import _adding
from tests.kernels.children import holds_in_child, needs_fork, of_a_process_with_threads


@pytest.fixture
def often():
    """Let Python switch between threads as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def in_threads(count, f):
    """Call ``f(i)`` in thread i, all at once; raise the first error."""
    barrier, errors = threading.Barrier(count), []

    def work(i):
        try:
            barrier.wait()
            f(i)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


@pytest.mark.parametrize("create_graph", [False, True])
def test_no_gradient_is_lost_where_threads_share_leaves(often, create_graph):
    w, b = mg.nn.Parameter([1.0, 2.0]), mg.nn.Parameter([0.0, 0.0])

    def work(i):
        for _ in range(500):
            (w * float(i + 1) + b).sum().backward(create_graph=create_graph)

    in_threads(4, work)
    np.testing.assert_array_equal(w.grad.data, np.full(2, 5000.0, np.float32), strict=True)
    np.testing.assert_array_equal(b.grad.data, np.full(2, 2000.0, np.float32), strict=True)


@needs_fork
@of_a_process_with_threads
def test_a_child_adds_gradients_although_another_thread_did_so_when_it_was_made():
    held, end = threading.Event(), threading.Event()

    def hold():
        with _adding:
            held.set()
            end.wait()

    def backward():
        x = mg.nn.Parameter([1.0])
        x.sum().backward()
        return x.grad.item() == 1.0

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        assert holds_in_child(backward)
    finally:
        end.set()
        thread.join()


def test_an_error_in_a_sum_leaves_other_threads_free_to_add():
    x = mg.Tensor(np.array([1.0]), requires_grad=True)
    x.grad = mg.Tensor(np.array([-np.inf]))
    with pytest.raises(FloatingPointError), np.errstate(invalid="raise"):  # -inf + inf
        (x * np.array([np.inf])).backward()
    x.grad = None
    in_threads(2, lambda i: (x * 2.0).backward())
    assert x.grad.data.tolist() == [4.0]
