"""The replay in reverse: backward and grad.

The tape is a record of what was done, in order. Gradients are found by walking it from the end:
take the newest entry that a gradient has reached, apply its rules, and add what they give to the
nodes at the other end of its edges. The newest first means that an entry is taken when every
entry that used its result has been taken before, so its gradient is complete and each is
visited once: linear time, no recursion, however many paths there are.

Next: :mod:`minigrad.autograd.recompute`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from heapq import heappop, heappush
from typing import Any, cast

from minigrad.autograd.broadcasting import copy, sum_to
from minigrad.autograd.operator import broadcast_shape
from minigrad.autograd.tape import Entry, Node, enable_grad, state
from minigrad.autograd.tensor import Leaf, Tensor, array_of, new_tensor, operators
from minigrad.device import device_name, is_array, namespace


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    *,
    create_graph: bool = False,
    retain_graph: bool | None = None,
) -> tuple[Tensor, ...]:
    """Return the gradients of `outputs` with respect to `inputs`, leaving every ``.grad`` alone.

    Only entries on a path from `outputs` to `inputs` are replayed.

    Parameters
    ----------
    outputs : Tensor or sequence of Tensors
    inputs : Tensor or sequence of Tensors
        Leaves, or results in between.
    grad_outputs : Tensor, array or None, or a sequence of them
        The gradient to start from, one for each output. None is 1 for an output with one element.
    create_graph : bool
        Record the replay itself: the gradients can then be differentiated.
    retain_graph : bool, optional
        Keep what the tape holds. The default is the value of `create_graph`.

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
    starts = (
        grad_outputs
        if isinstance(grad_outputs, list | tuple)
        else (grad_outputs,) * (len(outputs) if grad_outputs is None else 1)
    )
    if len(starts) != len(outputs):
        raise ValueError(f"grad: expected a gradient for each of {len(outputs)} outputs, got {len(starts)}")
    for i, x in enumerate(inputs):
        if x._node is None:
            raise RuntimeError(f"grad: inputs[{i}] of shape {x.shape} requires no gradient")
    roots = [_start("grad", y, g, create_graph) for y, g in zip(outputs, starts, strict=True)]
    totals, owned = replay(
        roots, {x._node for x in inputs}, create_graph, create_graph if retain_graph is None else retain_graph
    )
    for i, x in enumerate(inputs):
        if x._node not in totals:
            raise RuntimeError(
                f"grad: inputs[{i}] of shape {x.shape} is not reached from the outputs: "
                "nothing that was recorded leads from it to them"
            )
    results = []
    for x in inputs:
        results.append(_as_result(totals[x._node], x._node in owned))
        owned.discard(x._node)  # an input that is named twice gets a copy the second time
    return tuple(results)


def backward(output: Tensor, start: Any, *, create_graph: bool, retain_graph: bool) -> None:
    """Add the gradient of `output` to the ``.grad`` of its leaves: see :meth:`minigrad.Tensor.backward`."""
    totals, owned = replay([_start("backward", output, start, create_graph)], None, create_graph, retain_graph)
    for leaf, total in totals.items():  # after the whole replay: an error on the way has changed nothing
        if isinstance(leaf, Leaf):
            leaf.grad = _as_result(total, leaf in owned) if leaf.grad is None else leaf.grad + total


operators["backward"] = cast(Any, backward)  # for Tensor.backward


def _tensors(name: str, given: Any) -> tuple[Tensor, ...]:
    """Take a Tensor or a sequence of them."""
    tensors: tuple[Any, ...] = (given,) if isinstance(given, Tensor) or not hasattr(given, "__iter__") else tuple(given)
    if not all(isinstance(x, Tensor) for x in tensors):
        raise TypeError(f"grad: expected {name} to be a Tensor or a sequence of Tensors, got {given!r}")
    return tensors


# The replay ----------------------------------------------------------------------------------


