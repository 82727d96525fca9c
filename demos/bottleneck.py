"""A bottleneck has three layers for the cost of two: the multiply-adds of nets, and how two small nets train.

"Deep Residual Learning", section 4.1, Fig. 5 and Table 1. A basic block is two 3x3 layers. A bottleneck is a 1x1 layer
to a quarter of the filters, a 3x3 layer, and a 1x1 layer back to all filters. Per pixel they cost

    basic, 64 filters          9 * 64 * 64 + 9 * 64 * 64             = 73,728 multiply-adds,
    bottleneck, 256 filters    256 * 64 + 9 * 64 * 64 + 64 * 256     = 69,632.

So ResNet-50 costs about as much as ResNet-34, and 152 layers cost less than the 16 of VGG. This needs shortcuts without
parameters: a 1x1 projection from 256 to 256 filters costs 65,536, almost as much as the bottleneck itself.

The demo counts every net of Table 1 and both VGGs, and prints the paper's figures beside the counts. (For VGG-16 the
paper counts the convolutions only; our counts always include the three matrices of the classifier.) Then it trains two
nets of six blocks on the digits: 14 layers in basic blocks and 20 in bottlenecks, with multiply-adds that differ by
less than 5 %.

Observed: the counts agree with the paper's. On the digits, 14 layers are enough and more depth does not help: over five
seeds, the mean test error of the bottlenecks is 2.7 to 3.3 %, that of the basic blocks 1.7 to 1.9 % (with the kernels
of BLAS for AVX-512 and for AVX2; one of 360 images is 0.28 %), and the mean training loss of the bottlenecks is higher,
too. Nor do equal multiply-adds take equal time: the bottlenecks' convolutions write 2.7 times as many numbers, which
must be normalised and stored for the backward pass, so training takes longer. The paper chose bottlenecks because of
the training time it could afford, not because they train better.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

import models
from demos import lab, style
from minigrad import inspect
from models.plain import Net
from models.resnet import BasicBlock, Bottleneck, residual_net

#: The number of layers, and the multiply-adds in 10^9 that the paper states (Table 1; sections 3.3 and 4.1).
PAPER = {
    "plain18": (18, 1.8),
    "plain34": (34, 3.6),
    "resnet18": (18, 1.8),
    "resnet34": (34, 3.6),
    "resnet50": (50, 3.8),
    "resnet101": (101, 7.6),
    "resnet152": (152, 11.3),
    "vgg16": (16, 15.3),
    "vgg19": (19, 19.6),
}
FAMILIES = (("resnet18", "resnet34"), ("resnet50", "resnet101", "resnet152"), ("vgg16", "vgg19"))
BLOCKS = {"basic": BasicBlock, "bottleneck": Bottleneck}


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Count the nets of Table 1, train two on the digits, draw both; return the numbers."""
    options = lab.parser("bottleneck", __doc__).parse_args(arguments)
    width, epochs, seeds = 16, 8, 5
    names = [name for name in PAPER if not (options.quick and name.startswith("vgg"))]
    if options.quick:
        width, epochs, seeds = 8, 3, 1
    elif options.full:
        epochs, seeds = 30, 10
    print("net         parameters   multiply-adds   the paper's")
    table = {}
    for name in names:
        cost = inspect.summary(getattr(models, name)(), (224, 224, 3))
        layers, paper = PAPER[name]
        table[name] = {"layers": layers, "parameters": cost.parameters, "macs": cost.macs, "paper": paper * 1e9}
        print(f"{name:<10}{cost.parameters:>12,}{cost.macs / 1e9:>14.2f} G{paper:>12.1f} G", flush=True)
    if options.quick:
        print("(--quick leaves VGG-16 and VGG-19 out: they take seconds to build)")
    trained = {kind: run(kind, width, epochs, range(options.seed, options.seed + seeds)) for kind in BLOCKS}
    print(f"\non the digits, {epochs} epochs, mean over {seeds} seed(s); the loss is that of the last epoch\n")
    print("blocks      layers  parameters  multiply-adds  activations  training loss  test error  CPU seconds")
    for kind, row in trained.items():
        print(
            f"{kind:<12}{row['layers']:>6}{row['parameters']:>12,}{row['macs']:>15,}{row['activations']:>13,}"
            f"{row['loss'][:, -1].mean():>15.3f}{100 * row['test_error'][:, -1].mean():>10.1f} %"
            f"{row['cpu_seconds']:>13.1f}"
        )
    lower = int((trained["bottleneck"]["loss"][:, -1] < trained["basic"]["loss"][:, -1]).sum())
    print(f"the bottlenecks end with the lower training loss on {lower} of {seeds} seed(s)")
    result = {"table": table, "trained": trained}
    style.save(draw(result), result, options.out, "bottleneck")
    return result


