"""The double refuses what CuPy refuses: without these tests, a suite that passes on it would prove nothing."""

import copy
import math
import operator

import numpy as np
import pytest

import minigrad as mg
from minigrad.device import device_name, is_array, namespace, on_host, scatter_add, to_host
from tests.tools.audit import fault_of
from tests.tools.strict import (
    FUNCTIONS,
    METHODS,
    METHODS_AND_FUNCTIONS,
    UFUNCS,
    StrictArray,
    calls,
    count_syncs,
    strict,
    syncs,
)

A = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], "float32")
PLACES = np.array([1, 0])


@pytest.fixture
def x():
    return strict.asarray(A)


def is_same(result, expected):
    """Compare what is on the device with what NumPy says, dtype and all."""
    assert type(result) is StrictArray
    assert result.dtype == expected.dtype
    np.testing.assert_array_equal(result._held, expected)


# What it refuses -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "lt", "le", "gt", "ge", "eq", "ne"]
)
@pytest.mark.parametrize("other", [A.T, np.array(2.0), [1.0, 2.0, 3.0]], ids=["array", "0-d array", "list"])
def test_operators_refuse_numpy_arrays_and_lists(x, name, other):
    apply = getattr(operator, name)
    with pytest.raises(TypeError, match=r"^strict:"):
        apply(x, other)
    if not (name in ("lt", "le", "gt", "ge", "eq", "ne") and np.ndim(other) == 0):  # which NumPy makes of its scalars
        with pytest.raises(TypeError, match=r"^strict:"):
            apply(other, x)


@pytest.mark.parametrize("name", ["iadd", "isub", "imul", "itruediv", "ifloordiv", "imod", "ipow"])
def test_in_place_operators_refuse_numpy_arrays(x, name):
    with pytest.raises(TypeError, match=r"^strict:"):
        getattr(operator, name)(x, A)
    with pytest.raises(TypeError, match=r"^strict:"):
        getattr(operator, name)(A.copy(), x)


