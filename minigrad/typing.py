"""What signatures say: Array, Operand, Axis, IntOrPair and their kin.

Next: :mod:`minigrad.device`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from minigrad.autograd.tensor import Tensor

#: A NumPy array, or an array of a module with NumPy's interface (CuPy, dpnp), which has no static type.
Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

#: What an operator takes: a Tensor is recorded, an array or a number is a constant.
Operand: TypeAlias = "Tensor | Array | complex"

#: Axes as NumPy takes them: None for all, an int, or a tuple of ints.
Axis: TypeAlias = int | tuple[int, ...] | None

#: Along height and width.
Pair: TypeAlias = tuple[int, int]

#: A setting of a window: one int for height and width, or a pair.
IntOrPair: TypeAlias = int | Pair

Shape: TypeAlias = tuple[int, ...]

#: A numpy Generator, or the seed of one. (A string: importing numpy.random takes 8 ms.)
Rng: TypeAlias = "np.random.Generator | int"
