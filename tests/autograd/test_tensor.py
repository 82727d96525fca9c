"""Tensor: what it takes, how it behaves among NumPy's arrays and Python's numbers, what may be written into."""

import copy
import operator
import pickle
from itertools import product

import numpy as np
import pytest

import minigrad as mg
from tests.records import every_sample
from tests.tools.compare import leaf_of


def test_a_tensor_takes_numbers_lists_and_arrays():
    assert mg.Tensor([1.0, 2.0]).dtype == np.float32
    assert mg.Tensor(1.0).shape == ()
    assert mg.Tensor([1, 2]).dtype == np.int64
    assert mg.Tensor(np.zeros(2)).dtype == np.float64
    assert mg.Tensor(np.float64(1)).dtype == np.float64
    array = np.zeros(2)
    assert mg.Tensor(array).data is array
    for wrong in ("text", [object()], None, np.array([None]), np.array(["a"])):
        with pytest.raises(TypeError, match="Tensor: expected an array of numbers"):
            mg.Tensor(wrong)
    with pytest.raises(TypeError, match="got a Tensor; use .detach"):
        mg.Tensor(mg.Tensor([1.0]))


VIEWS = {
    "plain": lambda a: a,
    "with gaps": lambda a: a[:, ::2],
    "backwards": lambda a: a[::-1, ::-1],
    "transposed": lambda a: a.T,
    "stretched": lambda a: np.broadcast_to(a[:1, :1], (3, 4)),
    "without axes": lambda a: a[1, 1, ...],
    "without elements": lambda a: a[:0],
    "read-only": lambda a: np.lib.stride_tricks.as_strided(a, writeable=False),
    "mapped": lambda a: a,
}


@pytest.mark.parametrize("view", VIEWS)
def test_arrays_of_every_layout_are_taken_and_given_without_a_copy(view, tmp_path):
    """By the constructor, by data and by numpy; those of a subclass of NumPy's arrays become plain ones."""
    memory = np.arange(12.0).reshape(3, 4)
    if view == "mapped":
        memory = np.memmap(tmp_path / "array", float, "w+", shape=(3, 4))
    array = VIEWS[view](memory)
    made, rebound = mg.Tensor(array, requires_grad=True), mg.Tensor(array.copy(), requires_grad=True)
    rebound.data = array
    for tensor in (made, rebound, made.detach(), made.to("cpu"), mg.Tensor(made.data)):
        for given in (tensor.data, tensor.numpy()):
            assert type(given) is np.ndarray
            assert (given.shape, given.strides, given.ctypes.data) == (array.shape, array.strides, array.ctypes.data)
        assert (tensor * made).shape == array.shape  # all are on one device


@pytest.mark.parametrize("shape", [(3,), (2, 2), (1, 0), (0, 2)])
def test_iteration_gives_the_rows_with_their_gradients(shape):
    x = leaf_of(*range(1, 1 + np.prod(shape))) if 0 not in shape else leaf_of()
    y = x.reshape(shape)
    rows = list(y)
    assert [row.shape for row in rows] == [shape[1:]] * shape[0]
    for i, row in enumerate(rows):
        np.testing.assert_array_equal(row.data, y.data[i], strict=True)
    if rows:
        sum((row * row * (i + 1.0)).sum() for i, row in enumerate(rows)).backward()
        weights = np.arange(1.0, 1.0 + len(rows)).reshape(-1, *[1] * (len(shape) - 1))
        np.testing.assert_array_equal(x.grad.data, (2 * y.data * weights).ravel(), strict=True)
    assert not any(row.requires_grad for row in y.detach())


def test_integers_cannot_require_a_gradient():
    with pytest.raises(TypeError, match="Tensor: expected floating-point data to require a gradient, got int64"):
        mg.Tensor([1, 2], requires_grad=True)
    with pytest.raises(TypeError, match="got bool"):
        mg.Tensor(np.array([True])).requires_grad = True


def test_repr():
    assert repr(mg.Tensor([1.0])) == "Tensor([1.])"
    assert repr(leaf_of(1.0)) == "Tensor([1.], dtype=float64, requires_grad=True)"


