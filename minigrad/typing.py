"""The types that signatures use: Array, Operand, Axis, Shape, Pair, ...

Next: :mod:`minigrad.arguments`.
"""

from __future__ import annotations

from collections.abc import Callable
from types import EllipsisType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

import numpy as np

if TYPE_CHECKING:  # for type checkers only: the engine imports this file
    from numpy.typing import DTypeLike as DTypeLike

    from minigrad.autograd.tensor import Tensor

#: An array of NumPy, or of a library with NumPy's interface (CuPy, dpnp), whose arrays have no static type.
Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

#: A Python or NumPy number: it takes on the dtype of the Tensors beside it.
Number: TypeAlias = complex | np.number[Any]

#: An argument of an operator: a Tensor, which is recorded, or an array or a number, which is a constant.
Operand: TypeAlias = "Tensor | Array | Number"

#: An argument that must have a shape: numbers are refused.
TensorOrArray: TypeAlias = "Tensor | Array"

#: Either a Tensor or an array: a function of T returns the type that it is given.
T = TypeVar("T", "Tensor", Array)

DType: TypeAlias = np.dtype[Any]

#: The sizes of the axes.
Shape: TypeAlias = tuple[int, ...]

#: Axes as NumPy takes them: None for all, one axis, or several.
Axis: TypeAlias = int | tuple[int, ...] | None

#: An index of an array, as in ``x[index]``.
Index: TypeAlias = "int | slice | EllipsisType | Array | list[Any] | tuple[Any, ...] | None"

#: Two sizes, along height and width.
Pair: TypeAlias = tuple[int, int]

#: One int for height and width, or a pair.
IntOrPair: TypeAlias = int | Pair

#: The padding of a convolution. "same" gives the result the size of the image, for stride 1.
Padding: TypeAlias = IntOrPair | Literal["same"]

#: A forward, a rule or a twin: the names of its parameters say what it is called with.
Function: TypeAlias = Callable[..., Any]

#: The settings of a call by name, or the values that a forward saves for its rules.
Settings: TypeAlias = dict[str, Any]

#: The return value of a forward that saves values for its rules: the result, and the values by name.
Saved: TypeAlias = tuple[Array, Settings]

#: An array, or a Tensor if the replay is itself recorded.
Gradient: TypeAlias = Any

#: A numpy Generator, or the seed of one. (A string: minigrad imports numpy.random only where it draws.)
Rng: TypeAlias = "np.random.Generator | int"
