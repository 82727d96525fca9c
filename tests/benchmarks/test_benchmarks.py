"""The benchmarks' tools work: on tiny settings, and without a word about how long anything takes."""

import ast
import contextlib
import json
import os
import platform
import re
import subprocess
import sys
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
import models
from tests.benchmarks import __main__ as command
from tests.benchmarks import cases, fresh, growth, machine, memory, on_minigrad, report, roofline, rounds, worker
from tests.benchmarks.cases import Bounds, Case, Side

ROOT = Path(__file__).parents[2]
TINY = {"net": ["cifar_resnet", 8], "batch": 2, "size": 8, "classes": 10}
NEEDS_TORCH = pytest.mark.skipif(find_spec("torch") is None, reason="needs torch")

measure = partial(rounds.measure, "tiny", threads=1, pairs=2)


@pytest.fixture(autouse=True)
def threads_as_before():
    before = mg.get_num_threads()
    yield
    mg.set_num_threads(before)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(rounds, "WARM_UP", 1)
    monkeypatch.setattr(rounds, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(machine, "torch", list)  # which starts a process


def every_case():
    return cases.CASES | cases.PEERS | growth.CASES | memory.CASES


# Cases ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", every_case())
def test_minigrads_side_of_every_case_runs(name):
    """Each with its own settings, on small nets and few images."""
    case = every_case()[name]
    small = {"net": ["cifar_resnet", 8], "batch": 1, "size": 8, "classes": 10, "steps": 1, "operators": 4}
    for side in (side for side in case.sides if side.library == "minigrad"):
        settings = {**case.settings, **side.settings}
        settings = {key: small.get(key, value) for key, value in settings.items()}
        module, function = case.step.format(library="minigrad").split(":")
        build = getattr({"on_minigrad": on_minigrad, "fresh": fresh}[module], function)
        seconds = build(**settings)()
        assert seconds is None or seconds > 0


@pytest.mark.parametrize("name", cases.CASES | cases.PEERS)
def test_minigrad_stands_first_and_bounds_are_for_threads_that_are_measured(name):
    case = (cases.CASES | cases.PEERS)[name]
    ours, *others = case.sides
    assert ours.library == "minigrad"
    assert not ours.time
    assert others
    for side in others:
        assert {*side.time, *side.memory} <= {*case.threads}
        assert all(b.aim <= b.limit for b in (*side.time.values(), *side.memory.values()))
    assert any(side.time for side in others) or name == "resnet20-compiled"  # compiled steps are only reported


@pytest.mark.parametrize(("ratio", "word"), [(0.9, "met"), (1.0, "met"), (1.1, "near"), (1.2, "near"), (1.21, "ABOVE")])
def test_verdicts(ratio, word):
    assert Bounds(1.0, 1.2).verdict(ratio) == f"{word} (1/1.2)"


@NEEDS_TORCH
@pytest.mark.parametrize("layout", ["contiguous_format", "channels_last"])
def test_pytorchs_side_runs_in_both_layouts(layout):
    from tests.benchmarks import on_torch

    assert on_torch.train(**TINY, layout=layout)() is None
    assert on_torch.infer(**TINY, layout=layout)() is None


@NEEDS_TORCH
def test_pytorchs_net_is_compiled_where_asked(monkeypatch):
    from tests.benchmarks import on_torch

    seen = []
    monkeypatch.setattr(on_torch.torch, "compile", lambda model: seen.append(model) or model)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "kept for the other tests")
    on_torch.train(**TINY)()
    assert not seen
    on_torch.train(**TINY, compiled=True)()
    assert len(seen) == 1


@NEEDS_TORCH
@pytest.mark.parametrize("net", [["cifar_resnet", 20], ["resnet50"]], ids=str)
def test_both_sides_have_the_same_parameters(net):
    from tests.benchmarks import on_torch

    ours, (theirs, _) = on_minigrad.build(net), on_torch.build(net, 1, 8, "contiguous_format")
    sizes = [p.size for p in ours.parameters()]
    assert sizes == [p.numel() for p in theirs.parameters()]
    strides = [m.stride[0] for _, m in ours.named_modules() if isinstance(m, mg.nn.Conv2d)]
    assert strides == [m.stride[0] for m in theirs.modules() if type(m).__name__ == "Conv2d"]


