"""After a KeyboardInterrupt at any instruction of minigrad/kernels, BLAS, locks and helpers are as before."""

import dis
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad.kernels import blas, blocks, products, threads
from minigrad.kernels.interrupts import call_then
from tests.kernels.test_blas import lock_is_free, numbers

KERNELS = str(Path(blas.__file__).parent)

UNINTERRUPTED = {dis.opmap["PUSH_EXC_INFO"], dis.opmap["POP_EXCEPT"]}


def test_the_cleanup_runs_once_after_a_call_that_succeeds():
    calls = []
    assert call_then(lambda: calls.append("call") or 3, lambda: calls.append("cleanup")) == 3
    assert calls == ["call", "cleanup"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_the_cleanup_runs_after_an_error_which_is_raised(error):
    calls = []

    def fail():
        raise error("this")

    with pytest.raises(error, match="this"):
        call_then(fail, lambda: calls.append("cleanup"))
    assert calls


@pytest.mark.parametrize("interrupts", [1, 2, 3, 10])
def test_an_interrupted_cleanup_runs_again_until_it_is_whole(interrupts):
    begun, ended = [], []

    def cleanup():
        begun.append(1)
        if len(begun) <= interrupts:
            raise KeyboardInterrupt
        ended.append(1)

    with pytest.raises(KeyboardInterrupt):
        call_then(lambda: None, cleanup)
    assert len(begun) == interrupts + 1
    assert ended == [1]


# Interrupts at every instruction -----------------------------------------------------------------


def interrupted(call, at):
    """Call with a KeyboardInterrupt before instruction `at` of minigrad/kernels; say whether there was one.

    Only on this thread: Python runs signal handlers on the main thread. Not where an `except` begins or ends: CPython
    delivers no signal there, and an exception of a trace function leaves the handled one as the current one.
    """
    left = at

    def before_instruction(frame, event, argument):
        nonlocal left
        if event == "opcode" and frame.f_code.co_code[frame.f_lasti] not in UNINTERRUPTED:
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
        return before_instruction

    def entering(frame, event, argument):
        if not frame.f_code.co_filename.startswith(KERNELS):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return before_instruction

    before = sys.gettrace()
    sys.settrace(entering)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def check_all_is_as_before(libraries, at):
    assert numbers(libraries) == [2] * len(libraries), at
    assert not blas._holders, at
    assert lock_is_free(), at
    assert not threads._inside_task.get(), at


def check_at_every_instruction(call, expected, libraries, step=1):
    """Interrupt at each instruction in turn: afterwards all is as before, and the next result has the same bits."""
    at, misses = 1, 0
    while misses < 3:  # the number of instructions depends on what the helpers do
        misses = 0 if interrupted(call, at) else misses + 1
        check_all_is_as_before(libraries, at)
        for result, array in zip(call(), expected, strict=True):
            np.testing.assert_array_equal(result, array, err_msg=str(at))
        at += step
    return at


def multiply():
    rng = np.random.default_rng(0)
    return (products.matmul(rng.standard_normal((40, 12)), rng.standard_normal((12, 9))),)


def convolve():
    """Forward and backward, in several blocks and partial sums, with pixels in pairs."""
    rng = np.random.default_rng(0)
    x, w, b = (
        mg.Tensor(rng.standard_normal(shape), requires_grad=True) for shape in [(3, 4, 4, 2), (3, 3, 2, 3), (3,)]
    )
    out = mg.conv2d(x, w, b, padding=1)
    return out.data, *(g.data for g in mg.grad(out, [x, w, b], np.ones(out.shape)))


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(blocks, "COLUMN_BYTES", 3000)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 2000)
    monkeypatch.setattr(blocks, "MIN_MULTIPLY_ADDS", 1)


@pytest.mark.parametrize("n", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_product_survives_an_interrupt_at_every_instruction(n, libraries, small_blocks):
    mg.set_num_threads(n)
    assert check_at_every_instruction(multiply, multiply(), libraries) > 300


@pytest.mark.parametrize("n", [pytest.param(1, marks=pytest.mark.slow), 2])
@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.slow), 17])
def test_a_convolution_survives_an_interrupt_at_every_instruction(n, step, libraries, small_blocks):
    mg.set_num_threads(n)
    assert check_at_every_instruction(convolve, convolve(), libraries, step) > 3000


@pytest.mark.slow
def test_helpers_are_made_again_after_an_interrupt_at_every_instruction(libraries):
    """And those that were made half-way end."""

    def run_on_new_helpers():
        mg.set_num_threads(4)
        mg.set_num_threads(3)
        done = []
        threads.run(done.append, 5)
        return sorted(done)

    check_at_every_instruction(run_on_new_helpers, range(5), libraries)
    mg.set_num_threads(1)
    for thread in threading.enumerate():
        if thread.name.startswith("minigrad-"):
            thread.join(30)
            assert not thread.is_alive()


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_interrupt_at_every_instruction_after_an_error_of_a_task(error, n, libraries):
    mg.set_num_threads(n)

    def fail(i):
        if i == 3:
            raise error

    def run_with_error():
        with pytest.raises((error, KeyboardInterrupt)):
            threads.run(fail, 5)

    for at in range(1, 600):
        interrupted(run_with_error, at)
        check_all_is_as_before(libraries, at)
