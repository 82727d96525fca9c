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
