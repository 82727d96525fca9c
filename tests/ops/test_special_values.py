"""NaN, infinities, -0.0, denormals, huge numbers and ties, in the inputs and the cotangents of every operator.

What a record says under ``special`` holds: ``python -m pytest tests/ops/test_special_values.py -k max`` tries one.
"""

import functools
import inspect

import numpy as np
import pytest

import minigrad as mg
from tests.records import RECORDS, every_sample
from tests.records.record import Absent
from tests.tools.compare import cotangent, leaf
from tests.tools.special_values import KINDS, disagree, mixed, special_inputs

#: How far apart numbers may be: as in tests/ops/test_against_torch.py.
BOUNDS = {"float32": 2e-5, "float64": 1e-10}

DTYPES = tuple(BOUNDS)

#: One dtype in the quick suite, the other with -m slow.
each_dtype = pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])


@pytest.fixture(autouse=True)
def _no_warnings_of_numpy():
    """An invalid value is the subject here; threads have a state of their own, and small samples run on this one."""
    with np.errstate(all="ignore"):
        yield


def special_calls(name, sample, dtype):
    """Yield kind, leaves, result, cotangent; of some kinds, the cotangent is special, too."""
    rng = np.random.default_rng(0)
    for kind in (kind for kind in KINDS if not (sample.mixes and kind == "denormals")):
        for inputs in special_inputs(sample, kind, dtype, rng):
            tensors = [leaf(x) for x in inputs]
            out = sample.apply(getattr(mg, name), tensors)
            g = cotangent(out, rng)
            yield kind, tensors, out, mixed(g, rng) if kind in ("plain", "mixed", "zeros") else g


def every_special_sample(test, where=lambda record, sample: True):
    """List (name, sample) for pytest; where the record says that special values leak, as a strict expected failure."""
    listed = []
    for param in every_sample(where):
        name, sample = param.values
        (key,) = [key for key, other in RECORDS[name].samples.items() if other is sample]
        reason = RECORDS[name].special.leaks.get(f"{test} {key}") if RECORDS[name].special else None
        marks = [pytest.mark.xfail(strict=True, raises=AssertionError, reason=reason)] if reason else []
        listed.append(pytest.param(name, sample, id=param.id, marks=marks))
    return listed


def every_border():
    """List (name, the words of its docstring) for pytest, of the operators that multiply zeros of a border."""
    return [pytest.param(name, r.special.border, id=name) for name, r in RECORDS.items() if r.special.border]


def every_convention():
    """List (name, convention) for pytest, from all records."""
    return [
        pytest.param(name, convention, id=f"{name}-{key}")
        for name, record in RECORDS.items()
        if record.special
        for key, convention in record.special.conventions.items()
    ]


# Values and gradients ------------------------------------------------------------------------


def values_that_differ(name, sample, dtype):
    """Return the kinds of special values for which the result is not that of the definition."""
    special = RECORDS[name].special
    definition = special.definition or RECORDS[name].definition
    signed = RECORDS[name].elementwise or not (RECORDS[name].linear == "each" or RECORDS[name].fused)
    differ = {}
    for kind, tensors, out, _ in special_calls(name, sample, dtype):
        expected = np.asarray(sample.apply(definition, [x.data for x in tensors]))
        wrong = disagree(out.data, expected, BOUNDS[dtype], signed=bool(signed))
        if wrong.any():
            differ[kind] = f"{out.data[wrong][:3]}, not {expected[wrong][:3]}"
    return differ


@each_dtype
@pytest.mark.parametrize(("name", "sample"), every_special_sample("values"))
def test_values_are_those_of_the_definition(name, sample, dtype):
    differ = values_that_differ(name, sample, dtype)
    assert not differ.keys() - RECORDS[name].special.unlike_definition.keys(), differ


def gradients_that_differ(name, sample, dtype):
    """Return the kinds of special values for which gradients are not those of PyTorch."""
    torch = pytest.importorskip("torch")
    counterpart = RECORDS[name].special.torch or RECORDS[name].torch
    differ = {}
    for kind, tensors, out, g in special_calls(name, sample, dtype):
        theirs = [torch.tensor(x.data, requires_grad=True) for x in tensors]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.backends.mkldnn, "enabled", False)  # in float32 it skips the zeros of some borders
            expected = torch.autograd.grad(sample.apply(counterpart, theirs), theirs, torch.tensor(g))
        for d, e in zip(mg.grad(out, tensors, g, retain_graph=True), expected, strict=True):
            wrong = disagree(d.data, e.numpy(), BOUNDS[dtype])
            if wrong.any():
                differ[kind] = f"{d.data[wrong][:3]}, not {e.numpy()[wrong][:3]}"
    return differ


