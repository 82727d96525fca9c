"""The comparison of arguments with the types in a signature: minigrad/checked.py."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from minigrad.checked import checked


@checked
def total(names: Sequence[str]) -> int:
    """Count them."""
    return len(names)


@pytest.mark.parametrize("kind", [list, tuple])
@pytest.mark.parametrize("place", range(12))
def test_every_place_of_a_sequence_is_compared(kind, place):
    names: list[object] = ["a"] * 12
    assert total(kind(names)) == 12
    names[place] = 3
    with pytest.raises(TypeError, match="total: expected names to be a sequence of texts"):
        total(kind(names))


MODULE = """
from __future__ import annotations

class Shade:
    pass

def paint(shade: Shade, others: list[Shade] | None = None) -> str:
    return "painted"
"""


def test_the_name_of_a_type_is_that_of_the_functions_own_module():
    """Two modules may have classes of the same name."""
    modules = [{"__name__": name} for name in ("first", "second")]
    for module in modules:
        exec(MODULE, module)
    paints = [checked(module["paint"]) for module in modules]
    for _ in range(2):
        for i, paint in enumerate(paints):
            assert paint(modules[i]["Shade"]()) == "painted"
            with pytest.raises(TypeError, match="paint: expected shade to be a Shade"):
                paint(modules[1 - i]["Shade"]())