def test_devices_go_by_name():
    x = mg.Tensor([1.0])
    assert x.device == "cpu"
    assert x.to("cpu") is x
    with pytest.raises(RuntimeError, match="to: the result of an operator cannot be moved"):
        (leaf_of(1.0) * 2.0).to("cpu")
    with pytest.raises(ValueError, match='expected a device "cpu", "cuda" or "cuda:1", got \'gpu\''):
        x.to("gpu")
    for wrong in (np.float64, np.dtype("f4"), None, 0):
        with pytest.raises(ValueError, match='expected a device "cpu", "cuda" or "cuda:1", got '):
            x.to(wrong)
        with pytest.raises(ValueError, match='expected a device "cpu", "cuda" or "cuda:1", got '):
            mg.nn.Linear(2, 1, rng=0).to(wrong)


# Among arrays and numbers ---------------------------------------------------------------------


def test_numpy_does_not_swallow_a_tensor():
    x = leaf_of(1.0, 2.0)
    assert isinstance(np.array([1.0, 2.0]) * x, mg.Tensor)
    with pytest.raises(TypeError, match="not converted to an array silently"):
        np.asarray(x)
    for f in (np.sin, np.exp, lambda x: np.add(x, 1.0), lambda x: np.multiply(np.ones(2), x)):
        with pytest.raises(TypeError, match="operand 'Tensor' does not support ufuncs"):  # NumPy's own words
            f(x)
    given = {
        "numpy.mean": np.mean,
        "numpy.linalg.norm": np.linalg.norm,
        "numpy.concatenate": lambda x: np.concatenate([x]),
    }
    for name, f in (given | {"numpy.where": lambda x: np.where([True], x, 0.0)}).items():
        with pytest.raises(TypeError, match=f"{name}: expected arrays, got a Tensor; .*operator of minigrad"):
            f(x)


@pytest.mark.parametrize("order", [">", "<"])
@pytest.mark.parametrize("kind", ["f4", "f8", "c16", "i8"])
def test_data_of_another_byte_order_becomes_native(order, kind):
    """So its dtype is that of other Tensors."""
    array = np.array([1, 2, 300]).astype(order + kind)
    native = np.array([1, 2, 300], kind)
    x = mg.Tensor(array)
    np.testing.assert_array_equal(x.data, native, strict=True)
    assert x.data.dtype.isnative
    assert (x + mg.Tensor(native)).data.tolist() == [2, 4, 600]
    assert (x.data is array) == array.dtype.isnative
    x.data = array
    assert x.data.dtype.isnative
    if kind != "i8":
        p = mg.nn.Parameter(array)
        (p + p).backward(native)
        np.testing.assert_array_equal(p.grad.data, 2 * native, strict=True)


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_a_matrix_is_an_array_and_multiplies_as_one():
    """As data, and as an operand: its own * would be the matrix product."""
    a, b = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[5.0, 6.0], [7.0, 8.0]])
    assert type(mg.Tensor(np.matrix(a)).data) is np.ndarray
    for x, y in product((mg.Tensor(a), np.matrix(a)), (mg.Tensor(b), np.matrix(b))):
        out = mg.mul(x, y)
        np.testing.assert_array_equal(out.data if isinstance(out, mg.Tensor) else out, a * b, strict=True)
        assert type(out) is not np.matrix
    np.testing.assert_array_equal((np.matrix(a) * mg.Tensor(b)).data, a * b, strict=True)
    x = mg.Tensor(a)
    x.data = np.matrix(b)
    assert type(x.data) is np.ndarray


def test_a_file_in_memory_is_an_array(tmp_path):
    mapped = np.memmap(tmp_path / "array", dtype=np.float32, mode="w+", shape=2)
    mapped[:] = [1.0, 2.0]
    x = mg.Tensor([3.0, 4.0], requires_grad=True)
    (x * mapped * mg.Tensor(mapped)).sum().backward()
    assert x.grad.data.tolist() == [1.0, 4.0]


