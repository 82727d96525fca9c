"""Small blocks: every size by which minigrad cuts its work, made so small that a small sample becomes many blocks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from minigrad.kernels import blocks, products, threads

#: The names in minigrad/kernels/blocks.py that are sizes. PARTIAL_SUMS stays: with many blocks, each sum has several.
SIZES = ("BLOCK_BYTES", "COLUMN_BYTES", "TILE_BYTES", "ROW_LENGTH", "MIN_MULTIPLY_ADDS", "SMALL_MULTIPLY_ADDS")


@dataclass
class Cuts:
    """What was noted of the division of the work.

    Attributes
    ----------
    counts : list of int
        For every piece of work, the number of its blocks. For a sum of products these are its summands.
    ragged : list of bool
        For every range that was cut, whether its parts differ in length.
    places : dict of str to int
        For every function that spreads work over the threads, the largest number of its blocks.
    """

    counts: list[int] = field(default_factory=list)
    ragged: list[bool] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)

    @property
    def most(self) -> int:
        """The number of blocks of the piece of work that has most."""
        return max(self.counts, default=1)


@contextmanager
def noted_cuts() -> Iterator[Cuts]:
    """Note how work is cut: all modules' `run`, the sums of products, and all ranges but that of the partial sums."""
    cuts, summing = Cuts(), [False]

    def noting_run(task: Callable[[int], object], count: int) -> None:
        cuts.counts.append(count)
        caller = sys._getframe(1)
        place = f"{caller.f_globals['__name__']}.{caller.f_code.co_qualname}"
        cuts.places[place] = max(count, cuts.places.get(place, 0))
        threads_run(task, count)

    def noting_sum(partial_sum: Callable[[range], Any], count: int) -> Any:
        cuts.counts.append(count)
        summing[0] = True
        try:
            return sum_in_order(partial_sum, count)
        finally:
            summing[0] = False

    def noting(cut: Callable[[int, int], Any]) -> Callable[[int, int], Any]:
        def noted(total: int, size: int) -> Any:
            parts = cut(total, size)
            if not summing[0]:
                cuts.ragged.append(len({part.stop - part.start for part in parts}) > 1)
            return parts

        return noted

    threads_run, sum_in_order = threads.run, products.sum_in_order
    modules = [module for name, module in sys.modules.items() if name.startswith("minigrad.")]
    with pytest.MonkeyPatch.context() as patch:
        for module in modules:
            if vars(module).get("run") is threads_run:
                patch.setattr(module, "run", noting_run)
        patch.setattr(products, "sum_in_order", noting_sum)
        for name in ("spans", "split"):
            patch.setattr(blocks, name, noting(getattr(blocks, name)))
        yield cuts


@contextmanager
def small_blocks(nbytes: int, small_product: int = 0, small_kernels: bool | None = None) -> Iterator[None]:
    """Cut all work into blocks of `nbytes`, and the other sizes in proportion.

    Parameters
    ----------
    nbytes : int
        For `BLOCK_BYTES`.
    small_product : int
        For `SMALL_MULTIPLY_ADDS`, where a sample has products that are to be cut into small ones.
    small_kernels : bool, optional
        Whether BLAS is taken to have kernels for small products; None for what it has.
    """
    small = {
        "BLOCK_BYTES": nbytes,
        "COLUMN_BYTES": 3 * nbytes // 2,
        "TILE_BYTES": 2 * nbytes,
        "ROW_LENGTH": max(nbytes // 64, 1),
        "MIN_MULTIPLY_ADDS": nbytes // 8,
        "SMALL_MULTIPLY_ADDS": small_product or nbytes,
    }
    assert tuple(small) == SIZES
    with pytest.MonkeyPatch.context() as patch:
        for name, value in small.items():
            patch.setattr(blocks, name, value)
        if small_kernels is not None:
            patch.setattr(products, "has_small_kernels", lambda: small_kernels)
        yield
