r"""
20. Many machines
=================

Two machines or four can share the work of one training step. How can both end with the same weights, to the last bit?

The idea of *data parallelism* is simple. Each machine has a copy of the net and computes the gradient for its part of
the batch. The machines add their gradients, and each takes the same step. In exact arithmetic, the number of machines
makes no difference. In floating-point arithmetic it does: usually, a run on four machines ends with other weights than
a run on two. This chapter shows why, and builds a training loop that ends with equal bits for 1, 2 and 4 workers. The
workers are simulated in one process, so you can read and run everything without a cluster.
"""

# %%
# A sum depends on its order
# --------------------------
#
# Calculate with three decimal digits, and round after each addition. Add 1.00, 0.004 and 0.004, in two orders:

import decimal
import functools

import matplotlib.pyplot as plt
import numpy as np

import minigrad as mg
from minigrad import distributed, nn
from minigrad.train.report import shade, tidy

with decimal.localcontext(prec=3):
    one, small = decimal.Decimal("1.00"), decimal.Decimal("0.004")
    print("(1.00 + 0.004) + 0.004 =", (one + small) + small)
    print("1.00 + (0.004 + 0.004) =", one + (small + small))
    assert (one + small) + small != one + (small + small)

# %%
# In the first order, 1.004 is rounded to 1.00, twice. In the second order, the small numbers first grow to 0.008, and
# 1.008 is rounded to 1.01. The same happens in binary. A float32 has 24 binary digits, so 1 is lost next to
# :math:`2^{24}`, and 2 is not:

large, one = np.float32(2**24), np.float32(1)
print("(2^24 + 1) + 1 - 2^24 =", (large + one) + one - large)
print("2^24 + (1 + 1) - 2^24 =", large + (one + one) - large)
assert ((large + one) + one - large, large + (one + one) - large) == (0, 2)

# %%
# Floating-point addition rounds the exact sum to the nearest number that has a float (D. Goldberg, "What Every Computer
# Scientist Should Know About Floating-Point Arithmetic", 1991). The exact sum of two numbers does not depend on their
# order, and so neither does the rounded one: :math:`a + b = b + a`, to the last bit. But between two additions there is
# a rounding, so :math:`(a + b) + c` and :math:`a + (b + c)` can differ. In short, floating-point addition is
# *commutative* and not *associative*. This chapter avoids the second fact and uses the first.

rng = np.random.default_rng(20)
a, b, c = rng.standard_normal((3, 100_000), dtype=np.float32)
differ = np.mean((a + b) + c != a + (b + c))
print(f"a + b differs from b + a in {np.mean(a + b != b + a):.0%} of 100,000 cases")
print(f"(a + b) + c differs from a + (b + c) in {differ:.0%}")
assert (a + b).tobytes() == (b + a).tobytes()
assert 0.2 < differ < 0.5

# %%
# From the last bit to the first digit
# ------------------------------------
#
# Does the last bit matter? Train a net, and see. The net has eight layers with batch norm, and dropout before the last
# layer. Each *global batch* of 64 digits is cut into eight **shards** of eight images. The following function computes
# what one shard adds to the gradient of the mean loss: an eighth of its own gradient. It returns a single vector, which
# also contains what the shard adds to the running statistics of batch norm.

SHARDS, BATCH, SEED = 8, 64, 0
digits = mg.data.Digits()
pixels = ((digits.images - digits.images.mean(0)) / digits.images.std()).reshape(-1, 64)  # (n, 64)
SHARE = np.float32(1 / SHARDS)


def make_net():
    rng, layers, width = np.random.default_rng(SEED), [], 64
    for _ in range(8):
        layers += [nn.Linear(width, 32, rng=rng), nn.BatchNorm2d(32), nn.ReLU()]
        width = 32
    return nn.Sequential(*layers, nn.Linear(width, 10, rng=rng))


def compute(net, epoch, batch, shard):
    """Return what a shard adds to the gradients and to the running statistics, as one vector."""
    order = np.random.default_rng([SEED, epoch]).permutation(len(pixels))
    rows = np.array_split(order[batch * BATCH : (batch + 1) * BATCH], SHARDS)[shard]
    draws = np.random.default_rng([SEED, epoch, batch, shard])  # of dropout
    buffers, before = list(net.buffers()), [buffer.data.copy() for buffer in net.buffers()]

    hidden = mg.dropout(net[:-1](mg.Tensor(pixels[rows])), 0.2, rng=draws, training=True)
    loss = mg.cross_entropy(net[-1](hidden), digits.labels[rows])
    gradients = mg.grad(loss, list(net.parameters()))
    added = [g.data for g in gradients] + [b.data - old for b, old in zip(buffers, before, strict=True)]
    for buffer, old in zip(buffers, before, strict=True):
        buffer.data = old
    return SHARE * np.concatenate([array.ravel() for array in added])


def update(net, sgd, total):
    """Take a step with the sum of all shards."""
    arrays = [p.data for p in net.parameters()] + [buffer.data for buffer in net.buffers()]
    ends = np.cumsum([array.size for array in arrays])
    parts = [part.reshape(array.shape) for part, array in zip(np.split(total, ends[:-1]), arrays, strict=True)]
    for p in net.parameters():
        p.grad = mg.Tensor(parts.pop(0))
    for buffer in net.buffers():
        buffer.data = buffer.data + parts.pop(0)
    sgd.step()


def state(net):
    """Return all parameters and statistics as one vector."""
    return np.concatenate([array.ravel() for array in net.state_dict().values()])


# %%
# The obvious program gives each worker a run of shards. A worker adds its shards from left to right, and then the sums
# of the workers are added from left to right. Here is this order of additions, without real workers yet:


def left_to_right(vectors):
    return functools.reduce(np.add, vectors)


def train(add, workers, iterations=40):
    """Return the state of the net after each iteration, (iterations, numbers)."""
    net, states = make_net(), []
    sgd = mg.optim.SGD(net.parameters(), lr=0.2, momentum=0.9)
    for iteration in range(iterations):
        place = divmod(iteration, len(pixels) // BATCH)  # epoch and batch
        vectors = [compute(net, *place, shard) for shard in range(SHARDS)]
        own = SHARDS // workers
        total = add([add(vectors[i : i + own]) for i in range(0, SHARDS, own)])
        update(net, sgd, total)
        states.append(state(net))
    return np.array(states)


import time; t=time.time()
by_left = {workers: train(left_to_right, workers) for workers in (1, 2, 4)}
print(time.time()-t)
for workers in (2,4):
    d=np.linalg.norm(by_left[workers]-by_left[1],axis=1)/np.linalg.norm(by_left[1],axis=1)
    print(d)
