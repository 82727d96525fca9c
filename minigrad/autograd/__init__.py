"""The engine: Tensors, the tape, operators and their rules, and the replay in reverse.

Reading order: tape, tensor, operator, broadcasting, backward; modes and recompute on the second evening.
"""

from minigrad.autograd.backward import grad
from minigrad.autograd.modes import detect_anomaly, no_grad, once
from minigrad.autograd.operator import elementwise, operator
from minigrad.autograd.recompute import recompute
from minigrad.autograd.tensor import Tensor

__all__ = ["Tensor", "detect_anomaly", "elementwise", "grad", "no_grad", "once", "operator", "recompute"]
