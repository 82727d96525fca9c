"""The contract of the tape: what is recorded, kept and released, and what is refused."""

import gc
import threading
import weakref

import numpy as np
import pytest

import minigrad as mg
from minigrad.autograd.tape import state


def leaf(*values, dtype="float64"):
    return mg.Tensor(np.array(values, dtype), requires_grad=True)


def kept_by(tensor):
    """Name what the entry of a result keeps."""
    return {name for name, value in tensor._node.named().items() if isinstance(value, np.ndarray)}


# What is kept ----------------------------------------------------------------------------------


def test_a_rule_asks_by_name_and_only_for_gradients_that_are_wanted():
    x, w, c = leaf(1.0, 2.0), leaf(3.0, 4.0), np.array([5.0, 6.0])
    assert kept_by(x * w) == {"a", "b"}
    assert kept_by(x * c) == {"b"}
    assert kept_by(c * x) == {"a"}
    assert kept_by(x + w) == set()
    assert kept_by(mg.exp(x)) == {"out"}
    assert kept_by(mg.log(x)) == {"x"}
    assert kept_by(mg.sum(x)) == set()


def test_batch_norm_keeps_its_input_and_not_the_normalised_one():
    x, gamma, beta = leaf(*range(6)).reshape(3, 2), leaf(1.0, 2.0), leaf(0.0, 0.0)
    out = mg.batch_norm(x, gamma, beta, np.zeros(2), np.ones(2), training=True)
    large = {name for name in kept_by(out) if out._node.named()[name].size > 2}
    assert large == {"x"}
    assert out._node.named()["x"] is x.data


def test_gradients_nobody_wants_are_not_computed():
    asked = []

    @mg.operator
    def product(a, b, /):
        return a * b

    @product.vjp
    def _(g, a, b, *, need):
        asked.append(need)
        return g * b if need[0] else None, g * a if need[1] else None

    x, w = leaf(2.0), leaf(3.0)
    product(x, np.array([3.0])).sum().backward()
    y = product(x, w)
    mg.grad(y.sum(), w)
    assert asked == [(True, False), (False, True)]


def test_grad_walks_only_what_leads_to_the_input():
    def refuse(g):
        raise AssertionError("this rule was not needed")

    @mg.operator
    def trap(x, /):
        return x * 1.0

    trap.vjp(refuse)
    x, z = leaf(2.0), leaf(3.0)
    (dx,) = mg.grad((x * trap(z)).sum(), x)
    assert dx.item() == 3.0


def test_settings_can_be_positional_or_named():
    x = leaf(1.0, 2.0)
    assert mg.sum(x, 0, True).shape == mg.sum(x, axis=0, keepdims=True).shape == (1,)
    mg.sum(x, 0, True).backward()


def test_differentiable_parameters_can_be_named():
    @mg.operator
    def scaled(x, w, b=None, /, factor=1.0):
        return x * w * factor if b is None else x * w * factor + b

    scaled.vjp(lambda g, w, factor: g * w * factor, lambda g, x, factor: g * x * factor, lambda g: g)
    x, w, b = leaf(2.0), leaf(3.0), leaf(4.0)
    scaled(x, w=w, b=b, factor=2.0).backward()
    assert (x.grad.item(), w.grad.item(), b.grad.item()) == (6.0, 4.0, 1.0)


def test_nothing_is_recorded_without_a_leaf_or_under_no_grad():
    x, c = leaf(1.0), mg.Tensor([1.0])
    assert not (c * c).requires_grad
    with mg.no_grad():
        assert not (x * x).requires_grad
    assert (x * x).requires_grad
    with pytest.raises(ZeroDivisionError), mg.no_grad():
        raise ZeroDivisionError
    assert (x * x).requires_grad


def test_flags_are_of_the_thread():
    x, seen = leaf(1.0), []
    with mg.no_grad(), mg.detect_anomaly():
        thread = threading.Thread(target=lambda: seen.extend([(x * x).requires_grad, state.mode.anomaly]))
        thread.start()
        thread.join()
    assert seen == [True, False]


