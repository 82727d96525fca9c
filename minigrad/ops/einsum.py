r"""Einstein summation: products of arrays, summed over the letters that the result lacks.

With ``"ij,jk->ik"``, out[i, k] is the sum over j of a[i, j] b[j, k]. The gradient of a factor is of the same form: its
letters become those of the result, and g takes its place among the factors,

.. math:: da_{ij} = \sum_k g_{ik}\, b_{jk}

which is ``"ik,jk->ij"``. So the rule of the operator for two factors is the operator itself.

Every letter of two factors is one of four: in both factors and in the result (a stack of products), in both factors
only (summed), or in one factor and the result (rows, or columns). So a pair is one product of stacks of matrices, which
BLAS computes.

Next: :mod:`minigrad.ops.windows`.
"""

from __future__ import annotations

import math
import re
from typing import Any, overload

from minigrad import checked
from minigrad.arguments import expect
from minigrad.autograd.operator import operator
from minigrad.autograd.tensor import Tensor
from minigrad.kernels import products
from minigrad.ops.functions import astype
from minigrad.ops.reduction import sum
from minigrad.ops.shape import reshape, transpose
from minigrad.typing import Array, TensorOrArray


@overload
def einsum(subscripts: str, *arrays: Array) -> Array: ...  # type: ignore[overload-overlap]  # of no arrays
@overload
def einsum(subscripts: str, *arrays: TensorOrArray) -> Tensor: ...
@checked.composed
def einsum(subscripts: str, *arrays: TensorOrArray) -> Any:
    """Multiply arrays, and sum over the letters that the result lacks.

    Parameters
    ----------
    subscripts : str
        A letter for each axis of each array, and of the result: ``"bqd,bkd->bqk"``. Without ``->``, the result has the
        letters that occur once, in alphabetical order. A letter occurs once in an array and stands for one size
        everywhere; there are no diagonals (``"ii"``) and no dots (``"..."``). Several arrays are multiplied from left
        to right.
    *arrays : Tensor or array

    Returns
    -------
    Tensor or array
        A Tensor if one of the arrays is.

    Raises
    ------
    ValueError
        If the subscripts are not of this form, or do not fit the arrays.

    Examples
    --------
    >>> import minigrad as mg
    >>> a, b = mg.Tensor([[1.0, 2.0], [3.0, 4.0]]), mg.Tensor([1.0, 10.0])
    >>> mg.einsum("ij,j->i", a, b)
    Tensor([21., 43.])
    """
    factors, result = _parsed(subscripts, arrays)
    alone = [set(f) - set(result).union(*factors[:i], *factors[i + 1 :]) for i, f in enumerate(factors)]
    pairs = [_without(x, f, gone) for x, f, gone in zip(arrays, factors, alone, strict=True)]
    out, letters = pairs[0]
    for i, (x, following) in enumerate(pairs[1:], 2):
        needed = result + "".join(factors[i:])
        kept = "".join(c for c in dict.fromkeys(letters + following) if c in needed)
        out, letters = _product(out, x, letters=(letters, following, kept)), kept
    return transpose(out, tuple(letters.index(c) for c in result))


def _without(x: TensorOrArray, letters: str, gone: set[str]) -> tuple[TensorOrArray, str]:
    """Sum over the letters that are gone."""
    if not gone:
        return x, letters
    total = sum(x, tuple(i for i, c in enumerate(letters) if c in gone), keepdims=True)
    sizes = tuple(n for c, n in zip(letters, x.shape, strict=True) if c not in gone)
    return reshape(astype(total, x.dtype), sizes), "".join(c for c in letters if c not in gone)


@operator
def _product(a: Array, b: Array, /, *, letters: tuple[str, str, str]) -> Array:
    """The product of two factors: each letter is in at least two of a, b and the result.   da = g b,   db = a g"""
    of_a, of_b, of_out = letters
    if not of_a or not of_b:  # a number: NumPy's arithmetic gives scalars, not arrays without axes
        return (a * b).transpose([(of_a + of_b).index(c) for c in of_out])
    stack, summed = [[c for c in of_a if c in of_b and (c in of_out) == kept] for kept in (True, False)]
    rows, columns = [c for c in of_a if c not in of_b], [c for c in of_b if c not in of_a]
    sizes = dict(zip(of_a + of_b, a.shape + b.shape, strict=True))
    s, m, k, n = (math.prod(sizes[c] for c in part) for part in (stack, rows, summed, columns))
    left = a.transpose([of_a.index(c) for c in stack + rows + summed]).reshape(s, m, k)
    right = b.transpose([of_b.index(c) for c in stack + summed + columns]).reshape(s, k, n)
    if k == 1:  # nothing is added up
        out = left * right
    elif s == 1:  # two matrices are multiplied in blocks, on the threads
        out = products.matmul(left[0], right[0])
    else:
        out = products.matmul(left, right)
    order = stack + rows + columns
    return out.reshape([sizes[c] for c in order]).transpose([order.index(c) for c in of_out])


_product.operator.name = "einsum"
_product.vjp(
    lambda g, b, letters: _product(g, b, letters=(letters[2], letters[1], letters[0])),
    lambda g, a, letters: _product(a, g, letters=(letters[0], letters[2], letters[1])),
)


def _parsed(subscripts: str, arrays: tuple[TensorOrArray, ...]) -> tuple[list[str], str]:
    """Return the letters of the factors, and of the result; refuse what does not fit."""
    text = subscripts.replace(" ", "")
    form = 'letters for the axes of each array, as in "ij,jk->ik"'
    expect(re.fullmatch(r"[A-Za-z,]*(->[A-Za-z]*)?", text), "einsum", form, repr(subscripts))
    left, arrow, result = text.partition("->")
    factors = left.split(",")
    result = result if arrow else "".join(c for c in sorted(set(left) - {","}) if left.count(c) == 1)
    once = all(len(set(part)) == len(part) for part in [*factors, result])
    expect(once, "einsum", "each letter once in an array, and in the result", repr(subscripts))
    expect(set(result) <= set(left), "einsum", "letters of the arrays in the result", repr(subscripts))
    expect(len(arrays) == len(factors), "einsum", f"{len(factors)} arrays for {subscripts!r}", len(arrays))
    sizes: dict[str, int] = {}
    for letters, x in zip(factors, arrays, strict=True):
        expect(x.ndim == len(letters), "einsum", f"an array with axes {letters!r}", f"shape {tuple(x.shape)}")
        for c, size in zip(letters, x.shape, strict=True):
            expect(sizes.setdefault(c, size) == size, "einsum", f"one size for {c!r}", f"{sizes[c]} and {size}")
    return factors, result
