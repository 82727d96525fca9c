"""Checks of chapter 2."""

import numpy as np

import minigrad as mg
from docs.exercises.checks.tape import Readings, counted
from minigrad.autograd.tape import Entry


def check_walk(work):
    """All numbers that use number k stand after it in the list. In which order must the numbers be taken so that the
    derivative of number k is complete when it is passed on? Edges to the same j add up. Recursion from the last number
    would follow every path.
    """
    got = work.walk([[], [(0, 3.0)], [(1, 5.0)]])
    assert list(got) == [15.0, 5.0, 1.0], f"for a chain of derivatives 3 and 5, expected [15.0, 5.0, 1.0], got {got}"
    diamond = [[], [(0, 2.0)], [(0, 3.0)], [(1, 5.0), (2, 7.0)]]
    got = work.walk(diamond)
    assert list(got) == [31.0, 5.0, 7.0, 1.0], (
        f"for the paths 2 * 5 and 3 * 7, expected [31.0, 5.0, 7.0, 1.0], got {got}"
    )
    got = work.walk([[], [(0, 4.0), (0, 4.0)]])
    assert list(got) == [8.0, 1.0], f"for a number with two edges (0, 4.0), expected [8.0, 1.0], got {got}"
    got = work.walk([[], [(0, 9.0)], [(0, 2.0)]])
    assert list(got) == [2.0, 0.0, 1.0], (
        f"where the last number does not use number 1, expected [2.0, 0.0, 1.0], got {got}"
    )
    assert diamond == [[], [(0, 2.0)], [(0, 3.0)], [(1, 5.0), (2, 7.0)]], "the tape was changed"
    readings = Readings("200 doublings", "2 ** 200", "201 numbers")
    doublings = [[]] + [counted([(k, 1.0), (k, 1.0)], readings) for k in range(200)]
    got = work.walk(doublings)[0]
    assert got == 2.0**200, f"after 200 doublings, expected a derivative of 2 ** 200, got {got:.6g}"


def check_make_swish(work):
    """Decorate a function of x with mg.elementwise, and give it a rule with .vjp. The rule asks for an array by the
    name of its parameter. With s = sigmoid(x), the derivative of s is s (1 - s). All of the derivative of swish can
    be computed from x alone. The rule is given arrays in an ordinary backward pass, and Tensors if the gradient will be
    differentiated again. Python's operators and functions of mg work for both; .data and np.exp for one of them only.
    """
    swish = work.make_swish()
    x = np.array([[-3.0, -0.5], [0.0, 0.2], [1.0, 4.0]])
    got = swish(mg.Tensor(x, requires_grad=True))
    expected = x / (1 + np.exp(-x))
    assert got.shape == x.shape, f"expected a result of shape {x.shape}, got {got.shape}"
    for point, right, mine in zip(x.flat, expected.flat, got.data.flat, strict=True):
        assert np.isclose(mine, right, rtol=1e-13), f"swish({point}): expected {right:.6g}, got {mine:.6g}"
    last = getattr(got._node, "operator", None)
    assert last is getattr(swish, "operator", ""), (
        f"the last operator on the tape of swish(x) is {last and last.name}, expected the one that make_swish returns"
    )
    for given in ("arrays", "Tensors"):
        z = mg.Tensor(x, requires_grad=True)
        try:
            mg.grad(swish(z).sum(), z, create_graph=given == "Tensors")
        except (RuntimeError, ValueError):
            break  # mg.check_operator says more of a result that does not fit
        except (AttributeError, TypeError) as error:
            error.args = (f"{error}; in this call, the rule was given {given}",)
            raise
    mg.check_operator(swish, [(x,)])
    kept = got._node.plan.names
    assert len(kept) == 1, f"expected a rule that asks for one array, but it asks for {len(kept)}: {', '.join(kept)}"


def check_kept_bytes(work):
    """Keep a set of the entries that you have visited, and a list of those to visit. A leaf is not an Entry. To count
    an array once, remember it by its identity, id(array). An array is an np.ndarray; a number of NumPy has .nbytes,
    too.
    """
    x = mg.Tensor(np.ones((10, 10)), requires_grad=True)
    w = mg.Tensor(np.ones((10, 10)), requires_grad=True)
    got = work.kept_bytes(mg.exp(x))
    assert got == 800, f"for exp(x), which stores its result, 100 float64: expected 800, got {got}"
    got = work.kept_bytes(x + w)
    assert got == 0, f"add stores nothing: expected 0, got {got}"
    got = work.kept_bytes(mg.tanh(x @ w))
    assert got == 2400, f"matmul stores both arguments, tanh its result: expected 2400, got {got}"
    got = work.kept_bytes(x.reshape(5, 20).sum(axis=0))
    assert got == 0, f"reshape and sum store shapes, not arrays: expected 0, got {got}"
    got = work.kept_bytes(x ** np.float64(3))
    assert got == 800, f"x ** np.float64(3) stores an array and the number: expected 800, got {got}"
    y = mg.exp(x)
    got = work.kept_bytes(y * y + y)
    assert got == 800, f"exp and mul store the same array, which counts once: expected 800, got {got}"
    z = mg.Tensor(np.zeros(5, "float32"), requires_grad=True)
    for _ in range(30):
        z = mg.tanh(z + z)
    readings, ahead = Readings("30 doublings", "2 ** 30", "60 entries"), [z._node]
    while ahead:
        entry = ahead.pop()
        ahead += {edge for edge in entry.edges if isinstance(edge, Entry)}
        entry.edges = counted(entry.edges, readings)
    got = work.kept_bytes(z)
    assert got == 600, f"30 results of tanh, each 5 float32: expected 600, got {got}"
