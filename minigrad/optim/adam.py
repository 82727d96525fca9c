"""Adam and AdamW: steps whose size depends little on the size of the gradients.

Adam keeps two running means for each number of a parameter, of its gradients and of their squares,

    m = b1 m + (1 - b1) g,    v = b2 v + (1 - b2) g g,

which start from 0. In step t their weights add up to 1 - b1**t and 1 - b2**t only; divided by these, they are means:

    w = w - lr (m / (1 - b1**t)) / (sqrt(v / (1 - b2**t)) + eps).

While the gradients agree, the quotient is near 1 or -1: each number moves by about lr, whatever its gradient's size.
D. P. Kingma, J. Ba, "Adam: A Method for Stochastic Optimization", 2015, algorithm 1.

Next: :mod:`minigrad.optim.clip`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from minigrad.arguments import expect, number
from minigrad.autograd.tensor import Tensor
from minigrad.checked import named
from minigrad.optim.groups import Group
from minigrad.optim.optimizer import Optimizer
from minigrad.typing import Array


def _betas(caller: str, name: str, value: Sequence[float]) -> list[float]:
    """Return two weights of the old mean, each below 1."""
    expect(isinstance(value, list | tuple) and len(value) == 2, caller, f"{name} to be two numbers", repr(value))
    return [number(caller, f"each of {name}", beta, below=1) for beta in value]


class Adam(Optimizer):
    """Adam; weight decay is a part of the gradient.

    Parameters
    ----------
    params : iterable of Tensors, or of groups
        A group is a dict with ``"params"`` and its own ``lr``, ``betas``, ``eps`` or ``weight_decay``.
    lr : float
        The learning rate. Schedules change it, and in proportion the rates of groups that have their own.
    betas : two floats
        b1 and b2: the running means are over about the last 1 / (1 - b) steps.
    eps : float
        Bounds the step where all gradients so far are nearly 0.
    weight_decay : float
        Adds ``weight_decay * w`` to the gradient, as an L2 penalty would.

    Raises
    ------
    TypeError, ValueError
        As :class:`SGD`.

    Examples
    --------
    >>> import minigrad as mg
    >>> w = mg.nn.Parameter([1.0, 100.0])
    >>> adam = Adam([w], lr=0.5)
    >>> (w * w).sum().backward()
    >>> adam.step()
    >>> w.data.round(6)
    array([ 0.5, 99.5], dtype=float32)
    """

    elementwise = True
    checks = Optimizer.checks | {"betas": _betas, "eps": number, "weight_decay": number}

    @named
    def __init__(
        self,
        params: Iterable[Tensor | Group],
        lr: float = 1e-3,
        betas: Sequence[float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def update(
        self, w: Array, g: Array, m: Array, v: Array, *, t: int, lr: float, betas: Sequence[float], eps: float,
        weight_decay: float,
    ) -> None:  # fmt: skip
        """Move weights and their running means, by the formulas above."""
        b1, b2 = betas
        if weight_decay:
            g = g + weight_decay * w
        m *= b1
        m += (1 - b1) * g
        v *= b2
        v += (1 - b2) * g * g
        w -= lr / (1 - b1**t) * m / ((v / (1 - b2**t)) ** 0.5 + eps)


class AdamW(Adam):
    """Adam with decoupled weight decay: weights decay by ``lr * weight_decay`` of themselves, whatever their gradients.

    In Adam, weight decay is a part of the gradient. So it is divided by the root of v, too, and weights with large
    gradients decay less. AdamW multiplies the weights by 1 - lr weight_decay, and then takes Adam's step without decay.
    I. Loshchilov, F. Hutter, "Decoupled Weight Decay Regularization", 2019, algorithm 2.

    Parameters
    ----------
    params, lr, betas, eps
        As of :class:`Adam`.
    weight_decay : float

    Raises
    ------
    TypeError, ValueError
        As :class:`SGD`.

    Examples
    --------
    >>> import minigrad as mg
    >>> w = mg.nn.Parameter([2.0])
    >>> adam = AdamW([w], lr=0.5, weight_decay=0.5)
    >>> (w * w).sum().backward()
    >>> adam.step()
    >>> w.data
    array([1.], dtype=float32)
    """

    @named
    def __init__(
        self,
        params: Iterable[Tensor | Group],
        lr: float = 1e-3,
        betas: Sequence[float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)

    def update(
        self, w: Array, g: Array, m: Array, v: Array, *, t: int, lr: float, betas: Sequence[float], eps: float,
        weight_decay: float,
    ) -> None:  # fmt: skip
        """Let the weights decay, then move them as Adam does."""
        w *= 1 - lr * weight_decay
        super().update(w, g, m, v, t=t, lr=lr, betas=betas, eps=eps, weight_decay=0.0)
