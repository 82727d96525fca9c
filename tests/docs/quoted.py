"""Sentences of the prose that say numbers: how they are found, and compared with what a run found.

The table is tests/docs/numbers.py. A sentence there is quoted, with placeholders for its numbers:

    {}              the number, rounded to as many digits as are written
    {~}             about the number of each session: within 10 %
    {min}, {max}    the smallest and the largest number of all sessions, rounded likewise
    {>}, {<}        a bound: no session has a smaller, a larger number

The i-th placeholder is for the i-th number, or has its index: ``{1}``, ``{0<}``. If there is one number only, all
placeholders are for it.
"""

from __future__ import annotations

import ast
import functools
import io
import json
import re
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]

COUNT = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
    " eighteen nineteen twenty"
)
WORDS: dict[str, float] = dict(zip(COUNT.split(), range(1, 21), strict=True))
NUMBER = rf"\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?|(?<![\w-])(?:{'|'.join(sorted(WORDS, key=len, reverse=True))})(?!\w)"

#: What makes a number a quantity: its unit, or that it is a multiple or a share.
UNITS = r"%(?!%)|per ?cent\b|times\b|倍|seconds?\b|minutes?\b|hours?\b|days?\b|秒|分钟|小时|ms\b|[kMG]i?B\b"
SHARES = r"(?:a|two) (?:half|thirds?|quarter|fifth|tenth) of the time|half an? (?:second|minute|hour|day)"
QUANTITY = rf"(?:{NUMBER}) ?(?:{UNITS})|\d+\.\d+(?:x\b| points\b)|{SHARES}"


class Row(NamedTuple):
    """Numbers, and the sentences that say them.

    Attributes
    ----------
    found : function
        Returns the numbers of each session, [(number, ...), ...]; the first session is the one that the site shows.
    said : dict of lists of str
        The sentences of each file, with placeholders.
    """

    found: Callable[[], list[tuple[float, ...]]]
    said: dict[str, list[str]]


# Reading -------------------------------------------------------------------------------------


@functools.cache
def prose(file: str) -> str:
    """Return what a file says outside code, on one line."""
    text = (ROOT / file).read_text(encoding="utf-8")
    if file.endswith(".md"):
        text = re.sub(r"^( *)```.*?^\1```$", "", text.partition("\n## Measured\n")[0], flags=re.DOTALL | re.MULTILINE)
        return " ".join(text.split())
    parts = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            parts.append(
                re.sub(r"^ *>>> .*?(?=^ *$|\Z)", "", ast.get_docstring(node) or "", flags=re.DOTALL | re.MULTILINE)
            )
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            parts.append(token.string.lstrip("#: "))
    return " ".join(" ".join(parts).split())


def quantities(text: str) -> list[str]:
    """List the quantities of a text."""
    return [found[0] for found in re.finditer(QUANTITY, text)]


def number(text: str) -> float:
    """Return the number that a text stands for: "1,234", "2e-07", "2.0x", "seven"."""
    return WORDS[text] if text in WORDS else float(text.replace(",", "").rstrip("x"))


PLACE = r"\{(\d?)(min|max|>|<|~|)\}"


def match(sentence: str) -> str:
    """Return a regular expression for a sentence, with a group for each placeholder."""
    parts = re.split(r"\{\d?(?:min|max|>|<|~|)\}", sentence)
    return f"({NUMBER})".join(map(re.escape, parts))


def faults(row: Row, file: str) -> Iterator[str]:
    """Yield what is wrong with the sentences of a row in a file."""
    sessions = row.found()
    for sentence in row.said[file]:
        quoted = [*re.finditer(match(sentence), prose(file))]
        if len(quoted) != 1:
            yield f"{file}: expected once, got {len(quoted)} times: {sentence}"
            continue
        for i, ((index, kind), said) in enumerate(zip(re.findall(PLACE, sentence), quoted[0].groups(), strict=True)):
            index = int(index) if index else min(i, len(sessions[0]) - 1)
            values = [session[index] for session in sessions]
            if not holds(kind, said, values):
                what = values[0] if not kind else f"{min(values)} to {max(values)}"
                yield f"{file} says {said} where {what} was found: {quoted[0][0]}"


def holds(kind: str, said: str, values: list[float]) -> bool:
    """Return whether a number in prose is what was found."""
    if kind in (">", "<"):
        return number(said) <= min(values) if kind == ">" else number(said) >= max(values)
    if kind == "~":
        return all(abs(number(said) - value) <= 0.1 * abs(value) for value in values)
    value = {"min": min(values), "max": max(values)}.get(kind, values[0])
    mantissa, _, exponent = ("", "", "") if said in WORDS else said.partition("e")
    unit = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))  # of the last digit
    return abs(number(said) - value) <= 0.5 * unit * (1 + 1e-9)


# Where numbers come from ---------------------------------------------------------------------


def looked_up(paths: list[str], pattern: str, change: Callable[..., tuple[float, ...]] | None = None) -> Any:
    """Find numbers by a regular expression, a group for each, in files; `change` computes with them."""

    def found() -> list[tuple[float, ...]]:
        texts = [(ROOT / path).read_text(encoding="utf-8") for path in paths if (ROOT / path).exists()]
        groups = [match.groups() for text in texts for match in re.finditer(pattern, text, re.MULTILINE)]
        assert groups, f"expected {pattern} in {paths}"
        numbers = [tuple(map(number, group)) for group in groups]
        return [change(*session) for session in numbers] if change else numbers

    return found


def printed(demo: str, pattern: str, change: Callable[..., tuple[float, ...]] | None = None) -> Any:
    """Find numbers in what a demo printed."""
    return looked_up([f"docs/figures/{demo}.txt", f"docs/logs/sessions/{demo}.txt"], pattern, change)


def logged(run: str, compute: Callable[[dict[str, Any]], tuple[float, ...]]) -> Any:
    """Compute numbers from the last record of a log, docs/logs/RUN.jsonl."""
    return lambda: [compute(json.loads((ROOT / f"docs/logs/{run}.jsonl").read_text().splitlines()[-1]))]


def computed(compute: Callable[[], tuple[float, ...]]) -> Any:
    """Compute numbers."""
    return lambda: [compute()]
