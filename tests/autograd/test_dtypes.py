"""Dtypes and devices of operators: what is refused, and what takes on the dtype of the Tensors."""

import numpy as np
import pytest

import minigrad as mg
from tests.tools.compare import leaf_of
from tests.tools.strict import strict


def test_two_dtypes_are_refused_and_scalars_give_way():
    single, double = leaf_of(1.0, dtype="float32"), leaf_of(1.0)
    with pytest.raises(TypeError, match="mul: expected one dtype, got float32 and float64"):
        single * double
    with pytest.raises(TypeError, match="add: expected one dtype, got float32 and float64"):
        single + np.ones(1)
    assert (single * np.float64(2.0)).dtype == np.float32
    assert (np.float64(2.0) * single).dtype == np.float32
    assert (single * 2.0).dtype == np.float32
    assert (single * 2).dtype == np.float32
    assert (single * np.array([True])).dtype == np.float32
    assert (mg.Tensor(np.float32(3.0)) * 2.0).dtype == np.float32


def test_tensors_of_two_dtypes_are_refused_in_either_order():
    """The result of float64 and float32 has the dtype of the first: looking at the result is not enough."""
    single, double = leaf_of(1.0, dtype="float32"), leaf_of(1.0)
    for a, b in [(single, double), (double, single)]:
        with pytest.raises(TypeError, match="mul: expected one dtype"):
            a * b


@pytest.mark.parametrize("swapped", [False, True])
def test_the_dtype_that_is_advised_is_that_of_the_parameter(swapped):
    """Not that of a result: it is the result that is on the wrong path."""
    w = mg.Tensor(np.ones(2, "float32"), requires_grad=True)
    h = mg.Tensor(np.ones(2), requires_grad=True) * 2.0
    with pytest.raises(TypeError, match=r"convert the float64 array or Tensor with \.astype\('float32'\)"):
        mg.mul(*((w, h) if swapped else (h, w)))


def test_equal_dtypes_may_be_different_objects():
    """As that of an array whose bytes were swapped back: looking whether it is the very same is only the fast way."""
    swapped = np.dtype("float64").newbyteorder().newbyteorder()
    assert swapped is not np.dtype("float64")
    x, w = mg.Tensor(np.array([1.0, 2.0]).view(swapped), requires_grad=True), leaf_of(3.0, 4.0)
    for a, b in [(x, w), (w, x), (x, x)]:
        dx = mg.grad((a * b).sum(), x)[0].data
        np.testing.assert_array_equal(dx, 2 * x.data if a is b else w.data)


def test_numpy_scalars_as_settings_do_not_promote():
    x = leaf_of(1.0, 2.0, dtype="float32")
    assert mg.clip(x, np.float64(0.0), np.float64(1.0)).dtype == np.float32
    norm = mg.nn.BatchNorm2d(1, eps=np.float64(1e-5), momentum=np.float64(0.1))
    norm(x.reshape(2, 1)).sum().backward()
    assert norm.weight.grad.dtype == np.float32


def test_a_numpy_scalar_as_a_setting_or_an_argument_keeps_float32():
    x = mg.Tensor([0.25, 1.0], requires_grad=True)
    assert mg.clip(x, np.float64(0.5)).dtype == np.float32
    mg.clip(x, np.float64(0.5)).sum().backward()
    assert x.grad.dtype == np.float32
    assert (np.float64(2.0) * x * np.float64(2.0)).dtype == np.float32
    assert mg.mul(np.float32(2.0), np.float64(2.0)).dtype == np.float64  # no Tensor, no array: NumPy's own rules


def test_numpy_scalars_keep_their_value():
    """Large integers, imaginary parts and booleans; only their dtype gives way."""
    large = 2**53 + 1
    for scalar, tensor, expected in [
        (np.int64(large), mg.Tensor(np.array([1])), np.array([large])),
        (np.complex128(1 + 2j), mg.Tensor(np.array([2.0 + 0j])), np.array([2 + 4j])),
        (np.complex64(1 + 2j), mg.Tensor(np.array([2.0 + 0j])), np.array([2 + 4j])),
        (np.bool_(True), leaf_of(3.0, dtype="float32"), np.array([3.0], "float32")),
        (np.float16(0.5), leaf_of(3.0, dtype="float32"), np.array([1.5], "float32")),
    ]:
        for product in (scalar * tensor, tensor * scalar):
            np.testing.assert_array_equal(product.data, expected, strict=True)


@pytest.mark.parametrize("factor", [np.int64(3), np.uint8(3), np.float64(3.0), np.float16(3.0), np.bool_(True)])
def test_a_numpy_scalar_of_any_dtype_is_a_setting_like_a_python_number(factor):
    @mg.operator
    def scaled(x, /, factor):
        return x * factor

    scaled.vjp(lambda g, factor: g * factor)
    x = leaf_of(2.0, dtype="float32")
    y = scaled(x, factor=factor)
    (dx,) = mg.grad(y, x)
    assert (y.dtype, y.item(), dx.dtype, dx.item()) == (np.float32, 2.0 * float(factor), np.float32, float(factor))


