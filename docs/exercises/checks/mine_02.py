"""Checks of the milestone of chapter 2: the tape."""

import numpy as np

import minigrad as mg
from docs.exercises.checks.tape import Readings, compare, counted, same


def check_Tensor(work):
    """np.asarray leaves an array as it is. For the place in the order, all Tensors can share one itertools.count()."""
    x = work.Tensor([1.0, 2.0])
    assert isinstance(x.data, np.ndarray), f"expected an array as data, got {type(x.data).__name__}"
    same("data of Tensor([1.0, 2.0])", x.data, [1.0, 2.0])
    x = work.Tensor(np.ones(3, "float32"))
    assert x.data.dtype == "float32", f"of a float32 array, expected float32 data, got {x.data.dtype}"
    y = work.Tensor(x.data, [(x, lambda g: g)])
    assert len({x: 0, y: 1}) == 2, "two Tensors must be two keys of a dict: leave __eq__ and __hash__ as they are"


def check_gradients(work):
    """Take the Tensors in the reverse order of execution: then each total is complete when its Tensor is taken.

    A heap with the negative order yields the newest. Recursion from y would follow every path. Sum with ``a + b``,
    which makes a new array, and not with ``+=``: rules may return the array that they were given, so two totals may be
    the same array.
    """

    def step(*edges):
        return work.Tensor(np.ones(2), [(x, lambda g, d=d: g * d) for x, d in edges])

    g = np.array([1.0, -2.0])
    x = work.Tensor(np.ones(2))
    _expect(work, "a leaf", x, g, {x: 1.0})
    _expect(work, "one step with derivative 3", step((x, 3.0)), g, {x: 3.0})
    _expect(work, "a chain of derivatives 3 and 5", step((step((x, 3.0)), 5.0)), g, {x: 15.0})
    _expect(work, "two edges to one leaf, 4 and 4", step((x, 4.0), (x, 4.0)), g, {x: 8.0})
    z = work.Tensor(np.ones(2))
    _expect(work, "two leaves, derivatives 2 and 7", step((x, 2.0), (z, 7.0)), g, {x: 2.0, z: 7.0})
    a = step((x, 2.0))
    b = step((a, 3.0))
    _expect(work, "paths of 2 * 5 and 2 * 3 * 7", step((a, 5.0), (b, 7.0)), g, {x: 52.0})
    _expect(work, "paths of 2 * 3 * 7 and 2 * 5", step((b, 7.0), (a, 5.0)), g, {x: 52.0})
    y, readings = x, Readings("200 doublings", "2 ** 200", "201 Tensors")

    def same_gradient(g):
        readings()  # also where the edges were copied
        return g * 1.0

    for _ in range(200):
        y = work.Tensor(np.ones(2), counted([(y, same_gradient), (y, same_gradient)], readings))
    _expect(work, "200 doublings", y, g, {x: 2.0**200})
    y = x
    for _ in range(5000):
        y = step((y, 1.0))
    _expect(work, "5,000 steps", y, g, {x: 1.0})

    def plus(a, b):  # its rules return the array that they are given
        return work.Tensor(a.data + b.data, [(a, lambda g: g), (b, lambda g: g)])

    _expect(work, "(x + z) + z, where rules return g itself", plus(plus(x, z), z), g, {x: 1.0, z: 2.0})
    assert list(g) == [1.0, -2.0], f"g was changed in place, from [1, -2] to {g}"


def _expect(work, case, y, g, factors):
    found = work.gradients(y, g)
    assert isinstance(found, dict), f"{case}: expected a dict, got {type(found).__name__}"
    assert len(found) == len(factors), f"{case}: expected gradients of {len(factors)} leaves, got {len(found)}"
    for x, factor in factors.items():
        assert x in found, f"{case}: the gradient of a leaf is missing"
        same(f"{case}, g = [1, -2]", found[x], factor * np.array([1.0, -2.0]))


def check_add(work):
    """A Tensor of the sum has two edges. What does a + b gain if a gains a little?"""
    compare(work, "add", lambda a, b: work.add(a, b), mg.add, *_draw((2, 3), (2, 3)))
    compare(work, "add(x, x)", lambda x: work.add(x, x), lambda x: 2 * x, *_draw((3,)))


def check_mul(work):
    """The rule of each argument needs the data of the other."""
    compare(work, "mul", lambda a, b: work.mul(a, b), mg.mul, *_draw((2, 3), (2, 3)))
    compare(work, "mul(x, x)", lambda x: work.mul(x, x), lambda x: x * x, *_draw((3,)))


def check_power(work):
    """Only x gets an edge; p is a number. The derivative of x ** p is p * x ** (p - 1)."""
    (x,) = _draw((2, 3))
    for p in (3, 2.0, -1, 0.5):
        compare(work, f"power(x, {p})", lambda x, p=p: work.power(x, p), lambda x, p=p: x**p, np.abs(x) + 0.5)


def check_exp(work):
    """The derivative of exp is its own result: compute it once."""
    compare(work, "exp", lambda x: work.exp(x), np.exp, *_draw((2, 3)))


def check_relu(work):
    """The derivative is 1 where x > 0, and 0 elsewhere: an array of booleans can be a factor."""
    compare(work, "relu", lambda x: work.relu(x), mg.relu, *_draw((4, 5)))
    x = work.Tensor(np.zeros(3))
    same("relu at 0: its gradient", work.gradients(work.relu(x), np.ones(3))[x], np.zeros(3))


def _draw(*shapes):
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape) for shape in shapes]
