"""Exercises of chapter 21: many machines."""

import numpy as np


def tree_sum(vectors):
    """Return the sum of the vectors that an iterator yields, with the bits of the chapter's ``tree``.

    The number of vectors is a power of two, which you do not know in advance. Besides the vector that has just arrived,
    store at most one vector for each level of the tree, and do not change the vectors. (Each stored sum waits for its
    right neighbour, a sum of equally many vectors. Which of them can be added when the next vector arrives?)
    """
    raise NotImplementedError


def shifts(seed, epoch, batch, own, images, most):
    """Return random shifts for the shards of one worker: a list with an array (images, 2) of integers for each.

    `own` is a range of the numbers of shards. The integers are uniform from -most to most, both included. The shifts of
    a shard depend on seed, epoch, batch and the number of the shard, and not on the other shards in `own`. Different
    places have unrelated shifts: also (epoch 0, batch 1, shard 0) and (epoch 0, batch 0, shard 1).
    """
    raise NotImplementedError


def all_reduce(rank, workers, mine):
    """Add the vectors of all workers by a reduce-scatter and an all-gather, as a generator.

    Like the chapter's ``all_reduce``, it yields ``(partner, array)`` and is resumed with the array that the partner has
    sent. It returns the sum over all workers, with the bits of ``tree``. The number of workers is a power of two, and
    ``len(mine)`` is a multiple of it. Each worker sends ``2 * (workers - 1) / workers * len(mine)`` numbers in
    2 log2(workers) messages. Do not change `mine`. (Of two partners, let the lower rank continue with the first half.)
    """
    raise NotImplementedError
