"""Layer responses in plain and residual nets ("Deep Residual Learning", section 4.2 and Fig. 7).

The paper measures the standard deviation of each 3x3 layer's response, after batch norm and before ReLU or addition. In
its trained residual nets it is generally smaller than in the plain nets, and smaller in deeper residual nets. The paper
concludes that residual functions might be generally closer to zero than functions without a shortcut, and that in a net
with more layers, each layer changes the signal less. (This compares nets; demos.corrections compares F(x) with x.)

After batch norm the deviation of a channel is the magnitude of its gamma, and every gamma begins at 1. So the figure
shows how training changed gamma, and also beta, whose variation over the channels adds to the deviation. The loss moves
them, and weight decay pulls them towards zero. In the paper this takes 64,000 iterations. This demo has only 240, on
the digits, with half the paper's filters. So it uses 100 times the paper's weight decay, 0.01, to come as far. (With
the paper's weight decay there is no such effect yet: the responses of plain-20 and residual-20 end between 0.92 and
1.27.) Then the demo reproduces Fig. 7: on each of four seeds, the mean response is 0.33 to 0.36 in plain-20, 0.28 in
residual-20 and 0.25 in residual-56; it is 0.24 to 0.26 in residual-110. But weight decay alone would reduce 1 to 0.238:
in most layers of the deep residual nets the loss barely counteracts weight decay. Plain-56 has the largest response,
but more than half of the training images are wrong in the end. The table and the figure mark such a net, which failed
to train: its curve is not the paper's. --quick trains nets of 14 and 20 layers for 120 iterations, which shows the same
order.

The last panel shows why a single block of a deep net matters less: the deviation of F(x) relative to that of the x to
which it is added. Every block increases the signal, while batch norm keeps F at the same size. The mean ratio is 0.64
to 0.75 in residual-20, 0.28 to 0.31 in residual-56 and 0.17 to 0.19 in residual-110.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

import minigrad as mg
from demos import lab, style
from minigrad import nn, train
from minigrad.inspect import statistics
from models import cifar_plain, cifar_resnet

NETS = {"plain": cifar_plain, "residual": cifar_resnet}
FAILED = 0.5  # a net with a higher training error has not learned


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Train the nets, measure their responses, draw."""
    options = lab.parser("layer_responses", __doc__).parse_args(arguments)
    depths, epochs = ([14, 20], 10) if options.quick else ([20, 56, 110], 100 if options.full else 20)
    nets = []
    print(f"{'':<14}{'deviation of the response':^36}{'F relative':>14}{'training':>12}")
    print(f"{'':<14}{'mean':>12}{'largest':>12}{'smallest':>12}{'to x':>14}{'error':>12}")
    for kind, make in NETS.items():
        for depth in depths if kind == "residual" else depths[:2]:
            net = make(depth, in_channels=1, width=16 if options.full else 8, rng=options.seed)
            error = fit(net, epochs, options.seed, decay=0.2 / epochs)
            responses, changes = measure(net)
            nets.append({"kind": kind, "depth": depth, "error": error, "responses": responses, "changes": changes})
            said = "".join(f"{x:>12.3f}" for x in (responses.mean(), responses.max(), responses.min()))
            change = f"{changes.mean():.3f}" if len(changes) else ""
            remark = "  failed to train" if error > FAILED else ""
            print(f"{f'{kind}-{depth}':<14}{said}{change:>14}{100 * error:>10.1f} %{remark}", flush=True)
    result = {"epochs": epochs, "nets": nets}
    style.save(draw(nets), result, options.out, "layer_responses")
    return result


def fit(net: nn.Module, epochs: int, seed: int, decay: float) -> float:
    """Train as the other demos do, but with another weight decay; return the training error."""
    batches = lab.digits(True, lab.BATCH, rng=seed)
    iterations = epochs * len(batches)
    sgd = mg.optim.SGD(net.parameters(), 0.1, momentum=0.9, weight_decay=decay)
    drop = mg.optim.MultiStepLR(sgd, [iterations * 2 // 3])
    schedule = mg.optim.Warmup(drop, min(lab.WARMUP, iterations * 3 // 10))
    settings: dict[str, Any] = {"optimizer": sgd, "schedule": schedule, "iterations": iterations}
    history = train.fit(net, batches, evaluate_on={"train": lab.digits(True)}, evaluate_every=iterations, **settings)
    return float(history[-1]["train_error"])


def measure(net: nn.Module) -> tuple[Any, Any]:
    """Return the deviation of each 3x3 layer's response, and of each F(x) relative to x."""
    images, _ = next(iter(lab.digits(True)))
    with mg.no_grad(), statistics(net.train()) as responses:  # batch norm uses the statistics of these images
        net(mg.Tensor(images))
    deviations = [r.output.std for r in responses if r.kind == "BatchNorm2d"]
    shortcuts = [(f, x) for f, x in pairwise(responses) if x.kind == "Identity" and x.name.endswith("downsample")]
    changes = [f.output.std / x.output.std for f, x in shortcuts]
    return np.array(deviations), np.array(changes)


def draw(nets: list[dict[str, Any]]) -> Any:
    """Draw the responses by layer and sorted, as in Fig. 7, and each block's F(x) relative to x."""
    figure, (ordered, ranked, changed) = style.panels(3, width=11.0, height=3.8)
    depths = sorted({net["depth"] for net in nets})
    for net in nets:
        strength = (depths.index(net["depth"]) + 1) / len(depths)
        look = style.PLAIN if net["kind"] == "plain" else style.RESIDUAL
        look = look | {"linewidth": 0.8 + 1.4 * strength, "alpha": 0.3 + 0.7 * strength}
        name = f"{net['kind']}-{net['depth']}"
        if net["error"] > FAILED:
            name, look = f"{name} (failed to train)", look | {"linestyle": ":"}
        layers = np.arange(1, len(net["responses"]) + 1)
        ordered.plot(layers, net["responses"], **look)
        ranked.plot(layers, np.sort(net["responses"])[::-1], label=name, **look)
        if net["kind"] == "residual":
            changed.plot(np.arange(1, len(net["changes"]) + 1), net["changes"], **look)
    ordered.set(xlabel="layer", ylim=(0, 1))  # all began at 1; larger responses are not of interest here
    ranked.set(xlabel="rank", ylim=(0, 1))
    changed.set(xlabel="block with an identity shortcut", ylim=(0, None))
    for panel, title in {ordered: "deviation of the response", ranked: "the same, sorted", changed: "F(x) / x"}.items():
        panel.set_title(title, loc="left")
    ranked.legend(frameon=False, fontsize="small")
    return figure


if __name__ == "__main__":
    main()
