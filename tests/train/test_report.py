"""What a run tells: lines, log and figure say what the records say."""

import io
import json
import math
import os

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from minigrad.train.report import Report, clock, curves, main, read_log, show


def record(i, **errors):
    rest = {"epoch": i, "lr": 0.1 / i, "loss": 1.0 / i, "images_per_second": 1234.5, "batch_error": 0.9 / i}
    return {"iteration": 10 * i} | rest | {f"{name}_error": error for name, error in errors.items()}


class Terminal(io.StringIO):
    """What thinks that somebody looks at it."""

    def isatty(self):
        return True


def test_clock_formats_durations():
    seconds = [0, 0.4, 59.4, 59.6, 60, 3599.6, 3600, 86400 * 3 + 61]
    assert [clock(s) for s in seconds] == [
        "0:00:00",
        "0:00:00",
        "0:00:59",
        "0:01:00",
        "0:01:00",
        "1:00:00",
        "1:00:00",
        "72:01:01",
    ]


def test_a_pipe_gets_one_plain_flushed_line_for_each_record(capsys, monkeypatch):
    class Pipe(io.StringIO):
        seen = ""

        def flush(self):
            Pipe.seen = self.getvalue()

    monkeypatch.setattr("sys.stderr", Pipe())
    with Report(40, [], title="resnet-20") as report:
        for i in (1, 2):
            for k in range(10):
                report.step(10 * (i - 1) + k)
            report.add(record(i, test=0.5), 3661)
            assert Pipe.seen.count("\n") == i
    first, second = Pipe.seen.splitlines()
    assert first == (
        "resnet-20  10/40  epoch 1  lr 0.1  loss 1.000  batch 90.0% wrong  test 50.0% wrong  1,234 images/s  "
        "1:01:01 left"
    )
    assert second.startswith("resnet-20  20/40  epoch 2  lr 0.05  loss 0.500  batch 45.0% wrong")
    assert capsys.readouterr().out == ""


def test_a_terminal_gets_a_progress_bar(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with Report(40, [], first=17, title="resnet-20") as report:
        assert (report.bar.n, report.bar.initial, report.bar.total) == (17, 17, 40)
        report.step(18)
        assert report.bar.n == 18
        report.add(record(1, test=0.125), 60)
        report.say("a line of its own")
    text = terminal.getvalue()
    assert "resnet-20" in text
    assert "resnet-20  10/40  epoch 1  lr 0.1  loss 1.000  batch 90.0% wrong  test 12.5% wrong" in text
    assert "a line of its own\n" in text
    assert text.count("left\n") == 1


def test_the_log_begins_with_the_history_and_is_complete_after_each_record(tmp_path):
    log = tmp_path / "new" / "log.jsonl"
    history = [record(1, test=0.1 + 0.2)]
    log.parent.mkdir()
    log.write_text('{"iteration": 10}\n{"iteration": 999}\n{"torn')  # of a session that was killed
    with Report(40, history, log=log) as report:
        assert read_log(log) == history
        for i in (2, 3):
            report.add(record(i, test=1 / 3), 0)
            assert read_log(log) == report.history == history
    assert [r["iteration"] for r in history] == [10, 20, 30]
    assert os.listdir(log.parent) == ["log.jsonl"]


@pytest.mark.parametrize("left", ["", '{"iteration": 999}\n', '{"iteration": 10}\n{"torn'])
@pytest.mark.parametrize("n", [0, 1, 3])
def test_nothing_of_an_earlier_log_is_left(tmp_path, left, n):
    """However long the history of the run is: a new run has none."""
    log, history = tmp_path / "log.jsonl", [record(i) for i in range(1, n + 1)]
    log.write_text(left)
    with Report(40, history, log=log, quiet=True) as report:
        assert read_log(log) == [record(i) for i in range(1, n + 1)]
        report.add(record(n + 1), 0)
    assert read_log(log) == [record(i) for i in range(1, n + 2)]


def test_an_incomplete_last_line_of_a_log_is_left_out(tmp_path):
    log = tmp_path / "log.jsonl"
    text = "".join(json.dumps(record(i)) + "\n" for i in (1, 2))
    for size in range(0, len(text) + 1, 3):
        log.write_text(text[:size])
        assert read_log(log) == [record(1), record(2)][: text[:size].count("\n")]


@pytest.fixture
def figures(monkeypatch):
    from matplotlib.figure import Figure

    drawn = []
    savefig = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (drawn.append(self), savefig(self, *a, **k)))
    return drawn