# When it is freed ------------------------------------------------------------------------------


def watched(tensor):
    return weakref.ref(tensor._node)


def test_a_dropped_graph_is_freed_at_once():
    gc.disable()
    try:
        x = leaf(1.0, 2.0)
        y = mg.exp(x)
        entry, last = watched(y), (y * y).sum()
        del y
        assert entry() is not None
        del last
        assert entry() is None
    finally:
        gc.enable()


def test_an_entry_does_not_hold_the_tensors_it_was_made_of():
    x = leaf(1.0, 2.0)
    middle = x + 1.0
    reference = weakref.ref(middle)
    y = middle + 1.0
    del middle
    assert reference() is None
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.data, [1.0, 1.0])


def test_entries_are_released_as_they_are_used():
    x, alive = leaf(1.0, 2.0), []

    @mg.operator
    def look(x, /):
        return x * 1.0

    look.vjp(lambda g: (alive.append(entry() is not None and entry().kept is not None), g)[1])
    y = mg.exp(look(x))
    entry = watched(y)
    y.sum().backward()
    assert alive == [False]  # exp, which comes after look, had been released when look's rule ran


def test_a_released_tape_is_refused_by_name():
    x = leaf(1.0, 2.0)
    y = mg.exp(x)
    loss = y.sum()
    loss.backward()
    with pytest.raises(RuntimeError, match="sum: the tape was released.*retain_graph=True"):
        loss.backward()
    with pytest.raises(RuntimeError, match="exp: the tape was released"):
        mg.grad((y * y).sum(), x)


def test_retain_graph_keeps_it():
    x = leaf(1.0, 2.0)
    loss = (x * x).sum()
    loss.backward(retain_graph=True)
    loss.backward()
    np.testing.assert_array_equal(x.grad.data, [4.0, 8.0])


# Structure -------------------------------------------------------------------------------------


def test_diamonds_are_walked_once_per_entry():
    calls = []

    @mg.operator
    def counted(x, /):
        return x * 1.0

    counted.vjp(lambda g: (calls.append(1), g)[1])
    x = y = leaf(1.0)
    for _ in range(50):  # 2 ** 50 paths
        y = counted(y)
        y = y * 0.5 + y * 0.5
    y.backward()
    assert len(calls) == 50
    assert x.grad.item() == 1.0


def test_the_same_input_twice():
    x = leaf(3.0)
    (x * x).backward()
    assert x.grad.item() == 6.0

    @mg.operator
    def fused(a, b, /):
        return a * a * b

    fused.vjp(lambda g, a, b, need: (g * 2 * a * b, g * a * a))
    fused.twin(lambda a, b: a * a * b)
    mg.gradgradcheck(lambda x: fused(x, x), [np.array([1.5])])  # x ** 3


def test_a_chain_of_10_000_operators():
    x = y = leaf(1.0)
    for _ in range(10_000):
        y = y + 1.0
    y.backward()
    assert x.grad.item() == 1.0
    y = x
    for _ in range(10_000):
        y = y * 1.0
    (dx,) = mg.grad(y, x, create_graph=True)
    assert dx.item() == 1.0


def test_gradients_of_results_in_between():
    x = leaf(2.0)
    y = x * x
    z = y * y
    dy, dx = mg.grad(z, [y, x])
    assert (dy.item(), dx.item()) == (8.0, 32.0)
    assert x.grad is None
    assert mg.grad(x * 1.0, [x])[0].item() == 1.0
    y = x * x
    assert mg.grad(y, y)[0].item() == 1.0


def test_an_input_that_is_named_twice():
    x = leaf(2.0)
    a, b = mg.grad(x * x + x * 3.0, [x, x])
    assert a.item() == b.item() == 7.0
    assert not np.shares_memory(a.data, b.data)


