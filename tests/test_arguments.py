"""Checks of arguments: integers and pairs at their bounds, in every form in which they may be given."""

import numpy as np
import pytest

import minigrad as mg
from minigrad.arguments import as_int, generator, integer, pair

#: Ways to give an integer.
INTEGERS = [int, np.int64, np.int8, lambda n: np.array(n, "int32")]

#: Ways to give a pair: only the first is looked at quickly.
PAIRS = [tuple, list, np.array, iter, lambda two: tuple(map(np.int64, two)), lambda two: (np.int8(two[0]), two[1])]

#: What is no integer: an array of one element is a list of one.
WRONG = [
    True,
    np.True_,
    np.array(True),
    2.0,
    np.float64(2),
    np.array(1.7),
    np.ma.array(1.7),
    "2",
    None,
    2j,
    [2],
    np.array([2]),
]


@pytest.mark.parametrize("least", [None, -1, 0, 1, 2])
@pytest.mark.parametrize("form", INTEGERS)
def test_an_integer_is_taken_from_its_least_value_on(form, least):
    for number in range(-3, 4):
        if least is not None and number < least:
            with pytest.raises(ValueError, match=f"f: expected n to be an int of at least {least}, got "):
                integer("f", "n", form(number), least=least)
        else:
            taken = integer("f", "n", form(number), least=least)
            assert (taken, type(taken)) == (number, int)


@pytest.mark.parametrize("least", [-1, 0, 1, 2])
@pytest.mark.parametrize("form", PAIRS)
def test_both_numbers_of_a_pair_have_the_least_value(form, least):
    for two in np.ndindex(4, 4):
        two = two[0] - 1, two[1] - 1
        if min(two) < least:
            with pytest.raises(ValueError, match=f"f: expected n to be an int of at least {least}, or a pair of them"):
                pair("f", "n", form(two), least=least)
        else:
            taken = pair("f", "n", form(two), least=least)
            assert (taken, [*map(type, taken)]) == (two, [int, int])


@pytest.mark.parametrize("form", INTEGERS)
def test_one_number_is_a_pair_of_equals(form):
    assert pair("f", "n", form(2), least=2) == (2, 2)
    with pytest.raises(ValueError, match="f: expected n"):
        pair("f", "n", form(1), least=2)


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_what_is_no_integer_is_refused_alone_and_in_either_place_of_a_pair(wrong):
    assert as_int(wrong) is None
    with pytest.raises(ValueError, match="f: expected n to be an int, got "):
        integer("f", "n", wrong)
    for given in (wrong, (wrong, 1), (1, wrong), [wrong, 1], [1, wrong], (), (1,), (1, 1, 1)):
        with pytest.raises(ValueError, match="f: expected n to be an int of at least 0, or a pair"):
            pair("f", "n", given, least=0)


NO_NUMBERS = [10**400, -(10**400), np.inf, -np.inf, np.nan, "1", None, True, 1j]


@pytest.mark.parametrize("wrong", NO_NUMBERS, ids=lambda wrong: str(wrong)[:4])
def test_what_is_no_finite_number_is_refused_by_name(wrong):
    """Also an int that no float holds: float() would say so in words of its own."""
    with pytest.raises(ValueError, match="SGD: expected a finite number with lr >= 0"):
        mg.optim.SGD([mg.nn.Parameter([1.0])], wrong)


@pytest.mark.parametrize("form", INTEGERS)
def test_a_seed_makes_the_generator_that_numpy_makes_of_it(form):
    expected = np.random.default_rng(3).random(5)
    np.testing.assert_array_equal(generator("f", form(3)).random(5), expected, strict=True)
    given = np.random.default_rng(3)
    assert generator("f", given) is given


@pytest.mark.parametrize("wrong", [*WRONG, -1, np.random], ids=repr)
def test_what_is_no_seed_is_refused_above_all_none_which_would_be_unseeded(wrong):
    with pytest.raises(TypeError, match="f: expected rng to be a numpy Generator or a seed, got "):
        generator("f", wrong)