def _start(caller: str, output: Tensor, g: Any, create_graph: bool) -> tuple[Node, Any]:
    """Check an output and the gradient to start from."""
    if not isinstance(output, Tensor) or output._node is None:
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
    data = array_of(g)
    if not is_array(data) or data.shape != output.shape or data.dtype != output.dtype:
        got = f"{tuple(data.shape)} {data.dtype}" if is_array(data) else repr(g)
        raise ValueError(f"{caller}: expected a gradient of {output.shape} {output.dtype}, got {got}")
    if type(data) is not type(output._data):
        raise ValueError(
            f"{caller}: the output is on {device_name(output._data)}, but the gradient to start from is on "
            f"{device_name(data)}"
        )
    if create_graph:
        return output._node, g if isinstance(g, Tensor) else new_tensor(g, None)
    return output._node, data


def replay(
    roots: list[tuple[Node, Any]], wanted: set[Node] | None, create_graph: bool, retain_graph: bool
) -> tuple[dict[Any, Any], set[Any]]:
    """Walk the tape from `roots`; return the gradients of the leaves, or of the `wanted` nodes.

    Gradients are arrays. Under `create_graph` they are Tensors, and the rules, being written in
    operators, record what they do. The second result is the set of nodes whose gradient was
    allocated here. What a rule gives may be the cotangent itself, a view of it, or something the
    operator keeps: it is borrowed, and only sums made here are added to in place.
    """
    totals: dict[Any, Any] = {}
    owned: set[Any] = set()
    queue: list[tuple[int, Entry]] = []  # entries reached and not yet taken, the newest first

    def receive(node: Node, g: Any) -> None:
        total = totals.get(node)
        if total is None:
            totals[node] = g
            if type(node) is Entry:
                heappush(queue, (-node.order, node))
        elif node in owned:
            total += g
            totals[node] = total  # a NumPy scalar is not added to in place
        else:
            totals[node] = total + g
            if not create_graph:
                owned.add(node)

    leading = set() if wanted is None else _leading([node for node, _ in roots], wanted)
    anomaly = state.mode.anomaly
    with enable_grad() if create_graph else nullcontext():
        for node, g in roots:
            receive(node, g)
        while queue:
            entry = heappop(queue)[1]
            g = totals.pop(entry)
            if entry.hooks:
                g = _hooked(entry, g, owned)
            need = entry.plan.need
            if wanted is not None:
                if entry in wanted:
                    totals[entry] = g
                if entry not in leading:
                    continue
                need = tuple([edge in wanted or edge in leading for edge in entry.edges])
            kept = entry.kept if type(entry.kept) is tuple else _kept(entry)
            if create_graph:
                gradients = _pull_recorded(entry, g, need, kept)
            else:
                gradients = entry.plan.operator.pull(g, need, entry.plan, kept)
            for edge, gradient, needed in zip(entry.edges, gradients, need, strict=True):
                if needed:
                    try:
                        fits = gradient.shape == edge.shape and gradient.dtype is edge.dtype  # type: ignore[union-attr]
                    except AttributeError:  # it is no array
                        fits = False
                    fitting = gradient if fits else _fitted(entry, edge, gradient)
                    if anomaly:
                        _look_for_nan(entry, fitting)
                    receive(cast(Node, edge), fitting)
            if not retain_graph:
                entry.kept, entry.edges = None, ()
        for node in totals:
            if type(node) is Leaf and node.hooks:
                totals[node] = _hooked(node, totals[node], owned)
    return totals, owned


def _fitted(entry: Entry, edge: Any, gradient: Any) -> Any:
    """Sum the gradient of an argument that was broadcast back to its shape; refuse what does not fit."""
    if not hasattr(gradient, "dtype"):
        raise _misfit(entry, edge, gradient)
    if entry.operator.broadcasts and broadcast_shape(edge.shape, gradient.shape) == gradient.shape:
        gradient = sum_to(gradient, edge.shape)
    if gradient.shape != edge.shape or gradient.dtype != edge.dtype:
        raise _misfit(entry, edge, gradient)
    return gradient


