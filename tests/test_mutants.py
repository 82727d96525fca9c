"""What a mutation run found unnoticed: each test says which slip the rest of the suite would have let through.

See tests/tools/mutation.py. A change of a sign, constant, condition or statement that no other test noticed is noticed here.
"""

import weakref

import numpy as np
import pytest
from numpy.testing import assert_allclose

import minigrad as mg
from minigrad import ops
from minigrad.autograd.operator import Operator
from minigrad.kernels import blocks, products
from minigrad.ops import conv, norm, pixels, pool
from tests.samples import conv2d_by_loops, every_sample
from tests.tools.strict import count_syncs, strict


def leaf(*values, dtype="float64"):
    return mg.Tensor(np.array(values, dtype), requires_grad=True)


def randn(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


# Work that nobody asked for ----------------------------------------------------------------------


@pytest.mark.parametrize(("name", "sample"), [p for p in every_sample() if len(p.values[1].inputs) > 1])
def test_each_gradient_alone_is_the_one_among_all_and_the_others_are_not_computed(name, sample, monkeypatch):
    """Frozen weights, an input that is data: rules take shortcuts there, which must give the same, and do less."""
    f, pull = sample.function(name), Operator.pull

    def watched(self, g, need, plan, kept):
        gradients = pull(self, g, need, plan, kept)
        assert [d is not None for d in gradients] == list(need)
        return gradients

    leaves = [mg.Tensor(x, requires_grad=True) for x in sample.inputs]
    out = f(*leaves)
    g = randn(*out.shape)
    together = mg.grad(out, leaves, g)
    monkeypatch.setattr(Operator, "pull", watched)
    for i, expected in enumerate(together):
        inputs = [mg.Tensor(x, requires_grad=i == j) for j, x in enumerate(sample.inputs)]
        (alone,) = mg.grad(f(*inputs), inputs[i], g)
        assert_allclose(alone.data, expected.data, rtol=1e-12, atol=1e-13)
        others = [mg.Tensor(x, requires_grad=i != j) for j, x in enumerate(sample.inputs)]
        rest = [x for x in others if x.requires_grad]
        for a, b in zip(mg.grad(f(*others), rest, g), [*together[:i], *together[i + 1 :]], strict=True):
            assert_allclose(a.data, b.data, rtol=1e-12, atol=1e-13)


def test_batch_norm_that_is_frozen_and_evaluated_adds_nothing_up(monkeypatch):
    monkeypatch.setattr(norm, "_gradient_sums", None)  # calling it would fail
    x = mg.Tensor(randn(4, 3), requires_grad=True)
    out = mg.batch_norm(x, np.ones(3), np.zeros(3), np.zeros(3), np.ones(3), training=False, eps=3.0)
    g = randn(4, 3, seed=1)
    assert_allclose(mg.grad(out, x, g)[0].data, g / 2, rtol=1e-12)


def test_running_statistics_move_from_where_they_are():
    """And by how much: from zeros, what is left of the old ones would not show."""
    x = randn(5, 4, 3)
    for momentum in (0.1, 0.75):
        mean, var = randn(3, seed=1), randn(3, seed=2) ** 2
        expected_mean = (1 - momentum) * mean + momentum * x.mean((0, 1))
        expected_var = (1 - momentum) * var + momentum * x.var((0, 1), ddof=1)
        given = {} if momentum == 0.1 else {"momentum": momentum}  # 0.1 is the default
        mg.batch_norm(x, np.ones(3), np.zeros(3), mean, var, training=True, **given)
        assert_allclose(mean, expected_mean, rtol=1e-12)
        assert_allclose(var, expected_var, rtol=1e-12)


def test_the_variance_of_neighbouring_numbers():
    """All values are one of two neighbours in float32, so their mean cannot be written down in float32."""
    low = np.float32(1e4)
    x = np.where(np.arange(400) % 4 == 0, np.nextafter(low, np.float32(2e4)), low).reshape(100, 4)[:, [0, 1]]
    x = np.concatenate([x, x[::-1, ::-1]]).astype("float32")
    mean, var = ones(2, dtype="float32"), ones(2, dtype="float32")
    mg.batch_norm(x, mean, mean, mean.copy(), var, training=True, momentum=1.0)
    assert_allclose(var, x.astype("float64").var(0, ddof=1), rtol=1e-5)


def test_what_rounding_took_from_a_mean_is_put_back_in_its_place():
    """Half of the columns of a walk have a mean that is rounded down to one neighbour, half up to the other."""
    low = np.float32(1e4)
    high = np.arange(4)[:, None] < np.where(np.arange(pixels.WIDTH) % 2, 3, 1)  # a quarter, or three quarters
    x = np.where(high, np.nextafter(low, np.float32(2e4)), low).reshape(-1, 1)
    assert pixels.Pixels(x).repeat == pixels.WIDTH
    mean, var = ones(1, dtype="float32"), ones(1, dtype="float32")
    mg.batch_norm(x, mean, mean, mean.copy(), var, training=True, momentum=1.0)
    assert_allclose(var, x.astype("float64").var(0, ddof=1), rtol=1e-5)


def test_statistics_and_gradients_of_several_blocks_are_those_of_the_whole():
    x, gamma = randn(33, 30, 31, 16) + np.arange(33.0).reshape(-1, 1, 1, 1), randn(16, seed=1)
    g = randn(*x.shape, seed=2) + x
    assert len(pixels.Pixels(x).blocks) > 2
    leaves = [mg.Tensor(a, requires_grad=True) for a in (x, gamma, np.zeros(16))]
    statistics = np.zeros(16), np.zeros(16)
    out = mg.batch_norm(*leaves, *statistics, training=True, momentum=1.0)
    axes = (0, 1, 2)
    assert_allclose(statistics[0], x.mean(axes), rtol=1e-12)
    assert_allclose(statistics[1], x.var(axes, ddof=1), rtol=1e-12)
    inv_std = 1 / np.sqrt(x.var(axes) + 1e-5)
    normed = (x - x.mean(axes)) * inv_std
    expected = gamma * inv_std * (g - g.mean(axes) - normed * (g * normed).mean(axes))
    for d, d_expected in zip(mg.grad(out, leaves, g), [expected, (g * normed).sum(axes), g.sum(axes)], strict=True):
        assert_allclose(d.data, d_expected, rtol=1e-9, atol=1e-8)


def test_what_was_used_in_evaluation_is_what_the_gradient_uses():
    """Also where the statistics have moved between forward and backward, in both orders."""
    x, mean, var = mg.Tensor(randn(4, 3), requires_grad=True), randn(3, seed=1), np.full(3, 3.0)
    out = mg.batch_norm(x, np.ones(3), np.zeros(3), mean, var, training=False, eps=1.0)
    mean[...], var[...] = 100.0, 100.0
    g = randn(4, 3, seed=2)
    for create_graph in (False, True):
        (dx,) = mg.grad(out, x, g, retain_graph=True, create_graph=create_graph)
        assert_allclose(dx.data, g / 2, rtol=1e-12)


# Operators and how they are called ---------------------------------------------------------------


def test_none_is_an_argument_only_where_it_may_be_left_out():
    """A setting whose default is None does not make an input optional."""
    with pytest.raises(TypeError, match="sum: expected Tensors, arrays or numbers, got NoneType"):
        mg.sum(None)
    with pytest.raises(TypeError, match="clip: expected Tensors, arrays or numbers, got str"):
        mg.clip("text", 0.0)

    @mg.operator
    def shifted(x, b=None, /):
        return x if b is None else x + b

    shifted.vjp(lambda g: g * 1.0, lambda g: g * 1.0)
    with pytest.raises(TypeError, match="shifted: expected Tensors, arrays or numbers, got str"):
        shifted(leaf(1.0), "text")


def test_an_optional_input_may_be_left_out_beside_a_named_setting():
    @mg.operator
    def scaled(x, w, b=None, /, factor=1.0):
        return x * w * factor if b is None else x * w * factor + b

    scaled.vjp(lambda g, w, factor: g * w * factor, lambda g, x, factor: g * x * factor, lambda g: g * 1.0)
    x, w = leaf(2.0), leaf(3.0)
    y = scaled(x, w, factor=2.0)
    y.backward()
    assert (y.item(), x.grad.item(), w.grad.item()) == (12.0, 6.0, 4.0)


def test_a_numpy_scalar_as_a_setting_or_an_argument_keeps_float32():
    x = mg.Tensor([0.25, 1.0], requires_grad=True)
    assert mg.clip(x, np.float64(0.5)).dtype == np.float32
    mg.clip(x, np.float64(0.5)).sum().backward()
    assert x.grad.dtype == np.float32
    assert (np.float64(2.0) * x * np.float64(2.0)).dtype == np.float32
    assert mg.mul(np.float32(2.0), np.float64(2.0)).dtype == np.float64  # no Tensor: NumPy's own rules


def test_tensors_on_two_devices_are_refused_also_by_an_operator_that_does_not_mix_them():
    @mg.operator
    def first_of(a, b, /):
        return a * 1.0

    here, there = leaf(1.0), mg.Tensor(strict.asarray(np.ones(1)))
    for a, b, names in [(here, there, "cpu and cuda:0"), (there, here, "cuda:0 and cpu")]:
        with pytest.raises(TypeError, match=f"first_of: expected Tensors on one device, got {names}"):
            first_of(a, b)


def test_an_operator_of_three_inputs_and_no_settings():
    @mg.operator
    def fused(a, b, c, /):
        return a * b + c

    fused.vjp(lambda g, b: g * b, lambda g, a: g * a, lambda g: g * 1.0)
    leaves = [leaf(2.0), leaf(3.0), leaf(4.0)]
    y = fused(*leaves)
    y.backward()
    assert [y.item(), *(x.grad.item() for x in leaves)] == [10.0, 3.0, 2.0, 1.0]


def test_any_number_of_arguments_may_differ_from_call_to_call():
    """What is kept where all inputs need gradients is worked out for each number anew."""
    for n in (2, 3, 2):
        leaves = [leaf(float(i)) for i in range(n)]
        mg.concatenate(leaves).backward(g := np.arange(1.0, n + 1))
        assert [x.grad.item() for x in leaves] == g.tolist()


def test_a_dtype_is_the_same_where_it_is_another_object():
    """As that of an array whose bytes were swapped back: looking whether it is the very same is only the fast way."""
    swapped = np.dtype("float64").newbyteorder().newbyteorder()
    assert swapped is not np.dtype("float64")
    x, w = mg.Tensor(np.array([1.0, 2.0]).view(swapped), requires_grad=True), leaf(3.0, 4.0)
    for a, b in [(x, w), (w, x), (x, x)]:
        dx = mg.grad((a * b).sum(), x)[0].data
        np.testing.assert_array_equal(dx, 2 * x.data if a is b else w.data)


def test_an_operator_that_is_given_nothing_says_what_it_takes():
    for operator in (mg.exp, mg.mul, mg.sum, mg.reshape):
        with pytest.raises(TypeError, match=rf"{operator.__name__}: expected {operator.__name__}\(.*got 0 arguments"):
            operator()


def test_a_setting_that_is_missing_or_unknown_is_named():
    with pytest.raises(TypeError, match=r"reshape: expected reshape\(x.*see 'shape'"):
        mg.reshape(leaf(1.0))
    with pytest.raises(TypeError, match=r"exp: expected exp\(x.*see 'base'"):
        mg.exp(leaf(1.0), base=2)
    with pytest.raises(TypeError, match="getitem: index is a setting"):
        leaf(1.0, 2.0)[[mg.Tensor(0), 1]]


def test_tensors_of_two_dtypes_are_refused_in_either_order():
    """The result of float64 and float32 has the dtype of the first: looking at the result is not enough."""
    single, double = leaf(1.0, dtype="float32"), leaf(1.0)
    for a, b in [(single, double), (double, single)]:
        with pytest.raises(TypeError, match="mul: expected one dtype"):
            a * b


def test_rules_and_twins_that_replace_others_may_ask_for_something_else():
    """What is to be kept is worked out once, and again when there are other rules."""

    @mg.operator
    def square(x, /):
        return x * x

    x = leaf(3.0)
    square.vjp(lambda g: g * 6.0)
    square(x).backward()
    square.vjp(lambda g, x, *, need: (g * 2 * x,))
    assert mg.grad(square(x), x)[0].item() == 6.0
    square.twin(lambda x: x**2)
    (dx,) = mg.grad(square(x), x, create_graph=True)
    assert mg.grad(dx, x)[0].item() == 2.0

    @mg.operator
    def double(x, /):
        return x * 2

    double.vjp(lambda g, *, need: (g * 2,))
    double(x).backward()
    double.twin(lambda x: x * 2)  # it asks for x, which the rule does not
    assert mg.grad(double(x), x, create_graph=True)[0].item() == 2.0


def test_a_twin_takes_the_operators_inputs_first():
    @mg.operator
    def product(a, b, /):
        return a * b

    with pytest.raises(TypeError, match=r"product.twin: expected its first parameters to be \('a', 'b'\)"):
        product.twin(lambda b, a: a * b)


def test_only_one_joint_rule_is_taken():
    """A second rule beside one that takes `need` is not ignored."""

    @mg.operator
    def product(a, b, /):
        return a * b

    with pytest.raises(TypeError, match="product.vjp: expected a rule for each"):
        product.vjp(lambda g, b, need: (g * b, None), lambda g, a: g * a)


def test_a_constant_that_was_recorded_is_not_written_into():
    x, c, free = leaf(1.0, 2.0), mg.Tensor(np.ones(2)), mg.Tensor(np.ones(2))
    _ = free * free
    _ = x * c
    free[0] = 5.0
    with pytest.raises(RuntimeError, match="cannot be written into"):
        c[0] = 5.0


def test_a_rule_that_asks_for_what_is_not_there_is_told_what_there_is():
    @mg.operator
    def bare(x, /):
        return x * 2

    @mg.operator
    def saving(x, /):
        return x * 2, {"doubled": 2.0}

    for operator, known in [(bare, r"\(\)"), (saving, r"\('doubled',\)")]:
        operator.vjp(lambda g, tripled: g * tripled)
        with pytest.raises(TypeError, match=f"{operator.operator.name}: a rule asks for 'tripled'.*{known}"):
            operator(leaf(1.0))
    saving.vjp(lambda g, doubled: g * doubled)
    saving(x := leaf(1.0)).backward()
    assert x.grad.item() == 2.0


def test_an_error_is_said_once_and_in_its_own_words():
    with pytest.raises(ValueError, match="sum: axis 2 is not an axis") as caught:
        leaf(1.0).sum(2)
    assert str(caught.value).count("sum:") == 1
    assert "got arrays" not in str(caught.value)

    @mg.elementwise
    def logarithm(a, b, /):
        raise ValueError("not of negative numbers")

    with pytest.raises(ValueError, match=r"logarithm: not of negative numbers \(got arrays of shape \(1,\)"):
        logarithm(leaf(-1.0), leaf(2.0))


def test_detect_anomaly_looks_at_numbers_and_masks_among_the_arguments():
    with mg.detect_anomaly(), np.errstate(invalid="ignore"):
        with pytest.raises(FloatingPointError, match="pow: made the first NaN.*its inputs held none"):
            leaf(-1.0) ** 0.5
        with pytest.raises(FloatingPointError, match="mul: made the first NaN.*its inputs held none"):
            leaf(np.inf, 1.0) * np.array([False, True])


# The replay ---------------------------------------------------------------------------------------


def test_gradients_to_start_from_come_in_a_list_a_tuple_or_not_at_all():
    x, g = leaf(1.0, 2.0), np.array([1.0, -1.0])
    for starts in ([g, 2 * g], (g, 2 * g)):
        assert_allclose(mg.grad([x * 2.0, x * 3.0], x, starts)[0].data, 8.0 * g)
    y = x.sum()
    assert_allclose(mg.grad([y * 2.0, y * 3.0], x)[0].data, [5.0, 5.0])
    with pytest.raises(ValueError, match="a gradient for each of 2 outputs, got 1"):
        mg.grad([x * 2.0, x * 3.0], x, g)


def test_grad_keeps_the_tape_if_asked_without_recording():
    x = leaf(2.0)
    y = x * x
    (dx,) = mg.grad(y, x, retain_graph=True)
    assert not dx.requires_grad
    assert mg.grad(y, x)[0].item() == 4.0
    with pytest.raises(RuntimeError, match="released"):
        mg.grad(y, x)
    y = x * x
    mg.grad(y, x, create_graph=True, retain_graph=False)
    with pytest.raises(RuntimeError, match="released"):
        mg.grad(y, x)


def test_an_input_that_is_named_twice_gets_two_gradients():
    x = leaf(1.0, 2.0)
    a, b = mg.grad((x * 2.0 + x * 3.0).sum(), [x, x])  # a sum: an array of the replay's own
    assert not np.shares_memory(a.data, b.data)
    np.testing.assert_array_equal(a.data, b.data)


def test_what_is_no_tensor_and_no_gradient_is_said_to_be_none():
    x = leaf(1.0)
    for outputs, inputs, name in [([1.0], x, "outputs"), (3.0, x, "outputs"), (x * 1.0, [None], "inputs")]:
        with pytest.raises(TypeError, match=f"grad: expected {name} to be a Tensor or a sequence of Tensors"):
            mg.grad(outputs, inputs)
    with pytest.raises(ValueError, match=r"backward: expected a gradient of \(1,\) float64, got 1.0"):
        (x * 1.0).backward(1.0)


def test_grad_in_a_result_leaves_the_tape_before_it_alone():
    """What made the input is not on the way to it: it is neither replayed nor released."""
    x = leaf(1.0, 2.0)
    y = mg.exp(x)
    assert_allclose(mg.grad((y * y).sum(), y)[0].data, 2 * y.data)
    assert_allclose(mg.grad(y.sum(), x)[0].data, y.data)


def test_a_hook_on_a_result_that_is_asked_for_is_called_once():
    x, seen = leaf(1.0, 2.0), []
    y = x * 2.0
    y.hook(lambda g: (seen.append(1), g * 10.0)[1])
    assert_allclose(mg.grad((y * 3.0).sum(), y)[0].data, [30.0, 30.0])
    assert seen == [1]


def test_what_a_hook_computes_is_recorded_with_the_rest():
    """Also where the gradient to start from is a plain array."""
    x = leaf(3.0)
    y = x * 2.0
    y.hook(lambda g: g * x)
    (dx,) = mg.grad(y, x, np.array([1.0]), create_graph=True)
    assert dx.item() == 6.0
    assert mg.grad(dx, x)[0].item() == 2.0


def test_gradients_in_between_are_let_go():
    """A replay holds the gradients that are still to be used, not those of the whole net."""
    x, seen, alive = leaf(1.0, 2.0), [], []

    def probe(rule):
        @mg.operator
        def same(x, /):
            return x * 1.0

        same.vjp(rule)
        return same

    look = probe(lambda g: (alive.append(seen[0]() is not None), g * 1.0)[1])
    note = probe(lambda g: (seen.append(weakref.ref(g)), g * 1.0)[1])
    mg.grad((note(mg.exp(look(x))) * 2.0).sum(), x)
    assert alive == [False]


def test_a_rule_that_gives_nothing_or_another_shape_is_named():
    for make, gradient, got in [
        (mg.operator, lambda g: None, "NoneType"),
        (mg.elementwise, lambda g: None, "NoneType"),
        (mg.operator, lambda g: np.stack([g, g]), r"\(2, 2\) float64"),  # only elementwise operators sum it back
        (mg.elementwise, lambda g: np.ones(3), r"\(3,\) float64"),
    ]:

        @make
        def double(x, /):
            return x * 2

        double.vjp(gradient)
        with pytest.raises(RuntimeError, match=f"double: its rule gave a gradient of {got} for x, which has"):
            double(leaf(1.0, 2.0)).sum().backward()


def test_settings_and_saved_integers_are_constants_of_a_second_derivative():
    """Only an array of numbers that the forward computed would cut it off."""

    @mg.operator
    def weighted(x, /, weights):
        return x * x * weights

    weighted.vjp(lambda g, x, weights: g * 2 * x * weights)

    @mg.operator
    def squares(x, /):
        return x * x, {"two": np.array([2])}

    squares.vjp(lambda g, x, two: g * x * float(two[0]))
    mg.gradgradcheck(lambda x: weighted(x, randn(3)), [randn(3, seed=1)])
    mg.gradgradcheck(squares, [randn(3)])


def test_grad_walks_diamonds_once_and_past_what_does_not_lead_to_its_input():
    x = y = leaf(1.0)
    for _ in range(50):  # 2 ** 50 paths
        y = y * 0.5 + y * 0.5
    assert mg.grad(y, x)[0].item() == 1.0

    def refuse(g):
        raise AssertionError("this rule was not needed")

    @mg.operator
    def trap(x, /):
        return x * 1.0

    trap.vjp(refuse)
    z = leaf(2.0)
    assert mg.grad(x * trap(trap(z)), x)[0].item() == 2.0


def test_a_gradient_is_not_the_array_that_a_hook_has_seen_or_given():
    held = []
    for hook in (held.append, lambda g: (held.append(g * 10.0), held[-1])[1]):
        x = leaf(1.0, 2.0)
        x.hook(hook)
        (x * 2.0 + x * 3.0).sum().backward()  # two gradients: their sum is the replay's own
        assert not np.shares_memory(x.grad.data, held[-1].data)


@pytest.mark.parametrize("given", [3.0, np.ones(2), mg.Tensor(np.ones(1)), mg.Tensor(np.ones(2, "float32"))])
def test_what_a_hook_may_not_give(given):
    x = leaf(1.0, 2.0)
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


@pytest.mark.parametrize("i", [0, 1])
def test_a_wrong_rule_for_any_number_of_arguments_is_named_by_its_place(i):
    @mg.operator
    def total(*arrays):
        return arrays[0] + arrays[1]

    total.vjp(lambda g, need: [g[:1] if i == j else g * 1.0 for j in range(2)])
    with pytest.raises(RuntimeError, match=rf"total: its rule gave a gradient of \(1,\) float64 for input {i}, which"):
        total(leaf(1.0, 2.0), leaf(3.0, 4.0)).sum().backward()


# Recompute ----------------------------------------------------------------------------------------


def test_a_segment_within_a_segment_is_run_a_third_time():
    """In the second run of the outer one the inner one drops again what it keeps: that is what nesting is for."""
    runs = []

    def f(x):
        runs.append(1)
        return mg.exp(x) * x

    x = leaf(1.0, 2.0)
    mg.recompute(lambda x: mg.recompute(f, x) * 2.0, x).sum().backward()
    assert len(runs) == 3
    assert_allclose(x.grad.data, 2 * np.exp(x.data) * (1 + x.data))


def test_a_segment_takes_numbers_and_remembers_the_data_it_was_called_with():
    x = leaf(3.0)
    y = mg.recompute(lambda x, n: x**n * x, x, 2)
    x.data = np.array([100.0])
    y.backward()
    assert x.grad.item() == 27.0


def test_results_that_nobody_uses_do_not_disturb_the_second_run():
    def f(x):
        mg.exp(x)  # freed at once
        return x * x

    for call in (lambda x: mg.recompute(f, x), lambda x: mg.recompute(lambda x: mg.recompute(f, x) * 1.0, x)):
        x = leaf(3.0)
        call(x).backward()
        assert x.grad.item() == 6.0


def test_what_was_released_within_a_segment_stays_released():
    def f(x):
        y = mg.exp(x)
        mg.grad(y, x)
        return y

    with pytest.raises(RuntimeError, match="exp: the tape was released"):
        mg.recompute(f, leaf(3.0)).backward()
    used, other = mg.recompute(lambda x: (f(x), x * x), leaf(3.0))
    other.backward()  # the second run fills what was dropped, and not what was released
    with pytest.raises(RuntimeError, match="exp: the tape was released"):
        used.backward()


def test_a_second_run_that_is_longer_is_refused():
    runs = []

    def grows(x):
        runs.append(1)
        return mg.exp(x) if len(runs) == 1 else mg.tanh(mg.exp(x))

    with pytest.raises(RuntimeError, match="recompute: the second run differs from the first, at tanh"):
        mg.recompute(grows, leaf(3.0)).backward()


@pytest.mark.parametrize(("effects", "message"), [((0, 1), "more effects"), ((1, 0), "was shorter"), ((2, 1), "short")])
def test_a_second_run_has_the_effects_of_the_first(effects, message):
    left = list(effects)

    def f(x):
        for _ in range(left.pop(0)):
            mg.once(lambda: 2.0)
        return mg.exp(x)

    with pytest.raises(RuntimeError, match=f"recompute: the second run .*{message}"):
        mg.recompute(f, leaf(3.0)).backward()


def test_each_effect_has_its_own_result():
    def f(x):
        return x * x * mg.once(lambda: 2.0) + x * mg.once(lambda: 3.0)

    x = leaf(5.0)
    y = mg.recompute(f, x)
    y.backward()
    assert (y.item(), x.grad.item()) == (65.0, 23.0)


def test_a_segment_is_run_again_within_no_grad_and_with_constants():
    """Backward may be called where nothing is recorded; an input that needs no gradient needs none the second time."""
    x, c = leaf(3.0), mg.Tensor(np.zeros(1))
    y = mg.recompute(lambda x, c: mg.exp(c) * x * x, x, c)
    with mg.no_grad():
        y.backward()
    assert x.grad.item() == 6.0


# Blocks: small enough for the cache, and every pixel in exactly one -------------------------------


@pytest.mark.parametrize("shape", [(3, 5), (40, 30, 31, 16), (64, 1024), (8, 4096), (6, 1), (7, 1500)])
def test_walks_over_pixels(shape):
    x = np.arange(np.prod(shape), dtype="float32").reshape(shape)
    walk, c = pixels.Pixels(x), shape[-1]
    assert walk.count * c == x.size
    width = walk.repeat * c
    assert walk.count % walk.repeat == 0
    assert walk.repeat == 1 or width < 2 * pixels.WIDTH
    assert not c or not walk.count or width >= pixels.WIDTH or walk.count % (2 * walk.repeat) == 1 * walk.repeat
    lengths = [s.stop - s.start for s in walk.blocks]
    assert sum(lengths) == walk.count // walk.repeat
    row = max(width * 4, 1)
    assert max(lengths) * row <= max(blocks.BLOCK_BYTES, row)
    assert len(lengths) == 1 or (2 * max(lengths) + 1) * row > blocks.BLOCK_BYTES


@pytest.mark.parametrize("shape", [(3, 4, 4, 2), (40, 33, 32, 16), (2, 800, 800, 1), (3, 0, 4, 2), (0, 4, 4, 2)])
def test_blocks_of_images_of_a_pooling(shape):
    x = np.empty(shape, "float32")
    lengths = [s.stop - s.start for s in pool._images(x)]
    image = max(x.nbytes // max(len(x), 1), 1)
    assert sum(lengths) == len(x)
    assert max(lengths) * image <= max(blocks.BLOCK_BYTES, image)
    assert len(lengths) == 1 or (2 * max(lengths) + 1) * image > blocks.BLOCK_BYTES


def paths_taken(monkeypatch, *names):
    """Note which of the paths of a convolution's gradient are taken."""
    taken = []
    for name in names:
        path = getattr(conv, name)
        monkeypatch.setattr(conv, name, lambda *args, name=name, path=path: (taken.append(name), path(*args))[1])
    return taken


def test_a_convolution_takes_the_fast_path_where_there_is_one(monkeypatch):
    """All paths give the same; a condition that sent everything down the slow one would go unnoticed."""
    taken = paths_taken(monkeypatch, "_backward_1x1", "_backward_stride_1", "_backward_any_stride")
    for kernel, settings, path in [
        ((3, 2), {}, "_backward_stride_1"),
        ((3, 2), {"padding": (2, 1)}, "_backward_stride_1"),
        ((3, 2), {"padding": (2, 1), "dilation": (1, 2)}, "_backward_stride_1"),
        ((3, 2), {"padding": (3, 1)}, "_backward_any_stride"),
        ((3, 2), {"padding": (2, 2)}, "_backward_any_stride"),
        ((3, 2), {"stride": (1, 2)}, "_backward_any_stride"),
        ((3, 2), {"stride": (2, 1)}, "_backward_any_stride"),
        ((1, 1), {}, "_backward_1x1"),
        ((1, 1), {"stride": 2}, "_backward_1x1"),
        ((1, 1), {"padding": 1}, "_backward_any_stride"),
        ((1, 2), {}, "_backward_stride_1"),
    ]:
        x = mg.Tensor(randn(2, 5, 6, 2), requires_grad=True)
        w = mg.Tensor(randn(*kernel, 2, 3), requires_grad=True)
        out = mg.conv2d(x, w, **settings)
        mg.grad(out, [x, w], randn(*out.shape))
        assert taken == [path], (kernel, settings)
        taken.clear()
    x, w = mg.Tensor(randn(2, 5, 6, 2)), mg.Tensor(randn(3, 3, 2, 3), requires_grad=True)
    mg.conv2d(x, w, padding=1).sum().backward()  # the first layer of a net: nobody wants the gradient of the images
    assert taken == ["_backward_any_stride"]


def test_the_threads_share_the_product_of_a_single_block(monkeypatch):
    """A small image with many channels; where there are more blocks, each thread has its own."""
    shared, matmul = [], products.matmul
    monkeypatch.setattr(products, "matmul", lambda a, b, out: (shared.append(1), matmul(a, b, out))[1])
    x, w = randn(40, 18, 17, 8), randn(3, 3, 8, 4)
    mg.conv2d(x, w)
    assert not shared
    mg.conv2d(x[:1], w)
    assert len(shared) == 1


def test_a_convolution_with_one_tap_makes_no_columns_and_cuts_its_pixels(monkeypatch):
    """It is a product of matrices as it stands; what is added up over the pixels is cut into blocks for the lanes."""
    monkeypatch.setattr(conv, "Columns", None)
    cuts, lanes = [], products.Lanes
    monkeypatch.setattr(products, "Lanes", lambda blocks: (cuts.append(blocks), lanes(blocks))[1])
    x, w = mg.Tensor(randn(40, 30, 30, 8), requires_grad=True), mg.Tensor(randn(1, 1, 8, 24), requires_grad=True)
    out = mg.conv2d(x, w, np.zeros(24))
    mg.grad(out, [x, w], randn(*out.shape))
    sizes = [(rows.stop - rows.start) * (8 + 24) * 8 for rows in cuts[0]]
    assert blocks.BLOCK_BYTES / 2 < max(sizes) <= blocks.BLOCK_BYTES
    assert sum(sizes) == 40 * 30 * 30 * (8 + 24) * 8


def test_pixels_are_made_in_pairs_on_the_host():
    """Another device has no cache that short runs would be copied into."""
    x = randn(1, 4, 6, 3)
    groups = [conv._group(array, (3, 3, 3), (1, 1), (1, 1)) for array in (x, strict.asarray(x))]
    assert groups == [2, 1]


@pytest.mark.parametrize("settings", [{}, {"stride": 2}])
def test_a_gradient_of_the_images_alone_adds_nothing_up_for_the_weights(settings, monkeypatch):
    """Large images, too, which the gradient of the weights may cut into rows, and that of the images may not."""
    x, w = mg.Tensor(randn(1, 160, 150, 4), requires_grad=True), mg.Tensor(randn(3, 3, 4, 4), requires_grad=True)
    out = mg.conv2d(x, w, **settings)
    g = randn(*out.shape)
    dx, _ = mg.grad(out, [x, w], g)
    monkeypatch.setattr(products.Lanes, "add", None)
    (alone,) = mg.grad(mg.conv2d(x, w.data, **settings), [x], g)
    assert_allclose(alone.data, dx.data, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("stride", [(1, 2), (2, 1), (3, 2)])
def test_one_tap_with_two_strides(stride):
    inputs = [randn(2, 5, 6, 2), randn(1, 1, 2, 3)]
    assert_allclose(mg.conv2d(*inputs, stride=stride), conv2d_by_loops(*inputs, stride=stride), rtol=1e-12)
    mg.gradcheck(lambda x, w: mg.conv2d(x, w, stride=stride), inputs)


# Settings at their limits --------------------------------------------------------------------------


def test_what_a_convolution_does_not_take():
    x, w = leaf(*[1.0] * 16).reshape(1, 4, 4, 1), leaf(1.0).reshape(1, 1, 1, 1)
    for settings in ({"dilation": 0}, {"dilation": (1, 0)}, {"stride": (1, 0)}, {"padding": (0, -1)}):
        with pytest.raises(ValueError, match=f"conv2d: expected {next(iter(settings))} to be an int of at least"):
            mg.conv2d(x, w, **settings)
    for dtypes in (("int64", "int64"), ("float64", "float32"), ("float32", "float64")):
        with pytest.raises(TypeError, match=f"got x of {dtypes[0]} and w of {dtypes[1]}"):
            mg.conv2d(ones(1, 4, 4, 1, dtype=dtypes[0]), ones(1, 1, 1, 1, dtype=dtypes[1]))
    for statistics in ({"running_mean": ones(3, dtype="float32")}, {"running_var": ones(3, dtype="float32")}):
        with pytest.raises(TypeError, match="batch_norm: expected one dtype"):
            norm_of(ones(4, 3), **statistics)
    with pytest.raises(TypeError, match="running statistics that are arrays, got x of float64 and Tensor"):
        norm_of(ones(4, 3), running_mean=mg.Tensor(ones(3)))
    with pytest.raises(TypeError, match="batch_norm: expected one dtype, of floating-point numbers"):
        norm_of(*[np.arange(6).reshape(2, 3)], running_mean=np.zeros(3, int), running_var=np.ones(3, int))
    with pytest.raises(TypeError, match="batch_norm: expected running_mean to be a Tensor or an array, got list"):
        norm_of(ones(4, 1), running_mean=[0.0])
    for convolve in (mg.conv2d, mg.conv_transpose2d):
        with pytest.raises(TypeError, match="expected b to be a Tensor or an array, got list"):
            convolve(x, w, [1.0])


@pytest.mark.parametrize("setting", [True, (1, True), (True, 1), np.True_])
def test_a_boolean_is_no_stride(setting):
    with pytest.raises(ValueError, match="conv2d: expected stride to be an int"):
        mg.conv2d(leaf(*[1.0] * 16).reshape(1, 4, 4, 1), leaf(1.0).reshape(1, 1, 1, 1), stride=setting)


def ones(*shape, dtype="float64"):
    return np.ones(shape, dtype)


IMAGES = ones(2, 4, 5, 2)

#: One thing wrong at a time: where several conditions stand in one line, each must be enough.
REFUSED = {
    "conv2d x": (lambda: mg.conv2d(IMAGES[0], ones(3, 3, 2, 4)), "conv2d: expected x"),
    "conv2d w": (lambda: mg.conv2d(IMAGES, ones(3, 2, 4)), "conv2d: expected x"),
    "conv2d no channels in": (lambda: mg.conv2d(ones(2, 4, 5, 0), ones(3, 3, 0, 4)), "at least one channel"),
    "conv2d no channels out": (lambda: mg.conv2d(IMAGES, ones(3, 3, 2, 0)), "at least one channel"),
    "conv2d groups of none": (lambda: mg.conv2d(IMAGES, ones(3, 3, 2, 4), groups=0), "groups=0"),
    "conv2d half a group": (lambda: mg.conv2d(IMAGES, ones(3, 3, 2, 4), groups=1.0), "groups=1.0"),
    "conv2d groups in": (lambda: mg.conv2d(IMAGES, ones(3, 3, 1, 3), groups=3), "groups=3"),
    "conv2d groups out": (lambda: mg.conv2d(IMAGES, ones(3, 3, 1, 3), groups=2), "groups=2"),
    "conv2d channels": (lambda: mg.conv2d(IMAGES, ones(3, 3, 1, 3)), "w expects 1"),
    "conv2d channels of groups": (lambda: mg.conv2d(IMAGES, ones(3, 3, 2, 4), groups=2), "w expects 4"),
    "conv2d b": (lambda: mg.conv2d(IMAGES, ones(3, 3, 2, 4), ones(3)), "expected b"),
    "conv2d height": (lambda: mg.conv2d(IMAGES, ones(5, 3, 2, 4)), "5 pixels of height, but the padded image has 4"),
    "conv2d width": (lambda: mg.conv2d(IMAGES, ones(3, 6, 2, 4)), "6 pixels of width, but the padded image has 5"),
    "conv2d padded": (lambda: mg.conv2d(IMAGES, ones(7, 3, 2, 4), padding=1), "7 pixels of height, but .* has 6"),
    "conv2d dilated": (lambda: mg.conv2d(IMAGES, ones(3, 3, 2, 4), dilation=2), "5 pixels of height, but .* has 4"),
    "conv2d kernel of none": (lambda: mg.conv2d(IMAGES, ones(0, 3, 2, 4)), "of height"),
    "conv2d a triple": (lambda: mg.conv2d(IMAGES, ones(3, 3, 2, 4), stride=(1, 1, 1)), "or a pair"),
    "conv_transpose2d x": (lambda: mg.conv_transpose2d(IMAGES[0], ones(3, 3, 2, 4)), "conv_transpose2d: expected x"),
    "conv_transpose2d w": (lambda: mg.conv_transpose2d(IMAGES, ones(3, 3, 2)), "conv_transpose2d: expected x"),
    "conv_transpose2d channels": (lambda: mg.conv_transpose2d(IMAGES, ones(3, 3, 3, 4)), "conv_transpose2d: expected"),
    "conv_transpose2d b": (lambda: mg.conv_transpose2d(IMAGES, ones(3, 3, 2, 4), ones(2)), "expected b of shape"),
    "conv_transpose2d stride": (lambda: mg.conv_transpose2d(IMAGES, ones(3, 3, 2, 4), stride=0), "expected stride"),
    "conv_transpose2d padding": (lambda: mg.conv_transpose2d(IMAGES, ones(3, 3, 2, 4), padding=-1), "expected padding"),
    "conv_transpose2d height": (
        lambda: mg.conv_transpose2d(IMAGES, ones(3, 3, 2, 4), padding=(3, 0)),
        "cuts everything off a result of 6 x 7",
    ),
    "conv_transpose2d width": (
        lambda: mg.conv_transpose2d(IMAGES, ones(3, 4, 2, 4), padding=(0, 4)),
        "cuts everything off a result of 6 x 8",
    ),
    "max_pool2d x": (lambda: mg.max_pool2d(IMAGES[0], 2), "max_pool2d: expected images"),
    "max_pool2d kernel": (lambda: mg.max_pool2d(IMAGES, 0), "max_pool2d: expected kernel"),
    "max_pool2d stride": (lambda: mg.max_pool2d(IMAGES, 2, stride=0), "max_pool2d: expected stride"),
    "max_pool2d padding": (lambda: mg.max_pool2d(IMAGES, 2, padding=-1), "max_pool2d: expected padding"),
    "max_pool2d padding of height": (lambda: mg.max_pool2d(IMAGES, (2, 3), padding=2), "smaller than the kernel"),
    "max_pool2d padding of width": (lambda: mg.max_pool2d(IMAGES, (3, 2), padding=2), "smaller than the kernel"),
    "max_pool2d padding of height alone": (lambda: mg.max_pool2d(IMAGES, 2, padding=(2, 0)), "smaller than the kernel"),
    "max_pool2d padding of width alone": (lambda: mg.max_pool2d(IMAGES, 2, padding=(0, 2)), "smaller than the kernel"),
    "max_pool2d height": (lambda: mg.max_pool2d(IMAGES, (5, 1)), "5 pixels of height, but the padded image has 4"),
    "avg_pool2d width": (lambda: mg.avg_pool2d(IMAGES, (1, 6)), "6 pixels of width, but the padded image has 5"),
    "global_avg_pool2d x": (lambda: mg.global_avg_pool2d(ones(2, 3, 4, 5, 6)), "expected images"),
    "linear x": (lambda: mg.linear(np.array(1.0), ones(1, 2)), "linear: expected|linear: x has no features"),
    "linear w": (lambda: mg.linear(ones(2, 3), ones(3, 2, 2)), "w is"),
    "linear features": (lambda: mg.linear(ones(2, 3), ones(2, 3)), "3 features"),
    "linear b": (lambda: mg.linear(ones(2, 3), ones(3, 4), ones(3)), "expected b of shape"),
    "matmul left": (lambda: mg.matmul(np.array(1.0), ones(1)), "at least one axis"),
    "matmul right": (lambda: mg.matmul(ones(1), np.array(1.0)), "at least one axis"),
    "matmul of vectors": (lambda: mg.matmul(ones(2), ones(3)), "inner sizes differ"),
    "pad too few": (lambda: mg.pad(ones(2, 3), [(1, 1)]), "pad: expected a pair"),
    "pad a triple": (lambda: mg.pad(ones(2), [(1, 1, 1)]), "pad: expected a pair"),
    "pad before": (lambda: mg.pad(ones(2), [(-1, 0)]), "pad: expected a pair"),
    "pad after": (lambda: mg.pad(ones(2), [(0, -1)]), "pad: expected a pair"),
    "pad half": (lambda: mg.pad(ones(2), [(0.5, 0)]), "pad: expected a pair"),
    "expand_dims below": (lambda: mg.expand_dims(ones(2), -3), "expected an axis from -2 to 1"),
    "expand_dims above": (lambda: mg.expand_dims(ones(2), 2), "expected an axis from -2 to 1"),
    "expand_dims half": (lambda: mg.expand_dims(ones(2), 0.5), "expected an axis from -2 to 1, got 0.5"),
    "squeeze by no name": (lambda: mg.squeeze(ones(1, 2), None), "squeeze: name the axes"),
    "stack above": (lambda: mg.stack([ones(2), ones(2)], 2), "stack: axis 2 is not an axis of an array with 2 axes"),
    "stack below": (lambda: mg.stack([ones(2), ones(2)], -3), "stack: axis -3 is not an axis of an array with 2 axes"),
    "stack nothing": (lambda: mg.stack([]), "stack: expected arrays of one shape, got none"),
    "axis below": (lambda: mg.sum(ones(2, 3), -3), "axis -3 is not an axis"),
    "axis above": (lambda: mg.sum(ones(2, 3), (0, 2)), "axis .* is not an axis"),
    "axis of nothing": (lambda: mg.sum(np.array(1.0), 0), "it has none"),
    "axis True": (lambda: mg.sum(ones(2, 3), True), "axis True is not an axis"),
    "axis twice": (lambda: mg.sum(ones(2, 3), (0, -2)), "names an axis twice"),
    "transpose too few": (lambda: mg.transpose(ones(2, 3), (0,)), "expected each of 2 axes once"),
    "transpose a list": (lambda: mg.transpose(ones(2, 3), [1, 0]), "expected each of 2 axes once"),
    "squeeze": (lambda: mg.squeeze(ones(1, 2), (0, 1)), "only axes of size 1"),
    "dropout below": (lambda: mg.dropout(ones(2), -0.1, rng=np.random.default_rng(0), training=True), "got -0.1"),
    "dropout all": (lambda: mg.dropout(ones(2), 1, rng=np.random.default_rng(0), training=True), "got 1"),
    "cross_entropy labels": (lambda: mg.cross_entropy(ones(2, 3), np.array([0, 1, 2])), "expected logits"),
    "cross_entropy logits": (lambda: mg.cross_entropy(ones(2), np.array([0, 1])), "expected logits"),
    "cross_entropy label below": (lambda: mg.cross_entropy(ones(2, 3), [-1, 1]), "labels go from -1 to 1"),
    "cross_entropy label above": (lambda: mg.cross_entropy(ones(2, 3), [0, 3]), "labels go from 0 to 3"),
    "batch_norm x": (lambda: norm_of(ones(3)), "expected x with a batch axis"),
    "batch_norm gamma": (lambda: norm_of(ones(4, 3), gamma=ones(2)), "expected gamma of shape"),
    "batch_norm running_var": (lambda: norm_of(ones(4, 3), running_var=ones(2)), "expected running_var of shape"),
    "batch_norm no channels": (lambda: norm_of(ones(4, 0), training=False), "at least one channel"),
    "batch_norm eps": (lambda: norm_of(ones(4, 3), eps=0.0), "expected eps > 0"),
    "batch_norm of one value": (lambda: norm_of(ones(1, 3)), "at least two values"),
}


def norm_of(x, training=True, eps=1e-5, **given):
    c = x.shape[-1]
    arrays = {"gamma": ones(c), "beta": ones(c), "running_mean": ones(c), "running_var": ones(c)} | given
    return mg.batch_norm(x, *arrays.values(), training=training, eps=eps)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("mean", lambda x: mg.mean(x)),
        ("var", lambda x: mg.var(x)),
        ("squeeze", lambda x: mg.squeeze(x, 0)),
        ("expand_dims", lambda x: mg.expand_dims(x, 0)),
        ("flip", lambda x: mg.flip(x)),
        ("stack", lambda x: mg.stack([ones(1), x])),
        ("matmul", lambda x: mg.matmul(ones(1), x)),
        ("linear", lambda x: mg.linear(x, ones(1, 1))),
        ("linear", lambda x: mg.linear(ones(1, 1), ones(1, 1), x)),
        ("conv2d", lambda x: mg.conv2d(IMAGES, x)),
        ("conv_transpose2d", lambda x: mg.conv_transpose2d(IMAGES, x)),
        ("max_pool2d", lambda x: mg.max_pool2d(x, 1)),
        ("avg_pool2d", lambda x: mg.avg_pool2d(x, 1)),
        ("global_avg_pool2d", lambda x: mg.global_avg_pool2d(x)),
        ("batch_norm", lambda x: norm_of(ones(4, 1), gamma=x)),
        ("cross_entropy", lambda x: mg.cross_entropy(x, [0])),
        ("mse_loss", lambda x: mg.mse_loss(ones(1), x)),
    ],
)
def test_a_list_is_no_array(name, call):
    with pytest.raises(TypeError, match=f"{name}: expected .* to be a Tensor or an array, got list"):
        call([1.0])


@pytest.mark.parametrize("mistake", REFUSED)
def test_one_thing_wrong_is_enough(mistake):
    call, message = REFUSED[mistake]
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda: mg.conv2d(IMAGES, ones(4, 5, 2, 1)),
        lambda: mg.conv2d(IMAGES, ones(2, 3, 2, 1), dilation=(3, 2)),
        lambda: mg.conv2d(IMAGES, ones(6, 7, 2, 1), padding=1),
        lambda: mg.conv2d(IMAGES, ones(3, 3, 2, 1), stride=[1, 2]),
        lambda: mg.conv_transpose2d(IMAGES, ones(2, 3, 2, 1), padding=(2, 3)),
        lambda: mg.max_pool2d(IMAGES, (4, 5)),
        lambda: mg.max_pool2d(IMAGES, 2, padding=1),
        lambda: mg.linear(ones(3), ones(3, 1)),
        lambda: mg.reshape(ones(6), [2, 3]),
        lambda: mg.stack([ones(2)], 1),
        lambda: mg.expand_dims(ones(2), -2),
        lambda: mg.expand_dims(ones(2), 1),
        lambda: mg.sum(ones(2, 3), (-2, 1)),
        lambda: mg.cross_entropy(ones(2, 3), [0, 2]),
        lambda: mg.cross_entropy(ones(1, 1), np.array([0], "uint8")),
        lambda: norm_of(np.array([[0.0], [1.0]])),
        lambda: norm_of(ones(1, 3), training=False),
        lambda: mg.dropout(ones(2), 0, rng=np.random.default_rng(0), training=True),
    ],
)
def test_what_just_fits_is_taken(call):
    assert np.isfinite(call()).all()


