"""The ImageNet nets with 18 and 34 layers, plain and residual, at an eighth of their width, on digits.

"Deep Residual Learning", section 4.1, Table 2 and Fig. 4. On ImageNet plain-34 is worse than plain-18 (an error of
28.54 against 27.94 %), also on the training set and throughout training; ResNet-34 is better than ResNet-18 (25.03
against 27.88 %). With option A, the residual nets have no more parameters than the plain nets.

This demo trains the same nets, including the stem and its pooling, with 8 filters instead of 64, on digits enlarged
from 8x8 to 32x32 pixels (each pixel becomes 4x4). In the four stages, their maps have 8, 4, 2 and 1 pixels instead of
56, 28, 14 and 7.

Observed on seeds 0 to 2, with the kernels of BLAS for AVX-512 and for AVX2: plain-34 ends with a much higher training
error than plain-18. The training errors are 3.6 to 7.8 % for plain-18, 58 to 89 % for plain-34, 0.2 to 0.8 % for
ResNet-18 and 1.0 to 1.9 % for ResNet-34. The residual nets have lower errors than the plain nets of the same depth from
the first epoch on. So the demo shows the problem and its solution. It does NOT show that depth helps: on data this
easy, ResNet-34 has no lower error than ResNet-18. Part of the gap comes from a slow start: with three times as many
epochs, or with a tenth of the learning rate, plain-34 comes closer to plain-18.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import minigrad as mg
from demos import lab, style
from minigrad import nn
from models.plain import Net, plain_net
from models.resnet import TABLE_1, residual_net

DEPTHS = (18, 34)
KINDS = ("plain", "ResNet")
#: The values stored for each epoch; batch_error is the error on the training batches, measured during training.
KEYS = ("iteration", "loss", "batch_error", "train_loss", "train_error", "test_loss", "test_error")


class Enlarge(nn.Module):
    """Enlarge each pixel to `times` x `times` pixels."""

    def __init__(self, times: int) -> None:
        self.times = times

    def forward(self, x: mg.Tensor) -> mg.Tensor:
        """Map images (n, h, w, c), which need no gradient, to (n, times h, times w, c)."""
        return mg.Tensor(x.data.repeat(self.times, axis=1).repeat(self.times, axis=2))


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Train the four nets, print the table, draw the curves; return the numbers."""
    options = lab.parser("imagenet_nets", __doc__).parse_args(arguments)
    width, times, epochs, seeds = 8, 4, 8, 3
    if options.quick:
        times, epochs, seeds = 2, 4, 1
    elif options.full:
        width, times, epochs, seeds = 16, 8, 24, 5
    print(f"{width} filters in the first stage, {8 * times}x{8 * times} pixels, {epochs} epochs, {seeds} seed(s)")
    print("the last epoch's mean (and range); in training, of the batches as they were trained on\n")
    print(f"{'net':<13}{'parameters':>10}{'training loss':>25}{'training error':>25}{'test error':>25}", flush=True)
    nets: dict[str, dict[str, Any]] = {}
    for kind in KINDS:
        for depth in DEPTHS:
            name = f"{kind}-{depth}"
            histories = [
                lab.fit(
                    nn.Sequential(Enlarge(times), narrow(kind, depth, width, seed)),
                    epochs=epochs,
                    warmup=3 * epochs,
                    seed=seed,
                    title=f"{name}, seed {seed}",
                )
                for seed in range(options.seed, options.seed + seeds)
            ]
            nets[name] = {key: np.array([[r[key] for r in history] for history in histories]) for key in KEYS}
            nets[name]["parameters"] = sum(p.size for p in narrow(kind, depth, width, 0).parameters())
            print(line(name, nets[name]), flush=True)
    print()
    for kind in KINDS:
        shallow, deep = (nets[f"{kind}-{depth}"]["loss"][:, -1] for depth in DEPTHS)
        worse = int((deep > shallow).sum())
        print(f"{kind}-34 ends with a higher training loss than {kind}-18 on {worse} of {seeds} seed(s)")
    result = {"width": width, "pixels": 8 * times, "nets": nets}
    style.save(draw(nets), result, options.out, "imagenet_nets")
    return result


def narrow(kind: str, depth: int, width: int, seed: int) -> Net:
    """Build a net of Table 1 for the digits, with `width` filters instead of 64."""
    block, blocks, filters = TABLE_1[depth]
    filters = tuple(c * width // 64 for c in filters)
    if kind == "plain":
        return plain_net("imagenet", blocks, filters, num_classes=10, in_channels=1, rng=seed)
    return residual_net("imagenet", block, blocks, filters, shortcut="A", num_classes=10, in_channels=1, rng=seed)


def line(name: str, row: dict[str, Any]) -> str:
    """Return a row of the table."""
    parts = []
    for key, scale, unit in (("loss", 1, ""), ("batch_error", 100, " %"), ("test_error", 100, " %")):
        last = scale * row[key][:, -1]
        decimals = 1 if unit else 3
        span = f" ({last.min():.{decimals}f} to {last.max():.{decimals}f})" if len(last) > 1 else ""
        parts.append(f"{last.mean():.{decimals}f}{unit}{span}")
    return f"{name:<13}{row['parameters']:>10,}{parts[0]:>25}{parts[1]:>25}{parts[2]:>25}"


def draw(nets: dict[str, dict[str, Any]]) -> Any:
    """Draw the training error against iterations, as Fig. 4 does: the deeper, the darker."""
    figure, panels = style.panels(2, sharey=True)
    for panel, kind in zip(panels, KINDS, strict=True):
        for i, depth in enumerate(DEPTHS):
            row, colour = nets[f"{kind}-{depth}"], style.shade(i, 2)
            at, error = row["iteration"][0], 100 * row["batch_error"]
            panel.plot(at, error.mean(0), color=colour, linewidth=2, label=f"{kind}-{depth}")
            panel.fill_between(at, error.min(0), error.max(0), color=colour, alpha=0.15, linewidth=0)
        panel.set(xlabel="iteration", xlim=(0, None), ylim=(0, 100))
        panel.legend(frameon=False)
    panels[0].set_ylabel("training error (%)")
    panels[1].set_title("line: mean, shade: range over seeds", loc="right", fontsize="small")
    return figure


if __name__ == "__main__":
    main()
