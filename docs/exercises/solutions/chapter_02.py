"""Solutions of chapter 2: the tape."""

import numpy as np

import minigrad as mg
from minigrad.autograd.tape import Entry


def walk(tape):
    """Go through the list from its end: what used a step stands behind it, so its total is complete."""
    totals = [0.0] * len(tape)
    totals[-1] = 1.0
    for k in reversed(range(len(tape))):
        for j, d in tape[k]:
            totals[j] += totals[k] * d
    return totals


def make_swish():
    """Swish' = s + x s (1 - s) = s + out (1 - s), with s = sigmoid(x).

    s can be computed again from x, and x s from both: the rule needs nothing but x.
    """

    @mg.elementwise
    def swish(x, /):
        return x * mg.sigmoid(x)

    def rule(g, x):
        s = mg.sigmoid(x)
        return g * s * (1.0 + x * (1.0 - s))

    swish.vjp(rule)
    return swish


def kept_bytes(y):
    """Walk over the entries, each once, and gather their arrays by identity."""
    seen, ahead, arrays = set(), [y._node], {}
    while ahead:
        entry = ahead.pop()
        if isinstance(entry, Entry) and entry not in seen:
            seen.add(entry)
            ahead.extend(entry.edges)
            arrays.update({id(value): value.nbytes for value in entry.stored if isinstance(value, np.ndarray)})
    return sum(arrays.values())
