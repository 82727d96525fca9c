"""The helpers of the suite: what they compare they compare everywhere, and their tolerances are what they say."""

import numpy as np
import pytest

import minigrad as mg
from tests.checks.planted import planted
from tests.records import RECORDS, every, every_sample
from tests.records.draw import randn
from tests.records.record import sample
from tests.tools import extremes
from tests.tools.compare import cotangent, leaf, leaf_of, leaves, same, sum_back, threads_restored
from tests.tools.reach import count_calls, entries_of, watch_gradients

X = np.array([[1.0, -2.0, 0.5], [4.0, 0.25, -8.0]])


# same ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [(0, 0), (0, 1), (1, 2)])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("settings", "error"),
    [({}, lambda x: 1e-11 + 1e-11 * abs(x)), ({"rtol": 1e-3, "atol": 0}, lambda x: 1e-3 * abs(x)),
     ({"rtol": 0, "atol": 1e-3}, lambda x: 1e-3)],
    ids=["as it is", "rtol", "atol"],
)  # fmt: skip
def test_same_has_the_tolerance_that_it_is_given(settings, error, sign, place):
    for share, passes in ((0.5, True), (2.0, False)):
        ours = X.copy()
        ours[place] += sign * share * error(X[place])
        for wrap in (np.asarray, mg.Tensor):
            if passes:
                same(wrap(ours), X, **settings)
                continue
            with pytest.raises(AssertionError, match="mine"):
                same(wrap(ours), X, **settings, what="mine")


@pytest.mark.parametrize(
    "other",
    [X.astype("float32"), X[None], X.T, X[:, :2], np.broadcast_to(X, (2, 2, 3)), np.array(1.0)],
    ids=["dtype", "axis", "transposed", "smaller", "stretched", "0-d"],
)
def test_same_compares_shapes_and_dtypes(other):
    like = np.ones_like(other)
    same(like, like)
    for ours, expected in ((like, np.ones_like(X)), (np.ones_like(X), like)):
        with pytest.raises(AssertionError):
            same(ours, expected)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_same_takes_nothing_for_equal_that_is_not_a_number(value):
    wrong = X.copy()
    wrong[-1, -1] = value
    for ours, expected in ((wrong, X), (X, wrong)):
        with pytest.raises(AssertionError):
            same(ours, expected)
    if np.isnan(value):
        with pytest.raises(AssertionError):
            same(wrong, wrong)


# Draws ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_cotangents_have_both_signs_in_every_column_and_the_dtype_of_the_result(dtype):
    out = mg.Tensor(np.zeros((50, 3), dtype))
    g = cotangent(out)
    assert (g.shape, g.dtype, type(g)) == ((50, 3), dtype, np.ndarray)
    assert ((g > 0).any(axis=0) & (g < 0).any(axis=0)).all()
    assert len(np.unique(g)) == g.size
    np.testing.assert_array_equal(cotangent(out), g)
    np.testing.assert_array_equal(cotangent(out, np.random.default_rng(0)), g)
    assert (cotangent(out, 1) != g).all()
    assert cotangent(mg.Tensor(np.zeros((), dtype))).shape == ()


def test_leaves_are_copies_of_every_input():
    s = sample(randn(2), randn(3, 1), randn(1))
    for dtype in ("float64", "float32"):
        tensors = leaves(s, dtype)
        assert [t.shape for t in tensors] == [(2,), (3, 1), (1,)]
        for tensor, x in zip(tensors, s.inputs, strict=True):
            assert tensor.requires_grad
            np.testing.assert_array_equal(tensor.data, x.astype(dtype), strict=True)
            tensor.data[...] = 0
            assert (x != 0).all()
    for tensor in (leaf([1.0, 2.0], "float32"), leaf_of(1.0, 2.0, dtype="float32"), leaf(np.ones(2, "float32"))):
        assert (tensor.shape, tensor.dtype, tensor.requires_grad) == ((2,), "float32", True)


@pytest.mark.parametrize("shape", [(), (3,), (1,), (1, 3), (2, 1), (4, 1, 1), (4, 2, 3), (1, 1, 1)])
def test_sum_back_is_the_adjoint_of_broadcasting(shape):
    g, x = randn(4, 2, 3), randn(*shape, seed=1)
    back = sum_back(g, shape)
    assert back.shape == shape
    np.testing.assert_allclose((back * x).sum(), (g * np.broadcast_to(x, g.shape)).sum(), rtol=1e-12)


