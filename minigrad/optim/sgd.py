"""SGD with momentum.

The velocity v is defined as in PyTorch,

    v = momentum v + g,    w = w - lr v,

with the learning rate outside v. In Caffe's form, v = momentum v + lr g, a drop of the learning rate takes effect only
as the older gradients in v fade. Weight decay adds ``weight_decay * w`` to g, for every parameter, those of batch norm
included, unless groups say otherwise.

Next: :mod:`models.plain`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np

from minigrad.arguments import expect
from minigrad.autograd.tensor import Tensor
from minigrad.checked import checked
from minigrad.device import namespace, to_host
from minigrad.nn.module import Parameter
from minigrad.typing import Array

#: A list of Tensors under "params", and beside it the settings of their steps by name.
Group: TypeAlias = dict[str, Any]


class SGD:
    """Stochastic gradient descent with momentum.

    Parameters
    ----------
    params : iterable of Tensors, or of groups
        A group is a dict with ``"params"`` and its own ``momentum``, ``weight_decay`` or ``nesterov``.
    lr : float
        The learning rate of all groups. Schedules change it.
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

    @checked
    def __init__(
        self,
        params: Iterable[Tensor | Group],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        if isinstance(params, Tensor):
            raise TypeError("SGD: expected an iterable of Tensors, got one Tensor; pass [tensor]")
        defaults: Group = {"momentum": momentum, "weight_decay": weight_decay, "nesterov": nesterov}
        given: list[Any] = list(params)  # groups, Tensors, or what is refused below
        groups: list[Group] = given if given and isinstance(given[0], dict) else [{"params": given}]
        expect(all("params" in group for group in groups), "SGD", 'each group to have "params"', groups)
        self.lr = float(lr)
        self.groups: list[Group] = [defaults | group | {"params": list(group["params"])} for group in groups]
        self.velocity: dict[Tensor, Array] = {}
        every = self._parameters()
        for p in every:
            if not (isinstance(p, Parameter) or (isinstance(p, Tensor) and p.requires_grad and p.is_leaf)):
                raise TypeError(f"SGD: expected leaf Tensors that require a gradient, got {p!r:.80}")
        count = f"{len(every)} parameters, {len(set(every))} different ones"
        expect(every and len(set(every)) == len(every), "SGD", "each parameter once, at least one of them", count)
        unknown = sorted({name for group in groups for name in group} - {"params", *defaults})
        expect(not unknown, "SGD", f"groups with params and {list(defaults)}", unknown)
        self._check_range(lr, self._settings())

    def _parameters(self) -> list[Tensor]:
        """Return the parameters of all groups."""
        return [p for group in self.groups for p in group["params"]]

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
                    elif type(v) is not type(w):  # the net was moved to another device
                        v = self.velocity[p] = namespace(w).asarray(to_host(v))
                    v *= momentum
                    v += g
                    g = g + momentum * v if nesterov else v
                w -= self.lr * g

    def zero_grad(self) -> None:
        """Discard all gradients."""
        for p in self._parameters():
            p.grad = None

    # State -----------------------------------------------------------------------------------

    def _settings(self) -> list[Group]:
        """Return the settings of each group: all but its parameters."""
        return [{name: value for name, value in group.items() if name != "params"} for group in self.groups]

    def _check_range(self, lr: float, groups: list[Group]) -> None:
        """Refuse settings that are out of range, given by the caller or by a state."""
        in_range = lr >= 0 and all(0 <= group["momentum"] < 1 and group["weight_decay"] >= 0 for group in groups)
        expect(in_range, "SGD", "lr >= 0, 0 <= momentum < 1 and weight_decay >= 0", f"lr={lr} and groups of {groups}")

    def state_dict(self) -> dict[str, object]:
        """Return what a later run needs to continue: the settings, and the velocities in the parameters' order."""
        velocity = [self.velocity.get(p) for p in self._parameters()]
        return {
            "lr": self.lr,
            "groups": self._settings(),
            "velocity": [None if v is None else to_host(v).copy() for v in velocity],
        }

    @checked
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state, with its settings.

        Raises
        ------
        ValueError
            If groups or velocities do not fit the parameters, a setting is missing or unknown, or a number is out of
            range; nothing is loaded then.
        """
        mine, given = self.state_dict(), state.get("groups", [])
        fits = state.keys() == mine.keys() and [group.keys() for group in given] == [g.keys() for g in self._settings()]
        expected = f"a state of {len(self.groups)} groups with {list(mine)}, like {self._settings()}"
        expect(fits, "SGD", expected, f"{len(given)} with {list(state)}, {given}")
        self._check_range(state["lr"], given)
        every = self._parameters()
        velocity = [None if v is None else np.asarray(v) for v in state["velocity"]]
        shapes, own = [None if v is None else v.shape for v in velocity], [p.shape for p in every]
        fits = len(shapes) == len(own) and all(a in (None, b) for a, b in zip(shapes, own, strict=True))
        expect(fits, "SGD", f"velocities of the shapes {own}", shapes)
        self.lr = state["lr"]
        for group, settings in zip(self.groups, given, strict=True):
            group.update(settings)
        self.velocity = {
            p: namespace(p.data).array(v, dtype=p.dtype) for p, v in zip(every, velocity, strict=True) if v is not None
        }