def test_what_grad_does_not_take():
    x = leaf(2.0)
    for outputs, inputs in [(3.0, x), (x * x, None), (x * x, np.ones(1)), ([x * x, None], x)]:
        with pytest.raises(TypeError, match="grad: expected (outputs|inputs) to be a Tensor or a sequence"):
            mg.grad(outputs, inputs)
    with pytest.raises(ValueError, match="a gradient for each of 2 outputs, got 1"):
        mg.grad([x * x, x * 2.0], x, np.ones(1))


def test_several_outputs():
    x = leaf(2.0)
    (dx,) = mg.grad([x * 3.0, x * x], x, [None, np.array([10.0])])
    assert dx.item() == 43.0


# Accumulation ----------------------------------------------------------------------------------


def test_grad_adds_up_over_calls():
    x = leaf(1.0, 2.0)
    for _ in range(2):
        (x * 3.0).sum().backward()
    np.testing.assert_array_equal(x.grad.data, [6.0, 6.0])


def test_no_two_gradients_share_memory():
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    g = np.array([1.0, -1.0])
    (a + b).backward(g)
    arrays = [a.grad.data, b.grad.data, g]
    assert not any(np.shares_memory(p, q) for i, p in enumerate(arrays) for q in arrays[:i])
    da, db = mg.grad(a + b, [a, b], g)
    da.data[...] = 0
    np.testing.assert_array_equal(db.data, g)
    np.testing.assert_array_equal(g, [1.0, -1.0])


def test_in_place_sums_do_not_reach_what_is_borrowed():
    """X receives three gradients; the first is the cotangent of y, which other rules still use."""
    x = leaf(1.0, 2.0)
    y = x * 1.0
    z = (y + x) + (x + y * 3.0)
    (dz, dx) = mg.grad(z.sum(), [z, x])
    np.testing.assert_array_equal(dz.data, [1.0, 1.0])
    np.testing.assert_array_equal(dx.data, [6.0, 6.0])


def test_an_error_on_the_way_leaves_grad_alone():
    @mg.operator
    def broken(x, /):
        return x * 1.0

    broken.vjp(lambda g: g / [][0])
    x = leaf(1.0)
    with pytest.raises(IndexError):
        (x + broken(x)).backward()
    assert x.grad is None


def test_create_graph_with_backward():
    x = leaf(2.0)
    (x**3).backward(create_graph=True)
    gradient, x.grad = x.grad, None
    assert gradient.item() == 12.0
    gradient.backward()
    assert x.grad.item() == 12.0
    x.grad = None
    (mg.exp(x) ** 3).backward(create_graph=True)  # the gradient needs what exp keeps
    gradient, x.grad = x.grad, None
    gradient.backward()
    np.testing.assert_allclose(x.grad.data, 9 * np.exp(6.0), rtol=1e-12)


def test_third_order():
    x = leaf(0.7)
    y = mg.exp(x) * mg.tanh(x)
    values = []
    for _ in range(3):
        (y,) = mg.grad(y, x, create_graph=True)
        values.append(y.item())
    e, t = np.exp(0.7), np.tanh(0.7)
    s = 1 - t * t
    expected = [e * (t + s), e * (t + 2 * s - 2 * t * s), e * (t + 3 * s - 6 * t * s - 2 * s * s + 4 * t * t * s)]
    np.testing.assert_allclose(values, expected, rtol=1e-12)


def test_create_graph_records_within_no_grad():
    x = leaf(2.0)
    y = x * x
    with mg.no_grad():
        (dx,) = mg.grad(y, x, create_graph=True)
    assert dx.requires_grad


def test_a_saved_array_is_never_silently_detached():
    @mg.operator
    def square(x, /):
        return x * x, {"double": 2 * x}

    square.vjp(lambda g, double: g * double)
    x = leaf(3.0)
    assert mg.grad(square(x), x)[0].item() == 6.0
    with pytest.raises(RuntimeError, match="square: its rule uses 'double'.*plain twin"):
        mg.grad(square(x), x, create_graph=True)