def test_an_array_with_a_mask_is_refused_rather_than_its_mask_ignored():
    masked, x = np.ma.array([1.0, 2.0], mask=[False, True]), leaf_of(3.0, 4.0)
    calls = {"Tensor": lambda: mg.Tensor(masked), "mul": lambda: x * masked, "exp": lambda: mg.exp(masked)}
    calls["Tensor "] = lambda: setattr(x, "data", masked)
    for name, call in calls.items():
        with pytest.raises(
            TypeError, match=f"^{name.strip()}: expected an array without a mask, got a masked array; fill"
        ):
            call()


def test_a_tensor_of_one_element_is_formatted_as_its_number():
    for x in (leaf_of(1234.5678).sum(), mg.Tensor([1234.5678])):
        assert f"{x:.3f} {x:12.1e} {x:,.0f}" == "1234.568      1.2e+03 1,235"
    assert f"{mg.Tensor(3):03d}" == "003"
    x = mg.Tensor([1.0, 2.0])
    assert f"{x} {x!r}" == f"{x!s} {x!s}" == "Tensor([1., 2.]) Tensor([1., 2.])"
    with pytest.raises(ValueError, match=r"^format: expected a Tensor with one element, got shape \(2,\)"):
        f"{x:.3f}"


def test_the_tape_stores_the_arrays_that_an_operator_is_given_and_no_copies():
    """A stated convention, for memory; what is written into one between forward and backward changes gradients."""
    x, raw = leaf_of(1.0, 2.0), np.array([3.0, 4.0])
    for y in (x * raw, raw * x, x * mg.Tensor(raw)):
        assert y._node.stored[0] is raw


def test_comparisons_give_booleans_and_hashing_is_by_identity():
    x, y = leaf_of(1.0, 2.0), leaf_of(1.0, 3.0)
    for result, expected in [
        (x == y, [1, 0]),
        (x != y, [0, 1]),
        (x < y, [0, 1]),
        (x <= 1.0, [1, 0]),
        (y > x, [0, 1]),
        (x >= y, [1, 0]),
    ]:
        assert type(result) is np.ndarray
        np.testing.assert_array_equal(result, np.array(expected, bool))
    assert len({x, y, x}) == 2


def test_one_element_becomes_a_python_number():
    x = mg.Tensor([[2.5]])
    assert (float(x), int(x), bool(x), x.item()) == (2.5, 2, True, 2.5)
    with pytest.raises(ValueError, match="item: expected a Tensor with one element"):
        mg.Tensor([1.0, 2.0]).item()
    assert [t.item() for t in mg.Tensor([1.0, 2.0])] == [1.0, 2.0]
    with pytest.raises(TypeError, match="no axes"):
        len(mg.Tensor(1.0))


NUMBERS = [0, -1, 2**53 + 1, -(2**63), 2**64 - 1, True, False, 0.5, -0.5, -0.0, 1e-310, 1e300, np.inf, np.nan, 1j, 0j]


@pytest.mark.parametrize("number", [*NUMBERS, *map(np.float32, [0.1, 1e-45])], ids=repr)
def test_a_number_becomes_what_numpy_makes_of_it(number):
    """Large integers stay exact, and a fraction is true; what NumPy refuses, such as int(nan), raises the same."""
    array = np.array(number)
    for convert in (float, int, bool, lambda a: a.item()):
        try:
            expected = convert(array.item() if convert in (float, int, bool) else array)
        except (TypeError, ValueError, OverflowError) as error:
            with pytest.raises(type(error)):
                convert(mg.Tensor(array))
        else:
            result = convert(mg.Tensor(array))
            assert (repr(result), type(result)) == (repr(expected), type(expected))


