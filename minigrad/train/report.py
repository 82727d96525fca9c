"""Reports of a training run: a progress bar or plain lines, a log, a figure.

A *record* is a dict of the numbers measured at one point of a run, always with ``iteration``. A run's history is the
list of its records. Names that end in ``_error`` are shares of 1.

Next: :mod:`minigrad.train.diagnose`.
"""

from __future__ import annotations

import json
import sys
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from minigrad.train.checkpoint import atomic

if TYPE_CHECKING:  # slow to import
    from matplotlib.axes import Axes

Record = dict[str, float]

#: The names of every record; others are those of metrics, and of losses on the sets.
ALWAYS = ("epoch", "iteration", "lr", "loss", "seconds", "images_per_second", "loader_share")


class Report:
    """Show the progress of one run, and write its log and its figure as it goes.

    It writes a line for each record to standard error; if that is a terminal, a progress bar follows the lines.

    Parameters
    ----------
    iterations : int
        The length of the run.
    history : list of records
        The records of earlier sessions of the run: the log begins with them.
    first : int
        The number of iterations done before this session.
    title : str
    log : Path, optional
        The file to which each record is appended as a line of JSON.
    figure : Path, optional
        The PNG file that is drawn anew with each record.
    quiet : bool
        Show nothing: another process does.
    """

    def __init__(
        self,
        iterations: int,
        history: list[Record],
        *,
        first: int = 0,
        title: str = "",
        log: Path | None = None,
        figure: Path | None = None,
        quiet: bool = False,
    ) -> None:
        from tqdm import tqdm

        self.quiet = quiet

        self.iterations, self.history, self.title, self.log, self.figure = iterations, history, title, log, figure
        if log is not None:
            with atomic(log) as temporary:  # records after the last checkpoint will be measured again
                temporary.write_text("".join(json.dumps(record) + "\n" for record in history))
        piped = quiet or not sys.stderr.isatty()
        self.bar = tqdm(
            total=iterations, initial=first, desc=title, unit="it", disable=piped, leave=False, smoothing=0.05
        )

    def step(self, iteration: int) -> None:
        """Move the bar."""
        self.bar.update(iteration - self.bar.n)

    def add(self, record: Record, seconds_left: float) -> None:
        """Append a record to the history, the log and the figure, and show it."""
        self.history.append(record)
        if self.log is not None:
            with self.log.open("a") as file:
                file.write(json.dumps(record) + "\n")
        parts = [f"{self.title}  {record['iteration']}/{self.iterations}", f"epoch {record['epoch']}"]
        parts += [f"lr {record['lr']:.3g}", f"loss {record['loss']:.3f}"]
        with_errors = any(name.endswith("_error") for name in record)
        for name in [name for name in record if name not in ALWAYS]:
            if name.endswith("_error"):
                parts += [f"{name.removesuffix('_error')} {record[name]:.1%} wrong"]
            elif not (with_errors and name.endswith("_loss")):
                parts += [f"{name.replace('_', ' ')} {record[name]:.4g}"]
        parts += [f"{record['images_per_second']:,.0f} images/s", f"{clock(seconds_left)} left"]
        self.say("  ".join(parts).strip())
        if self.figure is not None:
            curves({self.title: self.history}, self.figure)

    def say(self, line: str) -> None:
        """Write a line, above the bar if there is one."""
        if not self.quiet:
            self.bar.write(line, file=sys.stderr)
            sys.stderr.flush()

    def __enter__(self) -> Report:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()


def clock(seconds: float) -> str:
    """Return a duration as hours, minutes and seconds.

    Examples
    --------
    >>> clock(3725)
    '1:02:05'
    """
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"


def read_log(path: Path) -> list[Record]:
    r"""Return the records of a log; a last line that is still being written is left out.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "log.jsonl"
    >>> _ = path.write_text('{"iteration": 391, "loss": 1.5}\n')
    >>> read_log(path)
    [{'iteration': 391, 'loss': 1.5}]
    """
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]]


