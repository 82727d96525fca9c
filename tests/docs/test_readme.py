"""The README is true: its programs run as they stand, its links lead somewhere, and each of its numbers is looked up.

Numbers that depend on the processor or on the length of a run are compared with what a run recorded: docs/figures,
docs/logs, docs/performance.md, docs/platforms.md.
"""

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest

import demos
import models
from demos import cifar10
from minigrad.train.report import read_log
from models import pretrained
from tests import house

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
    if "net.safetensors" in program:  # what the line of PyTorch above it writes
        net = models.resnet50(stride_in="3x3", rng=1)
        models.pretrained.mg.save("net.safetensors", pretrained.to_torch(net))
    exec(compile(program, "README.md", "exec"), {})
    printed = capsys.readouterr().out.splitlines()
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


def wrong_images(net):
    """Return the percentage of training images that a net of demos.degradation gets wrong, as recorded."""
    recorded = (ROOT / "docs/figures/degradation.txt").read_text()
    return re.search(rf"^{net} .* (\S+) % .*%", recorded, re.MULTILINE)[1]


def elsewhere():
    """List the percentages of plain-56 on other processors, as docs/platforms.md has them."""
    text = (ROOT / "docs/platforms.md").read_text().partition("Training amplifies")[2].partition("On AVX-512")[0]
    return sorted(f"{float(n):.0f}" for n in re.findall(r"(\d+\.\d) %", text))


def last(run):
    """Return the last record of a run on CIFAR-10."""
    return read_log(ROOT / f"docs/logs/cifar10/{run}.jsonl")[-1]


RESNET_20, PLAIN_20 = last("resnet-20"), last("plain-20")
HOURS = RESNET_20["seconds"] / 3600 * cifar10.RECIPES["paper"]["iterations"] / RESNET_20["iteration"]
WORDS = ["six", "seven", "eight"]

#: What the README says, made of what was recorded. Numbers in no such sentence are names, or fail.
SAID = [
    f"Plain-20 ends with {wrong_images('plain-20')} % of the training images wrong, "
    f"plain-56 with {float(wrong_images('plain-56')):.0f} %.",
    f"we have also seen {elsewhere()[0]} and {elsewhere()[1]} % for plain-56",
    f"{len(list((ROOT / 'docs/chapters').glob('[0-9]*.py')))} chapters build minigrad",
    f"lists {({15: 'fifteen', 16: 'sixteen', 17: 'seventeen', 18: 'eighteen'})[len(demos.ORDER)]} experiments",
    f"for {RESNET_20['epoch']} epochs: {100 * RESNET_20['test_error']:.1f} % of the test images are wrong after "
    f"{RESNET_20['seconds'] / 60:.0f} minutes",
    f"20 layers without shortcuts end at {100 * PLAIN_20['test_error']:.1f} %",
    f"{cifar10.RECIPES['paper']['iterations']:,} iterations, about {WORDS[round(HOURS) - 6]} hours",
    f"over {RESNET_20['iteration']:,} iterations",
    f"{house.WORDS} words of prose or {house.LINES} lines of code a minute",
]

#: Numbers that are names, versions, headings, or are tested elsewhere: below, and those of the reading route above.
NAMES = (
    r"Python 3\.11|He et al\., 2015|(ResNet|resnet|VGG|plain|CIFAR|AVX)-?\d+|20 and 56 layers|6n \+ 2|3x3|im2col|^\d\. "
    r"|doi:\S+|CC BY 4\.0|\*\*[\w ]+, \d+ minutes\*\*|^\|.*\|$|0\.74 and 0\.97|0\.89 and 1\.05|about 40 %"
)


def test_every_number_is_that_of_a_record():
    prose = re.sub(r"\]\([^)]*\)|`[^`]*`", "", PROSE)
    rest = re.sub(r" *\n *", "\n", prose)
    for sentence in SAID:
        pattern = r"\s+".join(map(re.escape, re.sub(r"`[^`]*`", "", sentence).split()))
        rest, found = re.subn(pattern, "", rest)
        assert found == 1, f"expected in the README: {sentence}"
    rest = re.sub(NAMES, "", rest, flags=re.MULTILINE)
    left = [line for line in rest.splitlines() if re.search(r"\d", line)]
    assert left == [], "numbers that no test looks up"


def measured():
    """Return docs/performance.md's columns by step and threads: x PyTorch, x channels_last, memory; the Xeon first."""
    rows, step = {}, ""
    for line in (ROOT / "docs/performance.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == 7 and cells[1] in "12":
            step = cells[0] or step
            rows.setdefault((step.replace(" (CIFAR)", "").replace(", training", " training"), cells[1]), []).append(
                cells[4:]
            )
    return {(step.replace("VGG-16, inf", "VGG-16 inf"), n): found for (step, n), found in rows.items()}


def test_the_table_is_that_of_the_measurements():
    known = measured()
    table = [
        [cell.strip() for cell in line.strip(" |").split("|")] for line in README.splitlines() if line[:4] == "  | "
    ]
    steps = [row for row in table if ", batch" in row[0] or "images" in row[0]]
    assert len(steps) == 5
    for name, one, two, memory in steps:
        (ratio, last, used), *_ = known[name, "1"]
        assert one == f"{ratio} ({last})", name
        assert memory == used, name
        (ratio, last, _), *_ = known[name, "2"]
        assert two == f"{ratio} ({last})", name
    (operators,) = [row for row in table if row[0].startswith("operators on 16 numbers")]
    (forward, _, used), *_ = known["ten times 1,000 multiply-adds on 16 numbers, forward", "1"]
    (both, _, _), *_ = known["the same, forward and backward", "1"]
    assert operators[1:] == [f"{forward}; {both}", "", used]
    xeon, epyc = known["ResNet-20 training, batch 128", "1"]
    assert abs(float(xeon[2]) - 0.4) < 0.05, "about 40 %"
    assert (epyc[0], known["ResNet-20 training, batch 128", "2"][1][0]) == ("0.89", "1.05")
    text = " ".join((ROOT / "docs/performance.md").read_text().split())
    assert "the training of ResNet-34 takes 0.74 and 0.97 times as long as PyTorch" in text


# The route -----------------------------------------------------------------------------------


def test_the_readme_follows_the_reading_route():
    route = README.partition("## The engine in an evening")[2].partition("\n## ")[0]
    linked = re.findall(r"\]\(((?:minigrad|models)/[\w/]+\.py)\)", route.partition("**Second evening")[0])
    assert linked == [house.paths()[e.module].relative_to(ROOT).as_posix() for e in house.ROUTE["First evening"]]
    for part in house.ROUTE:
        said = re.search(rf"\*\*{part}, (\d+) minutes\*\*", route)
        assert said, f"the README says how long this takes: {part}"
        assert abs(int(said[1]) - house.total(part).minutes) <= 10, f"{part}: {house.total(part).minutes} minutes"