def test_comparisons_of_special_values_and_large_integers_are_those_of_numpy():
    """NaN is neither less nor more than anything; of two Tensors, and of one with an array or a number."""
    special = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0])
    large = np.array([2**53, 2**53 + 1, -(2**63)])
    for values, name in product([special, large], ["eq", "ne", "lt", "le", "gt", "ge"]):
        compare, column = getattr(operator, name), values[:, None]
        expected = compare(column, values)
        for a, b in ((mg.Tensor(column), mg.Tensor(values)), (mg.Tensor(column), values), (column, mg.Tensor(values))):
            np.testing.assert_array_equal(compare(a, b), expected, strict=True)
        for i, number in enumerate(values.tolist()):
            np.testing.assert_array_equal(compare(mg.Tensor(values), number), expected[:, i], strict=True)
            np.testing.assert_array_equal(compare(number, mg.Tensor(values)), expected[i], strict=True)


def test_methods_and_python_operators_are_those_of_numpy():
    x = leaf_of(1.0, 2.0, 3.0, 4.0).reshape(2, 2)
    np.testing.assert_array_equal(x.T.data, x.data.T)
    np.testing.assert_array_equal(x.reshape((4,)).data, x.reshape(4).data)
    np.testing.assert_array_equal(x.transpose(1, 0).data, x.transpose((1, 0)).data)
    np.testing.assert_array_equal((x @ x).data, x.data @ x.data)
    np.testing.assert_array_equal((x.data @ x).data, x.data @ x.data)
    for f in (
        lambda a: 1 - a,
        lambda a: 2 / a,
        lambda a: 2**a,
        lambda a: abs(-a),
        lambda a: 3 + a,
        lambda a: a**2 - a / 4,
    ):
        np.testing.assert_array_equal(f(x).data, f(x.data))
    for name in ("sum", "mean", "max"):
        np.testing.assert_array_equal(
            getattr(x, name)(axis=0, keepdims=True).data, getattr(x.data, name)(axis=0, keepdims=True)
        )


def test_methods_are_the_operators_of_their_names():
    x = leaf_of([1.0, 4.0], [9.0, 16.0])
    for name, args in {
        "exp": (),
        "log": (),
        "sqrt": (),
        "abs": (),
        "std": (1, True),
        "clip": (2.0, 10.0),
        "astype": ("float64",),
    }.items():
        f = getattr(mg, name, None) or mg.ops.functions.astype
        np.testing.assert_array_equal(getattr(x, name)(*args).data, f(x, *args).data)
    assert x.reshape(1, 2, 2, 1).squeeze(0).squeeze(-1).shape == (2, 2)


@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_places_are_those_of_numpy_in_a_plain_array(name):
    array = np.array([[1.0, 5.0, 3.0], [7.0, 0.0, 7.0]])
    x = mg.Tensor(array, requires_grad=True)
    for axis in (None, 0, 1, -1):
        places = getattr(x, name)(axis)
        assert not isinstance(places, mg.Tensor)
        np.testing.assert_array_equal(places, getattr(array, name)(axis), strict=True)
    with pytest.raises(ValueError, match=f"^{name}: axis 2 is not an axis of an array with 2 axes"):
        getattr(x, name)(2)
    with pytest.raises(ValueError, match=f"^{name}: nothing to reduce"):
        getattr(mg.Tensor(np.ones((0, 2))), name)(0)
    with pytest.raises(TypeError, match=rf"^{name}\(\) got an unexpected keyword argument 'dim'"):
        getattr(x, name)(dim=1)


@pytest.mark.parametrize(
    ("method", "places"),
    [
        ("transpose", (1, 0, 2)),
        ("transpose", ((2, 0, 1),)),
        ("reshape", (4, 6)),
        ("reshape", (24,)),
        ("reshape", ((3, 8),)),
        ("flatten", (1,)),
        ("squeeze", ((),)),
        ("sum", (1,)),
        ("mean", ((0, 2),)),
        ("max", (-1,)),
        ("std", (0,)),
        ("argmax", (2,)),
    ],
)
def test_methods_take_integers_of_numpy(method, places):
    """One, several, and in a tuple; of one axis, too."""

    def converted(value):
        return tuple(map(converted, value)) if isinstance(value, tuple) else np.int64(value)

    x = mg.Tensor(np.arange(24.0).reshape(2, 3, 4))
    ours, expected = (getattr(x, method)(*p) for p in (converted(places), places))
    np.testing.assert_array_equal(*(x.data if isinstance(x, mg.Tensor) else x for x in (ours, expected)), strict=True)
    assert mg.Tensor([1.0, 2.0]).transpose(np.int64(0)).shape == (2,)
    assert x.transpose().shape == x.transpose(None).shape == x.transpose(()).shape == x.T.shape == (4, 3, 2)


