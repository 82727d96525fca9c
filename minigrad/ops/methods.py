"""Python's operators and NumPy's methods on Tensors.

The file of :class:`~minigrad.autograd.tensor.Tensor` cannot import the operators, which import it. So they become its
methods here; their signatures are declared in the class.

Next: :mod:`minigrad.checks.identities`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from minigrad.arguments import as_int, integer
from minigrad.autograd.tensor import Tensor
from minigrad.checked import composed
from minigrad.ops.elementwise import abs, add, clip, div, exp, log, mul, neg, pow, sqrt, sub
from minigrad.ops.functions import astype
from minigrad.ops.matmul import matmul
from minigrad.ops.reduction import count, max, mean, min, std, sum, var
from minigrad.ops.shape import getitem, reshape, squeeze, transpose
from minigrad.typing import Array, Function


def install() -> None:
    """Make the operators methods of Tensor: ``a + b`` is ``add(a, b)``, ``x.sum(0)`` is ``sum(x, 0)``."""
    binary = {"add": add, "sub": sub, "mul": mul, "truediv": div, "pow": pow, "matmul": matmul}
    methods: dict[str, object] = {f"__{name}__": f for name, f in binary.items()}
    methods |= {f"__r{name}__": _reflected(f) for name, f in binary.items()}
    methods |= {"__neg__": neg, "__abs__": abs, "__getitem__": getitem}
    methods |= {"sum": sum, "mean": mean, "var": var, "std": std, "max": max, "min": min}
    methods |= {"exp": exp, "log": log, "sqrt": sqrt, "abs": abs, "clip": clip, "squeeze": squeeze, "astype": astype}
    methods |= {"argmax": _place("argmax"), "argmin": _place("argmin"), "flatten": _flatten}
    methods |= {
        "reshape": _reshape,
        "transpose": _transpose,
        "T": property(transpose, doc="The axes in reverse order."),
    }
    for name, method in methods.items():
        setattr(Tensor, name, method)


def _reflected(f: Function) -> Function:
    """Return f with its arguments swapped: Python calls ``b.__radd__(a)`` for ``a + b`` if `a` is no Tensor."""
    return lambda self, other: f(other, self)


def _place(name: str) -> Function:
    """Return the method argmax or argmin."""

    def method(self: Tensor, axis: int | None = None) -> Array:
        count(name, self, axis)
        return getattr(self.data, name)(axis)  # type: ignore[no-any-return]

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"NumPy's {name}: a plain array of ints; by default, the place in the flattened array."
    return composed(method)


def _flatten(self: Tensor, start: int = 0) -> Tensor:
    """Join the axes from `start` on into one; ``x.flatten(1)`` makes a row of each image."""
    place = len(self.shape[: integer("flatten", "start", start)])
    return reshape(self, (*self.shape[:place], math.prod(self.shape[place:])))


def _reshape(self: Tensor, *shape: int | Sequence[int]) -> Tensor:
    """See :func:`minigrad.reshape`; the shape is one tuple or several ints."""
    return reshape(self, shape[0] if len(shape) == 1 else shape)  # type: ignore[arg-type]


def _transpose(self: Tensor, *axes: int | tuple[int, ...] | None) -> Tensor:
    """See :func:`minigrad.transpose`; the axes are one tuple or several ints."""
    given = axes[0] if len(axes) == 1 and as_int(axes[0]) is None else axes
    return transpose(self, None if isinstance(given, tuple) and not given else given)  # type: ignore[arg-type]
