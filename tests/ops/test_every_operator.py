"""Every operator, from its record: value, gradients of both orders, dtype, memory, threads, the strict double, errors.

To see all that is tested of one: ``python -m pytest tests/ops -k conv2d``; of one sample: ``-k conv2d-stride2``.
"""

import itertools
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import minigrad as mg
from minigrad.checks.operators import CHECKS
from tests.records import RECORDS, every, every_sample
from tests.tools.compare import cotangent, examples, leaf, leaves, same, seeds
from tests.tools.reach import watch_gradients
from tests.tools.strict import StrictArray, count_syncs, strict

exact = {"equal_nan": False, "strict": True}


# Values and gradients ------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "sample"), every_sample())
def test_value_is_that_of_the_definition(name, sample):
    inputs = [x.copy() for x in sample.inputs]
    value = np.asarray(sample.apply(getattr(mg, name), inputs))  # an operator applied to arrays gives an array
    expected = sample.apply(RECORDS[name].definition, sample.inputs)
    assert_allclose(value, expected, rtol=1e-12, atol=1e-13, **exact)
    recorded = sample.apply(getattr(mg, name), leaves(sample))
    assert_allclose(recorded.data, value, rtol=0, atol=0, **exact)


@pytest.mark.parametrize(("name", "sample"), every_sample(lambda record, _: record.scipy))
def test_value_is_that_of_scipy(name, sample):
    value = np.asarray(sample.function(name)(*sample.inputs))
    assert_allclose(value, sample.apply(RECORDS[name].scipy, sample.inputs), rtol=1e-12, atol=1e-13, **exact)


@pytest.mark.parametrize(("name", "sample"), every_sample())
@pytest.mark.parametrize("check", CHECKS)
def test_check(check, name, sample):
    """Both orders, Taylor remainder, dtype, aliasing, determinism, twin: see minigrad/checks/operators.py."""
    CHECKS[check](sample.function(name), sample.inputs)


@pytest.mark.parametrize(("name", "sample"), every_sample(lambda record, _: record.analytic))
def test_complex_step(name, sample):
    """Derivatives of analytic operators, to machine precision."""
    mg.complex_step_check(sample.function(name), sample.inputs)


@pytest.mark.parametrize(("name", "sample"), every_sample(lambda record, sample: record.linear and not sample.affine))
def test_adjoint(name, sample):
    """Linear operators: <f(x), y> = <x, f'(y)>, in all inputs together, or in each while the others are held."""
    for f, inputs in sample.linear_maps(sample.function(name), RECORDS[name].linear):
        mg.adjoint_check(f, inputs)


@pytest.mark.parametrize(("name", "sample"), every_sample(lambda _, sample: len(sample.inputs) > 1))
def test_each_gradient_alone_is_the_one_among_all_and_the_others_are_not_computed(name, sample, monkeypatch):
    """Frozen weights, an input that is data: rules take shortcuts there, which must give the same, and do less."""
    f = sample.function(name)
    inputs = leaves(sample)
    out = f(*inputs)
    g = cotangent(out)
    together = mg.grad(out, inputs, g)
    watched = watch_gradients(monkeypatch)
    for i, expected in enumerate(together):
        inputs = [mg.Tensor(x, requires_grad=i == j) for j, x in enumerate(sample.inputs)]
        same(mg.grad(f(*inputs), inputs[i], g)[0], expected, rtol=1e-12, atol=1e-13)
        others = [mg.Tensor(x, requires_grad=i != j) for j, x in enumerate(sample.inputs)]
        rest = [x for x in others if x.requires_grad]
        for a, b in zip(mg.grad(f(*others), rest, g), [*together[:i], *together[i + 1 :]], strict=True):
            same(a, b, rtol=1e-12, atol=1e-13)
    assert watched
    for needed, given_ in watched:
        assert given_ == needed


@pytest.mark.parametrize(("name", "sample"), every_sample(lambda _, sample: len(sample.inputs) > 1))
def test_a_gradient_that_is_recorded_alone_depends_on_every_input(name, sample):
    """Mixed second derivatives: the inputs whose gradients nobody asked for are no constants."""
    f, count, seconds = sample.function(name), len(sample.inputs), []
    for alone in (True, False):
        for i in range(count):
            inputs = leaves(sample)
            out = f(*inputs)
            asked = inputs[i] if alone else inputs
            d = mg.grad(out, asked, cotangent(out), create_graph=True)[0 if alone else i]
            if d.requires_grad:
                d.backward(cotangent(d, 1))
            seconds.append([d.requires_grad, *[x.grad for x in inputs]])
    for ours, expected in zip(seconds[:count], seconds[count:], strict=True):
        for a, b in zip(ours, expected, strict=True):
            if isinstance(a, mg.Tensor) and isinstance(b, mg.Tensor):
                same(a, b, rtol=1e-10, atol=1e-10)
            else:
                assert a == b


