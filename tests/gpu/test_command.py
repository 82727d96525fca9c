"""``python -m tests.gpu`` without a GPU: it says so; and its page is written from what the suite reported."""

import sys

import pytest

from tests.gpu import __main__ as command
from tests.gpu import measure
from tests.tools.strict import strict


def test_without_a_gpu_it_says_so_and_writes_nothing(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert command.main(["--page", str(tmp_path / "gpu.md")]) == 2
    assert "No GPU was found" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


REPORT = """<testsuites><testsuite><testcase name="a" time="1.5"/><testcase name="b" time="0.5"/>
<testcase name="c" time="2"><failure message="1 is not 2&#10;and so on"/></testcase>
<testcase name="d" time="0"><skipped message="one GPU only"/></testcase></testsuite></testsuites>"""


def test_the_page_counts_and_names_what_the_suite_reports(tmp_path):
    report = tmp_path / "report.xml"
    report.write_text(REPORT)
    section, passed = command.told(report)
    assert not passed
    assert section.splitlines()[-4:] == [
        "Passed: 2, failed: 1, skipped: 1, in 4 s.",
        "",
        "- failed: `c`: 1 is not 2",
        "- skipped: `d`: one GPU only",
    ]
    report.write_text("<testsuites><testsuite><testcase name='a'/></testsuite></testsuites>")
    assert command.told(report)[1]
    report.write_text("<testsuites/>")  # nothing ran
    assert not command.told(report)[1]


def test_both_devices_are_trained_alike(monkeypatch):
    """On the strict double, whose arithmetic is NumPy's, so that the losses are equal."""
    monkeypatch.setitem(sys.modules, "cupy", strict)
    here, away = (measure.training(device, "float64", steps=2) for device in ("cpu", "cuda"))
    assert away.losses == pytest.approx(here.losses, rel=1e-9)
    assert away.test_error == here.test_error
    assert measure.training("cpu", "float64", steps=1).losses == here.losses[:1]