REFUSED = {
    # silent transfer to the host
    "np.asarray": lambda x: np.asarray(x),
    "np.array": lambda x: np.array(x),
    "np.array of a list of them": lambda x: np.array([x[0], x[1]]),
    "np.array of a list of numbers": lambda x: np.array([x.sum(), x.max()]),
    "np.asarray of one number": lambda x: np.asarray(x.sum()),
    "np.copyto": lambda x: np.copyto(np.zeros((2, 3), "float32"), x),
    "np.full": lambda x: np.full((2, 3), x),
    "__array__": lambda x: x.__array__(),
    "into a NumPy array": lambda x: operator.setitem(A.copy(), slice(None), x),
    "index of a NumPy array": lambda x: A[x[0].astype("int64")],
    # NumPy's functions
    "np.add": lambda x: np.add(x, x),
    "np.add with out": lambda x: np.add(A, A, out=x),
    "np.exp": lambda x: np.exp(x),
    "np.add.reduce": lambda x: np.add.reduce(x),
    "np.add.at": lambda x: np.add.at(x, PLACES, 1.0),
    "np.add.at on NumPy's": lambda x: np.add.at(A.copy(), PLACES, x),
    "np.sum": lambda x: np.sum(x),
    "np.where": lambda x: np.where(x > 0, x, 0),
    "np.concatenate": lambda x: np.concatenate([x, x]),
    "np.matmul": lambda x: np.matmul(x, A.T),
    # its own functions, with NumPy's arrays
    "exp": lambda x: strict.exp(A),
    "maximum": lambda x: strict.maximum(x, A),
    "maximum of a list": lambda x: strict.maximum(x, [1.0, 2.0, 3.0]),
    "multiply into NumPy's": lambda x: strict.multiply(x, x, out=np.empty((2, 3), "float32")),
    "where": lambda x: strict.where(A > 2, x, 0),
    "where, chosen": lambda x: strict.where(x > 2, A, x),
    "sum": lambda x: strict.sum(A),
    "sum of a list": lambda x: strict.sum([1.0, 2.0]),
    "sum of a number": lambda x: strict.sum(1.0),
    "zeros_like": lambda x: strict.zeros_like(A),
    "broadcast_to": lambda x: strict.broadcast_to(A, (2, 2, 3)),
    "concatenate": lambda x: strict.concatenate([x, A]),
    "concatenate of one": lambda x: strict.concatenate(x),
    "stack": lambda x: strict.stack([A, x]),
    "matmul": lambda x: strict.matmul(x, A.T),
    "tensordot": lambda x: strict.tensordot(x, A),
    "dot": lambda x: x.dot(A.T),
    "einsum": lambda x: strict.einsum("ij,ij->i", x, A),
    "take_along_axis": lambda x: strict.take_along_axis(x, np.zeros((2, 1), int), 1),
    "put_along_axis": lambda x: strict.put_along_axis(x, np.zeros((2, 1), int), 0.0, 1),
    "put_along_axis of values": lambda x: strict.put_along_axis(x, strict.zeros((2, 1), "int64"), A[:, :1], 1),
    "add.at": lambda x: strict.add.at(x, PLACES, x),
    "add.at of": lambda x: strict.add.at(x, strict.asarray(PLACES), A),
    "add.at to": lambda x: strict.add.at(A.copy(), 0, x[0]),
    "as_strided": lambda x: strict.lib.stride_tricks.as_strided(A, (2,), (4,)),
    "fill": lambda x: x.fill(np.array(1.0)),
    "clip": lambda x: x.clip(np.zeros(3), 2.0),
    "full": lambda x: strict.full((2, 3), np.array(1.0)),
    "reshape": lambda x: strict.reshape(A, (3, 2)),
    # indices and what is assigned to them
    "index": lambda x: x[PLACES],
    "index in a tuple": lambda x: x[:, PLACES],
    "index in a list": lambda x: x[[PLACES]],
    "boolean index": lambda x: x[A > 2],
    "index to assign to": lambda x: operator.setitem(x, PLACES, 0.0),
    "boolean index to assign to": lambda x: operator.setitem(x, A > 2, 0.0),
    "assignment": lambda x: operator.setitem(x, slice(None), A),
    "assignment of a list": lambda x: operator.setitem(x, 0, [1.0, 2.0, 3.0]),
    "assignment of None": lambda x: operator.setitem(x, 0, None),
    "take": lambda x: x.take(PLACES),
    # keywords and methods that CuPy lacks
    "sum, where": lambda x: x.sum(where=x > 2),
    "sum, initial": lambda x: x.sum(initial=0.0),
    "max, initial": lambda x: x.max(initial=0.0),
    "mean, where": lambda x: strict.mean(x, where=x > 2),
    "exp, where": lambda x: strict.exp(x, where=x > 2),
    "add, order": lambda x: strict.add(x, x, order="C"),
    "einsum, out": lambda x: strict.einsum("ij->i", x, out=strict.empty(2)),
    "as_strided, writeable": lambda x: strict.lib.stride_tricks.as_strided(x, (2,), (4,), writeable=False),
    "sliding_window_view, writeable": lambda x: strict.lib.stride_tricks.sliding_window_view(x, 2, 1, writeable=True),
    "maximum.reduce": lambda x: strict.maximum.reduce(x),
    "maximum.accumulate": lambda x: strict.maximum.accumulate(x),
    "logaddexp.reduce": lambda x: strict.logaddexp.reduce(x),
    "too many arguments": lambda x: strict.exp(x, x, None, None, None),
    # what CuPy leaves undefined
    "x[twice] += 1": lambda x: operator.setitem(x, [0, 0], x[[0, 0]] + 1),
    "x[twice] = 0": lambda x: operator.setitem(x, strict.asarray(np.array([1, 1])), 0.0),
    "x[twice, twice] = 0": lambda x: operator.setitem(x, ([0, 1, 0], [2, 1, 2]), 0.0),
    "x[0, twice]": lambda x: operator.setitem(x, (0, strict.asarray(np.array([1, -2]))), 0.0),
    "put_along_axis twice": lambda x: strict.put_along_axis(x, strict.zeros((2, 2), "int64"), 0.0, 1),
}


