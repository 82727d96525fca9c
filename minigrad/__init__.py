"""minigrad: a deep-learning framework in plain NumPy.

The engine and the nets can be read in an evening:

- autograd: Tensors, the tape, operators and their rules, the replay in reverse;
- ops: the operators, each with its definition, its forward and its rule;
- checks: proofs that a gradient is right;
- nn, optim: layers and SGD.

The rest, when you need it:

- kernels: the same results, faster; typing, arguments, device: what all files use;
- data, train, inspect: data sets and batches, the training loop and its files, what is in a model.
"""

from minigrad import advice, autograd, checks, data, device, inspect, nn, ops, optim
from minigrad.autograd import *  # noqa: F403
from minigrad.checks import *  # noqa: F403
from minigrad.kernels.conv import conv_algorithm
from minigrad.kernels.memory import keep_freed_memory
from minigrad.kernels.threads import get_num_threads, set_num_threads
from minigrad.ops import *  # noqa: F403  the operators, flat, under NumPy's names
from minigrad.train.checkpoint import load, save

__version__ = "0.2.0.dev0"

__all__ = ["autograd", "checks", "data", "device", "inspect", "nn", "ops", "optim"]
__all__ += ["conv_algorithm", "get_num_threads", "keep_freed_memory", "load", "save", "set_num_threads"]
__all__ += autograd.__all__
__all__ += checks.__all__
__all__ += ops.__all__

advice.install()
