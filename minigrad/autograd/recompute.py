"""Recomputation: less memory for more compute.

A tape stores activations from the forward pass until the replay reaches them, so memory grows with depth.
``recompute(f, x)`` runs ``f(x)``, records it as usual, and then discards the arrays that its entries store. When the
replay first needs one of them, `f` is run once more on the same input, and every entry gets back the arrays that it
stored. Time grows by one forward pass of `f`. Memory holds the input of each segment and, for one segment at a time,
the activations inside.

The second run must do exactly what the first did. So it runs in a copy of the first run's context: with the modes, the
algorithm of convolutions and NumPy's errstate that were in force. Effects that must happen once go through
:func:`minigrad.once`, which in the second run returns the results of the first.

References
----------
T. Chen et al., "Training Deep Nets with Sublinear Memory Cost", arXiv 1604.06174, 2016.

Next: :mod:`minigrad.typing`.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextvars import copy_context
from typing import Any, NamedTuple, TypeVar

from minigrad.autograd.modes import Within
from minigrad.autograd.tape import Entry, Leaf, mode
from minigrad.autograd.tensor import Tensor, new_tensor
from minigrad.checked import checked
from minigrad.typing import Array, Function

R = TypeVar("R")


@checked
def recompute(f: Callable[..., R], *inputs: Any) -> R:
    """Return ``f(*inputs)``; the arrays that its operators store are discarded, and computed again when needed.

    Gradients, statistics and draws are bit-equal to those of ``f(*inputs)``. Calls may be nested, and work with
    :func:`minigrad.grad` and ``create_graph``.

    Parameters
    ----------
    f : callable
        Any computation on Tensors that does the same when it is run again: draws and updates go through
        :func:`minigrad.once`. It may use parameters from outside; they must not be changed before the replay.
    *inputs
        The arguments of `f`. Pass activations here; `f` may also use an activation from its closure.

    Returns
    -------
    whatever `f` returns

    Examples
    --------
    >>> import minigrad as mg
    >>> x = mg.Tensor([1.0, 2.0], requires_grad=True)
    >>> y = mg.recompute(lambda x: mg.exp(x * x) * x, x)
    >>> y.sum().backward()
    >>> x.grad.shape
    (2,)
    """
    recording, _, outer = mode.get()
    if not recording or (outer is not None and not outer.running_again):
        return f(*inputs)  # in an outer segment's first run all is discarded anyway: a nested one starts in its second
    segment = Segment(f, inputs, outer)
    with Within(segment=segment):
        out = f(*inputs)
    segment.discard()
    return out


class _Input(NamedTuple):
    """The data of an input Tensor: enough to make the Tensor anew."""

    data: Array
    requires_grad: bool


class Segment:
    """A part of the tape that can be run again; its entries refer to it in place of the arrays that they stored.

    The first run lists its entries and the results of :func:`minigrad.once`, in order. The second run follows both
    lists: each new entry hands its arrays to the same entry of the first run, and effects return their first results.
    A segment may start in the second run of another segment, `outer`. It then fills the entries of the first run of
    `outer`, which it gets from :meth:`first_of`.
    """

    def __init__(self, f: Function, inputs: tuple[Any, ...], outer: Segment | None) -> None:
        self.f, self.outer, self.context = f, outer, copy_context()
        self.inputs = [_Input(x._data, x.requires_grad) if isinstance(x, Tensor) else x for x in inputs]
        self.entries: list[Callable[[], Entry | None]] = []  # weak: a graph is freed when it is no longer referenced
        self.results: list[Any] = []
        self.running_again = False
        self.entries_left: Iterator[Callable[[], Entry | None]] = iter(())  # in the second run: still to be filled
        self.results_left: Iterator[Any] = iter(())

    def record(self, entry: Entry) -> None:
        """List an entry; in the second run, hand its arrays to the same entry of the first run."""
        if self.running_again:
            self.first_of(entry)
        else:
            first = entry if self.outer is None else self.outer.first_of(entry)
            self.entries.append(_freed if first is None else weakref.ref(first))

    def discard(self) -> None:
        """Discard the arrays that the entries store: the first run is over."""
        for reference in self.entries:
            entry = reference()
            if entry is not None and type(entry.stored) is tuple:
                entry.stored = self

    def first_of(self, entry: Entry) -> Entry | None:
        """Return the entry of the first run that corresponds to `entry`, filled; None if it was freed."""
        first = next(self.entries_left, lambda: entry)()
        if first is entry or (first is not None and first.operator is not entry.operator):
            raise RuntimeError(
                f"recompute: the second run differs from the first, at {entry.operator.name}; "
                "draws and updates belong into minigrad.once"
            )
        if first is not None and first.stored is self:
            first.stored = entry.stored
        return first

    def once(self, effect: Callable[[], Any]) -> Any:
        """Run an effect; in the second run, return its first result."""
        if self.running_again:
            result = next(self.results_left, _freed)
            if result is _freed:
                raise RuntimeError(
                    "recompute: the second run has more effects than the first: a mode was changed between"
                )
            return result
        before = len(self.results)
        result = effect() if self.outer is None else self.outer.once(effect)
        self.results[before:] = [result]  # effects of this effect are not asked for again
        return result

    def refill(self) -> None:
        """Run `f` again, so that every entry has its arrays."""
        _, anomaly, _ = mode.get()  # whether to search for NaNs is up to whoever asks for the arrays
        self.context.copy().run(self._run_again, anomaly)

    def _run_again(self, anomaly: bool) -> None:
        """Fill the entries of the first run from those of a second."""
        inputs = [_fresh(*x) if isinstance(x, _Input) else x for x in self.inputs]
        self.running_again, self.outer = True, None
        self.entries_left, self.results_left = iter(self.entries), iter(self.results)
        with Within(recording=True, anomaly=anomaly, segment=self):
            self.f(*inputs)
        if next(self.entries_left, None) is not None or next(self.results_left, _freed) is not _freed:
            raise RuntimeError(
                "recompute: the second run was shorter than the first; f must do the same when it is run again, in the "
                "same mode (train, eval)"
            )


def _freed() -> None:
    """Return None, as a weak reference to a freed entry does; also marks the end of a list."""


def _fresh(data: Array, requires_grad: bool) -> Tensor:
    """Make a Tensor that is not on the tape yet."""
    return new_tensor(data, Leaf(data.shape, data.dtype) if requires_grad else None)
