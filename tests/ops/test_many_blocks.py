"""Operators that cut their work: many small blocks, on 1 to 9 threads, and large calls in float32.

A small block is made by tests/tools/cuts.py; the calls are in tests/records/many.py and tests/records/large.py.
"""

import collections
import dataclasses
import inspect
import itertools
import math
from contextlib import nullcontext

import numpy as np
import pytest
from numpy.testing import assert_allclose

import minigrad as mg
from minigrad.kernels import blocks
from tests.records import RECORDS, every
from tests.records.record import Sample
from tests.tools.again import bits
from tests.tools.compare import cotangent, leaves, same, threads_restored
from tests.tools.cuts import noted_cuts, small_blocks
from tests.tools.reach import note_small_products

EVERY_SIZE = [
    pytest.param(name, many, nbytes, small, id=f"{p.id}-{nbytes}{'-small' * bool(small)}")
    for p in every("many")
    for name, many in [p.values]
    for nbytes in many.sizes
    for small in ((False, True) if many.small_product else (None,))
]


def first_is_quick(params):
    """Mark all cases of an operator but the first as slow."""
    seen = set()
    return [p if p.values[0] not in seen and not seen.add(p.values[0]) else slow(p) for p in params]


def slow(p):
    """Mark a case as slow."""
    return pytest.param(*p.values, id=p.id, marks=pytest.mark.slow)


def subsets(count):
    """List all choices of at least one of `count` inputs."""
    return [s for k in range(1, count + 1) for s in itertools.combinations(range(count), k)]


def record(name, sample, needed):
    """Compute the value where only some inputs require gradients; return it, and how to get these gradients.

    Inputs and cotangent cannot be written into: whoever tries gets an error.
    """
    inputs = [mg.Tensor(read_only(x), requires_grad=i in needed) for i, x in enumerate(sample.inputs)]
    out = sample.apply(getattr(mg, name), inputs)

    def pull(g):
        return mg.grad(out, [inputs[i] for i in needed], read_only(g))

    return out, pull


def read_only(array):
    """Copy an array; who writes into the copy gets an error."""
    array = array.copy()
    array.setflags(write=False)
    return array


def defined(name, sample, g):
    """Return the value and the gradients by the formulas of the record, in float64."""
    record, g = RECORDS[name], g.astype("float64")
    inputs = [x.astype("float64") for x in sample.inputs]
    whole = sample.apply(lambda *args, **settings: record.gradients(g, *args, **settings), inputs)
    return [sample.apply(record.definition, inputs), *whole]


# The work is cut -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RECORDS)
def test_the_record_of_an_operator_that_cuts_its_work_says_so(name):
    """Else nothing below would run for it. Small enough blocks cut even the small samples."""
    with small_blocks(1), noted_cuts() as cuts:
        for sample in RECORDS[name].samples.values():
            inputs = leaves(sample)
            out = sample.apply(getattr(mg, name), inputs)
            mg.grad(out, inputs, cotangent(out))
    assert (cuts.most > 1) == bool(RECORDS[name].many), f"{name}: its record lacks many, or has one without a reason"


@pytest.mark.parametrize(("name", "many"), every("many"))
def test_blocks_are_many_and_ragged(name, many):
    """Of the value and of each gradient alone, at one of the sizes. Otherwise the tests below would prove little."""
    everything = range(len(many.sample.inputs))
    seen = {"value": []} | {f"gradient {i}": [] for i in everything if i not in many.uncut}
    for nbytes in many.sizes:
        with small_blocks(nbytes, many.small_product):
            with noted_cuts() as cuts:
                out, _ = record(name, many.sample, everything)
            seen["value"].append(cuts)
            for i in set(everything) - set(many.uncut):
                _, pull = record(name, many.sample, [i])
                with noted_cuts() as cuts:
                    pull(cotangent(out))
                seen[f"gradient {i}"].append(cuts)
    for what, noted in seen.items():
        assert any(cuts.most >= 8 and any(cuts.ragged) for cuts in noted), (what, noted)


def test_every_function_that_spreads_work_has_many_blocks():
    """Each has them in some sample: it is not enough that another one, in the same operator, has."""
    most = collections.Counter()
    for param in EVERY_SIZE:
        name, many, nbytes, _ = param.values
        everything = range(len(many.sample.inputs))
        for needed in (everything, *([i] for i in everything)):
            with small_blocks(nbytes, many.small_product), noted_cuts() as cuts:
                out, pull = record(name, many.sample, needed)
                pull(cotangent(out))
            most |= collections.Counter(cuts.places)
    of_sums = most.pop("minigrad.kernels.products.sum_in_order")
    assert of_sums == blocks.PARTIAL_SUMS
    assert len(most) >= 15
    assert not {place: count for place, count in most.items() if count < 8}


