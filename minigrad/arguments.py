"""Checks of arguments. An error names the function, what it expected, and what it was given.

Public functions check their arguments with these helpers; internal functions may assume valid arguments.

Next: :mod:`minigrad.checked`.
"""

from __future__ import annotations

import operator
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from minigrad.typing import IntOrPair, Pair, Rng

#: The largest finite float.
MAX = sys.float_info.max


def expect(
    holds: object, caller: str, expected: str, got: object, fix: str = "", error: type[Exception] = ValueError
) -> None:
    """Raise `error` unless a condition holds: "caller: expected ..., got ...; fix".

    Parameters
    ----------
    holds : bool
        The condition.
    caller : str
        The function that the user called.
    expected, got : str, object
        What was expected, and what was given instead.
    fix : str
        What the user can do about it.
    error : type of Exception

    Examples
    --------
    >>> expect(1 + 1 == 3, "add", "a sum of 3", 2, "use larger numbers")
    Traceback (most recent call last):
    ValueError: add: expected a sum of 3, got 2; use larger numbers
    """
    if not holds:
        refuse(caller, expected, got, fix, error)


def refuse(caller: str, expected: str, got: object, fix: str = "", error: type[Exception] = ValueError) -> NoReturn:
    """Raise `error` with the message of :func:`expect`.

    For conditions that are checked often: the caller formats the message only if the condition fails.
    """
    raise error(f"{caller}: expected {expected}, got {got}" + (f"; {fix}" if fix else ""))


def as_int(value: object) -> int | None:
    """Return an integer as an int: Python's own, a NumPy scalar or a 0-d array. Return None for everything else.

    A bool does not count as an integer.

    Examples
    --------
    >>> import numpy as np
    >>> as_int(np.int64(3)), as_int(np.array(3)), as_int(3.0), as_int(True)
    (3, 3, None, None)
    """
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return None


def integer(caller: str, name: str, value: object, least: int | None = None) -> int:
    """Return an argument as an int; refuse it if it is not an integer, or is less than `least`.

    Examples
    --------
    >>> integer("Linear", "c_in", 0, least=1)
    Traceback (most recent call last):
    ValueError: Linear: expected c_in to be an int of at least 1, got 0
    """
    number = as_int(value)
    if number is None or (least is not None and number < least):
        bound = "" if least is None else f" of at least {least}"
        raise ValueError(f"{caller}: expected {name} to be an int{bound}, got {value!r}")
    return number


def generator(caller: str, rng: Rng) -> np.random.Generator:
    """Return the Generator, or a new one with this seed; refuse None, for which NumPy would make up a seed.

    Examples
    --------
    >>> generator("Dropout", None)
    Traceback (most recent call last):
    TypeError: Dropout: expected rng to be a numpy Generator or a seed, got None
    """
    seed = rng if isinstance(rng, np.random.Generator) else as_int(rng)
    if seed is None or (isinstance(seed, int) and seed < 0):
        refuse(caller, "rng to be a numpy Generator or a seed", f"{rng!r:.80}", error=TypeError)
    return np.random.default_rng(seed)


def number(
    caller: str, name: str, value: Any, least: float = 0.0, most: float = MAX, below: float | None = None
) -> float:
    """Return an argument as a float; refuse it unless it is a number in a range, by default finite and not negative.

    Parameters
    ----------
    caller, name : str
        The function, and its argument.
    value : object
        Python's number, a NumPy scalar or a 0-d array.
    least, most, below : float
        The range: ``least <= value <= most``, and ``value < below`` if it is given.

    Examples
    --------
    >>> number("SGD", "momentum", float("nan"), below=1)
    Traceback (most recent call last):
    ValueError: SGD: expected a number with 0 <= momentum < 1, got nan
    """
    given = _scalar(value)
    is_number = isinstance(given, int | float) and not isinstance(given, bool)
    if not (is_number and least <= given <= most and (below is None or given < below)):
        bound = f" < {below:g}" if below is not None else f" <= {most:g}" if most < MAX else ""
        wanted = f"{least:g} <= {name}{bound}" if bound else f"{name} >= {least:g}"
        refuse(caller, f"a {'' if bound else 'finite '}number with {wanted}", f"{value!r:.80}")
    return float(given)