def test_flatten_joins_all_axes_or_those_from_one_on():
    x = mg.Tensor(np.arange(24.0).reshape(2, 3, 4), requires_grad=True)
    for start, shape in {0: (24,), 1: (2, 12), 2: (2, 3, 4), -1: (2, 3, 4), -2: (2, 12)}.items():
        np.testing.assert_array_equal(x.flatten(start).data, x.data.reshape(shape), strict=True)
    assert mg.Tensor(np.ones((0, 3))).flatten(1).shape == (0, 3)
    assert x.flatten().shape == (24,)
    x.flatten().sum().backward()
    assert x.grad.shape == (2, 3, 4)
    with pytest.raises(ValueError, match=r"^flatten: expected start to be an int, got 1\.5"):
        x.flatten(1.5)


def test_lists_hold_numbers_of_python():
    assert mg.Tensor([[1.0, 2.5]]).tolist() == [[1.0, 2.5]]
    assert mg.Tensor(3).tolist() == 3
    assert type(mg.Tensor([1]).tolist()[0]) is int


def test_a_comparison_with_none_says_what_to_write():
    x = mg.Tensor([1.0])
    with pytest.raises(TypeError, match="^x == y: expected numbers to compare, got None; use `x is None`"):
        x == None  # noqa: B015, E711
    with pytest.raises(TypeError, match="use `x is not None`"):
        None != x  # noqa: B015, E711, SIM300


# Data and gradients ---------------------------------------------------------------------------


def test_rebinding_data_does_not_reach_the_tape():
    x = leaf_of(1.0, 2.0)
    y = x * x
    x.data = np.array([100.0, 100.0])
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.data, [2.0, 4.0])
    with pytest.raises(TypeError, match="data: expected floating-point data to require a gradient, got int64"):
        x.data = np.array([1, 2])
    with pytest.raises(ValueError, match="nested lists of unequal lengths"):
        mg.Tensor([[1.0], [1.0, 2.0]])
    x.data = np.zeros(3)  # another shape: the old gradient does not fit
    assert x.grad is None
    assert x.requires_grad


def test_a_detached_tensor_detached_again_is_another_tensor():
    x = mg.Tensor([1.0, 2.0], requires_grad=True)
    first = x.detach()
    second = first.detach()
    second.data = np.zeros(2, first.dtype)
    assert first.tolist() == [1.0, 2.0]


def test_grad_can_be_set_on_leaves_only():
    x = leaf_of(1.0, 2.0)
    x.grad = mg.Tensor(np.ones(2))
    with pytest.raises(ValueError, match=r"grad: expected \(2,\) float64"):
        x.grad = mg.Tensor([1.0])
    with pytest.raises(RuntimeError, match="only a Tensor made with requires_grad=True"):
        (x * 1.0).grad = mg.Tensor(np.ones(2))
    (x * 1.0).grad = None  # nothing to forget
    x.requires_grad = False
    assert not (x * 1.0).requires_grad
    with pytest.raises(RuntimeError, match="the result of an operator"):
        (leaf_of(1.0) * 1.0).requires_grad = False


def test_augmented_assignment_rebinds():
    x = y = leaf_of(1.0)
    y += 2.0
    assert x.item() == 1.0
    assert y.item() == 3.0
    y.backward()
    assert x.grad.item() == 1.0


def test_a_tensor_that_requires_a_gradient_cannot_be_written_into():
    x = leaf_of(1.0, 2.0)
    for tensor in (x, x * 2.0):
        with pytest.raises(RuntimeError, match="cannot be written into"):
            tensor[0] = 5.0
    plain = mg.Tensor([1.0, 2.0])
    plain[0] = 5.0
    plain[1] = mg.Tensor(7.0)
    np.testing.assert_array_equal(plain.data, [5.0, 7.0])