HAVE_TORCH = every_special_sample("gradients", lambda record, _: not isinstance(record.torch, Absent))


@each_dtype
@pytest.mark.parametrize(("name", "sample"), HAVE_TORCH)
def test_gradients_are_those_of_pytorch(name, sample, dtype):
    differ = gradients_that_differ(name, sample, dtype)
    assert not differ.keys() - RECORDS[name].special.unlike_torch.keys(), differ


@each_dtype
@pytest.mark.parametrize(("name", "sample"), every_special_sample("gradients", lambda record, _: record.fused))
def test_gradients_are_those_of_the_twin(name, sample, dtype):
    """The rule on arrays, and the derivative of the definition, except where the record names a difference."""
    special = RECORDS[name].special
    differ = {}
    for kind, tensors, out, g in special_calls(name, sample, dtype):
        fast = mg.grad(out, tensors, g, retain_graph=True)
        for d, e in zip(fast, mg.grad(out, tensors, g, create_graph=True), strict=True):
            wrong = disagree(d.data, e.data, BOUNDS[dtype])
            if wrong.any():
                differ[kind] = f"{d.data[wrong][:3]}, not {e.data[wrong][:3]}"
    assert not differ.keys() - special.unlike_definition.keys() - special.unlike_torch.keys(), differ


@each_dtype
@pytest.mark.parametrize(
    ("name", "sample"),
    every_special_sample("gradients", lambda record, sample: record.fused and len(sample.inputs) > 1),
)
def test_each_gradient_alone_is_the_one_among_all(name, sample, dtype):
    """Where weights are frozen, or images are data, a rule takes shortcuts: there, too, it looks for NaN."""
    for kind, tensors, out, g in special_calls(name, sample, dtype):
        for x, expected in zip(tensors, mg.grad(out, tensors, g, retain_graph=True), strict=True):
            (alone,) = mg.grad(out, x, g, retain_graph=True)
            assert not disagree(alone.data, expected.data, BOUNDS[dtype]).any(), kind


@pytest.mark.parametrize("what", ["definition", "torch"])
@pytest.mark.parametrize("name", RECORDS)
def test_what_a_record_calls_different_is_different(name, what):
    """Otherwise a difference that was mended would still be allowed."""
    left = set(getattr(RECORDS[name].special, f"unlike_{what}"))
    for sample in RECORDS[name].samples.values():
        for dtype in DTYPES:
            if left:
                found = (values_that_differ if what == "definition" else gradients_that_differ)(name, sample, dtype)
                left -= found.keys()
    assert not left, f"{name}: agrees with the {what} for {sorted(left)}; strike them from unlike_{what}"


# Conventions ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "convention"), every_convention())
def test_the_docstring_says_what_is_done(name, convention):
    assert convention.says in " ".join(inspect.getdoc(getattr(mg, name)).split())
    for dtype in DTYPES:
        x = leaf(convention.at, dtype)
        out = convention.call(x)
        np.testing.assert_array_equal(out.data, np.asarray(convention.value, dtype), strict=True)
        for create_graph in (False, True):
            (dx,) = mg.grad(
                out, x, np.full(out.shape, convention.cotangent, dtype), create_graph=create_graph, retain_graph=True
            )
            np.testing.assert_array_equal(dx.data, np.asarray(convention.slope, dtype), strict=True)


@pytest.mark.parametrize(("name", "says"), every_border())
def test_the_docstring_says_that_zeros_of_a_border_are_multiplied(name, says):
    assert says in " ".join(inspect.getdoc(getattr(mg, name)).split())


# Nothing leaks -------------------------------------------------------------------------------