def test_defaults():
    a, b = randn(2, 3), randn(2, 3, seed=1)
    np.testing.assert_array_equal(mg.stack([a, b]), np.stack([a, b]))
    np.testing.assert_array_equal(mg.concatenate([a, b]), np.concatenate([a, b]))
    np.testing.assert_array_equal(mg.pad(a, [(1, 0), (0, 1)]), np.pad(a, [(1, 0), (0, 1)]))
    np.testing.assert_array_equal(mg.flip(a), np.flip(a))
    cube = randn(2, 3, 4)
    assert_allclose(mg.softmax(cube), np.exp(cube) / np.exp(cube).sum(-1, keepdims=True))
    assert_allclose(mg.log_softmax(cube), np.log(mg.softmax(cube)))
    for name in ("sum", "mean", "max", "min", "var", "logsumexp"):
        assert np.shape(getattr(mg, name)(a)) == ()
        assert getattr(mg, name)(a, 0).shape == (3,)
    assert mg.mean(np.float64(3.0)) == 3.0  # what NumPy gives where everything is reduced
    images = randn(1, 4, 6, 1)
    np.testing.assert_array_equal(mg.max_pool2d(images, 2), mg.max_pool2d(images, 2, stride=2, padding=0))
    w = randn(2, 2, 1, 1)
    settings = {"stride": 1, "padding": 0}
    np.testing.assert_array_equal(mg.conv2d(images, w), mg.conv2d(images, w, **settings, dilation=1, groups=1))
    np.testing.assert_array_equal(mg.conv_transpose2d(images, w), mg.conv_transpose2d(images, w, **settings))
    x = np.array([[1.0], [3.0]])
    normed = mg.batch_norm(x, ones(1), np.zeros(1), np.zeros(1), ones(1), training=True)
    assert_allclose(normed, (x - 2) / np.sqrt(1 + 1e-5), rtol=1e-12)
    half = mg.dropout(ones(10_000), rng=np.random.default_rng(0), training=True)
    assert set(half) == {0.0, 2.0}


