"""The look of the figures of the demos: one size, one range of colours, and no decoration.

A figure must be readable when it is printed without colour. So curves differ in lightness (:func:`shade`: later curves
are darker), and where two kinds are compared, one is dashed as well (:data:`PLAIN`, :data:`RESIDUAL`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from minigrad.train.checkpoint import atomic
from minigrad.train.report import shade, tidy

#: The line styles of the two kinds of net, wherever they are compared.
PLAIN: dict[str, Any] = {"color": (0.75, 0.3, 0.1), "linestyle": "--"}
RESIDUAL: dict[str, Any] = {"color": (0.0, 0.1, 0.4), "linestyle": "-"}

__all__ = ["PLAIN", "RESIDUAL", "panels", "save", "shade", "tidy"]


def panels(columns: int = 1, rows: int = 1, *, width: float = 9.0, height: float = 3.6, **subplots: Any) -> Any:
    """Return a new figure and its Axes: a single Axes, or an array of Axes.

    Parameters
    ----------
    columns, rows : int
    width, height : float
        The size of the whole figure, in inches.
    **subplots
        Options for matplotlib's ``Figure.subplots``, such as ``sharey=True``.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, **subplots)
    for panel in np.ravel(axes):
        tidy(panel)
    return figure, axes


def save(figure: Any, result: dict[str, Any], out: str | Path, name: str) -> None:
    """Save the figure as OUT/NAME.png and its data as OUT/NAME.json; print both paths.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    result : dict
        The data: numbers, strings, lists and NumPy arrays.
    out : str or Path
        A folder; created if it does not exist.
    name : str
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic(folder / f"{name}.png") as temporary:
        figure.savefig(temporary, dpi=150, format="png")
    with atomic(folder / f"{name}.json") as temporary:
        temporary.write_text(json.dumps(result, indent=1, default=lambda value: value.tolist()) + "\n")
    print(f"figure: {folder / name}.png\ndata:   {folder / name}.json")
