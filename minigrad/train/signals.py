"""Signals: Ctrl-C and SIGTERM stop a run after the iteration that is under way.

Next: :mod:`minigrad.train.run`.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Whether the process was asked to stop.

    Attributes
    ----------
    received : signal.Signals or None
        The first signal that arrived.
    agreed : bool
        In a run of several processes: whether all know that one of them received a signal.
    """

    received: signal.Signals | None = None
    agreed = False

    def exit(self) -> BaseException:
        """Return the exception that the signal would have raised: KeyboardInterrupt, or an exit with its status."""
        return SystemExit(128 + signal.SIGTERM) if self.received == signal.SIGTERM else KeyboardInterrupt()


@contextmanager
def stop_requests(listen: bool) -> Iterator[StopRequest]:
    """Note the first SIGINT or SIGTERM instead of being interrupted by it; a second one has its usual effect.

    Parameters
    ----------
    listen : bool
        If False, or outside the main thread, where Python allows no handlers, nothing is changed.

    Yields
    ------
    StopRequest

    Examples
    --------
    >>> import os
    >>> with stop_requests(True) as request:
    ...     os.kill(os.getpid(), signal.SIGINT)
    >>> request.received.name
    'SIGINT'
    """
    request = StopRequest()
    listen = listen and threading.current_thread() is threading.main_thread()
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    ignored = (signal.SIG_IGN, None)  # what the process ignores, under nohup or in the background, stays ignored
    heard = [number for number, handler in previous.items() if listen and handler not in ignored]

    def note(number: int, frame: FrameType | None) -> None:
        request.received = signal.Signals(number)
        for each in heard:  # a second signal has its usual effect, also if it is the other one
            signal.signal(each, previous[each])

    for number in heard:
        signal.signal(number, note)
    try:
        yield request
    finally:
        for number in heard:
            signal.signal(number, previous[number])