def test_dropout_that_drops_nothing_gives_its_input_and_draws_nothing():
    x, rng = leaf(1.0, 2.0), np.random.default_rng(0)
    before = rng.bit_generator.state
    assert mg.dropout(x, 0.0, rng=rng, training=True) is x
    assert mg.dropout(x, 0.5, rng=rng, training=False) is x
    assert rng.bit_generator.state == before


def test_dropout_drops_its_share_and_keeps_the_mean():
    x = mg.Tensor(np.ones(100_000), requires_grad=True)
    y = mg.dropout(x, 0.2, rng=np.random.default_rng(0), training=True)
    assert set(np.unique(y.data)) == {0.0, 1.25}
    assert abs((y.data == 0).mean() - 0.2) < 0.01


def test_an_element_whose_draw_is_the_share_itself_is_kept():
    """Draws are below 1 and not below 0: at least p with probability 1 - p."""
    seed = int(np.random.default_rng(7).integers(2**63))
    draws = np.random.default_rng(seed).random(9, dtype=np.float32)
    p = float(draws[4])
    kept = mg.dropout(ones(9), p, rng=np.random.default_rng(7), training=True)
    np.testing.assert_array_equal(kept > 0, draws >= p)


def test_large_logits_do_not_overflow():
    x = np.array([1000.0, 999.0, -1000.0])
    shares = np.exp([0.0, -1.0, -np.inf]) / (1 + np.exp(-1.0))
    assert_allclose(mg.softmax(x), shares, rtol=1e-12)
    assert_allclose(mg.log_softmax(x), x - 1000 - np.log1p(np.exp(-1.0)), rtol=1e-12)
    assert_allclose(mg.logsumexp(x), 1000 + np.log1p(np.exp(-1.0)), rtol=1e-12)
    assert mg.logsumexp(np.array([-np.inf, -np.inf])) == -np.inf
    assert mg.logsumexp(np.array([np.inf, 0.0])) == np.inf
    empty = leaf(-np.inf, -np.inf)
    np.testing.assert_array_equal(mg.grad(mg.logsumexp(empty), empty)[0].data, [0.0, 0.0])


