r"""
20. Many machines
=================

Two machines can share the work of one training step, or four. How can the weights be the same, to the last bit?

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
import itertools

import matplotlib.pyplot as plt
import numpy as np

import minigrad as mg
from minigrad import distributed, nn
from minigrad.train.report import shade, show, tidy

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
# Floating-point addition rounds the exact sum to the nearest floating-point number (D. Goldberg, "What Every Computer
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
# How training amplifies the last bit
# -----------------------------------
#
# Does the last bit matter? Train a net, and see. The net has eight layers with batch norm, and dropout before the last
# layer. Each *global batch* of 64 digits is cut into eight **shards** of eight images. The method ``compute`` returns
# what one shard adds to the gradient of the mean loss: an eighth of its own gradient. The result is a single vector,
# which also contains what the shard adds to the running statistics of batch norm.

SHARDS, BATCH, SEED = 8, 64, 0
digits = mg.data.Digits()
pixels = ((digits.images - digits.images.mean(0)) / digits.images.std()).reshape(-1, 64)  # (n, 64)


def rng_at(*place):
    """Return a generator that depends on the seed and the place only."""
    return np.random.default_rng(np.random.SeedSequence(SEED, spawn_key=place))


class Replica:
    """A copy of the net with its optimizer, as every worker has one."""

    def __init__(self, layers=8, width=48):
        rng, sizes = np.random.default_rng(SEED), [64, *[width] * layers]
        modules = []
        for c_in, c_out in itertools.pairwise(sizes):
            modules += [nn.Linear(c_in, c_out, rng=rng), nn.BatchNorm2d(c_out), nn.ReLU()]
        self.dropout = nn.Dropout(0.2, rng=SEED)
        self.net = nn.Sequential(*modules, self.dropout, nn.Linear(width, 10, rng=rng))
        self.parameters, self.statistics = list(self.net.parameters()), list(self.net.buffers())
        self.sgd = mg.optim.SGD(self.parameters, lr=0.2, momentum=0.9)

    def compute(self, epoch, batch, shard):
        """Return what a shard adds to the gradients and to the running statistics, as one vector."""
        order = rng_at(epoch).permutation(len(pixels))
        rows = np.array_split(order[batch * BATCH : (batch + 1) * BATCH], SHARDS)[shard]
        self.dropout.rng = rng_at(epoch, batch, shard)
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
    print(
        f"{workers} workers against one: the states differ by {first:.0e} after one iteration, by {last:.0e} at the end"
    )
    assert first < 1e-7
    assert last > 1000 * first

# %%
# After one iteration, the states differ by a rounding error, less than :math:`10^{-7}` of their length. Then each
# iteration computes gradients at slightly different weights, and a step at a high learning rate amplifies the
# difference. Where a number near 0 is positive in one run and negative in the other, a ReLU passes its gradient in one
# run only. After 25 iterations, the difference is more than a thousand times as large.
#
# None of these runs is wrong: each adds the same numbers, in its own order. But a result that depends on the number of
# machines cannot be reproduced with another number of machines. If a run is begun on four machines and continued
# on two, it ends with other weights than on four. And a bug that appears with four workers might not appear
# with one.
#
# A tree over the shards
# ----------------------
#
# :doc:`Chapter 9 </course/09_fast>` had the same problem with threads, and the same rule solves it: the cut into pieces
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
figure.set_label(
    "Three equal binary trees over eight shards, for one, two and four workers: subtrees of one worker have one "
    "shade; the sums across workers, near the root, are white."
)
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
# The seven additions are the same in all three pictures. Circles of one shade belong to one worker. White circles are
# sums across workers. To compute them, the workers have to send numbers to each other.
#
# The all-reduce
# --------------
#
# Now let the workers really work side by side. Each has a *rank*, a number from 0, and sees nothing of the others
# except their messages. All need the sum over all workers; this operation is called **all-reduce**. Our tree leads to
# an algorithm for it: *recursive doubling*. First, ranks 0 and 1 send each other their sums, and ranks 2 and 3 do the
# same; each rank adds what it received. Then the partners are 0 and 2, and 1 and 3. In general, the distance of the
# partners doubles from one exchange to the next. After :math:`\log_2 P` exchanges, each of the P workers has the sum of
# all.
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
    """Train on the shards of one worker, with a copy of the net that no other worker sees; return states and copy."""
    replica, states, own = Replica(), [], SHARDS // workers
    for iteration in range(iterations):
        shards = range(rank * own, (rank + 1) * own)
        mine = tree([replica.compute(*place(iteration), shard) for shard in shards])
        total = yield from all_reduce(rank, workers, mine)
        replica.update(total)
        states.append(replica.state())
    return np.array(states), replica


def run(workers, iterations=25):
    """Let workers run side by side, and deliver their messages; return their results and the number of messages."""
    running = [worker(rank, workers, iterations) for rank in range(workers)]
    received, results, messages = [None] * workers, [], 0
    while not results:
        sent = []
        for one, message in zip(running, received, strict=True):
            try:
                sent.append(one.send(message))
            except StopIteration as end:
                results.append(end.value)
        received = [sent[partner][1] for partner, _ in sent]
        messages += len(sent)
    return results, messages


# %%
# That is a complete data-parallel training. Run it with one, two and four workers. For each run, compare the states of
# all workers after every iteration, to the last bit:

by_tree = {}
for workers in (1, 2, 4):
    results, messages = run(workers)
    by_tree[workers], replica = results[0]
    assert all(states.tobytes() == by_tree[1].tobytes() for states, _ in results)
    print(f"{workers} workers, {messages:3} messages: all states equal those of one worker")

figure, panel = plt.subplots(figsize=(7.5, 3.8), layout="constrained")
figure.set_label(
    "Difference from the run of one worker, over the iterations: for sums from left to right it grows from rounding "
    "errors to visible sizes, for the tree it is always zero."
)
iterations = np.arange(1, len(by_left[1]) + 1)
for i, workers in enumerate((2, 4)):
    left, fixed = drift(by_left, workers), drift(by_tree, workers)
    panel.plot(iterations, left, "o-", ms=3, color=shade(i, 2), label=f"left to right, {workers} workers")
    panel.plot(iterations, fixed, "sx"[i], color=shade(i, 2), label=f"tree, {workers} workers")
panel.set_yscale("symlog", linthresh=1e-9)
panel.set(ylim=(-3e-10, 1), yticks=[0, 1e-8, 1e-6, 1e-4, 1e-2, 1], xlabel="iteration")
panel.set(ylabel="difference of the states", title="Runs of 2 and 4 workers against the run of one")
panel.legend(frameon=False, loc="center right")
tidy(panel)

# %%
# With the tree, the difference is exactly 0, and it stays 0 however long the run is: there is nothing to amplify.
# No worker sends its weights. Equal sums are enough, because everything else that a worker computes depends on the sums
# and the seed. After about one epoch, the net has learnt something:

test = mg.data.Digits(train=False)
net = replica.net.eval()
images = ((test.images - digits.images.mean(0)) / digits.images.std()).reshape(-1, 64)
right = np.mean(net(mg.Tensor(images)).data.argmax(1) == test.labels)
print(f"the net of 4 workers recognises {right:.0%} of the test set")
assert right > 0.3

# %%
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
figure.set_label(
    "The numbers that four workers hold, step by step: recursive doubling exchanges everything twice; reduce-scatter "
    "and all-gather exchanges halves, then quarters, and back."
)
for panel, (name, rows, distances) in zip(panels, columns, strict=True):
    for step, row in enumerate(rows):
        for rank, parts in enumerate(row):
            for i, count in enumerate(parts):
                grey = {0: "white", 2: "0.85", 4: "0.6", 8: "0.25"}[count]
                corner = 5.5 * rank + i, -2 * step
                panel.add_patch(plt.Rectangle(corner, 1, 0.8, fc=grey, ec="black" if count else "0.8", lw=0.6))
                ink = "white" if count == 8 else "black"
                panel.text(
                    corner[0] + 0.5, corner[1] + 0.38, count or "", ha="center", va="center", fontsize=8, color=ink
                )
            if step < len(distances):
                start, end = (5.5 * rank + 2, -2 * step), (5.5 * (rank ^ distances[step]) + 2, -2 * step - 1.15)
                panel.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": "#102a66", "lw": 0.9})
    for rank in range(4):
        panel.text(5.5 * rank + 2, 1.1, f"rank {rank}", ha="center", fontsize=9)
    panel.set(xlim=(-0.3, 20.8), ylim=(-8.3, 2))
    panel.set_title(name, fontsize=10)
    panel.axis("off")

# %%
# An example: a network with a latency of 50 microseconds and a bandwidth of 1.25 gigabytes per second (Ethernet with 10
# gigabits per second), and the gradients of ResNet-20 and ResNet-50.

ALPHA, BANDWIDTH = 50e-6, 1.25e9


def by_one(p, n):
    return 2 * (p - 1) * (ALPHA + n / BANDWIDTH)


def by_doubling(p, n):
    return np.log2(p) * (ALPHA + n / BANDWIDTH)


def by_scatter(p, n):
    return 2 * np.log2(p) * ALPHA + 2 * (1 - 1 / p) * n / BANDWIDTH


algorithms = {"one adds all": by_one, "recursive doubling": by_doubling, "reduce-scatter": by_scatter}
megabytes = {"ResNet-20": 4 * 270_000 / 1e6, "ResNet-50": 4 * 25_600_000 / 1e6}  # parameters of 4 bytes
p = 2 ** np.arange(1, 11)
figure, panels = plt.subplots(1, 2, figsize=(9.5, 3.6), layout="constrained", sharey=True)
figure.set_label(
    "Time against the number of workers, logarithmic, for ResNet-20 and ResNet-50: the worker that adds all grows "
    "fastest, recursive doubling slowly; reduce-scatter is nearly level for the large net."
)
for panel, (name, size) in zip(panels, megabytes.items(), strict=True):
    for i, (label, seconds) in enumerate(algorithms.items()):
        panel.loglog(p, 1e3 * seconds(p, size * 1e6), "o-", ms=3, color=shade(i, 3), label=label)
    panel.set(xlabel="workers", title=f"{name}: {size:.1f} MB", xticks=p, xticklabels=p)
    panel.minorticks_off()
    tidy(panel)
panels[0].set_ylabel("milliseconds")
panels[0].legend(frameon=False)

print(f"{'milliseconds':23}", *(f"{label:>18}" for label in algorithms))
for name, size in megabytes.items():
    for workers in (2, 4, 64, 1024):
        times = [1e3 * seconds(workers, size * 1e6) for seconds in algorithms.values()]
        print(f"{name}, {workers:4} workers", *(f"{time:18,.1f}" for time in times))
n, kilobytes = 1e6 * megabytes["ResNet-50"], 4e3
assert 4.9 < by_doubling(1024, n) / by_scatter(1024, n) < 5.1
assert by_doubling(1024, kilobytes) < by_scatter(1024, kilobytes)
assert np.isclose(by_scatter(2, n) - by_doubling(2, n), ALPHA)

# %%
# For a large net, the reduce-scatter takes at most twice the time of sending the gradient once, for any number of
# workers, plus latencies. On 1,024 workers, it is five times as fast as recursive doubling for ResNet-50. For a few
# kilobytes, recursive doubling is faster, because it sends half as many messages. With two workers, its cost is lower
# by one latency for every n. It is also easier to write, and minigrad uses it. Here are the exchanges, in the function
# that sums over all shards. At each level of the tree, one bit of the rank changes to give the partner:
#
# .. literalinclude:: /../minigrad/distributed/shards.py
#    :pyobject: total
#    :start-at: for level in
#    :end-before: for array in arrays
#    :dedent:
#
# Note what the model says about more workers. They divide the time of the computation by P, but the time of the
# all-reduce grows. So for a given global batch, there is a number of workers above which more of them make a step
# slower.
#
# What else must be equal
# -----------------------
#
# Equal sums are necessary, but not sufficient: the vectors that are added must be equal, too. So what a shard
# contributes must not depend on the worker that computes it, or on the worker's other shards.
#
# *Batch norm* normalises with the mean and variance of the images that it gets at once. If a worker passed all its
# images through the net in one piece, the statistics would depend on the number of workers. The
# differences are much larger than those of rounding:

replica, order = Replica(), rng_at(0).permutation(len(pixels))[:BATCH]
replica.dropout.eval()
losses = []
for pieces in (1, 2, 4, 8):
    parts = np.split(order, pieces)
    values = [mg.cross_entropy(replica.net(mg.Tensor(pixels[i])), digits.labels[i]).item() for i in parts]
    losses.append(np.mean(values))
    print(f"{pieces} pieces of {BATCH // pieces:2} images: mean loss {losses[-1]:.3f}")
assert np.ptp(losses) > 0.01

# %%
# So each shard is computed by itself, also if one worker has several, and it has its own statistics. The running
# statistics, for evaluation, change by the mean of what each shard would change: this is why ``compute`` puts these
# changes into the same vector as the gradients. As a consequence, the number of shards is part of the recipe, like the
# batch size: runs with 4 and with 8 shards are different runs.
#
# *Random numbers* of dropout and augmentation must not depend on what a worker drew before. Suppose that each worker
# has one generator, from the same seed, and draws a number for each of its shards:


def one_generator_each(workers):
    draws = []
    for _ in range(workers):
        rng = np.random.default_rng(SEED)
        draws += [rng.random() for _ in range(SHARDS // workers)]
    return draws


for workers in (1, 2, 4):
    print(f"{workers} workers:", *(f"{draw:.2f}" for draw in one_generator_each(workers)))
assert len(set(one_generator_each(2))) == 4

# %%
# The numbers depend on the number of workers. Worse, with two workers, shards 0 and 4 get the same number, so their
# images would be augmented alike. The solution is in ``compute``: each shard has a generator of its own, made of the
# seed and the place, which is (epoch, batch, shard). NumPy's ``SeedSequence`` mixes them so that neighbouring places
# give unrelated numbers. This also makes a run easy to resume: the place is saved, and no states of generators are.
#
# *The kernels of BLAS.* OpenBLAS chooses its matrix product by the type of the processor, and kernels add in
# different orders. So workers with different processors may compute different bits, and so may different versions of
# NumPy. No tree can repair that. A program can only notice it: minigrad gathers such facts from all processes before a
# run begins, and names a difference instead of computing something unexpected.
#
# .. literalinclude:: /../minigrad/distributed/processes.py
#    :pyobject: agree
#
# The same bits for each number of *threads* are needed, too; chapter 9 has provided them.
#
# With all this, the number of workers has no effect on a run. It may even change during the run: train on a laptop,
# continue from the checkpoint on four nodes, finish on two. M. Li et al. showed this for PyTorch on GPUs ("EasyScale",
# 2023).
#
# The real thing
# --------------
#
# In reality, the workers are processes, on one machine or many, that send messages by MPI (the Message Passing
# Interface). :doc:`/source/minigrad/distributed/shards` contains what this chapter has built. A loop of your own needs
# two of its functions: ``split`` gives each process its shards, and ``sum_gradients`` computes and adds. Outside MPI,
# there is one process, so this runs here, too:

net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32, rng=0), nn.BatchNorm2d(32), nn.ReLU(), nn.Linear(32, 10, rng=1))
sgd = mg.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
batches = mg.data.DataLoader(digits, BATCH, rng=SEED)


def mean_loss(images, labels):
    return mg.cross_entropy(net(mg.Tensor(images)), labels)


for part in distributed.split(batches, shards=4):
    loss, _ = distributed.sum_gradients(net, mean_loss, part)
    sgd.step()

if distributed.rank() == 0:
    print(f"processes: {distributed.size()}, loss of the last batch: {loss}")
assert loss < 1

# %%
# Save such a program as ``train.py``, with its imports. The first line installs MPI, without a package of the system.
# Each of the others starts the program, and all print the same loss, to the last digit:
#
# .. code-block:: sh
#
#    pip install -e ".[mpi]"
#    python train.py
#    mpiexec -n 2 python train.py
#    mpiexec -n 4 python train.py
#
# With ``train.fit``, one argument does all this, also for evaluation, logs and checkpoints: ``shards=4``.
# :doc:`/many_machines` tells how to use it on a cluster, and what happens if a machine fails.
#
# The end of the course
# ---------------------
#
# This is the end of the course. It began with the slope of a function at one point, and it ends with a net of a
# thousand layers, with devices, and with many machines. You know the tape, a few dozen operators with rules of a line
# or two, the matrix product behind a convolution, the addition that carries x around a block, and why two sums of the
# same numbers can differ. With these you can read the rest of the code: :doc:`/source/index`. Read on there, and then
# change something.
#
# Exercises
# ---------
#
# 1. **A sum in little memory.** Add vectors in the tree while they arrive, one after another, and store only a few.
# 2. **Shifts for augmentation.** Draw random shifts for the images of each shard, whoever computes it.
# 3. **Reduce-scatter.** Write the all-reduce for large vectors, with the bits of the tree.
#
# .. literalinclude:: /exercises/chapter_21.py
#
# Fill in ``docs/exercises/chapter_21.py`` and run ``python docs/exercises/check.py 21``.

show()
