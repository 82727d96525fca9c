"""Docstrings as the reST that Sphinx reads: the sections of numpydoc become headings and definition lists.

numpydoc borrowed its ``name : type`` with an indented paragraph from reST's definition lists. So little is to be done:
underlined titles become rubrics, an entry without a paragraph gets an empty one, and types are left in words. Outside
the sections, an indented block is a formula or a table: it is shown as it was typed. The derivatives that an operator
states after its first sentence, each set off by three spaces, get a line of their own.
"""

from __future__ import annotations

import re

#: Sections whose lines are entries.
ENTRIES = {"Parameters", "Attributes", "Raises", "Returns", "Yields"}


def to_rest(lines: list[str]) -> list[str]:
    """Return the lines of a docstring as reST."""
    out: list[str] = []
    section = speech = ""  # speech: the last line that is not indented
    first, *derivatives = re.split(" {3,}", lines[0]) if lines else [""]
    if derivatives:
        lines = [first, "", ".. rst-class:: derivative", "", "\N{EM SPACE}".join(derivatives), *lines[1:]]
    for i, line in enumerate(lines):
        following = lines[i + 1] if i + 1 < len(lines) else ""
        if re.fullmatch(r"-{3,}", following) and len(following) == len(line):
            section = line
            out.append(f".. rubric:: {line}")
        elif out and re.fullmatch(r"-{3,}", line) and len(line) == len(lines[i - 1]):
            out.append("   :class: section")
            out.append("")
        elif line and not line[0].isspace() and section in ENTRIES:
            out.append(re.sub(r"^(\*+)", r"\\\1", line))
            if not following[:1].isspace():
                out += ["    ..", ""]  # an empty paragraph
        elif line and not line[0].isspace() and section == "References":
            out.append(f"- {line}" if not line.startswith("Next:") else f"\n{line}")
        else:
            displayed = line.startswith("    ") and not lines[i - 1].strip() and section not in ENTRIES
            if displayed and lines[i - 2] == speech and not speech.startswith((".. ", "- ")) and speech[-2:] != "::":
                out += [".. code-block:: text", ""]
            out.append(line)
        if line and not line[0].isspace():
            speech = line
    return "\n".join(out).split("\n")
