"""Exercises of chapter 2: the tape."""

import minigrad as mg


def walk(tape):
    """Return the derivatives of the last number on a tape with respect to every number, as a list of floats.

    The tape is a list of numbers, in the order of execution. Number k is a list of edges (j, d): it was computed from
    number j < k, and d is its derivative along this edge alone. The same j may occur twice. A leaf is an empty list. A
    number on which the last one does not depend has the derivative 0. Visit each number once: there may be 2 ** 200
    paths.
    """
    raise NotImplementedError


def make_swish():
    """Return swish(x) = x * sigmoid(x) as one operator, made with mg.elementwise, with its rule.

    Write the rule with operators of minigrad (mg.sigmoid, and Python's operators), so that it can be differentiated
    again. The rule asks for one array only.
    """
    raise NotImplementedError


def kept_bytes(y):
    """Return the number of bytes of the arrays that the tape of the Tensor y stores.

    Begin at y's entry, y._node, which is a minigrad.autograd.tape.Entry. Follow the edges (entry.edges) to all entries
    from which it was computed; an edge that is no Entry ends there. Visit each entry once: there may be 2 ** 30 paths.
    The tuple entry.stored contains the values that an entry stores. If several entries store the same array, count it
    once. Count arrays only: a number of NumPy is none.
    """
    raise NotImplementedError
