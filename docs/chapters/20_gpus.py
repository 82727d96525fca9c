r"""
19. GPUs by dispatch
====================

How does a framework written in NumPy run on a GPU, and how can one prove that without having one?

In 18 chapters, hardly a line was about devices. The operators call ``exp``, ``matmul`` and ``reshape``, as in NumPy.
Other libraries have functions of the same names that work on arrays in the memory of a GPU; minigrad is made for one of
them, CuPy. So the task is not to write every operator again. The task is to make sure that every operator calls the
library of the array that it was *given*, and never NumPy by mistake. This chapter shows the one function that finds
this library, and then how the tests prove that every operator uses it.
"""

# %%
# Finding the library of an array
# -------------------------------
#
# The type of an array is defined in its library, so an array shows the library from which it came. An operator looks
# this library up once, and then calls its functions:
#
# .. literalinclude:: /../minigrad/device.py
#    :pyobject: namespace
#    :start-at: for array in arrays
#    :dedent:
#
# An operator uses it like this:
#
# .. literalinclude:: /../minigrad/ops/elementwise.py
#    :pyobject: exp
#
# There is no second implementation, and no registry of kernels. A rule consists of operators, and each of them looks up
# the library of its own arguments. Where threads divide the work, as in a convolution, an operator asks one more
# question: is this array on the host, that is, in the memory that Python itself uses? With NumPy's arrays, an operator
# returns NumPy's arrays; with CuPy's arrays, CuPy's. This will work with libraries that do not exist yet.
#
# Testing without a GPU
# ---------------------
#
# How can one test that? With a GPU, of course; but this was written without a GPU, and the machines that test software
# after each change seldom have one. Besides, a GPU would not reveal every mistake. Some mistakes cause no error there
# and only make the program slow, because a value goes to the host and back in the middle of a net.
#
# So minigrad's tests have a *strict double*: a library that replaces CuPy in tests (``tests/tools/strict.py``). Its
# array contains a NumPy array and computes with it, but it behaves like an array of CuPy. It raises an error if it is
# combined with a NumPy array or silently converted to one. The library has only the functions of CuPy, and accepts only
# the keywords of CuPy. It also counts how often a value is brought to the host.

import sys
from collections import Counter

import matplotlib.pyplot as plt
import numpy as np

import minigrad as mg
from demos import lab
from minigrad.device import namespace
from minigrad.train.report import show, tidy
from models import cifar_resnet
from tests.tools import strict as double
from tests.tools.strict import count_syncs, strict

x = strict.asarray(np.array([0.5, 1.0, 2.0], "float32"))
print(type(x).__name__, "from the module", namespace(x).__name__)
print(mg.exp(x))

# %%
# This was minigrad's ``exp``, on arrays from a library that it does not know. The following mistakes cannot be found by
# a test on NumPy, because on a CPU each of them computes the right numbers. The double raises an error for each.

host = np.ones(3, "float32")
slips = {
    "NumPy's function on its array": lambda: np.exp(x),
    "an array of the host in a product": lambda: x * host,
    "a silent copy to the host": lambda: np.asarray(x),
    "a list in an arithmetic operator": lambda: x * [1.0, 2.0, 3.0],
    "a keyword that CuPy does not have": lambda: x.sum(where=x > 1),
    "a reduction that CuPy lacks": lambda: strict.maximum.reduce(x),
}
for what, slip in slips.items():
    try:
        slip()
    except TypeError as error:
        print(f"{what:34} {error}")
    else:
        raise AssertionError(f"{what} was not refused")