# Hooks -----------------------------------------------------------------------------------------


def test_hooks_see_the_complete_gradient_and_may_replace_it():
    x, seen = leaf(1.0, 2.0), []
    y = x * 2.0
    y.hook(lambda g: seen.append(g.data.copy()))
    x.hook(lambda g: g * 10.0)
    (y + y).sum().backward()
    np.testing.assert_array_equal(seen, [[2.0, 2.0]])
    np.testing.assert_array_equal(x.grad.data, [40.0, 40.0])
    with pytest.raises(RuntimeError, match="hook: this Tensor requires no gradient"):
        mg.Tensor([1.0]).hook(print)
    x.hook(lambda g: mg.Tensor([1.0]))
    with pytest.raises(ValueError, match=r"hook: expected None or a Tensor of \(2,\) float64"):
        (x * 1.0).sum().backward()


# Errors ----------------------------------------------------------------------------------------


def test_a_gradient_to_start_from():
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match=r"backward: an output of shape \(2,\) needs a gradient"):
        (x * x).backward()
    with pytest.raises(RuntimeError, match=r"grad: an output of shape \(2,\) needs a gradient"):
        mg.grad(x * x, x)
    with pytest.raises(ValueError, match=r"backward: expected a gradient of \(2,\) float64, got \(3,\) float64"):
        (x * x).backward(np.ones(3))
    with pytest.raises(ValueError, match=r"got \(2,\) float32"):
        (x * x).backward(np.ones(2, "float32"))
    with pytest.raises(ValueError, match="a gradient for each of 1 outputs, got 2"):
        mg.grad(x * x, x, [None, None])


def test_nothing_recorded():
    with pytest.raises(RuntimeError, match="backward: nothing was recorded"):
        mg.Tensor([1.0]).backward()
    with pytest.raises(RuntimeError, match=r"grad: inputs\[0\] of shape \(1,\) requires no gradient"):
        mg.grad(leaf(1.0), mg.Tensor([1.0]))


def test_an_unreached_input():
    x, z = leaf(1.0), leaf(2.0, 3.0)
    with pytest.raises(RuntimeError, match=r"grad: inputs\[1\] of shape \(2,\) is not reached"):
        mg.grad(x * x, [x, z])


def test_integers_have_no_gradient():
    with pytest.raises(TypeError, match="only floating-point data can require a gradient, got int64"):
        mg.Tensor([1, 2], requires_grad=True)
    with pytest.raises(TypeError, match="got bool"):
        mg.Tensor(np.array([True])).requires_grad = True


def test_mixed_dtypes():
    single, double = leaf(1.0, dtype="float32"), leaf(1.0)
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


def test_a_tensor_is_not_a_setting():
    x, labels = leaf(1.0, 2.0), mg.Tensor(np.array([0]))
    with pytest.raises(TypeError, match="getitem: index is a setting.*index=tensor.data"):
        x[labels]
    with pytest.raises(TypeError, match="getitem: index is a setting"):
        x.reshape(1, 2)[0, labels]
    with pytest.raises(TypeError, match="cross_entropy: labels is a setting"):
        mg.cross_entropy(x.reshape(1, 2), labels)


def test_numpy_scalars_as_settings_do_not_promote():
    x = leaf(1.0, 2.0, dtype="float32")
    assert mg.clip(x, np.float64(0.0), np.float64(1.0)).dtype == np.float32
    norm = mg.nn.BatchNorm2d(1, eps=np.float64(1e-5), momentum=np.float64(0.1))
    norm(x.reshape(2, 1)).sum().backward()
    assert norm.gamma.grad.dtype == np.float32


def test_array_settings_are_constants_in_every_order():
    condition = np.array([1.0, 0.0])
    mg.gradgradcheck(lambda x: mg.where(condition != 0, x * x, 0.0), [np.array([3.0, 4.0])])
    x = leaf(3.0, 4.0)
    (dx,) = mg.grad(mg.where(condition, x * x, 0.0).sum(), x, create_graph=True)
    np.testing.assert_array_equal(dx.data, [6.0, 0.0])


