"""The table of what has been proven: one row is made, with every check in its column."""

from dataclasses import replace

import numpy as np
import pytest

import minigrad as mg
from tests.records import RECORDS
from tests.records.record import sample
from tests.tools import table


def test_a_row_has_every_check_that_applies(monkeypatch):
    """Of the first three samples, to save time."""
    for name in ("conv2d", "max_pool2d"):
        few = dict(list(RECORDS[name].samples.items())[:3])
        monkeypatch.setitem(RECORDS, name, replace(RECORDS[name], samples=few))
    worst = table.row("conv2d")
    assert set(worst) == set(table.COLUMNS.values())
    assert worst["first order"] < 1e-8
    assert worst["complex step"] < 1e-13
    assert worst["adjoint"] < 1e-13
    assert table.cell("taylor", worst) == "linear"
    assert table.cell("aliasing", worst) == "yes"
    row = table.row("max_pool2d")
    assert table.cell("complex step", row) == table.cell("adjoint", row) == ""


@pytest.mark.parametrize("k", [0, 1, 2])
def test_a_row_runs_every_sample_and_keeps_the_worst(monkeypatch, k):
    """A fault in one sample stops it; of right samples the largest error is kept, and the lowest order."""
    samples = {str(n): sample(np.linspace(0.5, 2.0, n + 1)) for n in range(3)}
    monkeypatch.setitem(RECORDS, "exp", replace(RECORDS["exp"], samples=samples))
    worst = table.row("exp")
    for name, value in worst.items():
        alone = []
        for s in samples.values():
            monkeypatch.setitem(RECORDS, "exp", replace(RECORDS["exp"], samples={"one": s}))
            alone.append(table.row("exp")[name])
        assert value == (min if name == "taylor" else max)(alone)
        if name in ("first order", "taylor"):
            assert len(set(alone)) == 3
    monkeypatch.setitem(RECORDS, "exp", replace(RECORDS["exp"], samples=samples))
    op = mg.exp.operator
    right = op.pull
    monkeypatch.setattr(
        op, "pull", lambda g, *rest: [d * (1.01 if d.shape == (k + 1,) else 1) for d in right(g, *rest)]
    )
    with pytest.raises(mg.GradientError):
        table.row("exp")


def test_the_table_has_a_row_for_every_operator_and_counts_samples(monkeypatch, capsys):
    monkeypatch.setattr(table, "row", lambda name: {"taylor": np.inf, "first order": 3e-9, "second order": 0.0})
    table.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["operator", "samples", *table.COLUMNS]
    assert [line.split() for line in lines[1:-2]] == [
        [name, str(len(record.samples)), "3e-09", "0", "linear"] for name, record in RECORDS.items()
    ]
    count = sum(len(record.samples) for record in RECORDS.values())
    assert lines[-1] == f"{len(RECORDS)} operators, {count} samples"
    assert table.cell("taylor", {"taylor": 1.987}) == "1.99"
