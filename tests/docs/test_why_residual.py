"""The numbers of docs/why_residual.md and of chapter 15 are those that the demos printed: docs/figures/NAME.txt."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGE = " ".join((DOCS / "why_residual.md").read_text().split())


def printed(demo):
    """Return what a demo printed."""
    return (DOCS / f"figures/{demo}.txt").read_text()


@pytest.mark.parametrize("demo", ["corrections", "explanations", "preactivation"])
def test_the_tables_are_what_a_demo_printed(demo):
    """A line that begins with a net, or with a depth and a kind of block, is a row of a table."""
    nets = r"(?:plain|residual)-\d+(?:, zero_gamma)?|\d+ +(?:original|pre-activation)"
    lines = re.findall(rf"^ *({nets}) +([-\d].*)$", printed(demo), re.MULTILINE)
    assert len(lines) >= 4
    for name, numbers in lines:
        names = name.split() if name[0].isdigit() else [name]
        row = " | ".join([*names, *numbers.replace("%", "").split()])
        assert f"| {row} |" in PAGE, f"{demo} printed {name} {numbers}; expected in docs/why_residual.md: | {row} |"


def test_the_blocks_that_are_missed_most_are_those_that_change_the_number_of_channels():
    assert "most without a block that changes the number of channels" in PAGE
    errors = {path: float(error) for path, error in re.findall(r"^ +(layer\S+) +([\d.]+) %", printed("trained"), re.M)}
    assert sorted(errors, key=errors.__getitem__)[-2:] == ["layer2.0", "layer3.0"]
