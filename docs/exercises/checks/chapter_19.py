"""Checks of chapter 19, a thousand layers."""

import tracemalloc

import numpy as np

import minigrad as mg


def check_in_segments(work):
    """mg.recompute(f, x, ...) runs f again in the backward pass. So f must do the same in its second run: if it uses a
    variable of a loop, this variable has changed by then. What is passed as an argument does not change.
    """
    rng = np.random.default_rng(0)
    weights = [mg.Tensor(rng.standard_normal((8, 8)) / 3, requires_grad=True) for _ in range(7)]
    calls = []

    def make(w):
        def block(x):
            calls.append(w)
            return mg.tanh(mg.matmul(mg.tanh(mg.matmul(x, w)), w)) + x

        return block

    blocks = [make(w) for w in weights]
    data = rng.standard_normal((4096, 8))

    def run(through):
        x = mg.Tensor(data, requires_grad=True)
        for w in weights:
            w.grad = None
        calls.clear()
        tracemalloc.start()
        out = through(x)
        kept = tracemalloc.get_traced_memory()[0] / data.nbytes
        tracemalloc.stop()
        first = len(calls)
        (out * out).sum().backward()
        return out.data, [x.grad.data, *(w.grad.data for w in weights)], kept, first, len(calls)

    def plainly(x):
        for block in blocks:
            x = block(x)
        return x

    expected, gradients, *_ = run(plainly)
    for k, maps in ((1, 7), (2, 4), (3, 3), (4, 2), (7, 1), (10, 1)):
        out, got, kept, first, all_calls = run(lambda x, k=k: work.in_segments(blocks, x, k))
        assert np.array_equal(out, expected), f"k = {k}: the output differs from that of the blocks in turn"
        assert first == 7, f"k = {k}: {first} calls of blocks in the forward pass, expected 7, one for each block"
        assert all_calls == 14, f"k = {k}: {all_calls} calls of blocks in all, expected 14, two for each block"
        assert kept < maps + 0.6, f"k = {k}: {kept:.1f} maps are stored, expected {maps}, one for each segment"
        assert kept > maps - 0.6, f"k = {k}: only {kept:.1f} maps are stored, expected {maps}, one for each segment"
        for i, (a, b) in enumerate(zip(got, gradients, strict=True)):
            name = f"the weights of block {i - 1}" if i else "x"
            worst = np.abs(a - b).max()
            assert worst == 0, f"k = {k}: the gradient of {name} differs from that without segments by {worst:.2g}"


def check_best_length(work):
    """There are ceil(n / k) segments. All k can be tried. Of several equal ones, min returns the first."""

    def memory(n, a, b, k):
        return a * -(-n // k) + b * k

    for n, a, b in (
        (40, 1, 4),
        (600, 1, 4),
        (1, 5, 1),
        (10, 0, 1),
        (10, 1, 0),
        (7, 3, 2),
        (100, 1, 1),
        (12, 50, 1),
        (24, 2, 5),
    ):
        got = work.best_length(n, a, b)
        assert got in range(1, n + 1), f"n = {n}: expected a length from 1 to {n}, got {got}"
        best = min(memory(n, a, b, k) for k in range(1, n + 1))
        needs = memory(n, a, b, got)
        assert needs == best, (
            f"n = {n}, a = {a}, b = {b}: segments of {got} need {needs} bytes, but {best} are possible"
        )
        smaller = [k for k in range(1, got) if memory(n, a, b, k) == best]
        assert not smaller, (
            f"n = {n}, a = {a}, b = {b}: segments of {smaller[:1]} need no more memory than those of {got}"
        )


def check_deepest(work):
    """One value of n takes one block in each of the three stages. Add their numbers, multiply by four bytes and the
    batch, and see how often it fits into the budget.
    """
    gib = 2**30
    one = 4 * (32 * 32 * 16 + 16 * 16 * 32 + 8 * 8 * 64)  # bytes of a block in each stage, for one image
    for budget, batch in ((3 * gib, 128), (gib, 128), (gib, 64), (one, 1), (one - 1, 1), (7 * one * 5 - 1, 5), (0, 1)):
        got = work.deepest(budget, batch)
        n, rest = divmod(got - 2, 6)
        case = f"budget {budget:,}, batch {batch}"
        assert (n >= 0, rest) == (True, 0), f"{case}: expected a depth 6n + 2, got {got}"
        assert n * batch * one <= budget, f"{case}: depth {got} needs {n * batch * one:,} bytes"
        assert (n + 1) * batch * one > budget, f"{case}: depth {got + 6} would fit, too"
