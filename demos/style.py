"""How the figures of the demos look: one size, one range of colours, nothing that says nothing.

A figure must be readable in print without colour: curves are told apart by how dark they are (:func:`shade`: the
later, the darker), and where two kinds are compared, by a dashed line as well (:data:`PLAIN`, :data:`RESIDUAL`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from minigrad.train.checkpoint import atomic
from minigrad.train.report import shade, tidy

#: How matplotlib draws the two kinds of net, wherever they are compared.
PLAIN: dict[str, Any] = {"color": (0.75, 0.3, 0.1), "linestyle": "--"}
RESIDUAL: dict[str, Any] = {"color": (0.0, 0.1, 0.4), "linestyle": "-"}

__all__ = ["PLAIN", "RESIDUAL", "panels", "save", "shade", "tidy"]


def panels(columns: int = 1, rows: int = 1, *, width: float = 9.0, height: float = 3.6, **subplots: Any) -> Any:
    """Return a new figure and its Axes: one, or an array of them.

    Parameters
    ----------
    columns, rows : int
    width, height : float
        Of the whole figure, in inches.
    **subplots
        For matplotlib's ``Figure.subplots``: ``sharey=True``.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, **subplots)
    for panel in np.ravel(axes):
        tidy(panel)
    return figure, axes


def save(figure: Any, result: dict[str, Any], out: str | Path, name: str) -> None:
    """Write OUT/NAME.png and, beside it, what it shows as OUT/NAME.json; say where.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    result : dict
        Of numbers, strings, lists and NumPy arrays.
    out : str or Path
        A folder; made if it is not there.
    name : str
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic(folder / f"{name}.png") as temporary:
        figure.savefig(temporary, dpi=150, format="png")
    with atomic(folder / f"{name}.json") as temporary:
        temporary.write_text(json.dumps(result, indent=1, default=lambda value: value.tolist()) + "\n")
    print(f"figure: {folder / name}.png\ndata:   {folder / name}.json")