# Rounds and workers --------------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
def test_rounds_of_two_sides():
    sides = (Side("minigrad"), Side("minigrad recompute", {"segment": 2}, {1: Bounds(1e-9, 1e9)}, {1: Bounds(8, 9)}))
    result = measure(Case("", cases.TRAIN, TINY, sides))
    ours, other = result["sides"]
    assert [ours["side"], other["side"]] == ["minigrad", "minigrad recompute"]
    for side in (ours, other):
        assert len(side["times"]) == 2
        assert 0 < side["min"] == min(side["times"]) <= side["median"]
        assert side["peak_bytes"] > 10 << 20
        assert side["runs_on"].startswith("minigrad ")
    assert "multiple" not in ours
    multiple = other["multiple"]
    assert multiple["minima"] == ours["min"] / other["min"]
    assert multiple["medians"] == ours["median"] / other["median"]
    assert multiple["memory"] == ours["peak_bytes"] / other["peak_bytes"]
    pairs = np.divide(ours["times"], other["times"])
    np.testing.assert_allclose(multiple["rounds"], np.median(pairs), rtol=1e-12)
    assert other["verdicts"] == {"time": "near (1e-09/1e+09)", "memory": "met (8/9)"}
    first, second = rounds.lines(result).splitlines()
    assert first.split()[:3] == ["tiny", "1", "minigrad"]
    assert "near (1e-09/1e+09)" in second
    json.dumps(result)


def figures(*ratios):
    """A result as `measure` gives it, with these multiples."""
    multiple = dict(zip(("rounds", "medians", "minima", "memory"), ratios, strict=True))
    side = {"side": "minigrad", "median": 0.002, "min": 0.001, "peak_bytes": 10**8}
    other = side | {"side": "other", "multiple": multiple, "verdicts": {}}
    return {"case": "case", "threads": 2, "sides": [side, other]}


def test_a_line_says_when_it_was_disturbed():
    calm, disturbed = (rounds.lines(figures(1.0, 1.0, minima, 0.4)) for minima in (1.1, 1.3))
    assert "disturbed" not in calm
    assert disturbed.splitlines()[1].endswith("disturbed")
    assert calm.splitlines()[0].split() == ["case", "2", "minigrad", "2.00", "1.00", "100"]
    assert calm.splitlines()[1].split() == ["other", "2.00", "1.00", "100", "1.00", "1.10", "1.00", "0.40"]


def test_a_case_for_memory_takes_one_step():
    result = measure(Case("", cases.TRAIN, TINY, (Side("minigrad"),), once=True), pairs=5)
    assert len(result["sides"][0]["times"]) == 1


def test_a_worker_that_fails_is_reported_and_gone(capfd):
    case = Case("", cases.TRAIN, TINY | {"batch": -1}, (Side("minigrad"),))
    handle = worker.Worker(case, case.sides[0], 1)
    with (
        pytest.raises(SystemExit, match="the worker \\(minigrad, on_\\{library\\}:train, 1 thread\\) ended early"),
        handle,
    ):
        pass
    assert handle.process.poll() is not None
    assert "ValueError" in capfd.readouterr().err


def test_a_worker_ends_with_its_context():
    case = Case("", cases.CHAIN, {"operators": 2, "backward": True}, (Side("minigrad"),))
    with worker.Worker(case, case.sides[0], 1) as handle:
        assert handle.step() > 0
        assert handle.process.poll() is None
    assert handle.process.poll() is not None


def test_a_worker_knows_its_threads_and_keeps_the_environment(monkeypatch):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    seen, popen = {}, subprocess.Popen

    def start(command, **settings):
        seen.update(settings["env"], command=command)
        return popen(command, **settings)

    monkeypatch.setattr(worker.subprocess, "Popen", start)
    case = Case("", cases.TRAIN, TINY, (Side("minigrad", {"segment": 3}),))
    with worker.Worker(case, case.sides[0], 3):
        pass
    assert {seen[name] for name in worker.THREAD_SETTINGS} == {"3"}
    assert seen["OPENBLAS_CORETYPE"] == "Haswell"
    task = json.loads(seen["command"][-1])
    assert task["step"] == "on_minigrad:train"
    assert task["settings"] == TINY | {"segment": 3}


