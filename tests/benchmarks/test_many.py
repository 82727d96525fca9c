"""The tool for many processes works, its model is what its formulas say, and the page quotes its log."""

import json

import numpy as np
import pytest

import minigrad as mg
from minigrad import distributed
from tests.benchmarks import many, scaling
from tests.distributed import processes

KEPT = json.loads(many.LOG.read_text())


@pytest.fixture(autouse=True)
def threads_as_before():
    before = mg.get_num_threads()
    yield
    mg.set_num_threads(before)


def test_the_page_quotes_the_log():
    """`python -m tests.benchmarks.many --written` writes the section."""
    page = many.PAGE.read_text()
    assert scaling.written(page, KEPT) == page
    assert "## Measured\n\nThe machine: " in page


def test_only_the_section_of_measurements_is_written():
    page = "# Title\n\n## Before\n\nx\n\n## Measured\n\nold\n\n### Part\n\nold\n\n## After\n\ny\n"
    new = scaling.written(page, KEPT)
    assert new.startswith("# Title\n\n## Before\n\nx\n\n## Measured\n\nThe machine")
    assert new.endswith("\n\n## After\n\ny\n")
    assert "old" not in new


def test_another_log_gives_other_numbers():
    other = json.loads(json.dumps(KEPT))
    other["steps"][1]["rounds"] = [2 * seconds for seconds in other["steps"][0]["rounds"]]
    assert "`shards=4` takes 2.00 times as long as no shards" in " ".join(scaling.section(other).split())


# The model -----------------------------------------------------------------------------------


def test_a_network_is_what_was_measured():
    first, second = [[10, 1.0, 7.0], [30, 2.0, 7.0]], [[10, 3.0, 7.0], [30, 4.0, 7.0]]
    network = scaling.network([first, second])
    assert network == ([10, 30], [2, 3])
    assert (network.latency, network.bandwidth) == (2, 10)
    assert [network.seconds(size) for size in (1, 10, 20, 30, 60)] == [2, 2, 2.5, 3, 6]


def test_the_tree_sends_everything_on_each_level_and_a_reduce_scatter_each_number_twice():
    network = scaling.Network([0, 8], [1, 17])  # 1 + 2 size
    tree = [scaling.exchanged(network, 3.0, n) for n in (1, 2, 8)]
    assert tree == [0, 7, 21]
    parts = [scaling.exchanged(network, 8.0, n, scatter=True) for n in (1, 2, 4)]
    assert parts == [0, 2 * (1 + 8), 2 * (1 + 8 + 1 + 4)]


def test_a_reduce_scatter_over_the_tree_keeps_the_bits():
    rng = np.random.default_rng(0)
    given = [rng.standard_normal(64, dtype=np.float32) for _ in range(8)]
    held = [(0, 64, array) for array in given]  # of each process: from, to, and the sums there
    for level in range(3):
        bit, new = 1 << level, []
        for rank, (start, end, mine) in enumerate(held):
            _, _, theirs = held[rank ^ bit]
            middle = (end - start) // 2
            part = slice(middle, None) if rank & bit else slice(middle)
            new.append(
                (start + middle, end, mine[part] + theirs[part])
                if rank & bit
                else (start, start + middle, mine[part] + theirs[part])
            )
        held = new
    (expected,) = distributed.total([array] for array in given)
    together = np.concatenate([array for _, _, array in sorted(held, key=lambda part: part[0])])
    np.testing.assert_array_equal(together, expected)
    assert (together != np.sum(given, axis=0)).any()  # another order gives other bits


def test_a_step_is_computing_and_sending():
    network = scaling.network(KEPT["network"]["TCP"])
    for net, most in (("ResNet-20", 128), ("ResNet-50", 8)):
        known = scaling.alone(KEPT, net)
        assert scaling.step(KEPT, net, most, 1) == known[most]
        assert scaling.step(KEPT, net, 3 * most, 1) == 3 * known[most]
        sent = 3 * network.seconds(scaling.size_of(KEPT, net))
        assert scaling.step(KEPT, net, 1, 8) == known[1] + sent
        speeds = scaling.curves(KEPT, net)["weak"]
        assert speeds == sorted(speeds, reverse=True)