@pytest.mark.parametrize("action", REFUSED.values(), ids=REFUSED.keys())
def test_refuses(x, action):
    with count_syncs() as counted, pytest.raises(TypeError, match=r"^strict:"):
        action(x)
    assert counted.count == 0
    np.testing.assert_array_equal(x._held, A)  # and nothing was done


@pytest.mark.parametrize(
    "name",
    ["__index__", "__array_interface__", "__array_struct__", "__buffer__", "__array_namespace__", "__imatmul__"],
)
def test_has_none_of_the_hooks_that_cupy_lacks(x, name):
    assert not hasattr(x, name)


@pytest.mark.parametrize(
    "action",
    [memoryview, bytes, bytearray, hash, lambda x: range(x), lambda x: [1, 2][x], lambda x: "a" * x, operator.index],
    ids=["memoryview", "bytes", "bytearray", "hash", "range", "list index", "repetition", "operator.index"],
)
def test_python_finds_no_integer_and_no_buffer(action):
    x = strict.asarray(np.array(1))
    if action in (bytes, bytearray):
        x = x.reshape(1)  # or Python would go through its elements, which are no integers either
    with pytest.raises(TypeError):
        action(x)


def test_is_no_numpy_array(x):
    assert not isinstance(x, np.ndarray)
    assert is_array(x)
    assert not on_host(x)


@pytest.mark.parametrize(
    "name",
    [
        "errstate",
        "einsum_path",
        "block",
        "nditer",
        "vecdot",
        "random",
        "add_at",
        "bitwise_count",
        "sliding_window_view",
    ],
)
def test_the_namespace_lacks_what_cupy_lacks_or_does_otherwise(name):
    assert not hasattr(strict, name)


# What it does --------------------------------------------------------------------------------


def test_minigrad_takes_it_for_a_gpu(x):
    assert namespace(x) is namespace(2.0, x) is strict
    assert device_name(x) == "cuda:0"
    assert type(to_host(x)) is np.ndarray
    assert mg.Tensor(x).device == "cuda:0"


def test_scatter_add_adds_twice(x):
    scatter_add(x, (strict.asarray(np.array([0, 0])), [1, 1]), strict.asarray(np.array([10.0, 20.0], "float32")))
    assert x[0, 1].item() == 32.0


