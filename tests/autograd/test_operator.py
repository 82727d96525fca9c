"""Operators: arguments and settings, rules and twins, and what their errors say."""

import functools
import inspect
import itertools
import math

import numpy as np
import pytest

import minigrad as mg
from tests.records import every_sample
from tests.records.draw import randn
from tests.tools.compare import leaf_of

# Arguments and settings -----------------------------------------------------------------------


def test_settings_can_be_positional_or_named():
    x = leaf_of(1.0, 2.0)
    assert mg.sum(x, 0, True).shape == mg.sum(x, axis=0, keepdims=True).shape == (1,)
    mg.sum(x, 0, True).backward()


def test_differentiable_parameters_can_be_named():
    @mg.operator
    def scaled(x, w, b=None, /, factor=1.0):
        return x * w * factor if b is None else x * w * factor + b

    scaled.vjp(lambda g, w, factor: g * w * factor, lambda g, x, factor: g * x * factor, lambda g: g)
    x, w, b = leaf_of(2.0), leaf_of(3.0), leaf_of(4.0)
    scaled(x, w=w, b=b, factor=2.0).backward()
    assert (x.grad.item(), w.grad.item(), b.grad.item()) == (6.0, 4.0, 1.0)


def test_an_optional_input_may_be_left_out_beside_a_named_setting():
    @mg.operator
    def scaled(x, w, b=None, /, factor=1.0):
        return x * w * factor if b is None else x * w * factor + b

    scaled.vjp(lambda g, w, factor: g * w * factor, lambda g, x, factor: g * x * factor, lambda g: g * 1.0)
    x, w = leaf_of(2.0), leaf_of(3.0)
    y = scaled(x, w, factor=2.0)
    y.backward()
    assert (y.item(), x.grad.item(), w.grad.item()) == (12.0, 6.0, 4.0)


def optional_product(place=None):
    """Make factor * (a b c)^power: b and c are 1 where they are left out. The twin takes the settings in `place`."""

    @mg.operator
    def product(a, b=None, c=None, /, factor=1.0, power=1.0):
        return factor * (a * (1.0 if b is None else b) * (1.0 if c is None else c)) ** power

    def others(x, values):
        return math.prod([v for name, v in values.items() if name != x and v is not None], start=1.0)

    def rule(g, x, values, factor, power):
        rest = others(x, values)
        return g * factor * power * rest * (values[x] * rest) ** (power - 1.0)

    if place is None:
        product.vjp(
            lambda g, a, b, c, factor, power: rule(g, "a", {"a": a, "b": b, "c": c}, factor, power),
            lambda g, a, b, c, factor, power: rule(g, "b", {"a": a, "b": b, "c": c}, factor, power),
            lambda g, a, b, c, factor, power: rule(g, "c", {"a": a, "b": b, "c": c}, factor, power),
        )
        return product

    @product.vjp
    def _(g, a, b, c, *, factor, power, need):
        values = {"a": a, "b": b, "c": c}
        return [rule(g, x, values, factor, power) if n else None for x, n in zip(values, need, strict=True)]

    twins = {
        "as declared": lambda a, b, c, factor, power: factor * (a * others("a", {"b": b, "c": c})) ** power,
        "swapped": lambda a, b, c, power, factor: factor * (a * others("a", {"b": b, "c": c})) ** power,
    }
    product.twin(twins[place])
    return product


