"""The table of what has been proven: one row is made, with every check in its column."""

from tests.tools import table


def test_a_row_has_every_check_that_applies():
    worst = table.row("conv2d")
    assert set(worst) == set(table.COLUMNS.values())
    assert worst["first order"] < 1e-8
    assert worst["complex step"] < 1e-13
    assert worst["adjoint"] < 1e-13
    assert table.cell("taylor", worst) == "linear"
    assert table.cell("aliasing", worst) == "yes"
    row = table.row("max_pool2d")
    assert table.cell("complex step", row) == table.cell("adjoint", row) == ""