@pytest.mark.slow
def test_the_peak_is_this_programs_own():
    """A process that is started by one with much memory does not begin with its peak."""
    mine = worker.peak_memory()
    big = np.ones(mine // 8 + (1 << 25))
    assert worker.peak_memory() > mine
    if sys.platform == "linux":
        code = "from tests.benchmarks.worker import peak_memory; print(peak_memory())"
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
        assert int(out) < big.nbytes


# Growth, memory, roofline --------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
def test_growth_divides_by_the_size(monkeypatch):
    series = growth.chains((10, 40))
    monkeypatch.setattr(growth, "SERIES", {"tiny": series})
    result = measure(series.case)
    first, second = growth.lines(result).splitlines()
    assert first.split()[:4] == ["tiny", "1", "10", "operator"]
    small, large = result["sides"]
    numbers = second.split()
    assert numbers[:2] == ["40", "operator"]
    assert float(numbers[2]) == pytest.approx(large["median"] / 40 * 1e6, abs=0.01)
    assert first.split()[-3:] == ["1.000"] * 3
    assert float(numbers[-3]) == pytest.approx(large["median"] / 40 / (small["median"] / 10), abs=1e-3)
    assert float(numbers[-1]) == pytest.approx(large["peak_bytes"] / small["peak_bytes"], abs=1e-3)


@pytest.mark.parametrize("name", growth.SERIES)
def test_each_size_of_a_series_is_a_setting_of_its_side(name):
    series = growth.SERIES[name]
    for side, size in zip(series.case.sides, series.sizes, strict=True):
        (value,) = side.settings.values()
        assert value in (size, ["cifar_resnet", size])


def test_the_verdict_on_the_deepest_net():
    def result(peak):
        return {"sides": [{"peak_bytes": peak}]}

    assert memory.verdict(result(2 << 30)) == "2048 MiB: fits into 2048 MiB"
    assert memory.verdict(result((2 << 30) + (1 << 20))) == "2049 MiB: EXCEEDS 2048 MiB"


def test_segments_are_the_net():
    net = on_minigrad.build(["cifar_resnet", 20]).eval()
    x = mg.Tensor(np.random.default_rng(0).standard_normal((2, 8, 8, 3), dtype="float32"))
    np.testing.assert_array_equal(on_minigrad.in_segments(net, 4)(x).data, net(x).data)


@pytest.mark.parametrize(("net", "size"), [(lambda: models.cifar_resnet(20), 32), (models.resnet50, 64)])
def test_the_roofline_counts_what_summary_counts(net, size):
    from minigrad.inspect import summary

    net = net()
    found = roofline.convolutions(net, size)
    macs = 0
    for shape, count in found.items():
        out = (shape.size + 2 * shape.padding - shape.kernel) // shape.stride + 1
        macs += count * out**2 * shape.kernel**2 * shape.c_in * shape.c_out
    assert macs == sum(row.macs for row in summary(net, (size, size, 3)).rows if row.kind == "Conv2d")
    assert [shape.first for shape in found].count(True) == 1
    assert not any(getattr(layer, "_hooks", None) for _, layer in net.named_modules())


def test_the_time_in_products_is_that_of_the_products(monkeypatch):
    """On a fake clock: the product takes 2 s, the rest of the step 3; on two threads each is busy for half of it."""
    now = 0.0

    def wait(seconds):
        nonlocal now
        now += seconds

    def step():
        wait(3.0)
        np.matmul(np.ones((2, 2)), np.ones((2, 2)))

    monkeypatch.setattr(roofline.time, "perf_counter", lambda: now)
    monkeypatch.setattr(np, "matmul", lambda a, b: wait(2.0))
    assert roofline.in_products(step, 1, repeats=3) == (5.0, 2.0)
    assert roofline.in_products(step, 2, repeats=3) == (5.0, 1.0)


def test_the_roofline_of_a_tiny_net(monkeypatch, capsys):
    monkeypatch.setattr(roofline, "gemm_peak", partial(roofline.gemm_peak, sizes=(64,), repeats=1))
    matmul = np.matmul
    results = roofline.main({"tiny": (["cifar_resnet", 8], 8, 2)}, [1, 2], repeats=1)
    assert np.matmul is matmul  # it is replaced during the steps
    text = capsys.readouterr().out
    assert [result["threads"] for result in results] == [1, 2]
    for result in results:
        assert len(result["rows"]) == 6
        assert result["gemm_peak"] > 0
        first = next(row for row in result["rows"] if row["shape"] == "3x3, 3 -> 16, 8x8")
        assert first["gflop"] == first["backward_gflop"] == 2 * 2 * 8 * 8 * 16 * 27 / 1e9
        other = next(row for row in result["rows"] if row["shape"] == "3x3, 16 -> 32, 8x8, stride 2")
        assert other["backward_gflop"] == 2 * other["gflop"]
        assert 0 < result["products"] < result["step"]
    assert text.count("tiny, 2 images of 8 x 8, on") == 2
    assert text.count("of them pass in products") == 2
    json.dumps(results)


# The page ------------------------------------------------------------------------------------

KEPT = ROOT / "docs/logs/benchmarks/xeon.json"


@pytest.mark.parametrize("log", sorted(KEPT.parent.glob("*.json")), ids=lambda path: path.stem)
def test_the_page_shows_the_kept_figures(log):
    """`python -m tests.benchmarks --from LOG --markdown` prints what the page is to have, of each log."""
    tables = report.markdown(report.read([log])["results"]).split("\n\n")
    assert tables[0].count("\n") > 10
    page = (ROOT / "docs/performance.md").read_text()
    assert [table for table in tables if f"\n\n{table}\n\n" not in page] == []


def test_the_page_compares_the_import_with_the_one_of_numpy():
    results = report.read([KEPT.with_name("epyc.json")])["results"]
    (beside,) = [each["sides"][1]["multiple"]["rounds"] for each in results if each["case"] == "import"]
    assert f"takes {beside:.2f} times as long as `import numpy`" in (ROOT / "docs/performance.md").read_text()


def test_rows_of_the_table_are_in_its_order_and_have_pytorch():
    result = report.read([KEPT])["results"]
    found = report.rows(result[::-1])
    assert found == report.rows(result)
    assert {row.title for row in found} <= {case.title for case in cases.CASES.values()}
    alone = next(each for each in result if each["case"] == "import")  # beside NumPy
    assert report.rows([alone]) == []
    lines = report.markdown(result).splitlines()
    assert len(lines) == 2 + len(found)
    first = next(each for each in result if (each["case"], each["threads"]) == ("resnet20-train", 1))["sides"]
    one, beside = first[1]["multiple"], first[2]["multiple"]
    assert lines[2].startswith("| ResNet-20, training, batch 128 | 1 | ")
    assert lines[2].endswith(f"| {one['rounds']:.2f} | {beside['rounds']:.2f} | {one['memory']:.2f} |")
    assert lines[3].startswith("| | 2 | ")


def test_peers_have_a_table_of_their_own():
    result = figures(0.125, 0.13, 0.14, 0.5)
    result |= {"case": "resnet20-compiled"}
    result["sides"][1] |= {"side": "torch compiled", "runs_on": "torch 2.13.0+cpu, AVX2 kernels"}
    head, _, row = report.markdown([result]).splitlines()
    assert head.count("|") == row.count("|")
    assert row == "| torch 2.13.0+cpu compiled | 2 | 2 (1) | 2 (1) | 0.12 | 0.50 |"


def test_runs_of_one_machine_are_read_as_one(tmp_path):
    run = json.loads(KEPT.read_text())
    first, second, elsewhere = (tmp_path / f"{name}.json" for name in "abc")
    first.write_text(json.dumps(run))
    again = run["results"][0] | {"about": "again"}
    second.write_text(json.dumps(run | {"results": [again]}))
    results = report.read([first, second])["results"]
    assert len(results) == len(run["results"])
    assert results[0] == again
    elsewhere.write_text(json.dumps(run | {"machine": run["machine"] | {"cpu": "another"}}))
    with pytest.raises(SystemExit, match="differ in cpu"):
        report.read([first, elsewhere])


def test_the_figure_has_a_bar_for_each_row(monkeypatch, tmp_path, capsys):
    from demos import style

    drawn, panels = [], style.panels
    monkeypatch.setattr(style, "panels", lambda **size: drawn.append(panels(**size)) or drawn[-1])
    path = tmp_path / "new" / "table.png"
    command.main(["--from", str(KEPT), "--figure", str(path)])
    assert path.read_bytes().startswith(b"\x89PNG")
    assert f"figure: {path}" in capsys.readouterr().out
    ((_, panel),) = drawn
    found = report.rows(report.read([KEPT])["results"])
    widths = [bar.get_width() for bars in panel.containers for bar in bars]
    assert widths == [row.torch["multiple"]["rounds"] for row in found]
    marks = [float(line.get_xdata()[0]) for line in panel.lines if line.get_marker() == "D"]
    assert marks == [row.channels_last["multiple"]["rounds"] for row in found if row.channels_last]
    assert len({line.get_text() for line in panel.get_legend().get_texts()}) == 3
    with pytest.raises(SystemExit, match="no row of the table"):
        report.figure({}, [], path)


# The machine and the command -----------------------------------------------------------------


@pytest.mark.usefixtures("quick")
def test_the_header_shows_the_kernel_and_the_settings(monkeypatch):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    facts = machine.facts()
    json.dumps(facts)
    header = machine.header(facts)
    assert f"numpy {np.__version__}" in header
    assert "kernel" in header or "a BLAS that threadpoolctl does not know" in header
    assert "OPENBLAS_CORETYPE=Haswell" in header
    for name in [name for name in os.environ if re.match(machine.SETTINGS, name)]:
        monkeypatch.delenv(name)
    assert "no settings for kernels or threads" in machine.header(machine.facts())


@NEEDS_TORCH
def test_pytorchs_kernels_are_those_it_is_told_to_use(monkeypatch):
    if platform.machine() != "x86_64":
        pytest.skip("the settings are for x86")
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    said = machine.torch()
    assert said[0].endswith(", AVX2 kernels")
    assert "oneDNN Intel AVX2" in said


@pytest.mark.usefixtures("quick")
def test_the_command(monkeypatch, capsys, tmp_path):
    case = Case("tiny", cases.TRAIN, TINY, (Side("minigrad"), Side("not_installed_anywhere")), threads=(1, 2))
    still = Case("tiny", cases.CHAIN, {"operators": 2, "backward": True}, (Side("minigrad"),))
    nobody = Case("tiny", cases.CHAIN, {"operators": 2, "backward": True}, (Side("not_installed_anywhere"),))
    monkeypatch.setattr(cases, "CASES", {"one": case, "two": still, "three": case, "four": nobody})
    path = tmp_path / "figures.json"
    command.main(["--only", "one", "two", "four", "--pairs", "2", "--threads", "2", "--json", str(path)])
    written = json.loads(path.read_text())
    assert written["machine"]["numpy_and_blas"][0] == f"numpy {np.__version__}"
    assert [(r["case"], r["threads"], len(r["sides"])) for r in written["results"]] == [("one", 2, 1), ("two", 1, 1)]
    out = capsys.readouterr().out
    assert "numpy" in out
    assert "four: not_installed_anywhere is not measured, not_installed_anywhere is not installed" in out
    assert out.splitlines()[-1].startswith("minigrad ")


@pytest.mark.usefixtures("quick")
def test_the_command_names_the_cases_there_are():
    with pytest.raises(SystemExit, match="no case resnet19; there are growth-batch, growth-depth"):
        command.main(["--growth", "--only", "resnet19"])


@pytest.mark.parametrize(
    "arguments",
    [["--pairs", "0"], ["--threads", "0"], ["--growth", "--memory"], ["--peers", "no/such/python"]],
)
def test_impossible_arguments(arguments, capsys):
    with pytest.raises(SystemExit):
        command.main(arguments)
    assert "error" in capsys.readouterr().err


def test_peers_are_started_by_the_interpreter_that_has_them(monkeypatch):
    asked = []

    class Handle(contextlib.nullcontext):
        """Stands for a worker."""

        runs_on = ""

        def __init__(self, case, side, threads, python):
            super().__init__(self)
            asked.append((side.name, python))

        def step(self):
            return 1.0

        def finish(self):
            return 1

    there = {sys.executable: ["minigrad"], "old": ["chainer", "dezero"], "new": ["dezero", "jax"]}
    monkeypatch.setattr(rounds, "Worker", Handle)
    monkeypatch.setattr(command, "_has", lambda python, library: library in there[python])
    case, pythons = command.installed("peers", cases.PEERS["resnet20-numpy"], list(there))
    measure(replace(case, once=True), pythons=pythons)
    assert asked == [("minigrad", sys.executable), ("chainer", "old"), ("dezero", "old")]


def test_sides_that_cannot_run_are_named(monkeypatch, capsys):
    monkeypatch.setattr(command, "_has", lambda python, library: library != "jax")
    monkeypatch.setattr(command.shutil, "which", lambda program: None)
    case, _ = command.installed("here", cases.PEERS["resnet20-compiled"], [sys.executable])
    assert [side.name for side in case.sides] == ["minigrad"]
    assert capsys.readouterr().out.splitlines() == [
        "here: torch compiled is not measured, it needs g++",
        "here: torch compiled channels_last is not measured, it needs g++",
        "here: jax is not measured, jax is not installed",
    ]


def test_another_interpreter_is_asked_for_its_libraries(tmp_path):
    other = tmp_path / "python"
    other.symlink_to(sys.executable)
    assert command._has(str(other), "json")
    assert not command._has(str(other), "not_installed_anywhere")


@pytest.mark.parametrize("library", ["chainer", "mygrad", "dezero", "jax"])
def test_peers_train_with_the_settings_of_the_case(library):
    """Their environment is not here: what can be seen is that the function exists and takes what it will be given."""
    tree = ast.parse((Path(cases.__file__).parent / f"on_{library}.py").read_text())
    (train,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "train")
    assert {argument.arg for argument in train.args.args} == set(cases.RESNET20)
