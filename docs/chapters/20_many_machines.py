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


class Replica:
    """A copy of the net with its optimizer, as every worker has one."""

    def __init__(self, layers=8, width=48):
        rng, sizes = np.random.default_rng(SEED), [64, *[width] * layers]
        modules = []
        for c_in, c_out in zip(sizes, sizes[1:], strict=False):
            modules += [nn.Linear(c_in, c_out, rng=rng), nn.BatchNorm2d(c_out), nn.ReLU()]
        self.dropout = nn.Dropout(0.2, rng=SEED)
        self.net = nn.Sequential(*modules, self.dropout, nn.Linear(width, 10, rng=rng))
        self.parameters, self.statistics = list(self.net.parameters()), list(self.net.buffers())
        self.sgd = mg.optim.SGD(self.parameters, lr=0.2, momentum=0.9)

    def compute(self, epoch, batch, shard):
        """Return what a shard adds to the gradients and to the running statistics, as one vector."""
        order = np.random.default_rng([SEED, epoch]).permutation(len(pixels))
        rows = np.array_split(order[batch * BATCH : (batch + 1) * BATCH], SHARDS)[shard]
        self.dropout.rng = np.random.default_rng([SEED, epoch, batch, shard])
        before = [s.data.copy() for s in self.statistics]
        loss = mg.cross_entropy(self.net(mg.Tensor(pixels[rows])), digits.labels[rows])
        added = [g.data for g in mg.grad(loss, self.parameters)]
        for s, old in zip(self.statistics, before, strict=True):
            added.append(s.data - old)
            s.data = old
        return np.concatenate([array.ravel() for array in added]) / np.float32(SHARDS)

    def update(self, total):
        """Take a step with the sum over all shards."""
        for tensor in [*self.parameters, *self.statistics]:
            part, total = np.split(total, [tensor.data.size])
            part = part.reshape(tensor.data.shape)
            if isinstance(tensor, nn.Parameter):
                tensor.grad = mg.Tensor(part)
            else:
                tensor.data = tensor.data + part
        self.sgd.step()

    def state(self):
        """Return all parameters and statistics as one vector."""
        return np.concatenate([tensor.data.ravel() for tensor in [*self.parameters, *self.statistics]])


# %%
# The obvious program gives each worker a run of shards. A worker adds its shards from left to right, and then the sums
# of the workers are added from left to right. The function ``train`` makes the additions in this order, without real
# workers yet.


def left_to_right(vectors):
    return functools.reduce(np.add, vectors)