@pytest.mark.parametrize("place", [None, "as declared", "swapped"], ids=lambda p: f"twin: {p or 'none'}")
def test_optional_inputs_and_settings_in_every_choice(place):
    """Each optional input: left out, None, an array or a Tensor, by place or by name; settings by name."""
    product, numbers = optional_product(place), {"a": 2.0, "b": 3.0, "c": 5.0}
    for kinds in itertools.product(["Tensor", "array"], *[["out", "None", "array", "Tensor"]] * 2):
        made = {
            name: {"None": None, "array": np.array([n]), "Tensor": leaf_of(n)}[kind]
            for (name, n), kind in zip(numbers.items(), kinds, strict=True)
            if kind != "out"
        }
        calls = [(made.pop("a"), (), dict(made))]
        if kinds[1] != "out":
            calls += [(calls[0][0], (made["b"],), {k: v for k, v in made.items() if k == "c"})]
        total = math.prod(n for n, kind in zip(numbers.values(), kinds, strict=True) if kind in ("array", "Tensor"))
        for a, by_place, by_name in calls:
            out = product(a, *by_place, **by_name, power=3.0, factor=7.0)
            wanted = {n: x for n, x in {"a": a, **made}.items() if isinstance(x, mg.Tensor)}
            assert np.asarray(getattr(out, "data", out)) == [7.0 * total**3]
            for create_graph in (False, True) if wanted else ():
                gradients = mg.grad(out, [*wanted.values()], create_graph=create_graph, retain_graph=True)
                for name, d in zip(wanted, gradients, strict=True):
                    np.testing.assert_allclose(d.data, [21.0 * total**3 / numbers[name]], rtol=1e-14, strict=True)


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
        shifted(leaf_of(1.0), "text")


def test_an_operator_may_have_three_inputs_and_no_settings():
    @mg.operator
    def fused(a, b, c, /):
        return a * b + c

    fused.vjp(lambda g, b: g * b, lambda g, a: g * a, lambda g: g * 1.0)
    leaves = [leaf_of(2.0), leaf_of(3.0), leaf_of(4.0)]
    y = fused(*leaves)
    y.backward()
    assert [y.item(), *(x.grad.item() for x in leaves)] == [10.0, 3.0, 2.0, 1.0]


def test_the_number_of_arguments_may_differ_from_call_to_call():
    """What is kept where all inputs need gradients is worked out for each number anew."""
    for n in (2, 3, 2):
        leaves = [leaf_of(float(i)) for i in range(n)]
        mg.concatenate(leaves).backward(g := np.arange(1.0, n + 1))
        assert [x.grad.item() for x in leaves] == g.tolist()


def test_unknown_settings_and_too_many_arguments_are_refused():
    x = leaf_of(1.0)
    with pytest.raises(TypeError, match=r"sum: expected sum\(x.*axis.*keepdims"):
        mg.sum(x, dim=0)
    with pytest.raises(TypeError, match=r"exp: expected exp\(x"):
        mg.exp(x, x, x)
    with pytest.raises(TypeError, match=r"mul: expected mul\(a"):
        mg.mul(x)


@pytest.mark.parametrize(
    ("f", "args", "named"),
    [(mg.sum, (0,), {"axis": 0}), (mg.sum, (0, True), {"axis": 1, "keepdims": True}), (mg.pow, (2.0,), {"b": 3.0})],
)
def test_an_argument_that_is_given_twice_is_refused(f, args, named):
    """By place and by name: one of the two would be dropped in silence."""
    x = leaf_of(1.0, 2.0)
    with pytest.raises(TypeError, match=rf"^{f.__name__}: expected {f.__name__}\(.*, got "):
        f(x, *args, **named)


def test_an_operator_that_is_given_nothing_says_what_it_takes():
    for operator in (mg.exp, mg.mul, mg.sum, mg.reshape):
        with pytest.raises(TypeError, match=rf"{operator.__name__}: expected {operator.__name__}\(.*got 0 arguments"):
            operator()


def test_a_setting_that_is_missing_or_unknown_is_named():
    with pytest.raises(TypeError, match=r"reshape: expected reshape\(x.*see 'shape'"):
        mg.reshape(leaf_of(1.0))
    with pytest.raises(TypeError, match=r"exp: expected exp\(x.*see 'base'"):
        mg.exp(leaf_of(1.0), base=2)
    with pytest.raises(TypeError, match="getitem: index is a setting"):
        leaf_of(1.0, 2.0)[[mg.Tensor(0), 1]]


def test_a_tensor_is_not_a_setting():
    x, labels = leaf_of(1.0, 2.0), mg.Tensor(np.array([0]))
    with pytest.raises(TypeError, match="getitem: index is a setting.*index=tensor.data"):
        x[labels]
    with pytest.raises(TypeError, match="getitem: index is a setting"):
        x.reshape(1, 2)[0, labels]
    with pytest.raises(TypeError, match="cross_entropy: labels is a setting"):
        mg.cross_entropy(x.reshape(1, 2), labels)


