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
from functools import partial, partialmethod
from pathlib import Path
from typing import NoReturn

from minigrad.autograd.tensor import Tensor
from minigrad.nn.module import Module
from minigrad.optim.optimizer import Optimizer


def install() -> None:
    """Let the package, its parts and three classes answer for the names that they lack.

    This is done from outside, because type checkers would take every name for an attribute of a class that defines
    ``__getattr__``.
    """
    for place in ("minigrad", "minigrad.nn", "minigrad.optim", "minigrad.data"):
        vars(sys.modules[place])["__getattr__"] = partial(_refuse_of_module, place)
    for kind in (Tensor, Module, Optimizer):
        setattr(kind, "__getattr__", partialmethod(_refuse_of_object, kind.__name__))  # noqa: B010


def _refuse_of_module(place: str, name: str) -> NoReturn:
    raise AttributeError(f"module {place!r} has no attribute {name!r}{_instead(place, name)}", name=name)


def _refuse_of_object(self: object, place: str, name: str) -> NoReturn:
    held = "" if isinstance(self, Tensor) else ", ".join(key for key in vars(self) if not key.startswith("_"))
    rest = _instead(place, name) or (f"; it has {held}" if held else "")
    raise AttributeError(f"{type(self).__name__} has no attribute {name!r}{rest}", name=name, obj=self)


def _instead(place: str, name: str) -> str:
    """Return the end of a message: what to write instead of a name, or nothing."""
    table = tomllib.loads(Path(__file__).with_name("advice.toml").read_text(encoding="utf-8"))  # read after a mistake
    return f"; write {table[place][name]}" if name in table[place] else ""