def test_labels_on_a_device_are_not_waited_for():
    logits, labels = mg.Tensor(strict.asarray(randn(3, 4)), requires_grad=True), strict.asarray(np.array([0, 3, 1]))
    with count_syncs() as syncs:
        mg.cross_entropy(logits, labels).backward()
    assert syncs.count == 0


# Masks by bits ---------------------------------------------------------------------------------------


def test_a_mask_by_bits_is_only_for_masks(monkeypatch):
    """What looks almost like where(mask, g, 0.0) is not: each of these differs in one thing."""
    a, mask = randn(2, 3), np.array([[True, False, True], [False, True, True]])
    a[0, :2] = np.inf, -np.inf
    for condition, x, y in [
        (mask, a, 0.0),
        (mask.astype("float32"), a, 0.0),
        (mask * 2, a, 0.0),
        (mask, a, 5.0),
        (mask, a, 0),
        (mask, a, np.zeros((2, 3))),
        (mask, a[0], 0.0),
        (mask[0], a, 0.0),
        (mask, np.arange(6).reshape(2, 3), 0.0),
        (mask, a + 1j, 0.0),
        (mask, 2.0, 0.0),
        (mask, a.astype("float32"), 0.0),
        (mask.T, a.T, 0.0),
        (True, a, 0.0),
    ]:
        expected = np.where(condition, x, y)
        np.testing.assert_array_equal(mg.where(condition, x, y), expected, strict=True)
    fast, masked = [], ops.elementwise._masked
    monkeypatch.setattr(ops.elementwise, "_masked", lambda *args: (fast.append(1), masked(*args))[1])
    for dtype in ("float32", "float64"):
        mg.clip(leaf(-1.0, 1.0, dtype=dtype), 0.0, 2.0).sum().backward()
    assert len(fast) == 2


