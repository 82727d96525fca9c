"""Solutions of chapter 21: many machines."""

import numpy as np


def tree_sum(vectors):
    """Store sums of whole subtrees, the largest first. Each 1 at the end of `number` in binary is a sum to add now."""
    waiting = []
    for number, total in enumerate(vectors):
        while number % 2:
            total = waiting.pop() + total
            number //= 2
        waiting.append(total)
    return waiting[0]


def shifts(seed, epoch, batch, own, images, most):
    """Make a generator for each shard. In a SeedSequence of all four numbers, no two places are equal."""
    return [
        np.random.default_rng([seed, epoch, batch, shard]).integers(-most, most, (images, 2), endpoint=True)
        for shard in own
    ]


def all_reduce(rank, workers, mine):
    """Halve the part at each exchange, then double it again with the same partners in reverse order."""
    part, distance = mine, 1
    while distance < workers:
        keep, send = np.split(part, 2)
        if rank & distance:
            keep, send = send, keep
        theirs = yield rank ^ distance, send
        part, distance = keep + theirs, 2 * distance
    while distance > 1:
        distance //= 2
        theirs = yield rank ^ distance, part
        part = np.concatenate([theirs, part] if rank & distance else [part, theirs])
    return part
