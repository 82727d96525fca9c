"""python -m demos: the list is complete, one failure stops nothing, and the page shows what this call drew."""

import os
from html.parser import HTMLParser
from pathlib import Path

import pytest

import demos
from demos import __main__ as program

FOLDER = Path(program.__file__).parent
PNG = b"\x89PNG"
DEMO = '''"""{title}

A story.
"""
import sys
from pathlib import Path
print("ran with", *sys.argv[1:])
out = Path(sys.argv[-1])
if {draws}:
    out.mkdir(parents=True, exist_ok=True)
    (out / "figure.png").write_bytes({png!r})
print("1 < 2 & so on", flush=True)
sys.exit({status})
'''


@pytest.fixture
def lecture(tmp_path, monkeypatch):
    """Put other demos in place of ours: one that fails, one that works, one that needs a network."""
    folder = tmp_path / "demos"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    for name, status, draws in (("bad", 3, False), ("good", 0, True), ("far", 0, False)):
        text = DEMO.format(title=f"What is <{name}>?", draws=draws, png=PNG, status=status)
        (folder / f"{name}.py").write_text(text)
    monkeypatch.setattr(program, "ORDER", ["bad", "good", "far"])
    monkeypatch.setattr(program, "APART", {"far": "it needs a network"})
    monkeypatch.setattr(program, "HERE", folder)
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Page(HTMLParser):
    """What a page asks for, shows, and leaves open."""

    def __init__(self, text):
        super().__init__()
        self.images, self.links, self.ids, self.open, self.shown = [], [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.images += [values["src"]] if "src" in values else []
        self.links += [values["href"]] if "href" in values else []
        self.ids += [values["id"]] if "id" in values else []
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.shown += data


def test_every_demo_has_its_place():
    there = {path.stem for path in FOLDER.glob("*.py")} - {"__init__", "__main__", "style", "lab"}
    assert sorted(demos.ORDER) == sorted(there)
    assert set(demos.APART) < set(demos.ORDER)


def test_the_list_has_a_line_for_each(capsys):
    assert program.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[: len(demos.ORDER)]] == demos.ORDER
    for name, line in zip(demos.ORDER, lines, strict=False):
        assert line.endswith(program.title(name))
        assert 10 < len(program.title(name)) <= 120
    assert len(lines) == len(demos.ORDER) + 2


def test_a_demo_that_fails_is_named_and_the_others_run(lecture, capfd):
    assert program.main(["--all", "--quick", "--out", "here"]) == 1
    out, err = capfd.readouterr()
    assert "FAILED with exit status 3" in out
    assert "ran with --quick --out here/good" in out
    assert "far: it needs a network" in out
    assert "1 of 2 failed: bad" in err
    page = Page((lecture / "here/index.html").read_text())
    assert page.open == []
    assert page.ids == ["bad", "good"]
    assert page.links == ["#bad", "#good", "good/figure.png"]
    assert page.images == ["good/figure.png"] * 2
    assert all((lecture / "here" / image).exists() for image in page.images)
    assert "failed with exit status 3" in page.shown
    assert page.shown.count("1 < 2 & so on") == 2
    assert page.shown.count("What is <good>?") == 2
    assert "$ python -m demos.good --quick --out here/good" in page.shown


def test_what_needs_more_runs_when_it_is_named_with_its_own_options(lecture, capfd):
    assert program.main(["far", "good", "--full"]) == 0
    page = Page((lecture / "runs/index.html").read_text())
    assert page.ids == ["far", "good"]
    assert "$ python -m demos.far   #" in page.shown
    assert "$ python -m demos.good --full --out runs/good" in page.shown
    assert "Left out" not in capfd.readouterr().out


def test_a_figure_of_an_earlier_call_is_not_shown_as_one_of_this(lecture):
    old = lecture / "runs/good/figure_full.png"
    old.parent.mkdir(parents=True)
    old.write_bytes(PNG)
    os.utime(old, (1e9, 1e9))
    program.main(["good"])
    assert Page((lecture / "runs/index.html").read_text()).images == ["good/figure.png"] * 2


@pytest.mark.parametrize("wrong", [["nobody"], ["--all", "tape"], ["--all", "--quick", "--full"]])
def test_wrong_options_are_explained(wrong, capsys):
    with pytest.raises(SystemExit):
        program.main(wrong)
    assert wrong[-1] in capsys.readouterr().err
