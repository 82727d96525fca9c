"""Gradients in plain and residual nets: the claim of a well-known program, and what holds over many seeds.

The program is a toy: the NumPy part of a Chinese reading of "Deep Residual Learning" (He et al., 2015). The toy sends
ones backward through a plain net of 10 layers and a net of 10 residual blocks, on columns of 16 numbers. In each net it
divides the gradient of the first layer by that of the last: 1.81 in the plain net, 0.90 in the residual net, "2.0x
better!". This demo contains the toy as it was written, with a backward pass by hand (without its biases, which are all
zero); minigrad's tape computes the same gradients.

Is the claim true? In the toy's plain net the FIRST gradient is the larger one, so nothing vanished. Other seeds print
"0.3x" or "16x"; on 23 % of 1,000 seeds the number is below 1. Moreover, the toy compares 10 layers with 22, on
different inputs. In a corrected version, both nets have the same weights, input and depth, and the ReLU comes after the
addition, as in Fig. 2 of the paper. Then neither net is the better one. He initialisation keeps the mean square of the
plain net's gradient constant, but only the mean: single nets deviate more with every layer, and in most of them the
gradient shrinks. The residual net's gradient explodes, because every block adds to its input.

Only batch norm and shortcuts together control the gradients. We measured the paper's nets of 56 layers before training,
on 20 seeds; the following holds on each seed. With batch norm, the plain net's gradient does not vanish, as section 4.1
of the paper says; from the last layer to the first it grows 200 times and more. The residual net's gradient grows at
most 4 times. Without batch norm, the plain net's gradient does vanish (on maps of 8, 4 and 2 pixels, much of the input
of a layer is zeros of the padding), and the residual net's gradient explodes. All this is before the first step; for
the training of these nets, see demos.degradation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import minigrad as mg
from demos import lab, style
from minigrad import nn
from minigrad.typing import Array
from models import cifar_plain, cifar_resnet

SIZE, DEPTH = 16, 10  # the toy's columns; its layers, and its residual blocks
QUANTILES = [0.05, 0.5, 0.95]


class Block:
    """The toy's residual block: two layers relu(W x) in sequence, plus x. Or one layer without the addition."""

    def __init__(self, layers: int, rng: np.random.RandomState) -> None:
        self.W: list[Any] = [rng.randn(SIZE, SIZE) * np.sqrt(2 / SIZE) for _ in range(layers)]
        self.residual = layers == 2

    def forward(self, x: Any) -> Any:
        """Compute the block; with Tensors, it is recorded on the tape."""
        self.x = [x]
        for W in self.W:
            self.x.append(mg.relu(W @ self.x[-1]))
        return self.x[-1] + x if self.residual else self.x[-1]

    def backward(self, dout: Array) -> Array:
        """Store the gradients of the weights, return the gradient of x: the shortcut passes its gradient on."""
        dx = dout
        self.dW: list[Array] = []
        for W, x, a in reversed(list(zip(self.W, self.x, self.x[1:], strict=False))):
            dx = dx * (a > 0)
            self.dW = [dx @ x.T, *self.dW]
            dx = W.T @ dx
        return dx + dout if self.residual else dx


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the toy as written and corrected, then the paper's nets; return all measurements."""
    options = lab.parser("gradient_flow", __doc__).parse_args(arguments)
    mg.keep_freed_memory()
    seeds, draws, nets, depth = 10_000 if options.full else 1000, 500, 20, 110 if options.full else 56
    if options.quick:
        seeds, draws, nets = 300, 100, 3

    hand, tape = toy(42, by_hand), toy(42, by_tape)
    plain, residual = first_to_last(hand)
    difference = max(abs(a - b).max() for pair in zip(hand, tape, strict=True) for a, b in zip(*pair, strict=True))
    print(f'As written: first/last {plain:.2f} (plain), {residual:.2f} (residual), "{plain / residual:.1f}x better!"')
    print(f"The tape's gradients differ from those by hand by {difference:.1g}")
    ratios = np.array([first_to_last(toy(options.seed + i, by_hand)) for i in range(seeds)])  # (seeds, 2)
    better = ratios[:, 0] / ratios[:, 1]
    low, middle, high = np.nanquantile(better, QUANTILES)
    print(
        f"{seeds:,} seeds: {middle:.1f}x, 90 % from {low:.1f}x to {high:.1f}x, below 1x on {np.mean(better < 1):.0%};"
    )
    print(f"the plain net's first gradient is larger than its last on {np.mean(ratios[:, 0] > 1):.0%}")

    row = "{:<25}{:>24}{:>34}"
    print("\n" + row.format("Put right: first gradient", "plain", "residual"))
    rng, right = np.random.default_rng(options.seed), {}
    for layers in (10, 22, 34, 46, 56):
        right[layers] = put_right(layers, draws, rng)
        print(
            row.format(f"{layers} layers", *(f"{m:.3g} ({lo:.3g} to {hi:.3g})" for lo, m, hi in right[layers].values()))
        )
    print(f"(median of {draws} nets, and range of 90 %)")

    print("\n" + row.format(f"The paper's, {depth} layers", "first gradient", "first / last"))
    paper = {}
    for name in ("plain, batch norm", "residual, batch norm", "plain, no batch norm", "residual, no batch norm"):
        norms = paper[name] = np.array([of_paper(name, depth, options.seed + i) for i in range(nets)])  # (nets, layers)
        found = (f"{x.min():.3g} to {x.max():.3g}" for x in (norms[:, 0], norms[:, 0] / norms[:, -1]))
        print(row.format(name, *found), flush=True)
    print(f"(smallest and largest of {nets} nets, before training)\n")
    result = {"seed 42": [plain, residual], "difference": difference, "ratios": ratios, "better": better}
    result |= {"put right": right, "paper": paper}
    style.save(draw(result), result, options.out, "gradient_flow")
    return result


