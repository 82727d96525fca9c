"""What the checks share: comparisons that say in numbers what differs, also for the Tensors of a student's own tape.

A walk that follows every path of a tape is stopped by the number of edges that it reads, before the time limit.
"""

import numpy as np

import minigrad as mg

#: How often edges may be read. Even a walk that visits each pair of Tensors reads them less often.
LIMIT = 1_000_000


class Readings:
    """Count the readings of edges, and stop a walk that follows each of `paths`."""

    def __init__(self, case, paths, places):
        self.case, self.paths, self.places, self.count = case, paths, places, 0

    def __call__(self):
        self.count += 1
        assert self.count <= LIMIT, (
            f"{self.case}: stopped after {LIMIT:,} readings of edges; there are {self.paths} paths, "
            f"but only {self.places}"
        )


def counted(edges, readings):
    """Return a list or tuple of edges, each reading of which is counted."""
    kind = type(edges)

    class Counted(kind):
        def __iter__(self):
            readings()
            return kind.__iter__(self)

        def __getitem__(self, place):
            readings()
            return kind.__getitem__(self, place)

    return Counted(edges)


def same(case, got, expected, tolerance=1e-10):
    """Assert that two arrays have one shape and the same numbers; say where they differ most."""
    assert np.shape(got) == np.shape(expected), f"{case}: expected shape {np.shape(expected)}, got {np.shape(got)}"
    got, expected = np.asarray(got), np.asarray(expected)
    off = np.nan_to_num(np.abs(got - expected), nan=np.inf)
    if off.max(initial=0.0) > tolerance * max(1.0, np.abs(expected).max(initial=0.0)):
        place = tuple(int(i) for i in np.unravel_index(off.argmax(), off.shape))
        where = f"{case}, at index {place}" if place else case
        raise AssertionError(f"{where}: expected {expected[place]:.8g}, got {got[place]:.8g}")


def compare(work, case, f, reference, *arrays):
    """Compare f, a function of the student's Tensors, with `reference`, the same function of arrays.

    In float64 the value is compared with that of the reference, and the gradients with finite differences. In float32
    all results must have this dtype.
    """
    before = [a.copy() for a in arrays]
    same(case, value(work, case, f, arrays), reference(*arrays))
    for dtype in ("float32", "float64"):
        low = [a.astype(dtype) for a in arrays]
        y = value(work, case, f, low)
        assert y.dtype == dtype, f"{case}: of {dtype} inputs, expected a {dtype} result, got {y.dtype}"
        differentiate(work, case, f, low, np.ones(y.shape, dtype))
    try:
        mg.gradcheck(as_operator(work, case, f), arrays)
    except mg.GradientError as error:
        raise AssertionError(f"{case}: {error}") from None
    for i, (a, old) in enumerate(zip(arrays, before, strict=True)):
        assert np.array_equal(a, old), f"{case}: the array of input {i} was changed in place"


def value(work, case, f, arrays):
    """Return the array that f computes."""
    y = f(*map(work.Tensor, arrays))
    assert isinstance(y, work.Tensor), f"{case}: expected a Tensor, got {type(y).__name__}"
    return np.asarray(y.data)


def differentiate(work, case, f, arrays, g):
    """Return the gradients of sum(g * f(arrays)) that the student's tape computes, after a look at their form."""
    leaves = [work.Tensor(a) for a in arrays]
    found = work.gradients(f(*leaves), g)
    for i, (leaf, a) in enumerate(zip(leaves, arrays, strict=True)):
        assert leaf in found, f"{case}: what gradients returned has no gradient of input {i}"
        shape, dtype = np.shape(found[leaf]), np.asarray(found[leaf]).dtype
        assert shape == a.shape, f"{case}: expected a gradient of shape {a.shape} for input {i}, got {shape}"
        assert dtype == a.dtype, f"{case}: expected a {a.dtype} gradient for input {i}, got {dtype}"
    return [np.asarray(found[leaf]) for leaf in leaves]


def as_operator(work, case, f):
    """Return f as one operator of minigrad, whose rule is the student's tape: so mg.gradcheck can check it."""

    @mg.operator
    def yours(*arrays):
        return value(work, case, f, arrays), {"given": arrays}

    @yours.vjp
    def _(g, *, need, given):
        return differentiate(work, case, f, given, g)

    return yours