# %%
# A double that accepted these mistakes would prove nothing. So the double has tests of its own, which demand that it
# raises these errors (``tests/device/test_strict.py``): the checker is checked, as in :doc:`chapter 6
# </course/06_proof>`.
#
# Training a whole net on the double
# ----------------------------------
#
# ``.to("cuda")`` imports ``cupy`` and moves the arrays. Register the double under this name, so that Python finds it,
# and move a residual net to this "device". The code of net, tape, loss and optimizer stays the same; only the arrays
# change. Take five training steps on the host and five on the "device", from the same seed.


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
        losses.append(loss)  # a Tensor on the device: its value has not been read yet
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
# The parameters differ in their last digits, as they will on a GPU. On another device the work is not divided into
# blocks (:doc:`chapter 9 </course/09_fast>`), so sums are added in another order.
#
# The zero is the important number. A GPU works on its own: Python only puts orders into its queue and continues. When
# Python asks for a *value*, it has to wait until the queue is empty; this is a *synchronisation*. If a framework asks
# in each layer whether the numbers are finite, or how large they are, the GPU is idle most of the time. Here the
# forward pass, the backward pass and the optimizer's step ask for no value. ``train.fit`` asks for three values per
# iteration, however deep the net is: the loss, the number of mistakes, and whether all gradients are finite. A test
# counts these requests, too.
#
# The functions that CuPy must have
# ---------------------------------
#
# The double also records every function that is called through it. So count the calls of one training step (without
# ``shape`` and similar attributes, which cost nothing). These are all the functions that another library must have for
# a training step:


class Tally(set):
    """Replaces the double's record of calls, and counts the calls."""

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
fig.set_label("Bars, on a logarithmic scale: how often a training step calls each function of the array's library.")
ax.barh(names, [counts[name] for name in names], color="0.3", height=0.7)
ax.set(
    xscale="log",
    xlabel="calls in one training step of ResNet-8",
    title="Functions that a training step calls in the array's library",
)
ax.tick_params(axis="y", labelsize=8)
ax.margins(y=0.01)
tidy(ax)
print(f"{len(counts)} different functions and methods, {sum(counts.values()):,} calls")
assert len(counts) < 60
assert "matmul" in counts

# %%
# In the whole test suite there are fewer than a hundred different calls. Each was checked against CuPy 14.2, together
# with its keywords: CuPy can be imported, and its names and signatures can be read, even without a GPU (``python -m
# tests.tools.audit``). :doc:`/dispatch` has the list.
#
# Differences between the libraries
# ---------------------------------
#
# Some operations cannot be the same in all libraries. They are all in one small file, :doc:`/source/minigrad/device`:
# the windows of a convolution, which are a view with its own strides (:doc:`chapter 8 </course/08_im2col>`);
# scatter-add, which adds twice if an index occurs twice; and the transfers to the host and back, which are always
# explicit.
#
# .. literalinclude:: /../minigrad/device.py
#    :pyobject: to_host
#
# Random numbers are drawn on the host and then copied to the device, so a seed gives the same net on every device.
# Labels are integers on the host, and operators copy them to the device. Threads, blocks and caches, all of chapter 9,
# are used on the host only: a GPU has its own.
#
# The tests of all this are in one file, ``tests/device/on_device.py``. It compares every operator, its gradient, and
# the gradient of its gradient with NumPy's. It also tests whole nets, recomputation, and checkpoints that are moved
# from one device to another. It runs on the double after every change. It also runs on dpnp, a real library with memory
# of its own, on its CPU device.
#
# Limits of these tests
# ---------------------
#
# The tests on the double prove that no operator leaves the device, and that CuPy has every function and keyword that is
# used. They cannot prove that a kernel compiles, that memory is freed, or that anything is fast. The double has no
# streams and no asynchronous errors, and it rounds as NumPy does. Only a real GPU can show these, and :doc:`/gpu` says
# what one has shown: the suite passes there, and the host waits for the GPU only when a number is read. It also says
# what is slow: each of our operators is several CuPy kernels, and Python needs more time to submit the kernels of a
# small net than the GPU needs to run them. If you have a GPU, one command makes the same page for yours:
#
# .. code-block:: sh
#
#    pip install -e ".[test,gpu]"
#    python -m tests.gpu
#    python -m demos.gpu
#
# The last command is :doc:`a demo </gallery/gpu>`.
#
# One device is a limit, too. The :doc:`next chapter </course/21_many_machines>` uses many machines.
#
# Exercises
# ---------
#
# 1. **Softplus**, for the arrays of any library, stable for large numbers.
# 2. **A single transfer.** Average a list of losses with only one transfer to the host.
# 3. **A common norm.** Clip gradients by their common norm, without a synchronisation.
#
# .. literalinclude:: /exercises/chapter_20.py
#
# Fill in ``docs/exercises/chapter_20.py`` and run ``python docs/exercises/check.py 20``.

show()
