"""SGD with momentum, and how its learning rate goes with the iterations.

Momentum is kept as PyTorch keeps it,

    v = momentum v + g,    w = w - lr v,

with the learning rate outside v; in Caffe's form, v = momentum v + lr g, a drop of the learning
rate takes effect only as v forgets. Weight decay adds ``weight_decay * w`` to g, for every
parameter, those of batch norm included, unless groups say otherwise.

Schedules are counted in iterations, as in the paper, not in epochs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from minigrad.device import namespace
from minigrad.nn.module import Parameter
from minigrad.tensor import Tensor


class SGD:
    """Stochastic gradient descent with momentum.

    Parameters
    ----------
    params : iterable of Tensors, or of groups
        A group is a dict with ``"params"`` and its own ``momentum``, ``weight_decay`` or ``nesterov``.
    lr : float
        The learning rate, of all groups. Schedules set it.
    momentum : float
        0.9 remembers about ten steps; 0 none.
    weight_decay : float
    nesterov : bool
        Step by ``g + momentum v`` instead of ``v``.

    Raises
    ------
    ValueError
        If there is nothing to train, or a number is out of range.

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

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        defaults = {"momentum": momentum, "weight_decay": weight_decay, "nesterov": nesterov}
        if isinstance(params, Tensor):
            raise TypeError("SGD: expected an iterable of Tensors, got one Tensor; pass [tensor]")
        given = list(params)
        groups = given if given and isinstance(given[0], dict) else [{"params": given}]
        if not all("params" in group for group in groups):
            raise ValueError('SGD: expected each group to have "params"')
        self.lr = lr
        self.groups: list[dict[str, Any]] = [defaults | group | {"params": list(group["params"])} for group in groups]
        self.velocity: dict[Tensor, Any] = {}
        unknown = {key for group in groups for key in group} - {"params", *defaults}
        every = [p for group in self.groups for p in group["params"]]
        for p in every:
            if not isinstance(p, Tensor) or not (isinstance(p, Parameter) or (p.requires_grad and p.is_leaf)):
                raise TypeError(f"SGD: expected leaf Tensors that require a gradient, got {p!r:.80}")
        if unknown or not every or len(set(every)) < len(every):
            raise ValueError(
                "SGD: expected each parameter once, at least one of them, in groups that set only "
                f"{sorted(defaults)}; got {len(every)} parameters, {len(set(every))} different ones"
                + (f", and {sorted(unknown)}" if unknown else "")
            )
        if not lr >= 0 or not all(0 <= group["momentum"] < 1 and group["weight_decay"] >= 0 for group in self.groups):
            raise ValueError(
                f"SGD: expected lr >= 0, 0 <= momentum < 1 and weight_decay >= 0, got lr={lr}, momentum={momentum}, "
                f"weight_decay={weight_decay}"
            )

    def step(self) -> None:
        """Move every parameter that has a gradient."""
        for group in self.groups:
            momentum, decay, nesterov = group["momentum"], group["weight_decay"], group["nesterov"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                w, g = p.data, p.grad.data
                if decay:
                    g = g + decay * w
                if momentum:
                    v = self.velocity.get(p)
                    if v is None:
                        v = self.velocity[p] = namespace(w).zeros_like(w)
                    v *= momentum
                    v += g
                    g = g + momentum * v if nesterov else v
                w -= self.lr * g

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for group in self.groups:
            for p in group["params"]:
                p.grad = None


class Schedule:
    """The learning rate as a factor of its first value, iteration by iteration.

    Call :meth:`step` after each step of the optimizer. One's own schedule says what the factor is.

    Examples
    --------
    >>> import minigrad as mg
    >>> class Halving(Schedule):
    ...     def factor(self, iteration):
    ...         return 0.5**iteration
    >>> sgd = SGD([mg.nn.Parameter([1.0])], lr=1.0)
    >>> schedule = Halving(sgd)
    >>> schedule.step()
    >>> sgd.lr
    0.5
    """

    def __init__(self, optimizer: SGD) -> None:
        self.optimizer = optimizer
        self.base = optimizer.lr
        self.iteration = 0
        self.apply()

    #: What the first learning rate is multiplied with in an iteration: every schedule defines it.
    factor: Callable[[int], float]

    def step(self) -> None:
        """Go on to the next iteration."""
        self.iteration += 1
        self.apply()

    def apply(self) -> None:
        """Set the learning rate of the current iteration."""
        self.optimizer.lr = self.base * self.factor(self.iteration)


class MultiStepLR(Schedule):
    """Multiply the learning rate by `gamma` at each milestone.

    Parameters
    ----------
    optimizer : SGD
    milestones : sequence of ints
        Iterations. The paper's, on CIFAR-10: 32,000 and 48,000.
    gamma : float

    Examples
    --------
    >>> import minigrad as mg
    >>> sgd = SGD([mg.nn.Parameter([1.0])], lr=1.0)
    >>> schedule = MultiStepLR(sgd, [2])
    >>> for _ in range(3):
    ...     print(sgd.lr)
    ...     schedule.step()
    1.0
    1.0
    0.1
    """

    def __init__(self, optimizer: SGD, milestones: Iterable[int], gamma: float = 0.1) -> None:
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer)

    def factor(self, iteration: int) -> float:
        """Return gamma to the number of milestones passed."""
        return float(self.gamma ** sum(milestone <= iteration for milestone in self.milestones))


class Warmup(Schedule):
    """Let the learning rate rise in a straight line over the first iterations, then follow another schedule.

    Parameters
    ----------
    schedule : Schedule
        What to follow.
    iterations : int
        The first iteration has 1 / iterations of the learning rate.

    Examples
    --------
    >>> import minigrad as mg
    >>> sgd = SGD([mg.nn.Parameter([1.0])], lr=1.0)
    >>> schedule = Warmup(MultiStepLR(sgd, [100]), 4)
    >>> for _ in range(5):
    ...     print(sgd.lr)
    ...     schedule.step()
    0.25
    0.5
    0.75
    1.0
    1.0
    """

    def __init__(self, schedule: Schedule, iterations: int) -> None:
        self.schedule, self.iterations = schedule, iterations
        schedule.optimizer.lr = schedule.base
        super().__init__(schedule.optimizer)

    def factor(self, iteration: int) -> float:
        """Return the share of the warm-up that is done, times the other schedule's factor."""
        return min(1.0, (iteration + 1) / max(self.iterations, 1)) * self.schedule.factor(iteration)
