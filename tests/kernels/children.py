"""Checks in a forked child."""

import os
import signal

import pytest

from minigrad.kernels.threads import run

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
of_a_process_with_threads = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Python 3.12 warns of the fork


def holds_in_child(check):
    """Say whether `check` returns True in a forked child."""
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # ends the process, if it waits for something that never comes
        held = False
        try:
            held = check()
        finally:
            os._exit(0 if held else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def all_tasks_are_done():
    done = []
    run(done.append, 4)
    return sorted(done) == [0, 1, 2, 3]
