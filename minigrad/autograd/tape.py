"""The tape: the record of a computation, and the mode that says whether anything is recorded.

An operator that is applied to Tensors leaves an :class:`Entry` on the tape: which operator, edges to the nodes that its
inputs came from, and the arrays that its rules asked for. ::

    x ──┐                  an Entry knows its operator, its edges (to entries or leaves,
        ├─ mul ── sum ── y    never to the input Tensors) and what its rules asked for;
    w ──┘                  a Tensor knows its Entry; an Entry does not know its Tensor.

So every arrow points towards the leaves, there are no cycles, and a graph is freed as soon as its result is no longer
referenced.

The operator's :class:`Plan` says which arrays an entry stores: those that the rules of the wanted gradients ask for,
and nothing else. The :data:`mode` says whether anything is recorded.

Next: :mod:`minigrad.autograd.tensor`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from minigrad.typing import DType, Shape

if TYPE_CHECKING:  # for type checkers only: these files import this one
    from minigrad.autograd.operator import Operator
    from minigrad.autograd.recompute import Segment
    from minigrad.autograd.tensor import Tensor

#: A function that is called with a gradient; if it returns a Tensor, that replaces the gradient.
Hook: TypeAlias = "Callable[[Tensor], Tensor | None]"

#: The hooks of every new node. Adding a hook replaces this list, so it stays empty.
NO_HOOKS: list[Hook] = []

# The nodes of the graph ----------------------------------------------------------------------


class Leaf:
    """The node of a Tensor that the user made: ``backward`` stores its gradient in ``.grad``."""

    __slots__ = ("dtype", "grad", "hooks", "shape")

    def __init__(self, shape: Shape, dtype: DType, hooks: list[Hook] = NO_HOOKS) -> None:
        self.shape, self.dtype, self.hooks = shape, dtype, hooks
        self.grad: Tensor | None = None


class Entry:
    """The node of an operator's result: one application of the operator.

    Attributes
    ----------
    plan : Plan
        The operator, and where its rules find what they asked for.
    edges : sequence of (Entry, Leaf or None)
        Where the gradients go, one edge for each input; None where no gradient is wanted.
    stored : tuple, Segment or None
        What the rules asked for, in the order of the plan. None once released; a segment of
        :func:`minigrad.recompute` when discarded, to be computed again.
    order : int
        Place in execution order: larger is later.
    shape, dtype
        Of the result, and so of its gradient.
    """

    __slots__ = ("__weakref__", "dtype", "edges", "hooks", "order", "plan", "shape", "stored")

    plan: Plan
    edges: Sequence[Node | None]
    stored: tuple[Any, ...] | Segment | None
    order: int
    shape: Shape
    dtype: DType
    hooks: list[Hook]

    @property
    def operator(self) -> Operator:
        """The operator that was applied."""
        return self.plan.operator


Node: TypeAlias = Leaf | Entry

#: The counter that numbers entries in execution order.
clock = itertools.count()


class Plan:
    """Which values an operator's entries store if certain inputs need gradients, and where its rules find them.

    Attributes
    ----------
    operator : Operator
    need : tuple of bools
        Which inputs need gradients.
    names : tuple of str
        Names of the stored values: first inputs and the result, as far as rules ask for them, then the `extras`.
    take : callable or None
        Picks these arrays out of the list of all inputs and the result, as a tuple. None if no array is stored.
    extras : tuple of str
        The other names: settings, and values that the forward saved.
    places : list of tuples of ints
        For each rule, the positions in `names` of the values that it asks for.
    """

    def __init__(self, operator: Operator, need: tuple[bool, ...]) -> None:
        self.operator, self.need = operator, need
        asked = zip(operator.asks, [True] if operator.joint else need, strict=True)
        names = dict.fromkeys([*itertools.chain(*(names for names, needed in asked if needed)), *operator.twin_asks])
        at = {name: i for i, name in enumerate(operator.inputs)} | {"out": -1}  # the last, after any number of inputs
        arrays = {name: i for name, i in at.items() if name in names}
        self.extras = tuple(name for name in names if name not in arrays)
        self.names = (*arrays, *self.extras)
        self.take = _taker([*arrays.values()])
        place = {name: i for i, name in enumerate(self.names)}
        self.places = [tuple(place[name] for name in names if name in place) for names in operator.asks]


def _taker(places: list[int]) -> Callable[[list[Any]], tuple[Any, ...]] | None:
    """Return a function that takes the items at `places` out of a list, as a tuple; None if there are none to take."""
    if not places:
        return None
    if len(places) == 1:
        return lambda items: (items[places[0]],)
    return cast("Callable[[list[Any]], tuple[Any, ...]]", itemgetter(*places))


# The mode ------------------------------------------------------------------------------------

#: What the running thread or asyncio task does with results besides computing them, as three values: recording,
#: whether entries are recorded; anomaly, whether results and gradients are searched for NaNs; and segment, the part of
#: :func:`minigrad.recompute` that is running, or None. Each operator reads them, and a plain tuple is read fastest.
mode: ContextVar[tuple[bool, bool, Segment | None]] = ContextVar("mode", default=(True, False, None))