def test_the_number_of_threads_is_restored():
    def fails():
        with threads_restored():
            mg.set_num_threads(7)
            raise KeyError("mine")

    with threads_restored():
        mg.set_num_threads(3)
        with pytest.raises(KeyError, match="mine"):
            fails()
        assert mg.get_num_threads() == 3


def test_rows_of_extremes_overflow_lose_terms_and_tie():
    """The textbook formula of logsumexp fails for four rows; 1e-17 is lost beside 1; one row is all equal."""
    with np.errstate(over="ignore", divide="ignore"):
        textbook = np.log(np.exp(extremes.ROWS).sum(axis=1))
    assert np.isinf(textbook).tolist() == [False, True, True, True, True, False, False, False]
    assert (np.ptp(extremes.ROWS, axis=1) == 0).any()
    assert np.exp(-700.0) > 0 == np.exp(-750.0)
    assert {-700.0, -750.0, 1e-17, -1e-300} <= set(extremes.ROWS.ravel().tolist())
    assert set(extremes.AXES) == {0, 1, -1, None, (0, 1)}


# What was computed -----------------------------------------------------------------------------


def test_watch_gradients_notes_every_rule_what_was_needed_and_what_was_given(monkeypatch):
    """Also a gradient that nobody needed, and one that is missing."""
    wasteful = planted(lambda x, y, z, /: x + y + z, lambda g, *, need: (g + 0, g + 0, g + 0))
    thrifty = planted(
        lambda x, y, z, /: x + y + z, lambda g, *, need: tuple(g + 0 if needed else None for needed in need)
    )
    tensors = [leaf_of(1.0), mg.Tensor(np.ones(1)), leaf_of(1.0)]
    watched = watch_gradients(monkeypatch)
    mg.grad(thrifty(*tensors), [tensors[0], tensors[2]])
    assert watched == [([True, False, True], [True, False, True])]
    mg.grad(wasteful(*tensors), tensors[0])
    assert watched[1:] == [([True, False, False], [True, True, True])]
    mg.grad(thrifty(thrifty(*tensors), *tensors[1:]), [tensors[0], tensors[2]])
    assert len(watched) == 4


def test_count_calls_notes_every_call_and_passes_on_what_it_gives(monkeypatch):
    class Module:
        first = staticmethod(lambda a: a + 1)
        last = staticmethod(lambda a, b: a * b)

    called = count_calls(monkeypatch, Module, "first", "last")
    assert (Module.first(1), Module.last(2, 3), Module.first(4)) == (2, 6, 5)
    assert called == ["first", "last", "first"]


def test_entries_of_finds_each_entry_once():
    x = leaf_of(1.0, 2.0)
    y = x * 2.0
    assert len(entries_of(y * y + mg.exp(y) * x)) == 5
    assert entries_of(x) == []


# The lists that the generic tests run over ------------------------------------------------------


def test_every_sample_lists_every_sample_of_every_operator_once():
    listed = [(p.values[0], p.values[1]) for p in every_sample()]
    expected = [(name, s) for name, record in RECORDS.items() for s in record.samples.values()]
    assert len(listed) == len(expected)
    assert all(a[0] == b[0] and a[1] is b[1] for a, b in zip(listed, expected, strict=True))
    assert len({p.id for p in every_sample()}) == len(expected)
    chosen = {p.values[0] for p in every_sample(lambda record, _: record.fused)}
    assert chosen == {name for name, record in RECORDS.items() if record.fused}
    two = [p for p in every_sample(lambda _, s: len(s.inputs) > 1)]
    assert len(two) == sum(len(s.inputs) > 1 for record in RECORDS.values() for s in record.samples.values())


@pytest.mark.parametrize("part", ["large", "kinks", "refuses", "accepts", "numbers"])
def test_every_lists_every_item_of_a_part_of_the_records(part):
    listed = [(p.values[0], p.values[1]) for p in every(part)]
    items = {name: getattr(record, part) for name, record in RECORDS.items()}
    expected = [(name, item) for name, d in items.items() if isinstance(d, dict) for item in d.values()]
    assert listed == expected
    assert listed


def test_samples_are_small_enough_for_every_entry_to_be_compared():
    """So gradcheck compares the full Jacobian of every sample."""
    large = []
    for name, record in RECORDS.items():
        for key, s in record.samples.items():
            out = np.asarray(s.function(name)(*s.inputs))
            if sum(x.size for x in s.inputs) * out.size > mg.checks.differences.FULL_JACOBIAN:
                large.append(f"{name}-{key}")
    assert large == []
