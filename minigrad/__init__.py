"""minigrad: a deep-learning framework in plain NumPy.

Read it from the ground up: device, parallel, tensor, tape, backward, recompute, ops, checks, nn, optim,
data, train.
"""

from minigrad import data, nn, ops, optim
from minigrad.backward import grad
from minigrad.checks import GradientError, gradcheck, gradgradcheck
from minigrad.ops import *  # noqa: F403  the operators, flat, under NumPy's names
from minigrad.parallel import get_num_threads, set_num_threads
from minigrad.recompute import recompute
from minigrad.tape import detect_anomaly, elementwise, no_grad, once, operator
from minigrad.tensor import Tensor

__version__ = "0.1.0"