def test_the_figure_draws_the_records(tmp_path, figures):
    runs = {
        "plain": [record(i, train=0.5 / i, val=0.55 / i, test=0.6 / i) for i in (1, 2, 4)],
        "resnet": [record(i, test=0.3 / i) for i in (1, 3)],
    }
    path = curves(runs, tmp_path / "figures" / "curves.png")
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert os.listdir(path.parent) == ["curves.png"]
    losses, errors = figures[0].axes
    for line, history in zip(losses.lines, runs.values(), strict=True):
        assert_array_equal(line.get_xydata(), [[r["iteration"], r["loss"]] for r in history])
    by_label = {line.get_label(): line for line in errors.lines}
    assert list(by_label) == ["plain batch", "plain train", "plain val", "plain test", "resnet batch", "resnet test"]
    assert [text.get_text() for text in errors.get_legend().get_texts()] == list(by_label)
    for label, line in by_label.items():
        run, name = label.split()
        assert_array_equal(line.get_xydata(), [[r["iteration"], 100 * r[f"{name}_error"]] for r in runs[run]])
        assert line.get_linewidth() == (1.0 if name in ("batch", "train") else 2.5)  # training thin, held-out bold
    styles = {label: line.get_linestyle() for label, line in by_label.items()}
    assert {label for label, style in styles.items() if style == "--"} == {"plain train", "plain test"}
    assert {style for label, style in styles.items() if label not in ("plain train", "plain test")} == {"-"}
    plain, resnet = by_label["plain test"].get_color(), by_label["resnet test"].get_color()
    assert sum(resnet) < sum(plain) - 0.5  # the later, the darker
    for panel in (losses, errors):
        assert panel.get_xlim()[0] == panel.get_ylim()[0] == 0


@pytest.mark.parametrize(("trained", "held_out"), [(1, 1), (2, 3), (3, 3), (5, 7)])
@pytest.mark.parametrize("ending", ["error", "loss"])
def test_three_errors_of_a_kind_differ_in_style_in_each_run(tmp_path, monkeypatch, trained, held_out, ending):
    """The fourth begins again. Training errors and held-out ones, in whatever order, differ in width."""
    from matplotlib.figure import Figure

    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **_: (drawn.append(self), path.touch()))
    names = [name for i in range(7) for name in [f"train{i}"] * (i < trained) + [f"held{i}"] * (i < held_out)]
    runs = {run: [{"iteration": 1, "loss": 1.0} | {f"{name}_{ending}": 0.1 for name in names}] for run in ("a", "b")}
    curves(runs, tmp_path / "a.png")
    lines = drawn[0].axes[1].lines
    assert [line.get_label() for line in lines] == [f"{run} {name}" for run in runs for name in names]
    for run in runs:
        for kind, n in (("train", trained), ("held", held_out)):
            own = [line for line in lines if line.get_label().startswith(f"{run} {kind}")]
            assert [line.get_linestyle() for line in own] == (["-", "--", ":"] * 3)[:n]
            assert {line.get_linewidth() for line in own} == {1.0 if kind == "train" else 2.5}


def test_a_figure_can_be_drawn_of_few_records(tmp_path, figures):
    """Nothing yet, one record, no errors at all, and a loss that overflowed on held-out data."""
    zero = {"iteration": 1, "loss": 0.0, "test_error": 0.0, "test_loss": math.inf}
    for history in ([], [record(1)], [{"iteration": 1, "loss": 1.0}], [zero]):
        curves({"": history}, tmp_path / "a.png")
    assert [line.get_label() for line in figures[1].axes[1].lines] == ["batch"]


def test_errors_of_any_run_are_drawn_whichever_is_the_first(tmp_path, monkeypatch):
    """One has no records yet, one measures no errors, and one measures only a training error."""
    from matplotlib.figure import Figure

    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **_: (figures.append(self), path.touch()))
    losses = [{"iteration": i, "loss": 1.0, "test_loss": 2.0} for i in (1, 2)]
    runs = {"begun": [], "losses": losses, "net": [record(1, test=0.5)], "batch": [record(1)]}
    for i in range(len(runs)):
        order = [*runs][i:] + [*runs][:i]
        curves({name: runs[name] for name in order}, tmp_path / "a.png")
        lines = {line.get_label(): list(line.get_ydata()) for line in figures[-1].axes[1].lines}
        assert lines == {"net batch": [90.0], "net test": [50.0], "batch batch": [90.0]}, order