def places(size):
    """Return the first, the middle and the last element: borders are where zeros are added."""
    return sorted({0, size // 2, size - 1}) if size else []


def results_at(name, sample, dtype, i, place, value):
    """Return result and gradients where one element of one input has this value, and which are spoiled."""
    tensors = [leaf(np.array(x, dtype)) for x in sample.inputs]
    tensors[i].data.flat[place] = value
    out = sample.apply(getattr(mg, name), tensors)
    g = cotangent(out)
    results = [out.data, *(d.data for d in mg.grad(out, tensors, g))]
    return results, spoiled(name, sample, [x.data for x in tensors], g)


def spoiled(name, sample, inputs, g):
    """Mark what the definition makes NaN in result and gradients: infinity times a zero of a border, if it has one."""
    if not RECORDS[name].special.border:
        return [False] * (1 + len(inputs))
    out = sample.apply(RECORDS[name].definition, inputs)
    slopes = sample.apply(functools.partial(RECORDS[name].gradients, g), inputs)
    return [np.isnan(a) for a in (out, *slopes)]


@each_dtype
@pytest.mark.parametrize(("name", "sample"), every_special_sample("inputs", lambda _, sample: not sample.mixes))
def test_what_does_not_depend_on_an_input_does_not_feel_it(name, sample, dtype):
    """Elements of result and gradients that stay the same for four finite values of an input stay so for NaN."""
    for i, x in enumerate(sample.inputs):
        for place in places(x.size):
            value = x.flat[place]
            before, *others = (
                results_at(name, sample, dtype, i, place, v)[0] for v in (value, value * 1.5 + 0.1, 1e3, -1e3, 0.0)
            )
            for special in (np.nan, np.inf):
                after, border = results_at(name, sample, dtype, i, place, special)
                for what, (a, b, s, *c) in enumerate(zip(after, before, border, *others, strict=True)):
                    untouched = np.all([other == b for other in c], axis=0) & np.logical_not(s)
                    np.testing.assert_array_equal(
                        a[untouched], b[untouched], f"{special} at {place} of input {i} reaches output {what}"
                    )


@each_dtype
@pytest.mark.parametrize(("name", "sample"), every_special_sample("cotangents", lambda _, sample: not sample.mixes))
def test_an_infinite_cotangent_reaches_only_what_its_element_depends_on(name, sample, dtype):
    """The derivatives of one element of the result say which; an infinite derivative times 0 would be NaN."""
    tensors = [leaf(np.array(x, dtype)) for x in sample.inputs]
    out = sample.apply(getattr(mg, name), tensors)
    for place in places(out.size):
        alone, usual = np.zeros_like(out.data), cotangent(out)
        alone.flat[place] = 1.0
        slopes = mg.grad(out, tensors, alone, retain_graph=True)
        before = mg.grad(out, tensors, usual, retain_graph=True)
        for special in (np.inf, np.nan):
            usual.flat[place] = special
            after = mg.grad(out, tensors, usual, retain_graph=True)
            border = spoiled(name, sample, [x.data for x in tensors], usual)[1:]
            for d, b, slope, s in zip(after, before, slopes, border, strict=True):
                reached = (slope.data != 0) | s
                np.testing.assert_array_equal(d.data[~reached], b.data[~reached])
                assert not np.isfinite(d.data[reached]).any()


# Many blocks ---------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_special_values_in_many_blocks(dtype, order):
    """Above two megabytes, relu, its gradient and masks are computed in blocks on the threads, where the order lets."""
    rng = np.random.default_rng(0)
    plain = rng.standard_normal((100_003 if dtype == "float32" else 50_023, 7)).astype(dtype)
    arrays = mixed(plain, rng), mixed(plain[::-1], rng), rng.random(plain.shape) < 0.5
    x, g, condition = (np.asarray(array, order=order) for array in arrays)
    assert x.nbytes > 2 << 20
    tensor = leaf(x)
    calls = {
        "relu": (lambda: mg.relu(tensor), np.maximum(x, 0), np.where(x > 0, g, 0)),
        "where": (lambda: mg.where(condition, tensor, 0.0), np.where(condition, x, 0), np.where(condition, g, 0)),
        "where not": (lambda: mg.where(condition, 0.0, tensor), np.where(condition, 0, x), np.where(condition, 0, g)),
        "clip": (lambda: mg.clip(tensor, -1.0, 1.0), np.clip(x, -1, 1), np.where(np.abs(x) <= 1, g, 0)),
    }
    for name, (call, value, slope) in calls.items():
        out = call()
        np.testing.assert_array_equal(out.data, value, name, strict=True)
        (dx,) = mg.grad(out, tensor, g)
        np.testing.assert_array_equal(dx.data, slope.astype(dtype), name, strict=True)
