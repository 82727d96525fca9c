"""An audit of what minigrad asks of CuPy: names and keywords, against the CuPy that is installed.

``python -m tests.tools.audit`` runs the device suite on the strict double, which records every call that minigrad
makes through it. It then looks up each call in CuPy, and prints the table of docs/dispatch.md. CuPy can be imported,
and asked for its names and signatures, on a machine without a GPU or a driver. With ``--write`` the table is written
into docs/dispatch.md; that needs no CuPy, but the calls that it adds have then not been looked up.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from tests.tools import strict

#: Where the table stands, as the end of the page.
PAGE = Path(__file__).parents[2] / "docs" / "dispatch.md"
HEAD = "| called | with keywords |"

Call = tuple[str, int, tuple[str, ...]]


def main() -> int:
    """Run the suite, print the table or write it, and print the calls that CuPy refuses; return their number."""
    import pytest

    strict.calls.clear()
    if status := pytest.main(["-q", "-p", "no:cacheprovider", "tests/device/test_dispatch.py"]):
        return int(status)
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(PAGE.read_text().partition(HEAD)[0] + table(strict.calls) + "\n")
    try:
        import cupy
    except ImportError as error:
        print(f"audit: not looked up in CuPy, which needs no GPU for that: pip install cupy-cuda12x ({error})")
        return 0
    faults = {call: fault for call in sorted(strict.calls) if (fault := fault_of(call, cupy))}
    print(f"\nCuPy {cupy.__version__}: {len(strict.calls)} different calls, {len(faults)} that it does not take\n")
    print(table(strict.calls))
    for (name, count, keywords), fault in faults.items():
        print(f"{name} with {count} arguments and keywords {keywords}: {fault}")
    return len(faults)


def table(calls: set[Call]) -> str:
    """Return a table in Markdown: functions with their keywords; those without keywords share a row for each kind."""
    keywords: dict[str, set[str]] = defaultdict(set)
    for name, _, names in calls:
        keywords[name].update(names)
    rows = [(f"`{name}`", ", ".join(f"`{k}`" for k in sorted(given))) for name, given in sorted(keywords.items())]
    kinds: dict[str, list[str]] = {"functions": [], "methods and attributes": [], "Python's operators": []}
    for name, given in rows:
        if not given:
            kind = 2 if "__" in name else 1 if name.startswith("`ndarray.") else 0
            kinds[list(kinds)[kind]].append(name.replace("`ndarray.", "`"))
    lines = [HEAD, "|---|---|"]
    lines += [f"| {name} | {given} |" for name, given in rows if given]
    lines += [f"| {kind} without keywords: {', '.join(names)} | |" for kind, names in kinds.items() if names]
    return "\n".join(lines)


def fault_of(call: Call, library: Any) -> str:
    """Return why the library refuses a call; an empty text if it accepts the call."""
    name, count, keywords = call
    thing, path = library, name
    if name.startswith("cupyx."):  # a package beside CuPy's own
        module, _, path = name.rpartition(".")
        thing = importlib.import_module(module)
    for part in path.split("."):
        thing = getattr(thing, part, None)
        if thing is None:
            return "there is no such name"
    signature = signature_of(thing) if callable(thing) else None
    if signature is None:
        return ""
    try:
        signature.bind(*[None] * (count + name.startswith("ndarray.")), **dict.fromkeys(keywords))
    except TypeError as error:
        return f"{error}; it takes {signature}"
    return ""


def signature_of(function: Any) -> inspect.Signature | None:
    """Return the signature of a function; of compiled ones, what their docstring begins with, if it has any."""
    try:
        return inspect.signature(function)
    except ValueError:
        first = (function.__doc__ or "").partition("\n")[0]
    found = re.match(r"[\w.]+\((.*)\)", first)
    if found is None:
        return None
    text = re.sub(r"\b[A-Za-z_]\w* (?=\w)", "", found[1].replace("\\", ""))  # Cython's "Py_ssize_t axis" is "axis"
    given = ast.parse(f"def f({text}): 0").body[0].args  # type: ignore[attr-defined]
    kinds = [
        (given.posonlyargs, inspect.Parameter.POSITIONAL_ONLY),
        (given.args, inspect.Parameter.POSITIONAL_OR_KEYWORD),
        ([given.vararg] if given.vararg else [], inspect.Parameter.VAR_POSITIONAL),
        (given.kwonlyargs, inspect.Parameter.KEYWORD_ONLY),
        ([given.kwarg] if given.kwarg else [], inspect.Parameter.VAR_KEYWORD),
    ]
    positional = [*given.posonlyargs, *given.args]
    optional = {a.arg for a in positional[len(positional) - len(given.defaults) :]}
    optional |= {a.arg for a, default in zip(given.kwonlyargs, given.kw_defaults, strict=True) if default}
    return inspect.Signature(
        [
            inspect.Parameter(a.arg, kind, default=None if a.arg in optional else inspect.Parameter.empty)
            for group, kind in kinds
            for a in group
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
