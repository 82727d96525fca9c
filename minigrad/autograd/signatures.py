"""The static types of operators: Tensor in, Tensor out; arrays in, array out.

Type checkers, editors and ``help`` read these types; at run time they have no effect. A forward is written for arrays.
The operator that :func:`~minigrad.autograd.operator.operator` makes from it also takes Tensors; its settings have the
same types.

Next: :mod:`minigrad.autograd.explain`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from minigrad import checked
from minigrad.autograd.tensor import Tensor
from minigrad.typing import Array, Function, Number, Operand, TensorOrArray

if TYPE_CHECKING:  # for type checkers only: operator imports this file
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
    """A function of two Tensors or arrays, and of settings: if one of the two is a Tensor, so is the result."""

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
    """Make a function that is composed of operators name itself if it fails; its static type is that of an operator."""
    return checked.composed(f)


class HasRules(Protocol):
    """What the decorators add to a forward: its :class:`Operator`, and the decorators for its rules and its twin.

    Rules and twins have the parameters that they ask for by name, so their static type is just "callable".
    """

    operator: Operator

    def vjp(self, *rules: F) -> F: ...  # noqa: D102  see Operator.vjp
    def twin(self, definition: F) -> F: ...  # noqa: D102  see Operator.twin


class UnaryOperator(Unary[P], HasRules, Protocol[P]):
    """An operator with one differentiable argument."""


class BinaryOperator(Binary[P], HasRules, Protocol[P]):
    """An operator with two differentiable arguments, or more."""
