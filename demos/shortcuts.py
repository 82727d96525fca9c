"""Shortcuts with parameters: are options B and C better than A, which has none?

"Deep Residual Learning", section 4.1 and Table 3. A block adds its input to the output of its layers. Where the layers
change the shape, the shortcut must change it, too:

    A   every second pixel, and zeros for the new channels: no parameters,
    B   a 1x1 convolution where the shape changes, the identity elsewhere,
    C   a 1x1 convolution in every block.

With ResNet-34 on ImageNet, the errors are 25.03, 24.52 and 24.19 %: B is a little better than A, C a little better than
B, and all are much better than the plain net (28.54 %). "Projection shortcuts are not essential", says the paper.

Can the digits show such differences? Their test set has 360 images: one error is 0.28 %, and chance alone changes an
error of 2.5 % by 0.8 points. So this demo uses cross-validation. For each option and seed it trains five nets; each is
tested on the fifth of all 1,797 digits on which it was not trained. The options share folds, order and seed, and the
demo compares their differences seed by seed. A difference counts as more than chance if the 95 % interval of its mean
(Student's t) does not contain zero; one in twenty such intervals does so by chance.

Observed with ResNet-14 and seeds 0 to 3: errors of 2.18 ± 0.41 (A), 2.50 ± 0.37 (B) and 2.91 ± 0.69 % (C), with all
three differences within chance. So A is as good as the others, with the fewest parameters. But this demo can neither
show nor rule out the small gains of the paper's table: an interval extends up to 1.6 points to either side. Of the
training losses (0.0056 to 0.0080) one difference of three is more than chance: C is a little worse than B. With six
intervals in all, chance alone produces such a result in up to a quarter of the runs; we would not rely on it. Only the
difference in cost is certain.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np

from demos import lab, style
from minigrad import data, inspect
from models import cifar_resnet
from models.resnet import Shortcut

OPTIONS: tuple[Shortcut, ...] = ("A", "B", "C")
NAMES = ("training loss", "cross-validated error (%)")


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Cross-validate the three options, print and draw the differences; return the numbers."""
    options = lab.parser("shortcuts", __doc__).parse_args(arguments)
    depth, width, epochs, folds, seeds = 14, 8, 8, 5, 4
    if options.quick:
        depth, epochs, folds, seeds = 8, 3, 2, 3
    elif options.full:
        depth, width, epochs, seeds = 20, 16, 20, 10
    costs = [inspect.summary(cifar_resnet(depth, option, width, in_channels=1), (8, 8, 1)) for option in OPTIONS]
    runs = np.array(
        [
            [cross_validate(option, depth, width, epochs, folds, seed) for option in OPTIONS]
            for seed in range(options.seed, options.seed + seeds)
        ]
    )  # (seeds, options, names)
    result: dict[str, Any] = {"net": f"ResNet-{depth}", "folds": folds, "runs": runs, "differences": differences(runs)}
    result |= {"parameters": [cost.parameters for cost in costs], "macs": [cost.macs for cost in costs]}
    report(result)
    style.save(draw(result), result, options.out, "shortcuts")
    return result


def cross_validate(option: Shortcut, depth: int, width: int, epochs: int, folds: int, seed: int) -> tuple[float, float]:
    """Train a net without each fold; return the mean training loss, and the percentage of all digits that are wrong."""
    digits, rest = data.Digits(), data.Digits(train=False)
    digits.images = np.concatenate([digits.images, rest.images])  # (1797, 8, 8, 1)
    digits.labels = np.concatenate([digits.labels, rest.labels])
    parts = np.array_split(np.random.default_rng(seed).permutation(len(digits)), folds)
    losses, wrong = [], 0.0
    for i, held_out in enumerate(parts):
        known = data.Subset(digits, np.concatenate(parts[:i] + parts[i + 1 :]))
        images, _ = known[:]
        normalize = data.transforms.Normalize(images.mean(0), images.std())
        batches = data.DataLoader(known, lab.BATCH, rng=seed, transform=normalize)
        net = cifar_resnet(depth, option, width, in_channels=1, rng=seed)
        iterations = epochs * len(batches)
        sets = {"train": known, "test": data.Subset(digits, held_out)}
        last = lab.fit(
            net,
            batches,
            epochs=epochs,
            warmup=iterations // 4,
            evaluate_on={name: data.DataLoader(part, 512, transform=normalize) for name, part in sets.items()},
            evaluate_every=iterations,
            title=f"{option}, seed {seed}, fold {i + 1}",
        )[-1]
        losses.append(last["train_loss"])
        wrong += last["test_error"] * len(held_out)
    return float(np.mean(losses)), 100 * wrong / len(digits)


