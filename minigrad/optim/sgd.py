"""SGD with momentum.

The velocity v is defined as in PyTorch,

    v = momentum v + g,    w = w - lr v,

with the learning rate outside v. In Caffe's form, v = momentum v + lr g, a drop of the learning rate takes effect only
as the older gradients in v fade. Weight decay adds ``weight_decay * w`` to g, for every parameter, those of batch norm
included, unless groups say otherwise.

Next: :mod:`models.plain`.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from minigrad.arguments import flag, number
from minigrad.autograd.tensor import Tensor
from minigrad.checked import named
from minigrad.optim.groups import Group
from minigrad.optim.optimizer import Optimizer
from minigrad.typing import Array


class SGD(Optimizer):
    """Stochastic gradient descent with momentum.

    Parameters
    ----------
    params : iterable of Tensors, or of groups
        A group is a dict with ``"params"`` and its own ``lr``, ``momentum``, ``weight_decay`` or ``nesterov``.
    lr : float
        The learning rate. Schedules change it, and in proportion the rates of groups that have their own.
    momentum : float
        With 0.9, v sums over about ten steps; 0 is plain gradient descent.
    weight_decay : float
    nesterov : bool
        Step by ``g + momentum v`` instead of ``v``.

    Raises
    ------
    TypeError
        If `params` holds anything but leaf Tensors that require a gradient.
    ValueError
        If there are no parameters, one is given twice, or a number is out of range.

    Examples
    --------
    >>> import minigrad as mg
    >>> w = mg.nn.Parameter([1.0])
    >>> sgd = SGD([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> sgd.step()
    >>> w.data
    array([0.8], dtype=float32)
    """

    elementwise = True
    checks = Optimizer.checks | {"momentum": partial(number, below=1), "weight_decay": number, "nesterov": flag}

    @named
    def __init__(
        self,
        params: Iterable[Tensor | Group],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        super().__init__(params, lr, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov)

    def update(
        self, w: Array, g: Array, velocity: Array, *, lr: float, momentum: float, weight_decay: float, nesterov: bool
    ) -> None:
        """Move weights and velocities, by the formulas above."""
        if weight_decay:
            g = g + weight_decay * w
        velocity *= momentum
        velocity += g
        w -= lr * (g + momentum * velocity if nesterov else velocity)
