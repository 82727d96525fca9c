r"""
18. GPUs by dispatch
====================

How does a framework written in NumPy run on a GPU, and how can one prove that without having one?

In 17 chapters hardly a line was about devices. The operators say ``exp`` and ``matmul`` and ``reshape``, as NumPy does.
There are other libraries that say the same words and mean arrays in the memory of a GPU; CuPy is the one that minigrad
is made for. So the task is not to write every operator again. It is to make sure that every operator calls the library
of the array it was *given*, and never NumPy behind its back. This chapter shows the one function that does it, and
then how that is proven.
"""

# %%
# Whose array is this?
# --------------------
#
# An array knows the library it came from: it is where its type was defined. So an operator asks once, and then calls
# that library's functions:
#
# .. literalinclude:: /../minigrad/device.py
#    :pyobject: namespace
#    :start-at: for array in arrays
#    :dedent:
#
# Here it is at work in an operator:
#
# .. literalinclude:: /../minigrad/ops/elementwise.py
#    :pyobject: exp
#
# There is no second implementation, and no registry of kernels. A rule is made of operators, and each of them asks its
# own arguments. Where threads divide the work, as in a convolution, an operator asks one question more: is this
# array on the host, the memory that Python itself works in? NumPy's arrays give NumPy, CuPy's give CuPy, and a library
# that does not exist yet will give itself.
#
# A GPU that is not there
# -----------------------
#
# How would you test that? With a GPU, of course; but this was written without one, and the machines that test software
# after each change seldom have one. And a GPU would not see everything. Some mistakes run on it in silence, only
# slowly, because a value goes to the host and back in the middle of a net.
#
# So minigrad's tests have a *strict double*: a library that stands in for CuPy (``tests/tools/strict.py``). Its array holds a
# NumPy array inside, and computes with it. But it behaves like CuPy's. It refuses to be mixed with NumPy arrays, and to
# be taken for one. It has only functions, and takes only keywords, that CuPy has. And whenever a value is brought to
# the host, it counts.

import sys
from collections import Counter

import matplotlib.pyplot as plt
import numpy as np

import minigrad as mg
from demos import lab
from minigrad.device import namespace
from minigrad.train.report import tidy
from models import cifar_resnet
from tests import strict as double
from tests.tools.strict import count_syncs, strict

x = strict.asarray(np.array([0.5, 1.0, 2.0], "float32"))
print(type(x).__name__, "from the module", namespace(x).__name__)
print(mg.exp(x))

# %%
# That was minigrad's ``exp``, on arrays from a library it has never heard of. And these are the slips that a test on
# NumPy cannot see. Each of them computes the right numbers on a CPU.

host = np.ones(3, "float32")
slips = {
    "NumPy's function on its array": lambda: np.exp(x),
    "an array of the host mixed in": lambda: x * host,
    "a silent copy to the host": lambda: np.asarray(x),
    "a list in an arithmetic operator": lambda: x * [1.0, 2.0, 3.0],
    "a keyword that CuPy has not": lambda: x.sum(where=x > 1),
    "a reduction that CuPy has not": lambda: strict.maximum.reduce(x),
}
for what, slip in slips.items():
    try:
        slip()
    except TypeError as error:
        print(f"{what:34} {error}")
    else:
        raise AssertionError(f"{what} was not refused")

# %%
# A double that let such things pass would prove nothing. So it has tests of its own, and they demand that it refuses
# (``tests/device/test_strict.py``): the checker is checked, as in :doc:`chapter 6 </course/06_proof>`.
#
# A whole net
# -----------
#
# ``.to("cuda")`` imports ``cupy`` and moves the arrays. Let Python find the double under that name, and move a residual
# net with it. The code of net, tape, loss and optimizer is the same; only the arrays are others. Take five training
# steps on the host and on the "device", from the same seed.


def train(device, steps=5):
    net = cifar_resnet(8, in_channels=1, width=8, rng=0).to(device)
    sgd = mg.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    images, labels = next(iter(lab.digits(train=True, batch=64, rng=0)))
    images = mg.Tensor(images).to(device)
    losses = []
    for _ in range(steps):
        loss = mg.cross_entropy(net(images), labels)
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        losses.append(loss)  # a Tensor on the device: nobody has looked at its value yet
    return net, losses


sys.modules["cupy"] = strict
here, losses_here = train("cpu")
with count_syncs() as waits:
    there, losses_there = train("cuda")
print(f"the loss is a {type(losses_there[0].data).__name__} on {losses_there[0].device}")
print(f"five steps brought {waits.count} values to the host")

with count_syncs() as waits:
    values = [loss.item() for loss in losses_there]
print(f"reading the five losses: {waits.count}")
print("host:  ", *(f"{loss.item():.6f}" for loss in losses_here))
print("device:", *(f"{value:.6f}" for value in values))