def test_a_constant_that_the_tape_holds_cannot_be_written_into():
    """A constant that an operator has recorded, and a value that wants a gradient."""
    constant, w = mg.Tensor(np.array([1.0, 2.0])), leaf_of(3.0, 4.0)
    y = (constant * w).sum()
    with pytest.raises(RuntimeError, match="an operator has recorded"):
        constant[0] = 100.0
    y.backward()
    np.testing.assert_array_equal(w.grad.data, [1.0, 2.0])
    once_a_leaf, w.grad = leaf_of(1.0, 2.0), None
    y = (once_a_leaf * w).sum()
    once_a_leaf.requires_grad = False
    with pytest.raises(RuntimeError, match="an operator has recorded"):
        once_a_leaf[0] = 100.0
    free = mg.Tensor(np.zeros(2))
    with pytest.raises(RuntimeError, match="cannot be written into another"):
        free[0] = w[0]


def test_a_constant_that_becomes_a_leaf_is_locked_with_its_views():
    x = mg.Tensor([1.0, 2.0])
    view = x.reshape(2, 1)
    x.requires_grad = True
    y = (x * x).sum()
    with pytest.raises(RuntimeError, match="cannot be written into"):
        view[0] = 100.0
    y.backward()
    assert x.grad.tolist() == [2.0, 4.0]


def test_new_data_frees_only_itself():
    """Views of the old array stay locked, since the tape has stored it."""
    w, c = leaf_of(1.0, 1.0), mg.Tensor(np.array([3.0, 4.0]))
    view = c.reshape(2)
    y = (w * c).sum()
    c.data = np.zeros(2)
    with pytest.raises(RuntimeError, match="cannot be written into"):
        view[0] = 100.0
    c[0] = 5.0
    y.backward()
    assert w.grad.tolist() == [3.0, 4.0]


@pytest.mark.parametrize("recorded", ["before", "after"])
def test_a_shallow_copy_is_locked_with_its_source_and_a_deep_one_is_free(recorded):
    """copy.copy shares the memory, copy.deepcopy and pickle do not."""
    c, w = mg.Tensor(np.array([1.0, 2.0])), leaf_of(3.0, 4.0)
    if recorded == "after":
        shallow = copy.copy(c)
    y = (c * w).sum()
    if recorded == "before":
        shallow = copy.copy(c)
    assert shallow.data is c.data
    with pytest.raises(RuntimeError, match="cannot be written into"):
        shallow[0] = 100.0
    for own in (copy.deepcopy(c), pickle.loads(pickle.dumps(c))):
        own[0] = 100.0
    y.backward()
    assert w.grad.tolist() == [1.0, 2.0]


def test_a_shallow_copy_has_the_class_and_the_attributes():
    class Noted(mg.nn.Parameter):
        """It has a dict, and a Parameter has none."""

    parameter = Noted([1.0])
    parameter.note = "an attribute"
    for original in (parameter, mg.nn.Parameter([1.0])):
        same = copy.copy(original)
        assert type(same) is type(original)
        assert same.requires_grad
    assert copy.copy(parameter).note == "an attribute"


@pytest.mark.parametrize("layout", ["not aligned", "with gaps", "read-only", "Fortran's order"])
def test_an_array_is_held_as_it_is(layout):
    memory = np.frombuffer(bytearray(8 * 12 + 1), np.float64, offset=1).reshape(3, 4)
    array = {"not aligned": memory, "Fortran's order": memory.T, "with gaps": np.zeros((4, 6))[::2, ::3]}.get(layout)
    if array is None:
        array = np.zeros(3)
        array.flags.writeable = False
    assert mg.Tensor(array).data is array


def test_a_constant_is_locked_only_by_what_was_recorded():
    x, c, free = leaf_of(1.0, 2.0), mg.Tensor(np.ones(2)), mg.Tensor(np.ones(2))
    _ = free * free
    with mg.no_grad():
        _ = mg.recompute(lambda free: x * free, free)
    _ = free > c, free.detach() * x, free.shape, mg.Tensor(free.data) * x
    free.requires_grad = False  # as it is
    _ = x * c
    free[0] = 5.0
    with pytest.raises(RuntimeError, match="cannot be written into"):
        c[0] = 5.0


