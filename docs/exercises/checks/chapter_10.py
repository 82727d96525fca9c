"""Checks of chapter 10: fewer multiplications."""

from fractions import Fraction
from unittest import mock

import numpy as np

import minigrad as mg
from minigrad.kernels.winograd import cook_toom


class Number:
    """A number that counts its products with numbers of its kind; plain numbers are factors that do not count."""

    products = 0

    def __init__(self, value):
        self.value = value

    def __add__(self, other):
        return Number(self.value + _value(other))

    def __sub__(self, other):
        return Number(self.value - _value(other))

    def __rsub__(self, other):
        return Number(_value(other) - self.value)

    def __neg__(self):
        return Number(-self.value)

    def __mul__(self, other):
        Number.products += isinstance(other, Number)
        return Number(self.value * _value(other))

    def __truediv__(self, other):
        Number.products += isinstance(other, Number)
        return Number(self.value / _value(other))

    __radd__, __rmul__ = __add__, __mul__


def check_three_outputs(work):
    """Two outputs and three weights need four products at the points 0, 1, -1 and infinity. Three outputs and two
    weights need the same number. Products at 1 and -1 use sums and differences of the two weights.
    """
    rng = np.random.default_rng(0)
    for _ in range(3):
        x, w = ([Fraction(int(k)) for k in rng.integers(-9, 10, size)] for size in (4, 2))
        Number.products = 0
        got = [_value(y) for y in work.three_outputs([Number(a) for a in x], [Number(b) for b in w])]
        expected = [x[i] * w[0] + x[i + 1] * w[1] for i in range(3)]
        assert len(got) == 3, f"expected three outputs, got {len(got)}"
        for i in range(3):
            assert abs(got[i] - expected[i]) < 1e-9, f"output {i} is {float(got[i]):g}, not {float(expected[i]):g}"
        assert Number.products <= 4, f"expected at most four products, counted {Number.products}"


def check_exact_matrices(work):
    """At, transposed, and G evaluate polynomials at the points: row p is 1, p, p ** 2, ... At infinity, the value is
    the last coefficient. A polynomial that is 0 at all points but one is a product of factors t - q; divide it by
    its value at the one point. Its coefficients are a row of Bt.
    """
    for outputs, taps, text in [
        (2, 3, "0 1 -1"),
        (3, 2, "0 1 -1"),
        (4, 3, "0 2/3 -2/3 3/2 -3/2"),
        (2, 4, "1/3 5 -2 1"),
        (1, 2, "7"),
        (3, 1, "2 1/2"),
    ]:
        points = [Fraction(a) for a in text.split()]
        got = work.exact_matrices(list(points), outputs, taps)
        case, t = f"points {text}, {outputs} outputs, {taps} taps", outputs + taps - 1
        for name, matrix, shape in zip(("At", "G", "Bt"), got, ((outputs, t), (t, taps), (t, t)), strict=True):
            assert np.shape(matrix) == shape, f"{case}: the shape of {name} is {np.shape(matrix)}, not {shape}"
            kinds = {type(number).__name__ for number in np.ravel(np.asarray(matrix, object))}
            assert kinds <= {"Fraction", "int"}, f"{case}: {name} holds {sorted(kinds)}, not only Fractions"
        at, g, bt = (np.asarray(matrix, object) for matrix in got)
        for j in range(taps):
            for k in range(t):  # one weight times one pixel
                result = at @ (g[:, j] * bt[:, k])
                expected = [Fraction(i + j == k) for i in range(outputs)]
                assert list(result) == expected, (
                    f"{case}: weight {j} and pixel {k} give the outputs {[str(number) for number in result]}, "
                    f"not {[str(number) for number in expected]}"
                )


def check_gradients_by_tiles(work):
    """dx is a convolution of g, padded by 2, with the flipped kernel whose channels are exchanged; so it can be
    computed from tiles of the padded g. dw needs the same transformed tiles of g, multiplied by transformed blocks
    of x.
    """
    rng = np.random.default_rng(1)
    for m, shape in ((4, (2, 8, 12, 3)), (2, (1, 8, 6, 2)), (3, (2, 6, 3, 4)), (1, (1, 3, 4, 2))):
        matrices = [a.astype(float) for a in cook_toom([Fraction(a) for a in (0, 1, -1, 2, -2)[: m + 1]], m, 3)]
        x = mg.Tensor(rng.standard_normal(shape), requires_grad=True)
        w = mg.Tensor(rng.standard_normal((3, 3, shape[3], 5)), requires_grad=True)
        with mg.conv_algorithm("im2col"):
            out = mg.conv2d(x, w)
            g = rng.standard_normal(out.shape)
            expected = mg.grad(out, (x, w), mg.Tensor(g))
        with mock.patch.object(work, "windows", wraps=work.windows) as spy:
            got = work.gradients_by_tiles(g, x.data, w.data, matrices)
        case = f"tiles of {m}x{m} outputs, x of shape {shape}"
        for name, a, b in zip(("dx", "dw"), got, expected, strict=True):
            assert a.shape == b.shape, f"{case}: the shape of {name} is {a.shape}, not {b.shape}"
            worst = np.abs(a - b.data).max()
            assert worst < 1e-10, f"{case}: the largest error of {name} is {worst:.2g}"
        times = f"windows was called {spy.call_count} times"
        assert spy.call_count == 1, f"{case}: {times}, expected one call"


def _value(number):
    return number.value if isinstance(number, Number) else number