def test_the_gate_of_relu_by_bits_is_for_single_and_double_numbers_on_the_host(monkeypatch):
    fast, gated = [], ops.elementwise._gated
    monkeypatch.setattr(ops.elementwise, "_gated", lambda *args: (fast.append(1), gated(*args))[1])
    x, g = randn(3, 4), randn(3, 4, seed=1)
    x[0, 0] = 0.0
    for dtype, array, by_bits in [
        ("float32", np.asarray, True),
        ("float64", np.asarray, True),
        ("float16", np.asarray, False),
        ("longdouble", np.asarray, False),  # its bits are no integer's
        ("float32", strict.asarray, False),
    ]:
        leaf_x = mg.Tensor(array(x.astype(dtype)), requires_grad=True)
        (dx,) = mg.grad(mg.relu(leaf_x), leaf_x, array(g.astype(dtype)))
        np.testing.assert_array_equal(dx.numpy(), np.where(x > 0, g, 0.0).astype(dtype), strict=True)
        assert bool(fast) == by_bits, dtype
        fast.clear()


@pytest.mark.parametrize("order", ["C", "F"])
def test_relu_of_a_large_array(order):
    """In blocks; in an order that blocks cannot follow, as one, which is larger than the zeros at hand."""
    x, g = np.asarray(randn(1000, 300), order=order), randn(1000, 300, seed=1)
    assert x.nbytes > 2 * blocks.BLOCK_BYTES
    leaf_x = mg.Tensor(x, requires_grad=True)
    out = mg.relu(leaf_x)
    np.testing.assert_array_equal(out.data, np.where(x > 0, x, 0.0), strict=True)
    np.testing.assert_array_equal(mg.grad(out, leaf_x, g)[0].data, np.where(x > 0, g, 0.0), strict=True)