state_here, state_there = here.state_dict(), there.state_dict()
farthest = max(float(np.abs(state_here[name] - state_there[name]).max()) for name in state_here)
print(f"after five steps the parameters and statistics differ by at most {farthest:.0e}")
assert farthest < 1e-3
assert all(p.device == "cuda:0" for p in there.parameters())

# %%
# The numbers differ in their last digits, as they will on a GPU: on another device the work is one block and not many
# (:doc:`chapter 8 </course/08_fast>`), so sums are added in another order.
#
# The zero is the important number. A GPU works on its own: Python only puts orders into its queue and goes on. As soon
# as Python asks for a *value*, it has to wait until the queue is empty; this is a *synchronisation*. A framework that
# asks in each layer, "is this finite?", "how large is that?", keeps a GPU idle most of the time. Here, forward,
# backward and step ask for nothing. ``train.fit`` asks three times in an iteration, however deep the net is: for the
# loss, for the number of mistakes, and for whether all gradients are finite. A test counts that, too.
#
# What is asked of CuPy
# ---------------------
#
# The double also writes down what was called through it. So count the calls of one training step (but for ``shape`` and
# its like, which cost nothing). This is the whole language that another library has to speak for it:


class Tally(set):
    """Takes the place of the double's record of calls, and counts them."""

    def __init__(self):
        self.counts = Counter()

    def add(self, call):
        self.counts[call[0]] += 1


record, double.calls = double.calls, Tally()
train("cuda", steps=1)
record, double.calls = double.calls, record
counts = {
    name: n
    for name, n in record.counts.items()
    if name.removeprefix("ndarray.") not in ("shape", "strides", "dtype", "ndim", "size", "itemsize")
}
del sys.modules["cupy"]

names = sorted(counts, key=counts.get)
fig, ax = plt.subplots(figsize=(7, 0.22 * len(names) + 0.8), layout="constrained")
ax.barh(names, [counts[name] for name in names], color="0.3", height=0.7)
ax.set(
    xscale="log",
    xlabel="calls in one training step of ResNet-8",
    title="All that a training step asks of an array's library",
)
ax.tick_params(axis="y", labelsize=8)
ax.margins(y=0.01)
tidy(ax)
print(f"{len(counts)} different functions and methods, {sum(counts.values()):,} calls")
assert len(counts) < 60
assert "matmul" in counts

# %%
# In the whole test suite there are fewer than a hundred, and each of them was looked up in CuPy 14.2, with its
# keywords. CuPy can be imported and asked for its names and signatures even where there is no GPU (``python -m
# tests.tools.audit``). :doc:`/dispatch` has the list.
#
# What is different
# -----------------
#
# Not everything can be the same, and what differs is kept in one small file, :doc:`/source/minigrad/device`: the
# windows of a convolution, which are a view by strides (:doc:`chapter 7 </course/07_im2col>`); scatter-add, which adds
# twice where an index comes twice; and the way to the host and back, which is explicit, always.
#
# .. literalinclude:: /../minigrad/device.py
#    :pyobject: to_host
#
# Random numbers are drawn on the host and brought along, so that a seed gives the same net on every device. Labels are
# integers on the host; the operators take them along. And threads, blocks and caches, the whole of chapter 8, are for
# the host alone: a GPU has its own.
#
# The suite that shows all of this is one file, ``tests/on_device.py``. It compares every operator, its gradient, and
# the gradient of its gradient with NumPy's; whole nets; recomputation; checkpoints from one device to the other. It
# runs on the double with every change. It also runs on dpnp, a real foreign library with memory of its own, on its CPU
# device.
#
# What this cannot show
# ---------------------
#
# **No real GPU has run minigrad yet.** It is best to say so plainly. The double proves that no operator leaves the
# device, and that CuPy has every name that is called, with its keywords. It cannot prove that a kernel compiles, that
# memory is given back, or that anything is fast; it knows nothing of streams and of asynchronous errors, and it rounds
# as NumPy does. Whoever has a GPU can find out in two minutes:
#
# .. code-block:: sh
#
#    pip install -e ".[test,gpu]"
#    python -m pytest tests/device/test_cupy.py
#    python -m demos.gpu
#
# The last one is :doc:`a demo </gallery/gpu>`. If you are the first, please tell us what happened.
#
# The end of the road
# -------------------
#
# That was the course. It began with the slope of one function at one point, and it ends with a net of a thousand
# layers, and with devices. A tape, a few dozen operators with rules of a line or two, one product of matrices, and one
# addition that carries x around: with that one can read the rest. It is at :doc:`/source/index`. Read on there, and
# then change something.
#
# Exercises
# ---------
#
# 1. **Softplus**, for the arrays of any library, stable for large numbers.
# 2. **One look.** Average a list of losses with a single transfer to the host.
# 3. **One norm.** Clip gradients by their common norm, without a synchronisation.
#
# .. literalinclude:: /exercises/chapter_18.py
#
# Fill in ``docs/exercises/chapter_18.py`` and run ``python docs/exercises/check.py 18``.
