"""Arguments against the types in signatures: a value of another type is refused by name.

A signature says ``c_in: int``; at run time Python does not look. :func:`checked` does, so that ``Linear("3", 4)`` is
refused by Linear, and not by whatever fails first inside it.

Next: :mod:`minigrad.autograd.signatures`.
"""

from __future__ import annotations

import functools
import inspect
import numbers
import os
import re
import typing
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np

from minigrad.arguments import as_int
from minigrad.typing import Function

F = TypeVar("F", bound=Function)


def checked(f: F) -> F:
    """Make a function compare its arguments with the types in its signature, before it does anything.

    For functions and constructors that are not called often. Operators compare only after they have failed.

    Examples
    --------
    >>> @checked
    ... def double(x: int) -> int:
    ...     return 2 * x
    >>> double("two")
    Traceback (most recent call last):
    TypeError: double: expected x to be an int, got 'two'
    """

    @functools.wraps(f)
    def call(*args: Any, **settings: Any) -> Any:
        if wrong := mistyped(f, args, settings):
            raise TypeError(wrong)
        return f(*args, **settings)

    return call  # type: ignore[return-value]


def mistyped(f: Function, args: Iterable[Any], settings: dict[str, Any], caller: str = "") -> str | None:
    """Say which argument does not have the type that the signature of `f` gives; None if all do."""
    expected, positional, rest = _types(f)
    given = [*zip(positional, args, strict=False), *((rest, a) for a in list(args)[len(positional) :] if rest)]
    for name, value in [*given, *settings.items()]:
        if name in expected and not any(holds(value) for _, holds in expected[name]):
            caller = caller or f.__qualname__.removesuffix(".__init__").rpartition("<locals>.")[2].lstrip("_")
            return (
                f"{caller}: expected {name} to be {' or '.join(what for what, _ in expected[name])}, got {brief(value)}"
            )
    return None


def explained(f: Function, error: Exception, args: Iterable[Any], settings: dict[str, Any], caller: str) -> Exception:
    """Return the error to raise for a call of `f` that failed: one that names the caller.

    It says which argument has the wrong type; if all have the right one, what failed.
    """
    if re.search(rf"\b{caller}\b", str(error)):
        return error
    if wrong := mistyped(f, args, settings, caller):
        return TypeError(wrong)
    kind = next((k for k in (IndexError, ValueError, OverflowError) if isinstance(error, k)), TypeError)
    return kind(f"{caller}: {error}")


def brief(value: object) -> str:
    """Write a value in a message: numbers and short texts as they are, the kind of everything else."""
    if isinstance(value, str | bytes | numbers.Number | None):
        return repr(value)[:40]
    dtype = f" of {value.dtype}" if hasattr(value, "dtype") and not isinstance(value, type) else ""
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__ + dtype


Kind = tuple[str, Callable[[Any], bool]]  # what a type is called in a message, and whether a value has it


@functools.cache
def _types(f: Function) -> tuple[dict[str, list[Kind]], list[str], str]:
    """Return the types of the parameters of `f` by name, the names of the positional ones, and that of ``*args``."""
    expected, positional, rest = {}, [], ""
    for p in inspect.signature(f).parameters.values():
        kinds = [_kind(text, f.__globals__) for text in _alternatives(str(p.annotation))]
        if p.annotation is not p.empty and all(kinds) and p.kind is not p.VAR_KEYWORD:
            expected[p.name] = [k for k in kinds if k]
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD):
            positional.append(p.name)
        rest = p.name if p.kind is p.VAR_POSITIONAL else rest
    return expected, positional, rest


