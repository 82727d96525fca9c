"""Settings: each parameter of each public class and function is changed once, with an effect worked out by hand.

A package's table (``tests/nn/test_settings.py`` and its sisters) has a row for each parameter: how to observe it, and
what is observed at some values. The first value is the default, where there is one::

    "BatchNorm2d.momentum": Row(lambda **s: running_mean(nn.BatchNorm2d(1, **s)), (0.1, 0.2), (0.5, 1.0)),

So a row says three things: without the argument, the effect is that of the default; the default is the one in the
signature; another value has another effect. A parameter that has no row fails by its name.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest

#: Modules whose names nobody is to call: their settings are those of `fit`, `Optimizer` and `load_state_dict`.
INTERNAL = [
    "minigrad.optim.groups",
    "minigrad.train.diagnose",
    "minigrad.train.run",
    "minigrad.train.signals",
    "models.legacy",
]


class Refused(NamedTuple):
    """In place of an expected effect: the exception, and what its message says."""

    error: type[Exception]
    message: str


class Row:
    """How a setting is observed, and its values, each with the effect that is expected.

    Parameters
    ----------
    effect : function of keyword arguments
        Gets the setting by its name, or nothing.
    *values : (value, expected)
        The default first. Expected may be :class:`Refused`.
    rtol : float
        Of floating-point numbers.
    """

    def __init__(self, effect: Callable[..., Any], *values: tuple[Any, Any], rtol: float = 1e-6) -> None:
        self.effect, self.values, self.rtol = effect, values, rtol


@functools.cache
def parameters(package: ModuleType) -> dict[str, inspect.Parameter]:
    """Return the parameters of all public functions, constructors and class methods of a package, by name.

    Of other methods only settings, which have defaults: what has none is what the method works on.
    """
    found: dict[str, inspect.Parameter] = {}
    modules = [m.name for m in pkgutil.iter_modules(package.__path__, f"{package.__name__}.") if m.name[-2:] != "__"]
    for module in map(importlib.import_module, [package.__name__, *modules]):
        for name, thing in vars(module).items():
            own = getattr(thing, "__module__", None) == module.__name__ and not name.startswith("_")
            if not own or not callable(thing) or (module.__name__ in INTERNAL and not hasattr(package, name)):
                continue
            if isinstance(thing, type):
                if getattr(thing, "_is_protocol", False) or issubclass(thing, dict):  # says what others are like
                    continue
                for method, f in vars(thing).items():
                    given = list(inspect.signature(f).parameters.values())[1:] if inspect.isfunction(f) else ()
                    settings = [p for p in given if p.default is not p.empty and not method.startswith("_")]
                    found |= {f"{name}.{method}.{p.name}": p for p in settings}
            found |= {f"{name}.{p.name}": p for p in expanded(thing)}
    return found


def expanded(thing: Callable[..., Any]) -> list[inspect.Parameter]:
    """Return the parameters of a callable; ``**settings: Unpack[Settings]`` are those that Settings lists."""
    result = []
    for p in inspect.signature(thing).parameters.values():
        if unpacked := re.fullmatch(r"Unpack\[(\w+)\]", str(p.annotation)):
            keys = inspect.unwrap(thing).__globals__[unpacked[1]].__optional_keys__
            stated = defaults_in(thing)
            assert keys == stated.keys(), f"{thing.__name__}: its docstring gives the defaults of {sorted(stated)}"
            result += [p.replace(name=k, kind=p.KEYWORD_ONLY, default=stated[k]) for k in sorted(keys)]
        else:
            result.append(p)
    return result


def defaults_in(thing: Callable[..., Any]) -> dict[str, Any]:
    """Return the defaults that a docstring states as ``name=value``, or the docstring that it refers to."""
    text = thing.__doc__ or ""
    if "see :func:`" in text:
        text = inspect.unwrap(thing).__globals__[re.findall(r"see :func:`(\w+)`", text)[0]].__doc__
    names = {"float32": np.float32, "False": False, "True": True}
    pairs = re.findall(r"(\w+)=(\"?[\w.-]*\w\"?)", text.partition("takes them:")[2].partition("\n\n")[0])
    return {name: names[value] if value in names else eval(value, {}) for name, value in pairs}


def missing(package: ModuleType, rows: dict[str, Row]) -> list[str]:
    """List what the table lacks, and what it has too many of."""
    expected = parameters(package)
    lacks = [f"no row for {name}" for name in expected if name not in rows]
    return lacks + [f"no such setting: {name}" for name in rows if name not in expected]


def check(package: ModuleType, name: str, row: Row) -> None:
    """Assert the effect of each value of a setting."""
    p = parameters(package)[name]
    (default, by_default), *_ = row.values
    if p.default is not p.empty:
        assert type(default) is type(p.default), f"{name}: the default is {p.default!r}, the table has {default!r}"
        assert default == p.default, f"{name}: the default is {p.default!r}, the table has {default!r}"
        observe(name, row, {}, by_default)
    for value, expected in row.values:
        observe(f"{name}={value!r}", row, {p.name: value}, expected)
    with pytest.raises(AssertionError):  # a row whose values all have one effect shows nothing
        same([by_default] * (len(row.values) - 1), [other for _, other in row.values[1:]], row.rtol, name)


def observe(where: str, row: Row, settings: dict[str, Any], expected: Any) -> None:
    """Assert the effect of one call."""
    if isinstance(expected, Refused):
        with pytest.raises(expected.error, match=expected.message):
            row.effect(**settings)
    else:
        same(row.effect(**settings), expected, row.rtol, where)


def same(got: Any, expected: Any, rtol: float, where: str) -> None:
    """Assert that two effects are equal: numbers up to rounding, all else exactly."""
    if isinstance(expected, dict):
        assert isinstance(got, dict), f"{where}: {got!r}"
        assert list(got) == list(expected), where
        got, expected = [*got.values()], [*expected.values()]
    if isinstance(expected, list | tuple):
        assert isinstance(got, list | tuple | np.ndarray), f"{where}: {got!r}"
        assert len(got) == len(expected), f"{where}: got {got!r}, expected {expected!r}"
        for a, b in zip(got, expected, strict=True):
            same(a, b, rtol, where)
    elif isinstance(expected, np.ndarray | float):
        np.testing.assert_allclose(got, expected, rtol=rtol, atol=1e-12, equal_nan=False, err_msg=where)
        assert np.shape(got) == np.shape(expected), where
    else:
        assert got == expected, f"{where}: got {got!r}, expected {expected!r}"
        assert isinstance(got, bool) == isinstance(expected, bool), where