@pytest.mark.parametrize("scalar", [2, 2.0, True, np.float32(2), np.int64(2)], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("name", ["add", "sub", "mul", "truediv", "pow", "lt", "eq"])
def test_scalars_mix_as_numpys_do(x, name, scalar):
    apply = getattr(operator, name)
    is_same(apply(x, scalar), apply(A, scalar))
    is_same(apply(scalar, x), apply(scalar, A))


SAME = {
    "arithmetic": lambda xp, a: (a * a + 1) / 2 - a,
    "matmul": lambda xp, a: a @ a.T,
    "matmul, a vector": lambda xp, a: xp.ones(2, dtype="float32") @ a,
    "booleans": lambda xp, a: ~((a > 2) & (a < 5) | (a == 1)),
    "neg, abs": lambda xp, a: abs(-a),
    "exp": lambda xp, a: xp.exp(a),
    "exp, dtype": lambda xp, a: xp.exp(a, dtype="float64"),
    "sum": lambda xp, a: np.asarray(a.sum()) if xp is np else a.sum(),
    "sum, axis": lambda xp, a: xp.sum(a, axis=0, keepdims=True),
    "max, positional": lambda xp, a: a.max(1),
    "var": lambda xp, a: a.var(axis=1, ddof=1),
    "argmax": lambda xp, a: a.argmax(axis=1),
    "any": lambda xp, a: (a > 5).any(axis=1),
    "add.reduce": lambda xp, a: xp.add.reduce(a, axis=1),
    "multiply.accumulate": lambda xp, a: xp.multiply.accumulate(a, axis=1),
    "where": lambda xp, a: xp.where(a > 2, a, 0.0),
    "concatenate": lambda xp, a: xp.concatenate([a, 2 * a], axis=1),
    "stack": lambda xp, a: xp.stack((a, a), axis=2),
    "pad": lambda xp, a: xp.pad(a, ((1, 0), (0, 2))),
    "tile": lambda xp, a: xp.tile(a, (1, 2)),
    "arange": lambda xp, a: xp.arange(1, 7, 2, dtype="float32"),
    "full": lambda xp, a: xp.full((2, 2), 3, dtype=a.dtype),
    "like": lambda xp, a: xp.ones_like(a) + xp.zeros_like(a),
    "einsum": lambda xp, a: xp.einsum("ij,kj->ik", a, a),
    "tensordot": lambda xp, a: xp.tensordot(a, a, axes=([0, 1], [0, 1])) if xp is strict else np.asarray(np.vdot(a, a)),
    "take_along_axis": lambda xp, a: xp.take_along_axis(a, a.argmax(axis=1)[:, None], axis=1),
    "clip": lambda xp, a: a.clip(2, 4),
    "reshape": lambda xp, a: xp.reshape(a.reshape(-1), (3, 2)).reshape(2, 3, 1),
    "list index": lambda xp, a: a[[1, 0, 1], 1:],
    "array index": lambda xp, a: a[xp.arange(2), xp.asarray([2, 0])],
    "boolean index": lambda xp, a: a[a > 2],
    "windows": lambda xp, a: xp.lib.stride_tricks.as_strided(a, (2, 2, 2), (12, 4, 4)),
    "sliding windows": lambda xp, a: xp.lib.stride_tricks.sliding_window_view(a, 2, axis=1),
    "astype": lambda xp, a: a.astype("int64"),
    "complex": lambda xp, a: (a * 1j).imag + (a + 0j).conj().real,
}


@pytest.mark.parametrize("action", SAME.values(), ids=SAME.keys())
def test_does_what_numpy_does(x, action):
    is_same(action(strict, x), action(np, A))


def test_writes_in_place(x):
    a = A.copy()
    for z, xp in ((x, strict), (a, np)):
        before = z
        z += 1
        z *= z
        assert z is before
        z[0, ::2] = 7
        z[xp.asarray([0, 1]), xp.asarray([1, 2])] -= 1
        z[z > 30] = 0
        z[[1], 0] = xp.asarray([5.0])
    is_same(x, a)


def test_out_is_filled_and_returned(x):
    for name, args in {"multiply": (x, x), "matmul": (x, x.T), "sum": (x, 0)}.items():
        expected = getattr(strict, name)(*args)
        out = strict.empty_like(expected)
        assert getattr(strict, name)(*args, out=out) is out
        is_same(out, expected._held)


def test_matmul_has_no_in_place_form(x):
    before = x
    x @= strict.ones((3, 3), dtype="float32")
    assert x is not before


@pytest.mark.parametrize("name", ["sum", "mean", "max", "min", "prod", "argmax", "argmin", "any", "all", "var", "std"])
def test_reductions_give_arrays_without_axes(x, name):
    for result in (getattr(x, name)(), getattr(strict, name)(x)):
        assert type(result) is StrictArray
        assert result.shape == ()


def test_foreign_classes_are_asked(x):
    class Other:
        def __radd__(self, other):
            return "asked"

        def __eq__(self, other):
            return "asked"

    assert x + Other() == "asked"
    assert (x == Other()) == "asked"
    assert isinstance(x * mg.Tensor(x), mg.Tensor)


# Memory --------------------------------------------------------------------------------------

VIEWS = {
    "slice": lambda x: x[:, 1:],
    "row": lambda x: x[1],
    "element": lambda x: x[1, 2],
    "negative step": lambda x: x[::-1],
    "new axis": lambda x: x[:, None],
    "T": lambda x: x.T,
    "transpose": lambda x: x.transpose(1, 0),
    "reshape": lambda x: x.reshape(3, 2),
    "ravel": lambda x: x.ravel(),
    "real": lambda x: x.real,
    "iteration": lambda x: next(reversed(list(x))),
    "windows": lambda x: strict.lib.stride_tricks.as_strided(x, (2, 3), x.strides),
    "ascontiguousarray": lambda x: strict.ascontiguousarray(x),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS.keys())
def test_views_share_memory(x, view):
    view(x)[...] = 100
    assert (x._held == 100).any()


def test_copies_do_not_share_memory(x):
    host = A.copy()
    there = strict.asarray(host)
    back = there.get()
    for y in (x.copy(), x[[0]], x.astype("float32"), strict.array(x), copy.deepcopy(x)):
        y[...] = 100
    there[...] = 100
    back[...] = 50
    np.testing.assert_array_equal(host, A)
    np.testing.assert_array_equal(x._held, A)
    assert (there._held == 100).all()
    assert strict.asarray(x) is x


def test_stretched_views_are_read_only(x):
    with pytest.raises(ValueError, match="read-only"):
        strict.broadcast_to(x[0], (2, 3))[...] = 0


# Transfer ------------------------------------------------------------------------------------

TRANSFERS = {
    "get": lambda x: x.get(),
    "asnumpy": lambda x: strict.asnumpy(x),
    "tolist": lambda x: x.tolist(),
    "item": lambda x: x[1, 0].item(),
    "float": lambda x: float(x.sum()),
    "int": lambda x: int(x.sum()),
    "bool": lambda x: bool((x > 0).all()),
    "if": lambda x: 1 if x.any() else 0,
    "math": lambda x: math.sqrt(x[0, 0]),
    "into one element of NumPy's": lambda x: operator.setitem(A.copy(), (0, 0), x.sum()),  # by way of float()
    "repr": repr,
    "str": str,
    "format": lambda x: f"{x.mean():.3f}",
    "boolean index": lambda x: x[x > 2],
}


@pytest.mark.parametrize("action", TRANSFERS.values(), ids=TRANSFERS.keys())
def test_a_transfer_is_counted_once(x, action):
    before = syncs.count
    with count_syncs() as outer:
        action(x)
        with count_syncs() as inner:
            action(x)
    action(x)
    assert (inner.count, outer.count, syncs.count - before) == (1, 2, 3)


def test_work_on_the_device_is_not_counted(x):
    with count_syncs() as counted:
        y = strict.exp(x)
        y += x @ x.T @ x
        y[0] = y.max()
        y[y > 3] = 3
        assert len(y) == y.shape[0]
        assert list(y)
    assert counted.count == 0


def test_transferred_values_are_right(x):
    assert type(x.get()) is np.ndarray
    np.testing.assert_array_equal(x.get(), A)
    assert x.tolist() == A.tolist()
    assert (float(x.sum()), int(x.max()), bool(x[0, 0]), x[0, 1].item()) == (21.0, 6, True, 2.0)


# Names ---------------------------------------------------------------------------------------

#: Looked up in CuPy 14.2. A name that the double is to have must be looked up there, and entered here.
CUPY_NAMES = """
    abs absolute add all allclose amax amin any arange arctan argmax argmin argsort array array_equal asarray
    ascontiguousarray asnumpy bitwise_and bitwise_or bool_ broadcast_to ceil clip complex128 complex64
    complexfloating concatenate conj copy copyto cos cosh cuda cumsum divide dot dtype e einsum empty empty_like
    equal exp expand_dims expm1 eye finfo flip float16 float32 float64 floating floor floor_divide full full_like
    generic greater greater_equal iinfo imag inexact inf int16 int32 int64 int8 integer invert isfinite isinf isnan
    issubdtype less less_equal lib log log1p log2 logaddexp logical_and logical_not logical_or matmul max maximum
    may_share_memory mean min minimum moveaxis multiply nan nan_to_num ndarray negative newaxis not_equal number
    ones ones_like outer pad pi positive power prod promote_types put_along_axis ravel real reciprocal remainder repeat
    reshape rint roll shares_memory sign signbit sin sinh sort split sqrt square squeeze stack std subtract sum
    swapaxes take take_along_axis tan tanh tensordot tile transpose true_divide trunc uint8 var where zeros
    zeros_like
"""
CUPY_METHODS = """
    T all any argmax argmin astype clip conj copy cumsum device dot dtype fill flags flatten get imag item itemsize max
    mean min nbytes ndim prod ravel real repeat reshape round shape size squeeze std strides sum swapaxes take tolist
    transpose var view
"""


def public(thing):
    return {name for name in dir(thing) if not name.startswith("_")}


def test_names_are_cupys():
    assert public(strict) <= set(CUPY_NAMES.split())
    assert public(StrictArray) <= set(CUPY_METHODS.split())
    assert public(strict.lib.stride_tricks) == {"as_strided", "sliding_window_view"}


def test_names_and_signatures_against_cupy():
    cupy = pytest.importorskip("cupy")
    assert set(CUPY_NAMES.split()) <= public(cupy)
    assert set(CUPY_METHODS.split()) <= public(cupy.ndarray)
    methods = {f"ndarray.{name}": row for name, row in (METHODS_AND_FUNCTIONS | METHODS).items()}
    ufuncs = dict.fromkeys(UFUNCS.split(), "| out dtype casting")
    for name, signature in (METHODS_AND_FUNCTIONS | FUNCTIONS | methods | ufuncs).items():
        settings = signature.partition("|")[2].split()
        operands = len(signature.partition("|")[0].split()) - name.startswith("ndarray.")
        if name not in ("arange", "where") and name not in ufuncs:  # whose operands are not all needed
            assert fault_of((name, operands, tuple(settings)), cupy) == "", name
        for setting in settings:
            assert "unexpected keyword" not in fault_of((name, 0, (setting,)), cupy), name
    assert "at" in dir(cupy.add)
    assert "use" in dir(cupy.cuda.Device)
    for name in set(METHODS_AND_FUNCTIONS) | set(METHODS) | {"__format__", "__complex__", "__iter__"}:
        assert hasattr(cupy.ndarray, name)
    for name in ["__index__", "__array_interface__", "__array_struct__", "__array_namespace__", "__imatmul__"]:
        assert not hasattr(cupy.ndarray, name)


# Two devices, and what was called ------------------------------------------------------------


@pytest.fixture
def second():
    """Make the second device the current one."""
    yield strict.cuda.Device(1).use()
    strict.cuda.Device(0).use()


def test_functions_work_on_the_current_device_only(x, second):
    there = strict.asarray(x)
    assert (device_name(x), device_name(there), device_name(there + 1), device_name(there.T[0])) == (
        "cuda:0",
        "cuda:1",
        "cuda:1",
        "cuda:1",
    )
    for action in (
        lambda: x + 1,
        lambda: there + x,
        lambda: x + there,
        lambda: strict.exp(x),
        lambda: strict.concatenate([there, x]),
        lambda: operator.setitem(x, 0, 1.0),
        lambda: operator.setitem(there, 0, x[0]),
        lambda: there[x[0].astype("int64")],
        lambda: operator.iadd(x, 1),
        lambda: x.sum(),
    ):
        with pytest.raises(TypeError, match=r"^strict: .*device 0, but the current device is 1"):
            action()
    np.testing.assert_array_equal(x.get(), A)  # a copy to the host, or to the current device, is always possible
    assert device_name(x.T[0].reshape(-1)) == "cuda:0"


def test_there_are_two_devices(x):
    with pytest.raises(strict.cuda.runtime.CUDARuntimeError, match="invalid device ordinal"):
        strict.cuda.Device(2).use()
    assert strict.cuda.Device() == strict.cuda.Device(0) != strict.cuda.Device(1)


def test_only_calls_of_minigrad_are_written_down(x):
    calls.clear()
    strict.exp(x)
    x.sum(axis=0)
    assert not calls
    mg.sum(x, axis=0)
    mg.exp(x)
    assert {("exp", 1, ()), ("ndarray.sum", 0, ("axis", "keepdims")), ("ndarray.ndim", 0, ())} <= calls