def half_interval(samples: Any) -> Any:
    """Return half of the 95 % interval of the mean of samples (n, ...), by Student's t."""
    from scipy.stats import t

    return t.ppf(0.975, len(samples) - 1) * samples.std(0, ddof=1) / np.sqrt(len(samples))


def differences(runs: Any) -> dict[str, dict[str, Any]]:
    """Compare the options in pairs, seed by seed: both options of a pair had the same folds."""
    result = {}
    for i, j in combinations(range(len(OPTIONS)), 2):
        d = runs[:, j] - runs[:, i]  # (seeds, names)
        mean, half = d.mean(0), half_interval(d)
        result[f"{OPTIONS[j]} - {OPTIONS[i]}"] = {"mean": mean, "half": half, "told_apart": abs(mean) > half}
    return result


def report(result: dict[str, Any]) -> None:
    """Print the cost and the errors of the options, and which differences are more than chance."""
    runs = result["runs"]
    mean, spread = runs.mean(0), runs.std(0, ddof=1)  # (options, names)
    print(f"{result['net']}, {result['folds']} folds of 1,797 digits, {len(runs)} seeds: mean ± deviation\n")
    print("option  parameters  multiply-adds      training loss  cross-validated error")
    for i, option in enumerate(OPTIONS):
        cost = f"{option:<6}{result['parameters'][i]:>12,}{result['macs'][i]:>15,}"
        print(f"{cost}{mean[i, 0]:>10.4f} ± {spread[i, 0]:.4f}{mean[i, 1]:>14.2f} ± {spread[i, 1]:.2f} %")
    print("\ndifference, and half of its 95 % interval")
    for pair, row in result["differences"].items():
        for k, (name, decimals, unit) in enumerate((("training loss", 4, ""), ("error", 2, " points"))):
            verdict = "told apart" if row["told_apart"][k] else "not told apart from chance"
            print(
                f"{pair}  {name:<13}{row['mean'][k]:>+9.{decimals}f} ± {row['half'][k]:.{decimals}f}{unit}: {verdict}"
            )
    p = mean[:, 1].mean() / 100
    on_all, on_test = (100 * np.sqrt(p * (1 - p) / n) for n in (1797, 360))
    print(f"\nchance moves one such error by {on_all:.2f} points; on the 360 images of the test set by {on_test:.2f}")


def draw(result: dict[str, Any]) -> Any:
    """Draw each seed in grey, and the mean with its 95 % interval in black."""
    runs = result["runs"]
    figure, panels = style.panels(2)
    ticks = [f"{option}\n{n:,}" for option, n in zip(OPTIONS, result["parameters"], strict=True)]
    for k, (panel, name) in enumerate(zip(panels, NAMES, strict=True)):
        panel.plot(runs[:, :, k].T, color="0.65", linewidth=0.8, marker="o", markersize=3)
        panel.errorbar(range(3), runs[:, :, k].mean(0), half_interval(runs[:, :, k]), color="k", fmt="D", capsize=4)
        panel.set(xlabel="option, and the net's parameters", ylabel=name, xlim=(-0.4, 2.4))
        panel.set_ylim(bottom=0)
        panel.set_xticks(range(3), ticks)
    panels[0].set_title(f"{result['net']}: each seed grey, mean and 95 % interval black", loc="left", fontsize="small")
    return figure


if __name__ == "__main__":
    main()
