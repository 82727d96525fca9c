"""Checks of chapter 20, GPUs by dispatch: with NumPy, and with the strict double, which is as strict as CuPy."""

import numpy as np

import minigrad as mg
from tests.tools.strict import StrictArray, count_syncs, strict


def check_softplus(work):
    """With |x| in the exponent, log(1 + exp(-|x|)) is the same for x and -x. What must be added for positive x?
    minigrad.device.namespace(x) gives the library of an array.
    """
    x = np.array([-1e4, -20, -1, -1e-3, 0, 1e-3, 1, 20, 1e4])
    expected = np.logaddexp(0, x)
    for dtype, tolerance in (("float64", 1e-14), ("float32", 1e-6)):
        with np.errstate(over="raise", invalid="raise"):
            got = work.softplus(x.astype(dtype))
        assert got.dtype == dtype, f"expected a result of {dtype}, got {got.dtype}"
        for value, a, b in zip(x, got, expected, strict=True):
            off = abs(a - b)
            assert off <= tolerance * abs(b), (
                f"at x = {value:g} in {dtype}: expected {b:.6g}, got {a:.6g}, which is off by {off:.1g}"
            )
    with count_syncs() as waits:
        away = work.softplus(strict.asarray(x))
    assert type(away) is StrictArray, f"for an array on a device, expected a StrictArray, got {type(away).__name__}"
    assert waits.count == 0, f"expected no transfer to the host, got {waits.count}"
    worst = np.abs(away.get() - expected).max()
    assert np.allclose(away.get(), expected, rtol=1e-14), f"on a device: the largest error is {worst:.2g}"


def check_mean_of_losses(work):
    """A sum of Tensors, or of their data, stays on the device. .item() brings one number to the host."""
    values = [0.5, 2.0, 0.25, 3.0, 1.5]
    for device, make in (("the host", np.array), ("a device", strict.asarray)):
        for shape in ((), (1,)):
            losses = [mg.Tensor(make(np.full(shape, value, "float32"))) for value in values]
            with count_syncs() as waits:
                got = work.mean_of_losses(losses)
            assert type(got) is float, f"on {device}: expected a Python float, got {type(got).__name__}"
            assert got == 1.45 or abs(got - 1.45) < 1e-6, f"on {device}: expected 1.45, got {got}"
            assert waits.count == (device == "a device"), f"on {device}: {waits.count} values were brought to the host"
    got = work.mean_of_losses([mg.Tensor(strict.asarray(np.float32(7.0)))])
    assert got == 7.0, f"on a device: for one loss of 7, expected 7, got {got}"


def check_clip_gradients(work):
    """Without `if`, use a maximum: the divisor is norm / largest where this is more than 1, and else 1. Then a norm of
    0 is no problem either. In place means that the arrays themselves change: /= or *=.
    """
    rng = np.random.default_rng(0)
    given = [rng.standard_normal(shape) for shape in ((3, 4), (5,), (2, 2, 2))]
    norm = np.sqrt(sum((g**2).sum() for g in given))
    for device, make in (("the host", np.array), ("a device", strict.asarray)):
        for largest in (0.5, norm / 3, 2 * norm):
            gradients = [make(g.copy()) for g in given]
            with count_syncs() as waits:
                work.clip_gradients(gradients, largest)
            assert waits.count == 0, f"on {device}: {waits.count} values were brought to the host"
            factor = min(1, largest / norm)
            for g, before in zip(gradients, given, strict=True):
                after = g.get() if device == "a device" else g
                assert np.allclose(after, factor * before, rtol=1e-12), (
                    f"on {device}: with a norm of {norm:.3g} and at most {largest:.3g}, {before.ravel()[0]:.4g} became "
                    f"{after.ravel()[0]:.4g}, not {factor * before.ravel()[0]:.4g}"
                )
    zeros = [np.zeros(3), np.zeros(2)]
    with np.errstate(all="raise"):
        work.clip_gradients(zeros, 1.0)
    assert not any(g.any() for g in zeros), f"gradients of zeros became {zeros}"
