"""SGD with momentum.

The velocity v is defined as in PyTorch,

    v = momentum v + g,    w = w - lr v,

with the learning rate outside v. In Caffe's form, v = momentum v + lr g, a drop of the learning rate takes effect only
as the older gradients in v fade. Weight decay adds ``weight_decay * w`` to g, for every parameter, those of batch norm
included, unless groups say otherwise.

Next: :mod:`models.plain`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np

from minigrad.arguments import expect, flag, number, with_keys
from minigrad.autograd.tensor import Tensor
from minigrad.checked import named
from minigrad.device import is_array, namespace, to_host
from minigrad.kernels import blocks
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

    @named
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
        self._take(lr, self._settings())

    def _parameters(self) -> list[Tensor]:
        """Return the parameters of all groups."""
        return [p for group in self.groups for p in group["params"]]

    @np.errstate(under="ignore")
    def step(self) -> None:
        """Move every parameter that has a gradient.

        Its ``.data`` becomes a new array: the old one, which the tape may store, is not written into. A velocity that
        fades to 0 is no error, whatever NumPy's errstate.
        """
        for group in self.groups:
            for p, g in [(p, p.grad.data) for p in group["params"] if p.grad is not None]:
                w, v = p.data.copy(), self.velocity.get(p)  # a copy, because the tape may store the old array
                if group["momentum"] and type(v) is not type(w):  # the first step, or the net is on another device
                    v = namespace(w).zeros_like(w) if v is None else namespace(w).asarray(to_host(v))
                    self.velocity[p] = v
                blocks.overwrite(functools.partial(self._move, group), w, g, w if v is None else v)
                p.data = w

    def _move(self, group: Group, w: Array, g: Array, v: Array) -> None:
        """Move some weights and, if there is momentum, their velocities, by the formulas above."""
        if decay := float(group["weight_decay"]):  # NumPy's scalars would promote
            g = g + decay * w
        if momentum := float(group["momentum"]):
            v *= momentum
            v += g
            g = g + momentum * v if group["nesterov"] else v
        w -= float(self.lr) * g

    def zero_grad(self) -> None:
        """Discard all gradients."""
        for p in self._parameters():
            p.grad = None

    # State -----------------------------------------------------------------------------------

    def _settings(self) -> list[Group]:
        """Return the settings of each group: all but its parameters."""
        return [{name: value for name, value in group.items() if name != "params"} for group in self.groups]

    def _take(self, lr: float, groups: list[Group]) -> None:
        """Continue with these settings, given by the caller or by a state, if they are in range."""
        rate, checked = _in_range(lr, groups)
        self.lr = rate
        for group, settings in zip(self.groups, checked, strict=True):
            group.update(settings)

    def state_dict(self) -> dict[str, object]:
        """Return what a later run needs to continue: the settings, and the velocities in the parameters' order."""
        velocity = [self.velocity.get(p) for p in self._parameters()]
        return {
            "lr": self.lr,
            "groups": self._settings(),
            "velocity": [None if v is None else to_host(v).copy() for v in velocity],
        }

    def check_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raise what :meth:`load_state_dict` would raise, and change nothing."""
        every, own = self._parameters(), self._settings()
        with_keys("SGD", "a state", state, ["lr", "groups", "velocity"])
        counts = [len(part) if isinstance(part, list) else None for part in (state["groups"], state["velocity"])]
        wanted = f"a state of {len(own)} groups and {len(every)} velocities"
        expect(counts == [len(own), len(every)], "SGD", wanted, "{} and {}".format(*counts))
        for group, settings in zip(state["groups"], own, strict=True):
            with_keys("SGD", "a group", group, settings)
        _in_range(state["lr"], state["groups"])
        for p, v in zip(every, state["velocity"], strict=True):
            fits = v is None or (is_array(v) and (v.shape, v.dtype.kind) == (p.shape, p.dtype.kind))
            got = f"{v.dtype} of shape {v.shape}" if is_array(v) else f"{v!r:.80}"
            expect(fits, "SGD", f"a velocity of {p.dtype} of shape {p.shape}", got)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state, with its settings.

        Raises
        ------
        ValueError, TypeError
            If groups or velocities do not fit the parameters, a setting is missing or unknown, or a number is out of
            range; nothing is loaded then.
        """
        self.check_state_dict(state)
        self._take(state["lr"], state["groups"])
        velocity = zip(self._parameters(), state["velocity"], strict=True)
        self.velocity = {p: namespace(p.data).array(v, dtype=p.dtype, order="C") for p, v in velocity if v is not None}


def _in_range(lr: float, groups: list[Group]) -> tuple[float, list[Group]]:
    """Return settings as Python's numbers: NumPy's would turn float32 into float64. Refuse what is out of range."""
    checked: list[Group] = [
        {
            "momentum": number("SGD", "momentum", group["momentum"], below=1),
            "weight_decay": number("SGD", "weight_decay", group["weight_decay"]),
            "nesterov": flag("SGD", "nesterov", group["nesterov"]),
        }
        for group in groups
    ]
    return number("SGD", "lr", lr), checked