@pytest.mark.parametrize(("name", "sample"), every_sample(lambda record, _: record.fused))
def test_a_hook_of_an_input_is_called_once(name, sample):
    """With the gradient, whether the replay is recorded or not: a twin that is differentiated calls no hooks."""
    for i in range(len(sample.inputs)):
        inputs, seen, results = leaves(sample), [], []
        inputs[i].hook(lambda g, seen=seen: (seen.append(g.data.copy()), g * 10.0)[1])
        out = sample.function(name)(*inputs)
        for create_graph in (False, True):
            results.append(mg.grad(out, inputs[i], cotangent(out), create_graph=create_graph, retain_graph=True)[0])
        assert len(seen) == 2
        for gradient, shown in zip(results, seen, strict=True):
            same(gradient, 10.0 * shown)


@pytest.mark.parametrize(
    ("name", "sample"), every_sample(lambda record, _: record.fused and (record.analytic or record.linear))
)
def test_complex_gradients_of_a_fused_operator_are_those_of_its_twin(name, sample):
    """They have no conjugates, as the definition has none."""
    rng = np.random.default_rng(0)
    inputs = [leaf(x + 1j * rng.standard_normal(x.shape)) for x in sample.inputs]
    out = sample.function(name)(*inputs)
    g = np.asarray(cotangent(out) + 1j * rng.standard_normal(out.shape))
    by_definition = mg.grad(out, inputs, g, create_graph=True, retain_graph=True)
    for fast, plain in zip(mg.grad(out, inputs, g), by_definition, strict=True):
        same(fast, plain, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize(("name", "sample"), every_sample(lambda record, _: record.fused))
def test_the_gradients_of_a_fused_operator_are_those_of_its_twin(name, sample):
    """A replay that is recorded differentiates the twin; the check "twin" compares the values."""
    inputs = leaves(sample)
    out = sample.function(name)(*inputs)
    g = cotangent(out)
    by_definition = mg.grad(out, inputs, g, create_graph=True, retain_graph=True)
    for fast, plain in zip(mg.grad(out, inputs, g), by_definition, strict=True):
        same(fast, plain, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "sample"), every_sample(lambda record, sample: record.fused and len(sample.inputs) > 1)
)
@pytest.mark.parametrize("left_out", ["frozen", "not asked for"])
def test_each_choice_of_gradients_of_a_fused_operator_is_recorded(left_out, name, sample):
    """The twin is differentiated in what is wanted, wherever the gaps are: the gradients are those among all."""
    inputs = leaves(sample)
    out = sample.function(name)(*inputs)
    g = cotangent(out)
    together, everything = mg.grad(out, inputs, g), range(len(inputs))
    for wanted in (s for k in everything[1:] for s in itertools.combinations(everything, k)):
        chosen = [mg.Tensor(x, requires_grad=left_out != "frozen" or i in wanted) for i, x in enumerate(sample.inputs)]
        gradients = mg.grad(sample.function(name)(*chosen), [chosen[i] for i in wanted], g, create_graph=True)
        for i, ours in zip(wanted, gradients, strict=True):
            same(ours, together[i], rtol=1e-11, atol=1e-12, what=f"gradient {i} of {wanted}")


@pytest.mark.parametrize(("name", "kink"), every("kinks"))
def test_the_slope_at_a_kink_is_the_one_that_the_docstring_promises(name, kink):
    x = leaf(np.array(kink.at, float))
    out = kink.call(x)
    (dx,) = mg.grad(out, x, np.full(out.shape, -1.5))
    same(dx, -1.5 * np.array(kink.slope, float), rtol=0, atol=0)


# Memory --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "sample"), every_sample())
def test_views_and_strides_do_not_matter(name, sample):
    """Non-contiguous inputs, negative strides and a Fortran-ordered cotangent give the same as plain ones."""
    odd = []
    for x in sample.inputs:
        wide = np.repeat(x[::-1] if x.ndim else x, 2, axis=-1) if x.ndim else x
        odd.append(wide[::-1, ..., ::2] if x.ndim > 1 else wide[::-2][: x.size] if x.ndim else wide)
    for x, y in zip(sample.inputs, odd, strict=True):
        np.testing.assert_array_equal(x, y)
    plain, viewed = leaves(sample), [leaf(x) for x in odd]
    out, other = (sample.apply(getattr(mg, name), tensors) for tensors in (plain, viewed))
    same(other, out, rtol=1e-12, atol=1e-13)
    g = cotangent(out)
    for a, b in zip(mg.grad(out, plain, g), mg.grad(other, viewed, np.array(g, order="F")), strict=True):
        same(b, a, rtol=1e-12, atol=1e-13)


