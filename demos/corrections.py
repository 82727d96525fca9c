"""How far from the identity are residual blocks, before and after training?

A block of a residual net computes relu(F(x) + x). Two statements are often made: the blocks begin near the identity,
and what they learn to add is a small correction. This demo measures `|F(x)| / |x|`: the norm of what a block adds,
relative to the norm of what its shortcut carries. The nets are the paper's for CIFAR-10, with half of its filters, on
the digits.

Before training, every gamma is 1, so F(x) has the variance 1 in every block. x begins as a rectified normal variable,
of mean square one half: the first ratio is the square root of 2. Each block adds to x, so the ratio falls roughly with
the square root of the number of blocks (S. De and S. Smith, arXiv 2002.10444). So a block of a deep net begins near the
identity, but a block of ResNet-20 does not.

Observed with seed 0, with the kernels of BLAS for AVX-512 and for AVX2: on average over all blocks, training lowers the
ratio from 0.80 to 0.69 or 0.70 in residual-20, from 0.46 to 0.32 or 0.33 in residual-56, and from 0.33 to 0.22 or 0.23
in residual-110. The mean gamma of a block ends between 0.90 and 1.14; weight decay alone would have changed it by less
than 1 %. If F begins at zero (zero_gamma), the mean ratio ends at 0.14 in residual-56. So what the blocks of the
paper's nets add is not small in a net of 20 layers. It is smaller in deeper nets, but was so before training.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import minigrad as mg
from demos import lab, style
from minigrad import nn
from minigrad.inspect import statistics
from models import cifar_resnet
from models.resnet import BasicBlock

#: The nets: depth, and whether F begins at 0.
NETS = [(20, False), (56, False), (110, False), (56, True)]


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure the nets, train them, measure them again; print, draw and return the numbers."""
    options = lab.parser("corrections", __doc__).parse_args(arguments)
    width, epochs, warmup, nets = 16 if options.full else 8, 40 if options.full else 12, lab.WARMUP, NETS
    if options.quick:
        epochs, warmup, nets = 4, 12, [(8, False), (20, False), (20, True)]
    print(f"{'':<24}{'|F| / |x|, before training':^27}{'after training':^27}{'gamma, after':>18}{'training':>12}")
    print(f"{'':<24}" + f"{'first':>9}{'mean':>9}{'last':>9}" * 2 + f"{'lowest':>9}{'highest':>9}{'error':>12}")
    rows = []
    for depth, zero in nets:
        net = cifar_resnet(depth, in_channels=1, width=width, zero_gamma=zero, rng=options.seed)
        row: dict[str, Any] = {"depth": depth, "zero_gamma": zero, "before": ratios(net)}
        title = f"residual-{depth}{', zero_gamma' if zero else ''}"
        settings: dict[str, Any] = {"warmup": warmup, "seed": options.seed, "title": title}
        history = lab.fit(net, epochs=epochs, **settings, evaluate_every=12 * epochs)
        row |= {"after": ratios(net), "gamma": gammas(net), "error": 100 * history[-1]["train_error"]}
        said = [f"{x:9.2f}" for when in ("before", "after") for x in three(row[when])]
        low, high = row["gamma"].min(), row["gamma"].max()
        print(f"{title:<24}{''.join(said)}{low:>9.2f}{high:>9.2f}{row['error']:>10.1f} %", flush=True)
        rows.append(row)
    result = {"epochs": epochs, "nets": rows}
    style.save(draw(rows), result, options.out, "corrections")
    return result


def ratios(net: nn.Module) -> Any:
    """Return `|F(x)| / |x|` of each block: the norm of what it adds, relative to that of what its shortcut carries."""
    images, _ = next(iter(lab.digits(True)))
    with mg.no_grad(), statistics(net.train()) as responses:  # batch norm uses the statistics of these images
        net(mg.Tensor(images))
    norms = {response.name: response.output.norm for response in responses}
    blocks = [name for name, module in net.named_modules() if isinstance(module, BasicBlock)]
    return np.array([norms[f"{name}.bn2"] / norms[f"{name}.downsample"] for name in blocks])


def gammas(net: nn.Module) -> Any:
    """Return the mean gamma of the last batch norm of each block."""
    blocks = [module for _, module in net.named_modules() if isinstance(module, BasicBlock)]
    return np.array([float(block.bn2.weight.data.mean()) for block in blocks])


def three(values: Any) -> tuple[float, float, float]:
    """Return the first number, the mean, and the last."""
    return values[0], values.mean(), values[-1]


def draw(rows: list[dict[str, Any]]) -> Any:
    """Draw `|F| / |x|` and gamma by block: thin before training, bold after it."""
    figure, (ratio, gamma) = style.panels(2, width=10.0, height=4.0)
    plain = [row["depth"] for row in rows if not row["zero_gamma"]]
    for row in rows:
        blocks = np.arange(1, len(row["before"]) + 1)
        look = {"color": style.shade(plain.index(row["depth"]), len(plain)), "ls": ":" if row["zero_gamma"] else "-"}
        name = f"residual-{row['depth']}{', zero_gamma' if row['zero_gamma'] else ''}"
        ratio.plot(blocks, row["before"], linewidth=0.8, **look)
        ratio.plot(blocks, row["after"], linewidth=2.2, **look, label=name)
        gamma.plot(blocks, row["gamma"], linewidth=2.2, **look)
    longest = max(len(row["before"]) for row in rows)
    ratio.plot(np.arange(1, longest + 1), np.arange(1, longest + 1) ** -0.5, "--", color="0.6", label="1 / sqrt(block)")
    ratio.set(xlabel="block", ylim=(0, None))
    ratio.set_title("|F(x)| / |x|", loc="left")
    ratio.set_title("thin: before training, bold: after", loc="right", fontsize="small")
    ratio.legend(frameon=False)
    gamma.set(xlabel="block")
    gamma.set_title("mean gamma of the last batch norm, after training", loc="left")
    return figure


if __name__ == "__main__":
    main()