# Indices -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("index", "twice"),
    [
        *[(index, False) for index in (1, np.int64(1), slice(1, 3), None, ..., (0, slice(None), 1), (None, ..., 0))],
        *[(index, False) for index in (np.arange(4) % 2 == 0, (slice(None), np.arange(3) > 0), randn(4, 3, 2) > 0)],
        *[(index, True) for index in (np.array([0, 2, 0]), [0, 2, 0], (slice(None), [1, 1]), ([0, 0], ..., [1, 1]))],
        *[(index, True) for index in ((0, np.array([1, 1])), (np.array([[1], [1]]), 0), (True, [0, 0]))],
    ],
)
def test_elements_are_added_one_by_one_only_where_one_may_come_twice(index, twice, monkeypatch):
    """Adding is right for every index, and a hundred times slower than assigning."""
    calls, scatter_add = [], ops.shape.scatter_add
    monkeypatch.setattr(ops.shape, "scatter_add", lambda *args: (calls.append(1), scatter_add(*args))[1])
    x = mg.Tensor(randn(4, 3, 2), requires_grad=True)
    out = x[index]
    g = randn(*out.shape)
    expected = np.zeros(x.shape)
    np.add.at(expected, index, g)
    assert_allclose(mg.grad(out, x, g)[0].data, expected, rtol=1e-12, atol=1e-15)
    assert bool(calls) == twice