def test_what_shares_memory_with_the_tape_is_locked_and_what_does_not_is_free():
    """detach() shares it; copies and a new array do not."""
    x, c = leaf_of(1.0, 2.0), mg.Tensor(np.ones(2))
    y = mg.tanh(x * c)
    for tensor in (c.detach(), x.detach(), y.detach()):
        with pytest.raises(RuntimeError, match="share memory"):
            tensor[0] = 5.0
    for copied in (copy.deepcopy(c), pickle.loads(pickle.dumps(c)), copy.deepcopy(y.detach())):
        copied[0] = 5.0
        assert copied.data[0] == 5.0
    c.data = np.zeros(2)
    c[0] = 5.0
    assert c.data[0] == 5.0
    np.testing.assert_allclose(mg.grad(y.sum(), x)[0].data, 1 - np.tanh([1.0, 2.0]) ** 2, rtol=1e-15, strict=True)


@pytest.mark.parametrize(("name", "sample"), every_sample())
@pytest.mark.parametrize("recorded", ["view", "source", "another view"])
def test_a_view_of_a_constant_is_locked_with_it(recorded, name, sample):
    """Where an operator returns the memory of a constant, what is recorded of one is recorded of all."""
    sources = [mg.Tensor(x.copy()) for x in sample.inputs]
    views = [sample.apply(getattr(mg, name), sources) for _ in range(2)]
    for source in sources:
        if views[0].size == 0:  # nothing can be written
            return
        shares = np.may_share_memory(source.data, views[0].data)
        used = {"view": views[1], "source": source, "another view": views[1]}[recorded]
        y = mg.Tensor(np.ones(used.shape), requires_grad=True) * used
        for written in {"view": [source, views[1]], "source": [source, views[0]], "another view": [views[0]]}[recorded]:
            if shares or written is used:
                with pytest.raises(RuntimeError, match="share memory"):
                    written[...] = 5.0
            else:
                written[...] = 5.0
        assert y.requires_grad


def test_a_constant_that_an_operator_returns_as_it_is_is_locked_with_it():
    @mg.operator
    def same(c, /):
        return c

    for first, second in [(0, 1), (1, 0)]:
        c = mg.Tensor(np.ones(2))
        pair = c, same(c)
        assert pair[0].data is pair[1].data
        y = leaf_of(1.0, 2.0) * pair[first]
        with pytest.raises(RuntimeError, match="share memory"):
            pair[second][0] = 5.0
        assert y.requires_grad


def test_a_view_of_what_is_on_the_tape_is_locked():
    """Also if it was made without recording."""
    x = leaf_of(1.0, 2.0)
    y = x * x
    with mg.no_grad():
        views = [x.reshape(2, 1), y.reshape(2, 1).reshape(-1)]
    for view in views:
        with pytest.raises(RuntimeError, match="share memory"):
            view[0] = 5.0


def test_a_constant_that_passes_through_a_vector_product_is_locked():
    """The product makes a matrix of it first: the tape holds a view."""
    x, c = leaf_of(1.0, 2.0), mg.Tensor(np.array([3.0, 4.0]))
    y = x @ c
    with pytest.raises(RuntimeError, match="share memory"):
        c[0] = 5.0
    assert mg.grad(y, x)[0].tolist() == [3.0, 4.0]


def test_views_stay_free_while_nothing_is_recorded_and_after_new_data():
    c = mg.Tensor(np.zeros(2))
    view = c.reshape(2, 1)
    view[0], c[1] = 5.0, 6.0
    assert c.tolist() == view.reshape(-1).tolist() == [5.0, 6.0]
    c.data = np.zeros(2)
    y = leaf_of(1.0, 2.0) * view.reshape(2)
    c[0] = 7.0  # other memory
    with pytest.raises(RuntimeError, match="share memory"):
        view[0] = 5.0
    assert y.tolist() == [5.0, 12.0]
