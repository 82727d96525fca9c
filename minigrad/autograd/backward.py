"""The replay in reverse: grad and backward.

The tape records what was computed, in order. Gradients are found by replaying it from the end: take the newest entry
that a gradient has reached, apply its rules, and add each gradient that they return to the total of the node that its
edge leads to. An entry is taken only after all newer ones, among them every entry that used its result. So its gradient
is then complete, and each entry is visited once. The replay takes linear time and no recursion, however many paths
there are.

Next: :mod:`minigrad.ops.elementwise`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import nullcontext
from heapq import heappop, heappush
from threading import RLock
from typing import Any, cast

import numpy as np

from minigrad.arguments import expect, refuse
from minigrad.autograd import explain
from minigrad.autograd.broadcasting import copy, sum_to
from minigrad.autograd.modes import enable_grad
from minigrad.autograd.tape import Entry, Leaf, Node, mode
from minigrad.autograd.tensor import Tensor, array_of, new_tensor, plain
from minigrad.checked import checked
from minigrad.device import device_name, holders, is_array, namespace
from minigrad.typing import Array, Gradient


@checked
def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Tensor | Array | Sequence[Tensor | Array | None] | None = None,
    *,
    create_graph: bool = False,
    retain_graph: bool | None = None,
) -> tuple[Tensor, ...]:
    """Return the gradients of `outputs` with respect to `inputs`, without changing any ``.grad``.

    Only entries on a path from `outputs` to `inputs` are replayed, and only hooks on the path are called.

    Parameters
    ----------
    outputs : Tensor or sequence of Tensors
    inputs : Tensor or sequence of Tensors
        Leaves, or intermediate results.
    grad_outputs : Tensor, array or None, or a sequence of them
        The gradient to start from, one for each output. None means 1, for an output with one element.
    create_graph : bool
        Record the replay itself, also within ``no_grad``: the gradients can then be differentiated.
    retain_graph : bool, optional
        Keep the arrays on the tape, so that it can be replayed again. The default is the value of `create_graph`.

    Returns
    -------
    tuple of Tensors
        One for each input, of its shape and dtype.

    Raises
    ------
    RuntimeError
        If an input is not reached from the outputs, or the tape was released.

    Examples
    --------
    >>> import minigrad as mg
    >>> x = mg.Tensor([3.0], requires_grad=True)
    >>> (dy,) = mg.grad((x**3).sum(), x, create_graph=True)
    >>> (ddy,) = mg.grad(dy.sum(), x)
    >>> dy.data, ddy.data
    (array([27.], dtype=float32), array([18.], dtype=float32))
    """
    outputs, inputs = _tensors("outputs", outputs), _tensors("inputs", inputs)
    several = isinstance(grad_outputs, list | tuple)
    starts: Gradient = grad_outputs if several else (grad_outputs,) * (len(outputs) if grad_outputs is None else 1)
    expect(len(starts) == len(outputs), "grad", f"a gradient for each of {len(outputs)} outputs", len(starts))
    for i, x in enumerate(inputs):
        if x._node is None:
            fix = "(`x -= step` makes a new Tensor; to move a leaf, write x.data -= step)"
            raise RuntimeError(f"grad: inputs[{i}] of shape {x.shape} requires no gradient {fix}")
    # Only what lies between outputs and inputs is replayed.
    roots = [_start("grad", y, g, create_graph) for y, g in zip(outputs, starts, strict=True)]
    nodes = [cast(Node, x._node) for x in inputs]
    path = path_between(roots, set(nodes))
    for i, (x, node) in enumerate(zip(inputs, nodes, strict=True)):
        if node not in path:
            raise RuntimeError(
                f"grad: inputs[{i}] of shape {x.shape} is not reached from the outputs: "
                "no recorded operator leads from it to them, or the tape between was released"
            )
    # The tape can be replayed again if it was kept for the second derivative, or on request.
    totals = replay(roots, path, create_graph, create_graph if retain_graph is None else retain_graph)
    # The second time, an input that is named twice gets a copy: the first result holds the gradient, too.
    return tuple([_as_result(holders(totals[node]) == 1, totals[node]) for node in nodes])


@checked
def backward(
    self: Tensor, grad: Tensor | Array | None = None, *, create_graph: bool = False, retain_graph: bool = False
) -> None:
    """Add the gradient of this Tensor to the ``.grad`` of every leaf that it depends on.

    Parameters
    ----------
    grad : Tensor or array of this Tensor's shape, optional
        The gradient to start from. A Tensor with one element starts from 1.
    create_graph : bool
        Record the replay itself, also within ``no_grad``, so that the sums in ``.grad`` can be differentiated, and keep
        the arrays on the tape. Leaf, gradient and graph then form a reference cycle until ``.grad`` is set to None;
        :func:`minigrad.grad` makes no such cycle.
    retain_graph : bool
        Keep the arrays on the tape, so that backward can be called again.

    Raises
    ------
    RuntimeError
        If nothing was recorded, `grad` is missing, or the tape was released.

    Examples
    --------
    >>> import numpy as np
    >>> import minigrad as mg
    >>> x = mg.Tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).backward(np.array([1.0, 10.0], "float32"))
    >>> x.grad
    Tensor([ 2., 40.])
    """
    start = _start("backward", self, grad, create_graph)
    _add_to_leaves(replay([start], None, create_graph, retain_graph or create_graph))


Tensor.backward = backward  # type: ignore[method-assign]

# The replay ----------------------------------------------------------------------------------


class Gradients:
    """The gradients that have reached nodes, and the queue of entries to take next.

    Gradients are arrays, or Tensors where the replay is recorded. A gradient that a rule returns may be the cotangent
    itself, a view of it, or an array that the operator stores. So a total is added to in place only if nobody else
    holds it.
    """

    def __init__(self) -> None:
        self.totals: dict[Node, Gradient] = {}
        self.queue: list[tuple[int, Entry]] = []  # the newest entry first

    def add(self, node: Node, g: Gradient) -> None:
        """Add a gradient to the total of a node; an entry that is reached for the first time joins the queue."""
        if node not in self.totals:
            self.totals[node] = g
            if type(node) is Entry:
                heappush(self.queue, (-node.order, node))
        elif holders(self.totals[node]) == 1:
            self.totals[node] += g
        else:
            self.totals[node] = self.totals[node] + g

    def show_to_hooks(self, node: Node, g: Gradient) -> Gradient:
        """Return the complete gradient of a node after its hooks were called with it: each may replace it."""
        for f in node.hooks:
            given = f(g if isinstance(g, Tensor) else new_tensor(namespace(g).asarray(g), None))
            if given is not None:
                fits = isinstance(given, Tensor) and given.shape == node.shape and given.dtype == node.dtype
                expect(fits, "hook", f"None or a Tensor of {node.shape} {node.dtype}", repr(given))
                g = given if isinstance(g, Tensor) else given._data
        return g


def replay(
    roots: list[tuple[Node, Gradient]], path: dict[Node, bool] | None, create_graph: bool, retain_graph: bool
) -> dict[Node, Gradient]:
    """Replay the tape from `roots`; return the gradients of leaves, or of the wanted nodes on `path`.

    With `create_graph`, gradients are Tensors. Rules consist of operators, so their computations are recorded, too.
    """
    gradients = Gradients()
    add, totals, queue = gradients.add, gradients.totals, gradients.queue
    _, anomaly, _ = mode.get()
    with np.errstate(under="ignore"), enable_grad() if create_graph else nullcontext():  # a small gradient may be 0
        # The replay begins at the outputs, with their gradients.
        for node, g in roots:
            if path is None or node in path:
                add(node, g)
        while queue:
            # The newest entry that was reached: all entries that used its result are newer, so its total is complete.
            entry = heappop(queue)[1]
            g = totals.pop(entry)
            if entry.hooks:
                g = gradients.show_to_hooks(entry, g)
            # Which inputs want a gradient? `grad` follows only those that lead to its inputs, and keeps the total of an
            # entry that is itself an input.
            need = entry.plan.need
            if path is not None:
                if path[entry]:
                    totals[entry] = g
                need = tuple([edge in path for edge in entry.edges])
                if not any(need):
                    continue
            # The rule computes what this entry contributes to the gradient of each input.
            stored = entry.stored if type(entry.stored) is tuple else _stored(entry)
            if create_graph:
                results = _pull_recorded(entry, g, need, stored)
            else:
                results = entry.plan.operator.pull(g, need, entry.plan, stored)
            # Each contribution must have its input's shape and dtype. Then it is added to the input's total.
            edges = cast("Sequence[Node]", entry.edges)  # where a gradient is needed, the edge is not None
            for edge, gradient, needed in zip(edges, results, need, strict=True):
                if needed:
                    try:
                        fits = gradient.shape == edge.shape and gradient.dtype is edge.dtype
                    except AttributeError:  # it is not an array
                        fits = False
                    if not fits:
                        gradient = _summed_back(entry, edge, gradient)
                    add(edge, gradient)
                    if anomaly:
                        explain.refuse_nan_gradient(entry.operator, *map(array_of, (g, gradient, totals[edge])))
            # The arrays are freed while the replay goes on.
            if not retain_graph:
                entry.stored, entry.edges = None, ()
        # The leaves are complete only now, so their hooks run last.
        for node in totals:
            if type(node) is Leaf and node.hooks:
                totals[node] = gradients.show_to_hooks(node, totals[node])
    return totals


def _pull_recorded(entry: Entry, g: Tensor, need: tuple[bool, ...], stored: tuple[Any, ...]) -> Sequence[Gradient]:
    """Apply the rules of an entry to Tensors, so that the rules themselves are recorded.

    Stored arrays become Tensors again, each with the node that it came from. A fused operator's rule works on raw
    arrays, so its twin is run and replayed instead.
    """
    op = entry.operator
    places = dict(zip(op.inputs, entry.edges, strict=False)) | {"out": entry}
    named = dict(zip(entry.plan.names, stored, strict=True))
    tensors = {name: new_tensor(named[name], place) if (place := places.get(name)) else named[name] for name in named}
    if op.twin_function is None:
        for name, value in named.items():
            saved = name not in places and name not in op.settings
            if saved and (is_array(value) or isinstance(value, np.generic)) and value.dtype.kind in "fc":
                raise RuntimeError(
                    f"{op.name}: its rule uses {name!r}, which the forward saved, and through which no second "
                    "derivative would flow; give it a twin"
                )
        return op.pull(g, need, entry.plan, tuple(tensors.values()))
    # aliases, because f(x, x) has one node for x, but a gradient for each of its two arguments
    aliases = [copy(tensors[name]) if needed else tensors[name] for name, needed in zip(op.inputs, need, strict=True)]
    settings = {name: named[name] for name in op.twin_asks[len(aliases) :]}
    differentiated = [alias for alias, needed in zip(aliases, need, strict=True) if needed]
    gradients = iter(grad(op.twin_function(*aliases, **settings), differentiated, g, create_graph=True))
    return [next(gradients) if needed else None for needed in need]


def _summed_back(entry: Entry, edge: Node, gradient: Gradient) -> Gradient:
    """Sum the gradient of an argument that was broadcast back to the argument's shape; refuse what still does not fit.

    dtypes are compared with != here: equal dtypes need not be the same object.
    """
    if hasattr(gradient, "dtype"):
        if entry.operator.broadcasts and explain.broadcast_shape(edge.shape, gradient.shape) == gradient.shape:
            gradient = sum_to(gradient, edge.shape)
        if gradient.shape == edge.shape and gradient.dtype == edge.dtype:
            return gradient
    raise explain.misfit(entry, edge, gradient)


def path_between(roots: list[tuple[Node, Gradient]], wanted: set[Node]) -> dict[Node, bool]:
    """Return the nodes between `roots` and `wanted` nodes, both ends included, and whether each is wanted."""
    reached: set[Node] = set()
    ahead: list[Node | None] = [node for node, _ in roots]
    # First all that the roots depend on, without recursion.
    while ahead:
        node = ahead.pop()
        if node is not None and node not in reached:
            reached.add(node)
            if type(node) is Entry:
                if node.stored is None and node not in wanted:
                    raise explain.released(node)
                ahead.extend(node.edges)
    path = dict.fromkeys(wanted & reached, True)
    # oldest first, because an entry's inputs are older than itself
    for entry in sorted([node for node in reached if type(node) is Entry], key=lambda entry: entry.order):
        if any(edge in path for edge in entry.edges):
            path.setdefault(entry, False)
    return path


def _stored(entry: Entry) -> tuple[Any, ...]:
    """Return the values that an entry stores; if recompute discarded them, compute them again."""
    while not isinstance(entry.stored, tuple):
        if entry.stored is None:
            raise explain.released(entry)
        entry.stored.refill()  # the entry may now belong to a nested segment: then refill that
    return entry.stored


# Where a replay starts, and what it returns ---------------------------------------------------


def _start(caller: str, output: Tensor, g: Gradient, create_graph: bool) -> tuple[Node, Gradient]:
    """Return the node of an output and the gradient to start from, both checked."""
    if output._node is None:
        raise RuntimeError(
            f"{caller}: nothing was recorded for this output: none of its inputs requires a gradient, "
            "or it was computed under no_grad()"
        )
    if g is None:
        if output.size != 1:
            raise RuntimeError(
                f"{caller}: an output of shape {output.shape} needs a gradient to start from; "
                "reduce it to one number (sum, mean), or pass the gradient"
            )
        g = namespace(output._data).ones_like(output._data)
    data = plain(caller, array_of(g)) if is_array(array_of(g)) else g
    if not is_array(data) or data.shape != output.shape or data.dtype != output.dtype:
        got = f"{tuple(data.shape)} {data.dtype}" if is_array(data) else repr(g)
        raise ValueError(f"{caller}: expected a gradient of {output.shape} {output.dtype}, got {got}")
    if type(data) is not type(output._data):
        refuse(caller, f"the gradient to start from on {output.device}, as the output", device_name(data))
    if create_graph:
        return output._node, g if isinstance(g, Tensor) else new_tensor(data, None)
    return output._node, data


def _tensors(name: str, given: Any) -> tuple[Tensor, ...]:
    """Return a Tensor, or a sequence of them, as a tuple."""
    tensors: tuple[Any, ...] = (given,) if isinstance(given, Tensor) else tuple(given)
    if not all(isinstance(x, Tensor) for x in tensors):
        raise TypeError(f"grad: expected {name} to be a Tensor or a sequence of Tensors, got {given!r}")
    return tensors


def _add_to_leaves(totals: dict[Node, Gradient]) -> None:
    """Add gradients to ``.grad``; of several threads, one at a time, so that none overwrites the sum of another."""
    with _adding:
        leaves = cast("list[Leaf]", list(totals))  # what is copied is dropped: one of both in memory
        sums = {leaf: _as_result(holders(totals[leaf]) == 1, totals.pop(leaf), leaf.grad) for leaf in leaves}
        for leaf, total in sums.items():  # only after all computations: an error in one of them changes no .grad
            leaf.grad = total


_adding = RLock()
if hasattr(os, "register_at_fork"):  # in the child, the thread that held the lock does not exist
    os.register_at_fork(after_in_child=_adding._at_fork_reinit)  # type: ignore[attr-defined]


def _as_result(alone: bool, total: Gradient, before: Tensor | None = None) -> Tensor:
    """Return a gradient, added to `before`, as a Tensor that shares no memory with others.

    A gradient that is `alone`, with no other holder, is taken over; others are copied.

    If the gradient or `before` is recorded, then so is the result, also within ``no_grad``.
    """
    if before is not None or isinstance(total, Tensor):
        with enable_grad():
            return copy(total) if before is None else before + total
    return new_tensor(total if alone else namespace(total).array(total, copy=True), None)