def test_host_arrays_in_an_index_are_brought_to_the_device():
    data = randn(4, 3)
    for index in (np.array([0, 2, 0]), (slice(None), np.array([1, 1])), (np.array([0, 1]), 2), (np.arange(4) > 1, 0)):
        x = mg.Tensor(strict.asarray(data), requires_grad=True)
        out = x[index]
        np.testing.assert_array_equal(out.numpy(), data[index])
        expected = np.zeros(data.shape)
        np.add.at(expected, index, 1.0)
        np.testing.assert_array_equal(mg.grad(out.sum(), x)[0].numpy(), expected)


# Conventions, where there is no derivative ---------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "at", "slope"),
    [
        (mg.relu, 0.0, 0.0),
        (mg.abs, 0.0, 0.0),
        (lambda x: mg.clip(x, 1.0, 2.0), 1.0, 1.0),
        (lambda x: mg.clip(x, 1.0, 2.0), 2.0, 1.0),
        (lambda x: mg.clip(x, 1.0), 1.0, 1.0),
        (lambda x: mg.clip(x, None, 1.0), 1.0, 1.0),
        (lambda x: mg.maximum(x, np.array([1.0])), 1.0, 1.0),
        (lambda x: mg.maximum(np.array([1.0]), x), 1.0, 0.0),
        (lambda x: mg.minimum(x, np.array([1.0])), 1.0, 1.0),
        (lambda x: mg.minimum(np.array([1.0]), x), 1.0, 0.0),
        (lambda x: x**0, 0.0, 0.0),
        (lambda x: x ** np.array([0.0]), 0.0, 0.0),
        (lambda x: x**1, 0.0, 1.0),
        (lambda x: x ** np.array([1.0]), 0.0, 1.0),
        (lambda x: 0.0**x, 2.0, 0.0),
        (lambda x: np.array([0.0]) ** x, 2.0, 0.0),
        (lambda x: 1.0**x, 2.0, 0.0),
        (lambda x: np.array([1.0]) ** x, 2.0, 0.0),
    ],
)
def test_the_convention_at_a_kink(f, at, slope):
    x = leaf(at)
    g = np.array([-1.5])
    assert mg.grad(f(x), x, g)[0].data.tolist() == [slope * -1.5]


def test_the_first_of_equals_takes_the_gradient():
    x = mg.Tensor(np.array([[1.0, 3.0, 3.0], [3.0, 0.0, 0.0]]), requires_grad=True)
    for f, first in [
        (lambda x: mg.max(x), [[0, 1, 0], [0, 0, 0]]),
        (lambda x: mg.max(x, (1, 0)), [[0, 1, 0], [0, 0, 0]]),
        (lambda x: mg.min(x), [[0, 0, 0], [0, 1, 0]]),
        (lambda x: mg.max(x, 1).sum(), [[0, 1, 0], [1, 0, 0]]),
        (lambda x: mg.max_pool2d(x.reshape(1, 2, 3, 1), (2, 3)).sum(), [[0, 1, 0], [0, 0, 0]]),
        (lambda x: mg.max_pool2d(x.reshape(1, 2, 3, 1), 2, stride=1).sum(), [[0, 2, 0], [0, 0, 0]]),
    ]:
        np.testing.assert_array_equal(mg.grad(f(x), x)[0].data, np.array(first, float))