def test_array_settings_are_constants_in_every_order():
    condition = np.array([1.0, 0.0])
    mg.gradgradcheck(lambda x: mg.where(condition != 0, x * x, 0.0), [np.array([3.0, 4.0])])
    x = leaf_of(3.0, 4.0)
    (dx,) = mg.grad(mg.where(condition, x * x, 0.0).sum(), x, create_graph=True)
    np.testing.assert_array_equal(dx.data, [6.0, 0.0])


def test_every_constant_of_a_recorded_call_is_locked():
    """Whichever of four inputs it is, and however many of them are constants."""

    @mg.operator
    def product(a, b, c, d, /):
        return a * b * c * d

    product.vjp(
        lambda g, b, c, d: g * b * c * d,
        lambda g, a, c, d: g * a * c * d,
        lambda g, a, b, d: g * a * b * d,
        lambda g, a, b, c: g * a * b * c,
    )
    for needed in np.ndindex(2, 2, 2, 2):
        inputs = [mg.Tensor(np.array([2.0]), requires_grad=bool(n)) for n in needed]
        product(*inputs)
        for x in inputs:
            if any(needed):
                with pytest.raises(RuntimeError, match="cannot be written into"):
                    x[0] = 5.0
            else:
                x[0] = 5.0


#: Operators of several inputs. Those that are composed may compute with a constant and not store it.
WITH_CONSTANTS = [
    p
    for p in every_sample(lambda _, sample: len(sample.inputs) > 1)
    if hasattr(getattr(mg, str(p.values[0])), "operator")
]


@pytest.mark.parametrize(("name", "sample"), WITH_CONSTANTS)
def test_constants_of_every_operator_are_locked(name, sample):
    """Also if its rules store nothing: a segment that runs again computes with them a second time."""
    for wanted in range(len(sample.inputs)):
        inputs = [mg.Tensor(x, requires_grad=i == wanted) for i, x in enumerate(sample.inputs)]
        sample.apply(getattr(mg, name), inputs)
        for x in inputs:
            with pytest.raises(RuntimeError, match="cannot be written into"):
                x[...] = 5.0


# Rules and twins ------------------------------------------------------------------------------


def test_rules_are_checked_when_they_are_given():
    @mg.operator
    def product(a, b, /):
        return a * b

    with pytest.raises(TypeError, match="product: has no rules, but a gradient is wanted"):
        product(leaf_of(1.0), leaf_of(2.0))
    with pytest.raises(TypeError, match="product.vjp: expected a rule for each of"):
        product.vjp(lambda g, b: g * b)
    with pytest.raises(TypeError, match="product.vjp: expected a rule for each of"):
        product.vjp(lambda g, b, need: g * b, lambda g, a: g * a)


def test_a_rule_beside_a_joint_rule_is_refused():
    """A second rule beside one that takes `need` is not ignored."""

    @mg.operator
    def product(a, b, /):
        return a * b

    with pytest.raises(TypeError, match="product.vjp: expected a rule for each"):
        product.vjp(lambda g, b, need: (g * b, None), lambda g, a: g * a)


def test_a_twin_takes_the_operators_inputs_first():
    @mg.operator
    def product(a, b, /):
        return a * b

    with pytest.raises(TypeError, match=r"product.twin: expected its first parameters to be \('a', 'b'\)"):
        product.twin(lambda b, a: a * b)


@pytest.mark.parametrize("joint", [False, True], ids=["a rule for each", "a joint rule"])
@pytest.mark.parametrize("called", [False, True], ids=["before a call", "after a call"])
def test_rules_and_twins_that_are_refused_leave_those_before(called, joint):
    @mg.operator
    def product(a, b, /):
        return a * b

    if joint:
        product.vjp(lambda g, a, b, need: (g * b, g * a))
        product.twin(lambda a, b: a * b)
    else:
        product.vjp(lambda g, b: g * b, lambda g, a: g * a)
    leaves = leaf_of(2.0), leaf_of(3.0)
    if called:
        product(*leaves)
    for rules in [(lambda g, b: g / b,), (lambda g, b, need: g / b, lambda g, a: g / a)]:
        with pytest.raises(TypeError, match="product.vjp: expected a rule for each of"):
            product.vjp(*rules)
        with pytest.raises(TypeError, match=r"product.twin: expected |callable"):
            product.twin((lambda b, a: a / b) if joint else 3)
        for create_graph in (False, True):
            gradients = mg.grad(product(*leaves), leaves, create_graph=create_graph)
            assert [d.item() for d in gradients] == [3.0, 2.0]