@pytest.mark.slow
def test_the_figure_has_the_curves_of_the_model(monkeypatch, tmp_path):
    from demos import style

    drawn, panels = [], style.panels
    monkeypatch.setattr(style, "panels", lambda *size, **more: drawn.append(panels(*size, **more)) or drawn[-1])
    scaling.figure(KEPT, tmp_path / "new" / "scaling.png")
    assert (tmp_path / "new" / "scaling.png").read_bytes().startswith(b"\x89PNG")
    ((_, axes),) = drawn
    for panel, net in zip(axes, scaling.WEAK, strict=True):
        shown = [list(line.get_ydata()) for line in panel.lines]
        for scatter in (False, True):
            for speeds in scaling.curves(KEPT, net, scatter=scatter).values():
                assert speeds in shown


# What is measured ----------------------------------------------------------------------------


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(many.NETS, "ResNet-20", (["cifar_resnet", 8], 8, 10))
    monkeypatch.setattr(many, "SIZES", (8, 4000))
    monkeypatch.setattr(many, "STEPS", 2)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("shards", [None, 2])
def test_steps_are_timed_one_by_one(shards):
    found = many.steps(many.Case(batch=4, shards=shards))
    assert len(found["seconds"]) == 2
    assert min(found["seconds"]) > 0
    net = many.build(["cifar_resnet", 8])
    assert found["bytes"] == 4 * sum(array.size for array in net.state_dict().values())


def test_the_log_has_what_is_measured():
    cases = [many.Case(**entry["case"]) for entry in KEPT["steps"]]
    assert cases[: len(many.ROWS)] == many.ROWS
    assert many.TRIAL in cases
    assert {case.batch for case in cases if case.net == "ResNet-50"} == set(many.ALONE["ResNet-50"])
    for rounds in KEPT["network"].values():
        assert [[int(row[0]) for row in rows] for rows in rounds] == [list(many.SIZES)] * len(rounds)
    assert many.name(many.TRIAL) == "ResNet-20, 256 images, 2 x 1 threads, shards=2, by TCP"


@pytest.mark.usefixtures("tiny")
def test_the_command_measures_and_writes(monkeypatch, tmp_path, capsys):
    asked = []

    def run(task, processes, threads=1, env=None):
        asked.append((task, processes, threads, env))
        return {"seconds": [0.5, 1.0, 2.0], "bytes": 4} if task else [[8, 1e-5, 1e-6], [4000, 2e-5, 1e-5]]

    for path in ("LOG", "FIGURE", "PAGE"):
        monkeypatch.setattr(many, path, tmp_path / path)
    monkeypatch.setattr(many, "_run", run)
    monkeypatch.setattr(many.machine, "facts", lambda: {"cpu": "a processor", "torch": [], "load": 0.1})
    monkeypatch.setattr(scaling, "section", lambda log: f"{log['machine']['cpu']}\n")
    monkeypatch.setattr(scaling, "figure", lambda log, path: path.write_text("drawn"))
    many.PAGE.write_text("# Page\n\n## Measured\n\n## Next\n")
    many.main(["--rounds", "2"])
    log = json.loads(many.LOG.read_text())
    assert [len(rounds) for rounds in log["network"].values()] == [2, 2]
    assert {(e["case"]["net"], len(e["rounds"])) for e in log["steps"]} == {("ResNet-20", 2), ("ResNet-50", 1)}
    assert log["steps"][0]["rounds"] == [1.0, 1.0]
    assert ({}, 2, 1, many.TCP) in asked
    assert (many.TRIAL._asdict(), 2, 1, many.TCP) in asked
    assert "a processor" in many.PAGE.read_text()
    assert many.FIGURE.read_text() == "drawn"
    assert f"page:   {many.PAGE}" in capsys.readouterr().out


def test_what_needs_processes_says_so(monkeypatch):
    with pytest.raises(SystemExit, match="mpiexec -n 2 python -m tests.benchmarks.many --network"):
        many.main(["--network"])
    monkeypatch.setattr(many, "NONE", "needs mpi4py and mpiexec")
    with pytest.raises(SystemExit, match='needs mpi4py and mpiexec; pip install -e ".\\[mpi\\]"'):
        many._run({}, 2)


@pytest.mark.slow
@pytest.mark.skipif(bool(processes.NONE), reason=processes.NONE)
def test_two_processes_are_measured():
    case = many.Case(processes=2, shards=2, batch=4, tcp=True)
    found = many._run(case._asdict(), 2, env=many.TCP)
    assert len(found["seconds"]) == many.STEPS
    assert found["bytes"] == scaling.size_of(KEPT, "ResNet-20")
