"""Trade compute for memory: drop what entries keep, run again when first needed.

A tape keeps activations from the forward pass until the replay reaches them: memory grows with depth.
``recompute(f, x)`` runs ``f(x)``, records it as always, and then drops what its entries
keep. When the replay first needs one of them, `f` is run once more on the same input
and every entry gets back what it kept. Time grows by one forward pass of `f`; memory holds
the input of each part and, for one part at a time, its inside.

The second run must do exactly what the first did. So what must happen once goes through
:func:`minigrad.once`, which here hands out the first run's results again.

References
----------
T. Chen et al., "Training Deep Nets with Sublinear Memory Cost", arXiv 1604.06174, 2016.

Next: :mod:`minigrad.ops.elementwise`.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from minigrad.autograd.tape import Entry, enable_grad, state, within
from minigrad.autograd.tensor import Leaf, Tensor, new_tensor


def recompute(f: Callable[..., Any], *inputs: Any) -> Any:
    """Return ``f(*inputs)``; what its operators keep for their rules is dropped and computed again when needed.

    Gradients, statistics and draws are equal to the bit to those of ``f(*inputs)``. Works under :func:`minigrad.grad`
    and ``create_graph``, and nested.

    Parameters
    ----------
    f : callable
        Any computation on Tensors that does the same when it is run again: draws and
        updates through :func:`minigrad.once`. It may use parameters from outside; they must not be
        changed before the replay.
    *inputs
        What `f` is called with. Activations belong here; one that `f` reaches by closure works, too.

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
    recording, _, outer = state.mode
    if not recording or (outer is not None and outer.waiting is None):
        return f(*inputs)  # inside a first run everything is dropped anyway: a part of its own begins in the second
    segment = Segment(f, inputs, outer)
    with within(segment=segment):
        out = f(*inputs)
    segment.drop()
    return out


class _Held(NamedTuple):
    """What is needed of a Tensor to make it anew."""

    data: Any
    requires_grad: bool


class Segment:
    """A part of the tape that can be run again: what its entries have in place of what they keep.

    The first run notes its entries, and the results of :func:`minigrad.once`, in order. The second
    walks along both lists and hands out. A segment within the second run of another, `outer`,
    stands for entries of the first run, too, and has what it needs from `outer`.
    """

    def __init__(self, f: Callable[..., Any], inputs: tuple[Any, ...], outer: Segment | None) -> None:
        self.f, self.outer = f, outer
        self.inputs = [_Held(x._data, x.requires_grad) if isinstance(x, Tensor) else x for x in inputs]
        self.entries: list[Callable[[], Entry | None]] = []  # weak: a dropped graph is freed at once
        self.results: list[Any] = []
        self.waiting: Iterator[Callable[[], Entry | None]] | None = None  # during the second run: still to be filled
        self.unclaimed: Iterator[Any] = iter(())

    def record(self, entry: Entry) -> None:
        """Note an entry; in the second run, give what it keeps to the entry of the first."""
        if self.waiting is not None:
            self.next_first(entry)
        else:
            noted = entry if self.outer is None else self.outer.next_first(entry)
            self.entries.append(_nobody if noted is None else weakref.ref(noted))

    def drop(self) -> None:
        """Drop what the entries keep: the first run is over."""
        for reference in self.entries:
            entry = reference()
            if entry is not None and type(entry.kept) is tuple:
                entry.kept = self

    def next_first(self, entry: Entry) -> Entry | None:
        """Return the entry of the first run for which `entry` stands; None if nobody needs it any more."""
        assert self.waiting is not None
        first = next(self.waiting, lambda: entry)()
        if first is entry or (first is not None and first.operator is not entry.operator):
            raise RuntimeError(
                f"recompute: the second run differs from the first, at {entry.operator.name}; "
                "draws and updates belong into minigrad.once"
            )
        if first is not None and first.kept is self:
            first.kept = entry.kept
        return first

    def once(self, effect: Callable[[], Any]) -> Any:
        """Run an effect; in the second run, return what it gave in the first."""
        if self.waiting is not None:
            result = next(self.unclaimed, _nobody)
            if result is _nobody:
                raise RuntimeError(
                    "recompute: the second run has more effects than the first: a mode was changed between"
                )
            return result
        self.results.append(effect() if self.outer is None else self.outer.once(effect))
        return self.results[-1]

    def refill(self) -> None:
        """Run `f` again, so that every entry has what it keeps."""
        inputs = [_fresh(*x) if isinstance(x, _Held) else x for x in self.inputs]
        self.waiting, self.unclaimed = iter(self.entries), iter(self.results)
        self.outer = None
        with enable_grad(), within(segment=self):
            self.f(*inputs)
        if next(self.waiting, None) is not None or next(self.unclaimed, _nobody) is not _nobody:
            raise RuntimeError(
                "recompute: the second run was shorter than the first; f must do the same when it is run again, in the "
                "same mode (train, eval)"
            )
        self.inputs = []


def _nobody() -> None:
    """Stand for an entry that nobody needs any more."""


def _fresh(data: Any, requires_grad: bool) -> Tensor:
    """Make a Tensor that the tape does not know yet."""
    return new_tensor(data, Leaf(data.shape, data.dtype) if requires_grad else None)
