"""The numbers of docs/answers.md are those that the demos printed: docs/figures/NAME.txt. In English and in Chinese."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
ANSWERS = " ".join((DOCS / "answers.md").read_text().split())

#: A demo; where its output has the numbers (one group each); what the page makes of them, in English and in Chinese.
ROWS = [
    (
        "degradation",
        r"depth 20, ([\d.]+) % at depth 56\nresidual",
        ["ends with {} % of", "plain-56: {} %", "plain-56 为 {}%"],
    ),
    (
        "degradation",
        r"plain nets: training error ([\d.]+) %",
        ["plain-20 with {} %", "plain-20: {} %", "训练误差为 {}%"],
    ),
    ("degradation", r"residual nets: .* ([\d.]+) % at depth 56", ["residual nets end with {} %", "残差网络都是 {}%"]),
    ("constructed", r"plain-20: ([\d.]+)% of", ["gets {} % of the digits wrong", "训练集错 {}%"]),
    ("constructed", r"the same to (\d)e-07", ["rounding, {}e-7", "（{}e-7）"]),
    ("constructed", r"plain-56, constructed +([\d.]+) %", ["brings it to {} %", "误差降到 {}%"]),
    ("constructed", r"plain-56, from scratch +([\d.]+) %", ["still has {} % wrong", "仍错 {}%"]),
    ("constructed", r"residual-56, gamma = 0 +([\d.]+) %", ["at the identity has {} % wrong", "residual-56 则为 {}%"]),
    ("bottleneck", r"basic .* ([\d.]+) % [^%]*bottleneck .* ([\d.]+) %", ["({1} against {0} %)", "{1}% 对 {0}%"]),
    ("bottleneck", r"resnet152 .* ([\d.]+) G .*G\n.*\nvgg19 .* ([\d.]+) G ", ["152 layers: {} G, VGG-19: {} G"]),
    ("ensemble", r"their mean .* (\S+) %\ntogether .* (\S+) %", ["{:.1f} % in the mean, together {:.1f} %"]),
    (
        "shortcuts",
        r"\nA .* (\S+ ± \S+) %\nB .* (\S+ ± \S+) %\nC .* (\S+ ± \S+) %",
        ["{}, {} and {} %", "{}%、{}%、{}%"],
    ),
    (
        "imagenet_nets",
        r"\nplain-18 .*\) +([\d.]+) % \(.*%.*\nplain-34 .*\) +([\d.]+) % \(.*%",
        ["{} % for plain-18, {} %"],
    ),
    (
        "imagenet_nets",
        r"\nResNet-18 .*\) +([\d.]+) % \(.*%.*\nResNet-34 .*\) +([\d.]+) % \(.*%",
        ["{} % for ResNet-18 and {} %"],
    ),
    (
        "imagenet_nets",
        r"\nplain-18 .*\) +([\d.]+) % \(.*%.*\nplain-34 .*\) +([\d.]+) % \(.*%",
        ["plain-18 为 {}%，plain-34 为 {}%"],
    ),
    (
        "imagenet_nets",
        r"\nResNet-18 .*\) +([\d.]+) % \(.*%.*\nResNet-34 .*\) +([\d.]+) % \(.*%",
        ["ResNet-18 为 {}%，ResNet-34 为 {}%"],
    ),
    (
        "thousand_layers",
        r" 1202 +(\d+) +(\d+) ",
        ["in {} MiB, or in {} MiB with", "占用 {} MiB，用 `mg.recompute` 则为 {} MiB"],
    ),
    ("cifar10", r"plain-20, .* error ([\d.]+)%", ["plain-20 of {:.1f} %", "plain-20 为 {:.1f}%"]),
    ("cifar10", r"resnet-20, .* error ([\d.]+)%", ["ResNet-20 has a test error of {:.1f} %", "测试误差为 {:.1f}%"]),
    ("gradient_flow", r"90 % from (\S+) to (\S+), below 1x on (\d+)%", ["between {} and {}. For {} % of the seeds"]),
    ("gradient_flow", r"larger than its last on (\d+)%", ["for {} % of the seeds: nothing", "（{}% 的种子如此）"]),
    ("gradient_flow", r"plain, batch norm .* (\d+) to (\d+)\n", ["is {} to {} times", "的 {} 到 {} 倍"]),
]


@pytest.mark.parametrize(("demo", "pattern", "sentences"), ROWS)
def test_the_page_says_what_the_demo_printed(demo, pattern, sentences):
    printed = (DOCS / f"figures/{demo}.txt").read_text()
    found = re.findall(pattern, printed)
    assert len(found) == 1, f"expected {pattern} once in what {demo} printed"
    numbers = found[0] if isinstance(found[0], tuple) else found
    for sentence in sentences:
        said = sentence.format(*([float(n) for n in numbers] if ":.1f" in sentence else numbers))
        assert said in ANSWERS, f"{demo} printed {numbers}; expected in docs/answers.md: {said}"
