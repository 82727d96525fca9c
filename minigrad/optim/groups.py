"""What an optimizer holds: groups of parameters with their settings, and its state, saved and restored by name.

Next: :mod:`minigrad.optim.adam`.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, TypeAlias

import numpy as np

from minigrad.arguments import expect, integer, number, python_number, refuse, with_keys
from minigrad.autograd.tensor import Tensor
from minigrad.checked import named
from minigrad.device import is_array, namespace, to_host
from minigrad.nn.module import Parameter
from minigrad.typing import Array

#: A list of Tensors under "params", and beside it the settings of their steps by name.
Group: TypeAlias = dict[str, Any]


class Groups:
    """The groups of an optimizer, and the slots of their parameters: the parent class of Optimizer."""

    checks: ClassVar[dict[str, Callable[[str, str, Any], object]]] = {"lr": number, "lr_factor": number}

    @named
    def __init__(self, params: Iterable[Tensor | Group], lr: float, **settings: object) -> None:
        self.slots, self.asked = _asked(type(self), settings)
        self._lr = number(type(self).__name__, "lr", lr)
        self.groups = _groups(self, params, settings)
        self.state: dict[Tensor, dict[str, Any]] = {}

    def __repr__(self) -> str:
        shown = [{k: v for k, v in group.items() if k not in ("params", "lr_factor")} for group in self.groups]
        lines = [
            f"<{len(group['params'])} parameters>, " + ", ".join(f"{k}={v!r}" for k, v in settings.items())
            for group, settings in zip(self.groups, shown, strict=True)
        ]
        rest = lines[0] if len(lines) == 1 else "\n  " + "\n  ".join(lines) + "\n"
        return f"{type(self).__name__}({rest})"

    def parameters(self) -> list[Tensor]:
        """Return the parameters of all groups."""
        return [p for group in self.groups for p in group["params"]]

    # Settings --------------------------------------------------------------------------------

    @property
    def lr(self) -> float:
        """The learning rate. Setting it also sets the rates of all groups, in the same ratios."""
        return self._lr

    @lr.setter
    def lr(self, lr: float) -> None:
        self._lr = number(type(self).__name__, "lr", lr)
        for group in self.groups:
            group["lr"] = self._lr * group["lr_factor"]

    def settings(self, group: Group) -> Group:
        """Return the settings of a group, as Python's numbers: NumPy's would promote. Refuse what is out of range."""
        name = type(self).__name__
        return {key: self.checks.get(key, _as_given)(name, key, v) for key, v in group.items() if key != "params"}

    def _next(self, p: Tensor, w: Array, settings: Group) -> tuple[list[Array], dict[str, Any]]:
        """Return what the rule asks for in the next step of a parameter: its slots, and settings by keyword."""
        xp, state = namespace(w), self.state.setdefault(p, {})
        for name in self.slots:
            if type(state.get(name)) is not type(w):  # its first step, or the net is on another device
                state[name] = xp.asarray(to_host(state[name])) if name in state else xp.zeros(w.shape, w.dtype)
        if "t" in self.asked:
            state["t"] = state.get("t", 0) + 1
        given = settings | state
        return [state[name] for name in self.slots], {name: given[name] for name in self.asked}

    # State -----------------------------------------------------------------------------------

    def _others(self) -> dict[str, Any]:
        """Return the attributes that a user's class added."""
        return {name: v for name, v in vars(self).items() if name not in ("slots", "asked", "_lr", "groups", "state")}

    def _per_parameter(self) -> list[str]:
        """Name what is saved for each parameter: its slots and, if the rule asks for it, the number of its steps."""
        return self.slots + [name for name in self.asked if name == "t"]

    def state_dict(self) -> dict[str, object]:
        """Return what a later run needs to continue: settings, and of each slot the arrays in the parameters' order.

        What a class adds to its attributes is saved as well. Before a parameter's first step its slots are None.
        """
        every = [self.state.get(p, {}) for p in self.parameters()]
        state: dict[str, object] = {"lr": self.lr, "groups": copy.deepcopy([self.settings(g) for g in self.groups])}
        for name in self._per_parameter():
            values = [slots.get(name) for slots in every]
            state[name] = [to_host(v).copy() if is_array(v) else v for v in values]
        return state | copy.deepcopy(self._others())

    def at_present(self, state: Any) -> Any:
        """Return a state of an earlier version, in which groups had no rates of their own, in the current form."""
        groups = state.get("groups") if isinstance(state, Mapping) else None
        if not isinstance(groups, list) or not all(isinstance(group, dict) for group in groups):
            return state  # which will be refused
        rate = {"lr": state.get("lr"), "lr_factor": 1.0}
        return {**state, "groups": [group if group.keys() & rate.keys() else rate | group for group in groups]}

    def check_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raise what :meth:`load_state_dict` would raise, and change nothing."""
        caller, every, state = type(self).__name__, self.parameters(), self.at_present(state)
        per_parameter = self._per_parameter()
        hint = "is it that of another optimizer?"
        with_keys(caller, "a state", state, ["lr", "groups", *per_parameter, *self._others()], hint)
        lengths = {"groups": len(self.groups)} | dict.fromkeys(per_parameter, len(every))
        for name, length in lengths.items():
            part = state[name]
            got = f"{len(part)} of them" if isinstance(part, list) else f"{part!r:.80}"
            expect(isinstance(part, list) and len(part) == length, caller, f"{length} {name} in the state", got)
        number(caller, "lr", state["lr"])
        for mine, group in zip(self.groups, state["groups"], strict=True):
            with_keys(caller, "a group", group, mine.keys() - {"params"})
            self.settings(group)
        for name in per_parameter:
            for p, v in zip(every, state[name], strict=True):
                if name == "t" and v is not None:
                    integer(caller, "t", v, least=1)
                elif v is not None:
                    fits = is_array(v) and (v.shape, v.dtype.kind) == (p.shape, p.dtype.kind)
                    got = f"{v.dtype} of shape {v.shape}" if is_array(v) else f"{v!r:.80}"
                    expect(fits, caller, f"{name} of {p.dtype} of shape {p.shape}", got)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state, with its settings.

        Raises
        ------
        ValueError, TypeError
            If groups or slots do not fit the parameters, a setting is missing or unknown, or a number is out of range;
            nothing is loaded then.
        """
        self.check_state_dict(state)
        state = self.at_present(state)
        self._lr = float(state["lr"])
        for mine, group in zip(self.groups, state["groups"], strict=True):
            mine.update(copy.deepcopy(self.settings(group)))
        self.state = {}
        for i, p in enumerate(self.parameters()):
            given = {name: state[name][i] for name in self._per_parameter() if state[name][i] is not None}
            if given:
                xp = namespace(p.data)
                self.state[p] = {
                    name: int(v) if name == "t" else xp.array(v, dtype=p.dtype, order="C") for name, v in given.items()
                }
        for name in self._others():
            setattr(self, name, copy.deepcopy(state[name]))


