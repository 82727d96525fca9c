"""The README is true: its programs run as they stand, its links lead somewhere, and each of its numbers is looked up.

tests/docs/numbers.py says where; tests/docs/test_numbers.py compares.
"""

import importlib.util
import re
import shutil
import tomllib
from pathlib import Path

import pytest
from matplotlib import cbook

import models
from models import pretrained
from tests import house
from tests.docs import numbers, quoted

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PROGRAMS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
PROSE = re.sub(r"```.*?```", "", README, flags=re.DOTALL)

# Programs ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "program",
    [pytest.param(p, id=f"{i}", marks=[pytest.mark.slow] * ("resnet50(s" in p)) for i, p in enumerate(PROGRAMS)],
)
def test_a_program_runs_and_prints_what_it_says(program, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    if '"photo.jpg"' in program:
        shutil.copy(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False), "photo.jpg")
    if "net.safetensors" in program:  # what the line of PyTorch above it writes
        net = models.resnet50(stride_in="3x3", rng=1)
        models.pretrained.mg.save("net.safetensors", pretrained.to_torch(net))
    exec(compile(program, "README.md", "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    if '"photo.jpg"' in program:  # three of the words in the text, the likeliest first
        words, shares = zip(*(line.split() for line in printed), strict=True)
        assert len({*words} & {*re.findall(r"\w+", PROSE.partition("ten words")[2])}) == 3
        assert sorted(shares, key=lambda share: -float(share.strip("%"))) == [*shares]
        return
    promised = re.findall(r"print\(.*\)  # (.*)", program)
    for line, promise in zip(printed, promised, strict=True):
        if promise.startswith("about"):  # a share that depends on the processor; 6.7 and 6.9 % were seen
            said, got = (float(re.search(r"([\d.]+) ?%", text)[1]) for text in (promise, line))
            assert abs(got - said) <= 2
        else:
            assert line == promise


def test_every_block_is_a_program_or_a_command_or_the_line_for_pytorch():
    assert set(re.findall(r"```(\w*)\n.*?```", README, re.DOTALL)) == {"sh", "python", "text"}


def test_commands_name_modules_and_options_that_exist():
    commands = re.findall(r"python -m ([\w.]+)((?: [^`\n&]*)?)", README)
    assert len(commands) > 10
    for module, arguments in commands:
        if module.startswith(("demos", "minigrad", "tests")):
            spec = importlib.util.find_spec(module)
            assert spec is not None, module
            if spec.submodule_search_locations:
                spec = importlib.util.find_spec(f"{module}.__main__")
            text = Path(spec.origin).read_text() + (ROOT / "demos/lab.py").read_text()
            for option in re.findall(r"--[a-z-]+", arguments):
                assert f'"{option}"' in text, f"{module} {option}"


# Links ---------------------------------------------------------------------------------------


def relative_links(text):
    """List the targets of links and images that are no addresses."""
    targets = re.findall(r"\]\(([^)#]+?)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    return [target for target in targets if not target.startswith("http")]


def test_links_lead_somewhere():
    for target in relative_links(README):
        assert (ROOT / target).exists(), target


def test_the_package_page_has_no_relative_link():
    hooks = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["metadata"]["hooks"]
    page = README
    for change in hooks["fancy-pypi-readme"]["substitutions"]:
        page = re.sub(change["pattern"], change["replacement"], page)
    assert relative_links(README)
    assert relative_links(page) == []
    assert "arxiv.org" in page
    assert "this figure" not in page


# Numbers -------------------------------------------------------------------------------------

#: Numbers that are names, versions, headings, or are tested elsewhere: below, and those of the reading route above.
NAMES = (
    r"Python 3\.11|He et al\., 2015|the paper has 8\.75 %|Zen \d"
    r"|(ResNet|resnet|VGG|plain|CIFAR|AVX)-?\d+|20 and 56 layers|6n \+ 2|3x3|im2col|^\d\. "
    r"|doi:\S+|CC BY 4\.0|^\|.*\|$"
)


def test_every_number_is_that_of_a_record():
    """The sentences of tests/docs/numbers.py, where they are compared, have all of them."""
    prose = re.sub(r"\]\([^)]*\)|`[^`]*`", "", PROSE)
    rest = re.sub(r" *\n *", "\n", prose)
    for sentence in (sentence for row in numbers.ROWS for sentence in row.said.get("README.md", [])):
        rest, found = re.subn(quoted.match(sentence).replace(r"\ ", r"\s+"), "", rest)
        assert found == 1, f"expected in the README: {sentence}"
    rest = re.sub(NAMES, "", rest, flags=re.MULTILINE)
    left = [line for line in rest.splitlines() if re.search(r"\d", line)]
    assert left == [], "numbers that no test looks up"


def measured():
    """Return x PyTorch, x channels_last and memory of each table of docs/performance.md, by step and threads."""
    tables, step = [], ""
    for line in (ROOT / "docs/performance.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| step |"):
            tables.append({})
        elif line.startswith("|") and len(cells) == 7 and cells[1] in "12":
            step = cells[0].replace(", ", " ", 1) or step
            tables[-1][step, int(cells[1])] = cells[4:]
    return tables


def test_the_table_is_that_of_the_measurements():
    epyc, _, xeon = measured()
    table = [
        [cell.strip() for cell in line.strip(" |").split("|")] for line in README.splitlines() if line[:4] == "  | "
    ]
    steps = [row for row in table if ", batch" in row[0] or "images" in row[0]]
    assert len(steps) == 5
    for name, *ratios, memory in steps:
        found = [known[name, threads] for known in (epyc, xeon) for threads in (1, 2)]
        assert ratios == [f"{ratio} ({last})" for ratio, last, _ in found], name
        assert memory == found[0][2], name
    (operators,) = [row for row in table if row[0].startswith("operators on 16 numbers")]
    forward, both = "ten times 1,000 multiply-adds on 16 numbers forward", "the same forward and backward"
    epyc_ones, xeon_ones = (f"{known[forward, 1][0]}; {known[both, 1][0]}" for known in (epyc, xeon))
    assert operators[1:] == [epyc_ones, "", xeon_ones, "", epyc[forward, 1][2]]


# The route -----------------------------------------------------------------------------------


def test_the_readme_follows_the_reading_route():
    route = README.partition("## The engine in an evening")[2].partition("\n## ")[0]
    linked = re.findall(r"\]\(((?:minigrad|models)/[\w/]+\.py)\)", route.partition("**Second evening")[0])
    assert linked == [house.paths()[e.module].relative_to(ROOT).as_posix() for e in house.ROUTE["First evening"]]
    for part in house.ROUTE:
        said = re.search(rf"\*\*{part}, (\d+) minutes\*\*", route)
        assert said, f"the README says how long this takes: {part}"
        assert abs(int(said[1]) - house.total(part).minutes) <= 10, f"{part}: {house.total(part).minutes} minutes"
