"""The types that signatures use: Array, Operand, Axis, Shape, Pair, ...

Next: :mod:`minigrad.arguments`.
"""

from __future__ import annotations

from collections.abc import Callable
from types import EllipsisType
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np

if TYPE_CHECKING:  # types only: the engine stands above
    from numpy.typing import DTypeLike as DTypeLike

    from minigrad.autograd.tensor import Tensor

#: An array of NumPy, or of a library with NumPy's interface (CuPy, dpnp), whose arrays have no static type.
Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

#: A Python or NumPy number: it takes on the dtype of the Tensors beside it.
Number: TypeAlias = complex | np.number[Any]

#: What an operator takes: a Tensor is recorded, an array or a number is a constant.
Operand: TypeAlias = "Tensor | Array | Number"

#: What has a shape: numbers are refused.
TensorOrArray: TypeAlias = "Tensor | Array"

#: Either a Tensor or an array: a function of T returns the type that it is given.
T = TypeVar("T", "Tensor", Array)

DType: TypeAlias = np.dtype[Any]

#: The sizes of the axes.
Shape: TypeAlias = tuple[int, ...]

#: Axes as NumPy takes them: None for all, one axis, or several.
Axis: TypeAlias = int | tuple[int, ...] | None

#: What stands in square brackets behind an array.
Index: TypeAlias = "int | slice | EllipsisType | Array | list[Any] | tuple[Any, ...] | None"

#: Along height and width.
Pair: TypeAlias = tuple[int, int]

#: One int for height and width, or a pair.
IntOrPair: TypeAlias = int | Pair

#: A forward, a rule or a twin: its parameters are asked for by name.
Function: TypeAlias = Callable[..., Any]

#: The settings of a call by name, or the values that a forward saves for its rules.
Settings: TypeAlias = dict[str, Any]

#: What a forward returns that saves values: the result, and the values.
Saved: TypeAlias = tuple[Array, Settings]

#: An array; a Tensor where the replay is itself recorded.
Gradient: TypeAlias = Any

#: A numpy Generator, or the seed of one. (A string, since importing numpy.random takes 8 ms.)
Rng: TypeAlias = "np.random.Generator | int"
