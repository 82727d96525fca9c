"""All demos: python -m demos lists them, python -m demos --all runs them and makes a page of their figures.

Each demo runs in a process of its own, one after the other. Its output is shown at once, and appears on the page
OUT/index.html below its figures. If a demo fails, the others still run, and it is named at the end.
"""

from __future__ import annotations

import argparse
import ast
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from html import escape
from pathlib import Path

from demos import APART, ORDER
from minigrad.train.checkpoint import atomic

HERE = Path(__file__).parent


@dataclass
class Run:
    """One run of a demo: its command, output, exit status, figures and duration."""

    name: str
    command: str
    printed: str
    status: int
    figures: list[Path]
    seconds: float


def main(arguments: list[str] | None = None) -> int:
    """List the demos, or run some; return the exit status: 1 if a demo failed."""
    options = parse(arguments)
    names = options.names or ([name for name in ORDER if name not in APART] if options.all else [])
    if not names:
        print(listing())
        return 0
    out, runs = Path(options.out), []
    for i, name in enumerate(names, 1):
        print(f"[{i}/{len(names)}] {name}: {title(name)}", flush=True)
        runs.append(run(name, options.length, out))
        print(f"{f'FAILED with exit status {runs[-1].status}' if runs[-1].status else 'done'} in {clock(runs[-1])}\n")
        with atomic(out / "index.html") as temporary:  # after each demo: the page can be read while the others run
            temporary.write_text(page(runs, out), encoding="utf-8")
    left_out = [f"{name}: {why}" for name, why in APART.items() if options.all and name not in names]
    if left_out:
        print("\n".join(["Left out, as they do not run everywhere (python -m demos NAME runs them):", *left_out, ""]))
    print(f"page: {out / 'index.html'}")
    failed = [run.name for run in runs if run.status]
    if failed:
        print(f"{len(failed)} of {len(runs)} failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m demos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="the demos to run")
    parser.add_argument("--all", action="store_true", help=f"run all but {', '.join(APART)}")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--quick", dest="length", action="append_const", const="--quick", help="each in seconds")
    length.add_argument("--full", dest="length", action="append_const", const="--full", help="the real thing")
    parser.add_argument("--out", default="runs", help="folder for the page and for a subfolder per demo (runs)")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in ORDER]
    if unknown:
        parser.error(f"no demo {', '.join(unknown)}; there are {', '.join(ORDER)}")
    if options.all and options.names:
        parser.error(f"expected --all, or names, but not both; got {', '.join(options.names)}")
    return options


def title(name: str) -> str:
    """Return the first line of a demo's docstring, without importing the demo."""
    docstring = ast.get_docstring(ast.parse((HERE / f"{name}.py").read_text(encoding="utf-8"))) or name
    return docstring.splitlines()[0]


def listing() -> str:
    """Return the list of demos, one line each."""
    wide = max(map(len, ORDER)) + 2
    lines = [f"{name:<{wide}}{title(name)}" for name in ORDER]
    return "\n".join([*lines, "", "python -m demos.NAME runs one, python -m demos --all all that need no download."])


def run(name: str, length: list[str] | None, out: Path) -> Run:
    """Run a demo, and show its output at once."""
    settings = [] if name in APART else [*(length or []), "--out", str(out / name)]
    command, start, printed = ["-m", f"demos.{name}", *settings], time.time(), ""
    with subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=os.environ | {"PYTHONIOENCODING": "utf-8", "PYTHONUNBUFFERED": "1"},
    ) as process:
        assert process.stdout
        for line in process.stdout:
            print(line, end="", flush=True)
            printed += line
    drawn = [figure for figure in sorted((out / name).rglob("*.png")) if figure.stat().st_mtime >= start]
    return Run(name, f"python {' '.join(command)}", printed, process.returncode, drawn, time.time() - start)


def clock(run: Run) -> str:
    """Return the duration of a run as text, in seconds or minutes."""
    return f"{run.seconds:.0f} s" if run.seconds < 100 else f"{run.seconds / 60:.0f} min"


# The page ------------------------------------------------------------------------------------

STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5b6675; --paper: #fff; --card: #f4f6f8; --line: #dde2e8; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e8ee; --soft: #9aa5b3; --paper: #14181d; --card: #1e242b; --line: #323a44; }
}
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 60rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.7rem; margin: 0 0 .25rem; }
h2 { font-size: 1.2rem; line-height: 1.35; margin: 0 0 .5rem; }
p { color: var(--soft); margin: 0 0 1.5rem; }
nav { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(17rem, 100%), 1fr)); gap: 1rem; }
nav a { display: flex; flex-direction: column; overflow: hidden; border: 1px solid var(--line); border-radius: .5rem;
  background: var(--card); color: inherit; text-decoration: none; font-size: .9rem; line-height: 1.4; }
nav a:hover { border-color: var(--soft); }
nav img { box-sizing: border-box; width: 100%; height: 8rem; padding: .4rem; object-fit: contain; background: #fff; }
nav span { padding: .6rem .8rem; }
section { border-top: 1px solid var(--line); margin-top: 2.5rem; padding-top: 1.5rem; }
section img { max-width: 100%; height: auto; border-radius: .4rem; background: #fff; margin-bottom: .75rem; }
pre { margin: 0; padding: .8rem 1rem; overflow-x: auto; border-radius: .4rem; background: var(--card);
  font: .8rem/1.45 ui-monospace, monospace; }
pre b { color: var(--soft); font-weight: 400; }
@media (max-width: 40rem) { pre { font-size: .68rem; } }
.failed { color: #c62828; font-weight: 600; }
"""


def page(runs: list[Run], out: Path) -> str:
    """Return the page as HTML; it loads only the figures beside it."""
    cards, sections = "", ""
    for run in runs:
        what = escape(title(run.name).rstrip("."))
        images = [escape(figure.relative_to(out).as_posix()) for figure in run.figures]
        cards += f'<a href="#{run.name}">' + "".join(f'<img src="{image}" alt="">' for image in images[:1])
        cards += f"<span>{what}</span></a>\n"
        failed = f'<p class="failed">failed with exit status {run.status}</p>\n' if run.status else ""
        figure = '<a href="{0}"><img src="{0}" alt="What {1} drew" loading="lazy"></a>\n'
        figures = "".join(figure.format(image, run.name) for image in images)
        session = f"<pre><b>$ {escape(run.command)}   # {clock(run)}</b>\n{escape(run.printed.rstrip())}</pre>"
        sections += f'<section id="{run.name}">\n<h2>{what}</h2>\n{failed}{figures}{session}\n</section>\n'
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>The demos of minigrad</title>\n<style>{STYLE}</style>\n<h1>The demos of minigrad</h1>\n"
        "<p>What each drew and printed, below the command that makes it again.</p>\n"
        f"<nav>\n{cards}</nav>\n{sections}</html>\n"
    )


if __name__ == "__main__":
    sys.exit(main())