def laid_out(x, draw):
    """Lay an array out otherwise in memory: axes in any order, backwards, with gaps, off the start, read-only."""
    if not x.ndim:
        return np.frombuffer(b"abcd" + x.tobytes(), x.dtype, offset=4).reshape(())  # not aligned
    order = draw(st.permutations(range(x.ndim)))
    steps = [draw(st.sampled_from([1, -1, 2, -2])) for _ in range(x.ndim)]
    memory = np.full([abs(s) * n + 1 for s, n in zip(steps, np.transpose(x, order).shape, strict=True)], np.nan)
    memory = memory.astype(x.dtype)
    view = memory[tuple(slice(1, None) for _ in steps)][tuple(slice(None, None, s) for s in steps)]
    view = view.transpose(np.argsort(order))
    view[...] = x
    if draw(st.booleans()):
        view.setflags(write=False)
    return view


@pytest.mark.parametrize("name", RECORDS)
@given(data=st.data(), seed=seeds)
@examples(0.12)
def test_layout_in_memory_does_not_matter(name, data, seed):
    """The gaps hold NaN: whoever reads beside the view shows it."""
    rng = np.random.default_rng(seed)
    sample = data.draw(st.sampled_from(list(RECORDS[name].samples.values())))
    plain = leaves(sample)
    odd = [leaf(laid_out(x.data, data.draw)) for x in plain]
    out, other = (sample.apply(getattr(mg, name), inputs) for inputs in (plain, odd))
    same(other, out, rtol=1e-12, atol=1e-13)
    g = cotangent(out, rng)
    odd_g = laid_out(g, data.draw)
    for i, (d, e) in enumerate(zip(mg.grad(other, odd, odd_g), mg.grad(out, plain, g), strict=True)):
        same(d, e, rtol=1e-12, atol=1e-12, what=f"gradient of input {i}")
    for x, y in zip(odd, sample.inputs, strict=True):
        np.testing.assert_array_equal(x.data, y)
    np.testing.assert_array_equal(odd_g, g)


@pytest.mark.parametrize(("name", "sample"), every_sample())
def test_inputs_may_repeat_one_element_in_memory(name, sample):
    """Strides of 0, as broadcast_to makes them: inputs, and the cotangent that sum gives."""
    kinks = RECORDS[name].kinks
    inputs = list(sample.inputs)
    if not any(kink.startswith("tie") for kink in kinks):  # where all elements are equal, all would tie
        inputs = [np.broadcast_to(x.ravel()[0], x.shape) if x.size else x for x in inputs]
    plain, odd = [leaf(np.array(x)) for x in inputs], [leaf(x) for x in inputs]
    out, other = (sample.apply(getattr(mg, name), tensors) for tensors in (plain, odd))
    same(other, out, rtol=1e-12, atol=1e-12)
    g = np.broadcast_to(np.array(-1.7), out.shape)
    for d, e in zip(mg.grad(other, odd, g), mg.grad(out, plain, g.copy()), strict=True):
        same(d, e, rtol=1e-9, atol=1e-9)


# No elements ---------------------------------------------------------------------------------


def emptied(inputs):
    """Yield the inputs with an axis of size 0: of one input alone, or of all that have this axis in this size."""
    for i, x in enumerate(inputs):
        for axis, n in enumerate(x.shape):
            part = (slice(None),) * axis + (slice(0, 0),)
            yield [y[part] if i == j else y for j, y in enumerate(inputs)]
            if len(inputs) > 1:
                yield [y[part] if y.shape[axis : axis + 1] == (n,) else y for y in inputs]


#: Those that need at least one element, and where, whose samples have conditions with elements.
NOT_OF_NOTHING = {"cross_entropy", "nll_loss", "binary_cross_entropy", "mse_loss", "where"}


