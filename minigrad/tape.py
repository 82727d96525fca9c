"""Operators and their rules, recording.

An *operator* is a function on arrays together with a *rule* for each argument. A rule turns the gradient of the
result, the cotangent ``g``, into the gradient of that argument. Applied to arrays, an operator gives an array.
Applied to Tensors it gives a Tensor and leaves an :class:`Entry` on the tape: which operator, edges to the nodes
its inputs came from, and the arrays that its rules asked for. The reverse replay of these entries is
:mod:`minigrad.backward`.

::

    x ──┐                  an Entry knows its operator, its edges (to entries or leaves,
        ├─ mul ── sum ── y    never to the input Tensors) and what its rules asked for;
    w ──┘                  a Tensor knows its Entry; an Entry does not know its Tensor.

So every arrow points towards the leaves, there are no cycles, and a graph that is dropped is
freed at once.

Next: :mod:`minigrad.backward`.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol, TypeVar, cast

import numpy as np

from minigrad.device import Array, device_name, is_array, namespace
from minigrad.tensor import Hook, Leaf, Tensor, new_tensor

T = TypeVar("T")

# The nodes of the graph ----------------------------------------------------------------------

_clock = itertools.count()
_NO_HOOKS: list[Hook] = []  # shared by all: adding a hook makes a list of one's own


class Entry:
    """One application of an operator: the node of the Tensor it gave.

    Attributes
    ----------
    operator : Operator
    edges : tuple of (Entry, Leaf or None)
        Where the gradients go, one for each input; None where none is wanted.
    kept : dict, Segment or None
        What the rules asked for, by name. None when released; a segment of
        :mod:`minigrad.recompute` when dropped, to be computed again.
    order : int
        Place in execution order: larger is later.
    shape, dtype
        Of the result, and so of its gradient.
    """

    __slots__ = ("__weakref__", "dtype", "edges", "hooks", "kept", "operator", "order", "shape")

    def __init__(self, operator: Operator, edges: tuple[Node | None, ...], kept: Any, out: Array) -> None:
        self.operator, self.edges, self.kept = operator, edges, kept
        self.order = next(_clock)
        self.shape, self.dtype = out.shape, out.dtype
        self.hooks: list[Hook] = _NO_HOOKS


Node = Leaf | Entry


class _State(threading.local):
    """What is being recorded, thread by thread."""

    recording = True
    anomaly = False
    segment: Any = None  # the part of minigrad.recompute that is running


state = _State()


@contextmanager
def _set(flag: str, value: bool) -> Iterator[None]:
    """Set a flag of this thread inside a context."""
    before = getattr(state, flag)
    setattr(state, flag, value)
    try:
        yield
    finally:
        setattr(state, flag, before)


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
    return _set("recording", False)


def enable_grad() -> AbstractContextManager[None]:
    """Record inside, even within :func:`no_grad`: for a replay that is itself recorded."""
    return _set("recording", True)


def detect_anomaly() -> AbstractContextManager[None]:
    """Stop at the first operator that makes a NaN, forward or backward, and name it.

    Every result is looked at, which takes time: for hunting, not for every day.

    Raises
    ------
    FloatingPointError
        Inside the context, by the operator.

    Examples
    --------
    >>> import minigrad as mg
    >>> with mg.detect_anomaly(), np.errstate(invalid="ignore"):
    ...     mg.log(mg.Tensor([1.0, -1.0]))
    Traceback (most recent call last):
    FloatingPointError: log: made the first NaN, in its result of shape (2,); its inputs held none
    """
    return _set("anomaly", True)


def once(effect: Callable[[], T]) -> T:
    """Run `effect` now, and return what it gave before when :func:`recompute` runs its function again.

    For what must not happen twice: an update of running statistics, the draw of a dropout seed.

    Examples
    --------
    >>> import minigrad as mg
    >>> rng = np.random.default_rng(0)
    >>> seed = mg.once(lambda: rng.integers(100))
    """
    return cast(T, effect() if state.segment is None else state.segment.once(effect))


# Operators -----------------------------------------------------------------------------------


class Operator:
    """A forward function on arrays, its rules, and its plain twin if it has one."""

    def __init__(self, forward: Callable[..., Any], broadcasts: bool) -> None:
        self.name = forward.__name__.lstrip("_")
        self.forward, self.broadcasts = forward, broadcasts
        parameters = inspect.signature(forward).parameters.values()
        self.variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        self.inputs = tuple(p.name for p in parameters if p.kind is p.POSITIONAL_ONLY)
        self.settings = {p.name: p.default for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        self.optional = tuple(p.name for p in parameters if p.name in self.inputs and p.default is None)
        self.rules: tuple[Callable[..., Any], ...] = ()
        self.joint = False
        self.asks: tuple[tuple[str, ...], ...] = ()
        self.plain: Callable[..., Any] | None = None
        self.plain_asks: tuple[str, ...] = ()
        self.plans: dict[tuple[bool, ...], tuple[tuple[str, int], ...]] = {}

    def vjp(self, *rules: Callable[..., Any]) -> Callable[..., Any]:
        """Give the rules: one for each argument, or one for all of them that takes `need`.

        A rule's first parameter is the cotangent ``g``. It asks for the rest by name: an
        argument, a setting, ``out``, or a value that the forward saved.
        """
        names = [tuple(inspect.signature(rule).parameters)[1:] for rule in rules]
        self.joint = len(rules) == 1 and "need" in names[0]
        if not self.joint and (len(rules) != len(self.inputs) or any("need" in asked for asked in names)):
            raise TypeError(
                f"{self.name}.vjp: expected a rule for each of {self.inputs}, or one joint rule that takes `need`; "
                f"got {len(rules)} rules"
            )
        self.rules = rules
        self.asks = tuple(tuple(n for n in asked if n != "need") for asked in names)
        self.plans.clear()
        return rules[0]

    def twin(self, definition: Callable[..., Any]) -> Callable[..., Any]:
        """Give the plain twin: the operator's definition composed of simpler operators.

        It explains the fused forward, is its oracle in tests, and is what higher orders differentiate.
        """
        self.plain = definition
        self.plain_asks = tuple(inspect.signature(definition).parameters)
        if self.plain_asks[: len(self.inputs)] != self.inputs:
            raise TypeError(
                f"{self.name}.twin: expected its first parameters to be {self.inputs}, got {self.plain_asks}"
            )
        self.plans.clear()
        return definition

    def plan(self, need: tuple[bool, ...]) -> tuple[tuple[str, int], ...]:
        """List what to keep for the inputs that need gradients: (name, place among inputs and out), or -1 elsewhere."""
        asked = itertools.chain(*(a for a, n in zip(self.asks, [any(need)] if self.joint else need, strict=True) if n))
        names = dict.fromkeys([*asked, *self.plain_asks])
        places = {name: place for place, name in enumerate([*self.inputs, "out"])}
        return tuple((name, places.get(name, -1)) for name in names)

    def bind(self, args: tuple[Any, ...], settings: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Sort the arguments of a call into inputs and settings, as the forward's signature says."""
        given = dict(settings)
        if not self.variadic:
            inputs = dict(zip(self.inputs, args, strict=False))
            given.update(zip(self.settings, args[len(self.inputs) :], strict=False))
            for name in self.inputs[len(inputs) :]:
                if name in given:
                    inputs[name] = given.pop(name)
                elif name in self.optional:
                    inputs[name] = None
            if len(args) > len(self.inputs) + len(self.settings) or len(inputs) < len(self.inputs):
                raise TypeError(f"{self.name}: expected {self.signature()}, got {len(args)} arguments")
            args = tuple(inputs.values())
        settings = self.settings | given
        for name, value in settings.items():
            if isinstance(value, np.generic):  # as inputs do, a setting gives way to the dtype of the Tensors
                settings[name] = value.item()
            if name not in self.settings or value is inspect.Parameter.empty:
                raise TypeError(f"{self.name}: expected {self.signature()}, got {sorted(given)}: see {name!r}")
            if isinstance(value, Tensor) or (isinstance(value, tuple | list) and _holds_tensor(value)):
                raise TypeError(
                    f"{self.name}: {name} is a setting, through which no gradient flows, but got a Tensor; "
                    f"pass its array: {name}=tensor.data"
                )
        return args, settings

    def signature(self) -> str:
        """Return the operator's name and parameters, for error messages."""
        return f"{self.name}{inspect.signature(self.forward)}".replace("'", "")

    def apply(self, args: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        """Run the forward; where a Tensor is among the arguments, give a Tensor and record."""
        if settings or len(args) != len(self.inputs) or self.settings:
            args, settings = self.bind(args, settings)
        arrays: list[Any] = []
        edges: list[Node | None] = []
        first: Any = None  # the first Tensor's array: its dtype and device are everyone's
        wanted = constants = scalars = False
        for arg in args:
            if isinstance(arg, Tensor):
                array = arg._data
                if first is None:
                    first = array
                elif array.dtype != first.dtype:
                    raise TypeError(self._mixed(first.dtype, array.dtype))
                elif type(array) is not type(first):
                    raise TypeError(
                        f"{self.name}: expected Tensors on one device, got {device_name(first)} and "
                        f"{device_name(array)}; move one with .to(device)"
                    )
                arrays.append(array)
                edges.append(arg._node)
                if arg._node is not None:
                    wanted = True
                else:
                    constants = True
            else:
                if isinstance(arg, np.generic):
                    scalars = True
                elif not isinstance(arg, _NUMBERS) and not is_array(arg) and not (arg is None and self.optional):
                    raise TypeError(f"{self.name}: expected Tensors, arrays or numbers, got {type(arg).__name__}")
                arrays.append(arg)
                edges.append(None)
        if scalars and first is not None:  # a NumPy scalar's dtype would promote; a Python scalar gives way
            arrays = [array.item() if isinstance(array, np.generic) else array for array in arrays]
        try:
            out = self.forward(*arrays, **settings)
        except (TypeError, ValueError) as error:
            raise self._explained(error, arrays, settings) from error
        saved = None
        if type(out) is tuple:
            out, saved = out
        if first is None:
            return out
        if type(out) is not type(first):  # where everything is reduced, NumPy gives a scalar
            out = namespace(first).asarray(out)
        if out.dtype != first.dtype:
            other = next((a.dtype for a in arrays if is_array(a) and a.dtype != first.dtype), out.dtype)
            raise TypeError(self._mixed(first.dtype, other))
        if state.anomaly:
            self._look_for_nan(out, arrays)
        if not (wanted and state.recording):
            return new_tensor(out, None)
        if constants:
            for arg in args:
                if isinstance(arg, Tensor):
                    arg._recorded = True  # the tape may hold its array: no longer to be written into
        return new_tensor(out, self.record(edges, arrays, out, settings, saved))

    def record(self, edges: list[Node | None], arrays: list[Any], out: Array, settings: Any, saved: Any) -> Entry:
        """Put an entry on the tape, with what the rules of the wanted gradients ask for and nothing else."""
        need = tuple([edge is not None for edge in edges])
        plan = self.plans.get(need)
        if plan is None:
            if not self.rules:
                raise TypeError(f"{self.name}: has no rules, but a gradient is wanted; give them with {self.name}.vjp")
            plan = self.plans[need] = self.plan(need)
        arrays.append(out)
        kept = {}
        for name, place in plan:
            if place >= 0:
                kept[name] = arrays[place]
            else:
                kept[name] = settings[name] if name in settings else self.saved_value(saved, name)
        entry = Entry(self, tuple(edges), kept, out)
        if state.segment is not None:
            state.segment.record(entry)
        return entry

    def saved_value(self, saved: Any, name: str) -> Any:
        """Return what the forward saved under a name that a rule asks for."""
        if saved is None or name not in saved:
            raise TypeError(
                f"{self.name}: a rule asks for {name!r}; expected one of {(*self.inputs, 'out', *self.settings)}, or "
                f"a name that the forward saved: {tuple(saved or ())}"
            )
        return saved[name]

    def pull(self, g: Any, need: tuple[bool, ...], kept: dict[str, Any]) -> Any:
        """Turn the cotangent of the result into gradients of the inputs, None where not needed."""
        if self.joint:
            (names,) = self.asks
            return self.rules[0](g, need=need, **{name: kept[name] for name in names})
        grads = []
        for rule, names, needed in zip(self.rules, self.asks, need, strict=True):
            grads.append(rule(g, *[kept[name] for name in names]) if needed else None)
        return grads

    # What is said when something is wrong ----------------------------------------------------

    def _mixed(self, expected: Any, got: Any) -> str:
        """Say that dtypes differ, and what to do."""
        if expected.kind in "iub":
            return f"{self.name}: gives {got} for {expected}; convert the integers first, with .astype({str(got)!r})"
        return (
            f"{self.name}: expected one dtype, got {expected} and {got}; "
            f"convert one where it is made, with .astype({str(expected)!r})"
        )

    def _explained(self, error: Exception, arrays: list[Any], settings: dict[str, Any]) -> Exception:
        """Turn the error of a forward into one that names the operator and the shapes."""
        devices = list(dict.fromkeys(device_name(a) for a in [*arrays, *settings.values()] if is_array(a)))
        if len(devices) > 1:
            return TypeError(
                f"{self.name}: expected arrays on one device, got {' and '.join(devices)}; move them with .to(device)"
            )
        shapes = [tuple(a.shape) for a in arrays if is_array(a)]
        if isinstance(error, TypeError) or str(error).startswith(self.name):
            return error
        if self.broadcasts and broadcast_shape(*shapes) is None:
            return ValueError(
                f"{self.name}: shapes {' and '.join(map(str, shapes))} do not broadcast: aligned at the right, "
                "sizes must be equal or 1"
            )
        return ValueError(f"{self.name}: {error} (got arrays of shape {', '.join(map(str, shapes))})")

    def _look_for_nan(self, out: Array, arrays: list[Any]) -> None:
        """Raise if the result holds a NaN, and say whether an input did."""
        xp = namespace(out)
        if xp.isnan(out).any():
            inherited = any(is_array(a) and a.dtype.kind in "fc" and bool(xp.isnan(a).any()) for a in arrays)
            raise FloatingPointError(
                f"{self.name}: made the first NaN, in its result of shape {out.shape}; its inputs held "
                + ("NaNs already" if inherited else "none")
            )


_NUMBERS = (float, int, complex)


def expect_arrays(name: str, **values: Any) -> None:
    """Refuse what is neither Tensor nor array: the first line of public functions that ask for shapes."""
    for parameter, value in values.items():
        if not isinstance(value, Tensor | np.generic) and not is_array(value):
            raise TypeError(f"{name}: expected {parameter} to be a Tensor or an array, got {type(value).__name__}")


def broadcast_shape(*shapes: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return the shape that `shapes` broadcast to, or None if they do not."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        return None


def _holds_tensor(values: Any) -> bool:
    """Whether a Tensor is among the values."""
    return any(isinstance(value, Tensor) for value in values)


class OperatorFunction(Protocol):
    """What the decorator makes of a forward function: it can be called, and be given rules and a twin."""

    operator: Operator
    vjp: Callable[..., Any]
    twin: Callable[..., Any]

    def __call__(self, *args: Any, **settings: Any) -> Any:
        """Apply the operator."""


def operator(forward: Callable[..., Any]) -> OperatorFunction:
    """Make an operator of a function on arrays.

    Parameters before ``/`` are differentiable, the rest are settings, positional or not. The
    forward returns an array, or ``(array, dict)`` to save values for its rule. Give the
    rules with ``.vjp``, and for a rule on raw arrays the definition with ``.twin``.

    Examples
    --------
    >>> import minigrad as mg
    >>> @mg.operator
    ... def cube(x, /):
    ...     return x**3
    >>> rule = cube.vjp(lambda g, x: g * 3 * x**2)
    >>> x = mg.Tensor([2.0], requires_grad=True)
    >>> cube(x).sum().backward()
    >>> x.grad
    Tensor([12.])
    """
    return _function(Operator(forward, broadcasts=False))


def elementwise(forward: Callable[..., Any]) -> OperatorFunction:
    """Make an operator whose arguments broadcast: each gradient is summed back to its argument's shape.

    A rule may therefore give its gradient in the broadcast shape.

    Examples
    --------
    >>> import minigrad as mg
    >>> @mg.elementwise
    ... def hypotenuse(a, b, /):
    ...     return (a**2 + b**2) ** 0.5
    >>> rules = hypotenuse.vjp(lambda g, a, out: g * a / out, lambda g, b, out: g * b / out)
    >>> a, b = mg.Tensor([3.0, 0.0], requires_grad=True), mg.Tensor(4.0, requires_grad=True)
    >>> hypotenuse(a, b).sum().backward()
    >>> a.grad, b.grad
    (Tensor([0.6, 0. ]), Tensor(1.8))
    """
    return _function(Operator(forward, broadcasts=True))


def _function(op: Operator) -> OperatorFunction:
    """Return the function through which an operator is called."""

    # a function, and not the Operator itself, so that help(), doctest and Sphinx treat it as one
    @functools.wraps(op.forward)
    def apply(*args: Any, **settings: Any) -> Any:
        return op.apply(args, settings)

    function = cast(OperatorFunction, apply)
    function.operator, function.vjp, function.twin = op, op.vjp, op.twin
    return function