def test_unknown_settings_and_too_many_arguments():
    x = leaf(1.0)
    with pytest.raises(TypeError, match=r"sum: expected sum\(x.*axis.*keepdims"):
        mg.sum(x, dim=0)
    with pytest.raises(TypeError, match=r"exp: expected exp\(x"):
        mg.exp(x, x, x)
    with pytest.raises(TypeError, match=r"mul: expected mul\(a"):
        mg.mul(x)


def test_writing_into_a_recorded_tensor():
    x = leaf(1.0, 2.0)
    for tensor in (x, x * 2.0):
        with pytest.raises(RuntimeError, match="cannot be written into"):
            tensor[0] = 5.0
    plain = mg.Tensor([1.0, 2.0])
    plain[0] = 5.0
    assert plain.data[0] == 5.0


def test_writing_what_the_tape_holds():
    """A constant that an operator has recorded, and a value that wants a gradient."""
    constant, w = mg.Tensor(np.array([1.0, 2.0])), leaf(3.0, 4.0)
    y = (constant * w).sum()
    with pytest.raises(RuntimeError, match="an operator has recorded"):
        constant[0] = 100.0
    y.backward()
    np.testing.assert_array_equal(w.grad.data, [1.0, 2.0])
    once_a_leaf, w.grad = leaf(1.0, 2.0), None
    y = (once_a_leaf * w).sum()
    once_a_leaf.requires_grad = False
    with pytest.raises(RuntimeError, match="an operator has recorded"):
        once_a_leaf[0] = 100.0
    free = mg.Tensor(np.zeros(2))
    with pytest.raises(RuntimeError, match="cannot be written into another"):
        free[0] = w[0]


def test_augmented_assignment_rebinds():
    x = y = leaf(1.0)
    y += 2.0
    assert x.item() == 1.0
    assert y.item() == 3.0
    y.backward()
    assert x.grad.item() == 1.0


def test_rules_that_give_the_wrong_shape_or_dtype_are_named():
    @mg.operator
    def double(x, /):
        return x * 2

    double.vjp(lambda g: g.sum())
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match=r"double: its rule gave a gradient of \(\) float64 for x, which has \(2,\)"):
        double(x).sum().backward()
    double.vjp(lambda g: g.astype("float32"))
    with pytest.raises(RuntimeError, match=r"gradient of \(2,\) float32 for x, which has \(2,\) float64"):
        double(x).sum().backward()
    double.vjp(lambda g: None)
    with pytest.raises(RuntimeError, match="double: its rule gave a gradient of NoneType for x"):
        double(x).sum().backward()
    double.vjp(lambda g, missing: g)
    with pytest.raises(TypeError, match="double: a rule asks for 'missing'; expected one of"):
        double(x)

    @mg.elementwise
    def stretched(a, b, /):
        return a * b

    stretched.vjp(lambda g, b: np.ones(5), lambda g, a: g * a)
    with pytest.raises(RuntimeError, match=r"stretched: its rule gave a gradient of \(5,\) float64 for a"):
        stretched(x, x).sum().backward()


def test_rules_are_checked_when_they_are_given():
    @mg.operator
    def product(a, b, /):
        return a * b

    with pytest.raises(TypeError, match="product: has no rules, but a gradient is wanted"):
        product(leaf(1.0), leaf(2.0))
    with pytest.raises(TypeError, match="product.vjp: expected a rule for each of"):
        product.vjp(lambda g, b: g * b)
    with pytest.raises(TypeError, match="product.vjp: expected a rule for each of"):
        product.vjp(lambda g, b, need: g * b, lambda g, a: g * a)


def test_shapes_that_do_not_broadcast():
    with pytest.raises(ValueError, match=r"add: shapes \(2,\) and \(3,\) do not broadcast"):
        leaf(1.0, 2.0) + leaf(1.0, 2.0, 3.0)
    with pytest.raises(ValueError, match=r"reshape: .*shape \(2,\)"):
        leaf(1.0, 2.0).reshape(3)