def test_rules_and_twins_can_be_replaced():
    """What is to be kept is worked out once, and again when there are other rules."""

    @mg.operator
    def square(x, /):
        return x * x

    x = leaf_of(3.0)
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


def test_a_rule_that_asks_for_an_unknown_name_is_told_the_known_ones():
    @mg.operator
    def bare(x, /):
        return x * 2

    @mg.operator
    def saving(x, /):
        return x * 2, {"doubled": 2.0}

    for operator, known in [(bare, r"\(\)"), (saving, r"\('doubled',\)")]:
        operator.vjp(lambda g, tripled: g * tripled)
        with pytest.raises(TypeError, match=f"{operator.operator.name}: a rule asks for 'tripled'.*{known}"):
            operator(leaf_of(1.0))
    saving.vjp(lambda g, doubled: g * doubled)
    saving(x := leaf_of(1.0)).backward()
    assert x.grad.item() == 2.0


def test_rules_that_give_the_wrong_shape_or_dtype_are_named():
    @mg.operator
    def double(x, /):
        return x * 2

    double.vjp(lambda g: g.sum())
    x = leaf_of(1.0, 2.0)
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


def test_a_rule_that_gives_none_or_another_shape_is_named():
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
            double(leaf_of(1.0, 2.0)).sum().backward()


@pytest.mark.parametrize("i", [0, 1])
def test_a_wrong_rule_for_any_number_of_arguments_is_named_by_its_place(i):
    @mg.operator
    def total(*arrays):
        return arrays[0] + arrays[1]

    total.vjp(lambda g, need: [g[:1] if i == j else g * 1.0 for j in range(2)])
    with pytest.raises(RuntimeError, match=rf"total: its rule gave a gradient of \(1,\) float64 for input {i}, which"):
        total(leaf_of(1.0, 2.0), leaf_of(3.0, 4.0)).sum().backward()


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_rule_for_any_number_of_arguments_may_ask_for_the_result(count):
    @mg.operator
    def exp_of_sum(*arrays):
        return np.exp(sum(arrays))

    exp_of_sum.vjp(lambda g, out, *, need: [g * out if needed else None for needed in need])
    mg.gradcheck(exp_of_sum, [randn(3, seed=i) for i in range(count)])


@pytest.mark.parametrize("names", ["function", "object", "functools.partial"])
def test_whatever_can_be_called_makes_an_operator(names):
    """An object has no __name__: the operator is called as its class."""

    class Doubled:
        def __call__(self, x, /):
            return x * 2.0

    forward = {"object": Doubled(), "functools.partial": functools.partial(Doubled())}.get(names, lambda x, /: x * 2.0)
    double = mg.operator(forward)
    double.vjp(lambda g: g * 2.0)
    assert names != "object" or double.operator.name == "Doubled"
    x = leaf_of(1.0)
    assert mg.grad(double(x), x)[0].item() == 2.0


def test_a_wrong_rule_beside_constants_is_named_by_its_input():
    product = mg.operator(lambda a, b, c, /: a * b * c)
    product.vjp(*[lambda g: g[:1]] * 3)
    for i, name in enumerate("abc"):
        inputs = [mg.Tensor(np.ones(2), requires_grad=i == j) for j in range(3)]
        with pytest.raises(RuntimeError, match=f"for {name}, which has"):
            product(*inputs).sum().backward()


def test_a_saved_array_is_never_silently_detached():
    @mg.operator
    def square(x, /):
        return x * x, {"double": 2 * x}

    square.vjp(lambda g, double: g * double)
    x = leaf_of(3.0)
    assert mg.grad(square(x), x)[0].item() == 6.0
    with pytest.raises(RuntimeError, match="square: its rule uses 'double'.*give it a twin"):
        mg.grad(square(x), x, create_graph=True)