@pytest.mark.parametrize("scalar", [np.longdouble(2), np.float64(2), np.int64(2), np.float16(2), np.clongdouble(2)])
def test_a_numpy_scalar_gives_way_to_arrays_as_to_tensors(scalar):
    """A longdouble, whose ``item()`` is itself, too; of its own dtype it keeps all digits."""
    for dtype in ("complex64", "complex128") if scalar.dtype.kind == "c" else ("float32", "float64", "complex64"):
        x = np.array([1.0, 3.0], dtype)
        for a in (x, mg.Tensor(x)):
            assert mg.mul(a, scalar).dtype == mg.mul(scalar, a).dtype == dtype
            np.testing.assert_array_equal(np.asarray(getattr(mg.sub(a, scalar), "data", mg.sub(a, scalar))), x - 2)
    exact = np.longdouble(1) + np.finfo("longdouble").eps
    assert (mg.Tensor(np.ones(1, "longdouble")) * exact).data[0] == exact


def test_numbers_without_an_array_are_numpys_business():
    for a, b in [(1.5, 2.0), (np.float32(1.5), 2), (True, np.int8(3))]:
        total = mg.add(a, b)
        assert (total, type(total)) == (a + b, type(a + b))
    assert mg.exp(0) == 1.0


@pytest.mark.parametrize("dtype", ["U1", "object", "datetime64[D]"])
def test_arrays_of_other_things_than_numbers_are_named(dtype):
    array = np.array([None if dtype == "object" else "2"]).astype(dtype)
    for name, others in [("exp", []), ("sqrt", []), ("matmul", [np.ones(1)])]:
        with pytest.raises(TypeError) as caught:
            getattr(mg, name)(array, *others)
        assert str(caught.value) == f"{name}: expected arrays of numbers, got one of {array.dtype}"


def test_what_is_no_number_is_no_scalar():
    for scalar in (np.str_("2"), np.datetime64("2026-11-26")):
        for a in (leaf_of(1.0), np.ones(1)):
            with pytest.raises(TypeError, match="mul: expected Tensors, arrays or numbers, got (str_|datetime64)"):
                mg.mul(a, scalar)


def test_the_dtype_of_other_arguments_does_not_hide_that_two_tensors_differ():
    single, double = mg.Tensor(np.ones(1, "float32")), mg.Tensor(np.ones(1))
    weight = mg.Tensor(np.ones(1, "float32"), requires_grad=True)

    @mg.operator
    def total(a, b, c, /):
        return a + b + c

    for args, first, second in [
        ((double, np.ones(1), single), "float64", "float32"),  # the first one's, if none is a parameter
        ((single, 2.0, double), "float32", "float64"),
        ((double, np.ones(1), weight), "float32", "float64"),  # a parameter's
        ((double, weight * 2.0, weight), "float32", "float64"),
    ]:
        with pytest.raises(TypeError, match=f"total: expected one dtype, got {first} and {second}"):
            total(*args)


def test_arrays_obey_the_rule_of_tensors():
    """The result has the dtype of an argument, or is an integer."""
    whole, single, double = np.array([1, 2]), np.ones(2, "float32"), np.ones(2)
    for a, b, dtype in [(single, double, "float64"), (double, whole, "float64"), (single, whole > 1, "float32")]:
        assert mg.mul(a, b).dtype == mg.mul(b, a).dtype == dtype
    assert mg.sum(np.array([100, 100], "int8")) == 200
    for a, b in [(single, whole), (whole, single)]:
        with pytest.raises(TypeError, match=r"mul: .*int64.*astype\('float32'\)"):
            mg.mul(a, b)
    for dtype in ("int8", "uint8", "bool"):
        for a in (np.ones(2, dtype), mg.Tensor(np.ones(2, dtype))):
            with pytest.raises(TypeError, match=rf"exp: gives float16 for {dtype}; .*astype\('float32'\)"):
                mg.exp(a)


def test_tensors_on_two_devices_are_refused_also_by_an_operator_that_does_not_mix_them():
    @mg.operator
    def first_of(a, b, /):
        return a * 1.0

    here, there = leaf_of(1.0), mg.Tensor(strict.asarray(np.ones(1)))
    for a, b, names in [(here, there, "cpu and cuda:0"), (there, here, "cuda:0 and cpu")]:
        with pytest.raises(TypeError, match=f"first_of: expected Tensors on one device, got {names}"):
            first_of(a, b)


def test_a_saved_array_of_complex_numbers_is_not_detached_either():
    @mg.operator
    def square(x, /):
        return x * x, {"double": 2 * x}

    square.vjp(lambda g, double: g * double)
    x = mg.Tensor(np.array([3.0 + 1j]), requires_grad=True)
    with pytest.raises(RuntimeError, match="square: its rule uses 'double'.*give it a twin"):
        mg.grad(square(x), x, create_graph=True)
