"""Exercises of chapter 17, a thousand layers."""

import math

import minigrad as mg


def in_segments(blocks, x, k):
    """Send x through all blocks, a list of functions of one Tensor, and return what comes out.

    The tape is to keep the inputs of segments of k blocks (the last may be shorter), and nothing of what is inside. Use
    ``mg.recompute``.
    """
    raise NotImplementedError


def best_length(n, a, b):
    """Return the whole number k of blocks in a segment, from 1 to n, that needs the least memory.

    A segment's input takes a bytes, and the inside of one block b. There are n blocks, and the last segment may be
    shorter. The worst moment has the inputs of all segments and the inside of one of k blocks. Of several k that need
    the same, return the smallest.
    """
    raise NotImplementedError


def deepest(budget, batch):
    """Return the depth 6n + 2 of the deepest CIFAR net for which the inputs of all blocks fit into `budget` bytes.

    There are three stages of n blocks, on maps of 32x32x16, 16x16x32 and 8x8x64 numbers of four bytes each. Take every
    block's input to have the size of the maps of its own stage. 2 if there is no room for a block in each stage.
    """
    raise NotImplementedError
