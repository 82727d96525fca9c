"""Underflow that an operator makes by design is no error, whatever NumPy's errstate; other faults still are."""

import numpy as np
import pytest

import minigrad as mg
from tests.tools.compare import leaf_of

FAR = [[0.0, -200.0, 1.0], [1e4, -1e4, 0.0]]
CASES = {
    "sigmoid": lambda x: mg.sigmoid(x),
    "softmax": lambda x: mg.softmax(x),
    "log_softmax": lambda x: mg.log_softmax(x),
    "logsumexp": lambda x: mg.logsumexp(x, 1),
    "cross_entropy": lambda x: mg.cross_entropy(x, [0, 1]),
    "tanh": lambda x: mg.tanh(x),
    "softplus": lambda x: mg.softplus(x),
    "silu": lambda x: mg.silu(x),
    "gelu": lambda x: mg.gelu(x),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("create_graph", [False, True])
def test_what_is_far_from_zero_underflows_without_a_word(name, create_graph):
    seen = []
    for underflow in ("ignore", "raise"):
        x = mg.Tensor(np.array(FAR, np.float32), requires_grad=True)
        with np.errstate(all="raise", under=underflow):
            y = CASES[name](x)
            g = np.full(y.shape, 1e-30, np.float32)
            seen.append([y.data, mg.grad(y, x, g, create_graph=create_graph)[0].data])
    for ignored, raised in zip(*seen, strict=True):
        np.testing.assert_array_equal(raised, ignored, strict=True)


def test_running_statistics_and_velocities_fade_without_a_word():
    norm = mg.nn.BatchNorm2d(1)
    norm.running_mean.data[:] = norm.running_var.data[:] = 1e-44
    w = mg.nn.Parameter([1.0])
    sgd = mg.optim.SGD([w], 0.1)
    sgd.state[w] = {"velocity": np.full(1, 1e-44, np.float32)}
    w.grad = mg.Tensor([0.0])
    with np.errstate(all="raise"):
        norm(mg.Tensor([[0.0], [0.0]]))
        sgd.step()
    assert norm.running_var.data[0] < 1e-44
    assert sgd.state[w]["velocity"][0] < 1e-44


def test_other_faults_are_raised_where_the_user_asks_for_it():
    x = leaf_of(-1.0, 0.0)
    with np.errstate(all="raise"):
        for f in (mg.log, lambda x: 1.0 / x, lambda x: mg.exp(x * -1e4), lambda x: mg.exp(x * 1e4)):
            with pytest.raises(FloatingPointError):
                f(x)
        y = mg.sqrt(mg.abs(x))
        with pytest.raises(FloatingPointError):  # in the replay
            y.sum().backward()
        one = leaf_of(1.0)
        large = one * 1e300
        with pytest.raises(FloatingPointError, match="overflow"):
            mg.grad(large, one, np.array([1e300]))


@pytest.mark.parametrize(
    "f",
    [
        lambda x: mg.softmax(x),
        lambda x: mg.log_softmax(x),
        lambda x: mg.cross_entropy(x, [0, 1]),
        lambda x: mg.var(x),
        lambda x: mg.std(x, 0),
        lambda x: mg.layer_norm(x, 3, np.ones(3), np.ones(3)),
        lambda x: mg.batch_norm(x, *np.ones((4, 3)), training=True),
        lambda x: mg.sub(x, x),
    ],
)
def test_infinity_less_infinity_is_reported(f):
    with np.errstate(all="raise"), pytest.raises(FloatingPointError, match="invalid"):
        f(np.array([[np.inf, 1.0, 2.0], [1.0, 2.0, 3.0]]))