def toy(seed: int, gradients: Callable[[list[Block], Array], list[Array]]) -> list[list[Array]]:
    """Return the gradient of each layer's weights, for both nets as written."""
    rng = np.random.RandomState(seed)  # the generator of np.random.seed(seed)
    plain = [Block(1, rng) for _ in range(DEPTH)]
    residual = [Block(layers, rng) for layers in (1, *[2] * DEPTH, 1)]
    return [gradients(net, rng.randn(SIZE, 1)) for net in (plain, residual)]


def by_hand(net: list[Block], x: Array) -> list[Array]:
    """Return the gradients of the sum of the output."""
    for block in net:
        x = block.forward(x)
    dx = np.ones_like(x)
    for block in reversed(net):
        dx = block.backward(dx)
    return [dW for block in net for dW in block.dW]


def by_tape(net: list[Block], x: Any) -> list[Array]:
    """Return the same gradients from the tape, without the backward methods above."""
    for block in net:
        block.W = [mg.Tensor(W, requires_grad=True) for W in block.W]
        x = block.forward(x)
    return [dW.data for dW in mg.grad(x.sum(), [W for block in net for W in block.W])]


def first_to_last(nets: list[list[Array]]) -> list[float]:
    """Return first gradient / last gradient for each net; NaN for a net whose gradients are all 0."""
    norms = [(float(np.linalg.norm(net[0])), float(np.linalg.norm(net[-1]))) for net in nets]
    return [first / last if last else np.nan for first, last in norms]


def put_right(layers: int, draws: int, rng: np.random.Generator) -> dict[str, list[float]]:
    """Return quantiles of the first layer's gradient in plain and residual nets with the same weights and inputs."""
    W = [mg.Tensor(rng.standard_normal((draws, SIZE, SIZE)) * np.sqrt(2 / SIZE)) for _ in range(layers)]
    W[0].requires_grad = True
    inputs, result = rng.standard_normal((draws, SIZE, 1)), {}
    for kind in ("plain", "residual"):
        x = mg.relu(W[0] @ inputs)  # (draws, 16, 1)
        for i in range(1, layers - 1, 2):
            f = W[i + 1] @ mg.relu(W[i] @ x)
            x = mg.relu(f + x if kind == "residual" else f)
        (dW,) = mg.grad(mg.relu(W[-1] @ x).sum(), [W[0]])  # (draws, 16, 16)
        result[kind] = np.quantile(np.linalg.norm(dW.data, axis=(1, 2)), QUANTILES).tolist()
    return result


def of_paper(name: str, depth: int, seed: int) -> list[float]:
    """Return the norm of each convolution's gradient in one of the paper's nets, on 64 digits."""
    net = (cifar_plain if name.startswith("plain") else cifar_resnet)(depth, in_channels=1, rng=seed)
    for _, module in net.named_modules():
        for part, layer in list(module.named_children()):
            if isinstance(layer, nn.BatchNorm2d) and name.endswith("no batch norm"):
                setattr(module, part, nn.Identity())
    images, labels = next(iter(lab.digits(True, 64)))
    loss = mg.cross_entropy(net(mg.Tensor(images)), labels)
    return [float(np.linalg.norm(g.data)) for g in mg.grad(loss, [p for p in net.parameters() if p.ndim == 4])]


def draw(result: dict[str, Any]) -> Any:
    """Draw the toy's result over seeds, the corrected toy's gradients against depth, and those of the paper's nets."""
    figure, (seeds, right, paper) = style.panels(3, width=13.5, height=4)
    better, bins = result["better"], np.geomspace(0.1, 100, 46)  # 1 is the edge of a bin
    for name, part, grey in (("below 1", better[better < 1], "0.35"), ("above", better[better >= 1], "0.75")):
        seeds.hist(part, bins, color=grey, label=f"{name}: {len(part) / len(better):.0%}")
    for kind, look in (("plain", style.PLAIN), ("residual", style.RESIDUAL)):
        low, middle, high = np.transpose([found[kind] for found in result["put right"].values()])
        band(right, list(result["put right"]), low, middle, high, look | {"label": kind})
        for bn, width in (("batch norm", 2.5), ("no batch norm", 1.0)):
            n = result["paper"][f"{kind}, {bn}"]  # (nets, layers)
            label = {"linewidth": width, "label": f"{kind}, {bn}"}
            band(paper, np.arange(n.shape[1]) + 1, n.min(0), np.median(n, 0), n.max(0), look | label)
    seeds.set(title="the toy as written", xlabel='result: "... times better"', ylabel="seeds")
    right.set(title="the toy put right (band: 90 % of nets)", xlabel="layers", ylabel="gradient norm of layer 1")
    paper.set(title=f"the paper's nets (band: {len(n)} seeds)", xlabel="layer", ylabel="gradient norm of the layer")
    for panel, where in ((seeds, (1, 0.85)), (right, (0.45, 0.85)), (paper, (1, 0.3))):
        panel.legend(frameon=False, loc="center right", bbox_to_anchor=where)
        panel.set(**{"xscale" if panel is seeds else "yscale": "log"})
    return figure


def band(panel: Any, x: Any, low: Array, middle: Array, high: Array, look: dict[str, Any]) -> None:
    """Draw a curve, and a band from low to high."""
    panel.plot(x, middle, **look)
    panel.fill_between(x, low, high, color=look["color"], alpha=0.15, linewidth=0)


if __name__ == "__main__":
    main()
