"""Checks of chapter 21: many machines."""

import tracemalloc

import numpy as np


def _tree(vectors):
    while len(vectors) > 1:
        vectors = [a + b for a, b in zip(vectors[::2], vectors[1::2], strict=True)]
    return vectors[0]


def _vectors(count, size, seed=0):
    """Return vectors of float32 whose sum has other bits in another order."""
    rng = np.random.default_rng([seed, count])
    return (rng.standard_normal((count, size)) * 10.0 ** rng.integers(-3, 4, (count, 1))).astype("f4")


def check_tree_sum(work):
    """Write the number of vectors so far in binary: each 1 is a stored sum. When the next vector arrives, it meets the
    1s at the end of this number, the smallest sum first, and each sum that it meets is added and is no longer
    stored.
    """
    for count in (1, 2, 4, 8, 32):
        vectors = _vectors(count, 500)
        before, expected = vectors.copy(), _tree(list(vectors))
        got = work.tree_sum(iter(vectors))
        assert np.array_equal(vectors, before), f"{count} vectors: a vector was changed"
        assert np.shape(got) == (500,), f"{count} vectors: expected a sum of shape (500,), got {np.shape(got)}"
        assert np.allclose(got, expected, rtol=1e-3, atol=1e-1), f"{count} vectors: the result is not the sum"
        assert got.tobytes() == expected.tobytes(), f"{count} vectors: the bits differ from those of the tree"
    count, size = 64, 50_000
    tracemalloc.start()
    try:
        work.tree_sum(np.full(size, i, "f4") for i in range(count))
        most = tracemalloc.get_traced_memory()[1] / (4 * size)
    finally:
        tracemalloc.stop()
    assert most < 11, f"of {count} vectors, {most:.0f} were in memory at once; expected about one for each level, 7"


def check_shifts(work):
    """np.random.default_rng takes a list of integers as its seed. If all four numbers are in it, every shard of every
    place has a generator of its own.
    """
    place = (7, 3, 5)  # seed, epoch, batch
    together = work.shifts(*place, range(8), 6, 2)
    assert len(together) == 8, f"expected arrays for 8 shards, got {len(together)}"
    for shard, array in enumerate(together):
        assert np.shape(array) == (6, 2), f"shard {shard}: expected the shape (6, 2), got {np.shape(array)}"
        assert np.asarray(array).dtype.kind == "i", f"shard {shard}: expected integers, got {np.asarray(array).dtype}"
    for workers in (2, 4, 8):
        each = 8 // workers
        for rank in reversed(range(workers)):
            own = range(rank * each, (rank + 1) * each)
            for shard, array in zip(own, work.shifts(*place, own, 6, 2), strict=True):
                assert np.array_equal(array, together[shard]), (
                    f"{workers} workers: the shifts of shard {shard} differ from those that one worker draws"
                )
    many = np.concatenate(work.shifts(0, 0, 0, range(4), 500, 2)).ravel()
    values, counts = np.unique(many, return_counts=True)
    assert list(values) == [-2, -1, 0, 1, 2], f"with most=2, expected shifts from -2 to 2, got {values.tolist()}"
    assert counts.min() > 700, f"expected about 800 of each shift among 4,000, got {counts.tolist()}"
    seen = {}
    for at in np.ndindex(3, 3, 3, 3):  # seed, epoch, batch, shard
        (array,) = work.shifts(*at[:3], range(at[3], at[3] + 1), 20, 3)
        other = seen.setdefault(np.asarray(array).tobytes(), at)
        assert other == at, f"(seed, epoch, batch, shard) = {other} and {at} have the same shifts"


def check_all_reduce(work):
    """In the first half, two partners exchange halves of their parts: each sends the half that the other continues
    with. The tree adds neighbours first, so the first partner is at distance 1, the next at 2, and so on. In the
    second half, the same partners, in reverse order, exchange the parts that are finished.
    """
    for workers in (1, 2, 4, 8):
        size = 3 * workers
        vectors = _vectors(workers, size, seed=1)
        before, expected = vectors.copy(), _tree(list(vectors))
        results, sent = _deliver(work.all_reduce, list(vectors))
        assert np.array_equal(vectors, before), f"{workers} workers: a vector was changed"
        for rank, (result, sizes) in enumerate(zip(results, sent, strict=True)):
            case = f"rank {rank} of {workers}"
            assert np.shape(result) == (size,), f"{case}: expected the shape ({size},), got {np.shape(result)}"
            assert np.allclose(result, expected, rtol=1e-3, atol=1e-1), f"{case}: the result is not the sum"
            assert result.tobytes() == expected.tobytes(), f"{case}: the bits differ from those of the tree"
            numbers, messages = 6 * (workers - 1), 2 * (workers.bit_length() - 1)
            assert sum(sizes) == numbers, f"{case}: expected to send {numbers} numbers of {size}, sent {sum(sizes)}"
            assert len(sizes) == messages, f"{case}: expected {messages} messages, counted {len(sizes)}"


def _deliver(all_reduce, vectors):
    """Run one generator for each vector; return what they return, and the sizes of the messages of each."""
    workers = len(vectors)
    running = [all_reduce(rank, workers, vector) for rank, vector in enumerate(vectors)]
    results, sent, received = [], [[] for _ in running], [None] * workers
    for _ in range(2 * workers):
        posts = []
        for rank, (generator, message) in enumerate(zip(running, received, strict=True)):
            try:
                partner, array = generator.send(message)
            except StopIteration as end:
                results.append(end.value)
            else:
                posts.append((partner, np.array(array)))
                sent[rank].append(np.size(array))
        if results:
            assert len(results) == workers, f"{len(results)} of {workers} workers returned while others still wait"
            return results, sent
        for rank, (partner, _) in enumerate(posts):
            assert partner in range(workers), f"rank {rank} sends to rank {partner}, of {workers} workers"
            assert partner != rank, f"rank {rank} sends to itself"
            assert posts[partner][0] == rank, (
                f"rank {rank} waits for rank {partner}, which waits for rank {posts[partner][0]}"
            )
        received = [posts[partner][1] for partner, _ in posts]
    raise AssertionError(f"{workers} workers have not finished after {2 * workers} exchanges")