def _pull_recorded(entry: Entry, g: Tensor, need: tuple[bool, ...], kept: tuple[Any, ...]) -> Any:
    """Apply the rules of an entry to Tensors, so that what they do is recorded.

    What was kept becomes Tensors again, at the place on the tape that it came from. A fused
    operator's rule works on raw arrays: here its plain twin is run and replayed instead.
    """
    op = entry.operator
    places = dict(zip(op.inputs, entry.edges, strict=False)) | {"out": entry}
    named = dict(zip(entry.plan.names, kept, strict=True))
    tensors = {name: new_tensor(named[name], place) if (place := places.get(name)) else named[name] for name in named}
    if op.plain is None:
        for name, value in named.items():
            saved = name not in places and name not in op.settings
            if saved and is_array(value) and value.dtype.kind in "fc":
                raise RuntimeError(
                    f"{op.name}: its rule uses {name!r}, an array that the forward saved, through which no "
                    "second derivative would flow; give it a plain twin"
                )
        return op.pull(g, need, entry.plan, tuple(tensors.values()))
    # aliases, because f(x, x) has one node for x, but a gradient for each of its two arguments
    aliases = [copy(tensors[name]) if needed else tensors[name] for name, needed in zip(op.inputs, need, strict=True)]
    settings = {name: named[name] for name in op.plain_asks[len(aliases) :]}
    gradients = iter(
        grad(
            op.plain(*aliases, **settings),
            [alias for alias, needed in zip(aliases, need, strict=True) if needed],
            g,
            create_graph=True,
        )
    )
    return [next(gradients) if needed else None for needed in need]


def _leading(roots: list[Node], wanted: set[Node]) -> set[Node]:
    """Find the entries on a path from `roots` to `wanted` nodes."""
    reached: set[Entry] = set()
    ahead: list[Node | None] = [*roots]
    while ahead:
        node = ahead.pop()
        if type(node) is Entry and node not in reached:
            _kept_or_released(node)
            reached.add(node)
            ahead.extend(node.edges)
    leading: set[Node] = set()
    for entry in sorted(reached, key=lambda entry: entry.order):  # an entry's inputs are older than itself
        if any(edge in wanted or edge in leading for edge in entry.edges if edge is not None):
            leading.add(entry)
    return leading


def _kept_or_released(entry: Entry) -> Any:
    """Return what an entry kept, or explain that it is gone."""
    if entry.kept is None:
        raise RuntimeError(
            f"{entry.operator.name}: the tape was released by an earlier backward or grad through it; "
            "pass retain_graph=True to the earlier call, or compute the output again"
        )
    return entry.kept


def _kept(entry: Entry) -> tuple[Any, ...]:
    """Return what an entry keeps; if it was dropped by recompute, have it computed again."""
    while type(kept := _kept_or_released(entry)) is not tuple:
        kept.refill()  # which may leave the entry to a segment within
    return kept


def _as_result(total: Any, own: bool) -> Tensor:
    """Make a gradient the caller's own: copy what was borrowed."""
    if isinstance(total, Tensor):
        with enable_grad():
            return copy(total)  # type: ignore[no-any-return]
    xp = namespace(total)
    return new_tensor(xp.asarray(total) if own else xp.array(total, copy=True), None)


def _hooked(node: Node, g: Any, owned: set[Any]) -> Any:
    """Show the complete gradient of `node` to its hooks; one may replace it."""
    owned.discard(node)
    for f in node.hooks:
        given = f(g if isinstance(g, Tensor) else new_tensor(namespace(g).asarray(g), None))
        if given is not None:
            if not isinstance(given, Tensor) or given.shape != node.shape or given.dtype != node.dtype:
                raise ValueError(f"hook: expected None or a Tensor of {node.shape} {node.dtype}, got {given!r}")
            g = given if isinstance(g, Tensor) else given._data
    return g


def _misfit(entry: Entry, edge: Any, gradient: Any) -> RuntimeError:
    """Say that a rule gave a gradient of the wrong shape or dtype."""
    i = entry.edges.index(edge)
    inputs = entry.operator.inputs
    name = inputs[i] if i < len(inputs) else f"input {i}"
    got = f"{tuple(gradient.shape)} {gradient.dtype}" if hasattr(gradient, "dtype") else type(gradient).__name__
    return RuntimeError(
        f"{entry.operator.name}: its rule gave a gradient of {got} for {name}, which has {edge.shape} {edge.dtype}"
    )


def _look_for_nan(entry: Entry, gradient: Any) -> None:
    """Raise if a rule made a NaN."""
    data = array_of(gradient)
    if namespace(data).isnan(data).any():
        raise FloatingPointError(
            f"{entry.operator.name}: its rule made the first NaN, in a gradient of shape {tuple(data.shape)}"
        )
