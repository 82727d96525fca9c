"""Modes: whether operators are recorded, searched for NaNs, or part of a segment that can be run again.

The :data:`~minigrad.autograd.tape.mode` is a context variable, as NumPy's errstate is: each thread and each asyncio
task has its own. It follows from the contexts that are open. A context that ends takes back its own changes only, so
contexts may end in any order: those of two suspended generators need not be nested.

Next: :mod:`minigrad.autograd.recompute`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator
from contextvars import ContextVar
from typing import Any, TypeVar

from minigrad.arguments import expect
from minigrad.autograd.tape import mode
from minigrad.typing import Function

F = TypeVar("F", bound=Function)
T = TypeVar("T")


_contexts: ContextVar[tuple[Within, ...]] = ContextVar("contexts", default=())


class Within:
    """A context in which the mode is changed. It may be used more than once, and as a decorator."""

    def __init__(self, **changes: Any) -> None:
        self.changes = changes

    def __enter__(self) -> None:
        _set((*_contexts.get(), self))

    def __exit__(self, *_: object) -> None:
        contexts = [*_contexts.get()]
        if self in contexts:  # not if a generator began in another thread or task than the one in which it ends
            del contexts[-1 - contexts[::-1].index(self)]
            _set(tuple(contexts))

    def __call__(self, f: F) -> F:
        """Return a function that runs `f` within this context; a generator or coroutine, whenever it is resumed."""
        fits = callable(f) and not inspect.isclass(f) and not inspect.isasyncgenfunction(f)
        expect(fits, "no_grad, detect_anomaly", "a function, generator or coroutine to decorate", f, error=TypeError)

        @functools.wraps(f)
        def call(*args: Any, **settings: Any) -> Any:
            with self:
                return f(*args, **settings)

        @functools.wraps(f)
        def generate(*args: Any, **settings: Any) -> Any:
            return (yield from _Steps(self, f(*args, **settings)))

        @functools.wraps(f)
        async def wait(*args: Any, **settings: Any) -> Any:
            return await _Steps(self, f(*args, **settings))

        found: Any = generate if inspect.isgeneratorfunction(f) else wait if inspect.iscoroutinefunction(f) else call
        return found  # type: ignore[no-any-return]


class _Steps(Generator[Any, Any, Any]):
    """A generator or coroutine that runs within a context, and is suspended outside."""

    def __init__(self, context: Within, steps: Any) -> None:
        self.context, self.steps = context, steps

    def send(self, value: Any) -> Any:
        """Resume within the context, with a value."""
        with self.context:
            return self.steps.send(value)

    def throw(self, *error: Any) -> Any:
        """Resume within the context, with an error."""
        with self.context:
            return self.steps.throw(*error)

    __await__ = Generator.__iter__


def _set(contexts: tuple[Within, ...]) -> None:
    """Set the contexts that are open, and the mode that follows from them."""
    values: dict[str, Any] = {"recording": True, "anomaly": False, "segment": None}
    for context in contexts:
        values |= context.changes
    _contexts.set(contexts)
    mode.set((values["recording"], values["anomaly"], values["segment"]))


def no_grad() -> Within:
    """Record nothing inside ``with no_grad():``, or in a function that is decorated with ``@no_grad()``.

    Threads and asyncio tasks do not affect each other. A generator that is suspended inside ``with no_grad():`` leaves
    it in force for its caller, as with NumPy's errstate: that is how ``@contextlib.contextmanager`` works. Decorate the
    generator instead: then nothing is recorded while it runs, and its caller is not affected.

    Examples
    --------
    >>> import minigrad as mg
    >>> x = mg.Tensor([1.0], requires_grad=True)
    >>> with mg.no_grad():
    ...     (x * 2).requires_grad
    False
    """
    return Within(recording=False)


def enable_grad() -> Within:
    """Record inside the context, even within :func:`no_grad`: for a replay that is itself recorded."""
    return Within(recording=True)


def detect_anomaly() -> Within:
    """Stop at the first operator that makes a NaN, forward or backward, and name it.

    Every result is searched for NaNs, which takes time: use it to find a fault, not in every run.

    Raises
    ------
    FloatingPointError
        Inside the context, by the operator.

    Examples
    --------
    >>> import numpy as np
    >>> import minigrad as mg
    >>> with mg.detect_anomaly(), np.errstate(invalid="ignore"):
    ...     mg.log(mg.Tensor([1.0, -1.0]))
    Traceback (most recent call last):
    FloatingPointError: log: made the first NaN, in its result of shape (2,); its inputs held none
    """
    return Within(anomaly=True)


def once(effect: Callable[[], T]) -> T:
    """Run `effect` now; when :func:`recompute` runs its function again, return the first result instead.

    For effects that must not happen twice: an update of running statistics, the draw of a dropout seed.

    Examples
    --------
    >>> import numpy as np
    >>> import minigrad as mg
    >>> rng = np.random.default_rng(0)
    >>> seed = mg.once(lambda: rng.integers(100))
    """
    _, _, segment = mode.get()
    return effect() if segment is None else segment.once(effect)
