"""Checks of chapter 2."""

import numpy as np

import minigrad as mg


def check_walk(work):
    got = work.walk([[], [(0, 3.0)], [(1, 5.0)]])
    assert list(got) == [15.0, 5.0, 1.0], f"a chain multiplies: expected [15.0, 5.0, 1.0], got {got}"
    diamond = [[], [(0, 2.0)], [(0, 3.0)], [(1, 5.0), (2, 7.0)]]
    got = work.walk(diamond)
    assert list(got) == [31.0, 5.0, 7.0, 1.0], f"two paths add up: expected [31.0, 5.0, 7.0, 1.0], got {got}"
    got = work.walk([[], [(0, 4.0), (0, 4.0)]])
    assert list(got) == [8.0, 1.0], f"x * x has two edges to x: expected [8.0, 1.0], got {got}"
    got = work.walk([[], [(0, 9.0)], [(0, 2.0)]])
    assert list(got) == [2.0, 0.0, 1.0], f"an unused step has derivative 0: expected [2.0, 0.0, 1.0], got {got}"
    assert diamond == [[], [(0, 2.0)], [(0, 3.0)], [(1, 5.0), (2, 7.0)]], "the tape was changed"
    doublings = [[]] + [[(k, 1.0), (k, 1.0)] for k in range(200)]
    assert work.walk(doublings)[0] == 2.0**200, "after 200 doublings, expected a derivative of 2 ** 200"


def check_make_swish(work):
    swish = work.make_swish()
    x = np.array([[-3.0, -0.5], [0.0, 0.2], [1.0, 4.0]])
    got = swish(mg.Tensor(x, requires_grad=True))
    assert np.allclose(got.data, x / (1 + np.exp(-x)), rtol=1e-14), "swish(x) is not x * sigmoid(x)"
    assert getattr(got._node, "operator", None) is getattr(swish, "operator", ""), "swish must be a single operator"
    mg.check_operator(swish, [(x,)])
    kept = got._node.plan.names
    assert len(kept) == 1, f"the rule needs one array only, but it asks for {' and '.join(kept)}"


def check_kept_bytes(work):
    x = mg.Tensor(np.ones((10, 10)), requires_grad=True)
    w = mg.Tensor(np.ones((10, 10)), requires_grad=True)
    got = work.kept_bytes(mg.exp(x))
    assert got == 800, f"exp stores its result, 100 float64: expected 800, got {got}"
    got = work.kept_bytes(x + w)
    assert got == 0, f"add stores nothing: expected 0, got {got}"
    got = work.kept_bytes(mg.tanh(x @ w))
    assert got == 2400, f"matmul stores both arguments, tanh its result: expected 2400, got {got}"
    got = work.kept_bytes(x.reshape(5, 20).sum(axis=0))
    assert got == 0, f"reshape and sum store shapes, not arrays: expected 0, got {got}"
    y = mg.exp(x)
    got = work.kept_bytes(y * y + y)
    assert got == 800, f"exp and mul store the same array, which counts once: expected 800, got {got}"
    z = mg.Tensor(np.zeros(5, "float32"), requires_grad=True)
    for _ in range(30):
        z = mg.tanh(z + z)
    got = work.kept_bytes(z)
    assert got == 600, f"30 results of tanh, each 5 float32: expected 600, got {got}"
