"""Exercises of chapter 2: the tape."""

import minigrad as mg


def walk(tape):
    """Return the derivatives of the last step of a tape with respect to every step, as a list of floats.

    The tape is a list, in the order of execution. Step k is the list of its edges (j, d): it was made from step j < k,
    and d is its derivative with respect to j alone. The same j may come twice. A leaf is an empty list. A step that the
    last one does not depend on gets 0. Take each step once: there may be 2 ** 200 paths.
    """
    raise NotImplementedError


def make_swish():
    """Return swish(x) = x * sigmoid(x) as one operator, made with mg.elementwise, with its rule.

    The rule is written with operators of minigrad (mg.sigmoid, and Python's), so that it can be differentiated again.
    It asks for one array only.
    """
    raise NotImplementedError


def kept_bytes(y):
    """Return how many bytes the tape of the Tensor y holds.

    Follow the edges of y's entry (y._node, of class minigrad.autograd.tape.Entry, with .edges and .stored) to all the
    entries that it was made from, to each once: there may be 2 ** 30 paths. An array that several entries keep counts
    once; what is kept and is no array does not count.
    """
    raise NotImplementedError
