"""The table's figures as docs/performance.md shows them: rows in Markdown, and a bar for each row."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from minigrad.train.checkpoint import atomic
from tests.benchmarks import cases

Results: TypeAlias = Sequence[dict[str, Any]]  # as rounds.measure returns them

HEAD = """\
| step | threads | minigrad | PyTorch | x PyTorch | x channels_last | memory |
|---|---|---|---|---|---|---|"""
PEERS_HEAD = """\
| beside, on the step of ResNet-20 | threads | minigrad | the other | x the other | memory |
|---|---|---|---|---|---|"""


class Row(NamedTuple):
    """A line of the table: the figures of minigrad, of PyTorch in its default layout and, if measured, in the other."""

    title: str
    threads: int
    ours: dict[str, Any]
    torch: dict[str, Any]
    channels_last: dict[str, Any] | None


def read(paths: Sequence[Path]) -> dict[str, Any]:
    """Return what earlier runs wrote with ``--json``, as one; of a row measured twice, the later file's counts."""
    runs = [json.loads(path.read_text()) for path in paths]
    found: dict[tuple[str, int], Any] = {}
    for path, run in zip(paths, runs, strict=True):
        for key in ("cpu", "numpy_and_blas", "torch"):
            if run["machine"][key] != runs[0]["machine"][key]:
                raise SystemExit(f"benchmarks: {path} and {paths[0]} differ in {key}; take one at a time")
        found |= {(result["case"], result["threads"]): result for result in run["results"]}
    return {"machine": runs[0]["machine"], "results": list(found.values())}


def rows(results: Results) -> list[Row]:
    """Return the rows of the table with PyTorch's side, in the table's order."""
    order = list(cases.CASES)
    found = []
    known = [result for result in results if result["case"] in order]
    for result in sorted(known, key=lambda each: (order.index(each["case"]), each["threads"])):
        sides = {side["side"]: side for side in result["sides"]}
        if "torch" in sides:
            title = cases.CASES[result["case"]].title
            last = sides.get("torch channels_last")
            found.append(Row(title, result["threads"], result["sides"][0], sides["torch"], last))
    return found


def markdown(results: Results) -> str:
    """Write the tables of docs/performance.md: beside PyTorch and, if measured, beside the others."""
    return "\n\n".join("\n".join(lines) for lines in (list(_table(results)), list(_peers(results))) if len(lines) > 1)


def _table(results: Results) -> Iterator[str]:
    yield HEAD
    title = ""
    for row in rows(results):
        last = f"{row.channels_last['multiple']['rounds']:.2f}" if row.channels_last else ""
        cells = ["" if row.title == title else row.title, str(row.threads), _ms(row.ours), _ms(row.torch)]
        multiple = row.torch["multiple"]
        yield _line(*cells, f"{multiple['rounds']:.2f}", last, f"{multiple['memory']:.2f}")
        title = row.title


def _peers(results: Results) -> Iterator[str]:
    yield PEERS_HEAD
    for result in (each for each in results if each["case"] in cases.PEERS):
        ours, *others = result["sides"]
        for side in others:
            name, version = side["side"], side["runs_on"].split(",")[0].split()[1]
            library, *way = name.split()
            name = " ".join([library, version, *way])
            multiple = side["multiple"]
            cells = [name, str(result["threads"]), _ms(ours), _ms(side), f"{multiple['rounds']:.2f}"]
            yield _line(*cells, f"{multiple['memory']:.2f}")


def _ms(side: dict[str, Any]) -> str:
    return f"{side['median'] * 1e3:,.0f} ({side['min'] * 1e3:,.0f})"


def _line(*cells: str) -> str:
    return "|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|"


def figure(machine: dict[str, Any], results: Results, path: Path) -> None:
    """Draw a bar for each row: minigrad's time, where PyTorch's is 1; a diamond has it against channels_last."""
    from demos import style

    found = rows(results)
    if not found:
        raise SystemExit("benchmarks: no row of the table to draw: each compares minigrad with torch")
    image, panel = style.panels(width=9.0, height=1.3 + 0.26 * len(found))
    threads = sorted({row.threads for row in found})
    colours = {n: style.shade(i, len(threads)) for i, n in enumerate(reversed(threads))}
    places, y = dict[str, list[float]](), 0.0
    for row in found:
        y += 1.0 if row.title in places else 1.5  # the rows of one net stand close together
        places.setdefault(row.title, []).append(y)
        multiple = row.torch["multiple"]["rounds"]
        label = f"{row.threads} thread{'s' * (row.threads > 1)}"
        panel.barh(y, multiple, height=0.9, color=colours[row.threads], label=label)
        panel.text(0.015, y, f"{multiple:.2f}", color="white", va="center", fontsize=8)
        if row.channels_last:
            beside = row.channels_last["multiple"]["rounds"]
            panel.plot(
                beside, y, "D", color="white", markeredgecolor="black", markersize=5, label="against channels_last"
            )
    panel.axvline(1, color="black", linewidth=1.2)
    panel.set_yticks([sum(at) / len(at) for at in places.values()], list(places))
    panel.tick_params(axis="y", length=0)
    panel.set_ylim(y + 0.8, 0.7)
    panel.grid(visible=False, axis="y")
    panel.set_xlabel("one step's time as a multiple of PyTorch's (the line): shorter is faster")
    legend = dict(zip(*panel.get_legend_handles_labels()[::-1], strict=True))
    panel.legend(legend.values(), legend, loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False, fontsize=9)
    on = [machine["cpu"], *machine["numpy_and_blas"], *machine["torch"]]
    image.supxlabel(textwrap.fill(", ".join(on), 130), fontsize=7, color="0.35")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary:
        image.savefig(temporary, dpi=150, format="png")
    print(f"figure: {path}")