def _alternatives(annotation: str) -> list[str]:
    """Split "A | B[C | D]" into "A" and "B[C | D]"."""
    parts, depth = [""], 0
    for letter in annotation.strip("'\""):
        depth += (letter == "[") - (letter == "]")
        if letter == "|" and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def _kind(text: str, names: dict[str, Any]) -> Kind | None:
    """Return what one type of a signature stands for; None if it is not known here, so that anything goes."""
    outer, _, inner = text.partition("[")
    if text in _KINDS:
        return _KINDS[text]
    if outer in ("Sequence", "list", "Iterable"):
        kinds = [_kind(part, names) for part in _alternatives(inner.removesuffix("]"))]
        return (
            f"a sequence of {' or '.join(k[0].split(' ', 1)[-1] + 's' for k in kinds if k) or 'values'}",
            lambda v: (
                _is_iterable(v)
                and (
                    not all(kinds)
                    or not isinstance(v, list | tuple)
                    or all(any(k[1](x) for k in kinds if k) for x in v)
                )
            ),
        )
    if outer in ("Mapping", "dict"):
        return "a dict", lambda v: hasattr(v, "items") and not isinstance(v, type)
    if outer in ("Callable", "Function", "Transform"):
        return "a function", callable
    named = names.get(outer)
    if typing.get_origin(named) is typing.Literal:
        options = typing.get_args(named)
        return f"one of {', '.join(map(repr, options))}", lambda v: isinstance(v, str) and v in options
    if getattr(named, "_is_protocol", False):
        members = [m for m in vars(named) if re.fullmatch("__len__|__getitem__|[a-z]\\w*", m)]
        return f"a {outer}", lambda v: not isinstance(v, type) and all(hasattr(v, m) for m in members)
    return (f"a {outer}", lambda v: isinstance(v, named)) if isinstance(named, type) else None


def _is_iterable(value: object) -> bool:
    """Whether this is some sequence, though not a text, and no class."""
    return hasattr(value, "__iter__") and getattr(value, "ndim", 1) > 0 and not isinstance(value, str | bytes | type)


def _is_number(value: object) -> bool:
    """Whether this is a real number: Python's, NumPy's, or a 0-d array; a bool is none."""
    value = value.item() if getattr(value, "shape", None) == () and hasattr(value, "item") else value
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _is_array(value: object) -> bool:
    """Whether this is an array of numbers."""
    dtype = getattr(value, "dtype", None)
    return hasattr(value, "shape") and getattr(dtype, "kind", "") in set("biufc") and not isinstance(value, type)


def _is_dtype(value: Any) -> bool:
    """Whether this names a dtype of floating-point numbers."""
    try:
        return value is not None and np.dtype(value).kind == "f"
    except TypeError:
        return False


def _is_generator(value: object) -> bool:
    """Whether this draws random numbers as NumPy's Generator does."""
    return hasattr(value, "bit_generator") and not isinstance(value, type)


def _is_int(value: object) -> bool:
    return as_int(value) is not None


def _is_seed(value: object) -> bool:
    """Whether this is a seed: an int of at least 0."""
    return (as_int(value) or 0) >= 0 and _is_int(value)


def _is_tuple(value: Any) -> bool:
    return isinstance(value, tuple | list) and all(map(_is_int, value))


_BOOL: Kind = ("a bool", lambda v: isinstance(v, bool) or type(v).__name__ in ("bool_", "bool"))
_INT: Kind = ("an int", _is_int)
_ARRAY: Kind = ("an array", _is_array)
_TENSOR_OR_ARRAY: Kind = ("a Tensor or an array", _is_array)
_AXIS: Kind = ("an int, a tuple of ints or None", lambda v: v is None or _is_int(v) or _is_tuple(v))

#: The types that signatures use: see minigrad/typing.py.
_KINDS: dict[str, Kind] = {
    "bool": _BOOL,
    "int": _INT,
    "float": ("a number", _is_number),
    "str": ("a text", lambda v: isinstance(v, str)),
    "Path": ("a path", lambda v: isinstance(v, os.PathLike)),
    "None": ("None", lambda v: v is None),
    "Array": _ARRAY,
    "Tensor": ("a Tensor", lambda v: _is_array(v) and hasattr(v, "backward")),
    "TensorOrArray": _TENSOR_OR_ARRAY,
    "Shape": ("a tuple of ints", _is_tuple),
    "tuple[int, ...]": ("a tuple of ints", _is_tuple),
    "Axis": _AXIS,
    "IntOrPair": ("an int or a pair of ints", lambda v: _is_int(v) or _is_iterable(v)),
    "Pair": ("a pair of ints", lambda v: _is_iterable(v) and len(v) == 2),
    "Rng": ("a seed or a numpy Generator", lambda v: _is_generator(v) or _is_seed(v)),
    "np.random.Generator": ("a numpy Generator", _is_generator),
    "npt.DTypeLike": ("a dtype of floating-point numbers", _is_dtype),
    "Inputs": ("a sequence of arrays", _is_iterable),
}
