"""The rows of files and reports, in the table of settings (test_settings.py)."""

import contextlib
import io
import json
import os
import sys
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
from matplotlib.figure import Figure

import minigrad as mg
from minigrad.train import report
from minigrad.train.checkpoint import atomic, load, save
from tests.tools.settings import Refused, Row


@contextlib.contextmanager
def elsewhere():
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        yield


def listed(path, **settings):
    with elsewhere():
        save(path, {"a": 1, **settings})
        return sorted(str(p) for p in Path().rglob("*") if p.is_file())


def back(tree):
    with elsewhere():
        save("x", tree)
        return load("x")


def opened(path):
    with elsewhere():
        save("a", {"n": 1})
        save("b", {"n": 2})
        return load(path)["n"]


def whole(path):
    with elsewhere():
        with atomic(path) as temporary:
            temporary.write_text("x")
            before = Path(path).exists()
        return [before, sorted(os.listdir())]


RECORD = {"iteration": 10, "epoch": 2, "lr": 0.5, "loss": 1.0, "batch_error": 0.25, "images_per_second": 1234.0}
LINE = "10/40  epoch 2  lr 0.5  loss 1.000  batch 25.0% wrong  1,234 images/s  0:01:00 left\n"


class Terminal(io.StringIO):
    """Gets a progress bar."""

    def isatty(self):
        return True


def reported(look, iterations=40, history=(), stream=io.StringIO, **settings):
    """What is to be seen of a report after one record."""
    with elsewhere(), contextlib.redirect_stderr(stream()) as err:
        with report.Report(iterations, list(history), **settings) as found:
            first = found.bar.n
            found.add(dict(RECORD), 60.0)
        return look(first, err.getvalue())


def line(first, text):
    return text


def log(first, text):
    return [record["iteration"] for record in report.read_log(Path("log"))] if Path("log").exists() else []


def drawn(runs=None, **settings):
    """The points of loss and error of the figure, and the folder."""
    seen = []
    with elsewhere(), mock.patch.object(Figure, "savefig", lambda f, p, **_: (seen.append(f), Path(p).touch())):
        path = report.curves({"a": [RECORD]} if runs is None else runs, settings.get("path", Path("c.png")))
        assert path.exists()
    return [path.as_posix(), [curve.get_xydata().tolist() for panel in seen[0].axes for curve in panel.lines]]


def read(path):
    with elsewhere():
        for name, n in (("a", 1), ("b", 2)):
            Path(name).write_text(f'{{"iteration": {n}}}\n')
        return report.read_log(Path(path))


def bare():
    panel = Figure().subplots()
    panel.spines["left"].set_visible(False)
    return panel


def tidied(panel):
    report.tidy(panel)
    return [panel.spines[side].get_visible() for side in ("top", "right", "left")]


def commanded(**settings):
    """The file that the command draws; without arguments it takes those of the process."""
    with (
        elsewhere(),
        contextlib.redirect_stdout(io.StringIO()) as out,
        mock.patch.object(sys, "argv", ["x", "a.jsonl"]),
    ):
        for name in ("a.jsonl", "b.jsonl"):
            Path(name).write_text(json.dumps(RECORD) + "\n")
        with mock.patch.object(report, "curves", lambda runs, out: [list(runs), out.name]):
            report.main(**settings)
        return out.getvalue()


ROWS = {
    "save.path": Row(listed, ("a", ["a"]), (Path("new", "b.safetensors"), ["new/b.safetensors"])),
    "save.tree": Row(
        lambda tree: back(tree),
        ({"a": [1, None, "x"]}, {"a": [1, None, "x"]}),
        ([np.array([1.5]), mg.Tensor([2.0])], [np.array([1.5]), np.array([2.0])]),
    ),
    "load.path": Row(opened, ("a", 1), (Path("b"), 2), ("c", Refused(FileNotFoundError, "c"))),
    "atomic.path": Row(whole, ("a", [False, ["a"]]), (Path("b"), [False, ["b"]])),
    "Report.iterations": Row(
        lambda iterations: reported(line, iterations), (40, LINE), (50, LINE.replace("/40", "/50"))
    ),
    "Report.history": Row(
        lambda history: reported(log, history=history, log=Path("log")),
        ([], [10]),
        ([{"iteration": 3}, {"iteration": 5}], [3, 5, 10]),
    ),
    "Report.first": Row(lambda **s: reported(lambda first, text: first, stream=Terminal, **s), (0, 0), (17, 17)),
    "Report.title": Row(lambda **s: reported(line, **s), ("", LINE), ("net", f"net  {LINE}")),
    "Report.log": Row(lambda **s: reported(log, **s), (None, []), (Path("log"), [10])),
    "Report.quiet": Row(lambda **s: reported(line, **s), (False, LINE), (True, "")),
    "Report.figure": Row(
        lambda **s: reported(lambda first, text: os.listdir(), **s), (None, []), (Path("a.png"), ["a.png"])
    ),
    "clock.seconds": Row(report.clock, (3725, "1:02:05"), (59.6, "0:01:00"), (0.4, "0:00:00")),
    "read_log.path": Row(read, ("a", [{"iteration": 1}]), ("b", [{"iteration": 2}])),
    "curves.runs": Row(
        drawn,
        ({"a": [RECORD]}, ["c.png", [[[10.0, 1.0]], [[10.0, 25.0]]]]),
        ({"a": [RECORD | {"loss": 0.5}], "b": []}, ["c.png", [[[10.0, 0.5]], [], [[10.0, 25.0]]]]),
    ),
    "curves.path": Row(lambda path: drawn(path=path)[0], (Path("c.png"), "c.png"), (Path("new", "d.png"), "new/d.png")),
    "shade.i": Row(lambda i: report.shade(i, 2), (0, (0.31, 0.379, 0.586)), (1, (0.0, 0.1, 0.4))),
    "shade.n": Row(lambda n: report.shade(0, n), (2, (0.31, 0.379, 0.586)), (1, (0.0, 0.1, 0.4))),
    "tidy.panel": Row(
        lambda panel: tidied(panel()),
        (lambda: Figure().subplots(), [False, False, True]),
        (bare, [False, False, False]),
    ),
    "main.arguments": Row(
        commanded,
        (None, "[['a'], 'curves.png']\n"),
        (["b.jsonl", "a.jsonl", "--out", "d.png"], "[['b', 'a'], 'd.png']\n"),
    ),
}