@pytest.mark.parametrize("axes", [None, 0, 1, 2])
def test_a_saved_array_with_any_number_of_axes_is_not_detached(axes):
    """A number that was computed is no constant either."""

    @mg.operator
    def scaled(x, /):
        total = x.sum() if axes is None else np.asarray(x.sum()).reshape((1,) * axes)
        return x * total, {"total": total}

    scaled.vjp(lambda g, x, total: g * total + (g * x).sum())
    x = mg.Tensor([[1.0, 2.0]], requires_grad=True)
    mg.grad(scaled(x), x, np.ones((1, 2), "float32"))
    with pytest.raises(RuntimeError, match="total"):
        mg.grad(scaled(x), x, np.ones((1, 2), "float32"), create_graph=True)


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


def test_gradients_nobody_wants_are_not_computed():
    asked = []

    @mg.operator
    def product(a, b, /):
        return a * b

    @product.vjp
    def _(g, a, b, *, need):
        asked.append(need)
        return g * b if need[0] else None, g * a if need[1] else None

    x, w = leaf_of(2.0), leaf_of(3.0)
    product(x, np.array([3.0])).sum().backward()
    y = product(x, w)
    mg.grad(y.sum(), w)
    assert asked == [(True, False), (False, True)]


def test_help_says_which_parameters_may_be_tensors():
    @mg.operator
    def scaled(x, /, *, factor: float = 2.0):
        return x * factor

    @mg.operator
    def total(*parts: int, start: int = 0):
        return sum(parts, start)

    either = "'Tensor | Array'"
    assert str(inspect.signature(scaled)) == f"(x: {either}, /, *, factor: float = 2.0) -> {either}"
    assert str(inspect.signature(total)) == f"(*parts: {either}, start: int = 0) -> {either}"


# Errors ---------------------------------------------------------------------------------------


def test_shapes_that_do_not_broadcast_are_named():
    with pytest.raises(ValueError, match=r"add: shapes \(2,\) and \(3,\) do not broadcast"):
        leaf_of(1.0, 2.0) + leaf_of(1.0, 2.0, 3.0)
    with pytest.raises(ValueError, match=r"reshape: .*shape \(2,\)"):
        leaf_of(1.0, 2.0).reshape(3)


def test_a_call_that_does_not_fit_shows_what_was_given():
    @mg.operator
    def scaled(x, y, /, *, factor=2.0):
        return x * y * factor

    for args, settings, got in [((1.0,), {}, "1 arguments"), ((1.0,), {"factor": 3.0}, "1 arguments and factor")]:
        with pytest.raises(TypeError) as caught:
            scaled(*args, **settings)
        assert str(caught.value) == f"scaled: expected scaled(x, y, factor=2.0), got {got}"


@pytest.mark.parametrize("module", ["minigrad_zoo.tables", "minigrads", "mine.minigrad.tables", "__main__"])
@pytest.mark.parametrize("error", [AttributeError, TypeError, KeyError, IndexError, RuntimeError])
def test_errors_of_a_users_operator_are_its_own(error, module):
    """Whatever its module is called; only minigrad's own operators explain what NumPy says."""

    def look_up(x, /):
        raise error("no table is loaded")

    look_up.__module__ = module
    with pytest.raises(error, match="^.?no table is loaded.?$"):
        mg.operator(look_up)(leaf_of(1.0))


def test_an_error_names_its_operator_once():
    with pytest.raises(ValueError, match="sum: axis 2 is not an axis") as caught:
        leaf_of(1.0).sum(2)
    assert str(caught.value).count("sum:") == 1
    assert "got arrays" not in str(caught.value)

    @mg.elementwise
    def logarithm(a, b, /):
        raise ValueError("not of negative numbers")

    with pytest.raises(ValueError, match=r"logarithm: not of negative numbers \(got arrays of shape \(1,\)"):
        logarithm(leaf_of(-1.0), leaf_of(2.0))
