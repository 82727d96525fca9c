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
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from minigrad.arguments import as_int
from minigrad.typing import Function

F = TypeVar("F", bound=Function)


def checked(f: F) -> F:
    """Make a function compare its arguments with the types in its signature, before it does anything.

    It leaves numbers to :func:`~minigrad.arguments.integer`, `number` and `pair`, which also know their ranges. For
    functions and constructors that are not called often: operators compare only after they have failed.

    Examples
    --------
    >>> @checked
    ... def greet(name: str, politely: bool = True) -> str:
    ...     return f"{'Good day' if politely else 'Hi'}, {name}"
    >>> greet(3)
    Traceback (most recent call last):
    TypeError: greet: expected name to be a text, got 3
    """

    @functools.wraps(f)
    def call(*args: Any, **settings: Any) -> Any:
        if wrong := mistyped(f, args, settings, numbers_too=False):
            raise TypeError(wrong)
        try:
            return f(*args, **settings)
        except TypeError:
            if wrong := _unbound(f, args, settings):
                raise TypeError(wrong) from None
            raise

    return call  # type: ignore[return-value]


def _unbound(f: Function, args: Sequence[Any], settings: dict[str, Any]) -> str | None:
    """Say which argument `f` does not have, or is missing, and which arguments it has; None if the call fits."""
    signature = inspect.signature(f)
    try:
        signature.bind(*args, **settings)
    except TypeError as error:
        names = [p.replace(annotation=p.empty, default=p.empty) for p in signature.parameters.values()]
        names = names[1:] if names[0].name == "self" else names
        takes = signature.replace(parameters=names, return_annotation=inspect.Signature.empty)
        return f"{_caller(f, args)}: {error}; it takes {takes}"
    return None


def named(f: F) -> F:
    """Make a function do what :func:`checked` does, and name itself if it fails.

    For code that calls none of the user's: an error of the user's own function must be passed on as it is.
    """
    return _failing_by_name(checked(f))


def composed(f: F) -> F:
    """Make a function name itself if it fails, and compare its settings: for what is called often.

    The arguments without a keyword are compared when it has failed.
    """

    @functools.wraps(f)
    def call(*args: Any, **settings: Any) -> Any:
        if settings and (wrong := mistyped(f, args[:1], settings, numbers_too=False)):
            raise TypeError(wrong)
        return f(*args, **settings)

    return _failing_by_name(call)  # type: ignore[return-value]


def _failing_by_name(f: F) -> F:
    """Return `f`, whose errors name it."""

    @functools.wraps(f)
    def call(*args: Any, **settings: Any) -> Any:
        try:
            return f(*args, **settings)
        except BAD_CALL as error:
            raise explained(f, error, args, settings, _caller(f, args)) from error

    return call  # type: ignore[return-value]


def _caller(f: Function, args: Sequence[Any]) -> str:
    """Return the name by which the user called: a class, if `f` is its constructor."""
    return type(args[0]).__name__ if f.__name__ == "__init__" else f.__name__


#: What a call with unfit arguments may raise somewhere inside.
BAD_CALL = (TypeError, ValueError, AttributeError, IndexError, OverflowError, ZeroDivisionError)


def mistyped(
    f: Function, args: Sequence[Any], settings: dict[str, Any], caller: str = "", numbers_too: bool = True
) -> str | None:
    """Say which argument does not have the type that the signature of `f` gives; None if all do."""
    expected, positional, rest = _types(f)
    given = [*zip(positional, args, strict=False), *((rest, a) for a in args[len(positional) :] if rest)]
    for name, value in [*given, *settings.items()]:
        kinds = expected.get(name, [])
        if kinds and not any(k.holds(value) for k in kinds) and (numbers_too or not any(k.of_numbers for k in kinds)):
            what = " or ".join(k.what for k in kinds)
            return f"{caller or _caller(f, args)}: expected {name} to be {what}, got {brief(value)}"
    return None


def explained(f: Function, error: Exception, args: Sequence[Any], settings: dict[str, Any], caller: str) -> Exception:
    """Return the error to raise for a call of `f` that failed: one that names the caller.

    It says which argument has the wrong type; if all have the right one, what failed.
    """
    if re.search(rf"\b_?{caller}(:|\(| )", str(error)):
        return error
    if wrong := mistyped(f, args, settings, caller):
        return TypeError(wrong)
    kind = next(
        (k for k in (IndexError, ValueError, OverflowError, ZeroDivisionError) if isinstance(error, k)), TypeError
    )
    what = re.sub(r"^\w+: ", "", str(error))  # without the name of the inner function that refused it
    return kind(f"{caller}: {what}")


