"""Gradients in plain and residual nets: the claim of a well-known program, and what holds over many seeds.

The program is a toy: the NumPy part of a Chinese reading of "Deep Residual Learning" (He et al., 2015). The toy sends
ones backward through a plain net of 10 layers and a net of 10 residual blocks, on columns of 16 numbers. In each net it
divides the gradient of the first layer by that of the last: 1.81 in the plain net, 0.90 in the residual net, "2.0x
better!". This demo contains the toy as it was written, with a backward pass by hand, and draws its figure. minigrad's
tape computes the same gradients, and so does the PyTorch part of the reading (demos.pytorch).

Is the claim true? In the toy's plain net the FIRST gradient is the larger one, so nothing vanished. On 90 % of 1,000
seeds the number printed is between 0.5 and 8.4, and on 23 % it is below 1. Moreover, the toy compares 10 layers with
22, on different inputs. In a corrected version, both nets have the same weights, input and depth, and the ReLU comes
after the addition, as in Fig. 2 of the paper. Then neither net is the better one. He initialisation keeps the mean
square of the plain net's gradient constant, but only the mean: single nets deviate more with every layer, and in most
of them the gradient shrinks. The residual net's gradient explodes, because every block adds to its input.

Only batch norm and shortcuts together control the gradients. We measured the paper's nets of 56 layers before training,
on 20 seeds; the following holds on each seed. With batch norm, the plain net's gradient does not vanish, as section 4.1
of the paper says; from the last layer to the first it grows 200 times and more. The residual net's gradient grows at
most 4 times. Without batch norm, the plain net's gradient does vanish (on maps of 8, 4 and 2 pixels, much of the input
of a layer is zeros of the padding), and the residual net's gradient explodes. All this is before the first step; for
the training of these nets, see demos.degradation.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

import minigrad as mg
from demos import lab, style
from minigrad import nn
from minigrad.typing import Array
from models import cifar_plain, cifar_resnet

SIZE, DEPTH = 16, 10  # the toy's columns; its layers, and its residual blocks
QUANTILES = [0.05, 0.5, 0.95]


# The program ---------------------------------------------------------------------------------


class PlainLayer:
    """A fully connected layer, relu(W x + b), on one column x of shape (inputs, 1)."""

    def __init__(self, inputs: int, outputs: int, rng: np.random.RandomState) -> None:
        self.W: Any = rng.randn(outputs, inputs) * np.sqrt(2 / inputs)
        self.b: Any = np.zeros((outputs, 1))
        self.layers = [self]

    def forward(self, x: Any) -> Any:
        """Compute the layer; with Tensors, it is recorded on the tape."""
        self.x = x
        self.z = self.W @ x + self.b
        self.a = mg.relu(self.z)
        return self.a

    def backward(self, dout: Array) -> Array:
        """Store the gradients of W and b; return that of x."""
        dz = dout * (self.z > 0)
        self.dW = dz @ self.x.T
        self.db = dz.sum(axis=1, keepdims=True)
        dx: Array = self.W.T @ dz
        return dx


class ResidualBlock:
    """The program's residual block: x plus two layers. (In the paper's Fig. 2, the last ReLU follows the addition.)"""

    def __init__(self, size: int, rng: np.random.RandomState) -> None:
        self.layers = [PlainLayer(size, size, rng), PlainLayer(size, size, rng)]

    def forward(self, x: Any) -> Any:
        """Compute F(x) + x."""
        first, second = self.layers
        return second.forward(first.forward(x)) + x

    def backward(self, dout: Array) -> Array:
        """Return the gradient of x: that through the layers, plus that of the shortcut, which passes on all of dout."""
        first, second = self.layers
        return first.backward(second.backward(dout)) + dout


class Network:
    """Parts in sequence."""

    parts: list[PlainLayer | ResidualBlock]

    def forward(self, x: Any) -> Any:
        """Pass a column through all parts."""
        for part in self.parts:
            x = part.forward(x)
        return x

    def backward(self, dout: Array) -> Array:
        """Pass a gradient back through all parts; return the gradient of the input."""
        for part in reversed(self.parts):
            dout = part.backward(dout)
        return dout

    @property
    def layers(self) -> list[PlainLayer]:
        """All layers, from the first to the last."""
        return [layer for part in self.parts for layer in part.layers]


class PlainNetwork(Network):
    """Layers without shortcuts."""

    def __init__(self, input_size: int, hidden_size: int, num_layers: int, rng: np.random.RandomState) -> None:
        sizes = [input_size, *[hidden_size] * (num_layers - 1), input_size]
        self.parts = [PlainLayer(*pair, rng) for pair in pairwise(sizes)]


class ResidualNetwork(Network):
    """A layer to the hidden size, residual blocks, and a layer back."""

    def __init__(self, input_size: int, hidden_size: int, num_blocks: int, rng: np.random.RandomState) -> None:
        self.parts = [PlainLayer(input_size, hidden_size, rng)]
        self.parts += [ResidualBlock(hidden_size, rng) for _ in range(num_blocks)]
        self.parts += [PlainLayer(hidden_size, input_size, rng)]


class Gradients(NamedTuple):
    """The gradients of one net: of W and b for each layer, and of the input."""

    dW: list[Array]
    db: list[Array]
    dx: Array

    def arrays(self) -> list[Array]:
        """List all of them."""
        return [*self.dW, *self.db, self.dx]


def toy(seed: int) -> list[tuple[Network, Array]]:
    """Draw both nets of the program, and an input for each."""
    rng = np.random.RandomState(seed)  # the generator of np.random.seed(seed)
    nets = [PlainNetwork(SIZE, SIZE, DEPTH, rng), ResidualNetwork(SIZE, SIZE, DEPTH, rng)]
    return [(net, rng.randn(SIZE, 1)) for net in nets]


def by_hand(net: Network, x: Array) -> Gradients:
    """Return the gradients of the sum of the output."""
    out = net.forward(x)
    dx = net.backward(np.ones_like(out))
    return Gradients([layer.dW for layer in net.layers], [layer.db for layer in net.layers], dx)


def by_tape(net: Network, x: Array) -> Gradients:
    """Return the same gradients from the tape, without the backward methods above."""
    for layer in net.layers:
        layer.W, layer.b = (mg.Tensor(array, requires_grad=True) for array in (layer.W, layer.b))
    t = mg.Tensor(x, requires_grad=True)
    inputs = [*(layer.W for layer in net.layers), *(layer.b for layer in net.layers), t]
    found = [g.data for g in mg.grad(net.forward(t).sum(), inputs)]
    n = len(net.layers)
    return Gradients(found[:n], found[n:-1], found[-1])


def first_to_last(gradients: Gradients) -> float:
    """Return the first layer's gradient / the last layer's; NaN for a net whose gradients are all 0."""
    first, last = (float(np.linalg.norm(gradients.dW[i])) for i in (0, -1))
    return first / last if last else np.nan


def of_parts(net: Network, gradients: Gradients) -> list[float]:
    """Return what the program draws: the norm of dW for each layer, and the mean of its two layers for each block."""
    norms = iter([float(np.linalg.norm(dW)) for dW in gradients.dW])
    return [float(np.mean([next(norms) for _ in part.layers])) for part in net.parts]


# What holds ----------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the toy as written and corrected, then the paper's nets; return all measurements."""
    options = lab.parser("gradient_flow", __doc__).parse_args(arguments)
    mg.keep_freed_memory()
    seeds, draws, nets, depth = 10_000 if options.full else 1000, 500, 20, 110 if options.full else 56
    if options.quick:
        seeds, draws, nets = 300, 100, 3

    nets_42 = dict(zip(("plain", "residual"), toy(42), strict=True))
    hand, tape = ({name: way(*pair) for name, pair in nets_42.items()} for way in (by_hand, by_tape))
    plain, residual = map(first_to_last, hand.values())
    pairs = [pair for name in hand for pair in zip(hand[name].arrays(), tape[name].arrays(), strict=True)]
    difference = max(abs(a - b).max() for a, b in pairs)
    print(f'As written: first/last {plain:.2f} (plain), {residual:.2f} (residual), "{plain / residual:.1f}x better!"')
    print(f"The tape's gradients differ from those by hand by {difference:.1g}")
    ratios = np.array([[first_to_last(by_hand(*pair)) for pair in toy(options.seed + i)] for i in range(seeds)])
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
    program = {name: of_parts(net, hand[name]) for name, (net, _) in nets_42.items()}
    result = {"program": program, "difference": difference, "ratios": ratios, "better": better}
    result |= {"put right": right, "paper": paper}
    style.save(draw(result), result, options.out, "gradient_flow")
    return result


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
    """Draw the program's figure, its result over seeds, the corrected toy against depth, and the paper's nets."""
    figure, axes = style.panels(2, 2, width=10, height=7.5)
    program, seeds, right, paper = axes.flat
    better, bins = result["better"], np.geomspace(0.1, 100, 46)  # 1 is the edge of a bin
    for name, part, grey in (("below 1", better[better < 1], "0.35"), ("above", better[better >= 1], "0.75")):
        seeds.hist(part, bins, color=grey, label=f"{name}: {len(part) / len(better):.0%}")
    for kind, look in (("plain", style.PLAIN), ("residual", style.RESIDUAL)):
        program.plot(result["program"][kind], marker="o", markersize=4, **look, label=kind)
        low, middle, high = np.transpose([found[kind] for found in result["put right"].values()])
        band(right, list(result["put right"]), low, middle, high, look | {"label": kind})
        for bn, width in (("batch norm", 2.5), ("no batch norm", 1.0)):
            n = result["paper"][f"{kind}, {bn}"]  # (nets, layers)
            label = {"linewidth": width, "label": f"{kind}, {bn}"}
            band(paper, np.arange(n.shape[1]) + 1, n.min(0), np.median(n, 0), n.max(0), look | label)
    program.set(title="the toy's own figure: seed 42", xlabel="layer, or residual block", ylabel="gradient norm")
    seeds.set(title="the toy on other seeds", xlabel='result: "... times better"', ylabel="seeds")
    right.set(title="the toy put right (band: 90 % of nets)", xlabel="layers", ylabel="gradient norm of layer 1")
    paper.set(title=f"the paper's nets (band: {len(n)} seeds)", xlabel="layer", ylabel="gradient norm of the layer")
    for panel, where in ((program, (1, 0.5)), (seeds, (1, 0.85)), (right, (0.45, 0.85)), (paper, (1, 0.3))):
        panel.legend(frameon=False, loc="center right", bbox_to_anchor=where)
        panel.set(**{"xscale" if panel is seeds else "yscale": "log"})
    return figure


def band(panel: Any, x: Any, low: Array, middle: Array, high: Array, look: dict[str, Any]) -> None:
    """Draw a curve, and a band from low to high."""
    panel.plot(x, middle, **look)
    panel.fill_between(x, low, high, color=look["color"], alpha=0.15, linewidth=0)


if __name__ == "__main__":
    main()