@pytest.mark.parametrize("name", [name for name in RECORDS if name not in NOT_OF_NOTHING])
def test_axes_without_elements(name):
    """What the definition takes is computed or, before anything is recorded, refused; a gradient of nothing is 0."""
    computed = 0
    for key, sample in RECORDS[name].samples.items():
        for inputs in emptied(sample.inputs):
            what, tensors = f"{key}, {[x.shape for x in inputs]}", [leaf(x) for x in inputs]
            try:
                expected = np.asarray(sample.apply(RECORDS[name].definition, inputs))
            except (ValueError, IndexError, ZeroDivisionError, RuntimeWarning):  # as of the mean of nothing
                continue
            try:
                out = sample.apply(getattr(mg, name), tensors)
            except ValueError:
                continue
            same(out, expected, what=what)
            for create_graph in (True, False):
                for x, d in zip(inputs, mg.grad(out, tensors, cotangent(out), create_graph=create_graph), strict=True):
                    assert d.shape == x.shape, what
                    assert out.size or not d.data.any(), what
            computed += 1
    assert computed


# Other devices and dtypes --------------------------------------------------------------------


@pytest.mark.parametrize(("name", "sample"), every_sample())
def test_the_strict_double_gives_the_same(name, sample):
    """The same code on a foreign array: nothing is mixed with NumPy, nothing is brought to the host."""
    on_host = leaves(sample)
    out = sample.apply(getattr(mg, name), on_host)
    g = cotangent(out)
    expected = [out, *mg.grad(out, on_host, g)]
    away = [mg.Tensor(strict.asarray(x), requires_grad=True) for x in sample.inputs]
    with count_syncs() as syncs:
        result = sample.apply(getattr(mg, name), away)
        gradients = mg.grad(result, away, strict.asarray(g))
    assert syncs.count == 0
    for theirs, ours in zip([result, *gradients], expected, strict=True):
        assert type(theirs.data) is StrictArray
        assert_allclose(theirs.numpy(), ours.data, rtol=1e-12, atol=1e-13, **exact)


@pytest.mark.parametrize(("name", "sample"), every_sample())
def test_bytes_in_the_other_order_are_the_same_numbers(name, sample):
    """As some files have them: plain arrays are computed as they are, and a Tensor holds them in the native order."""
    f, dtypes = getattr(mg, name), [x.dtype.newbyteorder() for x in sample.inputs]
    swapped = [x.astype(dtype) for x, dtype in zip(sample.inputs, dtypes, strict=True)]
    expected = sample.apply(f, sample.inputs)
    assert_allclose(np.asarray(sample.apply(f, swapped), expected.dtype), expected, rtol=1e-14, atol=1e-15, **exact)
    out = sample.apply(f, [leaf(x) for x in swapped])
    assert out.dtype.isnative
    assert_allclose(out.data, expected, rtol=1e-14, atol=1e-15, **exact)


KINDS = [float, np.float64, np.float32, np.float16, np.longdouble]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(("name", "call"), every("numbers"))
def test_settings_do_not_promote(name, call, kind):
    """A setting that is a NumPy scalar of another dtype gives what Python's number gives, with Tensors and arrays."""
    check_promotion(call, kind)


@pytest.mark.parametrize(("name", "call"), [p for p in every("numbers") if p.values[0] != "clip"])
def test_settings_that_are_arrays_without_axes_do_not_promote(name, call):
    """As np.asarray(x.mean()) gives them. The bounds of clip may be arrays, and arrays have one dtype."""
    check_promotion(call, np.array)


def check_promotion(call, kind):
    """Compare value and gradients with those of Python's number."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((4, 3)), np.full(3, 1.5), np.full(3, -0.5)][: call.__code__.co_argcount - 1]
    ours, expected = [], []
    for results, number in ((ours, kind), (expected, float)):
        inputs = [leaf(a.astype("float32")) for a in arrays]
        out = call(number, *inputs)
        results += [out, *mg.grad(out, inputs, cotangent(out, 1)), call(number, *[x.data for x in inputs])]
    for a, b in zip(ours, expected, strict=True):
        assert a.dtype == np.float32
        same(a, b)


# Errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "refusal"), every("refuses"))
def test_a_mistake_is_explained(name, refusal):
    named_once = rf"^{name}: (?!\w+: )"
    with pytest.raises(refusal.error, match=rf"{named_once}(?s:.)*({refusal.message})") as caught:
        refusal.call()
    assert type(caught.value) is refusal.error


@pytest.mark.parametrize(("name", "call"), every("accepts"))
def test_what_just_fits_is_taken(name, call):
    assert np.isfinite(call()).all()


@pytest.mark.parametrize("name", RECORDS)
def test_a_list_is_no_array(name):
    for sample in RECORDS[name].samples.values():
        for i, x in enumerate(sample.inputs):
            inputs = [*sample.inputs[:i], x.tolist(), *sample.inputs[i + 1 :]]
            if x.ndim:  # otherwise it is a number
                with pytest.raises(TypeError, match=rf"{re.escape(name)}: expected .*, got list"):
                    sample.apply(getattr(mg, name), inputs)
