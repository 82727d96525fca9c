"""The static types of operators: Tensor in, Tensor out; arrays in, array out.

Nothing here does any work: type checkers, editors and ``help`` read it. A forward is written for arrays; what
:func:`~minigrad.autograd.operator.operator` makes of it also takes Tensors, and keeps the types of the settings.

Next: :mod:`minigrad.autograd.explain`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from minigrad.autograd.tensor import Tensor
from minigrad.typing import Array, Function, Number, Operand, TensorOrArray

if TYPE_CHECKING:  # types only: it stands above
    from minigrad.autograd.operator import Operator

P = ParamSpec("P")
F = TypeVar("F", bound=Function)


class Unary(Protocol[P]):
    """A function of one Tensor or array, and of settings."""

    @overload
    def __call__(self, x: Tensor, /, *args: P.args, **settings: P.kwargs) -> Tensor: ...
    @overload
    def __call__(self, x: Array | Number, /, *args: P.args, **settings: P.kwargs) -> Array: ...


class Binary(Protocol[P]):
    """A function of two Tensors or arrays, and of settings: with one Tensor among them it gives a Tensor."""

    @overload
    def __call__(self, a: Tensor, b: Operand, /, *args: P.args, **settings: P.kwargs) -> Tensor: ...
    @overload
    def __call__(self, a: Array | Number, b: Tensor, /, *args: P.args, **settings: P.kwargs) -> Tensor: ...
    @overload
    def __call__(self, a: Array | Number, b: Array | Number, /, *args: P.args, **settings: P.kwargs) -> Array: ...


@overload
def composed(f: Callable[Concatenate[TensorOrArray, TensorOrArray, P], Any]) -> Binary[P]: ...
@overload
def composed(f: Callable[Concatenate[TensorOrArray, P], Any]) -> Unary[P]: ...
def composed(f: Any) -> Any:
    """Return a function that is composed of operators, unchanged: only its static type becomes that of an operator."""
    return f


class HasRules(Protocol):
    """What the decorators add to a forward: its :class:`Operator`, and the decorators for its rules and its twin.

    Rules and twins have the parameters that they ask for by name, so their types say nothing more than "callable".
    """

    operator: Operator

    def vjp(self, *rules: F) -> F: ...  # noqa: D102  see Operator.vjp
    def twin(self, definition: F) -> F: ...  # noqa: D102  see Operator.twin


class UnaryOperator(Unary[P], HasRules, Protocol[P]):
    """An operator with one differentiable argument."""


class BinaryOperator(Binary[P], HasRules, Protocol[P]):
    """An operator with two differentiable arguments, or more."""