def test_the_live_figure_is_drawn_with_each_record(tmp_path, figures):
    with Report(40, [record(1)], title="net", figure=tmp_path / "live.png") as report:
        report.add(record(2), 0)
        report.add(record(3), 0)
    assert [len(figure.axes[0].lines[0].get_xdata()) for figure in figures] == [2, 3]
    assert np.isfinite(figures[-1].axes[0].lines[0].get_ydata()).all()


@pytest.mark.parametrize(
    "nets",
    [
        ("plain-20", "resnet-20"),
        ("plain.seed0", "plain.seed1"),
        ("lr=0.1.jsonl", "lr=0.01.jsonl"),
        ("a.b.jsonl.c", "a.b.jsonl.d"),
        (".a", ".b"),
    ],
)
def test_the_command_draws_logs_into_one_figure(tmp_path, monkeypatch, capsys, nets):
    """Of a name only the ending is left out: there may be dots in it."""
    from matplotlib.figure import Figure

    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **_: (figures.append(self), path.write_bytes(b"")))
    for name, error in zip(nets, (0.5, 0.25), strict=True):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(record(i, test=error / i)) + "\n" for i in (1, 2)))
    main([*(str(tmp_path / f"{name}.jsonl") for name in nets), "--out", str(tmp_path / "both.png")])
    assert capsys.readouterr().out == f"{tmp_path / 'both.png'}\n"
    (figure,) = figures
    lines = {line.get_label(): line for line in figure.axes[1].lines}
    assert set(lines) == {f"{net} {kind}" for net in nets for kind in ("batch", "test")}
    assert_array_equal(lines[f"{nets[0]} test"].get_xydata(), [[10, 50], [20, 25]])


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["plain", "a/resnet.20", "b/resnet.32"], ["plain", "resnet.20", "resnet.32"]),
        (["a/log", "b/log"], ["a/log", "b/log"]),
        (["a/log", "net", "b/log", "c/log"], ["a/log", "net", "b/log", "c/log"]),
        (["log", "a/log", "x/a/log"], ["log", "a/log", "x/a/log"]),
    ],
)
@pytest.mark.parametrize("absolute", [False, True])
def test_runs_whose_logs_have_one_name_are_told_apart_by_their_folders(tmp_path, monkeypatch, paths, names, absolute):
    drawn = {}
    monkeypatch.setattr("minigrad.train.report.curves", lambda runs, out: drawn.update(runs))
    monkeypatch.chdir(tmp_path)
    for i, path in enumerate(paths):
        file = tmp_path / f"{path}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(record(i + 1)) + "\n")
    main([str(tmp_path / f"{path}.jsonl") if absolute else f"{path}.jsonl" for path in paths])
    assert list(drawn.values()) == [[record(i + 1)] for i in range(len(paths))]
    alike = [name.replace(f"{tmp_path.as_posix()}/", "") for name in drawn]
    assert alike == names


# Figures of a program ------------------------------------------------------------------------


@pytest.fixture
def pyplot(monkeypatch, tmp_path):
    """Give a program in an empty folder two open figures."""
    plt = pytest.importorskip("matplotlib.pyplot")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["somewhere/waves.py"])
    plt.switch_backend("agg")
    plt.close("all")
    for _ in range(2):
        plt.subplots()
    yield plt
    plt.close("all")


def test_show_saves_the_figures_where_there_is_no_display(pyplot, tmp_path, capsys):
    show()
    assert capsys.readouterr().out == "figure: runs/waves/1.png\nfigure: runs/waves/2.png\n"
    assert {path.read_bytes()[:4] for path in (tmp_path / "runs/waves").iterdir()} == {b"\x89PNG"}


@pytest.mark.parametrize("closed", [[1], [2], [1, 2], [1, 3], [1, 2, 3, 12]])
def test_show_saves_the_figures_that_are_open_under_their_numbers(pyplot, tmp_path, monkeypatch, closed):
    from matplotlib.figure import Figure

    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **_: (drawn.append(self.number), path.touch()))
    for number in (12, 3, 7):
        pyplot.figure(number)
    for number in closed:
        pyplot.close(number)
    show()
    left = [number for number in (1, 2, 3, 7, 12) if number not in closed]
    assert drawn == left
    assert {path.name for path in (tmp_path / "runs/waves").glob("*")} == {f"{number}.png" for number in left}


def test_show_opens_windows_where_there_is_a_display(pyplot, tmp_path, capsys, monkeypatch):
    called = []
    monkeypatch.setattr(pyplot, "get_backend", lambda: "tkagg")
    monkeypatch.setattr(pyplot, "show", lambda: called.append(True))
    show()
    assert called == [True]
    assert capsys.readouterr().out == ""
    assert list(tmp_path.iterdir()) == []
