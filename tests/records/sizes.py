"""Calls whose sizes are drawn log-uniformly, well past every constant in the code: ranks, axes, parts, repeats.

Every record names one of these functions in its part `drawn`. A call has some thousand elements at most, so that an
example takes milliseconds; the numbers keep a distance from kinks, so that differences can be taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tests.records.draw import beside
from tests.records.record import Sample, sample


class Sizes:
    """Draws sizes, choices and numbers from one generator, whose seed Hypothesis draws.

    Sizes that Hypothesis draws itself are mostly 1, and most of its examples differ from an earlier one in one size
    only. That finds and shrinks what fails at small sizes; here the large ones count.
    """

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def integer(self, least: int, most: int) -> int:
        """Draw an integer from `least` to `most`, both included, all with the same probability."""
        return int(self.rng.integers(least, most + 1))

    def random(self) -> float:
        """Draw a number from 0 to 1."""
        return float(self.rng.random())

    def size(self, most: int, least: int = 1) -> int:
        """Draw a size log-uniformly from `least` (at least 1) to `most`, both included."""
        most = max(most, least)
        return min(most, int(least * ((most + 1) / least) ** self.random()))

    def some(self, most: int) -> int:
        """Draw a size log-uniformly, 0 included."""
        return self.size(most + 1) - 1

    def chance(self) -> bool:
        """Draw yes or no."""
        return bool(self.integer(0, 1))

    def pick(self, options: Sequence[Any]) -> Any:
        """Draw one of the options."""
        return options[self.integer(0, len(options) - 1)]

    def shuffled(self, items: Sequence[Any]) -> list[Any]:
        """Put items into a random order."""
        return [items[i] for i in self.rng.permutation(len(items))]

    def shape(self, least: int = 0, most: int = 7, elements: int = 3000) -> tuple[int, ...]:
        """Draw a shape with a number of axes from `least` to `most`."""
        sizes: list[int] = []
        for left in range(self.integer(least, most), 0, -1):  # the larger the number of axes, the smaller each
            sizes.append(self.size(math.ceil((elements / math.prod(sizes)) ** (1.6 / (left + 0.6)))))
        return tuple(self.shuffled(sizes))

    def stretched(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Draw a shape that broadcasts to `shape`: without leading axes, or with axes of size 1."""
        kind = self.integer(0, 3)
        shape = shape[self.integer(0, len(shape)) :] if kind & 1 else shape
        return tuple(n if self.chance() else 1 for n in shape) if kind & 2 else shape

    def axes(self, among: Sequence[int], ndim: int) -> tuple[int, ...]:
        """Draw any number of the given axes, in any order, each by its positive or its negative name."""
        chosen = self.shuffled(among)[: self.pick([len(among), self.integer(0, len(among))])]
        return tuple(a - ndim if self.chance() else a for a in chosen)

    def axis(self, ndim: int) -> int:
        """Draw one axis, by its positive or its negative name."""
        return self.integer(-ndim, ndim - 1)

    def normal(self, *shape: int) -> Any:
        """Draw normal numbers."""
        return np.asarray(self.rng.standard_normal(shape))

    def positive(self, *shape: int) -> Any:
        """Draw numbers from 0.5 to 2."""
        return np.asarray(self.rng.uniform(0.5, 2.0, shape))

    def away(self, *shape: int) -> Any:
        """Draw numbers of both signs, from 0.5 to 2 in magnitude."""
        return self.positive(*shape) * self.rng.choice([-1.0, 1.0], shape)

    def near_1(self, *shape: int) -> Any:
        """Draw numbers of both signs around 1 in magnitude: the product of thousands is neither 0 nor infinite."""
        return np.exp(self.normal(*shape) / 50) * self.rng.choice([-1.0, 1.0], shape)

    def spread(self, *shape: int) -> Any:
        """Draw odd multiples of 0.05 of both signs, all different."""
        size = math.prod(shape)
        return self.rng.permutation(0.1 * (np.arange(size) - size // 2) + 0.05).reshape(shape)


Drawn = Callable[[Sizes], Sample]


# Elementwise ------------------------------------------------------------------------------------


def unary(numbers: Callable[..., Any] = Sizes.normal) -> Drawn:
    """Call an operator of one array of any shape."""
    return lambda s: sample(numbers(s, *s.shape()))


def binary(numbers: Callable[..., Any] = Sizes.normal) -> Drawn:
    """Call an operator of two arrays that broadcast, or of an array and a number."""

    def draw(s: Sizes) -> Sample:
        shape, kind = s.shape(), s.integer(0, 7)
        if kind == 6:
            return sample(numbers(s, *shape), call=lambda op, x: op(x, 2.5), affine=True)
        if kind == 7:
            return sample(numbers(s, *shape), call=lambda op, x: op(2.5, x), affine=True)
        pair = [shape, s.stretched(shape)]
        return sample(*(numbers(s, *a) for a in (pair if kind % 2 else pair[::-1])))

    return draw


def compared(s: Sizes) -> Sample:
    """Call an operator of two arrays that must not tie."""
    made = binary(Sizes.spread)(s)
    return made if len(made.inputs) == 1 else sample(made.inputs[0], made.inputs[1] + 0.025)


def power(s: Sizes) -> Sample:
    """Raise to the powers in an array, or to a number."""
    if s.chance():
        return binary(Sizes.positive)(s)
    p = s.pick([*range(-9, 10), 0.5, -1.5])
    numbers = s.positive if isinstance(p, float) else s.away
    return sample(numbers(*s.shape()), call=lambda op, x: op(x, p))


def clip(s: Sizes) -> Sample:
    """Clip to bounds that no element touches."""
    x = s.spread(*s.shape())
    low, high = sorted(0.1 * np.asarray([s.integer(-x.size, x.size), s.integer(-x.size, x.size)]).round())
    bounds = s.pick([{"a_min": low}, {"a_max": high}, {"a_min": low, "a_max": high}])
    return sample(x, **{name: float(bound) for name, bound in bounds.items()})


def dropout(s: Sizes) -> Sample:
    """Drop any share of the elements."""
    seed, p = s.integer(0, 9999), s.integer(0, 19) / 20

    def call(op: Any, x: Any, training: bool) -> Any:
        return op(x, p, rng=np.random.default_rng(seed), training=training)

    return sample(s.normal(*s.shape()), call=call, training=s.integer(0, 7) < 7)


def where(s: Sizes) -> Sample:
    """Choose between two arrays by a condition; all three broadcast."""
    shape = s.shape()
    condition = np.asarray(s.rng.random(s.stretched(shape)) < s.integer(1, 9) / 10)
    inputs = [s.normal(*s.stretched(shape)), s.normal(*s.stretched(shape))]
    if s.integer(0, 3) == 3:
        return sample(s.normal(*condition.shape), call=lambda op, a: op(beside(a, condition), a, 0.0))
    return sample(*inputs, call=lambda op, a, b: op(beside(a, condition), a, b))


# Shapes and reductions --------------------------------------------------------------------------


def reshape(s: Sizes) -> Sample:
    """Join and split axes, with -1 for one of them or none."""
    shape = s.shape()
    after = s.shuffled(shape)
    for _ in range(s.integer(0, 2)):
        if len(after) > 1:
            after[:2] = [after[0] * after[1]]
        after.insert(s.integer(0, len(after)), 1)
    if after and s.chance():
        after[s.integer(0, len(after) - 1)] = -1
    return sample(s.normal(*shape), shape=tuple(after))


def transpose(s: Sizes) -> Sample:
    """Put the axes into any order."""
    shape = s.shape()
    axes = tuple(a - len(shape) if s.chance() else a for a in s.shuffled(range(len(shape))))
    return sample(s.normal(*shape), axes=None if s.integer(0, 4) == 4 else axes)


def broadcast_to(s: Sizes) -> Sample:
    """Broadcast to a larger shape."""
    shape = s.shape()
    return sample(s.normal(*s.stretched(shape)), shape=shape)


def squeeze(s: Sizes) -> Sample:
    """Drop some of the axes of size 1."""
    shape = s.shuffled([*s.shape(most=4), *[1] * s.size(5)])
    ones = [a for a, n in enumerate(shape) if n == 1]
    axis = s.axes(ones, len(shape)) if s.chance() else s.pick([None, *ones])
    return sample(s.normal(*shape), axis=axis)


def expand_dims(s: Sizes) -> Sample:
    """Insert an axis anywhere."""
    shape = s.shape()
    return sample(s.normal(*shape), axis=s.axis(len(shape) + 1))


def _as_list(op: Any, *inputs: Any, **settings: Any) -> Any:
    return op(list(inputs), **settings)


def concatenate(s: Sizes) -> Sample:
    """Join up to 100 parts of unequal size."""
    shape = list(s.shape(1, 6, elements=60))
    axis, parts = s.axis(len(shape)), []
    for _ in range(s.size(100)):
        shape[axis] = s.some(12)
        parts.append(s.normal(*shape))
    return sample(*parts, call=_as_list, axis=axis)


def stack(s: Sizes) -> Sample:
    """Stack up to 100 parts."""
    shape = s.shape(0, 6, elements=60)
    return sample(*(s.normal(*shape) for _ in range(s.size(100))), call=_as_list, axis=s.axis(len(shape) + 1))


def pad(s: Sizes) -> Sample:
    """Put wide and uneven borders around few axes, and narrow ones around many."""
    shape = s.shape(1, 5, elements=400)
    widths = [(s.some(40 // len(shape) ** 2), s.some(40 // len(shape) ** 2)) for _ in shape]
    constant = {"constant_values": -3.0} if s.chance() else {}
    return sample(s.normal(*shape), pad_width=widths, affine=bool(constant), **constant)


def flip(s: Sizes) -> Sample:
    """Reverse all axes, one, or any number of them."""
    shape = s.shape(1)
    n = len(shape)
    return sample(s.normal(*shape), axis=s.pick([None, s.axis(n), s.axes(range(n), n)]))


#: The integers of an index, and of labels.
INTEGERS = ("int64", "int8", "uint8", "int16", "uint16", "int32", "uint32", "uint64")


def _part_of_index(s: Sizes, n: int, count: int) -> Any:
    """Draw the index of one axis of size n: integers that repeat, a slice, or a number."""
    kind = s.integer(0, 5)
    if kind == 0:
        return s.integer(-n, n - 1)
    if kind in (1, 3):
        step = s.pick([1, 1, 2, 3, 7, -1, -2, -5])
        return slice(*s.pick([(None, None), (s.integer(-n, n), None), (None, s.integer(-n, n))]), step)
    dtype = s.pick([d for d in INTEGERS if np.iinfo(d).max >= n])
    low = 0 if dtype[0] == "u" or s.chance() else -n
    most = s.size(n)  # few different places: many repeats
    index = s.rng.integers(low, low + most, count).astype(dtype)
    return index.tolist() if kind == 2 and dtype == "int64" else index


def getitem(s: Sizes) -> Sample:
    """Index with numbers, slices and integer arrays, in which an element may repeat hundreds of times."""
    shape = s.shape(1, 6, elements=400)
    count = s.size(max(1, min(400, 8000 // math.prod(shape))))
    index = tuple(_part_of_index(s, n, count) for n in shape[: s.integer(1, len(shape))])
    return sample(s.normal(*shape), index=index[0] if len(index) == 1 and s.chance() else index)


def embedding(s: Sizes) -> Sample:
    """Take rows of a table, some of them many times."""
    dtype = s.pick(INTEGERS)
    rows, features = s.size(min(300, np.iinfo(dtype).max)), s.size(30)
    shape = s.shape(0, 4, elements=100)
    indices = s.rng.integers(s.size(rows), size=shape).astype(dtype)  # few different rows: many repeats
    return sample(s.normal(rows, features), call=lambda op, w, indices: op(indices, w), indices=indices)


def reduction(numbers: Callable[..., Any] = Sizes.normal) -> Drawn:
    """Reduce all axes, one, or any number of them."""

    def draw(s: Sizes) -> Sample:
        shape = s.shape()
        some = [s.axes(range(len(shape)), len(shape)) for _ in range(3)]
        options = [None, *some, s.axis(len(shape))] if shape else [None, ()]
        return sample(numbers(s, *shape), axis=s.pick(options), keepdims=s.chance())

    return draw


def cumsum(s: Sizes) -> Sample:
    """Add up along an axis, or all elements."""
    shape = s.shape()
    return sample(s.normal(*shape), **({"axis": s.axis(len(shape))} if shape and s.chance() else {}))


#: Small letters and capitals, some of them of one name.
LETTERS = "aAbBijKQ"


def einsum(s: Sizes) -> Sample:
    """Multiply up to six arrays, each of any letters of any size: stacks, outer products, sums in one or in several."""
    letters = s.shuffled(LETTERS)[: s.integer(1, 6)]
    parts = ["".join(s.shuffled(letters)[: s.integer(0, 4)]) for _ in range(s.size(6))]
    used = s.shuffled(sorted(set("".join(parts))))
    result = "" if s.integer(0, 3) == 0 else "->" + "".join(used[: s.integer(0, len(used))])
    size = {c: s.size([1, 1000, 60, 20, 9, 6, 4][len(letters)]) for c in letters}
    arrays = [s.normal(*(size[c] for c in part)) for part in parts]
    subscripts = ",".join(parts) + result
    return sample(*arrays, call=lambda op, *arrays, subscripts: op(subscripts, *arrays), subscripts=subscripts)


def along_an_axis(s: Sizes) -> Sample:
    """Call softmax or its logarithm."""
    shape = s.shape(1)
    return sample(s.normal(*shape), axis=s.axis(len(shape)))
