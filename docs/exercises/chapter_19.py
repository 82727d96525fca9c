"""Exercises of chapter 19, a thousand layers."""

import math

import minigrad as mg


def in_segments(blocks, x, k):
    """Pass x through all blocks, a list of functions of one Tensor, and return the result.

    Divide the blocks into segments of k (the last may be shorter). The tape must store only the inputs of the segments,
    and no array inside them. Use ``mg.recompute``.
    """
    raise NotImplementedError


def best_length(n, a, b):
    """Return the whole number k of blocks in a segment, from 1 to n, that needs the least memory.

    The input of a segment takes a bytes, and the inside of one block b bytes. There are n blocks, and the last segment
    may be shorter. At the peak, the inputs of all segments and the inside of one segment of k blocks are stored. If
    several k need the same memory, return the smallest.
    """
    raise NotImplementedError


def deepest(budget, batch):
    """Return the depth 6n + 2 of the deepest CIFAR net for which the inputs of all blocks fit into `budget` bytes.

    There are three stages of n blocks, on maps of 32x32x16, 16x16x32 and 8x8x64 numbers of four bytes each. Assume
    that every block's input has the size of the maps of its own stage. Return 2 if even n = 1 does not fit.
    """
    raise NotImplementedError
