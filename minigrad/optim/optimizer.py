"""Optimizer: groups of parameters with their settings, and the loop around a rule that moves one parameter.

An optimizer is a rule: its method ``update`` moves a parameter, given the parameter's gradient and its *slots*, the
arrays that the optimizer stores for this parameter. The parent class does the rest: it holds the groups, calls the rule
for every parameter that has a gradient, and saves and restores the slots by their names.

Next: :mod:`minigrad.optim.sgd`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ClassVar

import numpy as np

from minigrad.device import holders
from minigrad.kernels import blocks
from minigrad.optim.groups import Groups


class Optimizer(Groups):
    """The parent class of optimizers. An optimizer of your own defines `update`, the rule for one parameter.

    Parameters
    ----------
    params : iterable of Tensors, or of groups
        A group is a dict with ``"params"`` and settings of its own, which replace those given for all.
    lr : float
        The learning rate. Schedules change it, and with it the rates of all groups: a group's own ``"lr"`` keeps its
        ratio to this one, ``"lr_factor"``.
    **settings
        The other settings that the rule asks for.

    Attributes
    ----------
    groups : list of dicts
        Each holds ``"params"``, ``"lr"``, ``"lr_factor"`` and all settings. They may be changed between two steps.
    state : dict
        For each parameter that was moved, a dict of its slots by name.
    elementwise : bool
        Whether the rule moves each number of a parameter by itself. Then large arrays are cut into blocks, on the
        threads. A class whose rule does so sets it to True.
    checks : dict of functions
        By name, what checks a setting: :func:`minigrad.arguments.number`, for example. Each is called with the name of
        the class, the name and the value, and returns the value.

    Raises
    ------
    TypeError
        If `params` holds anything but leaf Tensors that require a gradient, or `update` is missing.
    ValueError
        If there are no parameters, one is given twice, or a setting is unknown, missing or out of range.

    Notes
    -----
    The rule is a method ``update(self, w, g, SLOTS, *, SETTINGS)``. `w` is the array of the parameter, `g` that of its
    gradient. Then it names its slots: arrays like `w`, zeros before the first step. It writes into `w` and the slots,
    ``w -= ...``, not ``w = w - ...``, and leaves `g` as it is. After the ``*`` it names the settings that it needs,
    such as ``lr``. One of them may be ``t``, the number of this parameter's steps, this one included.

    Examples
    --------
    Steps by the sign of a running mean of the gradients:

    >>> import minigrad as mg
    >>> class SignSGD(mg.optim.Optimizer):
    ...     def __init__(self, params, lr, decay=0.9):
    ...         super().__init__(params, lr, decay=decay)
    ...
    ...     def update(self, w, g, m, *, lr, decay):
    ...         m *= decay
    ...         m += (1 - decay) * g
    ...         w -= lr * np.sign(m)
    >>> w = mg.nn.Parameter([1.0, -1.0])
    >>> optimizer = SignSGD([w], lr=0.25)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.data
    array([ 0.75, -0.75], dtype=float32)
    """

    update: Callable[..., None]
    elementwise: ClassVar[bool] = False

    @np.errstate(under="ignore")
    def step(self) -> None:
        """Move every parameter that has a gradient.

        Its ``.data`` becomes a new array if something else holds the old one, such as a variable or the tape: nobody
        sees an array change. What the parameter alone holds is overwritten. A slot that underflows to 0 raises no
        error, whatever NumPy's errstate is.
        """
        for group in self.groups:
            settings = self.settings(group)
            for p, g in [(p, p.grad.data) for p in group["params"] if p.grad is not None]:
                w = p.data if holders(p.data) == 1 else p.data.copy()  # others would see it change
                # Each optimizer has its rule: how w moves, given its gradient, the stored slots and the settings.
                slots, asked = self._next(p, w, settings)
                rule = partial(self.update, **asked)
                # A rule that treats each number alone can be applied block by block, which stays in cache.
                if self.elementwise:
                    blocks.overwrite(rule, w, g, *slots)
                else:
                    rule(w, g, *slots)
                p.data = w

    def zero_grad(self) -> None:
        """Discard all gradients."""
        for p in self.parameters():
            p.grad = None
