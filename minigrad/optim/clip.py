"""Clipping: gradients whose norm is too large are made shorter.

Next: :mod:`minigrad.optim.schedules`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from minigrad.arguments import expect, number
from minigrad.autograd.tensor import Tensor
from minigrad.checked import checked


@checked
def clip_grad_norm(params: Tensor | Iterable[Tensor], max_norm: float) -> float:
    """Scale all gradients by one factor, so that the norm of all of them together is at most `max_norm`.

    The factor is ``max_norm / (norm + 1e-6)``, if it is below 1 (R. Pascanu, T. Mikolov, Y. Bengio, "On the difficulty
    of training recurrent neural networks", 2013, algorithm 1; the 1e-6 is PyTorch's).

    Parameters
    ----------
    params : Tensor, or iterable of Tensors
        Those without a gradient do not count.
    max_norm : float

    Returns
    -------
    float
        The norm before: the square root of the sum of all squares, in float64.

    Raises
    ------
    FloatingPointError
        If the norm is not finite: no factor would help. The gradients are left as they are.

    Examples
    --------
    Call it between ``loss.backward()`` and ``optimizer.step()``. In :func:`minigrad.train.fit`, the optimizer does so:

    >>> import minigrad as mg
    >>> class Clipped(mg.optim.SGD):
    ...     def step(self):
    ...         mg.optim.clip_grad_norm(self.parameters(), 1.0)
    ...         super().step()
    >>> w = mg.nn.Parameter([3.0, 4.0])
    >>> (w * w).sum().backward()
    >>> mg.optim.clip_grad_norm([w], 5.0)
    10.0
    >>> w.grad
    Tensor([2.9999995, 3.9999995])
    """
    most = number("clip_grad_norm", "max_norm", max_norm, most=math.inf)
    given = [params] if isinstance(params, Tensor) else list(params)
    is_one = [isinstance(p, Tensor) for p in given]
    expect(all(is_one), "clip_grad_norm", "parameters, which are Tensors", f"{given!r:.80}", error=TypeError)
    moved = [(p, p.grad.data) for p in given if p.grad is not None]
    norm = math.sqrt(sum(float((g.astype(np.float64) ** 2).sum()) for _, g in moved))
    if not math.isfinite(norm):
        raise FloatingPointError(
            f"clip_grad_norm: the norm of the gradients is {norm}; mg.detect_anomaly() names the operator that made it"
        )
    if (factor := most / (norm + 1e-6)) < 1:
        for p, g in moved:
            p.grad = Tensor(g * factor)
    return norm
