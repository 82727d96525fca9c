"""Every quantity in the prose is looked up: what a run printed, what can be computed, or a number of the paper.

The table is tests/docs/numbers.py, which says how to write a row. Prose is what people read: pages in Markdown (outside
code), the README, docstrings and comments of chapters, demos, models and minigrad.
"""

import re

import pytest

from tests.docs import numbers, quoted
from tests.docs.quoted import ROOT, Row, faults, match, prose, quantities

FILES = [path.relative_to(ROOT).as_posix() for path in numbers.files()]


@pytest.mark.parametrize("row", numbers.ROWS, ids=lambda row: next(iter(row.said)))
def test_what_is_said_is_what_was_found(row):
    wrong = [line for file in row.said for line in faults(row, file)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("file", FILES)
def test_every_quantity_is_looked_up(file):
    rest = prose(file)
    for row in numbers.ROWS:
        for sentence in row.said.get(file, []):
            rest = re.sub(match(sentence), " ", rest)
    for phrase in numbers.known(file):
        assert phrase in prose(file), f"numbers.py lists what {file} does not say: {phrase}"
        rest = rest.replace(phrase, " ")
    left = [found for found in quantities(rest) if not re.search(numbers.PAPER, found)]
    assert not left, f"{file}: expected a row of tests/docs/numbers.py for each of {left}"


def test_the_table_names_files_that_are_read():
    named = {file for row in numbers.ROWS for file in row.said} | {
        *numbers.DEFINED,
        *numbers.ASSERTED,
        *numbers.UNLOGGED,
    }
    assert named <= set(FILES)


@pytest.mark.parametrize(("file", "pairs"), numbers.ASSERTED.items())
def test_what_is_said_to_be_asserted_is_asserted(file, pairs):
    """A chapter has the line; every build of the site runs it, and so does a slow test."""
    for phrase, (chapter, line) in pairs.items():
        code = " ".join((ROOT / f"docs/chapters/{chapter}.py").read_text().split())
        assert line.startswith("assert ")
        assert f" {line} " in code, f"{chapter} no longer asserts what {file} says: {phrase}"


# The test of the tests -----------------------------------------------------------------------


@pytest.fixture
def page(monkeypatch):
    """Return a function that tells what is wrong with a sentence in a page."""
    text = "It ends with 80.2 % wrong, from 74 to 81 %, about two minutes."
    monkeypatch.setattr(quoted, "prose", lambda file: text)

    def wrong(sentence, *sessions):
        return [*faults(Row(lambda: list(sessions), {"page": [sentence]}), "page")]

    return wrong


def test_a_number_must_be_the_one_that_was_found_to_the_digits_that_are_written(page):
    for found in (80.2, 80.16, 80.24):
        assert not page("with {} % wrong", (found,))
    for found in (80.1, 80.26, 8.02, -80.2):
        assert "80.2" in page("with {} % wrong", (found,))[0]
    assert page("with {} % wrong", (80.2,), (99.0,)) == []  # the other sessions are for bounds


def test_bounds_are_those_of_all_sessions(page):
    said = "from {min} to {max} %"
    assert not page(said, (80.2,), (73.9,), (81.4,))
    assert page(said, (80.2,), (73.9,))
    assert page(said, (73.9,), (81.4,), (60.0,))
    assert not page("from {>} to {<} %", (75.0,), (80.0,))
    assert page("from {>} to {<} %", (75.0,), (81.1,))
    assert page("from {>} to {<} %", (73.0,), (80.0,))
    assert not page("about {~} minutes", (1.85,))
    assert page("about {~} minutes", (1.7,))
    assert page("about {~} minutes", (1.85,), (2.5,))
    assert not page("about {} minutes", (2.4,))


def test_a_sentence_that_is_gone_is_named(page):
    assert "expected once" in page("it begins with {} %", (80.2,))[0]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It takes 3.5 times as long, or 12 %.", ["3.5 times", "12 %"]),
        ("误差为 80.2%，两倍", ["80.2%"]),
        ("about seven hours, 347 MiB and 0.83 points", ["seven hours", "347 MiB", "0.83 points"]),
        ("a 3x3 kernel, 2.0x better, twice, 20 layers", ["2.0x"]),
        ("half a minute for a third of the time", ["half a minute", "a third of the time"]),
    ],
)
def test_quantities_are_seen(text, found):
    assert quantities(text) == found


def test_code_is_not_prose():
    assert "backward" in (ROOT / "docs/zh.md").read_text()
    assert "y.sum().backward()" not in prose("docs/zh.md")
    assert "argparse" not in prose("demos/lab.py")
    assert "`python -m demos`" in prose("README.md")
