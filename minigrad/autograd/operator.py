"""Operators and their rules.

An *operator* is a function on arrays together with a *rule* for each argument. A rule turns the gradient of the
result, the cotangent ``g``, into the gradient of that argument. Applied to arrays, an operator gives an array. Applied
to Tensors, it gives a Tensor and leaves an :class:`Entry` on the tape. The replay of these entries in reverse is
:mod:`minigrad.autograd.backward`. ::

    @elementwise
    def mul(a, b, /):
        return a * b

    mul.vjp(lambda g, b: g * b, lambda g, a: g * a)

Next: :mod:`minigrad.autograd.broadcasting`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, ParamSpec, overload

import numpy as np

from minigrad.arguments import expect, python_number, refuse
from minigrad.autograd import explain
from minigrad.autograd.signatures import BinaryOperator, UnaryOperator
from minigrad.autograd.tape import NO_HOOKS, Entry, Node, Plan, clock, mode
from minigrad.autograd.tensor import Tensor, lock, lock_together, new_tensor, owner, plain
from minigrad.checked import BAD_CALL, checked
from minigrad.device import is_array, namespace
from minigrad.typing import Array, DType, Function, Gradient, Settings

P = ParamSpec("P")


@overload
def operator(forward: Callable[Concatenate[Array, Array, P], Any]) -> BinaryOperator[P]: ...
@overload
def operator(forward: Callable[Concatenate[Array, P], Any]) -> UnaryOperator[P]: ...
@checked
def operator(forward: Function) -> Function:
    """Make an operator from a function on arrays.

    Parameters
    ----------
    forward : function
        Its parameters before ``/`` are differentiable; the others are settings, positional or keyword. It returns an
        array, or ``(array, dict)`` to save values for the rules.

    Returns
    -------
    function
        The operator, which takes Tensors as well. Set its rules with ``.vjp``. If a rule works on raw arrays, set the
        definition with ``.twin``.

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


