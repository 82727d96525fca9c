"""The replay in reverse: backward, grad, accumulation, higher orders, hooks, anomalies."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import minigrad as mg
from tests.records.draw import randn
from tests.tools.compare import leaf_of

# Where a replay goes --------------------------------------------------------------------------


def test_diamonds_are_walked_once_per_entry():
    calls = []

    @mg.operator
    def counted(x, /):
        return x * 1.0

    counted.vjp(lambda g: (calls.append(1), g)[1])
    x = y = leaf_of(1.0)
    for _ in range(50):  # 2 ** 50 paths
        y = counted(y)
        y = y * 0.5 + y * 0.5
    y.backward()
    assert len(calls) == 50
    assert x.grad.item() == 1.0


def test_grad_walks_diamonds_once():
    x = y = leaf_of(1.0)
    for _ in range(50):  # 2 ** 50 paths
        y = y * 0.5 + y * 0.5
    assert mg.grad(y, x)[0].item() == 1.0

    def refuse(g):
        raise AssertionError("this rule was not needed")

    @mg.operator
    def trap(x, /):
        return x * 1.0

    trap.vjp(refuse)
    z = leaf_of(2.0)
    assert mg.grad(x * trap(trap(z)), x)[0].item() == 2.0


def test_grad_walks_only_what_leads_to_the_input():
    def refuse(g):
        raise AssertionError("this rule was not needed")

    @mg.operator
    def trap(x, /):
        return x * 1.0

    trap.vjp(refuse)
    x, z = leaf_of(2.0), leaf_of(3.0)
    (dx,) = mg.grad((x * trap(z)).sum(), x)
    assert dx.item() == 3.0


def test_grad_in_a_result_leaves_the_tape_before_it_alone():
    """What made the input is not on the way to it: it is neither replayed nor released."""
    x = leaf_of(1.0, 2.0)
    y = mg.exp(x)
    assert_allclose(mg.grad((y * y).sum(), y)[0].data, 2 * y.data)
    assert_allclose(mg.grad(y.sum(), x)[0].data, y.data)


def test_the_same_input_twice_gets_both_gradients():
    x = leaf_of(3.0)
    (x * x).backward()
    assert x.grad.item() == 6.0

    @mg.operator
    def fused(a, b, /):
        return a * a * b

    fused.vjp(lambda g, a, b, need: (g * 2 * a * b, g * a * a))
    fused.twin(lambda a, b: a * a * b)
    mg.gradgradcheck(lambda x: fused(x, x), [np.array([1.5])])  # x ** 3


def test_a_chain_of_10_000_operators_needs_no_recursion():
    x = y = leaf_of(1.0)
    for _ in range(10_000):
        y = y + 1.0
    y.backward()
    assert x.grad.item() == 1.0
    y = x
    for _ in range(10_000):
        y = y * 1.0
    (dx,) = mg.grad(y, x, create_graph=True)
    assert dx.item() == 1.0


# What grad takes and gives --------------------------------------------------------------------


def test_an_input_that_is_named_twice_gets_two_arrays_of_a_sum_as_well():
    x = leaf_of(1.0, 2.0)
    a, b = mg.grad((x * 2.0 + x * 3.0).sum(), [x, x])  # a sum: an array of the replay's own
    assert not np.shares_memory(a.data, b.data)
    np.testing.assert_array_equal(a.data, b.data)


def test_gradients_to_start_from_come_in_a_list_a_tuple_or_not_at_all():
    x, g = leaf_of(1.0, 2.0), np.array([1.0, -1.0])
    for starts in ([g, 2 * g], (g, 2 * g)):
        assert_allclose(mg.grad([x * 2.0, x * 3.0], x, starts)[0].data, 8.0 * g)
    y = x.sum()
    assert_allclose(mg.grad([y * 2.0, y * 3.0], x)[0].data, [5.0, 5.0])
    with pytest.raises(ValueError, match="a gradient for each of 2 outputs, got 1"):
        mg.grad([x * 2.0, x * 3.0], x, g)


def test_the_gradient_to_start_from_must_fit_the_output():
    x = leaf_of(1.0, 2.0)
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


def test_a_number_of_numpys_or_a_dict_is_no_gradient_to_start_from():
    x = leaf_of(1.0, 2.0)
    for given in ({}, {"x": 1.0}, iter([1.0])):
        with pytest.raises(ValueError, match=r"^grad: expected a gradient of \(2,\) float64, got "):
            mg.grad(x * x, x, given)
    for y in (x * x, (x * x).sum()):
        for call in (y.backward, lambda g, y=y: mg.grad(y, x, g), lambda g, y=y: mg.grad([y], x, [g])):
            with pytest.raises(ValueError, match=r"expected a gradient of .* float64, got np\.float64\(1\.0\)"):
                call(np.float64(1.0))


def test_a_gradient_to_start_from_may_be_of_a_class_derived_from_numpys(tmp_path):
    """As a file that is mapped into memory: it counts as the array that it is, as an argument does."""
    x = leaf_of(1.0, 2.0)
    g = np.memmap(tmp_path / "g", "float64", "w+", shape=2)
    g[:] = [3.0, 4.0]
    for create_graph in (False, True):
        (dx,) = mg.grad(x * x, x, g, create_graph=create_graph)
        assert_allclose(dx.data, [6.0, 16.0])
        assert type(dx.data) is np.ndarray
    masked = np.ma.masked_array([1.0, 2.0], [False, True])
    with pytest.raises(TypeError, match="grad: expected an array without a mask"):
        mg.grad(x * x, x, masked)


def test_grad_refuses_what_is_no_tensor():
    x = leaf_of(2.0)
    for outputs, inputs in [(3.0, x), (x * x, None), (x * x, np.ones(1)), ([x * x, None], x)]:
        with pytest.raises(TypeError, match="grad: expected (outputs|inputs) to be a Tensor or a sequence"):
            mg.grad(outputs, inputs)
    with pytest.raises(ValueError, match="a gradient for each of 2 outputs, got 1"):
        mg.grad([x * x, x * 2.0], x, np.ones(1))


def test_grad_and_backward_refuse_numbers():
    x = leaf_of(1.0)
    for outputs, inputs, name in [([1.0], x, "outputs"), (3.0, x, "outputs"), (x * 1.0, [None], "inputs")]:
        with pytest.raises(TypeError, match=f"grad: expected {name} to be a Tensor or a sequence of Tensors"):
            mg.grad(outputs, inputs)
    with pytest.raises(TypeError, match="backward: expected grad to be a Tensor or an array or None, got 1.0"):
        (x * 1.0).backward(1.0)


def test_outputs_and_inputs_that_were_not_recorded_are_refused():
    with pytest.raises(RuntimeError, match="backward: nothing was recorded"):
        mg.Tensor([1.0]).backward()
    with pytest.raises(RuntimeError, match=r"grad: inputs\[0\] of shape \(1,\) requires no gradient"):
        mg.grad(leaf_of(1.0), mg.Tensor([1.0]))


def test_an_input_that_is_not_reached_is_named():
    x, z = leaf_of(1.0), leaf_of(2.0, 3.0)
    with pytest.raises(RuntimeError, match=r"grad: inputs\[1\] of shape \(2,\) is not reached"):
        mg.grad(x * x, [x, z])


# Accumulation ---------------------------------------------------------------------------------


def test_no_two_gradients_share_memory():
    a, b = leaf_of(1.0, 2.0), leaf_of(3.0, 4.0)
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
    x = leaf_of(1.0, 2.0)
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
    x = leaf_of(1.0)
    with pytest.raises(IndexError):
        (x + broken(x)).backward()
    assert x.grad is None


# Higher orders --------------------------------------------------------------------------------


def test_backward_records_the_gradient_under_create_graph():
    x = leaf_of(2.0)
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


def test_third_order_gradients():
    x = leaf_of(0.7)
    y = mg.exp(x) * mg.tanh(x)
    values = []
    for _ in range(3):
        (y,) = mg.grad(y, x, create_graph=True)
        values.append(y.item())
    e, t = np.exp(0.7), np.tanh(0.7)
    s = 1 - t * t
    expected = [e * (t + s), e * (t + 2 * s - 2 * t * s), e * (t + 3 * s - 6 * t * s - 2 * s * s + 4 * t * t * s)]
    np.testing.assert_allclose(values, expected, rtol=1e-12)


# Hooks ----------------------------------------------------------------------------------------


def test_hooks_see_the_complete_gradient_and_may_replace_it():
    x, seen = leaf_of(1.0, 2.0), []
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


def test_what_a_hook_computes_is_recorded_with_the_rest():
    """Also where the gradient to start from is a plain array."""
    x = leaf_of(3.0)
    y = x * 2.0
    y.hook(lambda g: g * x)
    (dx,) = mg.grad(y, x, np.array([1.0]), create_graph=True)
    assert dx.item() == 6.0
    assert mg.grad(dx, x)[0].item() == 2.0


def test_a_gradient_is_not_the_array_that_a_hook_has_seen_or_given():
    held = []
    for hook in (held.append, lambda g: (held.append(g * 10.0), held[-1])[1]):
        x = leaf_of(1.0, 2.0)
        x.hook(hook)
        (x * 2.0 + x * 3.0).sum().backward()  # two gradients: their sum is the replay's own
        assert not np.shares_memory(x.grad.data, held[-1].data)


@pytest.mark.parametrize("given", [3.0, np.ones(2), mg.Tensor(np.ones(1)), mg.Tensor(np.ones(2, "float32"))])
def test_a_hook_that_gives_something_else_is_refused(given):
    x = leaf_of(1.0, 2.0)
    x.hook(lambda g: given)
    with pytest.raises(ValueError, match=r"hook: expected None or a Tensor of \(2,\) float64"):
        (x * 2.0).sum().backward()


def test_a_hook_hands_an_array_to_a_rule_that_works_on_arrays():
    x, w = (mg.Tensor(randn(*shape), requires_grad=True) for shape in [(1, 3, 3, 1), (2, 2, 1, 1)])
    out = mg.conv2d(x, w)
    g = randn(*out.shape)
    expected = mg.grad(mg.conv2d(x, w), [x, w], 10.0 * g)
    out.hook(lambda g: g * 10.0)
    for a, b in zip(mg.grad(out, [x, w], g), expected, strict=True):
        assert_allclose(a.data, b.data, rtol=1e-12)


# Anomalies ------------------------------------------------------------------------------------


def test_detect_anomaly_names_the_operator():
    x = leaf_of(-1.0, 2.0)
    with mg.detect_anomaly(), np.errstate(invalid="ignore", divide="ignore"):
        with pytest.raises(FloatingPointError, match="sqrt: made the first NaN.*its inputs held none"):
            mg.exp(mg.sqrt(x))
        with pytest.raises(FloatingPointError, match="exp: .*its inputs held NaNs already"):
            mg.exp(leaf_of(np.nan))
        y = mg.sqrt(leaf_of(0.0))
        with pytest.raises(FloatingPointError, match="sqrt: its rule made the first NaN"):
            (y * 0.0).backward()


def test_detect_anomaly_takes_numbers_and_masks_among_the_arguments():
    with mg.detect_anomaly(), np.errstate(invalid="ignore"):
        with pytest.raises(FloatingPointError, match="pow: made the first NaN.*its inputs held none"):
            leaf_of(-1.0) ** 0.5
        with pytest.raises(FloatingPointError, match="mul: made the first NaN.*its inputs held none"):
            leaf_of(np.inf, 1.0) * np.array([False, True])