def digit_net(kind: str, width: int, seed: int) -> Net:
    """Build a net of 3 stages of 2 blocks; inside a bottleneck there are as few filters as in a basic block."""
    filters = (width, 2 * width, 4 * width) if kind == "basic" else (4 * width, 8 * width, 16 * width)
    sizes = (width, *filters)
    return residual_net("cifar", BLOCKS[kind], (2, 2, 2), sizes, shortcut="A", num_classes=10, in_channels=1, rng=seed)


def run(kind: str, width: int, epochs: int, seeds: range) -> dict[str, Any]:
    """Count a net and train it with each seed."""
    cost = inspect.summary(digit_net(kind, width, 0), (8, 8, 1))
    weights = [row for row in cost.rows if row.kind in ("Conv2d", "Linear")]
    row: dict[str, Any] = {"layers": len(weights), "parameters": cost.parameters, "macs": cost.macs}
    row["activations"] = sum(int(np.prod(layer.shape)) for layer in weights)  # numbers per image
    start = time.process_time()
    histories = [
        lab.fit(digit_net(kind, width, seed), epochs=epochs, warmup=3 * epochs, seed=seed, title=f"{kind}, seed {seed}")
        for seed in seeds
    ]
    row["cpu_seconds"] = (time.process_time() - start) / len(seeds)
    for key in ("iteration", "loss", "test_error"):
        row[key] = np.array([[record[key] for record in history] for history in histories])  # (seeds, epochs)
    return row


def draw(result: dict[str, Any]) -> Any:
    """Draw multiply-adds against layers, and the loss of both nets on the digits."""
    figure, (costs, losses) = style.panels(2)
    table = result["table"]
    for i, family in enumerate(FAMILIES):
        at = [(row["layers"], row["macs"] / 1e9) for name, row in table.items() if name in family]
        costs.plot(*np.array(at).reshape(-1, 2).T, color=style.shade(i, 3), marker="os^"[i], markersize=5)
        for name, place in zip(family, at, strict=False):
            label = name.replace("resnet", "ResNet-").replace("vgg", "VGG-")
            offset = (-16, 10) if name == "resnet34" else (9, -9)
            costs.annotate(label, place, offset, textcoords="offset points", fontsize="small")
    paper = [(row["layers"], row["paper"] / 1e9) for row in table.values()]
    costs.plot(*np.array(paper).T, "o", color="k", markersize=12, fillstyle="none", markeredgewidth=0.6)
    costs.set_title("circles: the paper's figures", loc="right", fontsize="small")
    costs.set(xlabel="layers", ylabel=r"multiply-adds ($10^9$)", xlim=(0, 200), xticks=(0, 50, 100, 150))
    costs.set_ylim(bottom=0)
    for i, (kind, row) in enumerate(result["trained"].items()):
        at, loss, colour = row["iteration"][0], row["loss"], style.shade(i, 2)
        label = f"{kind}, {row['layers']} layers"
        losses.plot(at, loss.mean(0), color=colour, linestyle=("--", "-")[i], linewidth=2, label=label)
        losses.fill_between(at, loss.min(0), loss.max(0), color=colour, alpha=0.15, linewidth=0)
    losses.set(xlabel="iteration", ylabel="training loss", yscale="log")
    losses.tick_params(which="minor", labelleft=False)
    losses.set_title("on the digits, for the same multiply-adds", loc="right", fontsize="small")
    losses.legend(frameon=False)
    return figure


if __name__ == "__main__":
    main()