@pytest.mark.parametrize("name", [name for name, record in RECORDS.items() if record.many])
def test_some_are_more_than_eight_for_each_partial_sum(name):
    most = 1
    for many in RECORDS[name].many.values():
        for nbytes in many.sizes:
            with small_blocks(nbytes, many.small_product):
                out, pull = record(name, many.sample, range(len(many.sample.inputs)))
                with noted_cuts() as cuts:
                    pull(cotangent(out))
            most = max(most, cuts.most)
    assert most > 8 * blocks.PARTIAL_SUMS


# Small blocks ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "many", "nbytes", "small"), EVERY_SIZE)
def test_value_and_gradients_of_many_small_blocks(name, many, nbytes, small, monkeypatch):
    """Those of the formulas; the gradients all together, and in every choice of them."""
    with small_blocks(nbytes, many.small_product):
        left = note_small_products(monkeypatch, small) if many.small_product else []
        out, _ = record(name, many.sample, [0])
        g = cotangent(out)
        value, *expected = defined(name, many.sample, g)
        same(out, value, rtol=1e-11, atol=1e-12)
        for needed in subsets(len(many.sample.inputs)):
            for i, ours in zip(needed, record(name, many.sample, needed)[1](g), strict=True):
                same(ours, expected[i], rtol=1e-11, atol=1e-12, what=f"gradient {i} of {needed}")
    assert any(left) == bool(small)  # of a block of small products, some rows are left over


@pytest.mark.parametrize(
    ("name", "many", "nbytes", "small"), first_is_quick([p for p in EVERY_SIZE if p.values[1].smooth])
)
def test_finite_differences_of_many_small_blocks(name, many, nbytes, small):
    """Of a number that depends on all results: it has few derivatives, so that every one of them is compared."""
    with small_blocks(nbytes, many.small_product, small):
        g = cotangent(many.sample.apply(getattr(mg, name), many.sample.inputs))
        mg.gradcheck(lambda *inputs: (many.sample.apply(getattr(mg, name), inputs) * g).sum(), many.sample.inputs)


@pytest.mark.parametrize(("name", "many", "nbytes", "small"), EVERY_SIZE)
def test_many_small_blocks_are_bit_equal_on_1_to_9_threads(name, many, nbytes, small):
    results = []
    with small_blocks(nbytes, many.small_product, small), threads_restored():
        for threads in range(1, 10):
            mg.set_num_threads(threads)
            out, pull = record(name, many.sample, range(len(many.sample.inputs)))
            results.append([out, *pull(cotangent(out))])
    for result in results[1:]:
        for a, b in zip(results[0], result, strict=True):
            np.testing.assert_array_equal(a.data, b.data, strict=True)


@pytest.mark.parametrize(("name", "many"), every("many"))
def test_results_of_many_small_blocks_are_theirs_alone(name, many):
    """A later call of the same shapes, with other numbers, overwrites neither value nor gradients."""
    other = dataclasses.replace(many.sample, inputs=tuple(x * 1.25 for x in many.sample.inputs))
    everything = range(len(many.sample.inputs))
    for nbytes in many.sizes:
        with small_blocks(nbytes, many.small_product):
            out, pull = record(name, many.sample, everything)
            first = [out, *pull(cotangent(out))]
            before = bits(first)
            later, pull_later = record(name, other, everything)
            pull_later(cotangent(later))
        assert bits(first) == before


@pytest.mark.parametrize(("name", "many"), every("many"))
def test_nothing_of_small_blocks_stays(name, many):
    """Sizes may be kept nowhere: after small blocks, and before them, results are those of whole arrays."""
    results = []
    for nbytes in (None, many.sizes[-1], None):
        with small_blocks(nbytes, many.small_product) if nbytes else nullcontext():
            out, pull = record(name, many.sample, range(len(many.sample.inputs)))
            with noted_cuts() as cuts:
                results.append([out, *pull(cotangent(out))])
            assert (cuts.most > 1) == bool(nbytes)
    for a, b in zip(results[0], results[2], strict=True):
        np.testing.assert_array_equal(a.data, b.data, strict=True)


# Large calls, in float32 -----------------------------------------------------------------------


def bound(terms):
    """Return how far a sum of so many products of normal numbers may be off in float32.

    Its size, and that of its partial sums, is sqrt(terms). Each addition rounds by up to eps / 2 of that; errors of
    both signs add up to sqrt(terms) times as much: eps / 2 terms. Not one of millions is off by eight times this.
    """
    return 4 * np.finfo("float32").eps * terms


def near(ours, expected, terms, what=""):
    """Compare in float32: within the bound or, where all numbers are small, within the bound times the largest one."""
    assert ours.dtype == np.float32
    assert ours.shape == expected.shape
    atol = bound(terms) * min(1.0, np.abs(expected).max())
    assert_allclose(ours.data, expected, rtol=0, atol=atol, equal_nan=False, err_msg=what)