def not_half(caller: str, dtype: np.dtype[Any]) -> None:
    """Refuse float16: its largest number is 65,504, so sums, counts of pixels and squares soon overflow.

    Examples
    --------
    >>> not_half("mean", np.dtype("float16"))
    Traceback (most recent call last):
    TypeError: mean: expected at least float32, got float16, whose sums overflow; use .astype('float32')
    """
    if dtype.char == "e":
        refuse(caller, "at least float32", "float16, whose sums overflow", "use .astype('float32')", TypeError)


def flag(caller: str, name: str, value: object) -> bool:
    """Return an argument as a bool; refuse what is not one, as a string, which would count as True.

    Examples
    --------
    >>> flag("Digits", "train", "test")
    Traceback (most recent call last):
    TypeError: Digits: expected train to be True or False, got 'test'
    """
    given = _scalar(value)
    expect(isinstance(given, bool), caller, f"{name} to be True or False", f"{value!r:.80}", error=TypeError)
    return bool(given)


def file(caller: str, value: object) -> Path:
    """Return the path of a file; refuse what is not one, as an int, which Python takes for an open file, and closes.

    Examples
    --------
    >>> file("load", 3)
    Traceback (most recent call last):
    TypeError: load: expected the path of a file, got 3
    """
    expect(isinstance(value, str | os.PathLike), caller, "the path of a file", f"{value!r:.80}", error=TypeError)
    return Path(value)  # type: ignore[arg-type]


def python_number(value: np.generic | np.ndarray[Any, Any]) -> Any:
    """Return a NumPy scalar or a 0-d array as a Python number; for a longdouble, which is none, the nearest float.

    Examples
    --------
    >>> import numpy as np
    >>> python_number(np.float32(0.5)), python_number(np.longdouble(2))
    (0.5, 2.0)
    """
    number = value.item()
    kind = complex if isinstance(number, np.complexfloating) else float
    return kind(number) if isinstance(number, np.generic) else number


def _scalar(value: Any) -> Any:
    """Return a NumPy scalar or a 0-d array as Python's number, and everything else as it is."""
    return python_number(value) if getattr(value, "shape", None) == () and type(value).__module__ == "numpy" else value


def with_keys(caller: str, what: str, value: object, keys: Iterable[str], fix: str = "") -> None:
    """Refuse anything but a dict with exactly these keys, in any order.

    Examples
    --------
    >>> with_keys("SGD", "a state", {"lr": 0.1}, ["lr", "groups"])
    Traceback (most recent call last):
    ValueError: SGD: expected a state with ['groups', 'lr'], got ['lr']
    """
    got = sorted(map(str, value)) if isinstance(value, Mapping) else repr(value)[:80]
    expect(sorted(keys) == got, caller, f"{what} with {sorted(keys)}", got, fix)


def pair(caller: str, name: str, value: IntOrPair, least: int) -> Pair:
    """Return an int as the pair (int, int), for height and width, and a pair unchanged; refuse everything else.

    Examples
    --------
    >>> pair("conv2d", "stride", 2, least=1), pair("conv2d", "padding", (0, 1), least=0)
    ((2, 2), (0, 1))
    """
    if type(value) is tuple and len(value) == 2 and type(value[0]) is type(value[1]) is int and min(value) >= least:
        return value  # by far the most common case
    one = not isinstance(value, Iterable) or getattr(value, "shape", None) == ()  # a 0-d array is one number
    given = (value, value) if one else tuple(value)  # type: ignore[arg-type]
    numbers = [as_int(v) for v in given]
    if len(numbers) != 2 or any(n is None or n < least for n in numbers):
        raise ValueError(
            f"{caller}: expected {name} to be an int of at least {least}, or a pair of them, got {value!r}"
        )
    return numbers[0], numbers[1]  # type: ignore[return-value]