def place(iteration):
    """Return the epoch, and the batch in it."""
    return divmod(iteration, len(pixels) // BATCH)


def train(add, workers, iterations=25):
    """Return the state after each iteration, (iterations, numbers)."""
    replica, states, own = Replica(), [], SHARDS // workers
    for iteration in range(iterations):
        vectors = [replica.compute(*place(iteration), shard) for shard in range(SHARDS)]
        replica.update(add([add(vectors[i : i + own]) for i in range(0, SHARDS, own)]))
        states.append(replica.state())
    return np.array(states)


by_left = {workers: train(left_to_right, workers) for workers in (1, 2, 4)}


def drift(runs, workers):
    """Return the distance from the run of one worker, as a share of the length of its state, per iteration."""
    return np.linalg.norm(runs[workers] - runs[1], axis=1) / np.linalg.norm(runs[1], axis=1)


for workers in (2, 4):
    first, *_, last = drift(by_left, workers)
    print(f"{workers} workers against one: the states differ by {first:.0e} after one iteration, by {last:.0e} at the end")
    assert first < 1e-7
    assert last > 100 * first

# %%
# After one iteration, the states differ by a rounding error, less than :math:`10^{-7}` of their length. Then each
# iteration computes gradients at slightly different weights, and a step at a high learning rate amplifies the
# difference. Where a number near 0 is positive in one run and negative in the other, a ReLU passes its gradient in one
# run only. After 25 iterations, the difference is more than a hundred times as large.
#
# None of these runs is wrong: each adds the same numbers, in its own order. But a result that depends on the number of
# machines cannot be reproduced with another number of machines. A run that was begun on four machines and continued on
# two ends with other weights than one that stayed on four. And a bug that appears with four workers might not appear
# with one.
#
# A tree over the shards
# ----------------------
#
# :doc:`Chapter 8 </course/08_fast>` had the same problem with threads, and the same rule solves it: the cut into pieces
# and the order of the additions may depend on the run, and not on who computes. So the number of shards is fixed, as
# the seed is, and the shards are added in a fixed binary tree:


def tree(vectors):
    """Add neighbours, then the sums of neighbours, and so on; the number of vectors is a power of two."""
    while len(vectors) > 1:
        vectors = [a + b for a, b in zip(vectors[::2], vectors[1::2], strict=True)]
    return vectors[0]


# %%
# Let the number of workers be a power of two, too. Then the shards of a worker are the leaves of a whole subtree, and
# the worker can compute the sum of the subtree alone. What remains are the additions at the top.

figure, panels = plt.subplots(1, 3, figsize=(9.5, 3), layout="constrained")
for panel, workers in zip(panels, (1, 2, 4), strict=True):
    for level in range(4):
        for node in range(SHARDS >> level):
            x = (node + 0.5) * 2**level - 0.5
            owners = {leaf * workers // SHARDS for leaf in range(node << level, (node + 1) << level)}
            if level:
                for child in (x - 2**level / 4, x + 2**level / 4):
                    panel.plot([x, child], [level, level - 1], color="0.4", lw=1, zorder=1)
            fill = ("0.8", "0.55", "0.3", "0.05")[min(owners)] if len(owners) == 1 else "white"
            panel.scatter(x, level, s=150, color=[fill], edgecolors="black", zorder=2)
            if level == 0:
                panel.annotate(node, (x, 0), (0, -17), textcoords="offset points", ha="center", fontsize=9)
    panel.set(xlim=(-0.7, 7.7), ylim=(-0.6, 3.4))
    panel.set_title(f"{workers} worker{'s' * (workers > 1)}", fontsize=10)
    panel.axis("off")

# %%
# The seven additions are the same in all three pictures. Circles of one colour belong to one worker. White circles are
# sums across workers; all workers compute them, with the numbers that they send to each other. In the code, only the
# function that adds is another:

by_tree = {workers: train(tree, workers) for workers in (1, 2, 4)}

figure, panel = plt.subplots(figsize=(7.5, 3.8), layout="constrained")
iterations = np.arange(1, len(by_left[1]) + 1)
for i, workers in enumerate((2, 4)):
    panel.plot(iterations, drift(by_left, workers), "o-", ms=3, color=shade(i, 2), label=f"left to right, {workers} workers")
    panel.plot(iterations, drift(by_tree, workers), "sx"[i], color=shade(i, 2), label=f"tree, {workers} workers")
panel.set_yscale("symlog", linthresh=1e-9)
panel.set(ylim=(-3e-10, 1), yticks=[0, 1e-8, 1e-6, 1e-4, 1e-2, 1], xlabel="iteration")
panel.set(ylabel="difference of the states", title="Runs of 2 and 4 workers against the run of one")
panel.legend(frameon=False, loc="center right")
tidy(panel)
assert by_tree[1].tobytes() == by_tree[2].tobytes() == by_tree[4].tobytes()

# %%
# With the tree, the difference is exactly 0, and it stays 0 however long the run is. There is nothing to amplify.
#
# The all-reduce
# --------------
#
# Now let the workers really work side by side. Each has a *rank*, a number from 0, and sees nothing of the others except
# their messages. All need the sum over all workers; this operation is called **all-reduce**. Our tree leads to an
# algorithm for it: *recursive doubling*. First, ranks 0 and 1 send each other their sums, and ranks 2 and 3 do the same;
# each rank adds what it received. Then the partners are 0 and 2, and 1 and 3. In general, the distance of the partners
# doubles from one exchange to the next. After :math:`\log_2 P` exchanges, each of the P workers has the sum of all.
#
# In each exchange, one partner computes :math:`a + b`, and the other :math:`b + a`. These are equal to the last bit. So
# after each exchange both partners have the same node of the tree, and at the end all workers have the same root.
#
# In the simulation, a worker is a generator. When it needs the vector of its partner, it yields the partner's rank and
# its own vector, and waits until it is resumed with the answer.


def all_reduce(rank, workers, mine):
    """Add the vectors of all workers by recursive doubling."""
    distance = 1
    while distance < workers:
        theirs = yield rank ^ distance, mine  # ^ changes one bit of the rank: 0 and 1, 2 and 3; then 0 and 2, 1 and 3
        mine = mine + theirs
        distance *= 2
    return mine


def worker(rank, workers, iterations):
    """Train on the shards of one worker, with a copy of the net that no other worker sees."""
    replica, own = Replica(), SHARDS // workers
    for iteration in range(iterations):
        shards = range(rank * own, (rank + 1) * own)
        mine = tree([replica.compute(*place(iteration), shard) for shard in shards])
        total = yield from all_reduce(rank, workers, mine)
        replica.update(total)
    return replica


def run(workers, iterations=25):
    """Let workers run side by side, deliver their messages, and return their replicas and the number of messages."""
    running = [worker(rank, workers, iterations) for rank in range(workers)]
    received, replicas, messages = [None] * workers, [], 0
    while not replicas:
        sent = []
        for generator, message in zip(running, received, strict=True):
            try:
                sent.append(generator.send(message))
            except StopIteration as end:
                replicas.append(end.value)
        received = [sent[partner][1] for partner, _ in sent]
        messages += len(sent)
    return replicas, messages


# %%
# That is a complete data-parallel training. Compare the final states of all replicas with the run that used the tree
# in one process:

for workers in (1, 2, 4):
    replicas, messages = run(workers)
    states = {replica.state().tobytes() for replica in replicas}
    velocities = {b"".join(replica.sgd.state[p]["velocity"].tobytes() for p in replica.parameters) for replica in replicas}
    print(f"{workers} workers, {messages:3} messages: {len(states)} state, {len(velocities)} set of velocities")
    assert states == {by_tree[1][-1].tobytes()}
    assert len(velocities) == 1

test = mg.data.Digits(train=False)
net = replicas[0].net.eval()
images = ((test.images - digits.images.mean(0)) / digits.images.std()).reshape(-1, 64)
right = np.mean(net(mg.Tensor(images)).data.argmax(1) == test.labels)
print(f"digits of the test set that the net of 4 workers recognises: {right:.0%}")
assert right > 0.5

# %%
# All replicas have the same weights, running statistics and velocities as the run in one process. Nobody sent weights:
# equal sums are enough, because everything else that a worker computes depends on the sums and on the seed.
#
# The cost of an all-reduce
# -------------------------
#
# A message of n bytes takes about
#
# .. math:: t = \alpha + n / B
#
# seconds, where :math:`\alpha` is the *latency*, the time of an empty message, and B is the *bandwidth* in bytes per
# second. (We neglect the additions: memory is faster than a network.) With this model, we can compare algorithms for P
# workers and a gradient of n bytes.
#
# *One worker adds all.* It receives P - 1 vectors, one after another through its one connection, and sends as many sums
# back:
#
# .. math:: T_{\mathrm{one}} = 2 (P - 1) \left( \alpha + \frac{n}{B} \right) .
#
# *Recursive doubling.* In each of the :math:`\log_2 P` exchanges, all pairs send at the same time, in both directions:
#
# .. math:: T_{\mathrm{doubling}} = \log_2 P \left( \alpha + \frac{n}{B} \right) .
#
# *Reduce-scatter.* In recursive doubling both partners compute the same sum, and each sends all n bytes. Let them share
# this work. In the first exchange, rank 0 adds the first half of the vector, and rank 1 the second half, so each sends
# only the half that the other adds. From then on, each is concerned with its half only. In the next exchange, each
# sends half of this half, and so on. After :math:`\log_2 P` exchanges, each worker has the complete sum of one part in
# P. This is a *reduce-scatter*. Then the same partners, in reverse order, send each other the sums that they have,
# until all have everything; this is an *all-gather*. The messages have :math:`n/2, n/4, \ldots, n/P` bytes, there and
# back, and these add up to :math:`n (1 - 1/P)`:
#
# .. math::
#     T_{\mathrm{scatter}} = 2 \log_2 P \; \alpha + 2 \left( 1 - \frac{1}{P} \right) \frac{n}{B} .
#
# The partners are the same as before, in the same order, so each number of the vector is added in the same tree, and
# the bits are the same. The third exercise is to write it. (R. Thakur, R. Rabenseifner, W. Gropp, "Optimization of
# Collective Communication Operations in MPICH", 2005, derive these costs and those of other algorithms.)
#
# The figure shows both for four workers with two shards each. The vector of a worker is drawn as four parts. The number
# in a part says how many shards have been added in it.

doubling = [[[n] * 4] * 4 for n in (2, 4, 8)]
scatter = [
    [[2] * 4] * 4,
    [[4, 4, 0, 0], [0, 0, 4, 4]] * 2,
    [[8, 0, 0, 0], [0, 0, 8, 0], [0, 8, 0, 0], [0, 0, 0, 8]],
    [[8, 8, 0, 0], [0, 0, 8, 8]] * 2,
    [[8] * 4] * 4,
]
columns = [("recursive doubling", doubling, (1, 2)), ("reduce-scatter and all-gather", scatter, (1, 2, 2, 1))]
figure, panels = plt.subplots(1, 2, figsize=(9.5, 4.4), layout="constrained")
for panel, (name, rows, distances) in zip(panels, columns, strict=True):
    for step, row in enumerate(rows):
        for rank, parts in enumerate(row):
            for i, count in enumerate(parts):
                grey = {0: "white", 2: "0.85", 4: "0.6", 8: "0.25"}[count]
                corner = 5.5 * rank + i, -2 * step
                panel.add_patch(plt.Rectangle(corner, 1, 0.8, fc=grey, ec="black" if count else "0.8", lw=0.6))
                ink = "white" if count == 8 else "black"
                panel.text(corner[0] + 0.5, corner[1] + 0.38, count or "", ha="center", va="center", fontsize=8, color=ink)
            if step < len(distances):
                start, end = (5.5 * rank + 2, -2 * step), (5.5 * (rank ^ distances[step]) + 2, -2 * step - 1.15)
                panel.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": "#102a66", "lw": 0.9})
    for rank in range(4):
        panel.text(5.5 * rank + 2, 1.1, f"rank {rank}", ha="center", fontsize=9)
    panel.set(xlim=(-0.3, 20.8), ylim=(-8.3, 2))
    panel.set_title(name, fontsize=10)
    panel.axis("off")
