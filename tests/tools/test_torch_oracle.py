"""The oracle compares every element and every parameter, at the tolerance that it says."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from tests.tools.torch_oracle import (
    DOUBLE,
    SINGLE,
    assert_close,
    assert_gradients_of_parameters,
    call_both,
    copy_parameters,
    random,
    torch,
)

X = np.array([[1.0, -2.0], [4.0, 0.25]])


@pytest.mark.parametrize("place", [(0, 0), (0, 1), (1, 1)])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("bound", [DOUBLE, SINGLE, 1e-3])
@pytest.mark.parametrize(("size", "scale"), [(1.0, 4.0), (1e-6, 1e-3)])
def test_the_bound_is_relative_to_the_largest_element(size, scale, bound, sign, place):
    x = size * X
    for share, passes in ((0.5, True), (2.0, False)):
        ours = x.copy()
        ours[place] += sign * share * bound * scale
        settings = {} if bound == DOUBLE else {"bound": bound}
        if passes:
            assert_close(mg.Tensor(ours), torch.tensor(x), "mine", **settings)
            continue
        with pytest.raises(AssertionError, match="mine"):
            assert_close(mg.Tensor(ours), torch.tensor(x), "mine", **settings)


def test_bounds_are_those_that_the_documentation_names():
    assert (DOUBLE, SINGLE) == (1e-10, 2e-5)


@pytest.mark.parametrize(
    "ours", [X[None], X.astype("float32"), X[:1], X * np.nan, X.T], ids=["axis", "dtype", "row", "nan", "transposed"]
)
def test_shape_dtype_and_what_is_not_a_number(ours):
    assert_close(mg.Tensor(X), torch.tensor(X, requires_grad=True), "")
    with pytest.raises(AssertionError):
        assert_close(mg.Tensor(ours), torch.tensor(X), "")
    with pytest.raises((AssertionError, RuntimeWarning)):  # NumPy warns of a tolerance that is no number
        assert_close(mg.Tensor(X * np.nan), torch.tensor(X * np.nan), "")


def nets():
    """Return three layers on both sides, with the same parameters."""
    ours = nn.Sequential(nn.Linear(3, 4, rng=0, dtype=np.float64), nn.Linear(4, 2, rng=0, dtype=np.float64))
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2)).double()
    copy_parameters(ours, theirs)
    return ours, theirs


@pytest.mark.parametrize("k", range(4))
def test_a_fault_in_the_gradient_of_one_parameter_only(k):
    ours, theirs = nets()
    call_both(ours, theirs, random((5, 3), 0))
    assert_gradients_of_parameters(ours, theirs, "net")
    name, p = list(ours.named_parameters())[k]
    p.grad.data.flat[-1] *= 1.001
    with pytest.raises(AssertionError, match=f"net: {name}"):
        assert_gradients_of_parameters(ours, theirs, "net")


def test_both_sides_get_the_same_input_cotangent_and_parameters():
    """Outputs and gradients of the input agree, for vectors and for images; gradients of earlier calls are gone."""
    ours, theirs = nets()
    for _ in range(2):
        out, expected, dx, dy = call_both(ours, theirs, random((5, 3), 0))
        assert_close(out, expected, "out")
        assert_close(dx, dy, "gradient of the input")
        assert_gradients_of_parameters(ours, theirs, "net")
    g = random((50,), 3)
    assert (g > 0).any()
    assert (g < 0).any()
    assert not np.array_equal(g, random((50,), 4))
    conv = nn.Conv2d(2, 3, 3, rng=0, dtype=np.float64)
    counterpart = torch.nn.Conv2d(2, 3, 3, bias=conv.bias is not None).double()
    copy_parameters(conv, counterpart)
    out, expected, dx, dy = call_both(conv, counterpart, random((2, 5, 6, 2), 1))
    assert_close(out, expected, "out")
    assert dx.shape == (2, 5, 6, 2)
    assert_gradients_of_parameters(conv, counterpart, "conv")