def curves(runs: dict[str, list[Record]], path: Path) -> Path:
    """Draw loss and errors over the iterations, as in Fig. 6 of the paper: training thin, held-out data bold.

    If a run has several errors of one kind, the second is dashed and the third is dotted. Of runs without errors, as in
    regression, the losses on the sets are drawn instead.

    Parameters
    ----------
    runs : dict of histories
        By their names in the legend; later runs are darker.
    path : Path
        The PNG file, written atomically.

    Returns
    -------
    Path
        `path`.

    Examples
    --------
    >>> import tempfile
    >>> records = [{"iteration": i, "loss": 1 / i, "train_error": 0.5 / i, "test_error": 0.6 / i} for i in (1, 2, 3)]
    >>> curves({"plain-20": records}, Path(tempfile.mkdtemp()) / "curves.png").name
    'curves.png'
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    losses, errors = figure.subplots(1, 2)
    has_errors = any(key.endswith("_error") for history in runs.values() for key in (history or [{}])[0])
    ending = "_error" if has_errors else "_loss"  # what is drawn on the right
    for i, (name, history) in enumerate(runs.items()):
        colour = shade(i, len(runs))
        at = [record["iteration"] for record in history]
        losses.plot(at, [record["loss"] for record in history], color=colour, linewidth=1.0)
        styles = {width: cycle(("-", "--", ":")) for width in (1.0, 2.5)}
        for error in [key for key in history[0] if key.endswith(ending)] if history else []:
            width = 1.0 if error.startswith(("batch", "train")) else 2.5
            values = [(100 if ending == "_error" else 1) * record[error] for record in history]
            label = f"{name} {error.removesuffix(ending)}".strip()
            errors.plot(at, values, color=colour, linewidth=width, linestyle=next(styles[width]), label=label)
    losses.set(ylabel="training loss", ylim=(0, None))
    errors.set(ylabel="error (%)" if ending == "_error" else "loss", ylim=(0, None))
    for panel in (losses, errors):
        panel.set(xlabel="iteration")
        panel.set_xlim(left=0)
        tidy(panel)
    if errors.lines:
        errors.legend(frameon=False)
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")
    return path


def shade(i: int, n: int) -> tuple[float, float, float]:
    """Return the colour of curve i of n as red, green and blue: later curves are darker, also in greyscale.

    Examples
    --------
    >>> shade(1, 2)
    (0.0, 0.1, 0.4)
    """
    light = 0.62 * (1 - (i + 1) / n)
    return light, 0.1 + 0.9 * light, 0.4 + 0.6 * light


def tidy(panel: Axes) -> None:
    """Give matplotlib's Axes a faint grid, and remove the frame at the top and at the right.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> panel = Figure().subplots()
    >>> tidy(panel)
    >>> panel.spines["top"].get_visible()
    False
    """
    panel.grid(alpha=0.25, linewidth=0.5)
    panel.spines[["top", "right"]].set_visible(False)


def show() -> None:
    """Show the figures of ``matplotlib.pyplot`` at the end of a program; where there is no display, save them.

    With a display, each figure has a window, and the call returns when all are closed. Without one, matplotlib chooses
    its backend "agg". Then the figures are saved as ``runs/PROGRAM/1.png``, ``2.png`` ..., and these names are printed.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> plt.close("all")
    >>> show()  # no figure is open: nothing happens
    """
    import matplotlib.pyplot as plt

    if plt.get_backend().lower() != "agg":
        plt.show()
        return
    for number in plt.get_fignums():
        path = Path("runs", Path(sys.argv[0]).stem, f"{number}.png")
        with atomic(path) as temporary:
            plt.figure(number).savefig(temporary, dpi=150, format="png")
        print(f"figure: {path.as_posix()}")


def main(arguments: list[str] | None = None) -> None:
    """Draw the logs of several runs into one figure."""
    import argparse

    parser = argparse.ArgumentParser("python -m minigrad.train.report", description=main.__doc__)
    parser.add_argument("logs", type=Path, nargs="+", metavar="LOG.jsonl", help="the lighter first")
    parser.add_argument("--out", type=Path, default=Path("curves.png"), help="the figure (curves.png)")
    options = parser.parse_args(arguments)
    stems = [path.stem for path in options.logs]
    names = [p.stem if stems.count(p.stem) == 1 else p.with_suffix("").as_posix() for p in options.logs]
    print(curves({name: read_log(path) for name, path in zip(names, options.logs, strict=True)}, options.out))


if __name__ == "__main__":
    main()
