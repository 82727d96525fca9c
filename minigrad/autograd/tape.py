"""What is recorded: the entries of the tape, what they keep, and whether anything is recorded just now.

An operator that is applied to Tensors leaves an :class:`Entry`. Its operator's :class:`Plan` says which arrays it keeps
for the replay: those that the rules of the wanted gradients ask for, and nothing else. The :class:`Mode` of a thread
says whether to record at all.

Next: :mod:`minigrad.autograd.operator`.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar, cast

from minigrad.autograd.tensor import Hook, Leaf

T = TypeVar("T")

# The nodes of the graph ----------------------------------------------------------------------

clock = itertools.count()
NO_HOOKS: list[Hook] = []  # shared by all: adding a hook makes a list of one's own


class Entry:
    """One application of an operator: the node of the Tensor it gave.

    Attributes
    ----------
    plan : Plan
        The operator, and where its rules find what they asked for.
    edges : sequence of (Entry, Leaf or None)
        Where the gradients go, one for each input; None where none is wanted.
    kept : tuple, Segment or None
        What the rules asked for, as the plan says. None when released; a segment of
        :mod:`minigrad.autograd.recompute` when dropped, to be computed again.
    order : int
        Place in execution order: larger is later.
    shape, dtype
        Of the result, and so of its gradient.
    """

    __slots__ = ("__weakref__", "dtype", "edges", "hooks", "kept", "order", "plan", "shape")

    plan: Plan
    edges: Sequence[Node | None]
    kept: Any
    order: int
    shape: tuple[int, ...]
    dtype: Any
    hooks: list[Hook]

    @property
    def operator(self) -> Any:
        """The Operator that was applied."""
        return self.plan.operator

    def named(self) -> dict[str, Any]:
        """Return what is kept by the names that the rules ask for."""
        return dict(zip(self.plan.names, self.kept, strict=True))


Node = Leaf | Entry


class Plan:
    """What the entries of an operator keep where certain inputs need gradients, and where its rules find it.

    Attributes
    ----------
    operator : Operator
    need : tuple of bools
        Which inputs need gradients.
    names : tuple of str
        Of what is kept: first arrays among the inputs and the result, then the `extras`.
    take : callable or None
        Takes those arrays out of the list of all inputs and the result, as a tuple. None where nothing is kept.
    extras : tuple of str
        Settings, and values that the forward saved.
    asks : list of tuples of ints
        For each rule, where what it asks for stands among what is kept.
    """

    def __init__(self, operator: Any, need: tuple[bool, ...]) -> None:
        self.operator, self.need = operator, need
        asked = zip(operator.asks, [True] if operator.joint else need, strict=True)
        names = dict.fromkeys([*itertools.chain(*(names for names, needed in asked if needed)), *operator.plain_asks])
        arrays = {name: place for place, name in enumerate([*operator.inputs, "out"]) if name in names}
        self.extras = tuple(name for name in names if name not in arrays)
        self.names = (*arrays, *self.extras)
        self.take = _taker([*arrays.values()])
        place = {name: place for place, name in enumerate(self.names)}
        self.asks = [tuple(place[name] for name in names if name in place) for names in operator.asks]


def _taker(places: list[int]) -> Callable[[list[Any]], tuple[Any, ...]] | None:
    """Return a function that takes the items at `places` out of a list, if there are any to take."""
    if not places:
        return None
    if len(places) == 1:
        return lambda items: (items[places[0]],)
    return cast("Callable[[list[Any]], tuple[Any, ...]]", itemgetter(*places))


# What happens to results ---------------------------------------------------------------------


class Mode(NamedTuple):
    """What happens to results besides being computed."""

    recording: bool = True
    anomaly: bool = False  # whether they are searched for NaNs
    segment: Any = None  # the part of minigrad.recompute that is running


class _State(threading.local):
    """Each thread's own mode: one attribute, because to ask for it takes time."""

    mode = Mode()


state = _State()


@contextmanager
def within(**changes: Any) -> Iterator[None]:
    """Change this thread's mode inside a context."""
    before = state.mode
    state.mode = before._replace(**changes)
    try:
        yield
    finally:
        state.mode = before


def no_grad() -> AbstractContextManager[None]:
    """Record nothing inside ``with no_grad():``. Threads do not affect each other.

    Examples
    --------
    >>> import minigrad as mg
    >>> x = mg.Tensor([1.0], requires_grad=True)
    >>> with mg.no_grad():
    ...     (x * 2).requires_grad
    False
    """
    return within(recording=False)


def enable_grad() -> AbstractContextManager[None]:
    """Record inside, even within :func:`no_grad`: for a replay that is itself recorded."""
    return within(recording=True)


def detect_anomaly() -> AbstractContextManager[None]:
    """Stop at the first operator that makes a NaN, forward or backward, and name it.

    Every result is looked at, which takes time: for hunting, not for every day.

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
    return within(anomaly=True)


def once(effect: Callable[[], T]) -> T:
    """Run `effect` now, and return what it gave before when :func:`recompute` runs its function again.

    For what must not happen twice: an update of running statistics, the draw of a dropout seed.

    Examples
    --------
    >>> import numpy as np
    >>> import minigrad as mg
    >>> rng = np.random.default_rng(0)
    >>> seed = mg.once(lambda: rng.integers(100))
    """
    segment = state.mode.segment
    return cast(T, effect() if segment is None else segment.once(effect))
