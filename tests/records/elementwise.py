"""Records of arithmetic and analytic functions, element by element: minigrad/ops/elementwise.py."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

import minigrad as mg
from tests.records import offsets, sizes
from tests.records.draw import (
    binary,
    kink,
    normal,
    positive,
    randn,
    special,
    t,
    torch,
    unary,
    uniform,
)
from tests.records.record import (
    Absent,
    Convention,
    Elementwise,
    Kink,
    OperatorRecord,
    Refusal,
    Special,
    sample,
    type_error,
)

ANY_ARRAY = Absent("takes any array of floating-point numbers")
AS_ADD = Absent("refuses what add refuses, by the same code")


def _power(a: Any, b: Any) -> Any:
    """PyTorch takes b a ** (b - 1) for the constant 0 where b = 0, and so loses 1 / a from its derivative in b."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) and (b == 0).any():
        return torch.exp(b * torch.log(a))
    return torch.pow(a, b)


RECORDS = {
    "add": OperatorRecord(
        drawn=sizes.binary(),
        offset=offsets.two(),
        special=Special(),
        definition=np.add,
        samples=binary(),
        analytic=True,
        linear="jointly",
        torch=operator.add,
        elementwise=Elementwise(normal, lambda g, a, b: (g, g)),
        refuses={
            "shapes": Refusal(lambda: t(2) + t(3), r"shapes \(2,\) and \(3,\) do not broadcast"),
            "dtypes": type_error(lambda: t(2) + t(2, dtype="float64"), "expected one dtype, got float32 and float64"),
            "array-dtype": type_error(lambda: t(2) + np.ones(2), "expected one dtype, got float32 and float64"),
            "list": type_error(lambda: mg.add(t(2), [1.0, 2.0]), "expected Tensors, arrays or numbers, got list"),
            "number-beyond-the-dtype": Refusal(
                lambda: mg.Tensor(np.int8([1])) + 1000, "1000 out of bounds", OverflowError
            ),
            "none": type_error(lambda: t(2) + None, "expected Tensors, arrays or numbers, got NoneType"),
            "text": type_error(lambda: t(2) + "text", "expected Tensors, arrays or numbers, got str"),
        },
    ),
    "sub": OperatorRecord(
        drawn=sizes.binary(),
        offset=offsets.two(),
        special=Special(),
        definition=np.subtract,
        samples=binary(),
        analytic=True,
        linear="jointly",
        torch=operator.sub,
        elementwise=Elementwise(normal, lambda g, a, b: (g, -g)),
        refuses=AS_ADD,
    ),
    "mul": OperatorRecord(
        drawn=sizes.binary(),
        offset=offsets.two(),
        special=Special(),
        definition=np.multiply,
        samples=binary(),
        analytic=True,
        linear="each",
        torch=operator.mul,
        elementwise=Elementwise(normal, lambda g, a, b: (g * b, g * a)),
        refuses=AS_ADD,
    ),
    "div": OperatorRecord(
        drawn=sizes.binary(sizes.Sizes.away),
        offset=offsets.two(),
        special=Special(
            unlike_torch={"denormals": "PyTorch divides twice before it multiplies by the cotangent, and overflows"}
        ),
        definition=np.divide,
        samples=binary(lambda *s, seed=0: randn(*s, seed=seed, away=0.5)),
        analytic=True,
        torch=operator.truediv,
        elementwise=Elementwise(uniform, lambda g, a, b: (g / b, -g * a / b**2)),
        refuses={
            "integers": type_error(lambda: t(2, dtype="int64") / 2, "gives float64 for int64; convert the integers"),
        },
    ),
    "neg": OperatorRecord(
        drawn=sizes.unary(),
        offset=offsets.one(),
        special=Special(),
        definition=np.negative,
        samples=unary(),
        analytic=True,
        linear="jointly",
        torch=lambda x: torch.neg(x),
        elementwise=Elementwise(normal, lambda g, x: (-g,)),
        refuses=ANY_ARRAY,
    ),
    "pow": OperatorRecord(
        drawn=sizes.power,
        offset=offsets.Offset(sample(offsets.near(8, 30), offsets.near(30) / 1e4), 20, 28),
        special=Special(
            torch=lambda a, b: torch.pow(a, b),
            unlike_torch={
                "denormals": "b = 0 times a ** -1, which overflows, is NaN; PyTorch looks at b",
                "zeros": "PyTorch multiplies an infinite cotangent by the logarithm of 0",
                "mixed": "PyTorch's derivative of a ** 0 is 0 also where a is NaN, and that of 0 ** b infinite",
            },
            conventions={
                "0-to-the-x": Convention(
                    lambda x: np.zeros(2, x.dtype) ** x,
                    [0.5, 2.0],
                    [0.0, 0.0],
                    [0.0, 0.0],
                    "of 0 ** b in b is 0",
                    np.inf,
                ),
                "number-0-to-the-x": Convention(
                    lambda x: 0.0**x, [0.5, 2.0], [0.0, 0.0], [0.0, 0.0], "of 0 ** b in b is 0", np.inf
                ),
                "x-to-the-0": Convention(
                    lambda x: x**0, [0.0, np.nan], [1.0, 1.0], [0.0, 0.0], "of a ** 0 is 0 also at a = 0", np.inf
                ),
                "nan": Convention(
                    lambda x: x ** np.zeros(2, x.dtype),
                    [np.nan, 0.0],
                    [1.0, 1.0],
                    [np.nan, 0.0],
                    "if the exponent is in an array, it is NaN at a = NaN",
                ),
            },
            leaks=dict.fromkeys(
                ("inputs exponents-in-an-array", "cotangents exponents-in-an-array"),
                "an exponent of 0 in an array is multiplied: its derivative in the exponent is wanted at second order",
            ),
        ),
        definition=lambda a, b: a**b,
        samples={
            **binary(positive),
            **{
                f"to-the-{p}": sample(randn(2, 3, away=0.2), call=lambda op, x, p=p: op(x, p)) for p in (0, 1, 2, 3, -1)
            },
            "exponents-in-an-array": sample(positive(3), np.array([0.0, 1.0, 2.0])),
        },
        analytic=True,
        torch=_power,
        elementwise=Elementwise(uniform, lambda g, a, b: (g * b * a ** (b - 1), g * a**b * np.log(a))),
        refuses=AS_ADD,
        kinks={
            "0-to-the-0": kink(lambda x: x**0, 0.0, 0.0),
            "0-to-an-array-of-0": kink(lambda x: x ** np.array([0.0]), 0.0, 0.0),
            "0-to-the-1": kink(lambda x: x**1, 0.0, 1.0),
            "0-to-an-array-of-1": kink(lambda x: x ** np.array([1.0]), 0.0, 1.0),
            "0-to-the-x": kink(lambda x: 0.0**x, 2.0, 0.0),
            "array-of-0-to-the-x": kink(lambda x: np.array([0.0]) ** x, 2.0, 0.0),
            "1-to-the-x": kink(lambda x: 1.0**x, 2.0, 0.0),
            "array-of-1-to-the-x": kink(lambda x: np.array([1.0]) ** x, 2.0, 0.0),
            "squares": Kink(lambda x: x**2, [0.0, -3.0], [0.0, -6.0]),
            "zeroth-powers": Kink(lambda x: x**0, [0.0, 2.0], [0.0, 0.0]),
            "powers-of-0": Kink(lambda x: mg.pow(x, np.array([0.0, 1.0, 2.0])), [0.0, 0.0, 0.0], [0.0, 1.0, 0.0]),
            "0-to-several": Kink(lambda x: 0**x, [1.0, 2.0], [0.0, 0.0]),
        },
    ),
    "exp": OperatorRecord(
        drawn=sizes.unary(),
        offset=Absent("exp(1e4) overflows"),
        special=Special(),
        definition=np.exp,
        samples=unary(),
        analytic=True,
        torch=lambda x: torch.exp(x),
        elementwise=Elementwise(normal, lambda g, x: (g * np.exp(x),)),
        refuses=ANY_ARRAY,
    ),
    "log": OperatorRecord(
        drawn=sizes.unary(sizes.Sizes.positive),
        offset=offsets.one(),
        special=Special(),
        definition=np.log,
        samples=unary(positive),
        analytic=True,
        torch=lambda x: torch.log(x),
        elementwise=Elementwise(uniform, lambda g, x: (g / x,)),
        refuses=ANY_ARRAY,
    ),
    "sqrt": OperatorRecord(
        drawn=sizes.unary(sizes.Sizes.positive),
        offset=offsets.one(),
        special=Special(),
        definition=np.sqrt,
        samples=unary(positive),
        analytic=True,
        torch=lambda x: torch.sqrt(x),
        elementwise=Elementwise(uniform, lambda g, x: (g / np.sqrt(4 * x),)),
        refuses=ANY_ARRAY,
    ),
    "tanh": OperatorRecord(
        drawn=sizes.unary(),
        offset=offsets.one(),
        special=Special(),
        definition=np.tanh,
        samples=unary(),
        analytic=True,
        torch=lambda x: torch.tanh(x),
        elementwise=Elementwise(normal, lambda g, x: (g / np.cosh(x) ** 2,)),
        refuses=ANY_ARRAY,
    ),
    "sigmoid": OperatorRecord(
        drawn=sizes.unary(),
        offset=offsets.one(),
        special=Special(),
        definition=lambda x: 1 / (1 + np.exp(-x)),
        samples=unary(),
        analytic=True,
        torch=lambda x: torch.sigmoid(x),
        scipy=lambda x: special.expit(x),
        elementwise=Elementwise(normal, lambda g, x: (g / (2 + np.exp(x) + np.exp(-x)),)),
        refuses=ANY_ARRAY,
    ),
}