def as_written(self: object, **known: object) -> str:
    """Write an object as the call that makes it: ``repr`` of layers, transforms, loaders and data sets.

    A class uses it as its own method: ``__repr__ = as_written``. A setting is read from the attribute of its name, or
    given in `known`. A setting that is neither is left out; so are seeds, and keywords with their default values.

    Examples
    --------
    >>> class Crop:
    ...     def __init__(self, size: int, *, padding: int = 0) -> None:
    ...         self.size, self.padding = size, padding
    >>> as_written(Crop(32, padding=4)), as_written(Crop(32))
    ('Crop(32, padding=4)', 'Crop(32)')
    """
    parts, by_place = [], True
    for p in inspect.signature(type(self)).parameters.values():
        unseen = p.name == "rng" or p.kind is p.VAR_POSITIONAL
        value = known.get(p.name, p.empty if unseen else getattr(self, p.name, p.empty))
        if str(p.annotation).startswith(("IntOrPair", "Padding")) and isinstance(value, tuple) and value[0] == value[1]:
            value = value[0]
        by_place = by_place and p.default is p.empty and value is not p.empty
        if value is not p.empty and not (p.kind is p.KEYWORD_ONLY and _as_text(value) == _as_text(p.default)):
            parts.append(_as_text(value) if by_place else f"{p.name}={_as_text(value)}")
    return f"{type(self).__name__}({', '.join(parts)})"


def _as_text(value: Any) -> str:
    """Write a setting: a function by its name, a small array as a list, a large one as its dtype and shape."""
    if inspect.isroutine(value) or isinstance(value, type):
        return value.__name__
    if _is_array(value):
        return repr(value.tolist()) if value.size <= 4 else f"<{value.dtype} {value.shape}>"
    if isinstance(value, list):
        return f"[{', '.join(map(_as_text, value))}]"
    text = repr(value).partition("  #")[0]
    return f"{type(value).__name__}(...)" if text.startswith("<") else text


def brief(value: Any) -> str:
    """Write a value in a message: numbers and short texts as they are, the kind of everything else."""
    if isinstance(value, str | bytes | numbers.Number | None):
        return repr(value)[:40]
    dtype = f" of {value.dtype}" if hasattr(value, "dtype") and not isinstance(value, type) else ""
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__ + dtype


class Kind(NamedTuple):
    """What a type in a signature stands for.

    Attributes
    ----------
    what : str
        Its name in a message.
    holds : function
        Whether a value is of this type.
    of_numbers : bool
        Whether it is a number, or consists of numbers.
    """

    what: str
    holds: Callable[[Any], bool]
    of_numbers: bool = False


@functools.cache
def _types(f: Function) -> tuple[dict[str, list[Kind]], list[str], str]:
    """Return the types of the parameters of `f` by name, the names of the positional ones, and that of ``*args``."""
    f, expected, positional, rest = inspect.unwrap(f), {}, [], ""
    for p in inspect.signature(f).parameters.values():
        types = {p.name: p.annotation}
        if unpacked := re.fullmatch(r"Unpack\[(\w+)\]", str(p.annotation)):
            types = {k: t.__forward_arg__ for k, t in f.__globals__[unpacked[1]].__annotations__.items()}
        for name, annotation in types.items():
            kinds = [_kind(text, f.__globals__) for text in _alternatives(str(annotation))]
            if annotation is not p.empty and all(kinds):
                expected[name] = [k for k in kinds if k]
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
        known = [_kind(part, names) for part in _alternatives(inner.removesuffix("]"))]
        kinds = [k for k in known if k] if all(known) else []

        def fits(value: Any) -> bool:
            return (
                not isinstance(value, list | tuple) or not kinds or all(any(k.holds(x) for k in kinds) for x in value)
            )

        of = " or ".join(k.what.split(" ", 1)[-1] + "s" for k in kinds) or "values"
        return Kind(
            f"a sequence of {of}",
            lambda v: _is_iterable(v) and (not kinds or fits(v)),
            any(k.of_numbers for k in kinds),
        )
    if outer in ("Mapping", "dict"):
        return Kind("a dict", lambda v: hasattr(v, "items") and not isinstance(v, type))
    if outer in ("Callable", "Function", "Transform"):
        return Kind("a function", lambda v: callable(v) and not isinstance(v, type))
    named = names.get(outer) if outer not in ("Any", "object") else None
    if typing.is_typeddict(named):
        return _kind("dict", names)
    if typing.get_origin(named) is typing.Literal:
        return _KINDS["str"]  # which one, its own check says
    if getattr(named, "_is_protocol", False):
        no: Any = type | dict  # a dict has the members of a list
        members = [m for m in vars(named) if re.fullmatch(r"__len__|__getitem__|[a-z]\w*", m)]
        return Kind(
            f"a {outer}",
            lambda v: not isinstance(v, no) and all(hasattr(v, m) for m in members) and getattr(v, "ndim", 1) > 0,
        )
    article = "an" if outer[0] in "AEIOU" else "a"
    return Kind(f"{article} {outer}", lambda v: isinstance(v, named)) if isinstance(named, type) else None


