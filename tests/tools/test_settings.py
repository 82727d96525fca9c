"""The table of settings fails by name: where a row lacks, where a default is another, where a setting does nothing."""

import types

import numpy as np
import pytest

from tests.tools import settings
from tests.tools.settings import Refused, Row, check, defaults_in, missing, parameters

package = types.ModuleType("package")
package.__path__ = []


def area(width, *, height=2.0, unit="m"):
    """An area: `unit` is ignored."""
    return width * height


class Box:
    """A box."""

    def __init__(self, side=1):
        self.side = side

    def grow(self, by=2):
        """Grow."""
        self.side *= by
        return self.side

    def paint(self, colour):
        """Work on a colour: no setting."""

    def _hidden(self, secret=0):
        """Nobody sees it."""


for thing in (area, Box):
    thing.__module__ = "package"
    setattr(package, thing.__name__, thing)


@pytest.fixture(autouse=True)
def _import(monkeypatch):
    monkeypatch.setattr(settings.importlib, "import_module", lambda name: package)
    parameters.cache_clear()
    yield
    parameters.cache_clear()


WIDTH = Row(lambda width: area(width), (3.0, 6.0), (4.0, 8.0))


def test_a_parameter_without_a_row_and_a_row_without_a_parameter_are_named():
    names = ["area.width", "area.height", "area.unit", "Box.grow.by", "Box.side"]
    assert missing(package, dict.fromkeys(names, WIDTH)) == []
    assert missing(package, {"area.width": WIDTH, "area.depth": WIDTH}) == [
        *(f"no row for {name}" for name in names[1:]),
        "no such setting: area.depth",
    ]


def test_a_row_that_is_right_passes():
    check(package, "area.width", WIDTH)
    check(package, "area.height", Row(lambda **s: area(3.0, **s), (2.0, 6.0), (4.0, 12.0)))
    check(package, "Box.side", Row(lambda **s: Box(**s).side, (1, 1), (5, 5), ([], [])))
    check(package, "Box.grow.by", Row(lambda **s: Box().grow(**s), (2, 2), ("x", "x")))
    check(package, "area.width", Row(area, (3.0, 6.0), (None, Refused(TypeError, "unsupported operand"))))


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        (
            "area.height",
            Row(lambda **s: area(3.0, **s), (4.0, 12.0), (2.0, 6.0)),
            "height: the default is 2.0, the table",
        ),
        (
            "area.height",
            Row(lambda **s: area(3.0, **s), (2, 6.0), (4.0, 12.0)),
            "height: the default is 2.0, the table",
        ),
        ("area.height", Row(lambda height=4.0: area(3.0, height=height), (2.0, 6.0), (4.0, 12.0)), "area.height"),
        ("area.height", Row(lambda **s: area(3.0), (2.0, 6.0), (4.0, 12.0)), "area.height=4.0"),
        ("area.height", Row(lambda **s: area(3.0, **s), (2.0, 6.0), (4.0, 12.0001)), "area.height=4.0"),
        ("area.width", Row(area, (3.0, 6.0), (np.nan, np.nan)), "area.width=nan"),
        ("area.width", Row(area, (3.0, 6.0), (np.ones(2), np.full(3, 2.0))), "area.width"),
        ("area.width", Row(area, (3.0, 6.0), (np.ones(1), 2.0)), "area.width"),
        ("area.width", Row(area, (3.0, [6.0]), (4.0, [8.0])), "area.width"),
        ("area.width", Row(lambda width: width > 3, (3, 0), (4, 1)), "area.width=3"),
    ],
)
def test_a_row_that_is_wrong_is_named(name, row, message):
    with pytest.raises(AssertionError, match=message):
        check(package, name, row)


def test_a_setting_that_does_nothing_has_no_row_that_passes():
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        check(package, "area.unit", Row(lambda **s: area(3.0, **s), ("m", 6.0), ("km", 6.0)))
    with pytest.raises(AssertionError, match="area.unit='km'"):
        check(package, "area.unit", Row(lambda **s: area(3.0, **s), ("m", 6.0), ("km", 6e6)))


def test_another_refusal_is_none():
    row = Row(area, (3.0, 6.0), (None, Refused(TypeError, "expected a number")))
    with pytest.raises(AssertionError, match="expected a number"):
        check(package, "area.width", row)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        check(package, "area.width", Row(area, (3.0, 6.0), (4.0, Refused(TypeError, "."))))


def test_defaults_are_read_from_docstrings():
    def make(**settings):
        """Make it.

        **settings
            As :class:`Net` takes them: size=1000 here, eps=1e-5, rng=0, way="1x1", zero=False,
            dtype=float32.

        After it, x=3.
        """

    stated = {"size": 1000, "eps": 1e-5, "rng": 0, "way": "1x1", "zero": False, "dtype": np.float32}
    assert defaults_in(make) == stated