def test_detect_anomaly_names_the_operator():
    x = leaf(-1.0, 2.0)
    with mg.detect_anomaly(), np.errstate(invalid="ignore", divide="ignore"):
        with pytest.raises(FloatingPointError, match="sqrt: made the first NaN.*its inputs held none"):
            mg.exp(mg.sqrt(x))
        with pytest.raises(FloatingPointError, match="exp: .*its inputs held NaNs already"):
            mg.exp(leaf(np.nan))
        y = mg.sqrt(leaf(0.0))
        with pytest.raises(FloatingPointError, match="sqrt: its rule made the first NaN"):
            (y * 0.0).backward()


# Tensor ----------------------------------------------------------------------------------------


def test_what_a_tensor_takes():
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


def test_numpy_does_not_swallow_a_tensor():
    x = leaf(1.0, 2.0)
    assert isinstance(np.array([1.0, 2.0]) * x, mg.Tensor)
    with pytest.raises(TypeError, match="not silently taken for an array"):
        np.asarray(x)
    with pytest.raises(TypeError):
        np.add(x, 1.0)


def test_comparisons_give_booleans_and_hashing_is_by_identity():
    x, y = leaf(1.0, 2.0), leaf(1.0, 3.0)
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


def test_python_numbers():
    x = mg.Tensor([[2.5]])
    assert (float(x), int(x), bool(x), x.item()) == (2.5, 2, True, 2.5)
    with pytest.raises(ValueError, match="item: expected a Tensor with one element"):
        mg.Tensor([1.0, 2.0]).item()
    assert [t.item() for t in mg.Tensor([1.0, 2.0])] == [1.0, 2.0]
    with pytest.raises(TypeError, match="no axes"):
        len(mg.Tensor(1.0))


def test_methods_and_python_operators():
    x = leaf(1.0, 2.0, 3.0, 4.0).reshape(2, 2)
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


def test_rebinding_data_is_safe():
    x = leaf(1.0, 2.0)
    y = x * x
    x.data = np.array([100.0, 100.0])
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.data, [2.0, 4.0])
    with pytest.raises(TypeError, match="requires a gradient, which int64 cannot have"):
        x.data = np.array([1, 2])
    with pytest.raises(ValueError, match="nested lists of unequal lengths"):
        mg.Tensor([[1.0], [1.0, 2.0]])
    x.data = np.zeros(3)  # another shape: the old gradient does not fit
    assert x.grad is None
    assert x.requires_grad


def test_grad_can_be_set_on_leaves_only():
    x = leaf(1.0, 2.0)
    x.grad = mg.Tensor(np.ones(2))
    with pytest.raises(ValueError, match=r"grad: expected \(2,\) float64"):
        x.grad = mg.Tensor([1.0])
    with pytest.raises(RuntimeError, match="only a Tensor made with requires_grad=True"):
        (x * 1.0).grad = mg.Tensor(np.ones(2))
    (x * 1.0).grad = None  # nothing to forget
    x.requires_grad = False
    assert not (x * 1.0).requires_grad
    with pytest.raises(RuntimeError, match="the result of an operator"):
        (leaf(1.0) * 1.0).requires_grad = False


def test_repr():
    assert repr(mg.Tensor([1.0])) == "Tensor([1.])"
    assert repr(leaf(1.0)) == "Tensor([1.], dtype=float64, requires_grad=True)"


def test_devices_by_name():
    x = mg.Tensor([1.0])
    assert x.device == "cpu"
    assert x.to("cpu") is x
    with pytest.raises(RuntimeError, match="to: the result of an operator cannot be moved"):
        (leaf(1.0) * 2.0).to("cpu")
    with pytest.raises(ValueError, match='expected a device "cpu", "cuda" or "cuda:1", got \'gpu\''):
        x.to("gpu")
