"""The figures of the site: each is described in words, and long code that draws is folded away."""

import importlib
import sys
from pathlib import Path

import pytest

import demos

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def figures():
    pytest.importorskip("sphinx_gallery")
    sys.path.insert(0, str(DOCS / "_ext"))
    try:
        yield importlib.import_module("figures")
    finally:
        sys.path.remove(str(DOCS / "_ext"))


def test_every_figure_of_a_demo_is_described(figures):
    shown = {path.stem for path in (DOCS / "figures").glob("*.png")} - {"benchmarks", "scaling"}  # those are of pages
    for name in shown | {name for name in demos.ORDER if name not in demos.APART}:
        assert len(figures.description(Path(f"{name}.png")).split()) >= 10, name


def test_a_figure_without_a_description_stops_the_build(figures):
    with pytest.raises(figures.ExtensionError, match=r"a line that says what waves\.png shows"):
        figures.description(Path("waves.png"))


CELL = """\
x = np.linspace(0, 1)


def label(panel, text):
    panel.set_title(text)


# Two panels.
figure, panels = plt.subplots(1, 2)
y = x**2
for panel in panels:
    panel.plot(x, y)
    label(panel, "y")
print(y.max())
legend = panels[0].legend()

print("done")"""


def test_the_code_that_draws_is_found(figures):
    lines = CELL.split("\n")
    found = [[lines[i] for i in run] for run in figures.drawing(CELL)]
    assert found == [lines[3 : lines.index("legend = panels[0].legend()") + 1]]


def test_code_that_draws_nothing_is_not_folded(figures):
    assert figures.drawing("import numpy as np\n\nx = np.ones(3)\nprint(x.sum())") == []


def test_helpers_that_draw_are_found_apart(figures):
    code = "def frame(ax):\n    ax.set_axis_off()\n\n\nx = 1\nfig, ax = plt.subplots()\nframe(ax)\nprint(x)"
    assert figures.drawing(code) == [range(2), range(5, 7)]
