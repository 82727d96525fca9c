"""An AttributeError for a name of PyTorch ends with the line to write instead.

The names and the lines are in ``advice.toml``::

    >>> import minigrad as mg
    >>> mg.cat
    Traceback (most recent call last):
    AttributeError: module 'minigrad' has no attribute 'cat'; write mg.concatenate(arrays, axis=1)
"""

from __future__ import annotations

import sys
import tomllib
from functools import cache, partial, partialmethod
from pathlib import Path
from typing import NoReturn

from minigrad.autograd.tensor import Tensor
from minigrad.nn.module import Module
from minigrad.optim.optimizer import Optimizer


def install() -> None:
    """Make the package, its modules and three classes raise this error for names that they lack.

    This is done from outside, because type checkers would take every name for an attribute of a class that defines
    ``__getattr__``.
    """
    for place in (
        "minigrad",
        "minigrad.nn",
        "minigrad.optim",
        "minigrad.data",
        "minigrad.data.transforms",
        "minigrad.inspect",
    ):
        vars(sys.modules[place])["__getattr__"] = partial(_refuse_of_module, place)
    for kind in (Tensor, Module, Optimizer):
        setattr(kind, "__getattr__", partialmethod(_refuse_of_object, kind.__name__))  # noqa: B010


def _refuse_of_module(place: str, name: str) -> NoReturn:
    """Raise the error of a name that a module lacks."""
    raise AttributeError(f"module {place!r} has no attribute {name!r}{_instead(place, name)}", name=name)


def _refuse_of_object(self: object, place: str, name: str) -> NoReturn:
    """Raise the error of an attribute that an object lacks; it lists those that a module or an optimizer has."""
    held = ", ".join(key for key in vars(self) if not key.startswith("_")) if not isinstance(self, Tensor) else ""
    rest = _instead(place, name) or ("" if isinstance(self, Tensor) else f"; it has {held or 'none'}")
    raise AttributeError(f"{type(self).__name__} has no attribute {name!r}{rest}", name=name, obj=self)


def _instead(place: str, name: str) -> str:
    """Return the end of a message: what to write instead of a name, or nothing."""
    line = _table()[place].get(name)
    return f"; write {line}" if line else ""


@cache
def _table() -> dict[str, dict[str, str]]:
    """Read the table at the first missing name, and keep it: `hasattr` asks for missing names often."""
    return tomllib.loads(Path(__file__).with_name("advice.toml").read_text(encoding="utf-8"))