@pytest.mark.parametrize(("name", "large"), [p if p.values[1].numbers < 2_000_000 else slow(p) for p in every("large")])
def test_value_and_gradients_of_large_calls_in_float32(name, large):
    """Each choice of gradients, element by element, against formulas in float64."""
    sample = large.sample()
    with noted_cuts() as cuts:
        out, _ = record(name, sample, [0])
    assert cuts.most >= large.blocks
    g = cotangent(out)
    value, *expected = defined(name, sample, g)
    near(out, value, large.terms[0])
    for needed in subsets(len(sample.inputs)):
        for i, ours in zip(needed, record(name, sample, needed)[1](g), strict=True):
            near(ours, expected[i], large.terms[1 + i], f"gradient {i} of {needed}")


#: 80,200 numbers. Reductions are over all axes, and over each.
SHAPE = (401, 200)


@pytest.mark.parametrize("name", [name for name, record in RECORDS.items() if record.elementwise])
def test_value_and_gradients_of_elementwise_operators_on_many_numbers(name):
    """More than 65,536, in float32. Each function is computed in a few steps, so only a few roundings add up."""
    draw, formulas = RECORDS[name].elementwise
    rng = np.random.default_rng(1)
    inputs = [draw(rng, SHAPE).astype("float32") for _ in range(len(inspect.signature(formulas).parameters) - 1)]
    sample = Sample(tuple(inputs))
    out, _ = record(name, sample, [0])
    g, wide = cotangent(out), [x.astype("float64") for x in inputs]
    value, expected = RECORDS[name].definition(*wide), formulas(g.astype("float64"), *wide)
    assert_allclose(out.data, value, rtol=1e-6, atol=1e-6, equal_nan=False)
    for needed in subsets(len(inputs)):
        for i, ours in zip(needed, record(name, sample, needed)[1](g), strict=True):
            assert_allclose(ours.data, expected[i], rtol=2e-6, atol=1e-6, equal_nan=False, err_msg=f"{i} of {needed}")


@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("name", [name for name, record in RECORDS.items() if record.reduction])
def test_value_and_gradients_of_reductions_of_many_numbers(name, axis):
    """More than 65,536, in float32."""
    reduction = RECORDS[name].reduction
    axes = (0, 1) if axis is None else (axis,)
    sample = Sample((reduction.draw(np.random.default_rng(1), SHAPE).astype("float32"),), {"axis": axis})
    out, pull = record(name, sample, [0])
    x, g = sample.inputs[0].astype("float64"), cotangent(out)
    terms = math.prod(SHAPE[a] for a in axes) if name == "sum" else 16  # the others divide by a number, or choose
    near(out, np.asarray(RECORDS[name].definition(x, axis=axis)), terms)
    near(pull(g)[0], np.expand_dims(g.astype("float64"), axes) * reduction.slope(x, axes), 16)


@pytest.mark.parametrize(("name", "large"), [p for p in every("large") if not RECORDS[p.values[0]].many])
def test_large_calls_in_float64_keep_their_digits(name, large):
    """Of numbers that are no float32; the operators that cut their work do so by bytes, and are compared above."""
    rng, single = np.random.default_rng(1), large.sample()
    sample = Sample(tuple(rng.standard_normal(shape) for shape in large.shapes), single.settings, single.call)
    out, _ = record(name, sample, [0])
    g = cotangent(out)
    value, *expected = defined(name, sample, g)
    same(out, value)
    for i, ours in enumerate(record(name, sample, range(len(sample.inputs)))[1](g)):
        same(ours, expected[i], what=f"gradient {i}")


@pytest.mark.parametrize(
    ("name", "axis"),
    [*[(name, axis) for name in ("softmax", "log_softmax", "logsumexp") for axis in (0, 1)], ("cross_entropy", 1)],
)
def test_rows_of_many_numbers_may_be_far_apart(name, axis):
    """The largest number is subtracted from the others of its row, and of no other row."""
    rng = np.random.default_rng(1)
    x, labels = rng.standard_normal(SHAPE), rng.integers(SHAPE[1], size=SHAPE[0])
    shift = 1000.0 * rng.permutation(SHAPE[1 - axis])
    settings = {"labels": labels} if name == "cross_entropy" else {"axis": axis}
    results = []
    for rows in (x, x + np.expand_dims(shift, axis)):
        tensor = mg.Tensor(rows, requires_grad=True)
        out = getattr(mg, name)(tensor, **settings)
        results.append([out.data, *mg.grad(out, tensor, cotangent(out))])
    results[0][0] = results[0][0] + (shift if name == "logsumexp" else 0.0)
    for ours, expected in zip(results[1], results[0], strict=True):
        same(ours, expected, rtol=1e-9, atol=1e-9)
