"""minigrad: a deep-learning framework in plain NumPy.

Read it from the ground up:

- device, parallel: whose array is this, and how a few threads share the work on it;
- tensor, recording, tape, backward, recompute: Tensors, operators and their rules, and the replay in reverse;
- ops: the operators;
- checks: is this gradient right?
- nn, optim, data: layers, SGD, batches;
- inspect: what is in a model;
- checkpoint, report, train: files that survive, and the training loop.
"""

from minigrad import checks, data, device, inspect, nn, ops, optim
from minigrad.autograd.backward import grad
from minigrad.autograd.operator import elementwise, operator
from minigrad.autograd.recompute import recompute
from minigrad.autograd.tape import detect_anomaly, no_grad, once
from minigrad.autograd.tensor import Tensor
from minigrad.checks import (
    GradientError,
    adjoint_check,
    check_operator,
    complex_step_check,
    gradcheck,
    gradgradcheck,
    taylor_check,
)
from minigrad.kernels.threads import get_num_threads, set_num_threads
from minigrad.ops import *  # noqa: F403  the operators, flat, under NumPy's names
from minigrad.train.checkpoint import load, save

__version__ = "0.1.0"

__all__ = [
    "GradientError",
    "Tensor",
    "adjoint_check",
    "check_operator",
    "checks",
    "complex_step_check",
    "data",
    "detect_anomaly",
    "device",
    "elementwise",
    "get_num_threads",
    "grad",
    "gradcheck",
    "gradgradcheck",
    "inspect",
    "load",
    "nn",
    "no_grad",
    "once",
    "operator",
    "ops",
    "optim",
    "recompute",
    "save",
    "set_num_threads",
    "taylor_check",
]
__all__ += ops.__all__
