"""SGD with momentum.

Momentum is kept as PyTorch keeps it,

    v = momentum v + g,    w = w - lr v,

with the learning rate outside v; in Caffe's form, v = momentum v + lr g, a drop of the learning
rate takes effect only as v forgets. Weight decay adds ``weight_decay * w`` to g, for every
parameter, those of batch norm included, unless groups say otherwise.

Next: :mod:`models.plain`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from minigrad.autograd.tensor import Tensor
from minigrad.device import namespace, to_host
from minigrad.nn.module import Parameter


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
        self.lr = float(lr)
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
                    if type(v) is not type(w):  # there is none yet, or the net was moved to another device
                        xp = namespace(w)
                        v = self.velocity[p] = xp.zeros_like(w) if v is None else xp.asarray(to_host(v))
                    v *= momentum
                    v += g
                    g = g + momentum * v if nesterov else v
                w -= self.lr * g

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for group in self.groups:
            for p in group["params"]:
                p.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Return what a later run needs to go on: the settings, and the velocities in the order of the parameters."""
        velocity = [self.velocity.get(p) for group in self.groups for p in group["params"]]
        return {
            "lr": self.lr,
            "groups": [{name: value for name, value in group.items() if name != "params"} for group in self.groups],
            "velocity": [None if v is None else to_host(v).copy() for v in velocity],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state, with its settings.

        Raises
        ------
        ValueError
            If groups or velocities do not fit the parameters; nothing is loaded then.
        """
        if state.keys() != self.state_dict().keys() or len(state["groups"]) != len(self.groups):
            raise ValueError(
                f"SGD: expected a state of {len(self.groups)} groups with {list(self.state_dict())}, got "
                f"{len(state.get('groups', ()))} with {list(state)}"
            )
        every = [p for group in self.groups for p in group["params"]]
        velocity = [None if v is None else np.asarray(v) for v in state["velocity"]]
        shapes, mine = [None if v is None else v.shape for v in velocity], [p.shape for p in every]
        if len(shapes) != len(mine) or any(a not in (None, b) for a, b in zip(shapes, mine, strict=True)):
            raise ValueError(f"SGD: expected velocities of the shapes {mine}, got {shapes}")
        self.lr = state["lr"]
        for group, settings in zip(self.groups, state["groups"], strict=True):
            group.update(settings)
        self.velocity = {
            p: namespace(p.data).array(v, dtype=p.dtype) for p, v in zip(every, velocity, strict=True) if v is not None
        }
