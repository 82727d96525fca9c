"""holders: whether anything else than one attribute or item can see an array change.

The counts are taken outside of asserts: pytest stores what stands in an assert, and so holds it.
"""

import numpy as np
import pytest

import minigrad as mg
from minigrad.device import holders
from tests.tools.strict import strict

SHAPES = [(), (1,), (3, 2), (1000, 400)]


class Place:
    """An attribute that holds an array."""

    def __init__(self, array):
        self.array = array


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "complex128"])
def test_one_place_is_one_holder(shape, dtype):
    """An attribute, a property, an item of a list and of a dict."""
    place, items, named = Place(np.ones(shape, dtype)), [np.ones(shape, dtype)], {"a": np.ones(shape, dtype)}
    x = mg.Tensor(np.ones(shape, dtype))
    for _ in range(2):
        found = [holders(place.array), holders(x.data), holders(items[0]), holders(named["a"])]
        assert found == [1, 1, 1, 1]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_reshaped_array_is_held_as_the_array_is(shape):
    """By one place: no variable names the array that has the memory."""
    place = Place(np.ones(shape).reshape(-1, 1).reshape(shape)[...])
    count = holders(place.array)
    assert count == 1
    assert not place.array.flags.owndata


#: What may hold an array besides its place.
OTHERS = {
    "a variable": lambda a: a,
    "a list": lambda a: [a],
    "a closure": lambda a: lambda: a,
    "a view": lambda a: a[:1],
    "a view of a view": lambda a: a.T[:1].reshape(-1)[:1],
    "a view of another dtype": lambda a: a.view("int64"),
    "a flat iterator": lambda a: a.flat,
    "an iterator": iter,
    "a nditer": np.nditer,
    "bytes": memoryview,
    "a capsule": lambda a: a.__dlpack__(),
    "an exchanged array": np.from_dlpack,
    "a pointer": lambda a: a.ctypes,
    "a masked array": lambda a: np.ma.masked_array(a, copy=False),
    "a Tensor": mg.Tensor,
    "a view of a Tensor": lambda a: mg.Tensor(a)[:1],
    "the tape": lambda a: mg.Tensor(np.ones(a.shape), requires_grad=True) * a,
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("whole", [True, False], ids=["own memory", "reshaped"])
def test_every_other_holder_counts(name, whole):
    place = Place(np.ones((3, 2)) if whole else np.ones(6).reshape(3, 2))
    other = OTHERS[name](place.array)
    counts = [holders(place.array)]
    del other
    counts.append(holders(place.array))
    assert counts[0] > counts[1] == 1


def test_the_tape_holds_a_leaf_until_it_is_released():
    x = mg.Tensor(np.ones(3), requires_grad=True)
    counts = [holders(x.data)]
    y = (x * x).sum()
    counts.append(holders(x.data))
    y.backward(retain_graph=True)
    counts.append(holders(x.data))
    y.backward()
    counts.append(holders(x.data))
    assert counts == [1, counts[1], counts[1], 1]
    assert counts[1] > 1


def read_only():
    array = np.ones((3, 2))
    array.flags.writeable = False
    return array


#: What must not be overwritten, or not as one run, although one place alone holds it.
NOT_OWN = {
    "read-only": read_only,
    "a part": lambda: np.ones((4, 2))[:3],
    "a part of a reshaped array": lambda: np.ones(8).reshape(4, 2)[:3],
    "the memory of a transposed array": lambda: np.asfortranarray(np.ones((3, 2))).T,
    "transposed": lambda: np.ones((3, 2)).T,
    "columns first": lambda: np.asfortranarray(np.ones((3, 2))),
    "broadcast": lambda: np.broadcast_to(1.0, (3, 2)),
    "bytes": lambda: np.frombuffer(bytearray(48)).reshape(3, 2),
    "of a class of its own": lambda: np.ma.masked_array(np.ones((3, 2))),
    "on a device": lambda: strict.asarray(np.ones((3, 2))),
    "a NumPy scalar": lambda: np.float64(1.0),
    "a number": lambda: 1.5,
}


@pytest.mark.parametrize("name", NOT_OWN)
def test_what_cannot_be_overwritten_has_another_holder(name):
    place = Place(NOT_OWN[name]())
    count = holders(place.array)
    assert count > 1