@overload
def elementwise(forward: Callable[Concatenate[Array, Array, P], Any]) -> BinaryOperator[P]: ...
@overload
def elementwise(forward: Callable[Concatenate[Array, P], Any]) -> UnaryOperator[P]: ...
@checked
def elementwise(forward: Function) -> Function:
    """Make an operator whose arguments broadcast: each gradient is summed back to its argument's shape.

    A rule may therefore return its gradient in the broadcast shape.

    Parameters
    ----------
    forward : function
        As for :func:`operator`.

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


def _function(op: Operator) -> Function:
    """Return the function through which an operator is called."""
    op_apply = op.apply

    # a function, and not the Operator itself, so that help(), doctest and Sphinx treat it as one
    @functools.wraps(op.forward)
    def apply(*args: Any, **settings: Any) -> Any:
        return op_apply(args, settings)

    vars(apply).update(operator=op, vjp=op.vjp, twin=op.twin, __signature__=explain.public_signature(op))
    return apply


class Operator:
    """A forward function on arrays, its rules, and its twin if it has one.

    Attributes
    ----------
    name : str
    forward : function
    broadcasts : bool
        Whether the arguments broadcast.
    inputs : tuple of str
        Names of the differentiable parameters.
    optional : tuple of str
        Names of the inputs that may be None.
    settings : dict
        The other parameters, with their defaults.
    variadic : bool
        Whether the operator takes any number of inputs.
    rules : tuple of functions
    joint : bool
        Whether one rule computes the gradients of all inputs.
    asks : tuple of tuples of str
        The names that each rule asks for.
    twin_function : function or None
        The twin. The names of its parameters are in `twin_asks`.
    """

    def __init__(self, forward: Function, broadcasts: bool) -> None:
        self.name = getattr(forward, "__name__", type(forward).__name__).lstrip("_")
        self.forward, self.broadcasts = forward, broadcasts
        parameters = inspect.signature(forward).parameters.values()
        self.variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        self.inputs = tuple(p.name for p in parameters if p.kind is p.POSITIONAL_ONLY)
        self.optional = tuple(p.name for p in parameters if p.name in self.inputs and p.default is None)
        self.settings = {p.name: p.default for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        self.plain_call = -1 if self.settings else len(self.inputs)  # the number of arguments that need no binding
        self.rules: tuple[Function, ...] = ()
        self.joint = False
        self.asks: tuple[tuple[str, ...], ...] = ()
        self.twin_function: Function | None = None
        self.twin_asks: tuple[str, ...] = ()
        self.plans: dict[tuple[bool, ...], Plan] = {}
        self.full_plan: Plan | None = None  # where all inputs need gradients

    def vjp(self, *rules: Function) -> Function:
        """Set the rules: one for each input, or one joint rule for all of them that takes `need`.

        `need` says which gradients are wanted; the joint rule returns None for the others. It works on raw arrays, so
        its operator needs a :meth:`twin` for derivatives of higher order.

        A rule's first parameter is the cotangent ``g``. It asks for the rest by name: an input, a setting, ``out``, or
        a value that the forward saved. Nothing else is stored on the tape.
        """
        names = [tuple(inspect.signature(rule).parameters)[1:] for rule in rules]
        joint = len(rules) == 1 and "need" in names[0]
        fits = joint or (len(rules) == len(self.inputs) and not any("need" in asked for asked in names))
        wanted = f"a rule for each of {self.inputs}, or one joint rule that takes `need`"
        expect(fits, f"{self.name}.vjp", wanted, f"{len(rules)} rules", error=TypeError)
        self.rules, self.joint = rules, joint
        self.asks = tuple(tuple(n for n in asked if n != "need") for asked in names)
        self._forget_plans()
        return rules[0]

    def twin(self, definition: Function) -> Function:
        """Set the twin: the operator's definition, composed of simpler operators.

        The twin explains the fused forward and gives the expected values in its tests. For derivatives of higher order,
        the twin is differentiated in place of the forward.
        """
        asks = tuple(inspect.signature(definition).parameters)
        wanted = f"its first parameters to be {self.inputs}"
        expect(asks[: len(self.inputs)] == self.inputs, f"{self.name}.twin", wanted, asks, error=TypeError)
        self.twin_function, self.twin_asks = definition, asks
        self._forget_plans()
        return definition

    def apply(self, args: tuple[Any, ...], settings: Settings) -> Any:
        """Run the forward; if a Tensor is among the arguments, return a Tensor and record an entry."""
        # For small arrays this is the hot path: the steps of every call are written out here, not put into functions.
        if settings or len(args) != self.plain_call:
            args, settings = self.bind(args, settings)
        arrays: list[Any] = []
        edges: list[Node | None] = []
        first: Any = None  # the first Tensor's array: all others have its dtype and device
        dtype = kind = None
        wanted = 0  # number of inputs that need a gradient
        constants = scalars = False
        # Take each Tensor apart into its array and its node. All Tensors have one dtype and one device.
        for arg in args:
            if isinstance(arg, Tensor):
                array, node = arg._data, arg._node
                if first is None:
                    first, dtype, kind = array, array.dtype, type(array)
                elif array.dtype is not dtype or type(array) is not kind:
                    explain.expect_alike(self, args)
                if node is None:
                    constants = True
                else:
                    wanted += 1
                arrays.append(array)
                edges.append(node)
            else:
                if isinstance(arg, _SCALARS):
                    scalars = True
                elif not isinstance(arg, _NUMBERS) and type(arg) is not np.ndarray:
                    arg = self.constant(arg)
                arrays.append(arg)
                edges.append(None)
        # NumPy's scalars have a dtype, Python's numbers have none. Here neither promotes an array.
        if scalars and any(map(is_array, arrays)):
            arrays = [_without_dtype(array, dtype) for array in arrays]
        # The forward works on arrays. What it returns beside its result is saved for the rules.
        try:
            if settings or len(arrays) != 2:
                out = self.forward(*arrays, **settings)
            else:  # the same, without packing and unpacking
                a, b = arrays
                out = self.forward(a, b)
        except BAD_CALL as error:
            raise explain.failed_forward(self, error, arrays, settings) from error
        saved = None
        if type(out) is tuple:
            out, saved = out
        # Arrays give an array, and Tensors a Tensor of their dtype.
        if first is None:
            return explain.result_of_arrays(self, arrays, settings, out)
        if type(out) is not kind:  # NumPy returns a scalar where everything is reduced
            out = namespace(first).asarray(out)
        if out.dtype is not dtype and out.dtype != dtype:
            dtype = explain.dtype_asked_for(self, first.dtype, arrays, settings, out)
        # Without a gradient to compute, nothing is recorded.
        recording, anomaly, segment = mode.get()
        if anomaly:
            explain.refuse_nan_result(self, out, arrays)
        if not (wanted and recording):
            tensor, view = new_tensor(out, None), getattr(out, "base", None) is not None
            for arg in args:
                if isinstance(arg, Tensor) and (arg._data is out or (view and owner(arg._data) is owner(out))):
                    lock_together(tensor, arg)
            return tensor
        if constants:
            for arg in args:
                if isinstance(arg, Tensor):
                    lock(arg)  # the entry may store its array: from now on, arg refuses writes
        # The plan knows which arguments, results and saved values the rules ask for. Only these are stored.
        plan = (self.full_plan if wanted == len(edges) else None) or self.plan(edges)
        stored: tuple[Any, ...] = ()
        if plan.take:
            arrays.append(out)
            stored = plan.take(arrays)
        if plan.extras:
            stored += tuple([settings[n] if n in settings else self.saved_value(saved, n) for n in plan.extras])
        # The entry points to its inputs' nodes, and never to a Tensor: what nobody uses any more is freed at once.
        entry = _new(Entry)
        entry.plan, entry.edges, entry.stored = plan, edges, stored
        entry.shape, entry.dtype = out.shape, dtype
        entry.order, entry.hooks = next(clock), NO_HOOKS
        if segment is not None:
            segment.record(entry)
        tensor = _new(Tensor)
        tensor._data, tensor._node = out, entry
        return tensor

    def pull(self, g: Gradient, need: tuple[bool, ...], plan: Plan, stored: Sequence[Any]) -> Sequence[Gradient]:
        """Apply the rules: turn the cotangent of the result into gradients of the inputs, None where not needed."""
        if self.joint:
            return self.rules[0](g, need=need, **{plan.names[i]: stored[i] for i in plan.places[0]})  # type: ignore[no-any-return]
        gradients = []
        for rule, places, needed in zip(self.rules, plan.places, need, strict=True):
            gradients.append(rule(g, *map(stored.__getitem__, places)) if needed else None)
        return gradients

    def plan(self, edges: Sequence[Node | None]) -> Plan:
        """Return the plan for these edges: which values to store for the gradients along them."""
        need = tuple([edge is not None for edge in edges])
        if need not in self.plans:
            if not self.rules:
                raise TypeError(f"{self.name}: has no rules, but a gradient is wanted; give them with {self.name}.vjp")
            self.plans[need] = Plan(self, need)
            if all(need) and not self.variadic:
                self.full_plan = self.plans[need]
        return self.plans[need]

    def _forget_plans(self) -> None:
        """Discard the plans: rules or twin have changed."""
        self.plans.clear()
        self.full_plan = None

    # Arguments of a call -------------------------------------------------------------------------

    def constant(self, arg: Any) -> Any:
        """Return an argument that is neither a Tensor nor a number: an array of NumPy's own class, or None."""
        if is_array(arg):
            return plain(self.name, arg)
        if arg is None and self.optional:
            return None
        refuse(self.name, "Tensors, arrays or numbers", type(arg).__name__, error=TypeError)

    def saved_value(self, saved: Settings | None, name: str) -> Any:
        """Return the value that the forward saved under a name that a rule asks for."""
        if saved is None or name not in saved:
            raise TypeError(
                f"{self.name}: a rule asks for {name!r}; expected one of {(*self.inputs, 'out', *self.settings)}, or "
                f"a name that the forward saved: {tuple(saved or ())}"
            )
        return saved[name]

    def bind(self, args: tuple[Any, ...], settings: Settings) -> tuple[tuple[Any, ...], Settings]:
        """Sort the arguments of a call into inputs and settings, as the forward's signature says."""
        given = dict(settings)
        # Inputs and settings may both be given by place or by name, as in any call of Python.
        if not self.variadic:
            inputs = dict(zip(self.inputs, args, strict=False))
            given.update(zip(self.settings, args[len(self.inputs) :], strict=False))
            fits = len(given) == len(settings) + len(args[len(self.inputs) :])  # neither too many nor one of them twice
            for name in self.inputs[len(inputs) :]:
                if name in given:
                    inputs[name] = given.pop(name)
                elif name in self.optional:
                    inputs[name] = None
            if not fits or len(inputs) < len(self.inputs):
                named = f" and {', '.join(settings)}" if settings else ""
                raise TypeError(f"{self.name}: expected {explain.signature(self)}, got {len(args)} arguments{named}")
            args = tuple(inputs.values())
        # Defaults fill the rest. A Tensor as a setting would lose its gradient without a word, so it is refused.
        settings = self.settings | given
        for name, value in settings.items():
            # like inputs, a setting takes on the dtype of the Tensors
            if isinstance(self.settings.get(name), float) and isinstance(value, np.ndarray) and value.shape == ():
                value = python_number(value)
            settings[name] = _without_dtype(value)
            if name not in self.settings or value is inspect.Parameter.empty:
                raise TypeError(f"{self.name}: expected {explain.signature(self)}, got {sorted(given)}: see {name!r}")
            if any(isinstance(v, Tensor) for v in (value if isinstance(value, tuple | list) else [value])):
                raise TypeError(
                    f"{self.name}: {name} is a setting, through which no gradient flows, but got a Tensor; "
                    f"pass its array: {name}=tensor.data"
                )
        return args, settings


_new: Any = object.__new__  # calling Entry(...) and new_tensor(...) would take longer than a small a * b
_NUMBERS = (float, int, complex)
_SCALARS = (np.number, np.bool_)


def _without_dtype(value: Any, dtype: DType | None = None) -> Any:
    """Return a NumPy scalar of another dtype as a Python number, which promotes no dtype; anything else as it is."""
    return python_number(value) if isinstance(value, np.generic) and value.dtype is not dtype else value