def _is_iterable(value: object) -> bool:
    """Whether this is some sequence, though not a text, and no class."""
    return hasattr(value, "__iter__") and getattr(value, "ndim", 1) > 0 and not isinstance(value, str | bytes | type)


def _is_number(value: Any) -> bool:
    """Whether this is a real number: Python's, NumPy's, or a 0-d array; a bool is none."""
    value = value.item() if getattr(value, "shape", None) == () and hasattr(value, "item") else value
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _is_array(value: object) -> bool:
    """Whether this is an array of numbers."""
    dtype = getattr(value, "dtype", None)
    return hasattr(value, "shape") and getattr(dtype, "kind", "") in set("biufc") and not isinstance(value, type)


def _is_dtype(value: Any) -> bool:
    """Whether this names a dtype of floating-point numbers, of float32 or more."""
    try:
        return value is not None and np.dtype(value).kind == "f" and np.dtype(value).itemsize >= 4
    except (TypeError, ValueError):
        return False


def _is_generator(value: object) -> bool:
    """Whether this draws random numbers as NumPy's Generator does."""
    return hasattr(value, "bit_generator") and not isinstance(value, type)


def _is_int(value: object) -> bool:
    """Whether this is an integer: Python's, NumPy's, or a 0-d array."""
    return as_int(value) is not None


def _is_tuple(value: Any) -> bool:
    """Whether this is a tuple, or a list, of integers."""
    return isinstance(value, tuple | list) and all(map(_is_int, value))


#: The types that signatures use: see minigrad/typing.py.
_KINDS: dict[str, Kind] = {
    "bool": Kind("True or False", lambda v: isinstance(v, bool) or type(v).__name__ in ("bool_", "bool")),
    "int": Kind("an int", _is_int, of_numbers=True),
    "float": Kind("a number", _is_number, of_numbers=True),
    "str": Kind("a text", lambda v: isinstance(v, str)),
    "Path": Kind("the path of a file", lambda v: isinstance(v, os.PathLike)),
    "None": Kind("None", lambda v: v is None),
    "Array": Kind("an array", _is_array),
    "ArrayLike": Kind("an array or numbers", lambda v: _is_number(v) or _is_array(v) or _is_iterable(v)),
    "Tensor": Kind("a Tensor", lambda v: _is_array(v) and hasattr(v, "backward")),
    "TensorOrArray": Kind("a Tensor or an array", _is_array),
    "Shape": Kind("a tuple of ints", _is_tuple, of_numbers=True),
    "tuple[int, ...]": Kind("a tuple of ints", _is_tuple, of_numbers=True),
    "Axis": Kind("an int, a tuple of ints or None", lambda v: v is None or _is_int(v) or _is_tuple(v), of_numbers=True),
    "IntOrPair": Kind("an int or a pair of ints", lambda v: _is_int(v) or _is_iterable(v), of_numbers=True),
    "Padding": Kind(
        'an int, a pair of ints or "same"',
        lambda v: isinstance(v, str) or _is_int(v) or _is_iterable(v),
        of_numbers=True,
    ),
    "Pair": Kind(
        "a pair of ints", lambda v: _is_iterable(v) and hasattr(v, "__len__") and len(v) == 2, of_numbers=True
    ),
    "Rng": Kind("a seed of at least 0 or a numpy Generator", lambda v: _is_generator(v) or _is_int(v), of_numbers=True),
    "np.random.Generator": Kind("a numpy Generator", _is_generator),
    "npt.DTypeLike": Kind("a dtype of floating-point numbers, at least float32", _is_dtype),
    "Inputs": Kind("a sequence of arrays", _is_iterable),
}