# What a constructor checks -------------------------------------------------------------------


def _asked(kind: type, settings: Mapping[str, object]) -> tuple[list[str], list[str]]:
    """Return the names of the slots and of the settings in the signature of a rule, if it gets all that it asks for."""
    rule = getattr(kind, "update", None)
    if rule is None:
        refuse(kind.__name__, "a method update(self, w, g, *, lr), which moves a parameter", "none", error=TypeError)
    given = inspect.signature(rule).parameters.values()
    arrays = [p.name for p in given if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    asked = [p.name for p in given if p.kind is p.KEYWORD_ONLY]
    expect(len(arrays) >= 3, kind.__name__, "update to take self, w and g, then its slots", arrays)
    lacks = sorted({*asked} - {"t", "lr", *settings})
    fix = "give them to super().__init__; slots stand before the *"
    expect(not lacks, kind.__name__, f"settings {lacks}, which update asks for", [*settings], fix)
    return arrays[3:], asked


def _groups(owner: Groups, params: Iterable[Tensor | Group], settings: Group) -> list[Group]:
    """Return groups with all settings, if each parameter can be moved, and stands in one of them only."""
    caller = type(owner).__name__
    if isinstance(params, Tensor):
        raise TypeError(f"{caller}: expected an iterable of Tensors, got one Tensor; pass [tensor]")
    given: list[Any] = list(params)  # groups, Tensors, or what is refused below
    groups: list[Group] = given if given and isinstance(given[0], dict) else [{"params": given}]
    expect(all("params" in group for group in groups), caller, 'each group to have "params"', groups)
    lists = [[part] if isinstance(part := group["params"], Tensor) else list(part) for group in groups]
    groups = [group | {"params": part} for group, part in zip(groups, lists, strict=True)]
    every = [p for group in groups for p in group["params"]]
    for p in every:
        if not (isinstance(p, Parameter) or (isinstance(p, Tensor) and p.requires_grad and p.is_leaf)):
            raise TypeError(f"{caller}: expected leaf Tensors that require a gradient, got {p!r:.80}")
    count = f"{len(every)} parameters, {len(set(every))} different ones"
    expect(every and len(set(every)) == len(every), caller, "each parameter once, at least one of them", count)
    unknown = sorted({name for group in groups for name in group} - {"params", "lr", *settings})
    expect(not unknown, caller, f"groups with params and {['lr', *settings]}", unknown)
    result = []
    for group in groups:
        rate = number(caller, "lr", group.get("lr", owner.lr))
        expect(owner.lr or not rate, caller, "lr above 0 where a group has a rate of its own", owner.lr)
        whole = {"lr": rate, "lr_factor": 1.0 if rate == owner.lr else rate / owner.lr} | settings | group
        result.append(whole | owner.settings(whole))
    return result


def _as_given(caller: str, name: str, value: Any) -> object:
    """Return an unchecked setting in the form in which a file returns it: Python's numbers, and lists for tuples."""
    return python_number(value) if isinstance(value, np.generic) else [*value] if isinstance(value, tuple) else value
